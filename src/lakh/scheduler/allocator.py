"""Allocating devices to claims: exact, on one node, without I/O.

A *shape* is what a pool's devices are, whatever node they are on: equal machines have one shape. A *bench* is all that a node reaches, shapes
end to end, so that a set of devices is one integer with a bit a device:

    shapes    [ neuron-0 … neuron-15 ][ efa-0 efa-1 ]
    free      1111111111110000         11             what no claim holds
    wanted    1111111111111111         00             what a request's class and selectors match, judged once a shape

The search goes through claims, requests and alternatives in order and takes devices in order, stepping back when a later request or a constraint
finds nothing, like upstream's allocator. Devices that no request and no constraint can tell apart are tried once: that keeps a hopeless search
short.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lakh.machinery import cel, cel_device, cel_functions, quantity
from lakh.machinery.cel_values import DomainMap

from .consumption import Amounts, Share, consumed_by, fits, with_share
from .deviceviews import Attribute, CounterUse, Device, DeviceToleration

__all__ = [
    "MAX_RESULTS",
    "Alternative",
    "Bench",
    "ClaimDemand",
    "Demand",
    "Match",
    "Picked",
    "Rule",
    "Shape",
    "Want",
    "allocate",
]

MAX_RESULTS = 32
"""Devices of one claim at most; upstream's AllocationResultsMaxSize."""
MAX_STEPS = 200_000
"""Devices looked at before a search gives up: half a second. Upstream gives up after ten."""
BLOCKING = ("NoSchedule", "NoExecute")

_devices = msgspec.json.Decoder(list[Device])
_counters = msgspec.json.Decoder(list[CounterUse])

Value = tuple[str, Any]
Counters = dict[tuple[str, str], int]


class Shape:
    """The devices of a pool. `index` finds a device by name. `consumes[i]` is what device i takes of the pool's shared counters."""

    def __init__(
        self,
        driver: str,
        devices: Sequence[Device],
        counters: Sequence[CounterUse] = (),
        *,
        whole: bool = True,
    ) -> None:
        self.driver = driver
        self.devices = tuple(devices)
        self.whole = whole
        """All slices of the pool are there. Of a pool that is not, nothing is taken."""
        self.index = {device.name: number for number, device in enumerate(self.devices)}
        self.valid = len(self.index) == len(self.devices)
        self.counters: Counters = {
            (found.name, name): quantity.parse_nano(amount.value)
            for found in counters
            for name, amount in (found.counters or {}).items()
        }
        self.consumes: list[Counters] = [
            {
                (use.counterSet, name): quantity.parse_nano(amount.value)
                for use in device.consumesCounters or ()
                for name, amount in (use.counters or {}).items()
            }
            for device in self.devices
        ]
        self.partitioned = any(self.consumes)
        self.shareable = 0
        """Devices that several claims share by their capacity."""
        for number, device in enumerate(self.devices):
            self.shareable |= bool(device.allowMultipleAllocations) << number
        self._consumed: dict[tuple[int, Amounts], Amounts | None] = {}
        self._inputs: list[Any] = []
        self._masks: dict[Match, int] = {}
        self.errors: dict[Match, str] = {}

    def __repr__(self) -> str:
        return f"Shape({self.driver}, devices={len(self.devices)})"

    @classmethod
    def of_json(
        cls, driver: str, devices: Iterable[bytes], counters: Iterable[bytes], *, whole: bool
    ) -> Shape:
        """Of the `devices` and `sharedCounters` of a pool's slices."""
        return cls(
            driver,
            [device for part in devices for device in _devices.decode(part)],
            [found for part in counters for found in _counters.decode(part)],
            whole=whole,
        )

    def matching(self, match: Match) -> int:
        """The devices that a request's selectors match and whose taints it tolerates. Equal devices are judged once."""
        known = self._masks.get(match)
        if known is not None:
            return known
        verdicts: dict[bytes, bool] = {}
        mask = 0
        for number, device in enumerate(self.devices):
            if not tolerated(device, match.tolerations):
                continue
            if (match.capacity or device.allowMultipleAllocations) and (
                self.consumed(number, match.capacity) is None
            ):
                continue
            key = _encode((device.attributes, device.capacity, device.allowMultipleAllocations))
            verdict = verdicts.get(key)
            if verdict is None:
                verdict = verdicts[key] = self._selected(device, match)
            if verdict:
                mask |= 1 << number
        self._masks[match] = mask
        return mask

    def _selected(self, device: Device, match: Match) -> bool:
        if not match.expressions:
            return True
        try:
            values = describe(self.driver, device)
        except ValueError as error:
            self.errors[match] = f"selector #0: CEL runtime error: {error}"
            return False
        for number, source in enumerate(match.expressions):
            try:
                found, _ = cel_device.compile_selector(source).run(values)
            except cel.ExpressionError as error:
                self.errors[match] = f"selector #{number}: CEL compile error: {error}"
                return False
            if isinstance(found, Exception):
                self.errors[match] = f"selector #{number}: CEL runtime error: {found}"
                return False
            if found is not True:
                return False
        return True

    def consumed(self, number: int, wanted: Amounts) -> Amounts | None:
        """What a request for some capacities takes of a device's; None when the device cannot give it."""
        key = number, wanted
        if key not in self._consumed:
            self._consumed[key] = consumed_by(self.driver, self.devices[number], wanted)
        return self._consumed[key]

    def attribute(self, number: int, name: str) -> Value | None:
        """A device's attribute by its full name: kind and value."""
        for own, attribute in (self.devices[number].attributes or {}).items():
            if (own if "/" in own else f"{self.driver}/{own}") == name:
                return value_of(attribute)
        return None


