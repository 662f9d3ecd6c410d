"""Background tasks with an owner.

asyncio keeps only weak references to tasks and reports a failed one when it is collected, if ever. A `TaskGuard` owns the
tasks started through it: it keeps them referenced and named, logs every unexpected end at once, tells `escalate` about
it, and cancels and awaits them all when it closes. Components start background tasks in no other way.

An end is unexpected when the task raised anything but `CancelledError`, or when it returned although it was started with
`forever=True`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

__all__ = ["TaskEnded", "TaskGuard"]

log = logging.getLogger(__name__)

R = TypeVar("R")


class TaskEnded(Exception):
    """A task that should run for ever has returned."""


class TaskGuard:
    """Owns background tasks. `escalate(name, error)` is called, in the loop, for each unexpected end."""

    def __init__(self, name: str, escalate: Callable[[str, BaseException], None] | None = None) -> None:
        self.name = name
        self._escalate = escalate
        self._tasks: set[asyncio.Task[Any]] = set()
        self._forever: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"TaskGuard({self.name!r}, {sorted(task.get_name() for task in self._tasks)})"

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, R], *, name: str, forever: bool = False) -> asyncio.Task[R]:
        """Start `work` in the background."""
        task = asyncio.get_running_loop().create_task(work, name=f"{self.name}/{name}")
        self._tasks.add(task)
        if forever:
            self._forever.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        forever = task in self._forever
        self._forever.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            if not forever:
                return
            error = TaskEnded(f"{task.get_name()} has returned")
        log.error("background task %s ended unexpectedly", task.get_name(), exc_info=error)
        if self._escalate is not None:
            self._escalate(task.get_name(), error)

    async def close(self) -> None:
        """Cancel all tasks and wait until they have ended. Also right when called from one of them."""
        own = asyncio.current_task()
        while tasks := [task for task in self._tasks if task is not own]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await asyncio.sleep(0)  # done callbacks run in the loop's next turn

    async def __aenter__(self) -> TaskGuard:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
