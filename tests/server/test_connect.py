"""What is passed on: a real server with TLS in front, and a little kubelet behind it that a test holds by its sockets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lakh.machinery.errors import StatusError
from lakh.server import connect
from lakh.server.app import ApiServer
from lakh.server.connect import split_name

Serve = Callable[[str, dict[str, str], asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Kubelet:
    """Speaks HTTP/1.1 by hand. `requests` are (request line, headers)."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.certificates: list[Any] = []
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self, context: ssl.SSLContext | None, host: str = "127.0.0.1") -> None:
        self._server = await asyncio.start_server(self._one, host, 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {n.strip().lower(): v.strip() for n, _, v in (text.partition(":") for text in lines)}
            self.requests.append((line, headers))
            self.certificates.append(writer.get_extra_info("peercert"))
            await self._serve(line, headers, reader, writer)
        writer.close()

    def stop(self) -> None:
        assert self._server is not None
        self._server.close()


class World:
    """An API server, a node `n1` whose kubelet is ours, and a pod `p` on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.kubelet = Kubelet(self._serve)
        self.answer: Serve = _hello
        self.server: ApiServer
        self.tls: ssl.SSLContext

    async def _serve(self, *request: Any) -> None:
        await self.answer(*request)

    async def start(self) -> None:
        self.server = await ApiServer.start(self.directory, port=0)
        pki = self.directory / "pki"
        self.tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self.tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
        context.load_verify_locations(pki / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        await self.kubelet.start(context)
        await self.make("/api/v1/nodes", "Node", "n1", status=self.node_status())
        await self.make(
            "/api/v1/namespaces/default/pods",
            "Pod",
            "p",
            spec={"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
        )

    def node_status(self) -> dict[str, Any]:
        return {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.kubelet.port}},
        }

    async def make(self, path: str, kind: str, name: str, **more: Any) -> None:
        obj = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **more}
        status, _, _ = await self.call("POST", path, msgspec.json.encode(obj))
        assert status == 201

    async def open(self, method: str, target: str, body: bytes = b"", **headers: str) -> Any:
        """A request on a connection of its own, its head read."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.server.port, ssl=self.tls, server_hostname="localhost"
        )
        named = {"host": "localhost", "content-length": str(len(body)), **headers}
        lines = [f"{method} {target} HTTP/1.1", *(f"{n.replace('_', '-')}: {v}" for n, v in named.items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        return reader, writer, head

    async def call(
        self, method: str, target: str, body: bytes = b"", **headers: str
    ) -> tuple[int, str, bytes]:
        """Status, head, body of a request."""
        reader, writer, head = await self.open(method, target, body, **{"connection": "close", **headers})
        data = await reader.read()
        writer.close()
        if "transfer-encoding: chunked" in head.lower():
            out = b""
            while data:
                size, _, rest = data.partition(b"\r\n")
                count = int(size, 16)
                out, data = out + rest[:count], rest[count + 2 :]
            data = out
        return int(head.split(" ")[1]), head, data

    async def stop(self) -> None:
        self.kubelet.stop()
        await self.server.stop()


async def _hello(line: str, headers: dict[str, str], reader: Any, writer: Any) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\nX-Own: yes\r\n\r\nhello\n"
    )


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.start()
    yield made
    await made.stop()


LOG = "/api/v1/namespaces/default/pods/p/log"
POD = "/api/v1/namespaces/default/pods/p"


async def test_logs(world: World) -> None:
    status, head, body = await world.call("GET", f"{LOG}?tailLines=5&follow=true&nonsense=1")
    assert (status, body) == (200, b"hello\n")
    assert "Content-Type: text/plain" in head
    line, headers = world.kubelet.requests[0]
    assert line == "GET /containerLogs/default/p/c?follow=true&tailLines=5 HTTP/1.1"
    assert headers["host"] == f"127.0.0.1:{world.kubelet.port}"
    subject = dict(part[0] for part in world.kubelet.certificates[0]["subject"])
    assert subject == {"commonName": "system:apiserver", "organizationName": "system:masters"}


async def test_a_log_is_followed_as_it_grows(world: World) -> None:
    more = asyncio.Event()

    async def grow(line: str, headers: Any, reader: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
        await writer.drain()
        await more.wait()
        writer.write(b"4\r\ntwo\n\r\n0\r\n\r\n")

    world.answer = grow
    reader, writer, _ = await world.open("GET", f"{LOG}?follow=true")
    assert await reader.readuntil(b"one\n\r\n") == b"4\r\none\n\r\n"
    more.set()
    assert await reader.readuntil(b"0\r\n\r\n") == b"4\r\ntwo\n\r\n0\r\n\r\n"
    writer.close()


async def test_the_kubelet_learns_that_a_follower_left(world: World) -> None:
    left = asyncio.Event()

    async def hold(line: str, headers: Any, reader: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\none\n")
        await writer.drain()
        await reader.read()
        left.set()

    world.answer = hold
    reader, writer, _ = await world.open("GET", f"{LOG}?follow=true")
    await reader.readuntil(b"one\n")
    writer.close()
    async with asyncio.timeout(120):
        await left.wait()


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("?container=x", 400, "container x is not valid for pod p"),
        ("?tailLines=-1", 422, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("?tailLines=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
    ],
)
async def test_log_options(world: World, query: str, code: int, message: str) -> None:
    status, _, body = await world.call("GET", LOG + query)
    assert status == code and message in msgspec.json.decode(body)["message"]
    assert not world.kubelet.requests


@pytest.mark.parametrize(
    ("answer", "code", "reason", "message"),
    [
        (b"400 Bad Request", 400, "BadRequest", "is waiting"),
        (b"404 Not Found", 404, "NotFound", "is waiting"),
        (
            b"500 Oops",
            500,
            "InternalError",
            'an error on the server ("is waiting") has prevented the request from succeeding',
        ),
    ],
)
async def test_a_refused_log_is_a_status(
    world: World, answer: bytes, code: int, reason: str, message: str
) -> None:
    async def refuse(line: str, headers: Any, reader: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 " + answer + b"\r\nContent-Length: 10\r\n\r\nis waiting")

    world.answer = refuse
    status, _, body = await world.call("GET", LOG)
    found = msgspec.json.decode(body)
    assert (status, found["reason"], found["message"]) == (code, reason, message)


async def test_a_kubelet_that_is_not_there(world: World) -> None:
    world.kubelet.stop()
    where = f"127.0.0.1:{world.kubelet.port}"
    status, _, body = await world.call("GET", LOG)
    assert status == 500
    assert f"dial tcp {where}: connect: connection refused" in msgspec.json.decode(body)["message"]
    status, _, body = await world.call(
        "POST", f"{POD}/exec?command=ls", upgrade="SPDY/3.1", connection="Upgrade, close"
    )
    assert msgspec.json.decode(body)["message"] == (
        f"error dialing backend: dial tcp {where}: connect: connection refused"
    )
    status, _, body = await world.call("GET", "/api/v1/nodes/n1/proxy/healthz")
    found = msgspec.json.decode(body)
    assert (status, found["reason"]) == (503, "ServiceUnavailable")
    assert found["message"].startswith("error trying to reach service: dial tcp")


async def _web_socket(line: str, headers: dict[str, str], reader: Any, writer: Any) -> None:
    """Answers a WebSocket handshake (RFC 6455), then says back what it is told."""
    accept = hashlib.sha1(
        (headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()
    ).digest()
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
        % base64.b64encode(accept)
    )
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


HANDSHAKE = {
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec_websocket_key": base64.b64encode(b"0123456789abcdef").decode(),
    "sec_websocket_version": "13",
    "sec_websocket_protocol": "base64url.bearer.authorization.k8s.io.c2VjcmV0, v5.channel.k8s.io",
    "authorization": "Basic c2VjcmV0",
}


async def test_exec_over_a_web_socket(world: World) -> None:
    world.answer = _web_socket
    headers = {**HANDSHAKE}
    del headers["authorization"]
    query = "command=sh&command=-c&command=a%20b&stdin=true&stdout=true&tty=false&container=c"
    reader, writer, head = await world.open("GET", f"{POD}/exec?{query}", **headers)
    assert head.startswith("HTTP/1.1 101 Switching Protocols")
    assert "Sec-WebSocket-Protocol: v5.channel.k8s.io" in head
    line, sent = world.kubelet.requests[0]
    assert line == "GET /exec/default/p/c?input=1&output=1&command=sh&command=-c&command=a+b HTTP/1.1"
    assert sent["sec-websocket-protocol"] == "v5.channel.k8s.io"
    assert "authorization" not in sent
    # Both ways, more than all the buffers on the way hold.
    data = os.urandom(3_000_000)

    async def send() -> None:
        writer.write(data)
        await writer.drain()

    async with asyncio.timeout(120):
        sending = asyncio.create_task(send())
        assert await reader.readexactly(len(data)) == data
        await sending
    writer.close()


async def test_port_forward_over_spdy(world: World) -> None:
    async def spdy(line: str, headers: Any, reader: Any, writer: Any) -> None:
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n\r\nready"
        )
        writer.write(await reader.readexactly(4))

    world.answer = spdy
    reader, writer, head = await world.open(
        "POST",
        f"{POD}/portforward?ports=80",
        upgrade="SPDY/3.1",
        connection="Upgrade",
        x_stream_protocol_version="portforward.k8s.io, v4.channel.k8s.io",
    )
    assert "101 Switching Protocols" in head
    writer.write(b"ping")
    # The far end hangs up: so do we.
    assert await reader.read() == b"readyping"
    assert world.kubelet.requests[0][0] == "POST /portForward/default/p?ports=80 HTTP/1.1"
    writer.close()


async def test_a_kubelet_that_does_not_upgrade_is_quoted(world: World) -> None:
    async def refuse(line: str, headers: Any, reader: Any, writer: Any) -> None:
        writer.write(b'HTTP/1.1 404 Not Found\r\nContent-Length: 23\r\n\r\ncontainer not found ("c")'[:-2])

    world.answer = refuse
    status, _, body = await world.call(
        "POST", f"{POD}/attach", upgrade="SPDY/3.1", connection="Upgrade, close"
    )
    assert status == 404 and body.startswith(b"container not found")
    status, _, body = await world.call("POST", f"{POD}/exec?command=ls")
    assert msgspec.json.decode(body)["message"] == "Upgrade request required"


async def test_node_proxy(world: World) -> None:
    async def echo(line: str, headers: Any, reader: Any, writer: Any) -> None:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        writer.write(
            b"HTTP/1.1 202 Accepted\r\nX-Own: yes\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )

    world.answer = echo
    path = "/api/v1/nodes/n1/proxy/a%2Fb/c/?x=1&x=2"
    status, head, body = await world.call("PUT", path, b"body", x_thing="t")
    assert (status, body) == (202, b"body") and "x-own: yes" in head.lower()
    line, headers = world.kubelet.requests[0]
    assert line == "PUT /a%2Fb/c/?x=1&x=2 HTTP/1.1" and headers["x-thing"] == "t"
    status, head, _ = await world.call("GET", "/api/v1/nodes/n1/proxy?a=b")
    assert status == 301 and "Location: /api/v1/nodes/n1/proxy/?a=b" in head


async def test_pod_and_service_proxy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    web = Kubelet(_hello)
    await web.start(None)
    monkeypatch.setattr(connect, "is_allowed", lambda address: address == "127.0.0.1")
    status = {"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}], "phase": "Running"}}
    patched = await world.call(
        "PATCH", f"{POD}/status", msgspec.json.encode(status), content_type="application/merge-patch+json"
    )
    assert patched[0] == 200
    code, _, body = await world.call("GET", f"/api/v1/namespaces/default/pods/p:{web.port}/proxy/x/y?z=1")
    assert (code, body) == (200, b"hello\n")
    assert web.requests[0][0] == "GET /x/y?z=1 HTTP/1.1"
    services = "/api/v1/namespaces/default/services"
    await world.make(services, "Service", "s", spec={"ports": [{"port": 80, "name": "http"}]})
    code, _, body = await world.call("GET", f"{services}/s:http/proxy/")
    assert code == 503
    assert msgspec.json.decode(body)["message"] == 'no endpoints available for service "s:http"'
    piece = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": web.port}],
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
    }
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    assert (await world.call("POST", path, msgspec.json.encode(piece)))[0] == 201
    code, _, body = await world.call("GET", f"{services}/s:80/proxy/")
    assert (code, msgspec.json.decode(body)["message"]) == (400, "address not allowed")
    monkeypatch.setattr(connect, "_url", lambda s, a, p: connect.urlsplit(f"{s}://127.0.0.1:{p}"))
    assert (await world.call("GET", f"{services}/s:80/proxy/deep"))[2] == b"hello\n"
    assert web.requests[-1][0] == "GET /deep HTTP/1.1"
    web.stop()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "169.254.169.254", "0.0.0.0", "", "host"])
def test_addresses_that_are_not_proxied_to(address: str) -> None:
    assert not connect.is_allowed(address)


def test_names_of_proxies() -> None:
    assert split_name("a", "pod") == ("", "a", "")
    assert split_name("a:80", "pod") == ("", "a", "80")
    assert split_name("https:a:", "pod") == ("https", "a", "")
    for wrong in ("", ":", "ftp:a:1", "a:b:c:d"):
        with pytest.raises(StatusError, match="invalid pod request"):
            split_name(wrong, "pod")
