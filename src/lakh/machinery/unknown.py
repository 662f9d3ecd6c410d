"""Strict decoding: unknown and duplicate fields, pruning, and why a value does not fit its schema.

Objects are decoded into Structs at C speed; what is here runs only for the rare one that was refused, to find out why and to answer in the
words of Kubernetes' strict decoder. Findings come in the order of the document and are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from lakh.machinery.schema import Node

# Upstream stops at this many too; more would only make the answer longer.
MAX_FINDINGS = 100
MAX_DEPTH = 200
# How far a text is searched for duplicate fields: 40 ms of work.
MAX_TOKENS = 50_000

_INTEGER_BITS = {"int32": 32, "int64": 64}


def unknown_fields(obj: Any, node: Node | None) -> list[str]:
    """`unknown field "spec.containers[0].imagee"` for each field that the schema does not have."""
    found: list[str] = []
    _unknown(obj, node, "", found, 0)
    return found


def _unknown(value: Any, node: Node | None, path: str, found: list[str], depth: int) -> None:
    if node is None or depth > MAX_DEPTH or len(found) >= MAX_FINDINGS:
        return
    kind = node.type
    if kind == "list":
        if isinstance(value, list):
            element = node.element
            for index, item in enumerate(value):
                _unknown(item, element, f"{path}[{index}]", found, depth + 1)
    elif isinstance(value, dict) and kind in ("struct", "map"):
        for name, child in value.items():
            where = f"{path}.{name}" if path else name
            below = node.field(name) if kind == "struct" else node.element
            if below is not None:
                _unknown(child, below, where, found, depth + 1)
            elif len(found) < MAX_FINDINGS:
                found.append(f'unknown field "{where}"')


def prune(obj: Any, node: Node | None) -> Any:
    """The object without the fields that the schema does not have. Unchanged parts are shared.

    Null stands for an absent field, and goes; as an item of a list or a value of a map it becomes the type's zero value, as Go decodes it.
    """
    if node is None:
        return obj
    kind = node.type
    if kind == "struct" and isinstance(obj, dict):
        return {
            name: prune(child, below) if isinstance(child, (dict, list)) else child
            for name, child in obj.items()
            if child is not None and (below := node.field(name)) is not None
        }
    if kind == "map" and isinstance(obj, dict):
        element = node.element
        if element.type in ("struct", "map", "list") or None in obj.values():
            return {name: _inner(child, element) for name, child in obj.items()}
    if kind == "list" and isinstance(obj, list):
        element = node.element
        if element.type in ("struct", "map", "list") or None in obj:
            return [_inner(item, element) for item in obj]
    return obj


def _inner(value: Any, node: Node) -> Any:
    return (
        _ZEROS.get(node.type, dict)() if value is None and node.format != "date-time" else prune(value, node)
    )


# Of what an item or a map's value may be; the zero time has no form but null, and stays one.
_ZEROS: dict[str, Callable[[], Any]] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "list": list,
    "quantity": lambda: "0",
    "int-or-string": int,
    "any": lambda: None,
}


_lexeme = re.compile(rb'[\s]*(?:("(?:[^"\\]|\\.)*")|([{}\[\],:])|([^\s{}\[\],:"]+))', re.DOTALL).match


def duplicate_fields(raw: bytes) -> list[str]:
    """`duplicate field "spec.replicas"` for each field that is there more than once in a JSON text.

    The text must be valid JSON; of another nothing, or less, is found. Costs a pass over the text in Python (1 µs a token, bounded), so ask only
    when it matters.
    """
    return strict_findings(raw, None)


# Below a field that the schema does not have nothing is looked at.
_SKIPPED: Any = object()


class _Open:
    """A container whose end has not come: its path, its schema, names seen (None in a list), and what its next value is."""

    __slots__ = ("child_node", "child_path", "index", "names", "node", "path")

    def __init__(self, names: set[str] | None, path: str, node: Any) -> None:
        self.names = names
        self.path = path
        self.node = node
        self.index = 0
        self.child_path = f"{path}[0]" if names is None else ""
        self.child_node = _below(node, None) if names is None else _SKIPPED


def _below(node: Any, name: str | None) -> Any:
    """The schema of a field (or, `name` None, of a list's items): a node, None where anything goes, `_SKIPPED` where there is no such field."""
    if node is None or node is _SKIPPED:
        return node
    if name is None:
        return node.element if node.type == "list" else None
    if node.type == "struct":
        below = node.field(name)
        return below if below is not None or node.open else _SKIPPED
    return node.element if node.type == "map" else None


def strict_findings(raw: bytes, node: Node | None) -> list[str]:
    """What strict decoding finds in a JSON text, in the text's order: unknown fields (with a schema) and duplicate ones."""
    found: dict[str, None] = {}
    stack: list[_Open] = []
    position = 0
    expect_name = False
    for _ in range(MAX_TOKENS):
        match = _lexeme(raw, position)
        if match is None or len(found) >= MAX_FINDINGS:
            break
        position = match.end()
        text, symbol, _ = match.groups()
        if text is not None and expect_name and stack:
            top = stack[-1]
            name = _unquote(text)
            top.child_path = f"{top.path}.{name}" if top.path else name
            assert top.names is not None
            if top.node is _SKIPPED:
                top.child_node = _SKIPPED
            else:
                top.child_node = _below(top.node, name)
                if top.child_node is _SKIPPED:
                    found[f'unknown field "{top.child_path}"'] = None
                elif name in top.names:
                    found[f'duplicate field "{top.child_path}"'] = None
            top.names.add(name)
            expect_name = False
        elif symbol == b"{" or symbol == b"[":
            path, below = (stack[-1].child_path, stack[-1].child_node) if stack else ("", node)
            stack.append(_Open(set() if symbol == b"{" else None, path, below))
            expect_name = symbol == b"{"
        elif symbol in (b"}", b"]"):
            if stack:
                stack.pop()
            expect_name = False
        elif symbol == b"," and stack:
            top = stack[-1]
            expect_name = top.names is not None
            if top.names is None:
                top.index += 1
                top.child_path = f"{top.path}[{top.index}]"
    return list(found)


def _unquote(text: bytes) -> str:
    try:
        name = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return text[1:-1].decode(errors="replace")
    return name if isinstance(name, str) else ""


QUANTITY_FORM = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def type_error(obj: Any, node: Node | None, kind: str = "") -> str | None:
    """Why a decoded object does not fit its schema, as Go's decoder would say it; None when it does.

    `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`. Null fits
    everywhere below the top, as there. `kind` names the outermost type if the schema does not.
    """
    if node is None:
        return None
    if obj is None:
        return _message(None, _go_type(node), "", "")
    misfit = _misfit(obj, node, "", kind or _type_name(node), 0)
    if misfit is None:
        return None
    value, node, path, owner = misfit
    if node.type == "quantity":
        return QUANTITY_FORM
    return _message(value, "int32" if node.type == "int-or-string" else _go_type(node), path, owner)


def restore_error(obj: Any, node: Node | None) -> str | None:
    """Why a decoded object does not fit its schema, as upstream says it of what a strategic patch made; None when it does.

    There no JSON is decoded, but maps are turned into structs (apimachinery's pkg/runtime/converter.go).
    """
    misfit = _misfit(obj, node, "", "", 0) if node is not None else None
    if misfit is None:
        return None
    value, node, _, _ = misfit
    got = _go_kind(value)
    match node.type:
        case "struct":
            return f"cannot restore struct from: {got}"
        case "map":
            return f"cannot restore map from {got}"
        case "list":
            return f"cannot restore slice from {got}"
        case "quantity":
            return QUANTITY_FORM
        case "int-or-string":
            return _message(value, "int32", "", "")
    wanted = _go_type(node)
    # What Go can convert at all, but JSON does not.
    if got in ("int64", "float64") and (wanted != "string" or got == "int64") and wanted != "bool":
        return f"cannot convert {got} to {wanted}"
    return f"unrecognized type: {wanted}"


def _go_kind(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int():
            return "int64"
        case float():
            return "float64"
        case list():
            return "slice"
        case _:
            return "map"


Misfit = tuple[Any, Node, str, str]
"""A value, what it should be, where it is, and the type that it is in."""


def _misfit(value: Any, node: Node, path: str, owner: str, depth: int) -> Misfit | None:
    """The first value that does not fit."""
    if value is None or depth > MAX_DEPTH:
        return None
    fits = True
    match node.type:
        case "struct":
            if fits := isinstance(value, dict):
                name = _type_name(node)
                for field, child in value.items():
                    below = node.field(field)
                    if below is not None:
                        where = f"{path}.{field}" if path else field
                        if found := _misfit(child, below, where, name, depth + 1):
                            return found
        case "map":
            if fits := isinstance(value, dict):
                for child in value.values():
                    if found := _misfit(child, node.element, path, owner, depth + 1):
                        return found
        case "list":
            if fits := isinstance(value, list):
                for child in value:
                    if found := _misfit(child, node.element, path, owner, depth + 1):
                        return found
        case "string":
            fits = isinstance(value, str)
        case "boolean":
            fits = isinstance(value, bool)
        case "number":
            fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        case "integer":
            bits = _INTEGER_BITS.get(node.format or "", 64)
            fits = isinstance(value, int) and not isinstance(value, bool)
            fits = fits and -(1 << (bits - 1)) <= value < 1 << (bits - 1)
        case "quantity":
            fits = isinstance(value, (str, int, float)) and not isinstance(value, bool)
        case "int-or-string":
            fits = isinstance(value, (str, int)) and not isinstance(value, bool)
    return None if fits else (value, node, path, owner)


def _type_name(node: Node) -> str:
    return node.definition.rsplit(".", 1)[1] if node.definition else ""


def _go_type(node: Node) -> str:
    match node.type:
        case "struct":
            if node.definition is None:
                return "struct"
            package, _, name = node.definition.rpartition(".")
            return f"{package.rsplit('.', 1)[-1]}.{name}"
        case "map":
            return f"map[string]{_go_type(node.element)}"
        case "list":
            return f"[]{_go_type(node.element)}"
        case "boolean":
            return "bool"
        case "integer":
            return node.format or "int64"
        case "number":
            return "float64"
        case "quantity":
            return "resource.Quantity"
        case "int-or-string":
            return "intstr.IntOrString"
        case "any":
            return "interface {}"
        case other:
            return other


def _message(value: Any, wanted: str, path: str, owner: str) -> str:
    match value:
        case bool():
            got = "bool"
        case str():
            got = "string"
        case int() | float():
            # Go names the value of a number that does not fit.
            got = f"number {value}" if wanted.startswith("int") else "number"
        case list():
            got = "array"
        case None:
            got = "null"
        case _:
            got = "object"
    if not path:
        return f"json: cannot unmarshal {got} into Go value of type {wanted}"
    return f"json: cannot unmarshal {got} into Go struct field {owner}.{path} of type {wanted}"
