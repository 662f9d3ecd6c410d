"""The default roles are there, and are completed, not reset."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from lakh.apis import roledefaults
from lakh.server.roles import covers, reconcile_roles
from tests.server.harness import Api

ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    await reconcile_roles(api.server.cluster)
    yield api
    await api.stop()


async def test_roles_and_bindings(api: Api) -> None:
    view = (await api.get(f"{ROLES}/view")).json
    assert view["metadata"]["labels"] == {
        "kubernetes.io/bootstrapping": "rbac-defaults",
        "rbac.authorization.k8s.io/aggregate-to-edit": "true",
    }
    assert view["metadata"]["annotations"] == {"rbac.authorization.kubernetes.io/autoupdate": "true"}
    assert view["aggregationRule"] == {
        "clusterRoleSelectors": [{"matchLabels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}]
    }
    scheduler = (await api.get(f"{ROLES}/system:kube-scheduler")).json["rules"]
    assert scheduler[0] == {
        "verbs": ["create", "patch", "update"],
        "apiGroups": ["", "events.k8s.io"],
        "resources": ["events"],
    }
    binding = (await api.get(f"{BINDINGS}/system:controller:job-controller")).json
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "job-controller", "namespace": "kube-system"}
    ]
    masters = (await api.get(f"{BINDINGS}/cluster-admin")).json
    assert masters["subjects"][0]["name"] == "system:masters"
    readers = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings"
    found = (await api.get(f"{readers}/system::extension-apiserver-authentication-reader")).json
    assert found["roleRef"]["name"] == "extension-apiserver-authentication-reader"


async def test_a_second_time_changes_nothing(api: Api) -> None:
    before = (await api.get(ROLES)).json["metadata"]["resourceVersion"]
    await reconcile_roles(api.server.cluster)
    assert (await api.get(ROLES)).json["metadata"]["resourceVersion"] == before


async def test_what_is_missing_comes_back_and_what_was_added_stays(api: Api) -> None:
    path = f"{ROLES}/system:kube-dns"
    own = {"verbs": ["get"], "apiGroups": ["x"], "resources": ["y"]}
    await api.patch(path, {"rules": [own]})
    await api.delete(f"{BINDINGS}/system:kube-scheduler")
    await reconcile_roles(api.server.cluster)
    rules = (await api.get(path)).json["rules"]
    assert rules[0] == own and len(rules) == 3
    assert (await api.get(f"{BINDINGS}/system:kube-scheduler")).status == 200


async def test_who_says_no_is_left_alone(api: Api) -> None:
    path = f"{ROLES}/system:kube-dns"
    await api.patch(path, {"metadata": {"annotations": {roledefaults.AUTOUPDATE: "false"}}, "rules": []})
    await reconcile_roles(api.server.cluster)
    assert not (await api.get(path)).json.get("rules")


async def test_a_binding_to_another_role_is_made_anew(api: Api) -> None:
    path = f"{BINDINGS}/system:node-proxier"
    wrong = (await api.get(path)).json
    await api.delete(path)
    wrong["roleRef"]["name"] = "admin"
    del wrong["metadata"]["resourceVersion"]
    assert (await api.post(BINDINGS, wrong)).status == 201
    await reconcile_roles(api.server.cluster)
    assert (await api.get(path)).json["roleRef"]["name"] == "system:node-proxier"


def test_every_default_is_well_formed() -> None:
    for make in (
        roledefaults.cluster_roles,
        roledefaults.roles,
        roledefaults.cluster_role_bindings,
        roledefaults.role_bindings,
    ):
        keys = [(o["metadata"].get("namespace"), o["metadata"]["name"]) for o in make()]
        assert len(keys) == len(set(keys))


def test_rules_that_cover_others() -> None:
    def rule(verbs: str, resources: str, groups: str = "", names: str = "") -> dict[str, Any]:
        found = {"verbs": verbs.split(), "resources": resources.split(), "apiGroups": [groups]}
        return {**found, "resourceNames": names.split()} if names else found

    assert covers([rule("get", "pods"), rule("list", "pods nodes")], rule("get list", "pods"))
    assert not covers([rule("get", "pods", names="a")], rule("get", "pods"))
    assert covers([rule("get", "pods")], rule("get", "pods", names="a"))
    assert covers([rule("*", "*", "*")], rule("get", "pods/log", "apps"))
    assert covers([rule("get", "*/scale")], rule("get", "deployments/scale"))
    assert not covers([rule("get", "*/scale")], rule("get", "deployments"))
    assert covers(
        [{"verbs": ["get"], "nonResourceURLs": ["/api*"]}], {"verbs": ["get"], "nonResourceURLs": ["/apis"]}
    )
