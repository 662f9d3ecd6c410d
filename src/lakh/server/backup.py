"""`GET /lakh/backup`: everything that the cluster holds, as a dump (`lakh.store.dump`), while the cluster works.

All partitions are frozen in one turn of the loop, so the dump is the cluster of one moment, and after a barrier, so
it has all that was acknowledged before the request. Items are encoded and sent piece by piece, as fast as the client reads. Until
it has read all, items that were replaced meanwhile stay in memory, so a client that does not read is cut off, and there is one
backup at a time.

For cluster administrators (`system:masters`) only: a dump has every secret.
"""

from __future__ import annotations

import asyncio
import logging

from lakh.machinery import errors
from lakh.server.authn import User
from lakh.server.cluster import Cluster
from lakh.server.transport import Request, Response, Stream, StreamClosed, StreamResponse
from lakh.store.dump import encode_complete, encode_end, encode_head, encode_item
from lakh.store.frozen import Frozen
from lakh.store.state import Item

log = logging.getLogger(__name__)

PATH = "/lakh/backup"
PIECE_BYTES = 256 << 10
"""Encoded and encrypted in one go; about 1.5 ms."""
PIECE_ITEMS = 200
"""The same for small ones."""
STALL_SECONDS = 60.0
"""A client that takes nothing for so long is cut off."""
CONTENT_TYPE = b"application/x-ndjson"


class Backups:
    """Makes backups of a cluster."""

    def __init__(self, cluster: Cluster, turn: asyncio.Lock) -> None:
        """`turn` is shared with whoever else makes long answers in pieces: one piece in a turn of the loop."""
        self._cluster = cluster
        self._turn = turn
        self._running = False

    async def handle(self, request: Request, user: User) -> Response | StreamResponse:
        """Answers a request for a backup. Raises 403, 429 and what the store refuses."""
        if "system:masters" not in user.groups:
            raise errors.StatusError(
                403, "Forbidden", f'forbidden: User "{user.name}" cannot get path "{PATH}"', {}
            )
        if self._running:
            raise errors.too_many_requests("another backup is under way", 10)
        for partition in self._cluster.partitions.values():
            await partition.barrier()
        return StreamResponse(200, CONTENT_TYPE, self._send)

    async def _send(self, stream: Stream) -> None:
        self._running = True
        try:
            await self._send_all(stream)
        except TimeoutError:
            log.warning("cut off a backup whose client does not read")
            stream.abort()
        finally:
            self._running = False

    async def _send_all(self, stream: Stream) -> None:
        frozen = {name: partition.freeze() for name, partition in self._cluster.partitions.items()}
        try:
            for name, part in frozen.items():
                stream.write(encode_head(name, part.revision, part.count))
                await self._send_items(stream, part)
                stream.write(encode_end(name))
        finally:
            for part in frozen.values():
                part.release()
        stream.write(encode_complete(len(frozen)))
        stream.finish()

    async def _send_items(self, stream: Stream, part: Frozen) -> None:
        items: list[Item] = []
        while items or (items := part.take(PIECE_ITEMS)[::-1]):
            async with self._turn:
                piece: list[bytes] = []
                size_bytes = 0
                while items and size_bytes < PIECE_BYTES:
                    line = encode_item(items.pop())
                    piece.append(line)
                    size_bytes += len(line)
                stream.write(b"".join(piece))
                await asyncio.sleep(0)
            if stream.closed:
                raise StreamClosed
            if stream.paused:
                async with asyncio.timeout(STALL_SECONDS):
                    await stream.drain()
