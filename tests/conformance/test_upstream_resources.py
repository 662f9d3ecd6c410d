"""Upstream's conformance tests of resources as such: what can be done to an object of each kind, without anything running."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
from urllib3 import HTTPHeaderDict

from . import manifests
from .cluster import eventually
from .rest import JSON_PATCH, STRATEGIC_PATCH, Rest
from .upstream import covers

pytestmark = pytest.mark.xdist_group("conformance")

_numbers = itertools.count(1)


def unique(prefix: str) -> str:
    """A name that no other test has."""
    return f"{prefix}-{next(_numbers)}"


@dataclass(frozen=True)
class Case:
    """A kind whose operations are tried: where it is, an object of it without a name, and a status to write, if it has one."""

    group: str
    version: str
    plural: str
    kind: str
    body: dict[str, Any]
    namespaced: bool = True
    status: dict[str, Any] | None = None
    verbs: tuple[str, ...] = (
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    )
    name: str = ""
    # Finalizers that controllers put on at once, and that a test takes off.
    held: bool = field(default=False)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str) -> str:
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" if self.namespaced else f"{root}/{self.plural}"

    def object(self, name: str, label: str) -> dict[str, Any]:
        made: dict[str, Any] = copy.deepcopy(self.body)
        made.update(apiVersion=self.api_version, kind=self.kind)
        made["metadata"] = {**made.get("metadata", {}), "name": name, "labels": {"case": label}}
        return made


TEMPLATE = manifests.pod_template("case")


def condition(kind: str = "Tried", **more: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "status": "True",
        "reason": "Case",
        "message": "by the test",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
        **more,
    }


CASES: dict[str, Case] = {
    c.plural: c
    for c in (
        Case(
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "flowschemas",
            "FlowSchema",
            {
                "spec": {
                    "matchingPrecedence": 10000,
                    "priorityLevelConfiguration": {"name": "global-default"},
                    "rules": [
                        {
                            "subjects": [{"kind": "User", "user": {"name": "case"}}],
                            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/case"]}],
                        }
                    ],
                }
            },
            namespaced=False,
            status={"conditions": [condition("Dangling")]},
        ),
        Case(
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "prioritylevelconfigurations",
            "PriorityLevelConfiguration",
            {
                "spec": {
                    "type": "Limited",
                    "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}},
                }
            },
            namespaced=False,
            status={"conditions": [condition()]},
        ),
        Case(
            "admissionregistration.k8s.io",
            "v1",
            "validatingadmissionpolicies",
            "ValidatingAdmissionPolicy",
            {
                "spec": {
                    "matchConstraints": {
                        "resourceRules": [
                            {
                                "apiGroups": ["case.example.com"],
                                "apiVersions": ["v1"],
                                "operations": ["CREATE"],
                                "resources": ["cases"],
                            }
                        ]
                    },
                    "validations": [{"expression": "object.spec.replicas <= 100"}],
                }
            },
            namespaced=False,
            status={"conditions": [condition()]},
        ),
        Case(
            "admissionregistration.k8s.io",
            "v1",
            "validatingadmissionpolicybindings",
            "ValidatingAdmissionPolicyBinding",
            {"spec": {"policyName": "case.example.com", "validationActions": ["Deny"]}},
            namespaced=False,
        ),
        Case(
            "batch",
            "v1",
            "cronjobs",
            "CronJob",
            {
                "spec": {
                    "schedule": "0 0 1 1 *",
                    "suspend": True,
                    "jobTemplate": {
                        "spec": {"template": manifests.pod_template("case", restartPolicy="Never")}
                    },
                }
            },
            status={"lastScheduleTime": "2026-01-02T03:04:05Z"},
        ),
        Case(
            "discovery.k8s.io",
            "v1",
            "endpointslices",
            "EndpointSlice",
            {"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"]}], "ports": []},
        ),
        Case(
            "networking.k8s.io",
            "v1",
            "ingresses",
            "Ingress",
            {"spec": {"defaultBackend": {"service": {"name": "case", "port": {"number": 80}}}}},
            status={"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}},
        ),
        Case(
            "networking.k8s.io",
            "v1",
            "ingressclasses",
            "IngressClass",
            {"spec": {"controller": "example.com/case"}},
            namespaced=False,
        ),
        Case(
            "node.k8s.io",
            "v1",
            "runtimeclasses",
            "RuntimeClass",
            {"handler": "case"},
            namespaced=False,
        ),
        Case(
            "storage.k8s.io",
            "v1",
            "csistoragecapacities",
            "CSIStorageCapacity",
            {"storageClassName": "case", "capacity": "10Gi"},
        ),
        Case(
            "storage.k8s.io",
            "v1",
            "csidrivers",
            "CSIDriver",
            {"spec": {"volumeLifecycleModes": ["Ephemeral"]}},
            namespaced=False,
        ),
        Case("storage.k8s.io", "v1", "csinodes", "CSINode", {"spec": {"drivers": []}}, namespaced=False),
        Case(
            "storage.k8s.io",
            "v1",
            "storageclasses",
            "StorageClass",
            {"provisioner": "example.com/case"},
            namespaced=False,
        ),
        Case(
            "storage.k8s.io",
            "v1",
            "volumeattachments",
            "VolumeAttachment",
            {
                "spec": {
                    "attacher": "example.com",
                    "nodeName": "case",
                    "source": {"persistentVolumeName": "case"},
                }
            },
            namespaced=False,
            status={"attached": True},
        ),
        Case("", "v1", "limitranges", "LimitRange", {"spec": {"limits": [{"type": "Pod"}]}}),
        Case(
            "",
            "v1",
            "resourcequotas",
            "ResourceQuota",
            {"spec": {"hard": {"cpu": "1", "memory": "500Mi"}}},
            status={"hard": {"cpu": "3"}},
        ),
        Case("", "v1", "podtemplates", "PodTemplate", {"template": TEMPLATE}),
        Case("", "v1", "configmaps", "ConfigMap", {"data": {"a": "b"}}),
        Case("", "v1", "secrets", "Secret", {"data": {"a": "Yg=="}}),
        Case("", "v1", "serviceaccounts", "ServiceAccount", {"automountServiceAccountToken": False}),
        Case(
            "",
            "v1",
            "endpoints",
            "Endpoints",
            {"subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"name": "http", "port": 80}]}]},
        ),
        Case(
            "",
            "v1",
            "services",
            "Service",
            {"spec": {"ports": [{"port": 80}]}},
            status={"conditions": [condition("LoadBalanced")]},
        ),
        Case("coordination.k8s.io", "v1", "leases", "Lease", {"spec": {"holderIdentity": "case"}}),
        Case(
            "",
            "v1",
            "nodes",
            "Node",
            {"spec": {"unschedulable": True}},
            namespaced=False,
            status={
                "conditions": [condition("Ready", reason="Case", lastHeartbeatTime="2026-01-02T03:04:05Z")]
            },
        ),
        Case(
            "",
            "v1",
            "persistentvolumes",
            "PersistentVolume",
            {
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "hostPath": {"path": "/case"},
                    "persistentVolumeReclaimPolicy": "Retain",
                }
            },
            namespaced=False,
            status={"message": "by the test", "reason": "Case"},
            held=True,
        ),
        Case(
            "",
            "v1",
            "persistentvolumeclaims",
            "PersistentVolumeClaim",
            {
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                    "storageClassName": "case",
                }
            },
            status={"conditions": [condition("Resizing")]},
            held=True,
        ),
        Case(
            "policy",
            "v1",
            "poddisruptionbudgets",
            "PodDisruptionBudget",
            {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "none"}}}},
            status={"conditions": [condition("DisruptionAllowed", observedGeneration=1)]},
        ),
        Case(
            "scheduling.k8s.io",
            "v1",
            "priorityclasses",
            "PriorityClass",
            {"value": 100, "description": "case"},
            namespaced=False,
        ),
        Case(
            "resource.k8s.io",
            "v1",
            "deviceclasses",
            "DeviceClass",
            {"spec": {"selectors": [{"cel": {"expression": "device.driver == 'case.example.com'"}}]}},
            namespaced=False,
        ),
        Case(
            "resource.k8s.io",
            "v1",
            "resourceclaims",
            "ResourceClaim",
            {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "case"}}]}}},
        ),
        Case(
            "networking.k8s.io",
            "v1",
            "networkpolicies",
            "NetworkPolicy",
            {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}},
        ),
        Case(
            "rbac.authorization.k8s.io",
            "v1",
            "roles",
            "Role",
            {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]},
        ),
        Case(
            "autoscaling",
            "v2",
            "horizontalpodautoscalers",
            "HorizontalPodAutoscaler",
            {
                "spec": {
                    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "case"},
                    "maxReplicas": 3,
                }
            },
            status={"currentReplicas": 2, "desiredReplicas": 2, "conditions": [condition("AbleToScale")]},
        ),
        Case(
            "apps",
            "v1",
            "controllerrevisions",
            "ControllerRevision",
            {"data": {"spec": {"replicas": 1}}, "revision": 1},
        ),
    )
}


@covers(
    "API priority and fairness should support FlowSchema API operations",
    "API priority and fairness should support PriorityLevelConfiguration API operations",
    "ValidatingAdmissionPolicy should support ValidatingAdmissionPolicy API operations",
    "ValidatingAdmissionPolicy should support ValidatingAdmissionPolicyBinding API operations",
    "CronJob should support CronJob API operations",
    "EndpointSlice should support creating EndpointSlice API operations",
    "Ingress API should support creating Ingress API operations",
    "IngressClass API should support creating IngressClass API operations",
    "RuntimeClass should support RuntimeClasses API operations",
    "CSIStorageCapacity should support CSIStorageCapacities API operations",
    "CSIInlineVolumes should run through the lifecycle of a CSIDriver",
    "CSINodes should run through the lifecycle of a csinode",
    "StorageClasses should run through the lifecycle of a StorageClass",
    "VolumeAttachment should run through the lifecycle of a VolumeAttachment",
    "VolumeAttachment should apply changes to a volumeattachment status",
    "PersistentVolumes should run through the lifecycle of a PV and a PVC",
    "PersistentVolumes should apply changes to a pv/pvc status",
    "ResourceQuota should manage the lifecycle of a ResourceQuota",
    "ResourceQuota should apply changes to a resourcequota status",
    "LimitRange should list, patch and delete a LimitRange by collection",
    "PodTemplates should delete a collection of pod templates",
    "PodTemplates should run the lifecycle of PodTemplates",
    "PodTemplates should replace a pod template",
    "ConfigMap should run through a ConfigMap lifecycle",
    "Secrets should patch a secret",
    "ServiceAccounts should run through the lifecycle of a ServiceAccount",
    "ServiceAccounts should update a ServiceAccount",
    "Services should test the lifecycle of an Endpoint",
    "Services should delete a collection of services",
    "Services should complete a service status lifecycle",
    "Lease lease API should be available",
    "Node Lifecycle should run through the lifecycle of a node",
    "DisruptionController should create a PodDisruptionBudget",
    "DisruptionController Listing PodDisruptionBudgets for all namespaces should list and delete a collection of PodDisruptionBudgets",
    "DisruptionController should update/patch PodDisruptionBudget status",
)
@pytest.mark.parametrize("plural", sorted(CASES))
def test_operations(rest: Rest, namespace: str, plural: str) -> None:
    """Discovery, create, get, list here and everywhere, watch, patch, update, status, delete, deletecollection."""
    case = CASES[plural]
    label, name = unique("case"), unique(f"x{plural[:12]}")
    discovered(rest, case)
    path = case.path(namespace)
    everywhere = case.path(namespace).replace(f"/namespaces/{namespace}", "")
    selector = f"labelSelector=case%3D{label}"

    created = rest.post(path, case.object(name, label)).ok(201)
    meta = created["metadata"]
    assert (meta["name"], created["kind"], created["apiVersion"]) == (name, case.kind, case.api_version)
    assert meta["uid"]
    assert meta["creationTimestamp"]
    assert meta["resourceVersion"]
    assert "selfLink" not in meta
    rest.post(path, case.object(name, label)).refused(409, "AlreadyExists", f'"{name}" already exists')

    got = rest.get(f"{path}/{name}").ok(200)
    assert got["metadata"]["uid"] == meta["uid"]
    for where in (path, everywhere):
        listed = rest.get(f"{where}?{selector}").ok(200)
        assert listed["kind"] == f"{case.kind}List"
        assert [i["metadata"]["name"] for i in listed["items"]] == [name]

    with rest.watch(f"{path}?{selector}&resourceVersion={listed['metadata']['resourceVersion']}") as events:
        patched = rest.patch(f"{path}/{name}", {"metadata": {"annotations": {"patched": "true"}}}).ok(200)
        assert patched["metadata"]["annotations"]["patched"] == "true"
        while events.until("MODIFIED")["metadata"].get("annotations", {}).get("patched") != "true":
            pass  # Controllers write, too.
        changed = update(
            rest, f"{path}/{name}", lambda o: o["metadata"]["annotations"].update(updated="true")
        )
        assert changed["metadata"]["annotations"]["updated"] == "true"
        while events.until("MODIFIED")["metadata"].get("annotations", {}).get("updated") != "true":
            pass
        if case.status is not None:
            write_status(rest, f"{path}/{name}", case.status, plural not in STATUS_ALONE)
        # A stale copy is refused.
        rest.put(f"{path}/{name}", {**got, "metadata": {**got["metadata"]}}).refused(
            409, "Conflict", "the object has been modified"
        )
        rest.delete(f"{path}/{name}").ok(200)
        release(rest, case, path, name)
        assert events.until("DELETED")["metadata"]["name"] == name
    rest.get(f"{path}/{name}").refused(404, "NotFound", f'"{name}" not found')

    names = [unique(f"y{plural[:12]}") for _ in range(3)]
    for each in names:
        rest.post(path, case.object(each, label)).ok(201)
    kept = unique(f"z{plural[:12]}")
    rest.post(path, case.object(kept, "kept")).ok(201)
    rest.delete(f"{path}?{selector}").ok(200)
    for each in names:
        release(rest, case, path, each)
    assert eventually(lambda: not rest.get(f"{path}?{selector}").ok(200)["items"])
    rest.get(f"{path}/{kept}").ok(200)
    rest.delete(f"{path}/{kept}").ok(200)
    release(rest, case, path, kept)


def discovered(rest: Rest, case: Case) -> None:
    """The group, its version and the resource with its verbs are in discovery."""
    if case.group:
        groups = {g["name"]: g for g in rest.get("/apis").ok(200)["groups"]}
        versions = [v["groupVersion"] for v in groups[case.group]["versions"]]
        assert case.api_version in versions
        assert rest.get(f"/apis/{case.group}").ok(200)["name"] == case.group
    root = f"/apis/{case.api_version}" if case.group else f"/api/{case.version}"
    resources = {r["name"]: r for r in rest.get(root).ok(200)["resources"]}
    found = resources[case.plural]
    assert (found["kind"], found["namespaced"]) == (case.kind, case.namespaced)
    assert set(case.verbs) <= set(found["verbs"])
    if case.status is not None:
        assert {"get", "patch", "update"} <= set(resources[f"{case.plural}/status"]["verbs"])


def update(rest: Rest, path: str, change: Any) -> dict[str, Any]:
    """Reads, changes, writes; again after a conflict with a controller."""
    for _ in range(10):
        obj = rest.get(path).ok(200)
        change(obj)
        answer = rest.put(path, obj)
        if answer.status != 409:
            found: dict[str, Any] = answer.ok(200)
            return found
    raise AssertionError(f"always a conflict: {answer}")


# Kinds whose strategy of status resets metadata (upstream's pkg/registry, PrepareForUpdate).
STATUS_ALONE = (
    "flowschemas",
    "prioritylevelconfigurations",
    "validatingadmissionpolicies",
    "volumeattachments",
)


def write_status(rest: Rest, path: str, status: dict[str, Any], with_metadata: bool) -> None:
    """Status by patch and by update: metadata that goes with it is written, of most kinds; spec is not."""
    before = rest.get(f"{path}/status").ok(200)
    patched = rest.patch(
        f"{path}/status",
        {"metadata": {"annotations": {"status-patched": "true"}}, "status": status},
    ).ok(200)
    assert ("status-patched" in patched["metadata"].get("annotations", ())) == with_metadata
    assert_within(status, patched["status"])
    assert patched.get("spec") == before.get("spec")
    updated = update(
        rest,
        f"{path}/status",
        lambda o: (
            o["metadata"]["annotations"].update({"status-updated": "true"}),
            o["status"].update(status),
        ),
    )
    assert ("status-updated" in updated["metadata"]["annotations"]) == with_metadata
    assert_within(status, updated["status"])


def assert_within(wanted: Any, found: Any) -> None:
    """All that is wanted is there; more may be."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            assert key in found, (key, found)
            assert_within(value, found[key])
    elif isinstance(wanted, list):
        for item in wanted:
            if isinstance(item, dict) and "type" in item:
                assert_within(item, next(f for f in found if f["type"] == item["type"]))
            else:
                assert item in found
    else:
        assert wanted == found


