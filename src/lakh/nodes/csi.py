"""A simulated CSI driver: volumes for claims of its storage class, in the zone of the node that will use them.

It does what an external-provisioner does: a claim that the volume controller has given to it (annotation `storage-provisioner`) and that
either binds immediately or has a node selected gets a PersistentVolume named after its uid, which names the claim; the volume controller
binds the two. A released volume whose reclaim policy says so is deleted. What it makes follows from the claim, so that several of these, or
one that is started again, do the same work once.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import msgspec

from lakh.client.client import Client
from lakh.client.errors import ApiError, ClientClosed, ClientError, is_already_exists, is_not_found
from lakh.client.events import EventRecorder
from lakh.client.informer import Informer
from lakh.client.resources import (
    CSIDRIVERS,
    CSINODES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    STORAGECLASSES,
    object_reference,
)
from lakh.client.tasks import TaskGuard
from lakh.client.workqueue import WorkQueue
from lakh.machinery import quantity
from lakh.machinery.volumes import (
    PROVISIONED_BY,
    SELECTED_NODE,
    STORAGE_PROVISIONER,
    ClaimView,
    StorageClassView,
    VolumeView,
    class_of,
    requested_bytes,
)

from . import objects
from .catalogue import InstanceType
from .objects import ZONES
from .pernode import PerNode

log = logging.getLogger(__name__)

DRIVER = "csi.lakh.dev"
STORAGE_CLASS = "standard"
ZONE_LABEL = "topology.kubernetes.io/zone"
WORKERS = 8


class _Labels(msgspec.Struct, gc=False):
    name: str = ""
    namespace: str | None = None
    uid: str = ""
    resourceVersion: str | None = None
    labels: dict[str, str] | None = None


class _Node(msgspec.Struct, gc=False):
    metadata: _Labels


def driver_object() -> dict[str, Any]:
    """The CSIDriver."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": {"name": DRIVER},
        "spec": {"attachRequired": False},
    }


def node_limits(client: Client, instance: InstanceType, count: int, start: int, limit: int) -> PerNode:
    """Publishes a CSINode for each of the nodes `start` to `start + count`: it takes `limit` volumes of the driver."""

    def body(index: int, uid: str) -> dict[str, Any]:
        node = objects.node_name(instance, index)
        owner = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}
        driver = {
            "name": DRIVER,
            "nodeID": node,
            "topologyKeys": [ZONE_LABEL],
            "allocatable": {"count": limit},
        }
        return {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSINode",
            "metadata": {"name": node, "ownerReferences": [owner]},
            "spec": {"drivers": [driver]},
        }

    names = {objects.node_name(instance, index): index for index in range(start, start + count)}
    return PerNode(client, CSINODES, names, body)


def class_object() -> dict[str, Any]:
    """The cluster's default StorageClass."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": DRIVER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def allowed_zones(found: StorageClassView) -> list[str]:
    """The zones in which the class's volumes may be."""
    zones = [
        value
        for term in found.allowedTopologies or ()
        for requirement in term.matchLabelExpressions or ()
        if requirement.key == ZONE_LABEL
        for value in requirement.values or ()
    ]
    return zones or [zone for zone, _ in ZONES]


def volume_object(claim: ClaimView, found: StorageClassView, zone: str) -> dict[str, Any]:
    """The volume of a claim."""
    uid = claim.metadata.uid
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": f"pvc-{uid}",
            "annotations": {PROVISIONED_BY: DRIVER},
        },
        "spec": {
            "capacity": {"storage": quantity.of_bytes(requested_bytes(claim))},
            "accessModes": claim.spec.accessModes,
            "volumeMode": claim.spec.volumeMode,
            "persistentVolumeReclaimPolicy": found.reclaimPolicy or "Delete",
            "storageClassName": found.metadata.name,
            "csi": {"driver": DRIVER, "volumeHandle": "vol-" + hashlib.sha256(uid.encode()).hexdigest()[:17]},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": claim.metadata.namespace,
                "name": claim.metadata.name,
                "uid": uid,
            },
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": ZONE_LABEL, "operator": "In", "values": [zone]}]}
                    ]
                }
            },
        },
    }


