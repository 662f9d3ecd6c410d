"""Structural schemas: what a CustomResourceDefinition says about its objects, compiled.

A `Structural` is one version's `openAPIV3Schema` as

* `node`: `StructuralNode`s, which field ownership and merging walk like those of the built-in kinds;
* `prune`, `default` and `validate`, the steps of a write in upstream's order.

Each step has a fast form, closures made once from the schema (a JobSet costs 110 µs for all of them), and pruning and validation
a slow one, which walks the schema beside the object and runs only when the fast form found something, to say what. Objects are plain JSON; `prune`
and `default` change them in place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from lakh.machinery import dynamic, structural_validation
from lakh.machinery.errors import FieldError
from lakh.machinery.schema import Node
from lakh.machinery.unknown import MAX_FINDINGS

# What has no schema: maps have parts, everything else is a leaf.
DEDUCED = "deduced"

_SCALARS = ("string", "integer", "number", "boolean")
_TYPE_META = ("apiVersion", "kind")

Raw = Mapping[str, Any]

_encode = msgspec.json.Encoder().encode


class StructuralNode(Node):
    """A place of a structural schema. `raw` is its JSON schema; `open` whether it keeps what it does not declare."""

    __slots__ = ("embedded", "nullable", "open", "raw")

    def __init__(self, raw: Raw, object_meta: Node | None = None) -> None:
        properties: Raw = raw.get("properties") or {}
        additional = raw.get("additionalProperties")
        self.raw = raw
        self.shape = None
        self.definition = None
        self.description = raw.get("description", "")
        self.format = raw.get("format")
        self.required = frozenset(raw.get("required") or ())
        self.list_type = raw.get("x-kubernetes-list-type", "atomic")
        self.map_keys = tuple(raw.get("x-kubernetes-list-map-keys") or ())
        self.map_type = raw.get("x-kubernetes-map-type", "granular")
        self.merge_key = None
        self.patch_strategy = ()
        self.nullable = bool(raw.get("nullable"))
        self.open = bool(raw.get("x-kubernetes-preserve-unknown-fields"))
        self.embedded = bool(raw.get("x-kubernetes-embedded-resource"))
        self._fields = {}
        self._element = None
        kind = raw.get("type", "")
        if raw.get("x-kubernetes-int-or-string"):
            self.type = "int-or-string"
        elif kind == "object":
            if additional and not properties and not self.embedded:
                self.type = "map"
                self._element = StructuralNode(additional) if isinstance(additional, Mapping) else FREE
            else:
                self.type = "struct"
        elif kind == "array":
            self.type = "list"
            self._element = StructuralNode(raw.get("items") or {})
        elif kind in _SCALARS:
            self.type = kind
        else:
            self.type = "any"
            if self.open:
                self.map_type = DEDUCED
        if self.type == "struct":
            self._fields = {name: StructuralNode(sub) for name, sub in properties.items()}
            if object_meta is not None or self.embedded:
                for name in _TYPE_META:
                    self._fields.setdefault(name, _STRING)
            if object_meta is not None:
                self._fields["metadata"] = object_meta

    def field(self, name: str) -> Node | None:
        """The node of a declared field; None when there is none."""
        return self._fields.get(name)

    def fields(self) -> Iterator[tuple[str, Node]]:
        """All declared fields."""
        return iter(self._fields.items())

    def key_default(self, key: str) -> Any:
        """The default of a key of this list's items, None when it has none."""
        field = self.element.field(key)
        return field.raw.get("default") if isinstance(field, StructuralNode) else None

    @property
    def element(self) -> Node:
        """The node of a list's items or a map's values; of what has no schema the node itself."""
        element = self._element
        return element if isinstance(element, Node) else self


FREE = StructuralNode({"x-kubernetes-preserve-unknown-fields": True})
_STRING = StructuralNode({"type": "string"})


