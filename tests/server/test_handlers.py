"""The verbs, without sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.server.harness import CONFIGMAPS, DEPLOYMENTS, LEASES, PODS, Api, configmap, pod


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


class TestCreate:
    async def test_fills_in_metadata(self, api: Api) -> None:
        made = await api.post(CONFIGMAPS, configmap("a", k="v"))
        assert made.status == 201
        meta = made.json["metadata"]
        assert made.json["apiVersion"] == "v1"
        assert made.json["kind"] == "ConfigMap"
        assert meta["namespace"] == "default"
        assert len(meta["uid"]) == 36
        assert meta["resourceVersion"].isdigit()
        assert meta["managedFields"][0]["manager"] == "tests"
        assert (await api.get(f"{CONFIGMAPS}/a")).json == made.json

    async def test_generated_name(self, api: Api) -> None:
        made = await api.post(CONFIGMAPS, {"metadata": {"generateName": "a-"}})
        assert made.json["metadata"]["name"].startswith("a-")
        assert len(made.json["metadata"]["name"]) == 7

    async def test_twice(self, api: Api) -> None:
        await api.post(CONFIGMAPS, configmap("a"))
        again = await api.post(CONFIGMAPS, configmap("a"))
        assert again.status == 409
        assert again.json["reason"] == "AlreadyExists"
        assert again.json["message"] == 'configmaps "a" already exists'
        assert again.json["details"] == {"name": "a", "kind": "configmaps"}

    async def test_dry_run(self, api: Api) -> None:
        made = await api.post(f"{CONFIGMAPS}?dryRun=All", configmap("a"))
        assert made.status == 201
        assert "resourceVersion" not in made.json["metadata"]
        assert (await api.get(f"{CONFIGMAPS}/a")).status == 404

    async def test_missing_namespace(self, api: Api) -> None:
        made = await api.post("/api/v1/namespaces/nope/configmaps", configmap("a"))
        assert made.status == 404
        assert made.json["message"] == 'namespaces "nope" not found'

    async def test_terminating_namespace(self, api: Api) -> None:
        await api.post("/api/v1/namespaces", {"metadata": {"name": "gone"}})
        deleted = await api.delete("/api/v1/namespaces/gone")
        assert deleted.json["status"]["phase"] == "Terminating"
        made = await api.post("/api/v1/namespaces/gone/configmaps", configmap("a"))
        assert made.status == 403
        assert made.json["details"]["causes"][0]["reason"] == "NamespaceTerminating"

    async def test_wrong_namespace(self, api: Api) -> None:
        body = configmap("a")
        body["metadata"]["namespace"] = "other"
        made = await api.post(CONFIGMAPS, body)
        assert made.status == 400
        assert "does not match the namespace" in made.json["message"]

    @pytest.mark.parametrize(
        ("body", "status", "text"),
        [
            (b"{", 400, "json parse error"),
            (b"", 400, "EOF"),
            (b"[]", 400, "cannot unmarshal"),
            (b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}', 400, "Pod"),
            (
                b'{"apiVersion":"apps/v1","metadata":{"name":"a"}}',
                400,
                "does not match the expected API version",
            ),
            (b'{"metadata":{"name":"a"},"data":3}', 400, "cannot unmarshal number"),
            (b'{"metadata":{"name":"A_"}}', 422, "Invalid value"),
            (b'{"metadata":{}}', 422, "name or generateName is required"),
            (b'{"metadata":{"name":"a","resourceVersion":"7"}}', 400, "resourceVersion should not be set"),
        ],
    )
    async def test_bad_input(self, api: Api, body: bytes, status: int, text: str) -> None:
        answer = await api.post(CONFIGMAPS, body)
        assert (answer.status, answer.json["kind"]) == (status, "Status")
        assert text in answer.json["message"]
        assert (await api.get(CONFIGMAPS)).json["items"] == []

    async def test_unknown_fields(self, api: Api) -> None:
        body = {**configmap("a"), "wrong": 1}
        strict = await api.post(f"{CONFIGMAPS}?fieldValidation=Strict", body)
        assert strict.status == 400
        assert 'strict decoding error: unknown field "wrong"' in strict.json["message"]
        warned = await api.post(f"{CONFIGMAPS}?fieldValidation=Warn", body)
        assert warned.status == 201
        assert warned.headers[b"Warning"] == b'299 - "unknown field \\"wrong\\""'
        assert "wrong" not in warned.json

    async def test_duplicate_fields(self, api: Api) -> None:
        body = b'{"metadata":{"name":"a"},"data":{"k":"1","k":"2"}}'
        strict = await api.post(f"{CONFIGMAPS}?fieldValidation=Strict", body)
        assert strict.status == 400
        assert "duplicate field" in strict.json["message"]

    async def test_yaml(self, api: Api) -> None:
        made = await api.post(
            CONFIGMAPS, b"metadata: {name: a}\ndata: {day: '2026-01-02'}\n", content_type="application/yaml"
        )
        assert made.json["data"] == {"day": "2026-01-02"}

    async def test_media_types(self, api: Api) -> None:
        assert (await api.post(CONFIGMAPS, b"x", content_type="text/csv")).status == 415
        assert (await api.get(CONFIGMAPS, accept="text/csv")).status == 406
        assert (
            await api.get(CONFIGMAPS, accept="application/vnd.kubernetes.protobuf,application/json")
        ).status == 200


class TestUpdate:
    async def test_replaces(self, api: Api) -> None:
        made = (await api.post(CONFIGMAPS, configmap("a", k="v"))).json
        made["data"] = {"k": "w"}
        done = await api.put(f"{CONFIGMAPS}/a", made)
        assert done.status == 200
        assert done.json["data"] == {"k": "w"}
        assert done.json["metadata"]["uid"] == made["metadata"]["uid"]
        assert int(done.json["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])

    async def test_conflict(self, api: Api) -> None:
        made = (await api.post(CONFIGMAPS, configmap("a", k="v"))).json
        await api.put(f"{CONFIGMAPS}/a", {**made, "data": {"k": "w"}})
        late = await api.put(f"{CONFIGMAPS}/a", {**made, "data": {"k": "x"}})
        assert late.status == 409
        assert late.json["reason"] == "Conflict"
        assert "the object has been modified" in late.json["message"]

    async def test_nothing_new_writes_nothing(self, api: Api) -> None:
        made = (await api.post(CONFIGMAPS, configmap("a", k="v"))).json
        same = await api.put(f"{CONFIGMAPS}/a", made)
        assert same.json["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]

    async def test_missing(self, api: Api) -> None:
        assert (await api.put(f"{CONFIGMAPS}/a", configmap("a"))).status == 404

    async def test_name_in_url(self, api: Api) -> None:
        await api.post(CONFIGMAPS, configmap("a"))
        assert (await api.put(f"{CONFIGMAPS}/a", configmap("b"))).status == 400

    async def test_lease_is_created_by_update(self, api: Api) -> None:
        made = await api.put(f"{LEASES}/n", {"metadata": {"name": "n"}, "spec": {"holderIdentity": "n"}})
        assert made.status == 201

    async def test_status_is_apart(self, api: Api) -> None:
        made = (await api.post(PODS, pod("p"))).json
        assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
        status = {**made, "status": {"phase": "Running"}, "spec": {**made["spec"], "nodeName": "sneaky"}}
        done = await api.put(f"{PODS}/p/status", status)
        assert done.json["status"]["phase"] == "Running"
        assert "nodeName" not in done.json["spec"]
        back = await api.put(f"{PODS}/p", {**done.json, "status": {"phase": "Failed"}})
        assert back.json["status"]["phase"] == "Running"

    async def test_generation_counts_changes_of_spec(self, api: Api) -> None:
        body = {
            "metadata": {"name": "d"},
            "spec": {
                "selector": {"matchLabels": {"a": "b"}},
                "template": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": {"containers": [{"name": "c", "image": "nginx"}]},
                },
            },
        }
        made = (await api.post(DEPLOYMENTS, body)).json
        assert made["metadata"]["generation"] == 1
        labelled = (await api.patch(f"{DEPLOYMENTS}/d", {"metadata": {"labels": {"x": "y"}}})).json
        assert labelled["metadata"]["generation"] == 1
        scaled = (await api.patch(f"{DEPLOYMENTS}/d", {"spec": {"replicas": 3}})).json
        assert scaled["metadata"]["generation"] == 2


class TestPatch:
    async def test_merge(self, api: Api) -> None:
        await api.post(CONFIGMAPS, configmap("a", k="v", l="m"))
        done = await api.patch(f"{CONFIGMAPS}/a", {"data": {"k": None, "n": "o"}})
        assert done.json["data"] == {"l": "m", "n": "o"}

    async def test_json(self, api: Api) -> None:
        await api.post(CONFIGMAPS, configmap("a", k="v"))
        done = await api.patch(
            f"{CONFIGMAPS}/a",
            [
                {"op": "test", "path": "/data/k", "value": "v"},
                {"op": "replace", "path": "/data/k", "value": "w"},
            ],
            "json-patch+json",
        )
        assert done.json["data"] == {"k": "w"}
        failed = await api.patch(
            f"{CONFIGMAPS}/a", [{"op": "test", "path": "/data/k", "value": "v"}], "json-patch+json"
        )
        assert failed.status == 422

    async def test_strategic(self, api: Api) -> None:
        await api.post(PODS, pod("p"))
        done = await api.patch(
            f"{PODS}/p",
            {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}},
            "strategic-merge-patch+json",
        )
        assert [c["image"] for c in done.json["spec"]["containers"]] == ["nginx:2"]

    async def test_precondition_in_patch(self, api: Api) -> None:
        await api.post(CONFIGMAPS, configmap("a"))
        done = await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"resourceVersion": "1"}, "data": {"k": "v"}})
        assert done.status == 409

    async def test_unknown_type(self, api: Api) -> None:
        await api.post(CONFIGMAPS, configmap("a"))
        assert (await api.patch(f"{CONFIGMAPS}/a", {}, "json")).status == 415

    async def test_reset_of_managed_fields(self, api: Api) -> None:
        await api.post(CONFIGMAPS, configmap("a"))
        done = await api.patch(
            f"{CONFIGMAPS}/a",
            [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}],
            "json-patch+json",
        )
        assert done.status == 200
        assert "managedFields" not in done.json["metadata"]


class TestApply:
    URL = f"{CONFIGMAPS}/a?fieldManager=one"

    async def test_creates_then_changes_nothing(self, api: Api) -> None:
        made = await api.patch(self.URL, configmap("a", k="v"), "apply-patch+yaml")
        assert made.status == 201
        again = await api.patch(self.URL, configmap("a", k="v"), "apply-patch+yaml")
        assert again.status == 200
        assert again.json["metadata"]["resourceVersion"] == made.json["metadata"]["resourceVersion"]

    async def test_conflict_and_force(self, api: Api) -> None:
        await api.patch(self.URL, configmap("a", k="v"), "apply-patch+yaml")
        other = f"{CONFIGMAPS}/a?fieldManager=two"
        refused = await api.patch(other, configmap("a", k="w"), "apply-patch+yaml")
        assert refused.status == 409
        assert refused.json["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.k'
        assert refused.json["details"]["causes"] == [
            {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.k"}
        ]
        forced = await api.patch(f"{other}&force=true", configmap("a", k="w"), "apply-patch+yaml")
        assert forced.json["data"] == {"k": "w"}

    async def test_what_is_no_longer_applied_goes(self, api: Api) -> None:
        await api.patch(self.URL, configmap("a", k="v", l="m"), "apply-patch+yaml")
        done = await api.patch(self.URL, configmap("a", k="v"), "apply-patch+yaml")
        assert done.json["data"] == {"k": "v"}

    async def test_needs_a_manager(self, api: Api) -> None:
        refused = await api.patch(f"{CONFIGMAPS}/a", configmap("a"), "apply-patch+yaml")
        assert refused.status == 422
        assert "fieldManager: Required value: is required for apply patch" in refused.json["message"]


class TestDelete:
    async def test_at_once(self, api: Api) -> None:
        made = await api.post(CONFIGMAPS, configmap("a"))
        done = await api.delete(f"{CONFIGMAPS}/a")
        assert done.status == 200
        assert done.json["status"] == "Success"
        assert done.json["details"]["uid"] == made.json["metadata"]["uid"]
        assert (await api.delete(f"{CONFIGMAPS}/a")).status == 404

    async def test_finalizers_hold(self, api: Api) -> None:
        body = configmap("a")
        body["metadata"]["finalizers"] = ["example.com/hold"]
        await api.post(CONFIGMAPS, body)
        marked = await api.delete(f"{CONFIGMAPS}/a")
        assert marked.json["metadata"]["deletionTimestamp"]
        done = await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"finalizers": None}})
        assert done.status == 200
        assert (await api.get(f"{CONFIGMAPS}/a")).status == 404

    async def test_pods_are_given_time(self, api: Api) -> None:
        await api.post(PODS, pod("free"))
        assert (await api.delete(f"{PODS}/free")).status == 200
        assert (await api.get(f"{PODS}/free")).status == 404
        await api.post(PODS, pod("bound", nodeName="n"))
        marked = (await api.delete(f"{PODS}/bound")).json
        assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
        assert (await api.get(f"{PODS}/bound")).status == 200
        await api.delete(f"{PODS}/bound", {"gracePeriodSeconds": 0})
        assert (await api.get(f"{PODS}/bound")).status == 404

    async def test_preconditions(self, api: Api) -> None:
        await api.post(CONFIGMAPS, configmap("a"))
        refused = await api.delete(f"{CONFIGMAPS}/a", {"preconditions": {"uid": "other"}})
        assert refused.status == 409
        assert (
            "the UID in the precondition (other) does not match the UID in record" in refused.json["message"]
        )

    async def test_propagation(self, api: Api) -> None:
        for policy, finalizer in (("Foreground", "foregroundDeletion"), ("Orphan", "orphan")):
            await api.post(CONFIGMAPS, configmap("a"))
            marked = await api.delete(f"{CONFIGMAPS}/a", {"propagationPolicy": policy})
            assert marked.json["metadata"]["finalizers"] == [finalizer]
            await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"finalizers": None}})
        assert (await api.delete(f"{CONFIGMAPS}/a", {"propagationPolicy": "Sideways"})).status == 422

    async def test_collection(self, api: Api) -> None:
        for name in "abc":
            body = configmap(name)
            body["metadata"]["labels"] = {"keep": "yes" if name == "b" else "no"}
            await api.post(CONFIGMAPS, body)
        await api.delete(f"{CONFIGMAPS}?labelSelector=keep%3Dno")
        left = (await api.get(CONFIGMAPS)).json
        assert [i["metadata"]["name"] for i in left["items"]] == ["b"]


class TestSubresources:
    async def test_binding(self, api: Api) -> None:
        await api.post(PODS, pod("p"))
        binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
        assert (await api.post(f"{PODS}/p/binding", binding)).status == 201
        bound = (await api.get(f"{PODS}/p")).json
        assert bound["spec"]["nodeName"] == "n1"
        assert bound["status"]["conditions"][0]["type"] == "PodScheduled"
        again = await api.post(f"{PODS}/p/binding", binding)
        assert again.status == 409
        assert 'pod p is already assigned to node "n1"' in again.json["message"]
        on_node = await api.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1")
        assert len(on_node.json["items"]) == 1
        assert (await api.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn2")).json["items"] == []
        await api.post(PODS, pod("free"))
        for selector, names in (
            ("spec.nodeName!=", ["p"]),
            ("spec.nodeName=", ["free"]),
            ("spec.nodeName!=n1", ["free"]),
        ):
            found = await api.get(f"/api/v1/pods?fieldSelector={quote(selector)}")
            assert [i["metadata"]["name"] for i in found.json["items"]] == names, selector

    async def test_scale(self, api: Api) -> None:
        body = {
            "metadata": {"name": "d"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"a": "b"}},
                "template": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": {"containers": [{"name": "c", "image": "nginx"}]},
                },
            },
        }
        await api.post(DEPLOYMENTS, body)
        scale = (await api.get(f"{DEPLOYMENTS}/d/scale")).json
        assert scale["spec"] == {"replicas": 2}
        assert scale["status"]["selector"] == "a=b"
        scale["spec"]["replicas"] = 5
        assert (await api.put(f"{DEPLOYMENTS}/d/scale", scale)).json["spec"] == {"replicas": 5}
        patched = await api.patch(f"{DEPLOYMENTS}/d/scale", {"spec": {"replicas": 0}})
        assert patched.status == 200
        assert (await api.get(f"{DEPLOYMENTS}/d")).json["spec"]["replicas"] == 0
        assert (await api.patch(f"{DEPLOYMENTS}/d/scale", {"spec": {"replicas": -1}})).status == 422

    async def test_eviction_respects_budgets(self, api: Api) -> None:
        body = pod("p", nodeName="n")
        body["metadata"]["labels"] = {"a": "b"}
        await api.post(PODS, body)
        await api.patch(f"{PODS}/p/status", {"status": {"phase": "Running"}})
        budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
        await api.post(
            budgets,
            {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}},
        )
        status = {
            "observedGeneration": 1,
            "disruptionsAllowed": 0,
            "currentHealthy": 0,
            "desiredHealthy": 1,
            "expectedPods": 1,
        }
        await api.patch(f"{budgets}/b/status", {"status": status})
        refused = await api.post(f"{PODS}/p/eviction", {"metadata": {"name": "p"}})
        assert refused.status == 429
        assert "violate the pod's disruption budget" in refused.json["message"]
        await api.patch(f"{budgets}/b/status", {"status": {"disruptionsAllowed": 1}})
        assert (await api.post(f"{PODS}/p/eviction", {"metadata": {"name": "p"}})).status == 201
        assert (await api.get(f"{budgets}/b")).json["status"]["disruptionsAllowed"] == 0

    async def test_unknown(self, api: Api) -> None:
        await api.post(CONFIGMAPS, configmap("a"))
        assert (await api.get(f"{CONFIGMAPS}/a/status")).status == 404


class TestReads:
    async def test_missing(self, api: Api) -> None:
        answer = await api.get(f"{PODS}/nope")
        assert answer.status == 404
        assert answer.json["message"] == 'pods "nope" not found'
        deployment = await api.get(f"{DEPLOYMENTS}/nope")
        assert deployment.json["message"] == 'deployments.apps "nope" not found'

    async def test_unknown_paths(self, api: Api) -> None:
        for path in ("/api/v1/nonsense", "/apis/apps/v1/nonsense", "/apis/apps/v2/deployments", "/api/v2"):
            answer = await api.get(path)
            assert answer.status == 404, path
            assert answer.json["message"] == "the server could not find the requested resource"
        for path in ("/nonsense", "/apis/none/v1/x", "/apis/none", "/readyz/none"):
            answer = await api.get(path)
            assert (answer.status, answer.body) == (404, b"404 page not found\n"), path
            assert answer.content_type == "text/plain; charset=utf-8"

    async def test_methods(self, api: Api) -> None:
        assert (await api.call("POST", f"{CONFIGMAPS}/a", configmap("a"))).status == 405
        assert (await api.delete("/api/v1/namespaces")).status == 405

    async def test_table(self, api: Api) -> None:
        await api.post(PODS, pod("p"))
        table = (await api.get(PODS, accept="application/json;as=Table;v=v1;g=meta.k8s.io")).json
        assert [c["name"] for c in table["columnDefinitions"]][:5] == [
            "Name",
            "Ready",
            "Status",
            "Restarts",
            "Age",
        ]
        assert table["rows"][0]["cells"][:4] == ["p", "0/1", "Pending", "0"]
        assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"

    async def test_partial_metadata(self, api: Api) -> None:
        await api.post(CONFIGMAPS, configmap("a", k="v"))
        accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
        found = (await api.get(CONFIGMAPS, accept=accept)).json
        assert found["kind"] == "PartialObjectMetadataList"
        assert "data" not in found["items"][0]

    async def test_views(self, api: Api) -> None:
        """The same object as two resources."""
        event = {
            "metadata": {"name": "e"},
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
            "reason": "Because",
            "message": "hello",
            "type": "Normal",
            "source": {"component": "tests"},
        }
        made = await api.post("/api/v1/namespaces/default/events", event)
        assert made.status == 201
        seen = (await api.get("/apis/events.k8s.io/v1/namespaces/default/events/e")).json
        assert (seen["apiVersion"], seen["note"]) == ("events.k8s.io/v1", "hello")
        assert seen["regarding"]["name"] == "p"


class TestServices:
    async def test_addresses(self, api: Api) -> None:
        url = "/api/v1/namespaces/default/services"
        made = (await api.post(url, {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}})).json
        address = made["spec"]["clusterIP"]
        assert address.startswith("10.")
        taken = await api.post(
            url, {"metadata": {"name": "b"}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}}
        )
        assert taken.status == 422
        assert "already allocated" in taken.json["message"]
        await api.delete(f"{url}/a")
        free = await api.post(
            url, {"metadata": {"name": "b"}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}}
        )
        assert free.status == 201
        node_port = await api.post(
            url, {"metadata": {"name": "c"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
        )
        assert 30000 <= node_port.json["spec"]["ports"][0]["nodePort"] < 32768


async def test_what_an_event_shows_though_it_is_empty_is_nobodys(api: Api) -> None:
    path = "/api/v1/namespaces/default/events"
    made = await api.post(path, {"metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}})
    empty = {"firstTimestamp": None, "lastTimestamp": None, "eventTime": None, "source": {}}
    shown = {**empty, "reportingComponent": "", "reportingInstance": ""}
    assert {name: made.json[name] for name in shown} == shown
    (entry,) = made.json["metadata"]["managedFields"]
    assert entry["fieldsV1"] == {"f:involvedObject": {}}
    view = (await api.get(f"{path}/e".replace("/api/v1", "/apis/events.k8s.io/v1"))).json
    assert view["deprecatedSource"] == {} and view["eventTime"] is None
    assert "reportingController" not in view and "reportingInstance" not in view
    # An update without them changes nothing.
    again = await api.put(
        f"{path}/e", {"metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}}
    )
    assert again.json == made.json


async def test_a_volume_says_since_when_it_is_in_its_phase(api: Api) -> None:
    path = "/api/v1/persistentvolumes"
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
        "hostPath": {"path": "/a"},
    }
    status = (await api.post(path, {"metadata": {"name": "v"}, "spec": spec})).json["status"]
    assert status["phase"] == "Pending" and status["lastPhaseTransitionTime"]

    async def patched(**changes: str) -> dict[str, str]:
        return (await api.patch(f"{path}/v/status", {"status": changes})).json["status"]

    stated = await patched(phase="Available", lastPhaseTransitionTime="2020-01-01T00:00:00Z")
    assert stated["lastPhaseTransitionTime"] == "2020-01-01T00:00:00Z"
    assert (await patched(message="m"))["lastPhaseTransitionTime"] == "2020-01-01T00:00:00Z"
    changed = await patched(phase="Bound")
    assert changed["lastPhaseTransitionTime"] > "2020-01-01T00:00:00Z"


async def test_a_limit_range_without_a_name_gets_one(api: Api) -> None:
    made = await api.post("/api/v1/namespaces/default/limitranges", {"spec": {"limits": [{"type": "Pod"}]}})
    assert made.status == 201 and len(made.json["metadata"]["name"]) == 36