_encode = msgspec.json.Encoder(order="deterministic").encode


def value_of(attribute: Attribute) -> Value | None:
    """Kind and value of an attribute."""
    for kind in ("string", "integer", "boolean", "version"):
        value = getattr(attribute, kind)
        if value is not None:
            return kind, value
    return None


class _Domains(DomainMap):
    """Attributes by domain."""

    def put(self, driver: str, name: str, value: Any) -> None:
        domain, _, plain = name.rpartition("/")
        self.setdefault(domain or driver, {})[plain] = value


def describe(driver: str, device: Device) -> dict[str, Any]:
    """A device as expressions see it: `device.driver`, `device.attributes["domain"].name`, `device.capacity["domain"].name`; raises
    ValueError when a version is none.

    A domain that the device knows nothing of is an empty map.
    """
    attributes, capacity = _Domains(), _Domains()
    for name, attribute in (device.attributes or {}).items():
        found = value_of(attribute)
        if found is not None:
            kind, value = found
            attributes.put(driver, name, cel_functions.as_semver(value) if kind == "version" else value)
    for name, amount in (device.capacity or {}).items():
        capacity.put(driver, name, cel_functions.as_quantity(amount.value))
    return {
        "driver": driver,
        "attributes": DomainMap(attributes),
        "capacity": DomainMap(capacity),
        "allowMultipleAllocations": bool(device.allowMultipleAllocations),
    }


def tolerated(device: Device, tolerations: tuple[DeviceToleration, ...]) -> bool:
    """Whether all taints of a device that keep pods off are tolerated."""
    return all(
        taint.effect not in BLOCKING
        or any(
            (not t.effect or t.effect == taint.effect)
            and (not t.key or t.key == taint.key)
            and (t.operator == "Exists" or (t.value or "") == (taint.value or ""))
            for t in tolerations
        )
        for taint in device.taints or ()
    )


@dataclass(frozen=True, slots=True)
class Match:
    """What a device must be: expressions of class and request, and the taints that may be on it."""

    expressions: tuple[str, ...] = ()
    tolerations: tuple[DeviceToleration, ...] = ()
    capacity: Amounts = ()
    """What of its capacities is wanted."""

    def __hash__(self) -> int:
        return hash((self.expressions, self.capacity))


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way to satisfy a request. `count` None: all devices that match."""

    name: str
    match: Match
    count: int | None = 1
    admin: bool = False
    """Devices in use will do, and are not used up."""
    class_name: str = ""


@dataclass(frozen=True, slots=True)
class Want:
    """A request: the first alternative that can be had."""

    name: str
    alternatives: tuple[Alternative, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """All devices of some requests agree (or all differ) in an attribute."""

    attribute: str
    requests: frozenset[str]
    """By name, with or without that of the alternative; empty: all of the claim."""
    distinct: bool = False

    def concerns(self, want: Want, alternative: Alternative) -> bool:
        """Whether it is about these devices."""
        return not self.requests or want.name in self.requests or alternative.name in self.requests


@dataclass(frozen=True, slots=True)
class ClaimDemand:
    """What one claim asks for."""

    wants: tuple[Want, ...]
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Demand:
    """What all claims of a pod that are not allocated yet ask for."""

    claims: tuple[ClaimDemand, ...]


@dataclass(frozen=True, slots=True)
class Picked:
    """A device for a claim: `pool` counts the bench's shapes."""

    claim: int
    request: str
    pool: int
    device: int
    admin: bool
    tolerations: tuple[DeviceToleration, ...]
    consumed: Amounts | None = None
    """Of a device that is shared: what is taken of its capacities."""


