"""Watches: an event is encoded once for all who watch in the same form.

The store's hub tells a watch which events are of its namespace, name or node; here its selectors are applied, an object that begins or ceases to
match becomes ADDED or DELETED, and the bytes go into the client's stream. They are kept with the event for one turn of the loop, so the second
watcher costs a lookup and a write. A client that does not read is cut off when it holds too much; it resumes by its resourceVersion.
Bookmarks and ends of watches are made by one sweep over all watches.

A watch that is told something for the first time in a while gets it at once. What follows within a few milliseconds is gathered and goes out
together: a busy watch costs the server and its client one wake-up for each `GATHER_SECONDS` or `GATHER_BYTES`, not one for each batch of the journal.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time

from lakh.apis.registry import Resource
from lakh.machinery import errors, gonumbers
from lakh.server import messages, rendering, tables
from lakh.server.codec import encode_json
from lakh.server.negotiate import Accepted
from lakh.server.selecting import Selection
from lakh.server.storage import ResourceStore
from lakh.server.transport import Stream
from lakh.store.cursor import Cursor
from lakh.store.errors import Compacted
from lakh.store.hub import Watch
from lakh.store.state import Event, Item

log = logging.getLogger(__name__)

# Beyond this a watcher that does not read is cut off: the history window lets it resume.
SLOW_WATCHER_BYTES = 16 * 1024 * 1024
# The same for one that does not read its initial objects: what happens meanwhile is held for it.
HELD_EVENTS = 100_000
# Upstream's watch cache sends a bookmark about once a minute.
BOOKMARK_SECONDS = 50.0
SWEEP_SECONDS = 1.0
# Upstream's --min-request-timeout: watches without timeoutSeconds end after 1 to 2 times this.
MIN_WATCH_SECONDS = 1800
# Initial objects are written in pieces of this many, so that the loop is not held.
INITIAL_CHUNK = 500

# Events that follow others within this time are sent with the next: a delay only where it is busy. A write costs 35 µs whatever it brings, and its reader
# more; of 2.5 MB a second to one watcher, writes every 10 ms cost both together 14 ms a second, every 25 ms 11 ms.
GATHER_SECONDS = 0.025
# With so much they go at once: it is below what a connection gives to TLS in one piece, and more in one write saves little.
GATHER_BYTES = 60 * 1024

# Whether the newest events' objects matched, where their values have to be decoded to see it: they are the next ones' `prev`.
KNOWN_MATCHES = 4096

INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class Form:
    """How a watcher wants its objects. `keys`: by kind of event, what its bytes in this form are called in the event's cache."""

    __slots__ = ("content_type", "include", "keys", "meta", "protobuf", "shape", "store")

    def __init__(self, store: ResourceStore, accepted: Accepted, include: str) -> None:
        self.store = store
        self.shape, self.meta = accepted.shape, accepted.meta
        self.protobuf = accepted.media == "protobuf"
        self.content_type = messages.WATCH_CONTENT_TYPE if self.protobuf else accepted.content_type
        self.include = include
        # Text, whose hash is made once: each watcher looks each event up.
        form = f"{store.resource.api_version} {self.shape} {self.meta} {include} {self.protobuf}"
        self.keys = {kind: f"{kind} {form}" for kind in ("ADDED", "MODIFIED", "DELETED")}

    def encode(self, item: Item, revision: int, headers: bool) -> bytes:
        """The object of an event in this form, at the event's revision."""
        if self.protobuf:
            if self.shape == "metadata":
                return messages.PARTIAL[self.meta].serve(item.value, revision)
            return self.store.codec.serve_message(item.value, revision)
        if self.shape == "table":
            return tables.single(self.store, item, self.include, headers, revision, self.meta)
        if self.shape == "metadata":
            return tables.partial_metadata(item, revision, self.meta)
        return self.store.codec.serve(item.value, revision)

    def event(self, kind: str, item: Item, revision: int, headers: bool = False) -> bytes:
        """A watch event."""
        return self._event(kind.encode(), self.encode(item, revision, headers))

    def _event(self, kind: bytes, served: bytes) -> bytes:
        if self.protobuf:
            return messages.watch_event(kind, served)
        return b'{"type":"%s","object":%s}\n' % (kind, served)

    def error(self, error: errors.StatusError) -> bytes:
        """An ERROR."""
        status = encode_json(error.status())
        return self._event(b"ERROR", rendering.to_protobuf(status) if self.protobuf else status)

    def bookmark(self, revision: int, initial_end: bool) -> bytes:
        """A BOOKMARK."""
        notes = ',"annotations":{"%s":"true"}' % INITIAL_EVENTS_END if initial_end else ""
        if self.shape == "table":
            obj = (
                '{"kind":"Table","apiVersion":"%s","metadata":{"resourceVersion":"%d"%s},"columnDefinitions":null,'
                '"rows":[]}' % (self.meta, revision, notes)
            )
        else:
            kind, version = self.store.resource.kind, self.store.resource.api_version
            if self.shape == "metadata":
                kind, version = "PartialObjectMetadata", self.meta
            obj = (
                '{"kind":"%s","apiVersion":"%s","metadata":{"resourceVersion":"%d","creationTimestamp":null%s}}'
                % (
                    kind,
                    version,
                    revision,
                    notes,
                )
            )
        served = obj.encode()
        return self._event(b"BOOKMARK", rendering.to_protobuf(served) if self.protobuf else served)


