"""Service accounts of new pods: the account, its pull secrets, the volume with its token, and mirror pods (upstream's ServiceAccount plugin)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from .harness import Api

PODS = "/api/v1/namespaces/default/pods"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
MIRROR = "kubernetes.io/config.mirror"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    made = await api.call("POST", ACCOUNTS, {"metadata": {"name": "default"}})
    assert made.status in (201, 409)
    yield api
    await api.stop()


def pod(name: str, annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": "i"}]
    return {
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {"containers": containers, **spec},
    }


async def create(api: Api, obj: dict[str, Any]) -> Any:
    made = await api.call("POST", PODS, obj)
    assert made.status == 201, made.json
    return made.json


async def test_the_volume(api: Api) -> None:
    obj = pod("a", initContainers=[{"name": "i", "image": "i"}])
    made = await create(api, obj)
    (volume,) = made["spec"]["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    assert len(volume["name"]) == len("kube-api-access-") + 5
    field = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}, "path": "namespace"}
    root = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    assert volume["projected"] == {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": root},
            {"downwardAPI": {"items": [field]}},
        ],
    }
    mount = {"name": volume["name"], "readOnly": True, "mountPath": MOUNT_PATH}
    for container in (*made["spec"]["containers"], *made["spec"]["initContainers"]):
        assert container["volumeMounts"] == [mount]
    # What admission adds is nobody's field.
    assert "kube-api-access" not in str(made["metadata"]["managedFields"])


async def test_containers_that_have_something_there(api: Api) -> None:
    own = {"name": "own", "mountPath": MOUNT_PATH}
    obj = pod("a", volumes=[{"name": "own", "emptyDir": {}}])
    obj["spec"]["containers"][0]["volumeMounts"] = [own]
    made = await create(api, obj)
    assert [volume["name"] for volume in made["spec"]["volumes"]] == ["own"]
    assert made["spec"]["containers"][0]["volumeMounts"] == [own]
    # A copy of a pod that has the volume already gets no second one.
    obj = pod("b", volumes=[{"name": "kube-api-access-x", "emptyDir": {}}])
    made = await create(api, obj)
    assert [volume["name"] for volume in made["spec"]["volumes"]] == ["kube-api-access-x"]
    assert made["spec"]["containers"][0]["volumeMounts"][0]["name"] == "kube-api-access-x"


@pytest.mark.parametrize(
    ("of_account", "of_pod", "mounted"),
    [
        (None, None, True),
        (False, None, False),
        (False, True, True),
        (True, False, False),
        (None, False, False),
    ],
)
async def test_opting_out(api: Api, of_account: bool | None, of_pod: bool | None, mounted: bool) -> None:
    account: dict[str, Any] = {"metadata": {"name": "own"}}
    if of_account is not None:
        account["automountServiceAccountToken"] = of_account
    assert (await api.call("POST", ACCOUNTS, account)).status == 201
    obj = pod("a", serviceAccountName="own")
    if of_pod is not None:
        obj["spec"]["automountServiceAccountToken"] = of_pod
    made = await create(api, obj)
    assert ("volumes" in made["spec"]) is mounted


async def test_accounts_that_change(api: Api) -> None:
    """Pull secrets come from the account unless the pod has its own; the account is read as it is now."""
    assert "imagePullSecrets" not in (await create(api, pod("a")))["spec"]
    secrets = [{"name": "one"}, {"name": "two"}]
    patch = {"imagePullSecrets": secrets, "automountServiceAccountToken": False}
    kind = "application/merge-patch+json"
    changed = await api.call("PATCH", f"{ACCOUNTS}/default", patch, content_type=kind)
    assert changed.status == 200, changed.json
    made = await create(api, pod("b"))
    assert made["spec"]["imagePullSecrets"] == secrets
    assert "volumes" not in made["spec"]
    made = await create(api, pod("c", imagePullSecrets=[{"name": "mine"}]))
    assert made["spec"]["imagePullSecrets"] == [{"name": "mine"}]


async def test_no_such_account(api: Api) -> None:
    refused = await api.call("POST", PODS, pod("a", serviceAccountName="none"))
    assert refused.status == 403
    assert refused.json["message"] == (
        'pods "a" is forbidden: error looking up service account default/none: serviceaccount "none" not found'
    )


SECRET = {"name": "s", "key": "k"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, ""),
        ({"serviceAccountName": "default"}, "a mirror pod may not reference service accounts"),
        (
            {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]},
            "a mirror pod may not reference secrets",
        ),
        ({"imagePullSecrets": [{"name": "s"}]}, "a mirror pod may not reference secrets"),
        (
            {"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]},
            "a mirror pod may not use ServiceAccountToken volume projections",
        ),
    ],
)
async def test_mirror_pods(api: Api, spec: dict[str, Any], message: str) -> None:
    made = await api.call("POST", PODS, pod("m", {MIRROR: "x"}, nodeName="n", **spec))
    if message:
        assert made.status == 403
        assert made.json["message"] == f'pods "m" is forbidden: {message}'
    else:
        assert made.status == 201
        assert "volumes" not in made.json["spec"]
        assert "serviceAccountName" not in made.json["spec"]
