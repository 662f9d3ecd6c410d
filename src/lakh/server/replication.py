"""Requests on one of many API servers: what is answered here, after what, and what goes to a partition's writer.

* A read without resourceVersion waits for a barrier of its partition, so it is linearizable on every server. With `resourceVersion=0` it
  is answered from memory at once, with another one when that is reached.
* A write is carried out by its partition's writer. If that is another server, the request goes there as it came, in the name of whom this server
  has authenticated (`X-Remote-User`). It carries the revisions of all partitions that this server has (`X-Lakh-Seen`), and the writer waits for
  them first: its admission sees at least what the client may have seen here. The answer names the writer's revision (`X-Lakh-Revision`), and is passed
  on when this server has that, too: the client reads its own writes.
* A forwarded request is not forwarded again. A server that is not the writer says so with 421 and has done nothing; the sender looks for the
  writer anew. So does a writer that lost its role while the write was queued. A request is repeated in these two cases and when it was not sent at all.
  When the outcome is unknown the client is told so (504).
* A write that is refused, or changes nothing, appends nothing that could be fenced. So the writer waits for a barrier before it says so: had it been
  paused and replaced, it would speak of a state that is long gone.
* A refusal by admission may rest on what this server has not seen yet (the namespace that another server wrote a moment ago): it is tried once
  more after a barrier. Discovery and unknown paths wait for one, too, for a definition may be new.

Cost of a forwarded write: the head is put together from the parsed one (10 µs), the body is not looked at.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import msgspec

from lakh.machinery import errors, gonumbers
from lakh.server import listing
from lakh.server.authn import APISERVER, Authenticator, Loopback, User, remote_headers
from lakh.server.cluster import Cluster
from lakh.server.consistency import Barrier, reach
from lakh.server.exchange import Request, Response, StreamResponse
from lakh.server.handlers import CONNECT
from lakh.server.http1 import IMPERSONATE
from lakh.server.peers import STATUS_PATH, AnswerLost, NotSent, RawAnswer
from lakh.server.rendering import Answer, answered
from lakh.server.reviews import VIRTUAL
from lakh.server.routing import RequestInfo
from lakh.server.writers import Writers
from lakh.store.errors import NotWriter, StoreError
from lakh.store.partition import Partition

log = logging.getLogger(__name__)

Local = Callable[[], Answer]

WRITER_SECONDS = 10.0
"""How long a write waits for its partition to have a writer."""
FORWARD_SECONDS = 60.0
"""For the writer's answer (upstream's request timeout)."""
RELAY_SECONDS = 3.0
"""How long an answer is held back until this replica has the write. Reads without resourceVersion would see it anyway."""

BARRIER_EVERY_SECONDS = 2.0
STALE_SECONDS = 14.0
"""A replica that has passed no barrier for so long is not ready: BARRIER_EVERY_SECONDS more than what writers.NO_PROGRESS_SECONDS is."""

SEEN = "x-lakh-seen"
REVISION = "x-lakh-revision"
MISDIRECTED = 421

WRITES = frozenset(("create", "update", "patch", "delete", "deletecollection"))
NOT_FORWARDED = frozenset(
    (
        *(
            "accept-encoding",
            "authorization",
            "connection",
            "content-encoding",
            "content-length",
            "expect",
            "host",
        ),
        *("keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", SEEN),
    )
)
NOT_RELAYED = frozenset(
    (b"connection", b"content-length", b"content-type", b"transfer-encoding", REVISION.encode())
)


class Replication:
    """One server's part. `handle` is the server's own handler of requests."""

    def __init__(
        self,
        cluster: Cluster,
        authenticator: Authenticator,
        writers: Writers,
        handle: Callable[[Request], Answer],
    ) -> None:
        self.cluster = cluster
        self.authenticator = authenticator
        self.writers = writers
        self.barriers = {name: Barrier(p) for name, p in cluster.partitions.items()}
        for name, partition in cluster.partitions.items():
            partition.confirm = self.barriers[name]
        self._handle = handle
        self.forwarded = 0
        self.misdirected = 0
        self.lost = 0

    def stop(self) -> None:
        """End what waits."""
        for barrier in self.barriers.values():
            barrier.stop()

    async def barrier(self, *names: str) -> None:
        """Wait until this replica has all that was acknowledged before the call."""
        await asyncio.gather(*(self.barriers[name]() for name in names))

    async def keep_asking(self) -> None:
        """Passes barriers now and then, so that `checks` knows without traffic. Runs until cancelled."""

        async def ask(barrier: Barrier) -> None:
            while True:
                with suppress(StoreError, errors.StatusError):
                    await barrier()
                await asyncio.sleep(BARRIER_EVERY_SECONDS)

        # Each by itself: one journal that hangs says nothing about the others.
        await asyncio.gather(*map(ask, self.barriers.values()))

    def checks(self) -> dict[str, bool]:
        """What readiness rests on: the journals answer and this replica keeps up, and somebody writes and makes progress."""
        now = asyncio.get_running_loop().time()
        found = {f"journal-{n}": now - b.passed_at < STALE_SECONDS for n, b in self.barriers.items()}
        return found | {f"writer-{n}": self.writers.works(n) for n in self.barriers}

    # Requests for resources

    def route(
        self,
        request: Request,
        info: RequestInfo,
        query: dict[str, str],
        user: User,
        local: Local,
    ) -> Answer:
        """Answers a request; `local` is how it is answered once this server may."""
        verb, resource = info.verb, info.resource
        partition = self.cluster.partitions[resource.partition]
        if info.subresource in CONNECT:
            return self._after_barrier(partition.name, local)
        if verb in WRITES:
            if info.subresource == "token":
                return self._after_barrier("default", local)
            if resource.table in VIRTUAL:
                return local()
            if self.authenticator.forwarded(request) and SEEN in request.headers:
                return self._carry_out(request, partition, verb, local)
            return self._write(request, info, user, partition, local)
        version = query.get("resourceVersion", "")
        if verb == "list" and (token := query.get("continue", "")):
            revision, _, _ = listing.decode_continue(token, resource.table)
            if revision == listing.ANY_REVISION:
                return self._after_barrier(partition.name, local)
            return self._after_revision(partition, revision, local)
        if not version:
            return self._after_barrier(partition.name, local)
        if verb == "get" and gonumbers.is_uint(version) and int(version) > partition.revision:
            return self._after_revision(partition, int(version), local)
        return local()

    async def after_barrier(self, names: tuple[str, ...], local: Local) -> Response | StreamResponse:
        """Answers when this replica has everything of some partitions."""
        await self.barrier(*names)
        return await answered(local())

    async def _after_barrier(self, name: str, local: Local) -> Response | StreamResponse:
        await self.barriers[name]()
        return await answered(local())

    async def _after_revision(
        self, partition: Partition, revision: int, local: Local
    ) -> Response | StreamResponse:
        await reach(partition, revision)
        return await answered(local())

    # Writes

    async def _write(
        self, request: Request, info: RequestInfo, user: User, partition: Partition, local: Local
    ) -> Response | StreamResponse:
        name = partition.name
        loop = asyncio.get_running_loop()
        deadline = loop.time() + WRITER_SECONDS
        while True:
            if partition.is_writer:
                try:
                    return await self._admitted(info.verb, name, local)
                except NotWriter:
                    pass  # not applied, nor will it ever be
            else:
                url = self.writers.elsewhere(name)
                if url is not None:
                    answer = await self._forward(request, user, partition, url)
                    if answer is not None:
                        return answer
            if loop.time() >= deadline:
                raise errors.unavailable(f"there is no writer of partition {name} at the moment", 1)
            try:
                async with asyncio.timeout_at(deadline):
                    await self.writers.change()
            except TimeoutError:
                pass

    async def _admitted(self, verb: str, name: str, local: Local) -> Response | StreamResponse:
        """Carried out here. What admission refuses for what is not there is tried once more with the newest state."""
        try:
            return await answered(local())
        except errors.StatusError as error:
            if verb != "create" or name == "default" or error.code not in (403, 404):
                raise
            default = self.cluster.partitions["default"]
            before = default.revision
            await self.barriers["default"]()
            if default.revision == before:
                raise
        return await answered(local())

    async def _carry_out(self, request: Request, partition: Partition, verb: str, local: Local) -> Response:
        """A write that another server sent here."""
        try:
            await self._catch_up(request.headers.get(SEEN, ""))
            if not partition.is_writer:
                raise NotWriter(partition.name, partition.writer)
            answer = await self._admitted(verb, partition.name, local)
            assert isinstance(answer, Response)
        except NotWriter as error:
            self.misdirected += 1
            return Response(
                MISDIRECTED,
                errors.StatusError(MISDIRECTED, "MisdirectedRequest", str(error)).encode(),
            )
        except errors.StatusError as error:
            error.headers = (*error.headers, self._revision(partition))
            raise
        answer.headers = (*answer.headers, self._revision(partition))
        return answer

    def _revision(self, partition: Partition) -> tuple[bytes, bytes]:
        return REVISION.encode(), b"%d" % partition.revision

    async def _catch_up(self, seen: str) -> None:
        for part in seen.split(","):
            name, _, revision = part.partition("=")
            partition = self.cluster.partitions.get(name)
            if partition is not None and gonumbers.is_uint(revision) and not partition.is_writer:
                await reach(partition, int(revision))

    async def _forward(self, request: Request, user: User, partition: Partition, url: str) -> Response | None:
        """The answer of the writer at `url`; None when it has not carried the request out and never will."""
        payload = self._payload(request, user, url)
        try:
            raw = await self.writers.peers.request(url, payload, request.method, FORWARD_SECONDS)
        except NotSent as error:
            log.info("partition %s: %s", partition.name, error)
            return None
        except AnswerLost as error:
            self.lost += 1
            log.warning("%s %s: the writer's answer is lost: %s", request.method, request.path, error)
            raise errors.timeout(
                f"request did not complete: the answer of the writer of partition {partition.name} was lost, "
                "the request may have been carried out or not"
            ) from error
        if raw.status == MISDIRECTED:
            return None
        self.forwarded += 1
        return await self._relay(raw, partition)

    def _payload(self, request: Request, user: User, url: str) -> bytes:
        target = f"{request.path}?{request.query}" if request.query else request.path
        try:
            who = remote_headers(user)
        except ValueError as error:
            raise errors.bad_request(f"the user's name or groups cannot be passed on: {error}") from None
        seen = ",".join(f"{n}={p.revision}" for n, p in self.cluster.partitions.items())
        lines = "".join(
            f"{name}: {value}\r\n"
            for name, value in request.headers.items()
            if name not in NOT_FORWARDED and not name.startswith(("x-remote-", IMPERSONATE))
        )
        return (
            f"{request.method} {target} HTTP/1.1\r\nHost: {url.partition('://')[2]}\r\n{lines}{who}"
            f"{SEEN}: {seen}\r\nContent-Length: {len(request.body)}\r\n\r\n"
        ).encode("latin-1") + request.body

    async def _relay(self, raw: RawAnswer, partition: Partition) -> Response:
        content_type, revision, headers = b"application/json", 0, []
        for name, value in raw.headers:
            lower = name.lower()
            if lower == b"content-type":
                content_type = value
            elif lower == REVISION.encode():
                revision = int(value)
            elif lower not in NOT_RELAYED and not lower.startswith(b"x-kubernetes-pf-"):
                headers.append((name, value))
        if revision > partition.revision:
            try:
                async with asyncio.timeout(RELAY_SECONDS):
                    await partition.reach(revision)
            except (TimeoutError, StoreError) as error:
                log.warning("partition %s: revision %d is late here: %s", partition.name, revision, error)
        return Response(raw.status, raw.body, content_type, tuple(headers))

    # The server's own requests

    async def call(self, method: str, path: str, body: Any = None) -> Response:
        """A request of the server itself, wherever its partition is written. Errors come as a Response, too."""
        return await own_request(self._handle, method, path, body)

    # What peers ask

    def internal(self, request: Request) -> Answer:
        """Answers a peer's question; raises 404."""
        path = request.path
        if request.method == "GET" and path == STATUS_PATH:
            return Response(200, msgspec.json.encode(self.writers.status()))
        name, _, what = path.removeprefix(STATUS_PATH + "/").partition("/")
        if request.method == "POST" and what == "claim" and name in self.cluster.partitions:
            return self._take_over(name, parse_qs(request.query).get("holder", [""])[0] or None)
        raise errors.path_not_found()

    async def _take_over(self, name: str, holder: str | None) -> Response:
        taken = await self.writers.take_over(name, holder)
        return Response(200 if taken else 409, b"{}")


async def own_request(
    handle: Callable[[Request], Answer], method: str, path: str, body: Any = None
) -> Response:
    """A request that a server makes to itself through `handle`. Errors come as a Response, too."""
    path, _, query = path.partition("?")
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    headers = {"user-agent": "kube-apiserver", "accept": "application/json", "content-type": kind}
    data = body if isinstance(body, bytes) else msgspec.json.encode(body) if body is not None else b""
    connection: Any = Loopback(APISERVER)
    try:
        answer = await answered(handle(Request(method, path, query, headers, data, connection)))
    except errors.StatusError as error:
        return Response(error.code, error.encode())
    assert isinstance(answer, Response)
    return answer
