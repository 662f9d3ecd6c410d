"""What a journal is: a totally ordered, durable, conditional-append log of batches.

The journal is the database; memory is a cache of it. Entries have sequences 1, 2, 3 … without gaps. A writer
appends *after the sequence it has seen*; whoever lost the race learns it from `Fenced`. A snapshot at sequence S
stands for the entries up to S, which may then be trimmed. To restart is to `restore()` and to `follow(S + 1)`.

Batches are opaque here. Consensus, replication and disks are the business of the engines alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import NamedTuple, Protocol

from lakh.store.errors import (
    Fenced,
    JournalClosed,
    JournalCorrupt,
    JournalError,
    JournalFailed,
    JournalFull,
    JournalUnavailable,
    OutcomeUnknown,
    SnapshotFailed,
    Trimmed,
)

__all__ = [
    "Entry",
    "Fenced",
    "Journal",
    "JournalClosed",
    "JournalCorrupt",
    "JournalError",
    "JournalFailed",
    "JournalFull",
    "JournalUnavailable",
    "OutcomeUnknown",
    "Snapshot",
    "SnapshotFailed",
    "Trimmed",
]


class Entry(NamedTuple):
    """One durable batch."""

    sequence: int
    batch: bytes


class Snapshot(NamedTuple):
    """The state after the entry `sequence`, as the chunks that were given to `Journal.snapshot`."""

    sequence: int
    chunks: AsyncGenerator[bytes, None]


class Journal(Protocol):
    """An engine. One a partition."""

    @property
    def head(self) -> int:
        """Sequence of the last durable entry, 0 when there was none."""

    @property
    def size_bytes(self) -> int:
        """What log and snapshot take on disk. The partition compacts by it."""

    @property
    def max_batch_bytes(self) -> int:
        """A longer batch is refused with ValueError."""

    async def append(self, batch: bytes, *, after: int, urgent: bool = False) -> int:
        """Make a batch durable and return its sequence, `after + 1`. `urgent` may use space held in reserve.

        Raises
        - Fenced: the head is not `after`. Nothing of the batch is in the journal, nor will it ever be.
        - JournalFull: nothing was kept for want of room; a later append may succeed.
        - OutcomeUnknown: nobody answered in time. Another append is refused by Fenced if the batch did land.
        - JournalFailed: the outcome is unknown and the engine is broken; from then on always.
        """

    async def read_head(self) -> int:
        """The head as the engine knows it now, whoever appended: at least what was acknowledged before the call.

        Raises JournalUnavailable.
        """

    def follow(self, start: int) -> AsyncGenerator[Entry, None]:
        """Entries from sequence `start` on, then live ones as they become durable. Raises Trimmed."""

    async def restore(self) -> Snapshot | None:
        """The newest snapshot, if there is one."""

    async def snapshot(self, sequence: int, chunks: AsyncIterator[bytes] | Iterable[bytes]) -> None:
        """Keep the state after `sequence`. A plain iterable may be consumed in another thread.

        Raises SnapshotFailed or JournalFull; the log is untouched by either.
        """

    async def trim(self, sequence: int) -> None:
        """Forget entries up to `sequence`, as far as a snapshot covers them."""

    async def close(self) -> None:
        """Stop. What was appended stays."""
