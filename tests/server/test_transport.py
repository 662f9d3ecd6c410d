"""The transport over real sockets: framing, order, backpressure, timeouts, ends."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery import errors
from lakh.server import connection as connection_module
from lakh.server import http1
from lakh.server.certs import Pki
from lakh.server.transport import (
    Handler,
    ListenError,
    PortInUse,
    Request,
    Response,
    Server,
    Stream,
    StreamClosed,
    StreamResponse,
    Timeouts,
)

HOST = b"Host: x\r\n"
WAIT_SECONDS = 120.0


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.ensure(tmp_path_factory.mktemp("data"))


class Client:
    """A raw client: bytes out, parsed answers in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, server: Server, tls: ssl.SSLContext | None = None) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", server.port, ssl=tls))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(WAIT_SECONDS):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split(" ")[1]), headers

    async def chunk(self) -> bytes:
        async with asyncio.timeout(WAIT_SECONDS):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def answer(self, *, bodyless: bool = False) -> tuple[int, bytes]:
        status, headers = await self.head()
        if bodyless or status in (100, 204, 304):
            return status, b""
        if headers.get("transfer-encoding") == "chunked":
            chunks = []
            while chunk := await self.chunk():
                chunks.append(chunk)
            return status, b"".join(chunks)
        async with asyncio.timeout(WAIT_SECONDS):
            return status, await self.reader.readexactly(int(headers["content-length"]))

    async def ended(self) -> bytes:
        """Everything up to the end of the connection."""
        async with asyncio.timeout(WAIT_SECONDS):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    def close(self) -> None:
        self.writer.close()


class Site:
    """A running server and its clients."""

    def __init__(self, server: Server, tls: ssl.SSLContext | None) -> None:
        self.server = server
        self.tls = tls
        self.clients: list[Client] = []

    async def connect(self) -> Client:
        client = await Client.connect(self.server, self.tls)
        self.clients.append(client)
        return client


Start = Callable[..., Awaitable[Site]]


async def emptied(server: Server) -> None:
    """Wait until the server has no connection."""
    async with asyncio.timeout(WAIT_SECONDS):
        while server.connection_count:
            server._empty.clear()
            await server._empty.wait()


@pytest.fixture
async def start(pki: Pki) -> AsyncIterator[Start]:
    sites: list[Site] = []

    async def begin(handler: Handler, *, tls: bool = False, **options: Any) -> Site:
        server = Server(handler, **options)
        await server.start("127.0.0.1", 0, pki.server_context() if tls else None)
        site = Site(server, ssl.create_default_context(cafile=str(pki.ca_file)) if tls else None)
        sites.append(site)
        return site

    yield begin
    for site in sites:
        for client in site.clients:
            client.close()
        await site.server.stop(5)
        assert site.server.connection_count == 0
        assert not site.server._tasks


def echo(request: Request) -> Response:
    told = {
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "body": request.body.decode("latin-1"),
    }
    return Response(200, json.dumps(told).encode())


async def echo_later(request: Request) -> Response:
    await asyncio.sleep(0)
    return echo(request)


def get(path: str = "/", headers: bytes = b"", method: bytes = b"GET") -> bytes:
    return method + b" " + path.encode() + b" HTTP/1.1\r\n" + HOST + headers + b"\r\n"


def post(body: bytes, headers: bytes = b"", path: str = "/") -> bytes:
    return get(path, headers + b"Content-Length: %d\r\n" % len(body), b"POST") + body


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("handler", [echo, echo_later])
async def test_keep_alive(start: Start, tls: bool, handler: Handler) -> None:
    site = await start(handler, tls=tls)
    client = await site.connect()
    for i in range(5):
        client.send(get(f"/a%20b?n={i}"))
        status, body = await client.answer()
        assert status == 200
        assert json.loads(body) == {"method": "GET", "path": "/a%20b", "query": f"n={i}", "body": ""}
    assert site.server.connection_count == 1


