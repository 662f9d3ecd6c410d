"""Documents that are made once and served often: discovery and OpenAPI.

A `Document` owns the bytes of one representation and its entity tag. Anything that is worth compressing is kept compressed only: nearly
every client takes gzip, documents shrink tenfold, and one who does not costs 2 ms a megabyte to inflate.
"""

from __future__ import annotations

import hashlib
import zlib

from lakh.machinery import errors
from lakh.server.transport import Request, Response

# Smaller bodies gain nothing: they are one packet either way.
COMPRESS_FROM_BYTES = 1400
# Documents repeat themselves so much that higher levels cost time and win little.
COMPRESSION_LEVEL = 4
_GZIP_WINDOW = 16 + zlib.MAX_WBITS

Headers = tuple[tuple[bytes, bytes], ...]


class Document:
    """A body, its content type and its entity tag (a digest of the body unless given)."""

    __slots__ = ("_body", "_compressed", "content_type", "etag", "size_bytes")

    def __init__(
        self, body: bytes, content_type: bytes = b"application/json", *, etag: str | None = None
    ) -> None:
        self.etag = '"%s"' % (etag or hashlib.sha256(body).hexdigest().upper())
        self.content_type = content_type
        self.size_bytes = len(body)
        self._compressed = len(body) >= COMPRESS_FROM_BYTES
        if self._compressed:
            squeeze = zlib.compressobj(COMPRESSION_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
            body = squeeze.compress(body) + squeeze.flush()
        self._body = body

    def __repr__(self) -> str:
        return f"<Document {self.etag[:9]}… {self.size_bytes} bytes, {len(self._body)} kept>"

    @property
    def body(self) -> bytes:
        """The body as it is without compression."""
        return zlib.decompress(self._body, _GZIP_WINDOW) if self._compressed else self._body

    def answer(self, request: Request, headers: Headers = ()) -> Response:
        """200, compressed when the client takes it, or 304 when the client has it."""
        headers = ((b"ETag", self.etag.encode()), (b"Vary", b"Accept, Accept-Encoding"), *headers)
        if has_current(request.headers.get("if-none-match", ""), self.etag):
            return Response(304, b"", self.content_type, headers)
        if self._compressed and takes_gzip(request.headers.get("accept-encoding", "")):
            return Response(200, self._body, self.content_type, (*headers, (b"Content-Encoding", b"gzip")))
        return Response(200, self.body, self.content_type, headers)


def only_get(request: Request) -> None:
    """Raises 405 for any other method, HEAD included: go-restful's routes are of one method."""
    if request.method != "GET":
        raise errors.method_not_allowed()


def has_current(if_none_match: str, etag: str) -> bool:
    """Whether an `If-None-Match` header names an entity tag; weak comparison, as for GET."""
    if not if_none_match:
        return False
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag == etag or tag == "*" for tag in tags)


def takes_gzip(accept_encoding: str) -> bool:
    """Whether an `Accept-Encoding` header allows gzip."""
    for name, weight in _weighted(accept_encoding):
        if name in ("gzip", "*"):
            return weight > 0
    return False


def best_type(accept: str, offered: tuple[str, ...]) -> str | None:
    """The offered media type that an `Accept` header likes best, the earlier one when equal; None when it takes none.

    Parameters other than `q` are ignored. An absent header takes anything.
    """
    for wanted, weight in sorted(_weighted(accept or "*/*"), key=lambda entry: -entry[1]):
        if weight <= 0:
            continue
        for candidate in offered:
            if wanted in (candidate, "*/*") or wanted == candidate.partition("/")[0] + "/*":
                return candidate
    return None


def _weighted(header: str) -> list[tuple[str, float]]:
    """The entries of an `Accept…` header with their weights, in its order."""
    entries = []
    for entry in header.split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        if name:
            entries.append((name.lower(), weight))
    return entries
