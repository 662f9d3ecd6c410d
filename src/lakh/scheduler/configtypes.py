"""kubescheduler.config.k8s.io/v1 as it is written in a file: KubeSchedulerConfiguration and its plugins' arguments.

Unknown fields are refused when a file is decoded. `None` means that the file does not say.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .views import NodeAffinity, SpreadConstraint

__all__ = ["API_VERSION", "ARGS", "EXTENSION_POINTS", "KubeSchedulerConfiguration", "PluginSet", "Profile"]

API_VERSION = "kubescheduler.config.k8s.io/v1"


class _Strict(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """Unknown fields are errors."""


class _Args(_Strict):
    """Arguments may say what they are."""

    apiVersion: str | None = None
    kind: str | None = None


class Plugin(_Strict):
    """A plugin by name, with its weight where it scores."""

    name: str = ""
    weight: int | None = None


class PluginSet(_Strict):
    """What is enabled, and disabled, at an extension point."""

    enabled: list[Plugin] | None = None
    disabled: list[Plugin] | None = None


class Plugins(_Strict):
    """The extension points."""

    preEnqueue: PluginSet | None = None
    queueSort: PluginSet | None = None
    preFilter: PluginSet | None = None
    filter: PluginSet | None = None
    postFilter: PluginSet | None = None
    preScore: PluginSet | None = None
    score: PluginSet | None = None
    reserve: PluginSet | None = None
    permit: PluginSet | None = None
    preBind: PluginSet | None = None
    bind: PluginSet | None = None
    postBind: PluginSet | None = None
    placementGenerate: PluginSet | None = None
    placementScore: PluginSet | None = None
    multiPoint: PluginSet | None = None


EXTENSION_POINTS = tuple(name for name in Plugins.__struct_fields__ if name != "multiPoint")


class PluginConfig(_Strict):
    """A plugin's arguments, decoded by `ARGS`."""

    name: str = ""
    args: dict[str, Any] | None = None


class Profile(_Strict):
    """KubeSchedulerProfile."""

    schedulerName: str | None = None
    percentageOfNodesToScore: int | None = None
    plugins: Plugins | None = None
    pluginConfig: list[PluginConfig] | None = None


class LeaderElection(_Strict):
    """component-base LeaderElectionConfiguration; durations in Go's notation."""

    leaderElect: bool | None = None
    leaseDuration: str | None = None
    renewDeadline: str | None = None
    retryPeriod: str | None = None
    resourceLock: str | None = None
    resourceName: str | None = None
    resourceNamespace: str | None = None


class ClientConnection(_Strict):
    """component-base ClientConnectionConfiguration."""

    kubeconfig: str | None = None
    acceptContentTypes: str | None = None
    contentType: str | None = None
    qps: float | None = None
    burst: int | None = None


class KubeSchedulerConfiguration(_Strict):
    """The file."""

    apiVersion: str | None = None
    kind: str | None = None
    parallelism: int | None = None
    leaderElection: LeaderElection = msgspec.field(default_factory=LeaderElection)
    clientConnection: ClientConnection = msgspec.field(default_factory=ClientConnection)
    enableProfiling: bool | None = None
    enableContentionProfiling: bool | None = None
    percentageOfNodesToScore: int | None = None
    podInitialBackoffSeconds: int | None = None
    podMaxBackoffSeconds: int | None = None
    profiles: list[Profile] | None = None
    extenders: list[Any] | None = None
    delayCacheUntilActive: bool | None = None


# Arguments


class ResourceSpec(_Strict):
    """A resource and its weight."""

    name: str = ""
    weight: int | None = None


class ShapePoint(_Strict):
    """UtilizationShapePoint."""

    utilization: int = 0
    score: int = 0


class RequestedToCapacityRatioParam(_Strict):
    """The shape of RequestedToCapacityRatio."""

    shape: list[ShapePoint] | None = None


class ScoringStrategy(_Strict):
    """How NodeResourcesFit scores."""

    type: str = ""
    resources: list[ResourceSpec] | None = None
    requestedToCapacityRatio: RequestedToCapacityRatioParam | None = None


class NodeResourcesFitArgs(_Args):
    """Arguments of NodeResourcesFit."""

    ignoredResources: list[str] | None = None
    ignoredResourceGroups: list[str] | None = None
    scoringStrategy: ScoringStrategy | None = None


class NodeResourcesBalancedAllocationArgs(_Args):
    """Arguments of NodeResourcesBalancedAllocation."""

    resources: list[ResourceSpec] | None = None


class PodTopologySpreadArgs(_Args):
    """Arguments of PodTopologySpread."""

    defaultConstraints: list[SpreadConstraint] | None = None
    defaultingType: str = ""


class InterPodAffinityArgs(_Args):
    """Arguments of InterPodAffinity."""

    hardPodAffinityWeight: int | None = None
    ignorePreferredTermsOfExistingPods: bool = False


class NodeAffinityArgs(_Args):
    """Arguments of NodeAffinity."""

    addedAffinity: NodeAffinity | None = None


class DefaultPreemptionArgs(_Args):
    """Arguments of DefaultPreemption."""

    minCandidateNodesPercentage: int | None = None
    minCandidateNodesAbsolute: int | None = None


class VolumeBindingArgs(_Args):
    """Arguments of VolumeBinding."""

    bindTimeoutSeconds: int | None = None
    shape: list[ShapePoint] | None = None


class DynamicResourcesArgs(_Args):
    """Arguments of DynamicResources."""

    filterTimeout: str | None = None
    bindingTimeout: str | None = None


ARGS: dict[str, type[_Args]] = {
    kind.__name__.removesuffix("Args"): kind
    for kind in (
        NodeResourcesFitArgs,
        NodeResourcesBalancedAllocationArgs,
        PodTopologySpreadArgs,
        InterPodAffinityArgs,
        NodeAffinityArgs,
        DefaultPreemptionArgs,
        VolumeBindingArgs,
        DynamicResourcesArgs,
    )
}
"""The arguments of each plugin that takes some."""
