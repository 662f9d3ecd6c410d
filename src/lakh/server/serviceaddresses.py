"""IPAddress objects and the ranges they are from: one for each address of a service, written and deleted with the service.

As upstream's allocator (pkg/registry/core/service/ipallocator) has it: the object named like an address is the allocation, so whoever makes one takes
the address. A new address is from a ServiceCIDR that is Ready, or about which nobody has said that it is not, and that is not being deleted.

A service and its IPAddresses are queued in one go, the service first: whoever sees the service's write acknowledged sees its addresses, and a
refused service leaves none. `repair` mends what somebody changed by hand, and gives addresses to services from before there were such objects.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from lakh.machinery import addresses, errors, names, times
from lakh.machinery.addresses import Address, Network
from lakh.server.authn import APISERVER
from lakh.server.context import Context
from lakh.server.following import Following
from lakh.server.storage import ResourceStore
from lakh.store.errors import StoreError
from lakh.store.partition import Partition
from lakh.store.state import Event, Item

if TYPE_CHECKING:
    from lakh.server.cluster import Cluster

log = logging.getLogger(__name__)

GROUP, VERSION = "networking.k8s.io", "v1"
ADDRESS_TABLE = f"ipaddresses.{GROUP}"
RANGE_TABLE = f"servicecidrs.{GROUP}"
FAMILY_LABEL = "ipaddress.kubernetes.io/ip-family"
MANAGER_LABEL = "ipaddress.kubernetes.io/managed-by"
MANAGER = "ipallocator.k8s.io"
# Upstream's --service-cluster-ip-range as kubeadm sets it.
DEFAULT_RANGE = "10.96.0.0/12"
DEFAULT_RANGE_NAME = "kubernetes"
READY_MESSAGE = "Kubernetes default Service CIDR is ready"

# Random draws before a range is searched in order.
TRIES = 64
# The lower part of a range is for addresses that are asked for by name (KEP-3070): between 16 and 256 of them.
MIN_OFFSET, MAX_OFFSET, OFFSET_SHARE = 16, 256, 16
# An address without a service may belong to one that is being made: upstream's longest request.
ORPHAN_SECONDS = 60.0
REPAIR_SECONDS = 180.0
# Objects looked at in one go; about 2 ms.
PIECE = 100


class Addresses:
    """Which addresses are taken, and which may be."""

    def __init__(self, cluster: Cluster) -> None:
        self._store: ResourceStore = cluster.named(GROUP, VERSION, "ipaddresses")
        self._ranges_store: ResourceStore = cluster.named(GROUP, VERSION, "servicecidrs")
        self._ready: list[Network] | None = None
        self._watch = Following(
            self._ranges_store.partition, RANGE_TABLE, self._on_ranges, lambda: self._on_ranges([])
        )

    def _on_ranges(self, events: list[Event]) -> None:
        self._ready = None

    def ranges(self) -> list[Network]:
        """The ranges of IPv4 from which addresses may be given now."""
        if self._ready is None:
            self._ready = []
            for item in self._ranges_store.partition.range(RANGE_TABLE).items:
                obj = self._ranges_store.codec.decode_stored(item.value)
                if obj.metadata.deletionTimestamp is None and _is_ready(obj.status):
                    found = [addresses.network(cidr) for cidr in obj.spec.cidrs or ()]
                    self._ready += [network for network in found if network.version == 4]
        return self._ready

    def is_taken(self, address: str) -> bool:
        """Whether there is an IPAddress of this name, or about to be."""
        return self._store.partition.head(_key(address)) is not None

    def refusal(self, text: str) -> str:
        """Why a service may not have this address; empty when it may."""
        parsed = names.parse_ip(text)
        if parsed is None:
            return ""  # validation says what is wrong with it
        if not any(_assignable(parsed, network) for network in self.ranges()):
            return "the provided network does not match the current range"
        return "provided IP is already allocated" if self.is_taken(str(parsed)) else ""

    def draw(self) -> str | None:
        """A free address; None when all ranges are full."""
        for network in self.ranges():
            first, offset, last = _bounds(network)
            for _ in range(TRIES if offset <= last else 0):
                address = str(ipaddress.ip_address(random.randint(offset, last)))
                if not self.is_taken(address):
                    return address
            for part in (range(offset, last + 1), range(first, offset)):
                for number in part:
                    if not self.is_taken(address := str(ipaddress.ip_address(number))):
                        return address
        return None

    def take(self, service: Any, wanted: Iterable[str]) -> list[Awaitable[Any]]:
        """Queues the IPAddresses of a service that was just queued; done when they are durable."""
        return [
            self._store.queue_create(
                Context(APISERVER, manager="kube-apiserver"),
                msgspec.convert(ip_address(address, service.metadata), self._store.codec.struct),
            )
            for address in wanted
            if not self.is_taken(address)
        ]

    def release(self, given_up: Iterable[str]) -> list[Awaitable[Any]]:
        """Queues the deletion of IPAddresses."""
        return [self._store.partition.delete(_key(a)) for a in given_up if self.is_taken(a)]


def ip_address(address: str, service: Any) -> dict[str, Any]:
    """The IPAddress of a service with this metadata."""
    return {
        "metadata": {
            "name": address,
            "labels": {FAMILY_LABEL: "IPv6" if ":" in address else "IPv4", MANAGER_LABEL: MANAGER},
        },
        "spec": {
            "parentRef": {
                "group": "",
                "resource": "services",
                "namespace": service.namespace,
                "name": service.name,
            }
        },
    }


def default_range() -> dict[str, Any]:
    """The ServiceCIDR that every cluster has."""
    return {"metadata": {"name": DEFAULT_RANGE_NAME}, "spec": {"cidrs": [DEFAULT_RANGE]}}


def _key(address: str) -> str:
    return f"{ADDRESS_TABLE}//{address}"


def _is_ready(status: Any) -> bool:
    for condition in (status.conditions if status is not None else None) or ():
        if condition.type == "Ready":
            return bool(condition.status == "True")
    return True


def _bounds(network: Network) -> tuple[int, int, int]:
    """The first address of a range, the first that is given to who asks for none in particular, and the last."""
    first = int(network.network_address) + 1
    last = int(network.broadcast_address) - (1 if network.version == 4 else 0)
    size = max(last - first + 1, 0)
    offset = 0 if size < MIN_OFFSET else min(max(MIN_OFFSET, size // OFFSET_SHARE), MAX_OFFSET)
    return first, first + offset, last


def _assignable(address: Address, network: Network) -> bool:
    first, _, last = _bounds(network)
    return address.version == network.version and first <= int(address) <= last


def addresses_of(service: Any) -> list[str]:
    """The cluster addresses that a service has."""
    spec = service.spec
    if spec is None or spec.type == "ExternalName":
        return []
    return [address for address in spec.clusterIPs or [spec.clusterIP] if address and address != "None"]


class ServiceStore(ResourceStore):
    """Services, whose addresses come and go with them. `addresses` is set by the server."""

    def __init__(self, resource: Any, partition: Partition) -> None:
        super().__init__(resource, partition)
        self.addresses: Addresses | None = None

    def queued(self, new: Any, old: Any) -> list[Awaitable[Any]]:
        """The addresses of a service that was written or is gone (None), which had been `old`."""
        if self.addresses is None:
            return []
        had = addresses_of(old) if old is not None else []
        has = addresses_of(new) if new is not None else []
        if had == has:
            return []
        return [
            *self.addresses.take(new, (a for a in has if a not in had)),
            *self.addresses.release(a for a in had if a not in has),
        ]


async def make_default_range(cluster: Cluster) -> None:
    """Creates the default ServiceCIDR when it is missing, and says that it is Ready where nobody has said anything."""
    store: ResourceStore = cluster.named(GROUP, VERSION, "servicecidrs")
    context = Context(APISERVER, manager="kube-apiserver")
    if store.partition.get(store.key("", DEFAULT_RANGE_NAME)) is None:
        await store.create(context, msgspec.convert(default_range(), store.codec.struct), "")
    current = store.decode(store.get("", DEFAULT_RANGE_NAME))
    if current.metadata.deletionTimestamp or current.spec.cidrs != [DEFAULT_RANGE]:
        return
    if any(c.type == "Ready" for c in (current.status.conditions if current.status else None) or ()):
        return
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "",
        "message": READY_MESSAGE,
        "lastTransitionTime": times.now(),
    }
    status = {**default_range(), "status": {"conditions": [condition]}}

    def ready(item: Item, old: Any) -> Any:
        new = store.decode(item)
        new.status = msgspec.convert(status, store.codec.struct).status
        return new

    await store.update(
        Context(APISERVER, manager="kube-apiserver"), "", DEFAULT_RANGE_NAME, ready, subresource="status"
    )


async def repair(cluster: Cluster, known: Addresses, now: float) -> int:
    """Makes the IPAddresses those of the services; returns how many were wrong.

    `now` is the time in epoch seconds: addresses without a service are left for `ORPHAN_SECONDS`.
    """
    services: ResourceStore = cluster.named("", "v1", "services")
    mended = 0
    async for item in _in_pieces(services.partition, services.table):
        mended += await _mend_service(cluster, known, item)
    store: ResourceStore = cluster.named(GROUP, VERSION, "ipaddresses")
    async for item in _in_pieces(store.partition, ADDRESS_TABLE):
        obj = store.decode(item)
        if _is_orphan(services, obj, now):
            log.info("the address %s belongs to no service; it is deleted", obj.metadata.name)
            await asyncio.gather(*known.release([obj.metadata.name]))
            mended += 1
    return mended


async def _in_pieces(partition: Partition, table: str) -> AsyncIterator[Item]:
    after = ""
    while True:
        page = partition.range(table, after=after, limit=PIECE)
        for item in page.items:
            yield item
        if not page.more:
            return
        after = page.items[-1].key
        await asyncio.sleep(0)


async def _mend_service(cluster: Cluster, known: Addresses, item: Item) -> int:
    """Gives a service the IPAddresses that it lacks. Two services with one address are left alone, and logged."""
    services: ResourceStore = cluster.named("", "v1", "services")
    store: ResourceStore = cluster.named(GROUP, VERSION, "ipaddresses")
    service = services.decode(item)
    mended = 0
    for address in addresses_of(service):
        found = store.partition.head(_key(address))
        if found is not None:
            obj = store.decode(found)
            wrong = _wrong(obj, service)
            if not wrong:
                continue
            if wrong == "service":
                owner = _parent(services, obj)
                if owner is not None and address in addresses_of(services.decode(owner)):
                    log.warning("the address %s was given to %s and to %s", address, item.key, owner.key)
                    continue
            await asyncio.gather(*known.release([address]))
        await asyncio.gather(*known.take(service, [address]))
        mended += 1
    return mended


def _parent(services: ResourceStore, obj: Any) -> Item | None:
    parent = obj.spec.parentRef
    if parent is None or parent.group or parent.resource != "services":
        return None
    return services.partition.head(services.key(parent.namespace or "", parent.name or ""))


def _is_orphan(services: ResourceStore, obj: Any, now: float) -> bool:
    """Whether an IPAddress of this allocator's is of no service."""
    if (obj.metadata.labels or {}).get(MANAGER_LABEL) != MANAGER:
        return False
    owner = _parent(services, obj)
    if owner is not None:
        return obj.metadata.name not in addresses_of(services.decode(owner))
    parent = obj.spec.parentRef
    of_service = parent is not None and not parent.group and parent.resource == "services"
    return not of_service or now - times.parse(obj.metadata.creationTimestamp) >= ORPHAN_SECONDS


