"""Leader election on a Lease, with client-go's semantics.

A candidate holds the lease by writing its identity and renewing `renewTime`. Others take it over when they have not seen it
change for `lease_duration_seconds` of *their own* clock: clocks are never compared. The leader stops leading when it could
not renew for `renew_deadline_seconds`, which is shorter, so there is never a second leader as long as clocks run at about the same
speed. Every write carries the resourceVersion that was read, so of two candidates one fails.

State: follower → (acquired) → leading → (not renewed in time, or cancelled, or the work ended) → `run` returns.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from lakh.machinery import times
from lakh.machinery.metrics import PROCESS

from .client import Client
from .errors import ApiError, ClientError, is_conflict, is_not_found
from .resources import LEASES
from .tasks import TaskGuard

__all__ = ["LeaderElector"]

log = logging.getLogger(__name__)

LEASE_DURATION_SECONDS = 15.0
RENEW_DEADLINE_SECONDS = 10.0
RETRY_PERIOD_SECONDS = 2.0
_electors: weakref.WeakSet[LeaderElector] = weakref.WeakSet()
PROCESS.reading(
    "leader_election_master_status",
    "1 for the leases that this process holds.",
    ("name",),
    lambda: [((one.name,), one.is_leader) for one in _electors],
)

JITTER = 1.2
"""A candidate waits one to 2.2 retry periods between tries, so that candidates do not march in step."""


class LeaderElector:
    """See the module. `clock` (monotonic seconds) and `sleep` are for tests."""

    def __init__(
        self,
        client: Client,
        name: str,
        namespace: str,
        identity: str,
        *,
        on_started: Callable[[], Coroutine[Any, Any, None]],
        on_stopped: Callable[[], object] | None = None,
        lease_duration_seconds: float = LEASE_DURATION_SECONDS,
        renew_deadline_seconds: float = RENEW_DEADLINE_SECONDS,
        retry_period_seconds: float = RETRY_PERIOD_SECONDS,
        release_on_cancel: bool = True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if not lease_duration_seconds > renew_deadline_seconds > JITTER * retry_period_seconds > 0:
            raise ValueError(
                "leaseDuration must be greater than renewDeadline, and that than retryPeriod·1.2"
            )
        if not identity:
            raise ValueError("an identity is required")
        self.client = client
        self.name: str = name
        self.namespace = namespace
        self.identity = identity
        self.leader: str | None = None
        """Who holds the lease, as far as we have seen."""
        self._on_started = on_started
        self._on_stopped = on_stopped
        self._lease_duration_seconds = lease_duration_seconds
        self._renew_deadline_seconds = renew_deadline_seconds
        self._retry_period_seconds = retry_period_seconds
        self._release_on_cancel = release_on_cancel
        self._clock = clock
        self._sleep = sleep
        self._observed: dict[str, Any] | None = None
        self._observed_at = 0.0
        _electors.add(self)

    def __repr__(self) -> str:
        return f"LeaderElector({self.namespace}/{self.name}, {self.identity!r}, leader={self.leader!r})"

    @property
    def is_leader(self) -> bool:
        """Whether we hold the lease, as far as we have seen."""
        return self.leader == self.identity

    async def run(self) -> None:
        """Wait for the lease, run `on_started` while we hold it, return when it is lost or the work has ended.

        When the work fails, its exception is raised. In all cases the work has stopped before `on_stopped` is called.
        """
        await self._acquire()
        log.info("%s/%s: %s became leader", self.namespace, self.name, self.identity)
        work: asyncio.Task[None] | None = None
        try:
            async with TaskGuard(f"leader {self.name}") as guard:
                work = guard.spawn(self._on_started(), name="work")
                renewing = guard.spawn(self._renew(), name="renew")
                await asyncio.wait((work, renewing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            try:
                if self._on_stopped is not None:
                    self._on_stopped()
            finally:
                if self._release_on_cancel and self.is_leader:
                    await self._release()
                self.leader = None if self.is_leader else self.leader
        if work.done() and not work.cancelled():
            work.result()

    async def _acquire(self) -> None:
        while not await self._attempt(self._renew_deadline_seconds):
            await self._sleep(self._retry_period_seconds * (1.0 + JITTER * random.random()))

    async def _renew(self) -> None:
        """Renew until that has failed for the deadline."""
        renewed_at = self._clock()
        while True:
            await self._sleep(self._retry_period_seconds)
            left = renewed_at + self._renew_deadline_seconds - self._clock()
            if left > 0 and await self._attempt(left):
                renewed_at = self._clock()
            elif self._clock() - renewed_at >= self._renew_deadline_seconds or not self.is_leader:
                log.error("%s/%s: %s lost the lease", self.namespace, self.name, self.identity)
                return

    async def _attempt(self, timeout_seconds: float) -> bool:
        """Try once to acquire or renew; errors are logged and count as no."""
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._acquire_or_renew()
        except TimeoutError:
            log.warning("%s/%s: no answer in time", self.namespace, self.name)
        except ApiError as error:
            level = logging.DEBUG if is_conflict(error) else logging.WARNING
            log.log(level, "%s/%s: %s", self.namespace, self.name, error)
        except ClientError as error:
            log.warning("%s/%s: %s", self.namespace, self.name, error)
        return False

    async def _acquire_or_renew(self) -> bool:
        try:
            lease = await self.client.get(LEASES, self.name, self.namespace)
        except ApiError as error:
            if not is_not_found(error):
                raise
            self._observe(await self.client.create(LEASES, self._lease(), self.namespace))
            return True
        if self._observed is None or self._observed.get("spec") != lease.get("spec"):
            self._observe(lease)
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        self.leader = holder or None
        held_until = self._observed_at + self._lease_duration_seconds
        if holder and holder != self.identity and held_until > self._clock():
            return False
        now = times.now_micro()
        mine = {
            **spec,
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self._lease_duration_seconds),
            "renewTime": now,
        }
        if holder != self.identity:
            mine["acquireTime"] = now
            mine["leaseTransitions"] = (spec.get("leaseTransitions") or 0) + 1
        self._observe(await self.client.update(LEASES, {**lease, "spec": mine}, self.namespace))
        return True

    def _observe(self, lease: dict[str, Any]) -> None:
        self._observed = lease
        self._observed_at = self._clock()
        self.leader = (lease.get("spec") or {}).get("holderIdentity") or None

    def _lease(self) -> dict[str, Any]:
        now = times.now_micro()
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": int(self._lease_duration_seconds),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }

    async def _release(self) -> None:
        """Give the lease up, so that the next candidate need not wait for its end."""
        try:
            async with asyncio.timeout(self._retry_period_seconds):
                # Read again: a renewal that was cancelled may have been carried out.
                lease = await self.client.get(LEASES, self.name, self.namespace)
                spec = lease.get("spec") or {}
                if spec.get("holderIdentity") != self.identity:
                    return
                released = {
                    **spec,
                    "holderIdentity": "",
                    "leaseDurationSeconds": 1,
                    "renewTime": times.now_micro(),
                }
                await self.client.update(LEASES, {**lease, "spec": released}, self.namespace)
        except (TimeoutError, ClientError) as error:
            log.warning("%s/%s: not released: %s", self.namespace, self.name, error)
