"""Resource slices against upstream's `pkg/apis/resource/validation` and `pkg/registry/resource`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apis.groups.tables import DROP, Change, changed, findings, label_message, subdomain_message

SLICE: dict[str, Any] = {
    "spec": {
        "driver": "d.example.com",
        "pool": {"name": "p", "resourceSliceCount": 1},
        "nodeName": "n1",
        "devices": [
            {
                "name": "x",
                "attributes": {"model": {"string": "m"}, "example.com/version": {"version": "1.2.3-rc.1+b"}},
                "capacity": {"memory": {"value": "80Gi"}},
            }
        ],
    }
}
SHARED = changed(SLICE, {"spec.devices[0].allowMultipleAllocations": True})
DEV = "spec.devices[0]"
POLICY = f"{DEV}.capacity.memory.requestPolicy"
AT = f"{DEV}.capacity[memory].requestPolicy"
SCOPES = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
SLICE_TABLE: list[tuple[str, dict[str, Any], Change, list[str]]] = [
    ("good", SLICE, {}, []),
    ("validateDriverName", SLICE, {"spec.driver": "a_b"}, [f"spec.driver: {subdomain_message('a_b')}"]),
    (
        "validateDriverName",
        SLICE,
        {"spec.driver": "d" * 64},
        ["spec.driver: Too long: may not be more than 63 bytes"],
    ),
    (
        "validateResourcePool",
        SLICE,
        {"spec.pool": {"name": "", "resourceSliceCount": 0, "generation": -1}},
        [
            "spec.pool.name: Required value",
            "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
            "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
        ],
    ),
    ("node scope", SLICE, {"spec.nodeName": DROP}, [f"spec: Required value: {SCOPES}"]),
    (
        "node scope",
        SLICE,
        {"spec.allNodes": True},
        [f'spec: Invalid value: "{{`nodeName`, `allNodes`}}": {SCOPES}, but multiple fields are set'],
    ),
    (
        "node scope",
        SLICE,
        {"spec.allNodes": False},
        ["spec.allNodes: Invalid value: false: must be either unset or set to true"],
    ),
    (
        "node scope",
        SLICE,
        {"spec.nodeName": ""},
        [
            'spec.nodeName: Invalid value: "": must be either unset or set to a non-empty string',
            f"spec: Required value: {SCOPES}",
        ],
    ),
    (
        "ValidateNodeSelector",
        SLICE,
        {"spec.nodeName": DROP, "spec.nodeSelector": {"nodeSelectorTerms": [{}, {}]}},
        [
            "spec.nodeSelector.nodeSelectorTerms: Invalid value: [{},{}]: must have exactly one node selector term"
        ],
    ),
    (
        "shared counters",
        SLICE,
        {"spec.sharedCounters": [{"name": "c", "counters": {"m": {"value": "1"}}}]},
        ['spec: Invalid value: "": only one of `sharedCounters` or `devices` is allowed'],
    ),
    (
        "validateCounterSet",
        SLICE,
        {"spec.devices": DROP, "spec.sharedCounters": [{"name": "C", "counters": {}}]},
        [
            f"spec.sharedCounters[0].name: {label_message('C')}",
            "spec.sharedCounters[0].counters: Required value",
        ],
    ),
    (
        "validateSet",
        SLICE,
        {"spec.devices": [{"name": f"x{i}"} for i in range(129)]},
        ["spec.devices: Too many: 129: must have at most 128 items"],
    ),
    (
        "validateSet",
        SLICE,
        {
            "spec.devices": [
                {"name": f"x{i}", "taints": [{"key": "k", "effect": "NoExecute"}]} for i in range(65)
            ]
        },
        ["spec.devices: Too many: 65: must have at most 64 items"],
    ),
    ("validateSet", SLICE, {"spec.devices[1]": {"name": "x"}}, ['spec.devices[1]: Duplicate value: "x"']),
    (
        "validateDevice",
        SLICE,
        {f"{DEV}.attributes": {f"a{i}": {"int": 1} for i in range(32)}},
        [f"{DEV}: Invalid value: 33: the total number of attributes and capacities must not exceed 32"],
    ),
    (
        "validateDevice",
        SLICE,
        {f"{DEV}.nodeName": "n"},
        [
            f"{DEV}: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
        ],
    ),
    (
        "validateDevice",
        SLICE,
        {"spec.nodeName": DROP, "spec.perDeviceNodeSelection": True, f"{DEV}.allNodes": False},
        [
            f"{DEV}.allNodes: Invalid value: false: must be either unset or set to true",
            f"{DEV}: Required value: exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
        ],
    ),
    (
        "validateDeviceAttribute",
        SLICE,
        {
            f"{DEV}.attributes": {
                "a": {},
                "b": {"int": 1, "bool": True},
                "c": {"string": "s" * 65},
                "d": {"version": "1.2"},
            }
        },
        [
            f'{DEV}.attributes[a]: Invalid value: "": exactly one value must be specified',
            f'{DEV}.attributes[b]: Invalid value: {{"bool":true,"int":1}}: exactly one value must be specified',
            f"{DEV}.attributes[c].string: Too long: may not be more than 64 bytes",
            f'{DEV}.attributes[d].version: Invalid value: "1.2": must be a string compatible with semver.org spec 2.0.0',
        ],
    ),
    (
        "dropDisableDRAListTypeAttributesFields",
        SLICE,
        {f"{DEV}.attributes": {"a": {"ints": [1]}}},
        [f'{DEV}.attributes[a]: Invalid value: "": exactly one value must be specified'],
    ),
    (
        "validateQualifiedName",
        SLICE,
        {f"{DEV}.attributes": {"a/b/c": {"int": 1}}},
        [f'{DEV}.attributes: Invalid value: "a/b/c": must not contain more than one slash'],
    ),
    (
        "truncateIfTooLong",
        SLICE,
        {f"{DEV}.attributes": {"a" * 97: {}}},
        [
            f"{DEV}.attributes: Too long: may not be more than 32 bytes",
            f"""{DEV}.attributes[{"a" * 47}...{"a" * 46}]: Invalid value: "": exactly one value must be specified""",
        ],
    ),
    (
        "validateDeviceTaint",
        SLICE,
        {f"{DEV}.taints": [{"key": "", "effect": ""}, {"key": "k", "effect": "Maybe", "value": "-"}]},
        [
            f"{DEV}.taints[0].key: ",
            f"{DEV}.taints[0].key: ",
            f"{DEV}.taints[0].effect: Required value",
            f"{DEV}.taints[1].value: ",
            f'{DEV}.taints[1].effect: Unsupported value: "Maybe": supported values: "NoExecute", "NoSchedule", "None"',
        ],
    ),
    (
        "validateDeviceCounterConsumption",
        SLICE,
        {f"{DEV}.consumesCounters": [{"counterSet": "", "counters": {}}]},
        [
            f"{DEV}.consumesCounters[0].counterSet: Required value",
            f"{DEV}.consumesCounters[0].counters: Required value",
        ],
    ),
    (
        "validateSingleAllocatableDeviceCapacity",
        SLICE,
        {POLICY: {"default": "1"}},
        [f"{AT}: Forbidden: allowMultipleAllocations must be true"],
    ),
    (
        "validateRequestPolicy",
        SHARED,
        {POLICY: {"default": "1", "validValues": ["1"], "validRange": {"min": "1"}}},
        [
            f'{AT}: Forbidden: exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
        ],
    ),
    (
        "validateValidRequestValues",
        SHARED,
        {POLICY: {"validValues": ["1"]}},
        [f"{AT}.default: Required value: required when validValues is defined"],
    ),
    (
        "validateRequestPolicyValidValues",
        SHARED,
        {POLICY: {"default": "3Gi", "validValues": ["2Gi", "1Gi", "1024Mi", "81Gi"]}},
        [
            f'{AT}.validValues[1]: Invalid value: "1Gi": values must be sorted in ascending order',
            f'{AT}.validValues[3]: Invalid value: "81Gi": option is larger than capacity value: 80Gi',
            f'{AT}.validValues[2]: Duplicate value: "1073741824"',
            f'{AT}.validValues: Invalid value: "3Gi": default value is not valid according to the requestPolicy',
        ],
    ),
    (
        "validateRequestPolicyRange",
        SHARED,
        {POLICY: {"default": "1Gi", "validRange": {"min": "2Gi", "max": "90Gi", "step": "3Gi"}}},
        [
            f'{AT}.validRange.default: Invalid value: "1Gi": default is less than min: 2Gi',
            f'{AT}.validRange.max: Invalid value: "90Gi": max is larger than capacity value: 80Gi',
            f'{AT}.validRange.step: Invalid value: "1Gi": value is not a multiple of a given step (3Gi) from (2Gi)',
            f'{AT}.validRange.step: Invalid value: "90Gi": value is not a multiple of a given step (3Gi) from (2Gi)',
        ],
    ),
    (
        "quantities",
        SLICE,
        {f"{DEV}.capacity.memory.value": "much"},
        [
            f"""{DEV}.capacity[memory].value: Invalid value: "much": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"""
        ],
    ),
]


@pytest.mark.parametrize(("function", "base", "change", "expected"), SLICE_TABLE)
def test_slices(kind: Any, function: str, base: dict[str, Any], change: Change, expected: list[str]) -> None:
    found = findings(kind("resourceslices").create_findings(changed(base, change)))
    assert len(found) == len(expected)
    assert all(f == e or (e.endswith(": ") and f.startswith(e)) for f, e in zip(found, expected, strict=True))


def test_slice_updates(kind: Any) -> None:
    """Mirrors ValidateResourceSliceUpdate."""
    slices = kind("resourceslices")
    new = changed(SLICE, {"spec.driver": "e", "spec.pool.name": "q", "spec.nodeName": "n2"})
    assert [(f.field, f.text) for f in slices.update_findings(SLICE, new)] == [
        ("spec.pool.name", 'Invalid value: "q": field is immutable'),
        ("spec.driver", 'Invalid value: "e": field is immutable'),
        ("spec.nodeName", 'Invalid value: "n2": field is immutable'),
    ]
    bad = changed(SLICE, {POLICY: {"default": "1"}})
    assert slices.update_findings(bad, changed(bad, {"spec.pool.generation": 2})) == []


def test_slice_defaults_and_warnings(kind: Any) -> None:
    slices = kind("resourceslices")
    made = slices.created(
        changed(
            SLICE,
            {
                f"{DEV}.taints": [{"key": "k", "effect": "None"}],
                f"{DEV}.capacity.memory.value": "0.5",
                "spec.driver": "D",
            },
        )
    )
    assert made.spec.devices[0].taints[0].timeAdded
    assert made.spec.devices[0].capacity["memory"].value == "500m"
    assert slices.strategy.warnings(made, None) == [
        'spec.driver: driver names should be lowercase; "D" contains uppercase characters'
    ]
