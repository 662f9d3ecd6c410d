"""Custom resources: what a CustomResourceDefinition declares, as `Resource`s and a strategy.

An object is an `Unstructured`: its metadata is a Struct like everywhere, everything else a plain dict. `resources_of` makes of a definition (a
Struct of `apiextensions.k8s.io/v1`) one `CustomResource` for each served version; they share a table, and between them only apiVersion
differs (conversion strategy None). Schemas and rules are compiled here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from lakh.apis.definitions import schema
from lakh.apis.embedded import OBJECT_META, EmbeddedObjects
from lakh.apis.registry import SCALE, Column, Resource, Scale, Strategy, Subresource, status_of
from lakh.machinery import dynamic, jsonpath, names, rules, structural_validation, times
from lakh.machinery.errors import FieldError, invalid_value, show, show_go
from lakh.machinery.schema import Node
from lakh.machinery.shapes import Shape, shape_of
from lakh.machinery.structural import Structural

NAME_COLUMN = Column("Name", "string", "name", "Name must be unique within a namespace.")
AGE_JSON_PATH = ".metadata.creationTimestamp"
_JSON_PATH_TEXT = "Custom resource definition column (in JSONPath format): "

RULES_SKIPPED = FieldError(
    "FieldValueInvalid",
    "<nil>",
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors "
    "to complete validation",
)

# Of a scale subresource: math.MaxInt32.
MAX_REPLICAS = 2**31 - 1

# Of one definition; a write needs the object before and after it in each version that somebody applied.
CONVERSIONS_KEPT = 256

_STANDARD_FINALIZERS = frozenset(("orphan", "foregroundDeletion", "kubernetes"))

# Findings after which rules are not run: what they look at may not be there.
_BLOCKING = frozenset(
    (
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    )
)

_encode = msgspec.json.Encoder(order="deterministic").encode


@cache
def object_meta_node() -> Node:
    """The schema of metadata."""
    return schema().node(OBJECT_META)


class Unstructured:
    """An object without a type: metadata, and the rest as plain JSON."""

    __slots__ = ("apiVersion", "content", "kind", "metadata", "ratcheted")

    def __init__(self, metadata: Any, content: dict[str, Any]) -> None:
        self.apiVersion: str | None = None
        self.kind: str | None = None
        self.metadata = metadata
        self.content = content
        # Rules that are broken as they were before, found when an update was validated.
        self.ratcheted: list[str] = []

    def __repr__(self) -> str:
        return f"<Unstructured {self.metadata.name} {list(self.content)}>"


class ConversionNeeded(Exception):
    """An object must be converted by a webhook before a write can be decided: `remember` the answer, and decide again."""

    def __init__(self, versions: CustomVersions, obj: dict[str, Any], api_version: str) -> None:
        super().__init__(api_version)
        self.versions = versions
        self.obj = obj
        self.api_version = api_version


class CustomVersions:
    """The served versions of a definition, as `machinery.tracking` wants them.

    Without a webhook only apiVersion and the schema differ. What a webhook said is remembered, by the object's bytes: it is a function of those.
    """

    def __init__(self, conversion: Any = None) -> None:
        # The webhook's configuration, if one converts.
        self.conversion = conversion
        self.resources: dict[str, CustomResource] = {}
        self._known: dict[tuple[str, bytes], dict[str, Any]] = {}

    def shape(self, api_version: str) -> Shape | None:
        """The shape of objects of a version; None when it is not served."""
        resource = self.resources.get(api_version)
        return None if resource is None else shape_of(resource.structural.node)

    def convert(self, obj: dict[str, Any], api_version: str) -> dict[str, Any]:
        """A plain object in another version; raises `ConversionNeeded` when only a webhook knows."""
        target = self.resources[api_version]
        converted: dict[str, Any] = {**obj, "kind": target.kind}
        if self.conversion is not None and obj["apiVersion"] != api_version:
            found = self._known.get((api_version, _encode(converted)))
            if found is None:
                raise ConversionNeeded(self, converted, api_version)
            converted = found
        converted = {name: dynamic.clone(value) for name, value in converted.items()}
        converted["apiVersion"] = api_version
        target.structural.prune(converted)
        return converted

    def remember(self, obj: dict[str, Any], api_version: str, converted: dict[str, Any]) -> None:
        """Keeps what the webhook said."""
        while len(self._known) >= CONVERSIONS_KEPT:
            del self._known[next(iter(self._known))]
        self._known[api_version, _encode(obj)] = converted


@dataclass(frozen=True, eq=False, repr=False)
class CustomResource(Resource):
    """A served version of a custom resource. `current_from` is the revision of the write that made its schema what it is: objects written
    later are as this schema wants them, unless `mixed`: then another version has another schema. `webhook`: its objects are stored as another version
    and only a conversion webhook can tell what they are in this one; `conversion` says which."""

    list_kind: str = ""
    structural: Structural = None  # type: ignore[assignment]
    current_from: int = 0
    mixed: bool = False
    webhook: bool = False
    conversion: Any = None
    versions: CustomVersions = None  # type: ignore[assignment]

    @property
    def embedded(self) -> EmbeddedObjects:
        """The objects inside its objects."""
        assert isinstance(self.strategy, CustomStrategy)
        return self.strategy.embedded

    @property
    def list_name(self) -> str:
        """The kind of its lists, as the definition names it."""
        return self.list_kind


class CustomStrategy(Strategy):
    """The strategy of one version of a custom resource."""

    allow_unconditional_update = False
    any_finalizer = True

    def __init__(self, api_version: str, kind: str, structural: Structural, version: Any) -> None:
        self.api_version = api_version
        self.kind = kind
        self.structural = structural
        self.embedded = EmbeddedObjects(structural.node)
        self.rules = rules.compile_rules(structural.raw)
        subresources = version.subresources
        self.has_status = subresources is not None and subresources.status is not None
        self.scale = scale_of(version)
        self.generation = True
        self.deprecation = ""
        if version.deprecated:
            self.deprecation = version.deprecationWarning or f"{api_version} {kind} is deprecated"
        self._cells: list[tuple[str, Callable[[Any], Any]]] = []
        self.columns = self._columns(version.additionalPrinterColumns)
        self.selectable_fields = {
            field.jsonPath.removeprefix("."): self._selector(field.jsonPath)
            for field in version.selectableFields or ()
        }

    def _columns(self, declared: list[Any] | None) -> tuple[Column, ...]:
        columns = [NAME_COLUMN]
        if not all(_is_path(column.jsonPath) for column in declared or ()):
            # As upstream: a path that cannot be parsed takes all columns with it.
            declared = None
        for column in declared or ():
            path = column.jsonPath
            columns.append(
                Column(
                    column.name,
                    column.type,
                    column.format or "",
                    column.description or _JSON_PATH_TEXT + path,
                    column.priority or 0,
                )
            )
            self._cells.append((column.type, jsonpath.compiled(path)))
        if not declared:
            columns.append(Column("Age", "date", "", _JSON_PATH_TEXT + AGE_JSON_PATH))
            self._cells.append(("date", jsonpath.compiled(AGE_JSON_PATH)))
        return tuple(columns)

    def _selector(self, path: str) -> Callable[[Any], str]:
        first = jsonpath.compiled(path)

        def text(obj: Any) -> str:
            value = first(obj.content)
            return "" if value is None else _text(value)

        return text

    def document(self, obj: Unstructured) -> dict[str, Any]:
        """The object as its schema and rules see it. Shares the content."""
        metadata = obj.metadata
        return {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "metadata": {n: v for n in ("name", "generateName") if (v := getattr(metadata, n)) is not None},
            **obj.content,
        }

    def prepare_for_create(self, obj: Any) -> None:
        """No status, the first generation."""
        if self.has_status:
            obj.content.pop("status", None)
        obj.metadata.generation = 1

    def validate(self, obj: Any) -> list[FieldError]:
        """By schema and rules."""
        return self._findings(obj, None)

    def _findings(self, obj: Any, old: Any | None, *, of_status: bool = False) -> list[FieldError]:
        document = self.document(obj)
        before = self.document(old) if old is not None else None
        if of_status and old is not None:
            found = self._status_findings(obj.content, old.content)
        else:
            found = self.structural.validate(document, before)
            if self.embedded:
                found += self.embedded.validate(obj.content)
        found += self._scale_findings(obj, of_status)
        if self.rules is not None:
            if any(f.reason in _BLOCKING for f in found):
                found.append(RULES_SKIPPED)
            else:
                broken, ratcheted = self.rules.findings(document, before)
                found += broken
                obj.ratcheted = [str(f) for f in ratcheted]
        return found

    def _status_findings(self, new: dict[str, Any], old: dict[str, Any]) -> list[FieldError]:
        """Of an update of status only this is looked at, as an object of its own."""
        raw = (self.structural.raw.get("properties") or {}).get("status")
        if raw is None or "status" not in new:
            return []
        return [
            FieldError(f.reason, f"status.{f.field}" if f.field else "status", f.text)
            for f in structural_validation.findings(new["status"], raw, old.get("status"))
        ]

    def _scale_findings(self, obj: Any, of_status: bool) -> list[FieldError]:
        scale = self.scale
        if scale is None:
            return []
        found: list[FieldError] = []
        counts = (scale.status_replicas,) if of_status else (scale.spec_replicas, scale.status_replicas)
        for path in counts:
            count = dynamic.get(obj.content, path)
            if count is None:
                continue
            if not isinstance(count, int) or isinstance(count, bool):
                found.append(invalid_value(f".{path}", 0, _accessor_error(path, count, "int64")))
            elif count < 0:
                found.append(invalid_value(f".{path}", count, "should be a non-negative integer"))
            elif count > MAX_REPLICAS:
                found.append(
                    invalid_value(f".{path}", count, f"should be less than or equal to {MAX_REPLICAS}")
                )
        if scale.selector:
            text = dynamic.get(obj.content, scale.selector)
            if text is not None and not isinstance(text, str):
                found.append(
                    invalid_value(f".{scale.selector}", "", _accessor_error(scale.selector, text, "string"))
                )
        return found

    def prepare_for_update(self, new: Any, old: Any) -> None:
        """Status stays; whatever else changes counts as a generation."""
        before, after = old.content, new.content
        if self.has_status:
            after.pop("status", None)
            if "status" in before:
                after["status"] = before["status"]
        if not dynamic.equal(before, after):
            new.metadata.generation = (old.metadata.generation or 0) + 1

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """By schema and rules; unchanged parts are not held against it."""
        return self._findings(new, old)

    def prepare_for_status_update(self, new: Any, old: Any) -> None:
        """Everything but status stays, metadata too."""
        status = new.content.get("status")
        new.content = {name: value for name, value in old.content.items() if name != "status"}
        if status is not None:
            new.content["status"] = status
        for name in old.metadata.__struct_fields__:
            if name != "managedFields":
                setattr(new.metadata, name, getattr(old.metadata, name))

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """By the schema of status, and the rules."""
        return self._findings(new, old, of_status=True)

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Finalizers whose names may be others', too, and what an update leaves broken."""
        added = set(obj.metadata.finalizers or ()).difference((old and old.metadata.finalizers) or ())
        found = [text for name in sorted(added) for text in _finalizer_warnings(name)] if added else []
        return [*found, *obj.ratcheted]

    def cells(self, obj: Any, now: float) -> list[Any]:
        """The printer columns."""
        metadata = obj.metadata
        document = {
            **obj.content,
            "metadata": {
                "name": metadata.name,
                "namespace": metadata.namespace,
                "creationTimestamp": metadata.creationTimestamp,
                "deletionTimestamp": metadata.deletionTimestamp,
                "generation": metadata.generation,
                "labels": metadata.labels or {},
                "annotations": metadata.annotations or {},
                "uid": metadata.uid,
            },
        }
        return [metadata.name, *(_cell(kind, path(document), now) for kind, path in self._cells)]


