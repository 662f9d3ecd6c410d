"""One HTTP/2 connection of a client, and the lanes on it.

A `Lane` is to the pool what an HTTP/1.1 connection is: a place for one request at a time, each of them a stream of its own. All lanes of a `Multiplexed` share
its socket: what they send in one turn of the loop leaves in one write. A lane costs nothing to make, so one whose request went wrong is given up,
and its connection goes on.

What a lane's request meets
* its stream reset by the server, or the connection lost: `ConnectionLost`;
* REFUSED_STREAM, or GOAWAY with a lower number than its stream's: `Unprocessed`, and whatever it was may be sent again;
* time over, cancelled, closed by its reader: the lane resets the stream, others don't notice.

After GOAWAY a connection takes no more requests, and is closed when its last lane is done. One that is silent for `PING_IDLE_SECONDS` while streams are
open is asked for a sign of life, and lost without one.

Costs: see `transport`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import cast

from lakh.machinery import http2
from lakh.machinery.hpack import CONTENT_LENGTH, PATH, literal
from lakh.machinery.http2 import Error, Fields, Http2Error

from .errors import BadResponse, ClientError, ConnectionLost, Unprocessed
from .exchange import Exchange, NotSent, Owner
from .request import RETRIABLE, Request

__all__ = ["Lane", "Multiplexed"]

STREAM_WINDOW_BYTES = 4 << 20
CONNECTION_WINDOW_BYTES = 1 << 30
"""What a server may send ahead, as client-go lets it."""
FRAME_BYTES = 64 << 10
"""The largest that is taken: each piece of one is copied once."""
HEADERS_BYTES = 1 << 20
"""Of one answer, Go's number."""
PING_IDLE_SECONDS = 30.0
PING_TIMEOUT_SECONDS = 15.0
"""As client-go's."""
LAST_STREAM = (1 << 31) - 1

_Blocks = tuple[int, bytes, bytes, bytes]
"""The table's generation; what stands before a path's literal, behind it, and behind it when a length follows."""


class _Wire(http2.Stream):
    """The stream of a lane's request."""

    __slots__ = ("lane",)

    def __init__(self, connection: Multiplexed, stream_id: int, lane: Lane) -> None:
        super().__init__(connection, stream_id)
        self.lane = lane


class Lane(Exchange):
    """A place for one request at a time."""

    def __init__(self, connection: Multiplexed) -> None:
        super().__init__(connection.owner)
        self._connection = connection
        self.wire: _Wire | None = None
        """The stream of the request under way."""

    def __repr__(self) -> str:
        return f"<Lane, stream {self.wire.id if self.wire is not None else None}>"

    @property
    def reused(self) -> bool:
        """See `Exchange`."""
        return self._connection.next_stream > 1

    def _write(self, request: Request) -> None:
        if self.closed:
            raise NotSent
        self.wire = self._connection.open(self, request)
        self._status = 0

    def taken(self, size_bytes: int) -> None:
        """The server may send as much again."""
        if self.wire is not None:
            self._connection.consumed(self.wire, size_bytes)

    def fail(self, error: ClientError) -> None:
        """See `Exchange`."""
        wire, self.wire = self.wire, None
        connection = self._connection
        if wire is not None:
            connection.drop(wire)
        if self not in connection.lanes:
            return
        connection.lanes.discard(self)
        self._finish(error)
        self.owner.gone(self)
        connection.left()

    # What the connection calls

    def on_headers(self, fields: Fields, ended: bool) -> None:
        """The head of an answer, or what comes behind its body."""
        if self._status:  # trailers
            if not ended:
                self.fail(BadResponse("headers in the middle of an answer"))
                return
        else:
            try:
                status = int(fields[0][1]) if fields[0][0] == b":status" else 0
            except (IndexError, ValueError):
                status = 0
            if 100 <= status < 200 and not ended:
                return
            if status < 200:
                self.fail(BadResponse("an answer without a status"))
                return
            self.answered = True
            self._headed(status, fields)
        if ended:
            self._complete()

    def on_data(self, data: bytes, ended: bool) -> None:
        """A piece of the body."""
        wire = self.wire
        if not self._status or wire is None:
            self.fail(BadResponse("a body before the head of its answer"))
            return
        if data:
            try:
                self._received(data)
            except BadResponse as error:
                self.fail(error)
                return
        if ended:
            self._complete()
        elif self.stream is None:
            self._connection.consumed(wire, len(data))

    def _complete(self) -> None:
        wire, self.wire = self.wire, None
        if wire is not None:
            self._connection.drop(wire, complete=True)
        self._ended(reusable=not self._connection.leaving)

    def on_reset(self, error: ClientError) -> None:
        """The stream is no more."""
        self.wire = None
        self.fail(error)


