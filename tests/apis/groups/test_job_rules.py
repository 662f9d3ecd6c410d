"""Jobs and CronJobs: status by whoever manages a Job, what a suspended Job may change, zones of schedules, warnings."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from lakh.apis.groups.job_status import intervals

GetKind = Callable[[str], Any]

POD = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
NOON, LATER = "2026-01-01T12:00:00Z", "2026-01-01T13:00:00Z"
CONDITIONS = "status.conditions: Invalid value:"


def job(
    status: dict[str, Any] | None = None, pod: dict[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {**POD, **(pod or {})}}, **spec}, "status": status or {}}


def on(*kinds: str, **more: Any) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": "True"} for kind in kinds], **more}


INDEXED = {"completionMode": "Indexed", "completions": 5, "parallelism": 5}
BY_INDEX = {**INDEXED, "backoffLimitPerIndex": 1}
DONE = on("SuccessCriteriaMet", "Complete", startTime=NOON, completionTime=LATER)


# validateJobStatus, ValidateJobStatusUpdate (JobStatusValidationOptions, as for every update in 1.36)
@pytest.mark.parametrize(
    ("spec", "before", "after", "expected"),
    [
        ({}, {}, DONE, []),
        ({}, {}, {"active": -1}, ["status.active: Invalid value: -1: must be greater than or equal to 0"]),
        ({}, {}, {"active": 1, "ready": 2}, ["status.ready: Invalid value: 2: cannot set more ready pods than active"]),
        ({}, {}, {"uncountedTerminatedPods": {"succeeded": ["a", "a"], "failed": [""]}}, [
            'status.uncountedTerminatedPods.succeeded[1]: Duplicate value: "a"',
            'status.uncountedTerminatedPods.failed[0]: Invalid value: "": must not be empty',
        ]),
        # What a Job ends with
        ({}, {}, on("Failed", startTime=NOON), [
            f"{CONDITIONS} cannot set Failed=True condition without the FailureTarget=true condition"
        ]),
        ({}, on("FailureTarget"), on("FailureTarget", "Failed", startTime=NOON), []),
        ({}, {}, on("Complete", startTime=NOON, completionTime=LATER), [
            f"{CONDITIONS} cannot set Complete=True condition without the SuccessCriteriaMet=true condition"
        ]),
        ({}, {}, on("SuccessCriteriaMet", "FailureTarget"), [
            f"{CONDITIONS} cannot set FailureTarget=True and SuccessCriteriaMet=true conditions"
        ]),
        ({}, on("FailureTarget"), {}, [f"{CONDITIONS} cannot disable the terminal FailureTarget=True condition"]),
        ({}, on("SuccessCriteriaMet"), {}, [f"{CONDITIONS} cannot disable the SuccessCriteriaMet=True condition"]),
        # Times
        ({}, {}, {"startTime": NOON, "completionTime": LATER}, [
            f'status.completionTime: Invalid value: "{LATER}": cannot set completionTime when there is no Complete=True condition'
        ]),
        ({}, on("SuccessCriteriaMet"), on("SuccessCriteriaMet", "Complete", startTime=NOON), [
            "status.completionTime: Required value: completionTime is required for Complete jobs"
        ]),
        ({}, {}, {**DONE, "startTime": LATER, "completionTime": NOON}, [
            f'status.completionTime: Invalid value: "{NOON}": completionTime cannot be set before startTime'
        ]),
        ({}, DONE, {**DONE, "completionTime": "2026-01-01T14:00:00Z"}, [
            'status.completionTime: Invalid value: "2026-01-01T14:00:00Z": completionTime cannot be mutated'
        ]),
        ({}, {"startTime": NOON}, {"startTime": LATER}, [
            f'status.startTime: Invalid value: "{LATER}": startTime cannot be updated for unsuspended job'
        ]),
        ({"suspend": True}, {"startTime": NOON}, {}, []),
        # A finished Job
        ({}, on("FailureTarget"), on("FailureTarget", "Failed", startTime=NOON, active=1), [
            "status.active: Invalid value: 1: active>0 is invalid for finished job"
        ]),
        ({}, on("FailureTarget"), on("FailureTarget", "Failed"), [
            "status.startTime: Required value: startTime is required for finished job"
        ]),
        # Indexes
        (INDEXED, {}, {"completedIndexes": "1,3-4"}, []),
        (INDEXED, {}, {"completedIndexes": "3,1"}, [
            'status.completedIndexes: Invalid value: "3,1": error parsing completedIndexes: non-increasing order, previous: 3, current: 1'
        ]),
        (INDEXED, {}, {"completedIndexes": "5"}, [
            'status.completedIndexes: Invalid value: "5": error parsing completedIndexes: too large index: "5"'
        ]),
        ({}, {}, {"completedIndexes": "0"}, [
            'status.completedIndexes: Invalid value: "0": cannot set non-empty completedIndexes when non-indexed completion mode'
        ]),
        (INDEXED, {}, {"failedIndexes": "0"}, [
            'status.failedIndexes: Invalid value: "0": cannot set non-null failedIndexes when backoffLimitPerIndex is null'
        ]),
        (BY_INDEX, {}, {"completedIndexes": "0-2", "failedIndexes": "2"}, [
            'status.failedIndexes: Invalid value: "2": must not overlap with completedIndexes'
        ]),
        # Counters
        ({}, {"failed": 2}, {"failed": 1}, ["status.failed: Invalid value: 1: cannot decrease the failed counter"]),
        ({"parallelism": 2, "completions": 3}, {"succeeded": 2}, {"succeeded": 1}, [
            "status.succeeded: Invalid value: 1: cannot decrease the succeeded counter"
        ]),
        (INDEXED, {"succeeded": 2}, {"succeeded": 1}, []),
        # What was wrong before may be written again
        ({}, on("Failed"), on("Failed", failed=1), []),
    ],
)  # fmt: skip
def test_status(
    kind: GetKind, spec: dict[str, Any], before: dict[str, Any], after: dict[str, Any], expected: list[str]
) -> None:
    found = kind("jobs").update_findings(job(before, **spec), job(after, **spec), "status")
    assert [str(finding) for finding in found] == expected


# parseIndexesIntervals
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("0", [(0, 0)]),
        ("0,2-4", [(0, 0), (2, 4)]),
        ("1-2-3", 'the fragment "1-2-3" violates the requirement that an index interval can have at most two parts separated by \'-\''),
        ("a", 'cannot convert string to integer for index: "a"'),
        ("4-2", "non-increasing order, previous: 4, current: 2"),
        ("9-12", 'too large index: "12"'),
    ],
)  # fmt: skip
def test_intervals(text: str, expected: list[tuple[int, int]] | str) -> None:
    if isinstance(expected, list):
        assert intervals(text, 10) == expected
    else:
        with pytest.raises(ValueError, match=re.escape(expected)):
            intervals(text, 10)


SELECT = {"nodeSelector": {"a": "b"}}
LARGE = {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "2"}}}]}
OTHER = {"containers": [{"name": "c", "image": "other"}]}


def selecting(plain: dict[str, Any]) -> dict[str, Any]:
    """With a selector of its own, as a Job has it once it is made."""
    template = {"metadata": {"labels": {"a": "b"}}, **plain["spec"]["template"]}
    selector = {"matchLabels": {"a": "b"}}
    return {
        **plain,
        "spec": {**plain["spec"], "template": template, "manualSelector": True, "selector": selector},
    }


# validatePodTemplateUpdate with AllowMutableSchedulingDirectives and AllowMutablePodResources (KEP-2926, KEP-5440)
@pytest.mark.parametrize(
    ("before", "after", "is_fine"),
    [
        (job(suspend=True), job(suspend=True, pod=SELECT), True),
        (job(suspend=True), job(suspend=True, pod=LARGE), True),
        (job(suspend=True), job(suspend=True, pod=OTHER), False),
        (job(), job(pod=SELECT), False),
        (job({"startTime": NOON}, suspend=True), job(suspend=True, pod=SELECT), False),
        (job(on("Suspended", startTime=NOON), suspend=True), job(suspend=True, pod=LARGE), True),
        (job(on("Suspended", startTime=NOON, active=1), suspend=True), job(suspend=True, pod=LARGE), False),
    ],
)  # fmt: skip
def test_templates_of_suspended_jobs(
    kind: GetKind, before: dict[str, Any], after: dict[str, Any], is_fine: bool
) -> None:
    found = [str(finding) for finding in kind("jobs").update_findings(selecting(before), selecting(after))]
    assert (found == []) is is_fine
    assert is_fine or found[0].startswith("spec.template: Invalid value: ")


def cron(schedule: str, name: str = "x", **spec: Any) -> dict[str, Any]:
    template = {"spec": {"template": {"spec": POD}}}
    return {"metadata": {"name": name}, "spec": {"schedule": schedule, "jobTemplate": template, **spec}}


ZONED = "TZ=UTC 0 * * * *"


# ValidateCronJobCreate, ValidateCronJobUpdate, validateScheduleFormat, validateTimeZone
@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, cron("0 * * * *", timeZone="Europe/Paris"), []),
        (None, cron(ZONED), [
            f'spec.schedule: Invalid value: "{ZONED}": cannot use TZ or CRON_TZ in schedule, use timeZone field instead'
        ]),
        (None, cron(ZONED, timeZone="UTC"), [
            f'spec.schedule: Invalid value: "{ZONED}": cannot use both timeZone field and TZ or CRON_TZ in schedule'
        ]),
        (cron(ZONED), cron(ZONED, suspend=True), []),
        (cron("0 * * * *"), cron(ZONED), [
            f'spec.schedule: Invalid value: "{ZONED}": cannot use TZ or CRON_TZ in schedule, use timeZone field instead'
        ]),
        (None, cron("0 * * * *", timeZone=""), [
            'spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string'
        ]),
        (None, cron("0 * * * *", timeZone="Nowhere/Land"), [
            'spec.timeZone: Invalid value: "Nowhere/Land": unknown time zone Nowhere/Land'
        ]),
        (cron("0 * * * *", timeZone="Nowhere/Land"), cron("0 * * * *", timeZone="Nowhere/Land", suspend=True), []),
        (None, cron("0 * * * *", "x" * 53), [
            f'metadata.name: Invalid value: "{"x" * 53}": must be no more than 52 characters'
        ]),
        (cron("0 * * * *", "x" * 53), cron("0 * * * *", "x" * 53, suspend=True), []),
    ],
)  # fmt: skip
def test_cron_jobs(
    kind: GetKind, before: dict[str, Any] | None, after: dict[str, Any], expected: list[str]
) -> None:
    of = kind("cronjobs")
    found = of.create_findings(after) if before is None else of.update_findings(before, after)
    assert [str(finding) for finding in found] == expected


# WarningsOnCreate and WarningsOnUpdate of jobStrategy and cronJobStrategy
def test_warnings(kind: GetKind) -> None:
    jobs, crons = kind("jobs"), kind("cronjobs")
    old_label = {"nodeSelector": {"beta.kubernetes.io/os": "linux"}}
    said = 'spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'
    assert jobs.strategy.warnings(jobs.created(job(pod=old_label)), None) == [said]
    dotted = jobs.created({**job(), "metadata": {"name": "a.b"}})
    (found,) = jobs.strategy.warnings(dotted, None)
    assert found.startswith(
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior"
    )
    plain = cron("0 * * * *")
    plain["spec"]["jobTemplate"]["spec"]["template"] = {"spec": {**POD, **old_label}}
    assert crons.strategy.warnings(crons.created(plain), None) == [
        said.replace("spec.", "spec.jobTemplate.spec.", 1)
    ]
