"""Upstream's published scheduler benchmarks (kubernetes test/integration/scheduler_perf), as data.

A workload is a cluster, pods that are there before, and pods whose scheduling is measured. Upstream fixes the numbers case by case; here they follow
from the number of nodes, in the proportions of upstream's cases of 5,000 nodes (1,000 for PreemptionBasic), unless the number of pods is given.
Nodes have 4 cpus, 32 GiB and room for 110 pods, as upstream's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["NAMESPACES", "WORKLOADS", "Pods", "Workload", "node", "pod", "priority_of"]

Json = dict[str, Any]

NAMESPACES = 2
"""Pods that are there before are in the first, measured ones in the second."""
ZONE = "topology.kubernetes.io/zone"
HOSTNAME = "kubernetes.io/hostname"
LAYERS = tuple(f"topology.k8s.aws/network-node-layer-{layer}" for layer in (1, 2, 3))
NODES_PER_LAYER = (1024, 256, 32)
ONE_ZONE = ("zone1",)
THREE_ZONES = ("moon-1", "moon-2", "moon-3")
HIGH_PRIORITY = 10
IMAGE = "registry.k8s.io/pause:3.10"


@dataclass(frozen=True, slots=True)
class Pods:
    """Pods of one template: so many a node."""

    template: str
    per_node: float

    def count(self, nodes: int) -> int:
        """How many on so many nodes: one at least."""
        return max(1, round(self.per_node * nodes))


@dataclass(frozen=True, slots=True)
class Workload:
    """One of upstream's."""

    measured: Pods
    before: tuple[Pods, ...] = ()
    zones: tuple[str, ...] = ()
    """Values of the zone label, in turn."""
    tainted: float = 0.0
    """The share of the nodes that have a NoSchedule taint."""
    churn: str = ""
    """A pod of this template is created every 200 ms meanwhile."""
    gated: Pods | None = None
    """Pods with a scheduling gate that nobody opens."""
    delete_a_second: int = 0
    """So many of the pods from before are deleted each second meanwhile."""
    service: bool = False
    """A service selects the measured pods."""
    giant: bool = False
    """One more node, that the measured pods are pinned to like a daemon's."""
    gang: bool = False
    """The measured pods are one gang, on nodes with labels of network layers."""
    preempts: bool = False
    one_a_node: bool = False
    """No two measured pods, nor those from before, may share a node."""
    max_skew: int = 0
    """How unevenly the measured pods may be spread over zones in the end."""
    labels: dict[str, str] = field(default_factory=dict)


_BASIC = Pods("default", 2)

WORKLOADS: dict[str, Workload] = {
    "SchedulingBasic": Workload(_BASIC, (Pods("default", 0.2),)),
    "SchedulingNodeAffinity": Workload(Pods("node-affinity", 2), (Pods("node-affinity", 1),), zones=ONE_ZONE),
    "SchedulingPodAntiAffinity": Workload(
        Pods("anti-affinity", 0.4), (Pods("anti-affinity", 0.2),), one_a_node=True
    ),
    "SchedulingPodMatchingAntiAffinity": Workload(
        Pods("anti-affinity-label", 1), (Pods("anti-affinity", 0.2),), one_a_node=False
    ),
    "SchedulingPodAffinity": Workload(Pods("affinity", 1), (Pods("affinity", 1),), zones=ONE_ZONE),
    "SchedulingPreferredPodAffinity": Workload(
        Pods("preferred-affinity", 1), (Pods("preferred-affinity", 1),)
    ),
    "SchedulingPreferredPodAntiAffinity": Workload(
        Pods("preferred-anti-affinity", 1), (Pods("preferred-anti-affinity", 1),)
    ),
    "TopologySpreading": Workload(Pods("spreading", 1), (Pods("default", 1),), zones=THREE_ZONES, max_skew=5),
    "PreferredTopologySpreading": Workload(
        Pods("preferred-spreading", 1), (Pods("default", 1),), zones=THREE_ZONES
    ),
    "DefaultTopologySpreading": Workload(
        Pods("labelled", 2), (Pods("default", 1),), zones=THREE_ZONES, service=True
    ),
    "SchedulingWithNodeInclusionPolicy": Workload(Pods("inclusion-policy", 0.8), tainted=0.2),
    "PreemptionBasic": Workload(Pods("high-priority", 1), (Pods("low-priority", 4),), preempts=True),
    "PreemptionAsync": Workload(Pods("default", 1), (Pods("low-priority", 4),), churn="high-priority"),
    "Unschedulable": Workload(_BASIC, (Pods("default", 0.02),), churn="large-cpu"),
    "MixedSchedulingBasePod": Workload(
        Pods("default", 1),
        (
            Pods("default", 0.4),
            Pods("affinity", 0.4),
            Pods("anti-affinity", 0.4),
            Pods("preferred-affinity", 0.4),
            Pods("preferred-anti-affinity", 0.4),
        ),
        zones=ONE_ZONE,
    ),
    "SchedulingDaemonset": Workload(Pods("daemon", 2), giant=True),
    "SchedulingWhileGated": Workload(
        _BASIC, (Pods("default", 1),), gated=Pods("gated", 1), delete_a_second=50
    ),
    "Gang": Workload(Pods("gang", 1), gang=True),
}

