"""Members of a gang that share a ResourceClaim which nobody has allocated yet.

The first of them that is placed decides where the claim's devices are, and ties the others: devices of one node tie them to that node, devices that several
nodes reach to these. Such members are a *bundle*, planned together; with several shared claims all that hang together are one bundle:

    p0 ── claim a ── p1 ── claim b ── p2        p3 ── claim c        one bundle: p0 p1 p2
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from .core import Core
from .interpod import Identity, Own
from .podclass import PodClass

__all__ = ["M", "Member", "Placements", "bundles_of", "place_bundle", "place_on", "take_off"]

MAX_TRIED = 256
"""Nodes on which a bundle is begun before it is given up: each may take a pass over the nodes for each member."""


class Member(Protocol):
    """A pod of a gang: a waiting one."""

    uid: str
    cls: PodClass
    identity: Identity | None
    name: str
    own: Own


M = TypeVar("M", bound=Member)
Placements = list[tuple[M, str]]


def place_on(core: Core, member: Member, node: str) -> None:
    """Count a member on a node."""
    core.place(member.uid, member.cls, node, member.identity, name=member.name, own=member.own)


def take_off(core: Core, placed: Sequence[tuple[Member, str]]) -> None:
    """Count members no longer."""
    for member, _ in placed:
        core.remove(member.uid)


def bundles_of(core: Core, members: Sequence[M]) -> list[list[M]]:
    """The members that share claims which are not allocated, in the order given."""
    index = core.devices
    users: dict[str, list[int]] = {}
    for number, member in enumerate(members if core.any_needs else ()):
        needs = core.needs(member.uid)
        for _, name, made_for_it in needs.claims if needs is not None else ():
            if not name or made_for_it:
                continue
            assert needs is not None
            claim = index.claims.get(f"{needs.namespace}/{name}")
            if (
                claim is not None
                and claim.status.allocation is None
                and claim.metadata.uid not in index.pending
            ):
                users.setdefault(claim.key, []).append(number)
    return [
        [members[number] for number in group]
        for group in _components(numbers for numbers in users.values() if len(numbers) > 1)
    ]


def _components(sets: Iterable[list[int]]) -> list[list[int]]:
    """Sets that overlap, joined."""
    found: list[set[int]] = []
    for one in sets:
        joined = set(one)
        apart = []
        for other in found:
            if joined.isdisjoint(other):
                apart.append(other)
            else:
                joined |= other
        found = [*apart, joined]
    return sorted(sorted(group) for group in found)


def place_bundle(core: Core, bundle: Sequence[M], rows: Sequence[int]) -> Placements[M]:
    """Place all members of a bundle on some of the rows, which are given best first; none when they do not all find room."""
    first, *others = bundle
    columns = core.columns
    allowed = set(rows)
    tried = 0
    for row in rows:
        if tried >= MAX_TRIED:
            break
        if not core.row_fits(first.cls, row):
            continue
        tried += 1
        node = columns.names[row]
        assert node is not None
        place_on(core, first, node)
        placed = [(first, node)]
        for member in others:
            member.cls = core.resolve(member.cls, member.identity, member.uid)  # tied by now
            at = row if core.row_fits(member.cls, row) else _elsewhere(core, member, rows, allowed)
            if at is None:
                break
            place = columns.names[at]
            assert place is not None
            place_on(core, member, place)
            placed.append((member, place))
        if len(placed) == len(bundle):
            return placed
        take_off(core, placed)
        for member in bundle:
            member.cls = core.resolve(member.cls, member.identity, member.uid)
    return []


def _elsewhere(core: Core, member: Member, rows: Sequence[int], allowed: set[int]) -> int | None:
    fitting = set(core.feasible_rows(member.cls).tolist()) & allowed
    return next((row for row in rows if row in fitting and core.row_fits(member.cls, row)), None)
