"""HTTP/1.1 framing without I/O: heads, which HTTP/2 shares, chunked bodies, compressed bodies, response heads.

The idea: one client sends the same header block again and again, so a block is tokenised once (by llhttp, through
httptools) and remembered by its raw bytes; so is the request line, by itself. A request whose block and line were seen before costs two lookups.
The request line is always read here, so a request is judged alike whether its block was remembered or not.

Invariants
* A message's end is never ambiguous: a block with bare CR or LF, with `Transfer-Encoding` next to `Content-Length`, with a
  repeated `Content-Length` or `Host`, or with a transfer coding other than `chunked` is refused (request smuggling).
* Everything is bounded: heads, chunk lines, trailers, bodies before and after decompression, the number of remembered blocks.
* `Head.headers` is shared between requests. Nobody may change it.

Costs: a remembered head 1 µs; a new one 4 µs and about 1 µs a header.
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from http import HTTPStatus

import httptools

# Request line and headers together, as Go's server takes them: 1 MiB, and its reader's 4 KiB on top.
MAX_HEAD_BYTES = 1024 * 1024 + 4096
# What Kubernetes' clients send stays under 8 KiB even with large bearer tokens. Of longer heads than this, a server reads so many at once, and each
# may come in so many pieces: a piece costs a copy of what is there.
LARGE_HEAD_BYTES = 64 * 1024
MAX_LARGE_HEADS = 64
MAX_LARGE_HEAD_PIECES = 1024
# Header lines. Each costs 1 µs.
MAX_HEADER_LINES = 4096
# Blocks longer than this are not remembered, so two generations hold at most 16 MiB.
MAX_REMEMBERED_BLOCK_BYTES = 4096
REMEMBERED_BLOCKS = 2048
# Request lines, of reads and creates: an object is seldom written twice. A line that never comes again costs 2 us to remember, more if they are many.
REMEMBERED_LINES = 512
MAX_REMEMBERED_LINE_BYTES = 512
_COMES_AGAIN = (b"GET ", b"POST ")
# A chunk's size line with its extensions. Extensions are not used by anybody.
MAX_CHUNK_LINE_BYTES = 256
MAX_TRAILER_BYTES = 8192
# A gzip stream may be several members in a row. Each costs a copy of the rest, so thousands would be quadratic.
MAX_GZIP_MEMBERS = 16

REPEATED = "\n"
"""Between the values of a repeated `X-Remote-…` or `Impersonate-…` header: unlike a comma it cannot be part of one."""
IMPERSONATE = "impersonate-"
"""The beginning of the headers that ask to act as somebody else, and a header of its own, empty, where one of them is there: so that
requests without them cost one look."""

METHODS: dict[bytes, str] = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
}
_VERSIONS = {b"HTTP/1.1": True, b"HTTP/1.0": False}

# What nearly every request line is: one C call says that it is well-formed.
_USUAL_LINE = re.compile(rb"(%b) (/[!-~]*) HTTP/1\.1" % b"|".join(METHODS)).fullmatch
# Field names of HTTP/2 are in lower case; those of HTTP/1.1's connections are not said (RFC 9113, 8.2).
_FIELD_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_OF_CONNECTIONS = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
_LINE_ENDS = re.compile(rb"[\0\r\n]").search
_DIGITS = re.compile(r"[0-9]{1,15}\Z")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\Z")


Fields = tuple[tuple[bytes, bytes, bool], ...]
"""Header fields of HTTP/2: name, value, and whether they may not be put into a table."""


class HttpError(Exception):
    """The client's fault in the protocol itself: `code` and `reason` go into the Status, and the connection ends."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message


def malformed(message: str) -> HttpError:
    """400: the bytes are not HTTP, or not unambiguously so."""
    return HttpError(400, "BadRequest", message)


def too_large(limit_bytes: int) -> HttpError:
    """413: the body is over the limit."""
    return HttpError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit_bytes}")


