"""Errors are copied for every write that waits, and say what happened."""

import copy
from pathlib import Path

import pytest

from lakh.store import errors
from lakh.store.state import Item

ITEM = Item("pods/default/a", b"", (), 2, 7)

MESSAGES = [
    (errors.Fenced(3, 5), "append after sequence 3 refused: the journal is at 5"),
    (errors.JournalCorrupt(Path("/d/1.log"), 28, "bad"), "/d/1.log is corrupt at byte 28: bad"),
    (errors.JournalFull(Path("/d")), "no space left for the journal in /d"),
    (errors.JournalFailed("EIO"), "the journal failed and takes no more writes: EIO"),
    (errors.JournalClosed(), "the journal is closed"),
    (errors.Trimmed(1, 5), "sequence 1 was trimmed: the oldest entry is 5"),
    (errors.SnapshotFailed("EIO"), "snapshot not written: EIO"),
    (errors.DirectoryInUse(Path("/d"), 12), "/d is in use by process 12"),
    (errors.DirectoryInUse(Path("/d"), None), "/d is in use by another process"),
    (errors.Conflict("pods/default/a", ITEM, 7), "pods/default/a is at revision 7"),
    (errors.NotFound("pods/default/a", 0), "pods/default/a is absent"),
    (errors.Compacted(2, 9), "revision 2 has been compacted: the oldest is 9"),
    (errors.FutureRevision(9, 2), "revision 9 is in the future: the newest is 2"),
    (errors.Overloaded("pods", 10), "partition pods has 10 bytes waiting for the disk"),
    (errors.OutcomeUnknown("silence"), "the write may have been applied or not: silence"),
    (errors.JournalUnavailable("silence"), "the journal is not available: silence"),
    (errors.NotWriter("pods", None), "partition pods is not written here"),
    (errors.NotWriter("pods", "b"), "partition pods is not written here: its writer is b"),
    (
        errors.QuotaExceeded("pods", "memory", 9, 8),
        "exceeded quota of partition pods: 9 of 8 bytes of memory are used; deletes are still taken",
    ),
    (
        errors.ValueTooLarge("pods/a/b", 9, 8),
        "pods/a/b has 9 bytes, more than the 8 that the journal takes",
    ),
    (errors.PartitionClosed("pods"), "partition pods is closed"),
]


@pytest.mark.parametrize(("error", "message"), MESSAGES, ids=lambda value: type(value).__name__)
def test_message_and_copy(error: errors.StoreError, message: str) -> None:
    assert str(error) == message
    other = copy.copy(error)
    assert other is not error
    assert (type(other), str(other), vars(other)) == (type(error), message, vars(error))


def test_every_error_is_listed() -> None:
    concrete = {type(error) for error, _ in MESSAGES}
    defined = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.StoreError)
    }
    assert defined - concrete == {errors.StoreError, errors.JournalError}
