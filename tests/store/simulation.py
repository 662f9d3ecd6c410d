"""Partitions on one journal under random schedules, and the checkers of what they did.

Everything runs in one event loop without clocks, files or threads, so a seed is a schedule. A round has two or three
replicas. Clients write and read through any of them; replicas are promoted, paused (their journal answers nothing),
crash and come back; answers of appends are lost, before or after the batch landed; the log is compacted, by the writer
or by somebody else; the disk fills up and is free again; some rounds run at a quota that a few items exceed.

At a quota and on a full disk what makes room must go through: a delete that is refused for want of room is a violation
unless it rests on a write that was.

Two checkers, each a function on what was recorded:

- `check_linearizable`: per key, a history of operations with their begin and end. Writes that were refused did not
  happen; those whose outcome is unknown may take effect at any time after their begin, or never.
- `check_watch`: what each watcher was told, in order and without a gap, leads to the final state.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from functools import cache

from lakh.store.codec import encode_snapshot
from lakh.store.errors import (
    Compacted,
    Conflict,
    FutureRevision,
    JournalClosed,
    JournalError,
    JournalFull,
    NotWriter,
    OutcomeUnknown,
    PartitionClosed,
    QuotaExceeded,
    StoreError,
)
from lakh.store.limits import Limits
from lakh.store.memory_journal import MemoryJournal
from lakh.store.partition import Partition
from lakh.store.state import Event

KEYS = ("pods/a/x", "pods/a/y", "nodes//z")
FOREVER = 1 << 60
QUOTAS_BYTES = (800, 1_300, 1 << 30, 1 << 30)
"""Room for one item, for two, for all."""


class Violation(AssertionError):
    """A guarantee did not hold."""


@dataclass
class Operation:
    """`kind`: get, put, delete. `expect`: a value that must be there, "" none; None unconditional."""

    key: str
    kind: str
    begin: int
    value: str = ""
    expect: str | None = None
    end: int = FOREVER
    outcome: str = "unknown"  # ok, refused (had no effect), conflict, unknown
    seen: str = ""  # what a get returned, "" for nothing


def check_linearizable(operations: list[Operation]) -> None:
    """Raise Violation unless each key's operations have an order that explains every answer."""
    for key in {operation.key for operation in operations}:
        mine = [op for op in operations if op.key == key and op.outcome != "refused"]
        if not _explained(sorted(mine, key=lambda op: op.begin)):
            raise Violation(f"{key}: no order explains {mine}")


def _step(op: Operation, value: str) -> tuple[bool, str]:
    """(whether this answer fits this value, the value after)."""
    if op.kind == "get":
        return op.seen == value, value
    fits = op.expect is None or op.expect == value
    if op.kind == "delete":
        fits = fits and value != ""
    if op.outcome == "conflict":
        return not fits, value
    after = op.value if op.kind == "put" else ""
    if op.outcome == "unknown":
        return fits, after  # taking no effect is the other branch
    return fits, after


def _explained(ops: list[Operation]) -> bool:
    done_all = frozenset(range(len(ops)))

    @cache
    def search(left: frozenset[int], value: str) -> bool:
        if all(ops[i].outcome == "unknown" for i in left):
            return True
        first_end = min(ops[i].end for i in left)
        for i in sorted(left):
            op = ops[i]
            if op.begin > first_end:
                break
            fits, after = _step(op, value)
            if fits and search(left - {i}, after):
                return True
        return False

    return search(done_all, "")


@dataclass
class Watcher:
    """What a watcher was told, from an empty state on."""

    replica: int
    revisions: list[int] = field(default_factory=list)
    state: dict[str, bytes] = field(default_factory=dict)
    begun: int = 1
    ended: bool = False

    def sink(self, events: list[Event]) -> None:
        for event in events:
            self.revisions.append(event.revision)
            if event.item is None:
                del self.state[event.key]
            else:
                self.state[event.key] = event.item.value


def check_watch(watcher: Watcher, revision: int, final: dict[str, bytes]) -> None:
    """Raise Violation unless it was told everything once and in order."""
    expected = list(range(watcher.begun + 1, watcher.begun + 1 + len(watcher.revisions)))
    if watcher.revisions != expected:
        raise Violation(f"a watcher from {watcher.begun} on was told {watcher.revisions}")
    if not watcher.ended and (watcher.begun + len(watcher.revisions) != revision or watcher.state != final):
        raise Violation(
            f"a watcher's replay is {watcher.state} at {expected[-1:]}, the state {final} at {revision}"
        )