class Head:
    """What a header block says: the headers and what follows from them for the framing."""

    __slots__ = (
        "chunked",
        "close",
        "content_encoding",
        "content_length",
        "expects_continue",
        "has_host",
        "headers",
        "keep_alive",
        "plain",
    )

    def __init__(self, headers: dict[str, str], counts: dict[str, int]) -> None:
        self.headers = headers
        length = headers.get("content-length")
        coding = headers.get("transfer-encoding")
        if length is not None:
            if coding is not None:
                raise malformed("Transfer-Encoding and Content-Length exclude each other")
            if counts["content-length"] > 1 or _DIGITS.match(length) is None:
                raise malformed("malformed Content-Length")
        if coding is not None and coding.lower() != "chunked":
            raise HttpError(501, "NotImplemented", f"unsupported transfer encoding: {coding!r}")
        if counts.get("host", 0) > 1:
            raise malformed("more than one Host header")
        options = {option.strip() for option in headers.get("connection", "").lower().split(",")}
        encoding = headers.get("content-encoding", "").strip().lower()
        self.content_length = int(length) if length is not None else 0
        self.chunked = coding is not None
        self.close = "close" in options
        self.keep_alive = "keep-alive" in options
        self.expects_continue = headers.get("expect", "").strip().lower() == "100-continue"
        self.content_encoding = "" if encoding == "identity" else encoding
        self.has_host = "host" in headers
        # The common case, decided once: HTTP/1.1, persistent, a body of known length or none.
        self.plain = self.has_host and not (self.close or self.chunked or self.content_encoding)


class _HeaderCollector:
    """What llhttp calls back while it reads one block."""

    __slots__ = ("complete", "counts", "headers", "repeated")

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        self.repeated: dict[str, list[str]] = {}
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1").strip(" \t")
        if key in self.headers:
            self.repeated.setdefault(key, [self.headers[key]]).append(text)
            self.counts[key] += 1
        else:
            if key.startswith(IMPERSONATE):
                self.headers[IMPERSONATE] = ""
            self.headers[key] = text
            self.counts[key] = 1

    def on_headers_complete(self) -> None:
        for key, values in self.repeated.items():
            if key != "authorization":  # the first one counts, as upstream
                separator = REPEATED if key.startswith(("x-remote-", IMPERSONATE)) else ", "
                self.headers[key] = separator.join(values)
        self.complete = True


def parse_header_block(block: bytes) -> Head:
    """Read a header block: everything after the request line, up to and with the empty line."""
    newlines = block.count(b"\r\n")
    if block.count(b"\n") != newlines or block.count(b"\r") != newlines:
        raise malformed("a header line ends with a bare CR or LF")
    if newlines > MAX_HEADER_LINES:
        raise HttpError(431, "RequestHeaderFieldsTooLarge", "there are too many headers")
    collector = _HeaderCollector()
    try:
        httptools.HttpRequestParser(collector).feed_data(b"POST / HTTP/1.1\r\n" + block)
    except httptools.HttpParserUpgrade:
        pass  # Upgrades are not offered: the request goes on as plain HTTP, which RFC 9110 allows.
    except httptools.HttpParserError as error:
        raise malformed(f"malformed headers: {error}") from error
    if not collector.complete:
        raise malformed("malformed headers")
    return Head(collector.headers, collector.counts)


def parse_fields(authority: bytes | None, fields: Fields) -> Head | None:
    """The same for a request of HTTP/2, without its pseudo-header fields. None: it is malformed (RFC 9113, 8.2). Raises `HttpError`."""
    collector = _HeaderCollector()
    if authority is not None:
        collector.on_header(b"host", authority)
    for name, value, _ in fields:
        if _FIELD_NAME(name) is None or name in _OF_CONNECTIONS or _LINE_ENDS(value) is not None:
            return None
        if name == b"te" and value != b"trailers":
            return None
        if name != b"host" or authority is None:
            collector.on_header(name, value)
    cookies = collector.repeated.pop("cookie", None)
    if cookies is not None:
        collector.headers["cookie"] = "; ".join(cookies)
    collector.on_headers_complete()
    return Head(collector.headers, collector.counts)


