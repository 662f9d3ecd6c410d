"""resource.k8s.io/v1."""

from __future__ import annotations

from lakh.apis.groups.base import GroupStrategy, declare


class DeviceClassStrategy(GroupStrategy):
    """DeviceClass."""

    generation = True


class ResourceClaimStrategy(GroupStrategy):
    """ResourceClaim."""

    has_status = True


class ResourceClaimTemplateStrategy(GroupStrategy):
    """ResourceClaimTemplate."""


class ResourceSliceStrategy(GroupStrategy):
    """ResourceSlice."""

    generation = True


RESOURCES = (
    declare(
        "resource.k8s.io",
        "v1",
        "deviceclasses",
        "DeviceClass",
        DeviceClassStrategy(),
        namespaced=False,
    ),
    declare(
        "resource.k8s.io",
        "v1",
        "resourceclaims",
        "ResourceClaim",
        ResourceClaimStrategy(),
        namespaced=True,
    ),
    declare(
        "resource.k8s.io",
        "v1",
        "resourceclaimtemplates",
        "ResourceClaimTemplate",
        ResourceClaimTemplateStrategy(),
        namespaced=True,
    ),
    declare(
        "resource.k8s.io",
        "v1",
        "resourceslices",
        "ResourceSlice",
        ResourceSliceStrategy(),
        namespaced=False,
    ),
)
