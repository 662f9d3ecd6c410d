"""Narrow views of HorizontalPodAutoscalers and of scales."""

from __future__ import annotations

from typing import Any

import msgspec

from .scalingrules import Behavior
from .views import Condition, Meta, View


class Reference(View):
    """`autoscaling/v2.CrossVersionObjectReference`."""

    kind: str = ""
    name: str = ""
    apiVersion: str = ""


class Target(View):
    """`autoscaling/v2.MetricTarget`."""

    type: str = ""
    value: str | None = None
    averageValue: str | None = None
    averageUtilization: int | None = None


class Identifier(View):
    """`autoscaling/v2.MetricIdentifier`."""

    name: str = ""
    selector: dict[str, Any] | None = None


class Source(View):
    """Any of the sources of `autoscaling/v2.MetricSpec`."""

    name: str = ""
    container: str = ""
    target: Target = msgspec.field(default_factory=Target)
    metric: Identifier = msgspec.field(default_factory=Identifier)
    describedObject: Reference = msgspec.field(default_factory=Reference)


class Metric(View):
    """`autoscaling/v2.MetricSpec`."""

    type: str = ""
    resource: Source | None = None
    containerResource: Source | None = None
    pods: Source | None = None
    object: Source | None = None
    external: Source | None = None


class AutoscalerSpec(View):
    """`autoscaling/v2.HorizontalPodAutoscalerSpec`."""

    scaleTargetRef: Reference = msgspec.field(default_factory=Reference)
    minReplicas: int | None = None
    maxReplicas: int = 0
    metrics: list[Metric] | None = None
    behavior: Behavior | None = None


class AutoscalerStatus(View):
    """`autoscaling/v2.HorizontalPodAutoscalerStatus`."""

    currentReplicas: int | None = None
    desiredReplicas: int | None = None
    lastScaleTime: str | None = None
    currentMetrics: list[dict[str, Any]] | None = None
    conditions: list[Condition] | None = None


class Autoscaler(View):
    """A HorizontalPodAutoscaler."""

    metadata: Meta
    spec: AutoscalerSpec = msgspec.field(default_factory=AutoscalerSpec)
    status: AutoscalerStatus = msgspec.field(default_factory=AutoscalerStatus)


class ScaleSpec(View):
    """`autoscaling/v1.ScaleSpec`."""

    replicas: int = 0


class ScaleStatus(View):
    """`autoscaling/v1.ScaleStatus`."""

    replicas: int = 0
    selector: str = ""


class Scale(View):
    """`autoscaling/v1.Scale`."""

    metadata: Meta
    spec: ScaleSpec = msgspec.field(default_factory=ScaleSpec)
    status: ScaleStatus = msgspec.field(default_factory=ScaleStatus)
