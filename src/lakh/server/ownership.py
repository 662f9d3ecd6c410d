"""Who manages which field, kept on every write: between stored Structs and `machinery.apply`."""

from __future__ import annotations

from typing import Any

import msgspec

from lakh.machinery import apply as ssa
from lakh.machinery import errors
from lakh.machinery.managers import base as base_at_rest
from lakh.machinery.managers import create as create_at_rest
from lakh.machinery.managers import renew as renew_at_rest
from lakh.machinery.managers import update as update_at_rest
from lakh.machinery.managers import update_part
from lakh.server.codec import (
    Codec,
    FieldValidation,
    MalformedError,
    applied_object,
    encode_json,
    load_json,
    read_apply,
    yaml_findings,
)
from lakh.server.context import Context

# Of ManagedFieldsEntry, as its Struct encodes them: unchanged entries must be unchanged bytes.
ENTRY_FIELDS = ("apiVersion", "fieldsType", "fieldsV1", "manager", "operation", "subresource", "time")


def _ordered(entries: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Entries in the order of their fields at rest; None when there are none."""
    return [{n: e[n] for n in ENTRY_FIELDS if n in e} for e in entries] or None


def track_create(codec: Codec, obj: Any, context: Context) -> None:
    """Makes the creator the manager of all that the object has."""
    if context.applied:
        return
    obj.metadata.managedFields = None
    endpoint = codec.endpoint("")
    key = codec.resource.strategy.fields_key(obj)
    if key is not None:
        entries = create_at_rest(obj, key, context.manager, context.now, endpoint)
        if entries is not None:
            obj.metadata.managedFields = msgspec.Raw(entries) if entries else None
            return
    obj.metadata.managedFields = _ordered(
        ssa.update_managed_fields(
            None,
            codec.managed(obj),
            [],
            context.manager,
            context.now,
            endpoint,
        )
    )


def _shallow(entries: Any) -> list[dict[str, Any]] | None:
    """Decoded entries as dicts; the field sets themselves are shared, not copied."""
    if not entries:
        return entries  # type: ignore[no-any-return]
    return [
        {n: v for n in e.__struct_fields__ if (v := getattr(e, n)) is not None}
        if isinstance(e, msgspec.Struct)
        else e
        for e in entries
    ]


def track_update(
    codec: Codec,
    old: Any,
    new: Any,
    context: Context,
    subresource: str,
    at_rest: bytes = b"",
    renewed: str = "",
    status_fields: bytes = b"",
) -> None:
    """Gives what an update or patch changed to its manager. `at_rest`: the old object's managers, where they are not in it.

    `renewed`: the field of the spec that is all that was changed, `status_fields` those below status, where that is known.
    """
    if context.applied:
        return
    if at_rest:
        sent = new.metadata.managedFields
        new.metadata.managedFields = None
        base = at_rest if subresource or sent is None else base_at_rest(encode_json(sent), at_rest)
        if not base:
            # Whoever reset the entries wants none until the next apply.
            return
        endpoint = codec.endpoint(subresource)
        entries = renew_at_rest(base, renewed, context.manager, context.now, endpoint) if renewed else None
        if status_fields and endpoint.kept is None:
            entries = update_part(base, "f:status", status_fields, context.manager, context.now, endpoint)
        elif entries is None:
            entries = update_at_rest(old, new, base, context.manager, context.now, endpoint)
        if entries is not None:
            new.metadata.managedFields = msgspec.Raw(entries) if entries else None
            return
        new.metadata.managedFields = sent
        old.metadata.managedFields = load_json(at_rest)
    before, after = _shallow(old.metadata.managedFields), _shallow(new.metadata.managedFields)
    entries_before = ssa.current_managers(before, after, subresource=subresource)
    # Nobody manages managedFields; without them both objects are half as large.
    old.metadata.managedFields = new.metadata.managedFields = None
    new.metadata.managedFields = _ordered(
        ssa.update_managed_fields(
            codec.managed(old),
            codec.managed(new),
            entries_before,
            context.manager,
            context.now,
            codec.endpoint(subresource),
        )
    )


def only_later(value: bytes, before: bytes) -> bool:
    """Whether two objects at rest differ in nothing but the times of their managers.

    An apply that changes nothing else is not written (upstream's IgnoreManagedFieldsTimestampsTransformer): what is applied in another notation than
    it is stored in, or without a default, looks like a change until it is at rest.
    """
    return len(value) == len(before) and _timeless(value) == _timeless(before)


def _timeless(value: bytes) -> Any:
    obj = load_json(value)
    for entry in obj["metadata"].get("managedFields") or ():
        entry.pop("time", None)
    return obj


class Applied:
    """An applied configuration of a request; raises 400 when it is none, or not of this kind and version."""

    def __init__(self, body: bytes, codec: Codec, context: Context, force: bool) -> None:
        self._codec = codec
        self._context = context
        self._force = force
        body = read_apply(body)
        self.config = applied_object(load_json(body))
        if (self.config.get("apiVersion"), self.config.get("kind")) != (codec.api_version, codec.kind):
            raise errors.bad_request("apiVersion and kind must be set and match the request for apply patch")
        self._twice = yaml_findings(body) if context.validation != FieldValidation.IGNORE else []

    def to(self, live: dict[str, Any] | None, subresource: str, namespace: str, name: str) -> Any:
        """What it makes of the live object, its managers included; raises 409 for conflicts, and 400."""
        codec, context = self._codec, self._context
        merged = apply(codec, live, self.config, context, subresource, self._force, namespace, name)
        uid = merged["metadata"].get("uid")
        if live is None and uid:
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise errors.conflict(codec.resource.group, codec.resource.plural, name, why)
        # Only now, as upstream: fields that the schema does not have, and conflicts, are said first.
        if self._twice and context.validation == FieldValidation.STRICT:
            raise errors.bad_request(f"error strict decoding YAML: {self._twice[0]}")
        for text in self._twice:
            context.warnings += text.split("\n  ")[1:]
        try:
            return codec.convert(merged, FieldValidation.IGNORE, context.warnings)
        except MalformedError as e:
            raise errors.StatusError(500, "", self._not_typed(e.why)) from None

    def _not_typed(self, why: str) -> str:
        """What upstream answers when the types take what the schema did."""
        metadata = self.config.get("metadata")
        named = metadata if isinstance(metadata, dict) else {}
        version = self._codec.api_version
        kind = f"{version if '/' in version else '/' + version}, Kind={self._codec.kind}"
        return (
            f"failed to convert new object ({named.get('namespace') or ''}/{named.get('name') or ''}; {kind}) to proper version: "
            f"unable to convert unstructured object to {kind}: {why}"
        )


def apply(
    codec: Codec,
    live: dict[str, Any] | None,
    applied: dict[str, Any],
    context: Context,
    subresource: str,
    force: bool,
    namespace: str,
    name: str,
) -> dict[str, Any]:
    """What a server-side apply makes of the live object, managedFields included; raises 409 for conflicts."""
    managers = ssa.decode_entries((live or {}).get("metadata", {}).get("managedFields"))
    outcome = ssa.server_side_apply(
        live,
        applied,
        managers,
        context.manager,
        context.now,
        codec.endpoint(subresource),
        force=force,
    )
    obj = dict(outcome.obj)
    metadata = dict(obj.get("metadata") or {})
    metadata["managedFields"] = _ordered(outcome.managers)
    metadata.setdefault("name", name)
    if namespace:
        metadata.setdefault("namespace", namespace)
    obj["metadata"] = metadata
    return obj
