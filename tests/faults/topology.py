"""The servers under test: processes and their disks.

A topology starts servers and names the endpoints that clients use:

| topology | what |
| --- | --- |
| `file` | one API server that owns one directory |
| `nats` | one API server on one nats-server (R1) |
| `cluster` | two or three API servers on three nats-servers (R3) |

The directory of the file engine may be a small file system of its own (tmpfs, which needs root), so that it can be
filled up.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Protocol

from tests.ports import free_port

from .nats_nodes import NatsCluster, NatsNode
from .process import Process

DISK_BYTES = 64 << 20
"""Of the small file system; filled up by ballast when asked."""
SPARE_BYTES_MAX = 24 << 10
"""What ballast leaves free at most: a few writes still fit, the next is cut in the middle."""


class Topology(Protocol):
    """What a round needs of the servers."""

    kubeconfigs: list[Path]
    """Of each API server."""
    settle_seconds: float
    """How long it may take after the last fault until everything works again."""

    def start(self) -> None:
        """Bring everything up. Raises ServerDied."""

    def close(self) -> None:
        """End everything."""

    def check(self) -> None:
        """Raises ServerDied when something that should run does not."""

    def evidence(self) -> str:
        """The ends of the servers' logs."""


def _api_server(control: Path, options: list[str], *, small: bool, bug: str) -> list[str]:
    """The command of a server to be mistreated."""
    return (
        [sys.executable, "-m", "tests.faults.server", str(control)]
        + (["--small"] if small else [])
        + (["--break", bug] if bug else [])
        + ["--", "apiserver", *options]
    )


class FileTopology:
    """One API server on the file engine."""

    settle_seconds = 20.0

    def __init__(self, directory: Path, *, small: bool, small_disk: bool, bug: str = "") -> None:
        self.directory = directory
        self.control = directory / "control"
        self.data = directory / "data"
        self.ballast = self.data / "ballast"
        self.kubeconfigs = [self.data / "kubeconfig"]
        self.small_disk = small_disk
        self.data.mkdir(parents=True)
        self.control.mkdir()
        if small_disk:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(self.data)], check=True
            )
        port = free_port()
        self.server = Process(
            _api_server(
                self.control, ["--data-dir", str(self.data), "--port", str(port)], small=small, bug=bug
            ),
            directory / "server.log",
        )

    def start(self) -> None:
        """Start the server and wait until it serves."""
        self.server.spawn()
        self.server.until_serving()

    def close(self) -> None:
        """Kill it, unmount."""
        self.server.signal(signal.SIGCONT)
        self.server.kill()
        if self.small_disk:
            subprocess.run(["umount", str(self.data)], check=True)
            self.small_disk = False

    def check(self) -> None:
        """Raises ServerDied when the server ended by itself."""
        self.server.check()

    def evidence(self) -> str:
        """The end of the server's log."""
        return self.server.tail()

    def delay_syncs(self, seconds: float) -> None:
        """From now on a sync takes up to this much longer."""
        (self.control / "delay").write_text(str(seconds))

    def fill_disk(self, rng: random.Random) -> int:
        """Take the small file system's room but for a few KiB. Returns what is left free."""
        spare = rng.randrange(SPARE_BYTES_MAX)
        held = 0
        with self.ballast.open("wb") as file:
            while True:
                stats = os.statvfs(self.data)
                size = (stats.f_bavail * stats.f_frsize - spare) // stats.f_frsize * stats.f_frsize
                if size <= 0:
                    return spare
                try:
                    os.posix_fallocate(file.fileno(), held, size)
                    held += size
                except OSError as error:
                    # The server writes meanwhile, so that the room may be gone before it is taken: ask again.
                    if error.errno != errno.ENOSPC:
                        raise

    def free_disk(self) -> None:
        """Give the room back."""
        self.ballast.unlink(missing_ok=True)

    def cut_power(self, rng: random.Random) -> str:
        """What a power cut does to the files of the dead server: what was not synced is cut, garbled, or stays."""
        if not (self.control / "ledger").exists():
            return "nothing"
        synced, renamed = _read_ledger(self.control / "ledger")
        done = []
        for source, target in renamed:
            if target.exists() and not source.exists() and rng.random() < 0.5:
                target.rename(source)
                done.append(f"{target.name} has its old name")
        for path in sorted((self.data / "journal").rglob("*")):
            if path.suffix in (".log", ".snapshot"):
                what = _damage(path, synced.get(path.stat().st_ino, 0), rng)
                done += [f"{path.parent.name}/{path.name}: {what}"] if what else []
        return "; ".join(done) or "nothing was unsynced"


