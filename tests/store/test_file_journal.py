"""The file engine: what was acknowledged survives whatever happens; damage is refused, a torn tail is cut."""

import asyncio
import errno
import gc
import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from lakh.store import durable, file_journal, snapshot_file
from lakh.store.errors import (
    DirectoryInUse,
    Fenced,
    JournalClosed,
    JournalCorrupt,
    JournalFailed,
    JournalFull,
    SnapshotFailed,
    Trimmed,
)
from lakh.store.file_journal import FileJournal
from lakh.store.records import FILE_HEADER_BYTES, RECORD_HEADER_BYTES
from lakh.store.reserve import RESERVE_BYTES


async def fill(directory: Path, batches: list[bytes], **options: int) -> None:
    journal = await FileJournal.open(directory, **options)
    for batch in batches:
        await journal.append(batch, after=journal.head)
    await journal.close()


async def content(journal: FileJournal, start: int = 1) -> list[bytes]:
    batches: list[bytes] = []
    if journal.head < start:
        return batches
    async with aclosing(journal.follow(start)) as entries:
        async for entry in entries:
            assert entry.sequence == start + len(batches)
            batches.append(entry.batch)
            if entry.sequence == journal.head:
                break
    return batches


def forget_acknowledgements(directory: Path) -> None:
    """As when the process died before it answered the last append."""
    (directory / "ACKNOWLEDGED").unlink(missing_ok=True)


async def reopened(directory: Path) -> list[bytes]:
    journal = await FileJournal.open(directory)
    try:
        return await content(journal)
    finally:
        await journal.close()


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.log"))


async def test_appends_survive_reopening(tmp_path: Path) -> None:
    await fill(tmp_path / "new" / "pods", [b"a", b"", b"c" * 5000])
    assert await reopened(tmp_path / "new" / "pods") == [b"a", b"", b"c" * 5000]
    await fill(tmp_path / "new" / "pods", [b"d"])
    assert await reopened(tmp_path / "new" / "pods") == [b"a", b"", b"c" * 5000, b"d"]


async def test_fencing(tmp_path: Path) -> None:
    journal = await FileJournal.open(tmp_path)
    assert await journal.append(b"a", after=0) == 1
    with pytest.raises(Fenced) as caught:
        await journal.append(b"b", after=0)
    assert (caught.value.after, caught.value.head) == (0, 1)
    results = await asyncio.gather(
        journal.append(b"x", after=1), journal.append(b"y", after=1), return_exceptions=True
    )
    assert results[0] == 2
    assert isinstance(results[1], Fenced)
    await journal.close()


async def test_directory_is_locked(tmp_path: Path) -> None:
    journal = await FileJournal.open(tmp_path)
    with pytest.raises(DirectoryInUse):
        await FileJournal.open(tmp_path)
    await journal.close()
    await journal.close()
    with pytest.raises(JournalClosed):
        await journal.append(b"", after=0)
    await (await FileJournal.open(tmp_path)).close()


async def test_oversized_batch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_journal, "MAX_RECORD_BYTES", 10)
    journal = await FileJournal.open(tmp_path)
    with pytest.raises(ValueError, match="over the limit of 10"):
        await journal.append(b"x" * 11, after=0)
    await journal.close()


async def test_segments_rotate(tmp_path: Path) -> None:
    batches = [b"%d" % i * 40 for i in range(20)]
    await fill(tmp_path, batches, segment_bytes=200)
    assert len(segments(tmp_path)) > 4
    assert await reopened(tmp_path) == batches


# Crashes


async def filled_ahead(directory: Path, batches: list[bytes]) -> Path:
    """A journal that was killed with these in a segment made ahead, zeros behind them."""
    journal = await FileJournal.open(directory, segment_bytes=400)
    await journal.append(b"0" * 300, after=0)
    assert journal._filling is not None
    await journal._filling
    for batch in batches:
        await journal.append(batch, after=journal.head)
    journal._spare.release()
    path = segments(directory)[-1]
    killed = path.read_bytes()
    await journal.close()
    path.write_bytes(killed)
    assert killed.endswith(bytes(100))
    return path


