"""The Common Expression Language with Kubernetes' functions, on the C++ implementation.

`compile_expression` gives a `Program` of an expression of `self` and `oldSelf` (and what else is declared); `Program.evaluate` runs it on plain JSON.
Compiling takes 50 to 150 µs, evaluating 2 µs on an `Activation` that is shared by the rules of a place, which itself takes 10 µs.
The library (21 MB) is loaded with the first expression, so a cluster without rules does not pay for it.

Two environments make a program: one declares everything, so that what does not fit is refused, the other runs it. Declarations that the library
has but does not implement (`cel.@mapInsert`, behind `transformMap`) are implemented in the second. `cel_check` has the environments in which the
expressions of definitions are checked against their schemas.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any

from lakh.machinery import cel_names
from lakh.machinery.cel_functions import FUNCTIONS, MESSAGES, OPTIONALS, Function, as_quantity

__all__ = ["ExpressionError", "Program", "as_quantity", "compile_expression", "duration", "timestamp"]

# Distinct expressions that are kept compiled; real definitions have a few hundred.
CACHE_ENTRIES = 4096
# An expression longer than this is no expression but an attack on the parser; cel-go's limit (code points).
SOURCE_MAX_CHARS = 100_000


# The library ends an evaluation after 10,000 rounds of macros; upstream after 1,000,000 units of cost, 100,000 rounds or so.
CANCELLED = "operation cancelled: actual cost limit exceeded"


class ExpressionError(Exception):
    """An expression cannot be compiled, or its evaluation failed."""


@cache
def library() -> Any:
    """The library's module."""
    return importlib.import_module("cel_expr_python.cel")


@cache
def plain_types() -> dict[str, Any]:
    """The types that the tables of functions name. Kubernetes' own are maps."""
    of = library().Type
    scalars = {
        "bool": of.BOOL,
        "int": of.INT,
        "uint": of.UINT,
        "double": of.DOUBLE,
        "string": of.STRING,
        "bytes": of.BYTES,
        "timestamp": of.TIMESTAMP,
        "duration": of.DURATION,
    }
    return {
        **scalars,
        **{f"list-{name}": of.List(kind) for name, kind in scalars.items()},
        **dict.fromkeys((*MESSAGES, "map"), of.Map(of.STRING, of.DYN)),
        **dict.fromkeys(("dyn", "optional"), of.DYN),
        "list": of.List(of.DYN),
        "query": of.Map(of.STRING, of.List(of.STRING)),
    }


def declare(
    name: str, overloads: tuple[Function, ...], types: Mapping[str, Any], *, by_kind: bool = False
) -> Any:
    """A function's declaration. Overloads that are one with these types are declared once; `by_kind`: those that differ only in what lists
    hold are, too, for that is not looked at when a call is dispatched."""
    by_shape: dict[tuple[Any, ...], list[tuple[int, Function]]] = {}
    for number, overload in enumerate(overloads):
        names = (types[a].name().partition("<")[0] if by_kind else types[a].name() for a in overload[1])
        by_shape.setdefault((overload[0], *names), []).append((number, overload))
    made = []
    for alike in by_shape.values():
        number, (is_method, arguments, result, implementation) = alike[0]
        same = len({o[2] for _, o in alike}) == 1
        made.append(
            library().Overload(
                f"kubernetes_{name.replace('.', '_')}_{number}",
                types[result if same else "dyn"],
                [types[a] for a in arguments],
                is_method,
                implementation,
            )
        )
    return library().FunctionDecl(name, made)


@cache
def extensions(bindings: bool) -> list[Any]:
    """The library's own extensions that Kubernetes' environment has."""
    wanted = [("ext_strings", "ExtStrings", (2,)), ("ext_optional", "ExtOptional", ())]
    if bindings:
        wanted.append(("ext_bindings", "ExtBindings", ()))
    return [
        getattr(importlib.import_module(f"cel_expr_python.ext.{module}"), name)(*version)
        for module, name, version in wanted
    ]


def config(*, declared: bool) -> Any:
    """The extensions that only a configuration can ask for."""
    names = ["lists", *(["two-var-comprehensions"] if declared else [])]
    lines = "".join(f"- name: {name}\n" for name in names)
    return library().NewEnvConfigFromYaml(f"name: kubernetes\nextensions:\n{lines}")


