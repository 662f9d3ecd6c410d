"""Writes whose end is told to a function: thousands a second, without a task for each.

A write is sent at once when a connection is idle and nothing else waits for one; that it has been answered costs one turn of a callback. Only a
write that has to wait for a connection, and one that the server refuses, perhaps to be tried again, goes on in a task of its own, as any
other request of the client. What is sent, and what comes of it, is the same either way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any

from .errors import ClientError, Unprocessed
from .exchange import RawResponse
from .tasks import TaskGuard
from .transport import Transport

__all__ = ["Done", "Writer"]

Done = Callable[[bytes | ClientError], None]
"""Is told the body of a success, or the error; once, in the loop, or never when the writer is closed before."""
Request = tuple[str, str, bytes, str]
"""Method, path with its query, body, Content-Type."""


class Writer:
    """Of one client. An async context: what is under way at its end is not told any more."""

    def __init__(
        self, transport: Transport, call: Callable[..., Awaitable[bytes]], timeout_seconds: float
    ) -> None:
        """`call` carries a request out, or on from its first answer."""
        self._transport = transport
        self._call = call
        self._timeout_seconds = timeout_seconds
        self._guard = TaskGuard("writes")
        self._closed = False

    def __repr__(self) -> str:
        return f"<Writer, {len(self._guard)} tasks>"

    async def __aenter__(self) -> Writer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        await self._guard.close()

    def write(self, method: str, target: str, body: bytes, content_type: str, done: Done) -> None:
        """Sends a request; retries as the client does."""
        request = (method, target, body, content_type)
        then = partial(self._begun, request, done)
        try:
            begun = self._transport.begin(method, target, body, content_type, self._timeout_seconds, then)
        except ClientError as error:
            done(error)
            return
        if not begun:
            self._guard.spawn(self._finish(request, done, None), name="write")

    def _begun(self, request: Request, done: Done, answer: RawResponse | ClientError) -> None:
        if self._closed:
            return
        if isinstance(answer, Unprocessed):
            self._guard.spawn(self._finish(request, done, None), name="write")
        elif isinstance(answer, ClientError):
            done(answer)
        elif answer.status < 300:
            done(answer.body)
        else:
            self._guard.spawn(self._finish(request, done, answer), name="write")

    async def _finish(self, request: Request, done: Done, answer: RawResponse | None) -> None:
        try:
            found: Any = await self._call(*request, answer=answer)
        except ClientError as error:
            found = error
        done(found)
