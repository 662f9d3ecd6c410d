"""Endpoints in the old form."""

from __future__ import annotations

from typing import Any

import msgspec
from fake_client import FakeClient, drain, make_context, ready_pod

from lakh.client.resources import ENDPOINTS, PODS, SERVICES
from lakh.controllers.endpoints import EndpointsController, subsets_of
from lakh.controllers.views import (
    Condition,
    Container,
    ContainerPort,
    Meta,
    Pod,
    PodIP,
    PodSpec,
    PodStatus,
    Service,
)


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


def pod(name: str, ip: str, ready: bool = True, port: str | None = None, deleted: bool = False) -> Pod:
    ports = [ContainerPort(name=port, containerPort=8080, protocol="TCP")] if port else None
    return Pod(
        Meta(name=name, uid=name, deletionTimestamp="2023-11-14T22:13:20Z" if deleted else None),
        PodSpec(containers=[Container(name="c", ports=ports)]),
        PodStatus(
            phase="Running",
            podIPs=[PodIP(ip=ip)],
            conditions=[Condition(type="Ready", status="True" if ready else "False")],
        ),
    )


def service(**spec: Any) -> Service:
    body = {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "web"}], **spec}
    return msgspec.convert({"metadata": {"name": "web"}, "spec": body}, Service)


def ips(addresses: list[dict[str, Any]]) -> list[str]:
    return [address["ip"] for address in addresses]


def test_pods_that_serve_none_of_the_ports_are_left_out() -> None:
    pods = [pod("a", "10.0.0.1", port="web"), pod("b", "10.0.0.2", port="other")]
    [subset] = subsets_of(service(), pods)[0]
    assert ips(subset["addresses"]) == ["10.0.0.1"]
    [subset] = subsets_of(service(ports=None, clusterIP="None"), pods)[0]
    assert ips(subset["addresses"]) == ["10.0.0.1", "10.0.0.2"]
    assert "ports" not in subset
    assert subsets_of(service(ports=None), pods) == ([], False)


def test_terminating_pods_are_published_with_those_that_are_not_ready() -> None:
    pods = [pod("a", "10.0.0.1", port="web", deleted=True), pod("b", "10.0.0.2", ready=False, port="web")]
    [subset] = subsets_of(service(), pods)[0]
    assert ips(subset["notReadyAddresses"]) == ["10.0.0.2"]
    assert "addresses" not in subset
    [subset] = subsets_of(service(publishNotReadyAddresses=True), pods)[0]
    assert ips(subset["addresses"]) == ["10.0.0.1", "10.0.0.2"]


def test_ready_addresses_are_the_last_to_be_left_out() -> None:
    pods = [pod(f"p{n:04}", f"10.0.{n // 250}.{n % 250}", ready=n >= 300, port="web") for n in range(1200)]
    [subset], truncated = subsets_of(service(), pods)
    assert truncated
    assert (len(subset["addresses"]), len(subset["notReadyAddresses"])) == (900, 100)


async def test_what_a_service_left_behind_goes(client: FakeClient) -> None:
    ours = {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}
    client.put(ENDPOINTS, {"metadata": {"name": "left", "labels": ours}})
    client.put(ENDPOINTS, {"metadata": {"name": "lock"}})
    controller = EndpointsController(make_context(client))
    controller.resync()
    await drain(controller)
    assert [one["metadata"]["name"] for one in client.all(ENDPOINTS)] == ["lock"]


async def test_trigger_time(client: FakeClient) -> None:
    def told() -> str | None:
        annotations = client.one(ENDPOINTS, "web", "default")["metadata"].get("annotations") or {}
        time: str | None = annotations.get("endpoints.kubernetes.io/last-change-trigger-time")
        return time

    controller = EndpointsController(make_context(client))
    body = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    client.put(SERVICES, {"metadata": {"name": "web"}, "spec": body})
    await drain(controller)
    assert told() == "2023-11-14T00:00:00Z"
    client.put(PODS, {"metadata": {"name": "p", "labels": {"app": "web"}}, "status": {"podIP": "10.0.0.1"}})
    ready_pod(client, "p", "2023-11-14T22:00:00Z")
    controller.resync()
    await drain(controller)
    assert told() == "2023-11-14T22:00:00Z"
    client.change(SERVICES, "web", {"metadata": {"labels": {"team": "a"}}})
    await drain(controller)
    assert told() is None


def test_ports_of_sidecars_count() -> None:
    port = [ContainerPort(name="web", containerPort=9090, protocol="TCP")]
    for policy, expected in (("Always", [9090]), (None, [])):
        found = pod("a", "10.0.0.1")
        found.spec.initContainers = [Container(name="s", ports=port, restartPolicy=policy)]
        subsets, _ = subsets_of(service(), [found])
        assert [one["ports"][0]["port"] for one in subsets] == expected