def release(rest: Rest, case: Case, path: str, name: str) -> None:
    """Takes off the finalizers that controllers would."""
    if case.held and rest.get(f"{path}/{name}").status == 200:
        rest.patch(f"{path}/{name}", {"metadata": {"finalizers": None}})


class TestConfiguration:
    @covers("ConfigMap should fail to create ConfigMap with empty key")
    def test_config_map_with_empty_key(self, rest: Rest, namespace: str) -> None:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"": "v"}}
        rest.post(f"/api/v1/namespaces/{namespace}/configmaps", body).refused(
            422, "Invalid", 'data[]: Invalid value: "": a valid config key must consist of'
        )

    @covers("Secrets should fail to create secret due to empty secret key")
    def test_secret_with_empty_key(self, rest: Rest, namespace: str) -> None:
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "c"}, "data": {"": "dg=="}}
        rest.post(f"/api/v1/namespaces/{namespace}/secrets", body).refused(
            422, "Invalid", "data[]: Invalid value"
        )

    @covers(
        "Secrets should be immutable if `immutable` field is set",
        "ConfigMap should be immutable if `immutable` field is set",
    )
    @pytest.mark.parametrize(("plural", "kind", "values"), [
        ("secrets", "Secret", ("MQ==", "Mg==", "Mw==")),
        ("configmaps", "ConfigMap", ("1", "2", "3")),
    ])  # fmt: skip
    def test_immutable(
        self, rest: Rest, namespace: str, plural: str, kind: str, values: tuple[str, ...]
    ) -> None:
        path = f"/api/v1/namespaces/{namespace}/{plural}"
        rest.post(
            path, {"apiVersion": "v1", "kind": kind, "metadata": {"name": "i"}, "data": {"k": values[0]}}
        ).ok(201)
        update(rest, f"{path}/i", lambda o: o["data"].update(k=values[1]))
        update(rest, f"{path}/i", lambda o: o.update(immutable=True))
        obj = rest.get(f"{path}/i").ok(200)
        rest.put(f"{path}/i", {**obj, "data": {"k": values[2]}}).refused(
            422, "Invalid", "data: Forbidden: field is immutable when `immutable` is set"
        )
        rest.put(f"{path}/i", {**obj, "immutable": False}).refused(
            422, "Invalid", "immutable: Forbidden: field is immutable when `immutable` is set"
        )
        obj["metadata"]["labels"] = {"a": "b"}
        rest.put(f"{path}/i", obj).ok(200)
        rest.delete(f"{path}/i").ok(200)


