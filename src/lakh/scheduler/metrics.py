"""What the scheduler counts, under kube-scheduler's names. An attempt costs two readings of the clock and three additions."""

from __future__ import annotations

import time
from collections.abc import Iterable

from lakh.machinery.metrics import PROCESS, Counter, Histogram, Readings, exponential

from .queue import SchedulingQueue, State

ATTEMPT_SECONDS = exponential(0.0001, 2, 18)

_DURATIONS = PROCESS.histogram(
    "scheduler_scheduling_attempt_duration_seconds",
    "An attempt from the decision to the bind's answer.",
    ("result", "profile"),
    ATTEMPT_SECONDS,
)
_ATTEMPTS = PROCESS.counter("scheduler_schedule_attempts_total", "Attempts by result.", ("result", "profile"))

# kube-scheduler's names of its queues.
_QUEUES = {State.ACTIVE: "active", State.BACKOFF: "backoff", State.PARKED: "unschedulable"}


class Result:
    """How an attempt ended."""

    __slots__ = ("_count", "_durations")

    def __init__(self, result: str, profile: str) -> None:
        self._durations: Histogram = _DURATIONS.child(result, profile)
        self._count: Counter = _ATTEMPTS.child(result, profile)

    def attempted(self, began: float) -> None:
        """Counts an attempt that began then."""
        self._durations.observe(time.perf_counter() - began)
        self._count.value += 1


class ProfileMetrics:
    """One profile's attempts."""

    def __init__(self, profile: str) -> None:
        self.scheduled = Result("scheduled", profile)
        self.unschedulable = Result("unschedulable", profile)
        self.error = Result("error", profile)


class SchedulerMetrics:
    """One scheduler's, by profile."""

    def __init__(self, queue: SchedulingQueue, profiles: Iterable[str]) -> None:
        self.of = {profile: ProfileMetrics(profile) for profile in profiles}

        def pending() -> Readings:
            counts = queue.counts()
            return [((name,), counts.get(state, 0)) for state, name in _QUEUES.items()]

        PROCESS.reading("scheduler_pending_pods", "Pods by queue.", ("queue",), pending)
