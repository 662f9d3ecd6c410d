"""What a scheduler holds in memory: nodes and bound pods listed by its own informers, in a process of its own.

The process runs the real scheduler on a client that answers its lists page by page with JSON made on the spot: nodes as the simulated fleet registers
them, pods as Jobs make them and kubelets report them. Nothing else lives there, so that its resident memory is the scheduler's: interpreter and imports
(`base_bytes`), and what came on top. In the end every node is a row, every pod is placed and counted, and one more pod of a new class is decided.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any, cast

import msgspec

from lakh.cli import Failure, run_async
from lakh.client.client import Client
from lakh.client.events import EventRecorder
from lakh.client.resources import NODES, PODS, Resource
from lakh.client.types import ObjectList
from lakh.client.watch import decode_list
from lakh.machinery.process import resident_memory
from lakh.nodes.catalogue import CATALOGUE
from lakh.nodes.objects import node_name, node_object
from lakh.progress import Progress
from lakh.scheduler.main import COLLECTOR_THRESHOLDS
from lakh.scheduler.requests import PODS as POD_COUNT
from lakh.scheduler.shell import Scheduler
from lakh.scheduler.views import Pod

__all__ = ["PODS_PER_NODE", "run"]

INSTANCE = CATALOGUE["trn2.48xlarge"]
NEURON = "aws.amazon.com/neuron"
PODS_PER_NODE = 5
PODS_PER_JOB = 500
NAMESPACES = 16
NOW = "2026-01-01T00:00:00Z"

Json = dict[str, Any]
Tell = Callable[[str, int, int], None]


async def run(nodes: int, pods: int, progress: Progress) -> Json:
    """Measure in a process of its own: bytes. Raises Failure when not everything is there in the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "lakh.bench.footprint",
        str(nodes),
        str(pods),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        found: Json | None = None
        while line := await process.stdout.readline():
            said = msgspec.json.decode(line)
            if isinstance(said, list):
                what, done, total = said
                progress.bar(f"memory: {what}", done, total)
            elif "failure" in said:
                raise Failure(said["failure"])
            else:
                found = said
        if await process.wait() or found is None:
            raise Failure("memory: the scheduler's process has ended before its time")
        return found
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class _Pages:
    """As much of a client as informers use: nodes and pods in pages, nothing of anything else, and no changes."""

    def __init__(self, nodes: int, pods: int, tell: Tell) -> None:
        self.counts = {NODES: nodes, PODS: pods}
        self.nodes = nodes
        self.tell = tell
        self.listed = {NODES: asyncio.Event(), PODS: asyncio.Event()}
        """Set when the informer has all and begins to watch."""

    def writer(self) -> None:
        """Nothing is bound."""

    async def list(
        self, resource: Resource, *where: Any, limit: int, continue_: str | None, **how: Any
    ) -> ObjectList[Any]:
        start, count = int(continue_ or 0), self.counts.get(resource, 0)
        end = min(start + limit, count)
        make = self._node if resource is NODES else self._pod
        metadata = {"resourceVersion": "7", **({"continue": str(end)} if end < count else {})}
        body = b'{"metadata":%s,"items":[%s]}' % (
            msgspec.json.encode(metadata),
            b",".join([make(number) for number in range(start, end)]),
        )
        if count:
            self.tell(resource.plural, end, count)
        await asyncio.sleep(0)
        return decode_list(body, how["type"])

    async def open_watch(self, resource: Resource, *where: Any, **how: Any) -> Any:
        if resource in self.listed:
            self.listed[resource].set()
        await asyncio.get_running_loop().create_future()

    async def raw(self, method: str, path: str) -> Any:
        await asyncio.get_running_loop().create_future()  # whether the server has pod groups

    def _node(self, index: int) -> bytes:
        made = node_object(INSTANCE, index, NOW)
        made["metadata"].update(uid=str(uuid.uuid4()), resourceVersion=str(index + 1))
        return msgspec.json.encode(made)

    def _pod(self, number: int) -> bytes:
        job, index = divmod(number, PODS_PER_JOB)
        made = pod(job, index)
        made["metadata"]["resourceVersion"] = str(number + 1)
        made["spec"]["nodeName"] = node_name(INSTANCE, number % self.nodes)
        return msgspec.json.encode(made)


