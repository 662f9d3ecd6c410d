"""The command line of `lakh store`. Apart from `store_cli`, which loads the API server: no other command is to wait for that."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Adds `store` to the command line."""
    store: argparse.ArgumentParser = commands.add_parser(
        "store", help="check, export and import a data directory; back up a running server"
    )
    kinds = store.add_subparsers(title="what to do", required=True, metavar="WHAT")

    def kind(name: str, text: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = kinds.add_parser(name, help=text)
        parser.add_argument(
            "directory", type=Path, metavar="DIR", help="data directory, or one journal in it"
        )
        parser.set_defaults(run=_run, what=name)
        return parser

    kind("check", "verify every byte, change nothing")
    dump = kind("dump", "write everything as JSON lines")
    dump.add_argument("--output", type=Path, metavar="FILE", help="where to (default: standard output)")
    backup = kinds.add_parser("backup", help="write everything that a running server holds as JSON lines")
    backup.add_argument("--output", type=Path, metavar="FILE", help="where to (default: standard output)")
    backup.add_argument(
        "--kubeconfig",
        type=Path,
        default=None,
        help="of an administrator (default: $KUBECONFIG or ~/.kube/config)",
    )
    backup.set_defaults(run=_run, what="backup")
    restore = kind("restore", "make a data directory from a dump")
    restore.add_argument("--input", type=Path, metavar="FILE", help="where from (default: standard input)")
    restore.add_argument(
        "--bump-revision",
        type=int,
        default=0,
        metavar="N",
        help="raise revisions by N, so that no client takes an old cache for the present (default: 0)",
    )


def _run(options: argparse.Namespace) -> int:
    from lakh import store_cli

    return store_cli.run(options)
