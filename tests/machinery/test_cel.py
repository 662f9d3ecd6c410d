"""CEL with Kubernetes' functions."""

from __future__ import annotations

import pytest

from lakh.machinery import cel
from lakh.machinery.cel_check import Checker
from lakh.machinery.cel_values import EvaluationError

VARIABLES = ("self", "oldSelf")


@pytest.fixture(scope="module")
def checker() -> Checker:
    """Of two variables of any type."""
    return Checker(dict.fromkeys(VARIABLES, "dyn"))


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
        "[3, 1].sort() == [1, 3] && [1, 1].distinct().size() == 1 && lists.range(2) == [0, 1] && [[1], [2]].flatten() == [1, 2]",
        "[5, 6].all(i, x, x == i + 5) && ['a', 'b'].transformList(i, x, i > 0, x + 'c') == ['bc']",
        "{'a': 1}.transformMap(k, v, v + 1) == {'a': 2} && [7].transformMapEntry(i, x, {string(x): i}) == {'7': 0}",
        "{'a': 1}.exists(k, v, k == 'a' && v == 1) && [1, 2].existsOne(i, x, x == 2)",
        "[1, 2].existsOne(x, x == 2) && [1, 2].exists_one(i, x, x == 2) && [['a)', ','].exists_one(x, x == ',')].existsOne(y, y)",
        "!format.dns1123Label().validate('abc').hasValue() && format.dns1123Label().validate('A').value().size() == 1",
        "format.named('uuid').value().validate('x').value() == ['does not match the UUID format']",
        "!format.named('nope').hasValue() && !format.dns1123LabelPrefix().validate('a-').hasValue()",
        "semver('v01.2', true) == semver('1.2.0') && !isSemver('1.2', false) && isSemver('1.2', true)",
        "string(ip('::1')) == '::1' && string(cidr('10.0.0.0/8')) == '10.0.0.0/8' && sign(quantity('-1')) == -1",
        "ip('224.0.0.5').isLinkLocalMulticast() && ip('ff02::1').isLinkLocalMulticast() && !ip('224.0.1.5').isLinkLocalMulticast()",
        "size('a') < 1.5 && 2.5 > size('a') && duration('1m') + duration('1s') > [duration('1s'), duration('2s')].sum()",
        "[timestamp('2026-01-02T00:00:00Z'), timestamp('2026-01-01T00:00:00Z')].min() == timestamp('2026-01-01T00:00:00Z')",
        "sets.contains([1, 2], [1]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 1], [1])",
        "self.?missing.orValue(1) == 1 && 'a,b'.split(',').join('-') == 'a-b'",
    ],
)
def test_functions(checker: Checker, source: str) -> None:
    assert checker.compile(source, VARIABLES).run({}, {})[0] is True


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("self.missing == 1", "no such key: missing"),
        ("[1][3] == 1", "index out of bounds: 3"),
        ("1 / (1 - 1) == 1", "division by zero"),
        ("quantity('x') == quantity('1')", "quantit"),
        ("[].min() == 1", "min called on empty list"),
        ("quantity('1.5').asInteger() == 1", "cannot convert value to integer"),
        ("format.named('nope').value() == format.uuid()", "optional.none() dereference"),
    ],
)
def test_errors(checker: Checker, source: str, why: str) -> None:
    found, _ = checker.compile(source, VARIABLES).run({}, {})
    assert isinstance(found, EvaluationError)
    assert why in str(found)


@pytest.mark.parametrize("source", ["self +", "nope", "size(1)", "'a' + 1"])
def test_what_cannot_be_compiled(checker: Checker, source: str) -> None:
    with pytest.raises(cel.ExpressionError, match="ERROR"):
        checker.check(source)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("has(self)", "<input>:1:5: invalid argument to has() macro"),
        ("[1].all(2, true)", "<input>:1:9: argument must be a simple name"),
        ("[1].exists_one(2, true)", "<input>:1:16: argument must be a simple name"),
        ("[1].map(2, true)", "<input>:1:9: argument is not an identifier"),
        ("[1].filter(2, true)", "<input>:1:12: argument is not an identifier"),
        (
            "1.all(x, true)",
            "<input>:1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("[1].a", "<input>:1:4: type 'list(int)' does not support field selection"),
        ("optional.of(1).orValue('a')", "applied to 'optional_type(int).(string)'"),
        ("format.uuid().validate('a').orValue('b')", "applied to 'optional_type(list(string)).(string)'"),
        ("[1].unwrapOpt()", "found no matching overload for 'unwrapOpt'"),
        ("(" * 300 + "1" + ")" * 300, "<input>:-1:0: expression recursion limit exceeded: "),
        ("'" + "a" * 100_000 + "'", "expression code point size exceeds limit: size: 100002, limit 100000"),
    ],
)
def test_the_words_are_cel_go_s(checker: Checker, source: str, why: str) -> None:
    with pytest.raises(cel.ExpressionError) as caught:
        checker.check(source)
    assert str(caught.value).startswith("ERROR: <input>:")
    assert why in str(caught.value)


def test_large_quantities_compare(checker: Checker) -> None:
    source = 'quantity("96Gi").compareTo(quantity("90Gi")) > 0 && quantity("1Ei") == quantity("1024Pi")'
    assert checker.compile(source, VARIABLES).run({}, {})[0] is True
