"""Kubernetes v1.36's own schemas, as the package `kubernetes-validate` carries them."""

from __future__ import annotations

from functools import cache
from importlib import resources

import msgspec

from lakh.machinery.schema import Schema

KUBERNETES_VERSION = "1.36"

_CORE, _STORAGE = "io.k8s.api.core.v1", "io.k8s.api.storage.v1"
_EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"
_CHANGED = ("lastTransitionTime",)

# Fields that are shown as null when there is nothing: times that are no pointers, and pointers, lists and maps without `omitempty` in the types.go
# of their API. Those that validation or defaults never leave empty are not listed.
_NULLS = {
    f"{_CORE}.AzureFilePersistentVolumeSource": ("secretNamespace",),
    f"{_CORE}.ContainerImage": ("names",),
    f"{_CORE}.ContainerStateRunning": ("startedAt",),
    f"{_CORE}.ContainerStateTerminated": ("startedAt", "finishedAt"),
    f"{_CORE}.Event": ("firstTimestamp", "lastTimestamp", "eventTime"),
    f"{_CORE}.EventSeries": ("lastObservedTime",),
    f"{_CORE}.NamespaceCondition": _CHANGED,
    f"{_CORE}.NodeCondition": ("lastHeartbeatTime", "lastTransitionTime"),
    f"{_CORE}.PersistentVolumeClaimCondition": ("lastProbeTime", "lastTransitionTime"),
    f"{_CORE}.PodCondition": ("lastProbeTime", "lastTransitionTime"),
    f"{_CORE}.ProjectedVolumeSource": ("sources",),
    f"{_CORE}.ReplicationControllerCondition": _CHANGED,
    f"{_CORE}.TypedLocalObjectReference": ("apiGroup",),
    f"{_CORE}.TypedObjectReference": ("apiGroup",),
    "io.k8s.api.apps.v1.DaemonSetCondition": _CHANGED,
    "io.k8s.api.apps.v1.DeploymentCondition": ("lastUpdateTime", "lastTransitionTime"),
    "io.k8s.api.apps.v1.ReplicaSetCondition": _CHANGED,
    "io.k8s.api.apps.v1.StatefulSetCondition": _CHANGED,
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerCondition": _CHANGED,
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus": ("currentMetrics",),
    "io.k8s.api.batch.v1.JobCondition": ("lastProbeTime", "lastTransitionTime"),
    "io.k8s.api.certificates.v1.CertificateSigningRequestCondition": ("lastUpdateTime", "lastTransitionTime"),
    "io.k8s.api.discovery.v1.EndpointSlice": ("endpoints", "ports"),
    "io.k8s.api.events.v1.Event": ("eventTime", "deprecatedFirstTimestamp", "deprecatedLastTimestamp"),
    "io.k8s.api.events.v1.EventSeries": ("lastObservedTime",),
    "io.k8s.api.flowcontrol.v1.FlowSchemaCondition": _CHANGED,
    "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationCondition": _CHANGED,
    "io.k8s.api.rbac.v1.ClusterRole": ("rules",),
    "io.k8s.api.rbac.v1.Role": ("rules",),
    "io.k8s.api.resource.v1.AllocatedDeviceStatus": ("conditions",),
    f"{_STORAGE}.CSINodeDriver": ("topologyKeys",),
    f"{_STORAGE}.VolumeError": ("time",),
    f"{_EXTENSIONS}.CustomResourceDefinitionCondition": _CHANGED,
    f"{_EXTENSIONS}.CustomResourceDefinitionStatus": ("conditions", "storedVersions"),
}

# Fields of statuses that are shown with their zero values, for the same reason. A new object has them from its strategy; a client's status may leave
# them out.
_ZEROS = {
    f"{_CORE}.ContainerStateTerminated": ("exitCode",),
    f"{_CORE}.ContainerStatus": ("name", "state", "lastState", "ready", "restartCount", "image", "imageID"),
    f"{_CORE}.ReplicationControllerStatus": ("replicas",),
    "io.k8s.api.apps.v1.DaemonSetStatus": (
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
    ),
    "io.k8s.api.apps.v1.ReplicaSetStatus": ("replicas",),
    "io.k8s.api.apps.v1.StatefulSetStatus": ("replicas", "availableReplicas"),
    "io.k8s.api.autoscaling.v1.HorizontalPodAutoscalerStatus": ("currentReplicas", "desiredReplicas"),
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus": ("desiredReplicas",),
    "io.k8s.api.policy.v1.PodDisruptionBudgetStatus": (
        "disruptionsAllowed",
        "currentHealthy",
        "desiredHealthy",
        "expectedPods",
    ),
    f"{_STORAGE}.VolumeAttachmentStatus": ("attached",),
}


@cache
def schema() -> Schema:
    """The schema of every built-in kind; loaded once (15 ms)."""
    path = resources.files("kubernetes_validate").joinpath(
        f"kubernetes-json-schema/v{KUBERNETES_VERSION}.0-local/_definitions.json"
    )
    return Schema(msgspec.json.decode(path.read_bytes())["$defs"], nulls=_NULLS, zeros=_ZEROS)
