"""A ring of things, each of which gets a turn once a period, spread evenly over it.

A turn is begun by a function that returns at once, and ends when it calls back: turns that fall due within one tick are begun in one go, a
timer a tick, and no task is made or woken for a turn. At most a fixed number of them are under way; then those that are due wait for one to
end, in order.

After a stall (all turns under way, the process stopped) turns that would be the second of the same thing within a period are not made up for. Where turns
take longer than the period allows, rounds take longer, for all alike: to pass some over would leave out the same one five times in a row now and then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

# Turns that fall due within one tick are taken together.
TICK_SECONDS = 0.005
# Turns begun before others get theirs: 2 ms.
BATCH = 64


class Ring(Generic[T]):
    """Calls `begin(thing, done)` for each of `things` every `period_seconds`; it must not raise, and calls `done` once when the turn is over.

    At most `at_once` turns are under way.
    """

    def __init__(
        self,
        things: Sequence[T],
        period_seconds: float,
        at_once: int,
        begin: Callable[[T, Callable[[], None]], None],
    ) -> None:
        self._things = things
        self._period_seconds = period_seconds
        self._at_once = at_once
        self._begin = begin
        self._position = 0
        self._began = 0.0
        self._under_way = 0
        self._place: asyncio.Future[None] | None = None
        self.stalls = 0
        """How often it was late by more than a period."""

    def __repr__(self) -> str:
        return f"<Ring of {len(self._things)} every {self._period_seconds:g} s, turn {self._position}>"

    async def run(self) -> None:
        """Works until it is cancelled. Turns under way are not waited for."""
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        count = len(self._things)
        if not count:
            await loop.create_future()
        while True:
            if self._under_way >= self._at_once:
                self._place = loop.create_future()
                await self._place
            due = self._began + (self._position + 1) * self._period_seconds / count
            wait = due - loop.time()
            if wait > 0:
                await asyncio.sleep(max(wait, TICK_SECONDS))
            elif wait < -self._period_seconds:
                self._began -= wait + self._period_seconds
                self.stalls += 1
            else:
                await asyncio.sleep(0)
            self._begin_due(loop.time())

    def _begin_due(self, now: float) -> None:
        """The turn that was waited for, and those that are due besides."""
        count = len(self._things)
        turns = int((now - self._began) * count / self._period_seconds) - self._position
        for _ in range(max(1, min(turns, BATCH, self._at_once - self._under_way))):
            thing = self._things[self._position % count]
            self._position += 1
            self._under_way += 1
            self._begin(thing, self._done)

    def _done(self) -> None:
        self._under_way -= 1
        if self._place is not None and not self._place.done():
            self._place.set_result(None)
