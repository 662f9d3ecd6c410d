"""flowcontrol.apiserver.k8s.io/v1."""

from __future__ import annotations

from lakh.apis.groups.base import GroupStrategy, declare


class FlowSchemaStrategy(GroupStrategy):
    """FlowSchema."""

    has_status = True
    generation = True


class PriorityLevelConfigurationStrategy(GroupStrategy):
    """PriorityLevelConfiguration."""

    has_status = True
    generation = True


RESOURCES = (
    declare(
        "flowcontrol.apiserver.k8s.io",
        "v1",
        "flowschemas",
        "FlowSchema",
        FlowSchemaStrategy(),
        namespaced=False,
    ),
    declare(
        "flowcontrol.apiserver.k8s.io",
        "v1",
        "prioritylevelconfigurations",
        "PriorityLevelConfiguration",
        PriorityLevelConfigurationStrategy(),
        namespaced=False,
    ),
)
