"""PersistentVolumes and claims: what an update may change, status and warnings."""

from __future__ import annotations

from typing import Any

import pytest

CLASS = "volume.beta.kubernetes.io/storage-class"
IMMUTABLE = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
NIL = "spec.volumeAttributesClassName: Forbidden: update from non-nil value to"


def claim(phase: str = "Pending", size: str = "2Gi", capacity: str = "", **spec: Any) -> dict[str, Any]:
    annotations = spec.pop("annotations", {})
    return {
        "metadata": {"name": "c", "namespace": "default", "annotations": annotations},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec},
        "status": {"phase": phase, **({"capacity": {"storage": capacity}} if capacity else {})},
    }


def starts(found: list[str], expected: list[str]) -> bool:
    return len(found) == len(expected) and all(a.startswith(b) for a, b in zip(found, expected, strict=True))


# ValidatePersistentVolumeClaimSpec, validateDataSource
@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"accessModes": []}, ["spec.accessModes: Required value: at least 1 access mode is required"]),
        ({"accessModes": ["Write"]}, [
            'spec.accessModes: Unsupported value: "Write": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", '
            '"ReadWriteOncePod"'
        ]),
        ({"resources": {}}, ["spec.resources[storage]: Required value"]),
        ({"resources": {"requests": {"storage": "0"}}}, [
            'spec.resources[storage]: Invalid value: "0": must be greater than zero'
        ]),
        ({"dataSourceRef": {"kind": "", "name": ""}}, [
            "spec.dataSource.name: Required value",
            "spec.dataSource.kind: Required value",
            'spec.dataSource: Invalid value: "": must be \'PersistentVolumeClaim\' when referencing the default apiGroup',
            "spec.dataSourceRef.name: Required value",
            "spec.dataSourceRef.kind: Required value",
            'spec.dataSourceRef: Invalid value: "": must be \'PersistentVolumeClaim\' when referencing the default apiGroup',
        ]),
        ({"volumeMode": "Tape"}, ['spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem"']),
        ({"storageClassName": "A"}, ['spec.storageClassName: Invalid value: "A": a lowercase RFC 1123 subdomain']),
    ],
)  # fmt: skip
def test_claims(create: Any, spec: dict[str, Any], expected: list[str]) -> None:
    _, found = create("PersistentVolumeClaim", claim(**spec))
    assert starts(found, expected), found


# ValidatePersistentVolumeClaimUpdate
@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (claim("Bound"), claim("Bound", "3Gi"), []),
        (claim(), claim(size="3Gi"), [IMMUTABLE]),
        (claim("Bound", capacity="2Gi"), claim("Bound", "1Gi", "2Gi"), [
            "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"
        ]),
        # A growth that did not come about may be taken back, down to more than what is there.
        (claim("Bound", "5Gi", "2Gi"), claim("Bound", "3Gi", "2Gi"), []),
        (claim(), claim(volumeName="v"), []),
        (claim(volumeName="v"), claim(volumeName="w"), [IMMUTABLE]),
        (claim(), claim(storageClassName="fast"), []),
        (claim(storageClassName="slow"), claim(storageClassName="fast"), [IMMUTABLE]),
        (claim(annotations={CLASS: "fast"}), claim(storageClassName="fast"), []),
        (claim(annotations={CLASS: "fast"}), claim(annotations={CLASS: "slow"}), [
            f'metadata.annotations.{CLASS}: Invalid value: "slow": field is immutable'
        ]),
        (claim("Bound"), claim("Bound", volumeAttributesClassName="gold"), []),
        (claim("Bound", volumeAttributesClassName="gold"), claim("Bound", volumeAttributesClassName=""), [
            f"{NIL} an empty string is forbidden"
        ]),
        (claim(accessModes=["ReadOnlyMany"]), claim(), [IMMUTABLE]),
    ],
)  # fmt: skip
def test_claims_change(
    rewrite: Any, before: dict[str, Any], after: dict[str, Any], expected: list[str]
) -> None:
    _, found = rewrite("PersistentVolumeClaim", before, after)
    assert starts(found, expected), found


# ValidatePersistentVolumeClaimStatusUpdate
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"capacity": {"storage": "-1"}}, ["status.capacity[storage]: Invalid value: -1: must be a valid resource quantity"]),
        ({"allocatedResourceStatuses": {"cpu": "NodeResizePending"}}, [
            'status.allocatedResourceStatus: Unsupported value: "cpu": supported values: "storage"'
        ]),
        ({"allocatedResourceStatuses": {"storage": "Lost"}}, [
            'status.allocatedResourceStatus: Unsupported value: "storage": supported values: "ControllerResizeInProgress"'
        ]),
        ({"allocatedResources": {"storage": "2Gi", "example.com/x": "1"}}, []),
    ],
)  # fmt: skip
def test_status_of_claims(update_status: Any, status: dict[str, Any], expected: list[str]) -> None:
    _, found = update_status("PersistentVolumeClaim", claim(), {**claim(), "status": status})
    assert starts(found, expected), found


def volume(key: str = "k", annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": key, "operator": "In", "values": ["a"]}]}
    return {
        "metadata": {"name": "v", "annotations": annotations or {}},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "csi": {"driver": "d", "volumeHandle": "h"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
            **spec,
        },
    }


SECRET = {"name": "s", "namespace": "n"}


# ValidatePersistentVolumeUpdate, ValidatePersistentVolumeSpec
@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (volume(), volume(capacity={"storage": "2Gi"}), []),
        (volume(), volume(csi={"driver": "d", "volumeHandle": "other"}), [
            "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"
        ]),
        (volume(), volume(csi={"driver": "d", "volumeHandle": "h", "controllerExpandSecretRef": SECRET}), []),
        (volume(), volume(volumeMode="Block"), ['volumeMode: Invalid value: "Block": field is immutable']),
        (volume("a"), volume("b"), ["nodeAffinity: Invalid value: "]),
        (volume("beta.kubernetes.io/os"), volume("kubernetes.io/os"), []),
        (volume(volumeAttributesClassName="gold"), volume(), [f"{NIL} nil is forbidden"]),
        (volume(), volume(volumeAttributesClassName=""), [
            "spec.volumeAttributesClassName: Required value: an empty string is disallowed"
        ]),
    ],
)  # fmt: skip
def test_volumes_change(
    rewrite: Any, before: dict[str, Any], after: dict[str, Any], expected: list[str]
) -> None:
    _, found = rewrite("PersistentVolume", before, after)
    assert starts(found, expected), found


# GetWarningsForPersistentVolume, GetWarningsForPersistentVolumeClaim
def test_warnings(warn: Any) -> None:
    assert warn("PersistentVolumeClaim", claim(size="1.5")) == [
        'spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer'
    ]
    old = {**claim(), "metadata": {"annotations": {CLASS: "x"}}}
    old["spec"]["resources"]["limits"] = {"storage": "1.5"}
    assert warn("PersistentVolumeClaim", old) == [
        f'metadata.annotations[{CLASS}]: deprecated since v1.8; use "storageClassName" attribute instead',
        'spec.resources.limits[storage]: fractional byte value "1500m" is invalid, must be an integer',
    ]
    assert warn(
        "PersistentVolume",
        volume("beta.kubernetes.io/os", {CLASS: "x"}, persistentVolumeReclaimPolicy="Recycle"),
    ) == [
        f'metadata.annotations[{CLASS}]: deprecated since v1.8; use "storageClassName" attribute instead',
        "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to "
        "use dynamic provisioning.",
        "spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/os is deprecated since "
        'v1.14; use "kubernetes.io/os" instead',
    ]
