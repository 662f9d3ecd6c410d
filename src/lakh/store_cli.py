"""`lakh store check|dump|restore`: a data directory looked at, exported and imported while no server runs.
`lakh store backup`: the same export from a server that runs, whatever its engine.

DIR is a server's data directory, the `journal` folder in it, or the journal of one partition. `check` and `dump` change
nothing, a torn tail is left as it is. What a dump looks like is in `lakh.store.dump`.

Nothing is there by halves: files and directories get their names when they are whole. A server refuses a directory in
which a restore was interrupted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lakh.progress import Progress
from lakh.server.backup import PATH as BACKUP_PATH
from lakh.server.engine import JOURNALS, MARKER, RESTORING
from lakh.store.codec import encode_snapshot
from lakh.store.directory import DirectoryLock, fsync_directory, make_directory
from lakh.store.dump import (
    DumpError,
    encode_complete,
    encode_end,
    encode_head,
    encode_item,
    is_complete,
    items_announced,
    read_dump,
)
from lakh.store.errors import StoreError
from lakh.store.file_journal import FileJournal
from lakh.store.partition import Partition
from lakh.store.state import Item

PROGRESS_AFTER_SECONDS = 2.0
"""Shorter work shows no progress."""


def run(options: argparse.Namespace) -> int:
    """What the command line asks for; the exit code. Raises Failure."""
    from lakh.cli import Failure, run_async
    from lakh.client.errors import ClientError

    async def work() -> None:
        progress = Progress(sys.stderr)
        try:
            match options.what:
                case "check":
                    await _check(options.directory, progress)
                case "dump":
                    await _dump(options, progress)
                case "backup":
                    await _backup(options, progress)
                case _:
                    await _restore_from(options, progress)
        except (StoreError, ClientError, OSError, DumpError, _BadDump) as error:
            raise Failure(str(error)) from error
        finally:
            progress.close()

    return run_async(work)


class _BadDump(Exception):
    """The directory is none, or is not to be overwritten; the backup ended early."""


def journals(directory: Path) -> list[Path]:
    """The journals' directories in a data directory. Raises FileNotFoundError and _BadDump."""
    if not directory.is_dir():
        raise FileNotFoundError(f"there is no directory {directory}")
    if _is_journal(directory):
        return [directory]
    folder = directory / JOURNALS
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


@contextmanager
def _output(path: Path | None) -> Iterator[BinaryIO]:
    """Where a dump goes. A file gets its name when it is whole and on disk."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    temporary.rename(path)
    fsync_directory(path.absolute().parent)


async def _dump(options: argparse.Namespace, progress: Progress) -> None:
    paths = journals(options.directory)
    with _output(options.output) as out:
        for path in paths:
            _, partition = await _open(path, progress)
            items = partition.items()
            out.write(encode_head(path.name, partition.revision, len(items)))
            for item in items:
                out.write(encode_item(item))
            out.write(encode_end(path.name))
            await partition.close()
        out.write(encode_complete(len(paths)))


async def _backup(options: argparse.Namespace, progress: Progress) -> None:
    from lakh.cli import kubeconfig_path
    from lakh.client.client import Client
    from lakh.client.watch import LineSplitter

    path = kubeconfig_path(options.kubeconfig)
    begin = time.monotonic()
    async with Client.from_kubeconfig(path, user_agent="lakh-backup") as client:
        stream = await client.stream(BACKUP_PATH)
        splitter, name, due, done, size_bytes, complete = LineSplitter(), "", 0, 0, 0, False
        said: list[str] = []
        try:
            with _output(options.output) as out:
                while chunk := await stream.read():
                    out.write(chunk)
                    size_bytes += len(chunk)
                    for line in splitter.feed(chunk):
                        head = items_announced(line)
                        if head is not None:
                            (name, due), done = head, 0
                            said.append(f"{name}: {due} items")
                        else:
                            done += 1
                            complete = is_complete(line)
                    if time.monotonic() - begin >= PROGRESS_AFTER_SECONDS:
                        progress.bar(f"backing up {name}", min(done, due), due)
                if not complete:
                    raise _BadDump("the server ended the backup early; nothing was kept")
        finally:
            stream.close()
    progress.close()
    print("\n".join([*said, f"{size_bytes} bytes"]), file=sys.stderr, flush=True)


async def _restore_from(options: argparse.Namespace, progress: Progress) -> None:
    if options.input is None:
        await _restore(options, sys.stdin.buffer, progress)
        return
    with options.input.open("rb") as source:
        await _restore(options, source, progress)


async def _restore(options: argparse.Namespace, source: BinaryIO, progress: Progress) -> None:
    """All or nothing: the journals are made beside their place and get it, with one rename, when they are whole."""
    directory: Path = options.directory
    target, building = directory / JOURNALS, directory / RESTORING
    if target.exists() and any(target.iterdir()):
        raise _BadDump(f"{target} is not empty: restore into a new directory")
    marker = directory / MARKER
    if marker.is_file() and marker.read_text().strip() != "file":
        raise _BadDump(f"{directory} is not of the file engine")
    make_directory(directory)
    lock = DirectoryLock(directory)
    try:
        if building.exists():
            print(f"removing {building}, left by a restore that was interrupted", file=sys.stderr)
            # Not the directory itself: while it is there, no server takes D for an empty cluster.
            for leftover in building.iterdir():
                shutil.rmtree(leftover)
        building.mkdir(mode=0o700, exist_ok=True)
        fsync_directory(directory)
        lines = _counted(source, options.input, progress)
        restored = []
        for part in read_dump(lines, options.bump_revision):
            await _write_journal(building / part.name, part.revision, part.items)
            restored.append(f"{part.name}: {len(part.items)} items at revision {part.revision}")
        fsync_directory(building)
        if target.exists():
            target.rmdir()
        building.rename(target)
        fsync_directory(directory)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    finally:
        lock.release()
    progress.close()
    print("\n".join(restored), flush=True)


def _counted(source: BinaryIO, path: Path | None, progress: Progress) -> Iterator[bytes]:
    """The lines, with progress by bytes when it is known how many there are."""
    total = path.stat().st_size if path is not None else 0
    show, done = _bar(progress, "restoring"), 0
    for line in source:
        yield line
        done += len(line)
        if total:
            show(done, total)


async def _write_journal(path: Path, revision: int, items: list[Item]) -> None:
    journal = await FileJournal.open(path)
    try:
        await journal.snapshot(0, encode_snapshot(revision, items))
    finally:
        await journal.close()
