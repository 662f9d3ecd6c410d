"""Kubernetes' functions in expressions: what they give, and what they say when they cannot."""

from __future__ import annotations

from typing import Any

import pytest

from lakh.machinery import cel
from lakh.machinery.cel_check import Checker
from lakh.machinery.cel_functions import FORMATS
from lakh.machinery.cel_values import EvaluationError


@pytest.fixture(scope="module")
def checker() -> Checker:
    """Of no variables."""
    return Checker({})


def evaluated(checker: Checker, source: str) -> Any:
    """What an expression gives: a value, or the text of an error."""
    found, _ = checker.compile(source, ()).run()
    return str(found) if isinstance(found, EvaluationError) else found


TWICE = "network address parse error during conversion from string: " * 2
NO_ADDRESS = "parse error during conversion from string: ParseAddr"


@pytest.mark.parametrize(
    ("source", "result"),
    [
        # Addresses.
        ("ip('10.1.2.3.4')", f'IP Address "10.1.2.3.4" {NO_ADDRESS}("10.1.2.3.4"): IPv4 address too long'),
        ("ip.isCanonical('10.1')", f'IP Address "10.1" {NO_ADDRESS}("10.1"): IPv4 address too short'),
        ("ip('fe80::1%eth0')", 'IP address "fe80::1%eth0" with zone value is not allowed'),
        ("ip('::ffff:10.0.0.1')", 'IPv4-mapped IPv6 address "::ffff:10.0.0.1" is not allowed'),
        ("isIP('fe80::1%eth0') || isIP('::ffff:10.0.0.1') || isIP('10.0.0.01')", False),
        ("ip.isCanonical('FD00::1') || ip.isCanonical('fd00::0:1')", False),
        ("type(ip('::1')) == net.IP && type(cidr('::/0')) == net.CIDR", True),
        ("ip('0.0.0.0').isUnspecified() && ip('::').isUnspecified() && !ip('::1').isUnspecified()", True),
        ("ip('169.254.0.9').isLinkLocalUnicast() && ip('fe80::9').isLinkLocalUnicast()", True),
        ("ip('255.255.255.255').isGlobalUnicast() || ip('ff02::1').isGlobalUnicast()", False),
        ("ip('10.0.0.1').isGlobalUnicast() && ip('fd00::1').isGlobalUnicast()", True),
        # Networks.
        ("cidr('10.0.0.0/')", f'{TWICE}netip.ParsePrefix("10.0.0.0/"): bad bits after slash: ""'),
        ("cidr('10.0.0.0/33')", f'{TWICE}netip.ParsePrefix("10.0.0.0/33"): prefix length out of range'),
        ("isCIDR('10.0.0.0/08') || isCIDR('fe80::1%a/64') || isCIDR('::ffff:10.0.0.0/104')", False),
        ("cidr('10.0.0.9/24') == cidr('10.0.0.9/24').masked()", False),
        ("cidr('10.0.0.9/24').ip() == ip('10.0.0.9') && cidr('10.0.0.0/24').prefixLength() == 24", True),
        ("cidr('10.0.0.0/24').containsCIDR('10.0.0.0/23')", False),
        ("cidr('10.0.0.0/24').containsCIDR('10.0.0.128/25')", True),
        ("cidr('10.0.0.0/8').containsIP('fd00::1') || cidr('fd00::/8').containsCIDR('10.0.0.0/8')", False),
        # Why a text is no address gets lost, why it is no network does not.
        ("cidr('10.0.0.0/8').containsIP('x')", "no such overload"),
        ("cidr('10.0.0.0/8').containsCIDR('x')", f"{TWICE}netip.ParsePrefix(\"x\"): no '/'"),
        # URLs.
        (
            "url('a/b')",
            'URL parse error during conversion from string: parse "a/b": invalid URI for request',
        ),
        (
            "url('https://a b')",
            'URL parse error during conversion from string: parse "https://a b": invalid character " " in host name',
        ),
        ("url('/a b').getEscapedPath()", "/a%20b"),
        ("url('/a').getHost() + url('/a').getPort() + url('/a').getScheme() == ''", True),
        ("url('/a?b=1&b=2&c=x y#d').getQuery() == {'b': ['1', '2'], 'c': ['x y']}", True),
        ("url('https://a/b') == url('https://a/b') && url('mailto:a') != url('mailto:b')", True),
        # Quantities.
        ("quantity('1Mm')", "unable to parse quantity's suffix"),
        ("isQuantity('1Mm') || isQuantity('1K') || isQuantity('1,5')", False),
        ("quantity('99999999999999999999G').isInteger()", False),
        ("quantity('50k').add(20).sub(quantity('100k')).sub(-50000).asInteger()", 20),
        ("quantity('0.2G') == quantity('200M') && quantity('50M').compareTo(quantity('50Mi')) == -1", True),
        # Versions.
        ("semver('v1.0')", "No Major.Minor.Patch elements found"),
        ("semver('1.0.0+a..b')", "Build meta data is empty"),
        ("isSemver('1.0.0 ', true) || isSemver('', true) || isSemver('v1.0.0')", False),
        ("semver('v01.01', true) == semver('1.1.0+build')", True),
        ("semver('1.2.3').compareTo(semver('1.2.3-rc')) == 1", True),
        # Lists.
        ("[dyn(1), dyn('a')].isSorted() && ![dyn(2), dyn(1.5)].isSorted()", True),
        ("[dyn(2), dyn('a'), dyn(1.5)].min()", 1.5),
        ("[dyn([1])].max()", "no such overload"),
        ("[].max()", "max called on empty list"),
        ("dyn({}).flatten()", "no such overload"),
        ("[].flatten(dyn('1'))", "no such overload"),
        ("[1, 1].transformMapEntry(i, v, {v: i})", "insert failed: key 1 already exists"),
        ("[].sum() == 0 && [1.5, 2.0].sum() == 3.5", True),
        ("[9223372036854775807, 1].sum()", "integer overflow"),
        ("[1, 2].first().value() == 1 && [1, 2].last().value() == 2 && ![].first().hasValue()", True),
        ("optional.unwrap([optional.of(1), optional.none()]) == [optional.of(1)].unwrapOpt()", True),
        # Patterns.
        ("'123 abc 456'.findAll('[0-9]+', 0) == [] && 'a1b2'.findAll('[0-9]', -2) == ['1', '2']", True),
        ("'abc'.find('x') == '' && 'abc'.findAll('x') == []", True),
        # Formats.
        ("format.uri().validate('a b').value()", ['parse "a b": invalid URI for request']),
        (
            "format.uri().validate('https://a/%zz').value()",
            ['parse "https://a/%zz": invalid URL escape "%zz"'],
        ),
        ("format.byte().validate('aGVsbG8').orValue(['fine'])", ["invalid base64"]),
        ("format.byte().validate('aGVsbG8=').orValue(['fine'])", ["fine"]),
        ("format.date().validate('2020-02-30').value()", ["invalid date"]),
        ("format.datetime().validate('2020-02-30T00:00:00Z').value()", ["invalid datetime"]),
        ("format.uuid() == format.byte()", False),
    ],
)
def test_results(checker: Checker, source: str, result: Any) -> None:
    assert evaluated(checker, source) == result


