"""What a Job needs: the pure part of the Job controller.

`decide` looks at the Job and the tracker's counts and says whether the Job is over and how many pods to create or delete.
`account` moves ended pods through the status. Both cost O(1) per call but for the ended pods they handle (at most `MAX_UNCOUNTED`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from . import clock
from .indexes import format_indexes, parse_indexes
from .jobtracker import Entry, JobTracker, backoff_seconds
from .pods import find_condition
from .views import Condition, FailureRule, Job, JobStatus, Pod, Uncounted

BURST = 1000
"""Pods created or deleted in one sync at most."""
MAX_UNCOUNTED = 500
"""Pods accounted for in one sync at most; their uids are in the status meanwhile."""

BACKOFF_EXCEEDED = "Job has reached the specified backoff limit"
DEADLINE_EXCEEDED = "Job was active longer than specified deadline"


@dataclass
class Verdict:
    """How a Job ends: `type` is Complete or Failed."""

    type: str
    reason: str
    message: str


@dataclass
class Plan:
    """What to do for a Job now."""

    verdict: Verdict | None = None
    create: int = 0
    delete: int = 0
    """Active pods to delete without counting them as failed."""
    delete_all: bool = False
    """Delete all active pods because the Job has failed."""
    requeue_seconds: float | None = None


def finished(job: Job) -> bool:
    """Whether the Job has a terminal condition."""
    return any(
        condition.type in ("Complete", "Failed") and condition.status == "True"
        for condition in job.status.conditions or ()
    )


def verdict_so_far(job: Job) -> Verdict | None:
    """The verdict that the status holds already: the Job ends this way when its pods are gone."""
    for condition in job.status.conditions or ():
        if condition.status == "True" and condition.type in ("SuccessCriteriaMet", "FailureTarget"):
            type_ = "Complete" if condition.type == "SuccessCriteriaMet" else "Failed"
            return Verdict(type_, condition.reason or "", condition.message or "")
    return None


def total(counted: int | None, pending: Iterable[str], uncounted: list[str] | None) -> int:
    """Ended pods: in the counter, on their way into it, and newly seen. No uid counts twice."""
    if not uncounted:
        return (counted or 0) + sum(1 for _ in pending)
    return (counted or 0) + len(set(uncounted).union(pending))


def succeeded_count(job: Job, tracker: JobTracker) -> int:
    """Completions so far."""
    if tracker.indexed:
        return len(tracker.completed)
    uncounted = job.status.uncountedTerminatedPods
    return total(job.status.succeeded, tracker.succeeded, uncounted.succeeded if uncounted else None)


def failed_count(job: Job, tracker: JobTracker) -> int:
    """Failures so far, without those that the failure policy ignores."""
    uncounted = job.status.uncountedTerminatedPods
    pending: Iterable[str] = tracker.failed
    if job.spec.podFailurePolicy is not None:
        pending = [uid for uid, entry in tracker.failed.items() if action_for(job, entry.pod)[0] != "Ignore"]
    return total(job.status.failed, pending, uncounted.failed if uncounted else None)


# ---------------------------------------------------------------- the failure policy


def action_for(job: Job, pod: Pod) -> tuple[str, str]:
    """The failure policy's action for a failed pod, and for FailJob the message."""
    policy = job.spec.podFailurePolicy
    if policy is None or pod.status.phase != "Failed":
        return "Count", ""
    for index, rule in enumerate(policy.rules or ()):
        reason = _matches(rule, pod)
        if reason is not None:
            return rule.action, f"{reason} matching {rule.action} rule at index {index}"
    return "Count", ""


def is_ignored(job: Job, pod: Pod) -> bool:
    """Whether the failure policy makes nothing of this failed pod."""
    return action_for(job, pod)[0] == "Ignore"


def _matches(rule: FailureRule, pod: Pod) -> str | None:
    """Why the rule matches, if it does."""
    name = f"{pod.metadata.namespace}/{pod.metadata.name}"
    if rule.onExitCodes is not None:
        codes = rule.onExitCodes
        values = set(codes.values or ())
        for status in (*(pod.status.containerStatuses or ()), *(pod.status.initContainerStatuses or ())):
            if codes.containerName is not None and status.name != codes.containerName:
                continue
            ended = status.state.terminated if status.state is not None else None
            if ended is None or ended.exitCode == 0:
                continue
            if (ended.exitCode in values) == (codes.operator == "In"):
                return f"Container {status.name} for pod {name} failed with exit code {ended.exitCode}"
        return None
    for pattern in rule.onPodConditions or ():
        condition = find_condition(pod.status.conditions, pattern.type)
        if condition is not None and condition.status == (pattern.status or "True"):
            return f"Pod {name} has condition {pattern.type}"
    return None


