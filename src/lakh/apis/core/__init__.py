"""core/v1: a file for each kind or small family of kinds. `RESOURCES` is in the order of discovery, which is alphabetical."""

from __future__ import annotations

from lakh.apis.core import (
    configuration,
    endpoints,
    events,
    limits,
    namespaces,
    nodes,
    pods,
    services,
    storage,
    virtual,
    workloads,
)
from lakh.apis.registry import Resource

RESOURCES: tuple[Resource, ...] = tuple(
    sorted(
        (
            *configuration.RESOURCES,
            *endpoints.RESOURCES,
            *events.RESOURCES,
            *limits.RESOURCES,
            *namespaces.RESOURCES,
            *nodes.RESOURCES,
            *pods.RESOURCES,
            *services.RESOURCES,
            *storage.RESOURCES,
            *virtual.RESOURCES,
            *workloads.RESOURCES,
        ),
        key=lambda resource: resource.plural,
    )
)
