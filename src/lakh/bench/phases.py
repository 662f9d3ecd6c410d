"""The phases of `lakh bench cluster`: the jobs that the public tests of very large clusters ran, scaled to N nodes.

A phase submits work through the API like anybody would, and waits until a watch of its own shows it done. Each is a function of the `Run`; what it
returns goes into the report. A phase that takes longer than its deadline is reported as far as it came, and the next begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from lakh.bench.sampler import percentiles
from lakh.client.client import Client
from lakh.client.errors import ApiError, ClientError, is_already_exists, is_not_found
from lakh.client.informer import Informer
from lakh.client.resources import DEPLOYMENTS, JOBS, NAMESPACES, NODES, PODS, PRIORITYCLASSES
from lakh.client.sharing import Pool
from lakh.progress import Progress

GROUP = "lakh.dev/bench-group"
SILENT = "lakh.dev/silent"
FOR_EVER = "864000"
FINE_TUNING_JOBS = 10
DEPLOYMENT_COUNT = 10
# What an Indexed Job may have of workers at once (upstream's validation of jobs).
INDEXED_JOB_PODS = 100_000
# With this many of the ten jobs the published record was reached: 39 % of the nodes change hands.
PREEMPTING_JOBS = 4
# Nothing is preempted in this time: there is no preemption.
PREEMPTION_PATIENCE_SECONDS = 15.0
# Pods leave a node this long after it is not ready.
TOLERATION_SECONDS = 5
POLL_SECONDS = 0.05
CHURN_AT_ONCE = 16
# Of the deployments that fill the cluster: as large as people have them.
SMALL_DEPLOYMENT_PODS = 2_000
# Small pods that are asked for before others run, so that neither controllers nor scheduler wait for the last of a deployment.
AHEAD_PODS = 20_000
# Filling stops when less memory than this is available.
MEMORY_RESERVE_BYTES = 1_500_000_000
# Whatever is done ends when less than this is: beyond it the kernel kills a process, and nothing is reported.
MEMORY_END_BYTES = 750_000_000
ENDED_CHECK_SECONDS = 1.0


class _Labels(msgspec.Struct, gc=False, frozen=True):
    group: str = msgspec.field(name=GROUP, default="")


_NO_LABELS = _Labels()


class PodView(msgspec.Struct, gc=False):
    """How far a pod is."""

    class Meta(msgspec.Struct, gc=False):
        """Of its metadata."""

        name: str
        namespace: str = ""
        uid: str = ""
        resourceVersion: str = ""
        labels: _Labels = _NO_LABELS
        deletionTimestamp: str | None = None

    class Spec(msgspec.Struct, gc=False):
        """Of its spec."""

        nodeName: str | None = None

    class Status(msgspec.Struct, gc=False):
        """Of its status."""

        phase: str = "Pending"

    metadata: Meta
    spec: Spec
    status: Status


class NodeView(msgspec.Struct, gc=False):
    """Whether a node is ready."""

    class Meta(msgspec.Struct, gc=False):
        """Of its metadata."""

        name: str
        namespace: str = ""
        uid: str = ""
        resourceVersion: str = ""

    class Condition(msgspec.Struct, gc=False):
        """One condition."""

        type: str
        status: str

    class Status(msgspec.Struct, gc=False):
        """Of its status."""

        conditions: list[NodeView.Condition] | None = None

    metadata: Meta
    status: Status | None = None


_labels, _specs, _statuses, _node_statuses = Pool(), Pool(), Pool(), Pool()


def _share(old: PodView | None, new: PodView) -> None:
    """What a million pods have in common is in memory once."""
    new.metadata.labels = _labels.one(new.metadata.labels)
    if old is not None and old.spec == new.spec:
        new.spec = old.spec
    elif new.spec.nodeName is None:
        new.spec = _specs.one(new.spec)
    else:
        new.spec.nodeName = sys.intern(new.spec.nodeName)
    new.status = _statuses.one(new.status)


def _share_node(old: NodeView | None, new: NodeView) -> None:
    if new.status is not None:
        new.status = _node_statuses.one(new.status)


class Group:
    """Pods of one label value: how many there are, run, and how long each took to start."""

    def __init__(self) -> None:
        self.present = 0
        self.running = 0
        self.start_ms: list[float] = []


class Tracker:
    """Follows the pods of the benchmark by a watch, and the nodes until all are ready: later their reports would be a load that no cluster has."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.groups: dict[str, Group] = {}
        self.ready: set[str] = set()
        self.deleted = 0
        self.pods: Informer[PodView] = Informer(client, PODS, PodView, namespace=namespace, share=_share)
        self._client = client
        self._nodes: asyncio.Task[None] | None = None
        self._created_at: dict[str, float] = {}
        self.pods.add_handler(on_add=self._added, on_update=self._updated, on_delete=self._gone)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.pods.run())
            self._nodes = group.create_task(self._watch_nodes())

    async def _watch_nodes(self) -> None:
        nodes: Informer[NodeView] = Informer(self._client, NODES, NodeView, share=_share_node)
        nodes.add_handler(
            on_add=self._node,
            on_update=lambda old, new: self._node(new),
            on_delete=lambda n: self.ready.discard(n.metadata.name),
        )
        await nodes.run()

    def nodes_are_ready(self) -> None:
        """Watches the nodes no longer: `ready` stays as it is."""
        if self._nodes is not None:
            self._nodes.cancel()

    def group(self, name: str) -> Group:
        """The pods of a label value."""
        return self.groups.setdefault(name, Group())

    def running(self, prefix: str) -> int:
        """Pods that run in the groups whose names begin so."""
        return sum(g.running for n, g in self.groups.items() if n.startswith(prefix))

    def present(self, prefix: str = "") -> int:
        """Pods that exist in the groups whose names begin so."""
        return sum(g.present for n, g in self.groups.items() if n.startswith(prefix))

    def start_ms(self, prefix: str) -> list[float]:
        """Milliseconds from a pod's creation to its running, as the watch saw them."""
        return [ms for n, g in self.groups.items() if n.startswith(prefix) for ms in g.start_ms]

    def _of(self, pod: PodView) -> Group:
        return self.group(pod.metadata.labels.group)

    def _added(self, pod: PodView) -> None:
        group = self._of(pod)
        group.present += 1
        if pod.status.phase == "Running":
            group.running += 1
        else:
            self._created_at[pod.metadata.uid] = time.perf_counter()

    def _updated(self, old: PodView, new: PodView) -> None:
        was, now = old.status.phase == "Running", new.status.phase == "Running"
        if was != now:
            group = self._of(new)
            group.running += now - was
            if now:
                created = self._created_at.pop(new.metadata.uid, None)
                if created is not None:
                    group.start_ms.append((time.perf_counter() - created) * 1000)

    def _gone(self, pod: PodView) -> None:
        group = self._of(pod)
        group.present -= 1
        self.deleted += 1
        self._created_at.pop(pod.metadata.uid, None)
        if pod.status.phase == "Running":
            group.running -= 1

    def _node(self, node: NodeView) -> None:
        conditions = (node.status.conditions if node.status is not None else None) or ()
        if any(c.type == "Ready" and c.status == "True" for c in conditions):
            self.ready.add(node.metadata.name)
        else:
            self.ready.discard(node.metadata.name)


