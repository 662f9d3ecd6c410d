"""Processes under test."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

STOP_SECONDS = 60.0


def pause(pid: int) -> None:
    """Send SIGSTOP to a process and wait until none of its threads runs.

    The signal goes to one thread, and the others run on until that one is given a core: where much else runs they answer
    what is sent to them meanwhile.
    """
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + STOP_SECONDS
    while not stopped(pid):
        assert time.monotonic() < deadline, f"process {pid} does not stop"
        time.sleep(0.001)


def stopped(pid: int) -> bool:
    """Whether all threads of a process are stopped (state T of proc(5))."""
    states = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            stat = (thread / "stat").read_text()
        except FileNotFoundError:  # it has just ended
            continue
        states.append(stat.rpartition(") ")[2][0])
    return all(state == "T" for state in states)
