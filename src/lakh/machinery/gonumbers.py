"""Whole numbers in texts as Go's `strconv` reads them: ASCII digits, 64 bits. Python's `int` takes more (`1_0`, `²` is a digit), and raises on thousands."""

from __future__ import annotations

import re

_UINT_DIGITS_MAX = 20

_digits = re.compile(r"[0-9]+\Z").match
_signed = re.compile(r"[+-]?[0-9]+\Z").match


def is_uint(text: str) -> bool:
    """Whether a text is a number of 64 bits without a sign."""
    try:
        parse_uint(text)
    except ValueError:
        return False
    return True


def is_int(text: str) -> bool:
    """Whether a text is a number of 64 bits, with a sign or without."""
    try:
        parse_int(text)
    except ValueError:
        return False
    return True


def parse_uint(text: str) -> int:
    """A number without a sign; raises ValueError with Go's text."""
    if len(text) < _UINT_DIGITS_MAX and text.isascii() and text.isdigit():
        return int(text)  # as nearly all are: informers read one with each event
    if _digits(text) is None:
        raise ValueError(_why("ParseUint", text, "invalid syntax"))
    bare = text.lstrip("0")
    if len(bare) > _UINT_DIGITS_MAX or (number := int(bare or "0")) >= 2**64:
        raise ValueError(_why("ParseUint", text, "value out of range"))
    return number


def parse_int(text: str) -> int:
    """A number; raises ValueError with Go's text."""
    if _signed(text) is None:
        raise ValueError(_why("ParseInt", text, "invalid syntax"))
    bare = text.lstrip("+-").lstrip("0")
    number = int(bare or "0") if len(bare) <= _UINT_DIGITS_MAX else 2**64
    number = -number if text.startswith("-") else number
    if not -(2**63) <= number < 2**63:
        raise ValueError(_why("ParseInt", text, "value out of range"))
    return number


def _why(function: str, text: str, why: str) -> str:
    return f'strconv.{function}: parsing "{text}": {why}'
