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

from lakh.store.errors import Fenced, JournalClosed, JournalError, JournalFull, OutcomeUnknown, Trimmed
from lakh.store.journal import Entry, Snapshot

MAX_BATCH_BYTES = 256 << 20


class _Log:
    """What several journals on the same entries share."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.first = 1
        self.snapshot: tuple[int, list[bytes]] | None = None
        self.changed = asyncio.Event()

    @property
    def head(self) -> int:
        return self.first + len(self.entries) - 1

    def notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class MemoryJournal:
    """A `Journal` that keeps its entries in a list. One event loop owns it."""

    max_batch_bytes = MAX_BATCH_BYTES  # as the file engine's

    def __init__(self) -> None:
        """An empty journal."""
        self.faults: list[JournalError] = []
        """Each of the next appends raises one of these, and nothing lands. JournalFailed is final."""
        self._log = _Log()
        self._failure: JournalError | None = None
        self._closed = False
        self._gate = asyncio.Event()
        self._gate.set()

    @property
    def head(self) -> int:
        """Sequence of the last entry, 0 when there was none."""
        return self._log.head

    @property
    def size_bytes(self) -> int:
        """Bytes of the batches and of the snapshot."""
        log = self._log
        snapshot = sum(map(len, log.snapshot[1])) if log.snapshot else 0
        return sum(len(entry.batch) for entry in log.entries) + snapshot

    def hold(self) -> None:
        """Let appends wait until `release`."""
        self._gate.clear()

    def release(self) -> None:
        """Let held appends go on."""
        self._gate.set()

    def reopened(self) -> MemoryJournal:
        """Another journal with the same content, as after a restart."""
        other = MemoryJournal()
        other._log.entries = list(self._log.entries)
        other._log.first = self._log.first
        other._log.snapshot = self._log.snapshot
        return other

    def shared(self) -> MemoryJournal:
        """Another journal on the same entries, as for another process."""
        other = type(self)()
        other._log = self._log
        return other

    async def read_head(self) -> int:
        """The head."""
        if self._closed:
            raise JournalClosed
        return self.head

    async def append(self, batch: bytes, *, after: int, urgent: bool = False) -> int:
        """Keep a batch. See `Journal.append`."""
        await self._gate.wait()
        if self._closed:
            raise JournalClosed
        if self._failure is not None:
            raise self._failure
        if self.faults:
            fault = self.faults.pop(0)
            if not isinstance(fault, JournalFull | OutcomeUnknown | Fenced):
                self._failure = fault
            raise fault
        log = self._log
        if after != log.head:
            raise Fenced(after, log.head)
        log.entries.append(Entry(after + 1, batch))
        log.notify()
        return after + 1

    async def follow(self, start: int) -> AsyncGenerator[Entry, None]:
        """Entries from `start` on, then live. See `Journal.follow`."""
        log = self._log
        sequence = max(start, 1)
        while True:
            if self._closed:
                raise JournalClosed
            if sequence < log.first:
                raise Trimmed(sequence, log.first)
            if sequence > log.head:
                await log.changed.wait()
                continue
            yield log.entries[sequence - log.first]
            sequence += 1

    async def restore(self) -> Snapshot | None:
        """The newest snapshot."""
        if self._log.snapshot is None:
            return None
        sequence, chunks = self._log.snapshot
        return Snapshot(sequence, _replay(chunks))

    async def snapshot(self, sequence: int, chunks: AsyncIterator[bytes] | Iterable[bytes]) -> None:
        """Keep the chunks as they come."""
        kept = [chunk async for chunk in chunks] if isinstance(chunks, AsyncIterator) else list(chunks)
        newest = self._log.snapshot
        if newest is None or newest[0] < sequence:
            self._log.snapshot = sequence, kept

    async def trim(self, sequence: int) -> None:
        """Forget entries up to `sequence` that the snapshot covers."""
        log = self._log
        covered = log.snapshot[0] if log.snapshot else 0
        count = max(0, min(sequence, covered) - log.first + 1)
        del log.entries[:count]
        log.first += count

    async def close(self) -> None:
        """Refuse further use; `reopened` gives the content back."""
        self._closed = True
        self._gate.set()
        self._log.notify()


async def _replay(chunks: list[bytes]) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        yield chunk
