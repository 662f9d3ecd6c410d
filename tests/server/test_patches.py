"""Patches to parts of an object: the same as patches to the whole of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.catalogue import registry
from lakh.machinery import strategic
from lakh.machinery.errors import StatusError
from lakh.server.authn import User
from lakh.server.codec import codec_of
from lakh.server.context import Context
from lakh.server.patches import (
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    change_of,
    patched_object,
    patched_parts,
)

PODS = registry().get("", "v1", "pods")
assert PODS is not None
CODEC = codec_of(PODS)
STORE: Any = type("Store", (), {"codec": CODEC})

texts = st.sampled_from(("a", "b", "c"))
maybe = st.none() | texts
conditions = st.lists(
    st.fixed_dictionaries(
        {"type": texts},
        optional={"status": maybe, "reason": maybe, "$patch": st.sampled_from(("delete", "replace"))},
    ),
    max_size=4,
)
stored_conditions = st.lists(
    st.fixed_dictionaries({"type": texts, "status": texts}, optional={"reason": texts}),
    max_size=3,
    unique_by=lambda c: c["type"],
)
names = st.dictionaries(texts, texts, min_size=1, max_size=3)
pods = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"name": st.just("p"), "uid": st.just("u")},
            optional={
                "labels": names,
                "annotations": names,
                "finalizers": st.lists(texts, min_size=1, unique=True),
            },
        ),
        "spec": st.just({"containers": [{"name": "c", "image": "i"}]}),
    },
    optional={
        "status": st.fixed_dictionaries({}, optional={"phase": texts, "conditions": stored_conditions}),
    },
)
patches = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "labels": st.none() | st.dictionaries(texts, maybe, max_size=3),
                "uid": texts,
                "$deleteFromPrimitiveList/finalizers": st.lists(texts, max_size=2),
                "finalizers": st.none() | st.lists(texts, max_size=2),
                "wrong": texts,
            },
        ),
        "spec": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "nodeName": maybe,
                "containers": st.just([{"name": "c", "image": "j"}]),
                "hostname": st.just(1),
            },
        ),
        "status": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "phase": maybe,
                "conditions": st.none() | conditions,
                "$setElementOrder/conditions": st.lists(st.fixed_dictionaries({"type": texts}), max_size=3),
                "$retainKeys": st.lists(st.sampled_from(("phase", "conditions")), max_size=2),
                "$patch": st.sampled_from(("replace", "delete", "nonsense")),
            },
        ),
        "kind": texts,
        "$retainKeys": st.just(["status"]),
    },
)


def whole(kind: str, patch: Any, old: Any) -> Any:
    """The patch applied to all of the object."""
    body = msgspec.json.encode(patch)
    plain = change_of(kind, patch, STORE)(CODEC.to_plain(old))
    new = patched_object(kind, body, plain, CODEC, Context(User("u")), [])
    new.apiVersion = new.kind = None
    return new


def outcome(work: Callable[[], Any]) -> tuple[Any, bytes]:
    """What it gives, and the refusal."""
    try:
        return work(), b""
    except StatusError as error:
        return None, error.encode()


@given(pods, patches, st.sampled_from((MERGE_PATCH, STRATEGIC_PATCH)))
def test_parts_are_as_the_whole(pod: dict[str, Any], patch: dict[str, Any], kind: str) -> None:
    old = msgspec.convert(pod, CODEC.struct)
    untouched = msgspec.json.encode(old)
    expected, refused = outcome(lambda: whole(kind, patch, old))
    found, refused_too = outcome(
        lambda: patched_parts(
            kind, msgspec.json.encode(patch), patch, old, CODEC, change_of(kind, patch, STORE)
        )
    )
    if refused:
        # In the same words, or left to the whole.
        assert found is None
        assert refused_too in (b"", refused)
        return
    assert not refused_too
    if found is not None:
        assert found == expected
        assert msgspec.json.encode(found) == msgspec.json.encode(expected)
        assert found.metadata is not old.metadata
    assert msgspec.json.encode(old) == untouched


def test_parts_that_are_not_named_are_shared() -> None:
    old = msgspec.convert({"metadata": {"name": "p"}, "spec": {"nodeName": "n"}}, CODEC.struct)
    patch = {"metadata": {"labels": {"a": "b"}}}
    new = patched_parts(
        MERGE_PATCH, msgspec.json.encode(patch), patch, old, CODEC, change_of(MERGE_PATCH, patch, STORE)
    )
    assert new.spec is old.spec
    assert new.metadata.labels == {"a": "b"}


@pytest.mark.parametrize(
    "patch", [{"kind": "Pod"}, {"$patch": "replace"}, {"spec": {"wrong": 1}}, {"wrong": {}}]
)
def test_what_is_left_to_the_whole(patch: dict[str, Any]) -> None:
    old = msgspec.convert({"metadata": {"name": "p"}, "spec": {}}, CODEC.struct)
    for kind in (MERGE_PATCH, STRATEGIC_PATCH):
        assert (
            patched_parts(kind, msgspec.json.encode(patch), patch, old, CODEC, change_of(kind, patch, STORE))
            is None
        )
    assert patched_parts(JSON_PATCH, b"[]", [], old, CODEC, change_of(JSON_PATCH, [], STORE)) is None


@given(stored_conditions, conditions)
def test_lists_by_key_are_merged_the_usual_way_as_any_other(before: list[Any], patch: list[Any]) -> None:
    node = CODEC.node.field("status")
    assert node is not None
    node = node.field("conditions")
    assert node is not None and node.merge_key == "type"
    found = strategic._merge_keyed(before, patch, "type", node)
    if found is None:
        return
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(strategic, "_merge_keyed", lambda *arguments: None)
        assert found == strategic._merge_list(before, patch, node)
