"""Who manages which field: `managedFields` of updates, and server-side apply.

Every write names a manager. A create, update or patch gives it the fields whose values it changed and takes them from the others; an apply states
all the fields its manager wants, fails where somebody else holds one with another value, and removes what the manager stated before and nobody
else holds. Entries are the plain `ManagedFieldsEntry` dicts of the API, their `fieldsV1` sets as in `fieldset`; an entry is known by manager,
operation, subresource and, for updates, API version.

Everything is pure: objects come in as plain dicts (or Structs) without being changed, and new ones go out. A create costs 20 µs for a pod of
1.7 KB and 4 µs for a lease, the renewal of a lease and a pod's new phase 7 µs, an apply of a Deployment 60 µs when it changes nothing and 150 µs
when it does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from lakh.machinery import fieldset, times
from lakh.machinery.errors import StatusError, bad_request, show
from lakh.machinery.fieldset import EMPTY, FieldSet, added
from lakh.machinery.shapes import Shape, field_key
from lakh.machinery.tracking import Endpoint
from lakh.machinery.typed import compare, merge, problems, remove, with_named_fields

Entry = dict[str, Any]
JSONObject = dict[str, Any]

# Upstream's cap on entries of updates; the oldest beyond it become one.
MAX_UPDATE_MANAGERS = 10
ANCIENT_MANAGER = "ancient-changes"
BEFORE_FIRST_APPLY = "before-first-apply"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
MAX_ANNOTATIONS_BYTES = 256 * 1024

# Fields that nobody manages.
_UNMANAGED_METADATA = frozenset(
    (
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
    )
)
_IDENTITY: FieldSet = {
    "f:apiVersion": EMPTY,
    "f:kind": EMPTY,
    "f:metadata": {".": EMPTY, **{f"f:{name}": EMPTY for name in sorted(_UNMANAGED_METADATA)}},
}
# Fields that are there, empty, in any object of Kubernetes' Go types, so that they are never added themselves.
_ALWAYS_THERE = frozenset(
    (
        "metadata",
        "spec",
        "status",
        "template",
        "jobTemplate",
        "strategy",
        "updateStrategy",
        "loadBalancer",
        "nodeInfo",
        "daemonEndpoints",
        "kubeletEndpoint",
        "source",
    )
)

_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def _plain(obj: Any) -> JSONObject:
    if isinstance(obj, msgspec.Struct):
        obj = msgspec.to_builtins(obj)
    if not isinstance(obj, dict):
        raise bad_request("an object is expected")
    return obj


def _differing(old: Any, new: Any) -> tuple[JSONObject, JSONObject]:
    """Both objects as plain dicts; of Structs only the top-level fields that differ, so that a status update costs no spec."""
    if not isinstance(old, msgspec.Struct) or type(old) is not type(new):
        return _plain(old), _plain(new)
    before: JSONObject = {}
    after: JSONObject = {}
    for attribute, name in zip(old.__struct_fields__, old.__struct_encode_fields__, strict=True):
        left, right = getattr(old, attribute), getattr(new, attribute)
        if left is not right and left != right:
            if left is not None:
                before[name] = msgspec.to_builtins(left)
            if right is not None:
                after[name] = msgspec.to_builtins(right)
    return before, after


def _managed(obj: JSONObject, ignored: Collection[str]) -> JSONObject:
    """The object without what nobody manages."""
    out = {
        name: value
        for name, value in obj.items()
        if name not in ("apiVersion", "kind") and name not in ignored and value is not None
    }
    metadata = out.get("metadata")
    if isinstance(metadata, dict):
        kept = {k: v for k, v in metadata.items() if k not in _UNMANAGED_METADATA}
        if kept:
            out["metadata"] = kept
        else:
            # An empty map would be owned as one.
            del out["metadata"]
    return out


def _created(value: JSONObject, shape: Shape) -> FieldSet:
    """The fields of a new object: `added`, but for the parts that even an empty object has."""
    out: FieldSet = {}
    required = shape.node.required if shape.node is not None else ()
    # Custom resources have no Go types, so none of their parts is there by itself.
    typed = shape.node is not None and shape.node.definition is not None
    for name, child in value.items():
        if not child and (
            child is None or (typed and name in required and child.__class__ not in (dict, list))
        ):
            # What an empty object has as well, a number without `omitempty`, is not added.
            continue
        key, below = shape.field(name) if shape.kind == "struct" else (field_key(name), shape.element)
        if name == "metadata" or (typed and below.kind == "struct" and name in _ALWAYS_THERE):
            if isinstance(child, dict) and (node := _created(child, below)):
                out[key] = node
        elif name in required and below.kind in ("list-map", "list-set"):
            if node := {k: v for k, v in added(child, below).items() if k != "."}:
                out[key] = node
        else:
            out[key] = added(child, below)
    return out


def _changes(old: JSONObject | None, new: JSONObject, shape: Shape) -> tuple[FieldSet, FieldSet]:
    """What a write adds or modifies, and what it removes; both arguments as `_managed` gives them."""
    if old is None:
        return _created(new, shape), EMPTY
    if old.keys() != new.keys():
        for name in ("spec", "status", "metadata"):
            # These are always there, if only empty: an object that gets its first status gets the fields in it.
            if name in new:
                old.setdefault(name, {})
            elif name in old:
                new.setdefault(name, {})
    return compare(old, new, shape)


def _fields(entry: Entry) -> FieldSet:
    fields = entry.get("fieldsV1")
    if isinstance(fields, (msgspec.Raw, bytes)):
        return msgspec.json.decode(fields)  # type: ignore[no-any-return]
    return fields if isinstance(fields, dict) else EMPTY


Identity = tuple[str, str, str, str]


def _identity(entry: Entry) -> Identity:
    operation = entry.get("operation") or ""
    api_version = "" if operation == "Apply" else entry.get("apiVersion") or ""
    return entry.get("manager") or "", operation, api_version, entry.get("subresource") or ""


def _entry(
    manager: str, operation: str, api_version: str, time: str, fields: FieldSet, subresource: str
) -> Entry:
    entry = {
        "manager": manager,
        "operation": operation,
        "apiVersion": api_version,
        "time": time,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    if subresource:
        entry["subresource"] = subresource
    return entry


def _sorted(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(
        entries,
        key=lambda e: (
            e.get("operation") or "",
            e.get("time") or "",
            e.get("manager") or "",
            e.get("apiVersion") or "",
            e.get("subresource") or "",
        ),
    )


def decode_entries(entries: Any) -> list[Entry]:
    """The entries of `metadata.managedFields`, checked; raises ValueError with upstream's wording. Of several of one manager the last counts."""
    out: dict[Identity, Entry] = {}
    for index, entry in enumerate(entries or ()):
        if isinstance(entry, msgspec.Struct):
            entry = msgspec.to_builtins(entry)
        if not isinstance(entry, dict) or entry.get("operation") not in ("Apply", "Update"):
            raise ValueError("operation must be `Apply` or `Update`")
        if not entry.get("apiVersion"):
            raise ValueError("apiVersion must not be empty")
        kind = entry.get("fieldsType")
        if not kind:
            raise ValueError(f"missing fieldsType in managed fields entry {index}")
        if kind != "FieldsV1":
            raise ValueError(f"invalid fieldsType {show(kind)} in managed fields entry {index}")
        fieldset.check(_fields(entry))
        decoded = {k: v for k, v in entry.items() if v is not None}
        if "time" in decoded:
            # Clients send it back in their own notation; at rest there is one, or an unchanged entry would look changed.
            decoded["time"] = times.canonical(decoded["time"])
        out[_identity(decoded)] = decoded
    return _sorted(out.values())


