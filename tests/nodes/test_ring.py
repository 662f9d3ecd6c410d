from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from lakh.nodes.ring import Ring

from .virtual import run


def test_turns_are_spread_evenly() -> None:
    async def work() -> list[tuple[float, int]]:
        turns: list[tuple[float, int]] = []

        def begin(thing: int, done: Callable[[], None]) -> None:
            turns.append((asyncio.get_running_loop().time(), thing))
            done()

        task = asyncio.create_task(Ring(range(1000), 10.0, 64, begin).run())
        await asyncio.sleep(30.0)
        task.cancel()
        await asyncio.wait([task])
        return turns

    turns = run(work())
    assert abs(len(turns) - 3000) <= 3
    seconds = Counter(int(at) for at, _ in turns)
    assert all(97 <= seconds[s] <= 103 for s in range(29))
    for number in (0, 500, 999):
        times = [at for at, thing in turns if thing == number]
        assert all(9.9 < b - a < 10.1 for a, b in pairwise(times))


def test_a_stall_is_not_made_up_for() -> None:
    async def work() -> tuple[Counter[int], Ring[int]]:
        turns: Counter[int] = Counter()
        held: list[Callable[[], None]] | None = []

        def begin(thing: int, done: Callable[[], None]) -> None:
            turns[thing] += 1
            if held is None:
                done()
            else:
                held.append(done)

        ring = Ring(range(100), 10.0, 4, begin)
        task = asyncio.create_task(ring.run())
        await asyncio.sleep(100.0)
        assert sum(turns.values()) == 4, "at most so many under way"
        ended, held = held, None
        for done in ended:
            done()
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        return turns, ring

    turns, ring = run(work())
    assert ring.stalls == 1
    assert max(turns.values()) <= 2
    assert len(turns) == 100


def test_turns_that_wait_for_a_place_keep_their_order() -> None:
    async def work() -> list[int]:
        turns: list[int] = []

        def begin(thing: int, done: Callable[[], None]) -> None:
            turns.append(thing)
            asyncio.get_running_loop().call_later(0.5, done)

        task = asyncio.create_task(Ring(range(100), 10.0, 3, begin).run())
        await asyncio.sleep(15.0)
        task.cancel()
        await asyncio.wait([task])
        return turns

    turns = run(work())
    assert len(turns) >= 3 * 29, "each place is taken as soon as it is free"
    assert turns == list(range(len(turns)))


def test_where_turns_take_too_long_rounds_do_and_nobody_is_passed_over() -> None:
    async def work() -> tuple[list[int], int]:
        turns: list[int] = []

        def begin(thing: int, done: Callable[[], None]) -> None:
            turns.append(thing)
            asyncio.get_running_loop().call_later(0.5, done)

        ring = Ring(range(100), 10.0, 3, begin)
        task = asyncio.create_task(ring.run())
        await asyncio.sleep(300.0)
        task.cancel()
        await asyncio.wait([task])
        return turns, ring.stalls

    turns, stalls = run(work())
    assert stalls and len(turns) > 1700, "six a second, where ten were due"
    assert turns == [number % 100 for number in range(len(turns))]


def test_a_ring_of_nothing() -> None:
    async def work() -> None:
        task = asyncio.create_task(Ring([], 10.0, 4, lambda thing, done: done()).run())
        done, _ = await asyncio.wait([task], timeout=5)
        assert not done
        task.cancel()
        await asyncio.wait([task])

    run(work())
