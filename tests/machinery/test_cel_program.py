"""Programs: what expressions give and what that costs, and that the library's own evaluator says the same."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakh.machinery import cel
from lakh.machinery.cel_check import Checker
from lakh.machinery.cel_decl import declare
from lakh.machinery.cel_metering import CostLimitExceeded
from lakh.machinery.cel_values import EvaluationError
from lakh.machinery.rule_values import converter
from tests.examples import examples

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
LISTED = {"type": "object", "properties": {"name": TEXT, "port": NUMBER}}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "n": NUMBER,
        "m": NUMBER,
        "half": {"type": "number"},
        "on": {"type": "boolean"},
        "word": TEXT,
        "long": TEXT,
        "empty": TEXT,
        "gone": TEXT,
        "nil": {**TEXT, "nullable": True},
        "raw": {"type": "string", "format": "byte"},
        "at": {"type": "string", "format": "date-time"},
        "span": {"type": "string", "format": "duration"},
        "port": {"x-kubernetes-int-or-string": True},
        "list": {"type": "array", "items": NUMBER},
        "words": {"type": "array", "items": TEXT},
        "grid": {"type": "array", "items": {"type": "array", "items": NUMBER}},
        "set": {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"},
        "other": {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"},
        "ports": {
            "type": "array",
            "items": {
                "type": "array",
                "items": LISTED,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        },
        "labels": {"type": "object", "additionalProperties": TEXT},
        "in": NUMBER,
        "a-b": NUMBER,
        "box": {"type": "object", "properties": {"deep": {"type": "object", "properties": {"n": NUMBER}}}},
    },
}
VALUE: dict[str, Any] = {
    "n": 3,
    "m": 7,
    "half": 2,
    "on": True,
    "word": "knight",
    "long": "x" * 45,
    "empty": "",
    "nil": None,
    "raw": "QUI=",
    "at": "2020-05-06T07:08:09.5+01:00",
    "span": "1h30m",
    "port": "http",
    "list": [1, 2, 3],
    "words": ["b", "a"],
    "grid": [[1], [2, 3]],
    "set": ["a", "b"],
    "other": ["b", "a"],
    "ports": [
        [{"name": "x", "port": 1}, {"name": "y", "port": 2}],
        [{"name": "y", "port": 2}, {"name": "x", "port": 1}],
    ],
    "labels": {"k": "v", "l": "w"},
    "in": 1,
    "a-b": 2,
    "box": {"deep": {"n": 1}},
}


@pytest.fixture(scope="module")
def checker() -> Checker:
    """Of the schema above."""
    found = declare(SCHEMA)
    assert found is not None
    return Checker({"self": found, "oldSelf": found})


def run(checker: Checker, source: str, **more: Any) -> tuple[Any, int]:
    """An expression's result on the value above, and its cost."""
    convert = converter(SCHEMA)
    assert convert is not None
    return checker.compile(source, ("self", "oldSelf"), **more).run(convert(VALUE), None)


