"""Sets of fields, as `FieldsV1` writes them, and their algebra.

A set is the nested dict of the JSON form itself, so that reading and writing one costs nothing:

    {"f:spec": {"f:replicas": {}, "f:template": {".": {}, "f:containers": {'k:{"name":"c"}': {".": {}, "f:image": {}}}}}}

Each key is a path element. A path is a member of the set if its node is `{}` or has a `.`; otherwise it only leads to members. The empty set is
`{}`. Sets are immutable by convention: no function here changes an argument, results share unchanged parts with them, and an operation that
changes nothing returns its argument itself. The order of keys means nothing.

`of` and `added` make the set of an object. A pod of 1.7 KB costs 17 µs, a lease 3 µs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from lakh.machinery import gonumbers
from lakh.machinery.schema import Node
from lakh.machinery.shapes import KeyMissingError, Shape, field_key, shape_of

FieldSet = dict[str, Any]

EMPTY: FieldSet = {}
_DOT = "."


def is_member(node: FieldSet | None) -> bool:
    """Whether the path of this node is itself in the set."""
    return node is not None and (not node or _DOT in node)


def _build(children: FieldSet, member: bool) -> FieldSet | None:
    """The node of these children (without a dot) and this membership; None when nothing is left."""
    if not children:
        return EMPTY if member else None
    return {_DOT: EMPTY, **children} if member else children


def union(a: FieldSet, b: FieldSet) -> FieldSet:
    """What is in either set."""
    if not b or a is b:
        return a
    if not a:
        return b
    out: FieldSet | None = None
    for key, right in b.items():
        left = a.get(key)
        if left is None:
            node = right
        elif left is right or (not right and _DOT in left) or (not left and not right):
            continue
        elif not left:
            node = right if _DOT in right else {_DOT: EMPTY, **right}
        elif not right:
            node = {_DOT: EMPTY, **left}
        else:
            node = union(left, right)
            if node is left:
                continue
        if out is None:
            out = dict(a)
        out[key] = node
    return a if out is None else out


def difference(a: FieldSet, b: FieldSet) -> FieldSet:
    """What is in `a` and not in `b`."""
    if not a or not b:
        return a
    out: FieldSet | None = None
    for key, left in a.items():
        right = b.get(key)
        if right is None or key == _DOT:
            continue
        children = difference(_children(left), _children(right))
        node = _build(children, is_member(left) and not is_member(right))
        if node == left:
            continue
        if out is None:
            out = dict(a)
        if node is None:
            del out[key]
        else:
            out[key] = node
    return a if out is None else out


def recursive_difference(a: FieldSet, b: FieldSet) -> FieldSet:
    """What is in `a` and neither in `b` nor below a member of `b`."""
    if not a or not b:
        return a
    out: FieldSet | None = None
    for key, left in a.items():
        right = b.get(key)
        if right is None or key == _DOT:
            continue
        node = (
            None
            if is_member(right)
            else _build(recursive_difference(_children(left), _children(right)), is_member(left))
        )
        if node == left:
            continue
        if out is None:
            out = dict(a)
        if node is None:
            del out[key]
        else:
            out[key] = node
    return a if out is None else out


def intersection(a: FieldSet, b: FieldSet) -> FieldSet:
    """What is in both sets."""
    out: FieldSet = {}
    for key, left in a.items():
        right = b.get(key)
        if right is None or key == _DOT:
            continue
        node = _build(intersection(_children(left), _children(right)), is_member(left) and is_member(right))
        if node is not None:
            out[key] = node
    return out


def _children(node: FieldSet) -> FieldSet:
    if _DOT not in node:
        return node
    return {key: child for key, child in node.items() if key != _DOT}


def is_empty(a: FieldSet) -> bool:
    """Whether nothing is in the set."""
    return not a or all(key == _DOT for key in a)


def contains(a: FieldSet, b: FieldSet) -> bool:
    """Whether all of `b` is in `a`."""
    return is_empty(difference(b, a))


def equal(a: FieldSet, b: FieldSet) -> bool:
    """Whether the sets have the same members."""
    return a is b or a == b or (contains(a, b) and contains(b, a))


def has(a: FieldSet, path: tuple[str, ...]) -> bool:
    """Whether a path is a member."""
    node: FieldSet | None = a
    for element in path:
        if node is None:
            return False
        node = node.get(element)
    return bool(path) and is_member(node)


def of_paths(paths: list[tuple[str, ...]]) -> FieldSet:
    """The set of these paths."""
    out: FieldSet = {}
    for path in paths:
        node: FieldSet = EMPTY
        for element in reversed(path):
            node = {element: node}
        out = union(out, node)
    return out


def iterate(a: FieldSet, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All members, as tuples of path elements; sorted."""
    for key in sorted(key for key in a if key != _DOT):
        path, node = (*prefix, key), a[key]
        if is_member(node):
            yield path
        yield from iterate(node, path)