# Numbers of different kinds can be compared.
_NUMBERS = ("int", "uint", "double")
_COMPARISONS = {
    "_<_": ("less", lambda a, b: a < b),
    "_<=_": ("less_equals", lambda a, b: a <= b),
    "_>_": ("greater", lambda a, b: a > b),
    "_>=_": ("greater_equals", lambda a, b: a >= b),
}
_WIDTHS = {"int": "int64", "uint": "uint64", "double": "double"}


@cache
def comparisons() -> list[Any]:
    """Declarations only: whatever runs them has them."""
    types = plain_types()
    return [
        library().FunctionDecl(
            operator,
            [
                library().Overload(
                    f"{name}_{_WIDTHS[a]}_{_WIDTHS[b]}", types["bool"], [types[a], types[b]], False, compare
                )
                for a in _NUMBERS
                for b in _NUMBERS
                if a != b
            ],
        )
        for operator, (name, compare) in _COMPARISONS.items()
    ]


def _inserted(items: Mapping[Any, Any], *more: Any) -> dict[Any, Any]:
    return {**items, **(more[0] if len(more) == 1 else {more[0]: more[1]})}


@lru_cache(64)
def _environments(variables: tuple[tuple[str, str], ...]) -> tuple[Any, Any]:
    """The one that compiles, and the one that runs."""
    types, new = plain_types(), library().NewEnv
    declared = {name: types[kind] for name, kind in variables}
    any_map = library().Type.Map(types["dyn"], types["dyn"])
    insert = library().FunctionDecl(
        "cel.@mapInsert",
        [
            library().Overload("@mapInsert_map_map", any_map, [any_map, any_map], False, _inserted),
            library().Overload(
                "@mapInsert_map_key_value", any_map, [any_map, types["dyn"], types["dyn"]], False, _inserted
            ),
        ],
    )

    def environment(also: list[Any], *, declares: bool) -> Any:
        functions = [
            declare(name, overloads, types, by_kind=not declares)
            for name, overloads in (*FUNCTIONS.items(), *OPTIONALS.items())
        ]
        ours = library().CelExtension("kubernetes", [*functions, *also])
        return new(config=config(declared=declares), variables=declared, extensions=[*extensions(True), ours])

    return environment(comparisons(), declares=True), environment([insert], declares=False)


_MISSING_KEY = re.compile(r'Key not found in map : "?([^"]*)"?')
_INDEX = re.compile(r"Index error: index=(-?\d+) size=\d+")


def _go_text(message: str) -> str:
    """An error of evaluation as cel-go says it."""
    message = (message.partition(": ")[2] or message).removesuffix(" [INVALID_ARGUMENT]")
    if found := _MISSING_KEY.search(message):
        return f"no such key: {found.group(1)}"
    if found := _INDEX.search(message):
        return f"index out of bounds: {found.group(1)}"
    if message.startswith("Iteration budget exceeded"):
        return CANCELLED
    if "No matching overloads" in message:
        return "no such overload"
    return "division by zero" if message == "divide by zero" else message


_STRUCT = re.compile(r"undefined field '([^']*)' not found in struct '[^']*'")
_TYPE_NAMES = re.compile(r"\b(?:optional_type<[^>]*>)\(([^()]*)\)")


_UNDECLARED = re.compile(
    r"ERROR: <input>:(\d+):(\d+): undeclared reference to '([A-Za-z_]\w*)((?:\.\w+)+)' \(in container ''\)\n \| [^\n]*\n \| [.．]*\^"
)


def report(source: str, line: int, column: int, why: str) -> str:
    """A finding at a place of an expression, as cel-go prints it. `line` counts from 1, `column` from 0."""
    text = source.split("\n")[line - 1].replace("\t", " ") if line <= source.count("\n") + 1 else ""
    dots = "".join("." if c.isascii() else "．" for c in text[:column])
    return f"ERROR: <input>:{line}:{column + 1}: {why}\n | {text}\n | {dots}^"


def compile_error(error: Exception, source: str) -> str:
    """An error of compilation as cel-go says it."""

    def first_name(found: re.Match[str]) -> str:
        """Of a chain that leads nowhere cel-go names the first name only."""
        line, column, name, rest = int(found[1]), int(found[2]), found[3], found[4]
        at = source.split("\n")[line - 1].rfind(name + rest, 0, column + len(rest))
        why = f"undeclared reference to '{name}' (in container '')"
        return found[0] if at < 0 else report(source, line, at, why)

    text = str(error).partition(": ")[2].removesuffix(" [INVALID_ARGUMENT]") or str(error)
    text = _TYPE_NAMES.sub(r"optional_type(\1)", _STRUCT.sub(r"undefined field '\1'", text))
    return _UNDECLARED.sub(first_name, text)


