"""`managedFields` at rest: what a write makes of the entries, from bytes to bytes.

It is `apply.update_managed_fields` for the everyday write, whose entries are all of its own version: of an entry nothing is decoded but who it is. Its
set of fields stays the bytes that it is, and what a write makes of a set is looked up by the bytes of both: pods of one template get the same
status, renewals of leases change the same field. A look-up costs 1 µs, decoding, cutting and encoding two sets of a pod 40 µs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from lakh.machinery import fieldset
from lakh.machinery.apply import MAX_UPDATE_MANAGERS, changes_between, created, current_managers
from lakh.machinery.fieldset import EMPTY, FieldSet
from lakh.machinery.tracking import Endpoint

# Shapes of objects times ways of writing them; each takes some KB.
CACHE_ENTRIES = 2048
# Of a set and the changes to it; longer ones are not kept.
MAX_CACHED_BYTES = 4096
# Of the spec of a template and its fields.
MAX_CREATED_BYTES = 16_384


# What is added and what is gone below a top-level field, and whether anything is.
Part = tuple[bytes, bytes, bool, bool]


class Entry(msgspec.Struct, omit_defaults=True, gc=False, kw_only=True):
    """metav1.ManagedFieldsEntry, its fields in the order that they have at rest."""

    apiVersion: str | None = None
    fieldsType: str | None = None
    fieldsV1: msgspec.Raw = None  # type: ignore[assignment]
    manager: str | None = None
    operation: str | None = None
    subresource: str | None = None
    time: str | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Entry]).decode
_decode_any = msgspec.json.Decoder().decode
_decode_parts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def update(old: Any, new: Any, at_rest: bytes, manager: str, time: str, endpoint: Endpoint) -> bytes | None:
    """The entries after an update or patch by `manager`, b"" for none. Both objects are without managedFields; `at_rest` are the old one's.

    None: there is an entry of another version, or there are too many, and `update_managed_fields` has to look at all of them.
    """
    changed, removed = changes_between(old, new, endpoint)
    if not changed and not removed:
        return at_rest
    if endpoint.kept is not None:
        changed, removed = endpoint.kept(changed), endpoint.kept(removed)
    # By top-level field, hardly ever more than one.
    parts = {
        name: (
            _encode(changed.get(name, EMPTY)),
            _encode(removed.get(name, EMPTY)),
            name in changed,
            name in removed,
        )
        for name in (*changed, *(n for n in removed if n not in changed))
    }
    return _updated(at_rest, parts, bool(changed), manager, time, endpoint)


def update_part(
    at_rest: bytes,
    name: str,
    changed: bytes,
    manager: str,
    time: str,
    endpoint: Endpoint,
    removed: bytes = b"{}",
) -> bytes | None:
    """`update` where it is known what was changed and removed: the sets of fields below a top-level one, of an endpoint that keeps all of them."""
    is_changed = changed != b"{}"
    parts = {name: (changed, removed, is_changed, removed != b"{}")}
    return _updated(at_rest, parts, is_changed, manager, time, endpoint)


def _updated(
    at_rest: bytes, parts: dict[str, Part], changed: bool, manager: str, time: str, endpoint: Endpoint
) -> bytes | None:
    api_version, subresource = endpoint.api_version, endpoint.subresource
    entries = _decode(at_rest)
    if len(entries) >= MAX_UPDATE_MANAGERS:
        return None
    manager = manager or "unknown"
    mine: Entry | None = None
    kept: list[Entry] = []
    for entry in entries:
        if entry.apiVersion != api_version:
            return None
        if (
            entry.operation == "Update"
            and entry.manager == manager
            and (entry.subresource or "") == subresource
        ):
            mine = entry
        elif _cut(entry, parts):
            kept.append(entry)
    fields = _grown(mine, parts)
    if fields:
        if changed or mine is None:
            mine = Entry(
                apiVersion=api_version,
                fieldsType="FieldsV1",
                manager=manager,
                operation="Update",
                subresource=subresource or None,
                time=time,
            )
        mine.fieldsV1 = fields
        kept.append(mine)
    if not kept:
        return b""
    kept.sort(key=_order)
    return _encode(kept)


# Of entries at rest, whose fields are in order. What is between two stands in no string, in which quotes are escaped, or there are more of them.
_BETWEEN = b"},{"
_ENTRY_END = b'"}]'
_TIME_SIZE = 20


def repeat(
    at_rest: bytes, name: str, changed: bytes, manager: str, time: str, endpoint: Endpoint
) -> bytes | None:
    """`update_part` for who wrote last, and all of that: only the time is another one. None: it is not so simple."""
    head, tail, part = _frame(name, manager, endpoint)
    time_at = len(at_rest) - len(_ENTRY_END) - _TIME_SIZE
    fields_end = time_at - len(tail)
    own = at_rest.rfind(_BETWEEN, 0, fields_end) + len(_BETWEEN) - 1
    if (
        # The last entry stays the last: they are in the order of their times.
        not at_rest.startswith(tail, fields_end)
        or not at_rest.startswith(head, own)
        or at_rest[time_at : -len(_ENTRY_END)] > time.encode()
        or len(changed) + fields_end - own > MAX_CACHED_BYTES
        or endpoint.kept is not None
        # Nobody else has any of it, nor fields of another version, nor the name of this one.
        or at_rest.find(part, 0, own) >= 0
        or at_rest.find(tail, 0, own) >= 0
        or not at_rest.startswith(head, 1)
        or (others := at_rest.count(_BETWEEN, 0, own + 1)) != at_rest.count(b"}," + head, 0, own + len(head))
        or others >= MAX_UPDATE_MANAGERS - 1
        or not _has(at_rest[own + len(head) : fields_end], name, changed)
    ):
        return None
    return at_rest[:time_at] + time.encode() + _ENTRY_END


@lru_cache(CACHE_ENTRIES)
def _frame(name: str, manager: str, endpoint: Endpoint) -> tuple[bytes, bytes, bytes]:
    """How the entry of a manager begins and ends, before its fields and its time, and a part of them."""
    head = b'{"apiVersion":%b,"fieldsType":"FieldsV1","fieldsV1":' % _encode(endpoint.api_version)
    below = b',"subresource":%b' % _encode(endpoint.subresource) if endpoint.subresource else b""
    tail = b',"manager":%b,"operation":"Update"%b,"time":"' % (_encode(manager or "unknown"), below)
    return head, tail, _encode(name)


@lru_cache(CACHE_ENTRIES)
def _has(fields: bytes, name: str, changed: bytes) -> bool:
    """Whether a set has all of a part."""
    before = _decode_parts(fields).get(name)
    return before is not None and _with(bytes(before), changed, b"{}", True, False) is None


def renew(at_rest: bytes, field: str, manager: str, time: str, endpoint: Endpoint) -> bytes | None:
    """The entries after a write that changed one field of the spec, by the only manager there is, who has it: `update` for renewals of leases.

    None: they are not so simple.
    """
    entries = _decode(at_rest)
    if len(entries) != 1 or endpoint.kept is not None:
        return None
    entry = entries[0]
    if (
        entry.manager != (manager or "unknown")
        or entry.operation != "Update"
        or entry.apiVersion != endpoint.api_version
        or (entry.subresource or "") != endpoint.subresource
    ):
        return None
    spec = bytes(_sets(entry).get("f:spec") or b"")
    if not spec or len(spec) > MAX_CACHED_BYTES or not _holds(spec, f"f:{field}"):
        return None
    entry.time = time
    return _encode(entries)


@lru_cache(CACHE_ENTRIES)
def _holds(node: bytes, name: str) -> bool:
    """Whether a node has this one as a leaf."""
    return bool(_decode_any(node).get(name) == {})


_SPEC_ALONE = frozenset(("metadata", "spec", "status", "apiVersion", "kind"))
_NOT_IN_KEY = frozenset(("metadata", "apiVersion", "kind"))
# By endpoint and key: the fields of specs, or of all that is beside metadata, as the inside of an object.
_specs: dict[tuple[Endpoint, bytes], bytes] = {}
_metadata: dict[tuple[Any, ...], bytes] = {}


def create(obj: Any, key: bytes, manager: str, time: str, endpoint: Endpoint) -> bytes | None:
    """The entries of a new object; `key` stands for the fields of its spec, or where it has none, of all that is beside metadata. None: it is not so
    simple."""
    if endpoint.kept is not None:
        return None
    has_spec = hasattr(obj, "spec")
    if has_spec and (
        not _SPEC_ALONE.issuperset(obj.__struct_encode_fields__)
        or (obj.status is not None and "status" not in endpoint.ignored)
    ):
        return None
    spec = _specs.get((endpoint, key))
    if spec is None:
        plain = msgspec.to_builtins(obj)
        named = ("spec",) if has_spec else (name for name in plain if name not in _NOT_IN_KEY)
        spec = _part({name: plain[name] for name in named if name in plain}, endpoint)
        _keep(_specs, (endpoint, key), spec, len(key) + len(spec))
    return created_entries(obj.metadata, spec, manager, time, endpoint)


def created_entries(metadata: Any, spec: bytes, manager: str, time: str, endpoint: Endpoint) -> bytes:
    """The entries of a new object whose fields beside metadata are known (`spec_fields`)."""
    labels, annotations, finalizers = metadata.labels, metadata.annotations, metadata.finalizers
    owners = None if metadata.ownerReferences is None else _encode(metadata.ownerReferences)
    # What of metadata its fields depend on: names, the items of sets, the owners.
    which = (
        endpoint,
        labels if labels is None else (*labels,),
        annotations if annotations is None else (*annotations,),
        finalizers if finalizers is None else (*finalizers,),
        owners,
        metadata.generateName is None,
    )
    head = _metadata.get(which)
    if head is None:
        head = _part({"metadata": msgspec.to_builtins(metadata)}, endpoint)
        _keep(_metadata, which, head, 2 * len(head) + len(owners or b""))
    if not spec and not head:
        return b""
    entry = Entry(
        apiVersion=endpoint.api_version,
        fieldsType="FieldsV1",
        fieldsV1=msgspec.Raw(b"{%b%b%b}" % (head, b"," if head and spec else b"", spec)),
        manager=manager or "unknown",
        operation="Update",
        subresource=endpoint.subresource or None,
        time=time,
    )
    return _encode([entry])


def spec_fields(entries: Any) -> bytes | None:
    """The fields of the spec in the entries of a new object, as `created_entries` takes them; None where there are others beside it, or none."""
    if not isinstance(entries, msgspec.Raw):
        return None
    found = _decode(entries)
    sets = _sets(found[0])
    if len(found) != 1 or not {"f:metadata", "f:spec"}.issuperset(sets) or "f:spec" not in sets:
        return None
    return b'"f:spec":%b' % bytes(sets["f:spec"])


def _part(part: dict[str, Any], endpoint: Endpoint) -> bytes:
    """The fields of a part of a new object, without braces."""
    return _encode(created(part, endpoint))[1:-1]


def _keep(cache: dict[Any, bytes], key: Any, found: bytes, size: int) -> None:
    if size > MAX_CREATED_BYTES:
        return
    if len(cache) >= CACHE_ENTRIES:
        cache.clear()
    cache[key] = found


def _order(entry: Entry) -> tuple[str, ...]:
    return (
        entry.operation or "",
        entry.time or "",
        entry.manager or "",
        entry.apiVersion or "",
        entry.subresource or "",
    )


def base(sent: bytes, at_rest: bytes) -> bytes:
    """The entries that an update starts from whose client sent some itself, b"" for none: `apply.current_managers` of both.

    Most clients send what they have read, which may be older than what is at rest.
    """
    if sent == at_rest:
        return at_rest
    small = len(sent) + len(at_rest) <= MAX_CACHED_BYTES
    return (_cached_base if small else _base)(sent, at_rest)


def _base(sent: bytes, at_rest: bytes) -> bytes:
    before = _decode_any(at_rest)
    found = current_managers(before, _decode_any(sent))
    if found == before:
        return at_rest
    # Through `Entry`, which has the order of fields at rest.
    return _encode(_decode(_encode(found))) if found else b""


_cached_base = lru_cache(CACHE_ENTRIES)(_base)


def _sets(entry: Entry | None) -> dict[str, msgspec.Raw]:
    """The set of an entry by top-level field."""
    if entry is None or entry.fieldsV1 is None:
        return {}
    try:
        return _decode_parts(entry.fieldsV1)
    except msgspec.ValidationError:  # it is no object, which is no fields
        return {}


def _cut(entry: Entry, parts: dict[str, Part]) -> bool:
    """Takes what was changed from somebody else's entry. Whether something is left of it."""
    text = bytes(entry.fieldsV1 or b"")
    if not any(_encode(name) in text for name in parts):
        # At rest a name is as it is encoded.
        return True
    sets = _sets(entry)
    touched = False
    for name, part in parts.items():
        before = sets.get(name)
        if before is None or name == ".":
            continue
        touched |= _put(sets, name, _looked_up(_cached_without, _without, bytes(before), part))
    if not touched:
        return True
    if sets.keys() <= {"."}:
        return False
    entry.fieldsV1 = msgspec.Raw(_encode(sets))
    return True


