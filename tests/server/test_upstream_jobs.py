"""Jobs as upstream's pkg/registry/batch/job/{strategy,storage/storage}_test.go have them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from .harness import Api

JOBS = "/apis/batch/v1/namespaces/default/jobs"
PRESERVED = "child pods are preserved by default when jobs are deleted"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


def job(restart: str = "Never", **spec: Any) -> dict[str, Any]:
    template = {"spec": {"restartPolicy": restart, "containers": [{"name": "c", "image": "i"}]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "a"},
        "spec": {"template": template, **spec},
    }


@pytest.mark.parametrize(
    ("query", "body", "warned"),
    [
        ("", None, True),
        ("", {"gracePeriodSeconds": 0}, True),
        ("?propagationPolicy=Orphan", None, False),
        ("", {"propagationPolicy": "Background"}, False),
        ("", {"orphanDependents": True}, False),
    ],
)
async def test_deletion_warns(api: Api, query: str, body: Any, warned: bool) -> None:
    """TestJobDeletion."""
    await api.post(JOBS, job())
    answer = await api.delete(f"{JOBS}/a{query}", body)
    assert answer.status == 200, answer
    assert [PRESERVED in w for w in answer.warnings] == [True] * warned


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (job("Always"), 'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'),
        (job(backoffLimitPerIndex=1), "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"),
        (job(manualSelector=True, selector={"matchLabels": {"x": "y"}}), "`selector` does not match template `labels`"),
        (job(selector={"matchLabels": {"x": "y"}}), "`selector` not auto-generated"),
        (
            job("OnFailure", podFailurePolicy={"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}}]}),
            'only "Never" is supported when podFailurePolicy is specified',
        ),
    ],
)  # fmt: skip
async def test_refused(api: Api, sent: dict[str, Any], text: str) -> None:
    """TestJobStrategy_Validate."""
    answer = await api.post(JOBS, sent)
    assert answer.status == 422
    assert text in answer.json["message"]


@pytest.mark.parametrize(
    ("first", "change", "text"),
    [
        ({}, {"completions": 5}, "spec.completions: Invalid value: 5: field is immutable"),
        ({}, {"completionMode": "Indexed"}, "spec.completionMode: Invalid value"),
        ({}, {"parallelism": 5}, ""),
        ({"suspend": True}, {"template": {"spec": {"nodeSelector": {"a": "b"}}}}, ""),
        ({}, {"template": {"spec": {"nodeSelector": {"a": "b"}}}}, "spec.template: Invalid value"),
        ({"completionMode": "Indexed", "completions": 3}, {"completions": 4}, "can only be modified in tandem with spec.parallelism"),
        ({"completionMode": "Indexed", "completions": 3, "parallelism": 3}, {"completions": 4, "parallelism": 4}, ""),
        ({"managedBy": "a.b/c"}, {"managedBy": "x.y/z"}, "spec.managedBy: Invalid value"),
    ],
)  # fmt: skip
async def test_updates(api: Api, first: dict[str, Any], change: dict[str, Any], text: str) -> None:
    """TestJobStrategy_ValidateUpdate, TestJobStrategy_PrepareForUpdate: what changes counts a generation."""
    await api.post(JOBS, job(**first))
    answer = await api.patch(f"{JOBS}/a", {"spec": change}, "strategic-merge-patch+json")
    if text:
        assert answer.status == 422, answer
        assert text in answer.json["message"]
    else:
        assert (answer.status, answer.json["metadata"]["generation"]) == (200, 2), answer
