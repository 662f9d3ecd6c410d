"""CEL rules of structural schemas."""

from __future__ import annotations

from typing import Any

import pytest

from lakh.machinery import rules

STRING = {"type": "string"}
INTEGER = {"type": "integer"}


def schema(*found: dict[str, Any], **properties: Any) -> dict[str, Any]:
    """A schema whose spec has rules and properties."""
    below = {"type": "object", "properties": properties, rules.KEY: list(found)}
    return {"type": "object", "properties": {"spec": below}}


def says(raw: dict[str, Any], new: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    """What the rules say about a spec."""
    compiled = rules.compile_rules(raw)
    assert compiled is not None
    assert rules.check(raw, "s") == []
    return [str(f) for f in compiled.findings({"spec": new}, None if old is None else {"spec": old})]


def test_no_rules_no_tree() -> None:
    assert rules.compile_rules({"type": "object"}) is None


class TestEvaluation:
    def test_message_of_a_broken_rule(self) -> None:
        raw = schema({"rule": "self.a <= self.b"}, a=INTEGER, b=INTEGER)
        assert says(raw, {"a": 1, "b": 2}) == []
        assert says(raw, {"a": 3, "b": 2}) == ['spec: Invalid value: "object": failed rule: self.a <= self.b']

    @pytest.mark.parametrize(
        ("extra", "text"),
        [
            ({"message": "no"}, 'spec: Invalid value: "object": no'),
            ({"message": "no", "reason": "FieldValueForbidden"}, "spec: Forbidden: no"),
            (
                {"message": "no", "reason": "FieldValueRequired", "fieldPath": ".a"},
                "spec.a: Required value: no",
            ),
            ({"reason": "FieldValueDuplicate"}, 'spec: Duplicate value: "object"'),
            (
                {"messageExpression": "'a is ' + string(self.a)", "message": "no"},
                'spec: Invalid value: "object": a is 3',
            ),
            (
                {"messageExpression": "'x' + string(self.missing)", "message": "no"},
                'spec: Invalid value: "object": no',
            ),
        ],
    )
    def test_forms(self, extra: dict[str, Any], text: str) -> None:
        raw = schema({"rule": "self.a < 3", **extra}, a=INTEGER, missing=STRING)
        assert says(raw, {"a": 3}) == [text]

    def test_errors_of_evaluation(self) -> None:
        raw = schema({"rule": "self.a == 'x'", "message": "no"}, a=STRING)
        assert says(raw, {}) == ['spec: Invalid value: "object": no such key: a evaluating rule: no']

    def test_below_lists_maps_and_all_of(self) -> None:
        item = {
            "type": "object",
            "properties": {"n": INTEGER},
            rules.KEY: [{"rule": "self.n > 0", "message": "m"}],
        }
        raw = schema(
            items={"type": "array", "items": item},
            values={"type": "object", "additionalProperties": item},
        )
        raw["properties"]["spec"]["allOf"] = [
            {"properties": {}, rules.KEY: [{"rule": "false", "message": "all"}]}
        ]
        compiled = rules.compile_rules(raw)
        assert compiled is not None
        found = compiled.findings({"spec": {"items": [{"n": 1}, {"n": 0}], "values": {"k": {"n": 0}}}})
        assert sorted(f.field for f in found) == ["spec", "spec.items[1]", "spec.values.k"]

    def test_names_and_types(self) -> None:
        raw = schema(
            {"rule": "self.a__dash__b == 'x' && self.__namespace__ == 'n' && self.f / 2.0 == 1.5"},
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
                "l": {"type": "array", "items": INTEGER},
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
        assert compiled.findings({"metadata": {"name": "ab"}}) == []
        assert [str(f) for f in compiled.findings({"metadata": {"name": "b"}})] == [
            '<nil>: Invalid value: "object": no'
        ]

    def test_budget(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rules, "EVALUATIONS_MAX", 1)
        raw = schema({"rule": "true"}, {"rule": "true"}, a=INTEGER)
        assert rules.OUT_OF_BUDGET in says(raw, {"a": 1})[0]


class TestTransitions:
    def test_old_self_runs_on_updates_only(self) -> None:
        raw = schema({"rule": "self.a == oldSelf.a", "message": "immutable"}, a=INTEGER)
        assert says(raw, {"a": 1}) == []
        assert says(raw, {"a": 1}, {"a": 1}) == []
        assert says(raw, {"a": 2}, {"a": 1}) == ['spec: Invalid value: "object": immutable']

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

    def test_unchanged_values_are_not_held_against_an_update(self) -> None:
        raw = schema({"rule": "self.a < 3"}, a=INTEGER, b=INTEGER)
        assert says(raw, {"a": 5}, {"a": 5}) == []
        assert len(says(raw, {"a": 5, "b": 1}, {"a": 5})) == 1

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
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["n"],
            }
        )
        old = {"l": [{"n": "a", "v": 2}]}
        assert says(raw, {"l": [{"n": "b", "v": 0}, {"n": "a", "v": 2}]}, old) == []
        assert says(raw, {"l": [{"n": "b", "v": 0}, {"n": "a", "v": 1}]}, old) == [
            'spec.l[1]: Invalid value: "object": grows'
        ]


class TestChecks:
    @pytest.mark.parametrize(
        ("rule", "field", "text"),
        [
            ({"rule": ""}, ".rule", "rule is not specified"),
            ({"rule": "self.a +"}, ".rule", "compilation failed"),
            ({"rule": "self.nope == 1"}, ".rule", "undefined field 'nope'"),
            ({"rule": "nope(self)"}, ".rule", "compilation failed"),
            ({"rule": "1 + 1"}, ".rule", "must evaluate to a bool"),
            ({"rule": "true", "messageExpression": "1"}, ".messageExpression", "must evaluate to a string"),
            ({"rule": "true", "message": "a\nb"}, ".message", "must not contain line breaks"),
            ({"rule": "true\n", "reason": "Odd"}, ".reason", "Unsupported value"),
            ({"rule": "true", "fieldPath": ".nope"}, ".fieldPath", "must be a valid path"),
            ({"rule": "true", "optionalOldSelf": True}, ".optionalOldSelf", "oldSelf is not used"),
        ],
    )
    def test_refused(self, rule: dict[str, Any], field: str, text: str) -> None:
        found = rules.check(schema(rule, a=INTEGER), "s")
        assert [f.field for f in found] == [f"s.properties[spec].{rules.KEY}[0]{field}"]
        assert text in found[0].text

    def test_old_self_needs_a_past(self) -> None:
        item = {"type": "object", "properties": {"v": INTEGER}, rules.KEY: [{"rule": "self == oldSelf"}]}
        found = rules.check(schema(l={"type": "array", "items": item}), "s")
        assert "uncorrelatable portion of the schema within s.properties[spec].properties[l]" in found[0].text
