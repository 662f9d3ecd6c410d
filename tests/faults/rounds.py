"""One round: servers up, clients at work, faults, a last crash, settle, judge.

All that is drawn comes from the round's seed: the limits, the number of clients, what they call, the faults and
their times. The operating system's timing is not drawn, so a seed repeats the plan, not the interleaving; what
happened is in the history file, which can be judged again.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from .faults import CLUSTER_FAULTS, FILE_FAULTS, NATS_FAULTS, FileInjector, Injector, NatsInjector
from .history import UNKNOWN, History
from .process import ServerDied
from .topology import FileTopology, NatsTopology, Topology, can_mount
from .traffic import PARTITIONS, Stuck, Traffic
from .validators import Verdict, Violation, judge

TOPOLOGIES = ("file", "nats", "cluster")
FAULTS = {"file": FILE_FAULTS, "nats": NATS_FAULTS, "cluster": CLUSTER_FAULTS}
LAST_FAULTS = {
    "file": ("kill", "power_cut", "kill_twice"),
    "nats": ("kill_server", "kill_nats", "kill_both"),
    "cluster": ("kill_server", "kill_servers", "kill_nats_all", "kill_both"),
}
"""One of them ends the traffic: what is judged in the end has gone through a restart."""
SECONDS = {"file": (2.0, 5.0), "nats": (2.0, 5.0), "cluster": (4.0, 9.0)}
"""Of traffic: in a cluster an election takes its time."""


class Plan(NamedTuple):
    """What a seed means."""

    seed: int
    topology: str
    servers: int
    seconds: float
    workers: int
    small: bool  # small limits: segments, snapshots, pieces
    small_disk: bool
    faults: int
    bug: str = ""  # planted, see `server`

    def to_dict(self) -> dict[str, str | int | float | bool]:
        """For the history."""
        return {**self._asdict(), "compacts": self.small}


def plan(seed: int, topology: str = "file", seconds: float | None = None, bug: str = "") -> Plan:
    """The plan of a seed."""
    rng = random.Random(f"plan-{seed}")
    drawn_seconds = rng.uniform(*SECONDS[topology])
    return Plan(
        seed=seed,
        topology=topology,
        servers=1,
        seconds=seconds or drawn_seconds,
        workers=rng.choice((4, 8, 12)),
        small=rng.random() < 0.6,
        small_disk=rng.random() < 0.4 and topology == "file" and can_mount(),
        faults=rng.randint(1, 4 if topology != "cluster" else 3),
        bug=bug,
    )._replace(servers=rng.choice((2, 3)) if topology == "cluster" else 1)


class Outcome(NamedTuple):
    """A round's history and what the validators say."""

    history: History
    verdict: Verdict

    @property
    def unknown(self) -> int:
        """Writes whose outcome the clients do not know."""
        return sum(op.outcome == UNKNOWN and op.verb != "get" for op in self.history.operations)

    def line(self) -> str:
        """One line about it."""
        history = self.history
        events = sum(len(segment.events) for segment in history.segments)
        return (
            f"seed {history.seed} {history.plan['topology']}: {len(history.operations)} operations ({self.unknown} unknown), "
            f"{len(history.listings)} lists, {len(history.segments)} watches, {events} events, "
            f"faults {', '.join(fault.kind for fault in history.faults)}; "
            f"{len(self.verdict.violations)} violations"
        )


def run(drawn: Plan, directory: Path) -> Outcome:
    """Carry a plan out in a new directory. The directory is removed unless something was found."""
    directory.mkdir(parents=True)
    with asyncio.Runner(loop_factory=_loop) as runner:
        history, broken = runner.run(_run(drawn, directory))
    verdict = judge(history)
    verdict = Verdict([*broken, *verdict.violations], verdict.hard)
    if verdict.violations or verdict.undecided:
        history.dump(directory / "history.json")
        (directory / "violations.txt").write_text("\n".join(map(str, verdict.violations)) + "\n")
    else:
        shutil.rmtree(directory)
    return Outcome(history, verdict)


def _loop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()

    def complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # uvloop says so of connections that their server has broken and we have closed.
        if "Fatal error on SSL protocol" not in context["message"]:
            loop.default_exception_handler(context)

    loop.set_exception_handler(complain)
    return loop


async def _run(drawn: Plan, directory: Path) -> tuple[History, list[Violation]]:
    rng = random.Random(f"faults-{drawn.seed}")
    history = History(drawn.seed, drawn.to_dict(), PARTITIONS)
    topology, make_injector = _bring_up(drawn, directory)
    broken: list[Violation] = []
    traffic: Traffic | None = None
    try:
        topology.start()
        traffic = Traffic(history, topology.kubeconfigs, drawn.seed, drawn.workers, topology.settle_seconds)
        await traffic.prepare()
        traffic.start()
        injector = make_injector(traffic, rng)
        history.faults = injector.notes
        await _inject(injector, drawn, rng)
        await traffic.worked()
        await traffic.settle()
        topology.check()
    except ServerDied as error:
        broken.append(Violation("recovers", str(error)))
    except Stuck as error:
        broken.append(Violation("recovers", f"{error}\n{topology.evidence()}"))
    finally:
        if traffic is not None:
            await traffic.close()
        await asyncio.get_running_loop().run_in_executor(None, topology.close)
    return history, broken


def _bring_up(drawn: Plan, directory: Path) -> tuple[Topology, Callable[[Traffic, random.Random], Injector]]:
    """The servers, not started, and who mistreats them."""
    if drawn.topology == "file":
        one = FileTopology(directory, small=drawn.small, small_disk=drawn.small_disk, bug=drawn.bug)
        return one, lambda traffic, rng: FileInjector(one, traffic, rng)
    some = NatsTopology(
        directory,
        small=drawn.small,
        nodes=1 if drawn.topology == "nats" else 3,
        servers=drawn.servers,
        bug=drawn.bug,
    )
    return some, lambda traffic, rng: NatsInjector(some, traffic, rng)


def kinds(drawn: Plan) -> list[str]:
    """The faults of a plan, the last one after the traffic's time."""
    rng = random.Random(f"kinds-{drawn.seed}")
    weights = {
        kind: weight
        for kind, weight in FAULTS[drawn.topology].items()
        if drawn.small_disk or kind != "full_disk"
    }
    return [
        *rng.choices(list(weights), list(weights.values()), k=drawn.faults),
        rng.choice(LAST_FAULTS[drawn.topology]),
    ]


async def _inject(injector: Injector, drawn: Plan, rng: random.Random) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    *during, last = kinds(drawn)
    times = sorted(rng.uniform(0.2, drawn.seconds - 0.3) for _ in during)
    for at, kind in zip(times, during, strict=True):
        await asyncio.sleep(max(0.0, begun + at - loop.time()))
        await injector.inject(kind)
    await asyncio.sleep(max(0.2, begun + drawn.seconds - loop.time()))
    await injector.inject(last)
    await asyncio.sleep(0.3)
