"""What a read of a replica waits for: everything acknowledged before it (a barrier), or a revision.

A barrier is a question to the journal. All reads that arrive while one is under way share the next one, so one question serves however
many reads there are, and each waits for one and a half on average.
"""

from __future__ import annotations

import asyncio

from lakh.machinery import errors
from lakh.store.partition import Partition

BARRIER_SECONDS = 12.0
"""A read whose barrier takes longer is refused; nobody else's write can be ruled out then. A stream whose leader died has a new one
after 4 to 9 s, and a question that got no answer is asked again after two."""
REACH_SECONDS = 3.0
"""How long a read waits for a revision that has not been reached yet (upstream's watch cache)."""


class Barrier:
    """The barriers of one partition."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._next: asyncio.Future[None] | None = None
        self.asked = 0
        """Questions to the journal."""
        self.passed_at = float("-inf")
        """Loop time of the last one that was answered."""

    async def __call__(self) -> None:
        """Wait for all that was acknowledged before the call. Raises JournalUnavailable, and 504 when nobody answers."""
        if self._next is None:
            self._next = self._loop.create_future()
            if self._task is None:
                self._task = self._loop.create_task(self._run(), name=f"barrier-{self._partition.name}")
        # Shielded: a client that goes away does not take the others' barrier along.
        await asyncio.shield(self._next)

    async def _run(self) -> None:
        while (future := self._next) is not None:
            self._next = None
            self.asked += 1
            try:
                async with asyncio.timeout(BARRIER_SECONDS):
                    await self._partition.barrier()
            except TimeoutError:
                _fail(
                    future, errors.timeout(f"the journal of partition {self._partition.name} does not answer")
                )
            except BaseException as error:
                _fail(future, error)
                if not isinstance(error, Exception):
                    raise
            else:
                self.passed_at = self._loop.time()
                if not future.done():
                    future.set_result(None)
        self._task = None

    def stop(self) -> None:
        """Who waits is told that the server stops."""
        if self._task is not None:
            self._task.cancel()
        if self._next is not None:
            _fail(self._next, errors.unavailable("the server is stopping"))


def _fail(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(
            error if isinstance(error, Exception) else errors.unavailable("the server is stopping")
        )
        future.exception()  # whoever waited may be gone


async def reach(partition: Partition, revision: int) -> None:
    """Wait a moment for a revision from elsewhere; raises 504 when it does not come."""
    if partition.revision >= revision:
        return
    try:
        async with asyncio.timeout(REACH_SECONDS):
            await partition.reach(revision)
    except TimeoutError:
        raise errors.too_large_resource_version(revision, partition.revision) from None
