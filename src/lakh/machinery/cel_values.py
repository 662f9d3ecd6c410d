"""The values of CEL while an expression runs: Python's own where they mean the same, and small types for the rest.

`null`, `bool`, `int`, `double`, `string`, `bytes`, `list` and `map` are Python's; a list or a map of an object is the decoded JSON itself, not a
copy. `uint`, times, optionals, types, and what Kubernetes' functions make (quantities, addresses …) are here. Python takes True for 1 where CEL
does not, so values are compared by `equal`, never by `==`, unless both are known to be of one simple type.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Any

from lakh.machinery.gonet import Location

NANOS_PER_SECOND = 10**9


class EvaluationError(ValueError):
    """An expression has no result: `no such key: a`, `division by zero` … `&&`, `||` and the macros made of them can do without it."""


class NoSuchOverload(EvaluationError):
    """What is called is not there for values of these types."""

    def __init__(self) -> None:
        super().__init__("no such overload")


class UInt(int):
    """An unsigned number of 64 bits."""

    __slots__ = ()


class Duration(int):
    """A span of time in nanoseconds, 64 bits."""

    __slots__ = ()


class Timestamp(int):
    """A point in time: nanoseconds since 1970 in UTC. `east` is the zone that it was written in, in seconds, which only its text knows of."""

    east = 0


@dataclass(frozen=True, slots=True)
class Optional:
    """A value, or none."""

    some: bool
    value: Any = None


NONE = Optional(False)


@dataclass(frozen=True, slots=True)
class TypeValue:
    """A type as a value: `type(1) == int`."""

    name: str


@dataclass(frozen=True, slots=True)
class Quantity:
    """A quantity in billionths, exact."""

    nanos: int


@dataclass(frozen=True, slots=True)
class IP:
    """An address."""

    address: IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class CIDR:
    """An address with the length of its network's prefix."""

    interface: IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class URL:
    """An absolute URL, or an absolute path."""

    parts: Location


@dataclass(frozen=True, slots=True)
class Semver:
    """A semantic version. `order` is what it is compared by: build metadata do not count."""

    text: str
    order: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Format:
    """A named format of strings."""

    name: str


class SetList(list[Any]):
    """A list whose order does not matter (`x-kubernetes-list-type: set`)."""

    __slots__ = ()


class MapList(list[Any]):
    """A list of objects that are known by some of their fields (`x-kubernetes-list-type: map`)."""

    __slots__ = ("keys",)
    keys: tuple[str, ...]


class DomainMap(dict[str, Any]):
    """A device's attributes by domain: a domain of which nothing is known is an empty map."""

    __slots__ = ()


OPAQUE = frozenset([Quantity, IP, CIDR, URL, Semver, Format])
NUMBERS = frozenset([int, UInt, float])
ORDERED = frozenset([int, UInt, float, str, bytes, bool, Timestamp, Duration])
LISTS = frozenset([list, SetList, MapList])
MAPS: frozenset[Any] = frozenset((dict, DomainMap))
_SIMPLE = frozenset([*ORDERED, TypeValue, *(OPAQUE - {Semver})])

_TYPE_NAMES: dict[type, str] = {
    type(None): "null_type",
    bool: "bool",
    int: "int",
    UInt: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    SetList: "list",
    MapList: "list",
    dict: "map",
    DomainMap: "map",
    Timestamp: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration",
    Optional: "optional_type",
    TypeValue: "type",
    Quantity: "kubernetes.Quantity",
    IP: "net.IP",
    CIDR: "net.CIDR",
    URL: "kubernetes.URL",
    Semver: "kubernetes.Semver",
    Format: "kubernetes.NamedFormat",
}


def type_name(value: Any) -> str:
    """CEL's name of a value's type."""
    return _TYPE_NAMES.get(type(value), "dyn")


def size_of(value: Any) -> int:
    """A value's size as costs know it: characters, bytes, items, entries; one of what has none (cel-go's actualSize)."""
    kind = type(value)
    if kind is str or kind in LISTS or kind in MAPS or kind is bytes:
        return len(value)
    if kind is IP:
        return int(value.address.max_prefixlen) // 8
    if kind is CIDR:
        return (int(value.interface.network.prefixlen) + 7) // 8
    if kind is Optional and value.some:
        return size_of(value.value)
    return 1


def equal(a: Any, b: Any) -> bool:
    """CEL's equality: values of different types differ, but for numbers."""
    kind, other = type(a), type(b)
    if kind is other:
        if kind in _SIMPLE:
            return bool(a == b)
        if kind is dict:
            return len(a) == len(b) and all(k in b and equal(v, b[k]) for k, v in a.items())
        if kind is list:
            return len(a) == len(b) and all(map(equal, a, b))
        if kind is Optional:
            return a.some == b.some and (not a.some or equal(a.value, b.value))
        if kind is Semver:
            return bool(a.order == b.order)
    if kind in NUMBERS and other in NUMBERS:
        return bool(a == b)
    if kind in LISTS and other in LISTS:
        return _lists_equal(a, b)
    if kind in MAPS and other in MAPS:
        return equal(dict(a), dict(b))
    return a is None and b is None


def _lists_equal(a: Any, b: Any) -> bool:
    if len(a) != len(b):
        return False
    if type(a) is MapList:
        known = {map_key(a, item): item for item in a}
        seen = set()
        for item in b:
            key = map_key(a, item)
            if key not in known or not equal(known[key], item):
                return False
            seen.add(key)
        return len(seen) == len(known)
    if type(a) is SetList:
        return set_keys(a) == set_keys(b)
    return all(map(equal, a, b))


def map_key(of: MapList, item: Any) -> tuple[Any, ...]:
    """What an item is known by in a list like `of`."""
    if type(item) is not dict:
        raise NoSuchOverload
    return tuple(set_key(item.get(name)) for name in of.keys)


def set_key(item: Any) -> Any:
    """A value as a key: equal values have equal keys."""
    kind = type(item)
    if kind in NUMBERS:
        return item
    if kind in LISTS:
        return (list, *map(set_key, item))
    if kind is dict:
        return (dict, frozenset((set_key(k), set_key(v)) for k, v in item.items()))
    return kind, item


def set_keys(items: Iterable[Any]) -> set[Any]:
    """The keys of all values."""
    return {set_key(item) for item in items}


def joined(a: Any, b: Any) -> Any:
    """`+` of two lists. Sets take what they do not have; of lists that are maps, entries replace those of the same key."""
    if type(a) is SetList:
        known = set_keys(a)
        more = SetList(a)
        for item in b:
            key = set_key(item)
            if key not in known:
                known.add(key)
                more.append(item)
        return more
    if type(a) is MapList:
        merged = MapList(a)
        merged.keys = a.keys
        positions = {map_key(a, item): index for index, item in enumerate(a)}
        for item in b:
            key = map_key(a, item)
            if key in positions:
                merged[positions[key]] = item
            else:
                positions[key] = len(merged)
                merged.append(item)
        return merged
    return [*a, *b]
