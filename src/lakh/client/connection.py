"""One HTTP/1.1 connection of a client: an `Exchange` on asyncio and httptools."""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

from .errors import BadResponse, ClientError, ConnectionLost
from .exchange import Exchange, NotSent, Owner, header
from .request import Request

__all__ = ["Connection"]


class Connection(Exchange, asyncio.Protocol):
    """One connection: the request in flight (`_waiter`) or the stream it carries."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(owner)
        self._requests = 0
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._head_only = False
        self._fields: list[tuple[bytes, bytes]] = []
        self._paused = False

    # Exchange

    @property
    def reused(self) -> bool:
        """See `Exchange`."""
        return self._requests > 0

    def _write(self, request: Request) -> None:
        transport = self._transport
        if self.closed or transport is None or transport.is_closing():
            raise NotSent
        self._requests += 1
        self._head_only = request.method == "HEAD"
        transport.write(self.owner.heads.payload(request))

    def fail(self, error: ClientError) -> None:
        """See `Exchange`."""
        self._finish(error)
        if self._transport is not None:
            self._transport.abort()

    def full(self) -> None:
        """Stop reading from the socket."""
        if not self._paused and self._transport is not None and not self.closed:
            self._paused = True
            self._transport.pause_reading()

    def taken(self, size_bytes: int) -> None:
        """Read on."""
        if self._paused:
            self._paused = False
            if self._transport is not None and not self.closed:
                self._transport.resume_reading()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's TLS transport does not subclass it

    def data_received(self, data: bytes) -> None:
        self.answered = True
        if not self.busy and self.stream is None:
            self.fail(BadResponse("the server sent an answer to no request"))
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.fail(BadResponse("the server switched protocols"))
        except httptools.HttpParserError as error:
            cause = error.__context__
            self.fail(cause if isinstance(cause, ClientError) else BadResponse(f"not HTTP: {error}"))

    def eof_received(self) -> None:
        if not self.busy and self.stream is None:
            self._finish(ConnectionLost("closed by the server while idle"))

    def connection_lost(self, error: Exception | None) -> None:
        if error is None and self._status and self._ends_with_eof():
            self.on_message_complete()
        what = str(error) if error else "the server closed the connection"
        lost = ConnectionLost(f"{self.owner.server}: connection lost: {what}")
        lost.__cause__ = error
        self._finish(lost)
        self._transport = None
        self.owner.gone(self)

    def _ends_with_eof(self) -> bool:
        """The answer has neither length nor chunks, so the connection's end is its end."""
        headers = self._fields
        return header(headers, b"content-length") is None and header(headers, b"transfer-encoding") is None

    # httptools callbacks

    def on_message_begin(self) -> None:
        self._fields = []
        self._status = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._status = status
            return
        self._headed(status, self._fields)
        if self.stream is None and self._head_only:
            # The parser expects a body that never comes, so this connection has served its time.
            self._answer()
            self.fail(ConnectionLost("closed after HEAD"))

    def on_body(self, data: bytes) -> None:
        self._received(data)

    def on_message_complete(self) -> None:
        if self._status >= 200:
            self._ended(reusable=self._parser.should_keep_alive())
