"""From Kubernetes' definitions in JSON-schema form back to OpenAPI schemas, as kube-apiserver serves them.

The package that carries the definitions made them stricter for validators: every optional field may be null, references point to `$defs`,
`apiVersion` and `kind` are pinned by an enum, and IntOrString and Quantity became unions. Here that is undone for OpenAPI v3
(`#/components/schemas/…`, a reference with company is wrapped in `allOf`, defaults where Go has a zero value) and for v2
(`#/definitions/…`, no defaults, unions as strings with a format).

Pure. Nothing given is changed; unchanged parts are shared with the result. Costs about 10 µs a definition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

Version = Literal[2, 3]
Schemas = dict[str, Any]


class Rendered(dict[str, Any]):
    """A definition that is an OpenAPI schema of the wanted version already, and the names of those that it refers to."""

    def __init__(self, schema: Mapping[str, Any], references: tuple[str, ...]) -> None:
        super().__init__(schema)
        self.references = references


REF_PREFIX: Mapping[Version, str] = {2: "#/definitions/", 3: "#/components/schemas/"}

INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"

# The package left these two without a description.
_UNIONS: Mapping[tuple[str, Version], Schemas] = {
    (INT_OR_STRING, 2): {
        "description": "An int32 or a string, such as a port by number or by name.",
        "type": "string",
        "format": "int-or-string",
    },
    (INT_OR_STRING, 3): {
        "description": "An int32 or a string, such as a port by number or by name.",
        "format": "int-or-string",
        "anyOf": [{"type": "integer"}, {"type": "string"}],
    },
    (QUANTITY, 2): {
        "description": "A fixed-point number with an optional suffix, such as 500m, 1.5, 2Gi or 1e3.",
        "type": "string",
    },
    (QUANTITY, 3): {
        "description": "A fixed-point number with an optional suffix, such as 500m, 1.5, 2Gi or 1e3.",
        "oneOf": [{"type": "string"}, {"type": "number"}],
    },
}
_GVK = "x-kubernetes-group-version-kind"
_ZEROS: Mapping[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False}


def convert(definitions: Mapping[str, Any], names: Iterable[str], version: Version) -> Schemas:
    """The OpenAPI schemas of the definitions named, without what they refer to."""
    return {name: _definition(definitions, name, version) for name in sorted(names)}


def reachable(definitions: Mapping[str, Any], roots: Iterable[str]) -> set[str]:
    """The definitions that `roots` lead to, themselves included."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            raw = definitions[name]
            waiting.extend(raw.references if isinstance(raw, Rendered) else _references(raw))
    return found


def _references(raw: Mapping[str, Any]) -> Iterator[str]:
    """The names that a JSON schema refers to. Fields may be called `$ref` or `x-…` too (JSONSchemaProps has such)."""
    if "$ref" in raw:
        yield raw["$ref"].rpartition("/")[2]
    for field in raw.get("properties", {}).values():
        yield from _references(field)
    for key in ("items", "additionalProperties"):
        if isinstance(raw.get(key), dict):
            yield from _references(raw[key])


def _definition(definitions: Mapping[str, Any], name: str, version: Version) -> Schemas:
    union = _UNIONS.get((name, version))
    if union is not None:
        return dict(union)
    raw = definitions[name]
    if isinstance(raw, Rendered):
        return dict(raw)
    schema = _schema(definitions, raw, version)
    if _GVK in raw:
        for field in ("apiVersion", "kind"):
            if field in schema.get("properties", ()):
                schema["properties"][field].pop("enum", None)
    return schema


def _schema(definitions: Mapping[str, Any], raw: Mapping[str, Any], version: Version) -> Schemas:
    schema: Schemas = {}
    for key, value in raw.items():
        match key:
            case "type":
                schema[key] = _plain_type(value)
            case "$ref":
                schema[key] = REF_PREFIX[version] + value.rpartition("/")[2]
            case "properties":
                required = raw.get("required", ())
                schema[key] = {
                    name: _field(definitions, field, version, name in required or name == "metadata")
                    for name, field in value.items()
                }
            case "items":
                schema[key] = _field(definitions, value, version, True)
            case "additionalProperties":
                schema[key] = _field(definitions, value, version, True) if isinstance(value, dict) else value
            case _:
                schema[key] = value
    return schema


def _field(
    definitions: Mapping[str, Any], raw: Mapping[str, Any], version: Version, present: bool
) -> Schemas:
    """A field, an element or a value. `present`: it is not a pointer, so it has Go's zero value as its default."""
    schema = _schema(definitions, raw, version)
    if version == 2:
        return schema
    if "$ref" not in schema:
        if present and schema.get("type") in _ZEROS:
            schema["default"] = _ZEROS[schema["type"]]
        return schema
    if present and "properties" in definitions[raw["$ref"].rpartition("/")[2]]:
        schema["default"] = {}
    if len(schema) > 1:
        # OpenAPI 3.0 ignores everything beside a reference.
        schema["allOf"] = [{"$ref": schema.pop("$ref")}]
    return schema


def _plain_type(declared: str | list[str]) -> str:
    return declared if isinstance(declared, str) else next(t for t in declared if t != "null")
