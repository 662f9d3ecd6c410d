"""TCP ports for servers under test.

The kernel gives a port that was free a moment ago to the next that asks for any: another server, or an outgoing connection. So these come from below its
range, each once, and each process of a parallel run has a block of its own.
"""

from __future__ import annotations

import os
import socket
from itertools import count

FIRST, BLOCK = 12_000, 5_000
"""Four blocks, below the 32,768 at which Linux begins to give ports to whoever asks for any."""

_worker = int("".join(c for c in os.environ.get("PYTEST_XDIST_WORKER", "") if c.isdigit()) or 0)
# Runs beside each other begin at different places.
_next = count(os.getpid() * 101)


def free_port() -> int:
    """A port that nobody listens on, and that no other call in this run is given."""
    for _ in range(BLOCK):
        port = FIRST + _worker % 4 * BLOCK + next(_next) % BLOCK
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError("no free port")
