"""Endpoints: the older list of a service's addresses."""

from __future__ import annotations

from typing import Any

from lakh.apis.core.base import declare
from lakh.apis.groups.printing import NONE, age
from lakh.apis.meta import check_dns_label, check_dns_subdomain, check_label_key, report
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column, Resource, Strategy
from lakh.machinery import addresses, names
from lakh.machinery.errors import FieldError, not_supported, required

PROTOCOLS = ("SCTP", "TCP", "UDP")
SHOWN_COUNT = 3


class EndpointsStrategy(Strategy):
    """Endpoints."""

    deprecation = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"

    allow_create_on_update = True
    columns = (
        NAME_COLUMN,
        Column("Endpoints", description="Addresses and ports of the service's pods."),
        AGE_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """Ports are TCP unless given."""
        for subset in obj.subsets or ():
            for port in subset.ports or ():
                if not port.protocol:
                    port.protocol = "TCP"

    def validate(self, obj: Any) -> list[FieldError]:
        """Addresses and ports of all subsets."""
        found: list[FieldError] = []
        for index, subset in enumerate(obj.subsets or ()):
            where = f"subsets[{index}]"
            if not subset.addresses and not subset.notReadyAddresses:
                found.append(required(where, "must specify `addresses` or `notReadyAddresses`"))
            for side in ("addresses", "notReadyAddresses"):
                for position, address in enumerate(getattr(subset, side) or ()):
                    _validate_address(address, f"{where}.{side}[{position}]", found)
            ports = subset.ports or ()
            for position, port in enumerate(ports):
                _validate_port(port, len(ports) > 1, f"{where}.ports[{position}]", found)
        return found

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Addresses that are not in their usual form."""
        found: list[str] = []
        for index, subset in enumerate(obj.subsets or ()):
            for side in ("addresses", "notReadyAddresses"):
                for position, address in enumerate(getattr(subset, side) or ()):
                    where = f"subsets[{index}].{side}[{position}].ip"
                    found += addresses.ip_warnings(address.ip or "", where)
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get endpoints` shows it."""
        return [obj.metadata.name, _shown(obj), age(obj, now)]


def _validate_address(address: Any, path: str, found: list[FieldError]) -> None:
    report(addresses.ip(address.ip or ""), f"{path}.ip", address.ip or "", found)
    if address.hostname:
        report(check_dns_label(address.hostname), f"{path}.hostname", address.hostname, found)
    if address.nodeName is not None:
        report(check_dns_subdomain(address.nodeName), f"{path}.nodeName", address.nodeName, found)
    report(addresses.non_special_ip(address.ip or ""), f"{path}.ip", address.ip or "", found)


def _validate_port(port: Any, need_name: bool, path: str, found: list[FieldError]) -> None:
    if port.name:
        report(check_dns_label(port.name), f"{path}.name", port.name, found)
    elif need_name:
        found.append(required(f"{path}.name"))
    report(names.port_number(port.port or 0), f"{path}.port", port.port or 0, found)
    if not port.protocol:
        found.append(required(f"{path}.protocol"))
    elif port.protocol not in PROTOCOLS:
        found.append(not_supported(f"{path}.protocol", port.protocol, PROTOCOLS))
    if port.appProtocol is not None:
        report(check_label_key(port.appProtocol), f"{path}.appProtocol", port.appProtocol, found)


def _shown(endpoints: Any) -> str:
    if not endpoints.subsets:
        return NONE
    shown: list[str] = []
    count = 0
    for subset in endpoints.subsets:
        for port in subset.ports or (None,):
            for address in subset.addresses or ():
                count += 1
                if len(shown) < SHOWN_COUNT:
                    host = address.ip or ""
                    if port is not None:
                        host = f"[{host}]:{port.port}" if ":" in host else f"{host}:{port.port}"
                    shown.append(host)
    text = ",".join(shown)
    return f"{text} + {count - len(shown)} more..." if count > len(shown) else text


RESOURCES: tuple[Resource, ...] = (
    declare("endpoints", "Endpoints", EndpointsStrategy(), short_names=("ep",)),
)
