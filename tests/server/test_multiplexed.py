"""HTTP/2 over real sockets, with a client of other people's: order, windows, bodies, refusals, ends."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import hyperframe.frame
import pytest

from lakh.machinery import errors, http2
from lakh.machinery.http2 import Error, frame
from lakh.server.certs import Pki
from lakh.server.multiplexed import MAX_STREAMS
from lakh.server.transport import Handler, Request, Response, Server, Stream, StreamResponse, Timeouts

WAIT_SECONDS = 120.0
Answer = tuple[int, bytes]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.ensure(tmp_path_factory.mktemp("data"))


class Client:
    """`h2` on a socket. It takes whatever comes, on the streams that are not in `unread`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        # What is malformed is for the server to refuse.
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)
        # It would take nothing more, although the server still answers what it was asked.
        self.h2._frame_dispatch_table[hyperframe.frame.GoAwayFrame] = self.told_to_go
        self.statuses: dict[int, list[int]] = defaultdict(list)
        self.headers: dict[int, dict[bytes, bytes]] = {}
        self.bodies: dict[int, bytearray] = defaultdict(bytearray)
        self.order: list[int] = []
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.goaway: tuple[int, int] | None = None
        self.pings = 0
        self.unread: set[int] = set()
        self.over = False

    def flush(self, more: bytes = b"") -> None:
        self.writer.write(self.h2.data_to_send() + more)

    def ask(
        self,
        path: str = "/",
        method: str = "GET",
        *,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        ended: bool = True,
        fields: list[tuple[bytes, bytes]] | None = None,
    ) -> int:
        stream_id: int = self.h2.get_next_available_stream_id()
        if fields is None:
            fields = [
                (b":method", method.encode()),
                (b":scheme", b"https"),
                (b":authority", b"x"),
                (b":path", path.encode()),
                *headers,
            ]
        self.h2.send_headers(stream_id, fields, end_stream=ended)
        self.flush()
        return stream_id

    async def send(self, stream_id: int, body: bytes, *, ended: bool = True) -> None:
        while True:
            size = min(
                self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size, len(body)
            )
            if size or not body:
                self.h2.send_data(stream_id, body[:size], end_stream=ended and size == len(body))
                self.flush()
                body = body[size:]
            if not body or stream_id in self.resets or stream_id in self.ended:
                return
            if not size:
                await self.read()

    async def read(self) -> None:
        """The next bytes, whatever they say."""
        async with asyncio.timeout(WAIT_SECONDS):
            data = await self.reader.read(1 << 16)
        if not data:
            self.over = True
            return
        for event in self.h2.receive_data(data):
            self.see(event)
        self.flush()

    def see(self, event: Any) -> None:
        if isinstance(event, h2.events.ResponseReceived | h2.events.InformationalResponseReceived):
            headers = {bytes(name): bytes(value) for name, value in event.headers}
            self.statuses[event.stream_id].append(int(headers[b":status"]))
            self.headers[event.stream_id] = headers
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id] += event.data
            if event.stream_id in self.unread:
                # The connection's window goes on, the stream's does not.
                self.h2.increment_flow_control_window(max(1, event.flow_controlled_length))
            else:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(event.stream_id)
            self.order.append(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.resets[event.stream_id] = int(event.error_code)
        elif isinstance(event, h2.events.PingAckReceived):
            self.pings += 1

    def told_to_go(self, goaway: hyperframe.frame.GoAwayFrame) -> tuple[list[Any], list[Any]]:
        self.goaway = goaway.last_stream_id, goaway.error_code
        return [], []

    async def until(self, done: Callable[[], object]) -> None:
        while not done():
            assert not self.over, "the server closed the connection"
            await self.read()

    async def answer(self, stream_id: int) -> Answer:
        await self.until(lambda: stream_id in self.ended or stream_id in self.resets)
        assert stream_id in self.ended, Error(self.resets[stream_id])
        return self.statuses[stream_id][-1], bytes(self.bodies[stream_id])

    async def reset(self, stream_id: int) -> Error:
        await self.until(lambda: stream_id in self.ended or stream_id in self.resets)
        return Error(self.resets[stream_id])

    async def settled(self) -> None:
        """All that was sent has been looked at."""
        seen = self.pings
        self.h2.ping(b"settled?")
        self.flush()
        await self.until(lambda: self.pings > seen)

    async def ended_by_server(self) -> None:
        while not self.over:
            await self.read()


class Site:
    """A running server and its clients."""

    def __init__(self, server: Server, tls: ssl.SSLContext) -> None:
        self.server = server
        self.tls = tls
        self.clients: list[Client] = []

    async def connect(self, settings: dict[int, int] | None = None) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.server.port, ssl=self.tls))
        self.clients.append(client)
        client.h2.initiate_connection()
        client.flush()
        await client.settled()
        if settings:
            client.h2.update_settings(settings)
            client.flush()
            await client.settled()
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

    async def begin(handler: Handler, **options: Any) -> Site:
        server = Server(handler, **options)
        await server.start("127.0.0.1", 0, pki.server_context())
        tls = ssl.create_default_context(cafile=str(pki.ca_file))
        tls.set_alpn_protocols(["h2"])
        site = Site(server, tls)
        sites.append(site)
        return site

    yield begin
    for site in sites:
        for client in site.clients:
            client.writer.close()
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


