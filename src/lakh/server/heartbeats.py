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
from functools import lru_cache
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
MAX_BODY_BYTES = 8192
MAX_CONDITIONS_BYTES = 8192
# Of nodes that were last heard at one time and are again.
REMEMBERED = 128

# There are annotations, which a patch without any leaves alone.
_BEGIN = b'{"metadata":{"annotations":{'
_DELETED = b'"deletionTimestamp":'
# Each is warned of.
_CONFIGURATION, _EXTERNAL_ID = b'"configSource":', b'"externalID":'
# How addresses begin, those without one, and what is between two.
_ADDRESS, _NO_ADDRESS, _COMMA = b'{"address":', b'{"type":', b","
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
_decode_known = msgspec.json.Decoder(list[_Condition]).decode
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
    managers_at = stored.find(MANAGED) + len(MANAGED) - 1
    managers_end = stored.find(MANAGED_END, managers_at) + 1
    conditions_at = stored.find(_CONDITIONS, managers_end) + len(_CONDITIONS) - 1
    conditions_end = stored.find(_LIST_END, conditions_at) + 2
    if (
        not len(MANAGED) < managers_at < managers_end < conditions_at < conditions_end
        or conditions_end - conditions_at > MAX_CONDITIONS_BYTES
        or stored.find(AFTER_MANAGED, 0, managers_at) >= 0
        or stored.find(_DELETED, 0, managers_at) >= 0
        or stored.find(_CONFIGURATION, managers_end, conditions_at) >= 0
        or stored.find(_EXTERNAL_ID, managers_end, conditions_at) >= 0
        or _may_have_one_twice(stored, managers_end, conditions_at)
    ):
        return None
    found = _conditions(stored[conditions_at:conditions_end], body)
    if found is None:
        return None
    conditions, fields = found
    managers = stored[managers_at:managers_end]
    entries = repeat(managers, _STATUS, fields, manager, now, endpoint) or update_part(
        managers, _STATUS, fields, manager, now, endpoint
    )
    if not entries:
        return None
    return b"%b%b%b%b%b" % (
        stored[:managers_at],
        entries,
        stored[managers_end:conditions_at],
        conditions,
        stored[conditions_end:],
    )


@lru_cache(REMEMBERED)
def _conditions(before: bytes, body: bytes) -> tuple[bytes, bytes] | None:
    """What conditions at rest are after a heartbeat with this body, and the fields below status that it changed. Kubelets that began together say the
    same in the same second."""
    try:
        sent = _decode(body)
        conditions = _decode_known(before)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    # As long as what was sent: then nothing in that was there twice, or null.
    if len(_encode(sent)) != len(body) or (sent.metadata is not None and sent.metadata.annotations):
        return None
    heard = _heard(conditions, sent.status)
    if not heard:
        return None
    after = _encode(conditions)
    # Times are of one length: as long as before, it has all that there was.
    return (after, heartbeat_fields(*heard)) if len(after) == len(before) else None


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


def _may_have_one_twice(stored: bytes, start: int, end: int) -> bool:
    """Whether an address may be there twice: stored with a new node, it is refused from then on."""
    # Between the beginnings of addresses, the rest of each with what is behind it.
    _, *addresses = stored[start:end].split(_ADDRESS)
    if len(addresses) < 2:
        return stored.find(_NO_ADDRESS, start, end) >= 0
    last = addresses.pop()
    return (
        len({*addresses}) < len(addresses)
        or last.startswith((*[address[: -len(_COMMA)] for address in addresses],))
        or stored.find(_NO_ADDRESS, start, end) >= 0
    )
