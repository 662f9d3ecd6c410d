"""Kubernetes' functions in CEL: lists, regular expressions, quantities, URLs, addresses, versions, sets, named formats.

Upstream: apiserver/pkg/cel/library. Kubernetes' own types are maps of one entry here: CEL compares them by value, and functions take them apart. One
table (`FUNCTIONS`) says what each takes and gives; where expressions are checked these types have names (`MESSAGES`), where they run they
are maps.
"""

from __future__ import annotations

import importlib
import ipaddress
import itertools
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lakh.machinery import goregex, names, openapi_formats, quantity
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
    "format": "kubernetes.Format",
}

# Kubernetes' libraries: name → overloads of (is a method, types of the arguments, type of the result, implementation).
Function = tuple[bool, tuple[str, ...], str, Callable[..., Any]]


def as_quantity(value: str | int | float) -> dict[str, Any]:
    """A quantity as expressions have it. Its digits are text: CEL's integers end at 9 Gi of billionths."""
    return {"@quantity": str(quantity.parse_nano(value))}


def _quantity(text: str) -> dict[str, Any]:
    return as_quantity(text)


def _is(make: Callable[..., Any]) -> Callable[..., bool]:
    def check(text: str, *how: bool) -> bool:
        try:
            make(text, *how)
        except (ValueError, ArithmeticError):
            return False
        return True

    return check


def _number(value: Any) -> Any:
    """What an opaque value is compared by."""
    if isinstance(value, dict):
        if "@quantity" in value:
            return int(value["@quantity"])
        if "@semver" in value:
            return _version_key(value["@semver"])
    raise ValueError("no such overload")


_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?\Z")


def _semver(text: str, normalize: bool = False) -> dict[str, Any]:
    if normalize:
        text = _normalized(text)
    if _SEMVER.match(text) is None:
        raise ValueError(f"invalid semantic version {text!r}")
    return {"@semver": text}


def _normalized(text: str) -> str:
    """A version without a leading v and leading zeros, with all three numbers."""
    parts = text.removeprefix("v").split(".", 2)
    for index, part in enumerate(parts):
        if len(part) > 1:
            bare = part.lstrip("0")
            parts[index] = bare if bare[:1].isdigit() else "0" + bare
    if len(parts) < 3 and any(c in parts[-1] for c in "+-"):
        raise ValueError("short version cannot contain PreRelease/Build meta data")
    return ".".join(parts + ["0"] * (3 - len(parts)))


def _version_key(text: str) -> tuple[Any, ...]:
    found = _SEMVER.match(text)
    assert found is not None
    parts = tuple(int(found.group(i)) for i in (1, 2, 3))
    pre = found.group(4)
    if pre is None:
        return (*parts, 1)
    return (*parts, 0, tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in pre.split(".")))


def _url(text: str) -> dict[str, Any]:
    if not openapi_formats.uri(text):
        raise ValueError(
            f"URL parse error during conversion from string: parse {text!r}: invalid URI for request"
        )
    return {"@url": text}


def _host(value: Any) -> str:
    return str(urlsplit(value["@url"]).netloc).rpartition("@")[2]


def _hostname(value: Any) -> str:
    host = _host(value)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _port(value: Any) -> str:
    port = urlsplit(value["@url"]).port
    return "" if port is None else str(port)


def _ip(text: str) -> dict[str, Any]:
    if "%" in text or text.startswith("::ffff:"):
        raise ValueError(f"IP Address {text!r} parse error during conversion from string")
    return {"@ip": str(ipaddress.ip_address(text))}


def _address(value: Any) -> Any:
    return ipaddress.ip_address(value["@ip"] if isinstance(value, dict) else value)


def _cidr(text: str) -> dict[str, Any]:
    return {"@cidr": str(ipaddress.ip_interface(text))}


def _network(value: Any) -> Any:
    return ipaddress.ip_interface(value["@cidr"] if isinstance(value, dict) else value)


def _contains_cidr(value: Any, other: Any) -> bool:
    inner, outer = _network(other).network, _network(value).network
    return inner.version == outer.version and bool(inner.subnet_of(outer))


