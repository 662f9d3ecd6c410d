"""MVCC state of a partition: the items that are, and a window of the events that led to them.

Owned by the event loop; nothing here does I/O or waits. Revisions are consecutive integers: event N+1 follows
event N.

- `items`: key → Item, the durable present.
- per table a sorted list of keys. Keys sort by code point, which is the byte order of their UTF-8, as in etcd.
  A scope is a contiguous run of a table: `pods/default/` up to, not including, `pods/default0`.
- `terms`: per table and term the keys of the items that have it, so that the pods of one node are found among a million.
- `history`: the newest events, see `history`. What has left it is cold, and packed when there is much, see `packing`.

Costs: get O(1); update of an item O(1); create and delete O(log n); range O(limit + log n), at an old revision
plus the events since then; `having` O(its items).

Worked example::

    >>> state = State()
    >>> one = Item("pods/default/a", b"1", (), 2, 2)
    >>> state.apply(Event(2, one, None))
    >>> two = Item("pods/default/a", b"2", (), 2, 3)
    >>> state.apply(Event(3, two, one))
    >>> state.apply(Event(4, None, two))
    >>> [[item.value for item in state.range("pods", revision=r).items] for r in (1, 2, 3, 4)]
    [[], [b'1'], [b'2'], []]
    >>> [event.revision for event in state.history.since(2)]
    [3, 4]
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from sys import intern
from typing import Any, NamedTuple

import msgspec
from sortedcontainers import SortedList

from lakh.store.cursor import Cursor, bounds, span
from lakh.store.errors import Compacted, FutureRevision
from lakh.store.frozen import Frozen
from lakh.store.history import HISTORY_BYTES, HISTORY_EVENTS, History
from lakh.store.packing import PACK_ABOVE_BYTES, Packed, Packer
from lakh.store.sharded import ShardedDict

ITEM_OVERHEAD_BYTES = 48
"""Added to an item's key, value and terms: at least what its encoding in a snapshot takes."""
PACK_PIECE = 64
"""Items that `pack_piece` packs, …"""
LOOK_PIECE = 1_000
"""… and looks at."""
FIRST_REVISION = 1
"""Of the empty state, as in etcd. The first write gets 2."""


class Item(msgspec.Struct, array_like=True, eq=False, gc=False):
    """A key's value as of one revision. Immutable but for `cache`, which is the reader's to use.

    The garbage collector does not look at items (there are millions): `cache` must not lead back to its item. `stored` is the value or, of a cold item,
    the value packed.
    """

    key: str
    stored: bytes | Packed
    terms: tuple[str, ...]
    create_revision: int
    revision: int
    cache: Any = None

    @property
    def value(self) -> bytes:
        """The value. Of a packed item it is made each time, in 5 µs."""
        stored = self.stored
        return stored if isinstance(stored, bytes) else stored.unpack()

    @property
    def value_bytes(self) -> int:
        """The length of the value. O(1)."""
        return len(self.stored)

    @property
    def is_packed(self) -> bool:
        """Whether the value is packed."""
        return not isinstance(self.stored, bytes)


class Event(msgspec.Struct, eq=False, gc=False):
    """One change: created (no prev), updated, or deleted (no item). `cache` is the reader's, acyclic, too."""

    revision: int
    item: Item | None
    prev: Item | None
    cache: dict[Any, Any] | None = None

    @property
    def key(self) -> str:
        """The key that changed."""
        item = self.item or self.prev
        assert item is not None
        return item.key


class Range(NamedTuple):
    """A piece of a table in key order. `remaining` counts the items after it that `limit` cut off."""

    items: list[Item]
    revision: int
    more: bool
    remaining: int


