"""ReplicaSets, and ReplicationControllers which came before them: keep the wanted number of pods that match the selector.

`decide` is pure: the ReplicaSet and its pods in, how many to create and which to delete out. The shell claims pods, carries the plan out with
many requests in flight, and patches the status. A sync costs O(pods of the ReplicaSet); events of pods are coalesced by the queue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lakh.client.errors import ApiError, is_namespace_terminating, is_not_found
from lakh.client.informer import Informer
from lakh.client.resources import PODS, REPLICASETS, REPLICATIONCONTROLLERS, object_reference

from . import clock, informers
from .bursts import all_of, slow_start
from .claiming import carry_out, claim
from .context import Context, Controller
from .expectations import Expectations
from .pods import (
    PodMaker,
    controller_of,
    controller_reference,
    decode_template,
    deletion_rank,
    is_active,
    is_available,
    is_ready,
    is_terminating,
    pod_prefix,
)
from .replicationviews import ReplicationController
from .selecting import compile_selector
from .statuses import difference, set_condition, status_patch, without_condition
from .views import Bare, Condition, Meta, Pod, ReplicaSet, ReplicaSetStatus

BURST = 500
"""Pods created or deleted in one sync at most, as upstream's BurstReplicas."""

LARGE = 200
"""Replicas from which on pod events are gathered."""
DELAY_PER_POD_SECONDS = 5e-5
MAX_DELAY_SECONDS = 1.0

KEEP_ZERO = ("replicas", "terminatingReplicas", "observedGeneration")
"""Status fields that are written even when zero."""


@dataclass
class Plan:
    """Pods to create and to delete."""

    create: int = 0
    delete: list[Pod] = field(default_factory=list)


def decide(
    rs: ReplicaSet, active: Sequence[Pod], doubled_up: Callable[[], Mapping[str, int]], now: float
) -> Plan:
    """What is missing or too much. `doubled_up` counts related pods per node, for the choice of victims; it is asked only then."""
    wanted = 1 if rs.spec.replicas is None else rs.spec.replicas
    surplus = len(active) - wanted
    if surplus < 0:
        return Plan(create=min(-surplus, BURST))
    if surplus == 0:
        return Plan()
    surplus = min(surplus, BURST)
    if wanted == 0:
        return Plan(delete=list(active[:surplus]))
    related = doubled_up()
    ranked = sorted(active, key=lambda pod: deletion_rank(pod, related.get(pod.spec.nodeName or "", 0), now))
    return Plan(delete=ranked[:surplus])


def count(
    rs: ReplicaSet,
    pods: Iterable[Pod],
    template_labels: Mapping[str, str],
    failure: Condition | None,
    now: float,
) -> ReplicaSetStatus:
    """The status that follows from the pods. `failure` is the ReplicaFailure condition, if the last sync failed."""
    min_ready = rs.spec.minReadySeconds or 0
    replicas = labeled = ready = available = terminating = 0
    for pod in pods:
        if is_terminating(pod):
            terminating += 1
        if not is_active(pod):
            continue
        replicas += 1
        labels = pod.metadata.labels or {}
        if all(labels.get(key) == value for key, value in template_labels.items()):
            labeled += 1
        if is_ready(pod):
            ready += 1
            if is_available(pod, min_ready, now):
                available += 1
    conditions = rs.status.conditions
    if failure is None:
        conditions = without_condition(conditions, "ReplicaFailure")
    elif not any(condition.type == "ReplicaFailure" for condition in conditions or ()):
        conditions = set_condition(conditions, failure, now=clock.stamp(now))
    return ReplicaSetStatus(
        replicas=replicas,
        fullyLabeledReplicas=labeled,
        readyReplicas=ready,
        availableReplicas=available,
        terminatingReplicas=terminating,
        observedGeneration=rs.metadata.generation,
        conditions=conditions,
    )