def _is_sorted(items: list[Any]) -> bool:
    return all(a <= b for a, b in itertools.pairwise(items))


def _position(items: list[Any], wanted: Any, *, last: bool = False) -> int:
    order = range(len(items) - 1, -1, -1) if last else range(len(items))
    return next((i for i in order if items[i] == wanted), -1)


def _find(text: str, pattern: str) -> str:
    return next(goregex.compiled(pattern).find_all(text), "")


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = list(goregex.compiled(pattern).find_all(text))
    return found if limit < 0 else found[:limit]


def _given(value: Any) -> Any:
    """A value for the library, which gives times as Python's own and does not take them."""
    if isinstance(value, timedelta):
        duration = importlib.import_module("google.protobuf.duration_pb2").Duration()
        duration.FromTimedelta(value)
        return duration
    if isinstance(value, datetime):
        timestamp = importlib.import_module("google.protobuf.timestamp_pb2").Timestamp()
        timestamp.FromDatetime(value)
        return timestamp
    return value


def _total(items: list[Any]) -> Any:
    return _given(sum(items[1:], items[0])) if items else 0


def _first(choose: Callable[[Any], Any], what: str) -> Callable[[list[Any]], Any]:
    def of(items: list[Any]) -> Any:
        if not items:
            raise ValueError(f"{what} called on empty list")
        return _given(choose(items))

    return of


def _compare(a: Any, b: Any) -> int:
    left, right = _number(a), _number(b)
    return int(left > right) - int(left < right)


def _shifted(sign: int) -> Callable[[Any, Any], dict[str, Any]]:
    def of(a: Any, b: Any) -> dict[str, Any]:
        other = b * NANOS if isinstance(b, int) else _number(b)
        return {"@quantity": str(_number(a) + sign * other)}

    return of


def _text_of(value: Any) -> str:
    for key in ("@ip", "@cidr"):
        if isinstance(value, dict) and key in value:
            return str(value[key])
    raise ValueError("no such overload")


def _checked(kind: str, why: str) -> Callable[[str], list[str]]:
    good = openapi_formats.CHECKS[kind]
    return lambda text: [] if good(text) else [why]


def _prefix(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    return lambda text: check(names.mask_trailing_dash(text))


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
    "uri": lambda text: [] if openapi_formats.uri(text) else [f"parse {show(text)}: invalid URI for request"],
    "uuid": _checked("uuid", "does not match the UUID format"),
    "byte": _checked("byte", "invalid base64"),
    "date": _checked("date", "invalid date"),
    "datetime": _checked("datetime", "invalid datetime"),
}


# An optional value that Python made: the library cannot be given its own.
_NONE: dict[str, Any] = {"@optional": []}


def _some(value: Any) -> dict[str, Any]:
    return {"@optional": [value]}


def _named(name: str) -> dict[str, Any]:
    return _some({"@format": name}) if name in FORMATS else _NONE


def _format(name: str) -> Callable[[], dict[str, Any]]:
    return lambda: {"@format": name}


def _validate(form: Any, text: str) -> dict[str, Any]:
    found = FORMATS[form["@format"]](text)
    return _some(found) if found else _NONE


def _has_value(value: Any) -> bool:
    return bool(value["@optional"])


def _value(value: Any) -> Any:
    if not value["@optional"]:
        raise ValueError("optional.none() dereference")
    return value["@optional"][0]


def _of_two(result: str, implementation: Callable[..., Any]) -> tuple[Function, ...]:
    return tuple((True, (kind, kind), result, implementation) for kind in ("quantity", "semver"))


