"""ReplicaSets: the decision, the counts, and the shell against a fake API server."""

from __future__ import annotations

from typing import Any

import pytest
from fake_client import NOW, FakeClient, drain, make_context, ready_pod, template
from hypothesis import given
from hypothesis import strategies as st

from lakh.client.errors import ApiError
from lakh.client.resources import PODS, REPLICASETS
from lakh.controllers.replicaset import ReplicaSetController, count, decide
from lakh.controllers.views import Condition, Meta, Pod, PodSpec, PodStatus, ReplicaSet, ReplicaSetSpec


def pod(
    name: str, phase: str = "Running", *, ready: bool = True, node: str = "n1", cost: str | None = None
) -> Pod:
    conditions = (
        [Condition(type="Ready", status="True", lastTransitionTime="2023-11-14T22:00:00Z")] if ready else None
    )
    return Pod(
        Meta(
            name=name,
            uid=name,
            creationTimestamp="2023-11-14T21:00:00Z",
            annotations={"controller.kubernetes.io/pod-deletion-cost": cost} if cost else None,
        ),
        PodSpec(nodeName=node or None),
        PodStatus(phase=phase, conditions=conditions),
    )


def replica_set(replicas: int, **spec: Any) -> ReplicaSet:
    return ReplicaSet(
        Meta(name="web", namespace="default", uid="u", generation=3), ReplicaSetSpec(replicas, **spec)
    )


@given(st.integers(0, 2000), st.integers(0, 30))
def test_decide_moves_towards_replicas(wanted: int, have: int) -> None:
    plan = decide(replica_set(wanted), [pod(f"p{n}") for n in range(have)], dict, NOW)
    assert not (plan.create and plan.delete)
    after = have + plan.create - len(plan.delete)
    assert min(have, wanted) <= after <= max(have, wanted)
    assert after == wanted or plan.create == 500


def test_victims_in_upstream_order() -> None:
    pods = [
        pod("keeper"),
        pod("dear", cost="10"),
        pod("cheap", cost="-5"),
        pod("crowded", node="full"),
        pod("notready", ready=False),
        pod("pending", "Pending", ready=False),
        pod("unassigned", "Pending", ready=False, node=""),
    ]
    victims = decide(replica_set(1), pods, lambda: {"full": 3, "n1": 1}, NOW).delete
    assert [victim.metadata.name for victim in victims] == [
        "unassigned",
        "pending",
        "notready",
        "cheap",
        "crowded",
        "keeper",
    ]


def test_count() -> None:
    gone = pod("gone")
    gone.metadata.deletionTimestamp = "2023-11-14T22:10:00Z"
    pods = [pod("a"), pod("b", ready=False), gone, pod("done", "Succeeded", ready=False)]
    pods[0].metadata.labels = {"app": "web", "x": "y"}
    status = count(replica_set(3), pods, {"app": "web"}, None, NOW)
    assert (status.replicas, status.fullyLabeledReplicas, status.readyReplicas, status.availableReplicas) == (
        2,
        1,
        1,
        1,
    )
    assert status.terminatingReplicas == 1
    assert status.observedGeneration == 3
    late = count(replica_set(3, minReadySeconds=3600), pods, {}, None, NOW)
    assert (late.readyReplicas, late.availableReplicas) == (1, 0)


# ---------------------------------------------------------------- the shell


def put_set(client: FakeClient, replicas: int, name: str = "web") -> None:
    client.put(
        REPLICASETS,
        {
            "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": template({"app": "web"}),
            },
        },
    )


async def test_creates_and_counts(client: FakeClient) -> None:
    context = make_context(client)
    controller = ReplicaSetController(context)
    put_set(client, 3)
    await drain(controller)
    pods = client.all(PODS)
    assert len(pods) == 3
    assert pods[0]["metadata"]["generateName"] == "web-"
    assert pods[0]["metadata"]["labels"] == {"app": "web"}
    assert pods[0]["metadata"]["ownerReferences"][0] == {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": "web",
        "uid": client.one(REPLICASETS, "web", "default")["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    assert pods[0]["spec"]["containers"][0]["image"] == "busybox"
    for one in pods:
        ready_pod(client, one["metadata"]["name"])
    await drain(controller)
    status = client.one(REPLICASETS, "web", "default")["status"]
    assert status["readyReplicas"] == status["availableReplicas"] == status["fullyLabeledReplicas"] == 3
    assert context.recorder("replicaset-controller").reasons == ["SuccessfulCreate"] * 3  # type: ignore[attr-defined]


async def test_scales_down(client: FakeClient) -> None:
    controller = ReplicaSetController(make_context(client))
    put_set(client, 4)
    await drain(controller)
    client.change(REPLICASETS, "web", {"spec": {"replicas": 1}})
    await drain(controller)
    assert len(client.all(PODS)) == 1
    assert client.one(REPLICASETS, "web", "default")["status"]["observedGeneration"] == 2


async def test_slow_watch_does_not_create_twice(client: FakeClient) -> None:
    controller = ReplicaSetController(make_context(client))
    put_set(client, 5)
    key = await controller.queue.get()
    client.hold()
    await controller.reconcile(key)
    await controller.reconcile(key)
    assert len(client.all(PODS)) == 5
    client.release()
    controller.queue.done(key)
    await drain(controller)
    assert len(client.all(PODS)) == 5


async def test_failed_create_is_told_and_taken_back(client: FakeClient) -> None:
    context = make_context(client)
    controller = ReplicaSetController(context)
    quota = ApiError(403, "Forbidden", 'pods "web-x" is forbidden: exceeded quota')
    client.fail = lambda verb, resource, name: quota if (verb, resource) == ("create", PODS) else None
    put_set(client, 5)
    with pytest.raises(ApiError):
        await drain(controller)
    assert len([request for request in client.requests if request[0] == "create"]) == 1
    condition = client.one(REPLICASETS, "web", "default")["status"]["conditions"][0]
    assert (condition["type"], condition["reason"]) == ("ReplicaFailure", "FailedCreate")
    assert context.recorder("replicaset-controller").reasons == ["FailedCreate"]  # type: ignore[attr-defined]
    client.fail = lambda verb, resource, name: None
    await drain(controller)
    controller.queue.add("default/web")
    await drain(controller)
    assert len(client.all(PODS)) == 5
    assert not client.one(REPLICASETS, "web", "default")["status"].get("conditions")


async def test_adopts_and_releases(client: FakeClient) -> None:
    controller = ReplicaSetController(make_context(client))
    client.put(
        PODS, {"metadata": {"name": "stray", "labels": {"app": "web"}}, "status": {"phase": "Running"}}
    )
    put_set(client, 2)
    await drain(controller)
    stray = client.one(PODS, "stray", "default")
    assert stray["metadata"]["ownerReferences"][0]["name"] == "web"
    assert len(client.all(PODS)) == 2
    client.change(PODS, "stray", {"metadata": {"labels": {"app": "other"}}})
    await drain(controller)
    assert not client.one(PODS, "stray", "default")["metadata"]["ownerReferences"]
    assert len(client.all(PODS)) == 3
