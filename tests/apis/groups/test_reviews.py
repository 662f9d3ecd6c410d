"""authorization.k8s.io/v1 and apiregistration.k8s.io/v1 against upstream's validation."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apis.groups.tables import DROP, Change, changed, findings, subdomain_message

RESOURCE = {"verb": "get", "resource": "pods", "namespace": "default"}
REVIEW: dict[str, Any] = {
    "metadata": {"name": "", "uid": ""},
    "spec": {"user": "u", "resourceAttributes": RESOURCE},
}
PATH = "spec.resourceAttributes"
NEITHER = "exactly one of nonResourceAttributes or resourceAttributes must be specified"

# ValidateSubjectAccessReview and what it calls.
TABLE: list[tuple[str, str, Change, list[str]]] = [
    ("subjectaccessreviews", "good", {}, []),
    ("subjectaccessreviews", "spec", {PATH: DROP}, [f"{PATH}: Invalid value: null: {NEITHER}"]),
    (
        "subjectaccessreviews",
        "spec",
        {"spec.nonResourceAttributes": {"path": "/"}},
        [
            'spec.nonResourceAttributes: Invalid value: {"path":"/"}: cannot be specified in combination with resourceAttributes'
        ],
    ),
    (
        "subjectaccessreviews",
        "spec",
        {"spec.user": ""},
        ['spec.user: Invalid value: "": at least one of user or group must be specified'],
    ),
    ("selfsubjectaccessreviews", "spec", {"spec": {"resourceAttributes": RESOURCE}}, []),
    (
        "subjectaccessreviews",
        "validateFieldSelectorAttributes",
        {f"{PATH}.fieldSelector": {}},
        [
            f"{PATH}.fieldSelector.requirements: Required value: when {PATH}.fieldSelector is specified, requirements or rawSelector is required"
        ],
    ),
    (
        "subjectaccessreviews",
        "validateFieldSelectorAttributes",
        {
            f"{PATH}.fieldSelector": {
                "rawSelector": "a=b",
                "requirements": [
                    {"key": "", "operator": "In"},
                    {"key": "k", "operator": "Exists", "values": ["v"]},
                    {"key": "k", "operator": "Near"},
                ],
            }
        },
        [
            f'{PATH}.fieldSelector.rawSelector: Invalid value: "a=b": may not specified at the same time as requirements',
            f"{PATH}.fieldSelector.requirements[0].key: Required value: must be specified",
            f"{PATH}.fieldSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            f"{PATH}.fieldSelector.requirements[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ],
    ),
    (
        "subjectaccessreviews",
        "metadata",
        {"metadata.name": "n"},
        ['metadata: Invalid value: {"name":"n","uid":""}: must be empty'],
    ),
    ("localsubjectaccessreviews", "good", {}, []),
    (
        "localsubjectaccessreviews",
        "namespace",
        {f"{PATH}.namespace": "other"},
        [f'{PATH}.namespace: Invalid value: "other": must match metadata.namespace'],
    ),
    (
        "localsubjectaccessreviews",
        "paths",
        {"spec": {"user": "u", "nonResourceAttributes": {"path": "/"}}},
        ['spec.nonResourceAttributes: Invalid value: {"path":"/"}: disallowed on this kind of request'],
    ),
]


@pytest.mark.parametrize(("plural", "function", "change", "expected"), TABLE)
def test_access_reviews(kind: Any, plural: str, function: str, change: Change, expected: list[str]) -> None:
    assert findings(kind(plural).strategy.validate(kind(plural).decode(changed(REVIEW, change)))) == expected


SERVICE: dict[str, Any] = {
    "metadata": {"name": "v1.example.com"},
    "spec": {
        "group": "example.com",
        "version": "v1",
        "groupPriorityMinimum": 1,
        "versionPriority": 1,
        "service": {"name": "s", "namespace": "n"},
    },
}

# ValidateAPIService.
SERVICE_TABLE: list[tuple[Change, list[str]]] = [
    ({}, []),
    (
        {"metadata.name": "x"},
        ['metadata.name: Invalid value: "x": must be `spec.version+"."+spec.group`: "v1.example.com"'],
    ),
    (
        {"spec.group": "", "spec.version": "v2", "metadata.name": "v2."},
        ["spec.group: Required value: only v1 may have an empty group and it better be legacy kube"],
    ),
    ({"spec.group": "_", "metadata.name": "v1._"}, [f"spec.group: {subdomain_message('_')}"]),
    (
        {"spec.groupPriorityMinimum": 20001, "spec.versionPriority": 0},
        [
            "spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000",
            "spec.versionPriority: Invalid value: 0: must be positive and less than 1000",
        ],
    ),
    (
        {"spec.service": DROP, "spec.caBundle": "eHl6", "spec.insecureSkipTLSVerify": True},
        [
            'spec.caBundle: Invalid value: "3 bytes": local APIServices may not have a caBundle',
            "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
        ],
    ),
    (
        {"spec.service": {"port": 0}},
        [
            "spec.service.namespace: Required value",
            "spec.service.name: Required value",
            "spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
        ],
    ),
    (
        {"spec.caBundle": "eHl6", "spec.insecureSkipTLSVerify": True},
        ["spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"],
    ),
]


@pytest.mark.parametrize(("change", "expected"), SERVICE_TABLE)
def test_api_services(kind: Any, change: Change, expected: list[str]) -> None:
    assert findings(kind("apiservices").create_findings(changed(SERVICE, change))) == expected


def test_api_service_status(kind: Any) -> None:
    """Mirrors ValidateAPIServiceStatus."""
    new = {**SERVICE, "status": {"conditions": [{"type": "Available", "status": "Maybe"}]}}
    assert findings(kind("apiservices").update_findings(SERVICE, new, "status")) == [
        'status.conditions[0].status: Unsupported value: "Maybe": supported values: "True", "False", "Unknown"'
    ]
