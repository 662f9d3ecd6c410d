"""Which pods form a gang, and what is known of it from its PodGroup.

A pod names its group by `spec.schedulingGroup.podGroupName`, or by the coscheduling plugin's label `scheduling.x-k8s.io/pod-group`. How many members a
gang needs says the PodGroup (scheduling.k8s.io/v1alpha2) of that name; for the label, failing that, the older label with the number. Pods
whose group is a `basic` one are scheduled one by one, and so are labelled pods of which nobody says how many they are. Pods of a
`schedulingGroup` wait for their PodGroup.

Waiting members are looked up by group, so that one of them tries all.
"""

from __future__ import annotations

from typing import Any

from lakh.client.client import STRATEGIC, Client
from lakh.client.errors import ClientError, is_not_found
from lakh.client.informer import Informer
from lakh.client.resources import Resource
from lakh.client.tasks import TaskGuard
from lakh.machinery import times

from .gangs import NETWORK_LAYERS, GangSpec
from .queue import PendingPod
from .views import Pod, PodGroup

__all__ = ["GangTable", "GroupKey"]

PODGROUPS = Resource("scheduling.k8s.io", "v1alpha2", "podgroups", "PodGroup", True)
GROUP_LABEL = "scheduling.x-k8s.io/pod-group"
MIN_AVAILABLE_LABEL = "pod-group.scheduling.sigs.k8s.io/min-available"

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
        self._group_of: dict[str, GroupKey] = {}
        self._reported: dict[GroupKey, str] = {}

    def __repr__(self) -> str:
        return f"GangTable(groups={len(self._specs)}, waiting={len(self._waiting)})"

    # What the API says

    def on_group(self, group: PodGroup) -> list[PendingPod]:
        """A PodGroup is new or has changed. Returns the members that may be tried now."""
        key = group.metadata.namespace or "", group.metadata.name
        gang = group.spec.schedulingPolicy.gang
        constraints = group.spec.schedulingConstraints
        topology = (constraints.topology if constraints else None) or []
        self._specs[key] = (
            None
            if gang is None
            else GangSpec(max(1, gang.minCount), topology[0].key if topology else None, self._layers)
        )
        return list(self._waiting.get(key, {}).values())

    def on_group_deleted(self, group: PodGroup) -> None:
        """A PodGroup is gone: its waiting members wait for another."""
        key = group.metadata.namespace or "", group.metadata.name
        self._specs.pop(key, None)
        self._reported.pop(key, None)

    def key_of(self, pod: Pod) -> GroupKey | None:
        """The group a pod names."""
        namespace = pod.metadata.namespace or ""
        group = pod.spec.schedulingGroup
        if group is not None and group.podGroupName:
            return namespace, group.podGroupName
        name = (pod.metadata.labels or {}).get(GROUP_LABEL)
        return (namespace, name) if name else None

    # Members

    def wait(self, waiting: PendingPod, pod: Pod) -> list[PendingPod]:
        """A pod waits. Returns the other members of its gang that may be complete with it."""
        key = self.key_of(pod)
        if key is None:
            return []
        if key not in self._specs and pod.spec.schedulingGroup is None:
            count = (pod.metadata.labels or {}).get(MIN_AVAILABLE_LABEL, "")
            if not count.isascii() or not count.isdigit() or not int(count):
                return []  # nobody says how many
            self._specs[key] = GangSpec(int(count), None, self._layers)
        waiting.group = key
        self._group_of[waiting.uid] = key
        members = self._waiting.setdefault(key, {})
        others = list(members.values())
        members[waiting.uid] = waiting
        spec = self._specs.get(key)
        missing = 0 if spec is None else spec.min_count - self.placed(key) - len(members)
        return others if missing == 0 else []

    def place(self, uid: str, pod: Pod | None = None) -> None:
        """A member is placed: bound or assumed."""
        key = self._group_of.get(uid) or (self.key_of(pod) if pod is not None else None)
        if key is not None:
            self._group_of[uid] = key
            self._leave(key, uid)
            self._placed.setdefault(key, set()).add(uid)

    def unplace(self, pod: PendingPod) -> None:
        """A member's bind failed: it waits again."""
        if pod.group is not None:
            self._placed.get(pod.group, set()).discard(pod.uid)
            self._group_of[pod.uid] = pod.group
            self._waiting.setdefault(pod.group, {})[pod.uid] = pod

    def forget(self, uid: str) -> None:
        """A member is gone."""
        key = self._group_of.pop(uid, None)
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
        """How many members are placed."""
        return len(self._placed.get(key, ()))

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

    def informer(self) -> Informer[PodGroup]:
        """The informer of PodGroups. A server without this API refuses it: then there are only labels."""
        return Informer(self._client, PODGROUPS, PodGroup)

    def report(self, key: GroupKey, *, scheduled: bool, message: str) -> None:
        """Set the group's PodGroupScheduled condition, once a message."""
        if self._reported.get(key) != message:
            self._reported[key] = message
            self._guard.spawn(self._report(key, scheduled, message), name="pod group status")

    async def _report(self, key: GroupKey, scheduled: bool, message: str) -> None:
        condition: dict[str, Any] = {
            "type": "PodGroupScheduled",
            "status": "True" if scheduled else "False",
            "reason": "Scheduled" if scheduled else "Unschedulable",
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
