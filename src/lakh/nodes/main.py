"""`lakh nodes`: a fleet of simulated nodes against any Kubernetes API server."""

from __future__ import annotations

import asyncio

from lakh.client.client import Client
from lakh.nodes import devices as dra
from lakh.nodes.catalogue import CATALOGUE
from lakh.nodes.csi import Provisioner, node_limits
from lakh.nodes.endpoint import serving
from lakh.nodes.fleet import Fleet
from lakh.nodes.objects import LEASE_SECONDS, STATUS_SECONDS

# Renewals are due at a rate, however long the server takes: at most so many are under way.
HEARTBEAT_CONNECTIONS = 64


async def run(
    client: Client,
    *,
    count: int,
    instance_type: str,
    start_index: int = 0,
    lease_seconds: int = LEASE_SECONDS,
    status_seconds: int = STATUS_SECONDS,
    devices: bool = False,
    volume_limit: int | None = None,
) -> None:
    """Runs `count` kubelets of a type of the catalogue until cancelled; raises KeyError for an unknown type.

    Names and addresses follow from a node's index: fleets beside each other need ranges of their own. With `devices` the nodes'
    accelerators are published as ResourceSlices, and no longer as a resource of the nodes. A simulated CSI driver makes volumes; with
    `volume_limit` each node says in a CSINode how many of them it takes.
    """
    instance = CATALOGUE[instance_type].with_driver() if devices else CATALOGUE[instance_type]
    heartbeats = client.beside(HEARTBEAT_CONNECTIONS)
    fleet = Fleet(
        client,
        instance,
        count,
        start_index,
        heartbeats=heartbeats,
        events=client.background,
        lease_seconds=lease_seconds,
        status_seconds=status_seconds,
    )
    async with heartbeats, serving(fleet, client), asyncio.TaskGroup() as group:
        group.create_task(fleet.run(), name="fleet")
        group.create_task(Provisioner(client).run(), name="csi")
        if devices and instance.accelerator is not None:
            group.create_task(dra.driver(client, instance, count, start_index).run(), name="devices")
        if volume_limit is not None:
            limits = node_limits(client, instance, count, start_index, volume_limit)
            group.create_task(limits.run(), name="volume limits")
