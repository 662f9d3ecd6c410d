"""CEL rules as they are written: what is refused, and what they may cost."""

from __future__ import annotations

from typing import Any

import pytest

from lakh.machinery import rule_checks
from lakh.machinery.rules import KEY

STRING = {"type": "string"}
INTEGER = {"type": "integer"}


def schema(*found: dict[str, Any], **properties: Any) -> dict[str, Any]:
    """A schema whose spec has rules and properties."""
    below = {"type": "object", "properties": properties, KEY: list(found)}
    return {"type": "object", "properties": {"spec": below}}


def array(items: dict[str, Any], most: int | None = None) -> dict[str, Any]:
    """A list."""
    return {"type": "array", "items": items, **({"maxItems": most} if most is not None else {})}


@pytest.mark.parametrize(
    ("rule", "field", "text"),
    [
        ({"rule": ""}, ".rule", "Required value: rule is not specified"),
        (
            {"rule": "self.a +"},
            ".rule",
            ": compilation failed: ERROR: <input>:1:9: Syntax error: mismatched input",
        ),
        (
            {"rule": "self.nope == 1"},
            ".rule",
            "ERROR: <input>:1:5: undefined field 'nope'\n | self.nope == 1\n | ....^",
        ),
        ({"rule": "nope(self)"}, ".rule", "undeclared reference to 'nope' (in container '')"),
        (
            {"rule": "self.a == 'x'"},
            ".rule",
            "found no matching overload for '_==_' applied to '(int, string)'",
        ),
        ({"rule": "self.a == null"}, ".rule", "for '_==_' applied to '(int, null)'"),
        ({"rule": "'a'.startsWith(1)"}, ".rule", "for 'startsWith' applied to 'string.(int)'"),
        ({"rule": "['a'].sum() == 1"}, ".rule", "for 'sum' applied to 'list(string).()'"),
        ({"rule": "sets.contains(1, 2)"}, ".rule", "for 'sets.contains' applied to '(int, int)'"),
        (
            {"rule": "timestamp('1000-00-00T00:00:00Z') < timestamp('x')"},
            ".rule",
            "invalid timestamp argument",
        ),
        (
            {"rule": "'a'.find('(') == ''"},
            ".rule",
            ": program instantiation failed: error parsing regexp: missing closing )",
        ),
        (
            {"rule": "int('x') == 1"},
            ".rule",
            ": program instantiation failed: type conversion error from 'string' to 'int'",
        ),
        ({"rule": "self.a in [1, 'x']"}, ".rule", "<input>:1:15: expected type 'int' but found 'string'"),
        ({"rule": "{'a': 1, 'b': true}.size() > 1"}, ".rule", "expected type 'int' but found 'bool'"),
        ({"rule": "'x'.matches('(')"}, ".rule", "<input>:1:13: invalid matches argument"),
        ({"rule": "duration('1y') > duration('1s')"}, ".rule", "invalid duration argument"),
        ({"rule": "timestamp('x') == timestamp('y')"}, ".rule", "invalid timestamp argument"),
        ({"rule": "math.abs(self.a) > 1"}, ".rule", "undeclared reference to 'math'"),
        ({"rule": "1 + 1"}, ".rule", ": cel expression must evaluate to a bool"),
        ({"rule": "self.u"}, ".rule", ": cel expression must evaluate to a bool"),
        (
            {"rule": "true", "messageExpression": "1"},
            ".messageExpression",
            ": messageExpression must evaluate to a string",
        ),
        (
            {"rule": "true", "messageExpression": "nope"},
            ".messageExpression",
            ": messageExpression compilation failed: ERROR: <input>:1:1: undeclared reference to 'nope'",
        ),
        ({"rule": "true", "message": "a\nb"}, ".message", "must not contain line breaks"),
        ({"rule": "true", "message": " "}, ".message", "must be non-empty if specified"),
        ({"rule": "true\n && true"}, ".message", "message must be specified if rule contains line breaks"),
        ({"rule": "true", "messageExpression": " "}, ".messageExpression", "must be non-empty if specified"),
        ({"rule": "true", "reason": "Odd"}, ".reason", "Unsupported value"),
        ({"rule": "true", "fieldPath": ".nope"}, ".fieldPath", "must be a valid path"),
        ({"rule": "true", "optionalOldSelf": True}, ".optionalOldSelf", "oldSelf is not used"),
    ],
)
def test_refused(rule: dict[str, Any], field: str, text: str) -> None:
    raw = schema(rule, a=INTEGER, u={"x-kubernetes-int-or-string": True})
    found = rule_checks.check(raw, "s")
    assert [f.field for f in found] == [f"s.properties[spec].{KEY}[0]{field}"]
    assert text in found[0].text


