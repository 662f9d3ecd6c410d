"""Lists: pages of a consistent state, cut into pieces so that none holds the loop.

A list is served at one revision. While it is written, the store may move on; later pieces are read at the list's revision from the history
window. Items are the stored bytes with two splices; nothing is decoded unless a selector or a table asks for it.
"""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from lakh.machinery import errors, gojson, gonumbers
from lakh.server import messages, rendering, tables
from lakh.server.codec import encode_json
from lakh.server.negotiate import Accepted
from lakh.server.selecting import Selection
from lakh.server.storage import ResourceStore
from lakh.server.transport import Response, Stream, StreamResponse
from lakh.store.cursor import Cursor
from lakh.store.errors import Compacted
from lakh.store.state import Item

# Items written in one go: small enough that the client reads while the next are encrypted (measured: 1000 → 0.35 s, 128 → 0.23 s for 108 MB).
PIECE = 128
# The same for large ones: encrypting and sending a megabyte takes 1.5 ms. A piece has one item at least.
PIECE_BYTES = 1024 * 1024
# Lists up to this many items are answered in one synchronous piece.
SYNCHRONOUS = 500
# Table rows decode whole objects, about 20 µs each.
TABLE_PIECE = 150


class _Continue(msgspec.Struct, gc=False, omit_defaults=True):
    """A continue token: where the next page begins, at which revision (-1: whatever is newest then), and when it was given out."""

    v: str
    rv: int
    start: str
    at: int = 0


_decode_continue = msgspec.json.Decoder(_Continue).decode

# Upstream compacts what is older than this, so clients know that tokens end.
TOKEN_SECONDS = 5 * 60
ANY_REVISION = -1
"""Of a continue token: go on with the present state, whatever has changed since."""


def encode_continue(revision: int, key: str) -> str:
    """The token for the page after `key`."""
    token = _Continue("meta.k8s.io/v1", revision, key, int(time.time()))
    return base64.urlsafe_b64encode(encode_json(token)).rstrip(b"=").decode()


def decode_continue(token: str, table: str) -> tuple[int, str, int]:
    """The revision and last key of a token, and when it was given out (epoch seconds); raises 400."""
    wrong = _not_base64(token)
    if wrong is not None:
        raise _bad_token(f": illegal base64 data at input byte {wrong}")
    text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    try:
        found = _decode_continue(text)
    except (ValueError, msgspec.DecodeError) as e:
        raise _bad_token(f": {gojson.syntax_error(text) or e}") from None
    if found.v != "meta.k8s.io/v1":
        raise _bad_token(": server does not recognize this encoded version " + errors.show(found.v))
    if not found.start:
        raise _bad_token(": encoded start key empty (version meta.k8s.io/v1)")
    if found.rv == 0 or found.rv < ANY_REVISION:
        raise _bad_token(": incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
    if not found.start.startswith(table + "/"):
        raise _bad_token("")
    return found.rv, found.start, found.at


_no_base64 = re.compile(r"[^A-Za-z0-9_-]").search


def _not_base64(token: str) -> int | None:
    """Where a token stops being unpadded base64 of the URL's alphabet; None when it is."""
    if (found := _no_base64(token)) is not None:
        return found.start()
    return len(token) - 1 if len(token) % 4 == 1 else None


def _bad_token(why: str) -> errors.StatusError:
    return errors.bad_request(f"invalid continue token: continue key is not valid{why}")


LIST_TOO_OLD = "The resourceVersion for the provided list is too old."
CONTINUE_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted "
    "between the time the first chunk was returned and now may show up in the list."
)


def too_old(after: str) -> errors.StatusError:
    """410 for a list whose revision has left the window; `after`: the last key of its page before, if any."""
    if not after:
        return errors.expired(LIST_TOO_OLD)
    return errors.expired(CONTINUE_TOO_OLD, encode_continue(ANY_REVISION, after))