@covers("ResourceQuota should be able to update and delete ResourceQuota.")
def test_quota_is_replaced(rest: Rest, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    body = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "q"},
        "spec": {"hard": {"cpu": "1"}},
    }
    rest.post(path, body).ok(201)
    changed = update(rest, f"{path}/q", lambda o: o["spec"]["hard"].update(cpu="2", memory="1Gi"))
    assert changed["spec"]["hard"] == {"cpu": "2", "memory": "1Gi"}
    assert rest.get(f"{path}/q").ok(200)["spec"]["hard"] == {"cpu": "2", "memory": "1Gi"}
    rest.delete(f"{path}/q").ok(200)
    rest.get(f"{path}/q").refused(404, "NotFound")


@covers(
    "SchedulerPreemption PriorityClass endpoints verify PriorityClass endpoints can be operated with different HTTP methods"
)
def test_priority_class_value_is_immutable(rest: Rest) -> None:
    path = "/apis/scheduling.k8s.io/v1/priorityclasses"
    name = unique("priority")
    rest.post(
        path,
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": 1,
        },
    ).ok(201)
    assert rest.patch(f"{path}/{name}", {"description": "new"}).ok(200)["description"] == "new"
    rest.patch(f"{path}/{name}", [{"op": "replace", "path": "/value", "value": 2}], JSON_PATCH).refused(
        422, "Invalid", "value: Forbidden: may not be changed in an update."
    )
    obj = rest.get(f"{path}/{name}").ok(200)
    rest.put(f"{path}/{name}", {**obj, "value": 3}).refused(
        422, "Invalid", "may not be changed in an update."
    )
    assert rest.put(f"{path}/{name}", {**obj, "description": "again"}).ok(200)["description"] == "again"
    rest.delete(f"{path}/{name}").ok(200)


