"""The scheduler's shell: informers in, binds, events and conditions out.

It decides synchronously and acts asynchronously. `step` takes pods from the queue for a few milliseconds: for each the core names a
node, the pod is placed there at once (*assumed*), and a task binds it through the API. So the next decision already counts
it, however long the request takes.

What keeps the accounting exact
* A pod's uid is placed at most once. Placing it where it is placed already changes nothing, so that the informer confirms an assumed
  pod for free, and moves it when somebody else bound it elsewhere.
* A pod is unplaced when it is deleted or has ended, and when its bind failed for certain. When it is unknown whether a
  bind was carried out (connection lost, conflict), the pod stays assumed until the API server says where it is.
* An answer to a bind is dropped when the pod has left `_binding` meanwhile: the informer was first.
* An update that shows an assumed pod without a node is older than the bind and is ignored: a node is never taken back.

A long decision is *work in pieces*: the first pass over all nodes for a class, and an attempt at a gang. `step` does some pieces and returns to the loop, so
that events and answers are read in time; until the work is done nothing else is decided, while binds go on.

What wakes parked pods: a node that was added or changed in what matters, and a pod that left a node. These note the node's name in `_gained`;
`step` then asks the core, class by class, whether it fits now, and wakes as many of its pods as there is room for, `WAKE_PODS` at most; each success of
a class with parked pods asks again. A burst of pods that fit nowhere costs one evaluation of their class, and one message.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

from lakh.client.client import JSON, Client
from lakh.client.errors import ClientClosed, ClientError, is_not_found
from lakh.client.events import EventRecorder
from lakh.client.informer import Informer
from lakh.client.resources import NODES, PODS
from lakh.client.tasks import TaskGuard

from .claims import Claims, ClaimsError
from .config import DEFAULTS, SchedulerConfig
from .constraints import needs_of
from .core import Core
from .diagnosis import NO_CLAIMS
from .gangcycle import GangCycle
from .interpod import Identity, Selection, own_labels, wants
from .metrics import SchedulerMetrics
from .nominations import Nominations
from .pieces import Pieces
from .podclass import PodClass
from .podgroups import GangTable
from .profile import DEFAULT_PROFILE, DEFAULT_SCHEDULER_NAME
from .queue import PendingPod, SchedulingQueue, State
from .reports import Reports
from .requests import images_of, resized
from .sources import informers
from .views import Node, Pod, PodSpec, strip_node, strip_pod
from .writes import binding, is_unknown

__all__ = ["DEFAULT_SCHEDULER_NAME", "Scheduler"]

log = logging.getLogger(__name__)

MAX_BINDS_IN_FLIGHT = 256
"""Enough to keep an API server's group commit full; what is decided later is decided on fresher facts."""
SLICE_SECONDS = 0.004
"""How long `step` decides before it yields to the loop."""
WAKE_PODS = 256
"""Parked pods of a class woken at once."""

DONE = object()
NOT_ELIGIBLE = "preemption: not eligible due to a terminating pod on the nominated node."

Clock = Callable[[], float]


