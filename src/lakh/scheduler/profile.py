"""A profile: which plugins filter and score the pods of one scheduler name, with which weights and arguments.

Profiles are immutable, compared by identity, and part of each pod class: a class knows how it is filtered and scored. The default profile is
kube-scheduler's. `config` makes others from a KubeSchedulerConfiguration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .requests import CPU, MEMORY
from .views import NodeSelectorTerm

__all__ = ["DEFAULT_PROFILE", "DEFAULT_SCHEDULER_NAME", "PLUGINS", "Profile", "SpreadDefault", "Strategy"]

DEFAULT_SCHEDULER_NAME = "default-scheduler"
MAX_NODE_SCORE = 100

PLUGINS: dict[str, tuple[str, ...]] = {
    "SchedulingGates": ("preEnqueue",),
    "PrioritySort": ("queueSort",),
    "NodeUnschedulable": ("filter",),
    "NodeName": ("filter",),
    "TaintToleration": ("filter", "preScore", "score"),
    "NodeAffinity": ("preFilter", "filter", "preScore", "score"),
    "NodePorts": ("preFilter", "filter"),
    "NodeResourcesFit": ("preFilter", "filter", "preScore", "score"),
    "VolumeRestrictions": ("preFilter", "filter"),
    "NodeVolumeLimits": ("preFilter", "filter"),
    "VolumeBinding": ("preFilter", "filter", "reserve", "preBind", "preScore", "score"),
    "VolumeZone": ("preFilter", "filter"),
    "PodTopologySpread": ("preFilter", "filter", "preScore", "score"),
    "InterPodAffinity": ("preFilter", "filter", "preScore", "score"),
    "DynamicResources": ("preEnqueue", "preFilter", "filter", "postFilter", "reserve", "preBind", "score"),
    "DefaultPreemption": ("preEnqueue", "postFilter"),
    "NodeResourcesBalancedAllocation": ("preScore", "score"),
    "ImageLocality": ("score",),
    "DefaultBinder": ("bind",),
}
"""The plugins in the default profile's order, and the extension points that each one has."""

DEFAULT_WEIGHTS = {
    "TaintToleration": 3,
    "NodeAffinity": 2,
    "NodeResourcesFit": 1,
    "VolumeBinding": 1,
    "PodTopologySpread": 2,
    "InterPodAffinity": 2,
    "DynamicResources": 1,
    "NodeResourcesBalancedAllocation": 1,
    "ImageLocality": 1,
}
"""Upstream's pkg/scheduler/apis/config/v1/default_plugins.go; a plugin without a weight of its own there weighs 1."""

VOLUME_FILTERS = frozenset(("VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding", "VolumeZone"))
CLAIM_BINDERS = frozenset(("VolumeBinding", "DynamicResources"))

LEAST_ALLOCATED, MOST_ALLOCATED, RATIO = "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"
CPU_AND_MEMORY = ((CPU, 1), (MEMORY, 1))


@dataclass(frozen=True, slots=True)
class Strategy:
    """NodeResourcesFitArgs' scoringStrategy."""

    kind: str = LEAST_ALLOCATED
    resources: tuple[tuple[str, int], ...] = CPU_AND_MEMORY
    """Names and weights."""
    shape: tuple[tuple[int, int], ...] = ()
    """RequestedToCapacityRatio: utilisation in percent, and the score from 0 to 100 there; ascending."""

    def table(self) -> list[int]:
        """The score by utilisation in percent, 0 to 100: the shape's points joined by lines.

        Upstream's BuildBrokenLinearFunction, with its division that rounds towards zero.
        """
        return [self._at(percent) for percent in range(101)]

    def _at(self, percent: int) -> int:
        for index, (at, score) in enumerate(self.shape):
            if percent <= at:
                if index == 0:
                    return score
                before, base = self.shape[index - 1]
                rise = (score - base) * (percent - before)
                step = abs(rise) // (at - before)
                return base + (step if rise >= 0 else -step)
        return self.shape[-1][1]


