"""Which pods form a gang, and what is known of it from its PodGroup.

A pod names its group by `spec.schedulingGroup.podGroupName`, or by the coscheduling plugin's label `scheduling.x-k8s.io/pod-group`. How many members a
gang needs says the PodGroup of that name (scheduling.k8s.io/v1alpha2, or the coscheduling plugin's custom resource scheduling.x-k8s.io/v1alpha1); for
the label, failing that, the plugin's older label with the number. Pods whose group is a `basic` one are scheduled one by one, unless it asks for one
domain of a topology. Pods of a `schedulingGroup` wait for their PodGroup; labelled pods do where the server has the custom resource, and are
scheduled one by one where nobody can say how many they are.

Waiting members are looked up by group, so that one of them tries all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from lakh.client.client import STRATEGIC, Client
from lakh.client.errors import ClientClosed, ClientError, is_not_found
from lakh.client.informer import Informer
from lakh.client.resources import Resource
from lakh.client.tasks import TaskGuard
from lakh.machinery import times

from .gangs import NETWORK_LAYERS, GangSpec
from .queue import PendingPod
from .requests import amounts
from .views import CoschedulingGroup, Pod, PodGroup, Quantity

__all__ = ["GangTable", "GroupKey"]

log = logging.getLogger(__name__)

SERVED_SECONDS = 10.0
"""How often a server is asked whether it has a kind of pod groups by now."""
COSCHEDULING_PODGROUPS = Resource("scheduling.x-k8s.io", "v1alpha1", "podgroups", "PodGroup", True)
PODGROUPS = Resource("scheduling.k8s.io", "v1alpha2", "podgroups", "PodGroup", True)
GROUP_LABEL = "scheduling.x-k8s.io/pod-group"
OLD_GROUP_LABEL = "pod-group.scheduling.sigs.k8s.io/name"
MIN_AVAILABLE_LABEL = "pod-group.scheduling.sigs.k8s.io/min-available"

REQUIRED_TOPOLOGY = "lakh.dev/required-topology"
"""Annotation of a coscheduling PodGroup: the label of which all members must be in one domain."""
PREFERRED_TOPOLOGY = "lakh.dev/preferred-topology"
"""Annotation of a PodGroup of either kind: labels, with commas, the widest first, of which few domains are better."""
DEFAULT_TIMEOUT_SECONDS = 60.0
"""The coscheduling plugin's permitWaitingTimeSeconds."""
EXPECT_SECONDS = 60.0
"""A gang whose victims are not gone by then plans anew."""

GroupKey = tuple[str, str]
"""Namespace and name."""


