"""For how long nobody could write to a partition after its writer was taken away, as clients saw it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .history import OK, History

WRITES = ("create", "update", "patch", "delete")


class Gap(NamedTuple):
    """From the fault to the answer of the first write that was called after it and acknowledged."""

    kind: str
    partition: str
    seconds: float


def gaps(history: History) -> list[Gap]:
    """The gaps of a round. A partition that another fault hit before it was written again counts for the first one.

    Their resolution is that of the pulse's calls (see `traffic`): 0.3 s.
    """
    ends: dict[str, list[tuple[float, float]]] = {}
    for op in history.operations:
        if op.outcome == OK and op.verb in WRITES:
            ends.setdefault(history.partitions[op.resource], []).append((op.end, op.call))
    for pairs in ends.values():
        pairs.sort()
    found = []
    open_until: dict[str, float] = {}
    for fault in history.faults:
        for partition in fault.orphaned:
            if partition not in ends or fault.time < open_until.get(partition, 0.0):
                continue
            end = next((end for end, call in ends[partition] if call >= fault.time), None)
            if end is not None:
                open_until[partition] = end
                found.append(Gap(fault.kind, partition, end - fault.time))
    return found


def quantile(seconds: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed. Raises ValueError when there are none."""
    ordered = sorted(seconds)
    if not ordered:
        raise ValueError("no values")
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
