"""Many clients that list the same path in a loop: a process of its own, so that its work delays nobody who measures.

`python -m lakh.bench.listers` reads one line of JSON, what to do (`Orders`), and writes lines of JSON, what was done so far (`Done`): one when all clients
are connected, then one a second, until its input ends. A client that is told to come back later (429) does so after Retry-After.

The clients are bare protocols that count bytes and look for the answer's end: all the processor time that is left goes into reading.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import ssl
import sys
import time
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

from lakh.bench.load import percentile
from lakh.cli import raise_file_limit, until_parent_ends
from lakh.client.kubeconfig import load_kubeconfig

# TLS handshakes under way at once.
OPENING = 32
CONNECT_TIMEOUT_SECONDS = 60.0
RECONNECT_SECONDS = 1.0
TELL_SECONDS = 1.0
READ_BYTES = 256 * 1024
END_OF_CHUNKS = b"\r\n0\r\n\r\n"
# Of lists that took so and so long; beyond it the oldest go.
TOOK_MAX = 100_000


class Orders(msgspec.Struct):
    """What the process is to do. With a token, the kubeconfig's own credentials are not used."""

    kubeconfig: str
    path: str
    clients: int
    token: str = ""
    stalled: int = 0
    """So many of the clients ask and never read."""
    gzip: bool = False


class Done(msgspec.Struct):
    """What was done until then; `at` is seconds of a monotonic clock."""

    at: float = 0.0
    connected: int = 0
    lists: int = 0
    bytes: int = 0
    refused: int = 0
    errors: int = 0
    first_error: str = ""
    p50_s: float = 0.0
    p99_s: float = 0.0


class Crowd:
    """What the clients share."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.done = Done()
        self.took: list[float] = []
        self.buffer = bytearray(READ_BYTES)

    def failed(self, why: str) -> None:
        """A request failed otherwise than with 429."""
        self.done.errors += 1
        self.done.first_error = self.done.first_error or why

    def line(self) -> bytes:
        """What was done, as the process tells it."""
        self.done.at = time.monotonic()
        ordered = sorted(self.took[-TOOK_MAX:])
        self.done.p50_s, self.done.p99_s = percentile(ordered, 0.5), percentile(ordered, 0.99)
        return msgspec.json.encode(self.done) + b"\n"


class Lister(asyncio.BufferedProtocol):
    """One client: asks, reads to the end, asks again."""

    def __init__(self, crowd: Crowd, *, reads: bool) -> None:
        self.crowd = crowd
        self.reads = reads
        self.lost = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport
        self._head = b""
        self._status = 0
        self._retry_seconds = 1.0
        self._left = 0
        self._chunked = False
        self._tail = b""
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks."""
        self.transport = cast(asyncio.Transport, transport)
        self.crowd.done.connected += 1
        self.ask()

    def ask(self) -> None:
        """The next list."""
        if self.lost.done():
            return
        self._head, self._status, self._tail = b"", 0, b""
        self._began = time.perf_counter()
        self.transport.write(self.crowd.request)
        if not self.reads:
            self.transport.pause_reading()

    def get_buffer(self, sizehint: int) -> bytearray:
        """All clients read into one buffer: what is in it is looked at before the next reads."""
        return self.crowd.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Counts, and looks for the end of the answer."""
        self.crowd.done.bytes += nbytes
        start = 0
        if not self._status:
            before = len(self._head)
            self._head += bytes(memoryview(self.crowd.buffer)[:nbytes])
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            self._read_head(self._head[: end + 2].lower())
            start = end + 4 - before
        if self._chunked:
            # From the head's own end on: an empty list ends at once.
            self._tail = (self._tail + bytes(memoryview(self.crowd.buffer)[max(start, nbytes - 7) : nbytes]))[
                -7:
            ]
            over = self._tail == END_OF_CHUNKS
        else:
            self._left -= nbytes - start
            over = self._left <= 0
        if over:
            self._over()

    def _read_head(self, head: bytes) -> None:
        self._status = int(head[9:12])
        self._chunked = b"\r\ntransfer-encoding: chunked\r\n" in head
        self._left = _header(head, b"content-length")
        self._retry_seconds = float(_header(head, b"retry-after"))

    def _over(self) -> None:
        crowd = self.crowd
        if self._status == 200:
            crowd.done.lists += 1
            crowd.took.append(time.perf_counter() - self._began)
            self.ask()
            return
        if self._status == 429:
            crowd.done.refused += 1
        else:
            crowd.failed(f"answer {self._status}")
        wait = max(self._retry_seconds, 1.0)
        asyncio.get_running_loop().call_later(wait, self.ask)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever opened it opens another one."""
        self.crowd.done.connected -= 1
        if self.reads:
            self.crowd.failed(f"connection lost: {exc or 'closed by the server'}")
        if not self.lost.done():
            self.lost.set_result(None)


def _header(head: bytes, name: bytes) -> int:
    """A number in a head in lower case; 0 when it is not there."""
    at = head.find(b"\r\n" + name + b": ")
    return int(head[at + len(name) + 4 : head.index(b"\r\n", at + 2)]) if at >= 0 else 0


async def run(orders: Orders) -> None:
    """Lists until standard input ends."""
    config = load_kubeconfig(Path(orders.kubeconfig))
    if orders.token:
        config = dataclasses.replace(
            config, client_certificate_pem=None, client_key_pem=None, token=orders.token, token_file=None
        )
    context = config.ssl_context()
    parts = urlsplit(config.server)
    token = f"Authorization: Bearer {config.token}\r\n" if config.token else ""
    extra = "Accept-Encoding: gzip\r\n" if orders.gzip else ""
    crowd = Crowd(
        (
            f"GET {parts.path}{orders.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: lakh-bench\r\n"
            f"Accept: application/json\r\n{token}{extra}\r\n"
        ).encode()
    )
    opening = asyncio.Semaphore(OPENING)
    where = (parts.hostname or "", parts.port or (443 if context else 80))
    name = (config.tls_server_name or where[0]) if context else None
    tasks = [
        asyncio.create_task(_client(crowd, number >= orders.stalled, where, context, name, opening))
        for number in range(orders.clients)
    ]
    ended = asyncio.create_task(until_parent_ends())
    told = 0.0
    while not ended.done():
        await asyncio.wait((ended,), timeout=0.05)
        now = time.monotonic()
        if told and now - told < TELL_SECONDS and not ended.done():
            continue
        if told or crowd.done.connected == orders.clients or ended.done():
            told = now
            _tell(crowd.line())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _tell(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


async def _client(
    crowd: Crowd,
    reads: bool,
    where: tuple[str, int],
    context: ssl.SSLContext | None,
    name: str | None,
    opening: asyncio.Semaphore,
) -> None:
    """One client's connections, one after the other."""
    loop = asyncio.get_running_loop()
    lister: Any = None
    try:
        while True:
            try:
                async with opening, asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                    _, lister = await loop.create_connection(
                        lambda: Lister(crowd, reads=reads), *where, ssl=context, server_hostname=name
                    )
                await lister.lost
            except (OSError, TimeoutError) as error:
                crowd.failed(f"no connection: {error}")
            await asyncio.sleep(RECONNECT_SECONDS * random.uniform(0.5, 1.5))
    finally:
        if lister is not None:
            lister.lost.cancel()
            lister.transport.abort()


def main() -> None:
    """The process."""
    import uvloop

    raise_file_limit()
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(orders))


if __name__ == "__main__":
    main()
