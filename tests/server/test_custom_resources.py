"""Custom resources, from their definition to their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.catalogue import registry
from lakh.server.app import ApiServer
from lakh.server.authn import Authenticator
from lakh.server.cluster import Cluster
from tests.server.harness import ADMIN, Answer, Api

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP = "/apis/example.com"
ROBOTS = f"{GROUP}/v1/namespaces/default/robots"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"

SPEC = {
    "type": "object",
    "required": ["model"],
    "x-kubernetes-validations": [
        {"rule": "self.arms <= self.maxArms", "message": "too many arms"},
        {"rule": "self.model == oldSelf.model", "message": "model is immutable"},
    ],
    "properties": {
        "model": {"type": "string", "enum": ["A", "B"]},
        "arms": {"type": "integer", "minimum": 0, "default": 2},
        "maxArms": {"type": "integer", "default": 10},
        "tools": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
            },
        },
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
STATUS = {
    "type": "object",
    "properties": {"arms": {"type": "integer"}, "selector": {"type": "string"}, "ready": {"type": "boolean"}},
}


def version(name: str = "v1", **fields: Any) -> dict[str, Any]:
    """A version of robots."""
    return {
        "name": name,
        "served": True,
        "storage": name == "v1",
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "required": ["spec"],
                "properties": {"spec": SPEC, "status": STATUS},
            }
        },
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.arms",
                "statusReplicasPath": ".status.arms",
                "labelSelectorPath": ".status.selector",
            },
        },
        "selectableFields": [{"jsonPath": ".spec.model"}],
        "additionalPrinterColumns": [
            {"name": "Model", "type": "string", "jsonPath": ".spec.model", "description": "Which one."},
            {"name": "Arms", "type": "integer", "jsonPath": ".spec.arms", "priority": 1},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
        **fields,
    }


def definition(plural: str = "robots", kind: str = "Robot", *versions: Any, **spec: Any) -> dict[str, Any]:
    """A CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": list(versions) or [version()],
            **spec,
        },
    }


def robot(name: str = "a", **spec: Any) -> dict[str, Any]:
    """A robot."""
    return {
        "apiVersion": "example.com/v1",
        "kind": "Robot",
        "metadata": {"name": name},
        "spec": {"model": "A", **spec},
    }


def conditions(answer: Answer) -> dict[str, tuple[str, str]]:
    """Status and reason of each condition of a definition."""
    found = (answer.json.get("status") or {}).get("conditions") or ()
    return {c["type"]: (c["status"], c["reason"]) for c in found}


async def until(api: Api, name: str, kind: str, status: str = "True") -> Answer:
    """A definition once a condition has a status."""
    async with asyncio.timeout(120):
        while True:
            answer = await api.get(f"{DEFINITIONS}/{name}")
            if conditions(answer).get(kind, ("", ""))[0] == status:
                return answer
            await asyncio.sleep(0)


async def gone(api: Api, path: str) -> None:
    """Returns when there is nothing at a path any more."""
    async with asyncio.timeout(120):
        while (await api.get(path)).status != 404:
            await asyncio.sleep(0)


async def define(api: Api, body: dict[str, Any]) -> Answer:
    """Creates a definition and waits until it is established."""
    made = await api.post(DEFINITIONS, body)
    assert made.status == 201, made
    return await until(api, body["metadata"]["name"], "Established")


@pytest_asyncio.fixture
async def empty() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


@pytest_asyncio.fixture
async def api(empty: Api) -> Api:
    names = {"plural": "robots", "kind": "Robot", "shortNames": ["rb"], "categories": ["all"]}
    await define(empty, definition(names=names))
    return empty


