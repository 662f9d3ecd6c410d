"""Extended resources that devices stand behind: what the special claim asks for, where it is needed, and what becomes of it."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.client.client import STRATEGIC
from lakh.client.errors import ApiError, ConnectionLost
from lakh.client.resources import PODS, RESOURCECLAIMS
from lakh.scheduler import shell
from lakh.scheduler.config import SchedulerConfig
from lakh.scheduler.deviceviews import ClaimView, DeviceClassView, SliceView
from lakh.scheduler.extendedresources import classes_by_resource, requests_of
from lakh.scheduler.profile import DEFAULT_PROFILE, Profile
from lakh.scheduler.shell import Scheduler
from lakh.scheduler.views import PodSpec

from . import clusters, reference
from .clusters import GPU, NEURON
from .fakeapi import FakeApi
from .test_devices import device, slice_of, to

Json = dict[str, Any]
IMPLICIT = "deviceclass.resource.kubernetes.io/chips"


def device_class(name: str, resource: str | None = None, created: str = "2026-01-01T00:00:00Z") -> Any:
    spec = {} if resource is None else {"extendedResourceName": resource}
    return to({"metadata": {"name": name, "creationTimestamp": created}, "spec": spec}, DeviceClassView)


def test_the_newest_class_of_a_name_serves_it() -> None:
    found = classes_by_resource(
        [
            device_class("c", NEURON),
            device_class("a", NEURON, "2026-02-01T00:00:00Z"),
            device_class("b", NEURON, "2026-02-01T00:00:00Z"),
            device_class("d"),
        ]
    )
    assert found[NEURON] == "a"
    assert {name.partition("/")[2]: cls for name, cls in found.items() if name != NEURON} == {
        name: name for name in "abcd"
    }


containers = st.fixed_dictionaries(
    {"resources": st.fixed_dictionaries({"requests": clusters.quantities})},
)
init_containers = st.tuples(containers, st.booleans()).map(
    lambda pair: {**pair[0], **({"restartPolicy": "Always"} if pair[1] else {})}
)


@given(st.lists(init_containers, max_size=4), st.lists(containers, min_size=1, max_size=3))
def test_the_claim_asks_for_what_the_pod_does(init: list[Json], main: list[Json]) -> None:
    """As many devices as NodeResourcesFit would count, and each container is served by requests that cover what it asks for; those that run side by
    side share none."""
    pod = {"spec": {"initContainers": init, "containers": main}, "status": {}}
    spec = to(pod["spec"], PodSpec)
    requests, mappings = requests_of(spec, {NEURON: "chips", GPU: "gpus"})
    counts = {name: count for name, _, count in requests}
    assert len(counts) == len(requests) and list(counts) == sorted(counts)
    whole = reference.pod_requests(pod, {})
    for resource, cls in ((NEURON, "chips"), (GPU, "gpus")):
        assert sum(count for _, c, count in requests if c == cls) == whole.get(resource, 0)
    every = [*init, *main]
    taken: dict[str, int] = {}
    for index, container in enumerate(every):
        for resource in (NEURON, GPU):
            wanted = int(container["resources"]["requests"].get(resource, 0))
            mine = [m.request for m in mappings if (m.container, m.resource) == (index, resource)]
            assert sum(counts[name] for name in mine) >= wanted and bool(mine) is bool(wanted)
            assert len(set(mine)) == len(mine)
            if index >= len(init) or container.get("restartPolicy") == "Always":
                for name in mine:
                    assert taken.setdefault(name, index) == index
    for mapping in mappings:  # a passing container uses devices of those only that start after it
        if mapping.request in taken:
            assert taken[mapping.request] >= mapping.container


class ClaimApi(FakeApi):
    """Keeps resource claims, too. `lose` are verbs whose answers get lost."""

    def __init__(self, profile: Profile = DEFAULT_PROFILE) -> None:
        super().__init__()
        self.scheduler = Scheduler(
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            config=SchedulerConfig(profiles=(profile,)),
            clock=self.clock,
            sleep=self.sleep,
        )
        self.claims: dict[str, Json] = {}
        self.lose: list[str] = []
        self.refuse: list[str] = []
        self.version = 1
        self.devices = self.scheduler.core.devices
        self.informers: dict[str, Any] = {}
        for informer in self.scheduler.claims.device_informers():
            informer.synced.set()
            self.informers[informer.resource.kind] = informer

    def cluster(self, *nodes: tuple[str, dict[str, str], int]) -> None:
        """Nodes by name, allocatable amounts and number of devices."""
        self.informers["DeviceClass"]._on_add[0](device_class("chips", NEURON))
        for name, allocatable, count in nodes:
            self.set_node(clusters.node(name, allocatable={NEURON: "0", **allocatable}))
            if count:
                found = slice_of(name, [device(f"d{number}") for number in range(count)])
                self.informers["ResourceSlice"]._on_add[0](to(found, SliceView))

    def tell(self, name: str, *, gone: bool = False) -> None:
        claim = self.claims.pop(name) if gone else self.claims[name]
        view = to(claim, ClaimView)
        informer = self.informers["ResourceClaim"]
        informer._on_delete[0](view) if gone else informer._on_update[0](view, view)

    def _done(self, verb: str) -> None:
        if verb in self.lose:
            self.lose.remove(verb)
            raise ConnectionLost("lost")

    def _asked(self, verb: str) -> None:
        if verb in self.refuse:
            self.refuse.remove(verb)
            raise ApiError(403, "Forbidden", f"{verb} is forbidden")

    async def create(self, resource: Any, obj: Json, namespace: str, **how: Any) -> Any:
        if resource is not RESOURCECLAIMS:
            return await super().create(resource, obj, namespace, **how)
        await asyncio.sleep(0)
        self._asked("create")
        claim = copy.deepcopy(obj)
        self.version += 1
        name = f"{obj['metadata']['generateName']}{self.version}"
        claim["metadata"] |= {"name": name, "uid": f"uid-{name}", "resourceVersion": str(self.version)}
        self.claims[name] = claim
        self._done("create")
        return to(claim, how["type"])

    async def patch(self, resource: Any, name: str, patch: Json, namespace: str, **how: Any) -> Any:
        if resource is not RESOURCECLAIMS:
            if resource is PODS and "extendedResourceClaimStatus" in patch["status"]:
                self._asked("pod status")
                self.pods[name]["status"] |= patch["status"]
                self.changed(name)
            return await super().patch(resource, name, patch, namespace, **how)
        await asyncio.sleep(0)
        self._asked("status" if how.get("subresource") else "patch")
        claim = self.claims[name]
        assert patch["metadata"]["uid"] == claim["metadata"]["uid"]
        if how.get("subresource"):
            status = claim.setdefault("status", {})
            for field, value in patch["status"].items():
                if field == "reservedFor" and value and "$patch" in value[0]:
                    value = [c for c in status[field] if c["uid"] != value[0]["uid"]]
                if (
                    field == "reservedFor"
                    and how.get("patch_type") is STRATEGIC
                    and "$patch" not in str(patch)
                ):
                    value = [*(status.get(field) or []), *value]
                status[field] = value
        else:
            claim["metadata"]["finalizers"] = patch["metadata"]["finalizers"]
        self.version += 1
        claim["metadata"]["resourceVersion"] = str(self.version)
        self._done("status" if how.get("subresource") else "patch")
        return to(claim, how["type"])

    async def get(self, resource: Any, name: str, namespace: str, **how: Any) -> Any:
        if resource is RESOURCECLAIMS:
            await asyncio.sleep(0)
            return to(self.claims[name], how["type"])
        return await super().get(resource, name, namespace, **how)

    async def delete(self, resource: Any, name: str, namespace: str, *, uid: str) -> None:
        assert resource is RESOURCECLAIMS
        await asyncio.sleep(0)
        assert self.claims[name]["metadata"]["uid"] == uid
        assert not self.claims[name]["metadata"]["finalizers"]
        self.tell(name, gone=True)

    async def settle(self) -> None:
        for _ in range(6):
            await super().settle()
            for _ in range(12):
                await asyncio.sleep(0)

    def free(self, node: str) -> int:
        """Devices of a node that nothing holds."""
        pool = self.devices._pools["chips.example.com", node]
        assert pool.shape is not None
        return len(pool.shape.devices) - pool.used.bit_count()


def chips(name: str, count: int = 2, resource: str = NEURON) -> Json:
    first = {"name": "main", "resources": {"requests": {resource: str(count), "cpu": "1"}}}
    return clusters.pod(name, containers=[first])


@pytest.fixture
async def api() -> Any:
    found = ClaimApi()
    yield found
    await found.close()


async def test_a_pod_gets_devices_for_a_plain_resource(api: ClaimApi) -> None:
    api.cluster(("n0", {}, 3))
    api.add_pod(chips("p"))
    api.add_pod(chips("q", resource=IMPLICIT))
    await api.settle()
    assert (api.node_of("p"), api.node_of("q")) == ("n0", None)
    [claim] = api.claims.values()
    assert claim["metadata"]["generateName"] == "p-extended-resources-"
    assert claim["metadata"]["annotations"] == {"resource.kubernetes.io/extended-resource-claim": "true"}
    assert claim["spec"]["devices"]["requests"] == [
        {
            "name": "container-0-request-0",
            "exactly": {"deviceClassName": "chips", "allocationMode": "ExactCount", "count": 2},
        }
    ]
    assert [r["device"] for r in claim["status"]["allocation"]["devices"]["results"]] == ["d0", "d1"]
    assert claim["status"]["reservedFor"] == [{"resource": "pods", "name": "p", "uid": "uid-p"}]
    assert api.pods["p"]["status"]["extendedResourceClaimStatus"] == {
        "resourceClaimName": claim["metadata"]["name"],
        "requestMappings": [
            {"containerName": "main", "resourceName": NEURON, "requestName": "container-0-request-0"}
        ],
    }
    assert (
        "q",
        "FailedScheduling",
        "0/1 nodes are available: 1 cannot allocate all claims. still not schedulable, "
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
    ) in api.events
    assert api.free("n0") == 1 and not api.devices.pending
    api.delete_pod("p")
    api.tell(claim["metadata"]["name"], gone=True)
    await api.settle()
    assert api.node_of("q") == "n0"


async def test_a_node_with_the_resource_of_its_own_needs_no_claim(api: ClaimApi) -> None:
    api.cluster(("n0", {NEURON: "2"}, 4))
    for name in ("p", "q"):
        api.add_pod(chips(name))
    await api.settle()
    assert [api.node_of(name) for name in ("p", "q")].count("n0") == 1
    assert not api.claims and api.free("n0") == 4
    said = [message for _, reason, message in api.events if reason == "FailedScheduling"]
    assert said == [
        f"0/1 nodes are available: 1 Insufficient {NEURON}. still not schedulable, "
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    ]


async def test_a_class_that_comes_later_wakes_all_pods(
    api: ClaimApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many they are: they change their class, so that nothing would wake the others later."""
    monkeypatch.setattr(shell, "WAKE_PODS", 2)
    api.set_node(clusters.node("n0", allocatable={NEURON: "0"}))
    api.informers["ResourceSlice"]._on_add[0](
        to(slice_of("n0", [device(f"d{number}") for number in range(5)]), SliceView)
    )
    for number in range(5):
        api.add_pod(chips(f"p{number}", 1))
    await api.settle()
    api.now += 20
    assert not any(api.node_of(name) for name in api.pods)
    api.informers["DeviceClass"]._on_add[0](device_class("chips", NEURON))
    await api.settle()
    assert {api.node_of(name) for name in api.pods} == {"n0"} and api.free("n0") == 0


