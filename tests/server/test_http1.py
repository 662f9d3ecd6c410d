"""Framing: header blocks, request lines, chunks and compression, without sockets."""

from __future__ import annotations

import gzip
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.server import http1
from lakh.server.http1 import ChunkedBody, HeadCache, HttpError


def refused(code: int) -> pytest.RaisesExc[HttpError]:
    return pytest.raises(HttpError, check=lambda error: error.code == code)


def test_a_header_block_is_lower_cased_stripped_and_joined() -> None:
    head = http1.parse_header_block(b"Host: a\r\nX-One:  1 \r\nx-one:\t2\r\nName: \xe9\r\nEmpty:\r\n\r\n")
    assert head.headers == {"host": "a", "x-one": "1, 2", "name": "é", "empty": ""}
    assert head.plain


@pytest.mark.parametrize(
    "block",
    [
        b"Host: a\nX: y\r\n\r\n",
        b"Host: a\rX: y\r\n\r\n",
        b"Host : a\r\n\r\n",
        b": a\r\n\r\n",
        b"no colon\r\n\r\n",
        b"Host: a\r\n folded\r\n\r\n",
        b"Host: a\x00b\r\n\r\n",
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"Content-Length: 1, 1\r\n\r\n",
        b"Content-Length: +1\r\n\r\n",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 0x1\r\n\r\n",
        b"Content-Length: 1 1\r\n\r\n",
        b"Content-Length: \r\n\r\n",
        b"Content-Length: 99999999999999999999999\r\n\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n\r\n",
        b"Host: a\r\nHost: b\r\n\r\n",
    ],
)
def test_ambiguous_header_blocks_are_refused(block: bytes) -> None:
    with refused(400):
        http1.parse_header_block(block)


@pytest.mark.parametrize("coding", [b"gzip", b"gzip, chunked", b"identity", b"xchunked"])
def test_other_transfer_codings_are_refused(coding: bytes) -> None:
    with pytest.raises(HttpError):
        http1.parse_header_block(b"Host: a\r\nTransfer-Encoding: " + coding + b"\r\n\r\n")


def test_an_upgrade_offer_is_read_as_plain_http() -> None:
    head = http1.parse_header_block(b"Host: a\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
    assert head.headers["upgrade"] == "SPDY/3.1"
    assert not head.close


def test_the_cache_keeps_two_generations_and_no_refusals() -> None:
    cache = HeadCache(limit=2)
    blocks = [b"Host: %d\r\n\r\n" % i for i in range(10)]
    for block in blocks:
        first = cache.head(block)
        assert cache.head(block) is first
        assert len(cache) <= 4
    with refused(400):
        cache.head(b"bad\r\n\r\n")
    assert len(cache) <= 4
    assert cache.head(blocks[0]).headers == {"host": "0"}


def test_long_blocks_are_not_remembered() -> None:
    cache = HeadCache()
    block = b"Host: a\r\nX: " + b"x" * http1.MAX_REMEMBERED_BLOCK_BYTES + b"\r\n\r\n"
    assert cache.head(block).headers["host"] == "a"
    assert len(cache) == 0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET /a?b=c HTTP/1.1", ("GET", "/a", "b=c", True)),
        (b"PATCH /%20 HTTP/1.0", ("PATCH", "/%20", "", False)),
        (b"GET http://host:1/a?b HTTP/1.1", ("GET", "/a", "b", True)),
        (b"GET https://host?b=/c HTTP/1.1", ("GET", "/", "b=/c", True)),
        (b"GET http://host HTTP/1.1", ("GET", "/", "", True)),
        (b"OPTIONS * HTTP/1.1", ("OPTIONS", "*", "", True)),
    ],
)
def test_request_lines(line: bytes, expected: tuple[str, str, str, bool]) -> None:
    assert http1.parse_request_line(line) == expected


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"GET /", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b"GET /a b HTTP/1.1", 400),
        (b"get / HTTP/1.1", 400),
        (b"BREW / HTTP/1.1", 400),
        (b"CONNECT a:1 HTTP/1.1", 400),
        (b"GET a HTTP/1.1", 400),
        (b"GET * HTTP/1.1", 400),
        (b"GET ftp://a/ HTTP/1.1", 400),
        (b"GET /\xe9 HTTP/1.1", 400),
        (b"GET /\x7f HTTP/1.1", 400),
        (b"GET /\t HTTP/1.1", 400),
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/1.2", 505),
    ],
)
def test_malformed_request_lines(line: bytes, code: int) -> None:
    with refused(code):
        http1.parse_request_line(line)


PIECES = st.lists(
    st.sampled_from(
        (b"/", b"?", b"a", b"#", b"%20", b" ", b"\t", b"\r", b"\n", b"\x7f", b"\xe9", b"*", b"http://h")
    ),
    max_size=5,
).map(b"".join)


