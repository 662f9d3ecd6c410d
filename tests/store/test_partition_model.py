"""A partition against a model: a dict a revision, and what each watcher must have seen.

The journal is held, released, filled, compacted and reopened at random; time is the order of the steps.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lakh.store.codec import encode_snapshot
from lakh.store.errors import Compacted, Conflict, JournalFull, NotFound
from lakh.store.hub import Watch
from lakh.store.memory_journal import MemoryJournal
from lakh.store.partition import Partition
from lakh.store.state import Event
from tests.examples import examples

HISTORY_EVENTS = 12
TABLES, SCOPES, NAMES, TERMS = ("pods", "nodes"), ("a", "a-b"), ("x", "y"), ("t", "u")

keys = st.builds(
    "/".join, st.tuples(st.sampled_from(TABLES), st.sampled_from(SCOPES), st.sampled_from(NAMES))
)


class Fact(NamedTuple):
    """An item as the model knows it."""

    value: bytes
    terms: tuple[str, ...]
    create_revision: int
    revision: int


Facts = dict[str, Fact]


class Observer:
    """A watcher, and the revisions it was told."""

    def __init__(self, spec: tuple[str, str | None, str | None, str | None], start: int) -> None:
        self.spec = spec
        self.start = start
        self.revisions: list[int] = []
        self.watch: Watch | None = None

    def sink(self, events: list[Event]) -> None:
        assert events
        self.revisions += [event.revision for event in events]

    def concerned(self, key: str, old: Fact | None, new: Fact | None) -> bool:
        table, scope, name, term = self.spec
        parts = key.split("/")
        wanted = all(want in (None, got) for want, got in zip((table, scope, name), parts, strict=True))
        return wanted and (
            term is None or any(fact is not None and term in fact.terms for fact in (old, new))
        )


class Model(RuleBasedStateMachine):
    """`states[r]` is what is durable at revision r; `pending` what is on its way, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.journal = self.run(self.make_journal())
        self.partition = self.run(self.open())
        self.states: list[Facts] = [{}, {}]
        self.changed = ["", ""]
        self.pending: list[tuple[str, Facts, asyncio.Future[Any]]] = []
        self.held = False
        self.observers: list[Observer] = []

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    async def make_journal(self) -> Any:
        return MemoryJournal()

    async def reopen_journal(self) -> Any:
        return self.journal.reopened()

    async def open(self) -> Partition:
        return await Partition.open("test", self.journal, history_events=HISTORY_EVENTS)

    @property
    def revision(self) -> int:
        return len(self.states) - 1

    def head(self) -> Facts:
        return self.pending[-1][1] if self.pending else self.states[-1]

    # Writing

    def write(
        self,
        key: str,
        expect: int | None,
        change: Callable[[int, Fact | None], Fact | None],
        send: Callable[[], Any],
    ) -> None:
        head = self.head()
        old = head.get(key)
        revision = self.revision + len(self.pending) + 1
        new = change(revision, old)
        if (expect is not None and expect != (old.revision if old else 0)) or (new is None and old is None):
            with pytest.raises(NotFound if old is None else Conflict) as caught:
                self.run(self.call(send))
            assert caught.value.revision <= revision - 1
            return
        future = self.run(self.call(send))
        after = dict(head)
        if new is None:
            del after[key]
        else:
            after[key] = new
        self.pending.append((key, after, future))
        if not self.held:
            self.land()

    async def call(self, send: Callable[[], Any]) -> Any:
        return send()

    def expectation(self, key: str, kind: str) -> int | None:
        fact = self.head().get(key)
        return {"any": None, "new": 0, "right": fact.revision if fact else 0, "wrong": 1}[kind]

    @rule(
        key=keys,
        value=st.binary(max_size=3),
        terms=st.lists(st.sampled_from(TERMS), unique=True).map(tuple),
        kind=st.sampled_from(["any", "any", "new", "right", "wrong"]),
    )
    def put(self, key: str, value: bytes, terms: tuple[str, ...], kind: str) -> None:
        expect = self.expectation(key, kind)
        self.write(
            key,
            expect,
            lambda revision, old: Fact(value, terms, old.create_revision if old else revision, revision),
            lambda: self.partition.put(key, value, expect=expect, terms=terms),
        )

    @rule(writes=st.lists(st.tuples(keys, st.binary(max_size=3)), min_size=3, max_size=8))
    def fill(self, writes: list[tuple[str, bytes]]) -> None:
        """Many at once, some on their way to disk while others queue."""
        held = self.held
        self.hold()
        for key, value in writes:
            self.put(key, value, TERMS[: len(value)], "any")
        if not held:
            self.release()

    @rule(key=keys, kind=st.sampled_from(["any", "any", "right", "wrong"]))
    def delete(self, key: str, kind: str) -> None:
        expect = self.expectation(key, kind)
        self.write(key, expect, lambda revision, old: None, lambda: self.partition.delete(key, expect=expect))

    def land(self) -> None:
        """Everything pending becomes durable."""
        for key, after, future in self.pending:
            result = self.run(asyncio.wait_for(future, 120))
            self.states.append(after)
            self.changed.append(key)
            assert result.revision == self.revision
        self.pending.clear()

    # Faults

    @precondition(lambda self: not self.held)
    @rule()
    def hold(self) -> None:
        self.held = True
        self.journal.hold()

    @precondition(lambda self: self.held)
    @rule()
    def release(self) -> None:
        self.held = False
        self.journal.release()
        self.land()

    @precondition(lambda self: self.pending)
    @rule()
    def full(self) -> None:
        self.run(asyncio.sleep(0))
        self.journal.faults.append(JournalFull())
        surely = not self.partition._no_room
        self.held = False
        self.journal.release()
        facts, seen = dict(self.states[-1]), set()
        for key, after, future in self.pending:
            old, new = self.states[-1].get(key), after.get(key)
            makes_room = old is not None and (new is None or len(new.value) <= len(old.value))
            may_survive = makes_room and key not in seen
            seen.add(key)
            try:
                self.run(asyncio.wait_for(future, 120))
            except JournalFull:
                assert not (may_survive and surely), "what makes room goes through"
                continue
            assert may_survive, "what takes room, or rests on what failed, does not"
            facts = dict(facts)
            if new is None:
                del facts[key]
            else:
                facts[key] = new._replace(revision=len(self.states))
            self.states.append(facts)
            self.changed.append(key)
        self.pending.clear()

    @precondition(lambda self: not self.held)
    @rule()
    def compact(self) -> None:
        items = list(self.partition._items.values())
        self.run(self.journal.snapshot(self.journal.head, encode_snapshot(self.revision, items)))
        self.run(self.journal.trim(self.journal.head))

    @precondition(lambda self: not self.held)
    @rule()
    def restart(self) -> None:
        self.check_observers()
        self.observers.clear()
        self.run(self.partition.close())
        self.journal = self.run(self.reopen_journal())
        self.partition = self.run(self.open())

    # Watching and reading

    @rule(
        table=st.sampled_from(TABLES),
        scope=st.none() | st.sampled_from(SCOPES),
        name=st.none() | st.sampled_from(NAMES),
        term=st.none() | st.sampled_from(TERMS),
        back=st.integers(0, HISTORY_EVENTS + 2),
    )
    def watch(self, table: str, scope: str | None, name: str | None, term: str | None, back: int) -> None:
        start = max(1, self.revision - back)
        observer = Observer((table, scope, name, term), start)
        if start < self.partition.oldest_revision:
            with pytest.raises(Compacted):
                self.partition.watch(table, scope, name, term, start=start, sink=observer.sink)
            return
        observer.watch = self.partition.watch(table, scope, name, term, start=start, sink=observer.sink)
        self.observers.append(observer)

    @rule(
        table=st.sampled_from(TABLES),
        scope=st.none() | st.sampled_from(SCOPES),
        back=st.integers(0, 6) | st.integers(0, HISTORY_EVENTS + 2),
        after=st.just("") | st.just("") | keys,
        limit=st.sampled_from([0, 1, 2, 3]),
    )
    def range(self, table: str, scope: str | None, back: int, after: str, limit: int) -> None:
        revision = max(1, self.revision - back)
        if revision < self.partition.oldest_revision:
            with pytest.raises(Compacted):
                self.partition.range(table, scope, after=after, limit=limit, revision=revision)
            return
        found = self.partition.range(table, scope, after=after, limit=limit, revision=revision)
        prefix = f"{table}/" if scope is None else f"{table}/{scope}/"
        facts = self.states[revision]
        expected = [key for key in sorted(facts, key=str.encode) if key.startswith(prefix) and key > after]
        shown = expected[:limit] if limit else expected
        assert [(item.key, Fact(*fact_of(item))) for item in found.items] == [
            (key, facts[key]) for key in shown
        ]
        assert (found.revision, found.remaining) == (revision, len(expected) - len(shown))
        assert found.more == (found.remaining > 0)

    @invariant()
    def durable_state_is_the_model(self) -> None:
        facts = self.states[-1]
        assert self.partition.revision == self.revision
        assert {key: Fact(*fact_of(item)) for key, item in self.partition._items.items()} == facts
        for table in TABLES:
            assert self.partition.count(table) == sum(key.startswith(f"{table}/") for key in facts)
        head = self.head()
        for key in set(head) | set(facts):
            item = self.partition.head(key)
            assert (Fact(*fact_of(item)) if item else None) == head.get(key)

    @invariant()
    def check_observers(self) -> None:
        """Each watcher was told all that concerns it, in order, once."""
        for observer in self.observers:
            expected = [
                revision
                for revision in range(observer.start + 1, self.revision + 1)
                if observer.concerned(
                    self.changed[revision],
                    self.states[revision - 1].get(self.changed[revision]),
                    self.states[revision].get(self.changed[revision]),
                )
            ]
            assert observer.revisions == expected

    def teardown(self) -> None:
        self.journal.release()
        self.run(self.partition.close())
        assert not asyncio.all_tasks(self.loop)
        self.loop.close()


def fact_of(item: Any) -> tuple[bytes, tuple[str, ...], int, int]:
    return item.value, item.terms, item.create_revision, item.revision


TestPartitionModel = Model.TestCase
TestPartitionModel.settings = settings(max_examples=examples(150), stateful_step_count=40)
