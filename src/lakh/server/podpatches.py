"""Two patches of pods that stay bytes, for of all writes to pods they are the most: a kubelet says how its pod is, and the Job controller lets go of one.

Both leave alone what is most of a pod. So the spec and the metadata are never decoded; only where they begin and end is looked up, and what is new goes
between. Whatever is the least bit different is an ordinary patch, and so is what would be refused, which then says why: `status` and `release` return
None. The tests compare both ways. Admission has nothing to say to either.

At rest, objects being encoded with their fields in order:

    {"metadata":{…,"finalizers":[…],…,"managedFields":[…],"name":…,"uid":"…"},"spec":{…},"status":{…}}
                                                      ╰────╯                             ╰───────╯

Quotes within strings are escaped there, so no text is mistaken for a field.

Pods of one template that begin in the same second get the same conditions in place of the same ones, and so the same fields get the same manager: what
becomes of both is looked up by their bytes. The pod's own address is in its set of fields; a stand-in is there while it is looked up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from lakh.apis.core.pod_status import keep_generations, validate_conditions
from lakh.apis.definitions import schema
from lakh.machinery import addresses, managers, structpatch, times
from lakh.machinery.apply import changes_between
from lakh.machinery.checkedtexts import look
from lakh.machinery.errors import FieldError
from lakh.machinery.shapes import shape_of
from lakh.machinery.tracking import Endpoint
from lakh.machinery.typed import compare
from lakh.server.codec import AFTER_MANAGED, MANAGED, MANAGED_END
from lakh.store.state import Event, Item

if TYPE_CHECKING:
    from lakh.server.routing import RequestInfo
    from lakh.server.storage import ResourceStore

TABLE = "pods"
# What is looked up by its bytes, and how long these may be: some MB.
REMEMBERED = 1024
MAX_REMEMBERED_BYTES = 4096

_POD, _POD_STATUS = "io.k8s.api.core.v1.Pod", "io.k8s.api.core.v1.PodStatus"
_DELETED = b'"deletionTimestamp":"'
# Its value is a number, which no label or annotation has.
_GRACE = b'"deletionGracePeriodSeconds":'
_STAYS, _WAITS, _OVER = range(3)
_FINALIZERS = b'"finalizers":['
# In annotations that have a meaning, which may not be a valid one: mirror pods, costs of deletion, seccomp and AppArmor.
_MEANINGS = (b"/config.mirror", b"/pod-deletion-cost", b".security.")
_UID, _UID_SIZE = b'"uid":"', 36
_SPEC = b'"},"spec":{'
_STATUS = b',"status":{'
_STATUS_SIZE = len(_STATUS) - 1
# What is judged by more than the status, if a container says it.
_USER, _DEVICES = b'"user":', b'"allocatedResourcesStatus":'
# The path element of an address in a set of fields at rest.
_ADDRESS = b'"k:{\\"ip\\":\\"%b\\"}"'
_STAND_IN = _ADDRESS % b""

_encode = msgspec.json.Encoder().encode
_decode_any = msgspec.json.Decoder().decode
_PodStatus = schema().struct(_POD_STATUS)
_fields = {field.name: field for field in msgspec.structs.fields(_PodStatus)}
_status_node = schema().node(_POD_STATUS)
_status_shape = shape_of(schema().node(_POD)).field("status")[1]

# What a kubelet says of a pod beside conditions, in the order of fields.
_CONTAINERS = ("containerStatuses", "initContainerStatuses")
_ADDRESSED = ("hostIPs", "podIPs")
_PLAIN = ("hostIP", "message", "observedGeneration", "phase", "podIP", "reason", "startTime")
_SAID = tuple(name for name in _fields if name in (*_CONTAINERS, *_ADDRESSED, *_PLAIN))
# At rest the set of a field that is owned as a whole.
_OWNED = {name: b'"f:%b":{}' % name.encode() for name in _SAID}
_OWNED["podIPs"] = b'"f:podIPs":{".":{},%b:{".":{},"f:ip":{}}}' % _STAND_IN


def _type(name: str) -> Any:
    """The type of a field, without null."""
    return next(part for part in _fields[name].type.__args__ if part is not type(None))


def _narrow(name: str, types: dict[str, Any]) -> Any:
    """A Struct of some fields of a status. Null is no value of theirs, and what is absent is None."""
    fields = [(field, types[field], None) for field in _fields if field in types]
    return msgspec.defstruct(name, fields, omit_defaults=True, forbid_unknown_fields=True, gc=False)


_types = {name: _type(name) for name in _SAID}
_raw = dict.fromkeys(_CONTAINERS, msgspec.Raw)
_Sent = _narrow("SentStatus", {**_types, "conditions": msgspec.Raw})
# Of what only others write the quality of service stays as it is; what else there is has to be judged.
_Stored = _narrow("StoredStatus", {**_types, **_raw, "conditions": msgspec.Raw, "qosClass": str})
_texts = {field.name: field.type for field in msgspec.structs.fields(schema().checks(_POD_STATUS))}
_Texts = msgspec.defstruct("Texts", [(n, _texts[n], None) for n in ("startTime", *_CONTAINERS)], gc=False)


class _Precondition(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What a kubelet says of metadata: which pod it means."""

    uid: str = ""


