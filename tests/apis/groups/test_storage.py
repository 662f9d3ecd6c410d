"""storage.k8s.io/v1 against upstream's `pkg/apis/storage/validation` and `pkg/registry/storage`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apis.groups.tables import DROP, Change, changed, findings, subdomain_message

QUALIFIED = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)

CLASS: dict[str, Any] = {
    "provisioner": "example.com/P",
    "parameters": {"a": "b"},
    "allowedTopologies": [{"matchLabelExpressions": [{"key": "zone", "values": ["a", "b"]}]}],
}
TERM = "allowedTopologies[0].matchLabelExpressions"

# ValidateStorageClass and what it calls.
CLASS_TABLE: list[tuple[str, Change, list[str]]] = [
    ("good", {}, []),
    ("validateProvisioner", {"provisioner": ""}, ["provisioner: Required value"]),
    ("validateProvisioner", {"provisioner": "A-"}, [f'provisioner: Invalid value: "a-": {QUALIFIED}']),
    (
        "validateParameters",
        {"parameters": {"": "x"}},
        ['parameters: Invalid value: "": field can not be empty.'],
    ),
    (
        "validateParameters",
        {"parameters": {str(i): "" for i in range(513)}},
        ["parameters: Too long: may not be more than 512 bytes"],
    ),
    (
        "validateParameters",
        {"parameters": {"a": "x" * 262144}},
        ["parameters: Too long: may not be more than 262144 bytes"],
    ),
    (
        "validateReclaimPolicy",
        {"reclaimPolicy": "Recycle"},
        ['reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"'],
    ),
    (
        "validateVolumeBindingMode",
        {"volumeBindingMode": "Later"},
        [
            'volumeBindingMode: Unsupported value: "Later": supported values: "Immediate", "WaitForFirstConsumer"'
        ],
    ),
    (
        "validateTopologySelectorLabelRequirement",
        {f"{TERM}[0]": {"key": "-", "values": ["a", "a"]}},
        [f'{TERM}[0].values[1]: Duplicate value: "a"', f'{TERM}[0].key: Invalid value: "-": {QUALIFIED}'],
    ),
    (
        "ValidateTopologySelectorTerm",
        {f"{TERM}[1]": {"key": "zone", "values": []}},
        [f"{TERM}[1].values: Required value", f'{TERM}[1].key: Duplicate value: "zone"'],
    ),
    (
        "validateAllowedTopologies",
        {"allowedTopologies[1]": {"matchLabelExpressions": [{"key": "zone", "values": ["b", "a"]}]}},
        ['allowedTopologies[1].matchLabelExpressions: Duplicate value: ""'],
    ),
    ("validateAllowedTopologies", {"allowedTopologies[0]": {}}, [f'{TERM}: Duplicate value: ""']),
]


@pytest.mark.parametrize(("function", "change", "expected"), CLASS_TABLE)
def test_storage_classes(kind: Any, function: str, change: Change, expected: list[str]) -> None:
    assert findings(kind("storageclasses").create_findings(changed(CLASS, change))) == expected


def test_storage_class_updates(kind: Any) -> None:
    """Mirrors ValidateStorageClassUpdate."""
    change = {
        "provisioner": "p",
        "parameters": {},
        "reclaimPolicy": "Retain",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    assert findings(kind("storageclasses").update_findings(CLASS, changed(CLASS, change))) == [
        "parameters: Forbidden: updates to parameters are forbidden.",
        "provisioner: Forbidden: updates to provisioner are forbidden.",
        "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
        'volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable',
    ]


# validateCSIDriverSpec.
DRIVER_TABLE: list[tuple[str, Change, list[str]]] = [
    ("good", {}, []),
    (
        "validateFSGroupPolicy",
        {"spec.fsGroupPolicy": "Some"},
        [
            'spec.fsGroupPolicy: Unsupported value: "Some": supported values: "File", "None", "ReadWriteOnceWithFSType"'
        ],
    ),
    (
        "validateTokenRequests",
        {
            "spec.tokenRequests": [
                {"audience": "a", "expirationSeconds": 599},
                {"audience": "a"},
                {"audience": "", "expirationSeconds": 4294967297},
            ]
        },
        [
            "spec.tokenRequests[0].expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
            'spec.tokenRequests[1].audience: Duplicate value: "a"',
            "spec.tokenRequests[2].expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than "
            "2^32 seconds",
        ],
    ),
    (
        "validateVolumeLifecycleModes",
        {"spec.volumeLifecycleModes": ["Always"]},
        [
            'spec.volumeLifecycleModes: Unsupported value: "Always": supported values: "Persistent", "Ephemeral"'
        ],
    ),
    (
        "validateNodeAllocatableUpdatePeriodSeconds",
        {"spec.nodeAllocatableUpdatePeriodSeconds": 9},
        [
            "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds"
        ],
    ),
]


@pytest.mark.parametrize(("function", "change", "expected"), DRIVER_TABLE)
def test_csi_drivers(kind: Any, function: str, change: Change, expected: list[str]) -> None:
    assert findings(kind("csidrivers").create_findings(changed({"spec": {}}, change))) == expected


def test_csi_driver_updates(kind: Any) -> None:
    """Mirrors ValidateCSIDriverUpdate, whose first path is not quite the field's name; and the strategy's generation."""
    drivers = kind("csidrivers")
    new = {"spec": {"attachRequired": False, "volumeLifecycleModes": ["Ephemeral"]}}
    assert findings(drivers.update_findings({"spec": {}}, new)) == [
        "spec.attachedRequired: Invalid value: false: field is immutable",
        'spec.volumeLifecycleModes: Invalid value: ["Ephemeral"]: field is immutable',
    ]
    old, after = drivers.created({"spec": {}}), drivers.decode({"spec": {"podInfoOnMount": True}})
    drivers.strategy.prepare_for_update(after, old)
    assert (old.metadata.generation, after.metadata.generation) == (1, 2)


NODE: dict[str, Any] = {
    "spec": {"drivers": [{"name": "d", "nodeID": "n", "topologyKeys": ["zone"], "allocatable": {"count": 1}}]}
}
ON = "spec.drivers[0]"

# validateCSINodeDriver.
NODE_TABLE: list[tuple[str, Change, list[str]]] = [
    ("good", {}, []),
    ("ValidateCSIDriverName", {f"{ON}.name": "_"}, [f"{ON}.name: {subdomain_message('_')}"]),
    ("validateCSINodeDriverNodeID", {f"{ON}.nodeID": ""}, [f"{ON}.nodeID: Required value"]),
    (
        "validateCSINodeDriverNodeID",
        {f"{ON}.nodeID": "n" * 257},
        [f'{ON}.nodeID: Invalid value: "{"n" * 257}": must be 256 characters or less'],
    ),
    (
        "validateCSINodeDriverAllocatable",
        {f"{ON}.allocatable.count": -1},
        [f"{ON}.allocatable.count: Invalid value: -1: must be greater than or equal to 0"],
    ),
    (
        "validateCSINodeDriver",
        {f"{ON}.topologyKeys": ["zone", "zone", "-"], "spec.drivers[1]": {"name": "d", "nodeID": "m"}},
        [
            f'{ON}: Duplicate value: "zone"',
            f'{ON}: Invalid value: "-": {QUALIFIED}',
            'spec.drivers[1].name: Duplicate value: "d"',
        ],
    ),
]


@pytest.mark.parametrize(("function", "change", "expected"), NODE_TABLE)
def test_csi_nodes(kind: Any, function: str, change: Change, expected: list[str]) -> None:
    assert findings(kind("csinodes").create_findings(changed(NODE, change))) == expected


def test_csi_node_updates(kind: Any) -> None:
    """Mirrors ValidateCSINodeUpdate: the limit of a driver may change, and nothing else."""
    nodes = kind("csinodes")
    assert nodes.update_findings(NODE, changed(NODE, {f"{ON}.allocatable.count": 2})) == []
    assert findings(nodes.update_findings(NODE, changed(NODE, {f"{ON}.nodeID": "m"}))) == [
        'spec.drivers: Invalid value: {"name":"d","nodeID":"m","topologyKeys":["zone"]}: field is immutable'
    ]
    assert nodes.update_findings(NODE, {"spec": {"drivers": []}}) == []


ATTACHMENT: dict[str, Any] = {
    "spec": {"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "v"}},
    "status": {"attached": False},
}
INLINE = "spec.source.inlineVolumeSpec"
ONE = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"

# ValidateVolumeAttachment, ValidateVolumeAttachmentV1 and what they call.
ATTACHMENT_TABLE: list[tuple[str, Change, list[str]]] = [
    ("good", {}, []),
    ("validateAttacher", {"spec.attacher": ""}, ["spec.attacher: Required value"]),
    ("ValidateVolumeAttachmentV1", {"spec.attacher": "_"}, [f"spec.attacher: {subdomain_message('_')}"]),
    ("validateVolumeAttachmentSource", {"spec.source": {}}, [f"spec.source: Required value: {ONE}"]),
    (
        "validateVolumeAttachmentSource",
        {"spec.source.inlineVolumeSpec": {}},
        [f"spec.source: Forbidden: {ONE}"],
    ),
    (
        "validateVolumeAttachmentSource",
        {"spec.source.persistentVolumeName": ""},
        [
            "spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName",
            f"spec.source.persistentVolumeName: {subdomain_message('')}",
        ],
    ),
    (
        "ValidatePersistentVolumeSpec",
        {
            "spec.source": {
                "inlineVolumeSpec": {
                    "accessModes": ["ReadWriteOnce"],
                    "csi": {"driver": "a", "volumeHandle": "h"},
                    "persistentVolumeReclaimPolicy": "Retain",
                    "volumeMode": "Filesystem",
                }
            }
        },
        [],
    ),
    (
        "ValidatePersistentVolumeSpec",
        {
            "spec.source": {
                "inlineVolumeSpec": {
                    "capacity": {"storage": "1"},
                    "claimRef": {"name": "c"},
                    "local": {"path": "/a"},
                    "nodeAffinity": {},
                    "persistentVolumeReclaimPolicy": "Delete",
                    "storageClassName": "s",
                    "volumeMode": "Block",
                }
            }
        },
        [
            f"{INLINE}.claimRef: Forbidden: may not be specified in the context of inline volumes",
            f"{INLINE}.capacity: Forbidden: may not be specified in the context of inline volumes",
            f"{INLINE}.csi: Required value: has to be specified in the context of inline volumes",
            f"{INLINE}.accessModes: Required value",
            f"{INLINE}.persistentVolumeReclaimPolicy: Forbidden: may only be Retain in the context of inline volumes",
            f"{INLINE}.nodeAffinity: Forbidden: may not be specified in the context of inline volumes",
            f"{INLINE}.nodeAffinity: Required value: Local volume requires node affinity",
            f"{INLINE}.storageClassName: Forbidden: may not be specified in the context of inline volumes",
            f"{INLINE}.volumeMode: Forbidden: may not specify volumeMode other than Filesystem in the context of inline volumes",
        ],
    ),
    ("validateNodeName", {"spec.nodeName": "N"}, [f"spec.nodeName: {subdomain_message('N')}"]),
]


@pytest.mark.parametrize(("function", "change", "expected"), ATTACHMENT_TABLE)
def test_volume_attachments(kind: Any, function: str, change: Change, expected: list[str]) -> None:
    assert findings(kind("volumeattachments").create_findings(changed(ATTACHMENT, change))) == expected


def test_volume_attachment_status(kind: Any) -> None:
    """Mirrors validateVolumeAttachmentStatus; the limit that is named is not the one that is checked, as upstream."""
    status = {
        "attached": True,
        "attachmentMetadata": {"k": "v" * 262144},
        "attachError": {"message": "m" * 1025},
        "detachError": {"errorCode": -1},
    }
    found = kind("volumeattachments").update_findings(ATTACHMENT, {**ATTACHMENT, "status": status}, "status")
    assert findings(found) == [
        "status.attachmentMetadata: Too long: may not be more than 262144 bytes",
        "status.attachError.message: Too long: may not be more than 262144 bytes",
        "status.detachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive",
    ]
    assert findings(
        kind("volumeattachments").update_findings(ATTACHMENT, changed(ATTACHMENT, {"spec.nodeName": "m"}))
    ) == [
        'spec: Invalid value: {"attacher":"a","nodeName":"m","source":{"persistentVolumeName":"v"}}: field is immutable'
    ]


CAPACITY: dict[str, Any] = {
    "storageClassName": "c",
    "capacity": "1Gi",
    "nodeTopology": {"matchLabels": {"zone": "a"}},
}

# ValidateCSIStorageCapacity.
CAPACITY_TABLE: list[tuple[Change, list[str]]] = [
    ({}, []),
    (
        {"storageClassName": "_", "capacity": "-1"},
        [
            f"storageClassName: {subdomain_message('_')}",
            'capacity: Invalid value: "-1": must be greater than or equal to 0',
        ],
    ),
    (
        {"nodeTopology": {"matchExpressions": [{"key": "k", "operator": "In"}]}},
        [
            "nodeTopology.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
        ],
    ),
]


@pytest.mark.parametrize(("change", "expected"), CAPACITY_TABLE)
def test_capacities(kind: Any, change: Change, expected: list[str]) -> None:
    assert findings(kind("csistoragecapacities").create_findings(changed(CAPACITY, change))) == expected


def test_capacity_updates(kind: Any) -> None:
    """Mirrors ValidateCSIStorageCapacityUpdate."""
    new = changed(CAPACITY, {"nodeTopology": DROP, "storageClassName": "d", "capacity": "2Gi"})
    assert findings(kind("csistoragecapacities").update_findings(CAPACITY, new)) == [
        "nodeTopology: Invalid value: null: field is immutable",
        'storageClassName: Invalid value: "d": field is immutable',
    ]


def test_volume_attributes_classes(kind: Any) -> None:
    """Mirrors ValidateVolumeAttributesClass and ValidateVolumeAttributesClassUpdate."""
    classes, good = (
        kind("volumeattributesclasses"),
        {"driverName": "D.example.com", "parameters": {"iops": "1"}},
    )
    assert classes.create_findings(good) == []
    assert findings(classes.create_findings({"driverName": ""})) == [
        "driverName: Required value",
        "parameters: Required value: must contain at least one key/value pair",
    ]
    assert findings(classes.update_findings(good, {"driverName": "e", "parameters": {"iops": "2"}})) == [
        "driverName: Forbidden: updates to driverName are forbidden.",
        "parameters: Forbidden: updates to parameters are forbidden.",
    ]
