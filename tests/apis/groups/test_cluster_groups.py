"""The smaller groups: bad objects, immutability and tables, a line each."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from lakh.apis.definitions import schema
from lakh.apis.groups.scheduling import SYSTEM_PRIORITY_CLASSES

GetKind = Callable[[str], Any]

ROLE_REF = {"kind": "Role", "name": "r"}
BACKEND = {"service": {"name": "s", "port": {"number": 80}}}
CRD: dict[str, Any] = {
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object"}},
            }
        ],
    },
}
HOOK: dict[str, Any] = {
    "name": "a.example.com",
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
    "clientConfig": {"service": {"name": "s", "namespace": "n"}},
    "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
}
PEER = {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/24"]}

BAD = [
    ("leases", {"spec": {"holderIdentity": "a", "leaseDurationSeconds": 40}}, []),
    (
        "leases",
        {"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}},
        [
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
            "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
        ],
    ),
    (
        "priorityclasses",
        {"value": 1_000_000_001},
        ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
    ),
    (
        "priorityclasses",
        {"metadata": {"name": "system-mine"}, "value": 1},
        [
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. "
            "error: system-mine is not a known system priority class"
        ],
    ),
    (
        "poddisruptionbudgets",
        {"spec": {"minAvailable": 1, "maxUnavailable": "200%"}},
        [
            'spec: Invalid value: {"maxUnavailable":"200%","minAvailable":1}: minAvailable and maxUnavailable cannot '
            "be both set",
            'spec.maxUnavailable: Invalid value: "200%": must not be greater than 100%',
        ],
    ),
    (
        "roles",
        {"rules": [{"verbs": [], "apiGroups": [""], "resources": ["pods"]}]},
        ["rules[0].verbs: Required value: verbs must contain at least one value"],
    ),
    (
        "roles",
        {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}]},
        [
            'rules[0].nonResourceURLs: Invalid value: ["/healthz"]: namespaced rules cannot apply to non-resource '
            "URLs"
        ],
    ),
    ("clusterroles", {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}]}, []),
    (
        "rolebindings",
        {"roleRef": ROLE_REF, "subjects": [{"kind": "Robot", "name": "x"}]},
        ['subjects[0].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"'],
    ),
    (
        "clusterrolebindings",
        {
            "roleRef": {"kind": "ClusterRole", "name": "r"},
            "subjects": [{"kind": "ServiceAccount", "name": "x"}],
        },
        ["subjects[0].namespace: Required value"],
    ),
    (
        "ingresses",
        {},
        ["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"],
    ),
    (
        "ingresses",
        {
            "spec": {
                "rules": [{"http": {"paths": [{"path": "x//", "pathType": "Prefix", "backend": BACKEND}]}}]
            }
        },
        [
            'spec.rules[0].http.paths[0].path: Invalid value: "x//": must be an absolute path',
            "spec.rules[0].http.paths[0].path: Invalid value: \"x//\": must not contain '//'",
        ],
    ),
    (
        "networkpolicies",
        {"spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": PEER}]}]}},
        [
            'spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "11.0.0.0/24": must be a strict subset of '
            "`cidr`"
        ],
    ),
    (
        "servicecidrs",
        {"spec": {"cidrs": ["10.0.0.0/8", "11.0.0.0/8"]}},
        [
            'spec.cidrs: Invalid value: ["10.0.0.0/8","11.0.0.0/8"]: may specify no more than one IP for each IP '
            "family, i.e 192.168.0.0/24 and 2001:db8::/64"
        ],
    ),
    (
        "networkpolicies",
        {"spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {**PEER, "cidr": "010.0.0.0/08"}}]}]}},
        [
            'spec.ingress[0].from[0].ipBlock.cidr: Invalid value: "010.0.0.0/08": must not have leading 0s in IP or '
            "prefix length",
            'spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "11.0.0.0/24": must be a strict subset of '
            "`cidr`",
        ],
    ),
    ("storageclasses", {}, ["provisioner: Required value"]),
    (
        "storageclasses",
        {"provisioner": "a", "reclaimPolicy": "Keep"},
        ['reclaimPolicy: Unsupported value: "Keep": supported values: "Delete", "Retain"'],
    ),
    (
        "endpointslices",
        {"addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"]}]},
        [
            'endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, '
            "::1/128)"
        ],
    ),
    (
        "resourceclaims",
        {"spec": {"devices": {"requests": [{"name": "a"}]}}},
        [
            "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"
        ],
    ),
    ("customresourcedefinitions", CRD, []),
    (
        "customresourcedefinitions",
        {**CRD, "metadata": {"name": "gadgets.example.com"}},
        ['metadata.name: Invalid value: "gadgets.example.com": must be spec.names.plural+"."+spec.group'],
    ),
    (
        "customresourcedefinitions",
        {
            **CRD,
            "spec": {
                **CRD["spec"],
                "versions": [{**CRD["spec"]["versions"][0], "schema": {"openAPIV3Schema": "x"}}],
            },
        },
        ['spec.validation.openAPIV3Schema: Invalid value: "x": must be an object'],
    ),
    ("validatingwebhookconfigurations", {"webhooks": [HOOK]}, []),
    (
        "mutatingwebhookconfigurations",
        {"webhooks": [{**HOOK, "name": "short", "timeoutSeconds": 31}]},
        [
            'webhooks[0].name: Invalid value: "short": should be a domain with at least three segments separated by '
            "dots",
            "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
        ],
    ),
    (
        "apiservices",
        {
            "metadata": {"name": "v1.example.com"},
            "spec": {
                "group": "example.com",
                "version": "v1",
                "groupPriorityMinimum": 0,
                "versionPriority": 1,
            },
        },
        ["spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000"],
    ),
    (
        "prioritylevelconfigurations",
        {"spec": {"type": "Limited"}},
        ["spec.limited: Required value: must not be empty when type is Limited"],
    ),
]


@pytest.mark.parametrize(("plural", "plain", "expected"), BAD)
def test_create_errors(kind: GetKind, plural: str, plain: dict[str, Any], expected: list[str]) -> None:
    assert kind(plural).create_errors(plain) == expected


@pytest.mark.parametrize(
    ("plural", "old", "new", "expected"),
    [
        (
            "priorityclasses",
            {"value": 1},
            {"value": 2, "preemptionPolicy": "Never"},
            [
                "value: Forbidden: may not be changed in an update.",
                'preemptionPolicy: Invalid value: "Never": field is immutable',
            ],
        ),
        (
            "rolebindings",
            {"roleRef": ROLE_REF},
            {"roleRef": {**ROLE_REF, "name": "other"}},
            [
                'roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"other"}: '
                "cannot change roleRef"
            ],
        ),
        (
            "storageclasses",
            {"provisioner": "a"},
            {"provisioner": "b"},
            ["provisioner: Forbidden: updates to provisioner are forbidden."],
        ),
        (
            "runtimeclasses",
            {"handler": "a"},
            {"handler": "b"},
            ['handler: Invalid value: "b": field is immutable'],
        ),
    ],
)
def test_update_errors(
    kind: GetKind, plural: str, old: dict[str, Any], new: dict[str, Any], expected: list[str]
) -> None:
    assert kind(plural).update_errors(old, new) == expected


META = {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}
NOW = 1767225600 + 7200.0


@pytest.mark.parametrize(
    ("plural", "plain", "expected"),
    [
        ("leases", {"spec": {"holderIdentity": "n1"}}, ["x", "n1", "120m"]),
        ("priorityclasses", {"value": 7}, ["x", 7, False, "120m", "PreemptLowerPriority"]),
        ("poddisruptionbudgets", {"spec": {"minAvailable": "50%"}}, ["x", "50%", "N/A", 0, "120m"]),
        ("roles", {}, ["x", "2026-01-01T00:00:00Z"]),
        (
            "rolebindings",
            {
                "roleRef": ROLE_REF,
                "subjects": [
                    {"kind": "User", "name": "u"},
                    {"kind": "Group", "name": "g"},
                    {"kind": "ServiceAccount", "name": "s", "namespace": "n"},
                ],
            },
            ["x", "Role/r", "120m", "u", "g", "n/s"],
        ),
        (
            "ingresses",
            {
                "spec": {"rules": [{"host": f"h{i}"} for i in range(4)], "tls": [{}]},
                "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}},
            },
            ["x", "<none>", "h0,h1,h2 + 1 more...", "1.2.3.4", "80, 443", "120m"],
        ),
        ("networkpolicies", {"spec": {"podSelector": {}}}, ["x", "<none>", "120m"]),
        (
            "storageclasses",
            {
                "metadata": {
                    **META["metadata"],
                    "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
                },
                "provisioner": "p",
            },
            ["x (default)", "p", "Delete", "Immediate", False, "120m"],
        ),
        (
            "endpointslices",
            {
                "addressType": "IPv4",
                "ports": [{"port": 80}],
                "endpoints": [{"addresses": [f"10.0.0.{i}"]} for i in range(5)],
            },
            ["x", "IPv4", "80", "10.0.0.0,10.0.0.1,10.0.0.2 + 2 more...", "120m"],
        ),
        ("runtimeclasses", {"handler": "kata"}, ["x", "kata", "120m"]),
        ("resourceclaims", {}, ["x", "pending", "120m"]),
        ("csinodes", {}, ["x", 0, "120m"]),
        (
            "ipaddresses",
            {"spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "s"}}},
            ["x", "services/n/s"],
        ),
        (
            "certificatesigningrequests",
            {
                "spec": {"signerName": "example.com/s", "username": "u", "expirationSeconds": 3600},
                "status": {"certificate": "eA==", "conditions": [{"type": "Approved", "status": "True"}]},
            },
            ["x", "120m", "example.com/s", "u", "60m", "Approved,Issued"],
        ),
        ("apiservices", {}, ["x", "Local", "Unknown", "120m"]),
        ("customresourcedefinitions", {}, ["x", "2026-01-01T00:00:00Z"]),
        (
            "prioritylevelconfigurations",
            {"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}},
            ["x", "Limited", 30, 64, 8, 50, "120m"],
        ),
    ],
)
def test_cells(kind: GetKind, plural: str, plain: dict[str, Any], expected: list[Any]) -> None:
    assert kind(plural).cells({**META, **plain}, NOW) == expected


def test_system_priority_classes_are_valid(kind: GetKind) -> None:
    for plain in SYSTEM_PRIORITY_CLASSES:
        assert kind("priorityclasses").create_errors(plain) == []
    wrong = {**SYSTEM_PRIORITY_CLASSES[0], "globalDefault": True}
    (error,) = kind("priorityclasses").create_errors(wrong)
    assert error.endswith("globalDefault of system-node-critical PriorityClass must be false")


def test_local_api_services_are_available(kind: GetKind) -> None:
    spec = {"group": "apps", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}
    obj = kind("apiservices").created({"metadata": {"name": "v1.apps"}, "spec": spec})
    assert kind("apiservices").strategy.cells(obj, 0.0)[1:3] == ["Local", "True"]


def test_definitions_store_their_storage_version(kind: GetKind) -> None:
    obj = kind("customresourcedefinitions").created(CRD)
    assert obj.status.storedVersions == ["v1"]
    assert (obj.spec.names.singular, obj.spec.names.listKind) == ("widget", "WidgetList")


def test_quantities_are_canonical(kind: GetKind) -> None:
    device = {"name": "d", "capacity": {"memory": {"value": "1024Mi"}}}
    obj = kind("resourceslices").decode({"spec": {"devices": [device]}})
    assert obj.spec.devices[0].capacity["memory"].value == "1Gi"
    obj = kind("runtimeclasses").decode({"handler": "a", "overhead": {"podFixed": {"cpu": 0.25}}})
    assert obj.overhead.podFixed == {"cpu": "250m"}


def test_leases_are_cheap(kind: GetKind) -> None:
    """Not a benchmark: only that nobody puts a schema walk into the hottest write. The budget is 5 µs."""
    strategy = kind("leases").strategy
    struct = schema().struct("io.k8s.api.coordination.v1.Lease")
    plain = {
        "metadata": {"name": "n1", "namespace": "kube-node-lease"},
        "spec": {
            "holderIdentity": "n1",
            "leaseDurationSeconds": 40,
            "renewTime": "2026-01-01T00:00:00.000000Z",
        },
    }
    obj = msgspec.convert(plain, struct)
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        strategy.default(obj)
        strategy.prepare_for_update(obj, obj)
        strategy.validate_update(obj, obj)
    finally:
        sys.setprofile(None)
    assert calls < 20
