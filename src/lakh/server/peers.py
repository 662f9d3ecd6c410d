"""The other API servers: what each says of itself, and requests to them.

A peer is known by its URL, from its identity Lease or from a partition's claim. One task a peer asks it every PROBE_SECONDS for its
status; that and every failed request tell whether it is alive. Requests go over a pool of connections with the front-proxy certificate, so
a request may be made in the name of whoever sent it here.

Of a request to a peer exactly one of these is true, and the types say which: it was answered; `NotSent`, the peer knows nothing of
it; `AnswerLost`, it may have been carried out. When a peer is given up for dead, requests under way to it end as `AnswerLost`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from lakh.server.authn import APISERVER, remote_headers

log = logging.getLogger(__name__)

STATUS_PATH = "/internal/partitions"
PROBE_SECONDS = 0.5
"""Between two questions to a peer."""
PROBE_TIMEOUT_SECONDS = 1.0
PROBE_FAILURES = 2
"""Questions without an answer in a row, and a peer is dead. One is enough when it refuses the connection."""
FORGET_SECONDS = 60.0
"""A dead peer that nothing names any more is not asked after this."""


class NotSent(Exception):
    """There was no connection to the peer: it knows nothing of the request."""


class AnswerLost(Exception):
    """The connection broke, or no answer came in time: the request may have been carried out."""


class RawAnswer(Protocol):
    """A peer's answer."""

    status: int
    body: bytes

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names and values."""


class PeerTransport(Protocol):
    """Connections to one peer. Raises NotSent and AnswerLost."""

    async def exchange(self, method: str, payload: bytes, timeout: float) -> RawAnswer:
        """A request, already in bytes, and its whole answer."""

    async def close(self) -> None:
        """Break all connections: what is under way ends as AnswerLost."""


Dial = Callable[[str], PeerTransport]
"""Makes the connections to the API server at a URL. Given from outside: HTTP clients are not the server's business."""


class PartitionStatus(msgspec.Struct):
    """What a server says of one partition."""

    writer: bool
    sequence: int
    stalled_seconds: float = 0.0
    failed: bool = False


class ServerStatus(msgspec.Struct):
    """What a server says of itself. `claim`: its name in the journals, which changes with each start."""

    claim: str
    draining: bool
    partitions: dict[str, PartitionStatus]


_decode_status = msgspec.json.Decoder(ServerStatus).decode


class Peer:
    """One other server."""

    def __init__(self, url: str, transport: PeerTransport, prober: PeerTransport, now: float) -> None:
        self.url = url
        self.transport = transport
        self.prober = prober
        """Apart from the requests, so that many of them do not delay the question whether it lives."""
        self.status: ServerStatus | None = None
        self.alive = False
        self.since = now
        """Loop time since when it is alive, or dead."""
        self.failures = 0
        self.named_at = now
        self.hurry = asyncio.Event()
        """Set when there is a reason to ask at once."""
        self.task: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Break its connections."""
        await self.transport.close()
        await self.prober.close()

    def __repr__(self) -> str:
        return f"<Peer {self.url} {'alive' if self.alive else 'dead'}>"


class Peers:
    """All other servers. `on_change` is called when one comes or goes, and after each status."""

    def __init__(self, dial: Dial, on_change: Callable[[], None]) -> None:
        self._dial = dial
        self._on_change = on_change
        self._peers: dict[str, Peer] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def get(self, url: str) -> Peer | None:
        """A peer that is known."""
        return self._peers.get(url)

    def name(self, url: str) -> Peer:
        """A peer, from now on asked for its status."""
        peer = self._peers.get(url)
        if peer is None:
            peer = self._peers[url] = Peer(url, self._dial(url), self._dial(url), self._loop.time())
            peer.task = self._loop.create_task(self._probe(peer), name=f"peer-{url}")
        peer.named_at = self._loop.time()
        return peer

    async def stop(self) -> None:
        """Ask no more, break all connections."""
        peers, self._peers = list(self._peers.values()), {}
        tasks = [peer.task for peer in peers if peer.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(peer.close() for peer in peers))

    # Requests

    async def request(self, url: str, payload: bytes, method: str, timeout: float) -> RawAnswer:
        """A request in bytes. Raises NotSent and AnswerLost, from which the peer's death may follow."""
        peer = self.name(url)
        try:
            return await peer.transport.exchange(method, payload, timeout)
        except NotSent:
            self._failed(peer, PROBE_FAILURES)
            raise
        except AnswerLost:
            peer.hurry.set()
            raise

    async def ask(self, url: str, method: str, path: str, timeout: float) -> RawAnswer:
        """A request of the server's own. Raises NotSent and AnswerLost."""
        return await self.name(url).prober.exchange(method, _own_request(url, method, path), timeout)

    # Probing

    async def _probe(self, peer: Peer) -> None:
        payload = _own_request(peer.url, "GET", STATUS_PATH)
        while True:
            peer.hurry.clear()
            try:
                answer = await peer.prober.exchange("GET", payload, PROBE_TIMEOUT_SECONDS)
                if answer.status != 200:
                    raise AnswerLost(f"its status is answered with code {answer.status}")
                status = _decode_status(answer.body)
            except NotSent:
                self._failed(peer, PROBE_FAILURES)
            except (AnswerLost, msgspec.MsgspecError) as error:
                log.debug("peer %s: %s", peer.url, error)
                self._failed(peer, 1)
            else:
                self._answered(peer, status)
            if self._loop.time() - peer.named_at > FORGET_SECONDS and not peer.alive:
                self._peers.pop(peer.url, None)
                await peer.close()
                return
            try:
                async with asyncio.timeout(PROBE_SECONDS * random.uniform(0.8, 1.2)):
                    await peer.hurry.wait()
            except TimeoutError:
                pass

    def _answered(self, peer: Peer, status: ServerStatus) -> None:
        peer.failures = 0
        restarted = peer.status is not None and peer.status.claim != status.claim
        peer.status = status
        if not peer.alive or restarted:
            log.info("API server %s is %s", peer.url, "there" if not restarted else "there again")
            peer.alive = True
            peer.since = self._loop.time()
        self._on_change()

    def _failed(self, peer: Peer, count: int) -> None:
        peer.failures += count
        if peer.alive and peer.failures >= PROBE_FAILURES:
            log.warning("API server %s does not answer", peer.url)
            peer.alive = False
            peer.since = self._loop.time()
            # Whoever waits for its answer learns now that it may never come.
            old, peer.transport = peer.transport, self._dial(peer.url)
            closing = self._loop.create_task(old.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self._on_change()


def _own_request(url: str, method: str, path: str) -> bytes:
    host = url.partition("://")[2]
    length = "" if method == "GET" else "Content-Length: 0\r\n"
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{remote_headers(APISERVER)}{length}\r\n"
    return head.encode("latin-1")
