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
from lakh.client.metricserver import CHECKS
from lakh.client.tasks import TaskGuard

from .config import DEFAULTS, SchedulerConfig
from .shell import Scheduler

__all__ = ["LeadershipLostError", "run"]

COLLECTOR_THRESHOLDS = 20_000, 50, 100
"""Young objects are looked at every 20,000 allocations (1 ms), all objects every hundred million."""


class LeadershipLostError(Exception):
    """Another candidate may lead now. The process should end and start again as a candidate."""


async def run(
    client: Client,
    *,
    config: SchedulerConfig = DEFAULTS,
    identity: str | None = None,
    leader_elect: bool = False,
) -> None:
    """Schedule the pods that name one of the configuration's profiles, until cancelled.

    With `leader_elect`, or where the configuration says so, it waits for the lease first, with its caches warm, and raises
    `LeadershipLostError` when it loses it. `identity` defaults to the host's name, the process and a random part.
    """
    recorders = {profile.name: EventRecorder(client.background, profile.name) for profile in config.profiles}
    first = config.profiles[0].name
    scheduler = Scheduler(client, recorders[first], config=config, recorders=recorders)
    CHECKS["sched-handler-sync"] = lambda: scheduler.synced
    thresholds = gc.get_threshold()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    leader_elect = leader_elect if config.leader_elect is None else config.leader_elect
    try:
        async with TaskGuard(first) as guard:
            watching = guard.spawn(scheduler.watch(), name="watch")
            if leader_elect:
                elector = LeaderElector(
                    client,
                    config.lease_name,
                    config.lease_namespace,
                    identity or default_identity(),
                    on_started=scheduler.schedule,
                    lease_duration_seconds=config.lease_duration_seconds,
                    renew_deadline_seconds=config.renew_deadline_seconds,
                    retry_period_seconds=config.retry_period_seconds,
                )
                leading = guard.spawn(elector.run(), name="lead")
            else:
                leading = guard.spawn(scheduler.schedule(), name="schedule")
            done, _ = await asyncio.wait((watching, leading), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if leader_elect and leading in done:
                raise LeadershipLostError(f"{config.lease_namespace}/{config.lease_name}")
    finally:
        gc.set_threshold(*thresholds)
        await asyncio.gather(*(recorder.close() for recorder in recorders.values()))


def default_identity() -> str:
    """A name for this candidate that no other has."""
    return f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"
