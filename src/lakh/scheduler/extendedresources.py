"""Extended resources that devices stand behind: pods ask for `aws.amazon.com/neuron: 4`, and get devices of the DeviceClass of that name (KEP-5004).

A DeviceClass gives its devices a name as a resource, `spec.extendedResourceName`; each has another one by itself,
`deviceclass.resource.kubernetes.io/NAME`. Where a node has the resource among its allocatable ones, a device plugin serves it and NodeResourcesFit
counts as ever. On all other nodes DynamicResources allocates devices, for a claim that the scheduler makes for the pod:

    on a node   neuron: 16 allocatable    neuron: none, 16 free devices      neither
    verdict     counted by Fit            a special claim of 4 devices       no

So a class that asks for such a name has two more constraints: what Fit says where the resource is a node's own (`ResourceFit`), and the claim, which
may ask for something else on each kind of node (`devicedemand`). Classes that ask for no such name never come here.

Rules and wordings: upstream's plugins/dynamicresources/extendeddynamicresources.go and plugins/noderesources/fit.go (v1.36).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .columns import NodeColumns
from .constraints import UNLIMITED, Needs
from .deviceviews import ClaimView, DeviceClassView
from .requests import amounts
from .views import Container, PodSpec

__all__ = [
    "ANNOTATION",
    "STALE",
    "ContainerRequest",
    "ResourceFit",
    "StaleClaim",
    "classes_by_resource",
    "delegated",
    "owner_of_special",
    "requests_of",
    "special_claim",
    "special_spec",
    "status_patch",
]

Rows = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

IMPLICIT_PREFIX = "deviceclass.resource.kubernetes.io/"
ANNOTATION = "resource.kubernetes.io/extended-resource-claim"
MAX_NAME = 253
SUFFIX = "-extended-resources-"
STALE = "cannot schedule extended resource claim"


def classes_by_resource(classes: Iterable[DeviceClassView]) -> dict[str, str]:
    """The class behind each resource name. Of several with one name the newest counts, then the first by name."""
    found: dict[str, str] = {}
    by_name = sorted(classes, key=lambda c: c.metadata.name, reverse=True)
    for one in sorted(by_name, key=lambda c: c.metadata.creationTimestamp or ""):
        found[IMPLICIT_PREFIX + one.metadata.name] = one.metadata.name
        if one.spec.extendedResourceName:
            found[one.spec.extendedResourceName] = one.metadata.name
    return found


def delegated(columns: NodeColumns, name: str, rows: Rows) -> Bools:
    """Where devices would serve the resource: the nodes that have none of it themselves."""
    column = columns.resources.get(name)
    return np.ones(len(rows), np.bool_) if column is None else column.allocatable[rows] <= 0


@dataclass(frozen=True, slots=True)
class ContainerRequest:
    """A request of the special claim that serves a container: the container's place among all, init containers first."""

    container: int
    resource: str
    request: str


Requests = list[tuple[str, str, int]]
"""Name, device class, count."""


def requests_of(spec: PodSpec, classes: Mapping[str, str]) -> tuple[Requests, list[ContainerRequest]]:
    """The requests of the claim for some resources, given with their classes, and which of them serve which container.

    Containers that run side by side, sidecars included, have devices of their own. An init container uses those of the containers that start after it, and
    only what it needs beyond that is asked for; as init containers come one after the other, the largest of these requests is enough.
    """
    init = spec.initContainers or []
    containers = [*init, *(spec.containers or ())]
    lasting = [i for i, c in enumerate(containers) if i >= len(init) or c.restartPolicy == "Always"]
    passing = [i for i in range(len(init)) if i not in lasting]
    requests: Requests = []
    mappings: list[ContainerRequest] = []
    for name in sorted(classes):
        own: dict[int, tuple[str, str, int]] = {}
        for index in lasting:
            request, served = _request(containers[index], index, name, classes[name], ())
            if request is not None:
                own[index] = request
            mappings += served
        extra: list[tuple[str, str, int]] = []
        borrowed: list[ContainerRequest] = []
        for index in passing:
            later = [own[i] for i in lasting if i >= index and i in own]
            request, served = _request(containers[index], index, name, classes[name], later)
            if request is not None:
                extra.append(request)
            borrowed += served
        if extra:
            largest = max(extra, key=lambda r: r[2])  # the first of these
            smaller = {request[0] for request in extra} - {largest[0]}
            borrowed = [
                ContainerRequest(m.container, m.resource, largest[0]) if m.request in smaller else m
                for m in borrowed
            ]
            requests.append(largest)
        requests += own.values()
        mappings += borrowed
    return sorted(requests), mappings


def _request(
    container: Container, index: int, name: str, class_name: str, usable: Sequence[tuple[str, str, int]]
) -> tuple[tuple[str, str, int] | None, list[ContainerRequest]]:
    """What a container needs of a resource beyond what it may use of others' requests."""
    asked = (container.resources.requests if container.resources else None) or {}
    wanted = amounts({name: asked[name]})[name] if name in asked else 0
    served: list[ContainerRequest] = []
    if not wanted:
        return None, served
    for request in usable:
        served.append(ContainerRequest(index, name, request[0]))
        wanted -= request[2]
        if wanted <= 0:
            return None, served
    own = f"container-{index}-request-{sorted(asked).index(name)}"
    return (own, class_name, wanted), [*served, ContainerRequest(index, name, own)]


