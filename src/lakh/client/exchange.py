"""A request under way and what comes of it, whatever carries it.

An `Exchange` is a place for one request at a time: an HTTP/1.1 connection, or a lane of an HTTP/2 one. `send` gives a future of the `RawResponse`,
`open_stream` one of the `Stream` whose body is read as it comes. It knows no pool; it tells its owner when it is free, will serve no more, or
is gone. In every state exactly one of these holds: idle, a request in flight, a stream being opened, a stream, closed. Whoever waits is told exactly once, by
the answer or by an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from .errors import BadResponse, ClientError, ConnectionLost, RequestTimeout
from .request import Heads, Request

__all__ = ["Exchange", "NotSent", "Owner", "RawResponse", "Stream"]

MAX_BODY_BYTES = 1 << 30
"""A larger answer is refused; lists of that size are to be paged."""
STREAM_BUFFER_BYTES = 256 * 1024
"""An HTTP/1.1 connection is not read while this much of a stream waits to be taken. An HTTP/2 one has windows."""

Headers = Sequence[tuple[bytes, bytes] | tuple[bytes, bytes, bool]]
"""Names and values as they came; HTTP/2 has more to say of each, and fields of its own among them."""


class Owner(Protocol):
    """What an exchange needs from the transport that owns it."""

    loop: asyncio.AbstractEventLoop
    server: str
    closed: bool
    heads: Heads

    def release(self, exchange: Exchange) -> None:
        """It is free for another request."""

    def dropped(self, exchange: Exchange) -> None:
        """It will serve no more requests."""

    def gone(self, what: object) -> None:
        """Nothing is left of an exchange or of what carried it."""


class RawResponse:
    """An answer: status code, headers, body."""

    __slots__ = ("_fields", "body", "status")

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self._fields = headers
        self.body = body

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Name and value of each, as they came."""
        return [(field[0], field[1]) for field in self._fields if not field[0].startswith(b":")]

    def header(self, name: str) -> str | None:
        """The first header of this name, in any case."""
        return header(self._fields, name.lower().encode())

    def __repr__(self) -> str:
        return f"RawResponse({self.status}, {len(self.body)} bytes)"


def header(headers: Headers, name: bytes) -> str | None:
    """The first of this name."""
    for field in headers:
        if field[0].lower() == name:
            return field[1].decode("latin-1").strip()
    return None


class NotSent(Exception):
    """It was closed before the request was written."""


class Exchange:
    """See the module. Subclasses write requests, and say what comes: `_headed`, `_received`, `_ended`."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.pooled = False  # holds one of the transport's slots
        self.deadline = 0.0
        self.answered = False
        self.closed = False
        self.stream: Stream | None = None
        self._waiter: asyncio.Future[RawResponse] | None = None
        self._opener: asyncio.Future[Stream] | None = None
        self._status = 0
        self._headers: Headers = []
        self._body: list[bytes] = []
        self._body_bytes = 0

    # What the transport calls

    @property
    def reused(self) -> bool:
        """Its connection has carried a request before: the server may have closed it meanwhile."""
        raise NotImplementedError

    @property
    def busy(self) -> bool:
        """A request waits for its answer, or a stream for its head."""
        return self._waiter is not None or self._opener is not None

    def send(self, request: Request, deadline: float) -> asyncio.Future[RawResponse]:
        """Write a request; the future is its answer."""
        self._write(request)
        self.answered = False
        self.deadline = deadline
        waiter = self._waiter = self.owner.loop.create_future()
        return waiter

    def open_stream(self, request: Request, deadline: float) -> asyncio.Future[Stream]:
        """Write a request; the future is done with the answer's head."""
        self._write(request)
        self.answered = False
        self.deadline = deadline
        opener = self._opener = self.owner.loop.create_future()
        return opener

    def give_up(self, answer: asyncio.Future[RawResponse]) -> None:
        """Nobody waits for this answer any more. If it came all the same, another request may be under way by now."""
        if self._waiter is answer:
            self.fail(ConnectionLost("the request was cancelled"))

    def fail(self, error: ClientError) -> None:
        """Close now, and tell whoever waits."""
        raise NotImplementedError

    # What a stream's reader calls

    def full(self) -> None:
        """There is much to be taken."""

    def taken(self, size_bytes: int) -> None:
        """Everything has been taken, so much of it since the last time."""

    # Subclasses

    def _write(self, request: Request) -> None:
        """Raises `NotSent`."""
        raise NotImplementedError

    def _headed(self, status: int, headers: Headers) -> None:
        """The head of the answer is there."""
        self._status = status
        self._headers = headers
        opener = self._opener
        if opener is not None:
            self._opener = None
            self.stream = Stream(self, status, headers)
            if not opener.done():
                opener.set_result(self.stream)

    def _received(self, data: bytes) -> None:
        """A piece of the body. Raises `BadResponse`."""
        stream = self.stream
        if stream is not None:
            stream.feed(data)
            return
        self._body.append(data)
        self._body_bytes += len(data)
        if self._body_bytes > MAX_BODY_BYTES:
            raise BadResponse(f"the answer has more than {MAX_BODY_BYTES} bytes")

    def _ended(self, *, reusable: bool) -> None:
        """The answer is complete."""
        stream = self.stream
        if stream is not None:
            self.stream = None
            stream.end(None)
            self.fail(ConnectionLost("the stream has ended"))
            return
        if self._waiter is None:
            return
        self._answer()
        if reusable and not self.owner.closed:
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


class Stream:
    """An answer whose body is read as it comes. One reader."""

    def __init__(self, exchange: Exchange, status: int, headers: Headers) -> None:
        self.status = status
        self._headers = headers
        self._exchange = exchange
        self._chunks: list[bytes] = []
        self._buffered_bytes = 0
        self._ended = False
        self._error: ClientError | None = None
        self._reader: asyncio.Future[None] | None = None
        self._limit: asyncio.TimerHandle | None = None

    def feed(self, data: bytes) -> None:
        """Bytes of the body."""
        self._chunks.append(data)
        self._buffered_bytes += len(data)
        if self._buffered_bytes >= STREAM_BUFFER_BYTES:
            self._exchange.full()
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
        self._limit = self._exchange.owner.loop.call_later(seconds, self._exchange.fail, error)

    async def read(self) -> bytes:
        """All bytes that have arrived, at least one; `b""` at the end. Raises `ConnectionLost`."""
        while not self._chunks:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return b""
            self._reader = self._exchange.owner.loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered_bytes = 0
        self._exchange.taken(len(data))
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
        return RawResponse(self.status, self._headers, b"".join(parts))

    def header(self, name: str) -> str | None:
        """The first header of this name, in any case."""
        return header(self._headers, name.lower().encode())

    def close(self) -> None:
        """Break the exchange; harmless when the stream has ended."""
        self._exchange.fail(ConnectionLost("the stream was closed"))
