"""`lakh bench api`: durable creates, lease renewals, gets, patches and deletes."""

from __future__ import annotations

import argparse
import asyncio
import math
import os
from typing import Any

import msgspec

from lakh.bench.load import Measure, Operation, closed_loop, open_loop
from lakh.bench.target import namespace, target
from lakh.cli import Failure
from lakh.client.client import Client
from lakh.client.resources import CONFIGMAPS, LEASES, PODS
from lakh.client.types import ObjectView
from lakh.machinery import times
from lakh.progress import Progress

_encode = msgspec.json.Encoder().encode

# Objects made for the phases that need some, when the create phase made too few.
OBJECTS_MIN = 2000
# A shorter run needs fewer.
PATCHED_MIN_A_SECOND = 500


def pod(name: str) -> dict[str, Any]:
    """A worker's pod of usual size (1.4 KB)."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {
                "app": "bench",
                "batch.kubernetes.io/job-name": "bench",
                "pod-template-hash": "5d9c7b8f6d",
            },
            "annotations": {"batch.kubernetes.io/job-completion-index": "17"},
        },
        "spec": {
            "schedulerName": "lakh-bench",
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "worker",
                    "image": "registry.example/training:1.4.2",
                    "command": ["torchrun", "--nnodes=512", "--nproc-per-node=16", "train.py"],
                    "env": [
                        {"name": "NEURON_RT_NUM_CORES", "value": "64"},
                        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    ],
                    "resources": {
                        "requests": {"cpu": "96", "memory": "1Ti", "aws.amazon.com/neuron": "16"},
                        "limits": {"aws.amazon.com/neuron": "16"},
                    },
                    "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
                }
            ],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
            "tolerations": [{"key": "accelerator", "operator": "Exists", "effect": "NoSchedule"}],
        },
    }


class ApiBench:
    """The phases, one after the other, on one namespace."""

    def __init__(self, client: Client, where: str, options: argparse.Namespace, progress: Progress) -> None:
        self.client = client
        self.namespace = where
        self.options = options
        self.progress = progress
        self.pods: list[str] = []
        self.first_error = ""
        before, after = _encode(pod("NAME-OF-POD")).split(b"NAME-OF-POD")
        self._before, self._after = before, after

    async def run(self) -> dict[str, Any]:
        """All phases; the report."""
        # Clients of a cluster have their connections: handshakes are no part of a request's latency.
        await asyncio.gather(*(self.client.raw("GET", "/version") for _ in range(self.options.clients)))
        return {
            "create_pod": await self._creates(),
            "update_lease": await self._update_lease(),
            "get": await self._get(),
            "patch": (await self._patches()).result(),
            "delete": (await self._phase("delete", self._delete, limit=len(self.pods))).result(),
        }

    async def _phase(self, name: str, operation: Operation, limit: int = 0) -> Measure:
        options = self.options
        self.progress.show(f"{name}: {options.clients} clients, {options.seconds:g} s …")
        if options.rate:
            return await open_loop(operation, options.clients, options.seconds, options.rate, limit)
        return await closed_loop(operation, options.clients, options.seconds, limit)

    async def _creates(self) -> dict[str, Any]:
        measure = await self._phase("create_pod", self._create)
        self.first_error = measure.first_error
        return measure.result()

    async def _create(self, me: int, number: int) -> None:
        name = f"pod-{number:07d}"
        await self.client.create(PODS, self._before + name.encode() + self._after, self.namespace, type=bytes)
        self.pods.append(name)

    async def _update_lease(self) -> dict[str, Any]:
        leases: list[dict[str, Any]] = []
        for me in range(self.options.clients):
            leases.append(
                await self.client.create(
                    LEASES,
                    {
                        "metadata": {"name": f"node-{me}"},
                        "spec": {
                            "holderIdentity": f"node-{me}",
                            "leaseDurationSeconds": 40,
                            "renewTime": times.now_micro(),
                        },
                    },
                    self.namespace,
                )
            )

        async def renew(me: int, number: int) -> None:
            lease = leases[me]
            lease["spec"]["renewTime"] = times.now_micro()
            done = await self.client.update(LEASES, lease, self.namespace, type=ObjectView)
            lease["metadata"]["resourceVersion"] = done.metadata.resourceVersion

        return (await self._phase("update_lease", renew)).result()

    async def _get(self) -> dict[str, Any]:
        await self.client.create(
            CONFIGMAPS, {"metadata": {"name": "small"}, "data": {"key": "value"}}, self.namespace
        )

        async def get(me: int, number: int) -> None:
            await self.client.get(CONFIGMAPS, "small", self.namespace, type=bytes)

        return (await self._phase("get", get)).result()

    async def _patches(self) -> Measure:
        missing = min(OBJECTS_MIN, PATCHED_MIN_A_SECOND * math.ceil(self.options.seconds)) - len(self.pods)
        if missing > 0 and not self.options.rate:
            first = 1_000_000
            await closed_loop(lambda me, n: self._create(me, first + n), self.options.clients, 60, missing)
        if not self.pods:
            raise Failure(f"no pod could be created: {self.first_error}")

        async def patch(me: int, number: int) -> None:
            name = self.pods[number % len(self.pods)]
            body = {"metadata": {"annotations": {"bench/round": str(number)}}}
            await self.client.patch(PODS, name, body, self.namespace, type=bytes)

        return await self._phase("patch", patch)

    async def _delete(self, me: int, number: int) -> None:
        await self.client.delete(PODS, self.pods[number], self.namespace, grace_period_seconds=0)


# What it should come to, and what kube-apiserver 1.36.2 with etcd 3.6 did on a machine of two cores.
BUDGETS = """Latencies in ms. Budgets, on two cores shared with this load:
create_pod 5,000/s, get 20,000/s. kube-apiserver with etcd there:
create_pod 590/s (p50 49, p99 141), get 2,920/s."""


async def run(options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Measures; returns the report."""
    async with (
        target(options.kubeconfig, options.clients + 2) as client,
        namespace(client, f"lakh-bench-{os.getpid()}") as where,
    ):
        return await ApiBench(client, where, options, progress).run()


def table(report: dict[str, Any]) -> list[list[str]]:
    """The report as rows, heading first."""
    rows = [["operation", "ops/s", "p50", "p99", "p99.9", "<=15 ms", "errors", "n"]]
    for name, m in report.items():
        rows.append(
            [
                name,
                f"{m['ops_per_s']:,.0f}",
                f"{m['p50_ms']:.2f}",
                f"{m['p99_ms']:.2f}",
                f"{m['p999_ms']:.2f}",
                f"{m['within_15ms']:.2%}",
                str(m["errors"]),
                f"{m['n']:,}",
            ]
        )
    return rows
