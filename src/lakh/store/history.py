"""The history window: the newest events of a partition, indexed for watchers that come back.

Revisions are consecutive, so an event's place in the window is arithmetic. A watcher that resumes wants the few events
of its bucket (a key, a term, a scope or a table; see `hub`), not all of the window: when a hundred thousand clients
come back at once, each must cost what concerns it. So every `BLOCK_EVENTS` events that came one after the other have an index,
made when there are so many, and dropped whole when the last of them is:

    first 2, last 257
    "pods/default/a"       → 5                 one event: its place in the block
    ("pods", "node=n1")    → bytes 1, 5, 10    some: their places

Places are bytes, not lists, since the garbage collector goes through each list there is, again and again; one write in three made one.
The events since the last full block are looked through. No write touches an index that is large, or many of them.

The window is charged the values that only it keeps alive (`prev` of each event) and a fixed overhead an event.

Costs: append O(1) amortised for each of the event's three buckets and terms; `bucket_since` O(window / BLOCK_EVENTS + BLOCK_EVENTS + own events).

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

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

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
BLOCK_EVENTS = 256
"""An index of so many is made in a quarter of a millisecond; the largest window has 400 of them. A place in a block is a byte."""
CUT_AT = 1_024
"""Slots of events that went are given back when there are so many and they are half of the list."""

Bucket = tuple[str, ...]
Word = str | tuple[str, str]
"""A bucket in an index: a key, scope or table by itself (they differ in their slashes), a term with its table."""


class _Block(NamedTuple):
    """The index of some consecutive events."""

    first: int
    last: int
    places: dict[Word, int | bytes]


class History:
    """The newest events, bounded in number and bytes. `oldest` is the revision just before the first of them."""

    __slots__ = (
        "_blocks",
        "_events",
        "_gone",
        "_on_drop",
        "_unindexed",
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
        on_drop: Callable[[list[Event]], None] | None = None,
    ) -> None:
        """An empty window that begins after `revision`. `on_drop` is told of the events that leave it."""
        self._on_drop = on_drop
        self.oldest = revision
        self.size_bytes = 0
        # The first `_gone` slots are None; after them, event `oldest + 1` and so on.
        self._events: list[Event | None] = []
        self._gone = 0
        self._blocks: deque[_Block] = deque()
        self._unindexed = 0
        """Events at the end that are in no block."""
        self.max_bytes = max_bytes
        self.max_events = max_events

    def __len__(self) -> int:
        return len(self._events) - self._gone

    @property
    def indexed_words(self) -> int:
        """Entries of all indexes."""
        return sum(len(block.places) for block in self._blocks)

    def append(self, event: Event) -> None:
        """Take one event in. See `extend`."""
        self.extend((event,))

    def extend(self, events: Sequence[Event]) -> None:
        """Take events in, then let the oldest go as the bounds demand."""
        kept, taken = self._events, 0
        while taken < len(events):
            piece = events[taken : taken + BLOCK_EVENTS - self._unindexed]
            kept += piece
            taken += len(piece)
            self._unindexed += len(piece)
            if self._unindexed == BLOCK_EVENTS:
                self._index()
        self.size_bytes = size_bytes = self.size_bytes + sum(map(_event_bytes, events))
        if size_bytes > self.max_bytes or len(kept) - self._gone > self.max_events:
            self._drop_oldest()

    def _index(self) -> None:
        """Make a block of the newest events."""
        places: dict[Word, int | bytes] = {}
        newest = self._events[-BLOCK_EVENTS:]
        last = newest[-1]
        assert last is not None
        first = last.revision - BLOCK_EVENTS + 1
        # There are few scopes, and mostly an event is of the same as the one before it.
        wide: dict[str, list[int]] = {}
        table, start = "", None
        in_table: list[int] = []
        in_scope: list[int] = []
        for place, event in enumerate(newest, BLOCK_EVENTS - len(newest)):
            if event is None:
                continue  # the window is smaller than a block
            item, prev = event.item, event.prev
            key = event.key
            _note(places, key, place)
            if start is None or not key.startswith(start):
                end_of_table = key.index("/")
                start = key[: key.index("/", end_of_table + 1) + 1]
                table = key[:end_of_table]
                in_table, in_scope = wide.setdefault(table, []), wide.setdefault(start[:-1], [])
            in_table.append(place)
            in_scope.append(place)
            now, before = item.terms if item is not None else (), prev.terms if prev is not None else ()
            if now or before:
                for term in terms_of(now, before):
                    _note(places, (table, term), place)
        for word, there in wide.items():
            places[word] = bytes(there)
        self._blocks.append(_Block(first, last.revision, places))
        self._unindexed = 0

    def _drop_oldest(self) -> None:
        """Let the oldest go until the bounds are kept."""
        events, gone, size_bytes = self._events, self._gone, self.size_bytes
        count = len(events) - gone
        while self._over(count, size_bytes):
            event = events[gone]
            assert event is not None
            size_bytes -= _event_bytes(event)
            gone += 1
            count -= 1
        dropped: list[Event] = events[self._gone : gone]  # type: ignore[assignment]
        if not dropped:
            return
        self.size_bytes = size_bytes
        self.oldest = dropped[-1].revision
        if gone >= CUT_AT and 2 * gone >= len(events):
            del events[:gone]
            self._gone = 0
        else:
            events[self._gone : gone] = [None] * len(dropped)
            self._gone = gone
        while self._blocks and self._blocks[0].last <= self.oldest:
            self._blocks.popleft()
        if self._on_drop is not None:
            self._on_drop(dropped)

    def _over(self, count: int, size_bytes: int) -> bool:
        """Whether so many events of so many bytes are too many."""
        if count > self.max_events:
            return True
        if size_bytes <= self.max_bytes or not count:
            return False
        return count > HISTORY_KEEP_EVENTS or size_bytes > HISTORY_HARD_FACTOR * self.max_bytes

    def since(self, revision: int) -> list[Event]:
        """Events after `revision`, oldest first. It must not be below `oldest`."""
        return self._events[self._gone + revision - self.oldest :]  # type: ignore[return-value]

    def bucket_since(self, bucket: Bucket, revision: int) -> list[Event]:
        """The events of one bucket after `revision`, oldest first. It must not be below `oldest`."""
        word: Word = (bucket[1], bucket[2]) if bucket[0] == "term" else bucket[1]
        events, offset = self._events, self._gone - self.oldest - 1
        found: list[Event] = []
        blocks, next_revision = self._blocks, revision + 1
        if blocks:
            # Blocks are as long as each other and follow one another.
            for block in islice(blocks, max(0, (next_revision - blocks[0].first) // BLOCK_EVENTS), None):
                places = block.places.get(word)
                if places is None:
                    continue
                at = offset + block.first
                for place in (places,) if isinstance(places, int) else places:
                    if block.first + place > revision:
                        found.append(events[at + place])  # type: ignore[arg-type]
            next_revision = max(next_revision, blocks[-1].last + 1)
        rest: list[Event] = events[offset + next_revision :]  # type: ignore[assignment]
        if bucket[0] == "key":
            found += [event for event in rest if event.key == word]
        elif bucket[0] == "term":
            start, term = f"{bucket[1]}/", bucket[2]
            for event in rest:
                item, prev = event.item, event.prev
                if (
                    (item is not None and term in item.terms) or (prev is not None and term in prev.terms)
                ) and event.key.startswith(start):
                    found.append(event)
        else:
            start = f"{word}/"
            found += [event for event in rest if event.key.startswith(start)]
        return found


def _note(places: dict[Word, int | bytes], word: Word, place: int) -> None:
    found = places.get(word)
    if found is None:
        places[word] = place
    elif isinstance(found, int):
        places[word] = bytes((found, place))
    else:
        places[word] = found + bytes((place,))


def terms_of(now: tuple[str, ...], before: tuple[str, ...]) -> tuple[str, ...] | dict[str, None]:
    """Both, each once."""
    terms = before if now == before else now + before
    return terms if len(terms) < 2 else dict.fromkeys(terms)


def _event_bytes(event: Event) -> int:
    prev = event.prev
    return EVENT_OVERHEAD_BYTES + (len(prev.stored) if prev is not None else 0)