class Run:
    """What the phases share."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        nodes: int,
        device: tuple[str, int],
        pods_per_node: int,
        churn_seconds: float,
        deadline_seconds: float,
        progress: Progress,
        ended: Callable[[], str] = str,
    ) -> None:
        self.client = client
        self.namespace = namespace
        self.nodes = nodes
        self.device = device
        self.pods_per_node = pods_per_node
        self.churn_seconds = churn_seconds
        self.deadline_seconds = deadline_seconds
        self.progress = progress
        self.ended = ended
        """Why the load cannot go on; empty while it can."""
        self.stopped = ""
        """What it said: from then on nothing is waited for."""
        self.tracker = Tracker(client, namespace)

    async def until(
        self, what: str, done: Callable[[], int], total: int, seconds: float | None = None
    ) -> tuple[float, bool]:
        """Waits until `done` reaches the total, `seconds` are over or the load has ended; how long it took, and whether it did."""
        began = checked = time.perf_counter()
        deadline = began + (self.deadline_seconds if seconds is None else seconds)
        while (count := done()) < total:
            now = time.perf_counter()
            if now - checked >= ENDED_CHECK_SECONDS:
                checked = now
                self.stopped = self.stopped or self.ended()
            if self.stopped or now > deadline:
                return now - began, False
            self.progress.bar(what, count, total)
            await asyncio.sleep(POLL_SECONDS)
        return time.perf_counter() - began, True

    async def create(self, resource: Any, obj: dict[str, Any], namespaced: bool = True) -> None:
        """Creates an object; one that is there already is as good."""
        try:
            await self.client.create(resource, obj, self.namespace if namespaced else None, type=bytes)
        except ApiError as e:
            if not is_already_exists(e):
                raise

    async def delete(self, resource: Any, name: str) -> None:
        """Deletes an object and what it owns."""
        with contextlib.suppress(ApiError):
            await self.client.delete(resource, name, self.namespace, propagation_policy="Background")

    # Workloads

    def template(self, group: str, priority: str, devices: bool, cpu: str) -> dict[str, Any]:
        """A pod's template: a worker that has all accelerators of its node, or a small server."""
        resources: dict[str, Any] = {"requests": {"cpu": cpu, "memory": "128Mi"}}
        if devices:
            name, count = self.device
            resources = {"requests": {"cpu": cpu, "memory": "512Gi"}, "limits": {name: str(count)}}
        return {
            "metadata": {"labels": {GROUP: group}, "annotations": {"lakh.dev/run-seconds": FOR_EVER}},
            "spec": {
                "priorityClassName": priority,
                "terminationGracePeriodSeconds": 5,
                "containers": [
                    {"name": "worker", "image": "registry.example/bench:1", "resources": resources}
                ],
                "tolerations": [
                    {
                        "key": f"node.kubernetes.io/{key}",
                        "operator": "Exists",
                        "effect": "NoExecute",
                        "tolerationSeconds": TOLERATION_SECONDS,
                    }
                    for key in ("not-ready", "unreachable")
                ],
            },
        }

    async def job(self, name: str, count: int, priority: str) -> None:
        """An Indexed Job of `count` workers, each with all accelerators of a node."""
        template = self.template(name, priority, True, "64")
        template["spec"]["restartPolicy"] = "Never"
        spec = {
            "completionMode": "Indexed",
            "completions": count,
            "parallelism": count,
            "backoffLimit": 2_000_000,
            "template": template,
        }
        await self.create(JOBS, {"metadata": {"name": name}, "spec": spec})

    async def deployment(self, name: str, count: int, devices: bool, cpu: str) -> None:
        """A Deployment of `count` servers."""
        template = self.template(name, PRIORITIES[0][0], devices, cpu)
        spec = {"replicas": count, "selector": {"matchLabels": {GROUP: name}}, "template": template}
        await self.create(DEPLOYMENTS, {"metadata": {"name": name}, "spec": spec})

    async def scale(self, name: str, count: int) -> None:
        """Sets a Deployment's replicas."""
        await self.client.patch(DEPLOYMENTS, name, {"spec": {"replicas": count}}, self.namespace, type=bytes)


