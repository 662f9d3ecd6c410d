"""The store's errors: one type for each thing a caller can do something about.

Each error is made from its fields alone, so `copy.copy` gives an equal one: when a batch fails, every waiting
write gets an exception of its own and tracebacks do not pile up on a shared one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakh.store.state import Item


class StoreError(Exception):
    """Base of everything the store raises on purpose."""


class JournalError(StoreError):
    """Base of what a journal raises."""


class Fenced(JournalError):
    """Somebody else appended: the journal's head is not the sequence this writer has seen. Fatal to the writer."""

    def __init__(self, after: int, head: int) -> None:
        super().__init__(after, head)
        self.after = after
        self.head = head

    def __str__(self) -> str:
        return f"append after sequence {self.after} refused: the journal is at {self.head}"


class JournalCorrupt(JournalError):
    """Stored bytes are not what was written. The journal refuses to open rather than serve them."""

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        super().__init__(path, offset, reason)
        self.path = path
        self.offset = offset
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path} is corrupt at byte {self.offset}: {self.reason}"


class JournalFull(JournalError):
    """There is no room for the batch. Nothing of it was kept; a later append may succeed."""

    def __init__(self, path: Path | None = None) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return "no space left for the journal" + (f" in {self.path}" if self.path else "")


class JournalFailed(JournalError):
    """A write or a sync failed: what is on disk is unknown. Every later append raises this, too."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the journal failed and takes no more writes: {self.reason}"


class OutcomeUnknown(JournalError):
    """No answer came in time: the batch may be in the journal or not. What the journal says later is the truth."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the write may have been applied or not: {self.reason}"


class JournalUnavailable(JournalError):
    """The journal cannot be reached. Nothing was asked of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the journal is not available: {self.reason}"


class JournalClosed(JournalError):
    """The journal was closed."""

    def __str__(self) -> str:
        return "the journal is closed"


class Trimmed(JournalError):
    """The wanted entries were deleted behind a snapshot. Restore the snapshot and follow from there."""

    def __init__(self, start: int, oldest: int) -> None:
        super().__init__(start, oldest)
        self.start = start
        self.oldest = oldest

    def __str__(self) -> str:
        return f"sequence {self.start} was trimmed: the oldest entry is {self.oldest}"


class SnapshotFailed(JournalError):
    """A snapshot could not be written. The log is whole, appends go on."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"snapshot not written: {self.reason}"


class DirectoryInUse(StoreError):
    """Another process holds the data directory."""

    def __init__(self, path: Path, pid: int | None) -> None:
        super().__init__(path, pid)
        self.path = path
        self.pid = pid

    def __str__(self) -> str:
        holder = f"process {self.pid}" if self.pid else "another process"
        return f"{self.path} is in use by {holder}"


class Conflict(StoreError):
    """The head of the key is not what the write expected.

    `head` is the newest item (None: there is none). `revision` is what this verdict rests on: it may still be on
    its way to disk, so answer a client only after `Partition.settle(error.revision)`.
    """

    def __init__(self, key: str, head: Item | None, revision: int) -> None:
        super().__init__(key, head, revision)
        self.key = key
        self.head = head
        self.revision = revision

    def __str__(self) -> str:
        found = f"at revision {self.head.revision}" if self.head is not None else "absent"
        return f"{self.key} is {found}"


class NotFound(Conflict):
    """The write needs an item that is not there. A Conflict whose head is None."""

    def __init__(self, key: str, revision: int) -> None:
        super().__init__(key, None, revision)
        self.args = (key, revision)


class Compacted(StoreError):
    """The wanted revision is older than the history window."""

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(revision, oldest)
        self.revision = revision
        self.oldest = oldest

    def __str__(self) -> str:
        return f"revision {self.revision} has been compacted: the oldest is {self.oldest}"


class FutureRevision(StoreError):
    """The wanted revision has not happened yet."""

    def __init__(self, revision: int, newest: int) -> None:
        super().__init__(revision, newest)
        self.revision = revision
        self.newest = newest

    def __str__(self) -> str:
        return f"revision {self.revision} is in the future: the newest is {self.newest}"


class Overloaded(StoreError):
    """Too much is waiting for the disk. Nothing was queued; try again later."""

    def __init__(self, partition: str, queued_bytes: int) -> None:
        super().__init__(partition, queued_bytes)
        self.partition = partition
        self.queued_bytes = queued_bytes

    def __str__(self) -> str:
        return f"partition {self.partition} has {self.queued_bytes} bytes waiting for the disk"


class NotWriter(StoreError):
    """This replica does not write the partition, or no longer: the write was not applied and never will be.

    `writer` is who claimed the partition last, as far as is known here.
    """

    def __init__(self, partition: str, writer: str | None) -> None:
        super().__init__(partition, writer)
        self.partition = partition
        self.writer = writer

    def __str__(self) -> str:
        return f"partition {self.partition} is not written here" + (
            f": its writer is {self.writer}" if self.writer else ""
        )


class QuotaExceeded(StoreError):
    """The partition is at its quota: what makes it grow is refused, what makes it shrink is taken."""

    def __init__(self, partition: str, resource: str, used_bytes: int, limit_bytes: int) -> None:
        super().__init__(partition, resource, used_bytes, limit_bytes)
        self.partition = partition
        self.resource = resource
        self.used_bytes = used_bytes
        self.limit_bytes = limit_bytes

    def __str__(self) -> str:
        return (
            f"exceeded quota of partition {self.partition}: {self.used_bytes} of {self.limit_bytes} bytes of "
            f"{self.resource} are used; deletes are still taken"
        )


class ValueTooLarge(StoreError):
    """The item does not fit one entry of the journal. Nothing was queued."""

    def __init__(self, key: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(key, size_bytes, limit_bytes)
        self.key = key
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes

    def __str__(self) -> str:
        return (
            f"{self.key} has {self.size_bytes} bytes, more than the {self.limit_bytes} that the journal takes"
        )


class PartitionClosed(StoreError):
    """The partition was closed."""

    def __init__(self, partition: str) -> None:
        super().__init__(partition)
        self.partition = partition

    def __str__(self) -> str:
        return f"partition {self.partition} is closed"
