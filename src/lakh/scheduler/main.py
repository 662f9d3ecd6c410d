"""The scheduler as a component: `run` until cancelled, alone or as one of several candidates of which one leads.

While it runs, Python's cyclic garbage collector is made to look rarely: the scheduler keeps hundreds of thousands of small objects and makes
next to no cycles, and at 100,000 nodes a full collection takes 90 ms, during which nothing is decided.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import uuid

from lakh.client.client import Client
from lakh.client.events import EventRecorder
from lakh.client.leader import LeaderElector
from lakh.client.tasks import TaskGuard

from .shell import DEFAULT_SCHEDULER_NAME, Scheduler

__all__ = ["LeadershipLostError", "run"]

LEASE_NAMESPACE = "kube-system"
LEASE_NAME = "kube-scheduler"


COLLECTOR_THRESHOLDS = 20_000, 50, 100
"""Young objects are looked at every 20,000 allocations (1 ms), all objects every hundred million."""


class LeadershipLostError(Exception):
    """Another candidate may lead now. The process should end and start again as a candidate."""


async def run(
    client: Client,
    *,
    scheduler_name: str = DEFAULT_SCHEDULER_NAME,
    identity: str | None = None,
    leader_elect: bool = False,
    lease_name: str = LEASE_NAME,
) -> None:
    """Schedule the pods that name `scheduler_name`, until cancelled.

    With `leader_elect` it waits for the lease first, with its caches warm, and raises `LeadershipLostError` when it loses it.
    `identity` defaults to the host's name, the process and a random part. `client` should allow about 300 connections.
    """
    recorder = EventRecorder(client, scheduler_name)
    scheduler = Scheduler(client, recorder, scheduler_name=scheduler_name)
    thresholds = gc.get_threshold()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    try:
        async with TaskGuard(scheduler_name) as guard:
            watching = guard.spawn(scheduler.watch(), name="watch")
            if leader_elect:
                elector = LeaderElector(
                    client,
                    lease_name,
                    LEASE_NAMESPACE,
                    identity or default_identity(),
                    on_started=scheduler.schedule,
                )
                leading = guard.spawn(elector.run(), name="lead")
            else:
                leading = guard.spawn(scheduler.schedule(), name="schedule")
            done, _ = await asyncio.wait((watching, leading), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if leader_elect and leading in done:
                raise LeadershipLostError(f"{LEASE_NAMESPACE}/{lease_name}")
    finally:
        gc.set_threshold(*thresholds)
        await recorder.close()


def default_identity() -> str:
    """A name for this candidate that no other has."""
    return f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"
