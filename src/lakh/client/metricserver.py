"""A component's own small HTTP server: `/metrics` for Prometheus, `/healthz`, `/livez` and `/readyz` for whoever supervises it.

It answers on loopback unless told otherwise, without TLS: there is nothing to change there and no secret to read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from lakh.machinery.metrics import CONTENT_TYPE, PROCESS
from lakh.machinery.process import add_process

__all__ = ["MetricsPortError", "serving_metrics"]

HEAD_BYTES = 16 * 1024
REQUEST_SECONDS = 10.0


class MetricsPortError(Exception):
    """Metrics cannot be served on the port asked for."""


def answer(line: bytes) -> bytes:
    """The answer to a request line."""
    parts = line.split()
    path = parts[1].partition(b"?")[0] if len(parts) > 1 else b""
    status, kind, body = b"404 Not Found", b"text/plain; charset=utf-8", b"404 page not found\n"
    if parts and parts[0] not in (b"GET", b"HEAD"):
        status, body = b"405 Method Not Allowed", b""
    elif path == b"/metrics":
        status, kind, body = b"200 OK", CONTENT_TYPE, PROCESS.expose()
    elif path in (b"/healthz", b"/livez", b"/readyz"):
        status, body = b"200 OK", b"ok"
    head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    return head % (status, kind, len(body)) + (body if not parts or parts[0] != b"HEAD" else b"")


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(answer(head.partition(b"\r\n")[0]))
            await writer.drain()
    except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # it is the asker's loss
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def serving_metrics(port: int | None, address: str = "127.0.0.1") -> AsyncIterator[int]:
    """Serves while the body runs; the port is given, 0 when `port` is None: not served. Raises MetricsPortError."""
    if port is None:
        yield 0
        return
    add_process(PROCESS)
    try:
        server = await asyncio.start_server(_serve, address, port, limit=HEAD_BYTES)
    except OSError as error:
        raise MetricsPortError(f"cannot serve metrics on {address}:{port}: {error.strerror}") from error
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
