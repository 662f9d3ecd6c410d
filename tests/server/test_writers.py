"""Who should write which partition, which writer is replaced, and barriers that reads share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery.errors import StatusError
from lakh.server import consistency, peers, writers
from lakh.server.cluster import PARTITIONS
from lakh.server.consistency import Barrier, reach
from lakh.server.writers import Writers, assign, order, url_of
from lakh.store.errors import JournalUnavailable, NotWriter
from lakh.store.memory_journal import MemoryJournal
from lakh.store.partition import Partition

servers = st.lists(st.text("abcdefgh:/", min_size=1), min_size=1, max_size=7, unique=True)


@given(servers)
def test_partitions_are_spread_evenly(urls: list[str]) -> None:
    assigned = assign(PARTITIONS, urls)
    assert assigned.keys() == set(PARTITIONS)
    share = -(-len(PARTITIONS) // len(urls))
    assert max(list(assigned.values()).count(url) for url in urls) <= share
    assert assign(PARTITIONS, sorted(urls)) == assigned, "whoever asks, in whatever order"


@given(servers, st.data())
def test_a_server_that_leaves_takes_nobody_elses_turn(urls: list[str], data: Any) -> None:
    gone = data.draw(st.sampled_from(urls))
    before = [url for url in order("pods", urls) if url != gone]
    assert order("pods", [url for url in urls if url != gone]) == before


def test_a_claim_names_its_server() -> None:
    assert url_of("https://10.0.0.1:6443 1f2e3d4c") == "https://10.0.0.1:6443"
    assert url_of(None) is None


class Hanging(MemoryJournal):
    """A journal on shared entries that is out of reach, for appends and for questions, as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()
        self.answers.set()
        self.questions = 0

    async def read_head(self) -> int:
        self.questions += 1
        await self.answers.wait()
        return await super().read_head()


class Between:
    """What two servers say to each other."""

    def __init__(self) -> None:
        self.writers: dict[str, Writers] = {}

    def dial(self, url: str) -> Any:
        return Link(self.writers, url)


class Link:
    def __init__(self, writers: dict[str, Writers], url: str) -> None:
        self.writers, self.url = writers, url

    async def exchange(self, method: str, payload: bytes, timeout: float) -> Any:
        return SimpleNamespace(
            status=200, headers=[], body=msgspec.json.encode(self.writers[self.url].status())
        )

    async def close(self) -> None:
        pass


