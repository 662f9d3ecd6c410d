"""A workload end to end: nodes and waiting pods at an API server, then the scheduler is started and binds are counted as a watch shows them.

The scheduler is a process of its own under a name of its own; with `cluster_scheduler` the pods name none, and whoever schedules in the cluster
is measured: pods that wait for a start are then held by a scheduling gate each, and time runs from the first gate's opening. In the end every measured pod
must be bound and no node over its capacity, by the server's own list.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from lakh import __version__
from lakh.bench.decisions import uneven
from lakh.bench.load import closed_loop
from lakh.bench.sampler import Process
from lakh.bench.target import namespace, served
from lakh.bench.workloads import (
    GIANT,
    HIGH_PRIORITY,
    NAMESPACES,
    ZONE,
    Pods,
    Workload,
    node,
    pod,
    priority_of,
)
from lakh.cli import Failure
from lakh.client.client import MERGE, Client
from lakh.client.errors import ApiError, ClientError, is_already_exists, is_not_found
from lakh.client.resources import NODES, PODS, SERVICES, Resource
from lakh.client.types import ObjectView
from lakh.machinery.quantity import parse_milli
from lakh.progress import Progress

__all__ = ["run"]

CLIENTS = 32
STALL_SECONDS = 60.0
"""Without a bind for so long the run has failed."""
CHURN_SECONDS = 0.2
START_SECONDS = 60.0
LABELS = "lakh.dev/bench=schedule"
PRIORITYCLASSES = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False)
PODGROUPS = Resource("scheduling.k8s.io", "v1alpha2", "podgroups", "PodGroup", True)
SILENT_NODES = [
    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoSchedule"}
    for key in ("not-ready", "unreachable")
]
"""In a cluster with controllers: no kubelet renews a lease for the benchmark's nodes, and after 40 s they are found out."""
HIGH = "lakh-bench-high"
SCHEDULER = "lakh-bench"

Json = dict[str, Any]

_runs = itertools.count()


class PodView(msgspec.Struct, gc=False):
    """Of a pod: who it is, where it is bound and what it asks for."""

    class Meta(msgspec.Struct, gc=False):
        """Of its metadata."""

        name: str = ""
        namespace: str = ""
        resourceVersion: str = ""

    class Spec(msgspec.Struct, gc=False):
        """Of its spec."""

        class Container(msgspec.Struct, gc=False):
            """Of a container."""

            class Resources(msgspec.Struct, gc=False):
                """What it asks for."""

                requests: dict[str, str] = {}

            resources: Resources = msgspec.field(default_factory=Resources)

        nodeName: str = ""
        containers: list[Container] = []

    class Status(msgspec.Struct, gc=False):
        """Of its status."""

        phase: str = ""

    metadata: Meta
    spec: Spec = msgspec.field(default_factory=Spec)
    status: Status = msgspec.field(default_factory=Status)


class NodeView(msgspec.Struct, gc=False):
    """Of a node: its labels and its room."""

    class Meta(msgspec.Struct, gc=False):
        """Of its metadata."""

        name: str = ""
        labels: dict[str, str] = {}

    class Status(msgspec.Struct, gc=False):
        """Of its status."""

        allocatable: dict[str, str] = {}

    metadata: Meta
    status: Status = msgspec.field(default_factory=Status)


async def run(
    workload: Workload,
    nodes: int,
    pods: int,
    progress: Progress,
    *,
    kubeconfig: Path | None = None,
    cluster_scheduler: bool = False,
) -> Json:
    """Bind all pods of a workload. Raises Failure when the work was not done."""
    async with (
        served(kubeconfig) as path,
        Client.from_kubeconfig(
            path, user_agent=f"lakh-bench/{__version__}", max_connections=CLIENTS + 8
        ) as client,
        contextlib.AsyncExitStack() as stack,
    ):
        async with asyncio.timeout(START_SECONDS):
            while (await client.raw("GET", "/readyz")).status != 200:
                await asyncio.sleep(0.05)
        one = next(_runs)  # an earlier one's namespaces may still be on their way out
        names = [
            await stack.enter_async_context(namespace(client, f"lakh-bench-{os.getpid()}-{one}-{number}"))
            for number in range(NAMESPACES)
        ]
        bench = _Run(workload, nodes, pods, progress, client, names, path, cluster_scheduler)
        bench.tolerations = SILENT_NODES if kubeconfig is not None else []
        try:
            return await bench.run()
        finally:
            if kubeconfig is not None:
                await bench.clean()


