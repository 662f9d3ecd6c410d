"""Gangs: pods that are placed together or not at all. Decisions only.

A gang is planned at once, in one synchronous stretch: every member is placed in the columns, so that the next one counts it, and when too few find
a node all are taken off again. Nothing waits half placed, so that gangs that compete cannot block each other.

Topology. Members go to the fewest domains of the network, layer by layer: how many members each node can take is one array, and
a domain's room is its sum by label. In a layer the smallest domain that holds all is chosen; when none does, the largest ones are filled and
the smallest one that holds the rest. Inside each domain the next layer is treated likewise. That gives an order of nodes, along which members
are laid out by rank, so that neighbours in rank are neighbours in the network.

    rack     r1 r1 r1 r2 r2 r2 r2        6 members of 1: r1 has room for 3, r2 for 4
    room      1  1  1  1  1  1  1        → r2 first (4), then r1 for 2 (the smallest that holds the rest)

Costs at 100,000 nodes: 15 ms for rooms and order, then 5 µs a member.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import plugins
from .core import Core
from .interpod import Identity, Own
from .podclass import PodClass

__all__ = ["NETWORK_LAYERS", "GangSpec", "Member", "plan_gang", "rank"]

NETWORK_LAYERS = tuple(f"topology.k8s.aws/network-node-layer-{layer}" for layer in (1, 2, 3))
"""Labels of the network's layers, the widest first."""
RANK_LABELS = ("batch.kubernetes.io/job-completion-index", "apps.kubernetes.io/pod-index")
MAX_DOMAINS_TRIED = 64
"""Domains that a gang with a required topology is tried in: those with the least room that suffices."""

Rows = npt.NDArray[np.intp]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class GangSpec:
    """What is asked for a gang."""

    min_count: int
    required_key: str | None = None
    """All members in one domain of this label."""
    preferred_keys: tuple[str, ...] = NETWORK_LAYERS
    """Labels of which few domains are better, the widest first."""


@dataclass(slots=True)
class Member:
    """A pod of a gang."""

    uid: str
    cls: PodClass
    identity: Identity | None
    name: str = ""
    own: Own = ()


def rank(member: Member) -> tuple[int, str]:
    """The order of members: by index where they have one, then by name."""
    labels = dict(member.own)
    for label in RANK_LABELS:
        value = labels.get(label, "")
        if value.isascii() and value.isdigit():
            return int(value), member.name
    return 1 << 62, member.name


def plan_gang(core: Core, members: Sequence[Member], spec: GangSpec, needed: int) -> list[tuple[Member, str]]:
    """Place as many members as find a node, `needed` at least, or none. The core counts those that are returned."""
    members = sorted(members, key=rank)
    if len(members) < needed:
        return []
    for rows in _layouts(core, members, spec):
        placed = list(_along(core, members, rows))
        if len(placed) == len(members) or (spec.required_key is not None and len(placed) >= needed):
            return placed
        for member, _ in placed:
            core.remove(member.uid)
    if spec.required_key is not None:
        return []
    placed = []
    full: set[PodClass] = set()
    for member in members:
        if member.cls not in full:
            node = core.decide(member.cls)
            if node is None:
                full.add(member.cls)
            else:
                core.place(member.uid, member.cls, node, member.identity, name=member.name, own=member.own)
                placed.append((member, node))
    if len(placed) < needed:
        for member, _ in placed:
            core.remove(member.uid)
        return []
    return placed


def _layouts(core: Core, members: Sequence[Member], spec: GangSpec) -> Iterator[list[int]]:
    """Orders of rows to lay the members out along, the best first."""
    columns = core.columns
    cls = Counter(member.cls for member in members).most_common(1)[0][0]
    keys = [key for key in spec.preferred_keys if np.any(columns.label(key).ids[columns.alive])]
    if not keys and spec.required_key is None:
        return
    rows = core.feasible_rows(cls)
    room = _room(core, cls, rows)
    if spec.required_key is None:
        if int(room.sum()) >= len(members):
            yield _order(core, rows, room, len(members), keys)
        return
    ids = columns.label(spec.required_key).ids[rows]
    totals = np.bincount(ids, weights=room).astype(np.int64)
    totals[:1] = 0
    for enough in (len(members), spec.min_count):
        fitting = np.flatnonzero(totals >= max(1, enough))
        for domain in fitting[np.argsort(totals[fitting], kind="stable")][:MAX_DOMAINS_TRIED].tolist():
            inside = ids == domain
            yield _order(core, rows[inside], room[inside], enough, keys)


