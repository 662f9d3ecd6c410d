"""Pod classes: the scheduling-relevant part of a spec, compiled once and shared by all pods that have it.

A hundred thousand pods of one job are one `PodClass`. A class is immutable and compared by identity; `ClassTable` finds it
by the bytes of the spec (`views.spec_key`), which costs two microseconds. The table keeps the most recently seen specs; a
forgotten class that pods still refer to stays right, it is only no longer shared with new pods.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .profile import DEFAULT_PROFILE, Profile
from .requests import CPU, EPHEMERAL_STORAGE, MEMORY, PODS, is_scalar, pod_requests
from .views import NodeSelectorTerm, PodSpec, Taint, Toleration, spec_key

if TYPE_CHECKING:
    from .constraints import Constraint
    from .interpod import InterPod

__all__ = ["MAX_CLASSES", "ClassTable", "HostPort", "PodClass", "compile_class", "tolerates"]

MAX_CLASSES = 65_536
"""Compiled classes kept for sharing: a few kilobytes each."""

HostPort = tuple[str, int, str]
"""Protocol, port, IP of the host."""

HARD_EFFECTS = ("NoSchedule", "NoExecute")
SOFT_EFFECT = "PreferNoSchedule"
UNSCHEDULABLE_TAINT = Taint("node.kubernetes.io/unschedulable", "NoSchedule")
NAME_FIELD = "metadata.name"


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether one toleration matches one taint: an empty effect or key is any, the operator defaults to Equal."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    if toleration.operator in (None, "", "Equal"):
        return (toleration.value or "") == (taint.value or "")
    return False


@dataclass(frozen=True, eq=False, slots=True)
class PodClass:
    """What the scheduler knows about a pod but its identity."""

    key: bytes
    spec: PodSpec
    priority: int
    requests: dict[str, int]
    demands: tuple[tuple[str, int], ...]
    """The requests that are not zero: those that NodeResourcesFit compares."""
    cpu: int
    """Requested cpu in milli-units."""
    memory: int
    """Requested memory in bytes."""
    score_milli_cpu: int
    """cpu as scoring counts it: never nothing."""
    score_memory: int
    best_effort: bool
    """Neither cpu nor memory requested: NodeResourcesBalancedAllocation has no opinion."""
    node_selector: dict[str, str]
    required_terms: tuple[NodeSelectorTerm, ...] | None
    preferred_terms: tuple[tuple[int, NodeSelectorTerm], ...]
    prefers: bool
    """The spec has preferred node affinity, be it only terms without weight."""
    tolerations: tuple[Toleration, ...]
    soft_tolerations: tuple[Toleration, ...]
    """Those that count for PreferNoSchedule taints."""
    tolerates_unschedulable: bool
    host_ports: tuple[HostPort, ...]
    pinned_nodes: tuple[str, ...] | None
    """The only nodes that node affinity names by `metadata.name`, like a daemon's; None: not pinned."""
    problem: str | None
    """Why no node will do, known from the spec alone."""
    profile: Profile
    needs: tuple[tuple[str, int], ...]
    """What NodeResourcesFit compares, a place for the pod first; empty where the plugin is disabled."""
    extended: tuple[str, ...]
    """The resources asked for that a DeviceClass may stand behind."""
    wanted_ports: tuple[HostPort, ...]
    """The host ports that NodePorts looks for."""
    fit_terms: tuple[tuple[str, int, int], ...]
    """What NodeResourcesFit scores: resource, what the pod adds to it, weight."""
    balanced_terms: tuple[tuple[str, int], ...]
    """What NodeResourcesBalancedAllocation compares: resource, what the pod adds to it. Empty: it has no opinion."""
    carries_terms: bool = False
    """The spec has inter-pod affinity or anti-affinity: its placed pods concern others."""
    interpod: InterPod | None = None
    """What its pods and others want of each other; only classes that `InterPodIndex.resolve` made have it."""
    constraints: tuple[Constraint, ...] = ()
    """What its pods' claims mean for nodes; see `constraints`."""
    images: tuple[str, ...] = ()
    """The containers' images, where some node has one of them: see `Core.resolve`."""
    backed: tuple[tuple[str, str], ...] = ()
    """Resources that devices stand behind where a node has none itself, and the device class of each."""
    base: PodClass | None = None
    """The class of the spec alone, where this one was made from it."""

    @property
    def never_preempts(self) -> bool:
        """The pod asks not to preempt others."""
        return self.spec.preemptionPolicy == "Never"

    def tolerates_taint(self, taint: Taint) -> bool:
        """Whether the pod may be put on a node with this taint."""
        return any(tolerates(toleration, taint) for toleration in self.tolerations)

    def prefers_not(self, taint: Taint) -> bool:
        """Whether the taint is a PreferNoSchedule that the pod does not tolerate."""
        return taint.effect == SOFT_EFFECT and not any(
            tolerates(toleration, taint) for toleration in self.soft_tolerations
        )

    def __repr__(self) -> str:
        return f"PodClass({dict(self.demands)}, priority={self.priority})"


def _host_ports(spec: PodSpec) -> tuple[HostPort, ...]:
    containers = [*(spec.containers or ())]
    containers += [c for c in spec.initContainers or () if c.restartPolicy == "Always"]
    return tuple(
        (port.protocol or "TCP", port.hostPort, port.hostIP or "0.0.0.0")
        for container in containers
        for port in container.ports or ()
        if port.hostPort
    )


