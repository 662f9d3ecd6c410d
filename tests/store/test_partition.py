"""The partition: judged against the pending head, shown when durable, one entry a flush."""

import asyncio
import logging
from pathlib import Path

import pytest

from lakh.store import partition as partition_module
from lakh.store.codec import encode_snapshot
from lakh.store.errors import (
    Compacted,
    Conflict,
    FutureRevision,
    JournalClosed,
    JournalFailed,
    JournalFull,
    NotFound,
    NotWriter,
    OutcomeUnknown,
    Overloaded,
    PartitionClosed,
    QuotaExceeded,
    ValueTooLarge,
)
from lakh.store.file_journal import FileJournal
from lakh.store.history import BLOCK_EVENTS
from lakh.store.limits import Limits
from lakh.store.memory_journal import MemoryJournal
from lakh.store.partition import Partition
from lakh.store.state import Event

A = "pods/default/a"


async def open_partition(
    journal: MemoryJournal | None = None, **options: int
) -> tuple[Partition, MemoryJournal]:
    journal = journal or MemoryJournal()
    return await Partition.open("pods", journal, **options), journal


async def test_life_of_an_item() -> None:
    pods, _ = await open_partition()
    assert (pods.revision, pods.oldest_revision, pods.get(A), pods.count("pods")) == (1, 1, None, 0)
    created = await pods.put(A, b"1", expect=0, terms=["t"])
    assert (created.key, created.value, created.terms) == (A, b"1", ("t",))
    assert (created.create_revision, created.revision, pods.revision) == (2, 2, 2)
    updated = await pods.put(A, b"2", expect=2)
    assert (updated.create_revision, updated.revision, updated.terms) == (2, 3, ())
    assert pods.get(A) is updated
    event = await pods.delete(A, expect=3)
    assert (event.revision, event.item, event.prev, event.key) == (4, None, updated, A)
    assert pods.get(A) is None
    again = await pods.put(A, b"3")
    assert again.create_revision == 5
    assert repr(pods) == "<Partition pods open revision=5 items=1>"
    await pods.close()


async def test_verdicts() -> None:
    pods, _ = await open_partition()
    with pytest.raises(NotFound) as missing:
        pods.delete(A)
    assert (missing.value.key, missing.value.revision) == (A, 0)
    with pytest.raises(NotFound):
        pods.put(A, b"", expect=2)
    item = await pods.put(A, b"1")
    for expect in (0, 1, 3):
        with pytest.raises(Conflict) as conflict:
            pods.put(A, b"", expect=expect)
        assert (conflict.value.head, conflict.value.revision) == (item, 2)
        with pytest.raises(Conflict):
            pods.delete(A, expect=expect)
    with pytest.raises(ValueError, match="table/scope/name"):
        pods.put("pods/a", b"")
    assert (await pods.put(A, b"", expect=2)).revision == 3, "a refused write takes no revision"
    await pods.close()


async def test_writes_are_judged_against_the_pending_head_and_shown_when_durable() -> None:
    pods, journal = await open_partition()
    journal.hold()
    first = pods.put(A, b"1", expect=0)
    head = pods.head(A)
    assert head is not None
    assert (pods.get(A), head.revision, pods.settled(head), pods.settled(1)) == (None, 2, False, True)
    with pytest.raises(Conflict) as conflict:
        pods.put(A, b"", expect=0)
    settling = asyncio.create_task(pods.settle(conflict.value.revision))
    second = pods.put(A, b"2", expect=2)
    gone = pods.delete(A, expect=3)
    with pytest.raises(NotFound) as missing:
        pods.delete(A)
    assert missing.value.revision == 4
    await asyncio.sleep(0)
    assert (pods.revision, pods.count("pods"), pods.head(A), settling.done()) == (1, 0, None, False)
    journal.release()
    await settling
    assert pods.settled(2)
    assert [(await first).value, (await second).value, (await gone).revision] == [b"1", b"2", 4]
    await pods.settle(4)
    with pytest.raises(FutureRevision):
        await pods.settle(5)
    await pods.close()


