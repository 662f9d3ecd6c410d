"""What is written about a pod's claims before it is bound, by which profile, how much at once, and for how long it is waited for."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from lakh.client.resources import PERSISTENTVOLUMECLAIMS
from lakh.machinery.volumes import ClaimView, StorageClassView, VolumeView
from lakh.scheduler import claims
from lakh.scheduler.config import SchedulerConfig
from lakh.scheduler.profile import DEFAULT_PROFILE, Profile
from lakh.scheduler.shell import Scheduler

from . import clusters
from .fakeapi import FakeApi
from .test_volumes import BOUND, pv, pvc, storage_class, to

Json = dict[str, Any]


class ClaimApi(FakeApi):
    """Takes patches of volume claims, too."""

    def __init__(self, profile: Profile) -> None:
        super().__init__()
        self.claims: dict[str, Json] = {}
        self.writes: list[str] = []
        self.writing = self.most_writing = 0
        self.scheduler = Scheduler(
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            config=SchedulerConfig(profiles=(profile,)),
            clock=self.clock,
            sleep=self.sleep,
        )
        self.index = self.scheduler.core.volumes
        self.index.set_class(to(storage_class(), StorageClassView), there=True)
        self.set_node(clusters.node("n0"))

    def add_claimant(self, name: str) -> None:
        """A pod, and its claim that waits for it."""
        self.claims[name] = pvc(name)
        self.index.set_claim(to(self.claims[name], ClaimView))
        self.add_pod(
            clusters.pod(name, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": name}}])
        )

    async def settle(self) -> None:
        """Until writes have been answered, too, and what follows from that."""
        for _ in range(8):
            await super().settle()
            for _ in range(16):
                await asyncio.sleep(0)

    def bind_volume(self, name: str) -> None:
        """What provisioner and volume controller do, told by the informers."""
        reference = {"namespace": "default", "name": name, "uid": f"uid-{name}"}
        claim = self.claims[name]
        volume = to(pv(f"v-{name}", phase="Bound", claimRef=reference), VolumeView)
        claim["spec"]["volumeName"] = f"v-{name}"
        claim["metadata"]["annotations"] |= BOUND
        claim["metadata"]["resourceVersion"] = "9"
        for informer, found in zip(
            self.scheduler.claims.informers(), (to(claim, ClaimView), volume), strict=False
        ):
            [handler] = informer._handlers
            assert handler.on_add is not None
            handler.on_add(found)

    async def patch(self, resource: Any, name: str, patch: Json, namespace: str = "", **how: Any) -> Any:
        if resource is not PERSISTENTVOLUMECLAIMS:
            return await super().patch(resource, name, patch, namespace, **how)
        self.writing += 1
        self.most_writing = max(self.most_writing, self.writing)
        await asyncio.sleep(0)
        self.writing -= 1
        self.writes.append(name)
        claim = self.claims[name]
        claim["metadata"]["annotations"] |= patch["metadata"]["annotations"]
        claim["metadata"]["resourceVersion"] = str(1 + int(claim["metadata"]["resourceVersion"]))
        return msgspec.convert(claim, how["type"])


async def test_volumes_are_waited_for_as_long_as_the_profile_says() -> None:
    api = ClaimApi(Profile(bind_timeout_seconds=0))
    api.add_claimant("p")
    await api.settle()
    assert api.writes == ["p"] and api.node_of("p") is None
    assert ("p", "FailedScheduling") in [event[:2] for event in api.events]
    assert (
        api.events[0][2]
        == 'running PreBind plugin "VolumeBinding": binding volumes: context deadline exceeded'
    )
    await api.close()


async def test_so_many_pods_bind_claims_at_once_and_so_many_requests_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claims, "MAX_BINDS_IN_FLIGHT", 6)
    monkeypatch.setattr(claims, "MAX_WRITES_IN_FLIGHT", 2)
    api = ClaimApi(DEFAULT_PROFILE)
    names = [f"p{number:02}" for number in range(20)]
    for name in names:
        api.add_claimant(name)
    await api.settle()
    assert api.writes == names[:6] and api.most_writing == 2
    api.bind_volume("p03")  # one that is done lets the next one in, and the first of the others may go
    api.delete_pod("p00")
    api.delete_pod("p08")
    await api.settle()
    assert api.node_of("p03") == "n0" and api.writes == names[:8]
    assert not api.scheduler.core.node_of("uid-p00")
    for name in names:
        if name in api.pods and name != "p03":
            api.bind_volume(name)
            await api.settle()
    assert {name for name in names if name in api.pods and api.node_of(name)} == {*names} - {"p00", "p08"}
    assert "p08" not in api.writes and not api.scheduler.claims._watching
    await api.close()


async def test_a_profile_without_claim_plugins_binds_pods_and_leaves_their_claims_alone() -> None:
    off = {"VolumeBinding", "DynamicResources"}
    api = ClaimApi(Profile(filters=DEFAULT_PROFILE.filters - off, awaits_claims=False, binds=frozenset()))
    api.add_claimant("p")
    api.add_pod(clusters.pod("q", resourceClaims=[{"name": "c", "resourceClaimName": "missing"}]))
    await api.settle()
    assert (api.node_of("p"), api.node_of("q"), api.writes) == ("n0", "n0", [])
    await api.close()
