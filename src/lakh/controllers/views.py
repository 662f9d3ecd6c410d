"""Narrow views of the objects that controllers look at.

A view decodes only the fields some controller reads, whatever else the object holds. Pods are watched once for all controllers, so `Pod` is
the union of what they need. Pod templates stay raw JSON: a controller copies them into pods without looking inside.

Every field may be `None`, which means absent. Views are never written back: changes go out as patches. They hold no cycles, so the garbage
collector of Python need not walk them (`gc=False`), which matters with a million of them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lakh.machinery.nodeselector import NodeSelector, Requirement

from .claimviews import ExtendedClaimStatus, PodClaim, PodClaimStatus, PodVolume


class View(msgspec.Struct, gc=False):
    """Base of all views."""


class OwnerReference(View):
    """`metav1.OwnerReference`."""

    apiVersion: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    blockOwnerDeletion: bool | None = None


class Meta(View):
    """The metadata that controllers read."""

    name: str = ""
    namespace: str | None = None
    uid: str = ""
    resourceVersion: str = ""
    generation: int | None = None
    creationTimestamp: str | None = None
    deletionTimestamp: str | None = None
    deletionGracePeriodSeconds: int | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    ownerReferences: list[OwnerReference] | None = None
    finalizers: list[str] | None = None


class BareMeta(View):
    """Metadata without labels and annotations, for who watches everything."""

    name: str = ""
    namespace: str | None = None
    uid: str = ""
    resourceVersion: str = ""
    deletionTimestamp: str | None = None
    ownerReferences: list[OwnerReference] | None = None
    finalizers: list[str] | None = None


class Bare(View):
    """Any object, as the garbage collector sees it."""

    metadata: BareMeta


class Object(View):
    """Any object: its metadata."""

    metadata: Meta


class Condition(View):
    """A condition of any kind; unused times stay absent."""

    type: str = ""
    status: str = ""
    reason: str | None = None
    message: str | None = None
    lastTransitionTime: str | None = None
    lastUpdateTime: str | None = None
    lastProbeTime: str | None = None
    lastHeartbeatTime: str | None = None
    observedGeneration: int | None = None


class LabelSelector(View):
    """`metav1.LabelSelector`."""

    matchLabels: dict[str, str] | None = None
    matchExpressions: list[Requirement] | None = None


class Toleration(View):
    """`core/v1.Toleration`."""

    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None
    tolerationSeconds: int | None = None


class Taint(View, omit_defaults=True):
    """`core/v1.Taint`."""

    key: str = ""
    value: str | None = None
    effect: str = ""
    timeAdded: str | None = None


# ---------------------------------------------------------------- pods


class NodeAffinity(View):
    """The required part of a node affinity."""

    requiredDuringSchedulingIgnoredDuringExecution: NodeSelector | None = None


class Affinity(View):
    """The part of an affinity that DaemonSets care for."""

    nodeAffinity: NodeAffinity | None = None


class ContainerPort(View):
    """A named port of a container."""

    name: str | None = None
    containerPort: int = 0
    protocol: str | None = None


class Container(View):
    """A container's ports; those of init containers with restartPolicy Always (sidecars) are as good."""

    name: str = ""
    ports: list[ContainerPort] | None = None
    restartPolicy: str | None = None


class PodSpec(View):
    """What controllers read of a pod's spec."""

    nodeName: str | None = None
    tolerations: list[Toleration] | None = None
    affinity: Affinity | None = None
    containers: list[Container] | None = None
    initContainers: list[Container] | None = None
    hostname: str | None = None
    subdomain: str | None = None
    volumes: list[PodVolume] | None = None
    resourceClaims: list[PodClaim] | None = None


class Running(View):
    """A running container."""

    startedAt: str | None = None


class Terminated(View):
    """A container that has ended."""

    exitCode: int = 0
    finishedAt: str | None = None


class ContainerState(View):
    """One of running and terminated, or neither."""

    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(View):
    """What controllers read of a container's status."""

    name: str = ""
    restartCount: int | None = None
    state: ContainerState | None = None


class PodIP(View):
    """One address of a pod."""

    ip: str = ""


