"""What cannot be deleted, and what comes back when it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from lakh.server.bootstrap import repair
from lakh.server.keeping import Keeper
from tests.server.harness import Api

NAMESPACES = "/api/v1/namespaces"
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
SERVICE = f"{NAMESPACES}/default/services/kubernetes"
SCHEMAS = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
SCHEMA = f"{SCHEMAS}/catch-all"


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
async def test_the_clusters_own_namespaces_stay(api: Api, name: str) -> None:
    refused = await api.delete(f"{NAMESPACES}/{name}")
    assert refused.status == 403
    assert refused.json["message"] == f'namespaces "{name}" is forbidden: this namespace may not be deleted'
    kept = (await api.get(f"{NAMESPACES}/{name}")).json
    assert kept["status"]["phase"] == "Active" and "deletionTimestamp" not in kept["metadata"]


async def test_the_namespace_of_node_leases_may_go(api: Api) -> None:
    assert (await api.delete(f"{NAMESPACES}/kube-node-lease")).json["status"]["phase"] == "Terminating"


async def test_system_priority_classes_stay(api: Api) -> None:
    refused = await api.delete(f"{CLASSES}/system-node-critical")
    assert refused.status == 403
    assert refused.json["message"] == (
        'priorityclasses.scheduling.k8s.io "system-node-critical" is forbidden: '
        "this is a system priority class and cannot be deleted"
    )
    await api.post(CLASSES, {"metadata": {"name": "mine"}, "value": 1})
    assert (await api.delete(f"{CLASSES}/mine")).status == 200


async def test_what_the_server_rests_on_is_put_back(api: Api) -> None:
    before = (await api.get(SERVICE)).json
    for path in (SERVICE, SCHEMA):
        assert (await api.delete(path)).status == 200
        assert (await api.get(path)).status == 404
    await repair(api.server.cluster, 6443)
    after = (await api.get(SERVICE)).json
    assert after["spec"] == before["spec"]
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert (await api.get(SCHEMA)).status == 200


async def test_what_another_component_makes_is_not(api: Api) -> None:
    account = f"{NAMESPACES}/kube-public/serviceaccounts/default"
    assert (await api.delete(account)).status == 200
    await repair(api.server.cluster, 6443)
    assert (await api.get(account)).status == 404


def dangling(schema: dict[str, Any]) -> list[tuple[str, str]]:
    """Status and reason of the condition; nothing without a flow schema."""
    if schema["kind"] != "FlowSchema":
        return []
    conditions = schema.get("status", {}).get("conditions") or ()
    return [(c["status"], c["reason"]) for c in conditions if c["type"] == "Dangling"]


async def test_flow_schemas_say_whether_they_lead_anywhere(api: Api) -> None:
    keeper = Keeper(api.server.cluster, 6443, lambda: True, publishes=False)
    await keeper.keep()
    assert dangling((await api.get(SCHEMA)).json) == [("False", "Found")]
    mine = {
        "metadata": {"name": "mine"},
        "spec": {"priorityLevelConfiguration": {"name": "none"}, "matchingPrecedence": 500},
    }
    assert (await api.post(SCHEMAS, mine)).status == 201
    await keeper.keep()
    found = (await api.get(f"{SCHEMAS}/mine")).json
    assert dangling(found) == [("True", "NotFound")]
    assert found["status"]["conditions"][0]["message"].endswith('named "none" but there is no such object')
    managers = {m["manager"]: m.get("subresource") for m in found["metadata"]["managedFields"]}
    assert managers["api-priority-and-fairness-config-consumer-v1"] == "status"
    await keeper.keep()
    again = (await api.get(f"{SCHEMAS}/mine")).json
    assert again["metadata"]["resourceVersion"] == found["metadata"]["resourceVersion"]
    await api.patch(f"{SCHEMAS}/mine", {"spec": {"priorityLevelConfiguration": {"name": "global-default"}}})
    await keeper.keep()
    assert dangling((await api.get(f"{SCHEMAS}/mine")).json) == [("False", "Found")]


async def test_a_change_wakes_the_keeper(api: Api) -> None:
    task = asyncio.create_task(Keeper(api.server.cluster, 6443, lambda: True, publishes=False).run())
    try:
        async with asyncio.timeout(120):
            while not dangling((await api.get(SCHEMA)).json):
                await asyncio.sleep(0)
            await api.delete(SCHEMA)
            while not dangling((await api.get(SCHEMA)).json):
                await asyncio.sleep(0)
    finally:
        task.cancel()


async def test_nothing_is_done_before_the_server_is_ready(api: Api) -> None:
    task = asyncio.create_task(Keeper(api.server.cluster, 6443, lambda: False, publishes=False).run())
    for _ in range(20):
        await asyncio.sleep(0)
    assert dangling((await api.get(SCHEMA)).json) == []
    task.cancel()
