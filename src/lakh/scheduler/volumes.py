"""VolumeBinding, VolumeRestrictions, NodeVolumeLimits and VolumeZone: which nodes a pod's PersistentVolumeClaims allow.

The index holds claims, volumes, storage classes, CSI limits and capacities as the API tells them, and what placed pods take beyond that:

    reserve     a pod is placed: each of its unbound claims gets a volume (static) or the node (to be provisioned there)
    release     it is placed no longer, unless the API knows of it by then

A bound claim becomes its volume's node affinity and zone labels; a claim that waits for its first consumer becomes its signature (size, modes,
class, selector): pods whose claims have the same meaning share a constraint. Constraints without unbound claims never change. Those with
some are judged anew whenever volumes, classes or capacities do, which is when `version` grows.

Nothing here is touched by pods without claims.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from lakh.machinery import quantity, selectors
from lakh.machinery.selectors import Selector, SelectorError
from lakh.machinery.volumes import (
    NO_PROVISIONER,
    SELECTED_NODE,
    ClaimView,
    StorageClassView,
    VolumeView,
    bound_to,
    class_of,
    find_volume,
    is_bound,
    requested_bytes,
)

from .columns import NodeColumns
from .constraints import UNLIMITED, Constraint, Needs
from .disks import DiskIndex
from .nodeterms import any_term, labels_ok, topology_ok
from .profile import VOLUME_FILTERS
from .volumeconstraint import ZONE_LABELS, VolumeConstraint
from .volumeviews import CapacityView, CSIDriverView, CSINodeView

__all__ = ["Unbound", "VolumeIndex", "VolumePlan", "Wants"]

Rows = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

ONCE_POD = "ReadWriteOncePod"
UNBOUND = "pod has unbound immediate PersistentVolumeClaims"

MAX_CONSTRAINTS = 16_384

_encode = msgspec.json.Encoder(order="deterministic").encode


@dataclass(frozen=True, slots=True)
class Unbound:
    """A claim that waits for its first consumer: all that tells which nodes will do."""

    size: int
    key: str
    """The claim's key where it matters which claim it is (a volume or a node is set aside for it), else empty."""
    signature: bytes


@dataclass(frozen=True, slots=True)
class Wants:
    """What a pod's claims mean for nodes."""

    affinities: tuple[bytes, ...] = ()
    zones: tuple[tuple[str, tuple[str, ...]], ...] = ()
    missing: bool = False
    unbound: tuple[Unbound, ...] = ()
    once: tuple[str, ...] = ()
    """Claims that one pod at a time may use."""
    attach: tuple[tuple[str, int], ...] = ()
    """CSI drivers, and how many more volumes of each the pod attaches."""
    shared: tuple[tuple[str, str], ...] = ()
    """CSI driver and key of claims that other pods use, too: where they run they are attached already."""


@dataclass(slots=True)
class VolumePlan:
    """What is done about a pod's unbound claims when it goes to its node."""

    node: str
    bindings: list[tuple[str, str]]
    """Claim's key and volume's name."""
    provisions: list[str]
    """Keys of claims for which a volume is made."""


def is_older(found: Any, known: Any) -> bool:
    """Whether what came is the same object as what is known, in an earlier state."""
    if known is None or known.metadata.uid != found.metadata.uid:
        return False
    return int(found.metadata.resourceVersion or 0) < int(known.metadata.resourceVersion or 0)


