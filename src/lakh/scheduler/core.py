"""The scheduler's core: who is where, and where the next pod goes. No I/O, no clock.

The core owns the columns and the accounting of placed pods. A pod is *placed* on a node by name, whether the API server says so or we
assume it; the node need not be known yet (pods and nodes arrive in any order), and then its pods count as soon as it appears. At any
moment the requested columns equal the sum over the placed pods of each node: `place` and `remove` are the only ways to
change them, and both are idempotent by the pod's uid.

`decide` gives the best node of a class. Candidate orders are kept for the classes in use, as many as `MAX_ORDER_CELLS`
allows. For a class that fits nowhere only the position in the change log is kept: it is looked at again on the rows
that changed since.

Costs at 100,000 nodes: the first decision of a class about 9 ms, each further one about 5 µs with its placement.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import msgspec
import numpy as np

from . import constraints, plugins
from .candidates import CandidateOrder
from .columns import NodeColumns
from .constraints import ConstrainedClasses, Constraint, Needs
from .devicedemand import scored
from .diagnosis import explain
from .domains import AFFINITY, NO_LABEL, InterPodState
from .dynamicresources import DynamicResources
from .extendedresources import ResourceFit
from .groups import GroupedOrder
from .interpod import Identity, InterPodIndex, Own
from .outlook import Outlook
from .podclass import MAX_CLASSES, ClassTable, PodClass
from .preemption import MAX_SHARE, MAX_TRIED, Budget, Levels, Plan, Victim, choose, select_victims
from .requests import PODS
from .views import Node
from .volumes import VolumeIndex

__all__ = ["Core"]

MAX_ORDER_CELLS = 16_777_216
"""Classes times rows for which orders are kept: 150 to 400 MB when all are in use (128 classes at 100,000 nodes)."""
MIN_ORDERS = 16
MAX_ORDERS = 4_096
MAX_OUTLOOKS = 64
"""Classes whose outlook on preemption is kept: 2 bytes a row and a plan for each node tried, 2,000 at most."""
MAX_REFUSED = 65_536
"""Classes known to fit nowhere: a number each."""


class Placed(msgspec.Struct, gc=False, eq=False):
    """A pod on a node. What it refers to does not lead back to it, so the garbage collector need not look at a million of them."""

    cls: PodClass
    node: str
    identity: Identity | None
    active: bool
    name: str
    started: str
    own: Own


class Core:
    """Columns, accounting and decisions."""

    def __init__(self) -> None:
        self.columns = NodeColumns()
        self.classes = ClassTable()
        self.interpods = InterPodIndex()
        self.volumes = VolumeIndex(self.columns)
        self.devices = DynamicResources(self.columns)
        self.columns.device_counts = self.devices.counts.of
        self._needs: dict[str, Needs] = {}
        self._constrained = ConstrainedClasses()
        self._fits: OrderedDict[tuple[PodClass, tuple[str, ...]], ResourceFit] = OrderedDict()
        """Of classes that ask for extended resources, these, that device classes stand behind."""
        self._imaged: OrderedDict[tuple[PodClass, tuple[str, ...]], PodClass] = OrderedDict()
        self._placed: dict[str, Placed] = {}
        self._on_node: dict[str, list[str]] = {}
        self._priorities: Counter[int] = Counter()
        self._levels: Levels | None = None
        self._orders: OrderedDict[PodClass, CandidateOrder | GroupedOrder] = OrderedDict()
        self._outlooks: OrderedDict[PodClass, Outlook] = OrderedDict()
        self._refused: OrderedDict[PodClass, tuple[int, int]] = OrderedDict()
        self.interpods.on_selected = self._widen_identities

    def __repr__(self) -> str:
        return f"Core(nodes={len(self.columns)}, placed={len(self._placed)}, orders={len(self._orders)})"

    # Nodes

    def set_node(self, node: Node) -> bool:
        """Add or change a node. Returns whether that matters to scheduling."""
        name = node.metadata.name
        new = name not in self.columns.row_of
        changed = self.columns.set_node(node)
        if new:
            row = self.columns.row_of[name]
            self.volumes.node_added(name, row)
            self.devices.node_added(name, row)
            for uid in self._on_node.get(name, ()):
                self._count(self._placed[uid], row, 1)
        return changed

    def remove_node(self, name: str) -> None:
        """Forget a node. Its pods stay placed on the name: they count again should the node come back."""
        row = self.columns.row_of.get(name)
        if row is None:
            return
        for uid in self._on_node.get(name, ()):
            placed = self._placed[uid]
            if self._levels is not None:
                self._levels.count(row, placed.cls, -1)
            if placed.identity is not None:
                self.interpods.count(placed.identity, placed.cls, row, -1, active=placed.active)
        self.columns.remove_node(name)
        self.devices.node_removed(row)

    # Pods

    def place(
        self,
        uid: str,
        cls: PodClass,
        node: str,
        identity: Identity | None = None,
        *,
        active: bool = True,
        name: str = "",
        started: str = "",
        own: Own = (),
    ) -> None:
        """Count a pod on a node, and no longer where it was counted before. A pod that terminates is not `active`."""
        wanted = cls.constraints
        if cls.base is not None:
            cls = cls.base
        placed = self._placed.get(uid)
        if placed is not None:
            if placed.cls is cls and placed.node == node and placed.identity is identity:
                if started and placed.started != started:
                    placed.started = started
                    row = self.columns.row_of.get(node)
                    for outlook in self._outlooks.values():
                        outlook.plans.pop(row or 0, None)
                if placed.active != active:
                    self._set_active(placed, active)
                return
            self.remove(uid)
        placed = self._placed[uid] = Placed(cls, node, identity, active, name, started, own)
        self._on_node.setdefault(node, []).append(uid)
        self._priorities[cls.priority] += 1
        row = self.columns.row_of.get(node)
        if row is not None:
            self._count(placed, row, 1)
        needs = self._needs.get(uid) if self._needs else None
        if needs is not None:
            self.volumes.count(needs, node, 1)
        for constraint in wanted:
            constraint.reserve(uid, needs, node)

    def remove(self, uid: str) -> bool:
        """Count a pod no longer. Returns whether it was placed."""
        placed = self._placed.pop(uid, None)
        if placed is None:
            return False
        cls, node = placed.cls, placed.node
        uids = self._on_node[node]
        uids.remove(uid)
        if not uids:
            del self._on_node[node]
        self._priorities[cls.priority] -= 1
        if not self._priorities[cls.priority]:
            del self._priorities[cls.priority]
        row = self.columns.row_of.get(node)
        if row is not None:
            self._count(placed, row, -1)
        if self._needs and (needs := self._needs.get(uid)) is not None:
            self.volumes.count(needs, node, -1)
            self.volumes.release(uid)
        if self.devices.pending:
            self.devices.release(uid)
        return True

    def _count(self, placed: Placed, row: int, sign: int) -> None:
        if self._levels is not None:
            self._levels.count(row, placed.cls, sign)
        if placed.identity is not None:
            self.interpods.count(placed.identity, placed.cls, row, sign, active=placed.active)
        self.columns.add_pod(row, placed.cls, sign)

    def _set_active(self, placed: Placed, active: bool) -> None:
        placed.active = active
        row = self.columns.row_of.get(placed.node)
        if row is not None and placed.identity is not None:
            self.interpods.count_terminating(placed.identity, row, 1 if active else -1)
            self.columns.changed(row, static=False)

    def _widen_identities(self) -> None:
        """One more of the labels that pods have for themselves is selected by: identities have it from now on."""
        for placed in self._placed.values():
            if not placed.own or placed.identity is None:
                continue
            row = self.columns.row_of.get(placed.node)
            if row is not None:
                self.interpods.count(placed.identity, placed.cls, row, -1, active=placed.active)
            placed.identity = self.interpods.widened(placed.identity, placed.own)
            if row is not None:
                self.interpods.count(placed.identity, placed.cls, row, 1, active=placed.active)

    def node_of(self, uid: str) -> str | None:
        """Where a pod is placed."""
        placed = self._placed.get(uid)
        return placed.node if placed else None

    def class_of(self, uid: str) -> PodClass | None:
        """The class that a pod is placed with."""
        placed = self._placed.get(uid)
        return placed.cls if placed else None

    def placed(self) -> dict[str, tuple[PodClass, str]]:
        """All placed pods: uid → class, node."""
        return {uid: (placed.cls, placed.node) for uid, placed in self._placed.items()}

    def resolve(
        self, cls: PodClass, identity: Identity | None, uid: str = "", images: tuple[str, ...] = ()
    ) -> PodClass:
        """The class to decide for: with what the pod's claims mean, its images, and what it and the placed pods want of each other."""
        cls = cls.base or cls
        needs = self._needs.get(uid) if self._needs else None
        if needs is not None or (cls.extended and self.devices.extended):
            cls = self._constrain(cls, uid, needs)
        numbers = self.columns.images.numbers
        if numbers and cls.profile.image_weight and not numbers.keys().isdisjoint(images):
            cls = self._with_images(cls, images)
        return cls if identity is None else self.interpods.resolve(cls, identity)

    def _constrain(self, cls: PodClass, uid: str, needs: Needs | None) -> PodClass:
        filters = cls.profile.filters
        problem: str | None = None
        wanted: tuple[Constraint, ...] = ()
        backed = self.devices.backed(cls) if cls.extended else ()
        if needs is not None:
            problem, wanted = self.volumes.resolve(needs, filters)
        if problem is None and "DynamicResources" in filters:
            problem, more = self.devices.resolve(uid, needs, cls, backed)
            wanted += more
        for name in backed:
            self.columns.resource(name)
        if backed and cls.needs:
            fit = self._fits.get((cls, backed))
            if fit is None:
                fit = self._fits[cls, backed] = ResourceFit(
                    self.columns, tuple(need for need in cls.needs if need[0] in backed)
                )
                if len(self._fits) > MAX_CLASSES:
                    self._fits.popitem(last=False)
            wanted = (fit, *wanted)
        classes = self.devices.extended
        return self._constrained.of(cls, problem, wanted, tuple((name, classes[name]) for name in backed))

    def _with_images(self, cls: PodClass, images: tuple[str, ...]) -> PodClass:
        found = self._imaged.get((cls, images))
        if found is None:
            found = dataclasses.replace(cls, images=images, base=cls.base or cls)
            self._imaged[cls, images] = found
            if len(self._imaged) > MAX_CLASSES:
                self._imaged.popitem(last=False)
        else:
            self._imaged.move_to_end((cls, images))
        return found

    def set_needs(self, uid: str, needs: Needs | None) -> bool:
        """What a pod needs beside its node; None when it is gone or needs nothing. Returns whether that is new."""
        if needs is None:
            return bool(self._needs) and self._needs.pop(uid, None) is not None
        if self._needs.get(uid) == needs:
            return False
        node = self.node_of(uid)
        if node is not None and (old := self._needs.get(uid)) is not None:
            self.volumes.count(old, node, -1)
        self._needs[uid] = needs
        if node is not None:
            self.volumes.count(needs, node, 1)
        return True

    @property
    def any_needs(self) -> bool:
        """Whether any pod needs something beside its node."""
        return bool(self._needs)

    def needs(self, uid: str) -> Needs | None:
        """What a pod needs beside its node."""
        return self._needs.get(uid) if self._needs else None

    def set_namespace(self, name: str, labels: dict[str, str] | None) -> bool:
        """A namespace's labels; None when it is gone. Returns whether that matters to scheduling."""
        changed = self.interpods.set_namespace(name, labels)
        if changed:  # counts may have changed on any row: whoever derived something from them starts over
            self.columns.epoch += 1
        return changed

    # Decisions

    def decide(self, cls: PodClass) -> str | None:
        """The best node for a pod of the class, or None. Nothing is placed."""
        pinned = cls.pinned_nodes
        if (
            pinned is None
            or (cls.interpod is not None and (cls.interpod.filters or len(pinned) > 1))
            or (cls.images and len(pinned) > 1)
        ):
            row = self._best(cls)
            if row is not None and cls.constraints and not constraints.row_passes(cls, row):
                self._orders.pop(cls, None)  # something changed without a word: start over
                row = self._best(cls)
        else:
            row = self._best_pinned(cls)
        return None if row is None else self.columns.names[row]

    def is_new(self, cls: PodClass) -> bool:
        """Whether `decide` would begin with a pass over all nodes for this class."""
        return cls not in self._orders and cls.pinned_nodes is None and cls not in self._refused

    def prepare(self, cls: PodClass) -> Iterator[None]:
        """That pass, in pieces. Whatever happens between them, the next decision counts it."""
        order = (GroupedOrder if cls.interpod is not None else CandidateOrder)(self.columns, cls)
        yield from order.build()
        limit = max(MIN_ORDERS, min(MAX_ORDERS, MAX_ORDER_CELLS // self.columns.capacity))
        while len(self._orders) >= limit:
            self._orders.popitem(last=False)
        self._orders[cls] = order

    def room(self, cls: PodClass, limit: int) -> int:
        """About how many pods of the class would find nodes now: 0 only if there is none for the next, `limit` if it is as much or not known."""
        if self.decide(cls) is None:
            return 0
        order = self._orders.get(cls)
        if type(order) is not CandidateOrder or cls.constraints or cls.wanted_ports:
            return limit  # not by resources alone
        return order.room(limit)

    def explain(self, cls: PodClass, *, tail: str | None = None, claims: str | None = None) -> str:
        """Why a class fits nowhere, with or without preemption; `tail` is said instead of the latter. `claims` is what came of
        looking for resource claims to give back."""
        lower = any(priority < cls.priority for priority in self._priorities)
        return explain(self.columns, cls, self._all_levels() if lower else None, tail=tail, claims=claims)

    def fits_on(self, cls: PodClass, node: str) -> bool:
        """Whether a pod of the class may go to this node now."""
        row = self.columns.row_of.get(node)
        return row is not None and self.row_fits(cls, row)

    def may_help(self, cls: PodClass, node: str) -> bool:
        """Whether pods that leave this node may make room for a pod of the class."""
        row = self.columns.row_of.get(node)
        return row is not None and bool(plugins.static_ok(self.columns, cls, np.array([row], np.intp))[0])

    def leaving(self, node: str, priority: int) -> bool:
        """Whether a pod of lower priority is terminating on the node."""
        return any(
            not placed.active and placed.cls.priority < priority
            for uid in self._on_node.get(node, ())
            if (placed := self._placed[uid])
        )

    def feasible_rows(self, cls: PodClass) -> plugins.Rows:
        """The rows that would take a pod of the class, other pods' wishes aside."""
        return self._feasible_rows(cls, np.flatnonzero(self.columns.alive))

    def row_fits(self, cls: PodClass, row: int, state: InterPodState | None = None) -> bool:
        """Whether a row would take a pod of the class now."""
        rows = np.array([row], np.intp)
        if not len(self._feasible_rows(cls, rows)):
            return False
        if cls.interpod is None or not cls.interpod.filters:
            return True
        if state is None:
            state = InterPodState(self.columns, cls)
        return not state.verdicts(lambda counts: counts.of_rows(rows), 1)[0]

    # Preemption

    def preempt(self, cls: PodClass, budgets: Sequence[Budget]) -> Plan | None:
        """Where a pod that fits nowhere would fit without pods of lower priority, and which ones have to go."""
        if cls.never_preempts or cls.problem is not None or not cls.profile.preempts:
            return None
        levels = self._all_levels()
        below = levels.below(cls.priority)
        if not below:
            return None
        outlook = self._outlook(cls, levels, below)
        state = None
        rows: Iterable[int]
        if (
            cls.pinned_nodes is None
            and not cls.constraints
            and not (cls.interpod is not None and cls.interpod.filters)
        ):
            count, rows = outlook.count(), outlook.walk()
        else:
            left, state = self._promising(cls, outlook.rows())
            count, rows = len(left), left.tolist()
        share = count * cls.profile.min_candidates_percentage // 100
        wanted = max(min(share, MAX_SHARE), cls.profile.min_candidates_absolute)
        plans: list[Plan] = []
        keep = state is None and not (budgets or cls.wanted_ports or cls.constraints)
        known = outlook.plans if keep else {}
        for row in islice(rows, MAX_TRIED):
            plan = known.get(row, False)
            if plan is False:
                plan = known[row] = self._plan(cls, row, budgets, state)
            if plan is not None:
                plans.append(plan)
                if len(plans) >= wanted and any(not found.violations for found in plans):
                    break
        return choose(plans)

    def _promising(self, cls: PodClass, rows: plugins.Rows) -> tuple[plugins.Rows, InterPodState | None]:
        """The rows that are left when more is asked than room, and the counts by which they were judged."""
        columns = self.columns
        if cls.pinned_nodes is not None:
            pinned = [columns.row_of[n] for n in cls.pinned_nodes if n in columns.row_of]
            rows = rows[np.isin(rows, pinned)]
        for constraint in cls.constraints:
            rows = rows[constraint.may_pass(rows)]
        if cls.interpod is None or not cls.interpod.filters:
            return rows, None
        state = InterPodState(columns, cls)
        verdicts = state.verdicts(lambda counts: counts.of_rows(rows), len(rows))
        # Affinity says that preemption does not help, where no filter before it has said that it may.
        asked = plugins.fits(columns, cls, rows) & plugins.ports_free(columns, cls, rows)
        asked &= constraints.passes(cls, rows)
        return rows[(verdicts != NO_LABEL) & ~((verdicts == AFFINITY) & asked)], state

    def _outlook(self, cls: PodClass, levels: Levels, below: list[int]) -> Outlook:
        """What preemption for a class would find, as of now."""
        outlook = self._outlooks.pop(cls, None)
        if outlook is None:
            outlook = Outlook(cls)
            if len(self._outlooks) >= MAX_OUTLOOKS:
                self._outlooks.popitem(last=False)
        self._outlooks[cls] = outlook
        outlook.catch_up(self.columns, levels, below)
        return outlook

    def victims(self) -> Iterator[tuple[str, Victim]]:
        """All placed pods as preemption sees them: uid, pod."""
        for uid, placed in self._placed.items():
            yield uid, self._victim(uid, placed)

    def victim(self, uid: str) -> Victim | None:
        """One of them."""
        placed = self._placed.get(uid)
        return None if placed is None else self._victim(uid, placed)

    def count_again(self, uid: str, sign: int) -> None:
        """Count a placed pod off its node (`sign` -1), to see what would fit without it, or on it again (1)."""
        placed = self._placed[uid]
        row = self.columns.row_of.get(placed.node)
        if row is not None:
            self._count(placed, row, sign)

    def lowest_priority(self) -> int | None:
        """That of the placed pods."""
        return min(self._priorities, default=None)

    @staticmethod
    def _victim(uid: str, placed: Placed) -> Victim:
        identity = placed.identity
        labels = identity.labels if identity else {}
        if placed.own:
            labels = {**labels, **dict(placed.own)}
        namespace = identity.namespace if identity else ""
        return Victim(uid, placed.cls, namespace, placed.name, labels, placed.started)

    def _all_levels(self) -> Levels:
        if self._levels is None:
            self._levels = Levels(self.columns.capacity)
            for placed in self._placed.values():
                row = self.columns.row_of.get(placed.node)
                if row is not None:
                    self._levels.count(row, placed.cls, 1)
        return self._levels

    def _plan(
        self, cls: PodClass, row: int, budgets: Sequence[Budget], state: InterPodState | None
    ) -> Plan | None:
        node = self.columns.names[row]
        assert node is not None
        lower = [
            self._victim(uid, placed)
            for uid in sorted(self._on_node.get(node, ()))
            if (placed := self._placed[uid]).cls.priority < cls.priority
        ]
        if state is None and not cls.wanted_ports and not cls.constraints:
            return self._plan_by_resources(cls, row, node, lower, budgets)

        def count(victim: Victim, sign: int) -> None:
            self._count(self._placed[victim.uid], row, sign)
            if self._needs and (needs := self._needs.get(victim.uid)) is not None:
                self.volumes.count(needs, node, sign)
            for counts in state.all if state is not None else ():
                counts.update(row)

        return select_victims(
            node,
            lower,
            budgets,
            remove=lambda victim: count(victim, -1),
            restore=lambda victim: count(victim, 1),
            fits=lambda: self.row_fits(cls, row, state),
        )

    def _plan_by_resources(
        self, cls: PodClass, row: int, node: str, lower: list[Victim], budgets: Sequence[Budget]
    ) -> Plan | None:
        """The same in plain arithmetic, for classes that only need room."""
        free: dict[str, int] = {}
        needs = dict(cls.needs)
        for name in needs:
            column = self.columns.resources.get(name)
            if column is None:
                return None
            free[name] = column.allocatable_cells[row] - column.requested_cells[row]

        def count(victim: Victim, sign: int) -> None:
            for name, amount in ((PODS, 1), *victim.cls.demands):
                if name in free:
                    free[name] += sign * amount

        return select_victims(
            node,
            lower,
            budgets,
            remove=lambda victim: count(victim, 1),
            restore=lambda victim: count(victim, -1),
            fits=lambda: all(free[name] >= amount for name, amount in needs.items()),
        )

    def _best(self, cls: PodClass) -> int | None:
        order = self._orders.get(cls)
        if order is None:
            if cls.interpod is None and self._still_refused(cls):
                return None
            for _ in self.prepare(cls):
                pass
            order = self._orders[cls]
        else:
            self._orders.move_to_end(cls)
        row = order.best()
        if row is None and cls.interpod is None:
            self._refuse(cls)
        return row

    def _refuse(self, cls: PodClass) -> None:
        self._refused[cls] = self.columns.sequence, constraints.versions(cls.constraints)
        self._refused.move_to_end(cls)
        if len(self._refused) > MAX_REFUSED:
            self._refused.popitem(last=False)

    def _still_refused(self, cls: PodClass) -> bool:
        """Whether a class that fitted nowhere still does, judged by the rows that changed since."""
        known = self._refused.get(cls)
        if known is None:
            return False
        changes = self.columns.changes_since(known[0])
        if changes is None or known[1] != constraints.versions(cls.constraints):
            del self._refused[cls]
            return False
        if changes:
            rows = np.array(sorted({change >> 1 for change in changes}))
            if len(self._feasible_rows(cls, rows)):
                del self._refused[cls]
                return False
            self._refuse(cls)
        return True

    def _feasible_rows(self, cls: PodClass, rows: plugins.Rows) -> plugins.Rows:
        columns = self.columns
        rows = rows[plugins.fits(columns, cls, rows)]
        rows = rows[plugins.static_ok(columns, cls, rows)] if len(rows) else rows
        rows = rows[plugins.ports_free(columns, cls, rows)] if len(rows) else rows
        return rows[constraints.passes(cls, rows)] if cls.constraints and len(rows) else rows

    def _best_pinned(self, cls: PodClass) -> int | None:
        """A daemon's pod has one node to go to: no order is kept for its class."""
        columns = self.columns
        rows = np.array(
            sorted(columns.row_of[n] for n in cls.pinned_nodes or () if n in columns.row_of), np.intp
        )
        rows = self._feasible_rows(cls, rows)
        if len(rows) < 2:
            return int(rows[0]) if len(rows) else None
        taint, affinity = plugins.taint_raw(columns, cls, rows), plugins.affinity_raw(columns, cls, rows)
        scores = plugins.resource_scores(columns, cls, rows)
        scores += plugins.bonus(cls, taint, affinity, int(taint.max()), int(affinity.max()))
        if (demand := scored(cls)) is not None and (most := int((raw := demand.score(rows)).max())):
            scores += cls.profile.device_weight * (plugins.MAX_NODE_SCORE * raw // most)
        return int(rows[int(scores.argmax())])
