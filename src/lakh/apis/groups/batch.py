"""batch/v1."""

from __future__ import annotations

from lakh.apis.groups.base import GroupStrategy, declare


class CronJobStrategy(GroupStrategy):
    """CronJob."""

    has_status = True
    generation = True


class JobStrategy(GroupStrategy):
    """Job."""

    has_status = True
    generation = True


RESOURCES = (
    declare(
        "batch",
        "v1",
        "cronjobs",
        "CronJob",
        CronJobStrategy(),
        namespaced=True,
        short_names=("cj",),
        categories=("all",),
    ),
    declare("batch", "v1", "jobs", "Job", JobStrategy(), namespaced=True, categories=("all",)),
)
