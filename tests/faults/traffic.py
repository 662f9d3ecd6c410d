"""The clients: tasks that write, read and watch a handful of objects, and note everything.

Objects live in a few namespaces and resources; two resources share a partition, the others have their own. Each
write carries a value of its own. Each worker remembers the objects as it last saw them, so its updates are often
stale and must then be refused. Some calls are broken off by an impatient client after a few milliseconds.

A watcher lists (or streams the list), watches, and resumes after every break at the newest revision that it was
shown. When the server says that this is too old it begins a new chain with a new list.

Where there are several servers, workers and watchers move between them, mostly when they got no answer. A pulse for
each partition, one small write after the other, shows for how long nobody could write.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from lakh.client.client import MERGE, Client, decode
from lakh.client.errors import (
    ApiError,
    BadResponse,
    ClientClosed,
    ClientError,
    ConnectFailed,
    api_error,
    is_expired,
)
from lakh.client.resources import CONFIGMAPS, LEASES, NAMESPACES, PODS, SECRETS, SERVICEACCOUNTS, Resource
from lakh.client.watch import WatchStream

from .history import OK, REFUSED, UNKNOWN, History, Listing, Operation, Seen, Segment, Shown

RESOURCES = (CONFIGMAPS, SECRETS, LEASES, PODS)
PARTITIONS = {"configmaps": "default", "secrets": "default", "leases": "leases", "pods": "pods"}
NAMES = ("a", "b", "c")
SCOPES = ("n1", "n2")

VALUE = "faults/value"
PADDING = "faults/padding"
CALL_SECONDS = 1.2
PATIENT_SECONDS = 120.0
"""For a call before anything is mistreated: each must succeed."""
STUCK_SECONDS = 120.0
"""A server that carries nothing out for so long never will."""
OPERATIONS_MIN = 40
"""What a round has in any case: it goes on until then where a machine is slow."""
BACKOFF_SECONDS = 0.03
ASK_SECONDS = 0.5
PULSE = "pulse"
PULSE_SECONDS = 0.02
"""Between a pulse's writes."""
PULSE_CALL_SECONDS = 0.3
MOVE = 0.03
MOVE_WHEN_LOST = 0.7
MOVE_WATCH = 0.4
"""Chances: before a call, after one without an answer, before a watch is opened anew."""
WHOLE_WATCHERS = 2
"""Watchers of each resource in all namespaces; there are others of one namespace and of one name."""
WEIGHTS = {
    "create": 16,
    "update": 26,
    "patch": 14,
    "delete": 12,
    "get": 16,
    "cached_get": 6,
    "whole": 5,
    "cached": 4,
    "bounded": 3,
    "pages": 4,
    "exact": 4,
    "stream": 2,
}
PADDING_BYTES_MAX = 2500


class Stuck(Exception):
    """The servers run but do not serve."""


def _shown(obj: dict[str, Any]) -> tuple[str, int, str, str]:
    """Key, revision, value, uid of an object."""
    metadata = obj["metadata"]
    key = f"{metadata['namespace']}/{metadata['name']}"
    value = (metadata.get("annotations") or {}).get(VALUE, "")
    return key, int(metadata["resourceVersion"]), value, metadata["uid"]


def _body(resource: Resource, scope: str, name: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name, "namespace": scope},
    }
    if resource is PODS:
        body["spec"] = {"containers": [{"name": "main", "image": "example.org/main:1"}]}
    elif resource is LEASES:
        body["spec"] = {"holderIdentity": "faults"}
    return body


