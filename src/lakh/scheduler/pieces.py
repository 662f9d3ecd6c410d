"""Work in pieces: generators that yield where their caller may do something else, and return a result."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TypeVar

__all__ = ["Pieces", "finish", "in_pieces"]

PIECE_ITEMS = 32
"""Members of a gang between two yields: 0.1 to 0.2 ms, with devices some milliseconds."""

T = TypeVar("T")
Pieces = Generator[None, None, T]


def finish(pieces: Pieces[T]) -> T:
    """Do all of it in one stretch."""
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            found: T = end.value
            return found


def in_pieces(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """The items, some at a time: between which one may yield."""
    for start in range(0, len(items), PIECE_ITEMS):
        yield items[start : start + PIECE_ITEMS]
