"""One side of an HTTP/2 connection without I/O (RFC 9113): frames, flow control, header blocks. A server's and a client's connection are made of it.

    bytes that were read ──`receive`──▶ `on_headers`, `on_data`, `on_reset`, `on_goaway`
    `send_headers`, `send_data` ──▶ `output`: what is to be written now
                         └────────▶ the stream's queue ──`pump`──▶ `output`

* What is sent in one turn of the loop leaves in one write: a frame wakes the owner once (`wake`), who takes all of `output` later in that turn. Over TLS that is
  one record for the answers of a whole batch of writes, where HTTP/1.1 has one, and a system call, for each.
* Data waits with its stream while the peer's windows are used up, or while `SLICE_BYTES` are on their way out; streams that wait take turns.
* What the peer may send is bounded: by the windows, which are this side's to give back, by the size of a frame and of a header block.
* A peer that breaks the protocol is an `Http2Error`, and the end of the connection; what concerns one stream resets that stream.

Costs: 2.5 µs to read a request of two frames, of which its header block is 1.5; 0.7 to write an answer of two.
"""

from __future__ import annotations

import struct
from collections import deque
from enum import IntEnum
from typing import cast

from jh2._hazmat import Decoder, HPACKError, OversizedHeaderListError

from lakh.machinery.hpack import TABLE_BYTES, HeaderEncoder

