"""Discovery and OpenAPI as upstream's test/integration/apiserver/{discovery,openapi} have them, of groups that custom resources make."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from .harness import Api
from .test_custom_resources import DEFINITIONS

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
STABLE = "stable.example.com"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


def made(group: str, kind: str, versions: list[str], *categories: str) -> dict[str, Any]:
    """A definition with those served versions; the first is stored."""
    plural = f"{kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/1"},
        },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, "categories": list(categories)},
            "versions": [
                {
                    "name": name,
                    "served": True,
                    "storage": name == versions[0],
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                }
                for name in versions
            ],
        },
    }


async def versions(api: Api) -> list[tuple[str, str]]:
    """Groups and versions in order, which both forms of discovery agree upon; all are fresh."""
    groups = (await api.get("/apis")).json["groups"]
    plain = [(group["name"], v["version"]) for group in groups for v in group["versions"]]
    items = (await api.get("/apis", accept=AGGREGATED)).json["items"]
    assert [(g["metadata"]["name"], v["version"]) for g in items for v in g["versions"]] == plain
    assert {v["freshness"] for g in items for v in g["versions"]} == {"Current"}
    return plain


async def until(api: Api, group: str, wanted: list[str]) -> None:
    """Waits for the versions of a group."""
    async with asyncio.timeout(120):
        while [v for g, v in await versions(api) if g == group] != wanted:
            await asyncio.sleep(0)


async def test_builtins(api: Api) -> None:
    """BuiltinsFresh, BuiltinsAndOrdering: apiregistration.k8s.io goes first."""
    found = await versions(api)
    assert found[0] == ("apiregistration.k8s.io", "v1")
    assert len(found) == len(set(found))


async def test_they_come_and_go(api: Api) -> None:
    """TestCRD: CRDInclusion, CRDRemoval; TestFreshness: CRDFresh; LowGroupPriority: they are behind Kubernetes' own."""
    before = await versions(api)
    await api.post(DEFINITIONS, made(STABLE, "Foo", ["v1", "v1alpha1", "v1beta1", "v2"], "all"))
    await until(api, STABLE, ["v2", "v1", "v1beta1", "v1alpha1"])
    assert (await versions(api))[: len(before)] == before
    assert f"/apis/{STABLE}/v1" in (await api.get("/")).json["paths"]
    resources = (await api.get(f"/apis/{STABLE}/v1alpha1")).json["resources"]
    assert [(r["name"], r["categories"]) for r in resources] == [("foos", ["all"])]
    await api.delete(f"{DEFINITIONS}/foos.{STABLE}")
    await until(api, STABLE, [])
    assert (await api.get(f"/apis/{STABLE}")).status == 404
    assert f"/apis/{STABLE}/v1" not in (await api.get("/")).json["paths"]


async def test_kubernetes_own_versions_are_taken(api: Api) -> None:
    """CRDBuiltinOverlapPrecence: a definition adds versions to a group of Kubernetes, but nothing to its versions."""
    group = "apiextensions.k8s.io"
    await api.post(DEFINITIONS, made(group, "Bar", ["v1", "v2", "vfake"]))
    await until(api, group, ["v2", "v1", "vfake"])
    own = (await api.get(f"/apis/{group}/v1")).json["resources"]
    assert {r["name"].partition("/")[0] for r in own} == {"customresourcedefinitions"}
    assert [r["name"] for r in (await api.get(f"/apis/{group}/vfake")).json["resources"]] == ["bars"]
    bar = {"kind": "Bar", "metadata": {"name": "b"}}
    path = "namespaces/default/bars"
    assert (await api.post(f"/apis/{group}/v1/{path}", {"apiVersion": f"{group}/v1", **bar})).status == 404
    assert (await api.post(f"/apis/{group}/v2/{path}", {"apiVersion": f"{group}/v2", **bar})).status == 201
    assert (await api.get(f"/apis/{group}/vfake/{path}/b")).json["apiVersion"] == f"{group}/vfake"
    assert (await api.delete(f"{DEFINITIONS}/bars.{group}")).status == 200
    await until(api, group, ["v1"])


async def test_openapi_follows(api: Api) -> None:
    """TestOpenAPIV2BytesCache, TestAddRemoveGroupVersion: a definition is in the documents, and their tags change."""
    document = await api.get("/openapi/v2")
    assert "io.k8s.api.core.v1.Pod" in document.json["definitions"]
    assert "/apis/apps/v1/" in document.json["paths"]
    tag = document.headers[b"ETag"].decode()
    assert tag[0] == tag[-1] == '"'
    assert (await api.call("GET", "/openapi/v2", if_none_match=tag)).status == 304
    await api.post(DEFINITIONS, made("cr.bar.com", "BytesCache", ["v1"]))
    await until(api, "cr.bar.com", ["v1"])
    again = await api.call("GET", "/openapi/v2", if_none_match=tag)
    assert again.status == 200
    assert "com.bar.cr.v1.BytesCache" in again.json["definitions"]
    assert "apis/cr.bar.com/v1" in (await api.get("/openapi/v3")).json["paths"]
    assert (await api.get("/openapi/v3/apis/cr.bar.com/v1")).json["openapi"].startswith("3.0")
    await api.delete(f"{DEFINITIONS}/bytescaches.cr.bar.com")
    await until(api, "cr.bar.com", [])
    assert "apis/cr.bar.com/v1" not in (await api.get("/openapi/v3")).json["paths"]