def sized(request: Request) -> Response:
    """So many bytes as the query says, not all the same."""
    size = int(request.query)
    return Response(200, (b"0123456789" * (size // 10 + 1))[:size])


@pytest.mark.parametrize("handler", [echo, echo_later])
async def test_requests_and_their_answers(start: Start, handler: Handler) -> None:
    client = await (await start(handler)).connect()
    for n in range(5):
        status, body = await client.answer(client.ask(f"/a%20b?n={n}"))
        assert status == 200
        assert json.loads(body) == {"method": "GET", "path": "/a%20b", "query": f"n={n}", "body": ""}
    for body in (b"", b"x", b"x" * 1_000_000):
        stream_id = client.ask("/", "PUT", ended=False, headers=((b"content-type", b"a/b"),))
        await client.send(stream_id, body)
        status, answer = await client.answer(stream_id)
        assert (status, json.loads(answer)["body"]) == (200, body.decode())
        assert int(client.headers[stream_id][b"content-length"]) == len(answer)


async def test_the_head_of_an_answer_alone(start: Start) -> None:
    client = await (await start(echo)).connect()
    stream_id = client.ask(method="HEAD")
    assert await client.answer(stream_id) == (200, b"")
    assert int(client.headers[stream_id][b"content-length"]) > 0


async def test_headers_of_answers_stay_right(start: Start) -> None:
    def handler(request: Request) -> Response:
        name = request.query
        return Response(
            200 if name != "3" else 404,
            b"x",
            headers=((b"X-Name", b"n" + name.encode()), (b"Warning", b"299")),
        )

    client = await (await start(handler)).connect()
    for n in (1, 1, 2, 3, 3, 1, 2, *range(100), 1, 2, 3):
        stream_id = client.ask(f"/?{n}")
        await client.answer(stream_id)
        assert client.headers[stream_id][b"x-name"] == b"n%d" % n


async def test_answers_come_as_they_are_ready(start: Start) -> None:
    gates = [asyncio.Event() for _ in range(3)]

    async def handler(request: Request) -> Response:
        await gates[int(request.query)].wait()
        return echo(request)

    client = await (await start(handler)).connect()
    ids = [client.ask(f"/?{n}") for n in range(3)]
    for n in (2, 0, 1):
        gates[n].set()
        await client.answer(ids[n])
    assert client.order == [ids[2], ids[0], ids[1]]


@pytest.mark.parametrize("size", [0, 1, 16_384, 65_535, 65_536, 1_000_000])
@pytest.mark.parametrize("window", [1000, 65_535, 1 << 20])
async def test_answers_through_windows(start: Start, size: int, window: int) -> None:
    client = await (await start(sized)).connect({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
    if window < 65_535:
        size //= 10
    ids = [client.ask(f"/?{size}") for _ in range(3)]
    for stream_id in ids:
        status, body = await client.answer(stream_id)
        assert status == 200
        assert body == (b"0123456789" * (size // 10 + 1))[:size]


async def test_a_stream_that_is_not_read_holds_up_no_other(start: Start) -> None:
    client = await (await start(sized)).connect()
    slow = client.ask("/?1000000")
    client.unread.add(slow)
    for _ in range(20):
        assert len((await client.answer(client.ask("/?50000")))[1]) == 50_000
    assert slow not in client.ended
    assert len(client.bodies[slow]) == 65_535
    client.unread.clear()
    client.h2.increment_flow_control_window(1_000_000, slow)
    client.h2.increment_flow_control_window(1_000_000)
    client.flush()
    assert len((await client.answer(slow))[1]) == 1_000_000


async def test_a_watch_among_requests(start: Start) -> None:
    streams: list[Stream] = []

    def handler(request: Request) -> Response | StreamResponse:
        if request.query != "watch":
            return echo(request)
        return StreamResponse(200, b"application/json", streams.append)

    client = await (await start(handler)).connect()
    watch = client.ask("/?watch")
    await client.settled()
    (stream,) = streams
    for n in range(10):
        stream.write(b"event %d\n" % n)
        await client.answer(client.ask())
    stream.finish()
    status, body = await client.answer(watch)
    assert (status, body) == (200, b"".join(b"event %d\n" % n for n in range(10)))


async def test_a_watch_that_is_not_read_is_paused(start: Start) -> None:
    streams: list[Stream] = []
    client = await (await start(lambda request: StreamResponse(200, b"a/b", streams.append))).connect()
    watch = client.ask()
    client.unread.add(watch)
    await client.settled()
    (stream,) = streams
    written = 0
    while not stream.paused:
        stream.write(b"x" * 1000)
        written += 1000
        await client.settled()
    assert 65_535 < written < 300_000
    drained = asyncio.ensure_future(stream.drain())
    client.unread.clear()
    client.h2.increment_flow_control_window(1 << 20, watch)
    client.flush()
    await client.until(lambda: len(client.bodies[watch]) == written)
    await drained
    assert not stream.paused
    stream.finish()
    await client.answer(watch)


async def test_a_watch_that_is_given_up_is_closed(start: Start) -> None:
    streams: list[Stream] = []
    closed: list[int] = []

    def begin(stream: Stream) -> None:
        streams.append(stream)
        stream.on_close = lambda: closed.append(1)

    client = await (await start(lambda request: StreamResponse(200, b"a/b", begin))).connect()
    watch = client.ask()
    await client.settled()
    client.h2.reset_stream(watch, 8)
    await client.settled()
    assert closed == [1]
    assert streams[0].closed
    streams[0].write(b"nobody hears")
    streams[0].finish()
    await client.settled()


# Bodies


async def test_a_body_that_is_too_large(start: Start) -> None:
    client = await (await start(echo, max_body_bytes=1000)).connect()
    declared = client.ask("/", "PUT", ended=False, headers=((b"content-length", b"1001"),))
    assert (await client.answer(declared))[0] == 413
    stream_id = client.ask("/", "PUT", ended=False)
    await client.send(stream_id, b"x" * 1001)
    assert (await client.answer(stream_id))[0] == 413
    stream_id = client.ask("/", "PUT", ended=False)
    await client.send(stream_id, b"x" * 1000)
    assert (await client.answer(stream_id))[0] == 200


@pytest.mark.parametrize("said", [0, 4, 6])
async def test_a_length_that_is_not_the_bodys(start: Start, said: int) -> None:
    client = await (await start(echo)).connect()
    stream_id = client.ask("/", "PUT", ended=False, headers=((b"content-length", b"%d" % said),))
    await client.send(stream_id, b"hello")
    assert await client.reset(stream_id) == Error.PROTOCOL_ERROR
    assert (await client.answer(client.ask()))[0] == 200


async def test_a_length_without_a_body(start: Start) -> None:
    client = await (await start(echo)).connect()
    stream_id = client.ask("/", "PUT", headers=((b"content-length", b"5"),))
    assert await client.reset(stream_id) == Error.PROTOCOL_ERROR
    assert (await client.answer(client.ask("/", "PUT", headers=((b"content-length", b"0"),))))[0] == 200


async def test_a_body_that_is_compressed(start: Start) -> None:
    client = await (await start(echo)).connect()
    stream_id = client.ask("/", "PUT", ended=False, headers=((b"content-encoding", b"gzip"),))
    await client.send(stream_id, gzip.compress(b"hello"))
    assert json.loads((await client.answer(stream_id))[1])["body"] == "hello"
    stream_id = client.ask("/", "PUT", ended=False, headers=((b"content-encoding", b"gzip"),))
    await client.send(stream_id, b"hello")
    assert (await client.answer(stream_id))[0] == 400


async def test_trailers_are_passed_over(start: Start) -> None:
    client = await (await start(echo)).connect()
    stream_id = client.ask("/", "PUT", ended=False)
    await client.send(stream_id, b"hello", ended=False)
    client.h2.send_headers(stream_id, [(b"x-sum", b"1")], end_stream=True)
    client.flush()
    assert json.loads((await client.answer(stream_id))[1])["body"] == "hello"


async def test_a_body_is_asked_for(start: Start) -> None:
    client = await (await start(echo)).connect()
    stream_id = client.ask("/", "PUT", ended=False, headers=((b"expect", b"100-continue"),))
    await client.until(lambda: client.statuses[stream_id] == [100])
    await client.send(stream_id, b"hello")
    assert (await client.answer(stream_id))[0] == 200


# What is no request

GOOD = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"x"), (b":path", b"/")]


@pytest.mark.parametrize(
    "fields",
    [
        GOOD[1:],
        GOOD[:3],
        [GOOD[0], *GOOD[2:]],
        [*GOOD, (b":path", b"/")],
        [*GOOD, (b"a", b"b"), (b":path", b"/")],
        [*GOOD, (b":unknown", b"")],
        [*GOOD, (b":status", b"200")],
        [*GOOD, (b"Upper", b"x")],
        [*GOOD, (b"connection", b"close")],
        [*GOOD, (b"transfer-encoding", b"chunked")],
        [*GOOD, (b"te", b"gzip")],
        [*GOOD, (b"bad name", b"x")],
        [*GOOD, (b"", b"x")],
        [*GOOD, (b"a", b"b\r\nc: d")],
        [*GOOD, (b"a", b"b\0")],
        [*GOOD[:3], (b":path", b"")],
        [*GOOD[:3], (b":path", b"no-slash")],
        [*GOOD[:3], (b":path", b"/a b")],
        [*GOOD[:3], (b":path", b"/\r\nX: y")],
        [(b":method", b"G T"), *GOOD[1:]],
        [*GOOD, (b"content-length", b"1"), (b"content-length", b"2")],
        [*GOOD, (b"content-length", b"-1")],
        [*GOOD, (b"content-length", b"x")],
    ],
    ids=str,
)
async def test_what_is_no_request(start: Start, fields: list[tuple[bytes, bytes]]) -> None:
    """It is refused, as Go's server does: by a reset, or with 400. The connection goes on."""
    asked: list[Request] = []

    def handler(request: Request) -> Response:
        asked.append(request)
        return echo(request)

    client = await (await start(handler)).connect()
    stream_id = client.ask(fields=fields)
    await client.until(lambda: stream_id in client.ended or stream_id in client.resets)
    if stream_id in client.resets:
        assert client.resets[stream_id] == Error.PROTOCOL_ERROR
    else:
        assert client.statuses[stream_id] == [400]
    assert not asked
    assert (await client.answer(client.ask()))[0] == 200


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (frame(http2.PING, 0, 0, b"short"), Error.FRAME_SIZE_ERROR),
        (frame(http2.HEADERS, 4, 2, b"\x82"), Error.PROTOCOL_ERROR),
        (frame(http2.HEADERS, 4, 1, b"\x40"), Error.COMPRESSION_ERROR),
        (frame(http2.DATA, 0, 0, b"x"), Error.PROTOCOL_ERROR),
    ],
)
async def test_who_breaks_the_protocol_is_told_so(start: Start, raw: bytes, code: Error) -> None:
    site = await start(echo)
    client = await site.connect()
    client.flush(raw)
    await client.ended_by_server()
    assert client.goaway == (0, code)
    assert (await (other := await site.connect()).answer(other.ask()))[0] == 200


# Limits and ends


async def test_more_requests_than_a_client_may_have(start: Start) -> None:
    gate = asyncio.Event()

    async def handler(request: Request) -> Response:
        await gate.wait()
        return echo(request)

    client = await (await start(handler)).connect()
    assert client.h2.remote_settings.max_concurrent_streams == MAX_STREAMS
    client.h2.remote_settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] = 10_000
    client.h2.remote_settings.acknowledge()
    ids = [client.ask() for _ in range(MAX_STREAMS + 5)]
    for stream_id in ids[MAX_STREAMS:]:
        assert await client.reset(stream_id) == Error.REFUSED_STREAM
    gate.set()
    for stream_id in ids[:MAX_STREAMS]:
        assert (await client.answer(stream_id))[0] == 200
    assert (await client.answer(client.ask()))[0] == 200


async def test_a_read_that_is_given_up_is_cancelled_and_a_write_finishes(start: Start) -> None:
    begun = asyncio.Semaphore(0)
    gate = asyncio.Event()
    ends: list[str] = []

    async def handler(request: Request) -> Response:
        begun.release()
        try:
            await gate.wait()
            ends.append(f"{request.method} done")
        except asyncio.CancelledError:
            ends.append(f"{request.method} cancelled")
            raise
        return echo(request)

    site = await start(handler)
    client = await site.connect()
    for method in ("GET", "PUT"):
        stream_id = client.ask(method=method)
        await begun.acquire()
        client.h2.reset_stream(stream_id, 8)
        await client.settled()
        await client.settled()
    assert ends == ["GET cancelled"]
    gate.set()
    assert (await client.answer(client.ask()))[0] == 200
    assert ends == ["GET cancelled", "PUT done", "GET done"]
    assert not client.goaway


async def test_what_is_given_up_and_still_runs_keeps_its_place(start: Start) -> None:
    gate = asyncio.Event()
    running = 0

    async def handler(request: Request) -> Response:
        nonlocal running
        running += 1
        await gate.wait()
        return echo(request)

    client = await (await start(handler)).connect()
    for _ in range(3 * MAX_STREAMS):
        client.h2.reset_stream(client.ask(method="PUT"), 8)
    await client.settled()
    assert await client.reset(client.ask()) == Error.REFUSED_STREAM
    assert running == MAX_STREAMS
    gate.set()
    await client.settled()
    await client.settled()
    assert (await client.answer(client.ask()))[0] == 200


async def test_a_client_that_goes_away(start: Start) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def handler(request: Request) -> Response:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return echo(request)

    client = await (await start(handler)).connect()
    client.ask()
    async with asyncio.timeout(WAIT_SECONDS):
        await begun.wait()
        client.writer.close()
        await cancelled.wait()


async def test_a_stop_lets_requests_finish_and_ends_watches(start: Start) -> None:
    gate, begun = asyncio.Event(), asyncio.Event()

    def handler(request: Request) -> Any:
        if request.query == "watch":
            return StreamResponse(200, b"a/b", lambda stream: stream.write(b"event"))

        async def later() -> Response:
            begun.set()
            await gate.wait()
            return echo(request)

        return later()

    site = await start(handler)
    client = await site.connect()
    watch, write = client.ask("/?watch"), client.ask("/", "PUT")
    await begun.wait()
    await client.settled()
    stopped = asyncio.ensure_future(site.server.stop(WAIT_SECONDS))
    assert await client.answer(watch) == (200, b"event")
    await client.until(lambda: client.goaway)
    assert client.goaway == (write, Error.NO_ERROR)
    gate.set()
    assert (await client.answer(write))[0] == 200
    await client.ended_by_server()
    await stopped


async def test_what_fails(start: Start) -> None:
    async def handler(request: Request) -> Response:
        raise errors.StatusError(404, "NotFound", "there is none")

    client = await (await start(handler)).connect()
    status, body = await client.answer(client.ask())
    assert (status, json.loads(body)["reason"]) == (404, "NotFound")


async def test_a_stream_that_fails_is_reset(start: Start) -> None:
    def begin(stream: Stream) -> None:
        stream.write(b"some")
        stream.abort()

    client = await (await start(lambda request: StreamResponse(200, b"a/b", begin))).connect()
    assert await client.reset(client.ask()) == Error.INTERNAL_ERROR


# Slow clients


async def test_an_idle_connection_is_ended(start: Start) -> None:
    site = await start(echo, sweep_interval_seconds=0.002)
    client = await site.connect()
    assert (await client.answer(client.ask()))[0] == 200
    site.server.timeouts = Timeouts(idle_seconds=0.02)
    await client.ended_by_server()
    assert client.goaway == (1, Error.NO_ERROR)


async def test_a_frame_that_does_not_end(start: Start) -> None:
    site = await start(echo, sweep_interval_seconds=0.002)
    client = await site.connect()
    site.server.timeouts = Timeouts(head_seconds=0.02)
    client.flush(frame(http2.HEADERS, 4, 1, b"\x82\x87")[:-1])
    await client.ended_by_server()
    assert client.goaway == (0, Error.NO_ERROR)


async def test_a_body_that_does_not_come(start: Start) -> None:
    site = await start(echo, sweep_interval_seconds=0.002, timeouts=Timeouts(body_seconds=0.05))
    client = await site.connect()
    stream_id = client.ask("/", "PUT", ended=False)
    assert (await client.answer(stream_id))[0] == 408
    assert (await client.answer(client.ask()))[0] == 200


async def test_an_answer_that_is_not_taken(start: Start) -> None:
    site = await start(sized, sweep_interval_seconds=0.002, timeouts=Timeouts(stall_seconds=0.05))
    client = await site.connect()
    slow = client.ask("/?1000000")
    client.unread.add(slow)
    assert await client.reset(slow) == Error.CANCEL
    assert len((await client.answer(client.ask("/?10")))[1]) == 10


async def test_a_socket_that_is_not_read(start: Start) -> None:
    site = await start(sized, sweep_interval_seconds=0.002)
    client = await site.connect({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 30})
    client.h2.increment_flow_control_window(1 << 30)
    site.server.timeouts = Timeouts(stall_seconds=0.2)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(90):
        client.ask("/?1000000")
    await emptied(site.server)


async def test_a_flood_by_who_does_not_read(start: Start) -> None:
    site = await start(echo, sweep_interval_seconds=0.002, timeouts=Timeouts(stall_seconds=0.5))
    client = await site.connect()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    flood = frame(http2.PING, 0, 0, bytes(8)) * 50_000
    async with asyncio.timeout(WAIT_SECONDS):
        while site.server.connection_count:
            client.writer.write(flood)
            with suppress(ConnectionError):
                await client.writer.drain()
            await asyncio.sleep(0)
            if client.writer.transport.is_closing():
                break
    await emptied(site.server)