@pytest.mark.parametrize("tls", [False, True])
async def test_pipelined_requests_are_answered_in_order(start: Start, tls: bool) -> None:
    def handler(request: Request) -> Any:
        n = int(request.query)
        if n % 3 == 0:
            return echo_later(request)
        if n % 3 == 1:
            return echo(request)

        def begin(stream: Stream) -> None:
            stream.write(echo(request).body)  # type: ignore[arg-type]
            stream.finish()

        return StreamResponse(200, b"application/json", begin)

    site = await start(handler, tls=tls)
    client = await site.connect()
    count = 3000  # more bytes than may wait: reading pauses and goes on
    client.send(b"".join(get(f"/?{i}") for i in range(count)))
    for i in range(count):
        status, body = await client.answer()
        assert (status, json.loads(body)["query"]) == (200, str(i))


WIRE = (
    get("/first", b"X: y\r\n")
    + b"\r\n"
    + post(b'{"a":1}', path="/second")
    + get("/third", b"Transfer-Encoding: chunked\r\n", b"PUT")
    + b"3\r\nabc\r\n4;x\r\ndefg\r\n0\r\nSum: 1\r\n\r\n"
    + get("/fourth", b"Connection: close\r\n", b"DELETE")
)
TOLD = [("/first", ""), ("/second", '{"a":1}'), ("/third", "abcdefg"), ("/fourth", "")]


