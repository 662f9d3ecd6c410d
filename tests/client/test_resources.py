from __future__ import annotations

import pytest

from lakh.client.resources import DEPLOYMENTS, NODES, PODS, Resource, object_reference
from lakh.client.types import ObjectMeta, ObjectReference, ObjectView


def test_paths():
    assert PODS.path() == "/api/v1/pods"
    assert PODS.path("ns") == "/api/v1/namespaces/ns/pods"
    assert PODS.path("ns", "a", "log") == "/api/v1/namespaces/ns/pods/a/log"
    assert DEPLOYMENTS.path("ns", "a") == "/apis/apps/v1/namespaces/ns/deployments/a"
    assert NODES.path("ignored", "n1") == "/api/v1/nodes/n1"
    roles = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False)
    assert roles.path(None, "system:node").endswith("/clusterroles/system:node")
    assert roles.path(None, "a/b c?") == f"{roles.root}/clusterroles/a%2Fb%20c%3F"
    assert roles.path(None, "..") == f"{roles.root}/clusterroles/%2E%2E"
    with pytest.raises(ValueError, match="may not be empty"):
        NODES.path(None, "")


def test_reference():
    view = ObjectView(ObjectMeta(name="a", namespace="ns", uid="u", resourceVersion="1"))
    assert object_reference(DEPLOYMENTS, view) == ObjectReference(
        kind="Deployment", namespace="ns", name="a", uid="u", apiVersion="apps/v1", resourceVersion="1"
    )
