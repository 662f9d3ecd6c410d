"""A partition that is full, hangs or is broken holds up no other: asserted on progress, not on clocks.

Journals are real files with threads of their own; the events partition's is replaced by one that misbehaves.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lakh.server.expiry import sweep
from lakh.store.errors import JournalFailed, JournalFull, OutcomeUnknown
from lakh.store.file_journal import FileJournal
from lakh.store.partition import Partition

from .harness import CONFIGMAPS, LEASES, PODS, Api, configmap, pod

EVENTS = "/api/v1/namespaces/default/events"
WRITES = 30


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    started = await Api.start(lambda name: FileJournal.open(tmp_path / name))
    yield started
    await started.stop()


def event(name: str) -> dict[str, object]:
    return {
        "metadata": {"name": name},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "a"},
        "reason": "Tested",
        "type": "Normal",
    }


async def everything_else_works(api: Api) -> None:
    """Lease renewals, pod writes, deletes, lists and watches, one after the other."""
    stream = await api.watch(
        f"{PODS}?watch=1&resourceVersion={api.server.cluster.partitions['pods'].revision}"
    )
    lease = (await api.post(LEASES, {"metadata": {"name": "n"}, "spec": {"holderIdentity": "0"}})).json
    for n in range(WRITES):
        lease["spec"]["holderIdentity"] = str(n % 10)
        renewed = await api.put(f"{LEASES}/n", lease)
        assert renewed.status == 200
        lease = renewed.json
        assert (await api.post(PODS, pod(f"p{n}"))).status == 201
        assert (await api.patch(f"{PODS}/p{n}/status", {"status": {"phase": "Running"}})).status == 200
        assert (await api.post(CONFIGMAPS, configmap(f"c{n}"))).status == 201
    assert len((await api.get(PODS)).json["items"]) == WRITES
    assert len(await stream.until(2 * WRITES)) == 2 * WRITES
    assert (await api.delete(f"{PODS}/p0", {"gracePeriodSeconds": 0})).status == 200
    assert (await api.delete(f"{LEASES}/n")).status == 200


async def test_events_whose_disk_hangs(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every append, rotation and snapshot of the events journal hangs, and so do many clients."""
    events = api.server.cluster.partitions["events"]
    hang = threading.Event()
    journal = events._journal
    assert isinstance(journal, FileJournal)
    # Its threads are busy for ever, its appends never end.
    for pool in (journal._files, journal._snapshotter):
        pool.submit(hang.wait)
    forever = asyncio.Event()

    class Hanging(FileJournal):
        async def append(self, batch: bytes, *, after: int, urgent: bool = False) -> int:
            await forever.wait()
            return await super().append(batch, after=after, urgent=urgent)

    journal.__class__ = Hanging
    clients = [asyncio.create_task(api.post(EVENTS, event(f"e{n}"))) for n in range(300)]
    compaction = asyncio.create_task(events.compact())
    expiry = asyncio.create_task(sweep(api.server.cluster, 1e12))
    try:
        await everything_else_works(api)
        assert not any(client.done() for client in clients)
        assert not compaction.done()
        assert events.queued_writes > 0
    finally:
        hang.set()
        forever.set()
    assert {answer.status for answer in await asyncio.gather(*clients)} == {201}
    await compaction
    await expiry


@pytest.mark.parametrize(
    ("error", "status"),
    [(JournalFull(), 507), (JournalFailed("fdatasync: EIO"), 500), (OutcomeUnknown("silence"), 504)],
    ids=lambda value: type(value).__name__,
)
async def test_events_that_cannot_be_written(api: Api, error: Exception, status: int) -> None:
    class Broken(FileJournal):
        async def append(self, batch: bytes, *, after: int, urgent: bool = False) -> int:
            raise error

    api.server.cluster.partitions["events"]._journal.__class__ = Broken  # type: ignore[assignment]
    assert (await api.post(EVENTS, event("a"))).status == status
    await everything_else_works(api)
    assert (await api.get(EVENTS)).status == 200, "reads go on"


async def test_a_full_queue_of_one_partition_is_its_own(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    forever = asyncio.Event()

    class Hanging(FileJournal):
        async def append(self, batch: bytes, *, after: int, urgent: bool = False) -> int:
            await forever.wait()
            return await super().append(batch, after=after, urgent=urgent)

    api.server.cluster.partitions["events"]._journal.__class__ = Hanging
    clients = [asyncio.create_task(api.post(EVENTS, event(f"e{n}"))) for n in range(20)]
    while api.server.cluster.partitions["events"].queued_bytes == 0:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    monkeypatch.setattr("lakh.store.partition.QUEUED_BYTES", 8_000)
    refused = await api.post(EVENTS, event("one-more"))
    assert (refused.status, refused.json["reason"]) == (429, "TooManyRequests")
    assert refused.headers[b"Retry-After"] == b"1"
    await everything_else_works(api)
    forever.set()
    assert {answer.status for answer in await asyncio.gather(*clients)} == {201}


async def test_no_journal_shares_a_thread(tmp_path: Path) -> None:
    """Reading and following, too: while the threads of one hang, another opens, appends, follows, compacts."""
    one = await FileJournal.open(tmp_path / "one")
    await one.append(b"1", after=0)
    hang = threading.Event()
    busy = max(32, (os.cpu_count() or 1) + 4)  # all that the loop's default executor may have
    loop = asyncio.get_running_loop()
    waiting = [loop.run_in_executor(None, hang.wait) for _ in range(busy)]
    try:
        for pool in (one._files, one._snapshotter):
            pool.submit(hang.wait)
        two = await Partition.open("two", await FileJournal.open(tmp_path / "two"))
        for n in range(3):
            await two.put(f"t/s/{n}", b"x")
        await two.compact()
        await two.close()
        again = await Partition.open("two", await FileJournal.open(tmp_path / "two"))
        assert again.count("t") == 3
        await again.put("t/s/3", b"x")
        await again.close()
        once_more = await Partition.open("two", await FileJournal.open(tmp_path / "two"), follow=True)
        assert once_more.count("t") == 4
        await once_more.close()
    finally:
        hang.set()
    await asyncio.gather(*waiting)
    await one.close()
