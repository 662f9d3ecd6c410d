"""Kubernetes' functions in CEL: lists, regular expressions, quantities, URLs, addresses, versions, sets, named formats.

Upstream: apiserver/pkg/cel/library. Kubernetes' own types are maps of one entry here: CEL compares them by value, and functions take them apart. One
table (`FUNCTIONS`) says what each takes and gives; where expressions are checked these types have names (`MESSAGES`), where they run they
are maps.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from lakh.machinery import gonet, goregex, names, openapi_formats, quantity, semver
from lakh.machinery.cel_standard import FUNCTIONS as STANDARD
from lakh.machinery.cel_standard import add
from lakh.machinery.cel_strings import index_of, last_index_of
from lakh.machinery.cel_values import (
    CIDR,
    IP,
    NONE,
    NUMBERS,
    ORDERED,
    URL,
    Duration,
    EvaluationError,
    Format,
    NoSuchOverload,
    Optional,
    Quantity,
    Semver,
    UInt,
    equal,
)
from lakh.machinery.errors import show

# Quantities are counted in billionths.
NANOS = 10**9

# Types that only expressions have: what the table calls them → what messages of errors call them.
MESSAGES: Mapping[str, str] = {
    "quantity": "kubernetes.Quantity",
    "url": "kubernetes.URL",
    "ip": "net.IP",
    "cidr": "net.CIDR",
    "semver": "kubernetes.Semver",
    "format": "kubernetes.NamedFormat",
}

# Kubernetes' libraries: name → overloads of (is a method, types of the arguments, type of the result, implementation).
Function = tuple[bool, tuple[str, ...], str, Callable[..., Any]]


def as_quantity(value: str | int | float) -> Quantity:
    """A quantity as expressions have it; raises ValueError."""
    return Quantity(quantity.parse_nano(value))


def as_semver(text: str) -> Semver:
    """A semantic version as expressions have it; raises ValueError."""
    return _semver(text)


def _given(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise NoSuchOverload
    return value


def _quantity(text: str) -> Quantity:
    return as_quantity(_given(text, str))


def _is(make: Callable[..., Any]) -> Callable[..., bool]:
    def check(text: str, *how: bool) -> bool:
        _given(text, str)
        try:
            make(text, *how)
        except (ValueError, ArithmeticError):
            return False
        return True

    return check


def _semver(text: str, normalize: bool = False) -> Semver:
    if _given(normalize, bool):
        text = semver.normalized(_given(text, str))
    return Semver(text, semver.parse(_given(text, str)))


def _url(text: str) -> URL:
    try:
        return URL(gonet.parse_url(_given(text, str)))
    except NoSuchOverload:
        raise
    except ValueError as e:
        raise EvaluationError(f"URL parse error during conversion from string: {e}") from None


def _is_url(text: str) -> bool:
    return openapi_formats.uri(_given(text, str))


def _location(value: Any) -> gonet.Location:
    return _given(value, URL).parts  # type: ignore[no-any-return]


def _ip(value: Any) -> IP:
    if type(value) is CIDR:
        return IP(value.interface.ip)
    text = _given(value, str)
    try:
        address = gonet.parse_address(text)
    except ValueError as e:
        raise EvaluationError(
            f"IP Address {show(text)} parse error during conversion from string: {e}"
        ) from None
    if "%" in text:
        raise EvaluationError(f"IP address {show(text)} with zone value is not allowed")
    if address.version == 6 and address.ipv4_mapped is not None:
        raise EvaluationError(f"IPv4-mapped IPv6 address {show(text)} is not allowed")
    return IP(address)


def _address(value: Any) -> Any:
    return _given(value, IP).address


# Upstream says it twice.
_NO_NETWORK = "network address parse error during conversion from string: "


def _cidr(text: str) -> CIDR:
    try:
        interface = gonet.parse_prefix(_given(text, str))
    except NoSuchOverload:
        raise
    except ValueError as e:
        raise EvaluationError(f"{_NO_NETWORK}{_NO_NETWORK}{e}") from None
    if interface.version == 6 and interface.ip.ipv4_mapped is not None:
        raise EvaluationError(f"{_NO_NETWORK}IPv4-mapped IPv6 address {show(text)} is not allowed")
    return CIDR(interface)


def _network(value: Any) -> Any:
    return _given(value, CIDR).interface.network


def _contains_ip(value: Any, other: Any) -> bool:
    network = _network(value)
    try:
        address = _address(_ip(other) if type(other) is str else other)
    except EvaluationError:
        # Upstream loses why a text is no address.
        raise NoSuchOverload from None
    return address.version == network.version and address in network


def _contains_cidr(value: Any, other: Any) -> bool:
    inner = _network(_cidr(other) if type(other) is str else other)
    outer = _network(value)
    return inner.version == outer.version and bool(inner.subnet_of(outer))


def _ordered(items: Any) -> Any:
    """A list whose items have an order."""
    if not all(type(item) in ORDERED for item in items):
        raise NoSuchOverload
    return items


def _follows(a: Any, b: Any) -> bool:
    """Whether `a` comes after `b`. What cannot be compared does not."""
    kind, other = type(a), type(b)
    return (kind is other or (kind in NUMBERS and other in NUMBERS)) and bool(a > b)


def _is_sorted(items: Any) -> bool:
    return not any(_follows(a, b) for a, b in itertools.pairwise(_ordered(items)))


def _position(items: Any, wanted: Any, *, last: bool = False) -> int:
    order = range(len(items) - 1, -1, -1) if last else range(len(items))
    return next((i for i in order if equal(items[i], wanted)), -1)


def _find(text: str, pattern: str) -> str:
    return next(goregex.compiled(_given(pattern, str)).find_all(_given(text, str)), "")


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = goregex.compiled(_given(pattern, str)).find_all(_given(text, str))
    return list(found if limit < 0 else itertools.islice(found, limit))


def _sum(zero: Any) -> Callable[[Any], Any]:
    def of(items: Any) -> Any:
        # What is summed may be known only now.
        total = type(items[0])(0) if items and type(items[0]) in _SUMMED else zero
        for item in items:
            total = add(total, item)
        return total

    return of


_SUMMED = frozenset([int, UInt, float, Duration])


def _extreme(what: str, is_better: Callable[[Any, Any], bool]) -> Callable[[Any], Any]:
    def of(items: Any) -> Any:
        if not items:
            raise EvaluationError(f"{what} called on empty list")
        found = items[0]
        for item in _ordered(items):
            if is_better(found, item):
                found = item
        return found

    return of


def _unwrapped(items: Any) -> list[Any]:
    return [_given(item, Optional).value for item in items if _given(item, Optional).some]


def _number(value: Any) -> Any:
    """What an opaque value is compared by."""
    if type(value) is Quantity:
        return value.nanos
    if type(value) is Semver:
        return value.order
    raise NoSuchOverload


def _pair(a: Any, b: Any) -> tuple[Any, Any]:
    if type(a) is not type(b):
        raise NoSuchOverload
    return _number(a), _number(b)


def _is_less(a: Any, b: Any) -> bool:
    left, right = _pair(a, b)
    return bool(left < right)


def _is_greater(a: Any, b: Any) -> bool:
    return _is_less(b, a)


def _compare(a: Any, b: Any) -> int:
    left, right = _pair(a, b)
    return int(left > right) - int(left < right)


def _shifted(sign: int) -> Callable[[Any, Any], Quantity]:
    def of(a: Any, b: Any) -> Quantity:
        other = b * NANOS if type(b) is int else _given(b, Quantity).nanos
        return Quantity(_given(a, Quantity).nanos + sign * other)

    return of


def text_of(value: Any) -> str:
    """`string()` of an address."""
    if type(value) is IP:
        return str(value.address)
    return str(_given(value, CIDR).interface)


def _checked(kind: str, why: str) -> Callable[[str], list[str]]:
    good = openapi_formats.CHECKS[kind]
    return lambda text: [] if good(text) else [why]


def _prefix(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    return lambda text: check(names.mask_trailing_dash(text))


def _uri(text: str) -> list[str]:
    try:
        gonet.parse_request_uri(text)
    except ValueError as e:
        return [str(e)]
    return []


# Upstream's `ConstantFormats`.
FORMATS: Mapping[str, Callable[[str], list[str]]] = {
    "dns1123Label": names.dns_label,
    "dns1123Subdomain": names.dns_subdomain,
    "dns1035Label": names.dns1035_label,
    "qualifiedName": names.qualified_name,
    "portName": names.port_name,
    "dns1123LabelPrefix": _prefix(names.dns_label),
    "dns1123SubdomainPrefix": _prefix(names.dns_subdomain),
    "dns1035LabelPrefix": _prefix(names.dns1035_label),
    "labelValue": names.label_value,
    "uri": _uri,
    "uuid": _checked("uuid", "does not match the UUID format"),
    "byte": _checked("byte", "invalid base64"),
    "date": _checked("date", "invalid date"),
    "datetime": _checked("datetime", "invalid datetime"),
}


def _named(name: str) -> Optional:
    return Optional(True, Format(name)) if name in FORMATS else NONE


def _format(name: str) -> Callable[[], Format]:
    return lambda: Format(name)


def _validate(form: Any, text: str) -> Optional:
    found = FORMATS[_given(form, Format).name](_given(text, str))
    return Optional(True, found) if found else NONE


def _of_two(result: str, implementation: Callable[..., Any]) -> tuple[Function, ...]:
    return tuple((True, (kind, kind), result, implementation) for kind in ("quantity", "semver"))


def _nanos(value: Any) -> int:
    return int(_given(value, Quantity).nanos)


def _is_integer(value: Any) -> bool:
    whole, rest = divmod(_nanos(value), NANOS)
    return not rest and -(2**63) <= whole < 2**63


def _as_integer(value: Any) -> int:
    if not _is_integer(value):
        raise EvaluationError("cannot convert value to integer")
    return _nanos(value) // NANOS


def _is_link_local_multicast(value: Any) -> bool:
    at = _address(value)
    # Python says link-local of what is in fe80::/10 and 169.254.0.0/16 only.
    links = "ff02::/16" if at.version == 6 else "224.0.0.0/24"
    return at in ipaddress.ip_network(links)


def _is_global_unicast(value: Any) -> bool:
    at = _address(value)
    broadcast = at.version == 4 and int(at) == 2**32 - 1
    return not (at.is_multicast or at.is_loopback or at.is_unspecified or at.is_link_local or broadcast)


_COMPARABLE = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
_SUMMABLE = {"int": 0, "uint": UInt(0), "double": 0.0, "duration": Duration(0)}


def _of_lists(
    kinds: tuple[str, ...], result: str | None, implementation: Callable[..., Any]
) -> tuple[Function, ...]:
    return tuple((True, (f"list-{kind}",), result or kind, implementation) for kind in kinds)


FUNCTIONS: Mapping[str, tuple[Function, ...]] = {
    "isSorted": _of_lists(_COMPARABLE, "bool", _is_sorted),
    "sum": tuple((True, (f"list-{kind}",), kind, _sum(zero)) for kind, zero in _SUMMABLE.items()),
    "min": _of_lists(_COMPARABLE, None, _extreme("min", _follows)),
    "max": _of_lists(_COMPARABLE, None, _extreme("max", lambda found, item: _follows(item, found))),
    "indexOf": ((True, ("list", "dyn"), "int", _position),),
    "optional.unwrap": ((False, ("list-optional-A",), "list-A", _unwrapped),),
    "unwrapOpt": ((True, ("list-optional-A",), "list-A", _unwrapped),),
    "lastIndexOf": ((True, ("list", "dyn"), "int", lambda items, x: _position(items, x, last=True)),),
    "find": ((True, ("string", "string"), "string", _find),),
    "findAll": (
        (True, ("string", "string"), "list-string", _find_all),
        (True, ("string", "string", "int"), "list-string", _find_all),
    ),
    "quantity": ((False, ("string",), "quantity", _quantity),),
    "isQuantity": ((False, ("string",), "bool", _is(_quantity)),),
    "semver": (
        (False, ("string",), "semver", _semver),
        (False, ("string", "bool"), "semver", _semver),
    ),
    "isSemver": (
        (False, ("string",), "bool", _is(_semver)),
        (False, ("string", "bool"), "bool", _is(_semver)),
    ),
    "major": ((True, ("semver",), "int", lambda v: _given(v, Semver).order[0]),),
    "minor": ((True, ("semver",), "int", lambda v: _given(v, Semver).order[1]),),
    "patch": ((True, ("semver",), "int", lambda v: _given(v, Semver).order[2]),),
    "isGreaterThan": _of_two("bool", _is_greater),
    "isLessThan": _of_two("bool", _is_less),
    "compareTo": _of_two("int", _compare),
    "isInteger": ((True, ("quantity",), "bool", _is_integer),),
    "asInteger": ((True, ("quantity",), "int", _as_integer),),
    "asApproximateFloat": ((True, ("quantity",), "double", lambda v: _nanos(v) / NANOS),),
    "sign": (
        (False, ("quantity",), "int", lambda v: (_nanos(v) > 0) - (_nanos(v) < 0)),
        (True, ("quantity",), "int", lambda v: (_nanos(v) > 0) - (_nanos(v) < 0)),
    ),
    "add": (
        (True, ("quantity", "quantity"), "quantity", _shifted(1)),
        (True, ("quantity", "int"), "quantity", _shifted(1)),
    ),
    "sub": (
        (True, ("quantity", "quantity"), "quantity", _shifted(-1)),
        (True, ("quantity", "int"), "quantity", _shifted(-1)),
    ),
    "url": ((False, ("string",), "url", _url),),
    "isURL": ((False, ("string",), "bool", _is_url),),
    "getScheme": ((True, ("url",), "string", lambda v: _location(v).scheme),),
    "getHost": ((True, ("url",), "string", lambda v: _location(v).host),),
    "getHostname": ((True, ("url",), "string", lambda v: _location(v).hostname),),
    "getPort": ((True, ("url",), "string", lambda v: _location(v).port),),
    "getEscapedPath": ((True, ("url",), "string", lambda v: _location(v).escaped_path),),
    "getQuery": ((True, ("url",), "query", lambda v: _location(v).values),),
    "ip": (
        (False, ("string",), "ip", _ip),
        (True, ("cidr",), "ip", _ip),
    ),
    "isIP": ((False, ("string",), "bool", _is(_ip)),),
    "ip.isCanonical": ((False, ("string",), "bool", lambda text: str(_address(_ip(text))) == text),),
    "family": ((True, ("ip",), "int", lambda v: _address(v).version),),
    "isUnspecified": ((True, ("ip",), "bool", lambda v: _address(v).is_unspecified),),
    "isLoopback": ((True, ("ip",), "bool", lambda v: _address(v).is_loopback),),
    "isLinkLocalMulticast": ((True, ("ip",), "bool", _is_link_local_multicast),),
    "isLinkLocalUnicast": (
        (True, ("ip",), "bool", lambda v: _address(v).is_link_local and not _address(v).is_multicast),
    ),
    "isGlobalUnicast": ((True, ("ip",), "bool", _is_global_unicast),),
    "cidr": ((False, ("string",), "cidr", _cidr),),
    "isCIDR": ((False, ("string",), "bool", _is(_cidr)),),
    "containsIP": (
        (True, ("cidr", "string"), "bool", _contains_ip),
        (True, ("cidr", "ip"), "bool", _contains_ip),
    ),
    "containsCIDR": (
        (True, ("cidr", "string"), "bool", _contains_cidr),
        (True, ("cidr", "cidr"), "bool", _contains_cidr),
    ),
    "masked": ((True, ("cidr",), "cidr", lambda v: CIDR(ipaddress.ip_interface(_network(v)))),),
    "prefixLength": ((True, ("cidr",), "int", lambda v: _network(v).prefixlen),),
    "string": ((False, ("ip",), "string", text_of), (False, ("cidr",), "string", text_of)),
    **{
        f"sets.{name}": ((False, ("list", "list"), "bool", STANDARD[f"sets.{name}"]),)
        for name in ("contains", "intersects", "equivalent")
    },
    "format.named": ((False, ("string",), "optional-format", _named),),
    **{f"format.{name}": ((False, (), "format", _format(name)),) for name in FORMATS},
    "validate": ((True, ("format", "string"), "optional-list-string", _validate),),
}


def _either(methods: Callable[..., Any], of: type, otherwise: Callable[..., Any]) -> Callable[..., Any]:
    return lambda value, *more: methods(value, *more) if type(value) is of else otherwise(value, *more)


def _by_name() -> dict[str, Callable[..., Any]]:
    """What runs: the standard functions, Kubernetes', and those that both have, told apart by what they are called on."""
    ours = {name: overloads[0][3] for name, overloads in FUNCTIONS.items()}
    return {
        **STANDARD,
        **ours,
        "string": lambda v: text_of(v) if type(v) in (IP, CIDR) else STANDARD["string"](v),
        "indexOf": _either(index_of, str, ours["indexOf"]),
        "lastIndexOf": _either(last_index_of, str, ours["lastIndexOf"]),
    }


IMPLEMENTATIONS: Mapping[str, Callable[..., Any]] = _by_name()
