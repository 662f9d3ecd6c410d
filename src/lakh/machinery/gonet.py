"""Addresses, networks and URLs as Go reads them, with Go's words for what is wrong.

Go's net/netip and net/url (of Go 1.26, which Kubernetes v1.36 is built with). Values are Python's; every function raises ValueError with the text that
Go's error has.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from lakh.machinery.errors import show

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

# -- net/netip -----------------------------------------------------------------------------------------------------------------------------


def parse_address(text: str) -> Address:
    """`netip.ParseAddr`. An address of IPv6 may have a zone."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"ParseAddr({show(text)}): {_address_problem(text)}") from None


def parse_prefix(text: str) -> Interface:
    """`netip.ParsePrefix`: an address and how many of its bits are the network's."""
    try:
        return _parse_prefix(text)
    except ValueError as e:
        raise ValueError(f"netip.ParsePrefix({show(text)}): {e}") from None


def _parse_prefix(text: str) -> Interface:
    before, slash, bits = text.rpartition("/")
    if not slash:
        raise ValueError("no '/'")
    address = parse_address(before)
    if "%" in before:
        raise ValueError("IPv6 zones cannot be present in a prefix")
    if not (bits.isascii() and bits.isdigit()) or (len(bits) > 1 and bits[0] == "0"):
        raise ValueError(f"bad bits after slash: {show(bits)}")
    if len(bits) > 3 or int(bits) > address.max_prefixlen:
        # More than fits into 64 bits is no number to Go.
        too_long = len(bits) > 18 and int(bits) >= 2**63
        raise ValueError(f"bad bits after slash: {show(bits)}" if too_long else "prefix length out of range")
    return ipaddress.ip_interface((address, int(bits)))


def _at(why: str, rest: str) -> str:
    return f"{why} (at {show(rest)})"


def _address_problem(text: str) -> str:
    first = next((c for c in text if c in ".:%"), "")
    if first == ".":
        return _ipv4_problem(text)
    if first == ":":
        return _ipv6_problem(text)
    return "missing IPv6 address" if first else "unable to parse IP"


def _ipv4_problem(text: str) -> str:
    digits, dots = "", 0
    for index, char in enumerate(text):
        if char in "0123456789":
            if digits == "0":
                return "IPv4 field has octet with leading zero"
            digits += char
            if int(digits) > 255:
                return "IPv4 field has value >255"
        elif char == ".":
            if not digits or index == len(text) - 1:
                return _at("IPv4 field must have at least one digit", text[index:])
            if dots == 3:
                return "IPv4 address too long"
            digits, dots = "", dots + 1
        else:
            return _at("unexpected character", text[index:])
    return "IPv4 address too short"


_HEX = re.compile(r"[0-9a-fA-F]*")
_GROUPS = 8


def _ipv6_problem(text: str) -> str:
    rest, percent, zone = text.partition("%")
    if percent and not zone:
        return "zone must be a non-empty string"
    has_gap = rest.startswith("::")
    if has_gap:
        rest = rest[2:]
    groups = 0
    while groups < _GROUPS:
        found = _HEX.match(rest)
        end = found.end() if found is not None else 0
        if end > 4:
            return _at("each group must have 4 or less digits", rest)
        if not end:
            return _at("each colon-separated field must have at least one digit", rest)
        if rest[end : end + 1] == ".":
            if not has_gap and groups != _GROUPS - 2:
                return _at("embedded IPv4 address must replace the final 2 fields of the address", rest)
            if groups > _GROUPS - 2:
                return _at("too many hex fields to fit an embedded IPv4 at the end of the address", rest)
            try:
                ipaddress.IPv4Address(rest)
            except ValueError:
                return _ipv4_problem(rest)
            rest, groups = "", groups + 2
            break
        groups += 1
        rest = rest[end:]
        if not rest:
            break
        if rest[0] != ":":
            return _at("unexpected character, want colon", rest)
        if len(rest) == 1:
            return _at("colon must be followed by more characters", rest)
        rest = rest[1:]
        if rest[0] == ":":
            if has_gap:
                return _at("multiple :: in address", rest)
            has_gap = True
            rest = rest[1:]
            if not rest:
                break
    if rest:
        return _at("trailing garbage after address", rest)
    if groups < _GROUPS:
        return "address string too short"
    return "the :: must expand to at least one field of zeros"


# -- net/url -------------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Location:
    """A URL, in parts. `path` is as it was written, `host` is decoded and has the port; an `opaque` URL (`mailto:a@b`) has neither."""

    scheme: str = ""
    opaque: str = ""
    user: str = ""
    host: str = ""
    path: str = ""
    query: str = ""
    fragment: str = ""

    @property
    def hostname(self) -> str:
        """The host without its port, and without brackets."""
        host, colon, port = self.host.rpartition(":")
        if not colon or (port and not (port.isascii() and port.isdigit())):
            host = self.host
        return host[1:-1] if host[:1] == "[" and host[-1:] == "]" else host

    @property
    def port(self) -> str:
        """The port, or nothing."""
        _, colon, port = self.host.rpartition(":")
        return port if colon and port.isascii() and port.isdigit() else ""

    @property
    def escaped_path(self) -> str:
        """The path with what cannot stand in a URL escaped; one that is escaped well enough is as it was."""
        if self.path == "*" or _IS_ESCAPED(self.path):
            return self.path
        return quote(unquote_to_bytes(self.path), safe="$&+,/:;=@~")

    @property
    def values(self) -> dict[str, list[str]]:
        """The parameters of the query; pairs that cannot be decoded are left out."""
        found: dict[str, list[str]] = {}
        for pair in self.query.split("&"):
            key, _, value = pair.partition("=")
            if pair and ";" not in pair and not any(map(_bad_escape, (key, value))):
                found.setdefault(_decoded(key), []).append(_decoded(value))
        return found


