"""apiregistration.k8s.io/v1."""

from __future__ import annotations

from lakh.apis.groups.base import GroupStrategy, declare


class APIServiceStrategy(GroupStrategy):
    """APIService."""

    has_status = True


RESOURCES = (
    declare(
        "apiregistration.k8s.io",
        "v1",
        "apiservices",
        "APIService",
        APIServiceStrategy(),
        namespaced=False,
        categories=("api-extensions",),
        definition="io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
    ),
)
