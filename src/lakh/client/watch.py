"""Decoding lists and watch lines.

A watch line is `{"type":"MODIFIED","object":{…}}`. It is decoded once, straight into `WatchEvent[T]`. BOOKMARK and
ERROR objects need not fit `T`: a line that begins like one, or that does not decode as `T`, takes the slow path, which
looks at the type first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from .errors import BadResponse, api_error
from .exchange import Stream
from .types import ListMeta, ObjectList, ObjectView, WatchEvent

__all__ = ["LineSplitter", "WatchStream", "decode_list", "watch_decoder"]

T = TypeVar("T")

MAX_LINE_BYTES = 32 * 1024 * 1024
"""No event is this long: objects are limited to a few megabytes. What is longer is no watch."""


class _Page(msgspec.Struct, Generic[T], gc=False):
    metadata: ListMeta = msgspec.field(default_factory=ListMeta)
    items: list[T] | None = None


class _Envelope(msgspec.Struct, gc=False):
    type: str
    object: msgspec.Raw


_page_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_event_decoders: dict[Any, Callable[[bytes], WatchEvent[Any]]] = {}
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_bookmark = msgspec.json.Decoder(ObjectView).decode
_CHANGES = frozenset(("ADDED", "MODIFIED", "DELETED"))
_SPECIAL = (b'{"type":"BOOKMARK"', b'{"type":"ERROR"')


def _parametrised(generic: Any, argument: Any) -> Any:
    """`generic[argument]`, for an argument that is known at run time only."""
    return generic[argument]


def decode_list(body: bytes, item_type: Any) -> ObjectList[Any]:
    """Decode a list's body. Raises `BadResponse`."""
    wanted: Any = msgspec.Raw if item_type is bytes else item_type
    decoder = _page_decoders.get(wanted)
    if decoder is None:
        decoder = _page_decoders[wanted] = msgspec.json.Decoder(_parametrised(_Page, wanted))
    try:
        page = decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadResponse(f"cannot decode the list: {error}") from error
    items = page.items or []
    if item_type is bytes:
        items = [bytes(item) for item in items]
    return ObjectList(page.metadata, items)


def watch_decoder(item_type: Any) -> Callable[[bytes], WatchEvent[Any]]:
    """The function that decodes one line of a watch to `WatchEvent[item_type]`.

    It raises `ApiError` for an ERROR event and `BadResponse` for what is no event.
    """
    decode = _event_decoders.get(item_type)
    if decode is None:
        decode = _event_decoders[item_type] = _make_decoder(item_type)
    return decode


def _make_decoder(item_type: Any) -> Callable[[bytes], WatchEvent[Any]]:
    raw = item_type is bytes
    plain = raw or item_type is dict
    typed = msgspec.json.Decoder(_parametrised(WatchEvent, msgspec.Raw if raw else item_type)).decode

    def special(line: bytes, cause: Exception | None) -> WatchEvent[Any]:
        try:
            envelope = _decode_envelope(line)
            if envelope.type == "BOOKMARK":
                if not plain:
                    return WatchEvent("BOOKMARK", _decode_bookmark(envelope.object))
                return WatchEvent(
                    "BOOKMARK", bytes(envelope.object) if raw else msgspec.json.decode(envelope.object)
                )
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadResponse(f"cannot decode the watch event: {error}") from error
        if envelope.type == "ERROR":
            raise api_error(500, bytes(envelope.object))
        raise BadResponse(f"cannot decode the watch event of type {envelope.type!r}: {cause}") from cause

    def decode(line: bytes) -> WatchEvent[Any]:
        if line.startswith(_SPECIAL):
            return special(line, None)
        try:
            event: WatchEvent[Any] = typed(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return special(line, error)
        if event.type not in _CHANGES:
            return special(line, None)
        if raw:
            event.object = bytes(event.object)
        return event

    return decode


class LineSplitter:
    """Cuts a byte stream into lines, however it is chunked. Each byte is copied at most twice."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size_bytes = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that are complete with `chunk`, without empty ones."""
        end = chunk.rfind(b"\n")
        if end < 0:
            self._keep(chunk)
            return []
        whole = chunk[:end]
        if self._parts:
            self._parts.append(whole)
            whole = b"".join(self._parts)
            self._parts.clear()
            self._size_bytes = 0
        if end + 1 < len(chunk):
            self._keep(chunk[end + 1 :])
        return [line for line in whole.split(b"\n") if line]

    def _keep(self, part: bytes) -> None:
        self._parts.append(part)
        self._size_bytes += len(part)
        if self._size_bytes > MAX_LINE_BYTES:
            raise BadResponse(f"a watch event of more than {MAX_LINE_BYTES} bytes")


class WatchStream(Generic[T]):
    """An open watch. `read_batch` gives the events that have arrived; an empty batch is the end."""

    def __init__(self, stream: Stream, item_type: type[T]) -> None:
        self._stream = stream
        self._decode: Callable[[bytes], WatchEvent[T]] = watch_decoder(item_type)
        self._splitter = LineSplitter()
        self._error: Exception | None = None

    async def read_batch(self) -> list[WatchEvent[T]]:
        """Wait for events. Raises `ApiError` for an ERROR event, `ConnectionLost` for a broken connection."""
        if self._error is not None:
            raise self._error
        while chunk := await self._stream.read():
            events: list[WatchEvent[T]] = []
            try:
                for line in self._splitter.feed(chunk):
                    events.append(self._decode(line))
            except Exception as error:
                if not events:
                    raise
                self._error = error  # what came before the error is delivered first
            if events:
                return events
        return []

    def close(self) -> None:
        """Break the connection."""
        self._stream.close()

    async def __aenter__(self) -> WatchStream[T]:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
