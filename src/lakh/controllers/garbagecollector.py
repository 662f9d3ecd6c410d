"""The garbage collector: deletes objects whose owners are gone.

It watches the metadata of every deletable resource through the shared informers and keeps one index on top of them, `_dependents`: owner uid → the
objects that name it. Upkeep costs O(owner references) per added or removed object and a comparison per update; owners themselves cost
nothing.

* *Background*: an object has vanished → its dependents are looked at. One whose owners are all gone is deleted, with its uid and
  resourceVersion as preconditions. That an owner is gone is believed only after a live GET (answers are cached briefly, so that a thousand
  dependents of one owner cost one GET).
* *Foreground*: an owner with the finalizer `foregroundDeletion` waits. Its dependents are deleted; when none with
  `blockOwnerDeletion` is left, the finalizer is removed.
* *Orphan*: for an owner with the finalizer `orphan` the references to it are removed from the dependents, then the finalizer.

Events are not watched. Leases are not either, because a hundred thousand nodes renew theirs all the time; a Node's lease is deleted when its node is.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lakh.client.discovery import discover
from lakh.client.errors import ApiError, ClientError, is_conflict, is_not_found
from lakh.client.informer import Informer
from lakh.client.resources import LEASES, NODES, Resource, object_reference

from .bursts import all_of
from .context import Context, Controller
from .statuses import plain
from .views import Bare, BareMeta, OwnerReference

log = logging.getLogger(__name__)

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
DISCOVERY_SECONDS = 30.0
ABSENT_SECONDS = 60.0
"""How long the absence of an owner is believed without asking again (a uid never comes back)."""
MAX_ABSENT = 10_000
UNSEEN_OWNER_SECONDS = 1.0
"""A dependent may be seen before its owner; it is looked at after this time."""
LEASE_NAMESPACE = "kube-node-lease"

_SKIPPED = {("", "events"), ("events.k8s.io", "events"), (LEASES.group, LEASES.plural)}


@dataclass
class Owners:
    """A dependent's owner references, sorted by what has become of the owners."""

    solid: list[OwnerReference] = field(default_factory=list)
    dangling: list[OwnerReference] = field(default_factory=list)
    waiting: list[OwnerReference] = field(default_factory=list)
    """Owners that wait for their dependents (foreground deletion)."""


@dataclass(frozen=True)
class Action:
    """What to do with a dependent: keep it, drop the references in `drop`, or delete it with `policy`."""

    policy: str | None = None
    drop: tuple[str, ...] = ()


def decide(metadata: BareMeta, owners: Owners, *, has_dependents: bool) -> Action:
    """Pure: the fate of an object that is not being deleted."""
    if owners.solid:
        gone = (*owners.dangling, *owners.waiting)
        return Action(drop=tuple(reference.uid for reference in gone))
    if not owners.dangling and not owners.waiting:
        return Action()
    finalizers = metadata.finalizers or ()
    if owners.waiting and has_dependents:
        return Action("Foreground")
    if ORPHAN in finalizers:
        return Action("Orphan")
    if FOREGROUND in finalizers:
        return Action("Foreground")
    return Action("Background")


