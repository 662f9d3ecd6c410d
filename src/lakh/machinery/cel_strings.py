"""CEL's extended functions of strings (cel-go's ext/strings.go, version 2, and formatting.go)."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lakh.machinery.cel_times import duration_text, timestamp_text
from lakh.machinery.cel_values import (
    LISTS,
    Duration,
    EvaluationError,
    NoSuchOverload,
    Timestamp,
    TypeValue,
    UInt,
    type_name,
)

_PRECISION = 6


def _text(value: Any) -> str:
    if type(value) is not str:
        raise NoSuchOverload
    return value


def _index(value: Any) -> int:
    if type(value) is not int:
        raise NoSuchOverload
    return value


def char_at(text: str, index: int) -> str:
    """A character; none after the last."""
    if not 0 <= _index(index) <= len(_text(text)):
        raise EvaluationError(f"index out of range: {index}")
    return text[index : index + 1]


def index_of(text: str, wanted: str, offset: int = 0) -> int:
    """Where a text is found first, or -1."""
    if _index(offset) < 0:
        raise EvaluationError(f"index out of range: {offset}")
    if not _text(wanted):
        return min(offset, len(_text(text)))
    return -1 if offset >= len(_text(text)) else text.find(wanted, offset)


def last_index_of(text: str, wanted: str, offset: int | None = None) -> int:
    """Where a text is found last, from an offset backwards, or -1."""
    if offset is None:
        return len(_text(text)) if not _text(wanted) else text.rfind(wanted)
    if _index(offset) < 0:
        raise EvaluationError(f"index out of range: {offset}")
    if not _text(wanted):
        return min(offset, len(_text(text)))
    return -1 if offset >= len(_text(text)) else text.rfind(wanted, 0, offset + len(wanted))


def join(items: Any, separator: str = "") -> str:
    """The texts of a list, one after the other."""
    for item in items:
        if type(item) is not str:
            raise EvaluationError(f"join: invalid input: {plain_text(item)}")
    return _text(separator).join(items)


_LOWER = {upper: upper + 32 for upper in range(65, 91)}
_UPPER = {lower: lower - 32 for lower in range(97, 123)}


def replace(text: str, old: str, new: str, limit: int = -1) -> str:
    """Replaced from the left, `limit` times at most."""
    return _text(text).replace(_text(old), _text(new), _index(limit))


def split(text: str, separator: str, limit: int = -1) -> list[str]:
    """Parts between separators, `limit` at most; the last has the rest."""
    if _index(limit) == 0:
        return []
    if not _text(separator):
        parts = list(_text(text))
        return parts if limit < 0 or limit >= len(parts) else [*parts[: limit - 1], text[limit - 1 :]]
    return _text(text).split(separator, limit - 1 if limit > 0 else -1)


def substring(text: str, start: int, end: int | None = None) -> str:
    """Characters from a place to another."""
    size = len(_text(text))
    if end is not None and _index(start) > _index(end):
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    for place in (start, end):
        if place is not None and not 0 <= _index(place) <= size:
            raise EvaluationError(f"index out of range: {place}")
    return text[start:end]


_SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"


def trim(text: str) -> str:
    """Without white space around it, as Go has it."""
    return _text(text).strip(_SPACES)


_ESCAPES = str.maketrans(
    {
        "\a": "\\a",
        "\b": "\\b",
        "\f": "\\f",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\v": "\\v",
        "\\": "\\\\",
        '"': '\\"',
    }
)


def quote(text: str) -> str:
    """In double quotes, with CEL's escapes."""
    return f'"{_text(text).translate(_ESCAPES)}"'


# -- format --------------------------------------------------------------------------------------------------------------------------------


