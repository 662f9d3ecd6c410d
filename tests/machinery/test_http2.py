from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from random import Random
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakh.machinery import http2
from lakh.machinery.http2 import PREFACE, Endpoint, Error, Fields, Http2Error, Stream, frame

REQUEST = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/x")]
ANSWER = [(b":status", b"200"), (b"content-type", b"application/json")]
SLICE_LIMIT_BYTES = 2 * http2.SLICE_BYTES + 2 * http2.HEAD_BYTES


class Side(Endpoint):
    """An endpoint whose owner writes down what it is told, and takes what it is woken for."""

    def __init__(self, client: bool = False, **limits: int) -> None:
        self.awake = True  # there is the opening
        self.heads: dict[int, list[list[tuple[bytes, bytes]]]] = defaultdict(list)
        self.bodies: dict[int, bytearray] = defaultdict(bytearray)
        self.unconsumed: dict[int, int] = defaultdict(int)
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.goaways: list[tuple[int, int, bytes]] = []
        self.consumes = True
        self.empty_data = 0
        given = {
            "max_streams": 0 if client else 100,
            "window_bytes": 65_535,
            "connection_window_bytes": 65_535,
            "max_frame_bytes": 16_384,
            "max_block_bytes": 65_536,
        }
        super().__init__(client=client, **{**given, **limits})

    def wake(self) -> None:
        assert self.output_bytes or self._row
        self.awake = True

    def on_headers(self, stream_id: int, fields: Fields, ended: bool) -> None:
        assert stream_id not in self.ended
        if stream_id not in self.streams:
            self.streams[stream_id] = Stream(self, stream_id)
        self.heads[stream_id].append([(name, value) for name, value, _ in fields])
        if ended:
            self.ended.add(stream_id)

    def on_data(self, stream: Stream, data: bytes, ended: bool) -> None:
        assert stream.id not in self.ended
        assert data or ended
        self.bodies[stream.id] += data
        if self.consumes:
            self.consumed(stream, len(data))
        else:
            self.unconsumed[stream.id] += len(data)
        if ended:
            self.ended.add(stream.id)

    def on_reset(self, stream: Stream, code: int) -> None:
        assert stream.id not in self.streams
        assert stream.id not in self.resets
        self.resets[stream.id] = code

    def on_goaway(self, last_stream: int, code: int, text: bytes) -> None:
        self.goaways.append((last_stream, code, text))

    def open(self, fields: list[tuple[bytes, bytes]], *, ended: bool) -> Stream:
        stream = Stream(self, self.next_stream)
        self.streams[stream.id] = stream
        self.next_stream += 2
        self.send_headers(stream.id, self.encoder.encode(fields), ended=ended)
        return stream

    def take(self) -> bytes:
        """All that may leave now. There is something exactly when there was a `wake`."""
        pieces = []
        while True:
            self.pump()
            data = self.output()
            if not data:
                break
            assert len(data) < SLICE_LIMIT_BYTES + 100_000  # and header blocks
            pieces.append(data)
        assert bool(pieces) == self.awake
        self.awake = False
        return b"".join(pieces)


def body(stream_id: int, size: int) -> bytes:
    return Random(stream_id).randbytes(size)


def peer(client: bool) -> h2.connection.H2Connection:
    """The other side, by other people."""
    config = h2.config.H2Configuration(client_side=client, header_encoding=None)
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    return connection


class Link:
    """A `Side` and an `h2` connection, back to back; what lies between them moves in pieces of any size."""

    def __init__(self, lakh_is_client: bool, **limits: int) -> None:
        self.side = Side(lakh_is_client, **limits)
        self.peer = peer(not lakh_is_client)
        self.to_peer = b""
        self.to_side = b""
        self.events: list[h2.events.Event] = []
        self.heads: dict[int, list[Any]] = defaultdict(list)
        self.bodies: dict[int, bytearray] = defaultdict(bytearray)
        self.held: dict[int, int] = defaultdict(int)
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.waiting: dict[int, bytes] = {}

    def gather(self) -> None:
        self.to_side += self.peer.data_to_send()
        self.to_peer += self.side.take()

    def inject(self, raw: bytes) -> None:
        """A frame that `h2` has no call for, between its own."""
        self.gather()
        self.to_side += raw

    def move(self, to_side: int, to_peer: int) -> None:
        self.gather()
        data, self.to_side = self.to_side[:to_side], self.to_side[to_side:]
        if data:
            self.side.receive(data)
        data, self.to_peer = self.to_peer[:to_peer], self.to_peer[to_peer:]
        if data:
            self._seen(self.peer.receive_data(data))
        self.push()

    def settle(self) -> None:
        while True:
            self.gather()
            if not self.to_side and not self.to_peer:
                break
            self.move(1 << 30, 1 << 30)

    def _seen(self, events: list[Any]) -> None:
        self.events += events
        for event in events:
            if isinstance(
                event,
                h2.events.RequestReceived
                | h2.events.ResponseReceived
                | h2.events.InformationalResponseReceived,
            ):
                self.heads[event.stream_id].append([(bytes(n), bytes(v)) for n, v in event.headers])
            elif isinstance(event, h2.events.DataReceived):
                assert event.stream_id not in self.ended
                self.bodies[event.stream_id] += event.data
                self.held[event.stream_id] += event.flow_controlled_length
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                self.resets[event.stream_id] = event.error_code

    def acknowledge(self, stream_id: int, size: int) -> None:
        size = min(size, self.held[stream_id])
        if size:
            self.held[stream_id] -= size
            try:
                self.peer.acknowledge_received_data(size, stream_id)
            except h2.exceptions.StreamClosedError:
                pass

    def send(self, stream_id: int, data: bytes) -> None:
        """Data from the peer, as its windows allow."""
        self.waiting[stream_id] = data
        self.push()

    def push(self, padding: int | None = None) -> None:
        for stream_id, data in list(self.waiting.items()):
            while True:
                try:
                    room = self.peer.local_flow_control_window(stream_id) - (padding + 1 if padding else 0)
                except h2.exceptions.ProtocolError:
                    del self.waiting[stream_id]
                    break
                size = min(room, self.peer.max_outbound_frame_size - 300, len(data))
                if size <= 0 and data:
                    break
                piece, data = data[:size], data[size:]
                self.peer.send_data(stream_id, piece, end_stream=not data, pad_length=padding)
                if not data:
                    del self.waiting[stream_id]
                    break
                self.waiting[stream_id] = data

    def open_by_peer(self, *, ended: bool) -> int:
        stream_id: int = self.peer.get_next_available_stream_id()
        self.peer.send_headers(stream_id, REQUEST, end_stream=ended)
        return stream_id


