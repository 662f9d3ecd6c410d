"""Structural schemas: pruning, defaults, validation, field ownership."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery import fieldset, structural_validation
from lakh.machinery.schema import Schema
from lakh.machinery.structural import Structural

METADATA = Schema(
    {"meta": {"type": "object", "properties": {"name": {"type": "string"}}}}, "tests._structural"
).node("meta")
STRING = {"type": "string"}
INTEGER = {"type": "integer"}
FREE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
UNION = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}


def spec(**properties: Any) -> Structural:
    """A schema whose spec has these properties."""
    below = {"type": "object", "properties": properties}
    return Structural({"type": "object", "properties": {"spec": below}}, METADATA)


def wrong(schema: Structural, **values: Any) -> list[str]:
    """What is wrong with a spec of these values."""
    return [str(f) for f in schema.validate({"spec": values})]


class TestPruning:
    def test_unknown_fields_are_named_and_dropped(self) -> None:
        items = {"type": "array", "items": {"type": "object", "properties": {"a": STRING}}}
        schema = spec(known=STRING, items=items)
        obj = {"x": 1, "spec": {"known": "a", "y": 2, "items": [{"a": "b", "z": 3}]}}
        assert schema.prune(obj) == [
            'unknown field "x"',
            'unknown field "spec.y"',
            'unknown field "spec.items[0].z"',
        ]
        assert obj == {"spec": {"known": "a", "items": [{"a": "b"}]}}
        assert schema.prune(obj) == []

    def test_type_and_metadata_stay(self) -> None:
        obj = {"apiVersion": "a/v1", "kind": "B", "metadata": {"odd": 1}}
        assert spec().prune(obj) == []

    def test_what_is_open_stays(self) -> None:
        schema = spec(
            free=FREE,
            half={**FREE, "properties": {"a": {"type": "object", "properties": {"b": STRING}}}},
            values={"type": "object", "additionalProperties": True},
            embedded={"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": FREE}},
        )
        obj = {
            "spec": {
                "free": {"x": {"y": 1}},
                "half": {"other": 1, "a": {"b": "c", "gone": 1}},
                "values": {"k": {"v": 1}},
                "embedded": {"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}, "gone": 1},
            }
        }
        assert schema.prune(obj) == ['unknown field "spec.half.a.gone"', 'unknown field "spec.embedded.gone"']

    def test_values_of_the_wrong_type_are_left_to_validation(self) -> None:
        obj = {"spec": {"a": ["x"]}}
        assert spec(a={"type": "object", "properties": {"b": STRING}}).prune(obj) == []


class TestDefaults:
    def test_absent_fields(self) -> None:
        schema = spec(
            n={**INTEGER, "default": 3},
            deep={"type": "object", "default": {}, "properties": {"m": {**STRING, "default": "x"}}},
            items={
                "type": "array",
                "items": {"type": "object", "properties": {"p": {**STRING, "default": "TCP"}}},
            },
            values={
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "properties": {"q": {"type": "boolean", "default": True}},
                },
            },
        )
        obj: dict[str, Any] = {"spec": {"items": [{}, {"p": "UDP"}], "values": {"a": {}}}}
        schema.default(obj)
        assert obj["spec"] == {
            "n": 3,
            "deep": {"m": "x"},
            "items": [{"p": "TCP"}, {"p": "UDP"}],
            "values": {"a": {"q": True}},
        }

    def test_nulls(self) -> None:
        schema = spec(
            a={**INTEGER, "default": 3},
            b=INTEGER,
            c={**INTEGER, "nullable": True},
            d={**INTEGER, "nullable": True, "default": 1},
            e={"x-kubernetes-preserve-unknown-fields": True},
            m={"type": "object", "additionalProperties": {"x-kubernetes-preserve-unknown-fields": True}},
            f={"type": "object", "additionalProperties": True},
            l={"type": "array", "items": INTEGER},
        )
        nulls = dict.fromkeys("abcde")
        obj: dict[str, Any] = {"spec": {**nulls, "m": {"x": None}, "f": {"x": None}, "l": [None]}}
        schema.default(obj)
        # What has no schema at all is left alone, and lists keep their length.
        assert obj["spec"] == {"a": 3, "c": None, "d": None, "m": {}, "f": {"x": None}, "l": [None]}

    def test_defaults_are_copies(self) -> None:
        schema = spec(
            a={"type": "object", "default": {"b": []}, "x-kubernetes-preserve-unknown-fields": True}
        )
        first: dict[str, Any] = {"spec": {}}
        schema.default(first)
        first["spec"]["a"]["b"].append(1)
        second: dict[str, Any] = {"spec": {}}
        schema.default(second)
        assert second == {"spec": {"a": {"b": []}}}


class TestValidation:
    @pytest.mark.parametrize(
        ("rule", "value", "message"),
        [
            (INTEGER, "1", 'Invalid value: "string": spec.v in body must be of type integer: "string"'),
            (INTEGER, 1.5, 'Invalid value: "number": spec.v in body must be of type integer: "number"'),
            (STRING, None, 'Invalid value: "null": spec.v in body must be of type string: "null"'),
            ({**STRING, "enum": ["b", "a"]}, "c", 'Unsupported value: "c": supported values: "b", "a"'),
            (
                {**STRING, "pattern": "^a+$"},
                "ab",
                "Invalid value: \"ab\": spec.v in body should match '^a+$'",
            ),
            ({**STRING, "maxLength": 2}, "abc", "Too long: may not be more than 2 bytes"),
            (
                {**STRING, "minLength": 2},
                "a",
                'Invalid value: "a": spec.v in body should be at least 2 chars long',
            ),
            (
                {**INTEGER, "minimum": 3},
                2,
                "Invalid value: 2: spec.v in body should be greater than or equal to 3",
            ),
            (
                {**INTEGER, "maximum": 3, "exclusiveMaximum": True},
                3,
                "Invalid value: 3: spec.v in body should be less than 3",
            ),
            ({**INTEGER, "multipleOf": 4}, 6, "Invalid value: 6: spec.v in body should be a multiple of 4"),
            (
                {**STRING, "format": "date-time"},
                "x",
                'Invalid value: "x": spec.v in body must be of type date-time: "x"',
            ),
            (
                {"type": "array", "items": STRING, "maxItems": 1},
                ["a", "b"],
                "Too many: 2: must have at most 1 items",
            ),
            (
                {"type": "array", "items": STRING, "minItems": 1},
                [],
                "Invalid value: 0: spec.v in body should have at least 1 items",
            ),
            ({**FREE, "maxProperties": 0}, {"a": 1}, "Too many: 1: must have at most 0 items"),
            (
                {**FREE, "not": {"required": ["a"]}},
                {"a": 1},
                'Invalid value: "": "spec.v" must not validate the schema (not)',
            ),
            (
                {**FREE, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
                {"a": 1, "b": 1},
                'Invalid value: "": "spec.v" must validate one and only one schema (oneOf). Found 2 valid alternatives',
            ),
            (
                UNION,
                1.5,
                'Invalid value: "number": spec.v in body must be of type integer or string: "number"',
            ),
        ],
    )
    def test_messages(self, rule: dict[str, Any], value: Any, message: str) -> None:
        assert wrong(spec(v=rule), v=value) == [f"spec.v: {message}"]

    def test_alternatives_say_what_comes_closest(self) -> None:
        rule = {**FREE, "anyOf": [{"required": ["a"]}, {"required": ["b", "c"]}]}
        assert wrong(spec(v=rule), v={}) == [
            'spec.v: Invalid value: "": "spec.v" must validate at least one schema (anyOf)',
            "spec.v.a: Required value",
        ]

    def test_required(self) -> None:
        schema = Structural({"type": "object", "required": ["spec"]}, METADATA)
        assert [str(f) for f in schema.validate({})] == ["spec: Required value"]

    def test_lists_with_keys_and_sets(self) -> None:
        item = {"type": "object", "properties": {"n": STRING, "v": INTEGER}}
        keyed = {
            "type": "array",
            "items": item,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["n"],
        }
        members = {"type": "array", "items": STRING, "x-kubernetes-list-type": "set"}
        schema = spec(keyed=keyed, members=members)
        assert wrong(schema, keyed=[{"n": "a"}, {"n": "a", "v": 2}], members=["x", "y", "x"]) == [
            'spec.keyed[1]: Duplicate value: {"n":"a"}',
            'spec.members[2]: Duplicate value: "x"',
        ]

    def test_embedded_resources_say_what_they_are(self) -> None:
        schema = spec(e={**FREE, "x-kubernetes-embedded-resource": True})
        assert wrong(schema, e={"kind": "A"}) == ["spec.e.apiVersion: Required value: must not be empty"]

    def test_what_an_update_leaves_alone_is_not_held_against_it(self) -> None:
        schema = spec(a={**INTEGER, "maximum": 1}, b={**INTEGER, "maximum": 1})
        old = {"spec": {"a": 5, "b": 0}}
        assert schema.validate({"spec": {"a": 5, "b": 1}}, old) == []
        assert [f.field for f in schema.validate({"spec": {"a": 6, "b": 1}}, old)] == ["spec.a"]

    def test_items_of_list_maps_have_a_past(self) -> None:
        item = {"type": "object", "properties": {"n": STRING, "v": {**INTEGER, "maximum": 1}}}
        keyed = {
            "type": "array",
            "items": item,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["n"],
        }
        schema = spec(l=keyed)
        old = {"spec": {"l": [{"n": "a", "v": 9}]}}
        assert schema.validate({"spec": {"l": [{"n": "b", "v": 1}, {"n": "a", "v": 9}]}}, old) == []


SCHEMAS = st.recursive(
    st.sampled_from(
        [
            STRING,
            INTEGER,
            UNION,
            {"type": "boolean"},
            {"type": "number", "minimum": 0, "nullable": True},
            {**STRING, "maxLength": 1},
            {**STRING, "enum": ["a", "b"]},
            {**INTEGER, "maximum": 1, "exclusiveMaximum": True},
            {**STRING, "pattern": "^a?$", "format": "uuid"},
            {"x-kubernetes-preserve-unknown-fields": True},
        ]
    ),
    lambda below: st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(st.sampled_from("abc"), below)},
            optional={
                "required": st.lists(st.sampled_from("abc"), max_size=1),
                "maxProperties": st.just(1),
                "anyOf": st.just([{"required": ["a"]}, {"properties": {"b": {"enum": [1, "a"]}}}]),
                "oneOf": st.just([{"required": ["a"]}, {"required": ["b"]}]),
                "allOf": st.just([{"minProperties": 1}]),
                "not": st.just({"required": ["c"]}),
            },
        ),
        st.fixed_dictionaries(
            {"type": st.just("array"), "items": below},
            optional={"x-kubernetes-list-type": st.sampled_from(["set", "atomic"]), "maxItems": st.just(2)},
        ),
        st.fixed_dictionaries({"type": st.just("object"), "additionalProperties": below}),
    ),
    max_leaves=6,
)
VALUES = st.recursive(
    st.sampled_from([None, True, 0, 1, 2, 1.5, -1.0, "", "a", "b", "ab"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("abcd"), below, max_size=3),
    max_leaves=8,
)


class TestInvariants:
    @given(SCHEMAS, VALUES)
    def test_the_fast_check_and_the_slow_one_agree(self, raw: dict[str, Any], value: Any) -> None:
        check = structural_validation.compile_check(raw)
        assert (check is None or check(value)) == (not structural_validation.findings(value, raw))

    @given(SCHEMAS, VALUES)
    def test_pruning_and_defaulting_are_idempotent(self, raw: dict[str, Any], value: Any) -> None:
        schema = spec(v=raw)
        obj = {"spec": {"v": value}}
        schema.prune(obj)
        assert schema.prune(obj) == []
        schema.default(obj)
        once = repr(obj)
        schema.default(obj)
        assert repr(obj) == once


def test_field_ownership() -> None:
    item = {"type": "object", "properties": {"n": STRING}}
    schema = spec(
        keyed={
            "type": "array",
            "items": item,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["n"],
        },
        members={"type": "array", "items": STRING, "x-kubernetes-list-type": "set"},
        whole={"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": STRING}},
        plain={"type": "array", "items": STRING},
        free=FREE,
    )
    obj = {
        "spec": {
            "keyed": [{"n": "a"}],
            "members": ["x"],
            "whole": {"a": "b"},
            "plain": ["y"],
            "free": {"q": {"r": 1}, "s": [1]},
        }
    }
    assert fieldset.of(obj, schema.node) == {
        "f:spec": {
            "f:keyed": {'k:{"n":"a"}': {".": {}, "f:n": {}}},
            "f:members": {'v:"x"': {}},
            "f:whole": {},
            "f:plain": {},
            "f:free": {"f:q": {"f:r": {}}, "f:s": {}},
        }
    }


def test_the_past_of_items_is_found_by_their_keys() -> None:
    raw = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"]}
    old = [{"a": 1, "b": "x", "v": 1}, {"a": 1, "v": 2}, {"a": 1, "b": "x", "v": 3}, "odd"]
    past = structural_validation.correlator(raw, old)
    assert past({"b": "x", "a": 1}) is old[0]
    assert past({"a": 1, "b": None}) is old[1]
    for item in ({"a": 2}, "odd", None):
        assert structural_validation.is_missing(past(item))
    for other in (structural_validation.correlator({}, old), structural_validation.correlator(raw, None)):
        assert structural_validation.is_missing(other(old[0]))