def _failed_by_policy(job: Job, tracker: JobTracker) -> Verdict | None:
    if job.spec.podFailurePolicy is None:
        return None
    for entry in tracker.failed.values():
        action, message = action_for(job, entry.pod)
        if action == "FailJob":
            return Verdict("Failed", "PodFailurePolicy", message)
        if action == "FailIndex":
            tracker.fail_index(entry.index)
    return None


# ---------------------------------------------------------------- the decision


def _verdict(job: Job, tracker: JobTracker, now: float) -> Verdict | None:
    known = verdict_so_far(job)
    if known is not None:
        return known
    by_policy = _failed_by_policy(job, tracker)
    if by_policy is not None:
        return by_policy
    spec = job.spec
    limit = 6 if spec.backoffLimit is None else spec.backoffLimit
    restarts_exceed = tracker.restarts > 0 and tracker.restarts >= limit and _restarts_on_failure(job)
    if failed_count(job, tracker) > limit or restarts_exceed:
        return Verdict("Failed", "BackoffLimitExceeded", BACKOFF_EXCEEDED)
    left = deadline_left(job, now)
    if left is not None and left <= 0:
        return Verdict("Failed", "DeadlineExceeded", DEADLINE_EXCEEDED)
    by_index = _verdict_by_index(job, tracker) if tracker.indexed else None
    return by_index or _completed(job, tracker)


def _restarts_on_failure(job: Job) -> bool:
    template = msgspec.json.decode(job.spec.template, type=_RestartTemplate)
    return template.spec.restartPolicy == "OnFailure"


class _RestartSpec(msgspec.Struct):
    restartPolicy: str | None = None


class _RestartTemplate(msgspec.Struct):
    spec: _RestartSpec


def _verdict_by_index(job: Job, tracker: JobTracker) -> Verdict | None:
    spec = job.spec
    if spec.successPolicy is not None:
        for number, rule in enumerate(spec.successPolicy.rules or ()):
            candidates = tracker.completed
            needed = rule.succeededCount
            if rule.succeededIndexes is not None:
                wanted = parse_indexes(rule.succeededIndexes, tracker.completions)
                candidates = tracker.completed & wanted
                needed = len(wanted) if needed is None else needed
            if needed is not None and len(candidates) >= needed:
                return Verdict("Complete", "SuccessPolicy", f"Matched rules at index {number}")
    failed = len(tracker.failed_indexes)
    if not failed:
        return None
    if spec.maxFailedIndexes is not None and failed > spec.maxFailedIndexes:
        return Verdict(
            "Failed",
            "MaxFailedIndexesExceeded",
            "Job has exceeded the specified maximal number of failed indexes",
        )
    if failed + len(tracker.completed) >= tracker.completions:
        return Verdict("Failed", "FailedIndexes", "Job has failed indexes")
    return None


def _completed(job: Job, tracker: JobTracker) -> Verdict | None:
    succeeded = succeeded_count(job, tracker)
    completions = job.spec.completions
    if completions is None:
        done = succeeded > 0 and tracker.active == 0 and not job.spec.suspend
    else:
        done = succeeded >= completions
    if not done:
        return None
    return Verdict("Complete", "CompletionsReached", "Reached expected number of succeeded pods")


def deadline_left(job: Job, now: float) -> float | None:
    """Seconds until activeDeadlineSeconds strikes; `None` when there is none."""
    since = clock.parse(job.status.startTime)
    if job.spec.activeDeadlineSeconds is None or since is None or job.spec.suspend:
        return None
    return since + job.spec.activeDeadlineSeconds - now


def backoff_left(tracker: JobTracker, now: float) -> float:
    """Seconds until pods may be created again after failures."""
    if tracker.consecutive_failures == 0:
        return 0.0
    return tracker.last_failure + backoff_seconds(tracker.consecutive_failures) - now


