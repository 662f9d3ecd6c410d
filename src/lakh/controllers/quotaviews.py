"""Narrow views of ResourceQuotas."""

from __future__ import annotations

import msgspec

from lakh.machinery.quotausage import Scope

from .views import Meta, View


class ScopeSelector(View):
    """`core/v1.ScopeSelector`."""

    matchExpressions: list[Scope] | None = None


class QuotaSpec(View):
    """`core/v1.ResourceQuotaSpec`."""

    hard: dict[str, str] | None = None
    scopes: list[str] | None = None
    scopeSelector: ScopeSelector | None = None


class QuotaStatus(View):
    """`core/v1.ResourceQuotaStatus`."""

    hard: dict[str, str] | None = None
    used: dict[str, str] | None = None


class ResourceQuota(View):
    """A quota."""

    metadata: Meta
    spec: QuotaSpec = msgspec.field(default_factory=QuotaSpec)
    status: QuotaStatus = msgspec.field(default_factory=QuotaStatus)
