"""TLS of ours against OpenSSL's other users: blocking sockets, the event loop's own TLS, and itself."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from lakh.machinery import tls as tls_module
from lakh.machinery.tls import TlsTransport, connect
from lakh.server.certs import Pki

WAIT_SECONDS = 120.0
LARGE = os.urandom(1 << 20)


class Peer(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self, echo: bool = False) -> None:
        self.echo = echo
        self.data = bytearray()
        self.said: list[str] = []
        self.changed = asyncio.Event()
        self.error: Exception | None = None

    def note(self, what: str) -> None:
        self.said.append(what)
        self.changed.set()

    def connection_made(self, transport: Any) -> None:
        self.transport: TlsTransport = transport
        self.note("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.changed.set()
        if self.echo:
            self.transport.write(data)

    def eof_received(self) -> None:
        self.note("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.note("lost")

    def pause_writing(self) -> None:
        self.note("paused")

    def resume_writing(self) -> None:
        self.note("resumed")

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not done():
                self.changed.clear()
                await self.changed.wait()


class Site:
    """A server whose connections are `Peer`s."""

    def __init__(self, pki: Pki) -> None:
        self.pki = pki
        self.peers: list[Peer] = []
        self.handshakes: list[asyncio.Task[None]] = []
        self.failures: list[BaseException | None] = []
        self.echo = True
        self.client = ssl.create_default_context(cafile=str(pki.ca_file))

    async def start(self) -> None:
        context = self.pki.server_context()
        loop = asyncio.get_running_loop()

        def make() -> TlsTransport:
            peer = Peer(self.echo)
            self.peers.append(peer)
            ready = loop.create_future()
            transport = TlsTransport(lambda agreed: peer, context, ready)
            ready.add_done_callback(lambda f: self.failures.append(f.exception()))
            return transport

        self.server = await loop.create_server(make, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def connect(self) -> tuple[TlsTransport, Peer]:
        async with asyncio.timeout(WAIT_SECONDS):
            return await connect(lambda agreed: Peer(), "127.0.0.1", self.port, self.client, "127.0.0.1")

    async def open(self, context: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(WAIT_SECONDS):
            return await asyncio.open_connection("127.0.0.1", self.port, ssl=context)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    it = Site(Pki.ensure(tmp_path))
    await it.start()
    yield it
    it.server.close()
    for peer in it.peers:
        if peer.said and "lost" not in peer.said:
            peer.transport.abort()
            await peer.until(lambda peer=peer: "lost" in peer.said)


async def test_large_pieces_both_ways(site: Site) -> None:
    transport, peer = await site.connect()
    transport.write(LARGE)
    transport.write(memoryview(b"end"))
    transport.write(b"")
    await peer.until(lambda: len(peer.data) == len(LARGE) + 3)
    assert peer.data == LARGE + b"end"
    transport.close()
    await peer.until(lambda: "lost" in peer.said)
    assert peer.error is None
    [server] = site.peers
    await server.until(lambda: "lost" in server.said)
    assert server.said[0] == "made" and server.said[-2:] == ["eof", "lost"]


async def test_the_loops_own_tls_is_answered(site: Site) -> None:
    reader, writer = await site.open(site.client)
    writer.write(b"hello")
    async with asyncio.timeout(WAIT_SECONDS):
        assert await reader.readexactly(5) == b"hello"
        [server] = site.peers
        server.transport.write(b"bye")
        server.transport.close()
        assert server.transport.is_closing()
        server.transport.write(b"too late")
        assert await reader.read() == b"bye"
        writer.close()
    await server.until(lambda: "lost" in server.said)


async def test_a_client_certificate_is_known(site: Site) -> None:
    site.client.load_cert_chain(site.pki.directory / "admin.crt", site.pki.directory / "admin.key")
    transport, _ = await site.connect()
    [server] = site.peers
    await server.until(lambda: "made" in server.said)
    assert server.transport.get_extra_info("ssl_object").getpeercert()["subject"]
    assert server.transport.get_extra_info("peername")[0] == "127.0.0.1"
    transport.abort()
    await server.until(lambda: "lost" in server.said)
    assert server.transport.get_extra_info("ssl_object") is None


async def test_plain_http_is_told_so(site: Site) -> None:
    reader, writer = await site.open(None)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(WAIT_SECONDS):
        assert (await reader.read()).startswith(tls_module.PLAIN_HTTP)
    writer.close()
    assert isinstance(site.failures[0], ssl.SSLError)
    assert site.peers[0].said == []


async def test_who_does_not_trust_the_server_says_so(site: Site) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        await connect(
            lambda agreed: Peer(), "127.0.0.1", site.port, ssl.create_default_context(), "127.0.0.1"
        )
    with pytest.raises(ssl.SSLCertVerificationError):
        await connect(lambda agreed: Peer(), "127.0.0.1", site.port, site.client, "elsewhere.example")


async def test_the_end_of_a_connection_amid_its_handshake(site: Site) -> None:
    _, writer = await site.open(None)
    writer.write(b"\x16\x03\x01")
    writer.close()
    async with asyncio.timeout(WAIT_SECONDS):
        while not site.failures:
            await asyncio.sleep(0)
    assert isinstance(site.failures[0], ConnectionResetError)
    assert site.peers[0].said == []


async def test_a_handshake_that_is_cancelled_leaves_nothing() -> None:
    loop = asyncio.get_running_loop()
    silent: list[asyncio.Transport] = []
    gone = loop.create_future()

    class Silent(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            silent.append(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            gone.set_result(None)

    server = await loop.create_server(Silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    peer = Peer()
    connecting = asyncio.ensure_future(
        connect(lambda agreed: peer, "127.0.0.1", port, ssl.create_default_context(), "127.0.0.1")
    )
    async with asyncio.timeout(WAIT_SECONDS):
        while not silent:
            await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await gone
    server.close()
    assert peer.said == []


async def test_who_reads_nothing_for_now(site: Site) -> None:
    transport, peer = await site.connect()
    transport.pause_reading()
    assert not transport.is_reading()
    transport.write(b"a")
    [server] = site.peers
    await server.until(lambda: bool(server.data))
    assert peer.data == b""
    transport.resume_reading()
    await peer.until(lambda: peer.data == b"a")
    transport.abort()


async def test_a_peer_that_does_not_read_pauses_the_writer(site: Site) -> None:
    site.echo = False
    transport, peer = await site.connect()
    [server] = site.peers
    await server.until(lambda: "made" in server.said)
    server.transport.pause_reading()
    transport.set_write_buffer_limits(1 << 16, 1 << 15)
    total = 0
    while "paused" not in peer.said:
        transport.write(LARGE)
        total += len(LARGE)
        await asyncio.sleep(0)
    assert transport.get_write_buffer_size() > 1 << 16
    server.transport.resume_reading()
    await peer.until(lambda: "resumed" in peer.said)
    await server.until(lambda: len(server.data) == total)
    transport.close()
    await peer.until(lambda: "lost" in peer.said)


async def test_what_is_no_record_ends_the_connection(site: Site) -> None:
    transport, _ = await site.connect()
    [server] = site.peers
    await server.until(lambda: "made" in server.said)
    transport._raw.write(b"\x17\x03\x03\x00\x20" + bytes(32))
    await server.until(lambda: "lost" in server.said)
    assert isinstance(server.error, ssl.SSLError)
