"""What the resource claims of some pods mean for nodes: the verdict of DynamicResources.

Pods whose claims ask for the same share a demand; `dynamicresources` makes them. A demand is judged once a state of a node's devices.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from . import allocator
from .allocator import Demand, Picked
from .columns import NodeColumns
from .constraints import Needs
from .nodeterms import any_term
from .views import NodeSelectorTerm

if TYPE_CHECKING:
    from .dynamicresources import DynamicResources

__all__ = ["DeviceDemand"]

Rows = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

CANNOT = "cannot allocate all claims"
ELSEWHERE = "resourceclaim not available on the node"


class DeviceDemand:
    """The constraint: claims to allocate, and where claims that are allocated already have their devices."""

    late = True

    def __init__(
        self, index: DynamicResources, columns: NodeColumns, demand: Demand, selectors: tuple[bytes, ...]
    ) -> None:
        self._index = index
        self._columns = columns
        self.demand = demand
        self._selectors = [msgspec.json.decode(s, type=list[NodeSelectorTerm]) for s in selectors]
        self._picked: dict[int, list[Picked] | None] = {}
        self._rooms: dict[int, int] = {}
        self._seen = -1

    def __repr__(self) -> str:
        return f"DeviceDemand({self.demand}, selectors={len(self._selectors)})"

    @property
    def version(self) -> int:
        """Devices of nodes change with their rows; only classes and shared devices count here."""
        return self._index.version

    def picked(self, state: int) -> list[Picked] | None:
        """What the claims get on nodes of a state, or None: found once a state."""
        if self._seen != self._index.version:
            self._picked.clear()
            self._rooms.clear()
            self._seen = self._index.version
        if state in self._picked:
            return self._picked[state]
        found = allocator.allocate(self._index.bench(state)[0], self.demand)
        self._picked[state] = found
        return found

    def passes(self, rows: Rows) -> Bools:
        """Which rows have the devices."""
        ok = self._available(rows)
        if self.demand.claims:
            ok &= self._allocatable(rows)
        return ok

    def _available(self, rows: Rows) -> Bools:
        ok = np.ones(len(rows), np.bool_)
        for terms in self._selectors:
            ok &= any_term(self._columns, terms, rows)
        return ok

    def _allocatable(self, rows: Rows) -> Bools:
        states, inverse = np.unique(self._index.states_of(rows), return_inverse=True)
        verdicts = np.fromiter(
            (self.picked(state) is not None for state in states.tolist()), np.bool_, len(states)
        )
        return verdicts[inverse]

    def row_passes(self, row: int) -> bool:
        """Whether one row has them."""
        index = self._index
        if self._selectors or index.shares:
            return bool(self.passes(np.array([row], np.intp))[0])
        return self.picked(int(index.state[row]) if row < len(index.state) else 0) is not None

    def refusals(self, rows: Rows) -> list[tuple[Rows, str, bool]]:
        """The allocator is asked first, as upstream's filter does."""
        ok = self._allocatable(rows) if self.demand.claims else np.ones(len(rows), np.bool_)
        found = [(rows[~ok], self.error() or CANNOT, True), (rows[ok], ELSEWHERE, True)]
        return [entry for entry in found if len(entry[0])]

    def error(self) -> str | None:
        """What an expression failed with, if one did."""
        for claim in self.demand.claims:
            for want in claim.wants:
                for alternative in want.alternatives:
                    for shape in self._index.shapes.values():
                        error = shape.errors.get(alternative.match)
                        if error is not None:
                            return f"request {alternative.name}: {error}"
        return None

    def may_pass(self, rows: Rows) -> Bools:
        """Pods that go do not give their claims back at once: preemption counts on what is free."""
        return self.passes(rows)

    def room(self, rows: Rows) -> Ints | None:
        """How often the claims can be allocated; once where claims are shared."""
        if not self.demand.claims:
            return None
        states, inverse = np.unique(self._index.states_of(rows), return_inverse=True)
        rooms = np.fromiter((self._room(state) for state in states.tolist()), np.int64, len(states))
        return rooms[inverse]

    def _room(self, state: int) -> int:
        self.picked(state)  # forgets what is outdated
        known = self._rooms.get(state)
        if known is None:
            known = 0
            bench, _ = self._index.bench(state)
            while (found := allocator.allocate(bench, self.demand)) is not None:
                known += 1
                taken = [0] * len(bench.shapes)
                for device in found:
                    if not device.admin:
                        taken[device.pool] |= 1 << device.device
                if not any(taken):
                    known = 1 << 31
                    break
                used = tuple(u | t for u, t in zip(bench.used, taken, strict=True))
                bench = dataclasses.replace(bench, used=used, offsets=[], size=0)
            self._rooms[state] = known
        return known

    def reserve(self, uid: str, needs: Needs, node: str) -> None:
        """Take the devices."""
        if self.demand.claims:
            self._index.reserve(uid, needs, node, self)
