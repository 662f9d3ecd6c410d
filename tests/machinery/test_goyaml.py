"""YAML as goyaml.v2 reads it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery import goyaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("y", True),
        ("N", False),
        ("on", True),
        ("1e3", 1000.0),
        ("12:30", "12:30"),
        ("2026-01-02", "2026-01-02"),
        ("0o17", 15),
        ("017", 15),
        ("0b11", 3),
        ("0x1F", 31),
        ("1_000", 1000),
        ("08", 8.0),
        ("-5", -5),
        ("+5", 5),
        (".5", 0.5),
        ("=", "="),
        ("~", None),
        ("", None),
        ("1.2.3", "1.2.3"),
        ("'yes'", "yes"),
        ("100m", "100m"),
        ("18446744073709551616", 18446744073709551616.0),
    ],
)
def test_plain_scalars(text: str, value: object) -> None:
    found = msgspec.json.decode(goyaml.to_json(f"v: {text}\n".encode()))["v"]
    assert (found, type(found)) == (value, type(value))


def test_duplicates_have_their_lines() -> None:
    body = goyaml.to_json(b"a: 1\nb:\n  c: 1\n  c: 2\na: 3\nl:\n- {x: 1, x: 2}\n3: 1\n3: 2\n")
    assert body.duplicates == (
        'line 4: key "c" already set in map',
        'line 5: key "a" already set in map',
        'line 7: key "x" already set in map',
        "line 9: key 3 already set in map",
    )
    assert msgspec.json.decode(body) == {"a": 3, "b": {"c": 2}, "l": [{"x": 2}], "3": 2}


def test_aliases() -> None:
    assert msgspec.json.decode(goyaml.to_json(b"a: &x {b: 1}\nc: *x\nd:\n  <<: *x\n  e: 2\n")) == {
        "a": {"b": 1},
        "c": {"b": 1},
        "d": {"b": 1, "e": 2},
    }
    bomb = "a0: &a0 [1]\n" + "".join(
        f"a{i}: &a{i} [{', '.join(['*a' + str(i - 1)] * 10)}]\n" for i in range(1, 10)
    )
    with pytest.raises(goyaml.YamlError, match="excessive aliasing"):
        goyaml.to_json(bomb.encode())
    with pytest.raises(goyaml.YamlError):
        goyaml.to_json(b"a: &x [*x]\n")


@pytest.mark.parametrize(
    "body",
    [
        b"a: [",
        b"a: .nan",
        b"\xff\xfe\x00",
        b"a: b: c",
        b"? [1]\n: 2",
        b"--- 1\n--- 2\n",
        b"!!python/object:os.system x",
    ],
)
def test_what_is_no_yaml(body: bytes) -> None:
    with pytest.raises(goyaml.YamlError):
        goyaml.to_json(body)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(alphabet="ab:-?*&[]{}'\"|>#!%@`\n \t,.0123", max_size=100).map(str.encode),
    )
)
def test_any_body_converts_or_is_refused(body: bytes) -> None:
    try:
        msgspec.json.decode(goyaml.to_json(body))
    except goyaml.YamlError:
        pass


# Texts of go-yaml v2, which sigs.k8s.io/yaml hands on.
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"v: [A,", "yaml: line 1: did not find expected node content"),
        (b"v:\n- [A,", "yaml: line 2: did not find expected node content"),
        (b"a: [1", "yaml: line 1: did not find expected ',' or ']'"),
        (b"a: 1\nb: [1, 2\nc: 3\n", "yaml: line 2: did not find expected ',' or ']'"),
        (b"a: 1\n\tb: 2\n", "yaml: line 2: found a tab character that violates indentation"),
        (b"a: 1\nb: 'x\n", "yaml: line 3: found unexpected end of stream"),
        (b"a: \x01", "yaml: control characters are not allowed"),
    ],
)
def test_texts(body: bytes, text: str) -> None:
    with pytest.raises(goyaml.YamlError) as caught:
        goyaml.to_json(body)
    assert str(caught.value) == text