class Scheduler:
    """Schedules the pods that name one of its profiles. `recorders` write events, by profile; `recorder` those of the first, or of all.

    `clock` (monotonic seconds) and `sleep` are for tests.
    """

    def __init__(
        self,
        client: Client,
        recorder: EventRecorder,
        *,
        config: SchedulerConfig = DEFAULTS,
        recorders: Mapping[str, EventRecorder] | None = None,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.profiles = {profile.name: profile for profile in config.profiles}
        self.core = Core()
        self._widen_placed, self.core.interpods.on_selected = (
            self.core.interpods.on_selected,
            self._widen_identities,
        )
        self.queue = SchedulingQueue(config.initial_backoff_seconds, config.max_backoff_seconds)
        self.bound = 0  # pods so far
        self.synced = False  # the picture of the cluster is complete
        self._client = client
        self._writer = client.writer()
        self._recorder = recorder
        self._recorders = recorders or {}
        self._clock = clock
        self._sleep = sleep
        self._pods: Informer[Pod] = Informer(
            client, PODS, Pod, field_selector="status.phase!=Succeeded,status.phase!=Failed"
        )
        self._nodes: Informer[Node] = Informer(client, NODES, Node)
        self._pods.add_handler(
            on_add=self.on_pod, on_update=lambda old, new: self.on_pod(new), on_delete=self.on_pod_deleted
        )
        self._nodes.add_handler(
            on_add=self.on_node, on_update=lambda old, new: self.on_node(new), on_delete=self.on_node_deleted
        )
        self._informers: list[Informer[Any]] = [
            self._nodes,
            self._pods,
            *informers(client, self.core.interpods, self.on_namespace),
        ]
        name = ", ".join(self.profiles)
        self._guard = TaskGuard(name)
        self.reports = Reports(client, self._recorder_of, self.core, self.queue, self._guard)
        self.nominations = Nominations(client, self._recorder_of, self.core, self._guard, self.wake_pod)
        self._informers.append(self.nominations.informer())
        self.gangs = GangTable(client, self._guard)
        self.nominations.on_free = self.gain
        self._gang_cycle = GangCycle(self, self.core, self.queue, self.gangs, self.nominations)
        self.claims = Claims(
            client, self.core, self._guard, self.wake_pod, self._wake_claimants, self.reports.event
        )
        self._informers += self.claims.informers()
        self._devices = self.claims.device_informers()
        self._to_bind: deque[tuple[PendingPod, str, float]] = deque()
        """Pods of gangs that are placed and wait for a free request."""
        self._work: Pieces[None] | None = None
        """The decision under way."""
        self._kick = asyncio.Event()
        self._binding: dict[str, PendingPod] = {}
        self._binds_in_flight = 0
        self._gained: set[str] = set()
        self._counted: set[Selection] = set()
        """Selections that have gained a pod: affinity and spread may be satisfied now."""
        self._to_wake: deque[PodClass] = deque()
        self._metrics = SchedulerMetrics(self.queue, self.profiles)

    def __repr__(self) -> str:
        return f"Scheduler({self.core!r}, {self.queue!r}, binding={len(self._binding)}, bound={self.bound})"

    def _recorder_of(self, profile: str) -> EventRecorder:
        return self._recorders.get(profile, self._recorder)

    # What the informers say

    def on_namespace(self, name: str, labels: dict[str, str] | None) -> None:
        """A namespace's labels; None when it is gone."""
        if self.core.set_namespace(name, labels):
            self._to_wake.extend(cls for cls in self.queue.parked_classes() if cls.interpod is not None)
            self._kick.set()

    def _wake_claimants(self, nodes: Iterable[str] | None) -> None:
        """Volumes or devices have changed: on these nodes, or anywhere, so that all pods with claims are tried again."""
        if nodes is not None:
            for node in nodes:
                self.gain(node)
            return
        devices = self.core.devices
        for cls in self.queue.parked_classes():
            if cls.extended and not cls.backed and devices.backed(cls):
                self.queue.wake(cls, self._clock(), sys.maxsize)  # they are of another class by now
            elif cls.constraints or cls.problem is not None:
                self.queue.wake(cls, self._clock(), WAKE_PODS)
        self._kick.set()

    def on_node(self, node: Node) -> None:
        """A node is new or has changed."""
        if self.core.set_node(node):
            self.gain(node.metadata.name)
        strip_node(node)  # it is in the columns now

    def on_node_deleted(self, node: Node) -> None:
        """A node is gone. Its pods are counted on its name until they are deleted."""
        self.core.remove_node(node.metadata.name)
        self.nominations.node_gone(node.metadata.name)

    def on_pod(self, pod: Pod) -> None:
        """A pod is new or has changed."""
        uid, spec = pod.metadata.uid, pod.spec
        if pod.status.phase in ("Succeeded", "Failed"):
            self._forget(uid)
        elif spec.nodeName:
            self._assigned(pod)
        elif uid in self._binding or self.core.node_of(uid) is not None:
            self._binding_pod_changed(pod)
        elif (
            (profile := self.profiles.get(spec.schedulerName or DEFAULT_SCHEDULER_NAME)) is None
            or (spec.schedulingGates and profile.gates)
            or pod.metadata.deletionTimestamp
        ):
            self._dequeue(uid)
            self.gangs.forget(uid)
            if profile is not None and not pod.metadata.deletionTimestamp:
                self._metrics.gated.add(uid)
        else:
            self._enqueue(pod)
        strip_pod(pod)

    def _binding_pod_changed(self, pod: Pod) -> None:
        """An update from before our bind: it matters only if the bind fails."""
        waiting = self.queue.get(pod.metadata.uid)
        if waiting is not None and pod.metadata.deletionTimestamp:
            if waiting.uid in self._binding:
                self._dequeue(waiting.uid)
            else:
                self._forget(waiting.uid)  # it is not more than planned
        elif waiting is not None:
            self._claimed(waiting, pod)
            waiting.identity = self.core.interpods.identity(pod.metadata)
            waiting.own = own_labels(pod.metadata.labels)
            waiting.images = images_of(pod.spec)
            self.queue.reclassify(waiting, self._classify(pod.spec))

    def on_pod_deleted(self, pod: Pod) -> None:
        """A pod is gone, or has ended."""
        self._forget(pod.metadata.uid)

    def _classify(self, spec: PodSpec) -> PodClass:
        """The class of a spec, under the profile it names."""
        profile = self.profiles.get(spec.schedulerName or DEFAULT_SCHEDULER_NAME, DEFAULT_PROFILE)
        return self.core.classes.of(spec, profile)

    def _enqueue(self, pod: Pod) -> None:
        metadata = pod.metadata
        images = images_of(pod.spec)
        cls = self._classify(pod.spec)
        identity = self.core.interpods.identity(metadata)
        waiting = self.queue.get(metadata.uid)
        if waiting is not None:
            if self._claimed(waiting, pod):
                self.wake_pod(waiting)
                self._gang_cycle.disturb(waiting.uid)
            if (waiting.cls.base or waiting.cls) is not cls or waiting.identity is not identity:
                self._gang_cycle.disturb(waiting.uid)
                old = waiting.cls
                waiting.identity, waiting.own = identity, own_labels(metadata.labels)
                waiting.images = images
                self.queue.reclassify(waiting, cls)
                self._recheck(old)
                self._kick.set()
            return
        waiting = PendingPod(
            metadata.uid,
            metadata.namespace or "",
            metadata.name,
            cls,
            identity,
            own_labels(metadata.labels),
            images,
        )
        waiting.since = self._clock()
        self._metrics.gated.discard(waiting.uid)
        self._claimed(waiting, pod)
        for condition in pod.status.conditions or ():
            if condition.type == "PodScheduled" and condition.status == "False":
                self.reports.found(waiting, condition)
        self.queue.add(waiting)
        self.gangs.wait(waiting, pod)
        if pod.status.nominatedNodeName:
            self.nominations.reserve(waiting, pod.status.nominatedNodeName)
        self._kick.set()

    def _claimed(self, waiting: PendingPod, pod: Pod) -> bool:
        """Note the pod's claims. Returns whether they are other ones now."""
        needs = needs_of(pod)
        pod.spec.volumes = pod.spec.resourceClaims = None
        if not self.core.set_needs(waiting.uid, needs):
            return False
        self.claims.wait(waiting, needs)
        return True

    def _assigned(self, pod: Pod) -> None:
        metadata, uid, node = pod.metadata, pod.metadata.uid, pod.spec.nodeName
        assert node
        before = self.core.node_of(uid)
        if pod.spec.volumes is not None or pod.spec.resourceClaims is not None:
            self.core.set_needs(uid, needs_of(pod))
            pod.spec.volumes = pod.spec.resourceClaims = None
        self.gangs.place(uid, pod)
        identity = self.core.interpods.identity(metadata)
        status = pod.status
        spec = resized(pod) if status.containerStatuses or status.initContainerStatuses else pod.spec
        images_of(spec)
        cls = self._classify(spec)
        shrunk = before == node and self.core.class_of(uid) is not cls
        self.core.place(
            uid,
            cls,
            node,
            identity,
            active=not metadata.deletionTimestamp,
            name=metadata.name,
            started=sys.intern(pod.status.startTime or ""),
            own=own_labels(metadata.labels),
        )
        if before != node:
            self._count(identity)
        self._binding.pop(uid, None)
        self._gang_cycle.disturb(uid)
        self._dequeue(uid)
        if before is not None and (before != node or shrunk):
            self.gain(before)

    def _forget(self, uid: str) -> None:
        node = self.core.node_of(uid)
        self.core.remove(uid)
        self._binding.pop(uid, None)
        self._dequeue(uid)
        self.core.set_needs(uid, None)
        self.gangs.forget(uid)
        if node is not None:
            self.gain(node)
            self._gang_cycle.gone(uid)

    def _dequeue(self, uid: str) -> None:
        self.reports.forget(uid)
        self._metrics.gated.discard(uid)
        reserved = self.nominations.forget(uid)
        if reserved is not None:
            self.gain(reserved)
        self.claims.forget(uid)
        waiting = self.queue.remove(uid)
        if waiting is not None:
            self._gang_cycle.left(uid)
            self._recheck(waiting.cls)

    def gain(self, node: str) -> None:
        """Something may fit on the node that did not."""
        self._gained.add(node)
        self._kick.set()

    def _count(self, identity: Identity | None) -> None:
        """A pod has been placed."""
        if identity is not None and identity.matched and self.queue.any_parked:
            self._counted.update(identity.matched)
            self._kick.set()

    def _recheck(self, cls: PodClass) -> None:
        """A pod of the class left the queue: another one may take its place."""
        if self.queue.is_parked(cls):
            self._to_wake.append(cls)
            self._kick.set()

    # Deciding

    def step(self) -> bool:
        """Decide for a few milliseconds. Returns whether there is more to do at once."""
        now = self._clock()
        deadline = now + SLICE_SECONDS
        if self._work is None:
            self.queue.flush(now)
            self._gang_cycle.expire(now)
            self._wake(now, deadline)
        while self._to_bind and self._binds_in_flight < MAX_BINDS_IN_FLIGHT:
            placed, node, began = self._to_bind.popleft()
            if self._binding.get(placed.uid) is placed:  # neither deleted nor bound by others meanwhile
                self._start_bind(placed, node, began)
        while self._work is not None or self._binds_in_flight < MAX_BINDS_IN_FLIGHT:
            if self._work is None:
                pod = self.queue.pop()
                if pod is None:
                    break
                self._schedule(pod)
            elif next(self._work, DONE) is DONE:
                self._work = None
            if self._clock() >= deadline:
                break
        if self._work is not None:
            return True
        if self._binds_in_flight >= MAX_BINDS_IN_FLIGHT:
            return False  # the next answer kicks
        return bool(self.queue.active or self._to_wake or self._gained or self._to_bind)

    def _wake(self, now: float, deadline: float) -> None:
        """Judge parked classes again after the cluster gained something."""
        if self._gained:
            if len(self.nominations):
                for node in tuple(self._gained):
                    self.nominations.gained(node)
            waiting = set(self._to_wake)
            self._to_wake.extend(
                cls
                for cls in self.queue.parked_classes()
                if cls not in waiting
                and (cls.pinned_nodes is None or not self._gained.isdisjoint(cls.pinned_nodes))
            )
            self._gained.clear()
        if self._counted:
            self._to_wake.extend(cls for cls in self.queue.parked_classes() if wants(cls, self._counted))
            self._counted.clear()
        while self._to_wake:
            cls = self._to_wake.popleft()
            if self.queue.is_parked(cls) and (room := self.core.room(cls, WAKE_PODS)):
                self.queue.wake(cls, now, WAKE_PODS, room)
            if self._clock() >= deadline:
                break

    def _schedule(self, pod: PendingPod) -> None:
        began = time.perf_counter()
        group = pod.group
        if self.claims.awaited(pod) or (
            group is not None and self.claims.any_awaited(pod, group, lambda: self.gangs.members(group))
        ):
            self.queue.hold(pod, self._clock())
            return
        if group is not None:
            work = self._gang_cycle.attempt(
                pod, group, lambda member: self._schedule_alone(member, began), began
            )
            if work is not False:
                self._work = None if work is True else work
                return
        self.resolve_class(pod)
        if self.core.is_new(pod.cls):
            self._work = self._schedule_new(pod, began)
        else:
            self._place(pod, began)

    def _schedule_new(self, pod: PendingPod, began: float) -> Pieces[None]:
        """The first pod of a class: with a pass over all nodes before."""
        yield from self.core.prepare(pod.cls)
        if self.queue.get(pod.uid) is pod and self.core.node_of(pod.uid) is None:
            self._schedule_alone(pod, began)

    def _schedule_alone(self, pod: PendingPod, began: float) -> None:
        self.resolve_class(pod)
        self._place(pod, began)

    def _place(self, pod: PendingPod, began: float) -> None:
        nominated = self.nominations.release(pod.uid)
        if nominated is not None and self.core.fits_on(pod.cls, nominated):
            node: str | None = nominated
        else:
            node = self.core.decide(pod.cls)
        if node is None:
            if nominated is not None:
                self.nominations.reserve(pod, nominated)
            self._metrics.of[pod.cls.profile.name].unschedulable.attempted(began)
            self.park(pod)
            return
        self.core.place(pod.uid, pod.cls, node, pod.identity, name=pod.name, own=pod.own)
        self.gangs.place(pod.uid)
        self._count(pod.identity)
        self._recheck(pod.cls)
        self._binding[pod.uid] = pod
        if not self._claims_first(pod, node, began):
            self._start_bind(pod, node, began)

    def resolve_class(self, pod: PendingPod) -> None:
        """The class with what the pod and the placed pods want of each other."""
        identity = None
        while pod.identity is not identity:  # a selector may be the first that speaks of the pod's own labels
            identity = pod.identity
            assert identity is not None
            pod.cls = self.core.resolve(pod.cls, identity, pod.uid, pod.images)

    def _widen_identities(self) -> None:
        self._widen_placed()
        self._gang_cycle.disturb()
        for pod in self.queue.pods():
            if pod.own and pod.identity is not None:
                pod.identity = self.core.interpods.widened(pod.identity, pod.own)

    def placed(self, pod: PendingPod, node: str, began: float) -> None:
        """A gang's member is placed: it is bound when a request is free."""
        self._count(pod.identity)
        self._binding[pod.uid] = pod
        if not self._claims_first(pod, node, began):
            self._to_bind.append((pod, node, began))

    def now(self) -> float:
        """Seconds by the scheduler's clock."""
        return self._clock()

    def is_binding(self, uid: str) -> bool:
        """Whether the pod is placed and not known to be bound yet."""
        return uid in self._binding

    def attempted(self, pod: PendingPod, began: float) -> None:
        """An attempt found no place."""
        self._metrics.of[pod.cls.profile.name].unschedulable.attempted(began)

    def _start_bind(self, pod: PendingPod, node: str, began: float) -> None:
        self._binds_in_flight += 1
        target, body = binding(pod, node)
        self._writer.write("POST", target, body, JSON, partial(self._answered, pod, node, began))

    def park(
        self,
        pod: PendingPod,
        message: str | None = None,
        nominated: str | None = None,
        *,
        silent: bool = False,
    ) -> None:
        """The pod waits until something changes. `message` is why, where that is known; `nominated` the node that it will get."""
        if silent:
            self.queue.park(pod, self._clock())
            return
        if message is not None:
            pass
        elif (
            pod.cls.constraints
            and pod.cls.profile.deallocates
            and (done := self.claims.deallocate(pod, self.reports.explain(pod.cls))) is not None
        ):
            message = self.core.explain(pod.cls, claims=done)
        elif (before := self.nominations.node_of(pod)) is not None and self.nominations.waits(pod, before):
            said = f"{NO_CLAIMS}, {NOT_ELIGIBLE}" if pod.cls.profile.deallocates else NOT_ELIGIBLE
            message = self.reports.explain(pod.cls, f" {said}")
        else:
            self.nominations.forget(pod.uid)
            nominated = self.nominations.attempt(pod)
            if nominated is None and before is not None:
                self.nominations.give_up(pod)
            message = self.reports.explain(pod.cls, None if nominated is None else "")
        self.queue.park(pod, self._clock())
        self.reports.unschedulable(pod, message, nominated)

    def wake_pod(self, pod: PendingPod) -> None:
        """Something that the pod waits for has happened."""
        self.queue.wake_pod(pod, self._clock())
        self._kick.set()

    # Binding

    def _claims_first(self, pod: PendingPod, node: str, began: float) -> bool:
        """Bind the pod's volumes and devices, where it has some, and the pod after that: it occupies no bind's place until then."""
        if not pod.cls.profile.binds or (
            self.core.needs(pod.uid) is None
            and (not pod.cls.extended or self.core.devices.special_of(pod.uid) is None)
        ):
            return False
        self.claims.start(
            pod,
            node,
            lambda: self._binding.get(pod.uid) is pod,
            lambda error: self._claims_done(pod, node, began, error),
        )
        return True

    def _claims_done(self, pod: PendingPod, node: str, began: float, error: ClaimsError | None) -> None:
        if error is None:
            self._to_bind.append((pod, node, began))
            self._kick.set()
            return
        self._metrics.of[pod.cls.profile.name].error.attempted(began)
        log.warning("claims of %s/%s for %s: %s", pod.namespace, pod.name, node, error)
        self._undo(pod)
        self.reports.error(pod, str(error))

    def _answered(self, pod: PendingPod, node: str, began: float, answer: bytes | ClientError) -> None:
        if isinstance(answer, bytes):
            self._metrics.of[pod.cls.profile.name].scheduled.attempted(began)
            self._metrics.bound(pod.attempts, self._clock() - pod.since)
            self._succeeded(pod, node)
        elif not isinstance(answer, ClientClosed):
            self._metrics.of[pod.cls.profile.name].error.attempted(began)
            log.warning("binding %s/%s to %s: %s", pod.namespace, pod.name, node, answer)
            if is_unknown(answer):
                self._guard.spawn(self._resolve(pod), name="bind")
                return
            self._undo(pod)
            if not is_not_found(answer):
                self.reports.error(pod, f'running Bind plugin "DefaultBinder": {answer}')
        self._bind_over()

    def _bind_over(self) -> None:
        self._binds_in_flight -= 1
        self._kick.set()

    def _succeeded(self, pod: PendingPod, node: str) -> None:
        self.bound += 1
        told = f"Successfully assigned {pod.namespace}/{pod.name} to {node}"
        self.reports.event(pod, "Normal", "Scheduled", told)
        if self._binding.pop(pod.uid, None) is not None:
            self._dequeue(pod.uid)

    def _undo(self, pod: PendingPod) -> None:
        """The pod is not bound: take it off its node and try again later, unless it is gone."""
        if self._binding.pop(pod.uid, None) is None:
            return
        node = self.core.node_of(pod.uid)
        self.core.remove(pod.uid)
        self.claims.undo(pod)
        self.gangs.unplace(pod)
        self._gang_cycle.failed(pod, self._clock())
        if node is not None:
            self.gain(node)
        if self.queue.get(pod.uid) is pod and pod.state is State.IN_FLIGHT:
            self.queue.retry(pod, self._clock())

    async def _resolve(self, pod: PendingPod) -> None:
        """Ask where the pod is until that is known, and only then end the bind."""
        try:
            await self._look_for(pod)
        finally:
            self._bind_over()

    async def _look_for(self, pod: PendingPod) -> None:
        tries = 0
        while pod.uid in self._binding:
            tries += 1
            try:
                found = await self._client.get(PODS, pod.name, pod.namespace, type=Pod)
            except ClientClosed:
                return
            except ClientError as error:
                if is_not_found(error):
                    self._undo(pod)
                    self._dequeue(pod.uid)
                    return
                log.warning("looking for %s/%s: %s", pod.namespace, pod.name, error)
                await self._sleep(self.queue.backoff_seconds(tries))
                continue
            if found.metadata.uid != pod.uid or (
                found.metadata.deletionTimestamp and not found.spec.nodeName
            ):
                self._undo(pod)
                self._dequeue(pod.uid)
            elif found.spec.nodeName:
                if pod.uid in self._binding:
                    self._assigned(found)
            else:
                self._undo(pod)

    # Running

    async def watch(self) -> None:
        """Keep the picture of the cluster up to date, until cancelled."""
        async with TaskGuard("scheduler informers") as guard:
            guard.spawn(self.gangs.watch(self.wake_pod), name="pod groups")
            for optional in self._devices:
                guard.spawn(optional.run(), name="devices")
            guard.spawn(self.claims.synced(), name="devices synced")
            await asyncio.gather(
                *(guard.spawn(informer.run(), name="informer") for informer in self._informers)
            )

    async def schedule(self) -> None:
        """Schedule, once the picture is complete, until cancelled. Binds under way are broken off at the end."""
        async with self._guard, self._writer:
            for informer in self._informers:
                await informer.wait_synced()
            await self.gangs.synced.wait()
            self.synced = True
            log.info("%s: scheduling, %r", ", ".join(self.profiles), self.core)
            while True:
                self._kick.clear()
                if self.step():
                    await asyncio.sleep(0)
                    continue
                times_up = (self.queue.next_flush(), self._gang_cycle.next_deadline())
                flush_at = min((at for at in times_up if at is not None), default=None)
                try:
                    async with asyncio.timeout(
                        None if flush_at is None else max(0.0, flush_at - self._clock())
                    ):
                        await self._kick.wait()
                except TimeoutError:
                    pass