@pytest.mark.parametrize("name", list(FORMATS))
def test_formats_have_names(checker: Checker, name: str) -> None:
    assert evaluated(checker, f"format.named('{name}').value() == format.{name}()") is True


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("isIP(cidr('::/0'))", r"found no matching overload for 'isIP' applied to '\(net.CIDR\)'"),
        ("cidr(8)", r"found no matching overload for 'cidr' applied to '\(int\)'"),
        ("isSemver([1])", r"found no matching overload for 'isSemver' applied to '\(list\(int\)\)'"),
        ("[[1]].min()", r"found no matching overload for 'min' applied to 'list\(list\(int\)\).\(\)'"),
        ("['a'].sum()", r"found no matching overload for 'sum' applied to 'list\(string\).\(\)'"),
        ("'a'.find('(')", r"program instantiation failed: error parsing regexp: missing closing \): `\(`"),
        # What came to Kubernetes or its CEL later, or never.
        ("[1].includes(1)", "undeclared reference to 'includes'"),
        ("quantity('1').mul(2)", "undeclared reference to 'mul'"),
        ("'a'.reverse()", "found no matching overload for 'reverse'"),
        ("math.greatest(1, 2)", "undeclared reference to 'math'"),
        ("base64.encode(b'a')", "undeclared reference to 'base64'"),
        # Literals.
        ("9223372036854775808", "<input>:1:1: invalid int literal"),
        ("18446744073709551616u", "<input>:1:1: invalid uint literal"),
        ("1.5 < 1e999", "<input>:1:7: invalid double literal"),
        ("duration('1')", "<input>:1:10: invalid duration argument"),
        ("[1, 'a']", "<input>:1:5: expected type 'int' but found 'string'"),
    ],
)
def test_what_cannot_be_compiled(checker: Checker, source: str, why: str) -> None:
    with pytest.raises(cel.ExpressionError, match=why):
        checker.compile(source, ())
