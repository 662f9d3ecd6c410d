"""What is right in a service, what an update may change, what to warn of; and what a service needs, pure functions for the allocator too.

Mirrors upstream's `ValidateService`, `ValidateServiceUpdate` and what those call, and `GetWarningsForService`.
"""

from __future__ import annotations

from typing import Any

from lakh.apis.meta import check_dns_label, check_dns_subdomain, check_label_key, report, validate_labels
from lakh.machinery import addresses, names
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
PROTOCOLS = ("SCTP", "TCP", "UDP")
AFFINITIES = ("ClientIP", "None")
TRAFFIC_POLICIES = ("Cluster", "Local")
FAMILIES = ("IPv4", "IPv6")
FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
HEADLESS = "None"
MAX_CLIENT_IP_TIMEOUT_SECONDS = 86400
TRAFFIC_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
MAX_CLUSTER_IPS = 2
TOPOLOGY_HINTS = "service.kubernetes.io/topology-aware-hints"
TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
ONCE_SET = "may not change once set"


def is_headless(service: Any) -> bool:
    """Whether a service asks for no cluster IP."""
    return bool(service.spec.clusterIP == HEADLESS or service.spec.clusterIPs == [HEADLESS])


def needs_cluster_ip(service: Any) -> bool:
    """Whether a service has a cluster IP, be it `None`."""
    return service.spec.type in ("ClusterIP", "LoadBalancer", "NodePort")


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


def is_load_balancer(service: Any) -> bool:
    """Whether traffic comes through a load balancer."""
    return bool(service.spec.type == "LoadBalancer")


# -- a service by itself -----------------------------------------------------------------------------------------------------------


def validate_service(service: Any) -> list[FieldError]:
    """All findings on a service."""
    found: list[FieldError] = []
    spec, annotations = service.spec, service.metadata.annotations or {}
    headless = spec.clusterIPs == [HEADLESS]
    mode, hints = annotations.get(TOPOLOGY_MODE), annotations.get(TOPOLOGY_HINTS)
    if mode is not None and hints is not None and mode != hints:
        found.append(
            invalid_value(
                f"metadata.annotations[{TOPOLOGY_MODE}]",
                mode,
                f"must match annotations[{TOPOLOGY_HINTS}] when both are specified",
            )
        )
    if not spec.ports and not headless and spec.type != "ExternalName":
        found.append(required("spec.ports"))
    if headless and spec.type in ("LoadBalancer", "NodePort"):
        found.append(
            invalid_value(
                "spec.clusterIPs[0]", HEADLESS, f"may not be set to 'None' for {spec.type} services"
            )
        )
    elif spec.type == "ExternalName":
        _validate_external_name(spec, found)
    _validate_ports(spec.ports or (), found)
    if spec.selector:
        validate_labels(spec.selector, "spec.selector", found)
    _validate_affinity(spec, found)
    if spec.type != "ExternalName":
        _validate_cluster_ips(spec, headless, found)
    for index, address in enumerate(spec.externalIPs or ()):
        messages = addresses.ip(address) or addresses.non_special_ip(address)
        report(messages, f"spec.externalIPs[{index}]", address, found)
    if not spec.type:
        found.append(required("spec.type"))
    elif spec.type not in TYPES:
        found.append(not_supported("spec.type", spec.type, TYPES))
    _validate_port_numbers(spec, found)
    _validate_source_ranges(spec, annotations, found)
    if spec.allocateLoadBalancerNodePorts is not None and spec.type != "LoadBalancer":
        found.append(
            forbidden_field(
                "spec.allocateLoadBalancerNodePorts", "may only be used when `type` is 'LoadBalancer'"
            )
        )
    if spec.loadBalancerClass is not None:
        where, name = "spec.loadBalancerClass", spec.loadBalancerClass
        if spec.type == "LoadBalancer":
            report(check_label_key(name), where, name, found)
        else:
            found.append(forbidden_field(where, "may only be used when `type` is 'LoadBalancer'"))
    _validate_policies(service, found)
    distribution = spec.trafficDistribution
    if distribution is not None and distribution not in TRAFFIC_DISTRIBUTIONS:
        found.append(not_supported("spec.trafficDistribution", distribution, TRAFFIC_DISTRIBUTIONS))
    return found


