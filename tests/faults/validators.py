"""One named validator a guarantee. Each takes the facts of a history and yields what contradicts its guarantee.

| validator | guarantee |
| --- | --- |
| `answers` | errors are those that the API promises; none is an accident |
| `known_values` | nothing is shown that nobody wrote, nor before it was written |
| `refused` | what was refused has no effect |
| `unique_revisions` | a revision of a partition is one write |
| `once` | a write is done once, whoever carried it to the writer |
| `revisions_ascend` | revisions never go backwards, over restarts neither |
| `durable` | an acknowledged write is there in the end, or was overwritten later |
| `taken_back` | nothing is shown that a crash takes back |
| `linearizable` | each object behaves as if its operations happened one after the other |
| `fresh` | a read shows whatever anybody knew before it began |
| `own_writes` | what a server has acknowledged, its reads show, those with resourceVersion=0 too |
| `never_back` | what a server has shown, it shows from then on, or something newer |
| `not_older` | a read that insists on a revision is not older, at any server |
| `consistent_lists` | a list is one state: atomic, all pages of one revision |
| `ordered`, `unique`, `filtered`, `typed` | events in order, none twice, none of others, ADDED MODIFIED DELETED right |
| `reliable` | no event is lost |
| `resumable` | a watch resumed at a revision goes on right after it |
| `bookmarkable` | a bookmark comes after everything up to its revision |
| `replayed` | what a watcher makes of its events equals the final list |
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from math import inf
from typing import NamedTuple

from .history import OK, REFUSED, UNKNOWN, Fact, Facts, History, Listing, Operation, Seen, Segment
from .linearizability import ANY_UID, Step, TooHard, linearize

MAX_REPORTED = 20
"""Of one validator; a broken server breaks everything, and the first lines say what."""


class Violation(NamedTuple):
    """A guarantee that was not kept."""

    validator: str
    text: str

    def __str__(self) -> str:
        return f"{self.validator}: {self.text}"


class Verdict(NamedTuple):
    """What was found. `hard` are the objects whose search was given up."""

    violations: list[Violation]
    hard: list[str]

    @property
    def undecided(self) -> int:
        """How many searches were given up."""
        return len(self.hard)


Validator = Callable[[Facts], Iterator[str]]


def judge(history: History) -> Verdict:
    """Run every validator."""
    facts = Facts(history)
    violations = []
    for validator in VALIDATORS:
        texts = islice(validator(facts), MAX_REPORTED)
        violations += [Violation(validator.__name__, text) for text in texts]
    return Verdict(violations, facts.hard)


def _op(op: Operation) -> str:
    outcome = f"{op.outcome} {op.revision or op.code or ''}".strip()
    return (
        f"{'cached ' * op.cached}{op.verb} {op.resource} {op.key} by client {op.client} of server {op.server} at {op.call:.4f}–{op.end:.4f} "
        f"(value {op.value!r}, expect {op.expect}, uid {op.uid[:8]}): {outcome}"
    )


def _fact(fact: Fact) -> str:
    what = "deleted" if fact.value is None else f"= {fact.value!r}"
    return f"{fact.resource} {fact.key} {what} at revision {fact.revision} ({fact.source}, {fact.when:.4f})"


def _segment(segment: Segment) -> str:
    scope = f"{segment.scope or '*'}/{segment.name or '*'}"
    return (
        f"watcher {segment.watcher} of {segment.resource} {scope} at server {segment.server} from {segment.start} "
        f"at {segment.opened:.4f}"
    )


# Answers

EXPECTED_CODES = {
    "create": {409, 429, 507},
    "update": {400, 404, 409, 429, 507},  # 400: a PUT with a version of a lease that is gone
    "patch": {404, 429, 507},
    "delete": {404, 409, 429, 507},
    "get": {404, 429},
}
UNAVAILABLE_CODES = {0, 503, 504}
"""Of unknown outcomes; 0 is no answer."""
LIST_CODES = {0, 410, 429, 503, 504}
WATCH_ENDS = {"ended", "lost", "expired", "closed", "429", "503", "504"}


def answers(facts: Facts) -> Iterator[str]:
    """Errors are those that the API promises."""
    for op in facts.history.operations:
        good = op.outcome == OK or op.code in (
            EXPECTED_CODES[op.verb] if op.outcome == REFUSED else UNAVAILABLE_CODES
        )
        if not good or (op.code == 400 and op.resource != "leases"):
            yield f"{_op(op)}: {op.reason}"
    for listing in facts.history.listings:
        if listing.outcome != OK and listing.code not in LIST_CODES:
            yield f"{listing.mode} list of {listing.resource}: {listing.code} {listing.reason}"
        if listing.mode == "final" and listing.outcome != OK:
            yield f"the final list of {listing.resource} failed: {listing.code} {listing.reason}"
    for segment in facts.history.segments:
        if segment.end.split(" ")[0] not in WATCH_ENDS:
            yield f"{_segment(segment)} ended with {segment.end}"


def known_values(facts: Facts) -> Iterator[str]:
    """Values come from operations on the same object that had been called."""
    written = {op.value: op for op in facts.history.operations if op.verb in ("create", "update", "patch")}
    for fact in facts.by_revision.values():
        if fact.value is None:
            continue
        op = written.get(fact.value)
        if op is None or (op.resource, op.key) != (fact.resource, fact.key):
            yield f"{_fact(fact)}: nobody wrote that"
        elif op.call > fact.when:
            yield f"{_fact(fact)}: before {_op(op)}"


def refused(facts: Facts) -> Iterator[str]:
    """What was refused has no effect."""
    shown = {fact.value: fact for fact in facts.by_revision.values() if fact.value is not None}
    for op in facts.history.operations:
        if op.outcome == REFUSED and op.verb != "get" and op.value in shown:
            yield f"{_op(op)}, and yet {_fact(shown[op.value])}"


# Revisions


def unique_revisions(facts: Facts) -> Iterator[str]:
    """A revision of a partition is one write."""
    for one, other in facts.clashes:
        yield f"{_fact(one)}, but {_fact(other)}"
    made: dict[str, Operation] = {}
    for op in facts.history.operations:
        if op.outcome == OK and op.revision and op.verb in ("create", "update", "patch"):
            place = f"{facts.history.partitions[op.resource]}@{op.revision}"
            if place in made:
                yield f"{_op(made[place])} and {_op(op)}"
            made[place] = op


def once(facts: Facts) -> Iterator[str]:
    """A value belongs to one write, so it is at one revision."""
    first: dict[str, Fact] = {}
    for known in facts.of_key.values():
        for fact in known:
            if fact.value is not None and first.setdefault(fact.value, fact) is not fact:
                yield f"{_fact(first[fact.value])}, and again {_fact(fact)}"


class Known:
    """Per partition: the newest revision that anybody had been shown by a time, of all servers or of one."""

    def __init__(self, facts: Facts, server: int | None = None, *, only_writes: bool = False) -> None:
        """Gathers acknowledgements and, unless `only_writes`, reads, lists and events."""
        history = facts.history
        shown: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for op in history.operations:
            counts = op.verb != "get" or not only_writes
            if counts and op.outcome == OK and op.revision and server in (None, op.server):
                shown[history.partitions[op.resource]].append((op.end, op.revision))
        for listing in history.listings if not only_writes else ():
            if listing.outcome == OK and server in (None, listing.server):
                shown[history.partitions[listing.resource]].append((listing.end, listing.revision))
        for segment in history.segments if not only_writes else ():
            if server in (None, segment.server):
                partition = history.partitions[segment.resource]
                shown[partition] += [(event.time, event.revision) for event in segment.events]
        self._times: dict[str, list[float]] = {}
        self._newest: dict[str, list[int]] = {}
        for partition, pairs in shown.items():
            pairs.sort()
            newest, running = 0, []
            for _, revision in pairs:
                newest = max(newest, revision)
                running.append(newest)
            self._times[partition] = [time for time, _ in pairs]
            self._newest[partition] = running

    def before(self, partition: str, time: float) -> int:
        """The newest revision shown strictly before `time`."""
        at = bisect_left(self._times.get(partition, []), time)
        return self._newest[partition][at - 1] if at else 0


def revisions_ascend(facts: Facts) -> Iterator[str]:
    """A write gets a revision newer, a list one not older, than whatever was shown before it was called."""
    history, known = facts.history, Known(facts)
    for op in history.operations:
        if op.outcome == OK and op.verb in ("create", "update", "patch"):
            newest = known.before(history.partitions[op.resource], op.call)
            if op.revision <= newest:
                yield f"{_op(op)}: revision {newest} had been shown before"
    for listing in history.listings:
        if listing.outcome == OK and listing.mode in ("whole", "pages", "final", "stream"):
            newest = known.before(history.partitions[listing.resource], listing.call)
            if listing.revision < newest:
                yield (
                    f"{listing.mode} list of {listing.resource} by {listing.client} at {listing.call:.4f} is of "
                    f"revision {listing.revision}: {newest} had been shown before"
                )


# Durability


def _final(facts: Facts) -> dict[str, Listing]:
    """By resource: the last."""
    return {listing.resource: listing for listing in _finals(facts)}


def _finals(facts: Facts) -> list[Listing]:
    return [
        listing for listing in facts.history.listings if listing.mode == "final" and listing.outcome == OK
    ]


def durable(facts: Facts) -> Iterator[str]:
    """After the last restart the newest write of each object is there; acknowledged deletions hold."""
    for final in _finals(facts):
        yield from _lost(facts, final)
    gone = {
        (op.resource, op.uid): op
        for op in facts.history.operations
        if op.verb == "delete" and op.outcome == OK and op.uid
    }
    for resource, uid, when, what in _sightings(facts.history):
        op = gone.get((resource, uid))
        if op is not None and when > op.end:
            yield f"{_op(op)}, but {what}"


def _lost(facts: Facts, final: Listing) -> Iterator[str]:
    """What a final list should have. Those of other servers came a little earlier than the last one."""
    present = {item.key: item for item in final.items}
    for (resource, key), known in facts.of_key.items():
        if resource != final.resource:
            continue
        newest = next((fact for fact in reversed(known) if fact.revision <= final.revision), None)
        item = present.get(key)
        if newest is None:
            continue
        if newest.value is None:
            if item is not None:
                yield f"{_fact(newest)}, but the final list of server {final.server} has {item}"
        elif item is not None and item.revision < newest.revision:
            yield f"{_fact(newest)}, but the final list of server {final.server} has {item}"
        elif item is None and facts.covered(resource, newest.revision, final.revision):
            yield f"{_fact(newest)}, but the final list of server {final.server} does not have it"


def _sightings(history: History) -> Iterator[tuple[str, str, float, str]]:
    """Objects as consistent reads showed them: resource, uid, when the read was called, what it was."""
    for op in history.operations:
        if op.outcome == OK and op.verb == "get" and not op.cached:
            yield op.resource, op.uid, op.call, _op(op)
    for listing in history.listings:
        if listing.outcome == OK and listing.mode in ("whole", "final", "stream"):
            for item in listing.items:
                yield (
                    listing.resource,
                    item.uid,
                    listing.call,
                    f"a list called at {listing.call:.4f} has {item}",
                )


def taken_back(facts: Facts) -> Iterator[str]:
    """Whatever was shown is part of the history that the last server tells."""
    for segment in facts.history.segments:
        if segment.replay:
            yield from _missing(facts, segment)


# Linearizability


def linearizable(facts: Facts) -> Iterator[str]:
    """Each object's operations have an order that explains them."""
    shown: dict[str, Fact] = {
        fact.value: fact for fact in facts.by_revision.values() if fact.value is not None
    }
    of_key: dict[tuple[str, str], list[Step]] = defaultdict(list)
    known = Known(facts)
    deleted = {(fact.resource, fact.uid) for fact in facts.by_revision.values() if fact.value is None}
    for op in facts.history.operations:
        # Whatever it did has a revision after all that had been shown before it was called.
        since = known.before(facts.history.partitions[op.resource], op.call)
        found = _as_step(op, shown, facts.complete(op.resource, since), deleted)
        if found is not None:
            of_key[op.resource, op.key].append(found)
    for (resource, key), steps in of_key.items():
        steps = _useful(steps)
        try:
            if linearize(steps) is None:
                yield f"{resource} {key}: no order of its operations explains them\n" + _shortest(steps)
        except TooHard:
            facts.hard.append(f"{resource} {key}")


