"""Node lifecycle: notice silent nodes, tell by conditions and taints, mark their pods not ready.

Leases are the hot part: a hundred thousand nodes renew every ten seconds, and a watch would bring ten thousand events a second. So they are not watched but
listed every `MONITOR_SECONDS` (upstream's period) or ten times in a longer grace period: two small strings of each, in pages. A node whose lease has
changed since the last look was heard; `_heard` is name → monotonic time. A scan compares these with the grace period in one pass and queues the few nodes
whose health has changed; everything else happens in their reconcile. While the list fails nobody can be heard, and nobody is called silent for it.

Taints with effect NoExecute drive pods away, so they are given at a limited rate: a tenth of a node a second as upstream, in larger clusters a
thousandth of the nodes. When more than `LARGE_SHARE` of the nodes are silent the fault is likelier ours or the network's: then the rate
drops to a tenth in large clusters and to nothing in small ones, and with every node silent nothing is evicted at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lakh.client.client import STRATEGIC
from lakh.client.errors import ApiError, ClientError, is_not_found
from lakh.client.resources import LEASES, NODES, PODS, object_reference
from lakh.machinery.metrics import PROCESS

from . import clock, informers
from .bursts import all_of
from .context import Context, Controller
from .pods import find_condition, is_ready
from .statuses import plain
from .views import Bare, Condition, Lease, Node, Pod, Taint

log = logging.getLogger(__name__)

_EVICTIONS = PROCESS.counter(
    "node_collector_evictions_total", "Nodes whose pods were driven away, by region and zone.", ("zone",)
)

MONITOR_SECONDS = 5.0
LOOKS_A_GRACE = 10
"""With a longer grace period the leases are listed less often: there are 100,000 of them."""
EVICTIONS_PER_SECOND = 0.1
"""Nodes that may get a NoExecute taint a second, in a cluster of up to a hundred nodes."""
LARGE_SHARE = 0.55
LARGE_CLUSTER = 50
LEASE_NAMESPACE = "kube-node-lease"
LEASE_PAGE = 10_000
"""Leases a page: decoding one takes 10 ms. The server looks through what changed since the first page for each of them, at 100,000 nodes tens of thousands
of renewals."""

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_PRESSURES = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
OWN_TAINTS = frozenset((NOT_READY, UNREACHABLE, UNSCHEDULABLE, *_PRESSURES.values()))
"""Taints that this controller alone gives and takes."""
_WATCHED_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


# ---------------------------------------------------------------- decisions


@dataclass
class Plan:
    """What to change of a node."""

    conditions: list[Condition] = field(default_factory=list)
    """Conditions to write."""
    taints: list[Taint] | None = None
    """All taints the node should have; `None`: they are right already."""
    evicts: bool = False
    """Whether a NoExecute taint is wanted that the node has not got."""
    ready: str = "Unknown"
    """The status of Ready after this."""


def wanted_taints(node: Node, ready: str | None, *, may_evict: bool) -> list[tuple[str, str]]:
    """(key, effect) of the taints that the node's conditions ask for."""
    wanted: list[tuple[str, str]] = []
    conditions = node.status.conditions or ()
    if ready is not None and ready != "True":
        key = NOT_READY if ready == "False" else UNREACHABLE
        wanted.append((key, "NoSchedule"))
        if may_evict:
            wanted.append((key, "NoExecute"))
    for type_, key in _PRESSURES.items():
        condition = find_condition(conditions, type_)
        if condition is not None and condition.status == "True":
            wanted.append((key, "NoSchedule"))
    if node.spec.unschedulable:
        wanted.append((UNSCHEDULABLE, "NoSchedule"))
    return wanted


