"""Claims of storage: what is right in the spec of a PersistentVolumeClaim, of its own or made for a pod's ephemeral volume.

Mirrors upstream's `ValidatePersistentVolumeClaimSpec`, `ValidatePersistentVolumeClaimTemplate` and what those call.
"""

from __future__ import annotations

from typing import Any

from lakh.apis.meta import (
    check_dns_label,
    check_dns_subdomain,
    report,
    validate_annotations,
    validate_label_selector,
    validate_labels,
)
from lakh.apis.resourcelists import canonicalise_requirements, check_amount, milli
from lakh.apis.structs import core
from lakh.machinery.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
_PLAIN_SOURCES = (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot"))

_Reference = core("TypedObjectReference")
_LocalReference = core("TypedLocalObjectReference")


def default_claim_spec(spec: Any) -> None:
    """Filesystem, and canonical amounts."""
    if spec.volumeMode is None:
        spec.volumeMode = "Filesystem"
    if spec.resources is not None:
        canonicalise_requirements(spec.resources)


def validate_access_modes(modes: list[str] | None, path: str, found: list[FieldError]) -> None:
    """Access modes that there are, and the exclusive one alone."""
    for mode in modes or ():
        if mode not in ACCESS_MODES:
            found.append(not_supported(path, mode, ACCESS_MODES))
    known = {mode for mode in modes or () if mode in ACCESS_MODES}
    if "ReadWriteOncePod" in known and len(known) > 1:
        found.append(forbidden_field(path, "may not use ReadWriteOncePod with other access modes"))


def _validate_source(source: Any, path: str, found: list[FieldError]) -> None:
    for name in ("name", "kind"):
        if not getattr(source, name):
            found.append(required(f"{path}.{name}"))
    group = source.apiGroup or ""
    if not group and source.kind != "PersistentVolumeClaim":
        found.append(
            invalid_value(
                path,
                source.kind or "",
                "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            )
        )
    if group:
        report(check_dns_subdomain(group), f"{path}.apiGroup", group, found)
    namespace = getattr(source, "namespace", None)
    if namespace:
        report(check_dns_label(namespace), f"{path}.namespace", namespace, found)


def validate_claim_spec(spec: Any, path: str, found: list[FieldError]) -> None:
    """The spec of a claim: modes, the amount asked for, classes, where its content comes from."""
    if not spec.accessModes:
        found.append(required(f"{path}.accessModes", "at least 1 access mode is required"))
    found.extend(validate_label_selector(spec.selector, f"{path}.selector"))
    validate_access_modes(spec.accessModes, f"{path}.accessModes", found)
    amount = ((spec.resources and spec.resources.requests) or {}).get("storage")
    where = f"{path}.resources[storage]"
    if amount is None:
        found.append(required(where))
    elif (size := milli(amount)) is not None and size <= 0:
        found.append(invalid_value(where, amount, "must be greater than zero"))
    else:
        report(check_amount("storage", amount), where, amount, found)
    if spec.storageClassName:
        report(
            check_dns_subdomain(spec.storageClassName),
            f"{path}.storageClassName",
            spec.storageClassName,
            found,
        )
    if spec.volumeMode is not None and spec.volumeMode not in VOLUME_MODES:
        found.append(not_supported(f"{path}.volumeMode", spec.volumeMode, VOLUME_MODES))
    source, ref = spec.dataSource, spec.dataSourceRef
    if source is not None:
        _validate_source(source, f"{path}.dataSource", found)
    if ref is not None:
        _validate_source(ref, f"{path}.dataSourceRef", found)
    if source is not None and ref is not None:
        why = ""
        if ref.namespace:
            why = "may not be specified when dataSourceRef.namespace is specified"
        elif (source.apiGroup, source.kind, source.name) != (ref.apiGroup, ref.kind, ref.name):
            why = "must match dataSourceRef"
        if why:
            # Upstream shows the path in place of the value, which encodes to nothing.
            found.append(invalid_value(path, {}, why))
    name = spec.volumeAttributesClassName
    if name:
        report(check_dns_subdomain(name), f"{path}.volumeAttributesClassName", name, found)


def settle_source(spec: Any, old: Any | None) -> None:
    """The two fields for a claim's source say the same (upstream's EnforceDataSourceBackwardsCompatibility, NormalizeDataSources; KEP-1495).

    `dataSource` alone takes claims and snapshots, and forgets all else, as it did when it was the only one. References across namespaces are
    behind a gate that is off.
    """
    had_ref = old is not None and old.dataSourceRef is not None
    had_source = had_ref or (old is not None and old.dataSource is not None)
    source, ref = spec.dataSource, spec.dataSourceRef
    if ref is not None and ref.namespace and not had_ref:
        ref = spec.dataSourceRef = None
    plain = source is None or (source.apiGroup or "", source.kind) in _PLAIN_SOURCES
    if not (had_source or ref is not None or plain):
        source = spec.dataSource = None
    if source is not None and ref is None:
        spec.dataSourceRef = _Reference(apiGroup=source.apiGroup, kind=source.kind, name=source.name)
    elif ref is not None and source is None and not ref.namespace:
        spec.dataSource = _LocalReference(apiGroup=ref.apiGroup, kind=ref.kind, name=ref.name)


# Fields of ObjectMeta that mean something in a template of a claim.
_TEMPLATE_METADATA = frozenset(("annotations", "labels"))


def validate_claim_template(template: Any, path: str, found: list[FieldError]) -> None:
    """The template of a claim in an ephemeral volume: labels, annotations and a spec."""
    metadata = template.metadata
    if metadata is not None:
        where = f"{path}.metadata"
        if metadata.annotations:
            validate_annotations(metadata.annotations, f"{where}.annotations", found)
        if metadata.labels:
            validate_labels(metadata.labels, f"{where}.labels", found)
        for name in metadata.__struct_fields__:
            if name not in _TEMPLATE_METADATA and getattr(metadata, name):
                found.append(forbidden_field(f"{where}.{name}", "cannot be set"))
    if template.spec is None:
        found.append(required(f"{path}.spec.accessModes", "at least 1 access mode is required"))
        found.append(required(f"{path}.spec.resources[storage]"))
    else:
        validate_claim_spec(template.spec, f"{path}.spec", found)
