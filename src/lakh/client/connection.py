"""One HTTP/1.1 connection of a client, and what comes out of it.

A `Connection` serves one request at a time: `send` writes it and gives a future of the `RawResponse`, `open_stream` gives one of the
`Stream` whose body is read as it comes. It knows no pool; it tells its owner when it is free, will serve no more, or is
gone. In every state exactly one of these holds: idle, a request in flight, a stream being opened, a stream, closed.
Whoever waits is told exactly once, by the answer or by an error.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools

from .errors import BadResponse, ClientError, ConnectionLost, RequestTimeout

__all__ = ["Connection", "NotSent", "Owner", "RawResponse", "Stream"]

MAX_BODY_BYTES = 1 << 30
"""A larger answer is refused; lists of that size are to be paged."""
STREAM_BUFFER_BYTES = 256 * 1024
"""Reading from a stream's socket pauses while this much waits to be taken."""


class Owner(Protocol):
    """What a connection needs from the transport that owns it."""

    loop: asyncio.AbstractEventLoop
    server: str
    closed: bool

    def release(self, connection: Connection) -> None:
        """The connection is free for another request."""

    def dropped(self, connection: Connection) -> None:
        """It will serve no more requests."""

    def connection_gone(self, connection: Connection) -> None:
        """Its socket is closed."""


class RawResponse:
    """An answer: status code, headers as they came, body."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def header(self, name: str) -> str | None:
        """The first header of this name, in any case."""
        return _header(self.headers, name.lower().encode())

    def __repr__(self) -> str:
        return f"RawResponse({self.status}, {len(self.body)} bytes)"


def _header(headers: list[tuple[bytes, bytes]], name: bytes) -> str | None:
    for key, value in headers:
        if key.lower() == name:
            return value.decode("latin-1").strip()
    return None


class NotSent(Exception):
    """The pooled connection was closed before the request was written."""


class Connection(asyncio.Protocol):
    """One connection: the request in flight (`_waiter`) or the stream it carries."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.pooled = False  # holds one of the transport's slots
        self.uses = 0
        self.deadline = 0.0
        self.answered = False
        self.closed = False
        self.stream: Stream | None = None
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[RawResponse] | None = None
        self._opener: asyncio.Future[Stream] | None = None
        self._head_only = False
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._body_bytes = 0

    # What the transport calls

    @property
    def busy(self) -> bool:
        """A request waits for its answer, or a stream for its head."""
        return self._waiter is not None or self._opener is not None

    def send(self, payload: bytes, deadline: float, *, head_only: bool) -> asyncio.Future[RawResponse]:
        """Write a request; the future is its answer."""
        transport = self._begin(deadline)
        self._head_only = head_only
        self._waiter = self.owner.loop.create_future()
        transport.write(payload)
        return self._waiter

    def open_stream(self, payload: bytes, deadline: float) -> asyncio.Future[Stream]:
        """Write a request; the future is done with the answer's head."""
        transport = self._begin(deadline)
        self._opener = self.owner.loop.create_future()
        transport.write(payload)
        return self._opener

    def _begin(self, deadline: float) -> asyncio.Transport:
        if self.closed or self._transport is None or self._transport.is_closing():
            raise NotSent
        self.uses += 1
        self.answered = False
        self.deadline = deadline
        return self._transport

    def fail(self, error: ClientError) -> None:
        """Close now, and tell whoever waits."""
        self._finish(error)
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Stop reading from the socket."""
        if self._transport is not None and not self.closed:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and not self.closed:
            self._transport.resume_reading()

    def _finish(self, error: ClientError) -> None:
        waiter, opener, stream = self._waiter, self._opener, self.stream
        self._waiter = self._opener = self.stream = None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        if opener is not None and not opener.done():
            opener.set_exception(error)
        if stream is not None:
            stream.end(error)
        if not self.closed:
            self.closed = True
            self.owner.dropped(self)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's TLS transport does not subclass it

    def data_received(self, data: bytes) -> None:
        self.answered = True
        if not self.busy and self.stream is None:
            self.fail(BadResponse("the server sent an answer to no request"))
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.fail(BadResponse("the server switched protocols"))
        except httptools.HttpParserError as error:
            cause = error.__context__
            self.fail(cause if isinstance(cause, ClientError) else BadResponse(f"not HTTP: {error}"))

    def eof_received(self) -> None:
        if not self.busy and self.stream is None:
            self._finish(ConnectionLost("closed by the server while idle"))

    def connection_lost(self, error: Exception | None) -> None:
        if error is None and self._status and self._ends_with_eof():
            self.on_message_complete()
        what = str(error) if error else "the server closed the connection"
        lost = ConnectionLost(f"{self.owner.server}: connection lost: {what}")
        lost.__cause__ = error
        self._finish(lost)
        self._transport = None
        self.owner.connection_gone(self)

    def _ends_with_eof(self) -> bool:
        """The answer has neither length nor chunks, so the connection's end is its end."""
        headers = self._headers
        return _header(headers, b"content-length") is None and _header(headers, b"transfer-encoding") is None

    # httptools callbacks

    def on_message_begin(self) -> None:
        self._headers = []
        self._status = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._status = status = self._parser.get_status_code()
        if status < 200:
            return
        opener = self._opener
        if opener is not None:
            self._opener = None
            self.stream = Stream(self, status, self._headers)
            if not opener.done():
                opener.set_result(self.stream)
        elif self._head_only:
            # The parser expects a body that never comes, so this connection has served its time.
            self._answer()
            self.fail(ConnectionLost("closed after HEAD"))

    def on_body(self, data: bytes) -> None:
        stream = self.stream
        if stream is not None:
            stream.feed(data)
            return
        self._body.append(data)
        self._body_bytes += len(data)
        if self._body_bytes > MAX_BODY_BYTES:
            raise BadResponse(f"the answer has more than {MAX_BODY_BYTES} bytes")

    def on_message_complete(self) -> None:
        if self._status < 200:
            return
        stream = self.stream
        if stream is not None:
            self.stream = None
            stream.end(None)
            self.fail(ConnectionLost("the stream has ended"))
            return
        if self._waiter is None:
            return
        self._answer()
        if self._parser.should_keep_alive() and not self.owner.closed:
            self.owner.release(self)
        else:
            self.fail(ConnectionLost("the server does not keep the connection"))

    def _answer(self) -> None:
        waiter, self._waiter = self._waiter, None
        parts = self._body
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if parts:
            self._body = []
            self._body_bytes = 0
        if waiter is not None and not waiter.done():
            waiter.set_result(RawResponse(self._status, self._headers, body))
        self._status = 0


