"""The OpenAPI schemas of custom resources, from their structural schemas.

v3 has them as they were declared; v2 cannot say everything, so what it has no word for is left out, as upstream does: alternatives, null, defaults, and
what is below a place that keeps unknown fields. Kind, apiVersion and metadata are filled in, and each kind gets its list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lakh.apis.custom import CustomResource
from lakh.apis.embedded import OBJECT_META
from lakh.server.openapi_schemas import REF_PREFIX, Rendered, Version

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
API_VERSION_TEXT = "The version of the schema of this object, such as `apps/v1`."
KIND_TEXT = "The kind of this object, such as `Deployment`."

# What v2 has no word for.
_ONLY_V3 = frozenset(("oneOf", "anyOf", "allOf", "not", "nullable", "default"))
PRESERVE = "x-kubernetes-preserve-unknown-fields"
_HIDDEN_BELOW = ("properties", "items", "additionalProperties", "required")


def definitions(resources: Iterable[CustomResource], version: Version) -> dict[str, Rendered]:
    """The definitions of custom resources and their lists, by name."""
    found: dict[str, Rendered] = {}
    for resource in resources:
        found[resource.definition] = _kind(resource, version)
        found[resource.definition + "List"] = _list(resource, version)
    return found


def _described(resource: CustomResource, kind: str) -> list[dict[str, str]]:
    return [{"group": resource.group, "kind": kind, "version": resource.version}]


def _type_meta(version: Version, metadata: str) -> dict[str, Any]:
    reference = {"$ref": REF_PREFIX[version] + metadata}
    return {
        "apiVersion": {"type": "string", "description": API_VERSION_TEXT},
        "kind": {"type": "string", "description": KIND_TEXT},
        "metadata": {"allOf": [reference], "default": {}} if version == 3 else reference,
    }


def _kind(resource: CustomResource, version: Version) -> Rendered:
    described = {"x-kubernetes-group-version-kind": _described(resource, resource.kind)}
    raw = resource.structural.raw
    if version == 2 and raw.get(PRESERVE):
        # With any property at all, kubectl's own validation would refuse all others.
        return Rendered({"type": "object", **described}, ())
    schema = _schema(raw, version)
    schema["properties"] = {**schema.get("properties", {}), **_type_meta(version, OBJECT_META)}
    return Rendered({**schema, **described}, (OBJECT_META,))


def _list(resource: CustomResource, version: Version) -> Rendered:
    item = {"$ref": REF_PREFIX[version] + resource.definition}
    return Rendered(
        {
            "type": "object",
            "description": f"{resource.list_name} is a list of {resource.kind}",
            "required": ["items"],
            "properties": {
                **_type_meta(version, META + "ListMeta"),
                "items": {"type": "array", "items": item},
            },
            "x-kubernetes-group-version-kind": _described(resource, resource.list_name),
        },
        (META + "ListMeta", resource.definition),
    )


def _schema(raw: Mapping[str, Any], version: Version) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for key, value in raw.items():
        if version == 2 and key in _ONLY_V3:
            continue
        match key:
            case "properties":
                schema[key] = {name: _schema(sub, version) for name, sub in value.items()}
            case "items" | "additionalProperties" if isinstance(value, Mapping):
                schema[key] = _schema(value, version)
            case _:
                schema[key] = value
    if version == 2:
        if raw.get("x-kubernetes-int-or-string") or raw.get("nullable"):
            schema.pop("type", None)
        if raw.get(PRESERVE) or raw.get("nullable"):
            for key in _HIDDEN_BELOW:
                schema.pop(key, None)
        if "items" not in schema and schema.get("type") == "array":
            # kubectl cannot read an array without items.
            del schema["type"]
        elif raw.get(PRESERVE) and schema.get("type") == "object":
            # Nor does it allow what an object does not name.
            del schema["type"]
        if "required" in schema:
            nullable = {name for name, sub in raw.get("properties", {}).items() if sub.get("nullable")}
            required = [name for name in schema.pop("required") if name not in nullable]
            if required:
                schema["required"] = required
    if raw.get("x-kubernetes-embedded-resource") and not (version == 2 and raw.get(PRESERVE)):
        schema["properties"] = {**schema.get("properties", {}), **_type_meta(version, OBJECT_META)}
        required = schema.get("required", [])
        schema["required"] = [*required, *(name for name in ("kind", "apiVersion") if name not in required)]
    return schema