def current_managers(old_entries: Any, new_entries: Any, *, subresource: str = "") -> list[Entry]:
    """The entries that a write starts from.

    Clients may send `managedFields` back changed, and one empty entry, or an empty list, resets them. Clients that do not know them send nothing, or
    something broken: then the stored ones stay. On subresources what the client sends is ignored.
    """
    old = list(old_entries or ())
    if subresource or new_entries is None or new_entries == old_entries:
        return [msgspec.to_builtins(e) if isinstance(e, msgspec.Struct) else e for e in old]
    try:
        if not new_entries or (
            len(new_entries) == 1 and not any(v is not None for v in _entry_dict(new_entries[0]).values())
        ):
            return []
        return decode_entries(new_entries)
    except (ValueError, msgspec.MsgspecError):
        return [msgspec.to_builtins(e) if isinstance(e, msgspec.Struct) else e for e in old]


def _entry_dict(entry: Any) -> Entry:
    if isinstance(entry, msgspec.Struct):
        entry = msgspec.to_builtins(entry)
    if not isinstance(entry, dict):
        raise ValueError("an entry is an object")
    return entry


_Cut = tuple[FieldSet, FieldSet]


class _Cuts:
    """What a write adds or modifies, and what it removes, in the version that an entry speaks of: `here` in the endpoint's own."""

    __slots__ = ("_endpoint", "_found", "_new", "_old")

    def __init__(self, endpoint: Endpoint, here: _Cut, old: JSONObject, new: JSONObject) -> None:
        self._endpoint = endpoint
        self._old = old
        self._new = new
        self._found: dict[str | None, _Cut | None] = {endpoint.api_version: here}

    def of(self, entry: Entry) -> _Cut | None:
        """Both sets for an entry; None when there is no such version any more."""
        api_version = entry.get("apiVersion")
        if api_version not in self._found:
            self._found[api_version] = self._compared(api_version or "")
        return self._found[api_version]

    def _compared(self, api_version: str) -> _Cut | None:
        endpoint = self._endpoint
        versions = endpoint.versions
        if versions is None or not api_version:
            return self._found[endpoint.api_version]
        shape = versions.shape(api_version)
        if shape is None:
            return None
        before, after = (versions.convert(obj, api_version) if obj else {} for obj in (self._old, self._new))
        return _kept(
            endpoint, *_changes(_managed(before, endpoint.ignored), _managed(after, endpoint.ignored), shape)
        )