def _useful(steps: list[Step]) -> list[Step]:
    """Without updates that nobody has seen, unless a conflict may be due to one: they explain nothing else."""
    if any(
        step.operation.verb == "update" and step.operation.outcome == REFUSED and step.operation.code == 409
        for step in steps
    ):
        return steps
    return [step for step in steps if not (step.optional and step.operation.verb in ("update", "patch"))]


def _as_step(
    op: Operation, shown: dict[str, Fact], complete: bool, deleted: set[tuple[str, str]]
) -> Step | None:
    """How the search sees an operation; None when it says nothing."""
    if op.cached:
        return None
    if op.outcome != UNKNOWN:
        return Step(op, op.call, op.end, False)
    if op.verb == "get":
        return None
    if op.verb == "delete":
        if complete and op.uid and (op.resource, op.uid) not in deleted:
            return None  # it never happened
        return Step(op, op.call, inf, True)
    fact = shown.get(op.value)
    if fact is not None:
        # It happened, at the latest when somebody saw it.
        known = _with(op, fact.revision, fact.uid)
        return Step(known, op.call, fact.when, False)
    if complete:
        return None
    return Step(_with(op, 0, ANY_UID), op.call, inf, True)


def _with(op: Operation, revision: int, uid: str) -> Operation:
    return Operation(
        **{name: getattr(op, name) for name in op.__struct_fields__} | {"revision": revision, "uid": uid}
    )


