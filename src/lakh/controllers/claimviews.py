"""Narrow views of claims, of volumes and of devices, and of what pods say about theirs."""

from __future__ import annotations

import msgspec

from lakh.machinery.volumes import Meta


class View(msgspec.Struct, gc=False):
    """Base of all views."""


class ClaimSource(View):
    """`core/v1.PersistentVolumeClaimVolumeSource`."""

    claimName: str = ""


class ClaimTemplate(View):
    """`core/v1.PersistentVolumeClaimTemplate`; it stays raw."""

    metadata: msgspec.Raw = msgspec.Raw(b"{}")
    spec: msgspec.Raw = msgspec.Raw(b"{}")


class EphemeralSource(View):
    """`core/v1.EphemeralVolumeSource`."""

    volumeClaimTemplate: ClaimTemplate | None = None


class PodVolume(View):
    """`core/v1.Volume`: what is behind a claim."""

    name: str = ""
    persistentVolumeClaim: ClaimSource | None = None
    ephemeral: EphemeralSource | None = None


class PodClaim(View):
    """`core/v1.PodResourceClaim`."""

    name: str = ""
    resourceClaimName: str | None = None
    resourceClaimTemplateName: str | None = None


class PodClaimStatus(View):
    """`core/v1.PodResourceClaimStatus`."""

    name: str = ""
    resourceClaimName: str | None = None


class ExtendedClaimStatus(View):
    """`core/v1.PodExtendedResourceClaimStatus`."""

    resourceClaimName: str = ""


class Consumer(View):
    """`resource.k8s.io/v1.ResourceClaimConsumerReference`."""

    resource: str = ""
    name: str = ""
    uid: str = ""


class AllocationSeen(View):
    """That there is an allocation."""


class ClaimStatus(View):
    """`resource.k8s.io/v1.ResourceClaimStatus`."""

    allocation: AllocationSeen | None = None
    reservedFor: list[Consumer] | None = None


class ResourceClaim(View):
    """`resource.k8s.io/v1.ResourceClaim`."""

    metadata: Meta
    status: ClaimStatus = msgspec.field(default_factory=ClaimStatus)


class TemplateMeta(View):
    """Labels and annotations that a template gives its claims."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class TemplateSpec(View):
    """`resource.k8s.io/v1.ResourceClaimTemplateSpec`; the claim's spec stays raw."""

    spec: msgspec.Raw
    metadata: TemplateMeta | None = None


class ResourceClaimTemplate(View):
    """`resource.k8s.io/v1.ResourceClaimTemplate`."""

    metadata: Meta
    spec: TemplateSpec
