"""What the API server counts, under kube-apiserver's names, and its partitions under our own.

A request costs two readings of the clock, one dictionary lookup and three additions (0.7 µs): everything about a kind of request (verb, resource,
subresource, scope) hangs on one `Record` that is made when the first such request comes. What changes all the time anyway (sizes, queues,
memory) is read when somebody asks for /metrics.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lakh.machinery.metrics import Counter, Histogram, Readings, Registry
from lakh.machinery.process import add_process

if TYPE_CHECKING:
    from lakh.apis.registry import Resource
    from lakh.server.cluster import Cluster
    from lakh.server.routing import RequestInfo
    from lakh.server.watching import Watching
    from lakh.store.partition import Partition

# kube-apiserver's bounds, and some below its first: half of our writes take less.
REQUEST_SECONDS = (
    *(
        0.0005,
        0.001,
        0.0025,
        0.005,
        0.01,
        0.015,
        0.025,
        0.05,
        0.1,
        0.2,
        0.4,
        0.6,
        0.8,
        1.0,
        1.25,
        1.5,
        2.0,
        3.0,
    ),
    *(4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0),
)
APPEND_SECONDS = (
    0.00025,
    0.0005,
    0.001,
    0.002,
    0.004,
    0.008,
    0.016,
    0.032,
    0.064,
    0.128,
    0.256,
    0.512,
    1.0,
    2.0,
)
BATCH_WRITES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
LAG_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
LAG_EVERY_SECONDS = 0.1

VERBS = {"deletecollection": "DELETECOLLECTION", "update": "PUT", "create": "POST"}
MUTATING = frozenset(("create", "update", "patch", "delete", "deletecollection"))


class Record:
    """A kind of request: its latencies, and how often it ended with which code."""

    __slots__ = ("_codes", "_durations", "_labels", "_totals", "mutating", "watches")

    def __init__(self, metrics: ServerMetrics, labels: tuple[str, ...], mutating: bool) -> None:
        verb, group, version, plural, subresource, scope = labels
        self.mutating = mutating
        self.watches = verb == "WATCH"
        self._labels = labels
        self._totals = metrics.totals
        self._durations: Histogram = metrics.durations.child(verb, group, version, plural, subresource, scope)
        self._codes: dict[int, Counter] = {}

    def __repr__(self) -> str:
        return f"<Record {self._labels}>"

    def done(self, began: float, code: int) -> None:
        """A request that began then is answered."""
        self._durations.observe(time.perf_counter() - began)
        counter = self._codes.get(code)
        if counter is None:
            verb, group, version, plural, subresource, scope = self._labels
            counter = self._totals.child(verb, group, version, plural, subresource, scope, str(code))
            self._codes[code] = counter
        counter.value += 1


class ServerMetrics:
    """The metrics of an API server."""

    def __init__(self, cluster: Cluster, watching: Watching) -> None:
        self.registry = Registry()
        self.in_flight = [0, 0]
        """Asynchronous requests under way: reads, writes."""
        self._cluster = cluster
        self._watching = watching
        self._records: dict[tuple[object, ...], Record] = {}
        self._lag_timer: asyncio.TimerHandle | None = None
        labels = ("verb", "group", "version", "resource", "subresource", "scope")
        add = self.registry
        self.totals = add.counter(
            "apiserver_request_total", "Requests by kind and HTTP code.", (*labels, "code")
        )
        self.durations = add.histogram(
            "apiserver_request_duration_seconds", "Response latency by kind.", labels, REQUEST_SECONDS
        )
        self.other = Record(self, ("GET", "", "", "", "", ""), False)
        self._lag = add.histogram(
            "lakh_loop_lag_seconds", "How late the event loop is.", (), LAG_SECONDS
        ).child()
        append_seconds = add.histogram(
            "lakh_journal_append_duration_seconds", "Durable appends.", ("partition",), APPEND_SECONDS
        )
        batch_writes = add.histogram(
            "lakh_journal_batch_size", "Writes in one append.", ("partition",), BATCH_WRITES
        )
        appended = add.counter("lakh_journal_appended_bytes_total", "Bytes appended.", ("partition",))
        for name, partition in cluster.partitions.items():
            _observe_appends(
                partition, append_seconds.child(name), batch_writes.child(name), appended.child(name)
            )
        self._add_readings(add)

    def _add_readings(self, add: Registry) -> None:
        def of_partitions(read: str) -> Readings:
            return [((n,), getattr(p, read)) for n, p in self._cluster.partitions.items()]

        for name, text, read in (
            ("lakh_partition_revision", "Newest durable revision.", "revision"),
            ("lakh_partition_live_bytes", "Bytes of the present objects.", "live_bytes"),
            ("lakh_partition_queued_bytes", "Bytes that wait for the disk.", "queued_bytes"),
            ("lakh_partition_watches", "Live watches.", "watch_count"),
        ):
            add.reading(name, text, ("partition",), lambda read=read: of_partitions(read))  # type: ignore[misc]
        add.reading("apiserver_storage_objects", "Stored objects.", ("resource",), self._objects)
        add.reading(
            "apiserver_current_inflight_requests",
            "Requests under way.",
            ("request_kind",),
            lambda: [(("readOnly",), self.in_flight[0]), (("mutating",), self.in_flight[1])],
        )
        add.reading(
            "apiserver_longrunning_requests",
            "Watches by resource.",
            ("verb", "group", "version", "resource", "subresource", "scope", "component"),
            lambda: [
                (("WATCH", r.group, r.version, r.plural, "", scope, "apiserver"), count)
                for (r, scope), count in self._watching.counts.items()
            ],
        )
        add.reading(
            "apiserver_watch_events_total",
            "Events sent to watchers.",
            ("group", "version", "resource"),
            lambda: [((r.group, r.version, r.plural), n) for r, n in self._watching.events.items()],
            "counter",
        )
        add.reading(
            "lakh_slow_watchers_total",
            "Watchers cut off because they did not read.",
            (),
            lambda: [((), self._watching.slow)],
            "counter",
        )
        add_process(add)

    def _objects(self) -> Iterator[tuple[tuple[str, ...], float]]:
        seen = set()
        for r in self._cluster.registry.all():
            if r.table not in seen and {"get", "list"} & set(r.verbs):
                seen.add(r.table)
                yield (r.table,), self._cluster.partitions[r.partition].count(r.table)

    def record(self, info: RequestInfo) -> Record:
        """The record of a request's kind."""
        scope = "resource" if info.name else ("namespace" if info.namespace else "cluster")
        key = (info.resource, info.verb, info.subresource, scope)
        found = self._records.get(key)
        if found is None:
            found = self._records[key] = self._make(info.resource, info.verb, info.subresource, scope)
        return found

    def _make(self, r: Resource, verb: str, subresource: str, scope: str) -> Record:
        if subresource not in r.subresources:
            subresource = ""  # what a client made up is no label
        labels = (VERBS.get(verb, verb.upper()), r.group, r.version, r.plural, subresource, scope)
        return Record(self, labels, verb in MUTATING)

    def expose(self) -> bytes:
        """All metrics as text."""
        return self.registry.expose()

    # The loop's lag

    def start(self) -> None:
        """Begin to measure the loop's lag."""
        loop = asyncio.get_running_loop()
        self._tick(loop, loop.time())

    def stop(self) -> None:
        """No more measuring."""
        if self._lag_timer is not None:
            self._lag_timer.cancel()
            self._lag_timer = None

    def _tick(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = loop.time()
        self._lag.observe(max(0.0, now - due))
        due = now + LAG_EVERY_SECONDS
        self._lag_timer = loop.call_at(due, self._tick, loop, due)


def _observe_appends(partition: Partition, seconds: Histogram, writes: Histogram, total: Counter) -> None:
    def observe(took: float, count: int, size_bytes: int) -> None:
        seconds.observe(took)
        writes.observe(count)
        total.value += size_bytes

    partition.on_append = observe
