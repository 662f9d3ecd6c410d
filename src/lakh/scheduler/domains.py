"""PodTopologySpread and InterPodAffinity over columns: pods counted by topology domain.

`DomainCounts` counts the pods of some selections or carriers in each domain of one topology key, for one class. A domain is a value of the
label, as the small integer that the label's column has for it; 0 is a node without the label.

    zone of row      1  1  2  2  0            selection.rows  {0: 2, 3: 1, 4: 7}
    counts           [0, 2, 1]                row 4 is in no zone

When pods come or go on a row, one domain changes. `InterPodState` has all counts of a class and answers for a set of rows or of groups of
equal rows (it is told how to read a count for them): which are refused, and the raw scores.

Building costs 3 ms a count at 100,000 nodes, a change 1 µs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import plugins
from .columns import NodeColumns
from .interpod import HOSTNAME, InterPod, RowCounts, Spread
from .podclass import PodClass

__all__ = [
    "AFFINITY",
    "ANTI_AFFINITY",
    "EXISTING",
    "MISSING",
    "NO_LABEL",
    "SKEW",
    "DomainCounts",
    "InterPodState",
]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]

MISSING = -(1 << 40)
"""The count of a node without the label."""

NO_LABEL, SKEW, AFFINITY, ANTI_AFFINITY, EXISTING = 1, 2, 3, 4, 5
"""Verdicts of `InterPodState.verdicts`; 0 is feasible."""

Sources = list[tuple[RowCounts, int]]


class DomainCounts:
    """Pods by domain of one topology key."""

    def __init__(
        self,
        columns: NodeColumns,
        key: str,
        sources: Sources,
        *,
        eligible: Bools | None = None,
        by_node: bool = False,
        minimum: bool = False,
    ) -> None:
        column = columns.label(key)
        self.key = key
        self.by_node = by_node
        """Each node with the label is a domain of its own: how hostname constraints are scored."""
        self.ids: npt.NDArray[np.int32] = column.ids
        size = len(column.values)
        if by_node:
            self.ids = np.where(self.ids > 0, np.arange(1, len(self.ids) + 1, dtype=np.int32), 0).astype(
                np.int32
            )
            size = len(self.ids) + 1
        self.counts: Ints = np.zeros(size, np.int64)
        self.total = 0
        self.size = size
        self._eligible = eligible
        self._sources = sources
        self._seen = [dict(rows) for rows, _ in sources]
        for rows, weight in sources:
            at = np.fromiter(rows.keys(), np.intp, len(rows))
            amount = np.fromiter(rows.values(), np.int64, len(rows)) * weight
            if eligible is not None:
                kept = eligible[at]
                at, amount = at[kept], amount[kept]
            np.add.at(self.counts, self.ids[at], amount)
        self.counts[0] = 0
        self.total = int(self.counts.sum())
        self._domains: npt.NDArray[np.int32] | None = None
        self.lowest = 0
        self._at_lowest = 0
        if minimum:
            found = np.unique(self.ids[columns.alive if eligible is None else eligible])
            self._domains = found[found > 0]
            self._known = np.zeros(size, np.bool_)
            self._known[self._domains] = True
            self._find_lowest()

    @property
    def domains(self) -> int:
        """How many domains there are: only where a minimum is kept."""
        return 0 if self._domains is None else len(self._domains)

    def _find_lowest(self) -> None:
        assert self._domains is not None
        if len(self._domains):
            values = self.counts[self._domains]
            self.lowest = int(values.min())
            self._at_lowest = int(np.count_nonzero(values == self.lowest))

    def update(self, row: int) -> int:
        """Take over what changed on a row. Returns the domain whose count changed, or 0."""
        delta = 0
        for (rows, weight), seen in zip(self._sources, self._seen, strict=True):
            new, old = rows.get(row, 0), seen.get(row, 0)
            if new != old:
                delta += (new - old) * weight
                if new:
                    seen[row] = new
                else:
                    del seen[row]
        if not delta:
            return 0
        domain = int(self.ids[row])
        if not domain or (self._eligible is not None and not self._eligible[row]):
            return 0
        old = int(self.counts[domain])
        new = old + delta
        self.counts[domain] = new
        self.total += delta
        if self._domains is not None and self._known[domain]:
            if new < self.lowest:
                self.lowest, self._at_lowest = new, 1
            elif old == self.lowest:
                self._at_lowest -= 1
                if not self._at_lowest:
                    self._find_lowest()
            elif new == self.lowest:
                self._at_lowest += 1
        return domain

    def of_rows(self, rows: Rows) -> Ints:
        """The counts of the rows' domains; MISSING without the label."""
        ids = self.ids[rows]
        return np.where(ids > 0, self.counts[ids], MISSING)


Read = Callable[[DomainCounts], Ints]


@dataclass(slots=True)
class _Spread:
    constraint: Spread
    counts: DomainCounts


