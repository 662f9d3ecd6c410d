from __future__ import annotations

import asyncio

import pytest

from lakh.client.leader import LeaderElector
from lakh.client.resources import LEASES


class Time:
    """A clock that its sleepers move: each sleep advances it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now += seconds


def elector(client, identity, log, clock, **options):
    async def work() -> None:
        log.append(f"{identity} started")
        await asyncio.Event().wait()

    return LeaderElector(
        client,
        "lock",
        "kube-system",
        identity,
        on_started=options.pop("work", work),
        on_stopped=lambda: log.append(f"{identity} stopped"),
        clock=clock.clock,
        sleep=clock.sleep,
        **options,
    )


async def until(condition) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0)


async def test_acquire_renew_release_and_hand_over(api):
    log: list[str] = []
    async with api.client() as client:
        a, b = elector(client, "a", log, Time()), elector(client, "b", log, Time())
        first = asyncio.ensure_future(a.run())
        await until(lambda: log == ["a started"])
        renewed = api.revision
        await until(lambda: api.revision > renewed + 2)
        assert a.is_leader
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert log == ["a started", "a stopped"]
        lease = await client.get(LEASES, "lock", "kube-system")
        assert lease["spec"]["holderIdentity"] == ""
        second = asyncio.ensure_future(b.run())
        await until(lambda: "b started" in log)
        lease = await client.get(LEASES, "lock", "kube-system")
        assert lease["spec"]["holderIdentity"] == "b"
        assert lease["spec"]["leaseDurationSeconds"] == 15
        assert lease["spec"]["leaseTransitions"] == 1
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)


async def test_a_silent_leader_is_replaced_only_after_the_lease_duration(api):
    log: list[str] = []
    clock = Time()
    spec = {"holderIdentity": "dead", "renewTime": "2020-01-01T00:00:00.000000Z", "leaseTransitions": 4}
    api.put("leases", "kube-system/lock", spec=spec)
    async with api.client() as client:
        b = elector(client, "b", log, clock)
        task = asyncio.ensure_future(b.run())
        await until(lambda: log)
        # An old renewTime says nothing: what counts is how long b itself has seen no change.
        assert clock.now - 1000 >= 15
        assert api.objects["leases", "kube-system/lock"]["spec"]["leaseTransitions"] == 5
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_leader_that_cannot_renew_stops(api):
    log: list[str] = []
    async with api.client() as client:
        a = elector(client, "a", log, Time())
        task = asyncio.ensure_future(a.run())
        await until(lambda: log)
        api.faults += [api.Reply(500, b"broken")] * 30
        await asyncio.wait_for(task, 120)
        assert log == ["a started", "a stopped"]
        assert not a.is_leader


async def test_a_leader_that_was_replaced_stops(api):
    log: list[str] = []
    async with api.client() as client:
        a = elector(client, "a", log, Time())
        task = asyncio.ensure_future(a.run())
        await until(lambda: log)
        api.put("leases", "kube-system/lock", spec={"holderIdentity": "b"})
        await asyncio.wait_for(task, 120)
        assert a.leader == "b"
        assert api.objects["leases", "kube-system/lock"]["spec"]["holderIdentity"] == "b"


async def test_failing_work_ends_the_leadership(api, caplog):
    log: list[str] = []

    async def broken() -> None:
        raise RuntimeError("broken work")

    async with api.client() as client:
        a = elector(client, "a", log, Time(), work=broken)
        with pytest.raises(RuntimeError, match="broken work"):
            await a.run()
    assert log == ["a stopped"]
    assert api.objects["leases", "kube-system/lock"]["spec"]["holderIdentity"] == ""


async def test_settings_are_checked(api):
    async with api.client() as client:
        with pytest.raises(ValueError, match="leaseDuration"):
            elector(client, "a", [], Time(), lease_duration_seconds=5)
