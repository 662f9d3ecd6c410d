"""Gangs: pods that are placed together or not at all. Decisions only.

Every member is placed in the columns, so that the next one counts it, and when too few find a node all are taken off again. Nothing else is decided
before that is settled, so that gangs that compete cannot block each other.

In pieces. A plan is a generator: it yields after every few members, and whoever runs it may let the cluster change then. Each member is judged on the
columns as they are, so those to come are right by themselves. What was looked up for all of them beforehand is revised by the change log: rows that
may no longer be used are left out, counts of other pods are brought up to date. Members that have left are in `Meanwhile.gone`; changes of what the plan
rests on (`Meanwhile.anew`) end it, and it is begun again. A node that is lost after a member was placed there is what it is for any pod that is being bound.

Topology. Members go to the fewest domains of the network, layer by layer: how many members each node can take is one array, and
a domain's room is its sum by label (`topology.Domain`). That gives an order of nodes, along which members are laid out by rank, so that neighbours
in rank are neighbours in the network. With a *required* key all members, those placed before included, are in one domain of it.

Costs at 100,000 nodes: 40 ms for rooms and order, then 5 µs a member; a gang that has too little room costs the rooms only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from . import plugins
from .columns import NodeColumns
from .core import Core
from .domains import InterPodState
from .gangbundles import M, Member, Placements, bundles_of, place_bundle, place_on
from .pieces import Pieces, finish, in_pieces
from .podclass import PodClass
from .requests import PODS
from .topology import Domain, best_domains, layout

__all__ = [
    "NETWORK_LAYERS",
    "GangSpec",
    "M",
    "Meanwhile",
    "Member",
    "Placements",
    "plan",
    "plan_gang",
    "possible",
    "rank",
    "shortage",
]

NETWORK_LAYERS = tuple(f"topology.k8s.aws/network-node-layer-{layer}" for layer in (1, 2, 3))
"""Labels of the network's layers, the widest first."""
RANK_LABELS = ("batch.kubernetes.io/job-completion-index", "apps.kubernetes.io/pod-index")
RUN_MEMBERS = 8_192
"""Members sorted at once: 4 ms."""
MAX_DOMAINS_TRIED = 64
"""Domains that a gang with a required topology is tried in: the best ones."""

Rows = npt.NDArray[np.intp]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Inside = Callable[[Rows], Bools] | None
"""Which rows are in the domain that a gang may not leave; None: there is none."""


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
    min_resources: tuple[tuple[str, int], ...] = ()
    """Amounts that must be free in the cluster before it is tried (the coscheduling plugin's `minResources`)."""


@dataclass(slots=True)
class Meanwhile:
    """What has happened between the pieces of a plan."""

    gone: set[str] = field(default_factory=set)
    """Members that are to be placed no longer, by uid."""
    anew: bool = False
    """What the plan rests on has changed: it ends without a result, and is to be begun again."""


def rank(member: Member) -> tuple[int, str]:
    """The order of members: by index where they have one, then by name."""
    for label, value in member.own:
        if label in RANK_LABELS and value.isascii() and value.isdigit():
            return int(value), member.name
    return 1 << 62, member.name


def plan_gang(
    core: Core, members: Sequence[M], spec: GangSpec, needed: int, peers: Sequence[str] = ()
) -> Placements[M]:
    """`plan` in one stretch."""
    return finish(plan(core, members, spec, needed, peers, Meanwhile()))


