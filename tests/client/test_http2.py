from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import hpack
import pytest
import uvloop
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypothesis import given
from hypothesis import strategies as st

from lakh.client import errors, http2
from lakh.client import transport as transport_module
from lakh.client.client import Client
from lakh.client.kubeconfig import Config
from lakh.client.request import Heads
from lakh.client.resources import NODES
from lakh.client.writer import Writer

from .http2server import Asked, Http2Server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Http2Server]:
    async with Http2Server(tmp_path) as running:
        yield running


def later(make: Any) -> asyncio.Task[Any]:
    return asyncio.ensure_future(make)


async def test_many_requests_share_a_connection(server: Http2Server) -> None:
    async with server.client(max_connections=8) as client:
        found = await asyncio.gather(*(client.get(NODES, f"n{number}") for number in range(100)))
        assert [obj["metadata"]["name"] for obj in found] == [f"n{number}" for number in range(100)]
        assert len(server.connections) == 1
        assert len(client._transport._idle) == client._transport._slots_used == 8
        streams = [asked.stream for asked in server.asked]
        assert streams == sorted(streams)
        assert [asked.path[-2:] for asked in server.asked[:3]] == ["n0", "n1", "n2"]
    await server.until(lambda: not server.connections)


async def test_no_more_at_once_than_connections_and_in_order(server: Http2Server) -> None:
    server.handle = server.collect
    async with server.client(max_connections=3) as client:
        requests = [later(client.get(NODES, f"n{number}")) for number in range(7)]
        for answered, under_way in enumerate((3, 4, 5, 6, 7, 7, 7)):
            await server.until(lambda count=under_way: sum(a.complete for a in server.asked) == count)
            for _ in range(5):
                await asyncio.sleep(0)
            assert len(server.asked) == under_way
            server.serve(server.asked[answered])
            await requests[answered]
    assert [asked.path[-2:] for asked in server.asked] == [f"n{number}" for number in range(7)]


async def test_what_is_sent(server: Http2Server) -> None:
    async with server.client() as client:
        for _ in range(3):  # the first blocks put fields into the table, later ones are made of it
            await client.get(NODES, "n")
            await client.create(NODES, {"metadata": {"name": "n"}})
            await client.patch(NODES, "n", {"a": 1})
            await client.delete(NODES, "n")
            await client.raw("POST", "/x", b"12", {"Content-Type": "a/b", "Accept": "c/d", "X-Own": "1"})
            await client.raw("POST", "/x")
    host = server.config.server.partition("://")[2]
    common = {":authority": host, ":scheme": "https", "user-agent": "test/1"}
    json = {**common, "accept": "application/json"}
    sent = [{**asked.headers, "body": bytes(asked.body)} for asked in server.asked]
    assert sent[:6] == sent[6:12] == sent[12:]
    node = "/api/v1/nodes/n"
    assert sent[:6] == [
        {":method": "GET", ":path": node, **json, "body": b""},
        {
            ":method": "POST",
            ":path": "/api/v1/nodes",
            **json,
            "content-type": "application/json",
            "content-length": "25",
            "body": b'{"metadata":{"name":"n"}}',
        },
        {
            ":method": "PATCH",
            ":path": node,
            **json,
            "content-type": "application/merge-patch+json",
            "content-length": "7",
            "body": b'{"a":1}',
        },
        {":method": "DELETE", ":path": node, **json, "content-length": "0", "body": b""},
        {
            ":method": "POST",
            ":path": "/x",
            **common,
            "content-type": "a/b",
            "accept": "c/d",
            "x-own": "1",
            "content-length": "2",
            "body": b"12",
        },
        {":method": "POST", ":path": "/x", **json, "content-length": "0", "body": b""},
    ]


