"""Pure: the Node and Lease objects of a simulated node, by its index in the fleet.

Everything follows from the index, so that a fleet that is started again finds its nodes.
"""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Any

from lakh.nodes.catalogue import InstanceType

REGION = "us-east-1"
# Zones as labels name them, and their ids, which are the same places in every account.
ZONES = (("us-east-1a", "use1-az4"), ("us-east-1b", "use1-az5"), ("us-east-1c", "use1-az6"))
# The fleet's racks and spines: nodes below one switch of the lowest layer, of the middle one, of the highest.
NODES_PER_LAYER = (4096, 512, 16)
# A /25 each for a node's 110 pods, out of 10.0.0.0/8 without the services' 10.96.0.0/12, then out of 100.64.0.0/10. Beyond 155,648 nodes those are
# used up, and 240.0.0.0/4 follows, which clouds offer for the pods of very large clusters, too.
POD_PREFIX = 25
POD_NETWORK_ADDRESSES = 1 << (32 - POD_PREFIX)
_POD_RANGES = tuple(
    (
        int(ipaddress.IPv4Address(first)),
        (int(ipaddress.IPv4Address(last)) + 1 - int(ipaddress.IPv4Address(first))),
    )
    for first, last in (
        ("10.0.0.0", "10.95.255.255"),
        ("10.112.0.0", "10.255.255.255"),
        ("100.64.0.0", "100.127.255.255"),
        ("240.0.0.0", "255.255.255.127"),
    )
)
# The nodes' own addresses, from 172.16.0.0/12 without its first and its last.
NODE_NETWORK_FIRST = int(ipaddress.IPv4Address("172.16.0.0"))
# So many nodes have addresses of their own; there are networks for more.
NODES_MAX = (1 << 20) - 2
KUBELET_VERSION = "v1.36.0"
LEASE_SECONDS = 40
"""kubelet's nodeLeaseDurationSeconds."""
STATUS_SECONDS = 300
"""kubelet's nodeStatusReportFrequency: so often a node whose status is as before reports it."""
# Where a simulated node's kubelet answers: nodes of a fleet share an address and a port.
KUBELET_URL = "lakh.dev/kubelet-url"
NODE_LEASES = "kube-node-lease"


def node_name(instance: InstanceType, index: int) -> str:
    """`trn2-00042`."""
    return f"{instance.prefix}-{index:05d}"


def _dotted(address: int) -> str:
    """As `ipaddress` writes it, at a tenth of the cost."""
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


def node_address(index: int) -> str:
    """The node's internal address."""
    return _dotted(NODE_NETWORK_FIRST + index + 1)


def pod_network(index: int) -> int:
    """The first address of the node's pod network, as a number."""
    offset = index * POD_NETWORK_ADDRESSES
    for first, size in _POD_RANGES:
        if offset < size:
            return first + offset
        offset -= size
    raise ValueError(f"node {index}: there is no pod network for so many nodes")


def pod_cidr(index: int) -> str:
    """The network of the node's pods."""
    return f"{_dotted(pod_network(index))}/{POD_PREFIX}"


def pod_address(index: int, number: int) -> str:
    """Address `number` of the node's pod network."""
    return _dotted(pod_network(index) + number)


def pod_number(index: int, address: str) -> int | None:
    """The number of an address in the node's pod network; None when it is not of it."""
    try:
        number = int(ipaddress.IPv4Address(address)) - pod_network(index)
    except ValueError:
        return None
    return number if 0 <= number < POD_NETWORK_ADDRESSES else None


def free_number(taken: int) -> int:
    """The lowest free number of a pod network, by the bits taken. The first two are the network's and the bridge's.

    The last one stands for all when none is free: the node's limit of pods should have come first.
    """
    taken |= 0b11
    return min(((taken + 1) & ~taken).bit_length() - 1, POD_NETWORK_ADDRESSES - 1)


def zone(index: int) -> tuple[str, str]:
    """The zone's name and id. Nodes below one high-layer switch are in one zone."""
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
    place, place_id = zone(index)
    cidr = pod_cidr(index)
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
                "topology.k8s.aws/zone-id": place_id,
                **network_layers(index),
                **instance.labels,
            },
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": {
            "providerID": f"aws:///{place}/{instance_id}",
            "podCIDR": cidr,
            "podCIDRs": [cidr],
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


_LEASE = '{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"'
_LEASE_OWNER = f'","namespace":"{NODE_LEASES}","ownerReferences":[{{"apiVersion":"v1","kind":"Node","name":"'


def lease_json(
    name: str, uid: str, now_micro: str, version: str | None, duration_seconds: int = LEASE_SECONDS
) -> bytes:
    """The node's heartbeat, encoded: names, uids and times need no escapes, so it costs a microsecond."""
    at = f',"resourceVersion":"{version}"' if version is not None else ""
    return (
        f'{_LEASE}{name}{_LEASE_OWNER}{name}","uid":"{uid}"}}]{at}}},"spec":{{"holderIdentity":"{name}",'
        f'"leaseDurationSeconds":{duration_seconds},"renewTime":"{now_micro}"}}}}'
    ).encode()
