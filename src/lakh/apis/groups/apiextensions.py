"""apiextensions.k8s.io/v1: definitions of custom resources, as objects. Serving what they define is the server's business."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec

from lakh.apis import meta
from lakh.apis.groups import apiextensions_schema
from lakh.apis.groups.base import METADATA_RESETS, GroupStrategy, child, declare
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column
from lakh.machinery import jsonpath, names
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    too_many,
    type_invalid,
)

GROUP = "apiextensions.k8s.io"
APPROVED_ANNOTATION = "api-approved.kubernetes.io"
COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
SELECTABLE_FIELDS_MAX = 8
_APPROVAL_HELP = "see https://github.com/kubernetes/enhancements/pull/1111"


def is_protected(group: str) -> bool:
    """Whether a group belongs to the Kubernetes community."""
    return any(group == domain or group.endswith("." + domain) for domain in ("k8s.io", "kubernetes.io"))


def approval(group: str, annotation: str) -> tuple[str, str, str] | None:
    """Status, reason and message of the approval condition; None for groups that need none."""
    if not is_protected(group):
        return None
    if not annotation:
        return (
            "False",
            "MissingAnnotation",
            f'protected groups must have approval annotation "{APPROVED_ANNOTATION}", {_APPROVAL_HELP}',
        )
    if annotation.startswith("unapproved"):
        return ("False", "UnapprovedAnnotation", f"not approved: {annotation!r}".replace("'", '"'))
    parts = urlsplit(annotation)
    if parts.scheme and parts.netloc:
        return ("True", "ApprovedAnnotation", f"approved in {annotation}")
    return (
        "False",
        "InvalidAnnotation",
        f'protected groups must have approval annotation "{APPROVED_ANNOTATION}" with either a URL or a reason starting with '
        f'"unapproved", {_APPROVAL_HELP}',
    )


class CustomResourceDefinitionStrategy(GroupStrategy):
    """Custom resource definitions."""

    has_status = True
    # Metadata is written all the same: finalizers go with a status, as upstream's controller does it.
    resets = METADATA_RESETS
    generation = True
    allow_unconditional_update = False
    any_finalizer = True
    columns = (NAME_COLUMN, Column("Created At", "date", description=AGE_COLUMN.description))

    def default(self, obj: Any) -> None:
        """Singular and list kind follow from the kind; no conversion."""
        spec = child(obj, "spec")
        names_ = child(spec, "names")
        if names_.kind:
            if not names_.singular:
                names_.singular = names_.kind.lower()
            if not names_.listKind:
                names_.listKind = f"{names_.kind}List"
        conversion = child(spec, "conversion")
        if not conversion.strategy:
            conversion.strategy = "None"

    def reset_status(self, obj: Any) -> None:
        """The storage version is stored from the start."""
        super().reset_status(obj)
        obj.status.storedVersions = [v.name or "" for v in obj.spec.versions or () if v.storage]

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole definition."""
        spec = obj.spec
        found: list[FieldError] = []
        plural = spec.names.plural or ""
        group = spec.group or ""
        if obj.metadata.name != f"{plural}.{group}":
            found.append(
                invalid_value("metadata.name", obj.metadata.name, 'must be spec.names.plural+"."+spec.group')
            )
        if not group:
            found.append(required("spec.group"))
        else:
            messages = names.dns_subdomain(group)
            meta.report(messages, "spec.group", group, found)
            if not messages and "." not in group:
                found.append(invalid_value("spec.group", group, "should be a domain with at least one dot"))
        if not spec.scope:
            found.append(required("spec.scope"))
        elif spec.scope not in ("Cluster", "Namespaced"):
            found.append(not_supported("spec.scope", spec.scope, ("Cluster", "Namespaced")))
        if spec.preserveUnknownFields:
            found.append(
                invalid_value(
                    "spec.preserveUnknownFields",
                    True,
                    "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
                )
            )
        state = approval(group, (obj.metadata.annotations or {}).get(APPROVED_ANNOTATION, ""))
        if state is not None and state[1] in ("MissingAnnotation", "InvalidAnnotation"):
            at = f"metadata.annotations[{APPROVED_ANNOTATION}]"
            given = (obj.metadata.annotations or {}).get(APPROVED_ANNOTATION, "")
            found.append(invalid_value(at, given, state[2]) if given else required(at, state[2]))
        _validate_versions(spec.versions or [], found)
        _validate_names(spec.names, "spec.names", found)
        if spec.conversion.strategy not in ("None", "Webhook"):
            found.append(
                not_supported("spec.conversion.strategy", spec.conversion.strategy, ("None", "Webhook"))
            )
        elif spec.conversion.strategy == "Webhook" and spec.conversion.webhook is None:
            found.append(required("spec.conversion.webhook", "required when strategy is set to Webhook"))
        elif spec.conversion.strategy == "None" and spec.conversion.webhook is not None:
            found.append(
                forbidden_field(
                    "spec.conversion.webhook", "should not be set when strategy is not set to Webhook"
                )
            )
        return found

    def prepare_for_update(self, new: Any, old: Any) -> None:
        """A new storage version is a stored version from now on."""
        super().prepare_for_update(new, old)
        if new.status is not None and new.spec is not None:
            stored = list(new.status.storedVersions or ())
            stored += [v.name for v in new.spec.versions or () if v.storage and v.name not in stored]
            # `old` shares its status with `new`.
            new.status = msgspec.structs.replace(new.status, storedVersions=stored)

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """Group and plural stay; scope and kind too, once objects may exist. An unchanged spec is not judged again."""
        if new.spec == old.spec:
            return []
        found = self.validate(new)
        status = new.status
        known = {v.name for v in new.spec.versions or ()}
        for index, name in enumerate((status.storedVersions if status is not None else None) or ()):
            if name not in known:
                found.append(
                    invalid_value(
                        f"status.storedVersions[{index}]",
                        name,
                        "missing from spec.versions; "
                        f"{name} was previously a storage version, and must remain in spec.versions until a storage migration "
                        f"ensures no data remains persisted in {name} and removes {name} from status.storedVersions",
                    )
                )
        meta.immutable(new.spec.group, old.spec.group, "spec.group", found)
        if any(
            c.type == "Established" and c.status == "True"
            for c in (old.status.conditions or () if old.status else ())
        ):
            meta.immutable(new.spec.scope, old.spec.scope, "spec.scope", found)
            meta.immutable(new.spec.names.kind, old.spec.names.kind, "spec.names.kind", found)
        meta.immutable(new.spec.names.plural, old.spec.names.plural, "spec.names.plural", found)
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get crd` shows it."""
        return [obj.metadata.name, obj.metadata.creationTimestamp]


def _validate_versions(versions: list[Any], found: list[FieldError]) -> None:
    path = "spec.versions"
    if len({v.name for v in versions}) != len(versions):
        found.append(invalid_value(path, versions, "must contain unique version names"))
    if sum(bool(v.storage) for v in versions) != 1:
        found.append(invalid_value(path, versions, "must have exactly one version marked as storage version"))
    for index, version in enumerate(versions):
        where = f"{path}[{index}]"
        name = version.name or ""
        meta.report(names.dns1035_label(name), f"{where}.name", name, found)
        schema = version.schema.openAPIV3Schema if version.schema is not None else None
        if schema is None:
            found.append(required(f"{where}.schema.openAPIV3Schema", "schemas are required"))
        elif not isinstance(schema, dict):
            found.append(type_invalid(f"{where}.schema.openAPIV3Schema", schema, "must be an object"))
        else:
            _validate_schema(schema, f"{where}.schema.openAPIV3Schema", found)
        _validate_subresources(version.subresources, f"{where}.subresources", found)
        _validate_columns(version.additionalPrinterColumns, f"{where}.additionalPrinterColumns", found)
        _validate_selectable(version.selectableFields, schema, f"{where}.selectableFields", found)
        if version.deprecationWarning and not version.deprecated:
            found.append(
                invalid_value(
                    f"{where}.deprecationWarning",
                    version.deprecationWarning,
                    "can only be set for deprecated versions",
                )
            )


def _validate_schema(schema: dict[str, Any], path: str, found: list[FieldError]) -> None:
    try:
        found += apiextensions_schema.validate(schema, path)
    except (AttributeError, TypeError, ValueError, KeyError, RecursionError) as e:
        # A keyword has a value of a type that it cannot have.
        found.append(invalid_value(path, "", f"error building validator: {e}"))


def _validate_subresources(subresources: Any, path: str, found: list[FieldError]) -> None:
    scale = subresources.scale if subresources is not None else None
    if scale is None:
        return
    for name, parents in (
        ("specReplicasPath", (".spec.",)),
        ("statusReplicasPath", (".status.",)),
        ("labelSelectorPath", (".spec.", ".status.")),
    ):
        value = getattr(scale, name) or ""
        at = f"{path}.scale.{name}"
        if not value:
            if name != "labelSelectorPath":
                found.append(required(at))
            continue
        try:
            jsonpath.compiled(value)
        except ValueError as e:
            found.append(invalid_value(at, value, str(e)))
            continue
        if not value.startswith(parents) or "[" in value:
            where = " or ".join(parent.rstrip(".") for parent in parents)
            found.append(invalid_value(at, value, f"should be a json path under {where}"))


def _validate_columns(columns: list[Any] | None, path: str, found: list[FieldError]) -> None:
    for index, column in enumerate(columns or ()):
        at = f"{path}[{index}]"
        if not column.name:
            found.append(required(f"{at}.name"))
        if not column.type:
            found.append(required(f"{at}.type", f"must be one of {','.join(COLUMN_TYPES)}"))
        elif column.type not in COLUMN_TYPES:
            found.append(invalid_value(f"{at}.type", column.type, f"must be one of {','.join(COLUMN_TYPES)}"))
        if column.format and column.format not in COLUMN_FORMATS:
            found.append(
                invalid_value(f"{at}.format", column.format, f"must be one of {','.join(COLUMN_FORMATS)}")
            )
        _validate_path(column.jsonPath, f"{at}.jsonPath", found)


def _validate_path(path: str | None, at: str, found: list[FieldError]) -> bool:
    if not path:
        found.append(required(at))
        return False
    try:
        jsonpath.compiled(path)
    except ValueError as e:
        found.append(invalid_value(at, path, str(e)))
        return False
    if not path.startswith((".", "{")):
        found.append(invalid_value(at, path, "must be a simple json path starting with ."))
        return False
    return True


def _validate_selectable(fields: list[Any] | None, schema: Any, path: str, found: list[FieldError]) -> None:
    if len(fields or ()) > SELECTABLE_FIELDS_MAX:
        found.append(too_many(path, len(fields or ()), SELECTABLE_FIELDS_MAX))
    seen: set[str] = set()
    for index, field in enumerate(fields or ()):
        at, where = f"{path}[{index}].jsonPath", field.jsonPath or ""
        if not _validate_path(where, at, found):
            continue
        if where in seen:
            found.append(duplicate(f"{path}[{index}]", {"jsonPath": where}))
        seen.add(where)
        place: Any = schema
        for name in where.split(".")[1:]:
            place = (place.get("properties") or {}).get(name) if isinstance(place, dict) else None
        if where.startswith(".metadata"):
            found.append(invalid_value(at, where, "must not point to fields in metadata"))
        elif not isinstance(place, dict):
            found.append(invalid_value(at, where, "is an invalid path: does not refer to a valid field"))
        elif place.get("type") not in ("string", "boolean", "integer"):
            found.append(
                invalid_value(
                    at,
                    where,
                    "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are "
                    "allowed.",
                )
            )


def _validate_names(given: Any, path: str, found: list[FieldError]) -> None:
    for name in ("plural", "singular", "kind", "listKind"):
        value = getattr(given, name)
        if not value:
            found.append(required(f"{path}.{name}"))
            continue
        messages = names.dns1035_label(value.lower())
        if messages:
            found.append(
                invalid_value(
                    f"{path}.{name}",
                    value,
                    f"may have mixed case, but should otherwise match: {','.join(messages)}"
                    if name in ("kind", "listKind")
                    else ",".join(messages),
                )
            )
    if given.kind and given.kind == given.listKind:
        found.append(
            invalid_value(f"{path}.listKind", given.listKind, "kind and listKind may not be the same")
        )
    for index, short in enumerate(given.shortNames or ()):
        messages = names.dns1035_label(short)
        if messages:
            found.append(invalid_value(f"{path}.shortNames[{index}]", short, ",".join(messages)))


RESOURCES = (
    declare(
        GROUP,
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        CustomResourceDefinitionStrategy(),
        namespaced=False,
        definition="io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
        short_names=("crd", "crds"),
        categories=("api-extensions",),
    ),
)
