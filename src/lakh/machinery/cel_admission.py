"""What expressions of admission may speak of: the request, its namespace, the authorizer, and a policy's own variables.

Upstream's `BuildRequestType`, `BuildNamespaceType` (apiserver/pkg/admission/plugin/cel/compile.go) and authorizer library (pkg/cel/library/authz.go), as
declarations to check expressions against. `object`, `oldObject` and `params` can be of any type.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from lakh.machinery.cel_check import Checker
from lakh.machinery.cel_decl import Decl, declare
from lakh.machinery.cel_functions import Function

# Of policies whose variables are alike.
CHECKERS_KEPT = 32

_AUTHORIZATION = "kubernetes.authorization"
_MESSAGES: Mapping[str, str] = {
    "authorizer": f"{_AUTHORIZATION}.Authorizer",
    "pathCheck": f"{_AUTHORIZATION}.PathCheck",
    "groupCheck": f"{_AUTHORIZATION}.GroupCheck",
    "resourceCheck": f"{_AUTHORIZATION}.ResourceCheck",
    "decision": f"{_AUTHORIZATION}.Decision",
}


def _unanswered(*arguments: Any) -> None:
    raise ValueError("expressions of admission are checked, not evaluated")


def _methods(of: str, result: str, *arguments: str) -> tuple[Function, ...]:
    return ((True, (of, *arguments), result, _unanswered),)


_AUTHORIZER: Mapping[str, tuple[Function, ...]] = {
    "path": _methods("authorizer", "pathCheck", "string"),
    "group": _methods("authorizer", "groupCheck", "string"),
    "serviceAccount": _methods("authorizer", "authorizer", "string", "string"),
    "resource": _methods("groupCheck", "resourceCheck", "string"),
    **{
        name: _methods("resourceCheck", "resourceCheck", "string")
        for name in ("subresource", "namespace", "name", "fieldSelector", "labelSelector")
    },
    "check": (
        *_methods("pathCheck", "decision", "string"),
        *_methods("resourceCheck", "decision", "string"),
    ),
    "errored": _methods("decision", "bool"),
    "error": _methods("decision", "string"),
    "allowed": _methods("decision", "bool"),
    "reason": _methods("decision", "string"),
}


def _object(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields}


def _list(of: Any) -> dict[str, Any]:
    return {"type": "array", "items": of}


def _map(of: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": of}


_TEXT, _NUMBER, _FLAG = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_TIME, _ANYTHING = {"type": "string", "format": "date-time"}, {"x-kubernetes-int-or-string": True}
_KIND = _object(group=_TEXT, version=_TEXT, kind=_TEXT)
_RESOURCE = _object(group=_TEXT, version=_TEXT, resource=_TEXT)
_REQUEST = _object(
    kind=_KIND,
    resource=_RESOURCE,
    subResource=_TEXT,
    requestKind=_KIND,
    requestResource=_RESOURCE,
    requestSubResource=_TEXT,
    name=_TEXT,
    namespace=_TEXT,
    operation=_TEXT,
    userInfo=_object(username=_TEXT, uid=_TEXT, groups=_list(_TEXT), extra=_map(_list(_TEXT))),
    dryRun=_FLAG,
    options=_ANYTHING,
)
_NAMESPACE = _object(
    metadata=_object(
        name=_TEXT,
        generateName=_TEXT,
        namespace=_TEXT,
        labels=_map(_TEXT),
        annotations=_map(_TEXT),
        UID=_TEXT,
        creationTimestamp=_TIME,
        deletionGracePeriodSeconds=_NUMBER,
        deletionTimestamp=_TIME,
        generation=_NUMBER,
        resourceVersion=_TEXT,
        finalizers=_list(_TEXT),
    ),
    spec=_object(finalizers=_list(_TEXT)),
    status=_object(
        conditions=_list(
            _object(status=_TEXT, type=_TEXT, lastTransitionTime=_TIME, message=_TEXT, reason=_TEXT)
        ),
        phase=_TEXT,
    ),
)


@lru_cache(CHECKERS_KEPT)
def checker(names: tuple[str, ...], variables: tuple[str, ...] | None) -> Checker:
    """For expressions of the variables `names`; `variables` are a policy's own (any type), None where there are none."""
    declared: dict[str, Decl | str] = {}
    for name in names:
        match name:
            case "request" | "namespaceObject":
                decl = declare(_REQUEST if name == "request" else _NAMESPACE)
                assert decl is not None
                declared[name] = decl
            case "authorizer":
                declared[name] = name
                declared["authorizer.requestResource"] = "resourceCheck"
            case _:
                declared[name] = "dyn"
    if variables is not None:
        declared["variables"] = Decl("object", 2, 0, None, {name: Decl("dyn", 1) for name in variables})
    return Checker(declared, _AUTHORIZER, _MESSAGES)
