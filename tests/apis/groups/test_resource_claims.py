"""Claims, templates and device classes against upstream's `pkg/apis/resource/validation` and `pkg/registry/resource`."""

from __future__ import annotations

from typing import Any

import pytest

from lakh.apis.groups.resource import asks_for_admin_access
from tests.apis.groups.tables import DROP, Change, changed, findings, label_message, subdomain_message

CLAIM: dict[str, Any] = {
    "spec": {
        "devices": {
            "requests": [
                {"name": "a", "exactly": {"deviceClassName": "gpu"}},
                {"name": "b", "firstAvailable": [{"name": "big", "deviceClassName": "gpu"}]},
            ],
            "constraints": [{"requests": ["a", "b/big"], "matchAttribute": "example.com/numa"}],
            "config": [{"requests": ["a"], "opaque": {"driver": "d.example.com", "parameters": {"x": 1}}}],
        }
    }
}
REQUEST = "spec.devices.requests[0]"
NOT_A_REQUEST = (
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)
CLAIM_TABLE: list[tuple[str, Change, list[str]]] = [
    ("good", {}, []),
    (
        "validateRequestName",
        {f"{REQUEST}.name": "A"},
        [
            f"{REQUEST}.name: {label_message('A')}",
            f'spec.devices.constraints[0].requests[0]: Invalid value: "a": {NOT_A_REQUEST}',
            f'spec.devices.config[0].requests[0]: Invalid value: "a": {NOT_A_REQUEST}',
        ],
    ),
    (
        "validateDeviceRequest",
        {f"{REQUEST}.exactly": DROP},
        [f"{REQUEST}: Required value: exactly one of `exactly` or `firstAvailable` is required"],
    ),
    (
        "validateDeviceRequest",
        {f"{REQUEST}.firstAvailable[0]": {"name": "x", "deviceClassName": "gpu"}},
        [
            f"{REQUEST}: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"
        ],
    ),
    (
        "validateSet",
        {"spec.devices.requests[2]": {"name": "a", "exactly": {"deviceClassName": "gpu"}}},
        ['spec.devices.requests[2]: Duplicate value: "a"'],
    ),
    (
        "validateSet",
        {"spec.devices.requests[1].firstAvailable[1]": {"name": "big", "deviceClassName": "gpu"}},
        ['spec.devices.requests[1].firstAvailable[1]: Duplicate value: "big"'],
    ),
    (
        "validateSlice",
        {
            "spec.devices.requests[1].firstAvailable": [
                {"name": f"n{i}", "deviceClassName": "gpu"} for i in range(9)
            ],
            "spec.devices.constraints": [],
        },
        ["spec.devices.requests[1].firstAvailable: Too many: 9: must have at most 8 items"],
    ),
    (
        "validateDeviceClass",
        {f"{REQUEST}.exactly.deviceClassName": ""},
        [f"{REQUEST}.exactly.deviceClassName: Required value"],
    ),
    (
        "validateDeviceClass",
        {f"{REQUEST}.exactly.deviceClassName": "_"},
        [f"{REQUEST}.exactly.deviceClassName: {subdomain_message('_')}"],
    ),
    (
        "validateDeviceAllocationMode",
        {f"{REQUEST}.exactly.allocationMode": "All", f"{REQUEST}.exactly.count": 1},
        [f"{REQUEST}.exactly.count: Invalid value: 1: must not be specified when allocationMode is 'All'"],
    ),
    (
        "validateDeviceAllocationMode",
        {f"{REQUEST}.exactly.count": -1},
        [f"{REQUEST}.exactly.count: Invalid value: -1: must be greater than zero"],
    ),
    (
        "validateDeviceAllocationMode",
        {f"{REQUEST}.exactly.allocationMode": "Some"},
        [
            f'{REQUEST}.exactly.allocationMode: Unsupported value: "Some": supported values: "All", "ExactCount"'
        ],
    ),
    (
        "validateSelector",
        {f"{REQUEST}.exactly.selectors[0]": {}},
        [f"{REQUEST}.exactly.selectors[0].cel: Required value"],
    ),
    (
        "validateCELExpression",
        {f"{REQUEST}.exactly.selectors[0]": {"cel": {"expression": "'x'"}}},
        [
            f"""{REQUEST}.exactly.selectors[0].cel.expression: Invalid value: "'x'": must evaluate to bool or the unknown type, not string"""
        ],
    ),
    (
        "validateCELExpression",
        {f"{REQUEST}.exactly.selectors[0]": {"cel": {"expression": " " * 10241}}},
        [f"{REQUEST}.exactly.selectors[0].cel.expression: Too long: may not be more than 10240 bytes"],
    ),
    (
        "validateCELExpression",
        {f"{REQUEST}.exactly.selectors[0]": {"cel": {"expression": 'device.driver == "d"'}}},
        [],
    ),
    (
        "validateDeviceToleration",
        {f"{REQUEST}.exactly.tolerations[0]": {"operator": "Exists", "value": "v", "effect": "Maybe"}},
        [
            f'{REQUEST}.exactly.tolerations[0].value: Invalid value: "v": must be empty for operator `Exists`',
            f'{REQUEST}.exactly.tolerations[0].effect: Unsupported value: "Maybe": supported values: "NoExecute", "NoSchedule", "None"',
        ],
    ),
    (
        "validateDeviceToleration",
        {f"{REQUEST}.exactly.tolerations[0]": {"operator": "Like"}},
        [
            f'{REQUEST}.exactly.tolerations[0].operator: Unsupported value: "Like": supported values: "Equal", "Exists"'
        ],
    ),
    (
        "validateRequestNameRef",
        {"spec.devices.constraints[0].requests[1]": "b/small"},
        [f'spec.devices.constraints[0].requests[1]: Invalid value: "b/small": {NOT_A_REQUEST}'],
    ),
    (
        "validateRequestNameRef",
        {"spec.devices.constraints[0].requests[1]": "a/b/c"},
        [f'spec.devices.constraints[0].requests[1]: Invalid value: "a/b/c": {NOT_A_REQUEST}'],
    ),
    (
        "validateSet",
        {"spec.devices.constraints[0].requests[1]": "a"},
        ['spec.devices.constraints[0].requests[1]: Duplicate value: "a"'],
    ),
    (
        "validateFullyQualifiedName",
        {"spec.devices.constraints[0].matchAttribute": "numa"},
        [
            'spec.devices.constraints[0].matchAttribute: Invalid value: "numa": a fully qualified name must be a domain and a name separated by a slash'
        ],
    ),
    (
        "validateQualifiedName",
        {"spec.devices.constraints[0].matchAttribute": "/"},
        [
            'spec.devices.constraints[0].matchAttribute: Invalid value: "": the domain must not be empty',
            'spec.devices.constraints[0].matchAttribute: Invalid value: "": the name must not be empty',
        ],
    ),
    (
        "validateDeviceConstraint",
        {"spec.devices.constraints[0].matchAttribute": DROP},
        [
            'spec.devices.constraints[0]: Required value: exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
        ],
    ),
    (
        "validateDeviceConfiguration",
        {"spec.devices.config[0].opaque": DROP},
        ["spec.devices.config[0].opaque: Required value"],
    ),
    (
        "validateOpaqueConfiguration",
        {"spec.devices.config[0].opaque.driver": "", "spec.devices.config[0].opaque.parameters": [1]},
        [
            "spec.devices.config[0].opaque.driver: Required value",
            'spec.devices.config[0].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object',
        ],
    ),
    (
        "validateRawExtension",
        {"spec.devices.config[0].opaque.parameters": {"x": "y" * 10240}},
        ["spec.devices.config[0].opaque.parameters: Too long: may not be more than 10240 bytes"],
    ),
    (
        "quantities",
        {f"{REQUEST}.exactly.capacity": {"requests": {"mem": "1x"}}},
        [
            f"""{REQUEST}.exactly.capacity.requests[mem]: Invalid value: "1x": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"""
        ],
    ),
]


