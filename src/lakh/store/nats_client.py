"""What the JetStream engine needs of a NATS connection: API requests, stored messages in order, typed errors.

JetStream's API is JSON over request subjects. It is spoken here directly, for the engine's guarantees hang on details
(which error, which sequence, when to ask again) that are easier to see without a layer in between.

`NatsClient` reconnects by itself, for ever. Requests that only ask are repeated until a deadline; whoever publishes
decides for himself what silence means.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from lakh.store.errors import JournalClosed, JournalFailed, JournalUnavailable

log = logging.getLogger(__name__)

ELECTION_SECONDS = 9.0
"""The followers of a stream's leader that vanished wait for 4 to 9 s, each at random, before they ask for votes (nats-server's
`raft.go`; no option of its configuration changes that). A leader that is stopped with SIGTERM names its successor first."""
REQUEST_SECONDS = 2.0
"""For one answer. What went to a leader that died is asked again after this, so it is also how much later than the new leader
an append may go on."""
LED_NANOSECONDS = 3_000_000_000
"""Followers heard within this have not voted for anybody else: they wait 4 s at least (nats-server's raft.go, minElectionTimeout)."""
PATIENCE_SECONDS = 15.0
"""For a question that is repeated until somebody answers: an election, and a good half of another one."""
RETRY_SECONDS = 0.05
CONNECT_SECONDS = 5
PING_SECONDS = 2
"""Two unanswered pings, and the connection is made anew."""
HEARTBEAT_SECONDS = 0.5
"""A consumer that was silent for three heartbeats is gone, perhaps with its server: another one is made."""
PULL_MESSAGES = 32
"""Asked for at once; what a reader may have in memory is this many messages."""
PULL_SECONDS = 10.0
CONSUMER_IDLE_SECONDS = 30.0
"""The server forgets a reader's consumer after this."""

_NANOSECONDS = 1_000_000_000

STREAM_NOT_FOUND = 10059
STREAM_EXISTS = 10058
MESSAGE_NOT_FOUND = 10037
WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
NO_ROOM = frozenset({10047, 10077, 10028, 10023, 10110, 10122})
"""Insufficient storage, stream or account limits reached."""

Silence = (
    nats.errors.TimeoutError,
    nats.errors.NoRespondersError,
    nats.errors.OutboundBufferLimitError,
    nats.errors.ConnectionReconnectingError,
    nats.errors.StaleConnectionError,
    ConnectionError,
    TimeoutError,
)
"""Nobody answered; whether somebody heard is unknown."""


class ApiProblem(msgspec.Struct):
    """JetStream's refusal."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class StreamState(msgspec.Struct):
    """Of a stream."""

    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0
    subjects: dict[str, int] | None = None


class StreamConfig(msgspec.Struct):
    """What is looked at of a stream's configuration."""

    num_replicas: int = 1


class StoredMessage(msgspec.Struct):
    """A message as the API gives it."""

    subject: str
    seq: int
    hdrs: str = ""
    data: str = ""

    def headers(self) -> bytes:
        """As on the wire."""
        return base64.b64decode(self.hdrs)

    def payload(self) -> bytes:
        """The message itself."""
        return base64.b64decode(self.data)


class Peer(msgspec.Struct):
    """One of the other servers of a stream, as the one that answers sees it. `active`: nanoseconds since it was heard, 0 if it never was."""

    name: str = ""
    active: int = 0


class Group(msgspec.Struct):
    """The servers that have a stream: who leads it, and all but the one that answers."""

    leader: str = ""
    replicas: list[Peer] | None = None

    @property
    def led(self) -> bool:
        """Whether whoever says this is the leader: a majority followed it a moment ago.

        A leader that was paused or cut off answers as before until it notices that it was replaced. But nobody else is elected while a majority
        hears the leader: followers wait for 4 s at least. One that has just noticed may still answer what it was asked before, then it names its
        successor, which is among those that it hears.
        """
        peers = self.replicas or ()
        if any(peer.name == self.leader for peer in peers):
            return False
        heard = sum(0 < peer.active < LED_NANOSECONDS for peer in peers)
        return heard >= (len(peers) + 1) // 2


class Reply(msgspec.Struct):
    """Any answer of the API, also a publish acknowledgement (`seq`)."""

    error: ApiProblem | None = None
    seq: int = 0
    state: StreamState | None = None
    cluster: Group | None = None
    config: StreamConfig | None = None
    message: StoredMessage | None = None
    name: str = ""


_decode_reply = msgspec.json.Decoder(Reply).decode


class Delivered(NamedTuple):
    """A stored message as a reader gets it. `pending`: how many are behind it."""

    sequence: int
    data: bytes
    pending: int


class NatsClient:
    """One connection. Made by `connect`."""

    def __init__(self, connection: Client) -> None:
        """Not for callers."""
        self._connection = connection
        self._inbox = connection.new_inbox()
        self._tokens = itertools.count()
        self._waiting: dict[str, asyncio.Future[Msg]] = {}

    @classmethod
    async def connect(
        cls, servers: Sequence[str], *, token: str | None = None, name: str = "lakh", tls: Any = None
    ) -> NatsClient:
        """Connect to one of the servers. Raises JournalUnavailable."""
        options: dict[str, Any] = {}
        if token is not None:
            options["token"] = token
        if tls is not None:
            options["tls"] = tls
        connection = Client()
        self = cls(connection)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await connection.connect(
                    servers=list(servers),
                    name=name,
                    error_cb=_log_error,
                    disconnected_cb=self._disconnected,
                    reconnect_time_wait=RETRY_SECONDS,  # type: ignore[arg-type]
                    max_reconnect_attempts=-1,
                    connect_timeout=CONNECT_SECONDS,
                    ping_interval=PING_SECONDS,
                    max_outstanding_pings=2,
                    allow_reconnect=True,
                    **options,
                )
                await connection.subscribe(f"{self._inbox}.*", cb=self._answered)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            with suppress(Exception):
                await connection.close()
            raise JournalUnavailable(
                f"no NATS server at {', '.join(servers)}: {error or 'timeout'}"
            ) from error
        return self

    @property
    def max_payload_bytes(self) -> int:
        """What the server takes as one message."""
        return self._connection.max_payload

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._connection.is_closed

    async def close(self) -> None:
        """End the connection. Harmless when done twice."""
        if not self._connection.is_closed:
            await self._connection.close()

    # Publishing

    async def publish(
        self, subject: str, payload: bytes, headers: dict[str, str] | None = None
    ) -> Reply | None:
        """Publish to a stream once. None: nobody answered."""
        if self._connection.is_closed:
            raise JournalClosed
        if not self._connection.is_connected:
            await asyncio.sleep(RETRY_SECONDS)
            return None
        token = str(next(self._tokens))
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._waiting[token] = answer
        try:
            await self._connection.publish(subject, payload, reply=f"{self._inbox}.{token}", headers=headers)
            async with asyncio.timeout(REQUEST_SECONDS):
                message = await answer
        except Silence:
            return None
        except nats.errors.ConnectionClosedError:
            raise JournalClosed from None
        finally:
            del self._waiting[token]
        if not message.data and (message.headers or {}).get("Status") == "503":
            return None  # nobody listens: the stream has no leader at the moment
        return _decoded(message)

    async def _answered(self, message: Msg) -> None:
        answer = self._waiting.get(message.subject.rpartition(".")[2])
        if answer is not None and not answer.done():
            answer.set_result(message)

    async def _disconnected(self) -> None:
        """Answers on their way are lost: no need to wait for them."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionError("disconnected"))

    # Asking

    async def ask(self, question: str, body: dict[str, Any] | None = None) -> Reply:
        """An API request, repeated until answered. Raises JournalUnavailable."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        payload = msgspec.json.encode(body) if body else b""
        while True:
            reply = await self.publish(f"$JS.API.{question}", payload)
            if reply is not None and not (reply.error is not None and reply.error.code == 503):
                return reply
            if loop.time() >= deadline:
                why = (
                    reply.error.description if reply is not None and reply.error is not None else "no answer"
                )
                raise JournalUnavailable(f"{question}: {why}")
            await asyncio.sleep(RETRY_SECONDS)

    async def stream_state(self, stream: str, subjects: str | None = None) -> StreamState:
        """What a stream has; with `subjects` also which subjects match that filter. Raises JournalUnavailable.

        It is the leader who says it, not one that was replaced and has not noticed: a barrier rests on this.
        That there is no such stream is believed when it is said for long: in a cluster a new one, created by whomever,
        is not known everywhere at once.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        while True:
            reply = await self.ask(
                f"STREAM.INFO.{stream}", {"subjects_filter": subjects} if subjects else None
            )
            missing = reply.error is not None and reply.error.err_code == STREAM_NOT_FOUND
            led = reply.cluster is None or reply.cluster.led
            if loop.time() >= deadline and not led:
                raise JournalUnavailable(f"stream {stream}: its leader has lost its followers")
            if (led and not missing) or loop.time() >= deadline:
                break
            await asyncio.sleep(RETRY_SECONDS)
        if reply.error is not None or reply.state is None:
            raise _unexpected(f"stream {stream}", reply)
        return reply.state

    async def ensure_stream(self, stream: str, config: dict[str, Any]) -> StreamState:
        """Create a stream unless it is there."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        while True:
            reply = await self.ask(f"STREAM.INFO.{stream}")
            if reply.error is None or reply.error.err_code != STREAM_NOT_FOUND:
                break
            made = await self.ask(f"STREAM.CREATE.{stream}", {"name": stream, **config})
            if made.error is None or made.error.err_code != STREAM_EXISTS:
                reply = made
                break
            # Somebody else is just creating it: in a cluster it exists a while before it can be asked.
            if loop.time() >= deadline:
                break
            await asyncio.sleep(RETRY_SECONDS)
        if reply.error is not None or reply.state is None or reply.config is None:
            raise _unexpected(f"stream {stream}", reply)
        wanted = config["num_replicas"]
        if reply.config.num_replicas != wanted:
            log.warning("stream %s has %d replicas, not %d", stream, reply.config.num_replicas, wanted)
        return reply.state

    async def message(self, stream: str, query: dict[str, Any]) -> StoredMessage | None:
        """One stored message, as the stream's leader has it."""
        reply = await self.ask(f"STREAM.MSG.GET.{stream}", query)
        if reply.error is not None:
            if reply.error.err_code == MESSAGE_NOT_FOUND:
                return None
            raise _unexpected(f"stream {stream}", reply)
        return reply.message

    async def purge(self, stream: str, query: dict[str, Any]) -> None:
        """Delete messages of a stream."""
        reply = await self.ask(f"STREAM.PURGE.{stream}", query)
        if reply.error is not None:
            raise _unexpected(f"purging stream {stream}", reply)

    # Reading

    async def messages(
        self, stream: str, start: int, subject: str | None = None
    ) -> AsyncGenerator[Delivered, None]:
        """Stored messages from a sequence on, of a subject or of all, then live ones, for ever.

        In order and none twice. It goes on by itself after anything: lost messages, connections, consumers, servers.
        Where messages were deleted there is a gap; whoever needs each one looks at the sequences.
        """
        inbox = self._connection.new_inbox()
        # Not `next_msg`: it makes a task a message, and loses a cancellation that comes together with one.
        arrived: asyncio.Queue[Msg] = asyncio.Queue()

        async def arrives(message: Msg) -> None:
            arrived.put_nowait(message)

        subscription = await self._connection.subscribe(inbox, cb=arrives)
        next_sequence = start
        try:
            while True:
                consumer = await self._consumer(stream, next_sequence, subject)
                expected = 1  # the consumer's own count: a message that got lost on the way shows in it
                outstanding = 0
                while True:
                    if outstanding == 0:
                        outstanding = PULL_MESSAGES
                        await self._pull(stream, consumer, inbox)
                    if arrived.empty():
                        try:
                            async with asyncio.timeout(3 * HEARTBEAT_SECONDS):
                                message = await arrived.get()
                        except TimeoutError:
                            break
                    else:
                        await asyncio.sleep(0)  # each may be a thousand writes: others get their turn
                        message = arrived.get_nowait()
                    status = (message.headers or {}).get("Status")
                    if status is not None and not message.data and message.subject == inbox:
                        if status == "100":
                            if _count(message, "Nats-Last-Consumer") >= expected:
                                break
                            continue
                        if status == "408":
                            outstanding = 0
                            continue
                        break
                    position = _position(message, consumer)
                    if position is None:
                        continue  # of a consumer before this one
                    sequence, count, pending = position
                    if count != expected:
                        break
                    expected += 1
                    outstanding -= 1
                    if sequence >= next_sequence:
                        next_sequence = sequence + 1
                        yield Delivered(sequence, message.data, pending)
                if self._connection.is_closed:
                    raise JournalClosed
                await self._forget_consumer(stream, consumer)
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            with suppress(nats.errors.Error, OSError):
                await subscription.unsubscribe()

    async def _consumer(self, stream: str, start: int, subject: str | None) -> str:
        config: dict[str, Any] = {
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": max(start, 1),
            "ack_policy": "none",
            "inactive_threshold": int(CONSUMER_IDLE_SECONDS * _NANOSECONDS),
            "num_replicas": 1,
            "mem_storage": True,
        }
        if subject is not None:
            config["filter_subject"] = subject
        reply = await self.ask(f"CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": config})
        if reply.error is not None:
            raise _unexpected(f"consumer of stream {stream}", reply)
        return reply.name

    async def _pull(self, stream: str, consumer: str, inbox: str) -> None:
        request = {
            "batch": PULL_MESSAGES,
            "expires": int(PULL_SECONDS * _NANOSECONDS),
            "idle_heartbeat": int(HEARTBEAT_SECONDS * _NANOSECONDS),
        }
        with suppress(*Silence):  # no heartbeat will come, and another consumer is tried
            await self._connection.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", msgspec.json.encode(request), reply=inbox
            )

    async def _forget_consumer(self, stream: str, consumer: str) -> None:
        """So that it sends nothing more; if nobody listens, it ends by being idle."""
        with suppress(*Silence):
            await self._connection.publish(f"$JS.API.CONSUMER.DELETE.{stream}.{consumer}")


def _decoded(message: Msg) -> Reply:
    try:
        return _decode_reply(message.data)
    except msgspec.MsgspecError as error:
        raise JournalFailed(f"unreadable answer of JetStream: {error}") from error


def _unexpected(what: str, reply: Reply) -> JournalFailed:
    problem = reply.error
    return JournalFailed(f"{what}: {problem.description if problem is not None else 'unexpected answer'}")


def _count(message: Msg, header: str) -> int:
    text = (message.headers or {}).get(header, "0")
    return int(text) if text.isdigit() else 0


def _position(message: Msg, consumer: str) -> tuple[int, int, int] | None:
    """(stream sequence, consumer sequence, pending) from the reply subject; None: of another consumer."""
    tokens = message.reply.split(".")
    # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>
    # $JS.ACK.<domain>.<account>.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>.<token>
    if len(tokens) >= 11:
        del tokens[2:4]
    if len(tokens) < 9 or tokens[1] != "ACK" or tokens[3] != consumer:
        return None
    return int(tokens[5]), int(tokens[6]), int(tokens[8])


async def _log_error(error: Exception) -> None:
    log.info("NATS connection: %s", error or type(error).__name__)