class ListQuery:
    """A list request's parameters, checked: where to read, from what revision, how much."""

    __slots__ = ("after", "limit", "revision", "selection")

    def __init__(self, store: ResourceStore, selection: Selection, query: dict[str, str]) -> None:
        self.selection = selection
        self.limit = integer(query, "limit")
        self.after = ""
        self.revision: int | None = None
        version = query.get("resourceVersion", "")
        match = query.get("resourceVersionMatch", "")
        token = query.get("continue", "")
        check_options(version, match, token, query.get("sendInitialEvents", ""))
        if token:
            if version and version != "0":
                raise errors.bad_request("specifying resource version is not allowed when using continue")
            revision, self.after, at = decode_continue(token, store.table)
            if revision == ANY_REVISION:
                self.revision = store.partition.revision
                return
            if at and time.time() - at > TOKEN_SECONDS:
                raise too_old(self.after)
            self.revision = revision
            return
        if not version:
            return
        try:
            asked = gonumbers.parse_uint(version)
        except ValueError as e:
            why = f'resourceVersion: Invalid value: "{version}": {e}'
            raise errors.bad_request(f"invalid resource version: {why}") from None
        if not asked and store.resource.plural != "events":
            self.limit = (
                0  # upstream's watch cache pages nothing then (computeListLimit), and events are not in it
            )
        current = store.partition.revision
        if asked > current:
            raise errors.too_large_resource_version(asked, current)
        if match == "Exact" or (not match and self.limit and asked):
            self.revision = asked


