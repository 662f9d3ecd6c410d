"""New connections are taken a few at a time, and what goes wrong with one concerns no other."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from lakh.server import listener as listener_module
from lakh.server.certs import Pki
from lakh.server.listener import ACCEPTS_A_TURN, Listener

WAIT_SECONDS = 120.0


class Greeter(asyncio.Protocol):
    def __init__(self, made: list[Greeter]) -> None:
        self.made = made

    def connection_made(self, transport: Any) -> None:
        self.made.append(self)
        self.transport = transport
        transport.write(b"hello")


@pytest.fixture
async def site() -> Any:
    made: list[Greeter] = []
    it = Listener(lambda agreed: Greeter(made), None)
    await it.start("127.0.0.1", 0)
    yield it, made
    await it.stop()
    for one in made:
        one.transport.abort()


async def greeted(port: int, tls: ssl.SSLContext | None = None) -> bytes:
    async with asyncio.timeout(WAIT_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        found = await reader.readexactly(5)
        writer.close()
        return found


async def test_a_crowd_is_taken_a_few_in_a_turn(site: Any) -> None:
    it, made = site
    crowd = [socket.create_connection(("127.0.0.1", it.port)) for _ in range(20)]
    before, turns = 0, 0
    async with asyncio.timeout(WAIT_SECONDS):
        while len(made) < len(crowd):
            await asyncio.sleep(0)
            assert len(made) - before <= ACCEPTS_A_TURN
            turns += len(made) > before
            before = len(made)
    assert turns >= len(crowd) / ACCEPTS_A_TURN
    for sock in crowd:
        assert sock.recv(5) == b"hello"
        sock.close()


async def test_a_client_that_does_not_speak_tls_harms_nobody(tmp_path: Path) -> None:
    pki = Pki.ensure(tmp_path)
    made: list[Greeter] = []
    it = Listener(lambda agreed: Greeter(made), pki.server_context())
    await it.start("127.0.0.1", 0)
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await reader.read()
            writer.close()
        assert await greeted(it.port, ssl.create_default_context(cafile=str(pki.ca_file))) == b"hello"
    finally:
        for one in made:
            one.transport.abort()
        await it.stop()


async def test_handshakes_under_way_are_broken_off(tmp_path: Path) -> None:
    it = Listener(lambda agreed: Greeter([]), Pki.ensure(tmp_path).server_context())
    await it.start("127.0.0.1", 0)
    async with asyncio.timeout(WAIT_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
        while not it._handshakes:
            await asyncio.sleep(0)
        await it.stop()
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
        writer.close()
    assert it.port == 0


async def test_without_files_left_it_waits_a_while(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    it, _ = site
    monkeypatch.setattr(listener_module, "EXHAUSTED_SECONDS", 0.01)
    (real,) = it._sockets

    class Exhausted:
        tries = 0

        def accept(self) -> Any:
            Exhausted.tries += 1
            raise OSError(errno.EMFILE, "Too many open files")

    it._accept(Exhausted())
    assert it._paused is not None
    assert await greeted(it.port) == b"hello"
    assert it._sockets == [real] and Exhausted.tries == 1


async def test_all_addresses_of_a_name_have_one_port() -> None:
    it = Listener(lambda agreed: Greeter([]), None)
    await it.start("localhost", 0)
    assert {sock.getsockname()[1] for sock in it._sockets} == {it.port}
    await it.stop()
