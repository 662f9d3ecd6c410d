"""What the job controller counts, under upstream's names (`pkg/controller/job/metrics`)."""

from __future__ import annotations

from lakh.machinery import gonumbers
from lakh.machinery.metrics import PROCESS, exponential

from .views import Job, JobStatus

_SYNC = ("completion_mode", "result", "action")
_SECONDS = PROCESS.histogram(
    "job_controller_job_sync_duration_seconds", "One sync of a job.", _SYNC, exponential(0.004, 2, 15)
)
_SYNCS = PROCESS.counter("job_controller_job_syncs_total", "Syncs of jobs.", _SYNC)
_FINISHED = PROCESS.counter(
    "job_controller_jobs_finished_total", "Jobs that ended.", ("completion_mode", "result", "reason")
)
_PODS = PROCESS.counter(
    "job_controller_job_pods_finished_total",
    "Ended pods that are in their job's counters.",
    ("completion_mode", "result"),
)
_INDEXES = PROCESS.counter(
    "job_controller_job_finished_indexes_total",
    "Indexes that ended, by whether the job has a backoff limit of its own for each.",
    ("status", "backoffLimit"),
)
_CREATED = PROCESS.counter(
    "job_controller_job_pods_creation_total",
    "Pods made for jobs, by why they were and whether it worked.",
    ("reason", "status"),
)
_EXTERNAL = PROCESS.counter(
    "job_controller_jobs_by_external_controller_total",
    "Jobs that somebody else manages.",
    ("controller_name",),
)
RECONCILING, TRACKING, CREATED, DELETED = "reconciling", "tracking", "pods_created", "pods_deleted"


def _mode(job: Job) -> str:
    return job.spec.completionMode or "NonIndexed"


def synced(job: Job, action: str, seconds: float, *, failed: bool) -> None:
    """A sync is over."""
    labels = (_mode(job), "error" if failed else "success", action)
    _SECONDS.child(*labels).observe(seconds)
    _SYNCS.child(*labels).inc()


def created(job: Job, succeeded: int, failed: int, *, replaces: bool) -> None:
    """Pods were made; `replaces`: others of the job have failed or are going."""
    reason = "new"
    if replaces and job.spec.podReplacementPolicy == "Failed":
        reason = "recreate_failed"
    elif replaces and job.spec.podReplacementPolicy == "TerminatingOrFailed":
        reason = "recreate_terminating_or_failed"
    for status, count in (("succeeded", succeeded), ("failed", failed)):
        if count:
            _CREATED.child(reason, status).value += count


def external(controller: str) -> None:
    """A job of another controller was seen for the first time."""
    _EXTERNAL.child(controller).inc()


def _count(indexes: str | None) -> int:
    """How many indexes such a text (`0,2-4`) names."""
    total = 0
    for part in (indexes or "").split(","):
        first, dash, last = part.partition("-")
        if gonumbers.is_uint(first) and (not dash or gonumbers.is_uint(last)):
            total += int(last) - int(first) + 1 if dash else 1
    return total


def written(job: Job, status: JobStatus) -> None:
    """A status was written: what it counts for the first time."""
    before, mode = job.status, _mode(job)
    for result in ("succeeded", "failed"):
        more = (getattr(status, result) or 0) - (getattr(before, result) or 0)
        if more > 0:
            _PODS.child(mode, result).value += more
    if mode == "Indexed":
        limit = "global" if job.spec.backoffLimitPerIndex is None else "perIndex"
        completed = (status.succeeded or 0) - (before.succeeded or 0)
        given_up = 0
        if status.failedIndexes != before.failedIndexes:
            given_up = _count(status.failedIndexes) - _count(before.failedIndexes)
        for outcome, more in (("succeeded", completed), ("failed", given_up)):
            if more > 0:
                _INDEXES.child(outcome, limit).value += more
    had = {condition.type for condition in before.conditions or ()}
    for condition in status.conditions or ():
        if condition.type in ("Complete", "Failed") and condition.type not in had:
            result = "succeeded" if condition.type == "Complete" else "failed"
            _FINISHED.child(mode, result, condition.reason or "").inc()
