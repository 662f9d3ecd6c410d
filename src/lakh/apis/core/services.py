"""Services: defaults, and what an update keeps. Cluster IPs and node ports are allocated by the server, which asks here what a service needs.

What is right in a service is in `service_validation`.
"""

from __future__ import annotations

from typing import Any

from lakh.apis import structs
from lakh.apis.core.base import declare, spec_field
from lakh.apis.core.service_validation import (
    ONCE_SET,
    is_externally_accessible,
    is_headless,
    is_load_balancer,
    needs_cluster_ip,
    needs_health_check_node_port,
    needs_node_ports,
    service_warnings,
    validate_address_changes,
    validate_family_changes,
    validate_service,
)
from lakh.apis.groups import printing
from lakh.apis.groups.printing import NONE, age, labels
from lakh.apis.meta import check_dns_subdomain, report
from lakh.apis.registry import (
    AGE_COLUMN,
    NAME_COLUMN,
    PROXY_VERBS,
    Column,
    Resource,
    Strategy,
    Subresource,
)
from lakh.machinery import addresses, names
from lakh.machinery.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)

_ServiceSpec = structs.core("ServiceSpec")
_ServiceStatus = structs.core("ServiceStatus")
_LoadBalancerStatus = structs.core("LoadBalancerStatus")
_SessionAffinityConfig = structs.core("SessionAffinityConfig")
_ClientIPConfig = structs.core("ClientIPConfig")

CLIENT_IP_TIMEOUT_SECONDS = 10800
IP_MODES = ("Proxy", "VIP")


def keep_allocated(new: Any, old: Any) -> None:
    """What was allocated stays when an update leaves it out (`patchAllocatedValues`, `NormalizeClusterIPs`)."""
    after, before = new.spec, old.spec
    if needs_cluster_ip(old) and needs_cluster_ip(new):
        if not after.clusterIP:
            after.clusterIP = before.clusterIP
        if not after.clusterIPs and after.clusterIP == before.clusterIP:
            after.clusterIPs = before.clusterIPs
    if needs_node_ports(old) and needs_node_ports(new):
        taken = {(p.protocol, p.port): p.nodePort for p in before.ports or ()}
        used = {p.nodePort for p in after.ports or () if p.nodePort}
        for port in after.ports or ():
            if not port.nodePort:
                kept = taken.get((port.protocol, port.port))
                if kept not in used:
                    port.nodePort = kept
    if (
        needs_health_check_node_port(old)
        and needs_health_check_node_port(new)
        and not after.healthCheckNodePort
    ):
        after.healthCheckNodePort = before.healthCheckNodePort
    # Clients of an older time know one address only.
    if before.clusterIPs and not after.clusterIPs and after.clusterIP == before.clusterIP:
        after.clusterIPs = before.clusterIPs
    if after.clusterIP != before.clusterIP:
        if before.clusterIP and not after.clusterIP:
            after.clusterIPs = None
        elif after.clusterIP and after.clusterIPs == before.clusterIPs:
            after.clusterIPs = [after.clusterIP]


def drop_released(new: Any, old: Any) -> None:
    """What only the old type could have goes, unless the update says something new about it."""
    after, before = new.spec, old.spec
    if (
        needs_cluster_ip(old)
        and after.type == "ExternalName"
        and (after.clusterIP, after.clusterIPs) == (before.clusterIP, before.clusterIPs)
    ):
        after.clusterIP = after.clusterIPs = None
    ports = [port.nodePort for port in after.ports or ()]
    if (
        needs_node_ports(old)
        and not needs_node_ports(new)
        and ports == [port.nodePort for port in before.ports or ()]
    ):
        for port in after.ports or ():
            port.nodePort = None
    if before.type != "ExternalName" and after.type == "ExternalName":
        for name in ("ipFamilies", "ipFamilyPolicy"):
            if getattr(after, name) == getattr(before, name):
                setattr(after, name, None)
    for name, wanted in (
        ("healthCheckNodePort", needs_health_check_node_port),
        ("allocateLoadBalancerNodePorts", is_load_balancer),
        ("loadBalancerClass", is_load_balancer),
        ("externalTrafficPolicy", is_externally_accessible),
    ):
        if wanted(old) and not wanted(new) and getattr(after, name) == getattr(before, name):
            setattr(after, name, None)


