"""Addresses and ports of services: what upstream's allocators hand out.

An address is taken when there is an IPAddress of its name (`serviceaddresses`); it comes from a range that a ServiceCIDR names. The allocations of
ports are what the stored services say; an index of them follows the partition, so that it is right after a restart, too. A port is taken in the
index at once; one whose service did not come to be counts as free.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

from lakh.apis.core.service_validation import (
    is_headless,
    needs_health_check_node_port,
    needs_node_ports,
)
from lakh.machinery import errors
from lakh.server.cluster import Cluster
from lakh.server.following import Following
from lakh.server.serviceaddresses import Addresses, ServiceStore
from lakh.store.state import Event, Item

NODE_PORTS = range(30000, 32768)
# The lower ones are for who asks for one by number (KEP-3668): a 32nd of them, at least 16 and at most 128.
DYNAMIC_PORTS: range = NODE_PORTS[min(max(16, len(NODE_PORTS) // 32), 128) :]
# Random draws before the range is searched in order.
TRIES = 64


class ServiceAddresses:
    """Allocates cluster addresses and node ports."""

    def __init__(self, cluster: Cluster) -> None:
        self._store = cluster.named("", "v1", "services")
        self.addresses = Addresses(cluster)
        assert isinstance(self._store, ServiceStore)
        self._store.addresses = self.addresses
        self._ports: dict[int, str] = {}
        self._count_all()
        self._watch = Following(self._store.partition, self._store.table, self._on_events, self._count_all)

    def _count_all(self) -> None:
        self._ports.clear()
        for item in self._store.partition.range(self._store.table).items:
            self._count(item)

    def _on_events(self, events: list[Event]) -> None:
        for event in events:
            if event.prev is not None:
                self._discount(event.prev)
            if event.item is not None:
                self._count(event.item)

    def _ports_of(self, item: Item) -> list[int]:
        spec = self._store.codec.decode_stored(item.value).spec
        if spec is None:
            return []
        ports = [p.nodePort for p in spec.ports or () if p.nodePort]
        if spec.healthCheckNodePort:
            ports.append(spec.healthCheckNodePort)
        return ports

    def _count(self, item: Item) -> None:
        self._ports.update(dict.fromkeys(self._ports_of(item), item.key))

    def _discount(self, item: Item) -> None:
        for port in self._ports_of(item):
            if self._ports.get(port) == item.key:
                del self._ports[port]

    def allocate(self, service: Any, old: Any, dry_run: bool) -> None:
        """Gives a service that is written the addresses and ports that its type needs; raises 422 when one is taken."""
        spec = service.spec
        if spec is None or spec.type == "ExternalName":
            return
        key = self._store.key(service.metadata.namespace, service.metadata.name)
        if old is None and self._store.partition.head(key) is not None:
            return  # the create will be refused
        self._check_families(service)
        if not spec.clusterIP and spec.clusterIPs:
            return  # validation refuses it
        if spec.clusterIP != "None":
            kept = old.spec.clusterIP if old is not None and old.spec is not None else None
            if not spec.clusterIP:
                spec.clusterIP = self._free_address()
            elif spec.clusterIP != kept and (why := self.addresses.refusal(spec.clusterIP)):
                why = f"failed to allocate IP {spec.clusterIP}: {why}"
                raise self._invalid(service, errors.invalid_value("spec.clusterIPs", [spec.clusterIP], why))
        if not spec.clusterIPs:
            spec.clusterIPs = [spec.clusterIP]
        own: set[int] = set()
        if needs_node_ports(service):
            self._allocate_ports(service, old, key, own, dry_run)
        if needs_health_check_node_port(service):
            self._allocate_health_check(service, key, own, dry_run)

    def _allocate_ports(self, service: Any, old: Any, key: str, own: set[int], dry_run: bool) -> None:
        spec = service.spec
        kept: dict[tuple[str | None, int | None], int] = {}
        if old is not None and old.spec is not None:
            kept = {(p.protocol, p.port): p.nodePort for p in old.spec.ports or () if p.nodePort}
        # One port of several protocols, say of DNS, is one node port, too.
        shared = {p.port: p.nodePort for p in reversed(spec.ports or ()) if p.nodePort}
        for index, port in enumerate(spec.ports or ()):
            if not port.nodePort:
                found = kept.get((port.protocol, port.port)) or shared.get(port.port)
                port.nodePort = found or self._free_port(service, own)
                shared.setdefault(port.port, port.nodePort)
            elif self._taken(self._ports.get(port.nodePort), key):
                raise self._invalid(
                    service,
                    errors.invalid_value(
                        f"spec.ports[{index}].nodePort", port.nodePort, "provided port is already allocated"
                    ),
                )
            elif port.nodePort not in NODE_PORTS:
                raise self._invalid(
                    service,
                    errors.invalid_value(
                        f"spec.ports[{index}].nodePort",
                        port.nodePort,
                        f"provided port is not in the valid range. The range of valid ports is {NODE_PORTS.start}-{NODE_PORTS.stop - 1}",
                    ),
                )
            own.add(port.nodePort)
            if not dry_run:
                self._ports[port.nodePort] = key

    def _allocate_health_check(self, service: Any, key: str, own: set[int], dry_run: bool) -> None:
        """The port at which a load balancer asks a node whether it has endpoints of the service."""
        spec = service.spec
        if not spec.healthCheckNodePort:
            spec.healthCheckNodePort = self._free_port(service, own)
        elif self._taken(self._ports.get(spec.healthCheckNodePort), key):
            raise self._invalid(
                service,
                errors.invalid_value(
                    "spec.healthCheckNodePort",
                    spec.healthCheckNodePort,
                    f"failed to allocate requested HealthCheck NodePort {spec.healthCheckNodePort}: "
                    "provided port is already allocated",
                ),
            )
        if not dry_run:
            self._ports[spec.healthCheckNodePort] = key

    def _check_families(self, service: Any) -> None:
        """The cluster has addresses of one family; a headless service without a selector brings its own."""
        spec = service.spec
        if is_headless(service) and not spec.selector:
            return
        if spec.ipFamilyPolicy == "RequireDualStack":
            raise self._invalid(
                service,
                errors.invalid_value(
                    "spec.ipFamilyPolicy",
                    spec.ipFamilyPolicy,
                    "this cluster is not configured for dual-stack services",
                ),
            )
        for index, family in enumerate(spec.ipFamilies or ()):
            if family == "IPv6":
                raise self._invalid(
                    service,
                    errors.invalid_value(
                        f"spec.ipFamilies[{index}]", family, "not configured on this cluster"
                    ),
                )

    def _taken(self, owner: str | None, key: str = "") -> bool:
        return owner is not None and owner != key and self._store.partition.head(owner) is not None

    def _free_address(self) -> str:
        address = self.addresses.draw()
        if address is None:
            raise errors.internal("failed to allocate a serviceIP: range is full")
        return address

    def _free_port(self, service: Any, own: set[int]) -> int:
        for _ in range(TRIES):
            port = random.choice(DYNAMIC_PORTS)
            if port not in own and not self._taken(self._ports.get(port)):
                return port
        for port in itertools.chain(DYNAMIC_PORTS, NODE_PORTS):
            if port not in own and not self._taken(self._ports.get(port)):
                return port
        raise errors.internal("failed to allocate a nodePort: range is full")

    def _invalid(self, service: Any, finding: errors.FieldError) -> errors.StatusError:
        return errors.invalid("", "Service", service.metadata.name, [finding])
