"""PodDisruptionBudgets: the status, and the shell."""

from __future__ import annotations

from typing import Any

import pytest
from fake_client import NOW, FakeClient, drain, make_context, ready_pod

from lakh.client.errors import ApiError
from lakh.client.resources import (
    DEPLOYMENTS,
    JOBS,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    Resource,
)
from lakh.controllers import clock
from lakh.controllers.disruption import DisruptionController, decide
from lakh.controllers.views import Budget, BudgetSpec, BudgetStatus, Condition, Meta, Pod, PodSpec, PodStatus


def pods(ready: int, broken: int = 0) -> list[Pod]:
    good = [Condition(type="Ready", status="True")]
    return [
        Pod(
            Meta(name=f"p{n}", uid=f"p{n}"),
            PodSpec(),
            PodStatus(phase="Running", conditions=good if n < ready else None),
        )
        for n in range(ready + broken)
    ]


@pytest.mark.parametrize(
    ("spec", "ready", "broken", "wanted", "expected"),
    [
        ({"minAvailable": 2}, 3, 0, 3, (1, 2, 3)),
        ({"minAvailable": 2}, 2, 1, 3, (0, 2, 3)),
        ({"minAvailable": "50%"}, 5, 0, 5, (2, 3, 5)),
        ({"maxUnavailable": 1}, 3, 0, 3, (1, 2, 3)),
        ({"maxUnavailable": 1}, 2, 0, 3, (0, 2, 3)),
        ({"maxUnavailable": "34%"}, 3, 0, 3, (2, 1, 3)),
        ({"minAvailable": 0}, 0, 0, 0, (0, 0, 0)),
    ],
)
def test_decide(
    spec: dict[str, Any], ready: int, broken: int, wanted: int, expected: tuple[int, int, int]
) -> None:
    budget = Budget(Meta(name="b", generation=1), BudgetSpec(**spec))
    status = decide(budget, pods(ready, broken), wanted, NOW)
    assert (status.disruptionsAllowed, status.desiredHealthy, status.expectedPods) == expected


def test_evictions_under_way_count() -> None:
    at = "2023-11-14T22:13:00Z"
    budget = Budget(
        Meta(name="b"), BudgetSpec(minAvailable=1), BudgetStatus(disruptedPods={"p0": at, "gone": at})
    )
    status = decide(budget, pods(3), 3, NOW)
    assert status.disruptedPods == {"p0": at}
    assert status.disruptionsAllowed == 1
    assert decide(budget, pods(3), 3, NOW + 300).disruptedPods is None


async def test_status_is_written(client: FakeClient) -> None:
    controller = DisruptionController(make_context(client))
    client.put(
        PODDISRUPTIONBUDGETS,
        {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}},
    )
    for n in range(3):
        client.put(PODS, {"metadata": {"name": f"p{n}", "labels": {"app": "web"}}})
        ready_pod(client, f"p{n}")
    controller.resync()
    await drain(controller)
    status = client.one(PODDISRUPTIONBUDGETS, "b", "default")["status"]
    assert (status["disruptionsAllowed"], status["currentHealthy"], status["desiredHealthy"]) == (2, 3, 1)
    assert status["conditions"][0]["reason"] == "SufficientPods"


