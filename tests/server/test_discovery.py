"""Discovery: the plain and the aggregated form, and kubectl's reading of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lakh.apis.catalogue import registry
from lakh.apis.registry import SCALE, Registry, Resource, Subresource, status_of
from lakh.server.discovery import AGGREGATED_TYPE, Discovery, storage_version_hash, version_priority

from .documents_client import body, cluster, headers, needs_kubectl, request

AGGREGATED = AGGREGATED_TYPE.decode()
# What client-go 1.32 sends.
CLIENT_GO = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)
EVICTION = Subresource("Eviction", ("create",), "policy", "v1")


def small() -> Registry:
    pods = Resource(
        "",
        "v1",
        "pods",
        "Pod",
        True,
        "io.k8s.api.core.v1.Pod",
        singular="pod",
        short_names=("po",),
        categories=("all",),
        subresources={"status": status_of("Pod"), "eviction": EVICTION},
    )
    nodes = Resource("", "v1", "nodes", "Node", False, "io.k8s.api.core.v1.Node")
    deployments = Resource(
        "apps",
        "v1",
        "deployments",
        "Deployment",
        True,
        "io.k8s.api.apps.v1.Deployment",
        subresources={"scale": SCALE},
    )
    reviews = Resource(
        "authorization.k8s.io",
        "v1",
        "subjectaccessreviews",
        "SubjectAccessReview",
        False,
        "x",
        verbs=("create",),
    )
    scalers = [
        Resource("autoscaling", v, "horizontalpodautoscalers", "HorizontalPodAutoscaler", True, "x")
        for v in ("v1", "v2", "v2beta1")
    ]
    return Registry((pods, nodes, deployments, reviews, *scalers))


@pytest.fixture
def discovery() -> Discovery:
    return Discovery(small())


def read(discovery: Discovery, path: str, accept: str = "") -> Any:
    answer = discovery.handle(request(path, accept=accept), path, {})
    assert answer is not None
    assert answer.status == 200
    return json.loads(body(answer))


def test_core_versions(discovery: Discovery) -> None:
    assert (
        read(discovery, "/api")
        == read(discovery, "/api/")
        == {
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        }
    )


def test_groups_in_upstreams_order_with_the_best_version_first(discovery: Discovery) -> None:
    listed = read(discovery, "/apis")
    assert (listed["kind"], listed["apiVersion"]) == ("APIGroupList", "v1")
    assert [g["name"] for g in listed["groups"]] == ["apps", "authorization.k8s.io", "autoscaling"]
    scaling = listed["groups"][2]
    assert [v["version"] for v in scaling["versions"]] == ["v2", "v1", "v2beta1"]
    assert scaling["preferredVersion"] == {"groupVersion": "autoscaling/v2", "version": "v2"}
    assert read(discovery, "/apis/autoscaling") == {"kind": "APIGroup", "apiVersion": "v1", **scaling}


def test_resources_of_a_version(discovery: Discovery) -> None:
    listed = read(discovery, "/api/v1")
    assert (listed["kind"], listed["groupVersion"]) == ("APIResourceList", "v1")
    assert listed["resources"] == [
        {
            "name": "nodes",
            "singularName": "node",
            "namespaced": False,
            "kind": "Node",
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
            "storageVersionHash": "XwShjMxG9Fs=",
        },
        {
            "name": "pods",
            "singularName": "pod",
            "namespaced": True,
            "kind": "Pod",
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
            "shortNames": ["po"],
            "categories": ["all"],
            "storageVersionHash": "xPOwRZ+Yhw8=",
        },
        {
            "name": "pods/eviction",
            "singularName": "",
            "namespaced": True,
            "kind": "Eviction",
            "verbs": ["create"],
            "group": "policy",
            "version": "v1",
        },
        {
            "name": "pods/status",
            "singularName": "",
            "namespaced": True,
            "kind": "Pod",
            "verbs": ["get", "patch", "update"],
        },
    ]
    apps = read(discovery, "/apis/apps/v1")
    assert apps["groupVersion"] == "apps/v1"
    assert [r["name"] for r in apps["resources"]] == ["deployments", "deployments/scale"]


def test_what_is_not_stored_has_no_storage_version(discovery: Discovery) -> None:
    (review,) = read(discovery, "/apis/authorization.k8s.io/v1")["resources"]
    assert "storageVersionHash" not in review


def test_aggregated(discovery: Discovery) -> None:
    core = read(discovery, "/api", CLIENT_GO)
    assert (core["kind"], core["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
    (group,) = core["items"]
    assert group["metadata"] == {}
    (version,) = group["versions"]
    assert (version["version"], version["freshness"]) == ("v1", "Current")
    pods = version["resources"][1]
    assert pods == {
        "resource": "pods",
        "responseKind": {"group": "", "version": "v1", "kind": "Pod"},
        "scope": "Namespaced",
        "singularResource": "pod",
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        "shortNames": ["po"],
        "categories": ["all"],
        "subresources": [
            {
                "subresource": "eviction",
                "responseKind": {"group": "policy", "version": "v1", "kind": "Eviction"},
                "verbs": ["create"],
            },
            {
                "subresource": "status",
                "responseKind": {"group": "", "version": "v1", "kind": "Pod"},
                "verbs": ["get", "patch", "update"],
            },
        ],
    }
    groups = read(discovery, "/apis", AGGREGATED)["items"]
    assert [g["metadata"]["name"] for g in groups] == ["apps", "authorization.k8s.io", "autoscaling"]


@pytest.mark.parametrize(
    ("accept", "aggregated"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        (AGGREGATED, True),
        (AGGREGATED + ";profile=nopeer", True),
        (CLIENT_GO, True),
        ("application/json," + AGGREGATED, False),
        ("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json", False),
        ("application/vnd.kubernetes.protobuf," + AGGREGATED, True),
    ],
)
def test_the_form_is_the_first_that_a_client_accepts(
    discovery: Discovery, accept: str, aggregated: bool
) -> None:
    answer = discovery.handle(request("/apis", accept=accept), "/apis", {})
    assert answer is not None
    assert (answer.content_type == AGGREGATED_TYPE) is aggregated
    assert "Accept" in headers(answer)["vary"]


def test_entity_tags(discovery: Discovery) -> None:
    first = discovery.handle(request("/apis"), "/apis", {})
    assert first is not None
    etag = headers(first)["etag"]
    again = discovery.handle(request("/apis", if_none_match=etag), "/apis", {})
    assert again is not None
    assert again.status == 304
    other = discovery.handle(request("/apis", if_none_match=etag, accept=AGGREGATED), "/apis", {})
    assert other is not None
    assert other.status == 200


@pytest.mark.parametrize(
    "path",
    ["/api/v2", "/apis/none", "/apis/apps/v2", "/apis//v1", "/version", "/api/v1/pods", "/apis/apps/v1/x"],
)
def test_other_paths_are_not_ours(discovery: Discovery, path: str) -> None:
    assert discovery.handle(request(path), path, {}) is None


def test_root_lists_paths(discovery: Discovery) -> None:
    paths = read(discovery, "/")["paths"]
    assert {"/api/v1", "/apis/apps", "/apis/apps/v1", "/openapi/v3"} <= set(paths)
    assert paths == sorted(paths)
    others = Discovery(Registry(), lambda: ["/version", "/healthz"])
    assert {"/healthz", "/version"} < set(read(others, "/")["paths"])


def test_an_empty_registry_is_served() -> None:
    empty = Discovery(Registry())
    assert read(empty, "/api")["versions"] == []
    assert read(empty, "/api", AGGREGATED)["items"] == read(empty, "/apis", AGGREGATED)["items"] == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("apps", "v1", "deployments"), "8aSe+NMegvE="),
        (("", "v1", "configmaps"), "qFsyl6wFWjQ="),
        (("autoscaling", "v1", "horizontalpodautoscalers"), "qwQve8ut294="),
        (("events.k8s.io", "v1", "events"), "r2yiGXH7wu8="),
    ],
)
def test_storage_version_hashes_are_upstreams(path: tuple[str, str, str], expected: str) -> None:
    resource = registry().get(*path)
    assert resource is not None
    assert storage_version_hash(resource) == expected


def test_version_order() -> None:
    versions = ["v1", "v10", "v2beta1", "v2", "v1alpha1", "v11alpha2", "foo1", "v3beta1", "v1beta2"]
    ordered = sorted(versions, key=version_priority, reverse=True)
    assert ordered == ["v10", "v2", "v1", "v3beta1", "v2beta1", "v1beta2", "v11alpha2", "v1alpha1", "foo1"]


@needs_kubectl
async def test_kubectl_reads_it(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        assert {"v1", "apps/v1", "batch/v1"} <= set((await c.kubectl("api-versions")).split())
        listed = (await c.kubectl("api-resources", "-o", "wide")).splitlines()
        assert listed[0].split()[:3] == ["NAME", "SHORTNAMES", "APIVERSION"]
        # kubectl shows each resource once, in its group's preferred version.
        assert len(listed) == len({(r.group, r.plural) for r in registry().all()}) + 1
        pods = next(line.split() for line in listed if line.startswith("pods "))
        assert pods[1:5] == ["po", "v1", "true", "Pod"]
        assert pods[5] == "create,delete,deletecollection,get,list,patch,update,watch"
        # Two requests tell everything.
        assert [p for p in c.paths if p.startswith("/api")][:2] == ["/api", "/apis"]
        assert set(c.paths) <= {"/version", "/api", "/apis"}
