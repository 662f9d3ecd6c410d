"""A replica of a partition: the state that memory serves, kept up with a journal that somebody writes.

`Partition` builds on it and may also be that somebody. Here is what every replica does: it applies entries in order,
tells its watchers, answers reads, and lets callers wait for a revision (`reach`: read your writes) or for everything
that was acknowledged before they asked (`barrier`: linearizable reads).

Owned by the event loop. One task, the worker, changes the state; a follower's worker runs `_follow`.

A follower that was away for so long that the log was trimmed behind a snapshot reads the snapshot. It cannot tell its
watchers what they missed, so it ends their watches; they list anew.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from lakh.store.codec import UnreadableBatchError
from lakh.store.cursor import Cursor
from lakh.store.errors import (
    JournalError,
    JournalFailed,
    JournalUnavailable,
    PartitionClosed,
    StoreError,
    Trimmed,
)
from lakh.store.frozen import Frozen
from lakh.store.hub import Sink, Watch, WatchHub, deliver
from lakh.store.journal import Journal
from lakh.store.limits import Counters
from lakh.store.replay import Restored, restore
from lakh.store.state import Item, Range, State

log = logging.getLogger(__name__)

FOLLOW_RETRY_SECONDS = 0.2
"""Between two tries of a follower whose journal cannot be reached."""

CANCEL_SECONDS = 0.5
"""A worker that goes on after it was cancelled is cancelled again."""

Waiters = list[tuple[int, asyncio.Future[None]]]


class Replica:
    """Reads and watches on one journal."""

    def __init__(self, name: str, journal: Journal, restored: Restored) -> None:
        """Takes over what was restored from the journal. The worker is the subclass's to start."""
        self.name = name
        self.failed: StoreError | None = None
        """Why the state is not kept up any more, if so."""
        self.counters = Counters()
        self._journal = journal
        self._restored = restored
        self._state = restored.state
        self._items = restored.state.items
        self._hub = WatchHub()
        self._loop = asyncio.get_running_loop()
        self._arrivals: Waiters = []
        self._worker: asyncio.Task[None] | None = None
        self._closing = False

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
    def history_events(self) -> int:
        """Events in the history window."""
        return len(self._state.history)

    @property
    def history_bytes(self) -> int:
        """What the history window takes, about."""
        return self._state.history.size_bytes

    @property
    def live_bytes(self) -> int:
        """Keys, values and terms of the present items."""
        return self._state.live_bytes

    @property
    def item_bytes(self) -> int:
        """What a present item takes on average."""
        return self._state.live_bytes // (len(self._items) or 1)

    @property
    def disk_bytes(self) -> int:
        """What the disk quota is held against."""
        return self._journal.size_bytes

    @property
    def sequence(self) -> int:
        """Of the newest journal entry in the state."""
        return self._restored.sequence

    @property
    def writer(self) -> str | None:
        """Who claimed the partition last, in the words given to `promote`."""
        return self._restored.writer

    @property
    def watch_count(self) -> int:
        """Live watches."""
        return len(self._hub)

    def get(self, key: str) -> Item | None:
        """The durable item."""
        return self._items.get(key)

    def items(self) -> list[Item]:
        """All durable items, in no order. Holds the loop for some 20 ms a million; see `freeze`."""
        return list(self._items.values())

    async def pack_cold(self, pause_seconds: float) -> None:
        """One pass over all items, in pieces of 1 to 2 ms with pauses between them: what is cold is packed, when there is much (`packing`)."""
        for table in list(self._state.tables):
            after = ""
            while (last := self._state.pack_piece(table, after)) is not None:
                after = last
                await asyncio.sleep(pause_seconds)

    def freeze(self) -> Frozen:
        """All durable items as they are now, to be taken piece by piece while the partition moves on."""
        return self._state.freeze()

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

    def cursor(self, table: str, scope: str | None, revision: int) -> Cursor:
        """Durable items as of a revision, piece by piece. Raises Compacted and FutureRevision."""
        return Cursor(self._state, table, scope, revision)

    def count(self, table: str, scope: str | None = None) -> int:
        """Number of durable items. O(log n)."""
        return self._state.count(table, scope)

    def having(self, table: str, term: str) -> list[Item]:
        """The items of a table that have a term, in key order, at `revision`. Costs nothing for the others."""
        return self._state.having(table, term)

    def having_count(self, table: str, term: str) -> int:
        """How many those are. O(1)."""
        return self._state.having_count(table, term)

    def watch(
        self,
        table: str,
        scope: str | None = None,
        name: str | None = None,
        term: str | None = None,
        *,
        start: int | None,
        sink: Sink,
        on_end: Callable[[], None] | None = None,
    ) -> Watch:
        """Give events to `sink`, in revision order, a list a batch; it must not block.

        `start`: events after that revision first, from the window and before this returns, then live ones, none
        missing, none twice. None: from now on. Raises Compacted and FutureRevision. O(log n + missed events).
        `on_end` is called when the partition ends the watch: it is closed, or a follower had to skip events.
        """
        if self._closing:
            raise PartitionClosed(self.name)
        watch = Watch(table, scope, name, term, sink)
        watch.on_end = on_end
        if start is None or start == self.revision:
            return self._hub.add(watch)
        self._state.check(start)
        missed = watch.replay(self._state.history, start)
        # No await from here on: what is durable now is replayed, what comes later is live.
        self._hub.add(watch)
        if missed:
            deliver(watch, missed)
        return watch

    async def reach(self, revision: int) -> None:
        """Wait until the state has that revision, wherever it is written: read your writes on any replica.

        Callers bound the wait; it ends with PartitionClosed or the partition's failure.
        """
        if revision > self._state.revision:
            self._refuse_when_failed()
            try:
                await self._wait(self._arrivals, revision)
            except asyncio.CancelledError:
                # Given up: a revision that never comes must not be waited for for ever.
                self._arrivals = [waiter for waiter in self._arrivals if not waiter[1].done()]
                raise

    async def barrier(self) -> None:
        """Wait until the state has all that was acknowledged before this call, by any writer.

        Reads after it are linearizable. Costs a question to the journal. Raises JournalUnavailable.
        """
        head = await self._journal.read_head()
        if self._restored.sequence < head:
            self._behind(head)
        while self._restored.sequence < head:
            self._refuse_when_failed()
            # Any move of the state wakes it: claims have no revision to wait for.
            await self._wait(self._arrivals, 0)

    async def _wait(self, waiting: list[tuple[int, asyncio.Future[None]]], revision: int) -> None:
        if self._closing and self._worker is None:
            raise PartitionClosed(self.name)
        future: asyncio.Future[None] = self._loop.create_future()
        waiting.append((revision, future))
        await future

    # Following

    async def _follow(self) -> None:
        """Apply what the journal says, until promoted, closed or failed for good."""
        try:
            while self.failed is None:
                try:
                    await self._follow_to(None)
                except Trimmed:
                    await self._reload()
                except JournalUnavailable as error:
                    log.warning("partition %s: %s; following on", self.name, error)
                    await asyncio.sleep(FOLLOW_RETRY_SECONDS)
        except JournalError as error:
            self._break(error)
        except UnreadableBatchError as error:
            self._break(JournalFailed(f"partition {self.name}: {error}"))
        except Exception as error:
            log.exception("partition %s: the follower failed", self.name)
            self._break(JournalFailed(f"{type(error).__name__}: {error}"))

    async def _follow_to(self, head: int | None) -> None:
        """Apply entries and tell the watchers, up to `head` or for ever."""
        async with aclosing(self._journal.follow(self._restored.sequence + 1)) as entries:
            async for entry in entries:
                events = self._restored.take_in(entry.sequence, entry.batch)
                self.counters.followed_batches += 1
                self._hub.dispatch(events)
                self._wake_arrivals()
                if head is not None and entry.sequence >= head:
                    return

    async def _reload(self) -> None:
        """The log was trimmed before this follower had read it: begin anew with the snapshot. Watches end."""
        history = self._state.history
        log.warning(
            "partition %s: fell behind the log at sequence %d; reading anew", self.name, self.sequence
        )
        state = State(history_bytes=history.max_bytes, history_events=history.max_events)
        restored = await restore(self._journal, state)
        self._restored, self._state, self._items = restored, state, state.items
        self.counters.reloads += 1
        self._hub.close()
        self._wake_arrivals()

    async def _stop_following(self) -> None:
        worker, self._worker = self._worker, None
        while worker is not None and not worker.done():
            worker.cancel()
            # A library below may lose a cancellation that comes together with what it waited for.
            await asyncio.wait([worker], timeout=CANCEL_SECONDS)

    def _behind(self, head: int) -> None:
        """The journal has more than the state. A follower gets it anyway."""

    def _break(self, error: StoreError) -> None:
        """The state is not kept up any more; reads go on."""
        self.failed = error
        self._refuse_arrivals(error)

    def _refuse_when_failed(self) -> None:
        if self.failed is not None:
            raise copy.copy(self.failed)

    # Waiting

    def _wake_arrivals(self) -> None:
        if self._arrivals:
            self._arrivals = self._wake_reached(self._arrivals)

    def _wake_reached(
        self, waiting: list[tuple[int, asyncio.Future[None]]]
    ) -> list[tuple[int, asyncio.Future[None]]]:
        revision = self._state.revision
        still = []
        for waiter in waiting:
            if waiter[0] > revision:
                still.append(waiter)
            elif not waiter[1].done():
                waiter[1].set_result(None)
        return still

    def _refuse_arrivals(self, error: StoreError) -> None:
        for _, future in self._arrivals:
            set_error(future, error)
        self._arrivals.clear()


def set_error(future: asyncio.Future[Any], error: StoreError) -> None:
    """An exception of its own for each."""
    if not future.done():
        future.set_exception(copy.copy(error))
        future.exception()  # a client that went away is no reason for a warning
