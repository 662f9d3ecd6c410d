"""Volumes of a pod spec: defaults, names, and that each has one source.

A volume has exactly one source among thirty; what is right in a source is in `volume_sources`.
"""

from __future__ import annotations

from typing import Any

from lakh.apis import structs
from lakh.apis.claims import default_claim_spec
from lakh.apis.images import default_pull_policy
from lakh.apis.meta import check_dns_label, check_dns_subdomain, report
from lakh.apis.resourcelists import canonical
from lakh.apis.volume_sources import (
    ISCSI_NAME_IS_LONG,
    POD_SOURCES,
    iscsi_name_is_long,
    validate_source,
)
from lakh.machinery.errors import FieldError, duplicate, invalid_value, required

_ClaimSpec = structs.core("PersistentVolumeClaimSpec")
_EmptyDir = structs.core("EmptyDirVolumeSource")
_ObjectMeta = structs.meta("ObjectMeta")
_Volume = structs.core("Volume")

DEFAULT_FILE_MODE = 0o644
DEFAULT_TOKEN_EXPIRATION_SECONDS = 3600
TOKEN_PATH = "token"
ACCESS_VOLUME_PREFIX = "kube-api-access-"
# Odd on purpose, as upstream has it: such a token is extended and watched for, an hour's token is what somebody asked for.
ACCESS_TOKEN_EXPIRATION_SECONDS = 3607
SOURCES = tuple(name for name in _Volume.__struct_fields__ if name != "name")


def default_volume(volume: Any) -> None:
    """Defaults of one volume of a pod spec."""
    if volume.configMap is not None:
        _default_mode(volume.configMap)
    elif volume.secret is not None:
        _default_mode(volume.secret)
    elif volume.projected is not None:
        _default_projected(volume.projected)
    elif volume.emptyDir is not None:
        if volume.emptyDir.sizeLimit is not None:
            volume.emptyDir.sizeLimit = canonical(volume.emptyDir.sizeLimit) or volume.emptyDir.sizeLimit
    elif volume.hostPath is not None:
        if volume.hostPath.type is None:
            volume.hostPath.type = ""
    elif volume.persistentVolumeClaim is None and volume.csi is None and volume.nfs is None:
        _default_rare(volume)


def _default_mode(source: Any) -> None:
    if source.defaultMode is None:
        source.defaultMode = DEFAULT_FILE_MODE


def _default_field_refs(items: list[Any] | None) -> None:
    for item in items or ():
        if item.fieldRef is not None and not item.fieldRef.apiVersion:
            item.fieldRef.apiVersion = "v1"
        if item.resourceFieldRef is not None:
            divisor = item.resourceFieldRef.divisor
            item.resourceFieldRef.divisor = "0" if divisor is None else (canonical(divisor) or divisor)


def _default_projected(projected: Any) -> None:
    _default_mode(projected)
    for source in projected.sources or ():
        if source.serviceAccountToken is not None and source.serviceAccountToken.expirationSeconds is None:
            source.serviceAccountToken.expirationSeconds = DEFAULT_TOKEN_EXPIRATION_SECONDS
        # Off by default in v1.36 (the gate PodCertificateRequest), and dropped then.
        source.podCertificate = None
        if source.downwardAPI is not None:
            _default_field_refs(source.downwardAPI.items)


def _default_rare(volume: Any) -> None:
    if volume.downwardAPI is not None:
        _default_mode(volume.downwardAPI)
        _default_field_refs(volume.downwardAPI.items)
    elif volume.ephemeral is not None:
        template = volume.ephemeral.volumeClaimTemplate
        if template is not None:
            if template.metadata is None:
                template.metadata = _ObjectMeta()
            if template.spec is None:
                template.spec = _ClaimSpec()
            default_claim_spec(template.spec)
    elif volume.image is not None:
        if not volume.image.pullPolicy:
            volume.image.pullPolicy = default_pull_policy(volume.image.reference or "")
    elif all(getattr(volume, name) is None for name in SOURCES):
        volume.emptyDir = _EmptyDir()
    else:
        default_block_source(volume)