class _Watch:
    """Which pods of a namespace have been seen bound, and when."""

    def __init__(self, client: Client, where: str) -> None:
        self.client, self.where = client, where
        self.bound_at: dict[str, float] = {}
        self.changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[_Watch]:
        """Watches from now on."""
        listed = await self.client.list(PODS, self.where, type=ObjectView, limit=1)
        stream = await self.client.open_watch(
            PODS, self.where, type=PodView, resource_version=listed.metadata.resourceVersion
        )
        async with stream:
            task = asyncio.create_task(self._read(stream))
            try:
                yield self
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _read(self, stream: Any) -> None:
        bound_at = self.bound_at
        while batch := await stream.read_batch():
            now = time.perf_counter()
            for event in batch:
                if event.type == "MODIFIED" and event.object.spec.nodeName:
                    bound_at.setdefault(event.object.metadata.name, now)
            self.changed.set()
        raise Failure("the watch of pods ended")

    async def wait(self, count: int, what: str, progress: Progress) -> None:
        """Until so many pods were seen bound."""
        while len(self.bound_at) < count:
            self.changed.clear()
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    await self.changed.wait()
            except TimeoutError:
                raise Failure(f"{len(self.bound_at)} of {count} {what} pods were bound, then none") from None
            progress.bar(f"{what} pods bound", len(self.bound_at), count)


