"""What is measured while the phases run: the server's metrics, its processes, and probes from outside.

Every second: a scrape of /metrics and a look at /proc. Ten times a second: one lease renewal and one read, timed by the client, and an object
written by one connection and seen by another's watch: what a user would feel.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from lakh.bench import scrape
from lakh.bench.load import percentile
from lakh.client.client import Client
from lakh.client.errors import ClientError
from lakh.client.resources import CONFIGMAPS, LEASES
from lakh.machinery import times
from lakh.machinery.process import resident_memory

# A look at all metrics, 2 MB, costs the API server 15 ms and its reader twice that. In large clusters, whose phases take minutes, it is taken more rarely: every 5 s
# at 100,000 nodes.
SAMPLE_SECONDS = 1.0
SAMPLE_NODES_PER_SECOND = 20_000
PROBE_SECONDS = 0.1
# Points kept for plots; beyond it every second one goes and sampling is half as dense.
SAMPLES_MAX = 2_000
DURATIONS = "apiserver_request_duration_seconds"
APPENDS = "lakh_store_append_duration_seconds"
WRITES = frozenset(("POST", "PUT", "PATCH", "APPLY", "DELETE"))
# Of other components' metrics these are looked at.
COMPONENT_METRICS = ("workqueue_depth", "scheduler_pending_pods", "lakh_events_")
COMPONENT_SECONDS = 1.0
LONG_RUNNING = frozenset(("WATCH", "CONNECT"))

_TICKS = os.sysconf("SC_CLK_TCK")


def is_write(labels: dict[str, str]) -> bool:
    """A write of an object."""
    return labels.get("verb") in WRITES and labels.get("resource", "") != ""


def is_get(labels: dict[str, str]) -> bool:
    """A read of one object."""
    return labels.get("verb") == "GET" and labels.get("resource", "") != ""


def is_list(labels: dict[str, str]) -> bool:
    """A list."""
    return labels.get("verb") == "LIST"


class ProbeView(msgspec.Struct, gc=False):
    """The probe's object."""

    class Meta(msgspec.Struct, gc=False):
        """Of its metadata."""

        name: str = ""
        resourceVersion: str = ""

    metadata: Meta
    data: dict[str, str] | None = None


class Process:
    """A process's memory and CPU, from /proc."""

    def __init__(self, name: str, pid: int) -> None:
        self.name = name
        self.pid = pid
        self.peak_bytes = 0
        self.cpu_seconds = 0.0
        self._began: float | None = None

    def look(self) -> tuple[float, float]:
        """Resident bytes and CPU seconds since the first look; what was last when it is gone."""
        try:
            resident = resident_memory(self.pid)
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except (OSError, IndexError):
            return 0.0, self.cpu_seconds
        cpu = (int(fields[11]) + int(fields[12])) / _TICKS
        if self._began is None:
            self._began = cpu
        self.peak_bytes = max(self.peak_bytes, resident)
        self.cpu_seconds = cpu - self._began
        return float(resident), self.cpu_seconds


def machine_busy_seconds() -> float | None:
    """Processor seconds that all cores of this machine have worked, for whomever; None where that is not known."""
    try:
        with open("/proc/stat") as file:
            user, nice, system, _, _, irq, softirq, *_ = map(int, file.readline().split()[1:])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq) / _TICKS


