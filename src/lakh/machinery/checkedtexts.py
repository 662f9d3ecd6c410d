"""Times and quantities of what a client sends: whether each is well formed, looked at while its object is decoded.

A `checks` Struct (`schema.Schema.checks`) has one of these types where the object has such a text, and is decoded with `look` as its hook. Pods of one
template and what happens in one second have the same texts, so those that are well formed are remembered: 0.2 µs a text instead of 1.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from lakh.machinery.quantity import QUANTITY_PATTERN
from lakh.machinery.times import MICRO_TIME_PATTERN, TIME_PATTERN

# Texts of a kind that are remembered, and how long they may be: some 100 KB.
KNOWN_MAX = 1024
MAX_LENGTH = 64


class CheckedText:
    """A text that was looked at; there is nothing in it."""

    __slots__ = ()


class Time(CheckedText):
    """metav1.Time."""

    __slots__ = ()


class MicroTime(CheckedText):
    """metav1.MicroTime; hardly one is there twice."""

    __slots__ = ()


class Quantity(CheckedText):
    """resource.Quantity: a text or a number."""

    __slots__ = ()


_looks = {
    Time: re.compile(TIME_PATTERN).search,
    MicroTime: re.compile(MICRO_TIME_PATTERN).search,
    Quantity: re.compile(QUANTITY_PATTERN).search,
}
_known: dict[Any, set[str]] = {Time: set(), MicroTime: set(), Quantity: set()}
_FINE = {kind: kind() for kind in _looks}
_NUMBERS = frozenset((int, float))


def look(kind: Any, value: Any) -> Any:
    """The hook of msgspec's decoders and `convert`; raises `msgspec.ValidationError`, which says nothing: who wants words looks again."""
    if value.__class__ is str:
        known = _known[kind]
        if value in known:
            return _FINE[kind]
        if _looks[kind](value):
            if kind is not MicroTime and len(value) <= MAX_LENGTH:
                if len(known) >= KNOWN_MAX:
                    known.clear()
                known.add(value)
            return _FINE[kind]
    elif kind is Quantity and value.__class__ in _NUMBERS:
        return _FINE[kind]
    raise msgspec.ValidationError
