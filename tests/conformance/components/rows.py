"""Rows of the tables of calls, and the rows that all components share.

Written after upstream's sources of v1.36 (cmd/kube-controller-manager, cmd/kube-scheduler, pkg/controller, pkg/scheduler, pkg/kubelet, client-go). A row is
one distinct call in the wire form of the client that makes it; rows are in the order in which a component comes to them, and each table works on
what its earlier rows made. Informers are rows of their own: a reflector's watch with initial events, its list, and its watch from a revision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..wire import AGGREGATED, JSON, TYPED, partial

Change = Callable[[dict[str, Any]], None]

CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
SYSTEM = "/api/v1/namespaces/kube-system"
WORK = "/api/v1/namespaces/work"
NODES = "/api/v1/nodes"
TIME = "2026-01-02T03:04:05Z"
MICRO_TIME = "2026-01-02T03:04:05.000001Z"
DELETE = {"apiVersion": "v1", "kind": "DeleteOptions"}
METADATA = partial("PartialObjectMetadata")
METADATA_LIST = partial("PartialObjectMetadataList")
TEXT = "text"


class Call(NamedTuple):
    """A call, and what kube-apiserver answers: status (0: the verb's own), kind, media type (empty: protobuf).

    `body` is an object, or for `update` what changes in the object that was read before. `accept` and `content` are headers; `kind` is `text` for
    answers that are no objects, and `media` tells their type.
    """

    verb: str
    path: str
    kind: str
    body: dict[str, Any] | Change | None = None
    status: int = 0
    accept: str = TYPED
    content: str = ""
    media: str = ""
    holds: str = ""


class Informer(NamedTuple):
    """A reflector on a collection; `query` is its selector."""

    path: str
    kind: str
    query: str = ""


Row = Call | Informer


def obj(api_version: str, kind: str, name: str, namespace: str = "", **fields: Any) -> dict[str, Any]:
    """An object; `metadata` among the fields adds to it."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **fields.pop("metadata", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


def _path(api_version: str, resource: str) -> str:
    return f"/api/v1/{resource}" if api_version == "v1" else f"/apis/{api_version}/{resource}"


def informers(listed: str) -> tuple[Row, ...]:
    """Rows of `apiVersion/resource Kind` lines."""
    found = []
    for line in listed.strip().splitlines():
        path, kind = line.split()
        api_version, _, resource = path.rpartition("/")
        found.append(Informer(_path(api_version, resource), kind))
    return tuple(found)


def lease(namespace: str, name: str) -> tuple[Row, ...]:
    """Leader election, or a node's heartbeat: read, made, renewed."""
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    spec = {"holderIdentity": "me_1", "leaseDurationSeconds": 15, "renewTime": MICRO_TIME}

    def renew(found: dict[str, Any]) -> None:
        found["spec"] |= {"renewTime": "2026-01-02T03:04:07.000002Z", "leaseTransitions": 1}

    spec |= {"acquireTime": MICRO_TIME, "leaseTransitions": 0}
    return (
        Call("get", f"{leases}/{name}", "Status", status=404),
        Call("create", leases, "Lease", obj("coordination.k8s.io/v1", "Lease", name, namespace, spec=spec)),
        Call("update", f"{leases}/{name}", "Lease", renew),
    )


def event(api_version: str, namespace: str, name: str, regarding: dict[str, Any]) -> dict[str, Any]:
    """An event as tools/record (core) or tools/events makes it."""
    if api_version == "v1":
        return obj(
            *("v1", "Event", name, namespace),
            involvedObject=regarding,
            reason="Started",
            message="it did",
            type="Normal",
            source={"component": "kubelet", "host": "node-1"},
            count=1,
            firstTimestamp=TIME,
            lastTimestamp=TIME,
            reportingComponent="kubelet",
        )
    return obj(
        *(api_version, "Event", name, namespace),
        eventTime=MICRO_TIME,
        reportingController="default-scheduler",
        reportingInstance="s-1",
        action="Binding",
        reason="Scheduled",
        regarding=regarding,
        note="it is",
        type="Normal",
    )


def service_account_token(namespace: str, name: str, **spec: Any) -> Row:
    """A TokenRequest."""
    return Call(
        "create",
        f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
        "TokenRequest",
        {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [], "expirationSeconds": 3600, **spec},
        },
    )


DISCOVERY: tuple[Row, ...] = (
    Call("get", "/api", "APIGroupDiscoveryList", accept=AGGREGATED, media="application/json;g=apidiscovery"),
    Call("get", "/apis", "APIGroupDiscoveryList", accept=AGGREGATED, media="application/json;g=apidiscovery"),
    # discovery.ServerGroups and ServerResourcesForGroupVersion of a client that speaks protobuf.
    Call("get", "/api", "APIVersions"),
    Call("get", "/apis", "APIGroupList"),
    Call("get", "/apis/apps", "APIGroup"),
    Call("get", "/api/v1", "APIResourceList"),
    Call("get", "/apis/resource.k8s.io/v1", "APIResourceList"),
    Call("get", "/apis/storagemigration.k8s.io/v1beta1", TEXT, status=404, media="text/plain"),
)

# genericclioptions of every component: waiting for the server, and its own delegated authentication and authorisation.
HEALTH: tuple[Row, ...] = (
    Call("get", "/healthz", TEXT, media="text/plain", holds="ok"),
    Call("get", "/livez?verbose", TEXT, media="text/plain", holds="[+]ping ok"),
    Call("get", "/readyz?verbose", TEXT, media="text/plain", holds="readyz check passed"),
    Call("get", "/readyz/ping", TEXT, media="text/plain", holds="ok"),
    Call("get", "/readyz?verbose&exclude=ping", TEXT, media="text/plain", holds="[+]ping excluded: ok"),
    Call("get", "/metrics", TEXT, media="text/plain", holds="apiserver_request_total"),
    Call("get", "/version", TEXT, media=JSON, holds='"gitVersion": "v1.36'),
)
_AUTHENTICATION = f"{SYSTEM}/configmaps/extension-apiserver-authentication"
DELEGATED: tuple[Row, ...] = (
    Call("get", _AUTHENTICATION, "ConfigMap", holds="requestheader-client-ca-file"),
    Informer(
        f"{SYSTEM}/configmaps",
        "ConfigMap",
        "fieldSelector=metadata.name%3Dextension-apiserver-authentication",
    ),
    Call(
        *("create", "/apis/authentication.k8s.io/v1/tokenreviews", "TokenReview"),
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "nobody's"}},
    ),
    Call(
        *("create", "/apis/authorization.k8s.io/v1/subjectaccessreviews", "SubjectAccessReview"),
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": "system:serviceaccount:monitoring:prometheus",
                "groups": ["system:authenticated"],
                "nonResourceAttributes": {"path": "/metrics", "verb": "get"},
            },
        },
    ),
)

NODE_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
# A request that parses is needed for a CertificateSigningRequest; the test puts it in.
CSR_PLACEHOLDER = "CSR"


def status(**fields: Any) -> Change:
    def change(found: dict[str, Any]) -> None:
        found.setdefault("status", {}).update(fields)

    return change


def spec(**fields: Any) -> Change:
    def change(found: dict[str, Any]) -> None:
        found["spec"].update(fields)

    return change


POD_SPEC = {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}]}
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": POD_SPEC}
SELECTOR = {"matchLabels": {"app": "web"}}
