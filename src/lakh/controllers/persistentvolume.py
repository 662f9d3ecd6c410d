"""The persistent volume controller: claims and volumes find each other, and part.

    claim      unbound: a volume that names it, else (binding mode Immediate) the smallest that fits, else its class's provisioner is
               asked by an annotation; bound: Lost when its volume is gone
    volume     Available without a claim; Bound with it; Released when the claim is gone, and then deleted by whoever provisioned it, or kept

Binding is four writes, each of which can be the last one before a crash: the volume's `claimRef`, its phase, the claim's `volumeName`, its
phase. Whatever is missing is done at the next look. Claims that wait for their first consumer are bound only after the scheduler has written
either `claimRef` or the selected node.

Keys are `claim namespace/name` and `volume name`.
"""

from __future__ import annotations

from typing import Any

from lakh.client.errors import ApiError, is_not_found
from lakh.client.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES, object_reference
from lakh.machinery.volumes import (
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    NO_PROVISIONER,
    PROVISIONED_BY,
    SELECTED_NODE,
    STORAGE_PROVISIONER,
    ClaimView,
    StorageClassView,
    VolumeView,
    bound_to,
    claim_patch,
    class_of,
    find_volume,
    is_bound,
)

from .context import Context, Controller

BETA_STORAGE_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
CLASS = "class"
"""Index of claims and volumes: the storage class."""
CLAIM = "claim"
"""Index of volumes: the claim that `claimRef` names."""


def _claim_key(volume: VolumeView) -> str | None:
    reference = volume.spec.claimRef
    return None if reference is None else f"{reference.namespace}/{reference.name}"


