"""Who is told what."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.store.hub import Watch, WatchHub
from lakh.store.state import Event, Item


def item(key: str, revision: int, *terms: str) -> Item:
    return Item(key, b"", terms, revision, revision)


def revisions(batches: list[list[Event]]) -> list[int]:
    return [event.revision for batch in batches for event in batch]


def test_each_bucket() -> None:
    hub = WatchHub()
    seen: dict[str, list[list[Event]]] = {}
    for name, spec in {
        "key": ("pods", "a", "x", None),
        "term": ("pods", None, None, "t"),
        "scope": ("pods", "a", None, None),
        "table": ("pods", None, None, None),
        "term in scope": ("pods", "b", None, "t"),
        "name anywhere": ("pods", None, "x", None),
        "other table": ("nodes", None, None, None),
        "empty scope": ("nodes", "", None, None),
    }.items():
        seen[name] = []
        hub.add(Watch(*spec, seen[name].append))
    assert len(hub) == 8
    hub.dispatch(
        [
            Event(2, item("pods/a/x", 2), None),
            Event(3, item("pods/b/x", 3, "t"), None),
            Event(4, item("pods/a/y", 4, "t"), None),
            Event(5, item("nodes//n", 5, "t"), None),
        ]
    )
    assert {name: revisions(batches) for name, batches in seen.items()} == {
        "key": [2],
        "term": [3, 4],
        "scope": [2, 4],
        "table": [2, 3, 4],
        "term in scope": [3],
        "name anywhere": [2, 3],
        "other table": [5],
        "empty scope": [5],
    }
    assert all(len(batches) <= 1 for batches in seen.values()), "one call a batch"


def test_a_changed_term_concerns_both_once() -> None:
    hub = WatchHub()
    seen: dict[str, list[list[Event]]] = {"n1": [], "n2": [], "both": []}
    for term, batches in seen.items():
        hub.add(Watch("pods", None, None, term, batches.append))
    old, new = item("pods/a/x", 2, "n1", "both"), item("pods/a/x", 3, "n2", "both")
    hub.dispatch([Event(3, new, old), Event(4, None, new)])
    assert {term: revisions(batches) for term, batches in seen.items()} == {
        "n1": [3],
        "n2": [3, 4],
        "both": [3, 4],
    }


def test_a_failing_sink_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    hub = WatchHub()
    seen: list[list[Event]] = []

    def fail(events: list[Event]) -> None:
        raise RuntimeError("no")

    bad = hub.add(Watch("pods", None, None, None, fail))
    good = hub.add(Watch("pods", None, None, None, seen.append))
    with caplog.at_level(logging.CRITICAL, "lakh.store.hub"):
        for revision in (2, 3):
            hub.dispatch([Event(revision, item("pods/a/x", revision), None)])
    assert revisions(seen) == [2, 3]
    assert (bad.stopped, good.stopped, str(bad.error)) == (True, False, "no")
    assert repr(bad) == "<Watch ('table', 'pods') stopped>"


def test_sinks_may_stop_and_start_watches() -> None:
    hub = WatchHub()
    late: list[list[Event]] = []
    calls: list[str] = []

    def first(events: list[Event]) -> None:
        calls.append("first")
        one.stop()
        two.stop()
        hub.add(Watch("pods", None, None, None, late.append))

    one = hub.add(Watch("pods", None, None, None, first))
    two = hub.add(Watch("pods", None, None, None, lambda events: calls.append("second")))
    hub.dispatch([Event(2, item("pods/a/x", 2), None)])
    assert (calls, late) == (["first"], [])
    hub.dispatch([Event(3, item("pods/a/x", 3), None)])
    assert (calls, revisions(late)) == (["first"], [3])


def test_buckets_go_with_their_last_watcher() -> None:
    hub = WatchHub()
    watches = [
        hub.add(Watch("pods", scope, name, term, lambda events: None))
        for scope in (None, "a")
        for name in (None, "x")
        for term in (None, "t")
    ]
    for watch in watches[:4]:
        watch.stop()
        watch.stop()
    hub.close()
    assert len(hub) == 0
    assert all(watch.stopped for watch in watches)
    assert (hub._keys, hub._terms, hub._scopes, hub._tables) == ({}, {}, {}, {})


words = st.sampled_from("ab")
terms = st.lists(st.sampled_from(["t", "u"]), unique=True).map(tuple)


@given(
    st.lists(
        st.tuples(words, words, words, terms | st.none(), terms | st.none()).filter(
            lambda e: e[3:] != (None, None)
        )
    ),
    st.lists(st.tuples(words, st.none() | words, st.none() | words, st.none() | st.sampled_from(["t", "u"]))),
)
def test_buckets_agree_with_matches(
    changes: list[tuple[str, str, str, tuple[str, ...] | None, tuple[str, ...] | None]],
    specs: list[tuple[str, str | None, str | None, str | None]],
) -> None:
    events = [
        Event(
            revision,
            None if new is None else item(f"{table}/{scope}/{name}", revision, *new),
            None if old is None else item(f"{table}/{scope}/{name}", revision - 1, *old),
        )
        for revision, (table, scope, name, new, old) in enumerate(changes, 2)
    ]
    hub = WatchHub()
    seen: list[list[list[Event]]] = [[] for _ in specs]
    watches = [hub.add(Watch(*spec, batches.append)) for spec, batches in zip(specs, seen, strict=True)]
    hub.dispatch(events)
    for watch, batches in zip(watches, seen, strict=True):
        expected = [event for event in events if watch.matches(event)]
        assert batches == ([expected] if expected else [])
