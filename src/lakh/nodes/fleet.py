"""A fleet of simulated kubelets in one process, over the real API.

One process stands for thousands of kubelets, so what a kubelet does for itself is done here for all: one watch of the pods that are
assigned to nodes, one heap of pods that are due, one ring of leases. Every node still has its own Node and Lease, and every pod its own
status writes; the API server sees the same requests as from real kubelets.

Ownership: what is decided about a pod is carried out, by one write or two, before anything else is; meanwhile news of it only marks it for
another look. Leases and nodes' statuses are the heartbeats'.

Costs: an idle node is one lease renewal every ten seconds, 16 µs of Python in this process (half of it the client's; TLS, kernel and event loop
take twice that besides), and 0.4 KB of memory beside the informer's view. Nothing polls: a timer is set for the pods that are due next.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from lakh.client.client import JSON, STRATEGIC, Client, delete_options
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
from lakh.client.resources import NODES, PODS
from lakh.client.tasks import TaskGuard
from lakh.client.types import ObjectReference
from lakh.machinery import times
from lakh.nodes import images, objects, pods, steps
from lakh.nodes.catalogue import InstanceType
from lakh.nodes.heartbeats import Heartbeats, Kubelet

log = logging.getLogger(__name__)

# Requests under way at once for each kind of work; the client's connections are fewer.
REGISTRATIONS = 64
POD_WRITES = 128
# Pods looked at before others get a turn: 2 ms.
POD_BATCH = 256
# Pods that fall due within one tick are looked at together: a timer for each cost more than the look.
TICK_SECONDS = 0.01
# The heap of what is due may have so many entries a pod, and so many more, before those that do not count any more are dropped.
DUE_SLACK = 1.5
DUE_FREE = 256
RETRY_SECONDS = 1.0
RETRY_MAX_SECONDS = 30.0
# A node with this annotation stays silent, as if its machine had died: for trying out what the cluster does then.
SILENT = "lakh.dev/silent"


class _Annotations(msgspec.Struct, gc=False, frozen=True):
    silent: str | None = msgspec.field(name=SILENT, default=None)


class _NodeMeta(msgspec.Struct, gc=False):
    name: str = ""
    namespace: str | None = None
    uid: str = ""
    resourceVersion: str | None = None
    annotations: _Annotations | None = None


class NodeView(msgspec.Struct, gc=False):
    """What a kubelet reads of its node."""

    metadata: _NodeMeta


class _Pod(msgspec.Struct, gc=False, eq=False):
    """What the fleet knows of a pod beside its view. `number` is its address in the node's network, 0 while it has none."""

    view: pods.PodView
    kubelet: Kubelet
    number: int = 0
    seen: float = 0.0
    stage: tuple[str, bool] = ("", False)
    due: float | None = None
    busy: bool = False
    again: bool = False
    failures: int = 0


_encode = msgspec.json.Encoder().encode
_stages: dict[tuple[str, bool], tuple[str, bool]] = {}
"""Phase, and whether the pod is being deleted: each pair once."""
_NEW = ("Pending", False)


