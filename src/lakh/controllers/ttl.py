"""For how long a kubelet may keep what it has read of Secrets and ConfigMaps: a node's annotation `node.alpha.kubernetes.io/ttl`, by the cluster's size.

The larger the cluster, the longer (upstream's pkg/controller/ttl). Sizes overlap, so that a cluster at a border does not change all its nodes again and
again. A node that is right costs a look at one annotation for each of its events; one that is not is patched, a few at a time: nobody waits for it.
"""

from __future__ import annotations

import asyncio

from lakh.client.errors import ApiError, is_not_found
from lakh.client.resources import NODES

from .context import Context, Controller
from .views import Bare, Node

ANNOTATION = "node.alpha.kubernetes.io/ttl"
# (at least so many nodes, at most so many, seconds)
BOUNDARIES = (
    (0, 100, 0),
    (90, 500, 15),
    (450, 1000, 30),
    (900, 2000, 60),
    (1800, 1 << 31, 300),
)
PAUSE_SECONDS = 0.05
"""After each write: 20 a second, which is what all of upstream's controllers share by default. A new large cluster is not busy with this."""


def step(current: int, nodes: int) -> int:
    """Which of the boundaries holds for so many nodes, after the one that held."""
    while nodes > BOUNDARIES[current][1]:
        current += 1
    while nodes < BOUNDARIES[current][0]:
        current -= 1
    return current


class TTLController(Controller):
    """Keeps the annotation of every node."""

    name = "ttl-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._step = 0
        self._nodes = context.informers.of(NODES, Node)
        self._nodes.add_handler(
            on_add=self._look,
            # A kubelet writes its node's status every few minutes: so all learn of a new size.
            on_update=lambda old, new: self._look(new),
        )

    def _wanted(self) -> str:
        self._step = step(self._step, len(self._nodes.items))
        return str(BOUNDARIES[self._step][2])

    def _look(self, node: Node) -> None:
        annotations = node.metadata.annotations
        if annotations is None or annotations.get(ANNOTATION) != self._wanted():
            self.queue.add(node.metadata.name)

    async def reconcile(self, key: str) -> None:
        """One node."""
        node = self._nodes.items.get(key)
        wanted = self._wanted()
        if node is None or (node.metadata.annotations or {}).get(ANNOTATION) == wanted:
            return
        patch = {"metadata": {"annotations": {ANNOTATION: wanted}}}
        try:
            await self.client.patch(NODES, key, patch, type=Bare)
        except ApiError as error:
            if not is_not_found(error):
                raise
        await asyncio.sleep(PAUSE_SECONDS)
