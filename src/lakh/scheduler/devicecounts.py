"""How many devices of a class each node reaches, and how many of these are in use: what NodeResourcesFit and NodeResourcesBalancedAllocation score an
extended resource by that devices stand behind.

One pair of columns a class, made when a profile first scores it, then kept up to date row by row. Taints do not matter here. Upstream's
plugins/noderesources/resource_allocation.go, calculateDRAResourceTotals (v1.36).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .allocator import Match
from .columns import NodeColumns, ResourceColumn
from .deviceviews import DeviceToleration

if TYPE_CHECKING:
    from .dynamicresources import DynamicResources

__all__ = ["DeviceCounts"]

EVERYTHING = (DeviceToleration(operator="Exists"),)


class DeviceCounts:
    """See the module."""

    def __init__(self, index: DynamicResources, columns: NodeColumns) -> None:
        self._index = index
        self._columns = columns
        self._of: dict[str, ResourceColumn] = {}
        self._matches: dict[str, Match] = {}
        self._known: dict[tuple[str, int], tuple[int, int]] = {}
        """Class and state → devices, and those in use."""
        self._seen = -1

    def __repr__(self) -> str:
        return f"DeviceCounts({sorted(self._of)})"

    def of(self, name: str) -> ResourceColumn:
        """The columns of a device class. They are good as long as the index's version and the columns' epoch stay."""
        if self._seen != self._index.version:
            self._of.clear()
            self._known.clear()
            self._seen = self._index.version
        column = self._of.get(name)
        if column is None:
            found = self._index.classes.get(name)
            expressions = tuple(
                s.cel.expression
                for s in (found.spec.selectors or () if found is not None else ())
                if s.cel is not None
            )
            self._matches[name] = Match(expressions, EVERYTHING)
            column = self._of[name] = ResourceColumn(self._columns.capacity)
            states = self._index.states_of(np.arange(self._columns.capacity, dtype=np.intp))
            values, inverse = np.unique(states, return_inverse=True)
            counts = np.array([self._count(name, state) for state in values.tolist()], np.int64)
            column.allocatable[:] = counts[inverse, 0]
            column.requested[:] = counts[inverse, 1]
        return column

    def changed(self, row: int, state: int) -> None:
        """The devices of a row, or their use, have changed."""
        for name, column in tuple(self._of.items()):
            if row >= len(column.allocatable):
                self._of.clear()  # a new epoch: whoever reads these asks again
                return
            column.allocatable_cells[row], column.requested_cells[row] = self._count(name, state)

    def _count(self, name: str, state: int) -> tuple[int, int]:
        known = self._known.get((name, state))
        if known is None:
            bench, _ = self._index.bench(state)
            all_, used = 0, 0
            for number, shape in enumerate(bench.shapes):
                mask = shape.matching(self._matches[name])
                if bench.closed:
                    mask &= ~bench.closed[number]
                all_ += mask.bit_count()
                used += (mask & bench.used[number]).bit_count()
                used += sum(mask >> device & 1 for device, _ in bench.shares[number]) if bench.shares else 0
            known = self._known[name, state] = all_, used
        return known