class Provisioner:
    """See the module. `run` works until it is cancelled."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._queue = WorkQueue("csi")
        self._events = EventRecorder(client.background, DRIVER)
        self._claims = Informer(client, PERSISTENTVOLUMECLAIMS, ClaimView)
        self._volumes = Informer(client, PERSISTENTVOLUMES, VolumeView)
        self._classes = Informer(client, STORAGECLASSES, StorageClassView)
        self._claims.add_handler(on_add=self._claim, on_update=lambda old, new: self._claim(new))
        self._volumes.add_handler(on_add=self._volume, on_update=lambda old, new: self._volume(new))

    def __repr__(self) -> str:
        return f"<Provisioner {DRIVER}>"

    def _claim(self, claim: ClaimView) -> None:
        annotations = claim.metadata.annotations or {}
        if annotations.get(STORAGE_PROVISIONER) == DRIVER and not claim.spec.volumeName:
            self._queue.add(f"claim {claim.key}")

    def _volume(self, volume: VolumeView) -> None:
        ours = (volume.metadata.annotations or {}).get(PROVISIONED_BY) == DRIVER
        if ours and volume.status.phase == "Released" and not volume.metadata.deletionTimestamp:
            self._queue.add(f"volume {volume.metadata.name}")

    async def run(self) -> None:
        """Publish the driver and its class, then make and delete volumes."""
        async with TaskGuard("csi") as guard:
            try:
                for informer in (self._claims, self._volumes, self._classes):
                    guard.spawn(informer.run(), name="informer", forever=True)
                self._queue.add("objects")
                await self._classes.wait_synced()
                await self._queue.run(self.reconcile, WORKERS)
            finally:
                await self._events.close()

    async def reconcile(self, key: str) -> None:
        """One claim or one volume. Raising makes the queue try again."""
        kind, _, name = key.partition(" ")
        if kind == "objects":
            await self._publish()
        elif kind == "claim":
            claim = self._claims.items.get(name)
            if claim is not None and not claim.spec.volumeName and not claim.metadata.deletionTimestamp:
                await self._provision(claim)
        else:
            volume = self._volumes.items.get(name)
            if volume is not None and volume.status.phase == "Released":
                await self._delete(volume)

    async def _publish(self) -> None:
        for resource, body in ((CSIDRIVERS, driver_object()), (STORAGECLASSES, class_object())):
            try:
                await self._client.create(resource, body, type=bytes)
            except ApiError as error:
                if not is_already_exists(error):
                    raise

    async def _provision(self, claim: ClaimView) -> None:
        found = self._classes.items.get(class_of(claim))
        if found is None:
            return
        node = (claim.metadata.annotations or {}).get(SELECTED_NODE)
        if node is None and found.waits:
            return
        zones = allowed_zones(found)
        if node is None:
            zone = zones[int(hashlib.sha256(claim.metadata.uid.encode()).hexdigest()[:8], 16) % len(zones)]
        else:
            zone = await self._zone(node)
        reference = object_reference(PERSISTENTVOLUMECLAIMS, claim)
        if zone not in zones:
            await self._give_back(claim, f"node {node} is in no zone of the storage class")
            return
        body = volume_object(claim, found, zone)
        try:
            await self._client.create(PERSISTENTVOLUMES, body, type=bytes)
        except ClientClosed:
            raise
        except ApiError as error:
            if is_already_exists(error):
                return
            self._events.event(
                reference,
                "Warning",
                "ProvisioningFailed",
                f'failed to provision volume with StorageClass "{found.metadata.name}": {error}',
            )
            raise
        self._events.event(
            reference,
            "Normal",
            "ProvisioningSucceeded",
            f"Successfully provisioned volume {body['metadata']['name']}",
        )

    async def _zone(self, node: str) -> str:
        try:
            found = await self._client.get(NODES, node, type=_Node)
        except ApiError as error:
            if not is_not_found(error):
                raise
            return ""
        return (found.metadata.labels or {}).get(ZONE_LABEL, "")

    async def _give_back(self, claim: ClaimView, why: str) -> None:
        """No volume there: the scheduler chooses another node when the annotation is gone."""
        metadata = claim.metadata
        patch = {
            "metadata": {
                "uid": metadata.uid,
                "resourceVersion": metadata.resourceVersion,
                "annotations": {SELECTED_NODE: None},
            }
        }
        await self._client.patch(PERSISTENTVOLUMECLAIMS, metadata.name, patch, metadata.namespace, type=bytes)
        self._events.event(
            object_reference(PERSISTENTVOLUMECLAIMS, claim),
            "Warning",
            "ProvisioningFailed",
            f'failed to provision volume with StorageClass "{class_of(claim)}": {why}',
        )

    async def _delete(self, volume: VolumeView) -> None:
        if volume.spec.persistentVolumeReclaimPolicy != "Delete":
            return
        try:
            await self._client.delete(PERSISTENTVOLUMES, volume.metadata.name, uid=volume.metadata.uid)
        except ClientError as error:
            if not is_not_found(error):
                raise
