"""The roles and bindings that every cluster has, as kube-apiserver's RBAC bootstrap policy makes them in v1.36 with default feature gates.

A role is a line with its name, `< NAME` when it is aggregated from roles labelled `aggregate-to-NAME`, `> NAME` when it is so labelled itself; then its
rules, indented: verbs, groups (`core` is the group without a name), resources, and names of objects if it is of some only. `url` in the place of groups
is for paths. `events` stands for the rule that everybody has who tells events; `read` and `write` stand for verbs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

GROUP = "rbac.authorization.k8s.io"
AUTOUPDATE = f"{GROUP.replace('k8s', 'kubernetes')}/autoupdate"
_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_ANNOTATIONS = {AUTOUPDATE: "true"}
_AGGREGATE = f"{GROUP}/aggregate-to-"
CONTROLLER = "system:controller:"

_VERBS = {"read": "get,list,watch", "write": "create,delete,deletecollection,patch,update"}
_EVENTS = "create,patch,update core,events.k8s.io events"

_CLUSTER_ROLES = """
admin < admin
edit < edit > admin
view < view > edit
cluster-admin
 * * *
 * url *
system:aggregate-to-admin > admin
 create authorization.k8s.io localsubjectaccessreviews
 read,write rbac.authorization.k8s.io rolebindings,roles
system:aggregate-to-edit > edit
 read core pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy
 impersonate core serviceaccounts
 write core pods,pods/attach,pods/exec,pods/portforward,pods/proxy
 create core pods/eviction
 write core configmaps,events,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy
 create core serviceaccounts/token
 write apps daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale
 write autoscaling horizontalpodautoscalers
 write batch cronjobs,jobs
 write extensions daemonsets,deployments,deployments/rollback,deployments/scale,ingresses,networkpolicies,replicasets,replicasets/scale,replicationcontrollers/scale
 write policy poddisruptionbudgets
 write networking.k8s.io ingresses,networkpolicies
 read,write coordination.k8s.io leases
 write resource.k8s.io resourceclaims,resourceclaimtemplates
system:aggregate-to-view > view
 read core configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status
 read core bindings,events,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,resourcequotas,resourcequotas/status
 read core namespaces
 read discovery.k8s.io endpointslices
 read apps controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status
 read autoscaling horizontalpodautoscalers,horizontalpodautoscalers/status
 read batch cronjobs,cronjobs/status,jobs,jobs/status
 read extensions daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,ingresses,ingresses/status,networkpolicies,replicasets,replicasets/scale,replicasets/status,replicationcontrollers/scale
 read policy poddisruptionbudgets,poddisruptionbudgets/status
 read networking.k8s.io ingresses,ingresses/status,networkpolicies
 read resource.k8s.io resourceclaims,resourceclaims/status,resourceclaimtemplates
system:auth-delegator
 create authentication.k8s.io tokenreviews
 create authorization.k8s.io subjectaccessreviews
system:basic-user
 create authorization.k8s.io selfsubjectaccessreviews,selfsubjectrulesreviews
 create authentication.k8s.io selfsubjectreviews
system:certificates.k8s.io:certificatesigningrequests:nodeclient
 create certificates.k8s.io certificatesigningrequests/nodeclient
system:certificates.k8s.io:certificatesigningrequests:selfnodeclient
 create certificates.k8s.io certificatesigningrequests/selfnodeclient
system:certificates.k8s.io:kube-apiserver-client-approver
 approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client
system:certificates.k8s.io:kube-apiserver-client-kubelet-approver
 approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet
system:certificates.k8s.io:kubelet-serving-approver
 approve certificates.k8s.io signers kubernetes.io/kubelet-serving
system:certificates.k8s.io:legacy-unknown-approver
 approve certificates.k8s.io signers kubernetes.io/legacy-unknown
system:discovery
 get url /api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/
system:heapster
 read core events,namespaces,nodes,pods
 read extensions deployments
system:kube-aggregator
 read core endpoints,services
