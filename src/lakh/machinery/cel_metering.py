"""What the calls of a running expression cost, by what they are given and what they give (cel-go's interpreter/runtimecost.go and ext, Kubernetes'
`CallCost` of apiserver/pkg/cel/library/cost.go).

The prices are those that estimates are made of (`cel_prices`), with sizes that are known. A price that is always the same is a number here, so that
a program can add it once for many steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lakh.machinery.cel_functions import MESSAGES
from lakh.machinery.cel_prices import AUTHORIZER_CHECK, NEW_LIST, NOMINAL, REGEX, TRAVERSAL
from lakh.machinery.cel_values import LISTS, OPAQUE, size_of

# An expression of a rule, of a device selector, of admission (apiserver/pkg/apis/cel/config.go).
PER_CALL_LIMIT = 1_000_000
# All rules of an object.
OBJECT_BUDGET = 10_000_000
CANCELLED = "operation cancelled: actual cost limit exceeded"

Price = int | Callable[[Sequence[Any], Any], int]

NEW_MAP, NEW_STRUCT = 30, 40
_SCALARS = frozenset(
    ["bool", "int", "uint", "double", "timestamp", "duration", "null_type", "type", *MESSAGES.values()]
)


class CostLimitExceeded(Exception):
    """An expression costs more than it may. Nothing in the expression can make up for it."""

    def __init__(self) -> None:
        super().__init__(CANCELLED)


def traversed(size: int, factor: float = TRAVERSAL) -> int:
    """A walk over a text or a list."""
    return math.ceil(size * factor)


def compared(a: Any, b: Any) -> int:
    """`==` and `!=`, and the order of texts."""
    return math.ceil(min(size_of(a), size_of(b)) * TRAVERSAL)


def _equality(args: Sequence[Any], result: Any) -> int:
    return 1 if type(args[0]) in OPAQUE else compared(*args)


def _first(factor: float = TRAVERSAL) -> Price:
    return lambda args, result: math.ceil(size_of(args[0]) * factor)


def _both(args: Sequence[Any], result: Any) -> int:
    return math.ceil((size_of(args[0]) + size_of(args[1])) * TRAVERSAL)


def _matches(args: Sequence[Any], result: Any) -> int:
    return traversed(1 + size_of(args[0])) * math.ceil(size_of(args[1]) * REGEX)


def _contains(args: Sequence[Any], result: Any) -> int:
    return traversed(size_of(args[0])) * traversed(size_of(args[1]))


_TEXTS = ("string", "bytes")
_BY_OVERLOAD: Mapping[str, Price] = {
    **dict.fromkeys(
        (
            "starts_with_string",
            "ends_with_string",
            "string_to_bytes",
            "bytes_to_string",
            "strings_quote",
            "string_format",
        ),
        _first(),
    ),
    "in_list": lambda args, result: size_of(args[1]),
    **{
        f"{how}_{kind}": lambda args, result: compared(*args)
        for how in ("less", "less_equals", "greater", "greater_equals")
        for kind in _TEXTS
    },
    "not_equals": lambda args, result: compared(*args),
    "add_string": _both,
    "add_bytes": _both,
    "matches_string": _matches,
    "contains_string": _contains,
}


def _scanned(value: Any) -> int:
    """What a list holds, all of it."""
    kind = type(value)
    if kind is str:
        return int(len(value.encode()) * TRAVERSAL)
    if kind is bytes:
        return int(len(value) * TRAVERSAL)
    if kind in LISTS:
        return sum(map(_scanned, value))
    if kind is dict:
        return sum(_scanned(key) + _scanned(item) for key, item in value.items())
    return 1


def _within(extra: bool) -> Price:
    def price(args: Sequence[Any], result: Any) -> int:
        size, other = size_of(args[0]), args[1]
        cost = traversed(2 * size)
        if extra:
            cost += traversed(size) + 1
        return cost + traversed(len(other)) if type(other) is str else cost

    return price


# Named formats: how long a pattern is that would say the same.
FORMAT_PATTERN_CHARS: Mapping[str, int] = {
    "dns1123Label": 30,
    "dns1123Subdomain": 60,
    "dns1035Label": 30,
    "qualifiedName": 60,
    "dns1123LabelPrefix": 30,
    "dns1123SubdomainPrefix": 60,
    "dns1035LabelPrefix": 30,
    "labelValue": 40,
    "uri": 1103,
    "uuid": 90,
    "byte": 84,
    "date": 75,
    "datetime": 75,
}


def _validated(args: Sequence[Any], result: Any) -> int:
    pattern = FORMAT_PATTERN_CHARS.get(args[0].name, 60)
    return traversed(1 + size_of(args[1])) * math.ceil(pattern * REGEX)


def _selector(args: Sequence[Any], result: Any) -> int:
    length = size_of(args[1])
    return NEW_LIST + traversed(length) + math.ceil(math.ceil(length * 0.5) * float(NEW_LIST + NEW_STRUCT))


def _made(size: int, factor: float = 1) -> int:
    return int(size * factor) + 1 + NEW_LIST


def _self_compared(items: Any) -> int:
    factor = 2 + TRAVERSAL if items and type(items[0]) in (str, bytes) else 2
    return _made(len(items) ** 2, factor)


def _flattened(args: Sequence[Any], result: Any) -> int:
    return _made(size_of(args[0]), args[1] if len(args) == 2 and type(args[1]) is int else 1)


def _sets(factor: int) -> Price:
    return lambda args, result: 1 + size_of(args[0]) * size_of(args[1]) * factor


_BY_FUNCTION: Mapping[str, Price] = {
    **dict.fromkeys(NOMINAL, 1),
    "check": AUTHORIZER_CHECK,
    **dict.fromkeys(("fieldSelector", "labelSelector"), _selector),
    **dict.fromkeys(
        ("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"),
        lambda args, result: _scanned(args[0]),
    ),
    **dict.fromkeys(
        (
            "url",
            "lowerAscii",
            "upperAscii",
            "substring",
            "trim",
            "cidr",
            "isIP",
            "isCIDR",
            "quantity",
            "isQuantity",
            "semver",
            "isSemver",
            "jsonpatch.escapeKey",
        ),
        _first(),
    ),
    **dict.fromkeys(("replace", "split", "ip.isCanonical"), _first(2 * TRAVERSAL)),
    "join": lambda args, result: traversed(size_of(result), 2 * TRAVERSAL),
    **dict.fromkeys(("find", "findAll"), _matches),
    "ip": lambda args, result: traversed(len(args[0])) if type(args[0]) is str else 1,
    "containsIP": _within(False),
    "containsCIDR": _within(True),
    "validate": _validated,
    "_==_": _equality,
    **dict.fromkeys(("sets.contains", "sets.intersects"), _sets(1)),
    "sets.equivalent": _sets(2),
    **dict.fromkeys(("slice", "lists.range", "reverse"), lambda args, result: _made(size_of(result))),
    "flatten": _flattened,
    "distinct": lambda args, result: _self_compared(args[0]),
    "sort": lambda args, result: _self_compared(args[0]),
    "@sortByAssociatedKeys": lambda args, result: _self_compared(args[1]),
}


def price(function: str, overload: str, kinds: Sequence[str]) -> Price:
    """What a call costs. `overload` is the only one that fits, or empty; `kinds` are the static types of the arguments."""
    if function in ("_==_", "_!=_") and all(kind in _SCALARS for kind in kinds):
        return 1
    if function in _BY_FUNCTION:
        return _BY_FUNCTION[function]
    if function == "_!=_":
        return _BY_OVERLOAD["not_equals"]
    return _BY_OVERLOAD.get(overload, 1)
