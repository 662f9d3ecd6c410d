"""`serviceaccounts/token`: what a token may be bound to when it is issued, and whether that is still there when it is shown.

Kubelets ask for the tokens that they project into pods. Such a token is bound to the pod, names the node where the pod runs, and dies with the pod.
Facts are from upstream's pkg/registry/core/serviceaccount/storage/token.go and pkg/serviceaccount/claims.go.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from lakh.apis.registry import Resource
from lakh.machinery import errors, times
from lakh.server.cluster import Cluster
from lakh.server.codec import Codec, encode_json
from lakh.server.context import Context
from lakh.server.tokens import (
    DEFAULT_EXPIRATION_SECONDS,
    MAX_EXPIRATION_SECONDS,
    MIN_EXPIRATION_SECONDS,
    Claims,
    Reference,
    TokenIssuer,
)
from lakh.server.transport import Response
from lakh.store.partition import Partition

GROUP = "authentication.k8s.io"
KIND = "TokenRequest"
TOKEN_REQUESTS = Resource(GROUP, "v1", "tokenrequests", KIND, True, f"io.k8s.api.authentication.v1.{KIND}")
PARTITIONS = ("default", "pods", "nodes")
"""Where service accounts, secrets, pods and nodes are."""

# Pods' tokens of this life time, which is that of projected volumes by default, live for a year and say when to warn: clients
# that never read the file again keep working (KEP-1205, on by default upstream).
WARN_AFTER_SECONDS = 3607
EXTENDED_EXPIRATION_SECONDS = 365 * 24 * 3600
# How long after its deletion an object still backs a token: the leeway of upstream's JWT library.
DELETED_LEEWAY_SECONDS = 60


class TokenRequests:
    """Answers them."""

    def __init__(self, cluster: Cluster, issuer: TokenIssuer) -> None:
        self.cluster = cluster
        self.issuer = issuer
        self._codec = Codec(TOKEN_REQUESTS)

    def create(self, context: Context, body: bytes, namespace: str, name: str) -> Response:
        """A token for a service account; admitted as the creation of a subresource; raises 400, 403, 404, 409, 422."""
        asked = self._codec.decode(body, context.validation, context.warnings)
        metadata = asked.metadata
        for field, given, wanted in (
            ("name", metadata.name, name),
            ("namespace", metadata.namespace, namespace),
        ):
            if given and given != wanted:
                what = "name" if field == "name" else "namespace"
                detail = f"must match the service account {what} if specified"
                finding = errors.invalid_value(f"metadata.{field}", given, detail)
                raise errors.invalid(GROUP, KIND, name, [finding])
        metadata.name, metadata.namespace = name, namespace
        accounts = self.cluster.named("", "v1", "serviceaccounts")
        account = accounts.decode(accounts.get(namespace, name))
        context.admit("create", accounts, asked, None, "token")
        spec = asked.spec
        seconds = DEFAULT_EXPIRATION_SECONDS if spec is None else spec.expirationSeconds
        if seconds is None:
            seconds = DEFAULT_EXPIRATION_SECONDS
        _check_expiration(seconds)
        audiences = tuple((spec.audiences if spec is not None else None) or ()) or self.issuer.audiences
        reference = spec.boundObjectRef if spec is not None else None
        bound = {} if reference is None else self._bound(reference, namespace, name)
        extended = (
            seconds == WARN_AFTER_SECONDS and "pod" in bound and set(audiences) <= set(self.issuer.audiences)
        )
        now = time.time()
        token, _ = self.issuer.issue(
            namespace,
            name,
            account.metadata.uid,
            audiences=audiences,
            expiration_seconds=EXTENDED_EXPIRATION_SECONDS if extended else seconds,
            warn_after_seconds=seconds if extended else None,
            now=now,
            **bound,
        )
        answer = msgspec.to_builtins(asked)
        answer.update(kind=KIND, apiVersion=f"{GROUP}/v1")
        answer["metadata"]["creationTimestamp"] = context.now
        answer["spec"] = {
            **answer.get("spec", {}),
            "audiences": list(audiences),
            "expirationSeconds": seconds,
        }
        answer["status"] = {"token": token, "expirationTimestamp": times.of_seconds(int(now) + seconds)}
        return Response(201, encode_json(answer))

    def _get(self, plural: str, namespace: str, name: str) -> Any:
        store = self.cluster.named("", "v1", plural)
        return store.decode(store.get(namespace, name))

    def _bound(self, reference: Any, namespace: str, account: str) -> dict[str, Reference]:
        """The references that bind a token: of the object that the request names, and of the node of a pod."""
        group, _, version = (reference.apiVersion or "").rpartition("/")
        kind, name = reference.kind or "", reference.name or ""
        bound: dict[str, Reference] = {}
        match (group, kind):
            case ("", "Pod"):
                pod = self._get("pods", namespace, name)
                running_as = (pod.spec.serviceAccountName if pod.spec is not None else None) or ""
                if running_as != account:
                    raise errors.bad_request(
                        f'cannot bind token for serviceaccount "{account}" to pod running with different'
                        " serviceaccount name."
                    )
                bound["pod"] = Reference(name, pod.metadata.uid)
                if pod.spec.nodeName:
                    bound["node"] = self._node_of_pod(pod.spec.nodeName)
            case ("", "Node"):
                bound["node"] = Reference(name, self._get("nodes", "", name).metadata.uid)
            case ("", "Secret"):
                bound["secret"] = Reference(name, self._get("secrets", namespace, name).metadata.uid)
            case _:
                raise errors.bad_request(
                    f"cannot bind token to object of type {group}/{version}, Kind={kind}"
                )
        if reference.uid and reference.uid != bound[kind.lower()].uid:
            raise errors.conflict(
                group,
                kind,
                name,
                f"the UID in the bound object reference ({reference.uid}) does not match the UID in record."
                " The object might have been deleted and then recreated",
            )
        return bound

    def _node_of_pod(self, name: str) -> Reference:
        """The node that a pod names; without a uid when there is no such node."""
        store = self.cluster.named("", "v1", "nodes")
        item = store.partition.get(store.key("", name))
        return Reference(name, store.decode(item).metadata.uid if item is not None else "")


def _check_expiration(seconds: int) -> None:
    if seconds < MIN_EXPIRATION_SECONDS:
        detail = "may not specify a duration less than 10 minutes"
    elif seconds > MAX_EXPIRATION_SECONDS:
        detail = "may not specify a duration larger than 2^32 seconds"
    else:
        return
    raise errors.invalid(GROUP, KIND, "", [errors.invalid_value("spec.expirationSeconds", seconds, detail)])


class _Metadata(msgspec.Struct, gc=False):
    uid: str = ""
    deletionTimestamp: str | None = None


class _View(msgspec.Struct, gc=False):
    metadata: _Metadata


_decode = msgspec.json.Decoder(_View).decode


def bound_objects_exist(partitions: dict[str, Partition], claims: Claims, now: float | None = None) -> bool:
    """Whether the service account of a token, and what the token is bound to, are still those it was issued for.

    A pod's token lives as long as the pod, whatever becomes of its node. Costs a look-up and a partial decode for each object, about 2 µs.
    """
    namespace = claims.namespace
    backing = [("default", f"serviceaccounts/{namespace}/", claims.service_account)]
    if claims.secret is not None:
        backing.append(("default", f"secrets/{namespace}/", claims.secret))
    if claims.pod is not None:
        backing.append(("pods", f"pods/{namespace}/", claims.pod))
    elif claims.node is not None:
        backing.append(("nodes", "nodes//", claims.node))
    for partition, prefix, reference in backing:
        item = partitions[partition].get(prefix + reference.name)
        if item is None:
            return False
        metadata = _decode(item.value).metadata
        if metadata.uid != reference.uid:
            return False
        if metadata.deletionTimestamp is not None:
            deleted = times.parse(metadata.deletionTimestamp)
            if deleted < (time.time() if now is None else now) - DELETED_LEEWAY_SECONDS:
                return False
    return True
