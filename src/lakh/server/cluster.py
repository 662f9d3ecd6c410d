"""The cluster's state as the server holds it: partitions and the resources in them."""

from __future__ import annotations

import msgspec

from lakh.apis.custom import CustomResource
from lakh.apis.registry import Registry, Resource
from lakh.server.builtin_stores import CertificateSigningRequestStore, NamespaceStore
from lakh.server.custom_store import CustomResourceDefinitionStore, CustomStore
from lakh.server.serviceaddresses import ServiceStore
from lakh.server.storage import ResourceStore
from lakh.store.partition import Partition

# Own journal, revision counter and writer each (DESIGN: partitions by resource type).
PARTITIONS = ("pods", "nodes", "leases", "events", "default")


STORES: dict[str, type[ResourceStore]] = {
    "namespaces": NamespaceStore,
    "services": ServiceStore,
    "certificatesigningrequests.certificates.k8s.io": CertificateSigningRequestStore,
    "customresourcedefinitions.apiextensions.k8s.io": CustomResourceDefinitionStore,
}


class NamespaceView(msgspec.Struct, gc=False):
    """What admission needs to know of a namespace."""

    class Metadata(msgspec.Struct, gc=False):
        """Of its metadata."""

        name: str
        deletionTimestamp: str | None = None
        labels: dict[str, str] | None = None
        annotations: dict[str, str] | None = None

    metadata: Metadata


_decode_namespace = msgspec.json.Decoder(NamespaceView).decode


class Cluster:
    """All partitions and resource stores."""

    def __init__(self, registry: Registry, partitions: dict[str, Partition]) -> None:
        # Our own copy: custom resources come and go.
        self.registry = registry.copy()
        self.partitions = partitions
        self._stores: dict[Resource, ResourceStore] = {}
        self._namespaces: dict[str, tuple[int, NamespaceView]] = {}

    def store(self, resource: Resource) -> ResourceStore:
        """The store of a resource."""
        store = self._stores.get(resource)
        if store is None:
            kind = (
                CustomStore
                if isinstance(resource, CustomResource)
                else STORES.get(resource.table, ResourceStore)
            )
            store = self._stores[resource] = kind(resource, self.partitions[resource.partition])
        return store

    def forget(self, resource: Resource) -> None:
        """Drops the store of a resource that is served no more."""
        self._stores.pop(resource, None)

    def named(self, group: str, version: str, plural: str) -> ResourceStore:
        """The store at a path; the resource must be served."""
        resource = self.registry.get(group, version, plural)
        if resource is None:
            raise KeyError(f"{group}/{version}/{plural} is not served")
        return self.store(resource)

    def namespace(self, name: str) -> NamespaceView | None:
        """A namespace as it is now, decoded once a revision; None when there is none."""
        item = self.partitions["default"].get(f"namespaces//{name}")
        if item is None:
            self._namespaces.pop(name, None)
            return None
        known = self._namespaces.get(name)
        if known is None or known[0] != item.revision:
            known = self._namespaces[name] = (item.revision, _decode_namespace(item.value))
        return known[1]
