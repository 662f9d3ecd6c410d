"""Invariants: final items equal the server's state, and replaying the handlers' calls gives the items, whatever breaks."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time

import msgspec
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from lakh.client import errors
from lakh.client import informer as informer_module
from lakh.client.informer import Informer
from lakh.client.resources import PODS
from lakh.client.types import ObjectMeta, object_key
from tests.examples import examples


class View(msgspec.Struct, gc=False):
    metadata: ObjectMeta
    x: int = 0


async def no_sleep(_seconds: float) -> None:
    await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running(informer):
    task = asyncio.ensure_future(informer.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, errors.ClientError):
            await task


class Replay:
    """Rebuilds the items from the handlers' calls and complains about calls that do not fit."""

    def __init__(self) -> None:
        self.items: dict[str, View] = {}
        self.calls: list[str] = []
        self.wrong: list[str] = []

    def attach(self, informer) -> Replay:
        informer.add_handler(on_add=self.add, on_update=self.update, on_delete=self.delete)
        return self

    def add(self, obj: View) -> None:
        key = object_key(obj)
        if key in self.items:
            self.wrong.append(f"add of present {key}")
        self.items[key] = obj
        self.calls.append(f"add {key}")

    def update(self, old: View, new: View) -> None:
        key = object_key(new)
        if self.items.get(key) is not old or old.metadata.uid != new.metadata.uid:
            self.wrong.append(f"update of another {key}")
        self.items[key] = new
        self.calls.append(f"update {key}")

    def delete(self, obj: View) -> None:
        key = object_key(obj)
        if self.items.pop(key, None) is None:
            self.wrong.append(f"delete of absent {key}")
        self.calls.append(f"delete {key}")


async def reached(api, informer) -> None:
    """Until the informer has what the server has."""
    async with asyncio.timeout(60):
        while not same(api, informer):
            await asyncio.sleep(0)


def state(items) -> dict[str, tuple[str, str, int]]:
    return {k: (v.metadata.uid, v.metadata.resourceVersion, v.x) for k, v in items.items()}


def server_state(api):
    return {
        key: (obj["metadata"]["uid"], obj["metadata"]["resourceVersion"], obj.get("x", 0))
        for (plural, key), obj in api.objects.items()
        if plural == "pods"
    }


def same(api, informer) -> bool:
    return informer.has_synced and state(informer.items) == server_state(api)


async def test_list_then_watch(api):
    for number in range(25):
        api.put("pods", f"ns/p{number}", x=number)
    async with api.client() as client:
        informer = Informer(client, PODS, View, page_size=10)
        replay = Replay().attach(informer)
        assert not informer.has_synced
        async with running(informer):
            await informer.wait_synced()
            assert len(informer.items) == 25
            assert [r.query.get("limit") for r in api.requests[:3]] == ["10"] * 3
            api.put("pods", "ns/p1", x=100)
            api.remove("pods", "ns/p2")
            api.put("pods", "other/new", x=1)
            await reached(api, informer)
            assert replay.calls[25:] == ["update ns/p1", "delete ns/p2", "add other/new"]
            assert informer.get("p1", "ns").x == 100
            assert state(replay.items) == server_state(api)
            assert replay.wrong == []


async def test_indexes_follow(api):
    api.put("pods", "ns/a", x=1)
    api.put("pods", "ns/b", x=1)
    async with api.client() as client:
        informer = Informer(client, PODS, View)
        informer.add_index("x", lambda view: [str(view.x), "all"])
        async with running(informer):
            await informer.wait_synced()
            assert [v.metadata.name for v in informer.by_index("x", "1")] == ["a", "b"]
            api.put("pods", "ns/a", x=2)
            api.remove("pods", "ns/b")
            await reached(api, informer)
            assert informer.by_index("x", "1") == []
            assert [v.metadata.name for v in informer.by_index("x", "2")] == ["a"]
            assert informer.by_index("x", "all") == [informer.items["ns/a"]]
            informer.add_index("late", lambda view: [view.metadata.namespace])
            assert len(informer.by_index("late", "ns")) == 1
            with pytest.raises(ValueError, match="exists"):
                informer.add_index("late", lambda view: [])


async def test_a_broken_watch_is_resumed_without_a_list(api):
    api.put("pods", "ns/a")
    async with api.client() as client:
        informer = Informer(client, PODS, View, sleep=no_sleep)
        async with running(informer):
            await informer.wait_synced()
            await api.until(lambda: api.watchers)
            api.break_connections()
            api.put("pods", "ns/b")
            await reached(api, informer)
            assert informer.lists == 1


