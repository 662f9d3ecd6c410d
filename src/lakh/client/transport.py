"""HTTP/1.1 for API clients: a small protocol on asyncio and httptools, and a pool of its connections.

Ownership and order
* `Transport` owns all connections. At most `max_connections` of them serve requests, one request at a time each;
  requests beyond that wait in the order in which they came. A released connection is handed to the first that waits, so
  when connections are idle nobody waits. Streams (watches) have dedicated connections outside that number.
* A request that is cancelled or out of time closes its connection: the answer may still come and must not meet another
  request.

Failures
* Nothing sent yet (no connection, or a pooled one that was closed meanwhile): dialled anew, a few times, for any method.
* Broken before the first byte of the answer, on a reused connection: the server has most likely closed it for being idle.
  GET, HEAD and OPTIONS are tried once more on a fresh connection. Nothing else is: a write may have been carried out, and its
  repetition would report a conflict with itself.
* Everything else is `ConnectionLost` (`RequestTimeout` when its time is over).

Costs: a small request takes about 13 µs of CPU, 22 µs over TLS; the kernel has 8 µs of that. There is no timer per request: one sweep
looks at all busy connections every `SWEEP_SECONDS`, so timeouts are that much imprecise.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

from .errors import BadResponse, ClientClosed, ClientError, ConnectFailed, ConnectionLost, RequestTimeout
from .kubeconfig import Config

__all__ = ["DEFAULT_TIMEOUT_SECONDS", "RawResponse", "Stream", "Transport"]

DEFAULT_TIMEOUT_SECONDS = 60.0
SWEEP_SECONDS = 0.25
CONNECT_TIMEOUT_SECONDS = 10.0
CONNECT_ATTEMPTS = 5
CONNECT_BACKOFF_SECONDS = 0.05
"""First delay between dials; doubles. All attempts together wait about a second: a server's quick restart."""
MAX_BODY_BYTES = 1 << 30
"""A larger answer is refused; lists of that size are to be paged."""
STREAM_BUFFER_BYTES = 256 * 1024
"""Reading from a stream's socket pauses while this much waits to be taken."""
TOKEN_FILE_SECONDS = 60.0
"""A token file is read again when this old, as client-go does it."""
KEEPALIVE_IDLE_SECONDS = 30
KEEPALIVE_INTERVAL_SECONDS = 10
KEEPALIVE_PROBES = 3

_RETRIABLE = frozenset(("GET", "HEAD", "OPTIONS"))


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


class _NotSent(Exception):  # noqa: N818
    """The pooled connection was closed before the request was written."""


class _Connection(asyncio.Protocol):
    """One connection: the request in flight (`_waiter`) or the stream it carries."""

    def __init__(self, owner: Transport) -> None:
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
            raise _NotSent
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

    def __init__(self, connection: _Connection, status: int, headers: list[tuple[bytes, bytes]]) -> None:
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


