"""kube-controller-manager, with the controllers that v1.36 runs by default."""

from __future__ import annotations

from typing import Any

from ..rest import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH
from ..wire import JSON, OPENAPI_V2
from .rows import (
    CSR_PLACEHOLDER,
    CSRS,
    DELEGATED,
    DELETE,
    DISCOVERY,
    HEALTH,
    METADATA,
    METADATA_LIST,
    NODE_CLIENT,
    NODES,
    POD_SPEC,
    SELECTOR,
    SYSTEM,
    TEMPLATE,
    TEXT,
    TIME,
    WORK,
    Call,
    Informer,
    Row,
    event,
    informers,
    lease,
    obj,
    service_account_token,
    spec,
    status,
)


def _csr_condition(found: dict[str, Any]) -> None:
    found.setdefault("status", {})["conditions"] = [
        {"type": "Approved", "status": "True", "reason": "AutoApproved", "message": "it may"}
    ]


def _finalized(found: dict[str, Any]) -> None:
    found["spec"]["finalizers"] = []


def _label(found: dict[str, Any]) -> None:
    found["metadata"].setdefault("labels", {})["touched"] = "true"


def _controlled(kind: str, name: str) -> dict[str, Any]:
    reference = {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "UID", "controller": True}
    return {"ownerReferences": [reference], "labels": {"app": "web"}}


_APPS = "/apis/apps/v1/namespaces/work"
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_AUTOSCALERS = "/apis/autoscaling/v2/namespaces/work/horizontalpodautoscalers"
_SLICES = "/apis/discovery.k8s.io/v1/namespaces/work/endpointslices"


