"""PersistentVolumes and PersistentVolumeClaims."""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from lakh.apis import structs
from lakh.apis.claims import (
    default_claim_spec,
    settle_source,
    validate_claim_spec,
)
from lakh.apis.core.base import declare
from lakh.apis.groups.printing import UNSET, age
from lakh.apis.meta import (
    IMMUTABLE,
    check_label_key,
    immutable,
    report,
    same,
    spec_difference,
)
from lakh.apis.podspec_warnings import claim_spec_warnings, node_selector_term_warnings
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column, Resource, Strategy
from lakh.apis.resourcelists import canonicalise, is_native, milli
from lakh.apis.volumes import default_block_source
from lakh.apis.volumespec import validate_amount, validate_volume_spec
from lakh.machinery import times
from lakh.machinery.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    not_supported,
)

_ClaimSpec = structs.core("PersistentVolumeClaimSpec")
_ClaimStatus = structs.core("PersistentVolumeClaimStatus")
_VolumeSpec = structs.core("PersistentVolumeSpec")
_VolumeStatus = structs.core("PersistentVolumeStatus")
_VolumeResources = structs.core("VolumeResourceRequirements")

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


def storage_class(obj: Any) -> str:
    """The class of a claim or a volume; the old annotation comes first."""
    beta = (obj.metadata.annotations or {}).get(CLASS_ANNOTATION)
    return beta or obj.spec.storageClassName or ""


# Labels of nodes whose older names a volume's node affinity may leave behind.
_NEWER_LABELS = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
}


def _renamed(new: Any, old: Any) -> Any:
    """`old` with the newer names of labels wherever `new` has them."""
    after = (new and new.required and new.required.nodeSelectorTerms) or []
    old = msgspec.convert(msgspec.to_builtins(old), type(old))
    for now, was in zip(after, (old.required and old.required.nodeSelectorTerms) or [], strict=False):
        for part in ("matchExpressions", "matchFields"):
            for a, b in zip(getattr(now, part) or (), getattr(was, part) or (), strict=False):
                if _NEWER_LABELS.get(b.key) == a.key:
                    b.key = a.key
    return old


def _storage(spec: Any) -> Any:
    """What a claim asks for."""
    return ((spec.resources and spec.resources.requests) or {}).get("storage", "0")


def _settle_amount(munged: Any, old: Any) -> None:
    """A bound claim's amount is as it was."""
    if munged.resources is not None and munged.resources.requests is not None:
        munged.resources = copy.copy(munged.resources)
        munged.resources.requests = {**munged.resources.requests, "storage": _storage(old)}


def _settle_class(munged: Any, new: Any, old: Any, found: list[FieldError]) -> None:
    """A claim gets its class once, and may move it from the older annotation into the field."""
    after = (new.metadata.annotations or {}).get(CLASS_ANNOTATION)
    before = (old.metadata.annotations or {}).get(CLASS_ANNOTATION)
    chosen = new.spec.storageClassName
    first = old.spec.storageClassName is None and chosen is not None
    if first and before == chosen and after in (None, before):
        munged.storageClassName = None
        return
    if (after or "") != (before or ""):
        found.append(invalid_value(f"metadata.annotations.{CLASS_ANNOTATION}", after or "", IMMUTABLE))
    if first and before in (None, chosen):
        munged.storageClassName = None


RESIZE_STATES = (
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
)


def _validate_resource_key(name: str, path: str, found: list[FieldError]) -> None:
    messages = check_label_key(name)
    report(messages, path, name, found)
    if not messages and is_native(name) and name != "storage":
        found.append(not_supported(path, name, ("storage",)))


# Sources of persistent volumes that have gone, in upstream's order.
_GONE = (
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
)


def _class_warnings(obj: Any) -> list[str]:
    if CLASS_ANNOTATION not in (obj.metadata.annotations or {}):
        return []
    return [
        f'metadata.annotations[{CLASS_ANNOTATION}]: deprecated since v1.8; use "storageClassName" attribute instead'
    ]


