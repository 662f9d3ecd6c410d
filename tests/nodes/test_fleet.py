from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lakh.nodes import fleet as fleets
from lakh.nodes.catalogue import CATALOGUE
from lakh.nodes.csi import DRIVER, node_limits
from lakh.nodes.fleet import Fleet

from ..server.harness import PODS, Api, pod
from .virtual import SocketlessTransport, client_of, run, wall

TRN2 = CATALOGUE["trn2.48xlarge"]
NODES = "/api/v1/nodes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


class World:
    """A server and a fleet on it, in virtual time."""

    def __init__(self, api: Api, count: int) -> None:
        self.api = api
        self.count = count
        self.transport: SocketlessTransport
        self.fleet: Fleet
        self.task: asyncio.Task[None]

    async def start(self, start: int = 0) -> None:
        client, self.transport = client_of(self.api)
        self.fleet = Fleet(client, TRN2, self.count, start, wall=wall)
        self.task = asyncio.create_task(self.fleet.run())

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    async def get(self, path: str) -> Any:
        answer = await self.api.get(path)
        return answer.json if answer.status == 200 else None

    async def make_pod(self, name: str, node: str = "trn2-00000", **spec: Any) -> None:
        made = pod(name, nodeName=node, **spec)
        made["metadata"]["annotations"] = {"lakh.dev/start-seconds": "1"}
        answer = await self.api.post(PODS, made)
        assert answer.status == 201, answer

    async def address(self, name: str) -> str:
        return (await self.get(f"{PODS}/{name}"))["status"]["podIP"]


@contextlib.asynccontextmanager
async def world(count: int) -> AsyncIterator[World]:
    api = await Api.start()
    made = World(api, count)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
        await api.stop()


def test_heartbeats_have_connections_of_their_own() -> None:
    """Leases are renewed, however long the requests of pods wait for the other client's connections."""

    async def work() -> None:
        api = await Api.start()
        client, statuses = client_of(api)
        heartbeats, leases = client_of(api)
        task = asyncio.create_task(Fleet(client, TRN2, 3, heartbeats=heartbeats, wall=wall).run())
        await asyncio.sleep(30.5)
        assert {path.partition("/leases")[0] for _, _, path in leases.requests} == {
            LEASES.partition("/leases")[0]
        }
        assert len(leases.sent("PUT", "/leases/")) >= 6
        assert not [path for _, _, path in statuses.requests if "/leases" in path]
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await api.stop()

    run(work())


def test_registration_and_even_renewals() -> None:
    async def work() -> None:
        async with world(200) as w:
            await asyncio.sleep(60.5)
            assert w.fleet.registered == 200
            nodes = (await w.get(NODES))["items"]
            assert len(nodes) == 200
            ready = [c for c in nodes[7]["status"]["conditions"] if c["type"] == "Ready"]
            assert ready[0]["status"] == "True"
            sent = w.transport.sent("PUT", LEASES)
            seconds = Counter(int(at) for at in sent)
            assert all(18 <= seconds[s] <= 22 for s in range(1, 60))
            lease = await w.get(f"{LEASES}/trn2-00007")
            assert lease["metadata"]["ownerReferences"][0]["uid"] == nodes[7]["metadata"]["uid"]
            assert lease["spec"]["holderIdentity"] == "trn2-00007"

    run(work())


def test_a_lease_that_others_write_or_delete_is_renewed_all_the_same() -> None:
    async def work() -> None:
        async with world(2) as w:
            await asyncio.sleep(11.0)
            path = f"{LEASES}/trn2-00000"
            lease = await w.get(path)
            lease["spec"]["leaseDurationSeconds"] = 41
            assert (await w.api.put(path, lease)).status == 200
            before = (await w.get(path))["spec"]["renewTime"]
            await asyncio.sleep(10.5)
            lease = await w.get(path)
            assert lease["spec"]["renewTime"] > before and lease["spec"]["leaseDurationSeconds"] == 40
            assert (await w.api.delete(path)).status == 200
            await asyncio.sleep(10.5)
            assert await w.get(path) is not None

    run(work())


def test_a_silent_node_writes_nothing_and_is_heard_again() -> None:
    async def work() -> None:
        async with world(2) as w:
            await asyncio.sleep(11.0)
            for value, renews, phase in (("true", False, "Pending"), (None, True, "Running")):
                change = {"metadata": {"annotations": {fleets.SILENT: value}}}
                assert (await w.api.patch(f"{NODES}/trn2-00000", change)).status == 200
                if value:
                    await w.make_pod("p")
                w.transport.requests.clear()
                await asyncio.sleep(25.0)
                assert bool(w.transport.sent("PUT", "leases/trn2-00000")) == renews
                assert w.transport.sent("PUT", "leases/trn2-00001")
                assert (await w.get(f"{PODS}/p"))["status"]["phase"] == phase

    run(work())


def test_a_deleted_node_stays_deleted_until_the_fleet_is_started_again() -> None:
    async def work() -> None:
        async with world(2) as w:
            await asyncio.sleep(11.0)
            assert (await w.api.delete(f"{NODES}/trn2-00000")).status == 200
            await asyncio.sleep(1.0)
            assert "gone" in repr(w.fleet.kubelets["trn2-00000"])
            w.transport.requests.clear()
            await asyncio.sleep(400.0)
            assert await w.get(f"{NODES}/trn2-00000") is None
            assert not w.transport.sent("PUT", "trn2-00000")
            assert not w.transport.sent("PATCH", "trn2-00000")
            await w.stop()
            await w.start()
            await asyncio.sleep(11.0)
            assert await w.get(f"{NODES}/trn2-00000") is not None

    run(work())


