from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.bench import load
from lakh.client.errors import ConnectionLost

from ..nodes.virtual import run


@pytest.fixture
def _virtual_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load.time, "perf_counter", lambda: asyncio.get_running_loop().time())


async def _ten_ms(me: int, number: int) -> None:
    await asyncio.sleep(0.01)


@pytest.mark.usefixtures("_virtual_clock")
def test_closed_loop() -> None:
    result = run(load.closed_loop(_ten_ms, 4, 1.0)).result()
    assert result["n"] == pytest.approx(400, abs=8)
    assert result["ops_per_s"] == pytest.approx(400, rel=0.02)
    assert result["p50_ms"] == result["p999_ms"] == pytest.approx(10)
    assert result["within_15ms"] == 1.0 and result["errors"] == 0


@pytest.mark.usefixtures("_virtual_clock")
def test_closed_loop_with_a_limit() -> None:
    numbers: list[int] = []

    async def operation(me: int, number: int) -> None:
        numbers.append(number)
        await asyncio.sleep(0.01)

    assert run(load.closed_loop(operation, 4, 60.0, 10)).result()["n"] == 10
    assert sorted(numbers) == list(range(10))


@pytest.mark.usefixtures("_virtual_clock")
def test_failures_are_counted_apart() -> None:
    async def operation(me: int, number: int) -> None:
        await asyncio.sleep(0.01)
        if number % 2:
            raise ConnectionLost(f"operation {number}")

    measure = run(load.closed_loop(operation, 1, 60.0, 10))
    assert (measure.errors, len(measure.latencies_ms), measure.first_error) == (5, 5, "operation 1")


@pytest.mark.usefixtures("_virtual_clock")
def test_open_loop_offers_its_rate() -> None:
    result = run(load.open_loop(_ten_ms, 32, 2.0, 500.0)).result()
    assert result["n"] == 1000
    assert result["ops_per_s"] == pytest.approx(500, rel=0.02)
    assert result["p99_ms"] == pytest.approx(10)


@pytest.mark.usefixtures("_virtual_clock")
def test_open_loop_counts_a_stall_for_all_that_it_delays() -> None:
    async def operation(me: int, number: int) -> None:
        await asyncio.sleep(1.0 if number == 0 else 0.001)

    measure = run(load.open_loop(operation, 1, 1.0, 100.0))
    late = [ms for ms in measure.latencies_ms if ms > 100]
    assert max(measure.latencies_ms) == pytest.approx(1000)
    assert len(late) > 80, "what was due during the stall was late"


@given(st.lists(st.floats(0.001, 1e4), max_size=300))
def test_percentiles(latencies: list[float]) -> None:
    measure = load.Measure()
    measure.latencies_ms, measure.seconds = latencies, 2.0
    result = measure.result()
    assert result["n"] == len(latencies)
    for key, per_mille in (("p50_ms", 500), ("p99_ms", 990), ("p999_ms", 999)):
        rank = math.ceil(len(latencies) * per_mille / 1000 - 1e-9)
        assert result[key] == (round(sorted(latencies)[rank - 1], 3) if latencies else 0.0)
    within = sum(ms <= 15 for ms in latencies) / len(latencies) if latencies else 0.0
    assert result["within_15ms"] == pytest.approx(within, abs=1e-5)
