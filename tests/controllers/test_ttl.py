"""The annotation that says how long kubelets may keep what they have read; numbers are those of upstream's ttl_controller_test.go."""

from __future__ import annotations

import pytest
from fake_client import FakeClient, drain, make_context
from hypothesis import given
from hypothesis import strategies as st

from lakh.client.resources import NODES
from lakh.controllers.ttl import ANNOTATION, BOUNDARIES, TTLController, step


@pytest.mark.parametrize(
    ("before", "nodes", "after"),
    [
        (0, 0, 0),
        (0, 99, 0),
        (0, 100, 0),
        (0, 101, 1),
        (1, 91, 1),
        (1, 90, 1),
        (1, 89, 0),
        (1, 500, 1),
        (1, 501, 2),
        (2, 450, 2),
        (2, 449, 1),
        (0, 100_000, 4),
        (4, 1, 0),
    ],
)
def test_sizes(before: int, nodes: int, after: int) -> None:
    assert step(before, nodes) == after


@given(st.integers(0, len(BOUNDARIES) - 1), st.integers(0, 200_000))
def test_the_boundary_holds_and_stays(before: int, nodes: int) -> None:
    found = step(before, nodes)
    least, most, _ = BOUNDARIES[found]
    assert least <= nodes <= most
    assert step(found, nodes) == found


def annotations(client: FakeClient) -> dict[str, str | None]:
    return {
        n["metadata"]["name"]: n["metadata"].get("annotations", {}).get(ANNOTATION) for n in client.all(NODES)
    }


async def test_nodes_are_annotated(client: FakeClient) -> None:
    controller = TTLController(make_context(client))
    client.put(NODES, {"metadata": {"name": "new"}})
    client.put(NODES, {"metadata": {"name": "wrong", "annotations": {ANNOTATION: "x", "other": "kept"}}})
    client.put(NODES, {"metadata": {"name": "right", "annotations": {ANNOTATION: "0"}}})
    await drain(controller)
    assert annotations(client) == {"new": "0", "wrong": "0", "right": "0"}
    assert client.one(NODES, "wrong")["metadata"]["annotations"]["other"] == "kept"
    assert [r for r in client.requests if r[0] == "patch"] == [
        ("patch", "nodes", "new"),
        ("patch", "nodes", "wrong"),
    ]


async def test_a_new_size_is_told_with_a_nodes_next_event(client: FakeClient) -> None:
    controller = TTLController(make_context(client))
    for number in range(101):
        client.put(NODES, {"metadata": {"name": f"n{number:03}", "annotations": {ANNOTATION: "0"}}})
    await drain(controller)
    assert annotations(client) == {f"n{n:03}": "15" if n == 100 else "0" for n in range(101)}
    client.change(NODES, "n000", {"metadata": {"labels": {"a": "b"}}}, None)
    await drain(controller)
    assert annotations(client)["n000"] == "15"
