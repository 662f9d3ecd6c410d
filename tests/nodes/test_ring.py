from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

from lakh.nodes.ring import Ring

from .virtual import run


def test_turns_are_spread_evenly() -> None:
    async def work() -> list[tuple[float, int]]:
        turns: list[tuple[float, int]] = []

        async def act(thing: int) -> None:
            turns.append((asyncio.get_running_loop().time(), thing))

        task = asyncio.create_task(Ring(range(1000), 10.0, 64, act).run())
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
        hold = asyncio.Event()

        async def act(thing: int) -> None:
            turns[thing] += 1
            if not hold.is_set():
                await hold.wait()

        ring = Ring(range(100), 10.0, 4, act)
        task = asyncio.create_task(ring.run())
        await asyncio.sleep(100.0)
        assert sum(turns.values()) == 4, "at most so many under way"
        hold.set()
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        return turns, ring

    turns, ring = run(work())
    assert ring.skipped > 800
    assert max(turns.values()) <= 2
    assert len(turns) == 100


def test_a_ring_of_nothing() -> None:
    async def work() -> None:
        task = asyncio.create_task(Ring([], 10.0, 4, lambda thing: asyncio.sleep(0)).run())
        done, _ = await asyncio.wait([task], timeout=5)
        assert not done
        task.cancel()
        await asyncio.wait([task])

    run(work())
