"""kubelet."""

from __future__ import annotations

from ..rest import STRATEGIC_PATCH
from .rows import (
    CSR_PLACEHOLDER,
    CSRS,
    DELEGATED,
    DELETE,
    NODE_CLIENT,
    NODES,
    POD_SPEC,
    SYSTEM,
    TEXT,
    TIME,
    Call,
    Informer,
    Row,
    event,
    lease,
    obj,
    service_account_token,
    spec,
)

NODE_LEASES = "kube-node-lease"
_KUBELET_NODE = obj(
    *("v1", "Node", "kubelet-1"),
    metadata={"labels": {"kubernetes.io/hostname": "kubelet-1", "kubernetes.io/os": "linux"}},
    spec={"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]},
    status={
        "capacity": {"cpu": "8", "memory": "32Gi", "pods": "110"},
        "allocatable": {"cpu": "7900m", "memory": "30Gi", "pods": "110"},
        "addresses": [{"type": "InternalIP", "address": "172.16.0.1"}],
        "conditions": [
            {"type": "Ready", "status": "False", "lastHeartbeatTime": TIME, "lastTransitionTime": TIME}
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {"kubeletVersion": "v1.36.0", "operatingSystem": "linux", "architecture": "amd64"},
    },
)
_CSI_NODES = "/apis/storage.k8s.io/v1/csinodes"
_RESOURCE_SLICES = "/apis/resource.k8s.io/v1/resourceslices"

KUBELET: tuple[Row, ...] = (
    Call("get", "/healthz", TEXT, media="text/plain", holds="ok"),
    # TLS bootstrap and rotation of certificates.
    Call(
        *("create", CSRS, "CertificateSigningRequest"),
        obj(
            "certificates.k8s.io/v1",
            "CertificateSigningRequest",
            "",
            metadata={"generateName": "csr-"},
            spec={
                "request": CSR_PLACEHOLDER,
                "signerName": NODE_CLIENT,
                "expirationSeconds": 86400,
                "usages": ["digital signature", "client auth"],
            },
        ),
    ),
    Informer(CSRS, "CertificateSigningRequest", "fieldSelector=metadata.name%3Dcsr-x"),
    # Registration.
    Call("create", NODES, "Node", _KUBELET_NODE),
    Call("create", NODES, "Status", _KUBELET_NODE, status=409),
    Call("get", f"{NODES}/kubelet-1?resourceVersion=0", "Node"),
    Call(
        "patch", f"{NODES}/kubelet-1", "Node", {"metadata": {"labels": {"a": "b"}}}, content=STRATEGIC_PATCH
    ),
    Informer(NODES, "Node", "fieldSelector=metadata.name%3Dkubelet-1"),
    *lease(NODE_LEASES, "kubelet-1"),
    Call(
        *("patch", f"{NODES}/kubelet-1/status", "Node"),
        {
            "status": {
                "$setElementOrder/conditions": [{"type": "MemoryPressure"}, {"type": "Ready"}],
                "conditions": [
                    {"type": "MemoryPressure", "status": "False", "lastHeartbeatTime": TIME},
                    {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": TIME},
                ],
                "images": [{"names": ["i"], "sizeBytes": 1}],
                "runtimeHandlers": [{"name": "", "features": {"userNamespaces": True}}],
            }
        },
        content=STRATEGIC_PATCH,
    ),
    # What it watches for pods.
    Informer("/api/v1/pods", "Pod", "fieldSelector=spec.nodeName%3Dkubelet-1"),
    Informer("/api/v1/services", "Service"),
    Informer("/apis/node.k8s.io/v1/runtimeclasses", "RuntimeClass"),
    Informer("/apis/storage.k8s.io/v1/csidrivers", "CSIDriver"),
    Informer(f"{SYSTEM}/configmaps", "ConfigMap", "fieldSelector=metadata.name%3Dkube-root-ca.crt"),
    Informer("/api/v1/namespaces/default/secrets", "Secret", "fieldSelector=metadata.name%3Dpull"),
    Call("get", "/api/v1/namespaces/default/secrets/none", "Status", status=404),
    # CSINode, with the node as its owner.
    Call("get", f"{_CSI_NODES}/kubelet-1", "Status", status=404),
    Call(
        *("create", _CSI_NODES, "CSINode"),
        obj(
            *("storage.k8s.io/v1", "CSINode", "kubelet-1"),
            metadata={
                "annotations": {"storage.alpha.kubernetes.io/migrated-plugins": "kubernetes.io/aws-ebs"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "kubelet-1", "uid": "UID"}],
            },
            spec={"drivers": []},
        ),
    ),
    Call(
        *("update", f"{_CSI_NODES}/kubelet-1", "CSINode"),
        spec(
            drivers=[{"name": "d.example", "nodeID": "n", "topologyKeys": None, "allocatable": {"count": 8}}]
        ),
    ),
    # A mirror of a static pod.
    Call(
        *("create", f"{SYSTEM}/pods", "Pod"),
        obj(
            *("v1", "Pod", "static-kubelet-1", "kube-system"),
            metadata={
                "annotations": {
                    "kubernetes.io/config.mirror": "abc",
                    "kubernetes.io/config.hash": "abc",
                    "kubernetes.io/config.source": "file",
                },
                "ownerReferences": [
                    {
                        "apiVersion": "v1",
                        "kind": "Node",
                        "name": "kubelet-1",
                        "uid": "UID",
                        "controller": True,
                    }
                ],
            },
            spec={
                **POD_SPEC,
                "nodeName": "kubelet-1",
                "enableServiceLinks": True,
                "hostNetwork": True,
                "tolerations": [{"operator": "Exists", "effect": "NoExecute"}],
            },
        ),
    ),
    Call(
        *("patch", f"{SYSTEM}/pods/static-kubelet-1/status", "Pod"),
        {
            "metadata": {"uid": "UID OF static-kubelet-1"},
            "status": {
                "$setElementOrder/conditions": [{"type": "PodReadyToStartContainers"}, {"type": "Ready"}],
                "$setElementOrder/hostIPs": [{"ip": "172.16.0.1"}],
                "$setElementOrder/podIPs": [{"ip": "10.1.0.9"}],
                "conditions": [
                    {"type": "PodReadyToStartContainers", "status": "True", "observedGeneration": 1},
                    {"type": "Ready", "status": "True", "lastProbeTime": None, "lastTransitionTime": TIME},
                ],
                "containerStatuses": [
                    {
                        "name": "c",
                        "image": "i",
                        "imageID": "i@sha256:0",
                        "ready": True,
                        "started": True,
                        "containerID": "c://1",
                        "lastState": {},
                        "restartCount": 0,
                        "state": {"running": {"startedAt": TIME}},
                        "resources": {"requests": {"cpu": "100m"}},
                    }
                ],
                "hostIP": "172.16.0.1",
                "hostIPs": [{"ip": "172.16.0.1"}],
                "phase": "Running",
                "podIP": "10.1.0.9",
                "podIPs": [{"ip": "10.1.0.9"}],
                "startTime": TIME,
                "observedGeneration": 1,
            },
        },
        content=STRATEGIC_PATCH,
    ),
    Call("get", f"{SYSTEM}/pods/static-kubelet-1", "Pod", holds="Running"),
    # The token of a pod's volume.
    Call(
        *("create", f"{SYSTEM}/pods", "Pod"),
        obj("v1", "Pod", "mounting", "kube-system", spec={**POD_SPEC, "nodeName": "kubelet-1"}),
    ),
    service_account_token(
        *("kube-system", "default"),
        boundObjectRef={
            "kind": "Pod",
            "apiVersion": "v1",
            "name": "mounting",
            "uid": "UID OF mounting",
        },
        expirationSeconds=3607,
    ),
    Call(
        *("create", f"{SYSTEM}/events", "Event"),
        event(
            "v1",
            "kube-system",
            "static.1",
            {"kind": "Pod", "namespace": "kube-system", "name": "static-kubelet-1"},
        ),
    ),
    Call(
        *("patch", f"{SYSTEM}/events/static.1", "Event"),
        {"count": 2, "lastTimestamp": "2026-01-02T03:05:05Z", "message": "it did again"},
        content=STRATEGIC_PATCH,
    ),
    Call(
        *("create", "/api/v1/namespaces/default/events", "Event"),
        event("v1", "default", "kubelet-1.1", {"kind": "Node", "name": "kubelet-1", "uid": "kubelet-1"}),
    ),
    # Volumes.
    Call("get", "/api/v1/persistentvolumes/none", "Status", status=404),
    Call("get", "/apis/storage.k8s.io/v1/volumeattachments/csi-none", "Status", status=404),
    # Dynamic resources: its slices of a driver, and claims of its pods.
    Call(
        *("create", _RESOURCE_SLICES, "ResourceSlice"),
        obj(
            *("resource.k8s.io/v1", "ResourceSlice", "kubelet-1-d"),
            spec={
                "driver": "d.example",
                "nodeName": "kubelet-1",
                "pool": {"name": "kubelet-1", "generation": 1, "resourceSliceCount": 1},
                "devices": [{"name": "gpu-0", "capacity": {"memory": {"value": "80Gi"}}}],
            },
        ),
    ),
    Call(
        "deletecollection",
        f"{_RESOURCE_SLICES}?fieldSelector=spec.driver%3Dd.example%2Cspec.nodeName%3Dkubelet-1",
        "ResourceSliceList",
        DELETE,
    ),
    Call("get", "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/none", "Status", status=404),
    # Its own server's clients.
    *DELEGATED[2:],
    # A pod that has ended goes at once.
    Call(
        *("delete", f"{SYSTEM}/pods/static-kubelet-1", "Pod"),
        {**DELETE, "gracePeriodSeconds": 0, "preconditions": {"uid": "UID OF static-kubelet-1"}},
    ),
    Call("delete", f"{NODES}/kubelet-1", "Status", DELETE),
)
