"""Expressions checked against declared types, as they are written.

A schema's objects become messages of a pool of descriptors, so that the library's own checker says what is no field and what does not go together.
Messages cannot say lists in lists or lists in maps; such places have any type here (`Checker.knows`). Upstream compiles
against its `DeclType`s and adds cel-go's validators of literals; their messages are given here too.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from lakh.machinery import cel, cel_ast, cel_strings, goregex
from lakh.machinery.cel_ast import Ast, Expr, Type
from lakh.machinery.cel_decl import Decl, objects
from lakh.machinery.cel_functions import FUNCTIONS, MESSAGES, Function
from lakh.machinery.cel_metering import PER_CALL_LIMIT
from lakh.machinery.cel_program import Program
from lakh.machinery.cel_times import parse_timestamp

_FIELD_TYPES = {"bool": 8, "int": 3, "uint": 4, "double": 1, "string": 9, "bytes": 12}
_MESSAGE, _OPTIONAL, _REPEATED = 11, 1, 3
_WELL_KNOWN = {
    "timestamp": ".google.protobuf.Timestamp",
    "duration": ".google.protobuf.Duration",
    "dyn": ".google.protobuf.Value",
}
_PACKAGE = "object"
_OBJECT = re.compile(rf"\b{_PACKAGE}\.Object\d+\b")
_GOOGLE = ("struct", "timestamp", "duration", "any", "wrappers")


class Checker:
    """Compiles expressions of some variables: declared ones, and those of the named types of `functions`. Variables that are `optional` may be none.
    `bindings`: with `cel.bind`. `structs` are types that expressions can make, with their fields' kinds (string, dyn)."""

    def __init__(
        self,
        variables: Mapping[str, Decl | str],
        functions: Mapping[str, tuple[Function, ...]] | None = None,
        messages: Mapping[str, str] | None = None,
        *,
        bindings: bool = False,
        optional: Collection[str] = (),
        structs: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._untyped: set[str] = set()
        # The messages of types that have names.
        self._names: dict[str, str] = {}
        self.declarations = {name: kind for name, kind in variables.items() if isinstance(kind, Decl)}
        named = {**MESSAGES, **(messages or {})}
        pool = self._pool(named)
        if structs:
            pool.AddSerializedFile(_structs(structs))
        types = _types(tuple(sorted(named.items())))
        declared = {
            name: self._type(kind) if isinstance(kind, Decl) else types[kind]
            for name, kind in variables.items()
            if name not in optional
        }
        optionals = {name: _spelled("optional_type", self.declarations[name]) for name in optional}
        ours = [_kubernetes()]
        if functions is not None:
            also = [cel.declare(name, overloads, types) for name, overloads in functions.items()]
            ours.append(cel.library().CelExtension("also", also))
        self._environment = cel.library().NewEnv(
            descriptor_pool=pool,
            config=cel.config(declared=True, variables=optionals),
            variables=declared,
            extensions=[*cel.extensions(bindings), *ours],
        )

    def __repr__(self) -> str:
        return f"<Checker of {', '.join(self.declarations)}>"

    def knows(self, source: str) -> bool:
        """Whether the types in an expression are all known: what has any type may have any."""
        return not any(name in source for name in self._untyped)

    def named(self, text: str) -> str:
        """A text about types with their names."""
        return (
            _OBJECT.sub(lambda found: self._names.get(found.group()) or found.group(), text)
            if self._names
            else text
        )

    def check(self, source: str) -> Ast:
        """The tree of an expression; raises ExpressionError with cel-go's text."""
        try:
            compiled = cel.compile_in(self._environment, source)
        except cel.ExpressionError as e:
            raise cel.ExpressionError(self.named(str(e))) from None
        ast = cel_ast.decode(compiled.serialize())
        found = [
            cel.report(source, *_place(source, ast.positions.get(at.id, 0)), why)
            for at, why in _literals(ast)
        ]
        if found:
            raise cel.ExpressionError("\n".join(found))
        return ast

    def compile(self, source: str, variables: Sequence[str], *, limit: int = PER_CALL_LIMIT) -> Program:
        """A program of an expression, which takes the values of `variables` in order; raises ExpressionError."""
        return program(self.check(source), variables, source, limit=limit)

    # -- declarations ----------------------------------------------------------------------------------------------------------------------

    def _pool(self, named: Mapping[str, str]) -> Any:
        pb = importlib.import_module("google.protobuf.descriptor_pb2")
        pool = importlib.import_module("google.protobuf.descriptor_pool").DescriptorPool()
        for file in _well_known():
            pool.AddSerializedFile(file)
        by_package: dict[str, list[str]] = {}
        for full in named.values():
            package, _, name = full.rpartition(".")
            by_package.setdefault(package, []).append(name)
        for package, messages in by_package.items():
            file = pb.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
            for name in messages:
                file.message_type.add(name=name)
            pool.AddSerializedFile(file.SerializeToString())
        file = pb.FileDescriptorProto(name="object.proto", package=_PACKAGE, syntax="proto3")
        file.dependency.extend(f"google/protobuf/{name}.proto" for name in _GOOGLE[:3])
        number = 0
        # A declaration may be that of two variables.
        for root in dict.fromkeys(self.declarations.values()):
            for decl in objects(root):
                decl.message = f"Object{number}"
                if decl.name:
                    self._names[f"{_PACKAGE}.{decl.message}"] = decl.name
                number += 1
        for root in dict.fromkeys(self.declarations.values()):
            for decl in objects(root):
                message = file.message_type.add(name=decl.message)
                # Of `a_b` and `aB` the pool would have one otherwise.
                message.options.deprecated_legacy_json_field_conflicts = True
                for index, (name, child) in enumerate(decl.fields.items(), start=1):
                    self._field(message, name, index, child)
        pool.AddSerializedFile(file.SerializeToString())
        return pool

    def _field(self, message: Any, name: str, number: int, decl: Decl) -> None:
        field = message.field.add(name=name, number=number, json_name=name, label=_OPTIONAL)
        element = decl.element
        entry_name = "".join(p[:1].upper() + p[1:] for p in name.split("_")) + "Entry"
        nested = element is not None and element.kind in ("list", "map")
        if decl.kind == "map" and any(m.name == entry_name for m in message.nested_type):
            nested = True
        if element is not None and not nested:
            if decl.kind == "list":
                self._scalar(field, element)
            else:
                entry = message.nested_type.add(name=entry_name)
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, type=_FIELD_TYPES["string"], label=_OPTIONAL)
                self._scalar(entry.field.add(name="value", number=2, label=_OPTIONAL), element)
                field.type, field.type_name = _MESSAGE, f".{_PACKAGE}.{message.name}.{entry.name}"
            field.label = _REPEATED
        elif element is not None:
            self._untyped.add(name)
            self._scalar(field, _ANYTHING)
        else:
            self._scalar(field, decl)

    def _scalar(self, field: Any, decl: Decl) -> None:
        if decl.kind in _FIELD_TYPES:
            field.type = _FIELD_TYPES[decl.kind]
        else:
            field.type = _MESSAGE
            field.type_name = _WELL_KNOWN.get(decl.kind) or f".{_PACKAGE}.{decl.message}"

    def _type(self, decl: Decl) -> Any:
        of = cel.library().Type
        if decl.kind == "object":
            return of(f"{_PACKAGE}.{decl.message}")
        if decl.element is not None:
            inner = self._type(decl.element)
            return of.List(inner) if decl.kind == "list" else of.Map(of.STRING, inner)
        return cel.plain_types()[decl.kind]