class Fleet:
    """Kubelets of one instance type, from index `start` on. `run` works until it is cancelled. `wall` tells the time of day.

    Leases are renewed and nodes' statuses reported through `heartbeats`, a client with connections of its own, as in a kubelet: a hundred
    thousand pods that start at once must not keep the signs of life waiting, nor a hundred thousand nodes the pods. Events go through `events`.
    """

    def __init__(
        self,
        client: Client,
        instance: InstanceType,
        count: int,
        start: int = 0,
        *,
        heartbeats: Client | None = None,
        events: Client | None = None,
        lease_seconds: int = objects.LEASE_SECONDS,
        status_seconds: int = objects.STATUS_SECONDS,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.client = client
        self._heartbeats = Heartbeats(heartbeats or client, lease_seconds, status_seconds, wall)
        self.instance = instance
        self.kubelets = {k.name: k for k in (Kubelet(instance, i) for i in range(start, start + count))}
        self.registered = 0
        # What stands before a kubelet's name in the URL of its endpoint; empty when there is none.
        self.kubelet_url = ""
        self._allocatable = instance.allocatable()
        self._wall = wall
        self._pods: dict[str, _Pod] = {}
        self._news: dict[str, asyncio.Event] = {}
        self._informer: Informer[pods.PodView] | None = None
        self._due: list[tuple[float, str]] = []
        self._writing = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._events = EventRecorder(events or client, "kubelet")
        self._writer = client.writer()
        self._guard = TaskGuard("fleet")

    def __repr__(self) -> str:
        return f"<Fleet {len(self.kubelets)} {self.instance.name}, {len(self._pods)} pods>"

    async def run(self) -> None:
        """Registers the nodes, then keeps them alive and their pods moving."""
        async with self._heartbeats, self._writer, self._guard:
            try:
                kubelets = list(self.kubelets.values())
                self._guard.spawn(self._heartbeats.renew_all(kubelets), name="leases", forever=True)
                await self._register_all()
                node_informer = Informer(self.client, NODES, NodeView)
                node_informer.add_handler(
                    on_add=self._on_node,
                    on_update=lambda old, new: self._on_node(new),
                    on_delete=self._on_node_gone,
                )
                pod_informer = Informer(
                    self.client, PODS, pods.PodView, field_selector="spec.nodeName!=", share=pods.share
                )
                self._informer = pod_informer
                pod_informer.add_handler(
                    on_add=self._on_pod,
                    on_update=lambda old, new: self._on_pod(new),
                    on_delete=self._on_pod_gone,
                )
                async with asyncio.TaskGroup() as group:
                    group.create_task(node_informer.run(), name="nodes")
                    group.create_task(pod_informer.run(), name="pods")
                    group.create_task(self._heartbeats.report_all(kubelets), name="statuses")
            finally:
                if self._timer is not None:
                    self._timer.cancel()
                await self._events.close()

    # -- nodes -----------------------------------------------------------------------------------------------------------------

    async def _register_all(self) -> None:
        waiting = iter(list(self.kubelets.values()))

        async def register_next() -> None:
            for kubelet in waiting:
                await self._until_done(partial(self._register, kubelet), f"register {kubelet.name}")
                self.registered += 1

        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(min(REGISTRATIONS, len(self.kubelets))):
                group.create_task(register_next())
        log.info("%d nodes registered in %.1f s", len(self.kubelets), time.monotonic() - began)

    async def _until_done(self, work: Callable[[], Awaitable[None]], what: str) -> None:
        """Tries until it works: a kubelet does not give up on its API server."""
        delay = RETRY_SECONDS
        while True:
            try:
                await work()
                return
            except ClientClosed:
                raise
            except ClientError as e:
                log.warning("%s: %s; trying again in %.0f s", what, e, delay)
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))
            delay = min(delay * 2, RETRY_MAX_SECONDS)

    async def _register(self, kubelet: Kubelet) -> None:
        now = times.of_seconds(self._wall())
        try:
            made = objects.node_object(self.instance, kubelet.index, now)
            made["metadata"]["annotations"].update(self._annotations(kubelet))
            node = await self.client.create(NODES, made, type=NodeView)
        except ApiError as e:
            if not is_already_exists(e):
                raise
            node = await self.client.get(NODES, kubelet.name, type=NodeView)
            if not _is_silent(node):
                status = objects.node_status(self.instance, kubelet.index, now)
                await self._heartbeats.patch_status(kubelet, status, self._annotations(kubelet))
        kubelet.since = now
        kubelet.silent = _is_silent(node)
        kubelet.uid = node.metadata.uid
        if not kubelet.silent:
            await self._heartbeats.renew(kubelet)

    def _on_node(self, node: NodeView) -> None:
        kubelet = self.kubelets.get(node.metadata.name)
        if kubelet is None:
            return
        was_idle = kubelet.idle
        silent = _is_silent(node)
        if silent != kubelet.silent:
            log.info("%s is %s", kubelet.name, "silent" if silent else "heard again")
        if kubelet.uid != node.metadata.uid:
            # Somebody made the Node again. Its lease went with the old one.
            kubelet.lease_version = None
        kubelet.uid = node.metadata.uid
        kubelet.silent = silent
        kubelet.gone = False
        if was_idle and not kubelet.idle:
            self._heartbeats.report(kubelet)
            for uid in kubelet.parked or ():
                state = self._pods.get(uid)
                if state is not None and not state.busy:
                    self._look(state, 0.0)
            kubelet.parked = None

    def _on_node_gone(self, node: NodeView) -> None:
        kubelet = self.kubelets.get(node.metadata.name)
        if kubelet is not None and node.metadata.uid == kubelet.uid:
            kubelet.gone = True
            log.info("%s is deleted", kubelet.name)

    def _annotations(self, kubelet: Kubelet) -> dict[str, str]:
        return {objects.KUBELET_URL: self.kubelet_url + kubelet.name} if self.kubelet_url else {}

    # -- pods ------------------------------------------------------------------------------------------------------------------

    def _on_pod(self, view: pods.PodView) -> None:
        kubelet = self.kubelets.get(view.spec.nodeName or "")
        if kubelet is None:
            return
        uid = view.metadata.uid
        state = self._pods.get(uid)
        if state is None:
            state = self._pods[uid] = _Pod(view, kubelet)
        state.view = view
        if self._news:
            self._tell(uid)
        phase = (view.status.phase if view.status else None) or "Pending"
        stage = (phase, view.metadata.deletionTimestamp is not None)
        changed = stage != state.stage
        if changed:
            if phase == "Running":
                names = [c.image for c in (*(view.spec.initContainers or ()), *view.spec.containers)]
                kubelet.images = images.with_images(kubelet.images, names)
            state.stage = _stages.setdefault(stage, stage)
            state.seen = self._wall()
            self._keep_address(state, phase)
        if phase != "Pending":
            pods.share_status(view)
        if state.busy:
            state.again = True
        elif changed and stage == _NEW:
            self._look(state, pods.start_seconds(view))
        elif self._writing >= POD_WRITES:
            self._look(state, 0.0)
        else:
            self._take_up(state)

    def _keep_address(self, state: _Pod, phase: str) -> None:
        """The address follows what the API says: a running pod has its own, also after the fleet was started again."""
        view, kubelet = state.view, state.kubelet
        if phase in ("Succeeded", "Failed"):
            self._free_address(state)
        elif not state.number and not view.spec.hostNetwork and view.status is not None and view.status.podIP:
            number = objects.pod_number(kubelet.index, view.status.podIP)
            if number is not None:
                state.number = number
                kubelet.taken |= 1 << number

    def _free_address(self, state: _Pod) -> None:
        if state.number:
            state.kubelet.taken &= ~(1 << state.number)
            state.number = 0

    def _on_pod_gone(self, view: pods.PodView) -> None:
        state = self._pods.pop(view.metadata.uid, None)
        if state is not None:
            self._free_address(state)
        self._tell(view.metadata.uid)

    def pod(self, namespace: str, name: str) -> pods.PodView | None:
        """A pod of the fleet's nodes."""
        return self._informer.get(name, namespace) if self._informer is not None else None

    async def news(self, uid: str) -> None:
        """Waits until a pod changes or goes."""
        event = self._news.get(uid)
        if event is None:
            event = self._news[uid] = asyncio.Event()
        await event.wait()

    def _tell(self, uid: str) -> None:
        event = self._news.pop(uid, None)
        if event is not None:
            event.set()

    def _look(self, state: _Pod, seconds: float) -> None:
        """Puts a pod on the heap, unless it is there for an earlier time."""
        due = asyncio.get_running_loop().time() + seconds
        if state.due is not None and state.due <= due:
            return
        state.due = due
        heapq.heappush(self._due, (due, state.view.metadata.uid))
        if len(self._due) > DUE_SLACK * len(self._pods) + DUE_FREE:
            self._drop_stale()
        self._wake()

    def _drop_stale(self) -> None:
        """Takes the entries off the heap that an earlier one has replaced: a pod that runs for days would leave one each time it changes."""
        pods = self._pods
        self._due = [
            entry
            for entry in self._due
            if (state := pods.get(entry[1])) is not None and state.due == entry[0]
        ]
        heapq.heapify(self._due)

    def _wake(self) -> None:
        """Sets the timer for the pods that are due next, unless all writers are busy: the next that is free looks itself."""
        if not self._due or self._writing >= POD_WRITES:
            return
        at = math.ceil(self._due[0][0] / TICK_SECONDS) * TICK_SECONDS
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = asyncio.get_running_loop().call_at(at, self._work)

    def _work(self) -> None:
        """Takes pods off the heap that have fallen due."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        for _ in range(POD_BATCH):
            if not self._due or self._due[0][0] > now or self._writing >= POD_WRITES:
                break
            due, uid = heapq.heappop(self._due)
            state = self._pods.get(uid)
            if state is None or state.due != due:
                continue
            state.due = None
            if state.busy:
                state.again = True
            else:
                self._take_up(state)
        self._wake()

    def _take_up(self, state: _Pod) -> None:
        """Decides about a pod, unless its node does nothing. A writer is free."""
        kubelet = state.kubelet
        if not kubelet.idle:
            self._decide(state)
        elif kubelet.parked is None:
            kubelet.parked = [state.view.metadata.uid]
        else:
            kubelet.parked.append(state.view.metadata.uid)

    def _decide(self, state: _Pod) -> None:
        kubelet, view = state.kubelet, state.view
        address = node_address = ""  # known to the API already
        if state.stage == _NEW:
            if not state.number and not view.spec.hostNetwork:
                state.number = objects.free_number(kubelet.taken)
                kubelet.taken |= 1 << state.number
            address = objects.pod_address(kubelet.index, state.number)
            node_address = objects.node_address(kubelet.index)
        plan = steps.step(view, node_address, address, self._wall(), state.seen, self._allocatable)
        if plan.status is None and not plan.remove:
            if plan.again_seconds is not None:
                self._look(state, plan.again_seconds)
            return
        state.busy = True
        state.again = False
        self._writing += 1
        if plan.status is None:
            self._remove(state, view, plan)
            return
        metadata = view.metadata
        target = PODS.path(metadata.namespace, metadata.name, "status")
        patch = _encode({"metadata": {"uid": metadata.uid}, "status": plan.status})
        self._writer.write("PATCH", target, patch, STRATEGIC, partial(self._written, state, view, plan))

    def _written(self, state: _Pod, view: pods.PodView, plan: pods.Plan, answer: bytes | ClientError) -> None:
        """The status is written, or not."""
        if isinstance(answer, ClientError):
            self._carried_out(state, view, plan, answer)
        elif plan.remove:
            self._remove(state, view, plan)
        else:
            self._carried_out(state, view, plan, None)

    def _remove(self, state: _Pod, view: pods.PodView, plan: pods.Plan) -> None:
        metadata = view.metadata
        target = PODS.path(metadata.namespace, metadata.name)
        body = delete_options(grace_period_seconds=0, uid=metadata.uid)
        assert body is not None
        self._writer.write("DELETE", target, body, JSON, partial(self._removed, state, view, plan))

    def _removed(self, state: _Pod, view: pods.PodView, plan: pods.Plan, answer: bytes | ClientError) -> None:
        """The pod is deleted, or not."""
        self._carried_out(state, view, plan, answer if isinstance(answer, ClientError) else None)

    def _carried_out(
        self, state: _Pod, view: pods.PodView, plan: pods.Plan, error: ClientError | None
    ) -> None:
        """What was decided is done, or could not be. Until now the pod was nobody else's."""
        state.busy = False
        self._writing -= 1
        metadata = view.metadata
        delay = plan.again_seconds
        if error is None:
            state.failures = 0
            self._record(view, plan)
        elif isinstance(error, ApiError) and (is_not_found(error) or is_conflict(error)):
            # Gone, or another pod of its name: the watch tells.
            delay = RETRY_MAX_SECONDS
        else:
            delay = min(RETRY_SECONDS * 2 ** min(state.failures, 5), RETRY_MAX_SECONDS)
            state.failures += 1
            log.warning(
                "pod %s/%s: %s; trying again in %.0f s", metadata.namespace, metadata.name, error, delay
            )
        if metadata.uid in self._pods:
            if state.again:
                state.again = False
                self._look(state, 0.0)
            elif delay is not None:
                self._look(state, delay)
        self._wake()

    def _record(self, view: pods.PodView, plan: pods.Plan) -> None:
        metadata = view.metadata
        events = plan.events
        if plan.remove and plan.status is not None:
            events = [(c.name, "Killing", f"Stopping container {c.name}") for c in view.spec.containers]
        for container, reason, message in events:
            ref = ObjectReference(
                kind="Pod",
                namespace=metadata.namespace,
                name=metadata.name,
                uid=metadata.uid,
                apiVersion="v1",
                resourceVersion=metadata.resourceVersion,
                fieldPath=f"spec.containers{{{container}}}",
            )
            self._events.event(ref, "Warning" if reason == "BackOff" else "Normal", reason, message)


def _is_silent(node: NodeView) -> bool:
    annotations = node.metadata.annotations
    return annotations is not None and annotations.silent == "true"
