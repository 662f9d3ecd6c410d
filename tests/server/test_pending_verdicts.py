"""An answer that rests on a write which is still on its way to disk waits for it: a crash could take it back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from lakh.store.memory_journal import MemoryJournal

from .harness import Answer, Api

LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
TURNS = 20
"""Of the event loop: enough for anything that does not wait for the disk."""


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    started = await Api.start()
    yield started
    _journal(started).release()
    await started.stop()


def _journal(api: Api) -> MemoryJournal:
    journal = api.server.cluster.partitions["leases"]._journal
    assert isinstance(journal, MemoryJournal)
    return journal


async def _turn() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


Call = Callable[[Api, dict[str, Any]], Awaitable[Answer]]

CALLS: dict[str, tuple[Call, int]] = {
    "put with a version, of a kind that PUT creates": (lambda api, obj: api.put(f"{LEASES}/a", obj), 400),
    "patch": (lambda api, obj: api.patch(f"{LEASES}/a", {"metadata": {"labels": {"x": "y"}}}), 404),
    "delete": (lambda api, obj: api.delete(f"{LEASES}/a"), 404),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_refusal_waits_for_the_deletion_it_rests_on(api: Api, name: str) -> None:
    call, status = CALLS[name]
    lease = {"metadata": {"name": "a"}, "spec": {"holderIdentity": "me"}}
    created = (await api.post(LEASES, lease)).json
    _journal(api).hold()
    deleting = asyncio.create_task(api.delete(f"{LEASES}/a"))
    await _turn()
    answering = asyncio.ensure_future(call(api, created))
    await _turn()
    assert not answering.done(), answering.result()
    assert (await api.get(f"{LEASES}/a")).status == 200, "reads show what is durable"
    _journal(api).release()
    assert (await deleting).status == 200
    assert (await answering).status == status
