"""Type checking of policies; cases are those of upstream's typechecking_test.go and of its e2e tests of admission policies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_client import FakeClient, drain, make_context

from lakh.client.client import RawResponse
from lakh.client.resources import DEPLOYMENTS, PODS, VALIDATINGADMISSIONPOLICIES, Resource
from lakh.controllers.policyviews import Rule
from lakh.controllers.validatingadmissionpolicystatus import (
    ValidatingAdmissionPolicyStatusController,
    kinds_to_check,
    schema_of,
)

EVENTS = Resource("events.k8s.io", "v1", "events", "Event", True)
CORE_EVENTS = Resource("", "v1", "events", "Event", True)
SERVED = [DEPLOYMENTS, PODS, CORE_EVENTS, EVENTS]
TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
REPLICAS = {"spec": {"type": "object", "properties": {"replicas": NUMBER}}}


def rule(group: str = "apps", version: str = "v1", *resources: str) -> dict[str, Any]:
    return {
        "apiGroups": [group],
        "apiVersions": [version],
        "operations": ["*"],
        "resources": list(resources or ("deployments",)),
    }


def document(**kinds: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document of kinds with these schemas, of every version that is asked for."""
    return {
        "components": {
            "schemas": {
                name: {
                    **schema,
                    "x-kubernetes-group-version-kind": [
                        {"group": group, "version": "v1", "kind": name} for group in ("", "apps")
                    ],
                }
                for name, schema in kinds.items()
            }
        }
    }


def of(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields}


class World:
    """A server with kinds, and a policy of Deployments."""

    def __init__(self, client: FakeClient, **kinds: dict[str, Any]) -> None:
        self.client = client
        self.asked: list[str] = []
        client.served = SERVED
        discovered = client.raw

        async def raw(method: str, path: str, body: Any = None, headers: Any = None) -> RawResponse:
            self.asked.append(path)
            if not path.startswith("/openapi/v3/"):
                return await discovered(method, path, body, headers)
            if not kinds:
                return RawResponse(404, {}, b"")
            return RawResponse(200, {}, json.dumps(document(**kinds)).encode())

        client.raw = raw  # type: ignore[method-assign]
        self.controller = ValidatingAdmissionPolicyStatusController(make_context(client))

    async def check(self, *validations: Any, **spec: Any) -> dict[str, str]:
        """The warnings, by the fields that they are about."""
        given = [{"expression": v} if isinstance(v, str) else v for v in validations]
        spec = {"matchConstraints": {"resourceRules": [rule()]}, "validations": given, **spec}
        self.client.put(
            VALIDATINGADMISSIONPOLICIES, {"metadata": {"name": "p", "generation": 3}, "spec": spec}
        )
        await drain(self.controller)
        status = self.client.one(VALIDATINGADMISSIONPOLICIES, "p")["status"]
        assert status["observedGeneration"] == 3
        assert set(status["typeChecking"]) <= {"expressionWarnings"}
        found = status["typeChecking"].get("expressionWarnings", ())
        return {entry["fieldRef"]: entry["warning"] for entry in found}


