"""rbac.authorization.k8s.io/v1."""

from __future__ import annotations

from lakh.apis.groups.base import GroupStrategy, declare


class ClusterRoleBindingStrategy(GroupStrategy):
    """ClusterRoleBinding."""


class ClusterRoleStrategy(GroupStrategy):
    """ClusterRole."""


class RoleBindingStrategy(GroupStrategy):
    """RoleBinding."""


class RoleStrategy(GroupStrategy):
    """Role."""


RESOURCES = (
    declare(
        "rbac.authorization.k8s.io",
        "v1",
        "clusterrolebindings",
        "ClusterRoleBinding",
        ClusterRoleBindingStrategy(),
        namespaced=False,
    ),
    declare(
        "rbac.authorization.k8s.io",
        "v1",
        "clusterroles",
        "ClusterRole",
        ClusterRoleStrategy(),
        namespaced=False,
    ),
    declare(
        "rbac.authorization.k8s.io",
        "v1",
        "rolebindings",
        "RoleBinding",
        RoleBindingStrategy(),
        namespaced=True,
    ),
    declare(
        "rbac.authorization.k8s.io",
        "v1",
        "roles",
        "Role",
        RoleStrategy(),
        namespaced=True,
    ),
)
