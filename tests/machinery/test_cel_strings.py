"""Functions of strings: what they give, what they refuse, and which formats cannot be compiled."""

from __future__ import annotations

from typing import Any

import pytest

from lakh.machinery import cel
from lakh.machinery.cel_check import Checker
from lakh.machinery.cel_values import EvaluationError


@pytest.fixture(scope="module")
def checker() -> Checker:
    """Of no variables."""
    return Checker({})


def evaluated(checker: Checker, source: str) -> Any:
    """What an expression gives: a value, or the text of an error."""
    found, _ = checker.compile(source, ()).run()
    return str(found) if isinstance(found, EvaluationError) else found


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("'été'.charAt(2) + 'été'.charAt(3)", "é"),
        ("'été'.charAt(4)", "index out of range: 4"),
        ("'banana'.indexOf('', 9) + 'banana'.lastIndexOf('', 9)", 12),
        ("'banana'.indexOf('an', -1)", "index out of range: -1"),
        ("'banana'.lastIndexOf('an', 2)", 1),
        ("'ab'.replace('', '_')", "_a_b_"),
        ("'a-b-c'.split('-', 2)", ["a", "b-c"]),
        ("'a-b'.split('-', 0)", []),
        ("'banana'.substring(4, 2)", "invalid substring range. start: 4, end: 2"),
        ("'banana'.substring(7)", "index out of range: 7"),
        (r"'\u200a x\u3000'.trim() + '\u200b'.trim()", "x\u200b"),
        (r"""strings.quote('a"\n')""", r'"a\"\n"'),
        # Formats.
        ("'%d%% of %s'.format([5, 'x'])", "5% of x"),
        ("'%.3f %f'.format([1234.5, 0.5])", "1,234.500 0.500000"),
        # The precision of an exponent is a width.
        (
            "'%e|%.3e|%.20e'.format([1052.0329, 1.0, -0.001])",
            "1.052033 x 10⁰³|1.000000 x 10⁰⁰|   -1.000000 x 10⁻⁰³".replace(" x ", "\u202f\u00d7\u202f"),
        ),
        ("'%f %e'.format(['Infinity', '-Infinity'])", "∞ -∞"),
        ("'%s'.format([double('Infinity')])", "+Inf"),
        (
            "'%s'.format([[1234567.5, double('NaN'), 'a', b'b', null, true]])",
            '[1234567.500000, "NaN", "a", b"b", null, true]',
        ),
        (
            "'%s'.format([{'b': duration('2h'), 'a': timestamp('2020-01-02T03:04:05Z')}])",
            '{"a":timestamp("2020-01-02T03:04:05Z"), "b":duration("7200s")}',
        ),
        ("'%s'.format([[dyn(ip('::1'))]])", "no formatting function for net.IP"),
        ("'%b %o %x %X'.format([true, 8, 'hi', b'k'])", "1 10 6869 6B"),
        # What is known only when it runs.
        (
            "'%d'.format([dyn('a')])",
            "error during formatting: decimal clause can only be used on integers, was given string",
        ),
        ("dyn('%d %d').format([1])", "index 1 out of range"),
        ("dyn('%').format([])", "index 0 out of range"),
    ],
)
def test_results(checker: Checker, source: str, result: Any) -> None:
    assert evaluated(checker, source) == result


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (
            "'%d'.format(['a'])",
            "1:14: error during formatting: decimal clause can only be used on integers, was given string",
        ),
        (
            "'%s'.format([[1, ip('::1')]])",
            "1:20: error during formatting: string clause can only be used on strings, ",
        ),
        (
            "'%f'.format([1])",
            "1:14: error during formatting: fixed-point clause can only be used on doubles, was given int",
        ),
        (
            "'%e'.format([true])",
            "1:14: error during formatting: scientific clause can only be used on doubles, was given bool",
        ),
        (
            "'%b'.format([duration('1s')])",
            "only integers and bools can be formatted as binary, was given google.protobuf.Duration",
        ),
        ("'%o'.format([[1]])", "octal clause can only be used on integers, was given list"),
        (
            "'%x'.format([null])",
            "only integers, byte buffers, and strings can be formatted as hex, was given null_type",
        ),
        ("'%s'.format([optional.of(1)])", "was given optional_type"),
        ("'%d %d'.format([1])", "<input>:1:15: index 1 out of range"),
        (
            "'%d'.format([1, 2])",
            "<input>:1:12: too many arguments supplied to string.format (expected 1, got 2)",
        ),
        ("'a %'.format([])", "<input>:1:13: unexpected end of string"),
        ("'%z'.format([1])", 'could not parse formatting clause: unrecognized formatting clause "z"'),
        (
            "'%.34'.format([1.0])",
            "could not parse formatting clause: error while parsing precision: could not find end of precision specifier",
        ),
        (
            "'%.f'.format([1.0])",
            'error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing "": invalid syntax',
        ),
    ],
)
def test_formats_that_cannot_be_compiled(checker: Checker, source: str, why: str) -> None:
    with pytest.raises(cel.ExpressionError) as caught:
        checker.check(source)
    assert why in str(caught.value)


def test_what_is_in_a_list_may_be_anything_to_other_clauses(checker: Checker) -> None:
    checker.check("'%s %x'.format([[[1]], dyn(ip('::1'))])")
