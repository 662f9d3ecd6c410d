"""CronJobs: create a Job at each scheduled time.

`due` is the pure part: the last time that was missed, and the next one. A Job's name is made of the scheduled minute, so that a time cannot be served twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from lakh.client.errors import ApiError, is_already_exists, is_not_found
from lakh.client.resources import CRONJOBS, JOBS, object_reference
from lakh.machinery.metrics import PROCESS, exponential

from . import clock, informers
from .context import Context, Controller
from .cron import Cron, CronError
from .jobdecision import finished
from .pods import controller_of, controller_reference, find_condition
from .statuses import difference, status_patch
from .views import Bare, CronJob, CronJobStatus, Job

_SKEW = PROCESS.histogram(
    "cronjob_controller_job_creation_skew_duration_seconds",
    "From a scheduled time to its job's creation.",
    (),
    exponential(1, 2, 10),
).child()

MAX_MISSED = 100
"""More missed times than this are told as a warning; only the last one is served anyway."""
SCHEDULED_ANNOTATION = "batch.kubernetes.io/cronjob-scheduled-timestamp"
STALE_SECONDS = 0.1
"""When memory turns out to be stale, look again after this time."""
NEXT_DELTA_SECONDS = 0.1
"""Wake up a little after the time, so that clocks that differ do not wake us before it."""


@dataclass
class Due:
    """The last missed time, if any, how many were missed (bounded), and the next time."""

    last: float | None
    missed: int
    next: float | None


def zone_of(name: str | None) -> tzinfo:
    """The schedule's time zone; UTC when none is named. Raises `CronError`."""
    if name is None:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise CronError(f"unknown time zone {name}") from error


def due(cron: CronJob, now: float) -> Due:
    """Pure: what is due. Times before the last one served or older than the starting deadline do not count."""
    schedule, zone = Cron(cron.spec.schedule), zone_of(cron.spec.timeZone)
    since = clock.parse(cron.status.lastScheduleTime) or clock.parse(cron.metadata.creationTimestamp) or now
    if cron.spec.startingDeadlineSeconds is not None:
        since = max(since, now - cron.spec.startingDeadlineSeconds)
    last, missed = None, 0
    when = schedule.next_after(since, zone)
    while when is not None and when <= now:
        last, missed = when, missed + 1
        if missed > MAX_MISSED:
            if schedule.every is not None:
                last = when + (now - when) // schedule.every * schedule.every
                return Due(last, missed, last + schedule.every)
            # Long idle: jump to the last period instead of walking all of them.
            since = max(when, now - (2 * 86_400))
            following = schedule.next_after(since, zone)
            while following is not None and following <= now:
                last, following = following, schedule.next_after(following, zone)
            return Due(last, missed, following)
        when = schedule.next_after(when, zone)
    return Due(last, missed, when)


def job_name(cron: CronJob, when: float) -> str:
    """The name of the Job of that time: the CronJob's and the minutes since the epoch."""
    return f"{cron.metadata.name}-{int(when) // 60}"


def job_body(cron: CronJob, when: float) -> dict[str, Any]:
    """The Job of that time."""
    template = cron.spec.jobTemplate
    metadata = template.metadata
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(cron, when),
            "labels": (metadata and metadata.labels) or {},
            "annotations": {
                **((metadata and metadata.annotations) or {}),
                SCHEDULED_ANNOTATION: clock.stamp(when),
            },
            "ownerReferences": [controller_reference("batch/v1", "CronJob", cron.metadata)],
        },
        "spec": msgspec.json.decode(template.spec),
    }


