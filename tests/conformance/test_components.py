"""Kubernetes' own components on an API server alone: every call of theirs, in their wire form, gets kube-apiserver's answer."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kubernetes import config

from lakh.machinery import protobuf

from .cluster import Server, eventually
from .components import rows
from .components.kubelet import KUBELET
from .components.manager import CONTROLLER_MANAGER
from .components.rows import TEXT, Call, Informer
from .components.scheduler import SCHEDULER
from .rest import APPLY_PATCH, Rest
from .wire import (
    AGGREGATED,
    JSON,
    LIST,
    PREFERRED,
    PROTOBUF,
    STREAM,
    TYPED,
    WATCH_LIST,
    Reply,
    Wire,
    initial,
    partial,
    with_query,
)

COMPONENTS: dict[str, tuple[Call | Informer, ...]] = {
    "kube-controller-manager": CONTROLLER_MANAGER,
    "kube-scheduler": SCHEDULER,
    "kubelet": KUBELET,
}
METHODS = {"create": "POST", "update": "PUT", "patch": "PATCH", "apply": "PATCH"}
UID_OF = re.compile(r"^UID OF (.*)$")


# What kube-apiserver makes by itself, by collection.
OWN_OBJECTS = {
    "/api/v1/namespaces": ("default", "kube-node-lease", "kube-public", "kube-system"),
    "/api/v1/namespaces/default/services": ("kubernetes",),
    f"{rows.SYSTEM}/configmaps": (
        "extension-apiserver-authentication",
        "kube-apiserver-legacy-service-account-token-tracking",
    ),
    "/apis/networking.k8s.io/v1/servicecidrs": ("kubernetes",),
    "/apis/networking.k8s.io/v1/ipaddresses": ("10.96.0.1",),
    "/apis/scheduling.k8s.io/v1/priorityclasses": ("system-cluster-critical", "system-node-critical"),
    "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas": (
        *("catch-all", "endpoint-controller", "exempt", "global-default", "kube-controller-manager"),
        *("kube-scheduler", "kube-system-service-accounts", "probes", "service-accounts"),
        *("system-leader-election", "system-node-high", "system-nodes", "workload-leader-election"),
    ),
    "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations": (
        *("catch-all", "exempt", "global-default", "leader-election", "node-high", "system"),
        *("workload-high", "workload-low"),
    ),
    "/apis/rbac.authorization.k8s.io/v1/clusterroles": ("admin", "edit", "view", "system:node"),
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings": ("cluster-admin", "system:kube-scheduler"),
    "/apis/apiregistration.k8s.io/v1/apiservices": ("v1.", "v1.apps", "v2.autoscaling"),
}
IDENTITY = "labelSelector=apiserver.kubernetes.io%2Fidentity%3Dkube-apiserver"


def identity_leases(wire: Wire) -> list[dict[str, Any]]:
    """The servers', once there are any."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases?{IDENTITY}"
    return eventually(lambda: wire.call("GET", path).object.get("items") or [], "the identity lease")


def until_made(wire: Wire) -> None:
    """Waits for what the server makes by itself, some of it after it has begun to serve."""
    for path, wanted in OWN_OBJECTS.items():

        def made(path: str = path, wanted: tuple[str, ...] = wanted) -> bool:
            listed = wire.call("GET", path).object.get("items") or []
            missing = set(wanted) - {item["metadata"]["name"] for item in listed}
            assert not missing, (path, missing)
            return True

        eventually(made, path)
    identity_leases(wire)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An API server alone: the components are ours to play."""
    started = Server(tmp_path_factory.mktemp("components")).ready()
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def rest(server: Server) -> Iterator[Rest]:
    """Raw HTTP to it."""
    connected = config.new_client_from_config(str(server.kubeconfig))
    found = Rest(connected)
    # An informer's list and watch are compared: nothing may be made between them.
    until_made(Wire(found))
    yield found
    connected.rest_client.pool_manager.clear()
    connected.close()


def _request() -> str:
    """A certificate request of a node, as a JSON value of bytes."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, "system:node:kubelet-1"),
        ]
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()