@pytest.mark.parametrize(
    ("source", "cost"),
    [
        # Names, fields and calls are one each; literals are nothing.
        ("true", 0),
        ("self.n <= self.m", 5),
        ("self.n == 3", 3),
        ("self.n + 1 == 4", 4),
        ("self.box.deep.n == 1", 5),
        ("self.__in__ == 1 && self.a__dash__b == 2", 6),
        ("type(self.n) == int", 4),
        ("self.half / 2.0 == 1.0", 4),
        ("dyn(1) == 1.0", 1),
        # Presence costs the way to it.
        ("has(self.n)", 1),
        ("!has(self.gone)", 2),
        ("!has(self.nil)", 2),
        ("has(self.box.deep.n)", 3),
        # What is short-circuited is not paid for.
        ("self.on || self.n == 3", 2),
        ("!(!self.on && self.n == 3)", 4),
        # Branches and indices that are paths are one less than by themselves.
        ("(self.on ? self.n : self.m) == 3", 4),
        ("self.list[0] == 1", 4),
        ("self.list[self.n - 1] == 3", 7),
        ("self.words[self.__in__] == 'a'", 5),
        ("self.labels['k'] == 'v'", 4),
        ("self.grid[1][0] == 2", 5),
        # Texts are walked over, a tenth of a unit a character.
        ("self.long == self.long", 4 + 5),
        ("self.empty == ''", 2),
        ("self.word.startsWith('kni')", 3),
        ("self.long.endsWith('x')", 2 + 5),
        ("self.long.contains('xxxxxxxxxxx')", 2 + 5 * 2),
        ("self.word.matches('^[a-z]*$')", 2 + 1 * 2),
        ("self.long + self.word != ''", 4 + 6),
        ("self.long < 'z'", 2 + 1),
        ("self.long.size() == 45", 4),
        ("self.long.upperAscii().startsWith('X')", 2 + 5 + 5),
        ("self.word.replace('k', 'n') == 'nnight'", 2 + 2 + 1),
        ("'a,b'.split(',') == ['a', 'b']", 1 + 1),
        ("self.words.join('-') == 'b-a'", 2 + 1 + 1),
        ("'%s is %d'.format([self.word, self.n]) == 'knight is 3'", 2 + 2 + 10 + 1 + 2),
        ("self.word.find('[a-z]{2}') == 'kn'", 2 + 1 * 2 + 1),
        # Lists and maps.
        ("2 in self.list", 2 + 3),
        ("self.n in [1, 2, 3]", 2),
        ("self.n in [self.m, 3]", 2 + 10 + 2 + 2),
        ("'k' in self.labels", 3),
        ("self.list + [4] == [1, 2, 3, 4]", 2 + 1 + 1),
        ("self.list == [1, 2, 3]", 3),
        ("[self.n] == [3]", 2 + 10 + 1),
        ("{'a': self.n} == {'a': 3}", 2 + 30 + 1),
        ("self.list.all(x, x > 0)", 2 + 3 * (3 + 2) + 1),
        ("!self.list.all(x, x > 1)", 2 + 1 * (3 + 2) + 2 + 1 + 1),
        ("self.list.exists(x, x == 3)", 2 + 3 * (4 + 2) + 1),
        ("self.list.exists(x, x == 1)", 2 + 1 * (4 + 2) + 3 + 1),
        ("self.list.exists_one(x, x == 2)", 2 + 3 * 2 + 2 + 1 + 1),
        ("self.list.map(x, x * 2) == [2, 4, 6]", 2 + 3 * (12 + 2) + 1 + 1),
        ("self.list.filter(x, x > 1) == [2, 3]", 2 + 3 * 2 + 2 * 13 + 1 + 1),
        ("self.labels.all(k, k != '')", 2 + 2 * (3 + 1) + 1),
        # Indices and keys beside items: the same.
        ("self.list.all(i, x, x == i + 1)", 2 + 3 * (3 + 4) + 1),
        # Sets and maps have no order.
        ("self.set == self.other", 4 + 1),
        ("self.set + self.other == ['b', 'a']", 4 + 1 + 1),
        ("self.ports[0] == self.ports[1]", 6 + 1),
        ("self.ports[0] + self.ports[1] == self.ports[0]", 9 + 1 + 1),
        # Times.
        ("self.at > timestamp('2020-01-01T00:00:00Z')", 3),
        ("string(self.at) == '2020-05-06T07:08:09.5+01:00'", 2 + 1 + 3),
        ("self.at.getHours() == 6 && self.at.getHours('+02:00') == 8", 8),
        ("self.span == duration('90m') && self.span.getMinutes() == 90", 3 + 4),
        ("self.raw == b'AB'", 3),
        # Optionals.
        ("self.?gone.orValue('d') == 'd'", 1 + 1),
        ("self.?word.orValue('d') == 'knight'", 2 + 1),
        ("!self.labels[?'z'].hasValue()", 2 + 1 + 1),
        ("optional.of(1).optMap(x, x + 1).value() == 2", 9),
        # Kubernetes' functions.
        ("quantity('200M') == quantity('0.2G')", 3),
        ("quantity('1Gi').isGreaterThan(quantity(self.word.size() > 1 ? '1M' : '2'))", 1 + 1 + 1 + 4),
        ("isQuantity(self.word) == false", 2 + 1 + 1),
        ("ip('10.0.0.1').family() == 4", 3),
        ("cidr('10.0.0.0/8').containsIP('10.1.1.1')", 2 + 1),
        ("cidr('10.0.0.0/8').containsCIDR(cidr('10.0.0.0/16'))", 1 + 2 + 1 + 1 + 1),
        ("url('https://example.com/a').getHost() == 'example.com'", 3 + 1 + 2),
        ("semver('1.2.3').isLessThan(semver('1.10.0'))", 3),
        ("self.list.sum() == 6", 2 + 3 + 1),
        ("self.words.isSorted() == false", 2 + 0 + 1),
        ("sets.contains(self.list, [1])", 2 + 1 + 3),
        ("sets.equivalent(self.list, [3, 2, 1])", 2 + 1 + 18),
        ("self.list.reverse() == [3, 2, 1]", 2 + 14 + 1),
        ("self.words.sort() == ['a', 'b']", 2 + 11 + 8 + 1),
        ("lists.range(3) == [0, 1, 2]", 14 + 1),
        ("!format.dns1123Label().validate('ok').hasValue()", 1 + 8 + 1 + 1),
    ],
)
def test_costs(checker: Checker, source: str, cost: int) -> None:
    assert run(checker, source) == (True, cost)


