"""A bucket's events are those that looking through all of them finds, however the window is cut into blocks."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from lakh.store import history as history_module
from lakh.store.history import Bucket, History
from lakh.store.hub import Watch
from lakh.store.state import Event, Item

KEYS = ("pods/a/1", "pods/a/2", "pods/b/1", "jobs/a/1")
TERMS = st.sampled_from(((), ("node=n1",), ("node=n2",), ("node=n1", "phase=x")))
CHANGES = st.lists(st.tuples(st.sampled_from(KEYS), st.none() | TERMS, st.integers(0, 40)), max_size=60)
WATCHES = (
    *(Watch(table, scope, name, None, print) for key in KEYS for table, scope, name in [key.split("/")]),
    *(Watch(table, scope, None, None, print) for table in ("pods", "jobs") for scope in ("a", "b", None)),
    *(Watch("pods", None, None, term, print) for term in ("node=n1", "node=n2", "phase=x", "node=n3")),
)


def events_of(changes: list[tuple[str, tuple[str, ...] | None, int]]) -> list[Event]:
    items: dict[str, Item] = {}
    events = []
    for revision, (key, terms, size) in enumerate(changes, 2):
        prev = items.pop(key, None)
        if terms is not None or prev is None:
            items[key] = Item(key, b"x" * size, terms or (), revision, revision)
        events.append(Event(revision, items.get(key), prev))
    return events


@given(CHANGES, st.lists(st.integers(1, 20)), st.integers(1, 20), st.integers(1, 6), st.integers(0, 3))
def test_buckets(
    changes: list[tuple[str, tuple[str, ...] | None, int]],
    sizes: list[int],
    max_events: int,
    block: int,
    cut_at: int,
) -> None:
    """Taken in batches of any sizes, and as if one by one."""
    with patch.multiple(history_module, BLOCK_EVENTS=block, CUT_AT=cut_at, HISTORY_KEEP_EVENTS=2):
        window = History(1, 8_000, max_events)
        single = History(1, 8_000, max_events)
        events = events_of(changes)
        while events:
            size = sizes.pop() if sizes else 1
            batch, events = events[:size], events[size:]
            window.extend(batch)
            for event in batch:
                single.append(event)
            kept = window.since(window.oldest)
            assert len(kept) == len(window)
            assert kept == single.since(single.oldest) and window.size_bytes == single.size_bytes
            for watch in WATCHES:
                bucket: Bucket = watch.bucket
                for revision in range(window.oldest, batch[-1].revision + 2):
                    wanted = [e for e in kept if e.revision > revision and watch.matches(e)]
                    assert window.bucket_since(bucket, revision) == wanted
        assert len(window._blocks) <= max_events // block + 1
