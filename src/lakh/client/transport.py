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
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from lakh.machinery import tls

from .connection import Connection, NotSent, RawResponse, Stream
from .errors import ClientClosed, ClientError, ConnectFailed, ConnectionLost, RequestTimeout
from .kubeconfig import Config
from .restmetrics import RestMetrics

__all__ = ["DEFAULT_TIMEOUT_SECONDS", "RawResponse", "Stream", "Transport"]

DEFAULT_TIMEOUT_SECONDS = 60.0
SWEEP_SECONDS = 0.25
CONNECT_TIMEOUT_SECONDS = 10.0
CONNECT_ATTEMPTS = 5
CONNECT_BACKOFF_SECONDS = 0.05
"""First delay between dials; doubles. All attempts together wait about a second: a server's quick restart."""
TOKEN_FILE_SECONDS = 60.0
"""A token file is read again when this old, as client-go does it."""
KEEPALIVE_IDLE_SECONDS = 30
KEEPALIVE_INTERVAL_SECONDS = 10
KEEPALIVE_PROBES = 3

_RETRIABLE = frozenset(("GET", "HEAD", "OPTIONS"))


class Transport:
    """The connections of one client to one server. Bound to the loop of its first request."""

    loop: asyncio.AbstractEventLoop

    def __init__(
        self,
        config: Config,
        *,
        user_agent: str,
        max_connections: int = 64,
        connect_attempts: int = CONNECT_ATTEMPTS,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
    ) -> None:
        if max_connections < 1:
            raise ValueError("max_connections must be at least 1")
        if not user_agent or not user_agent.isascii() or not user_agent.isprintable():
            raise ValueError(f"user_agent {user_agent!r} must be printable ASCII")
        parts = urlsplit(config.server)
        self.server = config.server
        self.closed = False
        self.max_connections = max_connections
        self._connect_attempts = connect_attempts
        self._connect_timeout_seconds = connect_timeout_seconds
        self.connections: set[Connection] = set()
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._prefix = parts.path
        self._ssl = config.ssl_context()
        self._server_hostname = (config.tls_server_name or self._host) if self._ssl else None
        self._token = config.token
        self._token_file = config.token_file
        self._token_read_at = float("-inf")
        self._idle: list[Connection] = []
        self._slots_used = 0
        self._waiting: deque[tuple[asyncio.Future[Connection | None], float]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._all_gone: asyncio.Future[None] | None = None
        self._bound = False
        host = parts.netloc.rpartition("@")[2]
        self._metrics = RestMetrics(host)
        self._agent = f" HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {user_agent}\r\n"
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
        return await self.exchange(method, self.payload(method, target, body, content_type, headers), timeout)

    async def exchange(self, method: str, payload: bytes, timeout: float) -> RawResponse:
        """The same for a request that its caller has put into bytes."""
        if self.closed or not self._bound:
            self._bind()
        deadline = self.loop.time() + timeout
        fresh = False
        try:
            while True:
                connection = (
                    self._idle.pop() if self._idle and not fresh else await self._acquire(deadline, fresh)
                )
                reused = connection.uses > 0
                answer = self._send(connection, payload, deadline, head_only=method == "HEAD")
                if answer is None:
                    continue
                try:
                    found = await answer
                    self._metrics.answered(method, found.status, self.loop.time() - deadline + timeout)
                    return found
                except RequestTimeout:
                    raise
                except ConnectionLost:
                    if fresh or not reused or connection.answered or method not in _RETRIABLE:
                        raise
                    fresh = True
                except asyncio.CancelledError:
                    connection.fail(ConnectionLost("the request was cancelled"))
                    raise
        except ClientError:
            self._metrics.failed(method)
            raise

    def begin(
        self,
        method: str,
        target: str,
        body: bytes | None,
        content_type: str | None,
        timeout: float,
        done: Callable[[RawResponse | ClientError], None],
    ) -> bool:
        """A request without a task: sent at once, if a connection is idle; else False. `done` gets what `request` would return or raise.

        Not for HEAD, nor for reads: they aren't tried again.
        """
        self._bind()
        if not self._idle:
            return False
        began = self.loop.time()
        payload = self.payload(method, target, body, content_type, None)
        while self._idle:
            answer = self._send(self._idle.pop(), payload, began + timeout, head_only=False)
            if answer is not None:
                answer.add_done_callback(partial(self._ended, method, began, done))
                return True
        return False

    def _send(
        self, connection: Connection, payload: bytes, deadline: float, *, head_only: bool
    ) -> asyncio.Future[RawResponse] | None:
        """Send on a connection; the sweep minds the deadline. None: it was closed meanwhile, nothing was sent, and it is no longer ours."""
        try:
            answer = connection.send(payload, deadline, head_only=head_only)
        except NotSent:
            self.discard(connection)
            return None
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(SWEEP_SECONDS, self._sweep)
        return answer

    def _ended(
        self,
        method: str,
        began: float,
        done: Callable[[RawResponse | ClientError], None],
        answer: asyncio.Future[RawResponse],
    ) -> None:
        try:
            found = answer.result()
        except ClientError as error:
            self._metrics.failed(method)
            done(error)
            return
        self._metrics.answered(method, found.status, self.loop.time() - began)
        done(found)

    async def stream(
        self, method: str, target: str, *, timeout: float, limit_seconds: float | None = None
    ) -> Stream:
        """Send a request on a connection of its own; return when the head of its answer is there."""
        self._bind()
        deadline = self.loop.time() + timeout
        payload = self.payload(method, target, None, None, None)
        connection = await self._dial(deadline)
        try:
            opening = connection.open_stream(payload, deadline)
        except NotSent as error:
            raise ConnectionLost(f"{self.server}: connection lost") from error
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(SWEEP_SECONDS, self._sweep)
        try:
            stream = await opening
        except asyncio.CancelledError:
            connection.fail(ConnectionLost("the request was cancelled"))
            raise
        self._metrics.answered(method, stream.status, self.loop.time() - deadline + timeout)
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

    def payload(
        self,
        method: str,
        target: str,
        body: bytes | None,
        content_type: str | None,
        headers: Mapping[str, str] | None,
    ) -> bytes:
        """A request in bytes, for `exchange`."""
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

    async def _acquire(self, deadline: float, fresh: bool) -> Connection:
        if fresh and self._idle:
            # The others that idle are probably as dead as the one that has failed: make room for a new one.
            self._idle[0].fail(ConnectionLost("replaced"))
        if self._idle and not fresh:
            return self._idle.pop()
        if self._slots_used < self.max_connections:
            self._slots_used += 1
            return await self._dial_in_slot(deadline)
        waiter: asyncio.Future[Connection | None] = self.loop.create_future()
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

    async def _dial_in_slot(self, deadline: float) -> Connection:
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

    def release(self, connection: Connection) -> None:
        """The connection is free: the first that waits gets it."""
        while self._waiting:
            waiter, _ = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._idle.append(connection)

    def dropped(self, connection: Connection) -> None:
        """The connection will serve no more requests."""
        if connection.pooled:
            connection.pooled = False
            if connection in self._idle:
                self._idle.remove(connection)
            self._free_slot()

    def discard(self, connection: Connection) -> None:
        """Give up a connection that was found to be closing."""
        connection.fail(ConnectionLost("closed by the server while idle"))

    def connection_gone(self, connection: Connection) -> None:
        """Its socket is closed."""
        self.connections.discard(connection)
        if not self.connections and self._all_gone is not None and not self._all_gone.done():
            self._all_gone.set_result(None)

    async def _dial(self, deadline: float) -> Connection:
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
                if attempt >= self._connect_attempts or self.closed or self.loop.time() + delay > deadline:
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

    async def _connect(self, deadline: float) -> Connection:
        def protocol() -> Connection:
            return Connection(self)

        async with asyncio.timeout_at(min(deadline, self.loop.time() + self._connect_timeout_seconds)):
            transport: asyncio.Transport
            if self._ssl is None:
                transport, connection = await self.loop.create_connection(protocol, self._host, self._port)
            else:
                assert self._server_hostname is not None
                transport, connection = await tls.connect(
                    lambda agreed: protocol(), self._host, self._port, self._ssl, self._server_hostname
                )
        _keep_alive(transport.get_extra_info("socket"))
        return connection

    def _sweep(self) -> None:
        """Fail what is out of time: requests in flight and requests that wait for a connection."""
        now = self.loop.time()
        if self._waiting:  # before connections: a place that becomes free is not for those out of time
            kept: deque[tuple[asyncio.Future[Connection | None], float]] = deque()
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
