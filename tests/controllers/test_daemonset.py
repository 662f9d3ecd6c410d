"""DaemonSets: placement, rolling updates as pure steps, and the shell on a fake API server."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fake_client import NOW, FakeClient, drain, make_context, ready_pod, template
from hypothesis import given
from hypothesis import strategies as st

from lakh.client.resources import CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS
from lakh.controllers.daemonset import DaemonSetController, decide
from lakh.controllers.placement import Placement
from lakh.controllers.views import (
    Condition,
    DaemonSet,
    DaemonSetSpec,
    Meta,
    Node,
    NodeSpec,
    Pod,
    PodSpec,
    PodStatus,
    RollingUpdate,
    Strategy,
    Taint,
)


def node(name: str, labels: dict[str, str] | None = None, *taints: Taint) -> Node:
    return Node(Meta(name=name, labels=labels), NodeSpec(taints=list(taints)))


@pytest.mark.parametrize(
    ("spec", "target", "expected"),
    [
        ({}, node("a"), (True, True)),
        ({"nodeSelector": {"gpu": "yes"}}, node("a"), (False, False)),
        ({"nodeSelector": {"gpu": "yes"}}, node("a", {"gpu": "yes"}), (True, True)),
        ({}, node("a", None, Taint(key="x", effect="NoSchedule")), (False, True)),
        ({}, node("a", None, Taint(key="x", effect="NoExecute")), (False, False)),
        ({}, node("a", None, Taint(key="x", effect="PreferNoSchedule")), (True, True)),
        ({}, node("a", None, Taint(key="node.kubernetes.io/unreachable", effect="NoExecute")), (True, True)),
        (
            {},
            node("a", None, Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")),
            (True, True),
        ),
        (
            {"tolerations": [{"operator": "Exists"}]},
            node("a", None, Taint(key="x", effect="NoExecute")),
            (True, True),
        ),
        ({"nodeName": "b"}, node("a"), (False, False)),
    ],
)
def test_placement(spec: dict[str, Any], target: Node, expected: tuple[bool, bool]) -> None:
    assert Placement(msgspec.json.encode(spec)).on(target) == expected


def daemons(unavailable: Any = 1, surge: Any = 0) -> DaemonSet:
    return DaemonSet(
        Meta(name="agent", namespace="default", uid="d", generation=1),
        DaemonSetSpec(
            template=msgspec.Raw(b'{"spec":{}}'),
            updateStrategy=Strategy(
                "RollingUpdate", RollingUpdate(maxUnavailable=unavailable, maxSurge=surge)
            ),
        ),
    )


def pod(name: str, on: str, hashed: str, *, ready: bool = True) -> Pod:
    conditions = (
        [Condition(type="Ready", status="True", lastTransitionTime="2023-11-14T22:00:00Z")] if ready else None
    )
    return Pod(
        Meta(name=name, uid=name, namespace="default", labels={"controller-revision-hash": hashed}),
        PodSpec(nodeName=on),
        PodStatus(phase="Running", conditions=conditions),
    )


@given(
    st.integers(1, 12),
    st.one_of(st.integers(1, 5), st.integers(1, 100).map(lambda n: f"{n}%")),
    st.booleans(),
    st.data(),
)
def test_rolling_update_is_safe_and_ends(size: int, limit: Any, surging: bool, data: st.DataObject) -> None:
    """Never more than maxUnavailable nodes without a working pod, never more than maxSurge with two; and it ends."""
    allowed = limit if isinstance(limit, int) else -(-int(limit[:-1]) * size // 100)
    ds = daemons(0 if surging else limit, limit if surging else 0)
    nodes = {f"n{n}": node(f"n{n}") for n in range(size)}
    pods = [pod(f"old-{name}", name, "old") for name in nodes]
    serial = 0
    for _ in range(20 * size + 20):
        plan = decide(ds, nodes, pods, "new", NOW)
        if not plan.create and not plan.delete and all(map(_works, pods)):
            break
        gone = {victim.metadata.uid for victim in plan.delete}
        pods = [one for one in pods if one.metadata.uid not in gone]
        for name in plan.create:
            serial += 1
            pods.append(pod(f"new-{serial}", name, "new", ready=False))
        working = {one.spec.nodeName for one in pods if _works(one)}
        if surging:
            assert len(working) == size
            assert len(pods) - size <= allowed
        else:
            assert len(working) >= size - allowed
            assert len(pods) <= size
        waiting = [one for one in pods if not _works(one)]
        if waiting and data.draw(st.booleans()):
            waiting[0].status.conditions = pod("x", "x", "x").status.conditions
    for _ in range(2 * size + 2):
        for one in pods:
            one.status.conditions = pod("x", "x", "x").status.conditions
        plan = decide(ds, nodes, pods, "new", NOW)
        gone = {victim.metadata.uid for victim in plan.delete}
        pods = [one for one in pods if one.metadata.uid not in gone]
        pods += [pod(f"late-{name}", name, "new") for name in plan.create]
    assert len(pods) == size
    assert all((one.metadata.labels or {})["controller-revision-hash"] == "new" for one in pods)


def _works(one: Pod) -> bool:
    return bool(one.status.conditions)


def test_status() -> None:
    nodes = {"a": node("a"), "b": node("b"), "c": node("c", None, Taint(key="x", effect="NoSchedule"))}
    pods = [pod("1", "a", "new"), pod("2", "b", "old", ready=False), pod("3", "c", "new")]
    status = decide(daemons(), nodes, pods, "new", NOW).status
    assert (status.desiredNumberScheduled, status.currentNumberScheduled, status.numberMisscheduled) == (
        2,
        2,
        1,
    )
    assert (status.numberReady, status.numberAvailable, status.numberUnavailable) == (1, 1, 1)
    assert status.updatedNumberScheduled == 1


# ---------------------------------------------------------------- the shell


async def test_one_pod_a_node(client: FakeClient) -> None:
    controller = DaemonSetController(make_context(client))
    for name in ("a", "b"):
        client.put(NODES, {"metadata": {"name": name}, "spec": {}})
    client.put(
        DAEMONSETS,
        {
            "metadata": {"name": "agent", "annotations": {"kubernetes.io/change-cause": "first"}},
            "spec": {
                "selector": {"matchLabels": {"app": "agent"}},
                "template": template({"app": "agent"}),
                "updateStrategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
                },
            },
        },
    )
    await drain(controller)
    pods = client.all(PODS)
    assert len(pods) == 2
    revision = client.all(CONTROLLERREVISIONS)[0]
    hashed = revision["metadata"]["labels"]["controller-revision-hash"]
    assert revision["metadata"]["name"] == f"agent-{hashed}"
    assert revision["revision"] == 1
    assert revision["metadata"]["annotations"] == {"kubernetes.io/change-cause": "first"}
    assert pods[0]["metadata"]["labels"] == {"app": "agent", "controller-revision-hash": hashed}
    terms = pods[0]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert terms == {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]
    }
    assert len(pods[0]["spec"]["tolerations"]) == 6
    for one, name in zip(pods, ("a", "b"), strict=True):
        ready_pod(client, one["metadata"]["name"], node=name)
    controller.resync()
    await drain(controller)
    status = client.one(DAEMONSETS, "agent", "default")["status"]
    assert status["numberReady"] == status["desiredNumberScheduled"] == status["updatedNumberScheduled"] == 2

    containers = [{"name": "main", "image": "v2"}]
    client.change(DAEMONSETS, "agent", {"spec": {"template": {"spec": {"containers": containers}}}})
    await drain(controller)
    controller.resync()
    await drain(controller)
    hashes = sorted(one["metadata"]["labels"]["controller-revision-hash"] for one in client.all(PODS))
    assert len(hashes) == 2
    assert len(set(hashes)) == 2
    client.put(NODES, {"metadata": {"name": "c"}, "spec": {}})
    controller.resync()
    await drain(controller)
    assert len(client.all(PODS)) == 3


async def test_a_daemon_set_that_selects_all_pods_does_nothing(client: FakeClient) -> None:
    context = make_context(client)
    controller = DaemonSetController(context)
    client.put(NODES, {"metadata": {"name": "n1"}})
    body = {"selector": {}, "template": template({"app": "agent"})}
    client.put(DAEMONSETS, {"metadata": {"name": "agent"}, "spec": body})
    controller.resync()
    await drain(controller)
    assert client.all(PODS) == []
    [(kind, reason, _)] = context.recorder("daemonset-controller").events  # type: ignore[attr-defined]
    assert (kind, reason) == ("Warning", "SelectingAll")
