"""`lakh bench`: the commands."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lakh.cli import DEFAULT_LEASE_SECONDS, DEFAULT_STATUS_SECONDS, seconds


def add_parser(commands: Any) -> None:
    """Adds `bench` and what it measures to the command line."""
    bench: argparse.ArgumentParser = commands.add_parser(
        "bench", help="measure a Kubernetes API server, ours or any other"
    )
    kinds = bench.add_subparsers(title="what to measure", required=True, metavar="WHAT")

    def kind(name: str, text: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = kinds.add_parser(name, help=text)
        parser.add_argument(
            "--kubeconfig",
            type=Path,
            default=None,
            help="the cluster to measure (default: a server of our own)",
        )
        parser.add_argument("--json", action="store_true", help="make the last line one JSON object")
        parser.set_defaults(run=_run, what=name)
        return parser

    api = kind("api", "creates, lease renewals, gets, patches, deletes")
    api.add_argument("--clients", type=_positive, default=32, help="requests under way at once (default: 32)")
    api.add_argument(
        "--seconds", type=_positive_float, default=10.0, help="length of each phase (default: 10)"
    )
    api.add_argument(
        "--rate",
        type=_positive_float,
        default=0.0,
        help="offer so many requests a second instead of as many as possible",
    )
    listing = kind("list", "a list of many pods")
    listing.add_argument("--objects", type=_positive, default=17500, help="how many (default: 17500)")
    watch = kind("watch", "events to many watchers")
    watch.add_argument("--watchers", type=_positive, default=100, help="how many (default: 100)")
    watch.add_argument(
        "--seconds", type=_positive_float, default=10.0, help="how long to write (default: 10)"
    )
    watch.add_argument(
        "--by-node",
        action="store_true",
        help="each watches the pods of a node of its own, on a connection of its own, as kubelets do",
    )
    overload = kind("overload", "lease renewals while many clients list everything")
    overload.add_argument(
        "--clients", type=_positive, default=1000, help="that list all pods in a loop (default: 1000)"
    )
    overload.add_argument("--objects", type=_positive, default=17500, help="how many pods (default: 17500)")
    overload.add_argument(
        "--rate", type=_positive_float, default=500.0, help="lease renewals a second (default: 500)"
    )
    overload.add_argument(
        "--seconds", type=_positive_float, default=15.0, help="before, and with the crowd (default: 15)"
    )
    overload.add_argument(
        "--stalled",
        type=_natural,
        default=0,
        metavar="N",
        help="so many of the clients ask and never read (default: none)",
    )
    overload.add_argument(
        "--gzip", action="store_true", help="the clients take compressed answers, as Go's do"
    )
    overload.add_argument(
        "--node-kubeconfig",
        type=Path,
        metavar="F",
        help="whose leases are renewed (default: the nodes' of a cluster of `lakh up`, else as --kubeconfig)",
    )
    store = kinds.add_parser("store", help="the store alone: writes, batches, recovery, memory")
    store.add_argument("--engine", choices=("file", "nats"), default="file", help="(default: file)")
    store.add_argument("--objects", type=_positive, default=100_000, help="how many (default: 100000)")
    store.add_argument(
        "--seconds", type=_positive_float, default=5.0, help="how long the clients write (default: 5)"
    )
    store.add_argument("--json", action="store_true", help="make the last line one JSON object")
    store.set_defaults(run=_run, what="store", kubeconfig=None)
    schedule = kind("schedule", "the scheduler, on the workloads of upstream's scheduler benchmarks")
    schedule.add_argument("--nodes", type=_positive, default=1000, help="how many (default: 1000)")
    schedule.add_argument(
        "--pods", type=_positive, default=0, help="how many are measured (default: the workload's share)"
    )
    schedule.add_argument(
        "--workload",
        default="SchedulingBasic",
        metavar="W",
        help="a name, several with commas, or all; Memory: what a scheduler holds for nodes and bound pods",
    )
    schedule.add_argument(
        "--half",
        choices=("both", "core", "api"),
        default="both",
        help="the core alone, through an API server, or both (default)",
    )
    schedule.add_argument(
        "--scheduler",
        choices=("ours", "cluster"),
        default="ours",
        help="who binds: a scheduler of ours (default), or the one the cluster has",
    )
    cluster = kind("cluster", "a cluster of N nodes under the load of the public 100,000-node tests")
    cluster.add_argument("--nodes", type=_positive, default=1000, help="how many (default: 1000)")
    cluster.add_argument("--instance-type", default="trn2.48xlarge", metavar="T", help="of the nodes")
    cluster.add_argument(
        "--lease-seconds",
        type=seconds,
        default=DEFAULT_LEASE_SECONDS,
        metavar="S",
        help="validity of a node's lease, renewed four times as often (default: 40)",
    )
    cluster.add_argument(
        "--status-seconds",
        type=seconds,
        default=DEFAULT_STATUS_SECONDS,
        metavar="S",
        help="how often a node reports a status that is as before (default: 300)",
    )
    cluster.add_argument(
        "--phases",
        default="",
        help="which, with commas: pretraining, finetuning, mixed, fullness, degraded "
        "(default: all; degraded, which takes a minute, from 2000 nodes on)",
    )
    cluster.add_argument(
        "--pods-per-node", type=_positive, default=10, help="of the fullness phase (default: 10)"
    )
    cluster.add_argument(
        "--churn-seconds", type=float, default=5.0, help="of the fullness phase (default: 5)"
    )
    cluster.add_argument(
        "--deadline-seconds", type=float, default=900.0, help="for each step of a phase (default: 900)"
    )
    cluster.add_argument(
        "--report", type=Path, metavar="FILE", help="write an HTML page; JSON goes beside it"
    )
    cluster.add_argument(
        "--work-dir", type=Path, metavar="D", help="where the cluster's data goes (default: temporary)"
    )
    compare = kinds.add_parser("compare", help="two JSON reports of `bench cluster` side by side")
    compare.add_argument("a", type=Path, metavar="A.json")
    compare.add_argument("b", type=Path, metavar="B.json")
    compare.add_argument("--report", type=Path, metavar="FILE", help="write an HTML page, too")
    compare.set_defaults(run=_compare)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("not positive")
    return number


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError("negative")
    return number


_natural.__name__ = "count"


def _positive_float(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError("not positive")
    return number


_positive_float.__name__ = _positive.__name__ = "positive number"


def _run(options: argparse.Namespace) -> int:
    from lakh.bench import api, cluster, nodewatches, overload, page, reads, schedule, store
    from lakh.bench import report as pages
    from lakh.cli import Failure, kubeconfig_path, run_async
    from lakh.client.errors import ClientError
    from lakh.progress import Progress

    if options.kubeconfig is not None:
        options.kubeconfig = kubeconfig_path(options.kubeconfig)

    async def work() -> None:
        progress = Progress(sys.stderr)
        try:
            match options.what:
                case "api":
                    report = await api.run(options, progress)
                    rows = api.table(report)
                case "list":
                    report = await reads.run_list(options, progress)
                    rows = [list(report), [str(v) for v in report.values()]]
                case "overload":
                    report = await overload.run(options, progress)
                    rows = overload.table(report)
                case "store":
                    report = await store.run(options, progress)
                    rows = store.table(report)
                case "schedule":
                    report = await schedule.run(options, progress)
                    rows = schedule.table(report)
                case "cluster":
                    report = await cluster.run(options, progress)
                    rows = pages.rows(report)
                    if options.report is not None:
                        options.report.write_text(page.render(report))
                        options.report.with_suffix(".json").write_text(json.dumps(report))
                case _:
                    run_watch = nodewatches.run if options.by_node else reads.run_watch
                    report = await run_watch(options, progress)
                    rows = [list(report), [str(v) for v in report.values()]]
        except ClientError as e:
            raise Failure(str(e)) from e
        finally:
            progress.close()
        if options.json:
            print(json.dumps(report))
            return
        _print_table(rows)
        if options.what == "api":
            print(api.BUDGETS)
        elif options.what == "overload":
            print(overload.summary(report))
        elif options.what == "cluster":
            for name, why in pages.missed(report):
                print(f"MISSED {name}\n  {why}")

    return run_async(work)


def _print_table(rows: list[list[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(rows[0][0], padding=(0, 0, 0, 1), box=box.SIMPLE_HEAD)
    for heading in rows[0][1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows[1:]:
        table.add_row(*row)
    Console().print(table)


def _compare(options: argparse.Namespace) -> int:
    from lakh.bench import page
    from lakh.bench import report as pages
    from lakh.cli import Failure

    try:
        one, two = (pages.decode(path.read_bytes()) for path in (options.a, options.b))
        rows = pages.compare(one, two)
        if options.report is not None:
            options.report.write_text(page.render_comparison(one, two))
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise Failure(f"cannot compare {options.a} and {options.b}: {e}") from e
    _print_table(rows)
    return 0
