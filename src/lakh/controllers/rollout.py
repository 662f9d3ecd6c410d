"""The decisions of Deployments: from a Deployment and its ReplicaSets to the next step.

`decide` is pure. One call gives one step (create the new ReplicaSet, or scale some, or clean up) and the status; the changes the step
causes bring the Deployment back. Sizes are absolute and sent with the ReplicaSet's resourceVersion, so a step decided from stale memory is
refused or repeats itself; it never adds up.

Invariants of a rolling update: wanted sizes together stay at or below replicas + maxSurge, and a scale-down of old ReplicaSets never
takes available pods below replicas - maxUnavailable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lakh.machinery import gonumbers

from . import clock
from .hashing import template_hash
from .intorpercent import fenceposts
from .pods import find_condition
from .statuses import without_condition
from .views import Condition, Deployment, DeploymentStatus, ReplicaSet

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
HASH_LABEL = "pod-template-hash"

NOT_COPIED = frozenset(
    (
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
        "deprecated.deployment.rollback.to",
    )
)
"""Annotations of a Deployment that its ReplicaSets do not get."""

NO_DEADLINE = 2**31 - 1
"""A progressDeadlineSeconds or revisionHistoryLimit that means none."""
MAX_HISTORY_CHARACTERS = 2000
"""Length of the revision-history annotation."""


@dataclass
class Creation:
    """The ReplicaSet to create."""

    name: str
    hash: str
    replicas: int
    annotations: dict[str, str]


@dataclass
class Plan:
    """One step of a Deployment."""

    status: DeploymentStatus
    create: Creation | None = None
    scale: list[tuple[ReplicaSet, int]] = field(default_factory=list)
    annotate: list[tuple[ReplicaSet, dict[str, str]]] = field(default_factory=list)
    delete: list[ReplicaSet] = field(default_factory=list)
    revision: str | None = None
    """What the Deployment's revision annotation should say."""
    min_ready: tuple[ReplicaSet, int] | None = None
    """The new ReplicaSet and the minReadySeconds that it should get."""
    requeue_seconds: float | None = None


def size(rs: ReplicaSet) -> int:
    """The wanted size of a ReplicaSet."""
    return 1 if rs.spec.replicas is None else rs.spec.replicas


def template_of(raw: bytes | msgspec.Raw) -> Any:
    """A template as plain data, without the hash label, for comparison."""
    template = msgspec.json.decode(raw)
    labels = (template.get("metadata") or {}).get("labels")
    if labels:
        labels.pop(HASH_LABEL, None)
        if not labels:
            del template["metadata"]["labels"]
    metadata = template.get("metadata")
    if metadata is not None:
        metadata.pop("creationTimestamp", None)
        if not metadata:
            del template["metadata"]
    return template


def limits(deployment: Deployment) -> tuple[int, int]:
    """How many pods more and fewer than wanted there may be."""
    strategy = deployment.spec.strategy
    wanted = _wanted(deployment)
    if strategy is not None and strategy.type == "Recreate":
        return 0, 0
    rolling = strategy.rollingUpdate if strategy is not None else None
    if rolling is None:
        return fenceposts("25%", "25%", wanted)
    return fenceposts(
        "25%" if rolling.maxSurge is None else rolling.maxSurge,
        "25%" if rolling.maxUnavailable is None else rolling.maxUnavailable,
        wanted,
    )


def _wanted(deployment: Deployment) -> int:
    return 1 if deployment.spec.replicas is None else deployment.spec.replicas


def has_deadline(deployment: Deployment) -> bool:
    """Whether the Deployment's progress is watched."""
    deadline = deployment.spec.progressDeadlineSeconds
    return deadline is not None and deadline != NO_DEADLINE


def _revision(rs: ReplicaSet) -> int:
    text = (rs.metadata.annotations or {}).get(REVISION, "")
    return int(text) if gonumbers.is_uint(text) else 0


def _by_age(rs: ReplicaSet) -> tuple[str, str]:
    return rs.metadata.creationTimestamp or "", rs.metadata.name


def find_new(deployment: Deployment, sets: Sequence[ReplicaSet]) -> ReplicaSet | None:
    """The oldest ReplicaSet with the Deployment's template."""
    wanted = template_of(deployment.spec.template)
    for rs in sorted(sets, key=_by_age):
        if template_of(rs.spec.template) == wanted:
            return rs
    return None


