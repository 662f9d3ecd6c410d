"""Upstream's conformance tests of custom resources: definitions, discovery, OpenAPI, defaulting, watches, field validation."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .cluster import Kubectl, eventually
from .rest import APPLY_PATCH, JSON_PATCH, Rest
from .test_upstream_apimachinery import aggregated
from .upstream import covers

pytestmark = pytest.mark.xdist_group("conformance")

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

_numbers = itertools.count(1)


def definition(
    schema: dict[str, Any] | None = None,
    versions: tuple[str, ...] = ("v1",),
    group: str = "",
    labels: dict[str, str] | None = None,
    scope: str = "Cluster",
) -> dict[str, Any]:
    """A definition with names of its own."""
    number = next(_numbers)
    group = group or f"g{number}.example.com"
    plural = f"e2e-tests-{number}-crds"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "labels": labels or {}},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": plural, "singular": plural[:-1], "kind": f"E2eTest{number}Crd"},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == versions[0],
                    "schema": {"openAPIV3Schema": schema or ANYTHING},
                }
                for version in versions
            ],
        },
    }


def established(rest: Rest, made: dict[str, Any]) -> dict[str, Any]:
    """The definition, once it is served."""

    def probe() -> dict[str, Any] | None:
        found: dict[str, Any] = rest.get(f"{DEFINITIONS}/{made['metadata']['name']}").ok(200)
        conditions = {c["type"]: c["status"] for c in found.get("status", {}).get("conditions") or ()}
        return found if conditions.get("Established") == "True" else None

    found = eventually(probe, "Established")
    assert found is not None
    return found


def path_of(made: dict[str, Any], version: str = "", namespace: str = "") -> str:
    spec = made["spec"]
    within = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{spec['group']}/{version or spec['versions'][0]['name']}{within}/{spec['names']['plural']}"


def instance(made: dict[str, Any], name: str, version: str = "", **content: Any) -> dict[str, Any]:
    spec = made["spec"]
    return {
        "apiVersion": f"{spec['group']}/{version or spec['versions'][0]['name']}",
        "kind": spec["names"]["kind"],
        "metadata": {"name": name},
        **content,
    }


@contextmanager
def defined(rest: Rest, *wanted: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """These definitions, served; gone afterwards."""
    for one in wanted:
        rest.post(DEFINITIONS, one).ok(201)
    try:
        yield [established(rest, one) for one in wanted]
    finally:
        for one in wanted:
            rest.delete(f"{DEFINITIONS}/{one['metadata']['name']}")


class TestDefinitions:
    @covers("CustomResourceDefinition resources creating/deleting custom resource definition objects works")
    def test_come_and_go(self, rest: Rest) -> None:
        with defined(rest, definition()) as (made,):
            rest.get(path_of(made)).ok(200)
        name = made["metadata"]["name"]
        assert eventually(lambda: rest.get(f"{DEFINITIONS}/{name}").status == 404)
        gone = rest.get(path_of(made))
        assert (gone.status, gone.text) == (404, "404 page not found\n")

    @covers("CustomResourceDefinition resources listing custom resource definition objects works")
    def test_collection(self, rest: Rest) -> None:
        label = {"e2e-list-test": f"n{next(_numbers)}"}
        query = f"{DEFINITIONS}?labelSelector=e2e-list-test%3D{label['e2e-list-test']}"
        labelled = [definition(labels=label) for _ in range(10)]
        for one in labelled:
            rest.post(DEFINITIONS, one).ok(201)
        with defined(rest, definition()) as (other,):
            found = {i["metadata"]["name"]: i for i in rest.get(query).ok(200)["items"]}
            assert set(found) == {one["metadata"]["name"] for one in labelled}
            rest.delete(query).ok(200)
            assert eventually(lambda: not rest.get(query).ok(200)["items"])
            rest.get(f"{DEFINITIONS}/{other['metadata']['name']}").ok(200)

    @covers(
        "CustomResourceDefinition resources getting/updating/patching custom resource definition status sub-resource works"
    )
    def test_status(self, rest: Rest) -> None:
        with defined(rest, definition()) as (made,):
            path = f"{DEFINITIONS}/{made['metadata']['name']}/status"
            obj = rest.get(path).ok(200)
            assert obj["spec"] == made["spec"]
            obj["status"]["conditions"].append({"message": "updated"})
            updated = rest.put(path, obj).ok(200)
            assert "updated" in [c.get("message") for c in updated["status"]["conditions"]]
            patch = [{"op": "add", "path": "/status/conditions", "value": [{"message": "patched"}]}]
            patched = rest.patch(path, patch, JSON_PATCH).ok(200)
            assert "patched" in [c.get("message") for c in patched["status"]["conditions"]]

    @covers(
        "CustomResourceDefinition resources custom resource defaulting for requests and from storage works"
    )
    def test_defaulting(self, rest: Rest) -> None:
        schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
        with defined(rest, definition(schema)) as (made,):
            path, where = path_of(made), f"{DEFINITIONS}/{made['metadata']['name']}"
            properties = "/spec/versions/0/schema/openAPIV3Schema/properties"
            rest.post(path, instance(made, "cr-1")).ok(201)
            rest.patch(
                where, [{"op": "add", "path": f"{properties}/a/default", "value": "A"}], JSON_PATCH
            ).ok(200)
            assert eventually(
                lambda: rest.get(f"{path}/cr-1").ok(200).get("a") == "A", "defaulted from storage"
            )
            second = rest.post(path, instance(made, "cr-2")).ok(201)
            assert second["a"] == "A"
            assert "b" not in second
            rest.patch(
                where,
                [
                    {"op": "remove", "path": f"{properties}/a/default"},
                    {"op": "add", "path": f"{properties}/b/default", "value": "B"},
                ],
                JSON_PATCH,
            ).ok(200)
            assert eventually(lambda: rest.get(f"{path}/cr-2").ok(200).get("b") == "B")
            assert rest.get(f"{path}/cr-2").ok(200)["a"] == "A", "what was stored stays"
            assert "a" not in rest.get(f"{path}/cr-1").ok(200), "what was not stored goes"

    @covers(
        "AggregatedDiscovery should support aggregated discovery interface for CRDs",
        "AggregatedDiscovery should support raw aggregated discovery request for CRDs",
    )
    def test_discovery(self, rest: Rest) -> None:
        with defined(rest, definition()) as (made,):
            spec = made["spec"]
            assert spec["names"]["plural"] in aggregated(rest)[f"{spec['group']}/v1"]

    @covers("CustomResourceDefinition Watch watch on custom resource definition objects")
    def test_watch(self, rest: Rest) -> None:
        with defined(rest, definition()) as (made,):
            path = path_of(made)
            with (
                rest.watch(path) as all_of_them,
                rest.watch(f"{path}?fieldSelector=metadata.name%3Dname1") as one,
            ):
                for name in ("name1", "name2"):
                    rest.post(path, instance(made, name, content={"key": "value"})).ok(201)
                    assert all_of_them.until("ADDED", name=name)
                for name in ("name1", "name2"):
                    rest.patch(f"{path}/{name}", {"spec": {"dummy": "test"}}).ok(200)
                    assert all_of_them.until("MODIFIED", name=name)["spec"] == {"dummy": "test"}
                for name in ("name1", "name2"):
                    rest.delete(f"{path}/{name}").ok(200)
                    assert all_of_them.until("DELETED", name=name)
                assert [one.next()["type"] for _ in range(3)] == ["ADDED", "MODIFIED", "DELETED"]


FOO = {
    "type": "object",
    "description": "Foo CRD for Testing",
    "properties": {
        "spec": {
            "type": "object",
            "description": "Specification of Foo",
            "properties": {
                "bars": {
                    "type": "array",
                    "description": "List of Bars and their specs.",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string", "description": "Name of Bar."},
                            "age": {"type": "string", "description": "Age of Bar."},
                            "bazs": {
                                "type": "array",
                                "description": "List of Bazs.",
                                "items": {"type": "string"},
                            },
                        },
                    },
                }
            },
        },
        "status": {"type": "object", "description": "Status of Foo"},
    },
}
PORTS = {
    "type": "array",
    "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
    "x-kubernetes-list-type": "map",
    "items": {
        "type": "object",
        "required": ["containerPort", "protocol"],
        "properties": {
            "containerPort": {"format": "int32", "type": "integer"},
            "hostIP": {"type": "string"},
            "hostPort": {"format": "int32", "type": "integer"},
            "name": {"type": "string"},
            "protocol": {"type": "string"},
        },
    },
}
CRON_SPEC = {"type": "string", "pattern": "^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$"}
STRICT_SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {"foo": {"type": "string"}, "cronSpec": CRON_SPEC, "ports": PORTS},
        }
    },
}
EMBEDDED_SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {
                "template": {
                    "type": "object",
                    "x-kubernetes-embedded-resource": True,
                    "properties": {
                        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
                        "spec": {"type": "object"},
                    },
                },
                "foo": {"type": "string"},
                "cronSpec": CRON_SPEC,
                "ports": PORTS,
            },
        }
    },
}


class TestFieldValidation:
    """Custom resources applied as YAML, Strict."""

    def apply(self, rest: Rest, made: dict[str, Any], meta: str, body: str, kind: str = APPLY_PATCH) -> Any:
        spec = made["spec"]
        text = f"apiVersion: {spec['group']}/v1\nkind: {spec['names']['kind']}\nmetadata:\n  name: mytest\n{meta}{body}"
        return rest.patch(f"{path_of(made)}/mytest?fieldManager=m&fieldValidation=Strict", text, kind)

    BODY = 'spec:\n  foo: foo1\n  cronSpec: "* * * * */5"\n  ports:\n  - name: x\n    containerPort: 80\n    protocol: TCP\n'

    @covers("FieldValidation should create/apply a valid CR for CRD with validation schema")
    def test_valid(self, rest: Rest) -> None:
        with defined(rest, definition(STRICT_SCHEMA)) as (made,):
            assert self.apply(rest, made, "", self.BODY).ok(201)["spec"]["ports"][0]["containerPort"] == 80

    @covers("FieldValidation should create/apply a CR with unknown fields for CRD with no validation schema")
    def test_no_schema(self, rest: Rest) -> None:
        with defined(rest, definition()) as (made,):
            found = self.apply(rest, made, "", self.BODY.replace("foo: foo1", "unknown: uk1")).ok(201)
            assert found["spec"]["unknown"] == "uk1"

    @covers(
        "FieldValidation should create/apply an invalid CR with extra properties for CRD with validation schema"
    )
    def test_unknown(self, rest: Rest) -> None:
        with defined(rest, definition(STRICT_SCHEMA)) as (made,):
            answer = self.apply(rest, made, "", "unknownField: unknown\n" + self.BODY)
            assert ".unknownField: field not declared in schema" in answer.text

    @covers(
        "FieldValidation should detect unknown metadata fields in both the root and embedded object of a CR"
    )
    def test_unknown_metadata(self, rest: Rest) -> None:
        template = "  template:\n    apiversion: foo/v1\n    kind: Sub\n    metadata:\n      unknownSubMeta: unknown\n      name: sub\n"
        with defined(rest, definition(EMBEDDED_SCHEMA)) as (made,):
            answer = self.apply(
                rest, made, "  unknownMeta: unknown\n", self.BODY.replace("spec:\n", "spec:\n" + template)
            )
            assert ".metadata.unknownMeta: field not declared in schema" in answer.text
            assert ".spec.template.metadata.unknownSubMeta: field not declared in schema" in answer.text

    @covers("FieldValidation should detect duplicates in a CR when preserving unknown fields")
    def test_duplicates(self, rest: Rest) -> None:
        with defined(rest, definition(EMBEDDED_SCHEMA)) as (made,):
            answer = self.apply(
                rest,
                made,
                "",
                self.BODY.replace("  foo: foo1\n", "  unknown: uk1\n  foo: foo1\n  foo: foo2\n"),
            )
            answer.refused(400, "BadRequest", 'line 8: key "foo" already set in map')
            rest.get(f"{path_of(made)}/mytest").refused(404, "NotFound")


def definitions_of(rest: Rest, made: dict[str, Any]) -> set[str]:
    """The versions of a definition's kind that OpenAPI v2 has."""
    spec = made["spec"]
    found = set()
    for schema in rest.get("/openapi/v2").ok(200)["definitions"].values():
        for kind in schema.get("x-kubernetes-group-version-kind", []):
            if (kind["group"], kind["kind"]) == (spec["group"], spec["names"]["kind"]):
                found.add(kind["version"])
    return found


