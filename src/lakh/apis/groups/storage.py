"""storage.k8s.io/v1."""

from __future__ import annotations

from lakh.apis.groups.base import GroupStrategy, declare


class CSIDriverStrategy(GroupStrategy):
    """CSIDriver."""


class CSINodeStrategy(GroupStrategy):
    """CSINode."""


class CSIStorageCapacityStrategy(GroupStrategy):
    """CSIStorageCapacity."""


class StorageClassStrategy(GroupStrategy):
    """StorageClass."""


class VolumeAttachmentStrategy(GroupStrategy):
    """VolumeAttachment."""

    has_status = True


class VolumeAttributesClassStrategy(GroupStrategy):
    """VolumeAttributesClass."""


RESOURCES = (
    declare(
        "storage.k8s.io",
        "v1",
        "csidrivers",
        "CSIDriver",
        CSIDriverStrategy(),
        namespaced=False,
    ),
    declare(
        "storage.k8s.io",
        "v1",
        "csinodes",
        "CSINode",
        CSINodeStrategy(),
        namespaced=False,
    ),
    declare(
        "storage.k8s.io",
        "v1",
        "csistoragecapacities",
        "CSIStorageCapacity",
        CSIStorageCapacityStrategy(),
        namespaced=True,
    ),
    declare(
        "storage.k8s.io",
        "v1",
        "storageclasses",
        "StorageClass",
        StorageClassStrategy(),
        namespaced=False,
        short_names=("sc",),
    ),
    declare(
        "storage.k8s.io",
        "v1",
        "volumeattachments",
        "VolumeAttachment",
        VolumeAttachmentStrategy(),
        namespaced=False,
    ),
    declare(
        "storage.k8s.io",
        "v1",
        "volumeattributesclasses",
        "VolumeAttributesClass",
        VolumeAttributesClassStrategy(),
        namespaced=False,
        short_names=("vac",),
    ),
)
