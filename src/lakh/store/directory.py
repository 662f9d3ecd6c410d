"""Directories that survive a crash: exclusive locks and synced names.

A file's bytes and its name are made durable separately; `fsync_directory` does the latter.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from lakh.store.errors import DirectoryInUse

LOCK_NAME = "LOCK"


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: Path) -> None:
    """Create a directory (mode 0700: it holds secrets) and those above it, durably."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    fsync_directory(path.parent)


def lock_holder(directory: Path) -> int | None:
    """The pid of the process that took the directory's lock last, whether it lives or not."""
    try:
        text = (directory / LOCK_NAME).read_text()
    except OSError:
        return None
    return int(text) if text.strip().isdigit() else None


class DirectoryLock:
    """An exclusive lock on a directory, held by this object until `release`.

    The kernel drops it when the process dies, so there is never a stale one to remove. The file stays: to
    unlink it would let two processes lock two different files of the same name.
    """

    __slots__ = ("_fd", "path")

    def __init__(self, directory: Path) -> None:
        """Take the lock. Raises DirectoryInUse, which names the holder's pid."""
        self.path = directory / LOCK_NAME
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).strip()
            os.close(fd)
            raise DirectoryInUse(directory, int(holder) if holder.isdigit() else None) from None
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def fileno(self) -> int:
        """For a child process that is to hold the lock, too."""
        return self._fd

    def release(self) -> None:
        """Give the lock back. Harmless when done twice."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1
