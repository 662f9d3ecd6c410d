"""Object metadata: what upstream's `apimachinery/pkg/api/validation` checks on every object, and small rules shared by all kinds.

Findings are `FieldError`s with upstream's fields and wordings. The strings of labels, annotations and owner references come again and again
(every pod of a Job carries the same ones), so their rules are memoised in bounded caches: a known string costs 0.1 µs. Names are mostly
unique and are checked each time. Paths of fields are put together only when there is something to report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from lakh.machinery import names
from lakh.machinery.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    show,
    too_long,
)
from lakh.machinery.schema import Node, attribute_name
from lakh.machinery.shortcache import short_cache

NameRule = Callable[[str], list[str]]

TOTAL_ANNOTATION_SIZE_LIMIT_BYTES = 256 * 1024
# Labels, annotation keys, finalizers: a cluster has some thousands of distinct ones; 64 Ki of them are a few MB.
STRING_CACHE_SIZE = 65_536
MAX_DRIVER_NAME_BYTES = 63

IMMUTABLE = "field is immutable"
NON_NEGATIVE = "must be greater than or equal to 0"

# Of metadata, what no update changes.
_SETTLED_NAMES = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
_SETTLED = attrgetter(*_SETTLED_NAMES)
_STANDARD_FINALIZERS = frozenset(("kubernetes", "orphan", "foregroundDeletion"))


def memoised(rule: NameRule) -> Callable[[str], tuple[str, ...]]:
    """A string rule with a bounded cache; its messages as a tuple, so that nobody can change them."""

    @short_cache(STRING_CACHE_SIZE)
    def cached(value: str) -> tuple[str, ...]:
        return tuple(rule(value))

    return cached


check_label_key = memoised(names.qualified_name)
check_label_value = memoised(names.label_value)
check_annotation_key = memoised(lambda key: names.qualified_name(key.lower()))
check_dns_label = memoised(names.dns_label)
check_dns_subdomain = memoised(names.dns_subdomain)


def validate_driver_name(name: str | None, path: str, found: list[FieldError]) -> None:
    """A storage or device driver's name: a subdomain in any case."""
    if not name:
        found.append(required(path))
        return
    if len(name) > MAX_DRIVER_NAME_BYTES:
        found.append(too_long(path, MAX_DRIVER_NAME_BYTES))
    report(check_dns_subdomain(name.lower()), path, name, found)


def validate_object_meta(
    meta: Any,
    *,
    namespaced: bool,
    name_rule: NameRule,
    path: str = "metadata",
    any_finalizer: bool = False,
    stored: Any = None,
) -> list[FieldError]:
    """All findings on the metadata of an object; 2 µs for a usual one. `any_finalizer`: they need no domain.

    `stored`: the metadata of the object that it is an update of, whose names were looked at when it was created.
    """
    found: list[FieldError] = []
    if meta.generateName and (stored is None or meta.generateName != stored.generateName):
        for message in name_rule(names.mask_trailing_dash(meta.generateName)):
            found.append(invalid_value(f"{path}.generateName", meta.generateName, message))
    if not meta.name:
        found.append(required(f"{path}.name", "name or generateName is required"))
    elif stored is None or meta.name != stored.name:
        for message in name_rule(meta.name):
            found.append(invalid_value(f"{path}.name", meta.name, message))
    if namespaced:
        if not meta.namespace:
            found.append(required(f"{path}.namespace"))
        else:
            for message in check_dns_label(meta.namespace):
                found.append(invalid_value(f"{path}.namespace", meta.namespace, message))
    elif meta.namespace:
        found.append(forbidden_field(f"{path}.namespace", "not allowed on this type"))
    if meta.generation is not None and meta.generation < 0:
        found.append(invalid_value(f"{path}.generation", meta.generation, NON_NEGATIVE))
    _validate_common(meta, path, found, any_finalizer)
    return found


def _validate_common(meta: Any, path: str, found: list[FieldError], any_finalizer: bool) -> None:
    if meta.labels:
        validate_labels(meta.labels, f"{path}.labels", found)
    if meta.annotations:
        validate_annotations(meta.annotations, f"{path}.annotations", found)
    if meta.ownerReferences:
        validate_owner_references(meta.ownerReferences, f"{path}.ownerReferences", found)
    if meta.finalizers:
        _validate_finalizers(meta.finalizers, f"{path}.finalizers", found, any_finalizer)