def plan(
    core: Core,
    members: Sequence[M],
    spec: GangSpec,
    needed: int,
    peers: Sequence[str],
    meanwhile: Meanwhile,
) -> Pieces[Placements[M]]:
    """Place as many members as find a node, `needed` at least, or none. The core counts those that are returned, as long as they are not `gone`.

    `peers` are the nodes of members that are placed already: new ones go near them, or with a required key to their domain.
    """
    members = yield from _ranked(members)
    needed = max(1, needed)
    bundles = bundles_of(core, members)
    if bundles:
        return (yield from _plan_bundled(core, members, bundles, spec, needed, peers, meanwhile))
    counts: Counter[PodClass] = Counter()
    for part in in_pieces(members):
        counts.update([member.cls for member in part])
        yield
    rooms: dict[PodClass, tuple[Rows, Ints]] = {}
    for cls in counts:
        rooms[cls] = _rooms_of(core, cls)
        yield
    if _possible(rooms, counts) < needed:
        return []
    attempt = _Attempt(core, meanwhile)
    cls = counts.most_common(1)[0][0]
    for enough in _counts(spec, len(members), needed):
        for tree, inside in (yield from _trees(core, *rooms[cls], enough, spec, peers)):
            rows = layout(tree, min(len(members), tree.room))
            yield
            placed = yield from attempt.along(members, rows, inside)
            if spec.required_key is None and len(placed) < len(members):  # few domains are only preferred
                found = {member.uid for member, _ in placed}
                left = [member for member in members if member.uid not in found]
                placed += yield from attempt.one_by_one(left)
            if (yield from attempt.settled(placed, needed)):
                return placed
            if meanwhile.anew:
                return []
    if spec.required_key is not None:
        return []
    placed = yield from attempt.one_by_one(members)
    return placed if (yield from attempt.settled(placed, needed)) else []


def _ranked(members: Sequence[M]) -> Pieces[list[M]]:
    """The members by rank. Sorted runs are made in pieces; putting them together costs a fifth of sorting at once."""
    ranks: list[str] = []  # compared four times as fast as tuples
    for part in in_pieces(members):
        ranks += [f"{index:019d}{name}" for index, name in map(rank, part)]
        yield
    order: list[int] = []
    for start in range(0, len(ranks), RUN_MEMBERS):
        order += sorted(range(start, min(start + RUN_MEMBERS, len(ranks))), key=ranks.__getitem__)
        yield
    order.sort(key=ranks.__getitem__)
    yield
    return [members[number] for number in order]


def _plan_bundled(
    core: Core,
    members: Sequence[M],
    bundles: Sequence[Sequence[M]],
    spec: GangSpec,
    needed: int,
    peers: Sequence[str],
    meanwhile: Meanwhile,
) -> Pieces[Placements[M]]:
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
    orders: list[tuple[list[int], Inside]] = []
    for enough in _counts(spec, len(members), needed):
        for tree, inside in (yield from _trees(core, rows, room, enough, spec, peers)):
            orders.append((layout(tree, min(len(members), tree.room)), inside))
    if spec.required_key is None:
        orders.append((rows[np.argsort(-room, kind="stable")].tolist(), None))
    attempt = _Attempt(core, meanwhile)
    for order, inside in orders:
        placed: Placements[M] = []
        for bundle in bundles:
            left = [member for member in bundle if member.uid not in meanwhile.gone]
            static = core.columns.static_changes
            placed += place_bundle(core, left, order) if left else ()
            yield
            if meanwhile.anew:
                break
            if inside is not None and static != core.columns.static_changes:
                every = np.array(order, np.intp)
                order = every[inside(every)].tolist()
        placed += yield from attempt.along(single, order, inside)
        if spec.required_key is None and len(placed) < len(members):
            found = {member.uid for member, _ in placed}
            placed += yield from attempt.one_by_one([member for member in single if member.uid not in found])
        if (yield from attempt.settled(placed, needed)):
            return placed
        if meanwhile.anew:
            break
        for member in members:
            if member.uid in bundled:
                member.cls = core.resolve(member.cls, member.identity, member.uid)
    return []


def possible(core: Core, members: Sequence[Member]) -> int:
    """How many of the members would find room, each class for itself: an upper bound."""
    if bundles_of(core, members):
        return len(members)
    counts = Counter(member.cls for member in members)
    return _possible({cls: _rooms_of(core, cls) for cls in counts}, counts)