def _kept(endpoint: Endpoint, changed: FieldSet, removed: FieldSet) -> _Cut:
    kept = endpoint.kept
    return (changed, removed) if kept is None else (kept(changed), kept(removed))


def changes_between(old: Any, new: Any, endpoint: Endpoint) -> tuple[FieldSet, FieldSet]:
    """What an update adds or modifies, and what it removes, before the endpoint's `kept` has cut it."""
    before, after = _differing(old, new)
    return _changes(_managed(before, endpoint.ignored), _managed(after, endpoint.ignored), endpoint.shape)


def created(new: Any, endpoint: Endpoint) -> FieldSet:
    """The fields of a new object, or of a top-level part of one."""
    changed = _created(_managed(_plain(new), endpoint.ignored), endpoint.shape)
    return changed if endpoint.kept is None else endpoint.kept(changed)


def update_managed_fields(
    old: Any, new: Any, managers: list[Entry], manager: str, time: str, endpoint: Endpoint
) -> list[Entry]:
    """The entries after a create (`old` None), update or patch by `manager`. When nothing is changed, the argument itself comes back."""
    api_version = endpoint.api_version
    own: Identity = (manager or "unknown", "Update", api_version, endpoint.subresource)
    if old is None:
        changed = created(new, endpoint)
        return [_entry(*own[:3], time, changed, endpoint.subresource)] if changed else []
    if not managers:
        # Whoever reset the entries wants none until the next apply.
        return managers
    changed, removed = changes_between(old, new, endpoint)
    if not changed and not removed:
        return managers

    cut = changed, removed
    if endpoint.kept is not None:
        cut = changed, removed = _kept(endpoint, changed, removed)
    cuts: _Cuts | None = None
    entries: list[Entry] = []
    mine: Entry | None = None
    for entry in managers:
        if _identity(entry) == own:
            mine = entry
        elif entry.get("apiVersion") == api_version:
            entries += _without(entry, cut)
        else:
            if cuts is None:
                whole = ({**_plain(obj), "apiVersion": api_version} for obj in (old, new))
                cuts = _Cuts(endpoint, cut, *whole)
            if (elsewhere := cuts.of(entry)) is not None:
                entries += _without(entry, elsewhere)
    before_fields = _fields(mine) if mine is not None else EMPTY
    fields = fieldset.union(fieldset.difference(before_fields, removed), changed)
    if not fieldset.is_empty(fields):
        if changed or mine is None:
            entries.append(_entry(*own[:3], time, fields, endpoint.subresource))
        else:
            entries.append({**mine, "fieldsV1": fields})
    return _sorted(_capped(entries))


