"""Devices that have to be made ready: a pod is bound when their conditions are true, and tries others when they will not be."""

from __future__ import annotations

from typing import Any

import pytest

from lakh.scheduler.deviceviews import SliceView
from lakh.scheduler.profile import Profile

from . import clusters
from .test_devices import DRIVER, claim, device, request, slice_of, to
from .test_extendedresources import ClaimApi, device_class

Json = dict[str, Any]
CONDITIONS = {
    "bindsToNode": True,
    "bindingConditions": ["Attached", "Powered"],
    "bindingFailureConditions": ["AttachFailed"],
}


class FabricApi(ClaimApi):
    """One node, two devices of a fabric that every node reaches, and a pod with a claim of one."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self.informers["DeviceClass"]._on_add[0](device_class("any"))
        self.set_node(clusters.node("n0"))
        devices = [device("d0", **CONDITIONS), device("d1", **CONDITIONS)]
        pool = {"name": "fabric", "generation": 1, "resourceSliceCount": 1}
        found = slice_of("fabric", devices, nodeName=None, allNodes=True, pool=pool)
        self.informers["ResourceSlice"]._on_add[0](to(found, SliceView))
        self.claims["c"] = claim("c", [request()])
        self.tell("c")
        self.add_pod(clusters.pod("p", resourceClaims=[{"name": "c", "resourceClaimName": "c"}]))

    @property
    def device(self) -> str:
        """The one that is allocated."""
        [result] = self.claims["c"]["status"]["allocation"]["devices"]["results"]
        return str(result["device"])

    def say(self, **conditions: str) -> None:
        """What the driver reports of the device."""
        self.claims["c"]["status"]["devices"] = [
            {
                "driver": DRIVER,
                "pool": "fabric",
                "device": self.device,
                "conditions": [
                    {"type": name, "status": status, "reason": "Because", "message": 'no "link"'}
                    for name, status in conditions.items()
                ],
            }
        ]
        self.version += 1
        self.claims["c"]["metadata"]["resourceVersion"] = str(self.version)
        self.tell("c")


@pytest.fixture
async def api(request: pytest.FixtureRequest) -> Any:
    found = FabricApi(getattr(request, "param", Profile()))
    yield found
    await found.close()


async def test_a_pod_waits_for_its_device(api: FabricApi) -> None:
    await api.settle()
    status = api.claims["c"]["status"]
    [result] = status["allocation"]["devices"]["results"]
    assert result["bindingConditions"] == ["Attached", "Powered"]
    assert result["bindingFailureConditions"] == ["AttachFailed"]
    assert status["allocation"]["allocationTimestamp"]
    [term] = status["allocation"]["nodeSelector"]["nodeSelectorTerms"]
    assert term["matchFields"][0]["values"] == ["n0"]
    assert api.node_of("p") is None
    assert api.events == [
        ("p", "BindingConditionsPending", "waiting for binding conditions for device on node n0")
    ]
    for conditions in ({"Attached": "True"}, {"Attached": "True", "Powered": "False"}):
        api.say(**conditions)
        await api.settle()
        assert api.node_of("p") is None
    api.say(Attached="True", Powered="True")
    await api.settle()
    assert api.node_of("p") == "n0" and not api.scheduler.claims._watching


async def test_a_device_that_fails_is_given_back(api: FabricApi) -> None:
    await api.settle()
    api.say(Attached="True", Powered="True", AttachFailed="True")
    await api.settle()
    why = 'claim c binding failed: reason=Because, message="no \\"link\\""'
    assert ("p", "FailedScheduling", f'running PreBind plugin "DynamicResources": {why}') in api.events
    api.now += 20
    await api.settle()
    status = api.claims["c"]["status"]
    assert status["allocation"] is None and status["devices"] is None and not status["reservedFor"]
    assert api.events[-1][2].startswith(
        "0/1 nodes are available: 1 resourceclaim not available on the node. deallocation of ResourceClaim completed, "
    )
    api.tell("c")
    api.now += 20
    await api.settle()
    assert api.claims["c"]["status"]["allocation"] is not None and api.node_of("p") is None
    api.say(Attached="True", Powered="True")
    await api.settle()
    assert api.node_of("p") == "n0"


@pytest.mark.parametrize("api", [Profile(device_timeout_seconds=0)], indirect=True)
async def test_a_device_that_takes_too_long_is_given_back(api: FabricApi) -> None:
    await api.settle()
    assert (
        "p",
        "FailedScheduling",
        'running PreBind plugin "DynamicResources": device binding timeout',
    ) in api.events
    api.tell("c")
    api.now += 20
    await api.settle()
    assert api.claims["c"]["status"]["allocation"] is None
    api.tell("c")
    assert not api.devices.given_up
