"""Label selectors and field selectors: parsing with upstream's grammar and wording, and matching.

A `Selector` is immutable: a conjunction of requirements on labels. It comes from a query string (`a=b,c!=d,e in (x,y),!f,g>5`) or from an
API object's `LabelSelector`. A `FieldSelector` is a conjunction of `=` and `!=`; what a field is worth, the kind's strategy knows.
Parsed selectors are kept, so asking again costs a look-up; matching costs 0.1 µs a requirement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from lakh.machinery import names
from lakh.machinery.errors import invalid_value, not_supported, show

Operator = Literal["in", "notin", "=", "==", "!=", "gt", "lt", "exists", "!"]

# Distinct selectors in use: one a controller object and one a watcher's query.
CACHE_ENTRIES = 16384
# Longer texts and selectors of more parts are not kept, so that a client cannot fill memory with them.
MAX_CACHED_LENGTH = 1024
MAX_CACHED_PARTS = 64

_BINARY = ("in", "notin", "=", "==", "!=", "gt", "lt")
_ALL = (*_BINARY, "exists", "!")
_integer = re.compile(r"[+-]?[0-9]+", re.ASCII).fullmatch
_tokens = re.compile(r"(==|!=|[=!(),<>])|([^ \t\r\n=!(),<>]+)").findall
_INT64 = 1 << 63


class SelectorError(ValueError):
    """A text or `LabelSelector` is not a selector. The message is upstream's."""


def _int64(text: str) -> int | None:
    if len(text) > 20 or not _integer(text):
        return None
    value = int(text)
    return value if -_INT64 <= value < _INT64 else None


