"""A backup of a server that works: one moment of all partitions, whole or not at all, for administrators only."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lakh import store_cli
from lakh.client.client import Client
from lakh.client.errors import ClientError
from lakh.peering import dialler
from lakh.progress import Progress
from lakh.server import backup
from lakh.server.app import ApiServer
from lakh.server.authn import User
from lakh.server.bootstrap import AUTHENTICATION_KEY
from lakh.server.engine import NatsEngine
from lakh.store.dump import DumpError, Part, read_dump
from lakh.store.file_journal import FileJournal
from lakh.store.nats_server import NatsServer
from lakh.store.partition import Partition
from lakh.store.state import Event, Item

from .harness import CONFIGMAPS, PODS, Api, FakeStream, configmap, pod

Fields = tuple[bytes, tuple[str, ...], int, int]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    started = await Api.start()
    yield started
    await started.stop()


def parts(dump: bytes) -> dict[str, Part]:
    return {part.name: part for part in read_dump(dump.splitlines(keepends=True))}


def fields(items: list[Item]) -> dict[str, Fields]:
    return {i.key: (i.value, i.terms, i.create_revision, i.revision) for i in items}


class Model:
    """What a partition held at each revision, from its events."""

    def __init__(self, api: Api, name: str) -> None:
        partition = api.server.cluster.partitions[name]
        self.events: list[Event] = []
        for table in {key.split("/", 1)[0] for key in partition._items} | {"configmaps", "pods"}:
            partition.watch(table, start=1, sink=self.events.extend)

    def at(self, revision: int) -> dict[str, Fields]:
        items: dict[str, Item] = {}
        for event in sorted(self.events, key=lambda event: event.revision):
            if event.revision > revision:
                break
            if event.item is None:
                del items[event.key]
            else:
                items[event.key] = event.item
        return fields(list(items.values()))


async def test_a_backup_is_one_moment_while_writers_run(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "PIECE_BYTES", 2_000)
    for n in range(60):
        await api.post(CONFIGMAPS, configmap(f"c{n}", n=str(n)))
    models = {name: Model(api, name) for name in ("default", "pods")}
    done = asyncio.Event()
    rounds = 0

    async def write() -> None:
        nonlocal rounds
        while not done.is_set():
            n = rounds % 60
            rounds += 1
            await api.patch(f"{CONFIGMAPS}/c{n}", {"data": {"n": str(rounds)}})
            await api.delete(f"{CONFIGMAPS}/c{(n * 7) % 60}")
            await api.post(CONFIGMAPS, configmap(f"c{(n * 7) % 60}", again=str(rounds)))
            await api.post(PODS, pod(f"p{rounds}"))

    writer = asyncio.create_task(write())
    dumps = []
    try:
        for _ in range(3):
            dumps.append(parts((await api.get(backup.PATH)).body))
    finally:
        done.set()
        await writer
    assert rounds > 3, "writes went on meanwhile"
    for dump in dumps:
        assert list(dump) == list(api.server.cluster.partitions)
        for name, model in models.items():
            assert fields(dump[name].items) == model.at(dump[name].revision)
    assert dumps[0]["default"].revision < dumps[2]["default"].revision


async def test_only_administrators(api: Api) -> None:
    somebody = User("jane", groups=("system:authenticated",))
    api.server.authenticator.authenticate = lambda request: somebody  # type: ignore[method-assign]
    answer = await api.get(backup.PATH)
    assert answer.status == 403
    assert answer.json["message"] == 'forbidden: User "jane" cannot get path "/lakh/backup"'


async def test_a_client_that_does_not_read_is_cut_off(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "STALL_SECONDS", 0.0)

    class Stuck(FakeStream):
        async def drain(self) -> None:
            await asyncio.Event().wait()

    stream = Stuck()
    stream.paused = True
    response: Any = await api.raw(api.request("GET", backup.PATH))
    await response.start(stream)
    assert stream.closed and not stream.finished
    with pytest.raises(DumpError):
        parts(stream.data)
    assert parts((await api.get(backup.PATH)).body), "the next one has its turn"


async def test_one_at_a_time(api: Api) -> None:
    api.server.backups._running = True
    assert (await api.get(backup.PATH)).status == 429


def options(**given: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"bump_revision": 0, "input": None, **given})


async def test_backup_restore_and_serve_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, dump = tmp_path / "one", tmp_path / "two", tmp_path / "dump"
    server = await ApiServer.start(one, port=0)
    try:
        async with Client.from_kubeconfig(one / "kubeconfig", user_agent="tests") as client:
            for n in range(20):
                await client.raw(
                    "POST",
                    CONFIGMAPS,
                    b'{"metadata":{"name":"c%d"},"data":{"n":"%d"}}' % (n, n),
                    {"content-type": "application/json"},
                )
            await store_cli._backup(options(output=dump, kubeconfig=one / "kubeconfig"), Progress())
            expected = {n: fields(p.items()) for n, p in server.cluster.partitions.items()}
            # Broken off in the middle, nothing is left.
            monkeypatch.setattr(backup, "encode_complete", lambda count: b"")
            with pytest.raises((ClientError, store_cli._BadDump), match="ended the backup early"):
                await store_cli._backup(
                    options(output=tmp_path / "broken", kubeconfig=one / "kubeconfig"), Progress()
                )
            assert not list(tmp_path.glob("broken*"))
    finally:
        await server.stop()
    assert dump.stat().st_mode & 0o077 == 0, "it has secrets"
    assert "default:" in capsys.readouterr().err
    with dump.open("rb") as source:
        await store_cli._restore(options(directory=two, input=dump), source, Progress())
    server = await ApiServer.start(two, port=0)
    try:
        for name, items in expected.items():
            now = fields(server.cluster.partitions[name].items())
            # The endpoints of the service `kubernetes` follow the server's port, and what authenticates its certificates.
            moved = {k for k in items if k.startswith("endpoint") and k.endswith("/default/kubernetes")}
            moved |= {AUTHENTICATION_KEY, *(k for k in items if k.startswith("leases"))}
            assert {k: v for k, v in items.items() if k not in moved}.items() <= now.items()
        async with Client.from_kubeconfig(two / "kubeconfig", user_agent="tests") as client:
            assert (await client.raw("GET", f"{CONFIGMAPS}/c7")).status == 200
    finally:
        await server.stop()


@pytest.mark.xdist_group("servers")
async def test_backup_from_jetstream_into_files(tmp_path: Path) -> None:
    """Taken from the second of two servers while clients write through both; what is restored is the cluster of one moment."""
    nats = await NatsServer.start(tmp_path / "nats")
    homes = [tmp_path / "server-0", tmp_path / "server-1"]
    servers: list[ApiServer] = []
    restored, dump = tmp_path / "restored", tmp_path / "dump"
    try:
        for home in homes:
            server = await ApiServer.start(
                home,
                port=0,
                engine=NatsEngine((nats.url,), token=nats.token),
                certificates=tmp_path / "pki",
                dialler=dialler,
            )
            servers.append(server)
            async with asyncio.timeout(60):
                while not (server.ready and all(server.replication.checks().values())):  # type: ignore[union-attr]
                    await asyncio.sleep(0.01)
        events: list[Event] = []
        partition = servers[1].cluster.partitions["default"]
        partition.watch("configmaps", start=None, sink=events.extend)
        begun, done = asyncio.Event(), asyncio.Event()
        acknowledged: list[str] = []

        async def write(client: Client, number: int) -> None:
            count, last = 0, False
            while not last:
                last = done.is_set()  # so something comes after the backup in any case
                name = f"c{number}-{count}"
                body = b'{"metadata":{"name":"%s"},"data":{"n":"0"}}' % name.encode()
                answer = await client.raw("POST", CONFIGMAPS, body, {"content-type": "application/json"})
                assert answer.status == 201
                acknowledged.append(name)
                if count % 3 == 2:
                    assert (await client.raw("DELETE", f"{CONFIGMAPS}/{name}")).status == 200
                    acknowledged.remove(name)
                count += 1
                if count == 10:
                    begun.set()

        async with (
            Client.from_kubeconfig(homes[0] / "kubeconfig", user_agent="tests") as here,
            Client.from_kubeconfig(homes[1] / "kubeconfig", user_agent="tests") as there,
        ):
            clients = [asyncio.create_task(write(client, n)) for n, client in enumerate((here, there, here))]
            await begun.wait()
            before = set(acknowledged)
            await store_cli._backup(options(output=dump, kubeconfig=homes[1] / "kubeconfig"), Progress())
            done.set()
            await asyncio.gather(*clients)
        await partition.barrier()
    finally:
        await asyncio.gather(*(server.stop() for server in servers))
        await nats.stop()
    with dump.open("rb") as source:
        taken = parts(source.read())
    # The state at the dump's revision, from the events; nothing acknowledged before the backup is missing.
    at, model = taken["default"].revision, dict[str, Item]()
    for event in events:
        if event.revision <= at and event.item is not None:
            model[event.key] = event.item
        elif event.revision <= at:
            del model[event.key]
    assert events[0].revision < at < events[-1].revision, "it was taken while they wrote"
    found = {k: v for k, v in fields(taken["default"].items).items() if k.startswith("configmaps/default/c")}
    assert found == fields(list(model.values()))
    ever_deleted = {event.key for event in events if event.item is None}
    assert {f"configmaps/default/{name}" for name in before} - ever_deleted <= found.keys()
    with dump.open("rb") as source:
        await store_cli._restore(options(directory=restored, input=dump), source, Progress())
    for name, part in taken.items():
        journal = await FileJournal.open(restored / "journal" / name)
        opened = await Partition.open(name, journal)
        assert fields(opened.items()) == fields(part.items)
        assert opened.revision >= part.revision
        await opened.close()
