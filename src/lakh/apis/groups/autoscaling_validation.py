"""Validation of horizontal pod autoscalers (upstream's `apis/autoscaling/validation`)."""

from __future__ import annotations

from typing import Any

from lakh.apis import meta
from lakh.apis.resourcelists import check_container_resource_name
from lakh.machinery import names, quantity
from lakh.machinery.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)

# Upstream's bounds of scaling rules.
MAX_STABILIZATION_WINDOW_SECONDS = 3600
MAX_PERIOD_SECONDS = 1800

# The order in which the sources of a metric are looked at; only the first one there is.
_SOURCES = {
    "Object": "object",
    "External": "external",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}


def validate_autoscaler(obj: Any, old: Any = None) -> list[FieldError]:
    """All findings on an autoscaler of autoscaling/v2; `old` is the one before an update."""
    spec = obj.spec
    found: list[FieldError] = []
    # Scaling to zero is an alpha feature; who has it keeps it.
    least = 0 if old is not None and old.spec.minReplicas == 0 else 1
    if spec.minReplicas is not None and spec.minReplicas < least:
        found.append(
            invalid_value("spec.minReplicas", spec.minReplicas, f"must be greater than or equal to {least}")
        )
    maximum = spec.maxReplicas or 0
    if maximum < 1:
        found.append(invalid_value("spec.maxReplicas", maximum, "must be greater than 0"))
    if spec.minReplicas is not None and maximum < spec.minReplicas:
        found.append(
            invalid_value("spec.maxReplicas", maximum, "must be greater than or equal to `minReplicas`")
        )
    _validate_reference(spec.scaleTargetRef, "spec.scaleTargetRef", found)
    for index, metric in enumerate(spec.metrics or ()):
        _validate_metric(metric, f"spec.metrics[{index}]", found)
    if spec.minReplicas == 0 and not any(m.type in ("Object", "External") for m in spec.metrics or ()):
        found.append(
            forbidden_field(
                "spec.metrics",
                "must specify at least one Object or External metric to support scaling to zero replicas",
            )
        )
    if spec.behavior is not None:
        _validate_rules(spec.behavior.scaleUp, "spec.behavior.scaleUp", found)
        _validate_rules(spec.behavior.scaleDown, "spec.behavior.scaleDown", found)
    return found


def _validate_reference(reference: Any, path: str, found: list[FieldError]) -> None:
    for name in ("kind", "name"):
        value = getattr(reference, name) if reference is not None else None
        if not value:
            found.append(required(f"{path}.{name}"))
        else:
            for message in names.path_segment_name(value):
                found.append(invalid_value(f"{path}.{name}", value, message))


def _validate_metric(metric: Any, path: str, found: list[FieldError]) -> None:
    kind = metric.type or ""
    if not kind:
        found.append(required(f"{path}.type", "must specify a metric source type"))
    if kind not in _SOURCES:
        found.append(not_supported(f"{path}.type", kind, _SOURCES))
    there = [name for name in _SOURCES.values() if getattr(metric, name) is not None]
    if there:
        _validate_source(getattr(metric, there[0]), there[0], f"{path}.{there[0]}", found)
    expected = _SOURCES.get(kind)
    if expected is None:
        found.append(not_supported(f"{path}.type", kind, _SOURCES))
    elif expected not in there:
        found.append(required(f"{path}.{expected}", "must populate information for the given metric source"))
    if len(there) != 1:
        for name in sorted(there):
            if name != expected:
                found.append(forbidden_field(f"{path}.{name}", "must populate the given metric source only"))


def _validate_source(source: Any, kind: str, path: str, found: list[FieldError]) -> None:
    if kind == "object":
        _validate_reference(source.describedObject, f"{path}.describedObject", found)
    if kind in ("resource", "containerResource"):
        if not source.name:
            found.append(required(f"{path}.name", "must specify a resource name"))
        elif kind == "containerResource":
            messages = check_container_resource_name(source.name)
            meta.report(messages, f"{path}.name", source.name, found)
        if kind == "containerResource":
            if not source.container:
                found.append(required(f"{path}.container", "must specify a container"))
            else:
                messages = meta.check_dns_label(source.container)
                meta.report(messages, f"{path}.container", source.container, found)
    else:
        name = source.metric.name if source.metric is not None else None
        if not name:
            found.append(required(f"{path}.metric.name", "must specify a metric name"))
        else:
            meta.report(names.path_segment_name(name), f"{path}.metric.name", name, found)
    _validate_target(source.target, kind, f"{path}.target", found)


