from __future__ import annotations

import asyncio
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lakh.bench import cluster, phases
from lakh.bench.phases import Run, Tracker
from lakh.client.client import Client
from lakh.client.kubeconfig import Config
from lakh.client.resources import Resource
from lakh.progress import Progress


def fleet(returncode: int | None) -> asyncio.subprocess.Process:
    return cast(asyncio.subprocess.Process, SimpleNamespace(returncode=returncode))


async def test_a_wait_ends_with_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "ENDED_CHECK_SECONDS", 0)
    client = Client(Config(server="http://127.0.0.1:1"), user_agent="test")
    why = ["", "", "memory: less than 0.75 GB left", ""]
    run = Run(client, "default", 3, ("cpu", 1), 1, 0.0, 1e9, Progress(StringIO()), lambda: why.pop(0))
    assert (await run.until("something", lambda: 2, 3))[1] is False
    assert run.stopped == "memory: less than 0.75 GB left" and why == [""]
    assert (await run.until("something else", lambda: 2, 3))[1] is False, "nothing is waited for any more"
    assert (await run.until("what is there", lambda: 3, 3))[1] is True
    await client.close()


async def test_nodes_are_watched_until_they_are_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[str] = []

    class Still:
        def __init__(self, client: Client, resource: Resource, view: type, **_: object) -> None:
            self.name = resource.plural

        def add_handler(self, **_: object) -> None: ...

        async def run(self) -> None:
            running.append(self.name)
            try:
                await asyncio.Event().wait()
            finally:
                running.remove(self.name)

    monkeypatch.setattr(phases, "Informer", Still)
    tracker = Tracker(cast(Client, None), "default")
    task = asyncio.create_task(tracker.run())
    while len(running) < 2:
        await asyncio.sleep(0)
    tracker.ready.add("n1")
    tracker.nodes_are_ready()
    while len(running) > 1:
        await asyncio.sleep(0)
    assert running == ["pods"] and tracker.ready == {"n1"} and not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert running == []


def test_why_the_load_cannot_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "nodes.log"
    log.write_text("INFO begun\nerror: no such thing\n")
    assert cluster.why_ended(fleet(None), log) == ""
    assert cluster.why_ended(fleet(1), log) == "the fleet has ended: error: no such thing"
    log.write_text("")
    assert cluster.why_ended(fleet(-9), log) == "the fleet has ended: exit code -9"
    monkeypatch.setattr(cluster, "available_bytes", lambda: 7e8)
    assert cluster.why_ended(fleet(None), log) == "memory: less than 0.75 GB left"


def test_one_job_has_as_many_workers_as_may_be() -> None:
    assert phases.pretraining_jobs(1000) == {"pretraining": 1000}
    assert phases.pretraining_jobs(100_000) == {"pretraining": 100_000}
    split = phases.pretraining_jobs(250_001)
    assert split == {"pretraining": 100_000, "pretraining-1": 100_000, "pretraining-2": 50_001}


class SmallPods:
    """Ten small pods; a deleted one is gone at once, and its replacement runs when somebody has waited for it."""

    def __init__(self) -> None:
        self.items = {
            f"ns/small-{n}": SimpleNamespace(metadata=SimpleNamespace(name=f"small-{n}")) for n in range(10)
        }
        self.up = 10
        self.waited_for = 0

    async def delete(self, _resource: Any, name: str, _namespace: str, **_: Any) -> None:
        del self.items[f"ns/{name}"]
        self.up -= 1
        await asyncio.sleep(0)

    async def until(self, _what: str, done: Any, total: int, _seconds: float) -> tuple[float, bool]:
        self.waited_for = total
        while done() < total:
            self.up += 1
        return 1.5, True


async def test_a_churn_is_over_when_all_that_ran_before_run_again() -> None:
    small = SmallPods()
    run = SimpleNamespace(
        client=small,
        namespace="ns",
        deadline_seconds=1.0,
        until=small.until,
        progress=SimpleNamespace(show=lambda text: None),
        tracker=SimpleNamespace(
            pods=small, running=lambda group: small.up, present=lambda group: len(small.items)
        ),
    )
    found = await phases.churn(run, 60.0)  # type: ignore[arg-type]
    assert (found["deleted"], found["settled_seconds"]) == (10, 1.5)
    assert small.waited_for == small.up == 10
