"""Preemption by a gang: which pods must go, anywhere in the cluster, so that all of its members find a place. Decisions only.

The rules are those of workload-aware preemption (KEP-5710). The gang is one preemptor with one priority, the cluster is one domain, and what goes are
*units*: single pods, or all pods of a group whose disruptionMode is PodGroup. A unit's priority is its group's where that has one. The less important
go first: those of lower priority; single pods before groups; smaller groups before larger ones; those that started later. Units whose loss would violate
a disruption budget go last.

    units, least important first   u1 u2 u3 u4 u5 u6
    the gang fits without          u1 u2 u3 u4              found by bisection
    not in its way where they are  u2, u3                   put back, the most important first
    victims                        u1 u4

Costs: 1 µs a placed pod for the units, then 10 ms a bisection step at 100,000 nodes and 2 µs a pod that is taken off or put back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .core import Core
from .gangs import GangSpec, M, Member, Placements, plan_gang, possible
from .preemption import NEVER_STARTED, Budget, Victim, violating
from .requests import PODS

__all__ = ["Unit", "preempt_gang", "units_below"]


@dataclass(slots=True)
class Unit:
    """Pods that go together."""

    priority: int
    whole_group: bool
    victims: list[Victim]

    def importance(self) -> tuple[int, bool, int, str]:
        """Sorts more important units first."""
        started = min(victim.started or NEVER_STARTED for victim in self.victims)
        return -self.priority, not self.whole_group, -len(self.victims), started


def units_below(
    core: Core,
    priority: int,
    group_of: Mapping[str, tuple[str, str]],
    spec_of: Callable[[tuple[str, str]], GangSpec | None],
) -> list[Unit]:
    """What may go for a gang of this priority."""
    groups: dict[tuple[str, str], Unit] = {}
    found: list[Unit] = []
    for uid, victim in core.victims():
        key = group_of.get(uid)
        spec = None if key is None else spec_of(key)
        own = victim.cls.priority if spec is None or spec.priority is None else spec.priority
        if own >= priority:
            continue
        if spec is None or key is None or not spec.disrupted_whole:
            found.append(Unit(own, False, [victim]))
        elif key in groups:
            groups[key].victims.append(victim)
        else:
            groups[key] = Unit(own, True, [victim])
    return [*found, *groups.values()]


def preempt_gang(
    core: Core,
    members: Sequence[M],
    spec: GangSpec,
    needed: int,
    units: Sequence[Unit],
    budgets: Sequence[Budget],
    peers: Sequence[str] = (),
) -> tuple[Placements[M], list[Victim]] | None:
    """Where the members would be placed, and who must go for it; None when nothing helps. Nothing is changed in the end."""
    ordered = sorted(units, key=Unit.importance)
    bad = violating([victim for unit in ordered for victim in unit.victims], budgets)
    ordered.sort(key=lambda unit: not any(victim.uid in bad for victim in unit.victims))
    ordered.reverse()  # the least important first
    gone = 0

    def take_off(count: int) -> None:
        """Without the first `count` units, and with the others."""
        nonlocal gone
        for unit in ordered[gone:count]:
            for victim in unit.victims:
                core.count_again(victim.uid, -1)
        for unit in ordered[count:gone]:
            for victim in unit.victims:
                core.count_again(victim.uid, 1)
        gone = count

    low, high = 1, len(ordered)
    take_off(high)
    placements: Placements[M] = []
    try:
        if possible(core, members) < max(1, needed):
            return None
        while low < high:
            middle = (low + high) // 2
            take_off(middle)
            if possible(core, members) >= max(1, needed):
                high = middle
            else:
                low = middle + 1
        while True:  # what has room may still be refused by other pods' wishes, or by the required topology
            take_off(high)
            placements = plan_gang(core, members, spec, needed, peers)
            if placements or high == len(ordered):
                break
            high = min(len(ordered), 2 * high)
        if not placements:
            return None
        victims = [
            victim for unit in _still_in_the_way(core, ordered[:gone], placements) for victim in unit.victims
        ]
        return (placements, victims) if victims else None
    finally:
        for member, _ in placements:
            core.remove(member.uid)
        take_off(0)


def _still_in_the_way(
    core: Core, units: Sequence[Unit], placements: Sequence[tuple[Member, str]]
) -> list[Unit]:
    """Those that cannot stay where they are beside the gang, the most important tried first. Counts are as before in the end."""
    if any(
        m.cls.wanted_ports or (m.cls.interpod is not None and m.cls.interpod.filters) for m, _ in placements
    ):
        return list(units)  # whose company the members mind cannot be told from room alone
    stay: list[Unit] = []
    go: list[Unit] = []
    for unit in reversed(units):
        counted: list[Victim] = []
        for victim in unit.victims:
            if not _has_room(core, victim):
                break
            core.count_again(victim.uid, 1)
            counted.append(victim)
        if len(counted) == len(unit.victims):
            stay.append(unit)
        else:
            for victim in counted:
                core.count_again(victim.uid, -1)
            go.append(unit)
    for unit in stay:
        for victim in unit.victims:
            core.count_again(victim.uid, -1)
    return go


def _has_room(core: Core, victim: Victim) -> bool:
    row = core.columns.row_of.get(core.node_of(victim.uid) or "")
    if row is None:
        return True
    resources = core.columns.resources
    return all(
        resources[name].allocatable_cells[row] - resources[name].requested_cells[row] >= amount
        for name, amount in ((PODS, 1), *victim.cls.demands)
    )
