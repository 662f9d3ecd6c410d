"""A small Kubernetes-like server over real sockets, which can misbehave on request.

Tests get the class through a fixture: `FakeApi` keeps objects of any resource with one revision counter and a history,
serves get, list (paged), watch, create, update, merge patch and delete, and takes *faults*: what to do to the next
requests instead of answering them well.
"""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from lakh.client.client import Client
from lakh.client.kubeconfig import Config


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """A fault: answer this."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


DROP = "drop"  # close the connection without an answer
CUT = "cut"  # close it in the middle of the answer
HANG = "hang"  # never answer
CLOSE = "close"  # answer with Connection: close
EOF = "eof"  # answer without a length; the end of the connection is the end


def status(code: int, reason: str, message: str) -> bytes:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    return json.dumps(body).encode()


class FakeApi:
    DROP, CUT, HANG, CLOSE, EOF, Reply = DROP, CUT, HANG, CLOSE, EOF, Reply

    def __init__(self, seed: int | None = None) -> None:
        self.random = random.Random(seed) if seed is not None else None
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}  # (plural, "namespace/name")
        self.revision = 1
        self.oldest = 0
        self.history: list[tuple[int, str, str, dict[str, Any]]] = []
        self.requests: list[Request] = []
        self.faults: deque[Any] = deque()
        self.connections = 0
        self.open: set[asyncio.StreamWriter] = set()
        self.watchers: set[asyncio.StreamWriter] = set()
        self.changed = asyncio.Event()
        self.extra_lines: dict[asyncio.StreamWriter, list[bytes]] = {}
        self.duplicates = False
        self.routes: dict[str, Reply] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_uid = 0

    async def __aenter__(self) -> FakeApi:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, port: int = 0, ssl: Any = None) -> None:
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", port, ssl=ssl)
        self.port = self.server.sockets[0].getsockname()[1]
        self.url = f"{'https' if ssl else 'http'}://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        self.server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in list(self.open):
            writer.transport.abort()
        await asyncio.sleep(0)
        await self.server.wait_closed()

    def client(self, **options: Any) -> Client:
        return Client(Config(self.url), user_agent="test/1", **options)

    def break_connections(self) -> None:
        for writer in list(self.open):
            writer.transport.abort()

    async def until(self, condition: Any) -> None:
        """Wait for a condition on the server's state."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    # State

    def put(self, plural: str, key: str, **content: Any) -> dict[str, Any]:
        self.revision += 1
        old = self.objects.get((plural, key))
        namespace, _, name = key.rpartition("/")
        obj = copy.deepcopy(content)
        metadata = obj.setdefault("metadata", {})
        metadata.update(name=name, resourceVersion=str(self.revision))
        if namespace:
            metadata["namespace"] = namespace
        if old is None:
            self._next_uid += 1
            metadata["uid"] = f"uid-{self._next_uid}"
        else:
            metadata["uid"] = old["metadata"]["uid"]
        self.objects[plural, key] = obj
        self._record("ADDED" if old is None else "MODIFIED", plural, obj)
        return obj

    def remove(self, plural: str, key: str) -> None:
        obj = copy.deepcopy(self.objects.pop((plural, key)))
        self.revision += 1
        obj["metadata"]["resourceVersion"] = str(self.revision)
        self._record("DELETED", plural, obj)

    def _record(self, kind: str, plural: str, obj: dict[str, Any]) -> None:
        self.history.append((self.revision, kind, plural, copy.deepcopy(obj)))
        self.changed.set()
        self._wake()

    def compact(self) -> None:
        """Watches that start before now are answered 410; open ones go on."""
        self.revision += 1
        self.oldest = self.revision

    def _wake(self) -> None:
        for waiter in getattr(self, "_waiters", ()):
            if not waiter.done():
                waiter.set_result(None)
        self._waiters: list[asyncio.Future[None]] = []

    def say(self, line: dict[str, Any]) -> None:
        """Send a line to all watchers, whatever it is."""
        for writer in self.watchers:
            self.extra_lines.setdefault(writer, []).append(json.dumps(line, separators=(",", ":")).encode())
        self._wake()

    # HTTP

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open.add(writer)
        try:
            while await self._serve(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, RuntimeError):
            pass  # RuntimeError: uvloop's word for a write on a closed connection
        except asyncio.CancelledError:
            pass
        finally:
            self.open.discard(writer)
            self.watchers.discard(writer)
            self.changed.set()
            writer.close()
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        parts = urlsplit(target)
        parameters = {name: values[0] for name, values in parse_qs(parts.query).items()}
        request = Request(method, parts.path, parameters, headers, body)
        self.requests.append(request)
        self.changed.set()
        fault = self.faults.popleft() if self.faults else None
        if fault == DROP:
            return False
        if fault == HANG:
            await asyncio.Event().wait()
        if isinstance(fault, Reply):
            await self._answer(writer, fault)
            return True
        if parameters.get("watch") == "true":
            watch = asyncio.ensure_future(self._watch(writer, request))
            gone = asyncio.ensure_future(reader.read())
            try:
                await asyncio.wait((watch, gone), return_when=asyncio.FIRST_COMPLETED)
            finally:
                watch.cancel()
                gone.cancel()
                await asyncio.gather(watch, gone, return_exceptions=True)
            return False
        reply = self._handle(request)
        if method == "HEAD":
            reply.headers = (("Content-Length", str(len(reply.body))),)
            reply.body = b""
        await self._answer(writer, reply, fault)
        return fault is None

    async def _answer(self, writer: asyncio.StreamWriter, reply: Reply, fault: Any = None) -> None:
        lines = [f"HTTP/1.1 {reply.status} X"]
        lines += [f"{name}: {value}" for name, value in reply.headers]
        chunked = self.random is not None and self.random.random() < 0.5
        if fault == CLOSE:
            lines.append("Connection: close")
        if chunked and fault is None:
            lines.append("Transfer-Encoding: chunked")
        elif fault != EOF and "Content-Length" not in dict(reply.headers):
            lines.append(f"Content-Length: {len(reply.body)}")
        data = "\r\n".join(lines).encode() + b"\r\n\r\n"
        if fault == CUT:
            writer.write((data + reply.body)[:-1])
            await writer.drain()
            return
        if chunked and fault is None:
            for piece in self._pieces(reply.body):
                data += b"%x\r\n%s\r\n" % (len(piece), piece)
            data += b"0\r\n\r\n"
        else:
            data += reply.body
        for piece in self._pieces(data):
            writer.write(piece)
            if self.random is not None:
                await asyncio.sleep(0)
        await writer.drain()

    def _pieces(self, data: bytes) -> list[bytes]:
        """The data, cut at odd places when there is a seed."""
        if self.random is None or len(data) < 2:
            return [data] if data else []
        cuts = sorted({self.random.randrange(1, len(data)) for _ in range(self.random.randrange(4))})
        return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    def _handle(self, request: Request) -> Reply:
        if request.path in self.routes:
            return self.routes[request.path]
        parts = request.path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        plural, name = parts[0], parts[1] if len(parts) > 1 else ""
        subresource = parts[2] if len(parts) > 2 else ""
        key = f"{namespace}/{name}" if namespace else name
        if request.method in ("GET", "HEAD") and not name:
            return self._list(request, plural, namespace)
        if request.method == "POST" and not subresource:
            obj = json.loads(request.body)
            key = f"{namespace}/{obj['metadata']['name']}" if namespace else obj["metadata"]["name"]
            if (plural, key) in self.objects:
                return Reply(409, status(409, "AlreadyExists", f'{plural} "{key}" already exists'))
            return Reply(201, json.dumps(self.put(plural, key, **obj)).encode())
        if request.method == "DELETE" and not name:
            for _, found in [k for k in self.objects if k[0] == plural and k[1].startswith(f"{namespace}/")]:
                self.remove(plural, found)
            return Reply(200, b"{}")
        old = self.objects.get((plural, key))
        if old is None:
            return Reply(404, status(404, "NotFound", f'{plural} "{name}" not found'))
        if request.method == "PUT":
            obj = json.loads(request.body)
            version = obj["metadata"].get("resourceVersion")
            if version and version != old["metadata"]["resourceVersion"]:
                return Reply(409, status(409, "Conflict", "the object has been modified"))
            return Reply(200, json.dumps(self.put(plural, key, **obj)).encode())
        if request.method == "PATCH":
            obj = {**copy.deepcopy(old), **json.loads(request.body)}
            obj["metadata"] = copy.deepcopy(old["metadata"])
            return Reply(200, json.dumps(self.put(plural, key, **obj)).encode())
        if request.method == "DELETE":
            self.remove(plural, key)
            return Reply(200, b'{"kind":"Status","status":"Success"}')
        return Reply(200 if request.method != "POST" else 201, json.dumps(old).encode())

    def _list(self, request: Request, plural: str, namespace: str) -> Reply:
        keys = sorted(
            k for p, k in self.objects if p == plural and (not namespace or k.startswith(f"{namespace}/"))
        )
        metadata: dict[str, Any] = {"resourceVersion": str(self.revision)}
        token = request.query.get("continue")
        if token:
            revision, _, after = token.partition(":")
            if int(revision) < self.revision:  # a page of another time: this server keeps no old ones
                return Reply(410, status(410, "Expired", "The provided continue parameter is too old"))
            keys = [key for key in keys if key > after]
        limit = int(request.query.get("limit", 0))
        if limit and len(keys) > limit:
            keys = keys[:limit]
            metadata["continue"] = f"{self.revision}:{keys[-1]}"
        items = [self.objects[plural, key] for key in keys]
        return Reply(200, json.dumps({"kind": "List", "metadata": metadata, "items": items or None}).encode())

    async def _watch(self, writer: asyncio.StreamWriter, request: Request) -> None:
        start = int(request.query.get("resourceVersion") or self.revision)
        if start < self.oldest and self.random is not None and self.random.random() < 0.5:
            await self._answer(writer, Reply(410, status(410, "Expired", "too old resource version")))
            return
        plural = request.path.rsplit("/", 1)[-1]
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.watchers.add(writer)
        self.changed.set()
        if start < self.oldest:
            await self._line(
                writer, {"type": "ERROR", "object": json.loads(status(410, "Expired", "too old"))}
            )
            return
        seen = start
        while True:
            for revision, kind, what, obj in list(self.history):
                if revision <= seen or what != plural:
                    continue
                seen = revision
                await self._line(writer, {"type": kind, "object": obj})
                if self.duplicates and self.random is not None and self.random.random() < 0.3:
                    sent = [entry for entry in self.history if entry[0] <= seen and entry[2] == plural]
                    _, again, _, old = self.random.choice(sent)
                    await self._line(writer, {"type": again, "object": old})
            if writer.transport.is_closing():
                return
            if any(r > seen and w == plural for r, _, w, _ in self.history):
                continue  # a bookmark must not overtake the events it stands for
            lines = self.extra_lines.pop(writer, [])
            for line in lines:
                await self._chunk(writer, line + b"\n")
            if not lines:
                waiter = asyncio.get_running_loop().create_future()
                if not hasattr(self, "_waiters"):
                    self._waiters = []
                self._waiters.append(waiter)
                await waiter

    async def _line(self, writer: asyncio.StreamWriter, line: dict[str, Any]) -> None:
        await self._chunk(writer, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    async def _chunk(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        for piece in self._pieces(data):
            for part in self._pieces(b"%x\r\n%s\r\n" % (len(piece), piece)):
                writer.write(part)
                await writer.drain()


@pytest.fixture(scope="session")
def fake_api() -> type[FakeApi]:
    """The class, for tests that make servers of their own."""
    return FakeApi


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    """A running server."""
    async with FakeApi() as server:
        yield server