async def test_what_waits_is_one_entry() -> None:
    pods, journal = await open_partition()
    journal.hold()
    futures = [pods.put(f"pods/a/{i}", b"") for i in range(10)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    futures += [pods.put(f"pods/b/{i}", b"") for i in range(10)]
    journal.release()
    items = await asyncio.gather(*futures)
    assert [item.revision for item in items] == list(range(2, 22))
    assert journal.head == 2
    await pods.close()


async def test_batches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_module, "BATCH_BYTES", 1000)
    monkeypatch.setattr(partition_module, "BATCH_WRITES", 3)
    pods, journal = await open_partition()
    await asyncio.gather(*[pods.put(f"pods/a/{i}", b"") for i in range(9)])
    assert journal.head == 3
    await asyncio.gather(
        *[pods.put(f"pods/a/{i}", b"x" * 500) for i in range(2)], pods.put("pods/a/3", b"x" * 2000)
    )
    assert journal.head == 6
    await pods.close()


async def test_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_module, "QUEUED_BYTES", 1000)
    pods, journal = await open_partition()
    journal.hold()
    future = pods.put(A, b"x" * 600)
    with pytest.raises(Overloaded):
        pods.put(A, b"x" * 600)
    head = pods.head(A)
    assert head is not None
    assert head.revision == 2
    assert pods.queued_bytes > 600
    journal.release()
    await future
    assert pods.queued_bytes == 0
    assert (await pods.put(A, b"x" * 600)).revision == 3
    await pods.close()


async def test_a_cancelled_write_stands_and_harms_nobody() -> None:
    pods, journal = await open_partition()
    journal.hold()
    cancelled, other = pods.put(A, b"1"), pods.put("pods/default/b", b"2")
    cancelled.cancel()
    journal.release()
    assert (await other).revision == 3
    item = pods.get(A)
    assert item is not None
    assert item.value == b"1"
    await pods.close()


# Failures


async def test_full_journal_rolls_back_and_writes_resume() -> None:
    pods, journal = await open_partition()
    kept = await pods.put(A, b"1")
    events: list[list[Event]] = []
    pods.watch("pods", start=None, sink=events.append)
    journal.hold()
    journal.faults.append(JournalFull())
    in_flight = pods.put(A, b"22", expect=2)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    queued, deleted = pods.put("pods/default/b", b""), pods.delete(A)
    settling = asyncio.create_task(pods.settle(3))
    dropped = pods.put("pods/default/c", b"")
    dropped.cancel()
    await asyncio.sleep(0)
    journal.release()
    results = await asyncio.gather(in_flight, queued, deleted, settling, return_exceptions=True)
    assert all(isinstance(result, JournalFull) for result in results)
    assert len({id(result) for result in results}) == 4, "an exception for each"
    assert (pods.head(A), pods.get(A), pods.head("pods/default/b")) == (kept, kept, None)
    assert (pods.revision, pods.failed, events, pods.queued_bytes) == (2, None, [], 0)
    assert (await pods.put(A, b"3", expect=2)).revision == 3
    await pods.close()


@pytest.mark.parametrize("fault", [JournalFailed("EIO"), JournalClosed()])
async def test_other_failures_are_final(fault: JournalFailed | JournalClosed) -> None:
    pods, journal = await open_partition()
    await pods.put(A, b"1")
    journal.faults.append(fault)
    with pytest.raises(type(fault)):
        await pods.put(A, b"2")
    for write in (lambda: pods.put(A, b"3"), lambda: pods.delete(A)):
        with pytest.raises(type(fault)):
            write()
    with pytest.raises(type(fault)):
        await pods.settle(3)
    assert pods.failed is fault
    item = pods.get(A)
    assert item is not None
    assert (item.value, pods.range("pods").items) == (b"1", [item])
    assert "failed" in repr(pods)
    replay: list[list[Event]] = []
    pods.watch("pods", start=1, sink=replay.append)
    assert len(replay) == 1
    await pods.close()


async def test_an_unexpected_error_is_final_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pods, journal = await open_partition()

    async def append(batch: bytes, *, after: int, urgent: bool = False) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setattr(journal, "append", append)
    with pytest.raises(JournalFailed, match="RuntimeError: a bug"):
        await pods.put(A, b"1")
    await pods.close()


async def test_full_journal_takes_what_makes_room() -> None:
    pods, journal = await open_partition()
    for name in "abc":
        await pods.put(f"pods/default/{name}", b"123")
    journal.hold()
    journal.faults.append(JournalFull())
    grown = pods.put("pods/default/d", b"1")
    deleted = pods.delete("pods/default/a")
    shrunk = pods.put("pods/default/b", b"1")
    essential = pods.put("pods/default/c", b"12345", essential=True)
    resting_on_what_failed = pods.delete("pods/default/d")
    journal.release()
    for refused in (grown, resting_on_what_failed):
        with pytest.raises(JournalFull):
            await refused
    assert ((await deleted).revision, (await shrunk).revision, (await essential).revision) == (5, 6, 7)
    assert (pods.revision, pods.count("pods"), pods.counters.full_refusals) == (7, 2, 2)
    assert (await pods.put("pods/default/d", b"1")).revision == 8
    await pods.close()


