"""How batches and snapshots look inside: msgpack.

    batch            [1, revision of the first write, [[key, value or nil (deleted), [term, …]], …]]
    snapshot chunk 1 [1, revision, number of items]
    further chunks   [[key, value, [term, …], create revision, revision], …]

Revisions in a batch count up by one a write. A create revision follows from the state: it is the previous
item's, or the write's own when there was none. The leading 1 is the version of the format.

Worked example::

    >>> decode_batch(encode_batch(5, [("pods/a/b", b"{}", ("t",)), ("pods/a/c", None, ())]))
    (5, [('pods/a/b', b'{}', ('t',)), ('pods/a/c', None, ())])
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from lakh.store.state import Item

FORMAT_VERSION = 1
CHUNK_BYTES = 256 << 10
"""A snapshot is encoded in pieces of this size: a fraction of a millisecond each with the interpreter held."""
CHUNK_ITEMS = 1_000
"""The same for small items."""

Write = tuple[str, bytes | None, tuple[str, ...]]

_encoder = msgspec.msgpack.Encoder()
_batch_decoder = msgspec.msgpack.Decoder(tuple[int, int, list[Write]])
_header_decoder = msgspec.msgpack.Decoder(tuple[int, int, int])
_items_decoder = msgspec.msgpack.Decoder(list[Item])


class UnreadableBatchError(ValueError):
    """The bytes are no batch or chunk of this format."""


def encode_batch(revision: int, writes: list[Write]) -> bytes:
    """One copy of each value."""
    return _encoder.encode((FORMAT_VERSION, revision, writes))


def decode_batch(data: bytes) -> tuple[int, list[Write]]:
    """The revision of the first write, and the writes. Raises UnreadableBatchError."""
    try:
        version, revision, writes = _batch_decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise UnreadableBatchError(str(error)) from error
    _check_version(version)
    return revision, writes


def encode_snapshot(revision: int, items: list[Item]) -> Iterator[bytes]:
    """The chunks of a snapshot. Items are read only, so this may run in another thread."""
    yield _encoder.encode((FORMAT_VERSION, revision, len(items)))
    rows: list[tuple[str, bytes, tuple[str, ...], int, int]] = []
    size_bytes = 0
    for item in items:
        rows.append((item.key, item.value, item.terms, item.create_revision, item.revision))
        size_bytes += len(item.value)
        if size_bytes >= CHUNK_BYTES or len(rows) >= CHUNK_ITEMS:
            yield _encoder.encode(rows)
            rows.clear()
            size_bytes = 0
    if rows:
        yield _encoder.encode(rows)


def decode_snapshot_header(chunk: bytes) -> tuple[int, int]:
    """(revision, number of items) from the first chunk. Raises UnreadableBatchError."""
    try:
        version, revision, count = _header_decoder.decode(chunk)
    except msgspec.MsgspecError as error:
        raise UnreadableBatchError(str(error)) from error
    _check_version(version)
    return revision, count


def decode_snapshot_items(chunk: bytes) -> list[Item]:
    """Items from a further chunk. Raises UnreadableBatchError."""
    try:
        return _items_decoder.decode(chunk)
    except msgspec.MsgspecError as error:
        raise UnreadableBatchError(str(error)) from error


def _check_version(version: int) -> None:
    if version != FORMAT_VERSION:
        raise UnreadableBatchError(f"format version {version} is not {FORMAT_VERSION}, the one known here")
