"""From stored JSON to protobuf, fast: an encoder for each message, compiled when the message is first met.

`protobuf.encode` walks plain values by the table of fields; here a line of the same table becomes a narrow `msgspec.Struct` (so decoding is one C
call) and a Python function with a branch a field. Both write the same bytes, which a test holds them to. The parts of an object that many
objects share (containers, volumes, tolerations, conditions, owners) are looked up by their JSON before they are decoded: most pods of a
cluster come from few templates. Messages that contain themselves (JSON schemas) are left to `protobuf`.

Memory of remembered parts is bounded by `PART_BYTES`. What it costs is in docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import msgspec

from lakh.machinery import protobuf
from lakh.machinery.protobuf import Field, Message, ProtobufError

# Parts larger than this are not remembered (they are seldom shared), and how much is, in each of two generations.
PART_MAX_BYTES = 4096
PART_BYTES = 4 * 1024 * 1024
# What a remembered part takes besides its bytes.
PART_OVERHEAD_BYTES = 250

_varint = protobuf.varint


def delimited(tag: bytes, data: bytes) -> bytes:
    """A length-delimited field."""
    return length(tag, len(data)) + data


def length(tag: bytes, size: int) -> bytes:
    """A tag and the length of what follows."""
    if size < 128:
        return tag + bytes((size,))
    return tag + (bytes((size & 127 | 128, size >> 7)) if size < 16384 else _varint(size))


@cache
def _short(tag: bytes) -> list[bytes]:
    """A tag before each varint of one byte: for lengths and small numbers alike."""
    return [tag + bytes((n,)) for n in range(128)]


class _Parts:
    """Encoded parts by message and JSON, in two generations: a full young one becomes the old one."""

    __slots__ = ("_bytes", "_old", "_young")

    def __init__(self) -> None:
        self._young: dict[tuple[str, bytes], bytes] = {}
        self._old: dict[tuple[str, bytes], bytes] = {}
        self._bytes = 0

    def encode(self, name: str, part: msgspec.Raw) -> bytes:
        """The message of a part; nothing for null."""
        raw = bytes(part)
        key = (name, raw)
        data = self._young.get(key)
        if data is not None:
            return data
        data = self._old.get(key)
        if data is None:
            data = _compiled(name, _PART_LEVEL + 1).of_json(raw) if raw != b"null" else b""
        if len(raw) <= PART_MAX_BYTES:
            if self._bytes > PART_BYTES:
                self._old, self._young, self._bytes = self._young, {}, 0
            self._young[key] = data
            self._bytes += len(raw) + len(data) + PART_OVERHEAD_BYTES
        return data


# How deep messages are looked up by their JSON instead of being decoded with what they are in: the parts of metadata, spec and status.
_PART_LEVEL = 1

_parts = _Parts()
_QUANTITY, _INT_OR_STRING = Field("", "value=1q"), Field("", "value=1x")


@lru_cache(4096)
def _time(field: Field, value: str | None) -> bytes:
    return protobuf.payload(field, value)


@lru_cache(4096, typed=True)
def _quantity(value: str | int | float | None) -> bytes:
    return protobuf.payload(_QUANTITY, value)


@lru_cache(1024, typed=True)
def _int_or_string(value: int | str | None) -> bytes:
    return protobuf.payload(_INT_OR_STRING, value)


def _null(value: msgspec.Raw) -> bool:
    return bytes(value) == b"null"


def _raw(value: msgspec.Raw) -> bytes:
    data = bytes(value)
    return b"" if data == b"null" else delimited(b"\x0a", data)


def _string(value: str | None) -> bytes:
    return value.encode() if value is not None else b""


class Compiled:
    """A message's Struct and its encoder."""

    __slots__ = ("_decode", "encode", "struct")

    def __init__(self, kind: Message, level: int) -> None:
        source = _Source(kind, level)
        self.struct: Any = msgspec.defstruct(
            kind.name.replace(".", "_"),
            [(a.attribute, a.type, None) for a in source.attributes],
            rename={a.attribute: a.name for a in source.attributes},
            gc=False,
        )
        self.encode: Callable[[Any], bytes] = source.compile()
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(self.struct).decode

    def of_json(self, raw: bytes) -> bytes:
        """The message of a JSON object; raises ProtobufError."""
        try:
            return self.encode(self._decode(raw))
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as e:
            raise ProtobufError(str(e)) from None

    def of_object(self, raw: bytes, resource_version: str | None) -> bytes:
        """The message of a kind's object, which gets this resourceVersion; raises ProtobufError."""
        try:
            obj = self._decode(raw)
            # metadata is field 1 of every kind, and resourceVersion field 6 of ObjectMeta.
            obj.f1.f6 = resource_version
            return self.encode(obj)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as e:
            raise ProtobufError(str(e)) from None


@cache
def _compiled(name: str, level: int) -> Compiled:
    return Compiled(protobuf.message(name), level)


