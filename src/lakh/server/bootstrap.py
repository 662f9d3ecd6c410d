"""What every cluster has from its first start: namespaces, priority classes, flow schemas, the `kubernetes` service with its endpoints.

Idempotent: each start creates what is missing and leaves the rest alone, but for the endpoints, which follow the server's address. While the
server runs, `repair` puts back what upstream's servers put back, too, when somebody deletes it.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from lakh.apis import flowdefaults
from lakh.apis.groups.scheduling import SYSTEM_PRIORITY_CLASSES
from lakh.machinery import errors, times
from lakh.server import serviceaddresses
from lakh.server.authn import APISERVER
from lakh.server.certs import FRONT_PROXY_NAME, SHARED_FILES, Pki, PkiError
from lakh.server.cluster import Cluster
from lakh.server.context import Context
from lakh.server.serviceaddresses import (
    DEFAULT_RANGE_NAME,
    GROUP,
    VERSION,
    ServiceStore,
    make_default_range,
)
from lakh.store.partition import Partition
from lakh.store.state import Item

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
# What upstream makes only at the start, or has another component make.
MADE_ONCE = ("serviceaccounts", "priorityclasses")
SERVICE_ADDRESS = "10.96.0.1"


def _objects(port: int) -> list[tuple[str, str, str, str, dict[str, Any]]]:
    """(group, version, plural, namespace, object) of all that must be there."""
    found: list[tuple[str, str, str, str, dict[str, Any]]] = [
        ("", "v1", "namespaces", "", {"metadata": {"name": name}}) for name in NAMESPACES
    ]
    found += [("", "v1", "serviceaccounts", name, {"metadata": {"name": "default"}}) for name in NAMESPACES]
    found += [("scheduling.k8s.io", "v1", "priorityclasses", "", plain) for plain in SYSTEM_PRIORITY_CLASSES]
    for plural, plains in (
        ("prioritylevelconfigurations", flowdefaults.levels()),
        ("flowschemas", flowdefaults.schemas()),
    ):
        found += [("flowcontrol.apiserver.k8s.io", "v1", plural, "", plain) for plain in plains]
    found.append(("", "v1", "configmaps", "kube-system", _token_tracking()))
    found.append(
        (
            "",
            "v1",
            "services",
            "default",
            {
                "metadata": {
                    "name": "kubernetes",
                    "labels": {"component": "apiserver", "provider": "kubernetes"},
                },
                "spec": {
                    "clusterIP": SERVICE_ADDRESS,
                    "clusterIPs": [SERVICE_ADDRESS],
                    "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
                },
            },
        )
    )
    return found


def _token_tracking() -> dict[str, Any]:
    """Since when it is recorded which tokens of Secrets are used (upstream's legacytokentracking): never here, for none are issued."""
    return {
        "metadata": {"name": "kube-apiserver-legacy-service-account-token-tracking"},
        "data": {"since": times.now()[:10]},
    }


AUTHENTICATION_KEY = "configmaps/kube-system/extension-apiserver-authentication"
KEYS_ANNOTATION = "lakh.dev/keys"


def authentication_config(pki: Pki, *, shared: bool) -> dict[str, Any]:
    """Upstream's ConfigMap of what authenticates clients. `shared`: with the digests of the keys that all servers must have."""
    metadata: dict[str, Any] = {"name": "extension-apiserver-authentication"}
    if shared:
        metadata["annotations"] = {KEYS_ANNOTATION: msgspec.json.encode(pki.fingerprints()).decode()}
    return {
        "metadata": metadata,
        "data": {
            "client-ca-file": pki.ca_file.read_text(),
            "requestheader-allowed-names": f'["{FRONT_PROXY_NAME}"]',
            "requestheader-client-ca-file": pki.front_proxy_ca_file.read_text(),
            "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
            "requestheader-group-headers": '["X-Remote-Group"]',
            "requestheader-username-headers": '["X-Remote-User"]',
        },
    }


async def _renew_authentication(cluster: Cluster, wanted: dict[str, Any]) -> None:
    """The certificates of a data directory are not those of the backup that was restored there."""
    store = cluster.named("", "v1", "configmaps")
    name = wanted["metadata"]["name"]
    item = store.partition.head(store.key("kube-system", name))
    if item is None or store.decode(item).data == wanted["data"]:
        return

    def put(found: Item, old: Any) -> Any:
        new = store.decode(found)
        new.data = wanted["data"]
        return new

    await store.update(Context(APISERVER, manager="kube-apiserver"), "kube-system", name, put)


def check_keys(partition: Partition, pki: Pki) -> None:
    """Raises PkiError when the cluster was made with other keys than this server's."""
    item = partition.get(AUTHENTICATION_KEY)
    if item is None:
        return
    text = (_decode_annotated(item.value).metadata.annotations or {}).get(KEYS_ANNOTATION)
    theirs = msgspec.json.decode(text, type=dict[str, str]) if text else {}
    ours = pki.fingerprints()
    different = [name for name, digest in ours.items() if theirs.get(name, digest) != digest]
    if different:
        raise PkiError(
            f"{pki.directory} has not the keys of this cluster ({', '.join(different)} differ): copy {', '.join(SHARED_FILES)} "
            "from another of its API servers, remove the other files there, and start again"
        )


class _AnnotatedMetadata(msgspec.Struct):
    annotations: dict[str, str] | None = None


class _Annotated(msgspec.Struct):
    metadata: _AnnotatedMetadata


_decode_annotated = msgspec.json.Decoder(_Annotated).decode


def is_bootstrapped(cluster: Cluster) -> bool:
    """Whether everything is there, as far as this server has seen."""
    ranges = cluster.named(GROUP, VERSION, "servicecidrs")
    if ranges.partition.get(ranges.key("", DEFAULT_RANGE_NAME)) is None:
        return False
    return not any(_missing(cluster, *found) for found in _objects(0))


def _missing(
    cluster: Cluster, group: str, version: str, plural: str, namespace: str, plain: dict[str, Any]
) -> bool:
    store = cluster.named(group, version, plural)
    return store.partition.get(store.key(namespace, plain["metadata"]["name"])) is None


async def bootstrap(cluster: Cluster, port: int, authentication: dict[str, Any] | None = None) -> None:
    """Creates what is missing. The cluster's default partition must be written here. `authentication`: see `authentication_config`."""
    objects = _objects(port)
    if authentication is not None:
        objects.append(("", "v1", "configmaps", "kube-system", authentication))
        await _renew_authentication(cluster, authentication)
    await make_default_range(cluster)
    await _create_missing(cluster, objects)
    services = cluster.named("", "v1", "services")
    assert isinstance(services, ServiceStore)
    if services.addresses is not None:
        await serviceaddresses.repair(cluster, services.addresses, time.time())


async def repair(cluster: Cluster, port: int) -> None:
    """Creates again what was deleted of what the server itself rests on. The cluster's default partition must be written here."""
    await _create_missing(cluster, [found for found in _objects(port) if found[2] not in MADE_ONCE])


async def _create_missing(cluster: Cluster, objects: list[tuple[str, str, str, str, dict[str, Any]]]) -> None:
    for group, version, plural, namespace, plain in objects:
        if not _missing(cluster, group, version, plural, namespace, plain):
            continue
        store = cluster.named(group, version, plural)
        obj = msgspec.convert(plain, store.codec.struct)
        try:
            await store.create(Context(APISERVER, manager="kube-apiserver"), obj, namespace)
        except errors.StatusError as e:
            if e.reason != "AlreadyExists":
                raise
