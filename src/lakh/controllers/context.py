"""What controllers share, and the shape they have.

A controller registers its handlers when it is built and works in `run`. `run` may be cancelled and called again: all state that matters
is in the informers and the queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from lakh.client.client import Client
from lakh.client.discovery import CachedDiscovery
from lakh.client.events import EventRecorder
from lakh.client.workqueue import WorkQueue

from .certificateauthority import CertificateAuthority
from .informers import Informers

NODE_GRACE_SECONDS = 50.0
"""A node that is silent this long is unknown (upstream's --node-monitor-grace-period)."""


@dataclass
class Context:
    """The client, the shared informers, what is served, the clock, and where events go."""

    client: Client
    informers: Informers
    root_ca: bytes = b""
    certificate_authority: CertificateAuthority | None = None
    """Signs certificates; None: nobody does here."""
    node_grace_seconds: float = NODE_GRACE_SECONDS
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    recorders: dict[str, EventRecorder] = field(default_factory=dict)
    discovery: CachedDiscovery = field(init=False)

    def __post_init__(self) -> None:
        self.discovery = CachedDiscovery(self.client, self.monotonic)

    def recorder(self, component: str) -> EventRecorder:
        """The recorder of events of this component."""
        recorder = self.recorders.get(component)
        if recorder is None:
            recorder = self.recorders[component] = EventRecorder(self.client.background, component)
        return recorder


class Controller:
    """A controller that reconciles keys from one queue."""

    name: ClassVar[str]
    """Upstream's name, as `--controllers` takes it."""
    workers: ClassVar[int] = 16
    """Keys reconciled at the same time; a worker mostly waits for the API server."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.client = context.client
        self.now = context.now
        self.queue = WorkQueue(self.name)

    async def reconcile(self, key: str) -> None:
        """Bring one object to its wanted state. Raising makes the queue retry with backoff."""
        raise NotImplementedError

    def resync(self) -> None:
        """Queue everything; called before the workers (re)start."""

    async def run(self) -> None:
        """Work until cancelled."""
        self.resync()
        await self.queue.run(self.reconcile, self.workers)
