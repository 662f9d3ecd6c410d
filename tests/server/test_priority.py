"""Priority admission: a class becomes a number, for pods and for pod groups."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from tests.server.harness import Api

CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
GROUPS = "/apis/scheduling.k8s.io/v1alpha2/namespaces/default/podgroups"


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    await api.post(CLASSES, {"metadata": {"name": "high"}, "value": 1000})
    yield api
    await api.stop()


def group(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"schedulingPolicy": {"gang": {"minCount": 2}}, **spec}}


async def test_a_pod_group_has_the_value_of_its_class(api: Api) -> None:
    made = (await api.post(GROUPS, group("a", priorityClassName="high"))).json["spec"]
    assert made["priority"] == 1000 and made["disruptionMode"] == "Pod" and "preemptionPolicy" not in made
    assert (await api.post(GROUPS, group("b"))).json["spec"]["priority"] == 0
    refused = await api.post(GROUPS, group("c", priorityClassName="none"))
    assert refused.status == 403
    assert 'podgroups.scheduling.k8s.io "c" is forbidden: no PriorityClass' in refused.json["message"]
    assert (await api.post(GROUPS, group("d", priority=7))).status == 403


async def test_the_default_class_is_for_groups_too(api: Api) -> None:
    await api.post(CLASSES, {"metadata": {"name": "usual"}, "value": 5, "globalDefault": True})
    made = (await api.post(GROUPS, group("a"))).json["spec"]
    assert made["priority"] == 5 and made["priorityClassName"] == "usual"