_IS_ESCAPED = re.compile(r"[A-Za-z0-9\-_.~!$&'()*+,;=:@/\[\]%]*").fullmatch
_SCHEME = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)?(:))?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_OPTIONAL_PORT = re.compile(r"(?::[0-9]*)?").fullmatch
_USER = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*").fullmatch
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
# What may stand in a host as it is.
_HOST_CHARS = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!$&'()*+,;=:[]<>\"-_.~"
)
_SEVERAL_COLONS = frozenset(["postgres", "postgresql"])


def parse_request_uri(text: str) -> Location:
    """`url.ParseRequestURI`: an absolute URL or an absolute path. What looks like a fragment belongs to what it stands in."""
    return _parsed(text, text, True)


def parse_url(text: str) -> Location:
    """What Kubernetes takes for a URL: what `ParseRequestURI` takes, read again by `url.Parse`, which knows of fragments."""
    parse_request_uri(text)
    whole, _, fragment = text.partition("#")
    found = _parsed(whole, whole, False)
    if not fragment:
        return found
    bad = _bad_escape(fragment)
    if bad:
        raise ValueError(f"parse {show(text)}: {bad}")
    return Location(
        found.scheme, found.opaque, found.user, found.host, found.path, found.query, _decoded(fragment, "+")
    )


def _parsed(text: str, shown: str, is_request: bool) -> Location:
    try:
        return _parse(text, is_request)
    except ValueError as e:
        raise ValueError(f"parse {show(shown)}: {e}") from None


def _parse(text: str, is_request: bool) -> Location:
    if _CONTROL.search(text):
        raise ValueError("net/url: invalid control character in URL")
    if not text and is_request:
        raise ValueError("empty url")
    if text == "*":
        return Location(path="*")
    found = _SCHEME.match(text)
    assert found is not None
    if found.group(2) and not found.group(1):
        raise ValueError("missing protocol scheme")
    scheme = (found.group(1) or "").lower()
    rest, _, query = text[found.end() :].partition("?")
    if not rest.startswith("/"):
        if scheme:
            return Location(scheme, opaque=rest, query=query)
        if is_request:
            raise ValueError("invalid URI for request")
        if ":" in rest.partition("/")[0]:
            raise ValueError("first path segment in URL cannot contain colon")
    user = host = ""
    if rest.startswith("//") and (scheme or (not is_request and not rest.startswith("///"))):
        authority, slash, path = rest[2:].partition("/")
        user, at, host = authority.rpartition("@")
        host = _host(host, scheme)
        if at and not _USER(user):
            raise ValueError("net/url: invalid userinfo")
        rest = slash + path
        if bad := _bad_escape(user):
            raise ValueError(bad)
    if bad := _bad_escape(rest):
        raise ValueError(bad)
    return Location(scheme, user=user, host=host, path=rest, query=query)


def _host(host: str, scheme: str) -> str:
    bracket = host.rfind("[")
    if bracket > 0:
        raise ValueError("invalid IP-literal")
    if bracket == 0:
        inner, closed, port = host[1:].rpartition("]")
        if not closed:
            raise ValueError("missing ']' in host")
        _check_port(port)
        before, percent, zone = inner.partition("%25")
        name = _decoded_host(before) + _decoded_zone(percent + zone)
        try:
            address = parse_address(name)
        except ValueError as e:
            raise ValueError(f"invalid host: {e}") from None
        if address.version == 4:
            raise ValueError("invalid IP-literal")
        return f"[{name}]{port}"
    colon = host.rfind(":") if scheme in _SEVERAL_COLONS else host.find(":")
    if colon >= 0:
        _check_port(host[colon:])
    return _decoded_host(host)


def _check_port(port: str) -> None:
    if not _OPTIONAL_PORT(port):
        raise ValueError(f"invalid port {show(port)} after host")


def _bad_escape(text: str) -> str:
    """What is wrong with the escapes in a text."""
    found = _BAD_ESCAPE.search(text)
    return f"invalid URL escape {show(found.group())}" if found is not None else ""


def _pieces(text: str) -> Iterator[str]:
    """Characters and escapes."""
    at = 0
    while at < len(text):
        found = _ESCAPE.match(text, at)
        if found is None and text[at] == "%":
            raise ValueError(f"invalid URL escape {show(text[at : at + 3])}")
        piece = found.group() if found is not None else text[at]
        yield piece
        at += len(piece)


def _check_host_char(piece: str) -> None:
    if len(piece) == 1 and piece.isascii() and piece not in _HOST_CHARS:
        raise ValueError(f"invalid character {show(piece)} in host name")


def _decoded_host(text: str) -> str:
    for piece in _pieces(text):
        # A host has escapes of what is not ASCII only.
        if len(piece) == 3 and int(piece[1:], 16) < 128 and piece != "%25":
            raise ValueError(f"invalid URL escape {show(piece)}")
        _check_host_char(piece)
    return unquote_to_bytes(text).decode("utf-8", "replace")


def _decoded_zone(text: str) -> str:
    for piece in _pieces(text):
        char = chr(int(piece[1:], 16)) if len(piece) == 3 else ""
        if char and piece != "%25" and char != " " and char not in _HOST_CHARS:
            raise ValueError(f"invalid URL escape {show(piece)}")
        _check_host_char(piece)
    return unquote_to_bytes(text).decode("utf-8", "replace")


def _decoded(text: str, plus: str = " ") -> str:
    return unquote_to_bytes(text.replace("+", plus)).decode("utf-8", "replace")