@dataclass(slots=True)
class Bench:
    """What a node reaches. Masks hold a bit a device: `closed` are those that it does not reach, `used` those that claims hold."""

    shapes: tuple[Shape, ...]
    used: tuple[int, ...]
    closed: tuple[int, ...] = ()
    shares: tuple[tuple[Share, ...], ...] = ()
    """A shape's devices of which claims have a share; empty: none of any."""
    offsets: list[int] = field(default_factory=list)
    size: int = 0

    def __post_init__(self) -> None:
        for shape in self.shapes:
            self.offsets.append(self.size)
            self.size += len(shape.devices)

    def taking(self, picked: Iterable[Picked]) -> Bench | None:
        """What is left once these are taken; None when that is as much as before."""
        used = list(self.used)
        shares = list(self.shares or ((),) * len(self.shapes))
        for one in picked:
            if one.consumed is not None:
                shares[one.pool] = with_share(shares[one.pool], one.device, one.consumed)
            elif not one.admin:
                used[one.pool] |= 1 << one.device
        if (tuple(used), tuple(shares)) == (self.used, self.shares or ((),) * len(self.shapes)):
            return None
        return Bench(self.shapes, tuple(used), self.closed, tuple(shares))

    def mask(self, masks: Iterable[int]) -> int:
        """Masks of the shapes as one."""
        whole = 0
        for offset, mask in zip(self.offsets, masks, strict=False):
            whole |= mask << offset
        return whole

    def matching(self, match: Match) -> int:
        """All devices that match, of pools that may be used."""
        return self.mask(
            shape.matching(match) if shape.whole and shape.valid else 0 for shape in self.shapes
        ) & ~self.mask(self.closed)

    def unfinished(self, match: Match) -> bool:
        """Whether a pool that is not whole has devices that match: then nobody can tell what all of them are."""
        return any(not shape.whole and shape.matching(match) for shape in self.shapes)

    def place(self, number: int) -> tuple[int, int]:
        """Pool and device of a bit."""
        pool = len(self.offsets) - 1
        while self.offsets[pool] > number:
            pool -= 1
        return pool, number - self.offsets[pool]