class PodStatus(View):
    """What controllers read of a pod's status."""

    phase: str | None = None
    reason: str | None = None
    conditions: list[Condition] | None = None
    podIP: str | None = None
    podIPs: list[PodIP] | None = None
    startTime: str | None = None
    containerStatuses: list[ContainerStatus] | None = None
    initContainerStatuses: list[ContainerStatus] | None = None
    resourceClaimStatuses: list[PodClaimStatus] | None = None
    extendedResourceClaimStatus: ExtendedClaimStatus | None = None


class Pod(View):
    """A pod, for all controllers."""

    metadata: Meta
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)


# ---------------------------------------------------------------- workloads


class TemplateMeta(View):
    """Labels and annotations that a template gives its pods."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None


class Template(View):
    """A pod template; its spec stays raw."""

    metadata: TemplateMeta | None = None
    spec: msgspec.Raw = msgspec.Raw(b"{}")


class ReplicaSetSpec(View):
    """`apps/v1.ReplicaSetSpec`; the template stays raw."""

    replicas: int | None = None
    minReadySeconds: int | None = None
    selector: LabelSelector | None = None
    template: msgspec.Raw = msgspec.Raw(b"{}")


class ReplicaSetStatus(View):
    """`apps/v1.ReplicaSetStatus`."""

    replicas: int | None = None
    fullyLabeledReplicas: int | None = None
    readyReplicas: int | None = None
    availableReplicas: int | None = None
    terminatingReplicas: int | None = None
    observedGeneration: int | None = None
    conditions: list[Condition] | None = None


class ReplicaSet(View):
    """A ReplicaSet."""

    metadata: Meta
    spec: ReplicaSetSpec = msgspec.field(default_factory=ReplicaSetSpec)
    status: ReplicaSetStatus = msgspec.field(default_factory=ReplicaSetStatus)


class RollingUpdate(View):
    """How far a rolling update may deviate from the wanted count."""

    maxUnavailable: int | str | None = None
    maxSurge: int | str | None = None
    partition: int | None = None


class Strategy(View):
    """The update strategy of a Deployment, DaemonSet or StatefulSet."""

    type: str | None = None
    rollingUpdate: RollingUpdate | None = None


class DeploymentSpec(View):
    """`apps/v1.DeploymentSpec`."""

    replicas: int | None = None
    selector: LabelSelector | None = None
    template: msgspec.Raw = msgspec.Raw(b"{}")
    strategy: Strategy | None = None
    minReadySeconds: int | None = None
    revisionHistoryLimit: int | None = None
    paused: bool | None = None
    progressDeadlineSeconds: int | None = None


class DeploymentStatus(View):
    """`apps/v1.DeploymentStatus`."""

    observedGeneration: int | None = None
    replicas: int | None = None
    updatedReplicas: int | None = None
    readyReplicas: int | None = None
    availableReplicas: int | None = None
    unavailableReplicas: int | None = None
    terminatingReplicas: int | None = None
    collisionCount: int | None = None
    conditions: list[Condition] | None = None


class Deployment(View):
    """A Deployment."""

    metadata: Meta
    spec: DeploymentSpec = msgspec.field(default_factory=DeploymentSpec)
    status: DeploymentStatus = msgspec.field(default_factory=DeploymentStatus)


class OnExitCodes(View):
    """The exit codes that a rule of a pod failure policy matches."""

    containerName: str | None = None
    operator: str = ""
    values: list[int] | None = None


class OnPodCondition(View):
    """The pod condition that a rule of a pod failure policy matches."""

    type: str = ""
    status: str | None = None


class FailureRule(View):
    """One rule of a pod failure policy."""

    action: str = ""
    onExitCodes: OnExitCodes | None = None
    onPodConditions: list[OnPodCondition] | None = None


class FailurePolicy(View):
    """`batch/v1.PodFailurePolicy`."""

    rules: list[FailureRule] | None = None


class SuccessRule(View):
    """One rule of a success policy."""

    succeededIndexes: str | None = None
    succeededCount: int | None = None


class SuccessPolicy(View):
    """`batch/v1.SuccessPolicy`."""

    rules: list[SuccessRule] | None = None


class JobSpec(View):
    """`batch/v1.JobSpec`."""

    parallelism: int | None = None
    completions: int | None = None
    completionMode: str | None = None
    backoffLimit: int | None = None
    backoffLimitPerIndex: int | None = None
    maxFailedIndexes: int | None = None
    activeDeadlineSeconds: int | None = None
    ttlSecondsAfterFinished: int | None = None
    suspend: bool | None = None
    managedBy: str | None = None
    podReplacementPolicy: str | None = None
    podFailurePolicy: FailurePolicy | None = None
    successPolicy: SuccessPolicy | None = None
    selector: LabelSelector | None = None
    template: msgspec.Raw = msgspec.Raw(b"{}")


class Uncounted(View):
    """Uids of ended pods that are not in the counters yet."""

    succeeded: list[str] | None = None
    failed: list[str] | None = None


class JobStatus(View):
    """`batch/v1.JobStatus`."""

    active: int | None = None
    ready: int | None = None
    terminating: int | None = None
    succeeded: int | None = None
    failed: int | None = None
    completedIndexes: str | None = None
    failedIndexes: str | None = None
    startTime: str | None = None
    completionTime: str | None = None
    uncountedTerminatedPods: Uncounted | None = None
    conditions: list[Condition] | None = None


class Job(View):
    """A Job."""

    metadata: Meta
    spec: JobSpec = msgspec.field(default_factory=JobSpec)
    status: JobStatus = msgspec.field(default_factory=JobStatus)


class DaemonSetSpec(View):
    """`apps/v1.DaemonSetSpec`."""

    selector: LabelSelector | None = None
    template: msgspec.Raw = msgspec.Raw(b"{}")
    updateStrategy: Strategy | None = None
    minReadySeconds: int | None = None
    revisionHistoryLimit: int | None = None


class DaemonSetStatus(View):
    """`apps/v1.DaemonSetStatus`."""

    currentNumberScheduled: int | None = None
    numberMisscheduled: int | None = None
    desiredNumberScheduled: int | None = None
    numberReady: int | None = None
    observedGeneration: int | None = None
    updatedNumberScheduled: int | None = None
    numberAvailable: int | None = None
    numberUnavailable: int | None = None
    collisionCount: int | None = None


class DaemonSet(View):
    """A DaemonSet."""

    metadata: Meta
    spec: DaemonSetSpec = msgspec.field(default_factory=DaemonSetSpec)
    status: DaemonSetStatus = msgspec.field(default_factory=DaemonSetStatus)


class ControllerRevision(View):
    """A stored template of a DaemonSet or StatefulSet."""

    metadata: Meta
    revision: int = 0
    data: msgspec.Raw = msgspec.Raw(b"{}")


# ---------------------------------------------------------------- nodes, namespaces


class NodeSpec(View):
    """What controllers read of a node's spec."""

    unschedulable: bool | None = None
    taints: list[Taint] | None = None