__all__ = [
    "PREFACE",
    "Endpoint",
    "Error",
    "Http2Error",
    "Stream",
]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first (RFC 9113, 3.4)."""
DEFAULT_WINDOW_BYTES = 65_535
MAX_WINDOW_BYTES = (1 << 31) - 1
MIN_FRAME_BYTES = 16_384
MAX_FRAME_BYTES = (1 << 24) - 1
HEAD_BYTES = 9
"""Before the payload of each frame."""
SLICE_BYTES = 64 * 1024
"""Data that is written at a time: TLS keeps a buffer of the largest piece that it ever had."""
MAX_CONTROL_BYTES = 1 << 20
"""Frames that answer the peer's, and do not leave because it does not read: then it is a flood."""
MAX_SETTINGS = 100
"""In a frame. There are six."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITISED = 0x20

(
    HEADER_TABLE_SIZE,
    ENABLE_PUSH,
    MAX_CONCURRENT_STREAMS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
) = range(1, 7)

_head = struct.Struct(">HBBBL")  # the length's 16 high bits and 8 low ones, type, flags, stream
_number = struct.Struct(">L")
_setting = struct.Struct(">HL")

Fields = list[tuple[bytes, bytes, bool]]
"""A header list: name, value, and whether it may not be put into a table."""


class Error(IntEnum):
    """Why a stream or a connection ends (RFC 9113, 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Http2Error(Exception):
    """The peer broke the protocol; the connection has to end with a GOAWAY of this code."""

    def __init__(self, code: Error, message: str) -> None:
        super().__init__(message)
        self.code = code


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A frame in bytes."""
    size = len(payload)
    return _head.pack(size >> 8, size & 255, kind, flags, stream_id) + payload


class Stream:
    """What one stream has to send and may send, and what it may still be sent. Subclasses add what it is for."""

    __slots__ = (
        "_ending",
        "_queue",
        "_ready",
        "_receivable",
        "_taken",
        "heard",
        "id",
        "queued_bytes",
        "window",
    )

    def __init__(self, endpoint: Endpoint, stream_id: int) -> None:
        self.id = stream_id
        self.window = endpoint.peer_window_bytes
        """Bytes that the peer takes on this stream."""
        self.queued_bytes = 0
        """Given to `send_data` and not in any `output` yet."""
        self._queue: deque[memoryview] | None = None
        self._ending = False  # with the last piece of the queue
        self._ready = False  # it stands in the endpoint's row
        # A peer that has not read the settings yet goes by the window that was before them.
        self._receivable = max(endpoint.window_bytes, DEFAULT_WINDOW_BYTES)
        self._taken = 0
        self.heard = False
        """The peer has said all, or nobody listens."""

    @property
    def drained(self) -> bool:
        """Everything given to `send_data` is in an output."""
        return self._queue is None


class Endpoint:
    """One side of one connection. The owner overrides the `on_…` methods and `wake`.

    `streams` are those that are open in either direction as far as the owner is concerned: it puts in what it accepts or opens, and `close_stream`
    takes it out. Frames of streams that are not in it are passed over.
    """

    __slots__ = (
        "_block",
        "_block_ends",
        "_block_stream",
        "_client",
        "_connection_receivable",
        "_connection_taken",
        "_connection_window_bytes",
        "_decoder",
        "_max_block_bytes",
        "_max_frame_bytes",
        "_max_frame_in_bytes",
        "_missing_bytes",
        "_out",
        "_owed_bytes",
        "_partial",
        "_preface_awaited",
        "_row",
        "_settings_awaited",
        "encoder",
        "last_peer_stream",
        "next_stream",
        "output_bytes",
        "peer_max_streams",
        "peer_window_bytes",
        "streams",
        "window",
        "window_bytes",
    )

    def __init__(
        self,
        *,
        client: bool,
        max_streams: int,
        window_bytes: int,
        connection_window_bytes: int,
        max_frame_bytes: int,
        max_block_bytes: int,
    ) -> None:
        """`max_streams` the peer may have open at once (0 for a client: nothing is pushed), `window_bytes` it may send ahead on each, `connection_window_bytes` on all."""
        self._client = client
        self._partial: list[bytes] = []  # a frame that has come in part
        self._missing_bytes = 0  # of it, at least
        self._out: list[bytes | memoryview] = []
        self.output_bytes = 0
        self._owed_bytes = 0  # of them, answers to frames of the peer
        self._preface_awaited = not client
        self._settings_awaited = True
        self.streams: dict[int, Stream] = {}
        self._row: deque[Stream] = deque()  # streams with data that may leave
        self.encoder = HeaderEncoder()
        self._decoder = Decoder(max_block_bytes)
        self._max_block_bytes = max_block_bytes
        self._block: bytearray | None = None
        self._block_stream = 0
        self._block_ends = False
        self.last_peer_stream = 0
        """The highest stream that the peer has opened."""
        self.next_stream = 1 if client else 2
        self.window = DEFAULT_WINDOW_BYTES
        """Bytes that the peer takes on the whole connection."""
        self.peer_window_bytes = DEFAULT_WINDOW_BYTES
        self.peer_max_streams = MAX_WINDOW_BYTES
        self._max_frame_bytes = MIN_FRAME_BYTES
        self._max_frame_in_bytes = max_frame_bytes
        self.window_bytes = window_bytes
        # It cannot be made smaller than it is before anything was said.
        connection_window_bytes = max(connection_window_bytes, DEFAULT_WINDOW_BYTES)
        self._connection_window_bytes = connection_window_bytes
        self._connection_receivable = connection_window_bytes
        self._connection_taken = 0
        settings = {
            INITIAL_WINDOW_SIZE: window_bytes,
            MAX_FRAME_SIZE: max_frame_bytes,
            MAX_HEADER_LIST_SIZE: max_block_bytes,
        }
        settings[ENABLE_PUSH if client else MAX_CONCURRENT_STREAMS] = max_streams
        opening = frame(SETTINGS, 0, 0, b"".join(_setting.pack(*pair) for pair in sorted(settings.items())))
        more = connection_window_bytes - DEFAULT_WINDOW_BYTES
        opening = (PREFACE if client else b"") + opening
        if more:
            opening += frame(WINDOW_UPDATE, 0, 0, _number.pack(more))
        self._out.append(opening)  # the owner sends it when there is somewhere to send to
        self.output_bytes = len(opening)

    # What the owner does

    def wake(self) -> None:
        """There is `output`, or there would be after `pump`; called when there was none."""
        raise NotImplementedError

    def on_headers(self, stream_id: int, fields: Fields, ended: bool) -> None:
        """A header list: of a request, an answer, or what comes behind a body (trailers)."""
        raise NotImplementedError

    def on_data(self, stream: Stream, data: bytes, ended: bool) -> None:
        """Bytes of a body, or its end. Their room is the peer's again once they are given back by `consumed`."""
        raise NotImplementedError

    def on_reset(self, stream: Stream, code: int) -> None:
        """The peer gave up a stream; it is in `streams` no more."""
        raise NotImplementedError

    def on_goaway(self, last_stream: int, code: int, text: bytes) -> None:
        """The peer takes no more streams, and has seen none above `last_stream`."""
        raise NotImplementedError

    def on_drained(self, stream: Stream) -> None:
        """A stream's queue has become shorter."""

    def on_settings(self) -> None:
        """The peer's settings have come, or changed."""

    # Writing

    def _emit(self, data: bytes) -> None:
        out = self._out
        out.append(data)
        self.output_bytes += len(data)
        if len(out) == 1:
            self.wake()

    def output(self) -> bytes:
        """What is to be written now; from here on the owner's."""
        out = self._out
        if not out:
            return b""
        data = b"".join(out)
        out.clear()
        self.output_bytes = self._owed_bytes = 0
        return data

    def send_headers(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        """A header list that `encoder` has encoded. No other one may be encoded before it is sent, nor one behind a body that is not `drained`."""
        resized = self.encoder.resized()
        if resized:
            block = resized + block
        limit = self._max_frame_bytes
        flags = END_STREAM if ended else 0
        size = len(block)
        if size <= limit:
            self._emit(_head.pack(size >> 8, size & 255, HEADERS, flags | END_HEADERS, stream_id) + block)
            return
        frames = [frame(HEADERS, flags, stream_id, block[:limit])]
        for at in range(limit, size, limit):
            last = END_HEADERS if at + limit >= size else 0
            frames.append(frame(CONTINUATION, last, stream_id, block[at : at + limit]))
        self._emit(b"".join(frames))  # nothing may come between them

    def send_data(self, stream: Stream, data: bytes, *, ended: bool) -> None:
        """A piece of a body. It leaves with the next output or, where windows or its size do not allow that, waits in the stream's queue."""
        size = len(data)
        if (
            stream._queue is None
            and size <= stream.window
            and size <= self.window
            and size <= self._max_frame_bytes
            and self.output_bytes < SLICE_BYTES
            and not (self._row and size)  # others have waited longer
        ):
            if not size and not ended:
                return
            stream.window -= size
            self.window -= size
            head = _head.pack(size >> 8, size & 255, DATA, END_STREAM if ended else 0, stream.id)
            out = self._out
            out.append(head)
            out.append(data)
            self.output_bytes += HEAD_BYTES + size
            if len(out) == 2:
                self.wake()
            return
        if stream._queue is None:
            stream._queue = deque()
        if size or ended:
            stream._queue.append(memoryview(data))
        stream.queued_bytes += size
        stream._ending = ended
        self._stand(stream)
        self._wake_to_pump()

    def _stand(self, stream: Stream) -> None:
        """Puts a stream into the row, if it has something that it may send."""
        queue = stream._queue
        if queue and not stream._ready and (stream.window > 0 or not (stream.window or queue[0])):
            stream._ready = True
            self._row.append(stream)

    def _wake_to_pump(self) -> None:
        row = self._row
        if row and not self._out and (self.window > 0 or not cast("deque[memoryview]", row[0]._queue)[0]):
            self.wake()

    def pump(self) -> bool:
        """Moves what may leave from the streams' queues to the output, a slice at most. Whether there was anything."""
        row, out = self._row, self._out
        moved = False
        while row and self.output_bytes < SLICE_BYTES:
            stream = row.popleft()
            queue = cast("deque[memoryview]", stream._queue)
            piece = queue[0]
            size = len(piece)
            # Smaller settings may have made a window negative (RFC 9113, 6.9.2): then even no data waits, for some peers count it.
            allowed = min(stream.window, self.window, self._max_frame_bytes)
            if size <= allowed:
                queue.popleft()
            elif allowed > 0:
                queue[0] = piece[allowed:]
                piece, size = piece[:allowed], allowed
            elif stream.window <= 0:
                stream._ready = False  # until there is a window
                continue
            else:
                row.appendleft(stream)
                break
            ended = stream._ending and not queue
            stream.window -= size
            self.window -= size
            stream.queued_bytes -= size
            out.append(_head.pack(size >> 8, size & 255, DATA, END_STREAM if ended else 0, stream.id))
            out.append(piece)
            self.output_bytes += HEAD_BYTES + size
            moved = True
            if queue:
                row.append(stream)
            else:
                stream._ready = False
                stream._queue = None
            self.on_drained(stream)
        return moved

    def close_stream(self, stream: Stream) -> None:
        """Forgets a stream, and what it still had to send."""
        self.streams.pop(stream.id, None)
        if stream._ready:
            stream._ready = False
            self._row.remove(stream)
        stream._queue = None
        stream.queued_bytes = 0
        stream.heard = True

    def reset(self, stream_id: int, code: Error) -> None:
        """Gives up a stream that was closed, or never taken."""
        self._emit(frame(RST_STREAM, 0, stream_id, _number.pack(code)))

    def goaway(self, code: Error, text: str = "") -> None:
        """Says that no more streams are taken."""
        self._emit(
            frame(GOAWAY, 0, 0, _number.pack(self.last_peer_stream) + _number.pack(code) + text.encode())
        )

    def ping(self, payload: bytes) -> None:
        """Asks for a sign of life; 8 bytes."""
        self._emit(frame(PING, 0, 0, payload))

    def consumed(self, stream: Stream, size: int) -> None:
        """Bytes of `on_data` were taken: once they are half a window, the peer may send as many again."""
        stream._taken += size
        if stream._taken * 2 >= self.window_bytes and not stream.heard:
            self._emit(frame(WINDOW_UPDATE, 0, stream.id, _number.pack(stream._taken)))
            stream._receivable += stream._taken
            stream._taken = 0

    # Reading

    def receive(self, data: bytes) -> None:
        """Bytes from the peer. Raises `Http2Error`."""
        partial = self._partial
        if partial:
            partial.append(data)
            self._missing_bytes -= len(data)
            if self._missing_bytes > 0:
                return
            data = b"".join(partial)
            partial.clear()
        size = len(data)
        at = 0
        if self._preface_awaited:
            if not data.startswith(PREFACE):
                if not PREFACE.startswith(data):
                    raise Http2Error(Error.PROTOCOL_ERROR, "this is not the preface of HTTP/2")
                partial.append(data)
                self._missing_bytes = 1
                return
            self._preface_awaited = False
            at = len(PREFACE)
        unpack = _head.unpack_from
        while True:
            begin = end = at + HEAD_BYTES
            if begin > size:
                break
            high, low, kind, flags, stream_id = unpack(data, at)
            length = high << 8 | low
            if length > self._max_frame_in_bytes:
                raise Http2Error(Error.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            end += length
            if end > size:
                break
            at = end
            self._frame(kind, flags, stream_id & MAX_WINDOW_BYTES, data[begin:end])
        if at < size:
            partial.append(data[at:])
            self._missing_bytes = end - size

    @property
    def partial_bytes(self) -> int:
        """Of a frame or a header block that has come in part."""
        return sum(map(len, self._partial)) + (len(self._block) if self._block is not None else 0)

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._settings_awaited:
            if kind != SETTINGS or flags & ACK:
                raise Http2Error(Error.PROTOCOL_ERROR, "the first frame is not the settings")
            self._settings_awaited = False
        if self._block is not None and (kind != CONTINUATION or stream_id != self._block_stream):
            raise Http2Error(Error.PROTOCOL_ERROR, "a header block is interrupted")
        if kind == DATA:
            self._data(flags, stream_id, payload)
        elif kind == HEADERS:
            self._headers(flags, stream_id, payload)
        elif kind == WINDOW_UPDATE:
            self._window_update(stream_id, payload)
        elif kind == CONTINUATION:
            self._continuation(flags, stream_id, payload)
        elif kind == RST_STREAM:
            self._rst_stream(stream_id, payload)
        elif kind == SETTINGS:
            self._settings(flags, stream_id, payload)
        elif kind == PING:
            if stream_id:
                raise Http2Error(Error.PROTOCOL_ERROR, "a PING of a stream")
            if len(payload) != 8:
                raise Http2Error(Error.FRAME_SIZE_ERROR, "a PING that is not of 8 bytes")
            if not flags & ACK:
                self._reply(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            if stream_id:
                raise Http2Error(Error.PROTOCOL_ERROR, "a GOAWAY of a stream")
            if len(payload) < 8:
                raise Http2Error(Error.FRAME_SIZE_ERROR, "a GOAWAY that is too short")
            last, code = struct.unpack_from(">LL", payload)
            self.on_goaway(last & MAX_WINDOW_BYTES, code, payload[8:])
        elif kind == PUSH_PROMISE:
            raise Http2Error(Error.PROTOCOL_ERROR, "a PUSH_PROMISE that nobody allowed")
        elif kind == PRIORITY:
            if not stream_id:
                raise Http2Error(Error.PROTOCOL_ERROR, "a PRIORITY of no stream")
            if len(payload) != 5:
                raise Http2Error(Error.FRAME_SIZE_ERROR, "a PRIORITY that is not of 5 bytes")
        # Frames of other kinds are passed over (RFC 9113, 4.1).

    def _reply(self, data: bytes) -> None:
        self._owed_bytes += len(data)
        if self._owed_bytes > MAX_CONTROL_BYTES:
            raise Http2Error(Error.ENHANCE_YOUR_CALM, "too many frames that want an answer")
        self._emit(data)

    def _idle(self, stream_id: int) -> bool:
        """Whether nobody has opened this stream yet."""
        if (stream_id & 1 == 1) == self._client:
            return stream_id >= self.next_stream
        return stream_id > self.last_peer_stream

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._connection_receivable -= size
        if self._connection_receivable < 0:
            raise Http2Error(Error.FLOW_CONTROL_ERROR, "more data than the connection's window")
        # The connection's window is given back at once: each stream has its own bound.
        self._connection_taken += size
        if self._connection_taken * 2 >= self._connection_window_bytes:
            self._emit(frame(WINDOW_UPDATE, 0, 0, _number.pack(self._connection_taken)))
            self._connection_receivable += self._connection_taken
            self._connection_taken = 0
        stream = self.streams.get(stream_id)
        if stream is None:
            if not stream_id or self._idle(stream_id):
                raise Http2Error(Error.PROTOCOL_ERROR, f"data of stream {stream_id}, which is not open")
            return  # it was given up a moment ago
        if stream.heard:
            self._break(stream, Error.STREAM_CLOSED)
            return
        stream._receivable -= size
        if stream._receivable < 0:
            raise Http2Error(Error.FLOW_CONTROL_ERROR, f"more data than the window of stream {stream_id}")
        ended = stream.heard = flags & END_STREAM != 0
        data = payload
        if flags & PADDED:
            data = _unpadded(payload)
            self.consumed(stream, size - len(data))
        if data or ended:  # who says nothing, again and again, is not listened to
            self.on_data(stream, data, ended)

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise Http2Error(Error.PROTOCOL_ERROR, "headers of no stream")
        if flags & (PADDED | PRIORITISED):
            if flags & PADDED:
                payload = _unpadded(payload)
            if flags & PRIORITISED:
                if len(payload) < 5:
                    raise Http2Error(Error.FRAME_SIZE_ERROR, "headers that are too short for their priority")
                payload = payload[5:]
        ended = bool(flags & END_STREAM)
        if flags & END_HEADERS:
            self._decoded(stream_id, payload, ended)
        else:
            self._block = bytearray(payload)
            self._block_stream, self._block_ends = stream_id, ended

    def _continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        block = self._block
        if block is None:
            raise Http2Error(Error.PROTOCOL_ERROR, "a CONTINUATION of nothing")
        if not payload and not flags & END_HEADERS:
            raise Http2Error(Error.ENHANCE_YOUR_CALM, "an empty CONTINUATION")
        block += payload
        if len(block) > self._max_block_bytes:
            raise Http2Error(Error.ENHANCE_YOUR_CALM, "a header block that is too large")
        if flags & END_HEADERS:
            self._block = None
            self._decoded(stream_id, bytes(block), self._block_ends)

    def _decoded(self, stream_id: int, block: bytes, ended: bool) -> None:
        try:
            fields = self._decoder.decode(block, True)
        except OversizedHeaderListError as error:
            raise Http2Error(Error.ENHANCE_YOUR_CALM, "a header list that is too large") from error
        except HPACKError as error:
            raise Http2Error(Error.COMPRESSION_ERROR, f"a malformed header block: {error}") from error
        except BaseException as error:
            # The decoder panics where a block ends before a length, and Rust's panics are no `Exception`.
            if type(error).__name__ != "PanicException":
                raise
            raise Http2Error(Error.COMPRESSION_ERROR, "a header block that ends too early") from error
        stream = self.streams.get(stream_id)
        if stream is None:
            if (stream_id & 1 == 1) == self._client:
                if stream_id >= self.next_stream:
                    raise Http2Error(
                        Error.PROTOCOL_ERROR, f"headers of stream {stream_id}, which is not open"
                    )
                return  # given up a moment ago
            if not stream_id & 1:
                raise Http2Error(
                    Error.PROTOCOL_ERROR, f"headers of stream {stream_id}, which is not a client's"
                )
            if stream_id <= self.last_peer_stream:
                # Behind the body of a request that was given up; or of another request, which shall not wait for ever.
                self._reply(frame(RST_STREAM, 0, stream_id, _number.pack(Error.STREAM_CLOSED)))
                return
            self.last_peer_stream = stream_id
            if self.output_bytes > MAX_CONTROL_BYTES:
                raise Http2Error(Error.ENHANCE_YOUR_CALM, "too many requests by who reads no answers")
        elif stream.heard:
            self._break(stream, Error.STREAM_CLOSED)
            return
        self.on_headers(stream_id, fields, ended)
        if ended and (stream := self.streams.get(stream_id)) is not None:
            stream.heard = True

    def _window_update(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Http2Error(Error.FRAME_SIZE_ERROR, "a WINDOW_UPDATE that is not of 4 bytes")
        more = _number.unpack(payload)[0] & MAX_WINDOW_BYTES
        if not stream_id:
            if not more:
                raise Http2Error(Error.PROTOCOL_ERROR, "a WINDOW_UPDATE of nothing")
            self.window += more
            if self.window > MAX_WINDOW_BYTES:
                raise Http2Error(Error.FLOW_CONTROL_ERROR, "a window that is too large")
        else:
            stream = self.streams.get(stream_id)
            if stream is None:
                if self._idle(stream_id):
                    raise Http2Error(Error.PROTOCOL_ERROR, "a WINDOW_UPDATE of a stream that is not open")
                return
            stream.window += more
            if not more or stream.window > MAX_WINDOW_BYTES:
                self._break(stream, Error.FLOW_CONTROL_ERROR if more else Error.PROTOCOL_ERROR)
                return
            self._stand(stream)
        self._wake_to_pump()

    def _break(self, stream: Stream, code: Error) -> None:
        """The peer broke the protocol on one stream."""
        self.close_stream(stream)
        self.reset(stream.id, code)
        self.on_reset(stream, code)

    def _rst_stream(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Http2Error(Error.FRAME_SIZE_ERROR, "a RST_STREAM that is not of 4 bytes")
        if not stream_id or self._idle(stream_id):
            raise Http2Error(Error.PROTOCOL_ERROR, "a RST_STREAM of a stream that is not open")
        stream = self.streams.get(stream_id)
        if stream is not None:
            self.close_stream(stream)
            self.on_reset(stream, _number.unpack(payload)[0])

    def _settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise Http2Error(Error.PROTOCOL_ERROR, "settings of a stream")
        if flags & ACK:
            if payload:
                raise Http2Error(Error.FRAME_SIZE_ERROR, "an acknowledgement with settings")
            return
        count, rest = divmod(len(payload), _setting.size)
        if rest:
            raise Http2Error(Error.FRAME_SIZE_ERROR, "settings that are not of 6 bytes each")
        settings = dict(_setting.iter_unpack(payload))
        if count > MAX_SETTINGS or len(settings) < count:  # each window changes those of all streams
            raise Http2Error(Error.ENHANCE_YOUR_CALM, "too many settings, or the same one twice")
        for name, value in settings.items():
            self._setting(name, value)
        self._reply(frame(SETTINGS, ACK, 0))
        self.on_settings()

    def _setting(self, name: int, value: int) -> None:
        if name == INITIAL_WINDOW_SIZE:
            if value > MAX_WINDOW_BYTES:
                raise Http2Error(Error.FLOW_CONTROL_ERROR, "an initial window that is too large")
            more, self.peer_window_bytes = value - self.peer_window_bytes, value
            for stream in self.streams.values():
                stream.window += more
                if stream.window > MAX_WINDOW_BYTES:
                    raise Http2Error(Error.FLOW_CONTROL_ERROR, "a window that is too large")
                self._stand(stream)
        elif name == MAX_FRAME_SIZE:
            if not MIN_FRAME_BYTES <= value <= MAX_FRAME_BYTES:
                raise Http2Error(Error.PROTOCOL_ERROR, f"frames of at most {value} bytes")
            # A larger frame would be sent in one piece, before those of others.
            self._max_frame_bytes = min(value, SLICE_BYTES)
        elif name == HEADER_TABLE_SIZE:
            if value < TABLE_BYTES:
                self.encoder.resize(value)
        elif name == MAX_CONCURRENT_STREAMS:
            self.peer_max_streams = value
        elif name == ENABLE_PUSH and (value > 1 or (self._client and value)):
            raise Http2Error(Error.PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")


def _unpadded(payload: bytes) -> bytes:
    """A payload without its padding (RFC 9113, 6.1)."""
    if not payload or payload[0] >= len(payload):
        raise Http2Error(Error.PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]