def default_block_source(volume: Any) -> None:
    """Defaults of network block devices, the same in pods and in persistent volumes."""
    if volume.iscsi is not None and not volume.iscsi.iscsiInterface:
        volume.iscsi.iscsiInterface = "default"
    if volume.rbd is not None:
        _fill(volume.rbd, pool="rbd", user="admin", keyring="/etc/ceph/keyring")
    if volume.azureDisk is not None:
        _fill(volume.azureDisk, cachingMode="ReadWrite", kind="Shared", fsType="ext4", readOnly=False)
    if volume.scaleIO is not None:
        _fill(volume.scaleIO, storageMode="ThinProvisioned", fsType="xfs")


def _fill(obj: Any, **defaults: Any) -> None:
    for name, value in defaults.items():
        if getattr(obj, name) in (None, ""):
            setattr(obj, name, value)


def _access_source() -> Any:
    core = structs.core
    projection = core("VolumeProjection")
    return core("ProjectedVolumeSource")(
        defaultMode=DEFAULT_FILE_MODE,
        sources=[
            projection(
                serviceAccountToken=core("ServiceAccountTokenProjection")(
                    path=TOKEN_PATH, expirationSeconds=ACCESS_TOKEN_EXPIRATION_SECONDS
                )
            ),
            projection(
                configMap=core("ConfigMapProjection")(
                    name="kube-root-ca.crt", items=[core("KeyToPath")(key="ca.crt", path="ca.crt")]
                )
            ),
            projection(
                downwardAPI=core("DownwardAPIProjection")(
                    items=[
                        core("DownwardAPIVolumeFile")(
                            path="namespace",
                            fieldRef=core("ObjectFieldSelector")(
                                apiVersion="v1", fieldPath="metadata.namespace"
                            ),
                        )
                    ]
                )
            ),
        ],
    )


ACCESS_FILES = frozenset(("ca.crt", "namespace"))
# One for all pods: nobody changes it, and it needs no validation.
ACCESS_SOURCE = _access_source()


def access_volume(name: str) -> Any:
    """The volume by which a pod's containers reach the API: a token, the cluster's certificates, the namespace."""
    return _Volume(name=name, projected=ACCESS_SOURCE)


def validate_volumes(
    volumes: list[Any], pod_name: str | None, path: str, found: list[FieldError]
) -> dict[str, Any]:
    """All findings on a pod's volumes; returns the good ones by name, which mounts may refer to. `pod_name`: None in a template."""
    by_name: dict[str, Any] = {}
    made: set[str] = set()
    for index, volume in enumerate(volumes):
        name, before = volume.name or "", len(found)
        if volume.projected is not ACCESS_SOURCE:
            where = f"{path}[{index}]"
            validate_source(volume, POD_SOURCES, where, found)
            if iscsi_name_is_long(name, volume.iscsi):
                found.append(invalid_value(f"{where}.name", name, ISCSI_NAME_IS_LONG))
            if volume.ephemeral is not None and pod_name:
                _validate_claim_name(pod_name, name, f"{where}.name", made, found)
        if not name:
            found.append(required(f"{path}[{index}].name"))
        else:
            messages = check_dns_label(name)
            if messages:
                report(messages, f"{path}[{index}].name", name, found)
        if name in by_name:
            found.append(duplicate(f"{path}[{index}].name", name))
        if len(found) == before:
            by_name[name] = volume
    if made:
        for index, volume in enumerate(volumes):
            claim = volume.persistentVolumeClaim
            if claim is not None and claim.claimName in made:
                found.append(
                    invalid_value(
                        f"{path}[{index}].persistentVolumeClaim.claimName",
                        claim.claimName,
                        "must not reference a PVC that gets created for an ephemeral volume",
                    )
                )
    return by_name


def _validate_claim_name(
    pod_name: str, volume_name: str, path: str, made: set[str], found: list[FieldError]
) -> None:
    """The claim that is made for an ephemeral volume has a good name."""
    claim = f"{pod_name}-{volume_name}"
    made.add(claim)
    if volume_name:
        for message in check_dns_subdomain(claim):
            found.append(invalid_value(path, volume_name, f'PVC name "{claim}": {message}'))
