"""One client connection: HTTP/1.1 on an asyncio protocol.

    HEAD ──head read──▶ BODY ──last byte──▶ answering ──answer written──▶ HEAD …
      └──────────── refused (4xx) ──▶ LINGER ──▶ closed           └── `Connection: close` ──▶ CLOSING ──▶ closed

A connection reads one request at a time. While a request is being answered, later bytes wait unparsed; past a bound the socket is
not read at all. So pipelined requests are answered in order without a queue, and a client that does not read its answers stops
being read.

Order and ownership
* How a request is answered is in `answering`.
* Timeouts are an assignment here (`_since`) and a look by the server's sweep (`check`).
* What is written goes out through `write`, in slices, and no further than the client reads: what is behind that waits here as it was given, shared
  with whoever else it is written to. TLS would encrypt all of it at once, and keep a buffer of that size for as long as the connection lasts.

Costs: a small request with a remembered header block and a synchronous answer 3 µs besides the socket and TLS; a coroutine
3 µs more. An idle connection holds a few hundred bytes besides what the transport and TLS hold.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from lakh.machinery.errors import StatusError
from lakh.server import http1
from lakh.server.answering import Answering
from lakh.server.exchange import JOIN_BYTES, Request, Response, Stream, StreamResponse, Tunnel
from lakh.server.peer import Peer

if TYPE_CHECKING:
    from lakh.server.transport import Server

# What a connection may send ahead while a request is being answered, before its socket is no longer read.
MAX_WAITING_BYTES = 64 * 1024
# Unsent bytes at which a stream is `paused`, and at which it goes on.
HIGH_WATER_BYTES = 64 * 1024
LOW_WATER_BYTES = 32 * 1024
# Given to the transport at a time. A connection that has sent that much once keeps a third more for TLS.
SLICE_BYTES = 64 * 1024
# How long an idle connection may take to say goodbye when the server stops.
IDLE_CLOSE_SECONDS = 0.2

# Read at once from the far end of a tunnel, and unsent towards it when the client is no longer read.
TUNNEL_BYTES = 64 * 1024

_HEAD, _LENGTH, _CHUNKED, _LINGER, _CLOSING, _CLOSED, _TUNNEL = range(7)


class Connection(Answering, Peer, asyncio.Protocol):
    """One client connection: reads requests one after the other, and answers them in order."""

    __slots__ = (
        "_advancing",
        "_awaited",
        "_body",
        "_body_bytes",
        "_buffer",
        "_busy",
        "_chunks",
        "_keep_alive",
        "_method",
        "_modern",
        "_outbox",
        "_outbox_bytes",
        "_position",
        "_reading_paused",
        "_scanned",
        "_server",
        "_since",
        "_slot",
        "_stalled_bytes",
        "_state",
        "_stream",
        "_task",
        "_tunnel",
        "_writable",
        "transport",
        "user_cache",
        "write_paused",
    )

    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self._server = server
        self._state = _HEAD
        self._buffer = b""
        self._position = 0  # of the first byte in the buffer that is not consumed
        self._scanned = 0  # from here on the end of the head is looked for
        self._busy = False  # a request is being answered
        self._advancing = False  # `_advance` is on the stack
        self._since = server.now  # when the present phase began
        self._slot = 0
        self._stalled_bytes = -1
        self._reading_paused = False
        self._method = ""
        self._modern = True
        self._outbox: deque[memoryview] | None = None
        """Written, and not yet given to the transport; then the client is behind (`write_paused`)."""
        self._outbox_bytes = 0
        self._keep_alive = True
        self._awaited: tuple[http1.Head, str, str] | None = None
        """Head, path and query of the request whose body is being read."""
        self._body: bytearray | None = None
        self._body_bytes = 0
        self._chunks: http1.ChunkedBody | None = None
        self._task: asyncio.Task[None] | None = None
        self._stream: Stream | None = None
        self._tunnel: asyncio.StreamWriter | None = None
        self._writable: asyncio.Event | None = None
        self.write_paused = False
        self.user_cache: Any = None

    def __repr__(self) -> str:
        state = ("head", "length", "chunked", "linger", "closing", "closed", "tunnel")[self._state]
        return f"<Connection {state}{' busy' if self._busy else ''}>"

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there (and its TLS handshake is done)."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(HIGH_WATER_BYTES, LOW_WATER_BYTES)
        if not self._server.admit(self):
            self._state = _CLOSED
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._gone()
        self._server.forget(self)

    def eof_received(self) -> bool:
        """The client will send no more. As for Go's server, that means that it went away."""
        self._gone()
        return False

    def pause_writing(self) -> None:
        """The client is behind."""
        self.write_paused = True
        if self._writable is not None:
            self._writable.clear()
        self._stalled_bytes = -1
        self._since = self._server.now

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.write_paused = False
        self._since = self._server.now
        self._send()
        if self.write_paused:
            return
        if self._stream is not None:
            self._stream._resume()
        if self._writable is not None:
            self._writable.set()
        if self._state == _CLOSING:
            self.transport.close()
        elif not self._busy:
            self._advance()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client: consumed at once unless a request is being answered."""
        if self._tunnel is not None:
            self._to_tunnel(data)
            return
        if self._buffer:
            self._buffer = self._buffer[self._position :] + data
            self._scanned -= self._position
            self._position = 0
        else:
            self._buffer = data
            if self._state == _HEAD and not self._busy:
                self._since = self._server.now
        if self._busy or self.write_paused:
            if len(self._buffer) > MAX_WAITING_BYTES and not self._reading_paused:
                self._reading_paused = True
                self.transport.pause_reading()
        else:
            self._advance()

    # Writing

    def write(self, data: bytes) -> None:
        """Send bytes after all that was written before."""
        if self.write_paused or len(data) > SLICE_BYTES:
            self._queue(data)
        else:
            self.transport.write(data)

    def _queue(self, data: bytes) -> None:
        if self._state == _CLOSED:
            return
        if self._outbox is None:
            self._outbox = deque()
        self._outbox.append(memoryview(data))
        self._outbox_bytes += len(data)
        self._send()

    def _send(self) -> None:
        """Give the transport what it takes of the outbox."""
        outbox = self._outbox
        if outbox is None:
            return
        while outbox and not self.write_paused:
            data = outbox[0]
            if len(data) > SLICE_BYTES:
                outbox[0] = data[SLICE_BYTES:]
                data = data[:SLICE_BYTES]
            else:
                outbox.popleft()
            self._outbox_bytes -= len(data)
            self.transport.write(data)
        if not outbox:
            self._outbox = None

    @property
    def unsent_bytes(self) -> int:
        """What was written and has not left (under TLS without the kernel-side 64 KiB or so of the socket's own buffer)."""
        return self.transport.get_write_buffer_size() + self._outbox_bytes

    # Reading

    def _advance(self) -> None:
        """Read and answer as many requests as are there, until one has to wait."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._buffer and not self._busy and not self.write_paused:
                state = self._state
                if state == _HEAD:
                    request = self._read_head()
                elif state in (_LENGTH, _CHUNKED):
                    request = self._read_body()
                else:  # lingering or closing: nothing is listened to any more
                    self._consume(len(self._buffer))
                    break
                if request is None:
                    if self._state == state:
                        break  # more bytes are needed
                else:
                    self._answer(request)
        except http1.HttpError as error:
            self._refuse(error)
        finally:
            self._advancing = False
        if self._reading_paused and not self._busy and not self.write_paused:
            self._reading_paused = False
            self.transport.resume_reading()

    def _read_head(self) -> Request | None:
        buffer = self._buffer
        start = self._position
        end = buffer.find(b"\r\n\r\n", self._scanned if self._scanned > start else start)
        if end < 0 or end - start > http1.LARGE_HEAD_BYTES:
            if end < 0 or end - start > http1.MAX_HEAD_BYTES:
                self._incomplete_head()
                return None
            self._server.large_heads.done(self)
        line_end = buffer.find(b"\r\n", start)
        if line_end == start:  # an empty line before the request line is skipped (RFC 9112, 2.2)
            self._position = start + 2
            return self._read_head_again()
        method, path, query, modern = http1.parse_request_line(buffer[start:line_end])
        head = self._server.heads.head(buffer[line_end + 2 : end + 4])
        self._method = method
        self._modern = modern
        position = end + 4
        stop = position + head.content_length
        if modern and head.plain and stop <= len(buffer) and stop - position <= self._server.max_body_bytes:
            # Nearly every request: the body, if there is one, came with its head.
            self._consume(stop)
            self._keep_alive = True
            return Request(method, path, query, head.headers, buffer[position:stop], self)
        self._consume(position)
        return self._begin_body(head, path, query)

    def _read_head_again(self) -> Request | None:
        # At most one empty line is skipped per head, so that a client cannot send nothing but those.
        if self._buffer.startswith(b"\r\n", self._position):
            raise http1.malformed("malformed request line")
        return self._read_head()

    def _incomplete_head(self) -> None:
        """Refuse what cannot become a head, and remember how far it was looked at."""
        buffer = self._buffer
        waiting = len(buffer) - self._position
        if waiting > http1.MAX_HEAD_BYTES:
            raise http1.HttpError(
                431, "RequestHeaderFieldsTooLarge", "the request line and headers are too large"
            )
        # A TLS hello or another protocol is refused at its first line, not after a timeout.
        if buffer[self._position] not in b"ABCDEFGHIJKLMNOPQRSTUVWXYZ\r":
            raise http1.malformed("malformed request line")
        if waiting > http1.LARGE_HEAD_BYTES:
            self._server.large_heads.more(self)
        self._scanned = max(self._position, len(buffer) - 3)

    def _begin_body(self, head: http1.Head, path: str, query: str) -> Request | None:
        """A head that is not the plain case: a body, HTTP/1.0, `Connection: close`."""
        if self._modern:
            if not head.has_host:
                raise http1.malformed("missing required Host header")
            self._keep_alive = not head.close
        else:
            if head.chunked:
                raise http1.malformed("HTTP/1.0 has no chunked bodies")
            self._keep_alive = head.keep_alive and not head.close
        limit = self._server.max_body_bytes
        if head.chunked:
            self._state = _CHUNKED
            self._chunks = http1.ChunkedBody(limit)
        elif head.content_length:
            length = head.content_length
            if length > limit:
                raise http1.too_large(limit)
            position = self._position
            if len(self._buffer) - position >= length:
                body = self._buffer[position : position + length]
                self._consume(position + length)
                return self._request(head, path, query, body)
            self._state = _LENGTH
            self._body = bytearray()
            self._body_bytes = length
        else:
            return self._request(head, path, query, b"")
        self._awaited = head, path, query
        self._since = self._server.now
        if head.expects_continue and self._modern and not self._buffer:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return None

    def _read_body(self) -> Request | None:
        if self._chunks is not None:
            self._consume(self._chunks.feed(self._buffer, self._position))
            if not self._chunks.done:
                return None
            body = bytes(self._chunks.body)
            self._chunks = None
        else:
            assert self._body is not None
            end = min(self._position + self._body_bytes - len(self._body), len(self._buffer))
            self._body += memoryview(self._buffer)[self._position : end]
            self._consume(end)
            if len(self._body) < self._body_bytes:
                return None
            body = bytes(self._body)
            self._body = None
        self._state = _HEAD
        assert self._awaited is not None
        head, path, query = self._awaited
        self._awaited = None
        return self._request(head, path, query, body)

    def _consume(self, position: int) -> None:
        if position == len(self._buffer):
            self._buffer = b""
            position = 0
        self._position = self._scanned = position

    def _request(self, head: http1.Head, path: str, query: str, body: bytes) -> Request:
        if head.content_encoding and body:
            body = http1.decompress(body, head.content_encoding, self._server.max_body_bytes)
        return Request(self._method, path, query, head.headers, body, self)

    # Answering

    @property
    def _over(self) -> bool:
        return self._state == _CLOSED

    def _answered(self) -> None:
        if self._buffer or self._reading_paused:
            self._advance()

    def _write_response(self, response: Response) -> None:
        body = response.body
        head = http1.head_prefix(response.status, response.content_type)
        if response.headers:
            head += http1.encode_headers(response.headers)
        persistent = self._keep_alive and not self._server.draining
        if not persistent:
            head += b"Connection: close\r\n"
        elif not self._modern:
            head += b"Connection: keep-alive\r\n"
        size = len(body) if type(body) is bytes else response.size
        if response.status == 204 or response.status == 304:
            self.write(head + b"\r\n")
        elif self._method == "HEAD":
            self.write(b"%bContent-Length: %d\r\n\r\n" % (head, size))
        elif size <= JOIN_BYTES:
            joined = body if isinstance(body, bytes) else b"".join(body)
            self.write(b"%bContent-Length: %d\r\n\r\n%b" % (head, size, joined))
        else:
            self.write(b"%bContent-Length: %d\r\n\r\n" % (head, size))
            for piece in [body] if isinstance(body, bytes) else body:
                self.write(piece)
        if persistent:
            self._since = self._server.now
        else:
            self._close()

    def _open_stream(self, request: Request, response: StreamResponse) -> Stream | None:
        head = http1.head_prefix(response.status, response.content_type)
        if response.headers:
            head += http1.encode_headers(response.headers)
        if not self._modern:
            self._keep_alive = False  # without chunks, only the end of the connection ends the body
        if self._server.draining:
            self._keep_alive = False
        if not self._keep_alive:
            head += b"Connection: close\r\n"
        if self._modern:
            head += b"Transfer-Encoding: chunked\r\n"
        self.write(head + b"\r\n")
        if request.method == "HEAD":
            if not self._keep_alive:
                self._close()
            return None
        return Stream(self, self._modern)

    def stream_finished(self) -> None:
        """The stream wrote its last chunk: go on with the next request."""
        self._stream = None
        self._task = None
        self._busy = False
        self._since = self._server.now
        if self._keep_alive and not self._server.draining:
            self._advance()
        else:
            self._close()

    # Tunnels

    def _start_tunnel(self, request: Request, tunnel: Tunnel) -> None:
        """From here on the connection is a pipe; there will be no other request."""
        self._busy = True
        self._state = _TUNNEL
        self._tunnel = tunnel.writer
        self._writable = asyncio.Event()
        if not self.write_paused:
            self._writable.set()
        self.write(tunnel.head)
        early, self._buffer = self._buffer[self._position :], b""
        self._position = self._scanned = 0
        if early:
            self._to_tunnel(early)
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()
        self._task = self._server.spawn(self._from_tunnel(tunnel.reader))

    def _to_tunnel(self, data: bytes) -> None:
        writer = self._tunnel
        assert writer is not None
        writer.write(data)
        if writer.transport.get_write_buffer_size() > TUNNEL_BYTES and not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()
            self._server.spawn(self._drain_tunnel(writer))

    async def _drain_tunnel(self, writer: asyncio.StreamWriter) -> None:
        try:
            await writer.drain()
        except OSError:
            self.abort()
            return
        self._reading_paused = False
        if self._tunnel is not None:
            self.transport.resume_reading()

    async def _from_tunnel(self, reader: asyncio.StreamReader) -> None:
        """The task of a tunnel: copies what comes from the far end."""
        assert self._writable is not None
        try:
            while data := await reader.read(TUNNEL_BYTES):
                self.write(data)
                if self.write_paused:
                    await self._writable.wait()
        except OSError:
            pass
        finally:
            self._task = None
            self._end_tunnel()
            if self._state == _TUNNEL:
                self._close()

    def _end_tunnel(self) -> None:
        writer, self._tunnel = self._tunnel, None
        if writer is not None:
            writer.close()

    def _refuse(self, error: http1.HttpError) -> None:
        """Answer a client that broke the protocol, and end the connection without losing the answer."""
        self._keep_alive = False
        self._consume(len(self._buffer))
        self._server.large_heads.done(self)
        body = StatusError(error.code, error.reason, error.message).encode()
        head = http1.head_prefix(error.code, b"application/json")
        self.write(b"%bConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
        self._state = _LINGER
        self._since = self._server.now

    # Ending

    def abort(self) -> None:
        """Drop the connection now."""
        self._gone()
        self.transport.abort()

    def _close(self) -> None:
        """Close once everything that was written is sent."""
        self._state = _CLOSING
        self._since = self._server.now
        self._stalled_bytes = -1
        if not self.write_paused:
            self.transport.close()

    def _gone(self) -> None:
        """The client went away (or is sent away): stop what is done for it alone."""
        if self._state == _CLOSED:
            return
        self._state = _CLOSED
        self._buffer = b""
        self._outbox = None
        self._outbox_bytes = 0
        self._body = self._chunks = None
        tunnelled = self._tunnel is not None
        self._end_tunnel()
        self._cancel(harmless=tunnelled or self._method in ("GET", "HEAD"))

    def end_gracefully(self) -> None:
        """The server stops: close if idle, end an event-driven stream or a tunnel; everything else finishes first."""
        if self._tunnel is not None:
            self.abort()
            return
        if self._stream is not None:
            if self._task is None:
                self._stream.finish()
        elif not self._busy and self._state == _HEAD and not self._buffer:
            self._close()
            # It is owed nothing, and a client that does not look at its idle connection never answers the end of TLS.
            asyncio.get_running_loop().call_later(IDLE_CLOSE_SECONDS, self.abort)

    def check(self, now: float) -> None:
        """The sweep's look at this connection: is it overdue?"""
        state = self._state
        elapsed = now - self._since
        timeouts = self._server.timeouts
        if self.write_paused or state in (_CLOSING, _CLOSED):
            unsent = self.unsent_bytes
            if unsent != self._stalled_bytes:
                self._stalled_bytes = unsent
                self._since = now
            elif elapsed > timeouts.stall_seconds:
                self.abort()
        elif self._busy:
            return
        elif state == _HEAD:
            if elapsed > (timeouts.head_seconds if self._buffer else timeouts.idle_seconds):
                self._close()
        elif state == _LINGER:
            if elapsed > timeouts.linger_seconds:
                self._close()
        elif elapsed > timeouts.body_seconds:
            self._refuse(http1.HttpError(408, "Timeout", "the request body did not arrive in time"))