class InterPodState:
    """All counts that matter to a class."""

    def __init__(self, columns: NodeColumns, cls: PodClass) -> None:
        interpod = cls.interpod
        assert interpod is not None
        self._interpod: InterPod = interpod
        rows = np.arange(columns.capacity)
        self._affinity_ok = plugins.affinity_ok(columns, cls, rows) & columns.alive
        self._columns, self._cls = columns, cls
        self.hard = self._spreads(interpod.hard, require_all=True, minimum=True)
        self.soft = self._spreads(interpod.soft, require_all=interpod.require_all, minimum=False)
        affinity = interpod.affinity
        self.affinity = [
            DomainCounts(columns, key, [(affinity.rows, 1)])
            for key in interpod.affinity_keys
            if affinity is not None
        ]
        self.anti = [DomainCounts(columns, key, [(s.rows, 1)]) for key, s in interpod.anti]
        existing: dict[str, Sources] = {}
        for carrier in interpod.existing_anti:
            existing.setdefault(carrier.topology_key, []).append((carrier.rows, 1))
        self.existing = [DomainCounts(columns, key, sources) for key, sources in existing.items()]
        scores: dict[str, Sources] = {}
        for key, selection, weight in interpod.scores:
            scores.setdefault(key, []).append((selection.rows, weight))
        for carrier, weight in interpod.existing_scores:
            scores.setdefault(carrier.topology_key, []).append((carrier.rows, weight))
        self.scores = [DomainCounts(columns, key, sources) for key, sources in scores.items()]
        self.all = [
            *(s.counts for s in (*self.hard, *self.soft)),
            *self.affinity,
            *self.anti,
            *self.existing,
            *self.scores,
        ]

    def _spreads(self, constraints: tuple[Spread, ...], *, require_all: bool, minimum: bool) -> list[_Spread]:
        columns, cls = self._columns, self._cls
        labelled = columns.alive.copy()
        if require_all:
            for constraint in constraints:
                labelled &= columns.label(constraint.key).ids > 0
        found = []
        for constraint in constraints:
            eligible = labelled.copy()
            by_node = not minimum and constraint.key == HOSTNAME
            if not by_node:
                if constraint.honor_affinity:
                    eligible &= self._affinity_ok
                if constraint.honor_taints:
                    eligible &= plugins.taints_ok(columns, cls, np.arange(columns.capacity))
            counts = DomainCounts(
                columns,
                constraint.key,
                [(constraint.selection.rows, 1)],
                eligible=None if by_node else eligible,
                by_node=by_node,
                minimum=minimum,
            )
            found.append(_Spread(constraint, counts))
        return found

    def verdicts(self, read: Read, size: int) -> npt.NDArray[np.int8]:
        """Which of `size` rows or groups are refused, and by what."""
        verdict = np.zeros(size, np.int8)

        def refuse(which: Bools, code: int) -> None:
            verdict[which & (verdict == 0)] = code

        for spread in self.hard:
            constraint, counts = spread.constraint, spread.counts
            values = read(counts)
            refuse(values == MISSING, NO_LABEL)
            lowest = counts.lowest if counts.domains >= max(1, constraint.min_domains) else 0
            refuse(values + constraint.self_match - lowest > constraint.max_skew, SKEW)
        if self.affinity:
            found = np.ones(size, np.bool_)
            labelled = np.ones(size, np.bool_)
            for counts in self.affinity:
                values = read(counts)
                labelled &= values != MISSING
                found &= values > 0
            first = self._interpod.affinity_self and not any(counts.total for counts in self.affinity)
            refuse(~labelled if first else ~found, AFFINITY)
        for counts in self.anti:
            refuse(read(counts) > 0, ANTI_AFFINITY)
        for counts in self.existing:
            refuse(read(counts) > 0, EXISTING)
        return verdict

    def spread_raw(self, read: Read, sizes: list[int]) -> tuple[Ints, Bools]:
        """PodTopologySpread before normalising, and which are scored at all. `sizes`: the number of domains of each constraint."""
        raw: npt.NDArray[np.float64] | None = None
        for spread, size in zip(self.soft, sizes, strict=True):
            values = read(spread.counts)
            weight = math.log(size + 2)
            part = np.where(values == MISSING, 0.0, values * weight + (spread.constraint.max_skew - 1))
            raw = part if raw is None else raw + part
        assert raw is not None
        return np.floor(raw + 0.5).astype(np.int64), self.scored(read, len(raw))

    def scored(self, read: Read, size: int) -> Bools:
        """Which have the labels that soft constraints require."""
        scored = np.ones(size, np.bool_)
        if self._interpod.require_all:
            for spread in self.soft:
                scored &= read(spread.counts) != MISSING
        return scored

    def affinity_scores(self, read: Read, size: int) -> Ints:
        """InterPodAffinity before normalising."""
        total = np.zeros(size, np.int64)
        for counts in self.scores:
            values = read(counts)
            total += np.where(values == MISSING, 0, values)
        return total


def normalised_spread(raw: Ints, scored: Bools) -> Ints:
    """PodTopologySpread's scores from 0 to 100: fewer pods are better."""
    result = np.zeros(len(raw), np.int64)
    if scored.any():
        values = raw[scored]
        lowest, highest = int(values.min()), int(values.max())
        result[scored] = 100 if not highest else 100 * (highest + lowest - values) // highest
    return result


def normalised_affinity(raw: Ints) -> Ints:
    """InterPodAffinity's scores from 0 to 100."""
    lowest, highest = int(raw.min()), int(raw.max())
    if highest == lowest:
        return np.zeros(len(raw), np.int64)
    scores: Ints = (100.0 * ((raw - lowest) / float(highest - lowest))).astype(np.int64)
    return scores
