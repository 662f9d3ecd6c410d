"""Many requests at once, started slowly.

`slow_start` makes one call, then 2, 4, 8 … at a time, and stops at the first batch in which a call failed: a quota that refuses every pod costs a
few requests, not thousands, while 512 creates need ten rounds. `all_of` is for calls that should all be tried.
Both keep at most `MAX_IN_FLIGHT` calls under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

MAX_IN_FLIGHT = 256
"""Calls of one burst under way at the same time."""


async def slow_start(
    items: Sequence[T], call: Callable[[T], Awaitable[object]], *, initial: int = 1
) -> tuple[int, BaseException | None]:
    """Call for each item in growing batches. Returns the number of successes and the first error.

    `call` of the items after the failing batch is not made; the caller takes back what it expected of them.
    """
    done = 0
    succeeded = 0
    batch = min(initial, len(items))
    while batch > 0:
        results = await asyncio.gather(*map(call, items[done : done + batch]), return_exceptions=True)
        error = _first_error(results)
        succeeded += sum(1 for result in results if not isinstance(result, BaseException))
        done += batch
        if error is not None:
            return succeeded, error
        batch = min(batch * 2, len(items) - done, MAX_IN_FLIGHT)
    return succeeded, None


async def all_of(items: Sequence[T], call: Callable[[T], Awaitable[object]]) -> BaseException | None:
    """Call for each item, whatever becomes of the others. Returns the first error."""
    first: BaseException | None = None
    for start in range(0, len(items), MAX_IN_FLIGHT):
        results = await asyncio.gather(
            *map(call, items[start : start + MAX_IN_FLIGHT]), return_exceptions=True
        )
        first = first or _first_error(results)
    return first


def _first_error(results: Sequence[object]) -> BaseException | None:
    for result in results:
        if isinstance(result, asyncio.CancelledError):
            raise result
    return next((result for result in results if isinstance(result, BaseException)), None)
