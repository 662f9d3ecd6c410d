"""The APIServices of what this server serves itself: one for each group and version, made as upstream's autoregistration makes them.

Those of the groups of Kubernetes are labelled `onstart` and looked at when the server starts; those of custom resources are labelled `true`, come and
go with what is served, and come back when somebody deletes them. What somebody registers with a service of their own is left alone.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec

from lakh.apis.custom import CustomResource
from lakh.machinery import errors
from lakh.server.authn import APISERVER
from lakh.server.cluster import Cluster
from lakh.server.context import Context
from lakh.server.following import Following
from lakh.server.storage import DeleteOptions, ResourceStore
from lakh.store.errors import StoreError
from lakh.store.state import Event

log = logging.getLogger(__name__)

GROUP = "apiregistration.k8s.io"
AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
ON_START, ALWAYS = "onstart", "true"
RETRY_SECONDS = 1.0

# Upstream's priorities of groups, and of versions other than 15.
_GROUPS = {
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "resource.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
}
_VERSIONS = {
    ("", "v1"): 1,
    ("autoscaling", "v2"): 30,
    ("flowcontrol.apiserver.k8s.io", "v1"): 21,
    ("resource.k8s.io", "v1"): 20,
    ("scheduling.k8s.io", "v1alpha2"): 9,
}
_CUSTOM_GROUP, _CUSTOM_VERSION, _VERSION = 1000, 100, 15


def api_service(group: str, version: str, *, custom: bool) -> dict[str, Any]:
    """The local APIService of a group and version."""
    spec: dict[str, Any] = {"version": version}
    if group:
        spec["group"] = group
    if custom:
        spec |= {"groupPriorityMinimum": _CUSTOM_GROUP, "versionPriority": _CUSTOM_VERSION}
    else:
        spec["groupPriorityMinimum"] = _GROUPS[group]
        spec["versionPriority"] = _VERSIONS.get((group, version), _VERSION)
    label = ALWAYS if custom else ON_START
    return {"metadata": {"name": f"{version}.{group}", "labels": {AUTOMANAGED: label}}, "spec": spec}


def served(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """The APIServices that there must be, by name."""
    found: dict[str, dict[str, Any]] = {}
    for resource in cluster.registry.all():
        if resource.group != GROUP:
            custom = isinstance(resource, CustomResource)
            wanted = api_service(resource.group, resource.version, custom=custom)
            found.setdefault(wanted["metadata"]["name"], wanted)
    return found


async def reconcile_api_services(cluster: Cluster, *, starting: bool = True) -> None:
    """Makes what is missing, and deletes what this did for what is served no more: for all groups at the start, then for custom resources.

    The default partition must be written here.
    """
    labels = (ON_START, ALWAYS) if starting else (ALWAYS,)
    store: ResourceStore = cluster.named(GROUP, "v1", "apiservices")
    context = Context(APISERVER, manager="kube-apiserver")
    wanted = served(cluster)
    work: list[Any] = [
        store.create(context, msgspec.convert(plain, store.codec.struct), "")
        for name, plain in wanted.items()
        if plain["metadata"]["labels"][AUTOMANAGED] in labels
        and store.partition.head(store.key("", name)) is None
    ]
    for item in store.partition.range(store.table).items:
        metadata = store.codec.decode_stored(item.value).metadata
        managed = (metadata.labels or {}).get(AUTOMANAGED) in labels
        if managed and metadata.name not in wanted:
            work.append(store.delete(context, "", metadata.name, DeleteOptions()))
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, errors.StatusError) and result.code in (404, 409):
            continue  # somebody was quicker
        if isinstance(result, BaseException):
            raise result


async def follow_custom_resources(cluster: Cluster, changed: asyncio.Event) -> None:
    """Runs until cancelled: reconciles whenever what is served has changed (`changed`), or an APIService is gone, where the default partition is
    written."""
    partition = cluster.partitions["default"]

    def on_events(events: list[Event]) -> None:
        if any(event.item is None for event in events):
            changed.set()

    following = Following(partition, f"apiservices.{GROUP}", on_events, changed.set)
    try:
        while True:
            await changed.wait()
            changed.clear()
            if not partition.is_writer:
                continue
            try:
                await reconcile_api_services(cluster, starting=False)
            except (StoreError, errors.StatusError) as e:
                log.warning("APIServices: %s", e)
                changed.set()
                await asyncio.sleep(RETRY_SECONDS)
    finally:
        following.stop()
