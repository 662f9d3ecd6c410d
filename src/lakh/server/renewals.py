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
from lakh.machinery.times import MICRO_TIME_PATTERN
from lakh.server.context import field_manager
from lakh.store.state import Item

if TYPE_CHECKING:
    from lakh.server.routing import RequestInfo
    from lakh.server.storage import ResourceStore

TABLE = "leases.coordination.k8s.io"

_BEGIN = b'{"metadata":{"creationTimestamp":"'
_CREATED = slice(len(_BEGIN), len(_BEGIN) + 20)
# Nothing comes between the two: no annotations, labels, finalizers, and no mark of deletion.
_MANAGED = b'","managedFields":'
_MANAGERS = _CREATED.stop + len(_MANAGED)
_MANAGERS_END = b'],"name":"'
_UID = b'"uid":"'
_UID_SIZE = 36
_SPEC = b'},"spec":{'
_RENEWED = b'"renewTime":"'
# What ends managers: a time, and `"}]`.
_TIME_SIZE = 20
_SPEC_FIELDS = b'"f:spec":{'

_is_time = re.compile(MICRO_TIME_PATTERN).search
# The fields of a spec at the end of a set: two braces close the spec and the set, so that it is the set's own.
_spec_fields = re.compile(rb'"f:spec":\{(?:"(?:\.|f:[A-Za-z]+)":\{\},?)+\}\}').fullmatch
REMEMBERED = 256
# Longer ones are no renewals.
MAX_BODY_BYTES = 4096


class _Metadata(msgspec.Struct, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """What a holder sends of ObjectMeta."""

    creationTimestamp: str | None = None
    managedFields: msgspec.Raw = None  # type: ignore[assignment]
    name: str | None = None
    namespace: str | None = None
    ownerReferences: msgspec.Raw = None  # type: ignore[assignment]
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
_encode = msgspec.json.Encoder().encode

API_VERSION, KIND = "coordination.k8s.io/v1", "Lease"
_MANAGERS_BEGIN = b'[{"apiVersion":"%s","fieldsType":"FieldsV1","fieldsV1":{' % API_VERSION.encode()


def queue(
    store: ResourceStore, info: RequestInfo, body: bytes, user_agent: str
) -> asyncio.Future[Item] | None:
    """Queues a write that is a renewal; done when it is durable. None when it is none, or something is wrong with it: then nothing was done."""
    key = store.key(info.namespace, info.name)
    item = store.partition.head(key)
    if item is None:
        return None
    value = renewal(item, body, field_manager({}, user_agent), times.now())
    if value is None:
        return None
    return store.partition.put(key, value, expect=item.revision, terms=item.terms)


def renewal(item: Item, body: bytes, manager: str, now: str) -> bytes | None:
    """What a lease is at rest after an update with this body by this manager; None when that is more than a renewal, or wrong."""
    stored = item.value
    if len(body) > MAX_BODY_BYTES or not stored.startswith(_MANAGED, _CREATED.stop):
        return None
    try:
        sent = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    metadata, spec = sent.metadata, sent.spec
    if metadata.resourceVersion != str(item.revision) or not stored.startswith(_BEGIN):
        return None
    # Where in what is stored the managers, what follows them, the uid, the spec and its time end.
    managers_end = stored.find(_MANAGERS_END, _MANAGERS) + 1
    same = managers_end + 1
    spec_at = stored.rfind(_SPEC, same)
    uid_at = spec_at - 1 - _UID_SIZE
    same_end = uid_at - len(_UID)
    time_at = stored.find(_RENEWED, spec_at) + len(_RENEWED)
    time_end = stored.find(b'"', time_at)
    if managers_end <= 0 or spec_at < 0 or time_at < spec_at or not stored.startswith(_UID, same_end):
        return None
    managers = stored[_MANAGERS:managers_end]
    time = spec.renewTime
    if time is None or time.encode() == stored[time_at:time_end] or not _is_time(time):
        return None
    size = len(body)
    # What the server sets, and a holder sends as it has read it: taken out, so that the rest is compared.
    size -= 21 + len(metadata.resourceVersion)  # `"resourceVersion":"",`
    metadata.resourceVersion = None
    if sent.apiVersion is not None:
        if sent.apiVersion != API_VERSION:
            return None
        size -= len('"apiVersion":"",') + len(API_VERSION)
        sent.apiVersion = None
    if sent.kind is not None:
        if sent.kind != KIND:
            return None
        size -= len('"kind":"",') + len(KIND)
        sent.kind = None
    if metadata.uid is not None:
        if metadata.uid.encode() != stored[uid_at : uid_at + _UID_SIZE]:
            return None
        size -= len('"uid":"",') + _UID_SIZE
        metadata.uid = None
    if metadata.creationTimestamp is not None:
        if metadata.creationTimestamp.encode() != stored[_CREATED]:
            return None
        size -= len('"creationTimestamp":"",') + _TIME_SIZE
        metadata.creationTimestamp = None
    if metadata.managedFields is not None:
        if bytes(metadata.managedFields) != managers:
            return None
        size -= len('"managedFields":,') + len(managers)
        metadata.managedFields = None  # type: ignore[assignment]
    rest = _encode(sent)
    # As long as what was sent: then nothing in that was there twice, or null.
    if len(rest) != size or rest != b'{"metadata":{%b%b%b%b' % (
        stored[same : same_end - 1],
        stored[spec_at:time_at],
        time.encode(),
        stored[time_end:],
    ):
        return None
    renewed = _renewed(managers, manager, now)
    if renewed is None:
        return None
    return b"%b%b%b%b%b" % (
        stored[:_MANAGERS],
        renewed,
        stored[managers_end:time_at],
        time.encode(),
        stored[time_end:],
    )


def _renewed(managers: bytes, manager: str, now: str) -> bytes | None:
    """The managers with the time of the only one, which has to be this one and to have the field."""
    ends = _ends(manager)
    time_at = len(managers) - _TIME_SIZE - 3
    fields_end = time_at - len(ends)
    if (
        fields_end < 0
        or not managers.startswith(ends, fields_end)
        or not managers.startswith(_MANAGERS_BEGIN)
        or b"},{" in managers  # there is another one
        or not _has_time(managers[managers.rfind(_SPEC_FIELDS, 0, fields_end) : fields_end])
    ):
        return None
    return b'%b%b"}]' % (managers[:time_at], now.encode())


@lru_cache(REMEMBERED)
def _ends(manager: str) -> bytes:
    """How the entry of a manager ends, before its time."""
    return b',"manager":%b,"operation":"Update","time":"' % _encode(manager or "unknown")


@lru_cache(REMEMBERED)
def _has_time(fields: bytes) -> bool:
    """Whether the end of a set has the time of a renewal among the fields of the spec."""
    return _spec_fields(fields) is not None and b'"f:renewTime":{}' in fields
