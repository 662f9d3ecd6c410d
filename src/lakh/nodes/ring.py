"""A ring of things, each of which gets a turn once a period, spread evenly over it.

A fixed number of workers takes turns off the ring in order. One of them waits for the next turn to fall due, the others for their place in
the queue, so a ring at rest costs a timer a turn and a crowded one, whose turns are due many at once, a timer a tick. No
task is made for a turn.

After a stall (all workers busy, the process stopped) turns that would be the second of the same thing within a period are skipped, not
made up for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

# Turns that fall due within one tick are taken together.
TICK_SECONDS = 0.005


class Ring(Generic[T]):
    """Calls `act` on each of `things` every `period_seconds`, with at most `workers` calls under way. `act` must not raise."""

    def __init__(
        self, things: Sequence[T], period_seconds: float, workers: int, act: Callable[[T], Awaitable[None]]
    ) -> None:
        self._things = things
        self._period_seconds = period_seconds
        self._workers = min(workers, len(things))
        self._act = act
        self._position = 0
        self._began = 0.0
        self._turn = asyncio.Lock()
        self.skipped = 0

    def __repr__(self) -> str:
        return f"<Ring of {len(self._things)} every {self._period_seconds:g} s, turn {self._position}>"

    async def run(self) -> None:
        """Works until it is cancelled."""
        self._began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(), name=f"ring-{number}")
            if not self._workers:
                await asyncio.Event().wait()

    async def _work(self) -> None:
        while True:
            await self._act(await self._next())

    async def _next(self) -> T:
        """The thing whose turn it is, when it is."""
        loop = asyncio.get_running_loop()
        count = len(self._things)
        async with self._turn:
            due = self._began + (self._position + 1) * self._period_seconds / count
            wait = due - loop.time()
            if wait > 0:
                await asyncio.sleep(max(wait, TICK_SECONDS))
            elif wait < -self._period_seconds:
                late = int(-wait * count / self._period_seconds) - count + 1
                self._position += late
                self.skipped += late
            thing = self._things[self._position % count]
            self._position += 1
            return thing
