"""The status of ResourceQuotas; cases are those of upstream's resource_quota_controller_test.go."""

from __future__ import annotations

from typing import Any

import pytest
from fake_client import FakeClient, drain, make_context

from lakh.client.errors import ApiError
from lakh.client.resources import PODS, RESOURCEQUOTAS, SECRETS, SERVICES, Resource
from lakh.controllers.resourcequota import ResourceQuotaController

WIDGETS = Resource("example.com", "v1", "widgets", "Widget", True)
HARD = {"cpu": "3", "memory": "100Gi", "pods": "5"}


def pod(client: FakeClient, name: str, phase: str = "Running", **spec: Any) -> None:
    requests = {"cpu": "500m", "memory": "50Gi"}
    spec = {"containers": [{"name": "c", "resources": {"requests": requests}}], **spec}
    client.put(PODS, {"metadata": {"name": name}, "spec": spec, "status": {"phase": phase}})


def quota(
    client: FakeClient, hard: dict[str, str], status: dict[str, Any] | None = None, **spec: Any
) -> None:
    client.put(
        RESOURCEQUOTAS,
        {"metadata": {"name": "q"}, "spec": {"hard": hard, **spec}, "status": status or {}},
    )


def status(client: FakeClient) -> dict[str, Any]:
    found: dict[str, Any] = client.one(RESOURCEQUOTAS, "q", "default")["status"]
    return found


def start(client: FakeClient) -> ResourceQuotaController:
    client.served = [PODS, SECRETS, SERVICES, RESOURCEQUOTAS, WIDGETS]
    return ResourceQuotaController(make_context(client))


async def due(controller: ResourceQuotaController, client: FakeClient) -> None:
    """What was put off is counted now."""
    assert controller.queue.delayed
    controller.resync()
    await drain(controller)


async def test_pods_that_have_not_ended_are_charged(client: FakeClient) -> None:
    controller = start(client)
    for name, phase in (("a", "Running"), ("b", "Running"), ("c", "Failed")):
        pod(client, name, phase)
    client.put(PODS, {"metadata": {"name": "a", "namespace": "elsewhere"}, "spec": {}, "status": {}})
    quota(client, HARD)
    await drain(controller)
    assert status(client) == {"hard": HARD, "used": {"cpu": "1", "memory": "100Gi", "pods": "2"}}


async def test_what_is_right_is_not_written(client: FakeClient) -> None:
    controller = start(client)
    used = {"cpu": "0", "memory": "0", "pods": "0"}
    quota(client, HARD, {"hard": HARD, "used": used})
    await drain(controller)
    assert [r for r in client.requests if r[0] == "patch"] == []
    assert status(client)["used"] == used


async def test_a_changed_spec_is_counted_anew(client: FakeClient) -> None:
    controller = start(client)
    quota(client, HARD, {"hard": {"services": "1"}, "used": {"services": "0"}})
    await drain(controller)
    assert status(client)["hard"] == HARD
    client.change(RESOURCEQUOTAS, "q", {"spec": {"hard": {"cpu": None, "memory": None, "pods": "9"}}})
    await drain(controller)
    assert status(client) == {"hard": {"pods": "9"}, "used": {"pods": "0"}}


async def test_what_comes_and_goes_is_counted(client: FakeClient) -> None:
    controller = start(client)
    quota(client, {"pods": "5", "secrets": "3", "services.nodeports": "2", "count/widgets.example.com": "4"})
    await drain(controller)
    assert set(status(client)["used"].values()) == {"0"}
    pod(client, "a")
    client.put(SECRETS, {"metadata": {"name": "s"}})
    client.put(SERVICES, {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 1}]}})
    client.put(WIDGETS, {"metadata": {"name": "w"}})
    await due(controller, client)
    assert status(client)["used"] == {
        "pods": "1",
        "secrets": "1",
        "services.nodeports": "1",
        "count/widgets.example.com": "1",
    }


async def test_a_pod_that_ends_is_released(client: FakeClient) -> None:
    controller = start(client)
    pod(client, "a")
    quota(client, {"pods": "5"})
    await drain(controller)
    assert not controller.queue.delayed
    client.change(PODS, "a", {"metadata": {"labels": {"x": "y"}}})
    assert not controller.queue.delayed
    client.change(PODS, "a", {"status": {"phase": "Succeeded"}})
    await due(controller, client)
    assert status(client)["used"] == {"pods": "0"}


