"""The official Python client, unmodified: what every tool that is built on it relies on."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from kubernetes import client, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException

from . import manifests
from .cluster import eventually
from .conftest import NODES

pytestmark = pytest.mark.xdist_group("conformance")

QUICK = manifests.QUICK


def config_map(
    name: str | None = None, data: dict[str, str] | None = None, **metadata: Any
) -> client.V1ConfigMap:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, **metadata), data=data)


def refused(code: int, reason: str, call: Any, *arguments: Any, **named: Any) -> dict[str, Any]:
    """The Status that `call` is answered with."""
    with pytest.raises(ApiException) as caught:
        call(*arguments, **named)
    status: dict[str, Any] = json.loads(caught.value.body)
    assert status["kind"] == "Status"
    assert status["apiVersion"] == "v1"
    assert status["status"] == "Failure"
    assert (caught.value.status, status["code"], status["reason"]) == (code, code, reason), status
    return status


def raw(api: client.ApiClient, method: str, path: str, body: Any, kind: str = "application/json") -> Any:
    """A request over the client's own connections, past its models."""
    return api.rest_client.pool_manager.request(
        method, api.configuration.host + path, body=json.dumps(body), headers={"Content-Type": kind}
    )


def running(core: client.CoreV1Api, name: str, namespace: str) -> client.V1Pod:
    def probe() -> client.V1Pod | None:
        pod = core.read_namespaced_pod(name, namespace)
        return pod if pod.status.phase == "Running" else None

    found = eventually(probe, f"pod {name} runs")
    assert found is not None
    return found


