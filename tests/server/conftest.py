"""The server's tests run on uvloop, as the server does."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest
import uvloop

from lakh.machinery import times


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def seconds_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each write is made in another second than the one before, as upstream's tests have it by a sleep."""
    clock = itertools.count(1_800_000_000)
    monkeypatch.setattr(times, "now", lambda: times.of_seconds(next(clock)))