@pytest.mark.parametrize(
    ("kinds", "validations", "spec", "expected"),
    [
        pytest.param({}, ["object.foo == 'bar'"], {}, {}, id="unresolved schema"),
        pytest.param({"Deployment": of(foo=TEXT)}, ["object.foo == 'bar'"], {}, {}, id="passed check"),
        pytest.param(
            {"Deployment": of(bar=TEXT)},
            ["object.foo == 'bar'"],
            {},
            {"spec.validations[0].expression": "undefined field 'foo'"},
            id="undefined field",
        ),
        pytest.param(
            {"Deployment": of(foo=NUMBER)},
            ["object.foo == 'bar'", "oldObject.foo == 1"],
            {},
            {
                "spec.validations[0].expression": "found no matching overload for '_==_' applied to '(int, string)'"
            },
            id="field type mismatch",
        ),
        pytest.param(
            {"Deployment": of(foo=TEXT), "Settings": of(foo=TEXT)},
            ["object.foo == params.bar"],
            {"paramKind": {"apiVersion": "v1", "kind": "Settings"}},
            {"spec.validations[0].expression": "undefined field 'bar'"},
            id="params",
        ),
        pytest.param(
            {"Deployment": {}, "Config": {}},
            ["params != null"],
            {"paramKind": {"apiVersion": "v1", "kind": "Config"}},
            {},
            id="params with untyped schema",
        ),
        pytest.param(
            {"Deployment": of(foo=TEXT)},
            ["object.foo == params.bar"],
            {"paramKind": {"apiVersion": "v1", "kind": "Unknown"}},
            {},
            id="params of a kind that is not served",
        ),
        pytest.param(
            {"Deployment": of(foo=TEXT)},
            ["object.foo == 'bar'", "object.bar == 'foo'"],
            {},
            {"spec.validations[1].expression": "undefined field 'bar'"},
            id="multiple expressions",
        ),
        pytest.param(
            {"Deployment": of(foo=TEXT)},
            [{"expression": "object.foo == 'bar'", "messageExpression": "object.foo + 114514"}],
            {},
            {"spec.validations[0].messageExpression": "applied to '(string, int)'"},
            id="message expressions",
        ),
        pytest.param(
            {"Deployment": of(foo=TEXT)},
            ["authorizer.group('').resource('endpoints').check('create').allowed()"],
            {},
            {},
            id="authorizer",
        ),
        pytest.param(
            {"Deployment": of(foo=TEXT)},
            ["authorizer.allowed()"],
            {},
            {
                "spec.validations[0].expression": "found no matching overload for 'allowed' applied to 'kubernetes.authorization.Authorizer"
            },
            id="authorizer invalid",
        ),
        pytest.param(
            {
                "Deployment": of(
                    spec=of(text=TEXT), status=of(x={"type": "object", "additionalProperties": True})
                )
            },
            ["has(object.spec.text)"],
            {},
            {},
            id="additionalProperties: true",
        ),
        pytest.param({"Deployment": {}}, ["true"], {}, {}, id="schema without type"),
        pytest.param(
            {"Deployment": of(foo=NUMBER)},
            ["variables.works", "variables.nonExisting"],
            {"variables": [{"name": "works", "expression": "true"}]},
            {"spec.validations[1].expression": "undefined field 'nonExisting'"},
            id="variables missing field",
        ),
        pytest.param(
            {"Deployment": of(foo=NUMBER)},
            ["variables.name == object.foo"],
            {"variables": [{"name": "name", "expression": "'something'"}]},
            {
                "spec.validations[0].expression": "found no matching overload for '_==_' applied to '(string, int)'"
            },
            id="variables field wrong type",
        ),
        pytest.param(
            {"Deployment": of(foo=NUMBER)},
            ["variables.name == object.foo"],
            {"variables": [{"name": "name", "expression": "object.foo == 'str'"}]},
            {},
            id="error in variables, not reported during type checking",
        ),
        pytest.param(
            {"Deployment": of(**REPLICAS)},
            [
                {
                    "expression": "object.spec.replicas > '1'",
                    "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas",
                },
                "object.spec.maxRetries < 10",
            ],
            {},
            {
                "spec.validations[0].expression": "found no matching overload for '_>_' applied to '(int, string)'",
                "spec.validations[0].messageExpression": "found no matching overload for '_+_' applied to '(string, int)'",
                "spec.validations[1].expression": "undefined field 'maxRetries'",
            },
            id="e2e: should type check validation expressions, should type check a CRD",
        ),
    ],
)
async def test_checks(
    client: FakeClient,
    kinds: dict[str, Any],
    validations: list[Any],
    spec: dict[str, Any],
    expected: dict[str, str],
) -> None:
    found = await World(client, **kinds).check(*validations, **spec)
    assert found.keys() == expected.keys()
    for field, text in expected.items():
        assert text in found[field]


