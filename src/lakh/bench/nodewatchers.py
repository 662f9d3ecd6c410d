"""Watches of single nodes, many on connections of their own: a process of its own, for one may have so many open files only.

`python -m lakh.bench.nodewatchers` reads one line of JSON, which watches to open (`Orders`), and writes lines of JSON (`State`): one a second while it opens
them, one when all are open, and, once its input ends, one with what arrived and when.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import msgspec

from lakh import __version__
from lakh.cli import raise_file_limit, until_parent_ends
from lakh.client.kubeconfig import load_kubeconfig
from lakh.machinery.process import resident_memory

# TLS handshakes under way at once.
OPENING = 32
CONNECT_TIMEOUT_SECONDS = 120.0
TELL_SECONDS = 1.0


class Orders(msgspec.Struct):
    """Which watches to open: of the nodes numbered `first` and on, the n-th at the n-th server in turn."""

    kubeconfigs: list[str]
    path: str
    first: int
    count: int
    source: str = ""
    """The address to connect from: one has some 28,000 ports only."""


class State(msgspec.Struct):
    """How far the process is. Times are of the monotonic clock, which all processes of a machine share."""

    open: int = 0
    complete: bool = False
    lost: int = 0
    own_bytes: int = 0
    error: str = ""
    arrived: dict[str, float] = {}


class NodeWatch(asyncio.Protocol):
    """One watch: sends its request, waits for the head, then notes when events come."""

    __slots__ = ("arrived", "lost", "open", "request", "rest", "transport")

    def __init__(self, request: bytes, arrived: dict[str, float]) -> None:
        self.request = request
        self.arrived = arrived
        self.open: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self.rest = b""
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self.request)
        self.request = b""

    def data_received(self, data: bytes) -> None:
        """The head, then events. An event's line may come in pieces."""
        opening = self.open
        if opening is not None:
            self.open = None
            if not data.startswith(b"HTTP/1.1 200"):
                self._fail(opening, f"a watch was refused: {data[:300].decode(errors='replace')}")
            elif not opening.done():
                opening.set_result(None)
            return
        now = time.monotonic()
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            at = line.find(b'"name":"event-')
            if at >= 0 and line.startswith(b'{"type":"ADDED"'):
                self.arrived[line[at + 8 : line.index(b'"', at + 8)].decode()] = now

    def _fail(self, opening: asyncio.Future[None], why: str) -> None:
        if not opening.done():
            opening.set_exception(ConnectionError(why))
            opening.exception()  # whoever waited may have given up

    def connection_lost(self, exc: Exception | None) -> None:
        """A watch that ends early is counted."""
        self.lost = True
        if self.open is not None:
            self._fail(self.open, f"a watch was not opened: {exc or 'connection closed'}")


async def run(orders: Orders) -> None:
    """Opens the watches, then waits until standard input ends."""
    state, watches = State(), []
    arrived: dict[str, float] = {}
    loop = asyncio.get_running_loop()
    places = []
    for name in orders.kubeconfigs:
        config = load_kubeconfig(Path(name))
        parts = urlsplit(config.server)
        context = config.ssl_context()
        host, port = parts.hostname or "", parts.port or (443 if context else 80)
        token = f"Authorization: Bearer {config.token}\r\n" if config.token else ""
        tail = f"Host: {parts.netloc}\r\nUser-Agent: lakh-bench/{__version__}\r\nAccept: application/json\r\n{token}\r\n"
        server_name = (config.tls_server_name or host) if context else None
        places.append((host, port, context, server_name, parts.path, tail))
    before = resident_memory()
    numbers = iter(range(orders.first, orders.first + orders.count))

    async def open_next() -> None:
        for number in numbers:
            host, port, context, server_name, prefix, tail = places[number % len(places)]
            query = f"watch=1&fieldSelector=spec.nodeName%3Dnode-{number}&resourceVersion=0"
            watch = NodeWatch(f"GET {prefix}{orders.path}?{query} HTTP/1.1\r\n{tail}".encode(), arrived)
            opening = watch.open
            assert opening is not None
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                await loop.create_connection(
                    lambda watch=watch: watch,
                    host,
                    port,
                    ssl=context,
                    server_hostname=server_name,
                    local_addr=(orders.source, 0) if orders.source else None,
                    ssl_handshake_timeout=CONNECT_TIMEOUT_SECONDS if context else None,
                )
                await opening
            watches.append(watch)

    def tell() -> None:
        state.open, state.lost = len(watches), sum(w.lost for w in watches)
        state.own_bytes = resident_memory() - before
        sys.stdout.buffer.write(msgspec.json.encode(state) + b"\n")
        sys.stdout.buffer.flush()

    async def keep_telling() -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            tell()

    telling = asyncio.create_task(keep_telling())
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(OPENING, orders.count)):
                group.create_task(open_next())
        state.complete = True
    except* (OSError, TimeoutError) as errors:
        state.error = f"after {len(watches)} watches: {errors.exceptions[0]}"
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    tell()
    await until_parent_ends()
    state.arrived = arrived
    tell()
    for watch in watches:
        if watch.transport is not None:
            watch.transport.abort()


def main() -> None:
    """The process."""
    import uvloop

    raise_file_limit()
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)
    with contextlib.suppress(BrokenPipeError), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(orders))


if __name__ == "__main__":
    main()
