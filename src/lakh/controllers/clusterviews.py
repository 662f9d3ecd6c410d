"""Narrow views of ranges of service addresses and of roles."""

from __future__ import annotations

from typing import Any

import msgspec

from .views import Condition, LabelSelector, Meta, View


class ServiceCIDRSpec(View):
    """`networking.k8s.io/v1.ServiceCIDRSpec`."""

    cidrs: list[str] | None = None


class ServiceCIDRStatus(View):
    """`networking.k8s.io/v1.ServiceCIDRStatus`."""

    conditions: list[Condition] | None = None


class ServiceCIDR(View):
    """A range of service addresses."""

    metadata: Meta
    spec: ServiceCIDRSpec = msgspec.field(default_factory=ServiceCIDRSpec)
    status: ServiceCIDRStatus = msgspec.field(default_factory=ServiceCIDRStatus)


class AggregationRule(View):
    """`rbac.authorization.k8s.io/v1.AggregationRule`."""

    clusterRoleSelectors: list[LabelSelector] | None = None


class ClusterRole(View):
    """A ClusterRole; its rules are plain, for they are only compared and copied."""

    metadata: Meta
    aggregationRule: AggregationRule | None = None
    rules: list[dict[str, Any]] | None = None
