"""batch/v1: Jobs and CronJobs.

A Job's selector is generated from its uid at creation, and the labels that it selects are put on the pod template; with `manualSelector`
the client does that. Afterwards template, selector and completions stay. Validation is in `batch_validation`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lakh.apis.groups import printing
from lakh.apis.groups.base import GroupStrategy, child, declare
from lakh.apis.groups.batch_validation import (
    COMPLETIONS_SOFT_LIMIT,
    CONTROLLER_UID,
    JOB_NAME,
    LEGACY_CONTROLLER_UID,
    LEGACY_JOB_NAME,
    PARALLELISM_LIMIT_HIGH_COMPLETIONS,
    validate_cron_job,
    validate_cron_job_update,
    validate_job,
    validate_job_update,
)
from lakh.apis.groups.job_status import is_condition_true, validate_job_status
from lakh.apis.groups.printing import CONTAINERS_COLUMN, IMAGES_COLUMN
from lakh.apis.groups.workloads import changed_template_warnings, hostname_warnings
from lakh.apis.podspec import default_pod_template
from lakh.apis.podspec_warnings import pod_template_warnings
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column
from lakh.machinery import times
from lakh.machinery.errors import FieldError

GROUP = "batch"
VERSION = "v1"

DEFAULT_BACKOFF_LIMIT = 6
# With a limit per index, the limit of the whole job is out of the way.
UNLIMITED = 2**31 - 1
DEFAULT_SUCCESSFUL_JOBS_HISTORY_LIMIT = 3
DEFAULT_FAILED_JOBS_HISTORY_LIMIT = 1

_SELECTOR_COLUMN = Column("Selector", priority=1, description="Label selector for pods.")
_JOB_FIELDS: Mapping[str, Callable[[Any], str]] = {
    "status.successful": lambda job: str((job.status.succeeded if job.status else None) or 0),
}


class JobStrategy(GroupStrategy):
    """Jobs."""

    has_status = True
    generation = True
    # The oldest promise of batch/v1: deleting a Job leaves its pods, unless the client says otherwise.
    default_propagation = "Orphan"
    propagation_warning = (
        "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
        "propagationPolicy=Orphan to suppress this warning"
    )
    selectable_fields = _JOB_FIELDS
    columns = (
        NAME_COLUMN,
        Column("Status", description="Status of the job."),
        Column("Completions", description="Number of successful pods out of those wanted."),
        Column("Duration", description="Time required to complete the job."),
        AGE_COLUMN,
        CONTAINERS_COLUMN,
        IMAGES_COLUMN,
        _SELECTOR_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """One pod, six retries, not indexed, running."""
        spec = child(obj, "spec")
        if spec.completions is None and spec.parallelism is None:
            spec.completions = 1
        if spec.parallelism is None:
            spec.parallelism = 1
        if spec.backoffLimit is None:
            spec.backoffLimit = UNLIMITED if spec.backoffLimitPerIndex is not None else DEFAULT_BACKOFF_LIMIT
        _inherit_labels(obj)
        if spec.completionMode is None:
            spec.completionMode = "NonIndexed"
        if spec.suspend is None:
            spec.suspend = False
        if spec.manualSelector is None:
            spec.manualSelector = False
        _default_policies(spec)
        if spec.podReplacementPolicy is None:
            spec.podReplacementPolicy = (
                "Failed" if spec.podFailurePolicy is not None else "TerminatingOrFailed"
            )
        default_pod_template(spec.template)

    def prepare_for_create(self, obj: Any) -> None:
        """Generates the selector."""
        super().prepare_for_create(obj)
        if not obj.spec.manualSelector and obj.spec.template is not None:
            _generate_selector(obj)
            _inherit_labels(obj)

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole Job."""
        return validate_job(obj)

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """Template, selector and completions stay, with exceptions."""
        return validate_job_update(new, old)

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Counts are not negative, and what is finished stays so."""
        return validate_job_status(new, old)

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Names that make surprising hostnames; jobs too large for their status."""
        found = hostname_warnings(obj.metadata.name or "") if old is None else []
        spec = obj.spec
        if (
            spec.completionMode == "Indexed"
            and (spec.completions or 0) > COMPLETIONS_SOFT_LIMIT
            and (spec.parallelism or 0) > PARALLELISM_LIMIT_HIGH_COMPLETIONS
        ):
            found.append(
                "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "
                "Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
            )
        return found + changed_template_warnings(obj, old)

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get jobs` shows it."""
        spec, status = obj.spec, obj.status
        containers, images = printing.containers_and_images(spec.template)
        return [
            obj.metadata.name,
            _status(obj),
            _completions(spec, (status.succeeded if status is not None else None) or 0),
            _duration(status, now),
            printing.age(obj, now),
            containers,
            images,
            printing.label_selector(spec.selector),
        ]


def _inherit_labels(obj: Any) -> None:
    # The same dict on purpose, as upstream has it: labels generated for the template show on the Job too.
    template = obj.spec.template
    if not obj.metadata.labels and template is not None and template.metadata is not None:
        obj.metadata.labels = template.metadata.labels


def _generate_selector(job: Any) -> None:
    name, uid = job.metadata.name or "", job.metadata.uid or ""
    metadata = child(job.spec.template, "metadata")
    if metadata.labels is None:
        metadata.labels = {}
    labels = metadata.labels
    # Values that the client set stay; validation refuses those that conflict.
    for key, value in (
        (LEGACY_JOB_NAME, name),
        (JOB_NAME, name),
        (LEGACY_CONTROLLER_UID, uid),
        (CONTROLLER_UID, uid),
    ):
        labels.setdefault(key, value)
    selector = child(job.spec, "selector")
    if selector.matchLabels is None:
        selector.matchLabels = {}
    selector.matchLabels.setdefault(CONTROLLER_UID, uid)


def _default_policies(spec: Any) -> None:
    if spec.podFailurePolicy is None:
        return
    for rule in spec.podFailurePolicy.rules or ():
        for pattern in rule.onPodConditions or ():
            if not pattern.status:
                pattern.status = "True"


def _status(job: Any) -> str:
    status = job.status
    for kind in ("Complete", "Failed"):
        if is_condition_true(status, kind):
            return kind
    if job.metadata.deletionTimestamp:
        return "Terminating"
    for kind in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if is_condition_true(status, kind):
            return kind
    return "Running"


def _completions(spec: Any, succeeded: int) -> str:
    if spec.completions is not None:
        return f"{succeeded}/{spec.completions}"
    parallelism = spec.parallelism or 0
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _duration(status: Any, now: float) -> str:
    if status is None or not status.startTime:
        return ""
    end = times.parse(status.completionTime) if status.completionTime else now
    return times.human_duration(end - times.parse(status.startTime))


class CronJobStrategy(GroupStrategy):
    """CronJobs."""

    has_status = True
    generation = True
    columns = (
        NAME_COLUMN,
        Column("Schedule", description="The schedule in Cron format."),
        Column("Timezone", description="The time zone name for the given schedule."),
        Column("Suspend", "boolean", description="Whether subsequent executions are suspended."),
        Column("Active", "integer", description="Number of currently running jobs."),
        Column("Last Schedule", description="When the job was last successfully scheduled."),
        AGE_COLUMN,
        CONTAINERS_COLUMN,
        IMAGES_COLUMN,
        _SELECTOR_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """Concurrent, running, a short history."""
        spec = child(obj, "spec")
        if not spec.concurrencyPolicy:
            spec.concurrencyPolicy = "Allow"
        if spec.suspend is None:
            spec.suspend = False
        if spec.successfulJobsHistoryLimit is None:
            spec.successfulJobsHistoryLimit = DEFAULT_SUCCESSFUL_JOBS_HISTORY_LIMIT
        if spec.failedJobsHistoryLimit is None:
            spec.failedJobsHistoryLimit = DEFAULT_FAILED_JOBS_HISTORY_LIMIT
        template = child(spec, "jobTemplate")
        child(template, "metadata")
        job = child(template, "spec")
        _default_policies(job)
        default_pod_template(child(job, "template"))

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole CronJob."""
        return validate_cron_job(obj)

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """A name and a zone in the schedule that were allowed once stay so."""
        return validate_cron_job_update(new, old)

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Names that make surprising hostnames, and those of a template that is new."""
        found: list[str] = []
        if old is None:
            found = hostname_warnings(obj.metadata.name or "")
        job = obj.spec.jobTemplate.spec if obj.spec.jobTemplate is not None else None
        if job is not None and (old is None or obj.metadata.generation != old.metadata.generation):
            found += pod_template_warnings(job.template, "spec.jobTemplate.spec.template")
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get cronjobs` shows it."""
        spec, status = obj.spec, obj.status
        job = spec.jobTemplate.spec if spec.jobTemplate is not None else None
        containers, images = printing.containers_and_images(job.template if job is not None else None)
        last = status.lastScheduleTime if status is not None else None
        return [
            obj.metadata.name,
            spec.schedule or "",
            spec.timeZone or printing.NONE,
            printing.boolean(spec.suspend),
            len((status.active if status is not None else None) or ()),
            times.age(last, now) if last else printing.NONE,
            printing.age(obj, now),
            containers,
            images,
            printing.label_selector(job.selector if job is not None else None),
        ]


RESOURCES = (
    declare(
        GROUP,
        VERSION,
        "cronjobs",
        "CronJob",
        CronJobStrategy(),
        namespaced=True,
        short_names=("cj",),
        categories=("all",),
    ),
    declare(GROUP, VERSION, "jobs", "Job", JobStrategy(), namespaced=True, categories=("all",)),
)
