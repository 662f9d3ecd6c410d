"""What the scheduler counts, under kube-scheduler's names. An attempt costs two readings of the clock and three additions.

What kube-scheduler times for each pod and plugin is not there: a class of pods is filtered and scored against all nodes at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from lakh.machinery.metrics import PROCESS, Counter, Histogram, Readings, exponential

from .queue import SchedulingQueue, State

# kube-scheduler's, and some below its first.
ATTEMPT_SECONDS = (0.0001, 0.0002, 0.0005, *exponential(0.001, 2, 15))
ATTEMPTS_SHOWN = 15
"""Pods that took as many attempts or more are one series of `pod_scheduling_sli_duration_seconds`."""

_DURATIONS = PROCESS.histogram(
    "scheduler_scheduling_attempt_duration_seconds",
    "An attempt from the decision to the bind's answer.",
    ("result", "profile"),
    ATTEMPT_SECONDS,
)
_ATTEMPTS = PROCESS.counter("scheduler_schedule_attempts_total", "Attempts by result.", ("result", "profile"))
_POD_ATTEMPTS = PROCESS.histogram(
    "scheduler_pod_scheduling_attempts", "Attempts until a pod was bound.", (), (1, 2, 4, 8, 16)
).child()
_POD_SECONDS = PROCESS.histogram(
    "scheduler_pod_scheduling_sli_duration_seconds",
    "From a pod's entering the queue to its bind's answer.",
    ("attempts",),
    exponential(0.01, 2, 20),
)
_PREEMPTIONS = PROCESS.counter(
    "scheduler_preemption_attempts_total", "Pods and pod groups that others had to leave for."
).child()
_VICTIMS = PROCESS.histogram(
    "scheduler_preemption_victims", "Pods evicted for one pod or pod group.", (), exponential(1, 2, 7)
).child()

# kube-scheduler's names of its queues.
QUEUES = {State.ACTIVE: "active", State.BACKOFF: "backoff", State.PARKED: "unschedulable"}


def preempted(victims: int) -> None:
    """Counts a preemption."""
    _PREEMPTIONS.value += 1
    _VICTIMS.observe(victims)


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
        self.gated: set[str] = set()
        """Pods that wait for their scheduling gates to go."""
        self.of = {profile: ProfileMetrics(profile) for profile in profiles}
        self._seconds = [_POD_SECONDS.child(_attempts(n)) for n in range(ATTEMPTS_SHOWN + 1)]

        def pending() -> Readings:
            counts = queue.counts()
            yield from (((name,), counts.get(state, 0)) for state, name in QUEUES.items())
            yield ("gated",), len(self.gated)

        PROCESS.reading("scheduler_pending_pods", "Pods by queue.", ("queue",), pending)
        PROCESS.reading(
            "scheduler_queue_incoming_pods_total",
            "Pods that came into a queue.",
            ("queue", "event"),
            lambda: [((QUEUES[state], event), count) for (state, event), count in queue.incoming.items()],
            "counter",
        )

    def bound(self, attempts: int, seconds: float) -> None:
        """A pod is bound, so long after it came into the queue."""
        _POD_ATTEMPTS.observe(attempts)
        self._seconds[min(attempts, ATTEMPTS_SHOWN)].observe(seconds)


def _attempts(number: int) -> str:
    return f"{number}+" if number == ATTEMPTS_SHOWN else str(number)
