"""Virtual time, and the real API server without sockets for a fleet to run on."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

from lakh.client.client import Client, RawResponse
from lakh.client.kubeconfig import Config
from lakh.client.request import Heads, Request
from lakh.server.exchange import StreamResponse

from ..server.harness import Answer, Api, FakeStream

EPOCH = 1_800_000_000.0
SERVER = Config(server="http://test")


class _Selector(selectors.SelectSelector):
    """Instead of waiting, moves the clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing will ever happen: all tasks wait")
        if not ready and timeout:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Runs a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def wall() -> float:
    """The time of day of the virtual loop."""
    return EPOCH + asyncio.get_running_loop().time()


class _Stream(FakeStream):
    """A watch's answer, as the client reads it."""

    status = 200

    def __init__(self) -> None:
        super().__init__()

    async def read(self) -> bytes:
        while not self.data and not self.closed:
            self._news.clear()
            await self._news.wait()
        data, self.data = self.data, b""
        return data

    def limit(self, seconds: float) -> None:
        pass

    async def read_all(self, timeout: float) -> RawResponse:
        return RawResponse(self.status, [], await self.read())

    def close(self) -> None:
        if not self.closed:
            self.abort()


class SocketlessTransport:
    """The client's transport, straight into a server. `requests` are (virtual time, method, path)."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.heads = Heads(SERVER, "kubelet/test")
        self.requests: list[tuple[float, str, str]] = []

    async def exchange(self, request: Request, timeout: float) -> RawResponse:
        target = request.path.decode()
        self.requests.append((asyncio.get_running_loop().time(), request.method, target))
        answer: Answer = await self.api.call(
            request.method, target, request.body, content_type=request.content_type or ""
        )
        return RawResponse(answer.status, [], answer.body)

    def begin(self, *_: Any) -> bool:
        return False  # no connection idles: `request` it is

    async def stream(self, method: str, target: str, **_: Any) -> _Stream:
        response = await self.api.raw(self.api.request(method, target))
        stream = _Stream()
        if isinstance(response, StreamResponse):
            done = response.start(stream)  # type: ignore[arg-type]
            if done is not None:
                await done
        else:
            answer = Answer(response)
            stream.status, stream.data, stream.closed = answer.status, answer.body, True
        return stream

    async def close(self) -> None:
        pass

    def sent(self, method: str, part: str) -> list[float]:
        """When requests of a method were sent whose path has a part."""
        return [at for at, m, path in self.requests if m == method and part in path]


def client_of(api: Api) -> tuple[Client, SocketlessTransport]:
    """A client of a server without sockets."""
    client = Client(SERVER, user_agent="kubelet/test")
    transport = SocketlessTransport(api)
    client._transport = transport  # type: ignore[assignment]
    return client, transport
