"""One object's model, and the search for an order of its operations that explains what the clients saw.

The model is a register with versions: the object is absent, or present with a revision and a uid. Every
operation either changes it or says something about it; `step` tells what the object is after the operation, or
that it cannot have happened there.

The search is Wing and Gong's with Lowe's memory: take any operation that was called before the first pending
answer, apply it if the model allows, go on; back out when stuck; never visit the same (operations done, state)
twice. Operations with unknown outcome may be taken at any time after their call, or never. Values are unique and
answers carry revisions, so almost every step is forced and the search is close to linear.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import NamedTuple

from .history import OK, UNKNOWN, Operation

MAX_VISITS = 400_000
"""More configurations than this for one object is a bug of the harness: it raises."""


class Present(NamedTuple):
    """An object as the model holds it."""

    revision: float
    uid: str


State = Present | None


class Step(NamedTuple):
    """An operation as the search sees it. `optional`: it may never have happened."""

    operation: Operation
    call: float
    end: float
    optional: bool


class TooHard(Exception):
    """The search was given up."""


IMPOSSIBLE = object()
ANY_UID = "unknown"
"""Of an object whose creation nobody has seen."""
UNSEEN = 2.0**-20
"""What an update that nobody has seen adds to the revision."""


def step(state: State, op: Operation) -> State | object:
    """The state after an operation, or IMPOSSIBLE."""
    if op.outcome == OK:
        return _acknowledged(state, op)
    if op.outcome == UNKNOWN:
        return _unknown(state, op)
    return state if _explains(state, op) else IMPOSSIBLE


def _acknowledged(state: State, op: Operation) -> State | object:
    match op.verb:
        case "create":
            return Present(op.revision, op.uid) if state is None else IMPOSSIBLE
        case "update" | "patch":
            if state is None or (op.expect and op.expect != state.revision) or op.revision <= state.revision:
                return IMPOSSIBLE
            return Present(op.revision, op.uid) if _same(state.uid, op.uid) else IMPOSSIBLE
        case "delete":
            return None if state is not None and (not op.uid or _same(state.uid, op.uid)) else IMPOSSIBLE
        case "get":
            return state if state == Present(op.revision, op.uid) else IMPOSSIBLE
    raise ValueError(op.verb)


def _unknown(state: State, op: Operation) -> State | object:
    """A write whose answer was lost. What it wrote is known (`revision`) when somebody has seen it.

    One that nobody has seen gets a revision just above that before it: no other operation can name it.
    """
    match op.verb:
        case "create":
            return Present(op.revision, op.uid) if state is None else IMPOSSIBLE
        case "update" | "patch":
            if state is None or (op.expect and op.expect != state.revision):
                return IMPOSSIBLE
            revision = op.revision or state.revision + UNSEEN
            return Present(revision, state.uid) if revision > state.revision else IMPOSSIBLE
        case "delete":
            return None if state is not None and (not op.uid or _same(state.uid, op.uid)) else IMPOSSIBLE
    return state


def _same(one: str, other: str) -> bool:
    return one == other or ANY_UID in (one, other)


def _explains(state: State, op: Operation) -> bool:
    """Whether a refusal is right in this state."""
    if op.code == 404 or (
        op.verb == "update" and op.code == 400
    ):  # kinds that PUT creates: no version wanted
        return state is None
    if op.code == 409 and op.verb == "create":
        return state is not None
    if op.code == 409 and op.verb == "update":
        return state is not None and state.revision != op.expect
    if op.code == 409 and op.verb == "delete":
        return state is not None and (state.uid != op.uid or state.uid == ANY_UID)
    return True  # too many requests, no room …: says nothing about the object


def linearize(steps: Iterable[Step], first: State = None) -> list[Operation] | None:
    """An order that explains everything, or None when there is none. Raises TooHard."""
    pending = sorted(steps, key=lambda item: (item.call, item.end))
    count = len(pending)
    due = _due(pending)
    needed = sum(1 << i for i, item in enumerate(pending) if not item.optional)
    seen: set[tuple[int, State]] = set()
    stack: list[tuple[int, State, int]] = [(0, first, -1)]  # done, state, last operation
    order: list[int] = []
    depths: list[int] = [0]
    while stack:
        done, state, last = stack.pop()
        depth = depths.pop()
        del order[depth:]
        if last >= 0:
            order.append(last)
            depth += 1
        if done & needed == needed:
            return [pending[i].operation for i in order]
        if (done, state) in seen:
            continue
        seen.add((done, state))
        if len(seen) > MAX_VISITS:
            raise TooHard(f"{count} operations")
        low = _first_missing(done)
        deadline = inf
        candidates = []
        for i in range(low, count):
            item = pending[i]
            if item.call > deadline:
                break
            if done >> i & 1:
                continue
            candidates.append(i)
            if not item.optional:
                deadline = min(deadline, item.end)
        # The stack turns the order round: what answered first is tried first, what may not have happened last.
        candidates.sort(key=lambda i: (pending[i].optional, due[i]), reverse=True)
        for i in candidates:
            if pending[i].call > deadline:
                continue
            after = step(state, pending[i].operation)
            if after is not IMPOSSIBLE:
                stack.append((done | 1 << i, after, i))  # type: ignore[arg-type]
                depths.append(depth)
    return None


def _due(pending: list[Step]) -> list[tuple[float, float]]:
    """When each has happened at the latest, as far as its revision tells: before whatever has a newer one. A hint only."""
    due = [(item.end, 0.0) for item in pending]
    earliest = inf
    for i in sorted(range(len(pending)), key=lambda i: -pending[i].operation.revision):
        revision = pending[i].operation.revision
        if revision:
            if not pending[i].optional:
                earliest = min(earliest, pending[i].end)
            due[i] = (earliest, revision)
    return due


def _first_missing(done: int) -> int:
    """Index of the lowest bit that is not set."""
    return (~done & done + 1).bit_length() - 1
