"""Nodes that fall silent and come back: conditions, taints, rates; and the pods that have to go."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fake_client import NOW, FakeClient, drain, make_context, ready_pod
from hypothesis import given
from hypothesis import strategies as st

from lakh.client.errors import ConnectionLost
from lakh.client.resources import LEASES, NODES, PODS, Resource
from lakh.client.types import ListMeta, ObjectList
from lakh.controllers.clock import stamp
from lakh.controllers.nodelifecycle import Bucket, NodeLifecycleController, decide, eviction_rate
from lakh.controllers.podgc import Found, PodGarbageCollector
from lakh.controllers.tainteviction import TaintEvictionController, stay_seconds
from lakh.controllers.views import (
    Lease,
    LeaseMeta,
    LeaseSpec,
    Meta,
    Node,
    Pod,
    PodSpec,
    PodStatus,
    Taint,
    Toleration,
)

TYPES = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


def node_body(name: str = "n1", ready: str = "True", **conditions: str) -> dict[str, Any]:
    wanted = {
        "Ready": ready,
        "MemoryPressure": "False",
        "DiskPressure": "False",
        "PIDPressure": "False",
        **conditions,
    }
    return {
        "metadata": {"name": name},
        "spec": {},
        "status": {
            "conditions": [
                {
                    "type": type_,
                    "status": status,
                    "reason": "Kubelet",
                    "lastHeartbeatTime": "2023-11-14T22:00:00Z",
                }
                for type_, status in wanted.items()
            ]
        },
    }


def node_view(**settings: Any) -> Node:
    return msgspec.convert(node_body(**settings), Node)


def pairs(taints: list[Taint] | None) -> set[tuple[str, str]]:
    return {(taint.key.removeprefix("node.kubernetes.io/"), taint.effect) for taint in taints or ()}


@pytest.mark.parametrize(
    ("node", "silent", "expected"),
    [
        (node_view(), False, set()),
        (node_view(), True, {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}),
        (node_view(ready="False"), False, {("not-ready", "NoSchedule"), ("not-ready", "NoExecute")}),
        (node_view(MemoryPressure="True"), False, {("memory-pressure", "NoSchedule")}),
        (node_view(NetworkUnavailable="True"), False, {("network-unavailable", "NoSchedule")}),
    ],
)
def test_taints(node: Node, silent: bool, expected: set[tuple[str, str]]) -> None:
    assert pairs(decide(node, silent=silent, may_evict=True, now=NOW).taints) == expected


def test_others_taints_stay_and_ours_go() -> None:
    node = node_view()
    node.spec.unschedulable = True
    node.spec.taints = [
        Taint(key="dedicated", value="x", effect="NoSchedule"),
        Taint(key="node.kubernetes.io/unreachable", effect="NoExecute"),
    ]
    plan = decide(node, silent=False, may_evict=True, now=NOW)
    assert pairs(plan.taints) == {("dedicated", "NoSchedule"), ("unschedulable", "NoSchedule")}
    node.spec.taints = plan.taints
    assert decide(node, silent=False, may_evict=True, now=NOW).taints is None


def test_silence_in_words() -> None:
    conditions = decide(node_view(), silent=True, may_evict=True, now=NOW).conditions
    assert {condition.type for condition in conditions} == set(TYPES)
    assert {(c.status, c.reason, c.message) for c in conditions} == {
        ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
    }
    bare = decide(Node(node_view().metadata), silent=True, may_evict=True, now=NOW).conditions
    assert {c.reason for c in bare} == {"NodeStatusNeverUpdated"}


@pytest.mark.parametrize(
    ("nodes", "unhealthy", "rate"),
    [(10, 1, 0.1), (10, 9, 0.0), (10, 10, 0.0), (1, 1, 0.1), (100_000, 50, 100.0), (100_000, 60_000, 10.0)],
)
def test_eviction_rate(nodes: int, unhealthy: int, rate: float) -> None:
    assert eviction_rate(nodes, unhealthy) == pytest.approx(rate)


@given(st.floats(0.01, 100), st.lists(st.floats(0, 10), max_size=50))
def test_bucket_keeps_its_rate(rate: float, pauses: list[float]) -> None:
    bucket, now, taken = Bucket(), 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(rate, now)
    assert taken <= 1 + now * rate + max(rate, 1.0)


@pytest.mark.parametrize(
    ("tolerations", "expected"),
    [
        ([], 0),
        ([Toleration(operator="Exists")], None),
        ([Toleration(key="k", operator="Exists", effect="NoExecute", tolerationSeconds=300)], 300),
        ([Toleration(key="k", operator="Equal", value="other")], 0),
        ([Toleration(key="k", value="v", tolerationSeconds=-5)], 0),
        ([Toleration(key="k", operator="Exists", effect="NoSchedule")], 0),
        (
            [
                Toleration(operator="Exists", tolerationSeconds=60),
                Toleration(key="k", operator="Exists", tolerationSeconds=9),
            ],
            9,
        ),
    ],
)
def test_stay(tolerations: list[Toleration], expected: float | None) -> None:
    assert stay_seconds([Taint(key="k", value="v", effect="NoExecute")], tolerations) == expected


# ---------------------------------------------------------------- the shells


def put_lease(client: FakeClient, name: str = "n1") -> None:
    client.put(
        LEASES, {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"renewTime": "x"}}
    )


async def test_silent_node_and_its_pods(client: FakeClient) -> None:
    context = make_context(client)
    lifecycle, eviction = NodeLifecycleController(context), TaintEvictionController(context)
    for name in ("n1", "n2"):
        client.put(NODES, node_body(name))
        put_lease(client, name)
    wait = {
        "key": "node.kubernetes.io/unreachable",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 300,
    }
    client.put(PODS, {"metadata": {"name": "web"}, "spec": {"nodeName": "n1", "tolerations": [wait]}})
    client.put(
        PODS,
        {"metadata": {"name": "agent"}, "spec": {"nodeName": "n1", "tolerations": [{"operator": "Exists"}]}},
    )
    ready_pod(client, "web")
    await drain(lifecycle, eviction)
    await lifecycle.listen()
    assert "taints" not in client.one(NODES, "n1")["spec"]

    client.monotonic += 60
    client.now += 60
    client.change(LEASES, "n2", {"spec": {"renewTime": "y"}}, "kube-node-lease")
    await lifecycle.listen()
    lifecycle.scan()
    await drain(lifecycle, eviction)
    conditions = {c["type"]: c for c in client.one(NODES, "n1")["status"]["conditions"]}
    assert conditions["Ready"]["status"] == "Unknown"
    assert conditions["Ready"]["lastHeartbeatTime"] == "2023-11-14T22:00:00Z"
    assert {taint["effect"] for taint in client.one(NODES, "n1")["spec"]["taints"]} == {
        "NoSchedule",
        "NoExecute",
    }
    assert client.one(PODS, "web", "default")["status"]["conditions"][0]["status"] == "False"
    assert "taints" not in client.one(NODES, "n2")["spec"]

    client.now += 301
    eviction.resync()
    await drain(eviction)
    assert [pod["metadata"]["name"] for pod in client.all(PODS)] == ["agent"]
    events = context.recorder("taint-eviction-controller").events  # type: ignore[attr-defined]
    assert events == [("Normal", "TaintManagerEviction", "Marking for deletion Pod default/web")]

    client.change(LEASES, "n1", {"spec": {"renewTime": "z"}}, "kube-node-lease")
    client.change(NODES, "n1", {"status": node_body()["status"]})
    await lifecycle.listen()
    lifecycle.scan()
    await drain(lifecycle, eviction)
    assert not client.one(NODES, "n1")["spec"].get("taints")


async def test_leases_are_read_in_pages(client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    lifecycle = NodeLifecycleController(make_context(client))
    asked: list[dict[str, Any]] = []

    async def page(resource: Resource, namespace: str, **options: Any) -> ObjectList[Lease]:
        asked.append(options)
        lease = Lease(LeaseMeta(f"n{len(asked)}"), LeaseSpec("x"))
        return ObjectList(ListMeta(continue_="more" if len(asked) == 1 else None), [lease])

    monkeypatch.setattr(client, "list", page)
    await lifecycle.listen()
    assert set(lifecycle._heard) == {"n1", "n2"}
    assert [options["continue_"] for options in asked] == [None, "more"]
    # With version 0 the limit would mean nothing.
    assert all(options["limit"] and not options.get("resource_version") for options in asked)


async def test_nobody_is_called_silent_for_an_api_server_that_was_away(client: FakeClient) -> None:
    lifecycle = NodeLifecycleController(make_context(client, node_grace_seconds=100))
    client.put(NODES, node_body("n1"))
    put_lease(client, "n1")
    await lifecycle.listen()
    await drain(lifecycle)
    answer = client.list

    async def away(*_: Any, **__: Any) -> Any:
        raise ConnectionLost("away")

    for seconds, listing in ((90, away), (90, away), (90, answer)):
        client.monotonic += seconds
        client.list = listing  # type: ignore[method-assign]
        await lifecycle.listen()
        lifecycle.scan()
        assert not lifecycle._silent
    client.monotonic += 101
    await lifecycle.listen()
    lifecycle.scan()
    assert lifecycle._silent == {"n1"}


async def test_another_heartbeat_is_a_sign_of_life_and_no_work(client: FakeClient) -> None:
    lifecycle = NodeLifecycleController(make_context(client, node_grace_seconds=100))
    body = node_body("n1")
    client.put(NODES, body)
    await drain(lifecycle)
    conditions = body["status"]["conditions"]
    client.monotonic += 90
    later = [condition | {"lastHeartbeatTime": "2023-11-14T22:10:00Z"} for condition in conditions]
    client.change(NODES, "n1", {"status": {"conditions": later}})
    assert len(lifecycle.queue) == 0
    client.monotonic += 90
    lifecycle.scan()
    assert len(lifecycle.queue) == 0
    worse = [condition | {"status": "False"} for condition in later]
    client.change(NODES, "n1", {"status": {"conditions": worse}})
    assert len(lifecycle.queue) == 1


async def test_eviction_is_cancelled(client: FakeClient) -> None:
    context = make_context(client)
    eviction = TaintEvictionController(context)
    body = node_body()
    body["spec"]["taints"] = [{"key": "k", "effect": "NoExecute"}]
    client.put(NODES, body)
    stay = {"operator": "Exists", "tolerationSeconds": 60}
    client.put(PODS, {"metadata": {"name": "web"}, "spec": {"nodeName": "n1", "tolerations": [stay]}})
    await drain(eviction)
    client.change(NODES, "n1", {"spec": {"taints": None}})
    await drain(eviction)
    assert len(client.all(PODS)) == 1
    events = context.recorder("taint-eviction-controller").events  # type: ignore[attr-defined]
    assert events == [("Normal", "TaintManagerEviction", "Cancelling deletion of Pod default/web")]


async def test_pods_of_a_deleted_node(client: FakeClient) -> None:
    controller = PodGarbageCollector(make_context(client))
    client.put(NODES, node_body("n1"))
    client.put(PODS, {"metadata": {"name": "lost", "finalizers": ["keep"]}, "spec": {"nodeName": "gone"}})
    client.put(PODS, {"metadata": {"name": "fine"}, "spec": {"nodeName": "n1"}})
    client.put(
        PODS,
        {"metadata": {"name": "unscheduled", "deletionTimestamp": "2023-11-14T22:13:20Z", "_graceful": True}},
    )
    await controller.collect()
    assert "deletionTimestamp" not in client.one(PODS, "lost", "default")["metadata"]
    assert ("delete", "pods", "unscheduled") in client.requests
    client.monotonic += 41
    await controller.collect()
    lost = client.one(PODS, "lost", "default")
    assert lost["metadata"]["deletionTimestamp"]
    assert lost["status"]["phase"] == "Failed"
    assert lost["status"]["conditions"][0]["reason"] == "DeletionByPodGC"
    assert "deletionTimestamp" not in client.one(PODS, "fine", "default")["metadata"]


async def test_a_pod_that_came_to_a_tainted_node_stays_as_long_as_it_may(client: FakeClient) -> None:
    eviction = TaintEvictionController(make_context(client))
    taint = {"key": "k", "effect": "NoExecute", "timeAdded": "2023-11-01T00:00:00Z"}
    client.put(NODES, {"metadata": {"name": "n1"}, "spec": {"taints": [taint]}})
    for name, seconds in (("young", 60), ("old", 10)):
        pod = {
            "metadata": {"name": name},
            "spec": {
                "nodeName": "n1",
                "tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": seconds}],
            },
            "status": {
                "conditions": [
                    {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(NOW - 20)}
                ]
            },
        }
        client.put(PODS, pod)
    await drain(eviction)
    assert [pod["metadata"]["name"] for pod in client.all(PODS)] == ["young"]


async def test_deleted_pods_of_a_node_out_of_service(client: FakeClient) -> None:
    controller = PodGarbageCollector(make_context(client))
    taint = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}
    for name, ready in (("dead", "Unknown"), ("alive", "True")):
        body = node_body(name, ready=ready)
        body["spec"]["taints"] = [taint]
        client.put(NODES, body)
        for pod, deleted in ((f"{name}-ending", "2023-11-14T22:13:20Z"), (f"{name}-running", None)):
            metadata = {"name": pod, "_graceful": True, "finalizers": ["keep"]}
            if deleted:
                metadata["deletionTimestamp"] = deleted
            client.put(
                PODS, {"metadata": metadata, "spec": {"nodeName": name}, "status": {"phase": "Running"}}
            )
    await controller.collect()
    assert [request for request in client.requests if request[0] == "delete"] == [
        ("delete", "pods", "dead-ending")
    ]
    assert client.one(PODS, "dead-ending", "default")["status"] == {"phase": "Failed"}


def test_evicted_pods_go_first() -> None:
    found = Found()
    found.add(
        [
            Pod(
                Meta(name=name, creationTimestamp=created),
                PodSpec(),
                PodStatus(phase="Failed", reason=reason),
            )
            for name, created, reason in (
                ("b", "2023-01-01T00:00:00Z", None),
                ("a", "2023-01-01T00:00:00Z", None),
                ("evicted", "2023-06-01T00:00:00Z", "Evicted"),
            )
        ],
        (),
    )
    assert [pod.metadata.name for pod in found.excess(1)] == ["evicted", "a"]
    assert found.excess(3) == []
