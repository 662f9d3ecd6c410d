"""Validation of Jobs and CronJobs (upstream's `apis/batch/validation`)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec

from lakh.apis import meta
from lakh.apis.groups import cron, job_status
from lakh.apis.groups.workloads import (
    selector_is_valid,
    selector_matches,
    template_labels,
    validate_template_labels,
)
from lakh.apis.podspec import validate_pod_template
from lakh.machinery import names
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    invalid_value,
    not_supported,
    required,
    too_long,
    too_many,
)

# Upstream's bounds.
MAX_PARALLELISM_INDEXED = 100_000
MAX_FAILED_INDEXES = 100_000
COMPLETIONS_SOFT_LIMIT = 100_000
PARALLELISM_LIMIT_HIGH_COMPLETIONS = 10_000
MAX_FAILED_INDEXES_HIGH_COMPLETIONS = 10_000
MAX_POLICY_RULES = 20
MAX_EXIT_CODES = 255
MAX_POD_CONDITION_PATTERNS = 20
MAX_MANAGED_BY_BYTES = 63
MAX_SUCCEEDED_INDEXES_BYTES = 64 * 1024
# A CronJob's jobs get a suffix of eleven characters.
MAX_CRON_JOB_NAME_BYTES = 52

CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
LEGACY_CONTROLLER_UID = "controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"
LEGACY_JOB_NAME = "job-name"

_INDEXED = "Indexed"
_REQUIRES_INDEXED = "requires indexed completion mode"


def validate_job(job: Any) -> list[FieldError]:
    """All findings on a new Job."""
    found = _validate_generated_selector(job)
    found += validate_selected_job_spec(job.spec)
    spec = job.spec
    if spec.completionMode == _INDEXED and spec.completions and spec.completions > 0:
        hostname = f"{job.metadata.name}-{spec.completions - 1}"
        if names.dns_label(hostname):
            found.append(
                invalid_value(
                    "metadata.name",
                    job.metadata.name,
                    f"will not able to create pod with invalid DNS label: {hostname}",
                )
            )
    return found


def _validate_generated_selector(job: Any) -> list[FieldError]:
    spec, metadata = job.spec, job.metadata
    found: list[FieldError] = []
    if spec.manualSelector or spec.selector is None:
        return found
    if not metadata.uid:
        found.append(required("metadata.uid"))
    labels = template_labels(spec.template) or {}
    for key, expected in (
        (LEGACY_CONTROLLER_UID, metadata.uid),
        (LEGACY_JOB_NAME, metadata.name),
        (CONTROLLER_UID, metadata.uid),
        (JOB_NAME, metadata.name),
    ):
        path = f"spec.template.metadata.labels[{key}]"
        if key not in labels:
            found.append(required(path, f"must be '{expected}'"))
        elif labels[key] != expected:
            found.append(invalid_value(path, labels, f"must be '{expected}'"))
    if selector_is_valid(spec.selector) and not selector_matches(
        spec.selector, {CONTROLLER_UID: metadata.uid or "", LEGACY_CONTROLLER_UID: metadata.uid or ""}
    ):
        found.append(invalid_value("spec.selector", spec.selector, "`selector` not auto-generated"))
    return found


def validate_selected_job_spec(spec: Any) -> list[FieldError]:
    """A Job's spec with its selector."""
    found = validate_job_spec(spec, "spec")
    if spec.selector is None:
        found.append(required("spec.selector"))
    else:
        found += meta.validate_label_selector(spec.selector, "spec.selector")
    if selector_is_valid(spec.selector):
        validate_template_labels(spec, found)
    return found


