"""Custom resources come and go: what upstream's naming, establishing, approval and finalizing controllers do.

A definition whose names are free is *installed*: its served versions are in the registry, so routing, discovery and OpenAPI have them, and only then its
`Established` condition is written: whoever sees that may use them. A change of the definition takes effect with its event, before the client that made
it has its answer. A definition that is being deleted has its instances deleted first; its names are free for others when it is gone.

Every server serves what is established; what is written is written by the writer of the definitions' partition.

Everything is decided from the definitions in the partition: a restart installs what was established and goes on with what was not done. One task works
at a time, on demand; definitions wait for it in a set of names, which is as long as there are definitions.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from lakh.apis import custom
from lakh.apis.custom import CustomResource
from lakh.apis.definitions import schema
from lakh.apis.groups.apiextensions import APPROVED_ANNOTATION, GROUP, approval
from lakh.machinery import errors, times
from lakh.server.authn import APISERVER
from lakh.server.cluster import Cluster
from lakh.server.context import Context
from lakh.server.custom_store import CLEANUP_FINALIZER, CustomStore
from lakh.server.following import Following
from lakh.server.storage import DeleteOptions
from lakh.server.watching import Watching
from lakh.store.errors import StoreError
from lakh.store.hub import Watch
from lakh.store.state import Event, Item

log = logging.getLogger(__name__)

MANAGER = "kube-apiserver"
PREFIX = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."

# Instances deleted at once; their deletions share commits.
DELETES_AT_ONCE = 500
# How long a failed step waits before it is tried again.
RETRY_SECONDS = 1.0


class _Installed:
    """A definition that is served: what of it the resources were made of, and the resources."""

    __slots__ = ("names", "resources", "schema_revisions", "spec")

    def __init__(
        self, spec: Any, names: Any, resources: list[CustomResource], schema_revisions: dict[str, int]
    ) -> None:
        self.spec = spec
        self.names = names
        self.resources = resources
        self.schema_revisions = schema_revisions


class CustomResources:
    """Serves what the definitions of a cluster say."""

    def __init__(self, cluster: Cluster, watching: Watching) -> None:
        self.cluster = cluster
        self.watching = watching
        self.store = cluster.named(GROUP, "v1", "customresourcedefinitions")
        self._condition_type: Any = schema().struct(PREFIX + "CustomResourceDefinitionCondition")
        self._names_type: Any = schema().struct(PREFIX + "CustomResourceDefinitionNames")
        self._status_type: Any = schema().struct(PREFIX + "CustomResourceDefinitionStatus")
        # Kubernetes' own versions of groups, which no definition adds to.
        self._builtin = frozenset(
            (r.group, r.version) for r in cluster.registry.all() if not isinstance(r, CustomResource)
        )
        self._installed: dict[str, _Installed] = {}
        self._waiting: dict[str, None] = {}
        self._deleting: dict[str, Watch] = {}
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        # Set when what is served has changed.
        self.changed = asyncio.Event()
        self.look_at_all()
        self._watch = Following(self.store.partition, self.store.table, self._on_events, self.look_at_all)

    def look_at_all(self) -> None:
        """All definitions as they are now: at the start, after events were skipped, and when this server begins to write them."""
        for watch in self._deleting.values():
            watch.stop()
        self._deleting.clear()
        items = self.store.partition.range(self.store.table).items
        for name in self._installed.keys() - {item.key.rsplit("/", 1)[1] for item in items}:
            self._gone(name)
        for item in items:
            self._seen(item)

    def stop(self) -> None:
        """No more work is begun."""
        self._stopped = True
        self._watch.stop()
        for watch in self._deleting.values():
            watch.stop()
        if self._task is not None:
            self._task.cancel()

    # -- what is served --------------------------------------------------------------------------------------------------------

    def _on_events(self, events: list[Event]) -> None:
        for event in events:
            if event.item is not None:
                self._seen(event.item)
            else:
                self._gone(event.key.rsplit("/", 1)[1])

    def _seen(self, item: Item) -> None:
        """A definition as it is now: what is served follows, what is to be written waits for the task."""
        definition = self.store.decode(item)
        name = definition.metadata.name
        if _is_true(definition, "Established"):
            self._install(definition, item.revision)
        self._wake(name)

    def _gone(self, name: str) -> None:
        self._uninstall(name)
        group = name.partition(".")[2]
        for item in self.store.partition.range(self.store.table).items:
            other = item.key.rsplit("/", 1)[1]
            if other.endswith("." + group):
                self._wake(other)

    def _install(self, definition: Any, revision: int) -> None:
        name, spec, names = definition.metadata.name, definition.spec, definition.status.acceptedNames
        before = self._installed.get(name)
        if before is None or before.spec != spec or before.names != names:
            revisions: dict[str, int] = {}
            known = {v.name: v for v in before.spec.versions} if before is not None else {}
            for version in spec.versions:
                old = known.get(version.name)
                unchanged = before is not None and old is not None and old.schema == version.schema
                revisions[version.name] = (
                    before.schema_revisions[version.name] if unchanged and before is not None else revision
                )
            try:
                resources = [
                    r
                    for r in custom.resources_of(definition, revisions)
                    if (r.group, r.version) not in self._builtin
                ]
            except Exception:
                # It was valid when it was written; another version of this program may see it otherwise.
                log.exception("definition %s cannot be served", name)
                return
            self._uninstall(name)
            for resource in resources:
                if self.cluster.registry.get(resource.group, resource.version, resource.plural) is None:
                    self.cluster.registry.add(resource)
            self._installed[name] = _Installed(spec, names, resources, revisions)
            self.changed.set()
        terminating = definition.metadata.deletionTimestamp is not None
        for resource in self._installed[name].resources:
            if resource.webhook:
                continue
            store = self.cluster.store(resource)
            assert isinstance(store, CustomStore)
            store.terminating = terminating

    def _uninstall(self, name: str) -> None:
        installed = self._installed.pop(name, None)
        if installed is not None:
            self.changed.set()
        for resource in installed.resources if installed is not None else ():
            self.cluster.registry.remove(resource)
            self.cluster.forget(resource)
            # Not now: its watches may not have been told of events that came with this one.
            asyncio.get_running_loop().call_soon(self.watching.end, resource)

    # -- what is written -------------------------------------------------------------------------------------------------------

    def _wake(self, name: str) -> None:
        if not self.store.partition.is_writer:
            return  # its writer does it
        self._waiting[name] = None
        if not self._stopped and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._work(), name="custom-resources")

    async def _work(self) -> None:
        while self._waiting and not self._stopped:
            name = next(iter(self._waiting))
            del self._waiting[name]
            try:
                await self._sync(name)
            except errors.StatusError as e:
                # Changed or deleted in between: its event is on the way.
                if e.code not in (404, 409):
                    log.warning("definition %s: %s", name, e)
                    self._later(name)
            except StoreError as e:
                log.warning("definition %s: %s", name, e)
                self._later(name)

    def _later(self, name: str) -> None:
        asyncio.get_running_loop().call_later(RETRY_SECONDS, self._wake, name)

    async def _sync(self, name: str) -> None:
        item = self.store.partition.head(self.store.key("", name))
        if item is None:
            return
        definition = self.store.decode(item)
        if definition.metadata.deletionTimestamp is not None:
            await self._finalize(definition)
            return
        status = self._status(definition)
        if status == definition.status:
            return
        definition.status = status
        if _is_true(definition, "Established"):
            self._install(definition, item.revision)
        await self._write(name, status)

    async def _write(self, name: str, status: Any, *, without_finalizer: bool = False) -> None:
        def mutate(item: Item, old: Any) -> Any:
            new = self.store.decode(item)
            new.status = status
            if without_finalizer:
                new.metadata.finalizers = [
                    f for f in new.metadata.finalizers or () if f != CLEANUP_FINALIZER
                ] or None
            return new

        context = Context(APISERVER, manager=MANAGER)
        await self.store.update(context, "", name, mutate, subresource="status")

    def _status(self, definition: Any) -> Any:
        """The status that a definition should have: names, NamesAccepted, Established, approval."""
        spec, status = definition.spec, definition.status or self._status_type()
        requested = spec.names
        accepted = status.acceptedNames or self._names_type(plural="", kind="")
        resources, kinds = self._taken(definition)
        conflict = ("", "")
        chosen = {"categories": requested.categories}
        for field, reason, taken in (
            ("plural", "PluralConflict", resources),
            ("singular", "SingularConflict", resources),
            ("kind", "KindConflict", kinds),
            ("listKind", "ListKindConflict", kinds),
        ):
            wanted, has = getattr(requested, field), getattr(accepted, field)
            if wanted != has and wanted in taken:
                conflict, wanted = (reason, f'"{wanted}" is already in use'), has
            chosen[field] = wanted
        used = [
            s for s in requested.shortNames or () if s not in (accepted.shortNames or ()) and s in resources
        ]
        if used:
            texts = [f'"{short}" is already in use' for short in used]
            text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
            conflict = ("ShortNamesConflict", text)
        chosen["shortNames"] = accepted.shortNames if used else requested.shortNames
        conditions = list(status.conditions or ())
        if conflict[0]:
            self._set(conditions, "NamesAccepted", "False", *conflict)
            if not any(c.type == "Established" for c in conditions):
                self._set(conditions, "Established", "False", "NotAccepted", "not all names are accepted")
        else:
            self._set(conditions, "NamesAccepted", "True", "NoConflicts", "no conflicts found")
            if not _is_true(definition, "Established"):
                self._set(
                    conditions,
                    "Established",
                    "True",
                    "InitialNamesAccepted",
                    "the initial names have been accepted",
                )
        found = approval(spec.group, (definition.metadata.annotations or {}).get(APPROVED_ANNOTATION, ""))
        if found is not None:
            self._set(conditions, "KubernetesAPIApprovalPolicyConformant", *found)
        return self._status_type(
            acceptedNames=self._names_type(**chosen),
            conditions=conditions,
            storedVersions=status.storedVersions,
        )

    def _taken(self, definition: Any) -> tuple[set[str], set[str]]:
        """The names in use by others of the group: of resources, and of kinds."""
        resources: set[str] = set()
        kinds: set[str] = set()
        for item in self.store.partition.range(self.store.table).items:
            if not item.key.endswith("." + definition.spec.group):
                continue
            other = self.store.codec.decode_stored(item.value)
            names = other.status.acceptedNames if other.status is not None else None
            if names is None or other.metadata.name == definition.metadata.name:
                continue
            resources.update(n for n in (names.plural, names.singular, *(names.shortNames or ())) if n)
            kinds.update(n for n in (names.kind, names.listKind) if n)
        return resources, kinds

    def _set(self, conditions: list[Any], kind: str, status: str, reason: str, message: str) -> None:
        new = self._condition_type(
            type=kind, status=status, reason=reason, message=message, lastTransitionTime=times.now()
        )
        for index, old in enumerate(conditions):
            if old.type == kind:
                if (old.status, old.reason, old.message) != (status, reason, message):
                    if old.status == status:
                        new.lastTransitionTime = old.lastTransitionTime
                    conditions[index] = new
                return
        conditions.append(new)

    # -- the end of a definition -----------------------------------------------------------------------------------------------

    async def _finalize(self, definition: Any) -> None:
        """Deletes the instances of a definition, then lets it go."""
        name = definition.metadata.name
        if CLEANUP_FINALIZER not in (definition.metadata.finalizers or ()):
            return
        status = definition.status
        if not _is_true(definition, "Terminating"):
            conditions = list(status.conditions or ())
            self._set(
                conditions,
                "Terminating",
                "True",
                "InstanceDeletionInProgress",
                "CustomResource deletion is in progress",
            )
            status.conditions = conditions
            await self._write(name, status)
        installed = self._installed.get(name)
        served = [r for r in installed.resources if not r.webhook] if installed is not None else []
        if served:
            store = self.cluster.store(served[0])
            if name not in self._deleting:
                # Instances may have finalizers of their own; each that goes is looked at.
                self._deleting[name] = store.partition.watch(
                    store.table, start=None, sink=lambda events: self._instance_gone(name, events)
                )
            await self._delete_instances(store)
            if store.partition.range(store.table, limit=1).items:
                return
        watch = self._deleting.pop(name, None)
        if watch is not None:
            watch.stop()
        conditions = list(status.conditions or ())
        self._set(conditions, "Terminating", "False", "InstanceDeletionCompleted", "removed all instances")
        status.conditions = conditions
        await self._write(name, status, without_finalizer=True)

    def _instance_gone(self, name: str, events: list[Event]) -> None:
        if any(event.item is None for event in events):
            self._wake(name)

    async def _delete_instances(self, store: Any) -> None:
        context = Context(APISERVER, manager=MANAGER)
        after = ""
        while True:
            page = store.partition.range(store.table, after=after, limit=DELETES_AT_ONCE)
            deletions = []
            for item in page.items:
                _, namespace, name = item.key.split("/", 2)
                deletions.append(store.delete(context, namespace, name, DeleteOptions()))
            for result in await asyncio.gather(*deletions, return_exceptions=True):
                if isinstance(result, BaseException) and not (
                    isinstance(result, errors.StatusError) and result.code == 404
                ):
                    raise result
            if not page.more:
                return
            after = page.items[-1].key


def _is_true(definition: Any, kind: str) -> bool:
    conditions = (definition.status.conditions if definition.status is not None else None) or ()
    return any(c.type == kind and c.status == "True" for c in conditions)
