"""Who should write which partition, and barriers that reads share."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery.errors import StatusError
from lakh.server import consistency
from lakh.server.cluster import PARTITIONS
from lakh.server.consistency import Barrier, reach
from lakh.server.writers import assign, order, url_of
from lakh.store.errors import JournalUnavailable
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
