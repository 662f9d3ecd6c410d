"""Names in CEL: how a property is called in an expression, and paths to fields beside rules.

Upstream: apiserver/pkg/cel/escaping.go, and `ValidFieldPath` of apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Words that are no identifiers in CEL; a property of this name is written `__in__`.
RESERVED = frozenset(
    [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)

_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_escapable = re.compile(r"__|[./-]")
_identifier = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def is_identifier(name: str) -> bool:
    """Whether a name can be a variable's or a field's."""
    return _identifier.match(name) is not None and name not in RESERVED


def escape(name: str) -> str | None:
    """A property's name as an identifier; None when it cannot be one."""
    if name in RESERVED:
        return f"__{name}__"
    escaped = _escapable.sub(lambda found: _ESCAPES[found.group()], name)
    return escaped if _identifier.match(escaped) else None


_UNESCAPES = {
    **{escaped: plain for plain, escaped in _ESCAPES.items()},
    **{f"__{word}__": word for word in RESERVED},
}
_escaped = re.compile("|".join(_UNESCAPES))


def unescape(name: str) -> str:
    """The property that an identifier means."""
    return _escaped.sub(lambda found: _UNESCAPES[found.group()], name) if "__" in name else name


# A string of CEL, for expressions that step over them (with DOTALL). One that is not closed goes to the end: looking for its end from each
# quote in it would take time by the square.
STRING = r"""[rRbB]{0,2}(?:'''(?:.*?)(?:'''|\Z)|\"\"\".*?(?:\"\"\"|\Z)|'(?:\\.|[^'\\])*(?:'|\Z|\\\Z)|"(?:\\.|[^"\\])*(?:"|\Z|\\\Z))"""

_TOKENS = re.compile(r"'(?:[^'\\]|\\.)*'|[.\[\]]|[^.\[\]']+|'", re.DOTALL)
_UNESCAPED = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "'": "'",
    "\\": "\\",
}


def field_path(
    text: str, schema: Mapping[str, Any], *, brackets: bool = True
) -> tuple[str, Mapping[str, Any]]:
    """A path such as `.spec.a['b']` in the form that errors have, and the schema that it leads to; raises ValueError with upstream's reason."""
    path, at = "", schema
    tokens = iter(_TOKENS.findall(text))
    for token in tokens:
        if token not in (".", "["):
            raise ValueError(f"expected [ or . but got: {token}")
        if token == "[" and not brackets:
            raise ValueError("array notation is not allowed")
        name = next(tokens, None)
        if name is None:
            raise ValueError("unexpected end of JSON path")
        if token == "[":
            if len(name) < 2 or name[0] != "'" or name[-1] != "'":
                raise ValueError(f"expected single quoted string but got {name}")
            name = _unquoted(name)
        declared, additional = at.get("properties"), at.get("additionalProperties")
        below: Any
        if declared:
            below = declared.get(name)
            path += f".{name}" if path else name
        elif additional is not None:
            below = additional
            path += f"[{name}]"
        else:
            below = None
        if not isinstance(below, Mapping):
            raise ValueError("does not refer to a valid field")
        at = below
        if token == "[":
            close = next(tokens, None)
            if close is None:
                raise ValueError("unexpected end of JSON path")
            if close != "]":
                raise ValueError(f"expected ] but got {close}")
    return path, at


def _unquoted(literal: str) -> str:
    def of(found: re.Match[str]) -> str:
        if found.group(1) not in _UNESCAPED:
            raise ValueError(f"invalid string literal: invalid escape char {found.group()}")
        return _UNESCAPED[found.group(1)]

    return re.sub(r"\\(.)", of, literal[1:-1], flags=re.DOTALL)
