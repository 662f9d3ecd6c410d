"""JSON merge patch (RFC 7386).

The result shares what the patch leaves alone with the original; neither input is mutated.
"""

from __future__ import annotations

from typing import Any

from lakh.machinery.dynamic import JSON, equal
from lakh.machinery.errors import bad_request


def apply(original: JSON, patch: JSON) -> JSON:
    """The original with the patch merged into it; null in the patch removes a field."""
    try:
        return _merge(original, patch)
    except RecursionError:
        raise bad_request("the patch is nested too deeply") from None


def _merge(original: JSON, patch: JSON) -> JSON:
    if not isinstance(patch, dict):
        return patch
    merged: dict[str, Any] = dict(original) if isinstance(original, dict) else {}
    for field, value in patch.items():
        if value is None:
            merged.pop(field, None)
        elif isinstance(value, dict):
            merged[field] = _merge(merged.get(field), value)
        else:
            merged[field] = value
    return merged


def diff(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The smallest merge patch that makes `new` of `old`, for values without nulls."""
    patch: dict[str, Any] = {field: None for field in old if field not in new}
    for field, value in new.items():
        before = old.get(field)
        if isinstance(before, dict) and isinstance(value, dict):
            if inner := diff(before, value):
                patch[field] = inner
        elif field not in old or not equal(before, value):
            patch[field] = value
    return patch
