"""The file engine: a journal in a directory of segment files.

    LOCK                      held with flock while the journal is open
    <first sequence>.log      segments, see `records` for the format; the last one is appended to
    <sequence>.snapshot       the state after that entry; the newest counts
    ACKNOWLEDGED              the last sequence whose append was answered: tells a torn tail from a rotten one
    RESERVE                   space for the deletes that end a full disk
    SPARE.tmp                 the next segment, filled with zeros ahead (`spare`)
    *.tmp                     left by a crash, removed on opening

Ownership: the event loop takes one append after the other; writing and syncing happen beside it (`durable`). What
changes files otherwise (rotation, trim, the reserve) is done in one thread, which alone replaces `_segments`. A second
thread writes snapshots, a third reads (restoring, and followers what is below the durable head). All three are the
journal's own: one whose disk hangs takes no thread from another.

Invariants, whenever the process may die:
- A file gets its name (rename, then fsync of the directory) only after what it begins with is synced.
- A record is written only after the one before it was synced: only the very last one can be torn.
- Segments are deleted only behind a snapshot that is durable under its name, oldest first.

Opening hops through the record headers and reads the payloads of the last segment only, for its torn tail; the other
checksums are verified when `restore` and `follow` read what they cover. So nothing is read twice. Zeros behind the last
record were made ahead and are no tail; opening cuts them off, too.

Errors: a full disk (ENOSPC, EDQUOT) cuts the file back to the last good record and raises JournalFull; a later
append may succeed. An urgent append gets the reserve first; others are refused until there is room to fill it again. Any other error of a write or sync leaves the outcome unknown: the journal is failed, every
later append raises JournalFailed, and nothing is retried (after a failed fsync the kernel may have dropped the
pages and would report success). What the disk holds is found out by opening again.

Cost of an append: two system calls of the loop, and the kernel's own write and fdatasync; the bytes are not copied. In a
segment that was made ahead the fdatasync waits for the data alone.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from lakh.store.directory import DirectoryLock, fsync_directory, make_directory
from lakh.store.durable import SyncError, open_writer
from lakh.store.errors import (
    Fenced,
    JournalClosed,
    JournalCorrupt,
    JournalError,
    JournalFailed,
    JournalFull,
    SnapshotFailed,
    Trimmed,
)
from lakh.store.journal import Entry, Snapshot
from lakh.store.records import (
    FILE_HEADER_BYTES,
    MAX_RECORD_BYTES,
    RECORD_HEADER_BYTES,
    SEGMENT_MAGIC,
    Torn,
    decode_record_header,
    encode_file_header,
    encode_record_header,
    hop_records,
    read_file_header,
    read_records,
)
from lakh.store.reserve import Acknowledged, Reserve
from lakh.store.snapshot_file import (
    SnapshotFile,
    SnapshotWriter,
    create_file,
    look_at_snapshot,
    read_snapshot,
)
from lakh.store.spare import Spare

log = logging.getLogger(__name__)

T = TypeVar("T")

SEGMENT_BYTES = 32 << 20
"""A segment is closed at this size. Only whole segments are deleted, so about this much is kept too long."""
FILL_AHEAD = 4
"""Bytes of the next segment made ready for each that is appended: the disk writes zeros no faster than that."""
READ_BYTES = 1 << 20
"""A follower takes about this much in one hop to the executor."""
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class _Segment:
    """A segment file: where it is, its first sequence, whether it was filled ahead, and how far it is known to be good."""

    __slots__ = ("end", "filled", "first", "path", "salt")

    def __init__(self, path: Path, first: int, salt: int, *, filled: bool = False) -> None:
        self.path = path
        self.first = first
        self.salt = salt
        self.filled = filled
        self.end = FILE_HEADER_BYTES  # offset after the last durable record


class FileJournal:
    """A `Journal` in a directory. Open it with `FileJournal.open`."""

    max_batch_bytes = MAX_RECORD_BYTES

    def __init__(self, directory: Path, segment_bytes: int, read_only: bool) -> None:
        """Not for callers: `open` recovers first."""
        self.directory = directory
        self.torn_bytes = 0
        """What followed the last good record when the journal was opened."""
        self._read_only = read_only
        self._segment_bytes = segment_bytes
        self._head = 0
        # Replaced, never changed in place: the event loop iterates over it while the file thread rotates.
        self._segments: list[_Segment] = []
        self._counted: list[_Segment] | None = None  # the segments that `_closed_bytes` is about
        self._closed_bytes = 0  # of all but the last of them, which grow no more
        self._snapshot: SnapshotFile | None = None
        self._fd = -1  # of the last segment
        self._acknowledged = Acknowledged(directory)
        self._reserve = Reserve(directory)
        self._spare = Spare(directory, segment_bytes)
        self._filling: asyncio.Future[None] | None = None
        self._failure: JournalError | None = None
        self._closed = False
        self._followers: set[asyncio.Future[None]] = set()
        self._turn = asyncio.Lock()
        self._files = ThreadPoolExecutor(1, thread_name_prefix="journal-files")
        self._writer = open_writer(self._files)
        self._snapshotter = ThreadPoolExecutor(1, thread_name_prefix="journal-snapshot")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="journal-read")
        self._lock: DirectoryLock | None = None

    @classmethod
    async def open(
        cls, directory: Path, *, segment_bytes: int = SEGMENT_BYTES, read_only: bool = False
    ) -> FileJournal:
        """Lock the directory, verify every file, cut a torn tail; with `read_only` change nothing.

        Raises DirectoryInUse and JournalCorrupt. Costs a read of the last segment and of all record headers.
        """
        self = cls(directory, segment_bytes, read_only)
        try:
            await self._in_files(self._recover)
        except BaseException:
            await self.close()
            raise
        return self

    @property
    def head(self) -> int:
        """Sequence of the last durable entry, 0 when there was none."""
        return self._head

    @property
    def size_bytes(self) -> int:
        """What segments and snapshot take on disk. O(1) but after a change of the segments."""
        segments, snapshot = self._segments, self._snapshot
        if segments is not self._counted:
            self._counted = segments
            self._closed_bytes = sum(segment.end for segment in segments[:-1])
        written = segments[-1].end if segments else 0
        return self._closed_bytes + written + (snapshot.size_bytes if snapshot else 0)

    @property
    def failure(self) -> JournalError | None:
        """Why the journal takes no more appends, if so."""
        return self._failure

    async def read_head(self) -> int:
        """The head: nobody else has this directory."""
        self._refuse_when_closed()
        return self._head

    # Appending

    async def append(self, batch: bytes, *, after: int, urgent: bool = False) -> int:
        """Write and sync one batch. See `Journal.append`. Cancelled, its outcome is unknown and the journal failed."""
        if len(batch) > MAX_RECORD_BYTES:
            raise ValueError(f"a batch of {len(batch)} bytes is over the limit of {MAX_RECORD_BYTES}")
        self._refuse_when_closed()
        await self._turn.acquire()
        try:
            if self._failure is not None:
                raise JournalFailed(str(self._failure)) from self._failure
            if self._fd < 0:
                raise JournalClosed
            if after != self._head:
                raise Fenced(after, self._head)
            sequence = after + 1
            if not urgent and not self._reserve.filled and not await self._in_files(self._reserve.fill):
                raise JournalFull(self.directory)
            while True:
                try:
                    segment, end = await self._write_record(batch, sequence)
                    break
                except JournalFull:
                    if not await self._in_files(self._make_room, urgent):
                        raise
            segment.end = end
            self._head = sequence
            self._acknowledged.record(sequence)
            self._fill_ahead(segment)
        finally:
            self._turn.release()
        self._wake_followers()
        return sequence

    def _make_room(self, urgent: bool) -> bool:
        """On a full disk, give back what is held for later."""
        if self._spare.release():
            return True
        if not urgent or not self._reserve.release():
            return False
        log.warning("journal %s uses its reserve: the disk is full", self.directory)
        return True

    def _fill_ahead(self, segment: _Segment) -> None:
        """Make the next segment grow with this one."""
        due = FILL_AHEAD * (segment.end - FILE_HEADER_BYTES)
        if self._spare.wanted(due) and (self._filling is None or self._filling.done()):
            self._filling = asyncio.get_running_loop().run_in_executor(self._files, self._spare.fill)

    async def _write_record(self, batch: bytes, sequence: int) -> tuple[_Segment, int]:
        """Write and sync: the segment and the record's end in it."""
        segment = self._segments[-1]
        if segment.end >= self._segment_bytes or (self._spare.whole and not segment.filled):
            await self._in_files(self._rotate, sequence)
            segment = self._segments[-1]
        header = encode_record_header(sequence, batch, segment.salt)
        try:
            return segment, await self._writer.write(self._fd, (header, batch), segment.end)
        except SyncError as error:
            raise self._fail(f"fdatasync of {segment.path}: {error}") from error
        except OSError as error:
            raise await self._in_files(self._cut_back, segment, error) from error
        except asyncio.CancelledError:
            self._fail(f"an append to {segment.path} was cancelled")
            raise

    def _cut_back(self, segment: _Segment, error: OSError) -> JournalError:
        """After a failed write: forget what got out, and say what the caller is to raise."""
        if error.errno not in DISK_FULL:
            return self._fail(f"write to {segment.path}: {error}")
        try:
            os.ftruncate(self._fd, segment.end)
            segment.filled = False
        except OSError as second:
            return self._fail(f"cutting {segment.path} back to {segment.end}: {second}")
        return JournalFull(self.directory)

    def _fail(self, reason: str) -> JournalFailed:
        self._failure = JournalFailed(reason)
        log.error("journal %s takes no more writes: %s", self.directory, reason)
        return JournalFailed(reason)

    def _rotate(self, first: int) -> None:
        """Begin a new segment. A crash in between leaves at most a .tmp file or an empty segment."""
        path = self.directory / f"{first:020d}.log"
        salt = secrets.randbits(32)
        header = encode_file_header(SEGMENT_MAGIC, first, salt)
        filled = self._spare.whole
        try:
            fd = self._spare.take(path, header) if filled else create_file(path, header)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise JournalFull(self.directory) from error
            raise self._fail(f"creating {path}: {error}") from error
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._segments = [*self._segments, _Segment(path, first, salt, filled=filled)]
        self._spare.retry()

    # Recovery

    def _recover(self) -> None:
        make_directory(self.directory)
        self._lock = DirectoryLock(self.directory)
        for leftover in self.directory.glob("*.tmp") if not self._read_only else ():
            log.info("removing %s, left by a crash", leftover)
            leftover.unlink()
        self._acknowledged.read()
        self._snapshot = self._newest_snapshot()
        covered = self._snapshot.sequence if self._snapshot else 0
        self._segments = self._needed_segments(covered)
        self._head = covered
        for segment in self._segments:
            self._head = self._verify(segment, last=segment is self._segments[-1])
        if self._segments and self._head < covered:
            self._segments = []  # all of it is older than the snapshot
        self._head = max(self._head, covered)
        if self._acknowledged.sequence > self._head:
            raise JournalCorrupt(
                self._segments[-1].path if self._segments else self.directory,
                self._segments[-1].end if self._segments else 0,
                f"it ends with record {self._head}, but {self._acknowledged.sequence} was acknowledged",
            )
        if self._read_only:
            return
        if not self._segments:
            self._rotate(self._head + 1)
        else:
            self._fd = os.open(self._segments[-1].path, os.O_RDWR)
            if os.fstat(self._fd).st_size > self._segments[-1].end:
                os.ftruncate(self._fd, self._segments[-1].end)
            # What a killed process wrote may still be in the page cache only; it is served from now on.
            os.fsync(self._fd)
        fsync_directory(self.directory)
        self._acknowledged.open(self._head)
        if not self._reserve.fill():
            log.warning("journal %s: no room for a reserve; only deletes are taken", self.directory)
        self._trim(covered)

    def _newest_snapshot(self) -> SnapshotFile | None:
        for path in sorted(self.directory.glob("*.snapshot"), reverse=True):
            try:
                return look_at_snapshot(path)
            except JournalCorrupt as error:
                log.error("%s; looking for an older snapshot", error)
                failure = error
                # Without it the segments must reach further back; when they do not, this is the cause to name.
                if not self._reaches_back_before(failure):
                    raise
        return None

    def _reaches_back_before(self, failure: JournalCorrupt) -> bool:
        """Whether something older than a corrupt snapshot could stand in for it."""
        older = [path for path in self.directory.glob("*.snapshot") if path.name < failure.path.name]
        first = min((int(path.stem) for path in self.directory.glob("*.log")), default=0)
        return bool(older) or first == 1

    def _needed_segments(self, covered: int) -> list[_Segment]:
        """The segments from the one with entry `covered + 1` on, headers checked."""
        paths = sorted(self.directory.glob("*.log"))
        needed = [path for path in paths if int(path.stem) > covered + 1]
        holding = [path for path in paths if int(path.stem) <= covered + 1]
        if not holding and needed:
            raise JournalCorrupt(
                needed[0], 0, f"the segment with sequence {covered + 1}, before it, is missing"
            )
        segments = []
        for path in [*holding[-1:], *needed]:
            fd = os.open(path, os.O_RDONLY)
            try:
                first, salt = read_file_header(fd, path, SEGMENT_MAGIC)
            finally:
                os.close(fd)
            if first != int(path.stem):
                raise JournalCorrupt(path, 0, f"it begins with sequence {first}, which is not its name")
            segments.append(_Segment(path, first, salt))
        return segments

    def _verify(self, segment: _Segment, *, last: bool) -> int:
        """Check every record, set `segment.end`, return the last sequence."""
        if segment is not self._segments[0] and segment.first != self._head + 1:
            raise JournalCorrupt(segment.path, 0, f"it begins with {segment.first}, {self._head + 1} is due")
        sequence = segment.first - 1
        fd = os.open(segment.path, os.O_RDONLY)
        try:
            try:
                look = read_records if last else hop_records
                for record in look(
                    fd, segment.path, salt=segment.salt, offset=FILE_HEADER_BYTES, sequence=segment.first
                ):
                    segment.end = record.end
                    sequence = record.sequence
            except Torn as torn:
                if not last:
                    raise JournalCorrupt(segment.path, torn.offset, torn.reason) from None
                if sequence < self._acknowledged.sequence:
                    # Not a trace of a crash: it was whole once.
                    raise JournalCorrupt(
                        segment.path, torn.offset, f"{torn.reason}; it was acknowledged"
                    ) from None
                self.torn_bytes = torn.size_bytes - torn.offset
                if self._read_only:
                    return sequence
                log.warning(
                    "%s: cut %d bytes at %d after sequence %d, an append that never finished: %s",
                    segment.path,
                    torn.size_bytes - torn.offset,
                    torn.offset,
                    sequence,
                    torn.reason,
                )
        finally:
            os.close(fd)
        return sequence

    # Following

    async def follow(self, start: int) -> AsyncGenerator[Entry, None]:
        """Entries from `start` on, then live. See `Journal.follow`."""
        loop = asyncio.get_running_loop()
        next_sequence = max(start, 1)
        segment: _Segment | None = None
        fd, offset = -1, 0
        try:
            while True:
                if self._closed:
                    raise JournalClosed
                if next_sequence > self._head:
                    woken = loop.create_future()
                    self._followers.add(woken)
                    try:
                        await woken
                    finally:
                        self._followers.discard(woken)
                    continue
                holder = self._holder(next_sequence)
                if holder is not segment:
                    if fd >= 0:
                        os.close(fd)
                        fd = -1
                    try:
                        fd = os.open(holder.path, os.O_RDONLY)
                    except FileNotFoundError:
                        raise Trimmed(next_sequence, self._segments[0].first) from None
                    segment = holder
                    offset = await loop.run_in_executor(self._reader, _seek, fd, holder, next_sequence)
                entries, offset = await loop.run_in_executor(
                    self._reader, _read_entries, fd, holder, offset, next_sequence, self._head
                )
                for entry in entries:
                    yield entry
                    next_sequence = entry.sequence + 1
        finally:
            if fd >= 0:
                os.close(fd)

    def _holder(self, sequence: int) -> _Segment:
        segments = self._segments
        for segment in reversed(segments):
            if segment.first <= sequence:
                return segment
        raise Trimmed(sequence, segments[0].first)

    def _wake_followers(self) -> None:
        for follower in self._followers:
            if not follower.done():
                follower.set_result(None)

    # Snapshots

    async def restore(self) -> Snapshot | None:
        """The newest snapshot. See `Journal.restore`."""
        if self._snapshot is None:
            return None
        return Snapshot(self._snapshot.sequence, read_snapshot(self._snapshot.path, self._reader))

    async def snapshot(self, sequence: int, chunks: AsyncIterator[bytes] | Iterable[bytes]) -> None:
        """Write a snapshot beside the log. A plain iterable is consumed in the snapshot thread."""
        if sequence > self._head:
            raise ValueError(f"a snapshot at {sequence} is ahead of the head, {self._head}")
        self._refuse_when_closed()
        path = self.directory / f"{sequence:020d}.snapshot"
        writer = SnapshotWriter(path, sequence)
        try:
            if isinstance(chunks, AsyncIterator):
                await self._snapshot_async(writer, chunks)
            else:
                await self._in_snapshotter(self._snapshot_all, writer, chunks)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise JournalFull(self.directory) from error
            raise SnapshotFailed(f"{path}: {error}") from error

    async def _snapshot_async(self, writer: SnapshotWriter, chunks: AsyncIterator[bytes]) -> None:
        try:
            await self._in_snapshotter(writer.begin)
            async for chunk in chunks:
                await self._in_snapshotter(writer.write, chunk)
            self._snapshot = await self._in_snapshotter(writer.finish)
        finally:
            # In its thread: when this coroutine is cancelled, a write may still be using the file descriptor.
            try:
                self._snapshotter.submit(writer.abandon)
            except RuntimeError:  # shut down meanwhile: nothing runs in it any more
                writer.abandon()

    def _snapshot_all(self, writer: SnapshotWriter, chunks: Iterable[bytes]) -> None:
        try:
            writer.begin()
            for chunk in chunks:
                self._refuse_when_closed()
                writer.write(chunk)
            self._snapshot = writer.finish()
        finally:
            writer.abandon()

    async def _in_snapshotter(self, function: Callable[..., T], *args: object) -> T:
        self._refuse_when_closed()
        return await asyncio.get_running_loop().run_in_executor(self._snapshotter, function, *args)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise JournalClosed

    async def trim(self, sequence: int) -> None:
        """Delete what the newest snapshot makes superfluous, up to `sequence`."""
        await self._in_files(self._trim, sequence)

    def _trim(self, sequence: int) -> None:
        covered = self._snapshot.sequence if self._snapshot else 0
        sequence = min(sequence, covered)
        # The last segment is kept whatever it holds: it is the one that is appended to.
        segments = self._segments
        while len(segments) > 1 and segments[1].first <= sequence + 1:
            segments = segments[1:]
        self._segments = segments
        kept = {segment.path for segment in segments}
        for path in sorted(self.directory.glob("*.log")):
            if path not in kept:
                path.unlink()
        for path in self.directory.glob("*.snapshot"):
            if self._snapshot is not None and path.name < self._snapshot.path.name:
                path.unlink()
        fsync_directory(self.directory)

    # The rest

    async def close(self) -> None:
        """Finish the append under way, abandon a snapshot, release the directory. Harmless when done twice."""
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        async with self._turn:
            await self._writer.close()
        await loop.run_in_executor(self._files, self._close_files)
        await loop.run_in_executor(self._snapshotter, int)  # waits for the thread's last job
        self._files.shutdown()
        self._snapshotter.shutdown()
        self._reader.shutdown()
        if self._lock is not None:
            self._lock.release()
        self._wake_followers()

    def _close_files(self) -> None:
        self._acknowledged.close()
        self._spare.release()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def _in_files(self, function: Callable[..., T], *args: object) -> T:
        self._refuse_when_closed()
        return await asyncio.get_running_loop().run_in_executor(self._files, function, *args)


