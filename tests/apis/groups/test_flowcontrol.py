"""flowcontrol.apiserver.k8s.io/v1 against upstream's `pkg/apis/flowcontrol/validation`."""

from __future__ import annotations

from typing import Any

import pytest

from lakh.apis import flowdefaults
from tests.apis.groups.tables import DROP, Change, changed, findings, label_message, subdomain_message

RULE: dict[str, Any] = {
    "subjects": [{"kind": "User", "user": {"name": "u"}}],
    "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["*"]}],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["/healthz", "/metrics/*"]}],
}
SCHEMA: dict[str, Any] = {"spec": {"priorityLevelConfiguration": {"name": "p"}, "rules": [RULE]}}
R = "spec.rules[0]"
VERBS = '"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"'

# ValidateFlowSchema and what it calls.
SCHEMA_TABLE: list[tuple[str, Change, list[str]]] = [
    ("good", {}, []),
    (
        "ValidateFlowSchemaSpec",
        {"spec.matchingPrecedence": -1},
        ["spec.matchingPrecedence: Invalid value: -1: must be a positive value"],
    ),
    (
        "ValidateFlowSchemaSpec",
        {"spec.matchingPrecedence": 10001},
        ["spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"],
    ),
    (
        "ValidateFlowSchemaSpec",
        {"spec.matchingPrecedence": 1},
        [
            "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"
        ],
    ),
    (
        "ValidateFlowSchemaSpec",
        {"spec.distinguisherMethod": {"type": "ByMoon"}},
        [
            'spec.distinguisherMethod.type: Unsupported value: {"type":"ByMoon"}: supported values: "ByNamespace", "ByUser"'
        ],
    ),
    (
        "ValidateFlowSchemaSpec",
        {"spec.priorityLevelConfiguration.name": ""},
        ["spec.priorityLevelConfiguration.name: Required value: must reference a priority level"],
    ),
    (
        "ValidateFlowSchemaSpec",
        {"spec.priorityLevelConfiguration.name": "_"},
        [f"spec.priorityLevelConfiguration.name: {subdomain_message('_')}"],
    ),
    (
        "ValidateFlowSchemaPolicyRulesWithSubjects",
        {R: {}},
        [
            f"{R}.subjects: Required value: subjects must contain at least one value",
            f"{R}: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
        ],
    ),
    (
        "ValidateFlowSchemaSubject",
        {f"{R}.subjects[0].kind": "Robot"},
        [
            f'{R}.subjects[0].kind: Unsupported value: "Robot": supported values: "Group", "ServiceAccount", "User"'
        ],
    ),
    (
        "ValidateFlowSchemaSubject",
        {f"{R}.subjects[0]": {"kind": "Group", "user": {"name": "u"}}},
        [
            f"{R}.subjects[0].group: Required value: group is required when subject kind is 'Group'",
            f"{R}.subjects[0].user: Forbidden: user is forbidden when subject kind is not 'User'",
        ],
    ),
    (
        "ValidateServiceAccountSubject",
        {f"{R}.subjects[0]": {"kind": "ServiceAccount", "serviceAccount": {"name": "S", "namespace": ""}}},
        [
            f"{R}.subjects[0].serviceAccount.name: {subdomain_message('S')}",
            f"{R}.subjects[0].serviceAccount.namespace: Required value: must specify namespace for service account",
        ],
    ),
    (
        "ValidateUserSubject",
        {f"{R}.subjects[0].user.name": ""},
        [f"{R}.subjects[0].user.name: Required value"],
    ),
    (
        "ValidateFlowSchemaResourcePolicyRule",
        {f"{R}.resourceRules[0]": {"verbs": ["*", "get"], "apiGroups": ["*", ""], "resources": []}},
        [
            f'{R}.resourceRules[0].verbs: Invalid value: ["*","get"]: if \'*\' is present, must not specify other verbs',
            f'{R}.resourceRules[0].apiGroups: Invalid value: ["*",""]: if \'*\' is present, must not specify other api groups',
            f"{R}.resourceRules[0].resources: Required value: resource rules must supply at least one resource",
            f"{R}.resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace",
        ],
    ),
    (
        "ValidateFlowSchemaResourcePolicyRule",
        {f"{R}.resourceRules[0].verbs": ["eat"], f"{R}.resourceRules[0].namespaces": ["N"]},
        [
            f'{R}.resourceRules[0].verbs: Unsupported value: ["eat"]: supported values: {VERBS}',
            f"{R}.resourceRules[0].namespaces[0]: "
            + label_message("N").replace(
                ": a low", ": each member of this list must be '*' or a DNS-1123 label; a low"
            ),
        ],
    ),
    (
        "ValidateNonResourceURLPath",
        {f"{R}.nonResourceRules[0].nonResourceURLs": ["", "x", "/a b", "/a//b", "/a*", "/*/*", "/"]},
        [
            f'{R}.nonResourceRules[0].nonResourceURLs[{i}]: Invalid value: "{url}": {why}'
            for i, (url, why) in enumerate(
                [
                    ("", "must not be empty"),
                    ("x", "must start with slash"),
                    ("/a b", "must not contain white-space"),
                    ("/a//b", "must not contain double slash"),
                    ("/a*", "wildcard can only do suffix matching"),
                    ("/*/*", "wildcard can only do suffix matching"),
                ]
            )
        ],
    ),
]


