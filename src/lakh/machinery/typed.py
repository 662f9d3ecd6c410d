"""Comparing, merging and cutting objects by their schema: what field ownership is computed from (structured-merge-diff).

All functions take plain JSON and a `Shape` and are pure; results share unchanged parts with the arguments. `compare` returns early where Python's
own comparison finds two parts equal, so an update costs what it changes plus the look at the top levels.
"""

from __future__ import annotations

from typing import Any

from lakh.machinery.errors import show
from lakh.machinery.fieldset import (
    DUPLICATED,
    EMPTY,
    FieldSet,
    added,
    element_text,
    is_member,
    keyed,
)
from lakh.machinery.shapes import KeyMissingError, Shape, field_key

_GONE: Any = object()


def compare(old: Any, new: Any, shape: Shape) -> tuple[FieldSet, FieldSet]:
    """What is added or modified, and what is removed, between two values that are both there.

    Each is a set of the paths below; `{}` means nothing.
    """
    changed: FieldSet = {}
    removed: FieldSet = {}
    _compare(old, new, shape, changed, removed)
    return changed, removed


def _compare(old: Any, new: Any, shape: Shape, changed: FieldSet, removed: FieldSet) -> None:
    kind = shape.kind
    if kind == "struct" or kind == "map":
        before: dict[str, Any] = old if isinstance(old, dict) else {}
        after: dict[str, Any] = new if isinstance(new, dict) else {}
        known = shape.known if kind == "struct" else None
        for name, value in after.items():
            if value is None:
                continue
            previous = before.get(name)
            if previous is value or (
                previous is not None and previous == value and previous.__class__ is value.__class__
            ):
                continue
            if known is not None:
                key, below = known.get(name) or shape.field(name)
            else:
                key, below = field_key(name), shape.element
            if below.kind == "leaf":
                changed[key] = EMPTY
            elif previous is None:
                changed[key] = added(value, below)
            else:
                _step(key, previous, value, below, changed, removed)
        for name, value in before.items():
            if value is not None and after.get(name) is None:
                key, below = shape.field(name) if kind == "struct" else (field_key(name), shape.element)
                removed[key] = added(value, below)
        return
    if kind == "list-map" and len(shape.keys) == 1:
        of_old, of_new = _by_text(old, shape.keys[0]), _by_text(new, shape.keys[0])
        if of_old is not None and of_new is not None:
            element = shape.element
            for text, item in of_new.items():
                previous = of_old.get(text)
                if previous is None:
                    changed[shape.text_key(text)] = added(item, element)
                elif previous != item:
                    _step(shape.text_key(text), previous, item, element, changed, removed)
            for text, item in of_old.items():
                if text not in of_new:
                    removed[shape.text_key(text)] = added(item, element)
            return
    old_items = keyed(old if isinstance(old, list) else [], shape)
    new_items = keyed(new if isinstance(new, list) else [], shape)
    for key, item in new_items.items():
        previous = old_items.get(key, _GONE)
        if previous is _GONE:
            changed[key] = EMPTY if item is DUPLICATED else added(item, shape.element)
        elif item is DUPLICATED or previous is DUPLICATED:
            if item is not previous or _of_key(old, key, shape) != _of_key(new, key, shape):
                changed[key] = EMPTY
        elif previous != item:
            _step(key, previous, item, shape.element, changed, removed)
    for key, item in old_items.items():
        if key not in new_items:
            removed[key] = EMPTY if item is DUPLICATED else added(item, shape.element)


def _by_text(items: Any, key: str) -> dict[str, Any] | None:
    """The items of a list by a field, where all are maps and have a text of their own there: most lists. None: it is another one."""
    if items.__class__ is not list:
        return None
    out: dict[str, Any] = {}
    for item in items:
        text = item.get(key) if item.__class__ is dict else None
        if text.__class__ is not str:
            return None
        out[text] = item
    return out if len(out) == len(items) else None


def _of_key(items: list[Any], key: str, shape: Shape) -> list[Any]:
    """The items of a list that share a key."""
    return [item for item in items if _key_or_none(item, shape) == key]


def _step(key: str, old: Any, new: Any, shape: Shape, changed: FieldSet, removed: FieldSet) -> None:
    if shape.kind == "leaf" or not has_parts(old, new, shape):
        changed[key] = EMPTY
        return
    below_changed: FieldSet = {}
    below_removed: FieldSet = {}
    _compare(old, new, shape, below_changed, below_removed)
    if below_changed:
        changed[key] = below_changed
    if below_removed:
        removed[key] = below_removed


def has_parts(old: Any, new: Any, shape: Shape) -> bool:
    """Whether two values of this shape are compared part by part."""
    wanted = dict if shape.kind in ("struct", "map") else list
    return isinstance(old, wanted) and isinstance(new, wanted) and bool(old or new)


def merge(live: Any, applied: Any, shape: Shape) -> Any:
    """The live value with the applied one laid over it: parts merge, leaves are replaced."""
    kind = shape.kind
    if kind == "leaf" or live is None:
        return applied
    if kind == "struct" or kind == "map":
        if not isinstance(live, dict) or not isinstance(applied, dict):
            return live if applied is None else applied
        out = dict(live)
        for name, value in applied.items():
            if name in live:
                below = shape.field(name)[1] if kind == "struct" else shape.element
                out[name] = merge(live[name], value, below)
            else:
                out[name] = value
        return out
    if not isinstance(live, list) or not isinstance(applied, list):
        return live if applied is None else applied
    return _merge_lists(live, applied, shape)


