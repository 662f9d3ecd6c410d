"""Two small files beside a journal's segments.

`ACKNOWLEDGED` has the sequence of the last append that was answered. A bad record at the end of the log with a higher
sequence is a torn append that nobody was told of, and is cut; with this sequence or a lower one it is rot, and is refused.
The number is written through a memory map after each sync, without a sync of its own (well under a microsecond). It
survives the process at once, and a power cut as far as the kernel wrote the page back (on Linux after 30 s, and on
closing): it may lag behind, it is never ahead.

`RESERVE` is preallocated space. On a full disk it is given back for the appends that make room (deletes), and only for
them: other appends wait until it could be filled again.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import struct
from pathlib import Path
from zlib import crc32

RESERVE_BYTES = 8 << 20
"""About 80,000 deletes."""

_NUMBER = struct.Struct("<Q")
_RECORD = struct.Struct("<QI")


class Acknowledged:
    """The last acknowledged sequence. Used from one thread at a time."""

    def __init__(self, directory: Path) -> None:
        """Reads nothing yet."""
        self.sequence = 0
        self._path = directory / "ACKNOWLEDGED"
        self._map: mmap.mmap | None = None

    def read(self) -> None:
        """Set `sequence` from the file; 0 when there is none or it is unreadable."""
        self.sequence = 0
        with contextlib.suppress(FileNotFoundError, struct.error):
            sequence, crc = _RECORD.unpack_from(self._path.read_bytes())
            if crc == crc32(_NUMBER.pack(sequence)):
                self.sequence = sequence

    def open(self, sequence: int) -> None:
        """Begin to record. Without room for the file, nothing is recorded."""
        data = _RECORD.pack(sequence, crc32(_NUMBER.pack(sequence)))
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.pwrite(fd, data.ljust(mmap.PAGESIZE, b"\0"), 0)
            os.fsync(fd)
            self._map = mmap.mmap(fd, mmap.PAGESIZE)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._path.unlink(missing_ok=True)
        finally:
            os.close(fd)
        self.sequence = sequence

    def record(self, sequence: int) -> None:
        """That append is about to be answered."""
        self.sequence = sequence
        if self._map is not None:
            _RECORD.pack_into(self._map, 0, sequence, crc32(_NUMBER.pack(sequence)))

    def close(self) -> None:
        """Make it durable. Harmless when done twice."""
        if self._map is not None:
            self._map.flush()
            self._map.close()
            self._map = None


class Reserve:
    """Preallocated space. Used from one thread at a time."""

    def __init__(self, directory: Path) -> None:
        """Takes nothing yet."""
        self._path = directory / "RESERVE"
        self.filled = False
        """Whether it is taken."""

    def fill(self) -> bool:
        """Take the space unless it is taken; False when there is no room."""
        if self.filled:
            return True
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(fd, 0, RESERVE_BYTES)
            self.filled = True
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            os.ftruncate(fd, 0)
        finally:
            os.close(fd)
        return self.filled

    def release(self) -> bool:
        """Give the space back; False when it was not taken."""
        if not self.filled:
            return False
        self._path.unlink(missing_ok=True)
        self.filled = False
        return True
