"""networking.k8s.io/v1: ingresses and their classes, network policies, service addresses. Validation is in `networking_validation`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lakh.apis import meta
from lakh.apis.groups import networking_validation as rules
from lakh.apis.groups import printing
from lakh.apis.groups.base import GroupStrategy, child, declare
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column
from lakh.machinery import addresses
from lakh.machinery.errors import FieldError

GROUP = "networking.k8s.io"
VERSION = "v1"

HOSTS_SHOWN = 3


class IngressStrategy(GroupStrategy):
    """Ingresses."""

    has_status = True
    generation = True
    columns = (
        NAME_COLUMN,
        Column("Class", description="The name of the IngressClass resource"),
        Column("Hosts", description="Hosts that incoming requests are matched against before the rule"),
        Column("Address", description="Ingress points of the load-balancer"),
        Column("Ports", description="Ports of TLS configurations that open"),
        AGE_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """A port of each service, be it none."""
        spec = child(obj, "spec")
        paths = (path for rule in spec.rules or () for path in (rule.http and rule.http.paths) or ())
        for backend in (spec.defaultBackend, *(child(path, "backend") for path in paths)):
            if backend is not None and backend.service is not None:
                child(backend.service, "port")

    def reset_status(self, obj: Any) -> None:
        """`loadBalancer` is always there."""
        super().reset_status(obj)
        child(obj.status, "loadBalancer")

    def validate(self, obj: Any) -> list[FieldError]:
        """A new ingress."""
        return rules.validate_ingress(obj, creating=True)

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """As a new one, but annotation and class may both be there."""
        return rules.validate_ingress(new, creating=False)

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Names and addresses."""
        return rules.validate_ingress_status(new.status, old.status)

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """The annotation that was there before the field."""
        if old is not None or rules.ANNOTATION_INGRESS_CLASS not in (obj.metadata.annotations or {}):
            return []
        return [
            f'annotation "{rules.ANNOTATION_INGRESS_CLASS}" is deprecated, please use '
            "'spec.ingressClassName' instead"
        ]

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get ingresses` shows it."""
        spec = obj.spec
        balancer = obj.status.loadBalancer if obj.status is not None else None
        points = (balancer.ingress if balancer is not None else None) or ()
        return [
            obj.metadata.name,
            spec.ingressClassName or printing.NONE,
            _hosts(spec.rules or ()),
            ",".join(printing.ingress_points(points)),
            "80, 443" if spec.tls else "80",
            printing.age(obj, now),
        ]


def _hosts(rules: Sequence[Any]) -> str:
    """The hosts of rules. What is left out is counted in rules, with a host or without one."""
    shown: list[str] = []
    full = False
    for rule in rules:
        full = full or len(shown) == HOSTS_SHOWN
        if rule.host and not full:
            shown.append(rule.host)
    if not shown:
        return "*"
    text = ",".join(shown)
    return f"{text} + {len(rules) - HOSTS_SHOWN} more..." if full else text


class IngressClassStrategy(GroupStrategy):
    """Ingress classes."""

    generation = True
    columns = (
        NAME_COLUMN,
        Column("Controller", description="Controller that is responsible for handling this class"),
        Column("Parameters", description="A reference to a resource with additional parameters"),
        AGE_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """Parameters are of the whole cluster."""
        parameters = child(obj, "spec").parameters
        if parameters is not None and parameters.scope is None:
            parameters.scope = "Cluster"

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole class."""
        return rules.validate_ingress_class(obj)

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The controller stays."""
        found: list[FieldError] = []
        meta.immutable(new.spec.controller, old.spec.controller, "spec.controller", found)
        return found + self.validate(new)

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get ingressclasses` shows it."""
        parameters, text = obj.spec.parameters, printing.NONE
        if parameters is not None:
            kind = f"{parameters.kind}.{parameters.apiGroup}" if parameters.apiGroup else parameters.kind
            text = f"{kind}/{parameters.name}"
        return [obj.metadata.name, obj.spec.controller or "", text, printing.age(obj, now)]


class NetworkPolicyStrategy(GroupStrategy):
    """Network policies."""

    generation = True
    columns = (
        NAME_COLUMN,
        Column("Pod-Selector", description="Selects the pods to which this policy applies."),
        AGE_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """TCP; ingress always, egress where there are egress rules; all pods."""
        spec = child(obj, "spec")
        for rule in [*(spec.ingress or ()), *(spec.egress or ())]:
            for port in rule.ports or ():
                if port.protocol is None:
                    port.protocol = "TCP"
        if not spec.policyTypes:
            spec.policyTypes = ["Ingress", "Egress"] if spec.egress else ["Ingress"]
        child(spec, "podSelector")

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole policy."""
        return rules.validate_network_policy(obj)

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """As a new one, but networks that were there before stay."""
        return rules.validate_network_policy(new, old)

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Networks in odd forms."""
        return [
            warning
            for path, text in rules.policy_networks(obj)
            for warning in addresses.cidr_warnings(text, path)
        ]

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get networkpolicies` shows it."""
        return [
            obj.metadata.name,
            printing.label_selector(obj.spec.podSelector),
            printing.age(obj, now),
        ]


