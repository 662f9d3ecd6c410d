"""Structural schemas as CEL types: what an expression may say of `self`, and how large its values can be.

Upstream's `DeclType` (apiserver/pkg/cel/common/schemas.go, limits.go): the largest number of elements of each place and the smallest size of its JSON
follow from the schema and from how large a request may be. Sizes are in bytes of JSON, elements are characters, items or properties.
What has no type in CEL (no `type`, lists of such) is no declaration, and expressions cannot reach it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lakh.machinery.cel_names import RESERVED, escape

Raw = Mapping[str, Any]

# apiserver/pkg/apis/cel/config.go: what the estimates take for the largest request, whatever a server's limit is.
REQUEST_MAX_BYTES = 3 * 1024 * 1024
_TIME_MAX_CHARS = 32  # the longest date-time or duration, with its quotes
_DATE_CHARS = 12
NAME_MAX_CHARS = 253

_TEXT: Raw = {"type": "string"}
# kind → (smallest JSON, most elements) of what has a fixed kind.
_FORMATS: Mapping[str, tuple[str, int, int]] = {
    "duration": ("duration", 3, _TIME_MAX_CHARS),
    "date": ("timestamp", _DATE_CHARS, _DATE_CHARS),
    "date-time": ("timestamp", 21, _TIME_MAX_CHARS),
}
_PLAIN = {"boolean": ("bool", 4), "number": ("double", 1), "integer": ("int", 1)}


class Decl:
    """A declared type. `kind` is CEL's name of it, `object` for what has fields; `fields` are by their escaped names. `name` is what errors call it."""

    __slots__ = ("element", "fields", "kind", "max_elements", "message", "min_bytes", "name")

    def __init__(
        self,
        kind: str,
        min_bytes: int,
        max_elements: int = 0,
        element: Decl | None = None,
        fields: dict[str, Decl] | None = None,
    ) -> None:
        self.kind = kind
        self.min_bytes = min_bytes
        self.max_elements = max_elements
        self.element = element
        self.fields = fields or {}
        self.message = ""  # its name as a message, once it has one
        self.name = ""

    def __repr__(self) -> str:
        return f"<Decl {self.kind} ≤{self.max_elements}>"

    @property
    def max_cardinality(self) -> int:
        """How many of these a request can hold."""
        return REQUEST_MAX_BYTES // (self.min_bytes + 1)

    def step(self, name: str) -> Decl | None:
        """The declaration one element of a path further: a field, `@items`, `@values`, `@keys`."""
        if name in ("@items", "@values"):
            return self.element
        if name == "@keys":
            return _KEY if self.kind == "map" else None
        return self.fields.get(name)


_KEY = Decl("string", 2)


def with_type_and_meta(raw: Raw) -> Raw:
    """A schema with what every resource has: apiVersion, kind, and a name. One that declares all of these stays as it is."""
    properties: Raw = raw.get("properties") or {}
    named: Raw = (properties.get("metadata") or {}).get("properties") or {}
    if all(_is(properties, name, "string") for name in ("kind", "apiVersion")) and (
        _is(properties, "metadata", "object")
        and all(_is(named, name, "string") for name in ("name", "generateName"))
    ):
        return raw
    meta = {
        "type": "object",
        "properties": {
            "name": _capped(named.get("name"), NAME_MAX_CHARS),
            # What is generated has a character at least.
            "generateName": _capped(named.get("generateName"), NAME_MAX_CHARS - 1),
        },
    }
    return {**raw, "properties": {**properties, "apiVersion": _TEXT, "kind": _TEXT, "metadata": meta}}


def _is(properties: Raw, name: str, kind: str) -> bool:
    sub = properties.get(name)
    return isinstance(sub, Mapping) and sub.get("type") == kind


def _capped(declared: Any, most: int) -> Raw:
    given = declared.get("maxLength") if isinstance(declared, Mapping) else None
    return {"type": "string", "maxLength": most if given is None else min(given, most)}


def declare(raw: Raw, is_resource: bool = False) -> Decl | None:
    """The declaration of a schema; None when expressions cannot see it."""
    longest = raw.get("maxLength")
    if raw.get("x-kubernetes-int-or-string"):
        return Decl("dyn", 1, 4 * max(longest, 0) if longest is not None else REQUEST_MAX_BYTES - 2)
    match raw.get("type"):
        case "array":
            return _list(raw)
        case "object":
            return _object(with_type_and_meta(raw) if is_resource else raw)
        case "string":
            return _string(raw, longest)
        case str() as name if name in _PLAIN:
            return Decl(*_PLAIN[name])
    return None


def _string(raw: Raw, longest: int | None) -> Decl:
    form = raw.get("format") or ""
    if form in _FORMATS:
        return Decl(*_FORMATS[form])
    if form == "byte":
        return Decl("bytes", 2, max(longest, 0) if longest is not None else REQUEST_MAX_BYTES - 2)
    if longest is not None:
        # A character is up to four bytes.
        return Decl("string", 2, 4 * max(longest, 0))
    choices = raw.get("enum")
    if choices:
        return Decl("string", 2, max((len(c.encode()) for c in choices if isinstance(c, str)), default=0))
    return Decl("string", 2, REQUEST_MAX_BYTES - 2)


def _child(raw: Raw) -> Decl | None:
    return declare(raw, bool(raw.get("x-kubernetes-embedded-resource")))


def _list(raw: Raw) -> Decl | None:
    items = raw.get("items")
    element = _child(items) if isinstance(items, Mapping) else None
    if element is None:
        return None
    most = raw.get("maxItems")
    count = max(most, 0) if most is not None else (REQUEST_MAX_BYTES - 2) // (element.min_bytes + 1)
    return Decl("list", 2, count, element)


def _object(raw: Raw) -> Decl | None:
    additional = raw.get("additionalProperties")
    if isinstance(additional, Mapping):
        element = _child(additional)
        if element is None:
            return None
        most = raw.get("maxProperties")
        # A pair has a key's quotes, a colon, a comma …
        count = max(most, 0) if most is not None else (REQUEST_MAX_BYTES - 2) // (element.min_bytes + 6)
        return Decl("map", 2, count, element)
    fields: dict[str, Decl] = {}
    needed, size = frozenset(raw.get("required") or ()), 2
    for name, sub in (raw.get("properties") or {}).items():
        found = _child(sub) if isinstance(sub, Mapping) else None
        if found is None:
            continue
        escaped = escape(name)
        if escaped is not None:
            fields[escaped] = found
        if name in RESERVED:
            # Since v1.31 as it is, too, where the grammar has it as a field.
            fields[name] = found
        if name in needed and sub.get("default") is None:
            size += len(name.encode()) + found.min_bytes + 4
    return Decl("object", size, 0, None, fields)


def objects(root: Decl) -> Iterator[Decl]:
    """All declarations with fields, from the root down."""
    if root.kind == "object":
        yield root
    # Reserved words have two names.
    for below in (
        *dict.fromkeys(root.fields.values()),
        *((root.element,) if root.element is not None else ()),
    ):
        yield from objects(below)
