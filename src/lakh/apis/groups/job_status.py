"""The status of Jobs: what a controller, Kubernetes' or another one (`spec.managedBy`), may say of a Job, and in which order (KEP-4368).

Mirrors upstream's `validateJobStatus` and `ValidateJobStatusUpdate`. A rule about how fields fit together is applied when an update touches one of
them: an older object that breaks it can still be written.
"""

from __future__ import annotations

from typing import Any

from lakh.apis import meta
from lakh.machinery import times
from lakh.machinery.errors import FieldError, duplicate, invalid_value, required

_FINAL = ("Failed", "Complete", "FailureTarget")


def is_condition_true(status: Any, kind: str) -> bool:
    """Whether a status has a condition that is True."""
    conditions = (status.conditions if status is not None else None) or ()
    return any(c.type == kind and c.status == "True" for c in conditions)


def is_finished(status: Any) -> bool:
    """Whether a Job is complete or failed."""
    return is_condition_true(status, "Complete") or is_condition_true(status, "Failed")


def validate_job_status(new: Any, old: Any) -> list[FieldError]:
    """All findings on an update of a Job's status."""
    found: list[FieldError] = []
    status = new.status
    if status is None:
        return found
    for name in ("active", "succeeded", "failed", "ready", "terminating"):
        meta.non_negative(getattr(status, name), f"status.{name}", found)
    _validate_uncounted(status.uncountedTerminatedPods, found)
    before = old.status if old.status is not None else type(status)()
    _validate_conditions(new, before, found)
    _validate_times(status, before, found)
    _validate_finished(status, before, found)
    _validate_indexes(new, before, found)
    if (
        (status.ready, status.active) != (before.ready, before.active)
        and status.ready is not None
        and status.ready > (status.active or 0)
    ):
        found.append(invalid_value("status.ready", status.ready, "cannot set more ready pods than active"))
    _validate_progress(new, old, before, found)
    return found


def _validate_uncounted(uncounted: Any, found: list[FieldError]) -> None:
    seen: set[str] = set()
    for name in ("succeeded", "failed") if uncounted is not None else ():
        for index, uid in enumerate(getattr(uncounted, name) or ()):
            path = f"status.uncountedTerminatedPods.{name}[{index}]"
            if not uid:
                found.append(invalid_value(path, uid, "must not be empty"))
            elif uid in seen:
                found.append(duplicate(path, uid))
            seen.add(uid)


# Conditions that exclude each other, and those that need another first.
_EXCLUSIVE = (
    ("Complete", "Failed", "cannot set Complete=True and Failed=true conditions"),
    ("Complete", "FailureTarget", "cannot set Complete=True and FailureTarget=true conditions"),
)
_NEEDED = (
    ("Failed", "FailureTarget", "cannot set Failed=True condition without the FailureTarget=true condition"),
    (
        "Complete",
        "SuccessCriteriaMet",
        "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
    ),
)


def _validate_conditions(new: Any, before: Any, found: list[FieldError]) -> None:
    status = new.status

    def refuse(why: str) -> None:
        found.append(FieldError("FieldValueInvalid", "status.conditions", f"Invalid value: {why}"))

    def on(kind: str) -> bool:
        return is_condition_true(status, kind)

    def was(kind: str) -> bool:
        return is_condition_true(before, kind)

    for one, other, why in _EXCLUSIVE:
        if on(one) and on(other):
            refuse(why)
    for kind, first, why in _NEEDED:
        if on(kind) and not was(kind) and not on(first):
            refuse(why)
    if on("SuccessCriteriaMet"):
        for other in ("Failed", "FailureTarget"):
            if on(other):
                refuse(f"cannot set {other}=True and SuccessCriteriaMet=true conditions")
    for kind in _FINAL:
        if was(kind) and not on(kind):
            refuse(f"cannot disable the terminal {kind}=True condition")
    if was("SuccessCriteriaMet") and not on("SuccessCriteriaMet"):
        refuse("cannot disable the SuccessCriteriaMet=True condition")


def _validate_times(status: Any, before: Any, found: list[FieldError]) -> None:
    completed, started, path = status.completionTime, status.startTime, "status.completionTime"
    complete = is_condition_true(status, "Complete")
    changed = complete != is_condition_true(before, "Complete") or completed != before.completionTime
    if changed and not complete and completed:
        found.append(
            invalid_value(
                path, completed, "cannot set completionTime when there is no Complete=True condition"
            )
        )
    if changed and complete and not completed:
        found.append(required(path, "completionTime is required for Complete jobs"))
    if (
        (completed, started) != (before.completionTime, before.startTime)
        and completed
        and started
        and times.parse(completed) < times.parse(started)
    ):
        found.append(invalid_value(path, completed, "completionTime cannot be set before startTime"))