def validate_job_spec(spec: Any, path: str) -> list[FieldError]:
    """A Job's spec without its selector: of a Job or of a CronJob's template."""
    found: list[FieldError] = []
    for name in (
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ):
        meta.non_negative(getattr(spec, name), f"{path}.{name}", found)
    if spec.maxFailedIndexes is not None and spec.backoffLimitPerIndex is None:
        found.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if spec.managedBy is not None:
        _validate_managed_by(spec.managedBy, f"{path}.managedBy", found)
    mode = spec.completionMode
    if mode is not None and mode not in ("NonIndexed", _INDEXED):
        found.append(not_supported(f"{path}.completionMode", mode, ("NonIndexed", _INDEXED)))
    if mode == _INDEXED:
        _validate_indexed(spec, path, found)
    else:
        for name in ("backoffLimitPerIndex", "maxFailedIndexes"):
            value = getattr(spec, name)
            if value is not None:
                found.append(invalid_value(f"{path}.{name}", value, _REQUIRES_INDEXED))
    if spec.podFailurePolicy is not None:
        _validate_failure_policy(spec, f"{path}.podFailurePolicy", found)
    if spec.successPolicy is not None:
        if mode != _INDEXED:
            found.append(invalid_value(f"{path}.successPolicy", spec.successPolicy, _REQUIRES_INDEXED))
        else:
            _validate_success_policy(spec, f"{path}.successPolicy", found)
    replacement = spec.podReplacementPolicy
    if replacement is not None:
        supported = ("Failed",) if spec.podFailurePolicy is not None else ("Failed", "TerminatingOrFailed")
        if replacement not in supported:
            found.append(not_supported(f"{path}.podReplacementPolicy", replacement, supported))
    found += validate_pod_template(spec.template, f"{path}.template")
    _validate_restart_policy(spec, f"{path}.template.spec.restartPolicy", found)
    return found


