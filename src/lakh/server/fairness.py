"""API priority and fairness: who may be served now, who waits, who is told to come back.

Requests are classified by the cluster's FlowSchemas into PriorityLevelConfigurations, as upstream does. Each level has its share of `SEATS`; what
others may lend and do not use can be borrowed at once. Within a level, flows are queued fairly (`fairqueue`).

What takes a seat: lists, watches that begin with a list, and writes, the latter only when `FREE_WRITES` requests are under way already: a write
holds the loop for a tenth of a millisecond, so below that nobody could be helped by waiting, and the everyday path costs one
comparison. Single reads are answered faster than they could be queued. A seat is kept at least until the next turn of the loop, so that many small
lists that arrive together do not hold the loop together.

A list is as wide as what it holds in memory at once is large, as upstream estimates it (`list_work_estimator.go`, SizeBasedListCostEstimate): a seat
for each 100 KB, ten at most.

Costs of a request that takes a seat: 3 µs when there are free ones. Classification is remembered per user, verb, resource and namespace.
What is under way and waits can be looked at: `fairdump`.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from lakh.apis import flowdefaults
from lakh.machinery import errors, gonumbers
from lakh.machinery.metrics import Counter, Family, Histogram, Registry
from lakh.server.fairqueue import Level, Ticket
from lakh.server.following import Following

if TYPE_CHECKING:
    from lakh.server.authn import User
    from lakh.server.cluster import Cluster
    from lakh.server.exchange import Response
    from lakh.server.routing import RequestInfo
    from lakh.store.state import Event

# kube-apiserver's --max-requests-inflight and --max-mutating-requests-inflight together.
SEATS = 600
FREE_WRITES = 64
BYTES_PER_SEAT = 100_000
LIST_SEATS_MAX = 10
# A quarter of upstream's request timeout.
WAIT_SECONDS = 15.0
RETRY_SECONDS = 1
# Classifications remembered; users times what they ask for.
CLASSIFIED_MAX = 50_000

WAIT_BOUNDS = (0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)

TOO_MANY = "Too many requests, please try again later."
_WRITES = frozenset(("create", "update", "patch", "delete", "deletecollection"))


class Traffic:
    """What one schema has at one level: requests under way with their seats, requests that wait, and the counters."""

    __slots__ = ("dispatched", "executing", "given_up", "ran", "seats", "waited", "waiting", "widths")

    def __init__(self, metrics: FairnessMetrics, level: str, schema: str) -> None:
        self.executing = 0
        self.seats = 0
        self.waiting = 0
        self.dispatched = metrics.dispatched.child(level, schema)
        self.waited = metrics.waits.child(level, schema, "true")
        self.given_up = metrics.waits.child(level, schema, "false")
        self.ran = metrics.executions.child(level, schema, "regular")
        self.widths = metrics.widths.child(level, schema)


class Flow:
    """Requests of one schema and one distinguisher: where they go and what their answers are marked with."""

    __slots__ = ("distinguisher", "hash", "headers", "level", "schema", "traffic")

    def __init__(
        self, schema: str, distinguisher: str, level: Level | None, traffic: Traffic, headers: Any
    ) -> None:
        digest = hashlib.blake2b(f"{schema}\0{distinguisher}".encode(), digest_size=8).digest()
        self.schema = schema
        self.distinguisher = distinguisher
        self.level = level
        self.traffic = traffic
        self.hash = int.from_bytes(digest, "big")
        self.headers: tuple[tuple[bytes, bytes], ...] = headers

    def __repr__(self) -> str:
        return f"<Flow {self.schema} at {self.level.name if self.level else 'exempt'}>"


class Grant:
    """A request's way through its level. `leave` gives the seat back; more often does no harm."""

    __slots__ = ("_fairness", "flow", "future", "info", "ticket", "user", "waited")

    def __init__(self, fairness: Fairness, flow: Flow, ticket: Ticket, user: User, info: RequestInfo) -> None:
        self._fairness = fairness
        self.flow = flow
        self.ticket = ticket
        self.user = user
        self.info = info
        self.future: asyncio.Future[None] | None = None
        """Done when a seat is there; None when it was at once."""
        self.waited = 0.0

    @property
    def running(self) -> bool:
        """It has its seat."""
        return self.ticket.running

    def leave(self) -> None:
        """The request is done."""
        if self.ticket.running:
            self._fairness.leave(self)

    async def wait(self) -> None:
        """Wait for the seat. Raises 429 when that takes too long."""
        await self._fairness.wait(self)

    def mark(self, response: Response) -> Response:
        """The answer with the headers that tell how it was classified."""
        response.headers += self.flow.headers
        return response


