"""Jobs: run pods until enough of them have succeeded.

The shell around `jobtracker` (counts) and `jobdecision` (what to do). Pod events update a tracker in O(1) and queue the Job with a small delay
that grows with the Job, so that a thousand events make one sync. A sync creates or deletes pods, writes the status once, and takes the
tracking finalizer off the pods that this status accounts for.

Status writes carry the resourceVersion: a status decided from stale memory is refused, never applied on top. The answer of the last write is
used until the watch has caught up with it.

Pods whose Job is gone lose the finalizer through a queue of their own, or nobody could delete them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from lakh.client.client import STRATEGIC
from lakh.client.errors import ApiError, is_namespace_terminating, is_not_found
from lakh.client.resources import JOBS, PODS, object_reference
from lakh.client.workqueue import WorkQueue

from . import clock, informers, jobmetrics
from .bursts import all_of, slow_start
from .claiming import carry_out, claim
from .context import Context, Controller
from .expectations import Expectations
from .jobdecision import (
    Accounting,
    Plan,
    Verdict,
    account,
    decide,
    finished,
    is_ignored,
    may_finish,
    target_condition,
    verdict_so_far,
)
from .jobpods import JobPods
from .jobtracker import FINALIZER, JobTracker, shape
from .pods import controller_of, controller_reference, find_condition, is_active
from .selecting import compile_selector
from .statuses import difference, set_condition, status_patch
from .views import Bare, Condition, Job, JobStatus, Meta, Pod, Uncounted

FIRST_BATCH = 8
"""Creates of the first batch of a slow start."""
MIN_DELAY_SECONDS = 0.02
MAX_DELAY_SECONDS = 1.0
TOO_MANY_SUCCEEDED = "Too many succeeded pods running after completion count reached"
DELAY_PER_POD_SECONDS = 5e-5
"""Pod events are gathered this long per active pod, between the two bounds."""

_REMOVE_FINALIZER = msgspec.json.encode({"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}})
_KEEP_ZERO = ("ready", "terminating", "failedIndexes")


class JobController(Controller):
    """See the module."""

    name = "job-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._expectations = Expectations(context.monotonic)
        self._recorder = context.recorder(self.name)
        self._trackers: dict[str, JobTracker] = {}
        self._written: dict[str, Job] = {}
        self._to_claim: set[str] = set()
        self.strays = WorkQueue("job-strays")
        self._jobs = context.informers.of(JOBS, Job, indexes=(informers.NAMESPACE,))
        self._pods = context.informers.of(PODS, Pod, indexes=(informers.CONTROLLER, informers.ORPHANS))
        self._jobs.add_handler(on_add=self._job_added, on_update=self._job_updated, on_delete=self._job_gone)
        context.informers.owned_pods.add_handler(
            "Job", on_add=self._pod_added, on_update=self._pod_updated, on_delete=self._pod_deleted
        )

    def resync(self) -> None:
        """Queue every Job, and every pod that may have lost its Job."""
        for key in self._jobs.items:
            self.queue.add(key)
        for key, pod in self._pods.items.items():
            if FINALIZER in (pod.metadata.finalizers or ()) and self._job_of(pod) is None:
                self.strays.add(key)

    async def run(self) -> None:
        """Work until cancelled."""
        self.resync()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.queue.run(self.reconcile, self.workers))
            group.create_task(self.strays.run(self.release_stray, self.workers))

    # ------------------------------------------------------------ events

    def _job_added(self, job: Job) -> None:
        key = _key(job.metadata)
        if _is_external(job):
            jobmetrics.external(job.spec.managedBy or "")
        self._to_claim.add(key)
        self.queue.add(key)

    def _job_updated(self, old: Job, new: Job) -> None:
        key = _key(new.metadata)
        if old.spec.selector != new.spec.selector:
            self._to_claim.add(key)
        self.queue.add(key)

    def _job_gone(self, job: Job) -> None:
        key = _key(job.metadata)
        self._expectations.forget(key)
        self._written.pop(key, None)
        self._to_claim.discard(key)
        tracker = self._trackers.pop(job.metadata.uid, None)
        if tracker is not None:
            for name in tracker.pods:
                self.strays.add(f"{job.metadata.namespace}/{name}")

    def _job_of(self, pod: Pod) -> Job | None:
        reference = controller_of(pod.metadata)
        if reference is None or reference.kind != "Job":
            return None
        job = self._jobs.items.get(f"{pod.metadata.namespace}/{reference.name}")
        return job if job is not None and job.metadata.uid == reference.uid else None

    def _pod_added(self, pod: Pod) -> None:
        self._pod_changed(pod)
        job = self._job_of(pod)
        if job is not None and pod.metadata.deletionTimestamp is None:
            self._expectations.added(_key(job.metadata))

    def _pod_updated(self, old: Pod, new: Pod) -> None:
        was, now = old.metadata, new.metadata
        if was.ownerReferences is not now.ownerReferences:  # versions share what is equal
            before, after = controller_of(was), controller_of(now)
            if before is not None and (after is None or after.uid != before.uid):
                tracker = self._trackers.get(before.uid)
                if tracker is not None:
                    tracker.drop(old)
                self.queue.add(f"{was.namespace}/{before.name}")
        self._pod_changed(new, relabeled=was.labels is not now.labels and was.labels != now.labels)

    def _pod_changed(self, pod: Pod, *, relabeled: bool = False) -> None:
        reference = controller_of(pod.metadata)
        if reference is None:
            self._orphan(pod)
            return
        if reference.kind != "Job":
            return
        tracker = self._trackers.get(reference.uid)
        if tracker is not None:
            tracker.apply(pod, self.now())
        key = f"{pod.metadata.namespace}/{reference.name}"
        job = self._jobs.items.get(key)
        if job is None or job.metadata.uid != reference.uid:
            if self._jobs.has_synced and FINALIZER in (pod.metadata.finalizers or ()):
                self.strays.add(_key(pod.metadata))
            return
        if pod.metadata.deletionTimestamp is not None:
            self._expectations.deleted(key, pod.metadata.uid)
        if relabeled:
            self._to_claim.add(key)
        self._queue_gently(key, tracker)

    def _pod_deleted(self, pod: Pod) -> None:
        reference = controller_of(pod.metadata)
        if reference is None or reference.kind != "Job":
            return
        tracker = self._trackers.get(reference.uid)
        if tracker is not None:
            tracker.drop(pod)
        key = f"{pod.metadata.namespace}/{reference.name}"
        self._expectations.deleted(key, pod.metadata.uid)
        self._queue_gently(key, tracker)

    def _queue_gently(self, key: str, tracker: JobTracker | None) -> None:
        active = tracker.active if tracker is not None else 0
        self.queue.add_after(key, min(MIN_DELAY_SECONDS + active * DELAY_PER_POD_SECONDS, MAX_DELAY_SECONDS))

    def _orphan(self, pod: Pod) -> None:
        if FINALIZER in (pod.metadata.finalizers or ()):
            self.strays.add(_key(pod.metadata))
        if not pod.metadata.labels or pod.metadata.deletionTimestamp is not None:
            return
        for job in self._jobs.by_index(informers.NAMESPACE, pod.metadata.namespace or ""):
            if compile_selector(job.spec.selector)(pod.metadata.labels):
                key = _key(job.metadata)
                self._to_claim.add(key)
                self.queue.add(key)

    # ------------------------------------------------------------ sync

    def _current(self, key: str) -> Job | None:
        """The Job as memory has it, or as our last write left it when that is newer."""
        job = self._jobs.items.get(key)
        written = self._written.get(key)
        if written is None or job is None:
            return job
        if written.metadata.uid == job.metadata.uid and int(written.metadata.resourceVersion) > int(
            job.metadata.resourceVersion
        ):
            return msgspec.structs.replace(
                job, metadata=written.metadata, status=written.status, spec=written.spec
            )
        del self._written[key]
        return job

    def _tracker(self, job: Job) -> JobTracker:
        verdict = verdict_so_far(job)
        failing = verdict is not None and verdict.type == "Failed"
        tracker = self._trackers.get(job.metadata.uid)
        if tracker is None or tracker.shape != shape(job, failing=failing):
            pods = self._pods.by_index(informers.CONTROLLER, job.metadata.uid)
            removed = tracker.removed if tracker is not None else set()
            tracker = JobTracker(
                job, pods, failing=failing, removed=removed, ignores=partial(is_ignored, job)
            )
            self._trackers[job.metadata.uid] = tracker
        return tracker

    async def reconcile(self, key: str) -> None:
        """Bring one Job on."""
        job = self._current(key)
        if job is None or _is_external(job):
            return
        if key in self._to_claim:
            await self._claim(job)
            self._to_claim.discard(key)
        if finished(job):
            self._release_finished(job)
            return
        began, failed = time.perf_counter(), True
        action = jobmetrics.RECONCILING
        try:
            action = await self._sync(key, job)
            failed = False
        finally:
            jobmetrics.synced(job, action, time.perf_counter() - began, failed=failed)

    async def _sync(self, key: str, job: Job) -> str:
        """Bring a Job on that has not ended. Returns what was done."""
        action = jobmetrics.RECONCILING
        tracker = self._tracker(job)
        satisfied = self._expectations.satisfied(key)
        now = self.now()
        plan = Plan(verdict=verdict_so_far(job))
        error: BaseException | None = None
        active = tracker.active
        if satisfied and job.metadata.deletionTimestamp is None:
            tracker.settle()
            plan = decide(job, tracker, now)
            change, error = await self._manage(key, job, tracker, plan)
            action = (
                jobmetrics.CREATED
                if change > 0
                else jobmetrics.DELETED
                if change < 0
                else jobmetrics.TRACKING
            )
            # Some of what was created may have been seen meanwhile.
            active = max(tracker.active, active + change) if change > 0 else tracker.active
        else:
            active = max(tracker.active, job.status.active or 0)
        await self._write(key, job, tracker, plan, active, managed=satisfied)
        if plan.requeue_seconds is not None:
            self.queue.add_after(key, max(plan.requeue_seconds, 0.05))
        if error is not None:
            raise error
        return action

    async def _claim(self, job: Job) -> None:
        metadata = job.metadata
        if finished(job):
            return
        plan = claim(
            owner_deleting=metadata.deletionTimestamp is not None,
            matches=compile_selector(job.spec.selector),
            mine=self._pods.by_index(informers.CONTROLLER, metadata.uid),
            orphans=self._pods.by_index(informers.ORPHANS, metadata.namespace or ""),
            skip=lambda pod: not is_active(pod),
        )
        if plan.adopt or plan.release:
            await carry_out(
                self.client,
                plan,
                owner=JOBS,
                owner_metadata=metadata,
                reference=controller_reference("batch/v1", "Job", metadata),
                resource=PODS,
                finalizers=(FINALIZER,),
            )

    def _release_finished(self, job: Job) -> None:
        """A finished Job's pods need no accounting; late ones lose their finalizer, and the tracker goes."""
        tracker = self._trackers.pop(job.metadata.uid, None)
        if tracker is None:
            return
        for entry in tracker.pods.values():
            if entry.tracked:
                self.strays.add(f"{job.metadata.namespace}/{entry.name}")

    # ------------------------------------------------------------ pods

    async def _manage(
        self, key: str, job: Job, tracker: JobTracker, plan: Plan
    ) -> tuple[int, BaseException | None]:
        """Create or delete pods. Returns by how much the active count changed, and the first error."""
        if plan.delete_all:
            victims = tracker.active_pods()
            succeeded, error = await self._delete(key, job, tracker, victims, count_as_failed=True)
            return -succeeded, error
        misplaced = tracker.misplaced() if tracker.has_misplaced else []
        if plan.delete or misplaced:
            victims = tracker.surplus(plan.delete) if plan.delete else misplaced
            succeeded, error = await self._delete(key, job, tracker, victims, count_as_failed=False)
            return -succeeded, error
        if plan.create:
            return await self._create(key, job, tracker, plan.create)
        return 0, None

    async def _create(
        self, key: str, job: Job, tracker: JobTracker, count: int
    ) -> tuple[int, BaseException | None]:
        maker = JobPods(job)
        reference = object_reference(JOBS, job)
        indexes: Sequence[int | None] = tracker.take(count, self.now()) if tracker.indexed else [None] * count

        failures = 0

        async def create(index: int | None) -> None:
            nonlocal failures
            failed = tracker.index_failures.get(index, 0) if index is not None else 0
            ignored = tracker.index_ignored.get(index, 0) if index is not None else 0
            try:
                pod = await self.client.create(
                    PODS, maker.make(index, failed, ignored), job.metadata.namespace, type=Bare
                )
            except ApiError as error:
                failures += 1
                if not is_namespace_terminating(error):
                    self._recorder.event(reference, "Warning", "FailedCreate", f"Error creating: {error}")
                raise
            self._recorder.event(reference, "Normal", "SuccessfulCreate", f"Created pod: {pod.metadata.name}")

        self._expectations.expect_additions(key, len(indexes))
        succeeded, error = await slow_start(indexes, create, initial=FIRST_BATCH)
        self._expectations.added(key, len(indexes) - succeeded)
        jobmetrics.created(
            job,
            succeeded,
            failures,
            replaces=bool(job.status.failed or tracker.failed or tracker.terminating),
        )
        return succeeded, error

    async def _delete(
        self, key: str, job: Job, tracker: JobTracker, victims: Sequence[Pod], *, count_as_failed: bool
    ) -> tuple[int, BaseException | None]:
        reference = object_reference(JOBS, job)
        succeeded = 0
        self._expectations.expect_deletions(key, [pod.metadata.uid for pod in victims])

        async def delete(pod: Pod) -> None:
            nonlocal succeeded
            name, uid = pod.metadata.name, pod.metadata.uid
            try:
                if not count_as_failed and FINALIZER in (pod.metadata.finalizers or ()):
                    await self._remove_finalizer(pod.metadata)
                    tracker.untrack(uid, name)
                await self.client.delete(PODS, name, job.metadata.namespace, uid=uid)
            except BaseException as error:
                self._expectations.deleted(key, uid)
                if isinstance(error, ApiError) and is_not_found(error):
                    return
                self._recorder.event(reference, "Warning", "FailedDelete", f"Error deleting: {error}")
                raise
            succeeded += 1
            self._recorder.event(reference, "Normal", "SuccessfulDelete", f"Deleted pod: {name}")

        error = await all_of(victims, delete)
        return succeeded, error

    async def _remove_finalizer(self, metadata: Meta) -> None:
        try:
            await self.client.patch(
                PODS, metadata.name, _REMOVE_FINALIZER, metadata.namespace, patch_type=STRATEGIC, type=Bare
            )
        except ApiError as error:
            if not is_not_found(error):
                raise

    async def release_stray(self, key: str) -> None:
        """Take the finalizer off a pod whose Job is gone or finished."""
        pod = self._pods.items.get(key)
        if pod is None or FINALIZER not in (pod.metadata.finalizers or ()):
            return
        job = self._job_of(pod)
        if job is None or finished(job):
            await self._remove_finalizer(pod.metadata)

    # ------------------------------------------------------------ status

    async def _write(
        self, key: str, job: Job, tracker: JobTracker, plan: Plan, active: int, *, managed: bool
    ) -> None:
        """Write the status that follows, then take the finalizers off the pods it accounts for."""
        accounting = account(job, tracker)
        events = self._complete_status(job, tracker, accounting, plan, active, managed=managed)
        patch = _patch_of(job.status, accounting.status)
        if patch:
            try:
                written = await self.client.patch(
                    JOBS,
                    job.metadata.name,
                    status_patch(patch, job.metadata.resourceVersion),
                    job.metadata.namespace,
                    subresource="status",
                    type=Job,
                )
            except ApiError as error:
                if is_not_found(error):
                    return
                raise
            self._written[key] = written
            jobmetrics.written(job, accounting.status)
            reference = object_reference(JOBS, job)
            for kind, reason, message in events:
                self._recorder.event(reference, kind, reason, message)
            self._schedule_deadline(key, job, accounting.status)
        if accounting.release:
            await self._release(key, tracker, accounting)
        elif patch and not tracker.tracked:
            # The uids just counted may be the last thing the end was waiting for.
            self.queue.add(key)

    async def _release(self, key: str, tracker: JobTracker, accounting: Accounting) -> None:
        async def release(entry: Any) -> None:
            await self._remove_finalizer(entry.pod.metadata)
            tracker.untrack(entry.uid, entry.name)

        error = await all_of(accounting.release, release)
        self.queue.add(key)
        if error is not None:
            raise error

    def _schedule_deadline(self, key: str, job: Job, status: JobStatus) -> None:
        started = clock.parse(status.startTime)
        if (
            job.spec.activeDeadlineSeconds is not None
            and started is not None
            and job.status.startTime is None
        ):
            self.queue.add_after(key, started + job.spec.activeDeadlineSeconds - self.now())

    def _complete_status(
        self,
        job: Job,
        tracker: JobTracker,
        accounting: Accounting,
        plan: Plan,
        active: int,
        *,
        managed: bool,
    ) -> list[tuple[str, str, str]]:
        """Fill in counts, times and conditions. Returns the events to record once it is written."""
        events: list[tuple[str, str, str]] = []
        status = accounting.status
        now = clock.stamp(self.now())
        status.active = active
        status.ready = tracker.ready
        status.terminating = tracker.terminating
        conditions = list(status.conditions or ())
        suspended = find_condition(conditions, "Suspended")
        if plan.verdict is None and managed:
            is_suspended = suspended is not None and suspended.status == "True"
            if job.spec.suspend and not is_suspended:
                told = Condition(
                    type="Suspended", status="True", reason="JobSuspended", message="Job suspended"
                )
                conditions = set_condition(conditions, _probed(told, now), now=now)
                status.startTime = None
                events.append(("Normal", "Suspended", "Job suspended"))
            elif not job.spec.suspend and is_suspended:
                told = Condition(type="Suspended", status="False", reason="JobResumed", message="Job resumed")
                conditions = set_condition(conditions, _probed(told, now), now=now)
                status.startTime = now
                events.append(("Normal", "Resumed", "Job resumed"))
        if status.startTime is None and not job.spec.suspend:
            status.startTime = now
        if plan.verdict is not None:
            conditions = set_condition(conditions, _probed(target_condition(plan.verdict), now), now=now)
            if may_finish(status, tracker):
                completions = job.spec.completions
                if (
                    plan.verdict.type == "Complete"
                    and completions is not None
                    and (status.succeeded or 0) > completions
                ):
                    events.append(("Warning", "TooManySucceededPods", TOO_MANY_SUCCEEDED))
                events.append(self._finish(status, conditions, plan.verdict, now))
        status.conditions = conditions or None
        return events

    @staticmethod
    def _finish(
        status: JobStatus, conditions: list[Condition], verdict: Verdict, now: str
    ) -> tuple[str, str, str]:
        conditions.append(
            Condition(
                type=verdict.type,
                status="True",
                reason=verdict.reason,
                message=verdict.message,
                lastTransitionTime=now,
                lastProbeTime=now,
            )
        )
        status.active = status.ready = status.terminating = 0
        if verdict.type == "Complete":
            status.completionTime = now
            return "Normal", "Completed", "Job completed"
        return "Warning", verdict.reason, verdict.message


def _is_external(job: Job) -> bool:
    """Whether somebody else manages the Job."""
    return job.spec.managedBy not in (None, "kubernetes.io/job-controller")


def _probed(condition: Condition, now: str) -> Condition:
    return msgspec.structs.replace(condition, lastProbeTime=now)


def _patch_of(before: JobStatus, after: JobStatus) -> dict[str, Any]:
    old, new = before.uncountedTerminatedPods or Uncounted(), after.uncountedTerminatedPods or Uncounted()
    patch = difference(before, after, keep_zero=_KEEP_ZERO)
    patch.pop("uncountedTerminatedPods", None)
    if (old.succeeded or None, old.failed or None) != (new.succeeded, new.failed):
        patch["uncountedTerminatedPods"] = {"succeeded": new.succeeded, "failed": new.failed}
    elif before.uncountedTerminatedPods is None:
        patch["uncountedTerminatedPods"] = {}
    return patch


def _key(metadata: Meta) -> str:
    return f"{metadata.namespace}/{metadata.name}"