system:kube-controller-manager
 events
 create coordination.k8s.io leases
 get,update coordination.k8s.io leases kube-controller-manager
 create core secrets,serviceaccounts
 delete core secrets
 get core configmaps,namespaces,secrets,serviceaccounts
 update core secrets,serviceaccounts
 create authentication.k8s.io tokenreviews
 create authorization.k8s.io subjectaccessreviews
 list,watch * *
 create core serviceaccounts/token
system:kube-dns
 list,watch core endpoints,services
 get,list,watch discovery.k8s.io endpointslices
system:kube-scheduler
 events
 create coordination.k8s.io leases
 get,update coordination.k8s.io leases kube-scheduler
 read core nodes
 delete,get,list,watch core pods
 create core bindings,pods/binding
 patch,update core pods/status
 read core replicationcontrollers,services
 read apps,extensions replicasets
 read apps statefulsets
 read policy poddisruptionbudgets
 read core persistentvolumeclaims,persistentvolumes
 create authentication.k8s.io tokenreviews
 create authorization.k8s.io subjectaccessreviews
 read storage.k8s.io csinodes
 read core namespaces
 read storage.k8s.io csidrivers
 read storage.k8s.io csistoragecapacities
 read resource.k8s.io deviceclasses
 create,get,list,patch,update,watch resource.k8s.io resourceclaims
 patch,update resource.k8s.io resourceclaims/status
 update core pods/finalizers
 read resource.k8s.io resourceslices
 read storage.k8s.io volumeattachments
system:kubelet-api-admin
 read core nodes
 proxy core nodes
 * core nodes/log,nodes/metrics,nodes/proxy,nodes/stats
system:monitoring
 get url /healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*
system:node
 create authentication.k8s.io tokenreviews
 create authorization.k8s.io localsubjectaccessreviews,subjectaccessreviews
 read core services
 create,get,list,watch core nodes
 patch,update core nodes/status
 patch,update core nodes
 create,patch,update core events
 read core pods
 create,delete core pods
 patch,update core pods/status
 create core pods/eviction
 read core configmaps,secrets
 get core persistentvolumeclaims,persistentvolumes
 get core endpoints
 create,get,list,watch certificates.k8s.io certificatesigningrequests
 create,delete,get,patch,update coordination.k8s.io leases
 get storage.k8s.io volumeattachments
 create core serviceaccounts/token
 get,patch,update core persistentvolumeclaims/status
 read storage.k8s.io csidrivers
 create,delete,get,patch,update storage.k8s.io csinodes
 read node.k8s.io runtimeclasses
 get resource.k8s.io resourceclaims
 deletecollection resource.k8s.io resourceslices
 create,delete,get,list,patch,update,watch resource.k8s.io resourceslices
system:node-bootstrapper
 create,get,list,watch certificates.k8s.io certificatesigningrequests
system:node-problem-detector
 get core nodes
 patch core nodes/status
 events
system:node-proxier
 list,watch core endpoints,services
 read core nodes
 events
 list,watch discovery.k8s.io endpointslices
 list,watch networking.k8s.io servicecidrs
system:persistent-volume-provisioner
 create,delete,get,list,watch core persistentvolumes
 get,list,update,watch core persistentvolumeclaims
 read storage.k8s.io storageclasses
 watch core events
 events
system:public-info-viewer
 get url /healthz,/livez,/readyz,/version,/version/
system:service-account-issuer-discovery
 get url /.well-known/openid-configuration,/openid/v1/jwks
system:volume-scheduler
 get,list,patch,update,watch core persistentvolumes
 read storage.k8s.io storageclasses
 get,list,patch,update,watch core persistentvolumeclaims
"""

# `system:controller:` stands before each name; each is bound to the service account of its name in kube-system.
_CONTROLLER_ROLES = """
attachdetach-controller
 list,watch core persistentvolumeclaims,persistentvolumes
 read core nodes
 patch,update core nodes/status
 list,watch core pods
 events
 create,delete,get,list,watch storage.k8s.io volumeattachments
 read storage.k8s.io csidrivers
 read storage.k8s.io csinodes
