"""HorizontalPodAutoscalers; cases and texts are those of upstream's horizontal_test.go."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_client import NOW, FakeClient, drain, make_context

from lakh.client.client import RawResponse
from lakh.client.errors import ApiError
from lakh.client.resources import DEPLOYMENTS, HORIZONTALPODAUTOSCALERS, PODS, SERVICES
from lakh.controllers import clock
from lakh.controllers.horizontal import HorizontalPodAutoscalerController, selector_text
from lakh.controllers.podmetrics import seconds

RESOURCE = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"
CPU = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
}
AT = clock.stamp(NOW)


class World:
    """A Deployment of pods that use CPU, and metrics APIs that answer what a test gives them."""

    def __init__(self, client: FakeClient, replicas: int = 3, pods: int = 3) -> None:
        self.client = client
        self.answers: dict[str, Any] = {}
        client.served = [PODS, DEPLOYMENTS, SERVICES]
        discovered = client.raw

        async def raw(method: str, path: str, body: Any = None, headers: Any = None) -> RawResponse:
            place = path.partition("?")[0]
            if place in ("/api", "/apis"):
                return await discovered(method, path, body, headers)
            if place in self.answers:
                return RawResponse(200, {}, json.dumps({"items": self.answers[place]}).encode())
            return RawResponse(404, {}, b"404 page not found\n")

        client.raw = raw  # type: ignore[method-assign]
        self.scale(replicas)
        for number in range(pods):
            self.pod(f"p{number}")
        self.controller = HorizontalPodAutoscalerController(make_context(client))
        self.recorder = self.controller.context.recorder("horizontal-pod-autoscaler")

    def scale(self, replicas: int, selector: str = "app=web") -> None:
        client = self.client
        client.table(DEPLOYMENTS).clear()
        client.put(
            DEPLOYMENTS,
            {
                "metadata": {"name": "web"},
                "spec": {"replicas": replicas},
                "status": {"replicas": replicas, "selector": selector},
            },
        )

    def pod(self, name: str) -> None:
        old = clock.stamp(NOW - 600)
        self.client.put(
            PODS,
            {
                "metadata": {"name": name, "labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
                "status": {
                    "phase": "Running",
                    "startTime": old,
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": old}],
                },
            },
        )

    def cpu(self, *levels: str) -> None:
        self.answers[RESOURCE] = [
            {
                "metadata": {"name": f"p{number}"},
                "timestamp": AT,
                "window": "1m0s",
                "containers": [{"name": "c", "usage": {"cpu": level}}],
            }
            for number, level in enumerate(levels)
        ]

    async def look(self, *metrics: dict[str, Any], name: str = "a", **spec: Any) -> dict[str, Any]:
        """The status after a look."""
        reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
        spec = {
            "scaleTargetRef": reference,
            "minReplicas": 2,
            "maxReplicas": 10,
            "metrics": list(metrics),
            **spec,
        }
        self.client.put(HORIZONTALPODAUTOSCALERS, {"metadata": {"name": name}, "spec": spec})
        await drain(self.controller)
        found: dict[str, Any] = self.client.one(HORIZONTALPODAUTOSCALERS, name, "default").get("status", {})
        return found

    @property
    def replicas(self) -> int:
        found: int = self.client.one(DEPLOYMENTS, "web", "default")["spec"]["replicas"]
        return found

    @property
    def events(self) -> list[tuple[str, str, str]]:
        return self.recorder.events  # type: ignore[attr-defined, no-any-return]


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


async def test_without_a_metrics_api(client: FakeClient) -> None:
    world = World(client)
    status = await world.look(CPU)
    why = (
        "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource "
        "metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)"
    )
    assert status["conditions"] == [
        {
            "type": "AbleToScale",
            "status": "True",
            "reason": "SucceededGetScale",
            "message": "the HPA controller was able to get the target's current scale",
            "lastTransitionTime": AT,
        },
        {
            "type": "ScalingActive",
            "status": "False",
            "reason": "FailedGetResourceMetric",
            "message": f"the HPA was unable to compute the replica count: {why}",
            "lastTransitionTime": AT,
        },
    ]
    assert (status["currentReplicas"], status["desiredReplicas"]) == (3, 0)
    assert status["currentMetrics"] == [{"type": ""}]
    assert world.events == [
        ("Warning", "FailedGetResourceMetric", why),
        (
            "Warning",
            "FailedComputeMetricsReplicas",
            f"invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {why}",
        ),
    ]
    writes = [r for r in client.requests if r[0] == "patch"]
    world.controller.resync()
    await drain(world.controller)
    assert [r for r in client.requests if r[0] == "patch"] == writes
    assert world.controller.queue.delayed


@pytest.mark.parametrize(
    ("replicas", "after", "reason"),
    [
        (12, 10, "Current number of replicas above Spec.MaxReplicas"),
        (1, 2, "Current number of replicas below Spec.MinReplicas"),
    ],
)
async def test_bounds_need_no_metrics(client: FakeClient, replicas: int, after: int, reason: str) -> None:
    world = World(client, replicas)
    status = await world.look(CPU)
    assert world.replicas == after
    assert (status["currentReplicas"], status["desiredReplicas"]) == (replicas, after)
    assert status["lastScaleTime"] == AT
    assert conditions(status) == {"AbleToScale": ("True", "SucceededRescale")}
    assert world.events == [("Normal", "SuccessfulRescale", f"New size: {after}; reason: {reason}")]


async def test_scaling_is_off_at_zero(client: FakeClient) -> None:
    world = World(client, 0)
    status = await world.look(CPU)
    assert world.replicas == 0
    assert conditions(status)["ScalingActive"] == ("False", "ScalingDisabled")


async def test_up(client: FakeClient) -> None:
    world = World(client)
    world.cpu("700m", "800m", "900m")
    status = await world.look(CPU)
    assert world.replicas == 5
    assert conditions(status) == {
        "AbleToScale": ("True", "SucceededRescale"),
        "ScalingActive": ("True", "ValidMetricFound"),
        "ScalingLimited": ("False", "DesiredWithinRange"),
    }
    current = {"averageUtilization": 80, "averageValue": "800m"}
    assert status["currentMetrics"] == [{"type": "Resource", "resource": {"name": "cpu", "current": current}}]
    reason = "cpu resource utilization (percentage of request) above target"
    assert world.events == [("Normal", "SuccessfulRescale", f"New size: 5; reason: {reason}")]


async def test_down_when_it_has_been_low_long_enough(client: FakeClient) -> None:
    world = World(client, 5, 5)
    world.cpu(*["100m"] * 5)
    status = await world.look(CPU)
    assert (world.replicas, conditions(status)["AbleToScale"]) == (5, ("True", "ScaleDownStabilized"))
    client.now += 301
    world.controller.resync()
    await drain(world.controller)
    assert world.replicas == 2
    assert world.events[-1] == (
        "Normal",
        "SuccessfulRescale",
        "New size: 2; reason: All metrics below target",
    )


async def test_one_of_two_metrics_is_enough_to_grow_but_not_to_shrink(client: FakeClient) -> None:
    world = World(client)
    world.cpu("700m", "800m", "900m")
    external = {
        "type": "External",
        "external": {"metric": {"name": "qps"}, "target": {"type": "Value", "value": "1"}},
    }
    status = await world.look(external, CPU)
    assert world.replicas == 5
    assert [m["type"] for m in status["currentMetrics"]] == ["", "Resource"]
    world.scale(3)
    world.cpu(*["100m"] * 3)
    client.remove(HORIZONTALPODAUTOSCALERS, "a")
    status = await world.look(external, CPU, name="b")
    assert conditions(status)["ScalingActive"] == ("False", "FailedGetExternalMetric")
    assert world.replicas == 3
    why = (
        "unable to get external metric default/qps/nil: unable to fetch metrics from "
        "external metrics API: the server could not find the requested resource (get qps.external.metrics.k8s.io)"
    )
    outer = "failed to get qps external metric value: failed to get external metric qps"
    message = f"invalid metrics (1 invalid out of 2), first error is: {outer}: {why}"
    assert world.events[-2:] == [
        ("Warning", "FailedGetExternalMetric", why),
        ("Warning", "FailedComputeMetricsReplicas", message),
    ]


def resource(kind: str, target: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {"type": kind, kind[0].lower() + kind[1:]: {"name": "cpu", "target": target, **parts}}


AVERAGE = {"type": "AverageValue", "averageValue": "1"}
NO_API = (
    "unable to fetch metrics from {} metrics API: the server could not find the requested resource (get {})"
)


@pytest.mark.parametrize(
    ("asked", "reason", "outer", "why"),
    [
        (
            resource("Resource", AVERAGE),
            "FailedGetResourceMetric",
            "failed to get cpu resource metric value: ",
            "failed to get cpu usage: unable to get metrics for resource cpu: "
            + NO_API.format("resource", "pods.metrics.k8s.io"),
        ),
        (
            resource("ContainerResource", CPU["resource"]["target"], container="c"),  # type: ignore[index]
            "FailedGetContainerResourceMetric",
            "failed to get c container metric value: ",
            "failed to get cpu utilization: unable to get metrics for resource cpu: "
            + NO_API.format("resource", "pods.metrics.k8s.io"),
        ),
        (
            {
                "type": "Object",
                "object": {
                    "metric": {"name": "qps"},
                    "target": AVERAGE,
                    "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "s"},
                },
            },
            "FailedGetObjectMetric",
            "failed to get object metric value: failed to get qps object metric: ",
            "unable to get metric qps: Service on default s/unable to fetch metrics from custom metrics API: "
            "no custom metrics API (custom.metrics.k8s.io) registered",
        ),
        (
            {"type": "External", "external": {"metric": {"name": "qps"}, "target": AVERAGE}},
            "FailedGetExternalMetric",
            "failed to get qps external metric value: failed to get qps external metric: ",
            "unable to get external metric default/qps/nil: "
            + NO_API.format("external", "qps.external.metrics.k8s.io"),
        ),
    ],
)
async def test_what_is_told_of_a_failure(
    client: FakeClient, asked: dict[str, Any], reason: str, outer: str, why: str
) -> None:
    world = World(client)
    await world.look(asked)
    assert world.events == [
        ("Warning", reason, why),
        (
            "Warning",
            "FailedComputeMetricsReplicas",
            f"invalid metrics (1 invalid out of 1), first error is: {outer}{why}",
        ),
    ]


async def test_a_metric_that_the_custom_api_does_not_have(client: FakeClient) -> None:
    world = World(client)
    world.answers["/apis/custom.metrics.k8s.io"] = []
    await world.look({"type": "Pods", "pods": {"metric": {"name": "qps"}, "target": AVERAGE}})
    why = NO_API.format("custom", "pods.custom.metrics.k8s.io")
    assert world.events[0] == ("Warning", "FailedGetPodsMetric", f"unable to get metric qps: {why}")


CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default"
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default"
LABELS = {"matchLabels": {"verb": "GET"}}


def value(name: str, amount: str) -> dict[str, Any]:
    return {"describedObject": {"name": name}, "timestamp": AT, "value": amount}


def metric(kind: str, target: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {"type": kind, kind.lower(): {"metric": {"name": "qps"}, "target": target, **parts}}


SERVICE = {"describedObject": {"apiVersion": "v1", "kind": "Service", "name": "s"}}


@pytest.mark.parametrize(
    ("path", "items", "asked", "replicas", "current"),
    [
        pytest.param(
            f"{CUSTOM}/pods/*/qps",
            [value("p0", "20"), value("p1", "10"), value("p2", "30")],
            metric("Pods", {"type": "AverageValue", "averageValue": "15"}),
            4,
            {"averageValue": "20"},
            id="pods",
        ),
        pytest.param(
            f"{CUSTOM}/services/s/qps",
            [value("s", "20")],
            metric("Object", {"type": "Value", "value": "15"}, **SERVICE),
            4,
            {"value": "20"},
            id="object",
        ),
        pytest.param(
            f"{CUSTOM}/services/s/qps",
            [value("s", "40")],
            metric("Object", {"type": "AverageValue", "averageValue": "10"}, **SERVICE),
            4,
            {"averageValue": "13334m"},
            id="object, for each pod",
        ),
        pytest.param(
            f"{EXTERNAL}/qps",
            [value("", "8600m"), value("", "1400m")],
            metric("External", {"type": "AverageValue", "averageValue": "2500m"}),
            4,
            {"averageValue": "3334m"},
            id="external, for each pod",
        ),
        pytest.param(
            f"{EXTERNAL}/qps",
            [value("", "8600m")],
            metric("External", {"type": "Value", "value": "6666m"}),
            4,
            {"value": "8600m"},
            id="external",
        ),
        pytest.param(
            RESOURCE,
            [
                {
                    "metadata": {"name": f"p{n}"},
                    "timestamp": AT,
                    "window": "30s",
                    "containers": [
                        {"name": "c", "usage": {"cpu": "800m"}},
                        {"name": "other", "usage": {"cpu": "9"}},
                    ],
                }
                for n in range(3)
            ],
            {
                "type": "ContainerResource",
                "containerResource": {
                    "name": "cpu",
                    "container": "c",
                    "target": {"type": "Utilization", "averageUtilization": 50},
                },
            },
            5,
            {"averageUtilization": 80, "averageValue": "800m"},
            id="container",
        ),
    ],
)
async def test_sources(
    client: FakeClient,
    path: str,
    items: list[Any],
    asked: dict[str, Any],
    replicas: int,
    current: dict[str, Any],
) -> None:
    world = World(client)
    world.answers[path] = items
    status = await world.look(asked)
    assert conditions(status)["ScalingActive"] == ("True", "ValidMetricFound")
    assert world.replicas == replicas
    [told] = status["currentMetrics"]
    [about] = [part for name, part in told.items() if name != "type"]
    assert about["current"] == current


async def test_no_scale(client: FakeClient) -> None:
    world = World(client)
    for reference, why in (
        ({"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}, 'deployments "x" not found'),
        ({"apiVersion": "x.io/v1", "kind": "Foo", "name": "x"}, 'no matches for kind "Foo" in group "x.io"'),
    ):
        status = await world.look(CPU, name=reference["kind"].lower(), scaleTargetRef=reference)
        assert conditions(status) == {"AbleToScale": ("False", "FailedGetScale")}
        assert world.events[-1] == ("Warning", "FailedGetScale", why)


async def test_the_scale_cannot_be_written(client: FakeClient) -> None:
    world = World(client, 12)

    def fail(verb: str, resource: Any, name: str) -> Exception | None:
        refused = verb == "update" and name == "web/scale"
        return ApiError(500, "InternalError", "no") if refused else None

    client.fail = fail
    status = await world.look(CPU)
    assert conditions(status) == {"AbleToScale": ("False", "FailedUpdateScale")}
    assert (status["currentReplicas"], status["desiredReplicas"]) == (12, 0)
    assert world.events[-1][1] == "FailedRescale"
    world.scale(3)
    world.cpu(*["800m"] * 3)
    status = await world.look(CPU, name="b")
    assert conditions(status)["AbleToScale"] == ("False", "FailedUpdateScale")
    assert [m["type"] for m in status["currentMetrics"]] == ["Resource"]


async def test_nothing_is_remembered_of_one_that_goes_while_it_is_looked_at(client: FakeClient) -> None:
    world = World(client)
    world.cpu(*["500m"] * 3)
    get = client.get

    async def late(*args: Any, **options: Any) -> Any:
        client.get = get  # type: ignore[method-assign]
        client.remove(HORIZONTALPODAUTOSCALERS, "a")
        return await get(*args, **options)

    client.get = late  # type: ignore[method-assign]
    with pytest.raises(ApiError, match="not found"):
        await world.look(CPU)
    status = await world.look(CPU, name="b")
    assert conditions(status)["ScalingActive"] == ("True", "ValidMetricFound")


async def test_selectors(client: FakeClient) -> None:
    world = World(client)
    world.cpu(*["500m"] * 3)
    await world.look(CPU)
    status = await world.look(CPU, name="b")
    assert conditions(status)["ScalingActive"] == ("False", "AmbiguousSelector")
    why = "pods by selector app=web are controlled by multiple HPAs: [{a default} {b default}]"
    assert ("Warning", "AmbiguousSelector", why) in world.events
    client.remove(HORIZONTALPODAUTOSCALERS, "a")
    world.controller.resync()
    await drain(world.controller)
    status = client.one(HORIZONTALPODAUTOSCALERS, "b", "default")["status"]
    assert conditions(status)["ScalingActive"] == ("True", "ValidMetricFound")
    world.scale(3, selector="")
    world.controller.resync()
    await drain(world.controller)
    status = client.one(HORIZONTALPODAUTOSCALERS, "b", "default")["status"]
    assert conditions(status)["ScalingActive"] == ("False", "InvalidSelector")


def test_texts() -> None:
    assert selector_text(None) == "nil"
    assert selector_text(LABELS) == (
        "&LabelSelector{MatchLabels:map[string]string{verb: GET,},MatchExpressions:[]LabelSelectorRequirement{},}"
    )
    assert [seconds(text) for text in ("1m0s", "30s", "1h2m", "15.5s", "")] == [60, 30, 3720, 15.5, 0]
