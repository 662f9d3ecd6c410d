"""Estimates of cost, worked out by hand from upstream's table of prices."""

from __future__ import annotations

from typing import Any

import pytest

from lakh.machinery.cel_check import Checker
from lakh.machinery.cel_cost import Estimator
from lakh.machinery.cel_decl import REQUEST_MAX_BYTES, declare
from lakh.machinery.cel_ranges import TOP

TEXT = {"type": "string", "maxLength": 25}  # a hundred bytes
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "a": {"type": "integer"},
        "s": TEXT,
        "n": {"type": "array", "maxItems": 10, "items": {"type": "integer"}},
        "l": {"type": "array", "maxItems": 10, "items": TEXT},
        "ll": {"type": "array", "maxItems": 4, "items": {"type": "array", "maxItems": 10, "items": TEXT}},
        "m": {"type": "object", "maxProperties": 10, "additionalProperties": TEXT},
        "o": {"type": "array", "maxItems": 10, "items": {"type": "object", "properties": {"s": TEXT}}},
        "e": {"type": "string", "enum": ["ab", "abcd"]},
        "open": {"type": "string"},
        "numbers": {"type": "array", "items": {"type": "integer"}},
    },
}


def most(source: str) -> int:
    """The most that an expression of the schema costs."""
    decl = declare(SCHEMA)
    assert decl is not None
    checker = Checker({"self": decl})
    low, high = Estimator(checker.check(source), checker.declarations).cost()
    assert low <= high
    return high


@pytest.mark.parametrize(
    ("source", "cost"),
    [
        ("true", 0),
        (
            "self.a == 1",
            2,
        ),  # a name and a selection; comparing a number costs its size, which is not declared
        ("has(self.a)", 1),  # the name alone
        ("self.s == 'abc'", 3),  # three characters at a tenth
        ("self.s == self.s", 4 + 10),
        ("self.s.startsWith('x')", 2 + 1),
        ("self.s.contains('ab')", 2 + 10 * 1),
        ("self.s.matches('abcd')", 2 + 11 * 1),
        ("self.e.contains('x')", 2 + 1),  # the longest choice
        ("self.n.all(x, true)", 2 + 1 + 10 * (1 + 2)),
        ("self.l.all(x, x == 'a')", 2 + 1 + 10 * (1 + 2 + 1 + 1)),
        ("self.ll.all(x, x.all(y, y == 'a'))", 2 + 1 + 4 * (1 + 2 + 2 + 10 * 5)),
        ("self.m.all(k, self.m[k] == 'a')", 2 + 1 + 10 * (1 + 2 + 2 + 1 + 1 + 1)),
        ("self.o.exists(x, x.s == 'a')", 2 + 1 + 10 * (3 + 1 + 2 + 1)),
        ("self.o[0].s == 'a'", 2 + 1 + 1 + 1),
        ("self.a > 1 || self.a < 0", 2 * 3),
        ("self.a > 1 ? true : false", 3),
        ("[1, 2].size() == 2", 10 + 1 + 1),
        ("{'a': 1}.size() == 1", 30 + 1 + 1),
        ("self.s + 'abc' == 'x'", 2 + 11 + 1),
        ("self.l.join(',') == ''", 2 + 101),
        ("self.n.sum() == 1", 2 + 10 + 1),
        ("self.l.isSorted()", 2 + 10 * 11),
        ("isQuantity(self.s)", 2 + 10),
        ("quantity(self.s) == quantity('1')", 2 + 10 + 1 + 1),
        ("self.s in self.l", 4 + 10),
        ("sets.contains(self.l, ['a', 'b'])", 2 + 10 + 20 + 1),
        ("self.n.sort().size() == 1", 2 + 200 + 11 + 1 + 1),
        ("dyn(self.a) == 1", 3),
        ("type(self.s) == string", 2 + 1 + 1),  # names of types have the size of the root, an object: none
        ("self.l.map(x, x).size() == 1", 2 + 10 + 1 + 10 * (0 + 1 + 1 + 10 + 1) + 1 + 1),
    ],
)
def test_estimates(source: str, cost: int) -> None:
    assert most(source) == cost


def test_what_has_no_limit_is_as_large_as_a_request() -> None:
    assert most("self.open.contains('x')") == 2 + -(-(REQUEST_MAX_BYTES - 2) // 10)
    assert most("self.numbers.all(x, true)") == 3 + 3 * ((REQUEST_MAX_BYTES - 2) // 2)


def test_estimates_stick_at_the_top() -> None:
    deep = "self.numbers.all(v, true)"
    for n in range(4):
        deep = f"self.numbers.all(v{n}, {deep})"
    assert most(deep) == TOP
