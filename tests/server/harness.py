"""An API server without sockets: requests are objects, journals are in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import msgspec

from lakh.apis.catalogue import registry
from lakh.machinery.errors import StatusError
from lakh.server.app import ApiServer
from lakh.server.authn import Authenticator, User
from lakh.server.bootstrap import bootstrap
from lakh.server.cluster import PARTITIONS, Cluster
from lakh.server.exchange import Request, Response, StreamResponse
from lakh.store.journal import Journal
from lakh.store.memory_journal import MemoryJournal
from lakh.store.partition import Partition

ADMIN = User("kubernetes-admin", groups=("system:masters", "system:authenticated"))


class FakeStream:
    """What a handler writes into, taken apart into chunks."""

    def __init__(self) -> None:
        self.data = b""
        self.size = 0
        self.closed = False
        self.finished = False
        self.paused = False
        self.buffered_bytes = 0
        self.on_close: Any = None
        self._news = asyncio.Event()

    def write(self, data: bytes) -> None:
        self.data += data
        self.size += len(data)
        self._news.set()

    async def drain(self) -> None:
        await asyncio.sleep(0)

    def finish(self) -> None:
        self.closed = self.finished = True
        self._news.set()

    def abort(self) -> None:
        self.closed = True
        self._news.set()
        if self.on_close:
            self.on_close()

    def lines(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in self.data.splitlines() if line]

    async def until(self, count: int) -> list[dict[str, Any]]:
        """The first `count` lines, once they are there."""
        async with asyncio.timeout(120):
            while len(self.lines()) < count:
                self._news.clear()
                await self._news.wait()
        return self.lines()


class Answer:
    """A response, decoded."""

    def __init__(self, response: Response) -> None:
        self.status = response.status
        self.body = response.body if isinstance(response.body, bytes) else b"".join(response.body)
        self.headers = dict(response.headers)
        self.warnings = [v.decode() for k, v in response.headers if k == b"Warning"]
        self.content_type = response.content_type.decode()
        self.json: Any = None
        packed = b"Content-Encoding" in self.headers
        if self.content_type.startswith("application/json") and self.body and not packed:
            self.json = msgspec.json.decode(self.body)

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.body[:300]!r}>"


class Api:
    """A server and what tests ask of it."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server

    @classmethod
    async def start(cls, journals: Callable[[str], Awaitable[Journal]] | None = None) -> Api:
        """`journals` opens those of the partitions, if not in memory."""
        partitions = {
            name: await Partition.open(name, await journals(name) if journals else MemoryJournal())
            for name in PARTITIONS
        }
        server = ApiServer(Cluster(registry(), partitions), Authenticator(), None)  # type: ignore[arg-type]
        server.authenticator.authenticate = lambda request: ADMIN  # type: ignore[method-assign]
        await bootstrap(server.cluster, 6443)
        server.ready = True
        return cls(server)

    async def stop(self) -> None:
        self.server.custom.stop()
        self.server.watching.stop()
        for partition in self.server.cluster.partitions.values():
            await partition.close()

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **headers: str
    ) -> Request:
        path, _, query = path.partition("?")
        if body is not None and not isinstance(body, bytes):
            body = msgspec.json.encode(body)
        named = {"user-agent": "tests/1", "accept": "application/json"}
        if body is not None:
            named["content-type"] = content_type
        named.update({k.replace("_", "-"): v for k, v in headers.items()})
        return Request(method, path, query, named, body or b"", SimpleNamespace(user_cache=None))  # type: ignore[arg-type]

    async def raw(self, request: Request) -> Response | StreamResponse:
        try:
            answer = self.server.handle(request)
            if asyncio.iscoroutine(answer):
                answer = await answer
        except StatusError as e:
            answer = self.server.transport.on_error(request, e)
        assert isinstance(answer, Response | StreamResponse)
        return answer

    async def call(self, method: str, path: str, body: Any = None, **options: str) -> Answer:
        """A request's answer; streamed ones are read to their end."""
        response = await self.raw(self.request(method, path, body, **options))
        if isinstance(response, StreamResponse):
            stream = FakeStream()
            done = response.start(stream)  # type: ignore[arg-type]
            if done is not None:
                await done
            return Answer(Response(response.status, stream.data, response.content_type, response.headers))
        return Answer(response)

    async def get(self, path: str, **options: str) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: Any, **options: str) -> Answer:
        return await self.call("POST", path, body, **options)

    async def put(self, path: str, body: Any, **options: str) -> Answer:
        return await self.call("PUT", path, body, **options)

    async def patch(self, path: str, body: Any, kind: str = "merge-patch+json", **options: str) -> Answer:
        return await self.call("PATCH", path, body, content_type=f"application/{kind}", **options)

    async def apply(
        self, path: str, body: Any, manager: str, *, force: bool = False, query: str = ""
    ) -> Answer:
        path = f"{path}?fieldManager={manager}{'&force=true' if force else ''}{query}"
        return await self.patch(path, body, "apply-patch+yaml")

    async def delete(self, path: str, body: Any = None, **options: str) -> Answer:
        return await self.call("DELETE", path, body, **options)

    async def watch(self, path: str, **options: str) -> FakeStream:
        """Opens a watch; its stream fills in the background."""
        response = await self.raw(self.request("GET", path, **options))
        assert isinstance(response, StreamResponse), response
        stream = FakeStream()
        done = response.start(stream)  # type: ignore[arg-type]
        if done is not None:
            await done
        return stream


CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"


def configmap(name: str, **data: str) -> dict[str, Any]:
    """A config map."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    """A pod of one container."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "nginx"}], **spec},
    }
