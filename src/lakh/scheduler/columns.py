"""All nodes as columns: one NumPy array a property, one row a node.

    row        0      1      2      3
    names      n0     n1     -      n3        row 2 was n2; the next new node gets it
    cpu alloc  8000   8000   0      16000     ┐ one `ResourceColumn` a resource, made when a node or a placed pod
    cpu req    500    0      0      16000     ┘ first has it; `pods` counts pods against the node's limit
    taint set  0      3      0      0         index of an interned set of taints; a class judges each distinct set once
    zone       1      2      0      1         a label's interned value (0: absent); made when a class first asks

Arrays double when they are full, which starts a new *epoch*: whoever holds views of the arrays takes them again. Single cells are
read and written through memoryviews, which costs a third of NumPy's own indexing.

Each change of a row goes to the *change log*, so that readers that derived something from the columns look at changed rows
only: `sequence` counts all entries, `changes_since(n)` gives those after `n` as long as they are kept. An entry is
`row << 1 | static`; *static* means that more than the requested amounts changed.

Costs at 100,000 nodes: adding or changing a node 5 to 20 µs, a placement 1 to 2 µs, a label column 30 ms once.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from .images import ImageIndex
from .podclass import SOFT_EFFECT, HostPort, PodClass
from .requests import CPU, EPHEMERAL_STORAGE, MEMORY, PODS, amounts
from .views import NO_IMAGES, Node, Quantity, Taint

__all__ = ["MAX_LOG_ENTRIES", "LabelColumn", "NodeColumns", "ResourceColumn"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

INITIAL_ROWS = 64
WILDCARD = "0.0.0.0"
MAX_LOG_ENTRIES = 262_144
"""Entries kept of the change log: more than twice the nodes of the largest cluster. Who is further behind starts over."""
MAX_SHARED = 262_144
"""Label values and amounts remembered for sharing: what is beyond is kept once a node."""
LABEL_SLACK = 1_024
"""A label column is made anew when it has interned this many values more than twice the nodes."""


class ResourceColumn:
    """Allocatable and requested amounts of one resource, with memoryviews for single cells."""

    __slots__ = ("allocatable", "allocatable_cells", "requested", "requested_cells")

    def __init__(self, rows: int) -> None:
        self._set(np.zeros(rows, np.int64), np.zeros(rows, np.int64))

    def _set(self, allocatable: Ints, requested: Ints) -> None:
        self.allocatable = allocatable
        self.requested = requested
        self.allocatable_cells = memoryview(allocatable)  # type: ignore[arg-type]
        self.requested_cells = memoryview(requested)  # type: ignore[arg-type]

    def grow(self, rows: int) -> None:
        """Make room for `rows`."""
        more = rows - len(self.allocatable)
        self._set(np.pad(self.allocatable, (0, more)), np.pad(self.requested, (0, more)))


class LabelColumn:
    """One label's values over all nodes as small integers; 0 is absent."""

    def __init__(self, rows: int) -> None:
        self.ids: npt.NDArray[np.int32] = np.zeros(rows, np.int32)
        self.id_of: dict[str, int] = {}
        self.values: list[str | None] = [None]

    def set(self, row: int, value: str | None) -> None:
        """Give `row` a value."""
        if value is None:
            self.ids[row] = 0
            return
        known = self.id_of.get(value)
        if known is None:
            known = self.id_of[value] = len(self.values)
            self.values.append(value)
        self.ids[row] = known

    def fill(self, values: list[str | None]) -> None:
        """Set all rows of a new column, row 0 first."""
        self.values += [value for value in dict.fromkeys(values) if value is not None]
        ids: dict[str | None, int] = {value: index for index, value in enumerate(self.values)}
        self.ids[: len(values)] = np.fromiter(map(ids.__getitem__, values), np.int32, len(values))
        self.id_of = {value: index for value, index in ids.items() if value is not None}

    def integers(self) -> tuple[Ints, Bools]:
        """The values as integers by id, and whether they are integers: for Gt and Lt."""
        numbers = np.zeros(len(self.values), np.int64)
        valid = np.zeros(len(self.values), np.bool_)
        for index, value in enumerate(self.values):
            number = parse_int64(value)
            if number is not None:
                numbers[index], valid[index] = number, True
        return numbers, valid


def parse_int64(text: str | None) -> int | None:
    """A decimal int64, or None."""
    if (
        not text
        or not text.isascii()
        or not text.lstrip("+-").isdigit()
        or len(text.lstrip("+-")) < len(text) - 1
    ):
        return None
    number = int(text)
    return number if -(1 << 63) <= number < 1 << 63 else None