class Transport:
    """The connections of one client to one server. Bound to the loop of its first request."""

    loop: asyncio.AbstractEventLoop

    def __init__(self, config: Config, *, user_agent: str, max_connections: int = 64) -> None:
        if max_connections < 1:
            raise ValueError("max_connections must be at least 1")
        if not user_agent or not user_agent.isascii() or not user_agent.isprintable():
            raise ValueError(f"user_agent {user_agent!r} must be printable ASCII")
        parts = urlsplit(config.server)
        self.server = config.server
        self.closed = False
        self.max_connections = max_connections
        self.connections: set[_Connection] = set()
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._prefix = parts.path
        self._ssl = config.ssl_context()
        self._server_hostname = (config.tls_server_name or self._host) if self._ssl else None
        self._token = config.token
        self._token_file = config.token_file
        self._token_read_at = float("-inf")
        self._idle: list[_Connection] = []
        self._slots_used = 0
        self._waiting: deque[tuple[asyncio.Future[_Connection | None], float]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._all_gone: asyncio.Future[None] | None = None
        self._bound = False
        self._agent = f" HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\nUser-Agent: {user_agent}\r\n"
        self._head = ""
        self._set_token(self._token)

    def __repr__(self) -> str:
        return (
            f"Transport({self.server!r}, connections={len(self.connections)}, idle={len(self._idle)}, "
            f"waiting={len(self._waiting)})"
        )

    async def request(
        self,
        method: str,
        target: str,
        body: bytes | None,
        content_type: str | None,
        timeout: float,
        headers: Mapping[str, str] | None = None,
    ) -> RawResponse:
        """One request and its whole answer, whatever its status. `timeout` includes waiting for a connection."""
        self._bind()
        deadline = self.loop.time() + timeout
        payload = self._payload(method, target, body, content_type, headers)
        fresh = False
        while True:
            connection = (
                self._idle.pop() if self._idle and not fresh else await self._acquire(deadline, fresh)
            )
            reused = connection.uses > 0
            try:
                answer = connection.send(payload, deadline, head_only=method == "HEAD")
            except _NotSent:
                self.discard(connection)
                continue
            if self._sweeper is None:
                self._sweeper = self.loop.call_later(SWEEP_SECONDS, self._sweep)
            try:
                return await answer
            except RequestTimeout:
                raise
            except ConnectionLost:
                if fresh or not reused or connection.answered or method not in _RETRIABLE:
                    raise
                fresh = True
            except asyncio.CancelledError:
                connection.fail(ConnectionLost("the request was cancelled"))
                raise

    async def stream(
        self, method: str, target: str, *, timeout: float, limit_seconds: float | None = None
    ) -> Stream:
        """Send a request on a connection of its own; return when the head of its answer is there."""
        self._bind()
        deadline = self.loop.time() + timeout
        payload = self._payload(method, target, None, None, None)
        connection = await self._dial(deadline)
        try:
            opening = connection.open_stream(payload, deadline)
        except _NotSent as error:
            raise ConnectionLost(f"{self.server}: connection lost") from error
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(SWEEP_SECONDS, self._sweep)
        try:
            stream = await opening
        except asyncio.CancelledError:
            connection.fail(ConnectionLost("the request was cancelled"))
            raise
        if limit_seconds is not None:
            stream.limit(limit_seconds)
        return stream

    async def close(self) -> None:
        """Break everything and wait until all connections are gone."""
        self.closed = True
        if not self._bound:
            return
        if self._sweeper is not None:
            self._sweeper.cancel()
        error = ClientClosed("the client is closed")
        while self._waiting:
            waiter, _ = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(error)
        for connection in list(self.connections):
            connection.fail(error)
        while self.connections:
            self._all_gone = self.loop.create_future()
            await self._all_gone

    # Requests as bytes

    def _set_token(self, token: str | None) -> None:
        self._token = token
        authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        if authorization.count("\n") > 1:
            raise ValueError("the token contains a line break")
        self._head = f"{self._agent}{authorization}"

    def _refresh_token(self) -> None:
        now = time.monotonic()
        if self._token_file is None or now - self._token_read_at < TOKEN_FILE_SECONDS:
            return
        try:
            token = self._token_file.read_text().strip()
        except OSError as error:
            if self._token is None:
                raise ConnectFailed(f"token file {self._token_file}: {error}") from error
            token = self._token  # keep the old one; the server judges it
        self._token_read_at = now
        self._set_token(token)

    def _payload(
        self,
        method: str,
        target: str,
        body: bytes | None,
        content_type: str | None,
        headers: Mapping[str, str] | None,
    ) -> bytes:
        if self._token_file is not None:
            self._refresh_token()
        extra = "Accept: application/json\r\n"
        if headers is not None:
            if not any(name.lower() == "accept" for name in headers):
                headers = {"Accept": "application/json", **headers}
            extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            if (
                extra.count("\n") != len(headers)
                or not target.isprintable()
                or " " in target
                or " " in method
            ):
                raise ValueError("line break or space in the request's head")
        if body is None:
            length = "" if method in _RETRIABLE else "Content-Length: 0\r\n"
            return f"{method} {self._prefix}{target}{self._head}{extra}{length}\r\n".encode("latin-1")
        kind = f"Content-Type: {content_type}\r\n" if content_type else ""
        head = f"{method} {self._prefix}{target}{self._head}{extra}{kind}Content-Length: {len(body)}\r\n\r\n"
        return head.encode("latin-1") + body

    # The pool

    def _bind(self) -> None:
        if self.closed:
            raise ClientClosed("the client is closed")
        if not self._bound:
            self.loop = asyncio.get_running_loop()
            self._bound = True

    async def _acquire(self, deadline: float, fresh: bool) -> _Connection:
        if fresh and self._idle:
            # The others that idle are probably as dead as the one that has failed: make room for a new one.
            self._idle[0].fail(ConnectionLost("replaced"))
        if self._idle and not fresh:
            return self._idle.pop()
        if self._slots_used < self.max_connections:
            self._slots_used += 1
            return await self._dial_in_slot(deadline)
        waiter: asyncio.Future[_Connection | None] = self.loop.create_future()
        self._waiting.append((waiter, deadline))
        try:
            connection = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                given = waiter.result()  # handed over in the turn of the cancellation: pass it on
                if given is None:
                    self._free_slot()
                elif not given.closed:
                    self.release(given)
            raise
        return connection if connection is not None else await self._dial_in_slot(deadline)

    async def _dial_in_slot(self, deadline: float) -> _Connection:
        """Connect, for a slot that the caller holds; give the slot back on failure."""
        try:
            connection = await self._dial(deadline)
        except BaseException:
            self._free_slot()
            raise
        connection.pooled = True
        return connection

    def _free_slot(self) -> None:
        """A slot is free: the first that waits may dial."""
        while self._waiting:
            waiter, _ = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._slots_used -= 1

    def release(self, connection: _Connection) -> None:
        """The connection is free: the first that waits gets it."""
        while self._waiting:
            waiter, _ = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._idle.append(connection)

    def dropped(self, connection: _Connection) -> None:
        """The connection will serve no more requests."""
        if connection.pooled:
            connection.pooled = False
            if connection in self._idle:
                self._idle.remove(connection)
            self._free_slot()

    def discard(self, connection: _Connection) -> None:
        """Give up a connection that was found to be closing."""
        connection.fail(ConnectionLost("closed by the server while idle"))

    def connection_gone(self, connection: _Connection) -> None:
        """Its socket is closed."""
        self.connections.discard(connection)
        if not self.connections and self._all_gone is not None and not self._all_gone.done():
            self._all_gone.set_result(None)

    async def _dial(self, deadline: float) -> _Connection:
        """Connect, with a few attempts. The caller owns the connection's slot, if it takes one."""
        attempt = 0
        while True:
            attempt += 1
            try:
                connection = await self._connect(deadline)
            except TimeoutError as error:
                raise ConnectFailed(f"{self.server}: no connection in time") from error
            except ssl.SSLError as error:
                raise ConnectFailed(f"{self.server}: TLS handshake: {error}") from error
            except OSError as error:
                delay = CONNECT_BACKOFF_SECONDS * 2 ** (attempt - 1) * (0.5 + random.random())
                if attempt >= CONNECT_ATTEMPTS or self.closed or self.loop.time() + delay > deadline:
                    raise ConnectFailed(f"{self.server}: cannot connect: {error}") from error
                await asyncio.sleep(delay)
                continue
            if self.closed:
                connection.fail(ClientClosed("the client is closed"))
                raise ClientClosed("the client is closed")
            if connection.closed:
                raise ConnectFailed(f"{self.server}: the server closed the new connection")
            # Only now is it ours: one whose dialling is cancelled never tells us that it is gone.
            self.connections.add(connection)
            return connection

    async def _connect(self, deadline: float) -> _Connection:
        def protocol() -> _Connection:
            return _Connection(self)

        async with asyncio.timeout_at(min(deadline, self.loop.time() + CONNECT_TIMEOUT_SECONDS)):
            transport, connection = await self.loop.create_connection(
                protocol, self._host, self._port, ssl=self._ssl, server_hostname=self._server_hostname
            )
        _keep_alive(transport.get_extra_info("socket"))
        return connection

    def _sweep(self) -> None:
        """Fail what is out of time: requests in flight and requests that wait for a connection."""
        now = self.loop.time()
        if self._waiting:  # before connections: a place that becomes free is not for those out of time
            kept: deque[tuple[asyncio.Future[_Connection | None], float]] = deque()
            for waiter, deadline in self._waiting:
                if waiter.done():
                    continue
                if deadline <= now:
                    waiter.set_exception(RequestTimeout(f"{self.server}: no free connection in time"))
                else:
                    kept.append((waiter, deadline))
            self._waiting = kept
        busy = False
        for connection in list(self.connections):
            if connection.busy:
                if connection.deadline <= now:
                    connection.fail(RequestTimeout(f"{self.server}: no answer in time"))
                else:
                    busy = True
        self._sweeper = self.loop.call_later(SWEEP_SECONDS, self._sweep) if busy or self._waiting else None


def _keep_alive(sock: Any) -> None:
    """Have the kernel find out about dead peers: a quiet watch has no other sign of life."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
