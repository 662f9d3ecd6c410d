"""discovery.k8s.io/v1: endpoint slices."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Sequence
from typing import Any

from lakh.apis import meta
from lakh.apis.definitions import schema
from lakh.apis.groups import printing
from lakh.apis.groups.base import GroupStrategy, declare
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column
from lakh.machinery import addresses, names
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
MAX_TOPOLOGY_LABELS = 16

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_OWN_CONTROLLERS = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")

ITEMS_SHOWN = 3

_EndpointConditions = schema().struct("io.k8s.api.discovery.v1.EndpointConditions")
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
        """Ports have a name, be it empty, and speak TCP; endpoints have conditions, be there none."""
        for endpoint in obj.endpoints or ():
            if endpoint.conditions is None:
                endpoint.conditions = _EndpointConditions()
        for port in obj.ports or ():
            if port.name is None:
                port.name = ""
            if port.protocol is None:
                port.protocol = "TCP"

    def prepare_for_create(self, obj: Any) -> None:
        """Topology is a field of the old API."""
        super().prepare_for_create(obj)
        _drop_topology(obj)

    def prepare_for_update(self, new: Any, old: Any) -> None:
        """Topology is a field of the old API; it stays in endpoints that stay. Labels count as spec."""
        if not meta.same(new.endpoints, old.endpoints):
            _drop_topology(new)
        super().prepare_for_update(new, old)
        if new.metadata.generation == old.metadata.generation and not meta.same(
            new.metadata.labels, old.metadata.labels
        ):
            new.metadata.generation = (old.metadata.generation or 0) + 1

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole slice."""
        return _validate_slice(obj, frozenset())

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The address type stays; addresses that were there before may be in an old form."""
        known = frozenset(address for e in old.endpoints or () for address in e.addresses or ())
        found = _validate_slice(new, known)
        meta.immutable(new.addressType, old.addressType, "addressType", found)
        return found

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Names instead of addresses, and addresses in odd forms; Kubernetes' own controllers write none."""
        found: list[str] = []
        if obj.addressType == "FQDN":
            found.append("spec.addressType: FQDN endpoints are deprecated")
        elif (obj.metadata.labels or {}).get(MANAGED_BY) not in _OWN_CONTROLLERS:
            for index, endpoint in enumerate(obj.endpoints or ()):
                for position, address in enumerate(endpoint.addresses or ()):
                    path = f"endpoints[{index}].addresses[{position}]"
                    found += addresses.ip_warnings(address, path)
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get endpointslices` shows it."""
        ports = (str(p.port) if p.port is not None else p.name or "*" for p in obj.ports or ())
        given = (address for e in obj.endpoints or () for address in e.addresses or ())
        return [
            obj.metadata.name,
            obj.addressType or "",
            printing.listed(ports, ITEMS_SHOWN),
            printing.listed(given, ITEMS_SHOWN),
            printing.age(obj, now),
        ]


def _drop_topology(obj: Any) -> None:
    for endpoint in obj.endpoints or ():
        endpoint.deprecatedTopology = None


def _validate_slice(obj: Any, known: Collection[str]) -> list[FieldError]:
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
            _validate_endpoint(endpoint, kind, known, f"endpoints[{index}]", found)
    _validate_ports(obj.ports or (), found)
    return found


def _validate_endpoint(
    endpoint: Any, kind: str, known: Collection[str], path: str, found: list[FieldError]
) -> None:
    given = endpoint.addresses or ()
    if not given:
        found.append(required(f"{path}.addresses", "must contain at least 1 address"))
    elif len(given) > MAX_ADDRESSES:
        found.append(too_many(f"{path}.addresses", len(given), MAX_ADDRESSES))
    for index, address in enumerate(given):
        where = f"{path}.addresses[{index}]"
        if kind == "FQDN":
            found += fully_qualified_domain_name(address, where)
        elif kind in ("IPv4", "IPv6"):
            _validate_address(address, kind, known, where, found)
    if endpoint.nodeName is not None:
        meta.report(meta.check_dns_subdomain(endpoint.nodeName), f"{path}.nodeName", endpoint.nodeName, found)
    if endpoint.deprecatedTopology:
        where = f"{path}.deprecatedTopology"
        if len(endpoint.deprecatedTopology) > MAX_TOPOLOGY_LABELS:
            found.append(too_many(where, len(endpoint.deprecatedTopology), MAX_TOPOLOGY_LABELS))
        meta.validate_labels(endpoint.deprecatedTopology, where, found)
    if endpoint.hostname is not None:
        meta.report(names.dns_label(endpoint.hostname), f"{path}.hostname", endpoint.hostname, found)
    if endpoint.hints is not None:
        for name, limit, rule in (
            ("forZones", MAX_ZONE_HINTS, meta.check_label_value),
            ("forNodes", MAX_NODE_HINTS, meta.check_dns_subdomain),
        ):
            _validate_hints(getattr(endpoint.hints, name) or (), limit, rule, f"{path}.hints.{name}", found)


def fully_qualified_domain_name(name: str, path: str) -> list[FieldError]:
    """A domain of at least two labels, with a dot at its end or without."""
    if not name:
        return [required(path)]
    name = name.removesuffix(".")
    messages = names.dns_subdomain(name)
    if messages:
        return [invalid_value(path, name, ",".join(messages))]
    labels = name.split(".")
    if len(labels) < 2:
        return [invalid_value(path, name, "should be a domain with at least two segments separated by dots")]
    for label in labels:
        if messages := names.dns_label(label):
            return [invalid_value(path, label, ",".join(messages))]
    return []


def _validate_hints(
    hints: Any, limit: int, rule: Callable[[str], Sequence[str]], path: str, found: list[FieldError]
) -> None:
    if len(hints) > limit:
        found.append(too_many(path, len(hints), limit))
        return
    seen: set[str] = set()
    for index, hint in enumerate(hints):
        where, name = f"{path}[{index}].name", hint.name or ""
        if name in seen:
            found.append(duplicate(where, name))
        seen.add(name)
        meta.report(rule(name), where, name, found)


def _validate_address(
    text: str, kind: str, known: Collection[str], path: str, found: list[FieldError]
) -> None:
    """An address of a family that pods could reach."""
    parsed = names.parse_ip(text)
    if parsed is None or text not in known:
        messages = addresses.ip(text)
        meta.report(messages, path, text, found)
        if messages:
            return
    assert parsed is not None
    if isinstance(parsed, ipaddress.IPv6Address):
        parsed = parsed.ipv4_mapped or parsed
    if f"IPv{parsed.version}" != kind:
        found.append(invalid_value(path, text, f"must be a valid {kind} address"))
    meta.report(addresses.non_special_ip(text), path, text, found)


def _validate_ports(ports: Any, found: list[FieldError]) -> None:
    if len(ports) > MAX_PORTS:
        found.append(too_many("ports", len(ports), MAX_PORTS))
        return
    seen: set[str] = set()
    for index, port in enumerate(ports):
        path = f"ports[{index}]"
        if port.name:
            meta.report(meta.check_dns_label(port.name), f"{path}.name", port.name, found)
        if port.name in seen:
            found.append(duplicate(f"{path}.name", port.name))
        seen.add(port.name or "")
        if port.protocol not in _PROTOCOLS:
            found.append(not_supported(f"{path}.protocol", port.protocol or "", _PROTOCOLS))
        if port.appProtocol is not None:
            meta.report(
                meta.check_label_key(port.appProtocol), f"{path}.appProtocol", port.appProtocol, found
            )


RESOURCES = (
    declare(GROUP, "v1", "endpointslices", "EndpointSlice", EndpointSliceStrategy(), namespaced=True),
)
