"""A class's nodes, best first, kept up to date while pods are placed.

Building an order is one vectorised pass over all nodes. Every feasible row gets a *key*, and the smallest key is the best node:

    key = (highest possible score - score) << 41 | turn << 21 | row

`turn` counts evaluations: after the pass it is 0 for all, so equals go by row; a node that was evaluated again goes behind its
equals. Equally good nodes are thus taken in turn (kube-scheduler picks one at random), and the same history gives the same
decisions.

The best `WINDOW` keys are in a heap; a key that is worse than all of these stays in the array only, until the heap is used up and
the next window is taken from the array.

    keys (by row)   [ 12, 70, -1, 31, 55 ]     -1: not feasible
    heap            [ 12, 31 ]                 window 2, so bound = 31
    a pod goes to row 0, its key becomes 58:   keys[0] = 58; 58 > bound, so the heap is not touched
    best()          12 is not keys[0] any more and is dropped → row 3

An entry of the heap counts only while it equals its row's key, so outdated entries need not be searched for.

A pass can be made in pieces (`build`), between which the columns may change: its place in the change log is that of its beginning, so that rows that were
changed meanwhile are evaluated again like any others.

Before each use the order catches up with the columns' change log: a few changed rows are evaluated one by one in plain Python (3 µs
each), many at once by the plugins' vectorised functions. What forces a new pass: more rows, a new resource, a log that
does not reach back, and a change of the maximum by which TaintToleration or NodeAffinity scores are normalised.

Memory is 9 bytes a row, 25 for classes whose scores are normalised.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from . import constraints, plugins
from .columns import NodeColumns
from .devicedemand import scored
from .images import ImageScores
from .podclass import PodClass

__all__ = ["CandidateOrder"]

ROW_BITS = 21
TURN_BITS = 20
SCORE_SHIFT = ROW_BITS + TURN_BITS
ROW_MASK = (1 << ROW_BITS) - 1
MAX_TURN = 1 << TURN_BITS
NOT_FEASIBLE = -1

WINDOW = 4_096
"""Keys in the heap after a pass: sorting more would cost more than it saves, fewer would need passes more often."""
BLOCK_ROWS = 8_192
"""A pass works in blocks whose temporary arrays stay in the processor's cache: three times as fast."""
SCALAR_ROWS = 24
"""Up to this many changed rows are evaluated one by one; from here on NumPy's fixed costs are worth it."""

Rows = npt.NDArray[np.intp]
Ints = npt.NDArray[np.int64]


