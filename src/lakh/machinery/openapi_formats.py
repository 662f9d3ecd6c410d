"""The string formats of OpenAPI that kube-apiserver checks; unknown ones are ignored, as there.

Each is a predicate on the text. What the wild has in CustomResourceDefinitions is `date-time`, `ipv4`, `ipv6`, `cidr`, `uri`, `byte`, `duration`,
`hostname`, `email` and `uuid`; the rest is there for completeness.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import ipaddress
import re
from collections.abc import Callable, Mapping

from lakh.machinery import gonet, gonumbers, names

_date_time = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)\Z").match
_duration = re.compile(
    r"[-+]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+\Z|(\d+\s*(d|day|days|w|week|weeks|hours?|minutes?|seconds?)\s*)+\Z|[-+]?0\Z"
).match
_uuid = re.compile(
    r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?([0-9a-fA-F])[0-9a-fA-F]{3}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}\Z"
).match
_mac = re.compile(r"([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}\Z").match
_email = re.compile(r"[^@\s<>]+@[^@\s<>]+\Z").match
_hostname = re.compile(
    r"(?=.{1,253}\Z)([a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?)(\.[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?)*\.?\Z"
).match
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
        return len(text) == 10 and bool(datetime.date.fromisoformat(text))
    except ValueError:
        return False


def _address(version: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            return ipaddress.ip_address(text).version == version
        except ValueError:
            return False

    return check


def cidr(text: str) -> bool:
    """An address with a prefix length."""
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return "/" in text and gonumbers.is_uint(text.rpartition("/")[2])


def uri(text: str) -> bool:
    """An absolute URI or an absolute path, as Go's `url.ParseRequestURI` takes them."""
    try:
        gonet.parse_request_uri(text)
    except ValueError:
        return False
    return True


def byte(text: str) -> bool:
    """Base64."""
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def duration(text: str) -> bool:
    """Go's durations, and those in words."""
    return _duration(text) is not None


def _uuid_of(version: str) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        found = _uuid(text)
        return found is not None and (not version or found.group(1) == version)

    return check


CHECKS: Mapping[str, Callable[[str], bool]] = {
    "date-time": date_time,
    "datetime": date_time,
    "date": date,
    "duration": duration,
    "ipv4": _address(4),
    "ipv6": _address(6),
    "cidr": cidr,
    "uri": uri,
    "byte": byte,
    "mac": lambda text: _mac(text) is not None,
    "email": lambda text: _email(text) is not None,
    "hostname": lambda text: _hostname(text) is not None,
    "hexcolor": lambda text: _hex_color(text) is not None,
    "bsonobjectid": lambda text: _object_id(text) is not None,
    "uuid": _uuid_of(""),
    "uuid3": _uuid_of("3"),
    "uuid4": _uuid_of("4"),
    "uuid5": _uuid_of("5"),
    "k8s-short-name": lambda text: not names.dns_label(text),
    "k8s-long-name": lambda text: not names.dns_subdomain(text),
}