_ANYTHING = Decl("dyn", 1)


def _spelled(outer: str, *inner: Decl) -> dict[str, Any]:
    """A type made of declared ones, as a configuration has it."""
    return {"type_name": outer, "params": [_spelled_decl(decl) for decl in inner]}


def _spelled_decl(decl: Decl) -> dict[str, Any]:
    if decl.kind == "object":
        return {"type_name": f"{_PACKAGE}.{decl.message}"}
    if decl.element is not None:
        return _spelled(decl.kind, *([_TEXT] if decl.kind == "map" else []), decl.element)
    return {"type_name": decl.kind}


_TEXT = Decl("string", 2)


def program(ast: Ast, variables: Sequence[str], source: str, *, limit: int = PER_CALL_LIMIT) -> Program:
    """A checked expression as a program; raises ExpressionError."""
    try:
        return Program(ast, variables, source, limit=limit)
    except ValueError as e:
        raise cel.ExpressionError(f"program instantiation failed: {e}") from None


def _structs(structs: Mapping[str, Mapping[str, str]]) -> bytes:
    pb = importlib.import_module("google.protobuf.descriptor_pb2")
    file = pb.FileDescriptorProto(name="structs.proto", syntax="proto3")
    file.dependency.append("google/protobuf/struct.proto")
    for name, fields in structs.items():
        message = file.message_type.add(name=name)
        message.options.deprecated_legacy_json_field_conflicts = True
        for number, (field, kind) in enumerate(fields.items(), start=1):
            at = message.field.add(name=field, number=number, json_name=field, label=_OPTIONAL)
            if kind in _FIELD_TYPES:
                at.type = _FIELD_TYPES[kind]
            else:
                at.type, at.type_name = _MESSAGE, _WELL_KNOWN[kind]
    return bytes(file.SerializeToString())


