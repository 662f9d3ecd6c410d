"""`lakh bench`: the commands."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


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
    api.add_argument("--seconds", type=float, default=10.0, help="length of each phase (default: 10)")
    api.add_argument(
        "--rate",
        type=float,
        default=0.0,
        help="offer so many requests a second instead of as many as possible",
    )
    listing = kind("list", "a list of many pods")
    listing.add_argument("--objects", type=_positive, default=17500, help="how many (default: 17500)")
    watch = kind("watch", "events to many watchers")
    watch.add_argument("--watchers", type=_positive, default=100, help="how many (default: 100)")
    watch.add_argument("--seconds", type=float, default=10.0, help="how long to write (default: 10)")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("not positive")
    return number


_positive.__name__ = "positive number"


def _run(options: argparse.Namespace) -> int:
    from lakh.bench import api, reads
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
                case _:
                    report = await reads.run_watch(options, progress)
                    rows = [list(report), [str(v) for v in report.values()]]
        except ClientError as e:
            raise Failure(str(e)) from e
        finally:
            progress.close()
        if options.json:
            print(json.dumps(report))
            return
        table = Table(*rows[0])
        for row in rows[1:]:
            table.add_row(*row)
        Console().print(table)

    return run_async(work)
