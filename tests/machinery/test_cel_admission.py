"""Expressions of admission, checked against what admission declares."""

from __future__ import annotations

import pytest

from lakh.machinery import cel, cel_admission

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
    ],
)
def test_types(source: str, kind: str) -> None:
    ast = cel_admission.checker(NAMES, ("a",)).check(source)
    assert ast.type(ast.root).kind == kind


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("request.nope", "undefined field 'nope'"),
        ("variables.b", "undefined field 'b'"),
        ("request.kind.kind == 1", r"found no matching overload for '_==_' applied to '\(string, int\)'"),
        ("authorizer.check('get')", "found no matching overload for 'check'"),
        ("params.a == 1", "<input>:1:1: undeclared reference to 'params' "),
    ],
)
def test_what_is_refused(source: str, why: str) -> None:
    with pytest.raises(cel.ExpressionError, match=why):
        cel_admission.checker(NAMES, ("a",)).check(source)


def test_policies_without_variables() -> None:
    with pytest.raises(cel.ExpressionError, match="undeclared reference to 'variables'"):
        cel_admission.checker(NAMES, None).check("variables.a")
