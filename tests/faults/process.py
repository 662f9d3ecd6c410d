"""A server process that is started again and again on the same data, and mistreated."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

START_SECONDS = 240.0
STOP_SECONDS = 120.0
POLL_SECONDS = 0.01
LOG_TAIL_CHARS = 2000


class ServerDied(Exception):
    """A server ended by itself, or did not come up: never right, whatever was done to it before."""


class Process:
    """One server. `serving` looks for a word in its log."""

    word = "serving https://"

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

    def serving(self) -> bool:
        """Whether this start has got to the point. Raises ServerDied."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            if self.word.encode() in log.read():
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
        return self.log.read_text(errors="replace")[-LOG_TAIL_CHARS:] if self.log.exists() else ""

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
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerDied(f"did not stop in {STOP_SECONDS} s: {self.tail()}") from None
