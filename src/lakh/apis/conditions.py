"""Conditions of a status: `metav1.Condition`s (upstream's `apimachinery/pkg/apis/meta/v1/validation`, ValidateConditions)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lakh.apis import meta
from lakh.machinery import names
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    invalid_value,
    not_supported,
    required,
    too_long,
)

STATUSES = ("False", "True", "Unknown")
MAX_REASON_BYTES = 1024
MAX_MESSAGE_BYTES = 32 * 1024

_REASON = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"
_is_reason = re.compile(_REASON).fullmatch
_BAD_REASON = names.regex_message(
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
    "characters or '_,:', and must end with an alphanumeric character or '_'",
    _REASON,
    "my_name",
    "MY_NAME",
    "MyName",
    "ReasonA,ReasonB",
    "ReasonA:ReasonB",
)


def validate_conditions(conditions: Sequence[Any] | None, path: str, found: list[FieldError]) -> None:
    """Whole conditions, each type once."""
    seen: set[str] = set()
    for index, condition in enumerate(conditions or ()):
        where, kind = f"{path}[{index}]", condition.type or ""
        if kind in seen:
            found.append(duplicate(f"{where}.type", kind))
        seen.add(kind)
        meta.report(meta.check_label_key(kind), f"{where}.type", kind, found)
        if condition.status not in STATUSES:
            found.append(not_supported(f"{where}.status", condition.status or "", STATUSES))
        if (condition.observedGeneration or 0) < 0:
            found.append(
                invalid_value(
                    f"{where}.observedGeneration",
                    condition.observedGeneration,
                    "must be greater than or equal to zero",
                )
            )
        if not condition.lastTransitionTime:
            found.append(required(f"{where}.lastTransitionTime", "must be set"))
        reason, message = condition.reason or "", condition.message or ""
        if not reason:
            found.append(required(f"{where}.reason", "must be set"))
        else:
            if not _is_reason(reason):
                found.append(invalid_value(f"{where}.reason", reason, _BAD_REASON))
            if len(reason.encode()) > MAX_REASON_BYTES:
                found.append(too_long(f"{where}.reason", MAX_REASON_BYTES))
        if len(message.encode()) > MAX_MESSAGE_BYTES:
            found.append(too_long(f"{where}.message", MAX_MESSAGE_BYTES))
