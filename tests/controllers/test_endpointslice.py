"""EndpointSlices: packing, and the shell."""

from __future__ import annotations

from typing import Any

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
    assert client.all(ENDPOINTSLICES) == []
