"""Compressed answers, by upstream's rules: of reads, for clients that say `gzip`, from 128 KiB on, at the fastest level.

A megabyte costs about 10 ms. Up to `INLINE_BYTES` that is done at once; what is longer goes to a thread, where zlib lets go of the interpreter,
so that no answer, however long, holds the loop. A list that is sent in pieces is compressed piece by piece: its producer is told that the client
is behind while a piece is being compressed, and makes the next one then.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lakh.server.exchange import Request, Response, Stream, StreamResponse
from lakh.server.rendering import Answer, then

# Upstream's defaultGzipThresholdBytes and defaultGzipContentEncodingLevel.
THRESHOLD_BYTES = 128 * 1024
LEVEL = 1
# Less than 3 ms of the loop; a thread would cost 0.1 ms and its switches.
INLINE_BYTES = 256 * 1024
# Answers that are compressed at a time; further ones wait, so that lists do not take all processors from writes.
THREADS = 2
HEADERS = ((b"Content-Encoding", b"gzip"), (b"Vary", b"Accept-Encoding"))

_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="gzip")


def wanted(request: Request) -> bool:
    """Whether the client takes gzip; upstream looks for the bare word."""
    header = request.headers.get("accept-encoding")
    return header is not None and "gzip" in [token.strip() for token in header.split(",")]


def compressed(request: Request, answer: Answer) -> Answer:
    """The answer to a read, compressed if it is large and the client takes it."""
    if not wanted(request) or request.method != "GET":
        return answer
    if isinstance(answer, Response):
        pieces = [answer.body] if isinstance(answer.body, bytes) else answer.body
        size_bytes = sum(map(len, pieces))
        if size_bytes < THRESHOLD_BYTES:
            return answer
        if size_bytes <= INLINE_BYTES:
            return _packed(answer, _squeeze(_compressor(), pieces, True))
        return _apart(answer, pieces)
    if isinstance(answer, StreamResponse):
        return _stream(answer)
    return then(answer, lambda found: compressed(request, found))


def _compressor() -> Any:
    return zlib.compressobj(LEVEL, wbits=31)


def _squeeze(gzip: Any, pieces: Sequence[bytes], last: bool) -> list[bytes]:
    """What the compressor lets go of for these pieces, the end of its stream after the last ones."""
    out = [gzip.compress(piece) for piece in pieces]
    if last:
        out.append(gzip.flush())
    return out


async def _squeeze_apart(gzip: Any, pieces: Sequence[bytes], last: bool) -> list[bytes]:
    """`_squeeze`, in a thread when it is long."""
    if sum(map(len, pieces)) <= INLINE_BYTES:
        return _squeeze(gzip, pieces, last)
    return await asyncio.get_running_loop().run_in_executor(_threads, _squeeze, gzip, pieces, last)


def _packed(answer: Response, body: list[bytes]) -> Response:
    answer.body = body
    answer.headers += HEADERS
    return answer


async def _apart(answer: Response, pieces: Sequence[bytes]) -> Response:
    return _packed(answer, await _squeeze_apart(_compressor(), pieces, True))


def _stream(answer: StreamResponse) -> StreamResponse:
    """A list in pieces: those are large enough."""
    start = answer.start

    async def begin(stream: Stream) -> None:
        packing = _Compressing(stream)
        rest = start(packing)  # type: ignore[arg-type]
        if rest is not None:
            await rest
        await packing.end()

    return StreamResponse(answer.status, answer.content_type, begin, answer.headers + HEADERS)


class _Compressing:
    """A stream whose body is compressed on its way: what was written waits for `drain`, or for the end."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._gzip = _compressor()
        self._waiting: list[bytes] = []
        self._finished = False

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._stream.closed

    @property
    def paused(self) -> bool:
        """Whether there is something to compress, or the client is behind."""
        return bool(self._waiting) or self._stream.paused

    async def drain(self) -> None:
        """Sends what was written, and waits for the client. Raises `StreamClosed` when it ended."""
        await self._send(False)
        await self._stream.drain()

    async def _send(self, last: bool) -> None:
        pieces, self._waiting = self._waiting, []
        for data in await _squeeze_apart(self._gzip, pieces, last):
            self._stream.write(data)

    def write(self, data: bytes) -> None:
        """Takes a piece."""
        if not self._stream.closed:
            self._waiting.append(data)

    def finish(self) -> None:
        """There will be no more pieces."""
        self._finished = True

    async def end(self) -> None:
        """Sends the rest, and ends the body, if its producer came to its end."""
        if self._finished and not self._stream.closed:
            await self._send(True)
            self._stream.finish()

    def abort(self) -> None:
        """Drops the connection."""
        self._stream.abort()
