"""policy, coordination, node, rbac and scheduling against upstream's validation and strategies."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apis.groups.tables import Change, changed, findings, label_message, subdomain_message

PDB: dict[str, Any] = {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}}

# ValidatePodDisruptionBudgetSpec.
BUDGET_TABLE: list[tuple[Change, list[str]]] = [
    ({}, []),
    (
        {"spec.minAvailable": "101%"},
        ['spec.minAvailable: Invalid value: "101%": must not be greater than 100%'],
    ),
    ({"spec.minAvailable": -1}, ["spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"]),
    (
        {"spec.minAvailable": "x"},
        [
            'spec.minAvailable: Invalid value: "x": a valid percent string must be a numeric string followed by '
            "an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
        ],
    ),
    (
        {"spec.selector": {"matchLabels": {"a": "-"}}},
        [
            'spec.selector.matchLabels: Invalid value: "-": a valid label must be an empty '
            "string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. "
            "'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        ],
    ),
    (
        {"spec.unhealthyPodEvictionPolicy": "Never"},
        [
            'spec.unhealthyPodEvictionPolicy: Unsupported value: "Never": supported values: "AlwaysAllow", "IfHealthyBudget"'
        ],
    ),
]


@pytest.mark.parametrize(("change", "expected"), BUDGET_TABLE)
def test_budgets(kind: Any, change: Change, expected: list[str]) -> None:
    assert findings(kind("poddisruptionbudgets").create_findings(changed(PDB, change))) == expected


def test_budget_status(kind: Any) -> None:
    """Mirrors ValidatePodDisruptionBudgetStatusUpdate."""
    condition = {
        "type": "A",
        "status": "True",
        "reason": "R",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    counts = {"disruptionsAllowed": -1, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}
    new = {
        **PDB,
        "status": {
            **counts,
            "conditions": [condition, {**condition, "reason": "a b", "observedGeneration": -1}],
        },
    }
    found = findings(kind("poddisruptionbudgets").update_findings(PDB, new, "status"))
    assert found[0] == 'status.conditions[1].type: Duplicate value: "A"'
    assert (
        found[1]
        == "status.conditions[1].observedGeneration: Invalid value: -1: must be greater than or equal to zero"
    )
    assert found[2].startswith(
        'status.conditions[1].reason: Invalid value: "a b": a condition reason must start with'
    )
    assert found[3] == "status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0"


def test_leases(kind: Any) -> None:
    """Mirrors ValidateLeaseSpec; the fields of coordinated leader election, which is off by default, are dropped."""
    leases = kind("leases")
    made = leases.created(
        {"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1, "strategy": "X", "preferredHolder": "h"}}
    )
    assert (made.spec.strategy, made.spec.preferredHolder) == (None, None)
    assert findings(leases.strategy.validate(made)) == [
        "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
    ]


# ValidateRuntimeClass and what it calls.
RUNTIME_TABLE: list[tuple[Change, list[str]]] = [
    ({}, []),
    ({"handler": "H"}, [f"handler: {label_message('H')}"]),
    (
        {"overhead": {"podFixed": {"cpu": "-1", "x": "1"}}},
        [
            'overhead.podFixed.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0',
            'overhead.podFixed.limits[x]: Invalid value: "x": must be a standard resource type or fully qualified',
            'overhead.podFixed.limits[x]: Invalid value: "x": must be a standard resource for containers',
        ],
    ),
    (
        {"scheduling": {"tolerations": [{"key": "k", "operator": "Exists"}] * 2}},
        ['scheduling.tolerations[1]: Duplicate value: {"key":"k","operator":"Exists"}'],
    ),
    (
        {"scheduling": {"tolerations": [{"key": "k", "operator": "Exists", "value": "v"}]}},
        [
            "scheduling.tolerations[0].operator: Invalid value: "
            '{"Key":"k","Operator":"Exists","Value":"v","Effect":"","TolerationSeconds":null}: value must be empty when `operator` is \'Exists\''
        ],
    ),
]


@pytest.mark.parametrize(("change", "expected"), RUNTIME_TABLE)
def test_runtime_classes(kind: Any, change: Change, expected: list[str]) -> None:
    assert findings(kind("runtimeclasses").create_findings(changed({"handler": "h"}, change))) == expected


RULE = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}

# ValidatePolicyRule and ValidateClusterRole.
ROLE_TABLE: list[tuple[str, dict[str, Any], list[str]]] = [
    ("roles", {"rules": [RULE]}, []),
    (
        "roles",
        {"rules": [{}]},
        [
            "rules[0].verbs: Required value: verbs must contain at least one value",
            "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
            "rules[0].resources: Required value: resource rules must supply at least one resource",
        ],
    ),
    (
        "roles",
        {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/"]}]},
        [
            'rules[0].nonResourceURLs: Invalid value: ["/"]: namespaced rules cannot apply to non-resource URLs'
        ],
    ),
    (
        "clusterroles",
        {"rules": [{**RULE, "nonResourceURLs": ["/"]}]},
        [
            'rules[0].nonResourceURLs: Invalid value: ["/"]: rules cannot apply to both regular resources and non-resource URLs'
        ],
    ),
    (
        "clusterroles",
        {"aggregationRule": {"clusterRoleSelectors": []}},
        [
            "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil"
        ],
    ),
]


@pytest.mark.parametrize(("plural", "obj", "expected"), ROLE_TABLE)
def test_roles(kind: Any, plural: str, obj: dict[str, Any], expected: list[str]) -> None:
    assert findings(kind(plural).create_findings(obj)) == expected


BINDING: dict[str, Any] = {
    "roleRef": {"kind": "ClusterRole", "name": "r"},
    "subjects": [{"kind": "User", "name": "u"}],
}
RBAC = "rbac.authorization.k8s.io"

# ValidateRoleBinding, ValidateClusterRoleBinding and ValidateRoleBindingSubject.
BINDING_TABLE: list[tuple[str, Change, list[str]]] = [
    ("rolebindings", {}, []),
    (
        "rolebindings",
        {"roleRef": {"apiGroup": "x", "kind": "K", "name": ""}},
        [
            f'roleRef.apiGroup: Unsupported value: "x": supported values: "{RBAC}"',
            'roleRef.kind: Unsupported value: "K": supported values: "Role", "ClusterRole"',
            "roleRef.name: Required value",
        ],
    ),
    (
        "clusterrolebindings",
        {"roleRef.kind": "Role"},
        ['roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"'],
    ),
    (
        "clusterrolebindings",
        {"subjects": [{"kind": "ServiceAccount", "name": "S", "apiGroup": "x"}]},
        [
            f"subjects[0].name: {subdomain_message('S')}",
            'subjects[0].apiGroup: Unsupported value: "x": supported values: ""',
            "subjects[0].namespace: Required value",
        ],
    ),
    (
        "rolebindings",
        {"subjects": [{"kind": "Group", "name": "", "apiGroup": "x"}]},
        [
            "subjects[0].name: Required value",
            f'subjects[0].apiGroup: Unsupported value: "x": supported values: "{RBAC}"',
        ],
    ),
]


@pytest.mark.parametrize(("plural", "change", "expected"), BINDING_TABLE)
def test_bindings(kind: Any, plural: str, change: Change, expected: list[str]) -> None:
    assert findings(kind(plural).create_findings(changed(BINDING, change))) == expected


def test_priority_classes_stay_at_their_first_generation(kind: Any) -> None:
    """Mirrors the strategy of priority classes."""
    classes = kind("priorityclasses")
    old, new = classes.created({"value": 1}), classes.decode({"value": 1, "description": "d"})
    new.metadata.generation = old.metadata.generation
    classes.strategy.prepare_for_update(new, old)
    assert (old.metadata.generation, new.metadata.generation) == (1, 1)
