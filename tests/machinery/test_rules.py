"""CEL rules of structural schemas."""

from __future__ import annotations

from typing import Any

import pytest

from lakh.machinery import rule_checks, rules

STRING = {"type": "string"}
INTEGER = {"type": "integer"}
WORDS = {"type": "array", "items": {**STRING, "maxLength": 9}, "maxItems": 9}
NAMED = {"type": "object", "properties": {"n": STRING}}


def schema(*found: dict[str, Any], **properties: Any) -> dict[str, Any]:
    """A schema whose spec has rules and properties."""
    below = {"type": "object", "properties": properties, rules.KEY: list(found)}
    return {"type": "object", "properties": {"spec": below}}


def says(raw: dict[str, Any], new: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    """What the rules say about a spec."""
    compiled = rules.compile_rules(raw)
    assert compiled is not None
    assert rule_checks.check(raw, "s") == []
    found, _ = compiled.findings({"spec": new}, None if old is None else {"spec": old})
    return [str(f) for f in found]


def test_no_rules_no_tree() -> None:
    assert rules.compile_rules({"type": "object"}) is None


class TestEvaluation:
    def test_message_of_a_broken_rule(self) -> None:
        raw = schema({"rule": "self.a <= self.b"}, a=INTEGER, b=INTEGER)
        assert says(raw, {"a": 1, "b": 2}) == []
        assert says(raw, {"a": 3, "b": 2}) == ["spec: Invalid value: failed rule: self.a <= self.b"]

    @pytest.mark.parametrize(
        ("extra", "text"),
        [
            ({"message": "no"}, "spec: Invalid value: no"),
            ({"message": "no", "reason": "FieldValueForbidden"}, "spec: Forbidden: no"),
            (
                {"message": "no", "reason": "FieldValueRequired", "fieldPath": ".a"},
                "spec.a: Required value: no",
            ),
            ({"reason": "FieldValueDuplicate"}, "spec: Duplicate value"),
            (
                {"messageExpression": "'a is %d'.format([self.a])", "message": "no"},
                "spec: Invalid value: a is 3",
            ),
            (
                {"messageExpression": "'x' + self.missing", "message": "no"},
                "spec: Invalid value: no",
            ),
        ],
    )
    def test_forms(self, extra: dict[str, Any], text: str) -> None:
        raw = schema({"rule": "self.a < 3", **extra}, a=INTEGER, missing={**STRING, "maxLength": 9})
        assert says(raw, {"a": 3}) == [text]

    def test_errors_of_evaluation(self) -> None:
        raw = schema({"rule": "self.a == 'x'", "message": "no"}, a=STRING)
        assert says(raw, {}) == ['spec: Invalid value: "object": no such key: a evaluating rule: no']

    def test_simple_values_are_shown(self) -> None:
        raw = schema(a={**INTEGER, rules.KEY: [{"rule": "self < 3", "message": "small"}]}, b=STRING)
        assert says(raw, {"a": 5}) == ["spec.a: Invalid value: 5: small"]
        raw = schema(b={**STRING, rules.KEY: [{"rule": "self == 'x'", "reason": "FieldValueDuplicate"}]})
        assert says(raw, {"b": "y"}) == ['spec.b: Duplicate value: "y"']

    def test_what_matches_no_function_at_run_time(self) -> None:
        raw = schema(
            {"rule": "self.u.startsWith('a')", "message": "m"}, u={"x-kubernetes-int-or-string": True}
        )
        assert says(raw, {"u": 1}) == [
            "spec: Invalid value: \"object\": 'no such overload': call arguments did not match a supported operator, function or macro "
            "signature for rule: m"
        ]

    def test_below_lists_and_maps(self) -> None:
        item = {
            "type": "object",
            "properties": {"n": INTEGER},
            rules.KEY: [{"rule": "self.n > 0", "message": "m"}],
        }
        raw = schema(
            items={"type": "array", "items": item, "maxItems": 5},
            values={"type": "object", "additionalProperties": item, "maxProperties": 5},
        )
        found = says(raw, {"items": [{"n": 1}, {"n": 0}], "values": {"k": {"n": 0}}})
        assert sorted(found) == [
            "spec.items[1]: Invalid value: m",
            "spec.values[k]: Invalid value: m",
        ]

    def test_names_and_types(self) -> None:
        raw = schema(
            {
                "rule": "self.a__dash__b == 'x' && self.__namespace__ == 'n' && self.namespace == 'n' && self.f / 2.0 == 1.5"
            },
            {"rule": "self.at > timestamp('2020-01-01T00:00:00Z') && self.wait < duration('1h')"},
            {"rule": "self.union == 1 || self.union == '1'"},
            {"rule": "quantity(self.q).isLessThan(quantity('1Gi')) && isIP(self.ip) && self.l.isSorted()"},
            **{
                "a-b": STRING,
                "namespace": STRING,
                "f": {"type": "number"},
                "at": {**STRING, "format": "date-time"},
                "wait": {**STRING, "format": "duration"},
                "union": {"x-kubernetes-int-or-string": True},
                "q": STRING,
                "ip": STRING,
                "l": {"type": "array", "items": INTEGER, "maxItems": 9},
            },
        )
        value = {
            "a-b": "x",
            "namespace": "n",
            "f": 3,
            "at": "2026-01-01T00:00:00Z",
            "wait": "5m",
            "union": "1",
            "q": "100Mi",
            "ip": "10.0.0.1",
            "l": [1, 2, 2],
        }
        assert says(raw, value) == []

    def test_root_rules_see_the_name(self) -> None:
        raw = {"type": "object", rules.KEY: [{"rule": "self.metadata.name.startsWith('a')", "message": "no"}]}
        compiled = rules.compile_rules(raw)
        assert compiled is not None
        assert compiled.findings({"metadata": {"name": "ab"}}) == ([], [])
        assert [str(f) for f in compiled.findings({"metadata": {"name": "b"}})[0]] == [
            "<nil>: Invalid value: no"
        ]

    def test_a_rule_that_takes_too_long_ends_the_validation(self) -> None:
        item = {**STRING, "maxLength": 1}
        rule = {"rule": "self.all(x, self.all(y, x == y))", "message": "m"}
        raw = schema(
            a={"type": "array", "items": item, "maxItems": 500, rules.KEY: [rule]},
            b={**INTEGER, rules.KEY: [{"rule": "self < 0"}]},
        )
        assert says(raw, {"a": ["x"] * 500, "b": 1}) == [
            "spec.a: Invalid value: \"array\": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due "
            "to call cost exceeds limit for rule: m"
        ]

    def test_budget(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rules, "OBJECT_BUDGET", 2)
        raw = schema({"rule": "self.a == 1"}, {"rule": "true"}, a=INTEGER)
        assert rules.OUT_OF_BUDGET in says(raw, {"a": 1})[0]


class TestTransitions:
    def test_old_self_runs_on_updates_only(self) -> None:
        raw = schema({"rule": "self.a == oldSelf.a", "message": "immutable"}, a=INTEGER)
        assert says(raw, {"a": 1}) == []
        assert says(raw, {"a": 1}, {"a": 1}) == []
        assert says(raw, {"a": 2}, {"a": 1}) == ["spec: Invalid value: immutable"]

    def test_optional_old_self(self) -> None:
        rule = {
            "rule": "oldSelf.hasValue() ? self.a == oldSelf.value().a : self.a == 0",
            "optionalOldSelf": True,
            "message": "no",
        }
        raw = schema(rule, a=INTEGER)
        assert says(raw, {"a": 0}) == []
        assert len(says(raw, {"a": 1})) == 1
        assert says(raw, {"a": 1}, {"a": 1}) == []
        assert len(says(raw, {"a": 2}, {"a": 1})) == 1

    @pytest.mark.parametrize(
        ("kind", "rule", "new", "old", "holds"),
        [
            (INTEGER, "self >= 9 || (oldSelf.hasValue() && oldSelf.value() <= self)", 8, 5, True),
            (INTEGER, "self >= 9 || (oldSelf.hasValue() && oldSelf.value() <= self)", 4, 5, False),
            (INTEGER, "self >= 9 || (oldSelf.hasValue() && oldSelf.value() <= self)", 8, None, False),
            (STRING, "!oldSelf.hasValue() || self == 'a'", "b", None, True),
            (STRING, "!oldSelf.hasValue() || self == 'a'", "b", "c", False),
            (WORDS, "self.size() > 0 || oldSelf[?0].orValue('a') == 'a'", [], None, True),
            (WORDS, "self.size() > 0 || oldSelf[?0].orValue('a') == 'a'", [], ["b"], False),
            (NAMED, "self.n == 'a' || oldSelf.n.orValue('') != 'a'", {"n": "b"}, {"n": "c"}, True),
            (NAMED, "self.n == 'a' || oldSelf.n.orValue('') != 'a'", {"n": "b"}, {"n": "a"}, False),
            (NAMED, "self.n == 'a' || oldSelf.?n.orValue('') != 'a'", {"n": "b"}, None, True),
        ],
    )
    def test_an_optional_past(self, kind: dict[str, Any], rule: str, new: Any, old: Any, holds: bool) -> None:
        raw = schema(f={**kind, rules.KEY: [{"rule": rule, "optionalOldSelf": True, "message": "no"}]})
        assert (not says(raw, {"f": new}, None if old is None else {"f": old})) is holds

    @pytest.mark.parametrize(
        ("kind", "rule", "why"),
        [
            (
                INTEGER,
                "oldSelf + self > 5",
                "<input>:1:9: found no matching overload for '_+_' applied to '(optional_type(int), int)'\n | oldSelf + self > 5\n | ........^",
            ),
            (STRING, "oldSelf == 'a'", "'_==_' applied to '(optional_type(string), string)'"),
            (WORDS, "oldSelf[0] == 'a'", "'_==_' applied to '(optional_type(string), string)'"),
            (
                WORDS,
                "oldSelf.all(x, x == x)",
                "expression of type 'optional_type(list(string))' cannot be range of a comprehension",
            ),
            (WORDS, "oldSelf.a == 'a'", "type 'list(string)' does not support field selection"),
        ],
    )
    def test_an_optional_past_is_not_the_past(self, kind: dict[str, Any], rule: str, why: str) -> None:
        raw = schema(f={**kind, rules.KEY: [{"rule": rule, "optionalOldSelf": True}]})
        compiled = rules.compile_rules(raw)
        assert compiled is not None
        value = {"spec": {"f": {}}}
        (found,), _ = compiled.findings(value, value)
        assert ": rule compile error: compilation failed: ERROR: <input>:1:" in found.text
        assert why in found.text

    def test_the_past_can_be_optional_to_one_rule_of_two(self) -> None:
        given = {"rule": "self >= oldSelf", "message": "grows"}
        optional = {"rule": "oldSelf.hasValue() || self > 3", "optionalOldSelf": True, "message": "starts"}
        raw = schema(f={**INTEGER, rules.KEY: [given, optional]})
        assert says(raw, {"f": 1}) == ["spec.f: Invalid value: 1: starts"]
        assert says(raw, {"f": 1}, {"f": 2}) == ["spec.f: Invalid value: 1: grows"]

    def test_unchanged_values_are_not_held_against_an_update(self) -> None:
        raw = schema({"rule": "self.a < 3"}, a=INTEGER, b=INTEGER)
        assert says(raw, {"a": 5}, {"a": 5}) == []
        assert len(says(raw, {"a": 5, "b": 1}, {"a": 5})) == 1
        compiled = rules.compile_rules(raw)
        assert compiled is not None
        _, warned = compiled.findings({"spec": {"a": 5}}, {"spec": {"a": 5}})
        assert [str(f) for f in warned] == ["spec: Invalid value: failed rule: self.a < 3"]

    def test_items_without_a_past_are_compared_by_their_list(self) -> None:
        item = {**INTEGER, rules.KEY: [{"rule": "self < 3"}]}
        raw = schema(l={"type": "array", "items": item, "maxItems": 9}, b=INTEGER)
        assert says(raw, {"l": [5], "b": 1}, {"l": [5]}) == []
        assert len(says(raw, {"l": [5, 1]}, {"l": [5]})) == 1

    def test_items_of_list_maps_have_a_past(self) -> None:
        item = {
            "type": "object",
            "properties": {"n": STRING, "v": INTEGER},
            rules.KEY: [{"rule": "self.v >= oldSelf.v", "message": "grows"}],
        }
        raw = schema(
            l={
                "type": "array",
                "items": item,
                "maxItems": 9,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["n"],
            }
        )
        old = {"l": [{"n": "a", "v": 2}]}
        assert says(raw, {"l": [{"n": "b", "v": 0}, {"n": "a", "v": 2}]}, old) == []
        assert says(raw, {"l": [{"n": "b", "v": 0}, {"n": "a", "v": 1}]}, old) == [
            "spec.l[1]: Invalid value: grows"
        ]

    def test_the_version_of_an_object_is_not_held_to_its_past(self) -> None:
        """It is the request's: that it is as it was says nothing."""
        rule = [{"rule": "self == 'v1'"}]
        raw = {
            "type": "object",
            "properties": {"apiVersion": {**STRING, rules.KEY: rule}, "a": {**STRING, rules.KEY: rule}},
        }
        compiled = rules.compile_rules(raw)
        assert compiled is not None
        obj = {"apiVersion": "v2", "a": "v2"}
        found, warned = compiled.findings(obj, obj)
        assert [str(f) for f in found] == ["apiVersion: Invalid value: \"v2\": failed rule: self == 'v1'"]
        assert [str(f) for f in warned] == ["a: Invalid value: \"v2\": failed rule: self == 'v1'"]


class TestMessages:
    """What an expression says is taken when it is one line of at most five kilobytes."""

    @pytest.mark.parametrize(
        ("expression", "text"),
        [
            ("' a message '", "a message"),
            ("''", "plain"),
            ("'   '", "plain"),
            ("'a\\nb'", "plain"),
            ("'\\n a \\n'", "a"),
            ("self.words.join(',')", "plain"),
            ("'x ' + [1, 2][self.n]", "plain"),
            ("string(self.n)", "5"),
        ],
    )
    def test_fallback(self, expression: str, text: str) -> None:
        raw = schema(
            {"rule": "self.n < 3", "message": "plain", "messageExpression": expression},
            n=INTEGER,
            words={"type": "array", "items": {**STRING, "maxLength": 100}, "maxItems": 100},
        )
        if expression.startswith("'x ' + ["):
            raw["properties"]["spec"][rules.KEY][0]["messageExpression"] = "'x ' + ['a'][self.n]"
        assert says(raw, {"n": 5, "words": ["x" * 99] * 60}) == [f"spec: Invalid value: {text}"]

    def test_budget(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rule = {"rule": "self.n < 3", "messageExpression": "'a' + self.s"}
        raw = schema(
            rule, {"rule": "self.n < 2", "message": "second"}, n=INTEGER, s={**STRING, "maxLength": 9}
        )
        monkeypatch.setattr(rules, "OBJECT_BUDGET", 3 + 3 + 3)
        assert says(raw, {"n": 5, "s": "b"}) == ["spec: Invalid value: ab", "spec: Invalid value: second"]
        monkeypatch.setattr(rules, "OBJECT_BUDGET", 3 + 2)
        assert says(raw, {"n": 5, "s": "b"}) == [
            'spec: Invalid value: "object": messageExpression evaluation failed due to running out of cost budget, no further validation '
            "rules will be run"
        ]

    def test_the_budget_is_the_object_s(self, monkeypatch: pytest.MonkeyPatch) -> None:
        item = {**INTEGER, rules.KEY: [{"rule": "self > 0"}]}
        raw = schema(l={"type": "array", "items": item, "maxItems": 9})
        monkeypatch.setattr(rules, "OBJECT_BUDGET", 6)
        assert says(raw, {"l": [1, 2, 3]}) == []
        assert says(raw, {"l": [1, 2, 3, 4]}) == [
            f'spec.l[3]: Invalid value: "integer": {rules.OUT_OF_BUDGET}'
        ]
        monkeypatch.setattr(rules, "OBJECT_BUDGET", 7)
        assert says(raw, {"l": [1, 2, 3, 0, 5]}) == [
            f'spec.l[3]: Invalid value: "integer": {rules.OUT_OF_BUDGET}'
        ]
