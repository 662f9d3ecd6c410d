"""What the patch of a Struct shares, and what it leaves to the plain merge; that both agree is in tests/server/test_patches.py."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lakh.apis.definitions import schema
from lakh.machinery.structpatch import UnusualPatchError, merged

POD = "io.k8s.api.core.v1.Pod"
STRUCT, NODE = schema().struct(POD), schema().node(POD)


def patched(pod: dict[str, Any], patch: dict[str, Any], *, strategic: bool = True) -> tuple[Any, Any]:
    old = msgspec.convert(pod, STRUCT)
    sent = msgspec.convert(patch, STRUCT)
    return old, merged(old, sent, patch, NODE, strategic=strategic)


def test_conditions_are_merged_by_type_and_the_others_shared() -> None:
    conditions = [{"type": t, "status": "False"} for t in ("A", "B", "C")]
    old, new = patched(
        {"metadata": {"name": "p"}, "status": {"phase": "Pending", "conditions": conditions}},
        {"status": {"phase": None, "conditions": [{"type": "B", "status": "True"}, {"type": "D"}]}},
    )
    assert [(c.type, c.status) for c in new.status.conditions] == [
        ("A", "False"),
        ("B", "True"),
        ("D", None),
        ("C", "False"),
    ]
    assert new.status.conditions[0] is old.status.conditions[0]
    assert new.status.phase is None
    assert new.metadata is old.metadata
    assert [c.status for c in old.status.conditions] == ["False"] * 3


def test_merge_patches_replace_lists_and_merge_maps() -> None:
    _, new = patched(
        {"metadata": {"labels": {"a": "1", "b": "2"}}, "status": {"conditions": [{"type": "A"}]}},
        {"metadata": {"labels": {"b": "3"}}, "status": {"conditions": [{"type": "B"}]}},
        strategic=False,
    )
    assert new.metadata.labels == {"a": "1", "b": "3"}
    assert [c.type for c in new.status.conditions] == ["B"]


@pytest.mark.parametrize(
    ("pod", "patch"),
    [
        ({"metadata": {"finalizers": ["a"]}}, {"metadata": {"finalizers": ["b"]}}),
        ({"status": {"conditions": [{"type": "A"}]}}, {"status": {"conditions": [{"status": "True"}]}}),
        (
            {"status": {"conditions": [{"type": "A"}, {"type": "A"}]}},
            {"status": {"conditions": [{"type": "A"}]}},
        ),
    ],
)
def test_what_is_unusual_is_left_to_the_plain_merge(pod: dict[str, Any], patch: dict[str, Any]) -> None:
    with pytest.raises(UnusualPatchError):
        patched(pod, patch)
