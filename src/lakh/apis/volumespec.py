"""The spec of a persistent volume, of its own or inline in a volume attachment: upstream's `ValidatePersistentVolumeSpec`."""

from __future__ import annotations

import posixpath
from typing import Any

from lakh.apis.claims import VOLUME_MODES, validate_access_modes
from lakh.apis.meta import check_dns_subdomain, report
from lakh.apis.placement import validate_node_selector
from lakh.apis.resourcelists import NOT_A_QUANTITY, milli
from lakh.apis.volume_sources import (
    ISCSI_NAME_IS_LONG,
    PERSISTENT_SOURCES,
    iscsi_name_is_long,
    validate_source,
)
from lakh.machinery.errors import FieldError, forbidden_field, invalid_value, not_supported, required

RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
_INLINE = "in the context of inline volumes"


def validate_amount(value: Any, path: str, found: list[FieldError]) -> None:
    """An amount that is not negative."""
    amount = milli(value)
    if amount is None:
        found.append(invalid_value(path, value, NOT_A_QUANTITY))
    elif amount < 0:
        found.append(invalid_value(path, amount // 1000, "must be a valid resource quantity"))


def validate_volume_spec(spec: Any, name: str, path: str, *, inline: bool = False) -> list[FieldError]:
    """Modes, capacity, one source. An inline spec has what its attacher needs, and nothing that binds or places a volume."""
    found: list[FieldError] = []
    if inline:
        for field in ("claimRef", "capacity"):
            if getattr(spec, field):
                found.append(forbidden_field(f"{path}.{field}", f"may not be specified {_INLINE}"))
        if spec.csi is None:
            found.append(required(f"{path}.csi", f"has to be specified {_INLINE}"))
    if not spec.accessModes:
        found.append(required(f"{path}.accessModes"))
    validate_access_modes(spec.accessModes, f"{path}.accessModes", found)
    if not inline:
        _validate_capacity(spec.capacity, f"{path}.capacity", found)
    policy = spec.persistentVolumeReclaimPolicy
    where = f"{path}.persistentVolumeReclaimPolicy"
    if policy and inline and policy != "Retain":
        found.append(forbidden_field(where, f"may only be Retain {_INLINE}"))
    elif policy and policy not in RECLAIM_POLICIES:
        found.append(not_supported(where, policy, RECLAIM_POLICIES))
    _validate_affinity(spec.nodeAffinity, f"{path}.nodeAffinity", inline, found)
    validate_source(spec, PERSISTENT_SOURCES, path, found)
    if iscsi_name_is_long(name, spec.iscsi):
        found.append(
            invalid_value(f"{path}.iscsi.targetportal", spec.iscsi.targetPortal or "", ISCSI_NAME_IS_LONG)
        )
    if spec.local is not None and (inline or spec.nodeAffinity is None):
        found.append(required(f"{path}.nodeAffinity", "Local volume requires node affinity"))
    if (
        spec.hostPath is not None
        and posixpath.normpath(spec.hostPath.path or ".") in ("/", "//")
        and policy == "Recycle"
    ):
        found.append(forbidden_field(where, "may not be 'recycle' for a hostPath mount of '/'"))
    _validate_class(spec, path, inline, found)
    return found


def _validate_capacity(capacity: dict[str, Any] | None, path: str, found: list[FieldError]) -> None:
    if not capacity:
        found.append(required(path))
    if not capacity or list(capacity) != ["storage"]:
        found.append(not_supported(path, capacity or None, ("storage",)))
    for name, value in (capacity or {}).items():
        before = len(found)
        validate_amount(value, f"{path}[{name}]", found)
        if (len(found) == before or milli(value) is not None) and (milli(value) or 0) <= 0:
            found.append(invalid_value(f"{path}[{name}]", value, "must be greater than zero"))


def _validate_affinity(affinity: Any, path: str, inline: bool, found: list[FieldError]) -> None:
    if affinity is None:
        return
    if inline:
        found.append(forbidden_field(path, f"may not be specified {_INLINE}"))
    elif affinity.required is not None:
        validate_node_selector(affinity.required, f"{path}.required", found)
    else:
        found.append(required(f"{path}.required", "must specify required node constraints"))


def _validate_class(spec: Any, path: str, inline: bool, found: list[FieldError]) -> None:
    """The classes of storage and of attributes, and the mode between them."""
    name, where = spec.storageClassName, f"{path}.storageClassName"
    if name and inline:
        found.append(forbidden_field(where, f"may not be specified {_INLINE}"))
    elif name:
        report(check_dns_subdomain(name), where, name, found)
    mode, where = spec.volumeMode, f"{path}.volumeMode"
    if mode is not None and inline:
        if mode != "Filesystem":
            found.append(
                forbidden_field(where, f"may not specify volumeMode other than Filesystem {_INLINE}")
            )
    elif mode is not None and mode not in VOLUME_MODES:
        found.append(not_supported(where, mode, VOLUME_MODES))
    name, where = spec.volumeAttributesClassName, f"{path}.volumeAttributesClassName"
    if name is None:
        return
    if not name:
        found.append(required(where, "an empty string is disallowed"))
    else:
        report(check_dns_subdomain(name), where, name, found)
    if spec.csi is None:
        found.append(required(f"{path}.csi", "has to be specified when using volumeAttributesClassName"))
