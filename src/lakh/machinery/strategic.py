"""Strategic merge patch: a merge patch that knows the schema.

Lists with a merge key merge item by item, lists of scalars with the `merge` strategy as sets, all others are replaced. Directives in the patch
say more:

| directive | where | effect |
| --- | --- | --- |
| `$patch: replace` | map, or an item of a merging list | the map (the list) is replaced by the patch's |
| `$patch: delete` | map, or an item of a merging list | the map is emptied, the item with this merge key removed |
| `$retainKeys: [a, b]` | map | fields not named are removed |
| `$setElementOrder/list: […]` | beside a merging list | the order of the items, by merge key or value |
| `$deleteFromPrimitiveList/list: […]` | beside a merging list of scalars | values to remove |

The items of a patch come in the patch's order; items that only the original has keep their places relative to them. Where the schema knows
nothing (free-form JSON), maps merge and lists are replaced. Neither input is mutated; the result shares what the patch leaves alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lakh.machinery.dynamic import JSON, equal
from lakh.machinery.errors import StatusError, bad_request, show_go
from lakh.machinery.jsonpatch import PatchError
from lakh.machinery.schema import Node

PATCH = "$patch"
RETAIN_KEYS = "$retainKeys"
SET_ORDER = "$setElementOrder/"
DELETE_FROM = "$deleteFromPrimitiveList/"

JSONObject = dict[str, Any]
_SCALARS = frozenset((str, int, bool, float))


def apply(original: JSONObject, patch: JSON, node: Node | None) -> JSONObject:
    """The original with the patch applied.

    `node` is the object's schema; None (unknown) merges maps and replaces lists. Raises a 400 for a malformed patch or directive and `PatchError` (422) for
    directives that do not fit the lists.
    """
    if not isinstance(patch, dict):
        raise bad_request("a strategic merge patch is an object")
    try:
        return _merge_map(original, patch, node)
    except RecursionError:
        raise bad_request("the patch is nested too deeply") from None


def _child(node: Node | None, field: str) -> Node | None:
    if node is None:
        return None
    if node.type == "struct":
        return node.field(field)
    return node.element if node.type == "map" else None


def _merge_map(original: JSONObject, patch: Mapping[str, Any], node: Node | None) -> JSONObject:
    for key in patch:
        if key.startswith("$"):
            return _merge_directed(original, patch, node)
    # What hardly a patch of a controller or kubelet lacks: names and values.
    merged = dict(original)
    for key, value in patch.items():
        if value.__class__ in _SCALARS:
            merged[key] = value
        elif value is None or (_directs(value) and not isinstance(merged.get(key), dict)):
            # A directive that meets no map goes with all that is beside it.
            merged.pop(key, None)
        else:
            merged[key] = _merge_value(merged.get(key), value, _child(node, key))
    return merged


def _merge_directed(original: JSONObject, patch: Mapping[str, Any], node: Node | None) -> JSONObject:
    """`_merge_map` of a patch with directives."""
    directive = patch.get(PATCH)
    if directive == "replace":
        return {k: v for k, v in patch.items() if k != PATCH}
    if directive == "delete":
        return {}
    if PATCH in patch:
        raise _unknown_directive(patch)
    merged = dict(original)
    if RETAIN_KEYS in patch:
        _retain(merged, patch)
    handled = set()
    for key, order in patch.items():
        if key.startswith(SET_ORDER):
            field = key[len(SET_ORDER) :]
            handled.add(field)
            _merge_ordered(merged, patch, field, order, _child(node, field))
    for key, value in patch.items():
        if key in handled or key == RETAIN_KEYS or key.startswith(SET_ORDER):
            continue
        if key.startswith(DELETE_FROM):
            field = key[len(DELETE_FROM) :]
            if field not in handled and isinstance(merged.get(field), list):
                merged[field] = _without(merged[field], value)
        elif value is None or (_directs(value) and not isinstance(merged.get(key), dict)):
            merged.pop(key, None)
        else:
            merged[key] = _merge_value(merged.get(key), value, _child(node, key))
    return merged


def _directs(value: JSON) -> bool:
    return isinstance(value, dict) and PATCH in value


def _unknown_directive(patch: Mapping[str, Any]) -> StatusError:
    return bad_request(f"unknown patch type: {patch[PATCH]} in map: {show_go(patch)}")


def _retain(merged: JSONObject, patch: Mapping[str, Any]) -> None:
    keep = patch[RETAIN_KEYS]
    if not isinstance(keep, list):
        raise bad_request("invalid patch format of retainKeys")
    kept = {key for key in keep if isinstance(key, str)}
    for key, value in patch.items():
        directive = key == RETAIN_KEYS or key.startswith((DELETE_FROM, SET_ORDER))
        if value is not None and not directive and key not in kept:
            raise bad_request("invalid patch format of retainKeys")
    for key in merged.keys() - kept:
        del merged[key]


def _merge_value(original: JSON, patch: JSON, node: Node | None) -> JSON:
    if isinstance(original, dict) and isinstance(patch, dict):
        if node is not None and "replace" in node.patch_strategy:
            return _plain(patch)
        return _merge_map(original, patch, node)
    if isinstance(original, list) and isinstance(patch, list) and _merges(node):
        assert node is not None
        return _merge_list(original, patch, node)
    return _plain(patch)


def _merges(node: Node | None) -> bool:
    return node is not None and node.type == "list" and "merge" in node.patch_strategy


def _plain(value: JSON) -> JSON:
    """A value of the patch that meets nothing in the original: without directives and nulls."""
    if isinstance(value, dict):
        out: JSONObject = {}
        for name, child in value.items():
            if child.__class__ not in _SCALARS:
                if child is None or _directs(child):
                    continue
                if isinstance(child, (dict, list)):
                    child = _plain(child)
            if not name.startswith("$") or not (
                name in (PATCH, RETAIN_KEYS) or name.startswith((SET_ORDER, DELETE_FROM))
            ):
                out[name] = child
        return out
    if isinstance(value, list):
        return [_plain(v) if isinstance(v, (dict, list)) else v for v in value if not _directs(v)]
    return value


def _merge_list(original: list[Any], patch: list[Any], node: Node) -> list[Any]:
    """A list with the merge strategy: by merge key if its items are maps, as a set if they are scalars."""
    key = node.merge_key
    if key is not None and (merged := _merge_keyed(original, patch, key, node)) is not None:
        return merged
    kinds = {isinstance(item, dict) for item in (*original, *patch)}
    if any(isinstance(item, list) for item in (*original, *patch)):
        raise PatchError("lists of lists are not supported")
    if len(kinds) > 1:
        raise bad_request("list element types are not identical")
    if key is None or kinds == {False}:
        if kinds == {True}:
            raise bad_request("cannot merge lists without merge key")
        merged = _unique([*original, *patch])
        return _ordered(merged, patch, original, None)
    if any(item.get(PATCH) == "replace" for item in patch):
        return [_plain(item) for item in patch if PATCH not in item]
    updates = []
    deleted = set()
    for item in patch:
        directive = item.get(PATCH)
        if PATCH in item and directive != "delete":
            if directive == "merge":
                raise bad_request("merging lists cannot yet be specified in the patch")
            raise _unknown_directive(item)
        if key not in item:
            raise bad_request(f"map: {show_go(item)} does not contain declared merge key: {key}")
        if directive == "delete":
            deleted.add(_word(item, key))
        else:
            updates.append(item)
    merged = [item for item in original if key not in item or _word(item, key) not in deleted]
    places: dict[str, int] = {}
    for place, item in enumerate(merged):
        if key in item:
            places.setdefault(_word(item, key), place)
    for item in updates:
        word = _word(item, key)
        if word in places:
            merged[places[word]] = _merge_map(merged[places[word]], item, node.element)
        else:
            places[word] = len(merged)
            merged.append(_plain(item))
    return _ordered(merged, updates, original, key)


def _merge_keyed(original: list[Any], patch: list[Any], key: str, node: Node) -> list[Any] | None:
    """The usual case of `_merge_list`: maps, each with a merge key of its own that is a text, and no directives. None: it is another one."""
    server: dict[str, int] = {}
    for item in original:
        word = item.get(key) if item.__class__ is dict else None
        if word.__class__ is not str or word in server:
            return None
        server[word] = len(server)
    wanted: dict[str, JSONObject] = {}
    for item in patch:
        word = item.get(key) if item.__class__ is dict and PATCH not in item else None
        if word.__class__ is not str or word in wanted:
            return None
        wanted[word] = item
    out: list[Any] = []
    at = 0
    for word, item in wanted.items():
        place = server.get(word)
        if place is None:
            out.append(_plain(item))
            continue
        if at < place:
            out += [other for other in original[at:place] if other[key] not in wanted]
            at = place
        out.append(_merge_map(original[place], item, node.element))
    out += [other for other in original[at:] if other[key] not in wanted]
    return out


def _merge_ordered(
    merged: JSONObject, patch: Mapping[str, Any], field: str, order: JSON, node: Node | None
) -> None:
    """A list whose order the patch gives: merged first, then ordered."""
    if not isinstance(order, list) or not all(isinstance(o, (dict, str, int, float)) for o in order):
        raise bad_request("invalid patch format of setElementOrder list")
    original, changes = merged.get(field), patch.get(field)
    key = node.merge_key if node is not None else None
    if changes is not None:
        if not isinstance(changes, list):
            raise bad_request("invalid patch format of setElementOrder list")
        _check_order(changes, order, key)
    if not isinstance(original, list):
        if isinstance(changes, list):
            items = _plain(changes)
        else:
            return
    else:
        items = list(original)
        if (DELETE_FROM + field) in patch:
            items = _without(items, patch[DELETE_FROM + field])
        if isinstance(changes, list):
            items = _merge_value(items, changes, node)
    if key is not None and not all(
        isinstance(item, dict) and key in item for item in (*items, *order, *(original or ()))
    ):
        raise bad_request(f"map does not contain declared merge key: {key}")
    merged[field] = _ordered(items, order, original if isinstance(original, list) else [], key)


def _check_order(changes: list[Any], order: list[Any], key: str | None) -> None:
    """The patch's items must come in the order that the patch gives, if it gives one."""
    if not order:
        return
    position = 0
    for item in changes:
        if isinstance(item, dict) and PATCH in item:
            continue
        while position < len(order) and not _same(order[position], item, key):
            position += 1
        if position == len(order):
            raise PatchError(
                f"The order in patch list:\n{show_go(changes)}\n doesn't match $setElementOrder list:\n{show_go(order)}\n"
            )
        position += 1


