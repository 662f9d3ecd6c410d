"""One object of a kind for each node, as drivers publish them: made when the Node is there, and again when it or its Node was made anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from lakh.client.client import Client
from lakh.client.errors import ApiError, is_already_exists
from lakh.client.informer import Informer
from lakh.client.resources import NODES, Resource
from lakh.client.tasks import TaskGuard
from lakh.client.workqueue import WorkQueue

__all__ = ["PerNode"]

WORKERS = 16


class _Meta(msgspec.Struct, gc=False):
    name: str = ""
    namespace: str | None = None
    uid: str = ""
    resourceVersion: str | None = None


class _Named(msgspec.Struct, gc=False):
    metadata: _Meta


class PerNode:
    """Publishes `body(index, uid of the Node)` for the nodes of `index_of`, named as the node with `suffix`; before that `first`."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        index_of: Mapping[str, int],
        body: Callable[[int, str], dict[str, Any]],
        *,
        suffix: str = "",
        field_selector: str | None = None,
        first: Sequence[tuple[Resource, dict[str, Any]]] = (),
    ) -> None:
        self._client = client
        self._resource = resource
        self._index_of = index_of
        self._body = body
        self._suffix = suffix
        self._first = first
        self._queue = WorkQueue(resource.plural)
        self._nodes = Informer(client, NODES, _Named)
        self._objects = Informer(client, resource, _Named, field_selector=field_selector)
        self._nodes.add_handler(on_add=self._node)
        self._objects.add_handler(on_delete=self._gone)

    def __repr__(self) -> str:
        return f"<PerNode {len(self._index_of)} {self._resource.plural}>"

    def _node(self, node: _Named) -> None:
        if node.metadata.name in self._index_of:
            self._queue.add(node.metadata.name)

    def _gone(self, found: _Named) -> None:
        self._queue.add(found.metadata.name.removesuffix(self._suffix))

    async def run(self) -> None:
        """Publish until cancelled."""
        async with TaskGuard(self._resource.plural) as guard:
            for informer in (self._nodes, self._objects):
                guard.spawn(informer.run(), name="informer", forever=True)
            self._queue.add("")
            await self._objects.wait_synced()
            await self._queue.run(self.reconcile, WORKERS)

    async def reconcile(self, key: str) -> None:
        """What comes first (no name), or one node's object. Raising makes the queue try again."""
        if not key:
            for resource, body in self._first:
                await self._create(resource, body)
            return
        index, node = self._index_of.get(key), self._nodes.items.get(key)
        if index is not None and node is not None and f"{key}{self._suffix}" not in self._objects.items:
            await self._create(self._resource, self._body(index, node.metadata.uid))

    async def _create(self, resource: Resource, body: dict[str, Any]) -> None:
        try:
            await self._client.create(resource, body, type=bytes)
        except ApiError as error:
            if not is_already_exists(error):
                raise