class GarbageCollector(Controller):
    """See the module."""

    name = "garbage-collector-controller"
    workers = 64

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._recorder = context.recorder(self.name)
        self._watched: dict[tuple[str, str], tuple[Resource, Informer[Any]]] = {}
        self._by_kind: dict[tuple[str, str], Resource] = {}
        self._dependents: dict[str, dict[str, str]] = {}
        """Owner uid → dependent uid → queue key."""
        self._absent: OrderedDict[str, float] = OrderedDict()
        self._unresolved: dict[tuple[str, str], set[str]] = {}
        """(group, kind) that nobody serves yet → queue keys of dependents that wait for it."""

    # ------------------------------------------------------------ what is watched

    async def refresh(self) -> None:
        """Watch what is served now."""
        for resource in await discover(self.client):
            self._by_kind.setdefault((resource.group, resource.kind), resource)
            for key in self._unresolved.pop((resource.group, resource.kind), ()):
                self.queue.add(key)
            path = (resource.group, resource.plural)
            if path in _SKIPPED or path in self._watched:
                continue
            if {"delete", "list", "watch"} <= resource.verbs:
                self._watch(resource)

    def _watch(self, resource: Resource) -> None:
        informer = self.context.informers.metadata(resource)
        self._watched[resource.group, resource.plural] = (resource, informer)
        prefix = f"{resource.group}/{resource.plural}|"
        informer.add_handler(
            on_add=lambda obj: self._added(prefix, obj),
            on_update=lambda old, new: self._updated(prefix, old, new),
            on_delete=lambda obj: self._deleted(prefix, obj),
        )

    async def run(self) -> None:
        """Work until cancelled."""
        await self.refresh()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_refreshing())
            group.create_task(self.queue.run(self.reconcile, self.workers))

    async def _keep_refreshing(self) -> None:
        while True:
            await asyncio.sleep(DISCOVERY_SECONDS)
            try:
                await self.refresh()
            except ClientError as error:
                log.warning("discovery failed, will retry: %s", error)

    # ------------------------------------------------------------ the index

    def _added(self, prefix: str, obj: Any) -> None:
        metadata = obj.metadata
        if metadata.ownerReferences:
            key = prefix + _name(metadata)
            self._link(key, metadata)
            if not all(
                self._present(reference, metadata.namespace) for reference in metadata.ownerReferences
            ):
                self.queue.add_after(key, UNSEEN_OWNER_SECONDS)
        if metadata.deletionTimestamp is not None:
            self._deleting(prefix, metadata)

    def _updated(self, prefix: str, old: Any, new: Any) -> None:
        before, after = old.metadata, new.metadata
        if before.ownerReferences != after.ownerReferences:
            key = prefix + _name(after)
            self._unlink(before)
            if after.ownerReferences:
                self._link(key, after)
                self.queue.add(key)
            self._tell_owners(before)
        if after.deletionTimestamp is not None and (
            before.deletionTimestamp is None or before.finalizers != after.finalizers
        ):
            self._deleting(prefix, after)

    def _deleted(self, prefix: str, obj: Any) -> None:
        metadata = obj.metadata
        for key in self._dependents.get(metadata.uid, {}).values():
            self.queue.add(key)
        if metadata.ownerReferences:
            self._unlink(metadata)
            self._tell_owners(metadata)
        if prefix == _NODE_PREFIX:
            self.queue.add(_LEASE_PREFIX + metadata.name)

    def _link(self, key: str, metadata: Any) -> None:
        for reference in metadata.ownerReferences:
            self._dependents.setdefault(reference.uid, {})[metadata.uid] = key

    def _unlink(self, metadata: Any) -> None:
        for reference in metadata.ownerReferences or ():
            dependents = self._dependents.get(reference.uid)
            if dependents is not None:
                dependents.pop(metadata.uid, None)
                if not dependents:
                    del self._dependents[reference.uid]

    def _deleting(self, prefix: str, metadata: Any) -> None:
        finalizers = metadata.finalizers or ()
        if FOREGROUND in finalizers or ORPHAN in finalizers:
            self.queue.add(prefix + _name(metadata))

    def _tell_owners(self, metadata: Any) -> None:
        """A dependent is gone or free: owners in foreground deletion may have waited for it."""
        for reference in metadata.ownerReferences or ():
            found = self._find(reference, metadata.namespace)
            if found is not None and _waits(found[1].metadata):
                self.queue.add(found[0])

    def _find(self, reference: OwnerReference, namespace: str | None) -> tuple[str, Any] | None:
        """The owner in memory: its queue key and view."""
        resource = self._resource(reference)
        if resource is None:
            return None
        watched = self._watched.get((resource.group, resource.plural))
        if watched is None:
            return None
        name = f"{namespace}/{reference.name}" if resource.namespaced else reference.name
        obj = watched[1].items.get(name)
        if obj is None or obj.metadata.uid != reference.uid:
            return None
        return f"{resource.group}/{resource.plural}|{name}", obj

    def _present(self, reference: OwnerReference, namespace: str | None) -> bool:
        return self._find(reference, namespace) is not None

    def _resource(self, reference: OwnerReference) -> Resource | None:
        group, _, _ = reference.apiVersion.rpartition("/")
        return self._by_kind.get((group, reference.kind))

    # ------------------------------------------------------------ work

    async def reconcile(self, key: str) -> None:
        """Look at one object: finish its deletion, or see whether its owners are gone."""
        if key.startswith(_LEASE_PREFIX):
            await self._delete_lease(key.removeprefix(_LEASE_PREFIX))
            return
        path, _, name = key.partition("|")
        group, _, plural = path.rpartition("/")
        watched = self._watched.get((group, plural))
        obj = watched[1].items.get(name) if watched is not None else None
        if watched is None or obj is None:
            return
        resource, metadata = watched[0], obj.metadata
        if metadata.deletionTimestamp is not None:
            finalizers = metadata.finalizers or ()
            if ORPHAN in finalizers:
                await self._orphan_dependents(resource, metadata)
            elif FOREGROUND in finalizers:
                await self._delete_dependents(resource, metadata)
            return
        if not metadata.ownerReferences:
            return
        owners = await self._classify(resource, obj)
        action = decide(metadata, owners, has_dependents=metadata.uid in self._dependents)
        if action.drop:
            await self._drop_references(resource, metadata, set(action.drop))
        elif action.policy is not None:
            if owners.waiting and any(_waits(d) for _, _, d in self._dependents_of(metadata.uid)):
                # Perhaps a circle: whoever waits for this object must not, or nobody would ever be first.
                await self._unblock(resource, metadata)
            log.debug("deleting %s: its owners are gone", key)
            await self._ignoring_gone(
                self.client.delete(
                    resource,
                    metadata.name,
                    metadata.namespace,
                    uid=metadata.uid,
                    resource_version=metadata.resourceVersion,
                    propagation_policy=action.policy,
                ),
                key,
            )

    async def _ignoring_gone(self, call: Any, key: str) -> None:
        """A vanished object is fine; a changed one is looked at again when the watch has caught up."""
        try:
            await call
        except ApiError as error:
            if is_conflict(error):
                self.queue.add_rate_limited(key)
            elif not is_not_found(error):
                raise

    async def _classify(self, resource: Resource, obj: Any) -> Owners:
        owners = Owners()
        for reference in obj.metadata.ownerReferences:
            found = self._find(reference, obj.metadata.namespace)
            if found is not None:
                waiting = _waits(found[1].metadata)
                (owners.waiting if waiting else owners.solid).append(reference)
            elif await self._is_absent(resource, obj, reference):
                owners.dangling.append(reference)
            else:
                owners.solid.append(reference)
        return owners

    async def _is_absent(self, resource: Resource, obj: Any, reference: OwnerReference) -> bool:
        """Ask the server, unless we know. When in doubt the owner is there."""
        now = self.context.monotonic()
        since = self._absent.get(reference.uid)
        if since is not None and now - since < ABSENT_SECONDS:
            return True
        owner = self._resource(reference)
        if owner is None:
            kind = (reference.apiVersion.rpartition("/")[0], reference.kind)
            self._unresolved.setdefault(kind, set()).add(
                f"{resource.group}/{resource.plural}|{_name(obj.metadata)}"
            )
            return False
        namespace = obj.metadata.namespace
        if owner.namespaced and not namespace:
            self._recorder.event(
                object_reference(resource, obj),
                "Warning",
                "OwnerRefInvalidNamespace",
                f"ownerRef [{reference.apiVersion}/{reference.kind}, namespace: , name: {reference.name}, "
                f'uid: {reference.uid}] does not exist in namespace ""',
            )
            return False
        try:
            live = await self.client.get(
                owner, reference.name, namespace if owner.namespaced else None, type=Bare
            )
        except ApiError as error:
            if not is_not_found(error):
                raise
        else:
            if live.metadata.uid == reference.uid:
                return False
        self._absent[reference.uid] = now
        self._absent.move_to_end(reference.uid)
        if len(self._absent) > MAX_ABSENT:
            self._absent.popitem(last=False)
        return True

    # ------------------------------------------------------------ foreground and orphan

    def _dependents_of(self, uid: str) -> list[tuple[str, Resource, Any]]:
        found = []
        for dependent_uid, key in list(self._dependents.get(uid, {}).items()):
            path, _, name = key.partition("|")
            group, _, plural = path.rpartition("/")
            resource, informer = self._watched[group, plural]
            obj = informer.items.get(name)
            if obj is not None and obj.metadata.uid == dependent_uid:
                found.append((key, resource, obj.metadata))
        return found

    async def _delete_dependents(self, resource: Resource, metadata: Any) -> None:
        dependents = self._dependents_of(metadata.uid)
        blocking = [entry for entry in dependents if _blocks(entry[2], metadata.uid)]
        for key, _, dependent in blocking:
            if dependent.deletionTimestamp is None:
                self.queue.add(key)
        if not blocking:
            await self._remove_finalizer(resource, metadata, FOREGROUND)

    async def _orphan_dependents(self, resource: Resource, metadata: Any) -> None:
        async def release(entry: tuple[str, Resource, Any]) -> None:
            await self._drop_references(entry[1], entry[2], {metadata.uid})

        error = await all_of(self._dependents_of(metadata.uid), release)
        if error is not None:
            raise error
        await self._remove_finalizer(resource, metadata, ORPHAN)

    async def _drop_references(self, resource: Resource, metadata: Any, uids: set[str]) -> None:
        def change(live: BareMeta) -> dict[str, Any] | None:
            kept = [plain(ref) for ref in live.ownerReferences or () if ref.uid not in uids]
            if len(kept) == len(live.ownerReferences or ()):
                return None
            return {"ownerReferences": kept or None}

        await self._change_metadata(resource, metadata, change)

    async def _unblock(self, resource: Resource, metadata: Any) -> None:
        """No owner waits for this object any more."""

        def change(live: BareMeta) -> dict[str, Any] | None:
            references = live.ownerReferences or ()
            if not any(ref.blockOwnerDeletion for ref in references):
                return None
            return {"ownerReferences": [{**plain(ref), "blockOwnerDeletion": False} for ref in references]}

        await self._change_metadata(resource, metadata, change)

    async def _remove_finalizer(self, resource: Resource, metadata: Any, finalizer: str) -> None:
        def change(live: BareMeta) -> dict[str, Any] | None:
            if finalizer not in (live.finalizers or ()):
                return None
            return {"finalizers": [entry for entry in live.finalizers or () if entry != finalizer] or None}

        await self._change_metadata(resource, metadata, change)

    async def _change_metadata(
        self, resource: Resource, metadata: Any, change: Callable[[BareMeta], dict[str, Any] | None]
    ) -> None:
        """Read the live object and patch its metadata, if it still is the same object."""
        try:
            live = await self.client.get(resource, metadata.name, metadata.namespace, type=Bare)
            if live.metadata.uid != metadata.uid:
                return
            patch = change(live.metadata)
            if patch is None:
                return
            patch["resourceVersion"] = live.metadata.resourceVersion
            await self.client.patch(
                resource, metadata.name, {"metadata": patch}, metadata.namespace, type=Bare
            )
        except ApiError as error:
            if not is_not_found(error):
                raise

    async def _delete_lease(self, node: str) -> None:
        """Delete the lease of a deleted node, unless a node of that name is back."""
        if node in self.context.informers.metadata(NODES).items:
            return
        try:
            lease = await self.client.get(LEASES, node, LEASE_NAMESPACE, type=Bare)
            owners = lease.metadata.ownerReferences or ()
            if any(reference.kind == "Node" for reference in owners):
                await self.client.delete(LEASES, node, LEASE_NAMESPACE, uid=lease.metadata.uid)
        except ApiError as error:
            if not is_not_found(error):
                raise


def _name(metadata: Any) -> str:
    return f"{metadata.namespace}/{metadata.name}" if metadata.namespace else str(metadata.name)


def _waits(metadata: Any) -> bool:
    """Whether the object is in foreground deletion."""
    return metadata.deletionTimestamp is not None and FOREGROUND in (metadata.finalizers or ())


def _blocks(metadata: Any, owner_uid: str) -> bool:
    return any(
        reference.uid == owner_uid and reference.blockOwnerDeletion
        for reference in metadata.ownerReferences or ()
    )


_NODE_PREFIX = f"{NODES.group}/{NODES.plural}|"
_LEASE_PREFIX = f"{LEASES.group}/{LEASES.plural}|"