class HeadCache:
    """Heads seen before, in two generations: a full young one becomes the old one, and the old one is dropped."""

    __slots__ = ("_limit", "_old", "_young")

    def __init__(self, limit: int = REMEMBERED_BLOCKS) -> None:
        self._young: dict[object, Head] = {}
        self._old: dict[object, Head] = {}
        self._limit = limit

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def head(self, block: bytes) -> Head:
        """The head of this block, remembered or parsed. Raises `HttpError`; refused blocks are not remembered."""
        head = self._young.get(block)
        if head is not None:
            return head
        head = self._old.get(block)
        if head is None:
            head = parse_header_block(block)
        self._remember(block, head, len(block))
        return head

    def fields(self, authority: bytes | None, fields: Fields) -> Head | None:
        """The same for the fields of a request of HTTP/2, as `parse_fields`."""
        key = authority, fields
        head = self._young.get(key)
        if head is not None:
            return head
        head = self._old.get(key)
        if head is None:
            head = parse_fields(authority, fields)
            if head is None:
                return None
        self._remember(key, head, sum([len(name) + len(value) for name, value, _ in fields]))
        return head

    def _remember(self, key: object, head: Head, size: int) -> None:
        if size <= MAX_REMEMBERED_BLOCK_BYTES:
            if len(self._young) >= self._limit:
                self._old = self._young
                self._young = {}
            self._young[key] = head


