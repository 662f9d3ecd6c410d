"""autoscaling: horizontal pod autoscalers, stored as v2 and served as v2 and v1.

v1 is a view (`autoscaling_v1`): its strategy converts to v2 and asks v2's. Defaults are upstream's: one replica at least, 80 % CPU utilisation
when no metric is given, and the standard scaling rules where a behaviour leaves them out.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lakh.apis import meta
from lakh.apis.definitions import schema
from lakh.apis.groups import autoscaling_v1, printing
from lakh.apis.groups.autoscaling_validation import validate_autoscaler
from lakh.apis.groups.base import GroupStrategy, child, declare
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column
from lakh.machinery import quantity
from lakh.machinery.errors import FieldError

GROUP = "autoscaling"
DEFINITION_V2 = "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler"

DEFAULT_CPU_UTILIZATION_PERCENT = 80
# Metrics beyond these are counted in the Targets cell, not shown.
TARGETS_SHOWN = 2


class HorizontalPodAutoscalerStrategy(GroupStrategy):
    """autoscaling/v2 autoscalers."""

    has_status = True
    columns = (
        NAME_COLUMN,
        Column("Reference", description="The scaled resource"),
        Column("Targets", description="Current and target values of the metrics"),
        Column("MinPods", description="Lower limit of the number of replicas"),
        Column("MaxPods", description="Upper limit of the number of replicas"),
        Column("Replicas", description="Current number of replicas"),
        AGE_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """One replica at least, 80 % CPU, standard scaling rules."""
        spec = child(obj, "spec")
        if spec.minReplicas is None:
            spec.minReplicas = 1
        if not spec.metrics:
            spec.metrics = _default_metrics()
        for metric in spec.metrics:
            for source in (
                metric.resource,
                metric.containerResource,
                metric.pods,
                metric.object,
                metric.external,
            ):
                if source is not None and source.target is not None:
                    _canonical(source.target)
        behavior = spec.behavior
        if behavior is not None:
            _default_rules(behavior, "scaleUp")
            _default_rules(behavior, "scaleDown")

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole autoscaler."""
        return validate_autoscaler(obj)

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """As a new one; who scales to zero already may go on."""
        return validate_autoscaler(new, old)

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Replica counts are not negative."""
        found: list[FieldError] = []
        if new.status is not None:
            meta.non_negative(new.status.currentReplicas, "status.currentReplicas", found)
            meta.non_negative(new.status.desiredReplicas, "status.desiredReplicas", found)
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get hpa` shows it."""
        spec, status = obj.spec, obj.status
        reference = spec.scaleTargetRef
        return [
            obj.metadata.name,
            f"{(reference and reference.kind) or ''}/{(reference and reference.name) or ''}",
            format_metrics(spec.metrics or [], (status.currentMetrics if status else None) or []),
            printing.UNSET if spec.minReplicas is None else str(spec.minReplicas),
            spec.maxReplicas or 0,
            (status.currentReplicas if status else None) or 0,
            printing.age(obj, now),
        ]