@dataclass(frozen=True, slots=True)
class SpreadDefault:
    """A constraint for pods that have none of their own."""

    key: str
    max_skew: int
    hard: bool = False
    min_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False


SYSTEM_DEFAULTS = (
    SpreadDefault("kubernetes.io/hostname", 3),
    SpreadDefault("topology.kubernetes.io/zone", 5),
)


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """One scheduler name's plugins. What is not in `filters` does not refuse; what has no weight does not score."""

    name: str = DEFAULT_SCHEDULER_NAME
    filters: frozenset[str] = frozenset(name for name, points in PLUGINS.items() if "filter" in points)
    weights: Mapping[str, int] = field(default_factory=lambda: DEFAULT_WEIGHTS)
    gates: bool = True
    """Pods with scheduling gates wait."""
    preempts: bool = True
    awaits_claims: bool = True
    """Pods whose resource claims are not there yet wait for them: DynamicResources' PreEnqueue."""
    deallocates: bool = True
    """Claims that nobody uses are given back for a pod that fits nowhere: DynamicResources' PostFilter."""
    binds: frozenset[str] = CLAIM_BINDERS
    """The plugins that write a pod's claims before it is bound."""
    bind_timeout_seconds: float = 600.0
    """How long volumes may take to be bound: VolumeBindingArgs' bindTimeoutSeconds."""
    device_timeout_seconds: float = 600.0
    """How long devices may take to become ready: DynamicResourcesArgs' bindingTimeout."""
    strategy: Strategy = Strategy()
    ignored_resources: frozenset[str] = frozenset()
    ignored_groups: frozenset[str] = frozenset()
    balanced: tuple[str, ...] = (CPU, MEMORY)
    spread_defaults: tuple[SpreadDefault, ...] = SYSTEM_DEFAULTS
    system_defaulted: bool = True
    hard_affinity_weight: int = 1
    """What a placed pod's required affinity counts when another pod is scored."""
    ignore_preferred_of_existing: bool = False
    added_required: tuple[NodeSelectorTerm, ...] | None = None
    added_preferred: tuple[tuple[int, NodeSelectorTerm], ...] = ()
    min_candidates_percentage: int = 10
    min_candidates_absolute: int = 100
    # Read for every evaluation, so looked up once.
    taint_weight: int = field(init=False)
    affinity_weight: int = field(init=False)
    fit_weight: int = field(init=False)
    balanced_weight: int = field(init=False)
    spread_weight: int = field(init=False)
    interpod_weight: int = field(init=False)
    image_weight: int = field(init=False)
    device_weight: int = field(init=False)
    max_total: int = field(init=False)
    """No node scores more."""
    max_base: int = field(init=False)
    """No node scores more by its resources."""
    plain: bool = field(init=False)
    """Resources are scored by default: there is a short way."""

    def __post_init__(self) -> None:
        weight = self.weights.get
        fit, balanced = weight("NodeResourcesFit", 0), weight("NodeResourcesBalancedAllocation", 0)
        values = {
            "taint_weight": weight("TaintToleration", 0),
            "affinity_weight": weight("NodeAffinity", 0),
            "fit_weight": fit,
            "balanced_weight": balanced,
            "spread_weight": weight("PodTopologySpread", 0),
            "interpod_weight": weight("InterPodAffinity", 0),
            "image_weight": weight("ImageLocality", 0),
            "device_weight": weight("DynamicResources", 0),
            "max_total": MAX_NODE_SCORE * sum(self.weights.values()),
            "max_base": MAX_NODE_SCORE * (fit + balanced),
            "plain": fit == balanced == 1 and self.strategy == Strategy() and self.balanced == (CPU, MEMORY),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"Profile({self.name})"

    def ignores(self, resource: str) -> bool:
        """Whether NodeResourcesFit does not ask for this extended resource."""
        return resource in self.ignored_resources or resource.partition("/")[0] in self.ignored_groups


DEFAULT_PROFILE = Profile()