def _finalizer_warnings(name: str) -> list[str]:
    """validateKubeFinalizerName of upstream's registry/customresource/validator.go."""
    field = f"metadata.finalizers: {show(name)}: "
    found = [field + message for message in names.qualified_name(name)]
    if "/" not in name and name not in _STANDARD_FINALIZERS:
        path = " including a path (/)" if "." in name else ""
        found.append(
            f"{field}prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
        )
    return found


_GO_TYPES = {
    bool: "bool",
    int: "int64",
    float: "float64",
    str: "string",
    dict: "map[string]interface {}",
    list: "[]interface {}",
}


def _accessor_error(path: str, value: Any, expected: str) -> str:
    """As unstructured.NestedInt64 and its like say it."""
    return f".{path} accessor error: {show_go(value)} is of the type {_GO_TYPES[type(value)]}, expected {expected}"


def _is_path(text: str) -> bool:
    try:
        jsonpath.compiled(text)
    except ValueError:
        return False
    return True


def _text(value: Any) -> str:
    """A value as Go prints it in a column of strings."""
    if isinstance(value, str):
        return value
    return _encode(value).decode()


def _cell(kind: str, value: Any, now: float) -> Any:
    if value is None:
        return None
    match kind:
        case "string":
            return _text(value)
        case "integer" if isinstance(value, int | float) and not isinstance(value, bool):
            return int(value)
        case "number" if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        case "boolean" if isinstance(value, bool):
            return value
        case "date" if isinstance(value, str):
            try:
                return times.age(value, now)
            except ValueError:
                return "<invalid>"
        case _:
            return None


