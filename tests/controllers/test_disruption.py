"""PodDisruptionBudgets: the status, and the shell."""

from __future__ import annotations

from typing import Any

import pytest
from fake_client import NOW, FakeClient, drain, make_context, ready_pod

from lakh.client.resources import PODDISRUPTIONBUDGETS, PODS
from lakh.controllers.disruption import DisruptionController, decide
from lakh.controllers.views import Budget, BudgetSpec, BudgetStatus, Condition, Meta, Pod, PodSpec, PodStatus


def pods(ready: int, broken: int = 0) -> list[Pod]:
    good = [Condition(type="Ready", status="True")]
    return [
        Pod(
            Meta(name=f"p{n}", uid=f"p{n}"),
            PodSpec(),
            PodStatus(phase="Running", conditions=good if n < ready else None),
        )
        for n in range(ready + broken)
    ]


@pytest.mark.parametrize(
    ("spec", "ready", "broken", "wanted", "expected"),
    [
        ({"minAvailable": 2}, 3, 0, 3, (1, 2, 3)),
        ({"minAvailable": 2}, 2, 1, 3, (0, 2, 3)),
        ({"minAvailable": "50%"}, 5, 0, 5, (2, 3, 5)),
        ({"maxUnavailable": 1}, 3, 0, 3, (1, 2, 3)),
        ({"maxUnavailable": 1}, 2, 0, 3, (0, 2, 3)),
        ({"maxUnavailable": "34%"}, 3, 0, 3, (2, 1, 3)),
        ({"minAvailable": 0}, 0, 0, 0, (0, 0, 0)),
    ],
)
def test_decide(
    spec: dict[str, Any], ready: int, broken: int, wanted: int, expected: tuple[int, int, int]
) -> None:
    budget = Budget(Meta(name="b", generation=1), BudgetSpec(**spec))
    status = decide(budget, pods(ready, broken), wanted, NOW)
    assert (status.disruptionsAllowed, status.desiredHealthy, status.expectedPods) == expected


def test_evictions_under_way_count() -> None:
    at = "2023-11-14T22:13:00Z"
    budget = Budget(
        Meta(name="b"), BudgetSpec(minAvailable=1), BudgetStatus(disruptedPods={"p0": at, "gone": at})
    )
    status = decide(budget, pods(3), 3, NOW)
    assert status.disruptedPods == {"p0": at}
    assert status.disruptionsAllowed == 1
    assert decide(budget, pods(3), 3, NOW + 300).disruptedPods is None


async def test_status_is_written(client: FakeClient) -> None:
    controller = DisruptionController(make_context(client))
    client.put(
        PODDISRUPTIONBUDGETS,
        {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}},
    )
    for n in range(3):
        client.put(PODS, {"metadata": {"name": f"p{n}", "labels": {"app": "web"}}})
        ready_pod(client, f"p{n}")
    controller.resync()
    await drain(controller)
    status = client.one(PODDISRUPTIONBUDGETS, "b", "default")["status"]
    assert (status["disruptionsAllowed"], status["currentHealthy"], status["desiredHealthy"]) == (2, 3, 1)
    assert status["conditions"][0]["reason"] == "SufficientPods"
