"""Evictions as upstream's pkg/registry/core/pod/storage/eviction_test.go has them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from .harness import PODS, Api, pod

BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


def eviction(name: str | None = "a", version: str = "policy/v1", **options: Any) -> dict[str, Any]:
    metadata = {} if name is None else {"name": name}
    return {"apiVersion": version, "kind": "Eviction", "metadata": metadata, "deleteOptions": options}


async def prepare(
    api: Api, phase: str = "Running", ready: bool = True, policy: str | None = None, **status: int
) -> None:
    """A pod in a phase, and a budget with this status."""
    body = pod("a", nodeName="n")
    body["metadata"]["labels"] = {"app": "web"}
    await api.post(PODS, body)
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    await api.patch(f"{PODS}/a/status", {"status": {"phase": phase, "conditions": [condition]}})
    spec: dict[str, Any] = {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}
    if policy:
        spec["unhealthyPodEvictionPolicy"] = policy
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "b"},
        "spec": spec,
    }
    assert (await api.post(BUDGETS, budget)).status == 201
    counts = {"disruptionsAllowed": 0, "currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3}
    answer = await api.patch(f"{BUDGETS}/b/status", {"status": {**counts, "observedGeneration": 1, **status}})
    assert answer.status == 200, answer


@pytest.mark.parametrize(
    ("state", "left"),
    [
        pytest.param({"disruptionsAllowed": 1}, 0, id="TestEviction: matching pdbs with allowed disruptions"),
        pytest.param({"phase": "Pending"}, 0, id="TestEvictionIgnorePDB: Pending"),
        pytest.param({"phase": "Succeeded"}, 0, id="TestEvictionIgnorePDB: Succeeded"),
        pytest.param({"phase": "Failed"}, 0, id="TestEvictionIgnorePDB: Failed"),
        pytest.param({"ready": False, "currentHealthy": 2}, 0, id="TestEvictionIgnorePDB: unready, healthy budget"),
        pytest.param(
            {"ready": False, "currentHealthy": 1, "policy": "AlwaysAllow"}, 0, id="TestEviction: AlwaysAllow"
        ),
    ],
)  # fmt: skip
async def test_evicted(api: Api, state: dict[str, Any], left: int) -> None:
    await prepare(api, **state)
    answer = await api.post(f"{PODS}/a/eviction", eviction())
    assert (answer.status, answer.json["status"]) == (201, "Success")
    live = await api.get(f"{PODS}/a")
    assert live.status == 404 or "deletionTimestamp" in live.json["metadata"]
    status = (await api.get(f"{BUDGETS}/b")).json["status"]
    assert status["disruptionsAllowed"] == left
    assert ("disruptedPods" in status) == ("disruptionsAllowed" in state)


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        pytest.param({}, "The disruption budget b needs 2 healthy pods and has 3 currently", id="TestEviction: no disruptions allowed"),
        pytest.param(
            {"ready": False, "currentHealthy": 1},
            "The disruption budget b needs 2 healthy pods and has 1 currently",
            id="TestEvictionIgnorePDB: unready, unhealthy budget",
        ),
        pytest.param(
            {"disruptionsAllowed": 1, "observedGeneration": 0},
            "The disruption budget b is still being processed by the server.",
            id="TestEviction: pdb being processed",
        ),
    ],
)  # fmt: skip
async def test_refused(api: Api, state: dict[str, Any], cause: str) -> None:
    await prepare(api, **state)
    answer = await api.post(f"{PODS}/a/eviction", eviction())
    assert (answer.status, answer.json["message"]) == (429, REFUSED)
    assert answer.json["details"]["causes"] == [{"reason": "DisruptionBudget", "message": cause}]


@pytest.mark.parametrize(
    ("body", "query", "code", "text"),
    [
        (eviction("b"), "", 400, "name in URL does not match name in Eviction object"),
        (eviction(None), "", 400, "name in URL does not match name in Eviction object"),
        (eviction(preconditions={"uid": "x"}), "", 409, "the UID in the precondition (x) does not match"),
        (eviction(propagationPolicy="x"), "", 422, 'propagationPolicy: Unsupported value: "x"'),
        (eviction(dryRun=["All"]), "", 201, ""),
        (eviction(), "?dryRun=All", 201, ""),
    ],
)
async def test_what_evicts_nothing(api: Api, body: dict[str, Any], query: str, code: int, text: str) -> None:
    """TestEvictionDryRun, TestEvictionWithETCD and the checks before."""
    await prepare(api, disruptionsAllowed=1)
    answer = await api.post(f"{PODS}/a/eviction{query}", body)
    assert answer.status == code, answer
    assert text in answer.json.get("message", "")
    assert "deletionTimestamp" not in (await api.get(f"{PODS}/a")).json["metadata"]
    if code == 201:
        assert (await api.get(f"{BUDGETS}/b")).json["status"]["disruptionsAllowed"] == 1


async def test_two_budgets_are_one_too_many(api: Api) -> None:
    """The handler returns a Status without a reason, which FinishRequest makes the error."""
    await prepare(api, disruptionsAllowed=1)
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    assert (await api.post(BUDGETS, {"metadata": {"name": "c"}, "spec": spec})).status == 201
    answer = await api.post(f"{PODS}/a/eviction", eviction())
    text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    assert answer.status == 500
    assert (answer.json["message"], "reason" in answer.json) == (text, False)
    assert (await api.get(f"{BUDGETS}/b")).json["status"]["disruptionsAllowed"] == 1


async def test_of_the_old_version(api: Api) -> None:
    """EvictionREST.AcceptsGroupVersion."""
    await prepare(api, disruptionsAllowed=1)
    answer = await api.post(f"{PODS}/a/eviction", eviction(version="policy/v1beta1"))
    assert answer.status == 201, answer
