"""Real nats-servers for tests."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from lakh.store.errors import JournalUnavailable
from lakh.store.nats_client import NatsClient
from lakh.store.nats_journal import NatsJournal
from lakh.store.nats_server import ClusterOptions, NatsServer
from tests.ports import free_port

ELECTED_SECONDS = 120.0


class BackgroundServer:
    """A server that outlives the tests' event loops: its supervisor has a thread and a loop of its own."""

    def __init__(self, directory: Path) -> None:
        self._started = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.server: NatsServer | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(directory)))
        self._thread.start()
        self._started.wait(120)
        assert self.server is not None
        self.url, self.token = self.server.url, self.server.token

    async def _run(self, directory: Path) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        try:
            self.server = await NatsServer.start(directory)
        finally:
            self._started.set()
        await self._stop.wait()
        await self.server.stop()

    def stop(self) -> None:
        assert self._loop is not None and self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(120)

    async def journal(self, prefix: str, name: str = "pods", **options: float) -> NatsJournal:
        return await NatsJournal.open(
            name,
            [self.url],
            token=self.token,
            prefix=prefix,
            **options,  # type: ignore[arg-type]
        )


@contextlib.asynccontextmanager
async def cluster(directory: Path, size: int = 3) -> AsyncIterator[list[NatsServer]]:
    """Servers that form a cluster."""
    ports = [free_port() for _ in range(size)]
    routes = [f"nats://127.0.0.1:{port}" for port in ports]
    servers: list[NatsServer] = []
    try:
        for index, port in enumerate(ports):
            servers.append(
                await NatsServer.start(
                    directory / str(index),
                    name=f"n{index}",
                    token="secret",
                    cluster=ClusterOptions("test", port, routes),
                )
            )
        await until_led([server.url for server in servers])
        yield servers
    finally:
        await asyncio.gather(*(server.stop() for server in servers))


async def until_led(urls: list[str]) -> None:
    """Wait until the servers have elected who creates streams: where much else runs, longer than a client is patient."""
    client = await NatsClient.connect(urls, token="secret")
    try:
        async with asyncio.timeout(ELECTED_SECONDS):
            while True:
                with contextlib.suppress(JournalUnavailable):
                    await client.ask("INFO")
                    break
    finally:
        await client.close()


async def leader_of(client: NatsClient, stream: str) -> str:
    """The name of the server that leads a stream, once it has one. Raises JournalUnavailable."""
    while (group := (await client.ask(f"STREAM.INFO.{stream}")).cluster) is None or not group.leader:
        await asyncio.sleep(0.1)
    return group.leader


def kill(server: NatsServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