def special_spec(requests: Requests) -> dict[str, Any]:
    """The spec of the claim."""
    return {
        "devices": {
            "requests": [
                {
                    "name": name,
                    "exactly": {
                        "deviceClassName": class_name,
                        "allocationMode": "ExactCount",
                        "count": count,
                    },
                }
                for name, class_name, count in requests
            ]
        }
    }


def special_claim(namespace: str, name: str, uid: str, finalizer: str, requests: Requests) -> dict[str, Any]:
    """The ResourceClaim for a pod, as it is created; the server finds its name."""
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "namespace": namespace,
            "generateName": f"{name[: MAX_NAME - len(SUFFIX) - 5]}{SUFFIX}",
            "annotations": {ANNOTATION: "true"},
            "finalizers": [finalizer],
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid, "controller": True}
            ],
        },
        "spec": special_spec(requests),
    }


def owner_of_special(claim: ClaimView) -> str | None:
    """The uid of the pod that a claim was made for by a scheduler; None for all other claims."""
    metadata = claim.metadata
    if not metadata.annotations or metadata.annotations.get(ANNOTATION) != "true":
        return None
    return next((o.uid for o in metadata.ownerReferences or () if o.controller and o.kind == "Pod"), None)


class ResourceFit:
    """NodeResourcesFit for resources that devices may stand behind: it judges the nodes that have the resource themselves."""

    late = False
    version = 0

    def __init__(self, columns: NodeColumns, wanted: tuple[tuple[str, int], ...]) -> None:
        self._columns = columns
        self.wanted = wanted

    def __repr__(self) -> str:
        return f"ResourceFit({dict(self.wanted)})"

    def passes(self, rows: Rows) -> Bools:
        """Devices, or room enough."""
        ok = np.ones(len(rows), np.bool_)
        for name, amount in self.wanted:
            ok &= self.left(name, rows) >= amount
        return ok

    def left(self, name: str, rows: Rows) -> Ints:
        """What the nodes have left of a resource of their own."""
        column = self._columns.resources.get(name)
        if column is None:
            return np.full(len(rows), UNLIMITED, np.int64)
        allocatable = column.allocatable[rows]
        left: Ints = np.where(allocatable > 0, allocatable - column.requested[rows], UNLIMITED)
        return left

    def row_passes(self, row: int) -> bool:
        """The same for one row."""
        for name, amount in self.wanted:
            column = self._columns.resources.get(name)
            if column is not None:
                allocatable = column.allocatable_cells[row]
                if allocatable > 0 and allocatable - column.requested_cells[row] < amount:
                    return False
        return True

    def refusals(self, rows: Rows) -> list[tuple[Rows, str, bool]]:
        """As NodeResourcesFit says it; that a node is too small preemption does not change."""
        found: list[tuple[Rows, str, bool]] = []
        small = ~self.may_pass(rows)
        for name, amount in self.wanted:
            short = self.left(name, rows) < amount
            reason = f"Insufficient {name}"
            found += [(rows[short & small], reason, False), (rows[short & ~small], reason, True)]
        return [entry for entry in found if len(entry[0])]

    def may_pass(self, rows: Rows) -> Bools:
        """Nodes that are large enough."""
        ok = np.ones(len(rows), np.bool_)
        for name, amount in self.wanted:
            column = self._columns.resources.get(name)
            if column is not None:
                allocatable = column.allocatable[rows]
                ok &= (allocatable <= 0) | (allocatable >= amount)
        return ok

    def room(self, rows: Rows) -> Ints | None:
        """How many fit."""
        found = np.full(len(rows), UNLIMITED, np.int64)
        for name, amount in self.wanted:
            found = np.minimum(found, self.left(name, rows) // amount)
        return found

    def reserve(self, uid: str, needs: Needs | None, node: str) -> None:
        """The columns count what pods ask for."""


class StaleClaim:
    """A pod's special claim of an earlier attempt is still there. It has to go first: what it holds need not fit the node that is chosen now."""

    late = True
    version = 0

    def __repr__(self) -> str:
        return "StaleClaim()"

    def passes(self, rows: Rows) -> Bools:
        """None."""
        return np.zeros(len(rows), np.bool_)

    def row_passes(self, row: int) -> bool:
        """None does."""
        return False

    def refusals(self, rows: Rows) -> list[tuple[Rows, str, bool]]:
        """All of them."""
        return [(rows, STALE, False)]

    may_pass = passes

    def room(self, rows: Rows) -> Ints | None:
        """Nowhere."""
        return np.zeros(len(rows), np.int64)

    def reserve(self, uid: str, needs: Needs | None, node: str) -> None:
        """Never asked for."""


def status_patch(
    uid: str, claim: str, mappings: Iterable[ContainerRequest], containers: Sequence[str]
) -> dict[str, Any]:
    """The merge patch of a pod's status that says which claim serves which of its containers, given by name."""
    return {
        "metadata": {"uid": uid},
        "status": {
            "extendedResourceClaimStatus": {
                "resourceClaimName": claim,
                "requestMappings": [
                    {
                        "containerName": containers[mapping.container],
                        "resourceName": mapping.resource,
                        "requestName": mapping.request,
                    }
                    for mapping in mappings
                ],
            }
        },
    }