class NodeColumns:
    """The nodes. `names[row]` is None for a free row."""

    def __init__(self) -> None:
        self.capacity = INITIAL_ROWS
        self.size = 0
        """Rows ever used: the free rows among them are not alive."""
        self.epoch = 0
        self.static_changes = 0
        """Changes of nodes' own specs so far."""
        self.names: list[str | None] = []
        self.row_of: dict[str, int] = {}
        self.alive: Bools = np.zeros(self.capacity, np.bool_)
        self.unschedulable: Bools = np.zeros(self.capacity, np.bool_)
        self.taint_set: npt.NDArray[np.int32] = np.zeros(self.capacity, np.int32)
        self.taint_sets: list[tuple[Taint, ...]] = [()]
        self.soft_nodes = 0
        """Nodes with a PreferNoSchedule taint."""
        self.resources = {
            name: ResourceColumn(self.capacity) for name in (PODS, CPU, MEMORY, EPHEMERAL_STORAGE)
        }
        self.score = ResourceColumn(self.capacity), ResourceColumn(self.capacity)
        """cpu and memory as scoring counts them: only the requested side is used."""
        self.ports: dict[tuple[str, int], dict[int, dict[str, int]]] = {}
        """(protocol, port) → row → host IP → number of pods."""
        self.images = ImageIndex()
        self.device_counts: Callable[[str], ResourceColumn] | None = None
        """Devices of a device class by node: all, and those in use."""
        self._label_keys: list[tuple[str, ...]] = []
        self._label_values: list[tuple[str, ...]] = []
        """Keys are shared by nodes that have the same ones."""
        self._amounts: list[tuple[tuple[str, int], ...]] = []
        """Allocatable amounts by name, shared by equal nodes."""
        self._shared: dict[Any, Any] = {}
        self._known_amounts: dict[tuple[tuple[str, Quantity], ...], tuple[tuple[str, int], ...]] = {}
        self._free: list[int] = []
        self._label_columns: dict[str, LabelColumn] = {}
        self._taint_ids: dict[tuple[Taint, ...], int] = {(): 0}
        self._taint_users: list[int] = [0]
        self._free_taint_ids: list[int] = []
        self._log: list[int] = []
        self._log_start = 0

    def __len__(self) -> int:
        return len(self.row_of)

    # The change log

    @property
    def sequence(self) -> int:
        """Number of changes so far."""
        return self._log_start + len(self._log)

    def changes_since(self, sequence: int) -> list[int] | None:
        """The changes after `sequence`, or None when they are no longer kept."""
        start = sequence - self._log_start
        return None if start < 0 else self._log[start:]

    def changed(self, row: int, *, static: bool) -> None:
        """Note a change of `row`."""
        log = self._log
        self.static_changes += static
        log.append(row << 1 | static)
        if len(log) > MAX_LOG_ENTRIES:
            half = len(log) // 2
            del log[:half]
            self._log_start += half

    # Nodes

    def set_node(self, node: Node) -> bool:
        """Add or change a node. Returns whether anything that matters to scheduling changed."""
        name = node.metadata.name
        row = self.row_of.get(name)
        new = row is None
        if row is None:
            row = self._take_row(name)
        changed = self._set_amounts(row, node.status.allocatable) | self._set_labels(
            row, node.metadata.labels or {}
        )
        changed |= self._set_taints(row, tuple(node.spec.taints or ()))
        self.images.set(row, node.status.images)
        node.status.images = NO_IMAGES  # most of a node's memory
        unschedulable = bool(node.spec.unschedulable)
        if new or changed or self.unschedulable[row] != unschedulable:
            self.unschedulable[row] = unschedulable
            self.changed(row, static=True)
            return True
        return False

    def remove_node(self, name: str) -> int | None:
        """Free the node's row; its requested amounts are forgotten. Returns the row."""
        row = self.row_of.pop(name, None)
        if row is None:
            return None
        self._set_amounts(row, None)
        self._set_labels(row, {})
        self._set_taints(row, ())
        self.images.forget(row)
        for column in (*self.resources.values(), *self.score):
            column.requested_cells[row] = 0
        for key in [key for key, rows in self.ports.items() if rows.pop(row, None) is not None]:
            if not self.ports[key]:
                del self.ports[key]
        self.unschedulable[row] = False
        self.alive[row] = False
        self.names[row] = None
        heapq.heappush(self._free, row)
        self.changed(row, static=True)
        return row

    def _take_row(self, name: str) -> int:
        if self._free:
            row = heapq.heappop(self._free)
        else:
            row = self.size
            if row == self.capacity:
                self._grow()
            self.size += 1
            self.names.append(None)
            self._label_keys.append(())
            self._label_values.append(())
            self._amounts.append(())
        self.names[row] = name
        self.row_of[name] = row
        self.alive[row] = True
        return row

    def _grow(self) -> None:
        more = self.capacity
        self.capacity *= 2
        self.epoch += 1
        self.alive = np.pad(self.alive, (0, more))
        self.unschedulable = np.pad(self.unschedulable, (0, more))
        self.taint_set = np.pad(self.taint_set, (0, more))
        for column in (*self.resources.values(), *self.score):
            column.grow(self.capacity)
        for label in self._label_columns.values():
            label.ids = np.pad(label.ids, (0, more))

    def resource(self, name: str) -> ResourceColumn:
        """The column of a resource, made when it is not there: a new epoch."""
        column = self.resources.get(name)
        if column is None:
            column = self.resources[name] = ResourceColumn(self.capacity)
            self.epoch += 1
        return column

    def _set_amounts(self, row: int, quantities: dict[str, Quantity] | None) -> bool:
        key = tuple(sorted(quantities.items())) if quantities else ()
        new = self._known_amounts.get(key)
        if new is None:
            try:
                new = tuple(sorted(amounts(quantities).items()))
            except ValueError:
                new = ()  # no amount is better than a wrong one: nothing fits until the node is repaired
            if len(self._known_amounts) >= MAX_SHARED:
                self._known_amounts.clear()
            self._known_amounts[key] = new
        old = self._amounts[row]
        if new == old:
            return False
        self._amounts[row] = new
        by_name = dict(new)
        for name in dict(old).keys() | by_name.keys():
            amount = by_name.get(name, 0)
            if amount or name in self.resources:
                self.resource(name).allocatable_cells[row] = amount
        return True

    def _set_labels(self, row: int, labels: dict[str, str]) -> bool:
        keys = tuple(sorted(labels))
        values = tuple(map(labels.__getitem__, keys))
        if values == self._label_values[row] and keys == self._label_keys[row]:
            return False
        if len(self._shared) >= MAX_SHARED:
            self._shared.clear()
        share = self._shared.setdefault
        self._label_keys[row] = share(keys, keys)
        self._label_values[row] = tuple(share(value, value) for value in values)
        for key, column in self._label_columns.items():
            column.set(row, labels.get(key))
        return True

    def _set_taints(self, row: int, taints: tuple[Taint, ...]) -> bool:
        old = int(self.taint_set[row])
        if self.taint_sets[old] == taints:
            return False
        known = self._taint_ids.get(taints)
        if known is None:
            if self._free_taint_ids:
                known = self._free_taint_ids.pop()
                self.taint_sets[known] = taints
            else:
                known = len(self.taint_sets)
                self.taint_sets.append(taints)
                self._taint_users.append(0)
            self._taint_ids[taints] = known
        self._taint_users[known] += 1
        self.taint_set[row] = known
        self.soft_nodes += any(t.effect == SOFT_EFFECT for t in taints)
        self.soft_nodes -= any(t.effect == SOFT_EFFECT for t in self.taint_sets[old])
        if old:
            self._taint_users[old] -= 1
            if not self._taint_users[old]:
                del self._taint_ids[self.taint_sets[old]]
                self.taint_sets[old] = ()
                self._free_taint_ids.append(old)
        return True

    def label(self, key: str) -> LabelColumn:
        """The column of a label, made when a class first asks for it."""
        column = self._label_columns.get(key)
        if column is None or len(column.values) > 2 * len(self.row_of) + LABEL_SLACK:
            column = LabelColumn(self.capacity)
            at = {keys: keys.index(key) if key in keys else None for keys in set(self._label_keys)}
            column.fill(
                [
                    None if (index := at[keys]) is None else values[index]
                    for keys, values in zip(self._label_keys, self._label_values, strict=True)
                ]
            )
            self._label_columns[key] = column
        return column

    # Pods on nodes

    def add_pod(self, row: int, cls: PodClass, sign: int = 1) -> None:
        """Count a pod on a node (`sign` 1) or no longer (-1)."""
        self.resources[PODS].requested_cells[row] += sign
        for name, amount in cls.demands:
            self.resource(name).requested_cells[row] += sign * amount
        self.score[0].requested_cells[row] += sign * cls.score_milli_cpu
        self.score[1].requested_cells[row] += sign * cls.score_memory
        if cls.host_ports:
            self._count_ports(row, cls.host_ports, sign)
        self.changed(row, static=False)

    def _count_ports(self, row: int, ports: Iterable[HostPort], sign: int) -> None:
        for protocol, port, ip in ports:
            rows = self.ports.setdefault((protocol, port), {})
            ips = rows.setdefault(row, {})
            ips[ip] = ips.get(ip, 0) + sign
            if not ips[ip]:
                del ips[ip]
            if not ips:
                del rows[row]
            if not rows:
                del self.ports[protocol, port]

    def port_conflict(self, row: int, ports: Iterable[HostPort]) -> bool:
        """Whether one of the host ports is taken on the node. The wildcard address conflicts with every address."""
        for protocol, port, ip in ports:
            ips = self.ports.get((protocol, port), {}).get(row)
            if ips and (ip == WILDCARD or ip in ips or WILDCARD in ips):
                return True
        return False

    def port_conflicts(self, ports: Iterable[HostPort]) -> list[int]:
        """The rows where one of the host ports is taken."""
        ports = tuple(ports)
        rows = {row for protocol, port, _ in ports for row in self.ports.get((protocol, port), ())}
        return [row for row in rows if self.port_conflict(row, ports)]