EVENT = {
    "reason": "Test",
    "type": "Normal",
    "message": "first",
    "source": {"component": "conformance"},
}
NEW_EVENT = {
    "eventTime": "2026-01-02T03:04:05.123456Z",
    "reportingController": "conformance",
    "reportingInstance": "one",
    "action": "Do",
    "reason": "Test",
    "type": "Normal",
    "note": "first",
}


class TestEvents:
    @covers("Events should manage the lifecycle of an event", "Events should delete a collection of events")
    def test_core(self, rest: Rest, namespace: str) -> None:
        path = f"/api/v1/namespaces/{namespace}/events"
        obj = {
            **EVENT,
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "e", "labels": {"case": namespace}},
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": namespace},
        }
        rest.post(path, obj).ok(201)
        found = rest.get(f"/api/v1/events?labelSelector=case%3D{namespace}").ok(200)["items"]
        assert [e["message"] for e in found] == ["first"]
        assert rest.patch(f"{path}/e", {"message": "second"}, STRATEGIC_PATCH).ok(200)["message"] == "second"
        series = {"count": 100, "lastObservedTime": "2026-01-02T03:04:06.000001Z"}
        changed = update(rest, f"{path}/e", lambda o: o.update(series=series))
        assert changed["series"] == series
        rest.delete(f"{path}/e").ok(200)
        assert rest.get(f"{path}?labelSelector=case%3D{namespace}").ok(200)["items"] == []
        for name in ("a", "b", "c"):
            rest.post(path, {**obj, "metadata": {"name": name, "labels": {"case": namespace}}}).ok(201)
        rest.delete(f"{path}?labelSelector=case%3D{namespace}").ok(200)
        assert rest.get(f"{path}?labelSelector=case%3D{namespace}").ok(200)["items"] == []

    @covers(
        "Events API should ensure that an event can be fetched, patched, deleted, and listed",
        "Events API should delete a collection of events",
    )
    def test_new(self, rest: Rest, namespace: str) -> None:
        path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
        obj = {
            **NEW_EVENT,
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": "e", "labels": {"case": namespace}},
            "regarding": {"kind": "Pod", "name": "p", "namespace": namespace},
        }
        rest.post(path, obj).ok(201)
        everywhere = rest.get("/apis/events.k8s.io/v1/events?fieldSelector=reason%3DTest").ok(200)["items"]
        assert any(e["metadata"]["namespace"] == namespace for e in everywhere)
        assert rest.get(f"{path}?fieldSelector=reportingController%3Dconformance").ok(200)["items"]
        old = rest.get(f"{path}/e").ok(200)
        series = {"count": 2, "lastObservedTime": "2026-01-02T03:04:06.000001Z"}
        assert rest.patch(f"{path}/e", {"series": series}, STRATEGIC_PATCH).ok(200)["series"] == series
        rest.patch(f"{path}/e", {"note": "second"}).refused(422, "Invalid", "field is immutable")
        series = {"count": 100, "lastObservedTime": "2026-01-02T03:04:07.000001Z"}
        changed = update(rest, f"{path}/e", lambda o: o.update(series=series))
        assert changed["series"] == series
        assert changed["metadata"]["uid"] == old["metadata"]["uid"]
        rest.delete(f"{path}/e").ok(200)
        assert rest.get(path).ok(200)["items"] == []
        for name in ("a", "b", "c"):
            rest.post(path, {**obj, "metadata": {"name": name, "labels": {"case": namespace}}}).ok(201)
        rest.delete(f"{path}?labelSelector=case%3D{namespace}").ok(200)
        assert rest.get(path).ok(200)["items"] == []