async def test_segments_are_made_ahead(tmp_path: Path) -> None:
    path = await filled_ahead(tmp_path, [b"first", b"second"])
    assert (len(segments(tmp_path)), path.stat().st_size) == (2, 400)
    journal = await FileJournal.open(tmp_path, read_only=True)
    assert (await content(journal), journal.torn_bytes) == ([b"0" * 300, b"first", b"second"], 0)
    await journal.close()
    assert path.stat().st_size == 400
    assert await reopened(tmp_path) == [b"0" * 300, b"first", b"second"]
    assert path.stat().st_size == FILE_HEADER_BYTES + 2 * RECORD_HEADER_BYTES + 11
    await fill(tmp_path, [b"third"])
    assert await reopened(tmp_path) == [b"0" * 300, b"first", b"second", b"third"]


async def test_an_append_lost_among_zeros_is_cut_whatever_is_left_of_it(tmp_path: Path) -> None:
    path = await filled_ahead(tmp_path, [b"first", b"second" * 5])
    whole = path.read_bytes()
    start = FILE_HEADER_BYTES + RECORD_HEADER_BYTES + 5
    end = start + RECORD_HEADER_BYTES + 30
    for first in range(start, end):
        for hole in (range(first, end), range(start, first + 1), range(first, first + 1)):
            damaged = bytearray(whole)
            for at in hole:
                damaged[at] = 0
            if damaged == whole:
                continue
            path.write_bytes(damaged)
            forget_acknowledgements(tmp_path)
            assert await reopened(tmp_path) == [b"0" * 300, b"first"]
            assert path.stat().st_size == start


async def test_an_acknowledged_append_that_became_zeros_is_refused(tmp_path: Path) -> None:
    path = await filled_ahead(tmp_path, [b"first", b"second"])
    damaged = path.read_bytes()[: FILE_HEADER_BYTES + RECORD_HEADER_BYTES + 5].ljust(400, b"\0")
    path.write_bytes(damaged)
    with pytest.raises(JournalCorrupt, match="3 was acknowledged"):
        await FileJournal.open(tmp_path)
    assert path.read_bytes() == damaged


async def test_zeros_with_something_valid_behind_them_are_refused(tmp_path: Path) -> None:
    path = await filled_ahead(tmp_path, [b"first", b"second", b"third"])
    whole = path.read_bytes()
    second = FILE_HEADER_BYTES + RECORD_HEADER_BYTES + 5
    for size in (RECORD_HEADER_BYTES, RECORD_HEADER_BYTES + 6):
        damaged = whole[:second] + bytes(size) + whole[second + size :]
        path.write_bytes(damaged)
        forget_acknowledgements(tmp_path)
        with pytest.raises(JournalCorrupt) as caught:
            await FileJournal.open(tmp_path)
        assert (caught.value.offset, path.read_bytes()) == (second, damaged)


async def test_torn_tail_is_cut_at_every_byte(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await fill(tmp_path, [b"first", b"second", b"third"])
    path = segments(tmp_path)[0]
    whole = path.read_bytes()
    start = len(whole) - RECORD_HEADER_BYTES - len(b"third")
    for size in range(start, len(whole)):
        path.write_bytes(whole[:size])
        forget_acknowledgements(tmp_path)
        caplog.clear()
        assert await reopened(tmp_path) == [b"first", b"second"]
        assert path.stat().st_size == start
        cut = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        torn = len(whole[:size].rstrip(b"\0")) - start
        assert bool(cut) == (torn > 0)
        if cut:
            assert f"cut {torn} bytes at {start} after sequence 2" in cut[0]


async def test_torn_tail_of_zeros_and_of_garbage_is_cut(tmp_path: Path) -> None:
    await fill(tmp_path, [b"first", b"second"])
    path = segments(tmp_path)[0]
    whole = path.read_bytes()
    for tail in (bytes(100), b"\xf5LR\n" * 30, whole[FILE_HEADER_BYTES + 1 :][:20]):
        path.write_bytes(whole + tail)
        assert await reopened(tmp_path) == [b"first", b"second"]
    await fill(tmp_path, [b"third"])
    assert await reopened(tmp_path) == [b"first", b"second", b"third"]


async def test_every_flipped_byte_in_the_middle_is_refused(tmp_path: Path) -> None:
    await fill(tmp_path, [b"first", b"second", b"third"])
    path = segments(tmp_path)[0]
    whole = path.read_bytes()
    second = FILE_HEADER_BYTES + RECORD_HEADER_BYTES + len(b"first")
    third = second + RECORD_HEADER_BYTES + len(b"second")
    for at in range(third):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(JournalCorrupt) as caught:
            await FileJournal.open(tmp_path)
        expected = 0 if at < FILE_HEADER_BYTES else FILE_HEADER_BYTES if at < second else second
        assert (caught.value.path, caught.value.offset) == (path, expected)
        assert path.read_bytes() == damaged, "a refused file is not touched"
    path.write_bytes(whole)
    assert await reopened(tmp_path) == [b"first", b"second", b"third"]


async def test_rotten_last_record_is_told_from_a_torn_one(tmp_path: Path) -> None:
    await fill(tmp_path, [b"first", b"second"])
    path = segments(tmp_path)[0]
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + b"?", whole[: -RECORD_HEADER_BYTES - 6]):
        path.write_bytes(damaged)
        with pytest.raises(JournalCorrupt, match="acknowledged"):
            await FileJournal.open(tmp_path)
        assert path.read_bytes() == damaged
    acknowledged = tmp_path / "ACKNOWLEDGED"
    acknowledged.write_bytes(b"?" * 12)
    path.write_bytes(whole[:-1])
    assert await reopened(tmp_path) == [b"first"], "without a readable number it is as before"


