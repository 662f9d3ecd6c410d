"""The simple JSONPath of printer columns and selectable fields, compiled to a function.

Names (`.spec.replicas`, `['a.b/c']`, `.a\\.b`), indexes (`[0]`, `[-1]`), wildcards (`[*]`, `.*`) and filters of one comparison
(`[?(@.type=="Ready")]`). The result is the first match, which is all that a column shows.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from lakh.machinery.shortcache import short_cache

CACHE_ENTRIES = 4096

Step = Callable[[Any], Iterable[Any]]

_step = re.compile(
    r"""
    \.(?P<name>(?:\\.|[^.\[\]\\])+)
    | \[\s*(?P<quote>['"])(?P<quoted>(?:\\.|(?!(?P=quote)).)*)(?P=quote)\s*\]
    | \[\s*(?P<index>-?\d+)\s*\]
    | (?P<any>\[\s*\*\s*\])
    | \[\s*(?P<from>-?\d*)\s*:\s*(?P<to>-?\d*)\s*\]
    | \[\?\(\s*@(?P<path>(?:\.(?:\\.|[^.\[\]\\=<>!\s])+|\[[^\]]*\])*)\s*(?:(?P<operator>==|!=|<=|>=|<|>)\s*(?P<value>"[^"]*"|'[^']*'|[^)]*?))?\s*\)\]
    """,
    re.VERBOSE,
).match
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@short_cache(CACHE_ENTRIES)
def compiled(path: str) -> Callable[[Any], Any]:
    """The first match of a path in an object, or None; raises ValueError for a path that is none."""
    steps = tuple(_steps(path))

    def first(obj: Any) -> Any:
        return next(_follow(obj, steps), None)

    return first


def _follow(value: Any, steps: tuple[Step, ...]) -> Iterator[Any]:
    if not steps:
        yield value
        return
    for child in steps[0](value):
        yield from _follow(child, steps[1:])


def _steps(path: str) -> Iterator[Step]:
    text = path.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    text = text.removeprefix("$")
    if text == ".":
        return
    position = 0
    while position < len(text):
        found = _step(text, position)
        if found is None:
            raise ValueError(f"unrecognized column definition {msgspec.json.encode(path).decode()}")
        position = found.end()
        yield _make(found)


def _make(found: re.Match[str]) -> Step:
    name = found.group("name") if found.group("name") is not None else found.group("quoted")
    if name is not None:
        if found.group("name") == "*":
            return _all
        return _named(re.sub(r"\\(.)", r"\1", name))
    if found.group("index") is not None:
        return _indexed(int(found.group("index")))
    if found.group("any"):
        return _all
    if found.group("from") is not None:
        start, end = (int(t) if t else None for t in (found.group("from"), found.group("to")))
        return lambda value: value[start:end] if isinstance(value, list) else ()
    return _filtered(found.group("path"), found.group("operator"), found.group("value"))


def _named(name: str) -> Step:
    return lambda value: (value[name],) if isinstance(value, dict) and name in value else ()


def _indexed(index: int) -> Step:
    return lambda value: value[index : index + 1 or None] if isinstance(value, list) else ()


def _all(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _filtered(path: str, symbol: str | None, text: str | None) -> Step:
    steps = tuple(_steps(path))
    wanted: Any = None
    if text is not None:
        if text[:1] in ('"', "'"):
            wanted = text[1:-1]
        else:
            try:
                wanted = msgspec.json.decode(text)
            except msgspec.DecodeError:
                raise ValueError(f"unrecognized value {text}") from None
    compare = _COMPARE.get(symbol or "")

    def keep(value: Any) -> Iterator[Any]:
        for item in _all(value):
            got = next(_follow(item, steps), None)
            if compare is None:
                if got is not None:
                    yield item
                continue
            try:
                matched = got is not None and compare(got, wanted)
            except TypeError:
                matched = False
            if matched:
                yield item

    return keep
