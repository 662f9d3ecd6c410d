"""Pure: the Node and Lease objects of a simulated node, by its index in the fleet.

Everything follows from the index, so that a fleet that is started again finds its nodes.
"""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Any

from lakh.nodes.catalogue import InstanceType

REGION = "us-east-1"
ZONES = ("use1-az4", "use1-az5", "use1-az6")
# The fleet's racks and spines: nodes below one switch of the lowest layer, of the middle one, of the highest.
NODES_PER_LAYER = (4096, 512, 16)
# A /25 each for the pods of 131,072 nodes, and the nodes' own addresses beside it.
POD_NETWORK = ipaddress.ip_network("10.0.0.0/8")
POD_PREFIX = 25
NODE_NETWORK = ipaddress.ip_network("172.16.0.0/12")
KUBELET_VERSION = "v1.36.0"
LEASE_SECONDS = 40
NODE_LEASES = "kube-node-lease"


def node_name(instance: InstanceType, index: int) -> str:
    """`trn2-00042`."""
    return f"{instance.prefix}-{index:05d}"


def node_address(index: int) -> str:
    """The node's internal address."""
    return str(NODE_NETWORK[index + 1 & NODE_NETWORK.num_addresses - 1])


def pod_network(index: int) -> ipaddress.IPv4Network:
    """The network of the node's pods."""
    size = 1 << (32 - POD_PREFIX)
    start = int(POD_NETWORK.network_address) + index * size % POD_NETWORK.num_addresses
    return ipaddress.IPv4Network((start, POD_PREFIX))


def zone(index: int) -> str:
    """Nodes below one high-layer switch are in one zone."""
    return ZONES[index // NODES_PER_LAYER[0] % len(ZONES)]


def network_layers(index: int) -> dict[str, str]:
    """The network-layer labels, from the spine down to the rack."""
    labels = {}
    for layer, size in enumerate(NODES_PER_LAYER, 1):
        digest = hashlib.sha256(f"layer-{layer}-{index // size}".encode()).hexdigest()[:17]
        labels[f"topology.k8s.aws/network-node-layer-{layer}"] = f"nn-{digest}"
    return labels


CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


def conditions(now: str, since: str) -> list[dict[str, str]]:
    """Healthy conditions, heard of at `now`, true since `since`."""
    return [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": since,
        }
        for kind, status, reason, message in CONDITIONS
    ]


def node_object(instance: InstanceType, index: int, now: str) -> dict[str, Any]:
    """The Node that a kubelet registers."""
    name = node_name(instance, index)
    place = zone(index)
    instance_id = "i-" + hashlib.sha256(name.encode()).hexdigest()[:17]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "beta.kubernetes.io/arch": instance.architecture,
                "beta.kubernetes.io/os": "linux",
                "kubernetes.io/arch": instance.architecture,
                "kubernetes.io/os": "linux",
                "kubernetes.io/hostname": name,
                "node.kubernetes.io/instance-type": instance.name,
                "topology.kubernetes.io/region": REGION,
                "topology.kubernetes.io/zone": place,
                **network_layers(index),
                **instance.labels,
            },
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": {
            "providerID": f"aws:///{place}/{instance_id}",
            "podCIDR": str(pod_network(index)),
            "podCIDRs": [str(pod_network(index))],
        },
        "status": node_status(instance, index, now),
    }


def node_status(instance: InstanceType, index: int, now: str) -> dict[str, Any]:
    """The status that a kubelet reports."""
    name = node_name(instance, index)
    machine = hashlib.sha256(f"machine-{name}".encode()).hexdigest()
    return {
        "capacity": instance.capacity(),
        "allocatable": instance.allocatable(),
        "conditions": conditions(now, now),
        "addresses": [
            {"type": "InternalIP", "address": node_address(index)},
            {"type": "Hostname", "address": name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "machineID": machine[:32],
            "systemUUID": machine[32:64],
            "bootID": hashlib.sha256(f"boot-{name}".encode()).hexdigest()[:32],
            "kernelVersion": "6.12.0-simulated",
            "osImage": "Lakh simulated node",
            "containerRuntimeVersion": "simulated://1.0",
            "kubeletVersion": KUBELET_VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": instance.architecture,
        },
    }


def lease_object(name: str, uid: str, now_micro: str, version: str | None) -> dict[str, Any]:
    """The node's heartbeat."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": NODE_LEASES,
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}],
    }
    if version is not None:
        metadata["resourceVersion"] = version
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now_micro},
    }
