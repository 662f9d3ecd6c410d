"""Validation of claims, their templates and device classes (upstream's `apis/resource/validation`).

Selectors are compiled against what is known of devices, and refused when their estimate is too high.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from lakh.apis import meta
from lakh.apis.conditions import validate_conditions
from lakh.apis.groups import resource_checks as check
from lakh.apis.placement import validate_node_selector
from lakh.apis.resourcelists import is_extended
from lakh.machinery import addresses, cel, cel_device
from lakh.machinery.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    too_long,
    too_many,
)

# Upstream's bounds.
MAX_REQUESTS = 32
MAX_FIRST_AVAILABLE = 8
MAX_CONSTRAINTS = 32
MAX_CONFIGS = 32
MAX_SELECTORS = 32
MAX_RESULTS = 32
MAX_RESERVED_FOR = 256
MAX_DEVICE_CONDITIONS = 8
MAX_IPS = 16
MAX_INTERFACE_NAME_BYTES = 256
MAX_HARDWARE_ADDRESS_BYTES = 128
MAX_EXPRESSION_BYTES = 10 * 1024
MAX_RAW_BYTES = 10 * 1024

_MODES = ("All", "ExactCount")
_SOURCES = ("FromClaim", "FromClass")
_ONE_OF = "exactly one of `exactly` or `firstAvailable` is required"
_NOT_A_REQUEST = (
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)

# Requests of a claim → their subrequests.
RequestNames = Mapping[str, Set[str]]


def validate_claim_spec(spec: Any, path: str) -> list[FieldError]:
    """A whole ResourceClaimSpec."""
    found: list[FieldError] = []
    devices = spec.devices if spec is not None else None
    if devices is None:
        return found
    requests = request_names(devices)
    path = f"{path}.devices"
    check.each_once(
        devices.requests, MAX_REQUESTS, _request, lambda r: r.name or "", f"{path}.requests", found
    )

    def constraint(item: Any, where: str, found: list[FieldError]) -> None:
        _references(item.requests, requests, where, found)
        if item.matchAttribute is not None:
            check.fully_qualified_name(item.matchAttribute, f"{where}.matchAttribute", found)
        elif item.distinctAttribute is not None:
            check.fully_qualified_name(item.distinctAttribute, f"{where}.distinctAttribute", found)
        else:
            found.append(
                required(
                    where,
                    'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set',
                )
            )

    def config(item: Any, where: str, found: list[FieldError]) -> None:
        _references(item.requests, requests, where, found)
        _configuration(item, where, found)

    check.each(devices.constraints, MAX_CONSTRAINTS, constraint, f"{path}.constraints", found)
    check.each(devices.config, MAX_CONFIGS, config, f"{path}.config", found)
    return found


def request_names(devices: Any) -> RequestNames:
    """The names of a claim's requests, with those of their subrequests."""
    return {
        request.name or "": {choice.name or "" for choice in request.firstAvailable or ()}
        for request in devices.requests or ()
    }


def _request(request: Any, path: str, found: list[FieldError]) -> None:
    check.dns_label(request.name, f"{path}.name", found)
    if request.exactly is not None and request.firstAvailable:
        found.append(invalid_value(path, None, f"{_ONE_OF}, but multiple fields are set"))
    elif request.exactly is not None:
        _device_request(request.exactly, f"{path}.exactly", found)
    elif request.firstAvailable:
        check.each_once(
            request.firstAvailable,
            MAX_FIRST_AVAILABLE,
            _subrequest,
            lambda choice: choice.name or "",
            f"{path}.firstAvailable",
            found,
        )
    else:
        found.append(required(path, _ONE_OF))


def _subrequest(request: Any, path: str, found: list[FieldError]) -> None:
    check.dns_label(request.name, f"{path}.name", found)
    _device_request(request, path, found)


def _device_request(request: Any, path: str, found: list[FieldError]) -> None:
    name = request.deviceClassName
    if not name:
        found.append(required(f"{path}.deviceClassName"))
    else:
        meta.report(meta.check_dns_subdomain(name), f"{path}.deviceClassName", name, found)
    check.each(request.selectors, MAX_SELECTORS, selector, f"{path}.selectors", found)
    count = request.count or 0
    match request.allocationMode:
        case "All":
            if count != 0:
                found.append(
                    invalid_value(
                        f"{path}.count", count, "must not be specified when allocationMode is 'All'"
                    )
                )
        case "ExactCount":
            if count <= 0:
                found.append(invalid_value(f"{path}.count", count, "must be greater than zero"))
        case mode:
            found.append(not_supported(f"{path}.allocationMode", mode or "", _MODES))
    for index, toleration in enumerate(request.tolerations or ()):
        check.device_toleration(toleration, f"{path}.tolerations[{index}]", found)


