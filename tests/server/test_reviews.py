"""Reviews that cannot be answered are refused as upstream refuses them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from .harness import Api

AUTHORIZATION = "/apis/authorization.k8s.io/v1"
TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
PODS = {"verb": "get", "resource": "pods", "namespace": "default"}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


@pytest.mark.parametrize(
    ("path", "body", "code", "message"),
    [
        (
            f"{AUTHORIZATION}/subjectaccessreviews",
            {"spec": {"resourceAttributes": PODS}},
            422,
            'SubjectAccessReview.authorization.k8s.io "" is invalid: spec.user: Invalid value: "": at least one of user or '
            "group must be specified",
        ),
        (
            f"{AUTHORIZATION}/selfsubjectaccessreviews",
            {"metadata": {"name": "n"}, "spec": {"resourceAttributes": PODS}},
            422,
            'SelfSubjectAccessReview.authorization.k8s.io "n" is invalid: metadata: Invalid value: {"name":"n"}: must be empty',
        ),
        (
            f"{AUTHORIZATION}/namespaces/other/localsubjectaccessreviews",
            {"spec": {"user": "u", "resourceAttributes": PODS}},
            422,
            'spec.resourceAttributes.namespace: Invalid value: "default": must match metadata.namespace',
        ),
        (f"{AUTHORIZATION}/selfsubjectrulesreviews", {"spec": {}}, 400, "no namespace on request"),
        (TOKENS, {"spec": {}}, 400, "token is required for TokenReview in authentication"),
    ],
)
async def test_refused(api: Api, path: str, body: dict[str, Any], code: int, message: str) -> None:
    answer = await api.call("POST", path, body)
    assert answer.status == code
    assert message in answer.json["message"]


async def test_answered(api: Api) -> None:
    for path, body in (
        (f"{AUTHORIZATION}/selfsubjectaccessreviews", {"spec": {"resourceAttributes": PODS}}),
        (
            f"{AUTHORIZATION}/namespaces/default/localsubjectaccessreviews",
            {"spec": {"user": "u", "resourceAttributes": PODS}},
        ),
        (f"{AUTHORIZATION}/selfsubjectrulesreviews", {"spec": {"namespace": "default"}}),
    ):
        answer = await api.call("POST", path, body)
        assert answer.status == 201, answer
        assert answer.json["status"]
