"""Informers of what is neither a pod nor a node: namespaces, and what the default spread constraints' selectors are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lakh.client.client import Client
from lakh.client.informer import Informer
from lakh.client.resources import (
    NAMESPACES,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    SERVICES,
    STATEFULSETS,
    Resource,
)

from .interpod import InterPodIndex
from .views import LabelSelector, Namespace, Service, WorkloadSet

__all__ = ["informers"]


def informers(
    client: Client, index: InterPodIndex, on_namespace: Callable[[str, dict[str, str] | None], None]
) -> list[Informer[Any]]:
    """The informers, telling the index of services and owners."""

    def watch(resource: Resource, view: type[Any], tell: Callable[[Any, bool], None]) -> Informer[Any]:
        informer: Informer[Any] = Informer(client, resource, view)
        informer.add_handler(
            on_add=lambda obj: tell(obj, True),
            on_update=lambda old, new: tell(new, True),
            on_delete=lambda obj: tell(obj, False),
        )
        return informer

    def namespace(obj: Namespace, there: bool) -> None:
        on_namespace(obj.metadata.name, obj.metadata.labels if there else None)

    def service(obj: Service, there: bool) -> None:
        index.set_service(
            obj.metadata.namespace or "", obj.metadata.name, obj.spec.selector if there else None
        )

    def owner(kind: str) -> Callable[[Any, bool], None]:
        def tell(obj: WorkloadSet | Service, there: bool) -> None:
            selector = obj.spec.selector
            if isinstance(selector, dict):
                selector = LabelSelector(matchLabels=selector)
            index.set_owner(
                kind, obj.metadata.namespace or "", obj.metadata.name, selector if there else None
            )

        return tell

    return [
        watch(NAMESPACES, Namespace, namespace),
        watch(SERVICES, Service, service),
        watch(REPLICASETS, WorkloadSet, owner("ReplicaSet")),
        watch(STATEFULSETS, WorkloadSet, owner("StatefulSet")),
        watch(REPLICATIONCONTROLLERS, Service, owner("ReplicationController")),
    ]
