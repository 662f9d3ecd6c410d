"""What the API server counts, under kube-apiserver's names, and its partitions under our own.

A request costs two readings of the clock, one dictionary lookup and three additions (0.7 µs): everything about a kind of request (verb, resource,
subresource, scope) hangs on one `Record` that is made when the first such request comes. What changes all the time anyway (sizes, queues,
memory) is read when somebody asks for /metrics. docs/metrics.md lists what is served, and what of upstream's is not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lakh.machinery.errors import StatusError
from lakh.machinery.health import Health
from lakh.machinery.metrics import Counter, Family, Histogram, Readings, Registry
from lakh.machinery.process import add_process

if TYPE_CHECKING:
    from lakh.apis.registry import Resource
    from lakh.server.cluster import Cluster
    from lakh.server.context import Admit, Context
    from lakh.server.replication import Replication
    from lakh.server.routing import RequestInfo
    from lakh.server.storage import ResourceStore
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
RESPONSE_BYTES = (1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9)
CERTIFICATE_SECONDS = (
    *(0, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 345600, 604800),
    *(2592000, 7776000, 15552000, 31104000),
)
BATCH_WRITES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
LAG_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
LAG_EVERY_SECONDS = 0.1

COUNTERS = {
    "writes": "Durable writes.",
    "batches": "Appends.",
    "followed_batches": "Entries taken over from another writer.",
    "conflicts": "Compare-and-swaps that found another revision.",
    "unknown_outcomes": "Writes of which nobody knows whether they were applied.",
    "compactions": "Snapshots written.",
    "failed_compactions": "Snapshots that could not be written.",
    "promotions": "Times that this server became the writer.",
    "step_downs": "Times that this server ceased to be the writer.",
    "reloads": "Times that a follower began anew with a snapshot.",
}
REFUSALS = {
    "quota": "quota_refusals",
    "disk-full": "full_refusals",
    "overloaded": "overload_refusals",
    "too-large": "large_refusals",
    "not-writer": "writer_refusals",
    "failed": "failed_refusals",
}

VERBS = {"deletecollection": "DELETECOLLECTION", "update": "PUT", "create": "POST"}
MUTATING = frozenset(("create", "update", "patch", "apply", "delete", "deletecollection"))
COMPONENT = "apiserver"

DEPRECATED = {("", "v1", "endpoints"): "", ("", "v1", "componentstatuses"): ""}
"""(group, version, plural) of what upstream calls deprecated, and the release that will not serve it, if that is known."""


class Record:
    """A kind of request: its latencies, and how often it ended with which code."""

    __slots__ = ("_codes", "_durations", "_labels", "_metrics", "mutating", "sizes", "watches")

    def __init__(
        self, metrics: ServerMetrics, labels: tuple[str, ...], mutating: bool, dry_run: str = ""
    ) -> None:
        verb = labels[0]
        self.mutating = mutating
        self.watches = verb == "WATCH"
        self.sizes = metrics.sizes.child(*labels, COMPONENT) if verb in ("GET", "LIST") else None
        """How large the answers are; kept of reads only, as upstream does."""
        self._metrics = metrics
        self._labels = (*labels, COMPONENT, dry_run)
        self._durations: Histogram = metrics.durations.child(*self._labels)
        self._codes: dict[int, Counter] = {}

    def __repr__(self) -> str:
        return f"<Record {self._labels}>"

    def done(self, began: float, code: int, waited: float = 0.0) -> None:
        """A request that began then is answered; `waited`: what of it is priority and fairness's, not the request's own."""
        took = time.perf_counter() - began
        self._durations.observe(took)
        if waited:
            self._metrics.sli.child(*self._labels).move(took, max(0.0, took - waited))
        counter = self._codes.get(code)
        if counter is None:
            counter = self._codes[code] = self._metrics.totals.child(*self._labels, str(code))
        counter.value += 1

    def terminated(self, code: int) -> None:
        """A request was turned away to protect the server."""
        self._metrics.terminations.child(*self._labels[:-1], str(code)).inc()


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
        kind = ("verb", "group", "version", "resource", "subresource", "scope", "component")
        labels = (*kind, "dry_run")
        add = self.registry
        self.totals = add.counter(
            "apiserver_request_total", "Requests by kind and HTTP code.", (*labels, "code")
        )
        self.durations = add.histogram(
            "apiserver_request_duration_seconds", "Response latency by kind.", labels, REQUEST_SECONDS
        )
        self.sli = add.corrected(
            "apiserver_request_sli_duration_seconds",
            "Response latency by kind without the time in queues of priority and fairness.",
            self.durations,
        )
        self.sizes = add.histogram(
            "apiserver_response_sizes", "Bytes of answers to reads.", kind, RESPONSE_BYTES
        )
        self.terminations = add.counter(
            "apiserver_request_terminations_total",
            "Requests turned away to protect the server.",
            (*kind, "code"),
        )
        self.certificates = add.histogram(
            "apiserver_client_certificate_expiration_seconds",
            "Remaining lifetime of the certificates that clients showed, once a connection.",
            (),
            CERTIFICATE_SECONDS,
        ).child()
        self.admission = add.histogram(
            "apiserver_admission_step_admission_duration_seconds",
            "How long admission looked at new objects.",
            ("type", "operation", "rejected"),
            (0.0001, 0.0005, 0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5),
        )
        self.health = Health()
        self._deprecated: set[tuple[str, ...]] = set()
        add.reading(
            "apiserver_requested_deprecated_apis",
            "Deprecated APIs that were requested.",
            ("group", "version", "resource", "subresource", "removed_release"),
            lambda: [(one, 1) for one in self._deprecated],
        )
        self.other = Record(self, ("GET", "", "", "", "", ""), False)
        self._lag = add.histogram(
            "lakh_loop_lag_seconds", "How late the event loop is.", (), LAG_SECONDS
        ).child()
        append_seconds = add.histogram(
            "lakh_store_append_duration_seconds", "Durable appends.", ("partition",), APPEND_SECONDS
        )
        batch_writes = add.histogram(
            "lakh_store_batch_size", "Writes in one append.", ("partition",), BATCH_WRITES
        )
        appended = add.counter("lakh_store_appended_bytes_total", "Bytes appended.", ("partition",))
        for name, partition in cluster.partitions.items():
            _observe_appends(
                partition, append_seconds.child(name), batch_writes.child(name), appended.child(name)
            )
        self._add_readings(add)

    def _add_readings(self, add: Registry) -> None:
        def of_partitions(read: str) -> Readings:
            return [((n,), getattr(p, read)) for n, p in self._cluster.partitions.items()]

        for name, text, read in (
            ("lakh_store_revision", "Newest durable revision.", "revision"),
            ("lakh_store_live_bytes", "Bytes of the present objects.", "live_bytes"),
            ("lakh_store_queued_bytes", "Bytes that wait for the disk.", "queued_bytes"),
            ("lakh_store_queued_writes", "Writes that wait for the disk.", "queued_writes"),
            ("lakh_store_watches", "Live watches.", "watch_count"),
            ("lakh_store_memory_bytes", "What the memory quota is held against.", "memory_bytes"),
            ("lakh_store_disk_bytes", "What the disk quota is held against.", "disk_bytes"),
            ("lakh_store_history_events", "Events in the history window.", "history_events"),
            ("lakh_store_history_bytes", "What the history window takes.", "history_bytes"),
            ("lakh_store_oldest_revision", "Begin of the history window.", "oldest_revision"),
            ("lakh_store_writer", "1 where the partition is written.", "is_writer"),
            ("lakh_store_compacting", "1 while a snapshot is written.", "compacting"),
        ):
            add.reading(name, text, ("partition",), lambda read=read: of_partitions(read))  # type: ignore[misc]
        add.reading(
            "lakh_store_failed",
            "1 when the partition takes no more writes.",
            ("partition",),
            lambda: [((n,), p.failed is not None) for n, p in self._cluster.partitions.items()],
        )
        add.reading(
            "lakh_store_quota_bytes",
            "Quotas.",
            ("partition", "resource"),
            lambda: [
                ((n, resource), limit)
                for n, p in self._cluster.partitions.items()
                for resource, limit in (
                    ("memory", p.limits.memory_bytes),
                    ("disk", p.limits.disk_bytes),
                )
            ],
        )
        for counter, text in COUNTERS.items():
            add.reading(
                f"lakh_store_{counter}_total",
                text,
                ("partition",),
                lambda counter=counter: [  # type: ignore[misc]
                    ((n,), getattr(p.counters, counter)) for n, p in self._cluster.partitions.items()
                ],
                "counter",
            )
        add.reading(
            "lakh_store_refusals_total",
            "Writes that the store refused.",
            ("partition", "reason"),
            lambda: [
                ((n, reason), getattr(p.counters, counter))
                for n, p in self._cluster.partitions.items()
                for reason, counter in REFUSALS.items()
            ],
            "counter",
        )
        add.reading(
            "apiserver_storage_size_bytes",
            "Size of the storage on disk.",
            ("storage_cluster_id",),
            lambda: of_partitions("disk_bytes"),
        )
        add.reading(
            "apiserver_storage_objects",
            "Stored objects.",
            ("resource",),
            lambda: [((r.table,), count) for r, count in self._objects()],
        )
        add.reading(
            "apiserver_resource_objects",
            "Stored objects.",
            ("group", "resource"),
            lambda: [((r.group, r.plural), count) for r, count in self._objects()],
        )
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
                (("WATCH", r.group, r.version, r.plural, "", scope, COMPONENT), count)
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
            "apiserver_terminated_watchers_total",
            "Watchers cut off because they did not read.",
            ("group", "resource"),
            lambda: [((r.group, r.plural), n) for r, n in self._watching.cut_off.items()],
            "counter",
        )
        add_process(add)

    def add_replication(self, replication: Replication) -> None:
        """What is counted where several servers have the same partitions."""
        add = self.registry
        add.reading(
            "lakh_partition_writer",
            "1 for the partitions that this server writes.",
            ("partition",),
            lambda: [((n,), float(p.is_writer)) for n, p in self._cluster.partitions.items()],
        )
        add.reading(
            "lakh_partition_stalled_seconds",
            "For how long writes have waited without one becoming durable.",
            ("partition",),
            lambda: [((n,), p.stalled_seconds) for n, p in self._cluster.partitions.items()],
        )
        add.reading(
            "lakh_barriers_total",
            "Questions to the journals on behalf of reads.",
            ("partition",),
            lambda: [((n,), b.asked) for n, b in replication.barriers.items()],
            "counter",
        )
        add.reading(
            "lakh_forwarded_writes_total",
            "Writes by what became of them at the writer.",
            ("outcome",),
            lambda: [
                (("answered",), replication.forwarded),
                (("lost",), replication.lost),
                (("misdirected_here",), replication.misdirected),
            ],
            "counter",
        )
        add.reading(
            "lakh_peers",
            "Other API servers by whether they answer.",
            ("state",),
            lambda: [
                (("alive",), sum(peer.alive for peer in replication.writers.peers)),
                (("dead",), sum(not peer.alive for peer in replication.writers.peers)),
            ],
        )

    def _objects(self) -> Iterator[tuple[Resource, int]]:
        seen = set()
        for r in self._cluster.registry.all():
            if r.table not in seen and {"get", "list"} & set(r.verbs):
                seen.add(r.table)
                yield r, self._cluster.partitions[r.partition].count(r.table)

    def record(self, info: RequestInfo, query: dict[str, str], headers: dict[str, str]) -> Record:
        """The record of a request's kind."""
        if info.record is not None and not query:
            return info.record
        verb = info.verb
        scope = "resource" if info.name or verb == "create" else "namespace" if info.namespace else "cluster"
        if verb == "patch" and headers.get("content-type", "").startswith("application/apply-patch"):
            verb = "apply"
        dry_run = "All" if query and query.get("dryRun") else ""
        key = (info.resource, verb, info.subresource, scope, dry_run)
        found = self._records.get(key)
        if found is None:
            found = self._records[key] = self._make(info.resource, verb, info.subresource, scope, dry_run)
        if verb == info.verb != "patch" and not query:
            info.record = found
        return found

    def _make(self, r: Resource, verb: str, subresource: str, scope: str, dry_run: str) -> Record:
        if subresource not in r.subresources:
            subresource = ""  # what a client made up is no label
        removed = DEPRECATED.get((r.group, r.version, r.plural))
        if removed is not None:
            self._deprecated.add((r.group, r.version, r.plural, subresource, removed))
        labels = (VERBS.get(verb, verb.upper()), r.group, r.version, r.plural, subresource, scope)
        return Record(self, labels, verb in MUTATING, dry_run)

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


def timed(admit: Admit, durations: Family[Histogram]) -> Admit:
    """Admission, timed where it has most to say: for creates. Updates, which are the many, are passed on."""
    admitted = durations.child("admit", "CREATE", "false")
    refused = durations.child("admit", "CREATE", "true")

    def call(
        context: Context, verb: str, store: ResourceStore, obj: object, old: object, subresource: str = ""
    ) -> None:
        if verb != "create":
            admit(context, verb, store, obj, old, subresource)
            return
        began = time.perf_counter()
        try:
            admit(context, verb, store, obj, old, subresource)
        except StatusError:
            refused.observe(time.perf_counter() - began)
            raise
        admitted.observe(time.perf_counter() - began)

    return call


def _observe_appends(partition: Partition, seconds: Histogram, writes: Histogram, total: Counter) -> None:
    def observe(took: float, count: int, size_bytes: int) -> None:
        seconds.observe(took)
        writes.observe(count)
        total.value += size_bytes

    partition.on_append = observe