def pod(job: int, index: int) -> Json:
    """The index-th pod of a Job, running, but for the node."""
    name = f"train-{job:05d}"
    requests = {"cpu": "16", "memory": f"{64 + job % 4}Gi", NEURON: "3"}
    resources = {"requests": requests, "limits": requests}
    uid = f"00000000-0000-4000-8000-{job:012d}"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{name}-{index}-{uuid.uuid4().hex[:5]}",
            "namespace": f"team-{job % NAMESPACES:02d}",
            "uid": str(uuid.uuid4()),
            "labels": {
                "app": "train",
                "batch.kubernetes.io/controller-uid": uid,
                "batch.kubernetes.io/job-completion-index": str(index),
                "batch.kubernetes.io/job-name": name,
                "controller-uid": uid,
                "job-name": name,
            },
            "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid, "controller": True}
            ],
        },
        "spec": {
            "restartPolicy": "Never",
            "schedulerName": "default-scheduler",
            "priority": 0,
            "tolerations": [
                {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute"}
                for key in ("not-ready", "unreachable")
            ],
            "containers": [
                {"name": "worker", "image": "registry.example.com/train:1.0", "resources": resources}
            ],
        },
        "status": {
            "phase": "Running",
            "startTime": NOW,
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": NOW}
                for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
            ],
            "containerStatuses": [
                {"name": "worker", "ready": True, "resources": resources, "allocatedResources": requests}
            ],
        },
    }


async def measure(nodes: int, pods: int, tell: Tell) -> Json:
    """Let a scheduler take everything in, in this process. Raises Failure when not everything is there."""
    thresholds = gc.get_threshold()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    base = resident_memory()
    pages = _Pages(nodes, pods, tell)
    client = cast(Client, pages)
    scheduler = Scheduler(client, EventRecorder(client, "bench"))
    began = time.perf_counter()
    watching = asyncio.create_task(scheduler.watch())
    waiting = [asyncio.ensure_future(event.wait()) for event in pages.listed.values()]
    try:
        while waiting and not watching.done():
            _, unfinished = await asyncio.wait({watching, *waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting = [task for task in waiting if task in unfinished]
        if watching.done():
            watching.result()
        seconds = time.perf_counter() - began
        loaded = resident_memory()
        _check(scheduler, nodes, pods)
        return {
            "base_bytes": base,
            "resident_bytes": resident_memory(),
            "loaded_bytes": loaded - base,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "bytes_per_pod": round((loaded - base) / pods),
            "seconds": round(seconds, 2),
        }
    finally:
        gc.set_threshold(*thresholds)
        for task in (watching, *waiting):
            task.cancel()
        await asyncio.gather(watching, *waiting, return_exceptions=True)


def _check(scheduler: Scheduler, nodes: int, pods: int) -> None:
    """Everything is there and counted, and what is there can be decided on."""
    core = scheduler.core
    found, counted = len(core.columns), int(core.columns.resources[POD_COUNT].requested.sum())
    if (found, counted) != (nodes, pods):
        raise Failure(f"memory: {found} of {nodes} nodes and {counted} of {pods} pods are there")
    made = pod(0, 0)
    made["spec"]["containers"][0]["resources"] = {}
    cls = core.classes.of(msgspec.convert(made, Pod).spec)
    if core.decide(cls) is None:
        raise Failure(f"memory: one more pod fits nowhere: {core.explain(cls)}")


def main(nodes: int, pods: int) -> int:
    """The process: progress as lists, one a line, then the result, or why there is none."""

    def say(value: Any) -> None:
        print(msgspec.json.encode(value).decode(), flush=True)

    async def work() -> None:
        try:
            say(await measure(nodes, pods, lambda what, done, total: say([what, done, total])))
        except Failure as failure:
            say({"failure": str(failure)})

    return run_async(work)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