def _without(entry: Entry, cut: _Cut) -> list[Entry]:
    """An entry without what was changed and what was removed; none when nothing is left of it."""
    before = _fields(entry)
    fields = fieldset.difference(fieldset.difference(before, cut[0]), cut[1])
    if fields is before:
        return [entry]
    return [] if fieldset.is_empty(fields) else [{**entry, "fieldsV1": fields}]


def _capped(entries: list[Entry]) -> list[Entry]:
    """At most so many entries of updates: the oldest of an API version are merged."""
    updates = [e for e in entries if e.get("operation") == "Update"]
    if len(updates) <= MAX_UPDATE_MANAGERS:
        return entries
    updates.sort(key=lambda e: (e.get("time") or "", *_identity(e)))
    kept = [e for e in entries if e.get("operation") != "Update"]
    buckets: dict[str, Entry] = {}
    excess = len(updates) - MAX_UPDATE_MANAGERS
    for entry in updates:
        version = entry.get("apiVersion") or ""
        bucket = buckets.get(version)
        if excess <= 0:
            kept.append(entry)
        elif bucket is None:
            buckets[version] = entry
        else:
            fields = fieldset.union(_fields(bucket), _fields(entry))
            buckets[version] = _entry(ANCIENT_MANAGER, "Update", version, entry.get("time") or "", fields, "")
            excess -= 1
    return kept + list(buckets.values())


class ApplyConflict(StatusError):
    """An apply met fields that others hold with other values: upstream's 409. `conflicts` is (entry, path) pairs."""

    def __init__(self, conflicts: list[tuple[Entry, tuple[str, ...]]]) -> None:
        self.conflicts = conflicts
        causes = [
            {
                "reason": "FieldManagerConflict",
                "message": f"conflict with {_manager_text(entry)}",
                "field": fieldset.path_text(path),
            }
            for entry, path in conflicts
        ]
        super().__init__(409, "Conflict", _conflict_message(conflicts), {"causes": causes})


def _manager_text(entry: Entry) -> str:
    text = show(entry.get("manager") or "")
    if subresource := entry.get("subresource"):
        text += f" with subresource {show(subresource)}"
    if entry.get("operation") == "Update":
        text += f" using {entry.get('apiVersion')}"
    return text


def _conflict_message(conflicts: list[tuple[Entry, tuple[str, ...]]]) -> str:
    if len(conflicts) == 1:
        entry, path = conflicts[0]
        return (
            f"Apply failed with 1 conflict: conflict with {_manager_text(entry)}: {fieldset.path_text(path)}"
        )
    by_manager: dict[str, list[str]] = {}
    for entry, path in conflicts:
        by_manager.setdefault(_manager_text(entry), []).append(f"- {fieldset.path_text(path)}")
    lines = [
        line for text, paths in sorted(by_manager.items()) for line in (f"conflicts with {text}:", *paths)
    ]
    return f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Applied:
    """The outcome of an apply: the object without `managedFields`, the entries, and whether anything differs from the live object."""

    obj: JSONObject
    managers: list[Entry]
    changed: bool


def server_side_apply(
    live: Any,
    applied: Any,
    managers: list[Entry],
    manager: str,
    time: str,
    endpoint: Endpoint,
    *,
    force: bool = False,
) -> Applied:
    """Merges what `manager` wants (`applied`) into `live`, which is None for an object that is not there yet.

    Raises `ApplyConflict`, or a 400 for a configuration that cannot be merged. The caller defaults and validates the outcome as for any write.
    """
    config = _plain(applied)
    live_object = None if live is None else _without_managed_fields(_plain(live))
    try:
        return _apply_as_kubectl_may(live_object, config, managers, manager, time, endpoint, force)
    except RecursionError:
        raise bad_request("the configuration is nested too deeply") from None


