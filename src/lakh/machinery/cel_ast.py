"""Compiled CEL expressions as trees: what the library's `CheckedExpr` (cel/expr/checked.proto, syntax.proto) says of types, overloads and places.

Only who looks into an expression needs this, when it is written: the estimate of its cost, and checks of its literals. A rule of 60 characters takes
100 µs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

# Kinds of types that are not parametrised, by their numbers in `PrimitiveType` and `WellKnownType`.
_PRIMITIVES = {1: "bool", 2: "int", 3: "uint", 4: "double", 5: "string", 6: "bytes"}
_WELL_KNOWN = {1: "any", 2: "timestamp", 3: "duration"}
_SCALARS = frozenset(["bool", "int", "uint", "double", "timestamp", "duration"])


@dataclass(frozen=True, slots=True)
class Type:
    """A CEL type: its kind (`list`, `map`, `struct`, `optional_type`, `string` …), its parameters, and a message's name."""

    kind: str
    parameters: tuple[Type, ...] = ()
    name: str = ""

    @property
    def scalar(self) -> bool:
        """Whether every value has the same size."""
        if self.kind == "optional_type":
            return bool(self.parameters) and self.parameters[0].scalar
        return self.kind in _SCALARS

    def __str__(self) -> str:
        if self.kind == "struct":
            return self.name
        of = f"({', '.join(map(str, self.parameters))})" if self.parameters else ""
        return self.kind + of


DYN = Type("dyn")


@dataclass(slots=True, eq=False)
class Expr:
    """A place in an expression. `kind` says which of the fields mean something."""

    id: int
    kind: str = ""  # literal, ident, select, call, list, map, struct or comprehension
    name: str = ""  # of an identifier, a field or a function
    value: Any = None  # of a literal
    operand: Expr | None = None  # of a selection; the target of a call
    args: list[Expr] = field(
        default_factory=list
    )  # of a call; the items of a list; keys and values of a map in turn
    test_only: bool = False  # of a selection made by has()
    optional: frozenset[int] = (
        frozenset()
    )  # of a list or a map: items, entries that are left out when they are none
    loop: Comprehension | None = None


@dataclass(slots=True, eq=False)
class Comprehension:
    """What macros such as `all` and `map` stand for."""

    var: str
    var2: str
    range: Expr
    accu_var: str
    accu_init: Expr
    condition: Expr
    step: Expr
    result: Expr


@dataclass(slots=True, eq=False)
class Ast:
    """An expression with what the checker found: the type of each place, the overloads of each call, and where each place stands in the source."""

    root: Expr
    types: dict[int, Type]
    overloads: dict[int, list[str]]
    names: frozenset[str]
    positions: dict[int, int]
    named: frozenset[int] = (
        frozenset()
    )  # places that are names, of variables or types; a chain of selections can be one

    def type(self, expr: Expr) -> Type:
        """The type of a place."""
        return self.types.get(expr.id, DYN)


def walk(expr: Expr) -> Iterator[Expr]:
    """A place and all below it."""
    stack = [expr]
    while stack:
        at = stack.pop()
        yield at
        stack.extend(at.args)
        if at.operand is not None:
            stack.append(at.operand)
        if at.loop is not None:
            loop = at.loop
            stack += (loop.range, loop.accu_init, loop.condition, loop.step, loop.result)


# -- the wire form ------------------------------------------------------------------------------------------------------------------------


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message that the library wrote: numbers, or bytes."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire == 2:
            size, at = _varint(data, at)
            yield number, data[at : at + size]
            at += size
        else:
            size = 8 if wire == 1 else 4
            yield number, data[at : at + size]
            at += size


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _entry(data: bytes) -> tuple[int, Any]:
    """A pair of a map from numbers."""
    key, value = 0, b""
    for number, part in _fields(data):
        if number == 1:
            key = part
        else:
            value = part
    return key, value


