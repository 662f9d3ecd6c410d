"""The JetStream engine on real servers: fenced, never lost, never doubled, whatever is killed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lakh.store import nats_client
from lakh.store.errors import (
    Fenced,
    JournalClosed,
    JournalCorrupt,
    JournalUnavailable,
    OutcomeUnknown,
    SnapshotFailed,
    Trimmed,
)
from lakh.store.nats_client import NatsClient, Reply
from lakh.store.nats_journal import NatsJournal
from lakh.store.nats_server import NatsServer
from tests.processes import pause
from tests.store.nats_servers import BackgroundServer, cluster, kill, leader_of

PATIENCE = 120


async def content(journal: NatsJournal, start: int = 1) -> list[bytes]:
    head = await journal.read_head()
    batches: list[bytes] = []
    if head < start:
        return batches
    async with aclosing(journal.follow(start)) as entries:
        async for entry in entries:
            assert entry.sequence == start + len(batches)
            batches.append(entry.batch)
            if entry.sequence == head:
                break
    return batches


async def test_appends_and_fencing(nats_server: BackgroundServer, prefix: str) -> None:
    one, two = await nats_server.journal(prefix), await nats_server.journal(prefix)
    assert (one.head, await content(one)) == (0, [])
    assert await one.append(b"a", after=0) == 1
    with pytest.raises(Fenced) as caught:
        await two.append(b"b", after=0)
    assert (caught.value.after, caught.value.head) == (0, 1)
    assert await two.append(b"", after=1) == 2
    results = await asyncio.gather(
        one.append(b"x", after=2), two.append(b"y", after=2), return_exceptions=True
    )
    assert sorted(map(str, results)) == ["3", "append after sequence 2 refused: the journal is at 3"]
    assert await one.read_head() == await two.read_head() == 3
    assert await content(one) == [b"a", b"", b"x" if results[0] == 3 else b"y"]
    assert one.size_bytes > 0
    await one.close()
    await one.close()
    with pytest.raises(JournalClosed):
        await one.append(b"", after=3)
    await two.close()


async def test_many_writers_never_double_nor_lose(nats_server: BackgroundServer, prefix: str) -> None:
    async def write(client: int) -> list[bytes]:
        journal = await nats_server.journal(prefix)
        landed = []
        for n in range(20):
            batch = b"%d-%d" % (client, n)
            while True:
                try:
                    await journal.append(batch, after=journal.head)
                    break
                except Fenced:
                    await journal.read_head()
            landed.append(batch)
        await journal.close()
        return landed

    landed = [batch for batches in await asyncio.gather(*map(write, range(4))) for batch in batches]
    reader = await nats_server.journal(prefix)
    assert sorted(await content(reader)) == sorted(landed)
    await reader.close()


async def test_oversized_batch_is_refused(nats_server: BackgroundServer, prefix: str) -> None:
    journal = await nats_server.journal(prefix)
    limit = journal.max_batch_bytes
    assert limit > 7 << 20
    with pytest.raises(ValueError, match="over the limit"):
        await journal.append(bytes(limit + 1), after=0)
    assert await journal.append(bytes(limit), after=0) == 1
    assert list(map(len, await content(journal))) == [limit]
    await journal.close()


# Lost answers


class Lossy:
    """Stands in for a client whose publishes lose their answer, before or after they land."""

    def __init__(self, journal: NatsJournal, losses: list[str]) -> None:
        self._publish = journal._client.publish
        self.losses = losses
        self.sent = 0
        journal._client.publish = self.publish  # type: ignore[method-assign]

    async def publish(self, subject: str, payload: bytes, headers: Any = None) -> Reply | None:
        if subject.startswith("$JS"):
            return await self._publish(subject, payload, headers)
        self.sent += 1
        loss = self.losses.pop(0) if self.losses else ""
        if loss == "request":
            return None
        reply = await self._publish(subject, payload, headers)
        return None if loss == "answer" else reply


@pytest.mark.parametrize("losses", [["request"], ["answer"], ["request", "answer"], ["answer", "request"]])
async def test_lost_answer_is_found_out(
    nats_server: BackgroundServer, prefix: str, losses: list[str]
) -> None:
    journal = await nats_server.journal(prefix)
    await journal.append(b"first", after=0)
    lossy = Lossy(journal, list(losses))
    assert await journal.append(b"again", after=1) == 2
    assert lossy.sent == len(losses) + 1
    assert await journal.append(b"again", after=2) == 3
    assert await content(journal) == [b"first", b"again", b"again"]
    await journal.close()


async def test_lost_answer_and_another_writer(nats_server: BackgroundServer, prefix: str) -> None:
    journal, other = await nats_server.journal(prefix), await nats_server.journal(prefix)
    lossy = Lossy(journal, ["request"])
    publish = lossy.publish

    async def overtaken(subject: str, payload: bytes, headers: Any = None) -> Reply | None:
        reply = await publish(subject, payload, headers)
        if reply is None:
            await other.append(b"other", after=0)
        return reply

    journal._client.publish = overtaken  # type: ignore[method-assign]
    with pytest.raises(Fenced):
        await journal.append(b"ours", after=0)
    assert await content(other) == [b"other"]
    await journal.close()
    await other.close()


async def test_lost_answer_of_a_trimmed_batch_is_unknown(nats_server: BackgroundServer, prefix: str) -> None:
    journal, other = await nats_server.journal(prefix), await nats_server.journal(prefix)
    lossy = Lossy(journal, ["answer"])
    publish = lossy.publish

    async def overtaken(subject: str, payload: bytes, headers: Any = None) -> Reply | None:
        reply = await publish(subject, payload, headers)
        if reply is None and lossy.sent == 1:
            await other.append(b"other", after=1)
            await other.snapshot(2, [b"state"])
            await other.trim(2)
        return reply

    journal._client.publish = overtaken  # type: ignore[method-assign]
    with pytest.raises(OutcomeUnknown, match="trimmed"):
        await journal.append(b"ours", after=0)
    await journal.close()
    await other.close()


async def test_silence_is_an_unknown_outcome(nats_server: BackgroundServer, prefix: str) -> None:
    journal = await nats_server.journal(prefix, append_seconds=0.2)
    Lossy(journal, ["answer"] * 1 + ["request"] * 1000)
    with pytest.raises(OutcomeUnknown, match="no answer"):
        await journal.append(b"a", after=0)
    assert await journal.read_head() == 1
    await journal.close()


async def test_a_leader_that_vanishes_while_a_batch_is_looked_for(
    nats_server: BackgroundServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is out of reach for a while, which is no failure of it: the append goes on, and finds its batch."""
    journal = await nats_server.journal(prefix)
    monkeypatch.setattr(nats_client, "PATIENCE_SECONDS", 0.0)
    Lossy(journal, ["answer"])
    ask, vanished = journal._client.publish, 2

    async def leaderless(subject: str, payload: bytes, headers: Any = None) -> Reply | None:
        nonlocal vanished
        if "MSG.GET" in subject and vanished:
            vanished -= 1
            return None
        return await ask(subject, payload, headers)

    journal._client.publish = leaderless  # type: ignore[method-assign]
    assert await journal.append(b"ours", after=0) == 1
    assert not vanished
    monkeypatch.undo()
    assert await content(journal) == [b"ours"]
    await journal.close()


