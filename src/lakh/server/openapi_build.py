"""Renders operations and definitions as OpenAPI v3 and v2 documents.

`v3_document` makes one of a group version or of another place of the index, `v2_document` makes the one of everything. Both are plain dicts,
meant to be encoded and dropped. Pure. The largest v3 document (core/v1) takes 10 ms, v2 30 ms.

v3 repeats parameters in every operation, as upstream does: kubectl looks for `fieldValidation` there and follows no reference. v2 refers to
shared ones, but for the two that kubectl looks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lakh.apis.registry import Registry
from lakh.server import openapi_schemas as schemas
from lakh.server.openapi_operations import (
    PARAMETERS,
    PATH_PARAMETERS,
    Kinds,
    Operation,
    discovery_operations,
    group_versions,
    operations,
    root,
)

TITLE = "Kubernetes"
# Clients look for these in the operations of v2 and follow no reference.
_INLINE = frozenset(("dryRun", "fieldValidation", *PATH_PARAMETERS))
_SECURITY_DESCRIPTION = "Bearer token authentication"

Json = dict[str, Any]


def places(registry: Registry, kinds: Kinds) -> dict[str, list[Operation]]:
    """The index of v3: what is served (`api/v1`, `apis/apps`, `version` …), with its operations."""
    grouped = group_versions(registry)
    found = discovery_operations(grouped)
    for (group, version), resources in grouped.items():
        found[root(group, version)[1:]] = list(operations(group, version, resources, kinds))
    return dict(sorted(found.items()))


def _schemas_of(
    definitions: Mapping[str, Any], listed: Iterable[Operation], version: schemas.Version
) -> schemas.Schemas:
    roots = {name for op in listed for name in (op.answer, op.body) if name}
    return schemas.convert(definitions, schemas.reachable(definitions, roots), version)


def v3_document(definitions: Mapping[str, Any], listed: Iterable[Operation], release: str) -> Json:
    """The OpenAPI 3.0 document of one place."""
    listed = list(listed)
    paths: dict[str, Json] = {}
    for op in listed:
        item = paths.setdefault(op.path, {})
        if op.path_parameters and "parameters" not in item:
            item["parameters"] = [_v3_parameter(name, op) for name in op.path_parameters]
        item[op.method] = _v3_operation(op)
    return {
        "openapi": "3.0.0",
        "info": {"title": TITLE, "version": release},
        "paths": paths,
        "components": {
            "schemas": _schemas_of(definitions, listed, 3),
            "securitySchemes": {"BearerToken": _security()},
        },
    }


def v2_document(definitions: Mapping[str, Any], listed: Iterable[Operation], release: str) -> Json:
    """The Swagger 2.0 document of everything."""
    listed = list(listed)
    paths: dict[str, Json] = {}
    for op in listed:
        item = paths.setdefault(op.path, {})
        if op.path_parameters and "parameters" not in item:
            item["parameters"] = [_v2_parameter(name, op) for name in op.path_parameters]
        item[op.method] = _v2_operation(op)
    shared = sorted({name for op in listed for name in op.parameters} - _INLINE)
    return {
        "swagger": "2.0",
        "info": {"title": TITLE, "version": release},
        "paths": paths,
        "definitions": _schemas_of(definitions, listed, 2),
        "parameters": {name: _v2_parameter(name, None) for name in shared},
        "securityDefinitions": {"BearerToken": _security()},
        "security": [{"BearerToken": []}],
    }


def _security() -> Json:
    return {
        "description": _SECURITY_DESCRIPTION,
        "type": "apiKey",
        "in": "header",
        "name": "authorization",
    }


def _extensions(op: Operation) -> Json:
    if op.kind is None:
        return {}
    group, version, kind = op.kind
    return {
        "x-kubernetes-action": op.action,
        "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
    }


def _parameter(name: str, op: Operation | None) -> tuple[str, Json]:
    """A parameter's type, and what v2 and v3 say alike."""
    type_name, description = PARAMETERS[name]
    if op is not None and op.kind is not None:
        description = description.replace("{kind}", op.kind[2])
    common: Json = {"name": name, "in": "query", "description": description}
    if name in PATH_PARAMETERS:
        common |= {"in": "path", "required": True}
    return type_name, common


def _v3_parameter(name: str, op: Operation) -> Json:
    type_name, parameter = _parameter(name, op)
    return {**parameter, "schema": {"type": type_name, "uniqueItems": True}}


def _v2_parameter(name: str, op: Operation | None) -> Json:
    type_name, parameter = _parameter(name, op)
    return {**parameter, "type": type_name, "uniqueItems": True}


def _v3_operation(op: Operation) -> Json:
    answer = _schema(op.answer, 3)
    content = {media: {"schema": answer} for media in op.produces}
    responses: Json = {
        str(code): {"description": reason, "content": content} for code, reason in op.responses
    }
    rendered: Json = {
        "description": op.description,
        "operationId": op.id,
        "tags": [op.tag],
        "responses": {**responses, "401": {"description": "Unauthorized"}},
        **_extensions(op),
    }
    if op.parameters:
        rendered["parameters"] = [_v3_parameter(name, op) for name in op.parameters]
    if op.body is not None:
        body = _schema(op.body, 3)
        rendered["requestBody"] = {"content": {media: {"schema": body} for media in op.consumes}}
        if op.body_required:
            rendered["requestBody"]["required"] = True
    return rendered


def _v2_operation(op: Operation) -> Json:
    responses: Json = {
        str(code): {"description": reason, "schema": _schema(op.answer, 2)} for code, reason in op.responses
    }
    parameters = [
        _v2_parameter(name, op) if name in _INLINE else {"$ref": f"#/parameters/{name}"}
        for name in op.parameters
    ]
    if op.body is not None:
        body: Json = {"name": "body", "in": "body", "schema": _schema(op.body, 2)}
        if op.body_required:
            body["required"] = True
        parameters.insert(0, body)
    rendered: Json = {
        "description": op.description,
        "operationId": op.id,
        "tags": [op.tag],
        "schemes": ["https"],
        "produces": list(op.produces),
        "responses": {**responses, "401": {"description": "Unauthorized"}},
        **_extensions(op),
    }
    if parameters:
        rendered["parameters"] = parameters
    if op.consumes:
        rendered["consumes"] = list(op.consumes)
    return rendered


def _schema(definition: str, version: schemas.Version) -> Json:
    return {"$ref": schemas.REF_PREFIX[version] + definition} if definition else {"type": "string"}
