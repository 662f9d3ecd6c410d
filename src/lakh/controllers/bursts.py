"""Many requests at once, started slowly.

`slow_start` makes one call, then 2, 4, 8, 16 at a time, then all others, and stops at the first failure: a quota that refuses every pod costs a
few requests, not thousands, while the next 500 go side by side. `all_of` is for calls that should all be tried.

Both keep at most `MAX_IN_FLIGHT` calls under way: enough that the client always has one to send, and few enough that the requests of other
controllers, which wait in the same line, need not wait long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

MAX_IN_FLIGHT = 32
"""Calls of one burst under way at the same time."""


async def slow_start(
    items: Sequence[T], call: Callable[[T], Awaitable[object]], *, initial: int = 1
) -> tuple[int, BaseException | None]:
    """Call for each item in growing batches. Returns the number of successes and the first error.

    No call is begun once a batch, or beyond batches any call, has failed; the caller takes back what it expected of those items.
    """
    done = succeeded = 0
    batch = initial
    while done < len(items):
        slow = batch < MAX_IN_FLIGHT
        part = items[done : done + batch] if slow else items[done:]
        more, error = await _side_by_side(part, call, stop=not slow)
        succeeded += more
        if error is not None:
            return succeeded, error
        done += len(part)
        batch *= 2
    return succeeded, None


async def all_of(items: Sequence[T], call: Callable[[T], Awaitable[object]]) -> BaseException | None:
    """Call for each item, whatever becomes of the others. Returns the first error."""
    return (await _side_by_side(items, call, stop=False))[1]


async def _side_by_side(
    items: Sequence[T], call: Callable[[T], Awaitable[object]], *, stop: bool
) -> tuple[int, BaseException | None]:
    """Call for each item, as many at a time as may be; with `stop` until one fails. Returns the number of successes and the first error."""
    left = iter(items)
    succeeded = 0
    first: Exception | None = None

    async def work() -> None:
        nonlocal succeeded, first
        for item in left:
            try:
                await call(item)
            except Exception as error:
                first = first or error
            else:
                succeeded += 1
            if stop and first is not None:
                return

    workers = min(MAX_IN_FLIGHT, len(items))
    broken = _first_error(await asyncio.gather(*(work() for _ in range(workers)), return_exceptions=True))
    return succeeded, first or broken


def _first_error(results: Sequence[object]) -> BaseException | None:
    for result in results:
        if isinstance(result, asyncio.CancelledError):
            raise result
    return next((result for result in results if isinstance(result, BaseException)), None)
