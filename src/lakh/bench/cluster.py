"""`lakh bench cluster`: a cluster of N nodes under the load of the public 100,000-node tests, measured.

Without a kubeconfig it starts a cluster of its own in a temporary directory; with one, the simulated fleet joins that cluster, whatever serves
it. Ctrl-C ends the phase under way and leaves the report of what was done.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

from lakh import __version__
from lakh.bench import report
from lakh.bench.phases import MEMORY_END_BYTES, PHASES, Run, available_bytes
from lakh.bench.sampler import DURATIONS, Process, Sampler, is_write, percentiles
from lakh.bench.scrape import Scrape, histogram
from lakh.bench.target import namespace
from lakh.cli import Failure
from lakh.client.client import Client
from lakh.client.errors import ClientError
from lakh.nodes.catalogue import CATALOGUE
from lakh.progress import Progress
from lakh.up import TARGETS_FILE

START_SECONDS = 120.0
STOP_SECONDS = 30.0
CONNECTIONS = 32
# Nodes that fall silent are found out after 40 s: smaller clusters skip that phase to be done within a minute.
DEGRADED_FROM_NODES = 2_000
FORMAT = 1


@contextlib.asynccontextmanager
async def process(arguments: list[str], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """One of our commands as a process of its own, ended with the body."""
    with log.open("ab") as out:
        started = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "lakh",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield started
    finally:
        if started.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                started.terminate()
            try:
                await asyncio.wait_for(started.wait(), STOP_SECONDS)
            except TimeoutError:
                started.kill()
                await started.wait()


def children(pid: int) -> list[Process]:
    """The components among a process's children, by the command they run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except (OSError, IndexError, ValueError):
            continue
        if parent == pid and b"lakh" in words:
            found.append(Process(words[words.index(b"lakh") + 1].decode(), int(entry.name)))
    return found


async def wait_for_server(kubeconfig: Path, up: asyncio.subprocess.Process, log: Path) -> None:
    """Until `up` says that it is ready; raises Failure."""
    deadline = time.monotonic() + START_SECONDS
    while not (log.exists() and b"ready:" in log.read_bytes()):
        if up.returncode is not None or time.monotonic() > deadline:
            words = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise Failure(f"the cluster did not start: {words}")
        await asyncio.sleep(0.05)
    assert kubeconfig.exists()


def targets(directory: Path) -> list[tuple[str, int]]:
    """Where the components of `lakh up` serve their metrics, without the API servers."""
    found = report.decode((directory / TARGETS_FILE).read_bytes())
    return [
        (address, int(port))
        for one in found
        if one["labels"]["component"] != "apiserver"
        for address, _, port in (target.rpartition(":") for target in one["targets"])
    ]


def why_ended(fleet: asyncio.subprocess.Process, log: Path) -> str:
    """Why the load cannot go on: the nodes are gone, or memory is nearly used up. Empty while it can."""
    if fleet.returncode is not None:
        lines = log.read_text(errors="replace").strip().splitlines()
        return f"the fleet has ended: {lines[-1] if lines else f'exit code {fleet.returncode}'}"
    if available_bytes() < MEMORY_END_BYTES:
        return f"memory: less than {MEMORY_END_BYTES / 1e9:g} GB left"
    return ""