certificate-controller
 delete,get,list,watch certificates.k8s.io certificatesigningrequests
 update certificates.k8s.io certificatesigningrequests/approval,certificatesigningrequests/status
 approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet
 sign certificates.k8s.io signers kubernetes.io/kube-apiserver-client,kubernetes.io/kube-apiserver-client-kubelet,kubernetes.io/kubelet-serving,kubernetes.io/legacy-unknown
 create authorization.k8s.io subjectaccessreviews
 events
clusterrole-aggregation-controller
 escalate,get,list,patch,update,watch rbac.authorization.k8s.io clusterroles
cronjob-controller
 get,list,update,watch batch cronjobs
 create,delete,get,list,patch,update,watch batch jobs
 update batch cronjobs/status
 update batch cronjobs/finalizers
 delete,list,watch core pods
 events
daemon-set-controller
 read apps,extensions daemonsets
 update apps,extensions daemonsets/status
 update apps,extensions daemonsets/finalizers
 list,watch core nodes
 create,delete,list,patch,watch core pods
 create core pods/binding
 create,delete,get,list,patch,update,watch apps controllerrevisions
 events
deployment-controller
 get,list,update,watch apps,extensions deployments
 update apps,extensions deployments/status
 update apps,extensions deployments/finalizers
 create,delete,get,list,patch,update,watch apps,extensions replicasets
 get,list,update,watch core pods
 events
device-taint-eviction-controller
 delete,get,list,watch core pods
 patch,update core pods/status
 read resource.k8s.io resourceclaims
 read resource.k8s.io resourceslices
 read resource.k8s.io deviceclasses
 read resource.k8s.io devicetaintrules
 events
disruption-controller
 read apps,extensions deployments
 read apps,extensions replicasets
 read core replicationcontrollers
 read policy poddisruptionbudgets
 read apps statefulsets
 update policy poddisruptionbudgets/status
 patch,update core pods/status
 get * */scale
 events
endpoint-controller
 read core pods,services
 create,delete,get,list,update,watch core endpoints
 create core endpoints/restricted
 events
endpointslice-controller
 read core nodes,pods,services
 update core services/finalizers
 create,delete,get,list,update,watch discovery.k8s.io endpointslices
 events
endpointslicemirroring-controller
 read core endpoints,services
 update core services/finalizers
 update core endpoints/finalizers
 create,delete,get,list,update,watch discovery.k8s.io endpointslices
 events
ephemeral-volume-controller
 read core pods
 update core pods/finalizers
 create,get,list,watch core persistentvolumeclaims
 events
expand-controller
 get,list,patch,update,watch core persistentvolumes
 patch,update core persistentvolumeclaims/status
 read core persistentvolumeclaims
 events
generic-garbage-collector
 delete,get,list,patch,update,watch * *
 events
horizontal-pod-autoscaler
 read autoscaling horizontalpodautoscalers
 update autoscaling horizontalpodautoscalers/status
 get,update * */scale
 list,watch core pods
 list,watch metrics.k8s.io pods
 read custom.metrics.k8s.io *
 read external.metrics.k8s.io *
 events
job-controller
 get,list,patch,update,watch batch jobs
 update batch jobs/status
 update batch jobs/finalizers
 create,delete,list,patch,watch core pods
 events
legacy-service-account-token-cleaner
 get core configmaps kube-apiserver-legacy-service-account-token-tracking
 delete,patch core secrets
namespace-controller
 delete,get,list,watch core namespaces
 update core namespaces/finalize,namespaces/status
 delete,deletecollection,get,list,watch * *
node-controller
 delete,get,list,patch,update,watch core nodes
 patch,update core nodes/status
 patch,update core pods/status
 delete,get,list,watch core pods
 events
persistent-volume-binder
 create,delete,get,list,update,watch core persistentvolumes
 update core persistentvolumes/status
 get,list,update,watch core persistentvolumeclaims
 update core persistentvolumeclaims/status
 create,delete,get,list,watch core pods
 read storage.k8s.io storageclasses
 list,watch core nodes
 events
 watch core events
pod-garbage-collector
 delete,list,watch core pods
 read core nodes
 patch core pods/status
pv-protection-controller
 get,list,update,watch core persistentvolumes
 events
