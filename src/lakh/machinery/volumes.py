"""Which PersistentVolume a claim can be bound to: the rules that the scheduler and the volume controller share, and views of both kinds.

A volume that names the claim in `claimRef` is the claim's, whatever else fits. Otherwise the smallest available volume of the claim's class,
mode and access modes that is large enough and that the claim's selector matches.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any

import msgspec

from . import quantity, selectors
from .nodeselector import NodeSelector, Requirement
from .selectors import SelectorError

__all__ = [
    "BIND_COMPLETED",
    "BOUND_BY_CONTROLLER",
    "CLASS_ANNOTATION",
    "NO_PROVISIONER",
    "PROVISIONED_BY",
    "SELECTED_NODE",
    "STORAGE_PROVISIONER",
    "ClaimView",
    "StorageClassView",
    "VolumeView",
    "bound_to",
    "claim_patch",
    "class_of",
    "find_volume",
    "is_bound",
    "requested_bytes",
    "size_bytes",
]

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
STORAGE_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
NO_PROVISIONER = "kubernetes.io/no-provisioner"

Quantity = str | int | float


class _Struct(msgspec.Struct, gc=False, omit_defaults=True):
    pass


class OwnerReference(_Struct):
    """metav1.OwnerReference."""

    apiVersion: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    blockOwnerDeletion: bool | None = None


class Meta(_Struct):
    """metav1.ObjectMeta."""

    name: str = ""
    namespace: str | None = None
    uid: str = ""
    resourceVersion: str | None = None
    deletionTimestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    ownerReferences: list[OwnerReference] | None = None
    finalizers: list[str] | None = None


class Reference(_Struct):
    """core/v1 ObjectReference."""

    name: str = ""
    namespace: str | None = None
    uid: str | None = None


class Resources(_Struct):
    """core/v1 VolumeResourceRequirements."""

    requests: dict[str, Quantity] | None = None


class LabelSelector(_Struct):
    """metav1.LabelSelector."""

    matchLabels: dict[str, str] | None = None
    matchExpressions: list[Requirement] | None = None


class ClaimSpec(_Struct):
    """core/v1 PersistentVolumeClaimSpec."""

    accessModes: list[str] | None = None
    resources: Resources | None = None
    selector: LabelSelector | None = None
    storageClassName: str | None = None
    volumeMode: str | None = None
    volumeName: str | None = None


class ClaimStatus(_Struct):
    """core/v1 PersistentVolumeClaimStatus."""

    phase: str | None = None
    capacity: dict[str, Quantity] | None = None
    accessModes: list[str] | None = None


class ClaimView(_Struct):
    """core/v1 PersistentVolumeClaim."""

    metadata: Meta
    spec: ClaimSpec = msgspec.field(default_factory=ClaimSpec)
    status: ClaimStatus = msgspec.field(default_factory=ClaimStatus)

    @property
    def key(self) -> str:
        """Namespace and name."""
        return f"{self.metadata.namespace}/{self.metadata.name}"


class NodeAffinity(_Struct):
    """core/v1 VolumeNodeAffinity."""

    required: NodeSelector | None = None


class CSISource(_Struct):
    """core/v1 CSIPersistentVolumeSource."""

    driver: str = ""
    volumeHandle: str = ""


class VolumeSpec(_Struct):
    """core/v1 PersistentVolumeSpec."""

    accessModes: list[str] | None = None
    capacity: dict[str, Quantity] | None = None
    claimRef: Reference | None = None
    nodeAffinity: NodeAffinity | None = None
    persistentVolumeReclaimPolicy: str | None = None
    storageClassName: str | None = None
    volumeMode: str | None = None
    csi: CSISource | None = None


class VolumeStatus(_Struct):
    """core/v1 PersistentVolumeStatus."""

    phase: str | None = None


class VolumeView(_Struct):
    """core/v1 PersistentVolume."""

    metadata: Meta
    spec: VolumeSpec = msgspec.field(default_factory=VolumeSpec)
    status: VolumeStatus = msgspec.field(default_factory=VolumeStatus)


class TopologyRequirement(_Struct):
    """core/v1 TopologySelectorLabelRequirement."""

    key: str = ""
    values: list[str] | None = None


class TopologyTerm(_Struct):
    """core/v1 TopologySelectorTerm."""

    matchLabelExpressions: list[TopologyRequirement] | None = None


class StorageClassView(_Struct):
    """storage.k8s.io/v1 StorageClass."""

    metadata: Meta
    provisioner: str = ""
    reclaimPolicy: str | None = None
    volumeBindingMode: str | None = None
    allowedTopologies: list[TopologyTerm] | None = None

    @property
    def waits(self) -> bool:
        """Its claims are bound when a pod uses them."""
        return self.volumeBindingMode == "WaitForFirstConsumer"


def class_of(obj: Any) -> str:
    """The storage class of a claim or a volume; empty for none."""
    annotations = obj.metadata.annotations or {}
    return annotations.get(CLASS_ANNOTATION) or obj.spec.storageClassName or ""


def _bytes(amounts: dict[str, Quantity] | None) -> int:
    try:
        return quantity.parse(str((amounts or {}).get("storage", "0")))
    except ValueError:
        return 0


def requested_bytes(claim: ClaimView) -> int:
    """What a claim asks for."""
    return _bytes(claim.spec.resources.requests if claim.spec.resources is not None else None)


def size_bytes(volume: VolumeView) -> int:
    """What a volume holds."""
    return _bytes(volume.spec.capacity)


def bound_to(volume: VolumeView, claim: ClaimView) -> bool:
    """Whether the volume's `claimRef` is this claim; a reference without uid is bound by name."""
    reference = volume.spec.claimRef
    return (
        reference is not None
        and reference.name == claim.metadata.name
        and reference.namespace == claim.metadata.namespace
        and reference.uid in (None, "", claim.metadata.uid)
    )