@pytest.mark.parametrize(
    ("source", "why", "cost"),
    [
        ("self.gone == 'x'", "no such key: gone", 3),
        ("self.labels['z'] == 'x'", "no such key: z", 4),
        ("self.list[9] == 1", "index out of bounds: 9", 4),
        ("self.list[-1] == 1", "index out of bounds: -1", 4),
        ("self.port > 1", "no such overload", 3),
        ("self.n / (self.n - 3) == 1", "division by zero", 7),
        ("self.n % (self.n - 3) == 1", "modulus by zero", 7),
        ("self.n + 9223372036854775807 > 0", "integer overflow", 4),
        ("self.word.substring(9) == ''", "index out of range: 9", 3),
        (
            "[1, 2, 3].slice(2, 1) == []",
            "cannot slice(2, 1), start index must be less than or equal to end index",
            12,
        ),
        ("self.list.all(x, self.labels[string(x)] == '')", "no such key: 1", 2 + 3 * (3 + 5) + 1),
    ],
)
def test_errors(checker: Checker, source: str, why: str, cost: int) -> None:
    found, paid = run(checker, source)
    assert isinstance(found, EvaluationError)
    assert str(found) == why
    assert paid == cost


def test_errors_that_do_not_matter(checker: Checker) -> None:
    assert run(checker, "self.gone == 'x' || self.n == 3")[0] is True
    assert run(checker, "self.n == 4 && self.gone == 'x' || true")[0] is True
    assert run(checker, "self.list.exists(x, self.labels[string(x)] == '' || x == 3)")[0] is True


def test_an_expression_ends_at_its_limit(checker: Checker) -> None:
    source = "self.list.all(x, self.list.all(y, y > 0))"
    found, cost = run(checker, source)
    assert found is True
    assert run(checker, source, limit=cost) == (True, cost)
    found, paid = run(checker, source, limit=cost - 1)
    assert isinstance(found, CostLimitExceeded)
    assert str(found) == "operation cancelled: actual cost limit exceeded"
    assert paid >= cost - 1
    assert isinstance(run(checker, f"{source} || true", limit=20)[0], CostLimitExceeded)


# -- the library's evaluator, which does not know costs ------------------------------------------------------------------------------------

NAMES = ("i", "j", "s", "l", "m", "b")


