"""IP addresses and networks as fields of objects hold them (upstream's `util/validation/ip.go`, KEP-4858).

Kubernetes used to take more than most software does: leading zeros, IPv4 in IPv6, bits beyond the prefix. Since 1.36 new values must be strict,
and stored ones stay; whoever validates an update knows which values were there before. Fields that came later want the canonical form, too.
"""

from __future__ import annotations

import ipaddress
import re

from lakh.machinery import names

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# An IPv4 address as everybody writes it: most addresses of a cluster.
_is_plain = re.compile(
    r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)", re.ASCII
).fullmatch
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _shown(address: Address) -> str:
    """An address as Go writes it: IPv4 in IPv6 is IPv4."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _is_mapped(address: Address) -> bool:
    return isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None


def _has_zeros(text: str) -> bool:
    """Whether an IPv4 address has leading zeros."""
    return ":" not in text and any(len(part) > 1 and part[0] == "0" for part in text.split("."))


def parse_cidr(text: str) -> tuple[Address, int] | None:
    """Address and length of the prefix, or None; as lenient as `names.parse_ip`."""
    address, slash, bits = text.partition("/")
    parsed = names.parse_ip(address)
    if parsed is None or not slash or not (bits.isascii() and bits.isdigit() and len(bits) <= 3):
        return None
    return (parsed, int(bits)) if int(bits) <= parsed.max_prefixlen else None


def _split(text: str) -> tuple[Address, int]:
    found = parse_cidr(text)
    assert found is not None
    return found


def network(text: str) -> Network:
    """The network of a text that `parse_cidr` can read."""
    address, bits = _split(text)
    return ipaddress.ip_network(f"{address}/{bits}", strict=False)


def _network_shown(text: str) -> str:
    found = network(text)
    if _is_mapped(found.network_address) and found.prefixlen >= 96:
        return f"{_shown(found.network_address)}/{found.prefixlen - 96}"
    return str(found)


def ip(text: str) -> list[str]:
    """What is wrong with an address."""
    if _is_plain(text):
        return []
    parsed = names.parse_ip(text)
    if parsed is None:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    if _has_zeros(text):
        return ["must not have leading 0s"]
    return ["must not be an IPv4-mapped IPv6 address"] if _is_mapped(parsed) else []


def canonical_ip(text: str) -> list[str]:
    """What is wrong with an address that must be in canonical form."""
    messages = ip(text)
    if messages:
        return messages
    form = str(names.parse_ip(text))
    return [] if text == form else [f'must be in canonical form ("{form}")']


def cidr(text: str) -> list[str]:
    """What is wrong with a network."""
    found = parse_cidr(text)
    if found is None:
        return ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]
    address, bits = text.split("/")
    parsed, size = found
    if _has_zeros(address) or bits != str(size):
        return ["must not have leading 0s in IP or prefix length"]
    if _is_mapped(parsed):
        return ["must not have an IPv4-mapped IPv6 address"]
    if network(text).network_address != parsed:
        return ["must not have bits set beyond the prefix length"]
    return []


def canonical_cidr(text: str) -> list[str]:
    """What is wrong with a network that must be in canonical form."""
    messages = cidr(text)
    if messages:
        return messages
    form = str(network(text))
    return [] if text == form else [f'must be in canonical form ("{form}")']


def interface(text: str) -> list[str]:
    """What is wrong with the address of an interface, with the length of its network's prefix: `192.168.1.5/24`."""
    if parse_cidr(text) is None:
        return ["must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"]
    address, size = _split(text)
    if _is_mapped(address) and size > 32:
        size -= 96
    form = f"{_shown(address)}/{size}"
    return [] if text == form else [f'must be in canonical form ("{form}")']


def non_special_ip(text: str) -> list[str]:
    """Why other hosts cannot send to an address: what is wrong with one of an endpoint, beyond its form."""
    parsed = names.parse_ip(text)
    if parsed is None:
        return ["must be a valid IP address"]
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    found = []
    if parsed.is_unspecified:
        found.append(f"may not be unspecified ({text})")
    if parsed.is_loopback:
        found.append("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if parsed.is_link_local:
        found.append("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    head = parsed.packed
    if head[:3] == b"\xe0\0\0" if parsed.version == 4 else head[0] == 0xFF and head[1] & 0xF == 2:
        found.append("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    return found


def are_dual_stack(texts: list[str]) -> bool:
    """Whether both families are among these addresses or networks."""
    return len({":" in text for text in texts}) == 2


def ip_warnings(text: str, path: str) -> list[str]:
    """What to say of an address that is taken, but is not as it should be."""
    parsed = names.parse_ip(text)
    if parsed is None:
        return []
    if _has_zeros(text) or _is_mapped(parsed):
        return [
            f'{path}: non-standard IP address "{text}" will be considered invalid in a future Kubernetes release: '
            f'use "{_shown(parsed)}"'
        ]
    if text != str(parsed):
        return [f'{path}: IPv6 address "{text}" should be in RFC 5952 canonical format ("{parsed}")']
    return []


def cidr_warnings(text: str, path: str) -> list[str]:
    """What to say of a network that is taken, but is not as it should be."""
    if parse_cidr(text) is None:
        return []
    address, size = _split(text)
    form, found = _network_shown(text), []
    if network(text).network_address != address:
        longest = 32 if _shown(address).count(".") else 128
        found.append(
            f'{path}: CIDR value "{text}" is ambiguous in this context (should be "{form}" or '
            f'"{_shown(address)}/{longest}"?)'
        )
    plain, bits = text.split("/")
    if _has_zeros(plain) or bits != str(size) or _is_mapped(address):
        found.append(
            f'{path}: non-standard CIDR value "{text}" will be considered invalid in a future Kubernetes release: '
            f'use "{form}"'
        )
    if not found and text != f"{address}/{size}":
        found.append(
            f'{path}: IPv6 CIDR value "{text}" should be in RFC 5952 canonical format ("{address}/{size}")'
        )
    return found