def _grown(entry: Entry | None, parts: dict[str, Part]) -> msgspec.Raw | None:
    """What the writer has of a set then; None for nothing."""
    sets = _sets(entry)
    touched = False
    for name, part in parts.items():
        before = sets.get(name)
        if before is None:
            if part[2]:
                sets[name] = msgspec.Raw(part[0])
                touched = True
            continue
        touched |= _put(sets, name, _looked_up(_cached_with, _with, bytes(before), part))
    if sets.keys() <= {"."}:
        return None
    return msgspec.Raw(_encode(sets)) if touched or entry is None else entry.fieldsV1


def _put(sets: dict[str, msgspec.Raw], name: str, node: bytes | None) -> bool:
    """Puts in what became of a node, see `_result`. Whether that is something else than there was."""
    if node is None:
        return False
    if node:
        sets[name] = msgspec.Raw(node)
    else:
        del sets[name]
    return True


def _looked_up(cached: Any, plain: Any, before: bytes, part: Part) -> bytes | None:
    small = len(before) + len(part[0]) + len(part[1]) <= MAX_CACHED_BYTES
    found: bytes | None = (cached if small else plain)(before, *part)
    return found


def _one(node: bytes, there: bool = True) -> FieldSet:
    """The set with a node as its only one; `there` False: the empty set."""
    return {"": _decode_any(node)} if there else EMPTY


def _result(before: FieldSet, after: FieldSet) -> bytes | None:
    """The node that is left: None when nothing is different, b"" when nothing is left."""
    if after is before:
        return None
    return _encode(after[""]) if after else b""


def _without(node: bytes, added: bytes, gone: bytes, is_added: bool, is_gone: bool) -> bytes | None:
    """What others keep of a node."""
    before = _one(node)
    left = fieldset.difference(before, _one(added, is_added))
    return _result(before, fieldset.difference(left, _one(gone, is_gone)))


def _with(node: bytes, added: bytes, gone: bytes, is_added: bool, is_gone: bool) -> bytes | None:
    """What the writer has of a node then."""
    before = _one(node)
    left = fieldset.difference(before, _one(gone, is_gone))
    return _result(before, fieldset.union(left, _one(added, is_added)))


_cached_without = lru_cache(CACHE_ENTRIES)(_without)
_cached_with = lru_cache(CACHE_ENTRIES)(_with)
