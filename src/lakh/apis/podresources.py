"""Resources of a pod as a whole (KEP-2837): what the containers ask for together, defaults from it, and that both agree.

Mirrors upstream's `defaultHugePagePodLimits`, `defaultPodRequests`, `validatePodResources`, `validatePodResourceConsistency` and the
`AggregateContainerRequests` and `AggregateContainerLimits` of component-helpers.
"""

from __future__ import annotations

from typing import Any

from lakh.apis.resourcelists import canonical, is_huge_page, milli, validate_requirements
from lakh.machinery import quantity
from lakh.machinery.errors import FieldError, forbidden_field, invalid_value
from lakh.machinery.podamounts import together

_COMPUTE = ("cpu", "memory")


def is_supported(name: str) -> bool:
    """Whether a resource can be given for a pod as a whole."""
    return name in _COMPUTE or is_huge_page(name)


def _amounts(container: Any, side: str) -> dict[str, Any]:
    """Without what is no quantity, which is reported where it stands."""
    amounts = getattr(container.resources, side) if container.resources is not None else None
    return {name: value for name, value in (amounts or {}).items() if canonical(value) is not None}


def aggregate(spec: Any, side: str) -> dict[str, str]:
    """What all containers have together in `requests` or `limits`: init containers run before the others, sidecars with all."""
    return together(
        (_amounts(container, side) for container in spec.containers or ()),
        ((c.restartPolicy == "Always", _amounts(c, side)) for c in spec.initContainers or ()),
    )


def default_pod_resources(spec: Any) -> None:
    """Limits of huge pages from the containers' limits; requests from the containers' requests, and for the rest from the limits."""
    resources = spec.resources
    if not resources.limits and not resources.requests:
        return
    requests = dict(resources.requests or {})
    limits = dict(resources.limits or {})
    for name, total in aggregate(spec, "limits").items():
        if is_huge_page(name) and name not in requests and name not in limits:
            limits[name] = total
    resources.limits = limits or resources.limits
    if not limits:
        return
    for name, total in aggregate(spec, "requests").items():
        if name in _COMPUTE and name not in requests:
            requests[name] = total
    for name, value in limits.items():
        if name not in requests and is_supported(name):
            requests[name] = value
    if requests:
        resources.requests = requests


def validate_pod_resources(spec: Any, claims: frozenset[str], path: str, found: list[FieldError]) -> None:
    """The resources of a pod: of the kinds that can be, and enough for its containers."""
    resources = spec.resources
    if resources.claims is not None:
        found.append(forbidden_field(f"{path}.claims", "claims cannot be set for Resources at pod-level"))
    validate_requirements(resources, path, found, claims, whole_pod=True)
    requests, limits = resources.requests or {}, resources.limits or {}
    for name, total in aggregate(spec, "requests").items():
        if is_supported(name) and quantity.compare(total, canonical(requests.get(name, "0")) or "0") > 0:
            found.append(
                invalid_value(
                    f"{path}.requests[{name}]",
                    requests.get(name, "0"),
                    f"must be greater than or equal to aggregate container requests of {total}",
                )
            )
    for index, container in enumerate(spec.containers or ()):
        own = (container.resources.limits if container.resources is not None else None) or {}
        for name, value in own.items():
            limit = limits.get(name)
            if limit is not None and (milli(value) or 0) > (milli(limit) or 0):
                found.append(
                    invalid_value(
                        f"{path}.containers[{index}][{name}].limits",
                        value,
                        f"must be less than or equal to pod limits of {limit}",
                    )
                )