PRIORITIES = (("bench-low", 100), ("bench-middle", 1_000), ("bench-high", 10_000))


async def start(run: Run) -> dict[str, Any]:
    """(0) All nodes Ready. The time counts from the start of the fleet."""
    seconds, reached = await run.until("nodes Ready", lambda: len(run.tracker.ready), run.nodes)
    if reached:
        run.tracker.nodes_are_ready()
    for name, value in PRIORITIES:
        await run.create(PRIORITYCLASSES, {"metadata": {"name": name}, "value": value}, namespaced=False)
    return {
        "nodes_ready": len(run.tracker.ready),
        "reached": reached,
        "nodes_per_minute": round(len(run.tracker.ready) / seconds * 60) if seconds else 0,
    }


def pretraining_jobs(nodes: int) -> dict[str, int]:
    """The pre-training's Jobs with their workers: one, unless there are more nodes than an Indexed Job may have workers."""
    return {
        f"pretraining-{n}" if n else "pretraining": min(INDEXED_JOB_PODS, nodes - n * INDEXED_JOB_PODS)
        for n in range(-(-nodes // INDEXED_JOB_PODS))
    }


async def end_pretraining(run: Run) -> None:
    """Deletes the pre-training, if it is there."""
    for name in pretraining_jobs(run.nodes):
        await run.delete(JOBS, name)


async def pretraining(run: Run) -> dict[str, Any]:
    """(1) One job over all nodes, all accelerators of a node for each pod."""
    count = len(run.tracker.ready)
    for name, workers in pretraining_jobs(count).items():
        await run.job(name, workers, PRIORITIES[0][0])
    seconds, reached = await run.until(
        "pre-training pods Running", lambda: run.tracker.running("pretraining"), count
    )
    running = run.tracker.running("pretraining")
    return {
        "pods": count,
        "pods_running": running,
        "reached": reached,
        "accelerators": running * run.device[1],
        "pods_per_s": round(running / seconds, 1),
        "start_up": percentiles(run.tracker.start_ms("pretraining")),
    }


async def finetuning(run: Run) -> dict[str, Any]:
    """(2) Ten jobs side by side. The first four have a higher priority than the pre-training that fills the cluster."""
    share = max(1, len(run.tracker.ready) // FINE_TUNING_JOBS)
    before = run.tracker.running("pretraining")
    wanted = PREEMPTING_JOBS * share
    for i in range(PREEMPTING_JOBS):
        await run.job(f"finetuning-{i}", share, PRIORITIES[2][0])
    patience = PREEMPTION_PATIENCE_SECONDS

    def preempting() -> int:
        return run.tracker.running("finetuning")

    seconds, reached = await run.until("preemption begins", preempting, 1, patience)
    preemption: dict[str, Any] = {"available": reached, "pods": 0}
    if reached:
        more, reached = await run.until("preempting pods Running", preempting, wanted)
        preemption = {
            "available": True,
            "reached": reached,
            "pods": before - run.tracker.running("pretraining"),
            "seconds": round(seconds + more, 2),
        }
    await end_pretraining(run)
    for i in range(PREEMPTING_JOBS, FINE_TUNING_JOBS):
        await run.job(f"finetuning-{i}", share, PRIORITIES[1][0])
    _, reached = await run.until("fine-tuning pods Running", preempting, share * FINE_TUNING_JOBS)
    return {
        "pods": share * FINE_TUNING_JOBS,
        "pods_running": preempting(),
        "reached": reached,
        "preemption": preemption,
        "start_up": percentiles(run.tracker.start_ms("finetuning")),
    }


async def mixed(run: Run) -> dict[str, Any]:
    """(3) Three jobs give way to inference Deployments that scale up, down and up again."""
    await end_pretraining(run)
    for i in range(FINE_TUNING_JOBS - 3, FINE_TUNING_JOBS):
        await run.delete(JOBS, f"finetuning-{i}")
    each = max(1, len(run.tracker.ready) * 3 // 10 // DEPLOYMENT_COUNT)
    names = [f"inference-{i}" for i in range(DEPLOYMENT_COUNT)]
    for name in names:
        await run.deployment(name, each, True, "64")
    total = each * len(names)

    def running() -> int:
        return run.tracker.running("inference")

    up, reached = await run.until("inference pods Running", running, total)
    for name in names:
        await run.scale(name, each // 2)
    half = (each // 2) * len(names)
    down, gone = await run.until(
        "scaling down", lambda: total - run.tracker.present("inference"), total - half
    )
    for name in names:
        await run.scale(name, each)
    again, back = await run.until("scaling up again", running, total)
    return {
        "pods": total,
        "pods_running": running(),
        "reached": reached and gone and back,
        "up_seconds": round(up, 2),
        "down_seconds": round(down, 2),
        "up_again_seconds": round(again, 2),
        "start_up": percentiles(run.tracker.start_ms("inference")),
    }


def available_bytes() -> float:
    """Memory that is free for the taking; infinite where that is not known."""
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable"):
                    return float(line.split()[1]) * 1024
    except OSError:
        pass
    return float("inf")


async def fullness(run: Run) -> dict[str, Any]:
    """(4) Small pods until there are `pods_per_node` a node or memory ends, then steady churn."""
    total = run.nodes * run.pods_per_node - run.tracker.present()
    each = max(1, min(total // DEPLOYMENT_COUNT, SMALL_DEPLOYMENT_PODS))

    def running() -> int:
        return run.tracker.running("small")

    began = time.perf_counter()
    asked, stopped = 0, ""
    while asked < total and not stopped:
        if available_bytes() < MEMORY_RESERVE_BYTES:
            stopped = f"memory: less than {MEMORY_RESERVE_BYTES / 1e9:.1f} GB left"
            break
        count = min(each, total - asked)
        await run.deployment(f"small-{asked // each}", count, False, "100m")
        asked += count
        _, reached = await run.until("small pods Running", running, asked - AHEAD_PODS)
        if not reached:
            stopped = run.stopped or "deadline"
    if not (await run.until("small pods Running", running, asked))[1]:
        stopped = run.stopped or "deadline"
    seconds = time.perf_counter() - began
    start_up = percentiles(run.tracker.start_ms("small"))
    return {
        "pods": total,
        "pods_running": running(),
        "pods_in_all": run.tracker.present(),
        "reached": not stopped,
        "stopped_by": stopped,
        "pods_per_s": round(running() / seconds, 1),
        "start_up": start_up,
        "churn": await churn(run, run.churn_seconds),
    }


async def churn(run: Run, seconds: float) -> dict[str, Any]:
    """Deletes small pods one after the other, which their ReplicaSets replace, for so long."""
    names = [k for k, p in run.tracker.pods.items.items() if p.metadata.name.startswith("small")]
    random.shuffle(names)
    rest, wanted = iter(names), run.tracker.running("small")
    began, deleted = time.perf_counter(), 0
    run.progress.show(f"churn for {seconds:g} s …")

    async def delete() -> None:
        nonlocal deleted
        for key in rest:
            if time.perf_counter() - began > seconds:
                return
            with contextlib.suppress(ApiError):
                await run.client.delete(PODS, key.partition("/")[2], run.namespace, grace_period_seconds=0)
                deleted += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(CHURN_AT_ONCE):
            group.create_task(delete())
    spent = time.perf_counter() - began
    settled, _ = await run.until(
        "replaced", lambda: run.tracker.running("small"), wanted, run.deadline_seconds
    )
    return {
        "deleted": deleted,
        "deletes_per_s": round(deleted / spent, 1) if spent else 0.0,
        "settled_seconds": round(settled, 2),
    }


async def degraded(run: Run) -> dict[str, Any]:
    """(5) One node in a hundred falls silent while all runs; its pods must run elsewhere."""
    nodes = sorted(run.tracker.ready)
    silent = set(random.sample(nodes, max(1, len(nodes) // 100)))
    before = {
        key: pod.metadata.uid
        for key, pod in run.tracker.pods.items.items()
        if (pod.spec.nodeName or "") in silent
    }

    async def set_silent(name: str, value: str | None) -> None:
        patch = {"metadata": {"annotations": {SILENT: value}}}
        with contextlib.suppress(ApiError):
            await run.client.patch(NODES, name, patch, type=bytes)

    for name in silent:
        await set_silent(name, "true")

    def left() -> int:
        """Pods of silent nodes that nobody has begun to replace."""
        pods = run.tracker.pods.items
        return sum(
            (pod := pods.get(key)) is not None
            and pod.metadata.uid == uid
            and pod.metadata.deletionTimestamp is None
            for key, uid in before.items()
        )

    total = len(before)
    seconds, reached = await run.until("pods evicted from silent nodes", lambda: total - left(), total)

    def elsewhere() -> int:
        return run.tracker.running("small")

    wanted = sum(g.present for n, g in run.tracker.groups.items() if n.startswith("small")) - sum(
        (p.spec.nodeName or "") in silent and p.metadata.name.startswith("small")
        for p in run.tracker.pods.items.values()
    )
    more, moved = await run.until("running elsewhere", elsewhere, max(0, wanted))
    for name in silent:
        await set_silent(name, None)
    return {
        "nodes": len(silent),
        "pods": total,
        "reached": reached and moved,
        "evicted_seconds": round(seconds, 2),
        "elsewhere_seconds": round(seconds + more, 2),
    }


async def deletion(run: Run) -> dict[str, Any]:
    """Everything is deleted: the namespace with all that is in it."""
    total = run.tracker.present()
    await run.client.delete(NAMESPACES, run.namespace)
    seconds, reached = await run.until("pods deleted", lambda: total - run.tracker.present(), total)
    while reached:
        try:
            await run.client.get(NAMESPACES, run.namespace, type=bytes)
        except ClientError as e:
            if isinstance(e, ApiError) and is_not_found(e):
                break
        if seconds > run.deadline_seconds:
            reached = False
        await asyncio.sleep(POLL_SECONDS)
    return {"pods": total, "reached": reached, "pods_per_s": round(total / seconds, 1) if seconds else 0.0}


Phase = Callable[[Run], Awaitable[dict[str, Any]]]
PHASES: dict[str, Phase] = {
    "start": start,
    "pretraining": pretraining,
    "finetuning": finetuning,
    "mixed": mixed,
    "fullness": fullness,
    "degraded": degraded,
    "deletion": deletion,
}
