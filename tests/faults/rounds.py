"""One round: servers up, clients at work, faults, a last crash, settle, judge.

All that is drawn comes from the round's seed: the limits, the number of clients, what they call, the faults and
their times. The operating system's timing is not drawn, so a seed repeats the plan, not the interleaving; what
happened is in the history file, which can be judged again.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path
from typing import NamedTuple

import uvloop

from .faults import FILE_FAULTS, Injector
from .history import UNKNOWN, History
from .topology import FileTopology, ServerDied, can_mount
from .traffic import PARTITIONS, Stuck, Traffic
from .validators import Verdict, Violation, judge

TOPOLOGIES = {"file": FileTopology}
"""By engine. Another engine adds its topology, its faults and its injector here."""
LAST_FAULTS = ("kill", "power_cut", "kill_twice")
"""One of them ends the traffic: what is judged in the end has gone through a restart."""


class Plan(NamedTuple):
    """What a seed means."""

    seed: int
    engine: str
    seconds: float
    workers: int
    small: bool  # small limits: segments, snapshots, pieces
    small_disk: bool
    faults: int
    bug: str = ""  # planted, see `server`

    def to_dict(self) -> dict[str, str | int | float | bool]:
        """For the history."""
        return {**self._asdict(), "compacts": self.small}


def plan(seed: int, engine: str = "file", seconds: float | None = None, bug: str = "") -> Plan:
    """The plan of a seed."""
    rng = random.Random(f"plan-{seed}")
    drawn_seconds = rng.uniform(2.0, 5.0)
    return Plan(
        seed=seed,
        engine=engine,
        seconds=seconds or drawn_seconds,
        workers=rng.choice((4, 8, 12)),
        small=rng.random() < 0.6,
        small_disk=rng.random() < 0.4 and can_mount(),
        faults=rng.randint(1, 4),
        bug=bug,
    )


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
            f"seed {history.seed}: {len(history.operations)} operations ({self.unknown} unknown), "
            f"{len(history.listings)} lists, {len(history.segments)} watches, {events} events, "
            f"faults {', '.join(fault.kind for fault in history.faults)}; "
            f"{len(self.verdict.violations)} violations"
        )


def run(drawn: Plan, directory: Path) -> Outcome:
    """Carry a plan out in a new directory. The directory is removed unless something was found."""
    directory.mkdir(parents=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        history, broken = runner.run(_run(drawn, directory))
    verdict = judge(history)
    verdict = Verdict([*broken, *verdict.violations], verdict.undecided)
    if verdict.violations:
        history.dump(directory / "history.json")
        (directory / "violations.txt").write_text("\n".join(map(str, verdict.violations)) + "\n")
    else:
        shutil.rmtree(directory)
    return Outcome(history, verdict)


async def _run(drawn: Plan, directory: Path) -> tuple[History, list[Violation]]:
    rng = random.Random(f"faults-{drawn.seed}")
    history = History(drawn.seed, drawn.to_dict(), PARTITIONS)
    topology = TOPOLOGIES[drawn.engine](
        directory, small=drawn.small, small_disk=drawn.small_disk, bug=drawn.bug
    )
    broken: list[Violation] = []
    traffic: Traffic | None = None
    try:
        topology.start()
        traffic = Traffic(history, topology.kubeconfigs, drawn.seed, drawn.workers)
        await traffic.prepare()
        traffic.start()
        injector = Injector(topology, traffic, rng)
        history.faults = injector.notes
        await _inject(injector, drawn, rng)
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


def kinds(drawn: Plan) -> list[str]:
    """The faults of a plan, the last one after the traffic's time."""
    rng = random.Random(f"kinds-{drawn.seed}")
    weights = {
        kind: weight for kind, weight in FILE_FAULTS.items() if drawn.small_disk or kind != "full_disk"
    }
    return [*rng.choices(list(weights), list(weights.values()), k=drawn.faults), rng.choice(LAST_FAULTS)]


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
