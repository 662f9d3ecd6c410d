"""NodeResourcesFit's and NodeResourcesBalancedAllocation's scores for any strategy, resources and weights.

`plugins` has the short way for the default ones. Here are the general formulas, twice: over columns, and for one row in plain Python. A resource counts
where the node has some of it. Formulas: upstream's plugins/noderesources (v1.36).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .columns import NodeColumns, ResourceColumn
from .podclass import PodClass
from .profile import LEAST_ALLOCATED, MAX_NODE_SCORE, MOST_ALLOCATED
from .requests import CPU, MEMORY

__all__ = ["row_scorer", "scores"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a resource's amounts are: the node's side, the used side, and the devices behind it that count where the node has none of it."""

    room: ResourceColumn
    used: ResourceColumn
    devices: ResourceColumn | None

    def of_rows(self, rows: Rows) -> tuple[Ints, Ints]:
        """What is there, and what is used."""
        room, used = self.room.allocatable[rows], self.used.requested[rows]
        if self.devices is not None:
            none = room <= 0
            room = np.where(none, self.devices.allocatable[rows], room)
            used = np.where(none, self.devices.requested[rows], used)
        return room, used

    def cells(
        self,
    ) -> tuple[memoryview[int], memoryview[int], tuple[memoryview[int], memoryview[int]] | None]:
        """The same for single rows: the node's own cells, and the devices'."""
        devices = self.devices
        return (
            self.room.allocatable_cells,
            self.used.requested_cells,
            None if devices is None else (devices.allocatable_cells, devices.requested_cells),
        )


def _devices(columns: NodeColumns, cls: PodClass, name: str) -> ResourceColumn | None:
    for backed, device_class in cls.backed:
        if backed == name and columns.device_counts is not None:
            return columns.device_counts(device_class)
    return None


def _fit_sources(columns: NodeColumns, cls: PodClass) -> list[tuple[_Source, int, int]]:
    """What NodeResourcesFit scores, what the pod adds, the weight."""
    found = []
    for name, add, weight in cls.fit_terms:
        column = columns.resources.get(name)
        if column is not None:
            used = columns.score[0] if name == CPU else columns.score[1] if name == MEMORY else column
            found.append((_Source(column, used, _devices(columns, cls, name)), add, weight))
    return found


def _balanced_sources(columns: NodeColumns, cls: PodClass) -> list[tuple[_Source, int]]:
    """What NodeResourcesBalancedAllocation compares, and what the pod adds."""
    return [
        (_Source(column, column, _devices(columns, cls, name)), add)
        for name, add in cls.balanced_terms
        if (column := columns.resources.get(name)) is not None
    ]


def scores(columns: NodeColumns, cls: PodClass, rows: Rows) -> Ints:
    """Both plugins' weighted scores of some rows."""
    profile = cls.profile
    return profile.fit_weight * _fit(columns, cls, rows) + profile.balanced_weight * _balanced(
        columns, cls, rows
    )


def _fit(columns: NodeColumns, cls: PodClass, rows: Rows) -> Ints:
    strategy = cls.profile.strategy
    kind = strategy.kind
    total = np.zeros(len(rows), np.int64)
    weights = np.zeros(len(rows), np.int64)
    table = None if kind in (LEAST_ALLOCATED, MOST_ALLOCATED) else np.array(strategy.table(), np.int64)
    for source, add, weight in _fit_sources(columns, cls):
        room, used = source.of_rows(rows)
        there = room > 0
        size = np.where(there, room, 1)
        requested = used + add
        counted = there
        if kind == LEAST_ALLOCATED:
            score = np.maximum(room - requested, 0) * MAX_NODE_SCORE // size
        else:
            share = np.minimum(requested, room) * MAX_NODE_SCORE // size
            if table is None:
                score = share
            else:
                score = table[np.where(there, share, 0)]
                counted = there & (score > 0)
        total += np.where(counted, score * weight, 0)
        weights += counted * weight
    some = np.maximum(weights, 1)
    return total // some if table is None else (2 * total + some) // (2 * some)


