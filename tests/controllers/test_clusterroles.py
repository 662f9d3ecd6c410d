"""Aggregated ClusterRoles have the rules of those that they choose."""

from __future__ import annotations

from typing import Any

from fake_client import FakeClient, drain, make_context

from lakh.client.resources import CLUSTERROLES
from lakh.controllers.clusterroles import ClusterRoleAggregation


def rule(resource: str) -> dict[str, Any]:
    return {"verbs": ["get"], "apiGroups": [""], "resources": [resource]}


def role(client: FakeClient, name: str, *resources: str, **labels: str) -> None:
    rules = [rule(resource) for resource in resources]
    client.put(CLUSTERROLES, {"metadata": {"name": name, "labels": labels}, "rules": rules})


def aggregated(client: FakeClient, name: str, label: str, **labels: str) -> None:
    rule = {"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]}
    client.put(CLUSTERROLES, {"metadata": {"name": name, "labels": labels}, "aggregationRule": rule})


def resources(client: FakeClient, name: str) -> list[str]:
    found = client.one(CLUSTERROLES, name)
    return [each for rule in found.get("rules") or () for each in rule["resources"]]


async def test_rules_follow_the_chosen_roles(client: FakeClient) -> None:
    controller = ClusterRoleAggregation(make_context(client))
    role(client, "b", "pods", "nodes", view="true")
    role(client, "a", "secrets", "pods", view="true")
    role(client, "other", "services")
    aggregated(client, "view", "view", edit="true")
    aggregated(client, "edit", "edit")
    await drain(controller)
    assert resources(client, "view") == ["secrets", "pods", "nodes"]
    assert resources(client, "edit") == ["secrets", "pods", "nodes"]
    client.remove(CLUSTERROLES, "b", None)
    await drain(controller)
    assert resources(client, "view") == resources(client, "edit") == ["secrets", "pods"]
    writes = len(client.requests)
    controller.resync()
    await drain(controller)
    assert len(client.requests) == writes


async def test_a_role_does_not_choose_itself(client: FakeClient) -> None:
    controller = ClusterRoleAggregation(make_context(client))
    aggregated(client, "view", "view", view="true")
    role(client, "a", "pods", view="true")
    await drain(controller)
    assert resources(client, "view") == ["pods"]