async def test_a_warning_names_the_kinds(client: FakeClient) -> None:
    world = World(client, Deployment=of(**REPLICAS), Pod=of(spec=of(nodeName=TEXT)))
    rules = {"resourceRules": [rule(), rule("", "v1", "pods")]}
    found = await world.check("object.spec == 1", matchConstraints=rules)
    place = " | object.spec == 1\n | ............^"
    why = "ERROR: <input>:1:13: found no matching overload for '_==_' applied to"
    assert found == {
        "spec.validations[0].expression": f"/v1, Kind=Pod: {why} '(Pod.spec, int)'\n{place}\n\n"
        f"apps/v1, Kind=Deployment: {why} '(Deployment.spec, int)'\n{place}\n"
    }


async def test_once_for_a_generation(client: FakeClient) -> None:
    world = World(client, Deployment=of(foo=TEXT))
    await world.check("object.bar == 1")
    asked, writes = len(world.asked), len(client.requests)
    client.change(VALIDATINGADMISSIONPOLICIES, "p", {"metadata": {"labels": {"a": "b"}}}, None)
    await drain(world.controller)
    assert (len(world.asked), len(client.requests)) == (asked, writes)
    client.change(VALIDATINGADMISSIONPOLICIES, "p", {"metadata": {"generation": 4}}, None)
    await drain(world.controller)
    assert client.one(VALIDATINGADMISSIONPOLICIES, "p")["status"]["observedGeneration"] == 4


async def test_rules_with_wildcards_ask_for_nothing(client: FakeClient) -> None:
    world = World(client, Deployment=of(foo=TEXT))
    assert await world.check("object.bar == 1", matchConstraints={"resourceRules": [rule("*")]}) == {}
    assert world.asked == []


@pytest.mark.parametrize(
    ("rules", "kinds"),
    [
        ([], []),
        ([rule()], [("apps", "v1", "Deployment")]),
        ([rule(), rule("", "v1", "pods")], [("", "v1", "Pod"), ("apps", "v1", "Deployment")]),
        ([rule("apps", "v1", "*")], []),
        ([rule("apps", "v1", "deployments/scale")], []),
        ([rule(), rule("apps", "*")], [("apps", "v1", "Deployment")]),
        ([rule("apps", "v2")], []),
        # The mapper takes no group for any.
        ([rule("", "v1", "events")], [("", "v1", "Event"), ("events.k8s.io", "v1", "Event")]),
        ([rule("events.k8s.io", "v1", "events")], [("events.k8s.io", "v1", "Event")]),
    ],
)
def test_kinds(rules: list[dict[str, Any]], kinds: list[tuple[str, str, str]]) -> None:
    """TestExtractTypeNames."""
    views = [Rule(r["apiGroups"], r["apiVersions"], r["resources"]) for r in rules]
    assert kinds_to_check(views, SERVED) == kinds


def test_ten_kinds_of_a_rule() -> None:
    served = [Resource("g", "v1", f"r{n:02}", f"R{n:02}", True) for n in range(12)]
    assert len(kinds_to_check([Rule(["g"], ["v1"], [r.plural for r in served])], served)) == 10


def test_references_are_followed_but_not_in_circles() -> None:
    kind = {"x-kubernetes-group-version-kind": [{"group": "g", "version": "v1", "kind": "Kind"}]}
    here = "#/components/schemas/"
    schemas = {
        "Kind": {
            **of(self={"$ref": f"{here}Kind"}, part={"allOf": [{"$ref": f"{here}Part"}], "default": {}}),
            **kind,
        },
        "Part": of(
            many={"type": "array", "items": {"$ref": f"{here}Port"}},
            named={"type": "object", "additionalProperties": {"$ref": f"{here}Part"}},
        ),
        "Port": {"format": "int-or-string", "anyOf": []},
    }
    found = schema_of(("g", "v1", "Kind"), schemas)
    assert found is not None
    assert found["properties"]["self"] == {"type": "object"}
    part = found["properties"]["part"]["properties"]
    assert part["many"]["items"]["x-kubernetes-int-or-string"]
    assert part["named"]["additionalProperties"] == {"type": "object"}
    assert schema_of(("g", "v1", "Part"), schemas) is None
