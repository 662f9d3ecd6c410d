"""Paths of no resource and their methods, as kube-apiserver has them put together: aggregator, go-restful's routes, custom resources."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from lakh.machinery.health import Health

from .harness import Api


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


class TestMethods:
    """Which methods they take: those of upstream's mux all, go-restful's routes GET alone."""

    @pytest.mark.parametrize(
        "path",
        [
            "/version",
            "/version/",
            "/api",
            "/api/",
            "/api/v1",
            "/apis/apps/v1",
            "/apis/apps/v1/",
            "/apis/apiregistration.k8s.io",
            "/apis/apiregistration.k8s.io/v1",
        ],
    )
    async def test_routes(self, api: Api, path: str) -> None:
        assert (await api.get(path)).status == 200
        for method in ("HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            answer = await api.call(method, path)
            assert answer.json == {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Failure",
                "message": "the server does not allow this method on the requested resource",
                "reason": "MethodNotAllowed",
                "details": {},
                "code": 405,
            }
            assert b"Allow" not in answer.headers

    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/index.html",
            "/apis",
            "/apis/",
            "/apis/apps",
            "/apis/apps/",
            "/healthz",
            "/livez/ping",
            "/readyz",
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/openapi/v3/apis/batch/v1",
        ],
    )
    async def test_mux(self, api: Api, path: str) -> None:
        got = await api.get(path)
        assert got.status == 200
        for method in ("HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            answer = await api.call(method, path)
            assert (answer.status, answer.content_type) == (200, got.content_type)

    @pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
    async def test_not_there(self, api: Api, method: str) -> None:
        for path in ("/healthz/", "/livez/x", "/readyzz", "/openapi/v2/", "/openapi", "/apis/none", "/x"):
            answer = await api.call(method, path)
            assert (answer.status, answer.body) == (404, b"404 page not found\n"), path
        for path in ("/version/x", "/apis/apps/v2", "/api/v2", "/api/v1/things"):
            answer = await api.call(method, path)
            assert (answer.status, answer.json["reason"]) == (404, "NotFound"), path
        answer = await api.call(method, "/openapi/v3/apis/none/v1")
        assert (answer.status, answer.body) == (404, b"")

    async def test_openapi_in_no_form_that_is_accepted(self, api: Api) -> None:
        for path in ("/openapi/v2", "/openapi/v3/api/v1"):
            answer = await api.get(path, accept="text/html")
            assert (answer.status, answer.body) == (406, b"")

    async def test_only_one_path_is_aggregated(self, api: Api) -> None:
        """The aggregator has /apis/ for the plain form alone; /api/ is a route."""
        aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        for path, kind in (
            ("/api", "APIGroupDiscoveryList"),
            ("/api/", "APIGroupDiscoveryList"),
            ("/apis", "APIGroupDiscoveryList"),
            ("/apis/", "APIGroupList"),
        ):
            answer = await api.get(path, accept=f"{aggregated},application/json")
            assert answer.json["kind"] == kind, path

    async def test_custom_resources(self, api: Api) -> None:
        """apiextensions' crdHandler, which looks at the verb, not at the method."""
        definition = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "foos.stable.example.com"},
            "spec": {
                "group": "stable.example.com",
                "scope": "Namespaced",
                "names": {"plural": "foos", "kind": "Foo"},
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "subresources": {"status": {}},
                        "schema": {"openAPIV3Schema": {"type": "object"}},
                    }
                ],
            },
        }
        await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        version = "/apis/stable.example.com/v1"
        foos = f"{version}/namespaces/default/foos"
        async with asyncio.timeout(120):
            while (await api.get(version)).status != 200:
                await asyncio.sleep(0)
        await api.post(
            foos, {"apiVersion": "stable.example.com/v1", "kind": "Foo", "metadata": {"name": "a"}}
        )
        for path in (version, "/apis/stable.example.com"):
            assert (await api.call("DELETE", path)).status == 200
        for path in (foos, f"{foos}/a", f"{foos}/a/status", f"{version}/foos"):
            assert (await api.call("HEAD", path)).status == 200
        on = 'is not supported on resources of kind "foos.stable.example.com"'
        for method, path, code, message in (
            ("OPTIONS", foos, 405, f" {on}"),
            ("POST", f"{foos}/a/status", 405, f"create {on}"),
            ("DELETE", f"{foos}/a/status", 405, f"delete {on}"),
            ("PUT", foos, 400, "name must be provided"),
            ("PATCH", foos, 400, "name must be provided"),
            ("GET", f"{foos}/a/scale", 404, 'foos.stable.example.com "a" not found'),
        ):
            answer = await api.call(method, path)
            assert (answer.status, answer.json["message"]) == (code, message)
        answer = await api.call("DELETE", f"{version}/foos")
        assert (answer.status, answer.body) == (404, b"404 page not found\n")


class TestHealth:
    """apiserver's pkg/server/healthz."""

    @pytest.mark.parametrize(
        ("query", "passed", "status", "expected"),
        [
            ("", True, 200, "ok"),
            (
                "?verbose&exclude=log",
                True,
                200,
                "[+]ping ok\n[+]log excluded: ok\n[+]storage ok\nx check passed\n",
            ),
            (
                "?exclude=log",
                False,
                500,
                "[+]ping ok\n[+]log excluded: ok\n[-]storage failed: reason withheld\nx check failed\n",
            ),
            (
                "?verbose&exclude=b&exclude=storage&exclude=a&exclude=b",
                False,
                200,
                "[+]ping ok\n[+]log ok\n[+]storage excluded: ok\n"
                'warn: some health checks cannot be excluded: no matches for "a","b"\nx check passed\n',
            ),
            ("/storage?verbose", True, 200, "ok"),
            ("/storage?exclude=storage", False, 500, "internal server error: storage failed\n"),
        ],
    )
    def test_answers(self, query: str, passed: bool, status: int, expected: str) -> None:
        name, _, query = query.partition("?")
        found = Health().answer(
            "x",
            name[1:],
            {"ping": True, "log": True, "storage": passed},
            verbose=query.startswith("verbose"),
            excluded=[part[8:] for part in query.split("&") if part.startswith("exclude=")],
        )
        assert found == (status, expected.encode())

    async def test_headers(self, api: Api) -> None:
        for path, sniffed in (("/livez", True), ("/livez?verbose", True), ("/livez/ping", False)):
            answer = await api.get(path)
            assert answer.content_type == "text/plain; charset=utf-8"
            assert (b"X-Content-Type-Options" in answer.headers) == sniffed
