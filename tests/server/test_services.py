from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from lakh.server.serviceaddresses import DEFAULT_RANGE
from lakh.server.services import DYNAMIC_PORTS, NODE_PORTS
from tests.server.harness import Api

SERVICES = "/api/v1/namespaces/default/services"


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


def service(name: str, port: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80, **(port or {})}], **spec}}


async def test_addresses(api: Api) -> None:
    made = (await api.post(SERVICES, service("a"))).json["spec"]
    assert ipaddress.ip_address(made["clusterIP"]) in ipaddress.ip_network(DEFAULT_RANGE)
    assert made["clusterIPs"] == [made["clusterIP"]]
    again = await api.post(SERVICES, service("b", clusterIP=made["clusterIP"]))
    assert again.status == 422 and "already allocated" in again.json["message"]
    await api.delete(f"{SERVICES}/a")
    assert (await api.post(SERVICES, service("b", clusterIP=made["clusterIP"]))).status == 201
    assert (await api.post(SERVICES, service("c", clusterIP="None"))).json["spec"]["clusterIPs"] == ["None"]


async def test_node_ports(api: Api) -> None:
    made = (await api.post(SERVICES, service("a", type="NodePort"))).json
    port = made["spec"]["ports"][0]["nodePort"]
    assert port in DYNAMIC_PORTS
    taken = await api.post(SERVICES, service("b", {"nodePort": port}, type="NodePort"))
    assert taken.status == 422 and "provided port is already allocated" in taken.json["message"]
    outside = await api.post(SERVICES, service("b", {"nodePort": 80}, type="NodePort"))
    assert outside.status == 422 and "30000-32767" in outside.json["message"]
    del made["spec"]["ports"][0]["nodePort"]
    assert (await api.put(f"{SERVICES}/a", made)).json["spec"]["ports"][0]["nodePort"] == port, "kept"


async def test_dry_run_takes_nothing(api: Api) -> None:
    port = NODE_PORTS.start
    wanted = service("a", {"nodePort": port}, type="NodePort")
    assert (await api.post(f"{SERVICES}?dryRun=All", wanted)).status == 201
    assert (await api.post(SERVICES, service("b", {"nodePort": port}, type="NodePort"))).status == 201
