"""What volumes and environment variables refer to: paths below a volume, modes of files, fields of the pod and its containers' resources.

Mirrors upstream's `validateLocalDescendingPath`, `ValidateLocalNonReservedPath`, `validateObjectFieldSelector` and
`validateContainerResourceFieldSelector`.
"""

from __future__ import annotations

from typing import Any

from lakh.apis.meta import report
from lakh.apis.resourcelists import canonical, milli
from lakh.machinery import names
from lakh.machinery.errors import FieldError, invalid_value, not_supported, required

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
_HUGE_PAGE_FIELDS = ("limits.hugepages-", "requests.hugepages-")
_BYTE_DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")


def no_backsteps(value: str, path: str, found: list[FieldError]) -> None:
    """A path without `..` in it."""
    if ".." in value.split("/"):
        found.append(invalid_value(path, value, "must not contain '..'"))


def local_descending_path(value: str, path: str, found: list[FieldError]) -> None:
    """A path that stays below where it is mounted."""
    if value.startswith("/"):
        found.append(invalid_value(path, value, "must be a relative path"))
    no_backsteps(value, path, found)


def local_file(value: str | None, path: str, found: list[FieldError]) -> None:
    """The path of a file in a volume: below it, and not one of those that kubelets keep for themselves."""
    value = value or ""
    local_descending_path(value, path, found)
    if value.startswith("..") and not value.startswith("../"):
        found.append(invalid_value(path, value, "must not start with '..'"))


def validate_mode(mode: int | None, path: str, found: list[FieldError]) -> None:
    """Permissions of a file."""
    if mode is not None and not 0 <= mode <= 0o777:
        found.append(invalid_value(path, mode, _MODE_RANGE))


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
    elif resource not in _RESOURCE_FIELDS and not resource.startswith(_HUGE_PAGE_FIELDS):
        found.append(not_supported(f"{path}.resource", resource, _RESOURCE_FIELDS))
    divisor = ref.divisor
    if divisor is None or milli(divisor) == 0:
        return
    kind = resource.partition(".")[2]
    allowed: tuple[str, ...] = _BYTE_DIVISORS
    of = f"the {kind} resource"
    if kind == "cpu":
        allowed = ("1m", "1")
    elif kind == "ephemeral-storage":
        of = "the local ephemeral storage resource"
    elif resource.startswith(_HUGE_PAGE_FIELDS):
        of = "the hugepages resource"
    elif kind != "memory":
        return
    if canonical(divisor) not in allowed:
        shown = " and ".join(allowed) if kind == "cpu" else ", ".join(allowed)
        found.append(
            invalid_value(
                f"{path}.divisor", resource, f"only divisor's values {shown} are supported with {of}"
            )
        )
