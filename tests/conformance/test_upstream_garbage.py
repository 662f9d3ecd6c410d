"""Upstream's conformance tests of the garbage collector, and of what goes with a namespace."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from . import manifests
from .cluster import eventually
from .rest import Rest
from .upstream import covers

pytestmark = pytest.mark.xdist_group("conformance")

_numbers = itertools.count(1)


def controller(name: str, replicas: int = 2) -> dict[str, Any]:
    """A ReplicationController."""
    return {
        "apiVersion": "v1",
        "kind": "ReplicationController",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"app": name}, "template": manifests.pod_template(name)},
    }


def delete_options(policy: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}


class Place:
    """A namespace's paths."""

    def __init__(self, rest: Rest, namespace: str) -> None:
        self.rest = rest
        self.pods = f"/api/v1/namespaces/{namespace}/pods"
        self.controllers = f"/api/v1/namespaces/{namespace}/replicationcontrollers"
        self.deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        self.replica_sets = f"/apis/apps/v1/namespaces/{namespace}/replicasets"

    def items(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.rest.get(path).ok(200)["items"]
        return found

    def running(self, name: str, replicas: int) -> dict[str, Any]:
        """A controller with all its pods."""
        made: dict[str, Any] = self.rest.post(self.controllers, controller(name, replicas)).ok(201)
        assert eventually(lambda: len(self.items(f"{self.pods}?labelSelector=app%3D{name}")) == replicas)
        return made


@pytest.fixture
def place(rest: Rest, namespace: str) -> Place:
    return Place(rest, namespace)


@covers("Garbage collector should delete pods created by rc when not orphaning")
def test_background(place: Place) -> None:
    place.running("rc", 2)
    place.rest.delete(f"{place.controllers}/rc", delete_options("Background")).ok(200)
    assert eventually(lambda: not place.items(place.pods), "pods go")


@covers("Garbage collector should orphan pods created by rc if delete options say so")
def test_orphan(place: Place) -> None:
    made = place.running("rc", 10)
    place.rest.delete(f"{place.controllers}/rc", delete_options("Orphan")).ok(200)
    assert eventually(lambda: place.rest.get(f"{place.controllers}/rc").status == 404)
    pods = place.items(place.pods)
    assert len(pods) == 10
    for pod in pods:
        assert made["metadata"]["uid"] not in [r["uid"] for r in pod["metadata"].get("ownerReferences", [])]
        assert "deletionTimestamp" not in pod["metadata"]


@covers(
    "Garbage collector should keep the rc around until all its pods are deleted if the deleteOptions says so"
)
def test_foreground(place: Place) -> None:
    place.running("rc", 10)
    held = place.items(place.pods)[0]["metadata"]["name"]
    place.rest.patch(f"{place.pods}/{held}", {"metadata": {"finalizers": ["example.com/held"]}}).ok(200)
    place.rest.delete(f"{place.controllers}/rc", delete_options("Foreground")).ok(200)
    assert eventually(lambda: len(place.items(place.pods)) == 1, "all but the one that is held go")
    waiting = place.rest.get(f"{place.controllers}/rc").ok(200)
    assert waiting["metadata"]["finalizers"] == ["foregroundDeletion"]
    place.rest.patch(f"{place.pods}/{held}", {"metadata": {"finalizers": None}}).ok(200)
    assert eventually(lambda: place.rest.get(f"{place.controllers}/rc").status == 404)


@covers(
    "Garbage collector should not delete dependents that have both valid owner and owner that's waiting for dependents to be deleted"
)
def test_two_owners(place: Place) -> None:
    place.running("first", 10)
    stays = place.rest.post(place.controllers, controller("stays", 0)).ok(201)
    half = [p["metadata"]["name"] for p in place.items(place.pods)[:5]]
    reference = {
        "apiVersion": "v1",
        "kind": "ReplicationController",
        "name": "stays",
        "uid": stays["metadata"]["uid"],
    }
    for name in half:
        place.rest.patch(
            f"{place.pods}/{name}",
            {"metadata": {"ownerReferences": [reference]}},
            "application/strategic-merge-patch+json",
        ).ok(200)
    place.rest.delete(f"{place.controllers}/first", delete_options("Foreground")).ok(200)
    assert eventually(lambda: place.rest.get(f"{place.controllers}/first").status == 404)
    left = place.items(place.pods)
    assert sorted(p["metadata"]["name"] for p in left) == sorted(half)
    for pod in left:
        assert "deletionTimestamp" not in pod["metadata"]
        assert [r["name"] for r in pod["metadata"]["ownerReferences"]] == ["stays"]


@covers("Garbage collector should not be blocked by dependency circle")
def test_circle(place: Place) -> None:
    names = ["pod1", "pod2", "pod3"]
    uids = {n: place.rest.post(place.pods, manifests.pod(n)).ok(201)["metadata"]["uid"] for n in names}
    for name, owner in (("pod1", "pod3"), ("pod2", "pod1"), ("pod3", "pod2")):
        reference = {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": owner,
            "uid": uids[owner],
            "controller": True,
            "blockOwnerDeletion": True,
        }
        place.rest.patch(f"{place.pods}/{name}", {"metadata": {"ownerReferences": [reference]}}).ok(200)
    place.rest.delete(f"{place.pods}/pod1", delete_options("Foreground")).ok(200)
    assert eventually(lambda: not place.items(place.pods), "all three go")


@covers(
    "Garbage collector should delete RS created by deployment when not orphaning",
    "Garbage collector should orphan RS created by deployment when deleteOptions.PropagationPolicy is Orphan",
)
@pytest.mark.parametrize("policy", ["Background", "Orphan"])
def test_deployment(place: Place, policy: str) -> None:
    made = place.rest.post(place.deployments, manifests.deployment("d", 2)).ok(201)
    assert eventually(lambda: place.items(place.replica_sets), "the ReplicaSet is there")
    assert eventually(lambda: len(place.items(place.pods)) == 2)
    place.rest.delete(f"{place.deployments}/d", delete_options(policy)).ok(200)
    assert eventually(lambda: place.rest.get(f"{place.deployments}/d").status == 404)
    if policy == "Background":
        assert eventually(lambda: not place.items(place.replica_sets))
        assert eventually(lambda: not place.items(place.pods))
    else:
        (found,) = place.items(place.replica_sets)
        owners = [r["uid"] for r in found["metadata"].get("ownerReferences", [])]
        assert made["metadata"]["uid"] not in owners
        assert len(place.items(place.pods)) == 2


@covers(
    "Namespaces should ensure that all pods are removed when a namespace is deleted",
    "Namespaces should ensure that all services are removed when a namespace is deleted",
)
def test_namespace(rest: Rest) -> None:
    name = f"nsdeletetest-{next(_numbers)}"
    path = f"/api/v1/namespaces/{name}"
    rest.post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).ok(
        201
    )
    assert eventually(lambda: rest.get(f"{path}/serviceaccounts/default").status == 200)
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 80}]},
    }
    rest.post(f"{path}/pods", manifests.pod("p")).ok(201)
    rest.post(f"{path}/services", service).ok(201)
    rest.delete(path).ok(200)
    assert eventually(lambda: rest.get(path).status == 404, "the namespace goes")
    rest.post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).ok(
        201
    )
    assert rest.get(f"{path}/pods").ok(200)["items"] == []
    assert rest.get(f"{path}/services").ok(200)["items"] == []
    rest.delete(path).ok(200)
