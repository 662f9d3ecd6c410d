"""What Kubernetes' and the library's functions cost in CEL, by the sizes of what they are given (apiserver/pkg/cel/library/cost.go, cel-go's ext)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from lakh.machinery.cel_ast import Expr, Type
from lakh.machinery.cel_ranges import ONE, TOP, Range, add, multiply, scale

TRAVERSAL = 0.1  # of a string, a character
REGEX = 0.25  # of a pattern, a character
NEW_LIST = 10
AUTHORIZER_CHECK = 350_000  # a question to the authorizer: two in an expression
_NAME_FORMAT_REGEX = 128

Path = tuple[str, ...]

# What a call costs, and how large its result is, if that can be said.
Estimate = tuple[Range, Range | None]


@dataclass(frozen=True, slots=True)
class Node:
    """An argument, as functions are told of it: `path` leads to it from a variable, `size` is what the expression itself says."""

    expr: Expr | None
    type: Type
    path: Path
    size: Range | None


class Sizes(Protocol):
    """Who knows how large things are."""

    def known_size(self, node: Node) -> Range:
        """An argument's size, or all there is."""

    def element(self, node: Node) -> Node | None:
        """What a list holds; None when it is no list."""


_Function = Callable[[Sizes, Node | None, list[Node], str], Estimate | None]


def _fixed(cost: int) -> _Function:
    return lambda sizes, target, args, overload: ((cost, cost), None)


def _traversed(factor: float = TRAVERSAL, *, keeps: bool = False) -> _Function:
    def estimate(sizes: Sizes, target: Node | None, args: list[Node], overload: str) -> Estimate | None:
        if target is None:
            return None
        size = sizes.known_size(target)
        return scale(size, factor), size if keeps else None

    return estimate


def _scanned(sizes: Sizes, target: Node | None, args: list[Node], overload: str) -> Estimate | None:
    """A walk over a list; strings in it, and strings themselves, are read."""
    if target is None:
        return None
    size = sizes.known_size(target)
    item = sizes.element(target)
    if item is None:
        return scale(size, TRAVERSAL), None
    each = ONE
    if item.type.kind in ("string", "bytes"):
        each = add(each, scale(sizes.known_size(item), TRAVERSAL))
    return multiply(size, each), None


def _url(sizes: Sizes, target: Node | None, args: list[Node], overload: str) -> Estimate | None:
    if len(args) != 1:
        return None
    size = sizes.known_size(args[0])
    return scale(size, TRAVERSAL), size


def _replace(sizes: Sizes, target: Node | None, args: list[Node], overload: str) -> Estimate | None:
    if target is None or len(args) < 2:
        return None
    size, old, new = sizes.known_size(target), sizes.known_size(args[0]), sizes.known_size(args[1])
    # How often the new text can come in, and what stays of the text.
    most, stays_most, least, stays_least = 0, 0, 0, 0
    if old[0] == 0:
        most, stays_most = min(size[1] + 1, TOP), size[1]
    elif new[1] <= old[0]:
        stays_most = size[1]
    else:
        most = math.ceil(float(size[1]) / float(old[0]))
    if old[1] == 0:
        least, stays_least = min(size[0] + 1, TOP), size[0]
    elif old[1] <= new[0]:
        stays_least = size[0]
    else:
        least = math.ceil(float(size[0]) / float(old[1]))
    result = add(multiply((least, most), new), (stays_least, stays_most))
    return scale(size, 2 * TRAVERSAL), result


def _split(sizes: Sizes, target: Node | None, args: list[Node], overload: str) -> Estimate | None:
    if target is None:
        return None
    size = sizes.known_size(target)
    most = size[1]
    limit = args[1].expr if len(args) > 1 else None
    if limit is not None and limit.kind == "literal" and isinstance(limit.value, int):
        most = limit.value & TOP
    return scale(size, 2 * TRAVERSAL), (0, most)


def _join(sizes: Sizes, target: Node | None, args: list[Node], overload: str) -> Estimate | None:
    if target is None:
        return None
    count, size = sizes.known_size(target), (0, 0)
    item = sizes.element(target)
    if item is not None:
        size = multiply(count, sizes.known_size(item))
    if args:
        between = max(count[0] - 1, 0), max(count[1] - 1, 0)
        size = add(size, multiply(sizes.known_size(args[0]), between))
    return scale(size, TRAVERSAL), size


def _find(sizes: Sizes, target: Node | None, args: list[Node], overload: str) -> Estimate | None:
    if target is None or not args:
        return None
    size = sizes.known_size(target)
    text = scale(add(size, ONE), TRAVERSAL)
    return multiply(text, scale(sizes.known_size(args[0]), REGEX)), (0, size[1])


def _parsed(factor: float = TRAVERSAL) -> _Function:
    """Reads an argument."""

    def estimate(sizes: Sizes, target: Node | None, args: list[Node], overload: str) -> Estimate | None:
        return (scale(sizes.known_size(args[0]), factor), None) if args else None

    return estimate


def _ip(sizes: Sizes, target: Node | None, args: list[Node], overload: str) -> Estimate | None:
    if target is not None:
        # A CIDR has it.
        return ONE, None
    return (scale(sizes.known_size(args[0]), TRAVERSAL), None) if args else None


