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
from lakh.machinery.apply import MAX_UPDATE_MANAGERS, changes_between, created
from lakh.machinery.fieldset import EMPTY, FieldSet
from lakh.machinery.tracking import Endpoint

# Shapes of objects times ways of writing them; each takes some KB.
CACHE_ENTRIES = 2048
# Of a set and the changes to it; longer ones are not kept.
MAX_CACHED_BYTES = 4096
# Of the spec of a template and its fields.
MAX_CREATED_BYTES = 16_384


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


def update(old: Any, new: Any, at_rest: bytes, manager: str, time: str, endpoint: Endpoint) -> bytes | None:
    """The entries after an update or patch by `manager`, b"" for none. Both objects are without managedFields; `at_rest` are the old one's.

    None: there is an entry of another version, or there are too many, and `update_managed_fields` has to look at all of them.
    """
    changed, removed = changes_between(old, new, endpoint)
    if not changed and not removed:
        return at_rest
    if endpoint.kept is not None:
        changed, removed = endpoint.kept(changed), endpoint.kept(removed)
    api_version, subresource = endpoint.api_version, endpoint.subresource
    added, gone = _encode(changed), _encode(removed)
    mine: Entry | None = None
    kept: list[Entry] = []
    entries = _decode(at_rest)
    if len(entries) >= MAX_UPDATE_MANAGERS:
        return None
    manager = manager or "unknown"
    for entry in entries:
        if entry.apiVersion != api_version:
            return None
        before = b"{}" if entry.fieldsV1 is None else bytes(entry.fieldsV1)
        if (
            entry.operation == "Update"
            and entry.manager == manager
            and (entry.subresource or "") == subresource
        ):
            mine, own = entry, before
            continue
        fields = _without(before, added, gone)
        if not fields:
            continue
        if fields is not before:
            entry.fieldsV1 = msgspec.Raw(fields)
        kept.append(entry)
    fields = _own(own if mine is not None else b"{}", added, gone)
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
        mine.fieldsV1 = msgspec.Raw(fields)
        kept.append(mine)
    if not kept:
        return b""
    kept.sort(key=_order)
    return _encode(kept)


_SPEC_ALONE = frozenset(("metadata", "spec", "status", "apiVersion", "kind"))
# By endpoint and key: the fields of specs, as the inside of an object.
_specs: dict[tuple[Endpoint, bytes], bytes] = {}
_metadata: dict[tuple[Any, ...], bytes] = {}


def create(obj: Any, key: bytes, manager: str, time: str, endpoint: Endpoint) -> bytes | None:
    """The entries of a new object of metadata and spec; `key` stands for the fields of its spec. None: it has more parts."""
    if endpoint.kept is not None or not _SPEC_ALONE.issuperset(obj.__struct_encode_fields__):
        return None
    if obj.status is not None and "status" not in endpoint.ignored:
        return None
    spec = _specs.get((endpoint, key))
    if spec is None:
        spec = _part({"spec": msgspec.to_builtins(obj.spec)}, endpoint)
        _keep(_specs, (endpoint, key), spec, len(key) + len(spec))
    metadata = obj.metadata
    labels, annotations, finalizers = metadata.labels, metadata.annotations, metadata.finalizers
    owners = metadata.ownerReferences
    # What of metadata its fields depend on: names, the items of sets, the owners.
    which = (
        endpoint,
        labels if labels is None else (*labels,),
        annotations if annotations is None else (*annotations,),
        finalizers if finalizers is None else (*finalizers,),
        owners if owners is None else _encode(owners),
        metadata.generateName is None,
    )
    head = _metadata.get(which)
    if head is None:
        head = _part({"metadata": msgspec.to_builtins(metadata)}, endpoint)
        _keep(_metadata, which, head, 2 * len(head))
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


def _set(text: bytes) -> FieldSet:
    found = _decode_any(text)
    return found if isinstance(found, dict) else EMPTY


def _cut(fields: bytes, added: bytes, gone: bytes) -> bytes | None:
    """What others keep of a set: None for all of it, b"" for nothing."""
    before = _set(fields)
    left = fieldset.difference(fieldset.difference(before, _set(added)), _set(gone))
    if left is before:
        return None
    return b"" if fieldset.is_empty(left) else _encode(left)


def _grown(fields: bytes, added: bytes, gone: bytes) -> bytes:
    """What the writer has of a set then; b"" for nothing."""
    left = fieldset.union(fieldset.difference(_set(fields), _set(gone)), _set(added))
    return b"" if fieldset.is_empty(left) else _encode(left)


_cached_cut = lru_cache(CACHE_ENTRIES)(_cut)
_cached_grown = lru_cache(CACHE_ENTRIES)(_grown)


def _without(fields: bytes, added: bytes, gone: bytes) -> bytes:
    small = len(fields) + len(added) + len(gone) <= MAX_CACHED_BYTES
    left = (_cached_cut if small else _cut)(fields, added, gone)
    return fields if left is None else left


def _own(fields: bytes, added: bytes, gone: bytes) -> bytes:
    small = len(fields) + len(added) + len(gone) <= MAX_CACHED_BYTES
    return (_cached_grown if small else _grown)(fields, added, gone)
