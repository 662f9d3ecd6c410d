"""Resources: which paths a kind is served at.

`Resource` names one; the constants are those that components use. `discover` asks a server for everything it serves,
for components that work on any kind (garbage collector, namespace controller).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import quote

from .types import ObjectReference

__all__ = ["Resource", "from_discovery", "object_reference"]

_SAFE = re.compile(r"[A-Za-z0-9._~:@!$&'()*+,;=-]+").fullmatch


def _segment(text: str) -> str:
    """One path segment, percent-encoded where it must be."""
    return text if _SAFE(text) and text not in (".", "..") else quote(text, safe="").replace(".", "%2E")


@dataclass(frozen=True)
class Resource:
    """A resource type of the API. `verbs` is filled by discovery only and takes no part in equality."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    verbs: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    @cached_property
    def api_version(self) -> str:
        """`v1` or `apps/v1`, as in an object's apiVersion."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def root(self) -> str:
        """The path of its group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @cached_property
    def _all_path(self) -> str:
        return f"{self.root}/{self.plural}"

    @cached_property
    def _namespaced_prefix(self) -> str:
        return f"{self.root}/namespaces/"

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """The URL path of the collection, an object or a subresource.

        Without a namespace a namespaced resource's collection is that of all namespaces.
        """
        if self.namespaced and namespace:
            path = f"{self._namespaced_prefix}{_segment(namespace)}/{self.plural}"
        elif self.namespaced and name is not None:
            raise ValueError(f"{self.plural} {name!r}: a namespace is required")
        else:
            path = self._all_path
        if name is not None:
            if not name:
                raise ValueError(f"{self.plural}: resource name may not be empty")
            path = f"{path}/{_segment(name)}"
            if subresource:
                path = f"{path}/{subresource}"
        return path


def from_discovery(group: str, version: str, entries: Iterable[dict[str, Any]]) -> list[Resource]:
    """Resources of an `APIResourceList`'s entries; subresources are left out."""
    return [
        Resource(
            entry.get("group") or group,
            entry.get("version") or version,
            entry["name"],
            entry["kind"],
            bool(entry.get("namespaced")),
            frozenset(entry.get("verbs") or ()),
        )
        for entry in entries
        if "/" not in entry["name"]
    ]


def object_reference(resource: Resource, obj: Any) -> ObjectReference:
    """The reference to a view, for events and the like."""
    metadata = obj.metadata
    return ObjectReference(
        kind=resource.kind,
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        apiVersion=resource.api_version,
        resourceVersion=metadata.resourceVersion,
    )


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", False)
NODES = Resource("", "v1", "nodes", "Node", False)
PERSISTENTVOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", False)
PODS = Resource("", "v1", "pods", "Pod", True)
PODTEMPLATES = Resource("", "v1", "podtemplates", "PodTemplate", True)
SERVICES = Resource("", "v1", "services", "Service", True)
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints", True)
CONFIGMAPS = Resource("", "v1", "configmaps", "ConfigMap", True)
SECRETS = Resource("", "v1", "secrets", "Secret", True)
SERVICEACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount", True)
EVENTS = Resource("", "v1", "events", "Event", True)
LIMITRANGES = Resource("", "v1", "limitranges", "LimitRange", True)
RESOURCEQUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota", True)
REPLICATIONCONTROLLERS = Resource("", "v1", "replicationcontrollers", "ReplicationController", True)
PERSISTENTVOLUMECLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", True)

DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", True)
REPLICASETS = Resource("apps", "v1", "replicasets", "ReplicaSet", True)
STATEFULSETS = Resource("apps", "v1", "statefulsets", "StatefulSet", True)
DAEMONSETS = Resource("apps", "v1", "daemonsets", "DaemonSet", True)
CONTROLLERREVISIONS = Resource("apps", "v1", "controllerrevisions", "ControllerRevision", True)

JOBS = Resource("batch", "v1", "jobs", "Job", True)
CRONJOBS = Resource("batch", "v1", "cronjobs", "CronJob", True)

LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", True)
ENDPOINTSLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", True)
PRIORITYCLASSES = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False)
PODDISRUPTIONBUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True)
HORIZONTALPODAUTOSCALERS = Resource(
    "autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True
)

STORAGECLASSES = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", False)
CSINODES = Resource("storage.k8s.io", "v1", "csinodes", "CSINode", False)
CSIDRIVERS = Resource("storage.k8s.io", "v1", "csidrivers", "CSIDriver", False)
VOLUMEATTACHMENTS = Resource("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment", False)

INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress", True)
INGRESSCLASSES = Resource("networking.k8s.io", "v1", "ingressclasses", "IngressClass", False)
NETWORKPOLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", True)
IPADDRESSES = Resource("networking.k8s.io", "v1", "ipaddresses", "IPAddress", False)
SERVICECIDRS = Resource("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", False)
RUNTIMECLASSES = Resource("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", False)

ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role", True)
ROLEBINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", True)
CLUSTERROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False)
CLUSTERROLEBINDINGS = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False
)

VALIDATINGADMISSIONPOLICIES = Resource(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", False
)

CUSTOMRESOURCEDEFINITIONS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False
)
APISERVICES = Resource("apiregistration.k8s.io", "v1", "apiservices", "APIService", False)
CERTIFICATESIGNINGREQUESTS = Resource(
    "certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", False
)
SUBJECTACCESSREVIEWS = Resource(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", False
)
RESOURCECLAIMS = Resource("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim", True)
RESOURCECLAIMTEMPLATES = Resource(
    "resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate", True
)
RESOURCESLICES = Resource("resource.k8s.io", "v1", "resourceslices", "ResourceSlice", False)
DEVICECLASSES = Resource("resource.k8s.io", "v1", "deviceclasses", "DeviceClass", False)
