"""Objects inside custom resources (`x-kubernetes-embedded-resource`): their type is one, and their metadata is ObjectMeta.

As upstream's apiextensions-apiserver/pkg/apiserver/schema/objectmeta: what ObjectMeta does not have is pruned, what it does not take is refused (or
dropped, of what is at rest and of defaults), and names, labels and the like are checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from lakh.apis import meta
from lakh.apis.definitions import schema
from lakh.machinery import names, unknown
from lakh.machinery.errors import FieldError, invalid_value
from lakh.machinery.structural import StructuralNode

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
# What stands in for a name, which embedded objects need not have.
_ANY_NAME = "fakename"


class _Place:
    """A place of a schema with embedded objects at or below it."""

    __slots__ = ("element", "embedded", "fields")

    def __init__(self, embedded: bool, fields: dict[str, _Place], element: _Place | None) -> None:
        self.embedded = embedded
        self.fields = fields
        self.element = element


def _place(node: Any, is_root: bool = False) -> _Place | None:
    """The places below a node; None where there is no embedded object."""
    if not isinstance(node, StructuralNode):
        return None
    fields = {name: place for name, child in node.fields() if (place := _place(child)) is not None}
    element = _place(node.element) if node.type in ("list", "map") else None
    embedded = node.embedded and not is_root
    return _Place(embedded, fields, element) if embedded or fields or element else None


class EmbeddedObjects:
    """The embedded objects of a schema. False when it has none."""

    __slots__ = ("_root",)

    def __init__(self, node: StructuralNode) -> None:
        self._root = _place(node, is_root=True)

    def __bool__(self) -> bool:
        return self._root is not None

    def settle(self, content: dict[str, Any], *, drop: bool) -> tuple[list[str], FieldError | None]:
        """Makes metadata ObjectMeta. Returns what was pruned (`unknown field "a.metadata.x"`) and the first thing that is of another type, unless
        these are to be dropped."""
        found: list[str] = []
        for path, obj in self._objects(content):
            for name in ("apiVersion", "kind"):
                if name in obj and not isinstance(obj[name], str):
                    if not drop:
                        return found, invalid_value(f"{path}.{name}", obj[name], "must be a string")
                    del obj[name]
            if "metadata" in obj:
                wrong = _settle_metadata(obj, f"{path}.metadata", drop, found)
                if wrong is not None:
                    return found, wrong
        return found, None

    def validate(self, content: dict[str, Any]) -> list[FieldError]:
        """All findings on types and metadata; that there is a type is the schema's business."""
        found: list[FieldError] = []
        for path, obj in self._objects(content):
            version, kind = obj.get("apiVersion"), obj.get("kind")
            if isinstance(version, str) and version.count("/") > 1:
                why = f"unexpected GroupVersion string: {version}"
                found.append(invalid_value(f"{path}.apiVersion", version, why))
            if isinstance(kind, str) and kind and (why := ",".join(names.dns1035_label(kind.lower()))):
                why = f"may have mixed case, but should otherwise match: {why}"
                found.append(invalid_value(f"{path}.kind", kind, why))
            if isinstance(obj.get("metadata"), dict):
                metadata = msgspec.convert(obj["metadata"], schema().struct(OBJECT_META))
                metadata.name = metadata.name or _ANY_NAME
                found += meta.validate_object_meta(
                    metadata,
                    namespaced=bool(metadata.namespace),
                    name_rule=names.path_segment_name,
                    path=f"{path}.metadata",
                    any_finalizer=True,
                )
        return found

    def _objects(self, content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        if self._root is not None:
            yield from _walk(content, self._root, "")


def _walk(value: Any, place: _Place, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        if place.embedded:
            yield path, value
        for name, below in place.fields.items():
            if name in value:
                yield from _walk(value[name], below, f"{path}.{name}" if path else name)
        if place.element is not None:
            for name, item in value.items():
                yield from _walk(item, place.element, f"{path}[{name}]")
    elif isinstance(value, list) and place.element is not None:
        for index, item in enumerate(value):
            yield from _walk(item, place.element, f"{path}[{index}]")


def _settle_metadata(obj: dict[str, Any], path: str, drop: bool, found: list[str]) -> FieldError | None:
    plain = obj["metadata"]
    struct, node = schema().struct(OBJECT_META), schema().node(OBJECT_META)
    if not isinstance(plain, dict):
        if drop:
            del obj["metadata"]
            return None
        why = f"json: cannot unmarshal {type(plain).__name__} into Go value of type v1.ObjectMeta"
        return invalid_value(path, plain, why)
    found += [text.replace('field "', f'field "{path}.', 1) for text in unknown.unknown_fields(plain, node)]
    pruned = unknown.prune(plain, node)
    try:
        metadata = msgspec.convert(pruned, struct)
    except msgspec.ValidationError as e:
        if not drop:
            why = unknown.type_error(pruned, node, "ObjectMeta") or str(e)
            return invalid_value(path, plain, why)
        metadata = _what_fits(pruned, struct)
    obj["metadata"] = msgspec.to_builtins(metadata)
    return None


def _what_fits(plain: dict[str, Any], struct: type) -> Any:
    """The metadata without the fields that are of another type."""
    kept: dict[str, Any] = {}
    for name, value in plain.items():
        try:
            msgspec.convert({name: value}, struct)
        except msgspec.ValidationError:
            continue
        kept[name] = value
    return msgspec.convert(kept, struct)