def owned(name: str, kind: str, owner: str, api: str = "apps/v1") -> dict[str, Any]:
    reference = {"apiVersion": api, "kind": kind, "name": owner, "uid": f"{owner}-uid", "controller": True}
    return {
        "metadata": {"name": name, "labels": {"app": "web"}, "ownerReferences": [reference]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }


async def synced(client: FakeClient, spec: dict[str, Any]) -> dict[str, Any]:
    controller = DisruptionController(make_context(client))
    selector = {"selector": {"matchLabels": {"app": "web"}}}
    client.put(PODDISRUPTIONBUDGETS, {"metadata": {"name": "b"}, "spec": {**spec, **selector}})
    controller.resync()
    await drain(controller)
    status: dict[str, Any] = client.one(PODDISRUPTIONBUDGETS, "b", "default")["status"]
    return status


async def test_pods_without_a_controller_are_not_expected(client: FakeClient) -> None:
    for n in range(3):
        client.put(PODS, {"metadata": {"name": f"p{n}", "labels": {"app": "web"}}})
        ready_pod(client, f"p{n}")
    status = await synced(client, {"maxUnavailable": 1})
    assert (status["expectedPods"], status["currentHealthy"], status["disruptionsAllowed"]) == (0, 3, 0)


async def test_a_replicaset_stands_for_its_deployment(client: FakeClient) -> None:
    client.put(DEPLOYMENTS, {"metadata": {"name": "d", "uid": "d-uid"}, "spec": {"replicas": 4}})
    above = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "d-uid", "controller": True}
    for name in ("old", "new"):
        meta = {"name": name, "uid": f"{name}-uid", "ownerReferences": [above]}
        client.put(REPLICASETS, {"metadata": meta, "spec": {"replicas": 2}})
    client.put(REPLICATIONCONTROLLERS, {"metadata": {"name": "rc", "uid": "rc-uid"}, "spec": {"replicas": 3}})
    client.put(PODS, owned("p0", "ReplicaSet", "old"))
    client.put(PODS, owned("p1", "ReplicaSet", "new"))
    client.put(PODS, owned("p2", "ReplicationController", "rc", "v1"))
    status = await synced(client, {"maxUnavailable": 5})
    assert (status["expectedPods"], status["desiredHealthy"], status["disruptionsAllowed"]) == (7, 2, 1)


async def test_other_controllers_are_asked_for_their_scale(client: FakeClient) -> None:
    things = Resource("example.com", "v1", "things", "Thing", True)
    client.served = [things]
    client.put(things, {"metadata": {"name": "t", "uid": "t-uid"}, "spec": {"replicas": 5}})
    client.put(PODS, owned("p0", "Thing", "t", "example.com/v1"))
    status = await synced(client, {"minAvailable": "20%"})
    assert (status["expectedPods"], status["desiredHealthy"], status["disruptionsAllowed"]) == (5, 1, 0)
    assert ("get", "things", "t/scale") in client.requests


async def test_a_controller_without_scale_fails_safe(client: FakeClient) -> None:
    client.served = [JOBS]
    client.put(JOBS, {"metadata": {"name": "j", "uid": "j-uid"}})
    client.put(PODS, owned("p0", "Job", "j", "batch/v1"))

    def no_scale(verb: str, resource: Resource, name: str) -> Exception | None:
        missing = ApiError(404, "NotFound", "the server could not find the requested resource")
        return missing if name.endswith("/scale") else None

    client.fail = no_scale
    status = await synced(client, {"maxUnavailable": 1})
    [condition] = status["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "SyncFailed")
    assert condition["message"] == "jobs.batch does not implement the scale subresource"
    assert not status.get("disruptionsAllowed")
    client.remove(JOBS, "j")
    status = await synced(client, {"maxUnavailable": 1})
    assert status["conditions"][0]["message"] == 'found no controllers for pod "p0"'


async def test_stale_disruption_targets_are_unmarked(client: FakeClient) -> None:
    def marked(name: str, at: float, reason: str = "PreemptionByScheduler", **status: Any) -> None:
        mark = {"type": "DisruptionTarget", "status": "True", "reason": reason}
        mark["lastTransitionTime"] = clock.stamp(at)
        client.put(PODS, {"metadata": {"name": name}, "status": {"conditions": [mark], **status}})

    marked("old", NOW - 121)
    marked("young", NOW - 60)
    marked("kubelet", NOW - 600, "TerminationByKubelet")
    marked("failed", NOW - 600, phase="Failed")
    controller = DisruptionController(make_context(client))
    for name in ("old", "young", "kubelet", "failed"):
        await controller.unmark(f"default/{name}")
    found = {pod["metadata"]["name"]: pod["status"]["conditions"][0]["status"] for pod in client.all(PODS)}
    assert found == {"old": "False", "young": "True", "kubelet": "True", "failed": "True"}
