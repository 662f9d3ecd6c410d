"""How fast replicas may come and go: the limits, rates and stabilisation of HorizontalPodAutoscalers (upstream's podautoscaler/horizontal.go).

`History` is what an autoscaler remembers: recommendations and changes with their times. Everything else is a pure function of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .views import View

DOWNSCALE_STABILIZATION_SECONDS = 300
SCALE_UP_FACTOR = 2.0
SCALE_UP_MINIMUM = 4.0


class Policy(View):
    """`autoscaling/v2.HPAScalingPolicy`."""

    type: str
    value: int
    periodSeconds: int


class Rules(View):
    """`autoscaling/v2.HPAScalingRules`."""

    stabilizationWindowSeconds: int | None = None
    selectPolicy: str | None = None
    policies: list[Policy] | None = None
    tolerance: str | None = None


class Behavior(View):
    """`autoscaling/v2.HorizontalPodAutoscalerBehavior`."""

    scaleUp: Rules | None = None
    scaleDown: Rules | None = None


@dataclass
class History:
    """(replicas, time) that were recommended; (replicas, time) that were added and taken away."""

    recommendations: list[tuple[int, float]] = field(default_factory=list)
    added: list[tuple[int, float]] = field(default_factory=list)
    removed: list[tuple[int, float]] = field(default_factory=list)

    def scaled(self, behavior: Behavior | None, before: int, after: int, now: float) -> None:
        """Remembers a change, as long as a policy asks for it."""
        if behavior is None:
            return
        up = after > before
        rules = (behavior.scaleUp if up else behavior.scaleDown) or Rules()
        longest = max((p.periodSeconds for p in rules.policies or ()), default=0)
        events = self.added if up else self.removed
        events[:] = [event for event in events if event[1] >= now - longest]
        events.append((abs(after - before), now))


@dataclass(frozen=True)
class Decision:
    """Replicas, and the conditions that say why: (status, reason, message) of AbleToScale and of ScalingLimited."""

    replicas: int
    able: tuple[str, str, str]
    limited: tuple[str, str, str]


_READY = ("True", "ReadyForNewScale", "recommended size matches current size")
_DOWN = "recent recommendations were higher than current one, applying the highest recent recommendation"
_UP = "recent recommendations were lower than current one, applying the lowest recent recommendation"
_TOO_FAST = "the desired replica count is increasing faster than the maximum scale rate"
_TOO_FAST_DOWN = "the desired replica count is decreasing faster than the maximum scale rate"
_TOO_MANY = "the desired replica count is more than the maximum replica count"
_TOO_FEW = "the desired replica count is less than the minimum replica count"
_WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")


def decide(
    behavior: Behavior | None,
    history: History,
    current: int,
    desired: int,
    least: int,
    most: int,
    now: float,
) -> Decision:
    """The replicas that there shall be of those that metrics ask for; remembers the recommendation."""
    up = (behavior.scaleUp if behavior is not None else None) or Rules()
    down = (behavior.scaleDown if behavior is not None else None) or Rules()
    up_window = up.stabilizationWindowSeconds or 0
    down_window = down.stabilizationWindowSeconds
    if down_window is None:
        down_window = DOWNSCALE_STABILIZATION_SECONDS
    past = history.recommendations
    highest = max([desired, *(replicas for replicas, at in past if at >= now - down_window)])
    if behavior is None:
        stable = highest
        told = ("ScaleDownStabilized", _DOWN)
    else:
        lowest = min([desired, *(replicas for replicas, at in past if at > now - up_window)])
        stable = min(max(current, lowest), highest)
        told = ("ScaleUpStabilized", _UP) if desired >= current else ("ScaleDownStabilized", _DOWN)
    able = _READY if stable == desired else ("True", *told)
    kept = max(up_window, down_window)
    history.recommendations = [r for r in history.recommendations if r[1] >= now - kept]
    history.recommendations.append((desired, now))
    if behavior is None:
        replicas, reason, message = _by_default(current, stable, least, most)
    else:
        replicas, reason, message = _by_rules(up, down, history, current, stable, least, most, now)
    return Decision(replicas, able, ("False" if replicas == stable else "True", reason, message))


def _by_default(current: int, desired: int, least: int, most: int) -> tuple[int, str, str]:
    limit = int(max(SCALE_UP_FACTOR * current, SCALE_UP_MINIMUM))
    if desired < least:
        return least, "TooFewReplicas", _TOO_FEW
    return _at_most(desired, limit, most)


def _at_most(desired: int, limit: int, most: int) -> tuple[int, str, str]:
    """No more than replicas may become at this rate, nor than there may be."""
    if desired > min(most, limit):
        return (limit, "ScaleUpLimit", _TOO_FAST) if most > limit else (most, "TooManyReplicas", _TOO_MANY)
    return desired, *_WITHIN


def _by_rules(
    up: Rules, down: Rules, history: History, current: int, desired: int, least: int, most: int, now: float
) -> tuple[int, str, str]:
    if desired > current:
        limit = max(scale_up_limit(up, history, current, now), current)
        return _at_most(desired, limit, most)
    if desired < current:
        limit = min(scale_down_limit(down, history, current, now), current)
        if desired < max(least, limit):
            if least < limit:
                return limit, "ScaleDownLimit", _TOO_FAST_DOWN
            return least, "TooFewReplicas", _TOO_FEW
    return desired, *_WITHIN


def _before(history: History, policy: Policy, current: int, now: float) -> int:
    """How many replicas there were when the policy's period began."""

    def within(events: list[tuple[int, float]]) -> int:
        return sum(change for change, at in events if at > now - policy.periodSeconds)

    return current - within(history.added) + within(history.removed)


def scale_up_limit(rules: Rules, history: History, current: int, now: float) -> int:
    """How many replicas policies allow at most."""
    if rules.selectPolicy == "Disabled":
        return current
    proposed: list[int] = []
    for policy in rules.policies or ():
        began = _before(history, policy, current, now)
        if policy.type == "Pods":
            proposed.append(began + policy.value)
        else:
            # Rounded up, or few replicas would never become more.
            proposed.append(math.ceil(began * (1 + policy.value / 100)))
    if not proposed:
        return current
    return min(proposed) if rules.selectPolicy == "Min" else max(proposed)


def scale_down_limit(rules: Rules, history: History, current: int, now: float) -> int:
    """How few replicas policies allow."""
    if rules.selectPolicy == "Disabled":
        return current
    proposed: list[int] = []
    for policy in rules.policies or ():
        began = _before(history, policy, current, now)
        if policy.type == "Pods":
            proposed.append(began - policy.value)
        else:
            proposed.append(int(began * (1 - policy.value / 100)))
    if not proposed:
        return current
    return max(proposed) if rules.selectPolicy == "Min" else min(proposed)