_REQUESTS = st.tuples(
    st.sampled_from(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")),
    st.sampled_from(("/", "/api/v1/nodes", "/x?y=%20", "/" + "long" * 100)),
    st.none() | st.binary(max_size=300),
    st.sampled_from((None, "application/json", "application/merge-patch+json")),
    st.none() | st.dictionaries(st.sampled_from(("Accept", "X-One", "x-two")), st.sampled_from("abc")),
)


class _Owner:
    """What a connection that sends nothing needs of its transport."""

    server = "https://host"
    closed = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.heads = Heads(Config("https://host/prefix", token="secret"), "agent/1")

    def release(self, exchange: object) -> None: ...

    def dropped(self, exchange: object) -> None: ...

    def gone(self, what: object) -> None: ...


@given(st.lists(_REQUESTS | st.sampled_from((0, 100, 200, 4096)) | st.just("token"), max_size=30))
def test_header_blocks_say_what_was_asked(steps: list[Any]) -> None:
    """In any order of requests, new tokens and sizes of the server's table."""
    loop = asyncio.new_event_loop()
    try:
        connection = http2.Multiplexed(_Owner(loop))
        heads = connection.owner.heads
        decoder = hpack.Decoder()
        token = "secret"
        for number, step in enumerate(steps):
            if step == "token":
                token = f"secret{number}"
                heads._set_token(token)
                continue
            if isinstance(step, int):
                connection.encoder.resize(step)
                decoder.max_allowed_table_size = min(step, 4096)
                continue
            method, target, body, content_type, headers = step
            request = heads.request(method, target, body, content_type, headers)
            block = connection._header_block(request)
            found = decoder.decode(connection.encoder.resized() + block, raw=True)
            expected = {
                ":method": method,
                ":scheme": "https",
                ":authority": "host",
                ":path": f"/prefix{target}",
                "user-agent": "agent/1",
                "authorization": f"Bearer {token}",
                "accept": "application/json",
                **{name.lower(): value for name, value in (headers or {}).items()},
            }
            if body is not None and content_type:
                expected["content-type"] = content_type
            if body is not None or method not in ("GET", "HEAD"):
                expected["content-length"] = str(len(body or b""))
            assert {name.decode(): value.decode() for name, value in found} == expected
            assert len(found) == len(expected)
            names = [name for name, _ in found]
            assert [name[:1] == b":" for name in names] == [True] * 4 + [False] * (len(names) - 4)
    finally:
        loop.close()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_on_either_loop(run: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Http2Server(tmp_path) as server:
            server.handle = lambda asked: asked.answer(bytes(asked.body))
            body = bytes(300_000)
            async with server.client(max_connections=4) as client:
                answers = await asyncio.gather(*(client.raw("POST", "/x", body) for _ in range(10)))
                assert all(answer.body == body for answer in answers)
                assert len(server.connections) == 1

    run(scenario())


async def test_answers_as_they_are(server: Http2Server) -> None:
    def handle(asked: Asked) -> None:
        if asked.method == "HEAD":
            asked.head(200, ended=True, content_length="5")
            return
        asked.connection.h2.send_headers(asked.stream, [(":status", "103"), ("link", "x")])
        asked.head(404, x_one="1", x_two="2")
        asked.data(b"ab")
        asked.data(b"cd")
        asked.connection.h2.send_headers(asked.stream, [("trailer", "3")], end_stream=True)
        asked.connection.flush()

    server.handle = handle
    async with server.client() as client:
        answer = await client.raw("GET", "/x")
        assert (answer.status, answer.body) == (404, b"abcd")
        assert answer.headers == [(b"x-one", b"1"), (b"x-two", b"2")]
        assert answer.header("X-Two") == "2"
        assert answer.header("trailer") is None
        assert (await client.raw("HEAD", "/x")).body == b""
        assert len(server.connections) == 1


async def test_large_bodies_through_small_windows(server: Http2Server, monkeypatch: Any) -> None:
    monkeypatch.setattr(http2, "STREAM_WINDOW_BYTES", 100_000)
    monkeypatch.setattr(http2, "CONNECTION_WINDOW_BYTES", 200_000)
    server.settings = {SettingCodes.INITIAL_WINDOW_SIZE: 1000}
    server.handle = lambda asked: asked.answer(bytes(asked.body))
    bodies = [bytes((number,)) * 777_777 for number in range(5)]
    async with server.client() as client:
        answers = await asyncio.gather(*(client.raw("POST", "/x", body) for body in bodies))
        assert [answer.body for answer in answers] == bodies


async def test_a_body_waits_and_others_do_not(server: Http2Server) -> None:
    server.hoards = True
    server.settings = {SettingCodes.INITIAL_WINDOW_SIZE: 10_000}
    async with server.client() as client:
        large = later(client.raw("POST", "/large", bytes(20_000)))
        await server.until(lambda: server.asked and len(server.asked[0].body) == 10_000)
        await client.get(NODES, "n")
        served = server.connections[0]
        served.h2.acknowledge_received_data(10_000, server.asked[0].stream)
        served.flush()
        assert (await large).status == 200


async def test_the_answer_may_come_before_the_body_is_sent(server: Http2Server) -> None:
    server.hoards = True
    async with server.client() as client:
        large = later(client.raw("POST", "/large", bytes(100_000)))
        await server.until(lambda: server.asked and len(server.asked[0].body) == 65_535)
        server.asked[0].answer(b"too much", 413)
        assert (await large).status == 413
        await server.until(lambda: server.asked[0].reset is not None)
        assert not client._transport.multiplexed[0].streams


async def test_watches_beside_requests(server: Http2Server) -> None:
    def handle(asked: Asked) -> None:
        if "watch=true" not in asked.path:
            server.serve(asked)

    server.handle = handle
    async with server.client(max_connections=1) as client:
        opening = later(client.open_watch(NODES, type=dict))
        await server.until(lambda: server.asked)
        watched = server.asked[0]
        watched.head()
        async with await opening as watch:
            for number in range(3):
                await client.get(NODES, "n")
                watched.data(b'{"type":"ADDED","object":{"n":%d}}\n' % number)
                [event] = await watch.read_batch()
                assert event.object == {"n": number}
            assert len(server.connections) == 1
        await server.until(lambda: watched.reset is not None)
        assert watched.reset == ErrorCodes.CANCEL
        await client.get(NODES, "n")
        opening = later(client.open_watch(NODES, type=dict))
        await server.until(lambda: "watch" in server.asked[-1].path)
        server.asked[-1].head()
        server.asked[-1].data(b"", ended=True)
        assert await (await opening).read_batch() == []
        assert len(server.connections) == 1


async def test_a_slow_reader_holds_back_itself_only(server: Http2Server, monkeypatch: Any) -> None:
    monkeypatch.setattr(http2, "STREAM_WINDOW_BYTES", 50_000)
    monkeypatch.setattr(http2, "CONNECTION_WINDOW_BYTES", 70_000)

    def handle(asked: Asked) -> None:
        if "watch=true" not in asked.path:
            server.serve(asked)

    server.handle = handle
    async with server.client() as client:
        opening = later(client.stream("/slow?watch=true"))
        await server.until(lambda: server.asked)
        slow = server.asked[0]
        slow.head()
        slow.data(bytes(200_000), ended=True)
        stream = await opening
        for _ in range(300):
            await client.get(NODES, "n" * 500)
        assert len(slow.connection.waiting[slow.stream][0]) == 150_000
        answer = await stream.read_all(60)
        assert answer.body == bytes(200_000)


async def test_goaway_lets_old_requests_finish_and_sends_new_ones_elsewhere(server: Http2Server) -> None:
    server.handle = server.collect
    async with server.client() as client:
        requests = [later(client.create(NODES, {"metadata": {"name": str(n)}})) for n in range(4)]
        await server.until(lambda: sum(asked.complete for asked in server.asked) == 4)
        first = server.connections[0]
        first.h2.close_connection(ErrorCodes.NO_ERROR, last_stream_id=server.asked[1].stream)
        data = first.h2.data_to_send()
        first.transport.write(data)
        await server.until(lambda: len(server.asked) == 6 and all(asked.complete for asked in server.asked))
        assert [bytes(asked.body) for asked in server.asked[2:4]] == [
            bytes(asked.body) for asked in server.asked[4:]
        ]
        for asked in server.asked[4:]:
            server.serve(asked)
        await asyncio.gather(*requests[2:])
        assert not requests[0].done()
        assert len(server.connections) == 2
        # The library's state is closed: finish by hand what it has promised.
        encoder = first.h2.encoder
        for asked in server.asked[:2]:
            block = encoder.encode([(":status", "200")])
            head = len(block).to_bytes(3, "big") + bytes((1, 4)) + asked.stream.to_bytes(4, "big")
            body = b"\0\0\2\0\1" + asked.stream.to_bytes(4, "big") + b"{}"
            first.transport.write(head + block + body)
        assert await asyncio.gather(*requests[:2]) == [{}, {}]
        await server.until(lambda: len(server.connections) == 1)


async def test_refused_streams_are_sent_again_whatever_they_are(
    server: Http2Server, monkeypatch: Any
) -> None:
    monkeypatch.setattr(transport_module, "CONNECT_BACKOFF_SECONDS", 0.0)
    left = 3

    def handle(asked: Asked) -> None:
        nonlocal left
        left -= 1
        server.serve(asked) if left < 0 else asked.refuse()

    server.handle = handle
    async with server.client() as client:
        await client.create(NODES, {"metadata": {"name": "n"}})
        assert len(server.asked) == 4
        left = 3
        opening = later(client.open_watch(NODES, type=dict))
        (await opening).close()
        assert len(server.asked) == 8
        left = 1000
        with pytest.raises(errors.ConnectFailed, match="refused"):
            await client.create(NODES, {"metadata": {"name": "n"}})
        assert len(server.asked) == 8 + transport_module.UNPROCESSED_ATTEMPTS
        assert len(server.connections) == 1


async def test_a_writer_sends_refused_writes_again(server: Http2Server) -> None:
    refused = False

    def handle(asked: Asked) -> None:
        nonlocal refused
        if asked.method == "GET" or refused:
            server.serve(asked)
        else:
            refused = True
            asked.refuse()

    server.handle = handle
    async with server.client() as client, client.writer() as writer:
        await client.get(NODES, "n")
        told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        writer.write("PUT", "/x/n", b"{}", "application/json", told.set_result)
        assert await told == b'{"metadata":{"name":"n"}}'
        assert len(server.asked) == 3


def _retry_after(asked: Asked) -> None:
    asked.answer(b"{}", 429, retry_after="1")


def _drop(asked: Asked) -> None:
    asked.connection.transport.abort()


def _cut(asked: Asked) -> None:
    asked.head()
    asked.data(b"{")
    asked.connection.transport.close()


FAULTS: list[list[Any]] = [
    [],
    [lambda asked: asked.answer(b"no JSON", 404)],
    [_retry_after],
    [_retry_after, lambda asked: asked.answer(b"x", 503)],
    [_drop],
    [_cut],
    [lambda asked: asked.refuse()],
    [lambda asked: asked.refuse(), _drop],
    [lambda asked: asked.refuse(ErrorCodes.INTERNAL_ERROR)],
]


@pytest.mark.parametrize("faults", FAULTS, ids=range(len(FAULTS)))
async def test_a_write_ends_as_any_other_request(server: Http2Server, faults: list[Any]) -> None:
    """With the same requests and the same end, whether a task waits for it or a function is told."""
    seen: list[tuple[Any, list[Any]]] = []

    async def no_sleep(_: float) -> None:
        pass

    async def plainly(client: Client) -> Any:
        try:
            return await client._call("PUT", "/x/n", b"{}", "application/json")
        except errors.ClientError as error:
            return error

    for through_writer in (False, True):
        async with server.client(sleep=no_sleep) as client, client.writer() as writer:
            await client.get(NODES, "n")
            server.asked.clear()
            left = iter(faults)
            server.handle = lambda asked, left=left: next(left, server.serve)(asked)  # type: ignore[misc]
            if through_writer:
                told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                writer.write("PUT", "/x/n", b"{}", "application/json", told.set_result)
                end = await told
            else:
                end = await plainly(client)
            seen.append(
                (
                    (type(end), str(end)) if isinstance(end, Exception) else end,
                    [(asked.method, asked.path, bytes(asked.body)) for asked in server.asked],
                )
            )
            server.handle = server.serve
    assert seen[0] == seen[1]


@pytest.mark.parametrize("code", [ErrorCodes.INTERNAL_ERROR, ErrorCodes.CANCEL, ErrorCodes.NO_ERROR])
async def test_a_reset_concerns_one_request(server: Http2Server, code: ErrorCodes) -> None:
    def handle(asked: Asked) -> None:
        if asked.method == "POST":
            asked.head()
            asked.refuse(code)
        else:
            server.serve(asked)

    server.handle = handle
    async with server.client() as client:
        await client.get(NODES, "n")
        with pytest.raises(errors.ConnectionLost, match=code.name):
            await client.create(NODES, {"metadata": {"name": "n"}})
        assert not isinstance(errors.ConnectionLost, errors.Unprocessed)
        await client.get(NODES, "n")
        assert len(server.asked) == 3
        assert len(server.connections) == 1
        transport = client._transport
        assert len(transport._idle) == transport._slots_used == 1


async def test_a_lost_connection_is_a_lost_answer(server: Http2Server) -> None:
    server.handle = server.collect
    async with server.client() as client:
        for started in (False, True):
            server.handle = server.serve
            await client.get(NODES, "n")
            server.handle = server.collect
            server.asked.clear()
            opening = later(client.stream("/watch"))
            await server.until(lambda: server.asked)
            server.asked[-1].head()
            stream = await opening
            write = later(client.create(NODES, {"metadata": {"name": "n"}}))
            read = later(client.get(NODES, "n"))
            await server.until(lambda: sum(a.complete for a in server.asked) == 3)
            asked = server.asked[-1]
            if started:
                asked.head()
                asked.data(b"{")
                while not client._transport.multiplexed[0].streams[asked.stream].lane._body:  # type: ignore[attr-defined]
                    await asyncio.sleep(0)
            server.handle = server.serve
            server.connections[0].transport.abort()
            with pytest.raises(errors.ConnectionLost):
                await write
            with pytest.raises(errors.ConnectionLost):
                await stream.read()
            if started:
                with pytest.raises(errors.ConnectionLost):
                    await read
            else:
                await read  # again, on a new connection
        await client.get(NODES, "n")
        assert len(server.connections) == 1


async def test_a_timeout_concerns_one_request(server: Http2Server, monkeypatch: Any) -> None:
    monkeypatch.setattr(transport_module, "SWEEP_SECONDS", 0.01)

    def handle(asked: Asked) -> None:
        if "slow" not in asked.path:
            server.serve(asked)

    server.handle = handle
    async with server.client() as client:
        await client.get(NODES, "n")
        client.timeout_seconds = 0.02
        with pytest.raises(errors.RequestTimeout):
            await client.get(NODES, "slow")
        with pytest.raises(errors.RequestTimeout):
            await client.open_watch(NODES, "slow", type=dict, label_selector="slow")
        client.timeout_seconds = 60.0
        await client.get(NODES, "n")
        await server.until(lambda: sum(asked.reset == ErrorCodes.CANCEL for asked in server.asked) == 2)
        assert len(server.connections) == 1


async def test_cancelled_at_every_moment(server: Http2Server) -> None:
    async with server.client(max_connections=2) as client:
        for turns in range(25):
            requests = [later(client.get(NODES, "n")) for _ in range(6)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for request in requests[::2]:
                request.cancel()
            results = await asyncio.gather(*requests, return_exceptions=True)
            assert all(isinstance(result, dict) for result in results[1::2])
        transport = client._transport
        assert len(transport._idle) == transport._slots_used <= 2
        assert len(transport.exchanges) == len(transport._idle) == len(transport.multiplexed[0].lanes)
        assert not transport.multiplexed[0].streams
        assert len(server.connections) == 1


async def test_a_cancelled_request_resets_its_stream(server: Http2Server) -> None:
    server.handle = server.collect
    async with server.client(max_connections=1) as client:
        request = later(client.get(NODES, "n"))
        opening = later(client.open_watch(NODES, type=dict))
        await server.until(lambda: sum(asked.complete for asked in server.asked) == 2)
        request.cancel()
        opening.cancel()
        await asyncio.gather(request, opening, return_exceptions=True)
        await server.until(lambda: all(asked.reset == ErrorCodes.CANCEL for asked in server.asked))
        server.handle = server.serve
        await client.get(NODES, "n")


async def test_another_connection_for_more_watches_than_the_server_takes(server: Http2Server) -> None:
    server.settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 4}

    def handle(asked: Asked) -> None:
        asked.head() if "watch=true" in asked.path else server.serve(asked)

    server.handle = handle
    async with server.client(max_connections=64) as client:
        watches = [await client.open_watch(NODES, type=dict) for _ in range(4)]
        assert len(server.connections) == 1
        watches.append(await client.open_watch(NODES, type=dict))
        assert len(server.connections) == 2
        await asyncio.gather(*(client.get(NODES, "n") for _ in range(50)))
        assert len(server.connections) == 2
        for watch in watches:
            watch.close()


async def test_requests_wait_for_streams_rather_than_for_another_connection(server: Http2Server) -> None:
    server.settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 4}
    async with server.client(max_connections=64) as client:
        await asyncio.gather(*(client.get(NODES, "n") for _ in range(100)))
        assert len(server.connections) == 1
        assert client._transport._slots_used == 4


async def test_a_silent_server_is_asked_for_a_sign_of_life(server: Http2Server) -> None:
    server.handle = server.collect
    async with server.client() as client:
        request = later(client.create(NODES, {"metadata": {"name": "n"}}))
        await server.until(lambda: server.asked and server.asked[0].complete)
        [connection] = client._transport.multiplexed
        for pings in (1, 2, 3):
            connection._mind()  # too early
            assert not connection._asked
            connection._heard_at -= http2.PING_IDLE_SECONDS  # as if time had passed
            connection._mind()
            assert connection._asked
            await server.until(lambda count=pings: server.connections[0].pings == count)
            while connection._asked:
                await asyncio.sleep(0)
        server.deaf = True
        connection._heard_at -= http2.PING_IDLE_SECONDS
        connection._mind()
        connection._mind()
        with pytest.raises(errors.ConnectionLost, match="sign of life"):
            await request


async def test_nobody_minds_a_connection_without_streams(server: Http2Server) -> None:
    async with server.client() as client:
        await client.get(NODES, "n")
        [connection] = client._transport.multiplexed
        assert connection._minder is not None
        connection._mind()
        assert connection._minder is None
        await client.get(NODES, "n")
        assert connection._minder is not None
        assert server.connections[0].pings == 0


async def test_streams_run_out(server: Http2Server) -> None:
    async with server.client(max_connections=2) as client:
        await asyncio.gather(client.get(NODES, "n"), client.get(NODES, "n"))
        client._transport.multiplexed[0].next_stream = http2.LAST_STREAM - 2
        for _ in range(4):
            await client.create(NODES, {"metadata": {"name": "n"}})
        assert [asked.stream for asked in server.asked[2:]] == [
            http2.LAST_STREAM - 2,
            http2.LAST_STREAM,
            1,
            3,
        ]


async def test_all_of_a_turn_leaves_in_one_write(server: Http2Server) -> None:
    async with server.client() as client, client.writer() as writer:
        await asyncio.gather(*(client.get(NODES, "n") for _ in range(10)))
        writes: list[int] = []
        connection = client._transport.multiplexed[0]
        assert connection._transport is not None
        write = connection._transport.write
        monkey = pytest.MonkeyPatch()
        with monkey.context() as patch:
            patch.setattr(
                type(connection._transport), "write", lambda _, data: (writes.append(len(data)), write(data))
            )
            await write_all(writer)
        assert len(writes) == 1


async def write_all(writer: Writer) -> None:
    done: asyncio.Queue[Any] = asyncio.Queue()
    for number in range(10):
        writer.write("PUT", f"/x/{number}", b"{}", "application/json", done.put_nowait)
    for _ in range(10):
        assert isinstance(await done.get(), bytes)


@pytest.mark.parametrize("alpn", [("http/1.1",), ()])
async def test_http1_where_the_server_wants_it(tmp_path: Path, fake_api: Any, alpn: tuple[str, ...]) -> None:
    async with Http2Server(tmp_path, ("h2",)) as server:
        context = server.context
        if alpn:
            context.set_alpn_protocols(list(alpn))
        else:
            context.set_alpn_protocols(["none of these"])
        api = fake_api()
        await api.start(ssl=context)
        api.put("nodes", "n")
        server.config = type(server.config)(api.url, ca_pem=server.pem)
        async with server.client(max_connections=3) as client:
            await asyncio.gather(*(client.get(NODES, "n") for _ in range(20)))
            assert api.connections == 3
            assert not client._transport.multiplexed
        await api.stop()


async def test_http1_on_demand(server: Http2Server) -> None:
    """The server speaks HTTP/2 only, whatever was agreed: so its first words are no answer."""
    async with server.client(http2=False) as client:
        with pytest.raises(errors.ClientError):
            await client.get(NODES, "n")
        assert not client._transport.multiplexed


async def test_what_is_not_http2_ends_the_connection(server: Http2Server) -> None:
    server.handle = server.collect
    async with server.client() as client:
        request = later(client.get(NODES, "n"))
        await server.until(lambda: server.asked)
        server.connections[0].transport.write(b"\0\0\0\0\0\0\0\0\0")  # data of no stream
        with pytest.raises(errors.BadResponse, match="not HTTP/2"):
            await request
        await server.until(lambda: server.goaways)
        assert server.goaways[0].error_code == ErrorCodes.PROTOCOL_ERROR


async def test_closing_breaks_everything(server: Http2Server) -> None:
    server.handle = server.collect
    client = server.client(max_connections=1)
    requests = [later(client.get(NODES, "n")) for _ in range(3)]
    opening = later(client.open_watch(NODES, type=dict))
    await server.until(lambda: sum(asked.complete for asked in server.asked) == 2)
    await client.close()
    for result in await asyncio.gather(*requests, opening, return_exceptions=True):
        assert isinstance(result, errors.ClientClosed)
    assert not client._transport.exchanges
    assert not client._transport.multiplexed
    await server.until(lambda: not server.connections)


async def test_dialling_is_shared_and_so_is_its_failure(server: Http2Server, monkeypatch: Any) -> None:
    monkeypatch.setattr(transport_module, "CONNECT_BACKOFF_SECONDS", 0.001)
    server.server.close()
    await server.server.wait_closed()
    dials = itertools.count()
    connect = transport_module.tls.connect

    async def counted(*arguments: Any) -> Any:
        next(dials)
        return await connect(*arguments)

    monkeypatch.setattr(transport_module.tls, "connect", counted)
    async with server.client() as client:
        results = await asyncio.gather(*(client.get(NODES, "n") for _ in range(20)), return_exceptions=True)
        assert all(isinstance(result, errors.ConnectFailed) for result in results)
        assert client._transport._slots_used == 0
        assert next(dials) < 20 * transport_module.CONNECT_ATTEMPTS
