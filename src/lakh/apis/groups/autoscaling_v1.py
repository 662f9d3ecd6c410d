"""autoscaling/v1: the older face of autoscaling/v2 autoscalers.

Objects are stored as v2. v1 knows one target, a CPU utilisation; everything else of a v2 object (other metrics, current metrics, conditions,
behaviour) travels in annotations, as upstream has it, so that nothing is lost when a client reads and writes through v1. The metrics in the
annotations have a flatter form than v2's; behaviour is written with Go's field names (`ScaleUp`), and read in any case.
"""

from __future__ import annotations

from typing import Any

import msgspec

METRICS = "autoscaling.alpha.kubernetes.io/metrics"
CURRENT_METRICS = "autoscaling.alpha.kubernetes.io/current-metrics"
CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
ROUND_TRIP_ANNOTATIONS = (METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR)

_encode = msgspec.json.Encoder().encode

_Plain = dict[str, Any]


def from_v2(obj: _Plain) -> _Plain:
    """A v2 autoscaler as v1."""
    spec = dict(obj.get("spec") or {})
    metrics = spec.pop("metrics", None) or []
    behavior = spec.pop("behavior", None)
    status = dict(obj.get("status") or {})
    current = status.pop("currentMetrics", None) or []
    conditions = status.pop("conditions", None) or []

    utilization = _cpu_utilization(metrics, "target")
    if utilization is not None:
        spec["targetCPUUtilizationPercentage"] = utilization
    utilization = _cpu_utilization(current, "current")
    if utilization is not None:
        status["currentCPUUtilizationPercentage"] = utilization

    annotations = _without_round_trip(obj)
    others = [_metric_from_v2(m, "target") for m in metrics if _cpu_utilization([m], "target") is None]
    if others:
        annotations[METRICS] = _encode(others).decode()
    if current:
        annotations[CURRENT_METRICS] = _encode([_metric_from_v2(m, "current") for m in current]).decode()
    if conditions:
        annotations[CONDITIONS] = _encode(conditions).decode()
    if behavior is not None:
        annotations[BEHAVIOR] = _encode(_go_names(behavior)).decode()
    return _assemble(obj, annotations, spec, status)


def to_v2(obj: _Plain) -> _Plain:
    """A v1 autoscaler as v2."""
    spec = dict(obj.get("spec") or {})
    status = dict(obj.get("status") or {})
    metrics: list[_Plain] = []
    utilization = spec.pop("targetCPUUtilizationPercentage", None)
    if utilization is not None:
        metrics = [cpu_target(utilization)]
    current: list[_Plain] = []
    utilization = status.pop("currentCPUUtilizationPercentage", None)
    if utilization is not None:
        current = [_cpu_metric("current", {"averageUtilization": utilization})]

    # An annotation that does not parse is dropped, like one that says nothing.
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    others = _decode(annotations.get(METRICS), list[_Plain])
    if others is not None:
        metrics = [_metric_to_v2(m, "target") for m in others] + metrics
    saved = _decode(annotations.get(CURRENT_METRICS), list[_Plain])
    if saved is not None:
        current = [_metric_to_v2(m, "current") for m in saved]
    conditions = _decode(annotations.get(CONDITIONS), list[_Plain])
    behavior = _decode(annotations.get(BEHAVIOR), _Plain)
    if metrics:
        spec["metrics"] = metrics
    if behavior:
        spec["behavior"] = _json_names(behavior)
    if current:
        status["currentMetrics"] = current
    if conditions:
        status["conditions"] = conditions
    return _assemble(obj, _without_round_trip(obj), spec, status)


def _assemble(obj: _Plain, annotations: dict[str, str], spec: _Plain, status: _Plain) -> _Plain:
    converted = dict(obj)
    if "metadata" in obj:
        metadata = converted["metadata"] = dict(obj["metadata"] or {})
        metadata.pop("annotations", None)
        if annotations:
            metadata["annotations"] = annotations
    if "spec" in obj:
        converted["spec"] = spec
    if "status" in obj:
        converted["status"] = status
    return converted


