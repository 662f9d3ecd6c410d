"""The connections of an API client: a pool of places for requests, and what happens to requests on them.

Ownership and order
* `Transport` owns all connections. At most `max_connections` requests are under way at once; those beyond that wait in the order in which they came. Each has
  an `Exchange` while it is: an HTTP/1.1 connection, or a lane of an HTTP/2 one, whichever the server has chosen (over TLS, by ALPN). One that is
  released is handed to the first that waits, so when some are idle nobody waits. Streams (watches) have exchanges outside that number.
* Over HTTP/2 everything goes through one connection. Another is made when the server takes no more streams of the first, and too few of those
  are requests, whose end could be waited for.
* A request that is cancelled or out of time gives up its exchange: the answer may still come and must not meet another request. That closes an
  HTTP/1.1 connection, and resets a stream of HTTP/2.

Failures
* Nothing sent yet (no connection, or a pooled one that was closed meanwhile): dialled anew, a few times, for any method.
* Sent, and not carried out as the server says (HTTP/2 only): sent again, a few times, for any method.
* Broken before the first byte of the answer, on a reused connection: the server has most likely closed it for being idle.
  GET, HEAD and OPTIONS are tried once more on a fresh connection. Nothing else is: a write may have been carried out, and its
  repetition would report a conflict with itself.
* Everything else is `ConnectionLost` (`RequestTimeout` when its time is over).

Costs: of a small request over TLS, in the client, 12 to 16 µs of CPU over HTTP/1.1, with 8 or more under way. Over HTTP/2 10 µs with 8 under way and 6.5 with 64:
they share records and system calls. Alone it costs 11 µs more than over HTTP/1.1, most of it in the system call that wakes the server. There is no
timer per request: one sweep looks at all that are under way every `SWEEP_SECONDS`, so timeouts are that much imprecise.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from lakh.machinery import tls

from .connection import Connection
from .errors import ClientClosed, ClientError, ConnectFailed, ConnectionLost, RequestTimeout, Unprocessed
from .exchange import Exchange, NotSent, RawResponse, Stream
from .http2 import Lane, Multiplexed
from .kubeconfig import Config
from .request import RETRIABLE, Heads, Request
from .restmetrics import RestMetrics

__all__ = ["DEFAULT_TIMEOUT_SECONDS", "Transport"]

DEFAULT_TIMEOUT_SECONDS = 60.0
SWEEP_SECONDS = 0.25
CONNECT_TIMEOUT_SECONDS = 10.0
CONNECT_ATTEMPTS = 5
CONNECT_BACKOFF_SECONDS = 0.05
"""First delay between dials; doubles. All attempts together wait about a second: a server's quick restart."""
UNPROCESSED_ATTEMPTS = 6
"""Of one request that the server does not take: as often as Go tries."""
KEEPALIVE_IDLE_SECONDS = 30
KEEPALIVE_INTERVAL_SECONDS = 10
KEEPALIVE_PROBES = 3