def double_text(value: float) -> str:
    """As Go's %g."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    shown = repr(value)
    mantissa, e, exponent = shown.partition("e")
    if e:
        power = int(exponent)
    else:
        digits = shown.lstrip("-").replace(".", "")
        power = len(shown.lstrip("-").partition(".")[0]) - 1
        if digits.strip("0") and shown.lstrip("-").startswith("0"):
            power = -(len(digits) - len(digits.lstrip("0")))
    if -4 <= power < 21:
        if e:
            shown = f"{value:.{max(len(mantissa.partition('.')[2]) - power, 0)}f}"
        return shown.removesuffix(".0")
    mantissa = mantissa.removesuffix(".0") if e else f"{value:.17g}"
    return f"{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


def plain_text(value: Any) -> str:
    """What %s makes of a value."""
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is int or kind is UInt:
        return str(int(value))
    if kind is float:
        return double_text(value)
    if value is None:
        return "null"
    if kind is bytes:
        try:
            return str(value.decode())
        except UnicodeDecodeError:
            raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None
    if kind is Timestamp:
        return timestamp_text(value)
    if kind is Duration:
        return duration_text(value)
    if kind is TypeValue:
        return str(value.name)
    if kind in LISTS:
        return f"[{', '.join(_quoted(item) for item in value)}]"
    if kind is dict:
        pairs = sorted((_quoted(_key(key)), _quoted(item)) for key, item in value.items())
        return f"{{{', '.join(f'{key}:{item}' for key, item in pairs)}}}"
    raise Misfit("s", type_name(value), value)


def _key(key: Any) -> Any:
    if type(key) in (str, bool, int, UInt):
        return key
    raise EvaluationError(f"no formatting function for map key of type {type_name(key)}")


def _quoted(value: Any) -> str:
    kind = type(value)
    if kind is Timestamp or kind is Duration:
        # As what would make it.
        return f'{"timestamp" if kind is Timestamp else "duration"}("{plain_text(value)}")'
    if kind not in _NESTED:
        raise EvaluationError(f"no formatting function for {type_name(value)}")
    # Numbers in lists are for machines.
    text = f"{value:.{_PRECISION}f}" if kind is float and math.isfinite(value) else plain_text(value)
    if kind is str or (kind is float and not math.isfinite(value)):
        return json.dumps(text, ensure_ascii=False)
    return f"b{json.dumps(text, ensure_ascii=False)}" if kind is bytes else text


_NESTED = frozenset([str, bool, int, UInt, float, type(None), bytes, TypeValue, dict, *LISTS])


def _special(value: Any) -> float | None:
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else None


def _real(value: Any, clause: str) -> float:
    number = value if type(value) is float else _special(value) if type(value) is str else None
    if number is None:
        raise Misfit(clause, type_name(value), value)
    return number


def _infinite(value: float) -> str:
    return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"


def _fixed(value: Any, precision: int) -> str:
    number = _real(value, "f")
    return f"{number:,.{precision}f}" if math.isfinite(number) else _infinite(number)


def _scientific(value: Any, precision: int) -> str:
    number = _real(value, "e")
    if not math.isfinite(number):
        return _infinite(number)
    # Upstream takes the precision for a width.
    mantissa, _, exponent = f"{number:.{_PRECISION}e}".partition("e")
    power = f"{exponent[0].replace('+', '')}{exponent[1:]}".translate(_RAISED)
    return f"{mantissa}\u202f\u00d7\u202f10{power}".rjust(precision)


_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def _decimal(value: Any) -> str:
    kind = type(value)
    if kind is int or kind is UInt:
        return str(int(value))
    raise Misfit("d", type_name(value), value)


def _binary(value: Any) -> str:
    if type(value) in (int, UInt, bool):
        return f"{int(value):b}"
    raise Misfit("b", type_name(value), value)


def _octal(value: Any) -> str:
    if type(value) in (int, UInt):
        return f"{int(value):o}"
    raise Misfit("o", type_name(value), value)


def _hexadecimal(value: Any) -> str:
    kind = type(value)
    if kind is int or kind is UInt:
        return f"{int(value):x}"
    if kind is str:
        return str(value.encode().hex())
    if kind is bytes:
        return str(value.hex())
    raise Misfit("x", type_name(value), value)


_CLAUSES: dict[str, Callable[[Any, int], str]] = {
    "s": lambda value, precision: plain_text(value),
    "d": lambda value, precision: _decimal(value),
    "f": _fixed,
    "e": _scientific,
    "b": lambda value, precision: _binary(value),
    "o": lambda value, precision: _octal(value),
    "x": lambda value, precision: _hexadecimal(value),
    "X": lambda value, precision: _hexadecimal(value).upper(),
}
_CLAUSE = re.compile(r"%(?:(%)|(\.\d*)?(.)?)", re.DOTALL)
_UNPARSED = "could not parse formatting clause"


def _filled(text: str, count: int, write: Callable[[int, str, int], str], *, checked: bool = False) -> str:
    """A format of `count` arguments with its clauses written: `write` is given an argument's number, the clause's letter and its precision. `checked`:
    in the order in which a checker finds what is wrong."""
    taken = 0

    def clause(found: re.Match[str]) -> str:
        nonlocal taken
        percent, precision, letter = found.groups()
        if percent:
            return "%"
        is_end = not letter and not precision
        if taken >= count and not (is_end and checked):
            raise EvaluationError(f"index {taken} out of range")
        if not letter and not is_end:
            why = "error while parsing precision: could not find end of precision specifier"
            raise EvaluationError(f"{_UNPARSED}: {why}")
        if is_end:
            raise EvaluationError("unexpected end of string")
        if precision == ".":
            why = 'error while converting precision to integer: strconv.Atoi: parsing "": invalid syntax'
            raise EvaluationError(f"{_UNPARSED}: error while parsing precision: {why}")
        if letter not in _CLAUSES:
            raise EvaluationError(f'{_UNPARSED}: unrecognized formatting clause "{letter}"')
        taken += 1
        return write(taken - 1, letter, int(precision[1:]) if precision else _PRECISION)

    return _CLAUSE.sub(clause, text)


def format_string(text: str, arguments: Any) -> str:
    """`'%d of %s'.format([1, 'x'])`."""
    return _filled(
        _text(text),
        len(arguments),
        lambda index, letter, precision: _CLAUSES[letter](arguments[index], precision),
    )


class Misfit(EvaluationError):
    """An argument of a format is of a type that its clause cannot take. `place` is the argument's, or of what is in it."""

    def __init__(self, letter: str, kind: str, place: Any) -> None:
        super().__init__(f"error during formatting: {_TAKES[letter][1]}, was given {kind}")
        self.place = place


