from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery.gojson import TRUNCATED, syntax_error


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", TRUNCATED),
        ("{", TRUNCATED),
        ('{"a"', TRUNCATED),
        ('{"a":1', TRUNCATED),
        ('"a', TRUNCATED),
        ("barbaz", "invalid character 'b' looking for beginning of value"),
        ("nonsense", "invalid character 'o' in literal null (expecting 'u')"),
        ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ('{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        ('{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ("[1 2]", "invalid character '2' after array element"),
        ("[1}", "invalid character '}' after array element"),
        ("{} x", "invalid character 'x' after top-level value"),
        ('"a\nb"', "invalid character '\\n' in string literal"),
        ('"\\x"', "invalid character 'x' in string escape code"),
        ('"\\u12g4"', "invalid character 'g' in \\u hexadecimal character escape"),
        ("-x", "invalid character 'x' in numeric literal"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("1e+x", "invalid character 'x' in exponent of numeric literal"),
        ("01", "invalid character '1' after top-level value"),
        ("'a'", "invalid character '\\'' looking for beginning of value"),
        ("[" * 10001, "exceeded max depth"),
    ],
)
def test_words(text: str, why: str) -> None:
    assert syntax_error(text.encode()) == why


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
    )
)
def test_of_what_is_json_nothing_is_said(value: object) -> None:
    assert syntax_error(json.dumps(value, indent=1).encode()) is None