class TestObjects:
    def test_life_of_a_pod(self, core: client.CoreV1Api, namespace: str) -> None:
        container = client.V1Container(
            name="c", image="nginx", resources=client.V1ResourceRequirements(requests={"cpu": "100m"})
        )
        made = core.create_namespaced_pod(
            namespace,
            client.V1Pod(
                metadata=client.V1ObjectMeta(name="a", labels={"app": "a"}, annotations=QUICK),
                spec=client.V1PodSpec(containers=[container]),
            ),
        )
        assert made.metadata.uid
        assert made.metadata.creation_timestamp.tzinfo is not None
        assert made.spec.restart_policy == "Always"
        assert made.spec.service_account_name == "default"
        pod = running(core, "a", namespace)
        assert pod.status.pod_ip
        assert pod.status.container_statuses[0].ready
        assert {c.type for c in pod.status.conditions} >= {"Ready", "PodScheduled", "Initialized"}
        core.delete_namespaced_pod("a", namespace)
        eventually(lambda: not core.list_namespaced_pod(namespace).items, "the pod is gone")

    def test_replace_and_conflict(self, core: client.CoreV1Api, namespace: str) -> None:
        made = core.create_namespaced_config_map(namespace, config_map("a", {"x": "1"}))
        made.data = {"x": "2"}
        newer = core.replace_namespaced_config_map("a", namespace, made)
        assert int(newer.metadata.resource_version) > int(made.metadata.resource_version)
        status = refused(409, "Conflict", core.replace_namespaced_config_map, "a", namespace, made)
        assert status["message"] == (
            'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your '
            "changes to the latest version and try again"
        )
        assert status["details"] == {"name": "a", "kind": "configmaps"}
        # Without a resourceVersion a replacement is unconditional.
        made.metadata.resource_version = None
        core.replace_namespaced_config_map("a", namespace, made)
        status = refused(
            404, "NotFound", core.replace_namespaced_config_map, "nope", namespace, config_map("nope")
        )
        assert status["message"] == 'configmaps "nope" not found'

    def test_unchanged_write_keeps_the_version(self, core: client.CoreV1Api, namespace: str) -> None:
        made = core.create_namespaced_config_map(namespace, config_map("a", {"x": "1"}))
        same = core.patch_namespaced_config_map("a", namespace, {"data": {"x": "1"}})
        assert same.metadata.resource_version == made.metadata.resource_version
        again = core.replace_namespaced_config_map("a", namespace, made)
        assert again.metadata.resource_version == made.metadata.resource_version

    def test_generated_names(self, core: client.CoreV1Api, namespace: str) -> None:
        names = {
            core.create_namespaced_config_map(namespace, config_map(generate_name="many-")).metadata.name
            for _ in range(10)
        }
        assert len(names) == 10
        assert all(n.startswith("many-") and len(n) == len("many-") + 5 for n in names)

    def test_secrets(self, core: client.CoreV1Api, namespace: str) -> None:
        core.create_namespaced_secret(
            namespace,
            client.V1Secret(metadata=client.V1ObjectMeta(name="s"), string_data={"password": "hello"}),
        )
        found = core.read_namespaced_secret("s", namespace)
        assert base64.b64decode(found.data["password"]) == b"hello"
        assert found.type == "Opaque"
        assert found.string_data is None

    def test_dry_run(self, core: client.CoreV1Api, namespace: str) -> None:
        made = core.create_namespaced_config_map(namespace, config_map("a"), dry_run="All")
        assert made.metadata.uid
        refused(404, "NotFound", core.read_namespaced_config_map, "a", namespace)
        core.create_namespaced_config_map(namespace, config_map("a", {"x": "1"}))
        patched = core.patch_namespaced_config_map("a", namespace, {"data": {"x": "2"}}, dry_run="All")
        assert patched.data == {"x": "2"}
        core.delete_namespaced_config_map("a", namespace, dry_run="All")
        assert core.read_namespaced_config_map("a", namespace).data == {"x": "1"}
        refused(422, "Invalid", core.create_namespaced_config_map, namespace, config_map("b"), dry_run="Some")

    def test_field_validation(self, api: client.ApiClient, namespace: str) -> None:
        # The typed client refuses unknown fields itself, so these bodies go out as they are.
        wrong = {"metadata": {"name": "a"}, "dat": {"x": "1"}}
        url = f"/api/v1/namespaces/{namespace}/configmaps?fieldValidation="
        strict = raw(api, "POST", url + "Strict", wrong)
        assert strict.status == 400
        assert 'strict decoding error: unknown field "dat"' in strict.json()["message"]
        warned = raw(api, "POST", url + "Warn", wrong)
        assert warned.status == 201
        assert warned.headers["Warning"] == '299 - "unknown field \\"dat\\""'
        wrong["metadata"] = {"name": "b"}
        ignored = raw(api, "POST", url + "Ignore", wrong)
        assert ignored.status == 201
        assert "Warning" not in ignored.headers

    def test_server_side_apply(self, api: client.ApiClient, namespace: str) -> None:
        found = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}}
        made = found.server_side_apply(body=body, name="a", namespace=namespace, field_manager="one")
        assert made.metadata.managedFields[0].operation == "Apply"
        body["data"] = {"x": "2"}
        with pytest.raises(dynamic.exceptions.ConflictError) as caught:
            found.server_side_apply(body=body, name="a", namespace=namespace, field_manager="two")
        status = json.loads(caught.value.body)
        assert status["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.x'
        assert status["details"]["causes"] == [
            {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.x"}
        ]
        taken = found.server_side_apply(
            body=body, name="a", namespace=namespace, field_manager="two", force_conflicts=True
        )
        assert taken.data.x == "2"

    def test_create_from_yaml(self, api: client.ApiClient, core: client.CoreV1Api, namespace: str) -> None:
        text = yaml.safe_dump_all([manifests.deployment("web", 0), manifests.service("web")])
        utils.create_from_yaml(api, yaml_objects=list(yaml.safe_load_all(text)), namespace=namespace)
        assert core.read_namespaced_service("web", namespace).spec.cluster_ip


class TestPatches:
    """The three types, by content type."""

    @pytest.fixture
    def deployment(self, api: client.ApiClient, namespace: str) -> Any:
        apps = client.AppsV1Api(api)
        apps.create_namespaced_deployment(namespace, manifests.deployment("web", 0))

        def patch(body: Any, kind: str, **named: Any) -> client.V1Deployment:
            return apps.patch_namespaced_deployment("web", namespace, body, _content_type=kind, **named)

        return patch

    def test_types(self, deployment: Any) -> None:
        side = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "busybox"}]}}}}
        merged = deployment(side, "application/strategic-merge-patch+json")
        assert [c.name for c in merged.spec.template.spec.containers] == ["side", "web"]
        replaced = deployment(side, "application/merge-patch+json")
        assert [c.name for c in replaced.spec.template.spec.containers] == ["side"]
        operated = deployment(
            [
                {"op": "add", "path": "/metadata/labels/x~1y", "value": "1"},
                {"op": "remove", "path": "/metadata/labels/app"},
            ],
            "application/json-patch+json",
        )
        assert operated.metadata.labels == {"x/y": "1"}

    def test_refusals(self, api: client.ApiClient, namespace: str, deployment: Any) -> None:
        json_patch = "application/json-patch+json"
        refused(422, "Invalid", deployment, [{"op": "remove", "path": "/spec/nope"}], json_patch)
        nope = raw(
            api, "PATCH", f"/apis/apps/v1/namespaces/{namespace}/deployments/web", {}, "application/x-nope"
        )
        assert (nope.status, nope.json()["reason"]) == (415, "UnsupportedMediaType")
        status = refused(
            422, "Invalid", deployment, {"spec": {"replicas": -1}}, "application/merge-patch+json"
        )
        assert status["message"] == (
            'Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0'
        )
        assert status["details"]["causes"] == [
            {
                "reason": "FieldValueInvalid",
                "message": "Invalid value: -1: must be greater than or equal to 0",
                "field": "spec.replicas",
            }
        ]
        refused(
            409,
            "Conflict",
            deployment,
            {"metadata": {"resourceVersion": "1"}},
            "application/merge-patch+json",
        )


