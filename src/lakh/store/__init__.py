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
    NotFound,
    Overloaded,
    PartitionClosed,
    SnapshotFailed,
    StoreError,
    Trimmed,
)
from lakh.store.file_journal import FileJournal
from lakh.store.hub import Watch
from lakh.store.journal import Entry, Journal, Snapshot
from lakh.store.memory_journal import MemoryJournal
from lakh.store.partition import Partition
from lakh.store.state import Event, Item, Range

__all__ = [
    "Compacted",
    "Conflict",
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
    "MemoryJournal",
    "NotFound",
    "Overloaded",
    "Partition",
    "PartitionClosed",
    "Range",
    "Snapshot",
    "SnapshotFailed",
    "StoreError",
    "Trimmed",
    "Watch",
]
