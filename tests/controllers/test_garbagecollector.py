"""The garbage collector: the fate of an object, and the three ways of deleting on a fake API server."""

from __future__ import annotations

from typing import Any

import pytest
from fake_client import FakeClient, drain, make_context

from lakh.client.resources import CONFIGMAPS, JOBS, LEASES, NODES, PODS
from lakh.controllers.garbagecollector import Action, GarbageCollector, Owners, decide
from lakh.controllers.views import BareMeta, OwnerReference

REF = OwnerReference(apiVersion="batch/v1", kind="Job", name="train", uid="o")


@pytest.mark.parametrize(
    ("owners", "finalizers", "has_dependents", "expected"),
    [
        (Owners(solid=[REF]), None, False, Action()),
        (Owners(dangling=[REF]), None, False, Action("Background")),
        (Owners(solid=[REF], dangling=[REF]), None, False, Action(drop=("o",))),
        (Owners(waiting=[REF]), None, False, Action("Background")),
        (Owners(waiting=[REF]), None, True, Action("Foreground")),
        (Owners(dangling=[REF]), ["orphan"], False, Action("Orphan")),
        (Owners(dangling=[REF]), ["foregroundDeletion"], False, Action("Foreground")),
        (Owners(), None, False, Action()),
    ],
)
def test_decide(owners: Owners, finalizers: list[str] | None, has_dependents: bool, expected: Action) -> None:
    metadata = BareMeta(name="p", uid="p", finalizers=finalizers)
    assert decide(metadata, owners, has_dependents=has_dependents) == expected


def put_owner(client: FakeClient) -> str:
    uid: str = client.put(JOBS, {"metadata": {"name": "train"}})["metadata"]["uid"]
    return uid


def put_pod(client: FakeClient, name: str, uid: str, **extra: Any) -> None:
    reference = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": "train",
        "uid": uid,
        "controller": True,
        **extra,
    }
    client.put(PODS, {"metadata": {"name": name, "ownerReferences": [reference]}})


async def collector(client: FakeClient) -> GarbageCollector:
    client.served = [PODS, JOBS, CONFIGMAPS, NODES, LEASES]
    controller = GarbageCollector(make_context(client))
    await controller.refresh()
    return controller


async def test_background(client: FakeClient) -> None:
    controller = await collector(client)
    uid = put_owner(client)
    for n in range(5):
        put_pod(client, f"p{n}", uid)
    node = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": put_owner_of(client, "n1")}
    client.put(PODS, {"metadata": {"name": "other", "ownerReferences": [node]}})
    await drain(controller)
    assert len(client.all(PODS)) == 6
    client.remove(JOBS, "train")
    await drain(controller)
    assert [pod["metadata"]["name"] for pod in client.all(PODS)] == ["other"]
    # One GET was enough for all five.
    assert [request for request in client.requests if request[0] == "get"] == [("get", "jobs", "train")]


def put_owner_of(client: FakeClient, name: str) -> str:
    """A second owner that stays; its dependents name it as a Node, which is cluster-scoped."""
    uid: str = client.put(NODES, {"metadata": {"name": name}})["metadata"]["uid"]
    return uid


async def test_owner_that_never_was(client: FakeClient) -> None:
    controller = await collector(client)
    put_owner(client)
    put_pod(client, "stale", "another-uid")
    controller.queue.add("/pods|default/stale")
    await drain(controller)
    assert client.all(PODS) == []


async def test_owner_of_an_unknown_kind_stays_untouched(client: FakeClient) -> None:
    controller = await collector(client)
    reference = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": "w"}
    client.put(PODS, {"metadata": {"name": "p", "ownerReferences": [reference]}})
    controller.queue.add("/pods|default/p")
    await drain(controller)
    assert len(client.all(PODS)) == 1


async def test_foreground_waits_for_blocking_dependents(client: FakeClient) -> None:
    controller = await collector(client)
    uid = put_owner(client)
    put_pod(client, "a", uid, blockOwnerDeletion=True)
    client.change(PODS, "a", {"metadata": {"finalizers": ["example.com/slow"]}})
    await client.delete(JOBS, "train", "default", propagation_policy="Foreground")
    await drain(controller)
    assert client.one(PODS, "a", "default")["metadata"]["deletionTimestamp"]
    assert len(client.all(JOBS)) == 1
    client.change(PODS, "a", {"metadata": {"finalizers": None}})
    await drain(controller)
    assert client.all(PODS) == []
    assert client.all(JOBS) == []


async def test_orphan(client: FakeClient) -> None:
    controller = await collector(client)
    uid = put_owner(client)
    put_pod(client, "a", uid)
    client.change(JOBS, "train", {"metadata": {"finalizers": ["orphan"]}})
    await client.delete(JOBS, "train", "default")
    await drain(controller)
    assert client.all(JOBS) == []
    assert not client.one(PODS, "a", "default")["metadata"].get("ownerReferences")
    controller.queue.add("/pods|default/a")
    await drain(controller)
    assert len(client.all(PODS)) == 1


async def test_one_owner_left_keeps_the_object(client: FakeClient) -> None:
    controller = await collector(client)
    uid = put_owner(client)
    node = put_owner_of(client, "n1")
    put_pod(client, "a", uid)
    references = [
        {"apiVersion": "batch/v1", "kind": "Job", "name": "train", "uid": uid},
        {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": node},
    ]
    client.change(PODS, "a", {"metadata": {"ownerReferences": references}})
    client.remove(JOBS, "train")
    await drain(controller)
    assert [ref["kind"] for ref in client.one(PODS, "a", "default")["metadata"]["ownerReferences"]] == [
        "Node"
    ]


async def test_lease_goes_with_its_node(client: FakeClient) -> None:
    controller = await collector(client)
    uid = put_owner_of(client, "n1")
    reference = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": uid}
    client.put(
        LEASES, {"metadata": {"name": "n1", "namespace": "kube-node-lease", "ownerReferences": [reference]}}
    )
    client.remove(NODES, "n1")
    await drain(controller)
    assert client.all(LEASES) == []


async def test_owner_whose_kind_is_served_later(client: FakeClient) -> None:
    client.served = [PODS, NODES, LEASES]
    controller = GarbageCollector(make_context(client))
    await controller.refresh()
    put_pod(client, "p", "gone")
    controller.queue.add("/pods|default/p")
    await drain(controller)
    assert len(client.all(PODS)) == 1, "nobody knows whether a Job is there"
    client.served = [PODS, NODES, LEASES, JOBS]
    await controller.refresh()
    await drain(controller)
    assert client.all(PODS) == []