class GangTable:
    """Groups, their waiting members and how many are placed."""

    def __init__(self, client: Client, guard: TaskGuard, layers: tuple[str, ...] = NETWORK_LAYERS) -> None:
        self._client = client
        self._guard = guard
        self._layers = layers
        self._specs: dict[GroupKey, GangSpec | None] = {}
        """None: a basic group."""
        self._waiting: dict[GroupKey, dict[str, PendingPod]] = {}
        self._placed: dict[GroupKey, set[str]] = {}
        self.group_of: dict[str, GroupKey] = {}
        """Of waiting and placed members, by uid."""
        self._reported: dict[GroupKey, str] = {}
        self._victims: dict[str, set[GroupKey]] = {}
        """Placed pods that have been evicted for a gang, which waits until all are gone."""
        self._expected: dict[GroupKey, tuple[set[str], float]] = {}
        self._coscheduling: set[GroupKey] = set()
        self.synced = asyncio.Event()
        """Set when the groups that the server has are known: a pod tried before that would only back off."""
        self.coscheduling_served = False
        """Whether the server has the coscheduling plugin's PodGroups."""

    def __repr__(self) -> str:
        return f"GangTable(groups={len(self._specs)}, waiting={len(self._waiting)})"

    # What the API says

    def on_group(self, group: PodGroup) -> PendingPod | None:
        """A PodGroup is new or has changed. Returns a member by which all that wait may be tried now."""
        key = group.metadata.namespace or "", group.metadata.name
        spec = group.spec
        gang = spec.schedulingPolicy.gang
        topology = (spec.schedulingConstraints.topology if spec.schedulingConstraints else None) or []
        if gang is None and not topology:
            self._specs[key] = None
        else:
            self._specs[key] = GangSpec(
                max(1, gang.minCount) if gang is not None else 1,
                topology[0].key if topology else None,
                self._preferred(group),
                spec.priority,
                spec.disruptionMode == "PodGroup",
            )
        return self.first(key)

    def on_coscheduling_group(self, group: CoschedulingGroup) -> PendingPod | None:
        """The same for a PodGroup of the coscheduling plugin. A group of both kinds is what upstream's says."""
        key = group.metadata.namespace or "", group.metadata.name
        if key not in self._specs or key in self._coscheduling:
            self._coscheduling.add(key)
            timeout = group.spec.scheduleTimeoutSeconds
            self._specs[key] = GangSpec(
                max(1, group.spec.minMember),
                (group.metadata.annotations or {}).get(REQUIRED_TOPOLOGY) or None,
                self._preferred(group),
                timeout_seconds=DEFAULT_TIMEOUT_SECONDS if not timeout else float(timeout),
                min_resources=_amounts(group.spec.minResources),
            )
        return self.first(key)

    def on_coscheduling_group_deleted(self, group: CoschedulingGroup) -> None:
        """It is gone."""
        key = group.metadata.namespace or "", group.metadata.name
        if key in self._coscheduling:
            self._coscheduling.discard(key)
            self._specs.pop(key, None)

    def _preferred(self, group: PodGroup | CoschedulingGroup) -> tuple[str, ...]:
        """The labels of which few domains are better for a group."""
        annotation = (group.metadata.annotations or {}).get(PREFERRED_TOPOLOGY)
        if annotation is None:
            return self._layers
        return tuple(key.strip() for key in annotation.split(",") if key.strip())

    def on_group_deleted(self, group: PodGroup) -> None:
        """A PodGroup is gone: its waiting members wait for another."""
        key = group.metadata.namespace or "", group.metadata.name
        self._specs.pop(key, None)
        self._coscheduling.discard(key)
        self._reported.pop(key, None)

    def key_of(self, pod: Pod) -> GroupKey | None:
        """The group a pod names."""
        namespace = pod.metadata.namespace or ""
        group = pod.spec.schedulingGroup
        if group is not None and group.podGroupName:
            return namespace, group.podGroupName
        labels = pod.metadata.labels or {}
        name = labels.get(GROUP_LABEL) or labels.get(OLD_GROUP_LABEL)
        return (namespace, name) if name else None

    # Members

    def wait(self, waiting: PendingPod, pod: Pod) -> None:
        """A pod waits. The one that makes its gang complete is tried at once, and all others with it."""
        key = self.key_of(pod)
        if key is None:
            return
        if key not in self._specs and pod.spec.schedulingGroup is None:
            count = (pod.metadata.labels or {}).get(MIN_AVAILABLE_LABEL, "")
            if count.isascii() and count.isdigit() and int(count):
                self._specs[key] = GangSpec(int(count), None, self._layers)
            elif not self.coscheduling_served:
                return  # nobody says how many, and nobody can
        waiting.group = key
        self.group_of[waiting.uid] = key
        self._waiting.setdefault(key, {})[waiting.uid] = waiting

    def place(self, uid: str, pod: Pod | None = None) -> None:
        """A member is placed: bound or assumed."""
        key = self.group_of.get(uid) or (self.key_of(pod) if pod is not None else None)
        if key is not None:
            self.group_of[uid] = key
            self._leave(key, uid)
            self._placed.setdefault(key, set()).add(uid)

    def unplace(self, pod: PendingPod) -> None:
        """A member's bind failed: it waits again."""
        if pod.group is not None:
            self._placed.get(pod.group, set()).discard(pod.uid)
            self.group_of[pod.uid] = pod.group
            self._waiting.setdefault(pod.group, {})[pod.uid] = pod

    def forget(self, uid: str) -> None:
        """A member is gone."""
        key = self.group_of.pop(uid, None)
        if key is None:
            return
        self._leave(key, uid)
        placed = self._placed.get(key)
        if placed is not None:
            placed.discard(uid)
            if not placed:
                del self._placed[key]

    def _leave(self, key: GroupKey, uid: str) -> None:
        members = self._waiting.get(key)
        if members is not None:
            members.pop(uid, None)
            if not members:
                del self._waiting[key]

    def placed(self, key: GroupKey) -> int:
        """How many members are placed, and not about to leave for another gang."""
        return len(self.peers(key)) if self._victims else len(self._placed.get(key, ()))

    def peers(self, key: GroupKey) -> list[str]:
        """The uids of members that are placed, and not about to leave for another gang."""
        return [uid for uid in self._placed.get(key, ()) if uid not in self._victims]

    def lowest_priority(self) -> int:
        """The lowest that a group has of its own."""
        found = (spec.priority for spec in self._specs.values() if spec is not None)
        return min((priority for priority in found if priority is not None), default=1 << 31)

    # Victims

    def expect(self, key: GroupKey, uids: Iterable[str], now: float) -> None:
        """The gang waits until these pods are gone, for a time. Others may wait for the same pods."""
        for uid in self._expected.pop(key, (set[str](), 0.0))[0]:
            waiting = self._victims[uid]
            waiting.discard(key)
            if not waiting:
                del self._victims[uid]
        found = set(uids)
        if found:
            self._expected[key] = found, now + EXPECT_SECONDS
            for uid in found:
                self._victims.setdefault(uid, set()).add(key)

    def expects(self, key: GroupKey, now: float) -> bool:
        """Whether the gang waits for victims to leave."""
        found = self._expected.get(key)
        if found is None:
            return False
        if now >= found[1]:
            self.expect(key, (), now)
            return False
        return True

    def victim_gone(self, uid: str) -> list[GroupKey]:
        """A placed pod is gone. Returns the gangs for which it was the last victim."""
        complete = []
        for key in self._victims.pop(uid, ()):
            left = self._expected[key][0]
            left.discard(uid)
            if not left:
                del self._expected[key]
                complete.append(key)
        return complete

    def first(self, key: GroupKey) -> PendingPod | None:
        """The member that has waited longest."""
        return next(iter(self._waiting.get(key, {}).values()), None)

    def members(self, key: GroupKey) -> list[PendingPod]:
        """The waiting members."""
        return list(self._waiting.get(key, {}).values())

    def spec(self, key: GroupKey) -> GangSpec | None:
        """What is asked for the gang; None for a basic group."""
        return self._specs.get(key)

    def hindrance(self, key: GroupKey) -> str | None:
        """Why the group cannot be tried yet, in upstream's words."""
        if key not in self._specs:
            return f'waiting for pods\'s pod group "{key[1]}" to appear in scheduling queue'
        spec = self._specs[key]
        if spec is not None and len(self._waiting.get(key, ())) + self.placed(key) < spec.min_count:
            return "waiting for minCount pods from a gang to appear in scheduling queue"
        return None

    # Status

    async def watch(self, on_group: Callable[[PendingPod], None]) -> None:
        """Follow the PodGroups of both kinds that the server has, from when it has them; `on_group` hears of members to be tried."""

        def tell(first: PendingPod | None) -> None:
            if first is not None:
                on_group(first)

        groups: Informer[PodGroup] = Informer(self._client, PODGROUPS, PodGroup)
        groups.add_handler(
            on_add=lambda group: tell(self.on_group(group)),
            on_update=lambda old, new: tell(self.on_group(new)),
            on_delete=self.on_group_deleted,
        )
        coscheduling: Informer[CoschedulingGroup] = Informer(
            self._client, COSCHEDULING_PODGROUPS, CoschedulingGroup
        )
        coscheduling.add_handler(
            on_add=lambda group: tell(self.on_coscheduling_group(group)),
            on_update=lambda old, new: tell(self.on_coscheduling_group(new)),
            on_delete=self.on_coscheduling_group_deleted,
        )

        async def follow(resource: Resource, informer: Informer[Any], known: asyncio.Event) -> None:
            while not await self._serves(resource):
                known.set()
                await asyncio.sleep(SERVED_SECONDS)
            if informer is coscheduling:
                self.coscheduling_served = True
            running = guard.spawn(informer.run(), name=f"{resource.group} pod groups")
            await informer.wait_synced()
            known.set()
            await running

        known = asyncio.Event(), asyncio.Event()
        async with TaskGuard("pod groups") as guard:
            both = [
                guard.spawn(follow(PODGROUPS, groups, known[0]), name="pod groups"),
                guard.spawn(follow(COSCHEDULING_PODGROUPS, coscheduling, known[1]), name="coscheduling"),
            ]
            for event in known:
                await event.wait()
            self.synced.set()
            await asyncio.gather(*both)

    async def _serves(self, resource: Resource) -> bool:
        """Whether the server has a resource: not every one does, and some get it later."""
        try:
            answer = await self._client.raw("GET", resource.root)
        except ClientClosed:
            raise
        except ClientError as error:
            log.debug("looking for %s: %s", resource.root, error)
            return False
        return answer.status == 200 and b'"' + resource.plural.encode() + b'"' in answer.body

    def report(self, key: GroupKey, *, scheduled: bool, message: str, reason: str = "") -> None:
        """Set the group's PodGroupScheduled condition, once a message. The coscheduling plugin's groups have none: their status is their controller's."""
        if key not in self._coscheduling and self._reported.get(key) != message and key in self._specs:
            self._reported[key] = message
            reason = reason or ("Scheduled" if scheduled else "Unschedulable")
            self._guard.spawn(self._report(key, scheduled, reason, message), name="pod group status")

    async def _report(self, key: GroupKey, scheduled: bool, reason: str, message: str) -> None:
        condition: dict[str, Any] = {
            "type": "PodGroupScheduled",
            "status": "True" if scheduled else "False",
            "reason": reason,
            "message": message,
            "lastTransitionTime": times.now(),
        }
        try:
            await self._client.patch(
                PODGROUPS,
                key[1],
                {"status": {"conditions": [condition]}},
                key[0],
                patch_type=STRATEGIC,
                type=bytes,
                subresource="status",
            )
        except ClientError as error:
            if not is_not_found(error):
                self._reported.pop(key, None)


def _amounts(quantities: dict[str, Quantity] | None) -> tuple[tuple[str, int], ...]:
    """What must be free; nothing where it is not understood."""
    try:
        return tuple(sorted(amounts(quantities).items()))
    except ValueError:
        return ()
