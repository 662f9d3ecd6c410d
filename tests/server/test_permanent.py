"""What cannot be deleted, and what comes back when it was."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from lakh.server.bootstrap import repair
from tests.server.harness import Api

NAMESPACES = "/api/v1/namespaces"
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
SERVICE = f"{NAMESPACES}/default/services/kubernetes"
SCHEMA = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/catch-all"


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