class Player:
    """Plays a component's table, and remembers the objects that it has seen."""

    def __init__(self, wire: Wire, authority: str) -> None:
        self.wire = wire
        self.uids: dict[str, str] = {}
        self.values = {"CSR": _request(), "CERTIFICATE": authority}

    def play(self, row: Call | Informer) -> None:
        """One row; raises AssertionError."""
        if isinstance(row, Informer):
            self._inform(row)
        else:
            self._call(row)

    def _call(self, row: Call) -> None:
        body = row.body
        if row.verb == "update":
            assert callable(body)
            read = (
                row.path
                if row.path.endswith("/scale")
                else re.sub("/(status|approval|finalize)$", "", row.path)
            )
            found = self.wire.call("GET", read)
            assert found.status == 200, found
            body(found.object)
            body = found.object
        content = row.content or (APPLY_PATCH if row.verb == "apply" else PROTOBUF)
        if isinstance(body, dict) and body.get("kind") == "DeleteOptions" and content == PROTOBUF:
            # Typed clients write options as a kind of their own group and version.
            parts = row.path.split("/")
            body = {**body, "apiVersion": "/".join(parts[2:4]) if parts[1] == "apis" else parts[2]}
        method = METHODS.get(row.verb, "DELETE" if row.verb.startswith("delete") else "GET")
        reply = self.wire.call(method, row.path, self._filled(body), accept=row.accept, content_type=content)
        self._check(row, reply)

    def _check(self, row: Call, reply: Reply) -> None:
        assert reply.status == (row.status or (201 if row.verb == "create" else 200)), reply
        if row.media:
            assert reply.media.startswith(row.media), reply
        else:
            assert reply.media == PROTOBUF, reply
        if row.kind != TEXT:
            assert reply.object.get("kind") == row.kind, reply
        text = json.dumps(reply.object) if reply.object else reply.body.decode(errors="replace")
        assert row.holds in text, reply
        metadata = reply.object.get("metadata") or {}
        if metadata.get("name") and metadata.get("uid"):
            self.uids[metadata["name"]] = metadata["uid"]

    def _filled(self, body: Any) -> Any:
        if isinstance(body, dict):
            return {key: self._filled(value) for key, value in body.items()}
        if isinstance(body, list):
            return [self._filled(value) for value in body]
        if isinstance(body, str):
            if match := UID_OF.match(body):
                return self.uids[match[1]]
            return self.values.get(body, body)
        return body

    def _inform(self, row: Informer) -> None:
        path = with_query(row.path, row.query) if row.query else row.path
        with self.wire.watch(with_query(path, WATCH_LIST)) as events:
            found, bookmark = initial(events)
        assert bookmark["kind"] == row.kind, bookmark
        assert all(one["kind"] == row.kind for one in found), found
        listed = self.wire.call("GET", with_query(path, LIST))
        assert (listed.status, listed.media) == (200, PROTOBUF), listed
        assert listed.object["kind"] == f"{row.kind}List", listed
        assert [i["metadata"]["name"] for i in listed.object.get("items") or ()] == [
            one["metadata"]["name"] for one in found
        ]
        version = listed.object["metadata"]["resourceVersion"]
        assert version.isdigit(), listed
        query = f"allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds=9&watch=true"
        with self.wire.watch(with_query(path, query)):
            pass  # it has begun


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_call_is_answered_as_upstream_does(component: str, rest: Rest, server: Server) -> None:
    authority = base64.b64encode((server.data / "pki" / "ca.crt").read_bytes()).decode()
    player = Player(Wire(rest, component), authority)
    failures = []
    for number, row in enumerate(COMPONENTS[component], 1):
        try:
            player.play(row)
        except (AssertionError, KeyError, protobuf.ProtobufError) as e:
            verb = row.verb if isinstance(row, Call) else "informer"
            failures.append(f"{number}. {verb} {row.path} {row.kind}: {type(e).__name__} {str(e)[:700]}")
    assert not failures, f"{len(failures)} of {len(COMPONENTS[component])}:\n" + "\n".join(failures)


