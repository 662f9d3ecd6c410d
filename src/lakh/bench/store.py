"""`lakh bench store`: the store alone, without an API server.

Measured on one partition in a directory of its own, each phase with the longest time that the event loop was not free:

1. writes: clients that each wait for their write (create, updates by compare-and-swap), so latency and batches are those
   of group commit;
2. updates of the same objects, as fast as they are taken: memory and disk are those of the history window;
3. loading objects as fast as they are taken, through compactions;
4. opening it again, from the log (and compacting it then), and from the snapshot; each in a new process, whose growth
   in resident memory is that of the objects;
5. an API server on it: the time until it says that it serves, and answers.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from lakh.client.client import Client
from lakh.machinery.process import resident_memory
from lakh.progress import Progress
from lakh.store.file_journal import FileJournal
from lakh.store.journal import Journal
from lakh.store.partition import Partition

VALUE_BYTES = 1_500
CLIENTS = 64
WRITE_SECONDS = 5.0
LOAD_WINDOW = 4_000
"""Writes under way while loading."""
SAME_OBJECTS = 1_000
PARTITION = "pods"
PROBE_SECONDS = 0.002


async def run(options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Measure one engine; the report."""
    with tempfile.TemporaryDirectory(prefix="lakh-bench-store-") as name:
        directory = Path(name)
        if options.engine == "file":
            return await _measure(options, progress, directory, [])
        from lakh.store.nats_server import NatsServer

        server = await NatsServer.start(directory)
        try:
            return await _measure(options, progress, directory, [server.url, server.token])
        finally:
            await server.stop()


async def _open(directory: Path, server: list[str]) -> Partition:
    journal: Journal
    if server:
        from lakh.store.nats_journal import NatsJournal

        journal = await NatsJournal.open(PARTITION, [server[0]], token=server[1])
    else:
        journal = await FileJournal.open(directory / "journal" / PARTITION)
    return await Partition.open(PARTITION, journal)


async def _measure(
    options: argparse.Namespace, progress: Progress, directory: Path, server: list[str]
) -> dict[str, Any]:
    partition = await _open(directory, server)
    report: dict[str, Any] = {
        "engine": options.engine,
        "objects": options.objects,
        "value_bytes": VALUE_BYTES,
    }
    progress.show(f"{CLIENTS} clients write for {options.seconds:g} s")
    lag = _LoopLag()
    report["write"] = await _writes(partition, options.seconds)
    report["write"]["loop_held_max_ms"] = lag.stop()
    progress.show(f"the same {SAME_OBJECTS} objects are updated for {options.seconds:g} s")
    report["same_objects"] = await _update_same(partition, options.seconds)
    lag = _LoopLag()
    begin = time.perf_counter()
    await _load(partition, options.objects, progress)
    seconds = time.perf_counter() - begin
    report["load_per_s"] = round(options.objects / seconds)
    while partition.compacting:
        await asyncio.sleep(0.01)
    report["load_loop_held_max_ms"] = lag.stop()
    report["compactions"] = partition.counters.compactions
    report["disk_bytes"], report["live_bytes"] = partition.disk_bytes, partition.live_bytes
    count = partition.count("pods")
    await partition.close()
    for source in ("log", "snapshot"):
        progress.show(f"opening it again, from the {source}")
        report[f"from_{source}"] = await _reopened(directory, server, source, count)
    progress.show("an API server opens it")
    report["served"] = await _served(directory, server, count)
    return report


async def _update_same(partition: Partition, seconds: float) -> dict[str, Any]:
    lag, before = _LoopLag(), resident_memory()
    ends = time.perf_counter() + seconds
    count = most_disk = 0
    value = os.urandom(VALUE_BYTES)
    while time.perf_counter() < ends:
        writes = []
        for number in range(LOAD_WINDOW):
            writes.append(partition.put(f"bench/same/{number % SAME_OBJECTS}", value[number % 16 :]))
            if number % 200 == 199:
                await asyncio.sleep(0)
        await asyncio.gather(*writes)
        count += LOAD_WINDOW
        most_disk = max(most_disk, partition.disk_bytes)
    return {
        "updates": count,
        "per_minute": round(60 * count / seconds),
        "most_disk_bytes": most_disk,
        "live_bytes": partition.live_bytes,
        "resident_growth_bytes": resident_memory() - before,
        "loop_held_max_ms": lag.stop(),
    }


async def _served(directory: Path, server: list[str], count: int) -> dict[str, Any]:
    """From the start of the process to its first answer."""
    data = directory / "served" if server else directory
    arguments = ["apiserver", "--data-dir", str(data), "--port", "0", "--exit-with-parent"]
    if server:
        token = directory / "bench-token"
        token.write_text(server[1])
        arguments += ["--engine", "nats", "--nats-url", server[0], "--nats-token-file", str(token)]
    begin = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lakh", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        while not (line := await process.stdout.readline()).startswith(b"serving "):
            if not line:
                raise RuntimeError("the API server did not start")
        async with Client.from_kubeconfig(data / "kubeconfig", user_agent="lakh-bench") as client:
            while (answer := await client.raw("GET", "/readyz")).status != 200:
                await asyncio.sleep(0.02)
            ready = time.perf_counter() - begin
            answer = await client.raw("GET", "/api/v1/pods?limit=1")
            listed = msgspec.json.decode(answer.body)
            if 1 + listed["metadata"].get("remainingItemCount", 0) != count:
                raise RuntimeError("the API server serves other objects")
        return {"ready_s": round(ready, 2), "resident_bytes": resident_memory(process.pid)}
    finally:
        process.terminate()
        await process.wait()


