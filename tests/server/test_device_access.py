"""Administrators' access to devices: only in namespaces that consent (upstream's AuthorizedForAdmin, KEP-5018)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from .harness import Api

LABEL = "resource.kubernetes.io/admin-access"
CLAIMS = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"
TEMPLATES = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


def claim(admin: bool) -> dict[str, Any]:
    request = {"name": "a", "exactly": {"deviceClassName": "gpu", "adminAccess": admin}}
    return {"metadata": {"name": "c"}, "spec": {"devices": {"requests": [request]}}}


async def test_the_namespace_must_consent(api: Api) -> None:
    template = {"metadata": {"name": "t"}, "spec": {"spec": claim(True)["spec"]}}
    for path, obj, kind in (
        (CLAIMS, claim(True), "ResourceClaim"),
        (TEMPLATES, template, "ResourceClaimTemplate"),
    ):
        refused = await api.call("POST", path, obj)
        assert refused.status == 422
        assert refused.json["message"] == (
            f'{kind}.resource.k8s.io "{obj["metadata"]["name"]}" is invalid: spec.devices.requests[0].adminAccess: '
            f"Forbidden: admin access to devices requires the `{LABEL}: true` label on the containing namespace"
        )
    label = {"metadata": {"labels": {LABEL: "true"}}}
    assert (await api.patch("/api/v1/namespaces/default", label)).status == 200
    assert (await api.call("POST", CLAIMS, claim(True))).status == 201
    assert (await api.call("POST", TEMPLATES, template)).status == 201


async def test_an_allocation_needs_consent_too(api: Api) -> None:
    made = (await api.call("POST", CLAIMS, claim(False))).json
    result = {"request": "a", "driver": "d", "pool": "p", "device": "x", "adminAccess": True}
    made["status"] = {"allocation": {"devices": {"results": [result]}}}
    refused = await api.call("PUT", f"{CLAIMS}/c/status", made)
    assert refused.status == 422
    assert refused.json["details"]["causes"][0]["field"] == (
        "status.allocation.devices.results[0].adminAccess"
    )
    del result["adminAccess"]
    assert (await api.call("PUT", f"{CLAIMS}/c/status", made)).status == 200