def is_bound(claim: ClaimView) -> bool:
    """The claim has its volume, and the volume controller has said so."""
    return bool(claim.spec.volumeName) and BIND_COMPLETED in (claim.metadata.annotations or {})


def find_volume(
    claim: ClaimView,
    volumes: Iterable[VolumeView],
    excluded: Container[str] = (),
    reachable: Callable[[VolumeView], bool] | None = None,
    *,
    only_bound: bool = False,
) -> VolumeView | None:
    """The volume that a claim gets, or None. `reachable` tells whether the node that is looked at can use a volume.

    With `only_bound` only a volume that names the claim will do. Upstream's FindMatchingVolume.
    """
    wanted = requested_bytes(claim)
    mode = claim.spec.volumeMode or "Filesystem"
    modes = claim.spec.accessModes or ()
    name = class_of(claim)
    try:
        selector = None if claim.spec.selector is None else selectors.of_label_selector(claim.spec.selector)
    except SelectorError:
        return None
    best: tuple[int, str] | None = None
    found: VolumeView | None = None
    for volume in volumes:
        spec = volume.spec
        ours = bound_to(volume, claim)
        if (
            volume.metadata.name in excluded
            or (spec.claimRef is not None and not ours)
            or size_bytes(volume) < wanted
            or (spec.volumeMode or "Filesystem") != mode
            or volume.metadata.deletionTimestamp
        ):
            continue
        usable = reachable is None or reachable(volume)
        if ours:
            return volume if usable else None
        if (
            only_bound
            or not usable
            or volume.status.phase != "Available"
            or class_of(volume) != name
            or (selector is not None and not selector.matches(volume.metadata.labels or {}))
            or not set(modes) <= set(spec.accessModes or ())
        ):
            continue
        order = size_bytes(volume), volume.metadata.name
        if best is None or order < best:
            best, found = order, volume
    return found


def claim_patch(claim: ClaimView, volume: VolumeView) -> dict[str, Any]:
    """The merge patch that sets a volume aside for a claim."""
    metadata: dict[str, Any] = {"resourceVersion": volume.metadata.resourceVersion}
    if volume.spec.claimRef is None:
        metadata["annotations"] = {BOUND_BY_CONTROLLER: "yes"}
    return {
        "metadata": metadata,
        "spec": {
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": claim.metadata.namespace,
                "name": claim.metadata.name,
                "uid": claim.metadata.uid,
                "resourceVersion": claim.metadata.resourceVersion,
            }
        },
    }