def shortage(core: Core, spec: GangSpec, placed: Iterable[str]) -> dict[str, int]:
    """How much of the resources a gang must find, and of room for its pods, is missing in the cluster as a whole; what its own `placed` pods hold is free for it.

    As the coscheduling plugin's CheckClusterResource: nothing is said about single nodes.
    """
    columns = core.columns
    own: Counter[str] = Counter()
    for uid in placed:
        cls = core.class_of(uid)
        if cls is not None:
            own.update({PODS: 1, **dict(cls.demands)})
    found: dict[str, int] = {}
    for name, wanted in (*spec.min_resources, (PODS, spec.min_count)):
        column = columns.resources.get(name)
        free = 0 if column is None else int((column.allocatable - column.requested)[columns.alive].sum())
        if wanted > free + own[name]:
            found[name] = wanted - free - own[name]
    return found


def _possible(rooms: dict[PodClass, tuple[Rows, Ints]], counts: Counter[PodClass]) -> int:
    return sum(min(count, int(rooms[cls][1].sum())) for cls, count in counts.items())


def _rooms_of(core: Core, cls: PodClass) -> tuple[Rows, Ints]:
    """The rows that would take a member of a class, and how many each."""
    rows = core.feasible_rows(cls)
    return rows, _room(core, cls, rows)


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


def _counts(spec: GangSpec, count: int, needed: int) -> Iterable[int]:
    """For how many members a domain is looked for: all; where they may not leave it, then for those that are needed."""
    return (count,) if spec.required_key is None else dict.fromkeys((count, needed))


def _trees(
    core: Core, rows: Rows, room: Ints, count: int, spec: GangSpec, peers: Sequence[str]
) -> Pieces[list[tuple[Domain, Inside]]]:
    """Domains along which `count` members may be laid out, the best first, and which rows may be used whatever happens."""
    columns = core.columns
    keys: list[str] = []
    for key in spec.preferred_keys:
        if np.any(columns.label(key).ids[columns.alive]):
            keys.append(key)
        yield  # a label that is asked for the first time takes a while
    if not keys and spec.required_key is None:
        return []
    at = np.array(sorted({columns.row_of[name] for name in peers if name in columns.row_of}), np.intp)
    if spec.required_key is None:
        return [((yield from Domain.growing(columns, rows, room, keys, at)), None)]
    column = columns.label(spec.required_key)
    ids, values = column.ids, column.values
    inside = ids[rows]
    totals = np.bincount(inside, weights=room, minlength=1).astype(np.int64)
    totals[0] = 0
    taken = ids[at]
    if len(taken):  # where the peers are, or nowhere
        only = int(taken[0])
        if not only or np.any(taken != only):
            return []
        totals[np.arange(len(totals)) != only] = 0
    fitting = np.flatnonzero(totals >= count)
    trees: dict[Domain, str | None] = {}
    for domain in fitting[np.argsort(totals[fitting], kind="stable")][:MAX_DOMAINS_TRIED].tolist():
        own = inside == domain
        trees[(yield from Domain.growing(columns, rows[own], room[own], keys, at))] = values[domain]
    return [
        (tree, _in_domain(columns, spec.required_key, trees[tree]))
        for tree in best_domains(list(trees), count)
    ]


def _in_domain(columns: NodeColumns, key: str, value: str | None) -> Inside:
    def inside(rows: Rows) -> Bools:
        column = columns.label(key)
        found: Bools = column.ids[rows] == column.id_of.get(value or "", -1)
        return found

    return inside


