"""Validation of custom resources by their OpenAPI schemas, in upstream's words.

`compile_check` makes closures of a schema that answer yes or no and stop at the first wrong value: what every write pays. `findings` walks
schema and object side by side and says all that is wrong; only an object that was refused pays for it. Both read the same tables, and a property test
holds them together. An update is not refused for a part that it left as it was (ratcheting): such parts are skipped by `findings`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from lakh.machinery import dynamic, goregex, openapi_formats
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    invalid_value,
    required,
    show,
    too_long,
    too_many,
    type_invalid,
)

Raw = Mapping[str, Any]
Check = Callable[[Any], bool]

# Findings beyond this many are not looked for: an answer must stay readable.
MAX_FINDINGS = 100

_MISSING: Any = object()
_sorted_json = msgspec.json.Encoder(order="deterministic").encode


def _is_integer(value: Any) -> bool:
    return (value.__class__ is int) or (isinstance(value, float) and value.is_integer())


_TYPES: Mapping[str, Check] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
    "number": lambda value: value.__class__ is int or isinstance(value, float),
    "int-or-string": lambda value: value.__class__ is int or isinstance(value, str),
}


def _type_of(raw: Raw) -> str:
    return "int-or-string" if raw.get("x-kubernetes-int-or-string") else str(raw.get("type") or "")


def type_name(value: Any) -> str:
    """The JSON type of a value as messages name it."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer"
        case float():
            return "number"
        case list():
            return "array"
        case _:
            return "object"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# Keyword → (which values it is about, whether one breaks it, given the keyword's value and the schema).
_Rule = tuple[Callable[[Any], bool], Callable[[Any, Any, Raw], bool]]
_is_str: Check = lambda value: isinstance(value, str)  # noqa: E731
_is_list: Check = lambda value: isinstance(value, list)  # noqa: E731
_is_dict: Check = lambda value: isinstance(value, dict)  # noqa: E731

_RULES: Mapping[str, _Rule] = {
    "maxLength": (_is_str, lambda v, limit, raw: len(v) > limit),
    "minLength": (_is_str, lambda v, limit, raw: len(v) < limit),
    "pattern": (_is_str, lambda v, pattern, raw: not _matches(pattern, v)),
    "maximum": (
        _is_number,
        lambda v, limit, raw: v >= limit if raw.get("exclusiveMaximum") else v > limit,
    ),
    "minimum": (
        _is_number,
        lambda v, limit, raw: v <= limit if raw.get("exclusiveMinimum") else v < limit,
    ),
    "multipleOf": (_is_number, lambda v, factor, raw: bool(factor) and not _is_multiple(v, factor)),
    "maxItems": (_is_list, lambda v, limit, raw: len(v) > limit),
    "minItems": (_is_list, lambda v, limit, raw: len(v) < limit),
    "maxProperties": (_is_dict, lambda v, limit, raw: len(v) > limit),
    "minProperties": (_is_dict, lambda v, limit, raw: len(v) < limit),
}


def _matches(pattern: str, value: str) -> bool:
    try:
        return goregex.compiled(pattern).matches(value)
    except ValueError:
        return True


def _is_multiple(value: float, factor: float) -> bool:
    quotient = value / factor
    return abs(quotient - round(quotient)) < 1e-9


def _in_enum(value: Any, allowed: Sequence[Any]) -> bool:
    return any(dynamic.equal(value, choice) for choice in allowed)


# -- yes or no -----------------------------------------------------------------------------------------------------------------------------