pvc-protection-controller
 get,list,update,watch core persistentvolumeclaims
 read core pods
 events
replicaset-controller
 get,list,update,watch apps,extensions replicasets
 update apps,extensions replicasets/status
 update apps,extensions replicasets/finalizers
 create,delete,list,patch,watch core pods
 events
replication-controller
 get,list,update,watch core replicationcontrollers
 update core replicationcontrollers/status
 update core replicationcontrollers/finalizers
 create,delete,list,patch,watch core pods
 events
resource-claim-controller
 read core pods
 update core pods/finalizers
 create,delete,get,list,watch resource.k8s.io resourceclaims
 patch,update resource.k8s.io resourceclaims,resourceclaims/status
 patch,update core pods/status
 events
resourcequota-controller
 list,watch * *
 update core resourcequotas/status
 events
root-ca-cert-publisher
 create,update core configmaps
 events
route-controller
 list,watch core nodes
 patch core nodes/status
 events
selinux-warning-controller
 events
 read core persistentvolumes
 read core persistentvolumeclaims
 read core pods
 read storage.k8s.io csidrivers
service-account-controller
 create core serviceaccounts
 events
service-cidrs-controller
 get,list,patch,update,watch networking.k8s.io servicecidrs
 patch,update networking.k8s.io servicecidrs/finalizers
 patch,update networking.k8s.io servicecidrs/status
 read networking.k8s.io ipaddresses
 events
service-controller
 read core services
 patch,update core services/status
 list,watch core nodes
 events
statefulset-controller
 list,watch core pods
 read apps statefulsets
 update apps statefulsets/status
 update apps statefulsets/finalizers
 create,delete,get,patch,update core pods
 create,delete,get,list,patch,update,watch apps controllerrevisions
 create,get,list,watch core persistentvolumeclaims
 delete,update core persistentvolumeclaims
 update core pods/finalizers
 events
ttl-after-finished-controller
 delete,get,list,watch batch jobs
 events
ttl-controller
 list,patch,update,watch core nodes
 events
validatingadmissionpolicy-status-controller
 read admissionregistration.k8s.io validatingadmissionpolicies
 get,patch,update admissionregistration.k8s.io validatingadmissionpolicies/status
 events
volumeattributesclass-protection-controller
 read core persistentvolumeclaims
 read core persistentvolumes
 get,list,update,watch storage.k8s.io volumeattributesclasses
 events
"""

# By namespace.
_ROLES = {
    "kube-public": """
system:controller:bootstrap-signer
 read core configmaps
 update core configmaps cluster-info
 events
""",
    "kube-system": """
extension-apiserver-authentication-reader
 read core configmaps extension-apiserver-authentication
system::leader-locking-kube-controller-manager
 create,get,list,update,watch coordination.k8s.io leases
system::leader-locking-kube-scheduler
 create,get,list,update,watch coordination.k8s.io leases
system:controller:bootstrap-signer
 read core secrets
system:controller:cloud-provider
 create,get,list,watch core configmaps
system:controller:token-cleaner
 delete,get,list,watch core secrets
 events
