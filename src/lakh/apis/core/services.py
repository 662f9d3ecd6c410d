"""Services: defaults and validation. Cluster IPs and node ports are allocated by the server, which asks here what a service needs.

The functions at the top are pure: what is needed, and what an update keeps of what was allocated.
"""

from __future__ import annotations

from typing import Any

from lakh.apis import structs
from lakh.apis.core.base import declare, spec_field
from lakh.apis.groups import printing
from lakh.apis.groups.printing import NONE, age, labels
from lakh.apis.meta import check_dns_label, check_dns_subdomain, check_label_key, report, validate_labels
from lakh.apis.registry import (
    AGE_COLUMN,
    NAME_COLUMN,
    PROXY_VERBS,
    Column,
    Resource,
    Strategy,
    Subresource,
)
from lakh.machinery import names
from lakh.machinery.errors import (
    FieldError,
    duplicate,
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

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
PROTOCOLS = ("SCTP", "TCP", "UDP")
AFFINITIES = ("ClientIP", "None")
TRAFFIC_POLICIES = ("Cluster", "Local")
FAMILIES = ("IPv4", "IPv6")
FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
HEADLESS = "None"
CLIENT_IP_TIMEOUT_SECONDS = 10800
MAX_CLIENT_IP_TIMEOUT_SECONDS = 86400
KUBELET_PORT = 10250


def is_headless(service: Any) -> bool:
    """Whether a service asks for no cluster IP."""
    return bool(service.spec.clusterIP == HEADLESS or service.spec.clusterIPs == [HEADLESS])


def needs_cluster_ip(service: Any) -> bool:
    """Whether the server has to allocate (or confirm) a cluster IP."""
    return service.spec.type in ("ClusterIP", "LoadBalancer", "NodePort") and not is_headless(service)


def needs_node_ports(service: Any) -> bool:
    """Whether each port of a service gets a node port."""
    spec = service.spec
    return spec.type == "NodePort" or (
        spec.type == "LoadBalancer" and spec.allocateLoadBalancerNodePorts is not False
    )


def needs_health_check_node_port(service: Any) -> bool:
    """Whether a load balancer probes the nodes of a service."""
    return bool(service.spec.type == "LoadBalancer" and service.spec.externalTrafficPolicy == "Local")


def is_externally_accessible(service: Any) -> bool:
    """Whether traffic reaches a service from outside of the cluster."""
    spec = service.spec
    return spec.type in ("LoadBalancer", "NodePort") or (spec.type == "ClusterIP" and bool(spec.externalIPs))


def keep_allocated(new: Any, old: Any) -> None:
    """What was allocated stays when an update leaves it out."""
    after, before = new.spec, old.spec
    if needs_cluster_ip(old) and after.type != "ExternalName":
        if not after.clusterIP and not after.clusterIPs:
            after.clusterIP, after.clusterIPs = before.clusterIP, before.clusterIPs
        elif after.clusterIP == before.clusterIP and not after.clusterIPs:
            after.clusterIPs = before.clusterIPs
    if needs_node_ports(old) and needs_node_ports(new):
        taken = {(p.protocol, p.port): p.nodePort for p in before.ports or ()}
        for port in after.ports or ():
            if not port.nodePort:
                port.nodePort = taken.get((port.protocol, port.port))
    if (
        needs_health_check_node_port(old)
        and needs_health_check_node_port(new)
        and not after.healthCheckNodePort
    ):
        after.healthCheckNodePort = before.healthCheckNodePort


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
    for name, wanted in (
        ("healthCheckNodePort", needs_health_check_node_port),
        ("allocateLoadBalancerNodePorts", _is_load_balancer),
        ("loadBalancerClass", _is_load_balancer),
        ("externalTrafficPolicy", is_externally_accessible),
    ):
        if wanted(old) and not wanted(new) and getattr(after, name) == getattr(before, name):
            setattr(after, name, None)


def _is_load_balancer(service: Any) -> bool:
    return bool(service.spec.type == "LoadBalancer")


_SELECTABLE = {"spec.clusterIP": spec_field("clusterIP"), "spec.type": spec_field("type")}


class ServiceStrategy(Strategy):
    """Services."""

    has_status = True
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
        """A DNS label that begins with a letter."""
        return names.dns1035_label(name)

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
        if spec.type == "LoadBalancer" and spec.allocateLoadBalancerNodePorts is None:
            spec.allocateLoadBalancerNodePorts = True
        if spec.clusterIP and not spec.clusterIPs:
            spec.clusterIPs = [spec.clusterIP]

    def prepare_for_create(self, obj: Any) -> None:
        """A new service has no load balancer yet, and addresses of one family."""
        obj.status = _ServiceStatus(loadBalancer=_LoadBalancerStatus())
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
        if spec.clusterIPs and not spec.clusterIP:
            spec.clusterIP = spec.clusterIPs[0]
        if spec.type == "ExternalName":
            spec.ipFamilies = spec.ipFamilyPolicy = None
            return
        if not spec.ipFamilyPolicy:
            spec.ipFamilyPolicy = "SingleStack"
        if not spec.ipFamilies:
            spec.ipFamilies = ["IPv6" if spec.clusterIP and ":" in spec.clusterIP else "IPv4"]

    def validate(self, obj: Any) -> list[FieldError]:
        """A service's type, ports, addresses and policies."""
        return validate_service(obj)

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """A cluster IP stays once it is set."""
        found: list[FieldError] = []
        if needs_cluster_ip(old) and new.spec.type != "ExternalName":
            after, before = new.spec.clusterIPs or [], old.spec.clusterIPs or []
            if before and after and after[0] != before[0]:
                found.append(invalid_value("spec.clusterIPs[0]", after, "may not change once set"))
        return found + validate_service(new)

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


def validate_service(service: Any) -> list[FieldError]:
    """All findings on a service."""
    found: list[FieldError] = []
    spec = service.spec
    headless = is_headless(service)
    if not spec.ports and not headless and spec.type != "ExternalName":
        found.append(required("spec.ports"))
    match spec.type:
        case "LoadBalancer":
            for index, port in enumerate(spec.ports or ()):
                if port.port == KUBELET_PORT:
                    found.append(
                        invalid_value(
                            f"spec.ports[{index}]",
                            port.port,
                            f"may not expose port {KUBELET_PORT} externally since it is used by kubelet",
                        )
                    )
            if headless:
                found.append(
                    invalid_value(
                        "spec.clusterIPs[0]", HEADLESS, "may not be set to 'None' for LoadBalancer services"
                    )
                )
        case "NodePort":
            if headless:
                found.append(
                    invalid_value(
                        "spec.clusterIPs[0]", HEADLESS, "may not be set to 'None' for NodePort services"
                    )
                )
        case "ExternalName":
            if spec.clusterIP or spec.clusterIPs:
                found.append(forbidden_field("spec.clusterIPs", "may not be set for ExternalName services"))
            name = (spec.externalName or "").removesuffix(".")
            if name:
                report(check_dns_subdomain(name), "spec.externalName", name, found)
            else:
                found.append(required("spec.externalName"))
    _validate_ports(spec, found)
    if spec.selector:
        validate_labels(spec.selector, "spec.selector", found)
    _validate_affinity(spec, found)
    _validate_addresses(spec, found)
    if not spec.type:
        found.append(required("spec.type"))
    elif spec.type not in TYPES:
        found.append(not_supported("spec.type", spec.type, TYPES))
    _validate_policies(service, found)
    return found


def _validate_ports(spec: Any, found: list[FieldError]) -> None:
    ports = spec.ports or ()
    seen_names: set[str] = set()
    seen_ports: set[tuple[str, int]] = set()
    seen_node_ports: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        where = f"spec.ports[{index}]"
        if not port.name:
            if len(ports) > 1:
                found.append(required(f"{where}.name"))
        else:
            report(check_dns_label(port.name), f"{where}.name", port.name, found)
            if port.name in seen_names:
                found.append(duplicate(f"{where}.name", port.name))
            seen_names.add(port.name)
        report(names.port_number(port.port or 0), f"{where}.port", port.port or 0, found)
        if not port.protocol:
            found.append(required(f"{where}.protocol"))
        elif port.protocol not in PROTOCOLS:
            found.append(not_supported(f"{where}.protocol", port.protocol, PROTOCOLS))
        target = port.targetPort
        if isinstance(target, str):
            report(names.port_name(target), f"{where}.targetPort", target, found)
        else:
            report(names.port_number(target or 0), f"{where}.targetPort", target or 0, found)
        if port.appProtocol:
            report(check_label_key(port.appProtocol), f"{where}.appProtocol", port.appProtocol, found)
        if port.nodePort:
            if spec.type == "ClusterIP":
                found.append(
                    forbidden_field(f"{where}.nodePort", "may not be used when `type` is 'ClusterIP'")
                )
            elif (port.protocol, port.nodePort) in seen_node_ports:
                found.append(duplicate(f"{where}.nodePort", port.nodePort))
            seen_node_ports.add((port.protocol, port.nodePort))
        if (port.protocol, port.port) in seen_ports:
            found.append(duplicate(where, {"port": port.port, "protocol": port.protocol}))
        seen_ports.add((port.protocol, port.port))


def _validate_affinity(spec: Any, found: list[FieldError]) -> None:
    if not spec.sessionAffinity:
        found.append(required("spec.sessionAffinity"))
    elif spec.sessionAffinity not in AFFINITIES:
        found.append(not_supported("spec.sessionAffinity", spec.sessionAffinity, AFFINITIES))
    elif spec.sessionAffinity == "ClientIP" and spec.sessionAffinityConfig is not None:
        client = spec.sessionAffinityConfig.clientIP
        seconds = client.timeoutSeconds if client is not None else None
        if seconds is None or not 0 < seconds <= MAX_CLIENT_IP_TIMEOUT_SECONDS:
            found.append(
                invalid_value(
                    "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                    seconds,
                    f"must be greater than 0 and less than {MAX_CLIENT_IP_TIMEOUT_SECONDS}",
                )
            )


def _validate_addresses(spec: Any, found: list[FieldError]) -> None:
    cluster_ips = spec.clusterIPs or ()
    if spec.clusterIP and cluster_ips and cluster_ips[0] != spec.clusterIP:
        found.append(invalid_value("spec.clusterIPs", cluster_ips, "first value must match `clusterIP`"))
    if HEADLESS in cluster_ips:
        if len(cluster_ips) > 1:
            found.append(
                invalid_value("spec.clusterIPs", cluster_ips, "'None' must be the first and only value")
            )
    else:
        for index, address in enumerate(cluster_ips):
            report(names.ip(address), f"spec.clusterIPs[{index}]", address, found)
    for index, address in enumerate(spec.externalIPs or ()):
        report(names.ip(address), f"spec.externalIPs[{index}]", address, found)
    for index, family in enumerate(spec.ipFamilies or ()):
        if family not in FAMILIES:
            found.append(not_supported(f"spec.ipFamilies[{index}]", family, FAMILIES))
    if spec.ipFamilyPolicy and spec.ipFamilyPolicy not in FAMILY_POLICIES:
        found.append(not_supported("spec.ipFamilyPolicy", spec.ipFamilyPolicy, FAMILY_POLICIES))
    for index, cidr in enumerate(spec.loadBalancerSourceRanges or ()):
        if spec.type != "LoadBalancer":
            found.append(
                forbidden_field(
                    "spec.LoadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'"
                )
            )
            break
        report(names.cidr(cidr.strip()), f"spec.LoadBalancerSourceRanges[{index}]", cidr, found)


def _validate_policies(service: Any, found: list[FieldError]) -> None:
    spec = service.spec
    policy = spec.externalTrafficPolicy
    if is_externally_accessible(service):
        if not policy:
            found.append(required("spec.externalTrafficPolicy"))
        elif policy not in TRAFFIC_POLICIES:
            found.append(not_supported("spec.externalTrafficPolicy", policy, TRAFFIC_POLICIES))
    elif policy:
        found.append(
            invalid_value(
                "spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services"
            )
        )
    if spec.healthCheckNodePort and not needs_health_check_node_port(service):
        found.append(
            invalid_value(
                "spec.healthCheckNodePort",
                spec.healthCheckNodePort,
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
            )
        )
    policy = spec.internalTrafficPolicy
    if spec.type != "ExternalName":
        if not policy:
            found.append(required("spec.internalTrafficPolicy"))
        elif policy not in TRAFFIC_POLICIES:
            found.append(not_supported("spec.internalTrafficPolicy", policy, TRAFFIC_POLICIES))
    if spec.allocateLoadBalancerNodePorts is not None and spec.type != "LoadBalancer":
        found.append(
            forbidden_field(
                "spec.allocateLoadBalancerNodePorts", "may only be used when `type` is 'LoadBalancer'"
            )
        )
    if spec.loadBalancerClass is not None:
        if spec.type != "LoadBalancer":
            found.append(
                forbidden_field("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'")
            )
        else:
            report(
                check_label_key(spec.loadBalancerClass),
                "spec.loadBalancerClass",
                spec.loadBalancerClass,
                found,
            )


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
