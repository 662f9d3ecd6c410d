"""kubectl on claims: devices by a template, volumes that wait for their first consumer."""

from __future__ import annotations

import pytest

from .cluster import Kubectl, eventually

pytestmark = pytest.mark.xdist_group("conformance")

ZONE = "topology.kubernetes.io/zone"


def phase(kubectl: Kubectl, kind: str, name: str) -> str:
    found: str = kubectl("get", kind, name, "-o", "jsonpath={.status.phase}").stdout
    return found


def pod(name: str, **spec: object) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": "busybox"}], **spec},
    }


def test_a_pod_runs_with_the_devices_it_claims(kubectl: Kubectl) -> None:
    device = 'device.attributes["neuron.aws.com"].deviceType == "trainium2"'
    exactly = {
        "deviceClassName": "neuron.aws.com",
        "count": 4,
        "selectors": [{"cel": {"expression": device}}],
    }
    devices = {
        "requests": [{"name": "chips", "exactly": exactly}],
        "constraints": [{"matchAttribute": "neuron.aws.com/row"}],
    }
    kubectl(
        "apply",
        "-f",
        "-",
        input=[
            {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "ResourceClaimTemplate",
                "metadata": {"name": "four"},
                "spec": {"spec": {"devices": devices}},
            },
            pod("p", resourceClaims=[{"name": "chips", "resourceClaimTemplateName": "four"}]),
        ],
    )
    eventually(lambda: phase(kubectl, "pod", "p") == "Running", "the pod runs")
    node = kubectl("get", "pod", "p", "-o", "jsonpath={.spec.nodeName}").stdout
    (row,) = kubectl("get", "resourceclaims").rows
    assert row[1] == "allocated,reserved"
    results = "jsonpath={range .items[*].status.allocation.devices.results[*]}{.pool}/{.device} {end}"
    found = kubectl("get", "resourceclaims", "-o", results).stdout.split()
    assert len(found) == len(set(found)) == 4
    assert all(device.startswith(f"{node}/neuron-") for device in found)
    assert len({int(device.rpartition("-")[2]) // 4 for device in found}) == 1

    kubectl("delete", "pod", "p")
    eventually(lambda: not kubectl("get", "resourceclaims").rows, "the claim goes with its pod")


def test_a_claim_that_nothing_satisfies_says_so(kubectl: Kubectl) -> None:
    exactly = {"deviceClassName": "neuron.aws.com", "count": 17}
    kubectl(
        "apply",
        "-f",
        "-",
        input=[
            {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "ResourceClaim",
                "metadata": {"name": "many"},
                "spec": {"devices": {"requests": [{"name": "chips", "exactly": exactly}]}},
            },
            pod("p", resourceClaims=[{"name": "chips", "resourceClaimName": "many"}]),
        ],
    )
    said = "jsonpath={.status.conditions[?(@.type=='PodScheduled')].message}"
    # Before the scheduler has seen the claim the pod waits for that.
    why = " cannot allocate all claims. still not schedulable, preemption: 0/"
    eventually(lambda: why in kubectl("get", "pod", "p", "-o", said).stdout, "the pod says why it waits")


def test_a_volume_is_made_in_the_zone_of_the_first_consumer_and_ties_the_next(kubectl: Kubectl) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
    }
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    kubectl("apply", "-f", "-", input=claim)
    assert phase(kubectl, "pvc", "data") == "Pending"
    kubectl("apply", "-f", "-", input=pod("first", volumes=volumes))
    eventually(lambda: phase(kubectl, "pod", "first") == "Running", "the pod runs")
    (row,) = kubectl("get", "pvc").rows
    assert row[1] == "Bound" and row[3:6] == ["10Gi", "RWO", "standard"]
    terms = "{.spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].values[0]}"
    zone = kubectl("get", "pv", row[2], "-o", f"jsonpath={terms}").stdout
    node = kubectl("get", "pod", "first", "-o", "jsonpath={.spec.nodeName}").stdout
    assert (
        kubectl(
            "get", "node", node, "-o", f"jsonpath={{.metadata.labels.{ZONE.replace('.', chr(92) + '.')}}}"
        ).stdout
        == zone
    )

    elsewhere = pod("second", volumes=volumes, nodeSelector={ZONE: "nowhere"})
    kubectl("apply", "-f", "-", input=elsewhere)
    said = "jsonpath={.status.conditions[?(@.type=='PodScheduled')].message}"
    why = "node(s) didn't match Pod's node affinity/selector"
    eventually(lambda: why in kubectl("get", "pod", "second", "-o", said).stdout, "the pod waits")

    kubectl("delete", "pvc", "data", "--wait=false")
    assert kubectl("get", "pvc").rows[0][1] == "Terminating"  # pods use it
    kubectl("delete", "pod", "first", "second")
    eventually(lambda: not kubectl("get", "pvc").rows, "the claim goes with its last user")
    eventually(
        lambda: row[2] not in kubectl("get", "pv", "-o", "name").stdout, "the volume goes with its claim"
    )
