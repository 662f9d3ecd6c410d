"""Lists and watches of the past: served from the window, refused in upstream's words outside of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from lakh.server import watching
from lakh.store.state import Event, Item
from tests.server.harness import CONFIGMAPS, Api, configmap


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    started = await Api.start()
    # A window of twenty events.
    started.server.cluster.partitions["default"]._state.history.max_events = 20
    yield started
    await started.stop()


async def fill(api: Api, begin: int, end: int) -> None:
    for n in range(begin, end):
        await api.post(CONFIGMAPS, configmap(f"c{n:03d}"))


async def test_a_list_of_the_past(api: Api) -> None:
    await fill(api, 0, 5)
    then = (await api.get(CONFIGMAPS)).json["metadata"]["resourceVersion"]
    exact = f"{CONFIGMAPS}?resourceVersion={then}&resourceVersionMatch=Exact"
    await fill(api, 5, 10)
    assert len((await api.get(exact)).json["items"]) == 5
    await fill(api, 10, 40)
    refused = await api.get(exact)
    assert (refused.status, refused.json["reason"]) == (410, "Expired")
    assert refused.json["message"] == "The resourceVersion for the provided list is too old."
    assert refused.json["metadata"] == {}


async def test_a_continue_token_that_is_too_old_gives_another(api: Api) -> None:
    await fill(api, 0, 10)
    first = (await api.get(f"{CONFIGMAPS}?limit=4")).json
    await fill(api, 10, 50)
    refused = await api.get(f"{CONFIGMAPS}?limit=4&continue={quote(first['metadata']['continue'])}")
    assert (refused.status, refused.json["reason"]) == (410, "Expired")
    assert refused.json["message"].startswith(
        "The provided continue parameter is too old to display a consistent"
    )
    # Whoever can do with an inconsistent list goes on with what the refusal says.
    token = refused.json["metadata"]["continue"]
    rest = (await api.get(f"{CONFIGMAPS}?limit=100&continue={quote(token)}")).json
    names = [i["metadata"]["name"] for i in first["items"] + rest["items"]]
    assert names == [f"c{n:03d}" for n in range(50)]
    assert int(rest["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])


async def test_a_watch_from_before_the_window(api: Api) -> None:
    await fill(api, 0, 40)
    partition = api.server.cluster.partitions["default"]
    (event,) = (await api.watch(f"{CONFIGMAPS}?watch=1&resourceVersion=3")).lines()
    status = event["object"]
    assert (event["type"], status["code"], status["reason"]) == ("ERROR", 410, "Expired")
    assert status["message"] == f"too old resource version: 3 ({partition.oldest_revision})"
    seen = await api.watch(f"{CONFIGMAPS}?watch=1&resourceVersion={partition.oldest_revision}")
    assert [e["type"] for e in await seen.until(20)] == ["ADDED"] * 20


async def test_a_watch_of_the_future(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakh.server.consistency.REACH_SECONDS", 0.01)
    now = api.server.cluster.partitions["default"].revision
    for path in (
        f"{CONFIGMAPS}?resourceVersion={now + 9}",
        f"{CONFIGMAPS}?watch=1&resourceVersion={now + 9}",
    ):
        answer = await api.get(path)
        assert answer.status == 504
        assert answer.json["message"] == f"Too large resource version: {now + 9}, current: {now}"
        assert answer.json["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_a_client_that_reads_no_initial_objects_is_cut_off(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "HELD_EVENTS", 5)
    stream = await api.watch(
        f"{CONFIGMAPS}?watch=1&resourceVersion={api.server.cluster.partitions['default'].revision}"
    )
    (watcher,) = api.server.watching._watchers
    watcher.held = []  # as while its initial objects are written
    await fill(api, 0, 5)
    assert not stream.closed
    await fill(api, 5, 6)
    assert stream.closed and len(api.server.watching) == 0
    line = b'apiserver_terminated_watchers_total{group="",resource="configmaps"} 1\n'
    assert line in (await api.get("/metrics")).body


async def test_what_was_missed_is_sent_in_pieces(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a window full of it does not hold the loop; what happens meanwhile follows, and nothing comes twice."""
    monkeypatch.setattr(watching, "INITIAL_CHUNK", 3)
    start = api.server.cluster.partitions["default"].revision
    await fill(api, 0, 11)
    tell, pieces = watching.Watcher._tell, []

    def told(watcher: watching.Watcher, stream: Any, events: list[Event]) -> None:
        pieces.append([event.revision for event in events])
        if len(pieces) < 3:
            new = configmap(f"meanwhile-{len(pieces)}")
            posts.append(asyncio.create_task(api.post(CONFIGMAPS, new)))
        tell(watcher, stream, events)

    posts: list[asyncio.Task[Any]] = []
    monkeypatch.setattr(watching.Watcher, "_tell", told)
    stream = await api.watch(f"{CONFIGMAPS}?watch=1&resourceVersion={start}")
    events = await stream.until(13)
    revisions = [int(e["object"]["metadata"]["resourceVersion"]) for e in events]
    assert revisions == [revision for piece in pieces for revision in piece] == sorted(set(revisions))
    assert [len(piece) for piece in pieces[:3]] == [3, 3, 3]
    assert sum(e["object"]["metadata"]["name"].startswith("meanwhile") for e in events) == 2
    await asyncio.gather(*posts)
    await fill(api, 11, 12)
    assert len(await stream.until(14)) == 14


async def test_what_happened_during_a_list_is_sent_in_pieces(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "INITIAL_CHUNK", 2)
    await fill(api, 0, 3)
    tell, write, pieces = watching.Watcher._tell, watching.Watcher._write_initial, []

    def told(watcher: watching.Watcher, stream: Any, events: list[Event]) -> None:
        pieces.append(len(events))
        tell(watcher, stream, events)

    def written(watcher: watching.Watcher, stream: Any, items: list[Item]) -> None:
        write(watcher, stream, items)
        if not lasting:
            lasting.append(asyncio.create_task(fill(api, 3, 10)))

    async def taken(watcher: watching.Watcher) -> None:
        await lasting[0]
        await send(watcher)

    lasting: list[asyncio.Task[None]] = []
    send = watching.Watcher._send_held
    monkeypatch.setattr(watching.Watcher, "_tell", told)
    monkeypatch.setattr(watching.Watcher, "_write_initial", written)
    monkeypatch.setattr(watching.Watcher, "_send_held", taken)
    stream = await api.watch(f"{CONFIGMAPS}?watch=1")
    names = [e["object"]["metadata"]["name"] for e in await stream.until(10)]
    assert sorted(names[:3]) == ["c000", "c001", "c002"] and names[3:] == [f"c{n:03d}" for n in range(3, 10)]
    assert pieces[:3] == [2, 2, 2]


async def test_a_client_that_leaves_while_it_is_told_what_it_missed(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "INITIAL_CHUNK", 2)
    start = api.server.cluster.partitions["default"].revision
    await fill(api, 0, 9)
    tell, pieces = watching.Watcher._tell, []

    def told(watcher: watching.Watcher, stream: Any, events: list[Event]) -> None:
        pieces.append(len(events))
        tell(watcher, stream, events)
        stream.abort()

    monkeypatch.setattr(watching.Watcher, "_tell", told)
    stream = await api.watch(f"{CONFIGMAPS}?watch=1&resourceVersion={start}")
    assert stream.closed and pieces == [2] and len(api.server.watching) == 0