def _type(data: bytes) -> Type:
    for number, part in _fields(data):
        match number:
            case 2:
                return Type("null_type")
            case 3:
                return Type(_PRIMITIVES.get(part, "dyn"))
            case 4:
                return Type("wrapper", (Type(_PRIMITIVES.get(part, "dyn")),))
            case 5:
                return Type(_WELL_KNOWN.get(part, "dyn"))
            case 6:
                return Type("list", (next((_type(p) for n, p in _fields(part) if n == 1), DYN),))
            case 7:
                found = dict(_fields(part))
                return Type("map", (_type(found.get(1, b"")), _type(found.get(2, b""))))
            case 9:
                return Type("struct", (), part.decode())
            case 10:
                return Type("type_param", (), part.decode())
            case 11:
                return Type("type")
            case 14:
                name, of = "", []
                for inner, value in _fields(part):
                    if inner == 1:
                        name = value.decode()
                    else:
                        of.append(_type(value))
                return Type(name, tuple(of))
    return DYN


def _constant(data: bytes) -> Any:
    for number, part in _fields(data):
        match number:
            case 2:
                return bool(part)
            case 3:
                return _signed(part)
            case 4:
                return part
            case 5:
                return struct.unpack("<d", part)[0]
            case 6:
                return part.decode("utf-8", "replace")
            case 7:
                return bytes(part)
    return None


def _expr(data: bytes) -> Expr:
    found = Expr(0)
    for number, part in _fields(data):
        match number:
            case 2:
                found.id = part
            case 3:
                found.kind, found.value = "literal", _constant(part)
            case 4:
                found.kind, found.name = "ident", _text(part, 1)
            case 5:
                found.kind = "select"
                for inner, value in _fields(part):
                    if inner == 1:
                        found.operand = _expr(value)
                    elif inner == 2:
                        found.name = value.decode()
                    else:
                        found.test_only = bool(value)
            case 6:
                found.kind = "call"
                for inner, value in _fields(part):
                    if inner == 1:
                        found.operand = _expr(value)
                    elif inner == 2:
                        found.name = value.decode()
                    else:
                        found.args.append(_expr(value))
            case 7:
                found.kind = "list"
                found.args = [_expr(value) for inner, value in _fields(part) if inner == 1]
                found.optional = frozenset(_numbers(part))
            case 8:
                _entries(part, found)
            case 9:
                found.kind, found.loop = "comprehension", _comprehension(part)
    return found


def _numbers(data: bytes) -> Iterator[int]:
    """Which items of a list are optional."""
    for number, value in _fields(data):
        if number == 2 and isinstance(value, int):
            yield value
        elif number == 2:
            at = 0
            while at < len(value):
                index, at = _varint(value, at)
                yield index


def _text(data: bytes, wanted: int) -> str:
    return next((part.decode() for number, part in _fields(data) if number == wanted), "")


def _entries(data: bytes, found: Expr) -> None:
    found.name = _text(data, 1)
    found.kind = "struct" if found.name else "map"
    optional = set()
    for number, entry in _fields(data):
        if number == 2:
            found.args += [_expr(value) for inner, value in _fields(entry) if inner in (3, 4)]
            if any(inner == 5 and value for inner, value in _fields(entry)):
                optional.add(len(found.args) // 2 - 1)
    found.optional = frozenset(optional)


def _comprehension(data: bytes) -> Comprehension:
    parts = dict(_fields(data))
    names = [parts.get(number, b"").decode() for number in (1, 8, 3)]
    below = [_expr(parts.get(number, b"")) for number in (2, 4, 5, 6, 7)]
    return Comprehension(names[0], names[1], below[0], names[2], *below[1:])


def decode(serialized: bytes) -> Ast:
    """The tree of what `Expression.serialize` gave: a `CheckedExpr` in an `Any`."""
    root, names, named = Expr(0), set(), set()
    types: dict[int, Type] = {}
    overloads: dict[int, list[str]] = {}
    positions: dict[int, int] = {}
    for number, part in _fields(dict(_fields(serialized)).get(2, b"")):
        match number:
            case 2:
                key, reference = _entry(part)
                for inner, value in _fields(reference):
                    if inner == 1:
                        names.add(value.decode())
                        named.add(key)
                    elif inner == 3:
                        overloads.setdefault(key, []).append(value.decode())
            case 3:
                key, value = _entry(part)
                types[key] = _type(value)
            case 4:
                root = _expr(part)
            case 5:
                for inner, value in _fields(part):
                    if inner == 4:
                        key, position = _entry(value)
                        positions[key] = position if isinstance(position, int) else 0
    return Ast(root, types, overloads, frozenset(names), positions, frozenset(named))