def decide(job: Job, tracker: JobTracker, now: float) -> Plan:
    """What to do for an unfinished Job whose expectations are met."""
    plan = Plan(verdict=_verdict(job, tracker, now))
    if plan.verdict is not None:
        if plan.verdict.type == "Failed":
            plan.delete_all = tracker.active > 0
        else:
            plan.delete = tracker.active
        return plan
    left = deadline_left(job, now)
    if left is not None:
        plan.requeue_seconds = left
    if job.spec.suspend:
        plan.delete = tracker.active
        return plan
    parallelism = 1 if job.spec.parallelism is None else job.spec.parallelism
    succeeded = succeeded_count(job, tracker)
    if job.spec.completions is None:
        wanted = tracker.active if succeeded > 0 else parallelism
        wanted = min(wanted, parallelism)
    else:
        given_up = len(tracker.failed_indexes) if tracker.indexed else 0
        wanted = max(min(job.spec.completions - succeeded - given_up, parallelism), 0)
    if tracker.active > wanted:
        plan.delete = min(tracker.active - wanted, BURST)
        return plan
    missing = wanted - tracker.active
    if job.spec.podReplacementPolicy == "Failed":
        missing -= tracker.terminating
    if missing > 0:
        if tracker.indexed and tracker.per_index_limit is not None:
            waiting, wait = tracker.delayed(now)
            missing = min(missing, max(tracker.free_count() - waiting, 0))
        else:
            wait = backoff_left(tracker, now)
            missing = 0 if wait > 0 else missing
        if wait > 0:
            plan.requeue_seconds = wait if left is None else min(wait, left)
        plan.create = min(missing, BURST)
    return plan


# ---------------------------------------------------------------- accounting


@dataclass
class Accounting:
    """The next status, and the pods whose finalizer may go once it is written."""

    status: JobStatus
    release: list[Entry] = field(default_factory=list)


def account(job: Job, tracker: JobTracker) -> Accounting:
    """Move ended pods one stage on.

    Uids in `uncountedTerminatedPods` whose pod has lost its finalizer move into the counters; ended pods that still have it move into
    `uncountedTerminatedPods` (for an index that succeeded, `completedIndexes` is enough).
    """
    before = job.status
    uncounted = before.uncountedTerminatedPods or Uncounted()
    moved_succeeded = [uid for uid in uncounted.succeeded or () if uid not in tracker.tracked]
    moved_failed = [uid for uid in uncounted.failed or () if uid not in tracker.tracked]
    succeeded = [uid for uid in uncounted.succeeded or () if uid in tracker.tracked]
    failed = [uid for uid in uncounted.failed or () if uid in tracker.tracked]
    known = {*succeeded, *failed}
    result = Accounting(msgspec.structs.replace(before))
    for entry in _first(tracker.succeeded.values(), MAX_UNCOUNTED):
        result.release.append(entry)
        if not tracker.indexed and entry.uid not in known:
            succeeded.append(entry.uid)
    for entry in _first(tracker.failed.values(), MAX_UNCOUNTED - len(result.release)):
        result.release.append(entry)
        if entry.uid in known or action_for(job, entry.pod)[0] == "Ignore":
            continue
        if not tracker.indexed or 0 <= entry.index < tracker.completions:
            failed.append(entry.uid)
    status = result.status
    status.failed = (before.failed or 0) + len(moved_failed)
    if tracker.indexed:
        status.succeeded = len(tracker.completed)
        status.completedIndexes = tracker.completed_text() or None
        if job.spec.backoffLimitPerIndex is not None:
            status.failedIndexes = format_indexes(tracker.failed_indexes)
    else:
        status.succeeded = (before.succeeded or 0) + len(moved_succeeded)
    status.uncountedTerminatedPods = Uncounted(succeeded or None, failed or None)
    return result


def _first(entries: Iterable[Entry], count: int) -> list[Entry]:
    return [entry for entry, _ in zip(entries, range(max(count, 0)), strict=False)]


# ---------------------------------------------------------------- conditions


def target_condition(verdict: Verdict) -> Condition:
    """The condition that announces the end."""
    type_ = "SuccessCriteriaMet" if verdict.type == "Complete" else "FailureTarget"
    return Condition(type=type_, status="True", reason=verdict.reason, message=verdict.message)


def may_finish(status: JobStatus, tracker: JobTracker) -> bool:
    """Whether everything is counted and no pod is left running, so that the terminal condition may be set."""
    uncounted = status.uncountedTerminatedPods
    return (
        not tracker.tracked
        and tracker.active == 0
        and tracker.terminating == 0
        and not (uncounted and (uncounted.succeeded or uncounted.failed))
    )
