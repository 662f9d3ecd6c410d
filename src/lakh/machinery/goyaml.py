"""YAML bodies as Kubernetes reads them (sigs.k8s.io/yaml on goyaml.v2): converted to JSON, with what is there twice.

What a plain scalar means is goyaml's business, not PyYAML's: `y` and `n` are booleans, `1e3` is a number and `12:30` is none, `0o17` is 15, and
timestamps stay text. Aliases are counted before they are written out, so a small body cannot become a large one.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import msgspec
import yaml

# Values that aliases may add to a document; goyaml starts to refuse at about as many.
MAX_ALIASED_VALUES = 400_000

_encode = msgspec.json.Encoder().encode
_TAG = "tag:yaml.org,2002:"


class YamlError(ValueError):
    """A body is no YAML, or none that is JSON, too."""


class YamlBody(bytes):
    """JSON that was YAML. `duplicates`: `line 10: key "foo" already set in map` for each name that was there before."""

    duplicates: tuple[str, ...] = ()


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe YAML by goyaml's rules for plain scalars."""

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self.duplicates: list[tuple[int, str]] = []

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping, noting names that come again. The last one counts."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == _TAG + "merge":
                continue
            key = key_node.value
            if key in seen:
                shown = _quoted(key) if key_node.tag == _TAG + "str" else key
                self.duplicates.append(
                    (
                        key_node.start_mark.line + 1,
                        f"line {key_node.start_mark.line + 1}: key {shown} already set in map",
                    )
                )
            seen.add(key)
        made: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return made


def _quoted(text: str) -> str:
    return _encode(text).decode()


_TRUE = ("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON")
_FALSE = ("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF")
_BOOLEANS = {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}
_INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)\Z")
_FLOAT = re.compile(
    r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)

_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", re.compile("(?:" + "|".join((*_TRUE, *_FALSE)) + r")\Z"), "yYnNtTfFoO"),
    ("int", _INTEGER, "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
    ("merge", re.compile(r"<<\Z"), "<"),
    ("null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(_TAG + _tag, _pattern, _first)


def _integer(loader: Any, node: Any) -> int | float:
    text = loader.construct_scalar(node).replace("_", "")
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.lstrip("+"))
    if len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567":
        return sign * int(digits, 8)
    value = sign * int(digits, 0)
    # Beyond 64 bits goyaml has floating point only.
    return value if -(1 << 63) <= value < 1 << 64 else float(value)


def _boolean(loader: Any, node: Any) -> bool:
    return _BOOLEANS[loader.construct_scalar(node)]


_Loader.add_constructor(_TAG + "int", _integer)
_Loader.add_constructor(_TAG + "bool", _boolean)


def _finite(loader: Any, node: Any) -> float:
    value = float(
        loader.construct_scalar(node).replace("_", "").replace(".inf", "inf").replace(".nan", "nan")
    )
    if value != value or value in (float("inf"), float("-inf")):
        raise YamlError(f"json: unsupported value: {node.value}")
    return value


_Loader.add_constructor(_TAG + "float", _finite)


def _size(value: Any, sizes: dict[int, int], open_: set[int]) -> int:
    """Values in a document with its aliases written out. Raises `YamlError` for one that contains itself."""
    if not isinstance(value, dict | list):
        return 1
    known = sizes.get(id(value))
    if known is not None:
        return known
    if id(value) in open_:
        raise YamlError("yaml: an anchor's value contains itself")
    open_.add(id(value))
    size = 1 + sum(_size(v, sizes, open_) for v in (value.values() if isinstance(value, dict) else value))
    open_.discard(id(value))
    sizes[id(value)] = size
    return size


def _problem(error: Exception) -> str:
    """What is wrong with a document, as go-yaml v2 says it: with the line, which it counts from 0 where the scanner liked the text, and leaves out
    when it is 0."""
    if isinstance(error, yaml.reader.ReaderError):
        return str(error.reason)
    if not isinstance(error, yaml.MarkedYAMLError) or not error.problem:
        return str(error)
    for mark in (error.problem_mark, error.context_mark):
        if mark is not None and mark.line:
            return f"line {mark.line + isinstance(error, yaml.scanner.ScannerError)}: {error.problem}"
    return str(error.problem)


def to_json(body: bytes) -> YamlBody:
    """A document as JSON; raises `YamlError`."""
    try:
        loader = _Loader(body)
        try:
            value = loader.get_single_data()
        finally:
            loader.dispose()
        if b"*" in body:
            sizes: dict[int, int] = {}
            if _size(value, sizes, set()) - len(sizes) > MAX_ALIASED_VALUES:
                raise YamlError("yaml: document contains excessive aliasing")
        made = YamlBody(_encode(value))
    except YamlError:
        raise
    except (yaml.YAMLError, TypeError, ValueError, KeyError, OverflowError, RecursionError) as e:
        raise YamlError(f"yaml: {_problem(e)}") from None
    if loader.duplicates:
        made.duplicates = tuple(text for _, text in sorted(loader.duplicates))
    return made
