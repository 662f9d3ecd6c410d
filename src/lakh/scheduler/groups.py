"""The candidate order of a class with inter-pod terms: nodes in groups of equals.

A placement changes the score or the feasibility of whole domains, so that one order of all nodes would have to be made anew for each
pod. But all that is normalised over nodes or that other pods decide depends on few things: in which domains a node is, how many pods count
there, its soft taints and preferred labels. Nodes that agree in all of these form a *group*. Inside a group only the resource scores differ,
and these change with the node's own pods only.

    components       zone  pods on node (hostname)      group   nodes, best first
    n0 n2            1     0                       →    0       n2 n0
    n1               1     1                       →    1       n1
    n3 n4            2     0                       →    2       n4 n3

    a pod goes to n2: zone 1 counts one more (a number beside the groups), and n2 moves to the group (1, 1)

A decision judges the groups with NumPy, some dozens usually, and takes the best node of the best group. A label with few values is a component
by its value, so that a placement changes one number; one with many values is a component by the count of its domain, and a placement
moves the domain's nodes.

Inside a group, nodes are kept as `candidates` does: a sorted array from the pass, and a heap of what was evaluated since. An entry
counts while it is its row's key and the row is in the group.

Costs at 100,000 nodes: a pass 60 ms, a decision 60 to 150 µs. A change of a node's own spec makes the next decision begin with a pass.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from . import constraints, plugins
from .candidates import MAX_TURN, NOT_FEASIBLE, ROW_BITS, ROW_MASK, SCORE_SHIFT
from .columns import NodeColumns
from .devicedemand import scored
from .domains import MISSING, DomainCounts, InterPodState, normalised_affinity, normalised_spread
from .images import ImageScores
from .interpod import HOSTNAME
from .podclass import PodClass

__all__ = ["GroupedOrder"]

SMALL_DOMAINS = 512
"""A label with more values is a component by count, not by value."""
MAX_UPDATES = 2_000
"""From so many changed rows on a new pass is cheaper."""
SPARE_GROUPS = 4_096
"""Empty groups that may be left behind before a pass clears them away."""

Rows = npt.NDArray[np.intp]
Ints = npt.NDArray[np.int64]


class GroupedOrder:
    """The candidates of one class, once `build` is at its end. `best()` is the next node."""

    def __init__(self, columns: NodeColumns, cls: PodClass) -> None:
        self._columns = columns
        self._cls = cls
        self.passes = 0

    def __repr__(self) -> str:
        return f"GroupedOrder({self._cls!r}, groups={len(self._heaps)}, passes={self.passes})"

    # Answers

    def best(self) -> int | None:
        """The row of the best feasible node, or None when there is none."""
        self._catch_up()
        found = self._judge()
        if found is None:
            return None
        live, bonus = found
        keys = self._tops[live] - (bonus << SCORE_SHIFT)
        return int(keys[int(keys.argmin())]) & ROW_MASK

    def score(self, row: int) -> int | None:
        """The total score of a feasible row as of the last `best()`, else None."""
        return self._all_scores().get(row)

    def feasible_rows(self) -> list[int]:
        """All feasible rows as of the last `best()`."""
        return list(self._all_scores())

    def _all_scores(self) -> dict[int, int]:
        found = self._judge()
        if found is None:
            return {}
        bonus = dict(zip(found[0].tolist(), found[1].tolist(), strict=True))
        return {
            row: self._highest - (self._cells[row] >> SCORE_SHIFT) + bonus[group]
            for row in np.flatnonzero(self._keys >= 0).tolist()
            if (group := self._group_cells[row]) in bonus
        }

    # A pass

    def _build(self) -> None:
        for _ in self._pass():
            pass

    def build(self) -> Iterator[None]:
        """A pass over all nodes, in pieces as `candidates` has them, but larger ones; in one when a node's own spec changes meanwhile."""
        columns = self._columns
        before = columns.static_changes, columns.epoch
        for _ in self._pass():
            yield
            if before != (columns.static_changes, columns.epoch):
                self._build()
                return

    def _pass(self) -> Iterator[None]:
        columns, cls = self._columns, self._cls
        self.passes += 1
        self._cursor, self._epoch = columns.sequence, columns.epoch
        self._turn = 0
        self._soft_taints = columns.soft_nodes > 0
        self._highest = cls.profile.max_base
        self._row_score = plugins.row_scorer(columns, cls)
        self._images = (
            ImageScores(columns.images, cls.images, columns.capacity, len(columns)) if cls.images else None
        )
        self._demands = [
            (column.allocatable_cells, column.requested_cells, amount)
            for name, amount in cls.needs
            if (column := columns.resources.get(name)) is not None
        ]
        self._impossible = len(self._demands) < len(cls.needs)
        self._version = constraints.versions(cls.constraints)
        self._keys: Ints = np.full(columns.capacity, NOT_FEASIBLE, np.int64)
        self._cells = memoryview(self._keys)  # type: ignore[arg-type]
        self._static = np.zeros(columns.capacity, np.bool_)
        self._static_cells = memoryview(self._static)  # type: ignore[arg-type]
        self._groups: npt.NDArray[np.int32] = np.full(columns.capacity, -1, np.int32)
        self._group_cells = memoryview(self._groups)  # type: ignore[arg-type]
        self._state = InterPodState(columns, cls)
        yield
        rows = np.flatnonzero(columns.alive[: len(self._static)])
        rows = rows[plugins.static_ok(columns, cls, rows)]
        self._static[rows] = True
        self._choose_components()
        yield
        self._form_groups(rows)
        yield
        rows = rows[self._dynamic_ok(rows)]
        keys = (self._highest - plugins.resource_scores(columns, cls, rows)) << SCORE_SHIFT | rows
        self._keys[rows] = keys
        yield
        self._sort(rows, keys)

    def _dynamic_ok(self, rows: Rows) -> npt.NDArray[np.bool_]:
        ok = plugins.fits(self._columns, self._cls, rows)
        if self._cls.wanted_ports:
            ok &= plugins.ports_free(self._columns, self._cls, rows)
        if self._cls.constraints:
            ok[ok] = constraints.passes(self._cls, rows[ok])
        return ok

    def _choose_components(self) -> None:
        """Which component of a group tells each count, and whether it is a value or a count."""
        columns, cls = self._columns, self._cls
        soft = {id(spread.counts) for spread in self._state.soft}
        self._by_value: dict[str, int] = {}
        self._by_count: dict[int, int] = {}
        self._parts: list[npt.NDArray[np.int32] | npt.NDArray[np.int64] | DomainCounts] = []
        for counts in self._state.all:
            few = counts.size <= SMALL_DOMAINS or (id(counts) in soft and counts.key != HOSTNAME)
            if few and not counts.by_node:
                if counts.key not in self._by_value:
                    self._by_value[counts.key] = len(self._parts)
                    self._parts.append(counts.ids)
            else:
                self._by_count[id(counts)] = len(self._parts)
                self._parts.append(counts)
        self._taint_part = self._affinity_part = self._image_part = self._device_part = -1
        everything = np.arange(len(self._static))
        if self._soft_taints:
            self._taint_part = len(self._parts)
            self._parts.append(plugins.taint_raw(columns, cls, everything))
        if cls.preferred_terms:
            self._affinity_part = len(self._parts)
            self._parts.append(plugins.affinity_raw(columns, cls, everything))
        self._scored = scored(cls)
        if self._scored is not None:
            self._device_part = len(self._parts)
            self._device_raw = self._scored.score(everything)
            self._parts.append(self._device_raw)
        if self._images is not None:
            self._image_part = len(self._parts)
            self._parts.append(self._images.masks)
        self._getters = [
            (part.counts, part.ids) if isinstance(part, DomainCounts) else (None, part)
            for part in self._parts
        ]

    def _form_groups(self, rows: Rows) -> None:
        parts = [
            part.of_rows(rows) if isinstance(part, DomainCounts) else part[rows].astype(np.int64)
            for part in self._parts
        ]
        codes = np.zeros(len(rows), np.int64)
        for part in parts:
            values, inverse = np.unique(part, return_inverse=True)
            codes = codes * len(values) + inverse
            if len(values) > 1:
                codes = np.unique(codes, return_inverse=True)[1]
        _, first, groups = np.unique(codes, return_index=True, return_inverse=True)
        count = len(first)
        capacity = max(64, 2 * count)
        self._table: Ints = np.zeros((capacity, len(parts)), np.int64)
        for index, part in enumerate(parts):
            self._table[:count, index] = part[first]
        self._groups[rows] = groups
        self._group_of = {tuple(line): group for group, line in enumerate(self._table[:count].tolist())}
        self._sizes: Ints = np.zeros(capacity, np.int64)
        self._tops: Ints = np.full(capacity, NOT_FEASIBLE, np.int64)
        self._heaps: list[list[int]] = [[] for _ in range(count)]
        self._positions = [0] * count
        self._at_build = count
        self._dirty = set(range(count))

    def _sort(self, rows: Rows, keys: Ints) -> None:
        """Each group's keys, sorted."""
        groups = self._groups[rows]
        order = np.lexsort((keys, groups))
        ordered = keys[order]
        count = len(self._heaps)
        sizes = np.bincount(groups, minlength=count)
        self._sizes[:count] = sizes
        ends = np.cumsum(sizes)
        self._sorted = [
            memoryview(ordered[end - size : end])  # type: ignore[arg-type]
            for end, size in zip(ends.tolist(), sizes.tolist(), strict=True)
        ]

    # Judging groups

    def _judge(self) -> tuple[Rows, Ints] | None:
        """The feasible groups and what is added to their nodes' resource scores."""
        for group in self._dirty:
            self._tops[group] = self._top(group)
        self._dirty.clear()
        state, interpod = self._state, self._cls.interpod
        assert interpod is not None
        live = np.flatnonzero(self._sizes[: len(self._heaps)] > 0)
        if len(live) and interpod.filters:
            live = live[state.verdicts(self._reader(live), len(live)) == 0]
        if not len(live):
            return None
        table = self._table[live]
        bonus = np.zeros(len(live), np.int64)
        profile = self._cls.profile
        if self._taint_part >= 0:
            raw = table[:, self._taint_part]
            most = int(raw.max())
            bonus += profile.taint_weight * (100 - (100 * raw // most if most else 0))
        else:
            bonus += profile.taint_weight * plugins.MAX_NODE_SCORE
        if self._affinity_part >= 0:
            raw = table[:, self._affinity_part]
            most = int(raw.max())
            if most:
                bonus += profile.affinity_weight * (100 * raw // most)
        if self._device_part >= 0:
            raw = table[:, self._device_part]
            most = int(raw.max())
            if most:
                bonus += profile.device_weight * (100 * raw // most)
        if self._images is not None:
            bonus += profile.image_weight * self._images.of_masks(table[:, self._image_part])
        read = self._reader(live)
        if state.soft:
            scored = state.scored(read, len(live))
            sizes = [self._domains(spread.counts, table[scored], live[scored]) for spread in state.soft]
            bonus += profile.spread_weight * normalised_spread(*state.spread_raw(read, sizes))
        if state.scores:
            bonus += profile.interpod_weight * normalised_affinity(state.affinity_scores(read, len(live)))
        return live, bonus

    def _reader(self, live: Rows) -> _Reader:
        return _Reader(self._table[live], self._by_value, self._by_count)

    def _domains(self, counts: DomainCounts, table: Ints, live: Rows) -> int:
        """Over how many domains a soft constraint spreads: nodes for hostnames, else values."""
        if counts.by_node:
            return int(self._sizes[live].sum())
        return len(np.unique(table[:, self._by_value[counts.key]]))

    def _top(self, group: int) -> int:
        """The best key of a group."""
        cells, groups = self._cells, self._group_cells
        best = NOT_FEASIBLE
        if group < self._at_build:
            keys, position = self._sorted[group], self._positions[group]
            while position < len(keys):
                key = keys[position]
                row = key & ROW_MASK
                if cells[row] == key and groups[row] == group:
                    best = key
                    break
                position += 1
            self._positions[group] = position
        heap = self._heaps[group]
        while heap:
            key = heap[0]
            row = key & ROW_MASK
            if cells[row] == key and groups[row] == group:
                return key if best < 0 or key < best else best
            heapq.heappop(heap)
        return best

    # Catching up

    def _catch_up(self) -> None:
        columns = self._columns
        moved: list[int] = []
        if self._images is not None:
            found = self._images.catch_up(len(columns))
            if found is None:
                self._build()
                return
            moved = found[0]
        stale = bool(self._cls.constraints) and self._version != constraints.versions(self._cls.constraints)
        if self._cursor == columns.sequence and self._epoch == columns.epoch and not stale and not moved:
            return
        changes = columns.changes_since(self._cursor)
        self._turn += 1
        if (
            self._epoch != columns.epoch
            or changes is None
            or stale
            or len(changes) > MAX_UPDATES
            or self._turn >= MAX_TURN
            or self._soft_taints != (columns.soft_nodes > 0)
            or len(self._heaps) > 2 * self._at_build + SPARE_GROUPS
            or any(change & 1 for change in changes)
        ):
            self._build()
            return
        self._cursor = columns.sequence
        changed = {change >> 1 for change in changes}
        changed.update(moved)
        for row in tuple(changed):
            for counts in self._state.all:
                domain = counts.update(row)
                if domain and id(counts) in self._by_count and not counts.by_node:
                    changed.update(np.flatnonzero(counts.ids == domain).tolist())
        for row in sorted(changed):
            self._update_row(row)

    def _update_row(self, row: int) -> None:
        if not self._static_cells[row]:
            return
        if self._scored is not None:
            self._device_raw[row] = self._scored.score(np.array([row], np.intp))[0]
        old, was_feasible = self._group_cells[row], self._cells[row] >= 0
        group = self._group(row)
        if was_feasible:
            self._sizes[old] -= 1
            self._dirty.add(old)
        self._group_cells[row] = group
        if not self._row_feasible(row):
            self._cells[row] = NOT_FEASIBLE
            return
        key = (self._highest - self._row_score(row)) << SCORE_SHIFT | self._turn << ROW_BITS | row
        self._cells[row] = key
        self._sizes[group] += 1
        self._dirty.add(group)
        heap = self._heaps[group]
        heapq.heappush(heap, key)
        if len(heap) > 2 * int(self._sizes[group]) + SPARE_GROUPS:
            self._heaps[group] = sorted(
                k for k in heap if self._cells[k & ROW_MASK] == k and self._group_cells[k & ROW_MASK] == group
            )

    def _group(self, row: int) -> int:
        """The group of a row by its components now."""
        line = []
        for counts, ids in self._getters:
            value = int(ids[row])
            if counts is not None:
                value = int(counts[value]) if value else MISSING
            line.append(value)
        key = tuple(line)
        group = self._group_of.get(key)
        if group is None:
            group = self._group_of[key] = len(self._heaps)
            self._heaps.append([])
            if group == len(self._table):
                self._table = np.pad(self._table, ((0, group), (0, 0)))
                self._sizes = np.pad(self._sizes, (0, group))
                self._tops = np.pad(self._tops, (0, group), constant_values=NOT_FEASIBLE)
            self._table[group] = line
        return group

    def _row_feasible(self, row: int) -> bool:
        if self._impossible:
            return False
        for allocatable, requested, amount in self._demands:
            if amount > allocatable[row] - requested[row]:
                return False
        if self._cls.wanted_ports and self._columns.port_conflict(row, self._cls.wanted_ports):
            return False
        return not self._cls.constraints or constraints.row_passes(self._cls, row)


class _Reader:
    """Reads counts for groups from their components."""

    def __init__(self, table: Ints, by_value: dict[str, int], by_count: dict[int, int]) -> None:
        self._table = table
        self._by_value = by_value
        self._by_count = by_count

    def __call__(self, counts: DomainCounts) -> Ints:
        index = self._by_count.get(id(counts))
        if index is not None:
            return self._table[:, index]
        ids = self._table[:, self._by_value[counts.key]]
        return np.where(ids > 0, counts.counts[ids], MISSING)