@pytest.mark.parametrize("seed", [0, 1, 2, 3], ids=["s0", "s1", "s2", "s3"])
async def test_410_lists_anew_and_delivers_the_difference(fake_api, seed):
    async with fake_api(seed) as api, api.client() as client:
        for name in "abc":
            api.put("pods", f"ns/{name}")
        informer = Informer(client, PODS, View, sleep=no_sleep)
        replay = Replay().attach(informer)
        async with running(informer):
            await informer.wait_synced()
            await api.until(lambda: api.watchers)
            api.break_connections()
            api.put("pods", "ns/a", x=1)
            api.remove("pods", "ns/b")
            api.remove("pods", "ns/c")
            api.put("pods", "ns/c")
            api.put("pods", "ns/d")
            api.compact()
            await reached(api, informer)
            assert informer.lists == 2
            assert sorted(replay.calls[3:]) == [
                "add ns/c",
                "add ns/d",
                "delete ns/b",
                "delete ns/c",
                "update ns/a",
            ]
            assert replay.wrong == []


async def test_bookmarks_move_the_place_to_resume(api):
    api.put("pods", "ns/a")
    async with api.client() as client:
        informer = Informer(client, PODS, View, sleep=no_sleep)
        async with running(informer):
            await informer.wait_synced()
            await api.until(lambda: api.watchers)
            api.revision = 500
            api.oldest = 400
            api.say({"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": {"resourceVersion": "500"}}})
            while informer.resource_version != "500":
                await asyncio.sleep(0)
            api.break_connections()
            api.put("pods", "ns/b")
            await reached(api, informer)
            assert informer.lists == 1
            assert [r.query["resourceVersion"] for r in api.requests if "watch" in r.query][-1] == "500"


async def test_handler_errors_are_logged_and_stop_nothing(api, caplog):
    api.put("pods", "ns/a")

    def broken(*_: object) -> None:
        raise RuntimeError("broken handler")

    async with api.client() as client:
        informer = Informer(client, PODS, View)
        informer.add_handler(on_add=broken, on_update=broken, on_delete=broken)
        replay = Replay().attach(informer)
        async with running(informer):
            await informer.wait_synced()
            api.put("pods", "ns/a", x=1)
            api.remove("pods", "ns/a")
            api.put("pods", "ns/b")
            await reached(api, informer)
    assert replay.calls == ["add ns/a", "update ns/a", "delete ns/a", "add ns/b"]
    assert "broken handler" in caplog.text


async def test_versions_of_an_object_share_their_names_and_what_share_says(api):
    seen: list[tuple[View | None, View]] = []
    api.put("pods", "ns/a")
    async with api.client() as client:
        informer = Informer(client, PODS, View, share=lambda old, new: seen.append((old, new)))
        informer.add_index("namespace", lambda item: [item.metadata.namespace])
        replay = Replay().attach(informer)
        async with running(informer):
            await informer.wait_synced()
            first = informer.get("a", "ns")
            api.put("pods", "ns/a", x=1)
            await reached(api, informer)
    second = informer.get("a", "ns")
    assert seen == [(None, first), (first, second)]
    assert second is not first and second.x == 1
    assert second.metadata.uid is first.metadata.uid
    assert second.metadata.name is first.metadata.name
    assert informer.by_index("namespace", "ns") == [second]
    assert replay.items["ns/a"] is second and not replay.wrong


async def test_what_is_listed_anew_unchanged_is_not_kept_twice(api):
    api.put("pods", "ns/a")
    api.put("pods", "ns/b")
    async with api.client() as client:
        informer = Informer(client, PODS, View)
        await informer._list()
        before = dict(informer.items)
        api.put("pods", "ns/b", x=1)
        fresh, _ = await informer._fetch(None, informer_module._Yielder())
    assert fresh["ns/a"] is before["ns/a"]
    assert fresh["ns/b"].x == 1 and before["ns/b"].x == 0


async def test_a_late_handler_gets_all_items(api):
    api.put("pods", "ns/a")
    async with api.client() as client:
        informer = Informer(client, PODS, View)
        async with running(informer):
            await informer.wait_synced()
            replay = Replay().attach(informer)
            assert replay.calls == ["add ns/a"]