class VolumeIndex:
    """See the module."""

    def __init__(self, columns: NodeColumns) -> None:
        self.version = 0
        self.claims: dict[str, ClaimView] = {}
        self.volumes: dict[str, VolumeView] = {}
        self.classes: dict[str, StorageClassView] = {}
        self.plans: dict[str, VolumePlan] = {}
        """By the uid of the pod."""
        self.disks = DiskIndex(columns)
        self._columns = columns
        self._by_class: dict[str, dict[str, VolumeView]] = {}
        self._promised: dict[str, str] = {}
        """Volume → key of the claim that it is set aside for."""
        self._chosen: dict[str, str] = {}
        """Key of a claim that will be provisioned → node."""
        self._limits: dict[str, dict[str, int]] = {}
        self._tracked: dict[str, bool] = {}
        """CSI driver → whether it tells its capacity."""
        self._capacities: dict[str, tuple[CapacityView, Selector]] = {}
        self._users: dict[str, Counter[str]] = {}
        """Claim's key → nodes of placed pods that use it."""
        self._attached: dict[str, dict[str, str]] = {}
        """Node → claim's key → CSI driver."""
        self._rooms: dict[str, Ints] = {}
        """CSI driver → how many more volumes each row takes."""
        self._known: OrderedDict[Wants, VolumeConstraint] = OrderedDict()

    def __repr__(self) -> str:
        return f"VolumeIndex(claims={len(self.claims)}, volumes={len(self.volumes)}, plans={len(self.plans)})"

    # What the API says. Each returns whether waiting pods with claims should be tried again.

    def set_claim(self, claim: ClaimView) -> bool:
        """A claim is new or has changed."""
        key = claim.key
        if is_older(claim, self.claims.get(key)):
            return False
        self.claims[key] = claim
        if is_bound(claim) or claim.spec.volumeName:
            self._chosen.pop(key, None)
        self._reattach(key)
        return True

    def remove_claim(self, key: str) -> None:
        """A claim is gone."""
        self.claims.pop(key, None)
        self._chosen.pop(key, None)

    def set_volume(self, volume: VolumeView) -> bool:
        """A volume is new or has changed."""
        name = volume.metadata.name
        old = self.volumes.get(name)
        if old is not None and class_of(old) != class_of(volume):
            self._by_class.get(class_of(old), {}).pop(name, None)
        self.volumes[name] = volume
        self._by_class.setdefault(class_of(volume), {})[name] = volume
        if (claim := volume.spec.claimRef) is not None:
            self._promised.pop(name, None)
            self._reattach(f"{claim.namespace}/{claim.name}")  # its driver is known now
        self.version += 1
        return True

    def remove_volume(self, name: str) -> None:
        """A volume is gone."""
        volume = self.volumes.pop(name, None)
        if volume is not None:
            self._by_class.get(class_of(volume), {}).pop(name, None)
            self._promised.pop(name, None)
            self.version += 1

    def set_class(self, found: StorageClassView, *, there: bool) -> bool:
        """A storage class is new, has changed or is gone."""
        if there:
            self.classes[found.metadata.name] = found
        else:
            self.classes.pop(found.metadata.name, None)
        self.version += 1
        return there

    def set_driver(self, driver: CSIDriverView, *, there: bool) -> bool:
        """A CSI driver is new, has changed or is gone."""
        tracked = there and bool(driver.spec.storageCapacity)
        if self._tracked.get(driver.metadata.name, False) is tracked:
            return False
        self._tracked[driver.metadata.name] = tracked
        self.version += 1
        return True

    def set_capacity(self, capacity: CapacityView, *, there: bool) -> bool:
        """What a driver can provide somewhere."""
        key = f"{capacity.metadata.namespace}/{capacity.metadata.name}"
        self._capacities.pop(key, None)
        if there and capacity.nodeTopology is not None:
            try:
                self._capacities[key] = capacity, selectors.of_label_selector(capacity.nodeTopology)
            except SelectorError:
                pass  # it speaks of no node
        self.version += 1
        return there

    def set_csinode(self, node: CSINodeView, *, there: bool) -> str | None:
        """The CSI drivers on a node. Returns its name when its limits have changed."""
        name = node.metadata.name
        limits = {
            driver.name: driver.allocatable.count
            for driver in (node.spec.drivers or () if there else ())
            if driver.allocatable is not None and driver.allocatable.count is not None
        }
        old = self._limits.get(name, {})
        if limits == old:
            return None
        if limits:
            self._limits[name] = limits
        else:
            del self._limits[name]
        self._count_room(name, old.keys() | limits.keys())
        return name

    # Nodes and placed pods

    def node_added(self, name: str, row: int) -> None:
        """A node has a row."""
        for driver, room in self._rooms.items():
            if row < len(room):
                room[row] = UNLIMITED
            self._count_room(name, (driver,))

    def count(self, needs: Needs, node: str, sign: int) -> None:
        """A pod is placed on a node (`sign` 1), or no longer (-1)."""
        if needs.disks:
            self.disks.count(needs.disks, node, sign)
        for volume in needs.volumes:
            key = f"{needs.namespace}/{volume}"
            users = self._users.setdefault(key, Counter())
            users[node] += sign
            if users[node] <= 0:
                del users[node]
                if not users:
                    del self._users[key]
            self._attach(key, node)
            claim = self.claims.get(key)
            if claim is not None and ONCE_POD in (claim.spec.accessModes or ()):
                self.version += 1

    def _reattach(self, key: str) -> None:
        for node in tuple(self._users.get(key, ())):
            self._attach(key, node)

    def _attach(self, key: str, node: str) -> None:
        """Count the claim's volume on a node, or no longer."""
        driver = self._driver(key) if node in self._users.get(key, ()) else None
        attached = self._attached.setdefault(node, {})
        old = attached.pop(key, None)
        if driver is not None:
            attached[key] = driver
        if not attached:
            del self._attached[node]
        if old != driver:
            self._count_room(node, [found for found in (old, driver) if found is not None])

    def _driver(self, key: str) -> str | None:
        """The CSI driver of a claim's volume, be it bound or not."""
        claim = self.claims.get(key)
        if claim is None:
            return None
        if claim.spec.volumeName:
            volume = self.volumes.get(claim.spec.volumeName)
            return volume.spec.csi.driver if volume is not None and volume.spec.csi is not None else None
        found = self.classes.get(class_of(claim))
        return None if found is None or found.provisioner == NO_PROVISIONER else found.provisioner

    def _count_room(self, node: str, drivers: Iterable[str]) -> None:
        row = self._columns.row_of.get(node)
        if row is None:
            return
        used = Counter(self._attached.get(node, {}).values())
        limits = self._limits.get(node, {})
        for driver in tuple(drivers):
            room = self._rooms.get(driver)
            if driver not in limits and room is None:
                continue
            if room is None or len(room) <= row:
                grown = np.full(max(self._columns.capacity, row + 1), UNLIMITED, np.int64)
                if room is not None:
                    grown[: len(room)] = room
                room = self._rooms[driver] = grown
            room[row] = limits[driver] - used[driver] if driver in limits else UNLIMITED
            self._columns.changed(row, static=False)

    def room(self, driver: str, rows: Rows) -> Ints:
        """How many more volumes of a driver each row takes."""
        room = self._rooms.get(driver)
        found = np.full(len(rows), UNLIMITED, np.int64)
        if room is not None:
            inside = rows < len(room)
            found[inside] = room[rows[inside]]
        return found

    def users(self, key: str) -> Counter[str]:
        """The nodes of placed pods that use a claim."""
        return self._users.get(key, Counter())

    # Resolving

    def resolve(
        self, needs: Needs, filters: frozenset[str] = VOLUME_FILTERS
    ) -> tuple[str | None, tuple[Constraint, ...]]:
        """What a pod's volumes mean to the plugins of `filters`: why no node will do, or a constraint that pods of the same wants share."""
        filters &= VOLUME_FILTERS
        disks: tuple[Constraint, ...] = ()
        if needs.disks and "VolumeRestrictions" in filters:
            disks = (self.disks.constraint(needs.disks),)
        if not needs.volumes or not filters:
            return None, disks
        binding, zoned = "VolumeBinding" in filters, "VolumeZone" in filters
        claims: list[ClaimView] = []
        for name in needs.volumes:
            claim = self.claims.get(f"{needs.namespace}/{name}")
            owned = name in needs.owned
            if binding:
                problem = self._problem(name, claim, owned=owned)
            elif owned and "NodeVolumeLimits" not in filters:
                continue  # the other plugins look at claims that the pod names itself
            else:
                problem = f'persistentvolumeclaim "{name}" not found' if claim is None else None
            if problem is None and claim is not None and not binding and zoned and not owned:
                problem = self._unzoned(claim)
            if problem is not None:
                return problem, ()
            assert claim is not None
            claims.append(claim)
        unbound: list[ClaimView] = []
        for claim in claims if binding else ():
            if is_bound(claim):
                continue
            found = self.classes.get(class_of(claim))
            if class_of(claim) and found is None:
                return f'storageclass.storage.k8s.io "{class_of(claim)}" not found', ()
            if found is None or not found.waits or claim.spec.volumeName:
                return UNBOUND, ()
            unbound.append(claim)
        wants = self._wants(unbound, claims, filters)
        if wants == Wants():
            return None, disks
        constraint = self._known.get(wants)
        if constraint is None:
            constraint = self._known[wants] = VolumeConstraint(self, self._columns, wants)
            if len(self._known) > MAX_CONSTRAINTS:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(wants)
        return None, (*disks, constraint)

    @staticmethod
    def _problem(name: str, claim: ClaimView | None, *, owned: bool) -> str | None:
        """Why VolumeBinding cannot use a claim, in upstream's words."""
        if claim is None:
            if owned:
                return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
            return f'persistentvolumeclaim "{name}" not found'
        if claim.status.phase == "Lost":
            volume = claim.spec.volumeName or ""
            return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume}"'
        if claim.metadata.deletionTimestamp:
            return f'persistentvolumeclaim "{name}" is being deleted'
        return None

    def _unzoned(self, claim: ClaimView) -> str | None:
        """Why VolumeZone, where VolumeBinding has not spoken before, cannot use a claim."""
        name, kind = claim.spec.volumeName, class_of(claim)
        if name:
            return None if name in self.volumes else f'persistentvolume "{name}" not found'
        if not kind:
            return "PersistentVolumeClaim had no pv name and storageClass name"
        found = self.classes.get(kind)
        if found is None:
            return f'storageclass.storage.k8s.io "{kind}" not found'
        return None if found.waits else "PersistentVolume had no name"

    def _wants(self, unbound: list[ClaimView], claims: list[ClaimView], filters: frozenset[str]) -> Wants:
        binding, zoned = "VolumeBinding" in filters, "VolumeZone" in filters
        affinities: dict[bytes, None] = {}
        zones: dict[tuple[str, tuple[str, ...]], None] = {}
        missing = False
        for claim in claims:
            if not (is_bound(claim) if binding else claim.spec.volumeName):
                continue
            volume = self.volumes.get(claim.spec.volumeName or "")
            if volume is None:
                missing = binding
                continue
            affinity = volume.spec.nodeAffinity
            if binding and affinity is not None and affinity.required is not None:
                affinities[_encode(affinity.required.nodeSelectorTerms or [])] = None
            for label, value in (volume.metadata.labels or {}).items() if zoned else ():
                if label in ZONE_LABELS:
                    zones[label, tuple(sorted(value.split("__")))] = None
        attach: Counter[str] = Counter()
        shared: list[tuple[str, str]] = []
        for claim in claims if "NodeVolumeLimits" in filters else ():
            driver = self._driver(claim.key)
            if driver is not None and driver in self._rooms:
                attach[driver] += 1
                if claim.key in self._users:
                    shared.append((driver, claim.key))
        return Wants(
            tuple(sorted(affinities)),
            tuple(sorted(zones)),
            missing,
            tuple(
                sorted(
                    (self._unbound(claim) for claim in unbound), key=lambda u: (u.size, u.key, u.signature)
                )
            ),
            tuple(c.key for c in claims if ONCE_POD in (c.spec.accessModes or ()))
            if "VolumeRestrictions" in filters
            else (),
            tuple(sorted(attach.items())),
            tuple(sorted(shared)),
        )

    def _unbound(self, claim: ClaimView) -> Unbound:
        own = (
            claim.key in self._chosen
            or SELECTED_NODE in (claim.metadata.annotations or {})
            or claim.key in self._promised.values()
            or any(bound_to(volume, claim) for volume in self._by_class.get(class_of(claim), {}).values())
        )
        spec = claim.spec
        signature = _encode((class_of(claim), spec.accessModes, spec.volumeMode, spec.selector))
        return Unbound(requested_bytes(claim), claim.key if own else "", signature)

    # Matching

    def chosen_node(self, claim: ClaimView) -> str | None:
        """Where the claim's volume will be made, if that is decided."""
        return self._chosen.get(claim.key) or (claim.metadata.annotations or {}).get(SELECTED_NODE)

    def candidates(self, claim: ClaimView) -> list[VolumeView]:
        """Volumes that the claim could be bound to somewhere, apart from what node affinity says."""
        return [
            volume
            for volume in self._by_class.get(class_of(claim), {}).values()
            if self._promised.get(volume.metadata.name, claim.key) == claim.key
            and find_volume(claim, (volume,)) is not None
        ]

    def reachable(self, volume: VolumeView, rows: Rows) -> Bools:
        """From which rows a volume can be used."""
        affinity = volume.spec.nodeAffinity
        if affinity is None or affinity.required is None:
            return np.ones(len(rows), np.bool_)
        return any_term(self._columns, affinity.required.nodeSelectorTerms or (), rows)

    def reaches(self, volume: VolumeView, node: str) -> bool:
        """Whether a volume can be used from a node."""
        row = self._columns.row_of.get(node)
        return row is not None and bool(self.reachable(volume, np.array([row], np.intp))[0])

    def provisionable(self, claim: ClaimView, rows: Rows) -> tuple[Bools, Bools]:
        """Where a volume could be made by the class's topology, and where there is space for it."""
        no = np.zeros(len(rows), np.bool_)
        found = self.classes.get(class_of(claim))
        if found is None or not found.provisioner or found.provisioner == NO_PROVISIONER:
            return no, ~no
        topology = topology_ok(self._columns, found.allowedTopologies, rows)
        if not self._tracked.get(found.provisioner):
            return topology, ~no
        wanted, space = requested_bytes(claim), no
        for capacity, selector in self._capacities.values():
            limit = (
                capacity.maximumVolumeSize if capacity.maximumVolumeSize is not None else capacity.capacity
            )
            mine = capacity.storageClassName == found.metadata.name
            if mine and limit is not None and quantity.parse(str(limit)) >= wanted:
                space = space | labels_ok(self._columns, selector, rows)
        return topology, space

    def plan(self, needs: Needs, node: str) -> VolumePlan:
        """What is to be done about a pod's unbound claims on a node that its constraint passes."""
        plan = VolumePlan(node, [], [])
        row = self._columns.row_of.get(node)
        rows = np.array([row] if row is not None else [], np.intp)
        taken: set[str] = set()
        claims = [self.claims.get(f"{needs.namespace}/{name}") for name in needs.volumes]
        for claim in sorted((c for c in claims if c is not None and not is_bound(c)), key=requested_bytes):
            volume = None
            if self.chosen_node(claim) is None:
                volume = find_volume(
                    claim,
                    self.candidates(claim),
                    taken,
                    lambda candidate: bool(np.all(self.reachable(candidate, rows))),
                )
            if volume is None:
                plan.provisions.append(claim.key)
            else:
                taken.add(volume.metadata.name)
                plan.bindings.append((claim.key, volume.metadata.name))
        return plan

    def reserve(self, uid: str, needs: Needs, node: str) -> None:
        """A pod with unbound claims is placed on a node."""
        plan = self.plans[uid] = self.plan(needs, node)
        for key, volume in plan.bindings:
            self._promised[volume] = key
            self.version += 1
        for key in plan.provisions:
            self._chosen[key] = node

    def release(self, uid: str) -> None:
        """The pod is placed no longer: what was set aside for it is free again, but for what the API has been told."""
        plan = self.plans.pop(uid, None)
        if plan is None:
            return
        for key, volume in plan.bindings:
            if self._promised.get(volume) == key:
                del self._promised[volume]
                self.version += 1
        for key in plan.provisions:
            if self._chosen.get(key) == plan.node:
                del self._chosen[key]
