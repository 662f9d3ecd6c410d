"""A partition: one journal, one revision counter, one writer, and the state that memory serves.

A write goes: judged against the pending head → revision assigned → queued → everything queued is one journal
entry, one sync → applied to the durable state → watchers told → futures done. Nothing is shown that a crash
could take back.

Ownership: the event loop that opened the partition owns it all; only the journal uses threads. One task, the
writer, appends one batch after the other, so group commit falls out: what is put while a batch is on its way to
disk is the next batch.

Invariants:
- `_pending[key]` is the newest undone write of a key. The head of a key is that write's item, else the state's.
- Revisions are consecutive. Queued writes have revision+1 … `_next_revision`-1, in queue order.
- When an append fails, everything queued fails with it, since it may have been judged against what is now gone;
  the pending head is the durable state again and the revisions are given out anew.
- JournalFull leaves the partition open for later writes. Any other failure is final: `failed` says why, writes
  raise it, reads and watches go on.

Cost of a put without the disk: about 10 µs, of which a third is the encoding and its checksum.

Worked example::

    >>> import asyncio
    >>> from lakh.store.memory_journal import MemoryJournal
    >>> async def example():
    ...     pods = await Partition.open("pods", MemoryJournal())
    ...     created = await pods.put("pods/default/a", b"1", expect=0)
    ...     future = pods.put("pods/default/a", b"2", expect=created.revision)
    ...     print(pods.head("pods/default/a").value, pods.get("pods/default/a").value)
    ...     await future
    ...     print(pods.get("pods/default/a").value, pods.revision)
    ...     try:
    ...         pods.put("pods/default/a", b"3", expect=created.revision)
    ...     except Conflict as conflict:
    ...         print(conflict)
    ...     await pods.close()
    >>> asyncio.run(example())
    b'2' b'1'
    b'2' 3
    pods/default/a is at revision 3
"""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import aclosing, suppress

from lakh.store.codec import (
    UnreadableBatchError,
    decode_batch,
    decode_snapshot_header,
    decode_snapshot_items,
    encode_batch,
    encode_snapshot,
)
from lakh.store.errors import (
    Conflict,
    FutureRevision,
    JournalError,
    JournalFailed,
    JournalFull,
    NotFound,
    Overloaded,
    PartitionClosed,
    StoreError,
)
from lakh.store.hub import Sink, Watch, WatchHub, deliver
from lakh.store.journal import Journal
from lakh.store.state import HISTORY_BYTES, HISTORY_EVENTS, Event, Item, Range, State

log = logging.getLogger(__name__)

BATCH_BYTES = 1 << 20
"""A batch is closed before it exceeds this: what a message queue takes as one message by default."""
BATCH_WRITES = 1_000
"""So that applying a batch holds the event loop for a few milliseconds at most."""
QUEUED_BYTES = 256 << 20
"""Above it, writes raise Overloaded instead of filling the memory of a server whose disk hangs."""
WRITE_OVERHEAD_BYTES = 64
"""Added to the bytes of a queued write's key and value."""
COMPACT_FACTOR = 2
COMPACT_SLACK_BYTES = 64 << 20
"""The journal is compacted when it takes more than COMPACT_FACTOR times the live data and this much."""
COMPACT_RETRY_BYTES = 16 << 20
"""After a failed compaction the journal must have grown by this before the next one."""


class _Write:
    """A write on its way: `item` is None for a delete."""

    __slots__ = ("future", "item", "key", "prev", "revision", "size_bytes")

    def __init__(
        self,
        key: str,
        item: Item | None,
        prev: Item | None,
        revision: int,
        size_bytes: int,
        future: asyncio.Future[Item] | asyncio.Future[Event],
    ) -> None:
        self.key = key
        self.item = item
        self.prev = prev
        self.revision = revision
        self.size_bytes = size_bytes
        self.future: asyncio.Future[Item | Event] = future  # type: ignore[assignment]

    def encoded(self) -> tuple[str, bytes | None, tuple[str, ...]]:
        """What the journal keeps of it."""
        item = self.item
        return (self.key, None, ()) if item is None else (self.key, item.value, item.terms)