def silent_conditions(node: Node, now: float) -> list[Condition]:
    """The conditions of a node whose kubelet is silent, as far as they are not unknown yet."""
    stamp = clock.stamp(now)
    result = []
    for type_ in _WATCHED_CONDITIONS:
        current = find_condition(node.status.conditions, type_)
        if current is None:
            result.append(
                Condition(
                    type=type_,
                    status="Unknown",
                    reason="NodeStatusNeverUpdated",
                    message="Kubelet never posted node status.",
                    lastHeartbeatTime=node.metadata.creationTimestamp,
                    lastTransitionTime=stamp,
                )
            )
        elif current.status != "Unknown":
            result.append(
                Condition(
                    type=type_,
                    status="Unknown",
                    reason="NodeStatusUnknown",
                    message="Kubelet stopped posting node status.",
                    lastHeartbeatTime=current.lastHeartbeatTime,
                    lastTransitionTime=stamp,
                )
            )
    return result


def decide(node: Node, *, silent: bool, may_evict: bool, now: float) -> Plan:
    """Pure: the conditions and taints of one node."""
    plan = Plan()
    if silent:
        plan.conditions = silent_conditions(node, now)
    current = find_condition(node.status.conditions, "Ready")
    ready = "Unknown" if silent else current.status if current is not None else None
    plan.ready = ready or "Unknown"
    present = node.spec.taints or []
    has = {(taint.key, taint.effect) for taint in present}
    wanted = wanted_taints(node, ready, may_evict=True)
    missing_evictions = [pair for pair in wanted if pair[1] == "NoExecute" and pair not in has]
    plan.evicts = bool(missing_evictions)
    if not may_evict:
        wanted = [pair for pair in wanted if pair not in missing_evictions]
    keep = [taint for taint in present if not _is_own(taint) or (taint.key, taint.effect) in wanted]
    add = [pair for pair in wanted if pair not in has]
    if add or len(keep) != len(present):
        stamp = clock.stamp(now)
        # Upstream stamps every taint that it adds.
        plan.taints = [*keep, *(Taint(key=key, effect=effect, timeAdded=stamp) for key, effect in add)]
    return plan


def _is_own(taint: Taint) -> bool:
    if taint.key not in OWN_TAINTS:
        return False
    return taint.effect == "NoSchedule" or (
        taint.effect == "NoExecute" and taint.key in (NOT_READY, UNREACHABLE)
    )


def eviction_rate(nodes: int, unhealthy: int) -> float:
    """NoExecute taints a second."""
    if nodes == 0 or unhealthy >= nodes > 1:
        return 0.0
    rate = EVICTIONS_PER_SECOND * max(1.0, nodes / 100)
    if unhealthy > 2 and unhealthy / nodes >= LARGE_SHARE:
        return rate / 10 if nodes > LARGE_CLUSTER else 0.0
    return rate


class Bucket:
    """A token bucket whose rate may change; it holds at most a second's worth, and at least one token."""

    def __init__(self) -> None:
        self._tokens = 1.0
        self._at: float | None = None

    def take(self, rate: float, now: float) -> bool:
        """Whether one more may go now."""
        if self._at is not None:
            self._tokens = min(self._tokens + (now - self._at) * rate, max(rate, 1.0))
        self._at = now
        if rate <= 0 or self._tokens < 1:
            return False
        self._tokens -= 1
        return True


# ---------------------------------------------------------------- the controller


