"""The identity Leases of the API servers (KEP-1965): who belongs to the cluster.

Each server renews `apiserver-<hash>` in kube-system, as upstream does, and writes its URL beside it, and where pods reach it. They are how servers find each other; whether
one is alive is found out by asking it, so a late renewal does no harm. A lease that was not renewed for an hour is deleted by the writer of the
leases' partition.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import msgspec

from lakh.machinery import gonumbers, times
from lakh.server.cluster import Cluster
from lakh.server.exchange import Response
from lakh.server.following import Following
from lakh.server.ownendpoints import Endpoint
from lakh.store.errors import StoreError
from lakh.store.state import Event

log = logging.getLogger(__name__)

# Makes a request in the server's own name: method, path, body.
OwnRequest = Callable[..., Awaitable[Response]]

NAMESPACE = "kube-system"
PREFIX = "apiserver-"
LEASE_PATH = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
URL_ANNOTATION = "lakh.dev/url"
ENDPOINT_ANNOTATION = "lakh.dev/endpoint"
# Upstream's identity lease: renewed every 10 s, good for an hour.
RENEW_SECONDS = 10.0
RETRY_SECONDS = 1.0
DURATION_SECONDS = 3600


class _Metadata(msgspec.Struct, gc=False):
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Spec(msgspec.Struct, gc=False):
    renewTime: str | None = None


class _Lease(msgspec.Struct, gc=False):
    metadata: _Metadata
    spec: _Spec | None = None


_decode = msgspec.json.Decoder(_Lease).decode


class Identity:
    """This server's lease, and what the others' say."""

    def __init__(self, cluster: Cluster, url: str, endpoint: Endpoint | None = None) -> None:
        self.url = url
        self.endpoint = endpoint
        self.name = PREFIX + hashlib.sha256(url.encode()).hexdigest()[:26]
        self.holder = f"{self.name}_{secrets.token_hex(8)}"
        self._leases = cluster.named("coordination.k8s.io", "v1", "leases")
        # By key: the server's URL, and where pods reach it.
        self._members: dict[str, tuple[str, Endpoint | None]] = {}
        self._read_all()
        self._watch = Following(
            self._leases.partition, self._leases.table, self._on_events, self._read_all, scope=NAMESPACE
        )

    def members(self) -> Sequence[str]:
        """The URLs of all servers that have a lease."""
        return [url for url, _ in self._members.values()]

    def endpoints(self, alive: Collection[str]) -> set[Endpoint]:
        """Where pods reach this server and the others that are alive, by their URLs."""
        found = {
            endpoint for url, endpoint in self._members.values() if url in alive and endpoint is not None
        }
        return found | {self.endpoint} if self.endpoint is not None else found

    def _read_all(self) -> None:
        self._members.clear()
        partition, table = self._leases.partition, self._leases.table
        for item in partition.range(table, NAMESPACE).items:
            self._read(item.key, item.value)

    def _on_events(self, events: list[Event]) -> None:
        for event in events:
            self._read(event.key, event.item.value if event.item is not None else None)

    def _read(self, key: str, value: bytes | None) -> None:
        if not key.startswith(f"{self._leases.table}/{NAMESPACE}/{PREFIX}"):
            return
        annotations = (_decode(value).metadata.annotations or {}) if value is not None else {}
        url = annotations.get(URL_ANNOTATION)
        if url:
            address, _, port = annotations.get(ENDPOINT_ANNOTATION, "").rpartition(":")
            self._members[key] = url, (address, int(port)) if address and gonumbers.is_uint(port) else None
        else:
            self._members.pop(key, None)

    async def renew(self, call: OwnRequest) -> None:
        """Runs until cancelled. `call` makes the requests."""
        while True:
            try:
                good = await self._renew_once(call)
                if good and self._leases.partition.is_writer:
                    await self._forget_old(call)
            except StoreError as error:
                log.info("identity lease: %s", error)
                good = False
            await asyncio.sleep((RENEW_SECONDS if good else RETRY_SECONDS) * random.uniform(0.9, 1.1))

    async def _renew_once(self, call: OwnRequest) -> bool:
        key = self._leases.key(NAMESPACE, self.name)
        lease: dict[str, Any] = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self.name,
                "namespace": NAMESPACE,
                "labels": {
                    "apiserver.kubernetes.io/identity": "kube-apiserver",
                    "kubernetes.io/hostname": socket.gethostname()[:63],
                },
                "annotations": {URL_ANNOTATION: self.url},
            },
            "spec": {
                "holderIdentity": self.holder,
                "leaseDurationSeconds": DURATION_SECONDS,
                "renewTime": times.now_micro(),
            },
        }
        if self.endpoint is not None:
            lease["metadata"]["annotations"][ENDPOINT_ANNOTATION] = f"{self.endpoint[0]}:{self.endpoint[1]}"
        there = self._leases.partition.get(key) is not None
        if there:
            answer = await call("PATCH", f"{LEASE_PATH}/{self.name}", lease)
        else:
            answer = await call("POST", LEASE_PATH, lease)
        if answer.status not in (200, 201):
            log.info("identity lease: code %d: %r", answer.status, answer.body)
        return answer.status in (200, 201)

    async def _forget_old(self, call: OwnRequest) -> None:
        limit = times.of_seconds(time.time() - DURATION_SECONDS)
        for key in list(self._members):
            item = self._leases.partition.get(key)
            if item is None or (spec := _decode(item.value).spec) is None:
                continue
            # RFC 3339 in UTC sorts as text.
            if (spec.renewTime or "") < limit:
                await call("DELETE", f"{LEASE_PATH}/{key.rsplit('/', 1)[1]}")