def of_message(name: str) -> Compiled:
    """The encoder of a message that stands for a whole object, by its name in the table."""
    return _compiled(name, 0)


@cache
def _recursive(name: str) -> bool:
    """Whether a message may contain itself, or a union: such are encoded from plain values."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        kind = protobuf.message(waiting.pop())
        if kind.union:
            return True
        for field in kind.fields:
            if field.message == name:
                return True
            if field.message and field.message not in seen:
                seen.add(field.message)
                waiting.append(field.message)
    return False


class _Attribute:
    """A Struct's field: `name` is that of JSON."""

    __slots__ = ("attribute", "name", "type")

    def __init__(self, attribute: str, name: str, type_: Any) -> None:
        self.attribute = attribute
        self.name = name
        self.type = type_


class _Source:
    """The source of an encoder. Constants of fields (their tables and tags) become names of its module."""

    def __init__(self, kind: Message, level: int) -> None:
        self.kind = kind
        self.level = level
        self.attributes: list[_Attribute] = []
        self.names: dict[str, Any] = {
            "length": length,
            "number": protobuf.encode_field,
            "payload": protobuf.payload,
            "part": _parts.encode,
            "time": _time,
            "quantity": _quantity,
            "int_or_string": _int_or_string,
            "null": _null,
            "raw": _raw,
            "string": _string,
            "delimited": delimited,
        }
        self.lines = self._body(kind, "out", "f")

    def compile(self) -> Callable[[Any], bytes]:
        """The function from a Struct to its message."""
        lines = ["out = []", "add = out.append", *self.lines, "return b''.join(out)"]
        text = "def encode(o):\n" + "".join(f"    {line}\n" for line in lines)
        exec(compile(text, f"<protobuf {self.kind.name}>", "exec"), self.names)
        function: Callable[[Any], bytes] = self.names["encode"]
        return function

    def _name(self, value: Any) -> str:
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name

    def _body(self, kind: Message, out: str, prefix: str) -> list[str]:
        lines: list[str] = []
        for field in kind.fields:
            attribute = f"{prefix}{field.number}"
            if field.name == "*":
                inner = out + "_"
                lines += [f"{inner} = []", f"add = {inner}.append"]
                lines += self._body(protobuf.message(field.message), inner, attribute + "_")
                lines += [f"add = {out}.append", *self._add(field, f"b''.join({inner})")]
                continue
            type_: Any
            type_, expression = self._value(field)
            if field.wire == protobuf.BYTES_WIRE:
                statements = self._add(field, expression)
            else:
                statements = [f"add({expression})"]
            lines.append(f"v = o.{attribute}")
            if field.shape == "[]":
                type_ = list[type_]
                lines += ["if v:", "    for v in v:"]
            elif field.shape == "{}":
                type_ = dict[str, type_]
                entry = f"delimited(b'\\x0a', k.encode()) + delimited(b'\\x12', {expression})"
                lines += ["if v:", "    m = v", "    for k in sorted(m):", "        v = m[k]"]
                statements = self._add(field, entry)
            elif type_ is msgspec.Raw:
                lines.append("if v is not None and not null(v):")
            else:
                lines.append("if v is not None:")
            lines += [("        " if field.shape else "    ") + line for line in statements]
            self.attributes.append(
                _Attribute(attribute, field.name, type_ if type_ is msgspec.Raw else type_ | None)
            )
        return lines

    def _add(self, field: Field, expression: str) -> list[str]:
        """Statements that write a length-delimited field."""
        short, tag = self._name(_short(field.tag)), self._name(field.tag)
        return [
            f"b = {expression}",
            "n = len(b)",
            f"add({short}[n] if n < 128 else length({tag}, n))",
            "add(b)",
        ]

    def _value(self, field: Field) -> tuple[Any, str]:
        """A value's type, and the expression of its bytes (of a number with its tag) from `v`. A null in a list is Go's zero."""
        code = field.code
        match code:
            case "m" if _recursive(field.message):
                return Any, f"payload({self._name(field)}, v)"
            case "m" if self.level == _PART_LEVEL:
                return msgspec.Raw, f"part({field.message!r}, v)"
            case "m":
                inner = _compiled(field.message, self.level + 1)
                return inner.struct | None, f"{self._name(inner.encode)}(v) if v is not None else b''"
            case "i" | "l":
                short, slow = self._name(_short(field.tag)), self._name(field)
                return int, f"{short}[v] if 0 <= v < 128 else number({slow}, v)"
            case "b":
                short = self._name(_short(field.tag))
                return bool, f"{short}[v]"
            case "f":
                return float, f"number({self._name(field)}, v)"
            case "s":
                return (str | None, "string(v)") if field.shape else (str, "v.encode()")
            case "t" | "u":
                return str | None, f"time({self._name(field)}, v)"
            case "q":
                return str | int | float | None, "quantity(v)"
            case "x":
                return int | str | None, "int_or_string(v)"
            case "r":
                return msgspec.Raw, "raw(v)"
            case _:
                return Any, f"payload({self._name(field)}, v)"
