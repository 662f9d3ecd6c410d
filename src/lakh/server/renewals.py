"""Renewals of leases from bytes to bytes: the hottest write of a large cluster changes one time in an object.

A client sends its whole lease. If that is what is stored but for `renewTime`, from the only manager there is, who has this field, then all that an
update would do (decode what is stored, default, validate, compare, decode and encode managers) is known to leave everything as it is, and the new
value is the stored one with two times replaced: 6 µs instead of 22. Whatever is the least bit different is no renewal here, and an update like any
other; the tests compare both. Admission has nothing to say to an update of a lease and is not asked.

At rest, objects being encoded with their fields in order:

    {"metadata":{"creationTimestamp":"…Z","managedFields":[{…,"time":"…Z"}],"name":…,"uid":"…"},"spec":{…,"renewTime":"…"…}}
                                          ╰────── managers ──────────────╯ ╰──── same ──╯     ╰──── same ──────────────────╯

Quotes within strings are escaped there, so no text is mistaken for a field.
"""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from lakh.machinery import times
from lakh.machinery.managers import Entry
from lakh.machinery.times import MICRO_TIME_PATTERN, TIME_PATTERN
from lakh.store.state import Item

if TYPE_CHECKING:
    from lakh.server.routing import RequestInfo
    from lakh.server.storage import ResourceStore

TABLE = "leases.coordination.k8s.io"

_BEGIN = b'{"metadata":{'
_CREATED = _BEGIN + b'"creationTimestamp":"'
_TIME_SIZE = 20
# Nothing comes between the two: no annotations, labels, finalizers, and no mark of deletion.
_MANAGED = b'","managedFields":'
_MANAGED_AT = len(_CREATED) + _TIME_SIZE
_MANAGERS_AT = _MANAGED_AT + len(_MANAGED)
_MANAGERS_END = b'],"name":"'
# What ends managers behind the time.
_ENTRY_END = b'"}]'
_UID = b',"uid":"'
_UID_SIZE = 36
# What stands at rest between what begins with the name, which a holder sends, too, and the spec.
_UID_PART_SIZE = len(_UID) + _UID_SIZE + 1
_SPEC = b'},"spec":{'
_RENEWED = b'"renewTime":"'
_RENEWED_SIZE = 27
_END = b'"}}'
_SPEC_FIELDS = b'"f:spec":{'

_is_time = re.compile(MICRO_TIME_PATTERN).search
_is_entry_time = re.compile(TIME_PATTERN.encode()).search
# The fields of a spec at the end of a set: two braces close the spec and the set, so that it is the set's own.
_spec_fields = re.compile(rb'"f:spec":\{(?:"(?:\.|f:[A-Za-z]+)":\{\},?)+\}\}').fullmatch
REMEMBERED = 256
# Longer ones are no renewals.
MAX_BODY_BYTES = 4096


