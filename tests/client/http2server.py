"""An HTTP/2 server over TLS, of an independent implementation of the protocol, that does what a test tells it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    PingReceived,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import StreamClosedError
from h2.settings import SettingCodes

from lakh.client.client import Client
from lakh.client.kubeconfig import Config
from lakh.client.transport import Transport

from ..certificates import self_signed


@dataclass
class Asked:
    """A request."""

    connection: Served
    stream: int
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False
    reset: int | None = None

    @property
    def path(self) -> str:
        return self.headers[":path"]

    @property
    def method(self) -> str:
        return self.headers[":method"]

    def head(self, status: int = 200, *, ended: bool = False, **headers: str) -> None:
        fields = [(":status", str(status)), *((k.replace("_", "-"), v) for k, v in headers.items())]
        self.connection.h2.send_headers(self.stream, fields, end_stream=ended)
        self.connection.flush()

    def data(self, data: bytes, *, ended: bool = False) -> None:
        self.connection.send(self.stream, data, ended)

    def answer(self, body: bytes = b"{}", status: int = 200, **headers: str) -> None:
        self.head(status, content_type="application/json", **headers)
        self.data(body, ended=True)

    def refuse(self, code: ErrorCodes = ErrorCodes.REFUSED_STREAM) -> None:
        self.connection.h2.reset_stream(self.stream, code)
        self.connection.flush()


class Served(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: Http2Server) -> None:
        self.server = server
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.asked: dict[int, Asked] = {}
        self.waiting: dict[int, tuple[bytearray, bool]] = {}
        self.pings = 0
        self.writes = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server.connections.append(self)
        self.h2.initiate_connection()
        self.h2.update_settings(self.server.settings)
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.server.connections.remove(self)
        self.server.news.set()

    def flush(self) -> None:
        self.transport.write(self.h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        self.server.reads += 1
        if self.server.deaf:
            return
        for event in self.h2.receive_data(data):
            if isinstance(event, RequestReceived):
                asked = self.asked[event.stream_id] = Asked(self, event.stream_id, dict(event.headers))
                self.server.asked.append(asked)
            elif isinstance(event, DataReceived):
                self.asked[event.stream_id].body += event.data
                if not self.server.hoards:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                self.asked[event.stream_id].complete = True
                self.server.handle(self.asked[event.stream_id])
            elif isinstance(event, StreamReset):
                self.asked[event.stream_id].reset = event.error_code
                self.waiting.pop(event.stream_id, None)
            elif isinstance(event, WindowUpdated):
                self.pump()
            elif isinstance(event, PingReceived):
                self.pings += 1
            elif isinstance(event, ConnectionTerminated):
                self.server.goaways.append(event)
        self.flush()
        self.server.news.set()

    def send(self, stream: int, data: bytes, ended: bool) -> None:
        kept, _ = self.waiting.setdefault(stream, (bytearray(), False))
        kept += data
        self.waiting[stream] = kept, ended
        self.pump()
        self.flush()

    def pump(self) -> None:
        for stream, (kept, ended) in list(self.waiting.items()):
            try:
                while kept and (window := self.h2.local_flow_control_window(stream)):
                    size = min(len(kept), window, self.h2.max_outbound_frame_size)
                    self.h2.send_data(stream, bytes(kept[:size]))
                    del kept[:size]
            except StreamClosedError:
                del self.waiting[stream]
                continue
            if not kept:
                del self.waiting[stream]
                if ended:
                    self.h2.end_stream(stream)


class Http2Server:
    """`handle` is told each request that is complete."""

    def __init__(self, directory: Path, alpn: tuple[str, ...] = ("h2", "http/1.1")) -> None:
        self.pem, key = self_signed()
        file = directory / "server.pem"
        file.write_bytes(self.pem + key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(file)
        self.context.set_alpn_protocols(list(alpn))
        self.settings: dict[SettingCodes, int] = {}
        self.connections: list[Served] = []
        self.asked: list[Asked] = []
        self.goaways: list[ConnectionTerminated] = []
        self.news = asyncio.Event()
        self.handle: Callable[[Asked], None] = self.serve
        self.hoards = False  # gives no room back
        self.deaf = False
        self.reads = 0

    def serve(self, asked: Asked) -> None:
        """Says what was asked."""
        asked.answer(b'{"metadata":{"name":"%s"}}' % asked.path.rpartition("/")[2].encode())

    def collect(self, asked: Asked) -> None:
        """Leaves the answer to the test."""

    async def __aenter__(self) -> Http2Server:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: Served(self), "127.0.0.1", 0, ssl=self.context)
        port = self.server.sockets[0].getsockname()[1]
        self.config = Config(f"https://127.0.0.1:{port}", ca_pem=self.pem)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for connection in list(self.connections):
            connection.transport.abort()
        while self.connections:
            await asyncio.sleep(0)
        await self.server.wait_closed()

    def client(self, **options: Any) -> Client:
        return Client(self.config, user_agent="test/1", **options)

    def transport(self, **options: Any) -> Transport:
        return Transport(self.config, user_agent="test/1", **options)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for a condition on the server's state."""
        while not condition():
            self.news.clear()
            await self.news.wait()
