"""Endpoints that somebody wrote, mirrored into slices."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fake_client import FakeClient, drain, make_context

from lakh.client.resources import ENDPOINTS, ENDPOINTSLICES, SERVICES
from lakh.controllers.endpointslicemirroring import EndpointSliceMirroringController, mirror
from lakh.controllers.views import Endpoints

HTTP = {"name": "http", "port": 80, "protocol": "TCP"}
MANAGED = "endpointslice.kubernetes.io/managed-by"


def subset(*ips: str, waiting: tuple[str, ...] = (), port: dict[str, Any] = HTTP) -> dict[str, Any]:
    return {
        "addresses": [{"ip": ip} for ip in ips],
        "notReadyAddresses": [{"ip": ip} for ip in waiting],
        "ports": [port],
    }


def put(client: FakeClient, *subsets: dict[str, Any], **metadata: Any) -> None:
    client.put(ENDPOINTS, {"metadata": {"name": "db", **metadata}, "subsets": list(subsets)})


def make(client: FakeClient) -> EndpointSliceMirroringController:
    """A controller that waits for nothing."""
    controller = EndpointSliceMirroringController(make_context(client))
    controller.queue.add_after = lambda key, delay: controller.queue.add(key)  # type: ignore[method-assign]
    return controller


def told(client: FakeClient) -> dict[tuple[str, int], list[tuple[str, bool]]]:
    return {
        (one["addressType"], one["ports"][0]["port"]): [
            (end["addresses"][0], end["conditions"]["ready"]) for end in one["endpoints"]
        ]
        for one in client.all(ENDPOINTSLICES)
    }


async def test_one_slice_for_each_family_and_set_of_ports(client: FakeClient) -> None:
    controller = make(client)
    client.put(SERVICES, {"metadata": {"name": "db"}, "spec": {"ports": [{"port": 80}]}})
    put(
        client,
        subset("10.0.0.1", "fd00::1", waiting=("10.0.0.2",)),
        subset("10.0.0.1", "10.0.0.3"),
        subset("10.0.0.1", port={"port": 81}),
        labels={"team": "a"},
        annotations={"note": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
    )
    await drain(controller)
    assert told(client) == {
        ("IPv4", 80): [("10.0.0.1", True), ("10.0.0.2", False), ("10.0.0.3", True)],
        ("IPv6", 80): [("fd00::1", True)],
        ("IPv4", 81): [("10.0.0.1", True)],
    }
    found = client.all(ENDPOINTSLICES)[0]["metadata"]
    assert found["labels"] == {
        "team": "a",
        "kubernetes.io/service-name": "db",
        MANAGED: "endpointslicemirroring-controller.k8s.io",
    }
    assert found["annotations"] == {"note": "x"}
    assert found["ownerReferences"][0]["kind"] == "Endpoints"


async def test_changes_are_followed_in_the_same_slices(client: FakeClient) -> None:
    controller = make(client)
    client.put(SERVICES, {"metadata": {"name": "db"}, "spec": {}})
    put(client, subset("10.0.0.1"), labels={"team": "a"})
    await drain(controller)
    [first] = client.all(ENDPOINTSLICES)
    before = first["metadata"]["resourceVersion"]
    controller.resync()
    await drain(controller)
    assert first["metadata"]["resourceVersion"] == before
    patch = {
        "metadata": {"labels": {"team": None, "tier": "b"}},
        "subsets": [subset("10.0.0.2", port={"port": 81})],
    }
    client.change(ENDPOINTS, "db", patch)
    await drain(controller)
    [found] = client.all(ENDPOINTSLICES)
    assert found["metadata"]["name"] == first["metadata"]["name"]
    assert told(client) == {("IPv4", 81): [("10.0.0.2", True)]}
    assert found["metadata"]["labels"]["tier"] == "b"
    assert "team" not in found["metadata"]["labels"]
    # The name that the old ports would give is taken by now.
    client.change(ENDPOINTS, "db", {"subsets": [subset("10.0.0.1"), subset("10.0.0.2", port={"port": 81})]})
    await drain(controller)
    assert told(client) == {("IPv4", 81): [("10.0.0.2", True)], ("IPv4", 80): [("10.0.0.1", True)]}
    client.change(ENDPOINTS, "db", {"subsets": None})
    await drain(controller)
    assert client.all(ENDPOINTSLICES) == []


@pytest.mark.parametrize(
    "change",
    [
        (SERVICES, {"spec": {"selector": {"app": "db"}}}),
        (ENDPOINTS, {"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}}),
        (ENDPOINTS, {"metadata": {"annotations": {"control-plane.alpha.kubernetes.io/leader": "{}"}}}),
        (SERVICES, None),
        (ENDPOINTS, None),
    ],
)
async def test_what_is_not_to_be_mirrored_any_more_goes(client: FakeClient, change: Any) -> None:
    controller = make(client)
    client.put(SERVICES, {"metadata": {"name": "db"}, "spec": {}})
    put(client, subset("10.0.0.1"))
    foreign = {"kubernetes.io/service-name": "db", MANAGED: "somebody"}
    client.put(ENDPOINTSLICES, {"metadata": {"name": "other", "labels": foreign}})
    await drain(controller)
    assert len(client.all(ENDPOINTSLICES)) == 2
    resource, patch = change
    if patch is None:
        client.remove(resource, "db")
    else:
        client.change(resource, "db", patch)
    await drain(controller)
    assert [one["metadata"]["name"] for one in client.all(ENDPOINTSLICES)] == ["other"]


def test_at_most_a_thousand_of_each_subset() -> None:
    ips = [f"10.0.{n // 250}.{n % 250 + 1}" for n in range(1200)]
    body = {"metadata": {"name": "db"}, "subsets": [subset("nonsense", *ips, waiting=("10.9.9.9",))]}
    found = mirror(msgspec.convert(body, Endpoints))
    [addresses] = found.slices.values()
    assert (len(addresses), found.invalid, found.too_many) == (1000, 1, 201)