async def _reopened(directory: Path, server: list[str], source: str, count: int) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from lakh.bench.store import reopen; reopen()",
        source,
        str(directory),
        *server,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"opening again failed with code {process.returncode}")
    found: dict[str, Any] = msgspec.json.decode(out)
    if found.pop("items") != count:
        raise RuntimeError("opening again found other objects")
    return found


async def _writes(partition: Partition, seconds: float) -> dict[str, Any]:
    counters = partition.counters
    latencies: list[float] = []
    ends = time.perf_counter() + seconds

    async def client(number: int) -> None:
        value = random.Random(number).randbytes(VALUE_BYTES)
        key = f"bench/client/{number}"
        revision = 0
        while (begin := time.perf_counter()) < ends:
            revision = (await partition.put(key, value, expect=revision)).revision
            latencies.append(time.perf_counter() - begin)

    await asyncio.gather(*map(client, range(CLIENTS)))
    latencies.sort()

    def percentile(share: float) -> float:
        return round(1000 * latencies[min(len(latencies) - 1, int(share * len(latencies)))], 3)

    return {
        "ops_per_s": round(len(latencies) / seconds),
        "p50_ms": percentile(0.5),
        "p99_ms": percentile(0.99),
        "p999_ms": percentile(0.999),
        "within_15ms": round(sum(latency <= 0.015 for latency in latencies) / len(latencies), 5),
        "n": len(latencies),
        "batch_writes_mean": round(counters.writes / counters.batches, 1),
        "batch_bytes_mean": round(counters.batch_bytes / counters.batches),
    }


async def _load(partition: Partition, objects: int, progress: Progress) -> None:
    filler = os.urandom(VALUE_BYTES).hex()
    done = 0
    while done < objects:
        upto = min(done + LOAD_WINDOW, objects)
        writes = []
        for number in range(done, upto):
            namespace, name = f"namespace-{number % 100}", f"pod-{number:07d}"
            head = f'{{"metadata":{{"name":"{name}","namespace":"{namespace}","annotations":{{"filler":"'
            writes.append(
                partition.put(
                    f"pods/{namespace}/{name}",
                    f'{head}{filler[: VALUE_BYTES - len(head) - 4]}"}}}}}}'.encode(),
                    expect=0,
                    terms=(f"spec.nodeName=node-{number % 5000}",),
                )
            )
            if number % 200 == 199:
                await asyncio.sleep(0)
        await asyncio.gather(*writes)
        done = upto
        progress.bar("objects", done, objects)


class _LoopLag:
    """The longest time that a timer was late: for how long the loop was held."""

    def __init__(self) -> None:
        self._longest = 0.0
        self._task = asyncio.create_task(self._probe())

    async def _probe(self) -> None:
        with suppress(asyncio.CancelledError):
            while True:
                begin = time.perf_counter()
                await asyncio.sleep(PROBE_SECONDS)
                self._longest = max(self._longest, time.perf_counter() - begin - PROBE_SECONDS)

    def stop(self) -> float:
        self._task.cancel()
        return round(1000 * self._longest, 1)


def reopen() -> None:
    """In a process of its own: open, and print how long it took and what it takes. From the log: then compact."""
    source, directory, *server = sys.argv[1:]

    async def work() -> None:
        gc.freeze()
        before = resident_memory()
        lag = _LoopLag()
        begin = time.perf_counter()
        partition = await _open(Path(directory), server)
        seconds = time.perf_counter() - begin
        held = lag.stop()
        items = partition.count("pods")
        grown = resident_memory() - before
        report: dict[str, float] = {
            "items": items,
            "recovery_s": round(seconds, 2),
            "loop_held_max_ms": held,
            "resident_bytes_per_object": round(grown / max(items, 1)),
        }
        if source == "log":
            lag = _LoopLag()
            begin = time.perf_counter()
            await partition.compact()
            report["compaction_s"] = round(time.perf_counter() - begin, 2)
            report["compaction_loop_held_max_ms"] = lag.stop()
        sys.stdout.buffer.write(msgspec.json.encode(report))
        await partition.close()

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


def table(report: dict[str, Any]) -> list[list[str]]:
    """What is shown to people."""
    rows = [["what", "value"]]
    for name, value in report.items():
        if isinstance(value, dict):
            rows += [[f"{name} {key}", str(inner)] for key, inner in value.items()]
        else:
            rows.append([name, str(value)])
    return rows
