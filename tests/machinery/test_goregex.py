"""Go's regular expressions."""

from __future__ import annotations

import pytest

from lakh.machinery import goregex


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        (r"^a$", "a", "a\n"),
        (r"a\z", "ba", "a\n"),
        (r"^[[:alpha:]_]+$", "ab_", "a1"),
        (r"^[^]a]+$", "bc", "b]"),
        (r"^[]a]+$", "]a", "b"),
        (r"^[$a]+$", "$a", "b"),
        (r"^(?i)[a-z]([-a-z0-9]*[a-z0-9])?$", "AbC", "-a"),
        (r"^(a(?i)b)c$", "aBc", "aBC"),
        (r"^\$$", "$", "a"),
        (r"(?m)^a$", "b\na\nc", "b"),
    ],
)
def test_patterns(pattern: str, matching: str, other: str) -> None:
    assert goregex.compiled(pattern).matches(matching)
    assert not goregex.compiled(pattern).matches(other)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("[", "missing closing ]: `[`"),
        ("(", "missing closing ): `(`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("\\", "trailing backslash at end of expression"),
    ],
)
def test_malformed(pattern: str, text: str) -> None:
    with pytest.raises(ValueError, match="error parsing regexp") as caught:
        goregex.compiled(pattern)
    assert text in str(caught.value)


def test_hostile_patterns_take_linear_time() -> None:
    """Each of these takes a backtracking engine longer than the universe."""
    for pattern in ("^(a+)+$", "^(a|aa)*$", "(x+x+)+y", "^([a-zA-Z]+)*$"):
        assert not goregex.compiled(pattern).matches("a" * 100_000 + "!")


def test_an_automaton_without_memory_asks_again() -> None:
    pattern = goregex.compiled("([a-z]{1,20}0?){40}1$")
    assert pattern.matches("a" * 5_000 + "1")
    assert not pattern.matches("a" * 5_000 + "2")


def test_find_all() -> None:
    assert list(goregex.compiled("[0-9]+").find_all("a1b22\u00e93")) == ["1", "22", "3"]


def test_long_patterns_are_refused() -> None:
    assert goregex.compiled("a?" * (goregex.PATTERN_MAX_CHARS // 2)).matches("")
    with pytest.raises(ValueError, match="error parsing regexp: expression too large"):
        goregex.compiled("a?" * (goregex.PATTERN_MAX_CHARS // 2) + "b")
