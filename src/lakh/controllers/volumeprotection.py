"""What keeps claims and volumes from going away while they are used, and the claims of pods' ephemeral volumes.

* The API server gives claims and volumes a finalizer. When a claim is deleted, it loses it once no pod uses it; a volume once it is not bound.
* A pod's ephemeral volume gets the claim `<pod>-<volume>`, owned by the pod.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import msgspec

from lakh.client.errors import ApiError, is_already_exists, is_not_found
from lakh.client.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, Resource, object_reference
from lakh.machinery.volumes import ClaimView, VolumeView

from .context import Context, Controller
from .pods import is_finished
from .views import Bare, Pod

CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"
USES = "volume claims"
"""Index of pods: the claims they use."""


def claims_of(pod: Pod) -> list[str]:
    """The claims that a pod uses, by key."""
    volumes = pod.spec.volumes
    if not volumes:
        return []
    metadata = pod.metadata
    names = []
    for volume in volumes:
        if volume.persistentVolumeClaim is not None:
            names.append(volume.persistentVolumeClaim.claimName)
        elif volume.ephemeral is not None:
            names.append(f"{metadata.name}-{volume.name}")
    return [f"{metadata.namespace}/{name}" for name in names]


class _Protection(Controller):
    """Takes a finalizer off what is deleted and no longer used."""

    async def _let_go(self, resource: Resource, obj: Any, finalizer: str) -> None:
        metadata = obj.metadata
        kept = [name for name in metadata.finalizers or () if name != finalizer]
        patch = {
            "metadata": {
                "uid": metadata.uid,
                "resourceVersion": metadata.resourceVersion,
                "finalizers": kept or None,
            }
        }
        try:
            await self.client.patch(resource, metadata.name, patch, metadata.namespace, type=Bare)
        except ApiError as error:
            if not is_not_found(error):
                raise


class ClaimProtection(_Protection):
    """PersistentVolumeClaims that pods use."""

    name = "persistentvolumeclaim-protection-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._claims = context.informers.of(PERSISTENTVOLUMECLAIMS, ClaimView)
        self._pods = context.informers.of(PODS, Pod)
        self._pods.add_index(USES, claims_of, part=attrgetter("spec.volumes"))
        self._claims.add_handler(on_add=self._claim, on_update=lambda old, new: self._claim(new))
        self._pods.add_handler(on_update=lambda old, new: self._pod(new), on_delete=self._pod_gone)

    def resync(self) -> None:
        """Queue what is being deleted."""
        for claim in self._claims.items.values():
            self._claim(claim)

    def _claim(self, claim: ClaimView) -> None:
        if claim.metadata.deletionTimestamp and CLAIM_FINALIZER in (claim.metadata.finalizers or ()):
            self.queue.add(claim.key)

    def _pod(self, pod: Pod) -> None:
        if pod.spec.volumes and is_finished(pod):
            self._pod_gone(pod)

    def _pod_gone(self, pod: Pod) -> None:
        for key in claims_of(pod) if pod.spec.volumes else ():
            claim = self._claims.items.get(key)
            if claim is not None:
                self._claim(claim)

    async def reconcile(self, key: str) -> None:
        """Let the claim go unless a pod uses it. The API server is asked, for a pod may be younger than our picture."""
        claim = self._claims.items.get(key)
        if claim is None or not claim.metadata.deletionTimestamp:
            return
        if any(not is_finished(pod) for pod in self._pods.by_index(USES, key)):
            return
        pods = await self.client.list(PODS, claim.metadata.namespace, type=Pod)
        if any(key in claims_of(pod) and not is_finished(pod) for pod in pods.items):
            return
        await self._let_go(PERSISTENTVOLUMECLAIMS, claim, CLAIM_FINALIZER)


class VolumeProtection(_Protection):
    """PersistentVolumes that are bound."""

    name = "persistentvolume-protection-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._volumes = context.informers.of(PERSISTENTVOLUMES, VolumeView)
        self._volumes.add_handler(on_add=self._volume, on_update=lambda old, new: self._volume(new))

    def resync(self) -> None:
        """Queue what is being deleted."""
        for volume in self._volumes.items.values():
            self._volume(volume)

    def _volume(self, volume: VolumeView) -> None:
        if volume.metadata.deletionTimestamp and VOLUME_FINALIZER in (volume.metadata.finalizers or ()):
            self.queue.add(volume.metadata.name)

    async def reconcile(self, key: str) -> None:
        """Let the volume go unless it is bound."""
        volume = self._volumes.items.get(key)
        if volume is not None and volume.metadata.deletionTimestamp and volume.status.phase != "Bound":
            await self._let_go(PERSISTENTVOLUMES, volume, VOLUME_FINALIZER)


class EphemeralVolumeController(Controller):
    """Claims of pods' ephemeral volumes."""

    name = "ephemeral-volume-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._recorder = context.recorder("ephemeral_volume")
        self._pods = context.informers.of(PODS, Pod)
        self._claims = context.informers.of(PERSISTENTVOLUMECLAIMS, ClaimView)
        self._pods.add_handler(on_add=self._pod)

    def resync(self) -> None:
        """Queue every pod that has some."""
        for pod in self._pods.items.values():
            self._pod(pod)

    def _pod(self, pod: Pod) -> None:
        if pod.metadata.deletionTimestamp is None and any(v.ephemeral for v in pod.spec.volumes or ()):
            self.queue.add(f"{pod.metadata.namespace}/{pod.metadata.name}")

    async def reconcile(self, key: str) -> None:
        """Create what is missing."""
        pod = self._pods.items.get(key)
        if pod is None or pod.metadata.deletionTimestamp is not None:
            return
        metadata = pod.metadata
        for volume in pod.spec.volumes or ():
            template = volume.ephemeral.volumeClaimTemplate if volume.ephemeral is not None else None
            name = f"{metadata.name}-{volume.name}"
            if template is None or f"{metadata.namespace}/{name}" in self._claims.items:
                continue
            given = msgspec.json.decode(template.metadata)
            body = {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {
                    "name": name,
                    "labels": given.get("labels") or {},
                    "annotations": given.get("annotations") or {},
                    "ownerReferences": [
                        {
                            "apiVersion": "v1",
                            "kind": "Pod",
                            "name": metadata.name,
                            "uid": metadata.uid,
                            "controller": True,
                            "blockOwnerDeletion": True,
                        }
                    ],
                },
                "spec": template.spec,
            }
            try:
                await self.client.create(PERSISTENTVOLUMECLAIMS, body, metadata.namespace, type=Bare)
            except ApiError as error:
                if not is_already_exists(error):
                    self._recorder.event(
                        object_reference(PODS, pod),
                        "Warning",
                        "ClaimCreationFailed",
                        f"ephemeral volume claim {name}: {error}",
                    )
                    raise
