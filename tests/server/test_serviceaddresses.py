"""IPAddresses come and go with services; ranges of addresses."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from lakh.server import serviceaddresses
from lakh.server.serviceaddresses import DEFAULT_RANGE, ORPHAN_SECONDS, keep_repairing, repair
from tests.server.harness import Api

SERVICES = "/api/v1/namespaces/default/services"
ADDRESSES = "/apis/networking.k8s.io/v1/ipaddresses"
RANGES = "/apis/networking.k8s.io/v1/servicecidrs"


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


def servicecidr(name: str, cidr: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"cidrs": [cidr]}}


async def names(api: Api) -> set[str]:
    return {item["metadata"]["name"] for item in (await api.get(ADDRESSES)).json["items"]}


async def mended(api: Api, later: float = 0.0) -> int:
    server = api.server
    return await repair(server.cluster, server.services.addresses, time.time() + later)


async def test_every_cluster_has_a_range_and_the_servers_own_address(api: Api) -> None:
    found = (await api.get(f"{RANGES}/kubernetes")).json
    assert found["spec"]["cidrs"] == [DEFAULT_RANGE]
    (condition,) = found["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Ready", "True")
    assert condition["message"] == "Kubernetes default Service CIDR is ready"
    assert await names(api) == {"10.96.0.1"}


async def test_an_address_is_that_of_its_service(api: Api) -> None:
    address = (await api.post(SERVICES, service("a"))).json["spec"]["clusterIP"]
    found = (await api.get(f"{ADDRESSES}/{address}")).json
    assert found["spec"]["parentRef"] == {
        "group": "",
        "resource": "services",
        "namespace": "default",
        "name": "a",
    }
    assert found["metadata"]["labels"] == {
        "ipaddress.kubernetes.io/ip-family": "IPv4",
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    }
    assert found["metadata"]["managedFields"][0]["manager"] == "kube-apiserver"
    await api.delete(f"{SERVICES}/a")
    assert (await api.get(f"{ADDRESSES}/{address}")).status == 404


async def test_addresses_follow_the_type(api: Api) -> None:
    made = (await api.post(SERVICES, service("a"))).json
    change = {
        "spec": {"type": "ExternalName", "externalName": "a.example", "clusterIP": "", "clusterIPs": None}
    }
    assert (await api.patch(f"{SERVICES}/a", change)).status == 200
    assert made["spec"]["clusterIP"] not in await names(api)
    changed = (await api.patch(f"{SERVICES}/a", {"spec": {"type": "ClusterIP", "externalName": None}})).json
    assert changed["spec"]["clusterIP"] in await names(api)


async def test_finalizers_keep_the_address_with_the_service(api: Api) -> None:
    wanted = service("a")
    wanted["metadata"]["finalizers"] = ["example.com/wait"]
    address = (await api.post(SERVICES, wanted)).json["spec"]["clusterIP"]
    await api.delete(f"{SERVICES}/a")
    assert address in await names(api)
    await api.patch(f"{SERVICES}/a", {"metadata": {"finalizers": None}})
    assert address not in await names(api)


async def test_what_is_refused_or_tried_leaves_nothing(api: Api) -> None:
    await api.post(SERVICES, service("a"))
    before = await names(api)
    assert (await api.post(SERVICES, service("a"))).status == 409
    assert (await api.post(SERVICES, service("b", ports=[{"port": -1}]))).status == 422
    assert (await api.post(f"{SERVICES}?dryRun=All", service("b"))).status == 201
    assert (await api.post(SERVICES, service("b", clusterIP="None"))).status == 201
    assert await names(api) == before


async def test_an_ip_address_of_somebody_else_is_taken(api: Api) -> None:
    reference = {"resource": "gateways", "group": "example.com", "namespace": "default", "name": "g"}
    theirs = {"metadata": {"name": "10.96.7.7"}, "spec": {"parentRef": reference}}
    assert (await api.post(ADDRESSES, theirs)).status == 201
    refused = await api.post(SERVICES, service("a", clusterIP="10.96.7.7"))
    assert refused.status == 422
    assert "failed to allocate IP 10.96.7.7: provided IP is already allocated" in refused.json["message"]
    assert await mended(api, later=9 * ORPHAN_SECONDS) == 0


@pytest.mark.parametrize("address", ["10.95.0.1", "10.96.0.0", "10.111.255.255"])
async def test_addresses_outside(api: Api, address: str) -> None:
    refused = await api.post(SERVICES, service("a", clusterIP=address))
    assert refused.status == 422
    assert "the provided network does not match the current range" in refused.json["message"]


async def test_another_range(api: Api) -> None:
    assert (await api.post(RANGES, servicecidr("more", "10.200.0.0/24"))).status == 201
    assert (await api.post(SERVICES, service("a", clusterIP="10.200.0.9"))).status == 201
    assert "10.200.0.9" in await names(api)


async def test_full_ranges_and_a_new_one(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    # One range of 2 addresses, searched without luck.
    monkeypatch.setattr(serviceaddresses, "TRIES", 0)
    await api.patch(f"{RANGES}/kubernetes", {"metadata": {"finalizers": ["example.com/wait"]}})
    await api.delete(f"{RANGES}/kubernetes")
    full = await api.post(SERVICES, service("z"))
    assert full.status == 500 and "range is full" in full.json["message"]
    await api.post(RANGES, servicecidr("small", "10.200.0.0/30"))
    made = [(await api.post(SERVICES, service(name))) for name in "abc"]
    assert [answer.status for answer in made] == [201, 201, 500]
    assert {a.json["spec"]["clusterIP"] for a in made[:2]} == {"10.200.0.1", "10.200.0.2"}
    # One that is not ready gives nothing.
    await api.post(RANGES, servicecidr("large", "10.201.0.0/24"))
    conditions = [
        {"type": "Ready", "status": "False", "reason": "R", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    ]
    await api.patch(f"{RANGES}/large/status", {"status": {"conditions": conditions}})
    assert (await api.post(SERVICES, service("d"))).status == 500
    conditions[0]["status"] = "True"
    await api.patch(f"{RANGES}/large/status", {"status": {"conditions": conditions}})
    given = (await api.post(SERVICES, service("d"))).json["spec"]["clusterIP"]
    # The lower 16 are for who asks for them.
    assert int(ipaddress.ip_address(given)) - int(ipaddress.ip_address("10.201.0.0")) > 16


async def test_repair(api: Api) -> None:
    address = (await api.post(SERVICES, service("a"))).json["spec"]["clusterIP"]
    assert await mended(api) == 0
    await api.delete(f"{ADDRESSES}/{address}")
    assert await mended(api) == 1
    assert address in await names(api)
    # Labels are part of it, and so is the service.
    await api.patch(f"{ADDRESSES}/{address}", {"metadata": {"labels": None}})
    assert await mended(api) == 1
    assert (await api.get(f"{ADDRESSES}/{address}")).json["metadata"]["labels"]
    await api.delete(f"{ADDRESSES}/{address}")
    wrong = serviceaddresses.ip_address(address, type("M", (), {"namespace": "default", "name": "none"}))
    assert (await api.post(ADDRESSES, wrong)).status == 201
    assert await mended(api) == 1
    assert (await api.get(f"{ADDRESSES}/{address}")).json["spec"]["parentRef"]["name"] == "a"


async def test_addresses_of_no_service_go_after_a_while(api: Api) -> None:
    orphan = serviceaddresses.ip_address("10.96.9.9", type("M", (), {"namespace": "default", "name": "none"}))
    assert (await api.post(ADDRESSES, orphan)).status == 201
    assert await mended(api) == 0
    assert await mended(api, later=ORPHAN_SECONDS + 2) == 1
    assert "10.96.9.9" not in await names(api)


async def test_what_somebody_deletes_comes_back_at_once(api: Api) -> None:
    address = (await api.post(SERVICES, service("a"))).json["spec"]["clusterIP"]
    cluster, known = api.server.cluster, api.server.services.addresses
    task = asyncio.create_task(keep_repairing(cluster, known))
    try:
        await asyncio.sleep(0)
        version = (await api.get(ADDRESSES)).json["metadata"]["resourceVersion"]
        stream = await api.watch(f"{ADDRESSES}?watch=1&resourceVersion={version}")
        await api.delete(f"{ADDRESSES}/{address}")
        gone, back = await stream.until(2)
        assert (gone["type"], back["type"]) == ("DELETED", "ADDED")
        assert back["object"]["spec"]["parentRef"]["name"] == "a"
        version = (await api.get(RANGES)).json["metadata"]["resourceVersion"]
        stream = await api.watch(f"{RANGES}?watch=1&resourceVersion={version}")
        await api.delete(f"{RANGES}/kubernetes")
        events = await stream.until(3)
        assert [event["type"] for event in events] == ["DELETED", "ADDED", "MODIFIED"]
        assert events[-1]["object"]["status"]["conditions"][0]["status"] == "True"
        # An address whose service goes with it stays away.
        await api.delete(f"{SERVICES}/a")
        assert address not in await names(api)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
