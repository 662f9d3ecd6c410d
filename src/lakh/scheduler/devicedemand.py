"""What the resource claims of some pods mean for nodes: the verdict of DynamicResources.

Pods whose claims ask for the same share a demand; `dynamicresources` makes them. A demand is judged once a state of a node's devices.

Pods that ask for devices as extended resources have one claim more, which depends on the node: it asks for those resources that the node does not have
itself. Rows with the same ones missing have the same *variant* of the demand; a row's key is its state with the number of the variant above it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from . import allocator
from .allocator import Alternative, ClaimDemand, Demand, Match, Picked, Rule, Want
from .columns import NodeColumns
from .constraints import Needs
from .consumption import amounts_of
from .deviceviews import ClaimSpec, DeviceClassView, ExactRequest
from .extendedresources import delegated, requests_of, special_spec
from .nodeterms import any_term
from .views import NodeSelectorTerm, PodSpec

if TYPE_CHECKING:
    from .dynamicresources import DynamicResources
    from .podclass import PodClass

__all__ = ["Backed", "DeviceDemand", "NoClassError", "claim_demands", "scored"]

Rows = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

CANNOT = "cannot allocate all claims"
ELSEWHERE = "resourceclaim not available on the node"
VARIANT_SHIFT = 52
MAX_VARIANTS = 1 << 10
MAX_ALTERNATIVES = 8
"""Of one request: upstream's FirstAvailableDeviceRequestMaxSize."""
SUB = "/"
"""In the name of an alternative, between the request's and its own."""
STATE_MASK = (1 << VARIANT_SHIFT) - 1

_spec = msgspec.json.Decoder(ClaimSpec)


class NoClassError(Exception):
    """A device class is not there; the text is upstream's."""


def claim_demands(specs: Iterable[bytes], classes: Mapping[str, DeviceClassView]) -> tuple[ClaimDemand, ...]:
    """What claims of these specs ask for. Raises NoClassError."""
    return tuple(_claim_demand(_spec.decode(spec), classes) for spec in specs)


def _claim_demand(spec: ClaimSpec, classes: Mapping[str, DeviceClassView]) -> ClaimDemand:
    wants = []
    for request in spec.devices.requests or ():
        choices: tuple[Alternative, ...]
        if request.exactly is not None:
            choices = (_alternative(request.exactly, request.name, classes),)
        else:
            choices = tuple(
                _alternative(choice, f"{request.name}/{choice.name}", classes)
                for choice in request.firstAvailable or ()
            )
        wants.append(Want(request.name, choices))
    rules = tuple(
        Rule(
            rule.matchAttribute or rule.distinctAttribute or "",
            frozenset(rule.requests or ()),
            distinct=not rule.matchAttribute,
        )
        for rule in spec.devices.constraints or ()
    )
    return ClaimDemand(tuple(wants), rules)