class Watcher:
    """One client's watch: from the store's events to its connection."""

    __slots__ = (
        "_gathered",
        "_gathered_bytes",
        "_headers",
        "_known",
        "_sent_at",
        "bookmarks",
        "ends",
        "form",
        "held",
        "kind",
        "next_bookmark",
        "partition",
        "revision",
        "selection",
        "stream",
        "watch",
        "watching",
    )

    def __init__(
        self, watching: Watching, form: Form, selection: Selection, bookmarks: bool, seconds: float
    ) -> None:
        now = time.monotonic()
        self.watching = watching
        self.form = form
        self.partition = form.store.partition
        self.selection = selection
        scope = "resource" if selection.name else "namespace" if selection.namespace else "cluster"
        self.kind = (form.store.resource, scope)
        self.bookmarks = bookmarks
        self.ends = now + seconds
        self.next_bookmark = now + BOOKMARK_SECONDS * random.uniform(0.8, 1.2)
        self.stream: Stream | None = None
        self.watch: Watch | None = None
        self.revision = 0
        self.held: list[Event] | None = None
        self._headers = form.shape == "table"
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._known: dict[int, bool] = {}
        self._sent_at = 0.0

    def __repr__(self) -> str:
        return f"<Watcher {self.form.store.table} at {self.revision}>"

    async def start(self, stream: Stream, *, start: int | None, initial: bool, initial_end: bool) -> None:
        """Sends what comes first, then lets the store's events in. Errors become an ERROR event: the head is out already."""
        self.stream = stream
        stream.on_close = self.stop
        self.watching.add(self)
        selection, store = self.selection, self.form.store
        try:
            # Events wait in `held` while what comes first is written in pieces; what was missed is in it when `watch` returns.
            self.held = []
            self.watch = self.partition.watch(
                store.table,
                selection.namespace or None
                if store.resource.namespaced
                else ("" if selection.name else None),
                selection.name or None,
                selection.term,
                start=None if initial else start,
                sink=self.deliver,
                on_end=lambda: _finish(self),
            )
            if initial:
                await self._send_initial(initial_end)
            else:
                await self._send_held()
        except errors.StatusError as e:
            self.fail(e)
        except Compacted as e:
            self.fail(errors.expired(f"too old resource version: {e.revision} ({e.oldest})"))

    async def _send_initial(self, initial_end: bool) -> None:
        stream, selection, form = self.stream, self.selection, self.form
        assert stream is not None
        store = form.store
        revision = self.partition.revision
        at_hand = selection.at_hand(self.partition, store.resource)
        if at_hand is not None:
            self._write_initial(stream, at_hand)
        else:
            scope = selection.scope(store.resource)
            await self._send_pieces(stream, self.partition.cursor(store.table, scope, revision), scope)
        if self.watch is None or stream.closed:
            return
        self.revision = revision
        if initial_end:
            stream.write(form.bookmark(revision, True))
        self.held = [event for event in self.held or () if event.revision > revision]
        await self._send_held()

    async def _send_held(self) -> None:
        """Ends holding events back. There are few of them mostly, or a window full, which would hold the loop for half a second."""
        stream, turn = self.stream, self.watching.turn
        while self.held and len(self.held) > INITIAL_CHUNK:
            held, self.held = self.held, []
            for at in range(0, len(held), INITIAL_CHUNK):
                async with turn:
                    if self.watch is None or stream is None or stream.closed:
                        return
                    self._tell(stream, held[at : at + INITIAL_CHUNK])
                    await asyncio.sleep(0)
                if stream.paused:
                    await stream.drain()
        if self.watch is None:
            return
        rest, self.held = self.held, None
        if rest:
            self.deliver(rest)

    async def _send_pieces(self, stream: Stream, cursor: Cursor, scope: str | None) -> None:
        selection, turn = self.selection, self.watching.turn
        after, more = "", True
        while more:
            async with turn:
                if self.watch is None or stream.closed:
                    return
                items, more = cursor.read(after, INITIAL_CHUNK)
                if items:
                    after = items[-1].key
                if not selection.trivial or selection.name:
                    items = [item for item in items if selection.covers(item, scope)]
                self._write_initial(stream, items)
                if more:
                    await asyncio.sleep(0)
            if stream.paused:
                await stream.drain()

    def _write_initial(self, stream: Stream, items: list[Item]) -> None:
        out = []
        for item in items:
            out.append(self.form.event("ADDED", item, item.revision, self._headers))
            self._headers = False
        if out:
            stream.write(b"".join(out))

    def deliver(self, events: list[Event]) -> None:
        """Takes a batch of events from the store."""
        stream = self.stream
        if self.held is not None:
            self.held.extend(events)
            if len(self.held) > HELD_EVENTS and self.watch is not None and stream is not None:
                self._cut_off(stream)
        elif stream is not None:
            self._tell(stream, events)

    def _tell(self, stream: Stream, events: list[Event]) -> None:
        out: list[bytes] = []
        size = 0
        trivial, keys = self.selection.trivial, self.form.keys
        for event in events:
            if trivial:
                kind = "DELETED" if event.item is None else "ADDED" if event.prev is None else "MODIFIED"
            else:
                selected = self._selected(event)
                if selected is None:
                    continue
                kind = selected
            cache = event.cache
            data = cache.get(keys[kind]) if cache is not None and not self._headers else None
            if data is None:
                try:
                    data = self._encoded(event, kind)
                except errors.StatusError as e:
                    # It was valid when it was written, but has no form that this client reads.
                    self._gathered += out
                    self.fail(e)
                    return
            out.append(data)
            size += len(data)
        self.revision = events[-1].revision
        if not out:
            return
        counts = self.watching.events
        resource = self.form.store.resource
        counts[resource] = counts.get(resource, 0) + len(out)
        now = self.watching.now()
        if not self._gathered:
            if now - self._sent_at >= GATHER_SECONDS:
                self._send(stream, out, now)
                return
            self.watching.gather(self)
        self._gathered += out
        self._gathered_bytes += size
        if self._gathered_bytes >= GATHER_BYTES:
            self.flush(now)

    def flush(self, now: float) -> None:
        """Sends what was gathered."""
        out, self._gathered, self._gathered_bytes = self._gathered, [], 0
        if out and self.stream is not None:
            self._send(self.stream, out, now)

    def _send(self, stream: Stream, out: list[bytes], now: float) -> None:
        self._sent_at = now
        stream.write(out[0] if len(out) == 1 else b"".join(out))
        if stream.buffered_bytes > SLOW_WATCHER_BYTES:
            self._cut_off(stream)

    def _cut_off(self, stream: Stream) -> None:
        resource, cut_off = self.form.store.resource, self.watching.cut_off
        cut_off[resource] = cut_off.get(resource, 0) + 1
        log.warning("cut off a watcher of %s that does not read", self.form.store.table)
        self.held = None
        stream.abort()

    def _selected(self, event: Event) -> str | None:
        """What an event is for who selects: an object may begin or cease to match."""
        item, prev, selection = event.item, event.prev, self.selection
        now = item is not None and selection.matches(item)
        if not selection.decodes:
            # Mostly the terms are as they were.
            same = selection.by_terms and item is not None and prev is not None and item.terms is prev.terms
            was = now if same else prev is not None and selection.matches(prev)
        else:
            was = prev is not None and self._matched(prev)
            if item is not None:
                if len(self._known) >= KNOWN_MATCHES:
                    self._known.clear()
                self._known[item.revision] = now
        if now:
            return "MODIFIED" if was else "ADDED"
        return "DELETED" if was else None

    def _encoded(self, event: Event, kind: str) -> bytes:
        """An event's bytes, kept for others of this form."""
        # A deleted object, and one that no longer matches, is shown as it was last.
        shown = event.prev if kind == "DELETED" else event.item
        assert shown is not None
        if self._headers:
            self._headers = False
            return self.form.event(kind, shown, event.revision, True)
        if event.cache is None:
            event.cache = {}
            self.watching.encoded(event)
        data = event.cache[self.form.keys[kind]] = self.form.event(kind, shown, event.revision)
        return data

    def _matched(self, prev: Item) -> bool:
        """Whether what an object was before matched, which this watch mostly has seen."""
        found = self._known.pop(prev.revision, None)
        return self.selection.matches(prev) if found is None else found

    def fail(self, error: errors.StatusError) -> None:
        """Sends an ERROR event and ends the stream."""
        self.flush(0.0)
        stream = self.stream
        if stream is not None:
            stream.write(self.form.error(error))
            stream.finish()
        self.stop()

    def stop(self) -> None:
        """Ends the watch; called when the client goes away, too."""
        self.stream = None
        self.watching.discard(self)
        if self.watch is not None:
            self.watch.stop()
            self.watch = None

    def sweep(self, now: float) -> None:
        """Ends the watch or sends a bookmark when it is time."""
        self.flush(0.0)
        stream = self.stream
        if stream is None:
            return
        if now >= self.ends:
            if self.bookmarks and self.held is None:
                stream.write(self.form.bookmark(self.partition.revision, False))
            stream.finish()
            self.stop()
        elif self.bookmarks and now >= self.next_bookmark and self.held is None:
            self.next_bookmark = now + BOOKMARK_SECONDS
            stream.write(self.form.bookmark(self.partition.revision, False))