# Following


async def test_follow_live(
    nats_server: BackgroundServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_client, "PULL_MESSAGES", 7)
    journal, follower = await nats_server.journal(prefix), await nats_server.journal(prefix)
    seen: list[tuple[int, bytes]] = []

    async def read() -> None:
        async with aclosing(follower.follow(0)) as entries:
            async for entry in entries:
                seen.append(entry)
                if entry.sequence == 60:
                    return

    reading = asyncio.create_task(read())
    for i in range(60):
        await journal.append(b"%d" % i, after=i)
    await asyncio.wait_for(reading, PATIENCE)
    assert seen == [(i + 1, b"%d" % i) for i in range(60)]
    assert follower.head == 60
    await journal.close()
    await follower.close()


async def test_follow_goes_on_when_its_consumer_is_gone(nats_server: BackgroundServer, prefix: str) -> None:
    journal, follower = await nats_server.journal(prefix), await nats_server.journal(prefix)
    await journal.append(b"0", after=0)
    async with aclosing(follower.follow(1)) as entries:
        assert (await anext(entries)).batch == b"0"
        names = await follower._reader.publish(f"$JS.API.CONSUMER.NAMES.{follower.stream}", b"")
        assert names is not None
        answer = await follower._reader._connection.request(
            f"$JS.API.CONSUMER.NAMES.{follower.stream}", b"", timeout=PATIENCE
        )
        consumer = answer.data.split(b'"consumers":["')[1].split(b'"')[0].decode()
        await follower._reader._forget_consumer(follower.stream, consumer)
        await journal.append(b"1", after=1)
        assert (await asyncio.wait_for(anext(entries), PATIENCE)).batch == b"1"
    await journal.close()
    await follower.close()