class ReplicaSetController(Controller):
    """See the module."""

    name = "replicaset-controller"
    resource = REPLICASETS
    view: type[Any] = ReplicaSet
    keep_zero: tuple[str, ...] = KEEP_ZERO

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._expectations = Expectations(context.monotonic)
        self._recorder = context.recorder(self.name)
        self._sets: Informer[Any] = context.informers.of(
            self.resource, self.view, indexes=(informers.CONTROLLER, informers.NAMESPACE)
        )
        self._pods = context.informers.of(PODS, Pod, indexes=(informers.CONTROLLER, informers.ORPHANS))
        self._sets.add_handler(
            on_add=self._changed, on_update=lambda old, new: self._changed(new), on_delete=self._gone
        )
        context.informers.owned_pods.add_handler(
            self.resource.kind,
            on_add=self._pod_added,
            on_update=self._pod_updated,
            on_delete=self._pod_deleted,
        )

    def resync(self) -> None:
        """Queue every ReplicaSet."""
        for key in self._sets.items:
            self.queue.add(key)

    # ------------------------------------------------------------ events

    def _changed(self, rs: ReplicaSet) -> None:
        self.queue.add(_key(rs.metadata))

    def _gone(self, rs: ReplicaSet) -> None:
        self._expectations.forget(_key(rs.metadata))
        self.queue.add(_key(rs.metadata))

    def _owner_key(self, pod: Pod) -> str | None:
        reference = controller_of(pod.metadata)
        if reference is None or reference.kind != self.resource.kind:
            return None
        return f"{pod.metadata.namespace}/{reference.name}"

    def _pod_added(self, pod: Pod) -> None:
        key = self._owner_key(pod)
        if key is None:
            self._orphan(pod)
        elif pod.metadata.deletionTimestamp is not None:
            self._pod_deleted(pod)
        else:
            self._expectations.added(key)
            self._gently(key)

    def _gently(self, key: str) -> None:
        """Queue at once, or for large sets after a while: a sync costs O(pods), so their events are gathered."""
        rs = self._sets.items.get(key)
        replicas = (rs.spec.replicas or 0) if rs is not None else 0
        if replicas < LARGE:
            self.queue.add(key)
        else:
            self.queue.add_after(key, min(replicas * DELAY_PER_POD_SECONDS, MAX_DELAY_SECONDS))

    def _pod_updated(self, old: Pod, new: Pod) -> None:
        key = self._owner_key(new)
        old_key = self._owner_key(old)
        if old_key is not None and old_key != key:
            self.queue.add(old_key)
        if key is None:
            if old_key is not None or old.metadata.labels != new.metadata.labels:
                self._orphan(new)
            return
        if new.metadata.deletionTimestamp is not None:
            self._expectations.deleted(key, new.metadata.uid)
        self._gently(key)
        rs = self._sets.items.get(key)
        if rs is not None and rs.spec.minReadySeconds and is_ready(new) and not is_ready(old):
            # One second more, because the condition's time has whole seconds.
            self.queue.add_after(key, rs.spec.minReadySeconds + 1)

    def _pod_deleted(self, pod: Pod) -> None:
        key = self._owner_key(pod)
        if key is not None:
            self._expectations.deleted(key, pod.metadata.uid)
            self._gently(key)

    def _orphan(self, pod: Pod) -> None:
        """A pod nobody controls: whoever selects it may want to adopt it."""
        if not pod.metadata.labels or controller_of(pod.metadata) is not None:
            return
        for rs in self._sets.by_index(informers.NAMESPACE, pod.metadata.namespace or ""):
            if compile_selector(rs.spec.selector)(pod.metadata.labels):
                self.queue.add(_key(rs.metadata))

    # ------------------------------------------------------------ sync

    async def reconcile(self, key: str) -> None:
        """Bring one ReplicaSet to its replicas."""
        rs = self._sets.items.get(key)
        if rs is None:
            self._expectations.forget(key)
            return
        satisfied = self._expectations.satisfied(key)
        pods = await self._claim(rs)
        error: BaseException | None = None
        failure: Condition | None = None
        if satisfied and rs.metadata.deletionTimestamp is None:
            active = [pod for pod in pods if is_active(pod)]
            plan = decide(rs, active, lambda: self._doubled_up(rs), self.now())
            error = await self._carry_out(key, rs, plan)
            if error is not None:
                failure = Condition(
                    type="ReplicaFailure",
                    status="True",
                    reason="FailedCreate" if plan.create else "FailedDelete",
                    message=str(error),
                )
        elif any(condition.type == "ReplicaFailure" for condition in rs.status.conditions or ()):
            failure = Condition(type="ReplicaFailure", status="True")
        await self._write_status(key, rs, pods, failure)
        if error is not None:
            raise error

    async def _claim(self, rs: ReplicaSet) -> list[Pod]:
        plan = claim(
            owner_deleting=rs.metadata.deletionTimestamp is not None,
            matches=compile_selector(rs.spec.selector),
            mine=self._pods.by_index(informers.CONTROLLER, rs.metadata.uid),
            orphans=self._pods.by_index(informers.ORPHANS, rs.metadata.namespace or ""),
            skip=lambda pod: not is_active(pod),
        )
        if not plan.adopt and not plan.release:
            return plan.owned
        return await carry_out(
            self.client,
            plan,
            owner=self.resource,
            owner_metadata=rs.metadata,
            reference=self._reference(rs),
            resource=PODS,
        )

    def _reference(self, rs: ReplicaSet) -> dict[str, Any]:
        """The owner reference of its pods."""
        return controller_reference(self.resource.api_version, self.resource.kind, rs.metadata)

    def _doubled_up(self, rs: ReplicaSet) -> Counter[str]:
        """Active pods per node of the ReplicaSets with the same owner."""
        owner = controller_of(rs.metadata)
        related = [rs] if owner is None else self._sets.by_index(informers.CONTROLLER, owner.uid)
        return Counter(
            pod.spec.nodeName
            for one in related
            for pod in self._pods.by_index(informers.CONTROLLER, one.metadata.uid)
            if pod.spec.nodeName and is_active(pod)
        )

    async def _carry_out(self, key: str, rs: ReplicaSet, plan: Plan) -> BaseException | None:
        reference = object_reference(self.resource, rs)
        namespace = rs.metadata.namespace
        if plan.create:
            maker = PodMaker(
                rs.spec.template,
                owner=self._reference(rs),
                prefix=pod_prefix(rs.metadata.name),
            )
            body = maker.make()

            async def create(_: int) -> None:
                try:
                    pod = await self.client.create(PODS, body, namespace, type=Bare)
                except ApiError as error:
                    if not is_namespace_terminating(error):
                        message = f"Error creating: {error}"
                        self._recorder.event(reference, "Warning", "FailedCreate", message)
                    raise
                self._recorder.event(
                    reference, "Normal", "SuccessfulCreate", f"Created pod: {pod.metadata.name}"
                )

            self._expectations.expect_additions(key, plan.create)
            succeeded, error = await slow_start(range(plan.create), create)
            self._expectations.added(key, plan.create - succeeded)
            if isinstance(error, ApiError) and is_namespace_terminating(error):
                return None  # the pods would be deleted at once
            return error
        if plan.delete:
            self._expectations.expect_deletions(key, [pod.metadata.uid for pod in plan.delete])

            async def delete(pod: Pod) -> None:
                name = pod.metadata.name
                try:
                    await self.client.delete(PODS, name, namespace, uid=pod.metadata.uid)
                except BaseException as error:
                    self._expectations.deleted(key, pod.metadata.uid)
                    if isinstance(error, ApiError) and is_not_found(error):
                        return
                    self._recorder.event(reference, "Warning", "FailedDelete", f"Error deleting: {error}")
                    raise
                self._recorder.event(reference, "Normal", "SuccessfulDelete", f"Deleted pod: {name}")

            return await all_of(plan.delete, delete)
        return None

    async def _write_status(
        self, key: str, rs: ReplicaSet, pods: Sequence[Pod], failure: Condition | None
    ) -> None:
        metadata = decode_template(rs.spec.template).metadata
        status = count(rs, pods, (metadata and metadata.labels) or {}, failure, self.now())
        if "terminatingReplicas" not in self.keep_zero:
            status.terminatingReplicas = None
        patch = difference(rs.status, status, keep_zero=self.keep_zero)
        if patch:
            # No resourceVersion: this controller alone writes the status, and observedGeneration says what it has seen.
            try:
                await self.client.patch(
                    self.resource,
                    rs.metadata.name,
                    status_patch(patch),
                    rs.metadata.namespace,
                    subresource="status",
                    type=Bare,
                )
            except ApiError as error:
                if not is_not_found(error):
                    raise
        min_ready = rs.spec.minReadySeconds or 0
        if min_ready and status.readyReplicas != status.availableReplicas:
            self.queue.add_after(key, self._next_available_seconds(pods, min_ready))

    def _next_available_seconds(self, pods: Iterable[Pod], min_ready: int) -> float:
        now = self.now()
        waits = [
            since + min_ready - now
            for pod in pods
            if (since := _ready_since(pod)) is not None and since + min_ready > now
        ]
        return max(min(waits, default=1.0), 0.05)


class ReplicationManager(ReplicaSetController):
    """The same for ReplicationControllers."""

    name = "replicationcontroller-controller"
    resource = REPLICATIONCONTROLLERS
    view = ReplicationController
    keep_zero = ("replicas", "observedGeneration")


def _ready_since(pod: Pod) -> float | None:
    for condition in pod.status.conditions or ():
        if condition.type == "Ready" and condition.status == "True":
            return clock.parse(condition.lastTransitionTime)
    return None


def _key(metadata: Meta) -> str:
    return f"{metadata.namespace}/{metadata.name}"


__all__ = ["Plan", "ReplicaSetController", "ReplicationManager", "count", "decide"]