class State:
    """Items, sorted tables, and their history."""

    __slots__ = (
        "_frozen",
        "_pack_above_bytes",
        "_packer",
        "_replayed",
        "history",
        "items",
        "live_bytes",
        "revision",
        "tables",
        "terms",
    )

    def __init__(
        self,
        *,
        history_bytes: int = HISTORY_BYTES,
        history_events: int = HISTORY_EVENTS,
        pack_above_bytes: int = PACK_ABOVE_BYTES,
    ) -> None:
        """The empty state, at FIRST_REVISION. With more live bytes than `pack_above_bytes` values are packed when they are cold."""
        self.items: ShardedDict[Item] = ShardedDict()
        self.revision = FIRST_REVISION
        self.live_bytes = 0
        self.history = History(FIRST_REVISION, history_bytes, history_events, self._cool)
        self._pack_above_bytes = pack_above_bytes
        self._packer = Packer()
        self.tables: dict[str, Any] = {}
        self.terms: ShardedDict[dict[str, None]] = ShardedDict()
        self._replayed: deque[Event] | None = None
        self._frozen: list[Frozen] = []

    def load(self, items: list[Item]) -> None:
        """Take in items of a snapshot. `loaded` ends it."""
        for item in items:
            item.terms = shared(item.terms)
            if item.create_revision == item.revision:
                item.create_revision = item.revision  # one number instead of two alike
            self.items[item.key] = item
            self.live_bytes += _item_bytes(item)

    def loaded(self, revision: int) -> None:
        """All items of a snapshot were loaded. The window begins here."""
        self.revision = revision
        self.history.oldest = revision
        self._sort()

    def begin_replay(self) -> None:
        """Until `end_replay` events are only kept: what costs most is done once, for what is left at the end."""
        self._replayed = deque(maxlen=self.history.max_events)

    def end_replay(self) -> None:
        """Sort the tables, fill the window. O(n log n)."""
        replayed, self._replayed = self._replayed, None
        if replayed:
            self.history.oldest = replayed[0].revision - 1
            self.history.extend(list(replayed))
            self._sort()

    def _sort(self) -> None:
        tables: dict[str, list[str]] = {}
        self.terms = ShardedDict()
        for key in self.items:
            tables.setdefault(key[: key.index("/")], []).append(key)
            if terms := self.items[key].terms:
                self._index(key, terms, ())
        self.tables = {table: SortedList(keys) for table, keys in tables.items()}

    def _index(self, key: str, now: tuple[str, ...], before: tuple[str, ...]) -> None:
        """An item's terms have changed."""
        table = key[: key.index("/")]
        for term in before:
            if term not in now:
                keys = self.terms[f"{table}/{term}"]
                del keys[key]
                if not keys:
                    del self.terms[f"{table}/{term}"]
        for term in now:
            if term not in before:
                name = f"{table}/{term}"
                found = self.terms.get(name)
                if found is None:
                    found = self.terms[name] = {}
                found[key] = None

    def apply(self, event: Event) -> None:
        """Make a durable event the present. See `apply_all`."""
        self.apply_all((event,))

    def apply_all(self, events: Sequence[Event]) -> None:
        """Make durable events, one or more, the present. The `prev` of each must be the current item when its turn comes."""
        frozen, replayed, items = self._frozen, self._replayed, self.items
        for event in events:
            item, prev = event.item, event.prev
            for each in frozen:
                each.note(event.key, prev)
            if replayed is not None:
                self._replay(event, replayed)
            elif item is not None and prev is not None:
                items.replace(item.key, item)
                self.live_bytes += len(item.stored) - len(prev.stored)
                if item.terms is not prev.terms and item.terms != prev.terms:
                    self.live_bytes += _terms_bytes(item.terms) - _terms_bytes(prev.terms)
                    self._index(item.key, item.terms, prev.terms)
            elif item is not None:
                self._create(item)
            elif prev is not None:
                self._delete(prev)
        self.revision = events[-1].revision
        if replayed is None:
            self.history.extend(events)

    def _create(self, item: Item) -> None:
        key = item.key
        self.items[key] = item
        self.live_bytes += _item_bytes(item)
        table = key[: key.index("/")]
        keys = self.tables.get(table)
        if keys is None:
            keys = self.tables[table] = SortedList()
        keys.add(key)
        if item.terms:
            self._index(key, item.terms, ())

    def _delete(self, item: Item) -> None:
        key = item.key
        del self.items[key]
        self.tables[key[: key.index("/")]].remove(key)
        if item.terms:
            self._index(key, (), item.terms)
        self.live_bytes -= _item_bytes(item)

    def _replay(self, event: Event, replayed: deque[Event]) -> None:
        replayed.append(event)
        item, prev = event.item, event.prev
        if item is not None:
            self.items[item.key] = item
            self.live_bytes += _item_bytes(item)
        if prev is not None:
            self.live_bytes -= _item_bytes(prev)
            if item is None:
                del self.items[prev.key]

    def _cool(self, events: list[Event]) -> None:
        """Events have left the window: what they wrote is cold, if it still is what is there."""
        if self.live_bytes <= self._pack_above_bytes:
            return
        for event in events:
            item = event.item
            if item is not None and self.items.get(item.key) is item:
                self._packer.pack(item)

    def pack_piece(self, table: str, after: str = "") -> str | None:
        """Pack cold items of a table that were not packed when they became cold: there was little then, or they were loaded.

        Looks at the items after the key `after`; returns the last key looked at, None when there are no more. Takes 1 to 2 ms.
        """
        if self.live_bytes <= self._pack_above_bytes:
            return None
        keys, oldest = self.tables.get(table), self.history.oldest
        looked = packed = 0
        for key in islice(keys.irange(after, None, (False, False)), LOOK_PIECE) if keys is not None else ():
            looked += 1
            after = key
            item = self.items[key]
            if item.revision <= oldest and not item.is_packed:
                self._packer.pack(item)
                packed += 1
                if packed == PACK_PIECE:
                    return after
        return after if looked == LOOK_PIECE else None

    def freeze(self) -> Frozen:
        """All items as they are now, to be taken piece by piece."""
        frozen = Frozen(self)
        self._frozen.append(frozen)
        return frozen

    def thaw(self, frozen: Frozen) -> None:
        """For Frozen alone: it needs no more."""
        self._frozen.remove(frozen)

    def check(self, revision: int) -> None:
        """Raise Compacted or FutureRevision when `revision` is outside the window."""
        if revision < self.history.oldest:
            raise Compacted(revision, self.history.oldest)
        if revision > self.revision:
            raise FutureRevision(revision, self.revision)

    def count(self, table: str, scope: str | None = None) -> int:
        """Items of a table or of one scope of it. O(log n)."""
        keys = self.tables.get(table)
        if keys is None:
            return 0
        if scope is None:
            return len(keys)
        low, high = bounds(table, scope)
        return int(keys.bisect_left(high)) - int(keys.bisect_left(low))

    def having(self, table: str, term: str) -> list[Item]:
        """The items of a table that have a term, in key order, as they are now."""
        return [self.items[key] for key in sorted(self.terms.get(f"{table}/{term}") or ())]

    def having_count(self, table: str, term: str) -> int:
        """How many those are. O(1)."""
        return len(self.terms.get(f"{table}/{term}") or ())

    def range(
        self,
        table: str,
        scope: str | None = None,
        *,
        after: str = "",
        limit: int = 0,
        revision: int | None = None,
    ) -> Range:
        """A piece of a table. See `Partition.range`."""
        if revision is not None and revision != self.revision:
            cursor = Cursor(self, table, scope, revision)
            items, more = cursor.read(after, limit or len(self.items) + len(self.history))
            return Range(items, revision, more, cursor.remaining(items[-1].key) if more else 0)
        low, high = bounds(table, scope)
        keys = self.tables.get(table)
        if keys is None:
            return Range([], self.revision, False, 0)
        found = keys.irange(*span(low, high, after))
        items = list(map(self.items.__getitem__, islice(found, limit) if limit else found))
        remaining = 0
        if limit and len(items) == limit:
            remaining = int(keys.bisect_left(high)) - int(keys.bisect_right(items[-1].key))
        return Range(items, self.revision, remaining > 0, remaining)


def shared(terms: tuple[str, ...]) -> tuple[str, ...]:
    """The same terms, each string once in memory however many items have it: 80 bytes an item saved, for 0.1 µs."""
    return tuple(map(intern, terms)) if terms else ()


def _item_bytes(item: Item) -> int:
    return ITEM_OVERHEAD_BYTES + len(item.key) + item.value_bytes + _terms_bytes(item.terms)


def _terms_bytes(terms: tuple[str, ...]) -> int:
    size = 0
    for term in terms:
        size += len(term) + 5
    return size