# Snapshots


async def restored(journal: NatsJournal) -> tuple[int, list[bytes]] | None:
    snapshot = await journal.restore()
    if snapshot is None:
        return None
    async with aclosing(snapshot.chunks) as chunks:
        return snapshot.sequence, [chunk async for chunk in chunks]


async def chunked(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_snapshot_and_trim(nats_server: BackgroundServer, prefix: str) -> None:
    journal = await nats_server.journal(prefix)
    assert await restored(journal) is None
    for i in range(20):
        await journal.append(b"%02d" % i * 200, after=i)
    before = journal.size_bytes
    await journal.snapshot(10, iter([b"one", b"two"]))
    await journal.trim(20)
    assert journal.size_bytes < before
    assert await content(journal, 11) == [b"%02d" % i * 200 for i in range(10, 20)]
    with pytest.raises(Trimmed):
        await anext(journal.follow(1))
    assert await restored(journal) == (10, [b"one", b"two"])
    many = [b"%d" % i * 1000 for i in range(100)]
    await journal.snapshot(20, chunked(*many))
    await journal.trim(20)
    with pytest.raises(ValueError, match="ahead of the head"):
        await journal.snapshot(21, [])
    await journal.close()

    journal = await nats_server.journal(prefix)
    assert journal.head == 20
    assert await restored(journal) == (20, many)
    assert await journal.append(b"after", after=20) == 21
    assert await content(journal, 21) == [b"after"]
    state = await journal._reader.stream_state(f"OBJ_{prefix}_pods_snapshots", ">")
    assert sorted((state.subjects or {}).values()) == [1, 100], "older snapshots are gone"
    await journal.close()


async def test_unfinished_snapshot_does_not_exist(nats_server: BackgroundServer, prefix: str) -> None:
    journal = await nats_server.journal(prefix)
    await journal.append(b"a", after=0)

    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise SnapshotFailed("disk")

    with pytest.raises(SnapshotFailed, match="disk"):
        await journal.snapshot(1, broken())
    lossy = journal._reader.publish

    async def silent(subject: str, payload: bytes, headers: Any = None) -> Reply | None:
        return None if ".C." in subject else await lossy(subject, payload, headers)

    journal._reader.publish = silent  # type: ignore[method-assign]
    with pytest.raises(SnapshotFailed, match="no acknowledgement"):
        await journal.snapshot(1, [b"x", b"y"])
    assert await restored(journal) is None
    state = await journal._reader.stream_state(f"OBJ_{prefix}_pods_snapshots", ">")
    assert state.messages == 0, "what was stored of it is removed"
    await journal.close()


async def test_damaged_snapshot_is_refused(nats_server: BackgroundServer, prefix: str) -> None:
    journal = await nats_server.journal(prefix)
    await journal.append(b"a", after=0)
    await journal.snapshot(1, [b"one", b"two", b"three"])
    newest = journal._snapshots.newest
    assert newest is not None
    snapshot = await journal.restore()
    assert snapshot is not None
    stream = f"OBJ_{prefix}_pods_snapshots"
    await journal._reader.purge(stream, {"filter": f"$O.{prefix}_pods_snapshots.C.{newest.nuid}", "keep": 2})
    with pytest.raises(JournalCorrupt, match="chunks are missing"):
        await restored(journal)
    await journal._reader.publish(f"$O.{prefix}_pods_snapshots.C.{newest.nuid}", b"other")
    with pytest.raises(JournalCorrupt, match="digest"):
        await restored(journal)
    await journal.append(b"b", after=1)
    await journal.snapshot(2, [b"new"])
    await journal.trim(2)
    with pytest.raises(Trimmed):
        await anext(snapshot.chunks)
    assert await restored(journal) == (2, [b"new"])
    await journal.close()


# Servers that die


async def append_many(journal: NatsJournal, count: int, acknowledged: list[bytes]) -> None:
    for n in range(count):
        batch = b"%d" % n * 100
        await journal.append(batch, after=n)
        acknowledged.append(batch)


async def test_killed_server_loses_nothing(tmp_path: Path) -> None:
    server = await NatsServer.start(tmp_path)
    journal = await NatsJournal.open("pods", [server.url], token=server.token, append_seconds=PATIENCE)
    follower = await NatsJournal.open("pods", [server.url], token=server.token)
    followed: list[bytes] = []

    async def follow() -> None:
        async with aclosing(follower.follow(1)) as entries:
            async for entry in entries:
                followed.append(entry.batch)
                if entry.sequence == 400:
                    return

    following = asyncio.create_task(follow())
    acknowledged: list[bytes] = []
    writing = asyncio.create_task(append_many(journal, 400, acknowledged))
    for kills in (1, 2):
        while len(acknowledged) < 100 * kills:
            await asyncio.sleep(0)
        before = server.restarts
        kill(server)
        while server.restarts == before:
            await asyncio.sleep(0.01)
    await asyncio.wait_for(writing, PATIENCE)
    await asyncio.wait_for(following, PATIENCE)
    assert followed == acknowledged == [b"%d" % n * 100 for n in range(400)]
    await journal.close()
    await follower.close()
    await server.stop()
    server = await NatsServer.start(tmp_path)
    journal = await NatsJournal.open("pods", [server.url], token=server.token)
    assert await content(journal) == acknowledged
    await journal.close()
    await server.stop()
    with pytest.raises(JournalUnavailable, match="no NATS server"):
        await open_impatiently(server)


async def open_impatiently(server: NatsServer) -> None:
    patience, nats_client.PATIENCE_SECONDS = nats_client.PATIENCE_SECONDS, 0.2
    try:
        await NatsJournal.open("pods", [server.url], token=server.token)
    finally:
        nats_client.PATIENCE_SECONDS = patience


async def test_cluster_of_three_with_one_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_client, "PATIENCE_SECONDS", PATIENCE)
    async with cluster(tmp_path) as servers:
        urls = [server.url for server in servers]
        journal = await NatsJournal.open("pods", urls, token="secret", replicas=3, append_seconds=PATIENCE)
        acknowledged: list[bytes] = []
        writing = asyncio.create_task(append_many(journal, 150, acknowledged))
        while len(acknowledged) < 50:
            await asyncio.sleep(0)
        leader = await leader_of(journal._reader, journal.stream)
        dead = next(server for server in servers if server.name == leader)
        kill(dead)
        await asyncio.wait_for(writing, PATIENCE)
        assert await content(journal) == acknowledged == [b"%d" % n * 100 for n in range(150)]
        await journal.close()