class _Attempt:
    """Places members, and keeps what it knows of the cluster right between pieces."""

    def __init__(self, core: Core, meanwhile: Meanwhile) -> None:
        self._core = core
        self._meanwhile = meanwhile

    def along(self, members: Sequence[M], rows: list[int], inside: Inside) -> Pieces[Placements[M]]:
        """Place members on the rows in turn. A row that refuses a class is full for it."""
        columns, gone = self._core.columns, self._meanwhile.gone
        lanes = _Lanes(self._core, rows, inside)
        placed: Placements[M] = []
        for part in in_pieces(members):
            for member in part:
                row = None if member.uid in gone else lanes.row(member.cls)
                if row is not None:
                    node = columns.names[row]
                    assert node is not None
                    place_on(self._core, member, node)
                    lanes.took(row)
                    placed.append((member, node))
            cursor, epoch = columns.sequence, columns.epoch
            yield
            if self._meanwhile.anew:
                break
            if cursor != columns.sequence or epoch != columns.epoch:
                lanes.revise(cursor, grown=epoch != columns.epoch)
        return placed

    def one_by_one(self, members: Sequence[M]) -> Pieces[Placements[M]]:
        """Place members where each is best."""
        placed: Placements[M] = []
        full: set[PodClass] = set()
        for part in in_pieces(members):
            for member in part:
                if member.cls in full or member.uid in self._meanwhile.gone:
                    continue
                node = self._core.decide(member.cls)
                if node is None:
                    full.add(member.cls)
                else:
                    place_on(self._core, member, node)
                    placed.append((member, node))
            yield
            if self._meanwhile.anew:
                break
        return placed

    def settled(self, placed: Placements[M], needed: int) -> Pieces[bool]:
        """Whether they are enough; if not they are taken off."""
        gone = self._meanwhile.gone
        lost = sum(member.uid in gone for member, _ in placed) if gone else 0
        if len(placed) - lost >= needed and not self._meanwhile.anew:
            return True
        for part in in_pieces(placed):
            for member, _ in part:
                if member.uid not in gone:
                    self._core.remove(member.uid)
            yield
        return False


class _Lanes:
    """For each class of a gang the rows that it may use, and where it is."""

    def __init__(self, core: Core, rows: list[int], inside: Inside) -> None:
        self._core = core
        self._every = np.array(rows, np.intp)
        self._inside = inside
        self._left: dict[PodClass, Iterator[int]] = {}
        self._current: dict[PodClass, int | None] = {}
        self._states: dict[PodClass, InterPodState] = {}

    def row(self, cls: PodClass) -> int | None:
        """The next row that takes a pod of the class."""
        if cls not in self._left:
            self._begin(cls, self._every)
        row = self._current[cls]
        if row is None:
            return None
        left, state = self._left[cls], self._states.get(cls)
        while row is not None and not _fits(self._core, cls, row, state):
            row = next(left, None)
        self._current[cls] = row
        return row

    def _begin(self, cls: PodClass, rows: Rows) -> None:
        columns = self._core.columns
        rows = rows[plugins.static_ok(columns, cls, rows)]
        if self._inside is not None:
            rows = rows[self._inside(rows)]
        self._left[cls] = iter(rows.tolist())
        self._current[cls] = next(self._left[cls], None)
        if cls.interpod is not None and cls.interpod.filters:
            self._states[cls] = InterPodState(columns, cls)

    def took(self, row: int) -> None:
        """A member was placed there."""
        for state in self._states.values():
            for counts in state.all:
                counts.update(row)

    def revise(self, cursor: int, *, grown: bool) -> None:
        """Others have changed the columns since: look again at which rows may be used, and count other pods anew."""
        changes = self._core.columns.changes_since(cursor)
        if grown or changes is None or any(change & 1 for change in changes):
            for cls, left in tuple(self._left.items()):
                row = self._current[cls]
                if row is not None:
                    self._begin(cls, np.array([row, *left], np.intp))
            return
        for change in changes:
            self.took(change >> 1)


def _fits(core: Core, cls: PodClass, row: int, state: InterPodState | None) -> bool:
    """Whether a row that the static filters allow has room now: by resources alone in plain Python."""
    if state is not None or cls.wanted_ports or cls.constraints:
        return core.row_fits(cls, row, state)
    resources = core.columns.resources
    for name, amount in cls.needs:
        column = resources.get(name)
        if column is None or amount > column.allocatable_cells[row] - column.requested_cells[row]:
            return False
    return True
