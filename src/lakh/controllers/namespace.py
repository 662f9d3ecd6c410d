"""Namespaces: empty those that are being deleted, then let them go.

For a Terminating namespace every namespaced resource with list and delete verbs is emptied: pods first, as their deletion may need the secrets and
configuration of the namespace, then the rest at the same time. When nothing is left, the `kubernetes` finalizer is removed through `finalize` and
the namespace disappears. `conclude` is the pure part: what was found left → conditions, and whether to finalize.

Pods take their time to end. While the shared informer shows that all which are left have been told to, they are only counted: telling a
hundred thousand of them again in every pass costs the server as much as deleting them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from lakh.client.discovery import discover
from lakh.client.errors import ApiError, ClientError, is_conflict, is_not_found
from lakh.client.resources import NAMESPACES, PODS, Resource

from . import clock, informers
from .context import Context, Controller
from .statuses import plain, set_condition, status_patch
from .views import Bare, Condition, Meta, Namespace, Object, Pod

FINALIZER = "kubernetes"
DISCOVERY_SECONDS = 30.0
"""How long a list of the served resources is used."""
MIN_RETRY_SECONDS = 0.1
MAX_RETRY_SECONDS = 5.0
PAGE_SIZE = 500
MAX_DELETES = 64
"""Single deletes under way, for resources without deletecollection."""


@dataclass
class Remains:
    """What a pass over a namespace has found left."""

    objects: dict[str, int] = field(default_factory=dict)
    """By `resource.group`."""
    finalizers: Counter[str] = field(default_factory=Counter)
    discovery_errors: list[str] = field(default_factory=list)
    content_errors: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether the namespace may go."""
        return not (self.objects or self.discovery_errors or self.content_errors)


def conclude(remains: Remains) -> list[Condition]:
    """The conditions that tell users why the namespace is still there."""

    def condition(type_: str, bad: bool, reasons: tuple[str, str], messages: tuple[str, str]) -> Condition:
        return Condition(
            type=type_, status="True" if bad else "False", reason=reasons[not bad], message=messages[not bad]
        )

    objects = ", ".join(
        f"{name} has {count} resource instances" for name, count in sorted(remains.objects.items())
    )
    finalizers = ", ".join(
        f"{name} in {count} resource instances" for name, count in sorted(remains.finalizers.items())
    )
    return [
        condition(
            "NamespaceDeletionDiscoveryFailure",
            bool(remains.discovery_errors),
            ("DiscoveryFailed", "ResourcesDiscovered"),
            (
                "Discovery failed for some groups, "
                f"{len(remains.discovery_errors)} failing: {', '.join(remains.discovery_errors)}",
                "All resources successfully discovered",
            ),
        ),
        condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            False,
            ("GroupVersionParsingFailed", "ParsedGroupVersions"),
            ("", "All legacy kube types successfully parsed"),
        ),
        condition(
            "NamespaceDeletionContentFailure",
            bool(remains.content_errors),
            ("ContentDeletionFailed", "ContentDeleted"),
            (
                "Failed to delete all resource types, "
                f"{len(remains.content_errors)} remaining: {', '.join(remains.content_errors)}",
                "All content successfully deleted, may be waiting on finalization",
            ),
        ),
        condition(
            "NamespaceContentRemaining",
            bool(remains.objects),
            ("SomeResourcesRemain", "ContentRemoved"),
            (f"Some resources are remaining: {objects}", "All content successfully removed"),
        ),
        condition(
            "NamespaceFinalizersRemaining",
            bool(remains.finalizers),
            ("SomeFinalizersRemain", "ContentHasNoFinalizers"),
            (
                f"Some content in the namespace has finalizers remaining: {finalizers}",
                "All content-preserving finalizers finished",
            ),
        ),
    ]


