"""`lakh bench watch --by-node`: a kubelet's watch for each of W nodes, on W connections of their own.

Each watch asks for the pods of one node (`fieldSelector=spec.nodeName=…`), as kubelets do. Then pods are created on random nodes: each concerns one watch
of all. What is told: how long the watches took to open, what one costs the servers in memory, and how late an event is.

A process may have so many open files only (`ulimit -n`; what the system grants is taken), and one address so many ports. So the watches are held by as
many processes as that needs, each connecting from an address of its own, and where one API server may not have so many connections either, several
servers on one JetStream journal share them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from lakh import __version__
from lakh.bench import scrape
from lakh.bench.api import pod
from lakh.bench.cluster import process, wait_for_server
from lakh.bench.load import open_loop, percentile
from lakh.bench.nodewatchers import Orders, State
from lakh.bench.target import namespace, ready, served
from lakh.cli import Failure, raise_file_limit
from lakh.client.client import Client
from lakh.client.resources import PODS
from lakh.progress import Progress

# Watches of one process, and connections from one address: below the usual range of 28,000 ephemeral ports.
WATCHES_A_PROCESS = 15_000
# Of a process's open files these are not watches.
SPARE_FILES = 500
WRITERS = 16
EVENTS_PER_SECOND = 500.0
OPEN_SECONDS = 1800.0
LATE_SECONDS = 30.0
STOP_SECONDS = 60.0
LINE_BYTES_MAX = 1 << 26


class Holder:
    """One process that holds watches."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.state = State()

    async def read(self) -> None:
        """The next that it tells; raises Failure when it has failed."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise Failure("a process that holds watches has ended")
        self.state = msgspec.json.decode(line, type=State)
        if self.state.error:
            raise Failure(self.state.error)

    async def opened(self) -> None:
        """Waits until all its watches are open."""
        while not self.state.complete:
            await self.read()

    async def finish(self) -> State:
        """Ends it; what had arrived."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self.read()
        return self.state


@contextlib.asynccontextmanager
async def _holder(orders: Orders) -> AsyncIterator[Holder]:
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lakh.bench.nodewatchers"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES_MAX,
    )
    assert started.stdin is not None
    started.stdin.write(msgspec.json.encode(orders) + b"\n")
    try:
        yield Holder(started)
    finally:
        started.stdin.close()
        try:
            await asyncio.wait_for(started.wait(), STOP_SECONDS)
        except TimeoutError:
            started.kill()
            await started.wait()


@contextlib.asynccontextmanager
async def _servers(kubeconfig: Path | None, count: int) -> AsyncIterator[list[Path]]:
    """Kubeconfigs of the servers to spread watches over: of one or more of our own, or of all that the given one is of."""
    if kubeconfig is not None or count == 1:
        async with served(kubeconfig) as path:
            yield [path, *sorted(path.parent.glob("apiserver-*/kubeconfig"))]
        return
    with tempfile.TemporaryDirectory(prefix="lakh-bench-") as directory:
        data, log = Path(directory) / "data", Path(directory) / "up.log"
        arguments = [
            "up",
            "--data-dir",
            str(data),
            "--port",
            "0",
            "--engine",
            "nats",
            "--apiservers",
            str(count),
        ]
        async with process(arguments, log) as up:
            await wait_for_server(data / "kubeconfig", up, log)
            yield [data / "kubeconfig", *sorted(data.glob("apiserver-*/kubeconfig"))]


async def _bytes(clients: list[Client]) -> float:
    """Memory of all servers."""
    total = 0.0
    for client in clients:
        answer = await client.raw("GET", "/metrics")
        total += scrape.value(scrape.parse(answer.body.decode()), "process_resident_memory_bytes")
    return total


