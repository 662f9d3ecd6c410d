"""policy/v1."""

from __future__ import annotations

from lakh.apis.groups.base import GroupStrategy, declare


class PodDisruptionBudgetStrategy(GroupStrategy):
    """PodDisruptionBudget."""

    has_status = True
    generation = True


RESOURCES = (
    declare(
        "policy",
        "v1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        PodDisruptionBudgetStrategy(),
        namespaced=True,
        short_names=("pdb",),
    ),
)
