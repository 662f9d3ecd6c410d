"""Endpoints in the old form."""

from __future__ import annotations

from fake_client import FakeClient, drain, make_context, ready_pod

from lakh.client.resources import ENDPOINTS, PODS, SERVICES
from lakh.controllers.endpoints import EndpointsController


async def test_follow_the_service(client: FakeClient) -> None:
    controller = EndpointsController(make_context(client))
    client.put(
        SERVICES, {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
    )
    for n in range(2):
        body = {"metadata": {"name": f"p{n}", "labels": {"app": "web"}}, "status": {"podIP": f"10.0.0.{n}"}}
        client.put(PODS, body)
    ready_pod(client, "p0")
    controller.resync()
    await drain(controller)
    [subset] = client.one(ENDPOINTS, "web", "default")["subsets"]
    assert [address["ip"] for address in subset["addresses"]] == ["10.0.0.0"]
    assert [address["ip"] for address in subset["notReadyAddresses"]] == ["10.0.0.1"]
    assert subset["ports"] == [{"port": 80, "protocol": "TCP"}]
    client.remove(SERVICES, "web")
    await drain(controller)
    assert client.all(ENDPOINTS) == []
