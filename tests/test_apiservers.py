"""`lakh apiserver --engine nats` several times over: processes that are killed, stopped and started while clients write."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lakh.client.client import Client
from lakh.client.errors import ApiError, ClientError
from lakh.client.resources import CONFIGMAPS
from lakh.store.nats_server import NatsServer

from .conformance.cluster import Kubectl, Process, eventually
from .ports import free_port
from .processes import pause

pytestmark = pytest.mark.xdist_group("servers")

PARTITION = "default"
WAIT_SECONDS = 240


class Server(Process):
    """One API server."""

    def __init__(self, directory: Path, number: int, nats: NatsServer, run: int = 0) -> None:
        self.directory_above, self.number, self.nats, self.run = directory, number, nats, run
        self.home = directory / f"server-{number}"
        self.port = free_port() if not run else 0
        super().__init__(self.home / f"run-{run}", *self.arguments())

    def arguments(self) -> list[str]:
        line = ["apiserver", "--engine", "nats", "--nats-url", self.nats.url]
        line += ["--nats-token-file", str(self.nats.directory / "token")]
        line += ["--data-dir", str(self.home / "data"), "--cert-dir", str(self.directory_above / "pki")]
        return [*line, "--port", str(self.port)]

    def again(self) -> None:
        """Start it again where it was."""
        self.run += 1
        Process.__init__(self, self.home / f"run-{self.run}", *self.arguments())
        self.until("serving https://")

    def client(self) -> Client:
        kubeconfig = self.home / "data" / "kubeconfig"
        return Client.from_kubeconfig(
            kubeconfig, user_agent="tests", max_retries=0, timeout_seconds=WAIT_SECONDS
        )


class Cluster:
    """Servers with a client each."""

    def __init__(self, servers: list[Server]) -> None:
        self.servers = servers
        self.clients = [server.client() for server in servers]

    async def status(self, index: int) -> dict[str, Any]:
        answer = await self.clients[index].raw("GET", "/internal/partitions")
        assert answer.status == 200, answer.body
        return msgspec.json.decode(answer.body)  # type: ignore[no-any-return]

    async def writer(self, name: str = PARTITION) -> int:
        """Which server writes a partition."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                for index in range(len(self.servers)):
                    try:
                        if (await self.status(index))["partitions"][name]["writer"]:
                            return index
                    except ClientError:
                        continue
                await asyncio.sleep(0.05)

    async def until_ready(self, index: int) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                try:
                    if (await self.clients[index].raw("GET", "/readyz")).status == 200:
                        return
                except ClientError:
                    pass
                await asyncio.sleep(0.05)

    async def create(self, index: int, name: str) -> None:
        await self.clients[index].create(CONFIGMAPS, {"metadata": {"name": name}}, "default")

    async def names(self, index: int) -> list[str]:
        return [o["metadata"]["name"] for o in (await self.clients[index].list(CONFIGMAPS, "default")).items]


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    nats = await NatsServer.start(tmp_path / "nats")
    servers = [Server(tmp_path, number, nats) for number in range(2)]
    try:
        for server in servers:
            await asyncio.to_thread(server.until, "serving https://")
        started = Cluster(servers)
        for index in range(2):
            await started.until_ready(index)
        yield started
        await asyncio.gather(*(client.close() for client in started.clients))
    finally:
        for server in servers:
            if server.process.poll() is None:
                server.process.send_signal(signal.SIGCONT)
                server.kill()
        await nats.stop()


async def keep_writing(
    cluster: Cluster, index: int, prefix: str, made: list[str], unknown: list[str]
) -> None:
    """Creates by one client, one after the other, until cancelled."""
    count = 0
    while True:
        name = f"{prefix}-{count}"
        count += 1
        try:
            await cluster.create(index, name)
        except ClientError as error:
            # Refused, with code 503, it is not: there was no writer yet.
            if not (isinstance(error, ApiError) and error.code == 503):
                unknown.append(name)
            await asyncio.sleep(0.01)
        else:
            made.append(name)


