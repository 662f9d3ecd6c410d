"""Samples from the metrics APIs, `metrics.k8s.io`, `custom.metrics.k8s.io` and `external.metrics.k8s.io`, as far as an APIService serves them.

What upstream's podautoscaler/metrics/client.go reads, with its words for what goes wrong. Amounts are milli-units.
"""

from __future__ import annotations

import re
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec

from lakh.client.client import Client, decode
from lakh.client.errors import ClientError, api_error
from lakh.machinery.quantity import parse_milli

from . import clock
from .replicacount import MetricsError, Sample
from .views import View

DEFAULT_WINDOW_SECONDS = 60.0
_CUSTOM = "custom.metrics.k8s.io"
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_part = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)")
T = TypeVar("T")


class _Named(View):
    name: str = ""


class _Container(View):
    name: str = ""
    usage: dict[str, str] = msgspec.field(default_factory=dict)


class _PodMetrics(View):
    metadata: _Named
    timestamp: str | None = None
    window: str = ""
    containers: list[_Container] = msgspec.field(default_factory=list)


class _PodMetricsList(View):
    items: list[_PodMetrics] = msgspec.field(default_factory=list)


class _MetricValue(View):
    value: str
    describedObject: _Named = msgspec.field(default_factory=_Named)
    timestamp: str | None = None
    windowSeconds: int | None = None


class _MetricValueList(View):
    items: list[_MetricValue] = msgspec.field(default_factory=list)


def seconds(duration: str) -> float:
    """Go's text of a duration."""
    return sum(float(number) * _UNITS[unit] for number, unit in _part.findall(duration))


class PodMetrics:
    """Reads samples; raises MetricsError."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def _get(self, path: str, api: str, what: str, type_: type[T], **query: str) -> T:
        asked = urlencode({name: value for name, value in query.items() if value})
        fails = f"unable to fetch metrics from {api} metrics API"
        try:
            response = await self._client.raw("GET", f"{path}?{asked}" if asked else path)
            if response.status == 200:
                found: T = decode(response.body, type_)
                return found
            if response.status == 404:
                why = await self._missing(api, what)
            else:
                why = str(api_error(response.status, response.body))
        except ClientError as failed:
            raise MetricsError(f"{fails}: {failed}") from failed
        raise MetricsError(f"{fails}: {why}")

    async def _missing(self, api: str, what: str) -> str:
        """What is told of a path that is not served: upstream looks for the custom metrics API in discovery, and asks the others at once."""
        if api == "custom" and (await self._client.raw("GET", f"/apis/{_CUSTOM}")).status == 404:
            return f"no custom metrics API ({_CUSTOM}) registered"
        return f"the server could not find the requested resource (get {what})"

    async def of_resource(
        self, namespace: str, selector: str, resource: str, container: str = ""
    ) -> dict[str, Sample]:
        """What pods use of a resource; those that do not say are left out."""
        path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods"
        listed = await self._get(
            path, "resource", "pods.metrics.k8s.io", _PodMetricsList, labelSelector=selector
        )
        if not listed.items:
            raise MetricsError("no metrics returned from resource metrics API")
        found: dict[str, Sample] = {}
        for pod in listed.items:
            name = pod.metadata.name
            counted = [c for c in pod.containers if not container or c.name == container]
            if container and not counted:
                why = f"container {container} not present in metrics for pod {namespace}/{name}"
                raise MetricsError(f"failed to get container metrics: {why}")
            if counted and all(resource in c.usage for c in counted):
                value = sum(parse_milli(c.usage[resource]) for c in counted)
                found[name] = Sample(value, clock.parse(pod.timestamp) or 0.0, seconds(pod.window))
        return found

    async def _custom(self, path: str, what: str, **query: str) -> list[_MetricValue]:
        root = f"/apis/{_CUSTOM}/v1beta2"
        listed = await self._get(f"{root}/{path}", "custom", f"{what}.{_CUSTOM}", _MetricValueList, **query)
        if not listed.items:
            raise MetricsError("no metrics returned from custom metrics API")
        return listed.items

    async def of_pods(
        self, namespace: str, selector: str, name: str, metric_selector: str
    ) -> dict[str, Sample]:
        """What a metric is for each pod."""
        path = f"namespaces/{namespace}/pods/*/{quote(name, safe='')}"
        items = await self._custom(path, "pods", labelSelector=selector, metricLabelSelector=metric_selector)
        return {
            item.describedObject.name: Sample(
                parse_milli(item.value),
                clock.parse(item.timestamp) or 0.0,
                DEFAULT_WINDOW_SECONDS if item.windowSeconds is None else float(item.windowSeconds),
            )
            for item in items
        }

    async def of_object(
        self, namespace: str, resource: str, object_name: str, name: str, metric_selector: str
    ) -> int:
        """What a metric is of an object; `resource` is its plural, with its group when it has one."""
        metric = quote(name, safe="")
        path = (
            f"namespaces/{namespace}/metrics/{metric}"
            if resource == "namespaces"
            else f"namespaces/{namespace}/{resource}/{quote(object_name, safe='')}/{metric}"
        )
        items = await self._custom(path, resource, metricLabelSelector=metric_selector)
        return parse_milli(items[0].value)

    async def of_external(self, namespace: str, name: str, metric_selector: str) -> list[int]:
        """All values of a metric from outside the cluster."""
        path = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{quote(name, safe='')}"
        what = f"{name}.external.metrics.k8s.io"
        listed = await self._get(path, "external", what, _MetricValueList, labelSelector=metric_selector)
        if not listed.items:
            raise MetricsError("no metrics returned from external metrics API")
        return [parse_milli(item.value) for item in listed.items]