class FakeTransport(asyncio.Transport):
    """Collects what a connection writes."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        self.sent += data

    def writelines(self, pieces: Any) -> None:
        for piece in pieces:
            self.sent += piece

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


def feed(pieces: list[bytes]) -> tuple[list[tuple[str, str]], FakeTransport]:
    """What the handler saw of these pieces, each given to a connection as one read."""
    seen: list[tuple[str, str]] = []

    def handler(request: Request) -> Response:
        seen.append((request.path, request.body.decode("latin-1")))
        return Response(200, b"{}")

    server = Server(handler)
    transport = FakeTransport()
    connection = connection_module.Connection(server)
    connection.connection_made(transport)
    for piece in pieces:
        connection.data_received(piece)
    return seen, transport


def test_requests_may_be_cut_at_every_byte() -> None:
    whole, transport = feed([WIRE])
    assert whole == TOLD
    assert transport.closed
    for i in range(1, len(WIRE)):
        seen, other = feed([WIRE[:i], WIRE[i:]])
        assert seen == TOLD, i
        assert other.sent == transport.sent
    seen, other = feed([WIRE[i : i + 1] for i in range(len(WIRE))])
    assert seen == TOLD
    assert other.sent == transport.sent
    for step in (2, 3, 7, 64):
        assert feed([WIRE[i : i + step] for i in range(0, len(WIRE), step)])[0] == TOLD


TOKENS = [
    b"GET", b"POST", b" ", b"/", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\r", b"\n", b":", b"Host: x\r\n", b"Connection: close\r\n",
    b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Content-Encoding: gzip\r\n",
    b"0", b"5", b"\x00", b"\xff", b"0\r\n\r\n", get(), post(b"abc"),
]  # fmt: skip


@given(st.lists(st.sampled_from(TOKENS) | st.binary(max_size=4), max_size=30), st.integers(1, 40))
def test_any_bytes_are_answered_or_refused_alike_however_they_are_cut(tokens: list[bytes], step: int) -> None:
    wire = b"".join(tokens)
    seen, transport = feed([wire])
    cut_seen, cut_transport = feed([wire[i : i + step] for i in range(0, len(wire), step)])
    assert cut_seen == seen
    # The wording of a refusal may depend on the cut, and whether "100 Continue" is said does.
    assert statuses(cut_transport) == statuses(transport)


def statuses(transport: FakeTransport) -> list[bytes]:
    found = re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", bytes(transport.sent))
    return [status for status in found if status != b"100"]


@pytest.mark.parametrize("tls", [False, True])
async def test_large_bodies_both_ways(start: Start, tls: bool) -> None:
    pieces = [bytes([i]) * 70_000 for i in range(20)]

    def handler(request: Request) -> Response:
        assert request.body == b"".join(pieces)
        return Response(200, pieces)

    site = await start(handler, tls=tls)
    client = await site.connect()
    for _ in range(2):
        client.send(post(b"".join(pieces)))
        assert await client.answer() == (200, b"".join(pieces))


async def test_gzip_bodies(start: Start) -> None:
    site = await start(echo, max_body_bytes=1000)
    client = await site.connect()
    client.send(post(gzip.compress(b"hello"), b"Content-Encoding: gzip\r\n"))
    assert json.loads((await client.answer())[1])["body"] == "hello"
    client.send(post(gzip.compress(bytes(5000)), b"Content-Encoding: gzip\r\n"))
    assert (await client.answer())[0] == 413


async def test_an_oversized_body_is_refused_unread(start: Start) -> None:
    site = await start(echo)
    for data in (
        get(headers=b"Content-Length: 4000000\r\n", method=b"POST"),
        get(headers=b"Content-Length: 4000000\r\nExpect: 100-continue\r\n", method=b"POST"),
        get(headers=b"Transfer-Encoding: chunked\r\n", method=b"POST") + b"3d0900\r\n",
        post(bytes(4_000_000)),
    ):
        client = await site.connect()
        client.send(data)
        status, body = await client.answer()
        assert status == 413
        assert json.loads(body) == {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": "Request entity too large: limit is 3145728",
            "reason": "RequestEntityTooLarge",
            "code": 413,
        }
        client.close()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (
            get(headers=b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", method=b"POST")
            + b"0\r\n\r\n",
            400,
        ),
        (
            get(headers=b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", method=b"POST")
            + b"0\r\n\r\n",
            400,
        ),
        (get(headers=b"Content-Length: 4\r\nContent-Length: 5\r\n", method=b"POST") + b"abcde", 400),
        (get(headers=b"Transfer-Encoding: gzip, chunked\r\n", method=b"POST") + b"0\r\n\r\n", 501),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n\r\n\r\n", 400),
        (b"\r\n\r\n\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # a TLS hello on a plain port
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /" + b"a" * 1_060_000, 431),
        (get(headers=b"X: " + b"y" * 1_060_000 + b"\r\n"), 431),
        (get(headers=b"X: y\r\n" * 5000), 431),
        (get(headers=b"Transfer-Encoding: chunked\r\n", method=b"POST") + b"zz\r\n", 400),
        (post(b"x", b"Content-Encoding: gzip\r\n"), 400),
    ],
)
async def test_broken_protocol_is_refused_and_nothing_behind_it_is_served(
    start: Start, data: bytes, code: int
) -> None:
    served: list[str] = []

    def handler(request: Request) -> Response:
        served.append(request.path)
        return echo(request)

    site = await start(handler)
    client = await site.connect()
    client.send(get("/before") + data + get("/smuggled"))
    assert (await client.answer())[0] == 200
    status, headers = await client.head()
    assert status == code
    assert headers["connection"] == "close"
    body = await client.reader.readexactly(int(headers["content-length"]))
    assert json.loads(body)["code"] == code
    assert json.loads(body)["kind"] == "Status"
    client.send(get("/after"))
    client.writer.write_eof()
    assert await client.ended() == b""
    assert served == ["/before"]


def halves(size: int) -> tuple[bytes, bytes]:
    """A request whose headers have so many bytes, in two."""
    whole = get("/large", headers=b"X: " + b"y" * size + b"\r\n")
    return whole[: size // 2], whole[size // 2 :]


async def test_heads_may_be_as_large_as_for_go(start: Start) -> None:
    site = await start(echo)
    client = await site.connect()
    client.send(b"".join(halves(1_000_000)) + get("/small"))
    assert [(await client.answer())[0] for _ in range(2)] == [200, 200]
    assert not site.server.large_heads


def test_large_heads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "MAX_LARGE_HEADS", 1)
    monkeypatch.setattr(http1, "MAX_LARGE_HEAD_PIECES", 8)
    server = Server(echo)
    links = []
    for _ in range(5):
        link, transport = connection_module.Connection(server), FakeTransport()
        link.connection_made(transport)
        links.append((link, transport))
    (first, to_first), (second, to_second), (third, to_third), (fourth, _), (fifth, to_fifth) = links
    begun, rest = halves(1_000_000)
    # There is no room for a second one until the first is done.
    first.data_received(begun)
    second.data_received(begun)
    assert statuses(to_second) == [b"503"]
    first.data_received(rest)
    assert statuses(to_first) == [b"200"]
    # A piece costs a copy of what is there, so there may not be too many.
    third.data_received(begun)
    for _ in range(7):
        third.data_received(b"y")
    assert statuses(to_third) == []
    third.data_received(b"y")
    assert statuses(to_third) == [b"408"]
    # Who goes away leaves room.
    fourth.data_received(begun)
    fourth.connection_lost(None)
    for half in (begun, rest):
        fifth.data_received(half)
    assert statuses(to_fifth) == [b"200"]
    assert not server.large_heads


async def test_expect_continue(start: Start) -> None:
    site = await start(echo)
    client = await site.connect()
    client.send(get(headers=b"Content-Length: 5\r\nExpect: 100-continue\r\n", method=b"PUT"))
    assert (await client.head())[0] == 100
    client.send(b"hello")
    assert json.loads((await client.answer())[1])["body"] == "hello"
    client.send(get(headers=b"Content-Length: 5\r\nExpect: 100-continue\r\n", method=b"PUT") + b"hello")
    assert (await client.answer())[0] == 200  # the body was there already


async def test_head_and_empty_answers(start: Start) -> None:
    started: list[Stream] = []

    def handler(request: Request) -> Response | StreamResponse:
        if request.path == "/stream":
            return StreamResponse(200, b"text/plain", started.append)
        if request.path == "/empty":
            return Response(204, b"")
        return Response(200, b"12345", headers=((b"Warning", b'299 - "a\nb"'),))

    site = await start(handler)
    client = await site.connect()
    client.send(get("/", method=b"HEAD") + get("/stream", method=b"HEAD") + get("/empty") + get("/"))
    status, headers = await client.head()
    assert (status, headers["content-length"], headers["warning"]) == (200, "5", '299 - "a b"')
    status, headers = await client.head()
    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    status, headers = await client.head()
    assert status == 204
    assert "content-length" not in headers
    assert await client.answer() == (200, b"12345")
    assert started == []


async def test_http_1_0_and_close(start: Start) -> None:
    def handler(request: Request) -> Response | StreamResponse:
        def begin(stream: Stream) -> None:
            stream.write(b"one")
            stream.write(b"two")
            stream.finish()

        return StreamResponse(200, b"text/plain", begin) if request.path == "/stream" else echo(request)

    site = await start(handler)
    client = await site.connect()
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    status, headers = await client.head()
    assert headers["connection"] == "keep-alive"
    await client.reader.readexactly(int(headers["content-length"]))
    client.send(b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    status, headers = await client.head()
    assert status == 200
    assert "transfer-encoding" not in headers
    assert await client.ended() == b"onetwo"
    for data in (b"GET / HTTP/1.0\r\n\r\n", get(headers=b"Connection: Close\r\n")):
        client = await site.connect()
        client.send(data + get("/ignored"))
        assert (await client.answer())[0] == 200
        assert await client.ended() == b""


async def test_exceptions_become_statuses(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    async def later(error: Exception) -> Response:
        await asyncio.sleep(0)
        raise error

    def handler(request: Request) -> Any:
        match request.path:
            case "/status":
                raise errors.too_many_requests("slow down", 3)
            case "/later":
                return later(errors.not_found("", "pods", "x"))
            case "/bug":
                raise ValueError("boom")
            case "/bug-later":
                return later(ValueError("boom"))
            case "/wrong":
                return "a string"
        return echo(request)

    site = await start(handler)
    client = await site.connect()
    client.send(get("/status"))
    status, headers = await client.head()
    assert (status, headers["retry-after"]) == (429, "3")
    await client.reader.readexactly(int(headers["content-length"]))
    client.send(get("/later"))
    status, body = await client.answer()
    assert (status, json.loads(body)["message"]) == (404, 'pods "x" not found')
    with caplog.at_level(logging.ERROR):
        for path in ("/bug", "/bug-later", "/wrong"):
            client.send(get(path))
            status, body = await client.answer()
            assert (status, json.loads(body)["reason"]) == (500, "InternalError")
    assert [record.message for record in caplog.records] == [
        "GET /bug failed",
        "GET /bug-later failed",
        "GET /wrong failed",
    ]
    client.send(get("/"))
    assert (await client.answer())[0] == 200


async def test_a_lost_client_cancels_reads_and_never_writes(start: Start) -> None:
    gate = asyncio.Event()
    begun = asyncio.Semaphore(0)
    ended: asyncio.Queue[str] = asyncio.Queue()

    async def work(request: Request) -> Response:
        begun.release()
        try:
            await gate.wait()
            ended.put_nowait(f"{request.method} done")
        except asyncio.CancelledError:
            ended.put_nowait(f"{request.method} cancelled")
            raise
        return echo(request)

    site = await start(work)
    for data in (get(), post(b"x")):
        client = await site.connect()
        client.send(data)
        await begun.acquire()
        client.close()
        if data == get():
            assert await asyncio.wait_for(ended.get(), WAIT_SECONDS) == "GET cancelled"
    await emptied(site.server)
    assert ended.empty()
    gate.set()
    assert await asyncio.wait_for(ended.get(), WAIT_SECONDS) == "POST done"


@pytest.mark.parametrize("tls", [False, True])
async def test_a_watch_ends_when_its_client_goes(start: Start, tls: bool) -> None:
    closes: asyncio.Queue[int] = asyncio.Queue()
    streams: list[Stream] = []

    def begin(stream: Stream) -> None:
        streams.append(stream)
        stream.on_close = lambda: closes.put_nowait(1)
        stream.write(b"first")
        stream.write(b"")  # never a terminating chunk

    site = await start(lambda request: StreamResponse(200, b"application/json", begin), tls=tls)
    client = await site.connect()
    client.send(get())
    await client.head()
    assert await client.chunk() == b"first"
    streams[0].write(b"second")
    assert await client.chunk() == b"second"
    streams[0].write(b"x" * 100_000)
    assert await client.chunk() == b"x" * 100_000
    client.close()
    await asyncio.wait_for(closes.get(), WAIT_SECONDS)
    stream = streams[0]
    assert stream.closed
    assert stream.buffered_bytes == 0
    stream.write(b"late")
    stream.write(b"late")
    stream.finish()
    stream.abort()
    with pytest.raises(StreamClosed):
        await stream.drain()
    assert closes.empty()


async def test_finish_keeps_and_abort_drops_the_connection(start: Start) -> None:
    closes: list[str] = []
    streams: list[Stream] = []

    def handler(request: Request) -> Response | StreamResponse:
        def begin(stream: Stream) -> None:
            streams.append(stream)
            stream.on_close = lambda: closes.append(request.path)
            stream.write(b"a")

        return StreamResponse(200, b"text/plain", begin) if request.path != "/" else echo(request)

    site = await start(handler)
    client = await site.connect()
    client.send(get("/one") + get("/"))
    await client.head()
    assert await client.chunk() == b"a"
    streams[0].finish()
    assert await client.chunk() == b""
    assert closes == ["/one"]
    assert (await client.answer())[0] == 200  # what was pipelined behind the stream
    client.send(get("/two"))
    await client.head()
    assert await client.chunk() == b"a"
    streams[1].abort()
    assert closes == ["/one", "/two"]
    assert await client.ended() == b""


@pytest.mark.parametrize("tls", [False, True])
async def test_a_slow_reader_pauses_the_producer(start: Start, tls: bool) -> None:
    piece = b"x" * 65_536
    count = 400
    filled = asyncio.Event()
    most_bytes = 0

    async def produce(stream: Stream) -> None:
        nonlocal most_bytes
        for _ in range(count):
            stream.write(piece)
            most_bytes = max(most_bytes, stream.buffered_bytes)
            if stream.paused:
                filled.set()
                await stream.drain()
                assert not stream.paused
        stream.finish()

    site = await start(lambda request: StreamResponse(200, b"text/plain", produce), tls=tls)
    client = await site.connect()
    client.send(get())
    await asyncio.wait_for(filled.wait(), WAIT_SECONDS)
    _, body = await client.answer()
    assert len(body) == count * len(piece)
    assert most_bytes < 1_000_000


async def test_a_lost_client_wakes_the_producer(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    stuck = asyncio.Event()
    ended: asyncio.Queue[str] = asyncio.Queue()

    async def produce(stream: Stream) -> None:
        stream.on_close = lambda: ended.put_nowait("closed")
        try:
            while True:
                stream.write(b"x" * 65_536)
                if stream.paused:
                    stuck.set()
                await stream.drain()
        except (StreamClosed, asyncio.CancelledError) as error:
            ended.put_nowait(type(error).__name__)
            raise

    site = await start(lambda request: StreamResponse(200, b"text/plain", produce))
    client = await site.connect()
    client.send(get())
    await asyncio.wait_for(stuck.wait(), WAIT_SECONDS)
    client.writer.transport.abort()
    assert await asyncio.wait_for(ended.get(), WAIT_SECONDS) == "closed"
    assert await asyncio.wait_for(ended.get(), WAIT_SECONDS) in ("StreamClosed", "CancelledError")
    assert not caplog.records


async def test_a_producer_whose_client_is_gone_is_never_started() -> None:
    ran: list[Stream] = []

    async def produce(stream: Stream) -> None:
        ran.append(stream)

    server = Server(lambda request: StreamResponse(200, b"text/plain", produce))
    await server.start("127.0.0.1", 0, None)
    link = connection_module.Connection(server)
    link.connection_made(FakeTransport())
    link.data_received(get())
    assert len(server._tasks) == 1
    link.connection_lost(None)
    await server.stop(5)
    assert ran == []


async def test_a_failing_producer_drops_the_connection(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async def produce(stream: Stream) -> None:
        stream.write(b"a")
        await asyncio.sleep(0)
        raise ValueError("boom")

    def begin(stream: Stream) -> None:
        raise ValueError("boom")

    site = await start(
        lambda request: StreamResponse(200, b"text/plain", produce if request.path == "/later" else begin)
    )
    for path in ("/now", "/later"):
        client = await site.connect()
        client.send(get(path))
        assert not (await client.ended()).endswith(b"0\r\n\r\n")
    assert len(caplog.records) == 2


async def test_a_reader_that_never_reads_is_not_served_on_and_cut_off(start: Start) -> None:
    served = 0
    begun = asyncio.Event()

    def handler(request: Request) -> Response:
        nonlocal served
        served += 1
        begun.set()
        return Response(200, b"x" * 1_000_000)

    site = await start(handler, timeouts=Timeouts(stall_seconds=0.2), sweep_interval_seconds=0.002)
    client = await site.connect()
    client.send(get() * 100)
    await asyncio.wait_for(begun.wait(), WAIT_SECONDS)
    await emptied(site.server)
    assert served < 50


@pytest.mark.parametrize("tls", [False, True])
async def test_what_a_client_does_not_read_is_not_given_to_its_transport(start: Start, tls: bool) -> None:
    """TLS would encrypt all of it, and keep a buffer of that size for good."""
    body = bytes(range(256)) * 64 * 1024
    given = 0

    def handler(request: Request) -> Response | StreamResponse:
        nonlocal given
        if request.path == "/whole":
            return Response(200, [body[:1000], b"", body[1000:]])

        async def produce(stream: Stream) -> None:
            nonlocal given
            stream.write(body)
            stream.write(b"after")
            assert stream.paused and stream.buffered_bytes > len(body) / 2
            given = stream._sink.transport.get_write_buffer_size()
            stream.finish()

        return StreamResponse(200, b"text/plain", produce)

    site = await start(handler, tls=tls)
    client = await site.connect()
    client.send(get("/stream") + get("/whole"))
    while not given:
        await asyncio.sleep(0)
    assert given < 4 * connection_module.SLICE_BYTES
    assert await client.answer() == (200, body + b"after")
    assert await client.answer() == (200, body)


@pytest.mark.parametrize("tls", [False, True])
async def test_a_reader_that_stops_amid_a_stream_is_cut_off(start: Start, tls: bool) -> None:
    ended = asyncio.Event()
    pieces = 0

    def handler(request: Request) -> StreamResponse:
        async def produce(stream: Stream) -> None:
            nonlocal pieces
            stream.on_close = ended.set
            while True:
                stream.write(b"x" * 200_000)
                pieces += 1
                await stream.drain()

        return StreamResponse(200, b"text/plain", produce)

    quick = Timeouts(stall_seconds=0.2)
    site = await start(handler, tls=tls, timeouts=quick, sweep_interval_seconds=0.002)
    client = await site.connect()
    client.send(get())
    assert len(await client.reader.readexactly(1000)) == 1000
    await asyncio.wait_for(ended.wait(), WAIT_SECONDS)
    await emptied(site.server)
    assert pieces < 200, "it is not written on to"


@pytest.mark.parametrize(
    ("limit", "data", "expected"),
    [
        ("idle", b"", b""),
        ("head", b"GET / HT", b""),
        ("body", get(headers=b"Content-Length: 10\r\n", method=b"POST") + b"12345", b"HTTP/1.1 408 "),
        ("linger", b"\x00", b"HTTP/1.1 400 "),
    ],
)
async def test_slow_clients_are_closed(start: Start, limit: str, data: bytes, expected: bytes) -> None:
    quick = Timeouts(**{f"{limit}_seconds": 0.05})
    site = await start(echo, timeouts=quick, sweep_interval_seconds=0.002)
    client = await site.connect()
    client.send(data)
    got = await client.ended()
    assert got.startswith(expected)
    assert bool(got) == bool(expected)


async def test_long_work_is_not_a_timeout(start: Start) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def work(request: Request) -> Response:
        begun.set()
        await gate.wait()
        return echo(request)

    site = await start(work, sweep_interval_seconds=0.001)
    client = await site.connect()
    client.send(get())
    await asyncio.wait_for(begun.wait(), WAIT_SECONDS)
    site.server.timeouts = Timeouts(idle_seconds=0.02, head_seconds=0.02, body_seconds=0.02)
    asyncio.get_running_loop().call_later(0.2, gate.set)
    assert (await client.answer())[0] == 200


async def test_a_port_in_use(start: Start) -> None:
    site = await start(echo)
    with pytest.raises(PortInUse, match=rf"127\.0\.0\.1:{site.server.port}: the port is in use"):
        await Server(echo).start("127.0.0.1", site.server.port, None)
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:0"):
        await Server(echo).start("192.0.2.1", 0, None)


async def test_too_many_connections(start: Start) -> None:
    site = await start(echo, max_connections=1)
    client = await site.connect()
    client.send(get())
    assert (await client.answer())[0] == 200
    other = await site.connect()
    assert await other.ended() == b""
    assert site.server.connection_count == 1


@pytest.mark.parametrize("tls", [False, True])
async def test_stop_ends_streams_and_lets_requests_finish(start: Start, tls: bool) -> None:
    gate = asyncio.Event()
    begun = asyncio.Semaphore(0)
    closes: list[int] = []

    async def work(request: Request) -> Response:
        begun.release()
        await gate.wait()
        return echo(request)

    async def produce(stream: Stream) -> None:
        begun.release()
        await gate.wait()
        stream.write(b"whole")
        stream.finish()

    def watch(stream: Stream) -> None:
        stream.on_close = lambda: closes.append(1)
        begun.release()

    def handler(request: Request) -> Any:
        if request.path == "/work":
            return work(request)
        return StreamResponse(200, b"text/plain", produce if request.path == "/list" else watch)

    site = await start(handler, tls=tls)
    idle, working, listing, watching = [await site.connect() for _ in range(4)]
    working.send(get("/work"))
    listing.send(get("/list"))
    watching.send(get("/watch"))
    for _ in range(3):
        await begun.acquire()
    stopping = asyncio.create_task(site.server.stop(WAIT_SECONDS))
    assert await watching.answer() == (200, b"")
    assert await watching.ended() == b""
    assert closes == [1]
    assert await idle.ended() == b""
    with pytest.raises(OSError):  # noqa: PT011
        await Client.connect(site.server)
    assert not stopping.done()
    gate.set()
    status, headers = await working.head()
    assert (status, headers["connection"]) == (200, "close")
    assert await listing.answer() == (200, b"whole")
    for client in site.clients:
        client.close()
    await asyncio.wait_for(stopping, WAIT_SECONDS)
    assert site.server.connection_count == 0


async def test_stop_cuts_off_after_the_grace(start: Start) -> None:
    begun = asyncio.Semaphore(0)
    ended: list[str] = []

    async def work(request: Request) -> Response:
        begun.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(request.method)
            raise
        raise AssertionError

    site = await start(work)
    for data in (get(), post(b"x")):
        client = await site.connect()
        client.send(data)
        await begun.acquire()
    await asyncio.wait_for(site.server.stop(0.05), WAIT_SECONDS)
    assert sorted(ended) == ["GET", "POST"]
    assert site.server.connection_count == 0


async def test_what_a_connection_tells(start: Start, pki: Pki) -> None:
    told: list[Any] = []

    def handler(request: Request) -> Response:
        link = request.connection
        told.append(
            (link.peer_certificate(), link.peer_certificate_der(), link.remote_address, link.user_cache)
        )
        link.user_cache = "me"
        return echo(request)

    site = await start(handler, tls=True)
    client = await site.connect()
    for _ in range(2):
        client.send(get())
        await client.answer()
    address, port = client.writer.get_extra_info("sockname")[:2]
    assert told == [(None, None, f"{address}:{port}", None), (None, None, f"{address}:{port}", "me")]
    assert site.tls is not None
    site.tls.load_cert_chain(pki.directory / "admin.crt", pki.directory / "admin.key")
    client = await site.connect()
    client.send(get())
    await client.answer()
    assert ((("commonName", "kubernetes-admin"),)) in told[2][0]["subject"]
    assert told[2][1] is not None


def test_objects_describe_themselves() -> None:
    server = Server(echo)
    link = connection_module.Connection(server)
    assert repr(link) == "<Connection head>"
    assert repr(Request("GET", "/a", "b", {}, b"xy", link)) == "<Request GET /a?b 2 bytes>"
    assert repr(Response(200, b"")) == "<Response 200>"
