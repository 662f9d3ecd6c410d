"""coordination.k8s.io/v1."""

from __future__ import annotations

from lakh.apis.groups.base import GroupStrategy, declare


class LeaseStrategy(GroupStrategy):
    """Lease."""


RESOURCES = (
    declare(
        "coordination.k8s.io", "v1", "leases", "Lease", LeaseStrategy(), namespaced=True, partition="leases"
    ),
)