def _validate_finished(status: Any, before: Any, found: list[FieldError]) -> None:
    """A finished Job has begun, and has no pods any more that run or are not counted."""
    if not is_finished(status):
        return
    ends = not is_finished(before)
    if (ends or status.active != before.active) and status.active:
        found.append(invalid_value("status.active", status.active, "active>0 is invalid for finished job"))
    if (ends or status.startTime != before.startTime) and not status.startTime:
        found.append(required("status.startTime", "startTime is required for finished job"))
    uncounted = status.uncountedTerminatedPods
    if (
        (ends or uncounted != before.uncountedTerminatedPods)
        and uncounted is not None
        and (uncounted.failed or uncounted.succeeded)
    ):
        found.append(
            invalid_value(
                "status.uncountedTerminatedPods",
                uncounted,
                "uncountedTerminatedPods needs to be empty for finished job",
            )
        )


def intervals(text: str, completions: int) -> list[tuple[int, int]]:
    """The intervals that `1,3-5` names; raises ValueError when it is malformed or out of order."""
    found: list[tuple[int, int]] = []
    last: int | None = None
    for interval in text.split(",") if text else ():
        bounds = []
        parts = interval.split("-")
        if len(parts) > 2:
            raise ValueError(
                f'the fragment "{interval}" violates the requirement that an index interval can have at most two '
                "parts separated by '-'"
            )
        for part in parts:
            if not (part.isascii() and part.isdecimal()):
                raise ValueError(f'cannot convert string to integer for index: "{part}"')
            bounds.append(int(part))
        if bounds[-1] >= completions:
            raise ValueError(f'too large index: "{parts[-1]}"')
        first, end = bounds[0], bounds[-1]
        if last is not None and first <= last:
            raise ValueError(f"non-increasing order, previous: {last}, current: {first}")
        if len(bounds) == 2 and end <= first:
            raise ValueError(f"non-increasing order, previous: {first}, current: {end}")
        found.append((first, end))
        last = end
    return found


def _validate_indexes(new: Any, before: Any, found: list[FieldError]) -> None:
    spec, status = new.spec, new.status
    completed, failed = status.completedIndexes or "", status.failedIndexes
    parsed: dict[str, list[tuple[int, int]]] = {}
    for name, text, applies in (
        ("completedIndexes", completed, True),
        ("failedIndexes", failed or "", spec.backoffLimitPerIndex is not None and failed is not None),
    ):
        if not applies or spec.completions is None or text == (getattr(before, name) or ""):
            continue
        try:
            parsed[name] = intervals(text, spec.completions)
        except ValueError as error:
            found.append(invalid_value(f"status.{name}", text, f"error parsing {name}: {error}"))
    if completed and completed != before.completedIndexes and spec.completionMode != "Indexed":
        found.append(
            invalid_value(
                "status.completedIndexes",
                completed,
                "cannot set non-empty completedIndexes when non-indexed completion mode",
            )
        )
    if failed is not None and failed != before.failedIndexes and spec.backoffLimitPerIndex is None:
        found.append(
            invalid_value(
                "status.failedIndexes",
                failed,
                "cannot set non-null failedIndexes when backoffLimitPerIndex is null",
            )
        )
    if len(parsed) == 2 and any(
        a <= d and c <= b for a, b in parsed["completedIndexes"] for c, d in parsed["failedIndexes"]
    ):
        found.append(invalid_value("status.failedIndexes", failed, "must not overlap with completedIndexes"))


def _validate_progress(new: Any, old: Any, before: Any, found: list[FieldError]) -> None:
    """What never goes back."""
    status = new.status
    if (status.failed or 0) < (before.failed or 0):
        found.append(invalid_value("status.failed", status.failed or 0, "cannot decrease the failed counter"))
    resized = new.spec.completionMode == "Indexed" and new.spec.completions == new.spec.parallelism
    if (status.succeeded or 0) < (before.succeeded or 0) and not resized:
        found.append(
            invalid_value("status.succeeded", status.succeeded or 0, "cannot decrease the succeeded counter")
        )
    if before.startTime and status.startTime != before.startTime and not new.spec.suspend:
        what = "updated" if status.startTime else "removed"
        found.append(
            invalid_value(
                "status.startTime", status.startTime, f"startTime cannot be {what} for unsuspended job"
            )
        )
    if before.completionTime and status.completionTime and status.completionTime != before.completionTime:
        found.append(
            invalid_value("status.completionTime", status.completionTime, "completionTime cannot be mutated")
        )
