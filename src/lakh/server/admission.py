"""Admission: what the cluster says to an object beyond its own validity.

The plugins that upstream enables by default and that have something to say here, in upstream's order: NamespaceLifecycle, ServiceAccount,
TaintNodesByCondition, Priority, DefaultTolerationSeconds, DefaultStorageClass, StorageObjectInUseProtection, RuntimeClass,
PersistentVolumeClaimResize, DefaultIngressClass, CertificateSubjectRestriction. Each is a function of the cluster and the object; it changes the object or raises 403. Verdicts rest on durable state: no pod is stored in a namespace that a crash takes back.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lakh.apis.definitions import schema
from lakh.apis.groups.certificates import forbidden_subject
from lakh.apis.groups.networking_validation import ANNOTATION_INGRESS_CLASS
from lakh.apis.groups.printing import is_default
from lakh.apis.groups.resource import ADMIN_ACCESS_LABEL, asks_for_admin_access
from lakh.apis.podannotations import MIRROR
from lakh.apis.volumes import ACCESS_VOLUME_PREFIX, access_volume
from lakh.machinery import errors
from lakh.server.cluster import Cluster
from lakh.server.context import Context
from lakh.server.following import Following
from lakh.server.knownpods import KnownPod
from lakh.server.services import ServiceAddresses
from lakh.server.storage import ResourceStore, generate_name
from lakh.server.storage_admission import (
    CLAIM_FINALIZER,
    VOLUME_FINALIZER,
    check_expansion,
    default_storage_class,
    protect,
)
from lakh.store.state import Event, Item

IS_DEFAULT_INGRESS_CLASS = "ingressclass.kubernetes.io/is-default-class"
TOLERATION_SECONDS = 300
API_TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
# Service accounts whose views are kept: a cluster has some thousands of namespaces, a view is 200 bytes.
MAX_ACCOUNTS = 65_536
NOT_READY = "node.kubernetes.io/not-ready"
CLAIMS = "resourceclaims.resource.k8s.io"
CLAIM_TEMPLATES = "resourceclaimtemplates.resource.k8s.io"
PODGROUPS = "podgroups.scheduling.k8s.io"
UNREACHABLE = "node.kubernetes.io/unreachable"

# Creates in a namespace that is going away are refused, but these reviews may still be made.
_ALLOWED_IN_TERMINATING = frozenset(("localsubjectaccessreviews.authorization.k8s.io",))


class ServiceAccountView(msgspec.Struct, gc=False):
    """Of core/v1 ServiceAccount, what a pod that runs as one gets."""

    automountServiceAccountToken: bool | None = None
    imagePullSecrets: list[PullSecret] | None = None


class PullSecret(msgspec.Struct, gc=False):
    """core/v1 LocalObjectReference."""

    name: str | None = None


decode_account = msgspec.json.Decoder(ServiceAccountView).decode


class Admission:
    """The chain, on one cluster."""

    def __init__(self, cluster: Cluster, services: ServiceAddresses) -> None:
        self.cluster = cluster
        self.services = services
        core = "io.k8s.api.core.v1."
        self._toleration = schema().struct(core + "Toleration")
        self._taint = schema().struct(core + "Taint")
        self._node_spec = schema().struct(core + "NodeSpec")
        self._mount = schema().struct(core + "VolumeMount")
        self._reference = schema().struct(core + "LocalObjectReference")
        self._accounts: dict[str, tuple[int, ServiceAccountView]] = {}
        self._global_default: Any = None
        self._classes_changed = True
        classes = self._class_store = cluster.named("scheduling.k8s.io", "v1", "priorityclasses")
        self._account_store = cluster.named("", "v1", "serviceaccounts")
        self._watch = Following(classes.partition, classes.table, self._on_class, lambda: self._on_class([]))

    def __call__(
        self, context: Context, verb: str, store: ResourceStore, obj: Any, old: Any, subresource: str = ""
    ) -> None:
        """Admits an object that is about to be written; raises 403, 404."""
        table = store.table
        if verb == "create" and store.resource.namespaced:
            self.namespace_lifecycle(store, obj)
        if subresource:
            if subresource == "status" and table == CLAIMS:
                self.device_admin_access(store, obj, old, subresource)
            return
        if table == "pods":
            if verb == "create" and isinstance(obj, KnownPod):
                self.known_pod(obj)
            elif verb == "create":
                self.service_account(store, obj)
                self.priority(store, obj)
                self.default_tolerations(obj)
                if obj.spec is not None and (obj.spec.runtimeClassName or obj.spec.overhead):
                    self.runtime_class(obj)
        elif table == PODGROUPS:
            if verb == "create":
                self.priority(store, obj)
        elif table == "nodes":
            if verb == "create":
                self.taint_new_node(obj)
        elif table == "persistentvolumeclaims":
            if verb == "create":
                default_storage_class(self.cluster, obj)
                protect(obj, CLAIM_FINALIZER)
            else:
                check_expansion(self.cluster, store, obj, old)
        elif table == "persistentvolumes":
            if verb == "create":
                protect(obj, VOLUME_FINALIZER)
        elif table == "services":
            self.services.allocate(obj, old, context.dry_run)
        elif table == "certificatesigningrequests.certificates.k8s.io":
            if verb == "create" and obj.spec is not None:
                self.requestor(context, obj.spec)
                why = forbidden_subject(obj.spec)
                if why:
                    raise errors.forbidden(
                        store.resource.group, store.resource.plural, obj.metadata.name or "", why
                    )
        elif table == "priorityclasses.scheduling.k8s.io":
            self.one_global_default(store, obj)
        elif table == "ingresses.networking.k8s.io":
            if verb == "create":
                self.default_ingress_class(store, obj)
        elif table in (CLAIMS, CLAIM_TEMPLATES):
            self.device_admin_access(store, obj, old, subresource)

    def known_pod(self, pod: KnownPod) -> None:
        """A pod whose spec was admitted before is admitted again while what that rested on is as it was."""
        template = pod.template
        now = self.pod_rests_on(pod.metadata.namespace, template.account, template.priority_class)
        pod.admitted = now is not None and now == template.rests_on

    def pod_rests_on(self, namespace: str, account: str, priority_class: str) -> tuple[Any, ...] | None:
        """What the verdict on a pod's spec rests on beside the spec: the service account and the priority class; None where one is missing."""
        accounts, classes = self._account_store, self._class_store
        item = accounts.partition.get(f"{accounts.table}/{namespace}/{account}")
        if item is None:
            return None
        if not priority_class:
            return item.revision, self._default_class(classes)
        found = classes.partition.get(classes.key("", priority_class))
        return None if found is None else (item.revision, found.revision)

    def default_ingress_class(self, store: ResourceStore, ingress: Any) -> None:
        """An ingress without a class gets the default one."""
        spec, annotations = ingress.spec, ingress.metadata.annotations or {}
        if spec is None or spec.ingressClassName is not None or ANNOTATION_INGRESS_CLASS in annotations:
            return
        classes = self.cluster.named(store.resource.group, "v1", "ingressclasses")
        found = (classes.codec.decode_stored(i.value) for i in classes.partition.range(classes.table).items)
        defaults = [c.metadata.name for c in found if is_default(c, IS_DEFAULT_INGRESS_CLASS)]
        if len(defaults) > 1:
            raise errors.forbidden(
                store.resource.group,
                store.resource.plural,
                ingress.metadata.name or "",
                f"Internal error occurred: {len(defaults)} default IngressClasses were found, only 1 allowed",
            )
        if defaults:
            spec.ingressClassName = defaults[0]

    def device_admin_access(self, store: ResourceStore, obj: Any, old: Any, subresource: str) -> None:
        """Devices are given to administrators in namespaces with a label only (upstream's AuthorizedForAdmin)."""
        path = asks_for_admin_access(obj, old, subresource)
        if not path:
            return
        namespace = self.cluster.namespace(obj.metadata.namespace)
        labels = (namespace.metadata.labels if namespace is not None else None) or {}
        if labels.get(ADMIN_ACCESS_LABEL) != "true":
            finding = errors.forbidden_field(
                path,
                f"admin access to devices requires the `{ADMIN_ACCESS_LABEL}: true` label on the containing namespace",
            )
            resource = store.resource
            raise errors.invalid(resource.group, resource.kind, obj.metadata.name or "", [finding])

    def namespace_lifecycle(self, store: ResourceStore, obj: Any) -> None:
        """Objects are created in namespaces that exist and stay."""
        name = obj.metadata.namespace
        namespace = self.cluster.namespace(name)
        if namespace is None:
            raise errors.not_found("", "namespaces", name)
        if namespace.metadata.deletionTimestamp is not None and store.table not in _ALLOWED_IN_TERMINATING:
            error = errors.forbidden(
                store.resource.group,
                store.resource.plural,
                obj.metadata.name or "",
                f"unable to create new content in namespace {name} because it is being terminated",
            )
            assert error.details is not None
            error.details["causes"] = [
                {
                    "reason": "NamespaceTerminating",
                    "message": f"namespace {name} is being terminated",
                    "field": "metadata.namespace",
                }
            ]
            raise error

    def service_account(self, store: ResourceStore, pod: Any) -> None:
        """Every pod runs as a service account of its namespace, and its containers reach the API with its token unless they opt out."""
        spec = pod.spec
        if spec is None:
            return
        if pod.metadata.annotations and MIRROR in pod.metadata.annotations:
            _check_mirror_pod(pod)
            return
        if not spec.serviceAccountName:
            spec.serviceAccountName = spec.serviceAccount = "default"
        name, namespace = spec.serviceAccountName, pod.metadata.namespace
        accounts = self.cluster.named("", "v1", "serviceaccounts")
        item = accounts.partition.get(accounts.key(namespace, name))
        if item is None:
            raise _pod_rejected(
                pod, f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
            )
        account = self._account(item)
        automount = spec.automountServiceAccountToken
        if automount is None:
            automount = account.automountServiceAccountToken
        if automount is not False:
            self.mount_token(spec)
        if account.imagePullSecrets and not spec.imagePullSecrets:
            spec.imagePullSecrets = [self._reference(name=s.name or "") for s in account.imagePullSecrets]

    def _account(self, item: Item) -> ServiceAccountView:
        """What of a service account matters to pods; decoded once for each of its versions."""
        found = self._accounts.get(item.key)
        if found is None or found[0] != item.revision:
            if len(self._accounts) >= MAX_ACCOUNTS:
                self._accounts.clear()
            found = self._accounts[item.key] = item.revision, decode_account(item.value)
        return found[1]

    def mount_token(self, spec: Any) -> None:
        """Each container that has nothing else there gets the volume with the token, the cluster's certificates and its namespace."""
        name, volumes = "", spec.volumes or ()
        for volume in volumes:
            if volume.name and volume.name.startswith(ACCESS_VOLUME_PREFIX):
                name = volume.name
                break
        mount = None
        for containers in (spec.initContainers, spec.containers):
            for container in containers or ():
                mounts = container.volumeMounts
                if mounts and any(m.mountPath == API_TOKEN_PATH for m in mounts):
                    continue
                if mount is None:
                    mount = self._mount(
                        name=name or generate_name(ACCESS_VOLUME_PREFIX),
                        mountPath=API_TOKEN_PATH,
                        readOnly=True,
                    )
                container.volumeMounts = [*mounts, mount] if mounts else [mount]
        if mount is not None and not name:
            spec.volumes = [*volumes, access_volume(mount.name)]

    def priority(self, store: ResourceStore, obj: Any) -> None:
        """The priority class of a pod or a pod group becomes a number, and a pod's preemption policy."""
        spec = obj.spec
        group, plural = ("", "pods") if store.table == "pods" else PODGROUPS.split(".", 1)[::-1]
        if spec is None:
            return
        classes = self.cluster.named("scheduling.k8s.io", "v1", "priorityclasses")
        name = spec.priorityClassName
        value, policy = 0, "PreemptLowerPriority"
        if name:
            item = classes.partition.get(classes.key("", name))
            if item is None:
                raise errors.forbidden(
                    group, plural, obj.metadata.name or "", f"no PriorityClass with name {name} was found"
                )
            found = classes.codec.decode_stored(item.value)
            value, policy = found.value or 0, found.preemptionPolicy or policy
        else:
            found = self._default_class(classes)
            if found is not None:
                spec.priorityClassName = found.metadata.name
                value, policy = found.value or 0, found.preemptionPolicy or policy
        if spec.priority is not None and spec.priority != value:
            raise errors.forbidden(
                group,
                plural,
                obj.metadata.name or "",
                f"the integer value of priority ({spec.priority}) must not be provided in pod spec; priority admission "
                f"controller computed {value} from the given PriorityClass name",
            )
        spec.priority = value
        if plural == "pods" and spec.preemptionPolicy is None:
            spec.preemptionPolicy = policy

    def _default_class(self, classes: ResourceStore) -> Any:
        """The class with globalDefault, or None; looked for again after a priority class has changed."""
        if self._classes_changed:
            self._classes_changed = False
            found = (
                classes.codec.decode_stored(i.value) for i in classes.partition.range(classes.table).items
            )
            self._global_default = next((c for c in found if c.globalDefault), None)
        return self._global_default

    def _on_class(self, events: list[Event]) -> None:
        self._classes_changed = True

    def default_tolerations(self, pod: Any) -> None:
        """Pods stay five minutes on a node that is not ready or not reachable."""
        spec = pod.spec
        if spec is None:
            return
        tolerations = spec.tolerations or []
        tolerated = {t.key or "" for t in tolerations if t.effect in (None, "", "NoExecute")}
        for key in (NOT_READY, UNREACHABLE):
            if key not in tolerated and "" not in tolerated:
                tolerations = [
                    *tolerations,
                    self._toleration(
                        key=key, operator="Exists", effect="NoExecute", tolerationSeconds=TOLERATION_SECONDS
                    ),
                ]
        spec.tolerations = tolerations

    def runtime_class(self, pod: Any) -> None:
        """The pod's runtime class is there; its overhead, node selector and tolerations become the pod's (KEP-688)."""
        spec, name = pod.spec, pod.spec.runtimeClassName
        overhead: dict[str, Any] | None = None
        if name:
            classes = self.cluster.named("node.k8s.io", "v1", "runtimeclasses")
            item = classes.partition.get(classes.key("", name))
            if item is None:
                raise _pod_rejected(pod, f'pod rejected: RuntimeClass "{name}" not found')
            found = classes.codec.decode_stored(item.value)
            overhead = (found.overhead.podFixed if found.overhead is not None else None) or None
            if found.scheduling is not None:
                _merge_scheduling(pod, found.scheduling)
        if overhead is None:
            if spec.overhead:
                raise _pod_rejected(
                    pod,
                    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
                )
        elif not spec.overhead:
            spec.overhead = dict(overhead)
        elif spec.overhead != overhead:
            raise _pod_rejected(
                pod, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
            )

    def taint_new_node(self, node: Any) -> None:
        """A new node takes no pods before it has been seen ready."""
        if node.spec is None:
            node.spec = self._node_spec()
        taints = node.spec.taints or []
        if not any(t.key == NOT_READY and t.effect == "NoSchedule" for t in taints):
            node.spec.taints = [*taints, self._taint(key=NOT_READY, effect="NoSchedule")]

    def requestor(self, context: Context, spec: Any) -> None:
        """Who asks for a certificate is who sent the request."""
        user = context.user
        spec.username, spec.uid, spec.groups = user.name, user.uid or None, list(user.groups)
        spec.extra = {k: list(v) for k, v in user.extra.items()} or None

    def one_global_default(self, store: ResourceStore, obj: Any) -> None:
        """Only one priority class may be the default."""
        if not obj.globalDefault:
            return
        for item in store.partition.range(store.table).items:
            other = store.codec.decode_stored(item.value)
            if other.globalDefault and other.metadata.name != obj.metadata.name:
                raise errors.forbidden(
                    store.resource.group,
                    store.resource.plural,
                    obj.metadata.name or "",
                    f"PriorityClass {other.metadata.name} is already marked as default. Only one default can exist",
                )


