"""From a journal to a state: restarting, and following."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from lakh.store.codec import (
    Batch,
    UnreadableBatchError,
    decode_batch,
    decode_snapshot_header,
    decode_snapshot_items,
)
from lakh.store.journal import Journal
from lakh.store.state import Event, Item, State, shared

Progress = Callable[[int, int], None]
"""Called with the bytes read so far and the bytes there are, about every quarter of a megabyte."""


class Restored:
    """A state and where in the journal it is."""

    __slots__ = ("sequence", "state", "writer")

    def __init__(self, state: State) -> None:
        """At the beginning of a journal."""
        self.state = state
        self.sequence = 0
        self.writer: str | None = None

    def take_in(self, sequence: int, data: bytes) -> list[Event]:
        """Apply the next entry. Raises UnreadableBatchError when it does not fit the state."""
        try:
            batch = decode_batch(data)
            events = events_of(self.state, batch)
        except UnreadableBatchError as error:
            raise UnreadableBatchError(f"entry {sequence}: {error}") from error
        self.sequence = sequence
        if batch.writer is not None:
            self.writer = batch.writer
        return events


async def restore(journal: Journal, state: State, progress: Progress | None = None) -> Restored:
    """The newest snapshot, then the entries after it up to the head.

    Raises UnreadableBatchError and JournalError, of which Trimmed means: somebody compacted meanwhile, begin anew.
    """
    restored = Restored(state)
    total, done = journal.size_bytes, 0
    snapshot = await journal.restore()
    if snapshot is not None:
        async with aclosing(snapshot.chunks) as chunks:
            header = decode_snapshot_header(await anext(chunks))
            async for chunk in chunks:
                state.load(decode_snapshot_items(chunk))
                done += len(chunk)
                if progress is not None:
                    progress(done, max(total, done))
        if len(state.items) != header.count:
            raise UnreadableBatchError(f"the snapshot has {len(state.items)} items instead of {header.count}")
        state.loaded(header.revision)
        restored.sequence, restored.writer = snapshot.sequence, header.writer
    state.begin_replay()
    await catch_up(journal, restored, journal.head, progress, done)
    state.end_replay()
    return restored


async def catch_up(
    journal: Journal, restored: Restored, head: int, progress: Progress | None = None, done: int = 0
) -> None:
    """Apply entries up to `head`."""
    total = journal.size_bytes
    if restored.sequence >= head:
        return
    async with aclosing(journal.follow(restored.sequence + 1)) as entries:
        async for entry in entries:
            restored.take_in(entry.sequence, entry.batch)
            done += len(entry.batch)
            if progress is not None:
                progress(done, max(total, done))
            if entry.sequence >= head:
                return


def events_of(state: State, batch: Batch) -> list[Event]:
    """Apply a batch as it was written. Raises UnreadableBatchError when it does not fit the state."""
    revision = batch.revision
    if revision != state.revision + 1:
        raise UnreadableBatchError(f"it begins with revision {revision}, {state.revision + 1} is due")
    events = []
    for key, value, terms in batch.writes:
        prev = state.items.get(key)
        if value is None:
            if prev is None:
                raise UnreadableBatchError(f"it deletes {key}, which does not exist")
            event = Event(revision, None, prev)
        elif prev is None:
            event = Event(revision, Item(key, value, shared(terms), revision, revision), None)
        else:
            terms = prev.terms if terms == prev.terms else shared(terms)
            event = Event(revision, Item(prev.key, value, terms, prev.create_revision, revision), prev)
        state.apply(event)
        events.append(event)
        revision += 1
    return events
