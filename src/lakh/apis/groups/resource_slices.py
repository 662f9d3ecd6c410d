"""Validation of resource slices (upstream's `apis/resource/validation`, ValidateResourceSlice)."""

from __future__ import annotations

import re
from typing import Any

from lakh.apis import meta
from lakh.apis.groups import resource_checks as check
from lakh.apis.placement import validate_node_selector
from lakh.machinery import quantity
from lakh.machinery.errors import FieldError, forbidden_field, invalid_value, required, too_long

# Upstream's bounds.
MAX_DEVICES = 128
MAX_DEVICES_ADVANCED = 64  # where devices have taints or consume counters
MAX_COUNTER_SETS = 8
MAX_COUNTERS = 32
MAX_CONSUMPTIONS = 2
MAX_ATTRIBUTES_AND_CAPACITIES = 32
MAX_TAINTS = 16
MAX_ATTRIBUTE_BYTES = 64
MAX_VALID_VALUES = 10

_SCOPES = "`nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection`"
_DEVICE_SCOPES = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true "
    "in the ResourceSlice spec"
)
_UNSET_OR_TRUE = "must be either unset or set to true"

_NUMBER = r"(0|[1-9]\d*)"
_PRE = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_is_version = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_PRE}(\.{_PRE})*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?", re.ASCII
).fullmatch


def validate_slice(spec: Any, old: Any = None) -> list[FieldError]:
    """A whole ResourceSliceSpec; `old` is the one before an update."""
    found: list[FieldError] = []
    meta.validate_driver_name(spec.driver, "spec.driver", found)
    pool = spec.pool
    name, generation, count = (
        (pool.name, pool.generation or 0, pool.resourceSliceCount or 0) if pool is not None else ("", 0, 0)
    )
    check.pool_name(name, "spec.pool.name", found)
    if count <= 0:
        found.append(invalid_value("spec.pool.resourceSliceCount", count, "must be greater than zero"))
    if generation < 0:
        found.append(
            invalid_value("spec.pool.generation", generation, "must be greater than or equal to zero")
        )
    if old is not None:
        meta.immutable(name, old.pool.name if old.pool is not None else "", "spec.pool.name", found)
        meta.immutable(spec.driver, old.driver, "spec.driver", found)
        meta.immutable(spec.nodeName, old.nodeName, "spec.nodeName", found)
    _scope(spec, found)
    if spec.sharedCounters is not None and spec.devices is not None:
        found.append(invalid_value("spec", "", "only one of `sharedCounters` or `devices` is allowed"))
    devices = spec.devices or ()
    advanced = any(device.taints or device.consumesCounters for device in devices)
    known = {device.name: device for device in (old.devices if old is not None else None) or ()}
    check.each_once(
        devices,
        MAX_DEVICES_ADVANCED if advanced else MAX_DEVICES,
        lambda device, path, found: _device(
            device, known.get(device.name), bool(spec.perDeviceNodeSelection), path, found
        ),
        lambda device: device.name or "",
        "spec.devices",
        found,
    )
    check.each_once(
        spec.sharedCounters,
        MAX_COUNTER_SETS,
        _counter_set,
        lambda counters: counters.name or "",
        "spec.sharedCounters",
        found,
    )
    return found


def _node_scope(holder: Any, path: str, empty: str, found: list[FieldError]) -> list[str]:
    """Which of node name, selector and all nodes are chosen."""
    chosen: list[str] = []
    if holder.nodeName:
        chosen.append("`nodeName`")
        meta.report(meta.check_dns_subdomain(holder.nodeName), f"{path}.nodeName", holder.nodeName, found)
    elif holder.nodeName is not None:
        found.append(invalid_value(f"{path}.nodeName", holder.nodeName, empty))
    if holder.nodeSelector is not None:
        chosen.append("`nodeSelector`")
        validate_node_selector(holder.nodeSelector, f"{path}.nodeSelector", found)
    return chosen