class _Tries:
    """Whether a request may be sent again."""

    __slots__ = ("_deadline", "_loop", "_method", "_refusals", "fresh")

    def __init__(self, loop: asyncio.AbstractEventLoop, method: str, deadline: float) -> None:
        self._loop = loop
        self._method = method
        self._deadline = deadline
        self._refusals = 0
        self.fresh = False
        """A pooled connection was lost: the next try is on one that nothing was sent on."""

    async def lost(self, error: ConnectionLost, exchange: Exchange, *, reused: bool) -> None:
        """Returns when the request may be sent once more; raises the error when it may not."""
        if isinstance(error, Unprocessed):
            # The first is most likely a connection's end: no reason to wait.
            self._refusals += 1
            delay = CONNECT_BACKOFF_SECONDS * 2 ** (self._refusals - 2) * (0.5 + random.random())
            if self._refusals >= UNPROCESSED_ATTEMPTS or self._loop.time() + delay > self._deadline:
                raise error
            if self._refusals > 1:
                await asyncio.sleep(delay)
            return
        if isinstance(error, RequestTimeout) or self.fresh or not reused or exchange.answered:
            raise error
        if self._method not in RETRIABLE:
            raise error
        self.fresh = True


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
        http2: bool = True,
    ) -> None:
        if max_connections < 1:
            raise ValueError("max_connections must be at least 1")
        self.heads = Heads(config, user_agent)
        parts = urlsplit(config.server)
        self.server = config.server
        self.closed = False
        self.max_connections = max_connections
        self._connect_attempts = connect_attempts
        self._connect_timeout_seconds = connect_timeout_seconds
        self.exchanges: set[Exchange] = set()
        self.multiplexed: list[Multiplexed] = []
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._ssl = config.ssl_context(http2=http2)
        self._server_hostname = (config.tls_server_name or self._host) if self._ssl else None
        self._shares = http2 and self._ssl is not None
        """A connection is likely to serve all: HTTP/2 was chosen last, or nothing yet."""
        self._dialling: asyncio.Future[OSError | None] | None = None
        self._idle: list[Exchange] = []
        self._slots_used = 0
        self._slots_dialling = 0
        self._waiting: deque[tuple[asyncio.Future[Exchange | None], float]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._all_gone: asyncio.Future[None] | None = None
        self._bound = False
        self._metrics = RestMetrics(self.heads.host)

    def __repr__(self) -> str:
        return (
            f"Transport({self.server!r}, exchanges={len(self.exchanges)}, idle={len(self._idle)}, "
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
        return await self.exchange(self.heads.request(method, target, body, content_type, headers), timeout)

    async def exchange(self, request: Request, timeout: float) -> RawResponse:
        """The same for a request that has been made."""
        if self.closed or not self._bound:
            self._bind()
        method = request.method
        deadline = self.loop.time() + timeout
        tries: _Tries | None = None
        try:
            while True:
                fresh = tries is not None and tries.fresh
                exchange = None if fresh else self._free()
                if exchange is None:
                    exchange = await self._acquire(deadline, fresh)
                reused = exchange.reused
                answer = self._send(exchange, request, deadline)
                if answer is None:
                    continue
                try:
                    found = await answer
                    self._metrics.answered(method, found.status, self.loop.time() - deadline + timeout)
                    return found
                except ConnectionLost as error:
                    tries = tries or _Tries(self.loop, method, deadline)
                    await tries.lost(error, exchange, reused=reused)
                except asyncio.CancelledError:
                    exchange.give_up(answer)
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
        """A request without a task: sent at once, if there is a place for it; else False. `done` gets what `request` would return or raise.

        Not for HEAD, nor for reads: they aren't tried again. Neither is what was `Unprocessed`.
        """
        self._bind()
        if not self._idle and self._slots_used >= self.max_connections:
            return False
        began = self.loop.time()
        request = self.heads.request(method, target, body, content_type, None)
        while (exchange := self._free()) is not None:
            answer = self._send(exchange, request, began + timeout)
            if answer is not None:
                answer.add_done_callback(partial(self._ended, method, began, done))
                return True
        return False

    def _send(
        self, exchange: Exchange, request: Request, deadline: float
    ) -> asyncio.Future[RawResponse] | None:
        """Send; the sweep minds the deadline. None: the connection was closed meanwhile, nothing was sent, and it is no longer ours."""
        try:
            answer = exchange.send(request, deadline)
        except NotSent:
            self.discard(exchange)
            return None
        self._mind()
        return answer

    def _mind(self) -> None:
        """Have the sweep look at what is under way."""
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(SWEEP_SECONDS, self._sweep)

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
        """Send a request on an exchange of its own; return when the head of its answer is there."""
        self._bind()
        deadline = self.loop.time() + timeout
        request = self.heads.request(method, target, None, None, None)
        tries = _Tries(self.loop, method, deadline)
        while True:
            exchange = await self._dial(deadline)
            reused = exchange.reused
            try:
                opening = exchange.open_stream(request, deadline)
            except NotSent as error:
                self.discard(exchange)
                raise ConnectionLost(f"{self.server}: connection lost") from error
            self._mind()
            try:
                stream = await opening
                break
            except ConnectionLost as error:
                await tries.lost(error, exchange, reused=reused)
            except asyncio.CancelledError:
                exchange.fail(ConnectionLost("the request was cancelled"))
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
        self._fail_waiting(error)
        for exchange in list(self.exchanges):
            exchange.fail(error)
        for connection in list(self.multiplexed):
            connection.fail(error)
        while self.exchanges or self.multiplexed:
            self._all_gone = self.loop.create_future()
            await self._all_gone

    # The pool

    def _bind(self) -> None:
        if self.closed:
            raise ClientClosed("the client is closed")
        if not self._bound:
            self.loop = asyncio.get_running_loop()
            self._bound = True

    def _free(self) -> Exchange | None:
        """One that is idle, or a lane that costs no dialling."""
        if self._idle:
            return self._idle.pop()
        if not self.multiplexed or self._slots_used >= self.max_connections or self._anybody_waits():
            return None
        return self._pooled_lane()

    def _pooled_lane(self) -> Lane | None:
        """A lane in a slot of its own, of which there has to be one."""
        lane = self._lane()
        if lane is not None:
            self._slots_used += 1
            lane.pooled = True
            self.exchanges.add(lane)
        return lane

    def _lane(self) -> Lane | None:
        """A new lane of a connection that has room for one."""
        for connection in self.multiplexed:
            if connection.room:
                return connection.lane()
        return None

    def _anybody_waits(self) -> bool:
        while self._waiting and self._waiting[0][0].done():
            self._waiting.popleft()
        return bool(self._waiting)

    def _crowded(self) -> bool:
        """The server takes no more streams, and half of them are requests, which don't last: it is not worth another connection."""
        limits = [connection.peer_max_streams for connection in self.multiplexed if not connection.leaving]
        if not limits or any(connection.room for connection in self.multiplexed):
            return False
        return 0 < self._slots_used >= min(limits) // 2

    async def _acquire(self, deadline: float, fresh: bool) -> Exchange:
        if fresh and self._idle:
            # The others that idle are probably as dead as the one that has failed: make room for a new one.
            self._idle[0].fail(ConnectionLost("replaced"))
        if self._idle and not fresh:
            return self._idle.pop()
        # A connection for all is dialled by one of them.
        if (
            self._slots_used < self.max_connections
            and not (self._shares and self._slots_dialling)
            and not self._crowded()
            and not self._anybody_waits()
        ):
            self._slots_used += 1
            return await self._dial_in_slot(deadline)
        waiter: asyncio.Future[Exchange | None] = self.loop.create_future()
        self._waiting.append((waiter, deadline))
        self._mind()
        try:
            exchange = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                given = waiter.result()  # handed over in the turn of the cancellation: pass it on
                if given is None:
                    self._free_slot()
                elif not given.closed:
                    self.release(given)
            raise
        return exchange if exchange is not None else await self._dial_in_slot(deadline)

    async def _dial_in_slot(self, deadline: float) -> Exchange:
        """Connect, for a slot that the caller holds; give the slot back on failure."""
        self._slots_dialling += 1
        try:
            exchange = await self._dial(deadline)
        except BaseException as error:
            self._slots_dialling -= 1
            if (
                isinstance(error, ConnectFailed)
                and self._shares
                and not self.multiplexed
                and self.loop.time() < deadline
            ):
                self._fail_waiting(error)  # none of them would fare better
            self._free_slot()
            raise
        self._slots_dialling -= 1
        exchange.pooled = True
        self._grant()
        return exchange

    def _grant(self) -> None:
        """There may be more room than when the first began to wait."""
        while self._slots_used < self.max_connections and self._anybody_waits():
            lane = self._pooled_lane()
            if lane is None:
                if self._shares:
                    return
                self._slots_used += 1  # each dials for itself
            self._waiting.popleft()[0].set_result(lane)

    def _fail_waiting(self, error: ClientError) -> None:
        while self._waiting:
            waiter, _ = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    def _free_slot(self) -> None:
        """A slot is free: the first that waits may dial."""
        while self._waiting:
            waiter, _ = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._slots_used -= 1

    def release(self, exchange: Exchange) -> None:
        """It is free: the first that waits gets it."""
        while self._waiting:
            waiter, _ = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(exchange)
                return
        self._idle.append(exchange)

    def dropped(self, exchange: Exchange) -> None:
        """It will serve no more requests."""
        if exchange.pooled:
            exchange.pooled = False
            if exchange in self._idle:
                self._idle.remove(exchange)
            self._free_slot()

    def discard(self, exchange: Exchange) -> None:
        """Give up one that was found to be closing."""
        exchange.fail(ConnectionLost("closed by the server while idle"))

    def gone(self, what: object) -> None:
        """Nothing is left of an exchange, or of what carried several."""
        if isinstance(what, Multiplexed):
            if what in self.multiplexed:
                self.multiplexed.remove(what)
        elif isinstance(what, Exchange):
            self.exchanges.discard(what)
            if self._waiting and self._shares and not self.closed:
                self._grant()
        if (
            self._all_gone is not None
            and not self.exchanges
            and not self.multiplexed
            and not self._all_gone.done()
        ):
            self._all_gone.set_result(None)

    # Connecting

    async def _dial(self, deadline: float) -> Exchange:
        """Connect, with a few attempts. The caller owns the exchange's slot, if it takes one."""
        attempt = 0
        while True:
            attempt += 1
            try:
                exchange = await self._connect(deadline)
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
                exchange.fail(ClientClosed("the client is closed"))
                raise ClientClosed("the client is closed")
            if exchange.closed:
                raise ConnectFailed(f"{self.server}: the server closed the new connection")
            # Only now is it ours: one whose dialling is cancelled never tells us that it is gone.
            self.exchanges.add(exchange)
            return exchange

    async def _connect(self, deadline: float) -> Exchange:
        """A lane of a connection that is there or being made, or a connection."""
        async with asyncio.timeout_at(min(deadline, self.loop.time() + self._connect_timeout_seconds)):
            while self._shares:
                lane = self._lane()
                if lane is not None:
                    return lane
                if self._dialling is None:
                    return await self._connect_for_all()
                dialling = self._dialling
                await asyncio.wait((dialling,))
                error = dialling.result()
                if error is not None:
                    raise error
            return await self._open()

    async def _connect_for_all(self) -> Exchange:
        """Others that need a connection wait for this one, and share its failure."""
        dialling = self._dialling = self.loop.create_future()
        error: OSError | None = None
        try:
            return await self._open()
        except OSError as failed:
            error = failed
            raise
        finally:
            self._dialling = None
            dialling.set_result(error)

    async def _open(self) -> Exchange:
        if self._ssl is None:
            transport, connection = await self.loop.create_connection(
                lambda: Connection(self), self._host, self._port
            )
            _keep_alive(transport.get_extra_info("socket"))
            return connection
        assert self._server_hostname is not None
        encrypted, agreed = await tls.connect(
            self._agreed, self._host, self._port, self._ssl, self._server_hostname
        )
        _keep_alive(encrypted.get_extra_info("socket"))
        self._shares = isinstance(agreed, Multiplexed)
        if not isinstance(agreed, Multiplexed):
            return agreed
        try:
            await agreed.ready
        except BaseException:
            agreed.fail(ConnectionLost("nobody waits for it"))
            raise
        if agreed.closed:
            raise ConnectionResetError("the server closed the new connection")
        if self.closed:
            error = ClientClosed("the client is closed")
            agreed.fail(error)
            raise error
        self.multiplexed.append(agreed)
        return agreed.lane()

    def _agreed(self, name: str | None) -> Connection | Multiplexed:
        return Multiplexed(self) if name == tls.HTTP2 else Connection(self)

    def _sweep(self) -> None:
        """Fail what is out of time: requests in flight and requests that wait for their turn."""
        now = self.loop.time()
        if self._waiting:  # before connections: a place that becomes free is not for those out of time
            kept: deque[tuple[asyncio.Future[Exchange | None], float]] = deque()
            for waiter, deadline in self._waiting:
                if waiter.done():
                    continue
                if deadline <= now:
                    waiter.set_exception(RequestTimeout(f"{self.server}: no free connection in time"))
                else:
                    kept.append((waiter, deadline))
            self._waiting = kept
        busy = False
        for exchange in list(self.exchanges):
            if exchange.busy:
                if exchange.deadline <= now:
                    exchange.fail(RequestTimeout(f"{self.server}: no answer in time"))
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