def _show(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def element_text(element: str) -> str:
    """A path element as messages show it: `.spec`, `[name="c"]`, `[="x"]`, `[0]`."""
    kind, _, text = element.partition(":")
    match kind:
        case "f":
            return f".{text}"
        case "k":
            keys = msgspec.json.decode(text)
            return "[" + ",".join(f"{k}={_show(v)}" for k, v in sorted(keys.items())) + "]"
        case "v":
            return f"[={_show(msgspec.json.decode(text))}]"
        case _:
            return f"[{text}]"


def path_text(path: tuple[str, ...]) -> str:
    """A path as messages show it: `.spec.template.spec.containers[name="c"].image`."""
    return "".join(map(element_text, path))


def check(value: Any) -> FieldSet:
    """A decoded `FieldsV1` if it is one; raises ValueError with upstream's wording."""
    if not isinstance(value, dict):
        raise ValueError("FieldsV1 must be an object")
    try:
        _check(value)
    except RecursionError:
        raise ValueError("FieldsV1 is nested too deeply") from None
    return value


def _check(value: FieldSet) -> None:
    for key, child in value.items():
        if key == _DOT:
            if child:
                raise ValueError("'.' of FieldsV1 must be empty")
            continue
        kind, colon, text = key.partition(":")
        if not colon or kind not in ("f", "k", "v", "i"):
            raise ValueError(f"unrecognized key type: {key}")
        if kind in ("k", "v"):
            try:
                decoded = msgspec.json.decode(text)
            except (msgspec.DecodeError, RecursionError) as error:
                raise ValueError(f"failed to parse path element {key}: {error}") from None
            if kind == "k" and not isinstance(decoded, dict):
                raise ValueError(f"failed to parse path element {key}: not an object")
        elif kind == "i" and not gonumbers.is_int(text):
            raise ValueError(f"failed to parse path element {key}: not an index")
        if not isinstance(child, dict):
            raise ValueError(f"FieldsV1 of {key} must be an object")
        if child:
            _check(child)


def of(obj: Any, node: Node | None) -> FieldSet:
    """The fields that an object sets: leaves, empty maps, and the items of lists. What an applied configuration owns."""
    return of_shape(obj, shape_of(node))


def of_shape(value: Any, shape: Shape) -> FieldSet:
    """`of`, below a place of this shape."""
    out: FieldSet = {}
    kind = shape.kind
    if kind == "struct" or kind == "map":
        if not isinstance(value, dict):
            return out
        for name, child in value.items():
            key, below = shape.field(name) if kind == "struct" else (field_key(name), shape.element)
            if (
                below.kind == "leaf"
                or child is None
                or not isinstance(child, (dict, list))
                or child == {}
                or (isinstance(child, list) and below.kind in ("struct", "map"))
            ):
                out[key] = EMPTY
            elif node := of_shape(child, below):
                out[key] = node
    elif kind in ("list-map", "list-set") and isinstance(value, list):
        for key, item in keyed(value, shape).items():
            if item is DUPLICATED or kind == "list-set":
                out[key] = EMPTY
            else:
                out[key] = {_DOT: EMPTY, **of_shape(item, shape.element)}
                if len(out[key]) == 1:
                    out[key] = EMPTY
    return out


# Stands for the items of a list map that share a key: they are owned together, as one leaf.
DUPLICATED: Any = object()


def keyed(items: list[Any], shape: Shape) -> dict[str, Any]:
    """The items of a list by their path elements; duplicates become `DUPLICATED`, items without keys are left out."""
    out: dict[str, Any] = {}
    for item in items:
        try:
            key = shape.item_key(item)
        except KeyMissingError:
            continue
        out[key] = DUPLICATED if key in out else item
    return out


def added(value: Any, shape: Shape) -> FieldSet:
    """The fields of a value that was not there before: `of`, and with it every map and list on the way.

    This is the walk that every create pays for.
    """
    kind = shape.kind
    if not value or kind == "leaf":
        return EMPTY
    if value.__class__ is dict:
        out: FieldSet = {_DOT: EMPTY}
        if kind == "struct":
            known, field = shape.known, shape.field
            for name, child in value.items():
                if child is not None:
                    key, below = known.get(name) or field(name)
                    of_class = child.__class__
                    out[key] = added(child, below) if of_class is dict or of_class is list else EMPTY
            return out
        if kind == "map":
            below = shape.element
            for name, child in value.items():
                if child is not None:
                    of_class = child.__class__
                    out["f:" + name] = added(child, below) if of_class is dict or of_class is list else EMPTY
            return out
        return EMPTY
    if kind == "list-map" and isinstance(value, list):
        out = {_DOT: EMPTY}
        element, item_key = shape.element, shape.item_key
        for item in value:
            try:
                key = item_key(item)
            except KeyMissingError:
                continue
            out[key] = EMPTY if key in out else added(item, element)
        return out
    if kind == "list-set" and isinstance(value, list):
        out = {_DOT: EMPTY}
        for key in keyed(value, shape):
            out[key] = EMPTY
        return out
    return EMPTY
