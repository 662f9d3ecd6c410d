"""Counts that may be given as percentages (`intstr.IntOrString`)."""

from __future__ import annotations

from lakh.machinery import gonumbers


def scaled(value: int | str | None, total: int, *, round_up: bool, default: int = 0) -> int:
    """The count that `value` means out of `total`. What is neither a number nor a percentage counts as 0."""
    if value is None:
        return default
    if isinstance(value, int):
        return value
    text = value.strip()
    if not text.endswith("%"):
        return int(text) if gonumbers.is_int(text) else 0
    digits = text[:-1]
    if not gonumbers.is_int(digits):
        return 0
    product = int(digits) * total
    return -(-product // 100) if round_up else product // 100


def fenceposts(surge: int | str | None, unavailable: int | str | None, wanted: int) -> tuple[int, int]:
    """`maxSurge` (rounded up) and `maxUnavailable` (rounded down); both zero would never move, so then one may be unavailable."""
    surge_count = scaled(surge, wanted, round_up=True)
    unavailable_count = scaled(unavailable, wanted, round_up=False)
    if surge_count == 0 and unavailable_count == 0:
        unavailable_count = 1
    return surge_count, unavailable_count