def selector(item: Any, path: str, found: list[FieldError]) -> None:
    """A DeviceSelector: an expression that compiles and is true or false."""
    if item.cel is None:
        found.append(required(f"{path}.cel"))
        return
    path, source = f"{path}.cel.expression", item.cel.expression or ""
    if len(source.encode()) > MAX_EXPRESSION_BYTES:
        found.append(too_long(path, MAX_EXPRESSION_BYTES))
        return
    try:
        cost = cel_device.check(source)
    except cel.ExpressionError as error:
        found.append(invalid_value(path, source, str(error)))
        return
    if cost > cel_device.COST_LIMIT:
        found.append(forbidden_field(path, "too complex, exceeds cost limit"))


def _references(wanted: list[str] | None, requests: RequestNames, path: str, found: list[FieldError]) -> None:
    check.each_once(
        wanted,
        MAX_REQUESTS,
        lambda name, where, found: _reference(name, requests, where, found),
        lambda name: name,
        f"{path}.requests",
        found,
    )


def _reference(name: str, requests: RequestNames, path: str, found: list[FieldError]) -> None:
    parts = name.split("/")
    if len(parts) > 2:
        found.append(invalid_value(path, name, _NOT_A_REQUEST))
        return
    for part in parts:
        check.dns_label(part, path, found)
    if parts[0] not in requests or (len(parts) == 2 and parts[1] not in requests[parts[0]]):
        found.append(invalid_value(path, name, _NOT_A_REQUEST))


def _configuration(config: Any, path: str, found: list[FieldError]) -> None:
    opaque = config.opaque
    if opaque is None:
        found.append(required(f"{path}.opaque"))
        return
    meta.validate_driver_name(opaque.driver, f"{path}.opaque.driver", found)
    check.raw_object(opaque.parameters, MAX_RAW_BYTES, f"{path}.opaque.parameters", found)


def validate_class_spec(spec: Any, old: Any = None) -> list[FieldError]:
    """A whole DeviceClassSpec. What an update leaves as it was is not looked into again."""
    found: list[FieldError] = []
    known_selectors = old is not None and meta.same(spec.selectors, old.selectors)
    known_config = old is not None and meta.same(spec.config, old.config)
    check.each(None if known_selectors else spec.selectors, MAX_SELECTORS, selector, "spec.selectors", found)
    check.each(None if known_config else spec.config, MAX_CONFIGS, _configuration, "spec.config", found)
    name = spec.extendedResourceName
    if name is not None and not is_extended(name):
        found.append(
            invalid_value("spec.extendedResourceName", name, "must be a valid extended resource name")
        )
    return found


def validate_claim_status(new: Any, old: Any) -> list[FieldError]:
    """The status of a claim: who uses it, what it was given, what the devices say."""
    found: list[FieldError] = []
    status, before = new.status, old.status
    if status is None:
        return found
    requests = request_names(new.spec.devices) if new.spec.devices is not None else {}
    check.each_once(
        status.reservedFor, MAX_RESERVED_FOR, _consumer, lambda c: c.uid or "", "status.reservedFor", found
    )
    results = (status.allocation.devices if status.allocation is not None else None) or None
    allocated = {_device_id(result) for result in (results.results if results is not None else None) or ()}
    check.each_once(
        status.devices,
        None,
        lambda device, path, found: _device_status(device, allocated, path, found),
        _device_id,
        "status.devices",
        found,
    )
    _consumers(new, old, found)
    was = before.allocation if before is not None else None
    if was is not None and status.allocation is not None:
        meta.immutable(status.allocation, was, "status.allocation", found)
    elif status.allocation is not None:
        _allocation(status.allocation, requests, "status.allocation", found)
    return found


