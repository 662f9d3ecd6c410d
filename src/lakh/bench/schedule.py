"""`lakh bench schedule`: upstream's scheduler benchmarks, in two halves: the core alone, and end to end through an API server.

The workload `Memory` is ours: what a scheduler holds for so many nodes and bound pods. It has no halves and is not among `all`.
"""

from __future__ import annotations

import argparse
from typing import Any

from lakh.bench import binds, decisions, footprint
from lakh.bench.workloads import WORKLOADS
from lakh.cli import Failure
from lakh.progress import Progress

__all__ = ["chosen", "run", "table"]

MEMORY = "Memory"
COLUMNS = ("decisions_per_s", "bound_per_s", "first_ms", "last_ms")


def chosen(text: str) -> list[str]:
    """The workloads that a command names. Raises Failure for what is none."""
    names = list(WORKLOADS) if text == "all" else text.split(",")
    for name in names:
        if name not in WORKLOADS and name != MEMORY:
            raise Failure(f"there is no workload {name}: choose from all, {', '.join(WORKLOADS)}, {MEMORY}")
    return names


async def run(options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Each workload in turn; the report has the first one's figures on top, and all of them in `workloads`."""
    found = []
    for name in chosen(options.workload):
        if name == MEMORY:
            found.append(await _memory(options, progress))
            continue
        workload = WORKLOADS[name]
        pods = options.pods or workload.measured.count(options.nodes)
        one: dict[str, Any] = {"workload": name, "nodes": options.nodes, "pods": pods}
        if options.half != "api":
            core = await decisions.run(workload, options.nodes, pods, progress)
            one.update(decisions_per_s=core["decisions_per_s"], core=core)
        if options.half != "core":
            bound = await binds.run(
                workload,
                options.nodes,
                pods,
                progress,
                kubeconfig=options.kubeconfig,
                cluster_scheduler=options.scheduler == "cluster",
            )
            one.update(bound)
        found.append(one)
        progress.line(
            f"{name}: {one.get('decisions_per_s', '-')} decisions a second, {one.get('bound_per_s', '-')} binds"
        )
    return {**{key: found[0].get(key) for key in COLUMNS}, "workloads": found}


async def _memory(options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    pods = options.pods or footprint.PODS_PER_NODE * options.nodes
    found = await footprint.run(options.nodes, pods, progress)
    progress.line(
        f"{MEMORY}: {found['resident_bytes'] / 1e6:,.0f} MB with {options.nodes} nodes and {pods} pods"
    )
    return {"workload": MEMORY, "nodes": options.nodes, "pods": pods, **found}


def table(report: dict[str, Any]) -> list[list[str]]:
    """Rows for people."""
    rows = [["workload", "nodes", "pods", "decisions/s", "bound/s", "first ms", "last ms", "memory MB"]]
    for one in report["workloads"]:
        memory = one.get("resident_bytes", one.get("scheduler_rss_bytes"))
        rows.append(
            [
                one["workload"],
                f"{one['nodes']:,}",
                f"{one['pods']:,}",
                *(f"{one[key]:,.0f}" if key in one else "-" for key in COLUMNS),
                "-" if memory is None else f"{memory / 1e6:,.0f}",
            ]
        )
    return rows