class HorizontalPodAutoscalerV1Strategy(HorizontalPodAutoscalerStrategy):
    """autoscaling/v1 autoscalers: converted, and judged as v2."""

    def default(self, obj: Any) -> None:
        """One replica at least; the rest is defaulted in v2."""
        spec = child(obj, "spec")
        if spec.minReplicas is None:
            spec.minReplicas = 1

    def prepare_for_create(self, obj: Any) -> None:
        """Status is empty, and so are the annotations that carry parts of it."""
        super().prepare_for_create(obj)
        _restore_status_annotations(obj.metadata, {})

    def prepare_for_update(self, new: Any, old: Any) -> None:
        """Status stays, and so do the annotations that carry parts of it."""
        super().prepare_for_update(new, old)
        _restore_status_annotations(new.metadata, old.metadata.annotations or {})

    def validate(self, obj: Any) -> list[FieldError]:
        """As v2."""
        return validate_autoscaler(_as_v2(obj))

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """As v2."""
        return validate_autoscaler(_as_v2(new), _as_v2(old))

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As v2."""
        return super().cells(_as_v2(obj), now)


_STATUS_ANNOTATIONS = (autoscaling_v1.CURRENT_METRICS, autoscaling_v1.CONDITIONS)


def _restore_status_annotations(metadata: Any, before: dict[str, str]) -> None:
    annotations = {k: v for k, v in (metadata.annotations or {}).items() if k not in _STATUS_ANNOTATIONS}
    annotations |= {k: before[k] for k in _STATUS_ANNOTATIONS if k in before}
    metadata.annotations = annotations or None


_V2 = HorizontalPodAutoscalerStrategy()


def _as_v2(obj: Any) -> Any:
    return _v2_struct(msgspec.to_builtins(obj))


def _v2_struct(plain: dict[str, Any]) -> Any:
    struct = schema().struct(DEFINITION_V2)
    converted = autoscaling_v1.to_v2(plain)
    try:
        obj = msgspec.convert(converted, struct)
    except msgspec.ValidationError:
        # The annotations hold something that is no metric: as if they were not there.
        bare = {**plain, "metadata": dict(plain.get("metadata") or {})}
        annotations = bare["metadata"].get("annotations") or {}
        bare["metadata"]["annotations"] = {
            k: v for k, v in annotations.items() if k not in autoscaling_v1.ROUND_TRIP_ANNOTATIONS
        }
        obj = msgspec.convert(autoscaling_v1.to_v2(bare), struct)
    _V2.default(obj)
    return obj


def to_stored(plain: dict[str, Any]) -> dict[str, Any]:
    """A v1 autoscaler as it is stored: v2, defaulted."""
    stored: dict[str, Any] = msgspec.to_builtins(_v2_struct(plain))
    return stored


def _default_metrics() -> list[Any]:
    metric = autoscaling_v1.cpu_target(DEFAULT_CPU_UTILIZATION_PERCENT)
    return [msgspec.convert(metric, schema().struct("io.k8s.api.autoscaling.v2.MetricSpec"))]


def _canonical(target: Any) -> None:
    for name in ("value", "averageValue"):
        value = getattr(target, name)
        if value is not None:
            try:
                setattr(target, name, quantity.canonical(value))
            except quantity.QuantityError:
                continue  # validation reports it


# type, value, period: upstream's defaults of the v2 API.
_RULES: dict[str, tuple[int | None, tuple[tuple[str, int, int], ...]]] = {
    "scaleUp": (0, (("Pods", 4, 15), ("Percent", 100, 15))),
    "scaleDown": (None, (("Percent", 100, 15),)),
}


def _default_rules(behavior: Any, direction: str) -> None:
    window, policies = _RULES[direction]
    rules = child(behavior, direction)
    if rules.selectPolicy is None:
        rules.selectPolicy = "Max"
    if rules.stabilizationWindowSeconds is None:
        rules.stabilizationWindowSeconds = window
    if rules.policies is None:
        struct = schema().struct("io.k8s.api.autoscaling.v2.HPAScalingPolicy")
        rules.policies = [struct(type=t, value=v, periodSeconds=p) for t, v, p in policies]


def format_metrics(specs: list[Any], statuses: list[Any]) -> str:
    """The Targets cell: current and target of each metric."""
    if not specs:
        return printing.NONE
    shown = [
        _format_metric(spec, statuses[index] if index < len(statuses) else None)
        for index, spec in enumerate(specs)
    ]
    text = ", ".join(shown[:TARGETS_SHOWN])
    more = len(shown) - TARGETS_SHOWN
    return f"{text} + {more} more..." if more > 0 else text


_SOURCES = {
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
}


def _format_metric(spec: Any, status: Any) -> str:
    name = _SOURCES.get(spec.type or "")
    source = getattr(spec, name) if name else None
    if source is None or source.target is None:
        return "<unknown type>"
    reported = getattr(status, name) if status is not None and name else None
    current = reported.current if reported is not None else None
    target = source.target

    def shown(value: Any) -> str:
        return printing.UNKNOWN if value is None else str(value)

    if name in ("resource", "containerResource"):
        if target.averageValue is not None:
            return f"{source.name}: {shown(current and current.averageValue)}/{target.averageValue}"
        utilization = current.averageUtilization if current is not None else None
        return (
            f"{source.name}: {printing.UNKNOWN if utilization is None else f'{utilization}%'}/"
            f"{'<auto>' if target.averageUtilization is None else f'{target.averageUtilization}%'}"
        )
    if name == "pods":
        return f"{shown(current and current.averageValue)}/{target.averageValue}"
    if target.averageValue is not None:
        return f"{shown(current and current.averageValue)}/{target.averageValue} (avg)"
    return f"{shown(current and current.value)}/{target.value}"


RESOURCES = (
    declare(
        GROUP,
        "v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        HorizontalPodAutoscalerStrategy(),
        namespaced=True,
        short_names=("hpa",),
        categories=("all",),
    ),
    declare(
        GROUP,
        "v1",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        HorizontalPodAutoscalerV1Strategy(),
        namespaced=True,
        short_names=("hpa",),
        categories=("all",),
        stored_as=(GROUP, "v2", "horizontalpodautoscalers"),
        to_stored=to_stored,
        from_stored=autoscaling_v1.from_v2,
    ),
)