def _wrong(found: Any, service: Any) -> str:
    """What is wrong with the IPAddress of a service's address; empty when nothing is."""
    parent, metadata = found.spec.parentRef, service.metadata
    if parent is None or parent.group or parent.resource != "services":
        return "resource"
    if (parent.namespace, parent.name) != (metadata.namespace, metadata.name):
        return "service"
    labels = found.metadata.labels or {}
    family = "IPv6" if ":" in found.metadata.name else "IPv4"
    good = labels.get(MANAGER_LABEL) == MANAGER and labels.get(FAMILY_LABEL) == family
    return "" if good else "labels"


async def keep_repairing(cluster: Cluster, known: Addresses) -> None:
    """Runs until cancelled, while the default partition is written here: what somebody deletes that a service has is made again at once, the rest is
    looked at every three minutes."""
    partition = cluster.partitions["default"]
    services: ResourceStore = cluster.named("", "v1", "services")
    store: ResourceStore = cluster.named(GROUP, VERSION, "ipaddresses")
    suspects: set[str] = set()
    wake = asyncio.Event()

    def on_addresses(events: list[Event]) -> None:
        for event in events:
            if event.item is None and event.prev is not None and partition.is_writer:
                owner = _parent(services, store.codec.decode_stored(event.prev.value))
                if owner is not None:
                    suspects.add(owner.key)
                    wake.set()

    def on_ranges(events: list[Event]) -> None:
        if any(event.item is None for event in events):
            wake.set()

    followed = [
        Following(partition, ADDRESS_TABLE, on_addresses, lambda: None),
        Following(partition, RANGE_TABLE, on_ranges, wake.set),
    ]
    try:
        while True:
            due = False
            try:
                async with asyncio.timeout(REPAIR_SECONDS):
                    await wake.wait()
            except TimeoutError:
                due = True
            wake.clear()
            asked, suspects = suspects, set()
            if not partition.is_writer:
                continue
            try:
                await make_default_range(cluster)
                for key in asked:
                    item = partition.head(key)
                    if item is not None:
                        await _mend_service(cluster, known, item)
                if due:
                    await repair(cluster, known, time.time())
            except (StoreError, errors.StatusError) as e:
                log.warning("addresses of services are not repaired: %s", e)
    finally:
        for following in followed:
            following.stop()