class NamespaceController(Controller):
    """See the module."""

    name = "namespace-controller"
    workers = 10

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._namespaces = context.informers.of(NAMESPACES, Namespace)
        self._namespaces.add_handler(on_add=self._changed, on_update=self._updated, on_delete=self._gone)
        self._pods = context.informers.of(PODS, Pod, indexes=(informers.NAMESPACE,))
        self._resources: list[Resource] = []
        self._discovered_at = float("-inf")
        self._tries: Counter[str] = Counter()

    def resync(self) -> None:
        """Queue every namespace that is being deleted."""
        for namespace in self._namespaces.items.values():
            self._changed(namespace)

    def _changed(self, namespace: Namespace) -> None:
        if namespace.metadata.deletionTimestamp is not None:
            self.queue.add(namespace.metadata.name)

    def _updated(self, old: Namespace, new: Namespace) -> None:
        # Conditions, which passes write themselves, are no reason for the next.
        if old.metadata.deletionTimestamp is None or old.spec.finalizers != new.spec.finalizers:
            self._changed(new)

    def _gone(self, namespace: Namespace) -> None:
        self._tries.pop(namespace.metadata.name, None)

    async def _served(self, remains: Remains) -> list[Resource]:
        now = self.context.monotonic()
        if now - self._discovered_at > DISCOVERY_SECONDS:
            try:
                self._resources = await discover(self.client)
                self._discovered_at = now
            except ClientError as error:
                remains.discovery_errors.append(str(error))
        return [
            resource
            for resource in self._resources
            if resource.namespaced
            and "list" in resource.verbs
            and ("delete" in resource.verbs or "deletecollection" in resource.verbs)
        ]

    async def reconcile(self, key: str) -> None:
        """One pass over a Terminating namespace."""
        namespace = self._namespaces.items.get(key)
        if namespace is None or namespace.metadata.deletionTimestamp is None:
            return
        if FINALIZER not in (namespace.spec.finalizers or ()):
            return
        remains = await self._empty(key)
        conditions = namespace.status.conditions
        stamp = clock.stamp(self.now())
        for condition in conclude(remains):
            conditions = set_condition(conditions, condition, now=stamp)
        try:
            if conditions != (namespace.status.conditions or []):
                await self.client.patch(
                    NAMESPACES,
                    key,
                    status_patch({"conditions": plain(conditions)}),
                    subresource="status",
                    type=Bare,
                )
            if remains.empty:
                await self._finalize(key, namespace.metadata.uid)
                self._tries.pop(key, None)
                return
        except ApiError as error:
            if is_not_found(error):
                return
            if not is_conflict(error):
                raise
        tries = self._tries[key]
        self._tries[key] += 1
        self.queue.add_after(key, min(MIN_RETRY_SECONDS * 2.0 ** min(tries, 10), MAX_RETRY_SECONDS))

    async def _empty(self, namespace: str) -> Remains:
        remains = Remains()
        served = await self._served(remains)
        if PODS in served:
            ending = self._pods.by_index(informers.NAMESPACE, namespace)
            if ending and all(pod.metadata.deletionTimestamp is not None for pod in ending):
                _count(PODS, [pod.metadata for pod in ending], remains)
            else:
                await self._empty_one(PODS, {"deletecollection", "delete"}, namespace, remains)
            if remains.objects or remains.content_errors:
                return remains
        others = [resource for resource in served if resource != PODS]
        await asyncio.gather(
            *(self._empty_one(resource, resource.verbs, namespace, remains) for resource in others)
        )
        return remains

    async def _empty_one(
        self, resource: Resource, verbs: frozenset[str] | set[str], namespace: str, remains: Remains
    ) -> None:
        try:
            found = await self._list(resource, namespace)
            if not found:
                return
            if "deletecollection" in verbs:
                await self.client.delete_collection(resource, namespace, propagation_policy="Background")
            else:
                await self._delete_each(resource, namespace, found)
            found = await self._list(resource, namespace)
        except ApiError as error:
            # Served a moment ago and gone now, as a custom resource can be: nothing to empty.
            if is_not_found(error) or error.code == 405:
                return
            remains.content_errors.append(str(error))
            return
        _count(resource, found, remains)

    async def _list(self, resource: Resource, namespace: str) -> list[Meta]:
        """The metadata of what is there; more than a page is counted as a page."""
        page = await self.client.list(resource, namespace, type=Object, limit=PAGE_SIZE)
        return [item.metadata for item in page.items]

    async def _delete_each(self, resource: Resource, namespace: str, found: list[Meta]) -> None:
        slots = asyncio.Semaphore(MAX_DELETES)

        async def delete(metadata: Meta) -> None:
            async with slots:
                try:
                    await self.client.delete(
                        resource, metadata.name, namespace, propagation_policy="Background"
                    )
                except ApiError as error:
                    if not is_not_found(error):
                        raise

        await asyncio.gather(*map(delete, found))

    async def _finalize(self, name: str, uid: str) -> None:
        """Remove our finalizer from the live namespace; others' stay."""
        live = await self.client.get(NAMESPACES, name)
        if live["metadata"]["uid"] != uid:
            return
        finalizers = [entry for entry in live["spec"].get("finalizers", ()) if entry != FINALIZER]
        live["spec"]["finalizers"] = finalizers
        await self.client.update(NAMESPACES, live, name=name, subresource="finalize", type=Bare)


def _count(resource: Resource, found: list[Meta], remains: Remains) -> None:
    if found:
        remains.objects[f"{resource.plural}.{resource.group}"] = len(found)
        for metadata in found:
            remains.finalizers.update(metadata.finalizers or ())
