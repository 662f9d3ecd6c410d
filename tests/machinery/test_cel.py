"""CEL with Kubernetes' functions."""

from __future__ import annotations

import pytest

from lakh.machinery import cel

VARIABLES = (("self", "dyn"), ("oldSelf", "dyn"))


@pytest.mark.parametrize(
    "source",
    [
        "[1, 2, 2].isSorted() && ![2, 1].isSorted()",
        "[1, 2].sum() == 3 && [3, 1].min() == 1 && [3, 1].max() == 3",
        "[1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2 && [1].indexOf(9) == -1",
        "'a1b2'.find('[0-9]') == '1' && 'a1b2'.findAll('[0-9]') == ['1', '2'] && 'a1b2'.findAll('[0-9]', 1) == ['1']",
        "quantity('1Gi').isGreaterThan(quantity('1000m')) && quantity('1') == quantity('1000m')",
        "quantity('1').add(quantity('2')).sub(1).compareTo(quantity('2')) == 0",
        "quantity('3').isInteger() && quantity('3').asInteger() == 3 && quantity('500m').asApproximateFloat() == 0.5",
        "isQuantity('1Gi') && !isQuantity('x') && quantity('-1').sign() == -1",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-rc.1').isLessThan(semver('1.0.0'))",
        "isSemver('1.2.3') && !isSemver('v1') && semver('1.2.3').minor() == 2",
        "url('https://u@a.b:80/c?d=e').getHost() == 'a.b:80' && url('https://a.b:80/c').getPort() == '80'",
        "url('https://a.b/c?d=e').getQuery()['d'] == ['e'] && url('https://[::1]/').getHostname() == '::1'",
        "isURL('https://a.b') && !isURL('a b')",
        "ip('10.0.0.1').family() == 4 && isIP('::1') && !isIP('10.0.0.0/8') && ip.isCanonical('::1')",
        "ip('127.0.0.1').isLoopback() && ip('8.8.8.8').isGlobalUnicast()",
        "cidr('10.0.0.0/8').containsIP('10.1.1.1') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')",
        "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.0.0.0/8').prefixLength() == 8",
        "sets.contains([1, 2], [1]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 1], [1])",
        "self.?missing.orValue(1) == 1 && 'a,b'.split(',').join('-') == 'a-b' && math.greatest(1, 2) == 2",
    ],
)
def test_functions(source: str) -> None:
    program = cel.compile_expression(source, VARIABLES)
    assert program.evaluate(program.activation({"self": {}, "oldSelf": {}})) is True


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("self.missing == 1", "no such key: missing"),
        ("[1][3] == 1", "index out of bounds: 3"),
        ("1 / (1 - 1) == 1", "division by zero"),
        ("quantity('x') == quantity('1')", "quantit"),
        ("[].min() == 1", "min called on empty list"),
    ],
)
def test_errors(source: str, why: str) -> None:
    program = cel.compile_expression(source, VARIABLES)
    with pytest.raises(cel.ExpressionError, match=why):
        program.evaluate(program.activation({"self": {}, "oldSelf": {}}))


@pytest.mark.parametrize("source", ["self +", "nope", "size(1)", "'a' + 1"])
def test_what_cannot_be_compiled(source: str) -> None:
    with pytest.raises(cel.ExpressionError, match="ERROR"):
        cel.compile_expression(source, VARIABLES)


def test_escaping() -> None:
    assert cel.escape("plain") == "plain"
    assert cel.escape("a-b.c/d") == "a__dash__b__dot__c__slash__d"
    assert cel.escape("a__b") == "a__underscores__b"
    assert cel.escape("in") == "__in__"
    assert cel.escape("a b") is None


def test_large_quantities_compare() -> None:
    program = cel.compile_expression(
        'quantity("96Gi").compareTo(quantity("90Gi")) > 0 && quantity("1Ei") == quantity("1024Pi")', ()
    )
    assert program.evaluate(program.activation({})) is True