class Pair:
    """Two servers that follow the partition `pods`; the first one writes it."""

    def __init__(self) -> None:
        self.between = Between()
        self.journals: list[Hanging] = []
        self.partitions: list[Partition] = []

    async def start(self) -> Pair:
        journal = Hanging()
        shared = journal.shared()
        assert isinstance(shared, Hanging)
        self.journals = [journal, shared]
        for index, journal in enumerate(self.journals):
            url = f"https://{index}"
            partition = await Partition.open("pods", journal, follow=True)
            self.partitions.append(partition)
            self.between.writers[url] = Writers(
                url, {"pods": partition}, self.between.dial, lambda: list(self.between.writers)
            )
        first = self.between.writers["https://0"]
        await self.partitions[0].promote(first.claim)
        for server in self.between.writers.values():
            server.start()
        await self.until(lambda: self.partitions[1].writer == first.claim)
        return self

    async def until(self, probe: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not probe():
                await asyncio.sleep(0.001)

    async def stop(self) -> None:
        for journal in self.journals:
            journal.answers.set()
            journal.release()
        for server in self.between.writers.values():
            await server.stop()
        for partition in self.partitions:
            await partition.close()


@pytest.fixture
async def pair(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    monkeypatch.setattr(writers, "STALL_SECONDS", 0.05)
    monkeypatch.setattr(writers, "PROGRESS_SECONDS", 0.1)
    monkeypatch.setattr(writers, "CLAIM_SECONDS", 0.05)
    monkeypatch.setattr(writers, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(writers, "HANDOVER_SECONDS", 1e9)
    monkeypatch.setattr(peers, "PROBE_SECONDS", 0.01)
    started = await Pair().start()
    yield started
    await started.stop()


async def test_a_writer_alone_with_its_silence_is_replaced(pair: Pair) -> None:
    first, second = pair.partitions
    pair.journals[0].hold()
    lost = first.put("pods/a/lost", b"")
    await pair.until(lambda: second.is_writer)
    await second.put("pods/a/b", b"")
    assert first.is_writer, "nobody told it"
    pair.journals[0].release()
    with pytest.raises(NotWriter):
        await lost
    await pair.until(lambda: first.get("pods/a/b") is not None)
    assert first.writer == second.writer == pair.between.writers["https://1"].claim
    assert [partition.get("pods/a/lost") for partition in pair.partitions] == [None, None]


async def test_a_writer_that_waits_for_the_same_journal_as_everybody_is_not_replaced(pair: Pair) -> None:
    first, second = pair.partitions
    pair.journals[0].hold()
    pair.journals[1].answers.clear()
    late = first.put("pods/a/late", b"")
    # The second one suspects it, asks in vain, and suspects it again.
    await pair.until(lambda: pair.journals[1].questions >= 3)
    assert first.is_writer and not second.is_writer
    # A new leader: the writer gets on within the time that it is given.
    writers.PROGRESS_SECONDS = 20.0
    asked = pair.journals[1].questions
    pair.journals[1].answers.set()
    await pair.until(lambda: pair.journals[1].questions > asked or len(second._arrivals) > 0)
    pair.journals[0].release()
    await late
    await pair.until(lambda: second.get("pods/a/late") is not None and not second._arrivals)
    assert first.is_writer and not second.is_writer
    assert second.counters.promotions == 0
    assert first.counters.step_downs == 0


class Asked:
    """A partition whose journal answers when it is told to."""

    name = "pods"

    def __init__(self) -> None:
        self.questions: list[asyncio.Future[None]] = []

    async def barrier(self) -> None:
        self.questions.append(asyncio.get_running_loop().create_future())
        await self.questions[-1]


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_reads_share_a_barrier() -> None:
    asked = Asked()
    barrier = Barrier(asked)  # type: ignore[arg-type]
    first = asyncio.gather(*(barrier() for _ in range(10)))
    await turns()
    assert len(asked.questions) == 1
    # These come while the first question is on its way, so its answer may be older than they are.
    second = asyncio.gather(*(barrier() for _ in range(100)))
    await turns()
    assert len(asked.questions) == 1
    asked.questions[0].set_result(None)
    await first
    await turns()
    assert not second.done()
    assert len(asked.questions) == 2
    asked.questions[1].set_result(None)
    await second
    assert barrier.asked == 2


async def test_a_client_that_leaves_does_not_take_the_barrier_along() -> None:
    asked = Asked()
    barrier = Barrier(asked)  # type: ignore[arg-type]
    leaving, staying = asyncio.ensure_future(barrier()), asyncio.ensure_future(barrier())
    await turns()
    leaving.cancel()
    await turns()
    asked.questions[0].set_result(None)
    await staying


async def test_a_journal_that_is_away_refuses_all_and_is_asked_again() -> None:
    asked = Asked()
    barrier = Barrier(asked)  # type: ignore[arg-type]
    first = asyncio.gather(*(barrier() for _ in range(3)), return_exceptions=True)
    await turns()
    asked.questions[0].set_exception(JournalUnavailable("away"))
    assert [type(e) for e in await first] == [JournalUnavailable] * 3
    later = asyncio.ensure_future(barrier())
    await turns()
    asked.questions[1].set_result(None)
    await later


async def test_a_silent_journal_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consistency, "BARRIER_SECONDS", 0.01)
    barrier = Barrier(Asked())  # type: ignore[arg-type]
    with pytest.raises(StatusError) as caught:
        await barrier()
    assert (caught.value.code, caught.value.reason) == (504, "Timeout")


async def test_a_revision_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consistency, "REACH_SECONDS", 0.01)
    partition = await Partition.open("pods", MemoryJournal())
    with pytest.raises(StatusError, match=r"Too large resource version: 99, current: 1"):
        await reach(partition, 99)
    assert partition._arrivals == [], "nobody waits for it any more"
    await partition.close()
