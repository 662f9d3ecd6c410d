"""Validation of networking.k8s.io/v1 (upstream's `apis/networking/validation`)."""

from __future__ import annotations

import ipaddress
from typing import Any

from lakh.apis import meta
from lakh.machinery import names
from lakh.machinery.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    too_long,
)

ANNOTATION_INGRESS_CLASS = "kubernetes.io/ingress.class"
MAX_CONTROLLER_BYTES = 250

_PATH_TYPES = ("Exact", "Prefix", "ImplementationSpecific")
_BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_BAD_SUFFIXES = ("/..", "/.")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_POLICY_TYPES = ("Egress", "Ingress")


def validate_ingress(obj: Any, *, creating: bool) -> list[FieldError]:
    """All findings on an ingress."""
    spec = obj.spec
    found: list[FieldError] = []
    if not spec.rules and spec.defaultBackend is None:
        found.append(
            invalid_value("spec", spec.rules, "either `defaultBackend` or `rules` must be specified")
        )
    if spec.defaultBackend is not None:
        _validate_backend(spec.defaultBackend, "spec.defaultBackend", found)
    for index, rule in enumerate(spec.rules or ()):
        _validate_rule(rule, f"spec.rules[{index}]", found)
    for index, tls in enumerate(spec.tls or ()):
        for position, host in enumerate(tls.hosts or ()):
            check = names.wildcard_dns_subdomain if "*" in host else names.dns_subdomain
            meta.report(check(host), f"spec.tls[{index}].hosts[{position}]", host, found)
        if tls.secretName:
            meta.report(
                names.dns_subdomain(tls.secretName),
                f"spec.tls[{index}].secretName",
                tls.secretName,
                found,
            )
    if spec.ingressClassName is not None:
        meta.report(
            names.dns_subdomain(spec.ingressClassName),
            "spec.ingressClassName",
            spec.ingressClassName,
            found,
        )
        annotation = (obj.metadata.annotations or {}).get(ANNOTATION_INGRESS_CLASS)
        if creating and annotation is not None:
            found.append(
                invalid_value(
                    f"annotations.{ANNOTATION_INGRESS_CLASS}",
                    annotation,
                    "can not be set when the class field is also set",
                )
            )
    return found


def _validate_rule(rule: Any, path: str, found: list[FieldError]) -> None:
    host = rule.host
    if host:
        if names.parse_ip(host) is not None:
            found.append(invalid_value(f"{path}.host", host, "must be a DNS name, not an IP address"))
        check = names.wildcard_dns_subdomain if "*" in host else names.dns_subdomain
        meta.report(check(host), f"{path}.host", host, found)
    if rule.http is None:
        return
    if not rule.http.paths:
        found.append(required(f"{path}.http.paths"))
    for index, entry in enumerate(rule.http.paths or ()):
        where = f"{path}.http.paths[{index}]"
        text, kind = entry.path or "", entry.pathType
        if kind is None:
            found.append(required(f"{where}.pathType", "pathType must be specified"))
        elif kind in ("Exact", "Prefix"):
            if not text.startswith("/"):
                found.append(invalid_value(f"{where}.path", text, "must be an absolute path"))
            for bad in _BAD_SEQUENCES:
                if bad in text:
                    found.append(invalid_value(f"{where}.path", text, f"must not contain '{bad}'"))
            for bad in _BAD_SUFFIXES:
                if text.endswith(bad):
                    found.append(invalid_value(f"{where}.path", text, f"cannot end with '{bad}'"))
        elif kind == "ImplementationSpecific":
            if text and not text.startswith("/"):
                found.append(invalid_value(f"{where}.path", text, "must be an absolute path"))
        else:
            found.append(not_supported(f"{where}.pathType", kind, _PATH_TYPES))
        _validate_backend(entry.backend, f"{where}.backend", found)