@pytest.mark.parametrize("verb", ["create", "status", "pod status"])
async def test_a_write_that_is_refused_leaves_nothing_behind(api: ClaimApi, verb: str) -> None:
    api.cluster(("n0", {}, 2))
    api.refuse.append(verb)
    api.add_pod(chips("p"))
    await api.settle()
    assert api.node_of("p") is None and not api.claims and api.free("n0") == 2
    assert not api.devices.specials
    api.now += 20
    await api.settle()
    assert api.node_of("p") == "n0" and len(api.claims) == 1 and api.free("n0") == 0


async def test_a_claim_that_was_made_without_our_knowing_goes_first(api: ClaimApi) -> None:
    api.cluster(("n0", {}, 2))
    api.lose.append("create")
    api.add_pod(chips("p"))
    await api.settle()
    [name] = api.claims
    api.tell(name)
    api.now += 20
    await api.settle()
    assert (
        "p",
        "FailedScheduling",
        "0/1 nodes are available: 1 cannot schedule extended resource claim. deletion of ResourceClaim completed, "
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
    ) in api.events
    api.now += 20
    await api.settle()
    assert api.node_of("p") == "n0" and name not in api.claims and len(api.claims) == 1


async def test_an_allocation_whose_answer_was_lost_is_kept(api: ClaimApi) -> None:
    api.cluster(("n0", {}, 2))
    api.lose.append("status")
    api.add_pod(chips("p"))
    await api.settle()
    api.now += 20
    await api.settle()
    assert api.free("n0") == 0
    assert sum("allocation" in claim.get("status", {}) for claim in api.claims.values()) == 1


async def test_a_pod_that_goes_meanwhile_leaves_no_claim(api: ClaimApi) -> None:
    api.cluster(("n0", {}, 2))
    api.add_pod(chips("p"))
    api.deliver()
    api.scheduler.step()
    assert api.free("n0") == 0
    api.delete_pod("p")
    await api.settle()
    assert api.free("n0") == 2 and not api.claims and not api.devices.pending
