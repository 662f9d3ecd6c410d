"""The servers under test: processes and their disks.

A topology starts servers, names the endpoints that clients use and knows which faults make sense for it. The file
engine has one server that owns one directory. The directory may be a small file system of its own (tmpfs, which
needs root), so that it can be filled up.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

START_SECONDS = 30.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.01
LOG_TAIL_CHARS = 2000
DISK_BYTES = 64 << 20
"""Of the small file system; filled up by ballast when asked."""
SPARE_BYTES_MAX = 24 << 10
"""What ballast leaves free at most: a few writes still fit, the next is cut in the middle."""


class ServerDied(Exception):
    """A server ended by itself, or did not come up: never right, whatever was done to it before."""


class Topology(Protocol):
    """What a round needs of the servers."""

    kubeconfigs: list[Path]

    def start(self) -> None:
        """Bring everything up. Raises ServerDied."""

    def close(self) -> None:
        """End everything."""

    def check(self) -> None:
        """Raises ServerDied when something that should run does not."""

    def evidence(self) -> str:
        """The ends of the servers' logs."""


class Process:
    """One server process that is started again and again on the same data."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.command = command
        self.log = log
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self.process is not None
        return self.process.pid

    def spawn(self) -> None:
        """Start it; does not wait."""
        with self.log.open("ab") as out:
            self._log_start = out.tell()
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.environment
            )

    def serving(self, word: str = "serving https://") -> bool:
        """Whether this start has got to the point. Raises ServerDied."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            if word.encode() in log.read():
                return True
        self.check()
        return False

    def check(self) -> None:
        """Raises ServerDied when it ended by itself."""
        if not self.running:
            code = self.process.returncode if self.process else None
            raise ServerDied(f"{self.command[-5:]} ended with code {code}: {self.tail()}")

    def until_serving(self) -> None:
        """Wait. Raises ServerDied."""
        deadline = time.monotonic() + START_SECONDS
        while not self.serving():
            if time.monotonic() > deadline:
                raise ServerDied(f"not serving after {START_SECONDS} s: {self.tail()}")
            time.sleep(POLL_SECONDS)

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-LOG_TAIL_CHARS:]

    def signal(self, number: int) -> None:
        """Send a signal."""
        if self.running:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def terminate(self) -> int:
        """SIGTERM, and its exit code. Raises ServerDied when it does not end."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerDied(f"did not stop in {STOP_SECONDS} s: {self.tail()}") from None


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class FileTopology:
    """One API server on the file engine."""

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
            [sys.executable, "-m", "tests.faults.server", str(self.control)]
            + (["--small"] if small else [])
            + (["--break", bug] if bug else [])
            + ["--", "apiserver", "--data-dir", str(self.data), "--port", str(port)],
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
        stats = os.statvfs(self.data)
        size = max(0, stats.f_bavail * stats.f_frsize - spare)
        with self.ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size // stats.f_frsize * stats.f_frsize or 1)
        return spare

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
    """Do to the bytes beyond `synced` what a disk may do that was never told to keep them."""
    size = path.stat().st_size
    if size <= synced:
        return ""
    with path.open("r+b") as file:
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


def can_mount() -> bool:
    """Whether small file systems can be had."""
    return os.geteuid() == 0 and Path("/bin/mount").exists()
