"""What claims, device classes and slices have in common (upstream's `apis/resource/validation`): bounded lists and maps, names, taints."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from lakh.apis import meta
from lakh.machinery import names
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    invalid_value,
    not_supported,
    required,
    show,
    too_long,
    too_many,
)

Check = Callable[[Any, str, list[FieldError]], None]

MAX_POOL_NAME_BYTES = 253
MAX_IDENTIFIER_BYTES = 32
MAX_BINDING_CONDITIONS = 4
# Keys of maps are shown whole up to this length: a domain, a slash and an identifier.
MAX_QUALIFIED_NAME_BYTES = 63 + 1 + MAX_IDENTIFIER_BYTES

_TAINT_EFFECTS = ("NoExecute", "NoSchedule", "None")
_UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_UUID_ANY = re.compile(
    "(urn:uuid:|{)?[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}}?", re.IGNORECASE
).fullmatch


def each(
    items: Sequence[Any] | None, maximum: int | None, check: Check, path: str, found: list[FieldError]
) -> bool:
    """Checks each item; a list that is too long gets this finding alone, and the answer False."""
    items = items or ()
    if maximum is not None and len(items) > maximum:
        found.append(too_many(path, len(items), maximum))
        return False
    for index, item in enumerate(items):
        check(item, f"{path}[{index}]", found)
    return True


def each_once(
    items: Sequence[Any] | None,
    maximum: int | None,
    check: Check,
    key: Callable[[Any], Any],
    path: str,
    found: list[FieldError],
) -> None:
    """As `each`, and no key is there twice."""
    if not each(items, maximum, check, path, found):
        return
    seen: set[Any] = set()
    for index, item in enumerate(items or ()):
        name = key(item)
        if name in seen:
            found.append(duplicate(f"{path}[{index}]", name))
        seen.add(name)


def each_entry(
    entries: Mapping[str, Any] | None,
    maximum: int | None,
    longest_key: int,
    check_key: Check,
    check: Check,
    path: str,
    found: list[FieldError],
) -> None:
    """Checks keys and values of a map; long keys are shown without their middle."""
    entries = entries or {}
    if maximum is not None and len(entries) > maximum:
        found.append(too_many(path, len(entries), maximum))
        return
    for key, value in entries.items():
        check_key(key, path, found)
        check(value, f"{path}[{_shortened(key, longest_key)}]", found)


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    left = longest - len("...")
    return f"{text[: (left + 1) // 2]}...{text[len(text) - left // 2 :]}"


def dns_label(name: Any, path: str, found: list[FieldError]) -> None:
    """Names of devices, requests, counters."""
    meta.report(meta.check_dns_label(name or ""), path, name or "", found)


def required_label(name: Any, path: str, found: list[FieldError]) -> None:
    """As `dns_label`, an absent one being reported as such."""
    if not name:
        found.append(required(path))
    else:
        dns_label(name, path, found)


def label_key(name: Any, path: str, found: list[FieldError]) -> None:
    """A qualified name."""
    meta.report(meta.check_label_key(name or ""), path, name or "", found)


def pool_name(name: str | None, path: str, found: list[FieldError]) -> None:
    """Subdomains, parted by slashes."""
    if not name:
        found.append(required(path))
        return
    if len(name) > MAX_POOL_NAME_BYTES:
        found.append(too_long(path, MAX_POOL_NAME_BYTES))
    for part in name.split("/"):
        meta.report(meta.check_dns_subdomain(part), path, part, found)


def uid(value: str, path: str, found: list[FieldError]) -> None:
    """A UUID in its usual form, lower case."""
    if _UUID(value):
        return
    if _UUID_ANY(value) is None:
        why = (
            f"invalid UUID length: {len(value)}"
            if len(value) not in (32, 36, 38, 45)
            else "invalid UUID format"
        )
        found.append(invalid_value(path, value, f"error validating uid: {why}"))
    else:
        found.append(
            invalid_value(
                path,
                value,
                "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase "
                "hexadecimal characters",
            )
        )


def _identifier(name: str, path: str, found: list[FieldError]) -> None:
    if len(name) > MAX_IDENTIFIER_BYTES:
        found.append(too_long(path, MAX_IDENTIFIER_BYTES))
    meta.report(names.c_identifier(name), path, name, found)


def qualified_name(name: Any, path: str, found: list[FieldError]) -> None:
    """The name of an attribute or a capacity: an identifier, with the domain of a driver or without."""
    domain, slash, plain = name.partition("/")
    if not slash:
        _identifier(name, path, found)
    elif "/" in plain:
        found.append(invalid_value(path, name, "must not contain more than one slash"))
    else:
        if not domain:
            found.append(invalid_value(path, "", "the domain must not be empty"))
        else:
            meta.validate_driver_name(domain, path, found)
        if not plain:
            found.append(invalid_value(path, "", "the name must not be empty"))
        else:
            _identifier(plain, path, found)


def fully_qualified_name(name: str, path: str, found: list[FieldError]) -> None:
    """As `qualified_name`, with a domain."""
    qualified_name(name, path, found)
    if "/" not in name:
        found.append(
            invalid_value(
                path, name, "a fully qualified name must be a domain and a name separated by a slash"
            )
        )


def raw_object(value: Any, maximum_bytes: int, path: str, found: list[FieldError]) -> None:
    """Somebody else's parameters: a JSON object of limited size."""
    if value is None or value is msgspec.UNSET:
        found.append(required(path))
    elif len(show(value).encode()) > maximum_bytes:
        found.append(too_long(path, maximum_bytes))
    elif not isinstance(value, dict):
        found.append(invalid_value(path, "<value omitted>", "must be a valid JSON object"))


