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
    assert goregex.compiled(pattern).search(matching)
    assert not goregex.compiled(pattern).search(other)


@pytest.mark.parametrize("pattern", ["[", "(", "a**", "(?P<n"])
def test_malformed(pattern: str) -> None:
    with pytest.raises(ValueError, match="error parsing regexp"):
        goregex.compiled(pattern)
