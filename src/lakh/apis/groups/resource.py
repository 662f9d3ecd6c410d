"""resource.k8s.io/v1: dynamic resource allocation: device classes, claims and their templates, slices of devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lakh.apis import meta
from lakh.apis.groups import printing
from lakh.apis.groups.base import METADATA_RESETS, GroupStrategy, child, declare
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, STATUS_METADATA, Column
from lakh.apis.resourcelists import canonical
from lakh.machinery import names
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    too_many,
)

GROUP = "resource.k8s.io"
VERSION = "v1"

# Upstream's bounds.
MAX_REQUESTS = 32
MAX_FIRST_AVAILABLE = 8
MAX_DEVICES = 128
MAX_RESERVED_FOR = 256

_MODES = ("All", "ExactCount")


class DeviceClassStrategy(GroupStrategy):
    """Device classes."""

    generation = True


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
        _default_claim(child(obj, "spec"))

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole claim."""
        return _validate_claim(obj.spec, "spec")

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The spec stays."""
        found: list[FieldError] = []
        meta.immutable(new.spec, old.spec, "spec", found)
        return found

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Consumers, each once, of an allocated claim; an allocation stays."""
        found: list[FieldError] = []
        status = new.status
        if status is None:
            return found
        consumers = status.reservedFor or ()
        if len(consumers) > MAX_RESERVED_FOR:
            found.append(too_many("status.reservedFor", len(consumers), MAX_RESERVED_FOR))
        if consumers and status.allocation is None:
            found.append(
                forbidden_field("status.reservedFor", "may not be specified when `allocated` is not set")
            )
        seen: set[str] = set()
        for index, consumer in enumerate(consumers):
            path = f"status.reservedFor[{index}]"
            for name in ("resource", "name", "uid"):
                if not getattr(consumer, name):
                    found.append(required(f"{path}.{name}"))
            if consumer.uid in seen:
                found.append(duplicate(f"{path}.uid", consumer.uid))
            seen.add(consumer.uid or "")
        before = old.status.allocation if old.status is not None else None
        if before is not None and status.allocation is not None:
            meta.immutable(status.allocation, before, "status.allocation", found)
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get resourceclaims` shows it."""
        return [obj.metadata.name, _claim_state(obj), printing.age(obj, now)]


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


def _default_claim(spec: Any) -> None:
    for request in (spec.devices.requests if spec.devices is not None else None) or ():
        alternatives = [] if request.exactly is None else [request.exactly]
        for part in [*alternatives, *(request.firstAvailable or ())]:
            if not part.allocationMode:
                part.allocationMode = "ExactCount"
            if part.allocationMode == "ExactCount" and part.count is None:
                part.count = 1
            for toleration in part.tolerations or ():
                if not toleration.operator:
                    toleration.operator = "Equal"


def _validate_claim(spec: Any, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    requests = (spec.devices.requests if spec.devices is not None else None) or ()
    where = f"{path}.devices.requests"
    if len(requests) > MAX_REQUESTS:
        found.append(too_many(where, len(requests), MAX_REQUESTS))
    seen: set[str] = set()
    for index, request in enumerate(requests):
        at = f"{where}[{index}]"
        _validate_request_name(request.name, f"{at}.name", seen, found)
        choices = request.firstAvailable or ()
        if request.exactly is None and not choices:
            found.append(required(at, "exactly one of `exactly` or `firstAvailable` is required"))
        elif request.exactly is not None and choices:
            found.append(invalid_value(at, None, "exactly one of `exactly` or `firstAvailable` is required"))
        if len(choices) > MAX_FIRST_AVAILABLE:
            found.append(too_many(f"{at}.firstAvailable", len(choices), MAX_FIRST_AVAILABLE))
        if request.exactly is not None:
            _validate_device_request(request.exactly, f"{at}.exactly", found)
        names_here: set[str] = set()
        for position, choice in enumerate(choices):
            inner = f"{at}.firstAvailable[{position}]"
            _validate_request_name(choice.name, f"{inner}.name", names_here, found)
            _validate_device_request(choice, inner, found)
    return found


def _validate_request_name(name: str | None, path: str, seen: set[str], found: list[FieldError]) -> None:
    if not name:
        found.append(required(path))
        return
    meta.report(names.dns_label(name), path, name, found)
    if name in seen:
        found.append(duplicate(path, name))
    seen.add(name)


def _validate_device_request(request: Any, path: str, found: list[FieldError]) -> None:
    name = request.deviceClassName
    if not name:
        found.append(required(f"{path}.deviceClassName"))
    else:
        meta.report(names.dns_subdomain(name), f"{path}.deviceClassName", name, found)
    count = request.count or 0
    if request.allocationMode == "All":
        if count != 0:
            found.append(
                invalid_value(f"{path}.count", count, "must not be specified when allocationMode is 'All'")
            )
    elif request.allocationMode == "ExactCount":
        if count <= 0:
            found.append(invalid_value(f"{path}.count", count, "must be greater than zero"))
    else:
        found.append(not_supported(f"{path}.allocationMode", request.allocationMode, _MODES))


class ResourceClaimTemplateStrategy(GroupStrategy):
    """Templates of claims."""

    def default(self, obj: Any) -> None:
        """As claims."""
        _default_claim(child(child(obj, "spec"), "spec"))

    def validate(self, obj: Any) -> list[FieldError]:
        """The claim in it."""
        return _validate_claim(obj.spec.spec, "spec.spec")

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The spec stays."""
        found: list[FieldError] = []
        meta.immutable(new.spec, old.spec, "spec", found)
        return found


_SLICE_FIELDS: Mapping[str, Callable[[Any], str]] = {
    "spec.driver": lambda obj: obj.spec.driver or "",
    "spec.nodeName": lambda obj: obj.spec.nodeName or "",
}


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
        """An empty spec for an absent one; canonical quantities."""
        spec = child(obj, "spec")
        values: list[Any] = []
        for device in spec.devices or ():
            values += (device.capacity or {}).values()
            for consumed in device.consumesCounters or ():
                values += (consumed.counters or {}).values()
        for counters in spec.sharedCounters or ():
            values += (counters.counters or {}).values()
        for holder in values:
            if holder is not None and holder.value is not None:
                holder.value = canonical(holder.value) or holder.value

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole slice."""
        spec = obj.spec
        found: list[FieldError] = []
        if not spec.driver:
            found.append(required("spec.driver"))
        else:
            meta.report(names.dns_subdomain(spec.driver), "spec.driver", spec.driver, found)
        pool = spec.pool
        if pool is None or not pool.name:
            found.append(required("spec.pool.name"))
        else:
            for part in pool.name.split("/"):
                meta.report(names.dns_subdomain(part), "spec.pool.name", pool.name, found)
        count = (pool.resourceSliceCount if pool is not None else None) or 0
        if count <= 0:
            found.append(invalid_value("spec.pool.resourceSliceCount", count, "must be greater than zero"))
        scopes = [
            name
            for name in ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
            if getattr(spec, name)
        ]
        if len(scopes) != 1:
            choice = (
                "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
            )
            found.append(
                invalid_value("spec", "{" + ", ".join(f"`{s}`" for s in scopes) + "}", choice)
                if scopes
                else required("spec", choice)
            )
        devices = spec.devices or ()
        if len(devices) > MAX_DEVICES:
            found.append(too_many("spec.devices", len(devices), MAX_DEVICES))
        seen: set[str] = set()
        for index, device in enumerate(devices):
            _validate_request_name(device.name, f"spec.devices[{index}].name", seen, found)
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """Driver, pool and node stay."""
        found = self.validate(new)
        meta.immutable(new.spec.nodeName, old.spec.nodeName, "spec.nodeName", found)
        meta.immutable(new.spec.driver, old.spec.driver, "spec.driver", found)
        names_of = [s.pool.name if s.pool is not None else None for s in (new.spec, old.spec)]
        meta.immutable(names_of[0], names_of[1], "spec.pool.name", found)
        return found

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
