"""scheduling.k8s.io/v1: priority classes, and the two that every cluster has."""

from __future__ import annotations

from typing import Any

from lakh.apis import meta
from lakh.apis.groups import printing
from lakh.apis.groups.base import GroupStrategy, declare
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column
from lakh.machinery.errors import FieldError, forbidden_field, not_supported

GROUP = "scheduling.k8s.io"

HIGHEST_USER_DEFINABLE_PRIORITY = 1_000_000_000
SYSTEM_PREFIX = "system-"

# The server makes these on start when they are missing.
SYSTEM_PRIORITY_CLASSES: tuple[dict[str, Any], ...] = (
    {
        "metadata": {"name": "system-node-critical"},
        "value": 2 * HIGHEST_USER_DEFINABLE_PRIORITY + 1000,
        "description": "Used for system critical pods that must not be moved from their current node.",
    },
    {
        "metadata": {"name": "system-cluster-critical"},
        "value": 2 * HIGHEST_USER_DEFINABLE_PRIORITY,
        "description": "Used for system critical pods that must run in the cluster, but can be moved to another "
        "node if necessary.",
    },
)
_SYSTEM_VALUES: dict[str, int] = {c["metadata"]["name"]: c["value"] for c in SYSTEM_PRIORITY_CLASSES}


class PriorityClassStrategy(GroupStrategy):
    """Priority classes."""

    generation = True
    columns = (
        NAME_COLUMN,
        Column("Value", "integer", description="The integer value of this priority class."),
        Column("Global-Default", "boolean", description="Whether it is the default of pods without a class."),
        AGE_COLUMN,
        Column("PreemptionPolicy", description="Whether its pods preempt pods of lower priority."),
    )

    def default(self, obj: Any) -> None:
        """Value zero, preempting."""
        if obj.value is None:
            obj.value = 0
        if obj.preemptionPolicy is None:
            obj.preemptionPolicy = "PreemptLowerPriority"

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole priority class."""
        found: list[FieldError] = []
        name = obj.metadata.name or ""
        if name.startswith(SYSTEM_PREFIX):
            error = _unknown_system_class(name, obj.value, bool(obj.globalDefault))
            if error:
                found.append(
                    forbidden_field(
                        "metadata.name",
                        f"priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. "
                        f"error: {error}",
                    )
                )
        elif obj.value > HIGHEST_USER_DEFINABLE_PRIORITY:
            found.append(
                forbidden_field(
                    "value",
                    f"maximum allowed value of a user defined priority is {HIGHEST_USER_DEFINABLE_PRIORITY}",
                )
            )
        if obj.preemptionPolicy not in ("Never", "PreemptLowerPriority"):
            found.append(
                not_supported("preemptionPolicy", obj.preemptionPolicy, ("Never", "PreemptLowerPriority"))
            )
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """Value and preemption policy stay."""
        found: list[FieldError] = []
        if new.value != (old.value or 0):
            found.append(forbidden_field("value", "may not be changed in an update."))
        meta.immutable(new.preemptionPolicy, old.preemptionPolicy, "preemptionPolicy", found)
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get priorityclasses` shows it."""
        return [
            obj.metadata.name,
            obj.value or 0,
            bool(obj.globalDefault),
            printing.age(obj, now),
            obj.preemptionPolicy or "",
        ]


def _unknown_system_class(name: str, value: int, global_default: bool) -> str:
    expected = _SYSTEM_VALUES.get(name)
    if expected is None:
        return f"{name} is not a known system priority class"
    if value != expected:
        return f"value of {name} PriorityClass must be {expected}"
    if global_default:
        return f"globalDefault of {name} PriorityClass must be false"
    return ""


RESOURCES = (
    declare(
        GROUP,
        "v1",
        "priorityclasses",
        "PriorityClass",
        PriorityClassStrategy(),
        namespaced=False,
        short_names=("pc",),
    ),
)