async def test_a_pod_that_is_resized_is_counted(client: FakeClient) -> None:
    controller = start(client)
    pod(client, "a")
    quota(client, {"requests.cpu": "5"})
    await drain(controller)
    resources = {"requests": {"cpu": "2"}}
    client.change(PODS, "a", {"spec": {"containers": [{"name": "c", "resources": resources}]}})
    await due(controller, client)
    assert status(client)["used"] == {"requests.cpu": "2"}


async def test_what_others_do_is_nothing_to_it(client: FakeClient) -> None:
    controller = start(client)
    quota(client, {"pods": "5"})
    await drain(controller)
    client.put(SECRETS, {"metadata": {"name": "s"}})
    client.put(PODS, {"metadata": {"name": "a", "namespace": "elsewhere"}, "spec": {}, "status": {}})
    assert not controller.queue.delayed
    client.remove(RESOURCEQUOTAS, "q")
    await drain(controller)
    pod(client, "a")
    assert not controller.queue.delayed


async def test_scopes(client: FakeClient) -> None:
    controller = start(client)
    pod(client, "a", activeDeadlineSeconds=5)
    pod(client, "b")
    client.put(SERVICES, {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 1}]}})
    quota(client, {"pods": "5", "services": "1"}, scopes=["Terminating"])
    await drain(controller)
    assert status(client)["used"] == {"pods": "1", "services": "0"}


async def test_what_nothing_limits_is_not_written(client: FakeClient) -> None:
    controller = start(client)
    quota(client, {})
    await drain(controller)
    assert [r for r in client.requests if r[0] == "patch"] == []
    client.change(RESOURCEQUOTAS, "q", {"spec": {"hard": {"pods": "9"}}})
    await drain(controller)
    client.change(RESOURCEQUOTAS, "q", {"spec": {"hard": {"pods": None}}})
    await drain(controller)
    assert status(client) == {}


async def test_a_kind_that_comes_to_be_served_is_counted(client: FakeClient) -> None:
    controller = start(client)
    client.served = [PODS]
    client.put(WIDGETS, {"metadata": {"name": "w"}})
    quota(client, {"pods": "5", "count/widgets.example.com": "4"})
    await drain(controller)
    await controller.look_for_kinds()
    assert not len(controller.queue)
    client.served = [PODS, WIDGETS]
    client.monotonic += 31
    await controller.look_for_kinds()
    await drain(controller)
    assert status(client)["used"] == {"pods": "0", "count/widgets.example.com": "1"}


async def test_a_kind_that_is_served_no_more_stops_no_other(client: FakeClient) -> None:
    controller = start(client)
    hard = {"count/widgets.example.com": "4", "pods": "5"}
    quota(client, hard)
    await drain(controller)
    listed = client.list

    async def without_widgets(resource: Resource, *args: Any, **options: Any) -> Any:
        if resource == WIDGETS:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        return await listed(resource, *args, **options)

    client.list = without_widgets  # type: ignore[method-assign]
    pod(client, "a")
    with pytest.raises(ApiError, match="could not find"):
        await due(controller, client)
    assert status(client)["used"] == {"count/widgets.example.com": "0", "pods": "1"}
    client.served.remove(WIDGETS)
    client.monotonic += 31
    controller.resync()
    await drain(controller)


async def test_nothing_of_a_quota_that_is_gone_is_remembered(client: FakeClient) -> None:
    controller = start(client)
    before = {name: repr(value) for name, value in vars(controller).items() if isinstance(value, dict)}
    quota(client, {"pods": "5"})
    await drain(controller)
    client.remove(RESOURCEQUOTAS, "q")
    await drain(controller)
    assert {n: repr(v) for n, v in vars(controller).items() if isinstance(v, dict)} == before


async def test_what_is_not_known_here_keeps_what_it_was(client: FakeClient) -> None:
    controller = start(client)
    hard = {"pods": "5", "count/unknown.example.com": "2", "example.com/other": "1"}
    used = {"count/unknown.example.com": "1", "gone": "7"}
    quota(client, hard, {"hard": hard, "used": used})
    await drain(controller)
    assert status(client)["used"] == {"pods": "0", "count/unknown.example.com": "1"}