""",
}

# Roles and who has them: `Group`, `User`, or `ServiceAccount` in kube-system.
_CLUSTER_BINDINGS = {
    "cluster-admin": ("Group system:masters",),
    "system:basic-user": ("Group system:authenticated",),
    "system:discovery": ("Group system:authenticated",),
    "system:kube-controller-manager": ("User system:kube-controller-manager",),
    "system:kube-dns": ("ServiceAccount kube-dns",),
    "system:kube-scheduler": ("User system:kube-scheduler",),
    "system:monitoring": ("Group system:monitoring",),
    "system:node": (),
    "system:node-proxier": ("User system:kube-proxy",),
    "system:public-info-viewer": ("Group system:authenticated", "Group system:unauthenticated"),
    "system:service-account-issuer-discovery": ("Group system:serviceaccounts",),
    "system:volume-scheduler": ("User system:kube-scheduler",),
}
# By namespace: binding, role, subjects.
_BINDINGS = (
    ("kube-public", "system:controller:bootstrap-signer", "", ("ServiceAccount bootstrap-signer",)),
    (
        "kube-system",
        "system::extension-apiserver-authentication-reader",
        "extension-apiserver-authentication-reader",
        ("User system:kube-controller-manager", "User system:kube-scheduler"),
    ),
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        "",
        ("User system:kube-controller-manager", "ServiceAccount kube-controller-manager"),
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        "",
        ("User system:kube-scheduler", "ServiceAccount kube-scheduler"),
    ),
    ("kube-system", "system:controller:bootstrap-signer", "", ("ServiceAccount bootstrap-signer",)),
    ("kube-system", "system:controller:cloud-provider", "", ("ServiceAccount cloud-provider",)),
    ("kube-system", "system:controller:token-cleaner", "", ("ServiceAccount token-cleaner",)),
)


def cluster_roles() -> Iterator[dict[str, Any]]:
    """ClusterRoles, without apiVersion and kind."""
    yield from _roles(_CLUSTER_ROLES)
    yield from _roles(_CONTROLLER_ROLES, CONTROLLER)


def roles() -> Iterator[dict[str, Any]]:
    """Roles, with their namespaces."""
    for namespace, text in _ROLES.items():
        for role in _roles(text):
            role["metadata"]["namespace"] = namespace
            yield role


def cluster_role_bindings() -> Iterator[dict[str, Any]]:
    """ClusterRoleBindings."""
    for name, subjects in _CLUSTER_BINDINGS.items():
        yield _binding("ClusterRole", name, name, subjects)
    for role in _roles(_CONTROLLER_ROLES):
        account = role["metadata"]["name"]
        name = f"{CONTROLLER}{account}"
        yield _binding("ClusterRole", name, name, (f"ServiceAccount {account}",))


def role_bindings() -> Iterator[dict[str, Any]]:
    """RoleBindings, with their namespaces."""
    for namespace, name, role, subjects in _BINDINGS:
        binding = _binding("Role", name, role or name, subjects)
        binding["metadata"]["namespace"] = namespace
        yield binding


def _metadata(name: str) -> dict[str, Any]:
    return {"name": name, "labels": dict(_LABELS), "annotations": dict(_ANNOTATIONS)}


def _roles(text: str, prefix: str = "") -> Iterator[dict[str, Any]]:
    role: dict[str, Any] | None = None
    for line in text.strip().splitlines():
        if line.startswith(" "):
            assert role is not None
            role.setdefault("rules", []).append(_rule(line))
            continue
        if role is not None:
            yield role
        name, *marks = line.split()
        role = {"metadata": _metadata(prefix + name)}
        for mark, target in zip(marks[::2], marks[1::2], strict=True):
            if mark == "<":
                selector = {"matchLabels": {f"{_AGGREGATE}{target}": "true"}}
                role["aggregationRule"] = {"clusterRoleSelectors": [selector]}
            else:
                role["metadata"]["labels"][f"{_AGGREGATE}{target}"] = "true"
    if role is not None:
        yield role


def _rule(line: str) -> dict[str, Any]:
    words = (_EVENTS if line.strip() == "events" else line).split()
    verbs = sorted(",".join(_VERBS.get(v, v) for v in words[0].split(",")).split(","))
    if words[1] == "url":
        return {"verbs": verbs, "nonResourceURLs": words[2].split(",")}
    rule = {
        "verbs": verbs,
        "apiGroups": ["" if g == "core" else g for g in words[1].split(",")],
        "resources": words[2].split(","),
    }
    if len(words) > 3:
        rule["resourceNames"] = words[3].split(",")
    return rule


def _binding(kind: str, name: str, role: str, subjects: tuple[str, ...]) -> dict[str, Any]:
    found: list[dict[str, str]] = []
    for subject in subjects:
        of_kind, _, who = subject.partition(" ")
        if of_kind == "ServiceAccount":
            found.append({"kind": of_kind, "name": who, "namespace": "kube-system"})
        else:
            found.append({"kind": of_kind, "apiGroup": GROUP, "name": who})
    binding: dict[str, Any] = {
        "metadata": _metadata(name),
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role},
    }
    if found:
        binding["subjects"] = found
    return binding
