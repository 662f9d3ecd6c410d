"""Choosing controllers, and keeping them running."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fake_client import FakeClient, make_context

from lakh.controllers import main
from lakh.controllers.replicaset import ReplicaSetController


def test_select() -> None:
    assert main.select(["*"]) == list(main.CONTROLLERS)
    assert main.select(["job-controller"]) == ["job-controller"]
    assert "job-controller" not in main.select(["*", "-job-controller"])
    with pytest.raises(main.UnknownControllerError, match='"nope" is not in the list of known controllers'):
        main.select(["nope"])


def test_every_controller_can_be_built(client: FakeClient) -> None:
    context = make_context(client)
    for make in main.CONTROLLERS.values():
        controller = make(context)
        controller.resync()
        assert main.CONTROLLERS[controller.name] is make


async def test_a_controller_waits_for_its_own_informers(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(client)
    controller = ReplicaSetController(context)
    needed = context.informers.asked()
    assert len(needed) == 2
    assert context.informers.asked() == []
    started = asyncio.Event()

    async def run() -> None:
        started.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(controller, "run", run)
    needed[0].synced.clear()
    task = asyncio.create_task(main.start(controller, needed, set()))
    await asyncio.sleep(0)
    assert not started.is_set()
    needed[0].synced.set()
    await asyncio.wait_for(started.wait(), 120)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_crashed_controller_is_started_again(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(main, "MIN_BACKOFF_SECONDS", 0.0)
    controller = ReplicaSetController(make_context(client))
    runs: list[int] = []
    third = asyncio.Event()

    async def run(*_: Any) -> None:
        runs.append(1)
        if len(runs) < 3:
            raise RuntimeError("boom")
        third.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(controller, "run", run)
    task = asyncio.create_task(main.keep_running(controller))
    await asyncio.wait_for(third.wait(), 120)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert caplog.text.count("replicaset-controller has crashed") == 2
