"""Namespaces: conditions, and emptying them on a fake API server."""

from __future__ import annotations

from collections import Counter

from fake_client import FakeClient, drain, make_context

from lakh.client.resources import CONFIGMAPS, NAMESPACES, NODES, PODS
from lakh.controllers.namespace import NamespaceController, Remains, conclude


def told(remains: Remains) -> dict[str, tuple[str, str | None, str | None]]:
    return {c.type: (c.status, c.reason, c.message) for c in conclude(remains)}


def test_conditions_of_an_empty_namespace() -> None:
    assert told(Remains()) == {
        "NamespaceDeletionDiscoveryFailure": (
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        "NamespaceDeletionGroupVersionParsingFailure": (
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        "NamespaceDeletionContentFailure": (
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        "NamespaceContentRemaining": ("False", "ContentRemoved", "All content successfully removed"),
        "NamespaceFinalizersRemaining": (
            "False",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    }


def test_conditions_of_what_remains() -> None:
    conditions = told(Remains({"pods.": 2, "widgets.example.com": 1}, Counter({"example.com/keep": 3})))
    assert conditions["NamespaceContentRemaining"] == (
        "True",
        "SomeResourcesRemain",
        "Some resources are remaining: pods. has 2 resource instances, widgets.example.com has 1 resource instances",
    )
    assert conditions["NamespaceFinalizersRemaining"] == (
        "True",
        "SomeFinalizersRemain",
        "Some content in the namespace has finalizers remaining: example.com/keep in 3 resource instances",
    )


def put_namespace(client: FakeClient) -> None:
    client.served = [PODS, CONFIGMAPS, NODES]
    client.put(
        NAMESPACES, {"metadata": {"name": "team", "_graceful": True}, "spec": {"finalizers": ["kubernetes"]}}
    )
    client.put(CONFIGMAPS, {"metadata": {"name": "settings", "namespace": "team"}})
    client.put(CONFIGMAPS, {"metadata": {"name": "settings", "namespace": "other"}})
    client.put(PODS, {"metadata": {"name": "web", "namespace": "team", "finalizers": ["example.com/keep"]}})


async def test_empties_and_finalizes(client: FakeClient) -> None:
    put_namespace(client)
    controller = NamespaceController(make_context(client))
    await drain(controller)
    assert len(client.all(CONFIGMAPS)) == 2

    client.change(NAMESPACES, "team", {"metadata": {"deletionTimestamp": "2023-11-14T22:13:20Z"}})
    await drain(controller)
    conditions = {c["type"]: c for c in client.one(NAMESPACES, "team")["status"]["conditions"]}
    assert conditions["NamespaceContentRemaining"]["message"] == (
        "Some resources are remaining: pods. has 1 resource instances"
    )
    # Pods go first; the rest waits for them.
    assert len(client.all(CONFIGMAPS)) == 2

    client.remove(PODS, "web", "team")
    controller.queue.add("team")
    await drain(controller)
    assert client.all(NAMESPACES) == []
    assert [config["metadata"]["namespace"] for config in client.all(CONFIGMAPS)] == ["other"]


async def test_pods_that_are_ending_are_not_told_again(client: FakeClient) -> None:
    put_namespace(client)
    controller = NamespaceController(make_context(client))
    client.change(NAMESPACES, "team", {"metadata": {"deletionTimestamp": "2023-11-14T22:13:20Z"}})
    await drain(controller)

    def told() -> int:
        return client.requests.count(("deletecollection", "pods", ""))

    assert told() == 1
    assert client.one(PODS, "web", "team")["metadata"]["deletionTimestamp"]
    controller.queue.add("team")
    await drain(controller)
    assert told() == 1

    client.put(PODS, {"metadata": {"name": "late", "namespace": "team"}})
    controller.queue.add("team")
    await drain(controller)
    assert told() == 2
