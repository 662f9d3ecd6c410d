"""Heartbeats of nodes from bytes to bytes: what kubelets say every five minutes although nothing has changed.

A kubelet patches the status of its Node with the conditions that it has, or with what is new of them. If that is their `lastHeartbeatTime` alone, then all
that an update would do is known to leave the rest as it is, and the new value is the stored one with these times and the entry of the manager replaced.
Whatever is the least bit different is no heartbeat here, and a patch like any other; the tests compare both. Admission has nothing to say to a status
of a node and is not asked.

At rest, objects being encoded with their fields in order:

    {"metadata":{"annotations":{…},…,"managedFields":[{…},{…}],"name":…,"uid":"…"},"spec":{…},"status":{"addresses":[…],…,"conditions":[{…},{…}],…}}
                                                     ╰─ managers ─╯                                                              ╰─ conditions ─╯

Quotes within strings are escaped there, so no text is mistaken for a field.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import msgspec

from lakh.apis.core.nodes import HEARTBEAT_MAX_CONDITIONS, heartbeat_fields
from lakh.machinery import times
from lakh.machinery.managers import repeat, update_part
from lakh.machinery.times import TIME_PATTERN
from lakh.machinery.tracking import Endpoint
from lakh.server.codec import AFTER_MANAGED, MANAGED, MANAGED_END
from lakh.store.state import Item

if TYPE_CHECKING:
    from lakh.server.routing import RequestInfo
    from lakh.server.storage import ResourceStore

TABLE, SUBRESOURCE = "nodes", "status"
# Longer ones are no heartbeats.
MAX_BODY_BYTES = 16_384

# There are annotations, which a patch without any leaves alone.
_BEGIN = b'{"metadata":{"annotations":{'
_DELETED = b'"deletionTimestamp":'
# Of what a status still warns, and an address that is there twice, which it refuses.
_WARNED = (b'"configSource":', b'"externalID":')
_ADDRESSES = b'"addresses":['
_CONDITIONS = b'"conditions":['
# What ends a list of objects that is not the last field. At the end of a string it looks the same; the list does not decode then.
_LIST_END = b'}],"'
_STATUS = "f:status"

_is_time = re.compile(TIME_PATTERN).search


class _Condition(msgspec.Struct, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """core/v1 NodeCondition, its fields in the order that they have at rest."""

    lastHeartbeatTime: str
    lastTransitionTime: str | None = None
    message: str | None = None
    reason: str | None = None
    status: str | None = None
    type: str | None = None


class _Key(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An item of the order of conditions."""

    type: str


class _Status(msgspec.Struct, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """What a heartbeat says. Kubelets add the order of all conditions, of which they send what is new."""

    conditions: list[_Condition]
    order: list[_Key] | None = msgspec.field(default=None, name="$setElementOrder/conditions")


class _Metadata(msgspec.Struct, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """Of ObjectMeta what may be beside it: no annotations."""

    annotations: dict[str, str] | None = None


class _Patch(msgspec.Struct, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """A strategic merge patch of a heartbeat."""

    status: _Status
    metadata: _Metadata | None = None


_decode = msgspec.json.Decoder(_Patch).decode
_decode_conditions = msgspec.json.Decoder(list[_Condition]).decode
_decode_addresses = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def queue(store: ResourceStore, info: RequestInfo, body: bytes, manager: str) -> asyncio.Future[Item] | None:
    """Queues a strategic merge patch of a status that is a heartbeat; done when it is durable. None when it is none, or something is wrong with it:
    then nothing was done."""
    key = store.key(info.namespace, info.name)
    item = store.partition.head(key)
    if item is None:
        return None
    value = heartbeat(item.value, body, manager, times.now(), store.codec.endpoint(SUBRESOURCE))
    if value is None:
        return None
    return store.partition.put(key, value, expect=item.revision, terms=item.terms)


def heartbeat(stored: bytes, body: bytes, manager: str, now: str, endpoint: Endpoint) -> bytes | None:
    """What a node is at rest after a strategic merge patch of its status by this manager; None when that is more than a heartbeat, or wrong."""
    if len(body) > MAX_BODY_BYTES or not stored.startswith(_BEGIN):
        return None
    try:
        sent = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    # As long as what was sent: then nothing in that was there twice, or null.
    if len(_encode(sent)) != len(body) or (sent.metadata is not None and sent.metadata.annotations):
        return None
    managers_at = stored.find(MANAGED) + len(MANAGED) - 1
    managers_end = stored.find(MANAGED_END, managers_at) + 1
    conditions_at = stored.find(_CONDITIONS, managers_end) + len(_CONDITIONS) - 1
    conditions_end = stored.find(_LIST_END, conditions_at) + 2
    if (
        not len(MANAGED) < managers_at < managers_end < conditions_at < conditions_end
        or stored.find(AFTER_MANAGED, 0, managers_at) >= 0
        or stored.find(_DELETED, 0, managers_at) >= 0
        or any(stored.find(field, managers_end, conditions_at) >= 0 for field in _WARNED)
        or not _have_one_address_each(stored, managers_end, conditions_at)
    ):
        return None
    before = stored[conditions_at:conditions_end]
    try:
        conditions = _decode_conditions(before)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    heard = _heard(conditions, sent.status)
    if not heard:
        return None
    after = _encode(conditions)
    # Times are of one length: as long as before, it has all that there was.
    if len(after) != len(before):
        return None
    managers = stored[managers_at:managers_end]
    fields = heartbeat_fields(*heard)
    entries = repeat(managers, _STATUS, fields, manager, now, endpoint) or update_part(
        managers, _STATUS, fields, manager, now, endpoint
    )
    if not entries:
        return None
    return b"%b%b%b%b%b" % (
        stored[:managers_at],
        entries,
        stored[managers_end:conditions_at],
        after,
        stored[conditions_end:],
    )


def _heard(known: list[_Condition], sent: _Status) -> list[str] | None:
    """Puts the times that were sent into the conditions that are known; the types of those that have another one then. None when there is more to it."""
    types = [condition.type for condition in known]
    if len(types) > HEARTBEAT_MAX_CONDITIONS or None in types or len({*types}) < len(types):
        return None
    if sent.order is not None and [key.type for key in sent.order] != types:
        return None
    heard: list[str] = []
    valid = ""
    rest = iter(known)
    for new in sent.conditions:
        kind, time = new.type, new.lastHeartbeatTime
        if not kind:
            return None
        # In the order that they have.
        for was in rest:
            if was.type == kind:
                break
        else:
            return None
        if time != was.lastHeartbeatTime:
            if time != valid:
                if not _is_time(time):
                    return None
                valid = time
            heard.append(kind)
            was.lastHeartbeatTime = time
        if new != was and not _says(new, was):
            return None
    return heard


def _says(new: _Condition, was: _Condition) -> bool:
    """Whether what was sent of a condition is as it was."""
    return (
        new.lastTransitionTime in (None, was.lastTransitionTime)
        and new.message in (None, was.message)
        and new.reason in (None, was.reason)
        and new.status in (None, was.status)
    )


def _have_one_address_each(stored: bytes, start: int, end: int) -> bool:
    """Whether no address is there twice: stored with a new node, it is refused from then on."""
    at = stored.find(_ADDRESSES, start, end) + len(_ADDRESSES) - 1
    if at < start:
        return True
    try:
        addresses = _decode_addresses(stored[at : stored.find(_LIST_END, at, end) + 2])
    except msgspec.MsgspecError:
        return False
    return len(addresses) < 2 or len({*map(bytes, addresses)}) == len(addresses)
