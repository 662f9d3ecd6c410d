"""CEL's standard functions and operators on values (cel-go's common/types and stdlib), by the names that the checker gives them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from lakh.machinery import goregex
from lakh.machinery.cel_strings import STRINGS, plain_text
from lakh.machinery.cel_times import (
    GETTERS,
    duration_of,
    of_nanos,
    parse_duration,
    parse_timestamp,
)
from lakh.machinery.cel_values import (
    LISTS,
    MAPS,
    NONE,
    NUMBERS,
    ORDERED,
    DomainMap,
    Duration,
    EvaluationError,
    NoSuchOverload,
    Optional,
    Timestamp,
    TypeValue,
    UInt,
    equal,
    joined,
    set_key,
    set_keys,
    type_name,
)

_LEAST, _MOST, _MOST_UNSIGNED = -(2**63), 2**63 - 1, 2**64 - 1


def integer(value: int) -> int:
    """A result that must fit 64 bits."""
    if _LEAST <= value <= _MOST:
        return value
    raise EvaluationError("integer overflow")


def unsigned(value: int) -> UInt:
    """A result that must fit 64 bits without a sign."""
    if 0 <= value <= _MOST_UNSIGNED:
        return UInt(value)
    raise EvaluationError("unsigned integer overflow")


# -- operators -----------------------------------------------------------------------------------------------------------------------------


def add(a: Any, b: Any) -> Any:
    """`a + b`"""
    kind, other = type(a), type(b)
    if kind is other:
        if kind is int:
            return integer(a + b)
        if kind is str or kind is float or kind is bytes:
            return a + b
        if kind is UInt:
            return unsigned(int(a) + int(b))
        if kind is Duration:
            return duration_of(int(a) + int(b))
    if kind in LISTS and other in LISTS:
        return joined(a, b)
    if {kind, other} == {Timestamp, Duration}:
        return of_nanos(int(a) + int(b))
    raise NoSuchOverload


def subtract(a: Any, b: Any) -> Any:
    """`a - b`"""
    kind, other = type(a), type(b)
    if kind is other:
        if kind is int:
            return integer(a - b)
        if kind is float:
            return a - b
        if kind is UInt:
            return unsigned(int(a) - int(b))
        if kind is Duration or kind is Timestamp:
            return duration_of(int(a) - int(b))
    if kind is Timestamp and other is Duration:
        return of_nanos(int(a) - int(b))
    raise NoSuchOverload


def multiply(a: Any, b: Any) -> Any:
    """`a * b`"""
    kind = type(a)
    if kind is type(b):
        if kind is int:
            return integer(a * b)
        if kind is float:
            return a * b
        if kind is UInt:
            return unsigned(int(a) * int(b))
    raise NoSuchOverload


def divide(a: Any, b: Any) -> Any:
    """`a / b`, whole numbers toward zero."""
    kind = type(a)
    if kind is type(b):
        if kind is float:
            if b:
                return a / b
            return math.nan if not a or a != a else math.copysign(math.inf, a) * math.copysign(1, b)
        if kind is int or kind is UInt:
            if not b:
                raise EvaluationError("division by zero")
            whole = abs(int(a)) // abs(int(b))
            return kind(whole) if (a < 0) == (b < 0) else integer(-whole)
    raise NoSuchOverload


def remainder(a: Any, b: Any) -> Any:
    """`a % b`, with the sign of `a`."""
    kind = type(a)
    if kind is type(b) and (kind is int or kind is UInt):
        if not b:
            raise EvaluationError("modulus by zero")
        left = abs(int(a)) % abs(int(b))
        return kind(left if a >= 0 else -left)
    raise NoSuchOverload


def negate(a: Any) -> Any:
    """`-a`"""
    if type(a) is int:
        return integer(-a)
    if type(a) is float:
        return -a
    if type(a) is Duration:
        return duration_of(-int(a))
    raise NoSuchOverload


def invert(a: Any) -> bool:
    """`!a`"""
    if a is True:
        return False
    if a is False:
        return True
    raise NoSuchOverload


def _ordered(a: Any, b: Any) -> None:
    kind, other = type(a), type(b)
    if not ((kind is other and kind in ORDERED) or (kind in NUMBERS and other in NUMBERS)):
        raise NoSuchOverload


def less(a: Any, b: Any) -> bool:
    """`a < b`"""
    _ordered(a, b)
    return bool(a < b)


def less_equal(a: Any, b: Any) -> bool:
    """`a <= b`"""
    _ordered(a, b)
    return bool(a <= b)


def greater(a: Any, b: Any) -> bool:
    """`a > b`"""
    _ordered(a, b)
    return bool(a > b)


def greater_equal(a: Any, b: Any) -> bool:
    """`a >= b`"""
    _ordered(a, b)
    return bool(a >= b)


def contains_value(item: Any, container: Any) -> bool:
    """`item in container`"""
    kind = type(container)
    if kind in LISTS:
        return any(equal(found, item) for found in container)
    if kind in MAPS:
        return find(container, item)[1]
    raise NoSuchOverload


# -- access --------------------------------------------------------------------------------------------------------------------------------


def _shown(key: Any) -> str:
    return key if type(key) is str else plain_text(key)


def find(of: Any, key: Any, *, is_object: bool = False) -> tuple[Any, bool]:
    """What a map or a list has at a key, and whether it has it. Fields of objects that are null are not there."""
    kind = type(of)
    if kind is DomainMap and type(key) is str:
        return of.get(key, {}), True
    if kind in MAPS:
        if type(key) is str or type(key) in NUMBERS:
            if key in of:
                found = of[key]
                return (None, False) if is_object and found is None else (found, True)
            return None, False
        if type(key) is bool:
            return next(((v, True) for k, v in of.items() if k is key), (None, False))
        raise NoSuchOverload
    if kind in LISTS:
        if type(key) is float and key.is_integer():
            key = int(key)
        if type(key) not in (int, UInt):
            raise EvaluationError(f"unsupported index type '{type_name(key)}' in list")
        return (of[key], True) if 0 <= key < len(of) else (None, False)
    raise EvaluationError(f"no such key: {_shown(key)}")


def missing(of: Any, key: Any) -> EvaluationError:
    """What is said of a key that is not there."""
    if type(of) in LISTS:
        return EvaluationError(f"index out of bounds: {_shown(key)}")
    return EvaluationError(f"no such key: {_shown(key)}")


def size(value: Any) -> int:
    """How many there are in it."""
    kind = type(value)
    if kind is str or kind in LISTS or kind in MAPS or kind is bytes:
        return len(value)
    raise NoSuchOverload


# -- conversions ---------------------------------------------------------------------------------------------------------------------------


def _unconvertible(value: Any, to: str) -> EvaluationError:
    return EvaluationError(f"type conversion error from '{type_name(value)}' to '{to}'")


_INTEGER = re.compile(r"[+-]?[0-9]+\Z")
_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")


def _to_bool(value: Any) -> bool:
    if type(value) is bool:
        return value
    if type(value) is str and value in _TRUE:
        return True
    if type(value) is str and value in _FALSE:
        return False
    raise _unconvertible(value, "bool")


def _to_int(value: Any) -> int:
    kind = type(value)
    if kind is int:
        return int(value)
    if kind is UInt:
        return integer(int(value))
    if kind is float:
        if not -(2.0**63) < value < 2.0**63:
            raise EvaluationError("integer overflow")
        return int(value)
    if kind is Timestamp:
        return int(value) // 10**9
    if kind is Duration:
        return int(value)
    if kind is str and _INTEGER.match(value) and _LEAST <= int(value) <= _MOST:
        return int(value)
    raise _unconvertible(value, "int")


def _to_uint(value: Any) -> UInt:
    kind = type(value)
    if kind is int or kind is UInt:
        return unsigned(int(value))
    if kind is float:
        if not 0 <= value < 2.0**64:
            raise EvaluationError("unsigned integer overflow")
        return UInt(value)
    if kind is str and value.isascii() and value.isdigit() and int(value) <= _MOST_UNSIGNED:
        return UInt(value)
    raise _unconvertible(value, "uint")


_DOUBLE = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?|nan)\Z", re.IGNORECASE)


def _to_double(value: Any) -> float:
    kind = type(value)
    if kind in NUMBERS:
        return float(value)
    if kind is str and _DOUBLE.match(value):
        return float(value)
    raise _unconvertible(value, "double")


_WITH_STRING = frozenset((str, bool, int, UInt, float, Timestamp, Duration, bytes))


def to_string(value: Any) -> str:
    """`string(value)`"""
    if type(value) in _WITH_STRING:
        return plain_text(value)
    raise NoSuchOverload


def _to_bytes(value: Any) -> bytes:
    if type(value) is str:
        return value.encode()
    if type(value) is bytes:
        return value
    raise _unconvertible(value, "bytes")


def _to_duration(value: Any) -> Duration:
    if type(value) is Duration:
        return value
    found = parse_duration(value) if type(value) is str else Duration(value) if type(value) is int else None
    if found is None:
        raise _unconvertible(value, "google.protobuf.Duration")
    return found


def _to_timestamp(value: Any) -> Timestamp:
    if type(value) is Timestamp:
        return value
    if type(value) is int:
        return of_nanos(value * 10**9)
    found = parse_timestamp(value) if type(value) is str else None
    if found is None:
        raise _unconvertible(value, "google.protobuf.Timestamp")
    return of_nanos(found)


CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "bool": _to_bool,
    "bytes": _to_bytes,
    "double": _to_double,
    "duration": _to_duration,
    "dyn": lambda value: value,
    "int": _to_int,
    "string": to_string,
    "timestamp": _to_timestamp,
    "type": lambda value: TypeValue(type_name(value)),
    "uint": _to_uint,
}


# -- functions -----------------------------------------------------------------------------------------------------------------------------


def _texts(how: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    def check(a: Any, b: Any) -> bool:
        if type(a) is not str or type(b) is not str:
            raise NoSuchOverload
        return how(a, b)

    return check


def _has_value(value: Any) -> bool:
    return bool(_optional(value).some)


def _optional(value: Any) -> Optional:
    if type(value) is not Optional:
        raise NoSuchOverload
    return value


def _end(items: Any, index: int) -> Optional:
    if type(items) not in LISTS:
        raise NoSuchOverload
    return Optional(True, items[index]) if items else NONE


def _value(value: Any) -> Any:
    if not _optional(value).some:
        raise EvaluationError("optional.none() dereference")
    return value.value


_ZERO_TIME = -62135596800 * 10**9  # Go's: the first of January of the year 1


def _is_zero(value: Any) -> bool:
    if type(value) is Timestamp:
        return value == _ZERO_TIME
    return value is None or (type(value) in (bool, *ORDERED, dict, *LISTS) and not value)


def insert(into: dict[Any, Any], *entry: Any) -> dict[Any, Any]:
    """`cel.@mapInsert`, into a map that nobody else has."""
    more = {entry[0]: entry[1]} if len(entry) == 2 else entry[0]
    for key, value in more.items():
        if key in into:
            raise EvaluationError(f"insert failed: key {_shown(key)} already exists")
        into[key] = value
    return into


def _sorted_by(items: Any, keys: Any) -> list[Any]:
    if len(items) != len(keys):
        raise EvaluationError(
            f"@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {len(items)} and {len(keys)} "
            "elements respectively"
        )
    kinds = {type(key) for key in keys}
    if kinds and type(keys[0]) not in ORDERED:
        raise EvaluationError("list elements must be comparable")
    if len(kinds) > 1:
        raise EvaluationError("list elements must have the same type")
    return [items[index] for index in sorted(range(len(items)), key=keys.__getitem__)]


def _slice(items: Any, start: int, end: int) -> list[Any]:
    if start < 0 or end < 0:
        raise EvaluationError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise EvaluationError(
            f"cannot slice({start}, {end}), start index must be less than or equal to end index"
        )
    if len(items) < end:
        raise EvaluationError(f"cannot slice({start}, {end}), list is length {len(items)}")
    return list(items[start:end])


def _flat(items: Any, depth: int = 1) -> list[Any]:
    if type(items) not in LISTS or type(depth) is not int:
        raise NoSuchOverload
    if depth < 0:
        raise EvaluationError("level must be non-negative")
    found: list[Any] = []
    for item in items:
        if type(item) in LISTS and depth:
            found += _flat(item, depth - 1)
        else:
            found.append(item)
    return found


def _distinct(items: Any) -> list[Any]:
    seen: set[Any] = set()
    found = []
    for item in items:
        key = set_key(item)
        if key not in seen:
            seen.add(key)
            found.append(item)
    return found


RANGE_MAX = 10**6


def _range(count: int) -> list[int]:
    # What is longer costs more than an expression may.
    return list(range(min(count, RANGE_MAX)))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "_+_": add,
    "_-_": subtract,
    "_*_": multiply,
    "_/_": divide,
    "_%_": remainder,
    "-_": negate,
    "!_": invert,
    "_<_": less,
    "_<=_": less_equal,
    "_>_": greater,
    "_>=_": greater_equal,
    "_==_": equal,
    "_!=_": lambda a, b: not equal(a, b),
    "@in": contains_value,
    "size": size,
    "contains": _texts(lambda a, b: b in a),
    "startsWith": _texts(str.startswith),
    "endsWith": _texts(str.endswith),
    "matches": _texts(lambda a, b: goregex.compiled(b).matches(a)),
    "optional.none": lambda: NONE,
    "optional.of": lambda value: Optional(True, value),
    "first": lambda items: _end(items, 0),
    "last": lambda items: _end(items, -1),
    "optional.ofNonZeroValue": lambda value: NONE if _is_zero(value) else Optional(True, value),
    "hasValue": _has_value,
    "value": _value,
    "cel.@mapInsert": insert,
    "@sortByAssociatedKeys": _sorted_by,
    "sort": lambda items: _sorted_by(items, items),
    "slice": _slice,
    "flatten": _flat,
    "distinct": _distinct,
    "reverse": lambda items: list(items[::-1]),
    "lists.range": _range,
    "sets.contains": lambda a, b: set_keys(b) <= set_keys(a),
    "sets.intersects": lambda a, b: not set_keys(a).isdisjoint(set_keys(b)),
    "sets.equivalent": lambda a, b: set_keys(a) == set_keys(b),
    **CONVERSIONS,
    **STRINGS,
    **GETTERS,
}

__all__ = ["CONVERSIONS", "FUNCTIONS", "contains_value", "equal", "find", "missing", "size"]