def validate_object_meta_update(
    new: Any, old: Any, path: str = "metadata", *, any_finalizer: bool = False, common: bool = True
) -> list[FieldError]:
    """All findings on the metadata of an update. The resource version is the server's business. `common` False: labels and the like
    were looked at, and nothing was found."""
    found: list[FieldError] = []
    if old.deletionTimestamp and new.finalizers and new.finalizers != old.finalizers:
        added = sorted(set(new.finalizers) - set(old.finalizers or ()))
        if added:
            found.append(
                forbidden_field(
                    f"{path}.finalizers",
                    "no new finalizers can be added if the object is being deleted, found new finalizers "
                    f"[]string{{{', '.join(chr(34) + name + chr(34) for name in added)}}}",
                )
            )
    if (new.generation or 0) < (old.generation or 0):
        found.append(invalid_value(f"{path}.generation", new.generation or 0, "must not be decremented"))
    if _SETTLED(new) != _SETTLED(old):
        for name in _SETTLED_NAMES:
            value = getattr(new, name)
            if value != getattr(old, name):
                found.append(invalid_value(f"{path}.{name}", value, IMMUTABLE))
    if common:
        _validate_common(new, path, found, any_finalizer)
    return found


def validate_labels(labels: Mapping[str, str], path: str, found: list[FieldError]) -> None:
    """Labels: qualified names with label values."""
    for key, value in labels.items():
        for message in check_label_key(key):
            found.append(invalid_value(path, key, message))
        if value:
            for message in check_label_value(value):
                found.append(invalid_value(path, value, message))


def validate_annotations(annotations: Mapping[str, str], path: str, found: list[FieldError]) -> None:
    """Annotations: qualified names in any case, with a limit on the total size."""
    size = 0
    for key, value in annotations.items():
        for message in check_annotation_key(key):
            found.append(invalid_value(path, key, message))
        if value:
            size += len(value) if value.isascii() else len(value.encode())
        size += len(key)
    if size > TOTAL_ANNOTATION_SIZE_LIMIT_BYTES:
        found.append(too_long(path, TOTAL_ANNOTATION_SIZE_LIMIT_BYTES))


def validate_owner_references(references: Sequence[Any], path: str, found: list[FieldError]) -> None:
    """Owners: complete references, one controller at most, and no events."""
    controller = ""
    for index, ref in enumerate(references):
        version = ref.apiVersion or ""
        if not version or version.endswith("/"):
            found.append(invalid_value(f"{path}[{index}].apiVersion", version, "version must not be empty"))
        for name in ("kind", "name", "uid"):
            if not getattr(ref, name):
                found.append(invalid_value(f"{path}[{index}].{name}", "", "must not be empty"))
        if version == "v1" and ref.kind == "Event":
            found.append(
                invalid_value(f"{path}[{index}]", ref, "/v1, Kind=Event is disallowed from being an owner")
            )
        if ref.controller:
            if controller:
                found.append(
                    invalid_value(
                        path,
                        references,
                        'Only one reference can have Controller set to true. Found "true" in references for '
                        f"{controller} and {ref.name}",
                    )
                )
            else:
                controller = ref.name or ""


@short_cache(STRING_CACHE_SIZE)
def check_finalizer(name: str) -> tuple[str, ...]:
    """Messages of what is wrong with the name of a finalizer: qualified, or one of the standard ones."""
    messages = names.qualified_name(name)
    if "/" not in name and name not in _STANDARD_FINALIZERS:
        messages.append("name is neither a standard finalizer name nor is it fully qualified")
    return tuple(messages)


def _validate_finalizers(
    finalizers: Sequence[str], path: str, found: list[FieldError], any_finalizer: bool
) -> None:
    rule = check_label_key if any_finalizer else check_finalizer
    for index, name in enumerate(finalizers):
        for message in rule(name):
            found.append(invalid_value(f"{path}[{index}]", name, message))
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        found.append(
            invalid_value(path, finalizers, "finalizer orphan and foregroundDeletion cannot be both set")
        )


def validate_label_selector(selector: Any, path: str) -> list[FieldError]:
    """All findings on a `metav1.LabelSelector`; None is fine."""
    found: list[FieldError] = []
    if selector is None:
        return found
    if selector.matchLabels:
        validate_labels(selector.matchLabels, f"{path}.matchLabels", found)
    for index, expression in enumerate(selector.matchExpressions or ()):
        where = f"{path}.matchExpressions[{index}]"
        values = expression.values or ()
        if expression.operator in ("In", "NotIn"):
            if not values:
                found.append(
                    required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'")
                )
        elif expression.operator in ("Exists", "DoesNotExist"):
            if values:
                found.append(
                    forbidden_field(
                        f"{where}.values",
                        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    )
                )
        else:
            found.append(
                invalid_value(f"{where}.operator", expression.operator or "", "not a valid selector operator")
            )
        for message in check_label_key(expression.key or ""):
            found.append(invalid_value(f"{where}.key", expression.key or "", message))
        for value_index, value in enumerate(values):
            for message in check_label_value(value):
                found.append(invalid_value(f"{where}.values[{value_index}]", value, message))
    return found


