"""Admission of claims and volumes: DefaultStorageClass and StorageObjectInUseProtection."""

from __future__ import annotations

from typing import Any

from lakh.apis.core.storage import CLASS_ANNOTATION
from lakh.apis.groups.storage import BETA_IS_DEFAULT_CLASS, IS_DEFAULT_CLASS
from lakh.server.cluster import Cluster

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
