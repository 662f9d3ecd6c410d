"""What expressions of admission may speak of: the request, its namespace, the authorizer, and a policy's own variables.

Upstream's `BuildRequestType`, `BuildNamespaceType` (apiserver/pkg/admission/plugin/cel/compile.go) and authorizer library (pkg/cel/library/authz.go), as
declarations to check expressions against. `object`, `oldObject` and `params` can be of any type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from lakh.machinery.cel import ExpressionError
from lakh.machinery.cel_ast import DYN, Type
from lakh.machinery.cel_check import Checker
from lakh.machinery.cel_decl import Decl, declare
from lakh.machinery.cel_functions import Function
from lakh.machinery.cel_names import STRING

# A policy's own variables: what they are called, and what their expressions give.
Variables = tuple[tuple[str, Type], ...]
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


_NAMES: Mapping[str, Mapping[str, str]] = {
    "request": {
        "": "AdmissionRequest",
        "kind": "GroupVersionKind",
        "requestKind": "GroupVersionKind",
        "resource": "GroupVersionResource",
        "requestResource": "GroupVersionResource",
        "userInfo": "UserInfo",
    },
    "namespaceObject": {
        "": "Namespace",
        "metadata": "NamespaceMetadata",
        "spec": "NamespaceSpec",
        "status": "NamespaceStatus",
        "status.conditions.@items": "NamespaceCondition",
    },
}


def _typed(variable: str, raw: Mapping[str, Any]) -> Decl:
    decl = declare(raw)
    assert decl is not None
    for path, name in _NAMES[variable].items():
        at: Decl | None = decl
        for step in path.split(".") if path else ():
            at = at.step(step) if at is not None else None
        assert at is not None
        at.name = f"kubernetes.{name}"
    return decl


def _of(kind: Type) -> Decl:
    """What an expression gave as a declaration (upstream's convertCelTypeToDeclType)."""
    if kind.kind in _SIMPLE:
        return Decl(kind.kind, 1)
    match kind.kind, kind.parameters:
        case "list", (element,):
            return Decl("list", 2, 0, _of(element))
        case "map", (key, element) if key.kind == "string":
            return Decl("map", 2, 0, _of(element))
    return Decl("dyn", 1)


_SIMPLE = frozenset(["bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration"])


def _declared(names: tuple[str, ...], variables: Variables | None) -> dict[str, Decl | str]:
    declared: dict[str, Decl | str] = {}
    for name in names:
        match name:
            case "request" | "namespaceObject":
                declared[name] = _typed(name, _REQUEST if name == "request" else _NAMESPACE)
            case "authorizer":
                declared[name] = name
                declared["authorizer.requestResource"] = "resourceCheck"
            case _:
                declared[name] = "dyn"
    if variables is not None:
        own = Decl("object", 2, 0, None, {name: _of(kind) for name, kind in variables})
        own.name = "kubernetes.variables"
        declared["variables"] = own
    return declared


@lru_cache(CHECKERS_KEPT)
def checker(names: tuple[str, ...], variables: Variables | None) -> Checker:
    """For expressions of the variables `names`; `variables` are a policy's own, with their types, None where there are none."""
    return Checker(_declared(names, variables), _AUTHORIZER, _MESSAGES)


# -- types of objects ------------------------------------------------------------------------------------------------------------------------


def declared_kind(raw: Mapping[str, Any], name: str) -> Decl | None:
    """A kind's declaration by its schema, without references; its types are called after it. None when its schema says no type."""
    decl = declare(raw, True)
    if decl is not None:
        _assign_names(decl, name)
    return decl


def _assign_names(decl: Decl, name: str) -> None:
    """Upstream's names of types: `Deployment.spec`, `.@idx` of lists, `.@elem` of maps (DeclType.MaybeAssignTypeName)."""
    if decl.element is not None:
        _assign_names(decl.element, f"{name}.{'@idx' if decl.kind == 'list' else '@elem'}")
    elif decl.kind == "object" and not decl.name:
        decl.name = name
        for field, child in decl.fields.items():
            _assign_names(child, f"{name}.{field}")


def type_errors(
    expressions: Sequence[str],
    variables: Sequence[tuple[str, str]],
    kind: Decl | None,
    params: Decl | None,
    *,
    has_params: bool,
) -> list[str]:
    """What the type checker says of each expression of a policy, with the types of `object` and `params`; empty when it says nothing.

    Expressions of variables may speak of those before them; what is wrong with one makes it a variable of any type, and is not told
    (upstream's admission/plugin/policy/validating/typechecking.go).
    """
    names = ("object", "oldObject", "request", "namespaceObject", "authorizer", *["params"] * has_params)
    own: dict[str, Type] = {}

    def checker() -> Checker:
        declared = _declared(names, tuple(own.items()))
        del declared["authorizer.requestResource"]
        if kind is not None:
            declared |= {"object": kind, "oldObject": kind}
        if has_params and params is not None:
            declared["params"] = params
        return Checker(declared, _AUTHORIZER, _MESSAGES)

    for name, expression in variables:
        try:
            ast = checker().check(expression)
            own[name] = ast.type(ast.root)
        except ExpressionError:
            own[name] = DYN
    last = checker()

    def error(expression: str) -> str:
        try:
            last.check(expression)
        except ExpressionError as e:
            return str(e)
        return ""

    return [error(expression) for expression in expressions]


# -- mutations -----------------------------------------------------------------------------------------------------------------------------

_PATCH = {"op": "string", "path": "string", "from": "string", "value": "dyn"}
_PATCH_FUNCTIONS = {**_AUTHORIZER, "jsonpatch.escapeKey": ((False, ("string",), "string", _unanswered),)}
_OBJECT = re.compile(rf"({STRING})|\bObject((?:\s*\.\s*[A-Za-z_]\w*)*)(?=\s*\{{)", re.DOTALL)
_FIELD = re.compile(r"[A-Za-z_]\w*(?=\s*:)")


def mutation_type(names: tuple[str, ...], variables: Variables | None, source: str) -> str:
    """The type of a mutation's expression; raises ExpressionError.

    `Object`, `Object.spec` … have whatever fields an expression gives them, of any type (upstream's pkg/cel/mutation). To the library's checker they are
    messages that are made for the expression: with all its names for fields, and without dots, which messages cannot have beside fields
    of these names.
    """
    made = {"Object": "Object"}

    def plain(found: re.Match[str]) -> str:
        if found.group(1):
            return found.group()
        name = found.group().replace(".", "_")
        made["".join(name.split())] = "".join(found.group().split())
        # Of spaces around dots nothing is left, at the price of columns in errors.
        return "".join(name.split())

    text = _OBJECT.sub(plain, source)
    fields = dict.fromkeys(_FIELD.findall(source), "dyn")
    structs = {**dict.fromkeys(made, fields), "JSONPatch": _PATCH}
    try:
        ast = Checker(_declared(names, variables), _PATCH_FUNCTIONS, _MESSAGES, structs=structs).check(text)
    except ExpressionError as e:
        raise ExpressionError(_restored(str(e), made)) from None
    return _restored(str(ast.type(ast.root)), made)


def _restored(text: str, made: Mapping[str, str]) -> str:
    for plain in sorted(made, key=len, reverse=True):
        text = text.replace(plain, made[plain])
    return text
