"""The store: journals, partitions, MVCC state and the watch hub. It knows no Kubernetes."""

from lakh.store.errors import (
    Compacted,
    Conflict,
    DirectoryInUse,
    Fenced,
    FutureRevision,
    JournalClosed,
    JournalCorrupt,
    JournalError,
    JournalFailed,
    JournalFull,
    JournalUnavailable,
    NotFound,
    NotWriter,
    OutcomeUnknown,
    Overloaded,
    PartitionClosed,
    QuotaExceeded,
    SnapshotFailed,
    StoreError,
    Trimmed,
    ValueTooLarge,
)
from lakh.store.file_journal import FileJournal
from lakh.store.hub import Watch
from lakh.store.journal import Entry, Journal, Snapshot
from lakh.store.limits import Counters, Limits
from lakh.store.memory_journal import MemoryJournal
from lakh.store.partition import Partition
from lakh.store.state import Event, Item, Range

__all__ = [
    "Compacted",
    "Conflict",
    "Counters",
    "DirectoryInUse",
    "Entry",
    "Event",
    "Fenced",
    "FileJournal",
    "FutureRevision",
    "Item",
    "Journal",
    "JournalClosed",
    "JournalCorrupt",
    "JournalError",
    "JournalFailed",
    "JournalFull",
    "JournalUnavailable",
    "Limits",
    "MemoryJournal",
    "NotFound",
    "NotWriter",
    "OutcomeUnknown",
    "Overloaded",
    "Partition",
    "PartitionClosed",
    "QuotaExceeded",
    "Range",
    "Snapshot",
    "SnapshotFailed",
    "StoreError",
    "Trimmed",
    "ValueTooLarge",
    "Watch",
]