class TestCertificates:
    PATH = "/apis/certificates.k8s.io/v1/certificatesigningrequests"

    @covers("Certificates API should support CSR API operations")
    def test_requests(self, rest: Rest) -> None:
        from base64 import b64encode

        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "conformance")])
        key = ec.generate_private_key(ec.SECP256R1())
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        pem = b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()
        names = [unique("csr") for _ in range(3)]
        label = unique("csrs")
        for name in names:
            created = rest.post(
                self.PATH,
                {
                    "apiVersion": "certificates.k8s.io/v1",
                    "kind": "CertificateSigningRequest",
                    "metadata": {"name": name, "labels": {"case": label}},
                    "spec": {
                        "request": pem,
                        "signerName": "example.com/case",
                        "usages": ["digital signature", "client auth"],
                        "expirationSeconds": 3600,
                    },
                },
            ).ok(201)
            assert created["spec"]["username"]
        path = f"{self.PATH}/{names[0]}"
        assert len(rest.get(f"{self.PATH}?labelSelector=case%3D{label}").ok(200)["items"]) == 3
        patched = rest.patch(path, {"metadata": {"annotations": {"patched": "true"}}}).ok(200)
        assert patched["metadata"]["annotations"]["patched"] == "true"
        update(rest, path, lambda o: o["metadata"]["annotations"].update(updated="true"))
        rest.get(f"{path}/approval").ok(200)
        approve = {"status": {"conditions": [condition("Approved")]}}
        approved = rest.patch(f"{path}/approval", approve).ok(200)
        assert approved["status"]["conditions"][0]["type"] == "Approved"
        update(rest, f"{path}/approval", lambda o: o["metadata"]["annotations"].update(seen="true"))
        written = rest.patch(f"{path}/status", {"metadata": {"annotations": {"s": "1"}}, "status": {"conditions": [
            condition("Approved"), condition("StatusPatched")]}}).ok(200)  # fmt: skip
        assert {c["type"] for c in written["status"]["conditions"]} == {"Approved", "StatusPatched"}
        rest.delete(path).ok(200)
        rest.get(path).refused(404, "NotFound")
        rest.delete(f"{self.PATH}?labelSelector=case%3D{label}").ok(200)
        assert rest.get(f"{self.PATH}?labelSelector=case%3D{label}").ok(200)["items"] == []


