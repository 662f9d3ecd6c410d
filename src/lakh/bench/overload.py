"""`lakh bench overload`: does a crowd of clients that list everything get in the way of the nodes' heartbeats?

Pods are created; leases are renewed at a fixed rate, first alone, then while N clients list all pods in a loop. The listing clients are one service
account, as a badly written operator would be, and the leases are renewed by a node where its credentials are at hand: so priority and fairness can tell
them apart. Latency counts from the time a renewal was due.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from lakh import __version__
from lakh.bench import scrape
from lakh.bench.listers import Done, Orders
from lakh.bench.load import Measure, open_loop
from lakh.bench.reads import CREATE_CLIENTS, fill
from lakh.bench.target import namespace, ready, served
from lakh.cli import Failure
from lakh.client.client import Client
from lakh.client.errors import ApiError, ClientError
from lakh.client.resources import LEASES, PODS, SERVICEACCOUNTS
from lakh.client.types import ObjectView
from lakh.machinery import times
from lakh.progress import Progress

# More than are renewed at once: none is renewed twice at the same time.
LEASE_COUNT = 200
# Upstream's objective for a single write, at the 99th percentile.
SLO_MS = 1000.0
RENEWERS = 32
CONNECT_SECONDS = 120.0
TOKEN_SECONDS = 3600
STOP_SECONDS = 10.0
LAG = "lakh_loop_lag_seconds"


class Listers:
    """The crowd's process."""

    def __init__(self, process: asyncio.subprocess.Process, clients: int) -> None:
        self._process = process
        self._clients = clients
        self.done = Done()

    async def connected(self, progress: Progress) -> None:
        """Waits until all clients are connected; raises Failure."""
        progress.show(f"{self._clients} clients connect …")
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self.read()
        except TimeoutError:
            raise Failure(
                f"{self._clients} clients were not connected after {CONNECT_SECONDS:.0f} s"
            ) from None

    async def read(self) -> None:
        """The next line of what was done; raises Failure when the process has ended."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise Failure("the process of the listing clients has ended")
        self.done = msgspec.json.decode(line, type=Done)

    async def follow(self, progress: Progress) -> None:
        """Reads on until cancelled."""
        while True:
            await self.read()
            d = self.done
            progress.show(
                f"{d.connected} clients: {d.lists} lists, {d.refused} told to come back, {d.errors} errors"
            )


@contextlib.asynccontextmanager
async def _listers(orders: Orders) -> AsyncIterator[Listers]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "lakh.bench.listers",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(orders) + b"\n")
    try:
        yield Listers(process, orders.clients)
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


class Memory:
    """The server's memory while something runs, by its own metrics."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.peak_bytes = 0.0
        self.first: scrape.Scrape = {}
        self.last: scrape.Scrape = {}

    async def look(self) -> None:
        """One scrape; nothing of a server that has no metrics for us."""
        with contextlib.suppress(ClientError):
            answer = await self._client.raw("GET", "/metrics")
            if answer.status == 200:
                self.last = scrape.parse(answer.body.decode())
                self.first = self.first or self.last
                self.peak_bytes = max(
                    self.peak_bytes, scrape.value(self.last, "process_resident_memory_bytes")
                )

    async def follow(self) -> None:
        """One a second until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(1.0)

    def result(self) -> dict[str, float]:
        """Memory, and how late the event loop was."""
        lag = scrape.histogram(self.last, self.first, LAG, lambda labels: True)
        return {
            "memory_before_mb": round(scrape.value(self.first, "process_resident_memory_bytes") / 1e6, 1),
            "memory_peak_mb": round(self.peak_bytes / 1e6, 1),
            "loop_lag_p99_ms": round(lag.quantile(0.99) * 1000, 2),
        }


async def run(options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Measures; the report. Raises Failure."""
    async with contextlib.AsyncExitStack() as stack:
        path = await stack.enter_async_context(served(options.kubeconfig))
        client = await stack.enter_async_context(_client(path))
        if options.kubeconfig is None:
            await ready(client)
        nodes = await stack.enter_async_context(_client(options.node_kubeconfig or _node_kubeconfig(path)))
        where = await stack.enter_async_context(namespace(client, f"lakh-bench-{os.getpid()}"))
        await fill(client, where, options.objects, progress)
        token = await _token(client, where)
        stack.push_async_callback(_unbind, client, await _bind(client, where))
        leases = [await _lease(client, where, number) for number in range(LEASE_COUNT)]

        async def renew(me: int, number: int) -> None:
            lease = leases[number % LEASE_COUNT]
            lease["spec"]["renewTime"] = times.now_micro()
            done = await nodes.update(LEASES, lease, where, type=ObjectView)
            lease["metadata"]["resourceVersion"] = done.metadata.resourceVersion

        async def renewals() -> Measure:
            return await open_loop(renew, RENEWERS, options.seconds, options.rate)

        await asyncio.gather(*(nodes.raw("GET", "/version") for _ in range(RENEWERS)))
        progress.show(f"{options.seconds:g} s of {options.rate:g} renewals a second, alone …")
        before = await renewals()
        if before.errors:
            raise Failure(f"{before.errors} renewals failed with nobody in their way: {before.first_error}")
        memory = Memory(client)
        await memory.look()
        orders = Orders(
            str(path),
            f"{PODS.path(where)}?resourceVersion=0",
            options.clients,
            token,
            options.stalled,
            options.gzip,
        )
        async with _listers(orders) as listers:
            await listers.connected(progress)
            began = listers.done
            following = [
                asyncio.create_task(listers.follow(progress)),
                asyncio.create_task(memory.follow()),
            ]
            during = await renewals()
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
            await listers.read()
            done = listers.done
            seconds = done.at - began.at
        met = not during.errors and during.result()["p99_ms"] <= SLO_MS
        return {
            "clients": options.clients,
            "stalled": options.stalled,
            "objects": options.objects,
            "rate": options.rate,
            "before": before.result(),
            "during": during.result(),
            "slo_ms": SLO_MS,
            "met": bool(met),
            "first_error": during.first_error,
            "lists": {
                "n": done.lists - began.lists,
                "per_s": round((done.lists - began.lists) / seconds, 2),
                "mb_per_s": round((done.bytes - began.bytes) / seconds / 1e6, 1),
                "p50_s": done.p50_s,
                "p99_s": done.p99_s,
                "told_to_come_back": done.refused - began.refused,
                "errors": done.errors - began.errors,
                "first_error": done.first_error,
            },
            "server": memory.result(),
        }