def is_empty_selector(selector: Any) -> bool:
    """Whether a `metav1.LabelSelector` is absent or says nothing."""
    return selector is None or (not selector.matchLabels and not selector.matchExpressions)


def same(new: Any, old: Any) -> bool:
    """Whether two values mean the same: absent, empty text, an empty list and an empty map are one, as in Go's semantic equality."""
    return bool(new == old) or _without_empty(new) == _without_empty(old)


def spec_difference(new: Any, old: Any) -> str:
    """What differs between two Structs of a type: a line for each field before (`-`) and after (`+`)."""
    lines: list[str] = []
    for name in old.__struct_fields__:
        before, after = getattr(old, name), getattr(new, name)
        if not same(after, before):
            lines.append(f"- \t{name}: {show(msgspec.to_builtins(before))},")
            lines.append(f"+ \t{name}: {show(msgspec.to_builtins(after))},")
    return "\n".join(lines)


def _without_empty(value: Any) -> Any:
    """A value as plain JSON, `None` for everything empty."""
    if isinstance(value, msgspec.Struct):
        value = {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, dict):
        kept = ((key, _without_empty(item)) for key, item in value.items())
        return {key: item for key, item in kept if item is not None} or None
    if isinstance(value, list | tuple):
        return [_without_empty(item) for item in value] or None
    return None if value == "" else value


def immutable(new: Any, old: Any, path: str, found: list[FieldError]) -> None:
    """Reports a field that an update changed."""
    if not same(new, old):
        found.append(invalid_value(path, new, IMMUTABLE))


def non_negative(value: int | None, path: str, found: list[FieldError]) -> None:
    """Reports a number below zero."""
    if value is not None and value < 0:
        found.append(invalid_value(path, value, NON_NEGATIVE))


def one_of(value: str | None, supported: Sequence[str], path: str, found: list[FieldError]) -> None:
    """Reports a value outside an enumeration; absent is required."""
    if not value:
        found.append(required(path))
    elif value not in supported:
        found.append(not_supported(path, value, supported))


def report(messages: Sequence[str], path: str, value: Any, found: list[FieldError]) -> None:
    """Reports each message of a string rule as an invalid value."""
    for message in messages:
        found.append(invalid_value(path, value, message))


# definition → what to look at: attribute, JSON name, whether it must be there, and the node below to walk (None: nothing there).
_Plan = tuple[tuple[str, str, bool, Node | None], ...]


@lru_cache(maxsize=2048)
def _plan(node: Node) -> _Plan:
    steps: list[tuple[str, str, bool, Node | None]] = []
    for name, child in node.fields():
        # Zero is a value: an absent number or boolean is never missing.
        needed = name in node.required and child.type in ("string", "struct", "list", "map")
        below = child
        while below.type in ("list", "map"):
            below = below.element
        walk = child if below.type == "struct" else None
        if needed or walk is not None:
            steps.append((attribute_name(name), name, needed, walk))
    return tuple(steps)


def required_fields(obj: Any, node: Node, path: str = "") -> list[FieldError]:
    """Every field that the schema requires and the object lacks; for kinds without a validation of their own.

    Metadata and status are left out: others look after them. An empty string is missing, an empty list is not.
    """
    found: list[FieldError] = []
    for attribute, name, needed, walk in _plan(node):
        if not path and name in ("metadata", "status"):
            continue
        value = getattr(obj, attribute)
        where = f"{path}.{name}" if path else name
        if value is None or value == "":
            if needed:
                found.append(required(where))
        elif walk is not None:
            _walk(value, walk, where, found)
    return found


def _walk(value: Any, node: Node, path: str, found: list[FieldError]) -> None:
    if node.type == "list":
        for index, item in enumerate(value):
            _walk(item, node.element, f"{path}[{index}]", found)
    elif node.type == "map":
        for key, item in value.items():
            _walk(item, node.element, f"{path}[{key}]", found)
    elif node.type == "struct" and value is not None:
        found.extend(required_fields(value, node, path))
