"""scheduling.k8s.io/v1."""

from __future__ import annotations

from lakh.apis.groups.base import GroupStrategy, declare


class PriorityClassStrategy(GroupStrategy):
    """PriorityClass."""

    generation = True


RESOURCES = (
    declare(
        "scheduling.k8s.io",
        "v1",
        "priorityclasses",
        "PriorityClass",
        PriorityClassStrategy(),
        namespaced=False,
        short_names=("pc",),
    ),
)