class Requirement:
    """One condition on a label: `key operator values`. Made by `requirement()`, which checks it."""

    __slots__ = ("_bound", "_set", "key", "operator", "values")

    def __init__(self, key: str, operator: Operator, values: tuple[str, ...]) -> None:
        self.key = key
        self.operator: Operator = operator
        self.values = values
        self._set = frozenset(values)
        self._bound = _int64(values[0]) if operator in ("gt", "lt") else None

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet it."""
        value = labels.get(self.key)
        match self.operator:
            case "=" | "==" | "in":
                return value is not None and value in self._set
            case "!=" | "notin":
                return value is None or value not in self._set
            case "exists":
                return value is not None
            case "!":
                return value is None
        number = None if value is None else _int64(value)
        if number is None or self._bound is None:
            return False
        return number > self._bound if self.operator == "gt" else number < self._bound

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
            case "gt":
                return f"{self.key}>{self.values[0]}"
            case "lt":
                return f"{self.key}<{self.values[0]}"
        return f"{self.key}{self.operator}{self.values[0]}"

    def __repr__(self) -> str:
        return f"<Requirement {self}>"


def requirement(key: str, operator: str, values: Sequence[str]) -> Requirement:
    """A checked requirement; raises `SelectorError` with all findings."""
    found = []
    if messages := names.qualified_name(key):
        found.append(invalid_value("key", key, "; ".join(messages)))
    match operator:
        case "in" | "notin":
            if not values:
                found.append(
                    invalid_value("values", [], "for 'in', 'notin' operators, values set can't be empty")
                )
        case "=" | "==" | "!=":
            if len(values) != 1:
                found.append(
                    invalid_value(
                        "values", list(values), "exact-match compatibility requires one single value"
                    )
                )
        case "exists" | "!":
            if values:
                found.append(
                    invalid_value(
                        "values", list(values), "values set must be empty for exists and does not exist"
                    )
                )
        case "gt" | "lt":
            if len(values) != 1:
                found.append(
                    invalid_value(
                        "values", list(values), "for 'Gt', 'Lt' operators, exactly one value is required"
                    )
                )
            found += [
                invalid_value(f"values[{i}]", value, "for 'Gt', 'Lt' operators, the value must be an integer")
                for i, value in enumerate(values)
                if _int64(value) is None
            ]
        case _:
            found.append(not_supported("operator", operator, _ALL))
    for i, value in enumerate(values):
        if messages := names.label_value(value):
            found.append(invalid_value(f"values[{i}][{key}]", value, "; ".join(messages)))
    if found:
        texts = [str(f) for f in found]
        raise SelectorError(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
    return Requirement(key, operator, tuple(values))  # type: ignore[arg-type]


class Selector:
    """A conjunction of requirements; `nothing` matches no labels whatever."""

    __slots__ = ("_absent", "_equal", "_others", "_present", "_refused", "_text", "nothing", "requirements")

    def __init__(self, requirements: Sequence[Requirement] = (), *, nothing: bool = False) -> None:
        self.requirements = tuple(sorted(requirements, key=lambda r: r.key))
        self.nothing = nothing
        # What is tested by a look at the labels, however many requirements there are. A dict's keys are as good as a set.
        equal: dict[tuple[str, str], None] = {}
        others: dict[tuple[str, str, tuple[str, ...]], Requirement] = {}
        present: dict[str, None] = {}
        absent: dict[str, None] = {}
        refused: dict[str, set[str]] = {}
        for r in self.requirements:
            match r.operator:
                case "=" | "==" | "in" if len(r.values) == 1:
                    equal[r.key, r.values[0]] = None
                case "!=" | "notin":
                    refused.setdefault(r.key, set()).update(r.values)
                case "exists":
                    present[r.key] = None
                case "!":
                    absent[r.key] = None
                case _:
                    others[r.key, r.operator, r.values] = r
        self._equal = tuple(equal)
        self._others = tuple(others.values())
        self._present = frozenset(present)
        self._absent = frozenset(absent)
        self._refused = refused
        self._text = ",".join(map(str, self.requirements))

    @property
    def empty(self) -> bool:
        """Whether it matches everything."""
        return not self.requirements and not self.nothing

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        """Whether an object with these labels is selected."""
        if self.nothing:
            return False
        if labels is None:
            labels = {}
        for key, value in self._equal:
            if labels.get(key) != value:
                return False
        if self._present and not self._present <= labels.keys():
            return False
        if self._absent and not self._absent.isdisjoint(labels):
            return False
        if self._refused:
            refused = self._refused
            for key, value in labels.items():
                if key in refused and value in refused[key]:
                    return False
        return all(requirement.matches(labels) for requirement in self._others)

    def exact(self, key: str) -> str | None:
        """The one value it requires of a label, if it does."""
        for wanted, value in self._equal:
            if wanted == key:
                return value
        return None

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"<Selector {'nothing' if self.nothing else self._text or 'everything'}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selector) and (self._text, self.nothing) == (other._text, other.nothing)

    def __hash__(self) -> int:
        return hash((self._text, self.nothing))


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)


class _Parser:
    """Recursive descent over the tokens of one selector, with one token of lookahead."""

    def __init__(self, text: str) -> None:
        # (kind, literal): the kind is a symbol, "in", "notin", "id" or, last, "end".
        self._tokens: list[tuple[str, str]] = [
            (symbol, symbol) if symbol else (word if word in ("in", "notin") else "id", word)
            for symbol, word in _tokens(text)
        ]
        self._tokens.append(("end", ""))
        self._next = 0
        # Requirements that were read, so that a text that repeats itself is checked once.
        self._known: dict[tuple[str, str], Requirement] = {}

    def _peek(self) -> tuple[str, str]:
        """The next token; `in` and `notin` are words like others wherever no operator is expected."""
        kind, literal = self._tokens[self._next]
        return ("id" if kind in ("in", "notin") else kind), literal

    def _take(self) -> tuple[str, str]:
        token = self._peek()
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def parse(self) -> list[Requirement]:
        found: list[Requirement] = []
        while True:
            kind, literal = self._peek()
            if kind == "end":
                return found
            if kind not in ("id", "!"):
                raise SelectorError(f"found '{literal}', expected: !, identifier, or 'end of string'")
            try:
                found.append(self._requirement())
            except SelectorError as error:
                raise SelectorError(f"unable to parse requirement: {error}") from None
            kind, literal = self._take()
            if kind == "end":
                return found
            if kind != ",":
                raise SelectorError(f"found '{literal}', expected: ',' or 'end of string'")
            kind, literal = self._peek()
            if kind not in ("id", "!"):
                raise SelectorError(f"found '{literal}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        kind, key = self._take()
        absent = kind == "!"
        if absent:
            kind, key = self._take()
        if kind != "id":
            raise SelectorError(f"found '{key}', expected: identifier")
        alone = absent or self._peek()[0] in ("end", ",")
        if alone and (known := self._known.get((key, kind := "!" if absent else "exists"))) is not None:
            return known
        if messages := names.qualified_name(key):
            raise SelectorError(str(invalid_value("<nil>", key, "; ".join(messages))))
        if alone:
            found = self._known[key, kind] = requirement(key, kind, ())
            return found
        kind, literal = self._tokens[self._next]
        self._take()
        operator = {">": "gt", "<": "lt"}.get(kind, kind)
        if operator not in _BINARY:
            raise SelectorError(f"found '{literal}', expected: {', '.join(_BINARY)}")
        values = self._values() if operator in ("in", "notin") else {self._exact_value()}
        return requirement(key, operator, sorted(values))

    def _exact_value(self) -> str:
        if self._peek()[0] in ("end", ","):
            return ""
        kind, literal = self._take()
        if kind != "id":
            raise SelectorError(f"found '{literal}', expected: identifier")
        return literal

    def _values(self) -> set[str]:
        kind, literal = self._take()
        if kind != "(":
            raise SelectorError(f"found '{literal}' expected: '('")
        kind, literal = self._peek()
        if kind == ")":
            self._take()
            return {""}
        if kind not in ("id", ","):
            raise SelectorError(f"found '{literal}', expected: ',', ')' or identifier")
        values: set[str] = set()
        after_comma = True
        while True:
            kind, literal = self._take()
            if kind == "id" and after_comma:
                values.add(literal)
                after_comma = False
                kind, literal = self._peek()
                if kind not in (",", ")"):
                    raise SelectorError(f"found '{literal}', expected: ',' or ')'")
            elif kind in (",", ")"):
                if after_comma:
                    values.add("")
                after_comma = True
                if kind == ")":
                    return values
            else:
                raise SelectorError(f"found '{literal}', expected: ',', or identifier")


def parse(text: str) -> Selector:
    """The selector of a query string. Raises `SelectorError`."""
    return _cached_parse(text) if len(text) <= MAX_CACHED_LENGTH else _parse(text)


def _parse(text: str) -> Selector:
    return Selector(_Parser(text).parse()) if text else EVERYTHING


_cached_parse = lru_cache(CACHE_ENTRIES)(_parse)


def of_labels(labels: Mapping[str, str] | None) -> Selector:
    """The selector that requires just these labels; everything when there are none. Checks nothing."""
    if not labels:
        return EVERYTHING
    return (_cached_of_labels if len(labels) <= MAX_CACHED_PARTS else _of_labels)(
        tuple(sorted(labels.items()))
    )


def _of_labels(labels: tuple[tuple[str, str], ...]) -> Selector:
    return Selector([Requirement(key, "=", (value,)) for key, value in labels])


_cached_of_labels = lru_cache(CACHE_ENTRIES)(_of_labels)


_API_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


def of_label_selector(selector: Any) -> Selector:
    """The selector of an API object's `LabelSelector`, a dict or a Struct.

    None selects nothing, an empty one everything. Raises `SelectorError`.
    """
    if selector is None:
        return NOTHING
    labels = _get(selector, "matchLabels") or {}
    expressions = _get(selector, "matchExpressions") or ()
    try:
        few = len(labels) + sum(1 + len(_get(e, "values") or ()) for e in expressions) <= MAX_CACHED_PARTS
        return (_cached_of_parts if few else _of_parts)(
            tuple(sorted(labels.items())),
            tuple(
                (_get(e, "key") or "", _get(e, "operator") or "", tuple(_get(e, "values") or ()))
                for e in expressions
            ),
        )
    except (AttributeError, TypeError):
        raise SelectorError("a label selector has string keys and values") from None


def _get(value: Any, field: str) -> Any:
    return value.get(field) if isinstance(value, dict) else getattr(value, field)


def _of_parts(
    labels: tuple[tuple[str, str], ...], expressions: tuple[tuple[str, str, tuple[str, ...]], ...]
) -> Selector:
    found = [requirement(key, "=", (value,)) for key, value in labels]
    for key, operator, values in expressions:
        if operator not in _API_OPERATORS:
            raise SelectorError(f"{show(operator)} is not a valid label selector operator")
        found.append(requirement(key, _API_OPERATORS[operator], values))
    return Selector(found) if found else EVERYTHING


_cached_of_parts = lru_cache(CACHE_ENTRIES)(_of_parts)


class FieldSelector:
    """A conjunction of `(field, "=" or "!=", value)`."""

    __slots__ = ("requirements",)

    def __init__(self, requirements: tuple[tuple[str, str, str], ...] = ()) -> None:
        self.requirements = requirements

    @property
    def empty(self) -> bool:
        """Whether it matches everything."""
        return not self.requirements

    def matches(self, get: Callable[[str], str]) -> bool:
        """Whether an object is selected of whose fields `get` tells the values."""
        return all((get(field) == value) == (op == "=") for field, op, value in self.requirements)

    def exact(self, field: str) -> str | None:
        """The one value it requires of a field, if it does."""
        for wanted, op, value in self.requirements:
            if wanted == field and op == "=":
                return value
        return None

    def __str__(self) -> str:
        return ",".join(f"{field}{op}{_escape(value)}" for field, op, value in self.requirements)

    def __repr__(self) -> str:
        return f"<FieldSelector {self or 'everything'}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FieldSelector) and self.requirements == other.requirements

    def __hash__(self) -> int:
        return hash(self.requirements)


_split_term = re.compile(r"(.*?)(!=|==|=)(.*)", re.DOTALL).fullmatch
_terms = re.compile(r"(?:[^\\,]|\\.?)+", re.DOTALL).findall
_pieces = re.compile(r"\\.?|.", re.DOTALL).findall


def _escape(value: str) -> str:
    return re.sub(r"([\\,=])", r"\\\1", value)


def _unescape(value: str) -> str:
    out = []
    for piece in _pieces(value):
        if piece in (",", "="):
            raise SelectorError(f"invalid field selector: unescaped character in value: {piece}")
        if piece[0] == "\\":
            if piece[1:] not in ("\\", ",", "="):
                raise SelectorError(f"invalid field selector: invalid escape sequence: {piece}")
            piece = piece[1:]
        out.append(piece)
    return "".join(out)


def parse_fields(text: str) -> FieldSelector:
    """The field selector of a query string: `a=b,c!=d`. Raises `SelectorError`."""
    return _cached_parse_fields(text) if len(text) <= MAX_CACHED_LENGTH else _parse_fields(text)


def _parse_fields(text: str) -> FieldSelector:
    found = []
    for term in sorted(_terms(text)):
        match = _split_term(term)
        if match is None:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{term}'")
        field, op, value = match.groups()
        found.append((field, "!=" if op == "!=" else "=", _unescape(value)))
    return FieldSelector(tuple(found))


_cached_parse_fields = lru_cache(CACHE_ENTRIES)(_parse_fields)
