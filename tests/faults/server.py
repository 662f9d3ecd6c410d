"""A server to be mistreated: `lakh` with small limits, a disk that can be slowed, and a ledger of what was synced.

    python -m tests.faults.server CONTROL [--small] [--break NAME] -- apiserver --data-dir D --port P

The control directory holds `delay` (the longest a sync is held up, in seconds; each takes a random part of it) and
`ledger`, to which is appended what became durable:

    S <inode> <size>     a sync of a file returned; it had this size when the sync began, not counting zeros at its end
    R <from> TAB <to>    a file was renamed; durable with the next D of its directory
    D <directory>        a sync of a directory returned

What is in a file beyond its last S, and an R without a D, is what a power cut may take. A killed process loses
neither, so it is the harness that takes it (see `topology`).

`--small` makes segments, snapshots, pieces of lists and the wait for bookmarks so small that a round of a few
seconds crosses each border many times. A limit that is gone or was renamed is an error, not a silent no-op.

`--break` plants a bug (see BUGS), so that the whole harness can be seen to find it.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import random
import stat
import sys
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

from lakh.store import durable
from lakh.store.durable import RingWriter
from lakh.store.records import used_bytes

SMALL = {
    "lakh.store.partition": {"COMPACT_SLACK_BYTES": 256 << 10},
    "lakh.server.listing": {"PIECE": 3, "SYNCHRONOUS": 4},
    "lakh.server.watching": {"BOOKMARK_SECONDS": 0.3, "SWEEP_SECONDS": 0.1, "INITIAL_CHUNK": 3},
}
SMALL_SEGMENT_BYTES = 96 << 10


def main(arguments: list[str]) -> int:
    """Patch, then run the command."""
    cut = arguments.index("--")
    control = Path(arguments[0])
    watch_disk(control)
    options = arguments[1:cut]
    if "--small" in options:
        make_small()
    if "--break" in options:
        (BUGS | CLUSTER_BUGS)[options[options.index("--break") + 1]]()
    from lakh.cli import main as lakh

    return lakh(arguments[cut + 1 :])


def make_small() -> None:
    """Apply SMALL. Raises when a limit is not there."""
    for module_name, limits in SMALL.items():
        module = importlib.import_module(module_name)
        for name, value in limits.items():
            if not hasattr(module, name):
                raise SystemExit(f"{module_name}.{name} is gone: tell tests/faults/server.py its new name")
            setattr(module, name, value)
    from lakh.store.file_journal import FileJournal

    defaults = FileJournal.open.__func__.__kwdefaults__  # type: ignore[attr-defined]
    if "segment_bytes" not in (defaults or {}):
        raise SystemExit("FileJournal.open has no default of segment_bytes any more")
    defaults["segment_bytes"] = SMALL_SEGMENT_BYTES


def acknowledge_early() -> None:
    """The journal says that a batch is durable before it is synced."""
    sync_in_python()
    os.fdatasync = lambda fd: None  # type: ignore[assignment, misc]


def skip_on_resume() -> None:
    """A resumed watch misses the first event after its revision."""
    from lakh.store.history import History

    since = History.bucket_since
    History.bucket_since = lambda self, bucket, revision: since(self, bucket, revision)[1:]  # type: ignore[method-assign]


def repeat_on_resume() -> None:
    """A resumed watch begins with the event that it has seen last."""
    from lakh.store.history import History

    since = History.bucket_since

    def repeated(self: History, bucket: Any, revision: int) -> list[Any]:
        return since(self, bucket, max(self.oldest, revision - 1))

    History.bucket_since = repeated  # type: ignore[method-assign]


def forget_versions() -> None:
    """An update with an old resourceVersion succeeds."""
    from lakh.server.storage import ResourceStore

    check = ResourceStore._check_identity

    def lax(self: ResourceStore, new: Any, old: Any, namespace: str, name: str) -> None:
        new.resourceVersion = old.resourceVersion
        check(self, new, old, namespace, name)

    ResourceStore._check_identity = lax  # type: ignore[method-assign]


def serve_the_present() -> None:
    """Later pages of a list, and lists of a past revision, show the present under the old revision."""
    from lakh.store.state import State

    range_ = State.range

    def present(self: State, table: str, scope: str | None = None, **options: Any) -> Any:
        return range_(self, table, scope, **{**options, "revision": None})

    State.range = present  # type: ignore[method-assign, assignment]


def skip_the_barrier() -> None:
    """A server answers from what it happens to have, whatever others have acknowledged."""
    from lakh.server.consistency import Barrier

    async def passed(self: Barrier) -> None:
        return None

    Barrier.__call__ = passed  # type: ignore[method-assign]


def forward_twice() -> None:
    """A write that another server sent is sometimes carried out again a moment later."""
    from lakh.server.replication import Replication

    forward = Replication._forward

    async def repeated(self: Replication, *arguments: Any) -> Any:
        answer = await forward(self, *arguments)
        if random.random() < 0.1:
            await asyncio.sleep(0.1)
            answer = await forward(self, *arguments)
        return answer

    Replication._forward = repeated  # type: ignore[method-assign]


def answer_too_soon() -> None:
    """A forwarded write is acknowledged before the server that was asked has it. Followers are 10 ms late, as they may be."""
    from lakh.server.replication import Replication
    from lakh.store.nats_journal import NatsJournal

    Replication._revision = lambda self, partition: (b"x-none", b"0")  # type: ignore[method-assign]
    follow = NatsJournal.follow

    async def late(self: NatsJournal, start: int) -> Any:
        async with aclosing(follow(self, start)) as entries:
            async for entry in entries:
                await asyncio.sleep(0.01)
                yield entry

    NatsJournal.follow = late  # type: ignore[method-assign]


def ignore_fencing() -> None:
    """A writer appends wherever the journal is."""
    from lakh.store.nats_client import NatsClient, Reply
    from lakh.store.nats_journal import NatsJournal

    publish = NatsClient.publish

    async def unfenced(self: Any, subject: str, payload: bytes, headers: Any = None) -> Any:
        if headers is not None:
            headers.pop("Nats-Expected-Last-Sequence", None)
        return await publish(self, subject, payload, headers)

    def appended(self: Any, reply: Reply, sequence: int, size_bytes: int) -> int:
        self._head = max(self._head, reply.seq)
        return reply.seq

    NatsClient.publish = unfenced  # type: ignore[method-assign]
    NatsJournal._appended = appended  # type: ignore[method-assign]


BUGS = {
    bug.__name__: bug
    for bug in (acknowledge_early, skip_on_resume, repeat_on_resume, forget_versions, serve_the_present)
}
CLUSTER_BUGS = {
    bug.__name__: bug for bug in (skip_the_barrier, forward_twice, answer_too_soon, ignore_fencing)
}
"""Of many servers: with the topology `cluster`."""


def sync_in_python() -> None:
    """Appends are synced by `os.fdatasync`, which can be watched, and not by the kernel's ring."""

    def forbidden() -> None:
        raise OSError("no ring under watch")

    durable.RingWriter = forbidden  # type: ignore[assignment, misc]