def _room(core: Core, cls: PodClass, rows: Rows) -> Ints:
    """How many pods of the class each node can take by its resources; one where they may exclude each other."""
    room = np.full(len(rows), 1 << 31, np.int64)
    for name, amount in cls.needs:
        column = core.columns.resources.get(name)
        if column is None:
            return np.zeros(len(rows), np.int64)
        room = np.minimum(room, (column.allocatable[rows] - column.requested[rows]) // amount)
    if cls.wanted_ports or (cls.interpod is not None and cls.interpod.anti):
        room = np.minimum(room, 1)
    for constraint in cls.constraints:
        limit = constraint.room(rows)
        if limit is not None:
            room = np.minimum(room, limit)
    return room


def _order(core: Core, rows: Rows, room: Ints, need: int, keys: Sequence[str]) -> list[int]:
    """The rows in the order in which `need` members fill them, few domains of each key at a time."""
    if not len(rows):
        return []
    if not keys:
        order = np.argsort(-room, kind="stable")
        return [int(row) for row in rows[order]]
    ids = core.columns.label(keys[0]).ids[rows]
    domains, inverse = np.unique(ids, return_inverse=True)
    totals = np.bincount(inverse, weights=room).astype(np.int64)
    result: list[int] = []
    for index in _fill(totals.tolist(), need, [int(domain) == 0 for domain in domains]):
        inside = inverse == index
        taken = min(need, int(totals[index]))
        result += _order(core, rows[inside], room[inside], max(taken, 1), keys[1:])
        need -= taken
    return result


def _fill(totals: list[int], need: int, unlabelled: list[bool]) -> Iterable[int]:
    """The order in which domains are used: largest first, until one alone holds what is left. Nodes without the label come last."""
    left = sorted(range(len(totals)), key=lambda index: (unlabelled[index], -totals[index], index))
    while left:
        best = left[0]
        if not unlabelled[best] and totals[best] >= need > 0:
            best = min(
                (i for i in left if totals[i] >= need and not unlabelled[i]), key=lambda i: (totals[i], i)
            )
        left.remove(best)
        yield best
        need -= totals[best]
        if need <= 0:
            yield from left
            return


def _along(core: Core, members: Sequence[Member], rows: list[int]) -> Iterator[tuple[Member, str]]:
    """Place members on the rows in turn. A row that refuses a class is full for it."""
    columns = core.columns
    left: dict[PodClass, Iterator[int]] = {}
    current: dict[PodClass, int | None] = {}
    for member in members:
        cls = member.cls
        if cls not in left:
            every = np.array(rows, np.intp)
            left[cls] = iter(every[plugins.static_ok(columns, cls, every)].tolist())
            current[cls] = next(left[cls], None)
        while (row := current[cls]) is not None and not _fits(core, cls, row):
            current[cls] = next(left[cls], None)
        if row is None:
            continue
        node = columns.names[row]
        assert node is not None
        core.place(member.uid, cls, node, member.identity, name=member.name, own=member.own)
        yield member, node


def _fits(core: Core, cls: PodClass, row: int) -> bool:
    """Whether a row that the static filters allow has room now: by resources alone in plain Python."""
    if cls.wanted_ports or cls.constraints or (cls.interpod is not None and cls.interpod.filters):
        return core.row_fits(cls, row)
    resources = core.columns.resources
    for name, amount in cls.needs:
        column = resources.get(name)
        if column is None or amount > column.allocatable_cells[row] - column.requested_cells[row]:
            return False
    return True
