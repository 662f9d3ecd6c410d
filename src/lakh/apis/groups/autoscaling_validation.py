"""Validation of horizontal pod autoscalers (upstream's `apis/autoscaling/validation`)."""

from __future__ import annotations

from typing import Any

from lakh.apis import meta
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

_SOURCES = {
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "External": "external",
}


def validate_autoscaler(obj: Any) -> list[FieldError]:
    """All findings on an autoscaler of autoscaling/v2."""
    spec = obj.spec
    found: list[FieldError] = []
    minimum = 1
    if spec.minReplicas is not None and spec.minReplicas < minimum:
        found.append(
            invalid_value("spec.minReplicas", spec.minReplicas, f"must be greater than or equal to {minimum}")
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
    if not metric.type:
        found.append(required(f"{path}.type", "must specify a metric source type"))
    elif metric.type not in _SOURCES:
        found.append(not_supported(f"{path}.type", metric.type, _SOURCES))
    expected = _SOURCES.get(metric.type or "", "")
    populated = [name for name in _SOURCES.values() if getattr(metric, name) is not None]
    if expected and expected not in populated:
        found.append(required(f"{path}.{expected}", "must populate information for the given metric source"))
    for name in populated:
        if name != expected and expected:
            found.append(forbidden_field(f"{path}.{name}", "must populate the given metric source only"))
    for name in populated:
        source = getattr(metric, name)
        where = f"{path}.{name}"
        if name == "object":
            _validate_reference(source.describedObject, f"{where}.describedObject", found)
        if name in ("resource", "containerResource"):
            if not source.name:
                found.append(required(f"{where}.name", "must specify a resource name"))
            if name == "containerResource" and not source.container:
                found.append(required(f"{where}.container", "must specify a container"))
        else:
            _validate_identifier(source.metric, f"{where}.metric", found)
        _validate_target(source.target, name, f"{where}.target", found)


def _validate_identifier(identifier: Any, path: str, found: list[FieldError]) -> None:
    name = identifier.name if identifier is not None else None
    if not name:
        found.append(required(f"{path}.name", "must specify a metric name"))
    else:
        for message in names.path_segment_name(name):
            found.append(invalid_value(f"{path}.name", name, message))
    if identifier is not None:
        found += meta.validate_label_selector(identifier.selector, f"{path}.selector")


_TARGET_TYPES = ("Utilization", "Value", "AverageValue")


def _validate_target(target: Any, source: str, path: str, found: list[FieldError]) -> None:
    kind = target.type if target is not None else None
    if target is None or not kind:
        found.append(required(f"{path}.type", "must specify a metric target type"))
        return
    if kind not in _TARGET_TYPES:
        found.append(
            invalid_value(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue")
        )
    if target.averageUtilization is not None and target.averageUtilization < 1:
        found.append(
            invalid_value(f"{path}.averageUtilization", target.averageUtilization, "must be greater than 0")
        )
    for name in ("value", "averageValue"):
        value = getattr(target, name)
        if value is None:
            continue
        try:
            positive = quantity.parse_nano(value) > 0
        except quantity.QuantityError as error:
            found.append(invalid_value(f"{path}.{name}", value, str(error)))
            continue
        if not positive:
            found.append(invalid_value(f"{path}.{name}", value, "must be positive"))
    if source in ("resource", "containerResource"):
        if target.averageUtilization is None and target.averageValue is None:
            found.append(
                required(
                    f"{path}.averageUtilization",
                    "must set either a target raw value or a target utilization",
                )
            )
        elif target.averageUtilization is not None and target.averageValue is not None:
            found.append(
                forbidden_field(
                    f"{path}.averageValue", "may not set both a target raw value and a target utilization"
                )
            )
    elif source == "pods":
        if target.averageValue is None:
            found.append(required(f"{path}.averageValue", "must specify a positive target averageValue"))
    elif target.value is None and target.averageValue is None:
        found.append(required(f"{path}.averageValue", "must set either a target value or averageValue"))
    elif source == "external" and target.value is not None and target.averageValue is not None:
        found.append(
            forbidden_field(
                f"{path}.value",
                "may not set both a target value for metric and a per-pod target",
            )
        )


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
