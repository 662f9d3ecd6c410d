"""A fleet of simulated kubelets in one process, over the real API.

One process stands for thousands of kubelets, so what a kubelet does for itself is done here for all: one watch of the pods that are assigned to
nodes, one heap of pods that are due, one ring of leases. Every node still has its own Node and Lease, and every pod its own
status writes; the API server sees the same requests as from real kubelets.

Ownership: a pod is worked on by at most one task at a time; while it is, news of it only marks it for another look.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import time

import msgspec

from lakh.client.client import STRATEGIC, Client
from lakh.client.errors import (
    ApiError,
    ClientClosed,
    ClientError,
    is_already_exists,
    is_conflict,
    is_not_found,
)
from lakh.client.events import EventRecorder
from lakh.client.informer import Informer
from lakh.client.resources import LEASES, NODES, PODS
from lakh.client.tasks import TaskGuard
from lakh.client.types import ObjectMeta, ObjectReference, ObjectView
from lakh.machinery import times
from lakh.nodes import objects, pods
from lakh.nodes.catalogue import InstanceType

log = logging.getLogger(__name__)

RENEW_SECONDS = 10.0
# kubelet's nodeStatusReportFrequency.
STATUS_SECONDS = 300.0
TICK_SECONDS = 0.05
# Requests under way at once for each kind of work; the client's connections are fewer.
REGISTRATIONS = 64
RENEWALS = 64
POD_WRITES = 128
RETRY_SECONDS = 1.0
RETRY_MAX_SECONDS = 30.0
# A node with this annotation stays silent, as if its machine had died: for trying out what the cluster does then.
SILENT = "lakh.dev/silent"


class Kubelet:
    """One simulated node. `taken` are the pod addresses in use, by number in the node's network."""

    __slots__ = (
        "address",
        "gone",
        "index",
        "lease",
        "lease_version",
        "name",
        "network",
        "silent",
        "since",
        "taken",
        "uid",
    )

    def __init__(self, instance: InstanceType, index: int) -> None:
        self.index = index
        self.name = objects.node_name(instance, index)
        self.address = objects.node_address(index)
        self.network = objects.pod_network(index)
        self.uid = ""
        self.since = ""
        self.lease: bytes | None = None
        self.lease_version: str | None = None
        self.taken: set[int] = set()
        self.silent = False
        self.gone = False

    def __repr__(self) -> str:
        return f"<Kubelet {self.name}>"


class _Pod:
    """What the fleet knows of a pod beside its view."""

    __slots__ = ("again", "busy", "due", "failures", "kubelet", "number", "seen", "stage", "view")

    def __init__(self, view: pods.PodView, kubelet: Kubelet) -> None:
        self.view = view
        self.kubelet = kubelet
        self.number = 0
        self.seen = 0.0
        self.stage: tuple[str, bool] = ("", False)
        self.due = 0.0
        self.busy = False
        self.again = False
        self.failures = 0


