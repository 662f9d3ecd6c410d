"""What every kind does unless it is old: upstream's test/integration/apiserver/apidefinitions, read from the strategies."""

from __future__ import annotations

import pytest

from lakh.apis.catalogue import registry
from lakh.apis.registry import Resource

WRITTEN = [r for r in registry().all() if {"create", "update"} <= set(r.verbs)]
WITH_STATUS = [r for r in WRITTEN if "status" in r.subresources]

# TestAllowCreateOnUpdate: leases, and kinds of old.
CREATED_BY_UPDATE = frozenset(
    (
        "clusterrolebindings",
        "clusterroles",
        "endpoints",
        "events",
        "leasecandidates",
        "leases",
        "limitranges",
        "rolebindings",
        "roles",
        "runtimeclasses",
        "services",
    )
)
# TestDefaultGarbageCollectionPolicy: their dependents stay.
ORPHANING = frozenset(("jobs", "replicationcontrollers"))
# TestGenerationManagement: they have a status and no generation. Horizontal pod autoscalers count only behind a gate that is off in v1.36.
WITHOUT_GENERATION = frozenset(
    (
        "apiservices",
        "certificatesigningrequests",
        "horizontalpodautoscalers",
        "namespaces",
        "nodes",
        "persistentvolumeclaims",
        "persistentvolumes",
        "resourceclaims",
        "resourcequotas",
        "servicecidrs",
        "services",
        "volumeattachments",
    )
)


def named(resource: Resource) -> str:
    return f"{resource.plural}.{resource.version}.{resource.group}"


@pytest.mark.parametrize("resource", WRITTEN, ids=named)
def test_created_by_update(resource: Resource) -> None:
    assert resource.strategy.allow_create_on_update == (resource.plural in CREATED_BY_UPDATE)


@pytest.mark.parametrize("resource", WRITTEN, ids=named)
def test_propagation(resource: Resource) -> None:
    expected = "Orphan" if resource.plural in ORPHANING else "Background"
    assert resource.strategy.default_propagation == expected


@pytest.mark.parametrize("resource", WITH_STATUS, ids=named)
def test_generation(resource: Resource) -> None:
    assert resource.strategy.generation == (resource.plural not in WITHOUT_GENERATION)