class Structural:
    """A structural schema, compiled. `object_meta` is the schema of `metadata`, which no definition can change."""

    __slots__ = ("_default", "_digest", "_known", "_ok", "node", "raw")

    def __init__(self, raw: Raw, object_meta: Node) -> None:
        self.raw = raw
        self._digest: str | None = None
        self.node = StructuralNode(raw, object_meta)
        self._known = _known(self.node)
        self._default = _defaulter(self.node)
        self._ok = structural_validation.compile_check(raw)

    @property
    def digest(self) -> str:
        """A digest of the schema, computed when first asked for."""
        if self._digest is None:
            self._digest = hashlib.sha256(_encode(self.raw)).hexdigest()
        return self._digest

    def __repr__(self) -> str:
        return f"<Structural {len(self.node._fields)} fields>"

    def prune(self, obj: dict[str, Any]) -> list[str]:
        """Drops what the schema does not have and says what: `unknown field "spec.x"`. Metadata is not looked at."""
        if self._known is None or self._known(obj):
            return []
        found: list[str] = []
        _prune(obj, self.node, "", found)
        return found

    def default(self, obj: dict[str, Any]) -> None:
        """Fills in defaults; drops nulls where null is not allowed and nothing takes their place."""
        if self._default is not None:
            self._default(obj)

    def validate(self, obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[FieldError]:
        """All findings on an object; what an update does not touch is not held against it."""
        if self._ok is None or self._ok(obj):
            return []
        return structural_validation.findings(obj, self.raw, old)


_Check = Callable[[Any], bool]


def _known(node: Node) -> _Check | None:
    """Whether a value has declared fields only; None when it cannot have others."""
    if not isinstance(node, StructuralNode):
        return None
    if node.type == "list":
        item = _known(node.element)
        return None if item is None else lambda value: not isinstance(value, list) or all(map(item, value))
    if node.type == "map":
        of_value = _known(node.element)
        return (
            None
            if of_value is None
            else lambda value: not isinstance(value, dict) or all(map(of_value, value.values()))
        )
    if node.type != "struct":
        return None
    below: dict[str, _Check | None] = {name: _known(child) for name, child in node.fields()}
    if node.embedded:
        below.setdefault("metadata", None)
    if node.open:
        deep = [(name, check) for name, check in below.items() if check is not None]
        if not deep:
            return None

        def open_struct(value: Any) -> bool:
            if isinstance(value, dict):
                for name, check in deep:
                    if name in value and not check(value[name]):
                        return False
            return True

        return open_struct

    def struct(value: Any) -> bool:
        if isinstance(value, dict):
            for name, child in value.items():
                try:
                    check = below[name]
                except KeyError:
                    return False
                if check is not None and not check(child):
                    return False
        return True

    return struct


def _prune(value: Any, node: Node, path: str, found: list[str]) -> None:
    if not isinstance(node, StructuralNode):
        return
    if node.type == "list" and isinstance(value, list):
        for index, item in enumerate(value):
            _prune(item, node.element, f"{path}[{index}]", found)
    elif node.type == "map" and isinstance(value, dict):
        for name, item in value.items():
            _prune(item, node.element, f"{path}.{name}" if path else name, found)
    elif node.type == "struct" and isinstance(value, dict):
        for name in list(value):
            where = f"{path}.{name}" if path else name
            child = node.field(name)
            if child is not None:
                _prune(value[name], child, where, found)
            elif not node.open and not (node.embedded and name == "metadata"):
                del value[name]
                if len(found) < MAX_FINDINGS:
                    found.append(f'unknown field "{where}"')


_Default = Callable[[Any], None]
_NOTHING: Any = object()


def _defaulter(node: Node) -> _Default | None:
    """Fills in the defaults below a value; None when there are none and no null can be wrong."""
    if not isinstance(node, StructuralNode):
        return None
    if node.type == "list":
        return _list_defaulter(node)
    if node.type == "map":
        return _map_defaulter(node)
    if node.type != "struct":
        return None
    given: list[tuple[str, Any]] = []
    below: dict[str, _Default] = {}
    not_null: set[str] = set()
    for name, child in node.fields():
        if not isinstance(child, StructuralNode):
            continue
        default = child.raw.get("default", _NOTHING)
        if default is not _NOTHING:
            given.append((name, default))
        if not child.nullable:
            not_null.add(name)
        fill = _defaulter(child)
        if fill is not None:
            below[name] = fill

    def struct(value: Any) -> None:
        if not isinstance(value, dict):
            return
        if None in value.values():
            for name in [n for n, v in value.items() if v is None and n in not_null]:
                del value[name]
        for name, default in given:
            if name not in value:
                value[name] = dynamic.clone(default)
        for name, child in value.items():
            if name in below:
                below[name](child)

    return struct


def _list_defaulter(node: StructuralNode) -> _Default | None:
    fill = _defaulter(node.element)
    default = node.element.raw.get("default") if isinstance(node.element, StructuralNode) else None
    if fill is None and default is None:
        return None

    def items(value: Any) -> None:
        if isinstance(value, list):
            for index, item in enumerate(value):
                if item is None and default is not None:
                    item = value[index] = dynamic.clone(default)
                if fill is not None:
                    fill(item)

    return items


def _map_defaulter(node: StructuralNode) -> _Default | None:
    element = node.element
    fill = _defaulter(element)
    drop = isinstance(element, StructuralNode) and not element.nullable and element is not FREE
    default = element.raw.get("default") if isinstance(element, StructuralNode) else None

    def values(value: Any) -> None:
        if not isinstance(value, dict):
            return
        if drop and None in value.values():
            for name in [n for n, v in value.items() if v is None]:
                if default is None:
                    del value[name]
                else:
                    value[name] = dynamic.clone(default)
        if fill is not None:
            for item in value.values():
                fill(item)

    return values
