"""PersistentVolumes and PersistentVolumeClaims."""

from __future__ import annotations

import copy
from typing import Any

from lakh.apis import structs
from lakh.apis.core.base import declare
from lakh.apis.groups.printing import UNSET, age
from lakh.apis.meta import (
    check_dns_subdomain,
    immutable,
    report,
    same,
    spec_difference,
    validate_label_selector,
)
from lakh.apis.placement import validate_node_selector
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column, Resource, Strategy
from lakh.apis.resourcelists import canonicalise, check_amount, milli
from lakh.apis.volumes import default_block_source
from lakh.machinery.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)

_ClaimSpec = structs.core("PersistentVolumeClaimSpec")
_ClaimStatus = structs.core("PersistentVolumeClaimStatus")
_VolumeSpec = structs.core("PersistentVolumeSpec")
_VolumeStatus = structs.core("PersistentVolumeStatus")
_VolumeResources = structs.core("VolumeResourceRequirements")

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
VOLUME_MODES = ("Block", "Filesystem")
_SHORT_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
_NOT_SOURCES = frozenset(
    (
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    )
)
VOLUME_SOURCES = tuple(name for name in _VolumeSpec.__struct_fields__ if name not in _NOT_SOURCES)
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


def access_modes(modes: list[str] | None) -> str:
    """Access modes as `RWO,ROX,RWX,RWOP`, each once."""
    return ",".join(short for mode, short in _SHORT_MODES.items() if mode in (modes or ()))


def _storage_class(obj: Any) -> str:
    beta = (obj.metadata.annotations or {}).get(CLASS_ANNOTATION)
    return beta or obj.spec.storageClassName or ""


def _validate_modes(modes: list[str] | None, path: str, found: list[FieldError]) -> None:
    if not modes:
        found.append(required(path, "at least one access mode is required"))
    for mode in modes or ():
        if mode not in ACCESS_MODES:
            found.append(not_supported(path, mode, ACCESS_MODES))
    if modes and "ReadWriteOncePod" in modes and len(modes) > 1:
        found.append(forbidden_field(path, "may not use ReadWriteOncePod with other access modes"))


def _validate_storage(amounts: dict[str, Any] | None, path: str, found: list[FieldError]) -> None:
    value = (amounts or {}).get("storage")
    if value is None:
        found.append(required(f"{path}[storage]"))
        return
    messages = check_amount("storage", value)
    if messages:
        report(messages, f"{path}[storage]", value, found)
    elif not milli(value):
        found.append(invalid_value(f"{path}[storage]", value, "must be greater than zero"))


