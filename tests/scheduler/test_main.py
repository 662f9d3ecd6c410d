"""The entry point, with informers that never answer."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from lakh.client.errors import ClientClosed
from lakh.client.writer import Writer
from lakh.scheduler import main


class SilentClient:
    """No request is ever answered; or each fails for good."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def writer(self) -> Writer:
        return Writer(None, None, 0.0)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **how: Any) -> Any:
            if self.error is not None:
                raise self.error
            await asyncio.get_running_loop().create_future()

        return call


async def test_runs_until_cancelled_and_leaves_nothing_behind() -> None:
    thresholds = gc.get_threshold()
    task = asyncio.create_task(main.run(SilentClient()))  # type: ignore[arg-type]
    for _ in range(5):
        await asyncio.sleep(0)
    assert gc.get_threshold() == main.COLLECTOR_THRESHOLDS
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gc.get_threshold() == thresholds
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_ends_when_its_client_is_closed() -> None:
    with pytest.raises(ClientClosed):
        await main.run(SilentClient(ClientClosed("closed")))  # type: ignore[arg-type]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_lost_lease_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class LostLease:
        def __init__(self, *args: Any, **how: Any) -> None:
            assert args[1:3] == ("kube-scheduler", "kube-system")
            assert args[3] == "me"

        async def run(self) -> None:
            return

    monkeypatch.setattr(main, "LeaderElector", LostLease)
    with pytest.raises(main.LeadershipLostError):
        await main.run(SilentClient(), leader_elect=True, identity="me")  # type: ignore[arg-type]


def test_identities_differ() -> None:
    assert main.default_identity() != main.default_identity()
