"""Why a class fits nowhere, in kube-scheduler's words.

A node counts for the first filter that refuses it, in the default profile's order; NodeResourcesFit names everything that is missing.
The histogram is sorted as text, like upstream's. A refusal is *unresolvable* when removing pods from the node would not help; for the others
preemption has looked for victims, and its part of the message says what was still in the way without them.

A diagnosis costs one pass over all nodes (about 2 ms at 100,000); callers keep it.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from . import domains, plugins
from .columns import NodeColumns
from .extendedresources import ResourceFit
from .podclass import PodClass
from .preemption import Levels
from .requests import PODS

__all__ = ["NO_CLAIMS", "NO_NODES", "explain"]

NO_NODES = "no nodes available to schedule pods"
NO_CLAIMS = "no new claims to deallocate"
STILL_NOT = "still not schedulable"
"""What DynamicResources says when it had claims to look at, and none of them was to be deallocated."""
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"
INTERPOD_REASONS = {
    domains.NO_LABEL: (
        "node(s) didn't match pod topology spread constraints (missing required label)",
        False,
    ),
    domains.SKEW: ("node(s) didn't match pod topology spread constraints", True),
    domains.AFFINITY: ("node(s) didn't match pod affinity rules", False),
    domains.ANTI_AFFINITY: ("node(s) didn't match pod anti-affinity rules", True),
    domains.EXISTING: ("node(s) didn't satisfy existing pods anti-affinity rules", True),
}
NEVER = "not eligible due to preemptionPolicy=Never."


def explain(
    columns: NodeColumns,
    cls: PodClass,
    levels: Levels | None,
    *,
    tail: str | None = None,
    claims: str | None = None,
) -> str:
    """The FailedScheduling message for a class that fits nowhere.

    `levels` are there when preemption has been tried in vain. `tail` is said instead of what came of that, `claims` of what
    DynamicResources did about claims.
    """
    total = len(columns)
    if not total:
        return NO_NODES
    if cls.problem is not None:
        return _message(total, f"{cls.problem}.", cls, Counter({NOT_HELPFUL: total}), tail, claims)
    reasons: Counter[str] = Counter()
    if cls.pinned_nodes is None:
        rows = np.flatnonzero(columns.alive)
    else:
        rows = np.array(sorted(columns.row_of[n] for n in cls.pinned_nodes if n in columns.row_of), np.intp)
        reasons["node(s) didn't satisfy plugin(s) [NodeAffinity]"] = total - len(rows)
    unresolvable = total - len(rows)
    filters = cls.profile.filters
    in_vain = _InVain(columns, cls, levels)
    for ok, reason, resolvable in (
        (plugins.schedulable, "node(s) were unschedulable", False),
        (plugins.taints_ok, "node(s) had untolerated taint(s)", False),
        (plugins.enforced_ok, "node(s) didn't match scheduler-enforced node affinity", False),
        (plugins.affinity_ok, "node(s) didn't match Pod's node affinity/selector", False),
        (plugins.ports_free, "node(s) didn't have free ports for the requested pod ports", True),
    ):
        if ENABLED_BY.get(ok, "") not in filters:
            continue
        passed = ok(columns, cls, rows)
        refused = len(rows) - int(np.count_nonzero(passed))
        reasons[reason] += refused
        if resolvable:
            in_vain.add(rows[~passed], reason)
        else:
            unresolvable += refused
        rows = rows[passed]
    never = np.zeros(len(rows), np.bool_)
    for name, amount in cls.needs:
        column = columns.resources.get(name)
        if column is None:
            reasons[words(name)] += len(rows)
            never[:] = True
            continue
        allocatable = column.allocatable[rows]
        reasons[words(name)] += int(np.count_nonzero(amount > allocatable - column.requested[rows]))
        if name != PODS:
            never |= amount > allocatable
    fits = plugins.fits(columns, cls, rows)
    for fit in in_vain.fits:
        for subset, reason, _ in fit.refusals(rows):
            reasons[reason] += len(subset)
        never |= ~fit.may_pass(rows)
        fits &= fit.passes(rows)
    unresolvable += int(np.count_nonzero(never))
    in_vain.add(rows[~fits & ~never], None)
    rows = rows[fits]
    rows, refused = _constraints(cls, rows, reasons, in_vain, late=False)
    unresolvable += refused
    if cls.interpod is not None and cls.interpod.filters:
        state = domains.InterPodState(columns, cls)
        verdicts = state.verdicts(lambda counts: counts.of_rows(rows), len(rows))
        for code, (reason, resolvable) in INTERPOD_REASONS.items():
            refused = int(np.count_nonzero(verdicts == code))
            reasons[reason] += refused
            if resolvable:
                in_vain.add(rows[verdicts == code], reason)
            else:
                unresolvable += refused
        rows = rows[verdicts == 0]
    unresolvable += _constraints(cls, rows, reasons, in_vain, late=True)[1]
    in_vain.counts[NOT_HELPFUL] += unresolvable
    return _message(total, _histogram(reasons), cls, in_vain.counts, tail, claims)


def _constraints(
    cls: PodClass, rows: plugins.Rows, reasons: Counter[str], in_vain: _InVain, *, late: bool
) -> tuple[plugins.Rows, int]:
    """What the pod's claims refuse. Returns the rows that pass, and how many were refused for good."""
    lost = 0
    for constraint in cls.constraints:
        if constraint.late is not late or not len(rows):
            continue
        passed = constraint.passes(rows)
        refused = rows[~passed]
        rows = rows[passed]
        for_good = len(refused)
        for subset, reason, resolvable in constraint.refusals(refused):
            reasons[reason] += len(subset)
            if resolvable:
                in_vain.add(subset, reason)
                for_good -= len(subset)
        lost += for_good
    return rows, lost