# Quotas


async def test_quota_refuses_growth_and_takes_deletes() -> None:
    limits = Limits(memory_bytes=2_000)
    pods = await Partition.open("pods", MemoryJournal(), limits=limits, history_events=1)
    await pods.put(A, bytes(1_400))
    for grow in (lambda: pods.put("pods/default/b", bytes(500)), lambda: pods.put(A, bytes(1_401))):
        with pytest.raises(QuotaExceeded) as caught:
            grow()
        assert (caught.value.resource, caught.value.limit_bytes) == ("memory", 2_000)
    assert pods.counters.quota_refusals == 2
    await pods.put(A, bytes(1_401), essential=True)
    await pods.put(A, bytes(10))
    await pods.delete(A)
    await pods.close()


async def test_disk_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_module, "COMPACT_FACTOR", 10**9)
    pods = await Partition.open("pods", MemoryJournal(), limits=Limits(disk_bytes=1_000))
    for _ in range(3):
        await pods.put(A, bytes(500))
    with pytest.raises(QuotaExceeded, match="of disk"):
        pods.put("pods/default/b", b"")
    await pods.delete(A)
    await pods.close()


async def test_values_that_no_entry_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryJournal, "max_batch_bytes", 1_000)
    pods, _ = await open_partition()
    with pytest.raises(ValueTooLarge):
        pods.put(A, bytes(1_000))
    await asyncio.gather(*(pods.put(f"pods/default/{n}", bytes(700)) for n in range(5)))
    assert pods.counters.batches == 5, "no batch is longer than the journal takes"
    await pods.close()


async def test_updates_of_the_same_objects_grow_nothing_but_the_window() -> None:
    pods, _ = await open_partition(history_events=500)
    history = pods._state.history
    sizes = []
    for round_ in range(4):
        for _ in range(10):
            writes = [pods.put(f"pods/default/{n}", b"%d" % n, terms=(f"node=n{n}",)) for n in range(250)]
            await asyncio.gather(*writes)
        if round_ == 0:
            # What the first round made is what there is from then on.
            sizes.append((pods.live_bytes, history.size_bytes, len(history)))
    assert sizes == [(pods.live_bytes, history.size_bytes, len(history))]
    assert len(history) == 500
    assert len(history._events) <= 2 * (500 + 1024)
    assert len(history._blocks) <= 500 // BLOCK_EVENTS + 1
    assert history.indexed_words <= len(history._blocks) * (2 + 2 * BLOCK_EVENTS)
    assert (pods.queued_bytes, len(pods._pending)) == (0, 0)
    await pods.close()


# Roles


async def test_two_writers_on_one_journal_are_fenced(tmp_path: Path) -> None:
    journal = await FileJournal.open(tmp_path)
    one, two = await Partition.open("pods", journal), await Partition.open("pods", journal)
    await one.put(A, b"1")
    with pytest.raises(NotWriter):
        await two.put(A, b"2")
    assert (one.is_writer, two.is_writer) == (True, False)
    await two.reach(2)
    item = two.get(A)
    assert item is not None and item.value == b"1"
    await two.close()


async def test_close_writes_what_is_queued() -> None:
    pods, journal = await open_partition()
    watch = pods.watch("pods", start=None, sink=lambda events: None)
    assert pods.watch_count == 1
    future = pods.put(A, b"1")
    await pods.close()
    await pods.close()
    assert (await future).revision == 2
    assert watch.stopped
    assert pods.get(A) is not None
    with pytest.raises(PartitionClosed):
        pods.put(A, b"2")
    with pytest.raises(PartitionClosed):
        pods.watch("pods", start=None, sink=lambda events: None)
    again, _ = await open_partition(journal.reopened())
    assert again.revision == 2
    await again.close()


# Watching


