"""OpenAPI: the documents' structure, their serving, and kubectl's reading of them."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from lakh.apis.catalogue import registry
from lakh.apis.definitions import schema
from lakh.apis.registry import Registry
from lakh.server import openapi_proto, openapi_schemas
from lakh.server.openapi import V2_PROTOBUF, OpenApi
from lakh.server.routing import parse_query, resolve
from lakh.server.transport import Request, Response

from .documents_client import body, cluster, headers, needs_kubectl, request

V2_PROTOBUF_OLD = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
METHODS = ("get", "put", "post", "delete", "patch")


@cache
def served() -> OpenApi:
    return OpenApi(registry())


def ask(path: str, query: str = "", **given: str) -> Response:
    answer = served().handle(request(path, query, **given), path, parse_query(query))
    assert answer is not None
    return answer


@cache
def index() -> dict[str, str]:
    paths = json.loads(body(ask("/openapi/v3")))["paths"]
    return {place: entry["serverRelativeURL"] for place, entry in paths.items()}


@cache
def document(place: str) -> Any:
    url = urlsplit(index()[place])
    return json.loads(body(ask(url.path, url.query)))


@cache
def swagger() -> Any:
    return json.loads(body(ask("/openapi/v2")))


def operations(doc: Any) -> Iterator[tuple[str, str, Any]]:
    for path, item in doc["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def references(value: Any) -> Iterator[str]:
    """Every `$ref` of a document; a field that is called so has a schema as its value."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


# -- structure ---------------------------------------------------------------------------------------------------------------------


def test_the_index_lists_every_group_version() -> None:
    expected = {"api", "apis", "version"}
    for resource in registry().all():
        expected.add(
            f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"
        )
        if resource.group:
            expected.add(f"apis/{resource.group}")
    assert set(index()) == expected
    for place, url in index().items():
        assert re.fullmatch(rf"/openapi/v3/{re.escape(place)}\?hash=[0-9A-F]{{64}}", url)


@pytest.mark.parametrize("place", sorted(index()))
def test_v3_documents_are_whole(place: str) -> None:
    doc = document(place)
    assert doc["openapi"] == "3.0.0"
    assert doc["info"]["title"] == "Kubernetes"
    schemas = doc["components"]["schemas"]
    used = {ref.removeprefix("#/components/schemas/") for ref in references(doc)}
    assert used == set(schemas), "every reference resolves, and nothing is there that nobody refers to"
    text = json.dumps(schemas)
    assert "$defs" not in text
    assert '"null"' not in text
    for path, _, op in operations(doc):
        named = {p["name"] for p in (*doc["paths"][path].get("parameters", ()), *op.get("parameters", ()))}
        assert set(re.findall(r"{(\w+)}", path)) <= named
        assert op["description"]
        assert op["tags"]
        assert "401" in op["responses"]


def test_operation_ids_are_unique() -> None:
    ids = Counter(op["operationId"] for place in index() for _, _, op in operations(document(place)))
    assert [i for i, n in ids.items() if n > 1] == []
    assert ids == Counter(op["operationId"] for _, _, op in operations(swagger()))


def test_operation_ids_are_upstreams() -> None:
    ids = {op["operationId"] for _, _, op in operations(swagger())}
    assert {
        "getCoreV1APIResources",
        "getAppsV1APIResources",
        "getAppsAPIGroup",
        "getAPIVersions",
        "getCoreAPIVersions",
        "getCodeVersion",
        "listCoreV1NamespacedPod",
        "listCoreV1PodForAllNamespaces",
        "createCoreV1NamespacedPod",
        "deleteCoreV1CollectionNamespacedPod",
        "readCoreV1NamespacedPod",
        "replaceCoreV1NamespacedPod",
        "patchCoreV1NamespacedPod",
        "deleteCoreV1NamespacedPod",
        "readCoreV1NamespacedPodLog",
        "readCoreV1NamespacedPodStatus",
        "createCoreV1NamespacedPodBinding",
        "createCoreV1NamespacedPodEviction",
        "createCoreV1NamespacedServiceAccountToken",
        "listCoreV1Node",
        "deleteCoreV1CollectionNode",
        "replaceCoreV1NamespaceFinalize",
        "readAppsV1NamespacedDeploymentScale",
        "patchAppsV1NamespacedDeploymentScale",
        "createRbacAuthorizationV1ClusterRole",
        "listFlowcontrolApiserverV1FlowSchema",
        "createAuthorizationV1NamespacedLocalSubjectAccessReview",
        "createAuthorizationV1SubjectAccessReview",
        "listNetworkingV1IngressForAllNamespaces",
        "replaceCertificatesV1CertificateSigningRequestApproval",
    } <= ids
    assert "deleteCoreV1CollectionNamespace" not in ids, "namespaces have no deletecollection"


