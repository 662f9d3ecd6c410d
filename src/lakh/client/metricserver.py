"""A component's own small HTTP server: `/metrics` and `/metrics/slis` for Prometheus, `/healthz`, `/livez` and `/readyz` for whoever supervises it.

A component adds to `CHECKS` what it must have done before it is ready.

It answers on loopback unless told otherwise, without TLS: there is nothing to change there and no secret to read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

from lakh.machinery.health import ENDPOINTS, SLIS_PATH, Health
from lakh.machinery.metrics import CONTENT_TYPE, PROCESS
from lakh.machinery.process import add_process

__all__ = ["CHECKS", "MetricsPortError", "serving_metrics"]

HEAD_BYTES = 16 * 1024
REQUEST_SECONDS = 10.0


CHECKS: dict[str, Callable[[], bool]] = {}
"""What `/readyz` asks of this process, by name."""
_HEALTH = Health()
_TEXT = b"text/plain; charset=utf-8"


class MetricsPortError(Exception):
    """Metrics cannot be served on the port asked for."""


def answer(line: bytes) -> bytes:
    """The answer to a request line."""
    parts = line.split()
    path, _, query = (parts[1] if len(parts) > 1 else b"").partition(b"?")
    status, kind, body = 404, _TEXT, b"404 page not found\n"
    if parts and parts[0] not in (b"GET", b"HEAD"):
        status, body = 405, b""
    elif path == b"/metrics":
        status, kind, body = 200, CONTENT_TYPE, PROCESS.expose()
    elif path == SLIS_PATH.encode():
        status, kind, body = 200, CONTENT_TYPE, _HEALTH.slis.expose()
    else:
        endpoint, _, name = path.decode("latin-1")[1:].partition("/")
        if endpoint in ENDPOINTS:
            checks = {"ping": True}
            if endpoint == "readyz":
                checks |= {one: check() for one, check in CHECKS.items()}
            found = _HEALTH.answer(endpoint, name, checks, verbose=query.startswith(b"verbose"))
            status, body = found or (status, body)
    head = b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    phrase = HTTPStatus(status).phrase.encode()
    return head % (status, phrase, kind, len(body)) + (body if not parts or parts[0] != b"HEAD" else b"")


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
async def serving_metrics(
    port: int | None, address: str = "127.0.0.1", *, held: bool = False
) -> AsyncIterator[int]:
    """Serves while the body runs; the port is given, 0 when `port` is None: not served. Raises MetricsPortError.

    `held`: a supervisor keeps the port for us, with a socket that is bound to it (SO_REUSEPORT) and does not listen.
    """
    if port is None:
        yield 0
        return
    add_process(PROCESS)
    try:
        server = await asyncio.start_server(_serve, address, port, limit=HEAD_BYTES, reuse_port=held)
    except OSError as error:
        raise MetricsPortError(f"cannot serve metrics on {address}:{port}: {error.strerror}") from error
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
