"""`lakh bench list` and `lakh bench watch`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import time
from typing import Any

import msgspec

from lakh.bench.api import pod
from lakh.bench.load import closed_loop, percentile
from lakh.bench.target import namespace, target
from lakh.cli import Failure
from lakh.client.client import Client
from lakh.client.resources import CONFIGMAPS, PODS
from lakh.client.types import ObjectView
from lakh.progress import Progress

_encode = msgspec.json.Encoder().encode

# Bytes of annotation that bring a pod to the size of the published comparison (6.2 KB each, 108 MB in 17,500).
FILLER_BYTES = 3600
CREATE_CLIENTS = 32
LIST_ROUNDS = 3
OPEN_SECONDS = 60.0
# How long after the last write its events may come.
LATE_SECONDS = 30.0


async def run_list(options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Lists many pods at once; the best of a few rounds."""
    async with (
        target(options.kubeconfig, CREATE_CLIENTS + 2) as client,
        namespace(client, f"lakh-bench-{os.getpid()}") as where,
    ):
        await fill(client, where, options.objects, progress)
        path = f"{PODS.path(where)}?resourceVersion=0"
        best, size = float("inf"), 0
        for number in range(LIST_ROUNDS):
            progress.show(f"list {number + 1} of {LIST_ROUNDS} …")
            began = time.perf_counter()
            answer = await client.raw("GET", path)
            best = min(best, time.perf_counter() - began)
            size = len(answer.body)
        return {"objects": options.objects, "bytes": size, "seconds": round(best, 4)}


async def fill(client: Client, where: str, count: int, progress: Progress) -> None:
    """Creates so many pods of 6 KB. Raises Failure."""
    template = pod("NAME-OF-POD")
    template["metadata"]["annotations"]["bench/filler"] = "x" * FILLER_BYTES
    before, after = _encode(template).split(b"NAME-OF-POD")
    done = 0

    async def create(me: int, number: int) -> None:
        nonlocal done
        await client.create(PODS, before + b"pod-%07d" % number + after, where, type=bytes)
        done += 1
        if done % 500 == 0 or done == count:
            progress.bar("pods created", done, count)

    measure = await closed_loop(create, CREATE_CLIENTS, 3600, count)
    if measure.errors:
        raise Failure(f"{measure.errors} creates failed: {measure.first_error}")


async def run_watch(options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Writes config maps under many watchers; how many events arrive, and how late."""
    async with (
        target(options.kubeconfig, options.watchers + CREATE_CLIENTS + 2) as client,
        namespace(client, f"lakh-bench-{os.getpid()}") as where,
    ):
        sent: dict[str, float] = {}
        lags_ms: list[float] = []
        received = 0
        expected: float = float("inf")
        opened = asyncio.Semaphore(0)
        complete = asyncio.Event()
        start = (await client.list(CONFIGMAPS, where, type=ObjectView, limit=1)).metadata.resourceVersion

        async def watcher() -> None:
            nonlocal received
            async with await client.open_watch(
                CONFIGMAPS, where, type=ObjectView, resource_version=start
            ) as stream:
                opened.release()
                while batch := await stream.read_batch():
                    now = time.perf_counter()
                    for event in batch:
                        at = sent.get(event.object.metadata.name or "")
                        if event.type == "ADDED" and at is not None:
                            received += 1
                            lags_ms.append((now - at) * 1000)
                    if received >= expected:
                        complete.set()

        tasks = [asyncio.create_task(watcher()) for _ in range(options.watchers)]
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                for _ in tasks:
                    await opened.acquire()
        except TimeoutError:
            raise Failure(f"{options.watchers} watches were not open within {OPEN_SECONDS:.0f} s") from None
        progress.show(f"{options.watchers} watchers, {options.seconds:g} s …")

        async def write(me: int, number: int) -> None:
            name = f"event-{number:07d}"
            sent[name] = time.perf_counter()
            await client.create(
                CONFIGMAPS, {"metadata": {"name": name}, "data": {"n": str(number)}}, where, type=bytes
            )

        began = time.perf_counter()
        measure = await closed_loop(write, CREATE_CLIENTS, options.seconds)
        expected = len(measure.latencies_ms) * options.watchers
        if received < expected:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LATE_SECONDS):
                    await complete.wait()
        seconds = time.perf_counter() - began
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        lags_ms.sort()
        if received < expected:
            raise Failure(f"{int(expected) - received} of {int(expected)} events did not arrive")
        progress.show(f"{received} events to {options.watchers} watchers in {seconds:.1f} s")
        return {
            "events_per_s": round(received / seconds, 1),
            "lag_p99_ms": percentile(lags_ms, 0.99),
        }
