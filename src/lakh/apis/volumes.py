"""Volumes of a pod spec: defaults and validation, one source at a time.

A volume has exactly one source among thirty. The usual ones are looked at first, the rest only when none of those is set.
"""

from __future__ import annotations

from typing import Any

from lakh.apis import structs
from lakh.apis.images import default_pull_policy
from lakh.apis.meta import check_dns_label, report
from lakh.apis.resourcelists import canonical, milli
from lakh.machinery import names
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)

_EmptyDir = structs.core("EmptyDirVolumeSource")
_Volume = structs.core("Volume")

DEFAULT_FILE_MODE = 0o644
DEFAULT_TOKEN_EXPIRATION_SECONDS = 3600
MIN_TOKEN_EXPIRATION_SECONDS = 600
MAX_TOKEN_EXPIRATION_SECONDS = 1 << 32

SOURCES = tuple(name for name in _Volume.__struct_fields__ if name != "name")
_HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MODE_RANGE = "must be a number between 0 and 0777 (octal), both inclusive"

# What may be read through `fieldRef` in volumes, and all that the API knows under those names.
VOLUME_FIELD_PATHS = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
)
KNOWN_FIELD_PATHS = frozenset(
    (
        *VOLUME_FIELD_PATHS,
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.phase",
        "status.podIP",
        "status.podIPs",
    )
)
_RESOURCE_FIELDS = tuple(
    f"{side}.{name}" for side in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory")
)


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
        if source.downwardAPI is not None:
            _default_field_refs(source.downwardAPI.items)


def _default_rare(volume: Any) -> None:
    if volume.downwardAPI is not None:
        _default_mode(volume.downwardAPI)
        _default_field_refs(volume.downwardAPI.items)
    elif volume.ephemeral is not None:
        template = volume.ephemeral.volumeClaimTemplate
        if template is not None and template.spec is not None and template.spec.volumeMode is None:
            template.spec.volumeMode = "Filesystem"
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


def validate_volumes(volumes: list[Any], path: str, found: list[FieldError]) -> dict[str, Any]:
    """All findings on a pod's volumes; returns the named ones, which mounts may refer to."""
    by_name: dict[str, Any] = {}
    for index, volume in enumerate(volumes):
        where = f"{path}[{index}]"
        name = volume.name or ""
        good = True
        if not name:
            found.append(required(f"{where}.name"))
            good = False
        else:
            messages = check_dns_label(name)
            if messages:
                report(messages, f"{where}.name", name, found)
                good = False
            elif name in by_name:
                found.append(duplicate(f"{where}.name", name))
                good = False
        before = len(found)
        _validate_source(volume, where, found)
        if good and len(found) == before:
            by_name[name] = volume
    return by_name


def _validate_source(volume: Any, path: str, found: list[FieldError]) -> None:
    sources = [name for name in SOURCES if getattr(volume, name) is not None]
    if not sources:
        found.append(required(path, "must specify a volume type"))
        return
    for name in sources[1:]:
        found.append(forbidden_field(f"{path}.{name}", "may not specify more than 1 volume type"))
    check = _CHECKS.get(sources[0])
    if check is not None:
        check(getattr(volume, sources[0]), f"{path}.{sources[0]}", found)


def _need(source: Any, path: str, found: list[FieldError], *fields: str) -> None:
    for name in fields:
        if not getattr(source, name):
            found.append(required(f"{path}.{name}"))


