"""The catalogue as a whole: names are unique, every kind's Struct survives a round trip, every row fits its columns."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakh.apis.catalogue import registry
from lakh.apis.core import RESOURCES
from lakh.apis.definitions import schema
from lakh.apis.registry import Resource
from lakh.machinery.schema import Node
from tests.examples import examples

MAX_DEPTH = 6


def example(node: Node, depth: int = 0) -> Any:
    """A value with every field set, down to a depth."""
    match node.type:
        case "struct":
            if depth > MAX_DEPTH:
                return {}
            return {name: example(child, depth + 1) for name, child in node.fields()}
        case "list":
            return [example(node.element, depth + 1)]
        case "map":
            return {"key": example(node.element, depth + 1)}
        case "integer":
            return 1
        case "number":
            return 1.5
        case "boolean":
            return True
        case "int-or-string":
            return "80%"
        case "any":
            return {"any": ["thing"]}
        case _:
            return "2026-01-01T00:00:00Z" if node.format == "date-time" else "1"


def without_nulls(value: Any) -> Any:
    """A value without the fields that are shown though they are absent."""
    if isinstance(value, dict):
        return {name: without_nulls(child) for name, child in value.items() if child is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("resource", registry().all(), ids=repr)
def test_every_kind_survives_a_round_trip(resource: Resource) -> None:
    plain = example(schema().node(resource.definition))
    struct = schema().struct(resource.definition)
    obj = msgspec.json.decode(msgspec.json.encode(plain), type=struct)
    encoded = msgspec.json.encode(obj)
    assert encoded.startswith(b'{"metadata":{')
    assert without_nulls(msgspec.json.decode(encoded)) == plain
    assert msgspec.json.decode(encoded, type=struct) == obj


@pytest.mark.parametrize("resource", RESOURCES, ids=repr)
def test_every_row_fits_its_columns(resource: Resource) -> None:
    obj = msgspec.convert(
        {"metadata": {"name": "x", "namespace": "default"}}, schema().struct(resource.definition)
    )
    strategy = resource.strategy
    strategy.default(obj)
    strategy.prepare_for_create(obj)
    assert len(strategy.cells(obj, 0.0)) == len(strategy.columns)
    assert isinstance(strategy.validate(obj), list)
    assert all(isinstance(read(obj), str) for read in strategy.selectable_fields.values())


@pytest.mark.parametrize("resource", RESOURCES, ids=repr)
def test_a_full_object_can_be_defaulted_and_validated(resource: Resource) -> None:
    obj = msgspec.convert(example(schema().node(resource.definition)), schema().struct(resource.definition))
    strategy = resource.strategy
    strategy.default(obj)
    once = msgspec.json.encode(obj)
    strategy.default(obj)
    assert msgspec.json.encode(obj) == once
    old = msgspec.json.decode(once, type=schema().struct(resource.definition))
    strategy.prepare_for_create(old)
    strategy.validate(old)
    strategy.prepare_for_update(obj, old)
    strategy.validate_update(obj, old)
    strategy.prepare_for_status_update(obj, old)
    strategy.validate_status_update(obj, old)
    assert len(strategy.cells(old, 0.0)) == len(strategy.columns)


def test_the_core_group_is_complete() -> None:
    assert [r.plural for r in RESOURCES] == [
        "bindings",
        "componentstatuses",
        "configmaps",
        "endpoints",
        "events",
        "limitranges",
        "namespaces",
        "nodes",
        "persistentvolumeclaims",
        "persistentvolumes",
        "pods",
        "podtemplates",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "serviceaccounts",
        "services",
    ]


def test_short_names_are_unique_within_a_group() -> None:
    seen: dict[tuple[str, str, str], str] = {}
    for resource in registry().all():
        for name in (resource.plural, resource.singular, *resource.short_names):
            key = (resource.group, resource.version, name)
            assert seen.setdefault(key, resource.plural) == resource.plural


def test_partitions() -> None:
    own = {r.plural: r.partition for r in RESOURCES if r.partition != "default"}
    assert own == {"events": "events", "nodes": "nodes", "pods": "pods"}


def sparse(node: Node, random: Random, depth: int = 0) -> Any:
    """A value with some fields set, often to odd values: what a careless client may send."""
    match node.type:
        case "struct":
            share = 0.6 if depth < 3 else 0.25
            if depth > 2 * MAX_DEPTH:
                return {}
            return {
                name: sparse(child, random, depth + 1)
                for name, child in node.fields()
                if random.random() < share
            }
        case "list":
            return [sparse(node.element, random, depth + 1) for _ in range(random.randrange(3))]
        case "map":
            return {
                random.choice(["cpu", "a/b", "", "storage"]): sparse(node.element, random, depth + 1)
                for _ in range(random.randrange(3))
            }
        case "integer":
            return random.choice([-1, 0, 1, 80, 2**31 - 1 if node.format == "int32" else 2**40])
        case "number":
            return random.choice([-1.5, 0.0])
        case "boolean":
            return random.random() < 0.5
        case "int-or-string":
            return random.choice([0, 80, "http", "", "50%"])
        case "quantity":
            return random.choice(["1", "x", "", -1, 0.5, "1Gi", "1e99"])
        case "any":
            return {"any": ["thing"]}
        case _:
            return random.choice(
                ["", "a", "A b", "None", "x/y", "::1", "é", "Always", "ClientIP", "2026-01-01T00:00:00Z"]
            )


@pytest.mark.parametrize("resource", RESOURCES, ids=repr)
@settings(max_examples=examples(60))
@given(seed=st.integers(0, 2**32))
def test_whatever_a_client_sends_is_answered(resource: Resource, seed: int) -> None:
    node, struct = schema().node(resource.definition), schema().struct(resource.definition)
    random, strategy = Random(seed), resource.strategy
    new, old = (msgspec.convert({"metadata": {}, **sparse(node, random)}, struct) for _ in range(2))
    strategy.default(old)
    strategy.prepare_for_create(old)
    strategy.validate(old)
    strategy.warnings(old, None)
    strategy.terms(old)
    strategy.grace_period_seconds(old, None)
    strategy.default(new)
    once = msgspec.json.encode(new)
    strategy.default(new)
    assert msgspec.json.encode(new) == once
    status = msgspec.json.decode(once, type=struct)
    strategy.prepare_for_update(new, old)
    strategy.validate_update(new, old)
    strategy.prepare_for_status_update(status, old)
    strategy.validate_status_update(status, old)
    for obj in (new, old, status):
        assert len(strategy.cells(obj, 0.0)) == len(strategy.columns)
        assert all(isinstance(read(obj), str) for read in strategy.selectable_fields.values())
        msgspec.json.encode(strategy.cells(obj, 0.0))