def _validate_backend(backend: Any, path: str, found: list[FieldError]) -> None:
    service = backend.service if backend is not None else None
    resource = backend.resource if backend is not None else None
    if service is not None and resource is not None:
        found.append(invalid_value(path, "", "cannot set both resource and service backends"))
    elif resource is not None:
        for name, why in (("kind", "kind is required"), ("name", "name is required")):
            value = getattr(resource, name)
            if not value:
                found.append(required(f"{path}.resource.{name}", why))
            else:
                meta.report(names.path_segment_name(value), f"{path}.resource.{name}", value, found)
    elif service is not None:
        if not service.name:
            found.append(required(f"{path}.service.name"))
        else:
            meta.report(names.dns1035_label(service.name), f"{path}.service.name", service.name, found)
        port = service.port
        port_name = port.name if port is not None else None
        number = port.number if port is not None else None
        if port_name and number:
            found.append(invalid_value(path, "", "cannot set both port name & port number"))
        elif port_name:
            meta.report(names.port_name(port_name), f"{path}.service.port.name", port_name, found)
        elif number:
            meta.report(names.port_number(number), f"{path}.service.port.number", number, found)
        else:
            found.append(required(path, "port name or number is required"))
    else:
        found.append(invalid_value(path, "", "resource or service backend is required"))