class TestDefinitions:
    async def test_becomes_established(self, empty: Api) -> None:
        assert (await empty.get(ROBOTS)).status == 404
        made = await define(empty, definition())
        assert conditions(made) == {
            "NamesAccepted": ("True", "NoConflicts"),
            "Established": ("True", "InitialNamesAccepted"),
        }
        assert made.json["status"]["storedVersions"] == ["v1"]
        assert made.json["status"]["acceptedNames"] == {
            "plural": "robots",
            "singular": "robot",
            "kind": "Robot",
            "listKind": "RobotList",
        }
        assert (await empty.get(ROBOTS)).json["items"] == []

    async def test_names_that_are_taken(self, api: Api) -> None:
        await api.post(DEFINITIONS, definition("rb", "Robot"))
        other = await until(api, "rb.example.com", "NamesAccepted", "False")
        assert conditions(other)["Established"] == ("False", "NotAccepted")
        assert conditions(other)["NamesAccepted"][1] == "ListKindConflict"
        assert (await api.get(f"{GROUP}/v1/rb")).status == 404
        await api.delete(f"{DEFINITIONS}/robots.example.com")
        await until(api, "rb.example.com", "Established")
        assert (await api.get(f"{GROUP}/v1/rb")).status == 200

    async def test_deletion_takes_the_instances_along(self, api: Api) -> None:
        held = robot("held")
        held["metadata"]["finalizers"] = ["example.com/hold"]
        await api.post(ROBOTS, held)
        await api.post(ROBOTS, robot("free"))
        deleted = await api.delete(f"{DEFINITIONS}/robots.example.com")
        assert deleted.json["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
        await gone(api, f"{ROBOTS}/free")
        waiting = await until(api, "robots.example.com", "Terminating")
        assert conditions(waiting)["Terminating"] == ("True", "InstanceDeletionInProgress")
        refused = await api.post(ROBOTS, robot("late"))
        assert refused.status == 405
        assert refused.json["message"] == (
            "create not allowed while custom resource definition is terminating"
        )
        await api.patch(f"{ROBOTS}/held", {"metadata": {"finalizers": None}})
        await gone(api, f"{DEFINITIONS}/robots.example.com")
        assert (await api.get(ROBOTS)).status == 404
        assert (await api.get(f"{GROUP}/v1")).status == 404

    async def test_restart(self, api: Api) -> None:
        await api.post(ROBOTS, robot())
        api.server.custom.stop()
        cluster = Cluster(registry(), api.server.cluster.partitions)
        again = Api(ApiServer(cluster, Authenticator(), None))  # type: ignore[arg-type]
        again.server.authenticator.authenticate = lambda request: ADMIN  # type: ignore[method-assign]
        assert (await again.get(f"{ROBOTS}/a")).json["spec"]["arms"] == 2
        again.server.custom.stop()
        again.server.watching.stop()

    async def test_schema_changes_take_effect_with_their_answer(self, api: Api) -> None:
        await api.post(ROBOTS, robot())
        schema = version()["schema"]["openAPIV3Schema"]
        properties = {**SPEC["properties"], "color": {"type": "string", "default": "red"}}  # type: ignore[dict-item]
        changed = {
            **schema,
            "properties": {"spec": {**SPEC, "properties": properties}, "status": STATUS},
        }
        patch = [{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": changed}]
        done = await api.patch(f"{DEFINITIONS}/robots.example.com", patch, "json-patch+json")
        assert done.status == 200, done
        assert (await api.get(f"{ROBOTS}/a")).json["spec"]["color"] == "red"
        assert (await api.get(ROBOTS)).json["items"][0]["spec"]["color"] == "red"
        made = await api.post(ROBOTS, robot("b", color="blue"))
        assert made.json["spec"]["color"] == "blue"

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"type": "string"}, 'type: Invalid value: "string": must be object at the root'),
            ({"type": ""}, "type: Required value: must not be empty at the root"),
            (
                {"properties": {"a": {}}},
                "properties[a].type: Required value: must not be empty for specified object fields",
            ),
            (
                {"properties": {"a": {"type": "array"}}},
                "properties[a].items: Required value: must be specified",
            ),
            (
                {"properties": {"a": {"type": "array", "items": {}}}},
                "properties[a].items.type: Required value: must not be empty for specified array items",
            ),
            ({"additionalProperties": True}, "additionalProperties: Forbidden: must not be used at the root"),
            (
                {"properties": {"a": {"type": "string", "$ref": "#/x"}}},
                "$ref: Forbidden: $ref is not supported",
            ),
            (
                {"properties": {"a": {"type": "string", "pattern": "["}}},
                'pattern: Invalid value: "[": must be a valid regular expression',
            ),
            (
                {"properties": {"a": {"type": "string", "anyOf": [{"type": "string"}]}}},
                "anyOf[0].type: Forbidden: must be empty to be structural",
            ),
            (
                {
                    "properties": {
                        "a": {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"}
                    }
                },
                "x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
            ),
            (
                {"properties": {"a": {"type": "integer", "default": "x"}}},
                'default: Invalid value: "string"',
            ),
            (
                {
                    "properties": {
                        "metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}
                    }
                },
                "must not specify anything other than name and generateName",
            ),
            (
                {"properties": {"a": {"type": "string", "x-kubernetes-validations": [{"rule": "self +"}]}}},
                "compilation failed: ERROR",
            ),
            (
                {"oneOf": [{"required": ["a"], "properties": {"z": {}}}]},
                "properties[z]: Required value: because it is defined in",
            ),
            ({"properties": {"a": 5}}, ""),
        ],
    )
    async def test_schemas_that_are_refused(self, empty: Api, change: dict[str, Any], text: str) -> None:
        broken = version(
            schema={"openAPIV3Schema": {"type": "object", **change}}, subresources={}, selectableFields=[]
        )
        made = await empty.post(DEFINITIONS, definition("robots", "Robot", broken))
        assert made.status == 422 if text else made.status in (201, 422)
        if text:
            assert "spec.validation.openAPIV3Schema." in made.json["message"]
            assert text in made.json["message"]

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            (
                {"versions": [version(), version("v2", storage=True)]},
                "must have exactly one version marked as storage version",
            ),
            ({"versions": [version(), version()]}, "must contain unique version names"),
            ({"group": "plain"}, "should be a domain with at least one dot"),
            (
                {"group": "apps.k8s.io"},
                'protected groups must have approval annotation "api-approved.kubernetes.io"',
            ),
            (
                {"preserveUnknownFields": True},
                "spec.preserveUnknownFields: Invalid value: true: cannot set to true",
            ),
            ({"scope": "World"}, 'spec.scope: Unsupported value: "World"'),
            (
                {
                    "versions": [
                        version(additionalPrinterColumns=[{"name": "a", "type": "x", "jsonPath": "b"}])
                    ]
                },
                "must be one of boolean,date,integer,number,string",
            ),
            (
                {"versions": [version(selectableFields=[{"jsonPath": ".spec.tools"}])]},
                "must point to a field of type string, boolean or integer",
            ),
            (
                {
                    "versions": [
                        version(
                            subresources={
                                "scale": {"specReplicasPath": ".x", "statusReplicasPath": ".status.a"}
                            }
                        )
                    ]
                },
                "should be a json path under .spec",
            ),
        ],
    )
    async def test_definitions_that_are_refused(self, empty: Api, fields: dict[str, Any], text: str) -> None:
        body = definition(**fields)
        body["metadata"]["name"] = f"robots.{body['spec']['group']}"
        made = await empty.post(DEFINITIONS, body)
        assert made.status == 422
        assert text in made.json["message"]

    async def test_what_stays(self, api: Api) -> None:
        path = f"{DEFINITIONS}/robots.example.com"
        done = await api.patch(path, {"spec": {"scope": "Cluster"}})
        assert "spec.scope: Invalid value" in done.json["message"]
        done = await api.patch(path, {"spec": {"versions": [version("v2", storage=True)]}})
        assert "status.storedVersions[0]" in done.json["message"]


