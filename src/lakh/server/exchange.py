"""What the transport and the handlers exchange: requests, responses, streams.

A handler gets a `Request` and returns a `Response`, a `StreamResponse`, or a coroutine of either. A `Stream` is the body of a
`StreamResponse` while it is being written. It belongs to its sink until `finish()`, `abort()` or the client's end,
whichever is first; `on_close` is called exactly once then. Writing to a closed stream does nothing, so a watcher that is told of an
event in the same loop step as of the end needs no check.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from lakh.machinery.errors import StatusError
from lakh.server.peer import Peer

log = logging.getLogger(__name__)

# Bodies and chunks up to this size are joined with their frame, for each piece is a TLS record: what a watch gathers is just below it.
JOIN_BYTES = 62 * 1024


class StreamClosed(Exception):
    """The stream ended (or its client went away) while its producer waited for room."""


class Request:
    """One request. `headers` is shared between requests and must not be changed."""

    __slots__ = ("body", "connection", "headers", "method", "path", "query")

    def __init__(
        self, method: str, path: str, query: str, headers: dict[str, str], body: bytes, connection: Peer
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.connection = connection

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path}{'?' if self.query else ''}{self.query} {len(self.body)} bytes>"


class Response:
    """A whole answer. A list body is written piece by piece without joining it when it is large."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self,
        status: int,
        body: bytes | list[bytes],
        content_type: bytes = b"application/json",
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers

    def __repr__(self) -> str:
        return f"<Response {self.status}>"

    @property
    def size(self) -> int:
        """Bytes of the body."""
        body = self.body
        return len(body) if isinstance(body, bytes) else sum(map(len, body))


class StreamResponse:
    """An answer of unknown length. `start` is called with the stream once the head was written; a HEAD request skips it."""

    __slots__ = ("content_type", "headers", "start", "status")

    def __init__(
        self,
        status: int,
        content_type: bytes,
        start: Callable[[Stream], Awaitable[None] | None],
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        self.status = status
        self.content_type = content_type
        self.start = start
        self.headers = headers


class Tunnel(StreamResponse):
    """An answer after which the connection is a pipe of bytes to somebody else: `head` is sent as it is, then both sides are copied."""

    __slots__ = ("head", "reader", "writer")

    def __init__(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(101, b"", lambda stream: None)
        self.head = head
        self.reader = reader
        self.writer = writer


Handler = Callable[[Request], "Response | StreamResponse | Coroutine[Any, Any, Response | StreamResponse]"]


class Sink(Protocol):
    """Where the body of a `StreamResponse` goes: a connection of HTTP/1.1, or a stream of HTTP/2."""

    write_paused: bool

    def write(self, data: bytes) -> None:
        """Send bytes after all that was written before."""

    @property
    def unsent_bytes(self) -> int:
        """What was written and has not left."""

    def stream_finished(self) -> None:
        """The body is complete."""

    def abort(self) -> None:
        """Have the client see that it will not be."""


class Stream:
    """The body of a `StreamResponse` while it is being written.

    A producer that is a coroutine sets `on_close` before its first await: until then the stream cannot end unnoticed, for a producer
    whose client is already gone is never started.
    """

    __slots__ = ("_chunked", "_sink", "_waiter", "closed", "on_close", "size")

    def __init__(self, sink: Sink, chunked: bool) -> None:
        self._sink = sink
        self._chunked = chunked
        self._waiter: asyncio.Future[None] | None = None
        self.closed = False
        self.size = 0
        """Bytes written so far by `write`."""
        self.on_close: Callable[[], None] | None = None

    def write(self, data: bytes) -> None:
        """Send one chunk."""
        if self.closed or not data:
            return
        self.size += len(data)
        if not self._chunked:
            self._sink.write(data)
        elif len(data) <= JOIN_BYTES:
            self._sink.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            for part in (b"%x\r\n" % len(data), data, b"\r\n"):
                self._sink.write(part)

    @property
    def buffered_bytes(self) -> int:
        """What was written and has not left."""
        return 0 if self.closed else self._sink.unsent_bytes

    @property
    def paused(self) -> bool:
        """Whether the client is behind by more than the high-water mark."""
        return self._sink.write_paused and not self.closed

    async def drain(self) -> None:
        """Wait while the stream is paused. Raises `StreamClosed` when it ended."""
        if self.paused:
            if self._waiter is None:
                self._waiter = asyncio.get_running_loop().create_future()
            # Shielded: several may wait, and the cancellation of one must not cancel the others.
            await asyncio.shield(self._waiter)
        if self.closed:
            raise StreamClosed

    def finish(self) -> None:
        """End the body. The connection stays usable."""
        if not self.closed:
            if self._chunked:
                self._sink.write(b"0\r\n\r\n")
            self._close()
            self._sink.stream_finished()

    def abort(self) -> None:
        """Break it off, so that the client sees that the body is incomplete."""
        if not self.closed:
            self._sink.abort()

    def _close(self) -> None:
        """Mark the end, wake who waits, tell the owner. Called once, by `finish` or by the connection."""
        self.closed = True
        self._resume()
        on_close, self.on_close = self.on_close, None
        if on_close is not None:
            try:
                on_close()
            except Exception:
                log.exception("on_close of a stream failed")

    def _resume(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def status_response(error: StatusError) -> Response:
    """The `Response` of a `StatusError`."""
    retry = error.retry_after_seconds
    headers = error.headers
    if retry:
        headers = (*headers, (b"Retry-After", b"%d" % retry))
    return Response(error.code, error.encode(), headers=headers)
