"""storage.k8s.io/v1: storage classes, CSI drivers and what they report, attachments of volumes."""

from __future__ import annotations

import copy
from typing import Any

from lakh.apis import meta
from lakh.apis.groups import printing
from lakh.apis.groups.base import METADATA_RESETS, GroupStrategy, child, declare
from lakh.apis.nodelabels import DEPRECATED_LABELS
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, STATUS_METADATA, Column
from lakh.apis.resourcelists import canonicalise
from lakh.apis.volumes import default_block_source
from lakh.apis.volumespec import validate_volume_spec
from lakh.machinery import names, quantity
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    too_long,
)

GROUP = "storage.k8s.io"
VERSION = "v1"

IS_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
BETA_IS_DEFAULT_CLASS = "storageclass.beta.kubernetes.io/is-default-class"
IS_DEFAULT_ATTRIBUTES_CLASS = "volumeattributesclass.alpha.kubernetes.io/is-default-class"

# Bounds of upstream's validation.
MAX_NODE_ID_BYTES = 256
MAX_PARAMETERS = 512
MAX_PARAMETERS_BYTES = 256 * 1024
MAX_ATTACHMENT_METADATA_BYTES = 256 * 1024
MAX_ERROR_MESSAGE_BYTES = 1024
MIN_UPDATE_PERIOD_SECONDS = 10


def _validate_provisioner(name: str | None, path: str, found: list[FieldError]) -> None:
    """A qualified name in any case."""
    if not name:
        found.append(required(path))
    else:
        meta.report(meta.check_label_key(name.lower()), path, name.lower(), found)


def _validate_parameters(parameters: dict[str, str] | None, found: list[FieldError]) -> None:
    """Not too many, and not too large."""
    parameters = parameters or {}
    if len(parameters) > MAX_PARAMETERS:
        found.append(too_long("parameters", MAX_PARAMETERS))
        return
    if "" in parameters:
        found.append(invalid_value("parameters", "", "field can not be empty."))
    if _size_bytes(parameters) > MAX_PARAMETERS_BYTES:
        found.append(too_long("parameters", MAX_PARAMETERS_BYTES))


def _size_bytes(values: dict[str, str]) -> int:
    return sum(len(key.encode()) + len((value or "").encode()) for key, value in values.items())


def _validate_topologies(terms: Any, found: list[FieldError]) -> None:
    """Terms of labels with values, each combination once."""
    # Upstream's list of what was seen begins with an empty term for each there is, so an empty one is always there already.
    seen: list[dict[str, set[str]]] = [{} for _ in terms]
    for index, term in enumerate(terms):
        path = f"allowedTopologies[{index}].matchLabelExpressions"
        labels: dict[str, set[str]] = {}
        for number, expression in enumerate(term.matchLabelExpressions or ()):
            where, values = f"{path}[{number}]", set[str]()
            if not expression.values:
                found.append(required(f"{where}.values"))
            for position, value in enumerate(expression.values or ()):
                if value in values:
                    found.append(duplicate(f"{where}.values[{position}]", value))
                values.add(value)
            key = expression.key or ""
            meta.report(meta.check_label_key(key), f"{where}.key", key, found)
            if key in labels:
                found.append(duplicate(f"{where}.key", key))
            labels[key] = values
        found += [duplicate(path, "") for known in seen if known == labels]
        seen.append(labels)


