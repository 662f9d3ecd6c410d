"""What is remembered of texts: short ones only."""

from __future__ import annotations

from lakh.machinery.shortcache import SHORT_CHARACTERS, short_cache


def test_long_texts_are_looked_at_each_time() -> None:
    seen: list[tuple[object, ...]] = []

    @short_cache(2)
    def size(text: str, more: object = "") -> int:
        seen.append((text, more))
        return len(text)

    short, long = "a" * SHORT_CHARACTERS, "a" * (SHORT_CHARACTERS + 1)
    assert [size(short), size(short), size(long), size(long)] == [128, 128, 129, 129]
    assert [text for text, _ in seen] == [short, long, long]
    assert [size("b", long), size("b", long), size("b", 1), size("b", 1)] == [1] * 4
    assert [more for text, more in seen if text == "b"] == [long, long, 1]


def test_what_is_short_can_be_told() -> None:
    seen: list[str] = []

    @short_cache(2, 3)
    def size(text: str) -> int:
        seen.append(text)
        return len(text)

    assert [size("abc"), size("abc"), size("abcd"), size("abcd")] == [3, 3, 4, 4]
    assert seen == ["abc", "abcd", "abcd"]