def compile_check(raw: Raw) -> Check | None:
    """Whether a value is valid, as closures; None when every value is."""
    checks: list[Check] = []
    kind = _type_of(raw)
    nullable = bool(raw.get("nullable"))
    if kind in _TYPES:
        checks.append(_TYPES[kind])
    if raw.get("enum"):
        checks.append(_enum_check(raw["enum"]))
    for keyword, (about, broken) in _RULES.items():
        if raw.get(keyword) is not None:
            checks.append(_rule_check(about, broken, raw[keyword], raw))
    if raw.get("format") in openapi_formats.CHECKS:
        checks.append(_format_check(openapi_formats.CHECKS[raw["format"]]))
    checks += _junctor_checks(raw)
    if raw.get("x-kubernetes-list-type") in ("set", "map"):
        checks.append(lambda value: not isinstance(value, list) or not _duplicates(value, raw))
    if raw.get("x-kubernetes-embedded-resource"):
        checks.append(lambda value: not isinstance(value, dict) or not _embedded(value, ""))
    checks += _container_checks(raw)
    if not checks:
        return None
    if len(checks) == 1:
        only = checks[0]
        return (lambda value: value is None or only(value)) if nullable or not kind else only
    rest = tuple(checks)

    def valid(value: Any) -> bool:
        if value is None and (nullable or not kind):
            return True
        return all(check(value) for check in rest)

    return valid


def _enum_check(allowed: Sequence[Any]) -> Check:
    if all(isinstance(choice, str) for choice in allowed):
        texts = frozenset(allowed)
        return lambda value: value.__class__ is str and value in texts
    return lambda value: _in_enum(value, allowed)


def _rule_check(about: Check, broken: Callable[[Any, Any, Raw], bool], limit: Any, raw: Raw) -> Check:
    return lambda value: not about(value) or not broken(value, limit, raw)


def _format_check(good: Callable[[str], bool]) -> Check:
    return lambda value: not isinstance(value, str) or good(value)


def _junctor_checks(raw: Raw) -> list[Check]:
    checks: list[Check] = []
    any_of = [compile_check(sub) for sub in raw.get("anyOf") or ()]
    if any_of and None not in any_of:
        checks.append(lambda value: any(check(value) for check in any_of if check is not None))
    one_of = [compile_check(sub) for sub in raw.get("oneOf") or ()]
    if one_of:
        checks.append(lambda value: sum(check is None or check(value) for check in one_of) == 1)
    checks += [check for sub in raw.get("allOf") or () if (check := compile_check(sub)) is not None]
    if raw.get("not") is not None:
        refused = compile_check(raw["not"])
        checks.append(lambda value: refused is not None and not refused(value))
    return checks


def _container_checks(raw: Raw) -> list[Check]:
    checks: list[Check] = []
    needed = tuple(raw.get("required") or ())
    if needed:
        checks.append(lambda value: not isinstance(value, dict) or all(name in value for name in needed))
    below = {
        name: check
        for name, sub in (raw.get("properties") or {}).items()
        if (check := compile_check(sub)) is not None
    }
    if below:

        def properties(value: Any) -> bool:
            if isinstance(value, dict):
                for name, child in value.items():
                    check = below.get(name)
                    if check is not None and not check(child):
                        return False
            return True

        checks.append(properties)
    additional = raw.get("additionalProperties")
    if isinstance(additional, Mapping) and (of_value := compile_check(additional)) is not None:
        declared = frozenset(raw.get("properties") or ())
        checks.append(
            lambda value: (
                not isinstance(value, dict)
                or all(of_value(child) for name, child in value.items() if name not in declared)
            )
        )
    items = raw.get("items")
    if isinstance(items, Mapping) and (of_item := compile_check(items)) is not None:
        checks.append(lambda value: not isinstance(value, list) or all(map(of_item, value)))
    return checks


# -- what is wrong -------------------------------------------------------------------------------------------------------------------------


def findings(value: Any, raw: Raw, old: Any = None) -> list[FieldError]:
    """All that is wrong with a value. Parts that are as in `old` are not looked at."""
    found: list[FieldError] = []
    _walk(value, raw, "", _MISSING if old is None else old, found)
    return found