async def until_created(cluster: Cluster, index: int, name: str) -> None:
    """Creates something, as often as that is refused or in doubt."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                return await cluster.create(index, name)
            except ApiError as error:
                if error.reason == "AlreadyExists":
                    return None  # the one in doubt was carried out
                if error.code not in (503, 504):
                    raise
            except ClientError:
                pass  # no answer
            await asyncio.sleep(0.05)


async def test_a_killed_writer_is_followed_by_another(cluster: Cluster) -> None:
    writer = await cluster.writer()
    other = 1 - writer
    made: list[str] = []
    unknown: list[str] = []
    clients = [asyncio.ensure_future(keep_writing(cluster, other, f"c{n}", made, unknown)) for n in range(4)]
    async with asyncio.timeout(WAIT_SECONDS):
        while len(made) < 40:
            await asyncio.sleep(0.01)
        cluster.servers[writer].kill()
        reached = len(made) + 40
        while len(made) < reached:
            await asyncio.sleep(0.01)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    assert await cluster.writer() == other
    # At most what each of the four clients had under way is in doubt.
    assert len(unknown) <= 4
    names = await cluster.names(other)
    assert len(names) == len(set(names))
    missing = set(made) - set(names)
    assert not missing, "acknowledged, and lost"

    # The killed one comes back, follows, and serves what was written meanwhile.
    await asyncio.to_thread(cluster.servers[writer].again)
    await cluster.until_ready(writer)
    assert sorted(await cluster.names(writer)) == sorted(await cluster.names(other))
    await cluster.create(writer, "after")
    assert "after" in await cluster.names(other)


async def test_a_paused_writer_is_replaced_and_does_no_harm(cluster: Cluster) -> None:
    writer = await cluster.writer()
    other = 1 - writer
    await cluster.create(writer, "before")
    stopped = cluster.servers[writer].process
    pause(stopped.pid)
    # A write that is on its way into the stopped process: nobody may ever see it half done.
    stale = asyncio.ensure_future(cluster.create(writer, "stale"))
    await until_created(cluster, other, "meanwhile")
    assert await cluster.names(other) == ["before", "meanwhile"]
    stopped.send_signal(signal.SIGCONT)
    # It finds out that it writes no more, and carries the request to who does. (Some seconds later it may be given the partition again.)
    await stale
    await cluster.until_ready(writer)
    for index in (writer, other):
        assert await cluster.names(index) == ["before", "meanwhile", "stale"]
    revisions = {
        o["metadata"]["name"]: int(o["metadata"]["resourceVersion"])
        for o in (await cluster.clients[writer].list(CONFIGMAPS, "default")).items
    }
    assert revisions["before"] < revisions["meanwhile"] < revisions["stale"]


async def test_without_nats_servers_live_and_are_not_ready(cluster: Cluster) -> None:
    nats = cluster.servers[0].nats
    assert nats.pid is not None
    pause(nats.pid)
    try:
        client = cluster.clients[0]
        async with asyncio.timeout(WAIT_SECONDS):
            while (await client.raw("GET", "/readyz")).status == 200:
                await asyncio.sleep(0.05)
        for index in range(2):
            assert (await cluster.clients[index].raw("GET", "/livez")).status == 200
        # What is in memory is served to those who do not ask for the newest.
        path = "/api/v1/namespaces/default/configmaps?resourceVersion=0"
        assert (await client.raw("GET", path)).status == 200
    finally:
        os.kill(nats.pid, signal.SIGCONT)
    for index in range(2):
        await cluster.until_ready(index)
    await cluster.writer()
    await until_created(cluster, 1, "again")
    assert "again" in await cluster.names(0)


async def test_kubectl_at_a_server_that_does_not_write(cluster: Cluster, tmp_path: Path) -> None:
    if not Kubectl.available():
        pytest.skip("kubectl is not on PATH")
    home = tmp_path / "home"
    home.mkdir()
    other = cluster.servers[1 - await cluster.writer()]
    kubectl = Kubectl(other.home / "data" / "kubeconfig", home)

    def work() -> None:
        assert "namespace/team created" in kubectl("create", "namespace", "team").stdout
        mine = kubectl.within("team")
        assert "configmap/a created" in mine("create", "configmap", "a", "--from-literal=x=1").stdout
        assert (
            'error: failed to create configmap: configmaps "a" already exists'
            in mine("create", "configmap", "a", code=1).stderr
        )
        with mine.following("get", "configmaps", "--watch", "--no-headers") as watch:
            watch.until("a")
            mine("create", "configmap", "b")
            watch.until("b")
        assert "configmap/a labeled" in mine("label", "configmap", "a", "k=v").stdout
        assert "configmap/a patched" in mine("patch", "configmap", "a", "-p", '{"data":{"x":"2"}}').stdout
        assert mine.json("get", "configmap", "a")["data"] == {"x": "2"}
        applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"y": "1"}}
        assert "serverside-applied" in mine("apply", "--server-side", "-f", "-", input=applied).stdout
        assert mine("delete", "configmap", "--all").stdout.count("deleted") == 3
        leases = kubectl(
            "get", "leases", "-n", "kube-system", "-l", "apiserver.kubernetes.io/identity=kube-apiserver"
        )
        assert len(leases.rows) == 2

    await asyncio.to_thread(eventually, lambda: kubectl("get", "--raw", "/readyz").stdout == "ok")
    await asyncio.to_thread(work)
