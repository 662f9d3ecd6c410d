"""apiextensions.k8s.io/v1: definitions of custom resources, as objects. Serving what they define is the server's business."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec

from lakh.apis import meta
from lakh.apis.groups import admissionregistration, apiextensions_schema
from lakh.apis.groups.base import DEFAULT_SERVICE_PORT, METADATA_RESETS, GroupStrategy, child, declare
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column
from lakh.machinery import cel_names, names
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
DEPRECATION_WARNING_MAX_BYTES = 256
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
        if spec.conversion is None:
            child(spec, "conversion").strategy = "None"
        conversion = spec.conversion
        config = conversion.webhook.clientConfig if conversion.webhook is not None else None
        if config is not None and config.service is not None and config.service.port is None:
            config.service.port = DEFAULT_SERVICE_PORT

    def reset_status(self, obj: Any) -> None:
        """The storage version is stored from the start."""
        super().reset_status(obj)
        names_ = child(obj.status, "acceptedNames")
        names_.plural = names_.kind = ""
        obj.status.storedVersions = [v.name or "" for v in obj.spec.versions or () if v.storage]

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole definition."""
        found = self._validate(obj, None)
        _validate_approval(obj, None, found)
        return found

    def _validate(self, obj: Any, old: Any) -> list[FieldError]:
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
        _validate_versions(spec.versions or [], old.spec.versions or [] if old is not None else [], found)
        _validate_names(spec.names, "spec.names", found)
        _validate_conversion(spec.conversion, found)
        stored = (obj.status.storedVersions if obj.status is not None else None) or []
        _validate_stored(stored, spec.versions or (), found)
        if spec.preserveUnknownFields and not (old is not None and old.spec.preserveUnknownFields):
            found.append(
                invalid_value(
                    "spec.preserveUnknownFields",
                    True,
                    "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
                )
            )
        return found

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Formats that nobody checks, and sets of what is no scalar. Said once, when the definition is made."""
        if old is not None:
            return []
        formats: list[str] = []
        sets: set[str] = set()
        for version in obj.spec.versions or ():
            schema = version.schema.openAPIV3Schema if version.schema is not None else None
            if isinstance(schema, dict):
                apiextensions_schema.collect_warnings(schema, formats, sets)
        return [*formats, *sorted(sets)]

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
        found: list[FieldError] = []
        if new.spec != old.spec:
            found = self._validate(new, old)
            if any(
                c.type == "Established" and c.status == "True"
                for c in (old.status.conditions or () if old.status else ())
            ):
                meta.immutable(new.spec.scope, old.spec.scope, "spec.scope", found)
                meta.immutable(new.spec.names.kind, old.spec.names.kind, "spec.names.kind", found)
            meta.immutable(new.spec.group, old.spec.group, "spec.group", found)
            meta.immutable(new.spec.names.plural, old.spec.names.plural, "spec.names.plural", found)
        _validate_approval(new, old, found)
        return found

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Accepted names must be names."""
        found: list[FieldError] = []
        accepted = new.status.acceptedNames if new.status is not None else None
        if accepted is not None:
            _validate_given_names(accepted, "status.acceptedNames", found)
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get crd` shows it."""
        return [obj.metadata.name, obj.metadata.creationTimestamp]


def _approval_of(obj: Any) -> str:
    return str((obj.metadata.annotations or {}).get(APPROVED_ANNOTATION, ""))


def _validate_approval(new: Any, old: Any, found: list[FieldError]) -> None:
    """Groups of the community need an annotation; who had none before need not begin."""
    state = approval(new.spec.group or "", _approval_of(new))
    if state is None or state[1] not in ("MissingAnnotation", "InvalidAnnotation"):
        return
    if old is not None:
        before = approval(old.spec.group or "", _approval_of(old))
        if before is not None and before[1] == state[1]:
            return
    at, given = f"metadata.annotations[{APPROVED_ANNOTATION}]", _approval_of(new)
    found.append(invalid_value(at, given, state[2]) if given else required(at, state[2]))


def _validate_stored(stored: list[str], versions: Any, found: list[FieldError]) -> None:
    path, known = "status.storedVersions", {v.name for v in versions}
    if not stored:
        found.append(invalid_value(path, stored, "must have at least one stored version"))
        return
    for version in versions:
        if version.storage and version.name not in stored:
            found.append(invalid_value(path, stored, f"must have the storage version {version.name}"))
    for index, name in enumerate(stored):
        if name not in known:
            found.append(
                invalid_value(
                    f"{path}[{index}]",
                    name,
                    "missing from spec.versions; "
                    f"{name} was previously a storage version, and must remain in spec.versions until a storage migration "
                    f"ensures no data remains persisted in {name} and removes {name} from status.storedVersions",
                )
            )


def _same(values: list[Any]) -> bool:
    return all(value == values[0] for value in values)


def _validate_versions(versions: list[Any], before: list[Any], found: list[FieldError]) -> None:
    """What all versions have alike is named as upstream's internal type has it: once, for the spec."""
    path = "spec.versions"
    for index, version in enumerate(versions):
        schema = version.schema.openAPIV3Schema if version.schema is not None else None
        if schema is None:
            found.append(required(f"{path}[{index}].schema.openAPIV3Schema"))
    common = (
        {
            name: _same([getattr(v, name) for v in versions])
            for name in ("schema", "subresources", "additionalPrinterColumns", "selectableFields")
        }
        if versions
        else {}
    )
    accepted = {v.name: v.schema for v in before}
    for index, version in enumerate(versions):
        where = f"{path}[{index}]"
        meta.report(names.dns1035_label(version.name or ""), f"{where}.name", version.name or "", found)
        _validate_deprecation(version, where, found)
        _validate_version(version, where, {n for n, same in common.items() if not same}, accepted, found)
    if len({v.name for v in versions}) != len(versions):
        found.append(invalid_value(path, versions, "must contain unique version names"))
    if sum(bool(v.storage) for v in versions) != 1:
        found.append(invalid_value(path, versions, "must have exactly one version marked as storage version"))
    if versions:
        _validate_version(versions[0], "spec", {n for n, same in common.items() if same}, accepted, found)


def _validate_version(
    version: Any, where: str, parts: set[str], accepted: dict[str, Any], found: list[FieldError]
) -> None:
    schema = version.schema.openAPIV3Schema if version.schema is not None else None
    if "schema" in parts and schema is not None:
        at = f"{where}.{'validation' if where == 'spec' else 'schema'}.openAPIV3Schema"
        status = version.subresources is not None and version.subresources.status is not None
        if not isinstance(schema, dict):
            found.append(type_invalid(at, schema, "must be an object"))
        else:
            unchanged = accepted.get(version.name) == version.schema
            _validate_schema(schema, at, status, unchanged, found)
    if "subresources" in parts:
        _validate_subresources(version.subresources, f"{where}.subresources", found)
    if "additionalPrinterColumns" in parts:
        _validate_columns(version.additionalPrinterColumns, f"{where}.additionalPrinterColumns", found)
    if "selectableFields" in parts:
        _validate_selectable(version.selectableFields, schema, f"{where}.selectableFields", found)


def _validate_deprecation(version: Any, where: str, found: list[FieldError]) -> None:
    warning = version.deprecationWarning
    if warning is None:
        return
    messages = []
    if not version.deprecated:
        messages.append("can only be set for deprecated versions")
    else:
        if len(warning.encode()) > DEPRECATION_WARNING_MAX_BYTES:
            messages.append(f"must be <= {DEPRECATION_WARNING_MAX_BYTES} characters long")
        if not warning:
            messages.append("must not be an empty string")
        at = next((i for i, c in enumerate(warning) if not c.isprintable()), None)
        if at is not None:
            at = len(warning[:at].encode())
            messages.append(
                f"must only contain printable UTF-8 characters; non-printable character found at index {at}"
            )
    for message in messages:
        found.append(invalid_value(f"{where}.deprecationWarning", warning, message))


def _validate_schema(
    schema: dict[str, Any], path: str, has_status: bool, unchanged: bool, found: list[FieldError]
) -> None:
    try:
        found += apiextensions_schema.validate(schema, path, has_status=has_status, unchanged=unchanged)
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
        elif not value.startswith("."):
            found.append(invalid_value(at, value, "must be a simple json path starting with ."))
        elif not value.startswith(parents):
            where = " or ".join(parent.rstrip(".") for parent in parents)
            either = "either " if len(parents) > 1 else ""
            found.append(invalid_value(at, value, f"should be a json path under {either}{where}"))


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
        # Whether it can be parsed is not asked: columns that cannot are not shown.
        if not column.jsonPath:
            found.append(required(f"{at}.JSONPath"))
        elif not column.jsonPath.startswith("."):
            found.append(
                invalid_value(f"{at}.JSONPath", column.jsonPath, "must be a simple json path starting with .")
            )


def _validate_selectable(fields: list[Any] | None, schema: Any, path: str, found: list[FieldError]) -> None:
    seen: set[str] = set()
    for index, field in enumerate(fields or ()):
        at, where = f"{path}[{index}].jsonPath", field.jsonPath or ""
        if not where:
            found.append(required(at))
            continue
        try:
            plain, place = cel_names.field_path(
                where, schema if isinstance(schema, dict) else {}, brackets=False
            )
        except ValueError as e:
            found.append(invalid_value(at, where, f"is an invalid path: {e}"))
            continue
        if plain.partition(".")[0] == "metadata":
            found.append(invalid_value(at, where, "must not point to fields in metadata"))
        if place.get("type") not in ("string", "boolean", "integer"):
            found.append(
                invalid_value(
                    at,
                    where,
                    "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are "
                    "allowed.",
                )
            )
        if plain in seen:
            found.append(duplicate(at, where))
        seen.add(plain)
    if len(seen) > SELECTABLE_FIELDS_MAX:
        found.append(too_many(path, len(seen), SELECTABLE_FIELDS_MAX))


def _validate_conversion(conversion: Any, found: list[FieldError]) -> None:
    """Named as upstream's internal type has it, without `webhook`."""
    path = "spec.conversion"
    webhook = conversion.webhook
    config = webhook.clientConfig if webhook is not None else None
    versions = (webhook.conversionReviewVersions if webhook is not None else None) or ()
    if conversion.strategy not in ("None", "Webhook"):
        found.append(not_supported(f"{path}.strategy", conversion.strategy, ("None", "Webhook")))
    if conversion.strategy != "Webhook":
        for name, given in (
            ("webhookClientConfig", config is not None),
            ("conversionReviewVersions", versions),
        ):
            if given:
                found.append(
                    forbidden_field(f"{path}.{name}", "should not be set when strategy is not set to Webhook")
                )
        return
    if config is None:
        found.append(required(f"{path}.webhookClientConfig", "required when strategy is set to Webhook"))
    else:
        admissionregistration.validate_client(config, f"{path}.webhookClientConfig", found)
    at = f"{path}.conversionReviewVersions"
    if not versions:
        found.append(required(at))
    else:
        admissionregistration.validate_review_versions(versions, at, found)


def _validate_names(given: Any, path: str, found: list[FieldError]) -> None:
    for name in ("plural", "singular", "kind", "listKind"):
        if not getattr(given, name):
            found.append(required(f"{path}.{name}"))
    _validate_given_names(given, path, found)


def _validate_given_names(given: Any, path: str, found: list[FieldError]) -> None:
    for name in ("plural", "singular", "kind", "listKind"):
        value = getattr(given, name)
        is_kind = name in ("kind", "listKind")
        messages = names.dns1035_label(value.lower() if is_kind else value) if value else []
        if messages:
            hint = "may have mixed case, but should otherwise match: " if is_kind else ""
            found.append(invalid_value(f"{path}.{name}", value, hint + ",".join(messages)))
    for name in ("shortNames", "categories"):
        for index, word in enumerate(getattr(given, name) or ()):
            messages = names.dns1035_label(word)
            if messages:
                found.append(invalid_value(f"{path}.{name}[{index}]", word, ",".join(messages)))
        if name == "shortNames" and given.kind and given.kind == given.listKind:
            found.append(
                invalid_value(f"{path}.listKind", given.listKind, "kind and listKind may not be the same")
            )


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
