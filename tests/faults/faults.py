"""What goes wrong, and when: drawn from a seed, carried out one after the other.

| kind | what is done |
| --- | --- |
| `kill` | SIGKILL, start again |
| `kill_twice` | SIGKILL, start again, SIGKILL while it recovers, start again |
| `power_cut` | SIGKILL while syncs are slow; unsynced bytes and names are cut, garbled or kept; start again |
| `terminate` | SIGTERM, start again |
| `pause` | SIGSTOP, SIGCONT: requests time out at the client and are carried out later |
| `slow_disk` | each sync takes up to 60 ms more for a while |
| `full_disk` | the file system is full but for a few KiB for a while; sometimes SIGKILL while it is |
| `clients_pause` | watchers do not read for a while, then go on |
| `hang_up` | all watches are broken by the clients at once |
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .history import Injected

if TYPE_CHECKING:
    from .topology import FileTopology
    from .traffic import Traffic

FILE_FAULTS = {
    "kill": 3,
    "kill_twice": 2,
    "power_cut": 5,
    "terminate": 1,
    "pause": 2,
    "slow_disk": 2,
    "full_disk": 3,
    "clients_pause": 1,
    "hang_up": 1,
}

SLOW_SYNC_SECONDS = 0.06


class Injector:
    """Carries faults out on the file engine's topology and notes them."""

    def __init__(self, topology: FileTopology, traffic: Traffic, rng: random.Random) -> None:
        self.topology = topology
        self.traffic = traffic
        self.rng = rng
        self.notes: list[Injected] = []

    async def inject(self, kind: str) -> None:
        """One fault, from its beginning to the recovery. Raises ServerDied."""
        note = Injected(time.monotonic(), kind, done=False)
        self.notes.append(note)
        await asyncio.sleep(0)
        note.detail = await getattr(self, f"_{kind}")() or ""
        note.done = True
        await self._call(self.topology.check)

    async def _call(self, function: Callable[[], object]) -> None:
        """What waits for a process must not hold up the clients."""
        await asyncio.get_running_loop().run_in_executor(None, function)

    async def _kill(self) -> None:
        await self._call(self.topology.server.kill)
        await asyncio.sleep(self.rng.random() * 0.2)
        await self._call(self.topology.start)

    async def _kill_twice(self) -> str:
        server = self.topology.server
        await self._call(server.kill)
        seconds = self.rng.uniform(0.0, 0.6)
        server.spawn()
        await asyncio.sleep(seconds)
        await self._call(server.kill)
        await self._call(self.topology.start)
        return f"the second after {seconds:.2f} s"

    async def _power_cut(self) -> str:
        self.topology.delay_syncs(SLOW_SYNC_SECONDS)
        await asyncio.sleep(self.rng.uniform(0.1, 0.3))
        await self._call(self.topology.server.kill)
        self.topology.delay_syncs(0)
        done = self.topology.cut_power(self.rng)
        await self._call(self.topology.start)
        return done

    async def _terminate(self) -> str:
        code: list[int] = []
        await self._call(lambda: code.append(self.topology.server.terminate()))
        await self._call(self.topology.start)
        return f"exit code {code[0]}"

    async def _pause(self) -> str:
        seconds = self.rng.choice((0.05, 0.3, 1.0, 2.0))
        self.topology.server.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self.topology.server.signal(signal.SIGCONT)
        return f"{seconds} s"

    async def _slow_disk(self) -> None:
        self.topology.delay_syncs(SLOW_SYNC_SECONDS)
        await asyncio.sleep(self.rng.uniform(0.3, 1.0))
        self.topology.delay_syncs(0)

    async def _full_disk(self) -> str:
        kill = self.rng.random() < 0.4
        spare = self.topology.fill_disk(self.rng)
        await asyncio.sleep(self.rng.uniform(0.1, 0.8))
        if kill:
            await self._call(self.topology.server.kill)
        self.topology.free_disk()
        if kill:
            await self._call(self.topology.start)
        return f"{spare} bytes left{', killed' if kill else ''}"

    async def _clients_pause(self) -> None:
        self.traffic.reading.clear()
        await asyncio.sleep(self.rng.uniform(0.3, 1.0))
        self.traffic.reading.set()

    async def _hang_up(self) -> None:
        self.traffic.hang_up()