def _check_mirror_pod(pod: Any) -> None:
    """A mirror pod is what a kubelet says of a pod of its own: nothing is added to it, and it can have nothing of the cluster's."""
    spec = pod.spec
    if spec.serviceAccountName:
        raise _pod_rejected(pod, "a mirror pod may not reference service accounts")
    if _references_secrets(spec):
        raise _pod_rejected(pod, "a mirror pod may not reference secrets")
    for volume in spec.volumes or ():
        for source in (volume.projected.sources or ()) if volume.projected is not None else ():
            if source.serviceAccountToken is not None:
                raise _pod_rejected(pod, "a mirror pod may not use ServiceAccountToken volume projections")


def _references_secrets(spec: Any) -> bool:
    """Whether a pod names a secret, wherever one can be named."""
    if any(s.name for s in spec.imagePullSecrets or ()):
        return True
    for containers in (spec.initContainers, spec.containers, spec.ephemeralContainers):
        for container in containers or ():
            if any(source.secretRef is not None for source in container.envFrom or ()):
                return True
            for variable in container.env or ():
                if variable.valueFrom is not None and variable.valueFrom.secretKeyRef is not None:
                    return True
    for volume in spec.volumes or ():
        if volume.secret is not None or volume.azureFile is not None:
            return True
        for name in ("cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"):
            source = getattr(volume, name)
            if source is not None and source.secretRef is not None:
                return True
        if volume.csi is not None and volume.csi.nodePublishSecretRef is not None:
            return True
        if volume.projected is not None and any(p.secret is not None for p in volume.projected.sources or ()):
            return True
    return False


def _pod_rejected(pod: Any, why: str) -> errors.StatusError:
    return errors.forbidden("", "pods", pod.metadata.name or "", why)


def _merge_scheduling(pod: Any, scheduling: Any) -> None:
    """Where a runtime class runs: both selectors must hold, the tolerations of both count."""
    spec = pod.spec
    selector = dict(spec.nodeSelector or {})
    for key, value in (scheduling.nodeSelector or {}).items():
        if selector.setdefault(key, value) != value:
            raise _pod_rejected(
                pod,
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {selector[key]}",
            )
    spec.nodeSelector = selector or None
    tolerations = list(spec.tolerations or ())
    tolerations += [t for t in scheduling.tolerations or () if t not in tolerations]
    spec.tolerations = tolerations or None
