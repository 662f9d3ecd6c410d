"""What the containers of a pod ask for together (component-helpers' AggregateContainerRequests and AggregateContainerLimits).

Amounts are quantities by resource, as texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lakh.machinery import quantity

Amounts = Mapping[str, str | int | float]


def add(total: dict[str, str], amounts: Amounts) -> None:
    """Adds amounts to a total, in the total's family. Raises QuantityError."""
    for name, amount in amounts.items():
        total[name] = quantity.add(total[name], amount) if name in total else quantity.canonical(amount)


def raise_to(total: dict[str, str], amounts: Mapping[str, str]) -> None:
    """Makes each amount of a total as much as this at least. Raises QuantityError."""
    for name, amount in amounts.items():
        if name not in total or quantity.compare(amount, total[name]) > 0:
            total[name] = amount


def together(containers: Iterable[Amounts], starting: Iterable[tuple[bool, Amounts]]) -> dict[str, str]:
    """The most that is there at any time: what runs at once, or an init container with the sidecars before it. Of each init container: whether it is
    a sidecar, and its amounts. Raises QuantityError.
    """
    running: dict[str, str] = {}
    for amounts in containers:
        add(running, amounts)
    most: dict[str, str] = {}
    sidecars: dict[str, str] = {}
    for stays, amounts in starting:
        if stays:
            add(running, amounts)
            add(sidecars, amounts)
            raise_to(most, sidecars)
        else:
            alone = dict(sidecars)
            add(alone, amounts)
            raise_to(most, alone)
    raise_to(running, most)
    return running
