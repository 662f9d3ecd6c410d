"""Snapshots in the JetStream object store.

A bucket a partition; an object's name is the sequence that the snapshot stands for. The layout is the object store's
own, so `nats object ls|get` work on it:

    $O.<bucket>.C.<nuid>            the chunks, one message each
    $O.<bucket>.M.<base64(name)>    JSON: size, number of chunks, SHA-256

The description is published last, when all chunks are stored and counted: that is the commit. A snapshot without it
does not exist, and its chunks are removed with the next one. The highest sequence counts.

Writers that lost the partition do no harm: what they still write stands for a lower sequence than the new writer's.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from lakh.store.errors import JournalCorrupt, JournalError, JournalFull, SnapshotFailed, Trimmed
from lakh.store.nats_client import NO_ROOM, NatsClient, Reply

UNACKNOWLEDGED_CHUNKS = 4
"""On their way at once. A chunk has about 256 KiB; more would sit in the buffer that appends use as well."""


class _Options(msgspec.Struct):
    max_chunk_size: int = 128 << 10


class _Description(msgspec.Struct):
    """An object's description. The field names are the object store's."""

    name: str
    bucket: str
    nuid: str
    size: int
    mtime: str
    chunks: int
    digest: str
    options: _Options = msgspec.field(default_factory=_Options)


class StoredSnapshot(NamedTuple):
    """A committed snapshot."""

    sequence: int
    size_bytes: int
    chunk_count: int
    nuid: str
    digest: str


class NatsSnapshots:
    """The snapshots of one partition."""

    def __init__(self, client: NatsClient, bucket: str, replicas: int) -> None:
        """`open` makes the bucket."""
        self.newest: StoredSnapshot | None = None
        self.size_bytes = 0
        self._client = client
        self._bucket = bucket
        self._stream = f"OBJ_{bucket}"
        self._replicas = replicas

    async def open(self) -> None:
        """Make the bucket, find the newest snapshot."""
        await self._client.ensure_stream(
            self._stream,
            {
                "subjects": [f"$O.{self._bucket}.C.>", f"$O.{self._bucket}.M.>"],
                "storage": "file",
                "retention": "limits",
                "discard": "new",
                "num_replicas": self._replicas,
                "allow_rollup_hdrs": True,
                "allow_direct": False,
            },
        )
        await self.refresh()

    async def refresh(self) -> None:
        """Find the newest snapshot."""
        state = await self._client.stream_state(self._stream, f"$O.{self._bucket}.M.>")
        self.size_bytes = state.bytes
        self.newest = None
        for sequence in sorted((_sequence(subject) for subject in state.subjects or ()), reverse=True):
            message = await self._client.message(self._stream, {"last_by_subj": self._subject(sequence)})
            if message is not None:
                self.newest = self._described(sequence, message.payload())
                return

    def _described(self, sequence: int, data: bytes) -> StoredSnapshot:
        try:
            found = msgspec.json.decode(data, type=_Description)
        except msgspec.MsgspecError as error:
            raise JournalCorrupt(self._path(sequence), 0, f"unreadable description: {error}") from error
        return StoredSnapshot(sequence, found.size, found.chunks, found.nuid, found.digest)

    async def read(self, snapshot: StoredSnapshot) -> AsyncGenerator[bytes, None]:
        """The chunks. Raises JournalCorrupt, and Trimmed when a newer snapshot took its place meanwhile."""
        digest = hashlib.sha256()
        size_bytes = count = 0
        subject = f"$O.{self._bucket}.C.{snapshot.nuid}"
        stored = await self._client.stream_state(self._stream, subject)
        if (stored.subjects or {}).get(subject, 0) != snapshot.chunk_count:
            await self._refuse_incomplete(snapshot, 0)
        async with aclosing(self._client.messages(self._stream, 1, subject)) as messages:
            async for message in messages:
                digest.update(message.data)
                size_bytes += len(message.data)
                count += 1
                if count + message.pending < snapshot.chunk_count:
                    await self._refuse_incomplete(snapshot, size_bytes)
                yield message.data
                if count == snapshot.chunk_count:
                    break
        if _encoded_digest(digest.digest()) != snapshot.digest:
            raise JournalCorrupt(self._path(snapshot.sequence), size_bytes, "the snapshot's digest is wrong")

    async def _refuse_incomplete(self, snapshot: StoredSnapshot, offset: int) -> None:
        await self.refresh()
        if self.newest is not None and self.newest.sequence > snapshot.sequence:
            raise Trimmed(snapshot.sequence, self.newest.sequence)
        raise JournalCorrupt(self._path(snapshot.sequence), offset, "chunks are missing")

    async def write(self, sequence: int, chunks: AsyncIterator[bytes] | Iterable[bytes]) -> None:
        """Store a snapshot. Raises SnapshotFailed and JournalFull; what was stored of it is removed, now or later."""
        nuid = secrets.token_hex(11)
        subject = f"$O.{self._bucket}.C.{nuid}"
        digest = hashlib.sha256()
        size_bytes = count = 0
        waiting: deque[asyncio.Task[Reply | None]] = deque()
        try:
            async for chunk in _each(chunks):
                digest.update(chunk)
                size_bytes += len(chunk)
                count += 1
                waiting.append(asyncio.create_task(self._client.publish(subject, chunk)))
                if len(waiting) >= UNACKNOWLEDGED_CHUNKS:
                    _check(await waiting.popleft())
            while waiting:
                _check(await waiting.popleft())
            # An acknowledgement that got lost failed the snapshot. Still: count, for a commit is for ever.
            stored = await self._client.stream_state(self._stream, subject)
            if (stored.subjects or {}).get(subject, 0) != count:
                raise SnapshotFailed("chunks are missing")
            description = _Description(
                name=_name(sequence),
                bucket=self._bucket,
                nuid=nuid,
                size=size_bytes,
                mtime=datetime.now(UTC).isoformat(),
                chunks=count,
                digest=_encoded_digest(digest.digest()),
            )
            _check(await self._client.publish(self._subject(sequence), msgspec.json.encode(description)))
        except BaseException:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            if not self._client.closed:
                with suppress(JournalError):
                    await self._client.purge(self._stream, {"filter": subject})
            raise
        await self.refresh()

    async def trim(self) -> None:
        """Remove all before the newest snapshot, and what unfinished ones left."""
        newest = self.newest
        if newest is None:
            return
        first = await self._client.message(
            self._stream, {"seq": 1, "next_by_subj": f"$O.{self._bucket}.C.{newest.nuid}"}
        )
        if first is not None:
            # Descriptions first: a snapshot without its chunks would be called corrupt.
            state = await self._client.stream_state(self._stream, f"$O.{self._bucket}.M.>")
            for subject in state.subjects or ():
                if _sequence(subject) < newest.sequence:
                    await self._client.purge(self._stream, {"filter": subject})
            await self._client.purge(self._stream, {"filter": f"$O.{self._bucket}.C.>", "seq": first.seq})
        self.size_bytes = (await self._client.stream_state(self._stream)).bytes

    def _subject(self, sequence: int) -> str:
        encoded = base64.urlsafe_b64encode(_name(sequence).encode()).decode()
        return f"$O.{self._bucket}.M.{encoded}"

    def _path(self, sequence: int) -> Path:
        return Path(self._bucket) / _name(sequence)


def _name(sequence: int) -> str:
    return f"{sequence:020d}"


def _sequence(subject: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(subject.rpartition(".")[2]))
    except ValueError:
        return -1  # somebody else's object


def _encoded_digest(digest: bytes) -> str:
    return "SHA-256=" + base64.urlsafe_b64encode(digest).decode()


def _check(reply: Reply | None) -> None:
    if reply is None:
        raise SnapshotFailed("no acknowledgement")
    if reply.error is not None:
        if reply.error.err_code in NO_ROOM:
            raise JournalFull
        raise SnapshotFailed(reply.error.description)


async def _each(chunks: AsyncIterator[bytes] | Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    if isinstance(chunks, AsyncIterator):
        async for chunk in chunks:
            yield chunk
        return
    iterator = iter(chunks)

    def take() -> bytes | None:
        return next(iterator, None)

    while (taken := await asyncio.to_thread(take)) is not None:
        yield taken
