"""Deployments: rollouts as pure steps (with their safety properties) and end to end with ReplicaSets on a fake API server."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fake_client import NOW, FakeClient, drain, make_context, ready_pod, template
from hypothesis import given, settings
from hypothesis import strategies as st

from lakh.client.errors import ApiError
from lakh.client.resources import DEPLOYMENTS, PODS, REPLICASETS, Resource
from lakh.controllers import rollout
from lakh.controllers.deployment import DeploymentController
from lakh.controllers.replicaset import ReplicaSetController
from lakh.controllers.views import (
    Deployment,
    DeploymentSpec,
    Meta,
    ReplicaSet,
    ReplicaSetSpec,
    ReplicaSetStatus,
    RollingUpdate,
    Strategy,
)
from tests.examples import examples


def raw(image: str) -> msgspec.Raw:
    return msgspec.Raw(
        msgspec.json.encode({"metadata": {"labels": {"app": "web"}}, "spec": {"image": image}})
    )


def deployment(
    replicas: int, image: str = "v2", surge: Any = None, unavailable: Any = None, **spec: Any
) -> Deployment:
    strategy = Strategy("RollingUpdate", RollingUpdate(maxUnavailable=unavailable, maxSurge=surge))
    return Deployment(
        Meta(name="web", namespace="default", uid="d", generation=1),
        DeploymentSpec(replicas=replicas, template=raw(image), strategy=strategy, **spec),
    )


def replica_set(
    name: str,
    replicas: int,
    available: int | None = None,
    image: str = "v1",
    revision: int = 1,
    annotations: dict[str, str] | None = None,
) -> ReplicaSet:
    return ReplicaSet(
        Meta(
            name=name,
            namespace="default",
            uid=name,
            generation=1,
            creationTimestamp=f"2023-11-14T00:00:{revision:02d}Z",
            annotations={rollout.REVISION: str(revision), **(annotations or {})},
        ),
        ReplicaSetSpec(replicas=replicas, template=raw(image)),
        ReplicaSetStatus(
            replicas=replicas,
            availableReplicas=replicas if available is None else available,
            observedGeneration=1,
        ),
    )


def step(d: Deployment, *sets: ReplicaSet, now: float = NOW) -> rollout.Plan:
    return rollout.decide(d, sets, old_pods_running=False, now=now)


def test_first_replica_set() -> None:
    plan = step(deployment(3, progressDeadlineSeconds=600))
    assert plan.create is not None
    assert plan.create.replicas == 3
    assert plan.create.name == f"web-{plan.create.hash}"
    assert set(plan.create.hash) <= set("bcdfghjklmnpqrstvwxz2456789")
    assert plan.create.annotations == {
        rollout.REVISION: "1",
        rollout.DESIRED_REPLICAS: "3",
        rollout.MAX_REPLICAS: "4",
    }
    conditions = {c.type: (c.status, c.reason) for c in plan.status.conditions or ()}
    assert conditions["Progressing"] == ("True", "NewReplicaSetCreated")
    assert conditions["Available"] == ("False", "MinimumReplicasUnavailable")


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "expected"),
    [
        ("25%", "25%", 10, (3, 2)),
        (0, 0, 10, (0, 1)),
        (1, 0, 3, (1, 0)),
        ("100%", "0%", 4, (4, 0)),
        ("1%", "1%", 10, (1, 0)),
    ],
)
def test_limits(surge: Any, unavailable: Any, replicas: int, expected: tuple[int, int]) -> None:
    assert rollout.limits(deployment(replicas, surge=surge, unavailable=unavailable)) == expected


def test_scaling_in_proportion_during_a_rollout() -> None:
    notes = {rollout.DESIRED_REPLICAS: "10", rollout.MAX_REPLICAS: "13"}
    old = replica_set("old", 8, annotations=notes)
    new = replica_set("new", 5, 0, image="v2", revision=2, annotations=notes)
    plan = step(deployment(15, surge=3, unavailable=2), old, new)
    assert {rs.metadata.name: size for rs, size in plan.scale} == {"old": 11, "new": 7}


def test_scaling_a_settled_deployment() -> None:
    rs = replica_set(
        "only", 3, image="v2", annotations={rollout.DESIRED_REPLICAS: "3", rollout.MAX_REPLICAS: "4"}
    )
    assert step(deployment(7), rs).scale == [(rs, 7)]


def test_paused_does_not_roll() -> None:
    old = replica_set("old", 3)
    plan = step(deployment(3, paused=True, progressDeadlineSeconds=600), old)
    assert plan.create is None
    assert not plan.scale
    assert {c.type: c.reason for c in plan.status.conditions or ()}["Progressing"] == "DeploymentPaused"


def test_rollback_bumps_the_revision_of_the_old_set() -> None:
    old = replica_set("v1", 0, image="v1", revision=1)
    current = replica_set("v2", 3, image="v2", revision=2)
    plan = step(deployment(3, image="v1"), old, current)
    assert plan.annotate == [(old, {rollout.REVISION: "3", rollout.REVISION_HISTORY: "1"})]
    assert plan.revision == "3"


def test_history_limit() -> None:
    sets = [replica_set(f"v{n}", 0, image=f"i{n}", revision=n) for n in range(1, 6)]
    new = replica_set("new", 2, image="v2", revision=6)
    plan = step(deployment(2, revisionHistoryLimit=2), *sets, new)
    assert [rs.metadata.name for rs in plan.delete] == ["v1", "v2", "v3"]


def test_deadline() -> None:
    d = deployment(2, progressDeadlineSeconds=60)
    new = replica_set("new", 2, 0, image="v2")
    first = step(d, new)
    d.status = first.status
    assert first.requeue_seconds == 61
    late = step(d, new, now=NOW + 62)
    progressing = {c.type: c for c in late.status.conditions or ()}["Progressing"]
    assert (progressing.status, progressing.reason) == ("False", "ProgressDeadlineExceeded")
    assert progressing.message == 'ReplicaSet "new" has timed out progressing.'
    new.status.availableReplicas = 2
    d.status = late.status
    done = {c.type: c for c in step(d, new, now=NOW + 70).status.conditions or ()}["Progressing"]
    assert (done.status, done.reason) == ("True", "NewReplicaSetAvailable")


@settings(max_examples=examples(200))
@given(
    st.integers(1, 40),
    st.one_of(st.integers(0, 10), st.integers(0, 100).map(lambda n: f"{n}%")),
    st.one_of(st.integers(0, 10), st.integers(0, 100).map(lambda n: f"{n}%")),
    st.data(),
)
def test_rolling_update_is_safe_and_ends(
    replicas: int, surge: Any, unavailable: Any, data: st.DataObject
) -> None:
    """Never more than replicas + maxSurge wanted, never fewer than replicas - maxUnavailable kept, and it ends."""
    d = deployment(replicas, surge=surge, unavailable=unavailable)
    more, fewer = rollout.limits(d)
    old = replica_set("old", replicas)
    sets = [old]
    for _ in range(40 * replicas + 10):
        plan = step(d, *sets)
        available = sum(rs.status.availableReplicas or 0 for rs in sets)
        if plan.create is not None:
            sets.append(
                replica_set(
                    "new",
                    plan.create.replicas,
                    0,
                    image="v2",
                    revision=2,
                    annotations=plan.create.annotations,
                )
            )
        for rs, size in plan.scale:
            cut = rollout.size(rs) - size
            unhealthy = rollout.size(rs) - (rs.status.availableReplicas or 0)
            lost = max(cut - max(unhealthy, 0), 0)
            rs.status.availableReplicas = (rs.status.availableReplicas or 0) - lost
            rs.spec.replicas = rs.status.replicas = size
            available -= lost
            assert lost == 0 or available >= replicas - min(fewer, replicas)
        assert sum(map(rollout.size, sets)) <= replicas + more
        new = sets[-1]
        missing = rollout.size(new) - (new.status.availableReplicas or 0)
        if missing > 0:
            grown = data.draw(st.integers(1, missing))
            new.status.availableReplicas = (new.status.availableReplicas or 0) + grown
            new.status.replicas = new.spec.replicas
        elif not plan.scale and plan.create is None:
            break
    assert rollout.size(sets[-1]) == replicas
    assert rollout.size(old) == 0


# ---------------------------------------------------------------- the shell


def put(client: FakeClient, image: str = "v1", replicas: int = 3, **spec: Any) -> None:
    body = template({"app": "web"})
    body["spec"]["containers"][0]["image"] = image
    client.put(
        DEPLOYMENTS,
        {
            "metadata": {"name": "web", "annotations": {"kubernetes.io/change-cause": image}},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": body,
                "progressDeadlineSeconds": 600,
                "revisionHistoryLimit": 10,
                **spec,
            },
        },
    )


async def settle(client: FakeClient, *controllers: Any) -> None:
    """Run controllers and make every pod ready until nothing changes any more."""
    for _ in range(50):
        revision = client.revision
        await drain(*controllers)
        for pod in client.all(PODS):
            if pod["status"]["phase"] == "Pending":
                ready_pod(client, pod["metadata"]["name"])
        if client.revision == revision:
            return
    raise AssertionError("never settled")


async def test_rollout_and_undo(client: FakeClient) -> None:
    context = make_context(client)
    controllers = DeploymentController(context), ReplicaSetController(context)
    put(client)
    await settle(client, *controllers)
    live = client.one(DEPLOYMENTS, "web", "default")
    assert live["status"]["availableReplicas"] == live["status"]["updatedReplicas"] == 3
    assert live["metadata"]["annotations"][rollout.REVISION] == "1"
    assert {c["type"]: c["reason"] for c in live["status"]["conditions"]} == {
        "Available": "MinimumReplicasAvailable",
        "Progressing": "NewReplicaSetAvailable",
    }
    first = client.all(REPLICASETS)[0]
    hashed = first["metadata"]["labels"]["pod-template-hash"]
    assert first["metadata"]["name"] == f"web-{hashed}"
    assert first["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": hashed}
    assert first["metadata"]["annotations"]["kubernetes.io/change-cause"] == "v1"
    assert all(pod["metadata"]["labels"]["pod-template-hash"] == hashed for pod in client.all(PODS))

    containers = [{"name": "main", "image": "v2"}]
    client.change(DEPLOYMENTS, "web", {"spec": {"template": {"spec": {"containers": containers}}}})
    await settle(client, *controllers)
    sets = client.all(REPLICASETS)
    assert sorted(rs["spec"]["replicas"] for rs in sets) == [0, 3]
    assert client.one(DEPLOYMENTS, "web", "default")["metadata"]["annotations"][rollout.REVISION] == "2"

    containers = [{"name": "main", "image": "v1"}]
    client.change(DEPLOYMENTS, "web", {"spec": {"template": {"spec": {"containers": containers}}}})
    await settle(client, *controllers)
    again = client.one(REPLICASETS, first["metadata"]["name"], "default")
    assert again["spec"]["replicas"] == 3
    assert again["metadata"]["annotations"][rollout.REVISION] == "3"
    assert again["metadata"]["annotations"][rollout.REVISION_HISTORY] == "1"
    events = context.recorder("deployment-controller").events  # type: ignore[attr-defined]
    assert events[0] == ("Normal", "ScalingReplicaSet", f"Scaled up replica set web-{hashed} from 0 to 3")


async def test_recreate_waits_for_old_pods(client: FakeClient) -> None:
    context = make_context(client)
    deployments, sets = DeploymentController(context), ReplicaSetController(context)
    put(client, strategy={"type": "Recreate"})
    await settle(client, deployments, sets)
    client.graceful = True
    containers = [{"name": "main", "image": "v2"}]
    client.change(DEPLOYMENTS, "web", {"spec": {"template": {"spec": {"containers": containers}}}})
    await settle(client, deployments, sets)
    assert [rs["spec"]["replicas"] for rs in client.all(REPLICASETS)] == [0]
    for pod in list(client.all(PODS)):
        client.remove(PODS, pod["metadata"]["name"])
    await settle(client, deployments, sets)
    assert sorted(rs["spec"]["replicas"] for rs in client.all(REPLICASETS)) == [0, 3]


async def test_hash_collision(client: FakeClient) -> None:
    context = make_context(client)
    controller = DeploymentController(context)
    body = template({"app": "web"})
    body["spec"]["containers"][0]["image"] = "v1"
    hashed = rollout.template_hash(body)
    client.put(
        REPLICASETS,
        {
            "metadata": {"name": f"web-{hashed}", "labels": {"app": "other"}},
            "spec": {"replicas": 0, "template": template({"app": "other"})},
        },
    )
    put(client)
    with pytest.raises(RuntimeError, match="hash collision"):
        await drain(controller)
    await drain(controller)
    assert client.one(DEPLOYMENTS, "web", "default")["status"]["collisionCount"] == 1
    assert len(client.all(REPLICASETS)) == 2


async def test_min_ready_seconds_reach_the_replica_set(client: FakeClient) -> None:
    context = make_context(client)
    controllers = DeploymentController(context), ReplicaSetController(context)
    put(client)
    await settle(client, *controllers)
    client.change(DEPLOYMENTS, "web", {"spec": {"minReadySeconds": 30, "replicas": 4}})
    await drain(*controllers)
    [rs] = client.all(REPLICASETS)
    assert (rs["spec"]["minReadySeconds"], rs["spec"]["replicas"]) == (30, 4)


async def test_a_replica_set_that_cannot_be_created_is_told(client: FakeClient) -> None:
    context = make_context(client)
    controller = DeploymentController(context)
    put(client, progressDeadlineSeconds=600)

    def refuse(verb: str, resource: Resource, name: str) -> Exception | None:
        return ApiError(403, "Forbidden", "exceeded quota") if verb == "create" else None

    client.fail = refuse
    with pytest.raises(ApiError, match="exceeded quota"):
        await drain(controller)
    [condition] = client.one(DEPLOYMENTS, "web", "default")["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Progressing", "False")
    assert condition["reason"] == "ReplicaSetCreateError"
    assert condition["message"].startswith('Failed to create new replica set "web-')
    assert condition["message"].endswith("exceeded quota")
    assert condition["lastUpdateTime"] == condition["lastTransitionTime"]
