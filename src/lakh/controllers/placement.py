"""Which nodes a DaemonSet's pods belong on: node name, node selector, required affinity and taints of the template."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from lakh.machinery import gonumbers
from lakh.machinery.nodeselector import NodeSelectorTerm, Requirement

from .tainteviction import tolerates
from .views import Affinity, Node, Taint, Toleration, View

DAEMON_TOLERATIONS = (
    Toleration(key="node.kubernetes.io/not-ready", operator="Exists", effect="NoExecute"),
    Toleration(key="node.kubernetes.io/unreachable", operator="Exists", effect="NoExecute"),
    Toleration(key="node.kubernetes.io/disk-pressure", operator="Exists", effect="NoSchedule"),
    Toleration(key="node.kubernetes.io/memory-pressure", operator="Exists", effect="NoSchedule"),
    Toleration(key="node.kubernetes.io/pid-pressure", operator="Exists", effect="NoSchedule"),
    Toleration(key="node.kubernetes.io/unschedulable", operator="Exists", effect="NoSchedule"),
)
"""What every daemon pod tolerates."""
HOST_NETWORK_TOLERATION = Toleration(
    key="node.kubernetes.io/network-unavailable", operator="Exists", effect="NoSchedule"
)


class PlacementSpec(View):
    """The part of a template's spec that says where its pods may run."""

    nodeName: str | None = None
    nodeSelector: dict[str, str] | None = None
    affinity: Affinity | None = None
    tolerations: list[Toleration] | None = None
    hostNetwork: bool | None = None


class Placement:
    """A template's demands, ready to be checked against many nodes."""

    def __init__(self, spec: bytes | msgspec.Raw) -> None:
        self._spec = msgspec.json.decode(spec, type=PlacementSpec)
        self.tolerations = [*(self._spec.tolerations or ()), *DAEMON_TOLERATIONS]
        if self._spec.hostNetwork:
            self.tolerations.append(HOST_NETWORK_TOLERATION)
        affinity = self._spec.affinity.nodeAffinity if self._spec.affinity is not None else None
        required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity is not None else None
        self._terms = None if required is None else (required.nodeSelectorTerms or [])

    def on(self, node: Node) -> tuple[bool, bool]:
        """(should a pod run on this node, may one that runs there stay)."""
        spec = self._spec
        if spec.nodeName and spec.nodeName != node.metadata.name:
            return False, False
        labels = node.metadata.labels or {}
        for key, value in (spec.nodeSelector or {}).items():
            if labels.get(key) != value:
                return False, False
        if self._terms is not None and not any(
            matches_term(term, labels, node.metadata.name) for term in self._terms
        ):
            return False, False
        untolerated = [taint for taint in node.spec.taints or () if self._objects(taint)]
        if not untolerated:
            return True, True
        return False, all(taint.effect != "NoExecute" for taint in untolerated)

    def _objects(self, taint: Taint) -> bool:
        return taint.effect in ("NoSchedule", "NoExecute") and not any(
            tolerates(toleration, taint) for toleration in self.tolerations
        )


def matches_term(term: NodeSelectorTerm, labels: Mapping[str, str], name: str) -> bool:
    """Whether a node matches one alternative; an empty one matches nothing."""
    if not term.matchExpressions and not term.matchFields:
        return False
    return all(_matches(requirement, labels) for requirement in term.matchExpressions or ()) and all(
        _matches(requirement, {"metadata.name": name}) for requirement in term.matchFields or ()
    )


def _matches(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    values = requirement.values or []
    match requirement.operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            if value is None or len(values) != 1:
                return False
            if not gonumbers.is_int(value) or not gonumbers.is_int(values[0]):
                return False
            return (
                int(value) > int(values[0]) if requirement.operator == "Gt" else int(value) < int(values[0])
            )
    return False