class TestErrors:
    def test_bodies(self, core: client.CoreV1Api, namespace: str) -> None:
        missing = refused(404, "NotFound", core.read_namespaced_pod, "nope", namespace)
        assert missing["message"] == 'pods "nope" not found'
        assert missing["details"] == {"name": "nope", "kind": "pods"}
        core.create_namespaced_config_map(namespace, config_map("a"))
        twice = refused(409, "AlreadyExists", core.create_namespaced_config_map, namespace, config_map("a"))
        assert twice["message"] == 'configmaps "a" already exists'
        bad = refused(422, "Invalid", core.create_namespaced_config_map, namespace, config_map("Bad_Name"))
        assert bad["details"]["causes"][0]["field"] == "metadata.name"
        lost = refused(404, "NotFound", core.create_namespaced_config_map, "nowhere", config_map("a"))
        assert lost["message"] == 'namespaces "nowhere" not found'
        empty = refused(
            422, "Invalid", core.create_namespaced_pod, namespace,
            {"metadata": {"name": "a"}, "spec": {"containers": []}},
        )  # fmt: skip
        assert "spec.containers: Required value" in empty["message"]
        mismatch = refused(
            400,
            "BadRequest",
            core.create_namespaced_config_map,
            namespace,
            config_map("b", namespace="other"),
        )
        assert (
            "the namespace of the provided object does not match the namespace sent on the request"
            in mismatch["message"]
        )


