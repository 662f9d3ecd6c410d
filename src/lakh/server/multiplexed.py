"""One client connection of HTTP/2: many requests at once, each a stream, and their answers in as few writes as there are turns of the loop.

    HEADERS ──no body──────────────────▶ answering ──last byte sent──▶ forgotten
       └──body──▶ DATA … END_STREAM ──────▶ ┘   └── RST_STREAM ──▶ a read is cancelled, a write finishes unanswered

`Http2Connection` is the endpoint of `machinery.http2` on a socket: it has the flow control, which is what bounds a client that does not read. An `Exchange` is
one request and its answer; handlers see the same `Request`, `Response` and `Stream` as over HTTP/1.1.

* What is answered in a turn of the loop is written at its end, together: the answers of a batch of the journal and the events of all watches of a client are
  one TLS record and one system call.
* A client may have `MAX_STREAMS` requests under way, and as many count that it has given up and that still run: what it resets costs it its place.
* A client that does not read its socket is not read either.

Limits as upstream (k8s.io/apiserver/pkg/server/secure_serving.go).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from lakh.machinery import hpack, http2
from lakh.machinery.errors import StatusError
from lakh.machinery.http2 import Error, Fields
from lakh.server import http1
from lakh.server.answering import Answering
from lakh.server.connection import HIGH_WATER_BYTES, IDLE_CLOSE_SECONDS, LOW_WATER_BYTES
from lakh.server.exchange import Request, Response, Stream, StreamResponse, Tunnel
from lakh.server.peer import Peer

if TYPE_CHECKING:
    from lakh.server.transport import Server

MAX_STREAMS = 100
"""At once (upstream's default of --http2-max-streams-per-connection)."""
WINDOW_BYTES = 256 * 1024
"""That a client may send ahead on a stream."""
MAX_FRAME_BYTES = 256 * 1024
MAX_REMEMBERED_ANSWERS = 64
"""Heads of answers whose encoding is kept, a connection."""


class Exchange(Answering, http2.Stream):
    """One request and its answer."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_busy",
        "_connection",
        "_finished",
        "_head",
        "_line",
        "_server",
        "_since",
        "_stalled_bytes",
        "_stream",
        "_task",
        "closed",
        "write_paused",
    )

    def __init__(
        self, connection: Http2Connection, stream_id: int, line: tuple[str, str, str, bool], head: http1.Head
    ) -> None:
        http2.Stream.__init__(self, connection, stream_id)
        self._connection = connection
        self._server = connection.server
        self._line = line
        self._head = head
        self._body: list[bytes] | None = None
        """What has come of a body that is not complete."""
        self._body_bytes = 0
        self._busy = False
        self._task: asyncio.Task[None] | None = None
        self._stream: Stream | None = None
        self._finished = False  # the answer is complete, if not sent
        self.closed = False
        self.write_paused = False
        self._since = self._server.now
        self._stalled_bytes = -1

    def __repr__(self) -> str:
        return f"<Exchange {self.id} {self._line[0]} {self._line[1]}{' closed' if self.closed else ''}>"

    @property
    def _over(self) -> bool:
        return self.closed

    # The request

    def begin_body(self) -> None:
        """A body follows."""
        self._body = []
        if self._head.content_length > self._server.max_body_bytes:
            self.refuse(http1.too_large(self._server.max_body_bytes))
        elif self._head.expects_continue:
            self._connection.send_headers(
                self.id, self._connection.encoder.encode([(b":status", b"100")], add=False), ended=False
            )

    def body_data(self, data: bytes, ended: bool) -> None:
        """Bytes of the body."""
        body = self._body
        if body is None:  # refused already, or more than there may be
            if not self._finished:
                self._connection.give_up(self, Error.STREAM_CLOSED)
            return
        self._body_bytes += len(data)
        if self._body_bytes > self._server.max_body_bytes:
            self.refuse(http1.too_large(self._server.max_body_bytes))
            return
        if data:
            body.append(data)
        if ended:
            self.body_ended()
        else:
            self._since = self._server.now
            self._connection.consumed(self, len(data))

    def body_ended(self) -> None:
        """The request is complete."""
        body, self._body = self._body, None
        assert body is not None
        head = self._head
        if "content-length" in head.headers and head.content_length != self._body_bytes:
            self._connection.give_up(self, Error.PROTOCOL_ERROR)
            return
        self.take(body[0] if len(body) == 1 else b"".join(body))

    def take(self, body: bytes) -> None:
        """Answer the request."""
        head = self._head
        if head.content_encoding and body:
            try:
                body = http1.decompress(body, head.content_encoding, self._server.max_body_bytes)
            except http1.HttpError as error:
                self.refuse(error)
                return
        method, path, query, _ = self._line
        self._answer(Request(method, path, query, head.headers, body, self._connection))

    def refuse(self, error: http1.HttpError) -> None:
        """Answer what is no request, or too large a one."""
        status = StatusError(error.code, error.reason, error.message)
        self._body_over()
        self._write_response(Response(error.code, status.encode()))

    def _body_over(self) -> None:
        """Nothing more is read of the body: the client need not send it."""
        if self._body is not None:
            self._body = None
            self._connection.unread(self)

    # The answer

    def _write_response(self, response: Response) -> None:
        connection, body = self._connection, response.body
        block = connection.answer_block(response.status, response.content_type, response.headers)
        if response.status == 204 or response.status == 304:
            connection.send_headers(self.id, block, ended=True)
        else:
            size = len(body) if type(body) is bytes else response.size
            block += hpack.CONTENT_LENGTH + hpack.literal(b"%d" % size)
            if self._line[0] == "HEAD" or not size:
                connection.send_headers(self.id, block, ended=True)
            else:
                connection.send_headers(self.id, block, ended=False)
                if isinstance(body, bytes):
                    connection.send_data(self, body, ended=True)
                else:
                    for piece in body:
                        connection.send_data(self, piece, ended=False)
                    connection.send_data(self, b"", ended=True)
        self._finish()

    def _open_stream(self, request: Request, response: StreamResponse) -> Stream | None:
        connection = self._connection
        block = connection.answer_block(response.status, response.content_type, response.headers)
        nothing = request.method == "HEAD"
        connection.send_headers(self.id, block, ended=nothing)
        if nothing:
            self._finish()
            return None
        return Stream(self, chunked=False)

    def _start_tunnel(self, request: Request, tunnel: Tunnel) -> None:
        # Who wants one asks over HTTP/1.1, for `Upgrade` is not of HTTP/2; the far end's answer is of no use here.
        tunnel.writer.close()
        self._write_response(
            self._failure(
                request, StatusError(400, "BadRequest", "a connection of HTTP/2 cannot be upgraded")
            )
        )

    def _finish(self) -> None:
        self._finished = True
        if self.drained:
            self._connection.forget(self)

    def write(self, data: bytes) -> None:
        """A piece of a streamed answer."""
        self._connection.send_data(self, data, ended=False)
        if self.queued_bytes > HIGH_WATER_BYTES:
            self.write_paused = True

    @property
    def unsent_bytes(self) -> int:
        """What was written and has not left, for want of the client's window or of the socket's room."""
        return self.queued_bytes

    def stream_finished(self) -> None:
        """The stream wrote its last piece."""
        self._stream = self._task = None
        self._busy = False
        self._connection.send_data(self, b"", ended=True)
        self._finish()

    def abort(self) -> None:
        """Have the client see that the answer is not complete."""
        if not self.closed:
            self._connection.give_up(self, Error.INTERNAL_ERROR)

    # Called by the connection

    def less_queued(self) -> None:
        """Some of what waited has left."""
        if self._finished:
            if self.drained:
                self._connection.forget(self)
        elif self.write_paused and self.queued_bytes <= LOW_WATER_BYTES:
            self.write_paused = False
            if self._stream is not None:
                self._stream._resume()

    def gone(self) -> None:
        """The client gave the request up, or went away."""
        if self.closed:
            return
        self.closed = True
        self._body = None
        running = self._task
        self._cancel(harmless=self._line[0] in ("GET", "HEAD"))
        if running is not None:
            self._connection.run_on(running)

    def end_gracefully(self) -> None:
        """The server stops: an event-driven stream ends, everything else finishes first."""
        if self._stream is not None and self._task is None:
            self._stream.finish()

    def check(self, now: float) -> None:
        """The sweep's look at this exchange: is it overdue?"""
        timeouts = self._server.timeouts
        if self.queued_bytes:
            if self.queued_bytes != self._stalled_bytes:
                self._stalled_bytes = self.queued_bytes
                self._since = now
            elif now - self._since > timeouts.stall_seconds:
                self._connection.give_up(self, Error.CANCEL)
        elif self._body is not None and now - self._since > timeouts.body_seconds:
            self.refuse(http1.HttpError(408, "Timeout", "the request body did not arrive in time"))


class Http2Connection(Peer, http2.Endpoint, asyncio.Protocol):
    """One client connection: its streams, and the socket that they share."""

    __slots__ = (
        "_answers",
        "_closing",
        "_ended",
        "_flushing",
        "_receiving",
        "_running",
        "_since",
        "_slot",
        "_stalled_bytes",
        "_unread",
        "server",
        "transport",
        "user_cache",
        "write_paused",
    )

    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        http2.Endpoint.__init__(
            self,
            client=False,
            max_streams=MAX_STREAMS,
            window_bytes=WINDOW_BYTES,
            connection_window_bytes=WINDOW_BYTES * MAX_STREAMS,
            max_frame_bytes=MAX_FRAME_BYTES,
            max_block_bytes=http1.MAX_HEAD_BYTES,
        )
        self.server = server
        self._slot = 0
        self._since = server.now  # when the present phase began
        self._stalled_bytes = -1
        self._answers: dict[tuple[int, bytes, tuple[tuple[bytes, bytes], ...]], tuple[int, bytes]] = {}
        """Encoded heads of answers, with the encoder's generation."""
        self._receiving = False  # `receive` is on the stack
        self._flushing = False  # a flush is due in this turn of the loop
        self._unread: set[int] = set()  # answered without reading the whole body
        self._running: set[asyncio.Task[None]] = set()  # of requests that were given up
        self._closing = False  # no more requests are taken
        self._ended = False
        self.write_paused = False
        self.user_cache: Any = None

    def __repr__(self) -> str:
        state = "ended" if self._ended else "closing" if self._closing else "open"
        return f"<Http2Connection {state}, {len(self.streams)} streams>"

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there, and its TLS handshake is done."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(HIGH_WATER_BYTES, LOW_WATER_BYTES)
        if not self.server.admit(self):
            self._ended = True
            self.transport.abort()
            return
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._gone()
        self.server.forget(self)

    def eof_received(self) -> bool:
        """The client will send no more. As for Go's server, that means that it went away."""
        self._gone()
        return False

    def pause_writing(self) -> None:
        """The client does not read: it is not read either, so that what it asks for is bounded."""
        self.write_paused = True
        self.transport.pause_reading()
        self._stalled_bytes = -1
        self._since = self.server.now

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.write_paused = False
        self._since = self.server.now
        if self._ended:
            return
        self.transport.resume_reading()
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._ended:
            return
        self._receiving = True
        try:
            self.receive(data)
            if self.partial_bytes > http1.LARGE_HEAD_BYTES + MAX_FRAME_BYTES:
                self.server.large_heads.more(self)
            else:
                self.server.large_heads.done(self)
        except http2.Http2Error as error:
            self._fail(error.code, str(error))
        except http1.HttpError as error:
            self._fail(Error.ENHANCE_YOUR_CALM, error.message)
        finally:
            self._receiving = False
        self._flush()

    # Writing

    def wake(self) -> None:
        """Frames are to be written: together with what else comes in this turn of the loop."""
        if not self._receiving and not self._flushing and not self._ended:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush_due)

    def _flush_due(self) -> None:
        self._flushing = False
        self._flush()

    def _flush(self) -> None:
        while not self.write_paused and not self._ended:
            self.pump()
            data = self.output()
            if not data:
                break
            self.transport.write(data)
        if self._closing and not self.streams and not self._ended:
            self._close()

    def answer_block(
        self, status: int, content_type: bytes, headers: tuple[tuple[bytes, bytes], ...]
    ) -> bytes:
        """The head of an answer, encoded, without its length."""
        key = (status, content_type, headers)
        found = self._answers.get(key)
        if found is not None and found[0] == self.encoder.generation:
            return found[1]
        fields = [(b":status", b"%d" % status)]
        if content_type:
            fields.append((b"content-type", content_type))
        before = self.encoder.generation
        common = self.encoder.encode(fields)
        # What else there is to say (a warning, how long to wait) may be another each time.
        rest = [(name.lower(), value.replace(b"\r", b" ").replace(b"\n", b" ")) for name, value in headers]
        block = common + self.encoder.encode(rest, add=status == 200)
        if self.encoder.generation == before:  # one that adds to the table is for once
            if len(self._answers) >= MAX_REMEMBERED_ANSWERS:
                self._answers.clear()
            self._answers[key] = before, block
        return block

    # Reading

    def on_headers(self, stream_id: int, fields: Fields, ended: bool) -> None:
        """A request begins; or a body ends, with trailers that nobody uses."""
        known = self.streams.get(stream_id)
        if known is not None:
            if ended:
                self.on_data(known, b"", True)
            else:
                self.give_up(cast(Exchange, known), Error.PROTOCOL_ERROR)
            return
        if self._closing or len(self.streams) + len(self._running) >= MAX_STREAMS:
            self.reset(stream_id, Error.REFUSED_STREAM)
            return
        try:
            line, head = self._request_head(fields)
        except http1.HttpError as error:
            self._malformed(stream_id, error, ended)
            return
        if line is None:
            self.reset(stream_id, Error.PROTOCOL_ERROR)
            return
        exchange = Exchange(self, stream_id, line, head)
        self.streams[stream_id] = exchange
        if not ended:
            exchange.begin_body()
        elif head.content_length:
            self.give_up(exchange, Error.PROTOCOL_ERROR)
        else:
            exchange.take(b"")

    def _malformed(self, stream_id: int, error: http1.HttpError, ended: bool) -> None:
        exchange = Exchange(self, stream_id, ("GET", "/", "", True), http1.Head({}, {}))
        self.streams[stream_id] = exchange
        if not ended:
            self.unread(exchange)
        exchange.refuse(error)

    def _request_head(self, fields: Fields) -> tuple[tuple[str, str, str, bool] | None, http1.Head]:
        """The request line and the headers. A request that RFC 9113 calls malformed has None for the first."""
        method = scheme = path = authority = None
        at = 0
        for name, value, _ in fields:
            if name == b":method" and method is None:
                method = value
            elif name == b":path" and path is None:
                path = value
            elif name == b":scheme" and scheme is None:
                scheme = value
            elif name == b":authority" and authority is None:
                authority = value
            else:
                break
            at += 1
        rest = tuple(fields[at:])
        head = self.server.heads.fields(authority, rest)
        if head is None or not method or not path or not scheme:
            return None, http1.Head({}, {})
        return http1.parse_request_line(b"%b %b HTTP/1.1" % (method, path)), head

    def on_data(self, stream: http2.Stream, data: bytes, ended: bool) -> None:
        """Bytes of a body."""
        cast(Exchange, stream).body_data(data, ended)

    def on_reset(self, stream: http2.Stream, code: int) -> None:
        """The client gave a request up."""
        cast(Exchange, stream).gone()

    def on_goaway(self, last_stream: int, code: int, text: bytes) -> None:
        """The client will ask no more: the connection ends when it has its answers."""
        self._closing = True

    def on_drained(self, stream: http2.Stream) -> None:
        """What waited in a stream has left in part."""
        cast(Exchange, stream).less_queued()

    # Exchanges

    def unread(self, exchange: Exchange) -> None:
        """A request is answered although its body has not come."""
        self._unread.add(exchange.id)

    def forget(self, exchange: Exchange) -> None:
        """An answer is sent, as far as this side goes."""
        self.close_stream(exchange)
        exchange.closed = True
        if exchange.id in self._unread:
            self._unread.discard(exchange.id)
            self.reset(exchange.id, Error.NO_ERROR)  # RFC 9113, 8.1
        self._since = self.server.now
        if self._closing and not self.streams:
            self.wake()

    def give_up(self, exchange: Exchange, code: Error) -> None:
        """Break an exchange off."""
        self._unread.discard(exchange.id)
        self.close_stream(exchange)
        self.reset(exchange.id, code)
        exchange.gone()
        self._since = self.server.now

    def run_on(self, task: asyncio.Task[None]) -> None:
        """The task of a request that was given up counts until it is done."""
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    # Ending

    def abort(self) -> None:
        """Drop the connection now."""
        self._gone()
        self.transport.abort()

    def _fail(self, code: Error, message: str) -> None:
        """The client broke the protocol: say so, and end."""
        self.goaway(code, message)
        self.transport.write(self.output())
        self._close()

    def _close(self) -> None:
        """Close once everything that was written is sent."""
        self._gone()
        self._stalled_bytes = -1
        self._since = self.server.now
        self.transport.close()

    def _gone(self) -> None:
        """The client went away, or is sent away: stop what is done for it alone."""
        if self._ended:
            return
        self._ended = True
        for stream in list(self.streams.values()):
            self.close_stream(stream)
            cast(Exchange, stream).gone()

    def end_gracefully(self) -> None:
        """The server stops: take no more, end streams that only wait for events; what is under way finishes first."""
        if self._ended:
            return
        self._closing = True
        self.goaway(Error.NO_ERROR)
        for stream in list(self.streams.values()):
            cast(Exchange, stream).end_gracefully()
        if not self.streams:
            # It is owed nothing, and a client that does not look at its idle connection never answers the end of TLS.
            asyncio.get_running_loop().call_later(IDLE_CLOSE_SECONDS, self.abort)
        self._flush()

    def check(self, now: float) -> None:
        """The sweep's look at this connection: is it overdue?"""
        elapsed = now - self._since
        timeouts = self.server.timeouts
        if self.write_paused or self._ended:
            unsent = self.transport.get_write_buffer_size()
            if unsent != self._stalled_bytes:
                self._stalled_bytes = unsent
                self._since = now
            elif elapsed > timeouts.stall_seconds:
                self.abort()
            return
        for stream in list(self.streams.values()):
            cast(Exchange, stream).check(now)
        if self.streams:
            return
        if elapsed > (timeouts.head_seconds if self.partial_bytes else timeouts.idle_seconds):
            self._closing = True
            self.goaway(Error.NO_ERROR)
            self._flush()
