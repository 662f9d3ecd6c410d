"""A follower whose log was trimmed under it reads the snapshot: whoever watched is told, nobody goes on as if nothing were missing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from lakh.server.following import Following
from lakh.store.memory_journal import MemoryJournal
from lakh.store.partition import Partition
from lakh.store.state import Event

from .harness import CONFIGMAPS, Api, configmap

SERVICES = "/api/v1/namespaces/default/services"


class Skipping:
    """A replica of a partition and its writer, elsewhere. `skip` makes the replica miss what is written meanwhile."""

    def __init__(self, replica: Partition, writer: Partition) -> None:
        self.replica, self.writer = replica, writer

    async def __aenter__(self) -> Partition:
        await self.replica.barrier()
        await self.replica._stop_following()
        return self.writer

    async def __aexit__(self, *exc: object) -> None:
        await self.writer.compact()  # the log is trimmed behind the snapshot
        reloads = self.replica.counters.reloads
        self.replica._take_role(writer=False)
        await self.replica.barrier()
        assert self.replica.counters.reloads == reloads + 1


class Log:
    """What a `Following` tells."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def sink(self, events: list[Event]) -> None:
        self.told += [event.key for event in events]

    def skipped(self) -> None:
        self.told.append("skipped")


async def test_a_watch_of_the_servers_own_begins_anew() -> None:
    log = MemoryJournal()
    writer = await Partition.open("pods", log)
    replica = await Partition.open("pods", log.shared(), follow=True)
    table, scope, stopped = Log(), Log(), Log()
    followings = [
        Following(replica, "pods", table.sink, table.skipped),
        Following(replica, "pods", scope.sink, scope.skipped, scope="a"),
        Following(replica, "pods", stopped.sink, stopped.skipped),
    ]
    await writer.put("pods/a/1", b"")
    await replica.barrier()
    followings[2].stop()
    for round_ in (1, 2):
        async with Skipping(replica, writer) as elsewhere:
            await elsewhere.put(f"pods/a/missed{round_}", b"")
        assert replica.get(f"pods/a/missed{round_}") is not None
        assert replica.watch_count == 2, "none is left over, none is there twice"
        await writer.put(f"pods/b/{round_}", b"")
        await writer.put(f"pods/a/{round_}", b"")
        await replica.barrier()
    assert table.told == [
        *("pods/a/1", "skipped", "pods/b/1", "pods/a/1"),
        *("skipped", "pods/b/2", "pods/a/2"),
    ]
    assert scope.told == ["pods/a/1", "skipped", "pods/a/1", "skipped", "pods/a/2"]
    assert stopped.told == ["pods/a/1"]
    # The end of the partition is no reason to read it anew.
    await replica.close()
    assert table.told.count("skipped") == 2
    assert replica.watch_count == 0
    await writer.close()


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    started = await Api.start()
    yield started
    await started.stop()


async def test_clients_watches_end_and_list_anew(api: Api) -> None:
    partition = api.server.cluster.partitions["default"]
    for name in ("a", "b"):
        assert (await api.post(CONFIGMAPS, configmap(name))).status == 201
    service = {
        "metadata": {"name": "s"},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30777}]},
    }
    assert (await api.post(SERVICES, service)).status == 201
    version = (await api.get(CONFIGMAPS)).json["metadata"]["resourceVersion"]
    stream = await api.watch(f"{CONFIGMAPS}?watch=1&resourceVersion={version}")
    other = api.server.cluster.partitions["pods"]
    untouched = await api.watch(f"/api/v1/pods?watch=1&resourceVersion={other.revision}")
    # Another server writes the partition now.
    journal: Any = partition._journal
    writer = await Partition.open("default", journal.shared(), follow=True)
    await partition.resign()
    await writer.promote("elsewhere")
    async with Skipping(partition, writer):
        await writer.delete("configmaps/default/a")
        await writer.delete("services/default/s")
    assert stream.finished and stream.lines() == [], "it was not told of the deletion, so it must not go on"
    assert not untouched.closed
    assert [o["metadata"]["name"] for o in (await api.get(CONFIGMAPS)).json["items"]] == ["b"]
    expired = await api.get(f"{CONFIGMAPS}?watch=1&resourceVersion={version}")
    assert (expired.json["object"]["code"], expired.json["object"]["reason"]) == (410, "Expired")
    # And what the server itself makes of the services is made anew: the port is free again.
    await partition.promote("here")
    assert (await api.post(SERVICES, service)).status == 201
    taken = await api.post(SERVICES, {**service, "metadata": {"name": "t"}})
    assert taken.status == 422, taken
    await writer.close()