def check_options(version: str, match: str, token: str, send_initial: str) -> None:
    """Refuses combinations of a list's parameters with all findings (upstream's ValidateListOptions)."""
    found: list[errors.FieldError] = []
    field = "resourceVersionMatch"
    if match:
        if not version:
            found.append(
                errors.forbidden_field(field, f"{field} is forbidden unless resourceVersion is provided")
            )
        if token:
            found.append(errors.forbidden_field(field, f"{field} is forbidden when continue is provided"))
        if match not in ("Exact", "NotOlderThan"):
            found.append(errors.not_supported(field, match, ("Exact", "NotOlderThan", ""), as_given=True))
        if match == "Exact" and version == "0":
            found.append(
                errors.forbidden_field(field, f'{field} "exact" is forbidden for resourceVersion "0"')
            )
    if send_initial:
        found.append(errors.forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if found:
        raise errors.invalid("meta.k8s.io", "ListOptions", "", found)


def integer(query: dict[str, str], name: str) -> int:
    """A parameter that is a number, 0 when it is absent or negative; raises 400."""
    text = query.get(name, "")
    if not text:
        return 0
    try:
        return max(0, gonumbers.parse_int(text))
    except ValueError as e:
        raise errors.bad_request(str(e)) from None


class Pages:
    """Reads a list piece by piece at one revision."""

    def __init__(self, store: ResourceStore, asked: ListQuery) -> None:
        self.store = store
        self.asked = asked
        self.piece = PIECE
        self.revision = asked.revision if asked.revision is not None else store.partition.revision
        self.after = asked.after
        self.left = asked.limit
        self.next = ""
        self.remaining: int | None = None
        self.done = False
        self._cursor: Cursor | None = None

    def __copy__(self) -> Pages:
        """Reads on from here by itself: a cursor never goes back."""
        other = Pages.__new__(Pages)
        other.__dict__ |= self.__dict__
        other._cursor = None
        return other

    def read(self) -> list[Item]:
        """The next matching items; `done` is set with the last."""
        selection, store = self.asked.selection, self.store
        if not self.after and self.revision == store.partition.revision:
            at_hand = selection.at_hand(store.partition, store.resource)
            if at_hand is not None:
                return self._all(at_hand)
        scope = selection.scope(store.resource)
        piece = self.piece
        if self.left and selection.trivial:
            piece = min(piece, self.left)
        try:
            if self._cursor is None:
                self._cursor = store.partition.cursor(store.table, scope, self.revision)
            found, more = self._cursor.read(self.after, piece)
        except Compacted:
            raise too_old(self.after) from None
        items = within(found, PIECE_BYTES)
        more = more or len(items) < len(found)
        if items:
            self.after = items[-1].key
        if not selection.trivial or selection.name:
            items = [i for i in items if selection.covers(i, scope)]
        if self.left:
            if len(items) > self.left or (len(items) == self.left and more):
                more = more or len(items) > self.left
                items = items[: self.left]
                self.after = items[-1].key
                self.done = True
                if more:
                    self.next = encode_continue(self.revision, self.after)
                    if selection.trivial:
                        self.remaining = self._cursor.remaining(self.after)
                return items
            self.left -= len(items)
        if not more:
            self.done = True
        return items

    def _all(self, items: list[Item]) -> list[Item]:
        """All of them at once, but for the limit: what an index tells is not much."""
        if self.left and len(items) > self.left:
            items = items[: self.left]
            self.next = encode_continue(self.revision, items[-1].key)
        self.done = True
        return items

    def metadata(self) -> bytes:
        """The list's metadata, once `done`."""
        return _metadata(self)


def within(items: list[Item], size_bytes: int) -> list[Item]:
    """The first items that together have about that many bytes; one at least. O(items)."""
    total = 0
    for number, item in enumerate(items):
        total += item.value_bytes
        if total > size_bytes:
            return items[: number + 1]
    return items


class Found:
    """A list of what is at hand already, read piece by piece like `Pages`: a collection that was deleted, a page that was converted."""

    next = ""
    remaining: int | None = None

    def __init__(self, items: list[Item], revision: int) -> None:
        self.revision = revision
        self.piece = PIECE
        self._items = items
        self._read = 0

    @property
    def done(self) -> bool:
        """The last item was read."""
        return self._read >= len(self._items)

    def read(self) -> list[Item]:
        """The next items."""
        start = self._read
        self._read += self.piece
        return self._items[start : self._read]

    def metadata(self) -> bytes:
        """The list's metadata."""
        return _metadata(self)


def _metadata(pages: Pages | Found) -> bytes:
    meta: dict[str, Any] = {"resourceVersion": str(pages.revision)}
    if pages.next:
        meta["continue"] = pages.next
        if pages.remaining:
            meta["remainingItemCount"] = pages.remaining
    return encode_json(meta)


def respond(
    store: ResourceStore, pages: Pages | Found, accepted: Accepted, include: str, turn: asyncio.Lock
) -> Response | StreamResponse | Coroutine[Any, Any, Response | StreamResponse]:
    """The answer to a list: at once when it is small, else as a stream of pieces.

    `metadata` comes last in a streamed list, for only the end tells whether there is more. All lists share `turn`, so that a thousand of
    them hold the loop no longer than one.
    """
    shape, meta = accepted.shape, accepted.meta
    if accepted.media == "protobuf":
        if shape == "metadata":
            partial = messages.PARTIAL[meta]
            return messages.respond(
                partial.list_head, lambda item: partial.message(item.value, item.revision), pages, turn
            )
        message = store.codec.message
        head = store.codec.messages.list_head
        return messages.respond(head, lambda item: message(item.value, item.revision), pages, turn)
    if shape == "table":
        render: Callable[[Item], bytes] = lambda item: tables.row(store, item, include, meta=meta)  # noqa: E731
        pages.piece = TABLE_PIECE
        head = b'{"kind":"Table","apiVersion":"%s","columnDefinitions":%s,"rows":[' % (
            meta.encode(),
            tables.column_definitions(store.strategy.columns),
        )
    elif shape == "metadata":
        render = lambda item: tables.partial_metadata(item, meta=meta)  # noqa: E731
        head = b'{"kind":"PartialObjectMetadataList","apiVersion":"%s","items":[' % meta.encode()
    else:
        list_item = store.codec.list_item
        render = lambda item: list_item(item.value, item.revision)  # noqa: E731
        head = b'{"kind":"%s","apiVersion":"%s","items":[' % (
            store.resource.list_name.encode(),
            store.resource.api_version.encode(),
        )
    items = pages.read()
    if shape == "table":
        items = tables.in_order(store, items)
    if pages.done and len(items) <= SYNCHRONOUS:
        body = b'%s%s],"metadata":%s}\n' % (head, b",".join(map(render, items)), pages.metadata())
        return rendering.render(Response(200, body), accepted.media)

    async def start(stream: Stream) -> None:
        chunk, first, empty = items, True, True
        stream.write(head)
        while True:
            async with turn:
                if stream.closed:
                    return
                if not first:
                    chunk = pages.read()
                if chunk:
                    data = b",".join(map(render, chunk))
                    stream.write(data if empty else b"," + data)
                    empty = False
                first = False
                if pages.done:
                    break
                await asyncio.sleep(0)
            if stream.paused:
                await stream.drain()
        stream.write(b'],"metadata":%s}\n' % pages.metadata())
        stream.finish()

    # All JSON is YAML.
    return StreamResponse(200, accepted.content_type, start)