async def published(client: NatsClient, payload: bytes, after: int) -> int:
    """The sequence of a message published until it is acknowledged with one beyond `after`."""
    async with asyncio.timeout(3 * PATIENCE):
        while (reply := await client.publish("t.x", payload)) is None or reply.seq <= after:
            await asyncio.sleep(0.1)
    return reply.seq


async def test_a_leader_that_was_replaced_while_it_was_paused_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers as if nothing had happened, until it notices: a barrier must not rest on that."""
    monkeypatch.setattr(nats_client, "PING_SECONDS", 600)  # whoever asks it stays with it
    monkeypatch.setattr(nats_client, "PATIENCE_SECONDS", 4 * PATIENCE)  # longer than an election takes
    async with cluster(tmp_path) as servers, AsyncExitStack() as stack:
        clients = []
        for server in servers:
            clients.append(await NatsClient.connect([server.url], token="secret"))
            stack.push_async_callback(clients[-1].close)
        config = {"name": "t", "subjects": ["t.x"], "num_replicas": 3, "storage": "file"}
        await clients[0].ensure_stream("t", config)
        leader = int((await leader_of(clients[0], "t")).removeprefix("n"))
        other = clients[leader - 1]
        # That a new stream wants it is not known everywhere at once.
        first = await published(other, b"1", after=0)
        pid = servers[leader].pid
        assert pid is not None
        pause(pid)
        try:
            # Asked while it is paused: it answers first of all when it goes on.
            asked = [asyncio.create_task(clients[leader].stream_state("t")) for _ in range(20)]
            second = await published(other, b"2", after=first)
            assert not any(task.done() for task in asked)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert {state.last_seq >= second for state in await asyncio.gather(*asked)} == {True}


@pytest.mark.parametrize(
    ("group", "led"),
    [
        (
            {"leader": "a", "replicas": [{"name": "b", "active": 1}, {"name": "c", "active": 9_000_000_000}]},
            True,
        ),
        (
            {"leader": "a", "replicas": [{"name": "b", "active": 0}, {"name": "c", "active": 9_000_000_000}]},
            False,
        ),
        # Answered by a, which has just learnt that it is b.
        ({"leader": "b", "replicas": [{"name": "b", "active": 31_750}, {"name": "c", "active": 0}]}, False),
        ({"leader": "a"}, True),
    ],
)
def test_who_is_believed_to_lead(group: dict[str, Any], led: bool) -> None:
    assert msgspec.convert(group, nats_client.Group).led is led
