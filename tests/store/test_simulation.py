"""No schedule loses or doubles a write; the checkers find planted faults."""

import asyncio
import logging
import random

import pytest

from lakh.store.errors import Fenced, StoreError
from lakh.store.partition import Partition
from tests.examples import FUZZ, examples
from tests.store.simulation import (
    FOREVER,
    FaultyJournal,
    Operation,
    Simulation,
    Violation,
    Watcher,
    check_linearizable,
    check_watch,
)

ROUNDS = examples(300)


def run(seed: int, simulation: type[Simulation] = Simulation) -> Simulation:
    """A failure names the seed that plays it again."""
    round_ = simulation(seed)
    try:
        asyncio.run(asyncio.wait_for(round_.run(), 240))
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise
    return round_


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "lakh.store")


@pytest.mark.hypothesis
def test_random_schedules() -> None:
    base = random.randrange(1 << 40) if FUZZ else 1
    outcomes: dict[str, int] = {}
    step_downs = reloads = 0
    counts: dict[str, int] = {}
    for seed in range(base, base + ROUNDS):
        done = run(seed)
        for operation in done.operations:
            outcomes[operation.outcome] = outcomes.get(operation.outcome, 0) + 1
        step_downs += sum(partition.counters.step_downs for partition in done.replicas)
        reloads += sum(partition.counters.reloads for partition in done.replicas)
        for name, count in done.counts.items():
            counts[name] = counts.get(name, 0) + count
    print(outcomes, f"step-downs {step_downs}, reloads {reloads}", counts)
    assert set(outcomes) == {"ok", "refused", "conflict", "unknown"}, "the schedules reach every outcome"
    assert step_downs and reloads and all(counts.values())


# Planted faults


class Unfenced(FaultyJournal):
    """Takes an append after any sequence."""

    async def append(self, batch: bytes, *, after: int, urgent: bool = False) -> int:
        return await super().append(batch, after=self.head)


class Retrying(FaultyJournal):
    """Sends again what may have landed, after whatever is there."""

    async def append(self, batch: bytes, *, after: int, urgent: bool = False) -> int:
        try:
            return await super().append(batch, after=after)
        except Fenced:
            return await super().append(batch, after=self.head)


class Forgetful(Partition):
    """Answers before the write is durable: reads from the pending head."""

    def get(self, key: str):  # type: ignore[no-untyped-def]
        return self.head(key)


class Stale(Partition):
    """Reads without asking the journal."""

    async def barrier(self) -> None:
        return


class Stingy(Partition):
    """Holds deletes to the quota, too."""

    def delete(self, key, *, expect=None):  # type: ignore[no-untyped-def]
        self._refuse_at_quota(0)
        return super().delete(key, expect=expect)


class Lying(Partition):
    """Tells writes that found no room that they are done."""

    def _shed(self, batch, error):  # type: ignore[no-untyped-def]
        for write in batch:
            if not write.future.done():
                write.future.set_result(write.item)
        super()._shed(batch, error)


class Reckless(Partition):
    """On a full disk lets deletes fail with the rest."""

    def delete(self, key, *, expect=None):  # type: ignore[no-untyped-def]
        future = super().delete(key, expect=expect)
        self._queue[-1].urgent = False
        return future


class Deaf(Partition):
    """A watch that begins a little late."""

    def watch(self, *args, start=None, **options):  # type: ignore[no-untyped-def]
        return super().watch(*args, start=min((start or 1) + 1, self.revision), **options)


@pytest.mark.parametrize(
    "fault",
    [Unfenced, Retrying, Forgetful, Stale, Deaf, Stingy, Lying, Reckless],
    ids=lambda fault: fault.__name__,
)
def test_planted_faults_are_found(fault: type) -> None:
    class Faulty(Simulation):
        pass

    if issubclass(fault, Partition):
        Faulty.partition_type = fault
    else:
        Faulty.journal_type = fault
    for seed in range(2_000):
        try:
            run(seed, Faulty)
        except (Violation, StoreError):
            return
    pytest.fail(f"no schedule showed {fault.__name__}")


def op(kind: str, begin: int, end: int, **options: str) -> Operation:
    return Operation("k", kind, begin, end=end, **{"outcome": "ok", **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "history",
    [
        [op("put", 1, 2, value="1"), op("get", 3, 4, seen="")],
        [op("put", 1, 2, value="1"), op("put", 3, 4, value="2"), op("get", 5, 6, seen="1")],
        [op("put", 1, 2, value="1", expect=""), op("put", 3, 4, value="2", expect="")],
        [op("put", 1, 9, value="1"), op("get", 2, 3, seen="1"), op("get", 4, 5, seen="")],
        [op("put", 1, 2, value="1"), op("put", 3, 4, value="2", expect="1", outcome="conflict")],
        [op("get", 1, 2, seen="1"), op("put", 3, 4, value="1", outcome="unknown")],
        [op("put", 1, 2, value="1", outcome="refused"), op("get", 3, 4, seen="1")],
        [op("delete", 1, 2)],
    ],
)
def test_checker_refuses(history: list[Operation]) -> None:
    with pytest.raises(Violation):
        check_linearizable(history)


@pytest.mark.parametrize(
    "history",
    [
        [op("put", 1, 9, value="1"), op("get", 2, 3, seen=""), op("get", 4, 5, seen="1")],
        [
            op("put", 1, FOREVER, value="1", outcome="unknown"),
            op("get", 5, 6, seen=""),
            op("get", 7, 8, seen="1"),
        ],
        [op("put", 1, 2, value="1"), op("delete", 3, 4, expect="1"), op("get", 5, 6, seen="")],
    ],
)
def test_checker_accepts(history: list[Operation]) -> None:
    check_linearizable(history)


def test_watch_checker_refuses() -> None:
    for revisions in ([2, 4], [2, 2], [3], [2, 3, 4, 5]):
        with pytest.raises(Violation):
            check_watch(Watcher(0, revisions), 4, {})
