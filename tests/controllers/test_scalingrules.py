"""How fast replicas come and go; numbers are those of upstream's horizontal_test.go."""

from __future__ import annotations

import pytest

from lakh.controllers.scalingrules import (
    Behavior,
    History,
    Policy,
    Rules,
    decide,
    scale_down_limit,
    scale_up_limit,
)

NOW = 1000.0


@pytest.mark.parametrize(
    ("current", "desired", "replicas", "limited", "reason"),
    [
        (3, 5, 5, "False", "DesiredWithinRange"),
        (3, 20, 6, "True", "ScaleUpLimit"),
        (1, 9, 4, "True", "ScaleUpLimit"),
        (6, 20, 10, "True", "TooManyReplicas"),
        (5, 1, 2, "True", "TooFewReplicas"),
    ],
)
def test_without_behavior(current: int, desired: int, replicas: int, limited: str, reason: str) -> None:
    found = decide(None, History(), current, desired, 2, 10, NOW)
    assert (found.replicas, found.limited[:2]) == (replicas, (limited, reason))
    assert found.able[1] == "ReadyForNewScale"


def test_the_highest_recommendation_of_five_minutes_counts_on_the_way_down() -> None:
    history = History([(9, NOW - 400), (8, NOW - 200)])
    found = decide(None, history, 8, 3, 1, 10, NOW)
    assert (found.replicas, found.able[1]) == (8, "ScaleDownStabilized")
    assert history.recommendations == [(8, NOW - 200), (3, NOW)]
    assert decide(None, history, 8, 3, 1, 10, NOW + 200).replicas == 3


def behavior(
    up_rules: list[Policy], down_rules: list[Policy], select: str = "Max", **windows: int
) -> Behavior:
    return Behavior(
        scaleUp=Rules(windows.get("up", 0), select, up_rules),
        scaleDown=Rules(windows.get("down"), select, down_rules),
    )


PODS, PERCENT = Policy("Pods", 4, 60), Policy("Percent", 100, 60)


@pytest.mark.parametrize(
    ("rules", "desired", "replicas", "reason"),
    [
        (behavior([PODS], [PODS]), 30, 14, "ScaleUpLimit"),
        (behavior([PERCENT], [PODS]), 30, 20, "ScaleUpLimit"),
        (behavior([PODS, PERCENT], [PODS]), 30, 20, "ScaleUpLimit"),
        (behavior([PODS, PERCENT], [PODS], "Min"), 30, 14, "ScaleUpLimit"),
        (behavior([PODS], [PODS], "Disabled"), 30, 10, "ScaleUpLimit"),
        (behavior([Policy("Percent", 900, 60)], [PODS]), 70, 50, "TooManyReplicas"),
        (behavior([PODS], [PODS], down=0), 1, 6, "ScaleDownLimit"),
        (behavior([PODS], [Policy("Percent", 50, 60)], down=0), 1, 5, "ScaleDownLimit"),
        (behavior([PODS], [Policy("Percent", 100, 60)], down=0), 1, 2, "TooFewReplicas"),
        (behavior([PODS], [PODS], down=0), 8, 8, "DesiredWithinRange"),
    ],
)
def test_policies(rules: Behavior, desired: int, replicas: int, reason: str) -> None:
    found = decide(rules, History(), 10, desired, 2, 50, NOW)
    assert (found.replicas, found.limited[1]) == (replicas, reason)


def test_what_came_and_went_within_a_period_counts() -> None:
    rules = Rules(0, "Max", [PODS])
    history = History(added=[(3, NOW - 30), (9, NOW - 90)], removed=[(1, NOW - 10)])
    assert scale_up_limit(rules, history, 10, NOW) == 12
    assert scale_down_limit(rules, history, 10, NOW) == 4


def test_stabilisation_of_both_directions() -> None:
    rules = behavior([PERCENT], [PERCENT], up=60, down=60)
    history = History([(12, NOW - 50), (8, NOW - 40)])
    found = decide(rules, history, 10, 15, 1, 50, NOW)
    assert (found.replicas, found.able[1]) == (10, "ScaleUpStabilized")
    found = decide(rules, History([(12, NOW - 50), (11, NOW - 40)]), 10, 15, 1, 50, NOW)
    assert (found.replicas, found.able[1]) == (11, "ScaleUpStabilized")
    found = decide(rules, History([(8, NOW - 50)]), 10, 4, 1, 50, NOW)
    assert (found.replicas, found.able[1]) == (8, "ScaleDownStabilized")


def test_changes_are_remembered_as_long_as_a_policy_asks() -> None:
    history = History(added=[(1, NOW - 61), (2, NOW - 10)])
    history.scaled(behavior([PODS], [PODS]), 3, 8, NOW)
    assert history.added == [(2, NOW - 10), (5, NOW)]
    history.scaled(behavior([PODS], [PODS]), 8, 6, NOW)
    assert history.removed == [(2, NOW)]
    history.scaled(None, 6, 9, NOW)
    assert len(history.added) == 2
