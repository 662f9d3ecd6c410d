"""The NATS JetStream engine: a journal in a stream, one message a batch. Needs `lakh[nats]`.

The stream's sequence is the journal's. Fencing is JetStream's: a message with `Nats-Expected-Last-Sequence: N` is taken
only when N is the stream's last, which its leader decides. With `sync_interval: always` on the servers, an acknowledged
message is on disk, with three replicas on a majority of them.

Silence is not refusal. When an append's answer is lost, the same message is sent again: the expected sequence lets at
most one of the copies in. If JetStream then says that the sequence is taken, the message found there tells by its nonce
whether it is ours. So an append ends in exactly one of: it is in the journal; Fenced, and it never will be; or, when
nobody answers for `append_seconds`, OutcomeUnknown.

Snapshots are objects in the object store (`nats_snapshots`); the stream is purged behind them. Every partition has a
connection of its own for appends and one for bulk reading, so partitions do not wait for each other.

Cost of an append: one round trip and one sync of the server, about 0.5 ms on one machine (2 KB, measured).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from lakh.store.errors import (
    Fenced,
    JournalClosed,
    JournalCorrupt,
    JournalError,
    JournalFailed,
    JournalFull,
    JournalUnavailable,
    OutcomeUnknown,
    SnapshotFailed,
    Trimmed,
)
from lakh.store.journal import Entry, Snapshot
from lakh.store.nats_client import (
    ELECTION_SECONDS,
    NO_ROOM,
    REQUEST_SECONDS,
    RETRY_SECONDS,
    WRONG_LAST_SEQUENCE,
    NatsClient,
    Reply,
)
from lakh.store.nats_snapshots import NatsSnapshots

log = logging.getLogger(__name__)

APPEND_SECONDS = 2 * ELECTION_SECONDS + REQUEST_SECONDS
"""An append that got no answer for so long is given up: its stream had the time for an election that failed and one that did not.
Giving up earlier helps nobody, for all writers wait for the same leader. One that is alone with its silence is replaced by others."""
HEADERS_BYTES = 1_024
"""Left of the server's `max_payload` for a message's headers."""
MESSAGE_OVERHEAD_BYTES = 160
"""A stored message's headers and framing, for the estimate of the size between two looks at the stream."""
NONCE = "Lakh-Nonce"


