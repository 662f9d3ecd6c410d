"""`Warning` headers that are no kind's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from lakh.server.context import WARNING_MAX_CHARACTERS, warning_headers

from .harness import CONFIGMAPS, Api, configmap


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "1"}
TWICE = (
    '299 - ".metadata.ownerReferences contains duplicate entries{}; API server dedups owner references in 1.20+, and may reject such requests '
    'as early as 1.24; please fix your requests; duplicate UID(s) observed: 1"'
)


def owned(*owners: dict[str, Any]) -> dict[str, Any]:
    made = configmap("c")
    made["metadata"]["ownerReferences"] = list(owners)
    return made


async def test_owners_are_there_once(api: Api) -> None:
    other = {**OWNER, "name": "p"}
    for answer in (
        await api.post(CONFIGMAPS, owned(OWNER, other, OWNER)),
        await api.put(f"{CONFIGMAPS}/c", owned(OWNER, other, OWNER)),
    ):
        assert answer.warnings == [TWICE.format("")]
        assert answer.json["metadata"]["ownerReferences"] == [OWNER, other]
    patched = await api.patch(f"{CONFIGMAPS}/c", {"metadata": {"ownerReferences": [OWNER, OWNER]}})
    assert patched.warnings == [TWICE.format(" after mutating admission happens")]
    assert patched.json["metadata"]["ownerReferences"] == [OWNER]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/api/v1/endpoints", "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        ("/api/v1/componentstatuses", "v1 ComponentStatus is deprecated in v1.19+"),
    ],
)
async def test_deprecated_kinds(api: Api, path: str, text: str) -> None:
    assert (await api.get(path)).warnings == [f'299 - "{text}"']


async def test_secrets_that_are_no_pair(api: Api) -> None:
    data = {"tls.crt": "", "tls.key": ""}
    secret = {"metadata": {"name": "s"}, "type": "kubernetes.io/tls", "data": data}
    made = await api.post("/api/v1/namespaces/default/secrets", secret)
    assert made.warnings == ['299 - "tls: failed to find any PEM data in certificate input"']


async def test_service_accounts(api: Api) -> None:
    name, path = "kubernetes.io/enforce-mountable-secrets", "/api/v1/namespaces/default/serviceaccounts"
    secrets = [{"name": "s", "namespace": "other", "kind": "Secret"}]
    account = {"metadata": {"name": "a", "annotations": {name: "true"}}, "secrets": secrets}
    made = await api.post(path, account)
    assert made.warnings == [
        f'299 - "metadata.annotations[{name}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"'
    ]
    assert made.json["secrets"] == [{"name": "s"}]
    assert (await api.put(f"{path}/a", account)).warnings == []


async def test_deprecation_goes_before_other_warnings(api: Api) -> None:
    subset = {"addresses": [{"ip": "2001:DB8::1"}]}
    made = await api.post(
        "/api/v1/namespaces/default/endpoints", {"metadata": {"name": "e"}, "subsets": [subset]}
    )
    deprecation, form = made.warnings
    assert "deprecated" in deprecation and "RFC 5952" in form


def texts(*warnings: str) -> list[str]:
    return [value.decode().removeprefix('299 - "')[:-1] for _, value in warning_headers(warnings)]


def test_short_warnings_are_whole() -> None:
    long = "é" * 1000
    assert texts("a", long, "a", "") == ["a", long]


def test_many_warnings_are_cut() -> None:
    long = [f"{i:03d}" + "x" * 1000 for i in range(50)]
    assert texts(*long) == [text[:WARNING_MAX_CHARACTERS] for text in long[:16]]


def test_warnings_are_quoted() -> None:
    assert texts('a "b" \\') == ['a \\"b\\" \\\\']
    assert texts("a\nb", "c") == ["c"]
