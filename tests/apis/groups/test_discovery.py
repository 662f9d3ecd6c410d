"""discovery.k8s.io/v1 against upstream's `pkg/apis/discovery/validation` and `pkg/registry/discovery/endpointslice`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apis.groups.tables import Change, changed, findings, label_message, subdomain_message

SLICE: dict[str, Any] = {
    "addressType": "IPv4",
    "endpoints": [
        {"addresses": ["10.0.0.1"], "nodeName": "n", "hostname": "h", "hints": {"forZones": [{"name": "z"}]}}
    ],
    "ports": [{"name": "http", "port": 80}],
}
ADDRESS = "endpoints[0].addresses[0]"
NAMES: Change = {"addressType": "FQDN"}

# ValidateEndpointSlice and what it calls.
TABLE: list[tuple[str, Change, list[str]]] = [
    ("good", {}, []),
    ("validateAddressType", {"addressType": ""}, ["addressType: Required value"]),
    (
        "validateAddressType",
        {"addressType": "IPX"},
        ['addressType: Unsupported value: "IPX": supported values: "FQDN", "IPv4", "IPv6"'],
    ),
    (
        "validateEndpoints",
        {"endpoints": [{"addresses": ["10.0.0.1"]}] * 1001},
        ["endpoints: Too many: 1001: must have at most 1000 items"],
    ),
    (
        "validateEndpoints",
        {"endpoints[0].addresses": []},
        ["endpoints[0].addresses: Required value: must contain at least 1 address"],
    ),
    (
        "validateEndpoints",
        {"endpoints[0].addresses": ["10.0.0.1"] * 101},
        ["endpoints[0].addresses: Too many: 101: must have at most 100 items"],
    ),
    (
        "validateEndpoints",
        {"endpoints[0].nodeName": "N"},
        [f"endpoints[0].nodeName: {subdomain_message('N')}"],
    ),
    ("validateEndpoints", {"endpoints[0].hostname": "H"}, [f"endpoints[0].hostname: {label_message('H')}"]),
    (
        "IsValidIPForLegacyField",
        {ADDRESS: "x"},
        [f'{ADDRESS}: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'],
    ),
    (
        "IsValidIPForLegacyField",
        {ADDRESS: "010.0.0.1"},
        [f'{ADDRESS}: Invalid value: "010.0.0.1": must not have leading 0s'],
    ),
    (
        "validateEndpoints",
        {ADDRESS: "2001:db8::1"},
        [f'{ADDRESS}: Invalid value: "2001:db8::1": must be a valid IPv4 address'],
    ),
    (
        "ValidateEndpointIP",
        {ADDRESS: "0.0.0.0"},
        [f'{ADDRESS}: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)'],
    ),
    (
        "ValidateEndpointIP",
        {ADDRESS: "127.0.0.1"},
        [f'{ADDRESS}: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)'],
    ),
    (
        "ValidateEndpointIP",
        {ADDRESS: "169.254.169.254"},
        [
            f'{ADDRESS}: Invalid value: "169.254.169.254": may not be in the link-local range (169.254.0.0/16, fe80::/10)'
        ],
    ),
    (
        "ValidateEndpointIP",
        {ADDRESS: "224.0.0.1"},
        [
            f'{ADDRESS}: Invalid value: "224.0.0.1": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)'
        ],
    ),
    ("ValidateEndpointIP", {ADDRESS: "224.0.1.1"}, []),
    (
        "ValidateEndpointIP",
        {"addressType": "IPv6", ADDRESS: "::1"},
        [f'{ADDRESS}: Invalid value: "::1": may not be in the loopback range (127.0.0.0/8, ::1/128)'],
    ),
    (
        "ValidateEndpointIP",
        {"addressType": "IPv6", ADDRESS: "fe80::1"},
        [
            f'{ADDRESS}: Invalid value: "fe80::1": may not be in the link-local range (169.254.0.0/16, fe80::/10)'
        ],
    ),
    (
        "ValidateEndpointIP",
        {"addressType": "IPv6", ADDRESS: "ff02::1"},
        [
            f'{ADDRESS}: Invalid value: "ff02::1": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)'
        ],
    ),
    ("IsFullyQualifiedDomainName", {**NAMES, ADDRESS: "a.example.com."}, []),
    (
        "IsFullyQualifiedDomainName",
        {**NAMES, ADDRESS: "example"},
        [
            f'{ADDRESS}: Invalid value: "example": should be a domain with at least two segments separated by dots'
        ],
    ),
    ("IsFullyQualifiedDomainName", {**NAMES, ADDRESS: "A.b"}, [f"{ADDRESS}: {subdomain_message('A.b')}"]),
    ("IsFullyQualifiedDomainName", {**NAMES, ADDRESS: ""}, [f"{ADDRESS}: Required value"]),
    (
        "validateHints",
        {"endpoints[0].hints": {"forZones": [{"name": "z"}, {"name": "z"}], "forNodes": [{"name": "N"}]}},
        [
            'endpoints[0].hints.forZones[1].name: Duplicate value: "z"',
            f"endpoints[0].hints.forNodes[0].name: {subdomain_message('N')}",
        ],
    ),
    (
        "validateHints",
        {"endpoints[0].hints.forZones": [{"name": str(i)} for i in range(9)]},
        ["endpoints[0].hints.forZones: Too many: 9: must have at most 8 items"],
    ),
    ("validatePorts", {"ports[0].name": "H"}, [f"ports[0].name: {label_message('H')}"]),
    ("validatePorts", {"ports[1]": {"name": "http"}}, ['ports[1].name: Duplicate value: "http"']),
    (
        "validatePorts",
        {"ports[0].protocol": "ICMP"},
        ['ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"'],
    ),
    (
        "validatePorts",
        {"ports": [{"name": str(i)} for i in range(20001)]},
        ["ports: Too many: 20001: must have at most 20000 items"],
    ),
]


@pytest.mark.parametrize(("function", "change", "expected"), TABLE)
def test_slices(kind: Any, function: str, change: Change, expected: list[str]) -> None:
    assert findings(kind("endpointslices").create_findings(changed(SLICE, change))) == expected


def test_updates(kind: Any) -> None:
    """Mirrors ValidateEndpointSliceUpdate: the type stays, and so may old addresses."""
    slices = kind("endpointslices")
    old = changed(SLICE, {ADDRESS: "010.0.0.1"})
    assert slices.update_findings(old, changed(old, {"ports[0].port": 81})) == []
    assert findings(
        slices.update_findings(SLICE, changed(SLICE, {"addressType": "IPv6", ADDRESS: "2001:db8::1"}))
    ) == ['addressType: Invalid value: "IPv6": field is immutable']


def test_generation_counts_labels_and_all_but_metadata(kind: Any) -> None:
    """Mirrors the strategy's PrepareForUpdate."""
    slices = kind("endpointslices")
    old = slices.created(SLICE)
    for change, counted in (
        ({"metadata.labels": {"a": "b"}}, 2),
        ({"metadata.annotations": {"a": "b"}}, 1),
        ({"ports[0].port": 81}, 2),
    ):
        new = slices.decode(changed(SLICE, change))
        new.metadata.generation = old.metadata.generation
        slices.strategy.prepare_for_update(new, old)
        assert new.metadata.generation == counted