_SELECTABLE = {"spec.clusterIP": spec_field("clusterIP"), "spec.type": spec_field("type")}


class ServiceStrategy(Strategy):
    """Services."""

    allow_create_on_update = True
    has_status = True
    # Addresses and ports are allocated on updates, too.
    keeps_parts = False
    columns = (
        NAME_COLUMN,
        Column("Type", description="How the service is exposed."),
        Column("Cluster-IP", description="The virtual address of the service."),
        Column("External-IP", description="Addresses outside of the cluster."),
        Column("Port(s)", description="The ports that this service exposes."),
        AGE_COLUMN,
        Column("Selector", priority=1, description="Labels of the pods that traffic is routed to."),
    )
    selectable_fields = _SELECTABLE

    def validate_name(self, name: str) -> list[str]:
        """A DNS label (KEP-5311)."""
        return names.dns_label(name)

    def default(self, obj: Any) -> None:
        """Upstream's SetDefaults_Service, and its REST storage's defaults of address families."""
        spec = obj.spec
        if spec is None:
            spec = obj.spec = _ServiceSpec()
        if obj.status is None:
            obj.status = _ServiceStatus(loadBalancer=_LoadBalancerStatus())
        if not spec.sessionAffinity:
            spec.sessionAffinity = "None"
        if spec.sessionAffinity == "None":
            spec.sessionAffinityConfig = None
        elif spec.sessionAffinity == "ClientIP":
            config = spec.sessionAffinityConfig
            if config is None or config.clientIP is None or config.clientIP.timeoutSeconds is None:
                spec.sessionAffinityConfig = _SessionAffinityConfig(
                    clientIP=_ClientIPConfig(timeoutSeconds=CLIENT_IP_TIMEOUT_SECONDS)
                )
        if not spec.type:
            spec.type = "ClusterIP"
        for port in spec.ports or ():
            if not port.protocol:
                port.protocol = "TCP"
            if not port.targetPort:
                port.targetPort = port.port
        if is_externally_accessible(obj) and not spec.externalTrafficPolicy:
            spec.externalTrafficPolicy = "Cluster"
        if spec.type != "ExternalName" and not spec.internalTrafficPolicy:
            spec.internalTrafficPolicy = "Cluster"
        if spec.type == "LoadBalancer":
            if spec.allocateLoadBalancerNodePorts is None:
                spec.allocateLoadBalancerNodePorts = True
            balancer = obj.status.loadBalancer
            for point in (balancer.ingress or ()) if balancer is not None else ():
                if point.ip and point.ipMode is None:
                    point.ipMode = "VIP"

    def prepare_for_create(self, obj: Any) -> None:
        """A new service has no load balancer yet, and addresses of one family."""
        obj.status = _ServiceStatus(loadBalancer=_LoadBalancerStatus())
        if obj.spec.clusterIP and not obj.spec.clusterIPs:
            obj.spec.clusterIPs = [obj.spec.clusterIP]
        self._settle(obj)

    def prepare_for_update(self, new: Any, old: Any) -> None:
        """What was allocated stays unless the type gives it up."""
        new.status = old.status
        if old.spec is not None:
            keep_allocated(new, old)
            drop_released(new, old)
            if new.spec.type != "ExternalName":
                new.spec.ipFamilies = new.spec.ipFamilies or old.spec.ipFamilies
                new.spec.ipFamilyPolicy = new.spec.ipFamilyPolicy or old.spec.ipFamilyPolicy
        self._settle(new)

    def _settle(self, obj: Any) -> None:
        spec = obj.spec
        if spec.type == "ExternalName":
            return
        # A headless service without a selector brings its own addresses, of both families unless it says otherwise.
        own_addresses = is_headless(obj) and not spec.selector
        if not spec.ipFamilyPolicy:
            both = own_addresses or len(spec.ipFamilies or ()) == 2
            spec.ipFamilyPolicy = "RequireDualStack" if both else "SingleStack"
        if not spec.ipFamilies:
            spec.ipFamilies = ["IPv6" if spec.clusterIP and ":" in spec.clusterIP else "IPv4"]
        if own_addresses and len(spec.ipFamilies) == 1 and spec.ipFamilyPolicy != "SingleStack":
            spec.ipFamilies = [*spec.ipFamilies, "IPv6" if spec.ipFamilies == ["IPv4"] else "IPv4"]

    def validate(self, obj: Any) -> list[FieldError]:
        """A service's type, ports, addresses and policies."""
        return validate_service(obj)

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """What is allocated stays once it is set (`ValidateServiceUpdate`)."""
        found: list[FieldError] = []
        validate_address_changes(new, old, found)
        validate_family_changes(new, old, found)
        after, before = new.spec, old.spec
        if (
            is_load_balancer(new)
            and is_load_balancer(old)
            and after.loadBalancerClass != before.loadBalancerClass
        ):
            found.append(invalid_value("spec.loadBalancerClass", after.loadBalancerClass, ONCE_SET))
        if (
            needs_health_check_node_port(old)
            and needs_health_check_node_port(new)
            and after.healthCheckNodePort != before.healthCheckNodePort
        ):
            found.append(forbidden_field("spec.healthCheckNodePort", "field is immutable"))
        return found + validate_service(new)

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Points where a load balancer takes traffic (`ValidateLoadBalancerStatus`)."""
        found: list[FieldError] = []
        balancer = new.status.loadBalancer if new.status is not None else None
        points = (balancer.ingress if balancer is not None else None) or ()
        path = "status.loadBalancer.ingress"
        if points and new.spec.type != "LoadBalancer":
            found.append(forbidden_field(path, "may only be used when `spec.type` is 'LoadBalancer'"))
            return found
        for index, point in enumerate(points):
            where = f"{path}[{index}]"
            if point.ip:
                report(addresses.ip(point.ip), f"{where}.ip", point.ip, found)
            mode = point.ipMode
            if mode is None:
                if point.ip:
                    found.append(required(f"{where}.ipMode", "must be specified when `ip` is set"))
            elif not point.ip:
                found.append(forbidden_field(f"{where}.ipMode", "may not be specified when `ip` is not set"))
            elif mode not in IP_MODES:
                found.append(not_supported(f"{where}.ipMode", mode, IP_MODES))
            if point.hostname:
                report(check_dns_subdomain(point.hostname), f"{where}.hostname", point.hostname, found)
                if names.parse_ip(point.hostname) is not None:
                    found.append(
                        invalid_value(
                            f"{where}.hostname", point.hostname, "must be a DNS name, not an IP address"
                        )
                    )
        return found

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """What has no effect, or soon none (`GetWarningsForService`)."""
        return service_warnings(obj)

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get services -o wide` shows it."""
        spec = obj.spec
        return [
            obj.metadata.name,
            spec.type or "",
            (spec.clusterIPs[0] if spec.clusterIPs else spec.clusterIP) or NONE,
            _external_ip(obj),
            _ports(spec.ports),
            age(obj, now),
            labels(spec.selector),
        ]


def _external_ip(service: Any) -> str:
    spec = service.spec
    external = list(spec.externalIPs or ())
    match spec.type:
        case "ClusterIP" | "NodePort":
            return ",".join(external) or NONE
        case "LoadBalancer":
            balancer = service.status and service.status.loadBalancer
            points = printing.ingress_points((balancer and balancer.ingress) or ())
            return ",".join([*points, *external]) or "<pending>"
        case "ExternalName":
            return spec.externalName or ""
        case _:
            return "<unknown>"


def _ports(ports: list[Any] | None) -> str:
    shown = (
        f"{p.port}:{p.nodePort}/{p.protocol}" if p.nodePort else f"{p.port}/{p.protocol}" for p in ports or ()
    )
    return ",".join(shown) or NONE


RESOURCES: tuple[Resource, ...] = (
    declare(
        "services",
        "Service",
        ServiceStrategy(),
        short_names=("svc",),
        categories=("all",),
        subresources={"proxy": Subresource("ServiceProxyOptions", PROXY_VERBS)},
    ),
)