def _consumers(new: Any, old: Any, found: list[FieldError]) -> None:
    consumers = new.status.reservedFor or ()
    if not consumers:
        return
    if new.status.allocation is None:
        found.append(
            forbidden_field("status.reservedFor", "may not be specified when `allocated` is not set")
        )
    elif new.metadata.deletionTimestamp is not None:
        before = (old.status.reservedFor if old.status is not None else None) or ()
        if any(consumer not in before for consumer in consumers):
            found.append(
                forbidden_field(
                    "status.reservedFor",
                    "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set",
                )
            )


def _consumer(consumer: Any, path: str, found: list[FieldError]) -> None:
    for name in ("resource", "name", "uid"):
        if not getattr(consumer, name):
            found.append(required(f"{path}.{name}"))


def _device_id(device: Any) -> str:
    """A device of a pool, and the share of it: `driver/pool/device[/share]`."""
    name = f"{device.driver or ''}/{device.pool or ''}/{device.device or ''}"
    return name if device.shareID is None else f"{name}/{device.shareID}"


def deallocated(new: Any, old: Any) -> set[str]:
    """The devices that a claim had and has no more, without shares."""

    def of(claim: Any) -> set[str]:
        allocation = claim.status.allocation if claim.status is not None else None
        devices = allocation.devices if allocation is not None else None
        return {base_id(result) for result in (devices.results if devices is not None else None) or ()}

    return of(old) - of(new)


def base_id(device: Any) -> str:
    """A device of a pool: `driver/pool/device`."""
    return f"{device.driver or ''}/{device.pool or ''}/{device.device or ''}"


def _device_status(device: Any, allocated: Set[str], path: str, found: list[FieldError]) -> None:
    meta.validate_driver_name(device.driver, f"{path}.driver", found)
    check.pool_name(device.pool, f"{path}.pool", found)
    check.dns_label(device.device, f"{path}.device", found)
    if device.shareID is not None:
        check.uid(device.shareID, f"{path}.shareID", found)
    if _device_id(device) not in allocated:
        found.append(invalid_value(path, _device_id(device), "must be an allocated device in the claim"))
    if len(device.conditions or ()) > MAX_DEVICE_CONDITIONS:
        found.append(too_many(f"{path}.conditions", len(device.conditions), MAX_DEVICE_CONDITIONS))
    validate_conditions(device.conditions, f"{path}.conditions", found)
    if device.data is not None:
        check.raw_object(device.data, MAX_RAW_BYTES, f"{path}.data", found)
    network = device.networkData
    if network is None:
        return
    path = f"{path}.networkData"
    for name, most in (
        ("interfaceName", MAX_INTERFACE_NAME_BYTES),
        ("hardwareAddress", MAX_HARDWARE_ADDRESS_BYTES),
    ):
        if len((getattr(network, name) or "").encode()) > most:
            found.append(too_long(f"{path}.{name}", most))
    check.each_once(network.ips, MAX_IPS, _interface_address, lambda ip: ip, f"{path}.ips", found)


def _interface_address(text: str, path: str, found: list[FieldError]) -> None:
    meta.report(addresses.interface(text), path, text, found)


def _allocation(allocation: Any, requests: RequestNames, path: str, found: list[FieldError]) -> None:
    def result(item: Any, where: str, found: list[FieldError]) -> None:
        _reference(item.request or "", requests, f"{where}.request", found)
        meta.validate_driver_name(item.driver, f"{where}.driver", found)
        check.pool_name(item.pool, f"{where}.pool", found)
        check.dns_label(item.device, f"{where}.device", found)
        check.binding_conditions(item, where, found)
        for index, toleration in enumerate(item.tolerations or ()):
            check.device_toleration(toleration, f"{where}.tolerations[{index}]", found)
        if item.shareID is not None:
            check.uid(item.shareID, f"{where}.shareID", found)

    def config(item: Any, where: str, found: list[FieldError]) -> None:
        meta.one_of(item.source, _SOURCES, f"{where}.source", found)
        _references(item.requests, requests, where, found)
        _configuration(item, where, found)

    devices = allocation.devices
    if devices is not None:
        check.each(devices.results, MAX_RESULTS, result, f"{path}.devices.results", found)
        check.each(devices.config, 2 * MAX_CONFIGS, config, f"{path}.devices.config", found)
    if allocation.nodeSelector is not None:
        validate_node_selector(allocation.nodeSelector, f"{path}.nodeSelector", found)