_VERBS = {"put": "update", "post": "create", "watchlist": "watch"}


@pytest.mark.parametrize("place", [p for p in sorted(index()) if p.count("/") == 2 or p == "api/v1"])
def test_every_operation_is_one_that_the_router_knows(place: str) -> None:
    found: Counter[str] = Counter()
    for path, method, op in operations(document(place)):
        action = op.get("x-kubernetes-action")
        if action is None:
            continue
        info = resolve(registry(), method.upper(), path.format(namespace="ns", name="n"), {})
        assert info is not None
        assert info.verb == _VERBS.get(action, action)
        assert ("/watch/" in path) == (info.verb == "watch")
        sub = info.resource.subresources.get(info.subresource)
        assert info.verb in (sub.verbs if sub else info.resource.verbs)
        found[info.resource.plural] += 1
    group, _, version = place.removeprefix("apis/").removeprefix("api/").rpartition("/")
    of_place = [r for r in registry().all() if (r.group, r.version) == (group, version)]
    assert set(found) == {r.plural for r in of_place}
    for resource in of_place:
        verbs = list(resource.verbs)
        if "watch" in verbs:
            verbs.append("watch one")
        if resource.namespaced and "list" in verbs:
            verbs += [f"{verb} for all namespaces" for verb in ("list", "watch") if verb in verbs]
        assert found[resource.plural] == len(verbs) + sum(
            len(s.verbs) for s in resource.subresources.values()
        )


def test_patches_take_field_validation_where_kubectl_looks() -> None:
    for place in index():
        for _, method, op in operations(document(place)):
            if method == "patch":
                names = [p["name"] for p in op["parameters"]]
                assert "fieldValidation" in names
                assert "dryRun" in names
                assert "force" in names
                assert "application/apply-patch+yaml" in op["requestBody"]["content"]
                assert {"group", "version", "kind"} == set(op["x-kubernetes-group-version-kind"])
    for _, method, op in operations(swagger()):
        if method == "patch":
            assert {"fieldValidation", "dryRun"} <= {p.get("name") for p in op["parameters"]}


