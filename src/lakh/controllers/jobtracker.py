"""The pods of one Job, kept as counts that change in O(1) per pod event.

A sync never walks the pods: it reads these counts, the pods that have ended and still carry the tracking finalizer (`succeeded`, `failed`), and, for
Indexed Jobs, takes the smallest indexes that need a pod from a heap.

Accounting. A pod that ends still has the finalizer; that is the licence to count it once. Its uid (or, for an index that succeeded, the index)
is written to the Job's status first, then the finalizer is removed, then the uid moves from `uncountedTerminatedPods` into the counter.
`removed` remembers the uids whose finalizer we took off until the watch shows it, so that a slow watch does not count a pod twice.

Worked example, Indexed with 4 completions: index 0 succeeded, 1 running, 2 failed, 3 never tried:
`completed={0}`, `occupied={1: 1}`, heap `[2, 3]`; `take(2)` gives 2 and 3.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable

from lakh.machinery import gonumbers

from . import clock
from .indexes import format_indexes, parse_indexes
from .pods import find_condition, is_ready
from .views import Job, Pod

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
FAILURE_COUNT_ANNOTATION = "batch.kubernetes.io/job-index-failure-count"
IGNORED_COUNT_ANNOTATION = "batch.kubernetes.io/job-index-ignored-failure-count"
FIRST_BACKOFF_SECONDS = 10.0
MAX_BACKOFF_SECONDS = 360.0
"""Delay of new pods after failures: 10 s, doubled with each failure in a row, at most six minutes."""


class Entry:
    """What a Job remembers of one of its pods."""

    __slots__ = (
        "active",
        "failed",
        "failures",
        "ignored",
        "index",
        "name",
        "occupies",
        "pod",
        "ready",
        "restarts",
        "succeeded",
        "terminating",
        "tracked",
        "uid",
    )

    index: int
    failures: int
    ignored: int

    def __init__(self, pod: Pod, old: Entry | None, *, deleted_is_failed: bool, tracked: bool) -> None:
        metadata, status = pod.metadata, pod.status
        deleted = metadata.deletionTimestamp is not None
        ended = status.phase in ("Succeeded", "Failed")
        self.name = metadata.name
        self.uid = metadata.uid
        self.pod = pod
        if old is not None and old.pod.metadata.annotations is metadata.annotations:
            # Informers share them.
            self.index, self.failures, self.ignored = old.index, old.failures, old.ignored
        else:
            annotations = metadata.annotations or {}
            self.index = _number(annotations.get(INDEX_ANNOTATION), -1)
            self.failures = _number(annotations.get(FAILURE_COUNT_ANNOTATION), 0)
            self.ignored = _number(annotations.get(IGNORED_COUNT_ANNOTATION), 0)
        self.tracked = tracked
        self.active = not deleted and not ended
        self.ready = self.active and is_ready(pod)
        self.terminating = deleted and not ended
        self.succeeded = status.phase == "Succeeded"
        self.failed = status.phase == "Failed" or (deleted_is_failed and deleted and not self.succeeded)
        # With podReplacementPolicy Failed a pod keeps its place until it has ended.
        self.occupies = self.active or (self.terminating and not deleted_is_failed)
        self.restarts = _restarts(pod) if self.active else 0

    def counts_as(self, other: Entry) -> bool:
        """Whether both are the same active pod and count alike."""
        return (
            self.active
            and other.active
            and self.uid == other.uid
            and self.index == other.index
            and self.ready == other.ready
            and self.tracked == other.tracked
            and self.restarts == other.restarts
        )


def _number(text: str | None, default: int) -> int:
    if text is None:
        return default
    try:
        return gonumbers.parse_uint(text)
    except ValueError:
        return default


def _restarts(pod: Pod) -> int:
    found = 0
    for statuses in (pod.status.initContainerStatuses, pod.status.containerStatuses):
        for status in statuses or ():
            found += status.restartCount or 0
    return found


class JobTracker:
    """Counts of one Job's pods. Built from all of them once, then told of each change."""

    def __init__(
        self,
        job: Job,
        pods: Iterable[Pod],
        *,
        failing: bool = False,
        removed: Iterable[str] = (),
        ignores: Callable[[Pod], bool] = lambda pod: False,
    ) -> None:
        """`ignores` says of which failed pods the failure policy makes nothing."""
        spec = job.spec
        self.shape = shape(job, failing=failing)
        self.indexed = spec.completionMode == "Indexed"
        self.completions = spec.completions or 0
        self.per_index_limit = spec.backoffLimitPerIndex
        self._deleted_is_failed = failing or spec.podReplacementPolicy != "Failed"
        self.pods: dict[str, Entry] = {}
        self.active = self.ready = self.terminating = self.restarts = 0
        self.tracked: set[str] = set()
        self.succeeded: dict[str, Entry] = {}
        self.failed: dict[str, Entry] = {}
        self.removed: set[str] = set(removed)
        self.completed: set[int] = set()
        self.failed_indexes: set[int] = set()
        self._ignores = ignores
        self.index_failures: dict[int, int] = {}
        """How often each index has failed, and `index_ignored` how often in a way that the failure policy ignores."""
        self.index_ignored: dict[int, int] = {}
        self._delayed: dict[int, float] = {}
        """With a backoff limit of its own each index waits by itself: until when."""
        self.occupied: dict[int, int] = {}
        self.creating: set[int] = set()
        self.consecutive_failures = 0
        self.last_failure: float = 0.0
        self._free: list[int] = []
        self._completed_text: tuple[int, str] = (0, "")
        if self.indexed:
            self.completed = parse_indexes(job.status.completedIndexes, self.completions)
            self.failed_indexes = parse_indexes(job.status.failedIndexes, self.completions)
        for pod in pods:
            self.apply(pod, 0.0)
        if self.indexed:
            self._free = [index for index in range(self.completions) if self._is_free(index)]

    # ------------------------------------------------------------ changes

    def apply(self, pod: Pod, now: float) -> None:
        """The pod was added or changed."""
        uid = pod.metadata.uid
        has_finalizer = FINALIZER in (pod.metadata.finalizers or ())
        if not has_finalizer:
            self.removed.discard(uid)
        old = self.pods.get(pod.metadata.name)
        entry = Entry(
            pod,
            old,
            deleted_is_failed=self._deleted_is_failed,
            tracked=has_finalizer and uid not in self.removed,
        )
        if old is not None:
            if entry.counts_as(old):
                self.pods[entry.name] = entry
                return
            self._take_out(old, replaced=old.uid == uid and entry.occupies)
        self.pods[entry.name] = entry
        self._put_in(entry, old, now)

    def drop(self, pod: Pod) -> None:
        """The pod is gone."""
        old = self.pods.get(pod.metadata.name)
        self.removed.discard(pod.metadata.uid)
        if old is None or old.uid != pod.metadata.uid:
            return
        del self.pods[old.name]
        self._take_out(old, replaced=False)

    def untrack(self, uid: str, name: str) -> None:
        """Our removal of the pod's finalizer was acknowledged."""
        entry = self.pods.get(name)
        if entry is None or entry.uid != uid:
            return
        if entry.tracked:
            entry.tracked = False
            self.removed.add(uid)
        self.tracked.discard(uid)
        self.succeeded.pop(uid, None)
        self.failed.pop(uid, None)

    def _put_in(self, entry: Entry, old: Entry | None, now: float) -> None:
        self.active += entry.active
        self.ready += entry.ready
        self.terminating += entry.terminating
        self.restarts += entry.restarts
        index = entry.index
        if entry.occupies and 0 <= index < self.completions:
            self.occupied[index] = self.occupied.get(index, 0) + 1
            self.creating.discard(index)
        newly = old is None or old.uid != entry.uid
        if entry.failed and index >= 0 and (newly or (old is not None and not old.failed)):
            self._note_index_failure(entry, now)
        if not entry.tracked:
            return
        self.tracked.add(entry.uid)
        if entry.succeeded:
            self.succeeded[entry.uid] = entry
            if 0 <= index < self.completions:
                self.completed.add(index)
            if newly or (old is not None and not old.succeeded):
                self.consecutive_failures = 0
        elif entry.failed:
            self.failed[entry.uid] = entry
            if newly or (old is not None and not old.failed):
                self.consecutive_failures += 1
                self.last_failure = max(self.last_failure, finished_at(entry.pod) or now)

    def _note_index_failure(self, entry: Entry, now: float) -> None:
        index, failures, ignored = entry.index, entry.failures, entry.ignored
        if self._ignores(entry.pod):
            ignored += 1
        else:
            failures += 1
        self.index_failures[index] = max(self.index_failures.get(index, 0), failures)
        self.index_ignored[index] = max(self.index_ignored.get(index, 0), ignored)
        if self.per_index_limit is None:
            return
        if failures > self.per_index_limit and index < self.completions:
            self.failed_indexes.add(index)
            return
        until = (finished_at(entry.pod) or now) + backoff_seconds(failures + ignored)
        self._delayed[index] = max(self._delayed.get(index, 0.0), until)

    def fail_index(self, index: int) -> None:
        """The failure policy gives this index up."""
        if 0 <= index < self.completions:
            self.failed_indexes.add(index)

    def _take_out(self, entry: Entry, *, replaced: bool) -> None:
        """`replaced`: the same index is taken again at once, so it is not offered in between."""
        self.active -= entry.active
        self.ready -= entry.ready
        self.terminating -= entry.terminating
        self.restarts -= entry.restarts
        self.tracked.discard(entry.uid)
        self.succeeded.pop(entry.uid, None)
        self.failed.pop(entry.uid, None)
        if entry.occupies and 0 <= entry.index < self.completions:
            left = self.occupied[entry.index] - 1
            if left:
                self.occupied[entry.index] = left
            else:
                del self.occupied[entry.index]
                if not replaced:
                    self._offer(entry.index)

    # ------------------------------------------------------------ indexes

    def _is_free(self, index: int) -> bool:
        return (
            index not in self.completed
            and index not in self.occupied
            and index not in self.failed_indexes
            and index not in self.creating
        )

    def _offer(self, index: int) -> None:
        if self.indexed and index < self.completions:
            heapq.heappush(self._free, index)

    def take(self, count: int, now: float = math.inf) -> list[int]:
        """The `count` smallest indexes that need a pod and do not wait; they count as being created until seen or `give_back`."""
        taken: list[int] = []
        waiting: list[int] = []
        while self._free and len(taken) < count:
            index = heapq.heappop(self._free)
            if not self._is_free(index):
                continue
            if self._delayed.get(index, 0.0) > now:
                waiting.append(index)
                continue
            self.creating.add(index)
            taken.append(index)
        for index in waiting:
            heapq.heappush(self._free, index)
        return taken

    def delayed(self, now: float) -> tuple[int, float]:
        """How many indexes that need a pod wait after failures, and for how long the first of them does, in seconds."""
        waits: list[float] = []
        for index, until in list(self._delayed.items()):
            if until <= now:
                del self._delayed[index]
            elif self._is_free(index):
                waits.append(until - now)
        return len(waits), min(waits, default=0.0)

    def free_count(self) -> int:
        """How many indexes need a pod."""
        return self.completions - len(self.completed) - len(self.failed_indexes) - len(self.occupied)

    def give_back(self, index: int) -> None:
        """The pod of this index was not created after all."""
        if index in self.creating:
            self.creating.discard(index)
            self._offer(index)

    def settle(self) -> None:
        """All creates were seen or have failed: nothing is being created any more."""
        for index in list(self.creating):
            self.give_back(index)

    def completed_text(self) -> str:
        """`completedIndexes`; formatted only when an index was added (the set never shrinks)."""
        if self._completed_text[0] != len(self.completed):
            self._completed_text = len(self.completed), format_indexes(self.completed)
        return self._completed_text[1]

    # ------------------------------------------------------------ victims

    def surplus(self, count: int) -> list[Pod]:
        """`count` active pods to delete: those of wrong or doubled indexes, then those that would be missed least. O(pods)."""
        active = [entry for entry in self.pods.values() if entry.active]
        if not self.indexed:
            active.sort(key=_least_missed)
            return [entry.pod for entry in active[:count]]
        wrong = self.misplaced()
        chosen = {pod.metadata.uid for pod in wrong}
        rest = [entry for entry in active if entry.uid not in chosen]
        rest.sort(key=lambda entry: -entry.index)
        return [*wrong, *(entry.pod for entry in rest)][: max(count, len(wrong))]

    def misplaced(self) -> list[Pod]:
        """Active pods whose index is unknown, out of range or taken by another active pod."""
        best: dict[int, Entry] = {}
        wrong: list[Pod] = []
        for entry in self.pods.values():
            if not entry.active:
                continue
            if not 0 <= entry.index < self.completions:
                wrong.append(entry.pod)
                continue
            other = best.get(entry.index)
            if other is None:
                best[entry.index] = entry
            else:
                keep, lose = sorted((other, entry), key=_least_missed, reverse=True)
                best[entry.index] = keep
                wrong.append(lose.pod)
        return wrong

    @property
    def has_misplaced(self) -> bool:
        """Whether `misplaced` would find something; O(1) for the usual case."""
        return self.indexed and self.active > 0 and len(self.occupied) < self.active

    def active_pods(self) -> list[Pod]:
        """All active pods. O(pods)."""
        return [entry.pod for entry in self.pods.values() if entry.active]


