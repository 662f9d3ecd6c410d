"""Custom resources as upstream's apiextensions-apiserver/test/integration asks for them; each test names the functions it stands for."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest

from .harness import Answer, Api
from .test_custom_resources import DEFINITIONS, define, until

OBJECT = {"type": "object"}
FREE: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
EMBEDDED: dict[str, Any] = {"type": "object", "x-kubernetes-embedded-resource": True}
SUBRESOURCES = {
    "status": {},
    "scale": {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.labelSelector",
    },
}
NOXUS = "/apis/mygroup.example.com/v1beta1/namespaces/default/noxus"
FOOS = "/apis/tests.example.com/v1beta1/foos"


def noxus(schema: dict[str, Any] | None = None, **version: Any) -> dict[str, Any]:
    """The definition that upstream's tests use most, of two versions."""
    both = {
        "served": True,
        "schema": {"openAPIV3Schema": FREE if schema is None else schema},
        **version,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "noxus.mygroup.example.com"},
        "spec": {
            "group": "mygroup.example.com",
            "scope": "Namespaced",
            "names": {
                "plural": "noxus",
                "singular": "nonenglishnoxu",
                "kind": "WishIHadChosenNoxu",
                "shortNames": ["foo", "bar", "abc", "def"],
                "listKind": "NoxuItemList",
                "categories": ["all"],
            },
            "versions": [
                {"name": "v1beta1", "storage": True, **copy.deepcopy(both)},
                {"name": "v1", "storage": False, **copy.deepcopy(both)},
            ],
        },
    }


def noxu(name: str = "a", **fields: Any) -> dict[str, Any]:
    return {
        "apiVersion": "mygroup.example.com/v1beta1",
        "kind": "WishIHadChosenNoxu",
        "metadata": {"name": name},
        **fields,
    }


