"""Updates of the same items grow nothing but the history window, which is bounded; the disk stays near the live data."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from pathlib import Path

import pytest

from lakh.store import partition as partition_module
from lakh.store.file_journal import FileJournal
from lakh.store.memory_journal import MemoryJournal
from lakh.store.partition import Partition

ITEMS = 20
VALUE_BYTES = 500
SEGMENT_BYTES = 32 << 10
SLACK_BYTES = 64 << 10


async def update_all(partition: Partition, rounds: int) -> None:
    for n in range(rounds):
        value = b"%0*d" % (VALUE_BYTES, n)
        await asyncio.gather(*(partition.put(f"t/s/{i}", value, terms=(f"on={i}",)) for i in range(ITEMS)))


async def test_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured whenever no snapshot is under way: at most twice the live data, the slack, and a segment on either side."""
    monkeypatch.setattr(partition_module, "COMPACT_SLACK_BYTES", SLACK_BYTES)
    journal = await FileJournal.open(tmp_path, segment_bytes=SEGMENT_BYTES)
    partition = await Partition.open("p", journal, history_events=50)
    for _ in range(40):
        await update_all(partition, 10)
        while partition.compacting:
            await partition.compact()
        on_disk = sum(
            path.stat().st_size for path in tmp_path.iterdir() if path.name not in ("RESERVE", "SPARE.tmp")
        )
        assert on_disk < 2 * partition.live_bytes + SLACK_BYTES + 2 * SEGMENT_BYTES + 4096
    assert partition.counters.compactions > 10
    assert partition.counters.batch_bytes > 100 * partition.live_bytes
    live_bytes = partition.live_bytes
    await partition.close()
    again = await Partition.open("p", await FileJournal.open(tmp_path))
    assert (again.count("t"), again.live_bytes) == (ITEMS, live_bytes)
    await again.close()


async def test_memory() -> None:
    """After the window is full, ten thousand updates more take nothing."""

    class Sink(MemoryJournal):
        """Keeps no entries, so what grows is the partition."""

        async def append(self, batch: bytes, *, after: int, urgent: bool = False) -> int:
            await asyncio.sleep(0)
            return after + 1

    partition = await Partition.open("p", Sink(), history_events=200)
    seen: list[int] = []
    partition.watch("t", start=None, sink=lambda events: seen.append(events[-1].revision))
    await update_all(partition, 40)
    tracemalloc.start()
    try:
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        await update_all(partition, 500)
        seen.clear()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The window's values are new ones, made while it was traced; everything else came and went.
    window_bytes = 200 * (VALUE_BYTES + 1_500)
    assert after - before < window_bytes
    assert partition.history_events == 200
    assert partition.oldest_revision == partition.revision - 200
    await partition.close()


async def test_terms_are_in_memory_once(tmp_path: Path) -> None:
    async def distinct() -> int:
        partition = await Partition.open("p", await FileJournal.open(tmp_path))
        found = len({id(term) for item in partition.items() for term in item.terms})
        await partition.close()
        return found

    partition = await Partition.open("p", await FileJournal.open(tmp_path))
    await asyncio.gather(*(partition.put(f"t/s/{i}", b"", terms=(f"on={i % 3}",)) for i in range(30)))
    assert len({id(item.terms[0]) for item in partition.items()}) == 3
    await partition.close()
    assert await distinct() == 3, "from the log"
    partition = await Partition.open("p", await FileJournal.open(tmp_path))
    await partition.compact()
    await partition.close()
    assert await distinct() == 3, "from the snapshot"
