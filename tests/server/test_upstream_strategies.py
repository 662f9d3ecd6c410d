"""What each kind keeps, resets, counts and refuses, as upstream's strategies' tests (pkg/registry/*/*/strategy_test.go) have it."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest

from .harness import Answer, Api, pod
from .test_upstream_apply import workload

NAMESPACE = "namespaces/default/"
CORE, APPS, BATCH = f"/api/v1/{NAMESPACE}", f"/apis/apps/v1/{NAMESPACE}", f"/apis/batch/v1/{NAMESPACE}"
NETWORKING, POLICY = f"/apis/networking.k8s.io/v1/{NAMESPACE}", f"/apis/policy/v1/{NAMESPACE}"
STORAGE, RBAC = "/apis/storage.k8s.io/v1/", "/apis/rbac.authorization.k8s.io/v1/"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


def thing(version: str, kind: str, name: str = "a", **fields: Any) -> dict[str, Any]:
    """An object of any kind."""
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields}


def at(value: Any, path: str) -> Any:
    """What is at a dotted path; None where nothing is."""
    for step in path.split("."):
        if isinstance(value, list):
            value = value[int(step)] if int(step) < len(value) else None
        else:
            value = (value or {}).get(step)
    return value


def expect(answer: Answer, wanted: Any) -> None:
    """A text: the one finding of a 422. A number: the code. A dictionary: values by path."""
    if isinstance(wanted, str):
        assert answer.status == 422, answer
        assert wanted in answer.json["message"], answer.json["message"]
    elif isinstance(wanted, int):
        assert answer.status == wanted, answer
    else:
        assert answer.status in (200, 201), answer
        assert {path: at(answer.json, path) for path in wanted} == wanted


TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
NEVER = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
VOLUME = thing("v1", "PersistentVolume", spec={"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/a"}})  # fmt: skip
CLAIM = thing("v1", "PersistentVolumeClaim", spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}})  # fmt: skip
SNAPSHOT = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"}
OTHER = {"apiGroup": "example.com", "kind": "Other", "name": "o"}
CONTROLLER = thing("v1", "ReplicationController", spec={"template": TEMPLATE})
CRONJOB = thing("batch/v1", "CronJob", spec={"schedule": "* * * * ?", "jobTemplate": {"spec": {"template": NEVER}}})  # fmt: skip
INGRESS = thing("networking.k8s.io/v1", "Ingress", spec={"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}})  # fmt: skip
BUDGET = thing("policy/v1", "PodDisruptionBudget", spec={"minAvailable": 3, "selector": {"matchLabels": {"a": "b"}}})  # fmt: skip
QUOTA = thing("v1", "ResourceQuota", spec={"hard": {"pods": "1"}})
ATTACHMENT = thing("storage.k8s.io/v1", "VolumeAttachment", spec={"attacher": "a.example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}})  # fmt: skip
DRIVER = thing("storage.k8s.io/v1", "CSIDriver", spec={"attachRequired": True, "podInfoOnMount": True})
CLASS = thing("storage.k8s.io/v1", "StorageClass", provisioner="p.example.com", parameters={"a": "b"})
CSINODE = thing("storage.k8s.io/v1", "CSINode", spec={"drivers": [{"name": "d", "nodeID": "x", "topologyKeys": ["k"]}]})  # fmt: skip
CAPACITY = {**thing("storage.k8s.io/v1", "CSIStorageCapacity"), "storageClassName": "c", "nodeTopology": {"matchLabels": {"a": "b"}}}  # fmt: skip
PRIORITY = thing("scheduling.k8s.io/v1", "PriorityClass", value=10)
ROLE = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
REVISION = thing("apps/v1", "ControllerRevision", data={"a": 1}, revision=1)


# Where, what, what it is created with besides, what it then is; then patches: of which subresource, what, and what comes of it.
CASES = [
    pytest.param(f"{APPS}deployments", workload("Deployment", "a"), {"status": {"replicas": 3}}, {"metadata.generation": 1, "status.replicas": None}, [
        ("", {"metadata": {"labels": {"a": "b"}}}, {"metadata.generation": 1}),
        ("", {"metadata": {"annotations": {"a": "b"}}}, {"metadata.generation": 2}),
        ("", {"spec": {"replicas": 5}, "status": {"replicas": 3}}, {"metadata.generation": 3, "status.replicas": None}),
        ("/status", {"spec": {"replicas": 6}, "status": {"replicas": 3}, "metadata": {"labels": {"x": "y"}}},
         {"metadata.generation": 3, "spec.replicas": 5, "status.replicas": 3, "metadata.labels.x": None}),
        ("", {"spec": {"selector": {"matchLabels": {"c": "d"}}, "template": {"metadata": {"labels": {"c": "d"}}}}}, "field is immutable"),
        ("/status", {"status": {"replicas": -1}}, "status.replicas: Invalid value: -1: must be greater than or equal to 0"),
    ], id="deployment: TestStatusUpdates, TestSelectorImmutability, TestDeploymentStatusUpdate"),
    pytest.param(f"{APPS}daemonsets", workload("DaemonSet", "a"), {"status": {"currentNumberScheduled": 3}}, {
        "metadata.generation": 1, "status.currentNumberScheduled": 0,
    }, [
        ("", {"spec": {"minReadySeconds": 5}}, {"metadata.generation": 2}),
        ("", {"spec": {"selector": {"matchLabels": {"c": "d"}}}}, "field is immutable"),
        ("/status", {"spec": {"minReadySeconds": 6}, "status": {"numberReady": 2}}, {"spec.minReadySeconds": 5, "status.numberReady": 2}),
    ], id="daemonset: TestSelectorImmutability"),
    pytest.param(f"{APPS}replicasets", workload("ReplicaSet", "a", replicas=3), {"status": {"replicas": 1, "observedGeneration": 10}}, {
        "status.replicas": 0, "status.observedGeneration": None, "metadata.generation": 1,
    }, [
        ("", {"spec": {"replicas": 2}, "status": {"replicas": 9}}, {"status.replicas": 0, "metadata.generation": 2}),
        ("/status", {"spec": {"replicas": 4}, "status": {"replicas": 3, "observedGeneration": 11}},
         {"spec.replicas": 2, "status.replicas": 3, "status.observedGeneration": 11}),
        ("", {"spec": {"selector": {"matchLabels": {"c": "d"}}}}, "field is immutable"),
    ], id="replicaset: TestReplicaSetStrategy, TestReplicaSetStatusStrategy, TestSelectorImmutability"),
    pytest.param(f"{APPS}statefulsets", workload("StatefulSet", "a"), {"status": {"replicas": 3}}, {"status.replicas": 0, "metadata.generation": 1}, [
        ("", {"spec": {"minReadySeconds": 50}, "status": {"replicas": 4}}, {"spec.minReadySeconds": 50, "status.replicas": 0, "metadata.generation": 2}),
        ("", {"spec": {"minReadySeconds": -1}}, "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"),
        ("", {"spec": {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}}},
         {"spec.persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Delete"}}),
        ("", {"spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "no"}}},
         'spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "no": supported values: "Retain", "Delete"'),
        ("", {"spec": {"podManagementPolicy": "Parallel"}}, "updates to statefulset spec for fields other than"),
        ("/status", {"spec": {"replicas": 3}, "status": {"replicas": 2}}, {"spec.replicas": 1, "status.replicas": 2}),
    ], id="statefulset: TestStatefulSetStrategy, TestStatefulSetStatusStrategy"),
    pytest.param(f"{APPS}controllerrevisions", REVISION, {}, {"revision": 1}, [
        ("", {"revision": 2}, {"revision": 2}),
        ("", {"data": {"a": 2}}, "field is immutable"),
        ("", {"revision": -1}, "revision: Invalid value: -1: must be greater than or equal to 0"),
    ], id="controllerrevision: TestStrategy_Validate, TestStrategy_ValidateUpdate"),
    pytest.param(f"{BATCH}cronjobs", CRONJOB, {"status": {"active": [{"name": "x"}]}}, {"status.active": None, "metadata.generation": 1}, [
        ("", {"spec": {"schedule": "5 5 5 * ?"}, "status": {"lastScheduleTime": "2026-01-01T00:00:00Z"}},
         {"status.lastScheduleTime": None, "metadata.generation": 2}),
        ("/status", {"spec": {"schedule": "1 1 * * ?"}, "status": {"lastScheduleTime": "2026-01-01T00:00:00Z"}},
         {"spec.schedule": "5 5 5 * ?", "status.lastScheduleTime": "2026-01-01T00:00:00Z"}),
        ("", {"spec": {"timeZone": "Zulu", "schedule": "TZ=UTC 0 * * * *"}}, "cannot use both timeZone field and TZ or CRON_TZ in schedule"),
    ], id="cronjob: TestCronJobStrategy, TestCronJobStatusStrategy"),
    pytest.param("/api/v1/namespaces", thing("v1", "Namespace"), {"status": {"phase": "Terminating"}}, {
        "status.phase": "Active", "spec.finalizers": ["kubernetes"], "metadata.labels": {"kubernetes.io/metadata.name": "a"},
    }, [
        ("", {"spec": {"finalizers": ["example.com/x"]}, "metadata": {"labels": None}},
         {"spec.finalizers": ["kubernetes"], "metadata.labels": {"kubernetes.io/metadata.name": "a"}}),
        ("/status", {"status": {"phase": "Terminating"}}, "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"),
    ], id="namespace: TestNamespaceStrategy, TestNamespaceDefaultLabelCanonicalize, TestNamespaceStatusStrategy"),
    pytest.param(f"{CORE}replicationcontrollers", CONTROLLER, {"status": {"replicas": 1, "observedGeneration": 10}}, {
        "status": {"replicas": 0}, "spec.selector": {"app": "web"}, "metadata.labels": {"app": "web"}, "metadata.generation": 1,
    }, [
        ("", {"spec": {"replicas": 2}, "status": {"replicas": 9}}, {"status.replicas": 0, "metadata.generation": 2}),
        ("/status", {"spec": {"replicas": 4}, "status": {"replicas": 3, "observedGeneration": 11}},
         {"spec.replicas": 2, "status.replicas": 3, "status.observedGeneration": 11}),
    ], id="replicationcontroller: TestControllerStrategy, TestControllerStatusStrategy"),
    pytest.param(f"{CORE}resourcequotas", QUOTA, {"status": {"used": {"pods": "20"}, "hard": {"pods": "21"}}}, {"status": {}}, [
        ("", {"status": {"used": {"pods": "1"}}}, {"status": {}}),
        ("/status", {"spec": {"hard": {"pods": "9"}}, "status": {"hard": {"pods": "1"}, "used": {"pods": "0"}}},
         {"spec.hard.pods": "1", "status.hard.pods": "1", "status.used.pods": "0"}),
        ("", {"spec": {"scopes": ["BestEffort"]}}, "field is immutable"),
    ], id="resourcequota: TestResourceQuotaStrategy"),
    pytest.param("/api/v1/persistentvolumes", VOLUME, {"status": {"phase": "Bound"}}, {"status.phase": "Pending"}, [
        ("", {"status": {"phase": "Bound"}}, {"status.phase": "Pending"}),
        ("/status", {"status": {"phase": "Failed", "lastPhaseTransitionTime": "2020-01-01T00:00:00Z"}, "spec": {"capacity": {"storage": "2Gi"}}},
         {"status.phase": "Failed", "status.lastPhaseTransitionTime": "2020-01-01T00:00:00Z", "spec.capacity.storage": "1Gi"}),
        ("", {"spec": {"hostPath": {"path": "/b"}}}, "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"),
        ("/status", {"status": {"lastPhaseTransitionTime": "2021-01-01T00:00:00Z"}}, {"status.phase": "Failed"}),
    ], id="persistentvolume: TestStatusUpdate"),
    pytest.param(f"{CORE}persistentvolumeclaims", CLAIM, {"status": {"phase": "Bound"}}, {"status": {"phase": "Pending"}}, [
        ("", {"status": {"phase": "Bound"}}, {"status": {"phase": "Pending"}}),
        ("", {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}, "spec is immutable after creation except resources.requests and volumeAttributesClassName"),
        ("/status", {"status": {"phase": "Bound"}, "spec": {"volumeName": "v"}}, {"status.phase": "Bound", "spec.volumeName": None}),
        ("", {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}, 403),
    ], id="persistentvolumeclaim: TestDropConditions"),
    pytest.param(f"{CORE}persistentvolumeclaims", CLAIM, {"spec": {**CLAIM["spec"], "dataSource": SNAPSHOT}}, {"spec.dataSourceRef": SNAPSHOT}, [], id="persistentvolumeclaim: TestPrepareForCreate: a snapshot's source"),
    pytest.param(f"{CORE}persistentvolumeclaims", CLAIM, {"spec": {**CLAIM["spec"], "dataSourceRef": SNAPSHOT}}, {"spec.dataSource": SNAPSHOT}, [], id="persistentvolumeclaim: TestPrepareForCreate: a snapshot's reference"),
    pytest.param(f"{CORE}persistentvolumeclaims", CLAIM, {"spec": {**CLAIM["spec"], "dataSource": OTHER}}, {"spec.dataSource": None, "spec.dataSourceRef": None}, [], id="persistentvolumeclaim: TestPrepareForCreate: another source"),
    pytest.param(f"{CORE}persistentvolumeclaims", CLAIM, {"spec": {**CLAIM["spec"], "dataSourceRef": OTHER}}, {"spec.dataSource": OTHER, "spec.dataSourceRef": OTHER}, [], id="persistentvolumeclaim: TestPrepareForCreate: another reference"),
    pytest.param(f"{CORE}secrets", thing("v1", "Secret"), {"immutable": True, "data": {"a": "Yg=="}}, {"type": "Opaque"}, [
        ("", {"type": "x"}, "field is immutable"),
        ("", {"data": {"a": "Yw=="}}, "data: Forbidden: field is immutable when `immutable` is set"),
        ("", {"immutable": False}, "immutable: Forbidden: field is immutable when `immutable` is set"),
        ("", {"metadata": {"labels": {"x": "y"}}}, {"metadata.labels": {"x": "y"}}),
    ], id="secret: TestDropDisabledFields"),
    pytest.param(f"{CORE}configmaps", thing("v1", "ConfigMap"), {"immutable": True, "data": {"a": "b"}}, {"immutable": True}, [
        ("", {"data": {"a": "c"}}, "data: Forbidden: field is immutable when `immutable` is set"),
        ("", {"binaryData": {"b": "Yw=="}}, "binaryData: Forbidden: field is immutable when `immutable` is set"),
    ], id="configmap: TestConfigMapStrategy"),
    pytest.param("/api/v1/nodes", thing("v1", "Node"), {"status": {"capacity": {"cpu": "1"}}}, {"status.capacity.cpu": "1"}, [
        ("", {"status": {"capacity": {"cpu": "2"}}}, {"status.capacity.cpu": "1"}),
        ("/status", {"spec": {"unschedulable": True}, "status": {"capacity": {"cpu": "2"}}},
         {"status.capacity.cpu": "2", "spec.unschedulable": None}),
        ("", {"spec": {"podCIDR": "10.0.0.0/24"}}, {"spec.podCIDRs": ["10.0.0.0/24"]}),
        ("", {"spec": {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24"]}}, "node updates may not change podCIDR except from \"\" to valid"),
    ], id="node: TestNodeStrategy"),
    pytest.param(f"{NETWORKING}ingresses", INGRESS, {"status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}, {"metadata.generation": 1, "status": {"loadBalancer": {}}}, [
        ("", {"spec": {"defaultBackend": {"service": {"name": "x"}}}}, {"metadata.generation": 2}),
        ("", {"metadata": {"annotations": {"a": "b"}}}, {"metadata.generation": 2}),
        ("/status", {"spec": {"defaultBackend": {"service": {"name": "y"}}}, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}},
         {"spec.defaultBackend.service.name": "x", "status.loadBalancer.ingress": [{"ip": "1.2.3.4"}], "metadata.generation": 2}),
    ], id="ingress: TestIngressStrategy, TestIngressStatusStrategy"),
    pytest.param("/apis/networking.k8s.io/v1/ingressclasses", thing("networking.k8s.io/v1", "IngressClass", spec={"controller": "a.example.com/c"}), {}, {"metadata.generation": 1}, [
        ("", {"spec": {"controller": "b.example.com/c"}}, "field is immutable"),
        ("", {"spec": {"parameters": {"kind": "K", "name": "n", "scope": "Cluster"}}}, {"metadata.generation": 2}),
    ], id="ingressclass: TestIngressClassStrategy"),
    pytest.param(f"{NETWORKING}networkpolicies", thing("networking.k8s.io/v1", "NetworkPolicy", spec={"podSelector": {}}), {}, {"metadata.generation": 1, "spec.policyTypes": ["Ingress"]}, [
        ("", {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}, {"metadata.generation": 2}),
    ], id="networkpolicy: TestNetworkPolicyStrategy"),
    pytest.param(f"{POLICY}poddisruptionbudgets", BUDGET, {"status": {"currentHealthy": 3}}, {"metadata.generation": 1, "status.currentHealthy": 0}, [
        ("", {"status": {"currentHealthy": 3}}, {"metadata.generation": 1, "status.currentHealthy": 0}),
        ("", {"spec": {"selector": {"matchLabels": {"a": "bar"}}}}, {"metadata.generation": 2}),
        ("", {"spec": {"minAvailable": "28%"}}, {"metadata.generation": 3}),
        ("", {"spec": {"minAvailable": None}}, {"metadata.generation": 4}),
        ("", {"spec": {"minAvailable": 1, "maxUnavailable": 1}}, "minAvailable and maxUnavailable cannot be both set"),
        ("/status", {"spec": {"minAvailable": 2}, "status": {"currentHealthy": 2}}, {"spec.minAvailable": None, "status.currentHealthy": 2}),
        ("/status", {"status": {"disruptionsAllowed": -1}}, "status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0"),
    ], id="poddisruptionbudget: TestPodDisruptionBudgetStrategy, TestPodDisruptionBudgetStatusStrategy, TestPodDisruptionBudgetStatusValidationByApiVersion"),
    pytest.param(f"{STORAGE}csidrivers", DRIVER, {}, {"spec.volumeLifecycleModes": ["Persistent"], "metadata.generation": 1}, [
        ("", {"spec": {"attachRequired": False}}, "spec.attachedRequired: Invalid value: false: field is immutable"),
        ("", {"spec": {"podInfoOnMount": False}}, {"spec.podInfoOnMount": False, "metadata.generation": 2}),
        ("", {"spec": {"volumeLifecycleModes": ["Ephemeral"]}}, "spec.volumeLifecycleModes: Invalid value: [\"Ephemeral\"]: field is immutable"),
        ("", {"spec": {"storageCapacity": True}}, {"spec.storageCapacity": True, "metadata.generation": 3}),
    ], id="csidriver: TestCSIDriverStrategy, TestCSIDriverPrepareForUpdate"),
    pytest.param(f"{STORAGE}csinodes", CSINODE, {}, {"metadata.generation": None}, [
        ("", {"spec": {"drivers": [{"name": "d", "nodeID": "y", "topologyKeys": ["k"]}]}}, "field is immutable"),
        ("", {"spec": {"drivers": [{"name": "d", "nodeID": "x", "topologyKeys": ["k"]}, {"name": "e", "nodeID": "x"}]}}, {"spec.drivers.1.name": "e"}),
        ("", {"spec": {"drivers": []}}, {"spec.drivers": []}),
    ], id="csinode: TestCSINodeStrategy"),
    pytest.param(f"{STORAGE}{NAMESPACE}csistoragecapacities", CAPACITY, {"capacity": "1Gi"}, {"capacity": "1Gi"}, [
        ("", {"capacity": "2Gi"}, {"capacity": "2Gi"}),
        ("", {"storageClassName": "d"}, "field is immutable"),
        ("", {"nodeTopology": {"matchLabels": {"a": "c"}}}, "field is immutable"),
    ], id="csistoragecapacity: TestCSIStorageCapacityStrategy"),
    pytest.param(f"{STORAGE}storageclasses", CLASS, {}, {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}, [
        ("", {"provisioner": "q.example.com"}, "provisioner: Forbidden: updates to provisioner are forbidden."),
        ("", {"parameters": {"a": "c"}}, "parameters: Forbidden: updates to parameters are forbidden."),
        ("", {"reclaimPolicy": "Retain"}, "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden."),
        ("", {"volumeBindingMode": "WaitForFirstConsumer"}, "field is immutable"),
        ("", {"allowVolumeExpansion": True, "mountOptions": ["x"]}, {"allowVolumeExpansion": True, "mountOptions": ["x"]}),
    ], id="storageclass: TestStorageClassStrategy"),
    pytest.param(f"{STORAGE}volumeattachments", ATTACHMENT, {"status": {"attached": True}}, {"status": {"attached": False}}, [
        ("", {"status": {"attached": True}}, {"status.attached": False}),
        ("", {"spec": {"nodeName": "o"}}, "field is immutable"),
        ("/status", {"spec": {"nodeName": "o"}, "status": {"attached": True}}, {"status.attached": True, "spec.nodeName": "n"}),
    ], id="volumeattachment: TestVolumeAttachmentStrategy, TestVolumeAttachmentStatusStrategy, TestUpdatePreventsStatusWrite"),
    pytest.param("/apis/scheduling.k8s.io/v1/priorityclasses", PRIORITY, {}, {"metadata.generation": 1, "preemptionPolicy": "PreemptLowerPriority"}, [
        ("", {"value": 11}, "value: Forbidden: may not be changed in an update."),
        ("", {"preemptionPolicy": "Never"}, "field is immutable"),
        ("", {"description": "x"}, {"description": "x", "metadata.generation": 1}),
    ], id="priorityclass: TestPriorityClassStrategy"),
    pytest.param(f"{RBAC}clusterrolebindings", thing("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", roleRef=ROLE), {}, {"roleRef.name": "view"}, [
        ("", {"roleRef": {"name": "edit"}}, "cannot change roleRef"),
        ("", {"subjects": [{"kind": "User", "name": "u"}]}, {"subjects.0.apiGroup": "rbac.authorization.k8s.io"}),
    ], id="clusterrolebinding: TestStrategy"),
]  # fmt: skip


@pytest.mark.parametrize(("where", "what", "besides", "becomes", "patches"), CASES)
async def test_strategy(
    api: Api, where: str, what: dict[str, Any], besides: dict[str, Any], becomes: Any, patches: list[Any]
) -> None:
    obj = copy.deepcopy({**what, **besides})
    path = f"{where}/{obj['metadata']['name']}"
    if obj["kind"] != "ClusterRoleBinding":  # One of the kinds that a PUT creates.
        assert (await api.put(path, obj)).status == 404
    expect(await api.post(where, obj), becomes)
    for subresource, patch, wanted in patches:
        expect(await api.patch(path + subresource, patch), wanted)


RESIZE = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"


@pytest.mark.parametrize(
    ("classes", "annotations", "size", "wanted"),
    [
        pytest.param({"c": True}, {}, "2Gi", {"spec.resources.requests.storage": "2Gi"}, id="pvc-resize, update, with allow resize"),
        pytest.param({"c": False}, {}, "2Gi", RESIZE, id="pvc-resize, update, no sc expansion"),
        pytest.param({"c": None}, {}, "2Gi", RESIZE, id="PVC update with allowVolumeExpansion unset"),
        pytest.param({}, {}, "2Gi", RESIZE, id="a class that is gone"),
        pytest.param({"b": True}, {"volume.beta.kubernetes.io/storage-class": "b"}, "2Gi", {"spec.resources.requests.storage": "2Gi"}, id="GetPersistentVolumeClaimClass: the annotation first"),
        pytest.param({"c": False}, {}, "1024Mi", {"spec.resources.requests.storage": "1Gi"}, id="PVC update with no change in size"),
    ],
)  # fmt: skip
async def test_expansion(api: Api, classes: Any, annotations: Any, size: str, wanted: Any) -> None:
    """PersistentVolumeClaimResize: TestPVCResizeAdmission."""
    claims, path = f"{CORE}persistentvolumeclaims", f"{CORE}persistentvolumeclaims/a"
    for name, allowed in classes.items():
        made = thing("storage.k8s.io/v1", "StorageClass", name, provisioner="p", allowVolumeExpansion=allowed)
        await api.post(f"{STORAGE}storageclasses", made)
    claim = copy.deepcopy(CLAIM)
    claim["metadata"]["annotations"] = annotations
    claim["spec"]["storageClassName"] = "c"
    await api.post(claims, claim)
    await api.patch(f"{path}/status", {"status": {"phase": "Bound"}})
    answer = await api.patch(path, {"spec": {"resources": {"requests": {"storage": size}}}})
    if isinstance(wanted, str):
        refusal = f'persistentvolumeclaims "a" is forbidden: {wanted}'
        assert (answer.status, answer.json["message"]) == (403, refusal)
    else:
        expect(answer, wanted)


async def test_an_old_client_keeps_the_other_source(api: Api) -> None:
    """TestPrepareForUpdate: whoever puts `dataSource` only does not take `dataSourceRef` away."""
    claims = f"{CORE}persistentvolumeclaims"
    made = (await api.post(claims, {**CLAIM, "spec": {**CLAIM["spec"], "dataSourceRef": OTHER}})).json
    del made["spec"]["dataSourceRef"]
    expect(await api.put(f"{claims}/a", made), {"spec.dataSource": OTHER, "spec.dataSourceRef": OTHER})


# ToSelectableFields of pods.
@pytest.mark.parametrize(
    ("spec", "status", "matching", "other"),
    [
        ({"nodeName": "n"}, {}, "spec.nodeName=n", "spec.nodeName=m"),
        ({}, {}, "spec.restartPolicy=Always", "spec.restartPolicy=Never"),
        ({"schedulerName": "s"}, {}, "spec.schedulerName=s", "spec.schedulerName=t"),
        ({}, {}, "spec.serviceAccountName=default", "spec.serviceAccountName=x"),
        ({"hostNetwork": True}, {}, "spec.hostNetwork=true", "spec.hostNetwork=false"),
        ({}, {}, "spec.hostNetwork=false", "spec.hostNetwork=true"),
        ({}, {"phase": "Running"}, "status.phase=Running", "status.phase=Pending"),
        ({}, {"podIPs": [{"ip": "1.2.3.4"}, {"ip": "2001:db8::"}]}, "status.podIP=1.2.3.4", "status.podIP=2001:db8::"),
        ({}, {"podIP": "2001:db8::"}, "status.podIP=2001:db8::", "status.podIP=2001:db7::"),
        ({}, {"nominatedNodeName": "n"}, "status.nominatedNodeName=n", "status.nominatedNodeName=m"),
    ],
)  # fmt: skip
async def test_match_pod(api: Api, spec: Any, status: Any, matching: str, other: str) -> None:
    """TestMatchPod."""
    await api.post(f"{CORE}pods", pod("a", **spec))
    await api.patch(f"{CORE}pods/a/status", {"status": status})
    assert len((await api.get(f"{CORE}pods?fieldSelector={matching}")).json["items"]) == 1
    assert (await api.get(f"{CORE}pods?fieldSelector={other}")).json["items"] == []


@pytest.mark.parametrize(
    ("phase", "node", "grace", "given", "seconds"),
    [
        pytest.param("Pending", "n", None, 30, 30, id="in pending phase with has node name"),
        pytest.param("Failed", "n", None, 30, None, id="in failed phase with has node name"),
        pytest.param("Pending", "", None, 30, None, id="in failed phase"),
        pytest.param("Succeeded", "n", None, 30, None, id="in succeeded phase"),
        pytest.param("Pending", "n", 7, None, 7, id="the pod's own"),
        pytest.param("Pending", "n", 7, 3, 3, id="the client's before the pod's"),
    ],
)
async def test_check_graceful_delete(
    api: Api, phase: str, node: str, grace: int | None, given: int | None, seconds: int | None
) -> None:
    """TestCheckGracefulDelete; no seconds: it is gone at once."""
    await api.post(f"{CORE}pods", pod("a", nodeName=node, terminationGracePeriodSeconds=grace))
    await api.patch(f"{CORE}pods/a/status", {"status": {"phase": phase}})
    body = None if given is None else {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": given}  # fmt: skip
    assert (await api.delete(f"{CORE}pods/a", body)).status == 200
    left = await api.get(f"{CORE}pods/a")
    assert left.status == (404 if seconds is None else 200)
    assert seconds is None or left.json["metadata"]["deletionGracePeriodSeconds"] == seconds


def containers(*names: str) -> list[dict[str, str]]:
    """Containers of those names."""
    return [{"name": name, "image": "i"} for name in names]


@pytest.mark.parametrize(
    ("spec", "query", "message"),
    [
        ({"containers": containers("a", "b")}, "", "a container name must be specified for pod p, choose one of: [a b]"),
        ({"containers": containers("a", "b"), "initContainers": containers("i")}, "", "a container name must be specified for pod p, choose one of: [i a b]"),
        ({"containers": containers("a", "b")}, "?container=unknown", "container unknown is not valid for pod p"),
    ],
)  # fmt: skip
async def test_check_log_location(api: Api, spec: Any, query: str, message: str) -> None:
    """TestCheckLogLocation; also of exec and attach, as streamLocation has it."""
    await api.post(f"{CORE}pods", pod("p", **spec))
    answer = await api.get(f"{CORE}pods/p/log{query}")
    assert (answer.status, answer.json["message"]) == (400, message)
    for how in ("exec", "attach"):
        answer = await api.post(f"{CORE}pods/p/{how}{query}", None)
        assert (answer.status, answer.json["message"]) == (400, message), how


async def test_log_without_a_node(api: Api) -> None:
    """TestCheckLogLocation, TestPortForwardLocation: a pod that has no node has nothing to say, and no one to forward to."""
    await api.post(f"{CORE}pods", pod("p"))
    answer = await api.get(f"{CORE}pods/p/log")
    assert (answer.status, answer.body) == (200, b"")
    for how in ("portforward", "exec", "attach"):
        refused = await api.post(f"{CORE}pods/p/{how}", None)
        assert (refused.status, refused.json["message"]) == (400, "pod p does not have a host assigned")


@pytest.mark.parametrize(
    ("hard", "warnings"),
    [
        ({"requests.cpu": "500m", "limits.cpu": "1", "requests.storage": "1Gi"}, []),
        ({"requests.cpu": "1", "limits.cpu": "1000m"}, []),
        ({"requests.cpu": "2", "limits.cpu": "1", "cpu": "3"}, ["ResourceQuota requests.cpu (2) should be less than limits.cpu (1)"]),
        ({"requests.memory": "3Gi", "limits.memory": "2Gi"}, ["ResourceQuota requests.memory (3Gi) should be less than limits.memory (2Gi)"]),
        (
            {"requests.ephemeral-storage": "3Gi", "limits.ephemeral-storage": "2Gi"},
            ["ResourceQuota requests.ephemeral-storage (3Gi) should be less than limits.ephemeral-storage (2Gi)"],
        ),
        ({"cpu": "2", "limits.cpu": "1"}, ["ResourceQuota cpu (2) should be less than limits.cpu (1)"]),
    ],
)  # fmt: skip
async def test_quota_warnings(api: Api, hard: dict[str, str], warnings: list[str]) -> None:
    """Test_WarningsOnCreate of resourcequota; an update has none."""
    answer = await api.post(f"{CORE}resourcequotas", thing("v1", "ResourceQuota", spec={"hard": hard}))
    assert answer.status == 201, answer
    assert answer.warnings == [f'299 - "{text}"' for text in warnings]
    again = await api.patch(f"{CORE}resourcequotas/a", {"spec": {"hard": {"pods": "1"}}})
    assert (again.status, again.warnings) == (200, [])


# What a pod's own labels become in its selectors.
@pytest.mark.parametrize(
    ("selector", "match", "mismatch", "wanted"),
    [
        pytest.param({"matchLabels": {"region": "Asia"}}, ["country"], ["city"], [("country", "In", "Japan"), ("city", "NotIn", "Kyoto")], id="matchLabelKeys are merged into labelSelector with In and mismatchLabelKeys are merged with NotIn"),
        pytest.param({"matchLabels": {"region": "Asia"}}, ["city", "not-found"], [], [("city", "In", "Kyoto")], id="keys, which are not found in Pod labels, are ignored"),
    ],
)  # fmt: skip
async def test_mutate_pod_affinity(
    api: Api, selector: Any, match: list[str], mismatch: list[str], wanted: list[tuple[str, str, str]]
) -> None:
    """Test_mutatePodAffinity, Test_mutateTopologySpreadConstraints."""
    term = {
        "labelSelector": selector,
        "matchLabelKeys": match,
        "mismatchLabelKeys": mismatch,
        "topologyKey": "t",
    }
    both = {
        "requiredDuringSchedulingIgnoredDuringExecution": [term],
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}],
    }
    spread = {"labelSelector": selector, "matchLabelKeys": match, "maxSkew": 1, "topologyKey": "t", "whenUnsatisfiable": "DoNotSchedule"}  # fmt: skip
    made = pod(
        "a", affinity={"podAffinity": both, "podAntiAffinity": both}, topologySpreadConstraints=[spread]
    )
    made["metadata"]["labels"] = {"country": "Japan", "city": "Kyoto"}
    spec = (await api.post(f"{CORE}pods", made)).json["spec"]
    expressions = [{"key": key, "operator": operator, "values": [value]} for key, operator, value in wanted]
    for side in ("podAffinity", "podAntiAffinity"):
        for path in ("requiredDuringSchedulingIgnoredDuringExecution.0", "preferredDuringSchedulingIgnoredDuringExecution.0.podAffinityTerm"):  # fmt: skip
            assert at(spec["affinity"], f"{side}.{path}.labelSelector.matchExpressions") == expressions
    assert at(spec, "topologySpreadConstraints.0.labelSelector.matchExpressions") == [
        e for e in expressions if e["operator"] == "In"
    ]


DEBUGGER = {"name": "debugger", "image": "image"}


@pytest.mark.parametrize(
    ("mirror", "before", "after", "wanted"),
    [
        pytest.param(False, [], [DEBUGGER], {"spec.ephemeralContainers.0.name": "debugger", "metadata.generation": 2}, id="add ephemeral container to regular pod and expect success"),
        pytest.param(True, [], [DEBUGGER], "static pods do not support ephemeral containers", id="add ephemeral container to static pod and expect failure"),
        pytest.param(False, [DEBUGGER], [], 'existing ephemeral containers "debugger" may not be removed', id="remove ephemeral container from regular pod and expect failure"),
        pytest.param(False, [DEBUGGER], [{**DEBUGGER, "image": "image2"}], 'existing ephemeral containers "debugger" may not be changed', id="change ephemeral container from regular pod and expect failure"),
        pytest.param(False, [DEBUGGER], [DEBUGGER, {"name": "c2", "image": "i"}], {"spec.ephemeralContainers.1.name": "c2", "metadata.generation": 3}, id="simple ephemeral container append"),
    ],
)  # fmt: skip
async def test_ephemeral_containers(
    api: Api, mirror: bool, before: list[Any], after: list[Any], wanted: Any
) -> None:
    """TestEphemeralContainerStrategyValidateUpdate, TestDropNonEphemeralContainerUpdates: all else that is sent is dropped."""
    made = pod("a", nodeName="n", automountServiceAccountToken=False)
    if mirror:
        made["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    live = (await api.post(f"{CORE}pods", made)).json
    path = f"{CORE}pods/a/ephemeralcontainers"
    if before:
        live["spec"]["ephemeralContainers"] = before
        live = (await api.put(path, live)).json
    sent = copy.deepcopy(live)
    sent["spec"]["ephemeralContainers"] = after
    sent["spec"]["containers"][0]["image"] = "newimage"
    sent["metadata"].setdefault("annotations", {})["whiz"] = "pop"
    sent["metadata"]["finalizers"] = ["example.com/milo"]
    sent["status"]["message"] = "hi."
    answer = await api.put(path, sent)
    expect(answer, wanted)
    if answer.status == 200:
        assert answer.json["spec"]["containers"] == live["spec"]["containers"]
        assert answer.json["status"] == live["status"]
        for name in ("annotations", "finalizers"):
            assert answer.json["metadata"].get(name) == live["metadata"].get(name)
