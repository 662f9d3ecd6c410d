"""Admission of claims and volumes: DefaultStorageClass, PersistentVolumeClaimResize and StorageObjectInUseProtection."""

from __future__ import annotations

from typing import Any

from lakh.apis.core.storage import CLASS_ANNOTATION, storage_class
from lakh.apis.groups.storage import BETA_IS_DEFAULT_CLASS, IS_DEFAULT_CLASS
from lakh.machinery import errors, quantity
from lakh.server.cluster import Cluster
from lakh.server.storage import ResourceStore

CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"


def protect(obj: Any, finalizer: str) -> None:
    """What is in use stays until it is not: a controller takes the finalizer off then."""
    if finalizer not in (obj.metadata.finalizers or ()):
        obj.metadata.finalizers = [*(obj.metadata.finalizers or ()), finalizer]


def default_storage_class(cluster: Cluster, claim: Any) -> None:
    """A claim that names no class gets the default one: of several the youngest, then the first by name."""
    if claim.spec is None or claim.spec.storageClassName is not None:
        return
    if CLASS_ANNOTATION in (claim.metadata.annotations or {}):
        return
    classes = cluster.named("storage.k8s.io", "v1", "storageclasses")
    found = [
        stored.metadata
        for item in classes.partition.range(classes.table).items
        if _is_default((stored := classes.codec.decode_stored(item.value)).metadata.annotations or {})
    ]
    if found:
        found.sort(key=lambda metadata: str(metadata.name))
        youngest = max(found, key=lambda metadata: str(metadata.creationTimestamp or ""))
        claim.spec.storageClassName = youngest.name


def _is_default(annotations: Any) -> bool:
    return "true" in (annotations.get(IS_DEFAULT_CLASS), annotations.get(BETA_IS_DEFAULT_CLASS))


def check_expansion(cluster: Cluster, store: ResourceStore, new: Any, old: Any) -> None:
    """A bound claim grows only when its storage class lets it; raises 403. Claims that are not bound are refused any change of amount."""
    if old.status is None or old.status.phase != "Bound":
        return
    after, before = _storage(new), _storage(old)
    if after is None or quantity.compare(after, before or "0") <= 0:
        return
    name = storage_class(new)
    if name and name == storage_class(old):
        classes = cluster.named("storage.k8s.io", "v1", "storageclasses")
        item = classes.partition.get(classes.key("", name))
        if item is not None and classes.codec.decode_stored(item.value).allowVolumeExpansion:
            return
    raise errors.forbidden(
        store.resource.group,
        store.resource.plural,
        new.metadata.name or "",
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
    )


def _storage(claim: Any) -> Any:
    resources = claim.spec.resources
    return (resources.requests or {}).get("storage") if resources is not None else None