class IPAddressStrategy(GroupStrategy):
    """Addresses in use; the name is the address."""

    columns = (
        NAME_COLUMN,
        Column("ParentRef", description="The resource that an IPAddress is attached to."),
    )

    def validate_name(self, name: str) -> list[str]:
        """An address in its canonical form."""
        return addresses.canonical_ip(name)

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole address."""
        return rules.validate_ip_address(obj)

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The parent stays."""
        found: list[FieldError] = []
        meta.immutable(new.spec.parentRef, old.spec.parentRef, "spec.parentRef", found)
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get ipaddresses` shows it."""
        ref, text = obj.spec.parentRef, printing.NONE
        if ref is not None:
            resource = f"{ref.resource}.{ref.group}" if ref.group else ref.resource or ""
            text = "/".join(part for part in (resource.lower(), ref.namespace, ref.name) if part)
        return [obj.metadata.name, text]


class ServiceCIDRStrategy(GroupStrategy):
    """Ranges of service addresses."""

    has_status = True
    columns = (
        NAME_COLUMN,
        Column("CIDRs", description="The ranges from which services get their addresses."),
        AGE_COLUMN,
    )

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole range."""
        return rules.validate_service_cidr(obj)

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The ranges stay; a second family may be added."""
        found: list[FieldError] = []
        before, after = old.spec.cidrs or [], new.spec.cidrs or []
        if len(before) == len(after):
            for index, text in enumerate(before):
                meta.immutable(after[index], text, f"spec.cidrs[{index}]", found)
        elif len(before) == 1 and len(after) == 2:
            meta.immutable(after[0], before[0], "spec.cidrs[0]", found)
            found += self.validate(new)
        else:
            meta.immutable(after, before, "spec.cidrs", found)
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get servicecidrs` shows it."""
        return [obj.metadata.name, ",".join(obj.spec.cidrs or ()), printing.age(obj, now)]


RESOURCES = (
    declare(GROUP, VERSION, "ingressclasses", "IngressClass", IngressClassStrategy(), namespaced=False),
    declare(
        GROUP,
        VERSION,
        "ingresses",
        "Ingress",
        IngressStrategy(),
        namespaced=True,
        short_names=("ing",),
    ),
    declare(
        GROUP,
        VERSION,
        "ipaddresses",
        "IPAddress",
        IPAddressStrategy(),
        namespaced=False,
        short_names=("ip",),
    ),
    declare(
        GROUP,
        VERSION,
        "networkpolicies",
        "NetworkPolicy",
        NetworkPolicyStrategy(),
        namespaced=True,
        short_names=("netpol",),
    ),
    declare(GROUP, VERSION, "servicecidrs", "ServiceCIDR", ServiceCIDRStrategy(), namespaced=False),
)
