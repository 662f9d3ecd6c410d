"""Our scheduler as a process under a name of its own, beside whatever else schedules in the cluster that is measured."""

from __future__ import annotations

import sys

from lakh import __version__
from lakh.cli import run_async, with_parent
from lakh.client.client import Client
from lakh.scheduler.config import SchedulerConfig
from lakh.scheduler.main import run
from lakh.scheduler.profile import Profile

MAX_CONNECTIONS = 16
"""As many as `lakh scheduler` has."""


def main(kubeconfig: str, name: str) -> int:
    """Schedules the pods that name it until it is terminated or its parent is gone."""

    config = SchedulerConfig(profiles=(Profile(name=name),))

    async def work() -> None:
        async with Client.from_kubeconfig(
            kubeconfig, user_agent=f"kube-scheduler/v{__version__}", max_connections=MAX_CONNECTIONS
        ) as client:
            await with_parent(run(client, config=config), True)

    return run_async(work)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