class Sampler:
    """Collects while `run` runs. `samples` are the rows of the report's plots."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        processes: list[Process],
        components: Sequence[tuple[str, int]] = (),
        nodes: int = 0,
    ) -> None:
        """`components`: where others than the API server serve their metrics, address and port."""
        self.client = client
        self.components = components
        self.namespace = namespace
        self.processes = processes
        self.phase = ""
        self.samples: list[dict[str, Any]] = []
        self.first: scrape.Scrape = {}
        self.last: scrape.Scrape = {}
        self.write_ms: list[float] = []
        self.read_ms: list[float] = []
        self.lag_ms: list[float] = []
        self.probe_errors = 0
        self._recent: deque[float] = deque(maxlen=100)
        self._recent_lag: deque[float] = deque(maxlen=100)
        self._interval = max(SAMPLE_SECONDS, nodes / SAMPLE_NODES_PER_SECOND)
        self.began = time.perf_counter()
        self._cpu: dict[str, float] = {}
        self._busy: float | None = None
        self._sent: dict[str, float] = {}

    async def run(self) -> None:
        """Until cancelled."""
        self.first = self.last = await self.fetch()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sample())
            group.create_task(self._probe())
            group.create_task(self._watch())

    async def fetch(self) -> scrape.Scrape:
        """The server's metrics now; empty when it has none for us."""
        try:
            answer = await self.client.raw("GET", "/metrics")
        except ClientError:
            return {}
        return scrape.parse(answer.body.decode()) if answer.status == 200 else {}

    async def _sample(self) -> None:
        at = time.perf_counter()
        while True:
            await asyncio.sleep(self._interval)
            now = await self.fetch()
            others = await asyncio.gather(*(fetch_component(*where) for where in self.components))
            then = time.perf_counter()
            if now and self.last:
                self.samples.append(self._row(now, self.last, then - at) | _queues(others))
            if now:
                self.last = now
            at = then
            if len(self.samples) >= SAMPLES_MAX:
                del self.samples[::2]
                self._interval *= 2

    def _row(self, now: scrape.Scrape, before: scrape.Scrape, seconds: float) -> dict[str, Any]:
        writes = scrape.histogram(now, before, DURATIONS, is_write)
        gets = scrape.histogram(now, before, DURATIONS, is_get)
        lists = scrape.histogram(now, before, DURATIONS, is_list)
        lag = scrape.histogram(now, before, "lakh_loop_lag_seconds", lambda labels: True)

        def rate(name: str, **labels: str) -> float:
            return round(
                (scrape.value(now, name, **labels) - scrape.value(before, name, **labels)) / seconds, 1
            )

        row: dict[str, Any] = {
            "t": round(time.perf_counter() - self.began, 2),
            "phase": self.phase,
            "writes_per_s": round(writes.total / seconds, 1),
            "reads_per_s": round((gets.total + lists.total) / seconds, 1),
            "write_p50_ms": _ms(writes, 0.5),
            "write_p99_ms": _ms(writes, 0.99),
            "get_p99_ms": _ms(gets, 0.99),
            "list_p99_ms": _ms(lists, 0.99),
            "within_15ms": round(writes.share_within(0.015), 5) if writes.total else None,
            "binds_per_s": rate("apiserver_request_total", subresource="binding", code="201"),
            "watch_events_per_s": rate("apiserver_watch_events_total"),
            "journal_bytes_per_s": rate("lakh_store_appended_bytes_total"),
            "in_flight": scrape.value(now, "apiserver_current_inflight_requests"),
            "fairness_waiting": scrape.value(now, "apiserver_flowcontrol_current_inqueue_requests"),
            "queued_writes": scrape.value(now, "lakh_store_queued_writes"),
            "watches": scrape.value(now, "apiserver_longrunning_requests"),
            "pods": scrape.value(now, "apiserver_storage_objects", resource="pods"),
            "objects": sum(now.get("apiserver_storage_objects", {}).values()),
            "live_bytes": scrape.value(now, "lakh_store_live_bytes"),
            "loop_lag_p99_ms": round(lag.quantile(0.99) * 1000, 2),
            "probe_p99_ms": percentile(sorted(self._recent), 0.99) if self._recent else None,
            "watch_lag_p99_ms": percentile(sorted(self._recent_lag), 0.99) if self._recent_lag else None,
            "memory_mb": {},
            "cpu": {},
        }
        busy = machine_busy_seconds()
        if busy is not None and self._busy is not None:
            row["machine_cpu"] = round((busy - self._busy) / seconds, 3)
        self._busy = busy
        for process in self.processes:
            resident, cpu = process.look()
            row["memory_mb"][process.name] = round(resident / 1e6, 1)
            row["cpu"][process.name] = round((cpu - self._cpu.get(process.name, cpu)) / seconds, 3)
            self._cpu[process.name] = cpu
        return row

    async def _probe(self) -> None:
        """A lease renewed, a configmap written (whose event is awaited by `_watch`) and read."""
        await self._create(LEASES, {"metadata": {"name": "probe"}, "spec": {"holderIdentity": "probe"}})
        await self._create(CONFIGMAPS, {"metadata": {"name": "probe"}, "data": {"n": "0"}})
        number = 0
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            number += 1
            try:
                began = time.perf_counter()
                await self.client.patch(
                    LEASES, "probe", {"spec": {"renewTime": times.now_micro()}}, self.namespace, type=bytes
                )
                done = time.perf_counter()
                self._sent[str(number)] = done
                await self.client.patch(
                    CONFIGMAPS, "probe", {"data": {"n": str(number)}}, self.namespace, type=bytes
                )
                written = time.perf_counter()
                await self.client.get(CONFIGMAPS, "probe", self.namespace, type=bytes)
            except ClientError:
                self.probe_errors += 1
                continue
            self.write_ms.append((done - began) * 1000)
            self._recent.append((done - began) * 1000)
            self.read_ms.append((time.perf_counter() - written) * 1000)

    async def _create(self, resource: Any, obj: dict[str, Any]) -> None:
        with contextlib.suppress(ClientError):
            await self.client.create(resource, obj, self.namespace, type=bytes)

    async def _watch(self) -> None:
        """From the write's sending to the event's arrival."""
        while True:
            try:
                async for event in self.client.watch(
                    CONFIGMAPS, self.namespace, type=ProbeView, field_selector="metadata.name=probe"
                ):
                    if event.type == "MODIFIED":
                        sent = self._sent.pop((event.object.data or {}).get("n", ""), None)
                        if sent is not None:
                            self.lag_ms.append((time.perf_counter() - sent) * 1000)
                            self._recent_lag.append(self.lag_ms[-1])
            except ClientError:
                self.probe_errors += 1
            await asyncio.sleep(PROBE_SECONDS)

    def latencies(self) -> list[dict[str, Any]]:
        """Latency by verb and resource over the whole run, the busiest first."""
        rows = []
        for verb, resource, subresource in scrape.kinds(
            self.last, DURATIONS, ("verb", "resource", "subresource")
        ):
            if not resource or verb in LONG_RUNNING:
                continue
            wanted = {"verb": verb, "resource": resource, "subresource": subresource}
            buckets = scrape.histogram(
                self.last,
                self.first,
                DURATIONS,
                lambda labels, wanted=wanted: wanted.items() <= labels.items(),  # type: ignore[misc]
            )
            if buckets.total:
                limit = 30.0 if verb in ("LIST", "DELETECOLLECTION") else 1.0
                p99 = buckets.quantile(0.99)
                rows.append(
                    {
                        "verb": verb,
                        "resource": f"{resource}/{subresource}" if subresource else resource,
                        "n": int(buckets.total),
                        "p50_ms": round(buckets.quantile(0.5) * 1000, 2),
                        "p99_ms": round(p99 * 1000, 2),
                        "within_15ms": round(buckets.share_within(0.015), 5),
                        "slo_seconds": limit,
                        "met": p99 <= limit,
                    }
                )
        return sorted(rows, key=lambda r: -r["n"])

    def journal(self) -> list[dict[str, Any]]:
        """Appends by partition over the whole run."""
        rows = []
        for (partition,) in scrape.kinds(self.last, APPENDS, ("partition",)):

            def wanted(labels: dict[str, str], partition: str = partition) -> bool:
                return labels.get("partition") == partition

            took = scrape.histogram(self.last, self.first, APPENDS, wanted)
            writes = scrape.value(self.last, "lakh_store_batch_size_sum", partition=partition)
            count = scrape.value(self.last, "lakh_store_batch_size_count", partition=partition)
            size = scrape.value(self.last, "lakh_store_appended_bytes_total", partition=partition)
            rows.append(
                {
                    "partition": partition,
                    "appends": int(took.total),
                    "p50_ms": round(took.quantile(0.5) * 1000, 2),
                    "p99_ms": round(took.quantile(0.99) * 1000, 2),
                    "writes_per_append": round(writes / count, 1) if count else 0.0,
                    "mb": round(size / 1e6, 2),
                }
            )
        return rows


