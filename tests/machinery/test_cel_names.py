"""Names of properties in expressions, and paths beside rules."""

from __future__ import annotations

import re

import pytest

from lakh.machinery import cel_names


def test_escaping() -> None:
    assert cel_names.escape("plain") == "plain"
    assert cel_names.escape("a-b.c/d") == "a__dash__b__dot__c__slash__d"
    assert cel_names.escape("a__b") == "a__underscores__b"
    assert cel_names.escape("in") == "__in__"
    assert cel_names.escape("a b") is None
    assert cel_names.escape("1a") is None


SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": "object", "properties": {"b.c": {"type": "string"}}},
        "m": {"type": "object", "additionalProperties": {"type": "integer"}},
        "l": {"type": "array", "items": {"type": "string"}},
    },
}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (".a", "a"),
        (".a['b.c']", "a.b.c"),
        (".m.x", "m[x]"),
        (".m['x.y']", "m[x.y]"),
        (r".m['it\'s']", "m[it's]"),
        ("", ""),
    ],
)
def test_paths(text: str, path: str) -> None:
    assert cel_names.field_path(text, SCHEMA)[0] == path


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a", "expected [ or . but got: a"),
        (".", "unexpected end of JSON path"),
        (".nope", "does not refer to a valid field"),
        (".a.b", "does not refer to a valid field"),
        (".l[0]", "expected single quoted string but got 0"),
        (".a['b.c'", "unexpected end of JSON path"),
        (".a['b.c'.", "expected ] but got ."),
        (r".m['\q']", "invalid string literal: invalid escape char \\q"),
        (".l.x", "does not refer to a valid field"),
    ],
)
def test_what_is_no_path(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why) + "$"):
        cel_names.field_path(text, SCHEMA)


def test_brackets_can_be_forbidden() -> None:
    with pytest.raises(ValueError, match="array notation is not allowed"):
        cel_names.field_path(".m['x']", SCHEMA, brackets=False)


@pytest.mark.parametrize(
    ("source", "strings"),
    [
        ("a == 'x' || b == \"y\"", ["'x'", '"y"']),
        (r"r'\d' + 'it\'s' + b'z'", [r"r'\d'", r"'it\'s'", "b'z'"]),
        ("'''a'b''' + ''", ["'''a'b'''", "''"]),
        ("'open", ["'open"]),
        ("'''open' x", ["'''open' x"]),
    ],
)
def test_strings(source: str, strings: list[str]) -> None:
    assert re.findall(cel_names.STRING, source, re.DOTALL) == strings


def test_strings_that_are_not_closed_take_linear_time() -> None:
    for hostile in ('"' + '\\"' * 300_000, "'''" + "\\'" * 300_000, "'\\" * 300_001):
        assert len(re.findall(cel_names.STRING, hostile, re.DOTALL)) < 300_002
