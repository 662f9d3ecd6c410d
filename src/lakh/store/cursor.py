"""Reading a table piece by piece as of one revision, while it changes.

A piece is the present with what changed since the revision laid over it. A cursor remembers those changes: each event is looked at once, not once a piece,
and the window has to reach back to the piece before only, not to the beginning. So a list of a hundred thousand leases, of which thousands are renewed
meanwhile, costs what its items cost.

Pieces are read forward: `after` never goes back. Costs of a piece: O(its items · log n), and the events since the last one.

Worked example::

    >>> from lakh.store.state import Event, Item, State
    >>> state = State()
    >>> a, b = (Item(f"pods/n/{name}", b"", (), n, n) for n, name in ((2, "a"), (3, "b")))
    >>> state.apply(Event(2, a, None)); state.apply(Event(3, b, None))
    >>> cursor = Cursor(state, "pods", None, 3)
    >>> [item.key for item in cursor.read("", 1)[0]]
    ['pods/n/a']
    >>> state.apply(Event(4, None, b)); state.apply(Event(5, Item("pods/n/c", b"", (), 5, 5), None))
    >>> [item.key for item in cursor.read("pods/n/a", 9)[0]]
    ['pods/n/b']
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakh.store.state import Item, State


class Cursor:
    """A read of a table, or of one scope of it, at one revision. Raises Compacted and FutureRevision when it is made, and Compacted when too slow."""

    __slots__ = ("_deleted", "_high", "_low", "_seen", "_state", "_table", "_then", "revision")

    def __init__(self, state: State, table: str, scope: str | None, revision: int) -> None:
        state.check(revision)
        self.revision = revision
        self._state = state
        self._table = table
        self._low, self._high = bounds(table, scope)
        self._seen = revision
        self._then: dict[str, Item | None] = {}
        """What changed since, as it was at the revision."""
        self._deleted: list[str] = []
        """Keys of those that were there at the revision, and were deleted since; some may be there again. Sorted."""

    def __repr__(self) -> str:
        return f"<Cursor on {self._low} at {self.revision}, {len(self._then)} changed since>"

    def read(self, after: str, limit: int) -> tuple[list[Item], bool]:
        """At most `limit` items behind the key `after`, and whether there are more."""
        self._catch_up(after)
        state, then = self._state, self._then
        keys = state.tables.get(self._table)
        now = keys.irange(*span(self._low, self._high, after)) if keys is not None else iter(())
        if not then:
            items = list(map(state.items.__getitem__, islice(now, limit)))
            return items, next(now, None) is not None
        items = []
        for key in self._merged(now, after):
            item = then[key] if key in then else state.items[key]
            if item is not None:
                if len(items) == limit:
                    return items, True
                items.append(item)
        return items, False

    def remaining(self, after: str) -> int:
        """How many items there are behind the key `after`. O(log n), and what changed since the revision."""
        self._catch_up(after)
        state, then = self._state, self._then
        keys = state.tables.get(self._table)
        found = 0
        if keys is not None:
            found = int(keys.bisect_left(self._high)) - int(keys.bisect_right(max(after, self._low)))
        for key, item in then.items():
            if key > after:
                found += (item is not None) - (key in state.items)
        return found

    def _merged(self, now: Iterator[str], after: str) -> Iterator[str]:
        """Keys of the present and deleted ones in order, each once."""
        deleted = self._deleted[bisect_right(self._deleted, after) :]
        last = ""
        for key in merge(now, deleted) if deleted else now:
            if key != last:
                yield key
                last = key

    def _catch_up(self, after: str) -> None:
        """Notes what changed since the last piece. What is behind us already does not matter any more."""
        state = self._state
        if state.revision == self._seen:
            return
        state.check(self._seen)
        low, high, then = self._low, self._high, self._then
        for event in state.history.since(self._seen):
            key = event.key
            if low <= key < high and key > after:
                before = then.setdefault(key, event.prev)
                if event.item is None and before is not None and not self._has_deleted(key):
                    insort(self._deleted, key)
        self._seen = state.revision

    def _has_deleted(self, key: str) -> bool:
        at = bisect_left(self._deleted, key)
        return at < len(self._deleted) and self._deleted[at] == key


def bounds(table: str, scope: str | None) -> tuple[str, str]:
    """Keys from the first, below the second. `0` is the character after `/`."""
    prefix = table if scope is None else f"{table}/{scope}"
    return prefix + "/", prefix + "0"


def span(low: str, high: str, after: str) -> tuple[str, str, tuple[bool, bool]]:
    """Arguments of `SortedList.irange`: minimum, maximum, whether they are included."""
    if after >= low:
        return min(after, high), high, (False, False)
    return low, high, (True, False)