class TestDeletes:
    def test_options(self, core: client.CoreV1Api, namespace: str) -> None:
        made = core.create_namespaced_config_map(namespace, config_map("a"))
        other = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="other"))
        status = refused(409, "Conflict", core.delete_namespaced_config_map, "a", namespace, body=other)
        assert "the UID in the precondition (other) does not match the UID in record" in status["message"]
        same = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=made.metadata.uid))
        done = core.delete_namespaced_config_map("a", namespace, body=same)
        assert done["status"] == "Success"
        assert done["details"] == {"name": "a", "kind": "configmaps", "uid": made.metadata.uid}

    def test_grace_period(self, core: client.CoreV1Api, namespace: str) -> None:
        slow = manifests.pod("a")
        slow["metadata"]["annotations"]["lakh.dev/stop-seconds"] = "300"
        core.create_namespaced_pod(namespace, slow)
        running(core, "a", namespace)
        core.delete_namespaced_pod("a", namespace, grace_period_seconds=250)
        going = core.read_namespaced_pod("a", namespace)
        assert going.metadata.deletion_grace_period_seconds == 250
        core.delete_namespaced_pod("a", namespace, grace_period_seconds=0)
        refused(404, "NotFound", core.read_namespaced_pod, "a", namespace)

    def test_finalizers(self, core: client.CoreV1Api, namespace: str) -> None:
        core.create_namespaced_config_map(namespace, config_map("a", finalizers=["example.com/hold"]))
        core.delete_namespaced_config_map("a", namespace)
        held = core.read_namespaced_config_map("a", namespace)
        assert held.metadata.deletion_timestamp is not None
        held.metadata.finalizers.append("example.com/late")
        refused(422, "Invalid", core.replace_namespaced_config_map, "a", namespace, held)
        core.patch_namespaced_config_map("a", namespace, {"metadata": {"finalizers": None}})
        refused(404, "NotFound", core.read_namespaced_config_map, "a", namespace)

    def test_collection(self, core: client.CoreV1Api, namespace: str) -> None:
        for name in ("a", "b", "c"):
            core.create_namespaced_config_map(namespace, config_map(name, labels={"keep": str(name == "c")}))
        core.delete_collection_namespaced_config_map(namespace, label_selector="keep=False")
        left = {m.metadata.name for m in core.list_namespaced_config_map(namespace).items}
        assert left - {"kube-root-ca.crt"} == {"c"}

    @pytest.mark.parametrize("policy", ["Background", "Foreground", "Orphan"])
    def test_owners(self, core: client.CoreV1Api, namespace: str, policy: str) -> None:
        owner = core.create_namespaced_config_map(namespace, config_map("owner"))
        reference = client.V1OwnerReference(
            api_version="v1",
            kind="ConfigMap",
            name="owner",
            uid=owner.metadata.uid,
            block_owner_deletion=True,
        )
        core.create_namespaced_config_map(namespace, config_map("owned", owner_references=[reference]))
        core.delete_namespaced_config_map("owner", namespace, propagation_policy=policy)

        def names() -> dict[str, client.V1ConfigMap]:
            return {m.metadata.name: m for m in core.list_namespaced_config_map(namespace).items}

        eventually(lambda: "owner" not in names(), "the owner is gone")
        if policy == "Orphan":
            assert names()["owned"].metadata.owner_references is None
            return
        eventually(lambda: "owned" not in names(), "what it owned is gone")

    def test_dangling_owner(self, core: client.CoreV1Api, namespace: str) -> None:
        """What is owned by something that never was is collected."""
        ghost = client.V1OwnerReference(
            api_version="v1", kind="ConfigMap", name="ghost", uid="00000000-0000-0000-0000-000000000000"
        )
        core.create_namespaced_config_map(namespace, config_map("owned", owner_references=[ghost]))
        eventually(
            lambda: (
                "owned" not in {m.metadata.name for m in core.list_namespaced_config_map(namespace).items}
            ),
            "the orphan is gone",
        )


