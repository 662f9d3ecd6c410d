"""`lakh up` as a user starts it: its children, how it ends, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from lakh import up
from lakh.client.client import Client
from lakh.client.errors import ApiError, ClientError
from lakh.client.resources import CONFIGMAPS, NODES
from lakh.up import Component, NodeView

from .conformance.cluster import STOP_SECONDS, WAIT_SECONDS, Process, eventually
from .ports import free_port

pytestmark = pytest.mark.xdist_group("clusters-2")

COMPONENTS = {"apiserver", "scheduler", "controllers", "nodes"}
NODE_COUNT = 3


def words_of(pid: str) -> list[bytes]:
    """The command line of a process; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def children(pid: int) -> dict[str, int]:
    """The components below a supervisor, by name."""
    found: dict[str, int] = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found |= {c: int(child) for c in COMPONENTS if c.encode() in words_of(child)}
    return found


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def start(directory: Path, data: Path, port: int) -> Process:
    up = Process(directory, "up", "--data-dir", str(data), "--port", str(port), "--nodes", str(NODE_COUNT))
    try:
        up.until("ready: ")
    except BaseException:
        up.process.kill()
        raise
    return up


def ready_line(up: Process) -> str:
    return next(line for line in up.text().splitlines() if line.startswith("ready: "))


async def test_two_servers_share_a_cluster_and_lose_one(tmp_path: Path) -> None:
    data, port = tmp_path / "data", free_port()
    up = Process(
        tmp_path / "1",
        *("up", "--data-dir", str(data), "--port", str(port), "--nodes", str(NODE_COUNT)),
        *("--engine", "nats", "--apiservers", "2"),
    )
    try:
        up.until("ready: ")
        assert "2 API servers ready" in up.text()
        second = data / "apiserver-2"
        async with (
            Client.from_kubeconfig(data / "kubeconfig", user_agent="tests") as here,
            Client.from_kubeconfig(second / "kubeconfig", user_agent="tests") as there,
        ):
            await here.create(CONFIGMAPS, {"metadata": {"name": "kept"}, "data": {"a": "1"}}, "default")
            assert (await there.get(CONFIGMAPS, "kept", "default"))["data"] == {"a": "1"}
            pid = server_of(up.process.pid, data)
            os.kill(pid, signal.SIGKILL)
            # The other one takes over what the first one wrote; the first one comes back.
            await until_created(there, "meanwhile")
            eventually(lambda: server_of(up.process.pid, data) not in (0, pid))
            await until_ready(here)
            assert (await here.get(CONFIGMAPS, "meanwhile", "default"))["metadata"]["name"] == "meanwhile"
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(STOP_SECONDS) == 0, up.text()
        assert "Traceback" not in up.text()
    finally:
        up.process.kill()
    # The directory is JetStream's now, and what was written goes on.
    wrong = Process(tmp_path / "2", "up", "--data-dir", str(data), "--port", str(port))
    assert wrong.process.wait(STOP_SECONDS) == 1
    assert "was made with --engine nats and cannot be used with --engine file" in wrong.text()
    up = Process(tmp_path / "3", "up", "--data-dir", str(data), "--port", str(port), "--engine", "nats")
    try:
        up.until("ready: ")
        async with Client.from_kubeconfig(data / "kubeconfig", user_agent="tests") as client:
            assert (await client.get(CONFIGMAPS, "kept", "default"))["data"] == {"a": "1"}
            await until_created(client, "again")
        up.process.terminate()
        assert up.process.wait(STOP_SECONDS) == 0, up.text()
    finally:
        up.process.kill()


def server_of(supervisor: int, data: Path) -> int:
    """The pid of the API server with this data directory; 0 while there is none."""
    for child in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
        words = words_of(child)
        if b"apiserver" in words and str(data).encode() in words:
            return int(child)
    return 0


async def until_created(client: Client, name: str) -> None:
    """Creates a config map, as often as the outcome is in doubt."""
    import asyncio

    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                await client.create(CONFIGMAPS, {"metadata": {"name": name}}, "default")
                return
            except ApiError as error:
                if error.reason == "AlreadyExists":
                    return
            except ClientError:
                pass
            await asyncio.sleep(0.05)