@pytest.mark.parametrize(
    "rule",
    [
        "self.a < 1.5 && self.f >= 1",
        "self.l.all(i, x, i < 3 && x != '') && self.l.transformList(i, x, x + 'a').size() < 9",
        "self.m.transformMap(k, v, v + 1)['x'] == 2",
        "self.m.exists(k, v, k == 'a' && v > 0)",
        "self.ll[0][0].startsWith('a') && self.ll.all(l, l.all(x, x != 'b'))",
        "self.?a.orValue(1) == 1 && self.at < timestamp('2030-01-01T00:00:00Z')",
        "self.u == 1 || self.u == 'x'",
        "!format.dns1123Label().validate(self.s).hasValue()",
        "format.named('uuid').value().validate(self.s).hasValue()",
        "semver('v1.2', true).major() == 1 && isSemver(self.s)",
        "cidr('10.0.0.0/8').containsIP(ip('10.0.0.1')) && string(ip('::1')) == '::1'",
        "quantity('1Gi').add(1).isGreaterThan(quantity('1')) && sign(quantity('-1')) == -1",
        "[2, 1].sort() == [1, 2] && lists.range(3).reverse()[0] == 2 && [[1], [2]].flatten().sum() == 3",
        "url(self.s).getQuery().size() == 0 && sets.contains(self.l, ['a'])",
        "'%s %d'.format(['a', 1]) == 'a 1'",
        "has(self.__namespace__) && self.a__dash__b == ''",
        "self.b == b'x'",
    ],
)
def test_accepted(rule: str) -> None:
    found = rule_checks.check(
        schema(
            {"rule": rule},
            a=INTEGER,
            f={"type": "number"},
            s={**STRING, "maxLength": 9},
            l=array({**STRING, "maxLength": 9}, 5),
            ll=array(array({**STRING, "maxLength": 9}, 5), 5),
            m={"type": "object", "additionalProperties": INTEGER, "maxProperties": 5},
            u={"x-kubernetes-int-or-string": True},
            at={**STRING, "format": "date-time"},
            b={**STRING, "format": "byte"},
            namespace=STRING,
            **{"a-b": STRING},
        ),
        "s",
    )
    assert [str(f) for f in found] == []


def test_a_refused_rule_is_shown_as_upstreams_type() -> None:
    found = rule_checks.check(schema({"rule": "self.a <= ''", "message": "m"}, a=INTEGER), "s")
    assert found[0].text.startswith(
        'Invalid value: {"Rule":"self.a \\u003c= \'\'","Message":"m","MessageExpression":"","Reason":null,"FieldPath":"",'
        '"OptionalOldSelf":null}: compilation failed: '
    )


def test_old_self_needs_a_past() -> None:
    item = {"type": "object", "properties": {"v": INTEGER}, KEY: [{"rule": "self == oldSelf"}]}
    found = rule_checks.check(schema(l=array(item, 3)), "s")
    assert "uncorrelatable portion of the schema within s.properties[spec].properties[l]" in found[0].text


HINT = " (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"


class TestCosts:
    def test_a_rule_over_its_budget(self) -> None:
        raw = schema({"rule": "self.l.all(x, self.l.exists(y, x == y))"}, l=array(STRING))
        assert [str(f) for f in rule_checks.check(raw, "s")][:1] == [
            f"s.properties[spec].{KEY}[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x{HINT}"
        ]
        raw = schema(
            {"rule": "self.l.all(x, self.l.exists(y, x == y))"}, l=array({**STRING, "maxLength": 9}, 99)
        )
        assert rule_checks.check(raw, "s") == []

    def test_factors(self) -> None:
        """Comparing texts of four times 2,500 bytes costs 1,000, the names in it and in the macro five."""
        rule = {"rule": "self.all(x, x == x)"}
        for most, factor in ((9_000, None), (10_000, "1.005000x"), (20_000, "2.0x")):
            at = {**array({**STRING, "maxLength": 2500}, most), KEY: [rule]}
            found = rule_checks.check({"type": "object", "properties": {"l": at}}, "s")
            said = [f.text for f in found]
            assert said == (
                []
                if factor is None
                else [f"Forbidden: estimated rule cost exceeds budget by factor of {factor}{HINT}"]
            ), most

    def test_how_often_a_place_can_be_there_counts(self) -> None:
        item = {"type": "object", "properties": {"s": STRING}, KEY: [{"rule": "self.s.contains('abc')"}]}
        # 3 MiB of text, a tenth each, and the search.
        assert rule_checks.check(schema(l=array(item, 10)), "s") == []
        assert "exceeds budget by factor of 1" in rule_checks.check(schema(l=array(item, 40)), "s")[0].text
        assert "more than 100x" in rule_checks.check(schema(l=array(item)), "s")[0].text

    def test_a_schema_over_its_budget(self) -> None:
        at = {**array({**STRING, "maxLength": 2500}, 9_000), KEY: [{"rule": "self.all(x, x == x)"}]}
        raw = {"type": "object", "properties": {f"l{n}": at for n in range(12)}}
        found = [str(f) for f in rule_checks.check(raw, "s")]
        assert len(found) == 5
        assert found[0].endswith(
            "Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        )
        assert found[4].startswith(
            "s: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of 1.08"
        )

    def test_a_schema_that_is_stored_stays_accepted(self) -> None:
        raw = schema({"rule": "self.l.all(x, self.l.exists(y, x == y))"}, l=array(STRING))
        assert rule_checks.check(raw, "s", compiled_before=True) == []

    def test_message_expressions_have_a_budget(self) -> None:
        rule = {"rule": "true", "messageExpression": "self.l.map(x, self.l.join(x)).join(',')"}
        found = rule_checks.check(schema(rule, l=array(STRING)), "s")
        assert "estimated messageExpression cost exceeds budget by factor of more than 100x" in found[0].text

    def test_an_optional_past_costs_what_a_past_costs(self) -> None:
        at = {**array({**STRING, "maxLength": 2500}, 9_000)}
        for rule in (
            "oldSelf.hasValue() && self.all(x, x == x)",
            "oldSelf.size() > 1 && self.all(x, x == x)",
        ):
            optional = "hasValue" in rule
            extra = {"optionalOldSelf": True} if optional else {}
            raw = {"type": "object", "properties": {"l": {**at, KEY: [{"rule": rule, **extra}]}}}
            assert rule_checks.check(raw, "s") == []