class TestServices:
    def service(self, name: str, **spec: Any) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}

    @covers(
        "Services should find a service from listing all namespaces",
        "Services should provide secure master service",
    )
    def test_kubernetes(self, rest: Rest) -> None:
        found = rest.get("/api/v1/services").ok(200)["items"]
        assert ("default", "kubernetes") in [
            (s["metadata"]["namespace"], s["metadata"]["name"]) for s in found
        ]
        ports = rest.get("/api/v1/namespaces/default/services/kubernetes").ok(200)["spec"]["ports"]
        assert [(p["name"], p["port"]) for p in ports] == [("https", 443)]

    @covers("EndpointSlice should have Endpoints and EndpointSlices pointing to API Server")
    def test_endpoints_of_kubernetes(self, rest: Rest) -> None:
        endpoints = rest.get("/api/v1/namespaces/default/endpoints/kubernetes").ok(200)
        assert endpoints["subsets"]
        slices = rest.get(
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
            "?labelSelector=kubernetes.io/service-name%3Dkubernetes"
        ).ok(200)["items"]
        assert slices

    @covers("Services should be able to change the type from ClusterIP to ExternalName")
    def test_cluster_ip_to_external_name(self, rest: Rest, namespace: str) -> None:
        path = f"/api/v1/namespaces/{namespace}/services"
        made = rest.post(path, self.service("s", ports=[{"port": 80}])).ok(201)
        assert made["spec"]["clusterIP"]

        def change(o: dict[str, Any]) -> None:
            o["spec"].update(type="ExternalName", externalName="example.com")
            o["spec"].pop("clusterIP")
            o["spec"].pop("clusterIPs", None)

        changed = update(rest, f"{path}/s", change)
        assert "clusterIP" not in changed["spec"]

    @covers(
        "Services should be able to change the type from ExternalName to ClusterIP",
        "Services should be able to change the type from ExternalName to NodePort",
        "Services should be able to change the type from NodePort to ExternalName",
    )
    def test_external_name_to_others_and_back(self, rest: Rest, namespace: str) -> None:
        path = f"/api/v1/namespaces/{namespace}/services"
        for kind in ("ClusterIP", "NodePort"):
            made = rest.post(path, self.service("s", type="ExternalName", externalName="example.com")).ok(201)
            assert "clusterIP" not in made["spec"]

            def change(o: dict[str, Any], kind: str = kind) -> None:
                o["spec"].pop("externalName")
                o["spec"].update(type=kind, ports=[{"port": 80, "protocol": "TCP"}])

            changed = update(rest, f"{path}/s", change)
            assert changed["spec"]["clusterIP"]
            port = changed["spec"]["ports"][0]
            assert bool(port.get("nodePort")) == (kind == "NodePort")
            if kind == "NodePort":

                def back(o: dict[str, Any]) -> None:
                    o["spec"].update(type="ExternalName", externalName="example.com")
                    for name in ("clusterIP", "clusterIPs", "ports"):
                        o["spec"].pop(name, None)

                again = update(rest, f"{path}/s", back)
                assert "clusterIP" not in again["spec"]
                # The port is free for another.
                rest.post(
                    path,
                    self.service("t", type="NodePort", ports=[{"port": 80, "nodePort": port["nodePort"]}]),
                ).ok(201)
            rest.delete(f"{path}/s").ok(200)