class NodeLifecycleController(Controller):
    """See the module."""

    name = "node-lifecycle-controller"
    workers = 32

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._monotonic = context.monotonic
        self._recorder = context.recorder("node-controller")
        self._grace_seconds = context.node_grace_seconds
        self._monitor_seconds = max(MONITOR_SECONDS, context.node_grace_seconds / LOOKS_A_GRACE)
        self._heard: dict[str, float] = {}
        self._renewed: dict[str, str | None] = {}
        self._deaf = False
        self._silent: set[str] = set()
        self._unhealthy: set[str] = set()
        self._bucket = Bucket()
        self._nodes = context.informers.of(NODES, Node)
        self._pods = context.informers.of(PODS, Pod, indexes=(informers.NODE,))
        self._nodes.add_handler(
            on_add=self._node_added, on_update=self._node_updated, on_delete=self._node_gone
        )

    def resync(self) -> None:
        """Queue every node, once."""
        for name in self._nodes.items:
            self.queue.add(name)

    async def run(self) -> None:
        """Work until cancelled."""
        self.resync()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._monitor())
            group.create_task(self.queue.run(self.reconcile, self.workers))

    async def _monitor(self) -> None:
        while True:
            await asyncio.sleep(self._monitor_seconds)
            await self.listen()
            self.scan()

    async def listen(self) -> None:
        """Look who has renewed its lease."""
        try:
            renewed = await self._list_leases()
        except ClientError as error:
            log.warning("cannot list the leases of nodes: %s", error)
            self._deaf = True
            return
        now, before, heard = self._monotonic(), self._renewed, self._heard
        for name, at in renewed.items():
            if before.get(name) != at:
                heard[name] = now
        if self._deaf:
            # Nor could they renew while the API server was away.
            self._deaf = False
            for name in heard:
                heard[name] = now
        self._renewed = renewed

    async def _list_leases(self) -> dict[str, str | None]:
        """Name → time of renewal.

        Of the newest state, for an API server gives version 0, whatever is at hand, in one page: 75 MB of 100,000 leases, and what a replica has at hand
        may be older than what was seen before.
        """
        renewed: dict[str, str | None] = {}
        token: str | None = None
        while True:
            page = await self.client.list(
                LEASES,
                LEASE_NAMESPACE,
                type=Lease,
                limit=LEASE_PAGE,
                continue_=token,
            )
            for lease in page.items:
                renewed[lease.metadata.name] = lease.spec.renewTime
            token = page.metadata.continue_
            if not token:
                return renewed

    def _node_added(self, node: Node) -> None:
        self._heard.setdefault(node.metadata.name, self._monotonic())
        self._note_health(node)
        self.queue.add(node.metadata.name)

    def _node_updated(self, old: Node, new: Node) -> None:
        before, after = old.status.conditions, new.status.conditions
        if before != after:
            # The kubelet's own status counts as a sign of life too.
            if _heartbeat(before) != _heartbeat(after):
                self._heard[new.metadata.name] = self._monotonic()
            if _without_heartbeats(before) == _without_heartbeats(after) and old.spec == new.spec:
                return  # as hundreds a second say in a large cluster: `scan` queues a node that was silent
        elif old.spec == new.spec:
            return
        self._note_health(new)
        self.queue.add(new.metadata.name)

    def _node_gone(self, node: Node) -> None:
        name = node.metadata.name
        self._heard.pop(name, None)
        self._silent.discard(name)
        self._unhealthy.discard(name)

    def _note_health(self, node: Node) -> None:
        ready = find_condition(node.status.conditions, "Ready")
        if ready is not None and ready.status != "True":
            self._unhealthy.add(node.metadata.name)
        else:
            self._unhealthy.discard(node.metadata.name)

    def scan(self) -> None:
        """One pass: queue the nodes that fell silent or came back, and those that wait for their eviction."""
        if self._deaf:
            return
        deadline = self._monotonic() - self._grace_seconds
        nodes = self._nodes.items
        silent = {name for name, at in self._heard.items() if at < deadline and name in nodes}
        for name in silent ^ self._silent:
            self.queue.add(name)
        self._silent = silent
        for name in self._unhealthy:
            self.queue.add(name)
        if len(self._heard) > 2 * len(nodes) + 1000:
            # Leases of nodes that do not exist must not pile up.
            for name in [name for name in self._heard if name not in nodes]:
                del self._heard[name]

    async def reconcile(self, key: str) -> None:
        """Correct one node's conditions and taints, and its pods' readiness."""
        node = self._nodes.items.get(key)
        if node is None:
            return
        silent = self._monotonic() - self._heard.get(key, self._monotonic()) > self._grace_seconds
        plan = decide(node, silent=silent, may_evict=False, now=self.now())
        if plan.evicts:
            unhealthy = len(self._unhealthy | self._silent)
            rate = eviction_rate(len(self._nodes.items), unhealthy)
            if self._bucket.take(rate, self._monotonic()):
                plan = decide(node, silent=silent, may_evict=True, now=self.now())
                _EVICTIONS.child(zone_of(node)).inc()
        was_ready = (find_condition(node.status.conditions, "Ready") or Condition()).status == "True"
        try:
            if plan.conditions:
                await self.client.patch(
                    NODES,
                    key,
                    {"status": {"conditions": plain(plan.conditions)}},
                    patch_type=STRATEGIC,
                    subresource="status",
                    type=Bare,
                )
                if was_ready:
                    self._recorder.event(
                        object_reference(NODES, node),
                        "Normal",
                        "NodeNotReady",
                        f"Node {key} status is now: NodeNotReady",
                    )
            if plan.taints is not None:
                await self._write_taints(node, plan.taints, fresh=bool(plan.conditions))
        except ApiError as error:
            if is_not_found(error):
                return
            raise
        if plan.ready != "True":
            await self._mark_pods(node)

    async def _write_taints(self, node: Node, taints: Iterable[Taint], *, fresh: bool) -> None:
        """The list of taints is written whole, so never on top of somebody else's change."""
        metadata: dict[str, Any] = {}
        if not fresh:
            metadata["resourceVersion"] = node.metadata.resourceVersion
        else:
            # Our own write of the conditions has moved the version; see that nobody else changed the taints.
            live = await self.client.get(NODES, node.metadata.name, type=Node)
            if live.spec.taints != node.spec.taints:
                self.queue.add_after(node.metadata.name, MONITOR_SECONDS)
                return
            metadata["resourceVersion"] = live.metadata.resourceVersion
        patch = {"metadata": metadata, "spec": {"taints": plain(list(taints)) or None}}
        await self.client.patch(NODES, node.metadata.name, patch, type=Bare)

    async def _mark_pods(self, node: Node) -> None:
        """Pods of a node that is not ready are not ready."""
        name = node.metadata.name
        ready = [pod for pod in self._pods.by_index(informers.NODE, name) if is_ready(pod)]
        if not ready:
            return
        stamp = clock.stamp(self.now())

        async def mark(pod: Pod) -> None:
            condition = msgspec.structs.replace(
                find_condition(pod.status.conditions, "Ready") or Condition(type="Ready"),
                status="False",
                lastTransitionTime=stamp,
            )
            patch = {"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [plain(condition)]}}
            try:
                await self.client.patch(
                    PODS,
                    pod.metadata.name,
                    patch,
                    pod.metadata.namespace,
                    patch_type=STRATEGIC,
                    subresource="status",
                    type=Bare,
                )
            except ApiError as error:
                if not is_not_found(error):
                    raise
                return
            self._recorder.event(object_reference(PODS, pod), "Warning", "NodeNotReady", "Node is not ready")

        error = await all_of(ready, mark)
        if error is not None:
            raise error


def zone_of(node: Node) -> str:
    """Region and zone of a node as upstream's `GetZoneKey` writes them; empty without both."""
    labels = node.metadata.labels or {}
    region, zone = (labels.get(f"topology.kubernetes.io/{what}", "") for what in ("region", "zone"))
    return f"{region}:\0:{zone}" if region or zone else ""


def _without_heartbeats(conditions: Iterable[Condition] | None) -> list[tuple[str | None, ...]]:
    """What conditions say but for when they were last heard of."""
    return [(c.type, c.status, c.reason, c.message, c.lastTransitionTime) for c in conditions or ()]


def _heartbeat(conditions: Iterable[Condition] | None) -> str | None:
    ready = find_condition(conditions, "Ready")
    return ready.lastHeartbeatTime if ready is not None else None
