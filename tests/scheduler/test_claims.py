"""What is written about a pod's claims before it is bound, by which profile, how much at once, for how long it is waited for; and what fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lakh.client.client import STRATEGIC
from lakh.client.errors import ApiError, ConnectionLost
from lakh.client.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, RESOURCECLAIMS
from lakh.machinery.volumes import ClaimView, StorageClassView, VolumeView
from lakh.scheduler import claims
from lakh.scheduler.config import SchedulerConfig
from lakh.scheduler.deviceviews import ClaimView as ResourceClaimView
from lakh.scheduler.deviceviews import DeviceClassView, SliceView
from lakh.scheduler.profile import DEFAULT_PROFILE, Profile
from lakh.scheduler.queue import State
from lakh.scheduler.shell import Scheduler

from . import clusters
from .fakeapi import FakeApi
from .test_devices import claim, device, request, slice_of
from .test_volumes import BOUND, pv, pvc, storage_class, to

Json = dict[str, Any]


class ClaimApi(FakeApi):
    """Takes patches of claims and volumes, too, and refuses those in `refusals`."""

    def __init__(self, profile: Profile) -> None:
        super().__init__()
        self.claims: dict[str, Json] = {}
        self.volumes: dict[str, Json] = {}
        self.devices: dict[str, Json] = {}
        self.refusals: list[Exception | None] = []
        """What is answered to the next writes; None: as usual. A `ConnectionLost` is answered to what has been carried out."""
        self.held: asyncio.Event | None = None
        """Writes are answered once it is set."""
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
        for informer in self.scheduler._devices:
            informer.synced.set()

    def add_claimant(self, name: str) -> None:
        """A pod, and its claim that waits for it."""
        self.claims[name] = pvc(name)
        self.index.set_claim(to(self.claims[name], ClaimView))
        self.add_pod(
            clusters.pod(name, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": name}}])
        )

    def add_devices(self, *names: str) -> None:
        """Devices of the node, of the class `any`."""
        devices = self.scheduler.core.devices
        devices.set_class(to({"metadata": {"name": "any"}, "spec": {}}, DeviceClassView), there=True)
        devices.set_slice(to(slice_of("n0", [device(name) for name in names]), SliceView))

    def add_user(self, name: str, claimed: str) -> None:
        """A pod that uses a resource claim, which is there then."""
        if claimed not in self.devices:
            self.devices[claimed] = claim(claimed, [request()])
            self.tell(self.scheduler._devices[2], to(self.devices[claimed], ResourceClaimView))
        self.add_pod(clusters.pod(name, resourceClaims=[{"name": "c", "resourceClaimName": claimed}]))

    async def settle(self) -> None:
        """Until writes have been answered, too, and what follows from that."""
        for _ in range(8):
            await super().settle()
            for _ in range(16):
                await asyncio.sleep(0)

    def tell(self, informer: Any, found: Any) -> None:
        """As an informer's event."""
        [on_add] = informer._on_add
        on_add(found)

    def tell_claim(self, name: str) -> None:
        """What the volume claim is now."""
        self.claims[name]["metadata"]["resourceVersion"] = "9"
        self.tell(self.scheduler.claims.informers()[0], to(self.claims[name], ClaimView))

    def bind_volume(self, name: str, **spec: Any) -> None:
        """What provisioner and volume controller do, told by the informers."""
        reference = {"namespace": "default", "name": name, "uid": f"uid-{name}"}
        volume = to(pv(f"v-{name}", phase="Bound", claimRef=reference, **spec), VolumeView)
        self.claims[name]["spec"]["volumeName"] = f"v-{name}"
        self.claims[name]["metadata"]["annotations"] |= BOUND
        self.tell_claim(name)
        self.tell(self.scheduler.claims.informers()[1], volume)

    async def get(self, resource: Any, name: str, namespace: str, **how: Any) -> Any:
        if resource is not RESOURCECLAIMS:
            return await super().get(resource, name, namespace, **how)
        await asyncio.sleep(0)
        return to(self.devices[name], ResourceClaimView)

    async def patch(self, resource: Any, name: str, patch: Json, namespace: str = "", **how: Any) -> Any:
        stores = {
            PERSISTENTVOLUMECLAIMS: self.claims,
            PERSISTENTVOLUMES: self.volumes,
            RESOURCECLAIMS: self.devices,
        }
        store = stores.get(resource)
        if store is None:
            return await super().patch(resource, name, patch, namespace, **how)
        self.writing += 1
        self.most_writing = max(self.most_writing, self.writing)
        await asyncio.sleep(0)
        if self.held is not None:
            await self.held.wait()
        self.writing -= 1
        self.writes.append(name)
        refusal = self.refusals.pop(0) if self.refusals else None
        if refusal is not None and not isinstance(refusal, ConnectionLost):
            raise refusal
        found = store[name]
        if how["patch_type"] == STRATEGIC:  # of `reservedFor`
            [consumer] = patch["status"]["reservedFor"]
            others = [c for c in found["status"].get("reservedFor", ()) if c["uid"] != consumer["uid"]]
            kept = [] if consumer.get("$patch") else [consumer]
            found["status"]["reservedFor"] = others + kept
        else:
            merge(found, {k: v for k, v in patch.items() if k != "metadata"})
            for part in ("annotations", "finalizers"):
                if part in patch["metadata"]:
                    merge(found["metadata"], {part: patch["metadata"][part]})
        found["metadata"]["resourceVersion"] = str(1 + int(found["metadata"]["resourceVersion"]))
        if refusal is not None:
            raise refusal
        return b"" if how["type"] is bytes else to(found, how["type"])


