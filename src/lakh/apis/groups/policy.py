"""policy/v1: pod disruption budgets. Evictions are a subresource of pods."""

from __future__ import annotations

from typing import Any

from lakh.apis import meta
from lakh.apis.conditions import validate_conditions
from lakh.apis.groups import printing
from lakh.apis.groups.base import GroupStrategy, declare
from lakh.apis.groups.workloads import (
    validate_at_most_100_percent,
    validate_counts,
    validate_int_or_percent,
)
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column
from lakh.machinery.errors import FieldError, invalid_value, not_supported

GROUP = "policy"

_EVICTION_POLICIES = ("AlwaysAllow", "IfHealthyBudget")


class PodDisruptionBudgetStrategy(GroupStrategy):
    """Pod disruption budgets."""

    has_status = True
    generation = True
    status_zeros = ("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods")
    allow_unconditional_update = False
    columns = (
        NAME_COLUMN,
        Column("Min Available", description="The minimum number of pods that must be available."),
        Column("Max Unavailable", description="The maximum number of pods that may be unavailable."),
        Column(
            "Allowed Disruptions",
            "integer",
            description="Calculated number of pods that may be disrupted at this time.",
        ),
        AGE_COLUMN,
    )

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole budget."""
        spec = obj.spec
        found: list[FieldError] = []
        if spec.minAvailable is not None and spec.maxUnavailable is not None:
            found.append(invalid_value("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
        for name in ("minAvailable", "maxUnavailable"):
            value = getattr(spec, name)
            if value is not None:
                validate_int_or_percent(value, f"spec.{name}", found)
                validate_at_most_100_percent(value, f"spec.{name}", found)
        found += meta.validate_label_selector(spec.selector, "spec.selector")
        policy = spec.unhealthyPodEvictionPolicy
        if policy is not None and policy not in _EVICTION_POLICIES:
            found.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, _EVICTION_POLICIES))
        return found

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Conditions are whole, counts are not negative."""
        found: list[FieldError] = []
        if new.status is not None:
            validate_conditions(new.status.conditions, "status.conditions", found)
            validate_counts(
                new.status,
                ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"),
                found,
            )
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get poddisruptionbudgets` shows it."""
        spec, status = obj.spec, obj.status
        return [
            obj.metadata.name,
            "N/A" if spec.minAvailable is None else str(spec.minAvailable),
            "N/A" if spec.maxUnavailable is None else str(spec.maxUnavailable),
            (status.disruptionsAllowed if status is not None else None) or 0,
            printing.age(obj, now),
        ]


RESOURCES = (
    declare(
        GROUP,
        "v1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        PodDisruptionBudgetStrategy(),
        namespaced=True,
        short_names=("pdb",),
    ),
)
