from __future__ import annotations

import asyncio
import heapq
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.client.workqueue import QueueShutDown, WorkQueue


class VirtualTime:
    """Timers whose clock moves when told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[float, int, Call]] = []
        self.armed = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when, callback, *args):
        call = Call(callback, args)
        self.armed += 1
        heapq.heappush(self.calls, (when, self.armed, call))
        return call

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self.calls and self.calls[0][0] <= end:
            self.now, _, call = heapq.heappop(self.calls)
            if not call.cancelled:
                call.callback(*call.args)
        self.now = end


class Call:
    def __init__(self, callback, args) -> None:
        self.callback, self.args, self.cancelled = callback, args, False

    def cancel(self) -> None:
        self.cancelled = True


async def test_worked_example():
    """queued → processing → processing+dirty → queued → processing → absent, as in the module's picture."""
    queue = WorkQueue("q")
    queue.add("a")
    queue.add("a")
    queue.add("b")
    assert len(queue) == 2
    assert await queue.get() == "a"
    queue.add("a")
    assert await queue.get() == "b"
    assert len(queue) == 0
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    queue.done("b")
    assert queue.idle
    assert repr(queue) == "WorkQueue('q', queued=0, processing=0, delayed=0)"


async def test_delays_use_one_timer_and_the_earlier_time_counts():
    clock = VirtualTime()
    queue = WorkQueue(timers=clock)
    queue.add_after("late", 10)
    queue.add_after("early", 5)
    queue.add_after("late", 20)
    queue.add_after("now", 0)
    assert await queue.get() == "now"
    assert [call.cancelled for _, _, call in sorted(clock.calls, key=lambda c: c[1])] == [True, False]
    clock.advance(5)
    assert await queue.get() == "early"
    queue.add_after("late", 1)
    clock.advance(1)
    assert await queue.get() == "late"
    clock.advance(100)
    assert len(queue) == 0
    assert queue.delayed == 0


async def test_rate_limit_doubles_up_to_its_maximum():
    queue = WorkQueue(timers=VirtualTime())
    delays = [queue.next_delay_seconds("a") for _ in range(40)]
    assert delays[:3] == [0.005, 0.01, 0.02]
    assert delays[-1] == 1000.0
    assert queue.requeues("a") == 40
    queue.forget("a")
    assert queue.requeues("a") == 0
    assert queue.next_delay_seconds("a") == 0.005


async def test_waiting_getters_are_served_in_order_and_survive_cancellation():
    queue = WorkQueue()
    getters = [asyncio.ensure_future(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    getters[0].cancel()
    queue.add("a")
    queue.add("b")
    getters[1].cancel()  # may have been handed "a" in this very turn
    results = await asyncio.gather(*getters, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert isinstance(results[1], asyncio.CancelledError)
    given_out = {results[2], await queue.get()}
    assert given_out == {"a", "b"}


async def test_shut_down_drains():
    queue = WorkQueue(timers=VirtualTime())
    queue.add("a")
    queue.add_after("b", 1)
    queue.shut_down()
    queue.add("c")
    assert await queue.get() == "a"
    with pytest.raises(QueueShutDown):
        await queue.get()


async def test_run_retries_failures_with_backoff(caplog):
    clock = VirtualTime()
    queue = WorkQueue("q", timers=clock)
    tries: list[str] = []
    failed = asyncio.Event()

    async def reconcile(key: str) -> None:
        tries.append(key)
        if len(tries) < 3:
            failed.set()
            raise RuntimeError("not yet")
        queue.shut_down()

    running = asyncio.ensure_future(queue.run(reconcile, workers=2))
    queue.add("a")
    for delay in (0.005, 0.01):
        await failed.wait()
        failed.clear()
        while queue.delayed == 0:
            await asyncio.sleep(0)
        clock.advance(delay)
    await running
    assert tries == ["a", "a", "a"]
    assert queue.requeues("a") == 0
    assert "not yet" in caplog.text


async def test_run_never_works_on_one_key_twice_at_a_time():
    queue = WorkQueue()
    working: set[str] = set()
    done = 0

    async def reconcile(key: str) -> None:
        nonlocal done
        assert key not in working
        working.add(key)
        queue.add(key) if done < 200 else None
        await asyncio.sleep(0)
        working.discard(key)
        done += 1
        if done >= 200 and len(working) == 0:
            queue.shut_down()

    for number in range(5):
        queue.add(str(number))
    await asyncio.wait_for(queue.run(reconcile, workers=8), 120)
    assert done >= 200


@given(st.lists(st.tuples(st.sampled_from(["add", "get", "done", "after", "advance"]), st.integers(0, 3))))
def test_against_a_model(steps):
    """The model: sets, and a list of due times."""

    async def scenario() -> None:
        clock = VirtualTime()
        queue = WorkQueue(timers=clock)
        waiting: deque[str] = deque()
        processing: set[str] = set()
        dirty: set[str] = set()
        due: dict[str, float] = {}

        def add(key: str) -> None:
            if key in processing:
                dirty.add(key)
            elif key not in waiting:
                waiting.append(key)

        for step, number in steps:
            key = str(number)
            match step:
                case "add":
                    queue.add(key)
                    add(key)
                case "get" if waiting:
                    expected = waiting.popleft()
                    assert await queue.get() == expected
                    processing.add(expected)
                case "done" if key in processing:
                    queue.done(key)
                    processing.discard(key)
                    if key in dirty:
                        dirty.discard(key)
                        add(key)
                case "after":
                    queue.add_after(key, number + 1)
                    due[key] = min(due.get(key, 1e9), clock.now + number + 1)
                case "advance":
                    clock.advance(number)
                    for ready in sorted((k for k in due if due[k] <= clock.now), key=lambda k: due[k]):
                        del due[ready]
                        # the order among keys due in one step is the heap's; take what the queue says
                    expected_waiting = set(queue._queue)
                    for ready in queue._queue:
                        if ready not in waiting:
                            waiting.append(ready)
                    dirty = {k for k in processing if k in queue._dirty}
                    assert set(waiting) == expected_waiting
            assert len(queue) == len(waiting)
            assert queue.delayed == len(due)
            assert not set(waiting) & processing

    asyncio.run(scenario())
