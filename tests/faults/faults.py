"""What goes wrong, and when: drawn from a seed, carried out one after the other.

Everywhere:

| kind | what is done |
| --- | --- |
| `clients_pause` | watchers do not read for a while, then go on |
| `hang_up` | all watches are broken by the clients at once |

File engine:

| kind | what is done |
| --- | --- |
| `kill` | SIGKILL, start again |
| `kill_twice` | SIGKILL, start again, SIGKILL while it recovers, start again |
| `power_cut` | SIGKILL while syncs are slow; unsynced bytes and names are cut, garbled or kept; start again |
| `terminate` | SIGTERM, start again |
| `pause` | SIGSTOP, SIGCONT: requests time out at the client and are carried out later |
| `slow_disk` | each sync takes up to 60 ms more for a while |
| `full_disk` | the file system is full but for a few KiB for a while; sometimes SIGKILL while it is |

NATS, with one or several of each kind of server:

| kind | what is done |
| --- | --- |
| `kill_server` | SIGKILL to an API server, mostly the writer of some partition; started again after a while |
| `kill_servers` | SIGKILL to all API servers at once |
| `kill_twice` | SIGKILL to a writer, and to the same server again while it recovers |
| `terminate_server` | SIGTERM to a writer, started again |
| `pause_server` | SIGSTOP to an API server for less than a takeover takes |
| `pause_writer` | SIGSTOP to a writer until others have taken over, SIGCONT: it must do no harm |
| `kill_nats` | SIGKILL to a NATS server, started again after a while |
| `kill_leader` | the same to the leader of a partition's stream |
| `kill_quorum` | SIGKILL to all NATS servers but one: nothing can be written; then they come back |
| `kill_nats_all` | SIGKILL to all NATS servers at once |
| `kill_both` | SIGKILL to a writer and to the leader of its stream |
| `pause_nats`, `pause_leader` | SIGSTOP and SIGCONT to a NATS server, the leader of a stream: it may believe for a moment that it still leads |
| `roll_nats` | SIGTERM to one NATS server after the other, each started again |
| `slow_nats` | all NATS servers stop for some ms again and again, as on a slow disk |
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
    from .nats_nodes import NatsNode
    from .process import Process
    from .topology import FileTopology, NatsTopology, Topology
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
NATS_FAULTS = {
    "kill_server": 4,
    "kill_twice": 2,
    "terminate_server": 1,
    "pause_server": 2,
    "kill_nats": 5,
    "kill_both": 3,
    "pause_nats": 3,
    "roll_nats": 1,
    "slow_nats": 2,
    "clients_pause": 1,
    "hang_up": 1,
}
CLUSTER_FAULTS = {
    "kill_server": 5,
    "kill_servers": 1,
    "kill_twice": 1,
    "terminate_server": 2,
    "pause_server": 2,
    "pause_writer": 5,
    "kill_nats": 2,
    "kill_leader": 3,
    "kill_quorum": 1,
    "kill_nats_all": 1,
    "kill_both": 2,
    "pause_nats": 1,
    "pause_leader": 3,
    "roll_nats": 1,
    "slow_nats": 1,
    "clients_pause": 1,
    "hang_up": 1,
}

SLOW_SYNC_SECONDS = 0.06
OVERTAKEN_SECONDS = (4.0, 8.0)
"""For so long a writer is paused that others must have taken over."""
ELECTION_SECONDS = (0.2, 7.0)
"""For so long a NATS server is away: from less than the others need to elect a leader (4 to 9 s) to more."""


class Injector:
    """Carries faults out and notes them."""

    def __init__(self, topology: Topology, traffic: Traffic, rng: random.Random) -> None:
        self._topology = topology
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
        await self._call(self._topology.check)

    async def _call(self, function: Callable[[], object]) -> None:
        """What waits for a process must not hold up the clients."""
        await asyncio.get_running_loop().run_in_executor(None, function)

    async def _rest(self, low: float, high: float) -> float:
        seconds = self.rng.uniform(low, high)
        await asyncio.sleep(seconds)
        return seconds

    async def _clients_pause(self) -> None:
        self.traffic.reading.clear()
        await self._rest(0.3, 1.0)
        self.traffic.reading.set()

    async def _hang_up(self) -> None:
        self.traffic.hang_up()


class FileInjector(Injector):
    """For one server on the file engine."""

    def __init__(self, topology: FileTopology, traffic: Traffic, rng: random.Random) -> None:
        super().__init__(topology, traffic, rng)
        self.topology = topology

    async def _kill(self) -> None:
        await self._call(self.topology.server.kill)
        await self._rest(0.0, 0.2)
        await self._call(self.topology.start)

    async def _kill_twice(self) -> str:
        server = self.topology.server
        await self._call(server.kill)
        server.spawn()
        seconds = await self._rest(0.0, 0.6)
        await self._call(server.kill)
        await self._call(self.topology.start)
        return f"the second after {seconds:.2f} s"

    async def _power_cut(self) -> str:
        self.topology.delay_syncs(SLOW_SYNC_SECONDS)
        await self._rest(0.1, 0.3)
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
        await self._rest(0.3, 1.0)
        self.topology.delay_syncs(0)

    async def _full_disk(self) -> str:
        kill = self.rng.random() < 0.4
        spare = self.topology.fill_disk(self.rng)
        await self._rest(0.1, 0.8)
        if kill:
            await self._call(self.topology.server.kill)
        self.topology.free_disk()
        if kill:
            await self._call(self.topology.start)
        return f"{spare} bytes left{', killed' if kill else ''}"


class NatsInjector(Injector):
    """For API servers on NATS servers."""

    def __init__(self, topology: NatsTopology, traffic: Traffic, rng: random.Random) -> None:
        super().__init__(topology, traffic, rng)
        self.topology = topology

    async def _some_server(self, writer: float) -> tuple[int, list[str]]:
        """A server's number and the partitions it writes; with that chance one that writes some."""
        writers = await self.traffic.writers()
        number = self.rng.randrange(len(self.topology.servers))
        if writers and self.rng.random() < writer:
            number = writers[self.rng.choice(sorted(writers))]
        return number, sorted(partition for partition, at in writers.items() if at == number)

    async def _some_node(self, *, leader: bool) -> tuple[NatsNode, list[str]]:
        """A NATS server and the partitions whose stream it leads."""
        leaders = await self._leaders()
        node = self.rng.choice(self.topology.nats.nodes)
        if leaders and leader:
            node = leaders[self.rng.choice(sorted(leaders))]
        return node, sorted(partition for partition, at in leaders.items() if at is node)

    async def _leaders(self) -> dict[str, NatsNode]:
        leaders: dict[str, NatsNode] = {}
        await self._call(lambda: leaders.update(self.topology.leaders()))
        return leaders

    def _struck(self, partitions: list[str]) -> None:
        """Now they have lost their writer, or their stream its leader."""
        self.notes[-1].time = time.monotonic()
        self.notes[-1].orphaned = partitions

    async def _ready(self) -> None:
        """Mostly the next fault waits until the NATS servers have recovered from this one."""
        await self._call(self.topology.nats.start if self.rng.random() < 0.7 else self.topology.nats.spawn)

    # API servers

    async def _kill_server(self) -> str:
        number, orphaned = await self._some_server(0.8)
        self._struck(orphaned)
        await self._call(self.topology.servers[number].kill)
        seconds = await self._rest(0.0, 5.0 if len(self.topology.servers) > 1 else 0.2)
        await self._call(self.topology.start_servers)
        return f"server {number} for {seconds:.1f} s"

    async def _kill_servers(self) -> None:
        self._struck([])
        for server in self.topology.servers:
            await self._call(server.kill)
        await self._call(self.topology.start_servers)

    async def _kill_twice(self) -> str:
        number, orphaned = await self._some_server(0.8)
        server = self.topology.servers[number]
        self._struck(orphaned)
        await self._call(server.kill)
        server.spawn()
        seconds = await self._rest(0.0, 1.5)
        await self._call(server.kill)
        await self._call(self.topology.start_servers)
        return f"server {number}, the second after {seconds:.2f} s"

    async def _terminate_server(self) -> str:
        number, orphaned = await self._some_server(0.8)
        self._struck(orphaned)
        code: list[int] = []
        await self._call(lambda: code.append(self.topology.servers[number].terminate()))
        await self._rest(0.0, 1.0)
        await self._call(self.topology.start_servers)
        return f"server {number}, exit code {code[0]}"

    async def _pause_server(self) -> str:
        number, _ = await self._some_server(0.5)
        seconds = self.rng.choice((0.05, 0.3, 1.0))
        await self._stop(self.topology.servers[number], seconds)
        return f"server {number} for {seconds} s"

    async def _pause_writer(self) -> str:
        number, orphaned = await self._some_server(1.0)
        self._struck(orphaned)
        seconds = self.rng.uniform(*OVERTAKEN_SECONDS)
        await self._stop(self.topology.servers[number], seconds)
        return f"server {number} for {seconds:.1f} s"

    async def _stop(self, process: Process, seconds: float) -> None:
        process.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            process.signal(signal.SIGCONT)

    # NATS servers

    async def _kill_nats(self) -> str:
        return await self._kill_node(leader=False)

    async def _kill_leader(self) -> str:
        return await self._kill_node(leader=True)

    async def _kill_node(self, *, leader: bool) -> str:
        node, led = await self._some_node(leader=leader)
        self._struck(led)
        await self._call(node.kill)
        seconds = await self._away()
        await self._ready()
        return f"{node.name} for {seconds:.1f} s"

    async def _away(self) -> float:
        alone = len(self.topology.nats.nodes) == 1
        return await self._rest(0.0, 1.0) if alone else await self._rest(*ELECTION_SECONDS)

    async def _kill_quorum(self) -> str:
        spared = self.rng.choice(self.topology.nats.nodes)
        leaders = await self._leaders()
        self._struck(sorted(partition for partition, at in leaders.items() if at is not spared))
        for node in self.topology.nats.nodes:
            if node is not spared:
                await self._call(node.kill)
        seconds = await self._rest(0.2, 3.0)
        await self._ready()
        return f"all but {spared.name} for {seconds:.1f} s"

    async def _kill_nats_all(self) -> str:
        self._struck([])
        for node in self.topology.nats.nodes:
            await self._call(node.kill)
        seconds = await self._rest(0.0, 1.0)
        await self._ready()
        return f"for {seconds:.1f} s"

    async def _kill_both(self) -> str:
        number, orphaned = await self._some_server(1.0)
        node, led = await self._some_node(leader=True)
        self._struck(sorted({*orphaned, *led}))
        await self._call(node.kill)
        await self._call(self.topology.servers[number].kill)
        seconds = await self._away()
        await self._ready()
        await self._call(self.topology.start_servers)
        return f"server {number} and {node.name} for {seconds:.1f} s"

    async def _pause_nats(self) -> str:
        return await self._pause_node(leader=False)

    async def _pause_leader(self) -> str:
        return await self._pause_node(leader=True)

    async def _pause_node(self, *, leader: bool) -> str:
        node, led = await self._some_node(leader=leader)
        seconds = self.rng.choice((0.1, 1.0, 2.5))
        if len(self.topology.nats.nodes) > 1:
            seconds = self.rng.choice((0.3, 2.5, 10.0))
        self._struck(led)
        await self._stop(node, seconds)
        return f"{node.name} for {seconds} s"

    async def _roll_nats(self) -> None:
        self._struck([])
        for node in self.topology.nats.nodes:
            await self._call(node.terminate)
            await self._call(self.topology.nats.start)

    async def _slow_nats(self) -> str:
        until = time.monotonic() + self.rng.uniform(0.5, 1.5)
        times = 0
        while time.monotonic() < until:
            for node in self.topology.nats.nodes:
                node.signal(signal.SIGSTOP)
            await self._rest(0.005, 0.06)
            for node in self.topology.nats.nodes:
                node.signal(signal.SIGCONT)
            await self._rest(0.002, 0.01)
            times += 1
        return f"{times} times"
