"""The fleet's kubelets behind a real API server: logs, and what a node that runs nothing says to the rest."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lakh.client.client import Client
from lakh.client.kubeconfig import load_kubeconfig
from lakh.client.resources import NODES, PODS
from lakh.nodes.catalogue import CATALOGUE
from lakh.nodes.endpoint import serving
from lakh.nodes.fleet import Fleet
from lakh.server.app import ApiServer

LOG = "/api/v1/namespaces/default/pods/p/log"
NODE = "trn2-00000"


class World:
    """An API server, a fleet of one node, and a pod on it that runs."""

    def __init__(self, server: ApiServer, client: Client, fleet: Fleet) -> None:
        self.server = server
        self.client = client
        self.fleet = fleet

    async def ask(self, method: str, path: str, *headers: str) -> tuple[str, asyncio.StreamReader, Any]:
        """The head of an answer, and what comes behind it."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.server.port, ssl=self.client.config.ssl_context(), server_hostname="localhost"
        )
        writer.write("\r\n".join((f"{method} {path} HTTP/1.1", "host: x", *headers, "", "")).encode())
        return (await reader.readuntil(b"\r\n\r\n")).decode(), reader, writer

    async def text(self, method: str, path: str, *headers: str) -> tuple[int, str]:
        head, reader, writer = await self.ask(method, path, "connection: close, upgrade", *headers)
        body = await reader.read()
        writer.close()
        return int(head.split(" ")[1]), body.decode()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    server = await ApiServer.start(tmp_path, port=0)
    client = Client(load_kubeconfig(tmp_path / "kubeconfig"), user_agent="tests")
    fleet = Fleet(client, CATALOGUE["trn2.48xlarge"], 1)
    async with serving(fleet, client):
        running = asyncio.create_task(fleet.run())
        pod = {
            "metadata": {"name": "p", "annotations": {"lakh.dev/start-seconds": "0"}},
            "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "i"}]},
        }
        made = await client.create(PODS, pod, "default")
        async with asyncio.timeout(60):
            while True:
                found = fleet.pod("default", "p")
                if found is not None and found.status is not None and found.status.containerStatuses:
                    break
                await fleet.news(made["metadata"]["uid"])
        yield World(server, client, fleet)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await client.close()
    await server.stop()


async def test_kubelets_answer(world: World) -> None:
    started = f"c: started on {NODE} (a simulated node runs no image)\n"
    status, body = await world.text("GET", LOG)
    assert status == 200 and started in body
    assert (await world.text("GET", f"{LOG}?previous=true"))[0] == 400
    assert "ok" in (await world.text("GET", f"/api/v1/nodes/{NODE}/proxy/healthz"))[1]
    assert '"name":"p"' in (await world.text("GET", f"/api/v1/nodes/{NODE}/proxy/pods"))[1]
    assert (await world.text("GET", f"/api/v1/nodes/{NODE}/proxy/nonsense"))[0] == 404
    for path in ("exec?command=ls", "attach", "portforward"):
        status, body = await world.text("POST", LOG[:-3] + path, "upgrade: SPDY/3.1")
        assert status == 501 and "a simulated node runs no images" in body

    # A log is followed until its container has ended.
    head, reader, writer = await world.ask("GET", f"{LOG}?follow=true")
    assert "200 OK" in head
    await reader.readuntil(started.encode())
    await world.client.delete(PODS, "p", "default")
    async with asyncio.timeout(60):
        await reader.readuntil(b"c: exited with code 143\n")
        await reader.readuntil(b"0\r\n\r\n")
    writer.close()

    # Nobody but the API server is answered.
    node = await world.client.get(NODES, NODE)
    url = node["metadata"]["annotations"]["lakh.dev/kubelet-url"]
    port = int(url.split(":")[2].split("/")[0])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        await _healthz(port, context)


async def _healthz(port: int, context: ssl.SSLContext) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(b"GET /nodes/%s/healthz HTTP/1.1\r\n\r\n" % NODE.encode())
        await reader.readuntil(b"ok")
    finally:
        writer.close()
