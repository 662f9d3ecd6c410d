"""VolumeRestrictions: disks that a pod names itself, and that pods on one node do not share (upstream's plugins/volumerestrictions, v1.36).

A GCE disk, an iSCSI target and an RBD image may be used by several pods of a node as long as all of them only read; an EBS volume by one pod at all. Disks are
the same by name, volume id, iqn, or by pool, image and one common monitor. So a disk is one or more *identities*, and two pods conflict
where they share one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .columns import NodeColumns
from .views import Volume

if TYPE_CHECKING:
    from .constraints import Needs

__all__ = ["Disk", "DiskConstraint", "DiskIndex", "disks_of"]

Rows = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

Disk = tuple[str, bool]
"""An identity, and whether the pod only reads."""

CONFLICT = "node(s) had no available disk"
MAX_CONSTRAINTS = 16_384


def disks_of(volumes: Iterable[Volume]) -> tuple[Disk, ...]:
    """The disks that volumes name."""
    found: dict[Disk, None] = {}
    for volume in volumes:
        if (gce := volume.gcePersistentDisk) is not None:
            found[f"gce {gce.pdName}", bool(gce.readOnly)] = None
        elif (ebs := volume.awsElasticBlockStore) is not None:
            found[f"ebs {ebs.volumeID}", False] = None
        elif (iscsi := volume.iscsi) is not None:
            found[f"iscsi {iscsi.iqn}", bool(iscsi.readOnly)] = None
        elif (rbd := volume.rbd) is not None:
            for monitor in rbd.monitors or ():
                found[f"rbd {monitor} {rbd.pool or 'rbd'} {rbd.image}", bool(rbd.readOnly)] = None
    return tuple(found)


class DiskIndex:
    """Who uses which disk where."""

    def __init__(self, columns: NodeColumns) -> None:
        self._columns = columns
        self._users: dict[str, dict[str, list[int]]] = {}
        """Identity → node → pods that write, pods that only read."""
        self._known: OrderedDict[tuple[Disk, ...], DiskConstraint] = OrderedDict()

    def __repr__(self) -> str:
        return f"DiskIndex({len(self._users)})"

    def count(self, disks: Iterable[Disk], node: str, sign: int) -> None:
        """A pod with disks is placed on a node (`sign` 1), or no longer (-1)."""
        for identity, reads in disks:
            nodes = self._users.setdefault(identity, {})
            counts = nodes.setdefault(node, [0, 0])
            counts[reads] += sign
            if not any(counts):
                del nodes[node]
                if not nodes:
                    del self._users[identity]

    def taken(self, disks: Iterable[Disk]) -> list[int]:
        """The rows where a pod with these disks would be in another's way."""
        row_of = self._columns.row_of
        return [
            row_of[node]
            for identity, reads in disks
            for node, (writers, readers) in self._users.get(identity, {}).items()
            if (writers or (readers and not reads)) and node in row_of
        ]

    def constraint(self, disks: tuple[Disk, ...]) -> DiskConstraint:
        """What the disks of some pods mean for nodes."""
        found = self._known.get(disks)
        if found is None:
            found = self._known[disks] = DiskConstraint(self, disks)
            if len(self._known) > MAX_CONSTRAINTS:
                self._known.popitem(last=False)
        return found


class DiskConstraint:
    """No other pod on the node has one of the disks, or all only read it."""

    late = False
    version = 0

    def __init__(self, index: DiskIndex, disks: tuple[Disk, ...]) -> None:
        self._index = index
        self.disks = disks

    def __repr__(self) -> str:
        return f"DiskConstraint({self.disks})"

    def passes(self, rows: Rows) -> Bools:
        """Where nobody is in the way."""
        taken = self._index.taken(self.disks)
        return ~np.isin(rows, taken) if taken else np.ones(len(rows), np.bool_)

    def row_passes(self, row: int) -> bool:
        """Whether nobody is on this row."""
        return row not in self._index.taken(self.disks)

    def refusals(self, rows: Rows) -> list[tuple[Rows, str, bool]]:
        """Pods that go free their disks."""
        return [(rows, CONFLICT, True)] if len(rows) else []

    def may_pass(self, rows: Rows) -> Bools:
        """Once pods are removed, everywhere."""
        return np.ones(len(rows), np.bool_)

    def room(self, rows: Rows) -> Ints | None:
        """One pod, unless all only read."""
        if all(reads for _, reads in self.disks):
            return None
        return np.ones(len(rows), np.int64)

    def reserve(self, uid: str, needs: Needs | None, node: str) -> None:
        """Disks are counted with the pod."""