_Said = msgspec.defstruct(
    "Said",
    [("status", _Sent), ("metadata", _Precondition, msgspec.field(default_factory=_Precondition))],
    forbid_unknown_fields=True,
    gc=False,
)


class _Letting(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What a controller says of metadata: which finalizers go."""

    names: list[str] = msgspec.field(name="$deleteFromPrimitiveList/finalizers")


class _Release(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Its patch."""

    metadata: _Letting


_decode_said: Callable[[bytes], Any] = msgspec.json.Decoder(_Said).decode
_decode_status = msgspec.json.Decoder(_Stored).decode
_check = msgspec.json.Decoder(msgspec.defstruct("Body", [("status", _Texts)], gc=False), dec_hook=look).decode
_decode_containers = msgspec.json.Decoder(_type("containerStatuses")).decode
_decode_conditions = msgspec.json.Decoder(_type("conditions")).decode
_check_conditions = msgspec.json.Decoder(_texts["conditions"], dec_hook=look).decode
_decode_release = msgspec.json.Decoder(_Release).decode
_decode_names = msgspec.json.Decoder(list[str]).decode

_RELEASE = b'{"metadata":{"$deleteFromPrimitiveList/finalizers":['
MAX_RELEASE_BYTES = 256
_MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _OrdinaryError(Exception):
    """It takes the ordinary way to say what becomes of this, or what is wrong with it."""


class Patched(NamedTuple):
    """What a pod at rest is then. `essential`: it leads to a deletion; `gone`: that was all it waited for."""

    value: bytes
    essential: bool
    gone: bool


def queue(store: ResourceStore, info: RequestInfo, body: bytes, manager: str) -> Awaitable[Item] | None:
    """Queues the write of a strategic merge patch of a pod or of its status; done when it is durable. None when it is another patch, or something is
    wrong with it: then nothing was done."""
    item = store.partition.head(store.key(info.namespace, info.name))
    if item is None:
        return None
    subresource = info.subresource
    make = status if subresource == "status" else release
    patched = make(item.value, body, manager, times.now(), store.codec.endpoint(subresource))
    if patched is None:
        return None
    value, essential, gone = patched
    if gone:
        deletion = store.partition.delete(item.key, expect=item.revision)
        return _gone(deletion, Item(item.key, value, (), item.create_revision, item.revision))
    return store.partition.put(item.key, value, expect=item.revision, terms=item.terms, essential=essential)


async def _gone(deletion: Awaitable[Event], last: Item) -> Item:
    await deletion
    return last


def status(stored: bytes, body: bytes, manager: str, now: str, endpoint: Endpoint) -> Patched | None:
    """What a pod at rest is after a kubelet's patch of its status; None when that is another patch, or wrong."""
    managed, managed_end, spec, deletion = _places(stored)
    at = stored.rfind(_STATUS, spec) + _STATUS_SIZE if managed else 0
    # Directives begin with a dollar. A pod whose grace period is over may have waited for this.
    if at < _STATUS_SIZE or b"$" in body or deletion == _OVER:
        return None
    try:
        patch = _decode_said(body)
        said = patch.status
        conditions = bytes(said.conditions or b"")
        # Then no name is there twice, for those of conditions are looked at by themselves.
        rest = body.replace(conditions, b"0", 1)
        if not conditions or _encode(_decode_any(rest)) != rest:
            return None
        _check(body)
        after = _decode_status(stored[at:-1])
        changed, removed = _merge(after, said, conditions)
    except (*_MALFORMED, _OrdinaryError):
        return None
    uid = patch.metadata.uid
    if (
        (uid and uid.encode() != stored[spec - _UID_SIZE : spec])
        or not (changed or removed)
        or stored.find(_USER, at) >= 0
        or stored.find(_DEVICES, at) >= 0
    ):
        return None
    at_rest = stored[managed:managed_end]
    own = _ADDRESS % after.podIPs[0].ip.encode() if after.podIPs else b""
    if own:
        if _STAND_IN in at_rest:
            return None
        at_rest = at_rest.replace(own, _STAND_IN)
    entries = managers.update_part(
        at_rest, "f:status", b"{%b}" % changed, manager, now, endpoint, b"{%b}" % removed
    )
    if not entries:
        return None
    if own:
        entries = entries.replace(_STAND_IN, own)
    value = b"".join((stored[:managed], entries, stored[managed_end:at], _encode(after), b"}"))
    return Patched(value, deletion != _STAYS, False)


def release(stored: bytes, body: bytes, manager: str, now: str, endpoint: Endpoint) -> Patched | None:
    """What a pod at rest is after a patch that takes finalizers off it and does nothing else; None when that is another patch."""
    if len(body) > MAX_RELEASE_BYTES or not body.startswith(_RELEASE):
        return None
    managed, managed_end, _, deletion = _places(stored)
    at = stored.find(_FINALIZERS, 0, managed)
    # None of the names that the server takes has a bracket in it, and with one this is no list.
    end = stored.find(b"],", at, managed) + 1
    if at < 0 or end <= 0 or end - at > MAX_REMEMBERED_BYTES:
        return None
    found = _let_go(stored[at + len(_FINALIZERS) - 1 : end], body, endpoint)
    if found is None:
        return None
    left, changed, removed = found
    entries = managers.update_part(
        stored[managed:managed_end], "f:metadata", changed, manager, now, endpoint, removed
    )
    if not entries:
        return None
    value = b"".join((stored[:at], left, stored[end + 1 : managed], entries, stored[managed_end:]))
    return Patched(value, True, deletion == _OVER and not left)


def _places(stored: bytes) -> tuple[int, int, int, int]:
    """Where a pod's managers begin and end, and its uid ends, and how its deletion is; zeros for one with annotations that have to be judged."""
    start = stored.find(MANAGED)
    end = stored.find(MANAGED_END, start) + 1 if start > 0 else 0
    spec = stored.find(_SPEC, end) if end > 0 else -1
    if (
        spec < 0
        or not stored.startswith(_UID, spec - _UID_SIZE - len(_UID))
        or stored.find(AFTER_MANAGED, 0, start) >= 0
    ):
        return 0, 0, 0, 0
    for meaning in _MEANINGS:
        if stored.find(meaning, 0, start) >= 0:
            return 0, 0, 0, 0
    deletion = _STAYS
    if stored.find(_DELETED, 0, start) >= 0:
        grace = stored.find(_GRACE, 0, start) + len(_GRACE)
        if grace < len(_GRACE) or not stored[grace : grace + 1].isdigit():
            return 0, 0, 0, 0
        deletion = _OVER if stored.startswith(b"0", grace) else _WAITS
    return start + len(MANAGED) - 1, end, spec, deletion


def _merge(into: Any, said: Any, conditions: bytes) -> tuple[bytes, bytes]:
    """Puts into a status what a kubelet says: the sets of fields that are others than before, and that are gone, without braces.

    Raises _OrdinaryError and what decoders raise.
    """
    before = b"" if into.conditions is None else bytes(into.conditions)
    if said.observedGeneration == 0 or len(before) + len(conditions) > MAX_REMEMBERED_BYTES:
        raise _OrdinaryError
    into.conditions, changed, removed = _settled(before, conditions)
    fields = [changed] if changed else []
    for name in _SAID:
        value = getattr(said, name)
        if value is None:
            continue
        was = getattr(into, name)
        if name in _CONTAINERS:
            value, differs = _containers(value, was)
            setattr(into, name, value)
            if not differs:
                continue
        elif was == value:
            continue
        elif name in _ADDRESSED:
            if was is not None or len(value) != 1 or not value[0].ip or addresses.ip(value[0].ip):
                raise _OrdinaryError
            if name == "hostIPs" and into.hostIP != value[0].ip:
                raise _OrdinaryError
        setattr(into, name, value)
        fields.append(_OWNED[name])
    pods = into.podIPs
    # One address, which is in both fields.
    if (into.podIP or None) != (pods[0].ip if pods else None) or (pods and len(pods) > 1):
        raise _OrdinaryError
    return b",".join(fields), removed


def _containers(said: list[Any], before: msgspec.Raw | None) -> tuple[msgspec.Raw, bool]:
    """Statuses of containers at rest, and whether they are others than before. Raises _OrdinaryError where they have to be judged."""
    for container in said:
        if container.user is not None or container.allocatedResourcesStatus:
            raise _OrdinaryError
    after = msgspec.Raw(_encode(said))
    if before is None:
        return after, True
    at_rest = bytes(before)
    if at_rest == bytes(after):
        return after, False
    was = _decode_containers(at_rest)
    if b'"terminated":{' in at_rest:
        ended = {c.name for c in said if c.state is not None and c.state.terminated is not None}
        for container in was:
            if (
                container.state is not None
                and container.state.terminated is not None
                and container.name not in ended
            ):
                raise _OrdinaryError  # what ended may not always run again
    return after, bool(was != said)


@lru_cache(REMEMBERED)
def _settled(before: bytes, said: bytes) -> tuple[msgspec.Raw, bytes, bytes]:
    """The conditions at rest after a patch of them, their set of fields that are others than before, and the one that is gone; b"" for an empty one."""
    old, new = _PodStatus(), _PodStatus()
    old.conditions = _decode_conditions(before) if before else None
    new.conditions = _decode_conditions(said)
    _check_conditions(said)
    plain = {"conditions": _decode_any(said)}
    if _encode(plain["conditions"]) != said:
        raise _OrdinaryError
    try:
        merged = structpatch.merged(old, new, plain, _status_node, strategic=True)
    except structpatch.UnusualPatchError:
        raise _OrdinaryError from None
    if merged.conditions and old.conditions:
        keep_generations(merged.conditions, old.conditions)
    found: list[FieldError] = []
    validate_conditions(merged.conditions, found)
    if found:
        raise _OrdinaryError
    changed, removed = compare(msgspec.to_builtins(old), msgspec.to_builtins(merged), _status_shape)
    return msgspec.Raw(_encode(merged.conditions)), _encode(changed)[1:-1], _encode(removed)[1:-1]


@lru_cache(REMEMBERED)
def _let_go(at_rest: bytes, body: bytes, endpoint: Endpoint) -> tuple[bytes, bytes, bytes] | None:
    """What is left of the field of finalizers at rest, and the sets of fields of metadata that are others than before, and that are gone; None for another
    patch."""
    try:
        names = _decode_release(body)
        finalizers = _decode_names(at_rest)
    except _MALFORMED:
        return None
    left = [name for name in finalizers if name not in names.metadata.names]
    if _encode(names) != body or _encode(finalizers) != at_rest or len(left) == len(finalizers):
        return None
    # An empty list is still there when fields are compared.
    before, after = ({"metadata": {"finalizers": listed}} for listed in (finalizers, left))
    changed, removed = changes_between(before, after, endpoint)
    field = b'"finalizers":%b,' % _encode(left) if left else b""
    return field, _encode(changed.get("f:metadata", {})), _encode(removed.get("f:metadata", {}))
