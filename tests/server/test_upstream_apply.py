"""Server-side apply as upstream's test/integration/apiserver/apply/apply_test.go asks for it; each test names the functions it stands for."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest

from .harness import CONFIGMAPS, DEPLOYMENTS, PODS, Answer, Api, configmap, pod

STATEFULSETS = "/apis/apps/v1/namespaces/default/statefulsets"
DAEMONSETS = "/apis/apps/v1/namespaces/default/daemonsets"
HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


def workload(kind: str, name: str, container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """An apps/v1 object with one container."""
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1", **(container or {})}]},
            },
            **spec,
        },
    }


def managers(answer: Answer) -> list[tuple[str, str, str]]:
    """Manager, operation and subresource of each entry of managedFields."""
    return [
        (e["manager"], e["operation"], e.get("subresource", ""))
        for e in answer.json["metadata"].get("managedFields", [])
    ]


def owned(answer: Answer, manager: str, operation: str = "Apply", subresource: str = "") -> Any:
    """The fields of one entry of managedFields."""
    for e in answer.json["metadata"].get("managedFields", []):
        if (e["manager"], e["operation"], e.get("subresource", "")) == (manager, operation, subresource):
            return e["fieldsV1"]
    raise AssertionError((manager, operation, subresource, managers(answer)))


def version(answer: Answer) -> str:
    return str(answer.json["metadata"]["resourceVersion"])


def labels(**values: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": values}}


@pytest.mark.usefixtures("seconds_apart")
class TestNothingNew:
    """What says the same thing again writes nothing."""

    async def test_put_of_what_was_read(self, api: Api) -> None:
        """TestNoOpUpdateSameResourceVersion."""
        ports = [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP", "name": "b"}]
        created = await api.post(
            PODS,
            pod(
                "a",
                containers=[
                    {"name": "b", "image": "i", "ports": ports},
                    {"name": "a", "image": "i", "env": [{"name": "z", "value": "1"}, {"name": "a"}]},
                ],
            ),
        )
        assert created.status == 201, created
        again = await api.put(f"{PODS}/a", created.json)
        assert (again.status, version(again)) == (200, version(created))
        assert again.json["metadata"]["managedFields"] == created.json["metadata"]["managedFields"]

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            pytest.param(
                DEPLOYMENTS,
                {"metadata": {"annotations": {}, "labels": {"app": "web"}}},
                id="TestNoOpApplyWithEmptyMap",
            ),
        ],
    )
    async def test_empty_map(self, api: Api, path: str, body: dict[str, Any]) -> None:
        sent = workload("Deployment", "a", {"ports": [{"containerPort": 80}]}, replicas=1)
        sent["spec"]["template"].update(body)
        first = await api.apply(f"{path}/a", sent, "tester")
        again = await api.apply(f"{path}/a", sent, "tester")
        assert (first.status, again.status) == (201, 200)
        assert version(first) == version(again)

    async def test_nulls_in_metadata(self, api: Api) -> None:
        """TestNoopChangeCreationTime."""
        sent = configmap("a", key="value")
        sent["metadata"].update(creationTimestamp=None, resourceVersion=None)
        first = await api.apply(f"{CONFIGMAPS}/a", sent, "tester")
        again = await api.apply(f"{CONFIGMAPS}/a", sent, "tester")
        assert first.status == 201, first
        assert again.json == first.json

    @pytest.mark.parametrize("verb", ["apply", "put"])
    async def test_defaults_and_quantities(self, api: Api, verb: str) -> None:
        """TestNoSemanticUpdateApplySameResourceVersion, TestNoSemanticUpdatePutSameResourceVersion."""
        sent = workload(
            "StatefulSet",
            "a",
            {"resources": {"limits": {"memory": "2048Mi"}}},
            serviceName="a",
            volumeClaimTemplates=[
                {
                    "metadata": {"name": "disk"},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": {"requests": {"storage": "1Gi"}},
                    },
                }
            ],
        )
        if verb == "apply":
            first = await api.apply(f"{STATEFULSETS}/a", sent, "tester")
            again = await api.apply(f"{STATEFULSETS}/a", sent, "tester")
        else:
            first = await api.post(f"{STATEFULSETS}?fieldManager=tester", sent)
            again = await api.put(f"{STATEFULSETS}/a?fieldManager=tester", sent)
        assert first.status == 201, first
        assert (again.status, version(again)) == (200, version(first))

    async def test_nothing_owned_leaves_no_entry(self, api: Api) -> None:
        """TestApplyRemovesEmptyManagedFields."""
        sent = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": "default"},
        }
        await api.apply(f"{CONFIGMAPS}/a", sent, "tester")
        again = await api.apply(f"{CONFIGMAPS}/a", sent, "tester")
        assert "managedFields" not in again.json["metadata"]


class TestRefused:
    async def test_uid_of_nothing(self, api: Api) -> None:
        """TestCreateOnApplyFailsWithUID."""
        sent = pod("a")
        sent["metadata"]["uid"] = "88e00824-7f0e-11e8-94a1-c8d3ffb15800"
        answer = await api.apply(f"{PODS}/a", sent, "tester")
        assert (answer.status, answer.json["reason"]) == (409, "Conflict")
        assert "uid mismatch" in answer.json["message"]

    async def test_without_manager(self, api: Api) -> None:
        """TestApplyRequiresFieldManager."""
        answer = await api.patch(f"{CONFIGMAPS}/a", configmap("a"), "apply-patch+yaml")
        assert (answer.status, answer.json["reason"]) == (422, "Invalid")
        assert "is required for apply patch" in answer.json["message"]

    async def test_version_mismatch(self, api: Api) -> None:
        """TestApplyFailsWithVersionMismatch."""
        await api.apply(f"{DEPLOYMENTS}/a", workload("Deployment", "a"), "tester")
        other = workload("Deployment", "a") | {"apiVersion": "extensions/v1beta"}
        answer = await api.apply(f"{DEPLOYMENTS}/a", other, "tester")
        assert (answer.status, answer.json["reason"]) == (400, "BadRequest")

    async def test_conflict_then_force(self, api: Api) -> None:
        """TestApplyUpdateApplyConflictForced."""
        sent = workload("Deployment", "a", replicas=3)
        await api.apply(f"{DEPLOYMENTS}/a", sent, "tester")
        await api.patch(f"{DEPLOYMENTS}/a", {"spec": {"replicas": 5}})
        refused = await api.apply(f"{DEPLOYMENTS}/a", sent, "tester")
        assert refused.status == 409
        (cause,) = refused.json["details"]["causes"]
        assert (cause["reason"], cause["field"]) == ("FieldManagerConflict", ".spec.replicas")
        assert (await api.apply(f"{DEPLOYMENTS}/a", sent, "tester", force=True)).status == 200

    @pytest.mark.parametrize("way", ["create", "update", "patch"])
    async def test_large_objects(self, api: Api, way: str) -> None:
        """TestCreateVeryLargeObject, TestUpdateVeryLargeObject, TestPatchVeryLargeObject: ownership that would not fit is left out, not refused."""
        data = {
            f"this-key-is-very-long-so-as-to-create-a-very-large-serialized-fieldset-{i}": "A"
            for i in range(9999)
        }
        if way == "create":
            answer = await api.post(CONFIGMAPS, configmap("a", **data))
        else:
            await api.post(CONFIGMAPS, configmap("a", k="v"))
            if way == "update":
                answer = await api.put(f"{CONFIGMAPS}/a", configmap("a", **data))
            else:
                answer = await api.patch(f"{CONFIGMAPS}/a", {"data": data})
        assert answer.status < 300, answer
        assert len((await api.get(f"{CONFIGMAPS}/a")).json["data"]) >= 9999


class TestManagedFields:
    async def test_old_updaters_are_merged(self, api: Api) -> None:
        """TestApplyGroupsManySeparateUpdates."""
        sent = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "a", "labels": {"applier": "true"}},
        }
        await api.apply(f"{HOOKS}/a", sent, "tester")
        for i in range(20):
            answer = await api.patch(
                f"{HOOKS}/a?fieldManager=updater{i}", {"metadata": {"labels": {f"updater{i}": "new"}}}
            )
        assert len(managers(answer)) == 11
        assert [m[0] for m in managers(answer)[:2]] == ["tester", "ancient-changes"]

    async def test_form(self, api: Api) -> None:
        """TestApplyManagedFields."""
        sent = configmap("a", key="value")
        sent["metadata"]["labels"] = {"test-label": "test"}
        await api.apply(f"{CONFIGMAPS}/a", sent, "tester")
        await api.patch(f"{CONFIGMAPS}/a?fieldManager=updater", {"data": {"new-key": "value"}})
        await api.patch(f"{CONFIGMAPS}/a?fieldManager=updater", {"data": {"key": "new value"}})
        entries = (await api.get(f"{CONFIGMAPS}/a")).json["metadata"]["managedFields"]
        for e in entries:
            assert e.pop("time")
            assert (e.pop("apiVersion"), e.pop("fieldsType")) == ("v1", "FieldsV1")
        assert [e["fieldsV1"] for e in entries] == [
            {"f:metadata": {"f:labels": {"f:test-label": {}}}},
            {"f:data": {"f:key": {}, "f:new-key": {}}},
        ]

    async def test_renamed_appliers(self, api: Api) -> None:
        """TestRenamingAppliedFieldManagers: of appliers with one name, the last entry stays."""
        sent = pod("a")
        sent["metadata"]["labels"] = {"a": "one"}
        await api.apply(f"{PODS}/a", sent, "one")
        await api.apply(f"{PODS}/a", labels(b="two"), "two")
        live = (await api.get(f"{PODS}/a")).json
        assert live["metadata"]["labels"] == {"a": "one", "b": "two"}
        for e in live["metadata"]["managedFields"]:
            e["manager"] = "both"
        answer = await api.put(f"{PODS}/a", live)
        assert managers(answer) == [("both", "Apply", "")]
        assert owned(answer, "both") == {"f:metadata": {"f:labels": {"f:b": {}}}}

    async def test_renamed_updaters(self, api: Api) -> None:
        """TestRenamingUpdatedFieldManagers."""
        await api.apply(f"{PODS}/a", pod("a"), "first")
        await api.patch(f"{PODS}/a?fieldManager=one", {"metadata": {"labels": {"a": "one"}}})
        await api.patch(f"{PODS}/a?fieldManager=two", {"metadata": {"labels": {"b": "two"}}})
        live = (await api.get(f"{PODS}/a")).json
        for e in live["metadata"]["managedFields"]:
            e["manager"] = "both"
        answer = await api.put(f"{PODS}/a", live)
        assert managers(answer) == [("both", "Apply", ""), ("both", "Update", "")]
        assert owned(answer, "both", "Update") == {"f:metadata": {"f:labels": {"f:b": {}}}}

    async def test_dropped_subresource_of_appliers(self, api: Api) -> None:
        """TestDroppingSubresourceField."""
        await api.apply(f"{PODS}/a", pod("a"), "first")
        await api.apply(f"{PODS}/a", labels(a="one"), "labeller")
        await api.apply(f"{PODS}/a/status", labels(b="two"), "labeller")
        live = await api.get(f"{PODS}/a")
        assert live.json["metadata"]["labels"] == {"a": "one", "b": "two"}
        assert managers(live) == [
            ("first", "Apply", ""),
            ("labeller", "Apply", ""),
            ("labeller", "Apply", "status"),
        ]
        for e in live.json["metadata"]["managedFields"]:
            e["subresource"] = ""
        answer = await api.put(f"{PODS}/a", live.json)
        assert managers(answer) == [("first", "Apply", ""), ("labeller", "Apply", "")]
        assert owned(answer, "labeller") == {"f:metadata": {"f:labels": {"f:b": {}}}}

    async def test_dropped_subresource_of_updaters(self, api: Api) -> None:
        """TestDroppingSubresourceFromSpecField."""
        await api.apply(f"{PODS}/a", pod("a"), "first")
        await api.patch(f"{PODS}/a?fieldManager=m", {"metadata": {"labels": {"a": "two"}}})
        await api.patch(f"{PODS}/a/status?fieldManager=m", {"status": {"phase": "Running"}})
        live = await api.get(f"{PODS}/a")
        assert managers(live) == [("first", "Apply", ""), ("m", "Update", ""), ("m", "Update", "status")]
        for e in live.json["metadata"]["managedFields"]:
            e["subresource"] = ""
        answer = await api.put(f"{PODS}/a", live.json)
        assert managers(answer) == [("first", "Apply", ""), ("m", "Update", "")]
        assert owned(answer, "m", "Update") == {"f:status": {"f:phase": {}}}

    async def test_scale_is_a_subresource(self, api: Api) -> None:
        """TestSubresourceField."""
        await api.apply(f"{DEPLOYMENTS}/a", workload("Deployment", "a", replicas=3), "m")
        await api.patch(f"{DEPLOYMENTS}/a/scale?fieldManager=m", {"spec": {"replicas": 32}})
        answer = await api.get(f"{DEPLOYMENTS}/a")
        assert managers(answer) == [("m", "Apply", ""), ("m", "Update", "scale")]
        assert owned(answer, "m", "Update", "scale") == {"f:spec": {"f:replicas": {}}}

    async def test_formerly_atomic(self, api: Api) -> None:
        """TestApplyFormerlyAtomicFields: who owned a whole claimRef does not stand in the way of who owns its fields."""
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "name": "c",
            "namespace": "default",
            "resourceVersion": "15499",
            "uid": "2018e302-7b12-406c-9fa2-e52535d29e48",
        }
        volumes = "/api/v1/persistentvolumes"
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "16Mi"},
            "hostPath": {"path": "/tmp/d", "type": ""},
        }
        created = await api.post(
            f"{volumes}?fieldManager=tester",
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {
                    "name": "a",
                    "labels": {"type": "local"},
                    "finalizers": ["kubernetes.io/pv-protection"],
                },
                "spec": spec | {"claimRef": claim, "persistentVolumeReclaimPolicy": "Retain"},
            },
        )
        assert created.status == 201, created
        mine = {
            "f:metadata": {"f:labels": {"f:type": {}}},
            "f:spec": {
                "f:accessModes": {},
                "f:capacity": {"f:storage": {}},
                "f:hostPath": {"f:path": {}},
                "f:storageClassName": {},
            },
        }
        entry = {"apiVersion": "v1", "fieldsType": "FieldsV1", "time": "2022-06-08T23:46:32Z"}
        controller = {"manager": "kube-controller-manager", "operation": "Update"}
        entries = [
            entry | {"fieldsV1": mine, "manager": "tester", "operation": "Apply"},
            entry | controller | {"fieldsV1": {"f:status": {"f:phase": {}}}, "subresource": "status"},
            entry | controller | {"fieldsV1": {"f:spec": {"f:claimRef": {}}}, "time": "2022-06-08T23:46:37Z"},
        ]
        patched = await api.patch(
            f"{volumes}/a?fieldManager=tester",
            {"metadata": {"managedFields": entries}},
            "strategic-merge-patch+json",
        )
        assert patched.status == 200, patched
        applied = await api.apply(
            f"{volumes}/a",
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": "a", "labels": {"type": "local"}},
                "spec": spec
                | {
                    "storageClassName": "",
                    "hostPath": {"path": "/tmp/d"},
                    "claimRef": {"name": "c", "namespace": "default"},
                },
            },
            "tester",
        )
        assert applied.status == 200, applied
        assert applied.json["spec"]["claimRef"] == claim
        want = copy.deepcopy(mine)
        want["f:spec"]["f:claimRef"] = {"f:name": {}, "f:namespace": {}}
        assert owned(applied, "tester") == want
        assert owned(applied, "kube-controller-manager", "Update") == {"f:spec": {"f:claimRef": {}}}


class TestFields:
    async def test_removed_port(self, api: Api) -> None:
        """TestApplyRemoveContainerPort."""
        port = {"containerPort": 80, "protocol": "TCP"}
        await api.apply(f"{DEPLOYMENTS}/a", workload("Deployment", "a", {"ports": [port]}), "tester")
        answer = await api.apply(f"{DEPLOYMENTS}/a", workload("Deployment", "a"), "tester")
        assert answer.status == 200
        assert not answer.json["spec"]["template"]["spec"]["containers"][0].get("ports")

    async def test_marker_struct_is_not_nothing(self, api: Api) -> None:
        """TestApplyEmptyMarkerStructDifferentFromNil."""
        mount = {"mountPath": "/cache", "name": "v"}

        def sent(**volume: Any) -> dict[str, Any]:
            return pod(
                "a",
                containers=[{"name": "c", "image": "i", "volumeMounts": [mount]}],
                volumes=[{"name": "v", **volume}],
            )

        first = await api.apply(f"{PODS}/a", sent(emptyDir={}), "tester")
        again = await api.apply(f"{PODS}/a", sent(), "tester")
        assert (first.status, again.status) == (201, 200)
        assert version(first) != version(again)
        assert again.json["spec"]["volumes"][0]["emptyDir"] == {}

    async def test_left_out(self, api: Api) -> None:
        """TestApplyUnsetExclusivelyOwnedFields, TestApplyUnsetSharedFields."""

        def sent(replicas: int | None, hostname: str) -> dict[str, Any]:
            out = workload("Deployment", "a")
            if replicas is not None:
                out["spec"]["replicas"] = replicas
                out["spec"]["template"]["spec"]["hostname"] = hostname
            return out

        for manager in ("one", "two"):
            assert (await api.apply(f"{DEPLOYMENTS}/a", sent(3, "h"), manager)).status < 300
        shared = (await api.apply(f"{DEPLOYMENTS}/a", sent(None, ""), "one")).json["spec"]
        assert (shared["replicas"], shared["template"]["spec"]["hostname"]) == (3, "h")
        alone = (await api.apply(f"{DEPLOYMENTS}/a", sent(None, ""), "two")).json["spec"]
        assert alone["replicas"] == 1
        assert "hostname" not in alone["template"]["spec"]

    async def test_handed_over(self, api: Api) -> None:
        """TestApplyCanTransferFieldOwnershipToController."""
        live = (await api.apply(f"{DEPLOYMENTS}/a", workload("Deployment", "a", replicas=3), "applier")).json
        live["spec"]["replicas"] = 4
        assert (await api.put(f"{DEPLOYMENTS}/a?fieldManager=updater", live)).status == 200
        answer = await api.apply(f"{DEPLOYMENTS}/a", workload("Deployment", "a"), "applier")
        assert (answer.status, answer.json["spec"]["replicas"]) == (200, 4)

    async def test_removed_item_that_others_wrote_to(self, api: Api) -> None:
        """TestApplyCanRemoveMapItemsContributedToByControllers."""
        live = (await api.apply(f"{DEPLOYMENTS}/a", workload("Deployment", "a"), "applier")).json
        live["spec"]["template"]["spec"]["containers"][0]["workingDir"] = "/home"
        assert (await api.put(f"{DEPLOYMENTS}/a?fieldManager=updater", live)).status == 200
        other = workload("Deployment", "a", {"name": "other"}, replicas=3)
        other["spec"]["template"]["spec"]["hostname"] = "h"
        answer = await api.apply(f"{DEPLOYMENTS}/a", other, "applier")
        assert [c["name"] for c in answer.json["spec"]["template"]["spec"]["containers"]] == ["other"]

    async def test_keys_that_are_defaulted(self, api: Api) -> None:
        """TestDefaultMissingKeys."""
        first = workload("Deployment", "a", {"ports": [{"name": "foo", "containerPort": 80}]})
        assert (await api.apply(f"{DEPLOYMENTS}/a", first, "one")).status == 201
        second = workload(
            "Deployment", "a", {"ports": [{"name": "bar", "containerPort": 80, "protocol": "TCP"}]}
        )
        answer = await api.apply(f"{DEPLOYMENTS}/a", second, "two")
        assert answer.status == 409, answer
        (cause,) = answer.json["details"]["causes"]
        assert cause["message"] == 'conflict with "one"'
        port = '[containerPort=80,protocol="TCP"].name'
        assert cause["field"] == f'.spec.template.spec.containers[name="web"].ports{port}'

    async def test_from_client_side(self, api: Api) -> None:
        """TestUpgradeClientSideToServerSideApply."""
        last = '{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"a","labels":{"app":"web"}},"spec":{"replicas":3,"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"web","image":"web:1"}]}}}}'
        sent = workload("Deployment", "a", replicas=100000)
        sent["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": last}
        assert (await api.post(DEPLOYMENTS, sent)).status == 201
        change = workload("Deployment", "a", replicas=3)
        change["metadata"]["labels"] = {"app": "new"}
        del change["spec"]["selector"]
        refused = await api.apply(f"{DEPLOYMENTS}/a", change, "kubectl")
        assert refused.status == 409
        del change["spec"]["replicas"]
        change["spec"]["template"]["spec"]["containers"][0]["image"] = "web:2"
        answer = await api.apply(f"{DEPLOYMENTS}/a", change, "kubectl")
        assert answer.status == 200, answer
        assert answer.json["spec"]["replicas"] == 100000
        assert answer.json["spec"]["template"]["spec"]["containers"][0]["image"] == "web:2"


class TestReset:
    """Managed fields as clients write them themselves."""

    @pytest.mark.parametrize(
        ("way", "body"),
        [
            pytest.param(
                "merge-patch+json",
                {"metadata": {"managedFields": [{}]}},
                id="TestClearManagedFieldsWithMergePatch",
            ),
            pytest.param(
                "strategic-merge-patch+json",
                {"metadata": {"managedFields": [{}]}},
                id="TestClearManagedFieldsWithStrategicMergePatch",
            ),
            pytest.param(
                "json-patch+json",
                [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}],
                id="TestClearManagedFieldsWithJSONPatch",
            ),
            pytest.param("put", [{}], id="TestClearManagedFieldsWithUpdate"),
            pytest.param("put", [], id="TestClearManagedFieldsWithUpdateEmptyList"),
        ],
    )
    async def test_cleared(self, api: Api, way: str, body: Any) -> None:
        sent = configmap("a", key="value")
        sent["metadata"]["labels"] = {"test-label": "test"}
        await api.apply(f"{CONFIGMAPS}/a", sent, "tester")
        if way == "put":
            sent["metadata"]["managedFields"] = body
            answer = await api.put(f"{CONFIGMAPS}/a", sent)
        else:
            answer = await api.patch(f"{CONFIGMAPS}/a", body, way)
        assert answer.status == 200, answer
        assert "managedFields" not in answer.json["metadata"]
        assert answer.json["metadata"]["labels"] == {"test-label": "test"}
        # And they stay away until the next apply.
        later = await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"labels": {"test-label": "v1"}}})
        assert "managedFields" not in later.json["metadata"]

    @pytest.mark.parametrize(
        "verb",
        [
            pytest.param("post", id="TestErrorsDontFail"),
            pytest.param("put", id="TestErrorsDontFailUpdate"),
            pytest.param("patch", id="TestErrorsDontFailPatch"),
        ],
    )
    async def test_broken_entries(self, api: Api, verb: str) -> None:
        entry = {
            "manager": "tester",
            "operation": "Apply",
            "apiVersion": "v1",
            "time": "2019-07-08T09:31:18Z",
            "fieldsType": "",
            "fieldsV1": {},
        }
        sent = configmap("a", key="value")
        if verb == "post":
            sent["metadata"]["managedFields"] = [entry]
        answer = await api.post(f"{CONFIGMAPS}?fieldManager=tester", sent)
        if verb == "put":
            sent["metadata"]["managedFields"] = [entry]
            answer = await api.put(f"{CONFIGMAPS}/a?fieldManager=tester", sent)
        elif verb == "patch":
            change = [{"op": "replace", "path": "/metadata/managedFields", "value": [entry]}]
            answer = await api.patch(f"{CONFIGMAPS}/a?fieldManager=tester", change, "json-patch+json")
        assert answer.status < 300, answer
        assert managers(answer) == [("tester", "Update", "")]

    async def test_not_through_subresources(self, api: Api) -> None:
        """TestApplyDoesNotChangeManagedFieldsViaSubresources."""
        live = await api.apply(f"{PODS}/a", pod("a"), "tester")
        entry = {
            "manager": "other",
            "operation": "Update",
            "apiVersion": "v1",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:containers": {'k:{"name":"x"}': {".": {}, "f:image": {}}}}},
        }
        answer = await api.patch(
            f"{PODS}/a/status?fieldManager=updater",
            {
                "metadata": {"managedFields": [entry]},
                "status": {"conditions": [{"type": "MyStatus", "status": "true"}]},
            },
        )
        assert answer.status == 200, answer
        entries = answer.json["metadata"]["managedFields"]
        assert entries[:1] == live.json["metadata"]["managedFields"]
        assert [e["manager"] for e in entries[1:]] == ["updater"]

    async def test_entries_of_versions_that_are_no_more(self, api: Api) -> None:
        """TestApplyConvertsManagedFieldsVersion."""
        sent = workload("Deployment", "a")
        container = {"f:containers": {'k:{"name":"sidecar"}': {".": {}, "f:image": {}}}}
        sent["metadata"]["managedFields"] = [
            {
                "manager": "sidecar_controller",
                "operation": "Apply",
                "apiVersion": "extensions/v1beta1",
                "fieldsV1": {
                    "f:metadata": {"f:labels": {"f:sidecar_version": {}}},
                    "f:spec": {"f:template": {"f:spec": container}},
                },
            }
        ]
        assert (await api.post(DEPLOYMENTS, sent)).status == 201
        answer = await api.apply(
            f"{DEPLOYMENTS}/a",
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "a", "labels": {"sidecar_version": "release"}},
                "spec": {"template": {"spec": {"containers": [{"name": "sidecar", "image": "s:1"}]}}},
            },
            "sidecar_controller",
        )
        assert answer.status == 200, answer
        assert len(managers(answer)) == 2
        container["f:containers"]['k:{"name":"sidecar"}']["f:name"] = {}
        assert owned(answer, "sidecar_controller") == {
            "f:metadata": {"f:labels": {"f:sidecar_version": {}}},
            "f:spec": {"f:template": {"f:spec": container}},
        }


class TestDuplicates:
    """TestDuplicatesInAssociativeLists: lists whose keys are there twice, by a create, an apply beside, an update, and an apply of the key."""

    @staticmethod
    def container(entry: Any) -> Any:
        return entry["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"web"}']

    async def test_lists(self, api: Api) -> None:
        def ports(*of: tuple[str, int]) -> list[dict[str, Any]]:
            return [{"name": n, "containerPort": p} for n, p in of]

        def env(**of: str) -> list[dict[str, str]]:
            return [{"name": n, "value": v} for n, v in of.items()]

        twice = [{"name": "PATH", "value": "/bin"}, {"name": "PATH", "value": "$PATH:/usr/bin"}]
        sent = workload(
            "DaemonSet",
            "a",
            {"ports": ports(("port0", 1), ("port1", 80), ("port2", 80)), "env": env(ENV0="v") + twice},
        )
        created = await api.post(f"{DAEMONSETS}?fieldManager=create", sent)
        assert created.status == 201, created
        mine = self.container(owned(created, "create", "Update"))
        tcp80 = 'k:{"containerPort":80,"protocol":"TCP"}'
        assert mine["f:env"]['k:{"name":"PATH"}'] == {}
        assert mine["f:ports"][tcp80] == {}
        annotation = "f:deprecated.daemonset.template.generation"
        assert owned(created, "create", "Update")["f:metadata"]["f:annotations"] == {".": {}, annotation: {}}

        beside = workload("DaemonSet", "a", {"ports": ports(("port3", 443)), "env": env(HOME="/usr/home")})
        applied = await api.apply(f"{DAEMONSETS}/a", beside, "apply")
        assert applied.status == 200, applied
        live = applied.json["spec"]["template"]["spec"]["containers"][0]
        assert (len(live["env"]), len(live["ports"])) == (4, 4)
        assert self.container(owned(applied, "create", "Update")) == mine

        update = workload(
            "DaemonSet",
            "a",
            {
                "ports": ports(("port0", 1), ("port3", 443), ("port4", 80), ("port5", 80)),
                "env": [
                    *env(ENV0="v"),
                    twice[0],
                    {"name": "PATH", "value": "$PATH:/usr/bin:/usr/local/bin"},
                    *env(HOME="/usr/home"),
                ],
            },
        )
        updated = await api.put(f"{DAEMONSETS}/a?fieldManager=update", update)
        assert updated.status == 200, updated
        left = self.container(owned(updated, "create", "Update"))
        assert 'k:{"name":"PATH"}' not in left["f:env"] and tcp80 not in left["f:ports"]
        assert self.container(owned(updated, "update", "Update")) == {
            "f:env": {'k:{"name":"PATH"}': {}},
            "f:ports": {tcp80: {}},
        }
        assert owned(updated, "create", "Update")["f:metadata"]["f:annotations"] == {}
        assert owned(updated, "update", "Update")["f:metadata"] == {"f:annotations": {annotation: {}}}

        of_key = workload("DaemonSet", "a", {"ports": ports(("port80", 80)), "env": env(PATH="/bin")})
        last = await api.apply(f"{DAEMONSETS}/a", of_key, "apply", force=True)
        assert last.status == 200, last
        live = last.json["spec"]["template"]["spec"]["containers"][0]
        assert [e["name"] for e in live["env"]] == ["ENV0", "PATH"]
        assert [p["containerPort"] for p in live["ports"]] == [1, 80]
        assert owned(last, "update", "Update") == {"f:metadata": {"f:annotations": {annotation: {}}}}


CONTROLLERS = "/api/v1/namespaces/default/replicationcontrollers"


def owners_of_replicas(answer: Answer) -> set[str]:
    """The managers of spec.replicas."""
    return {
        e["manager"]
        for e in answer.json["metadata"]["managedFields"]
        if "f:replicas" in e["fieldsV1"].get("f:spec", {})
    }


class TestScale:
    """apply/scale_test.go."""

    @pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "ReplicaSet", "ReplicationController"])
    async def test_all(self, api: Api, kind: str) -> None:
        """TestScaleAllResources."""
        sent = workload(kind, "a", replicas=1)
        path = f"/apis/apps/v1/namespaces/default/{kind.lower()}s/a"
        if kind == "ReplicationController":
            sent["apiVersion"] = "v1"
            sent["spec"]["selector"] = {"app": "web"}
            path = f"{CONTROLLERS}/a"

        async def live() -> tuple[int, set[str]]:
            answer = await api.get(path)
            return answer.json["spec"]["replicas"], owners_of_replicas(answer)

        def scale(replicas: int) -> dict[str, Any]:
            return {
                "kind": "Scale",
                "apiVersion": "autoscaling/v1",
                "metadata": {"name": "a", "namespace": "default"},
                "spec": {"replicas": replicas},
            }

        await api.apply(path, sent, "applier")
        assert await live() == (1, {"applier"})
        await api.patch(f"{path}/scale?fieldManager=scaler", {"spec": {"replicas": 5}})
        assert await live() == (5, {"scaler"})
        assert (await api.apply(path, sent, "applier")).status == 409
        await api.apply(path, sent, "applier", force=True)
        assert await live() == (1, {"applier"})
        refused = await api.apply(f"{path}/scale", scale(17), "apply_scale")
        assert refused.status == 409
        assert "applier" in refused.json["message"]
        assert (await api.apply(f"{path}/scale", scale(17), "apply_scale", force=True)).status == 200
        assert await live() == (17, {"apply_scale"})
        assert (await api.put(f"{path}/scale?fieldManager=replacer", scale(7))).status == 200
        assert await live() == (7, {"replacer"})
        assert (await api.apply(f"{path}/scale", scale(7), "shared")).status == 200
        assert await live() == (7, {"replacer", "shared"})
        await api.patch(f"{path}/scale?fieldManager=scaler", {"spec": {"replicas": 5}})
        assert await live() == (5, {"scaler"})

    async def test_status(self, api: Api) -> None:
        """TestScaleUpdateOnlyStatus: the counts of a Scale are read only."""
        await api.apply(f"{DEPLOYMENTS}/a", workload("Deployment", "a", replicas=1), "applier")
        answer = await api.patch(f"{DEPLOYMENTS}/a/scale?fieldManager=scaler", {"status": {"replicas": 42}})
        assert answer.status == 200, answer
        live = await api.get(f"{DEPLOYMENTS}/a")
        assert (live.json["spec"]["replicas"], owners_of_replicas(live)) == (1, {"applier"})

    @pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "ReplicaSet"])
    async def test_forms(self, api: Api, kind: str) -> None:
        """TestGetScaleSubresourceAsTableForAllBuiltins."""
        path = f"/apis/apps/v1/namespaces/default/{kind.lower()}s/a/scale"
        await api.apply(path.removesuffix("/scale"), workload(kind, "a", replicas=3), "applier")
        table = (await api.get(path, accept="application/json;as=Table;g=meta.k8s.io;v=v1")).json
        assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
        (row,) = table["rows"]
        assert row["cells"][:3] == ["a", 3, 0]
        assert (row["object"]["kind"], row["object"]["metadata"]["name"]) == ("PartialObjectMetadata", "a")
        form = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
        assert (await api.get(path, accept=form)).json["kind"] == "PartialObjectMetadata"
