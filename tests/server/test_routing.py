from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.catalogue import registry
from lakh.server import routing
from lakh.server.routing import RequestInfo, Router, parse_query, resolve


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


@pytest.mark.parametrize(
    ("path", "plural", "namespace", "name"),
    [
        ("/api/v1/watch/pods", "pods", "", ""),
        ("/api/v1/watch/namespaces/a/pods", "pods", "a", ""),
        ("/api/v1/watch/namespaces/a/pods/p", "pods", "a", "p"),
        ("/api/v1/watch/namespaces", "namespaces", "", ""),
        ("/api/v1/watch/namespaces/a", "namespaces", "", "a"),
        ("/apis/apps/v1/watch/deployments", "deployments", "", ""),
    ],
)
def test_deprecated_watch_paths(path: str, plural: str, namespace: str, name: str) -> None:
    info = resolve(registry(), "GET", path, {"watch": "false"})
    assert info is not None and (info.verb, info.resource.plural) == ("watch", plural)
    assert (info.namespace, info.name, info.subresource) == (namespace, name, "")
    post = resolve(registry(), "POST", path, {})
    assert post is not None and post.verb == ""


@pytest.mark.parametrize(
    "path", ["/api/v1/watch", "/api/v1/watch/nonsense", "/api/v1/watch/namespaces/a/pods/p/status"]
)
def test_what_is_no_watch_path(path: str) -> None:
    assert resolve(registry(), "GET", path, {}) is None


def test_query() -> None:
    assert parse_query("a=1&b=x%20y+z&a=2&c&&d=%3D") == {"a": "1", "b": "x y z", "c": "", "d": "="}


REGISTRY = registry()
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
PARTS = ("namespaces", "watch", "pods", "nodes", "a", "", "status", "finalize", "proxy", "n%2F1", "x" * 600)
PATHS = st.builds(
    lambda prefix, parts: "/".join((prefix, *parts)),
    st.sampled_from(("/api/v1", "/apis/apps/v1", "/api", "")),
    st.lists(st.sampled_from(PARTS), max_size=6),
)


def meaning(info: RequestInfo | None) -> tuple[object, ...] | None:
    if info is None:
        return None
    return (info.verb, info.resource, info.namespace, info.name, info.subresource, info.path)


@given(
    st.lists(
        st.tuples(st.sampled_from(METHODS), PATHS, st.sampled_from(("", "watch=1", "watch=0")), st.booleans())
    )
)
def test_a_router_finds_what_resolve_finds(requests: Iterable[tuple[str, str, str, bool]]) -> None:
    """Whatever was asked before, also while a resource comes and goes."""
    changing = REGISTRY.copy()
    router = Router(changing)
    pods = REGISTRY.get("", "v1", "pods")
    assert pods is not None
    for method, path, query, served in [*requests, *requests]:
        if served != (changing.get("", "v1", "pods") is not None):
            (changing.add if served else changing.remove)(pods)
        expected = resolve(changing, method, path, parse_query(query))
        assert meaning(router.resolve(method, path, parse_query(query))) == meaning(expected), path


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/a/pods",
        "/api/v1/namespaces/a/pods/q",
        "/api/v1/namespaces/a/pods/q/status",
    ],
)
def test_a_remembered_collection_is_not_parsed_again(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    router = Router(REGISTRY)
    router.resolve("GET", "/api/v1/namespaces/a/pods/p", {})
    monkeypatch.delattr(routing, "resolve")
    info = router.resolve("GET", path, {})
    assert info is not None and info is router.resolve("GET", path, {})
    with pytest.raises(NameError):
        router.resolve("GET", "/api/v1/namespaces/a/status", {})


def test_a_router_sees_what_comes_and_goes() -> None:
    changing = REGISTRY.copy()
    router = Router(changing)
    path = "/api/v1/namespaces/a/pods/p"
    pods = changing.get("", "v1", "pods")
    assert pods is not None and router.resolve("GET", path, {}) is not None
    changing.remove(pods)
    assert router.resolve("GET", path, {}) is None
    changing.add(pods)
    assert router.resolve("GET", path, {}) is not None


def test_what_a_router_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "REMEMBERED_REQUESTS", 3)
    monkeypatch.setattr(routing, "REMEMBERED_COLLECTIONS", 2)
    router = Router(REGISTRY)
    for number in range(10):
        info = router.resolve("GET", f"/api/v1/namespaces/ns-{number}/pods/p", {})
        assert info is not None and info.namespace == f"ns-{number}"
        assert len(router._requests) <= 3 and len(router._collections) <= 2