_INTEGERS = frozenset(["int", "uint"])
_REALS = frozenset(["double", "string"])
_HEXADECIMAL = (
    _INTEGERS | {"string", "bytes"},
    "only integers, byte buffers, and strings can be formatted as hex",
)
_TAKES: dict[str, tuple[frozenset[str], str]] = {
    "s": (
        _INTEGERS | _REALS | {"bool", "bytes", "list", "map", "timestamp", "duration", "type", "null_type"},
        "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps",
    ),
    "d": (_INTEGERS, "decimal clause can only be used on integers"),
    "f": (_REALS, "fixed-point clause can only be used on doubles"),
    "e": (_REALS, "scientific clause can only be used on doubles"),
    "b": (_INTEGERS | {"bool"}, "only integers and bools can be formatted as binary"),
    "o": (_INTEGERS, "octal clause can only be used on integers"),
    "x": _HEXADECIMAL,
    "X": _HEXADECIMAL,
}


def check_format(
    text: str, arguments: Sequence[Any], parts: Callable[[Any], Iterable[tuple[Any, str, str]]]
) -> None:
    """Raises EvaluationError for a format that cannot be written. `parts` says of an argument the places in it, itself first, with their kinds of
    types and the names of these; `dyn` may be anything (ext/formatting.go, stringFormatValidator)."""
    taken = 0

    def check(index: int, letter: str, precision: int) -> str:
        nonlocal taken
        taken = index + 1
        for place, kind, name in itertools.islice(parts(arguments[index]), None if letter == "s" else 1):
            if kind != "dyn" and kind not in _TAKES[letter][0]:
                raise Misfit(letter, name, place)
        return ""

    _filled(text, len(arguments), check, checked=True)
    if len(arguments) > taken:
        raise EvaluationError(
            f"too many arguments supplied to string.format (expected {taken}, got {len(arguments)})"
        )


STRINGS: dict[str, Callable[..., Any]] = {
    "charAt": char_at,
    "format": format_string,
    "join": join,
    "lowerAscii": lambda text: _text(text).translate(_LOWER),
    "upperAscii": lambda text: _text(text).translate(_UPPER),
    "replace": replace,
    "split": split,
    "substring": substring,
    "trim": trim,
    "strings.quote": quote,
}