async def test_watch_replays_then_goes_live() -> None:
    pods, _ = await open_partition(history_events=3)
    for i in range(5):
        await pods.put(f"pods/{'ab'[i % 2]}/x", b"%d" % i, terms=(f"t{i}",))
    assert pods.oldest_revision == 3
    seen: list[list[Event]] = []
    watch = pods.watch("pods", "a", start=3, sink=seen.append)
    assert [[event.revision for event in batch] for batch in seen] == [[4, 6]]
    await pods.put("pods/a/y", b"")
    await pods.put("pods/b/y", b"")
    watch.stop()
    await pods.put("pods/a/y", b"")
    assert [[event.revision for event in batch] for batch in seen] == [[4, 6], [7]]
    with pytest.raises(Compacted):
        pods.watch("pods", start=2, sink=seen.append)
    with pytest.raises(FutureRevision):
        pods.watch("pods", start=100, sink=seen.append)
    await pods.close()


async def test_a_sink_that_fails_in_replay_ends_its_watch(caplog: pytest.LogCaptureFixture) -> None:
    pods, _ = await open_partition()
    await pods.put(A, b"")

    def fail(events: list[Event]) -> None:
        raise RuntimeError("no")

    with caplog.at_level(logging.CRITICAL, "lakh.store.hub"):
        watch = pods.watch("pods", start=1, sink=fail)
    assert watch.stopped
    assert (await pods.put(A, b"")).revision == 3
    await pods.close()


async def test_watchers_are_told_before_writers() -> None:
    pods, _ = await open_partition()
    order: list[str] = []
    pods.watch("pods", start=None, sink=lambda events: order.append(f"sink at {pods.revision}"))
    pods.put(A, b"").add_done_callback(lambda future: order.append("writer"))
    await pods.settle(2)
    await asyncio.sleep(0)
    assert order == ["sink at 2", "writer"]
    await pods.close()


# Restart


async def test_restart_keeps_state_revisions_and_window(tmp_path: Path) -> None:
    pods = await Partition.open("pods", await FileJournal.open(tmp_path))
    for i in range(10):
        await pods.put(f"pods/a/{i % 4}", b"%d" % i, terms=(f"t{i % 2}",))
    await pods.delete("pods/a/3")
    before = [
        (item.key, item.value, item.terms, item.create_revision, item.revision)
        for item in pods.range("pods").items
    ]
    await pods.close()
    again = await Partition.open("pods", await FileJournal.open(tmp_path))
    after = [
        (item.key, item.value, item.terms, item.create_revision, item.revision)
        for item in again.range("pods").items
    ]
    assert (after, again.revision, again.oldest_revision) == (before, pods.revision, 1)
    events: list[list[Event]] = []
    again.watch("pods", start=1, sink=events.append)
    assert [event.revision for event in events[0]] == list(range(2, 13))
    await again.close()


async def test_compaction_bounds_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_module, "COMPACT_SLACK_BYTES", 100_000)
    journal = await FileJournal.open(tmp_path, segment_bytes=20_000)
    pods = await Partition.open("pods", journal)
    for i in range(600):
        await pods.put(f"pods/a/{i % 20}", b"%d" % i * 500)
        if pods._compaction is not None:
            await asyncio.wait([pods._compaction])
        assert journal.size_bytes < 2 * pods.live_bytes + 110_000
    await pods.delete("pods/a/7")
    await pods.close()
    sizes = [path.stat().st_size for path in tmp_path.iterdir() if path.name != "RESERVE"]
    assert sum(sizes) < 2 * pods.live_bytes + 110_000
    assert len(list(tmp_path.glob("*.snapshot"))) == 1
    again = await Partition.open("pods", await FileJournal.open(tmp_path))
    assert (again.revision, again.count("pods")) == (602, 19)
    assert 1 < again.oldest_revision < 602
    for item in pods.range("pods").items:
        other = again.get(item.key)
        assert other is not None
        assert (other.value, other.create_revision, other.revision) == (
            item.value,
            item.create_revision,
            item.revision,
        )
    assert (await again.put("pods/a/7", b"")).revision == 603
    await again.close()


async def test_failed_compaction_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_module, "COMPACT_SLACK_BYTES", 1000)
    monkeypatch.setattr(partition_module, "COMPACT_RETRY_BYTES", 5000)
    pods, journal = await open_partition()
    attempts: list[int] = []
    keep = journal.snapshot

    async def snapshot(sequence: int, chunks: object) -> None:
        attempts.append(sequence)
        if len(attempts) == 1:
            raise JournalFull
        await keep(sequence, chunks)  # type: ignore[arg-type]

    monkeypatch.setattr(journal, "snapshot", snapshot)
    for _ in range(40):
        await pods.put(A, b"x" * 300)
    assert len(attempts) >= 2
    assert attempts[1] - attempts[0] >= 10
    assert journal.size_bytes < 5000
    await pods.close()


