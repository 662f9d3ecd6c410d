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
from lakh.progress import Progress
from lakh.server import backup
from lakh.server.app import ApiServer
from lakh.server.authn import User
from lakh.store.dump import DumpError, Part, read_dump
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
            # The endpoints of the service `kubernetes` follow the server's port.
            moved = {k for k in items if k.startswith("endpoint") and k.endswith("/default/kubernetes")}
            assert {k: v for k, v in items.items() if k not in moved}.items() <= now.items()
        async with Client.from_kubeconfig(two / "kubeconfig", user_agent="tests") as client:
            assert (await client.raw("GET", f"{CONFIGMAPS}/c7")).status == 200
    finally:
        await server.stop()