def _shortest(steps: list[Step]) -> str:
    """The operations up to the first answer that cannot be explained any more."""
    steps = sorted(steps, key=lambda item: item.end)
    low, high = 1, len(steps)
    while low < high:
        middle = (low + high) // 2
        try:
            explained = linearize(_until(steps, middle)) is not None
        except TooHard:
            break
        if not explained:
            high = middle
        else:
            low = middle + 1
    part = sorted(_until(steps, low), key=lambda item: item.call)
    return "\n".join(f"    {_op(item.operation)}" for item in part[-12:])


def _until(steps: list[Step], count: int) -> list[Step]:
    """The first answers, and what was called before the last of them, as if that had not been answered yet."""
    last = steps[count - 1].end
    later = [
        Step(item.operation, item.call, inf, True)
        for item in steps[count:]
        if item.call <= last and item.operation.verb != "get" and item.operation.outcome != REFUSED
    ]
    return steps[:count] + later


def fresh(facts: Facts) -> Iterator[str]:
    """A get shows a state not older than what anybody knew before it began."""
    known = Known(facts)
    for op in facts.history.operations:
        if not op.cached:
            yield from _behind(facts, op, known)


def _behind(facts: Facts, op: Operation, known: Known) -> Iterator[str]:
    """Whether a get shows an older state than what was known before it began."""
    if op.verb != "get" or (op.outcome != OK and op.code != 404):
        return
    newest = known.before(facts.history.partitions[op.resource], op.call)
    due = facts.at(op.resource, op.key, newest)
    if due is None:
        return
    if op.outcome == OK and due.revision > op.revision:
        yield f"{_op(op)}: {_fact(due)} was known before"
    elif op.outcome != OK and due.value is not None:
        later = [f for f in facts.of_key[op.resource, op.key] if f.revision > due.revision]
        end = later[0].revision if later else max(newest, due.revision)
        gone = any(f.value is None for f in later)
        if not gone and facts.covered(op.resource, due.revision, end):
            yield f"{_op(op)}: {_fact(due)} was known before"