class LargeHeads:
    """The large heads that are being read, by whom: what they may cost in memory and time is bounded."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: dict[object, int] = {}

    def __len__(self) -> int:
        return len(self._pieces)

    def more(self, reader: object) -> None:
        """Another piece came, and it is not the last. Raises `HttpError`."""
        pieces = self._pieces.get(reader, 0)
        if not pieces and len(self._pieces) >= MAX_LARGE_HEADS:
            raise HttpError(503, "ServiceUnavailable", "too many large request heads at once")
        if pieces >= MAX_LARGE_HEAD_PIECES:
            raise HttpError(408, "Timeout", "the request head comes in too many pieces")
        self._pieces[reader] = pieces + 1

    def done(self, reader: object) -> None:
        """It was read, or will not be."""
        self._pieces.pop(reader, None)


def parse_request_line(line: bytes) -> tuple[str, str, str, bool]:
    """Method, path, query (what stands behind the first `?`) and whether it is HTTP/1.1. Raises `HttpError`."""
    if line.startswith(_COMES_AGAIN) and len(line) <= MAX_REMEMBERED_LINE_BYTES:
        return _remembered_line(line)
    return _parse_line(line)


def _parse_line(line: bytes) -> tuple[str, str, str, bool]:
    usual = _USUAL_LINE(line)
    if usual is not None:
        name, origin = usual.groups()
        path, _, query = origin.decode("ascii").partition("?")
        return METHODS[name], path, query, True
    parts = line.split(b" ")
    if len(parts) != 3:
        raise malformed("malformed request line")
    method = METHODS.get(parts[0])
    if method is None:
        raise malformed("unknown HTTP method")
    modern = _VERSIONS.get(parts[2])
    if modern is None:
        raise HttpError(505, "HTTPVersionNotSupported", "unsupported HTTP version")
    target = parts[1].decode("latin-1")
    if not (target.isascii() and target.isprintable()):
        raise malformed("malformed request target")
    if not target.startswith("/"):
        target = _origin_form(target, method)
    path, _, query = target.partition("?")
    return method, path, query, modern


_remembered_line = lru_cache(REMEMBERED_LINES)(_parse_line)


def _origin_form(target: str, method: str) -> str:
    """The path of an absolute-form target; `*` stays what it is."""
    scheme, separator, rest = target.partition("://")
    if separator and scheme.lower() in ("http", "https"):
        slash = rest.find("/")
        mark = rest.find("?")
        if slash >= 0 and (mark < 0 or slash < mark):
            return rest[slash:]
        return "/" + (rest[mark:] if mark >= 0 else "")
    if target == "*" and method == "OPTIONS":
        return target
    raise malformed("malformed request target")


class ChunkedBody:
    """An incremental decoder of a chunked body.

    `feed(buffer, position)` consumes what it can and returns the new position; the caller keeps the rest and shows it again
    with more behind it. `done` once the terminating chunk and its trailers were read.

        b"4\\r\\nWiki\\r\\n0\\r\\n\\r\\nGET /"  →  body b"Wiki", done, position at b"GET /"
    """

    __slots__ = ("_left", "_limit", "_stage", "_trailer_bytes", "body", "done")

    def __init__(self, limit_bytes: int) -> None:
        self.body = bytearray()
        self.done = False
        self._limit = limit_bytes
        self._left = 0
        self._stage = "size"  # size → data → end → size … → trailers
        self._trailer_bytes = 0

    def feed(self, buffer: bytes, position: int) -> int:
        """Consume from `position` on. Raises `HttpError`."""
        size = len(buffer)
        while position < size:
            if self._stage == "data":
                end = min(position + self._left, size)
                self.body += memoryview(buffer)[position:end]
                self._left -= end - position
                position = end
                if self._left:
                    return position
                self._stage = "end"
            elif self._stage == "end":
                if size - position < 2:
                    if buffer[position] != 13:
                        raise malformed("a chunk is not followed by CRLF")
                    return position
                if buffer[position : position + 2] != b"\r\n":
                    raise malformed("a chunk is not followed by CRLF")
                position += 2
                self._stage = "size"
            elif self._stage == "size":
                end = buffer.find(b"\r\n", position, position + MAX_CHUNK_LINE_BYTES)
                if end < 0:
                    if size - position >= MAX_CHUNK_LINE_BYTES:
                        raise malformed("malformed chunk size")
                    return position
                match = _CHUNK_LINE.match(buffer[position:end])
                if match is None:
                    raise malformed("malformed chunk size")
                position = end + 2
                self._left = int(match[1], 16)
                if len(self.body) + self._left > self._limit:
                    raise too_large(self._limit)
                self._stage = "data" if self._left else "trailers"
            else:
                end = buffer.find(b"\r\n", position)
                if (end if end >= 0 else size) - position + self._trailer_bytes > MAX_TRAILER_BYTES:
                    raise malformed("trailers are too long")
                if end < 0:
                    return position
                self._trailer_bytes += end + 2 - position
                self.done = end == position
                position = end + 2
                if self.done:
                    return position
        return position


def decompress(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """A request body without its content coding. Never makes more than the limit, whatever the input claims."""
    if encoding != "gzip":
        raise HttpError(415, "UnsupportedMediaType", f"unsupported content encoding: {encoding!r}")
    out = bytearray()
    rest = body
    try:
        for _ in range(MAX_GZIP_MEMBERS):
            inflater = zlib.decompressobj(wbits=31)
            out += inflater.decompress(rest, limit_bytes - len(out) + 1)
            if len(out) > limit_bytes:
                raise too_large(limit_bytes)
            if not inflater.eof:
                raise malformed("the gzip body is truncated")
            rest = inflater.unused_data
            if not rest:
                return bytes(out)
    except zlib.error as error:
        raise malformed(f"malformed gzip body: {error}") from error
    raise malformed("the gzip body has too many members")


_heads: dict[tuple[int, bytes], bytes] = {}
_MAX_HEADS = 1024  # (status, content type) pairs; both come from our own code, the bound is for safety.


def head_prefix(status: int, content_type: bytes) -> bytes:
    """Status line and Content-Type of a response, remembered."""
    prefix = _heads.get((status, content_type))
    if prefix is None:
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unknown"
        prefix = b"HTTP/1.1 %d %b\r\n" % (status, phrase.encode())
        if content_type:
            prefix += b"Content-Type: %b\r\n" % content_type
        if len(_heads) < _MAX_HEADS:
            _heads[status, content_type] = prefix
    return prefix


def encode_headers(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Extra header lines. A line break in a value (a warning that quotes the user) becomes a space."""
    lines: list[bytes] = []
    for name, value in headers:
        if b"\n" in value or b"\r" in value:
            value = value.replace(b"\r", b" ").replace(b"\n", b" ")
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)
