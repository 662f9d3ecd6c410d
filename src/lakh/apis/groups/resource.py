"""resource.k8s.io/v1: dynamic resource allocation: device classes, claims and their templates, slices of devices.

Validation is in `resource_claims` and `resource_slices`. Fields of features that are alpha in 1.36 (attributes with lists of values, node allocatable
resources) are dropped, as upstream's strategies do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lakh.apis import meta
from lakh.apis.groups import printing, resource_claims, resource_slices
from lakh.apis.groups.base import METADATA_RESETS, GroupStrategy, child, declare
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, STATUS_METADATA, Column
from lakh.apis.resourcelists import canonical
from lakh.machinery import quantity, times
from lakh.machinery.errors import FieldError, invalid_value

GROUP = "resource.k8s.io"
VERSION = "v1"

# The label of a namespace whose claims may ask for administrators' access to devices (KEP-5018).
ADMIN_ACCESS_LABEL = "resource.kubernetes.io/admin-access"

# A quantity: where it is, and how to read and write it.
Amounts = Iterator[tuple[str, Any, Any]]


def _canonicalise(amounts: Amounts) -> None:
    for _path, holder, key in amounts:
        value = holder[key] if isinstance(holder, dict | list) else getattr(holder, key)
        form = canonical(value)
        if form is None:
            continue
        if isinstance(holder, dict | list):
            holder[key] = form
        else:
            setattr(holder, key, form)


def _malformed(amounts: Amounts) -> list[FieldError]:
    """What is no quantity: nothing else is looked at then."""
    found: list[FieldError] = []
    for path, holder, key in amounts:
        value = holder[key] if isinstance(holder, dict | list) else getattr(holder, key)
        if canonical(value) is None:
            found.append(invalid_value(path, value, quantity.WRONG_FORMAT))
    return found


class DeviceClassStrategy(GroupStrategy):
    """Device classes."""

    generation = True

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole class."""
        return resource_claims.validate_class_spec(obj.spec)

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """As a new one; selectors and configurations that stay are not looked into again."""
        return resource_claims.validate_class_spec(new.spec, old.spec)