def _ms(buckets: scrape.Buckets, share: float) -> float | None:
    """A quantile in milliseconds; None of nothing."""
    return round(buckets.quantile(share) * 1000, 3) if buckets.total else None


async def fetch_component(address: str, port: int) -> scrape.Scrape:
    """Some of a component's metrics; empty when it does not answer."""
    try:
        async with asyncio.timeout(COMPONENT_SECONDS):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                text = (await reader.read()).decode(errors="replace")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return {}
    return scrape.parse("\n".join(line for line in text.splitlines() if line.startswith(COMPONENT_METRICS)))


def _queues(scrapes: list[scrape.Scrape]) -> dict[str, float | None]:
    """How much waits in the components; None where nobody says."""

    def total(name: str, *queues: str, **labels: str) -> float | None:
        found = [s for s in scrapes if name in s]
        wanted: list[dict[str, str]] = [{"queue": queue} for queue in queues] or [labels]
        return sum(scrape.value(s, name, **each) for s in found for each in wanted) if found else None

    return {
        "workqueue_depth": total("workqueue_depth"),
        "pods_active": total("scheduler_pending_pods", "active"),
        "pods_unschedulable": total("scheduler_pending_pods", "backoff", "unschedulable", "gated"),
        "events_waiting": total("lakh_events_waiting"),
        "events_dropped": total("lakh_events_total", outcome="dropped"),
    }


def percentiles(values: list[float]) -> dict[str, float | int]:
    """The usual figures of a list of milliseconds."""
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "p50_ms": percentile(ordered, 0.5),
        "p99_ms": percentile(ordered, 0.99),
        "max_ms": percentile(ordered, 1.0),
    }
