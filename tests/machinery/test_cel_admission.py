"""Expressions of admission, checked against what admission declares."""

from __future__ import annotations

import pytest

from lakh.machinery import cel, cel_admission, cel_ast
from lakh.machinery.cel_ast import Type

OWN = (
    ("a", cel_ast.DYN),
    ("text", Type("string")),
    ("count", Type("int")),
    ("natural", Type("uint")),
    ("at", Type("timestamp")),
    ("words", Type("list", (Type("string"),))),
    ("table", Type("map", (Type("string"), Type("bool")))),
    ("maybe", Type("optional_type", (Type("int"),))),
)
NAMES = ("authorizer", "namespaceObject", "object", "oldObject", "request")


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("authorizer.group('').resource('pods').namespace('x').name('y').check('get').allowed()", "bool"),
        ("authorizer.serviceAccount('a', 'b').path('/healthz').check('get').errored()", "bool"),
        ("authorizer.requestResource.subresource('status').check('update').reason()", "string"),
        (
            "authorizer.group('g').resource('r').fieldSelector('a=b').labelSelector('c').check('list').error()",
            "string",
        ),
        ("request.userInfo.groups.exists(g, g == 'admins') && request.operation == 'CREATE'", "bool"),
        ("request.userInfo.extra['scopes'][0] == 'x'", "bool"),
        ("namespaceObject.metadata.labels['env'] == 'test'", "bool"),
        ("object.spec.replicas > oldObject.spec.replicas", "bool"),
        ("object.spec", "dyn"),
        ("variables.a", "dyn"),
        ("variables.text + 'x'", "string"),
        ("variables.count + 1", "int"),
        ("variables.natural", "uint"),
        ("variables.at < timestamp('2026-01-01T00:00:00Z')", "bool"),
        ("variables.words.exists(w, w.startsWith('a'))", "bool"),
        ("variables.table['x']", "bool"),
        ("variables.maybe", "dyn"),
        ("object == null || oldObject == null || object.a == oldObject.a", "bool"),
        ("request.options == {'a': 'b'} && request.dryRun == false", "bool"),
        ("request.userInfo.extra == {'a': ['b']} && request.userInfo.groups == ['c']", "bool"),
        ("type(namespaceObject.metadata.creationTimestamp) == google.protobuf.Timestamp", "bool"),
        ("namespaceObject.metadata.generation + namespaceObject.metadata.deletionGracePeriodSeconds", "int"),
        ("namespaceObject.status.conditions[0].reason + namespaceObject.metadata.finalizers[0]", "string"),
        ("authorizer.group('') != null && namespaceObject.metadata != null", "bool"),
    ],
)
def test_types(source: str, kind: str) -> None:
    ast = cel_admission.checker(NAMES, OWN).check(source)
    assert ast.type(ast.root).kind == kind


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("request.nope", "undefined field 'nope'"),
        ("variables.b", "undefined field 'b'"),
        ("variables.text == 1", r"applied to '\(string, int\)'"),
        ("variables.words == 1", r"applied to '\(list\(string\), int\)'"),
        ("variables == 1", r"applied to '\(kubernetes.variables, int\)'"),
        ("request == 1", r"applied to '\(kubernetes.AdmissionRequest, int\)'"),
        ("request.requestKind == 1", r"applied to '\(kubernetes.GroupVersionKind, int\)'"),
        ("namespaceObject == 1", r"applied to '\(kubernetes.Namespace, int\)'"),
        (
            "namespaceObject.status.conditions[0] == 1",
            r"applied to '\(kubernetes.NamespaceCondition, int\)'",
        ),
        ("namespaceObject.status.conditions[0].nope", "undefined field 'nope'"),
        ("authorizer.allowed()", r"applied to 'kubernetes.authorization.Authorizer.\(\)'"),
        ("'a'.contains('a'", "Syntax error: missing '\\)' at"),
        ("request.kind.kind == 1", r"found no matching overload for '_==_' applied to '\(string, int\)'"),
        ("authorizer.check('get')", "found no matching overload for 'check'"),
        ("params.a == 1", "<input>:1:1: undeclared reference to 'params' "),
    ],
)
def test_what_is_refused(source: str, why: str) -> None:
    with pytest.raises(cel.ExpressionError, match=why):
        cel_admission.checker(NAMES, OWN).check(source)


def test_policies_without_variables() -> None:
    with pytest.raises(cel.ExpressionError, match="undeclared reference to 'variables'"):
        cel_admission.checker(NAMES, None).check("variables.a")


class TestMutations:
    @pytest.mark.parametrize(
        ("source", "kind"),
        [
            ("Object{spec: Object.spec{replicas: object.spec.replicas + 1}}", "Object"),
            (
                "Object{metadata: Object.metadata{labels: {'a': variables.a}}, spec: Object.spec{metadata: 1}}",
                "Object",
            ),
            ("Object{?metadata: optional.none()}", "Object"),
            (
                "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'x'}]",
                "list(JSONPatch)",
            ),
            (
                "object.spec.containers.map(c, JSONPatch{op: 'test', path: '/x', value: Object.spec{x: c}})",
                "list(JSONPatch)",
            ),
            ("has(object.x) ? [JSONPatch{op: 'remove', path: '/x'}] : []", "list(JSONPatch)"),
            ("object.spec", "dyn"),
            ("Object.spec{a: 1}", "Object.spec"),
        ],
    )
    def test_types(self, source: str, kind: str) -> None:
        assert cel_admission.mutation_type(NAMES, OWN, source) == kind

    @pytest.mark.parametrize(
        ("source", "why"),
        [
            ("Object{spec: Object.spec{a: nope}}", "<input>:1:29: undeclared reference to 'nope'"),
            ("Object{spec: Object.spec{a: 1}} == 1", r"applied to '\(Object, int\)'"),
            ("Object.spec{a: 1} == 1", r"applied to '\(Object.spec, int\)'\n \| Object.spec\{a: 1\} == 1"),
            ("JSONPatch{op: 1}", "expected type of field 'op' is 'string' but provided type is 'int'"),
            ("JSONPatch{nope: 1}", "undefined field 'nope'"),
            ("Object{", "Syntax error"),
        ],
    )
    def test_what_is_refused(self, source: str, why: str) -> None:
        with pytest.raises(cel.ExpressionError, match=why):
            cel_admission.mutation_type(NAMES, None, source)
