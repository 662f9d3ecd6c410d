from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lakh.client.client import JSON, Client
from lakh.client.errors import ClientClosed, ClientError

from .conftest import FakeApi, status

PATH = "/api/v1/namespaces/a/configmaps"


class Ends:
    """What was told of each write."""

    def __init__(self) -> None:
        self.told: list[bytes | ClientError] = []
        self._news = asyncio.Event()

    def __call__(self, end: bytes | ClientError) -> None:
        self.told.append(end)
        self._news.set()

    async def one(self) -> bytes | ClientError:
        while not self.told:
            self._news.clear()
            await self._news.wait()
        return self.told.pop(0)


def _outcome(end: Any) -> Any:
    return (type(end), str(end)) if isinstance(end, Exception) else end


async def _through_a_task(client: Client, body: bytes) -> Any:
    """The same write, the plain way."""
    try:
        return await client._call("PUT", f"{PATH}/c", body, JSON)
    except ClientError as error:
        return error


FAULTS = [
    [],
    [FakeApi.Reply(409, status(409, "Conflict", "it has changed"))],
    [FakeApi.Reply(404, b"no JSON")],
    [FakeApi.Reply(503, status(503, "ServiceUnavailable", "down"))],
    [FakeApi.Reply(429, headers=(("Retry-After", "1"),))],
    [FakeApi.Reply(503, headers=(("Retry-After", "2"),)), FakeApi.Reply(409, status(409, "Conflict", "x"))],
    [FakeApi.Reply(429, headers=(("Retry-After", "1"),))] * 4,
    [FakeApi.DROP],
    [FakeApi.CUT],
    [FakeApi.CLOSE],
]


@pytest.mark.parametrize("faults", FAULTS, ids=range(len(FAULTS)))
@pytest.mark.parametrize("idle", [True, False])
async def test_a_write_ends_as_any_other_request(api: FakeApi, faults: list[Any], idle: bool) -> None:
    """With the same requests and, after the same waits, the same end: on an idle connection, and where one has to be made."""
    seen: list[tuple[Any, list[Any], list[int]]] = []
    for plainly in (True, False):
        slept: list[int] = []

        async def sleep(seconds: float, slept: list[int] = slept) -> None:
            slept.append(int(seconds))  # without the jitter

        api.put("configmaps", "a/c")
        async with api.client(sleep=sleep, max_retries=3) as client, client.writer() as writer:
            if idle:
                await client.raw("GET", "/api/v1/nodes")
            api.requests.clear()
            api.faults.extend(faults)
            body = b'{"metadata":{"name":"c"},"data":{"n":"1"}}'
            if plainly:
                end = await _through_a_task(client, body)
            else:
                ends = Ends()
                writer.write("PUT", f"{PATH}/c", body, JSON, ends)
                end = await ends.one()
                assert ends.told == [], "told once"
            if isinstance(end, bytes):
                end = end[: end.index(b'"resourceVersion"')] if b'"resourceVersion"' in end else end
            sent = [(r.method, r.path, r.headers, r.body) for r in api.requests]
            seen.append((_outcome(end), sent, slept))
            api.faults.clear()
    assert seen[0] == seen[1]


async def test_many_at_once_have_no_more_connections_than_the_client(api: FakeApi) -> None:
    ends = Ends()
    async with api.client(max_connections=3) as client, client.writer() as writer:
        for number in range(20):
            api.put("configmaps", f"a/c{number}")
        for _ in range(3):
            for number in range(20):
                body = b'{"metadata":{"name":"c%d"}}' % number
                writer.write("PUT", f"{PATH}/c{number}", body, JSON, ends)
            for _ in range(20):
                assert isinstance(await ends.one(), bytes)
    assert api.connections == 3
    assert len(api.requests) == 60


async def test_a_closed_client_says_so(api: FakeApi) -> None:
    ends = Ends()
    client = api.client()
    async with client.writer() as writer:
        await client.raw("GET", "/api/v1/nodes")
        api.faults.append(FakeApi.HANG)
        writer.write("PUT", f"{PATH}/c", b"{}", JSON, ends)
        await client.close()
        assert isinstance(await ends.one(), ClientClosed)
        writer.write("PUT", f"{PATH}/c", b"{}", JSON, ends)
        assert isinstance(await ends.one(), ClientClosed)


async def test_a_closed_writer_tells_nothing(api: FakeApi) -> None:
    ends = Ends()
    async with api.client() as client:
        async with client.writer() as writer:
            await client.raw("GET", "/api/v1/nodes")
            api.faults.extend([FakeApi.HANG, FakeApi.HANG])
            for _ in range(2):  # on the idle connection, and in a task
                writer.write("PUT", f"{PATH}/c", b"{}", JSON, ends)
            await api.until(lambda: len(api.requests) == 3)
        api.break_connections()
        await client.raw("GET", "/api/v1/nodes")
    assert ends.told == []
