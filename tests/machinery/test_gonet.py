"""Addresses, networks and URLs as Go reads them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery import gonet


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "unable to parse IP"),
        ("host", "unable to parse IP"),
        ("%eth0", "missing IPv6 address"),
        ("10.1.2", "IPv4 address too short"),
        ("10.1.2.3.4", "IPv4 address too long"),
        ("10.1.2.256", "IPv4 field has value >255"),
        ("10.01.2.3", "IPv4 field has octet with leading zero"),
        ("10..2.3", 'IPv4 field must have at least one digit (at ".2.3")'),
        ("10.1.2.", 'IPv4 field must have at least one digit (at ".")'),
        (".1.2.3", 'IPv4 field must have at least one digit (at ".1.2.3")'),
        ("10.1.2.x", 'unexpected character (at "x")'),
        ("٣.1.2.3", 'unexpected character (at "٣.1.2.3")'),
        ("fe80::1%", "zone must be a non-empty string"),
        ("fd00:::1", 'each colon-separated field must have at least one digit (at ":1")'),
        ("fd00::00001", 'each group must have 4 or less digits (at "00001")'),
        ("fd00::1::2", 'multiple :: in address (at ":2")'),
        ("fd00:", 'colon must be followed by more characters (at ":")'),
        ("fd00:x", 'each colon-separated field must have at least one digit (at "x")'),
        ("fd00x:1", 'unexpected character, want colon (at "x:1")'),
        ("1:2:3", "address string too short"),
        ("1:2:3:4:5:6:7:8:9", 'trailing garbage after address (at "9")'),
        ("1:2:3:4:5:6:7:8::", "the :: must expand to at least one field of zeros"),
        (
            "1:10.0.0.1",
            'embedded IPv4 address must replace the final 2 fields of the address (at "10.0.0.1")',
        ),
        (
            "::2:3:4:5:6:7:8:10.0.0.1",
            'too many hex fields to fit an embedded IPv4 at the end of the address (at "10.0.0.1")',
        ),
        ("::10.0.1", "IPv4 address too short"),
    ],
)
def test_what_is_no_address(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^ParseAddr") as caught:
        gonet.parse_address(text)
    assert str(caught.value) == f'ParseAddr("{text}"): {why}'


@given(st.text("0123456789abf:.%", max_size=24))
def test_every_text_is_an_address_or_has_a_reason(text: str) -> None:
    why = ""
    try:
        gonet.parse_address(text)
    except ValueError as e:
        why = str(e)
    assert not why or why.startswith(f'ParseAddr("{text}"): ')


@given(st.ip_addresses())
def test_addresses(address: gonet.Address) -> None:
    assert gonet.parse_address(str(address)) == address
    prefix = gonet.parse_prefix(f"{address}/{address.max_prefixlen}")
    assert prefix.ip == address


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("10.0.0.0", "no '/'"),
        ("10.0.0.0/", 'bad bits after slash: ""'),
        ("10.0.0.0/08", 'bad bits after slash: "08"'),
        ("10.0.0.0/+8", 'bad bits after slash: "+8"'),
        ("10.0.0.0/99999999999999999999", 'bad bits after slash: "99999999999999999999"'),
        ("10.0.0.0/33", "prefix length out of range"),
        ("fd00::/129", "prefix length out of range"),
        ("fe80::1%eth0/64", "IPv6 zones cannot be present in a prefix"),
        ("10.0.0/8", 'ParseAddr("10.0.0"): IPv4 address too short'),
    ],
)
def test_what_is_no_prefix(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="ParsePrefix") as caught:
        gonet.parse_prefix(text)
    assert str(caught.value) == f'netip.ParsePrefix("{text}"): {why}'


def test_a_prefix_keeps_its_address() -> None:
    assert gonet.parse_prefix("10.1.2.3/8") == ipaddress.ip_interface("10.1.2.3/8")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty url"),
        ("rel/ative", "invalid URI for request"),
        ("../up", "invalid URI for request"),
        (":9", "missing protocol scheme"),
        ("https://a\tb/", "net/url: invalid control character in URL"),
        ("https://a b/", 'invalid character " " in host name'),
        ("https://a/%2", 'invalid URL escape "%2"'),
        ("https://a/%q1x", 'invalid URL escape "%q1"'),
        ("https://%41/", 'invalid URL escape "%41"'),
        ("https://a:b/", 'invalid port ":b" after host'),
        ("https://a:1:2/", 'invalid port ":1:2" after host'),
        ("https://[::1", "missing ']' in host"),
        ("https://[::1]x/", 'invalid port "x" after host'),
        ("https://[1.2.3.4]/", "invalid IP-literal"),
        ("https://a[::1]/", "invalid IP-literal"),
        ("https://[a]/", 'invalid host: ParseAddr("a"): unable to parse IP'),
        ("https://u^@a/", "net/url: invalid userinfo"),
    ],
)
def test_what_is_no_url(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^parse") as caught:
        gonet.parse_request_uri(text)
    assert str(caught.value).endswith(f": {why}")


def test_what_is_no_url_because_of_its_fragment() -> None:
    assert gonet.parse_request_uri("https://a/?b#%zz").query == "b#%zz"
    with pytest.raises(ValueError, match='invalid URL escape "%zz"'):
        gonet.parse_url("https://a/?b#%zz")


@pytest.mark.parametrize(
    ("text", "scheme", "host", "hostname", "port", "path"),
    [
        ("HTTPS://u:p@A.b:80/c?d#e", "https", "A.b:80", "A.b", "80", "/c"),
        ("https://[fd00::1]:80", "https", "[fd00::1]:80", "fd00::1", "80", ""),
        ("https://[fe80::1%25eth0]/", "https", "[fe80::1%eth0]", "fe80::1%eth0", "", "/"),
        ("https://a:/", "https", "a:", "a", "", "/"),
        ("https://b%C3%BCcher/", "https", "bücher", "bücher", "", "/"),
        ("postgres://a:1:2/", "postgres", "a:1:2", "a:1", "2", "/"),
        ("//a/b", "", "a", "a", "", "/b"),
        ("///a", "", "", "", "", "///a"),
        ("/a b/c%2Fd", "", "", "", "", "/a%20b/c/d"),
        ("/a b/!(c)", "", "", "", "", "/a%20b/%21%28c%29"),
        ("/!(c)", "", "", "", "", "/!(c)"),
        ("mailto:a@b", "mailto", "", "", "", ""),
        ("*", "", "", "", "", "*"),
    ],
)
def test_parts_of_urls(text: str, scheme: str, host: str, hostname: str, port: str, path: str) -> None:
    found = gonet.parse_url(text)
    assert (found.scheme, found.host, found.hostname, found.port, found.escaped_path) == (
        scheme,
        host,
        hostname,
        port,
        path,
    )


def test_queries() -> None:
    found = gonet.parse_url("/p?a=1&b=x+y&a=%C3%A9&c&d=%zz&e;f=1&&=g#h")
    assert found.values == {"a": ["1", "é"], "b": ["x y"], "c": [""], "": ["g"]}
    assert gonet.parse_url("/p?").values == {}