class NatsJournal:
    """A `Journal` in a JetStream stream. Open it with `NatsJournal.open`."""

    def __init__(
        self,
        name: str,
        client: NatsClient,
        reader: NatsClient,
        prefix: str,
        replicas: int,
        append_seconds: float,
    ) -> None:
        """Not for callers: `open` makes the stream."""
        self.name = name
        self.stream = f"{prefix}_{name}"
        self._subject = f"{prefix}.{name}"
        self._client = client
        self._reader = reader
        self._replicas = replicas
        self._append_seconds = append_seconds
        self._snapshots = NatsSnapshots(reader, f"{prefix}_{name}_snapshots", replicas)
        self._head = 0
        self._log_bytes = 0
        self._nonces = (f"{secrets.token_hex(8)}-{n}" for n in itertools.count())
        self._failure: JournalFailed | None = None
        self._closed = False

    @classmethod
    async def open(
        cls,
        name: str,
        servers: Sequence[str],
        *,
        token: str | None = None,
        tls: Any = None,
        replicas: int = 1,
        prefix: str = "lakh",
        append_seconds: float = APPEND_SECONDS,
    ) -> NatsJournal:
        """Connect, and make the stream and the bucket unless they are there.

        Raises JournalUnavailable, JournalFailed and JournalCorrupt.
        """
        client = await NatsClient.connect(servers, token=token, tls=tls, name=f"{prefix}-{name}")
        try:
            reader = await NatsClient.connect(servers, token=token, tls=tls, name=f"{prefix}-{name}-reader")
        except BaseException:
            await client.close()
            raise
        self = cls(name, client, reader, prefix, replicas, append_seconds)
        try:
            await client.ensure_stream(
                self.stream,
                {
                    "subjects": [self._subject],
                    "storage": "file",
                    "retention": "limits",
                    "discard": "new",
                    "num_replicas": replicas,
                    "deny_delete": True,
                    "allow_direct": False,
                    "duplicate_window": 100_000_000,  # nanoseconds, the least: no message carries an id
                },
            )
            # Snapshot before head: what is trimmed later is covered by what was seen first.
            await self._snapshots.open()
            await self._look()
            covered = self._snapshots.newest.sequence if self._snapshots.newest else 0
            if self._head < covered:
                raise JournalCorrupt(
                    Path(self.stream), self._head, f"the stream ends before its snapshot at {covered}"
                )
        except BaseException:
            await self.close()
            raise
        return self

    def __repr__(self) -> str:
        return f"<NatsJournal {self.stream} head={self._head}>"

    @property
    def head(self) -> int:
        """Sequence of the last entry known here."""
        return self._head

    @property
    def size_bytes(self) -> int:
        """What stream and snapshots take on each server's disk, about."""
        return self._log_bytes + self._snapshots.size_bytes

    @property
    def max_batch_bytes(self) -> int:
        """The server's `max_payload`, less the headers."""
        return self._client.max_payload_bytes - HEADERS_BYTES

    async def _look(self) -> tuple[int, int]:
        """(first, last) sequence of the stream."""
        state = await self._client.stream_state(self.stream)
        self._head = max(self._head, state.last_seq)
        self._log_bytes = state.bytes
        return state.first_seq, state.last_seq

    async def read_head(self) -> int:
        """Ask the stream's leader."""
        self._refuse_when_closed()
        await self._look()
        return self._head

    # Appending

    async def append(self, batch: bytes, *, after: int, urgent: bool = False) -> int:
        """Publish one batch until it is known what became of it. See `Journal.append`."""
        if len(batch) > self.max_batch_bytes:
            raise ValueError(f"a batch of {len(batch)} bytes is over the limit of {self.max_batch_bytes}")
        self._refuse_when_closed()
        if self._failure is not None:
            raise JournalFailed(self._failure.reason) from self._failure
        nonce = next(self._nonces)
        headers = {"Nats-Expected-Last-Sequence": str(after), NONCE: nonce}
        sequence = after + 1
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._append_seconds
        doubtful = False  # an earlier copy may be in the stream, or on its way to it
        while True:
            reply = await self._client.publish(self._subject, batch, headers)
            if reply is None:
                doubtful = True
                why = "no answer from JetStream"
            elif reply.error is None:
                return self._appended(reply, sequence, len(batch))
            else:
                why = reply.error.description
                if reply.error.err_code in WRONG_LAST_SEQUENCE:
                    try:
                        landed = await self._landed(sequence, nonce)
                    except JournalUnavailable as error:
                        landed, why = None, str(error)  # the leader that refused is gone, too
                    if landed is not None:
                        if landed:
                            return self._appended(Reply(seq=sequence), sequence, len(batch))
                        raise Fenced(after, self._head)
                elif reply.error.err_code in NO_ROOM:
                    if not doubtful:
                        raise JournalFull
                elif reply.error.code != 503:
                    raise self._fail(f"append to stream {self.stream}: {why}")
            if loop.time() >= deadline:
                raise OutcomeUnknown(f"stream {self.stream}, sequence {sequence}: {why}")
            await asyncio.sleep(RETRY_SECONDS)

    def _appended(self, reply: Reply, sequence: int, size_bytes: int) -> int:
        if reply.seq != sequence:
            raise self._fail(f"stream {self.stream} stored {sequence} as {reply.seq}")
        self._head = max(self._head, sequence)
        self._log_bytes += size_bytes + MESSAGE_OVERHEAD_BYTES
        return sequence

    async def _landed(self, sequence: int, nonce: str) -> bool | None:
        """Whether the message at that sequence is ours. None: there is none, so the refusal was about one on its way."""
        message = await self._client.message(self.stream, {"seq": sequence})
        if message is not None:
            self._head = max(self._head, sequence)
            return b"%s: %s\r\n" % (NONCE.encode(), nonce.encode()) in message.headers()
        first, last = await self._look()
        if last < sequence:
            return None
        if first > sequence:
            raise OutcomeUnknown(f"stream {self.stream}, sequence {sequence}: it was trimmed meanwhile")
        return None

    def _fail(self, reason: str) -> JournalFailed:
        self._failure = JournalFailed(reason)
        log.error("journal %s takes no more writes: %s", self.stream, reason)
        return JournalFailed(reason)

    # Following

    async def follow(self, start: int) -> AsyncGenerator[Entry, None]:
        """Entries from `start` on, then live, across reconnects. See `Journal.follow`."""
        expected = max(start, 1)
        self._refuse_when_closed()
        first, _ = await self._look()
        if expected < first:
            raise Trimmed(expected, first)
        async with aclosing(self._reader.messages(self.stream, expected)) as messages:
            async for message in messages:
                if message.sequence != expected:
                    first, _ = await self._look()
                    if expected < first:
                        raise Trimmed(expected, first)
                    raise JournalCorrupt(Path(self.stream), expected, f"entry {expected} is missing")
                self._head = max(self._head, expected)
                yield Entry(expected, message.data)
                expected += 1

    # Snapshots

    async def restore(self) -> Snapshot | None:
        """The newest snapshot."""
        self._refuse_when_closed()
        await self._snapshots.refresh()
        newest = self._snapshots.newest
        if newest is None:
            return None
        return Snapshot(newest.sequence, self._snapshots.read(newest))

    async def snapshot(self, sequence: int, chunks: AsyncIterator[bytes] | Iterable[bytes]) -> None:
        """Store a snapshot as an object. See `Journal.snapshot`."""
        if sequence > self._head:
            raise ValueError(f"a snapshot at {sequence} is ahead of the head, {self._head}")
        self._refuse_when_closed()
        try:
            await self._snapshots.write(sequence, chunks)
        except (JournalFull, JournalClosed, SnapshotFailed):
            raise
        except JournalError as error:
            raise SnapshotFailed(str(error)) from error

    async def trim(self, sequence: int) -> None:
        """Purge the stream up to `sequence`, and older snapshots."""
        self._refuse_when_closed()
        newest = self._snapshots.newest
        upto = min(sequence, newest.sequence if newest is not None else 0)
        if upto > 0:
            await self._client.purge(self.stream, {"seq": upto + 1})
        await self._snapshots.trim()
        await self._look()

    async def close(self) -> None:
        """Disconnect. Harmless when done twice."""
        self._closed = True
        await self._client.close()
        await self._reader.close()

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise JournalClosed
