"""The devices of simulated nodes as a DRA driver publishes them: a DeviceClass, and a ResourceSlice a node.

A node's accelerators are one pool, named after the node. They carry what tells them apart and what placement needs: the kind, the place in the
node, the driver's version. Slices of equal machines are alike but for names, so that whoever holds all of them can hold them once.
"""

from __future__ import annotations

from typing import Any

from lakh.client.client import Client
from lakh.client.resources import DEVICECLASSES, RESOURCESLICES

from . import objects
from .catalogue import InstanceType
from .pernode import PerNode

DRIVER_VERSION = "2.21.0"


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


def driver(client: Client, instance: InstanceType, count: int, start: int = 0) -> PerNode:
    """Publishes the devices of nodes `start` to `start + count`."""
    kind, device_class = instance.accelerator, class_object(instance)
    assert kind is not None and device_class is not None
    return PerNode(
        client,
        RESOURCESLICES,
        {objects.node_name(instance, index): index for index in range(start, start + count)},
        lambda index, uid: slice_object(instance, index, uid),
        suffix=f"-{kind.driver}",
        field_selector=f"spec.driver={kind.driver}",
        first=((DEVICECLASSES, device_class),),
    )
