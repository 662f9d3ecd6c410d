"""The network as a tree of domains: which of them hold a number of pods, few of each layer. Pure functions on columns.

    layer 1          spine a (7)                 spine b (9)             room in brackets
    layer 2     a1 (4)      a2 (3)       b1 (3)   b2 (3)   b3 (3)

    6 pods: both spines hold them; in a they need 2 racks, in b 2; the smaller spine, a, is taken so that b stays whole
    8 pods: only b holds them: 3 racks
    12 pods: the largest spine first (b, 9), then the one that holds the remaining 3 in the fewest racks: a, and there a2

Per layer the fewest domains that hold n pods are the largest ones; the last of them is chosen freely among all that hold the rest, by
what it costs further down, then by the least room. When one domain holds all, the choice is thus optimal layer by layer from the widest; when
several are needed their number is. Domains where members of the group are already come first. Nodes without the label come last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .columns import NodeColumns
from .pieces import Pieces, finish

__all__ = ["Domain", "best_domains", "layout"]

Rows = npt.NDArray[np.intp]
Ints = npt.NDArray[np.int64]
Cost = tuple[int, ...]
"""Domains used, by layer, the widest first."""


@dataclass(slots=True, eq=False)
class Domain:
    """A domain of the network: its parts in the next layer, or in the last one its nodes."""

    room: int
    """How many pods it can take."""
    depth: int
    """Layers below it."""
    parts: list[Domain] = field(default_factory=list)
    rows: Rows | None = None
    """In the last layer: its nodes, those with the most room first."""
    labelled: bool = True
    peers: int = 0
    """Nodes in it where members of the group are."""
    size: tuple[int, ...] = ()
    """All domains in it that have room, by layer."""

    @staticmethod
    def of(columns: NodeColumns, rows: Rows, room: Ints, keys: Sequence[str], peers: Rows) -> Domain:
        """The tree of some rows by labels, the widest first. Rows without room are left out."""
        return finish(Domain.growing(columns, rows, room, keys, peers))

    @staticmethod
    def growing(
        columns: NodeColumns, rows: Rows, room: Ints, keys: Sequence[str], peers: Rows
    ) -> Pieces[Domain]:
        """The same in pieces."""
        kept = room > 0
        return _tree(columns, rows[kept], room[kept], tuple(keys), peers)


def _tree(columns: NodeColumns, rows: Rows, room: Ints, keys: tuple[str, ...], peers: Rows) -> Pieces[Domain]:
    total = int(room.sum())
    if not keys:
        return Domain(total, 0, rows=rows[np.argsort(-room, kind="stable")])
    ids = columns.label(keys[0]).ids
    own = ids[rows]
    order = np.argsort(own, kind="stable")
    rows, room, own = rows[order], room[order], own[order]
    starts = np.flatnonzero(np.diff(own, prepend=-1)).tolist()
    at = ids[peers]
    parts = []
    for start, end in zip(starts, [*starts[1:], len(own)], strict=True):
        inside = at == own[start]
        part = yield from _tree(columns, rows[start:end], room[start:end], keys[1:], peers[inside])
        part.labelled = bool(own[start])
        part.peers = int(np.count_nonzero(inside))
        parts.append(part)
        yield
    size = (len(parts), *(sum(column) for column in zip(*(p.size for p in parts), strict=True)))
    return Domain(total, len(keys), parts, size=size if parts else (0,) * len(keys))


def layout(domain: Domain, need: int) -> list[int]:
    """All rows of a domain in the order in which `need` pods fill them, few domains of each layer at a time."""
    if domain.rows is not None:
        found: list[int] = domain.rows.tolist()
        return found
    result: list[int] = []
    used = _used(domain, need)
    for part, count in used:
        result += layout(part, count)
    chosen = {id(part) for part, _ in used}
    for part in sorted(domain.parts, key=lambda part: (not part.labelled, -part.room)):
        if id(part) not in chosen:
            result += layout(part, part.room)
    return result


def best_domains(domains: Sequence[Domain], need: int) -> list[Domain]:
    """Domains that each hold `need` pods: fewest parts first, then least room."""
    return sorted(domains, key=lambda domain: (_cost(domain, need), domain.room))


def _used(domain: Domain, need: int) -> list[tuple[Domain, int]]:
    """Which parts take how many of `need` pods."""
    ordered = sorted(domain.parts, key=lambda part: (not part.labelled, -part.peers, -part.room))
    used: list[tuple[Domain, int]] = []
    for index, part in enumerate(ordered):
        if need <= 0:
            break
        if part.labelled and not part.peers and part.room >= need:
            rest = [other for other in ordered[index:] if other.labelled and other.room >= need]
            return [*used, (min(rest, key=lambda other: (_cost(other, need), other.room)), need)]
        taken = min(need, part.room)
        used.append((part, taken))
        need -= taken
    return used


def _cost(domain: Domain, need: int) -> Cost:
    """How many domains of each layer below take part when a domain takes `need` pods."""
    if domain.rows is not None:
        return ()
    if need >= domain.room:
        return domain.size
    total = [0] * domain.depth
    for part, count in _used(domain, need):
        total[0] += 1
        for layer, number in enumerate(_cost(part, count), 1):
            total[layer] += number
    return tuple(total)
