"""A power cut in the middle of writes: whatever was acknowledged is there afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from lakh.client.client import Client
from lakh.client.errors import ClientError
from lakh.client.resources import CONFIGMAPS

from .cluster import Server

CREATES = 5000
WRITERS = 64
# The kill comes in the middle, while many writes are on their way.
KILL_AFTER = CREATES // 2


async def test_kill_in_the_middle_of_creates(tmp_path: Path) -> None:
    server = Server(tmp_path).ready()
    acknowledged: dict[str, str] = {}
    try:
        names = iter(range(CREATES))
        enough = asyncio.Event()

        async def write(client: Client) -> None:
            for number in names:
                name = f"m{number:05d}"
                try:
                    made = await client.create(
                        CONFIGMAPS, {"metadata": {"name": name}, "data": {"n": str(number)}}, "default"
                    )
                except ClientError:
                    return
                acknowledged[name] = made["metadata"]["uid"]
                if len(acknowledged) >= KILL_AFTER:
                    enough.set()

        client = Client.from_kubeconfig(server.kubeconfig, user_agent="conformance", max_connections=WRITERS)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(WRITERS):
                    group.create_task(write(client))
                await asyncio.wait_for(enough.wait(), 240)
                server.kill()
        finally:
            await client.close()
        assert KILL_AFTER <= len(acknowledged) < CREATES

        server = Server(tmp_path, server.port).ready()
        client = Client.from_kubeconfig(server.kubeconfig, user_agent="conformance")
        try:
            listed = await client.list(CONFIGMAPS, "default")
            found = {o["metadata"]["name"]: o for o in listed.items}
            lost = {
                n: uid
                for n, uid in acknowledged.items()
                if found.get(n, {}).get("metadata", {}).get("uid") != uid
            }
            assert not lost
            # A write that nobody heard back from is whole or not there.
            assert all(o["data"] == {"n": str(int(n[1:]))} for n, o in found.items() if n.startswith("m"))
            made = await client.create(CONFIGMAPS, {"metadata": {"name": "next"}}, "default")
            assert int(made["metadata"]["resourceVersion"]) > max(
                int(o["metadata"]["resourceVersion"]) for o in listed.items
            )
        finally:
            await client.close()
    finally:
        server.stop()


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_goes_on_where_it_was(tmp_path: Path, how: str) -> None:
    """Identity, versions and credentials survive a restart."""
    server = Server(tmp_path).ready()
    try:
        kubeconfig = server.kubeconfig.read_text()
        client = Client.from_kubeconfig(server.kubeconfig, user_agent="conformance")
        made = await client.create(CONFIGMAPS, {"metadata": {"name": "a"}}, "default")
        await client.close()
        if how == "kill":
            server.kill()
        else:
            assert server.stop() == 0
        server = Server(tmp_path, server.port).ready()
        assert server.kubeconfig.read_text() == kubeconfig
        client = Client.from_kubeconfig(server.kubeconfig, user_agent="conformance")
        assert await client.get(CONFIGMAPS, "a", "default") == made
        await client.close()
    finally:
        server.stop()