def _apply_as_kubectl_may(
    live_object: JSONObject | None,
    config: JSONObject,
    managers: list[Entry],
    manager: str,
    time: str,
    endpoint: Endpoint,
    force: bool,
) -> Applied:
    """`_apply`, and what kubectl is allowed beyond it: taking over what its client-side apply held."""
    _check(config, endpoint.api_version, endpoint.shape)
    if not managers and live_object is not None:
        managers = update_managed_fields(None, live_object, [], BEFORE_FIRST_APPLY, time, endpoint)
    arguments = (live_object, config, managers, manager, time, endpoint)
    try:
        outcome = _apply(*arguments, force)
    except ApplyConflict as error:
        if manager != "kubectl" or live_object is None:
            raise
        allowed = _held_by_last_applied(live_object, endpoint.api_version, endpoint.shape)
        if allowed is None:
            raise
        remaining = [(e, path) for e, path in error.conflicts if not fieldset.has(allowed, path)]
        if remaining:
            raise ApplyConflict(remaining) from None
        outcome = _apply(*arguments, True)
    if manager == "kubectl":
        return _with_last_applied(outcome, config)
    return outcome


def _without_managed_fields(obj: JSONObject) -> JSONObject:
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}


def _check(config: JSONObject, api_version: str, shape: Shape) -> None:
    version = config.get("apiVersion")
    if version is not None and version != api_version:
        raise bad_request(
            "Incorrect version specified in apply patch. "
            f"Specified patch version: {version}, expected: {api_version}"
        )
    metadata = config.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    if found := problems(config, shape):
        names = metadata if isinstance(metadata, dict) else {}
        group, _, short = (version or api_version).rpartition("/")
        what = (
            f"{names.get('namespace') or ''}/{names.get('name') or ''}; "
            f"{group + '/' if group else '/'}{short}, Kind={config.get('kind') or ''}"
        )
        text = found[0] if len(found) == 1 else "errors:\n  " + "\n  ".join(found)
        raise bad_request(f"failed to create typed patch object ({what}): {text}")


def _apply(
    live: JSONObject | None,
    config: JSONObject,
    managers: list[Entry],
    manager: str,
    time: str,
    endpoint: Endpoint,
    force: bool,
) -> Applied:
    shape, ignored = endpoint.shape, endpoint.ignored
    own: Identity = (manager or "unknown", "Apply", "", endpoint.subresource)
    last = next((e for e in managers if _identity(e) == own), None)
    others = [e for e in managers if e is not last]
    wanted = fieldset.of_shape(_managed(config, ignored), shape)
    if endpoint.kept is not None:
        wanted = endpoint.kept(wanted)
    merged = config if live is None else merge(live, config, shape)
    if last is not None:
        # What nobody manages (names, times) is stated all the same, and stays.
        held = fieldset.union(fieldset.of_shape(config, shape), _IDENTITY)
        merged = _prune(merged, last, fieldset.union(wanted, held), others, endpoint)
    cut = _kept(
        endpoint,
        *_changes(None if live is None else _managed(live, ignored), _managed(merged, ignored), shape),
    )
    cuts = _Cuts(endpoint, cut, live or {}, merged)
    conflicts: list[tuple[Entry, tuple[str, ...]]] = []
    entries: list[Entry] = []
    for entry in sorted(others, key=_identity):
        at = cuts.of(entry)
        if at is not None:
            conflicts += [
                (entry, path) for path in fieldset.iterate(fieldset.intersection(_fields(entry), at[0]))
            ]
            entries += _without(entry, at)
    if conflicts and not force:
        raise ApplyConflict(conflicts)
    differs = live is None or live != merged
    if not fieldset.is_empty(wanted):
        if last is not None and not differs and fieldset.equal(_fields(last), wanted):
            entries.append({**last, "apiVersion": endpoint.api_version})
        else:
            entries.append(_entry(own[0], "Apply", endpoint.api_version, time, wanted, endpoint.subresource))
    return Applied(merged, _sorted(entries), differs)


