"""What a CustomResourceDefinition's schema must be: structural, in upstream's words.

Two walks over the schema: `_places` goes down what there is (properties, items, additional properties) and asks each place for a type and for
extensions that fit; `_logic` goes through `allOf`, `anyOf`, `oneOf` and `not`, which may only restrict values. Defaults are checked last, by the
compiled schema itself, and then the CEL rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lakh.machinery import dynamic, goregex, openapi_formats, rule_checks, rules, structural_validation
from lakh.machinery.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    type_invalid,
)
from lakh.machinery.structural import Structural, StructuralNode

Raw = Mapping[str, Any]

TYPES = ("array", "boolean", "integer", "number", "object", "string")
_MAX_DEPTH = 100

# What a structural schema cannot say, with upstream's reasons.
_UNSUPPORTED: Mapping[str, str] = {
    "$ref": "$ref is not supported",
    "additionalItems": "additionalItems is not supported",
    "definitions": "definitions is not supported",
    "dependencies": "dependencies is not supported",
    "id": "id is not supported",
    "patternProperties": "patternProperties is not supported",
}
# What logic may not say: it would add to the structure.
_NOT_IN_LOGIC: Mapping[str, str] = {
    "type": "must be empty to be structural",
    "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural",
    "title": "must be empty to be structural",
    "description": "must be empty to be structural",
    "nullable": "must be false to be structural",
    "externalDocs": "must be undefined to be structural",
    "x-kubernetes-preserve-unknown-fields": "must be false to be structural",
    "x-kubernetes-embedded-resource": "must be false to be structural",
    "x-kubernetes-int-or-string": "must be false to be structural",
    "x-kubernetes-list-map-keys": "must be empty to be structural",
    "x-kubernetes-list-type": "must be undefined to be structural",
    "x-kubernetes-map-type": "must be undefined to be structural",
    "x-kubernetes-validations": "must be empty to be structural",
}
# What each keyword's value must be; keywords that are not here mean nothing.
_TEXTS = (
    "description",
    "title",
    "type",
    "format",
    "pattern",
    "$ref",
    "id",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
)
_FLAGS = (
    "nullable",
    "uniqueItems",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
)
_COUNTS = ("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties")
_NUMBERS = ("maximum", "minimum", "multipleOf")
_SCHEMA_LISTS = ("allOf", "anyOf", "oneOf")
_KEYWORDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(_TEXTS, (str,)),
    **dict.fromkeys(_FLAGS, (bool,)),
    **dict.fromkeys(_COUNTS, (int,)),
    **dict.fromkeys(_NUMBERS, (int, float)),
    **dict.fromkeys((*_SCHEMA_LISTS, "enum", "required", "x-kubernetes-list-map-keys", rules.KEY), (list,)),
    "properties": (dict,),
    "items": (dict, list),
    "additionalProperties": (dict, bool),
    "not": (dict,),
}
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]


def validate(raw: Raw, path: str, *, has_status: bool = False, unchanged: bool = False) -> list[FieldError]:
    """All findings on the schema of a version. Defaults and rules are looked at when nothing else is wrong; rules of an `unchanged` schema stay
    accepted whatever they cost."""
    found: list[FieldError] = []
    if has_status:
        _root_of_status(raw, path, found)
    if raw.get("nullable"):
        found.append(forbidden_field(f"{path}.nullable", "nullable cannot be true at the root"))
    _place(raw, path, "root", found, 0)
    if found:
        return sorted(found, key=str)
    _defaults(raw, path, "", found)
    found += rule_checks.check(raw, path, compiled_before=unchanged)
    return found


def collect_warnings(raw: Raw, formats: list[str], sets: set[str], depth: int = 0) -> None:
    """What upstream warns of when a definition is made."""
    form, kind = raw.get("format"), raw.get("type") or ""
    if isinstance(form, str) and form and not _is_known_format(form, kind):
        formats.append(f'unrecognized format "{form}"')
    items = raw.get("items")
    of = items.get("type") if isinstance(items, Mapping) else None
    if raw.get("x-kubernetes-list-type") == "set" and of in ("object", "array"):
        sets.add(
            f'x-kubernetes-list-type: set for items of type "{of}" is not supported by server-side apply or CEL validation rules'
        )
    if depth < _MAX_DEPTH:
        for _, sub in (*((w, s) for w, s, _ in _below(raw)), *((w, s) for w, s, _ in _branches(raw))):
            collect_warnings(sub, formats, sets, depth + 1)


def _is_known_format(form: str, kind: str) -> bool:
    match kind:
        case "" | "string":
            return form.replace("-", "") in _FORMATS
        case "integer":
            return form in ("int32", "int64")
        case "number":
            return form in ("float", "double")
    return False


_FORMATS = frozenset(name.replace("-", "") for name in (*openapi_formats.CHECKS, "password"))

# What may stand at the root when status is a subresource: status is then looked at by itself.
_ROOT_WITH_STATUS = (
    "Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems "
    "UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations"
)
_ROOT_KEYWORDS = frozenset(
    f"x-kubernetes-{'preserve-unknown-fields' if name == 'XPreserveUnknownFields' else 'validations'}"
    if name.startswith("X")
    else name[0].lower() + name[1:]
    for name in _ROOT_WITH_STATUS.split()
)


def _root_of_status(raw: Raw, path: str, found: list[FieldError]) -> None:
    kind = raw.get("type")
    if kind and kind != "object":
        found.append(
            invalid_value(
                f"{path}.type",
                kind,
                'only "object" is allowed as the type at the root of the schema if the status subresource is enabled',
            )
        )
    if any(value and name not in _ROOT_KEYWORDS for name, value in raw.items()):
        found.append(
            invalid_value(
                path,
                raw,
                f"only [{_ROOT_WITH_STATUS}] fields are allowed at the root of the schema if the status subresource is enabled",
            )
        )


def _place(raw: Raw, path: str, level: str, found: list[FieldError], depth: int) -> None:
    if depth > _MAX_DEPTH:
        found.append(forbidden_field(path, "the schema is nested too deeply"))
        return
    if _malformed(raw, path, found):
        return
    _unsupported(raw, path, found)
    _type(raw, path, level, found)
    _extensions(raw, path, found)
    _lists(raw, path, found)
    additional = raw.get("additionalProperties")
    properties: Raw = raw.get("properties") or {}
    if level == "root" and additional is not None:
        found.append(forbidden_field(f"{path}.additionalProperties", "must not be used at the root"))
    elif additional is False:
        found.append(
            forbidden_field(f"{path}.additionalProperties", "additionalProperties cannot be set to false")
        )
    if additional is not None and raw.get("x-kubernetes-embedded-resource"):
        found.append(
            forbidden_field(
                f"{path}.additionalProperties",
                "must not be used if x-kubernetes-embedded-resource is set",
            )
        )
    if isinstance(additional, Mapping) and properties:
        found.append(
            forbidden_field(
                f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive"
            )
        )
    if level == "root" or raw.get("x-kubernetes-embedded-resource"):
        _type_meta(properties, path, level == "root", found)
    pattern = raw.get("pattern")
    if isinstance(pattern, str) and pattern:
        try:
            goregex.compiled(pattern)
        except ValueError as e:
            found.append(
                invalid_value(
                    f"{path}.pattern", pattern, f"must be a valid regular expression, but isn't: {e}"
                )
            )
    for where, sub, skip in _branches(raw):
        _logic(sub, raw, f"{path}.{where}", skip, found, depth + 1)
    for where, sub, below in _below(raw):
        _place(sub, f"{path}.{where}", below, found, depth + 1)


def _malformed(raw: Raw, path: str, found: list[FieldError]) -> bool:
    """Reports keywords whose values are of a type that they cannot have."""
    before = len(found)
    for keyword, value in raw.items():
        wanted = _KEYWORDS.get(keyword)
        if wanted is None or value is None:
            continue
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            found.append(type_invalid(f"{path}.{keyword}", value, f"must be of type {_type_names(wanted)}"))
            continue
        given: Any = value
        parts: Iterable[Any] = ()
        kind: type = dict
        if keyword in _SCHEMA_LISTS or keyword == rules.KEY:
            parts = given
        elif keyword == "properties":
            parts = given.values()
        elif keyword in ("required", "x-kubernetes-list-map-keys"):
            parts, kind = given, str
        for index, part in enumerate(parts):
            if not isinstance(part, kind):
                found.append(
                    type_invalid(
                        f"{path}.{keyword}[{index}]", part, f"must be of type {_type_names((kind,))}"
                    )
                )
    return len(found) > before


def _type_names(types: tuple[type, ...]) -> str:
    names = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
    return " or ".join(names[t] for t in types)


def _below(raw: Raw) -> Iterator[tuple[str, Raw, str]]:
    for name, sub in (raw.get("properties") or {}).items():
        if isinstance(sub, Mapping):
            yield f"properties[{name}]", sub, "field"
    if isinstance(raw.get("additionalProperties"), Mapping):
        yield "additionalProperties", raw["additionalProperties"], "field"
    if isinstance(raw.get("items"), Mapping):
        yield "items", raw["items"], "item"


def _branches(raw: Raw) -> Iterator[tuple[str, Raw, bool]]:
    """The parts of the logic: path, schema, and whether it is the one pattern that may have types."""
    is_union = bool(raw.get("x-kubernetes-int-or-string"))
    for keyword in ("allOf", "anyOf", "oneOf"):
        branches = raw.get(keyword) or ()
        skip_all = is_union and keyword == "anyOf" and list(branches) == _INT_OR_STRING
        for index, sub in enumerate(branches):
            first = keyword == "allOf" and index == 0 and is_union
            if isinstance(sub, Mapping) and not skip_all:
                yield f"{keyword}[{index}]", sub, first and list(sub.get("anyOf") or ()) == _INT_OR_STRING
    if isinstance(raw.get("not"), Mapping):
        yield "not", raw["not"], False


def _logic(raw: Raw, spine: Raw, path: str, skip: bool, found: list[FieldError], depth: int) -> None:
    if depth > _MAX_DEPTH:
        found.append(forbidden_field(path, "the schema is nested too deeply"))
        return
    if _malformed(raw, path, found):
        return
    _unsupported(raw, path, found)
    for keyword, why in _NOT_IN_LOGIC.items():
        if raw.get(keyword) or (
            keyword in ("default", "additionalProperties") and raw.get(keyword) is not None
        ):
            found.append(forbidden_field(f"{path}.{keyword}", why))
    properties: Raw = raw.get("properties") or {}
    if "metadata" in properties:
        found.append(
            forbidden_field(f"{path}.properties[metadata]", "must not be specified in a nested context")
        )
    declared: Raw = spine.get("properties") or {}
    for name, sub in properties.items():
        if not isinstance(sub, Mapping):
            continue
        where = f"{path}.properties[{name}]"
        if name not in declared and not isinstance(spine.get("additionalProperties"), Mapping):
            if not spine.get("x-kubernetes-preserve-unknown-fields"):
                found.append(required(_on_spine(where), f"because it is defined in {where}"))
            below: Raw = {}
        else:
            below = declared.get(name) or spine["additionalProperties"]
        _logic(
            sub,
            below if below else {"x-kubernetes-preserve-unknown-fields": True},
            where,
            False,
            found,
            depth + 1,
        )
    items = raw.get("items")
    if isinstance(items, Mapping):
        _logic(items, spine.get("items") or {}, f"{path}.items", False, found, depth + 1)
    if not skip:
        for where, sub, first in _branches(raw):
            _logic(sub, spine, f"{path}.{where}", first, found, depth + 1)


def _on_spine(path: str) -> str:
    """The path of a place without the logic on the way to it."""
    return ".".join(
        part
        for part in path.split(".")
        if not part.startswith(("allOf[", "anyOf[", "oneOf[")) and part != "not"
    )


def _unsupported(raw: Raw, path: str, found: list[FieldError]) -> None:
    for keyword, why in _UNSUPPORTED.items():
        if raw.get(keyword):
            found.append(forbidden_field(f"{path}.{keyword}", why))
    if raw.get("uniqueItems"):
        found.append(
            forbidden_field(
                f"{path}.uniqueItems",
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            )
        )
    if isinstance(raw.get("items"), list):
        found.append(forbidden_field(f"{path}.items", "items must be a schema object and not an array"))
    if raw.get("type") == "null":
        found.append(
            forbidden_field(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
        )


def _type(raw: Raw, path: str, level: str, found: list[FieldError]) -> None:
    kind, at = raw.get("type") or "", f"{path}.type"
    union, preserve = raw.get("x-kubernetes-int-or-string"), raw.get("x-kubernetes-preserve-unknown-fields")
    if raw.get("x-kubernetes-embedded-resource") and kind != "object":
        why = "must be object if x-kubernetes-embedded-resource is true"
        found.append(invalid_value(at, kind, why) if kind else required(at, why))
    elif not kind and not union and (not preserve or level == "root"):
        place = {
            "root": "at the root",
            "item": "for specified array items",
            "field": "for specified object fields",
        }[level]
        found.append(required(at, f"must not be empty {place}"))
    elif kind and kind not in (*TYPES, "null"):
        found.append(not_supported(at, kind, TYPES))
    elif level == "root" and kind and kind != "object":
        found.append(invalid_value(at, kind, "must be object at the root"))
    if union and kind:
        found.append(invalid_value(at, kind, "must be empty if x-kubernetes-int-or-string is true"))
    if kind == "array" and raw.get("items") is None:
        found.append(required(f"{path}.items", "must be specified"))


def _extensions(raw: Raw, path: str, found: list[FieldError]) -> None:
    preserve, union = raw.get("x-kubernetes-preserve-unknown-fields"), raw.get("x-kubernetes-int-or-string")
    if preserve is False:
        found.append(
            invalid_value(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
        )
    if union and preserve:
        found.append(
            invalid_value(
                f"{path}.x-kubernetes-preserve-unknown-fields",
                True,
                "must be false if x-kubernetes-int-or-string is true",
            )
        )
    if union and raw.get("x-kubernetes-embedded-resource"):
        found.append(
            invalid_value(
                f"{path}.x-kubernetes-embedded-resource",
                True,
                "must be false if x-kubernetes-int-or-string is true",
            )
        )
    if raw.get("x-kubernetes-embedded-resource") and not preserve and not raw.get("properties"):
        found.append(
            required(
                f"{path}.properties",
                "must not be empty if x-kubernetes-embedded-resource is true without "
                "x-kubernetes-preserve-unknown-fields",
            )
        )
    map_type = raw.get("x-kubernetes-map-type")
    if map_type is not None:
        if map_type not in ("atomic", "granular"):
            found.append(not_supported(f"{path}.x-kubernetes-map-type", map_type, ("atomic", "granular")))
        _need_type(
            raw, "object", f"{path}.type", "must be object if x-kubernetes-map-type is specified", found
        )


def _need_type(raw: Raw, wanted: str, path: str, why: str, found: list[FieldError]) -> None:
    kind = raw.get("type") or ""
    if kind != wanted:
        found.append(invalid_value(path, kind, why) if kind else required(path, why))


def _lists(raw: Raw, path: str, found: list[FieldError]) -> None:
    kind, keys = raw.get("x-kubernetes-list-type"), list(raw.get("x-kubernetes-list-map-keys") or ())
    if kind is not None:
        if kind not in ("atomic", "set", "map"):
            choices = ("atomic", "set", "map")
            found.append(not_supported(f"{path}.x-kubernetes-list-type", kind, choices, as_given=True))
        _need_type(
            raw, "array", f"{path}.type", "must be array if x-kubernetes-list-type is specified", found
        )
    items: Raw = raw["items"] if isinstance(raw.get("items"), Mapping) else {}
    if kind == "set" and items.get("type") in ("object", "array"):
        atomic = items.get("x-kubernetes-list-type", items.get("x-kubernetes-map-type"))
        if atomic != "atomic":
            keyword = "x-kubernetes-map-type" if items["type"] == "object" else "x-kubernetes-list-type"
            found.append(
                invalid_value(
                    f"{path}.items.{keyword}",
                    atomic,
                    "must be atomic as item of a list with x-kubernetes-list-type=set",
                )
            )
    if kind in ("set", "map") and items.get("nullable"):
        found.append(
            forbidden_field(
                f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {kind}"
            )
        )
    if keys and kind != "map":
        why = "must be map if x-kubernetes-list-map-keys is non-empty"
        at = f"{path}.x-kubernetes-list-type"
        found.append(invalid_value(at, kind, why) if kind else required(at, why))
    if kind != "map":
        return
    if not keys:
        found.append(
            required(
                f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map"
            )
        )
    if not items:
        found.append(required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map"))
        return
    if items.get("type") != "object":
        found.append(
            invalid_value(
                f"{path}.items.type",
                items.get("type") or "",
                "must be object if parent array's x-kubernetes-list-type is map",
            )
        )
    _map_keys(keys, items, path, found)


def _map_keys(keys: list[Any], items: Raw, path: str, found: list[FieldError]) -> None:
    properties: Raw = items.get("properties") or {}
    at_keys = f"{path}.x-kubernetes-list-map-keys"
    for index, key in enumerate(keys):
        sub = properties.get(key)
        if not isinstance(sub, Mapping):
            found.append(invalid_value(at_keys, keys, "entries must all be names of item properties"))
        elif sub.get("type") in ("object", "array"):
            found.append(
                invalid_value(
                    f"{path}.items.properties[{key}].type",
                    items.get("type") or "",
                    "must be a scalar type if parent array's x-kubernetes-list-type is map",
                )
            )
        if key in keys[:index]:
            found.append(invalid_value(at_keys, keys, "must not contain duplicate entries"))
    for key in keys:
        sub, at = properties.get(key), f"{path}.items.properties[{key}]"
        if not isinstance(sub, Mapping):
            continue
        if key not in (items.get("required") or ()) and sub.get("default") is None:
            found.append(
                required(
                    f"{at}.default",
                    "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
                )
            )
        if sub.get("nullable"):
            found.append(
                forbidden_field(
                    f"{at}.nullable",
                    "this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
                )
            )


def _type_meta(properties: Raw, path: str, is_root: bool, found: list[FieldError]) -> None:
    for name in ("kind", "apiVersion"):
        sub = properties.get(name)
        if isinstance(sub, Mapping) and sub.get("type") != "string":
            found.append(
                invalid_value(f"{path}.properties[{name}].type", sub.get("type") or "", "must be string")
            )
    metadata = properties.get("metadata")
    if not isinstance(metadata, Mapping):
        return
    at = f"{path}.properties[metadata]"
    if metadata.get("type") != "object":
        found.append(invalid_value(f"{at}.type", metadata.get("type") or "", "must be object"))
    extra = set(metadata.get("properties") or ()) - {"name", "generateName"}
    # Defaults are looked at elsewhere.
    shape = {k for k, v in metadata.items() if v and k not in ("type", "properties", "default")}
    if is_root and (extra or shape):
        found.append(
            forbidden_field(
                at,
                "must not specify anything other than name and generateName, but metadata is implicitly specified",
            )
        )


def _defaults(
    raw: Raw,
    path: str,
    forbidden: str,
    found: list[FieldError],
    level: str = "root",
    in_metadata: bool = False,
) -> None:
    """`forbidden` says why there must be no default: in metadata they would be of what every object has. `in_metadata`: of an embedded object, where
    what is unknown goes anyway."""
    default = raw.get("default")
    if default is not None and forbidden:
        found.append(forbidden_field(f"{path}.default", f"must not be set {forbidden}"))
    elif default is not None:
        at = f"{path}.default"
        pruned = dynamic.clone(default)
        part = Structural({"type": "object", "properties": {"v": raw}}, _NO_METADATA)
        part.prune(holder := {"v": pruned})
        if holder["v"] != default and not in_metadata:
            found.append(invalid_value(at, default, "must not have unknown fields"))
        part.default(holder)
        found += structural_validation.findings_at(holder["v"], raw, at)
    for where, sub, _ in _below(raw):
        why = forbidden
        name = where.removeprefix("properties[").removesuffix("]")
        if level == "root" and where.startswith("properties[") and name in _META:
            why = f"in top-level {name}"
        inside = in_metadata or (
            where == "properties[metadata]" and bool(raw.get("x-kubernetes-embedded-resource"))
        )
        _defaults(sub, f"{path}.{where}", why, found, "below", inside)


_META = ("metadata", "kind", "apiVersion")
_NO_METADATA = StructuralNode({"type": "object"})
