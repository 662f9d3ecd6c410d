"""Reading piece by piece at a revision: what is read is what was there, whatever happens meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.store.cursor import Cursor
from lakh.store.errors import Compacted, FutureRevision
from lakh.store.state import Event, Item, State

KEYS = [
    f"{table}/{scope}/{name}" for table in ("pods", "podsets") for scope in ("a", "b") for name in "uvwxyz"
]
Write = tuple[str, bool]


def write(state: State, key: str, delete: bool) -> None:
    prev, revision = state.items.get(key), state.revision + 1
    if delete and prev is None:
        return
    created = prev.create_revision if prev is not None else revision
    item = None if delete else Item(key, b"%d" % revision, (), created, revision)
    state.apply(Event(revision, item, prev))


writes = st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), max_size=12)


@given(
    writes, st.lists(writes, min_size=30, max_size=30), st.integers(1, 4), st.sampled_from((None, "a", "c"))
)
def test_a_read_sees_the_state_at_its_revision(
    before: list[Write], meanwhile: list[list[Write]], limit: int, scope: str | None
) -> None:
    state = State()
    for key, delete in before:
        write(state, key, delete)
    wanted = [(i.key, i.revision) for i in state.range("pods", scope).items]
    cursor = Cursor(state, "pods", scope, state.revision)
    found: list[tuple[str, int]] = []
    after, more = "", True
    for batch in meanwhile:
        items, more = cursor.read(after, limit)
        found += [(i.key, i.revision) for i in items]
        assert len(items) <= limit and more == (len(found) < len(wanted))
        if not more:
            break
        after = items[-1].key
        assert cursor.remaining(after) == len(wanted) - len(found)
        for key, delete in batch:
            write(state, key, delete)
    assert found == wanted and not more


def test_an_event_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    state = State()
    for i in range(100):
        write(state, f"pods/a/{i:03}", False)
    cursor = Cursor(state, "pods", None, state.revision)
    looked = 0
    since = state.history.since

    def counted(revision: int) -> Any:
        nonlocal looked
        found = since(revision)
        looked += len(found)
        return found

    monkeypatch.setattr(type(state.history), "since", lambda self, revision: counted(revision))
    after, pieces, made = "", 0, 0
    more = True
    while more:
        for i in range(50):
            write(state, f"pods/a/{i:03}", False)
            made += 1
        items, more = cursor.read(after, 10)
        after, pieces = items[-1].key, pieces + 1
    assert pieces == 10 and looked == made


def test_the_window_has_to_reach_back_to_the_piece_before_only() -> None:
    state = State(history_events=50)
    for i in range(30):
        write(state, f"pods/a/{i:03}", False)
    revision = state.revision
    cursor, after = Cursor(state, "pods", None, revision), ""
    found: list[str] = []
    more = True
    while more:
        items, more = cursor.read(after, 5)
        found += [item.key for item in items]
        after = items[-1].key
        for i in range(40):
            write(state, f"pods/a/{i % 30:03}", i % 7 == 0)
    assert found == [f"pods/a/{i:03}" for i in range(30)] and state.history.oldest > revision
    with pytest.raises(Compacted):
        Cursor(state, "pods", None, revision)
    with pytest.raises(FutureRevision):
        Cursor(state, "pods", None, state.revision + 1)
    slow = Cursor(state, "pods", None, state.revision)
    for i in range(60):
        write(state, f"pods/a/{i % 30:03}", False)
    with pytest.raises(Compacted):
        slow.read("", 5)
