"""Objects as CEL rules see them: their decoded JSON, but for what CEL has types of its own for.

Numbers that are whole are doubles where the schema says so, texts can be times, durations or bytes, and lists can be sets or maps, which are compared and
added as such. Only what a place's expressions reach is converted (`used`), and nothing is copied where nothing differs: of most schemas nothing does.
Upstream: apiserver/pkg/cel/common/valuesunstructured.go.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lakh.machinery import cel_names
from lakh.machinery.cel_ast import Ast, Expr
from lakh.machinery.cel_times import parse_duration, parse_timestamp
from lakh.machinery.cel_values import MapList, SetList

Raw = Mapping[str, Any]
Convert = Callable[[Any], Any]

# Fields that are used, by name, and what of them is; None: all there is.
Used = dict[str, Any]


def _bytes(text: str) -> Any:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return text


def _or_text(parse: Callable[[str], Any]) -> Convert:
    def convert(text: str) -> Any:
        found = parse(text)
        return text if found is None else found

    return convert


FORMATS: Mapping[str, Convert] = {
    "date-time": _or_text(lambda text: parse_timestamp(text, lenient=True)),
    "date": _or_text(lambda text: parse_timestamp(f"{text}T00:00:00Z")),
    "duration": _or_text(parse_duration),
    "byte": _bytes,
}


def used(asts: Iterable[Ast], names: Iterable[str]) -> Used | None:
    """What expressions take of the variables `names`, which are of one schema."""
    found: Used = {}
    for ast in asts:
        for name in names:
            if not _collect(ast.root, name, found):
                return None
    return found


def _collect(e: Expr, name: str, found: Used) -> bool:
    """Whether a place takes only fields of a variable."""
    path = _path(e, name)
    if path is not None:
        return bool(path) and _add(found, path, present_only=e.test_only)
    below = [*e.args, *([e.operand] if e.operand is not None else [])]
    if e.loop is not None:
        loop = e.loop
        below += [loop.range, loop.accu_init, loop.condition, loop.step, loop.result]
    only = True
    for x in below:
        only &= _collect(x, name, found)
    return only


def _path(e: Expr, name: str) -> list[str] | None:
    if e.kind == "ident":
        return [] if e.name == name else None
    if e.kind == "select" and e.operand is not None:
        above = _path(e.operand, name)
        return None if above is None else [*above, cel_names.unescape(e.name)]
    return None


def _add(found: Used, path: list[str], *, present_only: bool) -> bool:
    at: Any = found
    for step in path[:-1]:
        if at.get(step, _ABSENT) is None:
            return True
        at = at.setdefault(step, {})
    if not present_only:
        at[path[-1]] = None
    return True


_ABSENT: Any = object()


def converter(raw: Raw, reached: Used | None = None) -> Convert | None:
    """Makes of plain JSON what CEL sees; None when it is the same."""
    if raw.get("x-kubernetes-int-or-string"):
        return None
    match raw.get("type"):
        case "number":
            return lambda value: float(value) if type(value) is int else value
        case "string":
            of_text = FORMATS.get(raw.get("format") or "")
            if of_text is None:
                return None
            return lambda value: of_text(value) if isinstance(value, str) else value
        case "array":
            return _of_list(raw)
        case "object":
            return _of_object(raw, reached)
    return None


def _of_list(raw: Raw) -> Convert | None:
    item = converter(raw.get("items") or {})
    match raw.get("x-kubernetes-list-type"):
        case "set":
            make: Callable[[Any], Any] | None = SetList
        case "map":
            keys = tuple(raw.get("x-kubernetes-list-map-keys") or ())

            def make(items: Any) -> MapList:
                found = MapList(items)
                found.keys = keys
                return found
        case _:
            make = None
    if item is None and make is None:
        return None

    def convert(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        items = value if item is None else [item(v) for v in value]
        return items if make is None else make(items)

    return convert


def _of_object(raw: Raw, reached: Used | None) -> Convert | None:
    additional = raw.get("additionalProperties")
    if isinstance(additional, Mapping):
        of_value = converter(additional)
        if of_value is None:
            return None
        return lambda value: {k: of_value(v) for k, v in value.items()} if isinstance(value, dict) else value
    below: dict[str, Convert] = {}
    for name, sub in (raw.get("properties") or {}).items():
        if reached is not None and name not in reached:
            continue
        convert = converter(sub, reached[name] if reached is not None else None)
        if convert is not None:
            below[name] = convert
    if not below:
        return None
    pairs = tuple(below.items())

    def of_object(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        found = value
        for name, convert in pairs:
            child = value.get(name)
            if child is not None:
                if found is value:
                    found = dict(value)
                found[name] = convert(child)
        return found

    return of_object