class Multiplexed(http2.Endpoint, asyncio.Protocol):
    """One connection."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(
            client=True,
            max_streams=0,
            window_bytes=STREAM_WINDOW_BYTES,
            connection_window_bytes=CONNECTION_WINDOW_BYTES,
            max_frame_bytes=FRAME_BYTES,
            max_block_bytes=HEADERS_BYTES,
        )
        self.owner = owner
        self.lanes: set[Lane] = set()
        self.closed = False
        self.leaving = False
        """It takes no more requests."""
        self.ready: asyncio.Future[None] = owner.loop.create_future()
        """Done with the server's settings, or when it is closed."""
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._flushing = False
        self._era = 0
        self._blocks: dict[tuple[str, str | None], _Blocks] = {}
        self._heard_at = 0.0
        self._asked = False
        self._minder: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        state = "closed" if self.closed else "leaving" if self.leaving else "open"
        return f"<Multiplexed {state}, {len(self.lanes)} lanes, {len(self.streams)} streams>"

    # What the transport calls

    @property
    def room(self) -> bool:
        """Whether another lane could send a request. Idle ones count: they may at any time."""
        return not self.leaving and len(self.lanes) < self.peer_max_streams

    def lane(self) -> Lane:
        """A new one."""
        lane = Lane(self)
        self.lanes.add(lane)
        return lane

    def fail(self, error: ClientError) -> None:
        """Close now, and tell whoever waits."""
        if self.closed:
            return
        self.closed = self.leaving = True
        if self._minder is not None:
            self._minder.cancel()
        if not self.ready.done():
            self.ready.set_result(None)
        for lane in list(self.lanes):
            lane.fail(error)
        if self._transport is not None:
            self._transport.abort()

    # What lanes call

    def open(self, lane: Lane, request: Request) -> _Wire:
        """A stream for a request. Raises `NotSent`."""
        if self.leaving or self._transport is None or self._transport.is_closing():
            raise NotSent
        stream_id = self.next_stream
        self.next_stream = stream_id + 2
        if stream_id >= LAST_STREAM:
            self.leaving = True
        wire = _Wire(self, stream_id, lane)
        self.streams[stream_id] = wire
        body = request.body
        self.send_headers(stream_id, self._header_block(request), ended=not body)
        if body:
            self.send_data(wire, body, ended=True)
        if self._minder is None:
            self._heard_at = self.owner.loop.time()
            self._minder = self.owner.loop.call_later(PING_IDLE_SECONDS, self._mind)
        return wire

    def drop(self, wire: _Wire, *, complete: bool = False) -> None:
        """A stream's answer is complete, or nobody wants it any more."""
        settled = complete and wire.drained
        self.close_stream(wire)
        if not settled and not self.closed:
            self.reset(wire.id, Error.CANCEL)

    def left(self) -> None:
        """A lane is gone."""
        if self.leaving and not self.lanes:
            self.fail(ConnectionLost("the connection has served its time"))

    # Header blocks

    def _header_block(self, request: Request) -> bytes:
        body = request.body
        if request.fields is not None:
            return self._rare_block(request)
        heads = self.owner.heads
        if self._era != heads.era:
            self._era = heads.era
            self._blocks.clear()
        key = request.method, request.content_type if body is not None else None
        found = self._blocks.get(key)
        if found is None or found[0] != self.encoder.generation:
            generation = self.encoder.generation  # it changes when these fields are the first of their kind
            before, after = heads.fields(*key, json=True)
            first = self.encoder.encode(before) + PATH
            rest = self.encoder.encode(after)
            found = self._blocks[key] = generation, first, rest, rest + CONTENT_LENGTH
        if body is not None:
            return found[1] + literal(request.path) + found[3] + literal(b"%d" % len(body))
        if request.method in RETRIABLE:
            return found[1] + literal(request.path) + found[2]
        return found[1] + literal(request.path) + found[3] + literal(b"0")

    def _rare_block(self, request: Request) -> bytes:
        """Of a request with header fields of its own: they don't deserve a place in the table."""
        body, encoder = request.body, self.encoder
        before, after = self.owner.heads.fields(
            request.method, request.content_type if body is not None else None, json=False
        )
        own = [(name.lower(), value) for name, value in request.fields or ()]
        if body is not None or request.method not in RETRIABLE:
            own.append((b"content-length", b"%d" % len(body or b"")))
        parts = (encoder.encode(before), PATH, literal(request.path), encoder.encode(after))
        return b"".join(parts) + encoder.encode(own, add=False)

    # Endpoint

    def wake(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.owner.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        while not self._paused and not self.closed and self._transport is not None:
            self.pump()
            data = self.output()
            if not data:
                return
            self._transport.write(data)

    def on_settings(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)

    def on_headers(self, stream_id: int, fields: Fields, ended: bool) -> None:
        cast(_Wire, self.streams[stream_id]).lane.on_headers(fields, ended)

    def on_data(self, stream: http2.Stream, data: bytes, ended: bool) -> None:
        cast(_Wire, stream).lane.on_data(data, ended)

    def on_reset(self, stream: http2.Stream, code: int) -> None:
        lane = cast(_Wire, stream).lane
        if code == Error.REFUSED_STREAM:
            lane.on_reset(Unprocessed(f"{self.owner.server}: the server refused the request's stream"))
        else:
            lane.on_reset(ConnectionLost(f"{self.owner.server}: the stream was reset: {_name(code)}"))

    def on_goaway(self, last_stream: int, code: int, text: bytes) -> None:
        self.leaving = True
        said = f"{_name(code)} {text[:200].decode('utf-8', 'replace')}".strip()
        error = Unprocessed(f"{self.owner.server}: the server goes away: {said}")
        for stream in list(self.streams.values()):  # in the order in which they were sent
            if stream.id > last_stream:
                self.close_stream(stream)
                cast(_Wire, stream).lane.on_reset(error)
        for lane in list(self.lanes):
            if lane.wire is None:
                lane.fail(error)
        self.left()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self.output())

    def data_received(self, data: bytes) -> None:
        self._heard_at = self.owner.loop.time()
        self._asked = False
        self._flushing = True  # in the end
        try:
            self.receive(data)
        except Http2Error as error:
            self.goaway(error.code, str(error))
            self._flush()
            self.fail(BadResponse(f"not HTTP/2: {error}"))
            return
        self._flush()

    def eof_received(self) -> None:
        self.fail(ConnectionLost(f"{self.owner.server}: connection lost: the server closed the connection"))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        what = str(error) if error else "the server closed the connection"
        lost = ConnectionLost(f"{self.owner.server}: connection lost: {what}")
        lost.__cause__ = error
        self.fail(lost)
        self._transport = None
        self.owner.gone(self)

    # Signs of life

    def _mind(self) -> None:
        if self._minder is not None:
            self._minder.cancel()
            self._minder = None
        if not self.streams:
            return  # the next request minds again
        loop = self.owner.loop
        silent = loop.time() - self._heard_at
        if self._asked:
            self.fail(ConnectionLost(f"{self.owner.server}: connection lost: no sign of life"))
            return
        seconds = PING_IDLE_SECONDS - silent
        if seconds <= 0:
            self._asked = True
            self.ping(b"lakh ask")
            seconds = PING_TIMEOUT_SECONDS
        self._minder = loop.call_later(seconds, self._mind)


def _name(code: int) -> str:
    with contextlib.suppress(ValueError):
        return Error(code).name
    return f"error {code}"
