"""The string formats of OpenAPI that kube-apiserver checks; unknown ones are ignored, as there.

Each is a predicate on the text. What the wild has in CustomResourceDefinitions is `date-time`, `ipv4`, `ipv6`, `cidr`, `uri`, `byte`, `duration`,
`hostname`, `email` and `uuid`; the rest is there for completeness.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import unicodedata
from collections.abc import Callable, Mapping

from lakh.machinery import gonet, gonumbers, names

_date_time = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII).match
_date = re.compile(r"\d{4}-\d\d-\d\d\Z", re.ASCII).match
_byte = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)\Z").match
_duration = re.compile(
    r"[-+]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+\Z|(\d+\s*(d|day|days|w|week|weeks|hours?|minutes?|seconds?)\s*)+\Z|[-+]?0\Z"
).match
_uuid = re.compile(
    r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?([0-9a-fA-F])[0-9a-fA-F]{3}-?([0-9a-fA-F])[0-9a-fA-F]{3}-?[0-9a-fA-F]{12}\Z"
).match
_HEX = "[0-9a-fA-F]{2}"
# Of 6, 8 or 20 bytes, one or two between the separators.
_mac = re.compile(
    rf"(?:{_HEX}([:-])(?:{_HEX}\1){{4}}(?:(?:{_HEX}\1){{2}}|(?:{_HEX}\1){{14}})?{_HEX}"
    rf"|(?:{_HEX}{_HEX}\.){{2}}(?:{_HEX}{_HEX}\.|(?:{_HEX}{_HEX}\.){{7}})?{_HEX}{_HEX})\Z"
).match
_email = re.compile(r"[^@\s<>]+@[^@\s<>]+\Z").match
# With x for letters, digits and symbols. A name of one label has no dash but after its first character, the last of several is of two at least.
_hostname = re.compile(r"(?:x-?x{0,62}|(?:x(?:[-x]{0,61}x)?\.)+x(?:-?x){1,62})\Z").match
_hex_color = re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})\Z").match
_object_id = re.compile(r"[0-9a-fA-F]{24}\Z").match


def date_time(text: str) -> bool:
    """RFC 3339."""
    if not _date_time(text):
        return False
    try:
        datetime.datetime.fromisoformat(text[:19].replace("t", "T"))
    except ValueError:
        return False
    return True


def date(text: str) -> bool:
    """`2006-01-02`."""
    try:
        return _date(text) is not None and bool(datetime.date.fromisoformat(text))
    except ValueError:
        return False


def _address(mark: str) -> Callable[[str], bool]:
    """Addresses with a dot or a colon: those of IPv4 in IPv6 have both. Zones are none of them."""

    def check(text: str) -> bool:
        try:
            return bool(ipaddress.ip_address(text)) and mark in text and "%" not in text
        except ValueError:
            return False

    return check


def cidr(text: str) -> bool:
    """An address with a prefix length."""
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return "/" in text and "%" not in text and gonumbers.is_uint(text.rpartition("/")[2])


def uri(text: str) -> bool:
    """An absolute URI or an absolute path, as Go's `url.ParseRequestURI` takes them."""
    try:
        gonet.parse_request_uri(text)
    except ValueError:
        return False
    return True


def byte(text: str) -> bool:
    """Base64 of something."""
    return _byte(text) is not None


def hostname(text: str) -> bool:
    """Labels of letters, digits, symbols and dashes."""
    if len(text.encode()) > 255 or any(len(label.encode()) > 63 for label in text.split(".")):
        return False
    return _hostname("".join(c if c in "-." else "x" if _is_name_char(c) else "!" for c in text)) is not None


def _is_name_char(char: str) -> bool:
    return (char.isascii() and char.isalnum()) or unicodedata.category(char)[0] in "LS"


def duration(text: str) -> bool:
    """Go's durations, and those in words."""
    return _duration(text) is not None


def _uuid_of(version: str) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        found = _uuid(text)
        if found is None or (version and found.group(1) != version):
            return False
        return version not in ("4", "5") or found.group(2) in "89abAB"

    return check


CHECKS: Mapping[str, Callable[[str], bool]] = {
    "date-time": date_time,
    "datetime": date_time,
    "date": date,
    "duration": duration,
    "ipv4": _address("."),
    "ipv6": _address(":"),
    "cidr": cidr,
    "uri": uri,
    "byte": byte,
    "mac": lambda text: _mac(text) is not None,
    "email": lambda text: _email(text) is not None,
    "hostname": hostname,
    "hexcolor": lambda text: _hex_color(text) is not None,
    "bsonobjectid": lambda text: _object_id(text) is not None,
    "uuid": _uuid_of(""),
    "uuid3": _uuid_of("3"),
    "uuid4": _uuid_of("4"),
    "uuid5": _uuid_of("5"),
    "k8s-short-name": lambda text: not names.dns_label(text),
    "k8s-long-name": lambda text: not names.dns_subdomain(text),
}
