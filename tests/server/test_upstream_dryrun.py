"""Requests with `dryRun=All` as upstream's test/integration/dryrun has them: answered as if, and nothing is written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from .harness import CONFIGMAPS, DEPLOYMENTS, PODS, Api, configmap, pod
from .test_custom_resources import DEFINITIONS, definition
from .test_upstream_apply import workload

NAMESPACES = "/api/v1/namespaces"
BINDING = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}}  # fmt: skip
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}}  # fmt: skip


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    await api.post(PODS, pod("a"))
    await api.post(CONFIGMAPS, configmap("a", key="value"))
    await api.post(DEPLOYMENTS, workload("Deployment", "a", replicas=1))
    yield api
    await api.stop()


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "code"),
    [
        pytest.param("POST", CONFIGMAPS, configmap("b"), "json", 201, id="DryRunCreateTest"),
        pytest.param("POST", CONFIGMAPS, configmap("a"), "json", 409, id="DryRunCreateTest: is there"),
        pytest.param("PUT", f"{CONFIGMAPS}/a", configmap("a", key="b"), "json", 200, id="DryRunUpdateTest"),
        pytest.param("PUT", f"{CONFIGMAPS}/b", configmap("b"), "json", 404, id="DryRunUpdateTest: is not there"),
        pytest.param("PATCH", f"{CONFIGMAPS}/a", {"data": {"b": "c"}}, "merge-patch+json", 200, id="DryRunPatchTest"),
        pytest.param("PATCH", f"{CONFIGMAPS}/b", configmap("b"), "apply-patch+yaml", 201, id="DryRunPatchTest: apply"),
        pytest.param("PATCH", f"{DEPLOYMENTS}/a/status", {"status": {"replicas": 3}}, "merge-patch+json", 200, id="DryRunStatusTest"),
        pytest.param("PATCH", f"{DEPLOYMENTS}/a/scale", {"spec": {"replicas": 3}}, "merge-patch+json", 200, id="DryRunScalePatchTest"),
        pytest.param("DELETE", f"{CONFIGMAPS}/a", None, "json", 200, id="DryRunDeleteTest"),
        pytest.param("DELETE", f"{PODS}/a", None, "json", 200, id="DryRunDeleteTest: pod"),
        pytest.param("DELETE", CONFIGMAPS, None, "json", 200, id="DryRunDeleteCollectionTest"),
        pytest.param("DELETE", f"{NAMESPACES}/kube-node-lease", None, "json", 200, id="DryRunDeleteTest: namespace"),
        pytest.param("POST", f"{PODS}/a/binding", BINDING, "json", 201, id="binding"),
        pytest.param("POST", "/api/v1/namespaces/default/services", SERVICE, "json", 201, id="TestDryRun: service"),
        pytest.param("POST", DEFINITIONS, definition(), "json", 201, id="TestDryRun: customresourcedefinition"),
    ],
)  # fmt: skip
async def test_nothing_is_written(api: Api, method: str, path: str, body: Any, kind: str, code: int) -> None:
    partitions = api.server.cluster.partitions.values()
    before = [p.revision for p in partitions]
    query = "?dryRun=All&fieldManager=m" if method != "DELETE" else "?dryRun=All"
    answer = await api.call(method, path + query, body, content_type=f"application/{kind}")
    assert answer.status == code, answer
    assert [p.revision for p in partitions] == before