def published(rest: Rest, made: dict[str, Any], versions: set[str]) -> None:
    """OpenAPI v2 and v3 have these versions of the kind, and no others."""
    assert eventually(lambda: definitions_of(rest, made) == versions, f"OpenAPI has {versions}")
    paths = set(rest.get("/openapi/v3").ok(200)["paths"])
    group = made["spec"]["group"]
    assert {p.rpartition("/")[2] for p in paths if p.startswith(f"apis/{group}/")} >= versions


class TestOpenAPI:
    @covers(
        "CustomResourcePublishOpenAPI works for multiple CRDs of different groups",
        "CustomResourcePublishOpenAPI works for multiple CRDs of same group and version but different kinds",
        "CustomResourcePublishOpenAPI works for multiple CRDs of same group but different versions",
    )
    @pytest.mark.parametrize(
        ("groups", "versions"),
        [
            (("a.pub.example.com", "b.pub.example.com"), ("v1", "v1")),
            (("c.pub.example.com", "c.pub.example.com"), ("v1", "v1")),
            (("d.pub.example.com", "d.pub.example.com"), ("v2", "v3")),
        ],
    )
    def test_several(self, rest: Rest, groups: tuple[str, str], versions: tuple[str, str]) -> None:
        wanted = [definition(FOO, (version,), group) for group, version in zip(groups, versions, strict=True)]
        with defined(rest, *wanted) as made:
            for one, version in zip(made, versions, strict=True):
                published(rest, one, {version})

    @covers(
        "CustomResourcePublishOpenAPI updates the published spec when one version gets renamed",
        "CustomResourcePublishOpenAPI removes definition from spec when one version gets changed to not be served",
    )
    def test_versions_change(self, rest: Rest) -> None:
        with defined(rest, definition(FOO, ("v2", "v3"))) as (made,):
            where = f"{DEFINITIONS}/{made['metadata']['name']}"
            published(rest, made, {"v2", "v3"})
            rename = [
                {"op": "test", "path": "/spec/versions/1/name", "value": "v3"},
                {"op": "replace", "path": "/spec/versions/1/name", "value": "v4"},
            ]
            rest.patch(where, rename, JSON_PATCH).ok(200)
            published(rest, made, {"v2", "v4"})
            rest.patch(
                where, [{"op": "replace", "path": "/spec/versions/1/served", "value": False}], JSON_PATCH
            ).ok(200)
            published(rest, made, {"v2"})

    @covers("CustomResourcePublishOpenAPI works for CRD with validation schema")
    def test_kubectl_validates(self, rest: Rest, kubectl: Kubectl) -> None:
        with defined(rest, definition(FOO, scope="Namespaced")) as (made,):
            plural = made["spec"]["names"]["plural"]
            published(rest, made, {"v1"})
            good = json.dumps(instance(made, "test-foo", spec={"bars": [{"name": "test-bar"}]}))
            kubectl("create", "-f", "-", input=good)
            kubectl("apply", "-f", "-", input=good.replace("test-bar", "test-other"))
            kubectl("delete", plural, "test-foo")
            unknown = json.dumps(instance(made, "test-foo", spec={"bars": [{"name": "b", "foo": "bar"}]}))
            assert (
                'unknown field "spec.bars[0].foo"'
                in kubectl("create", "-f", "-", input=unknown, code=1).stderr
            )
            lacking = json.dumps(instance(made, "test-foo", spec={"bars": [{"age": "10"}]}))
            assert (
                "spec.bars[0].name: Required value"
                in kubectl("create", "-f", "-", input=lacking, code=1).stderr
            )
            explained = kubectl("explain", plural).stdout
            assert "Foo CRD for Testing" in explained
            assert "Specification of Foo" in explained
            assert "List of Bars and their specs." in kubectl("explain", f"{plural}.spec").stdout
            assert "Age of Bar." in kubectl("explain", f"{plural}.spec.bars").stdout
            assert 'field "bars2" does not exist' in kubectl("explain", f"{plural}.spec.bars2", code=1).stderr

    @covers(
        "CustomResourcePublishOpenAPI works for CRD without validation schema",
        "CustomResourcePublishOpenAPI works for CRD preserving unknown fields at the schema root",
        "CustomResourcePublishOpenAPI works for CRD preserving unknown fields in an embedded object",
    )
    @pytest.mark.parametrize(
        "schema",
        [
            ANYTHING,
            {**ANYTHING, "description": "preserving at the root", "properties": {"spec": ANYTHING}},
            {
                "type": "object",
                "description": "preserve-unknown-properties in nested field for Testing",
                "properties": {
                    "spec": {
                        "type": "object",
                        "description": "Specification of Waldo",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            },
        ],
    )
    def test_kubectl_lets_unknown_fields_pass(
        self, rest: Rest, kubectl: Kubectl, schema: dict[str, Any]
    ) -> None:
        with defined(rest, definition(schema, scope="Namespaced")) as (made,):
            plural = made["spec"]["names"]["plural"]
            published(rest, made, {"v1"})
            body = json.dumps(instance(made, "test-cr", spec={"a": None, "b": [{"c": "d"}]}))
            kubectl("create", "-f", "-", input=body)
            kubectl("apply", "-f", "-", input=body)
            kubectl("delete", plural, "test-cr")
            explained = kubectl("explain", plural).stdout
            assert made["spec"]["names"]["kind"] in explained
            assert "DESCRIPTION" in explained
