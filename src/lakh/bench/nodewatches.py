"""`lakh bench watch --by-node`: a kubelet's watch for each of W nodes, on W connections of their own.

Each watch asks for the pods of one node (`fieldSelector=spec.nodeName=…`), as kubelets do. Then pods are created on random nodes: each concerns one watch
of all. What is told: how long the watches took to open, what one costs the server in memory, and how late an event is.

A connection here is a bare protocol: no client library is measured, and W of them fit beside the server.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import ssl
import time
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

from lakh import __version__
from lakh.bench import scrape
from lakh.bench.api import pod
from lakh.bench.load import open_loop, percentile
from lakh.bench.target import namespace, target
from lakh.cli import Failure, raise_file_limit
from lakh.client.client import Client
from lakh.client.resources import PODS
from lakh.machinery.process import resident_memory
from lakh.progress import Progress

# TLS handshakes under way at once.
OPENING = 64
# Connections from one source address: below the usual range of ephemeral ports.
CONNECTIONS_AN_ADDRESS = 20_000
# Beside the watches: the bench's own connections and files.
SPARE_FILES = 200
WRITERS = 16
EVENTS_PER_SECOND = 500.0
CONNECT_TIMEOUT_SECONDS = 120.0
LATE_SECONDS = 30.0


class NodeWatch(asyncio.Protocol):
    """One watch: sends its request, waits for the head, then notes when events come."""

    def __init__(self, request: bytes, arrived: dict[str, float]) -> None:
        self.request = request
        self.arrived = arrived
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self.rest = b""
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """The head, then events. An event's line may come in pieces."""
        if not self.open.done():
            if data.startswith(b"HTTP/1.1 200"):
                self.open.set_result(None)
            else:
                self.open.set_exception(
                    Failure(f"a watch was refused: {data[:300].decode(errors='replace')}")
                )
            return
        now = time.perf_counter()
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            at = line.find(b'"name":"event-')
            if at >= 0 and line.startswith(b'{"type":"ADDED"'):
                self.arrived[line[at + 8 : line.index(b'"', at + 8)].decode()] = now

    def connection_lost(self, exc: Exception | None) -> None:
        """A watch that ends early is counted."""
        self.lost = True
        if not self.open.done():
            self.open.set_exception(Failure(f"a watch was not opened: {exc or 'connection closed'}"))
            self.open.exception()  # whoever waited may have given up


async def _server_bytes(client: Client) -> float:
    answer = await client.raw("GET", "/metrics")
    return scrape.value(scrape.parse(answer.body.decode()), "process_resident_memory_bytes")


async def run(options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Measures. Raises Failure when a watch fails, or an event is lost."""
    watchers: int = options.watchers
    raise_file_limit()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < watchers + SPARE_FILES:
        raise Failure(
            f"{watchers} connections need as many open files, and {limit} are allowed: raise `ulimit -n`"
        )
    async with (
        target(options.kubeconfig, WRITERS + 2) as client,
        namespace(client, f"lakh-bench-{os.getpid()}") as where,
    ):
        context = client.config.ssl_context()
        arrived: dict[str, float] = {}
        before, own_before = await _server_bytes(client), resident_memory()
        began = time.perf_counter()
        watches = await _open_all(client, context, where, watchers, arrived, progress)
        opened_seconds = time.perf_counter() - began
        server_bytes = await _server_bytes(client) - before
        own_bytes = resident_memory() - own_before
        try:
            progress.show(
                f"{watchers} watches open after {opened_seconds:.1f} s; {options.seconds:g} s of events …"
            )
            sent: dict[str, float] = {}
            template = pod("NAME-OF-POD")
            template["spec"]["nodeName"] = "NAME-OF-NODE"
            encoded = msgspec.json.encode(template)

            async def write(me: int, number: int) -> None:
                name = f"event-{number:07d}"
                node = b"node-%d" % random.randrange(watchers)
                body = encoded.replace(b"NAME-OF-POD", name.encode()).replace(b"NAME-OF-NODE", node)
                sent[name] = time.perf_counter()
                await client.create(PODS, body, where, type=bytes)

            measure = await open_loop(write, WRITERS, options.seconds, EVENTS_PER_SECOND)
            if measure.errors:
                raise Failure(f"{measure.errors} creates failed: {measure.first_error}")
            deadline = time.perf_counter() + LATE_SECONDS
            while len(arrived) < len(sent) and time.perf_counter() < deadline:
                await asyncio.sleep(0.01)
            lost = sum(w.lost for w in watches)
            if len(arrived) < len(sent) or lost:
                raise Failure(
                    f"{len(sent) - len(arrived)} of {len(sent)} events did not arrive, {lost} watches ended"
                )
        finally:
            for watch in watches:
                if watch.transport is not None:
                    watch.transport.abort()
        lags = sorted((arrived[name] - at) * 1000 for name, at in sent.items())
        return {
            "watchers": watchers,
            "opened_seconds": round(opened_seconds, 2),
            "opened_per_s": round(watchers / opened_seconds, 1),
            "server_bytes_per_watch": round(server_bytes / watchers),
            "client_bytes_per_watch": round(own_bytes / watchers),
            "events_per_s": round(len(sent) / measure.seconds, 1),
            "lag_p50_ms": percentile(lags, 0.5),
            "lag_p99_ms": percentile(lags, 0.99),
            "lag_max_ms": percentile(lags, 1.0),
        }


async def _open_all(
    client: Client,
    context: ssl.SSLContext | None,
    where: str,
    watchers: int,
    arrived: dict[str, float],
    progress: Progress,
) -> list[NodeWatch]:
    parts = urlsplit(client.config.server)
    host, port = parts.hostname or "", parts.port or 443
    local = host in ("127.0.0.1", "localhost")
    loop = asyncio.get_running_loop()
    token = f"Authorization: Bearer {client.config.token}\r\n" if client.config.token else ""
    watches: list[NodeWatch] = []
    numbers = iter(range(watchers))

    async def open_next() -> None:
        for number in numbers:
            path = f"{PODS.path(where)}?watch=1&fieldSelector=spec.nodeName%3Dnode-{number}&resourceVersion=0"
            request = (
                f"GET {parts.path}{path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: lakh-bench/{__version__}\r\n"
                f"Accept: application/json\r\n{token}\r\n"
            )
            watch = NodeWatch(request.encode(), arrived)
            # More connections than ports: loopback has many addresses.
            source = (f"127.0.1.{1 + number // CONNECTIONS_AN_ADDRESS}", 0) if local else None
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                await loop.create_connection(
                    lambda watch=watch: watch,
                    host,
                    port,
                    ssl=context,
                    server_hostname=(client.config.tls_server_name or host) if context else None,
                    local_addr=source,
                    ssl_handshake_timeout=CONNECT_TIMEOUT_SECONDS if context else None,
                )
                await watch.open
            watches.append(watch)
            if len(watches) % 100 == 0 or len(watches) == watchers:
                progress.bar("watches open", len(watches), watchers)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(OPENING, watchers)):
                group.create_task(open_next())
    except* (OSError, TimeoutError, Failure) as errors:
        raise Failure(f"after {len(watches)} watches: {errors.exceptions[0]}") from errors
    return watches
