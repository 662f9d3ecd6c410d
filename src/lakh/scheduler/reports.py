"""What is said of pods: events, the PodScheduled condition, and why a class fits nowhere.

A pod's last report is in `PendingPod.reported`; only a new message is reported again. Conditions are patched a few at a time, since binds go first:
a pod that is reported on again before its turn is patched once. Messages are the same for all pods of a class, and kept: a burst of pods that
fit nowhere costs one explanation.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from lakh.client.client import STRATEGIC, Client
from lakh.client.errors import ClientError, is_conflict, is_not_found
from lakh.client.events import EventRecorder
from lakh.client.resources import PODS
from lakh.client.tasks import TaskGuard

from .core import Core
from .podclass import PodClass
from .queue import PendingPod, SchedulingQueue
from .views import Condition
from .writes import ERROR, UNSCHEDULABLE, condition_patch, reference

__all__ = ["Reports"]

log = logging.getLogger(__name__)

MAX_PATCHES_IN_FLIGHT = 16
"""Condition patches at once: binds go first."""
MAX_EXPLANATIONS = 4_096
"""Messages kept, one a class that fits nowhere."""
EXPLAIN_SHARE = 20
"""A message is kept for this many times as long as making it took, so that explaining costs at most a twentieth of the time."""


class Reports:
    """Reports on the pods of a queue. `recorder_of` gives the recorder of a profile."""

    def __init__(
        self,
        client: Client,
        recorder_of: Callable[[str], EventRecorder],
        core: Core,
        queue: SchedulingQueue,
        guard: TaskGuard,
    ) -> None:
        self._client = client
        self._recorder_of = recorder_of
        self._core = core
        self._queue = queue
        self._guard = guard
        self._waiting: dict[str, tuple[PendingPod, str, str, str | None]] = {}
        """By uid: pod, reason, message, the node it is nominated for."""
        self._in_flight = 0
        self._has_condition: set[str] = set()
        self._explanations: dict[tuple[PodClass, str | None], tuple[str, int, float]] = {}

    def __repr__(self) -> str:
        return f"Reports(waiting={len(self._waiting)}, in_flight={self._in_flight})"

    def event(self, pod: PendingPod, kind: str, reason: str, message: str) -> None:
        """An event about a pod."""
        self._recorder_of(pod.cls.profile.name).event(reference(pod), kind, reason, message)

    def found(self, pod: PendingPod, condition: Condition) -> None:
        """A pod came with a PodScheduled condition: what that says need not be said again."""
        self._has_condition.add(pod.uid)
        if condition.reason in (UNSCHEDULABLE, ERROR):
            pod.reported = condition.message

    def forget(self, uid: str) -> None:
        """The pod has left the queue."""
        self._waiting.pop(uid, None)
        self._has_condition.discard(uid)

    def unschedulable(self, pod: PendingPod, message: str, nominated: str | None = None) -> None:
        """The pod fits nowhere; `nominated` is the node that it will get."""
        if pod.reported != message or nominated is not None:
            self._failed(pod, UNSCHEDULABLE, message, nominated)

    def error(self, pod: PendingPod, message: str) -> None:
        """An attempt failed after the pod had a node: each one is told, as upstream does."""
        self._failed(pod, ERROR, message, None)

    def _failed(self, pod: PendingPod, reason: str, message: str, nominated: str | None) -> None:
        self.event(pod, "Warning", "FailedScheduling", message)
        new = pod.reported != message or nominated is not None
        pod.reported = message
        if new and self._queue.get(pod.uid) is pod:
            self._waiting[pod.uid] = pod, reason, message, nominated
            self._patch_more()

    def _patch_more(self) -> None:
        while self._waiting and self._in_flight < MAX_PATCHES_IN_FLIGHT:
            uid = next(iter(self._waiting))
            pod, reason, message, nominated = self._waiting.pop(uid)
            self._in_flight += 1
            self._guard.spawn(self._patch(pod, reason, message, nominated), name="report")

    async def _patch(self, pod: PendingPod, reason: str, message: str, nominated: str | None) -> None:
        first = pod.uid not in self._has_condition
        try:
            await self._client.patch(
                PODS,
                pod.name,
                condition_patch(pod, reason, message, first=first, nominated=nominated),
                pod.namespace,
                patch_type=STRATEGIC,
                type=bytes,
                subresource="status",
            )
            if self._queue.get(pod.uid) is pod:
                self._has_condition.add(pod.uid)
        except ClientError as error:
            if not (is_not_found(error) or is_conflict(error)):
                log.warning("condition of %s/%s: %s", pod.namespace, pod.name, error)
            pod.reported = None  # the next attempt reports again
        finally:
            self._in_flight -= 1
        self._patch_more()

    def explain(self, cls: PodClass, tail: str | None = None) -> str:
        """Why a class fits nowhere; `tail` is what came of preemption."""
        sequence = self._core.columns.sequence
        started = time.monotonic()
        known = self._explanations.get((cls, tail))
        if known is not None and (known[1] == sequence or started < known[2]):
            return known[0]
        message = self._core.explain(cls, tail=tail)
        if len(self._explanations) >= MAX_EXPLANATIONS:
            self._explanations.clear()
        finished = time.monotonic()
        self._explanations[cls, tail] = message, sequence, finished + EXPLAIN_SHARE * (finished - started)
        return message
