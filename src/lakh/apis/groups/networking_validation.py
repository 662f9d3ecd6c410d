"""Validation of networking.k8s.io/v1 (upstream's `apis/networking/validation`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

from lakh.apis import meta
from lakh.machinery import addresses, names
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
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_POLICY_TYPES = ("Ingress", "Egress")
# Rules, and the attribute of their peers.
_DIRECTIONS = (("ingress", "from_"), ("egress", "to"))


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
        if creating and annotation is not None and annotation != spec.ingressClassName:
            found.append(
                invalid_value(
                    f"annotations.{ANNOTATION_INGRESS_CLASS}",
                    annotation,
                    "must match `ingressClassName` when both are specified",
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
            continue
        if kind in ("Exact", "Prefix"):
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
        _validate_reference(resource, f"{path}.resource", found)
    elif service is not None:
        if not service.name:
            found.append(required(f"{path}.service.name"))
        else:
            meta.report(names.dns_label(service.name), f"{path}.service.name", service.name, found)
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


def _validate_reference(reference: Any, path: str, found: list[FieldError]) -> None:
    """Group, kind and name of an object elsewhere."""
    if reference.apiGroup is not None:
        meta.report(names.dns_subdomain(reference.apiGroup), f"{path}.apiGroup", reference.apiGroup, found)
    for name in ("kind", "name"):
        value = getattr(reference, name)
        if not value:
            found.append(required(f"{path}.{name}"))
        else:
            meta.report(names.path_segment_name(value), f"{path}.{name}", value, found)


def validate_ingress_status(status: Any, old: Any) -> list[FieldError]:
    """Where a load balancer answers; addresses that were there before stay."""
    found: list[FieldError] = []
    known = {point.ip for point in _points(old)}
    for index, point in enumerate(_points(status)):
        path, host = f"status.loadBalancer.ingress[{index}]", point.hostname
        if point.ip and point.ip not in known:
            meta.report(addresses.ip(point.ip), f"{path}.ip", point.ip, found)
        if host:
            meta.report(names.dns_subdomain(host), f"{path}.hostname", host, found)
            if names.parse_ip(host) is not None:
                found.append(invalid_value(f"{path}.hostname", host, "must be a DNS name, not an IP address"))
    return found


def _points(status: Any) -> Collection[Any]:
    balancer = status.loadBalancer if status is not None else None
    return (balancer.ingress if balancer is not None else None) or ()


def validate_ingress_class(obj: Any) -> list[FieldError]:
    """All findings on an ingress class."""
    found: list[FieldError] = []
    controller = obj.spec.controller or ""
    if len(controller.encode()) > MAX_CONTROLLER_BYTES:
        found.append(too_long("spec.controller", MAX_CONTROLLER_BYTES))
    found += domain_prefixed_path(controller, "spec.controller")
    parameters = obj.spec.parameters
    if parameters is None:
        return found
    path = "spec.parameters"
    _validate_reference(parameters, path, found)
    match parameters.scope:
        case "Namespace":
            namespace = parameters.namespace
            if namespace is None:
                found.append(required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'"))
            else:
                meta.report(names.dns_label(namespace), f"{path}.namespace", namespace, found)
        case "Cluster":
            if parameters.namespace is not None:
                found.append(forbidden_field(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'"))
        case None:
            found.append(required(f"{path}.scope"))
        case scope:
            found.append(not_supported(f"{path}.scope", scope, ("Cluster", "Namespace")))
    return found


_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_is_http_path = re.compile(_HTTP_PATH).fullmatch


def domain_prefixed_path(value: str, path: str) -> list[FieldError]:
    """`acme.io/foo`: a domain, a slash, a path."""
    if not value:
        return [required(path)]
    domain, slash, rest = value.partition("/")
    if not slash or not domain or not rest:
        return [invalid_value(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    found: list[FieldError] = []
    meta.report(names.dns_subdomain(domain), path, domain, found)
    if not _is_http_path(rest):
        found.append(invalid_value(path, rest, names.regex_message("Invalid path", _HTTP_PATH)))
    return found


def validate_network_policy(obj: Any, old: Any = None) -> list[FieldError]:
    """All findings on a network policy; networks that `old` has anywhere stay."""
    spec = obj.spec
    known = {text for _path, text in policy_networks(old)} if old is not None else set()
    found = meta.validate_label_selector(spec.podSelector, "spec.podSelector")
    for direction, peers in _DIRECTIONS:
        for index, rule in enumerate(getattr(spec, direction) or ()):
            path = f"spec.{direction}[{index}]"
            for position, port in enumerate(rule.ports or ()):
                _validate_policy_port(port, f"{path}.ports[{position}]", found)
            for position, peer in enumerate(getattr(rule, peers) or ()):
                _validate_peer(peer, f"{path}.{peers.rstrip('_')}[{position}]", known, found)
    types = spec.policyTypes or ()
    if len(types) > len(_POLICY_TYPES):
        found.append(invalid_value("spec.policyTypes", types, "may not specify more than two policyTypes"))
    else:
        for index, kind in enumerate(types):
            if kind not in _POLICY_TYPES:
                found.append(not_supported(f"spec.policyTypes[{index}]", kind, _POLICY_TYPES, as_given=True))
    return found


def policy_networks(obj: Any) -> list[tuple[str, str]]:
    """Every network in a policy, with its path."""
    found: list[tuple[str, str]] = []
    for direction, peers in _DIRECTIONS:
        for index, rule in enumerate(getattr(obj.spec, direction) or ()):
            for position, peer in enumerate(getattr(rule, peers) or ()):
                if peer.ipBlock is None:
                    continue
                path = f"spec.{direction}[{index}].{peers.rstrip('_')}[{position}].ipBlock"
                found.append((f"{path}.cidr", peer.ipBlock.cidr or ""))
                found += [
                    (f"{path}.except[{number}]", text)
                    for number, text in enumerate(peer.ipBlock.except_ or ())
                ]
    return found


def _validate_policy_port(port: Any, path: str, found: list[FieldError]) -> None:
    if port.protocol is not None and port.protocol not in _PROTOCOLS:
        found.append(not_supported(f"{path}.protocol", port.protocol, _PROTOCOLS, as_given=True))
    end = port.endPort
    if port.port is None:
        if end is not None:
            found.append(
                invalid_value(f"{path}.endPort", end, "may not be specified when `port` is not specified")
            )
    elif isinstance(port.port, int):
        meta.report(names.port_number(port.port), f"{path}.port", port.port, found)
        if end is not None:
            if end < port.port:
                found.append(invalid_value(f"{path}.endPort", end, "must be greater than or equal to `port`"))
            meta.report(names.port_number(end), f"{path}.endPort", end, found)
    else:
        if end is not None:
            found.append(
                invalid_value(f"{path}.endPort", end, "may not be specified when `port` is non-numeric")
            )
        meta.report(names.port_name(port.port), f"{path}.port", port.port, found)


def _validate_peer(peer: Any, path: str, known: Collection[str], found: list[FieldError]) -> None:
    count = sum(part is not None for part in (peer.podSelector, peer.namespaceSelector, peer.ipBlock))
    found += meta.validate_label_selector(peer.podSelector, f"{path}.podSelector")
    found += meta.validate_label_selector(peer.namespaceSelector, f"{path}.namespaceSelector")
    if peer.ipBlock is not None:
        _validate_ip_block(peer.ipBlock, f"{path}.ipBlock", known, found)
    if count == 0:
        found.append(required(path, "must specify a peer"))
    elif count > 1 and peer.ipBlock is not None:
        found.append(forbidden_field(path, "may not specify both ipBlock and another peer"))


def _validate_ip_block(block: Any, path: str, known: Collection[str], found: list[FieldError]) -> None:
    if not block.cidr:
        found.append(required(f"{path}.cidr"))
        return
    if block.cidr not in known:
        meta.report(addresses.cidr(block.cidr), f"{path}.cidr", block.cidr, found)
    if addresses.parse_cidr(block.cidr) is None:
        return
    network = addresses.network(block.cidr)
    for index, text in enumerate(block.except_ or ()):
        where = f"{path}.except[{index}]"
        if text not in known:
            meta.report(addresses.cidr(text), where, text, found)
        if addresses.parse_cidr(text) is None:
            continue
        part: Any = addresses.network(text)
        if part.version != network.version or part == network or not part.subnet_of(network):
            found.append(invalid_value(where, text, "must be a strict subset of `cidr`"))


def validate_ip_address(obj: Any) -> list[FieldError]:
    """All findings on an address."""
    ref = obj.spec.parentRef
    if ref is None:
        return [required("spec.parentRef")]
    found: list[FieldError] = []
    rules: tuple[tuple[str, Callable[[str], list[str]], bool], ...] = (
        ("group", names.dns_subdomain, False),
        ("resource", names.path_segment_name, True),
        ("name", names.path_segment_name, True),
        ("namespace", names.path_segment_name, False),
    )
    for name, rule, needed in rules:
        value = getattr(ref, name)
        if value:
            meta.report(rule(value), f"spec.parentRef.{name}", value, found)
        elif needed:
            found.append(required(f"spec.parentRef.{name}"))
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
        meta.report(addresses.canonical_cidr(text), f"{path}[{index}]", text, found)
        if addresses.parse_cidr(text) is not None:
            versions.append(addresses.network(text).version)
    if len(versions) == 2 and versions[0] == versions[1]:
        found.append(
            invalid_value(
                path,
                cidrs,
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            )
        )
    return found