CONTROLLER_MANAGER: tuple[Row, ...] = (
    *HEALTH,
    *DELEGATED,
    *lease("kube-system", "kube-controller-manager"),
    # Its client builder: each controller's service account is made when it is missing, and a token asked for.
    Call("get", f"{SYSTEM}/serviceaccounts/endpointslice-controller", "Status", status=404),
    Call(
        *("create", f"{SYSTEM}/serviceaccounts", "ServiceAccount"),
        obj("v1", "ServiceAccount", "endpointslice-controller", "kube-system"),
    ),
    service_account_token("kube-system", "endpointslice-controller"),
    *DISCOVERY,
    *informers(
        """
        v1/pods Pod
        v1/nodes Node
        v1/namespaces Namespace
        v1/services Service
        v1/endpoints Endpoints
        v1/serviceaccounts ServiceAccount
        v1/secrets Secret
        v1/configmaps ConfigMap
        v1/resourcequotas ResourceQuota
        v1/replicationcontrollers ReplicationController
        v1/persistentvolumes PersistentVolume
        v1/persistentvolumeclaims PersistentVolumeClaim
        apps/v1/controllerrevisions ControllerRevision
        apps/v1/daemonsets DaemonSet
        apps/v1/deployments Deployment
        apps/v1/replicasets ReplicaSet
        apps/v1/statefulsets StatefulSet
        autoscaling/v2/horizontalpodautoscalers HorizontalPodAutoscaler
        batch/v1/cronjobs CronJob
        batch/v1/jobs Job
        certificates.k8s.io/v1/certificatesigningrequests CertificateSigningRequest
        coordination.k8s.io/v1/leases Lease
        discovery.k8s.io/v1/endpointslices EndpointSlice
        networking.k8s.io/v1/ipaddresses IPAddress
        networking.k8s.io/v1/servicecidrs ServiceCIDR
        policy/v1/poddisruptionbudgets PodDisruptionBudget
        rbac.authorization.k8s.io/v1/clusterroles ClusterRole
        admissionregistration.k8s.io/v1/validatingadmissionpolicies ValidatingAdmissionPolicy
        resource.k8s.io/v1/deviceclasses DeviceClass
        resource.k8s.io/v1/resourceclaims ResourceClaim
        resource.k8s.io/v1/resourceclaimtemplates ResourceClaimTemplate
        resource.k8s.io/v1/resourceslices ResourceSlice
        storage.k8s.io/v1/csidrivers CSIDriver
        storage.k8s.io/v1/csinodes CSINode
        storage.k8s.io/v1/storageclasses StorageClass
        storage.k8s.io/v1/volumeattachments VolumeAttachment
        storage.k8s.io/v1/volumeattributesclasses VolumeAttributesClass
        """
    ),
    Informer("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", "Lease"),
    # legacy-serviceaccount-token-cleaner
    Call("get", f"{SYSTEM}/configmaps/kube-apiserver-legacy-service-account-token-tracking", "ConfigMap"),
    # A namespace, with what its controllers put into it.
    Call("create", "/api/v1/namespaces", "Namespace", obj("v1", "Namespace", "work")),
    Call(
        *("create", f"{WORK}/serviceaccounts", "ServiceAccount"),
        obj("v1", "ServiceAccount", "default", "work"),
    ),
    Call(
        *("create", f"{WORK}/configmaps", "ConfigMap"),
        obj("v1", "ConfigMap", "kube-root-ca.crt", "work", data={"ca.crt": "-"}),
    ),
    Call("update", f"{WORK}/configmaps/kube-root-ca.crt", "ConfigMap", _label),
    # Workload controllers.
    Call(
        *("create", f"{_APPS}/deployments", "Deployment"),
        obj("apps/v1", "Deployment", "web", "work", spec={"selector": SELECTOR, "template": TEMPLATE}),
    ),
    Call(
        *("create", f"{_APPS}/replicasets", "ReplicaSet"),
        obj(
            *("apps/v1", "ReplicaSet", "web-1", "work"),
            metadata=_controlled("Deployment", "web"),
            spec={"replicas": 1, "selector": SELECTOR, "template": TEMPLATE},
        ),
    ),
    Call("update", f"{_APPS}/deployments/web", "Deployment", _label),
    Call("update", f"{_APPS}/deployments/web/status", "Deployment", status(observedGeneration=1, replicas=1)),
    Call("get", f"{_APPS}/replicasets/web-1", "ReplicaSet"),
    Call(
        "update", f"{_APPS}/replicasets/web-1/status", "ReplicaSet", status(replicas=1, observedGeneration=1)
    ),
    Call(
        *("create", f"{WORK}/pods", "Pod"),
        obj(
            "v1",
            "Pod",
            "",
            "work",
            metadata={"generateName": "web-1-", **_controlled("ReplicaSet", "web-1")},
            spec=POD_SPEC,
        ),
    ),
    Call(
        *("create", f"{WORK}/pods", "Pod"),
        obj("v1", "Pod", "web-0", "work", metadata={"labels": {"app": "web"}}, spec=POD_SPEC),
    ),
    # ControllerRefManager adopts and releases by strategic merge patches.
    Call(
        *("patch", f"{WORK}/pods/web-0", "Pod"),
        {
            "metadata": {
                "uid": "UID OF web-0",
                "finalizers": ["batch.kubernetes.io/job-tracking"],
                "ownerReferences": [
                    {
                        "apiVersion": "apps/v1",
                        "kind": "ReplicaSet",
                        "name": "web-1",
                        "uid": "U",
                        "controller": True,
                        "blockOwnerDeletion": True,
                    }
                ],
            }
        },
        content=STRATEGIC_PATCH,
    ),
    Call(
        *("patch", f"{WORK}/pods/web-0", "Pod"),
        {
            "metadata": {
                "uid": "UID OF web-0",
                "ownerReferences": [{"$patch": "delete", "uid": "U"}],
                "$deleteFromPrimitiveList/finalizers": ["batch.kubernetes.io/job-tracking"],
            }
        },
        content=STRATEGIC_PATCH,
    ),
    Call(
        *("create", "/apis/batch/v1/namespaces/work/jobs", "Job"),
        obj(
            "batch/v1",
            "Job",
            "one",
            "work",
            spec={"template": {"spec": {**POD_SPEC, "restartPolicy": "Never"}}},
        ),
    ),
    Call(
        *("update", "/apis/batch/v1/namespaces/work/jobs/one/status", "Job"),
        status(startTime=TIME, uncountedTerminatedPods={}, active=1, ready=0, terminating=0),
    ),
    Call(
        *("create", f"{_APPS}/statefulsets", "StatefulSet"),
        obj(
            *("apps/v1", "StatefulSet", "db", "work"),
            spec={"serviceName": "db", "selector": SELECTOR, "template": TEMPLATE},
        ),
    ),
    Call(
        *("create", f"{_APPS}/controllerrevisions", "ControllerRevision"),
        obj(
            *("apps/v1", "ControllerRevision", "db-1", "work"),
            metadata={"labels": {"app": "web"}},
            data={"spec": {"template": {"$patch": "replace", **TEMPLATE}}},
            revision=1,
        ),
    ),
    Call(
        "update",
        f"{_APPS}/controllerrevisions/db-1",
        "ControllerRevision",
        lambda found: found.update(revision=2),
    ),
    Call(
        "update", f"{_APPS}/statefulsets/db/status", "StatefulSet", status(observedGeneration=1, replicas=0)
    ),
    Call(
        *("create", f"{_APPS}/daemonsets", "DaemonSet"),
        obj("apps/v1", "DaemonSet", "agent", "work", spec={"selector": SELECTOR, "template": TEMPLATE}),
    ),
    Call("update", f"{_APPS}/daemonsets/agent/status", "DaemonSet", status(observedGeneration=1)),
    # horizontal-pod-autoscaler: the dynamic scale client is JSON-free, too; metrics of a group that is not there.
    Call("get", f"{_APPS}/deployments/web/scale", "Scale"),
    Call("update", f"{_APPS}/deployments/web/scale", "Scale", spec(replicas=2)),
    Call("get", "/apis/metrics.k8s.io/v1beta1/namespaces/work/pods", TEXT, status=404, media="text/plain"),
    # endpoints and endpointslice controllers.
    Call(
        *("create", f"{WORK}/services", "Service"),
        obj("v1", "Service", "web", "work", spec={"selector": {"app": "web"}, "ports": [{"port": 80}]}),
    ),
    Call(
        *("create", f"{WORK}/endpoints", "Endpoints"),
        obj(
            "v1",
            "Endpoints",
            "web",
            "work",
            subsets=[{"addresses": [{"ip": "10.1.0.1"}], "ports": [{"port": 80}]}],
        ),
    ),
    Call("update", f"{WORK}/endpoints/web", "Endpoints", lambda found: found.pop("subsets") and None),
    Call(
        *("create", _SLICES, "EndpointSlice"),
        obj(
            *("discovery.k8s.io/v1", "EndpointSlice", "", "work"),
            metadata={
                "generateName": "web-",
                "labels": {
                    "kubernetes.io/service-name": "web",
                    "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                },
            },
            addressType="IPv4",
            endpoints=[{"addresses": ["10.1.0.1"], "conditions": {"ready": True, "serving": True}}],
            ports=[{"name": "", "port": 80, "protocol": "TCP"}],
        ),
    ),
    Call(
        *(
            "deletecollection",
            f"{_SLICES}?labelSelector=kubernetes.io%2Fservice-name%3Dweb",
            "EndpointSliceList",
        ),
        DELETE,
    ),
    # service-cidr-controller
    Call(
        *("create", "/apis/networking.k8s.io/v1/servicecidrs", "ServiceCIDR"),
        obj("networking.k8s.io/v1", "ServiceCIDR", "more", spec={"cidrs": ["10.200.0.0/24"]}),
    ),
    Call(
        *("patch", "/apis/networking.k8s.io/v1/servicecidrs/more", "ServiceCIDR"),
        {"metadata": {"finalizers": ["networking.k8s.io/service-cidr-finalizer"]}},
        content=STRATEGIC_PATCH,
    ),
    Call(
        "apply",
        "/apis/networking.k8s.io/v1/servicecidrs/more/status?fieldManager=service-cidr-controller&force=true",
        "ServiceCIDR",
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {"name": "more"},
            "status": {
                "conditions": [
                    {
                        "type": "Ready",
                        "status": "True",
                        "message": "Kubernetes Service CIDR is ready",
                        "lastTransitionTime": TIME,
                        "reason": "",
                    }
                ]
            },
        },
    ),
    # csr-approver, csr-signer
    Call(
        *("create", CSRS, "CertificateSigningRequest"),
        obj(
            *("certificates.k8s.io/v1", "CertificateSigningRequest", "node-1"),
            spec={
                "request": CSR_PLACEHOLDER,
                "signerName": NODE_CLIENT,
                "usages": ["digital signature", "client auth"],
            },
        ),
    ),
    Call("update", f"{CSRS}/node-1/approval", "CertificateSigningRequest", _csr_condition),
    Call("update", f"{CSRS}/node-1/status", "CertificateSigningRequest", status(certificate="CERTIFICATE")),
    # nodeipam, nodelifecycle, taints, attach-detach
    Call("create", NODES, "Node", obj("v1", "Node", "node-1")),
    Call("patch", f"{NODES}/node-1", "Node", {"spec": {"podCIDR": "10.1.0.0/24"}}, content=STRATEGIC_PATCH),
    Call(
        *("patch", f"{NODES}/node-1", "Node"),
        {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}},
        content=STRATEGIC_PATCH,
    ),
    Call(
        *("update", f"{NODES}/node-1/status", "Node"),
        status(conditions=[{"type": "Ready", "status": "Unknown", "lastHeartbeatTime": TIME}]),
    ),
    Call(
        *("patch", f"{NODES}/node-1/status", "Node"),
        {"status": {"volumesAttached": [{"name": "v", "devicePath": "d"}]}},
        content=STRATEGIC_PATCH,
    ),
    Call(
        *("create", "/apis/storage.k8s.io/v1/volumeattachments", "VolumeAttachment"),
        obj(
            *("storage.k8s.io/v1", "VolumeAttachment", "va"),
            spec={"attacher": "d.example", "nodeName": "node-1", "source": {"persistentVolumeName": "pv"}},
        ),
    ),
    Call("delete", "/apis/storage.k8s.io/v1/volumeattachments/va", "Status", DELETE),
    # persistentvolume-binder, pvc-protection
    Call(
        *("create", "/api/v1/persistentvolumes", "PersistentVolume"),
        obj(
            *("v1", "PersistentVolume", "pv"),
            spec={
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "s",
                "hostPath": {"path": "/x"},
            },
        ),
    ),
    Call(
        *("create", f"{WORK}/persistentvolumeclaims", "PersistentVolumeClaim"),
        obj(
            *("v1", "PersistentVolumeClaim", "c", "work"),
            spec={
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "s",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        ),
    ),
    Call(
        *("update", "/api/v1/persistentvolumes/pv", "PersistentVolume"),
        spec(claimRef={"kind": "PersistentVolumeClaim", "namespace": "work", "name": "c"}),
    ),
    Call("update", "/api/v1/persistentvolumes/pv/status", "PersistentVolume", status(phase="Bound")),
    Call("update", f"{WORK}/persistentvolumeclaims/c", "PersistentVolumeClaim", spec(volumeName="pv")),
    Call(
        *("update", f"{WORK}/persistentvolumeclaims/c/status", "PersistentVolumeClaim"),
        status(phase="Bound", accessModes=["ReadWriteOnce"], capacity={"storage": "1Gi"}),
    ),
    # serviceaccount-token
    Call(
        *("create", f"{WORK}/secrets", "Secret"),
        obj(
            *("v1", "Secret", "legacy", "work"),
            metadata={"annotations": {"kubernetes.io/service-account.name": "default"}},
            type="kubernetes.io/service-account-token",
        ),
    ),
    Call(
        *("update", f"{WORK}/secrets/legacy", "Secret"),
        lambda found: found.update(data={"token": "dG9rZW4=", "namespace": "d29yaw==", "ca.crt": "LQ=="}),
    ),
    # resource-claim-controller: a claim for a pod, which the pod's status then names.
    Call(
        *("create", "/apis/resource.k8s.io/v1/namespaces/work/resourceclaims", "ResourceClaim"),
        obj(
            *("resource.k8s.io/v1", "ResourceClaim", "", "work"),
            metadata={
                "generateName": "web-0-gpu-",
                "annotations": {"resource.kubernetes.io/pod-claim-name": "gpu"},
            },
            spec={"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}},
        ),
    ),
    Call(
        *("create", f"{WORK}/pods", "Pod"),
        obj(
            *("v1", "Pod", "claiming", "work"),
            spec={**POD_SPEC, "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}]},
        ),
    ),
    Call(
        "apply",
        f"{WORK}/pods/claiming/status?fieldManager=ResourceClaimController&force=true",
        "Pod",
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "claiming", "namespace": "work"},
            "status": {"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "web-0-gpu-x"}]},
        },
    ),
    # validatingadmissionpolicy-status
    Call(
        *("create", f"{_ADMISSION}/validatingadmissionpolicies", "ValidatingAdmissionPolicy"),
        obj(
            *("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "p"),
            spec={
                "matchConstraints": {
                    "resourceRules": [
                        {
                            "apiGroups": ["none.example"],
                            "apiVersions": ["v1"],
                            "operations": ["CREATE"],
                            "resources": ["nothings"],
                        }
                    ]
                },
                "validations": [{"expression": "object.metadata.name != ''"}],
            },
        ),
    ),
    Call(
        "apply",
        f"{_ADMISSION}/validatingadmissionpolicies/p/status"
        "?fieldManager=validatingadmissionpolicy-status-controller&force=true",
        "ValidatingAdmissionPolicy",
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "p"},
            "status": {"observedGeneration": 1, "typeChecking": {}},
        },
    ),
    # horizontal-pod-autoscaler
    Call(
        *("create", f"{_AUTOSCALERS}", "HorizontalPodAutoscaler"),
        obj(
            *("autoscaling/v2", "HorizontalPodAutoscaler", "h", "work"),
            spec={
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "maxReplicas": 3,
            },
        ),
    ),
    Call(
        *("update", f"{_AUTOSCALERS}/h/status", "HorizontalPodAutoscaler"),
        status(
            currentReplicas=1,
            desiredReplicas=1,
            currentMetrics=None,
            conditions=[
                {
                    "type": "ScalingActive",
                    "status": "False",
                    "lastTransitionTime": TIME,
                    "reason": "FailedGetScale",
                }
            ],
        ),
    ),
    # cronjob, ttl-after-finished
    Call(
        *("create", "/apis/batch/v1/namespaces/work/cronjobs", "CronJob"),
        obj(
            *("batch/v1", "CronJob", "often", "work"),
            spec={
                "schedule": "*/5 * * * *",
                "jobTemplate": {"spec": {"template": {"spec": {**POD_SPEC, "restartPolicy": "Never"}}}},
            },
        ),
    ),
    Call(
        *("update", "/apis/batch/v1/namespaces/work/cronjobs/often/status", "CronJob"),
        status(
            lastScheduleTime=TIME,
            active=[{"kind": "Job", "namespace": "work", "name": "often-1", "apiVersion": "batch/v1"}],
        ),
    ),
    Call(
        *("delete", "/apis/batch/v1/namespaces/work/jobs/one", "Job"),
        {**DELETE, "propagationPolicy": "Foreground", "preconditions": {"uid": "UID OF one"}},
    ),
    # volumeattributesclass-protection
    Call(
        *("create", "/apis/storage.k8s.io/v1/volumeattributesclasses", "VolumeAttributesClass"),
        obj(
            "storage.k8s.io/v1",
            "VolumeAttributesClass",
            "gold",
            driverName="d.example",
            parameters={"iops": "5"},
        ),
    ),
    Call(
        *("update", "/apis/storage.k8s.io/v1/volumeattributesclasses/gold", "VolumeAttributesClass"),
        lambda found: found["metadata"].update(finalizers=["kubernetes.io/vac-protection"]),
    ),
    # resourcequota, disruption
    Call(
        *("create", f"{WORK}/resourcequotas", "ResourceQuota"),
        obj("v1", "ResourceQuota", "q", "work", spec={"hard": {"pods": "10"}}),
    ),
    Call(
        *("update", f"{WORK}/resourcequotas/q/status", "ResourceQuota"),
        status(hard={"pods": "10"}, used={"pods": "1"}),
    ),
    Call(
        *("create", "/apis/policy/v1/namespaces/work/poddisruptionbudgets", "PodDisruptionBudget"),
        obj(
            "policy/v1", "PodDisruptionBudget", "b", "work", spec={"selector": SELECTOR, "maxUnavailable": 1}
        ),
    ),
    Call(
        *("update", "/apis/policy/v1/namespaces/work/poddisruptionbudgets/b/status", "PodDisruptionBudget"),
        status(
            observedGeneration=1, disruptionsAllowed=1, currentHealthy=1, desiredHealthy=0, expectedPods=1
        ),
    ),
    # taint-eviction: a condition by apply or patch, then the deletion.
    Call(
        *("patch", f"{WORK}/pods/web-0/status", "Pod"),
        {
            "metadata": {"uid": "UID OF web-0"},
            "status": {
                "conditions": [
                    {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
                ]
            },
        },
        content=STRATEGIC_PATCH,
    ),
    # clusterrole-aggregation
    Call(
        "apply",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/view?fieldManager=clusterrole-aggregation-controller&force=true",
        "ClusterRole",
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "view"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
        },
    ),
    # validatingadmissionpolicy-status: types from OpenAPI v3.
    Call("get", "/openapi/v3", TEXT, accept=JSON, media=JSON),
    Call("get", "/openapi/v3/apis/apps/v1", TEXT, accept=JSON, media=JSON),
    Call("get", "/openapi/v2", TEXT, accept=OPENAPI_V2, media="application/com.github.proto-openapi"),
    # Events of controllers, and their repetition.
    Call(
        *("create", f"{WORK}/events", "Event"),
        event("v1", "work", "web.1", {"kind": "ReplicaSet", "namespace": "work", "name": "web-1"}),
    ),
    Call(
        *("patch", f"{WORK}/events/web.1", "Event"),
        {"count": 2, "lastTimestamp": "2026-01-02T03:05:05Z"},
        content=STRATEGIC_PATCH,
    ),
    # garbage-collector: the metadata client.
    Call("get", f"{_APPS}/replicasets/web-1", "PartialObjectMetadata", accept=METADATA),
    Call(
        *("patch", f"{_APPS}/replicasets/web-1", "PartialObjectMetadata"),
        {"metadata": {"uid": "UID OF web-1", "ownerReferences": [{"$patch": "delete", "uid": "UID"}]}},
        accept=METADATA,
        content=STRATEGIC_PATCH,
    ),
    Call(
        *("patch", f"{_APPS}/replicasets/web-1", "PartialObjectMetadata"),
        {"metadata": {"finalizers": []}},
        accept=METADATA,
        content=MERGE_PATCH,
    ),
    Call(
        *("patch", f"{_APPS}/replicasets/web-1", "PartialObjectMetadata"),
        [{"op": "add", "path": "/metadata/labels/gc", "value": "x"}],  # type: ignore[arg-type]
        accept=METADATA,
        content=JSON_PATCH,
    ),
    Call(
        *("delete", f"{_APPS}/replicasets/web-1", "Status"),
        {**DELETE, "preconditions": {"uid": "UID OF web-1"}, "propagationPolicy": "Background"},
        accept=METADATA,
        content=JSON,
    ),
    Call("get", f"{_APPS}/replicasets/web-1", "Status", status=404, accept=METADATA),
    # namespace: everything in it, then its finalizer.
    Call("delete", "/api/v1/namespaces/work", "Namespace", DELETE),
    Call("list", f"{WORK}/pods", "PartialObjectMetadataList", accept=METADATA_LIST),
    Call(
        "deletecollection",
        f"{WORK}/pods",
        "PodList",
        {**DELETE, "propagationPolicy": "Background"},
        content=JSON,
    ),
    Call(
        *("deletecollection", f"{WORK}/configmaps", "ConfigMapList"),
        {**DELETE, "propagationPolicy": "Background"},
        content=JSON,
    ),
    Call(
        *("update", "/api/v1/namespaces/work/status", "Namespace"),
        status(
            conditions=[{"type": "NamespaceContentRemaining", "status": "False", "lastTransitionTime": TIME}]
        ),
    ),
    Call("update", "/api/v1/namespaces/work/finalize", "Namespace", _finalized),
    Call("get", "/api/v1/namespaces/work", "Status", status=404),
)
