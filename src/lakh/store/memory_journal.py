"""A journal in memory, for tests and for clusters that need not survive: same contract, no disk.

It also plays the faults of a real one: appends can be held back, refused or failed on demand.

Worked example::

    >>> import asyncio
    >>> async def example():
    ...     journal = MemoryJournal()
    ...     await journal.append(b"a", after=0)
    ...     await journal.append(b"b", after=0)
    >>> asyncio.run(example())
    Traceback (most recent call last):
    ...
    lakh.store.errors.Fenced: append after sequence 0 refused: the journal is at 1
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable

from lakh.store.errors import Fenced, JournalClosed, JournalError, JournalFull, Trimmed
from lakh.store.journal import Entry, Snapshot


class MemoryJournal:
    """A `Journal` that keeps its entries in a list. One event loop owns it."""

    def __init__(self) -> None:
        """An empty journal."""
        self.faults: list[JournalError] = []
        """Each of the next appends raises one of these. All but JournalFull are final, as with a real engine."""
        self._entries: list[Entry] = []
        self._first = 1
        self._snapshot: tuple[int, list[bytes]] | None = None
        self._failure: JournalError | None = None
        self._closed = False
        self._changed = asyncio.Event()
        self._gate = asyncio.Event()
        self._gate.set()

    @property
    def head(self) -> int:
        """Sequence of the last entry, 0 when there was none."""
        return self._first + len(self._entries) - 1

    @property
    def size_bytes(self) -> int:
        """Bytes of the batches and of the snapshot."""
        snapshot = sum(map(len, self._snapshot[1])) if self._snapshot else 0
        return sum(len(entry.batch) for entry in self._entries) + snapshot

    def hold(self) -> None:
        """Let appends wait until `release`."""
        self._gate.clear()

    def release(self) -> None:
        """Let held appends go on."""
        self._gate.set()

    def reopened(self) -> MemoryJournal:
        """Another journal with the same content, as after a restart."""
        other = MemoryJournal()
        other._entries = list(self._entries)
        other._first = self._first
        other._snapshot = self._snapshot
        return other

    async def append(self, batch: bytes, *, after: int) -> int:
        """Keep a batch. See `Journal.append`."""
        await self._gate.wait()
        if self._closed:
            raise JournalClosed
        if self._failure is not None:
            raise self._failure
        if self.faults:
            fault = self.faults.pop(0)
            if not isinstance(fault, JournalFull):
                self._failure = fault
            raise fault
        if after != self.head:
            raise Fenced(after, self.head)
        self._entries.append(Entry(after + 1, batch))
        self._notify()
        return after + 1

    async def follow(self, start: int) -> AsyncGenerator[Entry, None]:
        """Entries from `start` on, then live. See `Journal.follow`."""
        sequence = max(start, 1)
        while True:
            if self._closed:
                raise JournalClosed
            if sequence < self._first:
                raise Trimmed(sequence, self._first)
            if sequence > self.head:
                await self._changed.wait()
                continue
            yield self._entries[sequence - self._first]
            sequence += 1

    async def restore(self) -> Snapshot | None:
        """The newest snapshot."""
        if self._snapshot is None:
            return None
        sequence, chunks = self._snapshot
        return Snapshot(sequence, _replay(chunks))

    async def snapshot(self, sequence: int, chunks: AsyncIterator[bytes] | Iterable[bytes]) -> None:
        """Keep the chunks as they come."""
        kept = [chunk async for chunk in chunks] if isinstance(chunks, AsyncIterator) else list(chunks)
        self._snapshot = sequence, kept

    async def trim(self, sequence: int) -> None:
        """Forget entries up to `sequence` that the snapshot covers."""
        covered = self._snapshot[0] if self._snapshot else 0
        count = max(0, min(sequence, covered) - self._first + 1)
        del self._entries[:count]
        self._first += count

    async def close(self) -> None:
        """Refuse further use; `reopened` gives the content back."""
        self._closed = True
        self._gate.set()
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def _replay(chunks: list[bytes]) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        yield chunk