class NodeStatus(View):
    """What controllers read of a node's status."""

    conditions: list[Condition] | None = None


class Node(View):
    """A node."""

    metadata: Meta
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)


class LeaseSpec(View):
    """When a lease was last renewed."""

    renewTime: str | None = None


class LeaseMeta(View):
    """Whose lease."""

    name: str = ""


class Lease(View):
    """A lease."""

    metadata: LeaseMeta
    spec: LeaseSpec = msgspec.field(default_factory=LeaseSpec)


class NamespaceSpec(View):
    """The namespace's own finalizers."""

    finalizers: list[str] | None = None


class NamespaceStatus(View):
    """The namespace's phase and conditions."""

    phase: str | None = None
    conditions: list[Condition] | None = None


class Namespace(View):
    """A namespace."""

    metadata: Meta
    spec: NamespaceSpec = msgspec.field(default_factory=NamespaceSpec)
    status: NamespaceStatus = msgspec.field(default_factory=NamespaceStatus)


class ConfigMap(View):
    """A ConfigMap."""

    metadata: Meta
    data: dict[str, str] | None = None


# ---------------------------------------------------------------- services, budgets


class ServicePort(View):
    """A port of a Service."""

    name: str | None = None
    port: int = 0
    protocol: str | None = None
    targetPort: int | str | None = None
    appProtocol: str | None = None


