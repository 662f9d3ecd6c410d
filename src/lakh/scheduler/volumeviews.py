"""Narrow views of what CSI drivers tell about themselves."""

from __future__ import annotations

import msgspec

from lakh.machinery.volumes import LabelSelector, Meta, Quantity

__all__ = ["CSIDriverView", "CSINodeView", "CapacityView"]


class _Struct(msgspec.Struct, gc=False, omit_defaults=True):
    pass


class Allocatable(_Struct):
    """storage.k8s.io/v1 VolumeNodeResources."""

    count: int | None = None


class NodeDriver(_Struct):
    """storage.k8s.io/v1 CSINodeDriver."""

    name: str = ""
    allocatable: Allocatable | None = None


class CSINodeSpec(_Struct):
    """storage.k8s.io/v1 CSINodeSpec."""

    drivers: list[NodeDriver] | None = None


class CSINodeView(_Struct):
    """storage.k8s.io/v1 CSINode: how many volumes of each driver the node takes."""

    metadata: Meta
    spec: CSINodeSpec = msgspec.field(default_factory=CSINodeSpec)


class CSIDriverSpec(_Struct):
    """storage.k8s.io/v1 CSIDriverSpec."""

    storageCapacity: bool | None = None


class CSIDriverView(_Struct):
    """storage.k8s.io/v1 CSIDriver: whether it tells its capacity."""

    metadata: Meta
    spec: CSIDriverSpec = msgspec.field(default_factory=CSIDriverSpec)


class CapacityView(_Struct):
    """storage.k8s.io/v1 CSIStorageCapacity."""

    metadata: Meta
    storageClassName: str = ""
    nodeTopology: LabelSelector | None = None
    capacity: Quantity | None = None
    maximumVolumeSize: Quantity | None = None
