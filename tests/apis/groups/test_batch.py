"""batch/v1: generated selectors, policies, immutability and tables."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.groups import cron
from lakh.apis.groups.batch_validation import count_indexes

GetKind = Callable[[str], Any]

POD = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
TEMPLATE = {"spec": POD}


def _job(**fields: Any) -> dict[str, Any]:
    return {"spec": {"template": TEMPLATE, **fields}}


GENERATED = {
    "job-name": "x",
    "batch.kubernetes.io/job-name": "x",
    "controller-uid": "u-1",
    "batch.kubernetes.io/controller-uid": "u-1",
}


def test_defaults_and_generated_selector(kind: GetKind) -> None:
    job = kind("jobs").created(_job())
    spec = job.spec
    assert (spec.completions, spec.parallelism, spec.backoffLimit) == (1, 1, 6)
    assert (spec.completionMode, spec.suspend, spec.manualSelector) == ("NonIndexed", False, False)
    assert spec.podReplacementPolicy == "TerminatingOrFailed"
    assert spec.template.metadata.labels == GENERATED
    assert spec.selector.matchLabels == {"batch.kubernetes.io/controller-uid": "u-1"}
    assert job.metadata.labels == GENERATED


def test_work_queues_have_no_completions(kind: GetKind) -> None:
    spec = kind("jobs").created(_job(parallelism=3)).spec
    assert (spec.completions, spec.parallelism) == (None, 3)


def test_template_labels_show_on_the_job(kind: GetKind) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, **TEMPLATE}
    job = kind("jobs").created(_job(template=template))
    assert job.metadata.labels == {"a": "b", **GENERATED}
    job = kind("jobs").created({**_job(template=template), "metadata": {"labels": {"mine": "1"}}})
    assert job.metadata.labels == {"mine": "1"}


def test_manual_selectors_are_left_alone(kind: GetKind) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, **TEMPLATE}
    manual = _job(template=template, manualSelector=True, selector={"matchLabels": {"a": "b"}})
    assert kind("jobs").create_errors(manual) == []
    assert kind("jobs").created(manual).spec.template.metadata.labels == {"a": "b"}


def _policy(**rule: Any) -> dict[str, Any]:
    return _job(podFailurePolicy={"rules": [{"action": "FailJob", **rule}]})


INDEXED = {"completionMode": "Indexed", "completions": 10}
RULE = "spec.podFailurePolicy.rules[0]"
BAD = [
    (_job(), []),
    (_job(parallelism=-1), ["spec.parallelism: Invalid value: -1: must be greater than or equal to 0"]),
    (
        _job(template={"spec": {"containers": POD["containers"]}}),
        ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'],
    ),
    (
        _job(completionMode="Indexed", parallelism=1),
        ["spec.completions: Required value: when completion mode is Indexed"],
    ),
    (
        _job(completionMode="Sorted"),
        ['spec.completionMode: Unsupported value: "Sorted": supported values: "Indexed", "NonIndexed"'],
    ),
    (
        _job(**INDEXED, parallelism=100_001),
        [
            "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is "
            "Indexed"
        ],
    ),
    (
        _job(backoffLimitPerIndex=1),
        ["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
    ),
    (
        _job(**INDEXED, maxFailedIndexes=11, backoffLimitPerIndex=1),
        ["spec.maxFailedIndexes: Invalid value: 11: must be less than or equal to completions"],
    ),
    (
        _job(**INDEXED, maxFailedIndexes=1),
        ["spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"],
    ),
    (
        _job(podReplacementPolicy="Never"),
        [
            'spec.podReplacementPolicy: Unsupported value: "Never": supported values: "Failed", "TerminatingOrFailed"'
        ],
    ),
    (_policy(onExitCodes={"operator": "In", "values": [1, 42]}), []),
    (_policy(), [f"{RULE}: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"]),
    (
        _policy(onExitCodes={"operator": "In", "values": [0, 3, 2, 2]}),
        [
            f"{RULE}.onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator",
            f"{RULE}.onExitCodes.values[3]: Duplicate value: 2",
            f"{RULE}.onExitCodes.values: Invalid value: [0,3,2,2]: must be ordered",
        ],
    ),
    (
        _policy(onExitCodes={"operator": "In", "values": [1], "containerName": "other"}),
        [
            f'{RULE}.onExitCodes.containerName: Invalid value: "other": must be one of the container or '
            "initContainer names in the pod template"
        ],
    ),
    (
        _policy(action="FailIndex", onPodConditions=[{"type": "DisruptionTarget"}]),
        [f'{RULE}.action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set'],
    ),
    (
        _policy(action="", onPodConditions=[{"type": "DisruptionTarget"}]),
        [f'{RULE}.action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]'],
    ),
    (
        _job(**INDEXED, successPolicy={"rules": [{"succeededIndexes": "0-3", "succeededCount": 5}]}),
        [
            "spec.successPolicy.rules[0].succeededCount: Invalid value: 5: must be less than or equal to 4 (the "
            "number of indexes in the specified succeededIndexes field)"
        ],
    ),
    (
        _job(**INDEXED, successPolicy={"rules": []}),
        [
            "spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy "
            "is specified"
        ],
    ),
    (
        {**_job(**INDEXED), "metadata": {"name": "n" * 62}},
        [
            f'metadata.name: Invalid value: "{"n" * 62}": will not able to create pod with invalid DNS label: '
            f"{'n' * 62}-9"
        ],
    ),
    (
        _job(selector={"matchLabels": {"batch.kubernetes.io/controller-uid": "other"}}),
        [
            'spec.selector: Invalid value: {"matchLabels":{"batch.kubernetes.io/controller-uid":"other"}}: '
            "`selector` not auto-generated",
            "spec.template.metadata.labels: Invalid value: "
            '{"job-name":"x","batch.kubernetes.io/job-name":"x","controller-uid":"u-1",'
            '"batch.kubernetes.io/controller-uid":"u-1"}: `selector` does not match template `labels`',
        ],
    ),
]


@pytest.mark.parametrize(("plain", "expected"), BAD)
def test_create_errors(kind: GetKind, plain: dict[str, Any], expected: list[str]) -> None:
    assert kind("jobs").create_errors(plain) == expected


def _updated(kind: GetKind, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """An update by a client that read the stored job, so the generated parts are in it."""
    jobs = kind("jobs")
    before, after = jobs.created(old), jobs.created(new)
    jobs.strategy.prepare_for_update(after, before)
    return [error.split(": ")[0] for error in map(str, jobs.strategy.validate_update(after, before))]


def test_updates(kind: GetKind) -> None:
    other = {"spec": {**POD, "hostNetwork": True}}
    scheduled = {"spec": {**POD, "nodeSelector": {"zone": "a"}}}
    assert _updated(kind, _job(), _job(parallelism=5, completions=1)) == []
    assert _updated(kind, _job(), _job(completions=5)) == ["spec.completions"]
    assert _updated(kind, _job(), _job(template=other)) == ["spec.template"]
    assert _updated(kind, _job(), _job(template=scheduled)) == ["spec.template"]
    assert _updated(kind, _job(suspend=True), _job(template=scheduled)) == []
    assert _updated(kind, _job(suspend=True), _job(template=other)) == ["spec.template"]
    grown = _job(completionMode="Indexed", completions=20, parallelism=20)
    assert _updated(kind, _job(**INDEXED), grown) == []
    half = _job(completionMode="Indexed", completions=20, parallelism=10)
    assert _updated(kind, _job(**INDEXED), half) == ["spec.completions"]


def test_finished_jobs_stay_finished(kind: GetKind) -> None:
    jobs = kind("jobs")
    condition = {"type": "Complete", "status": "True"}
    done = jobs.decode({**_job(), "status": {"conditions": [condition]}})
    undone = jobs.decode({**_job(), "status": {}})
    assert [str(e) for e in jobs.strategy.validate_status_update(undone, done)] == [
        "status.conditions: Invalid value: cannot disable the terminal Complete=True condition"
    ]


START = "2026-01-01T00:00:00Z"
NOW = 1767225600 + 90.0


@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        ({"completions": 5}, {"succeeded": 2, "startTime": START}, ["Running", "2/5", "90s"]),
        ({"parallelism": 3}, {}, ["Running", "0/1 of 3", ""]),
        (
            {},
            {
                "succeeded": 1,
                "startTime": START,
                "completionTime": "2026-01-01T00:00:30Z",
                "conditions": [{"type": "Complete", "status": "True"}],
            },
            ["Complete", "1/1", "30s"],
        ),
        ({}, {"conditions": [{"type": "Suspended", "status": "True"}]}, ["Suspended", "0/1", ""]),
    ],
)
def test_cells(kind: GetKind, spec: dict[str, Any], status: dict[str, Any], expected: list[str]) -> None:
    assert kind("jobs").cells({**_job(**spec), "status": status}, NOW)[1:4] == expected


def _cron_job(**fields: Any) -> dict[str, Any]:
    return {"spec": {"schedule": "*/5 * * * *", "jobTemplate": _job(), **fields}}


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        (_cron_job(), []),
        (
            _cron_job(schedule="* * *"),
            ['spec.schedule: Invalid value: "* * *": expected exactly 5 fields, found 3: [* * *]'],
        ),
        (
            _cron_job(timeZone="Mars/Olympus"),
            ['spec.timeZone: Invalid value: "Mars/Olympus": unknown time zone Mars/Olympus'],
        ),
        (
            _cron_job(concurrencyPolicy="Sometimes"),
            [
                'spec.concurrencyPolicy: Unsupported value: "Sometimes": supported values: "Allow", "Forbid", "Replace"'
            ],
        ),
        (
            {**_cron_job(), "metadata": {"name": "c" * 53}},
            [f'metadata.name: Invalid value: "{"c" * 53}": must be no more than 52 characters'],
        ),
        (
            _cron_job(jobTemplate=_job(manualSelector=True)),
            [
                "spec.jobTemplate.spec.manualSelector: Unsupported value: true: "
                'supported values: "nil", "false"'
            ],
        ),
    ],
)
def test_cron_job_errors(kind: GetKind, plain: dict[str, Any], expected: list[str]) -> None:
    assert kind("cronjobs").create_errors(plain) == expected


def test_cron_job_cells(kind: GetKind) -> None:
    plain = {**_cron_job(timeZone="Etc/UTC"), "status": {"lastScheduleTime": START}}
    cells = kind("cronjobs").cells(plain, NOW)
    assert cells[1:6] == ["*/5 * * * *", "Etc/UTC", "False", 0, "90s"]


@pytest.mark.parametrize(
    "schedule",
    [
        "* * * * *",
        "*/15 0-6,12 1,15 JAN-mar mon",
        "@hourly",
        "@every 1h30m",
        "0 0 1 1 ?",
        "5/10 * * * *",
    ],
)
def test_good_schedules(schedule: str) -> None:
    cron.check(schedule)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("@never", "unrecognized descriptor: @never"),
    ],
)
def test_bad_schedules(schedule: str, message: str) -> None:
    with pytest.raises(cron.ScheduleError) as caught:
        cron.check(schedule)
    assert str(caught.value) == message


@given(st.text(max_size=30))
def test_any_text_is_a_schedule_or_an_error(text: str) -> None:
    with contextlib.suppress(cron.ScheduleError):
        cron.check(text)


@given(st.sets(st.integers(0, 200), min_size=1))
def test_indexes_are_counted(indexes: set[int]) -> None:
    text = ",".join(str(i) for i in sorted(indexes))
    assert count_indexes(text, 201) == len(indexes)
    with pytest.raises(ValueError, match="too large index"):
        count_indexes(text, max(indexes))
