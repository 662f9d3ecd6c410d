"""The scheduler's core alone, on a workload: how fast it decides and places. No API server, no network, one process.

Nodes and pods come to the core as the same views that informers make of JSON. Counted is what a pod costs from the moment that it is known:
its class resolved, the decision, the placement. In the end every pod must be placed and no node over its capacity.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from lakh.bench.workloads import GIANT, NAMESPACES, ZONE, Workload, node, pod, priority_of
from lakh.cli import Failure
from lakh.progress import Progress
from lakh.scheduler.core import Core
from lakh.scheduler.gangs import GangSpec, plan_gang
from lakh.scheduler.interpod import Identity
from lakh.scheduler.main import COLLECTOR_THRESHOLDS
from lakh.scheduler.podclass import PodClass
from lakh.scheduler.queue import PendingPod
from lakh.scheduler.views import Node, Pod

__all__ = ["run"]

SLICE_PODS = 1_000
"""Pods between two looks at the clock: throughput over time, and Ctrl-C."""

Json = dict[str, Any]


async def run(workload: Workload, nodes: int, pods: int, progress: Progress) -> Json:
    """Decide for all pods of a workload. Raises Failure when the work was not done."""
    thresholds = gc.get_threshold()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    try:
        return await _Run(workload, nodes, pods, progress).run()
    finally:
        gc.set_threshold(*thresholds)


class _Run:
    def __init__(self, workload: Workload, nodes: int, pods: int, progress: Progress) -> None:
        self.workload, self.nodes, self.pods = workload, nodes, pods
        self.progress = progress
        self.core = Core()
        self.namespaces = [f"sched-{number}" for number in range(NAMESPACES)]
        self.evicted = 0

    async def run(self) -> Json:
        for name in self.namespaces:
            self.core.set_namespace(name, {})
        if self.workload.service:
            self.core.interpods.set_service(self.namespaces[1], "bench", {"name": "foo"})
        await self._make_nodes()
        for part in self.workload.before:
            count = part.count(self.nodes)
            async for _ in self._place_all(part.template, self.namespaces[0], count, "before"):
                pass
        if self.workload.gang:
            slices = [(self.pods, self._gang())]
            first_ms = slices[0][1] * 1000
        else:
            slices = []
            first_ms = 0.0
            async for count, seconds, first in self._place_all(
                self.workload.measured.template, self.namespaces[1], self.pods, "measured"
            ):
                first_ms = first_ms or first * 1000
                slices.append((count, seconds))
        seconds = sum(part for _, part in slices)
        self._check()
        rates = sorted(count / part for count, part in slices)
        return {
            "decisions_per_s": round(self.pods / seconds, 1),
            "seconds": round(seconds, 4),
            "first_decision_ms": round(first_ms, 3),
            "slowest_slice_per_s": round(rates[0], 1),
            "median_slice_per_s": round(rates[len(rates) // 2], 1),
            "evicted": self.evicted,
        }

    async def _make_nodes(self) -> None:
        names = [f"node-{index:06d}" for index in range(self.nodes)] + [GIANT] * self.workload.giant
        for index, name in enumerate(names):
            self.core.set_node(msgspec.convert(node(name, index, self.workload, self.nodes), Node))
            if index % SLICE_PODS == 0:
                self.progress.bar("core: nodes", index, self.nodes)
                await asyncio.sleep(0)

    def _known(self, template: str, namespace: str) -> tuple[PodClass, Identity]:
        made = pod(template, self.namespaces)
        made["metadata"].update(name="pod", namespace=namespace)
        made["spec"]["priority"] = priority_of(template)
        view = msgspec.convert(made, Pod)
        return self.core.classes.of(view.spec), self.core.interpods.identity(view.metadata)

    async def _place_all(
        self, template: str, namespace: str, count: int, what: str
    ) -> AsyncIterator[tuple[int, float, float]]:
        """Decide and place pods, in slices: how many, in how many seconds, and those of the first."""
        core = self.core
        known, identity = self._known(template, namespace)
        done = 0
        while done < count:
            uids = [f"{what}-{template}-{number}" for number in range(done, min(count, done + SLICE_PODS))]
            first = 0.0
            began = time.perf_counter()
            for index, uid in enumerate(uids, done):
                cls = core.resolve(known, identity)
                chosen = core.decide(cls)
                if chosen is None:
                    chosen = self._preempt(cls)
                if chosen is None:
                    raise Failure(f"core: {what} pod {index} of {count} fits nowhere: {core.explain(cls)}")
                core.place(uid, cls, chosen, identity, name=uid)
                first = first or time.perf_counter() - began
            yield len(uids), time.perf_counter() - began, first
            done += len(uids)
            self.progress.bar(f"core: {what} pods", done, count)
            await asyncio.sleep(0)

    def _preempt(self, cls: PodClass) -> str | None:
        """Victims leave at once: what follows in a cluster is waiting."""
        plan = self.core.preempt(cls, ()) if self.workload.preempts else None
        if plan is None:
            return None
        for victim in plan.victims:
            self.core.remove(victim.uid)
        self.evicted += len(plan.victims)
        return plan.node

    def _gang(self) -> float:
        """Decide for one gang of all pods; how long that took, in seconds."""
        core = self.core
        known, identity = self._known(self.workload.measured.template, self.namespaces[1])
        where = self.namespaces[1]
        members = [
            PendingPod(f"measured-{n}", where, f"pod-{n:06d}", known, identity) for n in range(self.pods)
        ]
        self.progress.show(f"core: a gang of {self.pods} …")
        began = time.perf_counter()
        for member in members:
            member.cls = core.resolve(known, identity)
        placed = plan_gang(core, members, GangSpec(self.pods), self.pods)
        seconds = time.perf_counter() - began
        if len(placed) != self.pods:
            raise Failure(f"core: {len(placed)} of {self.pods} pods of the gang were placed")
        return seconds

    def _check(self) -> None:
        """All measured pods are placed, no node is over its capacity, and what pods may not share they do not."""
        placed = {uid: name for uid, (_, name) in self.core.placed().items() if uid.startswith("measured-")}
        if len(placed) != self.pods:
            raise Failure(f"core: {len(placed)} of {self.pods} pods are placed")
        for name, column in self.core.columns.resources.items():
            over = int((column.requested > column.allocatable).sum())
            if over:
                raise Failure(f"core: {over} nodes are over their {name}")
        if self.workload.one_a_node and max(self._by_node().values()) > 1:
            raise Failure("core: pods that exclude each other share a node")
        if self.workload.max_skew:
            columns = self.core.columns
            zones = columns.label(ZONE)
            found = Counter(int(zones.ids[columns.row_of[name]]) for name in placed.values())
            uneven(found, len(self.workload.zones), self.workload.max_skew)

    def _by_node(self) -> Counter[str]:
        return Counter(name for _, name in self.core.placed().values())


def uneven(by_zone: Counter[Any], zones: int, max_skew: int) -> None:
    """Raises Failure when zones differ by more than `max_skew` pods."""
    counts = list(by_zone.values()) + [0] * (zones - len(by_zone))
    if max(counts) - min(counts) > max_skew:
        raise Failure(f"pods are spread unevenly over zones: {sorted(counts)}, more than {max_skew} apart")
