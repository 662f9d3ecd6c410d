"""The next segment, made ahead: it is taken whole or not at all, and gives its space back."""

import errno
import os
from pathlib import Path

import pytest

from lakh.store import durable, spare
from lakh.store.spare import LEAVE_FREE, STEP_BYTES, Spare


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_it_is_filled_in_steps_and_taken_with_a_name(tmp_path: Path) -> None:
    size = 2 * STEP_BYTES + 100
    made = Spare(tmp_path, size)
    assert files(tmp_path) == []
    for filled in (STEP_BYTES, 2 * STEP_BYTES, size, size):
        assert not made.whole or filled == size
        made.fill()
        assert (tmp_path / "SPARE.tmp").stat().st_size == filled
    assert made.whole
    fd = made.take(tmp_path / "7.log", b"header")
    assert os.pread(fd, size, 0) == b"header" + bytes(size - 6)
    os.close(fd)
    assert (files(tmp_path), made.whole) == (["7.log"], False)


def test_it_grows_with_the_segment_before_it(tmp_path: Path) -> None:
    made = Spare(tmp_path, STEP_BYTES + 100)
    assert not made.wanted(STEP_BYTES - 1)
    assert made.wanted(STEP_BYTES)
    made.fill()
    assert not made.wanted(STEP_BYTES + 99)
    assert made.wanted(STEP_BYTES + 100)
    made.fill()
    assert not made.wanted(1 << 40)
    assert made.release()
    assert not made.release()


def test_it_is_given_up_until_it_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, parts: list[memoryview], offset: int) -> int:
        raise OSError(errno.ENOSPC, "full")

    made = Spare(tmp_path, 1000)
    with monkeypatch.context() as patch:
        patch.setattr(durable.os, "pwritev", full)
        made.fill()
    assert files(tmp_path) == []
    assert not made.wanted(1 << 40)
    made.fill()
    assert files(tmp_path) == []
    made.retry()
    assert made.wanted(1000)
    made.fill()
    assert made.whole
    made.release()
    assert files(tmp_path) == []


@pytest.mark.parametrize("blocks", [LEAVE_FREE - 1, LEAVE_FREE])
def test_a_nearly_full_disk_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    found = os.statvfs_result((1000, 1000, 100, 100, blocks, 9, 9, 9, 0, 255))
    monkeypatch.setattr(spare.os, "fstatvfs", lambda fd: found)
    made = Spare(tmp_path, 1000)
    made.fill()
    assert made.whole is (blocks == LEAVE_FREE)
    made.release()


def test_a_failed_taking_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "broken")

    made = Spare(tmp_path, 1000)
    made.fill()
    monkeypatch.setattr(spare.os, "fdatasync", broken)
    with pytest.raises(OSError, match="broken"):
        made.take(tmp_path / "7.log", b"header")
    assert files(tmp_path) == []
    assert not made.whole