def validate_ingress_class(obj: Any) -> list[FieldError]:
    """All findings on an ingress class."""
    found: list[FieldError] = []
    controller = obj.spec.controller or ""
    if len(controller) > MAX_CONTROLLER_BYTES:
        found.append(too_long("spec.controller", MAX_CONTROLLER_BYTES))
    found += domain_prefixed_path(controller, "spec.controller")
    parameters = obj.spec.parameters
    if parameters is None:
        return found
    path = "spec.parameters"
    for name in ("kind", "name"):
        if not getattr(parameters, name):
            found.append(required(f"{path}.{name}", f"{name} is required"))
    if parameters.scope not in ("Cluster", "Namespace"):
        found.append(not_supported(f"{path}.scope", parameters.scope or "", ("Cluster", "Namespace")))
    elif parameters.scope == "Namespace":
        if not parameters.namespace:
            found.append(
                required(
                    f"{path}.namespace",
                    "`parameters.scope` is set to 'Namespace'",
                )
            )
    elif parameters.namespace is not None:
        found.append(forbidden_field(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'"))
    return found


def domain_prefixed_path(value: str, path: str) -> list[FieldError]:
    """`acme.io/foo`: a domain, a slash, a path."""
    if not value:
        return [required(path)]
    domain, slash, rest = value.partition("/")
    if not slash or not domain or not rest:
        return [invalid_value(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    found: list[FieldError] = []
    meta.report(names.dns_subdomain(domain), path, domain, found)
    return found


def validate_network_policy(obj: Any) -> list[FieldError]:
    """All findings on a network policy."""
    spec = obj.spec
    found = meta.validate_label_selector(spec.podSelector, "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(getattr(spec, direction) or ()):
            path = f"spec.{direction}[{index}]"
            for position, port in enumerate(rule.ports or ()):
                _validate_policy_port(port, f"{path}.ports[{position}]", found)
            for position, peer in enumerate(getattr(rule, "from_" if peers == "from" else "to") or ()):
                _validate_peer(peer, f"{path}.{peers}[{position}]", found)
    types = spec.policyTypes or ()
    if len(types) > len(_POLICY_TYPES):
        found.append(invalid_value("spec.policyTypes", types, "may not specify more than two policyTypes"))
    else:
        for index, kind in enumerate(types):
            if kind not in _POLICY_TYPES:
                found.append(not_supported(f"spec.policyTypes[{index}]", kind, _POLICY_TYPES))
    return found


def _validate_policy_port(port: Any, path: str, found: list[FieldError]) -> None:
    if port.protocol not in _PROTOCOLS:
        found.append(not_supported(f"{path}.protocol", port.protocol, _PROTOCOLS))
    if port.port is None:
        if port.endPort is not None:
            found.append(required(f"{path}.port", "must be specified when `endPort` is specified"))
    elif isinstance(port.port, int):
        meta.report(names.port_number(port.port), f"{path}.port", port.port, found)
        if port.endPort is not None:
            if port.endPort < port.port:
                found.append(
                    invalid_value(f"{path}.endPort", port.port, "must be greater than or equal to `port`")
                )
            meta.report(names.port_number(port.endPort), f"{path}.endPort", port.endPort, found)
    else:
        if port.endPort is not None:
            found.append(
                invalid_value(
                    f"{path}.endPort", port.endPort, "may not be specified when `port` is non-numeric"
                )
            )
        meta.report(names.port_name(port.port), f"{path}.port", port.port, found)


def _validate_peer(peer: Any, path: str, found: list[FieldError]) -> None:
    count = sum(part is not None for part in (peer.podSelector, peer.namespaceSelector, peer.ipBlock))
    found += meta.validate_label_selector(peer.podSelector, f"{path}.podSelector")
    found += meta.validate_label_selector(peer.namespaceSelector, f"{path}.namespaceSelector")
    if peer.ipBlock is not None:
        _validate_ip_block(peer.ipBlock, f"{path}.ipBlock", found)
    if count == 0:
        found.append(required(path, "must specify a peer"))
    elif count > 1 and peer.ipBlock is not None:
        found.append(forbidden_field(path, "may not specify both ipBlock and another peer"))


def _validate_ip_block(block: Any, path: str, found: list[FieldError]) -> None:
    if not block.cidr:
        found.append(required(f"{path}.cidr"))
        return
    messages = names.cidr(block.cidr)
    meta.report(messages, f"{path}.cidr", block.cidr, found)
    if messages:
        return
    network = _network(block.cidr)
    for index, text in enumerate(block.except_ or ()):
        where = f"{path}.except[{index}]"
        messages = names.cidr(text)
        meta.report(messages, where, text, found)
        if messages:
            continue
        part = _network(text)
        if part.version != network.version or part == network or not part.subnet_of(network):
            found.append(invalid_value(where, text, "must be a strict subset of `cidr`"))


def _network(text: str) -> Any:
    # Leading zeros, which Kubernetes takes, are none of ipaddress's business.
    address, _, bits = text.partition("/")
    return ipaddress.ip_network(f"{names.parse_ip(address)}/{bits}", strict=False)


def validate_ip_address(obj: Any) -> list[FieldError]:
    """All findings on an address."""
    ref = obj.spec.parentRef
    if ref is None:
        return [required("spec.parentRef")]
    found: list[FieldError] = []
    for name in ("resource", "name"):
        value = getattr(ref, name)
        if not value:
            found.append(required(f"spec.parentRef.{name}"))
        else:
            meta.report(names.path_segment_name(value), f"spec.parentRef.{name}", value, found)
    if ref.group:
        meta.report(names.dns_subdomain(ref.group), "spec.parentRef.group", ref.group, found)
    if ref.namespace:
        meta.report(names.path_segment_name(ref.namespace), "spec.parentRef.namespace", ref.namespace, found)
    return found


def validate_service_cidr(obj: Any) -> list[FieldError]:
    """All findings on a range of service addresses."""
    cidrs = obj.spec.cidrs or []
    path = "spec.cidrs"
    if not cidrs:
        return [required(path, "at least one CIDR required")]
    if len(cidrs) > 2:
        return [invalid_value(path, cidrs, "may only hold up to 2 values")]
    found: list[FieldError] = []
    versions = []
    for index, text in enumerate(cidrs):
        messages = names.cidr(text)
        meta.report(messages, f"{path}[{index}]", text, found)
        if not messages:
            versions.append(_network(text).version)
    if len(versions) == 2 and versions[0] == versions[1]:
        found.append(
            invalid_value(
                path,
                cidrs,
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            )
        )
    return found