def _validate_external_name(spec: Any, found: list[FieldError]) -> None:
    for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if getattr(spec, field):
            found.append(forbidden_field(f"spec.{field}", "may not be set for ExternalName services"))
    name = (spec.externalName or "").removesuffix(".")
    if name:
        report(check_dns_subdomain(name), "spec.externalName", name, found)
    else:
        found.append(required("spec.externalName"))


def _validate_ports(ports: Any, found: list[FieldError]) -> None:
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where = f"spec.ports[{index}]"
        if not port.name:
            if len(ports) > 1:
                found.append(required(f"{where}.name"))
        else:
            report(check_dns_label(port.name), f"{where}.name", port.name, found)
            if port.name in seen:
                found.append(duplicate(f"{where}.name", port.name))
            seen.add(port.name)
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
        if port.appProtocol is not None:
            report(check_label_key(port.appProtocol), f"{where}.appProtocol", port.appProtocol, found)


def _validate_affinity(spec: Any, found: list[FieldError]) -> None:
    affinity, config, path = spec.sessionAffinity, spec.sessionAffinityConfig, "spec.sessionAffinityConfig"
    if not affinity:
        found.append(required("spec.sessionAffinity"))
    elif affinity not in AFFINITIES:
        found.append(not_supported("spec.sessionAffinity", affinity, AFFINITIES))
    elif affinity == "None":
        if config is not None:
            found.append(forbidden_field(path, "must not be set when session affinity is None"))
    else:
        why = "when session affinity type is ClientIP"
        client = config.clientIP if config is not None else None
        if config is None:
            found.append(required(path, why))
        elif client is None:
            found.append(required(f"{path}.clientIP", why))
        elif client.timeoutSeconds is None:
            found.append(required(f"{path}.clientIP.timeoutSeconds", why))
        elif not 0 < client.timeoutSeconds <= MAX_CLIENT_IP_TIMEOUT_SECONDS:
            found.append(
                invalid_value(
                    f"{path}.clientIP.timeoutSeconds",
                    client.timeoutSeconds,
                    f"must be greater than 0 and less than {MAX_CLIENT_IP_TIMEOUT_SECONDS}",
                )
            )


def _validate_cluster_ips(spec: Any, headless: bool, found: list[FieldError]) -> None:
    """Cluster IPs and families that agree (`ValidateServiceClusterIPsRelatedFields`)."""
    path, given, families = "spec.clusterIPs", spec.clusterIPs or [], spec.ipFamilies or []
    if spec.clusterIP:
        if not given:
            found.append(required(path))
        elif given[0] != spec.clusterIP:
            found.append(invalid_value(path, given, "first value must match `clusterIP`"))
    elif given:
        found.append(invalid_value(path, given, "must be empty when `clusterIP` is not specified"))
    for index, family in enumerate(families):
        if family not in FAMILIES:
            found.append(not_supported(f"spec.ipFamilies[{index}]", family, FAMILIES))
        if family in families[:index]:
            found.append(duplicate(f"spec.ipFamilies[{index}]", family))
    if spec.ipFamilyPolicy is not None and spec.ipFamilyPolicy not in FAMILY_POLICIES:
        found.append(not_supported("spec.ipFamilyPolicy", spec.ipFamilyPolicy, FAMILY_POLICIES))
    wrong = False
    for index, address in enumerate(given):
        if index == 0 and address == HEADLESS:
            if len(given) > 1:
                wrong = True
                found.append(invalid_value(path, given, "'None' must be the first and only value"))
            continue
        messages = addresses.ip(address)
        wrong = wrong or bool(messages)
        report(messages, f"{path}[{index}]", address, found)
    if len(given) > MAX_CLUSTER_IPS:
        found.append(invalid_value(path, given, "may only hold up to 2 values"))
    if wrong:
        return
    if len(given) > 1 and not addresses.are_dual_stack(given):
        found.append(invalid_value(path, given, "may specify no more than one IP for each IP family"))
    for index, (address, family) in enumerate(zip(given, families, strict=False)):
        if not headless and family in FAMILIES and (":" in address) != (family == "IPv6"):
            found.append(
                invalid_value(
                    f"{path}[{index}]",
                    address,
                    f"expected an {family} value as indicated by `ipFamilies[{index}]`",
                )
            )


