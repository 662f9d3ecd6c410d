"""Requests that are passed on: to kubelets, pods and services, over HTTP/1.1 on asyncio's streams.

One request a connection. The answer's body is read as it comes; an answer of `101 Switching Protocols` leaves both ends as pipes of bytes,
which is all that WebSocket and SPDY need. Nothing here retries: what is passed on may not be done twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl
from collections.abc import AsyncIterator
from urllib.parse import SplitResult

from lakh.machinery import gonumbers
from lakh.server.exchange import Response, Stream, StreamResponse, Tunnel
from lakh.server.http1 import IMPERSONATE

# Upstream waits 30 s for a connection. A client of ours waits with it.
DIAL_SECONDS = 10.0
# How long a backend may take to begin its answer; exec and log begin at once.
HEAD_SECONDS = 60.0
HEAD_MAX_BYTES = 64 * 1024
READ_BYTES = 64 * 1024

# What belongs to one connection, not to the message (RFC 9110, 7.6.1), and what the transport has undone.
HOP_BY_HOP = frozenset(
    (
        "connection",
        "content-encoding",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
# The client's proof of who it is stays here.
PRIVATE = frozenset(("authorization",))
BEARER_PROTOCOL = "base64url.bearer.authorization.k8s.io."
# Headers that clients send once for each value, and some kubelets read only so.
REPEATED = frozenset(("x-stream-protocol-version",))


class BackendError(Exception):
    """The backend cannot be reached or does not speak HTTP; the text is Go's."""