def used_size(fd: int) -> int:
    """The size of a file, which may be open for writing only, without the zeros at its end."""
    readable = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    try:
        return used_bytes(readable, 0)
    finally:
        os.close(readable)


def watch_disk(control: Path) -> None:
    """Put the ledger and the delay around what makes things durable: system calls, and the kernel's ring."""
    delay_file = control / "delay"
    ledger = os.open(control / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    real_fsync, real_fdatasync, real_rename = os.fsync, os.fdatasync, os.rename
    chance = random.Random()

    def delay() -> float:
        try:
            return chance.random() * float(delay_file.read_text() or 0)
        except (OSError, ValueError):
            return 0.0

    def note(text: str) -> None:
        os.write(ledger, text.encode() + b"\n")

    def synced(fd: int, real: object) -> None:
        found = os.fstat(fd)
        used = used_size(fd) if stat.S_ISREG(found.st_mode) else 0
        time.sleep(delay())
        real(fd)  # type: ignore[operator]
        if stat.S_ISDIR(found.st_mode):
            note(f"D {os.readlink(f'/proc/self/fd/{fd}')}")
        else:
            note(f"S {found.st_ino} {used}")

    def rename(source: str | Path, target: str | Path) -> None:
        real_rename(source, target)
        note(f"R {source}\t{target}")

    os.fsync = lambda fd: synced(fd, real_fsync)  # type: ignore[assignment, misc]
    os.fdatasync = lambda fd: synced(fd, real_fdatasync)  # type: ignore[assignment, misc]
    os.rename = rename  # type: ignore[assignment]

    class WatchedRing(RingWriter):
        """Tells the ledger of a sync before anybody else hears of it, which a slow disk delays."""

        def _finish(self, error: OSError | None) -> None:
            if error is None:
                self._loop.call_later(delay(), self._synced)
            else:
                super()._finish(error)

        def _synced(self) -> None:
            note(f"S {os.fstat(self._file).st_ino} {self._offset}")
            super()._finish(None)

    durable.RingWriter = WatchedRing  # type: ignore[misc]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
