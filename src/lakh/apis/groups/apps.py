"""apps/v1."""

from __future__ import annotations

from lakh.apis.groups.base import GroupStrategy, declare
from lakh.apis.registry import Scale


class ControllerRevisionStrategy(GroupStrategy):
    """ControllerRevision."""


class DaemonSetStrategy(GroupStrategy):
    """DaemonSet."""

    has_status = True
    generation = True


class DeploymentStrategy(GroupStrategy):
    """Deployment."""

    has_status = True
    generation = True


class ReplicaSetStrategy(GroupStrategy):
    """ReplicaSet."""

    has_status = True
    generation = True


class StatefulSetStrategy(GroupStrategy):
    """StatefulSet."""

    has_status = True
    generation = True


RESOURCES = (
    declare(
        "apps",
        "v1",
        "controllerrevisions",
        "ControllerRevision",
        ControllerRevisionStrategy(),
        namespaced=True,
    ),
    declare(
        "apps",
        "v1",
        "daemonsets",
        "DaemonSet",
        DaemonSetStrategy(),
        namespaced=True,
        short_names=("ds",),
        categories=("all",),
    ),
    declare(
        "apps",
        "v1",
        "deployments",
        "Deployment",
        DeploymentStrategy(),
        namespaced=True,
        short_names=("deploy",),
        categories=("all",),
        scale=Scale(),
    ),
    declare(
        "apps",
        "v1",
        "replicasets",
        "ReplicaSet",
        ReplicaSetStrategy(),
        namespaced=True,
        short_names=("rs",),
        categories=("all",),
        scale=Scale(),
    ),
    declare(
        "apps",
        "v1",
        "statefulsets",
        "StatefulSet",
        StatefulSetStrategy(),
        namespaced=True,
        short_names=("sts",),
        categories=("all",),
        scale=Scale(),
    ),
)
