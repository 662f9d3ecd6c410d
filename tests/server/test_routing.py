from __future__ import annotations

import pytest

from lakh.apis.catalogue import registry
from lakh.server.routing import parse_query, resolve


@pytest.mark.parametrize(
    ("method", "path", "meant"),
    [
        ("GET", "/api/v1/pods", ("list", "pods", "", "", "")),
        ("GET", "/api/v1/namespaces/a/pods/", ("list", "pods", "a", "", "")),
        ("GET", "/api/v1/namespaces/a/pods/p", ("get", "pods", "a", "p", "")),
        ("DELETE", "/api/v1/namespaces/a/pods", ("deletecollection", "pods", "a", "", "")),
        ("POST", "/api/v1/namespaces/a/pods/p/binding", ("create", "pods", "a", "p", "binding")),
        ("PUT", "/api/v1/namespaces/a/finalize", ("update", "namespaces", "", "a", "finalize")),
        ("PATCH", "/api/v1/namespaces/a/status", ("patch", "namespaces", "", "a", "status")),
        ("GET", "/api/v1/namespaces/a", ("get", "namespaces", "", "a", "")),
        ("GET", "/apis/apps/v1/namespaces/a/deployments/d/scale", ("get", "deployments", "a", "d", "scale")),
        ("GET", "/api/v1/nodes/n%2F1", ("get", "nodes", "", "n/1", "")),
    ],
)
def test_resolve(method: str, path: str, meant: tuple[str, ...]) -> None:
    info = resolve(registry(), method, path, {})
    assert info is not None
    assert (info.verb, info.resource.plural, info.namespace, info.name, info.subresource) == meant


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/api/v1",
        "/apis/apps/v1",
        "/api/v1/nonsense",
        "/api/v2/pods",
        "/api/v1/namespaces/a/nodes",
        "/api/v1/pods/p",
    ],
)
def test_paths_of_no_resource(path: str) -> None:
    assert resolve(registry(), "GET", path, {}) is None


@pytest.mark.parametrize(
    ("value", "verb"), [("1", "watch"), ("true", "watch"), ("false", "list"), ("0", "list")]
)
def test_watch(value: str, verb: str) -> None:
    info = resolve(registry(), "GET", "/api/v1/pods", {"watch": value})
    assert info is not None and info.verb == verb


def test_query() -> None:
    assert parse_query("a=1&b=x%20y+z&a=2&c&&d=%3D") == {"a": "1", "b": "x y z", "c": "", "d": "="}
