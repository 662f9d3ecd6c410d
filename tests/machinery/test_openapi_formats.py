"""The string formats of OpenAPI."""

from __future__ import annotations

import pytest

from lakh.machinery.openapi_formats import CHECKS


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date-time", "2026-01-01T00:00:00Z", "2026-13-01T00:00:00Z"),
        ("date-time", "2026-01-01T00:00:00.123+02:00", "2026-01-01"),
        ("date", "2026-01-01", "2026-1-1"),
        ("duration", "1h30m", "soon"),
        ("ipv4", "10.0.0.1", "::1"),
        ("ipv6", "::1", "10.0.0.1"),
        ("cidr", "10.0.0.0/8", "10.0.0.1"),
        ("date-time", "2026-01-01t00:00:00z", "2026-01-01 00:00:00Z"),
        ("date-time", "2026-01-01T23:59:59Z", "2026-01-01T23:59:60Z"),
        ("date", "2024-02-29", "2026-W01-1"),
        ("ipv4", "::ffff:10.0.0.1", "10.0.0.01"),
        ("ipv6", "::ffff:10.0.0.1", "fe80::1%eth0"),
        ("cidr", "fd00::/8", "fe80::1%eth0/64"),
        ("uri", "https://a.b/c?d=e", "not a uri"),
        ("uri", "/a b", "https://a b/"),
        ("byte", "YQ==", ""),
        ("byte", "YWI=", "YWJj="),
        ("mac", "01-23-45-67-89-ab-cd-ef", "01-23:45-67-89-ab"),
        ("mac", "0123.4567.89ab", "0123.4567.89"),
        ("mac", ":".join(["01"] * 20), ":".join(["01"] * 7)),
        ("hostname", "a-b", "my-host"),
        ("hostname", "my-host.example", "my-host.e"),
        ("hostname", "bücher.example", "-a.example"),
        ("hostname", "a" * 63 + ".bc", "a" * 64 + ".bc"),
        ("hostname", "x1", "a_b"),
        ("uuid5", "123e4567-e89b-52d3-A456-426614174000", "123e4567-e89b-52d3-c456-426614174000"),
        ("uuid3", "123e4567-e89b-32d3-c456-426614174000", "123e4567-e89b-42d3-a456-426614174000"),
        ("byte", "YWJj", "Y"),
        ("mac", "01:23:45:67:89:ab", "01:23"),
        ("email", "a@b.c", "a"),
        ("hostname", "a.bc", "a.b"),
        ("hexcolor", "#ff00aa", "#ff00a"),
        ("bsonobjectid", "0123456789abcdef01234567", "0"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
        ("uuid4", "123e4567-e89b-42d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
        ("k8s-short-name", "a-b", "A"),
        ("k8s-long-name", "a.b", "A"),
    ],
)
def test_formats(name: str, good: str, bad: str) -> None:
    assert CHECKS[name](good)
    assert not CHECKS[name](bad)
