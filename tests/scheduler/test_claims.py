"""What is written about a pod's claims before it is bound, by which profile, how much at once, and for how long it is waited for."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from lakh.client.resources import PERSISTENTVOLUMECLAIMS
from lakh.machinery.volumes import ClaimView, StorageClassView
from lakh.scheduler.config import SchedulerConfig
from lakh.scheduler.profile import DEFAULT_PROFILE, Profile
from lakh.scheduler.shell import Scheduler

from . import clusters
from .fakeapi import FakeApi
from .test_volumes import pvc, storage_class, to

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


async def test_a_profile_without_claim_plugins_binds_pods_and_leaves_their_claims_alone() -> None:
    off = {"VolumeBinding", "DynamicResources"}
    api = ClaimApi(Profile(filters=DEFAULT_PROFILE.filters - off, awaits_claims=False, binds=frozenset()))
    api.add_claimant("p")
    api.add_pod(clusters.pod("q", resourceClaims=[{"name": "c", "resourceClaimName": "missing"}]))
    await api.settle()
    assert (api.node_of("p"), api.node_of("q"), api.writes) == ("n0", "n0", [])
    await api.close()