def test_pods_run_and_their_addresses_are_used_again() -> None:
    async def work() -> None:
        async with world(1) as w:
            await asyncio.sleep(1.0)
            for name in ("a", "b"):
                await w.make_pod(name)
                await asyncio.sleep(3.0)
            assert [await w.address("a"), await w.address("b")] == ["10.0.0.2", "10.0.0.3"]
            assert (await w.api.delete(f"{PODS}/a")).status == 200
            await asyncio.sleep(3.0)
            assert await w.get(f"{PODS}/a") is None
            await w.make_pod("c")
            await w.make_pod("host", hostNetwork=True)
            await asyncio.sleep(3.0)
            assert await w.address("c") == "10.0.0.2"
            assert await w.address("host") == "172.16.0.1"
            await w.make_pod("short", restartPolicy="Never")
            await asyncio.sleep(20.0)
            assert (await w.get(f"{PODS}/short"))["status"]["phase"] == "Succeeded"
            assert w.fleet.kubelets["trn2-00000"].taken == 0b1100, "an ended pod has no address"

    run(work())


def test_a_pod_that_runs_for_days_leaves_nothing_behind_when_it_changes() -> None:
    async def work() -> None:
        async with world(1) as w:
            await asyncio.sleep(1.0)
            made = pod("a", nodeName="trn2-00000")
            made["metadata"]["annotations"] = {"lakh.dev/start-seconds": "1", "lakh.dev/run-seconds": "600"}
            assert (await w.api.post(PODS, made)).status == 201
            await asyncio.sleep(3.0)
            changes = 2 * fleets.DUE_FREE
            for number in range(changes):
                change = {"metadata": {"annotations": {"n": str(number)}}}
                assert (await w.api.patch(f"{PODS}/a", change)).status == 200
                await asyncio.sleep(0.1)
            assert len(w.fleet._due) <= fleets.DUE_FREE + 2
            await asyncio.sleep(600.0)
            assert (await w.get(f"{PODS}/a"))["status"]["phase"] == "Running"
            assert (await w.get(f"{PODS}/a"))["status"]["containerStatuses"][0]["restartCount"] == 1

    run(work())


def test_a_node_lists_the_images_of_its_pods_with_its_next_report() -> None:
    async def work() -> None:
        async with world(2) as w:
            await asyncio.sleep(1.0)
            await w.make_pod("a")
            await asyncio.sleep(5.0)
            assert not (await w.get(f"{NODES}/trn2-00000"))["status"].get("images")
            await asyncio.sleep(301.0)
            [image] = (await w.get(f"{NODES}/trn2-00000"))["status"]["images"]
            spec = (await w.get(f"{PODS}/a"))["spec"]
            assert image["names"][0].startswith(spec["containers"][0]["image"]) and image["sizeBytes"] > 0
            assert not (await w.get(f"{NODES}/trn2-00001"))["status"].get("images")

    run(work())


def test_nodes_say_how_many_volumes_they_take() -> None:
    """A CSINode each, again when it is deleted, and none when that was not asked for."""
    path = "/apis/storage.k8s.io/v1/csinodes"

    async def work() -> None:
        async with world(2) as w:
            await asyncio.sleep(1.0)
            assert (await w.get(path))["items"] == []
            client, _ = client_of(w.api)
            task = asyncio.create_task(node_limits(client, TRN2, 2, 0, 27).run())
            await asyncio.sleep(1.0)
            for name in ("trn2-00000", "trn2-00001"):
                [driver] = (await w.get(f"{path}/{name}"))["spec"]["drivers"]
                assert (driver["name"], driver["nodeID"], driver["allocatable"]) == (
                    DRIVER,
                    name,
                    {"count": 27},
                )
            await w.api.delete(f"{path}/trn2-00001")
            await asyncio.sleep(1.0)
            assert await w.get(f"{path}/trn2-00001") is not None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    run(work())


def test_a_fleet_that_is_started_again_goes_on() -> None:
    async def work() -> None:
        async with world(2) as w:
            await asyncio.sleep(1.0)
            for name in ("a", "b"):
                await w.make_pod(name)
                await asyncio.sleep(3.0)
            await w.api.delete(f"{PODS}/a")
            await asyncio.sleep(3.0)
            before = await w.get(f"{PODS}/b")
            await w.stop()
            await w.make_pod("c")
            await w.start()
            await asyncio.sleep(12.0)
            after = await w.get(f"{PODS}/b")
            assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
            assert await w.address("c") == "10.0.0.2", "b keeps 10.0.0.3"
            assert (await w.get(f"{LEASES}/trn2-00000"))["spec"]["renewTime"] > "2027-01-15T08:00:10"

    run(work())


def test_fleets_side_by_side() -> None:
    async def work() -> None:
        async with world(2) as w:
            await asyncio.sleep(1.0)
            other = World(w.api, 2)
            await other.start(2)
            await asyncio.sleep(1.0)
            nodes = (await w.get(NODES))["items"]
            assert len({n["spec"]["podCIDR"] for n in nodes}) == 4
            await other.stop()

    run(work())


@pytest.mark.parametrize("count", [1000])
def test_more_pods_than_writers(count: int) -> None:
    async def work() -> None:
        async with world(10) as w:
            await asyncio.sleep(1.0)
            for number in range(count):
                await w.make_pod(f"p-{number}", f"trn2-{number % 10:05d}")
            await asyncio.sleep(5.0)
            items = (await w.get(PODS))["items"]
            assert {p["status"]["phase"] for p in items} == {"Running"}
            assert len({p["status"]["podIP"] for p in items}) == count

    run(work())