def _walk(value: Any, raw: Raw, path: str, old: Any, found: list[FieldError]) -> None:
    if len(found) >= MAX_FINDINGS or (old is not _MISSING and _same(value, old, raw)):
        return
    kind = _type_of(raw)
    if value is None and (raw.get("nullable") or not kind):
        return
    if kind in _TYPES and not _TYPES[kind](value):
        got = type_name(value)
        wanted = "integer or string" if kind == "int-or-string" else kind
        found.append(type_invalid(path, got, f"{_in_body(path)}must be of type {wanted}: {show(got)}"))
        return
    if raw.get("enum") and not _in_enum(value, raw["enum"]):
        choices = ", ".join(
            show(choice if isinstance(choice, str) else show(choice)) for choice in raw["enum"]
        )
        found.append(
            FieldError(
                "FieldValueNotSupported",
                path,
                f"Unsupported value: {show(value)}: supported values: {choices}",
            )
        )
    for keyword, (about, broken) in _RULES.items():
        limit = raw.get(keyword)
        if limit is not None and about(value) and broken(value, limit, raw):
            found.append(_broken(keyword, value, limit, raw, path))
    good = openapi_formats.CHECKS.get(raw.get("format") or "")
    if good is not None and isinstance(value, str) and not good(value):
        found.append(
            invalid_value(path, value, f"{_in_body(path)}must be of type {raw['format']}: {show(value)}")
        )
    _walk_junctors(value, raw, path, found)
    if isinstance(value, dict):
        _walk_object(value, raw, path, old, found)
    elif isinstance(value, list):
        _walk_list(value, raw, path, old, found)


def _in_body(path: str) -> str:
    return f"{path} in body "


def _number(value: Any) -> str:
    """A number as Go's `%v` prints it."""
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e6:
            return str(int(value))
        return f"{value:g}" if value.is_integer() else repr(value)
    return str(value)


def _broken(keyword: str, value: Any, limit: Any, raw: Raw, path: str) -> FieldError:
    where = _in_body(path)
    shown = (
        _number(int(limit) if isinstance(value, int) and float(limit).is_integer() else limit)
        if _is_number(limit)
        else limit
    )
    match keyword:
        case "maxLength":
            return too_long(path, int(limit))
        case "maxItems" | "maxProperties":
            return too_many(path, len(value), int(limit))
        case "minLength":
            why = f"should be at least {shown} chars long"
        case "pattern":
            why = f"should match '{limit}'"
        case "maximum":
            why = f"should be less than {'' if raw.get('exclusiveMaximum') else 'or equal to '}{shown}"
        case "minimum":
            why = f"should be greater than {'' if raw.get('exclusiveMinimum') else 'or equal to '}{shown}"
        case "multipleOf":
            why = f"should be a multiple of {shown}"
        case "minItems":
            return invalid_value(path, len(value), f"{where}should have at least {shown} items")
        case _:
            return invalid_value(path, len(value), f"{where}should have at least {shown} properties")
    return invalid_value(path, value, where + why)


def _walk_junctors(value: Any, raw: Raw, path: str, found: list[FieldError]) -> None:
    quoted = show(path)
    any_of = [findings_at(value, sub, path) for sub in raw.get("anyOf") or ()]
    if any_of and all(any_of):
        found.append(invalid_value(path, "", f"{quoted} must validate at least one schema (anyOf)"))
        found.extend(_fewest(any_of))
    one_of = [findings_at(value, sub, path) for sub in raw.get("oneOf") or ()]
    if one_of:
        valid = sum(not wrong for wrong in one_of)
        if valid != 1:
            why = "Found none valid" if not valid else f"Found {valid} valid alternatives"
            found.append(
                invalid_value(path, "", f"{quoted} must validate one and only one schema (oneOf). {why}")
            )
            if not valid:
                found.extend(_fewest(one_of))
    all_of = [findings_at(value, sub, path) for sub in raw.get("allOf") or ()]
    if any(all_of):
        for wrong in all_of:
            found.extend(wrong)
        none = ". None validated" if all(all_of) else ""
        found.append(invalid_value(path, "", f"{quoted} must validate all the schemas (allOf){none}"))
    refused = raw.get("not")
    if refused is not None and not findings_at(value, refused, path):
        found.append(invalid_value(path, "", f"{quoted} must not validate the schema (not)"))


def _fewest(alternatives: list[list[FieldError]]) -> list[FieldError]:
    """What is wrong by the alternative that comes closest."""
    return min(alternatives, key=lambda wrong: len(wrong))