def _validate_port_numbers(spec: Any, found: list[FieldError]) -> None:
    ports = spec.ports or ()
    if spec.type == "ClusterIP":
        for index, port in enumerate(ports):
            if port.nodePort:
                found.append(
                    forbidden_field(
                        f"spec.ports[{index}].nodePort", "may not be used when `type` is 'ClusterIP'"
                    )
                )
    seen: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        if port.nodePort:
            if (port.protocol, port.nodePort) in seen:
                found.append(duplicate(f"spec.ports[{index}].nodePort", port.nodePort))
            seen.add((port.protocol, port.nodePort))
    seen = set()
    for index, port in enumerate(ports):
        if (port.protocol, port.port) in seen:
            # Upstream's own struct, with the fields that make up the key.
            shown = {
                "Name": "",
                "Protocol": port.protocol or "",
                "AppProtocol": None,
                "Port": port.port or 0,
                "TargetPort": 0,
                "NodePort": 0,
            }
            found.append(duplicate(f"spec.ports[{index}]", shown))
        seen.add((port.protocol, port.port))


def _validate_source_ranges(spec: Any, annotations: dict[str, str], found: list[FieldError]) -> None:
    path, ranges, shared = "spec.LoadBalancerSourceRanges", spec.loadBalancerSourceRanges or [], False
    if not ranges:
        text = annotations.get(SOURCE_RANGES)
        if text is None:
            return
        path, shared = f"metadata.annotations[{SOURCE_RANGES}]", True
        ranges = text.strip().split(",") if text.strip() else []
    if spec.type != "LoadBalancer":
        found.append(forbidden_field(path, "may only be used when `type` is 'LoadBalancer'"))
    for index, network in enumerate(ranges):
        where = path if shared else f"{path}[{index}]"
        report(addresses.cidr(network.strip()), where, network.strip(), found)


def _validate_policies(service: Any, found: list[FieldError]) -> None:
    spec = service.spec
    policy, port = spec.externalTrafficPolicy, spec.healthCheckNodePort
    if not is_externally_accessible(service):
        if policy:
            found.append(
                invalid_value(
                    "spec.externalTrafficPolicy",
                    policy,
                    "may only be set for externally-accessible services",
                )
            )
    elif not policy:
        found.append(required("spec.externalTrafficPolicy"))
    elif policy not in TRAFFIC_POLICIES:
        found.append(not_supported("spec.externalTrafficPolicy", policy, TRAFFIC_POLICIES))
    if not needs_health_check_node_port(service):
        if port:
            found.append(
                invalid_value(
                    "spec.healthCheckNodePort",
                    port,
                    "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
                )
            )
    elif not port:
        found.append(required("spec.healthCheckNodePort"))
    else:
        report(names.port_number(port), "spec.healthCheckNodePort", port, found)
    policy = spec.internalTrafficPolicy
    if policy is None:
        if spec.type in ("ClusterIP", "LoadBalancer", "NodePort"):
            found.append(required("spec.internalTrafficPolicy"))
    elif policy not in TRAFFIC_POLICIES:
        found.append(not_supported("spec.internalTrafficPolicy", policy, TRAFFIC_POLICIES))


# -- updates -----------------------------------------------------------------------------------------------------------------------


def _is_headless(service: Any) -> bool:
    return bool(service.spec.clusterIPs == [HEADLESS])


