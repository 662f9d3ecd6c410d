"""Whatever a client sends that decodes, every strategy answers with findings: no object makes one crash.

Objects are drawn from the schema with a seed: each field is there or not, texts are often empty, lists short.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from lakh.apis.definitions import schema
from lakh.apis.groups import RESOURCES
from lakh.apis.registry import Resource
from lakh.machinery.schema import Node

OBJECTS = 150
MAX_DEPTH = 7
TEXTS = (
    "",
    "a",
    "a/b",
    "In",
    "Exists",
    "Resource",
    "Object",
    "Indexed",
    "Limited",
    "Queue",
    "IPv4",
    "10.0.0.0/8",
    "1%",
)
TIME = "2026-01-01T00:00:00Z"


def draw(node: Node, random_: random.Random, depth: int = 0) -> Any:
    match node.type:
        case "struct":
            return {
                name: draw(field, random_, depth + 1)
                for name, field in node.fields()
                if name not in ("apiVersion", "kind", "metadata") and depth < MAX_DEPTH
                if random_.random() < 0.6
            }
        case "map":
            return {text: draw(node.element, random_, depth + 1) for text in TEXTS[: random_.randrange(3)]}
        case "list":
            return [draw(node.element, random_, depth + 1) for _ in range(random_.randrange(3))]
        case "integer":
            return random_.choice((-1, 0, 1, 7, 200_000))
        case "number":
            return 0.5
        case "boolean":
            return random_.random() < 0.5
        case "quantity":
            return random_.choice(("1", "1Gi", "x", 3, -2))
        case "int-or-string":
            return random_.choice((0, 1, "25%", "x", -1))
        case "string":
            return TIME if "Time" in (node.definition or "") else random_.choice(TEXTS)
        case _:
            return random_.choice(({}, {"a": 1}, "x", None))


@pytest.mark.parametrize("resource", RESOURCES, ids=repr)
def test_no_object_crashes_a_strategy(resource: Resource) -> None:
    random_ = random.Random(resource.plural)
    node, struct = schema().node(resource.definition), schema().struct(resource.definition)
    strategy = resource.strategy
    before = None
    for _ in range(OBJECTS):
        plain = draw(node, random_) | {
            "metadata": {"name": random_.choice(("x", "a.b", "system-x")), "uid": "u"}
        }
        obj = msgspec.convert(plain, struct)
        strategy.default(obj)
        again = msgspec.convert(msgspec.to_builtins(obj), struct)
        strategy.default(again)
        assert again == obj
        status = msgspec.convert(msgspec.to_builtins(obj), struct)
        strategy.cells(obj, 2e9)
        strategy.prepare_for_create(obj)
        msgspec.convert(msgspec.to_builtins(obj), struct)
        strategy.validate(obj)
        strategy.warnings(obj, None)
        strategy.terms(obj)
        for read in strategy.selectable_fields.values():
            assert isinstance(read(obj), str)
        if before is not None and resource.verbs != ("create",):
            strategy.prepare_for_update(again, before)
            strategy.validate_update(again, before)
            if strategy.has_status:
                strategy.prepare_for_status_update(status, before)
                strategy.validate_status_update(status, before)
        if resource.to_stored is not None and resource.from_stored is not None:
            resource.from_stored(resource.to_stored(msgspec.to_builtins(obj)))
        before = obj