@cache
def _well_known() -> list[bytes]:
    modules = (importlib.import_module(f"google.protobuf.{name}_pb2") for name in _GOOGLE)
    return [module.DESCRIPTOR.serialized_pb for module in modules]


@cache
def _types(named: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """The types that tables of functions name, where Kubernetes' own are messages."""
    of = cel.library().Type
    types = {**cel.plain_types(), **{short: of(full) for short, full in named}}
    by_name = {
        f"domains-{kind}": of.Map(of.STRING, of.Map(of.STRING, types[kind])) for kind in ("dyn", "quantity")
    }
    return {**types, **by_name}


@cache
def _kubernetes() -> Any:
    """Kubernetes' functions, declared once for all checkers."""
    types = _types(tuple(sorted(MESSAGES.items())))
    ours = [
        cel.declare(name, overloads, types)
        for name, overloads in FUNCTIONS.items()
        if not cel.is_generic(overloads)
    ]
    return cel.library().CelExtension("kubernetes", [*ours, *cel.comparisons()])


# -- validators of literals ----------------------------------------------------------------------------------------------------------------

_DURATION = re.compile(r"[-+]?(0|((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)\Z")


def _is_pattern(text: str) -> bool:
    try:
        goregex.compiled(text)
    except ValueError:
        return False
    return True


_ARGUMENTS = {
    "duration": lambda text: _DURATION.match(text) is not None,
    "timestamp": lambda text: parse_timestamp(text) is not None,
    "matches": _is_pattern,
}


def _literals(ast: Ast) -> Iterator[tuple[Expr, str]]:
    """Literals that cannot be what they are used for, and lists and maps of different types."""
    exempt = {
        below.id
        for at in cel_ast.walk(ast.root)
        if at.kind == "call" and at.name == "format"
        for below in cel_ast.walk(at)
    }
    for at in cel_ast.walk(ast.root):
        if at.kind == "call" and at.name in _ARGUMENTS and at.args:
            text = at.args[0].value
            if isinstance(text, str) and not _ARGUMENTS[at.name](text):
                yield at.args[0], f"invalid {at.name} argument"
        elif at.kind == "literal" and isinstance(at.value, float) and math.isinf(at.value):
            # The library takes it for infinity.
            yield at, "invalid double literal"
        elif at.kind == "call" and at.name == "format":
            yield from _format(ast, at)
        elif at.kind in ("list", "map") and at.id not in exempt:
            if at.kind == "list":
                yield from _mismatch(ast, at.args, at.optional)
            else:
                yield from _mismatch(ast, at.args[::2], frozenset())
                yield from _mismatch(ast, at.args[1::2], at.optional)


def _format(ast: Ast, call: Expr) -> Iterator[tuple[Expr, str]]:
    """What is wrong with a format that is a literal, of arguments that are one."""
    of = call.operand
    if of is None or not isinstance(of.value, str) or [a.kind for a in call.args] != ["list"]:
        return

    def parts(at: Expr) -> Iterator[tuple[Expr, str, str]]:
        kind = ast.type(at)
        yield (
            at,
            "dyn" if kind.kind == "type_param" else kind.kind,
            _FULL_NAMES.get(kind.kind) or kind.name or kind.kind,
        )
        if at.kind in ("list", "map"):
            for below in at.args:
                yield from parts(below)

    try:
        cel_strings.check_format(of.value, call.args[0].args, parts)
    except cel_strings.Misfit as e:
        yield e.place, str(e)
    except ValueError as e:
        yield call, str(e)


_FULL_NAMES = {"timestamp": "google.protobuf.Timestamp", "duration": "google.protobuf.Duration"}


def _mismatch(ast: Ast, group: list[Expr], optional: frozenset[int]) -> Iterator[tuple[Expr, str]]:
    first: Type | None = None
    for index, item in enumerate(group):
        kind = ast.type(item)
        if index in optional and kind.parameters:
            kind = kind.parameters[0]
        if first is None:
            first = kind
        elif kind != first:
            yield item, f"expected type '{first}' but found '{kind}'"
            return


def _place(source: str, position: int) -> tuple[int, int]:
    """Line and column of a position."""
    return source.count("\n", 0, position) + 1, position - source.rfind("\n", 0, position) - 1
