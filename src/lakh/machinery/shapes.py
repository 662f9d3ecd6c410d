"""Shapes: schema nodes prepared for field ownership.

A `Shape` says of one place in an object whether it is a leaf (a scalar, or an atomic map or list, owned as a whole) or has owned parts, and
how those parts are called in `FieldsV1`: `f:name` for fields, `k:{"name":"c"}` for items of list maps, `v:"x"` for members of sets. Shapes are
made once for each node, fields when first met, and are shared; after that a step down the tree is one dict look-up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import msgspec

from lakh.machinery.schema import Node

Kind = Literal["leaf", "struct", "map", "list-map", "list-set"]
# Distinct names of containers, ports, conditions and finalizers in a cluster are few.
CACHE_ENTRIES = 65536
# Longer ones are not kept, so that a client cannot fill memory with them.
MAX_CACHED_LENGTH = 256

_encode = msgspec.json.Encoder(order="sorted").encode


class KeyMissingError(ValueError):
    """An item of a list map lacks a key, or has the wrong type."""


def field_key(name: str) -> str:
    """The path element of a field."""
    return "f:" + name


def _value_key(value: str | int | float | bool) -> str:
    return "v:" + _encode(value).decode()


def _item_key(names: tuple[str, ...], *values: Any) -> str:
    return "k:" + _encode(dict(zip(names, values, strict=True))).decode()


# Typed, because 1, 1.0 and true are different keys.
_cached_value_key = lru_cache(CACHE_ENTRIES, typed=True)(_value_key)
_cached_item_key = lru_cache(CACHE_ENTRIES, typed=True)(_item_key)


def value_key(value: str | int | float | bool) -> str:
    """The path element of a set's member."""
    if isinstance(value, str) and len(value) > MAX_CACHED_LENGTH:
        return _value_key(value)
    return _cached_value_key(value)


class Shape:
    """What a place owns: see the module."""

    __slots__ = ("_element", "keys", "kind", "known", "node")

    def __init__(self, node: Node | None, kind: Kind) -> None:
        # The schema node; None where there is no schema.
        self.node = node
        self.kind: Kind = kind
        self.keys: tuple[str, ...] = node.map_keys if node is not None else ()
        # The fields met so far: path element and shape.
        self.known: dict[str, tuple[str, Shape]] = {}
        self._element: Shape | None = None

    @property
    def element(self) -> Shape:
        """The shape of a list's items or a map's values."""
        element = self._element
        if element is None:
            element = self._element = self if self.node is None else shape_of(self.node.element)
        return element

    def field(self, name: str) -> tuple[str, Shape]:
        """The path element and shape of a struct's field; an undeclared one is a leaf."""
        try:
            return self.known[name]
        except KeyError:
            node = self.node.field(name) if self.node is not None else None
            if node is None:
                is_open = self.node is not None and self.node.open
                return (field_key(name), shape_of(None) if is_open else LEAF_SHAPE)
            # Only declared fields are kept, so that clients cannot make this grow.
            found = self.known[name] = (field_key(name), shape_of(node))
            return found

    def declares(self, name: str) -> bool:
        """Whether a struct has this field."""
        return self.kind == "struct" and self.node is not None and self.node.field(name) is not None

    def child(self, element: str) -> Shape:
        """The shape behind a path element."""
        if self.kind == "struct":
            return self.field(element[2:])[1]
        return self.element if self.kind != "leaf" else self

    def text_key(self, text: str) -> str:
        """The path element of an item of a list map whose only key is a text."""
        return (_cached_item_key if len(text) <= MAX_CACHED_LENGTH else _item_key)(self.keys, text)

    def item_key(self, item: Any) -> str:
        """The path element of a list's item. Raises `KeyMissingError`."""
        if self.kind == "list-set":
            if item is None or isinstance(item, (dict, list)):
                raise KeyMissingError("set items must be scalars")
            return value_key(item)
        if not isinstance(item, dict):
            raise KeyMissingError("associative list without keys has an element that's a map type")
        if len(self.keys) == 1:
            value = item.get(self.keys[0])
            if value.__class__ is str:
                return self.text_key(value)
        values: list[Any] = []
        for key in self.keys:
            value = item.get(key)
            if value is None:
                value = self.node.key_default(key) if self.node is not None else None
                if value is None:
                    raise KeyMissingError(
                        f'associative list with keys has an element that omits key field "{key}" '
                        "(and doesn't have default value)"
                    )
            elif isinstance(value, (dict, list)):
                raise KeyMissingError(f'key field "{key}" must be a scalar')
            values.append(value)
        if any(isinstance(value, str) and len(value) > MAX_CACHED_LENGTH for value in values):
            return _item_key(self.keys, *values)
        return _cached_item_key(self.keys, *values)


def _kind(node: Node | None) -> Kind:
    if node is None:
        return "map"
    match node.type:
        case "struct" | "map":
            return "leaf" if node.map_type == "atomic" else node.type
        case "list" if node.list_type == "map" and node.map_keys:
            return "list-map"
        case "list" if node.list_type == "set":
            return "list-set"
        case "any" if node.map_type == "deduced":
            return "map"
        case _:
            return "leaf"


_DEDUCED_SHAPE = Shape(None, "map")


def shape_of(node: Node | None) -> Shape:
    """The shape of a node, kept with it. Without a schema (None), maps have parts and all else is a leaf."""
    if node is None:
        return _DEDUCED_SHAPE
    shape: Shape | None = node.shape
    if shape is None:
        shape = node.shape = Shape(node, _kind(node))
    return shape


# The shape of what a schema does not declare.
LEAF_SHAPE = Shape(None, "leaf")
