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
- JournalFull leaves the partition open for later writes. What makes room (deletes, shrinking updates) does not
  fail with the rest unless it rests on it: it is sent again, alone, as `urgent`.
- JournalFailed and corruption are final: `failed` says why, writes raise it, reads and watches go on.

Roles: a partition is *writer* or *follower* of its journal. A follower applies what the journal says, serves reads
and watches, and refuses writes with NotWriter. The moves between the two:

    follower  promote(), the claim is appended              → writer
    writer    an append is Fenced: NotWriter to everything
              queued, none of it was or will be applied     → follower
    writer    an append is OutcomeUnknown: that to the
              batch under way, NotWriter to those behind    → follower
    writer    resign(), what was queued is durable          → follower

The claim is an entry without writes, appended after all that is seen. Once it is in, an append of the writer before
can no longer get in after the same sequence: a paused writer that comes back is Fenced by its first append.

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
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from typing import Any, NoReturn

import msgspec

from lakh.store.codec import UnreadableBatchError, encode_batch, encode_claim, encode_frozen
from lakh.store.errors import (
    Conflict,
    Fenced,
    FutureRevision,
    JournalError,
    JournalFailed,
    JournalFull,
    NotFound,
    NotWriter,
    OutcomeUnknown,
    Overloaded,
    PartitionClosed,
    QuotaExceeded,
    StoreError,
    Trimmed,
    ValueTooLarge,
)
from lakh.store.frozen import Frozen
from lakh.store.history import HISTORY_BYTES, HISTORY_EVENTS
from lakh.store.journal import Journal
from lakh.store.limits import ITEM_MEMORY_BYTES, Limits
from lakh.store.replay import Progress, Restored, restore
from lakh.store.replica import Replica, Waiters, set_error
from lakh.store.state import Event, Item, State, shared

log = logging.getLogger(__name__)

BATCH_BYTES = 1 << 20
"""A batch is closed before it exceeds this: what a message queue takes as one message by default."""
BATCH_WRITES = 500
"""So that applying a batch holds the event loop for a few milliseconds at most."""
QUEUED_BYTES = 256 << 20
"""Above it, writes raise Overloaded instead of filling the memory of a server whose disk hangs."""
WRITE_OVERHEAD_BYTES = 64
"""Added to the bytes of a queued write's key and value."""
BATCH_FRAMING_BYTES = 64
"""Of a batch and of a write that is alone in one."""
PROMOTE_ATTEMPTS = 20
"""Each time that an append gets in between reading the head and the claim, the claim is tried again."""
RESTORE_ATTEMPTS = 5
"""Each time that the log is trimmed under the reader, it begins anew with the newer snapshot."""
COMPACT_FACTOR = 2
COMPACT_SLACK_BYTES = 64 << 20
"""The journal is compacted when it takes more than COMPACT_FACTOR times the live data and this much."""
COMPACT_RETRY_BYTES = 16 << 20
"""After a failed compaction the journal must have grown by this before the next one."""


class _Write(msgspec.Struct, eq=False, gc=False):
    """A write on its way: `item` is None for a delete. `urgent`: taken also when there is no room."""

    key: str
    item: Item | None
    prev: Item | None
    revision: int
    size_bytes: int
    future: asyncio.Future[Any]
    urgent: bool

    def encoded(self) -> tuple[str, bytes | None, tuple[str, ...]]:
        """What the journal keeps of it."""
        item = self.item
        return (self.key, None, ()) if item is None else (self.key, item.value, item.terms)


