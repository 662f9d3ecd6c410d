# ruff: noqa: A002 - an event's `type` is its name in the API.
"""Recording core/v1 Events, in the background and in bounded amounts.

`EventRecorder.event` puts the event in a queue and returns. Workers correlate and write it, as client-go does:

* *Aggregation*: ten different messages for the same object, type and reason within ten minutes; from then on they
  become one event with the message `(combined from similar events): …`.
* *Counting*: an event that was written before is patched: `count` + 1, `lastTimestamp`, `message`.
* *Spam filter*: for one object a burst of 25 events, then one every five minutes.

An object's events go through one queue, so they are written in order. They are written beside the component's own requests, two at a time:
when thousands of pods start at once, their events come after them. When a queue is full, or the server refuses, the event is dropped and
counted in `dropped`: events are help for people, never state.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
import weakref
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec

from lakh.machinery import times
from lakh.machinery.metrics import PROCESS

from .client import BACKGROUND_CONNECTIONS, MERGE, Client
from .errors import ApiError, ClientClosed, ConnectionLost, has_reason, is_already_exists, is_not_found
from .resources import EVENTS
from .tasks import TaskGuard
from .types import ObjectReference

__all__ = ["NORMAL", "WARNING", "EventCorrelator", "EventRecorder", "Write"]

log = logging.getLogger(__name__)

NORMAL = "Normal"
WARNING = "Warning"

CACHE_SIZE = 4096
"""Remembered keys in each of a recorder's caches; client-go's number."""
AGGREGATE_MESSAGES = 10
AGGREGATE_SECONDS = 600.0
SPAM_BURST = 25
SPAM_EVENTS_PER_SECOND = 1 / 300
WRITERS = BACKGROUND_CONNECTIONS
"""Events of a recorder under way at a time. With 16, which waited in one line with the pods' requests, most requests of a fleet that started 100,000 pods
were events, and pods waited for them."""
QUEUE_SIZE = 32_768
"""Events that wait for one writer. They take 0.3 KB each: 20 MB for both at most."""
WRITE_ATTEMPTS = 4
RETRY_SECONDS = 2.0
CLOSE_SECONDS = 5.0
MAX_NAME_LENGTH = 253

_recorders: weakref.WeakSet[EventRecorder] = weakref.WeakSet()
PROCESS.reading(
    "lakh_events_waiting",
    "Events that wait to be written.",
    ("component",),
    lambda: [((r.component,), r.waiting) for r in _recorders],
)
PROCESS.reading(
    "lakh_events_total",
    "Events written, kept back by the spam filter, and dropped.",
    ("component", "outcome"),
    lambda: [
        ((r.component, outcome), getattr(r, outcome))
        for r in _recorders
        for outcome in ("written", "filtered", "dropped")
    ],
    "counter",
)

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*").fullmatch

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Lru(Generic[K, V]):
    """A bounded map that forgets what was used longest ago."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The entry, made when it is missing."""
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = make()
            if len(self._entries) > self._size:
                self._entries.popitem(last=False)
        else:
            self._entries.move_to_end(key)
        return entry


class _Aggregate(msgspec.Struct, gc=False):
    messages: set[str] = msgspec.field(default_factory=set)
    last_at: float = 0.0


class _Written(msgspec.Struct, gc=False):
    name: str = ""
    count: int = 0
    first_timestamp: str = ""


class _Bucket(msgspec.Struct, gc=False):
    tokens: float = SPAM_BURST
    at: float = 0.0


@dataclass(slots=True)
class Write:
    """What to write: the whole event, and the patch that is enough when it exists already."""

    namespace: str
    name: str
    event: dict[str, Any]
    patch: dict[str, Any] | None


class EventCorrelator:
    """Decides what to write for an event; no I/O, the time is an argument. `size` bounds each of its caches."""

    def __init__(self, component: str, host: str | None = None, size: int = CACHE_SIZE) -> None:
        self.component = component
        self.host = host
        self._aggregates: _Lru[Hashable, _Aggregate] = _Lru(size)
        self._written: _Lru[Hashable, _Written] = _Lru(size)
        self._buckets: _Lru[Hashable, _Bucket] = _Lru(size)
        self._last_ns = 0
        self._source = {"component": component, "host": host} if host else {"component": component}

    def correlate(
        self, ref: ObjectReference, type: str, reason: str, message: str, now_ns: int
    ) -> Write | None:
        """The write for this event, or None when there are too many for its object."""
        now = now_ns / 1e9
        subject = (ref.kind, ref.namespace, ref.name, ref.uid, ref.apiVersion)
        similar = (subject, ref.fieldPath, type, reason)
        aggregate = self._aggregates.get(similar, _Aggregate)
        if now - aggregate.last_at > AGGREGATE_SECONDS:
            aggregate.messages.clear()
        aggregate.last_at = now
        aggregate.messages.add(message)
        key: Hashable = (similar, message)
        if len(aggregate.messages) >= AGGREGATE_MESSAGES:
            aggregate.messages.discard(message)
            key = similar
            message = f"(combined from similar events): {message}"

        written = self._written.get(key, _Written)
        timestamp = times.of_seconds(now)
        known = written.count > 0
        if not known:
            self._last_ns = max(
                self._last_ns + 1, now_ns
            )  # names are unique even when the clock stands still
            written.name = event_name(ref.name or "", self._last_ns)
            written.first_timestamp = timestamp
        written.count += 1
        if not self._allowed(subject, now):
            return None

        namespace = ref.namespace or "default"
        event = {
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {"name": written.name, "namespace": namespace},
            "involvedObject": msgspec.to_builtins(ref),
            "reason": reason,
            "message": message,
            "source": self._source,
            "firstTimestamp": written.first_timestamp,
            "lastTimestamp": timestamp,
            "count": written.count,
            "type": type,
            "reportingComponent": self.component,
            "reportingInstance": self.host or "",
        }
        patch = {"count": written.count, "lastTimestamp": timestamp, "message": message} if known else None
        return Write(namespace, written.name, event, patch)

    def _allowed(self, subject: Hashable, now: float) -> bool:
        bucket = self._buckets.get(subject, _Bucket)
        bucket.tokens = min(SPAM_BURST, bucket.tokens + (now - bucket.at) * SPAM_EVENTS_PER_SECOND)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True


