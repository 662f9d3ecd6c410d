"""Who writes which partition, settled between the API servers.

A partition's journal names its writer: the newest claim in it. So every replica knows the writer from the journal itself, and fencing makes each
change of it safe, whoever makes it and however wrong it is about the others. What is decided here is only when to claim:

    nobody ever claimed, or the claim is of a former life of this server      at once
    the writer is dead: it refuses connections, or leaves questions unanswered
    the writer lives, but says that it does not write this partition
    the writer lives, but its oldest write has waited for STALL_SECONDS,
    and none becomes durable within PROGRESS_SECONDS of an answer of this
    server's own journal: a writer that waits for the same leader of a
    stream as everybody else is not at fault                                  in this server's turn

The turn: servers that are alive stand in a partition's order (rendezvous hashing), the first claims at once, each next one TURN_SECONDS
later. A claim names whom it replaces and is dropped when another one got in before it, so there are no duels.

`assign` spreads partitions over servers. Only the writer itself moves its partition to the server that should have it, once that has been there
for HANDOVER_SECONDS: it stops taking writes, makes durable what it has, and asks the other to claim. So a partition does not bounce.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import secrets
from collections.abc import Callable, Sequence
from urllib.parse import quote

from lakh.server.peers import (
    STATUS_PATH,
    AnswerLost,
    Dial,
    NotSent,
    PartitionStatus,
    Peers,
    ServerStatus,
)
from lakh.store.errors import NotWriter, StoreError
from lakh.store.partition import Partition

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
"""At least so often everything is looked at; news are looked at when they come."""
TURN_SECONDS = 0.4
STALL_SECONDS = 2.0
"""A writer whose oldest write has waited for so long is suspected. Whether it is at fault is found out then."""
PROGRESS_SECONDS = 3.0
"""A journal that answers here has a leader; a writer that can reach it, too, has asked again within two seconds and been answered."""
NO_PROGRESS_SECONDS = 12.0
"""Longer than a stream is without a leader when one dies (4 to 9 s): what lasts longer makes a server not ready."""
ORPHAN_SECONDS = 1.0
"""A writer that restarts, or hands over, claims or is followed within this."""
HANDOVER_SECONDS = 5.0
CLAIM_SECONDS = 5.0
RETRY_SECONDS = 0.5
"""After a claim that failed, or a hand-over."""


def order(partition: str, servers: Sequence[str]) -> list[str]:
    """Servers in the order in which they should write a partition: rendezvous hashing."""

    def weight(server: str) -> bytes:
        return hashlib.sha256(f"{partition}\0{server}".encode()).digest()

    return sorted(servers, key=weight, reverse=True)


def assign(partitions: Sequence[str], servers: Sequence[str]) -> dict[str, str]:
    """Which server should write which partition: the first in its order that has not its share yet.

    >>> assigned = assign(("pods", "nodes", "leases", "events", "default"), ("a", "b", "c"))
    >>> sorted(list(assigned.values()).count(s) for s in "abc")
    [1, 2, 2]
    """
    share = -(-len(partitions) // len(servers))
    counts = dict.fromkeys(servers, 0)
    assigned = {}
    for partition in partitions:
        chosen = next(s for s in order(partition, servers) if counts[s] < share)
        counts[chosen] += 1
        assigned[partition] = chosen
    return assigned


def url_of(claim: str | None) -> str | None:
    """The address in a claim, which is `<url> <incarnation>`."""
    return claim.partition(" ")[0] if claim else None


class Writers:
    """This server's part in it. `members` tells the URLs of all servers, as the identity Leases have them."""

    def __init__(
        self, url: str, partitions: dict[str, Partition], dial: Dial, members: Callable[[], Sequence[str]]
    ) -> None:
        self.url = url
        self.claim = f"{url} {secrets.token_hex(4)}"
        self.peers = Peers(dial, self.look_soon)
        self.partitions = partitions
        self.draining = False
        self.on_promoted: list[Callable[[str], None]] = []
        """Told of each partition that this server begins to write."""
        self._members = members
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._changes: list[asyncio.Future[None]] = []
        self._wanted_since: dict[str, tuple[str | None, float]] = {}
        self._not_before = dict.fromkeys(partitions, 0.0)
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None

    # What others ask

    def status(self) -> ServerStatus:
        """What this server says of itself."""
        return ServerStatus(
            self.claim,
            self.draining,
            {
                name: PartitionStatus(
                    p.is_writer, p.sequence, round(p.stalled_seconds, 3), p.failed is not None
                )
                for name, p in self.partitions.items()
            },
        )

    def elsewhere(self, name: str) -> str | None:
        """The URL of another server that writes a partition and is not known to be dead."""
        url = url_of(self.partitions[name].writer)
        if url is None or url == self.url:
            return None
        peer = self.peers.name(url)
        return url if peer.alive or (peer.status is None and not peer.failures) else None

    def works(self, name: str) -> bool:
        """Whether a partition has a writer that makes progress, as far as this server knows."""
        partition = self.partitions[name]
        if partition.is_writer:
            return partition.stalled_seconds < NO_PROGRESS_SECONDS
        url = self.elsewhere(name)
        peer = self.peers.get(url) if url is not None else None
        theirs = peer.status.partitions.get(name) if peer is not None and peer.status is not None else None
        return theirs is not None and theirs.writer and theirs.stalled_seconds < NO_PROGRESS_SECONDS

    def alive(self) -> list[str]:
        """The URLs of this server and of the others that are there and stay."""
        return [self.url, *(p.url for p in self.peers if p.alive and p.status and not p.status.draining)]

    async def change(self) -> None:
        """Wait until something may be different: a claim, a peer, a role."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._changes.append(future)
        self.look_soon()
        await future

    # The loop

    def start(self) -> None:
        """Begin to look."""
        self._task = self._loop.create_task(self._run(), name="writers")

    async def stop(self) -> None:
        """Hand over what is written here, and look no more."""
        self.draining = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for task in list(self._busy.values()):
            task.cancel()
        await asyncio.gather(*self._busy.values(), return_exceptions=True)
        others = [p.url for p in self.peers if p.alive and p.status is not None and not p.status.draining]
        if others:
            assigned = assign(list(self.partitions), others)
            await asyncio.gather(
                *(self._hand_over(n, assigned[n], False) for n, p in self.partitions.items() if p.is_writer),
                return_exceptions=True,
            )
        await self.peers.stop()

    def look_soon(self) -> None:
        """There are news."""
        self._news.set()

    async def _run(self) -> None:
        while True:
            self._news.clear()
            try:
                self._look()
            except Exception:
                log.exception("writers: a look failed")
            changes, self._changes = self._changes, []
            for future in changes:
                if not future.done():
                    future.set_result(None)
            try:
                async with asyncio.timeout(LOOK_SECONDS * random.uniform(0.8, 1.2)):
                    await self._news.wait()
                await asyncio.sleep(0.01)  # so that many news are one look
            except TimeoutError:
                pass

    def _look(self) -> None:
        now = self._loop.time()
        for url in {*self._members(), *(url_of(p.writer) for p in self.partitions.values())}:
            if url is not None and url != self.url:
                self.peers.name(url)
        alive = self.alive()
        # While servers come and go nothing is moved that does not have to be.
        settled = all(now - peer.since >= HANDOVER_SECONDS for peer in self.peers)
        assigned = assign(list(self.partitions), sorted(alive))
        for name, partition in self.partitions.items():
            if partition.failed is not None or name in self._busy or now < self._not_before[name]:
                continue
            if partition.is_writer:
                self._wanted_since.pop(name, None)
                # One at a time: a hand-over that goes wrong is seen before the next one. None while the journal is silent:
                # the other one could not claim either.
                if (
                    settled
                    and assigned[name] != self.url
                    and not self._busy
                    and partition.stalled_seconds < LOOK_SECONDS
                    and self._caught_up(name, assigned[name])
                ):
                    self._spawn(name, self._hand_over(name, assigned[name], True))
                continue
            grace = self._grace(name, partition)
            if grace is None:
                self._wanted_since.pop(name, None)
                continue
            writer = partition.writer
            known = self._wanted_since.get(name)
            if known is None or known[0] != writer:
                known = self._wanted_since[name] = (writer, now)
            turn = 0.0
            if url_of(writer) != self.url:
                others = [s for s in alive if s != url_of(writer)]
                place = order(name, others).index(self.url)
                turn = place * (TURN_SECONDS + random.uniform(0, 0.05))
            if now - known[1] >= grace + turn:
                replace = self._replace if self._stalled(name, url_of(writer)) else self._claim
                self._spawn(name, replace(name, writer))

    def _grace(self, name: str, partition: Partition) -> float | None:
        """Seconds after which the writer of a partition may be replaced; None when it does its work."""
        writer = partition.writer
        url = url_of(writer)
        if url is None or url == self.url:
            return 0.0
        peer = self.peers.name(url)
        if not peer.alive:
            # One that was never heard of is dead once it was asked in vain.
            return 0.0 if peer.failures else None
        assert peer.status is not None
        theirs = peer.status.partitions.get(name)
        if theirs is None or peer.status.claim != writer or not theirs.writer:
            # Its status may be older than its claim.
            return ORPHAN_SECONDS if theirs is None or theirs.sequence >= partition.sequence else None
        return 0.0 if self._stalled(name, url) else None

    def _stalled(self, name: str, url: str | None) -> bool:
        """Whether a server that lives and writes a partition says that its writes wait."""
        peer = self.peers.get(url) if url is not None else None
        if peer is None or not peer.alive or peer.status is None:
            return False
        theirs = peer.status.partitions.get(name)
        return theirs is not None and theirs.writer and theirs.stalled_seconds >= STALL_SECONDS

    def _caught_up(self, name: str, url: str) -> bool:
        peer = self.peers.get(url)
        theirs = peer.status.partitions.get(name) if peer is not None and peer.status is not None else None
        # A status is up to half a second old; a replica that is farther behind than this has a problem.
        return (
            theirs is not None
            and not theirs.failed
            and self.partitions[name].sequence - theirs.sequence < 5_000
        )

    def _spawn(self, name: str, work: object) -> None:
        task = self._loop.create_task(work, name=f"writer-{name}")  # type: ignore[arg-type,var-annotated]
        self._busy[name] = task

        def done(task: asyncio.Task[None]) -> None:
            self._busy.pop(name, None)
            if not task.cancelled() and task.exception() is not None:
                log.error("writer of %s", name, exc_info=task.exception())
            self.look_soon()

        task.add_done_callback(done)

    # Claims

    async def _replace(self, name: str, instead_of: str | None) -> None:
        """Claim a partition whose writer lives but does not get on, unless the journal is to blame."""
        partition = self.partitions[name]
        self._not_before[name] = self._loop.time() + RETRY_SECONDS
        try:
            async with asyncio.timeout(CLAIM_SECONDS):
                await partition.barrier()
        except (StoreError, TimeoutError) as error:
            log.info("partition %s: its journal does not answer here either: %s", name, error or "silence")
            return
        try:
            async with asyncio.timeout(PROGRESS_SECONDS):
                await partition.reach(partition.revision + 1)
        except TimeoutError:
            log.warning("partition %s: %s writes nothing, though the journal answers", name, instead_of)
            await self._claim(name, instead_of)
        except StoreError as error:
            log.warning("partition %s is not followed here any more: %s", name, error)

    async def _claim(self, name: str, instead_of: str | None) -> None:
        partition = self.partitions[name]
        self._not_before[name] = self._loop.time() + RETRY_SECONDS
        try:
            async with asyncio.timeout(CLAIM_SECONDS):
                await partition.promote(self.claim, instead_of=(instead_of, self.claim))
        except NotWriter:
            log.info("partition %s: %s was faster", name, partition.writer)
        except (StoreError, TimeoutError) as error:
            log.warning("partition %s cannot be claimed: %s", name, error or "no answer in time")
        else:
            log.info("partition %s: written here instead of %s", name, instead_of or "nobody")
            self._promoted(name)

    def _promoted(self, name: str) -> None:
        for tell in self.on_promoted:
            tell(name)
        self.look_soon()

    async def take_over(self, name: str, holder: str | None) -> bool:
        """Claim a partition because its writer asks for it. Whether this server writes it now."""
        if self.draining or name in self._busy:
            return False
        partition = self.partitions[name]
        try:
            await partition.promote(self.claim, instead_of=(holder, self.claim))
        except StoreError as error:
            log.warning("partition %s cannot be taken over from %s: %s", name, holder, error)
            return False
        log.info("partition %s: taken over from %s", name, holder)
        self._promoted(name)
        return True

    async def _hand_over(self, name: str, url: str, take_back: bool) -> None:
        """Give a partition to another server. If that does not work, this one takes it back."""
        partition = self.partitions[name]
        holder = partition.writer
        self._not_before[name] = self._loop.time() + HANDOVER_SECONDS
        await partition.resign()
        path = f"{STATUS_PATH}/{name}/claim?holder={quote(holder or '')}"
        try:
            answer = await self.peers.ask(url, "POST", path, CLAIM_SECONDS)
            why = f"it answers with code {answer.status}" if answer.status != 200 else ""
        except (NotSent, AnswerLost) as error:
            why = str(error)
        if not why:
            log.info("partition %s: handed over to %s", name, url)
            return
        # When all servers stop at once nobody takes over; who starts first claims.
        level = logging.INFO if self.draining else logging.WARNING
        log.log(level, "partition %s cannot be handed over to %s: %s", name, url, why)
        if take_back and partition.writer == holder:
            await self._claim(name, holder)