def linked(lakh_is_client: bool, **limits: int) -> Link:
    link = Link(lakh_is_client, **limits)
    link.settle()
    return link


SIZES = st.one_of(
    st.integers(0, 40), st.integers(0, 300_000), st.sampled_from([16_384, 16_385, 65_535, 65_536])
)
CHUNKS = st.one_of(st.integers(0, 60), st.integers(0, 70_000))
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), SIZES),
        st.tuples(st.just("say"), st.integers(0, 9), SIZES, st.booleans()),
        st.tuples(st.just("peer_says"), st.integers(0, 9), SIZES),
        st.tuples(st.just("move"), CHUNKS, CHUNKS),
        st.tuples(st.just("move"), CHUNKS, CHUNKS),
        st.tuples(st.just("acknowledge"), st.integers(0, 9), CHUNKS),
        st.tuples(st.just("consume"), st.integers(0, 9), CHUNKS),
        st.tuples(st.just("window"), st.integers(0, 100_000)),
        st.tuples(st.just("frame_size"), st.integers(16_384, 200_000)),
        st.tuples(st.just("table"), st.integers(0, 5000)),
        st.tuples(st.just("pad"), st.integers(0, 255)),
        st.tuples(st.just("ping")),
        st.tuples(st.just("unknown"), st.integers(10, 255), st.binary(max_size=20)),
        st.tuples(st.just("priority"), st.integers(1, 30)),
        st.tuples(st.just("reset"), st.integers(0, 9)),
        st.tuples(st.just("peer_resets"), st.integers(0, 9)),
    ),
    max_size=40,
)


