"""Ranges of costs and sizes: the least and the most, in 64 bits that stick at the top (cel-go's `CostEstimate` and `SizeEstimate`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

TOP = 2**64 - 1

Range = tuple[int, int]

UNKNOWN: Range = (0, TOP)
ONE: Range = (1, 1)


def add(a: Range, b: Range) -> Range:
    """Both."""
    return min(a[0] + b[0], TOP), min(a[1] + b[1], TOP)


def multiply(a: Range, b: Range) -> Range:
    """One for each of the other."""
    return min(a[0] * b[0], TOP), min(a[1] * b[1], TOP)


def scaled(count: int, factor: float) -> int:
    """A number times a factor, rounded up."""
    return min(math.ceil(float(count) * factor), TOP)


def scale(a: Range, factor: float) -> Range:
    """A range times a factor, rounded up."""
    return scaled(a[0], factor), scaled(a[1], factor)


def union(a: Range, b: Range) -> Range:
    """One of two."""
    return min(a[0], b[0]), max(a[1], b[1])


def total(costs: Sequence[Range]) -> Range:
    """All."""
    found = (0, 0)
    for cost in costs:
        found = add(found, cost)
    return found
