"""One attempt at a gang: all waiting members are taken from the queue, planned together, and bound or parked together.

What becomes of an attempt
* All that are needed found a node: they are placed, and their binds go out as requests become free. Members beyond those that the gang needs go one by
  one when they found none.
* They do not fit, but would without pods of lower priority: these are evicted, and each member's room is reserved (`Nominations`). The gang is tried
  again when the last victim is gone, not before.
* They do not fit: all wait. The pod group's condition says why; so does the event of the member that was tried first.

A bind that fails for good leaves the gang short. Its pod is tried again with whoever else waits, near its peers. A gang that has stayed *half bound* for its
timeout is let go: its bound members are deleted, so that they do not hold what another gang waits for, and the group begins anew when their
controller has made them again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .core import Core
from .gangpreemption import preempt_gang, units_below
from .gangs import GangSpec, Member, plan_gang
from .nominations import Nominations
from .podgroups import GangTable, GroupKey
from .queue import PendingPod, SchedulingQueue

if TYPE_CHECKING:
    from .shell import Scheduler

__all__ = ["GangCycle"]

MAX_HOPELESS = 1_024


class GangCycle:
    """Tries gangs for a scheduler."""

    def __init__(
        self,
        scheduler: Scheduler,
        core: Core,
        queue: SchedulingQueue,
        gangs: GangTable,
        nominations: Nominations,
    ) -> None:
        self._scheduler = scheduler
        self._core = core
        self._queue = queue
        self._gangs = gangs
        self._nominations = nominations
        self._hopeless: dict[GroupKey, int] = {}
        """Where preemption did not help, by the columns' sequence."""
        self._half_bound: dict[GroupKey, float] = {}
        """Gangs of which a bind failed for good, and until when they may stay so."""

    def attempt(
        self, pod: PendingPod, key: GroupKey, alone: Callable[[PendingPod], None], began: float
    ) -> bool:
        """Try all waiting members of a group together. Returns False when its pods go one by one, each by `alone`."""
        gangs, core, scheduler = self._gangs, self._core, self._scheduler
        hindrance = gangs.hindrance(key)
        if hindrance is not None:  # one of them says it: the others would say it a hundred thousand times
            scheduler.park(pod, hindrance, silent=gangs.first(key) is not pod)
            return True
        if gangs.expects(key, scheduler.now()):
            scheduler.park(pod, pod.reported, silent=True)
            return True
        spec = gangs.spec(key)
        if spec is None:
            return False
        pods = {pod.uid: pod}
        for other in gangs.members(key):
            if other is not pod and self._queue.take(other):
                pods[other.uid] = other
        reserved: dict[str, str] = {}
        for member in pods.values():
            scheduler.resolve_class(member)
            node = self._nominations.release(member.uid)
            if node is not None:
                reserved[member.uid] = node
        members = [Member(p.uid, p.cls, p.identity, p.name, p.own) for p in pods.values()]
        needed = spec.min_count - gangs.placed(key)
        peers = [node for uid in gangs.peers(key) if (node := core.node_of(uid)) is not None]
        placed = plan_gang(core, members, spec, needed, peers)
        for node in reserved.values():
            scheduler.gain(node)  # what was reserved is free for others now, unless it was taken
        for chosen, node in placed:
            found = pods.pop(chosen.uid)
            gangs.place(found.uid)
            scheduler.placed(found, node, began)
        if placed:
            self._hopeless.pop(key, None)
            gangs.expect(key, (), 0.0)
            gangs.report(key, scheduled=True, message="All required pods have been successfully scheduled")
        if (placed or needed <= 0) and spec.required_key is None:
            for member in pods.values():
                if member.uid in reserved:
                    self._nominations.reserve(member, reserved[member.uid])
                alone(member)
            return True
        if pods:
            self._fail(key, pods, members, spec, needed, peers, began)
        return True

    def _fail(
        self,
        key: GroupKey,
        pods: dict[str, PendingPod],
        members: list[Member],
        spec: GangSpec,
        needed: int,
        peers: list[str],
        began: float,
    ) -> None:
        """Members found no place: preempt for them, or say why they wait."""
        gangs, scheduler = self._gangs, self._scheduler
        members = [member for member in members if member.uid in pods]
        why = (
            f"pod group is unschedulable: at least {max(needed, 1)} more of its pods must be placed together"
        )
        nodes = self._preempt(key, pods, members, spec, needed, peers) if needed > 0 else {}
        first = next(iter(pods.values()))
        scheduler.attempted(first, began)
        message = f"{why}, {len(members)} wait: {scheduler.explain(first.cls, '')}"
        if needed > 0:
            gangs.report(key, scheduled=False, message=message)
        for member in pods.values():
            # in words that stay the same for all but one: 100,000 members are 100,000 events and patches
            scheduler.park(member, message if member is first else why, nodes.get(member.uid))
        if nodes and not gangs.expects(key, scheduler.now()):
            scheduler.wake_pod(first)  # only reservations had to go

    def _preempt(
        self,
        key: GroupKey,
        pods: dict[str, PendingPod],
        members: list[Member],
        spec: GangSpec,
        needed: int,
        peers: list[str],
    ) -> dict[str, str]:
        """Make room for the gang. Returns where its members will go, by uid."""
        core, gangs = self._core, self._gangs
        if any(member.cls.never_preempts or member.cls.problem is not None for member in members):
            return {}
        priority = spec.priority if spec.priority is not None else max(m.cls.priority for m in members)
        lowest = core.lowest_priority()
        if lowest is None or min(lowest, gangs.lowest_priority()) >= priority:
            return {}
        if self._hopeless.get(key) == core.columns.sequence:
            return {}
        units = units_below(core, priority, gangs.group_of, gangs.spec)
        found = preempt_gang(
            core, members, spec, needed, units, tuple(self._nominations.budgets.values()), peers
        )
        if found is None:
            if len(self._hopeless) >= MAX_HOPELESS:
                self._hopeless.clear()
            self._hopeless[key] = core.columns.sequence
            return {}
        placements, victims = found
        gangs.expect(key, (victim.uid for victim in victims if victim.name), self._scheduler.now())
        nodes = {member.uid: node for member, node in placements}
        self._nominations.attempt_together(
            next(iter(pods.values())), [(pods[uid], node) for uid, node in nodes.items()], victims
        )
        for group in {gangs.group_of[v.uid] for v in victims if v.uid in gangs.group_of}:
            gangs.report(
                group,
                scheduled=False,
                message="preempted for a pod group of higher priority",
                reason="Preempted",
            )
        return nodes

    # What happens meanwhile

    def gone(self, uid: str) -> None:
        """A placed pod is gone: the gangs that waited for the last of their victims are tried again."""
        for key in self._gangs.victim_gone(uid):
            first = self._gangs.first(key)
            if first is not None:
                self._scheduler.wake_pod(first)

    def failed(self, pod: PendingPod, now: float) -> None:
        """A member's bind has failed for good."""
        key = pod.group
        spec = None if key is None else self._gangs.spec(key)
        if key is not None and spec is not None and 0 < self._gangs.placed(key) < spec.min_count:
            self._half_bound.setdefault(key, now + spec.timeout_seconds)

    def next_deadline(self) -> float | None:
        """When a half bound gang's time is up."""
        return min(self._half_bound.values(), default=None)

    def expire(self, now: float) -> None:
        """Let go of gangs that have been half bound for too long."""
        for key, deadline in tuple(self._half_bound.items()):
            spec, placed = self._gangs.spec(key), self._gangs.placed(key)
            if spec is None or not 0 < placed < spec.min_count:
                del self._half_bound[key]
            elif now >= deadline:
                del self._half_bound[key]
                self._nominations.let_go(
                    key,
                    [uid for uid in self._gangs.peers(key) if not self._scheduler.is_binding(uid)],
                    placed,
                    spec.min_count,
                )