def device_taint(taint: Any, path: str, found: list[FieldError]) -> None:
    """Key, value and effect of a taint."""
    label_key(taint.key, f"{path}.key", found)
    if taint.value:
        meta.report(meta.check_label_value(taint.value), f"{path}.value", taint.value, found)
    if not taint.effect:
        found.append(required(f"{path}.effect"))
    elif taint.effect not in _TAINT_EFFECTS:
        found.append(not_supported(f"{path}.effect", taint.effect, _TAINT_EFFECTS))


def device_toleration(toleration: Any, path: str, found: list[FieldError]) -> None:
    """What taints a request tolerates."""
    if toleration.key:
        label_key(toleration.key, f"{path}.key", found)
    value = toleration.value or ""
    match toleration.operator:
        case "Exists":
            if value:
                found.append(invalid_value(f"{path}.value", value, "must be empty for operator `Exists`"))
        case "Equal":
            meta.report(meta.check_label_value(value), f"{path}.value", value, found)
        case None | "":
            found.append(required(f"{path}.operator"))
        case _:
            found.append(not_supported(f"{path}.operator", toleration.operator, ("Equal", "Exists")))
    if toleration.effect and toleration.effect not in _TAINT_EFFECTS:
        found.append(not_supported(f"{path}.effect", toleration.effect, _TAINT_EFFECTS))


def binding_conditions(holder: Any, path: str, found: list[FieldError]) -> None:
    """`bindingConditions` and `bindingFailureConditions`: both or none, each once, and nothing in both."""
    ready, failed = holder.bindingConditions or [], holder.bindingFailureConditions or []
    one, other = f"{path}.bindingConditions", f"{path}.bindingFailureConditions"
    each(ready, MAX_BINDING_CONDITIONS, label_key, one, found)
    each(failed, MAX_BINDING_CONDITIONS, label_key, other, found)
    seen: set[str] = set()
    for index, condition in enumerate(ready):
        if condition in seen:
            found.append(duplicate(f"{one}[{index}]", condition))
        seen.add(condition)
    seen_failed: set[str] = set()
    for index, condition in enumerate(failed):
        if condition in seen_failed:
            found.append(duplicate(f"{other}[{index}]", condition))
        seen_failed.add(condition)
        if condition in seen:
            found.append(
                invalid_value(
                    f"{other}[{index}]",
                    condition,
                    "bindingFailureConditions must not overlap with bindingConditions",
                )
            )
    if failed and not ready:
        found.append(
            invalid_value(
                one,
                holder.bindingConditions,
                "bindingConditions are required to use bindingFailureConditions",
            )
        )
    if ready and not failed:
        found.append(
            invalid_value(
                other,
                holder.bindingFailureConditions,
                "bindingFailureConditions are required to use bindingConditions",
            )
        )
