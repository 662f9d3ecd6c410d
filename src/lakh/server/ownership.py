"""Who manages which field, kept on every write: between stored Structs and `machinery.apply`."""

from __future__ import annotations

from typing import Any

import msgspec

from lakh.machinery import apply as ssa
from lakh.server.codec import Codec
from lakh.server.context import Context

STATUS = ("status",)

# Of ManagedFieldsEntry, as its Struct encodes them: unchanged entries must be unchanged bytes.
ENTRY_FIELDS = ("apiVersion", "fieldsType", "fieldsV1", "manager", "operation", "subresource", "time")


def _ordered(entries: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Entries in the order of their fields at rest; None when there are none."""
    return [{n: e[n] for n in ENTRY_FIELDS if n in e} for e in entries] or None


def _ignored(codec: Codec, subresource: str) -> tuple[str, ...]:
    """The top-level fields that an endpoint does not write (upstream's reset fields)."""
    if subresource == "status":
        return tuple(
            name
            for name, _ in codec.node.fields()
            if name not in ("apiVersion", "kind", "metadata", "status")
        )
    return STATUS if codec.resource.strategy.has_status and not subresource else ()


def track_create(codec: Codec, obj: Any, context: Context) -> None:
    """Makes the creator the manager of all that the object has."""
    if context.applied:
        return
    obj.metadata.managedFields = None
    obj.metadata.managedFields = _ordered(
        ssa.update_managed_fields(
            None,
            codec.managed(obj),
            [],
            context.manager,
            codec.api_version,
            context.now,
            node=codec.node,
            ignored=_ignored(codec, ""),
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


def track_update(codec: Codec, old: Any, new: Any, context: Context, subresource: str) -> None:
    """Gives what an update or patch changed to its manager."""
    if context.applied:
        return
    before, after = _shallow(old.metadata.managedFields), _shallow(new.metadata.managedFields)
    managers = ssa.current_managers(before, after, subresource=subresource)
    # Nobody manages managedFields; without them both objects are half as large.
    old.metadata.managedFields = new.metadata.managedFields = None
    new.metadata.managedFields = _ordered(
        ssa.update_managed_fields(
            codec.managed(old),
            codec.managed(new),
            managers,
            context.manager,
            codec.api_version,
            context.now,
            node=codec.node,
            subresource=subresource,
            ignored=_ignored(codec, subresource),
        )
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
        codec.api_version,
        context.now,
        node=codec.node,
        force=force,
        subresource=subresource,
        ignored=_ignored(codec, subresource),
    )
    obj = dict(outcome.obj)
    metadata = dict(obj.get("metadata") or {})
    metadata["managedFields"] = _ordered(outcome.managers)
    metadata.setdefault("name", name)
    if namespace:
        metadata.setdefault("namespace", namespace)
    obj["metadata"] = metadata
    return obj
