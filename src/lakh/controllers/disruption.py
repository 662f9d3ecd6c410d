"""PodDisruptionBudgets: how many pods may be evicted now.

`decide` is pure: the budget, its pods and the size their controllers want → the status. The API server's eviction handler lowers `disruptionsAllowed` and
notes the pod in `disruptedPods` in the same object, so the status is written with its resourceVersion.

A pod that was marked as a disruption's target and was not deleted within `DISRUPTED_SECONDS` loses the mark again.

A budget whose pods have a controller without a size (a Job, for instance) cannot be computed: it allows nothing, and its condition says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from lakh.client.client import STRATEGIC
from lakh.client.errors import ApiError, is_not_found
from lakh.client.resources import (
    DEPLOYMENTS,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    STATEFULSETS,
    Resource,
    object_reference,
)
from lakh.client.workqueue import WorkQueue

from . import clock, informers
from .context import Context, Controller
from .intorpercent import scaled
from .pods import controller_of, is_finished, is_ready
from .replicationviews import ReplicationController, Scale
from .selecting import compile_selector
from .statuses import difference, plain, set_condition, status_patch
from .views import (
    Bare,
    Budget,
    BudgetStatus,
    Condition,
    Deployment,
    OwnerReference,
    Pod,
    ReplicaSet,
    StatefulSet,
)

DISRUPTED_SECONDS = 120.0
"""An eviction that has not led to a deletion after this time does not count any more."""
DELAY_SECONDS = 0.05
"""Pod events are gathered this long."""
UNMANAGED = (
    "Pods selected by this PodDisruptionBudget (selector: %s) were found to be unmanaged. As a result, the status of the PDB cannot "
    "be calculated correctly, which may result in undefined behavior. To account for these pods please set "
    '".spec.minAvailable" field of the PDB to an integer value.'
)
_KEEP_ZERO = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods", "observedGeneration")


class ScaleError(Exception):
    """The size that a pod's controller wants cannot be found out."""


def counts_controllers(budget: Budget) -> bool:
    """Whether the budget depends on the sizes of its pods' controllers."""
    return budget.spec.maxUnavailable is not None or isinstance(budget.spec.minAvailable, str)


def stale_at(pod: Pod) -> float | None:
    """When the pod's mark as a disruption's target is out of date; `None` when it has none. A kubelet's mark never is."""
    for condition in pod.status.conditions or ():
        if condition.type == "DisruptionTarget":
            if (
                condition.status != "True"
                or condition.reason == "TerminationByKubelet"
                or pod.metadata.deletionTimestamp is not None
                or is_finished(pod)
            ):
                return None
            return (clock.parse(condition.lastTransitionTime) or 0.0) + DISRUPTED_SECONDS
    return None


def decide(budget: Budget, pods: Sequence[Pod], wanted_by_controllers: int, now: float) -> BudgetStatus:
    """Pure: the status. `wanted_by_controllers` is the sum of the replicas that the pods' controllers want."""
    spec = budget.spec
    if spec.maxUnavailable is not None:
        expected = wanted_by_controllers
        desired = max(expected - scaled(spec.maxUnavailable, expected, round_up=True), 0)
    elif isinstance(spec.minAvailable, str):
        expected = wanted_by_controllers
        desired = scaled(spec.minAvailable, expected, round_up=True)
    else:
        expected = len(pods)
        desired = spec.minAvailable or 0
    by_name = {pod.metadata.name: pod for pod in pods}
    disrupted = {
        name: at
        for name, at in (budget.status.disruptedPods or {}).items()
        if name in by_name
        and by_name[name].metadata.deletionTimestamp is None
        and now - (clock.parse(at) or 0.0) <= DISRUPTED_SECONDS
    }
    healthy = sum(
        is_ready(pod) and pod.metadata.deletionTimestamp is None and pod.metadata.name not in disrupted
        for pod in pods
    )
    allowed = max(healthy - desired, 0) if expected > 0 else 0
    condition = Condition(
        type="DisruptionAllowed",
        status="True" if allowed else "False",
        reason="SufficientPods" if allowed else "InsufficientPods",
        message="",
        observedGeneration=budget.metadata.generation,
    )
    return BudgetStatus(
        observedGeneration=budget.metadata.generation,
        disruptedPods=disrupted or None,
        disruptionsAllowed=allowed,
        currentHealthy=healthy,
        desiredHealthy=desired,
        expectedPods=expected,
        conditions=set_condition(budget.status.conditions, condition, now=clock.stamp(now)),
    )