class Traffic:
    """All clients of a round."""

    def __init__(
        self, history: History, kubeconfigs: list[Path], seed: int, workers: int, settle_seconds: float
    ) -> None:
        self.history = history
        self._settle_seconds = settle_seconds
        self.reading = asyncio.Event()
        self.reading.set()
        self._kubeconfigs = kubeconfigs
        self._seed = seed
        self._workers = workers
        self._clients: list[Client] = []
        self._working = True
        self._settled: dict[str, int] = {}  # resource → revision that watchers must reach
        self._settling = False
        self._tasks: list[asyncio.Task[None]] = []
        self._askers: list[Client] = []
        self._streams: set[WatchStream[Any]] = set()
        self._numbers = itertools.count(1)
        self._chains = itertools.count(1)
        self._now = time.monotonic  # not the loop's clock, which ticks once an iteration

    @property
    def servers(self) -> int:
        """How many there are."""
        return len(self._kubeconfigs)

    def client(self, server: int, *, patient: bool = False) -> Client:
        """A new client of a server."""
        client = Client.from_kubeconfig(
            self._kubeconfigs[server],
            user_agent="faults/1",
            max_retries=60 if patient else 0,
            timeout_seconds=PATIENT_SECONDS if patient else CALL_SECONDS,
            max_connections=4,
        )
        self._clients.append(client)
        return client

    async def prepare(self) -> None:
        """Namespaces, service accounts, and the revisions before it all begins."""
        client = self.client(0, patient=True)
        for scope in SCOPES:
            await client.create(NAMESPACES, {"metadata": {"name": scope}})
            await client.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": scope}}, scope)
        for resource in RESOURCES:
            page = await client.list(resource)
            self.history.base[resource.plural] = int(page.metadata.resourceVersion or 0)

    def start(self) -> None:
        """Begin."""
        for number in range(self._workers):
            worker = _Worker(self, number)
            self._spawn(worker.run(), f"worker-{number}")
        for number, resource in enumerate({PARTITIONS[r.plural]: r for r in RESOURCES}.values()):
            self._spawn(self._pulse(_Worker(self, 200 + number), resource), f"worker-pulse-{number}")
        for number, (resource, kind) in enumerate(
            itertools.product(RESOURCES, ("all",) * WHOLE_WATCHERS + ("scope", "name"))
        ):
            scope = "" if kind == "all" else SCOPES[number % len(SCOPES)]
            name = NAMES[number % len(NAMES)] if kind == "name" else ""
            self._spawn(self._watch(100 + number, resource, scope, name), f"watcher-{number}")

    def _spawn(self, work: Any, name: str) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work, name=name))

    async def writers(self) -> dict[str, int]:
        """Partition → the server that says that it writes it; those that do not answer at once are left out."""
        if not self._askers:
            self._askers = [self.client(server) for server in range(self.servers)]

        async def ask(server: int) -> list[str]:
            with suppress(ClientError, TimeoutError):
                async with asyncio.timeout(ASK_SECONDS):
                    answer = await self._askers[server].raw("GET", "/internal/partitions")
                    if answer.status == 200:
                        found = decode(answer.body, dict)["partitions"]
                        return [name for name, status in found.items() if status["writer"]]
            return []

        written = await asyncio.gather(*map(ask, range(self.servers)))
        return {name: server for server, names in enumerate(written) for name in names}

    def hang_up(self) -> None:
        """Break all watches from this end."""
        for stream in list(self._streams):
            stream.close()

    async def worked(self) -> None:
        """Until the clients have done something. Raises Stuck."""
        deadline = self._now() + STUCK_SECONDS
        while len(self.history.operations) < OPERATIONS_MIN:
            if self._now() > deadline:
                raise Stuck("the clients do not get to work")
            await asyncio.sleep(BACKOFF_SECONDS)

    async def settle(self) -> None:
        """Stop the workers, prove that writes work, list, let the watchers catch up, replay. Raises Stuck."""
        self._working = False
        self.reading.set()
        workers = [task for task in self._tasks if task.get_name().startswith("worker")]
        await asyncio.gather(*workers)
        for server in range(self.servers):
            finisher = _Worker(self, 990 + server, server)
            for resource in RESOURCES:
                await self._final(finisher, resource)
        self._settling = True
        self.hang_up()
        _, late = await asyncio.wait(self._tasks, timeout=self._settle_seconds)
        for task in late:
            task.cancel()  # what it has not seen, `replayed` tells
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for task in self._tasks:
            if not task.cancelled() and task.exception() is not None:
                raise Stuck(f"{task.get_name()} broke") from task.exception()
        await self._replay()

    async def _pulse(self, worker: _Worker, resource: Resource) -> None:
        """Writes to one object, without a rest."""
        key = f"{SCOPES[0]}/{PULSE}"
        while self._working:
            with suppress(TimeoutError):
                async with asyncio.timeout(PULSE_CALL_SECONDS):
                    op = await worker.patch(resource, key)
                    if op is not None and op.code == 404:
                        op = await worker.create(resource, key)
            await asyncio.sleep(PULSE_SECONDS)

    async def _final(self, finisher: _Worker, resource: Resource) -> None:
        """A write to each resource succeeds again; then what is there is listed."""
        deadline = self._now() + STUCK_SECONDS
        while True:
            created = await finisher.create(resource, f"{SCOPES[0]}/{NAMES[0]}")
            deleted = await finisher.delete(resource, f"{SCOPES[0]}/{NAMES[0]}")
            if any(op and op.verb != "get" and op.outcome == OK for op in (created, deleted)):
                break
            if self._now() > deadline:
                raise Stuck(f"no write of {resource.plural} succeeds any more: {created} {deleted}")
            await asyncio.sleep(BACKOFF_SECONDS)
        while True:
            listing = await finisher.list(resource, "", "final")
            if listing is not None and listing.outcome == OK:
                self._settled[resource.plural] = listing.revision
                return
            if self._now() > deadline:
                raise Stuck(f"no list of {resource.plural} succeeds any more: {listing}")
            self.history.listings.remove(listing) if listing else None
            await asyncio.sleep(BACKOFF_SECONDS)

    async def _replay(self) -> None:
        """Watch each resource from before the traffic, at each server."""
        for server, (number, resource) in itertools.product(range(self.servers), enumerate(RESOURCES)):
            segment = Segment(
                watcher=900 + 10 * server + number,
                chain=next(self._chains),
                resource=resource.plural,
                scope="",
                name="",
                start=self.history.base[resource.plural],
                opened=self._now(),
                replay=True,
                server=server,
            )
            self.history.segments.append(segment)
            await self._follow(self.client(server), resource, segment, 1, None)

    async def close(self) -> None:
        """Drop everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self._clients:
            await client.close()

    # Watchers

    async def _watch(self, watcher: int, resource: Resource, scope: str, name: str) -> None:
        rng = random.Random(f"{self._seed}-watcher-{watcher}")
        worker = _Worker(self, watcher)
        chain, start, resumes = 0, 0, False
        while True:
            target = self._settled.get(resource.plural) if self._settling else None
            if target is not None and chain and start >= target:
                return
            if not chain:
                chain = next(self._chains)
                stream = not name and rng.random() < 0.3
                listing = await worker.list(
                    resource, scope, "stream" if stream else "whole", chain=0 if stream else chain
                )
                if listing is None or listing.outcome != OK:
                    chain = 0
                    worker.move(MOVE_WHEN_LOST)
                    await asyncio.sleep(BACKOFF_SECONDS)
                    continue
                listing.chain = chain
                start, resumes = listing.revision, False
            worker.move(MOVE_WATCH)
            segment = Segment(
                watcher=watcher,
                chain=chain,
                resource=resource.plural,
                scope=scope,
                name=name,
                start=start,
                opened=self._now(),
                resumes=resumes,
                server=worker.server,
            )
            self.history.segments.append(segment)
            seconds = 1 if self._settling else rng.choice((1, 2, 30))
            patience = None if rng.random() < 0.6 or self._settling else rng.random() * 2
            await self._follow(worker.client, resource, segment, seconds, patience)
            start, resumes = segment.covers, True
            if segment.end == "expired":
                chain = 0
            elif segment.end not in ("ended", "closed"):
                worker.move(MOVE_WHEN_LOST)
                await asyncio.sleep(BACKOFF_SECONDS)

    async def _follow(
        self, client: Client, resource: Resource, segment: Segment, seconds: int, patience: float | None
    ) -> None:
        """Read a watch to its end."""
        try:
            async with asyncio.timeout(patience):
                stream = await client.open_watch(
                    resource,
                    segment.scope or None,
                    type=dict,
                    resource_version=str(segment.start),
                    field_selector=f"metadata.name={segment.name}" if segment.name else None,
                    timeout_seconds=seconds,
                )
                self._streams.add(stream)
                try:
                    if self._settling and seconds > 1:  # it was being opened when all others were broken
                        raise TimeoutError
                    while batch := await stream.read_batch():
                        now = self._now()
                        for event in batch:
                            segment.events.append(_event(now, event.type, event.object))
                        if not self.reading.is_set():
                            await self.reading.wait()
                    segment.end = "ended"
                finally:
                    self._streams.discard(stream)
                    stream.close()
        except TimeoutError:
            segment.end = "closed"
        except ApiError as error:
            segment.end = "expired" if is_expired(error) else f"{error.code} {error.reason}: {error}"
        except BadResponse as error:
            segment.end = f"bad answer: {error}"
        except ClientError:
            segment.end = "lost"
        except asyncio.CancelledError:
            segment.end = segment.end or "closed"
            raise


def _ours(obj: dict[str, Any]) -> bool:
    """Servers have objects of their own, in other namespaces."""
    return obj["metadata"].get("namespace") in SCOPES


def _event(now: float, kind: str, obj: dict[str, Any]) -> Shown:
    if kind == "BOOKMARK" or not _ours(obj):
        return Shown(now, "BOOKMARK", "", int(obj["metadata"]["resourceVersion"]))
    return Shown(now, kind, *_shown(obj))


class _Worker:
    """One client that does one call after the other."""

    def __init__(self, traffic: Traffic, number: int, server: int | None = None) -> None:
        self.traffic = traffic
        self.number = number
        self.server = number % traffic.servers if server is None else server
        self.rng = random.Random(f"{traffic._seed}-worker-{number}")
        self._clients: dict[int, Client] = {}
        self.known: dict[tuple[str, str], dict[str, Any]] = {}
        self.newest: dict[str, int] = {}

    @property
    def client(self) -> Client:
        """Its client of the server that it is at."""
        if self.server not in self._clients:
            self._clients[self.server] = self.traffic.client(self.server)
        return self._clients[self.server]

    def move(self, chance: float) -> None:
        """Perhaps to another server."""
        if self.number < 990 and self.traffic.servers > 1 and self.rng.random() < chance:
            others = [server for server in range(self.traffic.servers) if server != self.server]
            self.server = self.rng.choice(others)

    async def run(self) -> None:
        """Calls, until the traffic ends."""
        verbs, weights = list(WEIGHTS), list(WEIGHTS.values())
        while self.traffic._working:
            verb = self.rng.choices(verbs, weights)[0]
            resource = self.rng.choice(RESOURCES)
            key = f"{self.rng.choice(SCOPES)}/{self.rng.choice(NAMES)}"
            self.move(MOVE)
            if verb in ("whole", "pages", "exact", "stream", "cached", "bounded"):
                done: Operation | Listing | None = await self.list(
                    resource, self.rng.choice(("", *SCOPES)), verb
                )
            else:
                done = await getattr(self, verb)(resource, key)
            lost = done is None or done.outcome == UNKNOWN
            await asyncio.sleep(BACKOFF_SECONDS if lost else self.rng.random() * 0.004)

    def _value(self) -> tuple[str, str]:
        value = f"{self.number}-{next(self.traffic._numbers)}"
        return value, "x" * int(self.rng.random() ** 3 * PADDING_BYTES_MAX)

    async def create(self, resource: Resource, key: str) -> Operation | None:
        """POST."""
        scope, name = key.split("/")
        body = _body(resource, scope, name)
        value, padding = self._value()
        body["metadata"]["annotations"] = {VALUE: value, PADDING: padding}
        op = Operation(self.number, "create", resource.plural, key, 0.0, value=value)
        return await self._do(op, resource, lambda: self.client.create(resource, body, scope))

    async def update(self, resource: Resource, key: str) -> Operation | None:
        """PUT of the object as it was last seen, with its version."""
        obj = self.known.get((resource.plural, key))
        if obj is None:
            return await self.get(resource, key)
        scope, name = key.split("/")
        value, padding = self._value()
        metadata = {**obj["metadata"], "annotations": {VALUE: value, PADDING: padding}}
        op = Operation(self.number, "update", resource.plural, key, 0.0, value=value)
        op.expect = int(metadata["resourceVersion"])
        body = {**obj, "metadata": metadata}
        return await self._do(op, resource, lambda: self.client.update(resource, body, scope, name=name))

    async def patch(self, resource: Resource, key: str) -> Operation | None:
        """Merge patch without any condition."""
        scope, name = key.split("/")
        value, padding = self._value()
        patch = {"metadata": {"annotations": {VALUE: value, PADDING: padding}}}
        op = Operation(self.number, "patch", resource.plural, key, 0.0, value=value)
        return await self._do(
            op, resource, lambda: self.client.patch(resource, name, patch, scope, patch_type=MERGE)
        )

    async def delete(self, resource: Resource, key: str) -> Operation | None:
        """DELETE of the object that was last seen."""
        obj = self.known.pop((resource.plural, key), None)
        if obj is None:
            return await self.get(resource, key)
        scope, name = key.split("/")
        uid = obj["metadata"]["uid"]
        op = Operation(self.number, "delete", resource.plural, key, 0.0, uid=uid)
        return await self._do(
            op, resource, lambda: self.client.delete(resource, name, scope, uid=uid, grace_period_seconds=0)
        )

    async def get(self, resource: Resource, key: str) -> Operation | None:
        """GET."""
        scope, name = key.split("/")
        op = Operation(self.number, "get", resource.plural, key, 0.0)
        return await self._do(op, resource, lambda: self.client.get(resource, name, scope))

    async def cached_get(self, resource: Resource, key: str) -> Operation | None:
        """GET of whatever the server has."""
        scope, name = key.split("/")
        path = f"{resource.path(scope, name, None)}?resourceVersion=0"

        async def call() -> dict[str, Any]:
            answer = await self.client.raw("GET", path)
            if answer.status >= 300:
                raise api_error(answer.status, answer.body)
            return decode(answer.body, dict)  # type: ignore[no-any-return]

        op = Operation(self.number, "get", resource.plural, key, 0.0, cached=True)
        return await self._do(op, resource, call)

    async def _do(self, op: Operation, resource: Resource, call: Any) -> Operation | None:
        """Carry it out and note it; None when it was never sent."""
        traffic = self.traffic
        hasty = traffic._working and self.rng.random() < 0.02
        op.server = self.server
        op.call = traffic._now()
        try:
            async with asyncio.timeout(self.rng.random() * 0.008 if hasty else None):
                obj = await call()
            op.outcome, op.code = OK, 200
            if obj is not None:
                _, op.revision, seen, op.uid = _shown(obj)
                op.value = op.value or seen
                self._remember(resource, op.key, obj)
        except ConnectFailed:
            self.move(MOVE_WHEN_LOST)
            return None
        except ApiError as error:
            _refusal(op, error)
            if error.code == 404:
                self.known.pop((resource.plural, op.key), None)
        except BadResponse as error:
            op.code, op.reason = -1, str(error)
        except (ClientError, TimeoutError) as error:
            op.reason = f"{type(error).__name__}: {error}"
        except asyncio.CancelledError:
            traffic.history.operations.append(op)
            self.move(MOVE_WHEN_LOST)
            raise
        finally:
            op.end = traffic._now()
        traffic.history.operations.append(op)
        if op.outcome == UNKNOWN:
            self.move(MOVE_WHEN_LOST)
        return op

    def _remember(self, resource: Resource, key: str, obj: dict[str, Any]) -> None:
        # Sometimes not: what is remembered gets stale, and the next update must be refused.
        if self.rng.random() < 0.85 or (resource.plural, key) not in self.known:
            self.known[resource.plural, key] = obj
        self.newest[resource.plural] = int(obj["metadata"]["resourceVersion"])

    async def list(self, resource: Resource, scope: str, mode: str, chain: int = 0) -> Listing | None:
        """A list in one of its modes; None when it was never sent."""
        traffic = self.traffic
        listing = Listing(
            self.number, mode, resource.plural, scope, traffic._now(), chain=chain, server=self.server
        )
        asked = self.newest.get(resource.plural, 0)
        if mode in ("exact", "bounded"):
            if not asked:
                return await self.list(resource, scope, "whole", chain)
            listing.asked = asked
        try:
            if mode == "stream":
                await self._stream_list(resource, listing)
            else:
                await self._pages(resource, listing)
            listing.outcome, listing.code = OK, 200
        except (ConnectFailed, ClientClosed):
            self.move(MOVE_WHEN_LOST)
            return None
        except ApiError as error:
            _refusal(listing, error)
        except BadResponse as error:
            listing.code, listing.reason = -1, str(error)
        except (ClientError, TimeoutError) as error:
            listing.reason = f"{type(error).__name__}: {error}"
        finally:
            listing.end = traffic._now()
        if listing.outcome == OK:
            self.newest[resource.plural] = max(self.newest.get(resource.plural, 0), listing.revision)
        traffic.history.listings.append(listing)
        return listing

    async def _pages(self, resource: Resource, listing: Listing) -> None:
        token: str | None = None
        match = {"exact": "Exact", "bounded": "NotOlderThan"}.get(listing.mode)
        version = "0" if listing.mode == "cached" else str(listing.asked) if match else None
        while True:
            page = await self.client.list(
                resource,
                listing.scope or None,
                limit=2 if listing.mode == "pages" else None,
                continue_=token,
                resource_version=version,
                resource_version_match=match,
            )
            listing.revisions.append(int(page.metadata.resourceVersion or 0))
            for obj in filter(_ours, page.items):
                listing.items.append(Seen(*_shown(obj)))
                if listing.mode != "exact":
                    obj = {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
                    self.known.setdefault((resource.plural, listing.items[-1].key), obj)
            token = page.metadata.continue_
            if not token:
                return
            if self.traffic._working:
                await asyncio.sleep(self.rng.random() * 0.02)

    async def _stream_list(self, resource: Resource, listing: Listing) -> None:
        """The list as a watch sends it: events up to the bookmark that says so."""
        async with (
            asyncio.timeout(CALL_SECONDS),
            await self.client.open_watch(
                resource, listing.scope or None, type=dict, send_initial_events=True, timeout_seconds=2
            ) as stream,
        ):
            while batch := await stream.read_batch():
                for event in batch:
                    if event.type == "BOOKMARK":
                        listing.revisions.append(int(event.object["metadata"]["resourceVersion"]))
                        return
                    if _ours(event.object):
                        listing.items.append(Seen(*_shown(event.object)))
            raise TimeoutError("the watch ended before its list did")


def _refusal(what: Operation | Listing, error: ApiError) -> None:
    what.code, what.reason = error.code, f"{error.reason}: {error}"
    what.outcome = REFUSED if error.code < 500 or error.code == 507 else UNKNOWN
