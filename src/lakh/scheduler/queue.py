"""The scheduling queue: which pod is tried next. No I/O; time is passed in.

A pod in the queue is in exactly one state:

    add ──> ACTIVE ──pop──> IN_FLIGHT ──park──> PARKED ──wake, 5 min──> ACTIVE, or BACKOFF while its backoff lasts
              ^                 └──retry──> BACKOFF ──backoff over, or nothing else to do──> ACTIVE
              └────────────────────────────────┘
    remove, from any state: gone

* ACTIVE: a heap by priority, then by arrival.
* PARKED: fitted nowhere. Parked pods are kept by class, oldest first, so that the cluster's changes are judged once a class and
  as many pods are woken as may find a place (`wake`).
* The backoff is 1 s after the first attempt and doubles up to 10 s. It counts from the attempt, not from the wake-up. When nothing is active, pods
  that back off because they fitted nowhere are popped early; those whose attempt failed by an error wait their time (upstream's
  SchedulerPopFromBackoffQ).

Heap entries are dropped lazily: an entry counts only while its pod is still in the state and turn that it was made for. All
operations cost O(log n) at most; sizes are bounded by the number of pending pods.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Iterator
from itertools import islice

from .interpod import Identity, Own
from .podclass import PodClass

__all__ = ["PendingPod", "SchedulingQueue", "State"]

INITIAL_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 10.0
MAX_PARKED_SECONDS = 300.0
"""A parked pod is tried again after this time even if nothing seems to have changed."""


class State(enum.Enum):
    """Where a pending pod is."""

    ACTIVE = "active"
    BACKOFF = "backoff"
    PARKED = "parked"
    IN_FLIGHT = "in flight"


# Why pods come into a queue, in kube-scheduler's words where it has some.
_ADDED = State.ACTIVE, "UnscheduledPodAdd"
_CHANGED = State.ACTIVE, "UnscheduledPodUpdate"
_WOKEN = State.ACTIVE, "ClusterEvent"
_WOKEN_EARLY = State.BACKOFF, "ClusterEvent"
_OVER = State.ACTIVE, "BackoffComplete"
_TIMED_OUT = State.ACTIVE, "UnschedulableTimeout"
_PARKED = State.PARKED, "ScheduleAttemptFailure"
_FAILED = State.BACKOFF, "ScheduleAttemptFailure"
INCOMING = _ADDED, _CHANGED, _WOKEN, _WOKEN_EARLY, _OVER, _TIMED_OUT, _PARKED, _FAILED


class PendingPod:
    """A pod that waits for a node, with what the queue and the reports must remember of it."""

    __slots__ = (
        "arrival",
        "attempts",
        "cls",
        "group",
        "identity",
        "images",
        "name",
        "namespace",
        "own",
        "reported",
        "retry_at",
        "since",
        "state",
        "turn",
        "uid",
    )

    def __init__(
        self,
        uid: str,
        namespace: str,
        name: str,
        cls: PodClass,
        identity: Identity | None = None,
        own: Own = (),
        images: tuple[str, ...] = (),
    ) -> None:
        self.uid = uid
        self.namespace = namespace
        self.name = name
        self.cls = cls
        self.identity = identity
        self.own = own
        self.images = images
        self.group: tuple[str, str] | None = None
        """The pod group it belongs to."""
        self.attempts = 0
        self.retry_at = 0.0
        self.since = 0.0
        """When it came."""
        self.arrival = 0
        self.turn = 0
        self.state = State.ACTIVE
        self.reported: str | None = None
        """The message of its last FailedScheduling report."""

    def __repr__(self) -> str:
        return f"PendingPod({self.namespace}/{self.name}, {self.state.value}, attempts={self.attempts})"


class SchedulingQueue:
    """Pending pods by uid."""

    def __init__(
        self,
        initial_backoff_seconds: float = INITIAL_BACKOFF_SECONDS,
        max_backoff_seconds: float = MAX_BACKOFF_SECONDS,
    ) -> None:
        self._initial_backoff_seconds = initial_backoff_seconds
        self._max_backoff_seconds = max_backoff_seconds
        self._backoff: list[tuple[int, int, int, int, PendingPod]] = []
        """Pods in backoff that may be popped early: by the second their backoff ends in, then by priority."""
        self._pods: dict[str, PendingPod] = {}
        self._active: list[tuple[int, int, int, PendingPod]] = []
        self._timed: list[tuple[float, int, int, PendingPod]] = []
        """When a pod in backoff may be tried, or a parked one must be."""
        self._parked: dict[PodClass, dict[str, PendingPod]] = {}
        self._arrivals = 0
        self._active_count = 0
        self._flying = 0
        self.incoming = dict.fromkeys(INCOMING, 0)
        """How often pods came into a state, and why."""

    def __len__(self) -> int:
        return len(self._pods)

    def __repr__(self) -> str:
        return f"SchedulingQueue(pods={len(self)}, active={self._active_count}, classes parked={len(self._parked)})"

    def get(self, uid: str) -> PendingPod | None:
        """The pod, if it is here."""
        return self._pods.get(uid)

    def pods(self) -> Iterator[PendingPod]:
        """All pods."""
        return iter(self._pods.values())

    @property
    def active(self) -> int:
        """How many pods can be popped."""
        return self._active_count

    def counts(self) -> dict[State, int]:
        """How many pods are in each state. O(classes that are parked)."""
        parked = sum(map(len, self._parked.values()))
        backoff = len(self._pods) - self._active_count - parked - self._flying
        return {
            State.ACTIVE: self._active_count,
            State.BACKOFF: backoff,
            State.PARKED: parked,
            State.IN_FLIGHT: self._flying,
        }

    def add(self, pod: PendingPod) -> None:
        """Add a new pod: it is active."""
        self._arrivals += 1
        pod.arrival = self._arrivals
        self._pods[pod.uid] = pod
        self.incoming[_ADDED] += 1
        self._activate(pod)

    def reclassify(self, pod: PendingPod, cls: PodClass) -> None:
        """The pod's spec changed: unless it is in flight, it is tried again at once."""
        self._leave(pod)
        pod.cls = cls
        if pod.state is not State.IN_FLIGHT:
            self.incoming[_CHANGED] += 1
            self._activate(pod)

    def remove(self, uid: str) -> PendingPod | None:
        """Forget a pod."""
        pod = self._pods.pop(uid, None)
        if pod is not None:
            self._leave(pod)
            self._flying -= pod.state is State.IN_FLIGHT
            pod.turn += 1
        return pod

    def pop(self) -> PendingPod | None:
        """The next pod to try: it is in flight until it is parked, retried or removed."""
        while self._active:
            _, _, turn, pod = heapq.heappop(self._active)
            if pod.turn == turn and pod.state is State.ACTIVE:
                self._active_count -= 1
                return self._fly(pod)
        while self._backoff:
            *_, turn, pod = heapq.heappop(self._backoff)
            if pod.turn == turn and pod.state is State.BACKOFF:
                return self._fly(pod)
        return None

    def _fly(self, pod: PendingPod) -> PendingPod:
        pod.state = State.IN_FLIGHT
        self._flying += 1
        pod.turn += 1
        pod.attempts += 1
        return pod

    def take(self, pod: PendingPod) -> bool:
        """Try this pod now, whatever its turn. Returns whether it can be."""
        if self._pods.get(pod.uid) is not pod or pod.state is State.IN_FLIGHT:
            return False
        self._leave(pod)
        self._fly(pod)
        return True

    def park(self, pod: PendingPod, now: float) -> None:
        """A pod in flight fitted nowhere."""
        self.incoming[_PARKED] += 1
        self._flying -= 1
        pod.state = State.PARKED
        pod.turn += 1
        pod.retry_at = now + self.backoff_seconds(pod.attempts)
        self._parked.setdefault(pod.cls, {})[pod.uid] = pod
        heapq.heappush(self._timed, (now + MAX_PARKED_SECONDS, pod.arrival, pod.turn, pod))

    def hold(self, pod: PendingPod, now: float) -> None:
        """A pod in flight was not tried, for it is known to have to wait: that is no attempt."""
        pod.attempts -= 1
        self.park(pod, now)
        pod.retry_at = now

    def retry(self, pod: PendingPod, now: float) -> None:
        """An attempt failed for another reason than lack of a node."""
        self.incoming[_FAILED] += 1
        self._flying -= 1
        pod.retry_at = now + self.backoff_seconds(pod.attempts)
        self._back_off(pod, early=False)

    def parked_classes(self) -> Iterator[PodClass]:
        """Classes that have parked pods."""
        return iter(tuple(self._parked))

    @property
    def any_parked(self) -> bool:
        """Whether any pods are parked."""
        return bool(self._parked)

    def is_parked(self, cls: PodClass) -> bool:
        """Whether pods of the class are parked."""
        return cls in self._parked

    def wake(self, cls: PodClass, now: float, limit: int, room: int | None = None) -> int:
        """The class may fit somewhere: move its `limit` oldest parked pods on. Returns how many can be popped at once.

        Not more than `room` of them if there is but room for so many; members of a gang don't count, as whether one fits is another question.
        """
        left = limit if room is None else room
        ready = 0
        for pod in tuple(islice(self._parked.get(cls, {}).values(), limit)):
            if left <= 0:
                break
            left -= pod.group is None
            ready += self._move_on(pod, now)
        return ready

    def wake_pod(self, pod: PendingPod, now: float) -> None:
        """Move one parked pod on."""
        if self._pods.get(pod.uid) is pod and pod.state is State.PARKED:
            self._move_on(pod, now)

    def _move_on(self, pod: PendingPod, now: float) -> bool:
        """A parked pod leaves its place. Returns whether it can be popped at once."""
        self._leave(pod)
        ready = pod.retry_at <= now
        self.incoming[_WOKEN if ready else _WOKEN_EARLY] += 1
        if ready:
            self._activate(pod)
        else:
            self._back_off(pod)
        return ready

    def flush(self, now: float) -> None:
        """Activate pods whose backoff is over or that have been parked for too long."""
        timed = self._timed
        while timed and timed[0][0] <= now:
            _, _, turn, pod = heapq.heappop(timed)
            if pod.turn == turn and pod.state in (State.BACKOFF, State.PARKED):
                self.incoming[_OVER if pod.state is State.BACKOFF else _TIMED_OUT] += 1
                self._leave(pod)
                self._activate(pod)

    def next_flush(self) -> float | None:
        """When `flush` may have something to do."""
        while self._timed and self._timed[0][3].turn != self._timed[0][2]:
            heapq.heappop(self._timed)
        return self._timed[0][0] if self._timed else None

    def _activate(self, pod: PendingPod) -> None:
        pod.state = State.ACTIVE
        pod.turn += 1
        self._active_count += 1
        heapq.heappush(self._active, (-pod.cls.priority, pod.arrival, pod.turn, pod))

    def _back_off(self, pod: PendingPod, *, early: bool = True) -> None:
        pod.state = State.BACKOFF
        pod.turn += 1
        if early:
            entry = int(pod.retry_at), -pod.cls.priority, pod.arrival, pod.turn, pod
            heapq.heappush(self._backoff, entry)
        heapq.heappush(self._timed, (pod.retry_at, pod.arrival, pod.turn, pod))

    def _leave(self, pod: PendingPod) -> None:
        """Take a pod out of what its state keeps it in."""
        if pod.state is State.ACTIVE:
            self._active_count -= 1
        elif pod.state is State.PARKED:
            pods = self._parked[pod.cls]
            del pods[pod.uid]
            if not pods:
                del self._parked[pod.cls]

    def backoff_seconds(self, attempts: int) -> float:
        """How long a pod waits after its n-th attempt."""
        return min(
            self._initial_backoff_seconds * float(2 ** min(attempts - 1, 30)), self._max_backoff_seconds
        )