async def test_a_journal_that_does_not_fit_is_refused() -> None:
    from lakh.store.codec import encode_batch

    for bad in (b"garbage", encode_batch(7, [(A, b"", ())]), encode_batch(2, [(A, None, ())])):
        journal = MemoryJournal()
        await journal.append(bad, after=0)
        with pytest.raises(JournalFailed, match="partition pods: entry 1"):
            await Partition.open("pods", journal)


async def test_follower_follows_and_is_promoted() -> None:
    log = MemoryJournal()
    one = await Partition.open("pods", log, follow=True)
    await one.promote("a:1")
    assert (one.is_writer, one.writer, one.revision) == (True, "a:1", 1)
    await one.promote("a:1")
    two = await Partition.open("pods", log.shared(), follow=True)
    with pytest.raises(NotWriter, match="its writer is a:1"):
        two.put(A, b"")
    assert "following" in repr(two)
    seen: list[list[Event]] = []
    two.watch("pods", start=1, sink=seen.append)
    item = await one.put(A, b"1")
    await two.barrier()
    assert [[event.revision for event in events] for events in seen] == [[2]]
    reaching = asyncio.create_task(two.reach(3))
    await two.promote("b:2")
    assert (two.writer, two.is_writer) == ("b:2", True)
    with pytest.raises(NotWriter):
        await one.put(A, b"2", expect=item.revision)
    await two.put(A, b"3", expect=item.revision)
    await reaching
    await one.barrier()
    found = one.get(A)
    assert found is not None and (found.value, one.writer, one.is_writer) == (b"3", "b:2", False)
    assert (one.counters.step_downs, two.counters.promotions) == (1, 1)
    await one.promote("a:1")
    await two.barrier()
    with pytest.raises(NotWriter):
        await two.put(A, b"")
    for partition in (one, two):
        await partition.close()
        with pytest.raises(PartitionClosed):
            await partition.promote()


async def test_a_replaced_writer_does_not_speak_of_the_past() -> None:
    """Refusals rest on the state, and are not appended: what was true before the pause is not said after it."""
    log = MemoryJournal()
    one = await Partition.open("pods", log, follow=True)
    two = await Partition.open("pods", log.shared(), follow=True)
    for partition in (one, two):
        partition.confirm = partition.barrier
    await one.promote("a:1")
    item = await one.put(A, b"1")
    with pytest.raises(Conflict) as right:
        one.put(A, b"2", expect=0)
    await one.settle(right.value.revision)
    await two.promote("b:2")
    await two.delete(A, expect=item.revision)
    with pytest.raises(Conflict) as wrong:
        one.put(A, b"2", expect=0)
    with pytest.raises(NotWriter):
        await one.settle(wrong.value.revision)
    with pytest.raises(NotWriter):
        await one.settle(0)
    await two.settle(0)
    for partition in (one, two):
        await partition.close()


async def test_unknown_outcome_steps_down() -> None:
    pods, journal = await open_partition()
    journal.hold()
    journal.faults.append(OutcomeUnknown("silence"))
    in_flight = pods.put(A, b"1")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    behind = pods.put(A, b"2")
    journal.release()
    with pytest.raises(OutcomeUnknown):
        await in_flight
    with pytest.raises(NotWriter):
        await behind
    await pods.promote()
    assert (await pods.put(A, b"3")).revision == 2
    await pods.close()


async def test_follower_that_fell_behind_reads_anew() -> None:
    log = MemoryJournal()
    one = await Partition.open("pods", log)
    two = await Partition.open("pods", log.shared(), follow=True)
    ended: list[str] = []
    two.watch("pods", start=None, sink=lambda events: None, on_end=lambda: ended.append("pods"))
    await one.put(A, b"1")
    await two.barrier()
    await two._stop_following()
    for value in (b"2", b"3"):
        await one.put(A, value)
    await log.snapshot(log.head, encode_snapshot(one.revision, list(one._items.values())))
    await log.trim(log.head)
    two._take_role(writer=False)
    await two.reach(4)
    found = two.get(A)
    assert found is not None and found.value == b"3"
    assert (ended, two.counters.reloads, two.oldest_revision) == (["pods"], 1, 4)
    await one.close()
    await two.close()
