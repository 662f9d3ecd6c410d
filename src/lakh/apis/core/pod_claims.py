"""What a pod's status says of the claim that a scheduler has made for its extended resources.

Rules and wordings: upstream's pkg/apis/core/validation, validatePodExtendedResourceClaimStatus (v1.36).
"""

from __future__ import annotations

from typing import Any

from lakh.apis.meta import check_dns_subdomain, report
from lakh.machinery import names
from lakh.machinery.errors import FieldError, duplicate, invalid_value, required

__all__ = ["validate_extended_claim"]

PATH = "status.extendedResourceClaimStatus"
PLACES = "spec.initContainers{0} or spec.containers{0}"


def validate_extended_claim(status: Any, spec: Any) -> list[FieldError]:
    """Which request of the claim serves which resource of which container."""
    found: list[FieldError] = []
    requests = {
        container.name: (container.resources.requests if container.resources is not None else None) or {}
        for container in (*(spec.initContainers or ()), *(spec.containers or ()))
    }
    mappings = status.requestMappings or ()
    if not mappings:
        found.append(required(f"{PATH}.requestMappings", "at least one request mapping is required"))
    seen: set[tuple[str, str, str]] = set()
    for index, mapping in enumerate(mappings):
        path = f"{PATH}.requestMappings[{index}]"
        fields = ("containerName", "resourceName", "requestName")
        values = (mapping.containerName or "", mapping.resourceName or "", mapping.requestName or "")
        if values[0] not in requests:
            found.append(
                invalid_value(
                    f"{path}.containerName",
                    values[0],
                    f"must match the name of an entry in {PLACES.format('.name')}",
                )
            )
        elif values[1] not in requests[values[0]]:
            where = PLACES.format(".resources.requests")
            found.append(
                invalid_value(
                    f"{path}.resourceName",
                    values[1],
                    f"must match the extended resource name of an entry in {where}",
                )
            )
        report(names.dns_label(values[2]), f"{PATH}.requestName", values[2], found)
        if values in seen:
            found += [
                duplicate(f"{path}.{field}", value) for field, value in zip(fields, values, strict=True)
            ]
        seen.add(values)
    if not status.resourceClaimName:
        found.append(required(f"{PATH}.resourceClaimName"))
    else:
        report(
            check_dns_subdomain(status.resourceClaimName),
            f"{PATH}.resourceClaimName",
            status.resourceClaimName,
            found,
        )
    return found