def test_subresources_speak_their_own_kind() -> None:
    apps = document("apis/apps/v1")["paths"]
    scale = apps["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["put"]
    assert scale["x-kubernetes-group-version-kind"] == {
        "group": "autoscaling",
        "kind": "Scale",
        "version": "v1",
    }
    assert scale["requestBody"]["content"]["*/*"]["schema"] == {
        "$ref": "#/components/schemas/io.k8s.api.autoscaling.v1.Scale"
    }
    core = document("api/v1")["paths"]
    log = core["/api/v1/namespaces/{namespace}/pods/{name}/log"]["get"]
    assert log["responses"]["200"]["content"]["text/plain"]["schema"] == {"type": "string"}
    assert {"container", "tailLines"} <= {p["name"] for p in log["parameters"]}


# -- schemas -----------------------------------------------------------------------------------------------------------------------


def test_schemas_are_openapis_again() -> None:
    schemas = document("api/v1")["components"]["schemas"]
    pod = schemas["io.k8s.api.core.v1.Pod"]
    assert pod["type"] == "object"
    assert pod["x-kubernetes-group-version-kind"] == [{"group": "", "kind": "Pod", "version": "v1"}]
    assert set(pod["properties"]["kind"]) == {"type", "description"}
    metadata = pod["properties"]["metadata"]
    assert metadata["allOf"] == [
        {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    ]
    assert metadata["default"] == {}
    containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["type"] == "array"
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-list-map-keys"] == ["name"]
    assert containers["items"]["default"] == {}
    port = schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["containerPort"]
    assert (port["type"], port["default"]) == ("integer", 0)
    assert "default" not in schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["hostPort"]
    assert schemas[openapi_schemas.INT_OR_STRING]["format"] == "int-or-string"
    assert schemas[openapi_schemas.QUANTITY]["oneOf"] == [{"type": "string"}, {"type": "number"}]


def test_v2_schemas() -> None:
    definitions = swagger()["definitions"]
    assert definitions[openapi_schemas.INT_OR_STRING]["type"] == "string"
    assert definitions[openapi_schemas.INT_OR_STRING]["format"] == "int-or-string"
    assert definitions[openapi_schemas.QUANTITY]["type"] == "string"
    spec = definitions["io.k8s.api.core.v1.Pod"]["properties"]["spec"]
    assert spec["$ref"] == "#/definitions/io.k8s.api.core.v1.PodSpec"
    assert '"default"' not in json.dumps(definitions["io.k8s.api.core.v1.PodSpec"])
    strategy = definitions["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["strategy"]
    assert strategy["x-kubernetes-patch-strategy"] == "retainKeys"


def test_v2_is_whole() -> None:
    doc = swagger()
    assert doc["swagger"] == "2.0"
    for ref in references(doc):
        section, name = ref.removeprefix("#/").split("/", 1)
        assert name in doc[section]
    used = {r.removeprefix("#/definitions/") for r in references(doc) if r.startswith("#/definitions/")}
    assert used == set(doc["definitions"])


def test_the_definitions_are_left_as_they_were() -> None:
    definitions = schema().definitions()
    before = json.dumps(definitions)
    for version in (2, 3):
        openapi_schemas.convert(definitions, definitions, version)
    assert json.dumps(definitions) == before


def test_recursion_and_odd_field_names_are_followed() -> None:
    found = openapi_schemas.reachable(
        {
            "A": {"properties": {"$ref": {"type": "string"}, "x-of": {"$ref": "#/$defs/B"}}},
            "B": {"items": {"additionalProperties": {"$ref": "#/$defs/A"}}},
            "C": {},
        },
        ["A"],
    )
    assert found == {"A", "B"}


# -- serving -----------------------------------------------------------------------------------------------------------------------


def test_documents_with_their_hash_are_cached_for_ever() -> None:
    url = urlsplit(index()["apis/apps/v1"])
    answer = ask(url.path, url.query)
    assert headers(answer)["cache-control"] == "public, immutable"
    assert "GMT" in headers(answer)["expires"]
    assert headers(answer)["etag"].strip('"') == parse_query(url.query)["hash"]
    plain = ask(url.path)
    assert "expires" not in headers(plain)
    assert body(plain) == body(answer)


def test_an_old_hash_is_sent_to_the_new_one() -> None:
    answer = ask("/openapi/v3/apis/apps/v1", "hash=OLD")
    assert answer.status == 301
    assert headers(answer)["location"] == index()["apis/apps/v1"]


def test_clients_that_have_it_get_304() -> None:
    for path in ("/openapi/v2", "/openapi/v3", "/openapi/v3/api/v1"):
        etag = headers(ask(path))["etag"]
        assert ask(path, if_none_match=etag).status == 304


def test_gzip() -> None:
    packed = ask("/openapi/v3/api/v1", accept_encoding="gzip")
    assert headers(packed)["content-encoding"] == "gzip"
    plain = body(ask("/openapi/v3/api/v1"))
    assert gzip.decompress(body(packed)) == plain
    assert len(body(packed)) * 4 < len(plain)


def test_hashes_are_stable_and_follow_the_registry() -> None:
    again = json.loads(body(_index_of(OpenApi(registry()))))["paths"]
    assert {p: e["serverRelativeURL"] for p, e in again.items()} == index()
    fewer = Registry(tuple(r for r in registry().all() if r.plural != "pods"))
    changed = json.loads(body(_index_of(OpenApi(fewer))))["paths"]
    assert changed["api/v1"]["serverRelativeURL"] != index()["api/v1"]
    assert changed["apis/apps/v1"]["serverRelativeURL"] == index()["apis/apps/v1"]


def _index_of(openapi: OpenApi) -> Response:
    answer = openapi.handle(request("/openapi/v3"), "/openapi/v3", {})
    assert answer is not None
    return answer


@pytest.mark.parametrize("path", ["/openapi", "/openapi/v1", "/openapi/v2/", "/"])
def test_other_paths_are_not_ours(path: str) -> None:
    assert served().handle(request(path), path, {}) is None


@pytest.mark.parametrize("path", ["/openapi/v3/apis/none/v1", "/openapi/v3/api/v2", "/openapi/v3/"])
def test_below_the_index_there_is_nothing_else(path: str) -> None:
    found = served().handle(request(path), path, {})
    assert isinstance(found, Response)
    assert (found.status, found.body) == (404, b"")


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/openapi/v2", "text/html"),
        ("/openapi/v3/api/v1", "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"),
    ],
)
def test_what_is_not_served_is_not_acceptable(path: str, accept: str) -> None:
    found = served().handle(request(path, accept=accept), path, {})
    assert isinstance(found, Response)
    assert (found.status, found.body) == (406, b"")


# -- protobuf ----------------------------------------------------------------------------------------------------------------------


def fields(data: bytes) -> list[tuple[int, Any]]:
    """A protobuf message's fields: (number, int or bytes)."""
    found = []
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        value: Any = varint()
        if key & 7 == 2:
            at, value = at + value, data[at : at + value]
        else:
            assert key & 7 == 0
        found.append((key >> 3, value))
    assert at == len(data)
    return found


def entries(data: bytes, number: int = 1) -> dict[str, bytes]:
    """A map of gnostic's: name → value."""
    named = [dict(fields(value)) for n, value in fields(data) if n == number]
    return {entry[1].decode(): entry.get(2, b"") for entry in named}


def test_protobuf_says_what_json_says() -> None:
    for accept in (V2_PROTOBUF, V2_PROTOBUF_OLD):
        answer = ask("/openapi/v2", accept=accept)
        assert answer.content_type.decode() == V2_PROTOBUF
    doc = dict(fields(body(answer)))
    assert doc[1] == b"2.0"
    definitions = entries(doc[9])
    assert list(definitions) == list(swagger()["definitions"])
    pod = dict(fields(definitions["io.k8s.api.core.v1.Pod"]))
    assert fields(pod[22]) == [(1, b"object")]
    assert pod[4].decode() == swagger()["definitions"]["io.k8s.api.core.v1.Pod"]["description"]
    properties = entries(pod[25])
    assert dict(fields(properties["spec"]))[1] == b"#/definitions/io.k8s.api.core.v1.PodSpec"
    (extension,) = [v for n, v in fields(definitions["io.k8s.api.core.v1.Pod"]) if n == 31]
    named = dict(fields(extension))
    assert named[1] == b"x-kubernetes-group-version-kind"
    assert json.loads(dict(fields(named[2]))[2]) == [{"group": "", "kind": "Pod", "version": "v1"}]
    paths = entries(doc[8], 2)
    assert list(paths) == list(swagger()["paths"])
    patch = fields(dict(fields(paths["/api/v1/nodes/{name}"]))[8])
    assert dict(patch)[5] == b"patchCoreV1Node"
    queries = [dict(fields(dict(fields(v))[1])) for n, v in patch if n == 8 and dict(fields(v)).get(1)]
    names = {dict(fields(dict(fields(q[2]))[3]))[4] for q in queries if 2 in q}
    assert names == {b"dryRun", b"fieldValidation"}


def test_protobuf_of_small_things() -> None:
    assert fields(openapi_proto.encode_v2({"swagger": "2.0"})) == [(1, b"2.0")]
    long = openapi_proto.encode_v2({"swagger": "x" * 300})
    assert long[:3] == b"\x0a\xac\x02"
    with pytest.raises(KeyError):
        openapi_proto.encode_v2({"unheard": "of"})


# -- kubectl -----------------------------------------------------------------------------------------------------------------------


@needs_kubectl
async def test_kubectl_explains(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        containers = await c.kubectl("explain", "pod.spec.containers", "--recursive")
        assert "FIELD: containers <[]Container>" in containers
        assert "name\t<string> -required-" in containers
        deployment = await c.kubectl("explain", "deployment", "--api-version=apps/v1")
        assert "GROUP:      apps" in deployment
        assert "spec\t<DeploymentSpec>" in deployment
        assert "<map[string]Quantity>" in await c.kubectl("explain", "pod.spec.containers.resources.limits")
        assert "<IntOrString>" in await c.kubectl("explain", "service.spec.ports.targetPort")
        await c.kubectl("explain", "crd.spec.versions.schema", "--recursive")
        assert "/openapi/v2" not in c.paths
        old = await c.kubectl("explain", "--output=plaintext-openapiv2", "pod.spec.containers")
        assert "RESOURCE: containers <[]Object>" in old
        assert "/openapi/v2" in c.paths


DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "a", "image": "a:1"}]},
        },
    },
}


