"""CEL's extended functions of strings (cel-go's ext/strings.go, version 2, and formatting.go)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
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
    raise EvaluationError(
        "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, "
        f"and timestamps, was given {type_name(value)}"
    )


def _key(key: Any) -> Any:
    if type(key) in (str, bool, int, UInt):
        return key
    raise EvaluationError(f"no formatting function for map key of type {type_name(key)}")


def _quoted(value: Any) -> str:
    text = _fixed(value, _PRECISION) if type(value) is float else plain_text(value)
    kind = type(value)
    if kind is str or (kind is float and not math.isfinite(value)):
        return json.dumps(text, ensure_ascii=False)
    return f"b{json.dumps(text, ensure_ascii=False)}" if kind is bytes else text


def _special(value: Any) -> float | None:
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else None


def _real(value: Any, clause: str) -> float:
    number = value if type(value) is float else _special(value) if type(value) is str else None
    if number is None:
        raise _unfit(f"{clause} clause can only be used on doubles", value)
    return number


def _unfit(what: str, value: Any) -> EvaluationError:
    return EvaluationError(f"error during formatting: {what}, was given {type_name(value)}")


def _infinite(value: float) -> str:
    return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"


def _fixed(value: Any, precision: int) -> str:
    number = _real(value, "fixed-point")
    return f"{number:,.{precision}f}" if math.isfinite(number) else _infinite(number)


def _scientific(value: Any, precision: int) -> str:
    number = _real(value, "scientific")
    if not math.isfinite(number):
        return _infinite(number)
    mantissa, _, exponent = f"{number:.{precision}e}".partition("e")
    return f"{mantissa}\u00d710{exponent[0].replace('+', '').translate(_RAISED)}{exponent[1:].translate(_RAISED)}"


_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def _decimal(value: Any) -> str:
    kind = type(value)
    if kind is int or kind is UInt:
        return str(int(value))
    raise _unfit("decimal clause can only be used on integers", value)


def _binary(value: Any) -> str:
    if type(value) in (int, UInt, bool):
        return f"{int(value):b}"
    raise _unfit("only integers and bools can be formatted as binary", value)


def _octal(value: Any) -> str:
    if type(value) in (int, UInt):
        return f"{int(value):o}"
    raise _unfit("octal clause can only be used on integers", value)


def _hexadecimal(value: Any) -> str:
    kind = type(value)
    if kind is int or kind is UInt:
        return f"{int(value):x}"
    if kind is str:
        return str(value.encode().hex())
    if kind is bytes:
        return str(value.hex())
    raise _unfit("only integers, byte buffers, and strings can be formatted as hex", value)


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
_CLAUSE = re.compile(r"%(?:(%)|(?:\.(\d*))?(.)|\Z)", re.DOTALL)


def format_string(text: str, arguments: Any) -> str:
    """`'%d of %s'.format([1, 'x'])`."""
    taken = 0

    def clause(found: re.Match[str]) -> str:
        nonlocal taken
        if found.group(1):
            return "%"
        if taken >= len(arguments):
            raise EvaluationError(f"index {taken} out of range")
        if not found.group(3):
            raise EvaluationError("unexpected end of string")
        write = _CLAUSES.get(found.group(3))
        if write is None:
            raise EvaluationError(
                f'could not parse formatting clause: unrecognized formatting clause "{found.group(3)}"'
            )
        if found.group(2) == "":
            raise EvaluationError(
                'could not parse formatting clause: error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing "": invalid syntax'
            )
        value = arguments[taken]
        taken += 1
        return write(value, int(found.group(2)) if found.group(2) else _PRECISION)

    return _CLAUSE.sub(clause, _text(text))


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
