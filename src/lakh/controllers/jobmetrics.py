"""What the job controller counts, under upstream's names (`pkg/controller/job/metrics`)."""

from __future__ import annotations

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
RECONCILING, TRACKING, CREATED, DELETED = "reconciling", "tracking", "pods_created", "pods_deleted"


def _mode(job: Job) -> str:
    return job.spec.completionMode or "NonIndexed"


def synced(job: Job, action: str, seconds: float, *, failed: bool) -> None:
    """A sync is over."""
    labels = (_mode(job), "error" if failed else "success", action)
    _SECONDS.child(*labels).observe(seconds)
    _SYNCS.child(*labels).inc()


def written(job: Job, status: JobStatus) -> None:
    """A status was written: what it counts for the first time."""
    before, mode = job.status, _mode(job)
    for result in ("succeeded", "failed"):
        more = (getattr(status, result) or 0) - (getattr(before, result) or 0)
        if more > 0:
            _PODS.child(mode, result).value += more
    had = {condition.type for condition in before.conditions or ()}
    for condition in status.conditions or ():
        if condition.type in ("Complete", "Failed") and condition.type not in had:
            result = "succeeded" if condition.type == "Complete" else "failed"
            _FINISHED.child(mode, result, condition.reason or "").inc()