async def run(options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Measures. Raises Failure when a watch fails, or an event is lost."""
    watchers: int = options.watchers
    raise_file_limit()
    room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FILES
    if room < 1:
        raise Failure(f"too few open files are allowed: raise `ulimit -n` above {SPARE_FILES}")
    async with contextlib.AsyncExitStack() as stack:
        paths = await stack.enter_async_context(_servers(options.kubeconfig, -(-watchers // room)))
        clients = [
            await stack.enter_async_context(
                Client.from_kubeconfig(
                    path,
                    user_agent=f"lakh-bench/{__version__}",
                    max_connections=WRITERS + 2,
                    http2=False,  # each simulated client has a connection of its own
                )
            )
            for path in paths
        ]
        client = clients[0]
        if options.kubeconfig is None:
            for one in clients:
                await ready(one)
        where = await stack.enter_async_context(namespace(client, f"lakh-bench-{os.getpid()}"))
        before = await _bytes(clients)
        began = time.monotonic()
        each = min(WATCHES_A_PROCESS, room)
        local = all(
            "//127.0.0.1" in one.config.server or "//localhost" in one.config.server for one in clients
        )
        holders = [
            await stack.enter_async_context(
                _holder(
                    Orders(
                        [str(path) for path in paths],
                        PODS.path(where),
                        first,
                        min(each, watchers - first),
                        f"127.0.1.{1 + first // each}" if local else "",
                    )
                )
            )
            for first in range(0, watchers, each)
        ]
        await _all_open(holders, watchers, progress)
        opened_seconds = time.monotonic() - began
        server_bytes = await _bytes(clients) - before
        own_bytes = sum(h.state.own_bytes for h in holders)
        progress.show(
            f"{watchers} watches open after {opened_seconds:.1f} s; {options.seconds:g} s of events …"
        )
        sent: dict[str, float] = {}
        encoded = _template()

        async def write(me: int, number: int) -> None:
            name = f"event-{number:07d}"
            node = b"node-%d" % random.randrange(watchers)
            body = encoded.replace(b"NAME-OF-POD", name.encode()).replace(b"NAME-OF-NODE", node)
            sent[name] = time.monotonic()
            await client.create(PODS, body, where, type=bytes)

        measure = await open_loop(write, WRITERS, options.seconds, EVENTS_PER_SECOND)
        if measure.errors:
            raise Failure(f"{measure.errors} creates failed: {measure.first_error}")
        await asyncio.sleep(min(LATE_SECONDS, 1.0 + options.seconds / 10))
        states = await asyncio.gather(*(holder.finish() for holder in holders))
        arrived = {name: at for state in states for name, at in state.arrived.items()}
        lost = sum(state.lost for state in states)
        if len(arrived) < len(sent) or lost:
            raise Failure(
                f"{len(sent) - len(arrived)} of {len(sent)} events did not arrive, {lost} watches ended"
            )
        lags = sorted((arrived[name] - at) * 1000 for name, at in sent.items())
        return {
            "watchers": watchers,
            "servers": len(paths),
            "client_processes": len(holders),
            "opened_seconds": round(opened_seconds, 2),
            "opened_per_s": round(watchers / opened_seconds, 1),
            "server_bytes_per_watch": round(server_bytes / watchers),
            "client_bytes_per_watch": round(own_bytes / watchers),
            "events_per_s": round(len(sent) / measure.seconds, 1),
            "lag_p50_ms": percentile(lags, 0.5),
            "lag_p99_ms": percentile(lags, 0.99),
            "lag_max_ms": percentile(lags, 1.0),
        }


def _template() -> bytes:
    template = pod("NAME-OF-POD")
    template["spec"]["nodeName"] = "NAME-OF-NODE"
    return msgspec.json.encode(template)


async def _all_open(holders: list[Holder], watchers: int, progress: Progress) -> None:
    """Waits until all watches are open; raises Failure."""
    tasks = [asyncio.create_task(holder.opened()) for holder in holders]
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            while not all(task.done() for task in tasks):
                await asyncio.wait(tasks, timeout=0.5, return_when=asyncio.FIRST_EXCEPTION)
                for task in tasks:
                    if task.done():
                        task.result()
                progress.bar("watches open", sum(h.state.open for h in holders), watchers)
    except TimeoutError:
        raise Failure(f"the watches were not open after {OPEN_SECONDS:.0f} s") from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
