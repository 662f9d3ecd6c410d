"""Narrow views of pods and nodes: only what scheduling reads.

A pod decodes in about two microseconds because everything else (images, environment, volumes, probes) is skipped. `None`
means absent. Field order matters: `spec_key` encodes the scheduling-relevant fields in order, and pods made from one template
encode to equal bytes.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from lakh.machinery.nodeselector import NodeSelector, NodeSelectorTerm, Requirement

__all__ = [
    "Affinity",
    "Container",
    "ContainerPort",
    "Node",
    "NodeAffinity",
    "NodeSelector",
    "NodeSelectorTerm",
    "Pod",
    "PodMeta",
    "PodSpec",
    "Requirement",
    "Taint",
    "Toleration",
    "WeightedTerm",
    "spec_key",
    "strip_node",
    "strip_pod",
]

Quantity = str | int | float


class Resources(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 ResourceRequirements: the requests."""

    requests: dict[str, Quantity] | None = None


class ContainerPort(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 ContainerPort: what occupies a port of the host."""

    hostPort: int | None = None
    hostIP: str | None = None
    protocol: str | None = None


class Container(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 Container."""

    resources: Resources | None = None
    ports: list[ContainerPort] | None = None
    restartPolicy: str | None = None
    name: str | None = None
    """Taken out with the image by `requests.images_of` before a class is looked for."""
    image: str | None = None


class WeightedTerm(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 PreferredSchedulingTerm."""

    weight: int | None = None
    preference: NodeSelectorTerm | None = None


class NodeAffinity(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 NodeAffinity."""

    requiredDuringSchedulingIgnoredDuringExecution: NodeSelector | None = None
    preferredDuringSchedulingIgnoredDuringExecution: list[WeightedTerm] | None = None


class SelectorRequirement(msgspec.Struct, gc=False, omit_defaults=True):
    """metav1 LabelSelectorRequirement."""

    key: str
    operator: str
    values: list[str] | None = None


class LabelSelector(msgspec.Struct, gc=False, omit_defaults=True):
    """metav1 LabelSelector."""

    matchLabels: dict[str, str] | None = None
    matchExpressions: list[SelectorRequirement] | None = None


class PodAffinityTerm(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 PodAffinityTerm. The API server has written `matchLabelKeys` and `mismatchLabelKeys` into the selector."""

    topologyKey: str = ""
    labelSelector: LabelSelector | None = None
    namespaces: list[str] | None = None
    namespaceSelector: LabelSelector | None = None


class WeightedPodAffinityTerm(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 WeightedPodAffinityTerm."""

    weight: int = 0
    podAffinityTerm: PodAffinityTerm = msgspec.field(default_factory=PodAffinityTerm)


class PodAffinity(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 PodAffinity and PodAntiAffinity."""

    requiredDuringSchedulingIgnoredDuringExecution: list[PodAffinityTerm] | None = None
    preferredDuringSchedulingIgnoredDuringExecution: list[WeightedPodAffinityTerm] | None = None


class Affinity(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 Affinity."""

    nodeAffinity: NodeAffinity | None = None
    podAffinity: PodAffinity | None = None
    podAntiAffinity: PodAffinity | None = None


class Toleration(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 Toleration."""

    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None


class SpreadConstraint(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 TopologySpreadConstraint."""

    maxSkew: int = 1
    topologyKey: str = ""
    whenUnsatisfiable: str | None = None
    labelSelector: LabelSelector | None = None
    minDomains: int | None = None
    nodeAffinityPolicy: str | None = None
    nodeTaintsPolicy: str | None = None
    matchLabelKeys: list[str] | None = None


class ClaimSource(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 PersistentVolumeClaimVolumeSource."""

    claimName: str = ""


class EphemeralSource(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 EphemeralVolumeSource: that there is one."""


class GCEDisk(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 GCEPersistentDiskVolumeSource."""

    pdName: str = ""
    readOnly: bool | None = None


class EBSDisk(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 AWSElasticBlockStoreVolumeSource."""

    volumeID: str = ""


class ISCSIDisk(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 ISCSIVolumeSource."""

    iqn: str = ""
    readOnly: bool | None = None


class RBDDisk(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 RBDVolumeSource."""

    monitors: list[str] | None = None
    pool: str | None = None
    image: str = ""
    readOnly: bool | None = None


class Volume(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 Volume: what is behind a claim, and disks."""

    name: str = ""
    persistentVolumeClaim: ClaimSource | None = None
    ephemeral: EphemeralSource | None = None
    gcePersistentDisk: GCEDisk | None = None
    awsElasticBlockStore: EBSDisk | None = None
    iscsi: ISCSIDisk | None = None
    rbd: RBDDisk | None = None


class PodResourceClaim(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 PodResourceClaim."""

    name: str = ""
    resourceClaimName: str | None = None
    resourceClaimTemplateName: str | None = None


class ResourceClaimStatus(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 PodResourceClaimStatus: which claim was made from the template."""

    name: str = ""
    resourceClaimName: str | None = None


class SchedulingGroup(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 PodSchedulingGroup."""

    podGroupName: str | None = None


class PodSpec(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 PodSpec."""

    nodeName: str | None = None
    schedulerName: str | None = None
    priority: int | None = None
    preemptionPolicy: str | None = None
    containers: list[Container] | None = None
    initContainers: list[Container] | None = None
    overhead: dict[str, Quantity] | None = None
    resources: Resources | None = None
    nodeSelector: dict[str, str] | None = None
    affinity: Affinity | None = None
    tolerations: list[Toleration] | None = None
    topologySpreadConstraints: list[SpreadConstraint] | None = None
    resourceClaims: list[PodResourceClaim] | None = None
    volumes: list[Volume] | None = None
    schedulingGates: list[Any] | None = None
    schedulingGroup: SchedulingGroup | None = None
    terminationGracePeriodSeconds: int | None = None


class OwnerReference(msgspec.Struct, gc=False, omit_defaults=True):
    """metav1 OwnerReference."""

    kind: str = ""
    name: str = ""
    controller: bool | None = None


class PodMeta(msgspec.Struct, gc=False, omit_defaults=True):
    """metav1.ObjectMeta: a pod's identity."""

    name: str
    namespace: str | None = None
    uid: str = ""
    resourceVersion: str | None = None
    deletionTimestamp: str | None = None
    labels: dict[str, str] | None = None
    ownerReferences: list[OwnerReference] | None = None


class Condition(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 PodCondition."""

    type: str
    status: str | None = None
    reason: str | None = None
    message: str | None = None


class ContainerStatus(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 ContainerStatus: what the container has while it is resized in place."""

    name: str = ""
    resources: Resources | None = None
    allocatedResources: dict[str, Quantity] | None = None


class PodStatus(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 PodStatus."""

    phase: str | None = None
    conditions: list[Condition] | None = None
    nominatedNodeName: str | None = None
    startTime: str | None = None
    resourceClaimStatuses: list[ResourceClaimStatus] | None = None
    containerStatuses: list[ContainerStatus] | None = None
    initContainerStatuses: list[ContainerStatus] | None = None


class Pod(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 Pod."""

    metadata: PodMeta
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)


class Taint(msgspec.Struct, gc=False, omit_defaults=True, frozen=True):
    """core/v1 Taint without the time it was added."""

    key: str
    effect: str
    value: str | None = None


class NodeMeta(msgspec.Struct, gc=False, omit_defaults=True):
    """metav1.ObjectMeta: a node's identity and labels."""

    name: str
    namespace: str | None = None
    uid: str = ""
    resourceVersion: str | None = None
    labels: dict[str, str] | None = None


class NodeSpec(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 NodeSpec."""

    unschedulable: bool | None = None
    taints: list[Taint] | None = None


NO_IMAGES = msgspec.Raw()


class ContainerImage(msgspec.Struct, gc=False):
    """core/v1 ContainerImage."""

    names: list[str] | None = None
    sizeBytes: int = 0


class NodeStatus(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 NodeStatus."""

    allocatable: dict[str, Quantity] | None = None
    images: msgspec.Raw = NO_IMAGES
    """core/v1 ContainerImage as encoded; `columns` takes it out."""


class Node(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 Node."""

    metadata: NodeMeta
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)


class ObjectMeta(msgspec.Struct, gc=False, omit_defaults=True):
    """metav1.ObjectMeta: an identity and labels."""

    name: str
    namespace: str | None = None
    uid: str = ""
    resourceVersion: str | None = None
    labels: dict[str, str] | None = None


class Namespace(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 Namespace: its labels."""

    metadata: ObjectMeta


class ServiceSpec(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 ServiceSpec: also that of a ReplicationController, whose selector is a map of labels too."""

    selector: dict[str, str] | None = None


class Service(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 Service, and ReplicationController."""

    metadata: ObjectMeta
    spec: ServiceSpec = msgspec.field(default_factory=ServiceSpec)


class WorkloadSetSpec(msgspec.Struct, gc=False, omit_defaults=True):
    """apps/v1 ReplicaSetSpec and StatefulSetSpec: the selector."""

    selector: LabelSelector | None = None


class WorkloadSet(msgspec.Struct, gc=False, omit_defaults=True):
    """apps/v1 ReplicaSet and StatefulSet."""

    metadata: ObjectMeta
    spec: WorkloadSetSpec = msgspec.field(default_factory=WorkloadSetSpec)


class DisruptionBudgetSpec(msgspec.Struct, gc=False, omit_defaults=True):
    """policy/v1 PodDisruptionBudgetSpec: the selector."""

    selector: LabelSelector | None = None


class DisruptionBudgetStatus(msgspec.Struct, gc=False, omit_defaults=True):
    """policy/v1 PodDisruptionBudgetStatus: what may go."""

    disruptionsAllowed: int = 0
    disruptedPods: dict[str, str] | None = None


class DisruptionBudget(msgspec.Struct, gc=False, omit_defaults=True):
    """policy/v1 PodDisruptionBudget."""

    metadata: ObjectMeta
    spec: DisruptionBudgetSpec = msgspec.field(default_factory=DisruptionBudgetSpec)
    status: DisruptionBudgetStatus = msgspec.field(default_factory=DisruptionBudgetStatus)


class GroupMeta(msgspec.Struct, gc=False, omit_defaults=True):
    """metav1.ObjectMeta: a pod group's identity and annotations."""

    name: str
    namespace: str | None = None
    uid: str = ""
    resourceVersion: str | None = None
    annotations: dict[str, str] | None = None


class GangPolicy(msgspec.Struct, gc=False, omit_defaults=True):
    """scheduling.k8s.io/v1alpha2 GangSchedulingPolicy."""

    minCount: int = 1


class GroupPolicy(msgspec.Struct, gc=False, omit_defaults=True):
    """scheduling.k8s.io/v1alpha2 PodGroupSchedulingPolicy."""

    gang: GangPolicy | None = None


class TopologyConstraint(msgspec.Struct, gc=False, omit_defaults=True):
    """scheduling.k8s.io/v1alpha2 TopologyConstraint."""

    key: str = ""


class GroupConstraints(msgspec.Struct, gc=False, omit_defaults=True):
    """scheduling.k8s.io/v1alpha2 PodGroupSchedulingConstraints."""

    topology: list[TopologyConstraint] | None = None


class PodGroupSpec(msgspec.Struct, gc=False, omit_defaults=True):
    """scheduling.k8s.io/v1alpha2 PodGroupSpec."""

    schedulingPolicy: GroupPolicy = msgspec.field(default_factory=GroupPolicy)
    schedulingConstraints: GroupConstraints | None = None
    disruptionMode: str | None = None
    priority: int | None = None


class PodGroup(msgspec.Struct, gc=False, omit_defaults=True):
    """scheduling.k8s.io/v1alpha2 PodGroup."""

    metadata: GroupMeta
    spec: PodGroupSpec = msgspec.field(default_factory=PodGroupSpec)


class CoschedulingGroupSpec(msgspec.Struct, gc=False, omit_defaults=True):
    """scheduling.x-k8s.io/v1alpha1 PodGroupSpec."""

    minMember: int = 1
    minResources: dict[str, Quantity] | None = None
    scheduleTimeoutSeconds: int | None = None


class CoschedulingGroup(msgspec.Struct, gc=False, omit_defaults=True):
    """scheduling.x-k8s.io/v1alpha1 PodGroup."""

    metadata: GroupMeta
    spec: CoschedulingGroupSpec = msgspec.field(default_factory=CoschedulingGroupSpec)


_encode = msgspec.json.Encoder().encode


def spec_key(spec: PodSpec) -> bytes:
    """Bytes that are equal for pods with equal scheduling-relevant specs. The node of an assigned pod takes no part."""
    return _encode(
        (
            spec.priority,
            spec.preemptionPolicy,
            spec.containers,
            spec.initContainers,
            spec.overhead,
            spec.resources,
            spec.nodeSelector,
            spec.affinity,
            spec.tolerations,
            spec.topologySpreadConstraints,
        )
    )


NO_NODE_SPEC, NO_NODE_STATUS = NodeSpec(), NodeStatus()
NO_SPEC, NO_STATUS = PodSpec(), PodStatus()


def strip_pod(pod: Pod) -> None:
    """Keep a pod's names only: the informer holds it, and all else is in the core by now. 500,000 pods' specs would be a gigabyte."""
    metadata = pod.metadata
    metadata.labels = metadata.ownerReferences = metadata.deletionTimestamp = None
    if metadata.namespace is not None:
        metadata.namespace = sys.intern(metadata.namespace)
    pod.spec, pod.status = NO_SPEC, NO_STATUS


def strip_node(node: Node) -> None:
    """Keep a node's name only, as `strip_pod`."""
    node.metadata.labels, node.spec, node.status = None, NO_NODE_SPEC, NO_NODE_STATUS