def foos(schema: dict[str, Any]) -> dict[str, Any]:
    """A definition of one version, of the whole cluster."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.tests.example.com"},
        "spec": {
            "group": "tests.example.com",
            "scope": "Cluster",
            "names": {"plural": "foos", "kind": "Foo"},
            "versions": [
                {
                    "name": "v1beta1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


def foo(name: str = "a", **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "tests.example.com/v1beta1", "kind": "Foo", "metadata": {"name": name}, **fields}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


def refused(answer: Answer, code: int, *texts: str) -> None:
    assert answer.status == code, answer
    for text in texts:
        assert text in answer.json["message"], (text, answer.json["message"])


class TestBasic:
    """basic_test.go, validation_test.go, subresources_test.go."""

    async def test_of_another_kind(self, api: Api) -> None:
        """TestForProperValidationErrors, TestInvalidCRUD."""
        await define(api, noxus())
        refused(
            await api.post(NOXUS, noxu() | {"apiVersion": "mygroup.example.com/v2"}),
            400,
            "the API version in the data (mygroup.example.com/v2) does not match the expected API version (mygroup.example.com/v1beta1)",
        )
        refused(
            await api.post(NOXUS, noxu("foo") | {"kind": "SomethingElse"}),
            422,
            'SomethingElse.mygroup.example.com "foo" is invalid: kind: Invalid value: "SomethingElse": must be WishIHadChosenNoxu',
        )
        refused(await api.post(NOXUS, {}), 400)
        nameless = {"apiVersion": "mygroup.example.com/v1beta1", "kind": "WishIHadChosenNoxu"}
        refused(await api.post(NOXUS, nameless), 422)

    @pytest.mark.parametrize(
        ("method", "path", "code"),
        [
            ("POST", "/apis/mygroup.example.com/v1beta1/noxus", 404),
            ("DELETE", "/apis/mygroup.example.com/v1beta1/noxus", 404),
            ("GET", "/apis/mygroup.example.com/v1beta1/noxus", 200),
            ("GET", "/apis/mygroup.example.com/v1beta1/noxus/a", 404),
            ("GET", "/apis/mygroup.example.com/v1beta2/namespaces/default/noxus", 404),
        ],
    )
    async def test_paths(self, api: Api, method: str, path: str, code: int) -> None:
        """TestNoNamespaceReject, TestInvalidCRUD; possiblyAcrossAllNamespacesVerbs."""
        await define(api, noxus())
        assert (await api.call(method, path, noxu() if method == "POST" else None)).status == code

    async def test_discovery(self, api: Api) -> None:
        """TestDiscovery, TestSubresourcesDiscovery."""
        await define(api, noxus(subresources=SUBRESOURCES))
        for version in ("v1beta1", "v1"):
            whole, status, scale = (await api.get(f"/apis/mygroup.example.com/{version}")).json["resources"]
            assert (whole["name"], whole["kind"]) == ("noxus", "WishIHadChosenNoxu")
            assert whole["shortNames"] == ["foo", "bar", "abc", "def"]
            assert whole["categories"] == ["all"]
            assert sorted(whole["verbs"]) == sorted(
                ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
            )
            assert (status["name"], status["kind"], status["namespaced"]) == (
                "noxus/status",
                "WishIHadChosenNoxu",
                True,
            )
            assert (scale["name"], scale["group"], scale["version"], scale["kind"]) == (
                "noxus/scale", "autoscaling", "v1", "Scale",
            )  # fmt: skip
            assert sorted(status["verbs"]) == sorted(scale["verbs"]) == ["get", "patch", "update"]

    async def test_subresources(self, api: Api) -> None:
        """TestStatusSubresource, TestGeneration, TestScaleSubresource, TestSubresourcePatch."""
        refused(
            await api.post(
                DEFINITIONS,
                noxus(subresources={"scale": SUBRESOURCES["scale"] | {"specReplicasPath": "foo,bar"}}),
            ),
            422,
        )
        await define(api, noxus(subresources=SUBRESOURCES))
        made = (await api.post(NOXUS, noxu(spec={"num": 10, "replicas": 3}, status={"replicas": 7}))).json
        assert "status" not in made
        assert made["metadata"]["generation"] == 1
        made |= {"status": {"num": 20, "labelSelector": "bar"}, "spec": {"num": 20}}
        status = (await api.put(f"{NOXUS}/a/status", made)).json
        assert (status["spec"]["num"], status["status"]["num"], status["metadata"]["generation"]) == (
            10,
            20,
            1,
        )
        status |= {"status": {"num": 40}, "spec": {"num": 40, "replicas": 3}}
        whole = (await api.put(f"{NOXUS}/a", status)).json
        assert (whole["spec"]["num"], whole["status"]["num"], whole["metadata"]["generation"]) == (40, 20, 2)

        scale = (await api.get(f"{NOXUS}/a/scale")).json
        assert (scale["spec"]["replicas"], scale["status"]["selector"]) == (3, "bar")
        scale["spec"]["replicas"], scale["status"]["selector"] = 5, "baz"
        scale = (await api.put(f"{NOXUS}/a/scale", scale)).json
        assert (scale["spec"]["replicas"], scale["status"]["selector"]) == (5, "bar")
        large = (await api.get(f"{NOXUS}/a")).json
        large["spec"]["replicas"] = 2**63 - 1
        refused(
            await api.put(f"{NOXUS}/a", large),
            422,
            ".spec.replicas: Invalid value: 9223372036854775807: should be less than or equal to 2147483647",
        )

        for part, change in (("status", {"spec": {"num": 9}, "status": {"num": 999}}), ("scale", {"spec": {"replicas": 7}, "status": {"replicas": 7}})):  # fmt: skip
            first = (await api.patch(f"{NOXUS}/a/{part}", change)).json
            for again in (change, {}):
                answer = await api.patch(f"{NOXUS}/a/{part}", again)
                assert answer.json["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
            refused(await api.patch(f"{NOXUS}/a/{part}", change, "strategic-merge-patch+json"), 415)
        live = (await api.get(f"{NOXUS}/a")).json
        assert (live["spec"]["num"], live["status"]["num"]) == (40, 999)
        assert (await api.get(f"{NOXUS}/a/scale")).json["status"].get("replicas", 0) == 0

    async def test_status_is_validated_alone(self, api: Api) -> None:
        """TestValidateOnlyStatus."""
        ten = {"type": "object", "properties": {"num": {"type": "integer", "maximum": 10}}}
        await define(
            api,
            noxus({"type": "object", "properties": {"spec": ten, "status": ten}}, subresources=SUBRESOURCES),
        )
        made = (await api.post(NOXUS, noxu("foo", spec={"num": 10}))).json
        made |= {"spec": {"num": 15}, "status": {"num": 10}}
        status = await api.put(f"{NOXUS}/foo/status", made)
        assert status.status == 200, status
        refused(
            await api.put(f"{NOXUS}/foo/status", status.json | {"status": {"num": 15}}),
            422,
            'WishIHadChosenNoxu.mygroup.example.com "foo" is invalid: status.num: Invalid value: 15: num in body should be less than or equal to 10',
        )

    @pytest.mark.parametrize(
        ("fields", "texts"),
        [
            ({"alpha": "foo_123!", "beta": 10}, ["alpha in body should match '^[a-zA-Z0-9_]*$'"]),
            ({"alpha": "foo", "beta": 5}, ["beta in body should be greater than or equal to 10"]),
            ({"alpha": "foo", "beta": 10, "gamma": "qux"}, ['gamma: Unsupported value: "qux": supported values: "foo", "bar", "baz"']),
            ({}, ["alpha: Required value", "beta: Required value"]),
        ],
    )  # fmt: skip
    async def test_validation(self, api: Api, fields: dict[str, Any], texts: list[str]) -> None:
        """TestCustomResourceValidationErrors, TestCustomResourceUpdateValidation."""
        schema = {
            "type": "object",
            "required": ["alpha", "beta"],
            "properties": {
                "alpha": {"type": "string", "pattern": "^[a-zA-Z0-9_]*$"},
                "beta": {"type": "number", "minimum": 10, "maximum": 100},
                "gamma": {"type": "string", "enum": ["foo", "bar", "baz"]},
                "delta": {"type": "string", "anyOf": [{"maxLength": 5}, {"minLength": 10}]},
            },
        }
        await define(api, noxus(schema))
        refused(await api.post(NOXUS, noxu(**fields)), 422, *texts)
        made = (await api.post(NOXUS, noxu(alpha="foo_123", beta=10, gamma="bar", delta="hello"))).json
        meta = {k: made[k] for k in ("apiVersion", "kind", "metadata")}
        refused(await api.put(f"{NOXUS}/a", meta | fields), 422, *texts)

    async def test_zero_values(self, api: Api) -> None:
        """TestZeroValueValidation."""
        zeros = {"string": "", "boolean": False, "number": 0, "integer": 0, "array": [], "object": {}}
        properties: dict[str, Any] = {}
        for kind, zero in zeros.items():
            plain: dict[str, Any] = {"type": kind}
            if kind == "array":
                plain["items"] = {"type": "string"}
            if kind == "object":
                plain["properties"] = {"a": {"type": "string"}}
            properties |= {
                kind: plain,
                f"{kind}_default": plain | {"default": zero},
                f"{kind}_null": plain | {"nullable": True},
            }
        await define(api, foos({"type": "object", "properties": properties}))
        nulls = {f"{kind}_null": None for kind in zeros}
        made = (await api.post(FOOS, foo(**zeros, **nulls))).json
        assert {k: made[k] for k in properties if k in made} == {
            **zeros,
            **nulls,
            **{f"{kind}_default": zero for kind, zero in zeros.items()},
        }


class TestMetadata:
    """objectmeta_test.go, defaulting_test.go."""

    async def test_of_the_object(self, api: Api) -> None:
        """TestPostInvalidObjectMeta."""
        await define(api, noxus())
        sent = noxu()
        sent["metadata"] |= {"unknown": 42, "generation": None, "labels": {"foo": 42, "bar": "abc"}}
        refused(await api.post(NOXUS, sent), 400, "cannot be handled")
        sent["metadata"]["labels"] = {"bar": "abc"}
        made = await api.post(NOXUS, sent)
        assert made.status == 201, made
        assert "unknown" not in made.json["metadata"]
        assert made.json["metadata"]["generation"] == 1

    async def test_of_embedded_objects(self, api: Api) -> None:
        """TestEmbeddedResources."""
        free = FREE | EMBEDDED
        schema = {
            "type": "object",
            "properties": {
                "embedded": free,
                "noEmbeddedObject": FREE,
                "embeddedNested": free | {"properties": {"embedded": free}},
                "defaults": free | {"default": {"apiVersion": "v1", "kind": "Pod", "labels": {"foo": "bar"}}},
            },
        }
        await define(api, foos(schema))
        clean = {"apiVersion": "foo/v1", "kind": "Foo", "metadata": {"name": "foo"}}
        dirty = {"apiVersion": "foo/v1", "kind": "Foo", "metadata": {"name": "foo", "unspecified": "bar"}}
        made = await api.post(
            FOOS, foo(embedded=dirty, noEmbeddedObject=dirty, embeddedNested=dirty | {"embedded": dirty})
        )
        assert made.status == 201, made
        assert {k: v for k, v in made.json.items() if k not in ("apiVersion", "kind", "metadata")} == {
            "embedded": clean,
            "noEmbeddedObject": dirty,
            "embeddedNested": clean | {"embedded": clean},
            "defaults": {"apiVersion": "v1", "kind": "Pod", "labels": {"foo": "bar"}},
        }
        wrong = {"apiVersion": "foo/v1", "kind": "Foo", "metadata": {"name": "i", "namespace": 42}}
        refused(await api.post(FOOS, foo("b", embedded=wrong)), 400, "embedded.metadata: Invalid value")
        bad = {"apiVersion": "foo/v1", "kind": "%", "metadata": {"name": ".."}}
        sent = foo("b", embedded=bad, embeddedNested=bad | {"embedded": bad})
        sent["metadata"]["labels"] = {"foo": "x y"}
        refused(
            await api.post(FOOS, sent),
            422,
            '[metadata.labels: Invalid value: "x y"',
            ' embedded.kind: Invalid value: "%"',
            ' embedded.metadata.name: Invalid value: ".."',
            ' embeddedNested.kind: Invalid value: "%"',
            ' embeddedNested.metadata.name: Invalid value: ".."',
            ' embeddedNested.embedded.kind: Invalid value: "%"',
            ' embeddedNested.embedded.metadata.name: Invalid value: ".."',
        )

    async def test_defaults_of_embedded_objects(self, api: Api) -> None:
        """TestCustomResourceDefaultingOfMetaFields."""

        def named(**extra: Any) -> dict[str, Any]:
            return {"type": "string", **extra}

        fields = EMBEDDED | {
            "properties": {
                "apiVersion": named(default="foos/v1"),
                "kind": named(default="Foo"),
                "metadata": {
                    "type": "object",
                    "properties": {"name": named(default="Bar"), "unknown": named(default="unknown")},
                },
            }
        }
        meta = {"name": "Bar", "unknown": "unknown"}
        full_metadata = copy.deepcopy(fields)
        full_metadata["properties"]["metadata"] = {"type": "object", "default": meta}
        whole = {"apiVersion": "foos/v1", "kind": "Foo", "metadata": meta}
        full_object = EMBEDDED | {"properties": {"foo": named()}, "default": whole}
        spanning = {
            "type": "object",
            "properties": {"embedded": EMBEDDED | {"properties": {"foo": named()}}},
            "default": {"embedded": whole},
        }
        free = {"x-kubernetes-preserve-unknown-fields": True}
        schema = {
            "type": "object",
            "properties": {
                "fields": fields,
                "fullMetadata": full_metadata,
                "fullObject": full_object,
                "spanning": spanning,
                "preserve-fields": fields | free,
                "preserve-fullMetadata": full_metadata | free,
                "preserve-fullObject": EMBEDDED | free | {"default": whole},
            },
        }
        await define(api, foos(schema))
        sent = foo(fields={"metadata": {}}, fullMetadata={})
        made = await api.post(FOOS, sent | {"preserve-fields": {"metadata": {}}, "preserve-fullMetadata": {}})
        assert made.status == 201, made
        made.json["spanning"] = made.json["spanning"]["embedded"]
        for name in schema["properties"]:
            assert made.json[name] == {"apiVersion": "foos/v1", "kind": "Foo", "metadata": {"name": "Bar"}}, (
                name
            )

    async def test_defaults_come_and_go(self, api: Api) -> None:
        """TestCustomResourceDefaultingWithWatchCache: what was filled in on the way stays, on reads it follows the schema."""

        def body(**defaults: str) -> dict[str, Any]:
            part = {
                "type": "object",
                "properties": {
                    n: {"type": "string", **({"default": defaults[n]} if n in defaults else {})}
                    for n in "abc"
                },
            }
            return foos({"type": "object", "properties": {"spec": part, "status": part}})

        async def schema(**defaults: str) -> None:
            live = (await api.get(f"{DEFINITIONS}/foos.tests.example.com")).json
            live["spec"]["versions"] = body(**defaults)["spec"]["versions"]
            assert (await api.put(f"{DEFINITIONS}/foos.tests.example.com", live)).status == 200

        await define(api, body(a="A", b="B"))
        made = (await api.post(FOOS, foo(spec={"a": "a"}, status={"b": "b"}))).json
        assert made["spec"] == {"a": "a", "b": "B"}
        assert "status" not in made
        made["status"] = {}
        assert (await api.put(f"{FOOS}/a/status", made)).json["status"] == {"a": "A", "b": "B"}
        await schema(a="A", b="B", c="C")
        for query in ("", "?resourceVersion=0"):
            assert (await api.get(f"{FOOS}/a{query}")).json["spec"]["c"] == "C"
            (item,) = (await api.get(f"{FOOS}{query}")).json["items"]
            assert item["spec"] == {"a": "a", "b": "B", "c": "C"}
            assert item["status"] == {"a": "A", "b": "B", "c": "C"}
        await schema()
        live = (await api.get(f"{FOOS}/a")).json
        assert (live["spec"], live["status"]) == ({"a": "a", "b": "B"}, {"a": "A", "b": "B"})


PORTS = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
    "items": {
        "type": "object",
        "required": ["containerPort"],
        "properties": {
            "containerPort": {"type": "integer", "format": "int32"},
            "name": {"type": "string"},
            "protocol": {"type": "string", "default": "SCTP"},
        },
    },
}


class TestApply:
    """test/integration/apiserver/apply/apply_crd_test.go."""

    async def test_keys_that_are_defaulted(self, api: Api) -> None:
        """TestDefaultMissingKeyCRD: a key's default is the schema's."""
        await define(api, foos({"type": "object", "properties": {"ports": PORTS}}))
        first = await api.apply(f"{FOOS}/a", foo(ports=[{"name": "x", "containerPort": 80}]), "one")
        assert first.status == 201, first
        second = foo(ports=[{"name": "y", "containerPort": 80, "protocol": "SCTP"}])
        answer = await api.apply(f"{FOOS}/a", second, "two")
        refused(answer, 409)
        (cause,) = answer.json["details"]["causes"]
        assert cause["field"] == '.ports[containerPort=80,protocol="SCTP"].name'

    async def test_keys_without_default(self, api: Api) -> None:
        """TestApplyCRDStructuralSchema."""
        ports = copy.deepcopy(PORTS)
        del ports["items"]["properties"]["protocol"]["default"]
        ports["items"]["required"] = ["containerPort", "protocol"]
        await define(api, foos({"type": "object", "properties": {"ports": ports}}))
        tcp = {"name": "x", "containerPort": 80, "protocol": "TCP"}
        refused(
            await api.apply(f"{FOOS}/a", foo(ports=[{"name": "x", "containerPort": 80}]), "one"),
            400,
            '.ports: element 0: associative list with keys has an element that omits key field "protocol" (and doesn\'t have default value)',
        )
        refused(
            await api.apply(f"{FOOS}/a", foo(ports=[tcp, tcp]), "one"),
            400,
            '.ports: duplicate entries for key [containerPort=80,protocol="TCP"]',
        )
        assert (await api.apply(f"{FOOS}/a", foo(ports=[tcp]), "one")).status == 201
        beside = foo(ports=[{"name": "y", "containerPort": 8080, "protocol": "TCP"}])
        both = await api.apply(f"{FOOS}/a", beside, "two")
        assert [p["name"] for p in both.json["ports"]] == ["x", "y"]

    @pytest.mark.usefixtures("seconds_apart")
    async def test_defaults_in_atoms_change_nothing(self, api: Api) -> None:
        """TestNoOpApplyWithDefaultsSameResourceVersionCRD."""
        reference = {
            "type": "object",
            "x-kubernetes-map-type": "atomic",
            "properties": {"name": {"type": "string"}, "namespace": {"type": "string", "default": "d"}},
        }
        await define(api, foos({"type": "object", "properties": {"ref": reference}}))
        first = await api.apply(f"{FOOS}/a", foo(ref={"name": "m\n"}), "one")
        again = await api.apply(f"{FOOS}/a", foo(ref={"name": "m\n"}), "one")
        assert first.status == 201, first
        assert first.json["metadata"]["resourceVersion"] == again.json["metadata"]["resourceVersion"]

    async def test_while_the_definition_goes(self, api: Api) -> None:
        """TestApplyCRDuringCRDFinalization."""
        body = noxus()
        body["metadata"]["finalizers"] = ["test.example.com/f"]
        await define(api, body)
        await api.delete(f"{DEFINITIONS}/noxus.mygroup.example.com")
        await until(api, "noxus.mygroup.example.com", "Terminating")
        why = "create not allowed while custom resource definition is terminating"
        refused(await api.apply(f"{NOXUS}/a", noxu(), "one"), 403, why)
        refused(await api.post(NOXUS, noxu()), 405, why)


class TestSchemas:
    """TestNonStructuralSchemaConditionForCRDV1, TestForbiddenFieldsInSchema: findings that name what is wrong."""

    @pytest.mark.parametrize(
        ("schema", "text"),
        [
            ({"metadata": {"type": "object", "minimum": 42}}, "properties[metadata]: Forbidden: must not specify anything other than name and generateName"),
            ({"a": {"type": "array", "items": [{"type": "string"}]}}, "properties[a].items: Forbidden: items must be a schema object and not an array"),
            (
                {"a": {"type": "array", "items": {"type": "string"}, "not": {"items": [{"type": "string"}]}}},
                "properties[a].not.items: Forbidden: items must be a schema object and not an array",
            ),
            ({"a": {"type": "object", "not": {"$ref": "x"}}}, "properties[a].not.$ref: Forbidden: $ref is not supported"),
            ({"a": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}}, "properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true"),
        ],
    )  # fmt: skip
    async def test_refused(self, api: Api, schema: dict[str, Any], text: str) -> None:
        refused(await api.post(DEFINITIONS, foos({"type": "object", "properties": schema})), 422, text)


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _keyed(value: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A list map of `k` with a value."""
    item = {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": value}}
    return {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": item, **more}  # fmt: skip


TEXT = {"type": "string"}
SHORT = {"type": "string", "maxLength": 2}
TEXTS = {"type": "array", "items": TEXT}


class TestRatcheting:
    """ratcheting_test.go, TestRatchetingFunctionality: an update is not held to account for what was wrong before it and stays as it is."""

    @pytest.mark.parametrize(
        ("before", "after", "first", "then", "taken"),
        [
            pytest.param(_object(a=TEXT, b=TEXT), _object(a=SHORT, b=TEXT), {"a": "long"}, {"a": "long", "b": "x"}, True, id="MinLength MaxLength"),
            pytest.param(_object(a=TEXT, b=TEXT), _object(a=SHORT, b=TEXT), {"a": "long"}, {"a": "longer"}, False, id="MinLength MaxLength: changed"),
            pytest.param(_object(a=TEXT, b=TEXT), _object(a={**TEXT, "enum": ["x"]}, b=TEXT), {"a": "y"}, {"a": "y", "b": "x"}, True, id="Enum"),
            pytest.param(
                _object(m={"type": "object", "additionalProperties": TEXT}), _object(m={"type": "object", "additionalProperties": SHORT}),
                {"m": {"a": "long"}}, {"m": {"a": "long", "b": "x"}}, True, id="AdditionalProperties",
            ),
            pytest.param(
                _object(m={"type": "object", "additionalProperties": TEXT}), _object(m={"type": "object", "additionalProperties": TEXT, "maxProperties": 1}),
                {"m": {"a": "1", "b": "2"}}, {"m": {"a": "1", "b": "3"}}, False, id="MinProperties MaxProperties",
            ),
            pytest.param(_object(l=TEXTS), _object(l={**TEXTS, "maxItems": 1}), {"l": ["a", "b"]}, {"l": ["a", "c"]}, False, id="MaxItems"),
            pytest.param(
                _object(l=_keyed(TEXT)), _object(l=_keyed(TEXT, maxItems=1)),
                {"l": [{"k": "a"}, {"k": "b"}]}, {"l": [{"k": "b"}, {"k": "a"}]}, True, id="Map Type List Reordering Grandfathers Invalid Key",
            ),
            pytest.param(
                _object(l=_keyed(TEXT)), _object(l=_keyed(SHORT)),
                {"l": [{"k": "a", "v": "long"}]}, {"l": [{"k": "b", "v": "x"}, {"k": "a", "v": "long"}]}, True, id="Map Type List: beside",
            ),
            pytest.param(
                _object(l={"type": "array", "items": TEXT}), _object(l={"type": "array", "items": SHORT}),
                {"l": ["long"]}, {"l": ["long", "b"]}, False, id="ArrayItems do not correlate by index",
            ),
            pytest.param(
                _object(l=TEXTS, b=TEXT), _object(l={**TEXTS, "x-kubernetes-list-type": "set"}, b=TEXT),
                {"l": ["a", "a"]}, {"l": ["a", "a"], "b": "x"}, True, id="Change list to set",
            ),
        ],
    )  # fmt: skip
    async def test_updates(
        self,
        api: Api,
        before: dict[str, Any],
        after: dict[str, Any],
        first: dict[str, Any],
        then: dict[str, Any],
        taken: bool,
    ) -> None:
        await define(api, foos(_object(spec=before)))
        made = (await api.post(FOOS, foo(spec=first))).json
        change = {"spec": {"versions": foos(_object(spec=after))["spec"]["versions"]}}
        assert (await api.patch(f"{DEFINITIONS}/foos.tests.example.com", change)).status == 200
        answer = await api.put(f"{FOOS}/a", made | {"spec": then})
        assert answer.status == (200 if taken else 422), answer