def _collections(rest: Rest, *verbs: str) -> list[tuple[str, str]]:
    """The prefix and resource of every collection that has these verbs, namespaced ones with a namespace."""
    found = []
    for root in ("/api", "/apis"):
        for group in Wire(rest).call("GET", root, accept=AGGREGATED).object["items"]:
            name = group["metadata"].get("name", "")
            for version in group["versions"]:
                prefix = f"/apis/{name}/{version['version']}" if name else f"/api/{version['version']}"
                for resource in version["resources"]:
                    if set(verbs) <= set(resource["verbs"]):
                        scope = "/namespaces/default" if resource["scope"] == "Namespaced" else ""
                        found.append((prefix + scope, resource["resource"]))
    return found


def test_the_garbage_collectors_monitors(rest: Rest) -> None:
    """Metadata of everything that can be deleted: garbage collector, resource quota, namespace controller."""
    wire = Wire(rest, "kube-controller-manager")
    found = _collections(rest, "delete", "list", "watch")
    assert len(found) > 50
    for prefix, resource in found:
        path = f"{prefix.removesuffix('/namespaces/default')}/{resource}"
        with wire.watch(with_query(path, WATCH_LIST), accept=partial("PartialObjectMetadata")) as events:
            objects, bookmark = initial(events)
        assert bookmark["kind"] == "PartialObjectMetadata", (path, bookmark)
        assert {one["kind"] for one in objects} <= {"PartialObjectMetadata"}, path
        listed = wire.call("GET", with_query(path, LIST), accept=partial("PartialObjectMetadataList"))
        assert (listed.status, listed.media) == (200, PROTOBUF), (path, listed)
        assert listed.object["kind"] == "PartialObjectMetadataList", (path, listed)
        names = [item["metadata"]["name"] for item in listed.object.get("items") or ()]
        assert names == [one["metadata"]["name"] for one in objects], path


def test_the_namespace_controllers_deletions(rest: Rest) -> None:
    """Everything in a namespace is deleted by collection, by the metadata client."""
    wire = Wire(rest, "kube-controller-manager")
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ending"}}
    assert wire.call("POST", "/api/v1/namespaces", namespace).status == 201
    found = [c for c in _collections(rest, "deletecollection", "list") if c[0].endswith("/default")]
    assert len(found) > 25
    body = {**rows.DELETE, "propagationPolicy": "Background"}
    for prefix, resource in found:
        path = f"{prefix.removesuffix('default')}ending/{resource}"
        gone = wire.call("DELETE", path, body, accept=PREFERRED, content_type=JSON)
        assert (gone.status, gone.object["kind"][-4:]) == (200, "List"), (path, gone)
        listed = wire.call("GET", path, accept=partial("PartialObjectMetadataList"))
        assert listed.object["kind"] == "PartialObjectMetadataList" and not listed.object.get("items"), path


def test_a_controllers_token_is_its_service_account(rest: Rest, server: Server) -> None:
    wire = Wire(rest, "kube-controller-manager")
    account = rows.obj("v1", "ServiceAccount", "some-controller", "kube-system")
    assert wire.call("POST", f"{rows.SYSTEM}/serviceaccounts", account).status == 201
    row = rows.service_account_token("kube-system", "some-controller")
    assert isinstance(row, Call) and isinstance(row.body, dict)
    token = wire.call("POST", row.path, row.body).object["status"]["token"]
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    status = wire.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review).object["status"]
    assert status["user"]["username"] == "system:serviceaccount:kube-system:some-controller"
    assert {"system:serviceaccounts", "system:serviceaccounts:kube-system"} <= set(status["user"]["groups"])
    # The controller's own client: informers and writes in its name.
    own = wire.with_token(token, server.data / "pki" / "ca.crt")
    me = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    who = own.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", me).object["status"]
    assert who["userInfo"]["username"] == "system:serviceaccount:kube-system:some-controller"
    with own.watch(with_query("/api/v1/namespaces", WATCH_LIST)) as events:
        assert initial(events)[0]
    path = f"{rows.SYSTEM}/configmaps"
    made = own.call(
        "POST", path, rows.obj("v1", "ConfigMap", "of-a-controller", "kube-system", data={"a": "b"})
    )
    assert made.object["metadata"]["managedFields"][0]["manager"] == "kube-controller-manager"


