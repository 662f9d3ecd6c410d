"""The arithmetic of autoscaling; numbers are those of upstream's replica_calculator_test.go."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.controllers import clock
from lakh.controllers import replicacount as rc
from lakh.controllers.replicacount import MetricsError, Pod, Sample, Tolerance

NOW = 1_700_000_000.0
STARTED = clock.stamp(NOW - 600)


def pod(number: int, request: str = "1", ready: str = "True", phase: str = "Running", **more: Any) -> Pod:
    requests = {"cpu": request} if request else {}
    condition = {"type": "Ready", "status": ready, "lastTransitionTime": clock.stamp(NOW - 590)}
    return msgspec.convert(
        {
            "metadata": {"name": f"p{number}", **more.get("metadata", {})},
            "spec": {
                "containers": [{"name": "c", "resources": {"requests": requests}}],
                **more.get("spec", {}),
            },
            "status": {"phase": phase, "startTime": STARTED, "conditions": [condition]},
        },
        Pod,
    )


def samples(*levels: int) -> dict[str, Sample]:
    return {f"p{number}": Sample(level, NOW) for number, level in enumerate(levels)}


@pytest.mark.parametrize(
    ("current", "pods", "levels", "target", "replicas", "utilization", "usage"),
    [
        pytest.param(3, [pod(n) for n in range(3)], (300, 500, 700), 30, 5, 50, 500, id="ScaleUp"),
        pytest.param(
            3,
            [pod(0, ready="False"), pod(1), pod(2)],
            (300, 500, 700),
            30,
            4,
            60,
            600,
            id="ScaleUpUnreadyLessScale",
        ),
        pytest.param(
            3,
            [pod(0), pod(1, ready="False"), pod(2, ready="False")],
            (400, 500, 700),
            30,
            3,
            40,
            400,
            id="ScaleUpUnreadyNoScale",
        ),
        pytest.param(
            3,
            [pod(0), pod(1, phase="Failed"), pod(2, metadata={"deletionTimestamp": STARTED})],
            (400, 500, 700),
            30,
            2,
            40,
            400,
            id="those that go are not counted",
        ),
        pytest.param(
            5, [pod(n) for n in range(5)], (100, 300, 500, 250, 250), 50, 3, 28, 280, id="ScaleDown"
        ),
        pytest.param(
            3,
            [pod(0, "900m"), pod(1), pod(2, "1100m")],
            (1010, 1030, 1020),
            100,
            3,
            102,
            1020,
            id="Tolerance",
        ),
        pytest.param(4, [pod(n) for n in range(4)], (400, 95), 100, 3, 24, 247, id="MissingMetrics"),
        pytest.param(
            2, [pod(n) for n in range(2)], (1000,), 100, 2, 100, 1000, id="MissingMetricsNoChangeEq"
        ),
        pytest.param(
            2, [pod(n) for n in range(2)], (1900,), 100, 2, 190, 1900, id="MissingMetricsNoChangeGt"
        ),
        pytest.param(2, [pod(n) for n in range(2)], (600,), 100, 2, 60, 600, id="MissingMetricsNoChangeLt"),
    ],
)
def test_utilization(
    current: int, pods: list[Pod], levels: Any, target: int, replicas: int, utilization: int, usage: int
) -> None:
    found = rc.of_utilization(pods, samples(*levels), "cpu", target, current, Tolerance(), NOW)
    assert found == rc.Proposal(replicas, usage, utilization)


@pytest.mark.parametrize(
    ("current", "levels", "target", "replicas", "usage"),
    [
        pytest.param(3, (20000, 10000, 30000), 15000, 4, 20000, id="ScaleUpCM"),
        pytest.param(5, (12000,) * 5, 20000, 3, 12000, id="ScaleDownCM"),
        pytest.param(3, (20000, 21000, 21000), 20000, 3, 20666, id="ToleranceCM"),
    ],
)
def test_average(current: int, levels: tuple[int, ...], target: int, replicas: int, usage: int) -> None:
    pods = [pod(n) for n in range(current)]
    found = rc.of_average(pods, samples(*levels), "", target, current, Tolerance(), NOW)
    assert found == rc.Proposal(replicas, usage)


def test_values() -> None:
    assert rc.of_value(20000, 15000, 3, 3, Tolerance()) == rc.Proposal(4, 20000)
    assert rc.of_value(12000, 20000, 5, 5, Tolerance()) == rc.Proposal(3, 12000)
    assert rc.of_value(20666, 20000, 3, 3, Tolerance()).replicas == 3
    assert rc.of_value(20000, 10000, 0, None, Tolerance()).replicas == 2
    assert rc.of_value_per_pod(20000, 5000, 3, Tolerance()) == rc.Proposal(4, 6667)
    assert rc.of_value_per_pod(8600, 2150, 3, Tolerance()) == rc.Proposal(4, 2867)
    assert rc.of_value_per_pod(8600, 2867, 3, Tolerance()).replicas == 3
    assert rc.of_value_per_pod(8600, 2150, 0, Tolerance()) == rc.Proposal(4, 0)


@pytest.mark.parametrize(
    ("pods", "levels", "message"),
    [
        ([], (100,), "no pods returned by selector while calculating replica count"),
        ([pod(0)], (), "did not receive metrics for targeted pods (pods might be unready)"),
        (
            [pod(0, phase="Pending")],
            (100,),
            "did not receive metrics for targeted pods (pods might be unready)",
        ),
        ([pod(0, "")], (100,), "missing request for cpu in container c of Pod p0"),
        ([pod(0, "0")], (100,), "no metrics returned matched known pods"),
    ],
)
def test_what_says_nothing(pods: list[Pod], levels: Any, message: str) -> None:
    with pytest.raises(MetricsError) as refused:
        rc.of_utilization(pods, samples(*levels), "cpu", 50, 1, Tolerance(), NOW)
    assert str(refused.value) == message


def test_requests() -> None:
    sidecar = {
        "initContainers": [
            {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}},
            {"name": "i", "resources": {"requests": {"cpu": "9"}}},
        ]
    }
    assert rc.requests_of([pod(0, spec=sidecar)], "cpu") == {"p0": 1500}
    assert rc.requests_of([pod(0, spec=sidecar)], "cpu", "s") == {"p0": 500}
    whole = {"resources": {"requests": {"cpu": "3"}}}
    assert rc.requests_of([pod(0, spec=whole)], "cpu") == {"p0": 3000}
    with pytest.raises(MetricsError, match="container x not found in Pod p0"):
        rc.requests_of([pod(0)], "cpu", "x")


def test_tolerances_of_both_directions() -> None:
    pods = [pod(n) for n in range(10)]
    for level, tolerance, replicas in (
        (650, Tolerance(), 13),
        (650, Tolerance(up=0.4), 10),
        (400, Tolerance(), 8),
        (400, Tolerance(down=0.3), 10),
    ):
        found = rc.of_utilization(pods, samples(*[level] * 10), "cpu", 50, 10, tolerance, NOW)
        assert found.replicas == replicas


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=20), st.integers(1, 200), st.integers(0, 20))
def test_missing_pods_never_turn_the_direction(levels: list[int], target: int, missing: int) -> None:
    current = len(levels) + missing
    pods = [pod(n) for n in range(current)]
    found = rc.of_utilization(pods, samples(*levels), "cpu", target, current, Tolerance(), NOW)
    assert found.utilization is not None
    if found.utilization > target:
        assert found.replicas >= current
    else:
        assert found.replicas <= current
