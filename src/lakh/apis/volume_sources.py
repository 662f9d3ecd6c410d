"""Where volumes come from: validation of every source, in pods and in persistent volumes.

A source is a function of its struct; the tables at the end say which one goes with which field, in the order in which upstream looks at them
(`validateVolumeSource`, `ValidatePersistentVolumeSpec`). A few fields are reported under another path than their own, as upstream does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from lakh.apis.claims import validate_claim_template
from lakh.apis.fieldrefs import (
    VOLUME_FIELD_PATHS,
    local_descending_path,
    local_file,
    no_backsteps,
    validate_field_ref,
    validate_mode,
    validate_resource_field_ref,
)
from lakh.apis.meta import (
    check_dns_label,
    check_dns_subdomain,
    report,
    validate_driver_name,
    validate_label_selector,
)
from lakh.apis.resourcelists import milli
from lakh.machinery import names
from lakh.machinery.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)

Check = Callable[[Any, str, list[FieldError]], None]

MIN_TOKEN_EXPIRATION_SECONDS = 600
MAX_TOKEN_EXPIRATION_SECONDS = 1 << 32
MAX_ISCSI_NAME_BYTES = 64
MORE_THAN_ONE = "may not specify more than 1 volume type"
_BYTE_RANGE = names.range_message(0, 255)
_PARTITION_RANGE = names.range_message(1, 255)
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
PULL_POLICIES = ("Always", "IfNotPresent", "Never")


def _need(source: Any, path: str, found: list[FieldError], *fields: str) -> None:
    for name in fields:
        if not getattr(source, name):
            found.append(required(f"{path}.{name}"))


# -- sources that pods and persistent volumes share --------------------------------------------------------------------------------


def host_path(source: Any, path: str, found: list[FieldError]) -> None:
    """A path of the node."""
    if not source.path:
        found.append(required(f"{path}.path"))
        return
    no_backsteps(source.path, f"{path}.path", found)
    if source.type and source.type not in _HOST_PATH_TYPES:
        found.append(not_supported(f"{path}.type", source.type, _HOST_PATH_TYPES))


def _gce_disk(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "pdName")
    _partition(source.partition, path, found)


def _aws_disk(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "volumeID")
    _partition(source.partition, path, found)


def _partition(partition: int | None, path: str, found: list[FieldError]) -> None:
    if not 0 <= (partition or 0) <= 255:
        found.append(invalid_value(f"{path}.partition", partition, _PARTITION_RANGE))


def _nfs(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "server", "path")
    if not (source.path or "").startswith("/"):
        found.append(invalid_value(f"{path}.path", source.path or "", "must be an absolute path"))


_ISCSI_NAMES = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([a-zA-Z0-9.-]+)(:[^,;*&$|\s]+)$", re.ASCII).search,
    "eui": re.compile(r"eui.[a-zA-Z0-9]{16}", re.ASCII).fullmatch,
    "naa": re.compile(r"naa.[a-zA-Z0-9]{32}", re.ASCII).fullmatch,
}


def _iscsi_name(value: str, path: str, unknown: str, found: list[FieldError]) -> None:
    rule = _ISCSI_NAMES.get(value[:3])
    if rule is None:
        found.append(invalid_value(path, value, unknown))
    elif not rule(value):
        found.append(invalid_value(path, value, "must be valid format"))


def _iscsi(source: Any, path: str, found: list[FieldError], *, persistent: bool = False) -> None:
    unknown = "must be valid format" + ("" if persistent else " starting with iqn, eui, or naa")
    _need(source, path, found, "targetPortal")
    if not source.iqn:
        found.append(required(f"{path}.iqn"))
    else:
        _iscsi_name(source.iqn, f"{path}.iqn", unknown, found)
    if not 0 <= (source.lun or 0) <= 255:
        found.append(invalid_value(f"{path}.lun", source.lun, _BYTE_RANGE))
    if (source.chapAuthDiscovery or source.chapAuthSession) and source.secretRef is None:
        found.append(required(f"{path}.secretRef"))
    if persistent and source.secretRef is not None and not source.secretRef.name:
        found.append(required(f"{path}.secretRef.name"))
    if source.initiatorName is not None:
        _iscsi_name(source.initiatorName, f"{path}.initiatorname", unknown, found)


def _persistent_iscsi(source: Any, path: str, found: list[FieldError]) -> None:
    _iscsi(source, path, found, persistent=True)


def iscsi_name_is_long(name: str, source: Any) -> bool:
    """Whether a volume's name and its portal together are too long for an initiator's name."""
    return (
        source is not None
        and source.initiatorName is not None
        and len(f"{name}:{source.targetPortal or ''}") > MAX_ISCSI_NAME_BYTES
    )


ISCSI_NAME_IS_LONG = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."


def _glusterfs(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "endpoints", "path")


def _persistent_glusterfs(source: Any, path: str, found: list[FieldError]) -> None:
    _glusterfs(source, path, found)
    namespace = source.endpointsNamespace
    if namespace == "":
        found.append(
            invalid_value(
                f"{path}.endpointsNamespace",
                namespace,
                "if the endpointnamespace is set, it must be a valid namespace name",
            )
        )
    elif namespace is not None:
        report(check_dns_label(namespace), f"{path}.endpointsNamespace", namespace, found)


def _flocker(source: Any, path: str, found: list[FieldError]) -> None:
    name, uuid = source.datasetName or "", source.datasetUUID or ""
    if not name and not uuid:
        found.append(required(path, "one of datasetName and datasetUUID is required"))
    if name and uuid:
        found.append(
            invalid_value(path, "resource", "datasetName and datasetUUID can not be specified simultaneously")
        )
    if "/" in name:
        found.append(invalid_value(f"{path}.datasetName", name, "must not contain '/'"))


def _rbd(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "monitors", "image")


def _secret_ref(source: Any, path: str, found: list[FieldError], *fields: str) -> None:
    if source.secretRef is not None:
        _need(source.secretRef, f"{path}.secretRef", found, *fields)


def _cinder(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "volumeID")
    _secret_ref(source, path, found, "name")


def _persistent_cinder(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "volumeID")
    _secret_ref(source, path, found, "name", "namespace")


def _cephfs(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "monitors")


_has_port = re.compile(r"(\[[^\]]*\]|[^:\[\]]*):[^:\[\]]*").fullmatch


def _quobyte(source: Any, path: str, found: list[FieldError]) -> None:
    pairs = "must be a host:port pair or multiple pairs separated by commas"
    if not source.registry:
        found.append(required(f"{path}.registry", pairs))
    elif len(source.tenant or "") >= 65:
        found.append(
            required(f"{path}.tenant", "must be a UUID and may not exceed a length of 64 characters")
        )
    else:
        for pair in source.registry.split(","):
            if not _has_port(pair):
                found.append(invalid_value(f"{path}.registry", source.registry, pairs))
    _need(source, path, found, "volume")


def _fibre_channel(source: Any, path: str, found: list[FieldError]) -> None:
    if not source.targetWWNs and not source.wwids:
        found.append(required(f"{path}.targetWWNs", "must specify either targetWWNs or wwids, but not both"))
    if source.targetWWNs and source.wwids:
        found.append(
            invalid_value(
                f"{path}.targetWWNs",
                source.targetWWNs,
                "targetWWNs and wwids can not be specified simultaneously",
            )
        )
    if source.targetWWNs:
        if source.lun is None:
            found.append(required(f"{path}.lun", "lun is required if targetWWNs is specified"))
        elif not 0 <= source.lun <= 255:
            found.append(invalid_value(f"{path}.lun", source.lun, _BYTE_RANGE))


def _flex(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "driver")
    for key in source.options or ():
        domain = "." + key.partition("/")[0].lower()
        if domain.endswith((".kubernetes.io", ".k8s.io")):
            found.append(
                invalid_value(
                    f"{path}.options[{key}]", key, "kubernetes.io and k8s.io namespaces are reserved"
                )
            )


def _azure_file(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "secretName", "shareName")


def _persistent_azure_file(source: Any, path: str, found: list[FieldError]) -> None:
    _azure_file(source, path, found)
    if source.secretNamespace == "":
        found.append(required(f"{path}.secretNamespace"))


_CACHING_MODES = ("None", "ReadOnly", "ReadWrite")
_DISK_KINDS = ("Dedicated", "Managed", "Shared")


def _azure_disk(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "diskName", "diskURI")
    uri, kind = source.diskURI or "", source.kind
    if source.cachingMode is not None and source.cachingMode not in _CACHING_MODES:
        found.append(not_supported(f"{path}.cachingMode", source.cachingMode, _CACHING_MODES))
    if kind is not None and kind not in _DISK_KINDS:
        found.append(not_supported(f"{path}.kind", kind, _DISK_KINDS))
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        managed = (
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
        )
        found.append(not_supported(f"{path}.diskURI", uri, (managed,)))
    if kind is not None and kind != "Managed" and not uri.startswith("https://"):
        blob = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
        found.append(not_supported(f"{path}.diskURI", uri, (blob,)))


def _vsphere(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "volumePath")


def _photon(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "pdID")


def _portworx(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "volumeID")


def _scale_io(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "gateway", "system", "volumeName")


def _storage_os(source: Any, path: str, found: list[FieldError]) -> None:
    _storage_os_names(source, path, found)
    _secret_ref(source, path, found, "name")


def _persistent_storage_os(source: Any, path: str, found: list[FieldError]) -> None:
    _storage_os_names(source, path, found)
    _secret_ref(source, path, found, "name", "namespace")


def _storage_os_names(source: Any, path: str, found: list[FieldError]) -> None:
    if not source.volumeName:
        found.append(required(f"{path}.volumeName"))
    else:
        report(check_dns_label(source.volumeName), f"{path}.volumeName", source.volumeName, found)
    if source.volumeNamespace:
        report(
            check_dns_label(source.volumeNamespace), f"{path}.volumeNamespace", source.volumeNamespace, found
        )


# -- sources of pods only ----------------------------------------------------------------------------------------------------------


def _empty_dir(source: Any, path: str, found: list[FieldError]) -> None:
    if source.sizeLimit is not None:
        amount = milli(source.sizeLimit)
        if amount is None or amount < 0:
            found.append(
                forbidden_field(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")
            )


def _git_repo(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "repository")
    local_descending_path(source.directory or "", f"{path}.directory", found)


def _item(item: Any, path: str, found: list[FieldError]) -> None:
    _need(item, path, found, "key", "path")
    local_file(item.path, f"{path}.path", found)
    validate_mode(item.mode, f"{path}.mode", found)


def _secret(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "secretName")
    validate_mode(source.defaultMode, f"{path}.defaultMode", found)
    for index, item in enumerate(source.items or ()):
        _item(item, f"{path}.items[{index}]", found)


def _config_map(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "name")
    validate_mode(source.defaultMode, f"{path}.defaultMode", found)
    for index, item in enumerate(source.items or ()):
        _item(item, f"{path}.items[{index}]", found)


def _downward(source: Any, path: str, found: list[FieldError]) -> None:
    validate_mode(source.defaultMode, f"{path}.defaultMode", found)
    for item in source.items or ():
        _downward_file(item, path, found)


def _downward_file(item: Any, path: str, found: list[FieldError]) -> None:
    _need(item, path, found, "path")
    local_file(item.path, f"{path}.path", found)
    if item.fieldRef is not None:
        validate_field_ref(item.fieldRef, VOLUME_FIELD_PATHS, f"{path}.fieldRef", found)
        if item.resourceFieldRef is not None:
            found.append(
                invalid_value(
                    path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"
                )
            )
    elif item.resourceFieldRef is not None:
        validate_resource_field_ref(item.resourceFieldRef, f"{path}.resourceFieldRef", True, found)
    else:
        found.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    validate_mode(item.mode, f"{path}.mode", found)


def _projected(source: Any, path: str, found: list[FieldError]) -> None:
    validate_mode(source.defaultMode, f"{path}.defaultMode", found)
    paths: set[str] = set()

    def take(file: str | None, shown: str | None) -> None:
        if not file:
            return
        if file in paths:
            found.append(invalid_value(path, shown or "", "conflicting duplicate paths"))
        paths.add(file)

    for index, part in enumerate(source.sources or ()):
        where = f"{path}.sources[{index}]"
        count = 0
        for kind in ("secret", "configMap"):
            inner = getattr(part, kind)
            if inner is None:
                continue
            count += 1
            _need(inner, f"{where}.{kind}", found, "name")
            for position, item in enumerate(inner.items or ()):
                _item(item, f"{where}.{kind}.items[{position}]", found)
                take(item.path, inner.name)
        if part.downwardAPI is not None:
            count += 1
            for item in part.downwardAPI.items or ():
                _downward_file(item, f"{where}.downwardAPI", found)
                take(item.path, item.path)
        if part.serviceAccountToken is not None:
            count += 1
            _token(part.serviceAccountToken, f"{where}.serviceAccountToken", path, found)
        if part.clusterTrustBundle is not None:
            count += 1
            _trust_bundle(part.clusterTrustBundle, f"{where}.clusterTrustBundle", found)
            take(part.clusterTrustBundle.path, part.clusterTrustBundle.path)
        if count > 1:
            found.append(forbidden_field(where, f"{MORE_THAN_ONE} per source"))


def _token(source: Any, path: str, volume_path: str, found: list[FieldError]) -> None:
    seconds = source.expirationSeconds or 0
    if seconds < MIN_TOKEN_EXPIRATION_SECONDS:
        found.append(
            invalid_value(
                f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"
            )
        )
    if seconds > MAX_TOKEN_EXPIRATION_SECONDS:
        found.append(
            invalid_value(
                f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"
            )
        )
    if not source.path:
        found.append(required(f"{volume_path}.path"))
    else:
        local_file(source.path, f"{volume_path}.path", found)


def _trust_bundle(source: Any, path: str, found: list[FieldError]) -> None:
    name, signer = source.name, source.signerName
    if name is not None and signer is not None:
        found.append(invalid_value(path, source, "only one of name and signerName may be used"))
    elif name is not None:
        if not name:
            found.append(required(f"{path}.name", "must be a valid object name"))
        for message in names.dns_subdomain(name.replace(":", "-")):
            found.append(
                invalid_value(f"{path}.name", name, f"not a valid clustertrustbundlename: {message}")
            )
        if source.labelSelector is not None:
            found.append(
                invalid_value(
                    f"{path}.labelSelector",
                    source.labelSelector,
                    "labelSelector must be unset if name is specified",
                )
            )
    elif signer is not None:
        if not signer:
            found.append(required(f"{path}.signerName", "must be a valid signer name"))
        found.extend(validate_label_selector(source.labelSelector, f"{path}.labelSelector"))
    else:
        found.append(required(path, "either name or signerName must be specified"))
    _need(source, path, found, "path")
    local_file(source.path, f"{path}.path", found)


def _claim(source: Any, path: str, found: list[FieldError]) -> None:
    _need(source, path, found, "claimName")


def _csi(source: Any, path: str, found: list[FieldError]) -> None:
    validate_driver_name(source.driver, f"{path}.driver", found)
    if source.nodePublishSecretRef is not None:
        name = source.nodePublishSecretRef.name
        if not name:
            found.append(required(f"{path}.nodePublishSecretRef.name"))
        else:
            report(check_dns_subdomain(name), f"{path}.name", name, found)


def _image(source: Any, path: str, found: list[FieldError]) -> None:
    if not source.pullPolicy:
        found.append(required(f"{path}.pullPolicy"))
    elif source.pullPolicy not in PULL_POLICIES:
        found.append(not_supported(f"{path}.pullPolicy", source.pullPolicy, PULL_POLICIES))


def _ephemeral(source: Any, path: str, found: list[FieldError]) -> None:
    if source.volumeClaimTemplate is None:
        found.append(required(f"{path}.volumeClaimTemplate"))
    else:
        validate_claim_template(source.volumeClaimTemplate, f"{path}.volumeClaimTemplate", found)


# -- sources of persistent volumes only --------------------------------------------------------------------------------------------


def _local(source: Any, path: str, found: list[FieldError]) -> None:
    if not source.path:
        found.append(required(f"{path}.path"))
    else:
        no_backsteps(source.path, f"{path}.path", found)


def _persistent_csi(source: Any, path: str, found: list[FieldError]) -> None:
    validate_driver_name(source.driver, f"{path}.driver", found)
    _need(source, path, found, "volumeHandle")
    for field in (
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ):
        ref = getattr(source, field)
        if ref is None:
            continue
        for name, rule in (("name", check_dns_subdomain), ("namespace", check_dns_label)):
            value = getattr(ref, name)
            if not value:
                found.append(required(f"{path}.{field}.{name}"))
            else:
                report(rule(value), f"{path}.{field}.{name}", value, found)


POD_SOURCES: Mapping[str, Check] = {
    "emptyDir": _empty_dir,
    "hostPath": host_path,
    "gitRepo": _git_repo,
    "gcePersistentDisk": _gce_disk,
    "awsElasticBlockStore": _aws_disk,
    "secret": _secret,
    "nfs": _nfs,
    "iscsi": _iscsi,
    "glusterfs": _glusterfs,
    "flocker": _flocker,
    "persistentVolumeClaim": _claim,
    "rbd": _rbd,
    "cinder": _cinder,
    "cephfs": _cephfs,
    "quobyte": _quobyte,
    "downwardAPI": _downward,
    "fc": _fibre_channel,
    "flexVolume": _flex,
    "configMap": _config_map,
    "azureFile": _azure_file,
    "vsphereVolume": _vsphere,
    "photonPersistentDisk": _photon,
    "portworxVolume": _portworx,
    "azureDisk": _azure_disk,
    "storageos": _storage_os,
    "projected": _projected,
    "scaleIO": _scale_io,
    "csi": _csi,
    "ephemeral": _ephemeral,
    "image": _image,
}
PERSISTENT_SOURCES: Mapping[str, Check] = {
    "hostPath": host_path,
    "gcePersistentDisk": _gce_disk,
    "awsElasticBlockStore": _aws_disk,
    "glusterfs": _persistent_glusterfs,
    "flocker": _flocker,
    "nfs": _nfs,
    "rbd": _rbd,
    "quobyte": _quobyte,
    "cephfs": _cephfs,
    "iscsi": _persistent_iscsi,
    "cinder": _persistent_cinder,
    "fc": _fibre_channel,
    "flexVolume": _flex,
    "azureFile": _persistent_azure_file,
    "vsphereVolume": _vsphere,
    "photonPersistentDisk": _photon,
    "portworxVolume": _portworx,
    "azureDisk": _azure_disk,
    "scaleIO": _scale_io,
    "local": _local,
    "storageos": _persistent_storage_os,
    "csi": _persistent_csi,
}
# Sources that upstream reports under another name than their field's: alone, and as one too many.
REPORTED_AS = {"gcePersistentDisk": "persistentDisk"}
REPORTED_AS_SECOND = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}


def validate_source(
    holder: Any, sources: Mapping[str, Check], path: str, found: list[FieldError]
) -> str | None:
    """The source of a volume, of which there is exactly one; returns its name."""
    chosen: str | None = None
    for name, check in sources.items():
        source = getattr(holder, name)
        if source is None:
            continue
        if chosen is None:
            chosen = name
            check(source, f"{path}.{REPORTED_AS.get(name, name)}", found)
        else:
            found.append(forbidden_field(f"{path}.{REPORTED_AS_SECOND.get(name, name)}", MORE_THAN_ONE))
    if chosen is None:
        found.append(required(path, "must specify a volume type"))
    return chosen
