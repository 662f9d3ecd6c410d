"""admissionregistration.k8s.io/v1 against upstream's `pkg/apis/admissionregistration/validation`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apis.groups.tables import DROP, Change, changed, findings, subdomain_message

HOOK: dict[str, Any] = {
    "name": "a.example.com",
    "clientConfig": {"url": "https://example.com"},
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
    "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
}
HOOKS: dict[str, Any] = {"webhooks": [HOOK]}
W = "webhooks[0]"
RULE = f"{W}.rules[0]"

# validateMutatingWebhookConfiguration and what it calls.
HOOK_TABLE: list[tuple[str, Change, list[str]]] = [
    ("good", {}, []),
    ("IsFullyQualifiedName", {f"{W}.name": ""}, [f"{W}.name: Required value"]),
    ("IsFullyQualifiedName", {f"{W}.name": "A"}, [f"{W}.name: {subdomain_message('A')}"]),
    (
        "IsFullyQualifiedName",
        {f"{W}.name": "a.b"},
        [
            f'{W}.name: Invalid value: "a.b": should be a domain with at least three segments separated by dots'
        ],
    ),
    (
        "requireUniqueWebhookNames",
        {"webhooks[1]": HOOK},
        ['webhooks[1].name: Duplicate value: "a.example.com"'],
    ),
    (
        "validateRuleWithOperations",
        {f"{RULE}.operations": ["*", "EAT"]},
        [
            f'{RULE}.operations: Invalid value: ["*","EAT"]: if \'*\' is present, must not specify other operations',
            f'{RULE}.operations[1]: Unsupported value: "EAT": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE"',
        ],
    ),
    (
        "validateRule",
        {RULE: {"operations": ["*"]}},
        [
            f"{RULE}.apiGroups: Required value",
            f"{RULE}.apiVersions: Required value",
            f"{RULE}.resources: Required value",
        ],
    ),
    (
        "validateRule",
        {f"{RULE}.apiGroups": ["*", "a"], f"{RULE}.apiVersions": ["*", ""], f"{RULE}.scope": "World"},
        [
            f'{RULE}.apiGroups: Invalid value: ["*","a"]: if \'*\' is present, must not specify other API groups',
            f'{RULE}.apiVersions: Invalid value: ["*",""]: if \'*\' is present, must not specify other API versions',
            f"{RULE}.apiVersions[1]: Required value",
            f'{RULE}.scope: Unsupported value: "World": supported values: "*", "Cluster", "Namespaced"',
        ],
    ),
    (
        "validateResources",
        {f"{RULE}.resources": ["pods/*", "pods/exec", "", "*/scale", "a/scale"]},
        [
            f"{RULE}.resources[1]: Invalid value: \"pods/exec\": if 'pods/*' is present, must not specify pods/exec",
            f"{RULE}.resources[2]: Required value",
            f"{RULE}.resources[4]: Invalid value: \"a/scale\": if '*/scale' is present, must not specify a/scale",
        ],
    ),
    (
        "validateResources",
        {f"{RULE}.resources": ["*/*", "a"]},
        [
            f'{RULE}.resources: Invalid value: ["*/*","a"]: if \'*/*\' is present, must not specify other resources'
        ],
    ),
    (
        "validateResources",
        {f"{RULE}.resources": ["*", "a"]},
        [
            f'{RULE}.resources: Invalid value: ["*","a"]: if \'*\' is present, must not specify other resources without subresources'
        ],
    ),
    (
        "validateMutatingWebhook",
        {
            f"{W}.failurePolicy": "Shrug",
            f"{W}.matchPolicy": "Some",
            f"{W}.sideEffects": "Many",
            f"{W}.timeoutSeconds": 0,
            f"{W}.reinvocationPolicy": "Often",
        },
        [
            f'{W}.failurePolicy: Unsupported value: "Shrug": supported values: "Fail", "Ignore"',
            f'{W}.matchPolicy: Unsupported value: "Some": supported values: "Equivalent", "Exact"',
            f'{W}.sideEffects: Unsupported value: "Many": supported values: "None", "NoneOnDryRun"',
            f"{W}.timeoutSeconds: Invalid value: 0: the timeout value must be between 1 and 30 seconds",
            f'{W}.reinvocationPolicy: Unsupported value: "Often": supported values: "IfNeeded", "Never"',
        ],
    ),
    (
        "validateMutatingWebhook",
        {f"{W}.sideEffects": DROP},
        [f"{W}.sideEffects: Required value: must specify one of None, NoneOnDryRun"],
    ),
    (
        "validateMutatingWebhook",
        {f"{W}.clientConfig": {}},
        [f"{W}.clientConfig: Required value: exactly one of url or service is required"],
    ),
    (
        "validateAdmissionReviewVersions",
        {f"{W}.admissionReviewVersions": []},
        [f"{W}.admissionReviewVersions: Required value: must specify one of v1, v1beta1"],
    ),
    (
        "validateAdmissionReviewVersions",
        {f"{W}.admissionReviewVersions": ["v2", "v2"]},
        [
            f'{W}.admissionReviewVersions[1]: Invalid value: "v2": duplicate version',
            f'{W}.admissionReviewVersions: Invalid value: ["v2","v2"]: must include at least one of v1, v1beta1',
        ],
    ),
    (
        "validateMatchCondition",
        {
            f"{W}.matchConditions": [
                {"name": "", "expression": " "},
                {"name": "a", "expression": "1"},
                {"name": "a", "expression": "true"},
            ]
        },
        [
            f"{W}.matchConditions[0].expression: Required value",
            f"{W}.matchConditions[0].name: Required value",
            f'{W}.matchConditions[1].expression: Invalid value: "1": must evaluate to bool but got int',
            f'{W}.matchConditions[2].name: Duplicate value: "a"',
        ],
    ),
    (
        "validateMatchConditions",
        {f"{W}.matchConditions": [{"name": f"n{i}", "expression": "true"} for i in range(65)]},
        [f"{W}.matchConditions: Too many: 65: must have at most 64 items"],
    ),
]


@pytest.mark.parametrize(("function", "change", "expected"), HOOK_TABLE)
def test_webhooks(kind: Any, function: str, change: Change, expected: list[str]) -> None:
    assert findings(kind("mutatingwebhookconfigurations").create_findings(changed(HOOKS, change))) == expected


def test_match_conditions_that_stay_are_not_looked_into_again(kind: Any) -> None:
    """Mirrors ignoreValidatingWebhookMatchConditions."""
    hooks = kind("validatingwebhookconfigurations")
    old = changed(HOOKS, {f"{W}.matchConditions": [{"name": "a", "expression": "("}]})
    assert hooks.update_findings(old, changed(old, {f"{W}.timeoutSeconds": 5})) == []
    assert len(hooks.update_findings(old, changed(old, {f"{W}.matchConditions[0].name": "b"}))) == 1


MATCH = {
    "resourceRules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]
}
POLICY: dict[str, Any] = {"spec": {"matchConstraints": MATCH, "validations": [{"expression": "true"}]}}
V = "spec.validations[0]"
NOTHING = "validations or auditAnnotations must contain at least one item"

# validateValidatingAdmissionPolicySpec and what it calls.
POLICY_TABLE: list[tuple[str, Change, list[str]]] = [
    ("good", {}, []),
    (
        "validateValidatingAdmissionPolicySpec",
        {"spec.validations": []},
        [f"spec.validations: Required value: {NOTHING}", f"spec.auditAnnotations: Required value: {NOTHING}"],
    ),
    (
        "validateValidatingAdmissionPolicySpec",
        {"spec.matchConstraints": DROP},
        ["spec.matchConstraints: Required value"],
    ),
    (
        "validateValidatingAdmissionPolicySpec",
        {"spec.matchConstraints": {}},
        ["spec.matchConstraints.resourceRules: Required value"],
    ),
    (
        "validateParamKind",
        {"spec.paramKind": {"apiVersion": "a/b/c", "kind": ""}},
        [
            'spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c',
            "spec.paramKind.kind: Required value",
        ],
    ),
    (
        "validateParamKind",
        {"spec.paramKind": {"apiVersion": "_/", "kind": "K"}},
        [
            f"spec.paramKind.apiVersion: {subdomain_message('_')}",
            'spec.paramKind.apiVersion: Invalid value: "_/": version must be specified',
        ],
    ),
    (
        "validateNamedRuleWithOperations",
        {"spec.matchConstraints.resourceRules[0].resourceNames": ["a", "a", "b/c"]},
        [
            'spec.matchConstraints.resourceRules[0].resourceNames[1]: Duplicate value: "a"',
            "spec.matchConstraints.resourceRules[0].resourceNames[2]: Invalid value: \"b/c\": may not contain '/'",
        ],
    ),
    (
        "validateVariable",
        {
            "spec.variables": [
                {"name": "a-b", "expression": "1"},
                {"name": "in", "expression": " "},
                {"name": "", "expression": "1"},
            ]
        },
        [
            'spec.variables[0].name: Invalid value: "a-b": name is not a valid CEL identifier',
            'spec.variables[1].name: Invalid value: "in": name is not a valid CEL identifier',
            "spec.variables[1].expression: Required value: expression is not specified",
            "spec.variables[2].name: Required value: name is not specified",
        ],
    ),
    (
        "validateValidation",
        {V: {"expression": "", "message": " ", "messageExpression": " ", "reason": "Because"}},
        [
            f"{V}.expression: Required value: expression is not specified",
            f'{V}.messageExpression: Invalid value: " ": must be non-empty if specified',
            f'{V}.message: Invalid value: " ": message must be non-empty if specified',
            f'{V}.reason: Unsupported value: "Because": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge"',
        ],
    ),
    (
        "validateValidation",
        {V: {"expression": "'x'", "message": "a\nb", "messageExpression": "1"}},
        [
            f"{V}.expression: Invalid value: \"'x'\": must evaluate to bool but got string",
            f'{V}.messageExpression: Invalid value: "1": must evaluate to string but got int',
            f'{V}.message: Invalid value: "a\\nb": message must not contain line breaks',
        ],
    ),
    (
        "HasParams",
        {V: {"expression": "params.a == 1"}, "spec.paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}},
        [],
    ),
    (
        "validateAuditAnnotation",
        {
            "spec.auditAnnotations": [
                {"key": "k", "valueExpression": ""},
                {"key": "k", "valueExpression": "'v'"},
            ]
        },
        [
            "spec.auditAnnotations[0].valueExpression: Required value: valueExpression is not specified",
            'spec.auditAnnotations[1].key: Duplicate value: "k"',
        ],
    ),
]


@pytest.mark.parametrize(("function", "change", "expected"), POLICY_TABLE)
def test_policies(kind: Any, function: str, change: Change, expected: list[str]) -> None:
    assert findings(kind("validatingadmissionpolicies").create_findings(changed(POLICY, change))) == expected


def test_parameters_need_a_kind(kind: Any) -> None:
    """Mirrors OptionalVariableDeclarations.HasParams."""
    (found,) = findings(
        kind("validatingadmissionpolicies").create_findings(
            changed(POLICY, {f"{V}.expression": "params.a == 1"})
        )
    )
    assert found.startswith(f'{V}.expression: Invalid value: "params.a == 1": compilation failed: ')


@pytest.mark.parametrize(
    ("variables", "expression", "where", "why"),
    [
        (["1"], "variables.v0 == 'a'", f"{V}.expression", "applied to '(int, string)'"),
        (["['a']"], "variables.v0 == 1", f"{V}.expression", "applied to '(list(string), int)'"),
        (["{'a': 1}"], "variables.v0['a']", f"{V}.expression", "must evaluate to bool but got int"),
        (["request"], "variables.v0.nope == 1", "", ""),
        (["object.a"], "variables.v0 == 1 && variables.v0 == 'a'", "", ""),
        (["optional.of(1)"], "variables.v0.orValue(2) == 1", "", ""),
        (["'a'", "variables.v0 + 1"], "true", "spec.variables[1].expression", "applied to '(string, int)'"),
        (["variables.v1", "1"], "true", "spec.variables[0].expression", "undefined field 'v1'"),
        # What cannot be compiled may be anything.
        (["nope"], "variables.v0 == 1", "spec.variables[0].expression", "undeclared reference to 'nope'"),
        (["request.kind"], "request.kind", f"{V}.expression", "bool but got kubernetes.GroupVersionKind"),
    ],
)
def test_variables_have_the_types_of_their_expressions(
    kind: Any, variables: list[str], expression: str, where: str, why: str
) -> None:
    """Mirrors CompositedCompiler.CompileAndStoreVariable."""
    own = [{"name": f"v{index}", "expression": text} for index, text in enumerate(variables)]
    policy = changed(POLICY, {"spec.variables": own, f"{V}.expression": expression})
    found = findings(kind("validatingadmissionpolicies").create_findings(policy))
    assert [text.partition(": ")[0] for text in found] == ([where] if where else [])
    assert all(why in text for text in found)


def test_policy_status(kind: Any) -> None:
    """Mirrors validateValidatingAdmissionPolicyStatus."""
    status = {
        "typeChecking": {"expressionWarnings": [{"fieldRef": " ", "warning": ""}]},
        "conditions": [{"type": "-", "status": "True"}],
    }
    found = findings(
        kind("validatingadmissionpolicies").update_findings(POLICY, {**POLICY, "status": status}, "status")
    )
    assert found[:2] == [
        "status.typeChecking.expressionWarnings[0].warning: Required value",
        "status.typeChecking.expressionWarnings[0].fieldRef: Required value",
    ]
    assert found[2].startswith('status.conditions[0].type: Invalid value: "-"')


PATCH = "[JSONPatch{op: 'add', path: '/spec/x', value: variables.n}]"
MUTATION = {"patchType": "JSONPatch", "jsonPatch": {"expression": PATCH}}
MUTATING: dict[str, Any] = {
    "spec": {
        "matchConstraints": MATCH,
        "variables": [{"name": "n", "expression": "1"}],
        "mutations": [MUTATION],
    }
}

# validateMutatingAdmissionPolicySpec.
MUTATING_TABLE: list[tuple[Change, list[str]]] = [
    ({}, []),
    ({"spec.mutations": []}, ["spec.mutations: Required value: mutations must contain at least one item"]),
    ({"spec.mutations[0]": {"patchType": ""}}, ["spec.mutations[0].patchType: Required value"]),
    (
        {"spec.mutations[0].patchType": "Magic"},
        [
            'spec.mutations[0].patchType: Unsupported value: "Magic": supported values: "ApplyConfiguration", "JSONPatch"'
        ],
    ),
    (
        {"spec.mutations[0].patchType": "ApplyConfiguration"},
        [
            "spec.mutations[0].applyConfiguration: Required value: must be specified when patchType is ApplyConfiguration",
            'spec.mutations[0].jsonPatch: Invalid value: "{jsonPatch}": must not be specified when patchType is ApplyConfiguration',
        ],
    ),
    (
        {"spec.mutations[0].jsonPatch.expression": "[]"},
        [
            'spec.mutations[0].jsonPatch.expression: Invalid value: "[]": must evaluate to list(JSONPatch) but got list(dyn)'
        ],
    ),
    (
        {
            "spec.mutations[0]": {
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {"expression": "Object{spec: Object.spec{x: variables.n}}"},
            }
        },
        [],
    ),
    (
        {
            "spec.mutations[0]": {
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {"expression": "object.spec"},
            }
        },
        [
            'spec.mutations[0].applyConfiguration.expression: Invalid value: "object.spec": must evaluate to Object but got dyn'
        ],
    ),
    (
        {"spec.reinvocationPolicy": "Often"},
        ['spec.reinvocationPolicy: Unsupported value: "Often": supported values: "IfNeeded", "Never"'],
    ),
]


@pytest.mark.parametrize(("change", "expected"), MUTATING_TABLE)
def test_mutating_policies(kind: Any, change: Change, expected: list[str]) -> None:
    assert findings(kind("mutatingadmissionpolicies").create_findings(changed(MUTATING, change))) == expected


BINDING: dict[str, Any] = {"spec": {"policyName": "p", "validationActions": ["Deny"]}}
BOTH = "name and selector are mutually exclusive"

# validateValidatingAdmissionPolicyBindingSpec and what it calls.
BINDING_TABLE: list[tuple[str, Change, list[str]]] = [
    ("good", {}, []),
    ("policyName", {"spec.policyName": ""}, ["spec.policyName: Required value"]),
    (
        "validateParamRef",
        {"spec.paramRef": {"name": "a/b", "selector": {}, "parameterNotFoundAction": "Maybe"}},
        [
            "spec.paramRef.name: Invalid value: \"a/b\": may not contain '/'",
            f"spec.paramRef.name: Forbidden: {BOTH}",
            f"spec.paramRef.selector: Forbidden: {BOTH}",
            'spec.paramRef.parameterNotFoundAction: Unsupported value: "Maybe": supported values: "Deny", "Allow"',
        ],
    ),
    (
        "validateParamRef",
        {"spec.paramRef": {}},
        [
            "spec.paramRef: Required value: one of name or selector must be specified",
            "spec.paramRef.parameterNotFoundAction: Required value",
        ],
    ),
    (
        "validateMatchResources",
        {"spec.matchResources": {"matchPolicy": "Some"}},
        [
            'spec.matchResources.matchPolicy: Unsupported value: "Some": supported values: "Equivalent", "Exact"'
        ],
    ),
    (
        "validateValidationActions",
        {"spec.validationActions": []},
        ["spec.validationActions: Required value: at least one validation action is required"],
    ),
    (
        "validateValidationActions",
        {"spec.validationActions": ["Deny", "Warn", "Deny", "Cry"]},
        [
            'spec.validationActions[2]: Duplicate value: "Deny"',
            'spec.validationActions[3]: Unsupported value: "Cry": supported values: "Audit", "Deny", "Warn"',
            'spec.validationActions: Invalid value: ["Deny","Warn","Deny","Cry"]: must not contain both Deny and Warn (repeating the same '
            "validation failure information in the API response and headers serves no purpose)",
        ],
    ),
]


@pytest.mark.parametrize(("function", "change", "expected"), BINDING_TABLE)
def test_bindings(kind: Any, function: str, change: Change, expected: list[str]) -> None:
    assert (
        findings(kind("validatingadmissionpolicybindings").create_findings(changed(BINDING, change)))
        == expected
    )