def _within(factor: int, extra: int) -> _Function:
    def estimate(sizes: Sizes, target: Node | None, args: list[Node], overload: str) -> Estimate | None:
        if target is None or not args:
            return None
        # An address has 4 or 16 bytes.
        cost = scale((8, 32), TRAVERSAL)
        if factor:
            cost = add(add(cost, scale((4, 16), TRAVERSAL)), (extra, extra))
        if args[0].type.kind == "string":
            cost = add(cost, scale(sizes.known_size(args[0]), TRAVERSAL))
        return cost, None

    return estimate


def _validate(sizes: Sizes, target: Node | None, args: list[Node], overload: str) -> Estimate | None:
    if not args:
        return None
    read = scale(sizes.known_size(args[0]), TRAVERSAL)
    return scale(read, _NAME_FORMAT_REGEX * REGEX), None


_OPAQUE_EQUAL: Mapping[str, Range] = {
    "net.IP": (1, 1),
    "net.CIDR": (1, 1),
    "kubernetes.Quantity": (1, 1),
    "kubernetes.Semver": (1, 1),
    "kubernetes.NamedFormat": (1, 7),
    "kubernetes.URL": (1, 1),
}


def _equal(sizes: Sizes, target: Node | None, args: list[Node], overload: str) -> Estimate | None:
    if len(args) != 2 or args[0].type != args[1].type:
        return None
    name = args[0].type.name
    if name == "kubernetes.URL" and args[1].size is not None:
        return scale((1, args[1].size[1]), TRAVERSAL), None
    cost = _OPAQUE_EQUAL.get(name)
    return None if cost is None else (cost, None)


def _sets(factor: int) -> _Function:
    def estimate(sizes: Sizes, target: Node | None, args: list[Node], overload: str) -> Estimate | None:
        if len(args) != 2:
            return None
        both = multiply(sizes.known_size(args[0]), sizes.known_size(args[1]))
        return add(scale(both, factor), ONE), None

    return estimate


def _literal(node: Node | None, otherwise: int) -> int:
    expr = node.expr if node is not None else None
    if expr is not None and expr.kind == "literal" and isinstance(expr.value, int):
        return expr.value
    return otherwise


def _made(size: Range, factor: float) -> Estimate:
    """A list is made, of a size."""
    return add(scale(size, factor), (NEW_LIST + 1, NEW_LIST + 1)), size


def _lists(sizes: Sizes, name: str, target: Node | None, args: list[Node]) -> Estimate | None:
    if name == "lists.range":
        count = _literal(args[0] if args else None, TOP)
        return _made((count, count), 1)
    if target is None:
        return None
    size = sizes.known_size(target)
    match name:
        case "slice" if len(args) == 2:
            count = _literal(args[1], size[1]) - _literal(args[0], 0) & TOP
            return _made((count, count), 1)
        case "flatten":
            return _made(size, _literal(args[0], TOP) if args else 1)
        case "reverse" if target.type.kind != "string":
            return _made(size, 1)
        case "distinct":
            return _made(multiply(size, size), 2)
        case "sort":
            item = sizes.element(target)
            return _made(multiply(size, size), _sort_factor(item))
    return None


def _sort_factor(item: Node | None) -> float:
    return 2 + TRAVERSAL if item is not None and item.type.kind in ("string", "bytes") else 2


def _list_function(name: str) -> _Function:
    return lambda sizes, target, args, overload: _lists(sizes, name, target, args)


def _sorted_by(sizes: Sizes, target: Node | None, args: list[Node], overload: str) -> Estimate | None:
    """`sortBy`'s macro calls `@sortByAssociatedKeys` with a list of keys."""
    if target is None or len(args) != 1:
        return None
    size = sizes.known_size(args[0])
    return _made(multiply(size, size), _sort_factor(sizes.element(replace(args[0], path=()))))


NOMINAL = [
    "serviceAccount",
    "path",
    "group",
    "resource",
    "subresource",
    "namespace",
    "name",
    "allowed",
    "reason",
    "error",
    "errored",
    "masked",
    "prefixLength",
    "family",
    "isUnspecified",
    "isLoopback",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isGlobalUnicast",
    "format.named",
    "sign",
    "asInteger",
    "isInteger",
    "asApproximateFloat",
    "isGreaterThan",
    "isLessThan",
    "compareTo",
    "add",
    "sub",
    "major",
    "minor",
    "patch",
    "getScheme",
    "getHostname",
    "getHost",
    "getPort",
    "getEscapedPath",
    "getQuery",
]

FUNCTIONS: Mapping[str, _Function] = {
    **dict.fromkeys(NOMINAL, _fixed(1)),
    "check": _fixed(AUTHORIZER_CHECK),
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _scanned),
    "url": _url,
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim"), _traversed(keeps=True)),
    "replace": _replace,
    "split": _split,
    "join": _join,
    **dict.fromkeys(("find", "findAll"), _find),
    **dict.fromkeys(("cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"), _parsed()),
    "ip": _ip,
    "ip.isCanonical": _parsed(2 * TRAVERSAL),
    "containsIP": _within(0, 0),
    "containsCIDR": _within(1, 1),
    "validate": _validate,
    "_==_": _equal,
    **dict.fromkeys(("sets.contains", "sets.intersects"), _sets(1)),
    "sets.equivalent": _sets(2),
    **{
        name: _list_function(name)
        for name in ("lists.range", "slice", "flatten", "reverse", "distinct", "sort")
    },
    "@sortByAssociatedKeys": _sorted_by,
}