class PersistentVolumeController(Controller):
    """See the module."""

    name = "persistentvolume-binder-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._recorder = context.recorder("persistentvolume-controller")
        self._claims = context.informers.of(PERSISTENTVOLUMECLAIMS, ClaimView)
        self._volumes = context.informers.of(PERSISTENTVOLUMES, VolumeView)
        self._classes = context.informers.of(STORAGECLASSES, StorageClassView)
        self._claims.add_index(CLASS, lambda claim: () if is_bound(claim) else (class_of(claim),))
        self._volumes.add_index(CLASS, lambda volume: (class_of(volume),))
        self._volumes.add_index(CLAIM, lambda v: (key,) if (key := _claim_key(v)) is not None else ())
        self._claims.add_handler(
            on_add=self._claim, on_update=lambda old, new: self._claim(new), on_delete=self._claim_gone
        )
        self._volumes.add_handler(
            on_add=self._volume, on_update=lambda old, new: self._volume(new), on_delete=self._volume_gone
        )
        self._classes.add_handler(on_add=lambda found: self._unbound(found.metadata.name))

    def resync(self) -> None:
        """Queue everything."""
        for claim in self._claims.items.values():
            self._claim(claim)
        for volume in self._volumes.items.values():
            self._volume(volume)

    def _claim(self, claim: ClaimView) -> None:
        self.queue.add(f"claim {claim.key}")
        if claim.spec.volumeName:
            self.queue.add(f"volume {claim.spec.volumeName}")

    def _claim_gone(self, claim: ClaimView) -> None:
        for volume in self._volumes.by_index(CLAIM, claim.key):
            self.queue.add(f"volume {volume.metadata.name}")

    def _volume(self, volume: VolumeView) -> None:
        self.queue.add(f"volume {volume.metadata.name}")
        key = _claim_key(volume)
        if key is not None:
            self.queue.add(f"claim {key}")
        elif volume.status.phase == "Available":
            self._unbound(class_of(volume))

    def _volume_gone(self, volume: VolumeView) -> None:
        key = _claim_key(volume)
        if key is not None:
            self.queue.add(f"claim {key}")

    def _unbound(self, name: str) -> None:
        """Something changed for the claims of a class that have no volume yet."""
        for claim in self._claims.by_index(CLASS, name):
            self.queue.add(f"claim {claim.key}")

    async def reconcile(self, key: str) -> None:
        """One claim or one volume."""
        kind, _, name = key.partition(" ")
        try:
            if kind == "claim":
                claim = self._claims.items.get(name)
                if claim is not None:
                    await self._sync_claim(claim)
            else:
                volume = self._volumes.items.get(name)
                if volume is not None:
                    await self._sync_volume(volume)
        except ApiError as error:
            if not is_not_found(error):
                raise

    # Claims

    async def _sync_claim(self, claim: ClaimView) -> None:
        if claim.metadata.deletionTimestamp is not None and not is_bound(claim):
            return
        name = claim.spec.volumeName
        if not name:
            await self._find(claim)
            return
        volume = self._volumes.items.get(name)
        if volume is None:
            if is_bound(claim) and claim.status.phase != "Lost":
                self._say(claim, "Warning", "ClaimLost", LOST)
                await self._claim_status(claim, {"phase": "Lost"})
            return
        if volume.spec.claimRef is None or bound_to(volume, claim):
            await self._bind(volume, claim)
        elif is_bound(claim) and claim.status.phase != "Lost":
            self._say(
                claim,
                "Warning",
                "ClaimMisbound",
                "Two claims are bound to the same volume, this one is bound incorrectly",
            )
            await self._claim_status(claim, {"phase": "Lost"})

    async def _find(self, claim: ClaimView) -> None:
        """A volume for a claim that has none."""
        name = class_of(claim)
        storage_class = self._classes.items.get(name)
        waits = storage_class is not None and storage_class.waits
        ours = self._volumes.by_index(CLAIM, claim.key)
        volume = find_volume(claim, ours, only_bound=True)
        if volume is None and not waits:
            volume = find_volume(claim, self._volumes.by_index(CLASS, name))
        if volume is not None:
            await self._bind(volume, claim)
        elif waits and SELECTED_NODE not in (claim.metadata.annotations or {}):
            self._say(claim, "Normal", "WaitForFirstConsumer", WAITING)
        elif storage_class is not None and storage_class.provisioner != NO_PROVISIONER:
            await self._ask(claim, storage_class)
        elif name:
            text = f'storageclass.storage.k8s.io "{name}" not found'
            if storage_class is None:
                self._say(claim, "Warning", "ProvisioningFailed", text)
        else:
            self._say(claim, "Normal", "FailedBinding", NO_CLASS)

    async def _ask(self, claim: ClaimView, storage_class: StorageClassView) -> None:
        """Ask the class's provisioner for a volume."""
        provisioner = storage_class.provisioner
        if (claim.metadata.annotations or {}).get(STORAGE_PROVISIONER) != provisioner:
            annotations = {STORAGE_PROVISIONER: provisioner, BETA_STORAGE_PROVISIONER: provisioner}
            await self._patch_claim(claim, {"metadata": {"annotations": annotations}})
        self._say(claim, "Normal", "ExternalProvisioning", PROVISIONING.format(provisioner))

    async def _bind(self, volume: VolumeView, claim: ClaimView) -> None:
        """Do what is missing of the four steps."""
        reference = volume.spec.claimRef
        if reference is None or not reference.uid:
            patch = claim_patch(claim, volume)
            volume = await self.client.patch(PERSISTENTVOLUMES, volume.metadata.name, patch, type=VolumeView)
        await self._phase(volume, "Bound")
        if not is_bound(claim):
            annotations = {BIND_COMPLETED: "yes"}
            if not claim.spec.volumeName:
                annotations[BOUND_BY_CONTROLLER] = "yes"
            claim = await self._patch_claim(
                claim,
                {
                    "metadata": {"annotations": annotations},
                    "spec": {"volumeName": volume.metadata.name},
                },
            )
        wanted = {
            "phase": "Bound",
            "accessModes": volume.spec.accessModes,
            "capacity": volume.spec.capacity,
        }
        status = claim.status
        if (status.phase, status.accessModes, status.capacity) != tuple(wanted.values()):
            await self._claim_status(claim, wanted)

    async def _patch_claim(self, claim: ClaimView, patch: dict[str, Any]) -> ClaimView:
        metadata = claim.metadata
        patch["metadata"] |= {"uid": metadata.uid, "resourceVersion": metadata.resourceVersion}
        return await self.client.patch(
            PERSISTENTVOLUMECLAIMS, metadata.name, patch, metadata.namespace, type=ClaimView
        )

    async def _claim_status(self, claim: ClaimView, status: dict[str, Any]) -> None:
        metadata = claim.metadata
        await self.client.patch(
            PERSISTENTVOLUMECLAIMS,
            metadata.name,
            {"metadata": {"uid": metadata.uid}, "status": status},
            metadata.namespace,
            subresource="status",
            type=ClaimView,
        )

    def _say(self, claim: ClaimView, kind: str, reason: str, message: str) -> None:
        self._recorder.event(object_reference(PERSISTENTVOLUMECLAIMS, claim), kind, reason, message)

    # Volumes

    async def _sync_volume(self, volume: VolumeView) -> None:
        reference = volume.spec.claimRef
        if reference is None or not reference.uid:
            await self._phase(volume, "Available")
            return
        claim = self._claims.items.get(f"{reference.namespace}/{reference.name}")
        if claim is None or claim.metadata.uid != reference.uid:
            claim = await self._ask_for(reference.namespace or "", reference.name)
        if claim is None or claim.metadata.uid != reference.uid:
            await self._phase(volume, "Released")
        elif not claim.spec.volumeName:
            self.queue.add(f"claim {claim.key}")
        elif claim.spec.volumeName == volume.metadata.name:
            await self._phase(volume, "Bound")
        elif PROVISIONED_BY in (volume.metadata.annotations or {}):
            await self._phase(volume, "Released")  # provisioned twice: this one is not needed
        elif BOUND_BY_CONTROLLER in (volume.metadata.annotations or {}):
            await self.client.patch(
                PERSISTENTVOLUMES,
                volume.metadata.name,
                {
                    "metadata": {
                        "resourceVersion": volume.metadata.resourceVersion,
                        "annotations": {BOUND_BY_CONTROLLER: None},
                    },
                    "spec": {"claimRef": None},
                },
                type=VolumeView,
            )

    async def _ask_for(self, namespace: str, name: str) -> ClaimView | None:
        """The claim as the API server has it: a volume is released only when that is certain."""
        try:
            return await self.client.get(PERSISTENTVOLUMECLAIMS, name, namespace, type=ClaimView)
        except ApiError as error:
            if not is_not_found(error):
                raise
            return None

    async def _phase(self, volume: VolumeView, phase: str) -> None:
        if volume.status.phase != phase:
            await self.client.patch(
                PERSISTENTVOLUMES,
                volume.metadata.name,
                {"metadata": {"uid": volume.metadata.uid}, "status": {"phase": phase}},
                subresource="status",
                type=VolumeView,
            )


LOST = "Bound claim has lost its PersistentVolume. Any data on the volume is lost!"
WAITING = "waiting for first consumer to be created before binding"
NO_CLASS = "no persistent volumes available for this claim and no storage class is set"
PROVISIONING = (
    "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system "
    "administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
)
