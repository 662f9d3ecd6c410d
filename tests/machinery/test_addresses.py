"""Addresses and networks: what upstream's `util/validation/ip.go` says of them."""

from __future__ import annotations

import pytest

from lakh.machinery import addresses

NO_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
NO_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


@pytest.mark.parametrize(
    ("text", "strict", "canonical"),
    [
        ("10.0.0.1", [], []),
        ("2001:db8::1", [], []),
        ("2001:DB8::1", [], ['must be in canonical form ("2001:db8::1")']),
        ("010.0.0.1", ["must not have leading 0s"], ["must not have leading 0s"]),
        ("::ffff:1.2.3.4", *[["must not be an IPv4-mapped IPv6 address"]] * 2),
        ("1.2.3", [NO_IP], [NO_IP]),
        ("fe80::1%eth0", [NO_IP], [NO_IP]),
        ("", [NO_IP], [NO_IP]),
    ],
)
def test_ip(text: str, strict: list[str], canonical: list[str]) -> None:
    assert addresses.ip(text) == strict
    assert addresses.canonical_ip(text) == canonical


@pytest.mark.parametrize(
    ("text", "strict", "canonical"),
    [
        ("10.0.0.0/8", [], []),
        ("2001:db8::/64", [], []),
        ("2001:DB8::/64", [], ['must be in canonical form ("2001:db8::/64")']),
        ("010.0.0.0/8", *[["must not have leading 0s in IP or prefix length"]] * 2),
        ("10.0.0.0/08", *[["must not have leading 0s in IP or prefix length"]] * 2),
        ("::ffff:1.2.3.0/120", *[["must not have an IPv4-mapped IPv6 address"]] * 2),
        ("10.0.0.1/8", *[["must not have bits set beyond the prefix length"]] * 2),
        ("10.0.0.0/33", [NO_CIDR], [NO_CIDR]),
        ("10.0.0.0", [NO_CIDR], [NO_CIDR]),
    ],
)
def test_cidr(text: str, strict: list[str], canonical: list[str]) -> None:
    assert addresses.cidr(text) == strict
    assert addresses.canonical_cidr(text) == canonical


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("192.168.1.5/24", []),
        ("2001:db8::1/64", []),
        ("::ffff:192.168.0.1/120", ['must be in canonical form ("192.168.0.1/24")']),
        ("192.168.001.5/24", ['must be in canonical form ("192.168.1.5/24")']),
        ("192.168.1.5", ["must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"]),
    ],
)
def test_interface(text: str, messages: list[str]) -> None:
    assert addresses.interface(text) == messages


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("10.0.0.1", []),
        (
            "010.0.0.1",
            [
                'f: non-standard IP address "010.0.0.1" will be considered invalid in a future Kubernetes release: use '
                '"10.0.0.1"'
            ],
        ),
        (
            "::ffff:1.2.3.4",
            [
                'f: non-standard IP address "::ffff:1.2.3.4" will be considered invalid in a future Kubernetes release: '
                'use "1.2.3.4"'
            ],
        ),
        ("FE80::1", ['f: IPv6 address "FE80::1" should be in RFC 5952 canonical format ("fe80::1")']),
        ("?", []),
    ],
)
def test_ip_warnings(text: str, warnings: list[str]) -> None:
    assert addresses.ip_warnings(text, "f") == warnings


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("10.0.0.0/8", []),
        (
            "10.0.0.1/8",
            [
                'f: CIDR value "10.0.0.1/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.0.0.1/32"?)'
            ],
        ),
        (
            "010.0.0.0/8",
            [
                'f: non-standard CIDR value "010.0.0.0/8" will be considered invalid in a future Kubernetes release: '
                'use "10.0.0.0/8"'
            ],
        ),
        (
            "2001:DB8::/64",
            ['f: IPv6 CIDR value "2001:DB8::/64" should be in RFC 5952 canonical format ("2001:db8::/64")'],
        ),
        ("?", []),
    ],
)
def test_cidr_warnings(text: str, warnings: list[str]) -> None:
    assert addresses.cidr_warnings(text, "f") == warnings


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("10.0.0.1", []),
        ("2001:db8::1", []),
        ("0.0.0.0", ["may not be unspecified (0.0.0.0)"]),
        ("::", ["may not be unspecified (::)"]),
        ("127.1.2.3", ["may not be in the loopback range (127.0.0.0/8, ::1/128)"]),
        ("::ffff:127.0.0.1", ["may not be in the loopback range (127.0.0.0/8, ::1/128)"]),
        ("fe80::1", ["may not be in the link-local range (169.254.0.0/16, fe80::/10)"]),
        ("224.0.0.7", ["may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"]),
        ("ff02::1", ["may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"]),
        ("224.0.1.7", []),
    ],
)
def test_non_special_ip(text: str, messages: list[str]) -> None:
    """`ValidateEndpointIP` and what became of it."""
    assert addresses.non_special_ip(text) == messages