def _flag(holder: Any, name: str, path: str, chosen: list[str], found: list[FieldError]) -> None:
    value = getattr(holder, name)
    if value:
        chosen.append(f"`{name}`")
    elif value is not None:
        found.append(invalid_value(f"{path}.{name}", value, _UNSET_OR_TRUE))


def _scope(spec: Any, found: list[FieldError]) -> None:
    chosen = _node_scope(spec, "spec", "must be either unset or set to a non-empty string", found)
    if spec.nodeSelector is not None and len(spec.nodeSelector.nodeSelectorTerms or ()) != 1:
        found.append(
            invalid_value(
                "spec.nodeSelector.nodeSelectorTerms",
                spec.nodeSelector.nodeSelectorTerms,
                "must have exactly one node selector term",
            )
        )
    _flag(spec, "allNodes", "spec", chosen, found)
    _flag(spec, "perDeviceNodeSelection", "spec", chosen, found)
    if not chosen:
        found.append(required("spec", f"exactly one of {_SCOPES} is required"))
    elif len(chosen) > 1:
        found.append(
            invalid_value(
                "spec",
                f"{{{', '.join(chosen)}}}",
                f"exactly one of {_SCOPES} is required, but multiple fields are set",
            )
        )


def _device(device: Any, known: Any, own_scope: bool, path: str, found: list[FieldError]) -> None:
    check.dns_label(device.name, f"{path}.name", found)
    size = len(device.attributes or ()) + len(device.capacity or ())
    if size > MAX_ATTRIBUTES_AND_CAPACITIES:
        found.append(
            invalid_value(
                path,
                size,
                f"the total number of attributes and capacities must not exceed {MAX_ATTRIBUTES_AND_CAPACITIES}",
            )
        )
    longest = check.MAX_QUALIFIED_NAME_BYTES
    check.each_entry(
        device.attributes, None, longest, check.qualified_name, _attribute, f"{path}.attributes", found
    )
    if known is None or not meta.same(device.capacity, known.capacity):
        rule = _shared_capacity if device.allowMultipleAllocations else _single_capacity
        check.each_entry(
            device.capacity, None, longest, check.qualified_name, rule, f"{path}.capacity", found
        )
    if known is None or not meta.same(device.taints, known.taints):
        check.each(device.taints, MAX_TAINTS, check.device_taint, f"{path}.taints", found)
    check.each_once(
        device.consumesCounters,
        MAX_CONSUMPTIONS,
        _consumption,
        lambda consumed: consumed.counterSet or "",
        f"{path}.consumesCounters",
        found,
    )
    if own_scope:
        chosen = _node_scope(device, path, "must not be empty", found)
        _flag(device, "allNodes", path, chosen, found)
        if not chosen:
            found.append(required(path, _DEVICE_SCOPES))
        elif len(chosen) > 1:
            found.append(invalid_value(path, f"{{{', '.join(chosen)}}}", _DEVICE_SCOPES))
    elif not (device.nodeName is device.nodeSelector is device.allNodes is None):
        found.append(
            invalid_value(
                path,
                None,
                "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true "
                "in the ResourceSlice spec",
            )
        )
    check.binding_conditions(device, path, found)


def _attribute(attribute: Any, path: str, found: list[FieldError]) -> None:
    count = sum(getattr(attribute, name) is not None for name in ("bool", "int", "string", "version"))
    text, version = attribute.string, attribute.version
    if text is not None and len(text.encode()) > MAX_ATTRIBUTE_BYTES:
        found.append(too_long(f"{path}.string", MAX_ATTRIBUTE_BYTES))
    if version is not None:
        if _is_version(version) is None:
            found.append(
                invalid_value(
                    f"{path}.version", version, "must be a string compatible with semver.org spec 2.0.0"
                )
            )
        if len(version.encode()) > MAX_ATTRIBUTE_BYTES:
            found.append(too_long(f"{path}.version", MAX_ATTRIBUTE_BYTES))
    if count != 1:
        found.append(invalid_value(path, attribute if count else "", "exactly one value must be specified"))


