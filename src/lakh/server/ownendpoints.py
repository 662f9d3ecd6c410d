"""The endpoints of the service `kubernetes`: where pods reach the API servers, in both forms.

Upstream's servers each keep a lease and reconcile the endpoints with all of them (pkg/controlplane/reconcilers/lease.go). Here the writer of
the default partition does it for all: every server's identity Lease says where pods reach it, and the writer knows which are alive. Servers on
one machine have ports of their own, so there is a subset, and a slice, for each port.
"""

from __future__ import annotations

import socket
from collections.abc import Collection
from typing import Any

import msgspec

from lakh.server.authn import User
from lakh.server.cluster import Cluster
from lakh.server.context import Context
from lakh.server.storage import DeleteOptions, ResourceStore
from lakh.store.state import Item

# An address of documentation (RFC 5737): the route to it is the default route.
OUTSIDE = "192.0.2.1"
# Upstream's reconciler looks this often, so that what somebody changed does not stay.
RECONCILE_SECONDS = 10.0

NAMESPACE, NAME = "default", "kubernetes"
SERVICE_LABEL = "kubernetes.io/service-name"

# Where a server is reached: address and port.
Endpoint = tuple[str, int]


def advertised_address() -> str | None:
    """The address by which pods would reach this machine; None when it has no other than loopback.

    Asks the kernel which address a packet to outside would carry; none is sent.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((OUTSIDE, 9))
        except OSError:
            return None
        address: str = probe.getsockname()[0]
    return None if address.startswith("127.") else address


def own(port: int) -> Endpoint | None:
    """Where pods reach this server; None when they do not."""
    address = advertised_address()
    return None if address is None else (address, port)


def _by_port(endpoints: Collection[Endpoint]) -> dict[int, list[str]]:
    ports = sorted({port for _, port in endpoints})
    return {port: sorted({a for a, p in endpoints if p == port}) for port in ports}


def endpoints_object(endpoints: Collection[Endpoint]) -> dict[str, Any]:
    """The Endpoints of the service."""
    return {
        "metadata": {"name": NAME, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [
            {
                "addresses": [{"ip": address} for address in addresses],
                "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            }
            for port, addresses in _by_port(endpoints).items()
        ],
    }


def slice_objects(endpoints: Collection[Endpoint]) -> list[dict[str, Any]]:
    """The EndpointSlices of the service: `kubernetes` for the first port, `kubernetes-PORT` for others."""
    return [
        {
            "metadata": {
                "name": f"{NAME}-{port}" if number else NAME,
                "labels": {SERVICE_LABEL: NAME},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }
        for number, (port, addresses) in enumerate(_by_port(endpoints).items())
    ]


async def publish(cluster: Cluster, endpoints: Collection[Endpoint], user: User) -> None:
    """Makes the endpoints of the service `kubernetes` these; nothing is written when they are. The default partition must be written here."""
    if not endpoints:
        return
    context = Context(user, manager="kube-apiserver")
    await _put(cluster.named("", "v1", "endpoints"), context, endpoints_object(endpoints))
    slices = cluster.named("discovery.k8s.io", "v1", "endpointslices")
    wanted = slice_objects(endpoints)
    for plain in wanted:
        await _put(slices, context, plain)
    named = {plain["metadata"]["name"] for plain in wanted}
    for item in slices.partition.range(slices.table, NAMESPACE).items:
        name = item.key.rsplit("/", 1)[1]
        if name.startswith(f"{NAME}-") and name not in named:
            labels = slices.decode(item).metadata.labels or {}
            if labels.get(SERVICE_LABEL) == NAME:
                await slices.delete(context, NAMESPACE, name, DeleteOptions())


async def _put(store: ResourceStore, context: Context, plain: dict[str, Any]) -> None:
    wanted = msgspec.convert(plain, store.codec.struct)
    name: str = wanted.metadata.name

    def put(item: Item, old: Any) -> Any:
        new = store.decode(item)
        for field in wanted.__struct_fields__:
            if field not in ("metadata", "apiVersion", "kind"):
                setattr(new, field, getattr(wanted, field))
        return new

    if store.partition.get(store.key(NAMESPACE, name)) is None:
        await store.create(context, wanted, NAMESPACE)
    else:
        await store.update(context, NAMESPACE, name, put)
