"""Gangs: pods that are placed together or not at all. Decisions only.

A gang is planned at once, in one synchronous stretch: every member is placed in the columns, so that the next one counts it, and when too few find
a node all are taken off again. Nothing waits half placed, so that gangs that compete cannot block each other.

Topology. Members go to the fewest domains of the network, layer by layer: how many members each node can take is one array, and
a domain's room is its sum by label (`topology.Domain`). That gives an order of nodes, along which members are laid out by rank, so that neighbours
in rank are neighbours in the network. With a *required* key all members, those placed before included, are in one domain of it.

Costs at 100,000 nodes: 40 ms for rooms and order, then 5 µs a member; a gang that has too little room costs the rooms only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import constraints, plugins
from .core import Core
from .domains import InterPodState
from .gangbundles import Member, Placements, bundles_of, place_bundle, place_on, take_off
from .podclass import PodClass
from .topology import Domain, best_domains, layout

__all__ = [
    "NETWORK_LAYERS",
    "GangSpec",
    "Member",
    "Placements",
    "place_on",
    "plan_gang",
    "possible",
    "rank",
]

NETWORK_LAYERS = tuple(f"topology.k8s.aws/network-node-layer-{layer}" for layer in (1, 2, 3))
"""Labels of the network's layers, the widest first."""
RANK_LABELS = ("batch.kubernetes.io/job-completion-index", "apps.kubernetes.io/pod-index")
MAX_DOMAINS_TRIED = 64
"""Domains that a gang with a required topology is tried in: the best ones."""

Rows = npt.NDArray[np.intp]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class GangSpec:
    """What is asked for a group of pods."""

    min_count: int
    required_key: str | None = None
    """All members in one domain of this label."""
    preferred_keys: tuple[str, ...] = NETWORK_LAYERS
    """Labels of which few domains are better, the widest first."""
    priority: int | None = None
    """The group's own priority, for preemption; None: that of its pods."""
    disrupted_whole: bool = False
    """Preemption takes all of its pods or none (disruptionMode PodGroup)."""
    timeout_seconds: float = 60.0
    """How long a gang of which a bind failed for good may stay half bound."""


def rank(member: Member) -> tuple[int, str]:
    """The order of members: by index where they have one, then by name."""
    for label, value in member.own:
        if label in RANK_LABELS and value.isascii() and value.isdigit():
            return int(value), member.name
    return 1 << 62, member.name


def plan_gang(
    core: Core, members: Sequence[Member], spec: GangSpec, needed: int, peers: Sequence[str] = ()
) -> Placements:
    """Place as many members as find a node, `needed` at least, or none. The core counts those that are returned.

    `peers` are the nodes of members that are placed already: new ones go near them, or with a required key to their domain.
    """
    members = sorted(members, key=rank)
    needed = max(1, needed)
    bundles = bundles_of(core, members)
    if bundles:
        return _plan_bundled(core, members, bundles, spec, needed, peers)
    rooms = _rooms(core, members)
    counts = Counter(member.cls for member in members)
    if _possible(rooms, counts) < needed:
        return []
    cls = counts.most_common(1)[0][0]
    for rows in _layouts(core, *rooms[cls], len(members), spec, needed, peers):
        placed = _along(core, members, rows)
        if spec.required_key is None and len(placed) < len(members):  # few domains are only preferred
            found = {member.uid for member, _ in placed}
            placed += _one_by_one(core, [member for member in members if member.uid not in found])
        if len(placed) >= needed:
            return placed
        take_off(core, placed)
    if spec.required_key is not None:
        return []
    placed = _one_by_one(core, members)
    if len(placed) >= needed:
        return placed
    take_off(core, placed)
    return []


def _plan_bundled(
    core: Core,
    members: Sequence[Member],
    bundles: Sequence[Sequence[Member]],
    spec: GangSpec,
    needed: int,
    peers: Sequence[str],
) -> Placements:
    """The same where members share claims: bundles first, each as a whole, then the others."""
    bundled = {member.uid for bundle in bundles for member in bundle}
    single = [member for member in members if member.uid not in bundled]
    most: Ints = np.zeros(core.columns.capacity, np.int64)
    for cls in {member.cls for member in members}:
        rows = core.feasible_rows(cls)
        most[rows] = np.maximum(most[rows], _room(core, cls, rows, constrained=False))
    rows = np.flatnonzero(most)
    if not len(rows):
        return []
    room = np.minimum(most[rows], len(members))
    orders = list(_layouts(core, rows, room, len(members), spec, needed, peers))
    if spec.required_key is None:
        orders.append(rows[np.argsort(-room, kind="stable")].tolist())
    for order in orders:
        placed = [one for bundle in bundles for one in place_bundle(core, bundle, order)]
        placed += _along(core, single, order)
        if spec.required_key is None and len(placed) < len(members):
            found = {member.uid for member, _ in placed}
            placed += _one_by_one(core, [member for member in single if member.uid not in found])
        if len(placed) >= needed:
            return placed
        take_off(core, placed)
        for member in members:
            if member.uid in bundled:
                member.cls = core.resolve(member.cls, member.identity, member.uid)
    return []