class TestNamespaces:
    @covers(
        "Namespaces should apply a finalizer to a Namespace",
        "Namespaces should apply an update to a Namespace",
        "Namespaces should patch a Namespace",
        "Namespaces should apply changes to a namespace status",
    )
    def test_changes(self, rest: Rest, namespace: str) -> None:
        path = f"/api/v1/namespaces/{namespace}"
        assert (
            rest.patch(path, {"metadata": {"labels": {"a": "b"}}}).ok(200)["metadata"]["labels"]["a"] == "b"
        )
        assert (
            update(rest, path, lambda o: o["metadata"]["labels"].update(c="d"))["metadata"]["labels"]["c"]
            == "d"
        )
        status = rest.get(f"{path}/status").ok(200)
        assert status["status"]["phase"] == "Active"
        rest.patch(
            f"{path}/status",
            {"metadata": {"annotations": {"e": "f"}}, "status": {"conditions": [condition("StatusPatch")]}},
        ).ok(200)
        changed = update(
            rest, f"{path}/status", lambda o: o["status"]["conditions"].append(condition("StatusUpdate"))
        )
        assert [c["type"] for c in changed["status"]["conditions"]] == ["StatusPatch", "StatusUpdate"]

        for finalizers in (["kubernetes", "example.com/fake"], ["kubernetes"]):
            obj = rest.get(path).ok(200)
            obj["spec"]["finalizers"] = finalizers
            assert rest.put(f"{path}/finalize", obj).ok(200)["spec"]["finalizers"] == finalizers
            assert rest.get(path).ok(200)["spec"]["finalizers"] == finalizers

    @covers("ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace")
    def test_root_certificates(self, rest: Rest, namespace: str) -> None:
        path = f"/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt"

        def found() -> str | None:
            answer = rest.get(path)
            data: str | None = answer.json["data"].get("ca.crt") if answer.status == 200 else None
            return data

        certificate = eventually(found, "kube-root-ca.crt is made")
        rest.delete(path).ok(200)
        assert eventually(lambda: found() == certificate, "it is made again")
        rest.patch(path, {"data": {"ca.crt": "changed"}}).ok(200)
        assert eventually(lambda: found() == certificate, "it is put right")


class TestRuntimeClasses:
    def pod(self, runtime_class: str) -> dict[str, Any]:
        return manifests.pod("runs", runtimeClassName=runtime_class)

    @covers(
        "RuntimeClass should reject a Pod requesting a non-existent RuntimeClass",
        "RuntimeClass should reject a Pod requesting a deleted RuntimeClass",
    )
    def test_missing(self, rest: Rest, namespace: str) -> None:
        pods, classes = f"/api/v1/namespaces/{namespace}/pods", "/apis/node.k8s.io/v1/runtimeclasses"
        rest.post(pods, self.pod("no-such-class")).refused(
            403, "Forbidden", 'pod rejected: RuntimeClass "no-such-class" not found'
        )
        name = unique("runtime")
        rest.post(
            classes,
            {
                "apiVersion": "node.k8s.io/v1",
                "kind": "RuntimeClass",
                "metadata": {"name": name},
                "handler": "h",
            },
        ).ok(201)
        rest.delete(f"{classes}/{name}").ok(200)
        rest.post(pods, self.pod(name)).refused(
            403, "Forbidden", f'pod rejected: RuntimeClass "{name}" not found'
        )

    @covers(
        "RuntimeClass should schedule a Pod requesting a RuntimeClass and initialize its Overhead",
        "RuntimeClass should schedule a Pod requesting a RuntimeClass without PodOverhead",
    )
    @pytest.mark.parametrize("overhead", [None, {"cpu": "10m", "memory": "1Mi"}])
    def test_scheduled(self, rest: Rest, namespace: str, overhead: dict[str, str] | None) -> None:
        pods, classes = f"/api/v1/namespaces/{namespace}/pods", "/apis/node.k8s.io/v1/runtimeclasses"
        name = unique("runtime")
        body: dict[str, Any] = {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": name},
            "handler": "h",
        }
        if overhead:
            body["overhead"] = {"podFixed": overhead}
        rest.post(classes, body).ok(201)
        made = rest.post(pods, self.pod(name)).ok(201)
        assert made["spec"].get("overhead") == overhead
        assert eventually(lambda: rest.get(f"{pods}/runs").ok(200)["spec"].get("nodeName"), "scheduled")
        rest.delete(f"{classes}/{name}").ok(200)


