"""The HTTP server: sockets on one side, `Request` in and `Response` or `StreamResponse` out on the other.

This module owns the set of connections, their tasks and their one timer. `listener` takes new connections, `exchange` has what handlers
see, `connection` the protocol of one client of HTTP/1.1 and `multiplexed` of HTTP/2, as TLS has agreed, `answering` what they share, `http1` the framing.

All connections share one timer. They are spread over `SWEEP_SLOTS` slots and one slot is looked at per tick, so a sweep of 100,000
connections never holds the loop for more than a millisecond or so, and arming a timeout costs one assignment.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

from lakh.machinery.errors import StatusError
from lakh.machinery.tls import HTTP2
from lakh.server import http1
from lakh.server.connection import Connection
from lakh.server.exchange import (
    Handler,
    Request,
    Response,
    Stream,
    StreamClosed,
    StreamResponse,
    Tunnel,
    status_response,
)
from lakh.server.listener import Listener
from lakh.server.multiplexed import Http2Connection
from lakh.server.peer import Peer

__all__ = [
    "Connection",
    "Handler",
    "ListenError",
    "Peer",
    "PortInUse",
    "Request",
    "Response",
    "Server",
    "Stream",
    "StreamClosed",
    "StreamResponse",
    "Timeouts",
    "Tunnel",
    "status_response",
]

AnyConnection = Connection | Http2Connection

MAX_BODY_BYTES = 3 * 1024 * 1024  # kube-apiserver's limit for resource requests
MAX_CONNECTIONS = 250_000

SWEEP_SLOTS = 32
SWEEP_INTERVAL_SECONDS = 0.25
IDLE_TIMEOUT_SECONDS = 90.0  # kube-apiserver's http.Server.IdleTimeout
HEAD_TIMEOUT_SECONDS = 32.0  # kube-apiserver's http.Server.ReadHeaderTimeout
BODY_TIMEOUT_SECONDS = 60.0
# A client that takes none of the bytes it is owed for so long is cut off.
STALL_TIMEOUT_SECONDS = 60.0
# After a refusal the client may still be sending; closing at once would reset the connection and lose the answer.
LINGER_SECONDS = 5.0


class ListenError(Exception):
    """The server cannot listen where it was asked to."""


class PortInUse(ListenError):
    """Somebody else listens on that port."""


class Timeouts:
    """How long a client may take, in seconds."""

    __slots__ = ("body_seconds", "head_seconds", "idle_seconds", "linger_seconds", "stall_seconds")

    def __init__(
        self,
        *,
        idle_seconds: float = IDLE_TIMEOUT_SECONDS,
        head_seconds: float = HEAD_TIMEOUT_SECONDS,
        body_seconds: float = BODY_TIMEOUT_SECONDS,
        stall_seconds: float = STALL_TIMEOUT_SECONDS,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        self.idle_seconds = idle_seconds
        self.head_seconds = head_seconds
        self.body_seconds = body_seconds
        self.stall_seconds = stall_seconds
        self.linger_seconds = linger_seconds


class Server:
    """Listens, and owns the connections, their tasks and their one timer."""

    def __init__(
        self,
        handler: Handler,
        *,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_connections: int = MAX_CONNECTIONS,
        timeouts: Timeouts | None = None,
        sweep_interval_seconds: float = SWEEP_INTERVAL_SECONDS,
        on_error: Callable[[Request, StatusError], Response] = lambda request, error: status_response(error),
    ) -> None:
        self.handler = handler
        self.on_error = on_error
        self.max_body_bytes = max_body_bytes
        self.timeouts = timeouts or Timeouts()
        self.heads = http1.HeadCache()
        self.large_heads = http1.LargeHeads()
        self.now = 0.0  # the loop's time at the last sweep: exact enough for timeouts, and free to read
        self.draining = False
        self.port = 0
        self.connection_count = 0
        self._max_connections = max_connections
        self._sweep_interval_seconds = sweep_interval_seconds
        self._slots: list[set[AnyConnection]] = [set() for _ in range(SWEEP_SLOTS)]
        self._next_slot = 0
        self._tick = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._empty: asyncio.Event = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: Listener | None = None

    async def start(self, host: str, port: int, ssl_context: ssl.SSLContext | None) -> None:
        """Listen on `host:port`; `port` is bound when this returns. Raises `PortInUse` or `ListenError`."""
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time()
        listener = Listener(self._serve, ssl_context)
        try:
            await listener.start(host, port)
        except OSError as error:
            where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(f"cannot listen on {where}: the port is in use by another process") from error
            raise ListenError(f"cannot listen on {where}: {error.strerror or error}") from error
        self._listener = listener
        self.port = listener.port
        self._sweep()

    def _serve(self, agreed: str | None) -> AnyConnection:
        return Http2Connection(self) if agreed == HTTP2 else Connection(self)

    async def stop(self, grace_seconds: float) -> None:
        """Accept no more, end streams, let requests in flight finish, close; after the grace, cut everything off."""
        self.draining = True
        if self._listener is not None:
            self._listener.close()
        for connection in self._connections():
            connection.end_gracefully()
        if self.connection_count or self._tasks:
            try:
                async with asyncio.timeout(grace_seconds):
                    await self._settle()
            except TimeoutError:
                for connection in self._connections():
                    connection.abort()
                await asyncio.sleep(0)  # so that every task has begun and cleans up after itself
                for task in self._tasks:
                    task.cancel()
                await self._settle()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        if self._listener is not None:
            await self._listener.stop()
            self._listener = None

    async def _settle(self) -> None:
        while self.connection_count:
            self._empty.clear()
            await self._empty.wait()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _connections(self) -> list[AnyConnection]:
        return [connection for slot in self._slots for connection in slot]

    def admit(self, connection: AnyConnection) -> bool:
        """Count a new connection and put it under the sweep. False if there are too many, or the server stops."""
        if self.draining or self.connection_count >= self._max_connections:
            return False
        self._next_slot = (self._next_slot + 1) % SWEEP_SLOTS
        connection._slot = self._next_slot
        self._slots[connection._slot].add(connection)
        self.connection_count += 1
        return True

    def forget(self, connection: AnyConnection) -> None:
        """A connection is gone."""
        self.large_heads.done(connection)
        slot = self._slots[connection._slot]
        if connection in slot:
            slot.remove(connection)
            self.connection_count -= 1
            if not self.connection_count:
                self._empty.set()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that is kept referenced until it is done. The coroutine handles its own exceptions."""
        assert self._loop is not None
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _sweep(self) -> None:
        assert self._loop is not None
        now = self.now = self._loop.time()
        self._tick = (self._tick + 1) % SWEEP_SLOTS
        self._sweeper = self._loop.call_later(self._sweep_interval_seconds, self._sweep)
        for connection in tuple(self._slots[self._tick]):
            connection.check(now)
