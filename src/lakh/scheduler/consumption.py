"""Devices that several claims share by their capacity (consumable capacity, KEP-5075): what a request takes of a device.

A device with `allowMultipleAllocations` is never used up as such; its capacities are. A request says how much of which capacity it wants, and the device's policy
rounds that up to a step or to a valid value; what is not asked for is taken by the policy's default, or whole. Upstream's
dynamic-resource-allocation/structured, consumable_capacity.go (v1.36). Amounts are integers in units of 10⁻⁹.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lakh.machinery import quantity

from .deviceviews import Capacity, Device, RequestPolicy
from .views import Quantity

__all__ = ["Amounts", "Share", "amounts_of", "as_quantities", "consumed_by", "fits", "with_share"]

ONE = 1_000_000_000

Amounts = tuple[tuple[str, int], ...]
"""Names of capacities, sorted, and how much of each."""
Share = tuple[int, Amounts]
"""A device of a pool, by number, and what claims have of it."""


def amounts_of(quantities: Mapping[str, Quantity] | None) -> Amounts:
    """Quantities as amounts."""
    return tuple(sorted((name, quantity.parse_nano(value)) for name, value in (quantities or {}).items()))


def as_quantities(amounts: Amounts) -> dict[str, Quantity]:
    """Amounts as quantities."""
    return {
        name: quantity.of_bytes(amount // ONE) if amount % ONE == 0 else quantity.canonical(f"{amount}n")
        for name, amount in amounts
    }


def consumed_by(driver: str, device: Device, wanted: Amounts) -> Amounts | None:
    """What a request that wants some capacities takes of a device's; None when the device cannot satisfy it."""
    capacity = device.capacity or {}
    asked: dict[str, int] = {}
    for name, amount in wanted:
        found = next((own for own in _spellings(driver, name) if own in capacity), None)
        if found is None:
            return None
        asked[found] = amount
    taken = []
    for name, one in sorted(capacity.items()):
        consumed = _consumed(one, asked.get(name))
        if consumed is None or consumed > quantity.parse_nano(one.value):
            return None
        taken.append((name, consumed))
    return tuple(taken)


def _spellings(driver: str, name: str) -> tuple[str, ...]:
    """A name without domain is the driver's."""
    domain, _, plain = name.rpartition("/")
    if not domain:
        return name, f"{driver}/{name}"
    return (name, plain) if domain == driver else (name,)


def _consumed(capacity: Capacity, asked: int | None) -> int | None:
    policy = capacity.requestPolicy
    if asked is None:
        if policy is not None and policy.default is not None:
            return quantity.parse_nano(policy.default)
        return quantity.parse_nano(capacity.value)
    return asked if policy is None else _rounded(policy, asked)


def _rounded(policy: RequestPolicy, asked: int) -> int | None:
    """The next valid amount; None when there is none."""
    within = policy.validRange
    if within is not None:
        lowest = quantity.parse_nano(within.min) if within.min is not None else 0
        amount = max(asked, lowest)
        if within.step is not None and amount > lowest:
            step = max(1, -(-quantity.parse_nano(within.step) // ONE)) * ONE
            above = -(-amount // ONE) * ONE - lowest
            amount = lowest + -(-above // step) * step
        if within.max is not None and amount > quantity.parse_nano(within.max):
            return None
        return amount
    if policy.validValues:
        return next((v for v in map(quantity.parse_nano, policy.validValues) if v >= asked), None)
    return asked


def fits(device: Device, held: Amounts, more: Amounts) -> bool:
    """Whether a device has room for more beside what claims have of it."""
    has = dict(held)
    capacity = device.capacity or {}
    return all(
        has.get(name, 0) + amount <= quantity.parse_nano(capacity[name].value) for name, amount in more
    )


def with_share(shares: Iterable[Share], number: int, more: Amounts, sign: int = 1) -> tuple[Share, ...]:
    """The shares of a pool once a device's grows, or with `sign` -1 shrinks."""
    found = {device: dict(amounts) for device, amounts in shares}
    mine = found.setdefault(number, {})
    for name, amount in more:
        mine[name] = mine.get(name, 0) + sign * amount
    return tuple(
        (device, tuple(sorted(amounts.items())))
        for device, amounts in sorted(found.items())
        if any(amounts.values())
    )