def bits(mask: int) -> Iterator[int]:
    """The positions of the bits that are set, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


class _GaveUp(Exception):
    pass


class _Search:
    """One search on one bench."""

    def __init__(self, bench: Bench, demand: Demand) -> None:
        self.bench = bench
        self.demand = demand
        self._used = bench.mask(bench.used)
        self.free = ((1 << bench.size) - 1) & ~self._used & ~bench.mask(bench.closed)
        self.shareable = bench.mask(shape.shareable for shape in bench.shapes)
        self.shares = list(bench.shares or ((),) * len(bench.shapes))
        self.picked: list[tuple[int, Want, Alternative, int]] = []
        self.steps = 0
        self.left: list[Counters] = []
        for shape, used, shared in zip(bench.shapes, bench.used, self.shares, strict=True):
            left = dict(shape.counters)
            if shape.partitioned:
                for number in (*bits(used), *(device for device, _ in shared)):
                    for key, amount in shape.consumes[number].items():
                        left[key] = left.get(key, 0) - amount
            self.left.append(left)
        self._signatures: dict[int, tuple[Any, ...]] = {}
        self._matches = list(
            dict.fromkeys(a.match for c in demand.claims for w in c.wants for a in w.alternatives)
        )
        self._masks = {match: bench.matching(match) for match in self._matches}
        self._attributes = list(dict.fromkeys(rule.attribute for c in demand.claims for rule in c.rules))

    def run(self) -> list[Picked] | None:
        try:
            if not self._claim(0, 0):
                return None
        except _GaveUp:
            return None
        found = []
        for claim, _, alternative, number in self.picked:
            pool, device = self.bench.place(number)
            found.append(
                Picked(
                    claim,
                    alternative.name,
                    pool,
                    device,
                    alternative.admin,
                    alternative.match.tolerations,
                    self._share(alternative, number),
                )
            )
        return found

    def _claim(self, claim: int, want: int) -> bool:
        """Satisfy everything from this request on."""
        if claim == len(self.demand.claims):
            return True
        demand = self.demand.claims[claim]
        if want == len(demand.wants):
            return self._claim(claim + 1, 0)
        wanted = demand.wants[want]
        for alternative in wanted.alternatives:
            mask = self._masks[alternative.match]
            if alternative.count is None:
                if self._all(claim, want, wanted, alternative, mask):
                    return True
            elif self._some(claim, want, wanted, alternative, mask, alternative.count, 0):
                return True
        return False

    def _all(self, claim: int, want: int, wanted: Want, alternative: Alternative, mask: int) -> bool:
        if not mask or self.bench.unfinished(alternative.match):
            return False
        before = len(self.picked)
        for number in bits(mask):
            if not self._take(claim, wanted, alternative, number):
                self._undo(before)
                return False
        if self._claim(claim, want + 1):
            return True
        self._undo(before)
        return False

    def _some(
        self, claim: int, want: int, wanted: Want, alternative: Alternative, mask: int, count: int, start: int
    ) -> bool:
        if not count:
            return self._claim(claim, want + 1)
        candidates = mask >> start << start
        if not alternative.admin:
            candidates &= self.free
        if candidates.bit_count() < count and not candidates & self.shareable:
            return False
        tried: set[tuple[Any, ...]] = set()
        before = len(self.picked)
        for number in bits(candidates):
            signature = self._signature(number)
            if signature in tried:
                continue
            tried.add(signature)
            if self._take(claim, wanted, alternative, number):
                again = number if self.shareable >> number & 1 else number + 1
                if self._some(claim, want, wanted, alternative, mask, count - 1, again):
                    return True
                self._undo(before)
        return False

    def _signature(self, number: int) -> tuple[Any, ...]:
        """What can be told of a device: devices of equal signatures are exchangeable."""
        known = self._signatures.get(number)
        if known is None:
            pool, device = self.bench.place(number)
            shape = self.bench.shapes[pool]
            known = self._signatures[number] = (
                tuple(mask >> number & 1 for mask in self._masks.values()),
                self._used >> number & 1,
                tuple(shape.attribute(device, name) for name in self._attributes),
                (pool, tuple(shape.consumes[device].items())) if shape.partitioned else None,
                number if self.shareable >> number & 1 else None,
            )
        return known

    def _take(self, claim: int, wanted: Want, alternative: Alternative, number: int) -> bool:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise _GaveUp
        if not alternative.admin and not self.free >> number & 1:
            return False
        if sum(entry[0] == claim for entry in self.picked) >= MAX_RESULTS:
            return False
        pool, device = self.bench.place(number)
        shape = self.bench.shapes[pool]
        for rule in self.demand.claims[claim].rules:
            if rule.concerns(wanted, alternative) and not self._agrees(rule, claim, shape, device):
                return False
        share = self._share(alternative, number)
        if share is not None:
            held = dict(self.shares[pool]).get(device)
            if not fits(shape.devices[device], held or (), share):
                return False
            if held is None and not self._draw(pool, device):
                return False
            self.shares[pool] = with_share(self.shares[pool], device, share)
        elif not alternative.admin:
            if not self._draw(pool, device):
                return False
            self.free &= ~(1 << number)
        self.picked.append((claim, wanted, alternative, number))
        return True

    def _draw(self, pool: int, device: int, sign: int = 1) -> bool:
        """Take what a device needs of its pool's counters, or with `sign` -1 give it back. Returns whether there is enough."""
        shape = self.bench.shapes[pool]
        if shape.partitioned:
            left, consumes = self.left[pool], shape.consumes[device]
            if sign > 0 and any(left.get(key, 0) < amount for key, amount in consumes.items()):
                return False
            for key, amount in consumes.items():
                left[key] -= sign * amount
        return True

    def _share(self, alternative: Alternative, number: int) -> Amounts | None:
        """What is taken of a device that is shared; None for all others, and for administrators."""
        if alternative.admin or not self.shareable >> number & 1:
            return None
        pool, device = self.bench.place(number)
        return self.bench.shapes[pool].consumed(device, alternative.match.capacity)

    def _agrees(self, rule: Rule, claim: int, shape: Shape, device: int) -> bool:
        value = shape.attribute(device, rule.attribute)
        if value is None:
            return False
        for other_claim, wanted, alternative, number in self.picked:
            if other_claim == claim and rule.concerns(wanted, alternative):
                pool, other = self.bench.place(number)
                same = self.bench.shapes[pool].attribute(other, rule.attribute) == value
                if same is rule.distinct:
                    return False
                if not rule.distinct:
                    return True  # all others agree with this one
        return True

    def _undo(self, length: int) -> None:
        while len(self.picked) > length:
            _, _, alternative, number = self.picked.pop()
            pool, device = self.bench.place(number)
            share = self._share(alternative, number)
            if share is not None:
                self.shares[pool] = with_share(self.shares[pool], device, share, -1)
                if device not in dict(self.shares[pool]):
                    self._draw(pool, device, -1)
            elif not alternative.admin:
                self.free |= 1 << number
                self._draw(pool, device, -1)


def allocate(bench: Bench, demand: Demand) -> list[Picked] | None:
    """Devices for all claims, or None when there is no way."""
    return _Search(bench, demand).run()