@pytest.mark.parametrize(("function", "change", "expected"), CLAIM_TABLE)
def test_claims(kind: Any, function: str, change: Change, expected: list[str]) -> None:
    assert findings(kind("resourceclaims").create_findings(changed(CLAIM, change))) == expected


def test_templates_are_claims_below_spec(kind: Any) -> None:
    template = {
        "spec": {
            "metadata": {"labels": {"-": "x"}},
            "spec": changed(CLAIM, {f"{REQUEST}.exactly": DROP})["spec"],
        }
    }
    found = findings(kind("resourceclaimtemplates").create_findings(template))
    assert [text.partition(": ")[0] for text in found] == ["spec.metadata.labels"]
    del template["spec"]["metadata"]
    found = findings(kind("resourceclaimtemplates").create_findings(template))
    assert [text.partition(": ")[0] for text in found] == ["spec.spec.devices.requests[0]"]


ALLOCATION: dict[str, Any] = {
    "devices": {
        "results": [{"request": "a", "driver": "d", "pool": "p/q", "device": "x"}],
        "config": [{"source": "FromClaim", "requests": ["a"], "opaque": {"driver": "d", "parameters": {}}}],
    },
    "nodeSelector": {"nodeSelectorTerms": [{}]},
}
USER = {"resource": "pods", "name": "p", "uid": "1"}
ALLOCATED = {**CLAIM, "status": {"allocation": ALLOCATION, "reservedFor": [USER]}}
DEVICE = {"driver": "d", "pool": "p/q", "device": "x"}
RESULT = "status.allocation.devices.results[0]"
STATUS_TABLE: list[tuple[str, dict[str, Any], Change, list[str]]] = [
    ("good", CLAIM, {}, []),
    (
        "validateSet",
        ALLOCATED,
        {"status.reservedFor[1]": USER},
        ['status.reservedFor[1]: Duplicate value: "1"'],
    ),
    (
        "validateResourceClaimUserReference",
        ALLOCATED,
        {"status.reservedFor[1]": {"uid": "2"}},
        ["status.reservedFor[1].resource: Required value", "status.reservedFor[1].name: Required value"],
    ),
    (
        "validateSlice",
        ALLOCATED,
        {"status.reservedFor": [{**USER, "uid": str(i)} for i in range(257)]},
        ["status.reservedFor: Too many: 257: must have at most 256 items"],
    ),
    (
        "validateResourceClaimStatusUpdate",
        CLAIM,
        {"status.allocation": DROP},
        ["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"],
    ),
    (
        "ValidateImmutableField",
        ALLOCATED,
        {"status.allocation.devices.config": DROP, "status.allocation.nodeSelector": DROP},
        [
            'status.allocation: Invalid value: {"devices":{"results":[{"device":"x","driver":"d","pool":"p/q","request":"a"}]}}: field is immutable'
        ],
    ),
    (
        "validateRequestNameRef",
        CLAIM,
        {f"{RESULT}.request": "c"},
        [f'{RESULT}.request: Invalid value: "c": {NOT_A_REQUEST}'],
    ),
    ("validateDriverName", CLAIM, {f"{RESULT}.driver": ""}, [f"{RESULT}.driver: Required value"]),
    ("validatePoolName", CLAIM, {f"{RESULT}.pool": "p/Q"}, [f"{RESULT}.pool: {subdomain_message('Q')}"]),
    ("validateDeviceName", CLAIM, {f"{RESULT}.device": "X"}, [f"{RESULT}.device: {label_message('X')}"]),
    (
        "validateUID",
        CLAIM,
        {f"{RESULT}.shareID": "C8C9B7B6-33C5-4D4B-A8F8-7D3A3AE0AA0E"},
        [
            f'{RESULT}.shareID: Invalid value: "C8C9B7B6-33C5-4D4B-A8F8-7D3A3AE0AA0E": uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters'
        ],
    ),
    (
        "validateUID",
        CLAIM,
        {f"{RESULT}.shareID": "7"},
        [f'{RESULT}.shareID: Invalid value: "7": error validating uid: invalid UUID length: 1'],
    ),
    (
        "validateDeviceBindingParameters",
        CLAIM,
        {f"{RESULT}.bindingConditions": ["a"]},
        [
            f"{RESULT}.bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions"
        ],
    ),
    (
        "validateDeviceBindingParameters",
        CLAIM,
        {f"{RESULT}.bindingConditions": ["a", "a"], f"{RESULT}.bindingFailureConditions": ["a"]},
        [
            f'{RESULT}.bindingConditions[1]: Duplicate value: "a"',
            f'{RESULT}.bindingFailureConditions[0]: Invalid value: "a": bindingFailureConditions must not overlap with bindingConditions',
        ],
    ),
    (
        "validateAllocationConfigSource",
        CLAIM,
        {"status.allocation.devices.config[0].source": "FromHere"},
        [
            'status.allocation.devices.config[0].source: Unsupported value: "FromHere": supported values: "FromClaim", "FromClass"'
        ],
    ),
    (
        "ValidateNodeSelector",
        CLAIM,
        {"status.allocation.nodeSelector.nodeSelectorTerms": []},
        [
            "status.allocation.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term"
        ],
    ),
    (
        "validateDeviceStatus",
        ALLOCATED,
        {"status.devices[0]": {**DEVICE, "device": "y"}},
        ['status.devices[0]: Invalid value: "d/p/q/y": must be an allocated device in the claim'],
    ),
    (
        "validateSet",
        ALLOCATED,
        {"status.devices": [DEVICE, DEVICE]},
        ['status.devices[1]: Duplicate value: "d/p/q/x"'],
    ),
    (
        "ValidateConditions",
        ALLOCATED,
        {
            "status.devices[0]": {
                **DEVICE,
                "conditions": [{"type": "Ready", "status": "Yes", "reason": "", "message": ""}],
            }
        },
        [
            'status.devices[0].conditions[0].status: Unsupported value: "Yes": supported values: "False", "True", "Unknown"',
            "status.devices[0].conditions[0].lastTransitionTime: Required value: must be set",
            "status.devices[0].conditions[0].reason: Required value: must be set",
        ],
    ),
    (
        "validateNetworkDeviceData",
        ALLOCATED,
        {
            "status.devices[0]": {
                **DEVICE,
                "networkData": {
                    "ips": ["10.0.0.1/24", "010.0.0.1/24", "10.0.0.1"],
                    "interfaceName": "e" * 257,
                },
            }
        },
        [
            "status.devices[0].networkData.interfaceName: Too long: may not be more than 256 bytes",
            'status.devices[0].networkData.ips[1]: Invalid value: "010.0.0.1/24": must be in canonical form ("10.0.0.1/24")',
            'status.devices[0].networkData.ips[2]: Invalid value: "10.0.0.1": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)',
        ],
    ),
]