class TestLists:
    @pytest.fixture
    def maps(self, core: client.CoreV1Api, namespace: str) -> list[str]:
        names = [f"m{i:02d}" for i in range(10)]
        for name in names:
            core.create_namespaced_config_map(namespace, config_map(name, labels={"set": "m"}))
        return names

    def test_pages(self, core: client.CoreV1Api, namespace: str, maps: list[str]) -> None:
        seen: list[str] = []
        version, token = "", None
        while True:
            page = core.list_namespaced_config_map(
                namespace, label_selector="set=m", limit=4, _continue=token
            )
            version = version or page.metadata.resource_version
            # Every page is of the moment of the first.
            assert page.metadata.resource_version == version
            seen += [m.metadata.name for m in page.items]
            token = page.metadata._continue
            if not seen[4:]:
                core.create_namespaced_config_map(namespace, config_map("m99", labels={"set": "m"}))
                core.delete_namespaced_config_map("m09", namespace)
            if not token:
                break
        assert seen == maps
        first = core.list_namespaced_config_map(namespace, limit=4)
        assert first.metadata.remaining_item_count == 11 - 4
        status = refused(
            400, "BadRequest", core.list_namespaced_config_map, namespace, limit=4, _continue="nonsense"
        )
        assert "continue" in status["message"]

    def test_selectors(self, core: client.CoreV1Api, namespace: str, maps: list[str]) -> None:
        def names(**named: str) -> list[str]:
            found = core.list_namespaced_config_map(namespace, **named).items
            return [m.metadata.name for m in found if m.metadata.name != "kube-root-ca.crt"]

        assert names(label_selector="set=m") == maps
        assert names(label_selector="set notin (m)") == []
        assert names(field_selector="metadata.name=m03") == ["m03"]
        assert names(label_selector="set", field_selector="metadata.name!=m03") == [
            m for m in maps if m != "m03"
        ]
        refused(400, "BadRequest", core.list_namespaced_config_map, namespace, label_selector="a==b==c")
        refused(400, "BadRequest", core.list_namespaced_config_map, namespace, field_selector="data.x=1")

    def test_versions(self, core: client.CoreV1Api, namespace: str, maps: list[str]) -> None:
        def names(**named: str) -> set[str]:
            return {m.metadata.name for m in core.list_namespaced_config_map(namespace, **named).items}

        then = core.list_namespaced_config_map(namespace).metadata.resource_version
        core.delete_namespaced_config_map("m00", namespace)
        assert "m00" not in names()
        assert "m00" not in names(resource_version=then)
        assert "m00" not in names(resource_version=then, resource_version_match="NotOlderThan")
        assert "m00" in names(resource_version=then, resource_version_match="Exact", limit=500)
        assert names(resource_version="0")
        status = refused(
            504, "Timeout", core.list_namespaced_config_map, namespace, resource_version=str(10**15)
        )
        assert status["message"].startswith("Too large resource version: ")
        refused(422, "Invalid", core.list_namespaced_config_map, namespace, resource_version_match="Exact")

    def test_everywhere(self, core: client.CoreV1Api) -> None:
        assert len(core.list_node().items) == NODES
        spaces = {m.metadata.namespace for m in core.list_config_map_for_all_namespaces().items}
        assert {"default", "kube-system"} <= spaces


