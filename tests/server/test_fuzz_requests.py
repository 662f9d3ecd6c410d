"""Any query, any definition, any expression, any body of a subresource: an answer below 500, whose refusals are Statuses."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery.errors import PathNotFound
from lakh.server.exchange import Response, StreamResponse
from tests.server.harness import Answer, Api, FakeStream, configmap
from tests.server.test_fuzz import DEFINITION, WIDGET, WIDGETS, values

ANSWER_SECONDS = 120
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
CORE = "/api/v1/namespaces/default"


@pytest.fixture(scope="module")
def ask() -> Any:
    """Requests to one server, on a loop of its own: method, path, body, headers."""
    loop = asyncio.new_event_loop()

    async def start() -> Api:
        api = await Api.start()
        assert (await api.post(DEFINITIONS, DEFINITION)).status == 201
        async with asyncio.timeout(ANSWER_SECONDS):
            while (await api.get(WIDGETS)).status != 200:
                await asyncio.sleep(0.01)
        await api.post(WIDGETS, WIDGET)
        for name in ("a", "b", "c"):
            await api.post(f"{CORE}/configmaps", configmap(name, x="1"))
        return api

    api = loop.run_until_complete(start())

    async def probe(method: str, path: str, body: Any = None, **headers: str) -> Answer | None:
        async with asyncio.timeout(ANSWER_SECONDS):
            answer = await api.raw(api.request(method, path, body, **headers))
            if isinstance(answer, StreamResponse):
                stream = FakeStream()
                going = answer.start(stream)  # type: ignore[arg-type]
                assert answer.status < 500
                stream.abort()
                if going is not None:
                    task = asyncio.ensure_future(going)
                    await asyncio.wait([task], timeout=ANSWER_SECONDS)
                    assert task.done(), (method, path)
                return None
        assert isinstance(answer, Response)
        found = Answer(answer)
        # A revision that is still to come is waited for and then told by 504, as upstream.
        late = found.status == 504 and b"Too large resource version" in found.body
        assert found.status < 500 or late, (method, path, body, found)
        if found.status >= 400 and method != "HEAD":
            if found.content_type.startswith("application/vnd.kubernetes.protobuf"):
                assert found.body.startswith(b"k8s\x00") and b"Status" in found.body
            elif path.startswith("/openapi") and found.status in (404, 406):
                assert not found.body
            elif found.body != PathNotFound.TEXT:
                assert found.json["kind"] == "Status", (method, path, found)
        return found

    yield lambda *arguments, **headers: loop.run_until_complete(probe(*arguments, **headers))
    loop.run_until_complete(api.stop())
    loop.close()


# -- queries -------------------------------------------------------------------------------------------------------------------------------

texts = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            *(
                "",
                "0",
                "1",
                "-1",
                "true",
                "false",
                "True",
                "1" * 25,
                "1e3",
                "0x10",
                "NaN",
                "\x00",
                "%",
                "a=b",
                "a in (b,c)",
            ),
            *(
                "a notin (b),!c",
                "a==b,",
                "(",
                "a in (",
                "x>1",
                "metadata.name=a",
                "metadata.name!=a",
                "spec.nodeName=x",
            ),
            *(
                "Exact",
                "NotOlderThan",
                "Invalid",
                "All",
                "Strict",
                "Warn",
                "Foreground",
                "Orphan",
                "Background",
                "None",
            ),
            *(
                "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0",
                "e30",
                "bnVsbA",
                "W10",
                "🦀",
                "../..",
                "a\n",
            ),
        ]
    ),
    st.integers(-(2**70), 2**70).map(str),
    st.binary(max_size=12).map(lambda b: b.decode("latin-1")),
)
parameters = st.sampled_from(
    [
        "watch",
        "limit",
        "continue",
        "resourceVersion",
        "resourceVersionMatch",
        "labelSelector",
        "fieldSelector",
        "timeoutSeconds",
        "allowWatchBookmarks",
        "sendInitialEvents",
        "pretty",
        "dryRun",
        "fieldManager",
        "fieldValidation",
        "force",
        "gracePeriodSeconds",
        "propagationPolicy",
        "orphanDependents",
        "preconditions",
        "includeObject",
        "as",
        "timeout",
        "follow",
        "tailLines",
        "container",
        "odd",
    ]
)
PATHS = (
    f"{CORE}/configmaps",
    f"{CORE}/configmaps/a",
    "/api/v1/pods",
    "/api/v1/nodes",
    WIDGETS,
    f"{WIDGETS}/w",
    f"{WIDGETS}/w/scale",
    DEFINITIONS,
    "/apis",
    "/openapi/v3",
    "/openapi/v2",
    "/version",
    "/api/v1/watch/configmaps",
    f"{CORE}/pods/x/log",
)
ACCEPTS = (
    "application/json",
    "application/json;as=Table;g=meta.k8s.io;v=v1",
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
    "application/vnd.kubernetes.protobuf,*/*",
    "application/json;as=Odd;g=x;v=y",
    "text/html",
    "",
    ";;,=",
)


@given(
    path=st.sampled_from(PATHS),
    query=st.lists(st.tuples(parameters, texts), max_size=4),
    raw=st.booleans(),
    accept=st.sampled_from(ACCEPTS),
    method=st.sampled_from(["GET", "GET", "GET", "DELETE", "HEAD", "OPTIONS"]),
)
def test_queries(
    ask: Any, path: str, query: list[tuple[str, str]], raw: bool, accept: str, method: str
) -> None:
    if method == "DELETE":
        query = [*query, ("dryRun", "All")]
    text = "&".join(f"{name}={value if raw else quote(value, safe='')}" for name, value in query)
    ask(method, f"{path}?{text}", accept=accept)


@given(
    path=st.lists(
        st.one_of(
            texts,
            st.sampled_from(
                ["api", "apis", "v1", "namespaces", "default", "pods", "apps", "deployments", "a"]
            ),
        ),
        max_size=8,
    )
)
def test_paths(ask: Any, path: list[str]) -> None:
    for safe in ("", "/%"):
        ask("GET", "/" + "/".join(quote(part, safe=safe) for part in path))


# -- bodies of what is no plain object -----------------------------------------------------------------------------------------------------

ACTIONS = (
    (f"{CORE}/pods/x/binding", "v1", "Binding"),
    (f"{CORE}/pods/x/eviction", "policy/v1", "Eviction"),
    (f"{CORE}/bindings", "v1", "Binding"),
    ("/apis/authorization.k8s.io/v1/subjectaccessreviews", "authorization.k8s.io/v1", "SubjectAccessReview"),
    (
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
        "authorization.k8s.io/v1",
        "SelfSubjectRulesReview",
    ),
    ("/apis/authentication.k8s.io/v1/tokenreviews", "authentication.k8s.io/v1", "TokenReview"),
)
parts = st.dictionaries(
    st.sampled_from(
        [
            "metadata",
            "spec",
            "status",
            "target",
            "name",
            "namespace",
            "uid",
            "user",
            "groups",
            "audiences",
            "token",
            "resourceAttributes",
            "nonResourceAttributes",
            "verb",
            "resource",
            "path",
            "extra",
            "boundObjectRef",
            "expirationSeconds",
            "deleteOptions",
            "preconditions",
            "kind",
            "labelSelector",
            "requirements",
        ]
    ),
    values,
    max_size=5,
)


@given(action=st.sampled_from(ACTIONS), body=parts, spec=parts)
def test_actions(ask: Any, action: tuple[str, str, str], body: dict[str, Any], spec: dict[str, Any]) -> None:
    path, version, kind = action
    for whole in (body, {**body, "spec": spec}):
        ask("POST", path, {**whole, "apiVersion": version, "kind": kind})


@given(
    path=st.sampled_from([f"{CORE}/configmaps/zz", f"{WIDGETS}/zz", f"{CORE}/configmaps"]),
    body=st.one_of(values, parts),
)
def test_delete_options(ask: Any, path: str, body: Any) -> None:
    ask("DELETE", f"{path}?dryRun=All", msgspec.json.encode(body))


# -- definitions and expressions -----------------------------------------------------------------------------------------------------------

tokens = st.sampled_from(
    [
        *(
            "self",
            "oldSelf",
            ".a",
            ".b",
            ".s",
            "['x']",
            "[0]",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            "?",
            ".?a",
            "[?0]",
        ),
        *(
            "==",
            "!=",
            "<",
            ">=",
            "&&",
            "||",
            "+",
            "-",
            "*",
            "/",
            "%",
            "!",
            "in",
            "1",
            "0",
            "-1",
            "1.5",
            "1u",
            "'x'",
            "r'\\d'",
            "b'x'",
        ),
        *(
            "true",
            "null",
            "9223372036854775807",
            "1e400",
            "'''",
            '"',
            "//",
            "\n",
            "\t",
            "\x00",
            "é",
            "🦀",
            "'(a+)+$'",
        ),
        *(
            ".all(x,",
            ".exists(x,",
            ".map(x,",
            ".filter(x,",
            ".all(i,x,",
            ".transformMap(k,v,",
            "has(self.a)",
            ".size()",
            "size(",
        ),
        *(
            ".matches(",
            ".find(",
            ".split(",
            ".join(",
            ".replace(",
            ".format([",
            "quantity(",
            "ip(",
            "cidr(",
            "url(",
            "semver(",
        ),
        *(
            "duration(",
            "timestamp(",
            "string(",
            "int(",
            "double(",
            "dyn(",
            "type(",
            "optional.of(",
            ".orValue(",
            ".hasValue()",
        ),
        *(
            ".sort()",
            ".sum()",
            ".isSorted()",
            "sets.contains(",
            "format.named(",
            "lists.range(",
            ".substring(",
            "request",
            "object",
        ),
    ]
)
expressions = st.one_of(
    st.lists(tokens, max_size=14).map("".join),
    st.text(max_size=30),
    st.builds(
        lambda n, a, b: a * n + "self" + b * n,
        st.integers(1, 300),
        st.sampled_from("([!-{"),
        st.sampled_from(")] }"),
    ),
    st.sampled_from(
        ["self.all(x, self.all(y, x == y))", "self.s.matches('(a*)*b')", "lists.range(100000000).size() > 1"]
    ),
)
rule_texts = st.fixed_dictionaries(
    {"rule": expressions},
    optional={
        "message": st.text(max_size=8),
        "messageExpression": expressions,
        "reason": st.sampled_from(["FieldValueInvalid", "FieldValueDuplicate", "Odd", ""]),
        "fieldPath": st.one_of(
            st.text(alphabet=".[]'abs\\x", max_size=8), st.sampled_from([".a", ".m['k']"])
        ),
        "optionalOldSelf": st.booleans(),
    },
)
keywords = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(
            ["object", "array", "string", "integer", "number", "boolean", "null", "", "odd"]
        ),
        "format": st.sampled_from(["date-time", "duration", "byte", "int64", "uuid", "odd", ""]),
        "default": values,
        "enum": st.lists(values, max_size=3),
        "pattern": st.sampled_from(
            ["^a$", "(", "(a+)+$", "\\p{Greek}", "a{1001}", "(?P<x>a)(?P<x>b)", "\x00", "["]
        ),
        "maxLength": st.integers(-1, 2**62),
        "maxItems": st.integers(-1, 2**62),
        "minimum": st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False)),
        "multipleOf": st.sampled_from([0, 1, 0.1, -1, 1e-300]),
        "nullable": st.booleans(),
        "required": st.lists(st.sampled_from(["a", "b", "zz"]), max_size=2),
        "x-kubernetes-preserve-unknown-fields": st.booleans(),
        "x-kubernetes-int-or-string": st.booleans(),
        "x-kubernetes-embedded-resource": st.booleans(),
        "x-kubernetes-list-type": st.sampled_from(["map", "set", "atomic", "odd"]),
        "x-kubernetes-list-map-keys": st.lists(st.sampled_from(["a", "b", "zz"]), max_size=2),
        "x-kubernetes-map-type": st.sampled_from(["atomic", "granular", "odd"]),
        "x-kubernetes-validations": st.lists(rule_texts, max_size=2),
        "uniqueItems": st.booleans(),
        "$ref": st.text(max_size=3),
    },
)
FIELDS = st.sampled_from(["a", "b", "s", "metadata", "kind", "namespace", "a-b", "a.b", "é", "", "a_b", "aB"])


def _nested(schemas: Any) -> Any:
    return st.builds(
        lambda base, more: {**base, **more},
        keywords,
        st.fixed_dictionaries(
            {},
            optional={
                "properties": st.dictionaries(FIELDS, schemas, max_size=3),
                "additionalProperties": st.one_of(schemas, st.booleans()),
                "items": st.one_of(schemas, st.lists(schemas, max_size=2)),
                "allOf": st.lists(schemas, max_size=2),
                "anyOf": st.lists(schemas, max_size=2),
                "oneOf": st.lists(schemas, max_size=2),
                "not": schemas,
            },
        ),
    )


schemas = st.recursive(keywords, _nested, max_leaves=8)
# Most of what is random is refused at once: these have a chance.
LEAVES: dict[str, dict[str, Any]] = {
    "a": {"type": "integer"},
    "s": {"type": "string", "maxLength": 20},
    "l": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 20}},
    "m": {"type": "object", "maxProperties": 5, "additionalProperties": {"type": "integer"}},
    "u": {"x-kubernetes-int-or-string": True},
    "t": {"type": "string", "format": "date-time", "nullable": True},
    "ll": {
        "type": "array",
        "maxItems": 3,
        "items": {"type": "array", "maxItems": 3, "items": {"type": "integer"}},
    },
}


@st.composite
def sound(draw: Any) -> dict[str, Any]:
    """A schema that may well be accepted, with rules and defaults."""
    properties = {
        name: dict(LEAVES[name])
        for name in draw(st.lists(st.sampled_from(sorted(LEAVES)), unique=True, min_size=1))
    }
    for name in draw(st.lists(st.sampled_from(sorted(properties)), unique=True, max_size=2)):
        properties[name] = {**properties[name], **draw(keywords)}
    spec: dict[str, Any] = {"type": "object", "properties": properties}
    if draw(st.booleans()):
        spec["x-kubernetes-validations"] = draw(st.lists(rule_texts, min_size=1, max_size=2))
    return {"type": "object", "properties": {"spec": spec}}


@given(
    schema=st.one_of(schemas, sound(), values),
    extra=st.dictionaries(
        st.sampled_from(
            ["subresources", "additionalPrinterColumns", "selectableFields", "deprecationWarning", "served"]
        ),
        values,
        max_size=2,
    ),
    objects=st.lists(st.dictionaries(st.sampled_from([*LEAVES, "b"]), values, max_size=4), max_size=3),
)
def test_definitions(ask: Any, schema: Any, extra: dict[str, Any], objects: list[dict[str, Any]]) -> None:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **extra}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.any.example.com"},
        "spec": {
            "group": "any.example.com",
            "scope": "Cluster",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [version],
        },
    }
    ask("DELETE", f"{DEFINITIONS}/things.any.example.com")
    made = ask("POST", DEFINITIONS, definition)
    if made.status != 201:
        return
    path = "/apis/any.example.com/v1/things"
    thing = {"apiVersion": "any.example.com/v1", "kind": "Thing", "metadata": {"name": "x"}}
    for spec in objects:
        answer = ask("POST", path, {**thing, "spec": spec})
        if answer.status == 201:
            ask("PATCH", f"{path}/x", {"spec": {"a": 1}}, content_type="application/merge-patch+json")
            ask("GET", path, accept=ACCEPTS[1])
            ask("DELETE", f"{path}/x")
    ask("GET", "/openapi/v3/apis/any.example.com/v1")


@given(expression=expressions, other=expressions, variable=expressions)
def test_policies(ask: Any, expression: str, other: str, variable: str) -> None:
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "p"},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["pods"]}
                ]
            },
            "matchConditions": [{"name": "c", "expression": other}],
            "variables": [{"name": "v", "expression": variable}],
            "validations": [{"expression": expression, "messageExpression": other}],
        },
    }
    ask("POST", f"{POLICIES}?dryRun=All", policy)