class Partition(Replica):
    """Reads, conditional writes and watches on one journal. Open it with `Partition.open`, which owns the journal."""

    def __init__(self, name: str, journal: Journal, restored: Restored, limits: Limits) -> None:
        """Not for callers: `open` reads the journal first."""
        super().__init__(name, journal, restored)
        self.limits = limits
        self.is_writer = False
        self.on_append: Callable[[float, int, int], None] | None = None
        """Told of each durable append: seconds, writes, bytes."""
        self.confirm: Callable[[], Awaitable[None]] | None = None
        """A barrier, for a journal that others may write. What is appended is fenced; a refusal appends nothing, and the
        writer that gives it may have been paused and replaced."""
        self._next_revision = self._state.revision + 1
        self._pending: dict[str, _Write] = {}
        self._queue: deque[_Write] = deque()
        self._queued_bytes = 0
        self._seen_head = 0  # of the journal, as a barrier saw it
        self._no_room = False  # the last append found the journal full
        self._over_disk_quota = False
        self._settlers: Waiters = []
        self._waiting_since: float | None = None  # loop time of the last progress while there is work
        self._resigning = False
        self._wake: asyncio.Future[None] | None = None
        self._promotion = asyncio.Lock()
        self._compaction: asyncio.Task[None] | None = None
        self._compact_above_bytes = 0

    @classmethod
    async def open(
        cls,
        name: str,
        journal: Journal,
        *,
        follow: bool = False,
        history_bytes: int = HISTORY_BYTES,
        history_events: int = HISTORY_EVENTS,
        limits: Limits | None = None,
        progress: Progress | None = None,
    ) -> Partition:
        """Read the journal, then write it, or with `follow` follow it until `promote`.

        A journal that others may write needs `follow`; without it the partition takes the journal for its own.
        Raises JournalError, and closes the journal then.
        """
        limits = limits or Limits()
        try:
            restored = await _restore(
                name, journal, limits.history_bytes(history_bytes), history_events, progress
            )
        except BaseException:
            await journal.close()
            raise
        self = cls(name, journal, restored, limits)
        self._take_role(writer=not follow)
        return self

    def __repr__(self) -> str:
        role = "open" if self.is_writer else "following"
        condition = "failed" if self.failed else "closed" if self._closing else role
        return f"<Partition {self.name} {condition} revision={self.revision} items={len(self._items)}>"

    # Reading

    @property
    def memory_bytes(self) -> int:
        """What the memory quota is held against: live data, queue, and what the history window may take, about.

        The window counts whole, full or not: so what a delete gives back is free at once, though the window keeps it.
        """
        state, history = self._state, self._state.history
        window_bytes = max(history.size_bytes, history.max_bytes)
        return state.live_bytes + ITEM_MEMORY_BYTES * len(self._items) + window_bytes + self._queued_bytes

    @property
    def compacting(self) -> bool:
        """Whether a snapshot is being written."""
        return self._compaction is not None

    @property
    def queued_bytes(self) -> int:
        """What waits for the disk."""
        return self._queued_bytes

    @property
    def queued_writes(self) -> int:
        """How many writes that is, the batch under way included."""
        return self._next_revision - 1 - self._state.revision if self.is_writer else 0

    @property
    def stalled_seconds(self) -> float:
        """For how long writes have waited without one becoming durable; 0 when none waits."""
        return self._loop.time() - self._waiting_since if self._waiting_since is not None else 0.0

    def head(self, key: str) -> Item | None:
        """The newest item, on its way to disk or not: what a write is judged against."""
        write = self._pending.get(key)
        return write.item if write is not None else self._items.get(key)

    # Writing

    def put(
        self,
        key: str,
        value: bytes,
        *,
        expect: int | None = None,
        terms: Iterable[str] = (),
        essential: bool = False,
    ) -> asyncio.Future[Item]:
        """Create or replace an item.

        `expect`: None unconditional, 0 it must not exist, n its head must have revision n. Judged at once: raises
        Conflict, or NotFound (which is one) when there is none to replace. The future is done when the write is
        durable, or has the error of the journal. `essential`: taken also at a quota and on a full disk, for what
        leads to a deletion. Raises QuotaExceeded, ValueTooLarge, Overloaded and NotWriter; nothing was queued then.
        """
        if self.failed is not None or self._closing or self._resigning or not self.is_writer:
            self._refuse()
        write = self._pending.get(key)
        head = write.item if write is not None else self._items.get(key)
        if expect is not None and expect != (head.revision if head is not None else 0):
            raise self._conflict(key, head, write)
        revision = self._next_revision
        terms = tuple(terms)
        size_bytes = WRITE_OVERHEAD_BYTES + len(value) + len(key)
        if terms:
            size_bytes += sum(map(len, terms))
        # UTF-8 takes up to four bytes a character; keys and terms are short beside what is in question here.
        if size_bytes + BATCH_FRAMING_BYTES > self._journal.max_batch_bytes:
            self.counters.large_refusals += 1
            raise ValueTooLarge(key, size_bytes, self._journal.max_batch_bytes)
        urgent = essential or (head is not None and len(value) <= len(head.stored))
        if not urgent:
            self._refuse_at_quota(size_bytes)
        if head is None:
            if key.count("/") < 2:
                raise ValueError(f"the key {key!r} is not of the form table/scope/name")
            item = Item(key, value, shared(terms), revision, revision)
        else:
            # The strings of the item that it replaces are reused: a million updates keep one key.
            item = Item(
                head.key,
                value,
                head.terms if terms == head.terms else shared(terms),
                head.create_revision,
                revision,
            )
        future: asyncio.Future[Item] = self._loop.create_future()
        self._enqueue(_Write(item.key, item, head, revision, size_bytes, future, urgent))
        return future

    def delete(self, key: str, *, expect: int | None = None) -> asyncio.Future[Event]:
        """Delete an item. See `put`; raises NotFound when there is none."""
        if self.failed is not None or self._closing or self._resigning or not self.is_writer:
            self._refuse()
        write = self._pending.get(key)
        head = write.item if write is not None else self._items.get(key)
        if head is None or (expect is not None and expect != head.revision):
            raise self._conflict(key, head, write)
        future: asyncio.Future[Event] = self._loop.create_future()
        size_bytes = WRITE_OVERHEAD_BYTES + len(key)
        self._enqueue(_Write(head.key, None, head, self._next_revision, size_bytes, future, True))
        return future

    def settled(self, item_or_revision: Item | int) -> bool:
        """Whether that revision is durable."""
        if isinstance(item_or_revision, Item):
            item_or_revision = item_or_revision.revision
        return item_or_revision <= self._state.revision

    async def settle(self, revision: int) -> None:
        """Wait until that revision is durable. Call it before the first await after the verdict it belongs to.

        Raises what the write raises if it fails: the verdict was about something that never was. With `confirm`
        raises NotWriter when another writer may have changed what the verdict was about.
        """
        promotions = self.counters.promotions
        if revision > self._state.revision:
            self._refuse_when_failed()
            newest = self._next_revision - 1 if self.is_writer else self._state.revision
            if revision > newest:
                raise FutureRevision(revision, newest)
            await self._wait(self._settlers, revision)
        if self.confirm is not None:
            await self.confirm()
            if not self.is_writer or self.counters.promotions != promotions:
                raise NotWriter(self.name, self.writer)

    def _conflict(self, key: str, head: Item | None, write: _Write | None) -> Conflict:
        self.counters.conflicts += 1
        # A verdict about a pending delete rests on that delete, one about nothing on nothing.
        revision = write.revision if write is not None else head.revision if head is not None else 0
        return NotFound(key, revision) if head is None else Conflict(key, head, revision)

    def _break(self, error: StoreError) -> None:
        self._fail([], error)

    def _behind(self, head: int) -> None:
        """Unless it is by the append under way, somebody else wrote: the writer steps down without a write."""
        self._seen_head = head
        self._wake_writer()

    def _refuse(self) -> NoReturn:
        if self.failed is not None:
            self.counters.failed_refusals += 1
            raise copy.copy(self.failed)
        if self._closing:
            raise PartitionClosed(self.name)
        self.counters.writer_refusals += 1
        raise NotWriter(self.name, self.writer)

    def _refuse_at_quota(self, size_bytes: int) -> None:
        limits = self.limits
        used_bytes = self.memory_bytes
        if used_bytes + size_bytes > limits.memory_bytes:
            self.counters.quota_refusals += 1
            raise QuotaExceeded(self.name, "memory", used_bytes, limits.memory_bytes)
        if self._over_disk_quota:
            self.counters.quota_refusals += 1
            raise QuotaExceeded(self.name, "disk", self._journal.size_bytes, limits.disk_bytes)

    def _enqueue(self, write: _Write) -> None:
        if self._queued_bytes + write.size_bytes > QUEUED_BYTES:
            self.counters.overload_refusals += 1
            raise Overloaded(self.name, self._queued_bytes)
        self._next_revision += 1
        self._pending[write.key] = write
        self._queue.append(write)
        self._queued_bytes += write.size_bytes
        if self._waiting_since is None:
            self._waiting_since = self._loop.time()
        if self._wake is not None:
            self._wake_writer()

    def _wake_writer(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)

    # Roles

    def _take_role(self, *, writer: bool) -> None:
        self.is_writer = writer
        self._resigning = False
        self._next_revision = self._state.revision + 1
        work = self._write() if writer else self._follow()
        self._worker = self._loop.create_task(work, name=f"partition-{self.name}")

    async def promote(
        self, writer: str | None = None, *, instead_of: Iterable[str | None] | None = None
    ) -> None:
        """Become the writer: catch up with the journal and append a claim in the name of `writer`.

        `instead_of`: whom the claim may replace. Of several that replace the same writer at once, one does.
        Raises NotWriter when somebody else claimed meanwhile or others keep getting in between, JournalUnavailable
        and OutcomeUnknown; the partition follows on then. Harmless on the writer.
        """
        async with self._promotion:
            self._refuse_when_failed()
            if self._closing:
                raise PartitionClosed(self.name)
            if self.is_writer:
                return
            await self._stop_following()
            claimed = False
            try:
                claimed = await self._claim(writer, instead_of)
            except UnreadableBatchError as error:
                self._fail([], JournalFailed(f"partition {self.name}: {error}"))
                raise JournalFailed(str(error)) from error
            finally:
                if not self._closing and self.failed is None:
                    self._take_role(writer=claimed)
            if not claimed:
                raise NotWriter(self.name, self.writer)
            self.counters.promotions += 1
            log.info("partition %s: writer from sequence %d on", self.name, self.sequence)

    async def resign(self) -> None:
        """Stop being the writer: new writes raise NotWriter at once, those queued are made durable first.

        Harmless on a follower. Also returns when the partition ceases to be the writer for another reason.
        """
        async with self._promotion:
            worker = self._worker
            if not self.is_writer or worker is None or self._closing:
                return
            self._resigning = True
            self._wake_writer()
            await asyncio.wait([worker])

    async def _claim(self, writer: str | None, instead_of: Iterable[str | None] | None) -> bool:
        for _ in range(PROMOTE_ATTEMPTS):
            head = await self._journal.read_head()
            try:
                while self._restored.sequence < head:
                    await self._follow_to(head)
                if instead_of is not None and self.writer not in instead_of:
                    return False
                claim = encode_claim(self._state.revision + 1, writer)
                await self._journal.append(claim, after=self._restored.sequence, urgent=True)
            except Fenced:
                continue
            except Trimmed:
                await self._reload()
                continue
            self._restored.sequence += 1
            self._restored.writer = writer if writer is not None else self._restored.writer
            self._wake_arrivals()
            return True
        return False

    def _step_down(self, batch: list[_Write], error: Fenced | OutcomeUnknown) -> None:
        """Somebody else writes, or the journal is silent: what the journal says is the truth."""
        log.error("partition %s: not the writer any more: %s", self.name, error)
        self.counters.step_downs += 1
        refused = NotWriter(self.name, None)
        if isinstance(error, OutcomeUnknown):
            self.counters.unknown_outcomes += len(batch)
            for write in batch:
                set_error(write.future, error)
        self._roll_back(batch, refused)
        if self._closing:
            self.is_writer = False
        else:
            self._take_role(writer=False)

    # The writer

    async def _write(self) -> None:
        """Append what is queued, batch by batch, until closed, fenced or failed for good."""
        batch: list[_Write] = []
        try:
            while self.failed is None:
                if self._seen_head > self._restored.sequence:
                    raise Fenced(self._restored.sequence, self._seen_head)
                if not self._queue:
                    if self._closing:
                        return
                    if self._resigning:
                        log.info("partition %s: resigned at sequence %d", self.name, self.sequence)
                        self._take_role(writer=False)
                        return
                    self._wake = self._loop.create_future()
                    await self._wake
                    continue
                batch = self._take()
                data = encode_batch(batch[0].revision, [write.encoded() for write in batch])
                began = time.perf_counter()
                try:
                    self._restored.sequence = await self._journal.append(
                        data,
                        after=self._restored.sequence,
                        urgent=self._no_room and batch[0].urgent,
                    )
                except JournalFull as error:
                    self._shed(batch, error)
                else:
                    self.counters.batches += 1
                    self.counters.batch_bytes += len(data)
                    self.counters.writes += len(batch)
                    if self.on_append is not None:
                        self.on_append(time.perf_counter() - began, len(batch), len(data))
                    if not batch[0].urgent:
                        self._no_room = False
                    self._apply(batch)
                    self._compact_if_due()
                batch = []
        except (Fenced, OutcomeUnknown) as error:
            self._step_down(batch, error)
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
        limit_bytes = min(BATCH_BYTES, self._journal.max_batch_bytes - BATCH_FRAMING_BYTES)
        if self._queued_bytes <= limit_bytes and len(queue) <= BATCH_WRITES and not self._no_room:
            batch = list(queue)
            queue.clear()
            return batch
        batch = [queue.popleft()]
        size_bytes = batch[0].size_bytes
        while queue and len(batch) < BATCH_WRITES:
            size_bytes += queue[0].size_bytes
            if size_bytes > limit_bytes:
                break
            if self._no_room and queue[0].urgent != batch[0].urgent:
                break  # what makes room does not share the fate of what takes it
            batch.append(queue.popleft())
        return batch

    def _apply(self, batch: list[_Write]) -> None:
        """A batch is durable: show it, tell the watchers, then the writers."""
        pending = self._pending
        events = [Event(write.revision, write.item, write.prev) for write in batch]
        self._state.apply_all(events)
        size_bytes = 0
        for write in batch:
            size_bytes += write.size_bytes
            if pending[write.key] is write:
                del pending[write.key]
        self._queued_bytes -= size_bytes
        self._waiting_since = self._loop.time() if pending else None
        self._hub.dispatch(events)
        for write, event in zip(batch, events, strict=True):
            future = write.future
            if not future.done():  # a cancelled one: its client went away, the write stands
                future.set_result(write.item if write.item is not None else event)
        if self._settlers:
            self._settlers = self._wake_reached(self._settlers)
        self._wake_arrivals()

    def _shed(self, batch: list[_Write], error: JournalFull) -> None:
        """The journal is full: growth fails, what makes room and rests on durable items only is queued anew."""
        first = not self._no_room
        self._no_room = True
        rescued: list[_Write] = []
        keys: set[str] = set()
        if first or not batch[0].urgent:
            for write in [*batch, *self._queue]:
                durable = self._items.get(write.key)
                if write.urgent and write.key not in keys and write.prev is durable:
                    rescued.append(write)
                keys.add(write.key)
        futures = {id(write.future) for write in rescued}
        refused = [write for write in batch if id(write.future) not in futures]
        self._queue = deque(write for write in self._queue if id(write.future) not in futures)
        count = len(refused) + len(self._queue)
        self.counters.full_refusals += count
        if count:
            log.error("partition %s: %d writes failed: %s", self.name, count, error)
        self._roll_back(refused, error)
        for write in rescued:
            if write.future.cancelled():
                continue
            write.revision = self._next_revision
            if write.item is not None:
                old = write.item
                write.item = Item(old.key, old.stored, old.terms, old.create_revision, write.revision)
            self._enqueue(write)

    def _roll_back(self, batch: list[_Write], error: StoreError) -> None:
        """A batch failed: so does all that is queued behind it. The pending head is the durable state again."""
        failed: list[asyncio.Future[Item | Event] | asyncio.Future[None]] = [write.future for write in batch]
        failed += [write.future for write in self._queue]
        failed += [future for _, future in self._settlers]
        self._queue.clear()
        self._settlers.clear()
        self._pending.clear()
        self._queued_bytes = 0
        self._waiting_since = None
        self._next_revision = self._state.revision + 1
        for future in failed:
            set_error(future, error)

    def _fail(self, batch: list[_Write], error: StoreError) -> None:
        """The partition takes no more writes."""
        if not isinstance(error, PartitionClosed):
            log.error("partition %s takes no more writes: %s", self.name, error)
        self.is_writer = False
        self._roll_back(batch, error)
        super()._break(error)

    # Compaction

    def _compact_if_due(self) -> None:
        size_bytes = self._journal.size_bytes
        bound = COMPACT_FACTOR * self._state.live_bytes + COMPACT_SLACK_BYTES
        self._over_disk_quota = size_bytes > self.limits.disk_bytes
        if self._over_disk_quota:
            bound = min(bound, COMPACT_FACTOR * self._state.live_bytes)
        if size_bytes <= max(bound, self._compact_above_bytes) or self._compaction is not None:
            return
        self._start_compaction()

    def _start_compaction(self) -> None:
        self._compaction = self._loop.create_task(
            self._compact(self.sequence, self._state.freeze()), name=f"partition-{self.name}-compaction"
        )

    async def compact(self) -> None:
        """Write a snapshot now, or wait for the one being written. What goes wrong is logged and counted."""
        if self._compaction is None:
            self._start_compaction()
        assert self._compaction is not None
        await asyncio.shield(self._compaction)

    async def _compact(self, sequence: int, frozen: Frozen) -> None:
        """Write a snapshot, then let the log before it go. A failure costs disk space only and is tried again."""
        before = self._journal.size_bytes
        try:
            async with aclosing(encode_frozen(frozen, self.writer)) as chunks:
                await self._journal.snapshot(sequence, chunks)
            await self._journal.trim(sequence)
            self._compact_above_bytes = 0
            self._over_disk_quota = self._journal.size_bytes > self.limits.disk_bytes
            self.counters.compactions += 1
            log.info(
                "partition %s: compacted at revision %d from %d to %d bytes",
                self.name,
                frozen.revision,
                before,
                self._journal.size_bytes,
            )
        except Exception as error:
            self.counters.failed_compactions += 1
            if not self._closing:
                log.error("partition %s: compaction failed: %s", self.name, error)
            self._compact_above_bytes = self._journal.size_bytes + COMPACT_RETRY_BYTES
        finally:
            frozen.release()  # when nothing was asked of the chunks
            self._compaction = None

    async def close(self) -> None:
        """Write what is queued, stop the watches, close the journal. Reads still answer. Harmless when done twice."""
        self._closing = True
        self._wake_writer()
        async with self._promotion:
            if not self.is_writer:
                await self._stop_following()
            elif self._worker is not None:
                with suppress(asyncio.CancelledError):
                    await self._worker
                self._worker = None
                self.is_writer = False
        self._refuse_arrivals(PartitionClosed(self.name))
        self._hub.close()
        compaction = self._compaction
        await self._journal.close()
        if compaction is not None:
            await compaction


async def _restore(
    name: str, journal: Journal, history_bytes: int, history_events: int, progress: Progress | None
) -> Restored:
    """Read the journal, anew when it is trimmed meanwhile."""
    for attempt in range(1, RESTORE_ATTEMPTS + 1):
        state = State(history_bytes=history_bytes, history_events=history_events)
        try:
            return await restore(journal, state, progress)
        except Trimmed:
            if attempt == RESTORE_ATTEMPTS:
                raise
        except UnreadableBatchError as error:
            raise JournalFailed(f"partition {name}: {error}") from error
    raise AssertionError("every attempt returns or raises")
