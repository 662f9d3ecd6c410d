"""A work queue of keys, with the semantics of client-go's rate-limited queue.

* A key is queued at most once. Adding a key that waits does nothing.
* A key is with at most one worker. A key added while it is being worked on (*dirty*) is queued again when its worker
  calls `done`.
* `add_after` delays; when a key is delayed twice, the earlier time counts. All delays share one heap and one timer.
* `add_rate_limited` delays by 5 ms · 2ⁿ, n being the key's failures since `forget`, at most 1,000 s. client-go's overall
  limit of ten retries a second is left out: at a hundred thousand nodes it would stall recovery for hours.

State of a key, with what moves it:

    absent --add--> queued --get--> processing --done--> absent
                                    processing --add--> processing+dirty --done--> queued

All methods are synchronous except `get`, and belong to one event loop. Each costs O(1); delays cost O(log n).
The queue holds a key at most twice (queued or dirty, and delayed), so its size is bounded by the number of objects.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from lakh.machinery.metrics import PROCESS, exponential

from .errors import ClientError, is_conflict
from .tasks import TaskGuard

__all__ = ["QueueShutDown", "Timers", "WorkQueue"]

log = logging.getLogger(__name__)

BASE_DELAY_SECONDS = 0.005
MAX_DELAY_SECONDS = 1000.0
MAX_EXPONENT = 32
"""5 ms · 2³² is far beyond the maximum; keeps the power small."""


# client-go's workqueue metrics, under its names and with its bounds.
_BOUNDS = exponential(1e-8, 10, 12)
_ADDS = PROCESS.counter("workqueue_adds_total", "Keys added.", ("name",))
_RETRIES = PROCESS.counter("workqueue_retries_total", "Keys tried again after a failure.", ("name",))
_WAITED = PROCESS.histogram(
    "workqueue_queue_duration_seconds", "How long keys wait for a worker.", ("name",), _BOUNDS
)
_WORKED = PROCESS.histogram(
    "workqueue_work_duration_seconds", "How long keys are worked on.", ("name",), _BOUNDS
)
_queues: weakref.WeakSet[WorkQueue] = weakref.WeakSet()
PROCESS.reading(
    "workqueue_depth", "Keys that wait.", ("name",), lambda: [((q.name,), len(q)) for q in _queues]
)
for _name, _text, _summed in (
    ("unfinished_work", "For how long the keys under work have been, together.", sum),
    ("longest_running_processor", "For how long the key longest under work has been.", max),
):
    PROCESS.reading(
        f"workqueue_{_name}_seconds",
        _text,
        ("name",),
        lambda summed=_summed: [((q.name,), summed(q.working_seconds())) for q in _queues],  # type: ignore[misc]
    )


class QueueShutDown(Exception):
    """`get` on a queue that was shut down and is empty."""


class TimerHandle(Protocol):
    """What `Timers.call_at` returns."""

    def cancel(self) -> None:
        """Forget the call."""


class Timers(Protocol):
    """Time as an event loop offers it; tests pass a virtual one."""

    def time(self) -> float:
        """Monotonic seconds."""

    def call_at(self, when: float, callback: Callable[..., Any], /, *args: Any) -> TimerHandle:
        """Call back at `when`."""


class WorkQueue:
    """See the module. `timers` defaults to the running event loop."""

    def __init__(self, name: str = "", *, timers: Timers | None = None) -> None:
        self.name: str = name
        self._timers = timers
        self._queue: deque[str] = deque()
        self._dirty: set[str] = set()
        self._processing: set[str] = set()
        self._getters: deque[asyncio.Future[str]] = deque()
        self._delayed: list[tuple[float, int, str]] = []
        self._ready_at: dict[str, float] = {}
        self._sequence = 0
        self._timer: TimerHandle | None = None
        self._timer_at = 0.0
        self._failures: dict[str, int] = {}
        self._shut_down = False
        self._added_at: dict[str, float] = {}
        self._working: dict[str, float] = {}
        self._adds, self._retries = _ADDS.child(name), _RETRIES.child(name)
        self._waited, self._worked = _WAITED.child(name), _WORKED.child(name)
        _queues.add(self)

    def __len__(self) -> int:
        """Keys that wait for a worker, without the delayed ones."""
        return len(self._queue)

    def working_seconds(self) -> list[float]:
        """For how long each key under work has been; of an idle queue, 0."""
        now = time.perf_counter()
        return [now - began for began in self._working.values()] or [0.0]

    def __repr__(self) -> str:
        return (
            f"WorkQueue({self.name!r}, queued={len(self._queue)}, processing={len(self._processing)}, "
            f"delayed={len(self._ready_at)})"
        )

    @property
    def delayed(self) -> int:
        """Keys that wait for their time."""
        return len(self._ready_at)

    @property
    def idle(self) -> bool:
        """Nothing queued, delayed or being worked on."""
        return not (self._queue or self._processing or self._ready_at)

    def add(self, key: str) -> None:
        """Queue `key`, unless it is queued already."""
        if self._shut_down or key in self._dirty:
            return
        self._dirty.add(key)
        self._adds.value += 1
        self._added_at[key] = time.perf_counter()
        if key not in self._processing:
            self._push(key)

    def _push(self, key: str) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                self._take(key)
                getter.set_result(key)
                return
        self._queue.append(key)

    def _take(self, key: str) -> None:
        self._dirty.discard(key)
        self._processing.add(key)
        added_at = self._added_at.pop(key, None)
        if added_at is not None:
            self._waited.observe(time.perf_counter() - added_at)

    async def get(self) -> str:
        """The next key; it is the caller's until `done(key)`. Raises `QueueShutDown`."""
        if self._queue:
            key = self._queue.popleft()
            self._take(key)
            return key
        if self._shut_down:
            raise QueueShutDown(self.name)
        getter: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._getters.append(getter)
        try:
            return await getter
        except asyncio.CancelledError:
            if getter.done() and not getter.cancelled() and getter.exception() is None:
                # The key was handed over in the same turn as the cancellation: give it to somebody else.
                key = getter.result()
                self._processing.discard(key)
                if key not in self._dirty:
                    self._dirty.add(key)
                self._push(key)
            elif not getter.done():
                getter.cancel()
            raise

    def done(self, key: str) -> None:
        """The worker has finished with `key`; queue it again when it was added meanwhile."""
        self._processing.discard(key)
        if key in self._dirty:
            self._push(key)

    def add_after(self, key: str, seconds: float) -> None:
        """Add `key` in `seconds`, or at once when that is not positive."""
        if self._shut_down:
            return
        if seconds <= 0:
            self.add(key)
            return
        timers = self._clock()
        ready_at = timers.time() + seconds
        known = self._ready_at.get(key)
        if known is not None and known <= ready_at:
            return
        self._ready_at[key] = ready_at  # an older heap entry of this key no longer matches and is skipped
        self._sequence += 1
        heapq.heappush(self._delayed, (ready_at, self._sequence, key))
        if len(self._delayed) > 2 * len(self._ready_at) + 64:
            self._delayed = [entry for entry in self._delayed if self._ready_at.get(entry[2]) == entry[0]]
            heapq.heapify(self._delayed)
        self._arm()

    def _clock(self) -> Timers:
        if self._timers is None:
            self._timers = asyncio.get_running_loop()
        return self._timers

    def _arm(self) -> None:
        """Keep one timer, for the head of the heap."""
        if not self._delayed:
            return
        ready_at = self._delayed[0][0]
        if self._timer is not None:
            if self._timer_at <= ready_at:
                return
            self._timer.cancel()
        self._timer_at = ready_at
        self._timer = self._clock().call_at(ready_at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        # A loop's timer may be early by its clock's resolution; what this timer was set for is due.
        now = max(self._clock().time(), self._timer_at)
        while self._delayed and self._delayed[0][0] <= now:
            ready_at, _, key = heapq.heappop(self._delayed)
            if self._ready_at.get(key) == ready_at:
                del self._ready_at[key]
                self.add(key)
        self._arm()

    def add_rate_limited(self, key: str) -> None:
        """Add `key` after its backoff, which doubles with each call until `forget`."""
        self.add_after(key, self.next_delay_seconds(key))

    def next_delay_seconds(self, key: str) -> float:
        """Count a failure of `key` and return how long to wait."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return min(BASE_DELAY_SECONDS * 2.0 ** min(failures, MAX_EXPONENT), MAX_DELAY_SECONDS)

    def requeues(self, key: str) -> int:
        """Failures of `key` since `forget`."""
        return self._failures.get(key, 0)

    def forget(self, key: str) -> None:
        """Reset the backoff of `key`."""
        self._failures.pop(key, None)

    def shut_down(self) -> None:
        """Take no more keys. Queued ones are still given out; then `get` raises `QueueShutDown`."""
        self._shut_down = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._delayed.clear()
        self._ready_at.clear()
        for getter in self._getters:
            if not getter.done():
                getter.set_exception(QueueShutDown(self.name))
        self._getters.clear()

    async def run(self, reconcile: Callable[[str], Awaitable[None]], workers: int) -> None:
        """Reconcile keys with `workers` workers until cancelled or shut down.

        A key that fails is logged and tried again after its backoff; one that succeeds is forgotten.
        """
        if workers < 1:
            raise ValueError("workers must be at least 1")
        async with TaskGuard(f"queue {self.name}") as guard:
            running = [guard.spawn(self._work(reconcile), name=f"worker-{n}") for n in range(workers)]
            await asyncio.gather(*running)

    async def _work(self, reconcile: Callable[[str], Awaitable[None]]) -> None:
        while True:
            try:
                key = await self.get()
            except QueueShutDown:
                return
            began = self._working[key] = time.perf_counter()
            try:
                await reconcile(key)
            except Exception as error:
                self._log_failure(key, error)
                self._retries.value += 1
                self.add_rate_limited(key)
            else:
                self.forget(key)
            finally:
                self._worked.observe(time.perf_counter() - began)
                del self._working[key]
                self.done(key)

    def _log_failure(self, key: str, error: Exception) -> None:
        if is_conflict(error):  # an everyday race: somebody else was first, the next try reads anew
            log.debug("%s: %s: %s, will retry", self.name, key, error)
        elif isinstance(error, ClientError):
            log.warning("%s: %s: %s, will retry", self.name, key, error)
        else:
            log.error("%s: %s failed, will retry", self.name, key, exc_info=error)