class Fleet:
    """All kubelets of one instance type. `run` works until it is cancelled."""

    def __init__(self, client: Client, instance: InstanceType, count: int) -> None:
        self.client = client
        self.instance = instance
        self.kubelets = {k.name: k for k in (Kubelet(instance, i) for i in range(count))}
        self.registered = 0
        self._pods: dict[str, _Pod] = {}
        self._due: list[tuple[float, str]] = []
        self._pod_slots = asyncio.Semaphore(POD_WRITES)
        self._renewing = asyncio.Semaphore(RENEWALS)
        self._events = EventRecorder(client, "kubelet")
        self._guard = TaskGuard("fleet")

    def __repr__(self) -> str:
        return f"<Fleet {len(self.kubelets)} {self.instance.name}, {len(self._pods)} pods>"

    async def run(self) -> None:
        """Registers the nodes, then keeps them alive and their pods moving."""
        async with self._guard:
            try:
                self._guard.spawn(self._renew_leases(), name="leases", forever=True)
                await self._register_all()
                node_informer = Informer(self.client, NODES, ObjectView)
                node_informer.add_handler(
                    on_add=self._on_node,
                    on_update=lambda old, new: self._on_node(new),
                    on_delete=self._on_node_gone,
                )
                pod_informer = Informer(self.client, PODS, pods.PodView, field_selector="spec.nodeName!=")
                pod_informer.add_handler(
                    on_add=self._on_pod,
                    on_update=lambda old, new: self._on_pod(new),
                    on_delete=self._on_pod_gone,
                )
                async with asyncio.TaskGroup() as group:
                    group.create_task(node_informer.run(), name="nodes")
                    group.create_task(pod_informer.run(), name="pods")
                    group.create_task(self._work(), name="work")
                    group.create_task(self._report_statuses(), name="statuses")
            finally:
                await self._events.close()

    # -- nodes -----------------------------------------------------------------------------------------------------------------

    async def _register_all(self) -> None:
        waiting = iter(list(self.kubelets.values()))

        async def register_next() -> None:
            for kubelet in waiting:
                await self._until_done(lambda k=kubelet: self._register(k), f"register {kubelet.name}")
                self.registered += 1

        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(min(REGISTRATIONS, len(self.kubelets))):
                group.create_task(register_next())
        log.info("%d nodes registered in %.1f s", len(self.kubelets), time.monotonic() - began)

    async def _until_done(self, work: object, what: str) -> None:
        """Tries until it works: a kubelet does not give up on its API server."""
        delay = RETRY_SECONDS
        while True:
            try:
                await work()  # type: ignore[operator]
                return
            except ClientClosed:
                raise
            except ClientError as e:
                log.warning("%s: %s; trying again in %.0f s", what, e, delay)
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))
            delay = min(delay * 2, RETRY_MAX_SECONDS)

    async def _register(self, kubelet: Kubelet) -> None:
        now = times.now()
        try:
            node = await self.client.create(
                NODES, objects.node_object(self.instance, kubelet.index, now), type=ObjectView
            )
        except ApiError as e:
            if not is_already_exists(e):
                raise
            status = objects.node_status(self.instance, kubelet.index, now)
            node = await self.client.patch(
                NODES,
                kubelet.name,
                {"status": status},
                patch_type=STRATEGIC,
                subresource="status",
                type=ObjectView,
            )
        kubelet.uid = node.metadata.uid or ""
        kubelet.since = now
        await self._renew(kubelet)

    def _on_node(self, node: ObjectView) -> None:
        kubelet = self.kubelets.get(node.metadata.name or "")
        if kubelet is None:
            return
        silent = (node.metadata.annotations or {}).get(SILENT) == "true"
        if silent != kubelet.silent:
            kubelet.silent = silent
            log.info("%s is %s", kubelet.name, "silent" if silent else "heard again")
            if not silent:
                self._guard.spawn(self._report_status(kubelet), name="status")
                for state in self._pods.values():
                    if state.kubelet is kubelet:
                        self._look(state, 0.0)
        kubelet.gone = False

    def _on_node_gone(self, node: ObjectView) -> None:
        kubelet = self.kubelets.get(node.metadata.name or "")
        if kubelet is not None and (node.metadata.uid or "") == kubelet.uid:
            kubelet.gone = True

    async def _renew_leases(self) -> None:
        """One ring over all nodes: each tick renews the next few, so that renewals are spread evenly."""
        ring = list(self.kubelets.values())
        position, began = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            upto = (time.monotonic() - began) / RENEW_SECONDS * len(ring)
            # After a stall, skip what would be a second renewal of the same node.
            position = max(position, upto - len(ring))
            while position < upto:
                kubelet = ring[int(position) % len(ring)]
                position += 1
                if kubelet.uid and not kubelet.silent and not kubelet.gone:
                    await self._renewing.acquire()
                    self._guard.spawn(self._renew_guarded(kubelet), name="renew")

    async def _renew_guarded(self, kubelet: Kubelet) -> None:
        try:
            await self._renew(kubelet)
        except ClientError as e:
            log.warning("lease of %s: %s", kubelet.name, e)
        finally:
            self._renewing.release()

    async def _renew(self, kubelet: Kubelet) -> None:
        now = times.now_micro()
        lease = objects.lease_object(kubelet.name, kubelet.uid, now, kubelet.lease_version)
        try:
            if kubelet.lease_version is None:
                answer = await self.client.create(LEASES, lease, objects.NODE_LEASES, type=_Versioned)
            else:
                answer = await self.client.update(
                    LEASES, lease, objects.NODE_LEASES, name=kubelet.name, type=_Versioned
                )
        except ApiError as e:
            if is_not_found(e):
                kubelet.lease_version = None
            elif is_conflict(e) or is_already_exists(e):
                found = await self.client.get(LEASES, kubelet.name, objects.NODE_LEASES, type=_Versioned)
                kubelet.lease_version = found.metadata.resourceVersion
            else:
                raise
            return
        kubelet.lease_version = answer.metadata.resourceVersion

    async def _report_statuses(self) -> None:
        """Kubelets report their status every five minutes even when nothing changes."""
        while True:
            began = time.monotonic()
            kubelets = list(self.kubelets.values())
            for index, kubelet in enumerate(kubelets):
                due = began + STATUS_SECONDS * (index + 1) / len(kubelets)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if not kubelet.silent and not kubelet.gone:
                    await self._report_status(kubelet)

    async def _report_status(self, kubelet: Kubelet) -> None:
        now = times.now()
        patch = {"status": {"conditions": objects.conditions(now, kubelet.since)}}
        try:
            await self.client.patch(
                NODES, kubelet.name, patch, patch_type=STRATEGIC, subresource="status", type=_Versioned
            )
        except ClientError as e:
            log.warning("status of %s: %s", kubelet.name, e)

    # -- pods ------------------------------------------------------------------------------------------------------------------

    def _on_pod(self, view: pods.PodView) -> None:
        kubelet = self.kubelets.get(view.spec.nodeName or "")
        if kubelet is None:
            return
        uid = view.metadata.uid or ""
        state = self._pods.get(uid)
        if state is None:
            state = self._pods[uid] = _Pod(view, kubelet)
        state.view = view
        stage = (
            (view.status.phase if view.status else None) or "Pending",
            view.metadata.deletionTimestamp is not None,
        )
        if stage != state.stage:
            state.stage = stage
            state.seen = time.time()
        if state.busy:
            state.again = True
        else:
            self._look(state, 0.0)

    def _on_pod_gone(self, view: pods.PodView) -> None:
        state = self._pods.pop(view.metadata.uid or "", None)
        if state is not None:
            state.kubelet.taken.discard(state.number)

    def _look(self, state: _Pod, seconds: float) -> None:
        """Puts a pod on the heap, unless it is there for an earlier time."""
        due = time.monotonic() + seconds
        if state.due and state.due <= due:
            return
        state.due = due
        heapq.heappush(self._due, (due, state.view.metadata.uid or ""))

    async def _work(self) -> None:
        """Takes pods off the heap as they fall due."""
        while True:
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                due, uid = heapq.heappop(self._due)
                state = self._pods.get(uid)
                if state is None or state.due != due or state.busy:
                    continue
                state.due = 0.0
                if state.kubelet.silent or state.kubelet.gone:
                    continue
                self._decide(state)
                if self._pod_slots.locked():
                    await asyncio.sleep(0)
                    break
            else:
                await asyncio.sleep(TICK_SECONDS)
                continue
            async with self._pod_slots:
                pass

    def _decide(self, state: _Pod) -> None:
        if not state.number:
            address, state.number = pods.pod_address(state.kubelet.network, state.kubelet.taken)
            state.kubelet.taken.add(state.number)
        address = str(state.kubelet.network[state.number])
        plan = pods.step(state.view, state.kubelet.address, address, time.time(), state.seen)
        if plan.status is None and not plan.remove:
            if plan.again_seconds is not None:
                self._look(state, plan.again_seconds)
            return
        state.busy = True
        state.again = False
        self._guard.spawn(self._carry_out(state, plan), name="pod")

    async def _carry_out(self, state: _Pod, plan: pods.Plan) -> None:
        view = state.view
        metadata = view.metadata
        name, namespace, uid = metadata.name or "", metadata.namespace or "", metadata.uid or ""
        delay = plan.again_seconds
        async with self._pod_slots:
            try:
                if plan.status is not None:
                    patch = {"metadata": {"uid": uid}, "status": plan.status}
                    await self.client.patch(
                        PODS,
                        name,
                        patch,
                        namespace,
                        patch_type=STRATEGIC,
                        subresource="status",
                        type=_Versioned,
                    )
                if plan.remove:
                    await self.client.delete(PODS, name, namespace, grace_period_seconds=0, uid=uid)
                state.failures = 0
            except ClientError as e:
                if isinstance(e, ApiError) and (is_not_found(e) or is_conflict(e)):
                    # Gone, or another pod of its name: the watch tells.
                    delay = RETRY_MAX_SECONDS
                else:
                    state.failures += 1
                    delay = min(RETRY_SECONDS * 2 ** min(state.failures, 5), RETRY_MAX_SECONDS)
                    log.warning("pod %s/%s: %s; trying again in %.0f s", namespace, name, e, delay)
            else:
                self._record(state.kubelet, view, plan)
        state.busy = False
        if uid not in self._pods:
            return
        if state.again:
            state.again = False
            self._look(state, 0.0)
        elif delay is not None:
            self._look(state, delay)

    def _record(self, kubelet: Kubelet, view: pods.PodView, plan: pods.Plan) -> None:
        metadata = view.metadata
        for container, reason, message in plan.events:
            ref = ObjectReference(
                kind="Pod",
                namespace=metadata.namespace,
                name=metadata.name,
                uid=metadata.uid,
                apiVersion="v1",
                resourceVersion=metadata.resourceVersion,
                fieldPath=f"spec.containers{{{container}}}",
            )
            kind = "Warning" if reason == "BackOff" else "Normal"
            self._events.event(ref, kind, reason, message)
        if plan.remove and plan.status is not None:
            for c in view.spec.containers:
                ref = ObjectReference(
                    kind="Pod",
                    namespace=metadata.namespace,
                    name=metadata.name,
                    uid=metadata.uid,
                    apiVersion="v1",
                    fieldPath=f"spec.containers{{{c.name}}}",
                )
                self._events.event(ref, "Normal", "Killing", f"Stopping container {c.name}")


class _Versioned(msgspec.Struct, gc=False):
    """The resourceVersion of an answer; the rest is skipped."""

    metadata: ObjectMeta
