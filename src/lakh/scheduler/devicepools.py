"""Pools of devices: their slices, who reaches them, and what of them is in use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from .allocator import Shape
from .consumption import Share
from .deviceviews import Device, SliceSpec
from .views import NodeSelector, NodeSelectorTerm, Requirement

__all__ = ["Pool", "PoolKey", "Slice", "both", "mask_of", "only", "reach_of", "shares_of"]

NAME_FIELD = "metadata.name"

PoolKey = tuple[str, str]
"""Driver and name."""

_devices = msgspec.json.Decoder(list[Device])
_encode = msgspec.json.Encoder(order="deterministic").encode


@dataclass(slots=True)
class Slice:
    """A slice of a pool. Equal `devices` and `counters` are kept once."""

    spec: SliceSpec
    devices: bytes
    counters: bytes | None


@dataclass(slots=True)
class Pool:
    """A pool and its slices by name."""

    key: PoolKey
    slices: dict[str, Slice] = field(default_factory=dict)
    shape: Shape | None = None
    node: str | None = None
    """The one node that has it."""
    used: int = 0
    shares: tuple[Share, ...] = ()
    """Devices that several claims share, and what claims have of them."""
    reach: tuple[tuple[int, NodeSelector | None], ...] = ()
    """Of a pool that several nodes reach: masks of devices, and the nodes that reach them (None: all)."""


def only(node: str) -> NodeSelector:
    return NodeSelector([NodeSelectorTerm(None, [Requirement(NAME_FIELD, "In", [node])])])


def both(a: set[str] | None, b: set[str] | None) -> set[str] | None:
    return None if a is None or b is None else a | b


def mask_of(shape: Shape, holders: dict[str, int]) -> int:
    mask = 0
    for device in holders:
        number = shape.index.get(device)
        if number is not None:
            mask |= 1 << number
    return mask


def reach_of(slices: list[Slice], shape: Shape) -> tuple[tuple[int, NodeSelector | None], ...]:
    """Who reaches which devices of a pool that is not one node's."""
    found: list[tuple[int, NodeSelector | None]] = []
    position = 0
    for part in slices:
        length = len(_devices.decode(part.devices))
        for number in range(position, position + length):
            device: Any = part.spec
            if part.spec.perDeviceNodeSelection:
                device = shape.devices[number]
            if device.nodeName:
                found.append((1 << number, only(device.nodeName)))
            elif device.nodeSelector is not None:
                found.append((1 << number, device.nodeSelector))
            elif device.allNodes:
                found.append((1 << number, None))
        position += length
    merged: dict[bytes, tuple[int, NodeSelector | None]] = {}
    for mask, selector in found:
        key = _encode(selector)
        merged[key] = merged.get(key, (0, None))[0] | mask, selector
    return tuple(merged.values())


def shares_of(shape: Shape, held: dict[str, dict[str, int]]) -> tuple[Share, ...]:
    """What claims have of the devices that are shared, given by name."""
    return tuple(
        sorted(
            (number, tuple(sorted(amounts.items())))
            for device, amounts in held.items()
            if (number := shape.index.get(device)) is not None and any(amounts.values())
        )
    )
