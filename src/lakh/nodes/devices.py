"""The devices of simulated nodes as a DRA driver publishes them: a DeviceClass, and a ResourceSlice a node.

A node's accelerators are one pool, named after the node. They carry what tells them apart and what placement needs: the kind, the place in the
node, the driver's version. Slices of equal machines are alike but for names, so that whoever holds all of them can hold them once.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lakh.client.client import Client
from lakh.client.errors import ApiError, is_already_exists
from lakh.client.informer import Informer
from lakh.client.resources import DEVICECLASSES, NODES, RESOURCESLICES
from lakh.client.tasks import TaskGuard
from lakh.client.workqueue import WorkQueue

from . import objects
from .catalogue import InstanceType

DRIVER_VERSION = "2.21.0"
WORKERS = 16


class _Meta(msgspec.Struct, gc=False):
    name: str = ""
    namespace: str | None = None
    uid: str = ""
    resourceVersion: str | None = None


class _Named(msgspec.Struct, gc=False):
    metadata: _Meta


def class_object(instance: InstanceType) -> dict[str, Any] | None:
    """The DeviceClass of the type's accelerators; None when it has none. Pods get them for the plain resource, too."""
    kind = instance.accelerator
    if kind is None:
        return None
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": kind.driver},
        "spec": {
            "selectors": [{"cel": {"expression": f"device.driver == '{kind.driver}'"}}],
            "extendedResourceName": kind.resource,
        },
    }


def slice_name(instance: InstanceType, index: int) -> str:
    """The ResourceSlice of a node."""
    assert instance.accelerator is not None
    return f"{objects.node_name(instance, index)}-{instance.accelerator.driver}"


def slice_object(instance: InstanceType, index: int, uid: str) -> dict[str, Any]:
    """The ResourceSlice of node `index`, owned by its Node."""
    kind = instance.accelerator
    assert kind is not None
    node = objects.node_name(instance, index)
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {
            "name": slice_name(instance, index),
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid, "controller": True}
            ],
        },
        "spec": {
            "driver": kind.driver,
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": [
                {
                    "name": f"{kind.device}-{number}",
                    "attributes": {
                        "deviceType": {"string": kind.product},
                        "instanceType": {"string": instance.name},
                        "index": {"int": number},
                        # A row of four chips shares links to the next rows; half a node hangs on one processor.
                        "row": {"int": number // 4},
                        "numaNode": {"int": number * 2 // kind.count},
                        "driverVersion": {"version": DRIVER_VERSION},
                    },
                    "capacity": {
                        "memory": {"value": f"{kind.memory_gib}Gi"},
                        "cores": {"value": str(kind.cores)},
                    },
                }
                for number in range(kind.count)
            ],
        },
    }


class DeviceDriver:
    """Publishes the devices of nodes `start` to `start + count`, and again when a slice or its node was made anew."""

    def __init__(self, client: Client, instance: InstanceType, count: int, start: int = 0) -> None:
        assert instance.accelerator is not None
        self._client = client
        self._instance = instance
        self._index = {objects.node_name(instance, i): i for i in range(start, start + count)}
        self._queue = WorkQueue("devices")
        self._nodes = Informer(client, NODES, _Named)
        self._slices = Informer(
            client, RESOURCESLICES, _Named, field_selector=f"spec.driver={instance.accelerator.driver}"
        )
        self._nodes.add_handler(on_add=self._node)
        self._slices.add_handler(on_delete=self._slice_gone)

    def __repr__(self) -> str:
        return f"<DeviceDriver {len(self._index)} {self._instance.name}>"

    def _node(self, node: _Named) -> None:
        if node.metadata.name in self._index:
            self._queue.add(node.metadata.name)

    def _slice_gone(self, found: _Named) -> None:
        assert self._instance.accelerator is not None
        self._queue.add(found.metadata.name.removesuffix(f"-{self._instance.accelerator.driver}"))

    async def run(self) -> None:
        """Publish until cancelled."""
        async with TaskGuard("devices") as guard:
            for informer in (self._nodes, self._slices):
                guard.spawn(informer.run(), name="informer", forever=True)
            self._queue.add("")
            await self._slices.wait_synced()
            await self._queue.run(self.reconcile, WORKERS)

    async def reconcile(self, key: str) -> None:
        """The class (no name), or one node's slice. Raising makes the queue try again."""
        if not key:
            body = class_object(self._instance)
            resource = DEVICECLASSES
        else:
            index, node = self._index.get(key), self._nodes.items.get(key)
            if index is None or node is None or slice_name(self._instance, index) in self._slices.items:
                return
            body = slice_object(self._instance, index, node.metadata.uid)
            resource = RESOURCESLICES
        try:
            await self._client.create(resource, body, type=bytes)
        except ApiError as error:
            if not is_already_exists(error):
                raise