class Partition:
    """Reads, conditional writes and watches on one journal. Open it with `Partition.open`, which owns the journal."""

    def __init__(self, name: str, journal: Journal, state: State) -> None:
        """Not for callers: `open` reads the journal first."""
        self.name = name
        self.failed: StoreError | None = None
        """Why writes are refused for good, if they are."""
        self.on_append: Callable[[float, int, int], None] | None = None
        """Told of each durable append: seconds, writes, bytes."""
        self._journal = journal
        self._state = state
        self._items = state.items
        self._hub = WatchHub()
        self._loop = asyncio.get_running_loop()
        self._sequence = 0  # of the newest journal entry in the state
        self._next_revision = state.revision + 1
        self._pending: dict[str, _Write] = {}
        self._queue: deque[_Write] = deque()
        self._queued_bytes = 0
        self._settlers: list[tuple[int, asyncio.Future[None]]] = []
        self._wake: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._compaction: asyncio.Task[None] | None = None
        self._compact_above_bytes = 0
        self._closing = False

    @classmethod
    async def open(
        cls,
        name: str,
        journal: Journal,
        *,
        history_bytes: int = HISTORY_BYTES,
        history_events: int = HISTORY_EVENTS,
    ) -> Partition:
        """Read the journal and start the writer. Raises JournalError; the journal stays the caller's then."""
        state = State(history_bytes=history_bytes, history_events=history_events)
        self = cls(name, journal, state)
        try:
            await self._restore()
        except UnreadableBatchError as error:
            raise JournalFailed(f"partition {name}, entry {self._sequence + 1}: {error}") from error
        self._next_revision = state.revision + 1
        self._writer = self._loop.create_task(self._write(), name=f"partition-{name}-writer")
        return self

    def __repr__(self) -> str:
        condition = "failed" if self.failed else "closed" if self._closing else "open"
        return f"<Partition {self.name} {condition} revision={self.revision} items={len(self._items)}>"

    # Reading

    @property
    def revision(self) -> int:
        """The newest durable revision; at least 1."""
        return self._state.revision

    @property
    def oldest_revision(self) -> int:
        """A watch may start at this or later, and a range be served as of it."""
        return self._state.history.oldest

    @property
    def live_bytes(self) -> int:
        """Keys, values and terms of the present items."""
        return self._state.live_bytes

    @property
    def queued_bytes(self) -> int:
        """What waits for the disk."""
        return self._queued_bytes

    @property
    def watch_count(self) -> int:
        """Live watches."""
        return len(self._hub)

    def get(self, key: str) -> Item | None:
        """The durable item."""
        return self._items.get(key)

    def head(self, key: str) -> Item | None:
        """The newest item, on its way to disk or not: what a write is judged against."""
        write = self._pending.get(key)
        return write.item if write is not None else self._items.get(key)

    def range(
        self,
        table: str,
        scope: str | None = None,
        *,
        after: str = "",
        limit: int = 0,
        revision: int | None = None,
    ) -> Range:
        """Durable items of a table, or of one scope, by key, from the one after the key `after` on.

        `revision` serves the state as of then. Raises Compacted when that is before `oldest_revision`, and
        FutureRevision when it has not happened. O(limit + log n), plus the events since `revision`.
        """
        return self._state.range(table, scope, after=after, limit=limit, revision=revision)

    def count(self, table: str, scope: str | None = None) -> int:
        """Number of durable items. O(log n)."""
        return self._state.count(table, scope)

    def watch(
        self,
        table: str,
        scope: str | None = None,
        name: str | None = None,
        term: str | None = None,
        *,
        start: int | None,
        sink: Sink,
    ) -> Watch:
        """Give events to `sink`, in revision order, a list a batch; it must not block.

        `start`: events after that revision first, from the window and before this returns, then live ones, none
        missing, none twice. None: from now on. Raises Compacted and FutureRevision.
        """
        if self._closing:
            raise PartitionClosed(self.name)
        watch = Watch(table, scope, name, term, sink)
        if start is None or start == self.revision:
            return self._hub.add(watch)
        self._state.check(start)
        missed = [event for event in self._state.history.since(start) if watch.matches(event)]
        # No await from here on: what is durable now is replayed, what comes later is live.
        self._hub.add(watch)
        if missed:
            deliver(watch, missed)
        return watch

    # Writing

    def put(
        self, key: str, value: bytes, *, expect: int | None = None, terms: Iterable[str] = ()
    ) -> asyncio.Future[Item]:
        """Create or replace an item.

        `expect`: None unconditional, 0 it must not exist, n its head must have revision n. Judged at once: raises
        Conflict, or NotFound (which is one) when there is none to replace. The future is done when the write is
        durable, or has the error of the journal.
        """
        self._refuse_when_unable()
        write = self._pending.get(key)
        head = write.item if write is not None else self._items.get(key)
        if expect is not None and expect != (head.revision if head is not None else 0):
            raise self._conflict(key, head, write)
        revision = self._next_revision
        terms = tuple(terms)
        if head is None:
            if key.count("/") < 2:
                raise ValueError(f"the key {key!r} is not of the form table/scope/name")
            item = Item(key, value, terms, revision, revision)
        else:
            # The strings of the item that it replaces are reused: a million updates keep one key.
            item = Item(
                head.key, value, head.terms if terms == head.terms else terms, head.create_revision, revision
            )
        future: asyncio.Future[Item] = self._loop.create_future()
        self._enqueue(_Write(item.key, item, head, revision, len(value) + len(key), future))
        return future

    def delete(self, key: str, *, expect: int | None = None) -> asyncio.Future[Event]:
        """Delete an item. See `put`; raises NotFound when there is none."""
        self._refuse_when_unable()
        write = self._pending.get(key)
        head = write.item if write is not None else self._items.get(key)
        if head is None or (expect is not None and expect != head.revision):
            raise self._conflict(key, head, write)
        future: asyncio.Future[Event] = self._loop.create_future()
        self._enqueue(_Write(head.key, None, head, self._next_revision, len(key), future))
        return future

    def settled(self, item_or_revision: Item | int) -> bool:
        """Whether that revision is durable."""
        if isinstance(item_or_revision, Item):
            item_or_revision = item_or_revision.revision
        return item_or_revision <= self._state.revision

    async def settle(self, revision: int) -> None:
        """Wait until that revision is durable. Call it before the first await after the verdict it belongs to.

        Raises what the write raises if it fails: the verdict was about something that never was.
        """
        if revision <= self._state.revision:
            return
        self._refuse_when_unable(reading=True)
        if revision >= self._next_revision:
            raise FutureRevision(revision, self._next_revision - 1)
        future: asyncio.Future[None] = self._loop.create_future()
        self._settlers.append((revision, future))
        await future

    def _conflict(self, key: str, head: Item | None, write: _Write | None) -> Conflict:
        # A verdict about a pending delete rests on that delete, one about nothing on nothing.
        revision = write.revision if write is not None else head.revision if head is not None else 0
        return NotFound(key, revision) if head is None else Conflict(key, head, revision)

    def _refuse_when_unable(self, *, reading: bool = False) -> None:
        if self.failed is not None:
            raise copy.copy(self.failed)
        if self._closing and not reading:
            raise PartitionClosed(self.name)

    def _enqueue(self, write: _Write) -> None:
        write.size_bytes += WRITE_OVERHEAD_BYTES
        if self._queued_bytes + write.size_bytes > QUEUED_BYTES:
            raise Overloaded(self.name, self._queued_bytes)
        self._next_revision += 1
        self._pending[write.key] = write
        self._queue.append(write)
        self._queued_bytes += write.size_bytes
        self._wake_writer()

    def _wake_writer(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)

    # The writer

    async def _write(self) -> None:
        """Append what is queued, batch by batch, until closed or failed for good."""
        batch: list[_Write] = []
        try:
            while self.failed is None:
                if not self._queue:
                    if self._closing:
                        return
                    self._wake = self._loop.create_future()
                    await self._wake
                    continue
                batch = self._take()
                try:
                    encoded = encode_batch(batch[0].revision, [write.encoded() for write in batch])
                    began = time.perf_counter()
                    self._sequence = await self._journal.append(encoded, after=self._sequence)
                except JournalFull as error:
                    log.error("partition %s: %d writes failed: %s", self.name, len(batch), error)
                    self._roll_back(batch, error)
                else:
                    if self.on_append is not None:
                        self.on_append(time.perf_counter() - began, len(batch), len(encoded))
                    self._apply(batch)
                    self._compact_if_due()
                batch = []
        except JournalError as error:
            self._fail(batch, error)
        except asyncio.CancelledError:
            self._fail(batch, PartitionClosed(self.name))
            raise
        except Exception as error:
            log.exception("partition %s: the writer failed", self.name)
            self._fail(batch, JournalFailed(f"{type(error).__name__}: {error}"))

    def _take(self) -> list[_Write]:
        """The next batch: what is queued, within the bounds, at least one write."""
        queue = self._queue
        batch = [queue.popleft()]
        size_bytes = batch[0].size_bytes
        while queue and len(batch) < BATCH_WRITES:
            size_bytes += queue[0].size_bytes
            if size_bytes > BATCH_BYTES:
                break
            batch.append(queue.popleft())
        return batch

    def _apply(self, batch: list[_Write]) -> None:
        """A batch is durable: show it, tell the watchers, then the writers."""
        pending, apply = self._pending, self._state.apply
        events: list[Event] = []
        for write in batch:
            event = Event(write.revision, write.item, write.prev)
            apply(event)
            events.append(event)
            self._queued_bytes -= write.size_bytes
            if pending[write.key] is write:
                del pending[write.key]
        self._hub.dispatch(events)
        for write, event in zip(batch, events, strict=True):
            future = write.future
            if not future.done():  # a cancelled one: its client went away, the write stands
                future.set_result(write.item if write.item is not None else event)
        if self._settlers:
            self._settle_waiting()

    def _settle_waiting(self) -> None:
        revision = self._state.revision
        waiting = []
        for settler in self._settlers:
            if settler[0] > revision:
                waiting.append(settler)
            elif not settler[1].done():
                settler[1].set_result(None)
        self._settlers = waiting

    def _roll_back(self, batch: list[_Write], error: StoreError) -> None:
        """A batch failed: so does all that is queued behind it. The pending head is the durable state again."""
        failed: list[asyncio.Future[Item | Event] | asyncio.Future[None]] = [write.future for write in batch]
        failed += [write.future for write in self._queue]
        failed += [future for _, future in self._settlers]
        self._queue.clear()
        self._settlers.clear()
        self._pending.clear()
        self._queued_bytes = 0
        self._next_revision = self._state.revision + 1
        for future in failed:
            if not future.done():
                future.set_exception(copy.copy(error))
                future.exception()  # a client that went away is no reason for a warning

    def _fail(self, batch: list[_Write], error: StoreError) -> None:
        """The partition takes no more writes."""
        if not isinstance(error, PartitionClosed):
            log.error("partition %s takes no more writes: %s", self.name, error)
        self.failed = error
        self._roll_back(batch, error)

    # Restart and compaction

    async def _restore(self) -> None:
        """Newest snapshot, then the entries after it up to the head."""
        state = self._state
        snapshot = await self._journal.restore()
        if snapshot is not None:
            async with aclosing(snapshot.chunks) as chunks:
                revision, count = decode_snapshot_header(await anext(chunks))
                async for chunk in chunks:
                    state.load(decode_snapshot_items(chunk))
            if len(state.items) != count:
                raise UnreadableBatchError(f"the snapshot has {len(state.items)} items instead of {count}")
            state.loaded(revision)
            self._sequence = snapshot.sequence
        head = self._journal.head
        if self._sequence >= head:
            return
        async with aclosing(self._journal.follow(self._sequence + 1)) as entries:
            async for entry in entries:
                self._replay(entry.batch)
                self._sequence = entry.sequence
                if entry.sequence >= head:
                    return

    def _replay(self, batch: bytes) -> None:
        """Apply a batch as it was written. Raises UnreadableBatchError when it does not fit the state."""
        revision, writes = decode_batch(batch)
        state = self._state
        if revision != state.revision + 1:
            raise UnreadableBatchError(f"it begins with revision {revision}, {state.revision + 1} is due")
        for key, value, terms in writes:
            prev = state.items.get(key)
            if value is None:
                if prev is None:
                    raise UnreadableBatchError(f"it deletes {key}, which does not exist")
                state.apply(Event(revision, None, prev))
            elif prev is None:
                state.apply(Event(revision, Item(key, value, terms, revision, revision), None))
            else:
                terms = prev.terms if terms == prev.terms else terms
                item = Item(prev.key, value, terms, prev.create_revision, revision)
                state.apply(Event(revision, item, prev))
            revision += 1

    def _compact_if_due(self) -> None:
        size_bytes = self._journal.size_bytes
        bound = COMPACT_FACTOR * self._state.live_bytes + COMPACT_SLACK_BYTES
        if size_bytes <= max(bound, self._compact_above_bytes) or self._compaction is not None:
            return
        # Items are immutable: this shallow copy is the state at this sequence, however long the writing takes.
        items = list(self._items.values())
        self._compaction = self._loop.create_task(
            self._compact(self._sequence, self.revision, items), name=f"partition-{self.name}-compaction"
        )

    async def _compact(self, sequence: int, revision: int, items: list[Item]) -> None:
        """Write a snapshot, then let the log before it go. A failure costs disk space only and is tried again."""
        before = self._journal.size_bytes
        try:
            await self._journal.snapshot(sequence, encode_snapshot(revision, items))
            await self._journal.trim(sequence)
            self._compact_above_bytes = 0
            log.info(
                "partition %s: compacted at revision %d from %d to %d bytes",
                self.name,
                revision,
                before,
                self._journal.size_bytes,
            )
        except Exception as error:
            if not self._closing:
                log.error("partition %s: compaction failed: %s", self.name, error)
            self._compact_above_bytes = self._journal.size_bytes + COMPACT_RETRY_BYTES
        finally:
            self._compaction = None

    async def close(self) -> None:
        """Write what is queued, stop the watches, close the journal. Reads still answer. Harmless when done twice."""
        self._closing = True
        self._wake_writer()
        if self._writer is not None:
            with suppress(asyncio.CancelledError):
                await self._writer
            self._writer = None
        self._hub.close()
        compaction = self._compaction
        await self._journal.close()
        if compaction is not None:
            await compaction