def _balanced(columns: NodeColumns, cls: PodClass, rows: Rows) -> Ints:
    if not cls.balanced_terms:
        return np.zeros(len(rows), np.int64)
    before: list[Floats] = []
    after: list[Floats] = []
    there: list[npt.NDArray[np.bool_]] = []
    for source, add in _balanced_sources(columns, cls):
        room, used = source.of_rows(rows)
        has = room > 0
        size = np.where(has, room, 1).astype(np.float64)
        there.append(has)
        before.append(np.where(has, np.minimum(used.astype(np.float64) / size, 1.0), 0.0))
        after.append(np.where(has, np.minimum((used + add).astype(np.float64) / size, 1.0), 0.0))
    half = MAX_NODE_SCORE // 2
    scored: Ints = half + (half + _balance(after, there) - _balance(before, there)) // 2
    return scored


def _balance(fractions: list[Floats], there: list[npt.NDArray[np.bool_]]) -> Ints:
    """100 minus the standard deviation of the used fractions in percent."""
    if not fractions:
        return np.full(1, MAX_NODE_SCORE, np.int64)
    count = np.sum(there, axis=0)
    total = np.zeros(len(count), np.float64)
    for fraction in fractions:
        total = total + fraction
    mean = total / np.maximum(count, 1)
    squares = np.zeros(len(count), np.float64)
    for fraction, has in zip(fractions, there, strict=True):
        squares = squares + np.where(has, (fraction - mean) * (fraction - mean), 0.0)
    deviation = np.where(count > 2, np.sqrt(squares / np.maximum(count, 1)), 0.0)
    # Of two: half their difference, which is exact where the formula above is not. The one that is not there is 0.
    positive: Floats = np.zeros(len(count), np.float64)
    seen = np.zeros(len(count), np.int64)
    for fraction, has in zip(fractions, there, strict=True):
        positive = np.where(has, np.where(seen == 0, fraction, positive - fraction), positive)
        seen = seen + has
    deviation = np.where(count == 2, np.abs(positive / 2), deviation)
    return ((1.0 - deviation) * MAX_NODE_SCORE).astype(np.int64)


def row_scorer(columns: NodeColumns, cls: PodClass) -> Callable[[int], int]:
    """`scores` of one row at a time; good for the columns' epoch."""
    profile = cls.profile
    strategy = profile.strategy
    kind, fit_weight, balanced_weight = strategy.kind, profile.fit_weight, profile.balanced_weight
    fit = [(*source.cells(), add, weight) for source, add, weight in _fit_sources(columns, cls)]
    balanced = [(*source.cells(), add) for source, add in _balanced_sources(columns, cls)]
    table = [] if kind in (LEAST_ALLOCATED, MOST_ALLOCATED) else strategy.table()
    has_opinion = bool(cls.balanced_terms)

    def score(row: int) -> int:
        total = weights = 0
        for allocatable, requested, devices, add, weight in fit:
            room, used = allocatable[row], requested[row] + add
            if room <= 0 and devices is not None:
                room, used = devices[0][row], devices[1][row] + add
            if room > 0:
                if kind == LEAST_ALLOCATED:
                    value = (room - used) * MAX_NODE_SCORE // room if used < room else 0
                else:
                    value = (used if used < room else room) * MAX_NODE_SCORE // room
                    if table:
                        value = table[value]
                        if not value:
                            continue
                total += value * weight
                weights += weight
        if weights:
            total = (2 * total + weights) // (2 * weights) if table else total // weights
        total *= fit_weight
        if has_opinion:
            before, after = [], []
            for allocatable, requested, devices, add in balanced:
                room, used = allocatable[row], requested[row]
                if room <= 0 and devices is not None:
                    room, used = devices[0][row], devices[1][row]
                if room > 0:
                    size = float(room)
                    before.append(min(float(used) / size, 1.0))
                    after.append(min(float(used + add) / size, 1.0))
            half = MAX_NODE_SCORE // 2
            total += balanced_weight * (half + (half + _row_balance(after) - _row_balance(before)) // 2)
        return total

    return score


def _row_balance(fractions: list[float]) -> int:
    if len(fractions) < 2:
        deviation = 0.0
    elif len(fractions) == 2:
        deviation = abs((fractions[0] - fractions[1]) / 2)
    else:
        mean = _sum(fractions) / len(fractions)
        deviation = math.sqrt(_sum([(f - mean) * (f - mean) for f in fractions]) / len(fractions))
    return int((1.0 - deviation) * MAX_NODE_SCORE)


def _sum(values: list[float]) -> float:
    """Added one after the other, as Go does: Python's `sum` compensates for rounding."""
    total = 0.0
    for value in values:
        total += value
    return total