def scale_of(version: Any) -> Scale | None:
    """The scale subresource of a version."""
    declared = version.subresources.scale if version.subresources is not None else None
    if declared is None:
        return None
    return Scale(
        declared.specReplicasPath.removeprefix("."),
        declared.statusReplicasPath.removeprefix("."),
        (declared.labelSelectorPath or "").removeprefix("."),
    )


def definition_name(group: str, version: str, kind: str) -> str:
    """The name of a custom resource's schema in OpenAPI: the group's labels in reverse."""
    return ".".join((*reversed(group.split(".")), version, kind))


def storage_version(definition: Any) -> str:
    """The version that objects are stored as."""
    return next((v.name for v in definition.spec.versions if v.storage), "")


def resources_of(definition: Any, current_from: Mapping[str, int]) -> list[CustomResource]:
    """The resources of a definition, one for each served version. `current_from`: the revision of each version's schema."""
    spec = definition.spec
    names = definition.status.acceptedNames
    served = [v for v in spec.versions if v.served]
    mixed = any(_raw(v) != _raw(served[0]) for v in spec.versions) if served else False
    found = []
    versions = CustomVersions(spec.conversion.webhook if spec.conversion.strategy == "Webhook" else None)
    for version in served:
        api_version = f"{spec.group}/{version.name}"
        structural = Structural(_raw(version), object_meta_node())
        strategy = CustomStrategy(api_version, names.kind, structural, version)
        subresources: dict[str, Subresource] = {}
        if strategy.scale is not None:
            subresources["scale"] = SCALE
        if strategy.has_status:
            subresources["status"] = status_of(names.kind)
        found.append(
            CustomResource(
                group=spec.group,
                version=version.name,
                plural=names.plural,
                kind=names.kind,
                namespaced=spec.scope == "Namespaced",
                definition=definition_name(spec.group, version.name, names.kind),
                strategy=strategy,
                singular=names.singular or names.kind.lower(),
                short_names=tuple(names.shortNames or ()),
                categories=tuple(names.categories or ()),
                subresources=subresources,
                scale=strategy.scale,
                stored_as=(spec.group, storage_version(definition), names.plural),
                list_kind=names.listKind or f"{names.kind}List",
                structural=structural,
                current_from=current_from.get(version.name, 0),
                mixed=mixed,
                webhook=spec.conversion.strategy == "Webhook" and not version.storage,
                conversion=spec.conversion.webhook,
                versions=versions,
            )
        )
    versions.resources.update((resource.api_version, resource) for resource in found)
    return found


def _raw(version: Any) -> dict[str, Any]:
    declared = version.schema.openAPIV3Schema if version.schema is not None else None
    return declared if isinstance(declared, dict) else {}