def event_name(object_name: str, unix_ns: int) -> str:
    """`<object>.<hex nanoseconds>`; a UUID stands in for an object name that an event cannot carry."""
    name = f"{object_name}.{unix_ns:x}"
    return name if len(name) <= MAX_NAME_LENGTH and _fits(object_name) else f"{uuid.uuid4()}.{unix_ns:x}"


@lru_cache(maxsize=1024)
def _fits(object_name: str) -> bool:
    """Whether a name may be the first part of an event's. An object has several events, one after the other."""
    return _SUBDOMAIN(object_name) is not None


_Queued = tuple[ObjectReference, str, str, str, int]


class _Queue:
    """The events of some objects, with the worker that writes them."""

    def __init__(self) -> None:
        self.events: deque[_Queued] = deque()
        self.filled = asyncio.Event()
        self.empty = asyncio.Event()
        self.empty.set()


class EventRecorder:
    """Records events of one component. Its workers start with the first event and end with `close`.

    `client` is best one that has nothing else to do (`Client.background`).
    """

    component: str

    def __init__(
        self,
        client: Client,
        component: str,
        *,
        host: str | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.client = client
        self.component = component
        self.dropped = 0
        """Events lost: queue full, refused by the server, or the server out of reach for too long."""
        self.filtered = 0
        """Events kept back by the spam filter."""
        self.written = 0
        self._host = host
        self._now_ns = now_ns
        self._sleep = sleep
        self._queues: list[_Queue] = []
        self._guard = TaskGuard(f"events {component}")
        self._closed = False
        _recorders.add(self)

    @property
    def waiting(self) -> int:
        """Events that wait to be written."""
        return sum(len(queue.events) for queue in self._queues)

    def event(self, obj_ref: ObjectReference | dict[str, Any], type: str, reason: str, message: str) -> None:
        """Record that something happened to an object. `type` is Normal or Warning. Never blocks; belongs in the
        loop."""
        if self._closed:
            self.dropped += 1
            return
        ref = msgspec.convert(obj_ref, ObjectReference) if isinstance(obj_ref, dict) else obj_ref
        if not self._queues:
            self._queues = [_Queue() for _ in range(WRITERS)]
            for number, queue in enumerate(self._queues):
                self._guard.spawn(self._write_all(queue), name=f"writer-{number}", forever=True)
        queue = self._queues[hash((ref.namespace, ref.name)) % WRITERS]
        if len(queue.events) >= QUEUE_SIZE:
            self.dropped += 1
            return
        queue.events.append((ref, type, reason, message, self._now_ns()))
        queue.filled.set()
        queue.empty.clear()

    async def flush(self) -> None:
        """Wait until everything recorded so far has been written or dropped."""
        for queue in self._queues:
            await queue.empty.wait()

    async def close(self) -> None:
        """Write what is queued, for a few seconds at most, and stop."""
        self._closed = True
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.flush()
        except TimeoutError:
            lost = self.waiting
            self.dropped += lost
            log.warning("%s: %d events were not written in time", self.component, lost)
        finally:
            await self._guard.close()

    async def _write_all(self, queue: _Queue) -> None:
        correlator = EventCorrelator(self.component, self._host, CACHE_SIZE // WRITERS)
        while True:
            while not queue.events:
                queue.empty.set()
                queue.filled.clear()
                await queue.filled.wait()
            write = correlator.correlate(*queue.events.popleft())
            if write is None:
                self.filtered += 1
            elif await self._write(write):
                self.written += 1
            else:
                self.dropped += 1

    async def _write(self, write: Write) -> bool:
        for attempt in range(1, WRITE_ATTEMPTS + 1):
            try:
                await self._write_once(write)
            except ApiError as error:
                if is_already_exists(error):
                    return True
                ended = has_reason(error, "NotFound") or "being terminated" in error.message
                level = logging.DEBUG if ended else logging.WARNING
                log.log(level, "%s: event %s refused: %s", self.component, write.name, error)
                return False
            except ConnectionLost as error:
                if attempt < WRITE_ATTEMPTS:
                    await self._sleep(RETRY_SECONDS)
                else:
                    log.warning("%s: event %s not written: %s", self.component, write.name, error)
            except ClientClosed:
                return False
            except Exception:
                log.exception("%s: event %s not written", self.component, write.name)
                return False
            else:
                return True
        return False

    async def _write_once(self, write: Write) -> None:
        if write.patch is not None:
            try:
                await self.client.patch(
                    EVENTS, write.name, write.patch, write.namespace, patch_type=MERGE, type=bytes
                )
                return
            except ApiError as error:
                if not is_not_found(error):
                    raise  # else its time to live is over: write it as a new one
        await self.client.create(EVENTS, write.event, write.namespace, type=bytes)