@pytest.mark.parametrize(("function", "old", "change", "expected"), STATUS_TABLE)
def test_claim_status(
    kind: Any, function: str, old: dict[str, Any], change: Change, expected: list[str]
) -> None:
    new = changed(ALLOCATED, change)
    assert findings(kind("resourceclaims").update_findings(old, new, "status")) == expected


def test_no_consumer_joins_a_claim_that_is_deleted(kind: Any) -> None:
    going = {**ALLOCATED, "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    more = changed(going, {"status.reservedFor[1]": {**USER, "uid": "2"}})
    claims = kind("resourceclaims")
    assert findings(claims.update_findings(going, more, "status")) == [
        "status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
    ]
    assert claims.update_findings(more, going, "status") == []


def test_devices_given_back_lose_their_status(kind: Any) -> None:
    """Mirrors dropDeallocatedStatusDevices."""
    claims = kind("resourceclaims")
    old = claims.decode(changed(ALLOCATED, {"status.devices[0]": DEVICE}))
    new = claims.decode(changed(ALLOCATED, {"status": {"devices": [DEVICE]}}))
    claims.strategy.prepare_for_status_update(new, old)
    assert new.status.devices is None


def test_admin_access(kind: Any) -> None:
    """Mirrors AuthorizedForAdmin and AuthorizedForAdminStatus: who must be asked for leave."""
    claims = kind("resourceclaims")
    plain, admin = (
        claims.decode(CLAIM),
        claims.decode(changed(CLAIM, {f"{REQUEST}.exactly.adminAccess": True})),
    )
    assert asks_for_admin_access(plain, None, "") == ""
    assert asks_for_admin_access(admin, None, "") == "spec.devices.requests[0].adminAccess"
    assert asks_for_admin_access(admin, admin, "") == ""
    allocated = claims.decode(changed(ALLOCATED, {f"{RESULT}.adminAccess": True}))
    assert asks_for_admin_access(allocated, plain, "status") == f"{RESULT}.adminAccess"
    assert asks_for_admin_access(allocated, allocated, "status") == ""
    template = kind("resourceclaimtemplates").decode(
        {"spec": {"spec": changed(CLAIM, {f"{REQUEST}.exactly.adminAccess": True})["spec"]}}
    )
    assert asks_for_admin_access(template, None, "") == "spec.devices.requests[0].adminAccess"


CLASS_TABLE: list[tuple[Change, list[str]]] = [
    ({}, []),
    (
        {"spec.selectors[0]": {"cel": {"expression": "device.driver =="}}},
        ["compilation failed: "],
    ),
    ({"spec.config[0]": {}}, ["spec.config[0].opaque: Required value"]),
    (
        {"spec.extendedResourceName": "cpu"},
        ['spec.extendedResourceName: Invalid value: "cpu": must be a valid extended resource name'],
    ),
    ({"spec.extendedResourceName": "example.com/gpu"}, []),
]


@pytest.mark.parametrize(("change", "expected"), CLASS_TABLE)
def test_device_classes(kind: Any, change: Change, expected: list[str]) -> None:
    found = findings(kind("deviceclasses").create_findings(changed({"spec": {}}, change)))
    assert len(found) == len(expected)
    assert all(e in f for e, f in zip(expected, found, strict=True))


def test_what_stays_in_a_class_is_not_looked_into_again(kind: Any) -> None:
    bad = {"spec": {"selectors": [{"cel": {"expression": "("}}]}}
    assert kind("deviceclasses").update_findings(bad, {**bad, "metadata": {"labels": {"a": "b"}}}) == []
    assert (
        len(
            kind("deviceclasses").update_findings(
                bad, changed(bad, {"spec.selectors[0].cel.expression": "(("})
            )
        )
        == 1
    )