async def run(options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Measures; the report. Cancelled, it returns the report of what was done."""
    names = choose(options.phases, options.nodes)
    result: dict[str, Any] = {
        "format": FORMAT,
        "lakh": __version__,
        "nodes": options.nodes,
        "lease_seconds": options.lease_seconds,
        "status_seconds": options.status_seconds,
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "cpus": os.cpu_count(),
            "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        },
        "phases": [],
        "complete": False,
    }
    if options.work_dir is not None:
        options.work_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lakh-bench-", dir=options.work_dir) as directory:
        async with contextlib.AsyncExitStack() as stack:
            base = Path(directory)
            processes = [Process("bench", os.getpid())]
            began = time.perf_counter()
            kubeconfig = options.kubeconfig
            fleet_config = kubeconfig
            components: list[tuple[str, int]] = []
            progress.show("starting the cluster …")
            if kubeconfig is None:
                log = base / "up.log"
                up = await stack.enter_async_context(
                    process(
                        [
                            "up",
                            "--data-dir",
                            str(base / "data"),
                            "--port",
                            "0",
                            "--lease-seconds",
                            str(options.lease_seconds),
                        ],
                        log,
                    )
                )
                kubeconfig = base / "data" / "kubeconfig"
                await wait_for_server(kubeconfig, up, log)
                components = targets(base / "data")
                fleet_config = base / "data" / "kubeconfigs" / "nodes.kubeconfig"
                processes += children(up.pid)
            fleet_log = base / "nodes.log"
            fleet = await stack.enter_async_context(
                process(
                    [
                        "nodes",
                        "--kubeconfig",
                        str(fleet_config),
                        "--count",
                        str(options.nodes),
                        "--instance-type",
                        options.instance_type,
                        "--lease-seconds",
                        str(options.lease_seconds),
                        "--status-seconds",
                        str(options.status_seconds),
                        "--exit-with-parent",
                    ],
                    fleet_log,
                )
            )

            processes.append(Process("nodes", fleet.pid))
            result["cluster_started_seconds"] = round(time.perf_counter() - began, 2)
            client = Client.from_kubeconfig(
                kubeconfig, user_agent=f"lakh-bench/{__version__}", max_connections=CONNECTIONS
            )
            stack.push_async_callback(client.close)
            ended = partial(why_ended, fleet, fleet_log)
            await _measure(client, options, names, processes, components, ended, result, progress)
    return result


async def _measure(
    client: Client,
    options: argparse.Namespace,
    names: list[str],
    processes: list[Process],
    components: list[tuple[str, int]],
    ended: Callable[[], str],
    result: dict[str, Any],
    progress: Progress,
) -> None:
    version = (await client.raw("GET", "/version")).body
    result["server"] = report.decode(version).get("gitVersion", "")
    devices = CATALOGUE[options.instance_type].devices
    device = next(iter(devices.items()), ("cpu", 1))
    async with (
        namespace(client, f"lakh-bench-{os.getpid()}") as where,
        namespace(client, f"lakh-probe-{os.getpid()}") as probes,
    ):
        run = Run(
            client,
            where,
            options.nodes,
            device,
            options.pods_per_node,
            options.churn_seconds,
            options.deadline_seconds,
            progress,
            ended,
        )
        sampler = Sampler(client, probes, processes, components, options.nodes)
        background = [asyncio.create_task(run.tracker.run()), asyncio.create_task(sampler.run())]
        try:
            await _phases(run, sampler, names, result, progress)
            result["complete"] = not run.stopped
            if run.stopped:
                result["stopped"] = run.stopped
                progress.line(f"stopped: {run.stopped}; this is the report of what was done")
        except asyncio.CancelledError:
            result["stopped"] = "interrupted"
            progress.line("interrupted: this is the report of what was done")
        finally:
            with contextlib.suppress(ClientError):
                sampler.last = await sampler.fetch() or sampler.last
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            summarise(result, sampler)


async def _phases(
    run: Run, sampler: Sampler, names: list[str], result: dict[str, Any], progress: Progress
) -> None:
    for name in names:
        sampler.phase = name
        began = time.perf_counter()
        before = await sampler.fetch()
        row: dict[str, Any] = {"name": name, "at": round(began - sampler.began, 2)}
        result["phases"].append(row)
        try:
            row |= await PHASES[name](run)
        except ClientError as e:
            row["error"] = str(e)
        except asyncio.CancelledError:
            row["error"] = "interrupted"
            raise
        finally:
            row["seconds"] = round(time.perf_counter() - began, 2)
            row["writes"] = _writes(await sampler.fetch(), before, row["seconds"])
        progress.line(f"{name}: {report.one_line(row)}")
        if run.stopped:
            return


def _writes(now: Scrape, before: Scrape, seconds: float) -> dict[str, float | int]:
    """Writes between two scrapes."""
    writes = histogram(now, before, DURATIONS, is_write)
    return {
        "n": int(writes.total),
        "per_s": round(writes.total / seconds, 1) if seconds else 0.0,
        "p50_ms": round(writes.quantile(0.5) * 1000, 2),
        "p99_ms": round(writes.quantile(0.99) * 1000, 2),
        "within_15ms": round(writes.share_within(0.015), 5),
    }


def summarise(result: dict[str, Any], sampler: Sampler) -> None:
    """Adds what the sampler found."""
    for p in sampler.processes:
        p.look()
    result["samples"] = sampler.samples
    result["latency"] = sampler.latencies()
    result["outside"] = {
        "lease_renewal": percentiles(sampler.write_ms),
        "get": percentiles(sampler.read_ms),
        "watch_lag": percentiles(sampler.lag_ms),
        "errors": sampler.probe_errors,
    }
    result["processes"] = [
        {
            "name": p.name,
            "peak_memory_mb": round(p.peak_bytes / 1e6, 1),
            "cpu_seconds": round(p.cpu_seconds, 1),
        }
        for p in sampler.processes
    ]
    result["journal"] = sampler.journal()
    samples = sampler.samples
    result["peaks"] = {
        name: max((s[name] or 0 for s in samples), default=0)
        for name in (
            "writes_per_s",
            "binds_per_s",
            "watch_events_per_s",
            "journal_bytes_per_s",
            "pods",
            "objects",
            "live_bytes",
        )
    }
    result["peaks"]["memory_mb"] = round(
        max((sum(v for n, v in s["memory_mb"].items() if n != "bench") for s in samples), default=0.0), 1
    )
    result["budgets"] = report.budgets(result)


def choose(given: str, nodes: int) -> list[str]:
    """The phases to run, in their order; raises Failure."""
    if not given:
        return [n for n in PHASES if n != "degraded" or nodes >= DEGRADED_FROM_NODES]
    asked = given.split(",")
    unknown = [n for n in asked if n not in PHASES]
    if unknown:
        raise Failure(f"unknown phase {unknown[0]}; known are {', '.join(PHASES)}")
    return [n for n in PHASES if n in asked or n in ("start", "deletion")]