@covers("Sysctls should reject invalid sysctls")
def test_invalid_sysctls(rest: Rest, namespace: str) -> None:
    sysctls = [
        {"name": "kernel.shm_rmid_forced", "value": "1"},
        {"name": "foo-", "value": "bar"},
        {"name": "safe-and-unsafe", "value": "100000000"},
        {"name": "bar..", "value": "42"},
    ]
    body = manifests.pod("sysctls", securityContext={"sysctls": sysctls})
    rest.post(f"/api/v1/namespaces/{namespace}/pods", body).refused(
        422, "Invalid", 'Invalid value: "foo-"', 'Invalid value: "bar.."'
    )


@covers("CSIInlineVolumes should support CSIVolumeSource in Pod API")
def test_inline_volumes(rest: Rest, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    volume = {
        "name": "v",
        "csi": {"driver": "example.com", "fsType": "ext4", "readOnly": True, "volumeAttributes": {"a": "b"}},
    }
    made = rest.post(path, manifests.pod("inline", volumes=[volume])).ok(201)
    assert made["spec"]["volumes"][0] == volume
    patched = rest.patch(f"{path}/inline", {"metadata": {"labels": {"x": "y"}}}, STRATEGIC_PATCH).ok(200)
    assert patched["spec"]["volumes"] == made["spec"]["volumes"]
    assert rest.get(f"{path}?labelSelector=x%3Dy").ok(200)["items"]
    rest.delete(f"{path}/inline").ok(200)


@covers("ServiceAccounts should allow opting out of API token automount")
@pytest.mark.parametrize(
    ("of_account", "of_pod", "mounted"),
    [
        (None, None, True),
        (None, True, True),
        (None, False, False),
        (True, None, True),
        (True, True, True),
        (True, False, False),
        (False, None, False),
        (False, True, True),
        (False, False, False),
    ],
)
def test_token_automount(
    rest: Rest, namespace: str, of_account: bool | None, of_pod: bool | None, mounted: bool
) -> None:
    """The pod's word counts, then its service account's, then yes."""
    base = f"/api/v1/namespaces/{namespace}"
    account: dict[str, Any] = {"metadata": {"name": "runner"}}
    spec: dict[str, Any] = {"serviceAccountName": "runner"}
    if of_account is not None:
        account["automountServiceAccountToken"] = of_account
    if of_pod is not None:
        spec["automountServiceAccountToken"] = of_pod
    rest.post(f"{base}/serviceaccounts", account).ok(201)
    made = rest.post(f"{base}/pods", manifests.pod("mounts", **spec)).ok(201)
    mounts = [
        m["mountPath"] for c in made["spec"]["containers"] for m in c.get("volumeMounts", ()) if m["readOnly"]
    ]
    assert mounts == (["/var/run/secrets/kubernetes.io/serviceaccount"] if mounted else [])
    rest.delete(f"{base}/pods/mounts").ok(200)


@covers("SubjectReview should support SubjectReview API operations")
def test_subject_reviews(rest: Rest, namespace: str) -> None:
    """What the reviews say of a service account is what a client that impersonates it may do."""
    core = f"/api/v1/namespaces/{namespace}"
    account = rest.post(f"{core}/serviceaccounts", {"metadata": {"name": "e2e"}}).ok(201)
    user, uid = f"system:serviceaccount:{namespace}:e2e", account["metadata"]["uid"]
    groups = ["system:authenticated", "system:serviceaccounts", f"system:serviceaccounts:{namespace}"]

    # Each group is a header of its own, which a plain dictionary cannot say.
    headers = HTTPHeaderDict({"Accept": "application/json", "Impersonate-User": user, "Impersonate-Uid": uid})
    for group in groups:
        headers.add("Impersonate-Group", group)
    listed = rest.call("GET", f"{core}/configmaps", headers=headers)
    me = rest.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, headers=headers).ok(201)
    assert me["status"]["userInfo"] == {"username": user, "uid": uid, "groups": groups}

    attributes = {"verb": "list", "resource": "configmaps", "namespace": namespace, "version": "v1"}
    spec = {"resourceAttributes": attributes, "user": user, "groups": groups, "uid": uid}
    reviews = "/apis/authorization.k8s.io/v1"
    for path, metadata in (
        (f"{reviews}/subjectaccessreviews", {}),
        (f"{reviews}/namespaces/{namespace}/localsubjectaccessreviews", {"namespace": namespace}),
    ):
        review = rest.post(path, {"metadata": metadata, "spec": spec}).ok(201)
        assert review["status"]["allowed"] == (listed.status != 403)
