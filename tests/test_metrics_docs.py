"""docs/metrics.md says what is served, with the labels it has; what has one of upstream's names is in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lakh.client.leader
import lakh.controllers.main  # noqa: F401
from lakh.client.metricserver import CHECKS  # noqa: F401
from lakh.client.restmetrics import RestMetrics
from lakh.client.workqueue import WorkQueue
from lakh.machinery.metrics import PROCESS, Corrected, Counter, Family, Reading, Registry
from lakh.machinery.process import add_process
from lakh.scheduler.metrics import SchedulerMetrics
from lakh.scheduler.queue import SchedulingQueue

from .server.harness import Api

OUR_OWN = "lakh_"
ROW = re.compile(r"\| `([a-z_]+)` \| (counter|gauge|histogram) \| ([A-Za-z_, ]*)\|")


def described() -> dict[str, tuple[str, frozenset[str]]]:
    text = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text()
    return {
        name: (kind, frozenset(filter(None, (label.strip() for label in labels.split(",")))))
        for name, kind, labels in ROW.findall(text)
    }


def served(registry: Registry) -> dict[str, tuple[str, frozenset[str]]]:
    found = {}
    for name, metric in registry._metrics.items():
        base: Any = metric
        if isinstance(metric, Reading):
            kind = metric.kind
        elif isinstance(metric, Corrected):
            kind, base = "histogram", metric._base
        else:
            assert isinstance(metric, Family)
            kind = "counter" if isinstance(metric._make(), Counter) else "histogram"
        if not name.startswith(OUR_OWN):
            found[name] = (kind, frozenset(base.labels))
    return found


async def test_the_page_is_what_is_served() -> None:
    api = await Api.start()
    try:
        found = served(api.server.metrics.registry) | served(api.server.metrics.health.slis)
    finally:
        await api.stop()
    add_process(PROCESS)
    WorkQueue("of-the-test")
    RestMetrics("of-the-test")
    SchedulerMetrics(SchedulingQueue(), ("default-scheduler",))
    found |= served(PROCESS)
    assert found == described()