class TestObjects:
    async def test_create(self, api: Api) -> None:
        made = await api.post(ROBOTS, {**robot(), "status": {"ready": True}})
        assert made.status == 201
        assert made.json["spec"] == {"model": "A", "arms": 2, "maxArms": 10}
        assert "status" not in made.json
        meta = made.json["metadata"]
        assert meta["generation"] == 1
        assert meta["managedFields"][0]["fieldsV1"]["f:spec"] == {
            ".": {},
            "f:arms": {},
            "f:maxArms": {},
            "f:model": {},
        }
        assert (await api.get(f"{ROBOTS}/a")).json == made.json

    async def test_unknown_and_duplicate_fields(self, api: Api) -> None:
        body = b'{"apiVersion":"example.com/v1","kind":"Robot","metadata":{"name":"a","odd":1},"spec":{"model":"A","legs":4,"arms":1,"arms":1}}'
        made = await api.post(f"{ROBOTS}?fieldValidation=Strict", body)
        assert made.status == 400
        for text in (
            'duplicate field "spec.arms"',
            'unknown field "spec.legs"',
            'unknown field "metadata.odd"',
        ):
            assert text in made.json["message"]
        made = await api.post(ROBOTS, body)
        assert made.status == 201
        assert "legs" not in made.json["spec"]
        assert b"unknown field" in made.headers[b"Warning"]

    @pytest.mark.parametrize(
        ("spec", "text"),
        [
            ({"model": "C"}, 'spec.model: Unsupported value: "C": supported values: "A", "B"'),
            ({"arms": -1}, "spec.arms in body should be greater than or equal to 0"),
            ({"arms": 11}, "spec: Invalid value: too many arms"),
            ({"tools": [{"name": "a"}, {"name": "a"}]}, 'spec.tools[1]: Duplicate value: {"name":"a"}'),
            ({"tools": [{}]}, "spec.tools[0].name: Required value"),
        ],
    )
    async def test_validation(self, api: Api, spec: dict[str, Any], text: str) -> None:
        made = await api.post(ROBOTS, robot(**spec))
        assert made.status == 422
        assert made.json["message"].startswith('Robot.example.com "a" is invalid: ')
        assert text in made.json["message"]

    @pytest.mark.parametrize("body", [b"[]", b"{", b'{"metadata":{"labels":[]}}', b'{"kind":5}', b"null"])
    async def test_bad_input(self, api: Api, body: bytes) -> None:
        assert (await api.post(ROBOTS, body)).status == 400

    async def test_update(self, api: Api) -> None:
        made = (await api.post(ROBOTS, robot())).json
        blind = await api.put(f"{ROBOTS}/a", robot())
        assert blind.status == 422
        assert "must be specified for an update" in blind.json["message"]
        same = await api.put(f"{ROBOTS}/a", made)
        assert same.json["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        made["spec"]["arms"] = 3
        done = await api.put(f"{ROBOTS}/a", made)
        assert done.json["metadata"]["generation"] == 2
        made["spec"]["model"] = "B"
        assert (await api.put(f"{ROBOTS}/a", made)).status == 409
        made["metadata"]["resourceVersion"] = done.json["metadata"]["resourceVersion"]
        assert "model is immutable" in (await api.put(f"{ROBOTS}/a", made)).json["message"]

    async def test_patches(self, api: Api) -> None:
        await api.post(ROBOTS, robot(free={"x": {"y": 1}}))
        merged = await api.patch(f"{ROBOTS}/a", {"spec": {"free": {"x": {"z": 2}}, "arms": None}})
        assert merged.json["spec"] == {
            "model": "A",
            "arms": 2,
            "maxArms": 10,
            "free": {"x": {"y": 1, "z": 2}},
        }
        patch = [{"op": "test", "path": "/spec/arms", "value": 2}, {"op": "remove", "path": "/spec/free"}]
        done = await api.patch(f"{ROBOTS}/a", patch, "json-patch+json")
        assert "free" not in done.json["spec"]
        refused = await api.patch(f"{ROBOTS}/a", {}, "strategic-merge-patch+json")
        assert refused.status == 415
        assert "strategic" not in refused.json["message"]

    async def test_server_side_apply(self, api: Api) -> None:
        one = await api.patch(
            f"{ROBOTS}/a?fieldManager=one", robot(tools=[{"name": "saw", "size": 1}]), "apply-patch+yaml"
        )
        assert one.status == 201
        two = robot(tools=[{"name": "drill"}])
        del two["spec"]["model"]
        done = await api.patch(f"{ROBOTS}/a?fieldManager=two", two, "apply-patch+yaml")
        assert [t["name"] for t in done.json["spec"]["tools"]] == ["saw", "drill"]
        clash = await api.patch(
            f"{ROBOTS}/a?fieldManager=two", robot(tools=[{"name": "saw", "size": 2}]), "apply-patch+yaml"
        )
        assert clash.status == 409
        assert '.spec.tools[name="saw"].size' in clash.json["message"]
        less = await api.patch(f"{ROBOTS}/a?fieldManager=one", robot(), "apply-patch+yaml")
        assert [t["name"] for t in less.json["spec"]["tools"]] == ["drill"]

    async def test_status(self, api: Api) -> None:
        await api.post(ROBOTS, robot())
        body = {"metadata": {"labels": {"a": "b"}}, "spec": {"arms": 7}, "status": {"ready": True}}
        done = await api.patch(f"{ROBOTS}/a/status", body)
        assert done.json["status"] == {"ready": True}
        assert done.json["spec"]["arms"] == 2
        assert "labels" not in done.json["metadata"]
        assert done.json["metadata"]["generation"] == 1
        kept = await api.patch(f"{ROBOTS}/a", {"status": {"ready": False}})
        assert kept.json["status"] == {"ready": True}
        wrong = await api.patch(f"{ROBOTS}/a/status", {"status": {"ready": 1}})
        assert wrong.status == 422

    async def test_scale(self, api: Api) -> None:
        await api.post(ROBOTS, robot())
        await api.patch(f"{ROBOTS}/a/status", {"status": {"arms": 1, "selector": "a=b"}})
        scale = (await api.get(f"{ROBOTS}/a/scale")).json
        assert scale["spec"] == {"replicas": 2}
        assert scale["status"] == {"replicas": 1, "selector": "a=b"}
        done = await api.patch(f"{ROBOTS}/a/scale", {"spec": {"replicas": 5}})
        assert done.json["spec"] == {"replicas": 5}
        dry = await api.patch(f"{ROBOTS}/a/scale?dryRun=All", {"spec": {"replicas": 6}})
        assert dry.json["spec"] == {"replicas": 6}
        assert (await api.get(f"{ROBOTS}/a")).json["spec"]["arms"] == 5
        refused = await api.patch(f"{ROBOTS}/a/scale", {"spec": {"replicas": 50}})
        assert refused.status == 422

    async def test_finalizers_need_no_domain(self, api: Api) -> None:
        body = robot()
        body["metadata"]["finalizers"] = ["plain"]
        assert (await api.post(ROBOTS, body)).status == 201
        assert (await api.delete(f"{ROBOTS}/a")).json["metadata"]["deletionTimestamp"]

    async def test_generated_names_and_dry_runs(self, api: Api) -> None:
        body = robot()
        body["metadata"] = {"generateName": "r-"}
        assert (await api.post(ROBOTS, body)).json["metadata"]["name"].startswith("r-")
        assert (await api.post(f"{ROBOTS}?dryRun=All", robot())).json["spec"]["arms"] == 2
        assert (await api.get(f"{ROBOTS}/a")).status == 404


class TestLists:
    async def test_list_and_selectors(self, api: Api) -> None:
        await api.post(ROBOTS, robot("a"))
        await api.post(ROBOTS, robot("b", model="B"))
        listed = (await api.get(ROBOTS)).json
        assert listed["kind"] == "RobotList"
        assert [(i["kind"], i["apiVersion"]) for i in listed["items"]] == [("Robot", "example.com/v1")] * 2
        chosen = (await api.get(f"{GROUP}/v1/robots?fieldSelector=spec.model=B")).json
        assert [i["metadata"]["name"] for i in chosen["items"]] == ["b"]
        assert (await api.get(f"{ROBOTS}?fieldSelector=spec.arms=2")).status == 400
        assert (await api.delete(f"{ROBOTS}?fieldSelector=spec.model=B")).json["kind"] == "RobotList"
        assert len((await api.get(ROBOTS)).json["items"]) == 1

    async def test_table(self, api: Api) -> None:
        await api.post(ROBOTS, robot())
        table = (await api.get(ROBOTS, accept=TABLE)).json
        columns = [(c["name"], c["type"], c["priority"]) for c in table["columnDefinitions"]]
        assert columns == [
            ("Name", "string", 0),
            ("Model", "string", 0),
            ("Arms", "integer", 1),
            ("Age", "date", 0),
        ]
        assert table["rows"][0]["cells"][:3] == ["a", "A", 2]
        assert table["rows"][0]["cells"][3].endswith("s")

    async def test_watch(self, api: Api) -> None:
        stream = await api.watch(f"{ROBOTS}?watch=true&fieldSelector=spec.model=A")
        await api.post(ROBOTS, robot("b", model="B"))
        await api.post(ROBOTS, robot("a"))
        await api.delete(f"{ROBOTS}/a")
        events = await stream.until(2)
        assert [(e["type"], e["object"]["metadata"]["name"]) for e in events] == [
            ("ADDED", "a"),
            ("DELETED", "a"),
        ]
        assert events[0]["object"]["kind"] == "Robot"

    async def test_watches_end_with_the_definition(self, api: Api) -> None:
        await api.post(ROBOTS, robot())
        stream = await api.watch(f"{ROBOTS}?watch=true")
        await api.delete(f"{DEFINITIONS}/robots.example.com")
        await gone(api, f"{DEFINITIONS}/robots.example.com")
        async with asyncio.timeout(120):
            while not stream.finished:
                await asyncio.sleep(0)
        assert [e["type"] for e in stream.lines()][:1] == ["ADDED"]
        assert [e["type"] for e in stream.lines()][-1] == "DELETED"
        assert stream.finished


class TestVersions:
    async def test_none_conversion(self, empty: Api) -> None:
        smaller = {
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "properties": {"model": {"type": "string"}, "legs": {"type": "integer", "default": 4}},
                }
            },
        }
        second = version("v2", schema={"openAPIV3Schema": smaller}, subresources={}, selectableFields=[])
        await define(empty, definition("robots", "Robot", version(), second, version("v3", served=False)))
        await empty.post(ROBOTS, robot())
        other = ROBOTS.replace("/v1/", "/v2/")
        shown = (await empty.get(f"{other}/a")).json
        assert shown["apiVersion"] == "example.com/v2"
        assert shown["spec"] == {"model": "A", "legs": 4}
        assert (await empty.get(other)).json["items"][0]["spec"] == {"model": "A", "legs": 4}
        assert (await empty.get(f"{ROBOTS}/a")).json["spec"] == {"model": "A", "arms": 2, "maxArms": 10}
        assert (await empty.get(ROBOTS.replace("/v1/", "/v3/"))).status == 404

    async def test_deprecated(self, empty: Api) -> None:
        await define(empty, definition("robots", "Robot", version(deprecated=True)))
        made = await empty.post(ROBOTS, robot())
        assert made.warnings == ['299 - "example.com/v1 Robot is deprecated"']
        for read in (await empty.get(f"{ROBOTS}/a"), await empty.get(ROBOTS)):
            assert read.warnings == made.warnings

    async def test_finalizers_without_a_domain(self, empty: Api) -> None:
        await define(empty, definition())
        made = await empty.post(
            ROBOTS, {**robot(), "metadata": {"name": "a", "finalizers": ["b.c", "b", "orphan", "d/e"]}}
        )
        prefer, where = "to avoid accidental conflicts with other finalizer writers", "metadata.finalizers"
        assert made.warnings == [
            f'299 - "{where}: \\"b\\": prefer a domain-qualified finalizer name {prefer}"',
            f'299 - "{where}: \\"b.c\\": prefer a domain-qualified finalizer name including a path (/) {prefer}"',
        ]
        again = await empty.patch(
            f"{ROBOTS}/a", {"metadata": {"finalizers": ["b.c", "b"], "labels": {"a": "b"}}}
        )
        assert again.warnings == []

    async def test_cluster_scope(self, empty: Api) -> None:
        await define(empty, definition(scope="Cluster"))
        assert (await empty.post(f"{GROUP}/v1/robots", robot())).status == 201
        assert (await empty.get(f"{GROUP}/v1/robots/a")).json["metadata"].get("namespace") is None
        assert (await empty.get(ROBOTS)).status == 404


