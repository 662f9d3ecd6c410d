"""networking.k8s.io/v1 against upstream's `pkg/apis/networking/validation` and `pkg/registry/networking`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apis.groups.tables import DROP, Change, changed, findings, label_message, subdomain_message

BACKEND = {"service": {"name": "s", "port": {"number": 80}}}
INGRESS: dict[str, Any] = {
    "spec": {
        "rules": [
            {
                "host": "a.example.com",
                "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": BACKEND}]},
            }
        ],
        "tls": [{"hosts": ["a.example.com"], "secretName": "t"}],
    }
}
PATH = "spec.rules[0].http.paths[0]"

# validateIngress and what it calls.
INGRESS_TABLE: list[tuple[str, Change, list[str]]] = [
    ("good", {}, []),
    (
        "ValidateIngressSpec",
        {"spec.rules": []},
        ["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"],
    ),
    (
        "ValidateIngressSpec",
        {"spec.ingressClassName": "_"},
        [f"spec.ingressClassName: {subdomain_message('_')}"],
    ),
    (
        "ValidateIngressCreate",
        {"spec.ingressClassName": "a", "metadata.annotations": {"kubernetes.io/ingress.class": "b"}},
        [
            'annotations.kubernetes.io/ingress.class: Invalid value: "b": must match `ingressClassName` when both are specified'
        ],
    ),
    (
        "ValidateIngressCreate",
        {"spec.ingressClassName": "a", "metadata.annotations": {"kubernetes.io/ingress.class": "a"}},
        [],
    ),
    (
        "validateIngressRules",
        {"spec.rules[0].host": "10.0.0.1"},
        ['spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address'],
    ),
    ("validateIngressRules", {"spec.rules[0].host": "*.example.com"}, []),
    (
        "validateHTTPIngressRuleValue",
        {"spec.rules[0].http.paths": []},
        ["spec.rules[0].http.paths: Required value"],
    ),
    (
        "validateHTTPIngressPath",
        {PATH: {"path": "x", "backend": {}}},
        [f"{PATH}.pathType: Required value: pathType must be specified"],
    ),
    (
        "validateHTTPIngressPath",
        {f"{PATH}.path": "a/../b//c/."},
        [
            f'{PATH}.path: Invalid value: "a/../b//c/.": must be an absolute path',
            f"{PATH}.path: Invalid value: \"a/../b//c/.\": must not contain '//'",
            f"{PATH}.path: Invalid value: \"a/../b//c/.\": must not contain '/../'",
            f"{PATH}.path: Invalid value: \"a/../b//c/.\": cannot end with '/.'",
        ],
    ),
    (
        "validateHTTPIngressPath",
        {f"{PATH}.pathType": "ImplementationSpecific", f"{PATH}.path": "~"},
        [f'{PATH}.path: Invalid value: "~": must be an absolute path'],
    ),
    (
        "validateHTTPIngressPath",
        {f"{PATH}.pathType": "Regex"},
        [
            f'{PATH}.pathType: Unsupported value: "Regex": supported values: "Exact", "ImplementationSpecific", "Prefix"'
        ],
    ),
    (
        "validateIngressBackend",
        {f"{PATH}.backend": {}},
        [f'{PATH}.backend: Invalid value: "": resource or service backend is required'],
    ),
    (
        "validateIngressBackend",
        {f"{PATH}.backend.resource": {"kind": "K", "name": "n"}},
        [f'{PATH}.backend: Invalid value: "": cannot set both resource and service backends'],
    ),
    ("validateIngressBackend", {f"{PATH}.backend.service.name": "1-s"}, []),
    (
        "validateIngressBackend",
        {f"{PATH}.backend.service.name": "S"},
        [f"{PATH}.backend.service.name: {label_message('S')}"],
    ),
    (
        "validateIngressBackend",
        {f"{PATH}.backend.service.port": {}},
        [f"{PATH}.backend: Required value: port name or number is required"],
    ),
    (
        "validateIngressBackend",
        {f"{PATH}.backend.service.port": {"name": "a", "number": 1}},
        [f'{PATH}.backend: Invalid value: "": cannot set both port name & port number'],
    ),
    (
        "validateIngressTypedLocalObjectReference",
        {f"{PATH}.backend": {"resource": {"apiGroup": "_", "kind": "", "name": "a/b"}}},
        [
            f"{PATH}.backend.resource.apiGroup: {subdomain_message('_')}",
            f"{PATH}.backend.resource.kind: Required value",
            f"{PATH}.backend.resource.name: Invalid value: \"a/b\": may not contain '/'",
        ],
    ),
    (
        "validateIngressTLS",
        {"spec.tls[0].secretName": "_"},
        [f"spec.tls[0].secretName: {subdomain_message('_')}"],
    ),
]


@pytest.mark.parametrize(("function", "change", "expected"), INGRESS_TABLE)
def test_ingresses(kind: Any, function: str, change: Change, expected: list[str]) -> None:
    assert findings(kind("ingresses").create_findings(changed(INGRESS, change))) == expected


def test_the_old_annotation_is_warned_of_once(kind: Any) -> None:
    """Mirrors WarningsOnCreate; on update it is not said again, and may differ from the field."""
    ingresses = kind("ingresses")
    obj = {**INGRESS, "metadata": {"annotations": {"kubernetes.io/ingress.class": "b"}}}
    made = ingresses.created(obj)
    assert ingresses.strategy.warnings(made, None) == [
        "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
    ]
    assert ingresses.strategy.warnings(made, made) == []
    assert ingresses.update_findings(obj, changed(obj, {"spec.ingressClassName": "a"})) == []


def test_ingress_status(kind: Any) -> None:
    """Mirrors ValidateIngressLoadBalancerStatus."""
    old = {**INGRESS, "status": {"loadBalancer": {"ingress": [{"ip": "010.0.0.1"}]}}}
    points = [
        {"ip": "010.0.0.1"},
        {"ip": "010.0.0.2"},
        {"hostname": "10.0.0.1"},
        {"hostname": "_"},
        {"ip": "1"},
    ]
    new = changed(old, {"status.loadBalancer.ingress": points})
    path = "status.loadBalancer.ingress"
    assert findings(kind("ingresses").update_findings(old, new, "status")) == [
        f'{path}[1].ip: Invalid value: "010.0.0.2": must not have leading 0s',
        f'{path}[2].hostname: Invalid value: "10.0.0.1": must be a DNS name, not an IP address',
        f"{path}[3].hostname: {subdomain_message('_')}",
        f'{path}[4].ip: Invalid value: "1": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
    ]


CLASS: dict[str, Any] = {"spec": {"controller": "example.com/c", "parameters": {"kind": "K", "name": "n"}}}

# ValidateIngressClass and what it calls.
CLASS_TABLE: list[tuple[str, Change, list[str]]] = [
    ("good", {}, []),
    ("validateIngressClassSpec", {"spec.controller": ""}, ["spec.controller: Required value"]),
    (
        "validateIngressClassSpec",
        {"spec.controller": "e/" + "c" * 249},
        ["spec.controller: Too long: may not be more than 250 bytes"],
    ),
    (
        "IsDomainPrefixedPath",
        {"spec.controller": "example.com"},
        [
            'spec.controller: Invalid value: "example.com": must be a domain-prefixed path (such as "acme.io/foo")'
        ],
    ),
    (
        "IsDomainPrefixedPath",
        {"spec.controller": "e/a b"},
        [
            "spec.controller: Invalid value: \"a b\": Invalid path (regex used for validation is '[A-Za-z0-9/\\\\-._~%!$&'()*+,;=:]+')".replace(
                "\\\\", "\\"
            )
        ],
    ),
    (
        "validateIngressClassParametersReference",
        {"spec.parameters": {"apiGroup": "_", "kind": "", "name": ""}},
        [
            f"spec.parameters.apiGroup: {subdomain_message('_')}",
            "spec.parameters.kind: Required value",
            "spec.parameters.name: Required value",
        ],
    ),
    (
        "validateIngressClassParametersReference",
        {"spec.parameters.scope": "Namespace"},
        ["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"],
    ),
    (
        "validateIngressClassParametersReference",
        {"spec.parameters.scope": "Namespace", "spec.parameters.namespace": "N"},
        [f"spec.parameters.namespace: {label_message('N')}"],
    ),
    (
        "validateIngressClassParametersReference",
        {"spec.parameters.namespace": "n"},
        ["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"],
    ),
    (
        "validateIngressClassParametersReference",
        {"spec.parameters.scope": "World"},
        ['spec.parameters.scope: Unsupported value: "World": supported values: "Cluster", "Namespace"'],
    ),
]


@pytest.mark.parametrize(("function", "change", "expected"), CLASS_TABLE)
def test_ingress_classes(kind: Any, function: str, change: Change, expected: list[str]) -> None:
    assert findings(kind("ingressclasses").create_findings(changed(CLASS, change))) == expected


def test_the_controller_of_a_class_stays(kind: Any) -> None:
    """Mirrors validateIngressClassSpecUpdate."""
    assert findings(
        kind("ingressclasses").update_findings(CLASS, changed(CLASS, {"spec.controller": "e/d"}))
    ) == ['spec.controller: Invalid value: "e/d": field is immutable']


BLOCK = {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}
POLICY: dict[str, Any] = {
    "spec": {
        "podSelector": {},
        "ingress": [
            {"ports": [{"port": 80, "endPort": 90}], "from": [{"ipBlock": BLOCK}, {"podSelector": {}}]}
        ],
        "egress": [{"to": [{"namespaceSelector": {}}]}],
    }
}
FROM = "spec.ingress[0].from[0]"
PORT = "spec.ingress[0].ports[0]"

# ValidateNetworkPolicySpec and what it calls.
POLICY_TABLE: list[tuple[str, Change, list[str]]] = [
    ("good", {}, []),
    (
        "ValidateNetworkPolicyPort",
        {f"{PORT}.protocol": "ICMP"},
        [f'{PORT}.protocol: Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP"'],
    ),
    (
        "ValidateNetworkPolicyPort",
        {f"{PORT}.port": 0},
        [f"{PORT}.port: Invalid value: 0: must be between 1 and 65535, inclusive"],
    ),
    (
        "ValidateNetworkPolicyPort",
        {f"{PORT}.endPort": 79},
        [f"{PORT}.endPort: Invalid value: 79: must be greater than or equal to `port`"],
    ),
    (
        "ValidateNetworkPolicyPort",
        {f"{PORT}.port": "http"},
        [f"{PORT}.endPort: Invalid value: 90: may not be specified when `port` is non-numeric"],
    ),
    (
        "ValidateNetworkPolicyPort",
        {f"{PORT}.port": DROP},
        [f"{PORT}.endPort: Invalid value: 90: may not be specified when `port` is not specified"],
    ),
    ("ValidateNetworkPolicyPeer", {f"{FROM}": {}}, [f"{FROM}: Required value: must specify a peer"]),
    (
        "ValidateNetworkPolicyPeer",
        {f"{FROM}.podSelector": {}},
        [f"{FROM}: Forbidden: may not specify both ipBlock and another peer"],
    ),
    ("ValidateIPBlock", {f"{FROM}.ipBlock": {"cidr": ""}}, [f"{FROM}.ipBlock.cidr: Required value"]),
    (
        "ValidateIPBlock",
        {f"{FROM}.ipBlock.cidr": "10.0.0.1/8"},
        [
            f'{FROM}.ipBlock.cidr: Invalid value: "10.0.0.1/8": must not have bits set beyond the prefix length'
        ],
    ),
    (
        "ValidateIPBlock",
        {f"{FROM}.ipBlock.except": ["10.0.0.0/8", "11.0.0.0/16", "x"]},
        [
            f'{FROM}.ipBlock.except[0]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`',
            f'{FROM}.ipBlock.except[1]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`',
            f'{FROM}.ipBlock.except[2]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)',
        ],
    ),
    (
        "policyTypes",
        {"spec.policyTypes": ["Both"]},
        ['spec.policyTypes[0]: Unsupported value: "Both": supported values: "Ingress", "Egress"'],
    ),
    (
        "policyTypes",
        {"spec.policyTypes": ["Ingress", "Egress", "Egress"]},
        [
            'spec.policyTypes: Invalid value: ["Ingress","Egress","Egress"]: may not specify more than two policyTypes'
        ],
    ),
    ("egress", {"spec.egress[0].to[0]": {}}, ["spec.egress[0].to[0]: Required value: must specify a peer"]),
]


@pytest.mark.parametrize(("function", "change", "expected"), POLICY_TABLE)
def test_network_policies(kind: Any, function: str, change: Change, expected: list[str]) -> None:
    assert findings(kind("networkpolicies").create_findings(changed(POLICY, change))) == expected


def test_networks_that_are_there_already_stay(kind: Any) -> None:
    """Mirrors ValidateNetworkPolicyUpdate: old forms may move about, new ones must be strict."""
    policies = kind("networkpolicies")
    old = changed(POLICY, {f"{FROM}.ipBlock.cidr": "10.0.0.1/8"})
    moved = changed(old, {"spec.egress[0].to[1]": {"ipBlock": {"cidr": "10.0.0.1/8"}}})
    assert policies.update_findings(old, moved) == []
    assert len(policies.update_findings(old, changed(old, {f"{FROM}.ipBlock.cidr": "10.0.0.2/8"}))) == 1
    assert policies.strategy.warnings(policies.created(old), None) == [
        f'{FROM}.ipBlock.cidr: CIDR value "10.0.0.1/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.0.0.1/32"?)'
    ]


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("10.0.0.1", []),
        ("2001:db8::1", []),
        ("2001:DB8::1", ['must be in canonical form ("2001:db8::1")']),
        ("x", ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]),
    ],
)
def test_names_of_addresses(kind: Any, name: str, messages: list[str]) -> None:
    """Mirrors ValidateIPAddressName."""
    assert kind("ipaddresses").strategy.validate_name(name) == messages


# validateIPAddressParentReference.
ADDRESS_TABLE: list[tuple[Change, list[str]]] = [
    ({}, []),
    ({"spec.parentRef": DROP}, ["spec.parentRef: Required value"]),
    (
        {"spec.parentRef": {"group": "_", "resource": "a%", "name": "", "namespace": ".."}},
        [
            f"spec.parentRef.group: {subdomain_message('_')}",
            "spec.parentRef.resource: Invalid value: \"a%\": may not contain '%'",
            "spec.parentRef.name: Required value",
            "spec.parentRef.namespace: Invalid value: \"..\": may not be '..'",
        ],
    ),
]


@pytest.mark.parametrize(("change", "expected"), ADDRESS_TABLE)
def test_addresses(kind: Any, change: Change, expected: list[str]) -> None:
    address = {"spec": {"parentRef": {"resource": "services", "name": "s", "namespace": "n"}}}
    assert findings(kind("ipaddresses").create_findings(changed(address, change))) == expected


# ValidateServiceCIDR and ValidateServiceCIDRUpdate.
CIDR_TABLE: list[tuple[list[str] | None, list[str], list[str]]] = [
    (None, [], ["spec.cidrs: Required value: at least one CIDR required"]),
    (
        None,
        ["10.0.0.0/8", "2001:DB8::/64"],
        ['spec.cidrs[1]: Invalid value: "2001:DB8::/64": must be in canonical form ("2001:db8::/64")'],
    ),
    (["10.0.0.0/8"], ["10.0.0.0/8", "2001:db8::/64"], []),
    (
        ["10.0.0.0/8"],
        ["10.0.0.0/8", "11.0.0.0/8"],
        [
            'spec.cidrs: Invalid value: ["10.0.0.0/8","11.0.0.0/8"]: may specify no more than one IP for each IP family, '
            "i.e 192.168.0.0/24 and 2001:db8::/64"
        ],
    ),
    (["10.0.0.0/8"], ["11.0.0.0/8"], ['spec.cidrs[0]: Invalid value: "11.0.0.0/8": field is immutable']),
    (
        ["10.0.0.0/8", "2001:db8::/64"],
        ["10.0.0.0/8"],
        ['spec.cidrs: Invalid value: ["10.0.0.0/8"]: field is immutable'],
    ),
]


@pytest.mark.parametrize(("old", "new", "expected"), CIDR_TABLE)
def test_service_ranges(kind: Any, old: list[str] | None, new: list[str], expected: list[str]) -> None:
    ranges, wanted = kind("servicecidrs"), {"spec": {"cidrs": new}}
    found = (
        ranges.create_findings(wanted)
        if old is None
        else ranges.update_findings({"spec": {"cidrs": old}}, wanted)
    )
    assert findings(found) == expected