def test_the_issuer_of_tokens_is_found_by_openid(rest: Rest) -> None:
    """What conformance's OIDC test reads: the issuer of a token, and the key that it names."""
    wire = Wire(rest)
    row = rows.service_account_token("default", "default")
    assert isinstance(row, Call) and isinstance(row.body, dict)
    token = wire.call("POST", row.path, row.body).object["status"]["token"]
    header, payload = (
        json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in token.split(".")[:2]
    )
    configuration = wire.call("GET", "/.well-known/openid-configuration")
    assert (configuration.status, configuration.media) == (200, JSON)
    assert configuration.headers["Cache-Control"] == "public, max-age=3600"
    found = configuration.object
    assert found["issuer"] == payload["iss"]
    assert header["alg"] in found["id_token_signing_alg_values_supported"]
    keys = wire.call("GET", "/" + found["jwks_uri"].split("/", 3)[3])
    assert (keys.status, keys.media) == (200, "application/jwk-set+json")
    assert header["kid"] in [key["kid"] for key in json.loads(keys.body)["keys"]]


def test_long_lists_are_compressed_protobuf(rest: Rest) -> None:
    wire = Wire(rest)
    path = "/api/v1/namespaces/kube-public/configmaps"
    for n in range(5):
        body = rows.obj("v1", "ConfigMap", f"long-{n}", "kube-public", data={"text": "so long " * 8_000})
        assert wire.call("POST", path, body).status == 201
    listed = wire.call("GET", with_query(path, LIST))
    assert (listed.media, listed.headers["Content-Encoding"]) == (PROTOBUF, "gzip")
    names = [item["metadata"]["name"] for item in listed.object["items"]]
    assert names == [f"long-{n}" for n in range(5)]
    # Watches are not.
    with wire.watch(with_query(path, WATCH_LIST)) as events:
        assert [one["metadata"]["name"] for one in initial(events)[0]] == names


@pytest.mark.parametrize("accept", [TYPED, PREFERRED, PROTOBUF, f"{PROTOBUF};stream=watch, {JSON}", STREAM])
def test_ways_to_ask_for_protobuf(rest: Rest, accept: str) -> None:
    with Wire(rest).watch(with_query("/api/v1/namespaces", WATCH_LIST), accept=accept) as events:
        found, _ = initial(events)
    assert "kube-system" in [one["metadata"]["name"] for one in found]


def test_what_the_server_makes_by_itself(rest: Rest) -> None:
    wire = Wire(rest)
    until_made(wire)
    authentication = wire.call("GET", f"{rows.SYSTEM}/configmaps/extension-apiserver-authentication")
    assert {
        "client-ca-file",
        "requestheader-allowed-names",
        "requestheader-client-ca-file",
        "requestheader-extra-headers-prefix",
        "requestheader-group-headers",
        "requestheader-username-headers",
    } <= authentication.object["data"].keys()
    (lease,) = identity_leases(wire)
    assert lease["metadata"]["name"].startswith("apiserver-")


def test_custom_resources_have_an_api_service(rest: Rest) -> None:
    wire = Wire(rest)
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object"}},
    }
    definition = rows.obj(
        *("apiextensions.k8s.io/v1", "CustomResourceDefinition", "things.own.example.com"),
        spec={
            "group": "own.example.com",
            "scope": "Cluster",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [version],
        },
    )
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    service = "/apis/apiregistration.k8s.io/v1/apiservices/v1.own.example.com"
    assert wire.call("POST", definitions, definition).status == 201
    found = eventually(lambda: reply if (reply := wire.call("GET", service)).status == 200 else None)
    assert found.object["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"] == "true"
    uid = found.object["metadata"]["uid"]
    assert wire.call("DELETE", service).status == 200
    found = eventually(lambda: reply if (reply := wire.call("GET", service)).status == 200 else None)
    assert found.object["metadata"]["uid"] != uid
    things = "/apis/own.example.com/v1/things"
    # The garbage collector's informer on it: metadata is protobuf, objects are not.
    with wire.watch(with_query(things, WATCH_LIST), accept=partial("PartialObjectMetadata")) as events:
        assert initial(events)[0] == []
    assert wire.call("GET", things).media == JSON
    assert wire.call("DELETE", f"{definitions}/things.own.example.com").status == 200
    assert eventually(lambda: wire.call("GET", service).status == 404)
    gone = wire.call("GET", things)
    assert (gone.status, gone.body) == (404, b"404 page not found\n")