async def test_paging_that_outlives_the_history_falls_back_to_one_list(api):
    for number in range(5):
        api.put("pods", f"ns/p{number}")
    async with api.client() as client:
        informer = Informer(client, PODS, View, page_size=2, sleep=no_sleep)
        api.faults += [None, api.Reply(410, b'{"kind":"Status","code":410,"reason":"Expired"}')]
        async with running(informer):
            await reached(api, informer)
        assert [r.query.get("limit") for r in api.requests[:3]] == ["2", "2", None]


async def test_errors_back_off_and_are_survived(api):
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    async with api.client() as client:
        api.faults += [api.Reply(403, b"no")] * 6
        informer = Informer(client, PODS, View, sleep=sleep)
        async with running(informer):
            await informer.wait_synced()
    assert len(slept) >= 6
    for number, seconds in enumerate(slept[:6]):
        assert 0.05 * 2**number <= seconds <= 0.15 * 2**number


async def test_ends_when_the_client_is_closed(api):
    async with api.client() as client:
        informer = Informer(client, PODS, View)
        task = asyncio.ensure_future(informer.run())
        await informer.wait_synced()
    with pytest.raises(errors.ClientClosed):
        await task


async def test_a_burst_does_not_starve_the_loop(api):
    longest = 0.0

    async def observe() -> None:
        nonlocal longest
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest = max(longest, now - last)
            last = now

    turns = 0
    async with api.client() as client:
        informer = Informer(client, PODS, View)
        handled = 0

        def slow(_obj: View) -> None:
            nonlocal handled
            handled += 1
            until = time.perf_counter() + 0.0005
            while time.perf_counter() < until:
                pass

        informer.add_handler(on_add=slow)
        for number in range(200):
            api.put("pods", f"ns/p{number:04}")

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with running(informer):
            while handled == 0:
                await asyncio.sleep(0)
            counter = asyncio.ensure_future(count())
            await informer.wait_synced()
            counter.cancel()
    # 200 handlers of 0.5 ms, yielding at least every 16th: others had their turns in between.
    assert turns >= 10


ACTIONS = st.sampled_from(
    [
        "put",
        "put",
        "put",
        "remove",
        "recreate",
        "break",
        "compact",
        "drop",
        "busy",
        "error",
        "bookmark",
        "run",
        "run",
    ]
)


@settings(max_examples=examples(60))
@given(seed=st.integers(0, 2**32), actions=st.lists(ACTIONS, max_size=40))
def test_random_interleavings_end_in_the_servers_state(fake_api, seed, actions):
    async def scenario() -> None:
        rng = random.Random(seed)
        async with fake_api(seed) as api, api.client() as client:
            api.duplicates = True
            informer = Informer(client, PODS, View, page_size=3, sleep=no_sleep)
            informer.add_index("x", lambda view: [str(view.x)])
            informer.add_index("by part", lambda view: [str(view.x)], part=lambda view: view.x)
            replay = Replay().attach(informer)
            for number in range(rng.randrange(6)):
                api.put("pods", f"ns/p{number}", x=number)
            async with running(informer) as task:
                for action in actions:
                    await act(api, action, rng)
                    assert not task.done()
                api.faults.clear()
                api.put("pods", "ns/last")
                await reached(api, informer)
                assert state(replay.items) == server_state(api)
                assert replay.wrong == []
                for x in range(10):
                    assert {object_key(v) for v in informer.by_index("x", str(x))} == {
                        key for key, item in informer.items.items() if item.x == x
                    }
                    assert informer.by_index("by part", str(x)) == informer.by_index("x", str(x))

    uvloop.run(scenario())


async def act(api, action: str, rng: random.Random) -> None:
    keys = sorted(key for plural, key in api.objects if plural == "pods")
    match action:
        case "put":
            api.put("pods", f"ns/p{rng.randrange(6)}", x=rng.randrange(10))
        case "remove" if keys:
            api.remove("pods", rng.choice(keys))
        case "recreate" if keys:
            key = rng.choice(keys)
            api.remove("pods", key)
            api.put("pods", key, x=rng.randrange(10))
        case "break":
            api.break_connections()
        case "compact":
            api.compact()
        case "drop":
            api.faults.append(api.DROP)
        case "busy":
            api.faults.append(api.Reply(503, b"", (("Retry-After", "0"),)))
        case "error":
            api.faults.append(api.Reply(500, b"broken"))
        case "bookmark":
            api.say({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(api.revision)}}})
        case "run":
            for _ in range(rng.randrange(30)):
                await asyncio.sleep(0)