# What each server owes to those who stay with it


def own_writes(facts: Facts) -> Iterator[str]:
    """What a server has acknowledged, whoever wrote it to disk, its own reads show."""
    yield from _cached_reads(facts, only_writes=True)


def never_back(facts: Facts) -> Iterator[str]:
    """What a server has shown in any way, its reads do not go back behind."""
    yield from _cached_reads(facts, only_writes=False)


def _cached_reads(facts: Facts, *, only_writes: bool) -> Iterator[str]:
    history = facts.history
    servers = {op.server for op in history.operations if op.cached}
    servers |= {listing.server for listing in history.listings if listing.mode == "cached"}
    for server in sorted(servers):
        known = Known(facts, server, only_writes=only_writes)
        for op in history.operations:
            if op.cached and op.server == server:
                for text in _behind(facts, op, known):
                    yield f"server {server}: {text}"
        for listing in history.listings:
            if listing.mode == "cached" and listing.server == server and listing.outcome == OK:
                newest = known.before(history.partitions[listing.resource], listing.call)
                if listing.revision < newest:
                    yield (
                        f"server {server}: cached list of {listing.resource} by {listing.client} at "
                        f"{listing.call:.4f} is of revision {listing.revision}: it had shown {newest} before"
                    )


def not_older(facts: Facts) -> Iterator[str]:
    """NotOlderThan is kept."""
    for listing in facts.history.listings:
        if listing.mode == "bounded" and listing.outcome == OK and listing.revision < listing.asked:
            yield (
                f"server {listing.server}: list of {listing.resource} by {listing.client} at {listing.call:.4f} "
                f"is of revision {listing.revision}, not of {listing.asked} or later"
            )


