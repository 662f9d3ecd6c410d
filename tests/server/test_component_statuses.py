"""ComponentStatuses: asked at the moment, in every form."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from .harness import Api

PATH = "/api/v1/componentstatuses"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.fixture
async def component() -> AsyncIterator[list[bytes]]:
    """A component: its port, and what it answers."""
    answer = [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        assert request.startswith(b"GET /healthz HTTP/1.1\r\n")
        writer.write(answer[1])
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        answer[0] = b"%d" % server.sockets[0].getsockname()[1]
        yield answer


@pytest.fixture
async def api(component: list[bytes]) -> AsyncIterator[Api]:
    api = await Api.start()
    api.server.handlers.components.components = {"scheduler": f"127.0.0.1:{int(component[0])}"}
    yield api
    await api.stop()


def healthy(name: str) -> dict[str, object]:
    return {
        "metadata": {"name": name},
        "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}],
    }


async def test_all_are_well(api: Api) -> None:
    listed = await api.get(PATH)
    assert listed.json == {
        "kind": "ComponentStatusList",
        "apiVersion": "v1",
        "metadata": {},
        "items": [healthy("scheduler"), healthy("etcd-0")],
    }
    assert listed.warnings == ['299 - "v1 ComponentStatus is deprecated in v1.19+"']
    one = await api.get(f"{PATH}/scheduler")
    assert one.json == {"kind": "ComponentStatus", "apiVersion": "v1", **healthy("scheduler")}


async def test_what_is_wrong_is_said(api: Api, component: list[bytes]) -> None:
    component[1] = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    (condition,) = (await api.get(f"{PATH}/scheduler")).json["conditions"]
    assert condition == {
        "type": "Healthy",
        "status": "False",
        "message": "HTTP probe failed with statuscode: 500",
    }
    api.server.cluster.partitions["pods"].failed = True  # type: ignore[misc]
    (condition,) = (await api.get(f"{PATH}/etcd-0")).json["conditions"]
    assert condition == {"type": "Healthy", "status": "False", "error": "failed partitions: pods"}


async def test_nobody_answers(api: Api) -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    api.server.handlers.components.components = {"scheduler": f"127.0.0.1:{port}"}
    (condition,) = (await api.get(f"{PATH}/scheduler")).json["conditions"]
    assert condition["status"] == "False"
    assert condition["message"] == (
        f'Get "http://127.0.0.1:{port}/healthz": dial tcp 127.0.0.1:{port}: connect: connection refused'
    )


async def test_forms(api: Api) -> None:
    table = (await api.get(PATH, accept=TABLE)).json
    assert [row["cells"] for row in table["rows"]] == [
        ["scheduler", "Healthy", "ok", ""],
        ["etcd-0", "Healthy", "ok", ""],
    ]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    table = (await api.get(f"{PATH}/etcd-0?includeObject=Object", accept=TABLE)).json
    assert table["rows"][0]["object"]["kind"] == "ComponentStatus"
    packed = await api.get(PATH, accept="application/vnd.kubernetes.protobuf")
    assert packed.content_type == "application/vnd.kubernetes.protobuf"
    assert b"scheduler" in packed.body


async def test_selected(api: Api) -> None:
    listed = (await api.get(f"{PATH}?fieldSelector=metadata.name%3Detcd-0")).json
    assert [o["metadata"]["name"] for o in listed["items"]] == ["etcd-0"]
    assert (await api.get(f"{PATH}?labelSelector=a%3Db")).json["items"] == []


async def test_refused(api: Api) -> None:
    missing = await api.get(f"{PATH}/etcd-1")
    assert (missing.status, missing.json["message"]) == (500, "Component not found: etcd-1")
    for method in ("POST", "DELETE", "HEAD"):
        assert (await api.call(method, PATH, {} if method == "POST" else None)).status == 405