class PersistentVolumeStrategy(Strategy):
    """PersistentVolumes."""

    has_status = True
    columns = (
        NAME_COLUMN,
        Column("Capacity", description="How much it holds."),
        Column("Access Modes", description="How it can be mounted."),
        Column("Reclaim Policy", description="What happens to it when its claim is gone."),
        Column("Status", description="Whether it is available, bound or released."),
        Column("Claim", description="The claim that it is bound to."),
        Column("StorageClass", description="Its storage class."),
        Column("VolumeAttributesClass", description="Its volume attributes class."),
        Column("Reason", description="Why it is in that state."),
        AGE_COLUMN,
        Column("VolumeMode", priority=1, description="Filesystem or Block."),
    )

    def default(self, obj: Any) -> None:
        """Pending, Retain, Filesystem."""
        spec = obj.spec
        if spec is None:
            spec = obj.spec = _VolumeSpec()
        if obj.status is None:
            obj.status = _VolumeStatus()
        if not obj.status.phase:
            obj.status.phase = "Pending"
        if not spec.persistentVolumeReclaimPolicy:
            spec.persistentVolumeReclaimPolicy = "Retain"
        if spec.volumeMode is None:
            spec.volumeMode = "Filesystem"
        if spec.capacity:
            canonicalise(spec.capacity)
        if spec.hostPath is not None and spec.hostPath.type is None:
            spec.hostPath.type = ""
        default_block_source(spec)

    def prepare_for_create(self, obj: Any) -> None:
        """A new volume is Pending."""
        obj.status = _VolumeStatus(phase="Pending")

    def validate(self, obj: Any) -> list[FieldError]:
        """Modes, capacity, one source."""
        found: list[FieldError] = []
        spec = obj.spec
        _validate_modes(spec.accessModes, "spec.accessModes", found)
        if not spec.capacity:
            found.append(required("spec.capacity"))
        elif list(spec.capacity) != ["storage"]:
            found.append(not_supported("spec.capacity", ",".join(spec.capacity), ("storage",)))
        else:
            _validate_storage(spec.capacity, "spec.capacity", found)
        if spec.persistentVolumeReclaimPolicy not in RECLAIM_POLICIES:
            found.append(
                not_supported(
                    "spec.persistentVolumeReclaimPolicy", spec.persistentVolumeReclaimPolicy, RECLAIM_POLICIES
                )
            )
        if spec.volumeMode not in VOLUME_MODES:
            found.append(not_supported("spec.volumeMode", spec.volumeMode, VOLUME_MODES))
        if spec.storageClassName:
            report(
                check_dns_subdomain(spec.storageClassName),
                "spec.storageClassName",
                spec.storageClassName,
                found,
            )
        if spec.nodeAffinity is not None:
            if spec.nodeAffinity.required is None:
                found.append(required("spec.nodeAffinity.required", "must specify required node constraints"))
            else:
                validate_node_selector(spec.nodeAffinity.required, "spec.nodeAffinity.required", found)
        sources = [name for name in VOLUME_SOURCES if getattr(spec, name) is not None]
        if not sources:
            found.append(required("spec", "must specify a volume type"))
        for name in sources[1:]:
            found.append(forbidden_field(f"spec.{name}", "may not specify more than 1 volume type"))
        if spec.local is not None:
            if not spec.local.path:
                found.append(required("spec.local.path"))
            if spec.nodeAffinity is None:
                found.append(required("spec.nodeAffinity", "Local volume requires node affinity"))
        if spec.hostPath is not None and not spec.hostPath.path:
            found.append(required("spec.hostPath.path"))
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The source and the mode stay; node affinity is set once."""
        found = self.validate(new)
        for name in VOLUME_SOURCES:
            if not same(getattr(new.spec, name), getattr(old.spec, name)):
                found.append(
                    forbidden_field(
                        "spec.persistentvolumesource",
                        "spec.persistentvolumesource is immutable after creation",
                    )
                )
                break
        immutable(new.spec.volumeMode, old.spec.volumeMode, "spec.volumeMode", found)
        if old.spec.nodeAffinity is not None:
            immutable(new.spec.nodeAffinity, old.spec.nodeAffinity, "spec.nodeAffinity", found)
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get pv -o wide` shows it."""
        spec, claim = obj.spec, obj.spec.claimRef
        status = (obj.status and obj.status.phase) or ""
        return [
            obj.metadata.name,
            (spec.capacity or {}).get("storage", "0"),
            access_modes(spec.accessModes),
            spec.persistentVolumeReclaimPolicy or "",
            "Terminating" if obj.metadata.deletionTimestamp else status,
            f"{claim.namespace or ''}/{claim.name or ''}" if claim is not None else "",
            _storage_class(obj),
            spec.volumeAttributesClassName or UNSET,
            (obj.status and obj.status.reason) or "",
            age(obj, now),
            spec.volumeMode or UNSET,
        ]


