"""What the conformance tests stand on: a real cluster in processes of its own, and the stock kubectl.

A `Cluster` is `lakh up` on a free port in a directory of its own; a `Server` is `lakh apiserver` alone. Both are started as a user starts
them, and are killed by their process id when a test needs a crash. Nothing sleeps to be on the safe side: everything that takes time is
polled with a deadline (`eventually`), and what the processes wrote is shown when a deadline passes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.ports import free_port

T = TypeVar("T")

# Limits are for what never comes: a machine with much other work takes ten times as long as one without.
START_SECONDS = 240.0
STOP_SECONDS = 120.0
WAIT_SECONDS = 240.0
POLL_SECONDS = 0.05
KUBECTL_WAIT = "--timeout=240s"
COMMAND_SECONDS = 300.0
LOG_TAIL_CHARS = 3000


def eventually(probe: Callable[[], T], what: str = "", *, seconds: float = WAIT_SECONDS) -> T:
    """What `probe` returns once it is true and raises no AssertionError; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        reason: object = "it stayed false"
        try:
            value = probe()
            if value:
                return value
        except AssertionError as e:
            reason = e
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or probe} did not come true in {seconds:.0f} s: {reason}")
        time.sleep(POLL_SECONDS)


class Process:
    """A `lakh` command with its output in a file."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.output = directory / "output.txt"
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lakh", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def text(self) -> str:
        """What the command has printed."""
        return self.output.read_text(errors="replace")

    def until(self, line: str, seconds: float = START_SECONDS) -> None:
        """Waits until the output holds `line`; fails with everything that was written when it does not come."""
        deadline = time.monotonic() + seconds
        while line not in self.text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                state = (
                    f"ended with code {self.process.returncode}"
                    if self.process.returncode is not None
                    else "runs"
                )
                self.stop()
                raise AssertionError(
                    f"no {line!r} within {seconds:.0f} s (the process {state})\n{self.evidence()}"
                )
            time.sleep(POLL_SECONDS)

    def evidence(self) -> str:
        """The ends of the output and of all log files."""
        parts = [f"--- {self.output.name}\n{self.text()[-LOG_TAIL_CHARS:]}"]
        for file in sorted(self.directory.glob("**/logs/*")):
            parts.append(f"--- {file.name}\n{file.read_text(errors='replace')[-LOG_TAIL_CHARS:]}")
        return "\n".join(parts)

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGINT, as Ctrl-C; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode


class Server(Process):
    """`lakh apiserver` alone."""

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self.data = directory / "data"
        self.port = port or free_port()
        self.kubeconfig = self.data / "kubeconfig"
        super().__init__(directory, "apiserver", "--data-dir", str(self.data), "--port", str(self.port))

    def ready(self) -> Server:
        """This server, once it serves."""
        self.until("serving https://")
        return self


class Cluster(Process):
    """`lakh up` with simulated nodes."""

    def __init__(self, directory: Path, nodes: int, *options: str) -> None:
        self.data = directory / "data"
        self.port = free_port()
        self.kubeconfig = self.data / "kubeconfig"
        super().__init__(
            directory,
            *("up", "--data-dir", str(self.data), "--port", str(self.port)),
            *("--nodes", str(nodes), *options),
        )

    def ready(self) -> Cluster:
        """This cluster, once its nodes are Ready."""
        self.until("ready:")
        return self


@dataclass(frozen=True)
class Output:
    """What a command did."""

    command: str
    stdout: str
    stderr: str
    code: int

    @property
    def lines(self) -> list[str]:
        """Lines of standard output."""
        return self.stdout.splitlines()

    @property
    def header(self) -> list[str]:
        """The first line, cut where two blanks or more are: column titles may hold one."""
        return [c.strip() for c in self.lines[0].split("  ") if c.strip()]

    @property
    def rows(self) -> list[list[str]]:
        """The lines after the header, cut like it."""
        return [[c.strip() for c in line.split("  ") if c.strip()] for line in self.lines[1:]]

    def __str__(self) -> str:
        return f"$ {self.command}\n{self.stdout}{self.stderr}(exit code {self.code})"


class Kubectl:
    """The stock kubectl on a cluster, in one namespace."""

    def __init__(self, kubeconfig: Path, home: Path, namespace: str = "") -> None:
        self.kubeconfig = kubeconfig
        self.home = home
        self.namespace = namespace

    @staticmethod
    def available() -> bool:
        """Whether there is a kubectl at all."""
        return shutil.which("kubectl") is not None

    def within(self, namespace: str) -> Kubectl:
        """The same in another namespace."""
        return Kubectl(self.kubeconfig, self.home, namespace)

    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        """No settings of whoever runs the tests leak in; discovery is cached per cluster."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "KUBECONFIG": str(self.kubeconfig),
            "KUBECACHEDIR": str(self.home / "cache"),
            **(extra or {}),
        }

    def arguments(self, arguments: tuple[str, ...]) -> list[str]:
        """The whole command line. `kubectl wait` is patient unless told otherwise: by itself it gives up after 30 s."""
        if arguments[0] == "wait" and not any(a.startswith("--timeout=") for a in arguments):
            arguments = (*arguments, KUBECTL_WAIT)
        return ["kubectl", *(["-n", self.namespace] if self.namespace else []), *arguments]

    def __call__(
        self,
        *arguments: str,
        input: str | dict[str, Any] | list[dict[str, Any]] | None = None,  # noqa: A002
        code: int | None = 0,
        env: dict[str, str] | None = None,
        seconds: float = COMMAND_SECONDS,
    ) -> Output:
        """Runs it; fails unless it ends with `code` (None: any). Objects as `input` become a List."""
        if isinstance(input, list):
            input = {"apiVersion": "v1", "kind": "List", "items": input}  # noqa: A001
        text = json.dumps(input) if isinstance(input, dict) else input
        line = self.arguments(arguments)
        done = subprocess.run(
            line,
            input=text if text is not None else "",
            capture_output=True,
            text=True,
            timeout=seconds,
            env=self.environment(env),
            cwd=self.home,
        )
        output = Output(" ".join(line), done.stdout, done.stderr, done.returncode)
        if code is not None and output.code != code:
            raise AssertionError(f"exit code {output.code} instead of {code}\n{output}")
        return output

    def json(self, *arguments: str) -> Any:
        """The parsed output of a command with `-o json`."""
        return json.loads(self(*arguments, "-o", "json").stdout)

    @contextlib.contextmanager
    def following(self, *arguments: str) -> Iterator[Following]:
        """A command that goes on (`get --watch`); killed at the end."""
        following = Following(self.arguments(arguments), self.environment(), self.home)
        try:
            yield following
        finally:
            following.stop()


class Following:
    """A running command whose lines are gathered as they come."""

    def __init__(self, line: list[str], environment: dict[str, str], home: Path) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=home
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def until(self, *words: str, seconds: float = WAIT_SECONDS) -> str:
        """The first line that holds all of `words`, once it has come."""
        return eventually(
            lambda: next((line for line in list(self.lines) if all(w in line for w in words)), ""),
            f"a line with {words} among {self.lines}",
            seconds=seconds,
        )

    def stop(self) -> None:
        """Ends the command."""
        self.process.kill()
        self.process.wait()
        self.reader.join(STOP_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
