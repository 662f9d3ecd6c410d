"""`application/vnd.kubernetes.protobuf`: the built-in kinds as protobuf, from and to plain JSON values.

A body is the magic `k8s\\0` and an envelope (`runtime.Unknown`) of apiVersion, kind and the object's own message. What the messages' fields are
called, numbered and made of is a table, `protobuf_fields.txt`; it is read with the first body (3 ms), and a message's line is compiled
when it is first met. Nothing here knows a kind.

The values are those that Go's JSON would have: a zero scalar is dropped where JSON leaves it out (`omitempty`) and kept where the field is a
pointer or JSON always has it. What is absent stays absent. Unknown fields are skipped, the last of repeated scalars wins, repeated
messages merge: proto2's rules.

Whatever the bytes are, `decode` raises nothing but `ProtobufError`. Depth is bounded by `MAX_DEPTH`; time and memory are linear in the
body. A small pod takes 30 µs either way.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from lakh.machinery import times

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"

# Messages within messages. Protobuf's usual limit is 100; schemas of custom resources need two messages for a level of an array.
MAX_DEPTH = 128

_VARINT, _FIXED64, BYTES_WIRE, _START_GROUP, _END_GROUP, _FIXED32 = 0, 1, 2, 3, 4, 5
_MAX_FIELD = 2**29 - 1
_META = "meta.v1"

_EPOCH = datetime(1970, 1, 1)

_UNION_SUFFIXES = ("OrBool", "OrArray", "OrStringArray")
_WIRE = {"b": _VARINT, "i": _VARINT, "l": _VARINT, "f": _FIXED64}
_ZERO: dict[str, Any] = {"b": False, "i": 0, "l": 0, "f": 0.0, "s": "", "y": ""}
_CODES = frozenset("befilqrstuxy")

_load_json = msgspec.json.Decoder().decode
_encode_json = msgspec.json.Encoder().encode


class ProtobufError(ValueError):
    """Bytes are not a protobuf message of a known kind, or an object cannot be written as one."""


class Field:
    """A field of a message: its JSON name, its number, its type (`code`, or `message` for messages) and what it is made of.

    `code` is a letter of the table's types, or `m`. `shape` is `""`, `[]` or `{}`. `keep_zero` is true where a zero is not the same as absent. The
    field named `*` is a message whose fields stand in the enclosing object.
    """

    __slots__ = ("code", "keep_zero", "message", "name", "number", "shape", "tag", "wire")

    def __init__(self, package: str, text: str) -> None:
        # `=` also ends names such as `$ref`; numbers never hold letters.
        self.name, _, rest = text.rpartition("=")
        digits = len(rest) - len(rest.lstrip("0123456789"))
        self.number = int(rest[:digits])
        rest = rest[digits:]
        self.keep_zero = rest[0] in "?!"
        rest = rest.lstrip("?!")
        self.shape = rest[:2] if rest[:2] in ("[]", "{}") else ""
        kind = rest[len(self.shape) :]
        self.code = kind if kind in _CODES else "m"
        self.message = "" if kind in _CODES else kind if "." in kind else f"{package}.{kind}"
        self.wire = BYTES_WIRE if self.shape == "{}" else _WIRE.get(self.code, BYTES_WIRE)
        self.tag = varint(self.number << 3 | self.wire)

    def __repr__(self) -> str:
        return f"<Field {self.name}={self.number}{self.shape}{self.message or self.code}>"


class Message:
    """The fields of a message, in the order of their numbers."""

    __slots__ = ("by_number", "fields", "name", "union")

    def __init__(self, name: str, line: str) -> None:
        self.name = name
        package = name.rpartition(".")[0]
        self.fields = tuple(Field(package, text) for text in line.split())
        self.by_number = {field.number: field for field in self.fields}
        self.union = name.endswith(_UNION_SUFFIXES) and ".JSONSchemaPropsOr" in name

    def __repr__(self) -> str:
        return f"<Message {self.name}>"


@cache
def _table() -> tuple[dict[str, str], dict[str, str]]:
    """The lines by message name, and the package of each apiVersion."""
    lines: dict[str, str] = {}
    packages: dict[str, str] = {}
    package = ""
    text = resources.files("lakh.machinery").joinpath("protobuf_fields.txt").read_text("ascii")
    for line in text.splitlines():
        if line.startswith("@ "):
            _, package, api_version = line.split(" ")
            packages[api_version] = package
        elif not line.startswith("#"):
            name, _, fields = line.partition(" ")
            lines[f"{package}.{name}"] = fields
    return lines, packages


@cache
def message(name: str) -> Message:
    """A message by its name in the table (`core.v1.Pod`); raises KeyError."""
    return Message(name, _table()[0][name])


def messages() -> Iterator[str]:
    """The names of all messages."""
    return iter(_table()[0])


def message_of(api_version: str, kind: str) -> Message:
    """The message of a kind; raises `ProtobufError`."""
    if not kind:
        raise ProtobufError("Object 'Kind' is missing")
    if not api_version:
        raise ProtobufError("Object 'apiVersion' is missing")
    lines, packages = _table()
    # Options and Status are kinds of every group version.
    for package in (packages.get(api_version), _META):
        name = f"{package}.{kind}"
        if name in lines:
            return message(name)
    raise ProtobufError(f'no kind "{kind}" is registered for version "{api_version}"')


# -- decoding ----------------------------------------------------------------------------------------------------------------------


def decode(body: bytes) -> dict[str, Any]:
    """A body as plain JSON values, with apiVersion and kind first; raises `ProtobufError`."""
    if body[:4] != MAGIC:
        raise ProtobufError(
            f"provided data does not appear to be a protobuf message, expected prefix {list(MAGIC)}"
        )
    envelope = _parts(body, 4, len(body))
    type_meta = _parts(_bytes_of(envelope, 1))
    api_version, kind = _text(_bytes_of(type_meta, 1)), _text(_bytes_of(type_meta, 2))
    if _bytes_of(envelope, 3):
        raise ProtobufError("content encodings are not supported")
    raw = _bytes_of(envelope, 2)
    media_type = _text(_bytes_of(envelope, 4)).partition(";")[0].strip().lower()
    plain: dict[str, Any] = {"apiVersion": api_version, "kind": kind}
    if media_type == "application/json":
        found = _json(raw)
        if not isinstance(found, dict):
            raise ProtobufError("the JSON within is not an object")
        return {**{name: text for name, text in plain.items() if text}, **found}
    if media_type not in ("", MEDIA_TYPE):
        raise ProtobufError(f'content type "{media_type}" is not supported')
    _decode(raw, 0, len(raw), message_of(api_version, kind), plain, 0)
    return plain


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A varint as an unsigned number, and where it ends."""
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift >= 70:
            raise ProtobufError("integer overflow")
    raise ProtobufError("unexpected EOF")


