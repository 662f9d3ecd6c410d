"""discovery.k8s.io/v1: endpoint slices."""

from __future__ import annotations

import ipaddress
from typing import Any

from lakh.apis import meta
from lakh.apis.groups import printing
from lakh.apis.groups.base import GroupStrategy, declare
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column
from lakh.machinery import names
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    invalid_value,
    not_supported,
    required,
    too_many,
)

GROUP = "discovery.k8s.io"

# Upstream's bounds of a slice.
MAX_ADDRESSES = 100
MAX_PORTS = 20_000
MAX_ENDPOINTS = 1000
MAX_ZONE_HINTS = 8
MAX_NODE_HINTS = 8

ITEMS_SHOWN = 3

_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_PROTOCOLS = ("SCTP", "TCP", "UDP")


class EndpointSliceStrategy(GroupStrategy):
    """Endpoint slices."""

    generation = True
    columns = (
        NAME_COLUMN,
        Column("AddressType", description="The type of address carried by this slice."),
        Column("Ports", description="The list of network ports exposed by each endpoint."),
        Column("Endpoints", description="A list of unique endpoints in this slice."),
        AGE_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """Ports have a name, be it empty, and speak TCP."""
        for port in obj.ports or ():
            if port.name is None:
                port.name = ""
            if port.protocol is None:
                port.protocol = "TCP"

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole slice."""
        found: list[FieldError] = []
        kind = obj.addressType or ""
        if not kind:
            found.append(required("addressType"))
        elif kind not in _ADDRESS_TYPES:
            found.append(not_supported("addressType", kind, _ADDRESS_TYPES))
        endpoints = obj.endpoints or ()
        if len(endpoints) > MAX_ENDPOINTS:
            found.append(too_many("endpoints", len(endpoints), MAX_ENDPOINTS))
        else:
            for index, endpoint in enumerate(endpoints):
                _validate_endpoint(endpoint, kind, f"endpoints[{index}]", found)
        _validate_ports(obj.ports or (), found)
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The address type stays."""
        found = self.validate(new)
        meta.immutable(new.addressType, old.addressType, "addressType", found)
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get endpointslices` shows it."""
        ports = (str(p.port) if p.port is not None else p.name or "*" for p in obj.ports or ())
        addresses = (address for e in obj.endpoints or () for address in e.addresses or ())
        return [
            obj.metadata.name,
            obj.addressType or "",
            printing.listed(ports, ITEMS_SHOWN),
            printing.listed(addresses, ITEMS_SHOWN),
            printing.age(obj, now),
        ]


def _validate_endpoint(endpoint: Any, kind: str, path: str, found: list[FieldError]) -> None:
    addresses = endpoint.addresses or ()
    if not addresses:
        found.append(required(f"{path}.addresses", "must contain at least 1 address"))
    elif len(addresses) > MAX_ADDRESSES:
        found.append(too_many(f"{path}.addresses", len(addresses), MAX_ADDRESSES))
    for index, address in enumerate(addresses):
        where = f"{path}.addresses[{index}]"
        if kind == "FQDN":
            meta.report(names.dns_subdomain(address), where, address, found)
        elif kind in ("IPv4", "IPv6"):
            parsed = names.parse_ip(address)
            if not isinstance(parsed, ipaddress.IPv4Address if kind == "IPv4" else ipaddress.IPv6Address):
                found.append(invalid_value(where, address, f"must be an {kind} address"))
            else:
                _validate_routable(parsed, where, address, found)
    if endpoint.nodeName is not None:
        meta.report(names.dns_subdomain(endpoint.nodeName), f"{path}.nodeName", endpoint.nodeName, found)
    if endpoint.hostname is not None:
        meta.report(names.dns_label(endpoint.hostname), f"{path}.hostname", endpoint.hostname, found)
    if endpoint.hints is not None:
        for name, limit in (("forZones", MAX_ZONE_HINTS), ("forNodes", MAX_NODE_HINTS)):
            _validate_hints(getattr(endpoint.hints, name) or (), limit, f"{path}.hints.{name}", found)


def _validate_hints(hints: Any, limit: int, path: str, found: list[FieldError]) -> None:
    if len(hints) > limit:
        found.append(too_many(path, len(hints), limit))
        return
    seen: set[str] = set()
    for index, hint in enumerate(hints):
        where = f"{path}[{index}].name"
        if not hint.name:
            found.append(required(where))
        elif hint.name in seen:
            found.append(duplicate(where, hint.name))
        seen.add(hint.name or "")


def _validate_routable(parsed: Any, path: str, address: str, found: list[FieldError]) -> None:
    for wrong, what in (
        (parsed.is_unspecified, f"unspecified ({parsed})"),
        (parsed.is_loopback, "in the loopback range (127.0.0.0/8, ::1/128)"),
        (parsed.is_link_local, "in the link-local range (169.254.0.0/16, fe80::/10)"),
        (
            parsed.is_multicast and parsed in _link_local_multicast(parsed.version),
            "in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        ),
    ):
        if wrong:
            found.append(invalid_value(path, address, f"may not be {what}"))


def _link_local_multicast(version: int) -> Any:
    return ipaddress.ip_network("224.0.0.0/24" if version == 4 else "ff02::/16")


def _validate_ports(ports: Any, found: list[FieldError]) -> None:
    if len(ports) > MAX_PORTS:
        found.append(too_many("ports", len(ports), MAX_PORTS))
        return
    seen: set[str] = set()
    for index, port in enumerate(ports):
        path = f"ports[{index}]"
        if port.name:
            meta.report(names.port_name(port.name), f"{path}.name", port.name, found)
        if port.name in seen:
            found.append(duplicate(f"{path}.name", port.name))
        seen.add(port.name or "")
        if port.protocol not in _PROTOCOLS:
            found.append(not_supported(f"{path}.protocol", port.protocol or "", _PROTOCOLS))
        if port.port is not None:
            meta.report(names.port_number(port.port), f"{path}.port", port.port, found)
        if port.appProtocol is not None:
            meta.report(
                meta.check_label_key(port.appProtocol), f"{path}.appProtocol", port.appProtocol, found
            )


RESOURCES = (
    declare(GROUP, "v1", "endpointslices", "EndpointSlice", EndpointSliceStrategy(), namespaced=True),
)