class FairnessMetrics:
    """Upstream's `apiserver_flowcontrol_*`. Requests that need no seat are not in them."""

    def __init__(self, add: Registry, fairness: Fairness) -> None:
        labels = ("priority_level", "flow_schema")

        def counter(name: str, text: str, *more: str) -> Family[Counter]:
            return add.counter(f"apiserver_flowcontrol_{name}", text, (*labels, *more))

        def histogram(name: str, text: str, bounds: Sequence[float], *more: str) -> Family[Histogram]:
            return add.histogram(f"apiserver_flowcontrol_{name}", text, (*labels, *more), bounds)

        self.rejected = counter("rejected_requests_total", "Requests rejected.", "reason")
        self.dispatched = counter("dispatched_requests_total", "Requests that were given a seat.")
        self.waits = histogram(
            "request_wait_duration_seconds", "How long requests waited.", WAIT_BOUNDS, "execute"
        )
        self.executions = histogram(
            "request_execution_seconds", "How long requests kept their seats.", WAIT_BOUNDS, "type"
        )
        self.widths = histogram("work_estimated_seats", "Seats that requests took.", (1, 2, 4, 10))
        for name, text, read in (
            ("current_executing_requests", "Requests that have a seat.", lambda t: t.executing),
            ("current_executing_seats", "Seats in use.", lambda t: t.seats),
            ("current_inqueue_requests", "Requests that wait.", lambda t: t.waiting),
        ):
            add.reading(
                f"apiserver_flowcontrol_{name}",
                text,
                labels,
                lambda read=read: [(key, read(traffic)) for key, traffic in fairness.traffic.items()],  # type: ignore[misc]
            )
        for name, text, limit in (
            ("nominal_limit_seats", "Seats of the level.", lambda level: level.seats),
            ("current_limit_seats", "Seats that the level may use now.", fairness.limit),
        ):
            add.reading(
                f"apiserver_flowcontrol_{name}",
                text,
                ("priority_level",),
                lambda limit=limit: [((n,), limit(level)) for n, level in fairness.levels.items()],  # type: ignore[misc]
            )