# Lists


def consistent_lists(facts: Facts) -> Iterator[str]:
    """A list is exactly what the facts say of its revision."""
    for listing in facts.history.listings:
        if listing.outcome != OK:
            continue
        name = (
            f"{listing.mode} list of {listing.resource} {listing.scope or '*'} by {listing.client} "
            f"at {listing.call:.4f}, revision {listing.revision}"
        )
        if len(set(listing.revisions)) > 1:
            yield f"{name}: its pages are of revisions {listing.revisions}"
            continue
        if listing.mode == "exact" and listing.revision != listing.asked:
            yield f"{name}: {listing.asked} was asked for"
        if [item.key for item in listing.items] != sorted(
            {item.key for item in listing.items}
        ) and listing.mode != "stream":
            yield f"{name}: keys out of order or doubled"
        yield from (f"{name}: {text}" for text in _differences(facts, listing))


def _differences(facts: Facts, listing: Listing) -> Iterator[str]:
    resource, revision = listing.resource, listing.revision
    items = {item.key: item for item in listing.items}
    for item in listing.items:
        if listing.scope and not item.key.startswith(listing.scope + "/"):
            yield f"{item} is of another namespace"
        if item.revision > revision:
            yield f"{item} is newer"
        due = facts.at(resource, item.key, revision)
        if due is not None and due.revision > item.revision:
            yield f"it has {item}, but {_fact(due)}"
    for (of, key), _ in facts.of_key.items():
        if of != resource or key in items or (listing.scope and not key.startswith(listing.scope + "/")):
            continue
        due = facts.at(resource, key, revision)
        if due is not None and due.value is not None and facts.covered(resource, due.revision, revision):
            yield f"it lacks {_fact(due)}"


# Watches


def ordered(facts: Facts) -> Iterator[str]:
    """Events come in the order of revisions, across resumptions too."""
    for chain in _chains(facts.history).values():
        newest = 0
        for segment in chain:
            newest = max(newest, segment.start)
            for event in segment.events:
                if event.type != "BOOKMARK" and event.revision < newest:
                    yield f"{_segment(segment)}: {event} after revision {newest}"
                newest = max(newest, event.revision)


def unique(facts: Facts) -> Iterator[str]:
    """No event comes twice."""
    for chain in _chains(facts.history).values():
        seen: set[int] = set()
        for segment in chain:
            for event in segment.events:
                if event.type == "BOOKMARK":
                    continue
                if event.revision in seen:
                    yield f"{_segment(segment)}: {event} twice"
                seen.add(event.revision)


def filtered(facts: Facts) -> Iterator[str]:
    """No event of others, none of before."""
    for segment in facts.history.segments:
        for event in segment.events:
            if event.type != "BOOKMARK" and not segment.concerns(segment.resource, event.key):
                yield f"{_segment(segment)}: {event}"
            if event.type != "BOOKMARK" and event.revision <= segment.start:
                yield f"{_segment(segment)}: {event} is not after its start"


def typed(facts: Facts) -> Iterator[str]:
    """ADDED when there was none, MODIFIED and DELETED when there was one: that one."""
    for segment in facts.history.segments:
        base = facts.history.base.get(segment.resource, 0)
        for event in segment.events:
            if event.type == "BOOKMARK":
                continue
            known = facts.of_key[segment.resource, event.key]
            at = bisect_left(known, event.revision, key=lambda fact: fact.revision)
            before = known[at - 1] if at else None
            if not facts.covered(segment.resource, before.revision if before else base, event.revision - 1):
                continue
            existed = before is not None and before.value is not None
            if (event.type == "ADDED") == existed:
                yield f"{_segment(segment)}: {event} after {_fact(before) if before else 'nothing'}"
            elif existed and before is not None and before.uid != event.uid:
                yield f"{_segment(segment)}: {event} has another uid than {_fact(before)}"
            elif event.type == "DELETED" and before is not None and before.value != event.value:
                yield f"{_segment(segment)}: {event} does not show {_fact(before)}"


