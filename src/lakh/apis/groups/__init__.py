"""Every GA resource of Kubernetes outside the core group, one module a group.

`RESOURCES` is in the order in which a client meets the groups in discovery: upstream's group priorities.
"""

from __future__ import annotations

from lakh.apis.groups import (
    admissionregistration,
    apiextensions,
    apiregistration,
    apps,
    authentication,
    authorization,
    autoscaling,
    batch,
    certificates,
    coordination,
    discovery,
    events,
    flowcontrol,
    networking,
    node,
    policy,
    rbac,
    resource,
    scheduling,
    storage,
)
from lakh.apis.registry import Resource

RESOURCES: tuple[Resource, ...] = (
    *apiregistration.RESOURCES,
    *apps.RESOURCES,
    *events.RESOURCES,
    *authentication.RESOURCES,
    *authorization.RESOURCES,
    *autoscaling.RESOURCES,
    *batch.RESOURCES,
    *certificates.RESOURCES,
    *networking.RESOURCES,
    *policy.RESOURCES,
    *rbac.RESOURCES,
    *storage.RESOURCES,
    *admissionregistration.RESOURCES,
    *apiextensions.RESOURCES,
    *scheduling.RESOURCES,
    *coordination.RESOURCES,
    *node.RESOURCES,
    *discovery.RESOURCES,
    *flowcontrol.RESOURCES,
    *resource.RESOURCES,
)
