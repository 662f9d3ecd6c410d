"""One attempt at a gang: all waiting members are taken from the queue, planned together, and bound or parked together.

What becomes of an attempt
* All that are needed found a node: they are placed, and their binds go out as requests become free. Members beyond those that the gang needs go one by
  one when they found none.
* They do not fit, but would without pods of lower priority: these are evicted, and each member's room is reserved (`Nominations`). The gang is tried
  again when the last victim is gone, not before.
* They do not fit: all wait. The pod group's condition says why; so does the event of the member that was tried first.

An attempt at a large gang takes a second: it goes in pieces (`pieces`), between which the loop reads events and answers. Nothing else is decided until
it is over. Who leaves the queue meanwhile is left out; what changes what the attempt rests on lets it begin again, in one stretch then. Preempting
is always one stretch: it takes others off their nodes to see what would fit.

A bind that fails for good leaves the gang short. Its pod is tried again with whoever else waits, near its peers. A gang that has stayed *half bound* for its
timeout is let go: its bound members are deleted, so that they do not hold what another gang waits for, and the group begins anew when their
controller has made them again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from .core import Core
from .gangpreemption import preempt_gang, units_below
from .gangs import GangSpec, Meanwhile, plan, shortage
from .nominations import Nominations
from .pieces import Pieces, finish, in_pieces
from .podgroups import GangTable, GroupKey
from .queue import PendingPod, SchedulingQueue
from .requests import CPU

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
        self._gaps: dict[GroupKey, tuple[int, str]] = {}
        """What the cluster lacks for a gang, by the columns' sequence."""
        self._half_bound: dict[GroupKey, float] = {}
        """Gangs of which a bind failed for good, and until when they may stay so."""
        self._meanwhile = Meanwhile()
        self._trying: dict[str, PendingPod] = {}
        """Members that the attempt under way has taken from the queue and has not settled."""

    def attempt(
        self, pod: PendingPod, key: GroupKey, alone: Callable[[PendingPod], None], began: float
    ) -> Pieces[None] | bool:
        """Try all waiting members of a group together: the work is returned, or True when there is none. False: its pods go one by one, each by `alone`."""
        gangs, scheduler = self._gangs, self._scheduler
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
        if spec.min_resources and (gap := self._gap(key, spec)):
            scheduler.park(pod, gap, silent=gangs.first(key) is not pod)
            return True
        return self._attempt(pod, key, spec, alone, began)

    def _gap(self, key: GroupKey, spec: GangSpec) -> str:
        """What the cluster lacks of what a gang asks of it as a whole; looked for once until something changes, however many members ask."""
        sequence = self._core.columns.sequence
        known = self._gaps.get(key)
        if known is None or known[0] != sequence:
            missing = shortage(self._core, spec, self._gangs.peers(key))
            told = ", ".join(f"{name}: {amount}{'m' * (name == CPU)}" for name, amount in missing.items())
            if len(self._gaps) >= MAX_HOPELESS:
                self._gaps.clear()
            known = self._gaps[key] = sequence, f"resource gap: {told}" if told else ""
        return known[1]

    def left(self, uid: str) -> None:
        """A pod has left the queue: an attempt under way goes on without it."""
        if uid in self._trying:
            self._meanwhile.gone.add(uid)

    def disturb(self, uid: str | None = None) -> None:
        """What an attempt under way rests on has changed: what this member is or where; without a uid, what all are."""
        if uid is None or uid in self._trying:
            self._meanwhile.anew = True

    def _attempt(
        self,
        pod: PendingPod,
        key: GroupKey,
        spec: GangSpec,
        alone: Callable[[PendingPod], None],
        began: float,
    ) -> Pieces[None]:
        gangs, scheduler = self._gangs, self._scheduler
        meanwhile = self._meanwhile = Meanwhile()
        pods = self._trying = {pod.uid: pod}
        reserved: dict[str, str] = {}
        try:
            for part in in_pieces(gangs.members(key)):
                for other in part:
                    if other is not pod and self._queue.take(other):
                        pods[other.uid] = other
                yield
            for part in in_pieces(tuple(pods.values())):
                for member in part:
                    held = self._nominations.release(member.uid)
                    if held is not None:
                        reserved[member.uid] = held
                yield
            placed, needed, peers = yield from self._plan(key, spec, pods, meanwhile)
            if meanwhile.anew:
                placed, needed, peers = finish(self._plan(key, spec, pods, Meanwhile(meanwhile.gone)))
            for freed in reserved.values():
                scheduler.gain(freed)  # what was reserved is free for others now, unless it was taken
            for decided in in_pieces(placed):
                for chosen, node in decided:
                    del pods[chosen.uid]
                    if chosen.uid not in meanwhile.gone:
                        gangs.place(chosen.uid)
                        scheduler.placed(chosen, node, began)
                yield
            if placed:
                self._hopeless.pop(key, None)
                gangs.expect(key, (), 0.0)
                gangs.report(
                    key, scheduled=True, message="All required pods have been successfully scheduled"
                )
            if (placed or needed <= 0) and spec.required_key is None:
                for part in in_pieces(tuple(pods.values())):
                    for member in part:
                        if member.uid in meanwhile.gone:
                            continue
                        if member.uid in reserved:
                            self._nominations.reserve(member, reserved[member.uid])
                        alone(member)
                    yield
            elif pods:
                yield from self._fail(key, pods, spec, needed, peers, began, meanwhile.gone)
        finally:
            self._trying = {}

    def _plan(
        self, key: GroupKey, spec: GangSpec, pods: dict[str, PendingPod], meanwhile: Meanwhile
    ) -> Pieces[tuple[list[tuple[PendingPod, str]], int, list[str]]]:
        """Where members go; how many had to be placed, and where others of the gang are."""
        gangs, core = self._gangs, self._core
        for part in in_pieces(tuple(pods.values())):
            anew = meanwhile.anew
            for member in part:
                if member.uid in meanwhile.gone:
                    pods.pop(member.uid, None)
                else:
                    self._scheduler.resolve_class(member)
            meanwhile.anew = anew  # what resolving a class changes of others is no news
            yield
        needed = spec.min_count - gangs.placed(key)
        peers = [node for uid in gangs.peers(key) if (node := core.node_of(uid)) is not None]
        placed = yield from plan(core, tuple(pods.values()), spec, needed, peers, meanwhile)
        return placed, needed, peers

    def _fail(
        self,
        key: GroupKey,
        pods: dict[str, PendingPod],
        spec: GangSpec,
        needed: int,
        peers: list[str],
        began: float,
        gone: Collection[str],
    ) -> Pieces[None]:
        """Members found no place: preempt for them, or say why they wait."""
        gangs, scheduler = self._gangs, self._scheduler
        members = [member for member in pods.values() if member.uid not in gone]
        if not members:
            return
        why = (
            f"pod group is unschedulable: at least {max(needed, 1)} more of its pods must be placed together"
        )
        nodes = self._preempt(key, members, spec, needed, peers) if needed > 0 else {}
        first = members[0]
        scheduler.attempted(first, began)
        message = f"{why}, {len(members)} wait: {scheduler.reports.explain(first.cls, '')}"
        if needed > 0:
            gangs.report(key, scheduled=False, message=message)
        for part in in_pieces(members):
            for member in part:
                if member.uid not in gone:
                    # in words that stay the same for all but one: 100,000 members are 100,000 events and patches
                    scheduler.park(member, message if member is first else why, nodes.get(member.uid))
            yield
        if nodes and not gangs.expects(key, scheduler.now()):
            scheduler.wake_pod(first)  # only reservations had to go

    def _preempt(
        self,
        key: GroupKey,
        members: list[PendingPod],
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
        self._nominations.attempt_together(members[0], placements, victims)
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