class Play:
    """A script of both sides' doings, and what has to have come of it."""

    def __init__(self, lakh_is_client: bool, **limits: int) -> None:
        self.link = Link(lakh_is_client, **limits)
        self.lakh_is_client = lakh_is_client
        self.ids: list[int] = []
        self.said: dict[int, bytearray] = defaultdict(bytearray)
        self.finished: set[int] = set()
        self.peer_said: dict[int, bytes] = {}
        self.given_up: set[int] = set()
        self.settings = 1  # frames of them that the peer has sent

    def act(self, what: str, *args: Any) -> None:
        getattr(self, what)(*args)

    def _pick(self, at: int) -> int | None:
        return self.ids[at % len(self.ids)] if self.ids else None

    def open(self, size: int) -> None:
        link = self.link
        if self.lakh_is_client:
            stream = link.side.open(REQUEST, ended=False)
            self.ids.append(stream.id)
            self._say(stream.id, size, False)
        else:
            stream_id = link.open_by_peer(ended=False)
            self.ids.append(stream_id)
            self.peer_said[stream_id] = body(stream_id, size)
            link.send(stream_id, self.peer_said[stream_id])

    def _say(self, stream_id: int, size: int, ended: bool) -> None:
        side = self.link.side
        stream = side.streams.get(stream_id)
        if stream is None or stream_id in self.finished:
            return
        if not self.lakh_is_client and stream_id not in self.said:
            side.send_headers(stream_id, side.encoder.encode(ANSWER), ended=False)
        data = Random(len(self.said[stream_id])).randbytes(size)
        self.said[stream_id] += data
        side.send_data(stream, data, ended=ended)
        if ended:
            self.finished.add(stream_id)

    def say(self, at: int, size: int, ended: bool) -> None:
        stream_id = self._pick(at)
        if stream_id is not None:
            self._say(stream_id, size, ended)

    def peer_says(self, at: int, size: int) -> None:
        stream_id = self._pick(at)
        if not self.lakh_is_client or stream_id is None or stream_id in self.peer_said:
            return
        if stream_id not in self.link.heads or stream_id in self.given_up:
            return
        try:
            self.link.peer.send_headers(stream_id, ANSWER)
        except h2.exceptions.StreamClosedError:  # a reset has come
            return
        self.peer_said[stream_id] = body(stream_id, size)
        self.link.send(stream_id, self.peer_said[stream_id])

    def move(self, to_side: int, to_peer: int) -> None:
        self.link.move(to_side, to_peer)

    def acknowledge(self, at: int, size: int) -> None:
        if (stream_id := self._pick(at)) is not None:
            self.link.acknowledge(stream_id, size)

    def consume(self, at: int, size: int) -> None:
        side = self.link.side
        stream = side.streams.get(self._pick(at) or 0)
        if stream is not None:
            size = min(size, side.unconsumed[stream.id])
            side.unconsumed[stream.id] -= size
            side.consumed(stream, size)

    def _set(self, setting: h2.settings.SettingCodes, value: int) -> None:
        # `h2` takes the acknowledgement of one frame of settings for that of all that were sent.
        link = self.link
        if sum(isinstance(event, h2.events.SettingsAcknowledged) for event in link.events) == self.settings:
            self.settings += 1
            link.peer.update_settings({setting: value})

    def window(self, size: int) -> None:
        self._set(h2.settings.SettingCodes.INITIAL_WINDOW_SIZE, size)

    def frame_size(self, size: int) -> None:
        self._set(h2.settings.SettingCodes.MAX_FRAME_SIZE, size)

    def table(self, size: int) -> None:
        self._set(h2.settings.SettingCodes.HEADER_TABLE_SIZE, size)

    def pad(self, size: int) -> None:
        self.link.push(size)

    def ping(self) -> None:
        self.link.peer.ping(b"12345678")

    def unknown(self, kind: int, payload: bytes) -> None:
        self.link.inject(frame(kind, 0xFF, 3, payload))

    def priority(self, stream_id: int) -> None:
        self.link.inject(frame(http2.PRIORITY, 0, stream_id, b"\0\0\0\0\x10"))

    def reset(self, at: int) -> None:
        side = self.link.side
        stream = side.streams.get(self._pick(at) or 0)
        if stream is not None:
            side.close_stream(stream)
            side.reset(stream.id, Error.CANCEL)
            self.given_up.add(stream.id)

    def peer_resets(self, at: int) -> None:
        stream_id = self._pick(at)
        if stream_id is None or stream_id in self.given_up:
            return
        if self.lakh_is_client and stream_id not in self.link.heads:
            return  # it has not heard of it
        try:
            self.link.peer.reset_stream(stream_id, h2.errors.ErrorCodes.CANCEL)
        except h2.exceptions.StreamClosedError:
            return
        self.given_up.add(stream_id)
        self.link.waiting.pop(stream_id, None)

    def end(self) -> None:
        """Everybody takes everything, and has to have everything."""
        link, side = self.link, self.link.side
        side.consumes = True
        link.settle()
        self.window(65_535)
        link.settle()
        for stream_id in self.ids:
            self.peer_says(self.ids.index(stream_id), 1000)
            self._say(stream_id, 0, True)
        link.settle()
        # `h2` gives a window back by half: of a small one, the rest would wait for ever.
        link.peer.increment_flow_control_window(1 << 24)
        for stream_id in self.ids:
            with suppress(h2.exceptions.ProtocolError, KeyError):
                link.peer.increment_flow_control_window(1 << 24, stream_id)
        while True:
            link.settle()
            if not any(link.held.values()) and not any(side.unconsumed.values()):
                break
            for at, stream_id in enumerate(self.ids):
                link.acknowledge(stream_id, 1 << 30)
                self.consume(at, 1 << 30)
                if stream_id not in side.streams:
                    side.unconsumed.pop(stream_id, None)
        assert not side._row or side.window <= 0
        for stream_id in self.ids:
            given_up = stream_id in self.given_up
            for said, heard, ends in (
                (self.said[stream_id], link.bodies[stream_id], link.ended),
                (self.peer_said.get(stream_id, b""), side.bodies[stream_id], side.ended),
            ):
                if given_up:
                    assert said.startswith(bytes(heard))
                else:
                    assert said == heard
                    assert stream_id in ends
            if given_up:
                assert stream_id not in side.streams
        if not self.given_up:
            assert not side.resets and not link.resets


@pytest.mark.parametrize("lakh_is_client", [False, True])
@given(actions=ACTIONS, window=st.sampled_from([1, 100, 20_000, 65_535, 200_000]), consumes=st.booleans())
@settings(deadline=None)
def test_everything_arrives_once_and_in_order(
    lakh_is_client: bool, actions: list[tuple[Any, ...]], window: int, consumes: bool
) -> None:
    # `h2` raises an error when more is sent to it than its windows allow, and when a header block is wrong.
    play = Play(lakh_is_client, window_bytes=window, connection_window_bytes=200_000, max_frame_bytes=20_000)
    play.link.side.consumes = consumes
    for action in actions:
        play.act(*action)
    play.end()


def test_a_request_and_its_answer_as_a_server() -> None:
    link = linked(False)
    stream_id = link.open_by_peer(ended=False)
    link.send(stream_id, b"hello")
    link.settle()
    side = link.side
    assert side.heads == {1: [REQUEST]}
    assert side.bodies == {1: b"hello"}
    assert side.ended == {1}
    stream = side.streams[1]
    side.send_headers(1, side.encoder.encode(ANSWER), ended=False)
    side.send_data(stream, b"{}", ended=True)
    assert stream.drained
    link.settle()
    assert link.heads == {1: [ANSWER]}
    assert link.bodies == {1: b"{}"}
    assert link.ended == {1}
    side.close_stream(stream)
    assert not side.streams


