"""Informers shared by all controllers of the process.

Each resource is watched once, through the view in `VIEWS` (or the bare metadata view when no controller has a view of it), whoever asks
first. Controllers ask for informers, indexes and handlers while they are built; `start` runs everything that was asked for, and informers that
are asked for later start at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Protocol, TypeVar

from lakh.client import resources as r
from lakh.client.client import Client
from lakh.client.informer import Informer
from lakh.client.resources import Resource
from lakh.client.tasks import TaskGuard
from lakh.machinery import volumes

from . import (
    autoscalerviews,
    certificaterequests,
    claimviews,
    clusterviews,
    policyviews,
    quotaviews,
    replicationviews,
    views,
)
from .ownedpods import OwnedPods
from .pods import controller_of
from .sharing import share_node, share_pod


class Watched(Protocol):
    """Whatever has metadata."""

    @property
    def metadata(self) -> Any:
        """With name, namespace, uid and resourceVersion."""


T = TypeVar("T", bound=Watched)

VIEWS: dict[Resource, type[Any]] = {
    r.PODS: views.Pod,
    r.NODES: views.Node,
    r.NAMESPACES: views.Namespace,
    r.REPLICASETS: views.ReplicaSet,
    r.REPLICATIONCONTROLLERS: replicationviews.ReplicationController,
    r.DEPLOYMENTS: views.Deployment,
    r.JOBS: views.Job,
    r.CRONJOBS: views.CronJob,
    r.DAEMONSETS: views.DaemonSet,
    r.STATEFULSETS: views.StatefulSet,
    r.CONTROLLERREVISIONS: views.ControllerRevision,
    r.SERVICES: views.Service,
    r.ENDPOINTSLICES: views.EndpointSlice,
    r.ENDPOINTS: views.Endpoints,
    r.PODDISRUPTIONBUDGETS: views.Budget,
    r.PERSISTENTVOLUMECLAIMS: volumes.ClaimView,
    r.PERSISTENTVOLUMES: volumes.VolumeView,
    r.STORAGECLASSES: volumes.StorageClassView,
    r.CLUSTERROLES: clusterviews.ClusterRole,
    r.SERVICECIDRS: clusterviews.ServiceCIDR,
    r.IPADDRESSES: views.Object,
    r.VALIDATINGADMISSIONPOLICIES: policyviews.ValidatingAdmissionPolicy,
    r.CERTIFICATESIGNINGREQUESTS: certificaterequests.CertificateSigningRequest,
    r.HORIZONTALPODAUTOSCALERS: autoscalerviews.Autoscaler,
    r.RESOURCEQUOTAS: quotaviews.ResourceQuota,
    r.RESOURCECLAIMS: claimviews.ResourceClaim,
    r.RESOURCECLAIMTEMPLATES: claimviews.ResourceClaimTemplate,
}

SHARING: dict[Resource, Callable[[Any, Any], None]] = {r.PODS: share_pod, r.NODES: share_node}
"""Of these there may be a million."""

CONTROLLER = "controller"
"""Index: the uid of an object's controller."""
ORPHANS = "orphans"
"""Index: the namespace of an object that has no controller."""
NAMESPACE = "namespace"
"""Index: the namespace."""
NODE = "node"
"""Index of pods: the node's name."""


def _controller_uid(obj: Any) -> Iterable[str]:
    reference = controller_of(obj.metadata)
    return () if reference is None else (reference.uid,)


def _orphan_namespace(obj: Any) -> Iterable[str]:
    return (obj.metadata.namespace or "",) if controller_of(obj.metadata) is None else ()


def _namespace(obj: Any) -> Iterable[str]:
    return (obj.metadata.namespace or "",)


def _node(obj: Any) -> Iterable[str]:
    return (obj.spec.nodeName,) if obj.spec.nodeName else ()


_INDEXES: dict[str, Callable[[Any], Iterable[str]]] = {
    CONTROLLER: _controller_uid,
    ORPHANS: _orphan_namespace,
    NAMESPACE: _namespace,
    NODE: _node,
}
_PARTS: dict[str, Callable[[Any], object]] = {
    CONTROLLER: attrgetter("metadata.ownerReferences"),
    ORPHANS: attrgetter("metadata.ownerReferences"),
    NAMESPACE: attrgetter("metadata.namespace"),
    NODE: attrgetter("spec.nodeName"),
}
"""What the keys follow from, if views share it (see `sharing`)."""


class Informers:
    """The shared informers of one process."""

    def __init__(self, client: Client, make: Callable[..., Informer[Any]] = Informer) -> None:
        self._client = client
        self._make = make
        self._informers: dict[Resource, Informer[Any]] = {}
        self._asked: list[Informer[Any]] = []
        self._parts: list[tuple[str, Informer[Any]]] = []
        self._indexes: set[tuple[Resource, str]] = set()
        self._guard: TaskGuard | None = None
        self._owned: OwnedPods | None = None

    @property
    def owned_pods(self) -> OwnedPods:
        """The shared informer of pods, by the kind of their controllers."""
        if self._owned is None:
            self._owned = OwnedPods(self._shared(r.PODS, views.Pod))
        return self._owned

    def of(
        self,
        resource: Resource,
        view: type[T],
        *,
        indexes: Iterable[str] = (),
        field_selector: str | None = None,
    ) -> Informer[T]:
        """The shared informer of `resource`. `view` must be the one in `VIEWS`.

        With a selector it is an informer of its own.
        """
        if field_selector is not None:
            part: Informer[T] = self._make(
                self._client, resource, view, field_selector=field_selector, share=SHARING.get(resource)
            )
            self._parts.append((f"{resource.plural} {field_selector}", part))
            self._asked.append(part)
            return part
        wanted = VIEWS.get(resource, view)
        if wanted is not view:
            raise ValueError(f"{resource.plural} are watched as {wanted.__name__}, not as {view.__name__}")
        informer: Informer[T] = self._shared(resource, wanted)
        self._asked.append(informer)
        for name in indexes:
            if (resource, name) not in self._indexes:
                self._indexes.add((resource, name))
                informer.add_index(name, _INDEXES[name], part=_PARTS[name])
        return informer

    def metadata(self, resource: Resource) -> Informer[Any]:
        """The shared informer of `resource` for who needs the metadata only."""
        return self._shared(resource, VIEWS.get(resource, views.Bare))

    def _shared(self, resource: Resource, view: type[Any]) -> Informer[Any]:
        informer = self._informers.get(resource)
        if informer is None:
            informer = self._informers[resource] = self._make(
                self._client, resource, view, share=SHARING.get(resource)
            )
            if self._guard is not None:
                self._run(resource, informer)
        return informer

    def _run(self, resource: Resource, informer: Informer[Any]) -> None:
        assert self._guard is not None
        self._guard.spawn(informer.run(), name=f"{resource.plural}.{resource.group}", forever=True)

    def start(self, guard: TaskGuard) -> None:
        """Run all informers in `guard`."""
        self._guard = guard
        for resource, informer in list(self._informers.items()):
            self._run(resource, informer)
        for name, part in self._parts:
            guard.spawn(part.run(), name=name, forever=True)

    def asked(self) -> list[Informer[Any]]:
        """What was asked for through `of` since the last call: the informers that one controller depends on."""
        asked, self._asked = self._asked, []
        return asked
