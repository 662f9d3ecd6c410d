"""The canaries: a history that is right passes, and each planted violation is found by the validator it is meant for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from .history import OK, REFUSED, UNKNOWN, Facts, History, Listing, Operation, Seen, Segment, Shown
from .validators import VALIDATORS, judge

RESOURCES = {"configmaps": "default", "secrets": "default"}


class Recorder:
    """Writes a right history: a model store whose clock ticks with each call."""

    def __init__(self) -> None:
        self.history = History(0, {}, dict(RESOURCES), {"configmaps": 10, "secrets": 10})
        self.revision = 10
        self.clock = 0.0
        self.objects: dict[tuple[str, str], Seen] = {}
        self.log: list[tuple[str, Shown]] = []

    def op(self, verb: str, resource: str = "configmaps", key: str = "n1/a", expect: int = 0) -> Operation:
        self.clock += 1
        op = Operation(1, verb, resource, key, self.clock, self.clock + 0.5, OK, 200, expect=expect)
        old = self.objects.get((resource, key))
        if verb == "get":
            assert old
            op.revision, op.value, op.uid = old.revision, old.value, old.uid
        elif verb == "delete":
            assert old
            self.revision += 1
            op.uid = old.uid
            del self.objects[resource, key]
            self._tell(resource, Shown(self.clock + 0.4, "DELETED", key, self.revision, old.value, old.uid))
        else:
            self.revision += 1
            op.value, op.revision = f"v{self.revision}", self.revision
            op.uid = old.uid if old else f"uid-{self.revision}"
            self.objects[resource, key] = Seen(key, self.revision, op.value, op.uid)
            kind = "MODIFIED" if old else "ADDED"
            self._tell(resource, Shown(self.clock + 0.4, kind, key, self.revision, op.value, op.uid))
        self.history.operations.append(op)
        return op

    def _tell(self, resource: str, event: Shown) -> None:
        self.log.append((resource, event))

    def list(self, resource: str = "configmaps", mode: str = "whole") -> Listing:
        self.clock += 1
        items = [item for (of, _), item in sorted(self.objects.items()) if of == resource]
        listing = Listing(
            2,
            mode,
            resource,
            "",
            self.clock,
            self.clock + 0.5,
            OK,
            200,
            revisions=[self.revision],
            items=items,
        )
        self.history.listings.append(listing)
        return listing

    def watch(
        self, watcher: int, start: int, to: int, resumes: bool = False, replay: bool = False
    ) -> Segment:
        events = [copy.copy(e) for of, e in self.log if of == "configmaps" and start < e.revision <= to]
        events.append(Shown(self.clock + 0.6, "BOOKMARK", "", to))
        segment = Segment(
            watcher, watcher, "configmaps", "", "", start, 0.0, events, "ended", resumes, replay
        )
        self.history.segments.append(segment)
        return segment


def right() -> History:
    """Creates, updates, a recreation, reads, lists, a watcher that resumed, the replay."""
    r = Recorder()
    r.op("create")
    r.op("create", "secrets", "n1/s")
    r.op("update", expect=11)
    r.op("get")
    r.list()
    r.op("create", key="n1/b")
    r.op("patch", key="n1/b")
    r.op("delete")
    r.list()
    r.op("create")
    r.op("get")
    r.op("patch", key="n1/b")
    r.history.listings.append(r.list("secrets", "final"))
    r.list("configmaps", "final")
    del r.history.listings[-2]
    r.watch(1, 10, 14)
    r.watch(1, 14, r.revision, resumes=True)
    r.watch(900, 10, r.revision, replay=True)
    return r.history


def right_with_two_servers() -> History:
    """Writes at server 0, the watcher resumes at server 1, reads with resourceVersion=0 and at least at a revision."""
    history = right()
    history.plan["servers"] = 2
    history.segments[1].server = 1
    last = history.operations[-1].end
    for number in range(2):
        r = Recorder()
        r.clock = last + 10 + 10 * number
        r.revision = history.listings[-1].revision
        r.objects = {("configmaps", item.key): item for item in history.listings[-1].items}
        read = r.op("get", key="n1/b")
        read.cached, read.server = True, number
        listings = [r.list(mode="cached"), r.list(mode="bounded"), r.list(mode="final")]
        listings[1].asked = r.revision
        for listing in listings:
            listing.server = number
        history.operations.append(read)
        history.listings += listings
    return history


def operation(history: History, number: int) -> Operation:
    return history.operations[number]


def first_segment(history: History) -> Segment:
    return history.segments[0]


Plant = Callable[[History], None]


def lost_write(h: History) -> None:
    """The last patch was acknowledged, and is gone after the restart."""
    final, lost = h.listings[-1], operation(h, -1)
    for item in final.items:
        if item.key == lost.key:
            item.revision, item.value = operation(h, 5).revision, operation(h, 5).value
    for segment in h.segments:
        segment.events = [e for e in segment.events if e.revision != lost.revision or e.type == "BOOKMARK"]


def lost_write_of_an_object_nobody_watched(h: History) -> None:
    final = next(x for x in h.listings if x.resource == "secrets")
    h.segments.append(Segment(5, 5, "secrets", "", "", 10, 0.0, [Shown(1, "BOOKMARK", "", 99)], "ended"))
    final.items.clear()


def resurrected(h: History) -> None:
    """An acknowledged deletion did not happen."""
    deleted = operation(h, 6)
    h.listings[1].items.insert(
        0, Seen(deleted.key, operation(h, 2).revision, operation(h, 2).value, deleted.uid)
    )


def stale_get(h: History) -> None:
    read = operation(h, 3)
    read.revision, read.value = operation(h, 0).revision, operation(h, 0).value


def missing_get(h: History) -> None:
    """A get says 404 while the object is there."""
    read = operation(h, 3)
    read.outcome, read.code, read.revision, read.value, read.uid = REFUSED, 404, 0, "", ""


def stale_list(h: History) -> None:
    """A list of an old state, as that state was."""
    h.listings[1].revisions, h.listings[1].items = h.listings[0].revisions, h.listings[0].items


def both_win(h: History) -> None:
    """Two updates that insist on the same version both succeed."""
    won = operation(h, 2)
    twin = copy.copy(won)
    twin.value, twin.revision, twin.call, twin.end = "v-twin", 14, 4.0, 4.4
    h.operations.insert(3, twin)


def wrong_conflict(h: History) -> None:
    """An update with the newest version is refused."""
    op = operation(h, 2)
    op.outcome, op.code, op.revision = REFUSED, 409, 0
    h.operations[3:] = []
    h.segments.clear()
    h.listings.clear()


def refused_but_done(h: History) -> None:
    op = operation(h, 5)
    op.outcome, op.code, op.revision = REFUSED, 507, 0


def reused_revision(h: History) -> None:
    """After a crash the revision of a write that was shown is given to another."""
    operation(h, 1).revision = operation(h, 0).revision


def revision_goes_back(h: History) -> None:
    operation(h, 4).revision = 3


def out_of_thin_air(h: History) -> None:
    first_segment(h).events[0].value = "nobody"
    h.segments[2].events[0].value = "nobody"
    operation(h, 0).value = "nobody-else"


def before_it_was_written(h: History) -> None:
    for segment in h.segments:
        for event in segment.events:
            if event.revision == operation(h, 4).revision:
                event.time = 0.1


def accident(h: History) -> None:
    op = operation(h, 3)
    op.outcome, op.code = UNKNOWN, 500


def doubled_event(h: History) -> None:
    events = first_segment(h).events
    events.insert(1, copy.copy(events[0]))


def doubled_over_resumption(h: History) -> None:
    events = h.segments[1].events
    events.insert(0, copy.copy(first_segment(h).events[-2]))


def skipped_event(h: History) -> None:
    del first_segment(h).events[1]


def skipped_by_resumption(h: History) -> None:
    del h.segments[1].events[0]


def swapped_events(h: History) -> None:
    events = first_segment(h).events
    events[0], events[1] = events[1], events[0]


def early_bookmark(h: History) -> None:
    events = first_segment(h).events
    events.insert(0, events.pop())


def bookmark_goes_back(h: History) -> None:
    first_segment(h).events[-1].revision = 11


def event_of_another(h: History) -> None:
    first_segment(h).name = "b"


def wrong_type(h: History) -> None:
    first_segment(h).events[1].type = "ADDED"


def shown_and_taken_back(h: History) -> None:
    """A watcher has seen an update that the last server knows nothing of."""
    h.operations.append(Operation(3, "patch", "configmaps", "n1/b", 30.0, 31.0, value="ghost"))
    h.segments[1].events.insert(1, Shown(30.5, "MODIFIED", "n1/b", 16, "ghost", operation(h, 4).uid))
    h.operations[6].outcome = UNKNOWN
    for segment in h.segments:
        segment.events = [e for e in segment.events if e.type != "DELETED"]


def future_resumption(h: History) -> None:
    h.segments[1].events.clear()
    h.segments[1].end = "504 Timeout: Too large resource version"


def expired_too_soon(h: History) -> None:
    h.segments[1].end = "expired"


def torn_list(h: History) -> None:
    """A list of two states: one object from before a write, one from after."""
    listing = h.listings[1]
    old = operation(h, 4)
    listing.items[0].revision, listing.items[0].value = old.revision, old.value


def incomplete_list(h: History) -> None:
    h.listings[1].items.pop()


def pages_of_two_revisions(h: History) -> None:
    h.listings[1].mode = "pages"
    h.listings[1].revisions.append(h.listings[1].revisions[0] + 1)


def wrong_exact_list(h: History) -> None:
    h.listings[1].mode, h.listings[1].asked = "exact", 12


def watcher_left_behind(h: History) -> None:
    h.segments[1].events = h.segments[1].events[:1]


def done_twice(h: History) -> None:
    """A patch was carried to the writer twice; another write came in between."""
    again = copy.copy(operation(h, 4))
    h.listings[-1].items[-1] = Seen(again.key, 19, again.value, again.uid)
    for segment in h.segments[1:]:
        segment.events.insert(-1, Shown(29.0, "MODIFIED", again.key, 19, again.value, again.uid))
    operation(h, 9).value = "v-between"


def own_write_unseen(h: History) -> None:
    """Server 0 acknowledged the last patch, and then shows what was there before."""
    read, before = operation(h, -2), operation(h, 5)
    assert read.cached and read.server == operation(h, -3).server == 0
    read.revision, read.value = before.revision, before.value


def own_write_unlisted(h: History) -> None:
    cached = h.listings[-6]
    assert cached.mode == "cached" and cached.server == 0
    cached.revisions, cached.items = h.listings[0].revisions, h.listings[0].items


def went_back(h: History) -> None:
    """Server 1 showed everything to a watcher, and then lists an old state. That it never acknowledged anything is no excuse."""
    cached = h.listings[-3]
    assert cached.mode == "cached" and cached.server == h.segments[1].server == 1
    cached.revisions, cached.items = h.listings[0].revisions, h.listings[0].items


def older_than_asked(h: History) -> None:
    bounded = h.listings[-2]
    bounded.revisions, bounded.items = h.listings[0].revisions, h.listings[0].items


def skipped_by_moving(h: History) -> None:
    assert h.segments[1].server != h.segments[0].server
    del h.segments[1].events[0]


def doubled_by_moving(h: History) -> None:
    h.segments[1].events.insert(0, copy.copy(h.segments[0].events[-2]))


def one_server_stays_behind(h: History) -> None:
    """In the end one server lists a state that is long gone as the present one."""
    h.listings[-4].items = h.listings[0].items


def one_server_has_forgotten(h: History) -> None:
    """The replay of one server lacks an event."""
    twin = copy.deepcopy(h.segments[2])
    twin.server, twin.watcher, twin.chain = 1, 910, 910
    del twin.events[2]
    h.segments.append(twin)


MANY_CANARIES: dict[Plant, set[str]] = {
    own_write_unseen: {"own_writes", "never_back"},
    own_write_unlisted: {"own_writes", "never_back"},
    went_back: {"never_back"},
    older_than_asked: {"not_older"},
    skipped_by_moving: {"reliable", "resumable"},
    doubled_by_moving: {"unique", "filtered"},
    one_server_stays_behind: {"durable", "consistent_lists"},
    one_server_has_forgotten: {"taken_back"},
}


CANARIES: dict[Plant, set[str]] = {
    lost_write: {"durable"},
    lost_write_of_an_object_nobody_watched: {"durable"},
    resurrected: {"durable"},
    stale_get: {"linearizable", "fresh"},
    missing_get: {"linearizable"},
    stale_list: {"revisions_ascend"},
    both_win: {"linearizable"},
    wrong_conflict: {"linearizable"},
    refused_but_done: {"refused"},
    reused_revision: {"unique_revisions"},
    revision_goes_back: {"revisions_ascend"},
    out_of_thin_air: {"known_values"},
    before_it_was_written: {"known_values"},
    accident: {"answers"},
    doubled_event: {"unique"},
    doubled_over_resumption: {"unique", "filtered"},
    skipped_event: {"reliable"},
    skipped_by_resumption: {"reliable", "resumable"},
    swapped_events: {"ordered"},
    early_bookmark: {"bookmarkable"},
    bookmark_goes_back: {"bookmarkable"},
    event_of_another: {"filtered"},
    wrong_type: {"typed"},
    shown_and_taken_back: {"taken_back"},
    future_resumption: {"resumable"},
    expired_too_soon: {"resumable"},
    torn_list: {"consistent_lists"},
    incomplete_list: {"consistent_lists"},
    pages_of_two_revisions: {"consistent_lists"},
    wrong_exact_list: {"consistent_lists"},
    watcher_left_behind: {"replayed"},
    done_twice: {"once"},
}


def test_a_right_history_passes() -> None:
    verdict = judge(right())
    assert not verdict.violations
    assert not verdict.undecided


@pytest.mark.parametrize("plant", CANARIES, ids=lambda plant: plant.__name__)
def test_a_planted_violation_is_found(plant: Plant) -> None:
    history = right()
    plant(history)
    found = {violation.validator for violation in judge(history).violations}
    assert found >= CANARIES[plant], judge(history).violations


@pytest.mark.parametrize("plant", MANY_CANARIES, ids=lambda plant: plant.__name__)
def test_a_planted_violation_among_two_servers_is_found(plant: Plant) -> None:
    history = right_with_two_servers()
    assert not judge(history).violations
    plant(history)
    found = {violation.validator for violation in judge(history).violations}
    assert found >= MANY_CANARIES[plant], judge(history).violations


def test_each_validator_has_a_canary() -> None:
    found = set().union(*CANARIES.values(), *MANY_CANARIES.values())
    assert {validator.__name__ for validator in VALIDATORS} == found


def test_a_history_is_kept_whole(tmp_path: Path) -> None:
    history = right()
    history.dump(tmp_path / "history.json")
    assert History.load(tmp_path / "history.json") == history


def test_what_is_covered() -> None:
    """Watches of everything cover what lies between their start and their newest; gaps stay gaps."""
    history = right()
    history.segments = [
        Segment(1, 1, "configmaps", "", "", 10, 0.0, [Shown(1, "BOOKMARK", "", 12)]),
        Segment(2, 2, "configmaps", "", "", 12, 0.0, [Shown(1, "BOOKMARK", "", 13)]),
        Segment(3, 3, "configmaps", "", "", 15, 0.0, [Shown(1, "BOOKMARK", "", 19)]),
        Segment(4, 4, "configmaps", "n1", "", 13, 0.0, [Shown(1, "BOOKMARK", "", 15)]),
    ]
    facts = Facts(history)
    assert facts.covered("configmaps", 10, 13)
    assert not facts.covered("configmaps", 12, 16)
    assert facts.covered("configmaps", 16, 19)
    assert not facts.complete("configmaps")


def test_an_unknown_write_may_have_happened_or_not() -> None:
    for seen in (True, False):
        r = Recorder()
        r.op("create")
        lost = Operation(2, "patch", "configmaps", "n1/a", 2.1, 2.3, value="v12")
        r.history.operations.append(lost)
        r.clock = 3
        if seen:
            done = r.op("patch")
            done.outcome, done.code, done.revision = UNKNOWN, 0, 0
            r.history.operations.remove(lost)
        r.op("get")
        assert not judge(r.history).violations


def test_a_lost_unknown_delete_explains_an_absent_object() -> None:
    """Nobody watched; the object is gone after a deletion whose answer was lost, and came back."""
    r = Recorder()
    created = r.op("create")
    deleted = r.op("delete")
    deleted.outcome, deleted.code = UNKNOWN, 0
    r.op("create")
    r.op("get")
    assert not judge(r.history).violations
    del r.history.operations[1]
    assert [v.validator for v in judge(r.history).violations] == ["linearizable"], created