def _least_missed(entry: Entry) -> tuple[int, int, int, str]:
    phase = entry.pod.status.phase
    return (
        1 if entry.pod.spec.nodeName else 0,
        1 if phase == "Running" else 0,
        1 if entry.ready else 0,
        entry.uid,
    )


def backoff_seconds(failures: int) -> float:
    """How long a new pod waits after this many failures in a row."""
    if failures <= 0:
        return 0.0
    return min(FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 16), MAX_BACKOFF_SECONDS)


def finished_at(pod: Pod) -> float | None:
    """When the pod's last container ended, or the pod stopped being ready, or its deletion was asked for."""
    times = [
        clock.parse(status.state.terminated.finishedAt)
        if status.state is not None and status.state.terminated is not None
        else None
        for status in pod.status.containerStatuses or ()
    ]
    known = [time for time in times if time is not None]
    if known and len(known) == len(times):
        return max(known)
    ready = find_condition(pod.status.conditions, "Ready")
    if ready is not None and ready.status == "False" and ready.lastTransitionTime:
        return clock.parse(ready.lastTransitionTime)
    deleted = clock.parse(pod.metadata.deletionTimestamp)
    return None if deleted is None else deleted - (pod.metadata.deletionGracePeriodSeconds or 0)


def shape(job: Job, *, failing: bool) -> tuple[object, ...]:
    """What a tracker depends on in the spec; when it changes, the tracker is built anew."""
    spec = job.spec
    waits = not failing and spec.podReplacementPolicy == "Failed"
    return (job.metadata.uid, spec.completionMode, spec.completions, waits, spec.backoffLimitPerIndex)
