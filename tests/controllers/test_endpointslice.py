"""EndpointSlices: packing, and the shell."""

from __future__ import annotations

from typing import Any

import pytest
from fake_client import FakeClient, drain, make_context, ready_pod
from hypothesis import given
from hypothesis import strategies as st

from lakh.client.resources import ENDPOINTSLICES, NODES, PODS, SERVICES
from lakh.controllers.endpointslice import EndpointSliceController, Ports, pack
from lakh.controllers.views import EndpointSlice, Meta

PORTS: Ports = (("http", 80, "TCP", None),)


def ends(uids: Any) -> dict[str, dict[str, Any]]:
    return {uid: {"addresses": [uid], "targetRef": {"uid": uid}} for uid in uids}


@given(
    st.sets(st.integers(0, 400), max_size=350),
    st.lists(st.sets(st.integers(0, 400), max_size=100), max_size=4),
)
def test_pack_places_each_endpoint_once(wanted: set[int], present: list[set[int]]) -> None:
    seen: set[int] = set()
    existing = []
    for number, uids in enumerate(present):
        uids = uids - seen
        seen |= uids
        existing.append(
            EndpointSlice(
                Meta(name=f"s{number}", uid=f"s{number}"),
                "IPv4",
                list(ends(map(str, sorted(uids))).values()),
                [{"name": "http", "port": 80, "protocol": "TCP"}],
            )
        )
    plan = pack({PORTS: ends(map(str, sorted(wanted)))} if wanted else {}, existing)
    slices = {found.metadata.name: found.endpoints or [] for found in existing}
    for found, endpoints in plan.update:
        slices[found.metadata.name] = endpoints
    for found in plan.delete:
        del slices[found.metadata.name]
    result = [one["targetRef"]["uid"] for endpoints in slices.values() for one in endpoints]
    result += [one["targetRef"]["uid"] for _, endpoints in plan.create for one in endpoints]
    assert sorted(result) == sorted(map(str, wanted))
    assert all(0 < len(endpoints) <= 100 for endpoints in slices.values())
    again = pack({PORTS: ends(map(str, sorted(wanted)))} if wanted else {}, [])
    assert sum(len(endpoints) for _, endpoints in again.create) == len(wanted)


