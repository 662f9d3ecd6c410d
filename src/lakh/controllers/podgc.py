"""Pod garbage collection: pods that nobody else would ever remove.

Every `PERIOD_SECONDS` one pass over the pods finds

* pods bound to a node that does not exist (after a quarantine, and only when the server confirms it): marked Failed, removed at once;
* deleted pods on nodes that are not ready and tainted `node.kubernetes.io/out-of-service`: nobody will end them;
* pods that were deleted before they were scheduled: no kubelet will end them;
* ended pods beyond `TERMINATED_THRESHOLD`, evicted ones first, then oldest first.

`Found` is the pure part. A pass costs O(pods) and gives the event loop a turn after each `CHUNK` pods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lakh.client.client import STRATEGIC
from lakh.client.errors import ApiError, is_not_found
from lakh.client.resources import NODES, PODS
from lakh.machinery.metrics import PROCESS

from . import clock
from .bursts import all_of
from .context import Context, Controller
from .pods import find_condition, is_finished
from .views import Bare, Node, Pod

PERIOD_SECONDS = 20.0
QUARANTINE_SECONDS = 40.0
"""A node must be missing this long."""
TERMINATED_THRESHOLD = 12_500
CHUNK = 5_000
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"

_REMOVED = PROCESS.counter(
    "pod_gc_collector_force_delete_pods_total",
    "Pods removed by the garbage collector.",
    ("namespace", "reason"),
)
_FAILED = PROCESS.counter(
    "pod_gc_collector_force_delete_pod_errors_total",
    "Pods that the garbage collector could not remove.",
    ("namespace", "reason"),
)


def out_of_service(node: Node) -> bool:
    """Whether somebody has declared the node dead."""
    if not any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints or ()):
        return False
    ready = find_condition(node.status.conditions, "Ready")
    return ready is None or ready.status != "True"


@dataclass
class Found:
    """Pods to remove."""

    orphaned: list[Pod] = field(default_factory=list)
    terminating: list[Pod] = field(default_factory=list)
    """Deleted, on nodes that are out of service."""
    unscheduled: list[Pod] = field(default_factory=list)
    terminated: list[Pod] = field(default_factory=list)

    def add(self, pods: Iterable[Pod], nodes: Collection[str], dead: Collection[str] = ()) -> None:
        """Look at more pods; `dead` nodes are out of service. `terminated` takes all ended ones; `excess` chooses."""
        for pod in pods:
            node = pod.spec.nodeName
            if node in dead and pod.metadata.deletionTimestamp is not None:
                self.terminating.append(pod)
            if node and node not in nodes:
                self.orphaned.append(pod)
            elif not node and pod.metadata.deletionTimestamp is not None:
                self.unscheduled.append(pod)
            elif is_finished(pod) and pod.metadata.deletionTimestamp is None:
                self.terminated.append(pod)

    def excess(self, threshold: int) -> list[Pod]:
        """The ended pods beyond the threshold: evicted ones, which no controller counts, then the oldest."""
        surplus = len(self.terminated) - threshold
        if surplus <= 0:
            return []
        ordered = sorted(
            self.terminated,
            key=lambda pod: (
                pod.status.phase != "Failed" or pod.status.reason != "Evicted",
                pod.metadata.creationTimestamp or "",
                pod.metadata.name,
            ),
        )
        return ordered[:surplus]


class PodGarbageCollector(Controller):
    """See the module."""

    name = "pod-garbage-collector-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._nodes = context.informers.of(NODES, Node)
        self._pods = context.informers.of(PODS, Pod)
        self._missing: dict[str, float] = {}
        """Nodes that pods name and that do not exist, with the time they were first missed."""

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            await self.collect()

    async def collect(self) -> None:
        """One pass."""
        found = Found()
        dead = {name for name, node in self._nodes.items.items() if out_of_service(node)}
        pods = list(self._pods.items.values())
        for start in range(0, len(pods), CHUNK):
            found.add(pods[start : start + CHUNK], self._nodes.items, dead)
            await asyncio.sleep(0)
        gone = await self._gone_nodes({pod.spec.nodeName or "" for pod in found.orphaned})
        orphaned = [pod for pod in found.orphaned if pod.spec.nodeName in gone]
        error: BaseException | None = None
        for reason, victims in (
            ("terminated", found.excess(TERMINATED_THRESHOLD)),
            ("out-of-service", found.terminating),
            ("orphaned", orphaned),
            ("unscheduled", found.unscheduled),
        ):
            error = await all_of(victims, partial(self._remove, reason)) or error
        if error is not None:
            raise error

    async def _gone_nodes(self, names: set[str]) -> set[str]:
        now = self.context.monotonic()
        self._missing = {name: self._missing.get(name, now) for name in names}
        gone = set()
        for name, since in self._missing.items():
            if now - since < QUARANTINE_SECONDS:
                continue
            try:
                await self.client.get(NODES, name, type=Bare)
            except ApiError as error:
                if not is_not_found(error):
                    raise
                gone.add(name)
        return gone

    async def _remove(self, reason: str, pod: Pod) -> None:
        labels = (pod.metadata.namespace or "", reason)
        _REMOVED.child(*labels).inc()
        try:
            if not is_finished(pod):
                await self._fail(pod, orphaned=reason == "orphaned")
            await self.client.delete(
                PODS,
                pod.metadata.name,
                pod.metadata.namespace,
                grace_period_seconds=0,
                uid=pod.metadata.uid,
            )
        except ApiError as error:
            if not is_not_found(error):
                _FAILED.child(*labels).inc()
                raise

    async def _fail(self, pod: Pod, *, orphaned: bool) -> None:
        """A pod with finalizers stays a while; Failed tells its controller that it has ended."""
        status: dict[str, Any] = {"phase": "Failed"}
        if orphaned:
            status["conditions"] = [
                {
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "DeletionByPodGC",
                    "message": "PodGC: node no longer exists",
                    "lastTransitionTime": clock.stamp(self.now()),
                    "observedGeneration": pod.metadata.generation,
                }
            ]
        await self.client.patch(
            PODS,
            pod.metadata.name,
            {"metadata": {"uid": pod.metadata.uid}, "status": status},
            pod.metadata.namespace,
            patch_type=STRATEGIC,
            subresource="status",
            type=Bare,
        )