ENABLED_BY = {
    plugins.schedulable: "NodeUnschedulable",
    plugins.taints_ok: "TaintToleration",
    plugins.enforced_ok: "NodeAffinity",
    plugins.affinity_ok: "NodeAffinity",
    plugins.ports_free: "NodePorts",
}
"""The plugin that a filter belongs to."""


def words(resource: str) -> str:
    """What NodeResourcesFit says when there is too little of a resource."""
    return "Too many pods" if resource == PODS else f"Insufficient {resource}"


class _InVain:
    """Why preemption does not help on nodes where removing pods might have."""

    def __init__(self, columns: NodeColumns, cls: PodClass, levels: Levels | None) -> None:
        self.counts: Counter[str] = Counter()
        self._columns = columns
        self._cls = cls
        self._levels = levels
        self._below = [] if levels is None else levels.below(cls.priority)
        self.fits = [fit for fit in cls.constraints if isinstance(fit, ResourceFit)]

    def add(self, rows: plugins.Rows, reason: str | None) -> None:
        """Nodes that refused the pod for `reason`, or for lack of resources."""
        victims = self._freed(PODS, rows)
        self.counts[NO_VICTIMS] += int(np.count_nonzero(victims == 0))
        rows = rows[victims > 0]
        short = np.zeros(len(rows), np.bool_)
        for name, amount in self._cls.needs:
            column = self._columns.resources.get(name)
            if column is None:
                continue
            left = column.allocatable[rows] - column.requested[rows] + self._freed(name, rows)
            self.counts[words(name)] += int(np.count_nonzero(amount > left))
            short |= amount > left
        for fit in self.fits:
            for name, amount in fit.wanted:
                less = amount > fit.left(name, rows) + self._freed(name, rows)
                self.counts[words(name)] += int(np.count_nonzero(less))
                short |= less
        if reason is not None:
            self.counts[reason] += int(np.count_nonzero(~short))

    def _freed(self, name: str, rows: plugins.Rows) -> plugins.Ints:
        total = np.zeros(len(rows), np.int64)
        for level in self._below:
            assert self._levels is not None
            total += self._levels.freed(level, name, rows)
        return total


def _message(
    total: int, why: str, cls: PodClass, in_vain: Counter[str], tail: str | None, claims: str | None
) -> str:
    if tail is not None:
        return f"0/{total} nodes are available: {why}{tail}"
    said = []
    if cls.profile.deallocates:
        late = any(constraint.late for constraint in cls.constraints)
        said.append(claims or (STILL_NOT if late else NO_CLAIMS))
    if cls.profile.preempts:
        vain = NEVER if cls.never_preempts else f"0/{total} nodes are available: {_histogram(in_vain)}"
        said.append(f"preemption: {vain}")
    return " ".join((f"0/{total} nodes are available: {why}", *([", ".join(said)] if said else [])))


def _histogram(counts: Counter[str]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items() if count)) + "."
