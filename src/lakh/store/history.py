"""The history window: the newest events of a partition, indexed for watchers that come back.

Revisions are consecutive, so an event's place in the window is arithmetic. A watcher that resumes wants the few events
of its bucket (a key, a term, a scope or a table; see `hub`), not all of the window: when a hundred thousand clients
come back at once, each must cost what concerns it. So every bucket has the revisions of its events, in order:

    ("key", "pods/default/a")        → 7                one event: the number itself, no list
    ("term", "pods", "node=n1")      → [3, 7, 12]

Numbers, not events: stale ones at the front of a list keep nothing alive, and are cut when they are half of it.

The window is charged the values that only it keeps alive (`prev` of each event) and a fixed overhead an event.

Costs: append O(1) amortised for each of the event's three buckets and terms; `bucket_since` O(log n + own events).

Worked example::

    >>> from lakh.store.state import Event, Item
    >>> window = History(1, 1 << 20, 3)
    >>> items = [Item(f"pods/default/{name}", b"", (f"node={name}",), 2, 2) for name in "abab"]
    >>> for revision, item in enumerate(items, 2):
    ...     window.append(Event(revision, item, None))
    >>> window.oldest, [event.revision for event in window.since(2)]
    (2, [3, 4, 5])
    >>> [event.revision for event in window.bucket_since(("key", "pods/default/b"), 3)]
    [5]
    >>> [event.revision for event in window.bucket_since(("term", "pods", "node=a"), 2)]
    [4]
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakh.store.state import Event

HISTORY_EVENTS = 100_000
"""Twenty seconds at 5,000 writes a second: a client that lost its connection resumes without a new list."""
HISTORY_BYTES = 64 << 20
"""What superseded values may hold in memory, a partition."""
HISTORY_KEEP_EVENTS = 1_000
"""Kept even above the byte bound, so that a few huge objects do not make every watch start over …"""
HISTORY_HARD_FACTOR = 4
"""… but never above this multiple of the byte bound."""
EVENT_OVERHEAD_BYTES = 400
"""Of an Event, its superseded Item and their places in the window and its index. An estimate from counting fields."""
CUT_AT = 1_024
"""Slots of events that went are given back when there are so many and they are half of the list."""

Bucket = tuple[str, ...]


class History:
    """The newest events, bounded in number and bytes. `oldest` is the revision just before the first of them."""

    __slots__ = (
        "_events",
        "_gone",
        "_indexes",
        "_on_drop",
        "max_bytes",
        "max_events",
        "oldest",
        "size_bytes",
    )

    def __init__(
        self,
        revision: int,
        max_bytes: int,
        max_events: int,
        on_drop: Callable[[Event], None] | None = None,
    ) -> None:
        """An empty window that begins after `revision`. `on_drop` is told of each event that leaves it."""
        self._on_drop = on_drop
        self.oldest = revision
        self.size_bytes = 0
        # The first `_gone` slots are None; after them, event `oldest + 1` and so on.
        self._events: list[Event | None] = []
        self._gone = 0
        # A dictionary each kind of bucket: none has more entries than the window has events, or there are terms.
        self._indexes: dict[str, dict[Bucket, int | list[int]]] = {
            kind: {} for kind in ("key", "scope", "table", "term")
        }
        self.max_bytes = max_bytes
        self.max_events = max_events

    def __len__(self) -> int:
        return len(self._events) - self._gone

    @property
    def bucket_count(self) -> int:
        """Buckets with events in the window."""
        return sum(map(len, self._indexes.values()))

    def append(self, event: Event) -> None:
        """Take an event in, let the oldest go as the bounds demand."""
        self._events.append(event)
        self.size_bytes += _event_bytes(event)
        indexes, revision = self._indexes, event.revision
        for bucket in buckets(event):
            index = indexes[bucket[0]]
            found = index.get(bucket)
            if found is None:
                index[bucket] = revision
            elif isinstance(found, int):
                index[bucket] = [found, revision]
            else:
                found.append(revision)
        while self._over():
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        gone = self._events[self._gone]
        assert gone is not None
        self._events[self._gone] = None
        self._gone += 1
        if self._gone >= CUT_AT and 2 * self._gone >= len(self._events):
            del self._events[: self._gone]
            self._gone = 0
        self.size_bytes -= _event_bytes(gone)
        self.oldest = oldest = gone.revision
        for bucket in buckets(gone):
            index = self._indexes[bucket[0]]
            found = index[bucket]
            if isinstance(found, int) or found[-1] <= oldest:
                del index[bucket]
            elif found[len(found) // 2] <= oldest:
                del found[: bisect_right(found, oldest)]
        if self._on_drop is not None:
            self._on_drop(gone)

    def _over(self) -> bool:
        count = len(self)
        if count > self.max_events:
            return True
        if self.size_bytes <= self.max_bytes or not count:
            return False
        return count > HISTORY_KEEP_EVENTS or self.size_bytes > HISTORY_HARD_FACTOR * self.max_bytes

    def back_to(self, revision: int) -> Iterator[Event]:
        """Events after `revision`, newest first. It must not be below `oldest`."""
        events = self._events
        for at in range(len(events) - 1, self._gone + revision - self.oldest - 1, -1):
            event = events[at]
            assert event is not None
            yield event

    def since(self, revision: int) -> list[Event]:
        """Events after `revision`, oldest first. It must not be below `oldest`."""
        return self._events[self._gone + revision - self.oldest :]  # type: ignore[return-value]

    def bucket_since(self, bucket: Bucket, revision: int) -> list[Event]:
        """The events of one bucket after `revision`, oldest first. It must not be below `oldest`."""
        found = self._indexes[bucket[0]].get(bucket)
        if found is None:
            return []
        events, offset = self._events, self._gone - self.oldest - 1
        if isinstance(found, int):
            return [events[offset + found]] if found > revision else []  # type: ignore[list-item]
        return [events[offset + number] for number in found[bisect_right(found, revision) :]]  # type: ignore[misc]


def buckets(event: Event) -> list[Bucket]:
    """Every bucket that the event is in: key, scope, table, and the terms of the item and of what it was before."""
    item, prev = event.item, event.prev
    shown = item if item is not None else prev
    assert shown is not None
    key = shown.key
    end_of_table = key.index("/")
    table = key[:end_of_table]
    found: list[Bucket] = [
        ("key", key),
        ("scope", key[: key.index("/", end_of_table + 1)]),
        ("table", table),
    ]
    for term in terms_of(item.terms if item is not None else (), prev.terms if prev is not None else ()):
        found.append(("term", table, term))
    return found


def terms_of(now: tuple[str, ...], before: tuple[str, ...]) -> tuple[str, ...] | dict[str, None]:
    """Both, each once."""
    terms = before if now == before else now + before
    return terms if len(terms) < 2 else dict.fromkeys(terms)


def _event_bytes(event: Event) -> int:
    prev = event.prev
    return EVENT_OVERHEAD_BYTES + (prev.value_bytes if prev is not None else 0)
