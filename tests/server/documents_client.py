"""What the tests of discovery and OpenAPI share: requests without a connection, and a real kubectl against a small server."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from lakh.apis.catalogue import registry
from lakh.machinery import errors
from lakh.server.connection import Connection
from lakh.server.discovery import Discovery
from lakh.server.openapi import OpenApi
from lakh.server.routing import parse_query
from lakh.server.transport import Request, Response, Server

KUBECTL = shutil.which("kubectl")
KUBECTL_SECONDS = 240
VERSION = b'{"major":"1","minor":"36","gitVersion":"v1.36.0"}'

needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not on PATH")


def request(path: str, query: str = "", **headers: str) -> Request:
    """A GET; `accept_encoding="gzip"` is the header of that name."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("GET", path, query, named, b"", cast(Connection, None))


def headers(response: Response) -> dict[str, str]:
    """A response's own headers, by lower-case name."""
    return {name.decode().lower(): value.decode() for name, value in response.headers}


def body(response: Response) -> bytes:
    """A response's body in one piece."""
    return response.body if isinstance(response.body, bytes) else b"".join(response.body)


class Cluster:
    """A server of discovery, OpenAPI and whatever `extra` answers, and a kubectl that talks to it."""

    def __init__(self, server: Server, home: Path, seen: list[Request]) -> None:
        self._server = server
        self._home = home
        self.seen = seen

    async def kubectl(self, *arguments: str, stdin: bytes = b"") -> str:
        """What kubectl prints; fails the test when kubectl fails."""
        assert KUBECTL is not None
        process = await asyncio.create_subprocess_exec(
            KUBECTL,
            f"--server=http://127.0.0.1:{self._server.port}",
            f"--cache-dir={self._home / 'cache'}",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"HOME": str(self._home), "PATH": os.environ["PATH"], "KUBECONFIG": str(self._home / "none")},
        )
        async with asyncio.timeout(KUBECTL_SECONDS):
            out, err = await process.communicate(stdin)
        assert process.returncode == 0, err.decode()
        return out.decode()

    @property
    def paths(self) -> list[str]:
        """The paths asked for so far."""
        return [seen.path for seen in self.seen]


@asynccontextmanager
async def cluster(
    home: Path, extra: Callable[[Request], Response | None] = lambda request: None
) -> AsyncIterator[Cluster]:
    """A `Cluster` on a free port, with the whole catalogue."""
    seen: list[Request] = []
    parts: tuple[Any, ...] = (Discovery(registry()), OpenApi(registry()))

    def handle(request: Request) -> Response:
        seen.append(request)
        if request.path == "/version":
            return Response(200, VERSION)
        for part in parts:
            answer: Response | None = part.handle(request, request.path, parse_query(request.query))
            if answer is not None:
                return answer
        answer = extra(request)
        if answer is None:
            raise errors.path_not_found()
        return answer

    server = Server(handle)
    await server.start("127.0.0.1", 0, None)
    try:
        yield Cluster(server, home, seen)
    finally:
        await server.stop(1.0)