def _missing(facts: Facts, segment: Segment) -> Iterator[str]:
    """Facts in a segment's span that it has not shown."""
    known = facts.of_resource[segment.resource]
    low = bisect_right(known, segment.start, key=lambda fact: fact.revision)
    high = bisect_right(known, segment.covers, key=lambda fact: fact.revision)
    got = {event.revision for event in segment.events if event.type != "BOOKMARK"}
    for fact in known[low:high]:
        if fact.revision not in got and segment.concerns(fact.resource, fact.key):
            yield f"{_segment(segment)}, which shows everything up to {segment.covers}, lacks {_fact(fact)}"


def reliable(facts: Facts) -> Iterator[str]:
    """No event is lost between the start of a watch and the newest it has shown."""
    for segment in facts.history.segments:
        if not segment.replay:
            yield from _missing(facts, segment)


def resumable(facts: Facts) -> Iterator[str]:
    """A resumed watch goes on right after its revision; that it is too old is no answer while nothing is compacted.

    A server that is cut off from its journal may say that it does not have a revision yet, when there are others.
    """
    alone = int(facts.history.plan.get("servers", 1)) == 1
    for segment in facts.history.segments:
        if not segment.resumes:
            continue
        if segment.end.startswith("504") and alone:
            yield f"{_segment(segment)}: the revision it was shown has not happened: {segment.end}"
        if segment.end == "expired" and not facts.history.plan.get("compacts"):
            yield f"{_segment(segment)}: expired, though nothing was compacted"
        first = next((event for event in segment.events if event.type != "BOOKMARK"), None)
        if first is None:
            continue
        known = facts.of_resource[segment.resource]
        at = bisect_right(known, segment.start, key=lambda fact: fact.revision)
        due = next((f for f in known[at:] if segment.concerns(f.resource, f.key)), None)
        if due is not None and due.revision < first.revision:
            yield f"{_segment(segment)} goes on with {first} instead of {_fact(due)}"


def bookmarkable(facts: Facts) -> Iterator[str]:
    """Bookmarks do not go back, and nothing comes after a bookmark that is not newer."""
    for segment in facts.history.segments:
        mark = newest = segment.start
        for event in segment.events:
            if event.type == "BOOKMARK":
                if event.revision < newest:
                    yield f"{_segment(segment)}: bookmark {event.revision} after revision {newest}"
                mark = event.revision
            elif event.revision <= mark:
                yield f"{_segment(segment)}: {event} after a bookmark at {mark}"
            newest = max(newest, event.revision)


def replayed(facts: Facts) -> Iterator[str]:
    """List and events of each watcher's last chain make the final list."""
    history, finals = facts.history, _final(facts)
    begun = {
        listing.chain: listing for listing in history.listings if listing.chain and listing.outcome == OK
    }
    last = {segment.watcher: segment.chain for segment in history.segments}
    for chain, segments in _chains(history).items():
        segment = segments[-1]
        final = finals.get(segment.resource)
        if final is None or last[segment.watcher] != chain or segment.end == "expired":
            continue
        if segment.covers < final.revision:
            yield f"{_segment(segment)} has seen nothing after {segment.covers}; the final list is of {final.revision}"
            continue
        # A write whose answer was lost may still come after the final list.
        state: dict[str, Seen] = {}
        if chain in begun:
            if begun[chain].revision > final.revision:
                continue
            state = {item.key: item for item in begun[chain].items}
        events = (event for s in segments for event in s.events if event.revision <= final.revision)
        for event in events:
            if event.type == "DELETED":
                state.pop(event.key, None)
            elif event.type != "BOOKMARK":
                state[event.key] = Seen(event.key, event.revision, event.value, event.uid)
        want = {item.key: item for item in final.items if segment.concerns(segment.resource, item.key)}
        state = {key: item for key, item in state.items() if segment.concerns(segment.resource, key)}
        if state != want:
            wrong = sorted(key for key in state.keys() | want if state.get(key) != want.get(key))
            yield f"{_segment(segment)}: {[(k, state.get(k), want.get(k)) for k in wrong[:3]]} (its own, the final list's)"


def _chains(history: History) -> dict[int, list[Segment]]:
    chains: dict[int, list[Segment]] = defaultdict(list)
    for segment in history.segments:
        chains[segment.chain].append(segment)
    return chains


VALIDATORS: tuple[Validator, ...] = (
    answers,
    known_values,
    refused,
    unique_revisions,
    once,
    revisions_ascend,
    durable,
    taken_back,
    linearizable,
    fresh,
    own_writes,
    never_back,
    not_older,
    consistent_lists,
    ordered,
    unique,
    filtered,
    typed,
    reliable,
    resumable,
    bookmarkable,
    replayed,
)
