"""Go's regular expressions: RE2 itself, whose time is linear in the text, so that no definition's pattern can hold the loop.

`matches` costs 1 µs for a text that matches: a set of one pattern is asked, which skips what a match object costs (8 µs). A set says no, too, when its
automaton runs out of memory, so that answer is asked again. Compiled patterns are kept in a bounded cache, each with bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import re2

from lakh.machinery.shortcache import short_cache

CACHE_ENTRIES = 1024
# Rules may take patterns out of objects; those of definitions are seldom longer.
CACHED_CHARACTERS = 1024
# Program and automaton of one pattern together; patterns that need more are refused.
MEMORY_BYTES = 8 * 1024 * 1024
# Compiling takes time by the square of a pattern's length: 0.14 s at this one. Real ones have a thousand characters at most.
PATTERN_MAX_CHARS = 16 * 1024

# RE2's texts, and Go's for the same (regexp/syntax).
_GO_TEXTS = {
    "bad repetition operator": "invalid nested repetition operator",
    "bad named capture group": "invalid named capture",
    "invalid named capture group": "invalid named capture",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid repetition size": "invalid repeat count",
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "no argument for repetition operator": "missing argument to repetition operator",
    "trailing \\": "trailing backslash at end of expression",
}


def _options() -> re2.Options:
    options = re2.Options()
    options.max_mem = MEMORY_BYTES
    options.log_errors = False
    return options


class Pattern:
    """A compiled pattern."""

    __slots__ = ("_pattern", "_set", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        if len(source) > PATTERN_MAX_CHARS:
            raise ValueError("error parsing regexp: expression too large")
        try:
            self._pattern = re2.compile(source, options=_options())
        except (re2.error, UnicodeEncodeError) as e:
            raise ValueError(_go_text(e)) from None
        self._set = re2.Set.SearchSet(_options())
        self._set.Add(source)
        self._set.Compile()

    def __repr__(self) -> str:
        return f"<Pattern {self.source}>"

    def matches(self, text: str) -> bool:
        """Whether the pattern is found in a text."""
        return bool(self._set.Match(text)) or self._pattern.search(text) is not None

    def find_all(self, text: str) -> Iterator[str]:
        """What the pattern finds, from left to right."""
        for found in self._pattern.finditer(text):
            yield found.group()


def _go_text(error: Exception) -> str:
    raw = error.args[0] if error.args else ""
    text = raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)
    code, colon, what = text.partition(": ")
    code = _GO_TEXTS.get(code, code)
    return f"error parsing regexp: {code}: `{what}`" if colon else f"error parsing regexp: {code}"


@short_cache(CACHE_ENTRIES, CACHED_CHARACTERS)
def compiled(pattern: str) -> Pattern:
    """The compiled pattern; raises ValueError when it is none, with Go's text."""
    return Pattern(pattern)