class _Owner(msgspec.Struct, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """metav1.OwnerReference."""

    apiVersion: str | None = None
    blockOwnerDeletion: bool | None = None
    controller: bool | None = None
    kind: str | None = None
    name: str | None = None
    uid: str | None = None


class _Metadata(msgspec.Struct, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """What a holder sends of ObjectMeta."""

    creationTimestamp: str | None = None
    managedFields: msgspec.Raw = None  # type: ignore[assignment]
    name: str | None = None
    namespace: str | None = None
    ownerReferences: list[_Owner] | None = None
    resourceVersion: str | None = None
    uid: str | None = None


class _Spec(msgspec.Struct, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """Of LeaseSpec what is on by default."""

    acquireTime: str | None = None
    holderIdentity: str | None = None
    leaseDurationSeconds: int | None = None
    leaseTransitions: int | None = None
    renewTime: str | None = None


class _Lease(msgspec.Struct, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """coordination.k8s.io/v1 Lease, as a holder sends it."""

    metadata: _Metadata
    spec: _Spec
    apiVersion: str | None = None
    kind: str | None = None


_decode = msgspec.json.Decoder(_Lease).decode
_decode_managers = msgspec.json.Decoder(list[Entry]).decode
_encode = msgspec.json.Encoder().encode

API_VERSION, KIND = "coordination.k8s.io/v1", "Lease"
_API_VERSION_SIZE = len(f'"apiVersion":"{API_VERSION}",')
_KIND_SIZE = len(f'"kind":"{KIND}",')
_MANAGERS_BEGIN = b'[{"apiVersion":"%s","fieldsType":"FieldsV1","fieldsV1":{' % API_VERSION.encode()


def queue(store: ResourceStore, info: RequestInfo, body: bytes, manager: str) -> asyncio.Future[Item] | None:
    """Queues a write that is a renewal; done when it is durable. None when it is none, or something is wrong with it: then nothing was done."""
    key = store.key(info.namespace, info.name)
    item = store.partition.head(key)
    if item is None:
        return None
    value = renewal(item, body, manager, times.now())
    if value is None:
        return None
    return store.partition.put(key, value, expect=item.revision, terms=item.terms)


def renewal(item: Item, body: bytes, manager: str, now: str) -> bytes | None:
    """What a lease is at rest after an update with this body by this manager; None when that is more than a renewal, or wrong."""
    stored = item.value
    if len(body) > MAX_BODY_BYTES or not stored.startswith(_MANAGED, _MANAGED_AT):
        return None
    try:
        sent = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    metadata, time = sent.metadata, sent.spec.renewTime
    version = metadata.resourceVersion
    if version is None or version != str(item.revision) or time is None or not _is_time(time):
        return None
    # What the server sets, and a holder sends as it has read it, is taken out, so that the rest can be compared.
    size = len(body) - len('"resourceVersion":"",') - len(version)
    metadata.resourceVersion = None
    if sent.apiVersion is not None:
        if sent.apiVersion != API_VERSION:
            return None
        size -= _API_VERSION_SIZE
        sent.apiVersion = None
    if sent.kind is not None:
        if sent.kind != KIND:
            return None
        size -= _KIND_SIZE
        sent.kind = None
    uid, created, managers = metadata.uid, metadata.creationTimestamp, metadata.managedFields
    if uid is not None:
        size -= len('"uid":"",') + len(uid)
        metadata.uid = None
    if created is not None:
        size -= len('"creationTimestamp":"",') + len(created)
        metadata.creationTimestamp = None
    if managers is not None:
        managers_sent = bytes(managers)
        size -= len('"managedFields":,') + len(managers_sent)
        metadata.managedFields = None  # type: ignore[assignment]
    rest = _encode(sent)
    # As long as what was sent: then nothing in that was there twice, or null.
    if len(rest) != size:
        return None
    # At rest is the same, with the creation and managers before it and the uid in it: so it is known where everything has to be.
    shift = len(stored) - size
    managers_end = shift + len(_BEGIN) - _UID_PART_SIZE - 1
    spec_at = rest.rfind(_SPEC)
    uid_at = spec_at + shift - _UID_PART_SIZE
    time_at = size - _RENEWED_SIZE - len(_END)
    if (
        spec_at < 0
        or managers_end < _MANAGERS_AT
        or not stored.startswith(_CREATED)
        or not stored.startswith(_MANAGERS_END, managers_end - 1)
        or not stored.startswith(rest[len(_BEGIN) : spec_at], managers_end + 1)
        or not stored.startswith(_UID, uid_at)
        or not stored.startswith(rest[spec_at:time_at], spec_at + shift)
        or not rest.startswith(_RENEWED, time_at - len(_RENEWED))
        or not stored.endswith(_END)
        or not rest.endswith(_END)
    ):
        return None
    renewed = time.encode()
    renewed_at = time_at + shift
    if stored.startswith(renewed, renewed_at):
        return None
    if (
        (uid is not None and not stored.startswith(uid.encode() + b'"', uid_at + len(_UID)))
        or (created is not None and not stored.startswith(created.encode() + b'"', len(_CREATED)))
        or (managers is not None and not _same(managers_sent, stored[_MANAGERS_AT:managers_end]))
    ):
        return None
    # The only manager is this one, and has the field.
    entry_time_at = managers_end - len(_ENTRY_END) - _TIME_SIZE
    ends = _ends(manager)
    fields_end = entry_time_at - len(ends)
    if (
        not stored.startswith(ends, fields_end)
        or not stored.startswith(_MANAGERS_BEGIN, _MANAGERS_AT)
        or stored.find(b"},{", _MANAGERS_AT, fields_end) >= 0
        or not _has_time(stored[stored.rfind(_SPEC_FIELDS, _MANAGERS_AT, fields_end) : fields_end])
    ):
        return None
    entry_end = entry_time_at + _TIME_SIZE
    return stored[:entry_time_at] + now.encode() + stored[entry_end:renewed_at] + renewed + _END


def _same(sent: bytes, at_rest: bytes) -> bool:
    """Whether managers are what is at rest, their fields in any order, each once: Go's clients have another one.

    The time of the last one may be another: of the only manager it is replaced, and clients send what they have read once.
    """
    if sent == at_rest:
        return True
    if len(sent) != len(at_rest):
        return False
    time_at = len(sent) - len(_ENTRY_END) - _TIME_SIZE
    before = at_rest[:time_at]
    if not sent.startswith(before):
        try:
            sent = _encode(_decode_managers(sent))
        except msgspec.MsgspecError:
            return False
        if sent == at_rest:
            return True
    return (
        sent.startswith(before)
        and sent[time_at + _TIME_SIZE :] == _ENTRY_END
        and _is_entry_time(sent[time_at : time_at + _TIME_SIZE]) is not None
    )


@lru_cache(REMEMBERED)
def _ends(manager: str) -> bytes:
    """How the entry of a manager ends, before its time."""
    return b',"manager":%b,"operation":"Update","time":"' % _encode(manager or "unknown")


@lru_cache(REMEMBERED)
def _has_time(fields: bytes) -> bool:
    """Whether the end of a set has the time of a renewal among the fields of the spec."""
    return _spec_fields(fields) is not None and b'"f:renewTime":{}' in fields
