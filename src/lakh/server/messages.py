"""Stored objects as `application/vnd.kubernetes.protobuf`: single, in lists, in watches.

A list is inside of an envelope that tells its length first, so it is made whole before it is sent; what goes beyond `KEPT_BYTES` is measured, dropped,
and made again while it is sent. A watch event is a WatchEvent behind its length in four bytes; its object has an envelope of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from copy import copy
from typing import TYPE_CHECKING, Any

from lakh.machinery import errors, protobuf, protoencode
from lakh.machinery.protobuf import MEDIA_TYPE, ProtobufError
from lakh.server.exchange import Response, Stream, StreamResponse

if TYPE_CHECKING:
    from lakh.server.listing import Found, Pages
    from lakh.store.state import Item

CONTENT_TYPE = MEDIA_TYPE.encode()
WATCH_CONTENT_TYPE = CONTENT_TYPE + b";stream=watch"

# How much of a list is kept while its length is found.
KEPT_BYTES = 64 * 1024 * 1024
# Items made in one turn of the loop.
ITEMS_AT_ONCE = 128


class Messages:
    """The messages of one kind, from its form at rest."""

    __slots__ = ("_compiled", "_head", "list_head")

    def __init__(self, api_version: str, kind: str, list_kind: str) -> None:
        self._compiled = protoencode.of_message(protobuf.message_of(api_version, kind).name)
        self._head = protobuf.envelope_head(api_version, kind)
        self.list_head = protobuf.envelope_head(api_version, list_kind)

    def message(self, value: bytes, revision: int) -> bytes:
        """The bare message of an object, with its resourceVersion; raises 500 when it cannot be written."""
        try:
            return self._compiled.of_object(value, str(revision) if revision else None)
        except ProtobufError as e:
            raise errors.internal(f"cannot encode as protobuf: {e}") from None

    def serve(self, value: bytes, revision: int) -> bytes:
        """An object as clients get it. A revision of 0 is none."""
        return protobuf.envelope(self._head, self.message(value, revision))


PARTIAL = {
    version: Messages(version, "PartialObjectMetadata", "PartialObjectMetadataList")
    for version in ("meta.k8s.io/v1", "meta.k8s.io/v1beta1")
}
"""By apiVersion."""


def watch_event(kind: bytes, served: bytes) -> bytes:
    """An event of a watch, behind its length."""
    obj = protoencode.delimited(b"\x0a", served)
    event = protoencode.delimited(b"\x0a", kind) + protoencode.delimited(b"\x12", obj)
    return len(event).to_bytes(4, "big") + event


def list_metadata(revision: int, after: str = "", remaining: int | None = None) -> bytes:
    """A list's metadata field."""
    meta = protoencode.delimited(b"\x12", b"%d" % revision)
    if after:
        meta += protoencode.delimited(b"\x1a", after.encode())
        if remaining:
            meta += b"\x20" + protobuf.varint(remaining)
    return protoencode.delimited(b"\x0a", meta)


def respond(
    list_head: bytes, render: Callable[[Item], bytes], reading: Pages | Found, turn: asyncio.Lock
) -> Response | Coroutine[Any, Any, Response | StreamResponse]:
    """The answer to a list: at once when its first piece is all of it. `render` makes an item's message."""
    before = copy(reading)
    items = reading.read()
    if reading.done:
        return _whole(list_head, [_joined(render, items)], reading)
    return _long(list_head, render, before, reading, items, turn)


async def _long(
    list_head: bytes,
    render: Callable[[Item], bytes],
    before: Pages | Found,
    reading: Pages | Found,
    items: list[Item],
    turn: asyncio.Lock,
) -> Response | StreamResponse:
    """`items` were read already; `before` would read them again."""
    kept: list[bytes] = []
    kept_bytes = dropped_bytes = 0
    rest: Pages | Found | None = None
    while True:
        async with turn:
            if items:
                data = _joined(render, items)
                if rest is None and kept_bytes + len(data) <= KEPT_BYTES:
                    kept.append(data)
                    kept_bytes += len(data)
                else:
                    if rest is None:
                        rest = before
                    dropped_bytes += len(data)
            if reading.done:
                break
            if rest is None:
                before = copy(reading)
            items = reading.read()
            await asyncio.sleep(0)
    if rest is None:
        return _whole(list_head, kept, reading)
    metadata = _metadata(reading)
    head = list_head + protoencode.length(b"\x12", len(metadata) + kept_bytes + dropped_bytes) + metadata

    async def start(stream: Stream) -> None:
        assert rest is not None
        stream.write(head)
        for data in kept:
            stream.write(data)
        kept.clear()
        while not rest.done:
            if stream.paused:
                await stream.drain()
            async with turn:
                if stream.closed:
                    return
                stream.write(_joined(render, rest.read()))
                await asyncio.sleep(0)
        stream.write(protobuf.ENVELOPE_TAIL)
        stream.finish()

    return StreamResponse(200, CONTENT_TYPE, start)


def _whole(list_head: bytes, pieces: list[bytes], reading: Pages | Found) -> Response:
    metadata = _metadata(reading)
    size = len(metadata) + sum(map(len, pieces))
    head = list_head + protoencode.length(b"\x12", size) + metadata
    return Response(200, [head, *pieces, protobuf.ENVELOPE_TAIL], CONTENT_TYPE)


def _metadata(reading: Pages | Found) -> bytes:
    return list_metadata(reading.revision, reading.next, reading.remaining)


def _joined(render: Callable[[Item], bytes], items: list[Item]) -> bytes:
    delimited = protoencode.delimited
    return b"".join([delimited(b"\x12", render(item)) for item in items])