def _read_ledger(path: Path) -> tuple[dict[int, int], list[tuple[Path, Path]]]:
    """Synced bytes by inode, and renames that were not made durable."""
    synced: dict[int, int] = {}
    renamed: list[tuple[Path, Path]] = []
    for line in path.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "S":
            inode, size = rest.split()
            synced[int(inode)] = int(size)
        elif kind == "R":
            source, target = rest.split("\t")
            renamed.append((Path(source), Path(target)))
        elif kind == "D":
            renamed = [pair for pair in renamed if str(pair[1].parent) != rest]
    return synced, renamed


def _damage(path: Path, synced: int, rng: random.Random) -> str:
    """Do to the bytes beyond `synced` what a disk may do that was never told to keep them.

    Zeros at the end were there before and are durable: an append among them is lost in whole or in any part, the file stays as long.
    """
    with path.open("r+b") as file:
        content = file.read()
        size = len(content.rstrip(b"\0"))
        if size <= synced:
            return ""
        if size < len(content):
            return _damage_among_zeros(file, synced, size, rng)
        kind = rng.choice(("cut", "cut", "cut and garbage", "cut and zeros", "garbled", "kept"))
        at = rng.randrange(synced, size)
        if kind.startswith("cut"):
            file.truncate(at)
            file.seek(at)
            # Never longer than the file has been: that no crash does, and the journal rightly refuses it.
            count = rng.randint(1, size - at)
            if kind != "cut":
                file.write(rng.randbytes(count) if kind == "cut and garbage" else bytes(count))
        elif kind == "garbled":
            file.seek(at)
            file.write(rng.randbytes(min(size - at, rng.randrange(1, 64))))
    return f"{kind} at {at} of {size}, {synced} synced"


def _damage_among_zeros(file: BinaryIO, synced: int, size: int, rng: random.Random) -> str:
    kind = rng.choice(("cut", "cut", "holes", "holes", "garbled", "kept"))
    at = rng.randrange(synced, size)
    file.seek(at)
    if kind == "cut":
        file.write(bytes(size - at))
    elif kind == "holes":
        for _ in range(rng.randint(1, 4)):
            start = rng.randrange(synced, size)
            file.seek(start)
            file.write(bytes(min(rng.choice((1, 512, 4096)), size - start)))
    elif kind == "garbled":
        file.write(rng.randbytes(min(size - at, rng.randrange(1, 64))))
    return f"{kind} at {at} of {size}, {synced} synced, zeros behind"


class NatsTopology:
    """API servers on NATS servers: one on one, or some on a cluster of three."""

    def __init__(
        self, directory: Path, *, small: bool, nodes: int = 1, servers: int = 1, bug: str = ""
    ) -> None:
        self.directory = directory
        self.settle_seconds = 30.0 if nodes == 1 else 60.0
        self.nats = NatsCluster(directory / "nats", nodes)
        self.servers: list[Process] = []
        self.kubeconfigs: list[Path] = []
        for number in range(servers):
            data, control = directory / f"data-{number}", directory / f"control-{number}"
            data.mkdir()
            control.mkdir()
            options = ["--data-dir", str(data), "--port", str(free_port()), "--engine", "nats"]
            options += ["--cert-dir", str(directory / "pki")]
            options += ["--nats-url", ",".join(self.nats.urls), "--nats-replicas", str(nodes)]
            self.servers.append(
                Process(
                    _api_server(control, options, small=small, bug=bug), directory / f"server-{number}.log"
                )
            )
            self.kubeconfigs.append(data / "kubeconfig")

    def start(self) -> None:
        """Start whatever does not run, and wait until all of it serves."""
        self.nats.start()
        self.start_servers()

    def start_servers(self) -> None:
        """Start the API servers that do not run, and wait for all of them."""
        for server in self.servers:
            if not server.running:
                server.spawn()
        with ThreadPoolExecutor(len(self.servers)) as pool:
            list(pool.map(Process.until_serving, self.servers))

    def close(self) -> None:
        """Kill everything."""
        for process in [*self.servers, *self.nats.nodes]:
            process.kill()

    def check(self) -> None:
        """Raises ServerDied when one ended by itself."""
        for process in [*self.servers, *self.nats.nodes]:
            process.check()

    def evidence(self) -> str:
        """The ends of all logs."""
        logs = [f"server {number}: {server.tail()}" for number, server in enumerate(self.servers)]
        return "\n".join([*logs, self.nats.evidence()])

    def leaders(self) -> dict[str, NatsNode]:
        """Partition → the NATS server that leads its stream."""
        return {
            stream.removeprefix("lakh_"): node
            for stream, node in self.nats.leaders().items()
            if stream.startswith("lakh_")
        }


def can_mount() -> bool:
    """Whether small file systems can be had."""
    return os.geteuid() == 0 and Path("/bin/mount").exists()