async def until_ready(client: Client) -> None:
    """All nodes Ready, asked until the server answers."""
    import asyncio

    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                nodes = await client.list(NODES, type=NodeView)
            except ClientError:
                nodes = None
            if nodes is not None and sum(n.ready for n in nodes.items) == NODE_COUNT:
                return
            await asyncio.sleep(0.05)


async def until_healthy(client: Client) -> None:
    """All components say that they are well. The first line may be earlier than they."""
    import asyncio

    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            items = json.loads((await client.raw("GET", "/api/v1/componentstatuses")).body)["items"]
            assert [i["metadata"]["name"] for i in items] == ["scheduler", "controller-manager", "etcd-0"]
            if all(i["conditions"][0]["status"] == "True" for i in items):
                return
            await asyncio.sleep(0.05)


async def test_a_cluster_lives_and_goes_on(tmp_path: Path) -> None:
    data, port = tmp_path / "data", free_port()

    # The first life: an object, a crash of the API server, SIGINT.
    up = start(tmp_path / "1", data, port)
    try:
        assert f"{NODE_COUNT} nodes Ready" in ready_line(up)
        assert f"nodes Ready: {NODE_COUNT}/{NODE_COUNT}" in up.text(), "plain lines without a terminal"
        assert "\x1b" not in up.text()
        first = children(up.process.pid)
        assert first.keys() == COMPONENTS
        async with Client.from_kubeconfig(data / "kubeconfig", user_agent="tests") as client:
            await until_healthy(client)
            await client.create(CONFIGMAPS, {"metadata": {"name": "kept"}, "data": {"a": "1"}}, "default")
            os.kill(first["apiserver"], signal.SIGKILL)
            eventually(
                lambda: children(up.process.pid).get("apiserver", first["apiserver"]) != first["apiserver"]
            )
            await until_ready(client)
            kept = await client.get(CONFIGMAPS, "kept", "default")
            assert kept["data"] == {"a": "1"}
        second = children(up.process.pid)
        assert {n: p for n, p in second.items() if n != "apiserver"} == {
            n: p for n, p in first.items() if n != "apiserver"
        }, "clients recover, they are not started again"
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(STOP_SECONDS) == 0, up.text()
        assert all(map(gone, second.values()))
    finally:
        up.process.kill()

    # The second life goes on, and ends by SIGTERM.
    up = start(tmp_path / "2", data, port)
    try:
        pids = children(up.process.pid)
        async with Client.from_kubeconfig(data / "kubeconfig", user_agent="tests") as client:
            assert (await client.get(CONFIGMAPS, "kept", "default"))["data"] == {"a": "1"}
            await until_ready(client)
        up.process.terminate()
        assert up.process.wait(STOP_SECONDS) == 0, up.text()
        assert all(map(gone, pids.values()))
    finally:
        up.process.kill()

    # The third is killed: nobody is left behind.
    up = start(tmp_path / "3", data, port)
    pids = children(up.process.pid)
    assert pids.keys() == COMPONENTS
    up.process.kill()
    up.process.wait()
    eventually(lambda: all(map(gone, pids.values())), "the children end with their parent")


def test_where_metrics_are(tmp_path: Path) -> None:
    """As Prometheus' `file_sd_configs` reads it."""
    servers = [Component(f"apiserver-{n}", ["apiserver", "--port", str(6440 + n)], tmp_path) for n in (1, 2)]
    up.write_targets(tmp_path, "https://127.0.0.1:6441", servers, {"scheduler": "127.0.0.1:5000"})
    found = json.loads((tmp_path / up.TARGETS_FILE).read_text())
    assert [one["targets"] for one in found] == [["127.0.0.1:6441", "127.0.0.1:6442"], ["127.0.0.1:5000"]]
    assert found[0]["labels"] == {"job": "apiserver", "component": "apiserver", "__scheme__": "https"}
    assert found[1]["labels"] == {"job": "kube-scheduler", "component": "scheduler"}
