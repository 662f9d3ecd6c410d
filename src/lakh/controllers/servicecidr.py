"""ServiceCIDRs: ready for use, and kept while addresses of services would be left without a range.

Each gets a finalizer and the condition `Ready`. One that is being deleted loses the finalizer when other ranges have all its addresses, or there are none
left; ten seconds after the deletion at the earliest, so that every API server has stopped to give addresses from it (upstream's
pkg/controller/servicecidrs).

A pass over one that is being deleted costs a look at every IPAddress; the rest are O(ranges).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from lakh.client.client import STRATEGIC
from lakh.client.errors import ApiError, is_not_found
from lakh.client.resources import IPADDRESSES, SERVICECIDRS
from lakh.machinery import addresses
from lakh.machinery.addresses import Network

from . import clock
from .clusterviews import ServiceCIDR
from .context import Context, Controller
from .pods import find_condition
from .views import Bare, Object

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
MANAGER_LABEL = "ipaddress.kubernetes.io/managed-by"
MANAGER = "ipallocator.k8s.io"
GRACE_SECONDS = 10.0
READY_MESSAGE = "Kubernetes Service CIDR is ready"
BLOCKED_MESSAGE = (
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
)


class ServiceCIDRController(Controller):
    """Conditions and finalizers of the ranges of service addresses."""

    name = "service-cidr-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._ranges = context.informers.of(SERVICECIDRS, ServiceCIDR)
        self._addresses = context.informers.of(IPADDRESSES, Object)
        self._ranges.add_handler(
            on_add=self._range,
            on_update=lambda old, new: self._range(new),
            on_delete=lambda old: self.resync(),
        )
        self._addresses.add_handler(on_add=self._address, on_delete=self._address)

    def resync(self) -> None:
        """Queue every range."""
        for found in self._ranges.items.values():
            self.queue.add(found.metadata.name)

    def _range(self, changed: ServiceCIDR) -> None:
        """A new range may let an older one go that it overlaps with."""
        self.queue.add(changed.metadata.name)
        own = list(_networks(changed))
        for other in self._ranges.items.values():
            if other.metadata.deletionTimestamp and any(a.overlaps(b) for a in own for b in _networks(other)):
                self.queue.add(other.metadata.name)

    def _address(self, found: Object) -> None:
        """Only what is being deleted waits for addresses."""
        if any(r.metadata.deletionTimestamp for r in self._ranges.items.values()):
            for one in self._ranges.items.values():
                if one.metadata.deletionTimestamp and _holds(one, found.metadata.name):
                    self.queue.add(one.metadata.name)

    async def reconcile(self, key: str) -> None:
        """One range."""
        found = self._ranges.items.get(key)
        if found is None:
            return
        metadata = found.metadata
        if not metadata.deletionTimestamp:
            if FINALIZER not in (metadata.finalizers or ()):
                await self._patch(key, {"metadata": {"finalizers": [FINALIZER]}})
            await self._say(found, "True", "", READY_MESSAGE)
        elif FINALIZER in (metadata.finalizers or ()):
            if not self._may_go(found):
                await self._say(found, "False", "Terminating", BLOCKED_MESSAGE)
                return
            wait = GRACE_SECONDS - (self.now() - (clock.parse(metadata.deletionTimestamp) or 0.0))
            if wait > 0:
                self.queue.add_after(key, wait)
                return
            await self._patch(key, {"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}})

    def _may_go(self, found: ServiceCIDR) -> bool:
        """Whether each of the addresses within has another range, or there are none."""
        others = [
            network
            for other in self._ranges.items.values()
            if other.metadata.name != found.metadata.name
            for network in _networks(other)
        ]
        own = list(_networks(found))
        if all(any(_contains(other, network) for other in others) for network in own):
            return True
        for item in self._addresses.items.values():
            if (item.metadata.labels or {}).get(MANAGER_LABEL) != MANAGER:
                continue
            address = ipaddress.ip_address(item.metadata.name)
            if any(address in network for network in own) and not any(address in other for other in others):
                return False
        return True

    async def _say(self, found: ServiceCIDR, status: str, reason: str, message: str) -> None:
        current = find_condition(found.status.conditions, "Ready")
        if current is not None and (current.status, current.reason or "") == (status, reason):
            return
        condition = {"type": "Ready", "status": status, "reason": reason, "message": message}
        condition["lastTransitionTime"] = clock.stamp(self.now())
        await self._patch(found.metadata.name, {"status": {"conditions": [condition]}}, "status")

    async def _patch(self, name: str, patch: dict[str, Any], subresource: str | None = None) -> None:
        try:
            await self.client.patch(
                SERVICECIDRS, name, patch, patch_type=STRATEGIC, subresource=subresource, type=Bare
            )
        except ApiError as error:
            if not is_not_found(error):
                raise


def _networks(found: ServiceCIDR) -> Iterator[Network]:
    for text in found.spec.cidrs or ():
        yield addresses.network(text)


def _contains(outer: Network, inner: Network) -> bool:
    return outer.version == inner.version and outer.overlaps(inner) and outer.prefixlen <= inner.prefixlen


def _holds(found: ServiceCIDR, address: str) -> bool:
    return any(ipaddress.ip_address(address) in network for network in _networks(found))