def merge(into: Json, patch: Json) -> None:
    """A JSON merge patch."""
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


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


# What fails before the bind: the pod is taken off its node, told why, and tried again after its backoff

VOLUMES = 'running PreBind plugin "VolumeBinding": '
DEVICES = 'running PreBind plugin "DynamicResources": '
REFUSED = ApiError(403, "Forbidden", "no")


def undone(api: ClaimApi, name: str, message: str) -> None:
    """The pod is nowhere, in backoff, and its last event and condition say why."""
    assert api.scheduler.core.node_of(f"uid-{name}") is None
    assert not api.scheduler.is_binding(f"uid-{name}")
    waiting = api.scheduler.queue.get(f"uid-{name}")
    assert waiting is not None and waiting.state is State.BACKOFF
    assert [event for event in api.events if event[0] == name][-1] == (name, "FailedScheduling", message)
    [status] = [patch["status"] for patched, patch in api.patches if patched == name][-1:]
    [condition] = status["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "SchedulerError")
    assert condition["message"] == message and status["nominatedNodeName"] is None


async def test_a_claim_that_cannot_be_written() -> None:
    api = ClaimApi(DEFAULT_PROFILE)
    api.refusals = [REFUSED]
    api.add_claimant("p")
    await api.settle()
    undone(api, "p", VOLUMES + "no")
    api.now += 2.0
    await api.settle()
    assert api.writes == ["p", "p"]
    api.bind_volume("p")
    await api.settle()
    assert api.node_of("p") == "n0"
    assert api.events[-1] == ("p", "Scheduled", "Successfully assigned default/p to n0")
    await api.close()


async def test_a_volume_that_another_claim_got_first() -> None:
    """A volume that is there is set aside by a patch of it, on the version that was looked at."""
    api = ClaimApi(DEFAULT_PROFILE)
    api.volumes["v"] = pv("v")
    api.index.set_volume(to(api.volumes["v"], VolumeView))
    api.refusals = [ApiError(409, "Conflict", "the object has been modified")]
    api.add_claimant("p")
    await api.settle()
    undone(api, "p", VOLUMES + "the object has been modified")
    api.now += 2.0
    await api.settle()
    assert api.writes == ["v", "v"] and api.volumes["v"]["spec"]["claimRef"]["name"] == "p"
    await api.close()


@pytest.mark.parametrize(
    ("happens", "message"),
    [
        ("unselected", 'binding volumes: provisioning failed for PVC "p"'),
        ("deleted", 'binding volumes: persistentvolumeclaim "p" not found'),
        ("elsewhere", 'binding volumes: pv "v-p" node affinity doesn\'t match node "n0"'),
    ],
)
async def test_a_volume_that_does_not_come(happens: str, message: str) -> None:
    api = ClaimApi(DEFAULT_PROFILE)
    api.add_claimant("p")
    await api.settle()
    assert api.scheduler.is_binding("uid-p") and api.node_of("p") is None
    if happens == "unselected":  # how a provisioner says that it failed
        api.claims["p"]["metadata"]["annotations"].clear()
        api.tell_claim("p")
    elif happens == "deleted":
        [on_delete] = api.scheduler.claims.informers()[0]._on_delete
        on_delete(to(api.claims["p"], ClaimView))
    else:
        api.bind_volume("p", zone="mars")
    for _ in range(16):  # without a look at the queue: the class with the claim as it is now may fit nowhere
        await asyncio.sleep(0)
    undone(api, "p", VOLUMES + message)
    assert not api.scheduler.claims._watching
    await api.close()


@pytest.mark.parametrize(
    ("refusals", "message"),
    [
        ([REFUSED], "add finalizer to claim default/c: no"),
        ([None, REFUSED], "add allocation and reservation to claim default/c: no"),
    ],
)
async def test_an_allocation_that_cannot_be_written(refusals: list[Exception | None], message: str) -> None:
    api = ClaimApi(DEFAULT_PROFILE)
    api.add_devices("d0")
    api.refusals = refusals
    api.add_user("p", "c")
    await api.settle()
    undone(api, "p", DEVICES + message)
    assert not api.scheduler.core.devices.pending
    api.add_user("q", "other")  # gets the one device meanwhile
    await api.settle()
    assert api.node_of("q") == "n0"
    api.now += 20.0
    await api.settle()
    assert api.node_of("p") is None
    assert api.events[-1][2].startswith("0/1 nodes are available: 1 cannot allocate all claims.")
    await api.close()


async def test_a_reservation_that_cannot_be_written() -> None:
    api = ClaimApi(DEFAULT_PROFILE)
    api.add_devices("d0")
    api.add_user("p", "c")
    await api.settle()
    assert api.node_of("p") == "n0"
    api.refusals = [REFUSED]
    api.add_user("q", "c")
    await api.settle()
    undone(api, "q", DEVICES + "add reservation to claim default/c: no")
    api.now += 2.0
    await api.settle()
    assert api.node_of("q") == "n0"
    assert [c["name"] for c in api.devices["c"]["status"]["reservedFor"]] == ["p", "q"]
    await api.close()


async def test_who_shares_a_claim_waits_for_its_allocation_and_for_nothing_else() -> None:
    """Time stands still: what ends the waiting is the answer to the other pod's write."""
    api = ClaimApi(DEFAULT_PROFILE)
    api.add_devices("d0")
    api.held = asyncio.Event()
    for name in ("p", "q"):
        api.add_user(name, "c")
    await api.settle()
    assert api.scheduler.is_binding("uid-p") and api.scheduler.is_binding("uid-q")
    assert list(api.scheduler.claims._watching) == ["claim default/c"]
    api.held.set()
    await api.settle()
    assert (api.node_of("p"), api.node_of("q")) == ("n0", "n0")
    assert [c["name"] for c in api.devices["c"]["status"]["reservedFor"]] == ["p", "q"]
    assert not api.scheduler.claims._watching
    await api.close()


async def test_who_shares_a_claim_whose_allocation_fails_is_tried_again_too() -> None:
    api = ClaimApi(DEFAULT_PROFILE)
    api.add_devices("d0")
    api.held = asyncio.Event()
    api.refusals = [REFUSED]
    for name in ("p", "q"):
        api.add_user(name, "c")
    await api.settle()
    api.held.set()
    await api.settle()
    undone(api, "p", DEVICES + "add finalizer to claim default/c: no")
    undone(api, "q", DEVICES + "resourceclaim default/c is not available on node n0")
    api.now += 2.0
    await api.settle()
    assert (api.node_of("p"), api.node_of("q")) == ("n0", "n0")
    await api.close()


async def test_devices_of_a_pod_that_left_while_its_allocation_failed_are_free() -> None:
    api = ClaimApi(DEFAULT_PROFILE)
    api.add_devices("d0")
    api.held = asyncio.Event()
    api.devices["c"] = claim("c", [request()])
    api.devices["c"]["metadata"]["finalizers"] = [claims.FINALIZER]
    api.tell(api.scheduler._devices[2], to(api.devices["c"], ResourceClaimView))
    api.refusals = [REFUSED]
    api.add_user("p", "c")
    await api.settle()
    [pending] = api.scheduler.core.devices.pending.values()
    assert pending.told
    api.delete_pod("p")
    await api.settle()
    assert api.scheduler.core.devices.pending  # nobody knows yet
    api.held.set()
    await api.settle()
    assert not api.scheduler.core.devices.pending
    api.add_user("q", "other")
    await api.settle()
    assert api.node_of("q") == "n0"
    await api.close()


async def test_an_allocation_whose_answer_is_lost_is_looked_up() -> None:
    api = ClaimApi(DEFAULT_PROFILE)
    api.add_devices("d0", "d1")
    api.refusals = [None, ConnectionLost("lost")]
    api.add_user("p", "c")
    await api.settle()
    undone(api, "p", DEVICES + "add allocation and reservation to claim default/c: lost")
    assert not api.scheduler.core.devices.pending  # it is there
    given = api.devices["c"]["status"]["allocation"]
    api.now += 2.0
    await api.settle()
    assert api.node_of("p") == "n0" and api.devices["c"]["status"]["allocation"] == given
    await api.close()
