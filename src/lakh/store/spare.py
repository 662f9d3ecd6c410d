"""The next segment, made ahead: a file of zeros that only waits for its name.

An append to a file that grows makes fdatasync wait for the file system's own journal, which commits the new length and
place together with whatever else the machine is doing. Inside a file whose blocks were written before, only the data
itself goes to disk.

The zeros are really written: blocks that are merely reserved (fallocate) are marked so, and unmarking them is again a
change that the file system has to commit. They are written in steps, each synced, so that no append has to wait for much
of them. Beside the log the file is called `SPARE.tmp`: what a crash leaves is removed on opening, like any other .tmp.
"""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

from lakh.store.directory import fsync_directory
from lakh.store.durable import write_all

log = logging.getLogger(__name__)

STEP_BYTES = 256 << 10
_ZEROS = bytes(STEP_BYTES)
LEAVE_FREE = 16
"""Nothing is made ahead where there is room for less than this many of it."""


class Spare:
    """At most one file ahead. Used from one thread at a time, but for `whole` and `wanted`."""

    def __init__(self, directory: Path, size_bytes: int) -> None:
        """Takes nothing yet."""
        self._path = directory / "SPARE.tmp"
        self._size_bytes = size_bytes
        self._filled_bytes = 0  # zeros on disk
        self._given_up = False  # no room, or an error
        self._fd = -1

    @property
    def whole(self) -> bool:
        """Whether it can be taken."""
        return self._filled_bytes >= self._size_bytes

    def wanted(self, due_bytes: int) -> bool:
        """Whether another step is to be made so that this much is filled."""
        return not (self.whole or self._given_up) and self._filled_bytes + self._step_bytes <= due_bytes

    @property
    def _step_bytes(self) -> int:
        return min(STEP_BYTES, self._size_bytes - self._filled_bytes)

    def fill(self) -> None:
        """One step. What fails is given up until `retry`: it only makes later appends slower."""
        if self.whole or self._given_up:
            return
        try:
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            room = os.fstatvfs(self._fd)
            if room.f_bavail * room.f_frsize < LEAVE_FREE * self._size_bytes:
                raise OSError(errno.ENOSPC, "the disk is nearly full")
            step = self._step_bytes
            write_all(self._fd, [memoryview(_ZEROS)[:step]], self._filled_bytes)
            os.fdatasync(self._fd)
            self._filled_bytes += step
        except OSError as error:
            log.info("%s is given up: %s", self._path, error)
            self.release()

    def take(self, path: Path, header: bytes) -> int:
        """Give it the header and the name, both durable. Returns it open. Raises OSError, and then it is gone."""
        fd, self._fd, self._filled_bytes = self._fd, -1, 0
        try:
            write_all(fd, [header], 0)
            os.fdatasync(fd)
            os.rename(self._path, path)
            fsync_directory(path.parent)
        except BaseException:
            os.close(fd)
            self._path.unlink(missing_ok=True)
            raise
        return fd

    def retry(self) -> None:
        """What was given up may be tried again."""
        self._given_up = False

    def release(self) -> bool:
        """Give the space back and make no other; False when there was none."""
        self._given_up = True
        if self._fd < 0:
            return False
        os.close(self._fd)
        self._fd, self._filled_bytes = -1, 0
        self._path.unlink(missing_ok=True)
        return True
