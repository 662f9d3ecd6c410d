from __future__ import annotations

from typing import Any

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jh2._hazmat import Decoder

from lakh.machinery.hpack import (
    CONTENT_LENGTH,
    ENTRY_OVERHEAD_BYTES,
    PATH,
    TABLE_BYTES,
    HeaderEncoder,
    integer,
    literal,
)

Field = tuple[bytes, bytes]

NAMES = st.sampled_from(
    [b":method", b":path", b":status", b":authority", b"accept", b"content-type", b"x-remote-user", b"a"]
)
VALUES = st.one_of(
    st.sampled_from([b"", b"GET", b"200", b"/", b"application/json", b"gzip, deflate"]),
    st.binary(max_size=40),
    st.integers(0, 5000).map(lambda size: b"v" * size),
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=8)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("fields"), FIELDS, st.booleans()),
        st.tuples(st.just("resize"), st.integers(0, 2 * TABLE_BYTES), st.none()),
    ),
    max_size=12,
)


class Readers:
    """Two decoders that know nothing of each other, nor of the encoder."""

    def __init__(self) -> None:
        self.rust = Decoder(1 << 24)
        self.python = hpack.Decoder(max_header_list_size=1 << 24)

    def resize(self, size: int) -> None:
        self.rust.max_allowed_table_size = size
        self.python.max_allowed_table_size = size

    def read(self, block: bytes) -> list[Field]:
        rust: list[Any] = [(name, value) for name, value, _ in self.rust.decode(block, True)]
        python = [(bytes(name), bytes(value)) for name, value in self.python.decode(block, raw=True)]
        assert rust == python
        return rust


@given(STEPS)
def test_what_is_encoded_is_read_by_others(steps: list[tuple[str, Any, Any]]) -> None:
    encoder, readers = HeaderEncoder(), Readers()
    for kind, what, add in steps:
        if kind == "resize":
            encoder.resize(what)
            readers.resize(what)
        else:
            block = encoder.resized() + encoder.encode(what, add=add)
            assert readers.read(block) == what
            assert readers.python.header_table_size <= TABLE_BYTES


@given(st.lists(FIELDS, min_size=1, max_size=4), st.lists(st.integers(0, 4), max_size=30), st.data())
def test_a_kept_block_is_right_while_the_generation_is(
    lists: list[list[Field]], order: list[int], data: st.DataObject
) -> None:
    encoder, readers = HeaderEncoder(), Readers()
    kept: dict[int, tuple[int, bytes]] = {}
    for at in order:
        if at >= len(lists):
            encoder.resize(size := data.draw(st.sampled_from([0, 100, 1000, TABLE_BYTES])))
            readers.resize(size)
            continue
        generation, block = kept.get(at, (-1, b""))
        if generation != encoder.generation:
            generation = encoder.generation
            block = encoder.encode(lists[at])
            kept[at] = generation, block
        assert readers.read(encoder.resized() + block) == lists[at]


def test_a_list_soon_costs_a_byte_a_field() -> None:
    encoder = HeaderEncoder()
    fields = [(b":status", b"200"), (b"content-type", b"application/json"), (b"x-own", b"1")]
    generation = encoder.generation
    assert len(encoder.encode(fields)) > len(fields)
    assert encoder.generation != generation
    generation = encoder.generation
    assert len(encoder.encode(fields)) == len(fields)
    assert encoder.generation == generation


def test_the_table_is_filled_to_its_last_byte_and_nothing_is_taken_out() -> None:
    encoder, readers = HeaderEncoder(), Readers()
    half = TABLE_BYTES // 2 - ENTRY_OVERHEAD_BYTES - 1
    first, second, third = (b"a", b"1" * half), (b"b", b"2" * half), (b"c", b"")
    for _ in range(3):
        block = encoder.encode([first, second, third])
        assert readers.read(block) == [first, second, third]
    assert block[:2] == b"\xbf\xbe"
    assert repr(encoder) == "<HeaderEncoder, 2 entries>"


def test_what_may_not_be_added_is_not() -> None:
    encoder = HeaderEncoder()
    encoder.encode([(b"authorization", b"Bearer x")], add=False)
    assert encoder.generation == 0
    assert repr(encoder) == "<HeaderEncoder, 0 entries>"


def test_a_new_size_is_said_once() -> None:
    encoder = HeaderEncoder()
    encoder.resize(100)
    encoder.resize(30)
    # First the smallest that there was, or less (RFC 7541, 4.2).
    assert encoder.resized() == b"\x20\x3e"
    assert encoder.resized() == b""


@pytest.mark.parametrize(
    ("value", "bits", "expected"),
    [
        # RFC 7541, C.1
        (10, 5, bytes([10])),
        (1337, 5, bytes([31, 154, 10])),
        (42, 8, bytes([42])),
        (31, 5, bytes([31, 0])),
        (30, 5, bytes([30])),
        (127, 7, bytes([127, 0])),
    ],
)
def test_numbers(value: int, bits: int, expected: bytes) -> None:
    assert integer(value, 0, bits) == expected


@given(st.integers(0, 1 << 31), st.integers(4, 7))
def test_numbers_are_read_by_others(value: int, bits: int) -> None:
    text = integer(value, 0, bits)
    assert hpack.hpack.decode_integer(text, bits) == (value, len(text))


@given(st.binary(max_size=300), st.integers(0, 1 << 40))
def test_literals_behind_a_kept_block(path: bytes, length: int) -> None:
    block = PATH + literal(path) + CONTENT_LENGTH + literal(b"%d" % length)
    assert Readers().read(block) == [(b":path", path), (b"content-length", b"%d" % length)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 129, 16_384])
def test_lengths_of_literals(size: int) -> None:
    block = PATH + literal(b"x" * size)
    assert Readers().read(block) == [(b":path", b"x" * size)]