def test_topology_is_dropped(kind: Any) -> None:
    """Mirrors dropTopologyOnV1."""
    slices = kind("endpointslices")
    topology = {"endpoints[0].deprecatedTopology": {"kubernetes.io/hostname": "n"}}
    assert slices.created(changed(SLICE, topology)).endpoints[0].deprecatedTopology is None
    old = slices.decode(changed(SLICE, topology))
    new = slices.decode(changed(SLICE, topology))
    slices.strategy.prepare_for_update(new, old)
    assert new.endpoints[0].deprecatedTopology is not None
    new = slices.decode(changed(SLICE, {**topology, ADDRESS: "10.0.0.2"}))
    slices.strategy.prepare_for_update(new, old)
    assert new.endpoints[0].deprecatedTopology is None


def test_warnings(kind: Any) -> None:
    """Mirrors warnOnDeprecatedAddressType and warnOnBadIPs."""
    slices = kind("endpointslices")
    made = slices.created(changed(SLICE, {**NAMES, ADDRESS: "a.b"}))
    assert slices.strategy.warnings(made, None) == ["spec.addressType: FQDN endpoints are deprecated"]
    odd = changed(SLICE, {"addressType": "IPv6", ADDRESS: "2001:DB8::1"})
    warning = f'{ADDRESS}: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")'
    assert slices.strategy.warnings(slices.created(odd), None) == [warning]
    odd["metadata"] = {
        "labels": {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}
    }
    assert slices.strategy.warnings(slices.created(odd), None) == []
