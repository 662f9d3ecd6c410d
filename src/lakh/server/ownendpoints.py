"""The endpoints of the service `kubernetes`: where pods reach this API server, in both forms.

They are the writer's of the default partition, written with its bootstrap; upstream has all servers' there.
"""

from __future__ import annotations

import socket
from typing import Any

import msgspec

from lakh.server.authn import User
from lakh.server.cluster import Cluster
from lakh.server.context import Context
from lakh.server.storage import ResourceStore
from lakh.store.state import Item

# An address of documentation (RFC 5737): the route to it is the default route.
OUTSIDE = "192.0.2.1"


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


def _endpoints(address: str, port: int) -> list[tuple[str, str, str, dict[str, Any]]]:
    """(group, version, plural, object): where the service `kubernetes` leads to, in both forms."""
    return [
        (
            "",
            "v1",
            "endpoints",
            {
                "metadata": {
                    "name": "kubernetes",
                    "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
                },
                "subsets": [
                    {
                        "addresses": [{"ip": address}],
                        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
                    }
                ],
            },
        ),
        (
            "discovery.k8s.io",
            "v1",
            "endpointslices",
            {
                "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
                "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            },
        ),
    ]


async def publish(cluster: Cluster, port: int, user: User) -> None:
    """Keeps the endpoints of the service `kubernetes` at this server's address."""
    address = advertised_address()
    if address is None:
        return
    for group, version, plural, plain in _endpoints(address, port):
        store = cluster.named(group, version, plural)
        wanted = msgspec.convert(plain, store.codec.struct)
        context = Context(user, manager="kube-apiserver")

        def put(item: Item, old: Any, store: ResourceStore = store, wanted: Any = wanted) -> Any:
            new = store.decode(item)
            for name in wanted.__struct_fields__:
                if name not in ("metadata", "apiVersion", "kind"):
                    setattr(new, name, getattr(wanted, name))
            return new

        if store.partition.get(store.key("default", "kubernetes")) is None:
            await store.create(context, wanted, "default")
        else:
            await store.update(context, "default", "kubernetes", put)
