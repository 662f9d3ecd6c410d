"""Upstream's conformance tests of workloads and pods that simulated nodes are enough for."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import pytest

from . import manifests
from .cluster import eventually
from .rest import JSON_PATCH, STRATEGIC_PATCH, Rest
from .test_upstream_garbage import controller, delete_options
from .test_upstream_resources import condition, update
from .upstream import covers

pytestmark = pytest.mark.xdist_group("conformance")


def replica_set(name: str, replicas: int = 1) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": manifests.pod_template(name),
        },
    }


def stateful_set(name: str, replicas: int = 1) -> dict[str, Any]:
    return {**replica_set(name, replicas), "kind": "StatefulSet"} | {
        "spec": {**replica_set(name, replicas)["spec"], "serviceName": name}
    }


WORKLOADS: dict[str, tuple[str, dict[str, Any]]] = {
    "daemonsets": ("apps/v1", manifests.daemonset("w")),
    "deployments": ("apps/v1", manifests.deployment("w", 1)),
    "replicasets": ("apps/v1", replica_set("w")),
    "statefulsets": ("apps/v1", stateful_set("w")),
    "jobs": ("batch/v1", manifests.job("w", run_seconds="600")),
    "replicationcontrollers": ("v1", controller("w", 1)),
}


def path_of(plural: str, namespace: str) -> str:
    version = WORKLOADS[plural][0]
    return f"/{'api' if version == 'v1' else 'apis'}/{version}/namespaces/{namespace}/{plural}"


@covers(
    "Daemon set should verify changes to a daemon set status",
    "Deployment should validate Deployment Status endpoints",
    "ReplicaSet should validate Replicaset Status endpoints",
    "StatefulSet should validate Statefulset Status endpoints",
    "Job should apply changes to a job status",
)
@pytest.mark.parametrize("plural", sorted(WORKLOADS))
def test_status(rest: Rest, namespace: str, plural: str) -> None:
    path = path_of(plural, namespace)
    rest.post(path, WORKLOADS[plural][1]).ok(201)
    assert rest.get(f"{path}/w/status").ok(200)["kind"] == WORKLOADS[plural][1]["kind"]

    def types(obj: dict[str, Any]) -> list[str]:
        return [c["type"] for c in obj["status"].get("conditions", [])]

    def update_status(o: dict[str, Any]) -> None:
        o["status"].setdefault("conditions", []).append(condition("StatusUpdate"))
        o["spec"].pop("template")

    obj = update(rest, f"{path}/w/status", update_status)
    assert "StatusUpdate" in types(obj)
    assert obj["spec"]["template"], "spec stays"
    patched = rest.patch(
        f"{path}/w/status",
        {
            "metadata": {"annotations": {"patchedstatus": "true"}},
            "status": {"conditions": [condition("StatusPatched")]},
        },
    ).ok(200)
    assert patched["metadata"]["annotations"]["patchedstatus"] == "true"
    assert types(patched) == ["StatusPatched"]


@covers(
    "Deployment should have a working scale subresource",
    "ReplicaSet Replicaset should have a working scale subresource",
    "StatefulSet should have a working scale subresource",
    "ReplicationController should get and update a ReplicationController scale",
    "ReplicaSet Replace and Patch tests",
)
@pytest.mark.parametrize("plural", ["deployments", "replicasets", "replicationcontrollers", "statefulsets"])
def test_scale(rest: Rest, namespace: str, plural: str) -> None:
    path = path_of(plural, namespace)
    rest.post(path, WORKLOADS[plural][1]).ok(201)
    scale = rest.get(f"{path}/w/scale").ok(200)
    assert (scale["kind"], scale["apiVersion"], scale["spec"]["replicas"]) == ("Scale", "autoscaling/v1", 1)
    assert scale["status"]["selector"] == "app=w"
    scaled = update(rest, f"{path}/w/scale", lambda o: o["spec"].update(replicas=2))
    assert scaled["spec"]["replicas"] == 2
    assert rest.get(f"{path}/w").ok(200)["spec"]["replicas"] == 2
    patched = rest.patch(f"{path}/w/scale", {"spec": {"replicas": 4}}, STRATEGIC_PATCH).ok(200)
    assert patched["spec"]["replicas"] == 4
    ready = "numberReady" if plural == "daemonsets" else "readyReplicas"
    assert eventually(lambda: rest.get(f"{path}/w").ok(200)["status"].get(ready) == 4, "four run")
    change = {"metadata": {"labels": {"patched": "yes"}}, "spec": {"replicas": 3}}
    assert rest.patch(f"{path}/w", change, STRATEGIC_PATCH).ok(200)["metadata"]["labels"]["patched"] == "yes"
    obj = rest.get(f"{path}/w").ok(200)
    assert obj["spec"]["replicas"] == 3
    if plural != "replicationcontrollers":
        assert obj["metadata"]["generation"] == 4


@covers(
    "Daemon set should list and delete a collection of DaemonSets",
    "ReplicaSet should list and delete a collection of ReplicaSets",
    "StatefulSet should list, patch and delete a collection of StatefulSets",
    "Deployment should run the lifecycle of a Deployment",
    "ReplicationController should test the lifecycle of a ReplicationController",
    "Job should manage the lifecycle of a job",
)
@pytest.mark.parametrize("plural", sorted(WORKLOADS))
def test_collections(rest: Rest, namespace: str, plural: str) -> None:
    path = path_of(plural, namespace)
    body = copy.deepcopy(WORKLOADS[plural][1])
    label = f"{plural}-{namespace}"
    body["metadata"]["labels"] = {"case": label}
    if plural == "jobs":
        body["spec"]["suspend"] = True
    selector = f"labelSelector=case%3D{label}"
    with rest.watch(f"{path}?{selector}") as events:
        rest.post(path, body).ok(201)
        assert events.until("ADDED", name="w")
        patched = rest.patch(f"{path}/w", {"metadata": {"labels": {"patched": "true"}}}, STRATEGIC_PATCH).ok(
            200
        )
        assert patched["metadata"]["labels"]["patched"] == "true"
        assert events.until("MODIFIED", name="w")
        changed = update(
            rest, f"{path}/w", lambda o: o["metadata"].setdefault("annotations", {}).update(u="1")
        )
        assert changed["metadata"]["annotations"]["u"] == "1"
        root = path.replace(f"/namespaces/{namespace}", "")
        listed = rest.get(f"{root}?{selector}").ok(200)["items"]
        assert [i["metadata"]["name"] for i in listed] == ["w"]
        rest.delete(f"{path}?{selector}", delete_options("Background")).ok(200)
        assert events.until("DELETED", name="w")
    assert rest.get(f"{path}?{selector}").ok(200)["items"] == []


@covers(
    "ReplicaSet should adopt matching pods on creation and release no longer matching pods",
    "Job should adopt matching orphans and release non-matching pods",
)
@pytest.mark.parametrize("plural", ["replicasets", "jobs"])
def test_adoption(rest: Rest, namespace: str, plural: str) -> None:
    pods, path = f"/api/v1/namespaces/{namespace}/pods", path_of(plural, namespace)
    if plural == "replicasets":
        rest.post(pods, manifests.pod("w")).ok(201)
    made = rest.post(path, WORKLOADS[plural][1]).ok(201)
    uid = made["metadata"]["uid"]

    def owned() -> list[dict[str, Any]]:
        return [
            p
            for p in rest.get(pods).ok(200)["items"]
            if uid in [r["uid"] for r in p["metadata"].get("ownerReferences", [])]
        ]

    assert eventually(owned, "adopted or created")
    name = owned()[0]["metadata"]["name"]
    if plural == "jobs":
        rest.patch(f"{pods}/{name}", {"metadata": {"ownerReferences": None}}).ok(200)
        assert eventually(lambda: name in [p["metadata"]["name"] for p in owned()], "adopted again")
    labels = rest.get(f"{pods}/{name}").ok(200)["metadata"]["labels"]
    rest.patch(f"{pods}/{name}", {"metadata": {"labels": dict.fromkeys(labels)}}).ok(200)
    assert eventually(lambda: name not in [p["metadata"]["name"] for p in owned()], "released")
    assert rest.get(f"{pods}/{name}").ok(200)["metadata"].get("ownerReferences") is None


@covers("Job should delete a job")
def test_job_is_deleted(rest: Rest, namespace: str) -> None:
    path = path_of("jobs", namespace)
    body = manifests.job("w", run_seconds="600", parallelism=2, completions=4)
    rest.post(path, body).ok(201)
    assert eventually(lambda: rest.get(f"{path}/w").ok(200)["status"].get("active") == 2)
    rest.delete(f"{path}/w", delete_options("Background")).ok(200)
    assert eventually(lambda: rest.get(f"{path}/w").status == 404)
    assert eventually(lambda: not rest.get(f"/api/v1/namespaces/{namespace}/pods").ok(200)["items"])


@covers("ControllerRevision should manage the lifecycle of a ControllerRevision")
def test_controller_revisions(rest: Rest, namespace: str) -> None:
    sets, path = path_of("daemonsets", namespace), f"/apis/apps/v1/namespaces/{namespace}/controllerrevisions"
    rest.post(sets, WORKLOADS["daemonsets"][1]).ok(201)
    assert eventually(lambda: len(rest.get(path).ok(200)["items"]) == 1)
    (first,) = rest.get(path).ok(200)["items"]
    name = first["metadata"]["name"]
    patched = rest.patch(f"{path}/{name}", {"metadata": {"labels": {"patched": "yes"}}}, STRATEGIC_PATCH).ok(
        200
    )
    assert patched["metadata"]["labels"]["patched"] == "yes"
    second = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": "second", "labels": first["metadata"]["labels"]},
        "data": first["data"],
        "revision": first["revision"] + 1,
    }
    rest.post(path, second).ok(201)
    assert len(rest.get(path).ok(200)["items"]) == 2
    rest.delete(f"{path}/second").ok(200)
    update(rest, f"{path}/{name}", lambda o: o["metadata"]["labels"].update(updated="yes"))
    rest.patch(
        f"{sets}/w", {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}, STRATEGIC_PATCH
    ).ok(200)
    assert eventually(lambda: len(rest.get(path).ok(200)["items"]) == 2, "the change has a revision")
    rest.delete(f"{path}?labelSelector=updated%3Dyes").ok(200)
    (last,) = rest.get(path).ok(200)["items"]
    assert last["revision"] == 2


class TestDisruption:
    BUDGET: ClassVar[dict[str, Any]] = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "b"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "w"}}},
    }

    @covers(
        "DisruptionController should observe PodDisruptionBudget status updated",
        "DisruptionController should block an eviction until the PDB is updated to allow it",
    )
    def test_eviction(self, rest: Rest, namespace: str) -> None:
        pods = f"/api/v1/namespaces/{namespace}/pods"
        path = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
        rest.post(path_of("replicasets", namespace), replica_set("w", 2)).ok(201)
        rest.post(path, self.BUDGET).ok(201)
        assert eventually(lambda: rest.get(f"{path}/b").ok(200).get("status", {}).get("currentHealthy") == 2)
        assert rest.get(f"{path}/b").ok(200)["status"]["disruptionsAllowed"] == 0
        name = rest.get(pods).ok(200)["items"][0]["metadata"]["name"]
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        refused = rest.post(f"{pods}/{name}/eviction", eviction)
        refused.refused(429, "TooManyRequests", "disruption budget")
        assert refused.json["details"]["causes"][0]["reason"] == "DisruptionBudget"
        update(rest, f"{path}/b", lambda o: o["spec"].update(minAvailable=1))
        assert eventually(lambda: rest.get(f"{path}/b").ok(200)["status"]["disruptionsAllowed"] == 1)
        rest.post(f"{pods}/{name}/eviction", eviction).ok(201)


class TestPods:
    @covers(
        "Pods should be submitted and removed",
        "Pods should get a host IP",
        "Pods should patch a pod status",
        "Pods should be updated",
        "Pods should run through the lifecycle of Pods and PodStatus",
    )
    def test_lifecycle(self, rest: Rest, namespace: str) -> None:
        pods = f"/api/v1/namespaces/{namespace}/pods"
        body = manifests.pod("p")
        body["metadata"]["labels"]["time"] = "one"
        with rest.watch(f"{pods}?labelSelector=time+in+(one,two)") as events:
            rest.post(pods, body).ok(201)
            assert events.until("ADDED", name="p")
            while events.until("MODIFIED")["status"]["phase"] != "Running":
                pass
            running = rest.get(f"{pods}/p").ok(200)
            assert running["status"]["hostIP"]
            patch = {"metadata": {"labels": {"time": "two"}}, "spec": {"terminationGracePeriodSeconds": 30}}
            rest.patch(f"{pods}/p", patch, STRATEGIC_PATCH).ok(200)
            assert len(rest.get(f"{pods}?labelSelector=time%3Dtwo").ok(200)["items"]) == 1
            updated = update(rest, f"{pods}/p", lambda o: o["metadata"]["labels"].update(more="yes"))
            assert updated["metadata"]["labels"]["more"] == "yes"
            status = {"status": {"message": "patched by the test", "reason": "E2E"}}
            patched = rest.patch(f"{pods}/p/status", status, STRATEGIC_PATCH).ok(200)
            assert (patched["status"]["message"], patched["status"]["reason"]) == (
                "patched by the test",
                "E2E",
            )

            def not_ready(o: dict[str, Any]) -> None:
                next(c for c in o["status"]["conditions"] if c["type"] == "Ready")["status"] = "False"

            assert update(rest, f"{pods}/p/status", not_ready)
            refused = rest.patch(
                f"{pods}/p", [{"op": "add", "path": "/spec/hostname", "value": "other"}], JSON_PATCH
            )
            refused.refused(422, "Invalid", "pod updates may not change fields other than")
            rest.delete(
                f"{pods}/p", {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 1}
            ).ok(200)
            while "deletionTimestamp" not in events.until("MODIFIED")["metadata"]:
                pass
            assert events.until("DELETED", name="p")
        assert rest.get(f"{pods}?labelSelector=time%3Dtwo").ok(200)["items"] == []

    @covers("Pods should delete a collection of pods")
    def test_collection(self, rest: Rest, namespace: str) -> None:
        pods = f"/api/v1/namespaces/{namespace}/pods"
        for name in ("a", "b", "c"):
            body = manifests.pod(name)
            body["metadata"]["labels"]["type"] = "testing"
            rest.post(pods, body).ok(201)
        rest.delete(f"{pods}?labelSelector=type%3Dtesting").ok(200)
        assert eventually(lambda: not rest.get(f"{pods}?labelSelector=type%3Dtesting").ok(200)["items"])

    @covers(
        "Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits for memory and cpu"
    )
    def test_quality_of_service(self, rest: Rest, namespace: str) -> None:
        pods = f"/api/v1/namespaces/{namespace}/pods"
        body = manifests.pod("q")
        amounts = {"cpu": "100m", "memory": "100Mi"}
        body["spec"]["containers"][0]["resources"] = {"requests": amounts, "limits": amounts}
        rest.post(pods, body).ok(201)
        assert rest.get(f"{pods}/q").ok(200)["status"]["qosClass"] == "Guaranteed"


@covers(
    "Services should serve a basic endpoint from pods",
    "EndpointSlice should create and delete Endpoints and EndpointSlices for a Service with a selector specified",
)
def test_endpoints(rest: Rest, namespace: str) -> None:
    root = f"/api/v1/namespaces/{namespace}"
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector=kubernetes.io/service-name%3Ds"
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"selector": {"app": "w"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    rest.post(f"{root}/services", service).ok(201)

    def addresses() -> list[str]:
        answer = rest.get(f"{root}/endpoints/s")
        if answer.status != 200:
            return ["?"]
        return sorted(a["ip"] for s in answer.json.get("subsets", []) for a in s.get("addresses", []))

    def in_slices() -> list[str]:
        return sorted(
            a
            for s in rest.get(slices).ok(200)["items"]
            for e in s.get("endpoints") or []
            if e["conditions"].get("ready")
            for a in e["addresses"]
        )

    assert eventually(lambda: addresses() == [], "no pods, no addresses")
    for name in ("p1", "p2"):
        body = manifests.pod(name)
        body["metadata"]["labels"]["app"] = "w"
        rest.post(f"{root}/pods", body).ok(201)
    assert eventually(lambda: len(addresses()) == 2)
    assert eventually(lambda: in_slices() == addresses())
    rest.delete(f"{root}/pods/p1").ok(200)
    assert eventually(lambda: len(addresses()) == 1 and in_slices() == addresses())
    rest.delete(f"{root}/services/s").ok(200)
    assert eventually(lambda: rest.get(f"{root}/endpoints/s").status == 404)
    assert eventually(lambda: not rest.get(slices).ok(200)["items"])


@covers("EndpointSliceMirroring should mirror a custom Endpoints resource through create update and delete")
def test_endpoints_are_mirrored(rest: Rest, namespace: str) -> None:
    root = f"/api/v1/namespaces/{namespace}"
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector=kubernetes.io/service-name%3Ds"
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}
    rest.post(f"{root}/services", {**service, "spec": {"ports": [{"port": 80}]}}).ok(201)

    def endpoints(ip: str) -> dict[str, Any]:
        subsets = [{"addresses": [{"ip": ip}], "ports": [{"name": "http", "port": 80}]}]
        return {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "s"}, "subsets": subsets}

    def mirrored() -> list[tuple[list[str], int]]:
        return [
            (one["endpoints"][0]["addresses"], one["ports"][0]["port"])
            for one in rest.get(slices).ok(200)["items"]
        ]

    rest.post(f"{root}/endpoints", endpoints("10.1.2.3")).ok(201)
    assert eventually(lambda: mirrored() == [(["10.1.2.3"], 80)])
    rest.put(f"{root}/endpoints/s", endpoints("10.2.3.4")).ok(200)
    assert eventually(lambda: mirrored() == [(["10.2.3.4"], 80)])
    rest.delete(f"{root}/endpoints/s").ok(200)
    assert eventually(lambda: mirrored() == [])