async def test_service_with_a_named_port(client: FakeClient) -> None:
    controller = EndpointSliceController(make_context(client))
    client.put(NODES, {"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}}})
    client.put(
        SERVICES,
        {
            "metadata": {"name": "web"},
            "spec": {
                "selector": {"app": "web"},
                "ports": [{"name": "http", "port": 80, "targetPort": "web"}],
            },
        },
    )
    for n in range(2):
        client.put(
            PODS,
            {
                "metadata": {"name": f"p{n}", "labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]},
                "status": {"phase": "Running", "podIP": f"10.0.0.{n}"},
            },
        )
    ready_pod(client, "p0")
    controller.resync()
    await drain(controller)
    [found] = client.all(ENDPOINTSLICES)
    assert found["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert found["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
    assert [(one["addresses"], one["conditions"]["ready"]) for one in found["endpoints"]] == [
        (["10.0.0.0"], True),
        (["10.0.0.1"], False),
    ]
    assert found["endpoints"][0]["zone"] == "z1"
    client.remove(PODS, "p0")
    client.remove(PODS, "p1")
    controller.resync()
    await drain(controller)
    [left] = client.all(ENDPOINTSLICES)
    assert (left["endpoints"], left["ports"]) == ([], [])
    assert left["metadata"]["name"] == found["metadata"]["name"]


def make(client: FakeClient) -> EndpointSliceController:
    """A controller that waits for nothing."""
    controller = EndpointSliceController(make_context(client))
    controller.queue.add_after = lambda key, delay: controller.queue.add(key)  # type: ignore[method-assign]
    return controller


def put_service(client: FakeClient, **spec: Any) -> None:
    ports = [{"name": "http", "port": 80}]
    body = {"metadata": {"name": "web", "labels": {"team": "a"}}}
    client.put(SERVICES, {**body, "spec": {"selector": {"app": "web"}, "ports": ports, **spec}})


def put_pod(client: FakeClient, name: str, node: str, ips: list[str], ready: bool = True) -> None:
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": "2023-11-14T22:13:20Z"}
    client.put(
        PODS,
        {
            "metadata": {"name": name, "labels": {"app": "web"}},
            "spec": {"nodeName": node},
            "status": {
                "phase": "Running",
                "podIPs": [{"ip": ip} for ip in ips],
                "conditions": [condition],
            },
        },
    )


def put_node(client: FakeClient, name: str, zone: str) -> None:
    client.put(NODES, {"metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}}})


async def test_the_placeholder_becomes_the_first_slice(client: FakeClient) -> None:
    controller = make(client)
    put_service(client)
    await drain(controller)
    [empty] = client.all(ENDPOINTSLICES)
    name = empty["metadata"]["name"]
    assert (empty["endpoints"], empty["ports"]) == ([], [])
    trigger = "endpoints.kubernetes.io/last-change-trigger-time"
    assert empty["metadata"]["annotations"] == {trigger: "2023-11-14T00:00:00Z"}
    assert empty["metadata"]["labels"] == {
        "team": "a",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "service.kubernetes.io/headless": "",
    }
    put_node(client, "n1", "z1")
    put_pod(client, "p0", "n1", ["10.0.0.1"])
    await drain(controller)
    [full] = client.all(ENDPOINTSLICES)
    assert full["metadata"]["name"] == name
    assert full["metadata"]["annotations"] == {trigger: "2023-11-14T22:13:20Z"}
    assert [one["addresses"] for one in full["endpoints"]] == [["10.0.0.1"]]
    assert [port["port"] for port in full["ports"]] == [80]


async def test_labels_follow_the_service_and_others_changes_are_put_right(client: FakeClient) -> None:
    controller = make(client)
    put_service(client)
    put_node(client, "n1", "z1")
    put_pod(client, "p0", "n1", ["10.0.0.1"])
    await drain(controller)
    [found] = client.all(ENDPOINTSLICES)
    labels = {"team": None, "kubernetes.io/service-name": "other", "tier": "b"}
    client.change(SERVICES, "web", {"metadata": {"labels": labels}})
    await drain(controller)
    assert found["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
    assert found["metadata"]["labels"]["tier"] == "b"
    assert "team" not in found["metadata"]["labels"]
    client.change(ENDPOINTSLICES, found["metadata"]["name"], {"endpoints": []})
    await drain(controller)
    assert [one["addresses"] for one in found["endpoints"]] == [["10.0.0.1"]]


async def test_two_families_and_back_to_one(client: FakeClient) -> None:
    controller = make(client)
    put_service(client, ipFamilies=["IPv4", "IPv6"])
    put_node(client, "n1", "z1")
    put_pod(client, "p0", "n1", ["10.0.0.1", "fd00::1"])
    await drain(controller)
    found = {one["addressType"]: one["endpoints"][0]["addresses"] for one in client.all(ENDPOINTSLICES)}
    assert found == {"IPv4": ["10.0.0.1"], "IPv6": ["fd00::1"]}
    client.change(SERVICES, "web", {"spec": {"ipFamilies": ["IPv4"]}})
    await drain(controller)
    assert [one["addressType"] for one in client.all(ENDPOINTSLICES)] == ["IPv4"]


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (None, [None, None]),
        ("PreferClose", [{"forZones": [{"name": "z1"}]}, None]),
        ("PreferSameZone", [{"forZones": [{"name": "z1"}]}, None]),
        ("PreferSameNode", [{"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]}, None]),
    ],
)
async def test_hints(client: FakeClient, distribution: str | None, expected: list[Any]) -> None:
    controller = make(client)
    put_service(client, **({"trafficDistribution": distribution} if distribution else {}))
    put_node(client, "n1", "z1")
    put_pod(client, "p0", "n1", ["10.0.0.1"])
    put_pod(client, "p1", "n1", ["10.0.0.2"], ready=False)
    await drain(controller)
    [found] = client.all(ENDPOINTSLICES)
    assert [one.get("hints") for one in found["endpoints"]] == expected


async def test_pods_of_unknown_nodes_wait_for_the_node(client: FakeClient) -> None:
    controller = make(client)
    put_service(client)
    put_pod(client, "p0", "n1", ["10.0.0.1"])
    await drain(controller)
    [found] = client.all(ENDPOINTSLICES)
    assert found["endpoints"] == []
    put_node(client, "n1", "z1")
    await drain(controller)
    assert [one["zone"] for one in found["endpoints"]] == ["z1"]


async def test_a_sync_waits_for_the_last_ones_writes(client: FakeClient) -> None:
    controller = make(client)
    put_service(client)
    client.hold()
    await controller.reconcile("default/web")
    writes = len(client.requests)
    put_pod(client, "p0", "", ["10.0.0.1"])
    await controller.reconcile("default/web")
    assert len(client.requests) == writes
    client.release()
    await controller.reconcile("default/web")
    [found] = client.all(ENDPOINTSLICES)
    assert len(found["endpoints"]) == 1