def test_a_request_and_its_answer_as_a_client() -> None:
    link = linked(True)
    stream = link.side.open(REQUEST, ended=False)
    link.side.send_data(stream, b"hello", ended=True)
    link.settle()
    assert link.heads == {1: [REQUEST]}
    assert link.bodies == {1: b"hello"}
    link.peer.send_headers(1, [(b":status", b"103")])
    link.peer.send_headers(1, ANSWER)
    link.peer.send_data(1, b"{}")
    link.peer.send_headers(1, [(b"x-trailer", b"1")], end_stream=True)
    link.settle()
    assert link.side.heads == {1: [[(b":status", b"103")], ANSWER, [(b"x-trailer", b"1")]]}
    assert link.side.bodies == {1: b"{}"}
    assert link.side.ended == {1}
    assert link.side.open(REQUEST, ended=True).id == 3
    link.settle()
    assert link.ended == {1, 3}


@pytest.mark.parametrize("lakh_is_client", [False, True])
def test_a_header_block_of_many_frames(lakh_is_client: bool) -> None:
    link = linked(lakh_is_client)
    large = [(b"x-%d" % at, b"v" * 5000) for at in range(10)]
    if lakh_is_client:
        link.side.open([*REQUEST, *large], ended=True)
        link.settle()
        assert link.heads == {1: [[*REQUEST, *large]]}
    else:
        link.peer.send_headers(1, [*REQUEST, *large], end_stream=True)
        link.settle()
        assert link.side.heads == {1: [[*REQUEST, *large]]}
        assert link.side.partial_bytes == 0


def test_the_table_is_as_large_as_the_peer_says() -> None:
    link = linked(False)
    link.open_by_peer(ended=True)
    link.open_by_peer(ended=True)
    link.settle()
    side = link.side
    generation = side.encoder.generation
    link.peer.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: 70})
    link.settle()
    assert side.encoder.generation > generation
    for stream_id in (1, 3):
        side.send_headers(stream_id, side.encoder.encode([*ANSWER, (b"a", b"b")]), ended=True)
    link.settle()
    assert link.heads == {1: [[*ANSWER, (b"a", b"b")]], 3: [[*ANSWER, (b"a", b"b")]]}


def test_a_ping_is_answered_with_what_it_says() -> None:
    link = linked(False)
    link.peer.ping(b"abcdefgh")
    link.settle()
    assert [e.ping_data for e in link.events if isinstance(e, h2.events.PingAckReceived)] == [b"abcdefgh"]
    link.side.ping(b"12345678")
    link.settle()
    assert [e.ping_data for e in link.events if isinstance(e, h2.events.PingReceived)] == [b"12345678"]


def test_goaways_of_both_sides() -> None:
    link = linked(False)
    link.open_by_peer(ended=True)
    link.settle()
    link.side.goaway(Error.ENHANCE_YOUR_CALM, "slowly")
    link.settle()
    gone = [e for e in link.events if isinstance(e, h2.events.ConnectionTerminated)]
    assert [(e.last_stream_id, e.error_code, e.additional_data) for e in gone] == [(1, 11, b"slowly")]
    link = linked(True)
    link.side.open(REQUEST, ended=True)
    link.settle()
    link.peer.close_connection(0, b"bye", 1)
    link.settle()
    assert link.side.goaways == [(1, 0, b"bye")]


def test_padding_gives_its_room_back() -> None:
    link = linked(False, window_bytes=65_535)
    stream_id = link.open_by_peer(ended=False)
    for _ in range(1000):  # 257 bytes each, one of them said
        link.peer.send_data(stream_id, b"x", pad_length=255)
        link.settle()
    assert link.side.bodies == {1: b"x" * 1000}


@pytest.mark.parametrize("window", [0, 1, 10])
def test_windows_that_shrink_below_nothing_while_data_waits(window: int) -> None:
    link = linked(False)
    link.open_by_peer(ended=True)
    link.settle()
    side = link.side
    stream = side.streams[1]
    side.send_headers(1, side.encoder.encode(ANSWER), ended=False)
    data = body(1, 100_000)
    side.send_data(stream, data, ended=False)
    link.settle()
    assert link.bodies[1] == data[:65_535]
    assert stream.queued_bytes == 100_000 - 65_535
    link.peer.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
    link.settle()
    assert stream.window == window - 65_535
    side.send_data(stream, b"", ended=True)
    assert not side.awake
    while not stream.drained:
        assert link.held[1]
        link.acknowledge(1, 1 << 30)
        link.settle()
        if not link.held[1]:
            link.peer.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 65_535})
            link.settle()
    assert link.bodies[1] == data
    assert link.ended == {1}


def test_an_end_needs_no_window_but_none_that_is_owed() -> None:
    side, (first, second) = opened(2, window=10)
    side.send_data(first, b"x" * 10, ended=False)
    side.send_data(first, b"", ended=True)
    assert first.drained
    side.send_data(second, b"x" * 10, ended=False)
    side.take()
    side.receive(frame(http2.SETTINGS, 0, 0, struct.pack(">HL", 4, 5)))
    side.take()
    side.send_data(second, b"", ended=True)
    assert not second.drained
    assert not side.awake
    side.receive(frame(http2.WINDOW_UPDATE, 0, 3, struct.pack(">L", 4)))
    assert not side.awake
    side.receive(frame(http2.WINDOW_UPDATE, 0, 3, struct.pack(">L", 1)))
    assert frames(side.take()) == [(http2.DATA, 1, 3, b"")]
    assert second.drained


def test_nothing_to_say_is_nothing_said() -> None:
    link = linked(False)
    link.open_by_peer(ended=True)
    link.settle()
    stream = link.side.streams[1]
    link.side.send_data(stream, b"", ended=False)
    assert not link.side.awake
    assert stream.drained