class ResourceClaimStrategy(GroupStrategy):
    """Claims of devices."""

    has_status = True
    resets = METADATA_RESETS
    status_keeps = STATUS_METADATA
    columns = (
        NAME_COLUMN,
        Column("State", description="A summary of the current state (allocated, pending, reserved)."),
        AGE_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """Exactly one device a request."""
        child(child(obj, "spec"), "devices")
        _default_claim(obj.spec)
        _canonicalise(_claim_amounts(obj.spec, "spec"))
        for result in _results(obj):
            _default_tolerations(result)

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole claim."""
        return _malformed(_claim_amounts(obj.spec, "spec")) or resource_claims.validate_claim_spec(
            obj.spec, "spec"
        )

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The spec stays."""
        found: list[FieldError] = []
        meta.immutable(new.spec, old.spec, "spec", found)
        return found

    def prepare_for_status_update(self, new: Any, old: Any) -> None:
        """Devices that the claim has no more have no status either."""
        super().prepare_for_status_update(new, old)
        status = new.status
        if status is not None and status.devices:
            gone = resource_claims.deallocated(new, old)
            status.devices = [
                device for device in status.devices if resource_claims.base_id(device) not in gone
            ] or None

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Consumers, each once, of an allocated claim; an allocation stays."""
        return resource_claims.validate_claim_status(new, old)

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get resourceclaims` shows it."""
        return [obj.metadata.name, _claim_state(obj), printing.age(obj, now)]


def _results(claim: Any) -> Any:
    allocation = claim.status.allocation if claim.status is not None else None
    devices = allocation.devices if allocation is not None else None
    return (devices.results if devices is not None else None) or ()


def asks_for_admin_access(obj: Any, old: Any, subresource: str) -> str:
    """Where a claim, a template or a new allocation wants administrators' access, which needs the namespace's consent; "" when it does not."""
    if subresource == "status":
        if any(result.adminAccess for result in _results(old)):
            return ""
        wanted, path = _results(obj), "status.allocation.devices.results[{}].adminAccess"
        asked = [result.adminAccess for result in wanted]
    elif old is not None:
        return ""
    else:
        spec, path = obj.spec, "spec.devices.requests[{}].adminAccess"
        if hasattr(spec, "spec"):
            spec = spec.spec
        devices = spec.devices if spec is not None else None
        requests = (devices.requests if devices is not None else None) or ()
        asked = [request.exactly is not None and request.exactly.adminAccess for request in requests]
    return next((path.format(index) for index, value in enumerate(asked) if value), "")


def _claim_state(claim: Any) -> str:
    states = []
    if claim.metadata.deletionTimestamp:
        states.append("deleted")
    status = claim.status
    if status is None or status.allocation is None:
        if not claim.metadata.deletionTimestamp:
            states.append("pending")
    else:
        states.append("allocated")
        states.append("reserved" if status.reservedFor else "")
    return ",".join(state for state in states if state)


def _default_tolerations(holder: Any) -> None:
    for toleration in holder.tolerations or ():
        if not toleration.operator:
            toleration.operator = "Equal"


def _alternatives(spec: Any) -> Iterator[tuple[str, Any]]:
    """The requests for devices of a claim, with their paths below the spec."""
    for index, request in enumerate((spec.devices.requests if spec.devices is not None else None) or ()):
        path = f"devices.requests[{index}]"
        if request.exactly is not None:
            yield f"{path}.exactly", request.exactly
        for choice_index, choice in enumerate(request.firstAvailable or ()):
            yield f"{path}.firstAvailable[{choice_index}]", choice


def _default_claim(spec: Any) -> None:
    for _path, request in _alternatives(spec):
        if not request.allocationMode:
            request.allocationMode = "ExactCount"
        if request.allocationMode == "ExactCount" and not request.count:
            request.count = 1
        _default_tolerations(request)


def _claim_amounts(spec: Any, path: str) -> Amounts:
    for where, request in _alternatives(spec):
        amounts = (request.capacity.requests if request.capacity is not None else None) or {}
        for key in amounts:
            yield f"{path}.{where}.capacity.requests[{key}]", amounts, key


class ResourceClaimTemplateStrategy(GroupStrategy):
    """Templates of claims."""

    def default(self, obj: Any) -> None:
        """As claims."""
        child(child(obj, "spec"), "metadata")
        spec = child(obj.spec, "spec")
        child(spec, "devices")
        _default_claim(spec)
        _canonicalise(_claim_amounts(spec, "spec.spec"))

    def validate(self, obj: Any) -> list[FieldError]:
        """Labels and annotations, and the claim in it."""
        found: list[FieldError] = []
        metadata = obj.spec.metadata
        if metadata is not None:
            meta.validate_annotations(metadata.annotations or {}, "spec.metadata.annotations", found)
            meta.validate_labels(metadata.labels or {}, "spec.metadata.labels", found)
        return found + _malformed(
            _claim_amounts(obj.spec.spec, "spec.spec")
        ) or resource_claims.validate_claim_spec(obj.spec.spec, "spec.spec")

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The spec stays."""
        found: list[FieldError] = []
        meta.immutable(new.spec, old.spec, "spec", found)
        return found


_SLICE_FIELDS: Mapping[str, Callable[[Any], str]] = {
    "spec.driver": lambda obj: obj.spec.driver or "",
    "spec.nodeName": lambda obj: obj.spec.nodeName or "",
}


def _slice_amounts(spec: Any) -> Amounts:
    for index, device in enumerate(spec.devices or ()):
        path = f"spec.devices[{index}]"
        for name, capacity in (device.capacity or {}).items():
            where = f"{path}.capacity[{name}]"
            yield f"{where}.value", capacity, "value"
            if capacity.requestPolicy is not None:
                yield from _policy_amounts(capacity.requestPolicy, f"{where}.requestPolicy")
        for number, consumed in enumerate(device.consumesCounters or ()):
            for name, counter in (consumed.counters or {}).items():
                yield f"{path}.consumesCounters[{number}].counters[{name}].value", counter, "value"
    for index, counters in enumerate(spec.sharedCounters or ()):
        for name, counter in (counters.counters or {}).items():
            yield f"spec.sharedCounters[{index}].counters[{name}].value", counter, "value"


def _policy_amounts(policy: Any, path: str) -> Amounts:
    if policy.default is not None:
        yield f"{path}.default", policy, "default"
    for index in range(len(policy.validValues or ())):
        yield f"{path}.validValues[{index}]", policy.validValues, index
    if policy.validRange is not None:
        for name in ("min", "max", "step"):
            if getattr(policy.validRange, name) is not None:
                yield f"{path}.validRange.{name}", policy.validRange, name


class ResourceSliceStrategy(GroupStrategy):
    """Devices that a driver offers."""

    generation = True
    selectable_fields = _SLICE_FIELDS
    columns = (
        NAME_COLUMN,
        Column("Node", description="The node that provides the devices."),
        Column("Driver", description="The driver that provides the devices."),
        Column("Pool", description="The pool that the devices belong to."),
        AGE_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """An empty spec for an absent one; taints are as old as the request; canonical quantities."""
        spec = child(obj, "spec")
        for device in spec.devices or ():
            for capacity in (device.capacity or {}).values():
                if capacity.value is None:
                    capacity.value = "0"
            for taint in device.taints or ():
                if taint.timeAdded is None:
                    taint.timeAdded = times.now()
        for counters in _counter_maps(spec):
            for counter in counters.values():
                if counter.value is None:
                    counter.value = "0"
        _canonicalise(_slice_amounts(spec))

    def prepare_for_create(self, obj: Any) -> None:
        """Fields of alpha features are dropped."""
        super().prepare_for_create(obj)
        _drop_alpha(obj.spec)

    def prepare_for_update(self, new: Any, old: Any) -> None:
        """Fields of alpha features are dropped."""
        _drop_alpha(new.spec)
        super().prepare_for_update(new, old)

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole slice."""
        return _malformed(_slice_amounts(obj.spec)) or resource_slices.validate_slice(obj.spec)

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """As a new one; driver, pool and node stay."""
        return _malformed(_slice_amounts(new.spec)) or resource_slices.validate_slice(new.spec, old.spec)

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Drivers are written in lower case."""
        driver = obj.spec.driver or ""
        if driver == driver.lower():
            return []
        return [f'spec.driver: driver names should be lowercase; "{driver}" contains uppercase characters']

    def terms(self, obj: Any) -> tuple[str, ...]:
        """By node, for the kubelets."""
        node = obj.spec.nodeName if obj.spec is not None else None
        return (f"spec.nodeName={node}",) if node else ()

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get resourceslices` shows it."""
        spec = obj.spec
        return [
            obj.metadata.name,
            spec.nodeName or "",
            spec.driver or "",
            (spec.pool.name if spec.pool is not None else None) or "",
            printing.age(obj, now),
        ]


def _counter_maps(spec: Any) -> Iterator[dict[str, Any]]:
    for device in spec.devices or ():
        for consumed in device.consumesCounters or ():
            yield consumed.counters or {}
    for counters in spec.sharedCounters or ():
        yield counters.counters or {}


def _drop_alpha(spec: Any) -> None:
    for device in spec.devices or ():
        device.nodeAllocatableResourceMappings = None
        for attribute in (device.attributes or {}).values():
            attribute.bools = attribute.ints = attribute.strings = attribute.versions = None


RESOURCES = (
    declare(GROUP, VERSION, "deviceclasses", "DeviceClass", DeviceClassStrategy(), namespaced=False),
    declare(GROUP, VERSION, "resourceclaims", "ResourceClaim", ResourceClaimStrategy(), namespaced=True),
    declare(
        GROUP,
        VERSION,
        "resourceclaimtemplates",
        "ResourceClaimTemplate",
        ResourceClaimTemplateStrategy(),
        namespaced=True,
    ),
    declare(GROUP, VERSION, "resourceslices", "ResourceSlice", ResourceSliceStrategy(), namespaced=False),
)
