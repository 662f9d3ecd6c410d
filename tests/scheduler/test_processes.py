"""Schedulers as processes beside a real API server: profiles of a file, a leader that is killed, an API server that comes again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lakh.client.client import Client
from lakh.client.errors import ClientError
from lakh.client.resources import EVENTS, NODES, PODS
from lakh.scheduler.views import Pod

from ..conformance.cluster import Process, Server, eventually

pytestmark = pytest.mark.xdist_group("clusters-2")

Json = dict[str, Any]
WAIT_SECONDS = 240.0
CONFIG = {
    "apiVersion": "kubescheduler.config.k8s.io/v1",
    "kind": "KubeSchedulerConfiguration",
    "leaderElection": {
        "leaderElect": True,
        # A leader that is slow for a while on a machine with much other work keeps its lease.
        "leaseDuration": "10s",
        "renewDeadline": "8s",
        "retryPeriod": "500ms",
        "resourceName": "two-of-us",
    },
    "profiles": [
        {"schedulerName": "default-scheduler"},
        {
            "schedulerName": "packer",
            "plugins": {"score": {"disabled": [{"name": "NodeResourcesBalancedAllocation"}]}},
            "pluginConfig": [
                {"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "MostAllocated"}}}
            ],
        },
    ],
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path / "server").ready()
    yield found
    found.stop()


@pytest.fixture
def candidates(server: Server, tmp_path: Path) -> Iterator[list[Process]]:
    """Two schedulers of which one leads."""
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(CONFIG))
    kubeconfig = server.data / "kubeconfigs" / "scheduler.kubeconfig"
    found = [
        Process(tmp_path / name, "scheduler", "--kubeconfig", str(kubeconfig), "--config", str(file))
        for name in ("a", "b")
    ]
    yield found
    for process in found:
        process.stop()


def node(name: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {
            "capacity": {"cpu": "8", "memory": "32Gi", "pods": "110"},
            "allocatable": {"cpu": "8", "memory": "32Gi", "pods": "110"},
        },
    }


def pod(name: str, scheduler: str) -> Json:
    requests = {"requests": {"cpu": "1", "memory": "1Gi"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "schedulerName": scheduler,
            "automountServiceAccountToken": False,
            "tolerations": [{"operator": "Exists"}],  # nobody says that the nodes are ready
            "containers": [{"name": "c", "image": "busybox", "resources": requests}],
        },
    }


async def bound(client: Client, name: str) -> str:
    """Where a pod is bound, once it is."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            found = await client.get(PODS, name, "default", type=Pod)
            if found.spec.nodeName:
                return found.spec.nodeName
        except ClientError:
            pass  # the API server is on its way
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} is not bound")


async def said(client: Client) -> set[tuple[str, str]]:
    """The reasons of events and who told them."""
    events = await client.list(EVENTS, "default", type=dict)
    return {(e["reason"], e["source"]["component"]) for e in events.items}


def leader(candidates: list[Process]) -> Process:
    return eventually(
        lambda: next((one for one in candidates if "became leader" in one.text()), None), "there is a leader"
    )


async def test_profiles_a_killed_leader_and_a_killed_api_server(
    server: Server, candidates: list[Process], tmp_path: Path
) -> None:
    async with Client.from_kubeconfig(server.kubeconfig, user_agent="test") as client:
        for name in ("n0", "n1", "n2"):
            await client.create(NODES, node(name), type=bytes)
        for number in range(4):
            await client.create(PODS, pod(f"packed-{number}", "packer"), "default", type=bytes)
            await bound(client, f"packed-{number}")
        packed = {await bound(client, f"packed-{number}") for number in range(4)}
        assert len(packed) == 1
        for number in range(2):
            await client.create(PODS, pod(f"spread-{number}", "default-scheduler"), "default", type=bytes)
            await bound(client, f"spread-{number}")
        spread = {await bound(client, f"spread-{number}") for number in range(2)}
        assert len(spread) == 2 and not packed & spread
        await client.create(PODS, pod("nobodys", "somebody-else"), "default", type=bytes)
        # Told after the pods are bound, so a scheduler that is killed at once may not have told it.
        async with asyncio.timeout(WAIT_SECONDS):
            while not {("Scheduled", "packer"), ("Scheduled", "default-scheduler")} <= await said(client):
                await asyncio.sleep(0.05)

        first = leader(candidates)
        first.kill()
        server.kill()
    again = Server(tmp_path / "server", port=server.port).ready()
    try:
        async with Client.from_kubeconfig(again.kubeconfig, user_agent="test") as client:
            await client.create(PODS, pod("after", "packer"), "default", type=bytes)
            assert await bound(client, "after") in packed
            [second] = [one for one in candidates if one is not first]
            assert "became leader" in second.text()
            found = await client.get(PODS, "nobodys", "default", type=Pod)
            assert found.spec.nodeName is None
            assert {("Scheduled", "packer"), ("Scheduled", "default-scheduler")} <= await said(client)
    finally:
        again.stop()
