"""`lakh store check|dump|restore`: a data directory looked at, exported and imported while no server runs.

DIR is a server's data directory, the `journal` folder in it, or the journal of one partition. `check` and `dump` change
nothing, a torn tail is left as it is.

A dump is JSON lines, one partition after the other, each between a head and an end:

    {"partition":"pods","revision":17,"items":1}
    {"key":"pods/default/web-0","value":{"metadata":…},"terms":["spec.nodeName=n1"],"createRevision":5,"revision":17}
    {"end":"pods"}

A value that is JSON on one line is given as it is, byte for byte, any other as `valueBase64`.
"""

from __future__ import annotations

import argparse
import base64
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from lakh.progress import Progress
from lakh.store.codec import encode_snapshot
from lakh.store.errors import StoreError
from lakh.store.file_journal import FileJournal
from lakh.store.partition import Partition
from lakh.store.state import Item

PROGRESS_AFTER_SECONDS = 2.0
"""Shorter work shows no progress."""


class _Line(msgspec.Struct, omit_defaults=True):
    """A line of a dump: a head, an item or an end."""

    partition: str = ""
    items: int = 0
    key: str = ""
    value: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    valueBase64: str | None = None
    terms: list[str] = []
    createRevision: int = 0
    revision: int = 0
    end: str = ""


_decode_line = msgspec.json.Decoder(_Line).decode
_encode = msgspec.json.encode


def add_parser(commands: Any) -> None:
    """Adds `store` to the command line."""
    store: argparse.ArgumentParser = commands.add_parser(
        "store", help="check, export and import a data directory while no server runs"
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
    from lakh.cli import Failure, run_async

    async def work() -> None:
        progress = Progress(sys.stderr)
        try:
            match options.what:
                case "check":
                    await _check(options.directory, progress)
                case "dump":
                    await _dump_to(options, progress)
                case _:
                    await _restore_from(options, progress)
        except (StoreError, OSError, _BadDump) as error:
            raise Failure(str(error)) from error
        finally:
            progress.close()

    return run_async(work)


class _BadDump(Exception):
    """The dump cannot be imported, or the directory is none."""


def journals(directory: Path) -> list[Path]:
    """The journals' directories in a data directory. Raises FileNotFoundError and _BadDump."""
    if not directory.is_dir():
        raise FileNotFoundError(f"there is no directory {directory}")
    if _is_journal(directory):
        return [directory]
    folder = directory / "journal"
    found = sorted(path for path in (folder if folder.is_dir() else directory).iterdir() if _is_journal(path))
    if not found:
        raise _BadDump(f"{directory} has no journal")
    return found


def _is_journal(path: Path) -> bool:
    return path.is_dir() and (any(path.glob("*.log")) or any(path.glob("*.snapshot")))


def _bar(progress: Progress, what: str) -> Callable[[int, int], None]:
    begin = time.monotonic()

    def show(done_bytes: int, total_bytes: int) -> None:
        if time.monotonic() - begin >= PROGRESS_AFTER_SECONDS:
            progress.bar(f"{what} (MiB)", done_bytes >> 20, total_bytes >> 20)

    return show


async def _open(path: Path, progress: Progress) -> tuple[FileJournal, Partition]:
    journal = await FileJournal.open(path, read_only=True)
    return journal, await Partition.open(
        path.name, journal, follow=True, history_events=1, progress=_bar(progress, path.name)
    )


async def _check(directory: Path, progress: Progress) -> None:
    for path in journals(directory):
        journal, partition = await _open(path, progress)
        torn = f"; {journal.torn_bytes} bytes of an append that never finished" if journal.torn_bytes else ""
        progress.close()
        print(
            f"{path.name}: good, revision {partition.revision}, {len(partition.items())} items, "
            f"{journal.size_bytes} bytes, journal sequence {journal.head}{torn}",
            flush=True,
        )
        await partition.close()


async def _dump_to(options: argparse.Namespace, progress: Progress) -> None:
    if options.output is None:
        await _dump(options.directory, sys.stdout.buffer, progress)
        return
    temporary = options.output.with_name(options.output.name + ".tmp")
    with temporary.open("wb") as out:
        await _dump(options.directory, out, progress)
    temporary.rename(options.output)


async def _dump(directory: Path, out: BinaryIO, progress: Progress) -> None:
    for path in journals(directory):
        _, partition = await _open(path, progress)
        items = partition.items()
        head = {"partition": path.name, "revision": partition.revision, "items": len(items)}
        out.write(_encode(head) + b"\n")
        for item in items:
            out.write(_encode_item(item))
        out.write(_encode({"end": path.name}) + b"\n")
        out.flush()
        await partition.close()


def _encode_item(item: Item) -> bytes:
    line: dict[str, Any] = {"key": item.key}
    if _is_plain_json(item.value):
        line["value"] = msgspec.Raw(item.value)
    else:
        line["valueBase64"] = base64.b64encode(item.value).decode()
    line |= {"terms": item.terms, "createRevision": item.create_revision, "revision": item.revision}
    return _encode(line) + b"\n"


def _is_plain_json(value: bytes) -> bool:
    if not value.startswith(b"{") or b"\n" in value or b"\r" in value:
        return False
    try:
        msgspec.json.decode(value, type=msgspec.Raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return value.endswith(b"}")


async def _restore_from(options: argparse.Namespace, progress: Progress) -> None:
    if options.input is None:
        await _restore(options, sys.stdin.buffer, progress)
        return
    with options.input.open("rb") as source:
        await _restore(options, source, progress)


async def _restore(options: argparse.Namespace, source: BinaryIO, progress: Progress) -> None:
    target: Path = options.directory / "journal"
    if target.exists() and any(target.iterdir()):
        raise _BadDump(f"{target} is not empty: restore into a new directory")
    head: _Line | None = None
    items: list[Item] = []
    bump = options.bump_revision
    seen = 0
    for number, text in enumerate(source, 1):
        try:
            line = _decode_line(text)
            if line.key and head is not None:
                encoded = line.valueBase64
                value = bytes(line.value) if encoded is None else base64.b64decode(encoded, validate=True)
                items.append(
                    Item(line.key, value, tuple(line.terms), line.createRevision + bump, line.revision + bump)
                )
                continue
        except (msgspec.MsgspecError, ValueError) as error:
            raise _BadDump(f"line {number} is no line of a dump: {error}") from error
        if line.partition and head is None and "/" not in line.partition:
            head, items = line, []
        elif head is not None and line.end == head.partition:
            if len(items) != head.items:
                raise _BadDump(
                    f"line {number}: {len(items)} items of {head.partition} instead of {head.items}"
                )
            await _write_journal(target / head.partition, head.revision + bump, items)
            progress.close()
            print(f"{head.partition}: {len(items)} items at revision {head.revision + bump}", flush=True)
            head = None
            seen += 1
        else:
            raise _BadDump(f"line {number} is out of place")
    if head is not None or not seen:
        raise _BadDump("the dump ends early" if seen or head is not None else "the dump is empty")


async def _write_journal(path: Path, revision: int, items: list[Item]) -> None:
    journal = await FileJournal.open(path)
    try:
        await journal.snapshot(0, encode_snapshot(revision, items))
    finally:
        await journal.close()