def read(line: bytes) -> object:
    try:
        return http1.parse_request_line(line)
    except HttpError as error:
        return error.code, str(error)


@given(
    st.sampled_from((b"GET", b"POST", b"PUT", b"OPTIONS", b"get", b"")),
    PIECES,
    st.sampled_from((b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.1\n", b"HTTP/2", b"")),
)
def test_usual_and_remembered_lines_are_read_as_any_other(
    method: bytes, target: bytes, version: bytes
) -> None:
    line = b"%b %b %b" % (method, target, version)
    found = read(line)
    assert read(line) == found, "once more, from memory"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(http1, "_USUAL_LINE", lambda line: None)
        patched.setattr(http1, "MAX_REMEMBERED_LINE_BYTES", 0)
        assert read(line) == found


def decode(pieces: list[bytes], limit_bytes: int = 1 << 20) -> tuple[bytes, bool, bytes]:
    """Feed the pieces as a connection does; the body, whether it is done, and what is left."""
    body = ChunkedBody(limit_bytes)
    buffer = b""
    for piece in pieces:
        buffer += piece
        if not body.done:
            buffer = buffer[body.feed(buffer, 0) :]
    return bytes(body.body), body.done, buffer


def test_a_chunked_body_as_drawn() -> None:
    assert decode([b"4\r\nWiki\r\n0\r\n\r\nGET /"]) == (b"Wiki", True, b"GET /")


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    cuts=st.lists(st.integers(0, 400), max_size=12),
    rest=st.binary(max_size=8),
    trailer=st.sampled_from([b"", b"X-Sum: 1\r\n", b"A: b\r\nC: d\r\n"]),
)
def test_chunks_are_decoded_however_they_arrive(
    chunks: list[bytes], cuts: list[int], rest: bytes, trailer: bytes
) -> None:
    wire = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n" + trailer + b"\r\n" + rest
    bounds = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    pieces = [wire[a:b] for a, b in itertools.pairwise(bounds)]
    assert decode(pieces) == (b"".join(chunks), True, rest)
    assert decode([wire[i : i + 1] for i in range(len(wire))]) == (b"".join(chunks), True, rest)


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"g\r\n", 400),
        (b"\r\n", 400),
        (b"-1\r\n", 400),
        (b"0x4\r\nWiki\r\n", 400),
        (b" 4\r\nWiki\r\n", 400),
        (b"4\nWiki\r\n", 400),
        (b"4;a\x00\r\nWiki", 400),
        (b"4\r\nWikiX", 400),
        (b"4\r\nWiki\n0\r\n\r\n", 400),
        (b"4" + b";" * 300, 400),
        (b"0\r\n" + b"X: " + b"y" * http1.MAX_TRAILER_BYTES, 400),
        (b"0\r\n" + b"X: y\r\n" * http1.MAX_TRAILER_BYTES, 400),
        (b"ffffffff\r\n", 413),
        (b"8\r\n12345678\r\n8\r\n12345678\r\n1\r\n", 413),
    ],
)
def test_malformed_chunks(wire: bytes, code: int) -> None:
    with refused(code):
        decode([wire], limit_bytes=16)
    with refused(code):
        decode([wire[i : i + 1] for i in range(len(wire))], limit_bytes=16)


def test_gzip_bodies_are_bounded() -> None:
    assert http1.decompress(gzip.compress(b"a" * 100), "gzip", 100) == b"a" * 100
    assert http1.decompress(gzip.compress(b"a") + gzip.compress(b"b"), "gzip", 100) == b"ab"
    with refused(413):
        http1.decompress(gzip.compress(b"a" * 101), "gzip", 100)
    with refused(413):
        http1.decompress(gzip.compress(b"a" * 60) * 2, "gzip", 100)
    with refused(413):
        http1.decompress(gzip.compress(bytes(50_000_000)), "gzip", 3 << 20)


def test_bad_gzip_bodies() -> None:
    whole = gzip.compress(b"a" * 100)
    with refused(400):
        http1.decompress(whole[:-1], "gzip", 1000)
    with refused(400):
        http1.decompress(b"not gzip", "gzip", 1000)
    with refused(400):
        http1.decompress(whole + b"tail", "gzip", 1000)
    with refused(400):
        http1.decompress(gzip.compress(b"") * (http1.MAX_GZIP_MEMBERS + 1), "gzip", 1000)
    with refused(415):
        http1.decompress(whole, "br", 1000)


def test_response_heads() -> None:
    assert http1.head_prefix(200, b"text/plain") == b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
    assert http1.head_prefix(299, b"") == b"HTTP/1.1 299 Unknown\r\n"
    assert http1.encode_headers(((b"Warning", b"a\r\nX: y"),)) == b"Warning: a  X: y\r\n"