class CandidateOrder:
    """The candidates of one class, once `build` is at its end. `best()` is the next node."""

    def __init__(self, columns: NodeColumns, cls: PodClass) -> None:
        self._columns = columns
        self._cls = cls
        self._images: ImageScores | None = None
        self.passes = 0

    def __repr__(self) -> str:
        return f"CandidateOrder({self._cls!r}, heap={len(self._heap)}, passes={self.passes})"

    def best(self) -> int | None:
        """The row of the best feasible node, or None when there is none."""
        self._catch_up()
        keys = self._cells
        while True:
            heap = self._heap
            while heap:
                key = heap[0]
                row = key & ROW_MASK
                if keys[row] == key:
                    return row
                heapq.heappop(heap)
            if self._bound is None:
                return None
            self._take_window()

    def score(self, row: int) -> int | None:
        """The total score of a feasible row as of the last `best()`, else None."""
        key = self._cells[row]
        return None if key < 0 else self._highest - (key >> SCORE_SHIFT)

    def feasible_rows(self) -> list[int]:
        """All feasible rows as of the last `best()`."""
        return [int(row) for row in np.flatnonzero(self._keys >= 0)]

    def room(self, limit: int) -> int:
        """How many pods of the class the feasible rows would take by their resources, as of the last `best()`; `limit` when it is more."""
        if len(self._heap) <= SCALAR_ROWS and self._bound is None:  # all of them, without a look at each node
            live = {key & ROW_MASK for key in self._heap if self._cells[key & ROW_MASK] == key}
            rows = np.fromiter(live, np.intp, len(live))
        else:
            rows = np.flatnonzero(self._keys >= 0)
        if len(rows) >= limit:
            return limit
        room = np.full(len(rows), limit, np.int64)
        for name, amount in self._cls.needs:
            if amount:
                column = self._columns.resources[name]
                np.minimum(room, (column.allocatable[rows] - column.requested[rows]) // amount, out=room)
        return min(int(room.sum()), limit)

    # A pass

    def _build(self) -> None:
        for _ in self.build():
            pass

    def build(self) -> Iterator[None]:
        """A pass over all nodes, in pieces of up to about 2 ms."""
        columns, cls = self._columns, self._cls
        self.passes += 1
        self._cursor = columns.sequence
        self._epoch = columns.epoch
        self._turn = 0
        profile = cls.profile
        self._highest = profile.max_total
        self._taint_weight, self._affinity_weight = profile.taint_weight, profile.affinity_weight
        self._image_weight = profile.image_weight
        self._row_score = plugins.row_scorer(columns, cls)
        images = self._images
        if cls.images and (
            images is None
            or len(images.masks) != columns.capacity
            or images.catch_up(len(columns)) is None  # what it says has changed is judged in this pass anyway
        ):
            self._images = ImageScores(columns.images, cls.images, columns.capacity, len(columns))
        self._demands = [
            (column.allocatable_cells, column.requested_cells, amount)
            for name, amount in cls.needs
            if (column := columns.resources.get(name)) is not None
        ]
        self._impossible = len(self._demands) < len(cls.needs)
        self._version = constraints.versions(cls.constraints)
        self._soft_taints = columns.soft_nodes > 0
        self._scored = scored(cls)
        self._normalises = bool(cls.preferred_terms) or self._soft_taints or self._scored is not None
        self._static = np.zeros(columns.capacity, np.bool_)
        self._keys: Ints = np.full(columns.capacity, NOT_FEASIBLE, np.int64)
        self._static_cells = memoryview(self._static)  # type: ignore[arg-type]
        self._cells = memoryview(self._keys)  # type: ignore[arg-type]
        feasible: list[Rows] = []
        for rows in _blocks(np.flatnonzero(columns.alive)):
            feasible.append(self._feasible(rows))
            yield
        if self._normalises:
            self._prepare_normalising(np.concatenate(feasible) if feasible else np.zeros(0, np.intp))
            yield
        for rows in feasible:
            self._keys[rows] = self._vector_keys(rows)
            yield
        self._take_window()

    def _feasible(self, rows: Rows) -> Rows:
        """Judge rows by all filters; remembers the static ones' verdict."""
        static = plugins.static_ok(self._columns, self._cls, rows)
        self._static[rows] = static
        rows = rows[static]
        return rows[self._dynamic_ok(rows)]

    def _dynamic_ok(self, rows: Rows) -> npt.NDArray[np.bool_]:
        ok = plugins.fits(self._columns, self._cls, rows)
        if self._cls.wanted_ports:
            ok &= plugins.ports_free(self._columns, self._cls, rows)
        if self._cls.constraints:
            ok[ok] = constraints.passes(self._cls, rows[ok])
        return ok

    def _prepare_normalising(self, feasible: Rows) -> None:
        """Raw scores of all nodes, and how many feasible nodes have which."""
        columns, cls = self._columns, self._cls
        everything = np.arange(len(self._keys))
        self._taint_raw = plugins.taint_raw(columns, cls, everything)
        self._affinity_raw = plugins.affinity_raw(columns, cls, everything)
        self._taint_counts = _histogram(self._taint_raw[feasible])
        self._affinity_counts = _histogram(self._affinity_raw[feasible])
        self._most_taints = max(self._taint_counts, default=0)
        self._most_affinity = max(self._affinity_counts, default=0)
        if self._scored is not None:
            self._device_raw: Ints = np.zeros(len(self._keys), np.int64)
            self._device_raw[feasible] = self._scored.score(feasible)
            self._device_counts = _histogram(self._device_raw[feasible])
            self._most_devices = max(self._device_counts, default=0)

    def _vector_keys(self, rows: Rows) -> Ints:
        scores = plugins.resource_scores(self._columns, self._cls, rows)
        if self._normalises:
            scores += plugins.bonus(
                self._cls,
                self._taint_raw[rows],
                self._affinity_raw[rows],
                self._most_taints,
                self._most_affinity,
            )
            if self._scored is not None and self._most_devices:
                share = plugins.MAX_NODE_SCORE * self._device_raw[rows] // self._most_devices
                scores += self._cls.profile.device_weight * share
        else:
            scores += self._taint_weight * plugins.MAX_NODE_SCORE
        if self._images is not None:
            scores += self._image_weight * self._images.of_rows(rows)
        keys: Ints = (self._highest - scores) << SCORE_SHIFT | self._turn << ROW_BITS | rows
        return keys

    def _take_window(self) -> None:
        """Put the best keys into the heap. `_bound` is the worst of them, or None when these are all."""
        keys = self._keys[self._keys >= 0]
        self._bound: int | None = None
        if len(keys) > WINDOW:
            keys = np.partition(keys, WINDOW - 1)[:WINDOW]
            self._bound = int(keys.max())
        keys.sort()
        self._heap: list[int] = keys.tolist()  # sorted, thus a heap

    # Catching up

    def _catch_up(self) -> None:
        columns = self._columns
        if self._images is not None and self._images_changed():
            return
        stale = bool(self._cls.constraints) and self._version != constraints.versions(self._cls.constraints)
        if self._cursor == columns.sequence and self._epoch == columns.epoch and not stale:
            return
        changes = columns.changes_since(self._cursor)
        self._turn += 1
        if (
            self._epoch != columns.epoch
            or changes is None
            or stale
            or self._turn >= MAX_TURN
            or self._soft_taints != (columns.soft_nodes > 0)
        ):
            self._build()
            return
        self._cursor = columns.sequence
        if len(changes) == 1 and not changes[0] & 1:
            again = self._update_row(changes[0] >> 1)
        else:
            again = self._update(changes)
        if again:
            self._build()
        elif len(self._heap) > 4 * WINDOW:
            self._take_window()  # mostly outdated entries by now

    def _images_changed(self) -> bool:
        """Take over what nodes say of their images. Returns whether that took a pass."""
        assert self._images is not None
        found = self._images.catch_up(len(self._columns))
        if found is None or found[1]:
            self._build()
            return True
        if self._epoch == self._columns.epoch:
            for row in found[0]:
                if self._cells[row] >= 0 and self._update_row(row):
                    self._build()
                    return True
        return False

    def _update(self, changes: list[int]) -> bool:
        changed = set(changes)
        if static := [change >> 1 for change in changed if change & 1]:
            if self._normalises:
                return True
            self._feasible(np.array(static))
        rows_changed = {change >> 1 for change in changed}
        if len(rows_changed) <= SCALAR_ROWS:
            return any(self._update_row(row) for row in sorted(rows_changed))
        if self._normalises:
            return True  # as cheap as counting anew
        rows = np.array(sorted(rows_changed))
        self._keys[rows] = NOT_FEASIBLE
        rows = rows[self._static[rows]]
        rows = rows[self._dynamic_ok(rows)]
        keys = self._vector_keys(rows)
        self._keys[rows] = keys
        for key in (keys if self._bound is None else keys[keys <= self._bound]).tolist():
            heapq.heappush(self._heap, key)
        return False

    def _update_row(self, row: int) -> bool:
        """Evaluate one row again. Returns whether a normalisation changed, so that all must be."""
        was_feasible = self._cells[row] >= 0
        if self._row_feasible(row):
            if self._normalises:
                if self._scored is not None and self._rescore(row, was_feasible=was_feasible):
                    return True
                if not was_feasible and self._count(row, 1):
                    return True
                raw_taints, raw_affinity = int(self._taint_raw[row]), int(self._affinity_raw[row])
                extra = self._taint_weight * plugins.normalised(
                    raw_taints, self._most_taints, reverse=True
                ) + self._affinity_weight * plugins.normalised(
                    raw_affinity, self._most_affinity, reverse=False
                )
                if self._scored is not None:
                    extra += self._cls.profile.device_weight * plugins.normalised(
                        int(self._device_raw[row]), self._most_devices, reverse=False
                    )
            else:
                extra = self._taint_weight * plugins.MAX_NODE_SCORE
            if self._images is not None:
                extra += self._image_weight * self._images.of_row(row)
            score = extra + self._row_score(row)
            key = (self._highest - score) << SCORE_SHIFT | self._turn << ROW_BITS | row
            self._cells[row] = key
            if self._bound is None or key <= self._bound:
                heapq.heappush(self._heap, key)
            return False
        self._cells[row] = NOT_FEASIBLE
        if not was_feasible or not self._normalises:
            return False
        again = self._scored is not None and self._count_devices(row, -1)
        return self._count(row, -1) or again

    def _row_feasible(self, row: int) -> bool:
        if self._impossible or not self._static_cells[row]:
            return False
        for allocatable, requested, amount in self._demands:
            if amount > allocatable[row] - requested[row]:
                return False
        if self._cls.wanted_ports and self._columns.port_conflict(row, self._cls.wanted_ports):
            return False
        return not self._cls.constraints or constraints.row_passes(self._cls, row)

    def _rescore(self, row: int, *, was_feasible: bool) -> bool:
        """Score the devices of a feasible row again. Returns whether the maximum changed."""
        assert self._scored is not None
        before = self._most_devices
        if was_feasible:
            self._count_devices(row, -1)
        self._device_raw[row] = self._scored.score(np.array([row], np.intp))[0]
        self._count_devices(row, 1)
        return max(self._device_counts, default=0) != before

    def _count_devices(self, row: int, sign: int) -> bool:
        raw = int(self._device_raw[row])
        self._device_counts[raw] += sign
        if not self._device_counts[raw]:
            del self._device_counts[raw]
        return max(self._device_counts, default=0) != self._most_devices

    def _count(self, row: int, sign: int) -> bool:
        """Count a row in or out of the feasible ones. Returns whether a maximum changed."""
        for counts, raw in (
            (self._taint_counts, self._taint_raw),
            (self._affinity_counts, self._affinity_raw),
        ):
            value = int(raw[row])
            counts[value] += sign
            if not counts[value]:
                del counts[value]
        return (
            max(self._taint_counts, default=0) != self._most_taints
            or max(self._affinity_counts, default=0) != self._most_affinity
        )


def _blocks(rows: Rows) -> list[Rows]:
    return [rows[start : start + BLOCK_ROWS] for start in range(0, len(rows), BLOCK_ROWS)]


def _histogram(values: Ints) -> Counter[int]:
    found, counts = np.unique(values, return_counts=True)
    return Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))