def _client(path: Path) -> Client:
    return Client.from_kubeconfig(
        path,
        user_agent=f"lakh-bench/{__version__}",
        max_connections=RENEWERS + CREATE_CLIENTS,
        http2=False,  # each simulated client has a connection of its own
    )


def _node_kubeconfig(path: Path) -> Path:
    """The nodes' credentials beside the administrator's, as `lakh up` lays them; else the same ones."""
    beside = path.parent / "kubeconfigs" / "nodes.kubeconfig"
    return beside if beside.is_file() else path


async def _lease(client: Client, where: str, number: int) -> dict[str, Any]:
    name = f"node-{number}"
    spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": times.now_micro()}
    lease: dict[str, Any] = {"metadata": {"name": name}, "spec": spec}
    return await client.create(LEASES, lease, where)


async def _token(client: Client, where: str) -> str:
    """A token of the namespace's service account."""
    asked = {"spec": {"expirationSeconds": TOKEN_SECONDS}}
    answer = await client.create(SERVICEACCOUNTS, asked, where, name="default", subresource="token")
    token: str = answer["status"]["token"]
    return token


async def _bind(client: Client, where: str) -> str:
    """Lets the service account look at everything, where somebody asks for leave."""
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": where},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": where}],
    }
    path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    await client.raw("POST", path, msgspec.json.encode(binding), {"Content-Type": "application/json"})
    return f"{path}/{where}"


async def _unbind(client: Client, path: str) -> None:
    with contextlib.suppress(ApiError, ClientError):
        await client.raw("DELETE", path)


def table(report: dict[str, Any]) -> list[list[str]]:
    """The report as rows, heading first."""
    rows = [["lease renewals", "n", "p50 ms", "p99 ms", "p99.9 ms", "errors"]]
    for name in ("before", "during"):
        m = report[name]
        rows.append([name, *(f"{m[k]:,}" for k in ("n", "p50_ms", "p99_ms", "p999_ms", "errors"))])
    return rows


def summary(report: dict[str, Any]) -> str:
    """The rest of the report in words."""
    lists, server = report["lists"], report["server"]
    verdict = "met" if report["met"] else "MISSED"
    failed = f" Renewals failed: {report['first_error']}." if report["first_error"] else ""
    return (
        f"The objective, p99 of {report['slo_ms']:g} ms, is {verdict}.{failed} {report['clients']} clients got {lists['n']} lists of "
        f"{report['objects']} pods ({lists['per_s']:g}/s, {lists['mb_per_s']:g} MB/s; p50 {lists['p50_s']:g} s) and were told "
        f"{lists['told_to_come_back']} times to come back; {lists['errors']} errors {lists['first_error']}\n"
        f"Server: {server['memory_before_mb']:g} MB before, {server['memory_peak_mb']:g} MB at most; event loop late by "
        f"{server['loop_lag_p99_ms']:g} ms at the 99th percentile."
    )
