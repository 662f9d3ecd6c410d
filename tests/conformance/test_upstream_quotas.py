"""Upstream's conformance tests of what ResourceQuotas count."""

from __future__ import annotations

from typing import Any

import pytest

from . import manifests
from .cluster import eventually
from .rest import Rest
from .test_upstream_apps import replica_set
from .test_upstream_garbage import controller
from .upstream import covers

pytestmark = pytest.mark.xdist_group("conformance")


class Quota:
    """A quota in a namespace of its own."""

    def __init__(self, rest: Rest, namespace: str, name: str, hard: dict[str, str], **spec: Any) -> None:
        self.rest = rest
        self.path = f"/api/v1/namespaces/{namespace}/resourcequotas"
        self.name = name
        self.hard = hard
        body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}}
        rest.post(self.path, {**body, "spec": {"hard": hard, **spec}}).ok(201)

    def used(self, **wanted: str) -> None:
        """Waits until that is what its status says."""

        def told() -> bool:
            status = self.rest.get(f"{self.path}/{self.name}").ok(200).get("status", {})
            assert status == {"hard": self.hard, "used": wanted}
            return True

        eventually(told, f"quota {self.name}")


@covers("ResourceQuota should create a ResourceQuota and ensure its status is promptly calculated.")
def test_status(rest: Rest, namespace: str) -> None:
    Quota(rest, namespace, "q", {"resourcequotas": "5", "services": "10"}).used(
        resourcequotas="1", services="0"
    )


@pytest.mark.parametrize(
    ("name", "group", "body"),
    [
        ("secrets", "api/v1", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "c"}}),
        ("configmaps", "api/v1", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}),
        ("replicationcontrollers", "api/v1", controller("c", 0)),
        ("count/replicasets.apps", "apis/apps/v1", replica_set("c", 0)),
    ],
)
@covers(
    "ResourceQuota should create a ResourceQuota and capture the life of a secret.",
    "ResourceQuota should create a ResourceQuota and capture the life of a configMap.",
    "ResourceQuota should create a ResourceQuota and capture the life of a replication controller.",
    "ResourceQuota should create a ResourceQuota and capture the life of a replica set.",
)
def test_life(rest: Rest, namespace: str, name: str, group: str, body: dict[str, Any]) -> None:
    plural = name.removeprefix("count/").partition(".")[0]
    path = f"/{group}/namespaces/{namespace}/{plural}"
    if name == "configmaps":
        # Every namespace has the cluster's certificate.
        eventually(lambda: rest.get(path).ok(200)["items"], "kube-root-ca.crt")
    before = len(rest.get(path).ok(200)["items"])
    quota = Quota(rest, namespace, "q", {name: "10"})
    quota.used(**{name: str(before)})
    rest.post(path, body).ok(201)
    quota.used(**{name: str(before + 1)})
    rest.delete(f"{path}/c").ok(200)
    quota.used(**{name: str(before)})


@pytest.mark.parametrize(
    ("scopes", "pods"),
    [
        (
            ("BestEffort", "NotBestEffort"),
            (
                {"containers": [{"name": "c", "image": "pause"}]},
                manifests.pod("c")["spec"],
            ),
        ),
        (
            ("Terminating", "NotTerminating"),
            (
                {**manifests.pod("c")["spec"], "activeDeadlineSeconds": 3600},
                manifests.pod("c")["spec"],
            ),
        ),
    ],
    ids=("best-effort", "terminating"),
)
@covers(
    "ResourceQuota should verify ResourceQuota with best effort scope.",
    "ResourceQuota should verify ResourceQuota with terminating scopes.",
)
def test_scopes(
    rest: Rest, namespace: str, scopes: tuple[str, str], pods: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    one, other = (Quota(rest, namespace, scope.lower(), {"pods": "5"}, scopes=[scope]) for scope in scopes)
    path = f"/api/v1/namespaces/{namespace}/pods"
    for quota, empty, spec in ((one, other, pods[0]), (other, one, pods[1])):
        rest.post(path, {**manifests.pod("p"), "spec": spec}).ok(201)
        quota.used(pods="1")
        empty.used(pods="0")
        rest.delete(f"{path}/p?gracePeriodSeconds=0").ok(200)
        quota.used(pods="0")
        empty.used(pods="0")