class TestWatches:
    @pytest.fixture
    def watching(self) -> Iterator[watch.Watch]:
        watching = watch.Watch()
        yield watching
        watching.stop()

    def test_events(self, core: client.CoreV1Api, namespace: str, watching: watch.Watch) -> None:
        start = core.list_namespaced_config_map(namespace).metadata.resource_version
        core.create_namespaced_config_map(namespace, config_map("a", labels={"x": "1"}))
        core.patch_namespaced_config_map("a", namespace, {"data": {"x": "2"}})
        core.delete_namespaced_config_map("a", namespace)
        seen = []
        for event in watching.stream(
            core.list_namespaced_config_map, namespace, resource_version=start, timeout_seconds=240
        ):
            obj = event["object"]
            if obj.metadata.name == "a":
                assert isinstance(obj, client.V1ConfigMap)
                seen.append((event["type"], obj.data, int(obj.metadata.resource_version)))
            if event["type"] == "DELETED":
                break
        assert [s[:2] for s in seen] == [("ADDED", None), ("MODIFIED", {"x": "2"}), ("DELETED", {"x": "2"})]
        versions = [s[2] for s in seen]
        assert versions == sorted(set(versions))

    def test_selected(self, core: client.CoreV1Api, namespace: str, watching: watch.Watch) -> None:
        """An object that begins to match is ADDED, one that ceases to is DELETED."""
        start = core.list_namespaced_config_map(namespace).metadata.resource_version
        core.create_namespaced_config_map(namespace, config_map("a"))
        core.patch_namespaced_config_map("a", namespace, {"metadata": {"labels": {"x": "1"}}})
        core.patch_namespaced_config_map("a", namespace, {"metadata": {"labels": {"x": None}}})
        seen = []
        for event in watching.stream(
            core.list_namespaced_config_map,
            namespace,
            resource_version=start,
            label_selector="x=1",
            timeout_seconds=240,
        ):
            seen.append(event["type"])
            if event["type"] == "DELETED":
                break
        assert seen == ["ADDED", "DELETED"]

    def test_live(self, core: client.CoreV1Api, namespace: str, watching: watch.Watch) -> None:
        """Without a version the watch begins with what there is, and ends when its time is up."""
        core.create_namespaced_config_map(namespace, config_map("before"))
        began = threading.Event()
        seen: list[tuple[str, str]] = []

        def follow() -> None:
            for event in watching.stream(core.list_namespaced_config_map, namespace, timeout_seconds=240):
                seen.append((event["type"], event["object"].metadata.name))
                began.set()
                if event["object"].metadata.name == "after":
                    watching.stop()

        thread = threading.Thread(target=follow)
        thread.start()
        assert began.wait(240)
        core.create_namespaced_config_map(namespace, config_map("after"))
        thread.join(240)
        assert not thread.is_alive()
        assert ("ADDED", "before") in seen
        assert seen[-1] == ("ADDED", "after")

    def test_times_out(self, core: client.CoreV1Api, namespace: str, watching: watch.Watch) -> None:
        start = core.list_namespaced_config_map(namespace).metadata.resource_version
        found = list(
            watching.stream(
                core.list_namespaced_config_map, namespace, resource_version=start, timeout_seconds=1
            )
        )
        assert found == []

    def test_initial_events(self, api: client.ApiClient, core: client.CoreV1Api, namespace: str) -> None:
        """A streamed list ends with a bookmark that says so."""
        core.create_namespaced_config_map(namespace, config_map("a"))
        response = core.list_namespaced_config_map(
            namespace, watch=True, send_initial_events=True, allow_watch_bookmarks=True, timeout_seconds=240,
            resource_version_match="NotOlderThan", _preload_content=False,
        )  # fmt: skip
        names = []
        for line in watch.watch.iter_resp_lines(response):
            event = json.loads(line)
            if event["type"] == "BOOKMARK":
                assert event["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
                break
            names.append(event["object"]["metadata"]["name"])
        response.close()
        assert sorted(names) == ["a", "kube-root-ca.crt"]

    def test_ancient_version(self, core: client.CoreV1Api, namespace: str, watching: watch.Watch) -> None:
        """A version from before the history is 410 Gone: as an event of the watch, as upstream has it."""
        response = core.list_namespaced_config_map(
            namespace, watch=True, resource_version="1", timeout_seconds=240, _preload_content=False
        )
        first = next(iter(watch.watch.iter_resp_lines(response)))
        response.close()
        # The history of a young cluster reaches back to its beginning: then the watch replays it.
        assert '"code":410' in first or '"type":"ADDED"' in first
        refused(
            400, "BadRequest", core.list_namespaced_config_map, namespace, watch=True, resource_version="x"
        )


class TestSubresources:
    def test_scale(self, api: client.ApiClient, namespace: str) -> None:
        apps = client.AppsV1Api(api)
        apps.create_namespaced_deployment(namespace, manifests.deployment("web", 1))
        scale = apps.read_namespaced_deployment_scale("web", namespace)
        assert scale.spec.replicas == 1
        assert scale.status.selector == "app=web"
        scale.spec.replicas = 3
        # Unconditional: the controller may have written the Deployment's status meanwhile.
        scale.metadata.resource_version = None
        assert apps.replace_namespaced_deployment_scale("web", namespace, scale).spec.replicas == 3
        apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 2}})
        eventually(
            lambda: apps.read_namespaced_deployment("web", namespace).status.ready_replicas == 2, "2 replicas"
        )

    def test_status(self, api: client.ApiClient, core: client.CoreV1Api, namespace: str) -> None:
        """A status write leaves the spec alone, and a spec write the status."""
        pod = core.create_namespaced_pod(namespace, manifests.pod("a", nodeName="no-such-node"))
        pod.status.message = "noted"
        pod.spec.containers[0].image = "other"
        updated = core.replace_namespaced_pod_status("a", namespace, pod)
        assert updated.status.message == "noted"
        assert updated.spec.containers[0].image == "nginx:1.27"
        patched = core.patch_namespaced_pod("a", namespace, {"status": {"message": "other"}})
        assert patched.status.message == "noted"
        core.delete_namespaced_pod("a", namespace, grace_period_seconds=0)

    def test_binding(self, core: client.CoreV1Api, namespace: str) -> None:
        core.create_namespaced_pod(namespace, manifests.pod("a", schedulerName="nobody"))

        def bind() -> None:
            core.create_namespaced_pod_binding(
                "a",
                namespace,
                client.V1Binding(
                    metadata=client.V1ObjectMeta(name="a"),
                    target=client.V1ObjectReference(api_version="v1", kind="Node", name="trn2-00002"),
                ),
                _preload_content=False,
            )

        bind()
        assert running(core, "a", namespace).spec.node_name == "trn2-00002"
        status = refused(409, "Conflict", bind)
        assert "already assigned to node" in status["message"]

    def test_eviction(self, api: client.ApiClient, core: client.CoreV1Api, namespace: str) -> None:
        policy = client.PolicyV1Api(api)
        core.create_namespaced_pod(namespace, manifests.pod("a"))
        running(core, "a", namespace)
        policy.create_namespaced_pod_disruption_budget(
            namespace,
            client.V1PodDisruptionBudget(
                metadata=client.V1ObjectMeta(name="one"),
                spec=client.V1PodDisruptionBudgetSpec(
                    min_available=1, selector=client.V1LabelSelector(match_labels={"app": "a"})
                ),
            ),
        )
        eventually(
            lambda: (
                policy.read_namespaced_pod_disruption_budget("one", namespace).status.current_healthy == 1
            ),
            "the budget counts its pod",
        )

        def evict() -> None:
            core.create_namespaced_pod_eviction(
                "a", namespace, client.V1Eviction(metadata=client.V1ObjectMeta(name="a", namespace=namespace))
            )

        status = refused(429, "TooManyRequests", evict)
        assert status["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
        assert status["details"]["causes"][0]["reason"] == "DisruptionBudget"
        policy.delete_namespaced_pod_disruption_budget("one", namespace)
        evict()
        eventually(lambda: not core.list_namespaced_pod(namespace).items, "the pod is gone")

    def test_tokens(self, api: client.ApiClient, core: client.CoreV1Api, namespace: str) -> None:
        """A service account's token is a credential."""
        made = core.create_namespaced_service_account_token(
            "default",
            namespace,
            client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[])),
        )
        settings = client.Configuration()
        settings.host = api.configuration.host
        settings.ssl_ca_cert = api.configuration.ssl_ca_cert
        settings.api_key = {"authorization": f"Bearer {made.status.token}"}
        with client.ApiClient(settings) as other:
            me = client.AuthenticationV1Api(other).create_self_subject_review(client.V1SelfSubjectReview())
            assert me.status.user_info.username == f"system:serviceaccount:{namespace}:default"
            assert f"system:serviceaccounts:{namespace}" in me.status.user_info.groups
            other.rest_client.pool_manager.clear()