def _texts(inner: st.SearchStrategy[dict[str, str]]) -> st.SearchStrategy[dict[str, str]]:
    """Expressions by type, made of smaller ones."""
    of = st.tuples(inner, inner)

    def put(pair: tuple[dict[str, str], dict[str, str]], choice: int) -> dict[str, str]:
        a, b = pair
        numbers = [
            f"({a['i']} + {b['i']})",
            f"({a['i']} / {b['i']})",
            f"({a['i']} % {b['i']})",
            f"({a['b']} ? {a['i']} : {b['i']})",
            f"size({a['s']})",
            f"{a['l']}[{b['i']}]",
            f"m[{a['s']}]",
        ]
        truths = [
            f"({a['b']} && {b['b']})",
            f"({a['b']} || {b['b']})",
            f"({a['i']} < {b['i']})",
            f"({a['s']} == {b['s']})",
            f"({a['i']} in {b['l']})",
            f"{a['l']}.exists(x, x == {b['i']} || {a['b']})",
            f"{a['l']}.all(x, x / {b['i']} < 2)",
            f"{a['l']}.exists_one(x, x > {b['i']})",
            f"{a['s']}.contains({b['s']})",
            f"!({a['b']})",
            f"({a['l']} == {b['l']})",
        ]
        words = [
            f"({a['s']} + {b['s']})",
            f"string({a['i']})",
            f"{a['s']}.substring({b['i']})",
            f"{a['s']}.replace({b['s']}, 'q')",
            f"({a['b']} ? {a['s']} : {b['s']})",
        ]
        lists = [
            f"({a['l']} + {b['l']})",
            f"{a['l']}.map(x, x + {b['i']})",
            f"{a['l']}.filter(x, x > {b['i']})",
            f"[{a['i']}, {b['i']}]",
        ]
        return {
            "i": numbers[choice % len(numbers)],
            "b": truths[choice % len(truths)],
            "s": words[choice % len(words)],
            "l": lists[choice % len(lists)],
        }

    return st.builds(put, of, st.integers(0, 10**6))


EXPRESSIONS = st.recursive(
    st.sampled_from(
        [
            {"i": "i", "b": "b", "s": "s", "l": "l"},
            {"i": "j", "b": "true", "s": "'ab'", "l": "[1, 2]"},
            {"i": "2", "b": "i > j", "s": "''", "l": "[j]"},
            {"i": "-1", "b": "has(m.k)", "s": "'k'", "l": "l"},
        ]
    ),
    _texts,
    max_leaves=6,
)


@pytest.fixture(scope="module")
def environment() -> Any:
    """The library's."""
    of = cel.library().Type
    kinds = (of.INT, of.INT, of.STRING, of.List(of.INT), of.Map(of.STRING, of.INT), of.BOOL)
    return cel.library().NewEnv(
        config=cel.config(declared=False),
        variables=dict(zip(NAMES, kinds, strict=True)),
        extensions=cel.extensions(False),
    )


@pytest.fixture(scope="module")
def plain() -> Checker:
    """Ours, of the same variables."""
    integers = {"type": "array", "items": NUMBER}
    table = {"type": "object", "additionalProperties": NUMBER}
    schemas = (NUMBER, NUMBER, TEXT, integers, table, {"type": "boolean"})
    found = {name: declare(schema) for name, schema in zip(NAMES, schemas, strict=True)}
    return Checker({name: kind for name, kind in found.items() if kind is not None})


@settings(max_examples=examples(300))
@given(
    EXPRESSIONS,
    st.sampled_from("ibsl"),
    st.tuples(
        st.integers(-3, 5),
        st.integers(-3, 5),
        st.sampled_from(["", "k", "abc"]),
        st.lists(st.integers(-2, 3), max_size=4),
        st.dictionaries(st.sampled_from("kz"), st.integers(0, 3), max_size=2),
        st.booleans(),
    ),
)
def test_the_library_says_the_same(
    environment: Any, plain: Checker, sources: dict[str, str], kind: str, values: tuple[Any, ...]
) -> None:
    source = sources[kind]
    compiled = environment.compile(source)
    theirs: Any
    try:
        result = compiled.eval(environment.Activation(dict(zip(NAMES, values, strict=True))))
        theirs = EvaluationError if result.type().name() == "ERROR" else result.plain_value()
    except (RuntimeError, ValueError, TypeError):
        theirs = EvaluationError
    ours, cost = plain.compile(source, NAMES).run(*values)
    assert (EvaluationError if isinstance(ours, EvaluationError) else ours) == theirs, source
    assert cost >= 0
    assert not isinstance(ours, float) or not math.isnan(ours)
