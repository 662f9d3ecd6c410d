"""Patches of every kind: Structs are merged as plain JSON is, and what is stored is not touched by what is then done to the result."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from lakh.apis.catalogue import registry
from lakh.apis.registry import Strategy
from lakh.machinery import mergepatch, strategic
from lakh.machinery.errors import StatusError
from lakh.machinery.schema import Node
from lakh.machinery.structpatch import UnusualPatchError
from lakh.server.codec import Codec, codec_of

CODECS = [c for r in registry().all() if (c := codec_of(r)).parts is not None]
WORDS = ("a", "b", "TCP", "True", "")
SCALARS: dict[str, tuple[Any, ...]] = {
    "integer": (0, 1, 2),
    "number": (0.5, 1),
    "boolean": (True, False),
    "quantity": ("1", "2Gi", "100m", 3),
    "int-or-string": (1, "50%"),
    "any": ({}, {"a": {"b": None}}, [1]),
    "string": WORDS,
}
FORMS = {
    "date-time": ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"),
    "byte": ("QQ==", ""),
}


def drawn(node: Node, random: Random, depth: int, share: float, nulls: float) -> Any:
    """A value of a schema, with this share of its fields; `nulls` of what is in it is null."""
    if random.random() < nulls:
        return None
    if node.type == "struct":
        return {
            name: drawn(child, random, depth - 1, share, nulls)
            for name, child in node.fields()
            if depth > 0 and name != "managedFields" and random.random() < share
        }
    if node.type == "map":
        names = random.sample(WORDS, random.randint(0, 2))
        return {name: drawn(node.element, random, depth - 1, share, nulls / 4) for name in names}
    if node.type == "list":
        items = [
            drawn(node.element, random, depth - 1, share, nulls / 4) for _ in range(random.randint(0, 3))
        ]
        if node.merge_key and node.element.type == "struct" and random.random() < 0.9:
            # As in most lists, each key once.
            keys = random.sample(WORDS[:-1], len(items))
            is_text = getattr(node.element.field(node.merge_key), "type", "") == "string"
            return [
                {**(item or {}), node.merge_key: key if is_text else place}
                for place, (item, key) in enumerate(zip(items, keys, strict=True))
            ]
        return items
    if node.definition is not None and node.definition.endswith(".MicroTime"):
        return "2026-01-01T00:00:00.000001Z"
    return random.choice(FORMS.get(node.format or "", SCALARS[node.type]))


def stored(codec: Codec, plain: dict[str, Any]) -> Any:
    """An object as it is at rest: another update would leave it alone."""
    plain = {"metadata": {}, **{name: plain[name] for name in plain if name in (codec.parts or ())}}
    obj = msgspec.convert(plain, codec.struct)
    strategy: Strategy = codec.resource.strategy
    for prepare in (strategy.prepare_for_status_update, strategy.prepare_for_update):
        strategy.default(obj)
        prepare(obj, copied(codec, obj))
    strategy.default(obj)
    return copied(codec, obj)


def copied(codec: Codec, obj: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(obj), type=codec.struct)


def written(codec: Codec, new: Any, old: Any, subresource: str) -> tuple[bytes, bytes, list[str], str]:
    """What an update makes of both objects, what it says and how it fails."""
    strategy: Strategy = codec.resource.strategy
    found: list[str] = []
    failure = ""
    try:
        strategy.default(new)
        if subresource:
            strategy.prepare_for_status_update(new, old)
            found = list(map(str, strategy.validate_status_update(new, old)))
        else:
            strategy.prepare_for_update(new, old)
            found = list(map(str, strategy.validate_update(new, old)))
    except Exception as e:  # objects that make no sense; what matters is that both ways end alike
        failure = repr(e)
    return msgspec.json.encode(new), msgspec.json.encode(old), found, failure


@given(
    st.sampled_from(CODECS),
    st.randoms(use_true_random=False),
    st.booleans(),
    st.sampled_from(("", "status")),
)
def test_structs_are_merged_as_plain_json(
    codec: Codec, random: Random, by_schema: bool, subresource: str
) -> None:
    try:
        old = stored(codec, drawn(codec.node, random, 6, random.choice((0.2, 0.4)), 0.0))
    except (AttributeError, TypeError, ValueError, msgspec.ValidationError, StatusError):
        assume(False)
    share = random.choice((0.1, 0.3, 0.6))
    whole = drawn(codec.node, random, random.randint(2, 5), share, 0.1) or {}
    patch = {name: value for name, value in whole.items() if name in (codec.parts or ())}
    assume(patch.get("metadata", patch) is not None)
    before = msgspec.json.encode(old)
    try:
        new = codec.merged_structs(old, msgspec.json.encode(patch), patch, strategic=by_schema)
    except (UnusualPatchError, msgspec.MsgspecError):
        assume(False)
    assert msgspec.json.encode(old) == before

    twin = copied(codec, old)
    plain = msgspec.to_builtins(twin)
    plain = strategic.apply(plain, patch, codec.node) if by_schema else mergepatch.apply(plain, patch)
    expected = msgspec.convert(plain, codec.struct)
    assert msgspec.json.encode(new) == msgspec.json.encode(expected)

    # What the result shares with what is stored is not changed by what follows.
    if "metadata" not in patch:
        new.metadata = copy.copy(old.metadata)
    assert written(codec, new, old, subresource) == written(codec, expected, twin, subresource)