def opened(streams: int, *, window: int = 1 << 30) -> tuple[Side, list[Stream]]:
    """A server whose client has asked for so much, and takes so much on each stream."""
    side = Side()
    side.receive(PREFACE + frame(http2.SETTINGS, 0, 0, struct.pack(">HL", 4, window)))
    side.receive(frame(http2.WINDOW_UPDATE, 0, 0, struct.pack(">L", 1 << 30)))
    for at in range(streams):
        side.receive(frame(http2.HEADERS, 0x5, 2 * at + 1, BLOCK))
    side.take()
    return side, list(side.streams.values())


BLOCK = b"\x82\x87\x84\x41\x01a"
"""GET https / of the authority "a", put into the table."""
SETTINGS = frame(http2.SETTINGS, 0, 0)


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Kind, flags, stream, and payload of each frame."""
    found = []
    while data:
        high, low, kind, flags, stream_id = struct.unpack_from(">HBBBL", data)
        end = 9 + (high << 8 | low)
        found.append((kind, flags, stream_id, data[9:end]))
        data = data[end:]
    return found


def test_streams_take_turns_and_an_output_is_a_slice() -> None:
    side, streams = opened(3)
    for stream in streams:
        side.send_data(stream, bytes(100_000), ended=True)
    order = []
    while side.pump():
        data = side.output()
        assert len(data) <= http2.SLICE_BYTES + 16_384 + 5 * 9
        order += [stream_id for _, _, stream_id, _ in frames(data)]
    assert order == [1, 3, 5] * 7
    assert all(stream.drained for stream in streams)
    side.awake = False


def test_little_ones_wait_for_their_turn_behind_large_ones() -> None:
    side, (large, little) = opened(2)
    side.send_data(large, bytes(100_000), ended=True)
    side.send_data(little, b"x", ended=True)
    side.pump()
    assert [f[2] for f in frames(side.output())] == [1, 3, 1, 1, 1]


def test_what_is_given_up_leaves_the_row() -> None:
    side, (first, second) = opened(2)
    side.send_data(first, bytes(100_000), ended=True)
    side.send_data(second, bytes(20_000), ended=True)
    side.receive(frame(http2.RST_STREAM, 0, 1, struct.pack(">L", 8)))
    assert side.resets == {1: 8}
    assert first.queued_bytes == 0
    assert list(side._row) == [second]
    assert [f[2] for f in frames(side.take())] == [3, 3]


def test_a_turn_is_woken_once() -> None:
    side, streams = opened(3)
    woken = []
    side.wake = lambda: woken.append(1)  # type: ignore[method-assign]
    for stream in streams:
        side.send_headers(stream.id, b"\x88", ended=False)
        side.send_data(stream, b"x", ended=True)
    assert woken == [1]


def test_windows_are_given_back_by_half() -> None:
    side = Side(window_bytes=100_000, connection_window_bytes=200_000)
    side.consumes = False
    side.receive(PREFACE + SETTINGS + frame(http2.HEADERS, 0x4, 1, BLOCK))
    side.take()
    for _ in range(6):
        side.receive(frame(http2.DATA, 0, 1, bytes(10_000)))
    stream = side.streams[1]
    side.consumed(stream, 40_000)
    assert not side.awake
    side.consumed(stream, 10_000)
    assert frames(side.take()) == [(http2.WINDOW_UPDATE, 0, 1, struct.pack(">L", 50_000))]
    for _ in range(4):
        side.receive(frame(http2.DATA, 0, 1, bytes(10_000)))
    assert frames(side.take()) == [(http2.WINDOW_UPDATE, 0, 0, struct.pack(">L", 100_000))]
    side.receive(frame(http2.DATA, 0x1, 1, b""))
    side.consumed(stream, 50_000)
    assert not side.awake  # nothing more will come


def test_more_data_than_a_window() -> None:
    side = Side(max_frame_bytes=20_000)
    side.consumes = False
    side.receive(PREFACE + SETTINGS + OPEN)
    for size in (32_767, 32_768):  # is taken, and the connection's part of it given back
        side.receive(
            frame(http2.DATA, 0, 1, bytes(size // 2)) + frame(http2.DATA, 0, 1, bytes(size - size // 2))
        )
    with pytest.raises(Http2Error, match="more data than the window of stream 1") as caught:
        side.receive(frame(http2.DATA, 0, 1, b"x"))
    assert caught.value.code == Error.FLOW_CONTROL_ERROR


def test_more_data_than_the_connection_takes() -> None:
    side = Side(window_bytes=1 << 20, max_frame_bytes=1 << 20)
    side.receive(PREFACE + SETTINGS + OPEN)
    with pytest.raises(Http2Error, match="more data than the connection's window") as caught:
        side.receive(frame(http2.DATA, 0, 1, bytes(65_536)))
    assert caught.value.code == Error.FLOW_CONTROL_ERROR


def test_a_preface_comes_in_pieces() -> None:
    side = Side()
    for byte in PREFACE + SETTINGS:
        side.receive(bytes((byte,)))
    assert side.partial_bytes == 0
    side.receive(b"\0\0")
    assert side.partial_bytes == 2


def started(data: bytes, **limits: int) -> Side:
    side = Side(**limits)
    side.receive(PREFACE + SETTINGS + data)
    return side


def named(value: bytes | Error) -> str:
    return value.name if isinstance(value, Error) else value[-24:].hex()


def feed(side: Side, pieces: Iterable[bytes]) -> None:
    """Has a side read what it may not like, while what it answers is not taken."""
    for piece in pieces:
        side.receive(piece)
        assert side.output_bytes < 2 * http2.MAX_CONTROL_BYTES


OPEN = frame(http2.HEADERS, 0x4, 1, BLOCK)
LONG = struct.pack(">L", 1)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\n", Error.PROTOCOL_ERROR),
        (PREFACE[:10] + b"x", Error.PROTOCOL_ERROR),
        (PREFACE + frame(http2.PING, 0, 0, bytes(8)), Error.PROTOCOL_ERROR),
        (PREFACE + frame(http2.SETTINGS, 1, 0), Error.PROTOCOL_ERROR),
    ],
    ids=named,
)
def test_a_wrong_beginning(data: bytes, code: Error) -> None:
    with pytest.raises(Http2Error) as caught:
        Side().receive(data)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", Error.FRAME_SIZE_ERROR),  # before its payload has come
        (OPEN[:4] + b"\x00" + OPEN[5:] + SETTINGS, Error.PROTOCOL_ERROR),
        (frame(http2.HEADERS, 0, 1, BLOCK) + frame(http2.CONTINUATION, 4, 3, b""), Error.PROTOCOL_ERROR),
        (frame(http2.HEADERS, 0, 1, BLOCK) + frame(0xEE, 0, 1, b""), Error.PROTOCOL_ERROR),
        (frame(http2.CONTINUATION, 4, 1, BLOCK), Error.PROTOCOL_ERROR),
        (OPEN + frame(http2.CONTINUATION, 4, 1, BLOCK), Error.PROTOCOL_ERROR),
        (frame(http2.PING, 0, 1, bytes(8)), Error.PROTOCOL_ERROR),
        (frame(http2.PING, 0, 0, bytes(7)), Error.FRAME_SIZE_ERROR),
        (frame(http2.GOAWAY, 0, 1, bytes(8)), Error.PROTOCOL_ERROR),
        (frame(http2.GOAWAY, 0, 0, bytes(7)), Error.FRAME_SIZE_ERROR),
        (frame(http2.PUSH_PROMISE, 4, 1, LONG + BLOCK), Error.PROTOCOL_ERROR),
        (frame(http2.PRIORITY, 0, 0, bytes(5)), Error.PROTOCOL_ERROR),
        (frame(http2.PRIORITY, 0, 1, bytes(4)), Error.FRAME_SIZE_ERROR),
        (frame(http2.DATA, 0, 0, b"x"), Error.PROTOCOL_ERROR),
        (frame(http2.DATA, 0, 1, b"x"), Error.PROTOCOL_ERROR),
        (frame(http2.DATA, 0, 2, b"x"), Error.PROTOCOL_ERROR),
        (OPEN + frame(http2.DATA, 8, 1, b""), Error.PROTOCOL_ERROR),
        (OPEN + frame(http2.DATA, 8, 1, b"\x01"), Error.PROTOCOL_ERROR),
        (frame(http2.HEADERS, 4, 0, BLOCK), Error.PROTOCOL_ERROR),
        (frame(http2.HEADERS, 4, 2, BLOCK), Error.PROTOCOL_ERROR),
        (frame(http2.HEADERS, 0xC, 1, b"\x07" + BLOCK), Error.PROTOCOL_ERROR),
        (frame(http2.HEADERS, 0x24, 1, bytes(4)), Error.FRAME_SIZE_ERROR),
        (frame(http2.HEADERS, 4, 1, b"\xff\xff\xff\xff\xff\xff"), Error.COMPRESSION_ERROR),
        (frame(http2.HEADERS, 4, 1, b"\x80"), Error.COMPRESSION_ERROR),
        (frame(http2.HEADERS, 4, 1, b"\xbe"), Error.COMPRESSION_ERROR),
        (frame(http2.HEADERS, 4, 1, b"\x3f\xff\x7f"), Error.COMPRESSION_ERROR),
        (frame(http2.HEADERS, 4, 1, b"\x40"), Error.COMPRESSION_ERROR),
        (frame(http2.HEADERS, 4, 1, b"\x40\x01a"), Error.COMPRESSION_ERROR),
        (frame(http2.HEADERS, 4, 1, b"\x40\x7f"), Error.COMPRESSION_ERROR),
        (frame(http2.HEADERS, 4, 1, b"\x0f"), Error.COMPRESSION_ERROR),
        (frame(http2.WINDOW_UPDATE, 0, 0, bytes(4)), Error.PROTOCOL_ERROR),
        (frame(http2.WINDOW_UPDATE, 0, 0, bytes(3)), Error.FRAME_SIZE_ERROR),
        (frame(http2.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), Error.FLOW_CONTROL_ERROR),
        (frame(http2.WINDOW_UPDATE, 0, 1, LONG), Error.PROTOCOL_ERROR),
        (frame(http2.WINDOW_UPDATE, 0, 2, LONG), Error.PROTOCOL_ERROR),
        (frame(http2.RST_STREAM, 0, 0, LONG), Error.PROTOCOL_ERROR),
        (frame(http2.RST_STREAM, 0, 1, LONG), Error.PROTOCOL_ERROR),
        (OPEN + frame(http2.RST_STREAM, 0, 1, bytes(3)), Error.FRAME_SIZE_ERROR),
        (frame(http2.SETTINGS, 0, 1), Error.PROTOCOL_ERROR),
        (frame(http2.SETTINGS, 1, 0, bytes(6)), Error.FRAME_SIZE_ERROR),
        (frame(http2.SETTINGS, 0, 0, bytes(5)), Error.FRAME_SIZE_ERROR),
        (frame(http2.SETTINGS, 0, 0, struct.pack(">HL", 2, 2)), Error.PROTOCOL_ERROR),
        (frame(http2.SETTINGS, 0, 0, struct.pack(">HL", 4, 1 << 31)), Error.FLOW_CONTROL_ERROR),
        (frame(http2.SETTINGS, 0, 0, struct.pack(">HL", 5, 16_383)), Error.PROTOCOL_ERROR),
        (frame(http2.SETTINGS, 0, 0, struct.pack(">HL", 5, 1 << 24)), Error.PROTOCOL_ERROR),
        (frame(http2.SETTINGS, 0, 0, struct.pack(">HL", 4, 1) * 2), Error.ENHANCE_YOUR_CALM),
        (
            frame(http2.SETTINGS, 0, 0, b"".join(struct.pack(">HL", 100 + at, 0) for at in range(101))),
            Error.ENHANCE_YOUR_CALM,
        ),
        (
            OPEN
            + frame(http2.WINDOW_UPDATE, 0, 1, struct.pack(">L", (1 << 31) - 1 - 65_535))
            + frame(http2.SETTINGS, 0, 0, struct.pack(">HL", 4, 65_536)),
            Error.FLOW_CONTROL_ERROR,
        ),
    ],
    ids=named,
)
def test_who_breaks_the_protocol(data: bytes, code: Error) -> None:
    side = Side()
    side.receive(PREFACE + SETTINGS)
    side.take()
    with pytest.raises(Http2Error) as caught:
        feed(side, [data[at : at + 1] for at in range(len(data))])
    assert caught.value.code == code
    side.goaway(code, str(caught.value))
    last = frames(side.take())[-1]
    assert last[0] == http2.GOAWAY
    assert last[3][4:8] == struct.pack(">L", code)


def test_a_server_cannot_open_streams_to_a_client_nor_have_it_pushed_to() -> None:
    for data in (
        frame(http2.HEADERS, 4, 2, b"\x88"),
        frame(http2.HEADERS, 4, 1, b"\x88"),
        frame(http2.DATA, 0, 1, b"x"),
        frame(http2.DATA, 0, 2, b"x"),
        frame(http2.PUSH_PROMISE, 4, 1, struct.pack(">L", 2) + b"\x88"),
        frame(http2.SETTINGS, 0, 0, struct.pack(">HL", 2, 1)),
    ):
        side = Side(client=True)
        side.receive(SETTINGS)
        with pytest.raises(Http2Error) as caught:
            side.receive(data)
        assert caught.value.code == Error.PROTOCOL_ERROR


def test_what_comes_late_for_a_stream_that_was_given_up() -> None:
    side = started(OPEN)
    side.close_stream(side.streams[1])
    side.reset(1, Error.CANCEL)
    side.take()
    side.receive(frame(http2.DATA, 0, 1, b"x") + frame(http2.WINDOW_UPDATE, 0, 1, LONG))
    side.receive(frame(http2.RST_STREAM, 0, 1, LONG))
    assert not side.awake
    side.receive(frame(http2.HEADERS, 0x5, 1, BLOCK))
    assert frames(side.take()) == [(http2.RST_STREAM, 0, 1, struct.pack(">L", Error.STREAM_CLOSED))]
    assert len(side.heads[1]) == 1
    # All the same its block was read: the next one is right.
    side.receive(frame(http2.HEADERS, 0x5, 3, b"\x82\x87\x84\xbe"))
    assert side.heads[3] == [
        [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", b"a")]
    ]


def test_a_client_passes_over_late_answers() -> None:
    side = Side(client=True)
    side.receive(SETTINGS)
    side.close_stream(side.open(REQUEST, ended=True))
    side.take()
    side.receive(frame(http2.HEADERS, 4, 1, b"\x88") + frame(http2.DATA, 1, 1, b"x"))
    assert not side.awake
    assert not side.heads


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(http2.DATA, 1, 1, b"") + frame(http2.DATA, 0, 1, b"x"), Error.STREAM_CLOSED),
        (frame(http2.DATA, 1, 1, b"") + frame(http2.HEADERS, 5, 1, BLOCK), Error.STREAM_CLOSED),
        (frame(http2.HEADERS, 5, 1, BLOCK) + frame(http2.HEADERS, 5, 1, BLOCK), Error.STREAM_CLOSED),
        (frame(http2.WINDOW_UPDATE, 0, 1, bytes(4)), Error.PROTOCOL_ERROR),
        (frame(http2.WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff"), Error.FLOW_CONTROL_ERROR),
    ],
    ids=named,
)
def test_what_breaks_one_stream_resets_it(data: bytes, code: Error) -> None:
    side = started(OPEN)
    side.take()
    side.receive(data)
    assert side.resets == {1: code}
    assert frames(side.take()) == [(http2.RST_STREAM, 0, 1, struct.pack(">L", code))]
    side.receive(frame(http2.HEADERS, 5, 3, BLOCK))
    assert 3 in side.streams


def test_priorities_and_padding_of_headers() -> None:
    side = started(frame(http2.HEADERS, 0x2D, 1, b"\x02" + bytes(5) + BLOCK + b"\0\0"))
    assert side.ended == {1}
    assert len(side.heads[1][0]) == 4
    side.receive(frame(http2.HEADERS, 0xD, 3, b"\x05" + bytes(5)))
    assert side.heads[3] == [[]]


# What attackers do


def test_a_flood_of_continuations() -> None:
    side = started(frame(http2.HEADERS, 0, 1, BLOCK))
    with pytest.raises(Http2Error, match="empty CONTINUATION"):
        side.receive(frame(http2.CONTINUATION, 0, 1, b""))
    side = started(frame(http2.HEADERS, 0, 1, BLOCK), max_block_bytes=1000)
    with pytest.raises(Http2Error, match="too large") as caught:
        feed(side, [frame(http2.CONTINUATION, 0, 1, b"\x82")] * 1000)
    assert caught.value.code == Error.ENHANCE_YOUR_CALM
    assert side.partial_bytes <= 1001


def test_a_header_list_that_swells() -> None:
    side = started(frame(http2.HEADERS, 5, 1, BLOCK + b"\x40\x01a\x7f\xa1\x1e" + bytes(4000)))
    with pytest.raises(Http2Error, match="too large") as caught:
        side.receive(frame(http2.HEADERS, 5, 3, BLOCK + b"\xbf" * 10_000))
    assert caught.value.code == Error.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    "flood",
    [
        frame(http2.PING, 0, 0, bytes(8)),
        SETTINGS,
        frame(http2.HEADERS, 5, 1, b"\x82"),  # of a stream that is closed
    ],
    ids=named,
)
def test_floods_by_who_does_not_read(flood: bytes) -> None:
    side = started(OPEN)
    side.close_stream(side.streams[1])
    with pytest.raises(Http2Error) as caught:
        feed(side, [flood * 1000] * 200)
    assert caught.value.code == Error.ENHANCE_YOUR_CALM
    side = started(OPEN)
    side.close_stream(side.streams[1])
    for _ in range(200):  # who reads may
        side.receive(flood * 1000)
        side.take()


def test_requests_by_who_does_not_read_the_answers() -> None:
    side = started(b"")

    def requests() -> Iterator[bytes]:
        for stream_id in range(1, 100_000, 2):
            yield frame(http2.HEADERS, 5, stream_id, b"\x82")
            side.send_headers(stream_id, bytes(1000), ended=True)
            yield frame(http2.RST_STREAM, 0, stream_id, LONG)

    with pytest.raises(Http2Error) as caught:
        feed(side, requests())
    assert caught.value.code == Error.ENHANCE_YOUR_CALM
    assert not side.streams


def test_data_that_says_nothing_is_not_heard() -> None:
    side = started(OPEN)
    side.receive(frame(http2.DATA, 0, 1, b"") * 1000 + frame(http2.DATA, 8, 1, b"\x03\0\0\0"))
    assert side.bodies == {}
    side.receive(frame(http2.DATA, 1, 1, b""))
    assert side.ended == {1}


def test_more_streams_than_the_first_window_of_a_small_one() -> None:
    # A client may send this much before it has read that it should not.
    side = started(OPEN + frame(http2.DATA, 0, 1, bytes(16_384)) * 3, window_bytes=100)
    assert len(side.bodies[1]) == 3 * 16_384


@given(st.lists(st.binary(max_size=30), max_size=10), st.booleans())
def test_bytes_of_any_kind(pieces: list[bytes], client: bool) -> None:
    side = Side(client)
    with suppress(Http2Error):
        side.receive((b"" if client else PREFACE) + SETTINGS)
        for piece in pieces:
            side.receive(piece)
            side.take()


KINDS = st.integers(0, 11)
FLAGS = st.sampled_from([0, 1, 4, 5, 8, 9, 0xC, 0xD, 0x20, 0x24, 0x2D, 0xFF])
PAYLOADS = st.one_of(
    st.binary(max_size=30),
    st.just(BLOCK),
    st.integers(0, (1 << 32) - 1).map(lambda number: struct.pack(">L", number)),
    st.builds(
        lambda name, value: struct.pack(">HL", name, value), st.integers(0, 7), st.integers(0, 1 << 17)
    ),
    st.just(bytes(8)),
    st.just(bytes(16_000)),
)


@given(
    st.lists(st.builds(frame, KINDS, FLAGS, st.sampled_from([0, 1, 1, 1, 2, 3, 5]), PAYLOADS), max_size=30),
    st.booleans(),
    st.data(),
)
@settings(deadline=None)
def test_frames_of_any_kind(sent: list[bytes], client: bool, data: st.DataObject) -> None:
    side = Side(client)
    side.receive((b"" if client else PREFACE) + SETTINGS)
    if client:
        for _ in range(2):
            side.send_data(side.open(REQUEST, ended=False), bytes(40_000), ended=True)
    else:
        side.receive(OPEN)
        side.send_data(side.streams[1], bytes(40_000), ended=True)
    raw = b"".join(sent)
    with suppress(Http2Error):
        while raw:
            size = data.draw(st.integers(1, 40_000))
            side.receive(raw[:size])
            raw = raw[size:]
            side.take()
            for stream in side.streams.values():
                assert stream.window >= -(1 << 31)
                assert stream.queued_bytes == sum(map(len, stream._queue or ()))
                assert stream._ready == (stream in side._row)
            assert all(side.streams[stream.id] is stream for stream in side._row)