class ServiceSpec(View):
    """What the endpoints of a Service depend on."""

    selector: dict[str, str] | None = None
    type: str | None = None
    clusterIP: str | None = None
    ports: list[ServicePort] | None = None
    publishNotReadyAddresses: bool | None = None
    ipFamilies: list[str] | None = None
    trafficDistribution: str | None = None


class Service(View):
    """A Service."""

    metadata: Meta
    spec: ServiceSpec = msgspec.field(default_factory=ServiceSpec)


class EndpointSlice(View):
    """A slice of a Service's endpoints, as plain data."""

    metadata: Meta
    addressType: str = ""
    endpoints: list[dict[str, Any]] | None = None
    ports: list[dict[str, Any]] | None = None


class Endpoints(View):
    """A Service's endpoints in the old form, as plain data."""

    metadata: Meta
    subsets: list[dict[str, Any]] | None = None


class BudgetSpec(View):
    """`policy/v1.PodDisruptionBudgetSpec`."""

    minAvailable: int | str | None = None
    maxUnavailable: int | str | None = None
    selector: LabelSelector | None = None


class BudgetStatus(View):
    """`policy/v1.PodDisruptionBudgetStatus`."""

    observedGeneration: int | None = None
    disruptedPods: dict[str, str] | None = None
    disruptionsAllowed: int | None = None
    currentHealthy: int | None = None
    desiredHealthy: int | None = None
    expectedPods: int | None = None
    conditions: list[Condition] | None = None


class Budget(View):
    """A PodDisruptionBudget."""

    metadata: Meta
    spec: BudgetSpec = msgspec.field(default_factory=BudgetSpec)
    status: BudgetStatus = msgspec.field(default_factory=BudgetStatus)


class RetentionPolicy(View):
    """What becomes of a StatefulSet's claims."""

    whenDeleted: str | None = None
    whenScaled: str | None = None


class Ordinals(View):
    """Where a StatefulSet starts to count."""

    start: int | None = None


class StatefulSetSpec(View):
    """`apps/v1.StatefulSetSpec`."""

    replicas: int | None = None
    selector: LabelSelector | None = None
    template: msgspec.Raw = msgspec.Raw(b"{}")
    volumeClaimTemplates: list[dict[str, Any]] | None = None
    serviceName: str | None = None
    podManagementPolicy: str | None = None
    updateStrategy: Strategy | None = None
    revisionHistoryLimit: int | None = None
    minReadySeconds: int | None = None
    ordinals: Ordinals | None = None
    persistentVolumeClaimRetentionPolicy: RetentionPolicy | None = None


class StatefulSetStatus(View):
    """`apps/v1.StatefulSetStatus`."""

    observedGeneration: int | None = None
    replicas: int | None = None
    readyReplicas: int | None = None
    currentReplicas: int | None = None
    updatedReplicas: int | None = None
    availableReplicas: int | None = None
    currentRevision: str | None = None
    updateRevision: str | None = None
    collisionCount: int | None = None


class StatefulSet(View):
    """A StatefulSet."""

    metadata: Meta
    spec: StatefulSetSpec = msgspec.field(default_factory=StatefulSetSpec)
    status: StatefulSetStatus = msgspec.field(default_factory=StatefulSetStatus)


class JobTemplate(View):
    """What a CronJob makes its Jobs of."""

    metadata: TemplateMeta | None = None
    spec: msgspec.Raw = msgspec.Raw(b"{}")


class CronJobSpec(View):
    """`batch/v1.CronJobSpec`."""

    schedule: str = ""
    timeZone: str | None = None
    startingDeadlineSeconds: int | None = None
    concurrencyPolicy: str | None = None
    suspend: bool | None = None
    jobTemplate: JobTemplate = msgspec.field(default_factory=JobTemplate)
    successfulJobsHistoryLimit: int | None = None
    failedJobsHistoryLimit: int | None = None


class CronJobStatus(View):
    """`batch/v1.CronJobStatus`."""

    active: list[dict[str, Any]] | None = None
    lastScheduleTime: str | None = None
    lastSuccessfulTime: str | None = None


class CronJob(View):
    """A CronJob."""

    metadata: Meta
    spec: CronJobSpec = msgspec.field(default_factory=CronJobSpec)
    status: CronJobStatus = msgspec.field(default_factory=CronJobStatus)
