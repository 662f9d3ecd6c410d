"""The search: agrees with trying every order, on small random histories."""

from __future__ import annotations

import itertools
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from .history import OK, REFUSED, UNKNOWN, Operation
from .linearizability import IMPOSSIBLE, Present, Step, linearize, step


def test_steps_of_the_model() -> None:
    here = Present(5, "u")
    create = Operation(1, "create", "r", "n/a", 0, 1, OK, revision=6, uid="w")
    assert step(None, create) == Present(6, "w")
    assert step(here, create) is IMPOSSIBLE
    update = Operation(1, "update", "r", "n/a", 0, 1, OK, expect=5, revision=6, uid="u")
    assert step(here, update) == Present(6, "u")
    assert step(Present(4, "u"), update) is IMPOSSIBLE
    assert step(None, update) is IMPOSSIBLE
    conflict = Operation(1, "update", "r", "n/a", 0, 1, REFUSED, 409, expect=5)
    assert step(here, conflict) is IMPOSSIBLE
    assert step(Present(6, "u"), conflict) == Present(6, "u")
    delete = Operation(1, "delete", "r", "n/a", 0, 1, OK, uid="u")
    assert step(here, delete) is None
    assert step(Present(7, "w"), delete) is IMPOSSIBLE
    full = Operation(1, "patch", "r", "n/a", 0, 1, REFUSED, 507)
    assert step(here, full) == here
    assert step(None, full) is None


def every_order(steps: list[Step]) -> bool:
    """Whether any order of any subset that keeps the needed ones explains everything."""
    for count in range(len(steps) + 1):
        for order in itertools.permutations(steps, count):
            if any(not item.optional and item not in order for item in steps):
                continue
            if any(b.end < a.call for i, a in enumerate(order) for b in order[i + 1 :]):
                continue
            state = None
            for item in order:
                state = step(state, item.operation)  # type: ignore[arg-type,assignment]
                if state is IMPOSSIBLE:
                    break
            if state is not IMPOSSIBLE:
                return True
    return False


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    steps = []
    for client in range(draw(st.integers(1, 5))):
        verb = draw(st.sampled_from(("create", "update", "patch", "delete", "get")))
        call = draw(st.integers(0, 8))
        end = call + draw(st.integers(0, 5)) + 0.5
        outcome = draw(st.sampled_from((OK, OK, REFUSED, UNKNOWN)))
        op = Operation(client, verb, "r", "n/a", call, end, outcome, uid="u")
        op.revision = draw(st.integers(1, 4))
        if verb == "update":
            op.expect = draw(st.integers(1, 3))
        if outcome == REFUSED:
            op.code = draw(st.sampled_from((404, 409, 507)))
        optional = outcome == UNKNOWN
        steps.append(Step(op, call, inf if optional else end, optional))
    return steps


@given(histories())
def test_the_search_agrees_with_trying_everything(steps: list[Step]) -> None:
    order = linearize(steps)
    assert (order is not None) == every_order(steps)
    if order is not None:
        state = None
        for op in order:
            state = step(state, op)  # type: ignore[arg-type,assignment]
            assert state is not IMPOSSIBLE


def test_a_long_history_is_searched_in_no_time() -> None:
    """Eight clients overlap all the time; unknown writes that nobody has seen make it no harder than it is."""
    steps = []
    revision = 0
    for number in range(600):
        at = number * 0.1
        verb = "create" if number == 0 else "patch" if number % 2 else "get"
        if verb != "get":
            revision = number + 1
        op = Operation(number % 8, verb, "r", "n/a", at - 0.35, at + 0.35, OK, revision=revision, uid="u")
        steps.append(Step(op, op.call, op.end, False))
    assert linearize(steps) is not None
    steps[301].operation.revision = 2
    assert linearize(steps) is None
