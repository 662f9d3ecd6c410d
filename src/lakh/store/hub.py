"""The watch hub: tells watchers what became durable.

A watcher is in exactly one bucket, the narrowest that covers what it asks for: key, else term, else scope, else
table. An event is looked up in each bucket it can concern: its key, its scope, its table, and the terms of its
item and of what the item was before. So one event costs a handful of dictionary look-ups however many watchers
there are, and wakes only those it concerns. A watcher that asks for more than its bucket says (a term and a
scope) filters.

Order: `dispatch` first collects, then calls the sinks, each once a batch with its events in revision order. What
a sink does (stop watches, start new ones) can therefore not disturb the batch at hand. A sink that raises is
logged and stopped; the others do not notice.

Owned by the event loop. Sinks are called synchronously and must not block.

Worked example::

    >>> from lakh.store.state import Event, Item
    >>> hub, seen = WatchHub(), []
    >>> on_n1 = hub.add(Watch("pods", None, None, "node=n1", seen.append))
    >>> pod = Item("pods/default/a", b"", ("node=n1",), 2, 2)
    >>> moved = Item("pods/default/a", b"", ("node=n2",), 2, 3)
    >>> later = Item("pods/default/a", b"", ("node=n2",), 2, 4)
    >>> hub.dispatch([Event(2, pod, None), Event(3, moved, pod), Event(4, later, moved)])
    >>> [event.revision for event in seen[0]]
    [2, 3]
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import TypeVar

from lakh.store.history import Bucket, History, terms_of
from lakh.store.state import Event, Item

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
Sink = Callable[[list[Event]], None]


class Watch:
    """One watcher. `stop` ends it: its sink is not called again."""

    __slots__ = (
        "_collected",
        "_filtered",
        "_hub",
        "bucket",
        "error",
        "name",
        "on_end",
        "scope",
        "sink",
        "table",
        "term",
    )

    def __init__(self, table: str, scope: str | None, name: str | None, term: str | None, sink: Sink) -> None:
        """A watcher of a table, narrowed by what is not None. An empty scope is a scope."""
        self.table = table
        self.scope = scope
        self.name = name
        self.term = term
        self.sink = sink
        self.error: Exception | None = None  # what the sink raised, if that ended it
        self.on_end: Callable[[], None] | None = None
        """Called when the partition, not its owner, ends the watch: events are missing, or it is closed."""
        self._hub: WatchHub | None = None
        self._collected: list[Event] = []
        self.bucket: Bucket
        if name is not None and scope is not None:
            self.bucket = ("key", f"{table}/{scope}/{name}")
            self._filtered = term is not None
        elif term is not None:
            self.bucket = ("term", table, term)
            self._filtered = scope is not None or name is not None
        elif scope is not None:
            self.bucket = ("scope", f"{table}/{scope}")
            self._filtered = False
        else:
            self.bucket = ("table", table)
            self._filtered = name is not None

    def __repr__(self) -> str:
        state = "stopped" if self.stopped else "live"
        return f"<Watch {self.bucket!r} {state}>"

    @property
    def stopped(self) -> bool:
        """Whether the sink is not called any more."""
        return self._hub is None

    def stop(self) -> None:
        """End it. Harmless when done twice, also from within a sink."""
        if self._hub is not None:
            self._hub.remove(self)

    def replay(self, history: History, start: int) -> list[Event]:
        """Its events after `start`, oldest first. See `History.bucket_since` for what it costs."""
        missed = history.bucket_since(self.bucket, start)
        return [event for event in missed if self.matches(event)] if self._filtered else missed

    def matches(self, event: Event) -> bool:
        """Whether the event concerns this watcher. What the buckets decide, in plain words."""
        table, scope, name = event.key.split("/", 2)
        if table != self.table or (self.scope is not None and scope != self.scope):
            return False
        if self.name is not None and name != self.name:
            return False
        return self.term is None or _has_term(event.item, self.term) or _has_term(event.prev, self.term)


class WatchHub:
    """Watchers by bucket."""

    __slots__ = ("_count", "_keys", "_scopes", "_tables", "_terms")

    def __init__(self) -> None:
        """No watchers."""
        self._count = 0
        self._keys: dict[str, dict[Watch, None]] = {}
        self._terms: dict[tuple[str, str], dict[Watch, None]] = {}
        self._scopes: dict[str, dict[Watch, None]] = {}
        self._tables: dict[str, dict[Watch, None]] = {}

    def __len__(self) -> int:
        return self._count

    def add(self, watch: Watch) -> Watch:
        """From now on the watcher gets events."""
        match watch.bucket:
            case ("key", key):
                self._keys.setdefault(key, {})[watch] = None
            case ("term", table, term):
                self._terms.setdefault((table, term), {})[watch] = None
            case ("scope", scope):
                self._scopes.setdefault(scope, {})[watch] = None
            case (_, table):
                self._tables.setdefault(table, {})[watch] = None
        watch._hub = self
        self._count += 1
        return watch

    def remove(self, watch: Watch) -> None:
        """The watcher gets nothing more, of the batch at hand neither."""
        match watch.bucket:
            case ("key", key):
                _discard(self._keys, key, watch)
            case ("term", table, term):
                _discard(self._terms, (table, term), watch)
            case ("scope", scope):
                _discard(self._scopes, scope, watch)
            case (_, table):
                _discard(self._tables, table, watch)
        watch._hub = None
        watch._collected = []
        self._count -= 1

    def dispatch(self, events: list[Event]) -> None:
        """Tell everybody concerned. `events` are consecutive."""
        if not self._count:
            return
        touched: list[Watch] = []
        for event in events:
            key = event.key
            end_of_table = key.index("/")
            table = key[:end_of_table]
            found = self._keys.get(key)
            if found:
                _collect(found, event, touched)
            if self._scopes:
                found = self._scopes.get(key[: key.index("/", end_of_table + 1)])
                if found:
                    _collect(found, event, touched)
            found = self._tables.get(table)
            if found:
                _collect(found, event, touched)
            if self._terms:
                for term in _terms(event):
                    found = self._terms.get((table, term))
                    if found:
                        _collect(found, event, touched)
        for watch in touched:
            collected = watch._collected
            if collected:  # empty: another sink stopped this watch
                watch._collected = []
                deliver(watch, collected)

    def close(self) -> None:
        """Stop every watch."""
        buckets = (
            *self._keys.values(),
            *self._terms.values(),
            *self._scopes.values(),
            *self._tables.values(),
        )
        for watch in [watch for bucket in buckets for watch in bucket]:
            if watch.stopped:  # by another's on_end
                continue
            watch.stop()
            if watch.on_end is not None:
                try:
                    watch.on_end()
                except Exception:
                    log.exception("the end of %r failed", watch)


def deliver(watch: Watch, events: list[Event]) -> None:
    """Call the sink. What it raises ends this watch and nothing else."""
    try:
        watch.sink(events)
    except Exception as error:
        log.exception("the sink of %r failed; the watch ends", watch)
        watch.error = error
        watch.stop()


def _collect(found: dict[Watch, None], event: Event, touched: list[Watch]) -> None:
    for watch in found:
        if watch._filtered and not watch.matches(event):
            continue
        collected = watch._collected
        if not collected:
            touched.append(watch)
        collected.append(event)


def _terms(event: Event) -> tuple[str, ...] | dict[str, None]:
    """Terms of the item and of what it was before, each once."""
    item, prev = event.item, event.prev
    return terms_of(item.terms if item is not None else (), prev.terms if prev is not None else ())


def _has_term(item: Item | None, term: str) -> bool:
    return item is not None and term in item.terms


def _discard(buckets: dict[K, dict[Watch, None]], key: K, watch: Watch) -> None:
    """Take a watcher out, and its bucket when it was the last one: buckets come and go with keys."""
    bucket = buckets[key]
    del bucket[watch]
    if not bucket:
        del buckets[key]
