"""Load: clients that do one thing over and over, and how long it took.

Two kinds. Closed: each client sends its next request when the last is answered; it tells the throughput. Open (`rate`): requests are due at fixed
times whatever the server does, and latency counts from when a request was due, so that a stall is seen by all that it delays.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from lakh.client.errors import ClientError

WITHIN_MS = 15.0

Operation = Callable[[int, int], Awaitable[Any]]
"""Does one operation: (client number, running number)."""


class Measure:
    """Latencies of one kind of operation."""

    def __init__(self) -> None:
        self.latencies_ms: list[float] = []
        self.errors = 0
        self.first_error = ""
        self.seconds = 0.0

    def failed(self, error: Exception) -> None:
        """Counts an operation that failed."""
        self.errors += 1
        self.first_error = self.first_error or str(error)

    def result(self) -> dict[str, float | int]:
        """The figures, as the JSON report has them."""
        ordered = sorted(self.latencies_ms)
        count = len(ordered)

        within = sum(ms <= WITHIN_MS for ms in ordered)
        return {
            "ops_per_s": round(count / self.seconds, 1) if self.seconds else 0.0,
            "p50_ms": percentile(ordered, 0.5),
            "p99_ms": percentile(ordered, 0.99),
            "p999_ms": percentile(ordered, 0.999),
            "within_15ms": round(within / count, 5) if count else 0.0,
            "errors": self.errors,
            "n": count,
        }


def percentile(ordered: Sequence[float], share: float) -> float:
    """By nearest rank: the least of the values that a share of all does not exceed; 0 of none."""
    return round(ordered[max(0, math.ceil(len(ordered) * share) - 1)], 3) if ordered else 0.0


async def closed_loop(operation: Operation, clients: int, seconds: float, limit: int = 0) -> Measure:
    """Each of `clients` repeats the operation for `seconds`, or until `limit` were done in all."""
    measure = Measure()
    numbers = iter(range(limit or 1 << 62))
    began = time.perf_counter()
    end = began + seconds

    async def client(me: int) -> None:
        for number in numbers:
            start = time.perf_counter()
            if start >= end:
                return
            try:
                await operation(me, number)
            except ClientError as e:
                measure.failed(e)
            else:
                measure.latencies_ms.append((time.perf_counter() - start) * 1000)

    async with asyncio.TaskGroup() as group:
        for me in range(clients):
            group.create_task(client(me))
    measure.seconds = time.perf_counter() - began
    return measure


async def open_loop(
    operation: Operation, clients: int, seconds: float, rate: float, limit: int = 0
) -> Measure:
    """Offers `rate` operations a second for `seconds`; `clients` at most are under way at once."""
    measure = Measure()
    count = min(int(rate * seconds), limit or 1 << 62)
    numbers = iter(range(count))
    began = time.perf_counter()

    async def client(me: int) -> None:
        for number in numbers:
            due = began + number / rate
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            try:
                await operation(me, number)
            except ClientError as e:
                measure.failed(e)
            else:
                measure.latencies_ms.append((time.perf_counter() - due) * 1000)

    async with asyncio.TaskGroup() as group:
        for me in range(clients):
            group.create_task(client(me))
    measure.seconds = time.perf_counter() - began
    return measure