class Fairness:
    """All levels of a server."""

    def __init__(self, cluster: Cluster, metrics: Registry, *, seats: int = SEATS) -> None:
        self.seats = seats
        self.levels: dict[str, Level] = {}
        self._cluster = cluster
        self._shares: list[tuple[Level, int]] = []  # the level and what it lends to nobody
        self._schemas: list[_Schema] = []
        self._headers: dict[str, bytes] = {}
        self._known: dict[tuple[Any, ...], Flow] = {}
        self._stale = True
        self.traffic: dict[tuple[str, str], Traffic] = {}
        """By level and schema."""
        self._metrics = FairnessMetrics(metrics, self)
        for plural in ("flowschemas", "prioritylevelconfigurations"):
            store = cluster.named("flowcontrol.apiserver.k8s.io", "v1", plural)
            Following(store.partition, store.table, self._on_change, lambda: self._on_change([]))

    def __repr__(self) -> str:
        return f"<Fairness {list(self.levels.values())}>"

    def enter(
        self, user: User, info: RequestInfo, query: dict[str, str], in_flight: int, objects: int, size: int
    ) -> Grant | None:
        """The way of a request; None when it needs no seat. Raises 429 when its level is full.

        `objects` is how many a list would look at, before its limit; `size` what one of them has in bytes.
        """
        verb = info.verb
        width = 1
        if verb in _WRITES:
            if in_flight < FREE_WRITES:
                return None
        elif verb == "list" or (
            verb == "watch"
            and (query.get("resourceVersion", "0") in ("", "0") or "sendInitialEvents" in query)
        ):
            if not info.name:
                limit = query.get("limit", "")
                if gonumbers.is_uint(limit) and 0 < int(limit) < objects:
                    objects = int(limit)
                width = min(max(1, -(-objects * size // BYTES_PER_SEAT)), LIST_SEATS_MAX)
        else:
            return None
        flow = self.classify(user, info)
        level = flow.level
        if level is None:
            return None
        now = time.monotonic()
        ticket = Ticket(flow.hash, width, now)
        level.enter(ticket, now, self._spare(level, width))
        grant = Grant(self, flow, ticket, user, info)
        if ticket.rejected:
            self._reject(grant, "queue-full" if level.queues else "concurrency-limit")
        elif ticket.running:
            self._seated(grant)
        else:
            flow.traffic.waiting += 1
            ticket.payload = grant  # until it waits no more: both would keep each other
            grant.future = asyncio.get_running_loop().create_future()
        return grant

    def _seated(self, grant: Grant) -> None:
        traffic = grant.flow.traffic
        traffic.dispatched.value += 1
        traffic.executing += 1
        traffic.seats += grant.ticket.width
        traffic.widths.observe(grant.ticket.width)

    def leave(self, grant: Grant) -> None:
        """A running request is done: its seat goes to whoever waits, at its level or at one that may borrow it."""
        level, now = grant.flow.level, time.monotonic()
        assert level is not None
        traffic = grant.flow.traffic
        traffic.executing -= 1
        traffic.seats -= grant.ticket.width
        traffic.ran.observe(now - grant.ticket.since)
        level.leave(grant.ticket, now)
        self._dispatch(level, now)
        if len(self._shares) > 1 and not level.waiting:
            for other, _ in self._shares:
                if other.waiting:
                    self._dispatch(other, now)

    async def wait(self, grant: Grant) -> None:
        """Wait for a seat; raises 429 after `WAIT_SECONDS`."""
        ticket, traffic = grant.ticket, grant.flow.traffic
        assert grant.future is not None
        began = time.monotonic()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await grant.future
        except TimeoutError:
            if not ticket.running:
                self._give_up(grant, cancelled=False)
                traffic.given_up.observe(time.monotonic() - began)
                self._reject(grant, "time-out")
        except asyncio.CancelledError:
            if ticket.running:
                self.leave(grant)
            else:
                self._give_up(grant, cancelled=True)
            raise
        grant.waited = time.monotonic() - began
        traffic.waited.observe(grant.waited)

    def _give_up(self, grant: Grant, *, cancelled: bool) -> None:
        level = grant.flow.level
        assert level is not None
        level.give_up(grant.ticket, time.monotonic(), cancelled=cancelled)
        grant.ticket.payload = None
        grant.flow.traffic.waiting -= 1

    def _dispatch(self, level: Level, now: float) -> None:
        while True:
            # The head's width is not known here; one seat more than is spare is never given.
            ticket = level.dispatch(now, self._spare(level, LIST_SEATS_MAX))
            if ticket is None:
                return
            grant: Grant = ticket.payload
            ticket.payload = None
            grant.flow.traffic.waiting -= 1
            self._seated(grant)
            assert grant.future is not None
            if grant.future.done():  # its client went away in this very turn; `wait` gives the seat back
                continue
            grant.future.set_result(None)

    def limit(self, level: Level) -> int:
        """The seats that a level may use now: its own, and what others lend and do not use."""
        return level.seats + self._spare(level, self.seats)

    def _spare(self, level: Level, width: int) -> int:
        """Seats beyond its own that a level may use: what others lend and do not use."""
        if level.used + width <= level.seats:
            return 0
        taken = 0
        for other, kept in self._shares:
            if other is not level:
                taken += max(other.used, kept)
        return max(0, self.seats - taken - level.seats)

    def _reject(self, grant: Grant, reason: str) -> None:
        flow = grant.flow
        assert flow.level is not None
        self._metrics.rejected.child(flow.level.name, flow.schema, reason).inc()
        raise Rejected(flow)

    # Classification

    def classify(self, user: User, info: RequestInfo) -> Flow:
        """The flow that a request belongs to."""
        if self._stale:
            self._load()
        key = (user.name, user.groups, info.verb, info.resource, info.subresource, info.namespace)
        flow = self._known.get(key)
        if flow is None:
            if len(self._known) >= CLASSIFIED_MAX:
                self._known.clear()
            flow = self._known[key] = self._classify(user, info)
        return flow

    def _classify(self, user: User, info: RequestInfo) -> Flow:
        for schema in self._schemas:
            if schema.level_name != "exempt" and schema.level_name not in self.levels:
                continue  # its level is missing
            if schema.matches(user, info):
                break
        else:
            raise errors.internal("no flow schema matches")  # catch-all is always there
        distinguisher = {"ByUser": user.name, "ByNamespace": info.namespace}.get(schema.method, "")
        headers = (
            (b"X-Kubernetes-PF-FlowSchema-UID", schema.uid.encode()),
            (
                b"X-Kubernetes-PF-PriorityLevel-UID",
                self._headers.get(schema.level_name, b""),
            ),
        )
        key = (schema.level_name, schema.name)
        traffic = self.traffic.get(key)
        if traffic is None:
            traffic = self.traffic[key] = Traffic(self._metrics, *key)
        return Flow(schema.name, distinguisher, self.levels.get(schema.level_name), traffic, headers)

    def _on_change(self, events: list[Event]) -> None:
        self._stale = True

    def _load(self) -> None:
        """Reads levels and schemas anew. Levels that stay keep their queues; requests under way end where they began."""
        self._stale = False
        self._known.clear()
        found = {c.metadata.name: c for c in self._decoded("prioritylevelconfigurations", _LevelView)}
        for plain in flowdefaults.levels():  # what is mandatory is there even when somebody deleted it
            if plain["metadata"]["name"] in ("exempt", "catch-all"):
                found.setdefault(plain["metadata"]["name"], msgspec.convert(plain, _LevelView))
        limited = {n: c.spec.limited for n, c in found.items() if c.spec.limited is not None}
        total = sum(x.nominalConcurrencyShares for x in limited.values()) or 1
        levels: dict[str, Level] = {}
        self._shares = []
        for name, spec in limited.items():
            seats = -(-self.seats * spec.nominalConcurrencyShares // total)
            queuing = spec.limitResponse.queuing or _Queuing(0, 0, 0)
            level = self.levels.get(name)
            shape = (queuing.queues, queuing.handSize, queuing.queueLengthLimit)
            if level is None or level.shape != shape:
                level = Level(
                    name,
                    seats,
                    queues=queuing.queues,
                    hand_size=queuing.handSize,
                    queue_length=queuing.queueLengthLimit,
                )
            level.seats = seats
            levels[name] = level
            self._shares.append((level, seats * (100 - spec.lendablePercent) // 100))
        self.levels = levels
        self._headers = {name: (c.metadata.uid or "").encode() for name, c in found.items()}
        schemas = {c.metadata.name: c for c in self._decoded("flowschemas", _SchemaView)}
        for plain in flowdefaults.schemas():
            if plain["metadata"]["name"] in ("exempt", "catch-all"):
                schemas.setdefault(plain["metadata"]["name"], msgspec.convert(plain, _SchemaView))
        self._schemas = sorted((_Schema(s) for s in schemas.values()), key=lambda s: (s.precedence, s.name))

    def _decoded(self, plural: str, view: Any) -> list[Any]:
        store = self._cluster.named("flowcontrol.apiserver.k8s.io", "v1", plural)
        decode = msgspec.json.Decoder(view).decode
        return [decode(item.value) for item in store.partition.range(store.table).items]


class Rejected(errors.StatusError):
    """429, with the headers of the flow that was too much."""

    def __init__(self, flow: Flow) -> None:
        super().__init__(429, "TooManyRequests", TOO_MANY, {"retryAfterSeconds": RETRY_SECONDS})
        self.headers = flow.headers


class _Metadata(msgspec.Struct, gc=False):
    name: str
    uid: str | None = None


class _Queuing(msgspec.Struct, gc=False):
    queues: int
    handSize: int
    queueLengthLimit: int


class _LimitResponse(msgspec.Struct, gc=False):
    queuing: _Queuing | None = None


class _Limited(msgspec.Struct, gc=False):
    limitResponse: _LimitResponse
    nominalConcurrencyShares: int = 0
    lendablePercent: int = 0


class _LevelSpec(msgspec.Struct, gc=False):
    limited: _Limited | None = None


class _LevelView(msgspec.Struct, gc=False):
    metadata: _Metadata
    spec: _LevelSpec


class _Named(msgspec.Struct, gc=False):
    name: str
    namespace: str = ""


class _Subject(msgspec.Struct, gc=False):
    kind: str
    user: _Named | None = None
    group: _Named | None = None
    serviceAccount: _Named | None = None


class _ResourceRule(msgspec.Struct, gc=False):
    verbs: list[str]
    apiGroups: list[str]
    resources: list[str]
    clusterScope: bool = False
    namespaces: list[str] | None = None


class _Rule(msgspec.Struct, gc=False):
    subjects: list[_Subject]
    resourceRules: list[_ResourceRule] | None = None


class _Method(msgspec.Struct, gc=False):
    type: str


class _SchemaSpec(msgspec.Struct, gc=False):
    priorityLevelConfiguration: _Named
    matchingPrecedence: int = 1000
    distinguisherMethod: _Method | None = None
    rules: list[_Rule] | None = None


class _SchemaView(msgspec.Struct, gc=False):
    metadata: _Metadata
    spec: _SchemaSpec


class _Schema:
    """A flow schema, ready to match."""

    def __init__(self, view: _SchemaView) -> None:
        spec = view.spec
        self.name = view.metadata.name
        self.uid = view.metadata.uid or ""
        self.precedence = spec.matchingPrecedence
        self.level_name = spec.priorityLevelConfiguration.name
        self.method = spec.distinguisherMethod.type if spec.distinguisherMethod is not None else ""
        self._rules = spec.rules or []

    def matches(self, user: User, info: RequestInfo) -> bool:
        """Whether a request for a resource is of this schema."""
        return any(
            any(_is_subject(s, user) for s in rule.subjects)
            and any(_is_resource(r, info) for r in rule.resourceRules or ())
            for rule in self._rules
        )


def _is_subject(subject: _Subject, user: User) -> bool:
    if subject.user is not None:
        return subject.user.name in ("*", user.name)
    if subject.group is not None:
        return subject.group.name == "*" or subject.group.name in user.groups
    account = subject.serviceAccount
    if account is None:
        return False
    prefix = f"system:serviceaccount:{account.namespace}:"
    return user.name.startswith(prefix) and account.name in ("*", user.name.removeprefix(prefix))


def _is_resource(rule: _ResourceRule, info: RequestInfo) -> bool:
    def has(names: list[str] | None, name: str) -> bool:
        return names is not None and ("*" in names or name in names)

    resource = info.resource
    plural = f"{resource.plural}/{info.subresource}" if info.subresource else resource.plural
    scope = has(rule.namespaces, info.namespace) if info.namespace else rule.clusterScope
    return (
        scope
        and has(rule.verbs, info.verb)
        and has(rule.apiGroups, resource.group)
        and has(rule.resources, plural)
    )
