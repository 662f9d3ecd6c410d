"""Object metadata and the generic checks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lakh.apis import meta, structs
from lakh.apis.definitions import schema
from lakh.machinery import names

ObjectMeta = structs.meta("ObjectMeta")

LABEL_MESSAGE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
SUBDOMAIN_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


def object_meta(**fields: Any) -> Any:
    return msgspec.convert({"name": "x", "namespace": "default", **fields}, ObjectMeta)


def check(obj: Any, *, namespaced: bool = True) -> list[str]:
    return [
        str(f) for f in meta.validate_object_meta(obj, namespaced=namespaced, name_rule=names.dns_subdomain)
    ]


OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"generateName": "web-"}, []),
        ({"name": None}, ["metadata.name: Required value: name or generateName is required"]),
        ({"name": "A"}, [f'metadata.name: Invalid value: "A": {SUBDOMAIN_MESSAGE}']),
        ({"generateName": "A-"}, [f'metadata.generateName: Invalid value: "A-": {SUBDOMAIN_MESSAGE}']),
        ({"namespace": ""}, ["metadata.namespace: Required value"]),
        ({"labels": {"a": "b c"}}, [f'metadata.labels: Invalid value: "b c": {LABEL_MESSAGE}']),
        ({"annotations": {"UPPER/Case": "fine"}}, []),
        (
            {"annotations": {"a": "x" * (256 * 1024)}},
            ["metadata.annotations: Too long: may not be more than 262144 bytes"],
        ),
        (
            {"finalizers": ["bare"]},
            [
                'metadata.finalizers[0]: Invalid value: "bare": name is neither a standard finalizer name nor is it fully qualified'
            ],
        ),
        (
            {"finalizers": ["orphan", "foregroundDeletion"]},
            [
                'metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: '
                "finalizer orphan and foregroundDeletion cannot be both set"
            ],
        ),
        (
            {"ownerReferences": [{**OWNER, "uid": ""}]},
            ['metadata.ownerReferences[0].uid: Invalid value: "": must not be empty'],
        ),
        ({"generation": -1}, ["metadata.generation: Invalid value: -1: must be greater than or equal to 0"]),
    ],
)
def test_findings_on_create(fields: dict[str, Any], expected: list[str]) -> None:
    assert check(object_meta(**fields)) == expected


def test_two_controllers_are_one_too_many() -> None:
    owners = [{**OWNER, "controller": True}, {**OWNER, "name": "q", "controller": True}]
    (found,) = check(object_meta(ownerReferences=owners))
    assert found.endswith(
        'Only one reference can have Controller set to true. Found "true" in references for p and q'
    )


def test_cluster_scoped_objects_have_no_namespace() -> None:
    assert check(object_meta(), namespaced=False) == [
        "metadata.namespace: Forbidden: not allowed on this type"
    ]


def test_update_keeps_identity() -> None:
    old = object_meta(uid="1", generation=3)
    new = object_meta(name="y", uid="1", generation=2)
    assert [str(f) for f in meta.validate_object_meta_update(new, old)] == [
        "metadata.generation: Invalid value: 2: must not be decremented",
        'metadata.name: Invalid value: "y": field is immutable',
    ]


def test_no_new_finalizers_while_deleting() -> None:
    old = object_meta(deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["a/b"])
    new = object_meta(deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["a/b", "c/d"])
    assert [str(f) for f in meta.validate_object_meta_update(new, old)] == [
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
        'found new finalizers []string{"c/d"}'
    ]
    assert meta.validate_object_meta_update(old, new) == []


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"key": "a", "operator": "Exists"}, []),
        (
            {"key": "a", "operator": "In"},
            [
                "s.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
            ],
        ),
        (
            {"key": "a", "operator": "Exists", "values": ["b"]},
            [
                "s.matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            ],
        ),
        (
            {"key": "a", "operator": "Near"},
            ['s.matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator'],
        ),
    ],
)
def test_label_selector(expression: dict[str, Any], expected: list[str]) -> None:
    selector = msgspec.convert({"matchExpressions": [expression]}, structs.meta("LabelSelector"))
    assert [str(f) for f in meta.validate_label_selector(selector, "s")] == expected


def test_required_fields_follow_the_schema() -> None:
    definition = "io.k8s.api.networking.v1.Ingress"
    path = {"backend": {"service": {"name": ""}}}
    obj = msgspec.convert({"spec": {"rules": [{"http": {"paths": [path]}}]}}, schema().struct(definition))
    assert [str(f) for f in meta.required_fields(obj, schema().node(definition))] == [
        "spec.rules[0].http.paths[0].backend.service.name: Required value",
        "spec.rules[0].http.paths[0].pathType: Required value",
    ]