def _merge_lists(live: list[Any], applied: list[Any], shape: Shape) -> list[Any]:
    """The items of both lists, those of the applied one in its order.

    Items that only the live list has keep their place before the shared item that follows them.
    """
    live_keys = [_key_or_none(item, shape) for item in live]
    live_items = keyed(live, shape)
    applied_items = keyed(applied, shape)
    applied_keys = list(applied_items)
    shared = [key for key in applied_keys if key in live_items]
    shared_at = 0
    out: list[Any] = []
    merged: set[str] = set()
    i = j = 0

    def take(key: str) -> None:
        previous = live_items.get(key)
        item = applied_items[key]
        out.append(
            item if previous is None or previous is DUPLICATED else merge(previous, item, shape.element)
        )
        merged.add(key)

    while i < len(live) or j < len(applied_keys):
        if i < len(live):
            key = live_keys[i]
            if key is None or key not in applied_items:
                out.append(live[i])
                i += 1
                continue
            if key in merged:
                i += 1
                continue
            if j < len(applied_keys) and key == applied_keys[j]:
                take(key)
                i, j, shared_at = i + 1, j + 1, shared_at + 1
                continue
            if shared_at < len(shared) and shared[shared_at] != key:
                # Shared, but not the one whose turn it is.
                i += 1
                continue
        if j < len(applied_keys):
            key = applied_keys[j]
            take(key)
            j += 1
            if shared_at < len(shared) and shared[shared_at] == key:
                shared_at += 1
    return out


def _key_or_none(item: Any, shape: Shape) -> str | None:
    try:
        return shape.item_key(item)
    except KeyMissingError:
        return None


def remove(value: Any, gone: FieldSet, shape: Shape) -> Any:
    """The value without the members of a set; None when nothing is left of it."""
    if not gone:
        return value
    kind = shape.kind
    if kind == "leaf":
        return value
    if kind == "struct" or kind == "map":
        if not isinstance(value, dict) or not value:
            return value
        out: dict[str, Any] = {}
        for name, child in value.items():
            key, below = shape.field(name) if kind == "struct" else (field_key(name), shape.element)
            node = gone.get(key)
            if node is None:
                out[name] = child
            elif not is_member(node):
                child = remove(child, node, below)
                if child is not None:
                    out[name] = child
        return out or None
    if not isinstance(value, list) or not value:
        return value
    kept: list[Any] = []
    for item in value:
        item_key = _key_or_none(item, shape)
        node = gone.get(item_key) if item_key is not None else None
        if node is None:
            kept.append(item)
        elif not is_member(node):
            item = remove(item, node, shape.element)
            if item is not None:
                kept.append(item)
    return kept or None


def with_named_fields(a: FieldSet, shape: Shape) -> FieldSet:
    """The set with each declared field that leads to a member made a member itself."""
    out: FieldSet = {}
    for key, node in a.items():
        if key == "." or not node:
            out[key] = node
            continue
        below = with_named_fields(node, shape.child(key))
        if key.startswith("f:") and shape.declares(key[2:]) and "." not in below:
            below = {".": EMPTY, **below}
        out[key] = below
    return out


def problems(value: Any, shape: Shape, path: str = "") -> list[str]:
    """What keeps an applied configuration from being merged: undeclared fields, wrong types, duplicate and missing keys.

    In upstream's words, such as `.spec.containers: duplicate entries for key [name="c"]`.
    """
    found: list[str] = []
    _problems(value, shape, path, found)
    return found


_SCALARS: dict[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), "string"),
    "integer": ((int, float), "numeric (int or float)"),
    "number": ((int, float), "numeric (int or float)"),
    "boolean": ((bool,), "boolean"),
}


def _problems(value: Any, shape: Shape, path: str, found: list[str]) -> None:
    if value is None:
        return
    node = shape.node
    if node is None:
        return
    match node.type:
        case "struct" | "map":
            if not isinstance(value, dict):
                found.append(f"{path}: expected map, got {_go(value)}")
                return
            for name, child in value.items():
                if node.type == "struct" and not node.open and node.field(name) is None:
                    found.append(f"{path}.{name}: field not declared in schema")
                else:
                    # Of what is owned as a whole the parts must be right all the same.
                    below = shape.field(name)[1] if node.type == "struct" else shape.element
                    _problems(child, below, f"{path}.{name}", found)
        case "list":
            if not isinstance(value, list):
                found.append(f"{path}: expected list, got {_go(value)}")
            elif shape.kind != "leaf":
                _list_problems(value, shape, path, found)
            else:
                for index, item in enumerate(value):
                    _problems(item, shape.element, f"{path}[{index}]", found)
        case "string" | "integer" | "number" | "boolean" as kind:
            types, name = _SCALARS[kind]
            if not isinstance(value, types) or (isinstance(value, bool) and kind != "boolean"):
                found.append(f"{path}: expected {name}, got {_go(value)}")


def _list_problems(value: list[Any], shape: Shape, path: str, found: list[str]) -> None:
    seen: set[str] = set()
    reported: set[str] = set()
    for index, item in enumerate(value):
        try:
            key = shape.item_key(item)
        except KeyMissingError as error:
            found.append(f"{path}: element {index}: {error}")
            continue
        if key in seen:
            if key not in reported:
                found.append(f"{path}: duplicate entries for key {element_text(key)}")
            reported.add(key)
            continue
        seen.add(key)
        if shape.kind == "list-map":
            _problems(item, shape.element, path + element_text(key), found)


def _go(value: Any) -> str:
    """A value as upstream's validation shows it."""
    if isinstance(value, dict):
        return "map"
    if isinstance(value, list):
        return "list"
    return f"&value.valueUnstructured{{Value:{show(value)}}}"