def _alternative(request: ExactRequest, name: str, classes: Mapping[str, DeviceClassView]) -> Alternative:
    found = classes.get(request.deviceClassName)
    if found is None:
        raise NoClassError(f"request {name}: device class {request.deviceClassName} does not exist")
    expressions = tuple(
        selector.cel.expression
        for selector in (*(found.spec.selectors or ()), *(request.selectors or ()))
        if selector.cel is not None
    )
    return Alternative(
        name,
        Match(
            expressions,
            tuple(request.tolerations or ()),
            amounts_of(request.capacity.requests) if request.capacity is not None else (),
        ),
        None if request.allocationMode == "All" else (1 if request.count is None else request.count),
        bool(request.adminAccess),
        request.deviceClassName,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Backed:
    """Extended resources of a class of pods that device classes stand behind."""

    names: tuple[str, ...]
    spec: PodSpec
    classes: Mapping[str, str]
    """The device class of each name."""


def scored(cls: PodClass) -> DeviceDemand | None:
    """What DynamicResources scores nodes of a class by; None where all are the same to it."""
    if not cls.constraints or not cls.profile.device_weight:
        return None
    return next((c for c in cls.constraints if isinstance(c, DeviceDemand) and c.scores), None)


class DeviceDemand:
    """The constraint: claims to allocate, and where claims that are allocated already have their devices."""

    late = True

    def __init__(
        self,
        index: DynamicResources,
        columns: NodeColumns,
        demand: Demand,
        selectors: tuple[bytes, ...],
        backed: Backed | None = None,
    ) -> None:
        self._index = index
        self._columns = columns
        self.demand = demand
        self._selectors = [msgspec.json.decode(s, type=list[NodeSelectorTerm]) for s in selectors]
        self._backed = backed
        self._variants: list[tuple[tuple[str, ...], Demand]] = [((), demand)]
        """Which resources the special claim asks for, and all claims together."""
        self._variant_of: dict[int, int] = {0: 0}
        self._picked: dict[int, list[Picked] | None] = {}
        self._rooms: dict[int, int] = {}
        self._seen = -1

    def __repr__(self) -> str:
        return f"DeviceDemand({self.demand}, selectors={len(self._selectors)}, backed={self._backed})"

    @property
    def version(self) -> int:
        """Devices of nodes change with their rows; only classes and shared devices count here."""
        return self._index.version

    # Keys

    def _keys(self, rows: Rows) -> Ints:
        keys = self._index.states_of(rows)
        if self._backed is not None:
            masks = np.zeros(len(rows), np.int64)
            for bit, name in enumerate(self._backed.names):
                masks |= delegated(self._columns, name, rows).astype(np.int64) << bit
            values, inverse = np.unique(masks, return_inverse=True)
            variants = np.fromiter((self._variant(mask) for mask in values.tolist()), np.int64, len(values))
            keys |= variants[inverse] << VARIANT_SHIFT
        return keys

    def _variant(self, mask: int) -> int:
        known = self._variant_of.get(mask)
        if known is None:
            backed = self._backed
            assert backed is not None and len(self._variants) < MAX_VARIANTS
            names = tuple(name for bit, name in enumerate(backed.names) if mask >> bit & 1)
            requests, _ = requests_of(backed.spec, {name: backed.classes[name] for name in names})
            if not requests:
                names = ()  # only the pod's overhead has the resource
            specs = [msgspec.json.encode(special_spec(requests))] if requests else []
            special = claim_demands(specs, self._index.classes)
            known = self._variant_of[mask] = len(self._variants)
            self._variants.append((names, Demand((*self.demand.claims, *special))))
        return known

    def key_of(self, row: int) -> int:
        """The key of a row."""
        return int(self._keys(np.array([row], np.intp))[0])

    def picked(self, key: int) -> list[Picked] | None:
        """What the claims get on nodes of a key, or None: found once a key."""
        if self._seen != self._index.version:
            self._picked.clear()
            self._rooms.clear()
            self._seen = self._index.version
        if key in self._picked:
            return self._picked[key]
        demand = self._variants[key >> VARIANT_SHIFT][1]
        found = allocator.allocate(self._index.bench(key & STATE_MASK)[0], demand) if demand.claims else []
        self._picked[key] = found
        return found

    def special(self, key: int) -> dict[str, str]:
        """The resources that the special claim is for on nodes of a key, and their classes; it comes after all other claims."""
        names = self._variants[key >> VARIANT_SHIFT][0]
        return {name: self._backed.classes[name] for name in names} if self._backed is not None else {}

    # Verdicts

    @property
    def _allocates(self) -> bool:
        return bool(self.demand.claims) or self._backed is not None

    def passes(self, rows: Rows) -> Bools:
        """Which rows have the devices."""
        ok = self._available(rows)
        if self._allocates:
            ok &= self._allocatable(rows)
        return ok

    def _available(self, rows: Rows) -> Bools:
        ok = np.ones(len(rows), np.bool_)
        for terms in self._selectors:
            ok &= any_term(self._columns, terms, rows)
        return ok

    def _allocatable(self, rows: Rows) -> Bools:
        keys, inverse = np.unique(self._keys(rows), return_inverse=True)
        verdicts = np.fromiter((self.picked(key) is not None for key in keys.tolist()), np.bool_, len(keys))
        return verdicts[inverse]

    def row_passes(self, row: int) -> bool:
        """Whether one row has them."""
        index = self._index
        if self._selectors or index.shares or self._backed is not None:
            return bool(self.passes(np.array([row], np.intp))[0])
        return self.picked(int(index.state[row]) if row < len(index.state) else 0) is not None

    def refusals(self, rows: Rows) -> list[tuple[Rows, str, bool]]:
        """The allocator is asked first, as upstream's filter does."""
        ok = self._allocatable(rows) if self._allocates else np.ones(len(rows), np.bool_)
        found = [(rows[~ok], self.error() or CANNOT, True), (rows[ok], ELSEWHERE, True)]
        return [entry for entry in found if len(entry[0])]

    def error(self) -> str | None:
        """What an expression failed with, if one did."""
        for claim in self._variants[-1][1].claims:
            for want in claim.wants:
                for alternative in want.alternatives:
                    for shape in self._index.shapes.values():
                        error = shape.errors.get(alternative.match)
                        if error is not None:
                            return f"request {alternative.name}: {error}"
        return None

    def may_pass(self, rows: Rows) -> Bools:
        """Pods that go do not give their claims back at once: preemption counts on what is free."""
        return self.passes(rows)

    def room(self, rows: Rows) -> Ints | None:
        """How often the claims can be allocated; once where claims are shared."""
        if not self._allocates:
            return None
        keys, inverse = np.unique(self._keys(rows), return_inverse=True)
        rooms = np.fromiter((self._room(key) for key in keys.tolist()), np.int64, len(keys))
        return rooms[inverse]

    def _room(self, key: int) -> int:
        self.picked(key)  # forgets what is outdated
        known = self._rooms.get(key)
        if known is None:
            known = 0
            bench, _ = self._index.bench(key & STATE_MASK)
            demand = self._variants[key >> VARIANT_SHIFT][1]
            while (found := allocator.allocate(bench, demand)) is not None:
                known += 1
                left = bench.taking(found)
                if left is None:
                    known = 1 << 31
                    break
                bench = left
            self._rooms[key] = known
        return known

    # Scores

    @property
    def scores(self) -> bool:
        """Whether nodes differ in how well they satisfy the claims: only requests with alternatives tell."""
        return any(SUB in a.name for c in self.demand.claims for w in c.wants for a in w.alternatives)

    def score(self, rows: Rows) -> Ints:
        """The better the earlier the alternatives that rows get, before normalising (upstream's computeScore). 0 where there is none."""
        keys, inverse = np.unique(self._keys(rows), return_inverse=True)
        return np.fromiter((self._score(key) for key in keys.tolist()), np.int64, len(keys))[inverse]

    def _score(self, key: int) -> int:
        used = {(device.claim, device.request) for device in self.picked(key) or ()}
        return sum(
            MAX_ALTERNATIVES - place
            for number, claim in enumerate(self.demand.claims)
            for want in claim.wants
            for place, alternative in enumerate(want.alternatives)
            if SUB in alternative.name and (number, alternative.name) in used
        )

    def reserve(self, uid: str, needs: Needs | None, node: str) -> None:
        """Take the devices."""
        if self._allocates:
            self._index.reserve(uid, needs, node, self)