def _without_round_trip(obj: _Plain) -> dict[str, str]:
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    return {k: v for k, v in annotations.items() if k not in ROUND_TRIP_ANNOTATIONS}


def _decode(text: str | None, kind: Any) -> Any:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError:
        return None


def cpu_target(percent: int) -> _Plain:
    """A v2 metric: a CPU utilisation to aim at."""
    return _cpu_metric("target", {"type": "Utilization", "averageUtilization": percent})


def _cpu_metric(side: str, value: _Plain) -> _Plain:
    return {"type": "Resource", "resource": {"name": "cpu", side: value}}


def _cpu_utilization(metrics: list[_Plain], side: str) -> int | None:
    # Only the first CPU metric counts.
    for metric in metrics:
        resource = metric.get("resource")
        if metric.get("type") == "Resource" and resource and resource.get("name") == "cpu":
            utilization: int | None = (resource.get(side) or {}).get("averageUtilization")
            return utilization
    return None


# v1's name for a value of a metric: `targetValue` in specs, `currentAverageValue` in statuses, and so on.
_UTILIZATION = "AverageUtilization"
_AVERAGE = "AverageValue"
_VALUE = "Value"


def _metric_from_v2(metric: _Plain, side: str) -> _Plain:
    flat: _Plain = {"type": metric.get("type", "")}
    for source in ("resource", "containerResource", "pods", "object", "external"):
        body = metric.get(source)
        if body is None:
            continue
        out: _Plain = {k: v for k, v in body.items() if k in ("name", "container")}
        value = body.get(side) or {}
        identifier = body.get("metric") or {}
        if source in ("pods", "object", "external"):
            out["metricName"] = identifier.get("name", "")
            if identifier.get("selector") is not None:
                out["metricSelector" if source == "external" else "selector"] = identifier["selector"]
        if source == "object":
            out["target"] = body.get("describedObject") or {}
            # The older form cannot say that there is no plain value.
            out[side + _VALUE] = value.get("value", "0")
            if "averageValue" in value:
                out["averageValue"] = value["averageValue"]
        else:
            if "averageUtilization" in value:
                out[side + _UTILIZATION] = value["averageUtilization"]
            if "averageValue" in value:
                out[side + _AVERAGE] = value["averageValue"]
            if "value" in value and source == "external":
                out[side + _VALUE] = value["value"]
        flat[source] = out
    return flat


def _metric_to_v2(metric: _Plain, side: str) -> _Plain:
    full: _Plain = {"type": metric.get("type", "")}
    for source in ("resource", "containerResource", "pods", "object", "external"):
        body = metric.get(source)
        if not isinstance(body, dict):
            continue
        out: _Plain = {k: v for k, v in body.items() if k in ("name", "container")}
        if source in ("pods", "object", "external"):
            identifier: _Plain = {"name": body.get("metricName", "")}
            selector = body.get("metricSelector" if source == "external" else "selector")
            if selector is not None:
                identifier["selector"] = selector
            out["metric"] = identifier
        value: _Plain = {}
        if source == "object":
            out["describedObject"] = body.get("target") or {}
            if "averageValue" in body:
                value["averageValue"] = body["averageValue"]
            if "averageValue" not in body or body.get(side + _VALUE, "0") != "0":
                value["value"] = body.get(side + _VALUE, "0")
        else:
            for name, key in (
                (_UTILIZATION, "averageUtilization"),
                (_AVERAGE, "averageValue"),
                (_VALUE, "value"),
            ):
                if side + name in body:
                    value[key] = body[side + name]
        if side == "target":
            value["type"] = (
                "Utilization"
                if "averageUtilization" in value
                else "AverageValue"
                if "averageValue" in value
                else "Value"
            )
        out[side] = value
        full[source] = out
    return full


def _go_names(value: Any) -> Any:
    if isinstance(value, dict):
        return {key[:1].upper() + key[1:]: _go_names(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_go_names(inner) for inner in value]
    return value


def _json_names(value: Any) -> Any:
    if isinstance(value, dict):
        return {key[:1].lower() + key[1:]: _json_names(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_json_names(inner) for inner in value]
    return value