class Watching:
    """All watches of a server."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.cut_off: dict[Resource, int] = {}
        """Watchers that did not read."""
        self.now = asyncio.get_running_loop().time
        self._gathering: list[Watcher] = []
        self._encoded: list[Event] = []
        self.turn = asyncio.Lock()
        """Held while a piece of a list is made: however many lists are under way, one piece is made in one turn of the loop."""
        self.counts: dict[tuple[Resource, str], int] = {}
        """Watches by resource and scope."""
        self.events: dict[Resource, int] = {}
        """Events sent."""

    def __len__(self) -> int:
        return len(self._watchers)

    def encoded(self, event: Event) -> None:
        """An event was encoded: its bytes are kept until all watchers have been told, which is in this turn of the loop."""
        if not self._encoded:
            asyncio.get_running_loop().call_soon(self._drop_encoded)
        self._encoded.append(event)

    def _drop_encoded(self) -> None:
        # The history keeps its events for long; their encodings would be most of its memory.
        for event in self._encoded:
            event.cache = None
        self._encoded.clear()

    def gather(self, watcher: Watcher) -> None:
        """Has a watch flushed soon."""
        if not self._gathering:
            asyncio.get_running_loop().call_later(GATHER_SECONDS, self.flush)
        self._gathering.append(watcher)

    def flush(self) -> None:
        """Sends what watches have gathered."""
        gathering, self._gathering = self._gathering, []
        now = self.now()
        for watcher in gathering:
            watcher.flush(now)

    def add(self, watcher: Watcher) -> None:
        """Counts a watch in."""
        self._watchers.add(watcher)
        self.counts[watcher.kind] = self.counts.get(watcher.kind, 0) + 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def discard(self, watcher: Watcher) -> None:
        """Counts a watch out."""
        if watcher in self._watchers:
            self._watchers.discard(watcher)
            self.counts[watcher.kind] -= 1

    def _sweep(self) -> None:
        self._timer = None
        now = time.monotonic()
        for watcher in [
            w for w in self._watchers if now >= w.ends or (w.bookmarks and now >= w.next_bookmark)
        ]:
            watcher.sweep(now)
        if self._watchers:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def end(self, resource: Resource) -> None:
        """Ends the watches of a resource that is served no more, or otherwise: clients look again."""
        for watcher in [w for w in self._watchers if w.form.store.resource is resource]:
            _finish(watcher)

    def stop(self) -> None:
        """Ends all watches cleanly: clients see the end of the stream and resume elsewhere."""
        for watcher in list(self._watchers):
            _finish(watcher)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _finish(watcher: Watcher) -> None:
    watcher.flush(0.0)
    stream = watcher.stream
    watcher.stop()
    if stream is not None:
        stream.finish()


def watch_seconds(query: dict[str, str]) -> float:
    """How long a watch lasts: `timeoutSeconds`, or upstream's 30 to 60 minutes."""
    text = query.get("timeoutSeconds", "")
    if text:
        try:
            seconds = gonumbers.parse_int(text)
        except ValueError:
            raise errors.bad_request(f'invalid timeoutSeconds "{text}": must be an integer') from None
        if seconds > 0:
            return float(seconds)
    return MIN_WATCH_SECONDS * random.uniform(1, 2)


def check_watch_options(send_initial: str, match: str, token: str) -> None:
    """Refuses combinations of a watch's parameters with all findings (upstream's validateWatchOptions)."""
    found: list[errors.FieldError] = []
    field = "resourceVersionMatch"
    if send_initial and match != "NotOlderThan":
        found.append(
            errors.forbidden_field(field, f"sendInitialEvents requires setting {field} to NotOlderThan")
        )
    if match:
        if not send_initial:
            found.append(
                errors.forbidden_field(
                    field, f"{field} is forbidden for watch unless sendInitialEvents is provided"
                )
            )
        if match != "NotOlderThan":
            found.append(errors.not_supported(field, match, ("NotOlderThan",)))
        if token:
            found.append(errors.forbidden_field(field, f"{field} is forbidden when continue is provided"))
    if found:
        raise errors.invalid("meta.k8s.io", "ListOptions", "", found)
