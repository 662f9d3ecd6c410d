"""Preemption's effects: reservations of pods that wait for their victims to leave, and the victims' eviction through the API.

A nominated pod stays in the queue. Its reservation is a placed pod of its own (uid with a suffix), so that all decisions count it; it is lifted
while its pod is tried, and for good when the pod is bound, deleted or outdone by a pod of higher priority. Victims are told
why (condition DisruptionTarget), then deleted with their own grace period, each once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from lakh.client.client import STRATEGIC, Client
from lakh.client.errors import ClientClosed, ClientError, is_conflict, is_not_found
from lakh.client.events import EventRecorder
from lakh.client.informer import Informer
from lakh.client.resources import PODDISRUPTIONBUDGETS, PODS
from lakh.client.tasks import TaskGuard
from lakh.client.types import ObjectReference
from lakh.machinery import times
from lakh.machinery.selectors import NOTHING, SelectorError, of_label_selector

from .core import Core
from .metrics import preempted
from .podclass import PodClass
from .preemption import Budget, Plan, Victim
from .queue import PendingPod
from .views import DisruptionBudget

__all__ = ["Nominations"]

log = logging.getLogger(__name__)

MAX_EVICTIONS_IN_FLIGHT = 64
"""Two requests each; binds have connections enough beside them."""
SUFFIX = "/reservation"


class Nominations:
    """Who has preempted, and where it will go. `wake` is called with a pod that should be tried again."""

    def __init__(
        self,
        client: Client,
        recorder_of: Callable[[str], EventRecorder],
        core: Core,
        guard: TaskGuard,
        wake: Callable[[PendingPod], None],
    ) -> None:
        self.budgets: dict[str, Budget] = {}
        self.on_free: Callable[[str], None] = lambda node: None
        """Called with a node on which a reservation was given up."""
        self._client = client
        self._recorder_of = recorder_of
        self._core = core
        self._guard = guard
        self._wake = wake
        self._node_of: dict[str, tuple[PendingPod, str]] = {}
        self._on_node: dict[str, dict[str, PendingPod]] = {}
        self._together: set[str] = set()
        """Pods of gangs: these are woken with the last victim of all."""
        self._leaving: set[str] = set()
        self._victims: dict[str, set[str]] = {}
        """Whom a nominated pod has evicted."""
        self._slots = asyncio.Semaphore(MAX_EVICTIONS_IN_FLIGHT)
        self._no_plan: dict[PodClass, int] = {}

    def __len__(self) -> int:
        return len(self._node_of)

    def informer(self) -> Informer[DisruptionBudget]:
        """The informer that keeps the budgets."""
        found: Informer[DisruptionBudget] = Informer(self._client, PODDISRUPTIONBUDGETS, DisruptionBudget)
        found.add_handler(
            on_add=self.on_budget,
            on_update=lambda old, new: self.on_budget(new),
            on_delete=lambda obj: self.budgets.pop(f"{obj.metadata.namespace}/{obj.metadata.name}", None),
        )
        return found

    def on_budget(self, budget: DisruptionBudget) -> None:
        """A PodDisruptionBudget is new or has changed."""
        metadata = budget.metadata
        try:
            selector = of_label_selector(budget.spec.selector)
        except SelectorError:
            selector = NOTHING
        self.budgets[f"{metadata.namespace}/{metadata.name}"] = Budget(
            metadata.namespace or "",
            selector,
            budget.status.disruptionsAllowed,
            frozenset(budget.status.disruptedPods or ()),
        )

    # Reservations

    def node_of(self, pod: PendingPod) -> str | None:
        """The node the pod is nominated for."""
        found = self._node_of.get(pod.uid)
        return None if found is None else found[1]

    def reserve(self, pod: PendingPod, node: str, *, together: bool = False) -> None:
        """Hold the pod's room on a node; `together` with others of its gang."""
        if together:
            self._together.add(pod.uid)
        self._node_of[pod.uid] = pod, node
        self._on_node.setdefault(node, {})[pod.uid] = pod
        self._core.place(pod.uid + SUFFIX, pod.cls, node)

    def release(self, uid: str) -> str | None:
        """Hold it no longer. Returns where it was."""
        found = self._node_of.pop(uid, None)
        if found is None:
            return None
        node = found[1]
        self._together.discard(uid)
        del self._on_node[node][uid]
        if not self._on_node[node]:
            del self._on_node[node]
        self._core.remove(uid + SUFFIX)
        return node

    def forget(self, uid: str) -> str | None:
        """The pod needs no reservation any more. Returns where it had one."""
        self._victims.pop(uid, None)
        return self.release(uid)

    def waits(self, pod: PendingPod, node: str) -> bool:
        """Whether a nominated pod has to wait for its node: pods of lower priority are leaving it, and then it may fit."""
        core = self._core
        if not core.may_help(pod.cls, node):
            return False
        victims = self._victims.get(pod.uid, ())
        return any(core.node_of(uid) == node for uid in victims) or core.leaving(node, pod.cls.priority)

    def give_up(self, pod: PendingPod) -> None:
        """The nominated node will not do: others may have its room."""
        self.forget(pod.uid)
        self._guard.spawn(self._clear(pod), name="clear nomination")

    def gained(self, node: str) -> None:
        """A node gained room: wake the pods nominated for it that fit now."""
        for pod in tuple(self._on_node.get(node, {}).values()):
            if pod.uid in self._together:
                continue
            self.release(pod.uid)
            fits = self._core.fits_on(pod.cls, node)
            self.reserve(pod, node)
            if fits:
                self._wake(pod)

    def node_gone(self, node: str) -> None:
        """A node is gone: its nominated pods look for another."""
        for pod in tuple(self._on_node.get(node, {}).values()):
            self.release(pod.uid)
            self._wake(pod)

    # Preempting

    def attempt(self, pod: PendingPod) -> str | None:
        """Find room for a pod by evicting others. Returns the node it is nominated for, or None."""
        core = self._core
        if self._no_plan.get(pod.cls) == core.columns.sequence:
            return None
        plan = core.preempt(pod.cls, tuple(self.budgets.values()))
        if plan is None:
            if len(self._no_plan) > 1024:
                self._no_plan.clear()
            self._no_plan[pod.cls] = core.columns.sequence
            return None
        preempted(len(plan.victims))
        self._guard.spawn(self._evict_all(pod, plan), name="preempt")
        self._victims[pod.uid] = {victim.uid for victim in plan.victims if victim.name}
        for victim in plan.victims:
            if victim.uid.endswith(SUFFIX):
                self._outdone(victim.uid.removesuffix(SUFFIX))
        self.reserve(pod, plan.node)
        return plan.node

    def attempt_together(
        self, first: PendingPod, places: Sequence[tuple[PendingPod, str]], victims: Sequence[Victim]
    ) -> None:
        """Evict pods anywhere for a gang, and hold the room of its members. `first` stands for it in events."""
        preempted(len(victims))
        self._guard.spawn(self._evict_for(first, victims), name="preempt for a gang")
        for victim in victims:
            if victim.uid.endswith(SUFFIX):
                self._outdone(victim.uid.removesuffix(SUFFIX))
        for pod, node in places:
            self.reserve(pod, node, together=True)

    async def _evict_for(self, first: PendingPod, victims: Sequence[Victim]) -> None:
        found = [v for v in victims if v.name and v.uid not in self._leaving]
        self._leaving.update(victim.uid for victim in found)
        nodes = [self._core.node_of(victim.uid) or "" for victim in found]
        try:
            results = await asyncio.gather(
                *(self._evict(first, node, victim) for node, victim in zip(nodes, found, strict=True))
            )
        except ClientClosed:
            return
        finally:
            self._leaving.difference_update(victim.uid for victim in found)
        if not all(results):
            self._wake(first)

    def let_go(self, key: tuple[str, str], uids: Sequence[str], bound: int, needed: int) -> None:
        """Delete the bound members of a gang that could not be completed."""
        message = f'Gang "{key[1]}" has {bound} of {needed} members bound and could not be completed in time'
        for uid in uids:
            victim = self._core.victim(uid)
            if victim is not None:
                self._guard.spawn(self._delete(victim, message), name="let go of a gang")

    async def _delete(self, victim: Victim, message: str) -> None:
        async with self._slots:
            try:
                await self._client.delete(PODS, victim.name, victim.namespace, uid=victim.uid)
            except ClientError as error:
                log.info("deleting %s/%s: %s", victim.namespace, victim.name, error)
                return
        reference = ObjectReference(
            kind="Pod",
            namespace=victim.namespace,
            name=victim.name,
            uid=victim.uid,
            apiVersion=PODS.api_version,
        )
        self._recorder_of(victim.cls.profile.name).event(reference, "Warning", "GangTimeout", message)

    def _outdone(self, uid: str) -> None:
        """A pod of higher priority takes the room that was reserved."""
        found = self._node_of.get(uid)
        if found is not None:
            self.forget(uid)
            self.on_free(found[1])
            self._guard.spawn(self._clear(found[0]), name="clear nomination")
            self._wake(found[0])

    async def _clear(self, pod: PendingPod) -> None:
        patch = {"metadata": {"uid": pod.uid}, "status": {"nominatedNodeName": None}}
        try:
            await self._patch(pod.namespace, pod.name, patch)
        except ClientError as error:
            log.info("clearing the nomination of %s/%s: %s", pod.namespace, pod.name, error)

    async def _evict_all(self, pod: PendingPod, plan: Plan) -> None:
        victims = [v for v in plan.victims if v.name and v.uid not in self._leaving]
        self._leaving.update(victim.uid for victim in victims)
        try:
            results = await asyncio.gather(*(self._evict(pod, plan.node, victim) for victim in victims))
        except ClientClosed:
            return
        finally:
            self._leaving.difference_update(victim.uid for victim in victims)
        if not all(results) and self.node_of(pod) == plan.node:
            self.forget(pod.uid)
            self._wake(pod)

    async def _evict(self, pod: PendingPod, node: str, victim: Victim) -> bool:
        """Say why and delete. Returns whether the victim is going or gone."""
        async with self._slots:
            try:
                await self._patch(
                    victim.namespace, victim.name, disruption_patch(victim.uid, pod.cls.profile.name)
                )
                await self._client.delete(PODS, victim.name, victim.namespace, uid=victim.uid)
            except ClientClosed:
                raise
            except ClientError as error:
                if is_not_found(error) or is_conflict(error):
                    return True  # gone, or another pod has the name by now
                log.warning("preempting %s/%s: %s", victim.namespace, victim.name, error)
                return False
        reference = ObjectReference(
            kind="Pod",
            namespace=victim.namespace,
            name=victim.name,
            uid=victim.uid,
            apiVersion=PODS.api_version,
        )
        self._recorder_of(pod.cls.profile.name).event(
            reference, "Normal", "Preempted", f"Preempted by pod {pod.uid} on node {node}"
        )
        return True

    async def _patch(self, namespace: str, name: str, patch: dict[str, Any]) -> None:
        await self._client.patch(
            PODS, name, patch, namespace, patch_type=STRATEGIC, type=bytes, subresource="status"
        )


def disruption_patch(uid: str, scheduler_name: str) -> dict[str, Any]:
    """The condition that tells a victim why it is deleted."""
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": f"{scheduler_name}: preempting to accommodate a higher priority pod",
        "lastTransitionTime": times.now(),
    }
    return {"metadata": {"uid": uid}, "status": {"conditions": [condition]}}
