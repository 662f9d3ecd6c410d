"""What clients did and saw in one round, as plain data.

Times are seconds of one monotonic clock: all clients live in one process. Every write carries a value of its own
(an annotation), so a value says which write it came from. A revision belongs to a partition; two resources may
share one. Everything names the server that was asked, by its number.

An operation's outcome is one of three:

- `ok`: acknowledged.
- `refused`: answered with an error that promises that nothing was done (4xx, 507).
- `unknown`: no answer, or an error that promises nothing. It may have been carried out, then or later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

OK = "ok"
REFUSED = "refused"
UNKNOWN = "unknown"


class Operation(msgspec.Struct, omit_defaults=True):
    """A call about one object. `end` is when its answer, or the loss of it, was noticed."""

    client: int
    verb: str  # create, update, patch, delete, get
    resource: str
    key: str  # namespace/name
    call: float
    end: float = 0.0
    outcome: str = UNKNOWN
    code: int = 0
    reason: str = ""
    value: str = ""  # what it writes, or what a get has read
    expect: int = 0  # the resourceVersion an update insists on
    uid: str = ""  # the uid a delete insists on, or that of the object in the answer
    revision: int = 0  # the resourceVersion in the answer
    server: int = 0
    cached: bool = False  # a get with resourceVersion=0: whatever the server has


class Seen(msgspec.Struct, array_like=True):
    """An object as it was shown."""

    key: str
    revision: int
    value: str
    uid: str


class Listing(msgspec.Struct, omit_defaults=True):
    """A list: whole, in pages, or as of a revision. `scope` is its namespace, empty for all.

    `cached` has resourceVersion=0 (whatever the server has), `bounded` is not older than `asked`.
    """

    client: int
    mode: str  # whole, pages, exact, stream, cached, bounded, final
    resource: str
    scope: str
    call: float
    end: float = 0.0
    outcome: str = UNKNOWN
    code: int = 0
    reason: str = ""
    asked: int = 0  # the revision that was asked for, by exact and bounded
    chain: int = 0  # the chain of watch segments that begins with it
    revisions: list[int] = []  # of each page
    items: list[Seen] = []
    server: int = 0

    @property
    def revision(self) -> int:
        """The revision it claims to show."""
        return self.revisions[0] if self.revisions else 0


class Shown(msgspec.Struct, array_like=True):
    """An event of a watch. A BOOKMARK has a revision only."""

    time: float
    type: str  # ADDED, MODIFIED, DELETED, BOOKMARK
    key: str
    revision: int
    value: str = ""
    uid: str = ""


class Segment(msgspec.Struct, omit_defaults=True):
    """One watch request, from its start to its break. Segments of a watcher with the same `chain` follow one another."""

    watcher: int
    chain: int
    resource: str
    scope: str
    name: str
    start: int
    opened: float
    events: list[Shown] = []
    end: str = ""  # ended, lost, expired, closed, or the code and reason of an error
    resumes: bool = False  # it follows a segment rather than a list
    replay: bool = False  # from before the traffic, after the last restart: what is true in the end
    server: int = 0

    @property
    def covers(self) -> int:
        """The newest revision that it speaks for: everything up to it was shown."""
        return max(self.start, self.events[-1].revision) if self.events else self.start

    def concerns(self, resource: str, key: str) -> bool:
        """Whether the object is one it watches."""
        if resource != self.resource:
            return False
        namespace, _, name = key.partition("/")
        return (not self.scope or namespace == self.scope) and (not self.name or name == self.name)


class Injected(msgspec.Struct, omit_defaults=True):
    """A fault, and what came of it."""

    time: float
    kind: str
    detail: str = ""
    done: bool = True
    orphaned: list[str] = []  # partitions whose writer it took away


class History(msgspec.Struct):
    """One round."""

    seed: int
    plan: dict[str, str | int | float | bool]
    partitions: dict[str, str]  # resource → partition
    base: dict[str, int] = {}  # resource → revision before the traffic
    operations: list[Operation] = []
    listings: list[Listing] = []
    segments: list[Segment] = []
    faults: list[Injected] = []

    def dump(self, path: Path) -> None:
        """Keep it as a file."""
        path.write_bytes(msgspec.json.encode(self) + b"\n")

    @staticmethod
    def load(path: Path) -> History:
        """A kept one."""
        return msgspec.json.decode(path.read_bytes(), type=History)


class Fact(NamedTuple):
    """At this revision this was written to this object; a deletion when `value` is None. `when`: first shown."""

    revision: int
    resource: str
    key: str
    value: str | None
    uid: str
    when: float
    source: str


class Facts:
    """Everything a history proves about what was written, whoever saw it.

    `clashes` are pairs that cannot both be true: two writes with one revision. `covered` says where nothing is
    missing: between which revisions of a resource some watch of all its objects has shown every event.
    """

    def __init__(self, history: History) -> None:
        """Gathers them. O(n log n)."""
        self.history = history
        self.by_revision: dict[tuple[str, int], Fact] = {}
        self.clashes: list[tuple[Fact, Fact]] = []
        self.hard: list[str] = []
        """Objects whose search for an order was given up."""
        self._spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._final: dict[str, int] = {}  # resource → newest revision of its final lists
        for listing in history.listings:
            if listing.mode == "final" and listing.outcome == OK:
                self._final[listing.resource] = max(self._final.get(listing.resource, 0), listing.revision)
        for fact in sorted(_facts(history), key=lambda fact: fact.when):
            place = (history.partitions[fact.resource], fact.revision)
            known = self.by_revision.setdefault(place, fact)
            if known[1:5] != fact[1:5]:
                self.clashes.append((known, fact))
        self.of_resource: dict[str, list[Fact]] = defaultdict(list)
        self.of_key: dict[tuple[str, str], list[Fact]] = defaultdict(list)
        for fact in sorted(self.by_revision.values(), key=lambda fact: fact.revision):
            self.of_resource[fact.resource].append(fact)
            self.of_key[fact.resource, fact.key].append(fact)
        for resource, spans in _spans(history).items():
            self._spans[resource] = _merged(spans)

    def covered(self, resource: str, after: int, to: int) -> bool:
        """Whether every event of the resource in (after, to] is known."""
        return after >= to or any(low <= after and to <= high for low, high in self._spans[resource])

    def complete(self, resource: str, since: int = 0) -> bool:
        """Whether every event after a revision (default: since the traffic began) is known."""
        newest = self._final.get(resource, 0)
        return newest > 0 and self.covered(resource, max(since, self.history.base.get(resource, 0)), newest)

    def at(self, resource: str, key: str, revision: int) -> Fact | None:
        """The newest known fact about an object that is not after the revision."""
        newest = None
        for fact in self.of_key.get((resource, key), ()):
            if fact.revision > revision:
                break
            newest = fact
        return newest


def _facts(history: History) -> Iterable[Fact]:
    for op in history.operations:
        if op.outcome == OK and op.revision and op.verb != "delete":
            yield Fact(
                op.revision, op.resource, op.key, op.value, op.uid, op.end, f"{op.verb} of {op.client}"
            )
    for listing in history.listings:
        if listing.outcome == OK:
            for item in listing.items:
                source = f"list of {listing.client}"
                yield Fact(
                    item.revision, listing.resource, item.key, item.value, item.uid, listing.end, source
                )
    for segment in history.segments:
        for event in segment.events:
            if event.type != "BOOKMARK":
                value = None if event.type == "DELETED" else event.value
                source = f"watch {segment.watcher}"
                yield Fact(event.revision, segment.resource, event.key, value, event.uid, event.time, source)


def _spans(history: History) -> dict[str, list[tuple[int, int]]]:
    spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for segment in history.segments:
        if not segment.scope and not segment.name and segment.covers > segment.start:
            spans[segment.resource].append((segment.start, segment.covers))
    return spans


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return merged
