"""How batches and snapshots look inside: msgpack.

    batch            [1, revision of the first write, [[key, value or nil (deleted), [term, …]], …]]
                     [1, revision of the next write, [], writer]: a claim, somebody became the writer
    snapshot chunk 1 [1, revision, number of items, writer or nil]
    further chunks   [[key, value, [term, …], create revision, revision], …]

Revisions in a batch count up by one a write. A create revision follows from the state: it is the previous
item's, or the write's own when there was none. The leading 1 is the version of the format.

Worked example::

    >>> batch = decode_batch(encode_batch(5, [("pods/a/b", b"{}", ("t",)), ("pods/a/c", None, ())]))
    >>> batch.revision, batch.writes
    (5, [('pods/a/b', b'{}', ('t',)), ('pods/a/c', None, ())])
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator

import msgspec

from lakh.store.frozen import Frozen
from lakh.store.state import Item

FORMAT_VERSION = 1
CHUNK_BYTES = 256 << 10
"""A snapshot is encoded in pieces of this size: a fraction of a millisecond each with the interpreter held."""
CHUNK_ITEMS = 1_000
"""The same for small items."""

TAKE_ITEMS = 200
"""Of a frozen state in one go."""

Write = tuple[str, bytes | None, tuple[str, ...]]

_encoder = msgspec.msgpack.Encoder()
_items_decoder = msgspec.msgpack.Decoder(list[Item])


class Batch(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """One journal entry."""

    version: int
    revision: int
    writes: list[Write]
    writer: str | None = None


class SnapshotHeader(msgspec.Struct, array_like=True, gc=False):
    """The first chunk of a snapshot."""

    version: int
    revision: int
    count: int
    writer: str | None = None


_batch_decoder = msgspec.msgpack.Decoder(Batch)
_header_decoder = msgspec.msgpack.Decoder(SnapshotHeader)


class UnreadableBatchError(ValueError):
    """The bytes are no batch or chunk of this format."""


def encode_batch(revision: int, writes: list[Write]) -> bytes:
    """One copy of each value."""
    return _encoder.encode((FORMAT_VERSION, revision, writes))


def encode_claim(revision: int, writer: str | None) -> bytes:
    """An entry without writes: from here on `writer` writes."""
    return _encoder.encode((FORMAT_VERSION, revision, (), writer))


def decode_batch(data: bytes) -> Batch:
    """What `encode_batch` and `encode_claim` made. Raises UnreadableBatchError."""
    try:
        batch = _batch_decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise UnreadableBatchError(str(error)) from error
    _check_version(batch.version)
    return batch


class _Chunks:
    """Gathers items into chunks of a snapshot."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, bytes, tuple[str, ...], int, int]] = []
        self._size_bytes = 0

    def add(self, item: Item) -> bytes | None:
        """Takes an item; the chunk, when it is full with it."""
        self._rows.append((item.key, item.value, item.terms, item.create_revision, item.revision))
        self._size_bytes += item.value_bytes
        full = self._size_bytes >= CHUNK_BYTES or len(self._rows) >= CHUNK_ITEMS
        return self.rest() if full else None

    def rest(self) -> bytes | None:
        """The chunk that is not full; None when nothing is left."""
        if not self._rows:
            return None
        chunk = _encoder.encode(self._rows)
        self._rows.clear()
        self._size_bytes = 0
        return chunk


async def encode_frozen(frozen: Frozen, writer: str | None = None) -> AsyncGenerator[bytes, None]:
    """The chunks of a snapshot, each made when it is asked for, in well under a millisecond."""
    try:
        yield _encoder.encode((FORMAT_VERSION, frozen.revision, frozen.count, writer))
        chunks = _Chunks()
        while items := frozen.take(TAKE_ITEMS):
            for item in items:
                if (chunk := chunks.add(item)) is not None:
                    yield chunk
        if (chunk := chunks.rest()) is not None:
            yield chunk
    finally:
        frozen.release()


def encode_snapshot(revision: int, items: list[Item], writer: str | None = None) -> Iterator[bytes]:
    """The chunks of a snapshot. Items are read only, so this may run in another thread."""
    yield _encoder.encode((FORMAT_VERSION, revision, len(items), writer))
    chunks = _Chunks()
    for item in items:
        if (chunk := chunks.add(item)) is not None:
            yield chunk
    if (chunk := chunks.rest()) is not None:
        yield chunk


def decode_snapshot_header(chunk: bytes) -> SnapshotHeader:
    """The first chunk. Raises UnreadableBatchError."""
    try:
        header = _header_decoder.decode(chunk)
    except msgspec.MsgspecError as error:
        raise UnreadableBatchError(str(error)) from error
    _check_version(header.version)
    return header


def decode_snapshot_items(chunk: bytes) -> list[Item]:
    """Items from a further chunk. Raises UnreadableBatchError."""
    try:
        return _items_decoder.decode(chunk)
    except msgspec.MsgspecError as error:
        raise UnreadableBatchError(str(error)) from error


def _check_version(version: int) -> None:
    if version != FORMAT_VERSION:
        raise UnreadableBatchError(f"format version {version} is not {FORMAT_VERSION}, the one known here")
