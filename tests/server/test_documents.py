"""Documents: entity tags, compression, and what `Accept…` headers mean."""

from __future__ import annotations

import gzip
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.server.connection import Connection
from lakh.server.documents import COMPRESS_FROM_BYTES, Document, best_type, has_current, takes_gzip
from lakh.server.transport import Request, Response

OFFERED = ("application/json", "application/x+protobuf")


def ask(document: Document, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return document.answer(Request("GET", "/", "", named, b"", cast(Connection, None)))


@given(st.binary(max_size=3 * COMPRESS_FROM_BYTES))
def test_a_body_is_the_same_with_and_without_compression(body: bytes) -> None:
    document = Document(body)
    assert document.body == body
    assert document.size_bytes == len(body)
    plain, packed = ask(document), ask(document, accept_encoding="gzip")
    assert plain.body == body
    assert (b"Content-Encoding", b"gzip") not in plain.headers
    if (b"Content-Encoding", b"gzip") in packed.headers:
        assert isinstance(packed.body, bytes)
        assert gzip.decompress(packed.body) == body
    else:
        assert packed.body == body
        assert len(body) < COMPRESS_FROM_BYTES


def test_large_documents_are_kept_small() -> None:
    document = Document(b"kubernetes " * 100_000)
    assert repr(document).startswith('<Document "')
    answer = ask(document, accept_encoding="gzip, deflate")
    assert len(answer.body) < 100_000
    assert (b"Vary", b"Accept, Accept-Encoding") in answer.headers


def test_a_client_that_has_it_is_told_so() -> None:
    document = Document(b"{}")
    assert document.etag == Document(b"{}").etag != Document(b"[]").etag
    answer = ask(document, if_none_match=document.etag)
    assert (answer.status, answer.body) == (304, b"")
    assert (b"ETag", document.etag.encode()) in answer.headers
    assert ask(document, if_none_match='"other"').status == 200


def test_a_given_entity_tag_is_kept() -> None:
    assert Document(b"{}", etag="A1").etag == '"A1"'


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", False),
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ("*", True),
        ('"b"', False),
        ("a", False),
    ],
)
def test_if_none_match(header: str, expected: bool) -> None:
    assert has_current(header, '"a"') is expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip;q=x", False),
        ("*", True),
        ("identity", False),
    ],
)
def test_accept_encoding(header: str, expected: bool) -> None:
    assert takes_gzip(header) is expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/x+protobuf", "application/x+protobuf"),
        ("application/json;q=0.5, application/x+protobuf", "application/x+protobuf"),
        ("text/plain, application/json", "application/json"),
        ("application/json;q=0", None),
        ("text/html", None),
    ],
)
def test_accept(header: str, expected: str | None) -> None:
    assert best_type(header, OFFERED) == expected