def _empty_dir(source: Any, path: str, found: list[FieldError]) -> None:
    if source.sizeLimit is not None:
        amount = milli(source.sizeLimit)
        if amount is None or amount < 0:
            found.append(
                forbidden_field(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")
            )


def _host_path(source: Any, path: str, found: list[FieldError]) -> None:
    if not source.path:
        found.append(required(f"{path}.path"))
        return
    _no_dots(source.path, f"{path}.path", found)
    if source.type and source.type not in _HOST_PATH_TYPES:
        found.append(not_supported(f"{path}.type", source.type, _HOST_PATH_TYPES))


def _no_dots(value: str, path: str, found: list[FieldError]) -> None:
    if ".." in value.split("/"):
        found.append(invalid_value(path, value, "must not contain '..'"))


def local_descending_path(value: str, path: str, found: list[FieldError]) -> None:
    """A path that stays below where it is mounted."""
    if value.startswith("/"):
        found.append(invalid_value(path, value, "must be a relative path"))
    _no_dots(value, path, found)


def _mode(mode: int | None, path: str, found: list[FieldError]) -> None:
    if mode is not None and not 0 <= mode <= 0o777:
        found.append(invalid_value(path, mode, _MODE_RANGE))


def _local_file(value: str | None, path: str, found: list[FieldError]) -> None:
    if not value:
        found.append(required(path))
        return
    local_descending_path(value, path, found)
    if value.startswith("..") and not value.startswith("../"):
        found.append(invalid_value(path, value, "must not start with '..'"))


def _items(items: list[Any] | None, path: str, found: list[FieldError]) -> None:
    for index, item in enumerate(items or ()):
        where = f"{path}[{index}]"
        if not item.key:
            found.append(required(f"{where}.key"))
        else:
            report(names.config_map_key(item.key), f"{where}.key", item.key, found)
        _local_file(item.path, f"{where}.path", found)
        _mode(item.mode, f"{where}.mode", found)


def _secret(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "secretName")
    _mode(source.defaultMode, f"{path}.defaultMode", found)
    _items(source.items, f"{path}.items", found)


def _config_map(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "name")
    _mode(source.defaultMode, f"{path}.defaultMode", found)
    _items(source.items, f"{path}.items", found)


def _downward(source: Any, path: str, found: list[FieldError]) -> None:
    _mode(getattr(source, "defaultMode", None), f"{path}.defaultMode", found)
    for index, item in enumerate(source.items or ()):
        where = f"{path}.items[{index}]" if hasattr(source, "defaultMode") else path
        _local_file(item.path, f"{where}.path", found)
        if item.fieldRef is not None:
            validate_field_ref(item.fieldRef, VOLUME_FIELD_PATHS, f"{where}.fieldRef", found)
            if item.resourceFieldRef is not None:
                found.append(
                    invalid_value(
                        where, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"
                    )
                )
        elif item.resourceFieldRef is not None:
            validate_resource_field_ref(item.resourceFieldRef, f"{where}.resourceFieldRef", True, found)
        else:
            found.append(required(where, "one of fieldRef and resourceFieldRef is required"))
        _mode(item.mode, f"{where}.mode", found)


def validate_field_ref(ref: Any, supported: tuple[str, ...], path: str, found: list[FieldError]) -> None:
    """A `fieldRef` of the downward API."""
    field = ref.fieldPath or ""
    if not ref.apiVersion:
        found.append(required(f"{path}.apiVersion"))
        return
    if not field:
        found.append(required(f"{path}.fieldPath"))
        return
    if ref.apiVersion != "v1":
        found.append(
            invalid_value(
                f"{path}.fieldPath",
                field,
                f"error converting fieldPath: unsupported pod version: {ref.apiVersion}",
            )
        )
        return
    base, bracket, rest = field.partition("['")
    if bracket and rest.endswith("']") and base in ("metadata.annotations", "metadata.labels"):
        key = rest[:-2]
        rule = names.qualified_name(key.lower() if base == "metadata.annotations" else key)
        report(rule, path, key, found)
    elif field not in KNOWN_FIELD_PATHS:
        found.append(
            invalid_value(
                f"{path}.fieldPath",
                field,
                f"error converting fieldPath: field label not supported: {field}",
            )
        )
    elif field not in supported:
        found.append(not_supported(f"{path}.fieldPath", field, supported))


def validate_resource_field_ref(ref: Any, path: str, volume: bool, found: list[FieldError]) -> None:
    """A `resourceFieldRef` of the downward API."""
    resource = ref.resource or ""
    if volume and not ref.containerName:
        found.append(required(f"{path}.containerName"))
    elif not resource:
        found.append(required(f"{path}.resource"))
    elif resource not in _RESOURCE_FIELDS and not resource.startswith(
        ("limits.hugepages-", "requests.hugepages-")
    ):
        found.append(not_supported(f"{path}.resource", resource, _RESOURCE_FIELDS))


def _projected(source: Any, path: str, found: list[FieldError]) -> None:
    _mode(source.defaultMode, f"{path}.defaultMode", found)
    for index, part in enumerate(source.sources or ()):
        where = f"{path}.sources[{index}]"
        kinds = [name for name in part.__struct_fields__ if getattr(part, name) is not None]
        for name in kinds[1:]:
            found.append(
                forbidden_field(f"{where}.{name}", "may not specify more than 1 volume type per source")
            )
        if not kinds:
            found.append(required(where, "must specify a projected volume source"))
            continue
        inner = getattr(part, kinds[0])
        match kinds[0]:
            case "secret" | "configMap":
                _need(inner, f"{where}.{kinds[0]}", found, "name")
                _items(inner.items, f"{where}.{kinds[0]}.items", found)
            case "downwardAPI":
                _downward(inner, f"{where}.downwardAPI", found)
            case "serviceAccountToken":
                _token(inner, f"{where}.serviceAccountToken", found)


def _token(source: Any, path: str, found: list[FieldError]) -> None:
    seconds = source.expirationSeconds or 0
    if seconds < MIN_TOKEN_EXPIRATION_SECONDS:
        found.append(
            invalid_value(
                f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"
            )
        )
    elif seconds > MAX_TOKEN_EXPIRATION_SECONDS:
        found.append(
            invalid_value(
                f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"
            )
        )
    _local_file(source.path, f"{path}.path", found)


def _claim(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "claimName")


def _nfs(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "server", "path")
    if source.path and not source.path.startswith("/"):
        found.append(invalid_value(f"{path}.path", source.path, "must be an absolute path"))


def _csi(source: Any, path: str, found: list[FieldError]) -> None:
    if not source.driver:
        found.append(required(f"{path}.driver"))
    else:
        report(names.dns_subdomain(source.driver.lower()), f"{path}.driver", source.driver, found)


def _ephemeral(source: Any, path: str, found: list[FieldError]) -> None:
    template = source.volumeClaimTemplate
    if template is None:
        found.append(required(f"{path}.volumeClaimTemplate"))
    elif template.spec is None or not template.spec.accessModes:
        found.append(
            required(f"{path}.volumeClaimTemplate.spec.accessModes", "at least 1 access mode is required")
        )


def _image(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "reference")
    if source.pullPolicy and source.pullPolicy not in _PULL_POLICIES:
        found.append(not_supported(f"{path}.pullPolicy", source.pullPolicy, _PULL_POLICIES))


_CHECKS = {
    "configMap": _config_map,
    "csi": _csi,
    "downwardAPI": _downward,
    "emptyDir": _empty_dir,
    "ephemeral": _ephemeral,
    "hostPath": _host_path,
    "image": _image,
    "nfs": _nfs,
    "persistentVolumeClaim": _claim,
    "projected": _projected,
    "secret": _secret,
}