def validate_address_changes(new: Any, old: Any, found: list[FieldError]) -> None:
    """A second cluster IP may come and go, the first stays (`validateUpgradeDowngradeClusterIPs`)."""
    if "ExternalName" in (new.spec.type, old.spec.type) or (_is_headless(new) and _is_headless(old)):
        return
    after, before = new.spec.clusterIPs or [], old.spec.clusterIPs or []
    first = invalid_value("spec.clusterIPs[0]", after, ONCE_SET)
    if len(after) == len(before):
        for index, address in enumerate(before):
            if address != after[index]:
                found.append(invalid_value(f"spec.clusterIPs[{index}]", after, ONCE_SET))
    elif len(after) < len(before):
        if not after:
            found.append(invalid_value("spec.clusterIPs[0]", None, "primary clusterIP can not be unset"))
        elif after[0] != before[0]:
            found.append(first)
        if len(after) == 1:
            _released("clusterIP", new.spec, found)
    elif before and after[0] != before[0]:
        found.append(first)


def _released(what: str, spec: Any, found: list[FieldError]) -> None:
    if spec.ipFamilyPolicy != "SingleStack":
        found.append(
            invalid_value(
                "spec.ipFamilyPolicy",
                spec.ipFamilyPolicy,
                f"must be set to 'SingleStack' when releasing the secondary {what}",
            )
        )


def validate_family_changes(new: Any, old: Any, found: list[FieldError]) -> None:
    """A second family may come and go, the first stays (`validateUpgradeDowngradeIPFamilies`)."""
    if "ExternalName" in (new.spec.type, old.spec.type) or _is_headless(new) or _is_headless(old):
        return
    after, before = new.spec.ipFamilies or [], old.spec.ipFamilies or []
    path = "spec.ipFamilies[0]"
    if len(after) == len(before):
        found += [invalid_value(path, after, ONCE_SET) for a, b in zip(after, before, strict=True) if a != b]
        return
    if len(after) < len(before) and not new.spec.clusterIPs:
        found.append(invalid_value(path, after, "primary ipFamily can not be unset"))
    if after and before and after[0] != before[0]:
        found.append(invalid_value(path, new.spec.clusterIPs or [], ONCE_SET))
    if len(after) < len(before) and len(after) == 1:
        _released("ipFamily", new.spec, found)


# -- warnings ----------------------------------------------------------------------------------------------------------------------


def service_warnings(service: Any) -> list[str]:
    """All warnings about a service."""
    spec, found = service.spec, list[str]()
    external = spec.externalIPs or ()
    headless = spec.type == "ClusterIP" and spec.clusterIP == HEADLESS
    if TOPOLOGY_HINTS in (service.metadata.annotations or {}):
        found.append(f"annotation {TOPOLOGY_HINTS} is deprecated, please use {TOPOLOGY_MODE} instead")
    if spec.clusterIP and spec.clusterIP != HEADLESS:
        for index, address in enumerate(spec.clusterIPs or ()):
            found += addresses.ip_warnings(address, f"spec.clusterIPs[{index}]")
    if headless:
        ignored = (
            ("loadBalancerIP", bool(spec.loadBalancerIP)),
            ("externalIPs", bool(external)),
            ("SessionAffinity", spec.sessionAffinity != "None"),
        )
        found += [f"spec.{name} is ignored for headless services" for name, is_set in ignored if is_set]
    for index, address in enumerate(external):
        found += addresses.ip_warnings(address, f"spec.externalIPs[{index}]")
    if external and not headless and spec.type != "ExternalName":
        found.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    if spec.loadBalancerIP:
        found += addresses.ip_warnings(spec.loadBalancerIP, "spec.loadBalancerIP")
    for index, network in enumerate(spec.loadBalancerSourceRanges or ()):
        found += addresses.cidr_warnings(network, f"spec.loadBalancerSourceRanges[{index}]")
    if spec.type == "ExternalName" and external:
        found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if spec.type != "ExternalName" and spec.externalName:
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.trafficDistribution == "PreferClose":
        found.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return found
