"""The front of CEL: expressions parsed and checked by the C++ implementation, with its errors in cel-go's words.

What comes out is a tree (`cel_ast`). `cel_check` declares the variables that expressions are checked against, `cel_cost` estimates what a tree can
cost, `cel_program` runs it. Checking takes 50 to 150 µs. The library (21 MB) is loaded with the first expression, so a cluster without rules does
not pay for it. Its own evaluator is not used: it does not count costs as cel-go does, and takes 20 times as long on JSON.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

import msgspec

from lakh.machinery import cel_names
from lakh.machinery.cel_functions import FUNCTIONS, MESSAGES, Function

# An expression longer than this is no expression but an attack on the parser; cel-go's limit (code points).
SOURCE_MAX_CHARS = 100_000


# Few differ: most have no variables.
CONFIGS_KEPT = 32


class ExpressionError(Exception):
    """An expression cannot be compiled."""


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
        "dyn": of.DYN,
        "list": of.List(of.DYN),
        "query": of.Map(of.STRING, of.List(of.STRING)),
    }


def _unanswered(*arguments: Any) -> None:
    raise ValueError("expressions are checked here, not evaluated")


def declare(name: str, overloads: tuple[Function, ...], types: Mapping[str, Any]) -> Any:
    """A function's declaration. Overloads that are one with these types are declared once."""
    by_shape: dict[tuple[Any, ...], list[tuple[int, Function]]] = {}
    for number, overload in enumerate(overloads):
        names = (types[a].name() for a in overload[1])
        by_shape.setdefault((overload[0], *names), []).append((number, overload))
    made = []
    for alike in by_shape.values():
        number, (is_method, arguments, result, _) = alike[0]
        same = len({o[2] for _, o in alike}) == 1
        made.append(
            library().Overload(
                f"kubernetes_{name.replace('.', '_')}_{number}",
                types[result if same else "dyn"],
                [types[a] for a in arguments],
                is_method,
                _unanswered,
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


def is_generic(overloads: tuple[Function, ...]) -> bool:
    """Whether a function has types that only a configuration can say: optionals, and types that are parameters."""
    kinds = {kind for _, arguments, result, _ in overloads for kind in (*arguments, result)}
    return any("optional-" in kind or kind.rpartition("-")[2] == "A" for kind in kinds)


def _spelled(kind: str) -> dict[str, Any]:
    """A type of the tables of functions, as a configuration has it."""
    for prefix, outer in (("list-", "list"), ("optional-", "optional_type")):
        if kind.startswith(prefix):
            return {"type_name": outer, "params": [_spelled(kind.removeprefix(prefix))]}
    return (
        {"type_name": kind, "is_type_param": True} if kind == "A" else {"type_name": MESSAGES.get(kind, kind)}
    )


def _overload(name: str, number: int, overload: Function) -> dict[str, Any]:
    is_method, arguments, result, _ = overload
    spelled = [_spelled(kind) for kind in arguments]
    target = {"target": spelled.pop(0)} if is_method else {}
    identity = f"kubernetes_{name.replace('.', '_')}_{number}"
    return {"id": identity, **target, "args": spelled, "return": _spelled(result)}


def config(*, declared: bool, variables: Mapping[str, Any] | None = None) -> Any:
    """What only a configuration can ask for: extensions, and with `declared` Kubernetes' functions whose types are generic. `variables` have types in
    a configuration's words."""
    return _config(
        declared, msgspec.json.encode([{"name": n, **kind} for n, kind in (variables or {}).items()])
    )


@lru_cache(CONFIGS_KEPT)
def _config(declared: bool, variables: bytes) -> Any:
    names = ["lists", *(["two-var-comprehensions"] if declared else [])]
    functions = [
        {"name": name, "overloads": [_overload(name, *numbered) for numbered in enumerate(overloads)]}
        for name, overloads in (FUNCTIONS if declared else {}).items()
        if is_generic(overloads)
    ]
    wanted = {
        "name": "kubernetes",
        "extensions": [{"name": name} for name in names],
        "functions": functions,
        "variables": msgspec.json.decode(variables),
    }
    # JSON is YAML.
    return library().NewEnvConfigFromYaml(msgspec.json.encode(wanted).decode())


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


_APPLIED = re.compile(
    r"ERROR: <input>:(\d+):(\d+): found no matching overload for '([^']+)' applied to '\(([^'\n]*)\)'"
)


def _applied(found: re.Match[str], source: str) -> str:
    """What a call is given, as cel-go writes it: a method's target stands before it."""
    line, column, name, given = int(found[1]), int(found[2]), found[3], found[4].replace("null_type", "null")
    lines = source.split("\n")
    before = lines[line - 1][: column - 1] if line <= len(lines) else ""
    shown = f"({given})"
    if "." not in name and re.search(rf"\.\s*{re.escape(name)}\s*\Z", before):
        depth, end = 0, len(given)
        for index, char in enumerate(given):
            depth += (char == "(") - (char == ")")
            if char == "," and not depth:
                end = index
                break
        shown = f"{given[:end]}.({given[end + 1 :].strip()})"
    return f"ERROR: <input>:{line}:{column}: found no matching overload for '{name}' applied to '{shown}'"


# What the library says → what cel-go says.
_WORDS = (
    (re.compile(r"cannot be the range of a comprehension"), "cannot be range of a comprehension"),
    (
        re.compile(r"expression of (type '[^'\n]*') cannot be the operand of a select operation"),
        r"\1 does not support field selection",
    ),
    (re.compile(r"has\(\) argument must be a field selection"), "invalid argument to has() macro"),
    (
        re.compile(r"\w+\(\) (?:first|second) variable name must be a simple identifier"),
        "argument must be a simple name",
    ),
    (
        re.compile(r"(?:all|exists|exists_one|existsOne)\(\) variable name must be a simple identifier"),
        "argument must be a simple name",
    ),
    # What cel-go has no warnings of.
    (re.compile(r"^WARNING: [^\n]*\n \| [^\n]*\n \| [^\n]*\n?", re.MULTILINE), ""),
    (
        re.compile(r"(?:map|filter)\(\) variable name must be a simple identifier"),
        "argument is not an identifier",
    ),
)
_TOO_DEEP = re.compile(r"(?:recursion limit exceeded. limit:|Exceeded max recursion depth of) (\d+)")


def compile_error(error: Exception, source: str) -> str:
    """An error of compilation as cel-go says it."""

    def first_name(found: re.Match[str]) -> str:
        """Of a chain that leads nowhere cel-go names the first name only."""
        line, column, name, rest = int(found[1]), int(found[2]), found[3], found[4]
        at = source.split("\n")[line - 1].rfind(name + rest, 0, column + len(rest))
        why = f"undeclared reference to '{name}' (in container '')"
        return found[0] if at < 0 else report(source, line, at, why)

    deep = _TOO_DEEP.search(str(error))
    if deep is not None:
        return f"ERROR: <input>:-1:0: expression recursion limit exceeded: {deep[1]}"
    text = str(error).partition(": ")[2].removesuffix(" [INVALID_ARGUMENT]") or str(error)
    text = _TYPE_NAMES.sub(r"optional_type(\1)", _STRUCT.sub(r"undefined field '\1'", text))
    for theirs, words in _WORDS:
        text = theirs.sub(words, text)
    text = _APPLIED.sub(lambda found: _applied(found, source), text)
    return _UNDECLARED.sub(first_name, text)


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