def _as_integer(value: Any) -> int:
    number = _number(value)
    if number % NANOS or not -(2**63) <= number // NANOS < 2**63:
        raise ValueError("cannot convert value to integer")
    return int(number // NANOS)


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
_SUMMABLE = ("int", "uint", "double", "duration")


def _of_lists(
    kinds: tuple[str, ...], result: str | None, implementation: Callable[..., Any]
) -> tuple[Function, ...]:
    return tuple((True, (f"list-{kind}",), result or kind, implementation) for kind in kinds)


FUNCTIONS: Mapping[str, tuple[Function, ...]] = {
    "isSorted": _of_lists(_COMPARABLE, "bool", _is_sorted),
    "sum": _of_lists(_SUMMABLE, None, _total),
    "min": _of_lists(_COMPARABLE, None, _first(min, "min")),
    "max": _of_lists(_COMPARABLE, None, _first(max, "max")),
    "indexOf": ((True, ("list", "dyn"), "int", _position),),
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
    "major": ((True, ("semver",), "int", lambda v: _version_key(v["@semver"])[0]),),
    "minor": ((True, ("semver",), "int", lambda v: _version_key(v["@semver"])[1]),),
    "patch": ((True, ("semver",), "int", lambda v: _version_key(v["@semver"])[2]),),
    "isGreaterThan": _of_two("bool", lambda a, b: bool(_number(a) > _number(b))),
    "isLessThan": _of_two("bool", lambda a, b: bool(_number(a) < _number(b))),
    "compareTo": _of_two("int", _compare),
    "isInteger": ((True, ("quantity",), "bool", lambda v: _number(v) % NANOS == 0),),
    "asInteger": ((True, ("quantity",), "int", _as_integer),),
    "asApproximateFloat": ((True, ("quantity",), "double", lambda v: _number(v) / NANOS),),
    "sign": (
        (False, ("quantity",), "int", lambda v: (_number(v) > 0) - (_number(v) < 0)),
        (True, ("quantity",), "int", lambda v: (_number(v) > 0) - (_number(v) < 0)),
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
    "isURL": ((False, ("string",), "bool", _is(_url)),),
    "getScheme": ((True, ("url",), "string", lambda v: urlsplit(v["@url"]).scheme),),
    "getHost": ((True, ("url",), "string", _host),),
    "getHostname": ((True, ("url",), "string", _hostname),),
    "getPort": ((True, ("url",), "string", _port),),
    "getEscapedPath": ((True, ("url",), "string", lambda v: urlsplit(v["@url"]).path),),
    "getQuery": ((True, ("url",), "query", lambda v: parse_qs(urlsplit(v["@url"]).query)),),
    "ip": (
        (False, ("string",), "ip", _ip),
        (True, ("cidr",), "ip", lambda v: {"@ip": str(_network(v).ip)}),
    ),
    "isIP": ((False, ("string",), "bool", _is(_ip)),),
    "ip.isCanonical": ((False, ("string",), "bool", lambda text: str(ipaddress.ip_address(text)) == text),),
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
        (True, ("cidr", "string"), "bool", lambda v, a: _address(a) in _network(v).network),
        (True, ("cidr", "ip"), "bool", lambda v, a: _address(a) in _network(v).network),
    ),
    "containsCIDR": (
        (True, ("cidr", "string"), "bool", _contains_cidr),
        (True, ("cidr", "cidr"), "bool", _contains_cidr),
    ),
    "masked": ((True, ("cidr",), "cidr", lambda v: {"@cidr": str(_network(v).network)}),),
    "prefixLength": ((True, ("cidr",), "int", lambda v: _network(v).network.prefixlen),),
    "string": ((False, ("ip",), "string", _text_of), (False, ("cidr",), "string", _text_of)),
    "sets.contains": ((False, ("list", "list"), "bool", lambda a, b: all(x in a for x in b)),),
    "sets.intersects": ((False, ("list", "list"), "bool", lambda a, b: any(x in a for x in b)),),
    "sets.equivalent": (
        (False, ("list", "list"), "bool", lambda a, b: all(x in a for x in b) and all(x in b for x in a)),
    ),
    "format.named": ((False, ("string",), "optional", _named),),
    **{f"format.{name}": ((False, (), "format", _format(name)),) for name in FORMATS},
    "validate": ((True, ("format", "string"), "optional", _validate),),
}

# What an optional that Python made answers to, where expressions run.
OPTIONALS: Mapping[str, tuple[Function, ...]] = {
    "hasValue": ((True, ("map",), "bool", _has_value),),
    "value": ((True, ("map",), "dyn", _value),),
}
