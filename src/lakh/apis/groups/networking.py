"""networking.k8s.io/v1."""

from __future__ import annotations

from lakh.apis.groups.base import GroupStrategy, declare


class IngressClassStrategy(GroupStrategy):
    """IngressClass."""

    generation = True


class IngressStrategy(GroupStrategy):
    """Ingress."""

    has_status = True
    generation = True


class IPAddressStrategy(GroupStrategy):
    """IPAddress."""


class NetworkPolicyStrategy(GroupStrategy):
    """NetworkPolicy."""

    generation = True


class ServiceCIDRStrategy(GroupStrategy):
    """ServiceCIDR."""

    has_status = True


RESOURCES = (
    declare(
        "networking.k8s.io",
        "v1",
        "ingressclasses",
        "IngressClass",
        IngressClassStrategy(),
        namespaced=False,
    ),
    declare(
        "networking.k8s.io",
        "v1",
        "ingresses",
        "Ingress",
        IngressStrategy(),
        namespaced=True,
        short_names=("ing",),
    ),
    declare(
        "networking.k8s.io",
        "v1",
        "ipaddresses",
        "IPAddress",
        IPAddressStrategy(),
        namespaced=False,
        short_names=("ip",),
    ),
    declare(
        "networking.k8s.io",
        "v1",
        "networkpolicies",
        "NetworkPolicy",
        NetworkPolicyStrategy(),
        namespaced=True,
        short_names=("netpol",),
    ),
    declare(
        "networking.k8s.io",
        "v1",
        "servicecidrs",
        "ServiceCIDR",
        ServiceCIDRStrategy(),
        namespaced=False,
    ),
)