class StorageClassStrategy(GroupStrategy):
    """Storage classes."""

    columns = (
        NAME_COLUMN,
        Column("Provisioner", description="Provisioner indicates the type of the provisioner."),
        Column("ReclaimPolicy", description="What happens to the volume when its claim is deleted."),
        Column("VolumeBindingMode", description="How claims are provisioned and bound."),
        Column("AllowVolumeExpansion", description="Whether the class allows volumes to expand."),
        AGE_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """Volumes are deleted with their claims and bound at once."""
        if obj.reclaimPolicy is None:
            obj.reclaimPolicy = "Delete"
        if obj.volumeBindingMode is None:
            obj.volumeBindingMode = "Immediate"

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole storage class."""
        found: list[FieldError] = []
        _validate_provisioner(obj.provisioner, "provisioner", found)
        _validate_parameters(obj.parameters, found)
        meta.one_of(obj.reclaimPolicy, ("Delete", "Retain"), "reclaimPolicy", found)
        meta.one_of(obj.volumeBindingMode, ("Immediate", "WaitForFirstConsumer"), "volumeBindingMode", found)
        _validate_topologies(obj.allowedTopologies or (), found)
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """What volumes were made from stays."""
        found = self.validate(new)
        for name in ("parameters", "provisioner", "reclaimPolicy"):
            if (getattr(new, name) or None) != (getattr(old, name) or None):
                found.append(forbidden_field(name, f"updates to {name} are forbidden."))
        meta.immutable(new.volumeBindingMode, old.volumeBindingMode, "volumeBindingMode", found)
        return found

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Labels of nodes that have newer names."""
        return [
            f"allowedTopologies[{index}].matchLabelExpressions[{number}].key: {DEPRECATED_LABELS[expression.key]}"
            for index, term in enumerate(obj.allowedTopologies or ())
            for number, expression in enumerate(term.matchLabelExpressions or ())
            if expression.key in DEPRECATED_LABELS
        ]

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get storageclasses` shows it."""
        default = printing.is_default(obj, IS_DEFAULT_CLASS, BETA_IS_DEFAULT_CLASS)
        return [
            f"{obj.metadata.name} (default)" if default else obj.metadata.name,
            obj.provisioner or "",
            obj.reclaimPolicy or "Delete",
            obj.volumeBindingMode or "Immediate",
            bool(obj.allowVolumeExpansion),
            printing.age(obj, now),
        ]


_FS_GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
_LIFECYCLE_MODES = ("Persistent", "Ephemeral")


def _validate_token_requests(requests: Any, found: list[FieldError]) -> None:
    """Tokens for audiences, each once."""
    audiences: set[str] = set()
    for index, request in enumerate(requests):
        path, audience = f"spec.tokenRequests[{index}]", request.audience or ""
        if audience in audiences:
            found.append(duplicate(f"{path}.audience", audience))
            continue
        audiences.add(audience)
        seconds = request.expirationSeconds
        if seconds is not None and seconds < 600:
            why = "may not specify a duration less than 10 minutes"
            found.append(invalid_value(f"{path}.expirationSeconds", seconds, why))
        if seconds is not None and seconds > 1 << 32:
            why = "may not specify a duration larger than 2^32 seconds"
            found.append(invalid_value(f"{path}.expirationSeconds", seconds, why))


class CSIDriverStrategy(GroupStrategy):
    """CSI drivers."""

    generation = True
    allow_unconditional_update = False
    columns = (
        NAME_COLUMN,
        Column("AttachRequired", "boolean", description="Whether volumes have to be attached."),
        Column("PodInfoOnMount", "boolean", description="Whether mounts get information on the pod."),
        Column("StorageCapacity", "boolean", description="Whether the driver reports its capacity."),
        Column("TokenRequests", description="Audiences of the tokens that the driver needs."),
        Column("RequiresRepublish", "boolean", description="Whether volumes are republished."),
        Column("Modes", description="The life cycles of volumes that the driver supports."),
        AGE_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """Attached, without pod information, persistent."""
        spec = child(obj, "spec")
        for name, value in (
            ("attachRequired", True),
            ("podInfoOnMount", False),
            ("storageCapacity", False),
            ("requiresRepublish", False),
            ("seLinuxMount", False),
            ("fsGroupPolicy", "ReadWriteOnceWithFSType"),
        ):
            if getattr(spec, name) is None:
                setattr(spec, name, value)
        if not spec.volumeLifecycleModes:
            spec.volumeLifecycleModes = ["Persistent"]

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole driver."""
        spec = obj.spec
        found: list[FieldError] = []
        if spec.fsGroupPolicy is not None and spec.fsGroupPolicy not in _FS_GROUP_POLICIES:
            found.append(not_supported("spec.fsGroupPolicy", spec.fsGroupPolicy, _FS_GROUP_POLICIES))
        _validate_token_requests(spec.tokenRequests or (), found)
        for mode in spec.volumeLifecycleModes or ():
            if mode not in _LIFECYCLE_MODES:
                found.append(
                    not_supported("spec.volumeLifecycleModes", mode, _LIFECYCLE_MODES, as_given=True)
                )
        period = spec.nodeAllocatableUpdatePeriodSeconds
        if period is not None and period < MIN_UPDATE_PERIOD_SECONDS:
            found.append(
                invalid_value(
                    "spec.nodeAllocatableUpdatePeriodSeconds",
                    period,
                    f"must be greater than or equal to {MIN_UPDATE_PERIOD_SECONDS} seconds",
                )
            )
        if spec.serviceAccountTokenInSecrets is not None and not spec.tokenRequests:
            found.append(
                invalid_value(
                    "spec.serviceAccountTokenInSecrets",
                    spec.serviceAccountTokenInSecrets,
                    "may not be set without tokenRequests",
                )
            )
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """How volumes are attached stays."""
        found = self.validate(new)
        # The path of the first is upstream's, which is not quite the field's name.
        for name, path in (
            ("attachRequired", "spec.attachedRequired"),
            ("volumeLifecycleModes", "spec.volumeLifecycleModes"),
        ):
            meta.immutable(getattr(new.spec, name), getattr(old.spec, name), path, found)
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get csidrivers` shows it."""
        spec = obj.spec
        requests = [request.audience or "" for request in spec.tokenRequests or ()]
        return [
            obj.metadata.name,
            True if spec.attachRequired is None else spec.attachRequired,
            bool(spec.podInfoOnMount),
            bool(spec.storageCapacity),
            ",".join(requests) if spec.tokenRequests is not None else printing.UNSET,
            bool(spec.requiresRepublish),
            printing.joined(spec.volumeLifecycleModes or ()),
            printing.age(obj, now),
        ]


def _without_limit(driver: Any) -> Any:
    driver = copy.copy(driver)
    driver.allocatable = None
    return driver


class CSINodeStrategy(GroupStrategy):
    """The CSI drivers on a node."""

    allow_unconditional_update = False
    columns = (
        NAME_COLUMN,
        Column("Drivers", "integer", description="Number of CSI drivers on the node."),
        AGE_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """A list of drivers, be it empty."""
        spec = child(obj, "spec")
        if spec.drivers is None:
            spec.drivers = []

    def validate(self, obj: Any) -> list[FieldError]:
        """Whole drivers, each once."""
        found: list[FieldError] = []
        seen: set[str] = set()
        for index, driver in enumerate(obj.spec.drivers or ()):
            path = f"spec.drivers[{index}]"
            meta.validate_driver_name(driver.name, f"{path}.name", found)
            if not driver.nodeID:
                found.append(required(f"{path}.nodeID"))
            elif len(driver.nodeID.encode()) > MAX_NODE_ID_BYTES:
                found.append(
                    invalid_value(
                        f"{path}.nodeID",
                        driver.nodeID,
                        f"must be {MAX_NODE_ID_BYTES} characters or less",
                    )
                )
            if driver.allocatable is not None:
                meta.non_negative(driver.allocatable.count, f"{path}.allocatable.count", found)
            if driver.name in seen:
                found.append(duplicate(f"{path}.name", driver.name))
            seen.add(driver.name or "")
            keys: set[str] = set()
            for key in driver.topologyKeys or ():
                if not key:
                    found.append(required(path))
                if key in keys:
                    found.append(duplicate(path, key))
                keys.add(key)
                meta.report(meta.check_label_key(key), path, key, found)
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """A driver that stays does not change but for its volume limit."""
        found = self.validate(new)
        for before in old.spec.drivers or ():
            for driver in new.spec.drivers or ():
                if driver.name == before.name:
                    now, then = _without_limit(driver), _without_limit(before)
                    meta.immutable(now, then, "spec.drivers", found)
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get csinodes` shows it."""
        return [obj.metadata.name, len(obj.spec.drivers or ()), printing.age(obj, now)]


class CSIStorageCapacityStrategy(GroupStrategy):
    """What a driver can still provide."""

    allow_unconditional_update = False
    columns = (
        NAME_COLUMN,
        Column("StorageClassName", description="The storage class that the capacity applies to."),
        Column("Capacity", description="What the driver reports that it can provide."),
    )

    def default(self, obj: Any) -> None:
        """Canonical quantities."""
        for name in ("capacity", "maximumVolumeSize"):
            value = getattr(obj, name)
            if value is not None:
                try:
                    setattr(obj, name, quantity.canonical(value))
                except quantity.QuantityError:
                    continue  # validation reports it

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole report."""
        found: list[FieldError] = []
        name = obj.storageClassName or ""
        found += meta.validate_label_selector(obj.nodeTopology, "nodeTopology")
        meta.report(names.dns_subdomain(name), "storageClassName", name, found)
        for field in ("capacity", "maximumVolumeSize"):
            value = getattr(obj, field)
            try:
                negative = value is not None and quantity.parse_nano(value) < 0
            except quantity.QuantityError as error:
                found.append(invalid_value(field, value, str(error)))
                continue
            # Upstream asks this of the capacity only.
            if negative and field == "capacity":
                found.append(invalid_value(field, value, meta.NON_NEGATIVE))
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """Class and topology stay."""
        found = self.validate(new)
        meta.immutable(new.nodeTopology, old.nodeTopology, "nodeTopology", found)
        meta.immutable(new.storageClassName, old.storageClassName, "storageClassName", found)
        return found

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Labels of nodes that have newer names."""
        selector = obj.nodeTopology
        if selector is None:
            return []
        found = [
            f"nodeTopology.matchLabels[{key}]: {DEPRECATED_LABELS[key]}"
            for key in selector.matchLabels or ()
            if key in DEPRECATED_LABELS
        ]
        return found + [
            f"nodeTopology.matchExpressions[{index}].key: {DEPRECATED_LABELS[expression.key]}"
            for index, expression in enumerate(selector.matchExpressions or ())
            if expression.key in DEPRECATED_LABELS
        ]

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get csistoragecapacities` shows it."""
        capacity = printing.UNSET if obj.capacity is None else str(obj.capacity)
        return [obj.metadata.name, obj.storageClassName or "", capacity]


def _validate_attachment(obj: Any) -> list[FieldError]:
    """What holds of old attachments, too."""
    spec, source, status = obj.spec, obj.spec.source, obj.status
    found: list[FieldError] = []
    if not spec.attacher:
        found.append(required("spec.attacher"))
    inline = source.inlineVolumeSpec if source is not None else None
    volume = source.persistentVolumeName if source is not None else None
    one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    if inline is None and volume is None:
        found.append(required("spec.source", one))
    elif inline is not None and volume is not None:
        found.append(forbidden_field("spec.source", one))
    elif volume == "":
        found.append(
            required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName")
        )
    elif inline is not None:
        found += validate_volume_spec(inline, "", "spec.source.inlineVolumeSpec", inline=True)
    node = spec.nodeName or ""
    meta.report(names.dns_subdomain(node), "spec.nodeName", node, found)
    if status is None:
        return found
    if _size_bytes(status.attachmentMetadata or {}) > MAX_ATTACHMENT_METADATA_BYTES:
        found.append(too_long("status.attachmentMetadata", MAX_ATTACHMENT_METADATA_BYTES))
    for name in ("attachError", "detachError"):
        error = getattr(status, name)
        if error is None:
            continue
        if len((error.message or "").encode()) > MAX_ERROR_MESSAGE_BYTES:
            # Upstream names the other limit.
            found.append(too_long(f"status.{name}.message", MAX_ATTACHMENT_METADATA_BYTES))
        if (error.errorCode or 0) < 0:
            message = names.range_message(0, 2**31 - 1)
            found.append(invalid_value(f"status.{name}.errorCode", error.errorCode, message))
    return found


class VolumeAttachmentStrategy(GroupStrategy):
    """Volumes that are to be attached to nodes."""

    has_status = True
    resets = METADATA_RESETS
    status_keeps = STATUS_METADATA
    allow_unconditional_update = False
    columns = (
        NAME_COLUMN,
        Column("Attacher", "string", "name", "The driver that attaches."),
        Column("PV", description="The volume that is attached."),
        Column("Node", description="The node that the volume is attached to."),
        Column("Attached", "boolean", description="Whether the volume is attached."),
        AGE_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """Of an inline volume what a source has by default, and canonical amounts."""
        super().default(obj)
        source = obj.spec.source
        volume = source.inlineVolumeSpec if source is not None else None
        if volume is not None:
            if volume.capacity:
                canonicalise(volume.capacity)
            if volume.hostPath is not None and volume.hostPath.type is None:
                volume.hostPath.type = ""
            default_block_source(volume)

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole attachment."""
        spec, source = obj.spec, obj.spec.source
        found = _validate_attachment(obj)
        if spec.attacher:
            meta.validate_driver_name(spec.attacher, "spec.attacher", found)
        volume = source.persistentVolumeName if source is not None else None
        if volume is not None:
            meta.report(names.dns_subdomain(volume), "spec.source.persistentVolumeName", volume, found)
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The spec stays."""
        found = _validate_attachment(new)
        meta.immutable(new.spec, old.spec, "spec", found)
        return found

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """As an update of the rest."""
        return self.validate_update(new, old)

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get volumeattachments` shows it."""
        spec = obj.spec
        source = spec.source
        return [
            obj.metadata.name,
            spec.attacher or "",
            (source.persistentVolumeName if source is not None else None) or "",
            spec.nodeName or "",
            bool(obj.status is not None and obj.status.attached),
            printing.age(obj, now),
        ]


class VolumeAttributesClassStrategy(GroupStrategy):
    """Classes of mutable volume attributes."""

    columns = (
        NAME_COLUMN,
        Column("DriverName", description="Name of the CSI driver."),
        AGE_COLUMN,
    )

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole class."""
        found: list[FieldError] = []
        _validate_provisioner(obj.driverName, "driverName", found)
        _validate_parameters(obj.parameters, found)
        if not obj.parameters:
            found.append(required("parameters", "must contain at least one key/value pair"))
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """Driver and parameters stay."""
        found: list[FieldError] = []
        for name in ("driverName", "parameters"):
            if (getattr(new, name) or None) != (getattr(old, name) or None):
                found.append(forbidden_field(name, f"updates to {name} are forbidden."))
        return found + self.validate(new)

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get volumeattributesclasses` shows it."""
        default = printing.is_default(obj, IS_DEFAULT_ATTRIBUTES_CLASS)
        name = f"{obj.metadata.name} (default)" if default else obj.metadata.name
        return [name, obj.driverName or "", printing.age(obj, now)]


RESOURCES = (
    declare(GROUP, VERSION, "csidrivers", "CSIDriver", CSIDriverStrategy(), namespaced=False),
    declare(GROUP, VERSION, "csinodes", "CSINode", CSINodeStrategy(), namespaced=False),
    declare(
        GROUP,
        VERSION,
        "csistoragecapacities",
        "CSIStorageCapacity",
        CSIStorageCapacityStrategy(),
        namespaced=True,
    ),
    declare(
        GROUP,
        VERSION,
        "storageclasses",
        "StorageClass",
        StorageClassStrategy(),
        namespaced=False,
        short_names=("sc",),
    ),
    declare(
        GROUP,
        VERSION,
        "volumeattachments",
        "VolumeAttachment",
        VolumeAttachmentStrategy(),
        namespaced=False,
    ),
    declare(
        GROUP,
        VERSION,
        "volumeattributesclasses",
        "VolumeAttributesClass",
        VolumeAttributesClassStrategy(),
        namespaced=False,
        short_names=("vac",),
    ),
)