def _prune(
    merged: JSONObject, last: Entry, wanted: FieldSet, others: list[Entry], endpoint: Endpoint
) -> JSONObject:
    """Removes what the manager applied before, does not apply now, and nobody else holds, each in the version that its entry speaks of."""
    here, versions, last_fields = endpoint.api_version, endpoint.versions, _fields(last)
    before = here if versions is None else last.get("apiVersion") or here
    if before == here and fieldset.contains(wanted, last_fields):
        return merged
    held = {before: _IDENTITY, here: wanted}
    for entry in others:
        at = here if versions is None else entry.get("apiVersion") or here
        held[at] = fieldset.union(held.get(at, EMPTY), _fields(entry))
    shapes = {here: endpoint.shape}
    for at in held:
        if versions is not None and at != here and (found := versions.shape(at)) is not None:
            shapes[at] = found
    if before not in shapes:
        return merged

    def converted(obj: JSONObject, to: str) -> JSONObject:
        return obj if versions is None or obj["apiVersion"] == to else versions.convert(obj, to)

    shape = shapes[before]
    last_named = with_named_fields(last_fields, shape)
    merged = converted(merged, before)
    owned = _cut(merged, last_named, shape)
    for at, fields in held.items():
        if at in shapes:
            whole, owned = converted(merged, at), converted(owned, at)
            keep = fieldset.union(_named(owned, shapes[at]), with_named_fields(fields, shapes[at]))
            owned = _cut(whole, fieldset.difference(_named(whole, shapes[at]), keep), shapes[at])
    lost = fieldset.difference(_named(merged, shape), _named(converted(owned, before), shape))
    return converted(_cut(merged, fieldset.intersection(lost, last_named), shape), here)


def _cut(obj: JSONObject, gone: FieldSet, shape: Shape) -> JSONObject:
    """The object without the members of a set, of a version and a kind all the same."""
    return {n: obj[n] for n in ("apiVersion", "kind") if n in obj} | (remove(obj, gone, shape) or {})


def _named(obj: JSONObject, shape: Shape) -> FieldSet:
    return with_named_fields(fieldset.of_shape(obj, shape), shape)


def _held_by_last_applied(live: JSONObject, api_version: str, shape: Shape) -> FieldSet | None:
    """What client-side apply holds: the fields of its annotation whose values are still the live ones."""
    text = ((live.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
    if not text or not isinstance(text, str):
        return None
    try:
        last = msgspec.json.decode(text)
        if not isinstance(last, dict) or last.get("apiVersion") != api_version or problems(last, shape):
            return None
    except (msgspec.DecodeError, RecursionError):
        return None
    changed, removed = compare(last, live, shape)
    fields = fieldset.of_shape(last, shape)
    return fieldset.difference(fieldset.difference(fields, changed), removed)


def _with_last_applied(outcome: Applied, config: JSONObject) -> Applied:
    """Keeps client-side apply's annotation, where there is one, in step with server-side apply."""
    metadata = outcome.obj.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    if not annotations.get(LAST_APPLIED):
        return outcome
    stated = config.get("metadata") or {}
    stated_annotations = {k: v for k, v in (stated.get("annotations") or {}).items() if k != LAST_APPLIED}
    bare = {k: v for k, v in stated.items() if k != "annotations"}
    if stated_annotations:
        bare["annotations"] = stated_annotations
    text = _encode_sorted({**config, "metadata": bare}).decode() + "\n"
    updated = {**annotations, LAST_APPLIED: text}
    if sum(len(k.encode()) + len(str(v).encode()) for k, v in updated.items()) > MAX_ANNOTATIONS_BYTES:
        del updated[LAST_APPLIED]
    obj = {**outcome.obj, "metadata": {**metadata, "annotations": updated}}
    return Applied(obj, outcome.managers, outcome.changed or updated != annotations)
