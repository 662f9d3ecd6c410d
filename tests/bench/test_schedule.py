"""Upstream's scheduler workloads, tiny: the core on all of them, a few through a server and in a cluster; and that undone work is no figure."""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from lakh.bench import binds, decisions, footprint, schedule
from lakh.bench.workloads import WORKLOADS, Pods, Workload
from lakh.cli import Failure
from lakh.client.client import Client
from lakh.client.resources import NAMESPACES, NODES, PODS
from lakh.client.types import ObjectView
from lakh.progress import Progress

from ..conformance.cluster import Cluster


@pytest.mark.parametrize("name", WORKLOADS)
async def test_the_core_does_the_work(name: str) -> None:
    workload = WORKLOADS[name]
    report = await decisions.run(workload, 10, workload.measured.count(10), Progress(io.StringIO()))
    assert report["decisions_per_s"] > 0 and report["seconds"] > 0
    assert (report["evicted"] > 0) == workload.preempts


async def test_undone_work_is_no_figure() -> None:
    too_many = Workload(Pods("anti-affinity", 1), one_a_node=True)
    with pytest.raises(Failure, match="measured pod 5 of 6 fits nowhere: 0/5 nodes are available"):
        await decisions.run(too_many, 5, 6, Progress(io.StringIO()))
    with pytest.raises(Failure, match="0 of 200 pods of the gang were placed"):
        await decisions.run(WORKLOADS["Gang"], 5, 200, Progress(io.StringIO()))
    with pytest.raises(Failure, match=r"unevenly over zones: \[0, 1, 3\], more than 2 apart"):
        decisions.uneven(Counter({"a": 3, "b": 1}), 3, 2)


def test_throughput_over_time() -> None:
    found = binds.throughput([1.0, 1.05, 1.1, 1.95, 2.0])
    assert found["interval_ms"] == 100.0
    assert found["bound_per_s"] == [20.0, 10.0, 0, 0, 0, 0, 0, 0, 0, 20.0]
    assert (found["least"], found["most"]) == (0.0, 20.0)
    assert binds.throughput([1.0])["most"] > 0


async def test_an_unknown_workload_is_refused() -> None:
    with pytest.raises(Failure, match="there is no workload Nonsense: choose from all, SchedulingBasic"):
        await schedule.run(argparse.Namespace(workload="Nonsense"), Progress(io.StringIO()))


async def test_memory_of_nodes_and_bound_pods() -> None:
    said = io.StringIO()
    found = await footprint.run(30, 2_500, Progress(said))
    assert 20e6 < found["base_bytes"] < found["resident_bytes"] <= found["peak_bytes"] < 1e9
    assert 0 < found["bytes_per_pod"] * 2_500 <= found["loaded_bytes"] + 2_500
    assert "memory: nodes: 30/30" in said.getvalue() and "memory: pods: 2500/2500" in said.getvalue()


async def test_pods_that_are_not_there_have_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def same(job: int, index: int) -> Any:
        pod = made(job, index)
        pod["metadata"]["uid"] = "one"
        return pod

    made = footprint.pod
    monkeypatch.setattr(footprint, "pod", same)
    with pytest.raises(Failure, match="memory: 2 of 2 nodes and 1 of 40 pods are there"):
        await footprint.measure(2, 40, lambda *_: None)


async def test_a_process_that_fails_is_no_figure() -> None:
    with pytest.raises(
        Failure, match="memory: one more pod fits nowhere: 0/1 nodes are available: 1 Too many"
    ):
        await footprint.run(1, 110, Progress(io.StringIO()))


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lakh", "bench", "schedule", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )


@pytest.mark.xdist_group("clusters-2")
def test_through_a_server() -> None:
    names = ["SchedulingBasic", "PreemptionBasic", "SchedulingWhileGated", "Gang", "Unschedulable"]
    done = command("--nodes", "6", "--workload", ",".join(names), "--json")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert [one["workload"] for one in report["workloads"]] == names
    for one in (report, *report["workloads"]):
        assert one["decisions_per_s"] > 0 and one["bound_per_s"] > 0
        assert 0 < one["first_ms"] <= one["last_ms"]


@pytest.mark.xdist_group("clusters-2")
def test_as_a_table() -> None:
    done = command("--nodes", "5", "--pods", "4", "--half", "core")
    row = next(line for line in done.stdout.splitlines() if "SchedulingBasic" in line).split()
    assert row[1:3] == ["5", "4"] and row[4:] == ["-", "-", "-", "-"]
    done = command("--workload", "Nonsense")
    assert done.returncode == 1 and "there is no workload" in done.stderr


@pytest.mark.xdist_group("clusters-2")
async def test_pods_in_a_cluster_that_is_there_tolerate_that_their_nodes_fall_silent(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No kubelet renews their leases, so that after 40 s they are tainted."""
    made: list[Any] = []
    create = Client.create

    async def recorded(client: Client, resource: Any, obj: Any, *where: Any, **how: Any) -> Any:
        if resource is PODS:
            made.append(json.loads(obj))
        return await create(client, resource, obj, *where, **how)

    monkeypatch.setattr(Client, "create", recorded)
    await binds.run(
        WORKLOADS["SchedulingBasic"], 4, 8, Progress(io.StringIO()), kubeconfig=cluster.kubeconfig
    )
    assert len(made) == 9
    for pod in made:
        assert {(t["key"], t["effect"]) for t in pod["spec"]["tolerations"]} == {
            ("node.kubernetes.io/not-ready", "NoSchedule"),
            ("node.kubernetes.io/unreachable", "NoSchedule"),
        }


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    found = Cluster(tmp_path_factory.mktemp("cluster"), nodes=3).ready()
    yield found
    found.stop()


@pytest.mark.xdist_group("clusters-2")
@pytest.mark.parametrize("scheduler", ["ours", "cluster"])
async def test_in_a_cluster_that_is_there(cluster: Cluster, scheduler: str) -> None:
    """By a scheduler beside the cluster's own, or by that one; what was made for it is gone in the end."""
    names = ["SchedulingBasic", "PreemptionBasic", "SchedulingWhileGated", "Gang"]
    more = ("--scheduler", scheduler, "--half", "api", "--workload", ",".join(names), "--json")
    done = command("--kubeconfig", str(cluster.kubeconfig), "--nodes", "6", *more)
    assert done.returncode == 0, done.stderr + cluster.evidence()
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert [one["workload"] for one in report["workloads"]] == names
    for one in report["workloads"]:
        assert one["bound_per_s"] > 0 and 0 < one["first_ms"] <= one["last_ms"]
        assert ("scheduler_rss_bytes" in one) == (scheduler == "ours")
    async with Client.from_kubeconfig(cluster.kubeconfig, user_agent="test") as client:
        nodes = await client.list(NODES, type=ObjectView)
        assert len(nodes.items) == 3 and not any("bench" in node.metadata.name for node in nodes.items)
        left = {found.metadata.namespace for found in (await client.list(PODS, type=ObjectView)).items}
        assert not any(where.startswith("lakh-bench") for where in left if where)
        for found in (await client.list(NAMESPACES, type=ObjectView)).items:
            assert found.metadata.deletionTimestamp or not found.metadata.name.startswith("lakh-bench")