def _chunk(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Where the length-delimited value at `at` begins and ends."""
    size, at = _varint(data, at, end)
    stop = at + size
    if stop > end:
        raise ProtobufError("unexpected EOF")
    return at, stop


def _tag(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """A field's number, its wire type, and where its value begins."""
    tag, at = _varint(data, at, end)
    number = tag >> 3
    if not 0 < number <= _MAX_FIELD:
        raise ProtobufError(f"illegal tag {number} (wire type {tag & 7})")
    return number, tag & 7, at


def _skip(data: bytes, at: int, end: int, wire: int) -> int:
    """Where a value of an unknown field ends."""
    groups = 0
    while True:
        if wire == _VARINT:
            _, at = _varint(data, at, end)
        elif wire == _FIXED64:
            at += 8
        elif wire == BYTES_WIRE:
            _, at = _chunk(data, at, end)
        elif wire == _FIXED32:
            at += 4
        elif wire == _START_GROUP:
            groups += 1
        elif wire == _END_GROUP and groups:
            groups -= 1
        else:
            raise ProtobufError(f"illegal wire type {wire}")
        if at > end:
            raise ProtobufError("unexpected EOF")
        if not groups:
            return at
        _, wire, at = _tag(data, at, end)


def _parts(data: bytes, at: int = 0, end: int | None = None) -> dict[int, int | bytes]:
    """A small message's fields by number: numbers and bytes. The last of each wins."""
    found: dict[int, int | bytes] = {}
    if end is None:
        end = len(data)
    while at < end:
        number, wire, at = _tag(data, at, end)
        if wire == BYTES_WIRE:
            at, stop = _chunk(data, at, end)
            found[number] = data[at:stop]
            at = stop
        elif wire == _VARINT:
            found[number], at = _varint(data, at, end)
        else:
            at = _skip(data, at, end, wire)
    return found


def _bytes_of(parts: Mapping[int, int | bytes], number: int) -> bytes:
    value = parts.get(number, b"")
    if isinstance(value, int):
        raise ProtobufError(f"wrong wireType = {_VARINT} for field {number}")
    return value


def _int_of(parts: Mapping[int, int | bytes], number: int, bits: int) -> int:
    value = parts.get(number, 0)
    if not isinstance(value, int):
        raise ProtobufError(f"wrong wireType = {BYTES_WIRE} for field {number}")
    return _signed(value, bits)


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _text(data: bytes) -> str:
    """A string. Go's JSON has U+FFFD where it is not UTF-8."""
    return data.decode("utf-8", "replace")


def _json(data: bytes) -> Any:
    """Raw JSON; None when there is none."""
    if not data:
        return None
    try:
        return _load_json(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise ProtobufError(f"json parse error: {e}") from None


def _time(data: bytes, micro: bool) -> str | None:
    """A time; the empty message is the zero time, which JSON has as null."""
    if not data:
        return None
    parts = _parts(data)
    micros = int(_int_of(parts, 2, 32) / 1000) if micro else 0
    try:
        moment = _EPOCH + timedelta(seconds=_int_of(parts, 1, 64), microseconds=micros)
    except OverflowError:
        raise ProtobufError("Time: year outside of range [1,9999]") from None
    return moment.isoformat(timespec="microseconds" if micro else "seconds") + "Z"


def _value(code: str, data: bytes) -> Any:
    """A value that stands in bytes; None is JSON's null."""
    match code:
        case "s":
            return _text(data)
        case "y":
            return base64.b64encode(data).decode("ascii")
        case "q":
            return _text(_bytes_of(_parts(data), 1)) or "0"
        case "t" | "u":
            return _time(data, code == "u")
        case "x":
            parts = _parts(data)
            return _text(_bytes_of(parts, 3)) if _int_of(parts, 1, 64) == 1 else _int_of(parts, 2, 32)
        case "r":
            return _json(_bytes_of(_parts(data), 1))
        case _:
            return _strings(data)


def _strings(data: bytes) -> list[str]:
    """A message that is a list of strings."""
    found = []
    at, end = 0, len(data)
    while at < end:
        number, wire, at = _tag(data, at, end)
        if number == 1 and wire == BYTES_WIRE:
            at, stop = _chunk(data, at, end)
            found.append(_text(data[at:stop]))
            at = stop
        else:
            at = _skip(data, at, end, wire)
    return found


def _number(code: str, data: bytes, at: int, end: int) -> tuple[Any, int]:
    if code == "f":
        if at + 8 > end:
            raise ProtobufError("unexpected EOF")
        value = struct.unpack_from("<d", data, at)[0]
        if not math.isfinite(value):
            raise ProtobufError(f"json: unsupported value: {value}")
        return value, at + 8
    unsigned, at = _varint(data, at, end)
    if code == "b":
        return unsigned != 0, at
    return _signed(unsigned, 32 if code == "i" else 64), at


def _decode(data: bytes, at: int, end: int, kind: Message, into: dict[str, Any], depth: int) -> None:
    """The message in `data[at:end]`, into `into`."""
    if depth > MAX_DEPTH:
        raise ProtobufError(f"messages are nested deeper than {MAX_DEPTH} levels")
    by_number = kind.by_number
    while at < end:
        number, wire, at = _tag(data, at, end)
        field = by_number.get(number)
        if field is None:
            at = _skip(data, at, end, wire)
            continue
        name, shape, code = field.name, field.shape, field.code
        if wire != field.wire:
            if not (shape == "[]" and wire == BYTES_WIRE):
                raise ProtobufError(f"wrong wireType = {wire} for field {name} of {kind.name}")
            # A list of numbers, packed.
            at, stop = _chunk(data, at, end)
            numbers = into.setdefault(name, [])
            while at < stop:
                value, at = _number(code, data, at, stop)
                numbers.append(value)
            continue
        if wire != BYTES_WIRE:
            value, at = _number(code, data, at, end)
        else:
            start, at = _chunk(data, at, end)
            if shape == "{}":
                key, value = _entry(data, start, at, field, depth)
                into.setdefault(name, {})[key] = value
                continue
            if code == "m":
                if name == "*":
                    _decode(data, start, at, message(field.message), into, depth + 1)
                    continue
                before = into.get(name) if not shape else None
                value = _decode_value(data, start, at, field, before, depth)
            else:
                value = _value(code, data[start:at])
        if shape:
            into.setdefault(name, []).append(value)
        elif value is None or (not field.keep_zero and code in _ZERO and value == _ZERO[code]):
            into.pop(name, None)
        else:
            into[name] = value


def _decode_value(data: bytes, at: int, end: int, field: Field, before: Any, depth: int) -> Any:
    """A message as a value; `before` is what an earlier one of the same field said."""
    kind = message(field.message)
    if not kind.union:
        plain = before if isinstance(before, dict) else {}
        _decode(data, at, end, kind, plain, depth + 1)
        return plain
    parts: dict[str, Any] = {}
    _decode(data, at, end, kind, parts, depth + 1)
    # JSONSchemaPropsOrArray, OrBool, OrStringArray: what is set of these.
    for name in ("jSONSchemas", "property", "schema"):
        if name in parts:
            return parts[name]
    return parts.get("allows", False) if kind.name.endswith("OrBool") else None


def _entry(data: bytes, at: int, end: int, field: Field, depth: int) -> tuple[str, Any]:
    """An entry of a map; what it lacks is zero."""
    parts = _parts(data, at, end)
    value = _bytes_of(parts, 2)
    if field.code == "m":
        return _text(_bytes_of(parts, 1)), _decode_value(value, 0, len(value), field, None, depth)
    return _text(_bytes_of(parts, 1)), _value(field.code, value)


# -- encoding ----------------------------------------------------------------------------------------------------------------------


def encode(obj: Mapping[str, Any]) -> bytes:
    """An object of a built-in kind (plain JSON values with apiVersion and kind) as a body; raises `ProtobufError`.

    What the kind's message does not have is left out, as are nulls and empty lists and maps.
    """
    api_version, kind = obj.get("apiVersion"), obj.get("kind")
    if not isinstance(api_version, str) or not isinstance(kind, str):
        raise ProtobufError("Object 'Kind' is missing")
    of_kind = message_of(api_version, kind)
    raw = _encode(obj, of_kind, 0)
    return envelope(envelope_head(api_version, kind), raw)


# contentEncoding and contentType, which are empty.
ENVELOPE_TAIL = b"\x1a\x00\x22\x00"


def envelope_head(api_version: str, kind: str) -> bytes:
    """What stands before a message: the magic, and its type."""
    type_meta = _delimited(b"\x0a", api_version.encode()) + _delimited(b"\x12", kind.encode())
    return MAGIC + _delimited(b"\x0a", type_meta)


def envelope(head: bytes, raw: bytes) -> bytes:
    """A body: a message in its envelope."""
    return b"".join((head, _delimited(b"\x12", raw), ENVELOPE_TAIL))


def varint(value: int) -> bytes:
    """A number as a varint; negative ones in two's complement of 64 bits."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _delimited(tag: bytes, data: bytes) -> bytes:
    return tag + varint(len(data)) + data


def _wrong(field: Field, value: Any) -> ProtobufError:
    return ProtobufError(f"{field.name}: cannot encode a {type(value).__name__} here")


def _encode(obj: Any, kind: Message, depth: int) -> bytes:
    if not isinstance(obj, Mapping):
        raise ProtobufError(f"{kind.name}: an object is expected")
    if depth > MAX_DEPTH:
        raise ProtobufError(f"messages are nested deeper than {MAX_DEPTH} levels")
    out: list[bytes] = []
    for field in kind.fields:
        if field.name == "*":
            out.append(_delimited(field.tag, _encode(obj, message(field.message), depth + 1)))
            continue
        value = obj.get(field.name)
        if value is None:
            continue
        if field.shape == "[]":
            if not isinstance(value, list):
                raise _wrong(field, value)
            for item in value:
                out.append(encode_field(field, item, depth))
        elif field.shape == "{}":
            if not isinstance(value, Mapping):
                raise _wrong(field, value)
            for key in sorted(value):
                entry = _delimited(b"\x0a", _utf8(field, key))
                out.append(
                    _delimited(field.tag, entry + _delimited(b"\x12", payload(field, value[key], depth)))
                )
        else:
            out.append(encode_field(field, value, depth))
    return b"".join(out)


def encode_field(field: Field, value: Any, depth: int = 0) -> bytes:
    """A field with one value (of a list: one of its items); raises `ProtobufError`."""
    if field.wire == BYTES_WIRE:
        return _delimited(field.tag, payload(field, value, depth))
    if field.code == "b":
        if not isinstance(value, bool):
            raise _wrong(field, value)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(field, value)
    elif field.code == "f":
        try:
            return field.tag + struct.pack("<d", value)
        except OverflowError:
            raise _wrong(field, value) from None
    elif not isinstance(value, int) or not _fits(value, 32 if field.code == "i" else 64):
        raise _wrong(field, value)
    return field.tag + varint(value)


def _fits(value: int, bits: int) -> bool:
    return -(1 << (bits - 1)) <= value < 1 << (bits - 1)


def _utf8(field: Field, value: Any) -> bytes:
    if not isinstance(value, str):
        raise _wrong(field, value)
    try:
        return value.encode()
    except UnicodeEncodeError as e:
        raise ProtobufError(f"{field.name}: {e}") from None


def payload(field: Field, value: Any, depth: int = 0) -> bytes:
    """The bytes of a value that stands in bytes; raises `ProtobufError`."""
    code = field.code
    if code == "m":
        kind = message(field.message)
        if value is None:
            return b""
        return _encode(_union(kind, value) if kind.union else value, kind, depth + 1)
    if code == "s":
        return _utf8(field, value)
    if code == "r":
        return b"" if value is None else _delimited(b"\x0a", _raw(field, value))
    if value is None:
        return b""
    match code:
        case "y":
            try:
                return base64.b64decode(_utf8(field, value), validate=True)
            except binascii.Error as e:
                raise ProtobufError(f"{field.name}: {e}") from None
        case "q":
            if isinstance(value, int | float) and not isinstance(value, bool):
                value = _encode_json(value).decode()
            return _delimited(b"\x0a", _utf8(field, value))
        case "x":
            if isinstance(value, str):
                return b"\x08\x01\x10\x00" + _delimited(b"\x1a", _utf8(field, value))
            if isinstance(value, bool) or not isinstance(value, int) or not _fits(value, 32):
                raise _wrong(field, value)
            return b"\x08\x00\x10" + varint(value) + b"\x1a\x00"
        case "t" | "u":
            return _encode_time(field, value, code == "u")
        case _:
            if not isinstance(value, list):
                raise _wrong(field, value)
            return b"".join(_delimited(b"\x0a", _utf8(field, item)) for item in value)


def _raw(field: Field, value: Any) -> bytes:
    try:
        return _encode_json(value)
    except (TypeError, ValueError, RecursionError) as e:
        raise ProtobufError(f"{field.name}: {e}") from None


def _union(kind: Message, value: Any) -> dict[str, Any]:
    """JSONSchemaPropsOrArray, OrBool, OrStringArray as a message."""
    if isinstance(value, bool):
        return {"allows": value}
    if isinstance(value, list):
        return {"property" if kind.name.endswith("OrStringArray") else "jSONSchemas": value}
    return {"allows": True, "schema": value}


def _encode_time(field: Field, value: Any, micro: bool) -> bytes:
    if not isinstance(value, str):
        raise _wrong(field, value)
    try:
        moment = datetime.fromisoformat(times.canonical_micro(value)[:-1])
    except times.TimeError as e:
        raise ProtobufError(f"{field.name}: {e}") from None
    if moment == datetime.min:
        return b""
    since = moment - _EPOCH
    nanos = since.microseconds * 1000 if micro else 0
    return b"\x08" + varint(since.days * 86400 + since.seconds) + b"\x10" + varint(nanos)
