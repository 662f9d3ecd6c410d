"""What the claims of some pods mean for nodes: the verdicts of VolumeRestrictions, NodeVolumeLimits, VolumeBinding and VolumeZone.

Pods whose claims mean the same share a constraint; `volumes` makes them. All is judged over columns. Rows that reach the same volumes are judged
once, by the rules that binding follows, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from lakh.machinery.volumes import ClaimView, VolumeView, find_volume

from .columns import NodeColumns
from .constraints import UNLIMITED, Needs
from .nodeterms import any_term
from .views import NodeSelectorTerm

if TYPE_CHECKING:
    from .volumes import Unbound, VolumeIndex, Wants

__all__ = ["VolumeConstraint"]

Rows = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

HAS_POD = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
TOO_MANY = "node(s) exceed max volume count"
NODE_CONFLICT = "node(s) didn't match PersistentVolume's node affinity"
NO_MATCH = "node(s) didn't find available persistent volumes to bind"
NO_SPACE = "node(s) did not have enough free storage"
NO_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
NO_ZONE = "node(s) had no available volume zone"

ZONE_LABELS = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region": "topology.kubernetes.io/region",
}
"""Labels of volumes that VolumeZone looks at, and what the same is called today."""


class VolumeConstraint:
    """What the volumes of some pods mean for nodes."""

    late = False

    def __init__(self, index: VolumeIndex, columns: NodeColumns, wants: Wants) -> None:
        self._index = index
        self._columns = columns
        self.wants = wants
        self._affinities = [
            msgspec.json.decode(encoded, type=list[NodeSelectorTerm]) for encoded in wants.affinities
        ]

    def __repr__(self) -> str:
        return f"VolumeConstraint({self.wants})"

    @property
    def version(self) -> int:
        """Only unbound claims, and those of one pod at a time, depend on more than the node."""
        return self._index.version if self.wants.unbound or self.wants.once else 0

    def passes(self, rows: Rows) -> Bools:
        """VolumeRestrictions, NodeVolumeLimits, VolumeBinding, VolumeZone."""
        ok = self._once_ok(rows)
        if ok.any() and self.wants.attach:
            ok &= self._limits_ok(rows)
        if ok.any():
            conflict, unmatched, space = self._binding(rows)
            ok &= ~(conflict | unmatched | space)
        if ok.any() and self.wants.zones:
            ok &= self._zones_ok(rows)
        return ok & (not self.wants.missing)

    def row_passes(self, row: int) -> bool:
        """The same for one row."""
        return bool(self.passes(np.array([row], np.intp))[0])

    def may_pass(self, rows: Rows) -> Bools:
        """Pods that go free volumes that one pod at a time may use, and places for attached ones."""
        conflict, unmatched, space = self._binding(rows)
        ok = ~(conflict | unmatched | space)
        if self.wants.zones:
            ok &= self._zones_ok(rows)
        for key in self.wants.once:
            nodes = self._index.users(key)
            if nodes:
                users = [self._columns.row_of[node] for node in nodes if node in self._columns.row_of]
                ok &= np.isin(rows, users) & (len(nodes) == 1)
        return ok & (not self.wants.missing)

    def room(self, rows: Rows) -> Ints | None:
        """By volume limits."""
        room: Ints | None = None
        for driver, count in self.wants.attach:
            left = self._index.room(driver, rows) // count
            room = left if room is None else np.minimum(room, left)
        return np.minimum(UNLIMITED if room is None else room, 1) if self.wants.once else room

    def reserve(self, uid: str, needs: Needs | None, node: str) -> None:
        """Volumes for the claims that wait for their first consumer."""
        if self.wants.unbound and needs is not None:
            self._index.reserve(uid, needs, node)

    def refusals(self, rows: Rows) -> list[tuple[Rows, str, bool]]:
        """The first plugin that refuses a row says why; VolumeBinding may have two reasons."""
        found: list[tuple[Rows, str, bool]] = []
        for ok, reason in ((self._once_ok, HAS_POD), (self._limits_ok, TOO_MANY)):
            passed = ok(rows)
            found.append((rows[~passed], reason, True))
            rows = rows[passed]
        conflict, unmatched, space = self._binding(rows)
        missing = np.full(len(rows), self.wants.missing)
        for refused, reason in (
            (conflict, NODE_CONFLICT),
            (unmatched, NO_MATCH),
            (space, NO_SPACE),
            (missing & ~conflict, NO_VOLUME),
        ):
            found.append((rows[refused], reason, False))
        rows = rows[~(conflict | unmatched | space | missing)]
        found.append((rows[~self._zones_ok(rows)], NO_ZONE, False))
        return [entry for entry in found if len(entry[0])]

    # The plugins

    def _once_ok(self, rows: Rows) -> Bools:
        """VolumeRestrictions: nobody else uses the claim, on whatever node."""
        used = any(self._index.users(key) for key in self.wants.once)
        return np.full(len(rows), not used)

    def _limits_ok(self, rows: Rows) -> Bools:
        """NodeVolumeLimits."""
        ok = np.ones(len(rows), np.bool_)
        for driver, count in self.wants.attach:
            more = np.full(len(rows), count, np.int64)
            for shared, key in self.wants.shared:
                if shared == driver:
                    nodes = [self._columns.row_of.get(node, -1) for node in self._index.users(key)]
                    more -= np.isin(rows, nodes)
            ok &= (more <= 0) | (more <= self._index.room(driver, rows))
        return ok

    def _zones_ok(self, rows: Rows) -> Bools:
        """VolumeZone: nodes without any topology label pass."""
        if not self.wants.zones:
            return np.ones(len(rows), np.bool_)
        columns = self._columns
        labelled = np.zeros(len(rows), np.bool_)
        for label in ZONE_LABELS:
            labelled |= columns.label(label).ids[rows] != 0
        ok = np.ones(len(rows), np.bool_)
        for label, values in self.wants.zones:
            own, today = columns.label(label), columns.label(ZONE_LABELS[label])
            in_own = np.isin(own.ids[rows], [own.id_of[v] for v in values if v in own.id_of])
            in_today = np.isin(today.ids[rows], [today.id_of[v] for v in values if v in today.id_of])
            ok &= np.where(own.ids[rows] != 0, in_own, in_today)
        return ok | ~labelled

    def _binding(self, rows: Rows) -> tuple[Bools, Bools, Bools]:
        """VolumeBinding's reasons: node affinity conflict, nothing to bind to, no space."""
        conflict = np.zeros(len(rows), np.bool_)
        for terms in self._affinities:
            conflict |= ~any_term(self._columns, terms, rows)
        unmatched, space = np.zeros(len(rows), np.bool_), np.zeros(len(rows), np.bool_)
        if self.wants.unbound:
            self._match(rows, unmatched, space)
        return conflict, unmatched, space

    def _match(self, rows: Rows, unmatched: Bools, space: Bools) -> None:
        """Judge the unbound claims: rows that reach the same volumes are judged at once."""
        index = self._index
        claims = [self._claim(unbound) for unbound in self.wants.unbound]
        provisioned: list[ClaimView] = []
        searching: list[tuple[ClaimView, list[VolumeView]]] = []
        volumes: dict[str, VolumeView] = {}
        for claim in claims:
            node = index.chosen_node(claim)
            if node is not None:
                unmatched |= rows != self._columns.row_of.get(node, -1)
                provisioned.append(claim)
            else:
                candidates = index.candidates(claim)
                volumes.update((volume.metadata.name, volume) for volume in candidates)
                searching.append((claim, candidates))
        makeable = {id(claim): index.provisionable(claim, rows) for claim in claims}

        def provision(claim: ClaimView, where: Bools) -> None:
            topology, enough = makeable[id(claim)]
            open_ = where & ~unmatched & ~space
            unmatched[open_ & ~topology] = True
            space[open_ & topology & ~enough] = True

        everywhere = np.ones(len(rows), np.bool_)
        for claim in provisioned:
            provision(claim, everywhere)
        if not volumes:
            for claim, _ in searching:
                provision(claim, everywhere)
            return
        names = list(volumes)
        reach = np.stack([index.reachable(volumes[name], rows) for name in names], axis=1)
        groups, inverse = np.unique(np.packbits(reach, axis=1), axis=0, return_inverse=True)
        inverse = inverse.reshape(-1)
        for group in range(len(groups)):
            where = inverse == group
            here = {name for name, ok in zip(names, reach[int(where.argmax())], strict=True) if ok}
            taken: set[str] = set()
            for claim, candidates in searching:
                found = find_volume(claim, candidates, taken, lambda v: v.metadata.name in here)  # noqa: B023
                if found is None:
                    provision(claim, where)
                else:
                    taken.add(found.metadata.name)

    def _claim(self, unbound: Unbound) -> ClaimView:
        """A claim with the signature: the very one where that matters."""
        known = self._index.claims.get(unbound.key) if unbound.key else None
        if known is not None:
            return known
        name, modes, mode, selector = msgspec.json.decode(unbound.signature)
        body = {
            "metadata": {"name": "", "namespace": "", "uid": "-"},
            "spec": {
                "storageClassName": name,
                "accessModes": modes,
                "volumeMode": mode,
                "selector": selector,
                "resources": {"requests": {"storage": unbound.size}},
            },
        }
        return msgspec.convert(body, ClaimView)
