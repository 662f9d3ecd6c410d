"""`lakh nodes`: a fleet of simulated nodes against any Kubernetes API server."""

from __future__ import annotations

from lakh.client.client import Client
from lakh.nodes.catalogue import CATALOGUE
from lakh.nodes.endpoint import serving
from lakh.nodes.fleet import Fleet
from lakh.nodes.objects import LEASE_SECONDS


async def run(
    client: Client,
    *,
    count: int,
    instance_type: str,
    start_index: int = 0,
    lease_seconds: int = LEASE_SECONDS,
) -> None:
    """Runs `count` kubelets of a type of the catalogue until cancelled; raises KeyError for an unknown type.

    Names and addresses follow from a node's index: fleets beside each other need ranges of their own.
    """
    fleet = Fleet(client, CATALOGUE[instance_type], count, start_index, lease_seconds=lease_seconds)
    async with serving(fleet, client):
        await fleet.run()
