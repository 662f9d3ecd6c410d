"""node.k8s.io/v1."""

from __future__ import annotations

from lakh.apis.groups.base import GroupStrategy, declare


class RuntimeClassStrategy(GroupStrategy):
    """RuntimeClass."""


RESOURCES = (
    declare(
        "node.k8s.io",
        "v1",
        "runtimeclasses",
        "RuntimeClass",
        RuntimeClassStrategy(),
        namespaced=False,
    ),
)
