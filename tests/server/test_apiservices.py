"""APIServices of what the server serves itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from lakh.server.apiservices import AUTOMANAGED, reconcile_api_services, served
from tests.server.harness import Api

SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    await reconcile_api_services(api.server.cluster)
    yield api
    await api.stop()


async def test_each_group_and_version_has_one(api: Api) -> None:
    found = {item["metadata"]["name"]: item for item in (await api.get(SERVICES)).json["items"]}
    assert found.keys() == served(api.server.cluster).keys()
    core, apps = found["v1."], found["v1.apps"]
    assert core["spec"] == {"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1}
    assert apps["spec"] == {
        "group": "apps",
        "version": "v1",
        "groupPriorityMinimum": 17800,
        "versionPriority": 15,
    }
    assert apps["metadata"]["labels"] == {AUTOMANAGED: "onstart"}
    (condition,) = apps["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Available", "True", "Local")
    assert "v1.apiregistration.k8s.io" not in found


async def test_what_is_served_no_more_goes_and_what_others_registered_stays(api: Api) -> None:
    def service(group: str, labels: dict[str, str]) -> dict[str, object]:
        spec = {"group": group, "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}
        return {"metadata": {"name": f"v1.{group}", "labels": labels}, "spec": spec}

    assert (await api.post(SERVICES, service("gone.example.com", {AUTOMANAGED: "true"}))).status == 201
    assert (await api.post(SERVICES, service("theirs.example.com", {}))).status == 201
    await api.delete(f"{SERVICES}/v1.batch")
    await reconcile_api_services(api.server.cluster)
    assert (await api.get(f"{SERVICES}/v1.gone.example.com")).status == 404
    assert (await api.get(f"{SERVICES}/v1.theirs.example.com")).status == 200
    assert (await api.get(f"{SERVICES}/v1.batch")).status == 200
    # While the server runs, those of Kubernetes' own groups are left alone.
    await api.delete(f"{SERVICES}/v1.batch")
    await reconcile_api_services(api.server.cluster, starting=False)
    assert (await api.get(f"{SERVICES}/v1.batch")).status == 404
