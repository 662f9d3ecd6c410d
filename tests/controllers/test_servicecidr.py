"""Ranges of service addresses are ready, and go when no address would be left without one."""

from __future__ import annotations

from typing import Any

from fake_client import NOW, FakeClient, drain, make_context

from lakh.client.resources import IPADDRESSES, SERVICECIDRS
from lakh.controllers import clock
from lakh.controllers.servicecidr import (
    FINALIZER,
    GRACE_SECONDS,
    MANAGER,
    MANAGER_LABEL,
    ServiceCIDRController,
)


def cidr(client: FakeClient, name: str, *cidrs: str, deleted: float | None = None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name}
    if deleted is not None:
        metadata |= {"finalizers": [FINALIZER], "deletionTimestamp": clock.stamp(NOW - deleted)}
    return client.put(SERVICECIDRS, {"metadata": metadata, "spec": {"cidrs": list(cidrs)}})


def address(client: FakeClient, name: str, manager: str = MANAGER) -> None:
    client.put(IPADDRESSES, {"metadata": {"name": name, "labels": {MANAGER_LABEL: manager}}})


def ready(client: FakeClient, name: str) -> tuple[str, str]:
    (condition,) = client.one(SERVICECIDRS, name)["status"]["conditions"]
    return condition["status"], condition.get("reason", "")


def names(client: FakeClient) -> list[str]:
    return [found["metadata"]["name"] for found in client.all(SERVICECIDRS)]


def finalizers(client: FakeClient, name: str) -> list[str]:
    return client.one(SERVICECIDRS, name)["metadata"].get("finalizers", [])  # type: ignore[no-any-return]


async def test_a_new_range_becomes_ready(client: FakeClient) -> None:
    controller = ServiceCIDRController(make_context(client))
    cidr(client, "more", "10.200.0.0/24")
    await drain(controller)
    assert ready(client, "more") == ("True", "")
    assert finalizers(client, "more") == [FINALIZER]
    writes = len(client.requests)
    controller.resync()
    await drain(controller)
    assert len(client.requests) == writes


async def test_addresses_keep_a_range(client: FakeClient) -> None:
    controller = ServiceCIDRController(make_context(client))
    address(client, "10.200.0.7")
    cidr(client, "more", "10.200.0.0/24", deleted=GRACE_SECONDS)
    await drain(controller)
    assert ready(client, "more") == ("False", "Terminating")
    client.remove(IPADDRESSES, "10.200.0.7", None)
    await drain(controller)
    assert "more" not in names(client)


async def test_only_the_allocators_addresses_count(client: FakeClient) -> None:
    controller = ServiceCIDRController(make_context(client))
    address(client, "10.200.0.7", "somebody")
    cidr(client, "more", "10.200.0.0/24", deleted=GRACE_SECONDS)
    await drain(controller)
    assert "more" not in names(client)


async def test_another_range_takes_the_addresses_over(client: FakeClient) -> None:
    controller = ServiceCIDRController(make_context(client))
    address(client, "10.200.0.7")
    cidr(client, "more", "10.200.0.0/24", deleted=GRACE_SECONDS)
    await drain(controller)
    assert finalizers(client, "more") == [FINALIZER]
    cidr(client, "all", "10.200.0.0/16")
    await drain(controller)
    assert "more" not in names(client)


async def test_a_deleted_range_stays_until_every_server_knows(client: FakeClient) -> None:
    controller = ServiceCIDRController(make_context(client))
    cidr(client, "more", "10.200.0.0/24", deleted=0)
    await drain(controller)
    assert finalizers(client, "more") == [FINALIZER]
    assert controller.queue.delayed == 1