class FaultyJournal(MemoryJournal):
    """Answers get lost. The batch may land when its writer has long been told that nobody knows.

    The disk is one for all who share the log. It has a reserve for what makes room.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loss = ""  # of the next append: request, answer, late

    @property
    def full(self) -> bool:
        """Whether there is room for urgent appends only."""
        return getattr(self._log, "full", False)

    @full.setter
    def full(self, full: bool) -> None:
        self._log.full = full  # type: ignore[attr-defined]

    async def append(self, batch: bytes, *, after: int, urgent: bool = False) -> int:
        await self._gate.wait()
        if self.full and not urgent:
            raise JournalFull
        loss, self.loss = self.loss, ""
        if loss == "request":
            raise OutcomeUnknown("lost")
        if loss == "late":
            asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(self._land_late(batch, after)))
            raise OutcomeUnknown("late")
        sequence = await super().append(batch, after=after)
        if loss == "answer":
            raise OutcomeUnknown("lost")
        return sequence

    async def _land_late(self, batch: bytes, after: int) -> None:
        try:
            await super().append(batch, after=after)
        except JournalError:
            return


class Simulation:
    """One round. `partition_type` and `journal_type` are replaced to plant faults."""

    partition_type: type[Partition] = Partition
    journal_type: type[FaultyJournal] = FaultyJournal

    def __init__(self, seed: int, steps: int = 60) -> None:
        self.random = random.Random(seed)
        self.steps = steps
        self.now = 0
        self.values = 0
        self.operations: list[Operation] = []
        self.watchers: list[Watcher] = []
        self.clients: set[asyncio.Task[None]] = set()
        self.journals: list[FaultyJournal] = []
        self.replicas: list[Partition] = []
        self.violations: list[BaseException | None] = []
        self.limits = Limits(memory_bytes=self.random.choice(QUOTAS_BYTES))
        self.counts = dict.fromkeys(("quota", "full", "rescued"), 0)

    def tick(self) -> int:
        self.now += 1
        return self.now

    async def run(self) -> None:
        log = self.journal_type()
        for index in range(self.random.choice((2, 3))):
            await self._open(index, log if index == 0 else log.shared())  # type: ignore[arg-type]
        actions = [self._write] * 8 + [self._read] * 3 + [self._promote] * 2
        actions += [
            self._lose,
            self._pause,
            self._resume,
            self._resume,
            self._crash,
            self._compact,
            self._compact_writer,
            self._fill,
            self._make_room,
            self._make_room,
            self._watch,
        ]
        for _ in range(self.steps):
            await self.random.choice(actions)()
            for _ in range(self.random.randrange(4)):
                await asyncio.sleep(0)
        await self._finish()

    async def _open(self, index: int, journal: FaultyJournal) -> None:
        partition = await self.partition_type.open("sim", journal, follow=True, limits=self.limits)
        if index < len(self.replicas):
            self.journals[index], self.replicas[index] = journal, partition
        else:
            self.journals.append(journal)
            self.replicas.append(partition)
        self._watch_replica(index)

    def _watch_replica(self, index: int) -> None:
        watcher = Watcher(index)
        try:
            self.replicas[index].watch("pods", start=1, sink=lambda events: None).stop()
        except (Compacted, FutureRevision):
            return
        # Both tables, so that every revision is due.
        merged: list[Event] = []

        def sink(events: list[Event]) -> None:
            merged.extend(events)
            merged.sort(key=lambda event: event.revision)
            while merged and merged[0].revision == watcher.begun + len(watcher.revisions) + 1:
                watcher.sink([merged.pop(0)])

        def end() -> None:
            watcher.ended = True

        for table in ("pods", "nodes"):
            self.replicas[index].watch(table, start=1, sink=sink, on_end=end)
        self.watchers.append(watcher)

    def _any(self) -> int:
        return self.random.randrange(len(self.replicas))

    def _spawn(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[arg-type]
        self.clients.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.clients.discard(task)
        if not task.cancelled() and isinstance(task.exception(), Violation):
            self.violations.append(task.exception())

    async def _write(self) -> None:
        self._spawn(self._client_write(self.replicas[self._any()]))

    async def _client_write(self, partition: Partition) -> None:
        self.values += 1
        key = self.random.choice(KEYS)
        kind = self.random.choice(("put", "put", "put", "delete"))
        op = Operation(key, kind, self.tick(), value=str(self.values))
        head = partition.head(key)
        expect: int | None = None
        if self.random.random() < 0.3:
            head = partition.get(key)  # older than the head when a write is on its way: a conflict
        if self.random.random() < 0.6:
            op.expect = head.value.decode() if head is not None else ""
            expect = head.revision if head is not None else 0
        if self.random.random() < 0.1:
            op.expect, expect = "never", 1  # what nobody wrote
        if kind == "delete" and head is None:
            return
        self.operations.append(op)
        essential = kind == "delete" or self.random.random() < 0.2
        try:
            if kind == "put":
                await partition.put(key, op.value.encode(), expect=expect, essential=essential)
            else:
                await partition.delete(key, expect=expect)
            op.outcome = "ok"
        except Conflict as conflict:
            try:
                await partition.settle(conflict.revision)
                op.outcome = "conflict" if partition.is_writer else "refused"
                if partition.is_writer:
                    await partition.barrier()
                    op.outcome = "conflict" if partition.is_writer else "refused"
            except StoreError:
                op.outcome = "refused"
        except (OutcomeUnknown, JournalClosed):
            return  # for ever under way
        except QuotaExceeded as error:
            if essential:
                raise Violation(f"{op} was refused at a quota") from error
            self.counts["quota"] += 1
            op.outcome = "refused"
        except JournalFull:
            self.counts["full"] += 1
            op.outcome = "refused"
        except (NotWriter, PartitionClosed):
            op.outcome = "refused"
        op.end = self.tick()

    async def _read(self) -> None:
        self._spawn(self._client_read(self.replicas[self._any()]))

    async def _client_read(self, partition: Partition) -> None:
        op = Operation(self.random.choice(KEYS), "get", self.tick())
        try:
            await partition.barrier()
        except StoreError:
            return
        item = partition.get(op.key)
        op.seen = item.value.decode() if item is not None else ""
        op.outcome, op.end = "ok", self.tick()
        self.operations.append(op)

    async def _promote(self) -> None:
        index = self._any()
        self._spawn(self._claim(self.replicas[index], str(index)))

    async def _claim(self, partition: Partition, name: str) -> None:
        try:
            await partition.promote(name)
        except StoreError:
            return

    async def _lose(self) -> None:
        self.journals[self._any()].loss = self.random.choice(("request", "answer", "late"))

    async def _pause(self) -> None:
        self.journals[self._any()].hold()

    async def _resume(self) -> None:
        self.journals[self._any()].release()

    async def _crash(self) -> None:
        """The process is gone. What it had sent may still land: its append is held, then released."""
        index = self._any()
        old, journal = self.replicas[index], self.journals[index]
        for watcher in self.watchers:
            if watcher.replica == index:
                watcher.ended = True
        log = journal.shared()
        journal.loss = self.random.choice(("", "request", "answer", "late"))
        journal.release()
        self._spawn(old.close())
        await self._open(index, log)  # type: ignore[arg-type]

    async def _compact(self) -> None:
        partition, journal = self.replicas[self._any()], self.journals[0]
        items = list(partition._items.values())
        sequence, revision = partition.sequence, partition.revision
        if sequence:
            await journal.snapshot(sequence, encode_snapshot(revision, items, partition.writer))
            await journal.trim(sequence)

    async def _compact_writer(self) -> None:
        """As a writer does it by itself: beside its appends."""
        self._spawn(self.replicas[self._any()].compact())

    async def _fill(self) -> None:
        self.journals[0].full = True

    async def _make_room(self) -> None:
        self.journals[0].full = False

    async def _delete_on_a_full_disk(self) -> None:
        """What there is can be deleted, whatever came before."""
        writer = next((p for p in self.replicas if p.is_writer), self.replicas[0])
        self.journals[0].full = True
        await writer.promote("last")
        for key in sorted(writer._items):
            op = Operation(key, "delete", self.tick())
            self.operations.append(op)
            try:
                await writer.delete(key)
            except (JournalFull, QuotaExceeded) as error:
                raise Violation(f"{op} was refused for want of room") from error
            op.outcome, op.end = "ok", self.tick()
            self.counts["rescued"] += 1
            break
        self.journals[0].full = False

    async def _watch(self) -> None:
        self._watch_replica(self._any())

    async def _finish(self) -> None:
        for journal in self.journals:
            journal.loss = ""
            journal.full = False
            journal.release()
        await asyncio.gather(*self.clients, return_exceptions=True)
        await asyncio.sleep(0)
        for violation in self.violations:
            assert violation is not None
            raise violation
        for partition in self.replicas:
            await partition.barrier()
        await self._delete_on_a_full_disk()
        for partition in self.replicas:
            await partition.barrier()
        truth = self.replicas[0]
        final = {key: item.value for key, item in truth._items.items()}
        for partition in self.replicas:
            if {key: item.value for key, item in partition._items.items()} != final:
                raise Violation(f"{partition} is not as {truth}")
        for key in KEYS:
            value = final.get(key, b"").decode()
            self.operations.append(
                Operation(key, "get", self.tick(), seen=value, outcome="ok", end=self.tick())
            )
        try:
            check_linearizable(self.operations)
            for watcher in self.watchers:
                check_watch(watcher, truth.revision, final)
        finally:
            for partition in self.replicas:
                await partition.close()