_TARGET_TYPES = ("Utilization", "Value", "AverageValue")


def _validate_target(target: Any, source: str, path: str, found: list[FieldError]) -> None:
    kind = (target.type if target is not None else None) or ""
    if not kind:
        found.append(required(f"{path}.type", "must specify a metric target type"))
    if kind not in _TARGET_TYPES:
        found.append(
            invalid_value(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue")
        )
    value, average, utilization = (
        (target.value, target.averageValue, target.averageUtilization)
        if target is not None
        else (None, None, None)
    )
    for name, amount in (("value", value), ("averageValue", average)):
        if amount is None:
            continue
        try:
            positive = quantity.parse_nano(amount) > 0
        except quantity.QuantityError as error:
            found.append(invalid_value(f"{path}.{name}", amount, str(error)))
            continue
        if not positive:
            found.append(invalid_value(f"{path}.{name}", amount, "must be positive"))
    if utilization is not None and utilization < 1:
        found.append(invalid_value(f"{path}.averageUtilization", utilization, "must be greater than 0"))
    match source:
        case "resource" | "containerResource":
            if utilization is None and average is None:
                why = "must set either a target raw value or a target utilization"
                found.append(required(f"{path}.averageUtilization", why))
            elif utilization is not None and average is not None:
                why = "may not set both a target raw value and a target utilization"
                found.append(forbidden_field(f"{path}.averageValue", why))
        case "pods":
            if average is None:
                found.append(required(f"{path}.averageValue", "must specify a positive target averageValue"))
        case "object":
            if value is None and average is None:
                why = "must set either a target value or averageValue"
                found.append(required(f"{path}.averageValue", why))
        case _:
            if value is None and average is None:
                why = "must set either a target value for metric or a per-pod target"
                found.append(required(f"{path}.averageValue", why))
            elif value is not None and average is not None:
                why = "may not set both a target value for metric and a per-pod target"
                found.append(forbidden_field(f"{path}.value", why))


def _validate_rules(rules: Any, path: str, found: list[FieldError]) -> None:
    if rules is None:
        return
    window = rules.stabilizationWindowSeconds
    if window is not None and window < 0:
        found.append(
            invalid_value(
                f"{path}.stabilizationWindowSeconds", window, "must be greater than or equal to zero"
            )
        )
    if window is not None and window > MAX_STABILIZATION_WINDOW_SECONDS:
        found.append(
            invalid_value(
                f"{path}.stabilizationWindowSeconds",
                window,
                f"must be less than or equal to {MAX_STABILIZATION_WINDOW_SECONDS}",
            )
        )
    if rules.selectPolicy is not None and rules.selectPolicy not in ("Max", "Min", "Disabled"):
        found.append(not_supported(f"{path}.selectPolicy", rules.selectPolicy, ("Disabled", "Max", "Min")))
    if not rules.policies:
        found.append(required(f"{path}.policies", "must specify at least one Policy"))
    for index, policy in enumerate(rules.policies or ()):
        where = f"{path}.policies[{index}]"
        if policy.type not in ("Pods", "Percent"):
            found.append(not_supported(f"{where}.type", policy.type or "", ("Percent", "Pods")))
        if (policy.value or 0) <= 0:
            found.append(invalid_value(f"{where}.value", policy.value or 0, "must be greater than zero"))
        period = policy.periodSeconds or 0
        if period <= 0:
            found.append(invalid_value(f"{where}.periodSeconds", period, "must be greater than zero"))
        if period > MAX_PERIOD_SECONDS:
            found.append(
                invalid_value(
                    f"{where}.periodSeconds", period, f"must be less than or equal to {MAX_PERIOD_SECONDS}"
                )
            )
    if rules.tolerance is not None:
        try:
            negative = quantity.parse_nano(rules.tolerance) < 0
        except quantity.QuantityError as error:
            found.append(invalid_value(f"{path}.tolerance", rules.tolerance, str(error)))
        else:
            if negative:
                found.append(invalid_value(f"{path}.tolerance", rules.tolerance, meta.NON_NEGATIVE))
