"""DynamicResources: which nodes have the devices that a pod's ResourceClaims ask for.

Devices are kept like everything else, as columns. A pool's devices are a *shape*, shared by all pools that are alike; what a node has and what
of it is in use is a *state*, interned to a small integer a row:

    row      0     1     2     3
    state    1     1     4     1        0: no devices
    states   1 = [neuron ×16, used 0000000000000000]    4 = [neuron ×16, used 0000000000001111]

A cluster of equal machines has as many states as it has patterns of use, a few dozen. A demand is judged once a state, by the exact allocator
(`allocator`), whatever it asks for; the verdict of all nodes is then one array look-up, and placing a pod moves one row to its next
state. Devices that several nodes reach (`nodeSelector`, `allNodes`) are a second column, the set of such pools that a node reaches;
their use is the same for all rows, so `version` grows with it.

A claim is in one of three states here: not allocated; *pending*, that is allocated by us but not seen in the API yet; allocated. Devices of
pending and allocated claims are in use. A pending one is dropped when its pod is placed no longer, unless the API server may have
been told: then the informer has the last word.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from .allocator import Bench, Demand, Picked, Shape
from .columns import NodeColumns
from .constraints import Constraint, Needs
from .consumption import Amounts, Share, amounts_of, as_quantities
from .deviceconditions import is_failed
from .devicecounts import DeviceCounts
from .devicedemand import STATE_MASK, Backed, DeviceDemand, NoClassError, claim_demands
from .devicepools import Pool, PoolKey, Slice, both, mask_of, only, reach_of, shares_of
from .deviceviews import (
    NOTHING,
    AllocatedDevice,
    Allocation,
    ClaimSpec,
    ClaimView,
    Device,
    DeviceClassView,
    SliceSpec,
    SliceView,
)
from .extendedresources import StaleClaim, classes_by_resource, owner_of_special
from .nodeterms import any_term
from .podclass import PodClass
from .views import NodeSelector, NodeSelectorTerm, Requirement
from .volumes import is_older

__all__ = ["DynamicResources", "Pending"]

Rows = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Ids = npt.NDArray[np.int32]

MAX_CONSUMERS = 256
"""`reservedFor` entries of one claim."""
NOWHERE = b"[]"
"""Node selector terms that no node matches."""
MAX_DEMANDS = 4_096
MAX_STATES = 1 << 20
MAX_TEXTS = 4_096
"""Descriptions of devices that are looked for when another node says the same."""

_devices = msgspec.json.Decoder(list[Device])
_spec = msgspec.json.Decoder(ClaimSpec)
_encode = msgspec.json.Encoder(order="deterministic").encode

Entry = tuple[Shape, int, tuple[Share, ...]]
"""A pool of a node: what it is, which of its devices are used, and what is shared of others."""
Held = tuple[str, str, str, Amounts | None]
"""Driver, pool and device of an allocation; of a device that is shared, how much."""


@dataclass(slots=True)
class Pending:
    """An allocation that the API does not show yet."""

    uid: str
    """Of the pod."""
    key: str
    allocation: Allocation
    told: bool = False
    """The API server may know."""
    special: Mapping[str, str] | None = None
    """The extended resources that it serves, and the device class of each: the scheduler has yet to make the claim."""


class DynamicResources:
    """Slices, classes, claims; what is in use."""

    def __init__(self, columns: NodeColumns) -> None:
        self.version = 0
        self.claims: dict[str, ClaimView] = {}
        self.classes: dict[str, DeviceClassView] = {}
        self.pending: dict[str, Pending] = {}
        """By the uid of the claim; of a special claim that is yet to be made, by `special_uid`."""
        self.extended: dict[str, str] = {}
        """The device class behind each extended resource."""
        self.given_up: set[str] = set()
        """Uids of claims with devices that did not become ready in time: their allocation serves no pod."""
        self.specials: dict[str, str] = {}
        """Pod's uid → key of the claim that a scheduler has made for it."""
        self.shapes: dict[tuple[Any, ...], Shape] = {}
        self._columns = columns
        self._texts: dict[bytes, bytes] = {}
        self._pools: dict[PoolKey, Pool] = {}
        self._pool_of_slice: dict[str, PoolKey] = {}
        self._of_node: dict[str, dict[PoolKey, Pool]] = {}
        self._shared: dict[PoolKey, Pool] = {}
        self._holders: dict[PoolKey, dict[str, int]] = {}
        """Pool → device → how many claims hold it."""
        self._shares: dict[PoolKey, dict[str, dict[str, int]]] = {}
        """Pool → device that is shared → capacity → how much claims have of it."""
        self._held: dict[str, tuple[Held, ...]] = {}
        """Claim's uid → devices it is counted for."""
        self._pending_of: dict[str, list[str]] = {}
        """Pod's uid → uids of claims."""
        self._states: list[tuple[Entry, ...]] = [()]
        self._state_ids: dict[tuple[Entry, ...], int] = {(): 0}
        self.state: Ids = np.zeros(0, np.int32)
        self._access: Ids | None = None
        self._accesses: list[tuple[tuple[PoolKey, int], ...]] = [()]
        self._access_key: tuple[int, int, int] | None = None
        self._demands: OrderedDict[tuple[Any, ...], DeviceDemand] = OrderedDict()
        self._stale = StaleClaim()
        self.counts = DeviceCounts(self, columns)

    def __repr__(self) -> str:
        return f"DynamicResources(pools={len(self._pools)}, states={len(self._states)}, claims={len(self.claims)})"

    # Slices

    def set_slice(self, found: SliceView) -> set[str] | None:
        """A slice is new or has changed. Returns the nodes that may have gained devices; None: any."""
        name, spec = found.metadata.name, found.spec
        key = spec.driver, spec.pool.name
        nodes: set[str] | None = set()
        if (old := self._pool_of_slice.get(name)) is not None and old != key:
            nodes = self._leave(old, name)
        self._pool_of_slice[name] = key
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(key)
        pool.slices[name] = self._kept(spec)
        return both(nodes, self._form(pool))

    def _kept(self, spec: SliceSpec) -> Slice:
        devices, counters = bytes(spec.devices) or b"[]", bytes(spec.sharedCounters) or None
        spec.devices = spec.sharedCounters = NOTHING
        kept = self._texts.setdefault(devices, devices)
        if len(self._texts) > MAX_TEXTS:
            self._texts.clear()
        return Slice(spec, kept, counters)

    def remove_slice(self, name: str) -> set[str] | None:
        """A slice is gone. Returns the nodes whose devices have changed; None: any."""
        key = self._pool_of_slice.pop(name, None)
        return set() if key is None else self._leave(key, name)

    def _leave(self, key: PoolKey, name: str) -> set[str] | None:
        pool = self._pools[key]
        pool.slices.pop(name, None)
        nodes = self._form(pool)
        if not pool.slices:
            del self._pools[key]
        return nodes

    def _form(self, pool: Pool) -> set[str] | None:
        """Make a pool of its slices' newest generation. Returns the nodes concerned; None: any."""
        before = pool.node
        shared = self._shared.pop(pool.key, None) is not None
        if before is not None:
            of_node = self._of_node[before]
            del of_node[pool.key]
            if not of_node:
                del self._of_node[before]
        generation = max((s.spec.pool.generation for s in pool.slices.values()), default=0)
        slices = [s for _, s in sorted(pool.slices.items()) if s.spec.pool.generation == generation]
        pool.shape, pool.node, pool.reach, pool.used = None, None, (), 0
        if slices:
            whole = len(slices) == slices[0].spec.pool.resourceSliceCount
            pool.shape = self._shape(pool.key[0], slices, whole=whole)
            holders = self._holders.get(pool.key, {})
            pool.used = mask_of(pool.shape, holders)
            pool.shares = shares_of(pool.shape, self._shares.get(pool.key, {}))
            nodes = {s.spec.nodeName for s in slices}
            if len(nodes) == 1 and (node := next(iter(nodes))):
                pool.node = node
                self._of_node.setdefault(node, {})[pool.key] = pool
            else:
                pool.reach = reach_of(slices, pool.shape)
                self._shared[pool.key] = pool
        for node in {before, pool.node}:
            if node is not None:
                self._renew(node)
        if shared or pool.key in self._shared:
            self._access_key = None
            self.version += 1
            return None
        return {node for node in (before, pool.node) if node is not None}

    def _shape(self, driver: str, slices: list[Slice], *, whole: bool) -> Shape:
        parts = tuple(s.devices for s in slices)
        counters = tuple(s.counters for s in slices if s.counters is not None)
        key = driver, parts, counters, whole
        shape = self.shapes.get(key)
        if shape is None:
            shape = self.shapes[key] = Shape.of_json(driver, parts, counters, whole=whole)
        return shape

    # Nodes

    def node_added(self, name: str, row: int) -> None:
        """A node has a row."""
        if name in self._of_node:
            self._renew(name)
        else:
            self.node_removed(row)

    def node_removed(self, row: int) -> None:
        """A row is free."""
        if row < len(self.state) and self.state[row]:
            self.state[row] = 0
            self.counts.changed(row, 0)

    def _renew(self, node: str) -> None:
        """Intern the node's state anew."""
        row = self._columns.row_of.get(node)
        if row is None:
            return
        entries = tuple(
            (pool.shape, pool.used, pool.shares)
            for _, pool in sorted(self._of_node.get(node, {}).items())
            if pool.shape is not None
        )
        state = self._state_ids.get(entries)
        if state is None:
            if len(self._states) >= MAX_STATES:
                self._forget_states()
            state = self._state_ids[entries] = len(self._states)
            self._states.append(entries)
        if row >= len(self.state):
            self.state = np.pad(self.state, (0, max(self._columns.capacity, row + 1) - len(self.state)))
        if self.state[row] != state:
            self.state[row] = state
            self.counts.changed(row, int(self.states_of(np.array([row], np.intp))[0]))
            self._columns.changed(row, static=False)

    def _forget_states(self) -> None:
        """Number the states in use anew."""
        used, inverse = np.unique(self.state, return_inverse=True)
        self._states = [self._states[state] for state in used.tolist()]
        if () not in self._states:
            self._states.append(())
        self._state_ids = {entries: number for number, entries in enumerate(self._states)}
        self.state = inverse.astype(np.int32)
        self._demands.clear()
        self.version += 1

    # Use

    def _hold(self, uid: str, allocation: Allocation | None) -> set[str]:
        """Count a claim's devices as used, or no longer. Returns the nodes that have got some back."""
        devices = tuple(
            (
                result.driver,
                result.pool,
                result.device,
                None if result.shareID is None else amounts_of(result.consumedCapacity),
            )
            for result in (allocation.devices.results or () if allocation is not None else ())
            if not result.adminAccess
        )
        old = self._held.get(uid, ())
        if devices == old:
            return set()
        if devices:
            self._held[uid] = devices
        else:
            del self._held[uid]
        touched: dict[PoolKey, None] = {}
        for sign, changed in ((-1, old), (1, devices)):
            for driver, pool_name, device, share in changed:
                key = driver, pool_name
                if share is not None:
                    mine = self._shares.setdefault(key, {}).setdefault(device, {})
                    for name, amount in share:
                        mine[name] = mine.get(name, 0) + sign * amount
                    touched[key] = None
                    continue
                holders = self._holders.setdefault(key, {})
                holders[device] = holders.get(device, 0) + sign
                if holders[device] <= 0:
                    del holders[device]
                    if not holders:
                        del self._holders[key]
                touched[key] = None
        nodes = set()
        for key in touched:
            pool = self._pools.get(key)
            if pool is None or pool.shape is None:
                continue
            used = mask_of(pool.shape, self._holders.get(key, {}))
            shares = shares_of(pool.shape, self._shares.get(key, {}))
            freed = pool.used & ~used or shares != pool.shares
            pool.used, pool.shares = used, shares
            if pool.node is not None:
                self._renew(pool.node)
                if freed:
                    nodes.add(pool.node)
            else:
                self.version += 1
        return nodes

    # Claims and classes

    def set_claim(self, claim: ClaimView) -> set[str]:
        """A claim is new or has changed. Returns the nodes that have got devices back."""
        uid, allocation = claim.metadata.uid, claim.status.allocation
        if is_older(claim, self.claims.get(claim.key)):
            return set()  # the answer to our own write was faster than the watch
        self.claims[claim.key] = claim
        if allocation is None:
            self.given_up.discard(uid)
        if (owner := owner_of_special(claim)) is not None:
            self.specials[owner] = claim.key
        pending = self.pending.get(uid)
        if pending is not None and (allocation is not None or claim.metadata.deletionTimestamp):
            self._settle(uid)
            pending = None
        return set() if pending is not None else self._hold(uid, allocation)

    def remove_claim(self, claim: ClaimView) -> set[str]:
        """A claim is gone. Returns the nodes that have got devices back."""
        if (known := self.claims.get(claim.key)) is not None and known.metadata.uid == claim.metadata.uid:
            del self.claims[claim.key]
            if (owner := owner_of_special(claim)) is not None:
                self.specials.pop(owner, None)
        self.given_up.discard(claim.metadata.uid)
        self._settle(claim.metadata.uid)
        return self._hold(claim.metadata.uid, None)

    def set_class(self, found: DeviceClassView, *, there: bool) -> None:
        """A device class is new, has changed or is gone."""
        if there:
            self.classes[found.metadata.name] = found
        else:
            self.classes.pop(found.metadata.name, None)
        self.extended = classes_by_resource(self.classes.values())
        self._demands.clear()
        self.version += 1

    def _settle(self, uid: str) -> Pending | None:
        pending = self.pending.pop(uid, None)
        if pending is not None:
            claims = self._pending_of.get(pending.uid, [])
            claims.remove(uid)
            if not claims:
                del self._pending_of[pending.uid]
        return pending

    def release(self, uid: str) -> None:
        """A pod is placed no longer."""
        for claim_uid in tuple(self._pending_of.get(uid, ())):
            if not self.pending[claim_uid].told:
                key = self.pending[claim_uid].key
                self._settle(claim_uid)
                claim = self.claims.get(key)
                current = claim is not None and claim.metadata.uid == claim_uid
                self._hold(claim_uid, claim.status.allocation if claim is not None and current else None)

    # Resolving

    def awaited(self, needs: Needs) -> str | None:
        """The key of a claim that must come before the pod is tried, with the reason as upstream's PreEnqueue has it; None: none."""
        for name, claim_name, _ in needs.claims:
            if claim_name is None:
                return f'pod "{needs.namespace}/{needs.name}": claim {name} not created yet'
            if claim_name and f"{needs.namespace}/{claim_name}" not in self.claims:
                return f'resourceclaim.resource.k8s.io "{claim_name}" not found'
        return None

    def claims_of(self, needs: Needs) -> list[ClaimView]:
        """The pod's claims, those that are there."""
        return [
            claim
            for _, name, _ in needs.claims
            if name and (claim := self.claims.get(f"{needs.namespace}/{name}")) is not None
        ]

    def backed(self, cls: PodClass) -> tuple[str, ...]:
        """The extended resources of a class that device classes stand behind."""
        return tuple(name for name in cls.extended if name in self.extended)

    def resolve(
        self, uid: str, needs: Needs | None, cls: PodClass, backed: tuple[str, ...] = ()
    ) -> tuple[str | None, tuple[Constraint, ...]]:
        """What a pod's claims mean: why no node will do, or a constraint that pods of the same wants share."""
        named = () if needs is None else needs.claims
        if not named and not backed:
            return None, ()
        if backed and uid in self.specials:
            return None, (self._stale,)
        problem = None if needs is None else self.awaited(needs)
        if problem is not None:
            return problem, ()
        specs: list[bytes] = []
        selectors: list[bytes] = []
        for (_, _, owned), claim in zip(
            [c for c in named if c[1]], [] if needs is None else self.claims_of(needs), strict=True
        ):
            assert needs is not None
            problem = self._claim_problem(needs, claim, owned=owned)
            if problem is not None:
                return problem, ()
            pending = self.pending.get(claim.metadata.uid)
            allocation = claim.status.allocation or (pending.allocation if pending is not None else None)
            if allocation is None:
                specs.append(bytes(claim.spec))
            elif claim.metadata.uid in self.given_up or is_failed(claim):
                selectors.append(NOWHERE)
            elif allocation.nodeSelector is not None:
                selectors.append(_encode(allocation.nodeSelector.nodeSelectorTerms or []))
        key = tuple(specs), tuple(sorted(set(selectors))), cls.base or cls if backed else None
        demand = self._demands.get(key)
        if demand is None:
            try:
                wanted = Demand(claim_demands(specs, self.classes))
            except NoClassError as error:
                return str(error), ()
            demand = self._demands[key] = DeviceDemand(
                self,
                self._columns,
                wanted,
                key[1],
                Backed(backed, cls.spec, dict(self.extended)) if backed else None,
            )
            if len(self._demands) > MAX_DEMANDS:
                self._demands.popitem(last=False)
        else:
            self._demands.move_to_end(key)
        return None, (demand,) if specs or selectors or backed else ()

    def _claim_problem(self, needs: Needs, claim: ClaimView, *, owned: bool) -> str | None:
        if claim.metadata.deletionTimestamp:
            return f'resourceclaim "{claim.metadata.name}" is being deleted'
        if owned and not any(o.uid == needs.uid for o in claim.metadata.ownerReferences or ()):
            return (
                f"ResourceClaim {claim.key} was not created for pod {needs.namespace}/{needs.name} "
                "(pod is not owner)"
            )
        reserved = claim.status.reservedFor or ()
        if (
            claim.status.allocation is not None
            and len(reserved) >= MAX_CONSUMERS
            and all(consumer.uid != needs.uid for consumer in reserved)
        ):
            return "resourceclaim in use"
        return None

    # Judging

    @property
    def shares(self) -> bool:
        """Whether there are devices that several nodes reach."""
        return bool(self._shared)

    def states_of(self, rows: Rows) -> Ints:
        """State and access of rows as one number each."""
        found = np.zeros(len(rows), np.int64)
        inside = rows < len(self.state)
        found[inside] = self.state[rows[inside]]
        if self._shared:
            found |= self._access_of()[rows].astype(np.int64) << 32
        return found

    def _access_of(self) -> Ids:
        """Which set of pools that several nodes share each row reaches."""
        columns = self._columns
        key = columns.capacity, columns.size, columns.static_changes
        if self._access is None or self._access_key != key:
            rows = np.arange(columns.capacity, dtype=np.intp)
            parts: list[Ints] = []
            names: list[tuple[PoolKey, int]] = []
            for pool_key, pool in sorted(self._shared.items()):
                for mask, selector in pool.reach:
                    terms = None if selector is None else selector.nodeSelectorTerms or []
                    ok = np.ones(len(rows), np.bool_) if terms is None else any_term(columns, terms, rows)
                    parts.append(ok.astype(np.int64))
                    names.append((pool_key, mask))
            table = np.stack(parts, axis=1) if parts else np.zeros((len(rows), 0), np.int64)
            groups, inverse = np.unique(table, axis=0, return_inverse=True)
            self._accesses = []
            for group in groups.tolist():
                reach: dict[PoolKey, int] = {}
                for (pool_key, mask), ok in zip(names, group, strict=True):
                    if ok:
                        reach[pool_key] = reach.get(pool_key, 0) | mask
                self._accesses.append(tuple(reach.items()))
            self._access = inverse.reshape(-1).astype(np.int32)
            self._access_key = key
            self.version += 1
        return self._access

    def bench(self, state: int) -> tuple[Bench, list[PoolKey]]:
        """What nodes of a state reach, and the keys of the shared pools, which come last."""
        entries = list(self._states[state & 0xFFFFFFFF])
        closed = [0] * len(entries)
        keys: list[PoolKey] = []
        if self._shared:
            for key, mask in self._accesses[state >> 32]:
                pool = self._shared[key]
                assert pool.shape is not None
                entries.append((pool.shape, pool.used, pool.shares))
                closed.append(((1 << len(pool.shape.devices)) - 1) & ~mask)
                keys.append(key)
        shapes = tuple(entry[0] for entry in entries)
        used, shares = tuple(entry[1] for entry in entries), tuple(entry[2] for entry in entries)
        return Bench(shapes, used, tuple(closed), shares), keys

    def reaches(self, allocation: Allocation, node: str) -> bool:
        """Whether an allocation can be used on a node."""
        selector, row = allocation.nodeSelector, self._columns.row_of.get(node)
        if selector is None or row is None:
            return selector is None
        rows = np.array([row], np.intp)
        return bool(any_term(self._columns, selector.nodeSelectorTerms or [], rows)[0])

    # Reserving

    def reserve(self, uid: str, needs: Needs | None, node: str, demand: DeviceDemand) -> None:
        """A pod is placed: allocate its claims that nobody has allocated yet."""
        row = self._columns.row_of.get(node)
        claims = [
            (claim.metadata.uid, claim.key)
            for claim in (() if needs is None else self.claims_of(needs))
            if claim.status.allocation is None and claim.metadata.uid not in self.pending
        ]
        if row is None:
            return
        key = demand.key_of(row)
        special = demand.special(key)
        if not claims and not special:
            return
        picked = demand.picked(key)
        if picked is None or len(claims) != len(demand.demand.claims):
            return  # binding will say so, and the pod is tried again
        if special:
            claims.append((special_uid(uid), ""))
        bench, shared = self.bench(key & STATE_MASK)
        local = sorted(self._of_node.get(node, {}))
        for number, (claim_uid, claim_key) in enumerate(claims):
            mine = [device for device in picked if device.claim == number]
            allocation = self._allocation(mine, bench, [*local, *shared], node, len(local))
            self._await(
                claim_uid, Pending(uid, claim_key, allocation, special=None if claim_key else special)
            )
            self._hold(claim_uid, allocation)

    def _await(self, claim_uid: str, pending: Pending) -> None:
        self.pending[claim_uid] = pending
        self._pending_of.setdefault(pending.uid, []).append(claim_uid)

    def special_of(self, uid: str) -> Pending | None:
        """The special claim that is yet to be made for a placed pod."""
        return self.pending.get(special_uid(uid)) if self.pending else None

    def adopt(self, uid: str, claim: ClaimView) -> None:
        """The special claim of a pod has been made: what is allocated for it is this claim's from now on."""
        pending = self._settle(special_uid(uid))
        assert pending is not None
        self._await(claim.metadata.uid, Pending(uid, claim.key, pending.allocation))
        self._hold(claim.metadata.uid, pending.allocation)
        self._hold(special_uid(uid), None)
        self.set_claim(claim)

    def _allocation(
        self, picked: list[Picked], bench: Bench, pools: list[PoolKey], node: str, local: int
    ) -> Allocation:
        allocation = Allocation()
        found = [(device, bench.shapes[device.pool].devices[device.device]) for device in picked]
        allocation.devices.results = [
            AllocatedDevice(
                request=device.request,
                driver=pools[device.pool][0],
                pool=pools[device.pool][1],
                device=what.name,
                adminAccess=device.admin or None,
                tolerations=list(device.tolerations) or None,
                bindingConditions=what.bindingConditions,
                bindingFailureConditions=what.bindingFailureConditions,
                shareID=None if device.consumed is None else str(uuid.uuid4()),
                consumedCapacity=None if device.consumed is None else as_quantities(device.consumed),
            )
            for device, what in found
        ]
        if any(device.pool < local or what.bindsToNode for device, what in found):
            allocation.nodeSelector = only(node)
        else:
            allocation.nodeSelector = self._selector(picked, pools)
        return allocation

    def configurations(self, claim: ClaimView, allocation: Allocation) -> list[dict[str, Any]]:
        """What classes and claim tell the drivers, as the allocation carries it."""
        spec = _spec.decode(claim.spec)
        used = {result.request: result for result in allocation.devices.results or ()}
        found: list[dict[str, Any]] = []
        for request in spec.devices.requests or ():
            choices = [(request.name, request.exactly)] if request.exactly is not None else []
            choices += [(f"{request.name}/{c.name}", c) for c in request.firstAvailable or ()]
            for name, choice in choices:
                known = (
                    self.classes.get(choice.deviceClassName) if choice is not None and name in used else None
                )
                for config in (known.spec.config or ()) if known is not None else ():
                    found.append({"source": "FromClass", "requests": [name], **msgspec.json.decode(config)})
        for config in spec.devices.config or ():
            found.append({"source": "FromClaim", **msgspec.json.decode(config)})
        return found

    def _selector(self, picked: list[Picked], pools: list[PoolKey]) -> NodeSelector | None:
        """Which nodes reach shared devices: what each of them asks, together."""
        expressions: list[Requirement] = []
        fields: list[Requirement] = []
        for device in picked:
            for mask, selector in self._shared[pools[device.pool]].reach:
                if mask >> device.device & 1 and selector is not None:
                    for term in (selector.nodeSelectorTerms or ())[:1]:
                        expressions += [r for r in term.matchExpressions or () if r not in expressions]
                        fields += [r for r in term.matchFields or () if r not in fields]
        if not expressions and not fields:
            return None
        return NodeSelector([NodeSelectorTerm(expressions or None, fields or None)])


def special_uid(uid: str) -> str:
    """What stands for the uid of a pod's special claim until there is one."""
    return f"special claim of {uid}"
