"""Sets of completion indexes as text: `0,3-5,9`, the form of `completedIndexes`."""

from __future__ import annotations

from collections.abc import Collection

from lakh.machinery import gonumbers


def parse_indexes(text: str | None, completions: int) -> set[int]:
    """The indexes below `completions`; what cannot be read is left out."""
    found: set[int] = set()
    for part in (text or "").split(","):
        first, dash, last = part.partition("-")
        if not gonumbers.is_uint(first) or (dash and not gonumbers.is_uint(last)):
            continue
        start = int(first)
        stop = int(last) if dash else start
        found.update(range(start, min(stop, completions - 1) + 1))
    return found


def format_indexes(indexes: Collection[int]) -> str:
    """The shortest text for these indexes. Costs O(n log n)."""
    parts: list[str] = []
    start = last = -2
    for index in sorted(indexes):
        if index == last + 1:
            last = index
            continue
        if last >= 0:
            parts.append(_interval(start, last))
        start = last = index
    if last >= 0:
        parts.append(_interval(start, last))
    return ",".join(parts)


def _interval(start: int, last: int) -> str:
    if start == last:
        return str(start)
    # Two neighbours are shorter with a comma.
    return f"{start},{last}" if last == start + 1 else f"{start}-{last}"