def failed(budget: Budget, why: str, now: float) -> BudgetStatus:
    """Pure: the status of a budget that cannot be computed."""
    condition = Condition(
        type="DisruptionAllowed",
        status="False",
        reason="SyncFailed",
        message=why,
        observedGeneration=budget.status.observedGeneration,
    )
    return msgspec.structs.replace(
        budget.status,
        disruptionsAllowed=0,
        conditions=set_condition(budget.status.conditions, condition, now=clock.stamp(now)),
    )


class DisruptionController(Controller):
    """See the module."""

    name = "disruption-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._recorder = context.recorder("controllermanager")
        self._budgets = context.informers.of(PODDISRUPTIONBUDGETS, Budget, indexes=(informers.NAMESPACE,))
        self._pods = context.informers.of(PODS, Pod, indexes=(informers.NAMESPACE,))
        self._sets = context.informers.of(REPLICASETS, ReplicaSet)
        self._deployments = context.informers.of(DEPLOYMENTS, Deployment)
        self._stateful = context.informers.of(STATEFULSETS, StatefulSet)
        self._replication = context.informers.of(REPLICATIONCONTROLLERS, ReplicationController)
        self.stale = WorkQueue("disruption-stale")
        """Pods marked as disruption targets."""
        self._budgets.add_handler(on_add=self._changed, on_update=lambda old, new: self._changed(new))
        self._pods.add_handler(
            on_add=self._pod_added, on_update=self._pod_updated, on_delete=self._pod_changed
        )

    def resync(self) -> None:
        """Queue every budget, and every pod that is marked."""
        for key in self._budgets.items:
            self.queue.add(key)
        for pod in self._pods.items.values():
            self._note_mark(pod)

    async def run(self) -> None:
        """Work until cancelled."""
        self.resync()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.queue.run(self.reconcile, self.workers))
            group.create_task(self.stale.run(self.unmark, self.workers))

    def _changed(self, budget: Budget) -> None:
        self.queue.add(f"{budget.metadata.namespace}/{budget.metadata.name}")

    def _note_mark(self, pod: Pod) -> None:
        when = stale_at(pod)
        if when is not None:
            key = f"{pod.metadata.namespace}/{pod.metadata.name}"
            self.stale.add_after(key, max(when - self.now(), 0.0))

    def _pod_added(self, pod: Pod) -> None:
        self._pod_changed(pod)
        self._note_mark(pod)

    def _pod_updated(self, old: Pod, new: Pod) -> None:
        self._pod_added(new)
        if old.metadata.labels != new.metadata.labels:
            self._pod_changed(old)

    def _pod_changed(self, pod: Pod) -> None:
        namespace = pod.metadata.namespace or ""
        for budget in self._budgets.by_index(informers.NAMESPACE, namespace):
            if compile_selector(budget.spec.selector)(pod.metadata.labels):
                self.queue.add_after(f"{namespace}/{budget.metadata.name}", DELAY_SECONDS)

    async def _wanted(self, pods: Sequence[Pod]) -> tuple[int, bool]:
        """The sum of the replicas of the pods' controllers, and whether a pod has none. Raises `ScaleError`."""
        owners: dict[str, tuple[OwnerReference, Pod]] = {}
        unmanaged = False
        for pod in pods:
            reference = controller_of(pod.metadata)
            if reference is None:
                unmanaged = True
            else:
                owners.setdefault(reference.uid, (reference, pod))
        scales: dict[str, int] = {}
        for reference, pod in owners.values():
            found = self._known_scale(reference, pod.metadata.namespace or "")
            if found is None:
                found = await self._scale(reference, pod)
            scales[found[0]] = found[1]
        return sum(scales.values()), unmanaged

    def _known_scale(self, reference: OwnerReference, namespace: str) -> tuple[str, int] | None:
        """The uid and the size of a controller of a kind that is watched anyway; a ReplicaSet stands for its Deployment."""
        key = f"{namespace}/{reference.name}"
        group = reference.apiVersion.rpartition("/")[0]
        owner: ReplicationController | StatefulSet | ReplicaSet | Deployment | None = None
        if reference.kind == "ReplicationController" and not group:
            owner = self._replication.items.get(key)
        elif reference.kind == "StatefulSet" and group == "apps":
            owner = self._stateful.items.get(key)
        elif reference.kind == "ReplicaSet" and group == "apps":
            owner = self._sets.items.get(key)
        if owner is None or owner.metadata.uid != reference.uid:
            return None
        above = controller_of(owner.metadata) if isinstance(owner, ReplicaSet) else None
        if above is not None and above.kind == "Deployment":
            deployment = self._deployments.items.get(f"{namespace}/{above.name}")
            if deployment is not None and deployment.metadata.uid == above.uid:
                owner = deployment
        return owner.metadata.uid, 1 if owner.spec.replicas is None else owner.spec.replicas

    async def _scale(self, reference: OwnerReference, pod: Pod) -> tuple[str, int]:
        """The uid and the size of any other controller, by its `scale`."""
        group = reference.apiVersion.rpartition("/")[0]
        resource = await self.context.discovery.of_kind(group, reference.kind)
        if resource is not None:
            try:
                scale = await self.client.get(
                    resource, reference.name, pod.metadata.namespace, subresource="scale", type=Scale
                )
            except ApiError as error:
                if not is_not_found(error):
                    raise ScaleError(str(error)) from error
                if await self._exists(resource, reference, pod):
                    name = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
                    raise ScaleError(f"{name} does not implement the scale subresource") from error
            else:
                if scale.metadata.uid == reference.uid:
                    return reference.uid, scale.spec.replicas or 0
        raise ScaleError(f'found no controllers for pod "{pod.metadata.name}"')

    async def _exists(self, resource: Resource, reference: OwnerReference, pod: Pod) -> bool:
        try:
            await self.client.get(resource, reference.name, pod.metadata.namespace, type=Bare)
        except ApiError as error:
            if is_not_found(error):
                return False
            raise ScaleError(str(error)) from error
        return True

    async def reconcile(self, key: str) -> None:
        """Bring one budget's status up to date."""
        budget = self._budgets.items.get(key)
        if budget is None:
            return
        matches = compile_selector(budget.spec.selector)
        namespace = budget.metadata.namespace or ""
        pods = [
            pod for pod in self._pods.by_index(informers.NAMESPACE, namespace) if matches(pod.metadata.labels)
        ]
        if not pods:
            self._event(budget, "Normal", "NoPods", "No matching pods found")
        wanted, unmanaged = 0, False
        try:
            if counts_controllers(budget):
                wanted, unmanaged = await self._wanted(pods)
        except ScaleError as error:
            message = f"Failed to calculate the number of expected pods: {error}"
            self._event(budget, "Warning", "CalculateExpectedPodCountFailed", message)
            status = failed(budget, str(error), self.now())
        else:
            if unmanaged:
                selector = msgspec.json.encode(plain(budget.spec.selector) or {}).decode()
                self._event(budget, "Warning", "UnmanagedPods", UNMANAGED % selector)
            status = decide(budget, pods, wanted, self.now())
        await self._write(key, budget, status)

    def _event(self, budget: Budget, kind: str, reason: str, message: str) -> None:
        self._recorder.event(object_reference(PODDISRUPTIONBUDGETS, budget), kind, reason, message)

    async def _write(self, key: str, budget: Budget, status: BudgetStatus) -> None:
        patch = difference(budget.status, status, keep_zero=_KEEP_ZERO)
        disrupted = patch.get("disruptedPods")
        if isinstance(disrupted, dict):
            # A merge patch keeps keys that it does not name.
            patch["disruptedPods"] = {**dict.fromkeys(budget.status.disruptedPods or {}), **disrupted}
        if patch:
            try:
                await self.client.patch(
                    PODDISRUPTIONBUDGETS,
                    budget.metadata.name,
                    status_patch(patch, budget.metadata.resourceVersion),
                    budget.metadata.namespace,
                    subresource="status",
                    type=Bare,
                )
            except ApiError as error:
                if not is_not_found(error):
                    raise
        if status.disruptedPods:
            first = min(clock.parse(at) or 0.0 for at in status.disruptedPods.values())
            self.queue.add_after(key, max(first + DISRUPTED_SECONDS - self.now(), 0.0) + 1.0)

    async def unmark(self, key: str) -> None:
        """Take back the mark of a pod that was to be disrupted and is still there."""
        pod = self._pods.items.get(key)
        when = stale_at(pod) if pod is not None else None
        if pod is None or when is None:
            return
        if when > self.now():
            self.stale.add_after(key, when - self.now())
            return
        condition = {
            "type": "DisruptionTarget",
            "status": "False",
            "reason": None,
            "message": None,
            "lastTransitionTime": clock.stamp(self.now()),
        }
        metadata = pod.metadata
        patch = {
            "metadata": {"uid": metadata.uid, "resourceVersion": metadata.resourceVersion},
            "status": {"conditions": [condition]},
        }
        try:
            await self.client.patch(
                PODS,
                metadata.name,
                patch,
                metadata.namespace,
                patch_type=STRATEGIC,
                subresource="status",
                type=Bare,
            )
        except ApiError as error:
            if not is_not_found(error):
                raise
