"""Texts that Go's types decode themselves: quantities, times and bytes.

`Schema.checks` finds out at C speed that all of an object are well formed and as they are written back. What is here looks at those of the rare
object where they are not: it makes them so, or says what is wrong as the type's own decoder does. That decoder's error ends decoding, so it goes
before whatever else does not fit. Nulls and values of other kinds are left to `unknown`.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from lakh.machinery import quantity, times
from lakh.machinery.schema import Node

# `bytes` are taken with line ends in them.
_line_ends = re.compile(r"[\r\n]")


class LiteralError(ValueError):
    """A text does not decode. The message is upstream's."""


def settle(value: Any, node: Node) -> Any:
    """The value with each text as it is written back; raises `LiteralError`. Unchanged parts are shared."""
    match node.type:
        case "struct" if isinstance(value, dict):
            out = value
            for name, child in value.items():
                below = node.field(name)
                if below is None or child is None:
                    continue
                settled = settle(child, below)
                if settled is not child:
                    if out is value:
                        out = dict(value)
                    out[name] = settled
            return out
        case "map" if isinstance(value, dict):
            element = node.element
            return {name: child if child is None else settle(child, element) for name, child in value.items()}
        case "list" if isinstance(value, list):
            element = node.element
            return [child if child is None else settle(child, element) for child in value]
        case "quantity":
            return _quantity(value)
        case "string" if isinstance(value, str) and node.format == "date-time":
            return _time(value, micro=(node.definition or "").endswith(".MicroTime"))
        case "string" if isinstance(value, str) and node.format == "byte":
            return _bytes(value)
    return value


def _quantity(value: Any) -> Any:
    if isinstance(value, str):
        value = value.strip()
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise LiteralError(quantity.WRONG_FORMAT)
    try:
        quantity.parse_nano(value)
    except quantity.QuantityError as e:
        raise LiteralError(str(e)) from None
    return value


def _time(text: str, micro: bool) -> str | None:
    try:
        settled = times.decode(text, micro)
        return text if settled == text else settled
    except times.TimeError as e:
        raise LiteralError(str(e)) from None


def _bytes(text: str) -> str:
    try:
        # Unlike Python's own strict decoder it refuses padding after a whole group.
        msgspec.convert(text, bytes)
        return text
    except msgspec.ValidationError:
        offset = _corrupt_at(text)
        if offset is not None:
            raise LiteralError(f"illegal base64 data at input byte {offset}") from None
    return _line_ends.sub("", text)


_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def _corrupt_at(text: str) -> int | None:
    """Where Go's decoder gives up, in bytes; None where it does not."""
    data = text.encode("utf-8", "replace").decode("latin-1")
    size, at, digits = len(data), 0, 0
    while at < size:
        char = data[at]
        at += 1
        if char in _BASE64:
            digits = (digits + 1) % 4
        elif char == "=":
            if digits < 2:
                return at - 1
            if digits == 2:
                while at < size and data[at] in "\r\n":
                    at += 1
                if at == size:
                    return size
                if data[at] != "=":
                    return at - 1
                at += 1
            while at < size and data[at] in "\r\n":
                at += 1
            return at if at < size else None
        elif char not in "\r\n":
            return at - 1
    return at - digits if digits else None