def _pinned_nodes(terms: tuple[NodeSelectorTerm, ...] | None) -> tuple[str, ...] | None:
    """The names that all terms are limited to; None when a term is not limited."""
    if not terms:
        return None
    names: dict[str, None] = {}
    for term in terms:
        of_term: list[str] | None = None
        for requirement in term.matchFields or ():
            if requirement.key == NAME_FIELD and requirement.operator == "In":
                values = requirement.values or []
                of_term = values if of_term is None else [name for name in of_term if name in values]
        if of_term is None:
            return None
        names.update(dict.fromkeys(of_term))
    return tuple(names)


def _scored(
    profile: Profile, requests: dict[str, int], score_milli_cpu: int, score_memory: int
) -> tuple[tuple[tuple[str, int, int], ...], tuple[tuple[str, int], ...]]:
    """`fit_terms` and `balanced_terms`: an extended resource counts only for pods that ask for it."""
    fit = []
    for name, weight in profile.strategy.resources if profile.fit_weight else ():
        if name in (CPU, MEMORY):
            fit.append((name, score_milli_cpu if name == CPU else score_memory, weight))
        elif name == EPHEMERAL_STORAGE or (is_scalar(name) and requests.get(name)):
            fit.append((name, requests.get(name, 0), weight))
    balanced = [
        (name, requests.get(name, 0))
        for name in (profile.balanced if profile.balanced_weight else ())
        if name in (CPU, MEMORY, EPHEMERAL_STORAGE) or (is_scalar(name) and requests.get(name))
    ]
    return tuple(fit), tuple(balanced) if any(amount for _, amount in balanced) else ()


def compile_class(spec: PodSpec, key: bytes, profile: Profile = DEFAULT_PROFILE) -> PodClass:
    """Compile a spec. Never fails: what cannot be understood becomes the class's `problem`."""
    problem: str | None = None
    try:
        requests, score_milli_cpu, score_memory = pod_requests(spec)
    except ValueError as error:
        requests, score_milli_cpu, score_memory = {}, 0, 0
        problem = f"invalid resource requests: {error}"
    node_affinity = spec.affinity.nodeAffinity if spec.affinity else None
    required = node_affinity.requiredDuringSchedulingIgnoredDuringExecution if node_affinity else None
    preferred = node_affinity.preferredDuringSchedulingIgnoredDuringExecution if node_affinity else None
    terms = None if required is None else tuple(required.nodeSelectorTerms or ())
    filters = profile.filters
    pinned = _pinned_nodes(terms) if "NodeAffinity" in filters else None
    if pinned == () and problem is None:
        problem = "pod affinity terms conflict"
    tolerations = tuple(spec.tolerations or ())
    demands = tuple((name, amount) for name, amount in requests.items() if amount > 0)
    needs = ((PODS, 1), *(need for need in demands if not (is_scalar(need[0]) and profile.ignores(need[0]))))
    host_ports = _host_ports(spec)
    fit_terms, balanced_terms = _scored(profile, requests, score_milli_cpu, score_memory)
    return PodClass(
        key=key,
        spec=spec,
        priority=spec.priority or 0,
        requests=requests,
        demands=demands,
        cpu=requests.get(CPU, 0),
        memory=requests.get(MEMORY, 0),
        score_milli_cpu=score_milli_cpu,
        score_memory=score_memory,
        best_effort=not requests.get(CPU) and not requests.get(MEMORY),
        node_selector=spec.nodeSelector or {},
        required_terms=terms,
        preferred_terms=(
            *profile.added_preferred,
            *(
                (term.weight, term.preference)
                for term in preferred or ()
                if term.weight
                and term.preference
                and (term.preference.matchExpressions or term.preference.matchFields)
            ),
        )
        if profile.affinity_weight
        else (),
        prefers=bool(preferred),
        tolerations=tolerations,
        soft_tolerations=tuple(t for t in tolerations if not t.effect or t.effect == SOFT_EFFECT),
        tolerates_unschedulable="NodeUnschedulable" not in filters
        or any(tolerates(t, UNSCHEDULABLE_TAINT) for t in tolerations),
        host_ports=host_ports,
        pinned_nodes=pinned,
        problem=problem,
        profile=profile,
        needs=needs if "NodeResourcesFit" in filters else (),
        extended=tuple(name for name, _ in demands if "/" in name),
        wanted_ports=host_ports if "NodePorts" in filters else (),
        fit_terms=fit_terms,
        balanced_terms=balanced_terms,
        carries_terms=bool(spec.affinity and (spec.affinity.podAffinity or spec.affinity.podAntiAffinity)),
    )


class ClassTable:
    """Finds the class of a spec, compiling it the first time."""

    def __init__(self, limit: int = MAX_CLASSES) -> None:
        self._limit = limit
        self._classes: OrderedDict[tuple[Profile, bytes], PodClass] = OrderedDict()

    def __len__(self) -> int:
        return len(self._classes)

    def of(self, spec: PodSpec, profile: Profile = DEFAULT_PROFILE) -> PodClass:
        """The class of `spec` under a profile."""
        key = profile, spec_key(spec)
        found = self._classes.get(key)
        if found is None:
            found = self._classes[key] = compile_class(spec, key[1], profile)
            if len(self._classes) > self._limit:
                self._classes.popitem(last=False)
        else:
            self._classes.move_to_end(key)
        return found