def findings_at(value: Any, raw: Raw, path: str) -> list[FieldError]:
    """All that is wrong with a value at a path."""
    found: list[FieldError] = []
    _walk(value, raw, path, _MISSING, found)
    return found


def _walk_object(value: dict[str, Any], raw: Raw, path: str, old: Any, found: list[FieldError]) -> None:
    before = old if isinstance(old, dict) else {}
    for name in raw.get("required") or ():
        if name not in value:
            found.append(required(f"{path}.{name}" if path else name))
    properties: Raw = raw.get("properties") or {}
    additional = raw.get("additionalProperties")
    for name, child in value.items():
        sub = properties.get(name)
        if sub is None and isinstance(additional, Mapping):
            sub = additional
        if sub is not None:
            _walk(child, sub, f"{path}.{name}" if path else name, before.get(name, _MISSING), found)
    if raw.get("x-kubernetes-embedded-resource"):
        found.extend(_embedded(value, path))


def _walk_list(value: list[Any], raw: Raw, path: str, old: Any, found: list[FieldError]) -> None:
    items = raw.get("items")
    if isinstance(items, Mapping):
        past = correlator(raw, old)
        for index, child in enumerate(value):
            _walk(child, items, f"{path}[{index}]", past(child), found)
    for index, key in _duplicates(value, raw)[:MAX_FINDINGS]:
        found.append(duplicate(f"{path}[{index}]", key))


def correlator(raw: Raw, old: Any) -> Callable[[Any], Any]:
    """What an item of a list map was before, by its keys; items of other lists have no past. Looks at the old list once."""
    keys = raw.get("x-kubernetes-list-map-keys")
    if raw.get("x-kubernetes-list-type") != "map" or not keys or not isinstance(old, list):
        return lambda item: _MISSING
    before: dict[bytes, Any] = {}
    for item in old:
        if isinstance(item, dict):
            before.setdefault(_key_of(item, keys), item)
    return lambda item: before.get(_key_of(item, keys), _MISSING) if isinstance(item, dict) else _MISSING


def _same(value: Any, old: Any, raw: Raw) -> bool:
    """Whether a value is what it was; the items of a list map may have changed places (upstream's CorrelatedObject.CachedDeepEqual)."""
    if dynamic.equal(value, old):
        return True
    if isinstance(value, list) and isinstance(old, list):
        items = raw.get("items")
        if len(value) != len(old) or not isinstance(items, Mapping):
            return False
        if raw.get("x-kubernetes-list-type") == "map":
            past = correlator(raw, old)
            return all((was := past(item)) is not _MISSING and _same(item, was, items) for item in value)
        return all(_same(item, was, items) for item, was in zip(value, old, strict=True))
    if isinstance(value, dict) and isinstance(old, dict) and value.keys() == old.keys():
        properties: Raw = raw.get("properties") or {}
        rest = raw.get("additionalProperties")
        below = {n: properties.get(n) or (rest if isinstance(rest, Mapping) else {}) for n in value}
        return all(_same(value[n], old[n], below[n]) for n in value)
    return False


def _key_of(item: dict[str, Any], keys: Sequence[str]) -> bytes:
    return _sorted_json([item.get(name) for name in keys])


def is_missing(value: Any) -> bool:
    """Whether a `correlator` found nothing."""
    return value is _MISSING


def _duplicates(value: list[Any], raw: Raw) -> list[tuple[int, Any]]:
    """Positions and keys of the items that a set or list map has twice."""
    found: list[tuple[int, Any]] = []
    kind = raw.get("x-kubernetes-list-type")
    if kind not in ("set", "map"):
        return found
    seen: set[bytes] = set()
    keys = raw.get("x-kubernetes-list-map-keys") or ()
    for index, item in enumerate(value):
        key = item
        if kind == "map":
            if not isinstance(item, dict):
                continue
            key = {name: item[name] for name in keys if name in item}
        text = _sorted_json(key)
        if text in seen:
            found.append((index, key))
        seen.add(text)
    return found


def _embedded(value: dict[str, Any], path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for name in ("apiVersion", "kind"):
        if not value.get(name):
            found.append(required(f"{path}.{name}", "must not be empty"))
    return found
