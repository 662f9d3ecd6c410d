"""The protobuf form of an OpenAPI v2 document: gnostic's `openapi.v2.Document`.

Clients that ask for v2 take nothing else (`kubectl explain --output plaintext-openapiv2`, and `kubectl apply` where v3 fails it). The schema is
small and fixed, so the message types are tables here: JSON name → field number and how the value is encoded. Extensions (`x-…`) and defaults
travel as YAML text, of which JSON is a part. Pure; encoding the whole document takes about 50 ms, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lakh.server.codec import encode_json

Encode = Callable[[Any], bytes]
# JSON name → field number, encoder, whether the field is repeated.
Fields = Mapping[str, tuple[int, Encode, bool]]


def encode_v2(document: Mapping[str, Any]) -> bytes:
    """A Swagger 2.0 document as protobuf. Raises KeyError for what this server's documents do not contain."""
    return _message(document, _DOCUMENT, extensions=16)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _message(obj: Mapping[str, Any], fields: Fields, extensions: int = 0) -> bytes:
    out = []
    for name, value in obj.items():
        if extensions and name.startswith("x-"):
            out.append(_field(extensions, _named(name, _any(value))))
            continue
        number, encode, repeated = fields[name]
        if encode is _bool:
            # A varint field; false is proto3's absent.
            if value:
                out.append(_varint(number << 3) + b"\x01")
        elif repeated:
            out.extend(_field(number, encode(each)) for each in value)
        else:
            out.append(_field(number, encode(value)))
    return b"".join(out)


def _text(value: str) -> bytes:
    return value.encode()


def _bool(value: bool) -> bytes:
    raise AssertionError("booleans are no length-delimited fields")


def _any(value: Any) -> bytes:
    return _field(2, encode_json(value))


def _named(name: str, payload: bytes) -> bytes:
    """A map's entry."""
    return _field(1, name.encode()) + _field(2, payload)


def _map(encode: Encode, number: int = 1) -> Encode:
    """Gnostic's maps: a message with repeated entries."""
    return lambda value: b"".join(_field(number, _named(k, encode(v))) for k, v in value.items())


def _strings(values: str | Iterable[str]) -> bytes:
    """`TypeItem` and `StringArray`."""
    values = (values,) if isinstance(values, str) else values
    return b"".join(_field(1, value.encode()) for value in values)


def _schema(value: Mapping[str, Any]) -> bytes:
    return _message(value, _SCHEMA, extensions=31)


def _additional_properties(value: Any) -> bytes:
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    return _field(1, _schema(value))


def _parameter(value: Mapping[str, Any]) -> bytes:
    where = value["in"]
    if where == "body":
        return _field(1, _message(value, _BODY_PARAMETER, extensions=6))
    if where == "query":
        return _field(2, _field(3, _message(value, _QUERY_PARAMETER, extensions=23)))
    return _field(2, _field(4, _message(value, _PATH_PARAMETER, extensions=22)))


def _parameters_item(value: Mapping[str, Any]) -> bytes:
    if "$ref" in value:
        return _field(2, _field(1, value["$ref"].encode()))
    return _field(1, _parameter(value))


def _response_value(value: Mapping[str, Any]) -> bytes:
    return _field(1, _message(value, _RESPONSE, extensions=5))


def _operation(value: Mapping[str, Any]) -> bytes:
    return _message(value, _OPERATION, extensions=13)


def _path_item(value: Mapping[str, Any]) -> bytes:
    return _message(value, _PATH_ITEM, extensions=10)


def _security_definition(value: Mapping[str, Any]) -> bytes:
    return _field(2, _message(value, _API_KEY, extensions=5))


_SCHEMA: Fields = {
    "$ref": (1, _text, False),
    "format": (2, _text, False),
    "description": (4, _text, False),
    "default": (5, _any, False),
    "required": (19, _text, True),
    "enum": (20, _any, True),
    "additionalProperties": (21, _additional_properties, False),
    "type": (22, _strings, False),
    "items": (23, lambda value: _field(1, _schema(value)), False),
    "properties": (25, _map(_schema), False),
}
_BODY_PARAMETER: Fields = {
    "description": (1, _text, False),
    "name": (2, _text, False),
    "in": (3, _text, False),
    "required": (4, _bool, False),
    "schema": (5, _schema, False),
}
_QUERY_PARAMETER: Fields = {
    "required": (1, _bool, False),
    "in": (2, _text, False),
    "description": (3, _text, False),
    "name": (4, _text, False),
    "type": (6, _text, False),
    "uniqueItems": (20, _bool, False),
}
_PATH_PARAMETER: Fields = {
    "required": (1, _bool, False),
    "in": (2, _text, False),
    "description": (3, _text, False),
    "name": (4, _text, False),
    "type": (5, _text, False),
    "uniqueItems": (19, _bool, False),
}
_RESPONSE: Fields = {
    "description": (1, _text, False),
    "schema": (2, lambda value: _field(1, _schema(value)), False),
}
_OPERATION: Fields = {
    "tags": (1, _text, True),
    "description": (3, _text, False),
    "operationId": (5, _text, False),
    "produces": (6, _text, True),
    "consumes": (7, _text, True),
    "parameters": (8, _parameters_item, True),
    "responses": (9, _map(_response_value), False),
    "schemes": (10, _text, True),
}
_PATH_ITEM: Fields = {
    "get": (2, _operation, False),
    "put": (3, _operation, False),
    "post": (4, _operation, False),
    "delete": (5, _operation, False),
    "patch": (8, _operation, False),
    "parameters": (9, _parameters_item, True),
}
_API_KEY: Fields = {
    "type": (1, _text, False),
    "name": (2, _text, False),
    "in": (3, _text, False),
    "description": (4, _text, False),
}
_INFO: Fields = {"title": (1, _text, False), "version": (2, _text, False)}
_DOCUMENT: Fields = {
    "swagger": (1, _text, False),
    "info": (2, lambda value: _message(value, _INFO), False),
    "paths": (8, _map(_path_item, 2), False),
    "definitions": (9, _map(_schema), False),
    "parameters": (10, _map(_parameter), False),
    "security": (12, _map(_strings), True),
    "securityDefinitions": (13, _map(_security_definition), False),
}