class CronJobController(Controller):
    """See the module."""

    name = "cronjob-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._recorder = context.recorder(self.name)
        self._crons = context.informers.of(CRONJOBS, CronJob)
        self._jobs = context.informers.of(JOBS, Job, indexes=(informers.CONTROLLER,))
        self._crons.add_handler(on_add=self._changed, on_update=lambda old, new: self._changed(new))
        self._jobs.add_handler(
            on_add=self._job_changed,
            on_update=lambda old, new: self._job_changed(new),
            on_delete=self._job_changed,
        )

    def resync(self) -> None:
        """Queue every CronJob."""
        for key in self._crons.items:
            self.queue.add(key)

    def _changed(self, cron: CronJob) -> None:
        self.queue.add(f"{cron.metadata.namespace}/{cron.metadata.name}")

    def _job_changed(self, job: Job) -> None:
        reference = controller_of(job.metadata)
        if reference is not None and reference.kind == "CronJob":
            self.queue.add(f"{job.metadata.namespace}/{reference.name}")

    def _event(self, cron: CronJob, kind: str, reason: str, message: str) -> None:
        self._recorder.event(object_reference(CRONJOBS, cron), kind, reason, message)

    async def reconcile(self, key: str) -> None:
        """Account for ended Jobs, and start the one that is due."""
        cron = self._crons.items.get(key)
        if cron is None or cron.metadata.deletionTimestamp is not None:
            return
        jobs = self._jobs.by_index(informers.CONTROLLER, cron.metadata.uid)
        status = await self._account(cron, jobs)
        if status is None:
            self.queue.add_after(key, STALE_SECONDS)
            return
        await self._clean_up(cron, jobs)
        try:
            zone_of(cron.spec.timeZone)
        except CronError as error:
            message = f'invalid timeZone: "{cron.spec.timeZone}": {error}'
            self._event(cron, "Warning", "UnknownTimeZone", message)
        else:
            if not cron.spec.suspend:
                await self._serve(key, cron, status)
        patch = difference(cron.status, status)
        if patch:
            await self.client.patch(
                CRONJOBS,
                cron.metadata.name,
                status_patch(patch, cron.metadata.resourceVersion),
                cron.metadata.namespace,
                subresource="status",
                type=Bare,
            )

    async def _serve(self, key: str, cron: CronJob, status: CronJobStatus) -> None:
        try:
            await self._start(key, cron, status)
        except CronError as error:
            message = f'unparseable schedule: "{cron.spec.schedule}" : {error}'
            self._event(cron, "Warning", "UnparseableSchedule", message)

    async def _account(self, cron: CronJob, jobs: list[Job]) -> CronJobStatus | None:
        """The status that follows from the Jobs: those we started and that are still active, the last success.

        A Job of the CronJob that somebody else made (`kubectl create job --from`) is not among the active ones. `None` when the server knows
        more of our own Jobs than memory does.
        """
        status = msgspec.structs.replace(cron.status)
        active = {reference.get("uid"): reference for reference in cron.status.active or ()}
        forgotten = [job for job in jobs if job.metadata.uid not in active and not finished(job)]
        if forgotten:
            live = await self.client.get(CRONJOBS, cron.metadata.name, cron.metadata.namespace, type=CronJob)
            known = {reference.get("uid") for reference in live.status.active or ()}
            if any(job.metadata.uid in known for job in forgotten):
                return None
        for job in forgotten:
            message = f"Saw a job that the controller did not create or forgot: {job.metadata.name}"
            self._event(cron, "Warning", "UnexpectedJob", message)
        for job in jobs:
            if not finished(job):
                continue
            if active.pop(job.metadata.uid, None) is not None:
                condition = "Complete" if find_condition(job.status.conditions, "Complete") else "Failed"
                self._event(
                    cron,
                    "Normal",
                    "SawCompletedJob",
                    f"Saw completed job: {job.metadata.name}, condition: {condition}",
                )
            ended = job.status.completionTime
            if ended and (status.lastSuccessfulTime or "") < ended:
                status.lastSuccessfulTime = ended
        here = {job.metadata.uid for job in jobs}
        for uid, reference in list(active.items()):
            if uid not in here and not await self._exists(reference):
                del active[uid]
                self._event(cron, "Normal", "MissingJob", f"Active job went missing: {reference.get('name')}")
        status.active = list(active.values()) or None
        return status

    async def _exists(self, reference: dict[str, Any]) -> bool:
        try:
            await self.client.get(JOBS, reference.get("name", ""), reference.get("namespace"), type=Bare)
        except ApiError as error:
            if is_not_found(error):
                return False
            raise
        return True

    async def _clean_up(self, cron: CronJob, jobs: list[Job]) -> None:
        """Delete the oldest ended Jobs beyond the history limits."""
        for type_, limit in (
            ("Complete", cron.spec.successfulJobsHistoryLimit),
            ("Failed", cron.spec.failedJobsHistoryLimit),
        ):
            if limit is None:
                continue
            ended = [
                job
                for job in jobs
                if (c := find_condition(job.status.conditions, type_)) and c.status == "True"
            ]
            ended.sort(key=lambda job: (job.status.startTime or "", job.metadata.name))
            for job in ended[: max(len(ended) - limit, 0)]:
                await self._delete(cron, job)

    async def _delete(self, cron: CronJob, job: Job) -> None:
        try:
            await self.client.delete(
                JOBS,
                job.metadata.name,
                job.metadata.namespace,
                uid=job.metadata.uid,
                propagation_policy="Background",
            )
        except ApiError as error:
            if is_not_found(error):
                return
            self._event(cron, "Warning", "FailedDelete", f"Deleted job: {error}")
            raise
        self._event(cron, "Normal", "SuccessfulDelete", f"Deleted job {job.metadata.name}")

    async def _start(self, key: str, cron: CronJob, status: CronJobStatus) -> None:
        now = self.now()
        found = due(cron, now)
        if found.next is not None:
            self.queue.add_after(key, found.next - now + NEXT_DELTA_SECONDS)
        if found.last is None:
            if found.next is None:
                why = "time difference between two schedules is less than 1 second"
                message = f"invalid schedule: {cron.spec.schedule} : {why}"  # such as 31 February
                self._event(cron, "Warning", "InvalidSchedule", message)
            return
        if found.missed > MAX_MISSED:
            self._event(
                cron,
                "Warning",
                "TooManyMissedTimes",
                "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew",
            )
        name = job_name(cron, found.last)
        if any(reference.get("name") == name for reference in status.active or ()):
            return  # It was started already.
        if status.active and cron.spec.concurrencyPolicy == "Forbid":
            self._event(
                cron,
                "Normal",
                "JobAlreadyActive",
                "Not starting job because prior execution is running and concurrency policy is Forbid",
            )
            return
        if cron.spec.concurrencyPolicy == "Replace":
            running = {reference.get("uid") for reference in status.active or ()}
            for job in self._jobs.by_index(informers.CONTROLLER, cron.metadata.uid):
                if job.metadata.uid in running:
                    await self._delete(cron, job)
            status.active = None
        try:
            job = await self.client.create(
                JOBS, job_body(cron, found.last), cron.metadata.namespace, type=Job
            )
        except ApiError as error:
            if not is_already_exists(error):
                self._event(cron, "Warning", "FailedCreate", f"Error creating job: {error}")
                raise
            # Ours, of a sync whose status was not written; or somebody else's, who then holds the name.
            job = await self.client.get(JOBS, name, cron.metadata.namespace, type=Job)
            owner = controller_of(job.metadata)
            if owner is None or owner.uid != cron.metadata.uid:
                return
        else:
            self._event(cron, "Normal", "SuccessfulCreate", f"Created job {job.metadata.name}")
            _SKEW.observe(self.now() - found.last)
        if not finished(job):
            status.active = [*(status.active or ()), _reference(job)]
        status.lastScheduleTime = clock.stamp(found.last)


def _reference(job: Job) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": job.metadata.name,
        "namespace": job.metadata.namespace,
        "uid": job.metadata.uid,
        "resourceVersion": job.metadata.resourceVersion,
    }


__all__ = ["CronJobController", "Due", "due", "job_body", "job_name", "zone_of"]