class TestDocuments:
    async def test_discovery(self, api: Api) -> None:
        listed = (await api.get(f"{GROUP}/v1")).json["resources"]
        assert [r["name"] for r in listed] == ["robots", "robots/status", "robots/scale"]
        assert listed[0]["shortNames"] == ["rb"]
        assert listed[0]["categories"] == ["all"]
        aggregated = await api.get(
            "/apis", accept="application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        )
        groups = {g["metadata"]["name"]: g for g in aggregated.json["items"]}
        assert groups["example.com"]["versions"][0]["resources"][0]["resource"] == "robots"

    async def test_openapi(self, api: Api) -> None:
        index = (await api.get("/openapi/v3")).json["paths"]
        place = index["apis/example.com/v1"]["serverRelativeURL"]
        found = (await api.get(place)).json["components"]["schemas"]
        kind = found["com.example.v1.Robot"]
        assert kind["properties"]["spec"]["properties"]["arms"]["default"] == 2
        assert kind["x-kubernetes-group-version-kind"] == [
            {"group": "example.com", "kind": "Robot", "version": "v1"}
        ]
        assert "com.example.v1.RobotList" in found
        path = (await api.get(place)).json["paths"][
            "/apis/example.com/v1/namespaces/{namespace}/robots/{name}"
        ]
        assert "application/strategic-merge-patch+json" not in path["patch"]["requestBody"]["content"]
        second = (await api.get("/openapi/v2")).json
        assert (
            "default"
            not in second["definitions"]["com.example.v1.Robot"]["properties"]["spec"]["properties"]["arms"]
        )
        assert "/apis/example.com/v1/namespaces/{namespace}/robots" in second["paths"]
        await api.delete(f"{DEFINITIONS}/robots.example.com")
        await gone(api, f"{GROUP}/v1")
        after = (await api.get("/openapi/v3")).json["paths"]
        assert "apis/example.com/v1" not in after
        assert after["apis/apps/v1"] == index["apis/apps/v1"]


async def schemas_of(api: Api, schema: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What v2 and v3 say of a Robot of this schema."""
    await define(
        api,
        definition(
            "robots",
            "Robot",
            version(schema={"openAPIV3Schema": schema}, subresources={}, selectableFields=[]),
        ),
    )
    place = (await api.get("/openapi/v3")).json["paths"]["apis/example.com/v1"]["serverRelativeURL"]
    name = "com.example.v1.Robot"
    second = (await api.get("/openapi/v2")).json["definitions"][name]
    return second, (await api.get(place)).json["components"]["schemas"][name]


class TestWhatKubectlReads:
    """Without server-side validation, as with a List, kubectl checks by v2 and refuses what a schema with properties does not name."""

    async def test_a_kind_that_keeps_unknown_fields_names_none(self, empty: Api) -> None:
        schema = {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {"model": {"type": "string"}},
        }
        second, third = await schemas_of(empty, schema)
        assert set(second) == {"type", "x-kubernetes-group-version-kind"}
        assert set(third["properties"]) == {"apiVersion", "kind", "metadata", "model"}

    async def test_embedded_resources_have_their_metadata(self, empty: Api) -> None:
        embedded = {"type": "object", "x-kubernetes-embedded-resource": True}
        closed = {**embedded, "properties": {"spec": {"type": "object"}}}
        open_ = {**embedded, "x-kubernetes-preserve-unknown-fields": True}
        second, third = await schemas_of(
            empty, {"type": "object", "properties": {"closed": closed, "open": open_}}
        )
        for shown in (second["properties"]["closed"], third["properties"]["closed"]):
            assert set(shown["properties"]) == {"apiVersion", "kind", "metadata", "spec"}
            assert shown["required"] == ["kind", "apiVersion"]
        assert "properties" not in second["properties"]["open"]
        assert "type" not in second["properties"]["open"]
        assert set(third["properties"]["open"]["properties"]) == {"apiVersion", "kind", "metadata"}

    async def test_what_may_be_null_is_neither_typed_nor_required(self, empty: Api) -> None:
        schema = {
            "type": "object",
            "required": ["a", "b"],
            "properties": {"a": {"type": "string", "nullable": True}, "b": {"type": "string"}},
        }
        second, third = await schemas_of(empty, schema)
        assert second["required"] == ["b"] and third["required"] == ["a", "b"]
        assert "type" not in second["properties"]["a"]


KEYWORDS = st.sampled_from(
    [
        *("type", "properties", "items", "additionalProperties", "required", "enum", "default", "nullable"),
        *(
            "pattern",
            "format",
            "maxLength",
            "minimum",
            "multipleOf",
            "maxItems",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
        ),
        *("x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string", "x-kubernetes-list-type"),
        *("x-kubernetes-list-map-keys", "x-kubernetes-embedded-resource", "x-kubernetes-validations", "$ref"),
    ]
)
ODD_VALUES = st.recursive(
    st.sampled_from(
        [
            None,
            True,
            0,
            1,
            -1,
            0.5,
            "",
            "a",
            "object",
            "array",
            "string",
            "integer",
            "map",
            "set",
            "date-time",
            "(",
        ]
    ),
    lambda below: (
        st.lists(below, max_size=2)
        | st.dictionaries(KEYWORDS | st.sampled_from(["a", "rule"]), below, max_size=3)
    ),
    max_leaves=8,
)
ODD_SCHEMAS = st.dictionaries(KEYWORDS, ODD_VALUES, max_size=4).map(
    lambda extra: {"type": "object", "properties": {"spec": {"type": "object", **extra}}}
)


class TestFuzz:
    @given(schema=ODD_SCHEMAS, value=ODD_VALUES, change=ODD_VALUES)
    async def test_no_schema_and_no_object_crashes_the_server(
        self, empty: Api, schema: dict[str, Any], value: Any, change: Any
    ) -> None:
        odd = version(schema={"openAPIV3Schema": schema}, subresources={"status": {}}, selectableFields=[])
        made = await empty.post(DEFINITIONS, definition("robots", "Robot", odd))
        assert made.status in (201, 400, 422), made
        if made.status != 201:
            return
        try:
            await until(empty, "robots.example.com", "Established")
            body = {**robot(), "spec": value}
            assert (await empty.post(ROBOTS, body)).status in (201, 400, 422)
            patched = await empty.patch(f"{ROBOTS}/a", {"spec": change})
            assert patched.status in (200, 400, 404, 422)
            applied = await empty.patch(
                f"{ROBOTS}/a?fieldManager=m&force=true", {**body, "spec": change}, "apply-patch+yaml"
            )
            assert applied.status in (200, 201, 400, 422)
            assert (await empty.get(ROBOTS, accept=TABLE)).status == 200
        finally:
            await empty.delete(f"{DEFINITIONS}/robots.example.com")
            await gone(empty, f"{DEFINITIONS}/robots.example.com")