def _validate_managed_by(value: str, path: str, found: list[FieldError]) -> None:
    domain, slash, rest = value.partition("/")
    if not slash or not domain or not rest:
        found.append(invalid_value(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")'))
    else:
        for message in names.dns_subdomain(domain):
            found.append(invalid_value(path, domain, message))
    if len(value.encode()) > MAX_MANAGED_BY_BYTES:
        found.append(too_long(path, MAX_MANAGED_BY_BYTES))


def _validate_restart_policy(spec: Any, path: str, found: list[FieldError]) -> None:
    pod = spec.template.spec if spec.template is not None else None
    policy = pod.restartPolicy if pod is not None else None
    if not policy or policy == "Always":
        found.append(required(path, 'valid values: "OnFailure", "Never"'))
    elif policy not in ("OnFailure", "Never"):
        found.append(not_supported(path, policy, ("OnFailure", "Never")))
    elif spec.podFailurePolicy is not None and policy != "Never":
        found.append(
            invalid_value(path, policy, 'only "Never" is supported when podFailurePolicy is specified')
        )


def _at_most(value: int | None, limit: int, path: str, why: str, found: list[FieldError]) -> None:
    if value is not None and value > limit:
        found.append(invalid_value(path, value, f"must be less than or equal to {limit}{why}"))


def _validate_indexed(spec: Any, path: str, found: list[FieldError]) -> None:
    completions = spec.completions
    if completions is None:
        found.append(required(f"{path}.completions", "when completion mode is Indexed"))
    _at_most(
        spec.parallelism,
        MAX_PARALLELISM_INDEXED,
        f"{path}.parallelism",
        " when completion mode is Indexed",
        found,
    )
    failed = spec.maxFailedIndexes
    if completions is not None and failed is not None and failed > completions:
        found.append(
            invalid_value(f"{path}.maxFailedIndexes", failed, "must be less than or equal to completions")
        )
    _at_most(failed, MAX_FAILED_INDEXES, f"{path}.maxFailedIndexes", "", found)
    if completions is None or completions <= COMPLETIONS_SOFT_LIMIT or spec.backoffLimitPerIndex is None:
        return
    why = f" when completions are above {COMPLETIONS_SOFT_LIMIT} and used with backoff limit per index"
    if failed is None:
        found.append(
            required(
                f"{path}.maxFailedIndexes",
                f"must be specified when completions is above {COMPLETIONS_SOFT_LIMIT}",
            )
        )
    _at_most(spec.parallelism, PARALLELISM_LIMIT_HIGH_COMPLETIONS, f"{path}.parallelism", why, found)
    _at_most(failed, MAX_FAILED_INDEXES_HIGH_COMPLETIONS, f"{path}.maxFailedIndexes", why, found)


_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_CONDITION_STATUSES = ("False", "True", "Unknown")


def _choices(values: tuple[str, ...]) -> str:
    return "valid values: [" + " ".join(f'"{v}"' for v in values) + "]"


def _enumeration(value: str | None, supported: tuple[str, ...], path: str, found: list[FieldError]) -> None:
    if not value:
        found.append(required(path, _choices(supported)))
    elif value not in supported:
        found.append(not_supported(path, value, supported))


def _validate_failure_policy(spec: Any, path: str, found: list[FieldError]) -> None:
    rules = spec.podFailurePolicy.rules or ()
    if len(rules) > MAX_POLICY_RULES:
        found.append(too_many(f"{path}.rules", len(rules), MAX_POLICY_RULES))
    pod = spec.template.spec if spec.template is not None else None
    containers = {c.name for c in [*(pod.containers or ()), *(pod.initContainers or ())]} if pod else set()
    for index, rule in enumerate(rules):
        where = f"{path}.rules[{index}]"
        _enumeration(rule.action, _ACTIONS, f"{where}.action", found)
        if rule.action == "FailIndex" and spec.backoffLimitPerIndex is None:
            found.append(
                invalid_value(f"{where}.action", rule.action, "requires the backoffLimitPerIndex to be set")
            )
        if rule.onExitCodes is not None:
            _validate_exit_codes(rule.onExitCodes, containers, f"{where}.onExitCodes", found)
        patterns = rule.onPodConditions or ()
        if patterns:
            _validate_condition_patterns(patterns, f"{where}.onPodConditions", found)
        if (rule.onExitCodes is not None) == bool(patterns):
            what = (
                "both OnExitCodes and OnPodConditions is not supported"
                if patterns
                else "one of OnExitCodes and OnPodConditions is required"
            )
            found.append(FieldError("FieldValueInvalid", where, f"Invalid value: specifying {what}"))


def _validate_exit_codes(requirement: Any, containers: set[str], path: str, found: list[FieldError]) -> None:
    _enumeration(requirement.operator, ("In", "NotIn"), f"{path}.operator", found)
    name = requirement.containerName
    if name is not None and name not in containers:
        found.append(
            invalid_value(
                f"{path}.containerName",
                name,
                "must be one of the container or initContainer names in the pod template",
            )
        )
    values = requirement.values or []
    if not values:
        found.append(invalid_value(f"{path}.values", values, "at least one value is required"))
    elif len(values) > MAX_EXIT_CODES:
        found.append(too_many(f"{path}.values", len(values), MAX_EXIT_CODES))
    seen: set[int] = set()
    for index, value in enumerate(values):
        if requirement.operator == "In" and value == 0:
            found.append(invalid_value(f"{path}.values[{index}]", value, "must not be 0 for the In operator"))
        if value in seen:
            found.append(duplicate(f"{path}.values[{index}]", value))
        seen.add(value)
    if any(a > b for a, b in pairwise(values)):
        found.append(invalid_value(f"{path}.values", values, "must be ordered"))


def _validate_condition_patterns(patterns: Any, path: str, found: list[FieldError]) -> None:
    if len(patterns) > MAX_POD_CONDITION_PATTERNS:
        found.append(too_many(path, len(patterns), MAX_POD_CONDITION_PATTERNS))
    for index, pattern in enumerate(patterns):
        where = f"{path}[{index}]"
        for message in meta.check_label_key(pattern.type or ""):
            found.append(invalid_value(f"{where}.type", pattern.type or "", message))
        _enumeration(pattern.status, _CONDITION_STATUSES, f"{where}.status", found)


def _validate_success_policy(spec: Any, path: str, found: list[FieldError]) -> None:
    rules = spec.successPolicy.rules or ()
    where = f"{path}.rules"
    if not rules:
        found.append(
            required(where, "at least one rules must be specified when the successPolicy is specified")
        )
    if len(rules) > MAX_POLICY_RULES:
        found.append(too_many(where, len(rules), MAX_POLICY_RULES))
    completions = spec.completions or 0
    for index, rule in enumerate(rules):
        at = f"{where}[{index}]"
        if rule.succeededCount is None and rule.succeededIndexes is None:
            found.append(required(at, "at least one of succeededCount or succeededIndexes must be specified"))
        total = 0
        if rule.succeededIndexes is not None:
            text = rule.succeededIndexes
            if len(text) > MAX_SUCCEEDED_INDEXES_BYTES:
                found.append(too_long(f"{at}.succeededIndexes", MAX_SUCCEEDED_INDEXES_BYTES))
            try:
                total = count_indexes(text, completions)
            except ValueError as error:
                found.append(
                    invalid_value(f"{at}.succeededIndexes", text, f"error parsing succeededIndexes: {error}")
                )
        count = rule.succeededCount
        if count is None:
            continue
        meta.non_negative(count, f"{at}.succeededCount", found)
        _at_most(
            count,
            completions,
            f"{at}.succeededCount",
            " (the number of specified completions)",
            found,
        )
        if rule.succeededIndexes is not None:
            _at_most(
                count,
                total,
                f"{at}.succeededCount",
                " (the number of indexes in the specified succeededIndexes field)",
                found,
            )


def count_indexes(text: str, completions: int) -> int:
    """How many indexes `1,3-5` names; raises ValueError when it is malformed or out of order."""
    return sum(end - first + 1 for first, end in job_status.intervals(text, completions))


def validate_job_update(new: Any, old: Any) -> list[FieldError]:
    """All findings on an update of a Job."""
    spec, before = new.spec, old.spec
    found = validate_selected_job_spec(spec)
    if spec.completionMode != _INDEXED:
        meta.immutable(spec.completions, before.completions, "spec.completions", found)
    elif (
        spec.completions != before.completions
        and spec.completions is not None
        and spec.completions != spec.parallelism
    ):
        found.append(
            invalid_value(
                "spec.completions", spec.completions, "can only be modified in tandem with spec.parallelism"
            )
        )
    meta.immutable(spec.selector, before.selector, "spec.selector", found)
    _validate_template_update(new, old, found)
    for name in (
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ):
        meta.immutable(getattr(spec, name), getattr(before, name), f"spec.{name}", found)
    return found


def _validate_template_update(new: Any, old: Any, found: list[FieldError]) -> None:
    template, before = new.spec.template, old.spec.template
    if template == before:
        return
    never_started = old.spec.suspend and (old.status is None or old.status.startTime is None)
    suspended = new.spec.suspend and (
        old.status is None
        or (not old.status.active and job_status.is_condition_true(old.status, "Suspended"))
    )
    if (never_started or suspended) and template is not None and before is not None:
        # What a queueing controller may set before it lets a suspended job run.
        allowed = msgspec.convert(msgspec.to_builtins(before), type(before))
        _take_directives(allowed, template)
        _take_resources(allowed, template)
        if template == allowed:
            return
    meta.immutable(template, before, "spec.template", found)


def _take_directives(allowed: Any, template: Any) -> None:
    """Where the pods are to run (KEP-2926)."""
    if template.metadata is not None:
        if allowed.metadata is None:
            allowed.metadata = type(template.metadata)()
        allowed.metadata.labels = template.metadata.labels
        allowed.metadata.annotations = template.metadata.annotations
    if template.spec is None or allowed.spec is None:
        return
    for name in ("nodeSelector", "tolerations", "schedulingGates"):
        setattr(allowed.spec, name, getattr(template.spec, name))
    wanted = template.spec.affinity
    if wanted is not None:
        if allowed.spec.affinity is None:
            allowed.spec.affinity = type(wanted)()
        allowed.spec.affinity.nodeAffinity = wanted.nodeAffinity
    elif allowed.spec.affinity is not None:
        allowed.spec.affinity.nodeAffinity = None


def _take_resources(allowed: Any, template: Any) -> None:
    """What the pods' containers ask for (KEP-5440)."""
    if template.spec is None or allowed.spec is None:
        return
    for name in ("containers", "initContainers"):
        after, before = getattr(template.spec, name) or [], getattr(allowed.spec, name) or []
        if [c.name for c in after] == [c.name for c in before]:
            for container, wanted in zip(before, after, strict=True):
                container.resources = wanted.resources


def validate_cron_job(obj: Any) -> list[FieldError]:
    """All findings on a new CronJob."""
    found = _validate_cron_job_spec(obj.spec, None)
    name = obj.metadata.name or ""
    if len(name) > MAX_CRON_JOB_NAME_BYTES:
        found.append(
            invalid_value("metadata.name", name, f"must be no more than {MAX_CRON_JOB_NAME_BYTES} characters")
        )
    return found


def validate_cron_job_update(new: Any, old: Any) -> list[FieldError]:
    """All findings on an update of a CronJob."""
    return _validate_cron_job_spec(new.spec, old.spec)


def _validate_cron_job_spec(spec: Any, old: Any) -> list[FieldError]:
    found: list[FieldError] = []
    if not spec.schedule:
        found.append(required("spec.schedule"))
    else:
        # A zone in the schedule is of older objects.
        had_zone = old is not None and "TZ" in (old.schedule or "")
        _validate_schedule(spec.schedule, spec.timeZone, had_zone, "spec.schedule", found)
    meta.non_negative(spec.startingDeadlineSeconds, "spec.startingDeadlineSeconds", found)
    if old is None or spec.timeZone != old.timeZone:
        _validate_time_zone(spec.timeZone, "spec.timeZone", found)
    policies = ("Allow", "Forbid", "Replace")
    meta.one_of(spec.concurrencyPolicy, policies, "spec.concurrencyPolicy", found)
    job = spec.jobTemplate.spec
    path = "spec.jobTemplate.spec"
    if job is None:
        found.append(required(path))
    else:
        found += validate_job_spec(job, path)
        if job.selector is not None:
            found.append(invalid_value(f"{path}.selector", job.selector, "`selector` will be auto-generated"))
        if job.manualSelector:
            found.append(not_supported(f"{path}.manualSelector", True, ("nil", "false"), as_given=True))
    meta.non_negative(spec.successfulJobsHistoryLimit, "spec.successfulJobsHistoryLimit", found)
    meta.non_negative(spec.failedJobsHistoryLimit, "spec.failedJobsHistoryLimit", found)
    return found


def _validate_schedule(
    schedule: str, zone: str | None, had_zone: bool, path: str, found: list[FieldError]
) -> None:
    try:
        cron.check(schedule)
    except cron.ScheduleError as error:
        found.append(invalid_value(path, schedule, str(error)))
    if "TZ" not in schedule:
        return
    if zone is not None:
        found.append(
            invalid_value(path, schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule")
        )
    elif not had_zone:
        found.append(
            invalid_value(path, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
        )


def _validate_time_zone(zone: str | None, path: str, found: list[FieldError]) -> None:
    if zone is None:
        return
    if not zone:
        found.append(invalid_value(path, zone, "timeZone must be nil or non-empty string"))
    elif zone.lower() == "local":
        found.append(
            invalid_value(
                path,
                zone,
                "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
            )
        )
    elif not cron.is_time_zone(zone):
        found.append(invalid_value(path, zone, f"unknown time zone {zone}"))
