"""The status of pods, and updates of pods' specs that upstream has rules of their own for (`ValidatePodStatusUpdate`, podStatusStrategy)."""

from __future__ import annotations

from typing import Any

import pytest

FROZEN = "Forbidden: may not be transitioned to non-terminated state"
ENDED = {"terminated": {"exitCode": 1}}
RUNNING = {"running": {}}
FAMILY = "may specify no more than one IP for each IP family"


def pod(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}
    return {
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [container], "nodeName": "n", **spec},
        "status": status or {},
    }


def state(of: dict[str, Any], field: str = "containerStatuses", **more: Any) -> dict[str, Any]:
    return {
        field: [
            {"name": "c", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": of, **more}
        ]
    }


@pytest.mark.parametrize(
    ("spec", "before", "after", "expected"),
    [
        ({}, {}, {"nominatedNodeName": "A"}, ["status.nominatedNodeName: Invalid value: \"A\": a lowercase RFC 1123 subdomain"]),
        ({}, {"qosClass": "Burstable"}, {"qosClass": "Guaranteed"}, [
            'status.qosClass: Invalid value: "Guaranteed": field is immutable'
        ]),
        ({}, {}, {"conditions": [{"type": "a b", "status": "True"}]}, [
            'metadata.conditions[0].Type: Invalid value: "a b": name part must consist of'
        ]),
        # ValidateContainerStateTransition
        ({"restartPolicy": "Never"}, state(ENDED), state(RUNNING), [f"status.containerStatuses[0].state: {FROZEN}"]),
        ({"restartPolicy": "OnFailure"}, state(ENDED), state(RUNNING), []),
        ({"restartPolicy": "OnFailure"}, state({"terminated": {"exitCode": 0}}), state(RUNNING), [
            f"status.containerStatuses[0].state: {FROZEN}"
        ]),
        ({}, state(ENDED), state(RUNNING), []),
        ({}, state(ENDED, "ephemeralContainerStatuses"), state(RUNNING, "ephemeralContainerStatuses"), [
            f"status.ephemeralContainerStatuses[0].state: {FROZEN}"
        ]),
        # validatePodResourceClaimStatuses
        ({}, {}, {"resourceClaimStatuses": [{"name": "x"}]}, [
            'status.resourceClaimStatuses[0].name: Invalid value: "x": must match the name of an entry in `spec.resourceClaims`'
        ]),
        ({"resourceClaims": [{"name": "x", "resourceClaimName": "y"}]}, {}, {
            "resourceClaimStatuses": [{"name": "x"}, {"name": "x"}]
        }, ['status.resourceClaimStatuses[1].name: Duplicate value: "x"']),
        # validatePodIPs, validateHostIPs
        ({}, {}, {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]}, [
            f'status.podIPs: Invalid value: [{{"IP":"10.0.0.1"}},{{"IP":"10.0.0.2"}}]: {FAMILY}'
        ]),
        ({}, {}, {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}, []),
        ({}, {}, {"podIPs": [{"ip": "010.0.0.1"}]}, ['status.podIPs[0]: Invalid value: "010.0.0.1": must not have leading 0s']),
        ({}, {}, {"hostIP": "10.0.0.2", "hostIPs": [{"ip": "10.0.0.1"}]}, [
            'status.hostIPs[0].ip: Invalid value: "10.0.0.1": must be equal to `hostIP`'
        ]),
        # validateContainerStatusUsers, validateContainerStatusAllocatedResourcesStatus
        ({}, {}, state(RUNNING, user={"linux": {"uid": -1, "gid": 0}}), [
            "status.containerStatuses[0].linux.uid: Invalid value: -1: must be between 0 and 2147483647, inclusive"
        ]),
        ({"os": {"name": "windows"}}, {}, state(RUNNING, user={"linux": {"uid": 1, "gid": 0}}), [
            "status.containerStatuses[0].linux: Forbidden: cannot be set for a windows pod"
        ]),
        ({}, {}, state(RUNNING, allocatedResourcesStatus=[{"name": "example.com/x", "resources": []}]), [
            'status.containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: "example.com/x": '
            "must match one of the container's resource requests"
        ]),
        ({}, {}, state(RUNNING, allocatedResourcesStatus=[{"name": "cpu", "resources": [{"resourceID": "1", "health": "Ill"}]}]), [
            'status.containerStatuses[0].allocatedResourcesStatus[0].resources[0].health: Unsupported value: "Ill": '
            'supported values: "Healthy", "Unhealthy", "Unknown"'
        ]),
    ],
)  # fmt: skip
def test_findings(
    update_status: Any,
    spec: dict[str, Any],
    before: dict[str, Any],
    after: dict[str, Any],
    expected: list[str],
) -> None:
    _, found = update_status("Pod", pod(before, **spec), pod(after, **spec))
    assert len(found) == len(expected), found
    assert all(one.startswith(other) for one, other in zip(found, expected, strict=True)), found


@pytest.mark.parametrize(
    ("action", "code", "is_fine"),
    [("Restart", 1, True), ("Restart", 2, False), ("RestartAllContainers", 2, True)],
)
def test_containers_that_restart_by_rule(update_status: Any, action: str, code: int, is_fine: bool) -> None:
    """Container restart rules (KEP-5307), and those that restart the whole pod (KEP-5532)."""
    rule = {"action": action, "exitCodes": {"operator": "In", "values": [1]}}
    before, after = pod(state({"terminated": {"exitCode": code}}), restartPolicy="Never"), pod(state(RUNNING))
    for obj in (before, after):
        obj["spec"]["restartPolicy"] = "Never"
        obj["spec"]["containers"][0] |= {"restartPolicy": "Never", "restartPolicyRules": [rule]}
    _, found = update_status("Pod", before, after)
    assert found == ([] if is_fine else [f"status.containerStatuses[0].state: {FROZEN}"])


def test_what_a_write_keeps(update_status: Any) -> None:
    """A client that does not know of a field does not take it away; the address of older clients shows in the newer field."""
    condition = {"type": "Ready", "status": "True"}
    before = {
        "qosClass": "Burstable",
        "observedGeneration": 3,
        "conditions": [{**condition, "observedGeneration": 2}],
    }
    new, found = update_status("Pod", pod(before), pod({"podIP": "10.0.0.9", "conditions": [condition]}))
    assert found == []
    status = new.status
    assert (status.qosClass, status.observedGeneration, status.podIPs[0].ip) == ("Burstable", 3, "10.0.0.9")
    assert status.conditions[0].observedGeneration == 2
    new, _ = update_status("Pod", pod({}), pod({"podIPs": [{"ip": "10.0.0.8"}]}))
    assert new.status.podIP == "10.0.0.8"
