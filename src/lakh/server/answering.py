"""What a request comes to, whichever HTTP it came by: the handler is called, and its answer is written now, later or piece by piece.

* A handler that returns a `Response` is answered within the same step of the loop, without a task. A coroutine gets one task, which the server keeps
  referenced; what it raises becomes a Status.
* When the client goes away, a running GET or HEAD is cancelled. A write never is: it finishes and its response is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from lakh.machinery.errors import StatusError, internal
from lakh.server.exchange import Request, Response, Stream, StreamClosed, StreamResponse, Tunnel

if TYPE_CHECKING:
    from lakh.server.transport import Server

log = logging.getLogger(__name__)


class Answering:
    """Where one request is answered at a time: a connection of HTTP/1.1, or a stream of HTTP/2. `_busy` while it is being answered."""

    if not TYPE_CHECKING:
        __slots__ = ()  # what is assigned here is the subclasses', whose other bases have slots, too

    _server: Server
    _busy: bool
    _task: asyncio.Task[None] | None
    _stream: Stream | None

    # What a kind of HTTP provides

    @property
    def _over(self) -> bool:
        """The client went away."""
        raise NotImplementedError

    def _write_response(self, response: Response) -> None:
        raise NotImplementedError

    def _open_stream(self, request: Request, response: StreamResponse) -> Stream | None:
        """Write the head of a streamed answer; None where there is no body."""
        raise NotImplementedError

    def _start_tunnel(self, request: Request, tunnel: Tunnel) -> None:
        raise NotImplementedError

    def _answered(self) -> None:
        """An asynchronous answer has been written."""

    def abort(self) -> None:
        """Drop it now."""
        raise NotImplementedError

    # Answering

    def _answer(self, request: Request) -> None:
        """Call the handler, and either answer now or stay busy."""
        result: object
        try:
            result = self._server.handler(request)
        except Exception as error:
            result = self._failure(request, error)
        if type(result) is Response:
            self._write_response(result)
        elif isinstance(result, CoroutineType):
            self._busy = True
            self._task = self._server.spawn(self._answer_later(request, result))
        else:
            self._write_result(request, result)

    async def _answer_later(
        self, request: Request, coroutine: Coroutine[Any, Any, Response | StreamResponse]
    ) -> None:
        """The task of one asynchronous answer."""
        result: Response | StreamResponse
        try:
            result = await coroutine
        except asyncio.CancelledError:
            # Ours, because the client went away or the server ends; or the handler's own: there is no answer then.
            self._task = None
            self.abort()
            return
        except Exception as error:
            result = self._failure(request, error)
        self._task = None
        if self._over:
            # The client went away: the work is done, the response is dropped.
            if isinstance(result, Tunnel):
                result.writer.close()
            return
        self._busy = False
        self._write_result(request, result)
        self._answered()

    def _write_result(self, request: Request, result: object) -> None:
        if type(result) is Response:
            self._write_response(result)
        elif type(result) is StreamResponse:
            self._start_stream(request, result)
        elif type(result) is Tunnel:
            self._start_tunnel(request, result)
        else:
            wrong = TypeError(f"a handler returned {type(result).__name__}")
            self._write_response(self._failure(request, wrong))

    def _failure(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, StatusError):
            log.error("%s %s failed", request.method, request.path, exc_info=error)
            error = internal(str(error) or type(error).__name__)
        return self._server.on_error(request, error)

    def _start_stream(self, request: Request, response: StreamResponse) -> None:
        stream = self._open_stream(request, response)
        if stream is None:
            return
        self._busy = True
        self._stream = stream
        try:
            rest = response.start(stream)
        except Exception:
            log.exception("%s %s: the stream failed to start", request.method, request.path)
            self.abort()
            return
        if rest is not None and not stream.closed:
            self._task = self._server.spawn(self._produce(request, stream, rest))
        elif rest is not None and asyncio.iscoroutine(rest):
            rest.close()

    async def _produce(self, request: Request, stream: Stream, rest: Awaitable[None]) -> None:
        """The task of a stream whose producer is a coroutine."""
        if (
            stream.closed
        ):  # the client went away before the first step: nothing was set up, nothing is to be torn down
            if asyncio.iscoroutine(rest):
                rest.close()
            return
        try:
            await rest
        except asyncio.CancelledError:
            stream.abort()
        except StreamClosed:
            pass
        except Exception:
            log.exception("%s %s: the stream failed", request.method, request.path)
            stream.abort()
        if self._stream is stream:
            self._task = None

    def _cancel(self, *, harmless: bool) -> None:
        """The client is gone: stop what is done for it alone. `harmless`: nothing is lost by cancelling the request, it is a read."""
        stream, self._stream = self._stream, None
        task, self._task = self._task, None
        if task is not None and (stream is not None or harmless):
            # Not at once: a task that is cancelled before its first step would leave its coroutine never awaited.
            asyncio.get_running_loop().call_soon(task.cancel)
        if stream is not None:
            stream._close()