class TestDiscovery:
    def test_dynamic(self, api: client.ApiClient) -> None:
        """The dynamic client finds every kind."""
        found = dynamic.DynamicClient(api).resources
        for version, kind in (
            ("v1", "Node"),
            ("apps/v1", "Deployment"),
            ("batch/v1", "Job"),
            ("autoscaling/v2", "HorizontalPodAutoscaler"),
        ):
            resource = found.get(api_version=version, kind=kind)
            assert resource.get().kind == f"{kind}List"

    def test_versions(self, api: client.ApiClient) -> None:
        assert client.VersionApi(api).get_code().git_version.startswith("v1.36.")
        assert client.CoreApi(api).get_api_versions().versions == ["v1"]
        groups = {g.name for g in client.ApisApi(api).get_api_versions().groups}
        assert {"apps", "batch", "policy", "coordination.k8s.io"} <= groups


class TestWorkloads:
    def test_job(self, api: client.ApiClient, core: client.CoreV1Api, namespace: str) -> None:
        batch = client.BatchV1Api(api)
        batch.create_namespaced_job(namespace, manifests.job("work", completions=3, parallelism=3))
        found = watch.Watch()
        for event in found.stream(batch.list_namespaced_job, namespace, timeout_seconds=240):
            if any(c.type == "Complete" for c in event["object"].status.conditions or ()):
                found.stop()
        done = batch.read_namespaced_job_status("work", namespace)
        assert done.status.succeeded == 3
        assert done.status.completion_time is not None
        pods = core.list_namespaced_pod(namespace, label_selector="job-name=work").items
        assert {p.status.phase for p in pods} == {"Succeeded"}
        batch.delete_namespaced_job("work", namespace, propagation_policy="Background")
        eventually(lambda: not core.list_namespaced_pod(namespace).items, "its pods are gone")