def _counter_set(counters: Any, path: str, found: list[FieldError]) -> None:
    check.required_label(counters.name, f"{path}.name", found)
    _counters(counters.counters, f"{path}.counters", found)


def _consumption(consumed: Any, path: str, found: list[FieldError]) -> None:
    check.required_label(consumed.counterSet, f"{path}.counterSet", found)
    _counters(consumed.counters, f"{path}.counters", found)


def _counters(counters: Any, path: str, found: list[FieldError]) -> None:
    if not counters:
        found.append(required(path))
    else:
        check.each_entry(
            counters, MAX_COUNTERS, 63, check.dns_label, lambda _value, _path, _found: None, path, found
        )


def _single_capacity(capacity: Any, path: str, found: list[FieldError]) -> None:
    if capacity.requestPolicy is not None:
        found.append(forbidden_field(f"{path}.requestPolicy", "allowMultipleAllocations must be true"))


def _shared_capacity(capacity: Any, path: str, found: list[FieldError]) -> None:
    policy = capacity.requestPolicy
    if policy is None:
        return
    path = f"{path}.requestPolicy"
    values, bounds, most = policy.validValues, policy.validRange, capacity.value or "0"
    if values and bounds is not None:
        found.append(
            forbidden_field(
                path,
                'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time',
            )
        )
    elif (values or bounds is not None) and policy.default is None:
        what = "validValues" if values else "validRange"
        found.append(required(f"{path}.default", f"required when {what} is defined"))
    elif values:
        _valid_values(values, policy.default, most, f"{path}.validValues", found)
    elif bounds is not None:
        _valid_range(bounds, policy.default, most, f"{path}.validRange", found)


def _valid_values(values: list[Any], default: Any, most: Any, path: str, found: list[FieldError]) -> None:
    for index in range(1, len(values)):
        if quantity.compare(values[index - 1], values[index]) > 0:
            found.append(
                invalid_value(
                    f"{path}[{index}]", str(values[index]), "values must be sorted in ascending order"
                )
            )

    def option(value: Any, where: str, found: list[FieldError]) -> None:
        if quantity.compare(value, most) > 0:
            found.append(invalid_value(where, str(value), f"option is larger than capacity value: {most}"))

    check.each_once(values, MAX_VALID_VALUES, option, lambda v: str(quantity.parse(v)), path, found)
    if all(quantity.compare(value, default) != 0 for value in values):
        found.append(
            invalid_value(path, str(default), "default value is not valid according to the requestPolicy")
        )


def _valid_range(bounds: Any, default: Any, most: Any, path: str, found: list[FieldError]) -> None:
    low, high, step = bounds.min, bounds.max, bounds.step
    if low is None:
        found.append(required(f"{path}.min", "required when validRange is defined"))
        return

    def report(name: str, value: Any, why: str) -> None:
        found.append(invalid_value(f"{path}.{name}", str(value), why))

    if quantity.compare(low, most) > 0:
        report("min", low, f"min is larger than capacity value: {most}")
    if quantity.compare(default, low) < 0:
        report("default", default, f"default is less than min: {low}")
    if high is not None:
        if quantity.compare(low, high) > 0:
            report("max", low, f"min is larger than max: {high}")
        if quantity.compare(high, most) > 0:
            report("max", high, f"max is larger than capacity value: {most}")
        if quantity.compare(default, high) > 0:
            report("default", default, f"default is more than max: {high}")
    if step is None:
        return
    one = quantity.parse(step)
    if one <= 0:
        report("step", step, "must be greater than zero")
        return
    if quantity.compare(reached := quantity.add(low, step), most) > 0:
        report("step", step, f"one step {reached} is larger than capacity value: {most}")
    for value in (default, high):
        if value is not None and (quantity.parse(value) - quantity.parse(low)) % one != 0:
            report("step", value, f"value is not a multiple of a given step ({step}) from ({low})")