class Stream:
    """An answer whose body is read as it comes. One reader."""

    def __init__(self, connection: Connection, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.headers = headers
        self._connection = connection
        self._chunks: list[bytes] = []
        self._buffered_bytes = 0
        self._paused = False
        self._ended = False
        self._error: ClientError | None = None
        self._reader: asyncio.Future[None] | None = None
        self._limit: asyncio.TimerHandle | None = None

    def feed(self, data: bytes) -> None:
        """Bytes from the connection."""
        self._chunks.append(data)
        self._buffered_bytes += len(data)
        if self._buffered_bytes >= STREAM_BUFFER_BYTES and not self._paused:
            self._paused = True
            self._connection.pause()
        self._wake()

    def end(self, error: ClientError | None) -> None:
        """The body is complete, or broken off by `error`. What has arrived can still be read."""
        if not self._ended:
            self._ended = True
            self._error = error
            if self._limit is not None:
                self._limit.cancel()
            self._wake()

    def _wake(self) -> None:
        reader = self._reader
        if reader is not None and not reader.done():
            reader.set_result(None)

    def limit(self, seconds: float) -> None:
        """Break the stream when it is still open after `seconds`."""
        error = RequestTimeout(f"the stream is open for more than {seconds:g} s")
        self._limit = self._connection.owner.loop.call_later(seconds, self._connection.fail, error)

    async def read(self) -> bytes:
        """All bytes that have arrived, at least one; `b""` at the end. Raises `ConnectionLost`."""
        while not self._chunks:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return b""
            self._reader = self._connection.owner.loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered_bytes = 0
        if self._paused:
            self._paused = False
            self._connection.resume()
        return data

    async def read_all(self, timeout: float) -> RawResponse:
        """The rest of the body, for answers that turn out to be errors. Closes the stream."""
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(timeout):
                while data := await self.read():
                    parts.append(data)
                    size += len(data)
                    if size > MAX_BODY_BYTES:
                        raise BadResponse(f"the answer has more than {MAX_BODY_BYTES} bytes")
        except TimeoutError as error:
            raise RequestTimeout(f"no complete answer in {timeout:g} s") from error
        finally:
            self.close()
        return RawResponse(self.status, self.headers, b"".join(parts))

    def header(self, name: str) -> str | None:
        """The first header of this name, in any case."""
        return _header(self.headers, name.lower().encode())

    def close(self) -> None:
        """Break the connection; harmless when the stream has ended."""
        self._connection.fail(ConnectionLost("the stream was closed"))
