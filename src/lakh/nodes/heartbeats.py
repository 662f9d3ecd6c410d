"""The signs of life of a fleet: leases that are renewed, and the statuses that kubelets report although nothing has changed.

A lease is written by one turn of its ring at a time, as a ring passes a node once a period. A renewal that works is no task: its request is
written, and its answer is looked at for the new resourceVersion alone. What goes wrong goes on in a task.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any

import msgspec

from lakh.client.client import JSON, STRATEGIC, Client, decode
from lakh.client.errors import ApiError, ClientError, is_already_exists, is_conflict, is_not_found
from lakh.client.resources import LEASES, NODES
from lakh.client.tasks import TaskGuard
from lakh.machinery import times
from lakh.nodes import images, objects
from lakh.nodes.catalogue import InstanceType
from lakh.nodes.ring import Ring

log = logging.getLogger(__name__)

# A lease is renewed so often while it is valid, as by kubelets.
RENEWALS_A_LEASE = 4
# Requests under way at once for each kind of work; the client's connections are fewer.
RENEWALS = 64
STATUS_REPORTS = 8
# One to learn that somebody else wrote the lease, one more for a lease that is made or deleted meanwhile.
RENEW_ATTEMPTS = 3

_LEASES = LEASES.path(objects.NODE_LEASES) + "/"
_NODES = NODES.path() + "/"
_encode = msgspec.json.Encoder().encode


class _Version(msgspec.Struct, gc=False):
    resourceVersion: str | None = None


class _Versioned(msgspec.Struct, gc=False):
    """The resourceVersion of an answer; the rest is skipped."""

    metadata: _Version


class Kubelet:
    """One simulated node. `taken` are the pod addresses in use: the bits of their numbers in the node's network.

    It is `idle` while it does nothing: not registered yet, silent, or its Node deleted. Like a real kubelet it does not make a
    deleted Node again before it is started again.
    """

    __slots__ = (
        "gone",
        "images",
        "index",
        "lease_version",
        "name",
        "parked",
        "reported",
        "silent",
        "since",
        "taken",
        "uid",
    )

    def __init__(self, instance: InstanceType, index: int) -> None:
        self.index = index
        self.name = objects.node_name(instance, index)
        self.uid = ""
        self.since = ""
        self.lease_version: str | None = None
        self.taken = 0
        self.images: images.Images = ()
        self.reported: images.Images = ()
        self.parked: list[str] | None = None
        self.silent = False
        self.gone = False

    def __repr__(self) -> str:
        state = "gone" if self.gone else "silent" if self.silent else "registered" if self.uid else "new"
        return f"<Kubelet {self.name} {state}>"

    @property
    def idle(self) -> bool:
        """It writes nothing."""
        return self.silent or self.gone or not self.uid


class Heartbeats:
    """Of kubelets, through a client of their own. `wall` tells the time of day. An async context that owns its tasks."""

    def __init__(
        self, client: Client, lease_seconds: int, status_seconds: int, wall: Callable[[], float]
    ) -> None:
        self._client = client
        self._writer = client.writer()
        self._lease_seconds = lease_seconds
        self._status_seconds = status_seconds
        self._wall = wall
        self._guard = TaskGuard("heartbeats")

    def __repr__(self) -> str:
        return f"<Heartbeats {self._guard!r}>"

    async def __aenter__(self) -> Heartbeats:
        await self._writer.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._writer.__aexit__(kind, error, trace)
        await self._guard.close()

    async def renew_all(self, kubelets: Sequence[Kubelet]) -> None:
        """Renews leases for ever."""
        await Ring(kubelets, self._lease_seconds / RENEWALS_A_LEASE, RENEWALS, self._renew_soon).run()

    async def report_all(self, kubelets: Sequence[Kubelet]) -> None:
        """Reports statuses for ever: kubelets do so every five minutes even when nothing changes."""
        await Ring(kubelets, self._status_seconds, STATUS_REPORTS, self.report).run()

    # -- leases ----------------------------------------------------------------------------------------------------------------

    def _renew_soon(self, kubelet: Kubelet, done: Callable[[], None]) -> None:
        """A turn of the ring."""
        if kubelet.idle:
            done()
        elif kubelet.lease_version is None:
            self._guard.spawn(self._renew_safely(kubelet, None, done), name="lease")
        else:
            target = _LEASES + kubelet.name
            self._writer.write(
                "PUT", target, self._lease(kubelet), JSON, partial(self._renewed, kubelet, done)
            )

    def _renewed(self, kubelet: Kubelet, done: Callable[[], None], answer: bytes | ClientError) -> None:
        if isinstance(answer, ApiError):
            self._guard.spawn(self._renew_safely(kubelet, answer, done), name="lease")
            return
        try:
            if isinstance(answer, ClientError):
                raise answer
            kubelet.lease_version = decode(answer, _Versioned).metadata.resourceVersion
        except ClientError as e:
            log.warning("lease of %s: %s", kubelet.name, e)
        done()

    async def _renew_safely(
        self, kubelet: Kubelet, refused: ApiError | None, done: Callable[[], None]
    ) -> None:
        try:
            await self.renew(kubelet, refused)
        except ClientError as e:
            log.warning("lease of %s: %s", kubelet.name, e)
        finally:
            done()

    def _lease(self, kubelet: Kubelet) -> bytes:
        now = times.micro_of_seconds(self._wall())
        return objects.lease_json(kubelet.name, kubelet.uid, now, kubelet.lease_version, self._lease_seconds)

    async def renew(self, kubelet: Kubelet, refused: ApiError | None = None) -> None:
        """Renews the lease; learns its version, or that it is gone, and tries again, so that the sign of life is not late.

        `refused` is what the first attempt met, when it has been made.
        """
        for attempt in range(1, RENEW_ATTEMPTS + 1):
            version = kubelet.lease_version
            try:
                if refused is not None:
                    raise refused
                if version is None:
                    answer = await self._client.create(
                        LEASES, self._lease(kubelet), objects.NODE_LEASES, type=_Versioned
                    )
                else:
                    answer = await self._client.update(
                        LEASES, self._lease(kubelet), objects.NODE_LEASES, name=kubelet.name, type=_Versioned
                    )
            except ApiError as e:
                refused = None
                if is_already_exists(e) or is_conflict(e):
                    found = await self._client.get(LEASES, kubelet.name, objects.NODE_LEASES, type=_Versioned)
                    kubelet.lease_version = found.metadata.resourceVersion
                elif version is not None and (is_not_found(e) or e.code == 400):
                    # Gone: leases may be made by an update, but not with a version.
                    kubelet.lease_version = None
                else:
                    raise
                if attempt == RENEW_ATTEMPTS:
                    raise
            else:
                kubelet.lease_version = answer.metadata.resourceVersion
                return

    # -- statuses --------------------------------------------------------------------------------------------------------------

    def report(self, kubelet: Kubelet, done: Callable[[], None] = lambda: None) -> None:
        """Reports the conditions, and the images when there are others."""
        if kubelet.idle:
            done()
            return
        has = kubelet.images
        status: dict[str, Any] = {
            "conditions": objects.conditions(times.of_seconds(self._wall()), kubelet.since)
        }
        if has is not kubelet.reported:
            status["images"] = images.status_of(has)
        target, patch = f"{_NODES}{kubelet.name}/status", _encode(_status_patch(status, {}))
        self._writer.write("PATCH", target, patch, STRATEGIC, partial(self._reported, kubelet, has, done))

    def _reported(
        self, kubelet: Kubelet, has: images.Images, done: Callable[[], None], answer: bytes | ClientError
    ) -> None:
        if isinstance(answer, ClientError):
            log.warning("status of %s: %s", kubelet.name, answer)
        else:
            kubelet.reported = has
        done()

    async def patch_status(
        self, kubelet: Kubelet, status: dict[str, Any], annotations: dict[str, str]
    ) -> None:
        """Writes a status whole, and annotations beside it."""
        await self._client.patch(
            NODES,
            kubelet.name,
            _status_patch(status, annotations),
            patch_type=STRATEGIC,
            subresource="status",
            type=bytes,
        )


def _status_patch(status: dict[str, Any], annotations: dict[str, str]) -> dict[str, Any]:
    return {"metadata": {"annotations": annotations}, "status": status}