def _same(a: JSON, b: JSON, key: str | None) -> bool:
    if key is None:
        return equal(a, b)
    return isinstance(a, dict) and isinstance(b, dict) and key in a and key in b and equal(a[key], b[key])


def _word(item: JSON, key: str | None) -> str:
    """What identifies an item, hashable: types are told apart, so that 1 is not true."""
    value = item[key] if key is not None else item
    return f"{type(value).__name__}:{value}"


def _ordered(items: list[Any], order: list[Any], server_order: list[Any], key: str | None) -> list[Any]:
    """The items with those of `order` in its order and the others, in the server's, put between them by where the server had them."""
    wanted: dict[str, int] = {}
    for item in order:
        wanted.setdefault(_word(item, key), len(wanted))
    server: dict[str, int] = {}
    for item in server_order:
        if key is None or (isinstance(item, dict) and key in item):
            server.setdefault(_word(item, key), len(server))
    words = [(_word(item, key), item) for item in items if key is None or key in item]
    last = len(server)
    left = sorted((w for w in words if w[0] not in wanted), key=lambda w: server.get(w[0], last))
    right = sorted((w for w in words if w[0] in wanted), key=lambda w: wanted[w[0]])
    out: list[Any] = []
    i = j = 0
    while i < len(left) and j < len(right):
        a, b = server.get(left[i][0]), server.get(right[j][0])
        if a is not None and b is not None and a < b:
            out.append(left[i][1])
            i += 1
        else:
            out.append(right[j][1])
            j += 1
    out += [item for _, item in left[i:]]
    out += [item for _, item in right[j:]]
    return out


def _unique(items: list[Any]) -> list[Any]:
    seen: dict[str, Any] = {}
    for item in items:
        seen.setdefault(_word(item, None), item)
    return list(seen.values())


def _without(items: list[Any], values: JSON) -> list[Any]:
    if not isinstance(values, list):
        raise bad_request("invalid patch format of primitive list")
    words = {_word(value, None) for value in values}
    return [item for item in items if _word(item, None) not in words]