class Backend:
    """One answer under way: `status`, `headers` (names in lower case), and the body or the pipe behind it."""

    def __init__(
        self,
        status: int,
        head: bytes,
        headers: list[tuple[str, str]],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.status = status
        self.head = head
        self.headers = headers
        self.reader = reader
        self.writer = writer

    def header(self, name: str) -> str:
        """A header's first value, or nothing."""
        return next((value for key, value in self.headers if key == name), "")

    def close(self) -> None:
        """Drops the connection."""
        self.writer.close()

    async def body(self) -> AsyncIterator[bytes]:
        """The body, piece by piece; raises BackendError when it is cut off."""
        length = self.header("content-length")
        try:
            if "chunked" in self.header("transfer-encoding").lower():
                while size := int((await self.reader.readline()).partition(b";")[0], 16):
                    while size:
                        data = await self.reader.read(min(size, READ_BYTES))
                        if not data:
                            raise BackendError("unexpected EOF")
                        size -= len(data)
                        yield data
                    await self.reader.readexactly(2)
            elif length:
                left = int(length)
                while left:
                    data = await self.reader.read(min(left, READ_BYTES))
                    if not data:
                        raise BackendError("unexpected EOF")
                    left -= len(data)
                    yield data
            else:
                while data := await self.reader.read(READ_BYTES):
                    yield data
        except (OSError, ValueError, asyncio.IncompleteReadError) as e:
            raise BackendError(str(e)) from e

    async def read(self, limit_bytes: int) -> bytes:
        """The body, up to a limit."""
        found = b""
        with contextlib.suppress(BackendError):
            async for data in self.body():
                found += data
                if len(found) >= limit_bytes:
                    break
        return found[:limit_bytes]

    def response(self, method: str) -> Response | StreamResponse:
        """The answer as it goes on to the client."""
        kept = tuple(
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in self.headers
            if (name not in HOP_BY_HOP and name != "content-type") or name == "content-encoding"
        )
        content_type = self.header("content-type").encode("latin-1")
        if method == "HEAD" or self.status in (204, 304):
            self.close()
            return Response(self.status, b"", content_type, kept)
        return StreamResponse(self.status, content_type, self._copy, kept)

    async def _copy(self, stream: Stream) -> None:
        try:
            async for data in self.body():
                stream.write(data)
                if stream.paused:
                    await stream.drain()
            stream.finish()
        except BackendError:
            stream.abort()
        finally:
            self.close()

    def tunnel(self) -> Tunnel:
        """The pipe behind an answer of 101."""
        return Tunnel(self.head, self.reader, self.writer)


def forwarded(headers: dict[str, str]) -> list[tuple[str, str]]:
    """A client's headers as the backend gets them."""
    found = []
    for name, value in headers.items():
        if name in HOP_BY_HOP or name in PRIVATE or name.startswith(IMPERSONATE):
            continue
        if name == "sec-websocket-protocol":
            protocols = [p.strip() for p in value.split(",")]
            value = ", ".join(p for p in protocols if not p.startswith(BEARER_PROTOCOL))
        if name in REPEATED:
            found += [(name, part.strip()) for part in value.split(",")]
        else:
            found.append((name, value))
    if headers.get("upgrade"):
        found += [("connection", "Upgrade"), ("upgrade", headers["upgrade"])]
    return found


async def ask(
    url: SplitResult,
    tls: ssl.SSLContext | None,
    method: str,
    target: str,
    headers: list[tuple[str, str]],
    body: bytes = b"",
    dial: tuple[str, int] | None = None,
) -> Backend:
    """Sends a request to the host of `url` (at `dial`, if that is another address) and reads the head of its answer; raises BackendError.

    `target` is the path with its query. Without `tls` the certificate of an https host is not looked at.
    """
    secure = url.scheme == "https"
    name = url.hostname or ""
    host, port = dial or (name, url.port or (443 if secure else 80))
    if secure and tls is None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(DIAL_SECONDS):
            reader, writer = await asyncio.open_connection(
                host,
                port,
                ssl=tls if secure else None,
                server_hostname=name if secure else None,
                limit=HEAD_MAX_BYTES,
            )
    except (TimeoutError, OSError) as e:
        raise BackendError(_dial_error(host, port, e)) from e
    try:
        async with asyncio.timeout(HEAD_SECONDS):
            named = dict(headers)
            lines = [f"{method} {target} HTTP/1.1", f"host: {url.netloc.rpartition('@')[2]}"]
            lines += [f"{name}: {value}" for name, value in headers]
            if "connection" not in named:
                lines.append("connection: close")
            if body or method in ("POST", "PUT", "PATCH"):
                lines.append(f"content-length: {len(body)}")
            writer.write("\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body)
            await writer.drain()
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                status, found = _head(head)
                # 100 Continue and the like come before the answer.
                if status >= 200 or status == 101:
                    return Backend(status, head, found, reader, writer)
    except TimeoutError as e:
        writer.close()
        raise BackendError("net/http: timeout awaiting response headers") from e
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as e:
        writer.close()
        raise BackendError("EOF" if isinstance(e, asyncio.IncompleteReadError) else str(e)) from e
    except BaseException:
        writer.close()
        raise


def _head(head: bytes) -> tuple[int, list[tuple[str, str]]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    version, status, *_ = first.split(" ", 2)
    if not version.startswith("HTTP/1.") or not gonumbers.is_uint(status):
        raise ValueError(
            f'net/http: HTTP/1.x transport connection broken: malformed HTTP response "{first[:64]}"'
        )
    found = []
    for line in lines:
        name, separator, value = line.partition(":")
        if separator:
            found.append((name.strip().lower(), value.strip()))
    return int(status), found


def _dial_error(host: str, port: int, error: BaseException) -> str:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(error, TimeoutError):
        return f"dial tcp {where}: i/o timeout"
    if isinstance(error, ssl.SSLError):
        return f"tls: {error.reason or error}"
    code = getattr(error, "errno", None)
    texts = {
        errno.ECONNREFUSED: "connection refused",
        errno.EHOSTUNREACH: "no route to host",
        errno.ENETUNREACH: "network is unreachable",
    }
    return f"dial tcp {where}: connect: {texts.get(code or 0, str(error).lower())}"