class _Run:
    def __init__(
        self,
        workload: Workload,
        nodes: int,
        pods: int,
        progress: Progress,
        client: Client,
        namespaces: list[str],
        kubeconfig: Path,
        cluster_scheduler: bool,
    ) -> None:
        self.workload, self.nodes, self.pods = workload, nodes, pods
        self.progress, self.client, self.namespaces = progress, client, namespaces
        self.kubeconfig, self.cluster_scheduler = kubeconfig, cluster_scheduler
        self.created: Counter[str] = Counter()
        """Pods by namespace: their names are numbered."""
        self.scheduler: Process | None = None
        self.tolerations: list[Json] = []
        """Added to every pod."""

    async def run(self) -> Json:
        await self._prepare()
        workload, (before, measured) = self.workload, self.namespaces
        total = 0
        async with self._scheduler(), _Watch(self.client, before).watching() as watch:
            for part in workload.before:
                count = part.count(self.nodes)
                total += count
                await self._create(part, before, count, "before")
                await watch.wait(total, "before", self.progress)
        if workload.gated is not None:
            await self._create(workload.gated, before, workload.gated.count(self.nodes), "gated")
        held = self.cluster_scheduler
        await self._create(workload.measured, measured, self.pods, "measured", held=held)
        async with _Watch(self.client, measured).watching() as watch:
            began = time.perf_counter()
            async with self._scheduler(), asyncio.TaskGroup() as group:
                others = [
                    group.create_task(work)
                    for work in (
                        self._churn() if workload.churn else None,
                        self._delete(total) if workload.delete_a_second else None,
                        self._open_gates() if held else None,
                    )
                    if work is not None
                ]
                await watch.wait(self.pods, "measured", self.progress)
                if self.scheduler is not None:
                    self.scheduler.look()
                for task in others:
                    task.cancel()
        await self._check()
        return self._report([at - began for at in watch.bound_at.values()])

    # Before

    async def _prepare(self) -> None:
        client, workload = self.client, self.workload
        value = {"metadata": {"name": HIGH}, "value": HIGH_PRIORITY}
        try:
            await client.create(PRIORITYCLASSES, value, type=bytes)
        except ApiError as error:
            if not is_already_exists(error):
                raise
        if workload.service:
            service = {
                "metadata": {"name": "bench"},
                "spec": {"selector": {"name": "foo"}, "ports": [{"port": 80}]},
            }
            await client.create(SERVICES, service, self.namespaces[1], type=bytes)
        if workload.gang:
            group = {
                "metadata": {"name": "gang"},
                "spec": {"schedulingPolicy": {"gang": {"minCount": self.pods}}},
            }
            try:
                await client.create(PODGROUPS, group, self.namespaces[1], type=bytes)
            except ApiError as error:
                if is_not_found(error):
                    raise Failure("this server has no PodGroups (scheduling.k8s.io/v1alpha2)") from error
                raise
        names = [f"lakh-bench-{index:06d}" for index in range(self.nodes)] + [GIANT] * workload.giant
        done = 0

        async def create(me: int, number: int) -> None:
            nonlocal done
            made = node(names[number], number, workload, self.nodes)
            try:
                found = await client.create(NODES, made)
            except ApiError as error:
                if not is_already_exists(error):
                    raise
                raise Failure(f"there is a node {names[number]} already") from error
            if found["spec"].get("taints", []) != made["spec"].get("taints", []):  # not ready, says admission
                patch = {"spec": {"taints": made["spec"].get("taints")}}
                await client.patch(NODES, names[number], patch, patch_type=MERGE, type=bytes)
            done += 1
            if done % 500 == 0:
                self.progress.bar("nodes created", done, len(names))

        self._raise(await closed_loop(create, CLIENTS, 3600, len(names)), "nodes")

    async def _create(self, part: Pods, where: str, count: int, what: str, *, held: bool = False) -> None:
        """Create pods, 32 at a time."""
        made = pod(part.template, self.namespaces, "gang" if part.template == "gang" else "")
        made["metadata"]["name"] = "NAME-OF-POD"
        made["spec"]["tolerations"] = self.tolerations
        if priority_of(part.template):
            made["spec"]["priorityClassName"] = HIGH
        if not self.cluster_scheduler:
            made["spec"]["schedulerName"] = SCHEDULER
        elif held:
            made["spec"]["schedulingGates"] = [{"name": "lakh.dev/start"}]
        head, tail = msgspec.json.encode(made).split(b"NAME-OF-POD")
        start = self.created[where]
        self.created[where] += count
        done = 0

        async def create(me: int, number: int) -> None:
            nonlocal done
            body = head + b"pod-%07d" % (start + number) + tail
            await self.client.create(PODS, body, where, type=bytes)
            done += 1
            if done % 500 == 0:
                self.progress.bar(f"{what} pods created", done, count)

        self._raise(await closed_loop(create, CLIENTS, 3600, count), f"{what} pods")

    def _raise(self, measure: Any, what: str) -> None:
        if measure.errors:
            raise Failure(f"{measure.errors} {what} could not be created: {measure.first_error}")

    @contextlib.asynccontextmanager
    async def _scheduler(self) -> AsyncIterator[None]:
        """Our scheduler as a process, unless the cluster's is measured."""
        if self.cluster_scheduler:
            yield
            return
        with tempfile.TemporaryFile() as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "lakh.bench.candidate",
                str(self.kubeconfig),
                SCHEDULER,
                stdin=asyncio.subprocess.PIPE,
                stderr=errors,
            )
            self.scheduler = Process("scheduler", process.pid)
            try:
                yield
            except Failure as failure:
                if process.returncode is not None:
                    errors.seek(0)
                    text = errors.read()[-2000:].decode(errors="replace")
                    raise Failure(f"{failure}; the scheduler ended: {text}") from failure
                raise
            finally:
                if process.returncode is None:
                    process.terminate()
                await process.wait()

    # Meanwhile

    async def _churn(self) -> None:
        """One more pod every 200 ms."""
        part = Pods(self.workload.churn, 0)
        while True:
            await self._create(part, self.namespaces[0], 1, "churned")
            await asyncio.sleep(CHURN_SECONDS)

    async def _delete(self, count: int) -> None:
        """Delete pods that were there before, so many a second."""
        for number in range(count):
            with contextlib.suppress(ApiError):
                await self.client.delete(PODS, f"pod-{number:07d}", self.namespaces[0])
            await asyncio.sleep(1 / self.workload.delete_a_second)

    async def _open_gates(self) -> None:
        where = self.namespaces[1]

        async def open_gate(me: int, number: int) -> None:
            patch = {"spec": {"schedulingGates": None}}
            await self.client.patch(PODS, f"pod-{number:07d}", patch, where, patch_type=MERGE, type=bytes)

        self._raise(await closed_loop(open_gate, CLIENTS, 3600, self.pods), "gates opened; pods")

    # After

    async def _check(self) -> None:
        """Every measured pod is bound, no node is over its capacity, and what pods may not share they do not."""
        self.progress.show("checking …")
        nodes = {n.metadata.name: n for n in (await self.client.list(NODES, type=NodeView)).items}
        used: dict[str, Counter[str]] = defaultdict(Counter)
        placed: dict[str, str] = {}
        for where in self.namespaces:
            for found in (await self.client.list(PODS, where, type=PodView)).items:
                if not found.spec.nodeName or found.status.phase in ("Succeeded", "Failed"):
                    continue
                if where == self.namespaces[1]:
                    placed[found.metadata.name] = found.spec.nodeName
                on_node = used[found.spec.nodeName]
                on_node["pods"] += 1000
                for container in found.spec.containers:
                    for name, amount in container.resources.requests.items():
                        on_node[name] += parse_milli(amount)
        if len(placed) != self.pods:
            raise Failure(f"{len(placed)} of {self.pods} pods are bound")
        for name, amounts in used.items():
            if name not in nodes:
                raise Failure(f"a pod is bound to {name}, which is no node")
            for resource, sum_of in amounts.items():
                if sum_of > parse_milli(nodes[name].status.allocatable.get(resource, "0")):
                    raise Failure(f"{name} is over its {resource}")
        if self.workload.one_a_node and max(amounts["pods"] for amounts in used.values()) > 1000:
            raise Failure("pods that exclude each other share a node")
        if self.workload.max_skew:
            found_in = Counter(nodes[name].metadata.labels.get(ZONE, "") for name in placed.values())
            uneven(found_in, len(self.workload.zones), self.workload.max_skew)

    def _report(self, seconds: list[float]) -> Json:
        seconds.sort()
        first, last = seconds[0], seconds[-1]
        report: Json = {
            "bound_per_s": round(len(seconds) / (last - first or last), 1),
            "first_ms": round(first * 1000, 1),
            "last_ms": round(last * 1000, 1),
            "throughput": throughput(seconds),
        }
        if self.scheduler is not None:
            report["scheduler_rss_bytes"] = self.scheduler.peak_bytes
        return report

    async def clean(self) -> None:
        """Take away what other clusters must not keep; the namespaces take the rest with them."""
        with contextlib.suppress(ClientError):
            await self.client.delete_collection(NODES, label_selector=LABELS)
        with contextlib.suppress(ClientError):
            await self.client.delete(PRIORITYCLASSES, HIGH)
        for where in self.namespaces:
            with contextlib.suppress(ClientError):
                await self.client.delete_collection(PODS, where, grace_period_seconds=0)


def throughput(seconds: list[float]) -> Json:
    """Binds over time, from sorted times in seconds: binds a second in each tenth of the time from first to last (from 0 where all were seen at once), and of these least, median and most."""
    first, last = seconds[0], seconds[-1]
    width = (last - first or last) / 10
    counts = [0] * 10
    for at in seconds:
        counts[min(9, int((at - first) / width))] += 1
    rates = [round(count / width, 1) for count in counts]
    ordered = sorted(rates)
    return {
        "interval_ms": round(width * 1000, 1),
        "bound_per_s": rates,
        "least": ordered[0],
        "median": ordered[5],
        "most": ordered[-1],
    }
