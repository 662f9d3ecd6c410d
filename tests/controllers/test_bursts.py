from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.controllers.bursts import MAX_IN_FLIGHT, all_of, slow_start


class Server:
    """Answers calls, of which some fail, and counts those under way."""

    def __init__(self, failing: set[int] | frozenset[int] = frozenset()) -> None:
        self.failing = failing
        self.called: list[int] = []
        self.under_way = self.most = 0

    async def call(self, item: int) -> None:
        self.called.append(item)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        for _ in range(item % 3 + 1):
            await asyncio.sleep(0)
        self.under_way -= 1
        if item in self.failing:
            raise ValueError(item)


async def test_a_slow_start_doubles_up_to_its_limit() -> None:
    server = Server()
    sizes: list[int] = []

    async def call(item: int) -> None:
        if server.under_way == 0:
            sizes.append(0)
        sizes[-1] += 1
        await server.call(item)

    assert await slow_start(range(500), call) == (500, None)
    assert sizes[:5] == [1, 2, 4, 8, 16]
    assert server.called == list(range(500)) and server.most == MAX_IN_FLIGHT


async def test_a_slow_start_that_is_refused_costs_few_calls() -> None:
    server = Server(set(range(500)))
    succeeded, error = await slow_start(range(500), server.call)
    assert (succeeded, str(error), server.called) == (0, "0", [0])
    server = Server(set(range(3, 500)))
    succeeded, error = await slow_start(range(500), server.call)
    assert (succeeded, str(error), server.called) == (3, "3", list(range(7)))


@given(st.integers(0, 200), st.sets(st.integers(0, 199)), st.integers(1, 40))
def test_what_is_told_is_what_was_called(count: int, failing: set[int], initial: int) -> None:
    server = Server(failing)
    succeeded, error = asyncio.run(slow_start(range(count), server.call, initial=initial))
    assert server.called == list(range(len(server.called))), "in order, each once"
    failed = failing.intersection(server.called)
    assert succeeded == len(server.called) - len(failed)
    assert (error is not None) == bool(failed)
    if error is None:
        assert succeeded == count
    else:
        assert len(server.called) <= 2 * min(failed) + max(initial, MAX_IN_FLIGHT) + 1, (
            "nothing begins after a failure"
        )
    assert server.most <= max(initial, MAX_IN_FLIGHT)

    server = Server(failing)
    error = asyncio.run(all_of(range(count), server.call))
    assert sorted(server.called) == list(range(count))
    assert (error is not None) == bool(failing.intersection(range(count)))
    assert server.most <= MAX_IN_FLIGHT


async def test_cancelling_a_burst_cancels_its_calls() -> None:
    begun: list[int] = []
    cancelled: list[int] = []

    async def call(item: int) -> None:
        begun.append(item)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.append(item)
            raise

    task = asyncio.ensure_future(all_of(range(100), call))
    while len(begun) < MAX_IN_FLIGHT:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert begun == cancelled == list(range(MAX_IN_FLIGHT))
