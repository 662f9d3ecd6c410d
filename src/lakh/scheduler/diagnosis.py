"""Why a class fits nowhere, in kube-scheduler's words.

A node counts for the first filter that refuses it, in the default profile's order; NodeResourcesFit names everything that is missing.
The histogram is sorted as text, like upstream's. A refusal is *unresolvable* when removing pods from the node would not help; for the others
preemption would look for victims. There is no preemption yet, so its part of the message is given only where it is true
without having tried: when no refusal is resolvable, or when no placed pod has a lower priority.

A diagnosis costs one pass over all nodes (about 2 ms at 100,000); callers keep it.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from . import domains, plugins
from .columns import NodeColumns
from .podclass import PodClass
from .requests import PODS

__all__ = ["NO_NODES", "explain"]

NO_NODES = "no nodes available to schedule pods"
NO_CLAIMS = "no new claims to deallocate"
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


def explain(columns: NodeColumns, cls: PodClass, *, lower_priority_pods: bool) -> str:
    """The FailedScheduling message for a class that fits nowhere."""
    total = len(columns)
    if not total:
        return NO_NODES
    if cls.problem is not None:
        return _message(
            total, f"{cls.problem}.", cls, unresolvable=total, lower_priority_pods=lower_priority_pods
        )
    reasons: Counter[str] = Counter()
    if cls.pinned_nodes is None:
        rows = np.flatnonzero(columns.alive)
    else:
        rows = np.array(sorted(columns.row_of[n] for n in cls.pinned_nodes if n in columns.row_of), np.intp)
        reasons["node(s) didn't satisfy plugin(s) [NodeAffinity]"] = total - len(rows)
    unresolvable = total - len(rows)
    for ok, reason, resolvable in (
        (plugins.schedulable, "node(s) were unschedulable", False),
        (plugins.taints_ok, "node(s) had untolerated taint(s)", False),
        (plugins.affinity_ok, "node(s) didn't match Pod's node affinity/selector", False),
        (plugins.ports_free, "node(s) didn't have free ports for the requested pod ports", True),
    ):
        passed = ok(columns, cls, rows)
        refused = len(rows) - int(np.count_nonzero(passed))
        reasons[reason] += refused
        unresolvable += 0 if resolvable else refused
        rows = rows[passed]
    never = np.zeros(len(rows), np.bool_)
    pods = columns.resources[PODS]
    reasons["Too many pods"] += int(np.count_nonzero(pods.requested[rows] >= pods.allocatable[rows]))
    for name, amount in cls.demands:
        column = columns.resources.get(name)
        if column is None:
            reasons[f"Insufficient {name}"] += len(rows)
            never[:] = True
            continue
        allocatable = column.allocatable[rows]
        reasons[f"Insufficient {name}"] += int(
            np.count_nonzero(amount > allocatable - column.requested[rows])
        )
        never |= amount > allocatable
    unresolvable += int(np.count_nonzero(never))
    if cls.interpod is not None and cls.interpod.filters:
        state = domains.InterPodState(columns, cls)
        rows = rows[plugins.fits(columns, cls, rows)]
        verdicts = state.verdicts(lambda counts: counts.of_rows(rows), len(rows))
        for code, (reason, resolvable) in INTERPOD_REASONS.items():
            refused = int(np.count_nonzero(verdicts == code))
            reasons[reason] += refused
            unresolvable += 0 if resolvable else refused
    return _message(
        total, _histogram(reasons), cls, unresolvable=unresolvable, lower_priority_pods=lower_priority_pods
    )


def _message(total: int, why: str, cls: PodClass, *, unresolvable: int, lower_priority_pods: bool) -> str:
    head = f"0/{total} nodes are available: {why} {NO_CLAIMS}"
    if cls.never_preempts:
        return f"{head}, preemption: {NEVER}"
    if lower_priority_pods and unresolvable < total:
        return f"{head}."
    counts = Counter({NOT_HELPFUL: unresolvable, NO_VICTIMS: total - unresolvable})
    return f"{head}, preemption: 0/{total} nodes are available: {_histogram(counts)}"


def _histogram(counts: Counter[str]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items() if count)) + "."
