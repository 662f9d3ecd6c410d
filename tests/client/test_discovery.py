from __future__ import annotations

import asyncio
import json

import pytest

from lakh.client.discovery import REFRESH_SECONDS, CachedDiscovery, discover
from lakh.client.errors import ApiError
from lakh.client.resources import DEPLOYMENTS, PODS, Resource


def reply(api, path, document):
    api.routes[path] = api.Reply(200, json.dumps(document).encode())


async def test_aggregated(api):
    def group(name, version, plural, kind, scope):
        entry = {
            "resource": plural,
            "responseKind": {"group": name, "version": version, "kind": kind},
            "scope": scope,
            "verbs": ["get", "list"],
            "subresources": [{"subresource": "status"}],
        }
        versions = [
            {"version": version, "freshness": "Current", "resources": [entry]},
            {"version": "v0", "freshness": "Current", "resources": [entry]},
            {"version": "v9", "freshness": "Stale", "resources": [{**entry, "resource": "down"}]},
        ]
        return {"metadata": {"name": name} if name else {}, "versions": versions}

    for path, item in (
        ("/api", group("", "v1", "pods", "Pod", "Namespaced")),
        ("/apis", group("apps", "v1", "deployments", "Deployment", "Namespaced")),
    ):
        reply(api, path, {"kind": "APIGroupDiscoveryList", "items": [item]})
    async with api.client() as client:
        found = await discover(client)
    assert found == [PODS, DEPLOYMENTS]
    assert found[0].verbs == {"get", "list"}
    assert "apidiscovery.k8s.io" in api.requests[0].headers["accept"]


async def test_cached(api):
    now = 0.0

    def serve(*kinds):
        resources = [{"resource": kind.lower(), "responseKind": {"kind": kind}} for kind in kinds]
        versions = [{"version": "v1", "resources": resources}]
        for path, items in (("/api", []), ("/apis", [{"metadata": {"name": "x.io"}, "versions": versions}])):
            reply(api, path, {"kind": "APIGroupDiscoveryList", "items": items})

    serve("A")
    async with api.client() as client:
        discovery = CachedDiscovery(client, lambda: now)
        first, second = await asyncio.gather(discovery.resources(), discovery.resources())
        assert first is second and len(api.requests) == 2
        serve("A", "B")
        now += REFRESH_SECONDS
        assert await discovery.of_kind("x.io", "B") is None
        now += 1
        found = await discovery.of_kind("x.io", "B")
        assert found is not None and found.plural == "b"
        assert len(api.requests) == 4


async def test_plain(api):
    reply(api, "/api", {"kind": "APIVersions", "versions": ["v1"]})
    versions = [{"version": "v1beta1"}, {"version": "v1"}]
    groups = [
        {"name": "apps", "versions": versions, "preferredVersion": {"version": "v1"}},
        {"name": "down", "versions": [{"version": "v1"}]},
    ]
    reply(api, "/apis", {"kind": "APIGroupList", "groups": groups})
    pods = {"name": "pods", "kind": "Pod", "namespaced": True, "verbs": ["get"]}
    reply(api, "/api/v1", {"resources": [pods, {**pods, "name": "pods/log"}]})
    deployments = {"name": "deployments", "kind": "Deployment", "namespaced": True, "verbs": ["get"]}
    reply(api, "/apis/apps/v1", {"resources": [deployments]})
    reply(
        api,
        "/apis/apps/v1beta1",
        {"resources": [deployments, {**deployments, "name": "olds", "kind": "Old"}]},
    )
    api.routes["/apis/down/v1"] = api.Reply(503, b"down")
    async with api.client() as client:
        found = await discover(client)
        assert found == [PODS, DEPLOYMENTS, Resource("apps", "v1beta1", "olds", "Old", True)]
        api.routes["/api"] = api.Reply(403, b"no")
        with pytest.raises(ApiError):
            await discover(client)