def possible(core: Core, members: Sequence[Member]) -> int:
    """How many of the members would find room, each class for itself: an upper bound."""
    if bundles_of(core, members):
        return len(members)
    return _possible(_rooms(core, members), Counter(member.cls for member in members))


def _possible(rooms: dict[PodClass, tuple[Rows, Ints]], counts: Counter[PodClass]) -> int:
    return sum(min(count, int(rooms[cls][1].sum())) for cls, count in counts.items())


def _one_by_one(core: Core, members: Sequence[Member]) -> Placements:
    """Place members where each is best."""
    placed: Placements = []
    full: set[PodClass] = set()
    for member in members:
        if member.cls not in full:
            node = core.decide(member.cls)
            if node is None:
                full.add(member.cls)
            else:
                place_on(core, member, node)
                placed.append((member, node))
    return placed


def _rooms(core: Core, members: Sequence[Member]) -> dict[PodClass, tuple[Rows, Ints]]:
    """For each class of the members: the rows that would take one, and how many each."""
    found: dict[PodClass, tuple[Rows, Ints]] = {}
    for cls in {member.cls for member in members}:
        rows = core.feasible_rows(cls)
        found[cls] = rows, _room(core, cls, rows)
    return found


def _room(core: Core, cls: PodClass, rows: Rows, *, constrained: bool = True) -> Ints:
    """How many pods of the class each node can take by its resources and, if they are `constrained`, claims; one where they may exclude each other."""
    room = np.full(len(rows), 1 << 31, np.int64)
    for name, amount in cls.needs:
        column = core.columns.resources.get(name)
        if column is None:
            return np.zeros(len(rows), np.int64)
        room = np.minimum(room, (column.allocatable[rows] - column.requested[rows]) // amount)
    if cls.wanted_ports:
        room = np.minimum(room, 1)
    for constraint in cls.constraints if constrained else ():
        limit = constraint.room(rows)
        if limit is not None:
            room = np.minimum(room, limit)
    return room


def _layouts(
    core: Core, rows: Rows, room: Ints, count: int, spec: GangSpec, needed: int, peers: Sequence[str]
) -> Iterator[list[int]]:
    """Orders of rows to lay `count` members out along, the best first."""
    columns = core.columns
    keys = [key for key in spec.preferred_keys if np.any(columns.label(key).ids[columns.alive])]
    if not keys and spec.required_key is None:
        return
    at = np.array(sorted({columns.row_of[name] for name in peers if name in columns.row_of}), np.intp)
    if spec.required_key is None:
        tree = Domain.of(columns, rows, room, keys, at)
        yield layout(tree, min(count, tree.room))
        return
    ids = columns.label(spec.required_key).ids
    inside = ids[rows]
    totals = np.bincount(inside, weights=room, minlength=1).astype(np.int64)
    totals[0] = 0
    taken = ids[at]
    if len(taken):  # where the peers are, or nowhere
        only = int(taken[0])
        if not only or np.any(taken != only):
            return
        totals[np.arange(len(totals)) != only] = 0
    for enough in dict.fromkeys((count, max(1, needed))):
        fitting = np.flatnonzero(totals >= enough)
        trees = [
            Domain.of(columns, rows[inside == domain], room[inside == domain], keys, at)
            for domain in fitting[np.argsort(totals[fitting], kind="stable")][:MAX_DOMAINS_TRIED].tolist()
        ]
        for tree in best_domains(trees, enough):
            yield layout(tree, min(count, tree.room))


def _along(core: Core, members: Sequence[Member], rows: list[int]) -> Placements:
    """Place members on the rows in turn. A row that refuses a class is full for it."""
    columns = core.columns
    every = np.array(rows, np.intp)
    left: dict[PodClass, Iterator[int]] = {}
    current: dict[PodClass, int | None] = {}
    states: dict[PodClass, InterPodState] = {}
    placed: Placements = []
    for member in members:
        cls = member.cls
        if cls not in left:
            left[cls] = iter(every[plugins.static_ok(columns, cls, every)].tolist())
            current[cls] = next(left[cls], None)
            if cls.interpod is not None and cls.interpod.filters:
                states[cls] = InterPodState(columns, cls)
        row = current[cls]
        while row is not None and not _fits(core, cls, row, states.get(cls)):
            row = current[cls] = next(left[cls], None)
        if row is None:
            continue
        node = columns.names[row]
        assert node is not None
        place_on(core, member, node)
        for state in states.values():
            for counts in state.all:
                counts.update(row)
        placed.append((member, node))
    return placed


def _fits(core: Core, cls: PodClass, row: int, state: InterPodState | None) -> bool:
    """Whether a row that the static filters allow has room now: by resources alone in plain Python."""
    if state is not None or cls.wanted_ports or cls.constraints:
        return core.row_fits(cls, row, state)
    resources = core.columns.resources
    for name, amount in cls.needs:
        column = resources.get(name)
        if column is None or amount > column.allocatable_cells[row] - column.requested_cells[row]:
            return False
    return not cls.constraints or constraints.row_passes(cls, row)
