"""Status patches: conditions, and only what differs.

A status is patched with a merge patch of the fields that changed. Counters that are zero are removed, as Go's `omitempty` would.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from .views import Condition, View


def plain(value: Any) -> Any:
    """Plain data without absent fields."""
    return _without_none(msgspec.to_builtins(value))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return value


def difference(old: View, new: View, *, keep_zero: Iterable[str] = ()) -> dict[str, Any]:
    """The merge patch that makes `old` into `new`; empty when they are the same.

    Zero and absent are the same, and written as absent, but for the fields in `keep_zero`.
    """
    keep = frozenset(keep_zero)
    patch: dict[str, Any] = {}
    for name in old.__struct_fields__:
        before, after = getattr(old, name), getattr(new, name)
        if name not in keep:
            before, after = before or None, after or None
        if before != after:
            patch[name] = plain(after) if after is not None else None
    return patch


def set_condition(
    conditions: Iterable[Condition] | None, wanted: Condition, *, now: str, update_time: bool = False
) -> list[Condition]:
    """The conditions with `wanted` in its place.

    The transition time changes only with the status. A condition that says the same already stays untouched.
    """
    result = list(conditions or ())
    for index, current in enumerate(result):
        if current.type != wanted.type:
            continue
        same_status = current.status == wanted.status
        if same_status and current.reason == wanted.reason and current.message == wanted.message:
            return result
        result[index] = msgspec.structs.replace(
            wanted,
            lastTransitionTime=current.lastTransitionTime if same_status else now,
            lastUpdateTime=now if update_time else None,
        )
        return result
    result.append(
        msgspec.structs.replace(wanted, lastTransitionTime=now, lastUpdateTime=now if update_time else None)
    )
    return result


def without_condition(conditions: Iterable[Condition] | None, type_: str) -> list[Condition]:
    """The conditions but for that one."""
    return [condition for condition in conditions or () if condition.type != type_]


def status_patch(status: Mapping[str, Any], resource_version: str | None = None) -> dict[str, Any]:
    """A patch of the status; with a resourceVersion it is refused when the object has changed since."""
    patch: dict[str, Any] = {"status": dict(status)}
    if resource_version is not None:
        patch["metadata"] = {"resourceVersion": resource_version}
    return patch
