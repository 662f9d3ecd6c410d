"""Objects of a resource in its partition: upstream's generic registry store.

What is common to all kinds when they are written: metadata, names, the strategy's steps in upstream's order, field ownership, the compare
and swap, deletion with grace periods and finalizers. A write is decided synchronously against the pending head, so that nobody comes in
between; only its commit is awaited. An answer that was judged by a head that is not durable yet waits until it is.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from lakh.apis import meta
from lakh.apis.registry import Resource
from lakh.machinery import errors, gonumbers, times
from lakh.server import ownership
from lakh.server.codec import Codec, codec_of
from lakh.server.context import Context
from lakh.store.errors import Conflict, NotFound
from lakh.store.partition import Partition
from lakh.store.state import Item

# Alphabet and length of generated name suffixes (apimachinery's util/rand): no vowels, no look-alikes.
SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
SUFFIX_LENGTH = 5
# A suffix is two pairs of letters and one more.
_PAIRS = tuple(a + b for a in SUFFIX_ALPHABET for b in SUFFIX_ALPHABET)
_SUFFIXES = len(SUFFIX_ALPHABET) ** SUFFIX_LENGTH
# A generated name is cut so that with its suffix it fits a DNS label.
GENERATED_BASE_MAX = 63 - SUFFIX_LENGTH
# How often a generated name that is taken is drawn anew.
GENERATE_NAME_TRIES = 8

# The digit of a UUID that has its variant, by a random one.
_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
ORPHAN_POLICY = "Orphan"

# Subresources beside status that are the object itself, of which they change a part.
OWN_SUBRESOURCES = ("approval", "ephemeralcontainers", "finalize", "resize")

Mutate = Callable[[Item, Any], Any]
T = TypeVar("T")


class DeleteOptions(msgspec.Struct, gc=False):
    """metav1.DeleteOptions."""

    apiVersion: str | None = None
    kind: str | None = None
    gracePeriodSeconds: int | None = None
    preconditions: dict[str, str | None] | None = None
    orphanDependents: bool | None = None
    propagationPolicy: str | None = None
    dryRun: list[str] | None = None
    ignoreStoreReadErrorWithClusterBreakingPotential: bool | None = None


class Deleted:
    """What a delete did: `item` is the object as it is now (or was last), `gone` whether it is removed."""

    __slots__ = ("gone", "item", "uid")

    def __init__(self, item: Item, gone: bool, uid: str) -> None:
        self.item = item
        self.gone = gone
        self.uid = uid


def new_uid() -> str:
    """A random (version 4) UUID."""
    h = os.urandom(16).hex()
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{_VARIANTS[h[16]]}{h[17:20]}-{h[20:]}"


def leads_to_deletion(new: Any, old: Any) -> bool:
    """Whether an update must be taken at a quota and on a full disk: its object is being deleted, or loses a finalizer.

    A mark, a kubelet's last status, a removed finalizer make an object longer before it goes.
    """
    return old.deletionTimestamp is not None or len(new.finalizers or ()) < len(old.finalizers or ())


# Upstream's handlers/rest.go. What an admission plugin may have done is all that is said of patches.
_OWNERS_TWICE = (
    ".metadata.ownerReferences contains duplicate entries{}; API server dedups owner references in 1.20+, and may reject such requests as early "
    "as 1.24; please fix your requests; duplicate UID(s) observed: {}"
)


def _dedupe_owners(metadata: Any, context: Context) -> None:
    """Owner references that are there more than once stay once, with a warning."""
    owners = metadata.ownerReferences
    if owners is None or len(owners) < 2:
        return
    kept: list[Any] = []
    twice: list[str] = []
    for owner in owners:
        if owner in kept:
            twice.append(owner.uid or "")
        else:
            kept.append(owner)
    if twice:
        metadata.ownerReferences = kept
        when = " after mutating admission happens" if context.patched else ""
        context.warn([_OWNERS_TWICE.format(when, ", ".join(twice))])


def generate_name(base: str) -> str:
    """A name for `generateName`."""
    rest, last = divmod(int(random.random() * _SUFFIXES), len(SUFFIX_ALPHABET))
    first, second = divmod(rest, len(_PAIRS))
    return base[:GENERATED_BASE_MAX] + _PAIRS[first] + _PAIRS[second] + SUFFIX_ALPHABET[last]


async def _together(write: Awaitable[T], more: Sequence[Awaitable[Any]]) -> T:
    """The result of a write, once it and what goes with it are durable."""
    if not more:
        return await write
    results: list[Any] = await asyncio.gather(write, *more)
    result: T = results[0]
    return result


class ResourceStore:
    """The objects of one resource."""

    # Whether a webhook has to tell what stored objects are in this version, and what they are in others.
    converted = False
    has_webhook = False

    def __init__(self, resource: Resource, partition: Partition) -> None:
        self.resource = resource
        self.strategy = resource.strategy
        self.partition = partition
        self.codec = self.make_codec(resource)
        self.table = resource.table
        view = resource.strategy.selectable_view
        # What field selectors are tested on.
        self.decode_selectable: Callable[[bytes], Any] = (
            self.codec.decode_stored if view is None else msgspec.json.Decoder(view).decode
        )

        view = resource.strategy.deletable_view
        self._decode_deletable: Callable[[bytes], Any] | None = (
            None if view is None else msgspec.json.Decoder(view).decode
        )

    def __repr__(self) -> str:
        return f"<ResourceStore {self.table}>"

    def make_codec(self, resource: Resource) -> Codec:
        """The codec of its objects."""
        return codec_of(resource)

    def key(self, namespace: str, name: str) -> str:
        """The key of an object in the partition."""
        return f"{self.table}/{namespace}/{name}"

    def not_found(self, name: str) -> errors.StatusError:
        """404 for an object of this resource."""
        return errors.not_found(self.resource.group, self.resource.plural, name)

    def get(self, namespace: str, name: str) -> Item:
        """The durable object; raises 404."""
        item = self.partition.get(f"{self.table}/{namespace}/{name}")
        if item is None:
            raise self.not_found(name)
        return item

    def decode(self, item: Item) -> Any:
        """The object of an item, resourceVersion included."""
        obj = self.codec.decode_stored(item.value)
        obj.metadata.resourceVersion = str(item.revision)
        return obj

    def split(self, item: Item) -> tuple[Any, bytes]:
        """The object of an item without its managedFields, resourceVersion included, and these as they are at rest (`Codec.split_stored`)."""
        obj, managers = self.codec.split_stored(item.value)
        obj.metadata.resourceVersion = str(item.revision)
        return obj, managers

    def serve(self, item: Item) -> bytes:
        """The item as clients get it."""
        return self.codec.serve(item.value, item.revision)

    # -- create ----------------------------------------------------------------------------------------------------------------

    async def create(self, context: Context, obj: Any, namespace: str) -> Item | bytes:
        """Stores a new object that a client sent. Bytes instead of an item: what a dry run would have stored."""
        metadata = obj.metadata
        self._settle_namespace(metadata, namespace)
        if not metadata.name:
            metadata.name = self.strategy.unnamed() or None
        generated = not metadata.name and metadata.generateName
        for attempt in range(GENERATE_NAME_TRIES):
            if generated:
                metadata.name = generate_name(metadata.generateName)
            key = self.key(namespace, metadata.name or "")
            if attempt == 0:
                value, terms = self._prepare_create(context, obj)
            else:
                # A namespace is labelled with its name.
                self.strategy.default(obj)
                value = self.codec.encode_stored(obj)
            try:
                if not context.dry_run:
                    put = self.partition.put(key, value, expect=0, terms=terms)
                    more = self.queued(obj, None)
                    return await (_together(put, more) if more else put)
                head = self.partition.head(key)
                if head is None:
                    return value
                raise Conflict(key, head, head.revision)
            except Conflict as e:
                if generated and attempt < GENERATE_NAME_TRIES - 1:
                    continue
                await self.partition.settle(e.revision)
                raise errors.already_exists(
                    self.resource.group, self.resource.plural, metadata.name
                ) from None
        raise AssertionError("unreachable")

    def queue_create(self, context: Context, obj: Any) -> asyncio.Future[Item]:
        """Queues a new object of the server's own that has a name; done when it is durable. Raises Conflict, 422."""
        value, terms = self._prepare_create(context, obj)
        key = self.key(obj.metadata.namespace or "", obj.metadata.name)
        return self.partition.put(key, value, expect=0, terms=terms)

    def queued(self, new: Any, old: Any) -> Sequence[Awaitable[Any]]:
        """Called when a write was queued, and nothing came in between: queues what goes with it. None: there was, or will be, no object."""
        return ()

    def _settle_namespace(self, metadata: Any, namespace: str) -> None:
        if not self.resource.namespaced:
            metadata.namespace = None
        elif not metadata.namespace:
            metadata.namespace = namespace
        elif metadata.namespace != namespace:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )

    def _prepare_create(self, context: Context, obj: Any) -> tuple[bytes, tuple[str, ...]]:
        metadata = obj.metadata
        if metadata.resourceVersion and metadata.resourceVersion != "0":
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        strategy = self.strategy
        strategy.default(obj)
        _dedupe_owners(metadata, context)
        metadata.uid = new_uid()
        metadata.creationTimestamp = context.now
        metadata.deletionTimestamp = None
        metadata.deletionGracePeriodSeconds = None
        metadata.generation = None
        metadata.selfLink = None
        # The creator manages what it sent and its defaults, not what the server and admission add.
        ownership.track_create(self.codec, obj, context)
        strategy.prepare_for_create(obj)
        context.admit("create", self, obj, None)
        findings = meta.validate_object_meta(
            metadata,
            namespaced=self.resource.namespaced,
            name_rule=strategy.validate_name,
            any_finalizer=strategy.any_finalizer,
        )
        findings += strategy.validate(obj)
        if findings:
            raise errors.invalid(
                self.resource.group,
                self.resource.kind,
                metadata.name or metadata.generateName or "",
                findings,
            )
        context.warn(strategy.warnings(obj, None))
        return self.codec.encode_stored(obj), strategy.terms(obj)

    # -- update ----------------------------------------------------------------------------------------------------------------

    async def update(
        self,
        context: Context,
        namespace: str,
        name: str,
        mutate: Mutate,
        *,
        subresource: str = "",
        create: Callable[[], Any] | None = None,
    ) -> tuple[Item | bytes, bool]:
        """Replaces an object by what `mutate(item, old)` makes of it; raises 404, 409, 422.

        `mutate` must not change `old`, which may be without its managedFields. `create` makes the object when there is none (kinds that allow it, and server-side apply). Returns
        the item (or the bytes of a dry run) and whether it was created.
        """
        key = self.key(namespace, name)
        item = self.partition.head(key)
        if item is None:
            if create is None:
                raise await self.missing(namespace, name)
            obj = create()
            if obj.metadata.name != name and obj.metadata.name:
                raise errors.bad_request(
                    f"the name of the object ({obj.metadata.name}) does not match the name on the URL ({name})"
                )
            obj.metadata.name = name
            absence = self.absence(key)
            try:
                return await self.create(context, obj, namespace), True
            except errors.StatusError:
                # A refusal to create rests on the absence, which may still be on its way to disk.
                await self.partition.settle(absence)
                raise
        old, managers = self.split(item)
        try:
            new = mutate(item, old)
            self._check_identity(new.metadata, old.metadata, namespace, name)
            value, terms, remove = self._prepare_update(context, new, old, subresource, managers)
        except errors.StatusError:
            # What it was judged by must not vanish in a crash.
            await self.partition.settle(item.revision)
            raise
        same = value == item.value or (context.applied and ownership.only_later(value, item.value))
        if same and not remove:
            await self.partition.settle(item.revision)
            return item, False
        if context.dry_run:
            return self.codec.serve(value, item.revision), False
        if remove:
            deletion = self.partition.delete(key, expect=item.revision)
            await _together(deletion, self.queued(None, old))
            return Item(key, value, (), item.create_revision, item.revision), False
        essential = leads_to_deletion(new.metadata, old.metadata)
        put = self.partition.put(key, value, expect=item.revision, terms=terms, essential=essential)
        more = self.queued(new, old)
        return await (_together(put, more) if more else put), False

    def check_name(self, new: Any, namespace: str, name: str) -> None:
        """An object that is written is the one that the URL names; raises 400."""
        if new.name != name:
            if not new.name:
                raise errors.bad_request(
                    f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
                )
            raise errors.bad_request(
                f"the name of the object ({new.name}) does not match the name on the URL ({name})"
            )
        if namespace and new.namespace and new.namespace != namespace:
            raise errors.bad_request(
                f"the namespace of the object ({new.namespace}) does not match the namespace on the request ({namespace})"
            )

    def _check_identity(self, new: Any, old: Any, namespace: str, name: str) -> None:
        resource = self.resource
        self.check_name(new, namespace, name)
        self._settle_namespace(new, namespace)
        version = new.resourceVersion
        if not version or version == "0":
            if not self.strategy.allow_unconditional_update:
                raise errors.invalid(
                    resource.group,
                    resource.kind,
                    name,
                    [errors.invalid_value("metadata.resourceVersion", 0, "must be specified for an update")],
                )
        elif version != old.resourceVersion:
            if not gonumbers.is_uint(version):
                raise errors.bad_request(f'Invalid value: "{version}": invalid resource version')
            raise errors.conflict(resource.group, resource.plural, name)
        if new.uid and new.uid != old.uid:
            raise errors.conflict(
                resource.group,
                resource.plural,
                name,
                f"Precondition failed: UID in precondition: {new.uid}, UID in object meta: {old.uid}",
            )

    def _prepare_update(
        self, context: Context, new: Any, old: Any, subresource: str, managers: bytes
    ) -> tuple[bytes, tuple[str, ...], bool]:
        strategy, metadata, was = self.strategy, new.metadata, old.metadata
        new.apiVersion = new.kind = None
        if subresource == "status" and (fields := self._heartbeat(new, old)):
            context.admit("update", self, new, old, subresource)
            context.warn(strategy.warnings(new, old))
            ownership.track_update(self.codec, old, new, context, subresource, managers, status_fields=fields)
            return self.codec.encode_stored(new), strategy.terms(new), False
        if not strategy.defaults_spec_alone or new.spec is not old.spec:
            strategy.default(new)
        _dedupe_owners(metadata, context)
        metadata.uid = was.uid
        metadata.creationTimestamp = was.creationTimestamp
        metadata.deletionTimestamp = was.deletionTimestamp
        metadata.deletionGracePeriodSeconds = was.deletionGracePeriodSeconds
        metadata.generation = was.generation
        metadata.selfLink = None
        metadata.resourceVersion = was.resourceVersion
        if not subresource and (field := self._renewed(new, old)):
            context.admit("update", self, new, old)
            ownership.track_update(self.codec, old, new, context, "", managers, renewed=field)
            return self.codec.encode_stored(new), strategy.terms(new), False
        if subresource == "status":
            strategy.prepare_for_status_update(new, old)
        elif subresource in OWN_SUBRESOURCES:
            self.prepare_for_subresource(new, old, subresource)
        else:
            strategy.prepare_for_update(new, old)
        context.admit("update", self, new, old, subresource)
        findings = []
        # What is stored has been looked at.
        if metadata != was:
            findings = meta.validate_object_meta(
                metadata,
                namespaced=self.resource.namespaced,
                name_rule=strategy.validate_name,
                any_finalizer=strategy.any_finalizer,
                stored=was,
            )
            findings += meta.validate_object_meta_update(
                metadata, was, any_finalizer=strategy.any_finalizer, common=bool(findings)
            )
        if subresource == "status":
            findings += strategy.validate_status_update(new, old)
        elif subresource in OWN_SUBRESOURCES:
            findings += strategy.validate_subresource(new, old, subresource)
        else:
            findings += strategy.validate_update(new, old)
        if findings:
            raise errors.invalid(self.resource.group, self.resource.kind, metadata.name, findings)
        context.warn(strategy.warnings(new, old))
        ownership.track_update(self.codec, old, new, context, subresource, managers)
        remove = not metadata.finalizers and metadata.deletionTimestamp is not None and self.finished(new)
        return self.codec.encode_stored(new), strategy.terms(new), remove

    def _renewed(self, new: Any, old: Any) -> str:
        """The field of the spec that is all that an update changed, if its strategy knows it for harmless."""
        field = self.strategy.renewed(new, old)
        return field if field and self._same_metadata(new.metadata, old.metadata) else ""

    def _heartbeat(self, new: Any, old: Any) -> bytes:
        """The fields below status that are all that an update of it changed, if its strategy knows them for harmless."""
        fields = self.strategy.heartbeat(new, old)
        return fields if fields and self._same_metadata(new.metadata, old.metadata) else b""

    def _same_metadata(self, metadata: Any, was: Any) -> bool:
        """Whether an update left metadata alone, but for managedFields, of an object that stays."""
        if was.deletionTimestamp is not None:
            return False
        sent, metadata.managedFields = metadata.managedFields, was.managedFields
        same = metadata == was
        metadata.managedFields = sent
        return bool(same)

    def prepare_for_subresource(self, new: Any, old: Any, subresource: str) -> None:
        """What another subresource than status may change."""
        self.strategy.prepare_for_subresource(new, old, subresource)

    def finished(self, obj: Any) -> bool:
        """Whether an object that is being deleted has nothing left to wait for but finalizers."""
        return not obj.metadata.deletionGracePeriodSeconds

    # -- delete ----------------------------------------------------------------------------------------------------------------

    async def delete(self, context: Context, namespace: str, name: str, options: DeleteOptions) -> Deleted:
        """Deletes an object, or marks it for deletion when a grace period or finalizers ask for it; raises 404, 409."""
        key = self.key(namespace, name)
        item = self.partition.head(key)
        if item is None:
            raise await self.missing(namespace, name)
        narrow = self._decode_deletable
        if narrow is None:
            obj, managers = self.split(item)
        else:
            obj, managers = narrow(item.value), b""
            obj.metadata.resourceVersion = str(item.revision)
        try:
            self._check_preconditions(obj.metadata, name, options)
            marked = self._mark_deleted(obj, options)
        except errors.StatusError:
            await self.partition.settle(item.revision)
            raise
        uid = obj.metadata.uid
        if not marked:
            if not context.dry_run:
                deletion = self.partition.delete(key, expect=item.revision)
                more = self.queued(None, obj)
                event = await (_together(deletion, more) if more else deletion)
                return Deleted(Item(key, item.value, (), item.create_revision, event.revision), True, uid)
            return Deleted(item, True, uid)
        if narrow is not None:  # it stays for now, and is written whole
            obj, managers = self.split(item)
            self._mark_deleted(obj, options)
        terms = self.strategy.terms(obj)
        if managers:
            obj.metadata.managedFields = msgspec.Raw(managers)
        value = self.codec.encode_stored(obj)
        if value == item.value or context.dry_run:
            await self.partition.settle(item.revision)
            return Deleted(Item(key, value, terms, item.create_revision, item.revision), False, uid)
        put = self.partition.put(key, value, expect=item.revision, terms=terms, essential=True)
        return Deleted(await put, False, uid)

    def _check_preconditions(self, metadata: Any, name: str, options: DeleteOptions) -> None:
        wanted = options.preconditions or {}
        uid, version = wanted.get("uid"), wanted.get("resourceVersion")
        if uid and uid != metadata.uid:
            why = (
                f"the UID in the precondition ({uid}) does not match the UID in record ({metadata.uid}). "
                "The object might have been deleted and then recreated"
            )
        elif version and version != metadata.resourceVersion:
            why = (
                f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record "
                f"({metadata.resourceVersion}). The object might have been modified"
            )
        else:
            return
        # Upstream names the kind here.
        raise errors.conflict(self.resource.group, self.resource.kind, name, why)

    def _mark_deleted(self, obj: Any, options: DeleteOptions) -> bool:
        """Writes into `obj` what it waits for; False when there is nothing to wait for."""
        metadata = obj.metadata
        grace = self.strategy.grace_period_seconds(obj, options.gracePeriodSeconds)
        finalizers = self._finalizers_after_delete(metadata, options)
        if finalizers != (metadata.finalizers or []):
            metadata.finalizers = finalizers or None
        if metadata.deletionTimestamp is not None:
            current = metadata.deletionGracePeriodSeconds or 0
            if current and (options.gracePeriodSeconds is not None and grace < current):
                until = times.parse(metadata.deletionTimestamp) - current + grace
                metadata.deletionTimestamp = times.of_seconds(until)
                metadata.deletionGracePeriodSeconds = grace
                return bool(grace or finalizers or self.waits(obj))
            return bool(current or finalizers or self.waits(obj))
        if not grace and not finalizers and not self.waits(obj):
            return False
        metadata.deletionTimestamp = times.of_seconds(time.time() + grace)
        metadata.deletionGracePeriodSeconds = grace
        if metadata.generation:
            metadata.generation += 1
        self.on_marked(obj)
        return True

    def waits(self, obj: Any) -> bool:
        """Whether something of the kind's own holds up a deletion."""
        return False

    def on_marked(self, obj: Any) -> None:
        """Called when an object gets its deletionTimestamp."""

    def _finalizers_after_delete(self, metadata: Any, options: DeleteOptions) -> list[str]:
        finalizers = list(metadata.finalizers or ())
        policy = options.propagationPolicy
        if options.orphanDependents is not None:
            policy = ORPHAN_POLICY if options.orphanDependents else "Background"
        if policy is None:
            # A few old kinds leave their dependents behind unless told otherwise.
            if (
                self.strategy.default_propagation != ORPHAN_POLICY
                or FOREGROUND in finalizers
                or ORPHAN in finalizers
            ):
                return finalizers
            policy = ORPHAN_POLICY
        finalizers = [f for f in finalizers if f not in (FOREGROUND, ORPHAN)]
        if policy == ORPHAN_POLICY:
            finalizers.append(ORPHAN)
        elif policy == "Foreground":
            finalizers.append(FOREGROUND)
        return finalizers

    async def missing(self, namespace: str, name: str) -> errors.StatusError:
        """404 for an object that the head does not have; waits when its deletion is not durable yet."""
        await self.partition.settle(self.absence(self.key(namespace, name)))
        return self.not_found(name)

    def absence(self, key: str) -> int:
        """The revision that must be durable for an answer that rests on the head not having this key."""
        if self.partition.get(key) is None:
            return 0
        try:
            self.partition.delete(key)
        except NotFound as e:
            return e.revision
        raise AssertionError(f"{key} is there")
