"""The items of one moment, taken piece by piece while the state moves on.

A copy of a million references takes as long as the memory that they point into is cold: 6 ms to 60 ms with the event loop
held. So nothing is copied. Keys are walked in order; when an item behind the walk changes, what it was before is kept.
What was deleted before the walk came by is left over at the end, and comes last. A write costs one comparison more meanwhile.

Order: `take` gives items in no order that callers may rely on.

Worked example::

    >>> from lakh.store.state import Event, Item, State
    >>> state = State()
    >>> for revision, name in enumerate("abcd", 2):
    ...     state.apply(Event(revision, Item(f"pods/default/{name}", b"old", (), revision, revision), None))
    >>> frozen = state.freeze()
    >>> [item.key for item in frozen.take(1)]
    ['pods/default/a']
    >>> for revision, name in enumerate("ab", 6):
    ...     now = state.items[f"pods/default/{name}"]
    ...     state.apply(Event(revision, Item(now.key, b"new", (), now.create_revision, revision), now))
    >>> state.apply(Event(8, None, state.items["pods/default/c"]))
    >>> state.apply(Event(9, Item("pods/default/e", b"new", (), 9, 9), None))
    >>> [(item.key, item.value) for item in frozen.take(10)]
    [('pods/default/b', b'old'), ('pods/default/d', b'old'), ('pods/default/c', b'old')]
    >>> frozen.take(10), frozen.revision, frozen.count
    ([], 5, 4)
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakh.store.state import Item, State


class Frozen:
    """Made by `State.freeze`. It ends when all is taken, or with `release`."""

    __slots__ = ("_changed", "_cursor", "_state", "_table", "count", "revision")

    def __init__(self, state: State) -> None:
        """The state as it is now."""
        self.revision = state.revision
        self.count = len(state.items)
        self._state: State | None = state
        self._table = ""
        self._cursor = ""  # the last key that was walked over
        self._changed: dict[str, Item | None] = {}

    def note(self, key: str, prev: Item | None) -> None:
        """The state is about to change: for State alone."""
        if key > self._cursor and key not in self._changed:
            self._changed[key] = prev

    def take(self, limit: int) -> list[Item]:
        """The next items, about `limit` of them; none when there are no more. 1 µs an item."""
        state, changed = self._state, self._changed
        if state is None:
            return []
        taken: list[Item] = []
        while len(taken) < limit:
            keys = state.tables.get(self._table)
            wanted = limit - len(taken)
            walked: list[str] = (
                list(islice(keys.irange(self._cursor, None, (False, True)), wanted)) if keys else []
            )
            for key in walked:
                item = changed.pop(key) if key in changed else state.items[key]
                if item is not None:
                    taken.append(item)
            if walked:
                self._cursor = walked[-1]
            if len(walked) < wanted and not self._next_table(state):
                taken += [item for item in changed.values() if item is not None]
                self.release()
                break
        return taken

    def _next_table(self, state: State) -> bool:
        """Tables in the order of their keys: `/` sorts after `.` and `-`."""
        end = self._table + "/" if self._table else ""
        later = [name + "/" for name in state.tables if name + "/" > end]
        if not later:
            return False
        self._table = min(later)[:-1]
        self._cursor = max(self._cursor, self._table)
        return True

    def release(self) -> None:
        """Keep nothing any more. Harmless when done twice."""
        if self._state is not None:
            self._state.thaw(self)
            self._state = None
            self._changed = {}