@pytest.mark.parametrize(("function", "change", "expected"), SCHEMA_TABLE)
def test_schemas(kind: Any, function: str, change: Change, expected: list[str]) -> None:
    assert findings(kind("flowschemas").create_findings(changed(SCHEMA, change))) == expected


QUEUING = {"queues": 64, "handSize": 6, "queueLengthLimit": 50}
LEVEL: dict[str, Any] = {
    "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": QUEUING}}}
}
Q = "spec.limited.limitResponse.queuing"

# ValidatePriorityLevelConfigurationSpec and what it calls.
LEVEL_TABLE: list[tuple[str, Change, list[str]]] = [
    ("good", {}, []),
    (
        "ValidatePriorityLevelConfigurationSpec",
        {"spec": {"type": "Exempt"}},
        ["spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'"],
    ),
    (
        "ValidatePriorityLevelConfigurationSpec",
        {"spec.limited": DROP},
        ["spec.limited: Required value: must not be empty when type is Limited"],
    ),
    (
        "ValidatePriorityLevelConfigurationSpec",
        {"spec.exempt": {}},
        ["spec.exempt: Forbidden: must be nil if the type is Limited"],
    ),
    (
        "ValidateLimitedPriorityLevelConfiguration",
        {
            "spec.limited.nominalConcurrencyShares": -1,
            "spec.limited.lendablePercent": 101,
            "spec.limited.borrowingLimitPercent": -1,
        },
        [
            "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
            "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
            "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
        ],
    ),
    (
        "ValidateLimitResponse",
        {"spec.limited.limitResponse.type": "Reject"},
        [f"{Q}: Forbidden: must be nil if limited.limitResponse.type is not Limited"],
    ),
    (
        "ValidateLimitResponse",
        {"spec.limited.limitResponse.queuing": DROP},
        [f"{Q}: Required value: must not be empty if limited.limitResponse.type is Limited"],
    ),
    (
        "ValidatePriorityLevelQueuingConfiguration",
        {Q: {"queues": 10000001, "handSize": 1, "queueLengthLimit": -1}},
        [
            f"{Q}.queueLengthLimit: Invalid value: -1: must be positive",
            f"{Q}.queues: Invalid value: 10000001: must not be greater than 10000000",
        ],
    ),
    (
        "ValidatePriorityLevelQueuingConfiguration",
        {f"{Q}.handSize": 65},
        [f"{Q}.handSize: Invalid value: 65: should not be greater than queues (64)"],
    ),
    (
        "ValidatePriorityLevelQueuingConfiguration",
        {f"{Q}.handSize": 11},
        [
            f"{Q}.handSize: Invalid value: 11: required entropy bits of deckSize 64 and handSize 11 should not be greater than 60"
        ],
    ),
]


@pytest.mark.parametrize(("function", "change", "expected"), LEVEL_TABLE)
def test_levels(kind: Any, function: str, change: Change, expected: list[str]) -> None:
    assert findings(kind("prioritylevelconfigurations").create_findings(changed(LEVEL, change))) == expected


def test_what_every_cluster_has_is_valid_and_mandatory_objects_stay(kind: Any) -> None:
    """Mirrors the comparison with MandatoryFlowSchemas and MandatoryPriorityLevelConfigurations."""
    for plural, objects in (
        ("flowschemas", flowdefaults.schemas()),
        ("prioritylevelconfigurations", flowdefaults.levels()),
    ):
        for obj in objects:
            assert kind(plural).create_findings(obj) == []
    by_name = {o["metadata"]["name"]: o for o in flowdefaults.levels()}
    exempt = changed(by_name["exempt"], {"spec.exempt.lendablePercent": 5})
    assert kind("prioritylevelconfigurations").create_findings(exempt) == []
    other = changed(by_name["catch-all"], {"spec.limited.lendablePercent": 5})
    (found,) = findings(kind("prioritylevelconfigurations").create_findings(other))
    assert found.startswith("spec: Invalid value: ") and found.endswith(
        ": spec of 'catch-all' must equal the fixed value"
    )
    schema = changed(
        next(o for o in flowdefaults.schemas() if o["metadata"]["name"] == "catch-all"),
        {"spec.matchingPrecedence": 9},
    )
    (found,) = findings(kind("flowschemas").create_findings(schema))
    assert found.endswith(": spec of 'catch-all' must equal the fixed value")


def test_status(kind: Any) -> None:
    """Mirrors ValidateFlowSchemaStatus."""
    new = {**SCHEMA, "status": {"conditions": [{"type": "A"}, {"type": "A"}, {"type": ""}]}}
    assert findings(kind("flowschemas").update_findings(SCHEMA, new, "status")) == [
        'status.conditions[1].type: Duplicate value: "A"',
        "status.conditions[2].type: Required value: must not be empty",
    ]
