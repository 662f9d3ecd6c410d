"""Sorted tables and the history window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.store import history as history_module
from lakh.store.errors import Compacted, FutureRevision
from lakh.store.history import EVENT_OVERHEAD_BYTES, History
from lakh.store.state import Event, Item, State


def put(state: State, key: str, value: bytes = b"") -> Item:
    prev = state.items.get(key)
    revision = state.revision + 1
    item = Item(key, value, (), prev.create_revision if prev else revision, revision)
    state.apply(Event(revision, item, prev))
    return item


def delete(state: State, key: str) -> None:
    state.apply(Event(state.revision + 1, None, state.items[key]))


def keys(state: State, *args: object, **options: object) -> list[str]:
    return [item.key for item in state.range(*args, **options).items]  # type: ignore[arg-type]


def test_order_and_scopes() -> None:
    state = State()
    for key in ("pods/a/y", "pods/a/x", "pods/a-b/z", "pods//r", "podsets/a/x", "pods/é/x", "pods/a0/x"):
        put(state, key)
    ordered = ["pods//r", "pods/a-b/z", "pods/a/x", "pods/a/y", "pods/a0/x", "pods/é/x"]
    assert ordered == sorted(ordered, key=str.encode)
    assert keys(state, "pods") == ordered
    assert keys(state, "pods", "a") == ["pods/a/x", "pods/a/y"]
    assert keys(state, "pods", "") == ["pods//r"]
    assert keys(state, "nothing") == keys(state, "nothing", "a", limit=3) == []
    assert (state.count("pods"), state.count("pods", "a"), state.count("x")) == (6, 2, 0)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("scope", [None, "a"])
def test_pages(old: bool, scope: str | None) -> None:
    state = State()
    for i in range(10):
        put(state, f"pods/a/{i}")
    put(state, "pods/b/0")
    revision = state.revision if old else None
    expected = keys(state, "pods", scope)
    if old:
        delete(state, "pods/a/3")
        delete(state, "pods/a/9")
        put(state, "pods/a/0", b"new")
        put(state, "pods/a/55")
    found: list[str] = []
    after = ""
    while True:
        page = state.range("pods", scope, after=after, limit=3, revision=revision)
        found += [item.key for item in page.items]
        assert all(item.value == b"" for item in page.items)
        assert page.remaining == len(expected) - len(found)
        assert page.more == (page.remaining > 0)
        if not page.more:
            break
        after = found[-1]
    assert found == expected
    assert keys(state, "pods", scope, after="pods/zz", revision=revision) == []
    assert keys(state, "pods", scope, after="nodes/zz", revision=revision) == expected


def test_live_bytes_follow_the_items() -> None:
    state = State()
    empty = state.live_bytes
    put(state, "pods/a/x", b"1" * 100)
    put(state, "pods/a/x", b"1" * 50)
    smaller = state.live_bytes
    put(state, "pods/a/y", b"1" * 50)
    assert state.live_bytes == 2 * smaller
    delete(state, "pods/a/x")
    delete(state, "pods/a/y")
    assert (state.live_bytes, len(state.items)) == (empty, 0)


def test_window_is_bounded_by_events() -> None:
    state = State(history_events=10)
    for i in range(25):
        put(state, "pods/a/x", b"%d" % i)
    assert (len(state.history), state.history.oldest, state.revision) == (10, 16, 26)
    assert [event.revision for event in state.history.since(20)] == list(range(21, 27))
    assert state.history.since(26) == []
    assert state.range("pods", revision=16).items[0].value == b"14"
    with pytest.raises(Compacted) as caught:
        state.range("pods", revision=15)
    assert (caught.value.revision, caught.value.oldest) == (15, 16)
    with pytest.raises(FutureRevision):
        state.range("pods", revision=27)


def test_window_is_charged_what_only_it_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "HISTORY_KEEP_EVENTS", 2)
    state = State(history_bytes=10_000)
    put(state, "pods/a/x", b"x" * 5_000)
    assert state.history.size_bytes == EVENT_OVERHEAD_BYTES
    for _ in range(10):
        put(state, "pods/a/x", b"x" * 5_000)
    assert len(state.history) == 2
    for _ in range(10):
        put(state, "pods/a/x", b"x" * 30_000)
    assert len(state.history) == 1, "the hard bound: four times the bytes"
    assert state.history.size_bytes <= 40_000


def test_window_may_become_empty() -> None:
    history = History(1, 10, 10)
    big = Item("pods/a/x", b"x" * 1000, (), 2, 2)
    history.append(Event(2, None, big))
    assert (len(history), history.oldest, history.size_bytes) == (0, 2, 0)
    assert history.since(2) == []


WRITES = st.lists(
    st.tuples(
        st.sampled_from(["pods/a/1", "pods/a/2", "pods/b/1", "jobs/a/1"]),
        st.none() | st.sets(st.sampled_from(["node=n1", "node=n2", "phase=x"])).map(sorted).map(tuple),
    )
)


@given(WRITES, st.integers(0, 3))
def test_terms_find_the_items_that_have_them(
    writes: list[tuple[str, tuple[str, ...] | None]], loaded: int
) -> None:
    """Also when some were loaded or replayed, as at a start."""
    state = State()
    for number, (key, terms) in enumerate(writes):
        if number == loaded:
            restarted = State()
            restarted.load(list(map(state.items.__getitem__, state.items)))
            restarted.loaded(state.revision)
            restarted.begin_replay()
            state = restarted
        elif number == loaded + 2:
            state.end_replay()
        prev, revision = state.items.get(key), state.revision + 1
        if terms is not None:
            created = prev.create_revision if prev else revision
            state.apply(Event(revision, Item(key, b"", terms, created, revision), prev))
        elif prev is not None:
            state.apply(Event(revision, None, prev))
    state.end_replay()
    for table in ("pods", "jobs"):
        for term in ("node=n1", "node=n2", "phase=x"):
            having = [
                key for key in sorted(state.items) if key.startswith(table) and term in state.items[key].terms
            ]
            assert [item.key for item in state.having(table, term)] == having
            assert state.having_count(table, term) == len(having)
    assert all(state.terms[name] for name in state.terms)
