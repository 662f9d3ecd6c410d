"""Snapshot files of the file engine, and how files get their names.

A snapshot is written beside the log as `<sequence>.snapshot.tmp` and renamed when all of it is synced. See `records` for
the format. It is synced in pieces: one huge sync at the end would hold up the syncs of the appends.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from pathlib import Path
from typing import NamedTuple

from lakh.store.directory import fsync_directory
from lakh.store.durable import write_all
from lakh.store.errors import JournalCorrupt
from lakh.store.records import (
    FILE_HEADER_BYTES,
    SNAPSHOT_MAGIC,
    Torn,
    encode_file_header,
    encode_record_header,
    hop_records,
    read_file_header,
    read_records,
)

SYNC_EVERY_BYTES = 8 << 20
"""What is not synced yet of a snapshot, at most."""


class SnapshotFile(NamedTuple):
    """A whole snapshot on disk."""

    path: Path
    sequence: int
    size_bytes: int


class SnapshotWriter:
    """Writes `<path>.tmp` and renames it when whole. Used from one thread at a time."""

    def __init__(self, path: Path, sequence: int) -> None:
        self._path = path
        self._temporary = path.with_name(path.name + ".tmp")
        self._sequence = sequence
        self._salt = secrets.randbits(32)
        self._fd = -1
        self._records = 0
        self._end = 0
        self._synced = 0

    def begin(self) -> None:
        self._fd = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._end = write_all(
            self._fd, [encode_file_header(SNAPSHOT_MAGIC, self._sequence, self._salt)], self._end
        )

    def write(self, chunk: bytes) -> None:
        if chunk:  # the empty record is the end mark
            self._record(chunk)

    def _record(self, chunk: bytes) -> None:
        self._records += 1
        header = encode_record_header(self._records, chunk, self._salt)
        self._end = write_all(self._fd, [header, chunk], self._end)
        if self._end - self._synced >= SYNC_EVERY_BYTES:
            os.fdatasync(self._fd)
            self._synced = self._end

    def finish(self) -> SnapshotFile:
        self._record(b"")
        os.fsync(self._fd)
        os.rename(self._temporary, self._path)
        fsync_directory(self._path.parent)
        return SnapshotFile(self._path, self._sequence, self._end)

    def abandon(self) -> None:
        """Close, and remove what was not finished."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._temporary.unlink(missing_ok=True)


def create_file(path: Path, content: bytes) -> int:
    """Create a file that has its name only with its content, both durable. Returns it open."""
    temporary = path.with_name(path.name + ".tmp")
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        write_all(fd, [content], 0)
        os.fsync(fd)
        os.rename(temporary, path)
        fsync_directory(path.parent)
    except BaseException:
        os.close(fd)
        temporary.unlink(missing_ok=True)
        raise
    return fd


def look_at_snapshot(path: Path) -> SnapshotFile:
    """Hop through a snapshot's record headers to its end mark. Raises JournalCorrupt.

    The payloads' checksums are for `read_snapshot`: nothing is read twice.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        sequence, salt = read_file_header(fd, path, SNAPSHOT_MAGIC)
        if sequence != int(path.stem):
            raise JournalCorrupt(path, 0, f"it stands for sequence {sequence}, which is not its name")
        end, whole = FILE_HEADER_BYTES, False
        for place in hop_records(fd, path, salt=salt, offset=end, sequence=1):
            end, whole = place.end, place.length == 0
        if not whole:
            raise JournalCorrupt(path, end, "the end mark is missing")
    except Torn as torn:
        raise JournalCorrupt(path, torn.offset, torn.reason) from None
    finally:
        os.close(fd)
    return SnapshotFile(path, sequence, end)


async def read_snapshot(path: Path, reader: Executor) -> AsyncGenerator[bytes, None]:
    """The chunks of a snapshot, each read by one hop to the reader."""
    loop = asyncio.get_running_loop()
    fd = os.open(path, os.O_RDONLY)
    try:
        _, salt = read_file_header(fd, path, SNAPSHOT_MAGIC)
        records = read_records(fd, path, salt=salt, offset=FILE_HEADER_BYTES, sequence=1)
        while True:
            record = await loop.run_in_executor(reader, next, records, None)
            if record is None:
                return
            if record.payload:
                yield record.payload
    except Torn as torn:
        raise JournalCorrupt(path, torn.offset, torn.reason) from None
    finally:
        os.close(fd)