GIANT = "lakh-bench-giant"


def node(name: str, index: int, workload: Workload, nodes: int) -> Json:
    """The index-th node of a workload's cluster."""
    labels = {HOSTNAME: name, "lakh.dev/bench": "schedule"}
    if workload.zones:
        labels[ZONE] = workload.zones[index % len(workload.zones)]
    if workload.gang:
        for layer, (key, size) in enumerate(zip(LAYERS, NODES_PER_LAYER, strict=True), 1):
            labels[key] = f"nn-{layer}-{index // size}"
    spec: Json = {}
    if index < workload.tainted * nodes:
        spec["taints"] = [{"key": "foo", "value": "bar", "effect": "NoSchedule"}]
    room = {"cpu": "4", "memory": "32Gi", "pods": "110"}
    if name == GIANT:
        room = {"cpu": "100000", "memory": "1Pi", "pods": "1000000"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {
            "capacity": room,
            "allocatable": room,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        },
    }


def pod(template: str, namespaces: list[str], group: str = "") -> Json:
    """A pod without name and namespace. `namespaces` are those of the workload; `group` the name of its PodGroup."""
    cpu, labels, spec = _TEMPLATES[template]
    resources = {"cpu": cpu, "memory": "500Mi"}
    container = {"name": "pause", "image": IMAGE, "resources": {"requests": resources}}
    if template != "large-cpu":
        container["resources"] = {"requests": resources, "limits": resources}
    made: Json = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"labels": dict(labels)},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            **_placed_in(spec, namespaces),
            "containers": [container],
        },
    }
    if group:
        made["spec"]["schedulingGroup"] = {"podGroupName": group}
    return made


def priority_of(template: str) -> int:
    """The priority of a template's pods."""
    return HIGH_PRIORITY if template in ("high-priority", "large-cpu") else 0


def _placed_in(value: Any, namespaces: list[str]) -> Any:
    """A part of a template, with the workload's namespaces where it speaks of them."""
    if isinstance(value, dict):
        return {
            key: namespaces if key == "namespaces" else _placed_in(part, namespaces)
            for key, part in value.items()
        }
    return [_placed_in(part, namespaces) for part in value] if isinstance(value, list) else value


def _term(color: str, key: str) -> Json:
    return {"labelSelector": {"matchLabels": {"color": color}}, "topologyKey": key, "namespaces": []}


def _affinity(kind: str, color: str, key: str, *, preferred: bool = False) -> Json:
    term: Json = _term(color, key)
    if preferred:
        terms = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}]}
    else:
        terms = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    return {"affinity": {kind: terms}}


def _spread(key: str, skew: int, when: str, labels: dict[str, str], **more: str) -> Json:
    constraint = {
        "maxSkew": skew,
        "topologyKey": key,
        "whenUnsatisfiable": when,
        "labelSelector": {"matchLabels": labels},
        **more,
    }
    return {"topologySpreadConstraints": [constraint]}


def _node_affinity(part: str, requirement: Json) -> Json:
    return {
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{part: [requirement]}]
                }
            }
        }
    }


_TEMPLATES: dict[str, tuple[str, dict[str, str], Json]] = {
    "default": ("100m", {}, {}),
    "labelled": ("100m", {"name": "foo"}, {}),
    "node-affinity": (
        "100m",
        {},
        _node_affinity("matchExpressions", {"key": ZONE, "operator": "In", "values": ["zone1", "zone2"]}),
    ),
    "daemon": (
        "100m",
        {},
        _node_affinity("matchFields", {"key": "metadata.name", "operator": "In", "values": [GIANT]}),
    ),
    "affinity": ("100m", {"color": "blue"}, _affinity("podAffinity", "blue", ZONE)),
    "anti-affinity": ("100m", {"color": "green"}, _affinity("podAntiAffinity", "green", HOSTNAME)),
    "anti-affinity-label": ("100m", {"color": "green"}, {}),
    "preferred-affinity": (
        "100m",
        {"color": "red"},
        _affinity("podAffinity", "red", HOSTNAME, preferred=True),
    ),
    "preferred-anti-affinity": (
        "100m",
        {"color": "yellow"},
        _affinity("podAntiAffinity", "yellow", HOSTNAME, preferred=True),
    ),
    "spreading": ("100m", {"color": "blue"}, _spread(ZONE, 5, "DoNotSchedule", {"color": "blue"})),
    "preferred-spreading": (
        "100m",
        {"color": "blue"},
        _spread(ZONE, 5, "ScheduleAnyway", {"color": "blue"}),
    ),
    "inclusion-policy": (
        "100m",
        {"foo": "bar"},
        _spread(
            HOSTNAME,
            1,
            "DoNotSchedule",
            {"foo": "bar"},
            nodeAffinityPolicy="Honor",
            nodeTaintsPolicy="Honor",
        ),
    ),
    "low-priority": ("900m", {}, {}),
    "high-priority": ("3", {}, {}),
    "large-cpu": ("9", {}, {}),
    "gated": ("100m", {}, {"schedulingGates": [{"name": "lakh.dev/bench"}]}),
    "gang": ("3", {}, {}),
}