class PersistentVolumeClaimStrategy(Strategy):
    """PersistentVolumeClaims."""

    has_status = True
    columns = (
        NAME_COLUMN,
        Column("Status", description="Whether it is pending, bound or lost."),
        Column("Volume", description="The volume that it is bound to."),
        Column("Capacity", description="How much its volume holds."),
        Column("Access Modes", description="How it can be mounted."),
        Column("StorageClass", description="The storage class that it asks for."),
        Column("VolumeAttributesClass", description="The volume attributes class that it asks for."),
        AGE_COLUMN,
        Column("VolumeMode", priority=1, description="Filesystem or Block."),
    )

    def default(self, obj: Any) -> None:
        """Pending, Filesystem."""
        spec = obj.spec
        if spec is None:
            spec = obj.spec = _ClaimSpec()
        if obj.status is None:
            obj.status = _ClaimStatus()
        if not obj.status.phase:
            obj.status.phase = "Pending"
        if spec.volumeMode is None:
            spec.volumeMode = "Filesystem"
        if spec.resources is None:
            spec.resources = _VolumeResources()
        if spec.resources.requests:
            canonicalise(spec.resources.requests)
        if spec.resources.limits:
            canonicalise(spec.resources.limits)
        # The two fields for the source mirror each other unless the newer one crosses namespaces.
        source = spec.dataSource
        if spec.dataSourceRef is None and source is not None:
            spec.dataSourceRef = structs.core("TypedObjectReference")(
                apiGroup=source.apiGroup, kind=source.kind, name=source.name
            )

    def prepare_for_create(self, obj: Any) -> None:
        """A new claim is Pending."""
        obj.status = _ClaimStatus(phase="Pending")

    def validate(self, obj: Any) -> list[FieldError]:
        """Modes, the amount asked for, the class."""
        found: list[FieldError] = []
        spec = obj.spec
        found.extend(validate_label_selector(spec.selector, "spec.selector"))
        _validate_modes(spec.accessModes, "spec.accessModes", found)
        _validate_storage(spec.resources.requests, "spec.resources.requests", found)
        if spec.storageClassName:
            report(
                check_dns_subdomain(spec.storageClassName),
                "spec.storageClassName",
                spec.storageClassName,
                found,
            )
        if spec.volumeMode not in VOLUME_MODES:
            found.append(not_supported("spec.volumeMode", spec.volumeMode, VOLUME_MODES))
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """Bound claims may grow and change their class; the volume's name is set once."""
        found = self.validate(new)
        munged = copy.copy(new.spec)
        if not old.spec.volumeName:
            munged.volumeName = old.spec.volumeName
        if not old.spec.storageClassName:
            munged.storageClassName = old.spec.storageClassName
        munged.volumeAttributesClassName = old.spec.volumeAttributesClassName
        if old.status is not None and old.status.phase == "Bound":
            munged.resources = old.spec.resources
        if not same(munged, old.spec):
            found.append(
                forbidden_field(
                    "spec",
                    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound "
                    f"claims\n{spec_difference(munged, old.spec)}",
                )
            )
        before, after = (
            ((spec.resources and spec.resources.requests) or {}).get("storage")
            for spec in (old.spec, new.spec)
        )
        if before is not None and after is not None and (milli(after) or 0) < (milli(before) or 0):
            capacity = ((old.status and old.status.capacity) or {}).get("storage")
            if capacity is None or (milli(after) or 0) <= (milli(capacity) or 0):
                found.append(
                    forbidden_field(
                        "spec.resources.requests.storage", "field can not be less than status.capacity"
                    )
                )
        immutable(new.spec.volumeMode, old.spec.volumeMode, "volumeMode", found)
        return found

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Modes and capacity of a bound claim."""
        found: list[FieldError] = []
        status = new.status
        if status is None:
            return found
        for mode in status.accessModes or ():
            if mode not in ACCESS_MODES:
                found.append(not_supported("status.accessModes", mode, ACCESS_MODES))
        for name, value in (status.capacity or {}).items():
            report(check_amount(name, value), f"status.capacity[{name}]", value, found)
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get pvc -o wide` shows it."""
        spec, status = obj.spec, obj.status or _ClaimStatus()
        bound = bool(spec.volumeName)
        return [
            obj.metadata.name,
            "Terminating" if obj.metadata.deletionTimestamp else status.phase or "",
            spec.volumeName or "",
            (status.capacity or {}).get("storage", "0") if bound else "",
            access_modes(status.accessModes) if bound else "",
            _storage_class(obj),
            spec.volumeAttributesClassName or UNSET,
            age(obj, now),
            spec.volumeMode or UNSET,
        ]


RESOURCES: tuple[Resource, ...] = (
    declare(
        "persistentvolumes",
        "PersistentVolume",
        PersistentVolumeStrategy(),
        namespaced=False,
        short_names=("pv",),
    ),
    declare(
        "persistentvolumeclaims",
        "PersistentVolumeClaim",
        PersistentVolumeClaimStrategy(),
        short_names=("pvc",),
    ),
)
