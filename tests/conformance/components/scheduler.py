"""kube-scheduler."""

from __future__ import annotations

from ..rest import STRATEGIC_PATCH
from .rows import (
    DELEGATED,
    DELETE,
    HEALTH,
    NODES,
    POD_SPEC,
    TIME,
    Call,
    Informer,
    Row,
    event,
    informers,
    lease,
    obj,
    status,
)

_NEW_PODS = "fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed"
_EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
PODS = "/api/v1/namespaces/default/pods"

SCHEDULER: tuple[Row, ...] = (
    *HEALTH,
    *DELEGATED,
    *lease("kube-system", "kube-scheduler"),
    Informer("/api/v1/pods", "Pod", _NEW_PODS),
    *informers(
        """
        v1/nodes Node
        v1/namespaces Namespace
        v1/persistentvolumeclaims PersistentVolumeClaim
        v1/persistentvolumes PersistentVolume
        v1/replicationcontrollers ReplicationController
        v1/services Service
        apps/v1/replicasets ReplicaSet
        apps/v1/statefulsets StatefulSet
        policy/v1/poddisruptionbudgets PodDisruptionBudget
        resource.k8s.io/v1/deviceclasses DeviceClass
        resource.k8s.io/v1/resourceclaims ResourceClaim
        resource.k8s.io/v1/resourceslices ResourceSlice
        storage.k8s.io/v1/csidrivers CSIDriver
        storage.k8s.io/v1/csinodes CSINode
        storage.k8s.io/v1/csistoragecapacities CSIStorageCapacity
        storage.k8s.io/v1/storageclasses StorageClass
        storage.k8s.io/v1/volumeattachments VolumeAttachment
        """
    ),
    Call("create", NODES, "Node", obj("v1", "Node", "sched-node")),
    Call("create", PODS, "Pod", obj("v1", "Pod", "s1", "default", spec=POD_SPEC)),
    # Why it does not fit, and where it is nominated.
    Call(
        *("patch", f"{PODS}/s1/status", "Pod"),
        {
            "status": {
                "$setElementOrder/conditions": [{"type": "PodScheduled"}],
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "lastProbeTime": None,
                        "lastTransitionTime": TIME,
                        "message": "0/1 nodes",
                    }
                ],
                "nominatedNodeName": "sched-node",
            }
        },
        content=STRATEGIC_PATCH,
    ),
    Call(
        *("create", f"{PODS}/s1/binding", "Status"),
        {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": "s1", "namespace": "default", "uid": "UID OF s1"},
            "target": {"kind": "Node", "name": "sched-node"},
        },
    ),
    Call(
        *("create", f"{PODS}/s1/binding", "Status"),
        {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": "s1", "namespace": "default"},
            "target": {"kind": "Node", "name": "other"},
        },
        status=409,
    ),
    Call(
        *("create", _EVENTS, "Event"),
        event("events.k8s.io/v1", "default", "s1.1", {"kind": "Pod", "namespace": "default", "name": "s1"}),
    ),
    Call(
        *("patch", f"{_EVENTS}/s1.1", "Event"),
        {"series": {"count": 2, "lastObservedTime": "2026-01-02T03:05:05.000003Z"}},
        content=STRATEGIC_PATCH,
    ),
    # Preemption: the victim learns why, then goes.
    Call(
        *("patch", f"{PODS}/s1/status", "Pod"),
        {
            "status": {
                "conditions": [
                    {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
                ]
            }
        },
        content=STRATEGIC_PATCH,
    ),
    Call("delete", f"{PODS}/s1", "Pod", {**DELETE, "preconditions": {"uid": "UID OF s1"}}),
    # VolumeBinding: a node is chosen for a claim that waits for its first consumer.
    Call(
        *("create", "/api/v1/namespaces/default/persistentvolumeclaims", "PersistentVolumeClaim"),
        obj(
            *("v1", "PersistentVolumeClaim", "data", "default"),
            spec={
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "wait",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        ),
    ),
    Call(
        *("update", "/api/v1/namespaces/default/persistentvolumeclaims/data", "PersistentVolumeClaim"),
        lambda found: found["metadata"].update(
            annotations={"volume.kubernetes.io/selected-node": "sched-node"}
        ),
    ),
    # Dynamic resources: a claim is reserved and allocated.
    Call(
        *("create", "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims", "ResourceClaim"),
        obj(
            *("resource.k8s.io/v1", "ResourceClaim", "claim", "default"),
            spec={"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}},
        ),
    ),
    Call(
        *("update", "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/claim", "ResourceClaim"),
        lambda found: found["metadata"].update(finalizers=["resource.kubernetes.io/delete-protection"]),
    ),
    Call(
        *(
            "update",
            "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/claim/status",
            "ResourceClaim",
        ),
        status(
            allocation={
                "devices": {"results": [{"request": "r", "driver": "d", "pool": "p", "device": "0"}]}
            },
            reservedFor=[{"resource": "pods", "name": "s1", "uid": "u"}],
        ),
    ),
    Call(
        *(
            "patch",
            "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/claim/status",
            "ResourceClaim",
        ),
        {
            "metadata": {"uid": "UID OF claim"},
            "status": {"reservedFor": [{"$patch": "delete", "uid": "u"}]},
        },
        content=STRATEGIC_PATCH,
    ),
)