@needs_kubectl
async def test_kubectl_apply_merges_by_the_v3_schemas(tmp_path: Path) -> None:
    """A container that somebody else added stays: kubectl learnt the merge key, and that the server validates fields."""
    live = json.loads(json.dumps(DEPLOYMENT))
    annotation = json.dumps(DEPLOYMENT)
    live["metadata"] |= {
        "resourceVersion": "7",
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": annotation},
    }
    live["spec"]["template"]["spec"]["containers"].append({"name": "b", "image": "b:1"})
    wanted = json.loads(json.dumps(DEPLOYMENT))
    wanted["spec"]["template"]["spec"]["containers"][0]["image"] = "a:2"

    def answer(request: Request) -> Response | None:
        if request.path == "/apis/apps/v1/namespaces/default/deployments/web":
            return Response(200, json.dumps(live).encode())
        return None

    async with cluster(tmp_path, answer) as c:
        out = await c.kubectl("apply", "-f", "-", stdin=json.dumps(wanted).encode())
        assert out.startswith("deployment.apps/web")
        patch = next(seen for seen in c.seen if seen.method == "PATCH")
        assert patch.headers["content-type"] == "application/strategic-merge-patch+json"
        assert parse_query(patch.query)["fieldValidation"] == "Strict"
        spec = json.loads(patch.body)["spec"]["template"]["spec"]
        assert spec["containers"] == [{"image": "a:2", "name": "a"}]
        assert "/openapi/v3/apis/apps/v1" in c.paths
        assert "/openapi/v2" not in c.paths