class Program:
    """A compiled expression."""

    __slots__ = ("_environment", "_expression", "result", "source")

    def __init__(self, environment: Any, expression: Any, source: str) -> None:
        self._environment = environment
        self._expression = expression
        self.source = source
        # The name of the result's type: BOOL, STRING, DYN …
        self.result: str = expression.return_type().name()

    def __repr__(self) -> str:
        return f"<Program {self.source}>"

    def activation(self, values: Mapping[str, Any]) -> Any:
        """Values bound to variables, for all programs with the same variables."""
        return self._environment.Activation(dict(values))

    def evaluate(self, activation: Any) -> Any:
        """The result as plain JSON; raises ExpressionError."""
        try:
            result = self._expression.eval(activation)
            if result.type().name() == "ERROR":
                raise ExpressionError(_go_text(str(result.value())))
            return result.plain_value()
        except (RuntimeError, ValueError, TypeError) as e:
            raise ExpressionError(_go_text(str(e))) from None


_ONCE = re.compile(rf"{cel_names.STRING}|\.(existsOne|exists_one)\(|[()\[\]{{}},]", re.DOTALL)


def _existing_once(source: str) -> str:
    """cel-go has both spellings for one variable and for two, the library one for each."""
    if "existsOne" not in source and "exists_one" not in source:
        return source
    spellings: dict[int, str] = {}
    # Of each bracket that is open: where the macro's name stands, and the commas so far.
    stack: list[list[int]] = []
    for found in _ONCE.finditer(source):
        token = found.group()
        if found.group(1) or token in ("(", "[", "{"):
            stack.append([found.start(1) if found.group(1) else -1, 0])
        elif token == "," and stack:
            stack[-1][1] += 1
        elif token in (")", "]", "}") and stack:
            start, commas = stack.pop()
            if start >= 0:
                spellings[start] = "exists_one" if commas == 1 else "existsOne"
    for start in sorted(spellings, reverse=True):
        end = source.index("(", start)
        # A space keeps the columns of errors where they can be kept.
        name = spellings[start].ljust(end - start)
        source = source[:start] + name + source[end:]
    return source


def compile_in(environment: Any, source: str) -> Any:
    """A checked expression; raises ExpressionError with the compiler's text."""
    if len(source) > SOURCE_MAX_CHARS:
        raise ExpressionError(
            f"ERROR: <input>:-1:0: expression code point size exceeds limit: size: {len(source)}, limit {SOURCE_MAX_CHARS}"
        )
    try:
        return environment.compile(_existing_once(source))
    except (RuntimeError, ValueError, TypeError) as e:
        raise ExpressionError(compile_error(e, source)) from None


@lru_cache(CACHE_ENTRIES)
def compile_expression(source: str, variables: tuple[tuple[str, str], ...]) -> Program:
    """A program; raises ExpressionError with the compiler's text. `variables` are names and types (dyn, string, int …)."""
    compiling, running = _environments(variables)
    checked = compile_in(compiling, source)
    try:
        return Program(running, running.deserialize(checked.serialize()), source)
    except (RuntimeError, ValueError, TypeError) as e:
        raise ExpressionError(compile_error(e, source)) from None


def timestamp(text: str) -> Any:
    """A `date-time` as CEL's timestamp; the text itself when it is none."""
    value = importlib.import_module("google.protobuf.timestamp_pb2").Timestamp()
    try:
        value.FromJsonString(text)
    except ValueError:
        return text
    return value


_DURATION_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_duration_parts: Callable[[str], list[tuple[str, str]]] = re.compile(
    r"(\d+\.?\d*|\.\d+)(ms|us|µs|ns|h|m|s)"
).findall


def duration(text: str) -> Any:
    """A `duration` as CEL's; the text itself when it is none."""
    parts = _duration_parts(text)
    if not parts:
        return text
    seconds = sum(float(number) * _DURATION_UNITS[unit] for number, unit in parts)
    value = importlib.import_module("google.protobuf.duration_pb2").Duration()
    value.FromNanoseconds(round((-seconds if text.startswith("-") else seconds) * 1e9))
    return value