def volume_warnings(volume: Any) -> list[str]:
    """All warnings about a persistent volume."""
    spec, found = volume.spec, _class_warnings(volume)
    if spec.persistentVolumeReclaimPolicy == "Recycle":
        found.append(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to "
            "use dynamic provisioning."
        )
    if spec.nodeAffinity is not None and spec.nodeAffinity.required is not None:
        for index, term in enumerate(spec.nodeAffinity.required.nodeSelectorTerms or ()):
            found.extend(
                node_selector_term_warnings(term, f"spec.nodeAffinity.required.nodeSelectorTerms[{index}]")
            )
    found += [f"spec.{shown}: {text}" for name, shown, text in _GONE if getattr(spec, name) is not None]
    amount = (spec.capacity or {}).get("storage")
    if amount is not None and (milli(amount) or 0) % 1000:
        found.append(
            f'spec.capacity[storage]: fractional byte value "{amount}" is invalid, must be an integer'
        )
    return found


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
        """A new volume is Pending, from now on."""
        obj.status = _VolumeStatus(phase="Pending", lastPhaseTransitionTime=times.now())

    def prepare_for_status_update(self, new: Any, old: Any) -> None:
        """Who changes the phase and says no new time of it gets the current one."""
        super().prepare_for_status_update(new, old)
        status, was = new.status, old.status or _VolumeStatus()
        since = status.lastPhaseTransitionTime
        if status.phase == was.phase:
            status.lastPhaseTransitionTime = since or was.lastPhaseTransitionTime
        elif since is None or since == was.lastPhaseTransitionTime:
            status.lastPhaseTransitionTime = times.now()

    def validate(self, obj: Any) -> list[FieldError]:
        """Its spec."""
        return validate_volume_spec(obj.spec, obj.metadata.name or "", "spec")

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The source and the mode stay; node affinity is set once (`ValidatePersistentVolumeUpdate`)."""
        found = self.validate(new)
        after = {name: getattr(new.spec, name) for name in VOLUME_SOURCES}
        before = {name: getattr(old.spec, name) for name in VOLUME_SOURCES}
        now, was = after["csi"], before["csi"]
        if now is not None and was is not None and was.controllerExpandSecretRef is None:
            # A volume may learn later with which secret it is to grow.
            now = after["csi"] = copy.copy(now)
            now.controllerExpandSecretRef = None
        if not same(after, before):
            found.append(
                forbidden_field(
                    "spec.persistentvolumesource",
                    "spec.persistentvolumesource is immutable after creation\n"
                    f"{spec_difference(new.spec, old.spec)}",
                )
            )
        immutable(new.spec.volumeMode, old.spec.volumeMode, "volumeMode", found)
        if old.spec.nodeAffinity is not None and not same(
            new.spec.nodeAffinity, _renamed(new.spec.nodeAffinity, old.spec.nodeAffinity)
        ):
            found.append(
                invalid_value(
                    "nodeAffinity",
                    new.spec.nodeAffinity,
                    f"{IMMUTABLE}, except for updating from beta label to GA",
                )
            )
        if old.spec.volumeAttributesClassName is not None and new.spec.volumeAttributesClassName is None:
            found.append(
                forbidden_field(
                    "spec.volumeAttributesClassName", "update from non-nil value to nil is forbidden"
                )
            )
        return found

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Drivers that are gone, labels with newer names, amounts that are no bytes (`GetWarningsForPersistentVolume`)."""
        return volume_warnings(obj)

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
            storage_class(obj),
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
        if spec.resources is None:
            spec.resources = _VolumeResources()
        default_claim_spec(spec)

    def prepare_for_create(self, obj: Any) -> None:
        """A new claim is Pending."""
        obj.status = _ClaimStatus(phase="Pending")
        settle_source(obj.spec, None)

    def prepare_for_update(self, new: Any, old: Any) -> None:
        """Clients that know one field for the source only leave the other as it is."""
        super().prepare_for_update(new, old)
        settle_source(new.spec, old.spec)

    def validate(self, obj: Any) -> list[FieldError]:
        """Modes, the amount asked for, the class."""
        found: list[FieldError] = []
        validate_claim_spec(obj.spec, "spec", found)
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """Bound claims may grow and change their class; the volume's name is set once (`ValidatePersistentVolumeClaimUpdate`)."""
        found = self.validate(new)
        munged, was = copy.copy(new.spec), copy.copy(old.spec)
        bound = new.status is not None and new.status.phase == "Bound"
        if not old.spec.volumeName:
            was.volumeName = munged.volumeName
        _settle_class(munged, new, old, found)
        if bound:
            _settle_amount(munged, old.spec)
            if munged.volumeAttributesClassName is not None:
                munged.volumeAttributesClassName = old.spec.volumeAttributesClassName
        if not same(munged, was):
            found.append(
                forbidden_field(
                    "spec",
                    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound "
                    f"claims\n{spec_difference(munged, was)}",
                )
            )
        before, after = _storage(old.spec), _storage(new.spec)
        capacity = (old.status and old.status.capacity and old.status.capacity.get("storage")) or "0"
        if (milli(after) or 0) < (milli(before) or 0) and (milli(after) or 0) <= (milli(capacity) or 0):
            found.append(
                forbidden_field(
                    "spec.resources.requests.storage", "field can not be less than status.capacity"
                )
            )
        immutable(new.spec.volumeMode, old.spec.volumeMode, "volumeMode", found)
        name = new.spec.volumeAttributesClassName
        if old.spec.volumeAttributesClassName is not None and not name:
            what = "nil" if name is None else "an empty string"
            found.append(
                forbidden_field(
                    "spec.volumeAttributesClassName", f"update from non-nil value to {what} is forbidden"
                )
            )
        return found

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """The annotation that named the class before v1.8, and amounts that are no bytes."""
        return [*_class_warnings(obj), *claim_spec_warnings(obj.spec, "spec")]

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Capacity, and how far a resize is (`ValidatePersistentVolumeClaimStatusUpdate`)."""
        found: list[FieldError] = []
        status = new.status
        if status is None:
            return found
        for name, value in (status.capacity or {}).items():
            validate_amount(value, f"status.capacity[{name}]", found)
        path = "status.allocatedResourceStatus"
        for name, state in (status.allocatedResourceStatuses or {}).items():
            _validate_resource_key(name, path, found)
            if state not in RESIZE_STATES:
                found.append(not_supported(path, name, RESIZE_STATES))
        path = "status.allocatedResources"
        for name, value in (status.allocatedResources or {}).items():
            before = len(found)
            _validate_resource_key(name, path, found)
            if len(found) == before:
                validate_amount(value, f"{path}[{name}]", found)
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
            storage_class(obj),
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
