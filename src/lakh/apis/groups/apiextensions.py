"""apiextensions.k8s.io/v1: definitions of custom resources, as objects. Serving what they define is the server's business."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from lakh.apis import meta
from lakh.apis.groups.base import GroupStrategy, child, declare
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column
from lakh.machinery import names
from lakh.machinery.errors import FieldError, invalid_value, not_supported, required, type_invalid

GROUP = "apiextensions.k8s.io"
APPROVED_ANNOTATION = "api-approved.kubernetes.io"
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
        _validate_versions(spec.versions or [], found)
        _validate_names(spec.names, "spec.names", found)
        if spec.conversion.strategy not in ("None", "Webhook"):
            found.append(
                not_supported("spec.conversion.strategy", spec.conversion.strategy, ("None", "Webhook"))
            )
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """Group, scope and the names in paths stay."""
        found = self.validate(new)
        meta.immutable(new.spec.group, old.spec.group, "spec.group", found)
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
        elif schema.get("type") != "object":
            kind = schema.get("type")
            at = f"{where}.schema.openAPIV3Schema.type"
            if kind:
                found.append(invalid_value(at, kind, "must be object at the root"))
            else:
                found.append(required(at, "must not be empty for specified object fields"))


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