def _seek(fd: int, segment: _Segment, sequence: int) -> int:
    """Offset of the record `sequence`, found by hopping from header to header."""
    offset = FILE_HEADER_BYTES
    for at in range(segment.first, sequence):
        decoded = decode_record_header(os.pread(fd, RECORD_HEADER_BYTES, offset), segment.salt)
        if decoded is None or decoded[1] != at:
            raise JournalCorrupt(segment.path, offset, f"record {at} is not there")
        offset += RECORD_HEADER_BYTES + decoded[0]
    return offset


def _read_entries(
    fd: int, segment: _Segment, offset: int, sequence: int, head: int
) -> tuple[list[Entry], int]:
    """Durable entries from `offset` on, about READ_BYTES of them, and where to go on."""
    entries: list[Entry] = []
    begin = offset
    try:
        for record in read_records(fd, segment.path, salt=segment.salt, offset=offset, sequence=sequence):
            entries.append(Entry(record.sequence, record.payload))
            offset = record.end
            # Beyond the head is an append under way: never look at it.
            if record.sequence >= head or offset - begin >= READ_BYTES:
                break
    except Torn as torn:
        raise JournalCorrupt(segment.path, torn.offset, torn.reason) from None
    if not entries and segment.end > begin:
        raise JournalCorrupt(segment.path, begin, f"record {sequence} is not there")
    return entries, offset
