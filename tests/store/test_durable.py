"""Durable writes, by the ring and by the thread: the same answers."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import resource
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lakh.store import durable
from lakh.store.durable import DurableWriter, RingWriter, SyncError, ThreadWriter, open_writer


@pytest.fixture(params=["ring", "ring before Linux 5.17", "thread"])
async def writer(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[DurableWriter]:
    if request.param == "ring before Linux 5.17":
        monkeypatch.setattr(durable, "FEATURE_CQE_SKIP", 0)
    executor = ThreadPoolExecutor(1)
    try:
        opened: DurableWriter = ThreadWriter(executor) if request.param == "thread" else RingWriter()
    except OSError as error:
        executor.shutdown()
        pytest.skip(f"no io_uring here: {error}")
    yield opened
    await opened.close()
    executor.shutdown()


@pytest.fixture
def fd(tmp_path: Path) -> int:
    return os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)


async def test_parts_are_written_one_behind_the_other(writer: DurableWriter, fd: int) -> None:
    assert await writer.write(fd, (b"head", b"", b"payload"), 3) == 14
    assert await writer.write(fd, (b"x" * 3_000_000,), 14) == 3_000_014
    assert os.pread(fd, 14, 0) == b"\0\0\0headpayload"
    assert os.fstat(fd).st_size == 3_000_014
    os.close(fd)


async def test_many_writes_go_round_the_ring(writer: DurableWriter, fd: int) -> None:
    offset = 0
    for number in range(50):
        offset = await writer.write(fd, (b"%3d" % number, b"!"), offset)
    assert os.pread(fd, 1000, 0) == b"".join(b"%3d!" % number for number in range(50))
    os.close(fd)


async def test_a_failed_write_is_no_failed_sync(writer: DurableWriter) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match="No space") as caught:
        await writer.write(full, (b"a", b"b"), 0)
    assert caught.value.errno == errno.ENOSPC and not isinstance(caught.value, SyncError)
    os.close(full)
    with pytest.raises(OSError, match="Bad file") as caught:
        await writer.write(full, (b"a",), 0)
    assert not isinstance(caught.value, SyncError)


async def test_a_failed_sync_says_so(writer: DurableWriter, fd: int) -> None:
    null = os.open("/dev/null", os.O_WRONLY)  # takes every write, cannot be synced
    with pytest.raises(SyncError) as caught:
        await writer.write(null, (b"a",), 0)
    assert caught.value.errno == errno.EINVAL
    os.close(null)
    assert await writer.write(fd, (b"goes on",), 0) == 7
    os.close(fd)


async def test_a_short_write_is_continued_until_its_cause_shows(writer: DurableWriter, fd: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            await writer.write(fd, (b"12345678", b"12345678"), 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not isinstance(caught.value, SyncError)
    assert os.pread(fd, 100, 0) == b"1234567812"
    assert await writer.write(fd, (b"12345678", b"12345678"), 0) == 16
    os.close(fd)


async def test_a_cancelled_write_goes_on_and_close_waits_for_it(writer: DurableWriter, fd: int) -> None:
    future = writer.write(fd, (b"a" * 2_000_000,), 0)
    future.cancel()
    await writer.close()
    assert os.fstat(fd).st_size == 2_000_000
    await writer.close()
    os.close(fd)


async def test_the_thread_stands_in_where_there_is_no_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden() -> None:
        raise OSError(errno.EPERM, "forbidden")

    monkeypatch.setattr(durable, "RingWriter", forbidden)
    with ThreadPoolExecutor(1) as executor:
        assert isinstance(open_writer(executor), ThreadWriter)


async def test_rings_leave_nothing_behind(fd: int) -> None:
    def files() -> int:
        return len(os.listdir("/proc/self/fd"))

    try:
        await RingWriter().close()
    except OSError as error:
        pytest.skip(f"no io_uring here: {error}")
    gc.collect()  # what earlier tests have left would be closed meanwhile
    before = files()
    for _ in range(20):
        ring = RingWriter()
        await asyncio.wait_for(ring.write(fd, (b"x",), 0), 120)
        await ring.close()
    assert files() == before
    os.close(fd)
