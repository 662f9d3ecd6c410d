"""Go's regular expressions (RE2 syntax) as Python's.

They differ in little: `$` is the end of the text and not of its last line, `\\z` is `\\Z`, and POSIX classes (`[[:alpha:]]`) are spelled out.
Compiled patterns are kept in a bounded cache. Python's engine backtracks: a pattern that is exponential stays so.
"""

from __future__ import annotations

import re
from functools import lru_cache

CACHE_ENTRIES = 4096

_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": "\\x00-\\x7F",
    "blank": "\\t ",
    "cntrl": "\\x00-\\x1F\\x7F",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\t\\n\\v\\f\\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_token = re.compile(
    r"(?P<escape>\\.)|\(\?(?P<flags>[ims]+)\)|(?P<posix>\[:(?P<not>\^?)(?P<class>\w+):\])|(?P<char>.)",
    re.DOTALL,
).match


def translate(pattern: str) -> str:
    """The pattern in Python's syntax."""
    out: list[str] = []
    # For each open group, how many scopes of flags end with it: Go's `(?i)` holds to the end of its group.
    scopes = [0]
    position, in_class, multiline = 0, False, bool(re.match(r"\(\?[a-zA-Z]*m", pattern))
    while position < len(pattern):
        found = _token(pattern, position)
        assert found is not None
        text = found.group()
        position = found.end()
        if found.group("escape"):
            text = "\\Z" if text == "\\z" else text
        elif found.group("posix") and in_class and found.group("class") in _POSIX and not found.group("not"):
            text = _POSIX[found.group("class")]
        elif found.group("posix") or text == "[":
            position = found.start() + 1
            text = "\\[" if in_class else "["
            if not in_class:
                in_class = True
                # A `]` in first place is an ordinary character.
                for opening in ("^]", "]", "^"):
                    if pattern.startswith(opening, position):
                        text += opening.replace("]", "\\]")
                        position += len(opening)
                        break
        elif text == "]":
            in_class = False
        elif in_class:
            pass
        elif found.group("flags"):
            scopes[-1] += 1
            text = f"(?{found.group('flags')}:"
        elif text == "(":
            scopes.append(0)
        elif text == ")":
            text += ")" * scopes[-1]
            if len(scopes) > 1:
                scopes.pop()
        elif text == "$" and not multiline:
            text = "\\Z"
        out.append(text)
    return "".join(out) + ")" * scopes[0]


@lru_cache(CACHE_ENTRIES)
def compiled(pattern: str) -> re.Pattern[str]:
    """The compiled pattern; raises ValueError when it is none."""
    try:
        return re.compile(translate(pattern))
    except (re.error, OverflowError, RecursionError) as e:
        raise ValueError(f"error parsing regexp: {e}") from None
