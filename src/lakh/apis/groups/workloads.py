"""What the kinds that run pods from a template share: selectors against templates, percentages, status counts, columns.

The functions take structs and field paths and append `FieldError`s in upstream's wording. A pod template's own rules are in `apis.podspec`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lakh.apis import meta
from lakh.apis.podspec import validate_pod_template
from lakh.apis.podspec_warnings import pod_template_warnings
from lakh.apis.registry import Column
from lakh.machinery import gonumbers, names
from lakh.machinery.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)

DEFAULT_REVISION_HISTORY_LIMIT = 10
SELECTOR_COLUMN = Column("Selector", priority=1, description="Label selector for pods.")
ABOVE_REPLICAS = "cannot be greater than status.replicas"
MISMATCH = "`selector` does not match template `labels`"


def selector_is_valid(selector: Any) -> bool:
    """Whether a `metav1.LabelSelector` can be evaluated at all."""
    if selector is None:
        return True
    return not meta.validate_label_selector(selector, "")


def selector_matches(selector: Any, labels: Mapping[str, str] | None) -> bool:
    """Whether labels satisfy a valid `metav1.LabelSelector`. None matches nothing, an empty one everything."""
    if selector is None:
        return False
    have = labels or {}
    for key, value in (selector.matchLabels or {}).items():
        if have.get(key) != (value or ""):
            return False
    for expression in selector.matchExpressions or ():
        value = have.get(expression.key)
        match expression.operator:
            case "In":
                if value is None or value not in (expression.values or ()):
                    return False
            case "NotIn":
                if value is not None and value in (expression.values or ()):
                    return False
            case "Exists":
                if value is None:
                    return False
            case "DoesNotExist":
                if value is not None:
                    return False
            case _:
                return False
    return True


def template_labels(template: Any) -> Mapping[str, str] | None:
    """The labels of a pod template; None when there are none."""
    if template is None or template.metadata is None:
        return None
    labels: Mapping[str, str] | None = template.metadata.labels
    return labels


def validate_selector(selector: Any, empty_message: str, found: list[FieldError]) -> None:
    """`spec.selector`: there, well-formed, and not empty."""
    if selector is None:
        found.append(required("spec.selector"))
        return
    found += meta.validate_label_selector(selector, "spec.selector")
    if meta.is_empty_selector(selector):
        found.append(invalid_value("spec.selector", selector, empty_message))


def validate_selected_template(spec: Any, found: list[FieldError]) -> None:
    """`spec.template` agrees with `spec.selector` and is a valid template."""
    if not selector_is_valid(spec.selector):
        found.append(invalid_value("spec.selector", spec.selector, "invalid label selector"))
        return
    if spec.selector is None or not meta.is_empty_selector(spec.selector):
        validate_template_labels(spec, found)
    found += validate_pod_template(spec.template, "spec.template")


def validate_template_labels(spec: Any, found: list[FieldError]) -> None:
    """The selector selects the pods that the template makes."""
    labels = template_labels(spec.template)
    if not selector_matches(spec.selector, labels):
        found.append(invalid_value("spec.template.metadata.labels", labels, MISMATCH))


def validate_runs_forever(template: Any, kind: str, found: list[FieldError]) -> None:
    """Pods that are always to run are restarted always and have no deadline."""
    pod = template.spec if template is not None else None
    if pod is None:
        return
    if pod.restartPolicy != "Always":
        found.append(not_supported("spec.template.spec.restartPolicy", pod.restartPolicy or "", ("Always",)))
    if pod.activeDeadlineSeconds is not None:
        found.append(
            forbidden_field(
                "spec.template.spec.activeDeadlineSeconds",
                f"activeDeadlineSeconds in {kind} is not Supported",
            )
        )


def validate_int_or_percent(value: str | int | None, path: str, found: list[FieldError]) -> None:
    """A count that is not negative, or a percentage."""
    if isinstance(value, str):
        for message in names.percent(value):
            found.append(invalid_value(path, value, message))
    else:
        meta.non_negative(value, path, found)


def int_or_percent_value(value: str | int | None) -> int:
    """The number in a count or a percentage; 0 for what is neither."""
    if isinstance(value, str):
        digits = value[:-1]
        return int(digits) if value.endswith("%") and gonumbers.is_uint(digits) else 0
    return value or 0


def validate_at_most_100_percent(value: str | int | None, path: str, found: list[FieldError]) -> None:
    """A percentage, if it is one, is not above 100 %."""
    if isinstance(value, str) and not names.percent(value) and int_or_percent_value(value) > 100:
        found.append(invalid_value(path, value, "must not be greater than 100%"))


def validate_counts(status: Any, fields: Iterable[str], found: list[FieldError]) -> None:
    """Counts of a status are not negative."""
    for name in fields:
        meta.non_negative(getattr(status, name), f"status.{name}", found)


def validate_not_above(
    status: Any, fields: Iterable[str], limit: str, message: str, found: list[FieldError]
) -> None:
    """Counts of a status that are parts of another one."""
    most = getattr(status, limit) or 0
    for name in fields:
        value = getattr(status, name) or 0
        if value > most:
            found.append(invalid_value(f"status.{name}", value, message))


def validate_collision_count(new: Any, old: Any, found: list[FieldError]) -> None:
    """`status.collisionCount` only grows."""
    before = old.status.collisionCount if old.status is not None else None
    after = new.status.collisionCount
    if before is not None and (after is None or after < before):
        found.append(invalid_value("status.collisionCount", after or 0, "cannot be decremented"))


def hostname_warnings(name: str) -> list[str]:
    """A name that pods cannot take as their hostname."""
    messages = names.dns_label(name)
    if not messages:
        return []
    return [
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; "
        f"a DNS label is recommended: [{' '.join(messages)}]"
    ]


def changed_template_warnings(obj: Any, old: Any | None, path: str = "spec.template") -> list[str]:
    """Warnings about the pod template of a new object, or of one whose spec an update changed."""
    if old is not None and obj.metadata.generation == old.metadata.generation:
        return []
    return pod_template_warnings(obj.spec.template, path)


def count(status: Any, name: str) -> int:
    """A number of a status that may be absent."""
    return (getattr(status, name) if status is not None else None) or 0


def shown_strategy(strategy: Any) -> dict[str, Any]:
    """How Go shows a Deployment's or DaemonSet's strategy in a message."""
    rolling = strategy.rollingUpdate
    return {
        "Type": strategy.type,
        "RollingUpdate": rolling and {"MaxUnavailable": rolling.maxUnavailable, "MaxSurge": rolling.maxSurge},
    }