async def test_reading_only_changes_nothing(tmp_path: Path) -> None:
    await fill(tmp_path, [b"first", b"second"])
    path = segments(tmp_path)[0]
    path.write_bytes(path.read_bytes() + b"torn")
    (tmp_path / "x.tmp").write_bytes(b"")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.name != "LOCK"}
    journal = await FileJournal.open(tmp_path, read_only=True)
    assert (await content(journal), journal.torn_bytes) == ([b"first", b"second"], 4)
    with pytest.raises(JournalClosed):
        await journal.append(b"", after=2)
    await journal.close()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.name != "LOCK"} == before


async def test_flipped_payload_of_an_older_segment_is_refused_when_read(tmp_path: Path) -> None:
    await fill(tmp_path, [b"a" * 100, b"b" * 100], segment_bytes=100)
    path = segments(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    journal = await FileJournal.open(tmp_path)
    with pytest.raises(JournalCorrupt, match="checksum") as caught:
        await content(journal)
    assert (caught.value.path, caught.value.offset) == (path, FILE_HEADER_BYTES)
    await journal.close()


async def test_damage_in_an_older_segment_is_never_a_torn_tail(tmp_path: Path) -> None:
    await fill(tmp_path, [b"a" * 100, b"b" * 100, b"c" * 100], segment_bytes=100)
    first = segments(tmp_path)[0]
    whole = first.read_bytes()
    first.write_bytes(whole[:-1])
    with pytest.raises(JournalCorrupt, match="99 of 100 bytes"):
        await FileJournal.open(tmp_path)
    first.write_bytes(whole)
    segments(tmp_path)[1].unlink()
    with pytest.raises(JournalCorrupt, match="it begins with 3, 2 is due"):
        await FileJournal.open(tmp_path)
    first.unlink()
    with pytest.raises(JournalCorrupt, match="sequence 1, before it, is missing"):
        await FileJournal.open(tmp_path)


async def test_unknown_format_and_wrong_names_are_refused(tmp_path: Path) -> None:
    await fill(tmp_path, [b"a"])
    path = segments(tmp_path)[0]
    renamed = path.with_name(f"{0:020d}.log")
    path.rename(renamed)
    with pytest.raises(JournalCorrupt, match="not its name"):
        await FileJournal.open(tmp_path)
    renamed.write_bytes(b"short")
    with pytest.raises(JournalCorrupt, match="cut short"):
        await FileJournal.open(tmp_path)


async def test_leftovers_of_a_crash_are_removed(tmp_path: Path) -> None:
    await fill(tmp_path, [b"a"])
    (tmp_path / f"{2:020d}.log.tmp").write_bytes(b"half")
    (tmp_path / f"{1:020d}.snapshot.tmp").write_bytes(b"half")
    assert await reopened(tmp_path) == [b"a"]
    assert not list(tmp_path.glob("*.tmp"))


WRITER = """
import asyncio, sys
from pathlib import Path
from lakh.store import FileJournal, Partition

async def main():
    journal = await FileJournal.open(Path(sys.argv[1]), segment_bytes=50_000)
    partition = await Partition.open("pods", journal)
    async def write(client):
        n = 0
        while True:
            key = f"pods/{client}/{n}"
            await partition.put(key, key.encode() * 20, expect=0)
            print(key, flush=True)
            n += 1
    await asyncio.gather(*map(write, range(8)))

asyncio.run(main())
"""


async def test_acknowledged_writes_survive_sigkill(tmp_path: Path) -> None:
    from lakh.store.partition import Partition

    acknowledged: list[str] = []
    for round_ in range(3):
        directory = tmp_path / str(round_)
        with subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in this loop
            [sys.executable, "-c", WRITER, str(directory)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            acknowledged = [line.strip() for line in itertools.islice(process.stdout, 300 + 100 * round_)]
            process.send_signal(signal.SIGKILL)
            # What is still in the pipe was acknowledged, too; the last line may be half a one.
            rest = process.stdout.read()
            acknowledged += rest[: rest.rfind("\n") + 1].split()
        partition = await Partition.open("pods", await FileJournal.open(directory))
        assert len(acknowledged) >= 300
        for key in acknowledged:
            item = partition.get(key)
            assert item is not None
            assert item.value == key.encode() * 20
        await partition.close()


# Failing disks


class Disk:
    """Stands in for `os` in the engine and fails on demand."""

    def __init__(self) -> None:
        self.write_error: int | None = None
        self.sync_error: int | None = None
        self.short = False
        self.syncs = 0

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def pwritev(self, fd: int, parts: list[memoryview], offset: int) -> int:
        if self.write_error is not None:
            data = b"".join(parts)
            if not self.short:
                raise OSError(self.write_error, os.strerror(self.write_error))
            self.short = False
            return os.pwrite(fd, data[: len(data) // 2], offset)
        if self.short:
            return os.pwrite(fd, b"".join(parts)[:7], offset)
        return os.pwritev(fd, parts, offset)

    def fdatasync(self, fd: int) -> None:
        self.syncs += 1
        if self.sync_error is not None:
            raise OSError(self.sync_error, os.strerror(self.sync_error))
        os.fdatasync(fd)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(durable, "os", disk)
    monkeypatch.setattr(file_journal, "open_writer", durable.ThreadWriter)
    monkeypatch.setattr(file_journal, "os", disk)
    monkeypatch.setattr(snapshot_file, "os", disk)
    return disk


async def test_full_disk_keeps_nothing_and_writes_resume(tmp_path: Path, disk: Disk) -> None:
    journal = await FileJournal.open(tmp_path)
    await journal.append(b"a", after=0)
    size = segments(tmp_path)[0].stat().st_size
    for code in (errno.ENOSPC, errno.EDQUOT):
        disk.write_error, disk.short = code, True
        with pytest.raises(JournalFull, match="no space left"):
            await journal.append(b"b" * 1000, after=1)
        assert segments(tmp_path)[0].stat().st_size == size
        assert journal.head == 1
    disk.write_error = None
    assert await journal.append(b"c", after=1) == 2
    assert await content(journal) == [b"a", b"c"]
    await journal.close()
    assert await reopened(tmp_path) == [b"a", b"c"]


async def test_full_disk_takes_urgent_appends_from_the_reserve(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = True
    reserve = tmp_path / "RESERVE"
    pwritev, fallocate = disk.pwritev, os.posix_fallocate

    def write(fd: int, parts: list[memoryview], offset: int) -> int:
        disk.write_error = errno.ENOSPC if full and reserve.exists() else None
        return pwritev(fd, parts, offset)

    def allocate(fd: int, offset: int, size: int) -> None:
        if full:
            raise OSError(errno.ENOSPC, "full")
        fallocate(fd, offset, size)

    journal = await FileJournal.open(tmp_path, segment_bytes=60)
    assert reserve.stat().st_size == RESERVE_BYTES
    monkeypatch.setattr(disk, "pwritev", write, raising=False)
    monkeypatch.setattr(os, "posix_fallocate", allocate)
    with pytest.raises(JournalFull):
        await journal.append(b"put", after=0)
    assert await journal.append(b"delete", after=0, urgent=True) == 1
    assert not reserve.exists()
    with pytest.raises(JournalFull):
        await journal.append(b"put", after=1)
    reserve.unlink()
    assert await journal.append(b"d" * 60, after=1, urgent=True) == 2
    full = False
    assert await journal.append(b"put", after=2) == 3
    assert reserve.stat().st_size == RESERVE_BYTES
    await journal.close()
    assert await reopened(tmp_path) == [b"delete", b"d" * 60, b"put"]


async def test_full_disk_at_rotation(tmp_path: Path, disk: Disk) -> None:
    journal = await FileJournal.open(tmp_path, segment_bytes=60)
    await journal.append(b"a" * 50, after=0)
    disk.write_error = errno.ENOSPC
    with pytest.raises(JournalFull):
        await journal.append(b"b", after=1)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == ["", "", "", ".log"]
    disk.write_error = None
    await journal.append(b"b", after=1)
    assert len(segments(tmp_path)) == 2
    await journal.close()
    assert await reopened(tmp_path) == [b"a" * 50, b"b"]


async def test_full_disk_takes_what_was_made_ahead(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    spare = tmp_path / "SPARE.tmp"
    pwritev = disk.pwritev

    def write(fd: int, parts: list[memoryview], offset: int) -> int:
        disk.write_error = errno.ENOSPC if spare.exists() else None
        return pwritev(fd, parts, offset)

    journal = await FileJournal.open(tmp_path, segment_bytes=1000)
    await journal.append(b"a" * 300, after=0)
    assert journal._filling is not None
    await journal._filling
    assert spare.stat().st_size == 1000
    journal._segments[-1].filled = True  # so that it is not taken yet
    monkeypatch.setattr(disk, "pwritev", write, raising=False)
    assert await journal.append(b"b", after=1) == 2
    assert not spare.exists()
    assert await journal.append(b"c", after=2) == 3
    assert not spare.exists(), "not made anew before the next segment"
    await journal.close()
    assert await reopened(tmp_path) == [b"a" * 300, b"b", b"c"]


async def test_short_writes_are_continued(tmp_path: Path, disk: Disk) -> None:
    disk.short = True
    await fill(tmp_path, [b"a" * 100, b"b" * 30])
    assert await reopened(tmp_path) == [b"a" * 100, b"b" * 30]


@pytest.mark.parametrize("kind", ["write", "sync"])
async def test_failed_write_or_sync_is_final(tmp_path: Path, disk: Disk, kind: str) -> None:
    journal = await FileJournal.open(tmp_path)
    await journal.append(b"a", after=0)
    setattr(disk, f"{kind}_error", errno.EIO)
    with pytest.raises(JournalFailed, match="Input/output error"):
        await journal.append(b"b", after=1)
    setattr(disk, f"{kind}_error", None)
    syncs = disk.syncs
    with pytest.raises(JournalFailed):
        await journal.append(b"b", after=1)
    assert disk.syncs == syncs, "never retried"
    assert (journal.head, await content(journal)) == (1, [b"a"])
    assert isinstance(journal.failure, JournalFailed)
    await journal.close()


async def test_enospc_of_a_sync_is_final(tmp_path: Path, disk: Disk) -> None:
    journal = await FileJournal.open(tmp_path)
    disk.sync_error = errno.ENOSPC
    with pytest.raises(JournalFailed):
        await journal.append(b"b", after=0)
    await journal.close()


# Following


async def test_follow_live(tmp_path: Path) -> None:
    journal = await FileJournal.open(tmp_path, segment_bytes=100)
    seen: list[tuple[int, bytes]] = []

    async def read(start: int) -> None:
        async for entry in journal.follow(start):
            seen.append(entry)
            if entry.sequence == 30:
                return

    readers = [asyncio.create_task(read(start)) for start in (0, 1, 7)]
    for i in range(1, 31):
        await journal.append(b"%d" % i, after=i - 1)
    await asyncio.gather(*readers)
    expected = [(i, b"%d" % i) for i in range(1, 31)]
    assert sorted(seen) == sorted(expected + expected + expected[6:])
    waiting = asyncio.create_task(anext(journal.follow(31)))
    await asyncio.sleep(0)
    await journal.close()
    with pytest.raises(JournalClosed):
        await waiting


# Snapshots


async def restored(journal: FileJournal) -> tuple[int, list[bytes]] | None:
    snapshot = await journal.restore()
    if snapshot is None:
        return None
    async with aclosing(snapshot.chunks) as chunks:
        return snapshot.sequence, [chunk async for chunk in chunks]


async def chunked(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_snapshot_and_trim(tmp_path: Path) -> None:
    journal = await FileJournal.open(tmp_path, segment_bytes=100)
    assert await restored(journal) is None
    for i in range(20):
        await journal.append(b"%02d" % i * 20, after=i)
    before = journal.size_bytes
    await journal.snapshot(10, iter([b"one", b"two"]))
    assert await content(journal) == [b"%02d" % i * 20 for i in range(20)]
    await journal.trim(20)
    assert journal.size_bytes < before
    assert await content(journal, 11) == [b"%02d" % i * 20 for i in range(10, 20)]
    with pytest.raises(Trimmed):
        await anext(journal.follow(1))
    await journal.snapshot(20, chunked(b"three"))
    await journal.trim(20)
    assert len(segments(tmp_path)) == len(list(tmp_path.glob("*.snapshot"))) == 1
    with pytest.raises(ValueError, match="ahead of the head"):
        await journal.snapshot(21, [])
    await journal.close()

    journal = await FileJournal.open(tmp_path)
    assert journal.head == 20
    assert await restored(journal) == (20, [b"three"])
    assert await journal.append(b"after", after=20) == 21
    assert await content(journal, 21) == [b"after"]
    await journal.close()


async def test_kill_between_snapshot_and_trim(tmp_path: Path) -> None:
    journal = await FileJournal.open(tmp_path, segment_bytes=60)
    for i in range(5):
        await journal.append(b"%d" % i * 40, after=i)
    await journal.snapshot(3, [b"state"])
    await journal.close()
    # Any number of the old segments may be gone, oldest first; a segment that ends at the snapshot, too.
    for path in segments(tmp_path)[:3]:
        journal = await FileJournal.open(tmp_path)
        assert await restored(journal) == (3, [b"state"])
        assert await content(journal, 4) == [b"3" * 40, b"4" * 40]
        await journal.close()
        path.unlink(missing_ok=True)


async def test_log_that_ends_before_its_snapshot(tmp_path: Path) -> None:
    journal = await FileJournal.open(tmp_path)
    await journal.append(b"a", after=0)
    old = segments(tmp_path)[0].read_bytes()
    await journal.append(b"b", after=1)
    await journal.snapshot(2, [b"state"])
    await journal.close()
    segments(tmp_path)[0].write_bytes(old)
    journal = await FileJournal.open(tmp_path)
    assert journal.head == 2
    assert await journal.append(b"c", after=2) == 3
    await journal.close()
    journal = await FileJournal.open(tmp_path)
    assert await content(journal, 3) == [b"c"]
    await journal.close()


async def test_damaged_snapshot(tmp_path: Path) -> None:
    await fill(tmp_path, [b"a" * 50, b"b"], segment_bytes=60)
    journal = await FileJournal.open(tmp_path)
    await journal.snapshot(1, [b"state"])
    await journal.close()
    path = next(tmp_path.glob("*.snapshot"))
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:-RECORD_HEADER_BYTES], whole[:40] + b"?" + whole[41:]):
        path.write_bytes(damaged)
        assert await reopened(tmp_path) == [b"a" * 50, b"b"], "the log reaches back to the start"
    path.write_bytes(whole)
    journal = await FileJournal.open(tmp_path)
    await journal.trim(1)
    await journal.close()
    path.write_bytes(whole[:-1])
    with pytest.raises(JournalCorrupt) as caught:
        await FileJournal.open(tmp_path)
    assert caught.value.path == path


async def test_failed_snapshots_leave_the_log_alone(tmp_path: Path, disk: Disk) -> None:
    journal = await FileJournal.open(tmp_path)
    await journal.append(b"a", after=0)
    for code, error in ((errno.EIO, SnapshotFailed), (errno.ENOSPC, JournalFull)):
        disk.write_error = code
        for chunks in ([b"x"], chunked(b"x")):
            with pytest.raises(error):
                await journal.snapshot(1, chunks)
    disk.write_error = None
    await journal.append(b"b", after=1)
    await journal.close()
    assert not list(tmp_path.glob("*.tmp"))
    assert await reopened(tmp_path) == [b"a", b"b"]


async def test_closing_abandons_a_snapshot(tmp_path: Path) -> None:
    journal = await FileJournal.open(tmp_path)
    await journal.append(b"a", after=0)
    started = threading.Event()

    def endless() -> Iterator[bytes]:
        for chunk in itertools.repeat(b"x" * 1000):
            started.set()
            yield chunk

    snapshot = asyncio.create_task(journal.snapshot(1, endless()))
    await asyncio.to_thread(started.wait)
    await journal.close()
    with pytest.raises(JournalClosed):
        await snapshot
    assert not list(tmp_path.glob("*.tmp"))


async def test_files_and_threads_do_not_leak(tmp_path: Path) -> None:
    await reopened(tmp_path)
    gc.collect()  # what earlier tests have left would be closed meanwhile
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        await fill(tmp_path, [b"a"])
        await reopened(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
