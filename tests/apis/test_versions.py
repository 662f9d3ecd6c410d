"""What endpoints write, as upstream's GetResetFields says, and the versions of built-in kinds."""

from __future__ import annotations

from typing import Any

import pytest

from lakh.apis.catalogue import registry
from lakh.apis.definitions import schema
from lakh.apis.registry import STATUS_METADATA, Resource
from lakh.apis.versions import BuiltinVersions, endpoint_of
from lakh.machinery.fieldset import EMPTY
from lakh.machinery.tracking import Endpoint

WITH_STATUS = [r for r in registry().all() if r.strategy.has_status]
# Strategies whose status endpoint resets metadata.
WITHOUT_METADATA = {
    "apiservices",
    "customresourcedefinitions",
    "flowschemas",
    "prioritylevelconfigurations",
    "resourceclaims",
    "validatingadmissionpolicies",
    "volumeattachments",
}


def endpoint(resource: Resource, subresource: str) -> Endpoint:
    node = schema().node(resource.definition)
    versions = BuiltinVersions(resource)
    return endpoint_of(resource.api_version, node, resource.strategy, subresource, versions)


def resource(group: str, version: str, plural: str) -> Resource:
    found = registry().get(group, version, plural)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", WITH_STATUS, ids=repr)
def test_an_object_leaves_its_status_alone_and_status_its_object(kind: Resource) -> None:
    assert "status" in endpoint(kind, "").ignored
    status = endpoint(kind, "status")
    assert "spec" in status.ignored and "status" not in status.ignored
    assert ("metadata" in status.ignored) == (kind.plural in WITHOUT_METADATA)
    kept = set(kind.strategy.status_keeps)
    if kind.plural in WITHOUT_METADATA - {"customresourcedefinitions"}:
        assert kept == set(STATUS_METADATA)
    else:
        assert kept == ({"labels"} if kind.plural == "deployments" else set())


@pytest.mark.parametrize(
    ("kind", "subresource", "fields", "kept"),
    [
        (
            resource("", "v1", "pods"),
            "status",
            {"f:metadata": {"f:labels": EMPTY, "f:ownerReferences": {".": EMPTY, "k:{}": EMPTY}}},
            {"f:metadata": {"f:labels": EMPTY}},
        ),
        (
            resource("", "v1", "pods"),
            "ephemeralcontainers",
            {
                "f:metadata": {"f:labels": EMPTY},
                "f:spec": {"f:ephemeralContainers": {".": EMPTY}, "f:x": EMPTY},
            },
            {"f:spec": {"f:ephemeralContainers": {".": EMPTY}}},
        ),
        (
            resource("", "v1", "pods"),
            "resize",
            {
                "f:spec": {
                    "f:containers": {".": EMPTY, "k:1": {".": EMPTY, "f:name": EMPTY, "f:resources": EMPTY}}
                }
            },
            {"f:spec": {"f:containers": {"k:1": {"f:resources": EMPTY}}}},
        ),
        (
            resource("certificates.k8s.io", "v1", "certificatesigningrequests"),
            "approval",
            {"f:status": {"f:certificate": EMPTY, "f:conditions": {"k:1": EMPTY}}},
            {"f:status": {"f:conditions": {"k:1": EMPTY}}},
        ),
    ],
)
def test_what_is_cut(kind: Resource, subresource: str, fields: Any, kept: Any) -> None:
    cut = endpoint(kind, subresource).kept
    assert cut is not None
    assert cut(fields) == kept


def test_requests_for_certificates_are_nobodys() -> None:
    kind = resource("certificates.k8s.io", "v1", "certificatesigningrequests")
    assert endpoint(kind, "").ignored == {"spec", "status"}


def test_versions_convert_into_each_other() -> None:
    versions = BuiltinVersions(resource("autoscaling", "v1", "horizontalpodautoscalers"))
    assert versions.shape("autoscaling/v2beta1") is None
    obj = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"},
        "spec": {"maxReplicas": 2, "targetCPUUtilizationPercentage": 50},
    }
    as_v2 = versions.convert(obj, "autoscaling/v2")
    assert as_v2["apiVersion"] == "autoscaling/v2"
    assert as_v2["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 50
    # What is stored is defaulted.
    assert versions.convert(as_v2, "autoscaling/v1")["spec"] == {**obj["spec"], "minReplicas": 1}