def _copied_annotations(deployment: Deployment) -> dict[str, str]:
    return {
        key: value for key, value in (deployment.metadata.annotations or {}).items() if key not in NOT_COPIED
    }


def size_annotations(deployment: Deployment) -> dict[str, str]:
    """What a ReplicaSet is told of the size of its Deployment."""
    wanted = _wanted(deployment)
    return {DESIRED_REPLICAS: str(wanted), MAX_REPLICAS: str(wanted + limits(deployment)[0])}


def _new_annotations(deployment: Deployment, rs: ReplicaSet, revision: int) -> dict[str, str]:
    """Annotations that the existing new ReplicaSet lacks."""
    present = rs.metadata.annotations or {}
    wanted = _copied_annotations(deployment)
    old = present.get(REVISION, "")
    if (int(old) if gonumbers.is_uint(old) else 0) < revision:
        wanted[REVISION] = str(revision)
        if old:
            history = present.get(REVISION_HISTORY, "")
            entries = [*history.split(","), old] if history else [old]
            while len(",".join(entries)) > MAX_HISTORY_CHARACTERS:
                entries.pop(0)
            wanted[REVISION_HISTORY] = ",".join(entries)
    return {key: value for key, value in wanted.items() if present.get(key) != value}


class _Step:
    """One decision in the making: the inputs, and the plan so far."""

    def __init__(
        self, deployment: Deployment, sets: Sequence[ReplicaSet], old_pods_running: bool, now: float
    ) -> None:
        self.deployment = deployment
        self.sets = list(sets)
        self.old_pods_running = old_pods_running
        self.now = now
        self.wanted = _wanted(deployment)
        self.surge, unavailable = limits(deployment)
        self.unavailable = min(unavailable, self.wanted)
        self.new = find_new(deployment, sets)
        self.old = sorted((rs for rs in sets if rs is not self.new), key=_by_age)
        self.plan = Plan(DeploymentStatus())
        self.conditions = list(deployment.status.conditions or ())
        self.stamp = clock.stamp(now)

    # ------------------------------------------------------------ the ways a Deployment can go

    def run(self) -> Plan:
        deployment = self.deployment
        if deployment.metadata.deletionTimestamp is None:
            self._note_pause()
            if deployment.spec.paused:
                self._sync_revision(create=False)
                self._scale()
                self._clean_up()
            elif self._is_scaling():
                self._sync_revision(create=False)
                self._scale()
            elif deployment.spec.strategy is not None and deployment.spec.strategy.type == "Recreate":
                self._recreate()
            else:
                self._roll()
        self._finish()
        return self.plan

    def _is_scaling(self) -> bool:
        return any(
            size(rs) > 0
            and (desired := (rs.metadata.annotations or {}).get(DESIRED_REPLICAS)) is not None
            and desired != str(self.wanted)
            for rs in self.sets
        )

    def _roll(self) -> None:
        self._sync_revision(create=True)
        if self.plan.create or self.plan.annotate or self.plan.min_ready or self.new is None:
            return
        if self._resize_new():
            return
        if self._shrink_old():
            return
        if self._is_complete(self._status()):
            self._clean_up()

    def _recreate(self) -> None:
        self._sync_revision(create=False)
        active = [rs for rs in self.old if size(rs) > 0]
        if active:
            self.plan.scale = [(rs, 0) for rs in active]
            return
        if self.old_pods_running or any((rs.status.replicas or 0) > 0 for rs in self.old):
            return
        self._sync_revision(create=True)
        if self.new is None:
            return
        if size(self.new) != self.wanted:
            self.plan.scale = [(self.new, self.wanted)]
        elif self._is_complete(self._status()):
            self._clean_up()

    # ------------------------------------------------------------ the new ReplicaSet

    def _sync_revision(self, *, create: bool) -> None:
        deployment = self.deployment
        revision = max(map(_revision, self.old), default=0) + 1
        if self.new is not None:
            changes = _new_annotations(deployment, self.new, revision)
            if changes:
                self.plan.annotate = [(self.new, changes)]
            min_ready = deployment.spec.minReadySeconds or 0
            if (self.new.spec.minReadySeconds or 0) != min_ready:
                self.plan.min_ready = (self.new, min_ready)
            self.plan.revision = str(max(revision, _revision(self.new)))
            if has_deadline(deployment) and find_condition(self.conditions, "Progressing") is None:
                self._set(
                    "Progressing",
                    "True",
                    "FoundNewReplicaSet",
                    f'Found new replica set "{self.new.metadata.name}"',
                )
            return
        if not create:
            return
        hashed = template_hash(
            template_of(deployment.spec.template), deployment.status.collisionCount or None
        )
        self.plan.create = Creation(
            name=f"{deployment.metadata.name}-{hashed}",
            hash=hashed,
            replicas=self._new_size(0),
            annotations={
                **_copied_annotations(deployment),
                **size_annotations(deployment),
                REVISION: str(revision),
            },
        )
        self.plan.revision = str(revision)
        if has_deadline(deployment):
            self._set(
                "Progressing",
                "True",
                "NewReplicaSetCreated",
                f'Created new replica set "{self.plan.create.name}"',
            )

    def _new_size(self, current: int) -> int:
        """How large the new ReplicaSet may be now."""
        strategy = self.deployment.spec.strategy
        if strategy is not None and strategy.type == "Recreate":
            return self.wanted
        total = sum(size(rs) for rs in self.sets)
        room = self.wanted + self.surge - total
        if room <= 0:
            return current
        return current + min(room, max(self.wanted - current, 0))

    # ------------------------------------------------------------ rolling

    def _resize_new(self) -> bool:
        assert self.new is not None
        current = size(self.new)
        if current == self.wanted:
            return False
        target = self.wanted if current > self.wanted else self._new_size(current)
        if target == current:
            return False
        self.plan.scale = [(self.new, target)]
        return True

    def _shrink_old(self) -> bool:
        assert self.new is not None
        sizes = {rs.metadata.uid: size(rs) for rs in self.old}
        if not sum(sizes.values()):
            return False
        floor = self.wanted - self.unavailable
        new_missing = size(self.new) - (self.new.status.availableReplicas or 0)
        budget = sum(sizes.values()) + size(self.new) - floor - new_missing
        if budget <= 0:
            return False
        # Pods that are not available go first: taking them away costs nothing.
        for rs in self.old:
            unhealthy = sizes[rs.metadata.uid] - (rs.status.availableReplicas or 0)
            cut = min(budget, unhealthy)
            if cut > 0:
                sizes[rs.metadata.uid] -= cut
                budget -= cut
        available = sum(rs.status.availableReplicas or 0 for rs in self.sets)
        spare = min(available - floor, budget)
        for rs in self.old:
            if spare <= 0:
                break
            cut = min(sizes[rs.metadata.uid], spare)
            sizes[rs.metadata.uid] -= cut
            spare -= cut
        self.plan.scale = [
            (rs, sizes[rs.metadata.uid]) for rs in self.old if sizes[rs.metadata.uid] != size(rs)
        ]
        return bool(self.plan.scale)

    # ------------------------------------------------------------ scaling

    def _scale(self) -> None:
        active = [rs for rs in self.sets if size(rs) > 0]
        only: ReplicaSet | None = None
        if not active:
            only = self.new or max(self.old, key=_by_age, default=None)
        elif len(active) == 1:
            only = active[0]
        if only is not None:
            if size(only) != self.wanted:
                self.plan.scale = [(only, self.wanted)]
            else:
                self._correct_annotations([only])
            return
        if self.new is not None and self._is_saturated(self.new):
            self.plan.scale = [(rs, 0) for rs in self.old if size(rs) > 0]
            return
        strategy = self.deployment.spec.strategy
        if strategy is not None and strategy.type == "Recreate":
            self._recreate()
        else:
            self._scale_in_proportion(active)

    def _is_saturated(self, rs: ReplicaSet) -> bool:
        desired = (rs.metadata.annotations or {}).get(DESIRED_REPLICAS)
        return (
            size(rs) == self.wanted
            and desired == str(self.wanted)
            and (rs.status.availableReplicas or 0) == self.wanted
        )

    def _scale_in_proportion(self, active: list[ReplicaSet]) -> None:
        """Share a change of size among the active ReplicaSets, larger ones first."""
        allowed = self.wanted + self.surge if self.wanted > 0 else 0
        to_add = allowed - sum(map(size, active))
        newest_first = to_add > 0
        active.sort(key=_by_age, reverse=newest_first)
        active.sort(key=size, reverse=True)
        added = 0
        sizes = []
        for rs in active:
            share = self._share(rs, to_add, added)
            sizes.append(size(rs) + share)
            added += share
        if active and to_add != added:
            sizes[0] = max(sizes[0] + to_add - added, 0)
        self.plan.scale = [
            (rs, target) for rs, target in zip(active, sizes, strict=True) if target != size(rs)
        ]
        changed = {rs.metadata.uid for rs, _ in self.plan.scale}
        self._correct_annotations([rs for rs in active if rs.metadata.uid not in changed])

    def _share(self, rs: ReplicaSet, to_add: int, added: int) -> int:
        left = to_add - added
        if left == 0:
            return 0
        if self.wanted == 0:
            fraction = -size(rs)
        else:
            annotated = (rs.metadata.annotations or {}).get(MAX_REPLICAS, "")
            before = (
                int(annotated) if gonumbers.is_uint(annotated) else (self.deployment.status.replicas or 0)
            )
            grown = size(rs) * (self.wanted + self.surge) / before if before else size(rs)
            fraction = math.floor(grown + 0.5) - size(rs)
        return min(fraction, left) if to_add > 0 else max(fraction, left)

    def _correct_annotations(self, sets: list[ReplicaSet]) -> None:
        wanted = size_annotations(self.deployment)
        already = {rs.metadata.uid: changes for rs, changes in self.plan.annotate}
        for rs in sets:
            present = rs.metadata.annotations or {}
            changes = {key: value for key, value in wanted.items() if present.get(key) != value}
            if not changes:
                continue
            if rs.metadata.uid in already:
                already[rs.metadata.uid].update(changes)
            else:
                self.plan.annotate.append((rs, changes))

    # ------------------------------------------------------------ history

    def _clean_up(self) -> None:
        limit = self.deployment.spec.revisionHistoryLimit
        if limit is None or limit == NO_DEADLINE:
            return
        alive = [rs for rs in self.old if rs.metadata.deletionTimestamp is None]
        excess = len(alive) - limit
        if excess <= 0:
            return
        alive.sort(key=lambda rs: (_revision(rs), _by_age(rs)))
        self.plan.delete = [
            rs
            for rs in alive[:excess]
            if not rs.status.replicas
            and size(rs) == 0
            and (rs.metadata.generation or 0) <= (rs.status.observedGeneration or 0)
        ]

    # ------------------------------------------------------------ status

    def _set(self, type_: str, status: str, reason: str, message: str, *, touch: bool = False) -> None:
        """Set a condition. The same status and reason change nothing, unless `touch` says that there was progress."""
        current = find_condition(self.conditions, type_)
        if current is not None and current.status == status and current.reason == reason and not touch:
            return
        transition = (
            current.lastTransitionTime if current is not None and current.status == status else self.stamp
        )
        condition = Condition(
            type=type_,
            status=status,
            reason=reason,
            message=message,
            lastTransitionTime=transition,
            lastUpdateTime=self.stamp,
        )
        self.conditions = [*without_condition(self.conditions, type_), condition]

    def _note_pause(self) -> None:
        if not has_deadline(self.deployment):
            return
        current = find_condition(self.conditions, "Progressing")
        if current is not None and current.reason == "ProgressDeadlineExceeded":
            return
        was_paused = current is not None and current.reason == "DeploymentPaused"
        if self.deployment.spec.paused and not was_paused:
            self._set("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
        elif not self.deployment.spec.paused and was_paused:
            self._set("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed")

    def _status(self) -> DeploymentStatus:
        status = self.deployment.status
        sets = self.sets
        available = sum(rs.status.availableReplicas or 0 for rs in sets)
        terminating = [rs.status.terminatingReplicas for rs in sets]
        return DeploymentStatus(
            observedGeneration=self.deployment.metadata.generation,
            replicas=sum(rs.status.replicas or 0 for rs in sets),
            updatedReplicas=(self.new.status.replicas or 0) if self.new is not None else 0,
            readyReplicas=sum(rs.status.readyReplicas or 0 for rs in sets),
            availableReplicas=available,
            unavailableReplicas=max(sum(map(size, sets)) - available, 0),
            terminatingReplicas=None if None in terminating else sum(count or 0 for count in terminating),
            collisionCount=status.collisionCount,
        )

    def _is_complete(self, status: DeploymentStatus) -> bool:
        return status.updatedReplicas == status.replicas == status.availableReplicas == self.wanted

    def _finish(self) -> None:
        deployment, before = self.deployment, self.deployment.status
        status = self._status()
        if (status.availableReplicas or 0) >= self.wanted - self.unavailable:
            self._set("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        else:
            self._set(
                "Available",
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            )
        rolling = not deployment.spec.paused and deployment.metadata.deletionTimestamp is None
        if not has_deadline(deployment):
            self.conditions = without_condition(self.conditions, "Progressing")
        elif rolling and self.plan.create is None:
            self._note_progress(before, status)
        failure = self._replica_failure()
        self.conditions = without_condition(self.conditions, "ReplicaFailure")
        if failure is not None:
            self.conditions.append(failure)
        status.conditions = self.conditions
        self.plan.status = status

    def _note_progress(self, before: DeploymentStatus, status: DeploymentStatus) -> None:
        what = f'Deployment "{self.deployment.metadata.name}"'
        if self.new is not None:
            what = f'ReplicaSet "{self.new.metadata.name}"'
        current = find_condition(self.conditions, "Progressing")
        done = status.replicas == status.updatedReplicas
        if not (done and current is not None and current.reason == "NewReplicaSetAvailable"):
            if self._is_complete(status):
                self._set(
                    "Progressing", "True", "NewReplicaSetAvailable", f"{what} has successfully progressed."
                )
            elif _progressed(before, status):
                self._set("Progressing", "True", "ReplicaSetUpdated", f"{what} is progressing.", touch=True)
            elif self._timed_out(current):
                self._set(
                    "Progressing", "False", "ProgressDeadlineExceeded", f"{what} has timed out progressing."
                )
        current = find_condition(self.conditions, "Progressing")
        if current is None or self._is_complete(status) or current.reason == "ProgressDeadlineExceeded":
            return
        since = clock.parse(current.lastUpdateTime)
        if since is not None:
            left = since + (self.deployment.spec.progressDeadlineSeconds or 0) - self.now
            self.plan.requeue_seconds = max(left, 0) + 1

    def _timed_out(self, current: Condition | None) -> bool:
        if current is None or current.reason == "NewReplicaSetAvailable":
            return False
        if current.reason == "ProgressDeadlineExceeded":
            return True
        since = clock.parse(current.lastUpdateTime)
        deadline = self.deployment.spec.progressDeadlineSeconds or 0
        return since is not None and since + deadline < self.now

    def _replica_failure(self) -> Condition | None:
        sets = [self.new, *self.old] if self.new is not None else self.old
        for rs in sets:
            found = find_condition(rs.status.conditions, "ReplicaFailure")
            if found is not None:
                return Condition(
                    type="ReplicaFailure",
                    status=found.status,
                    reason=found.reason,
                    message=found.message,
                    lastTransitionTime=found.lastTransitionTime,
                    lastUpdateTime=found.lastTransitionTime,
                )
        return None


def _progressed(before: DeploymentStatus, after: DeploymentStatus) -> bool:
    old_before = (before.replicas or 0) - (before.updatedReplicas or 0)
    old_after = (after.replicas or 0) - (after.updatedReplicas or 0)
    return (
        (after.updatedReplicas or 0) > (before.updatedReplicas or 0)
        or old_after < old_before
        or (after.readyReplicas or 0) > (before.readyReplicas or 0)
        or (after.availableReplicas or 0) > (before.availableReplicas or 0)
    )


def decide(deployment: Deployment, sets: Sequence[ReplicaSet], *, old_pods_running: bool, now: float) -> Plan:
    """The next step of `deployment`, whose ReplicaSets are `sets`. Costs O(ReplicaSets), not O(pods)."""
    return _Step(deployment, sets, old_pods_running, now).run()
