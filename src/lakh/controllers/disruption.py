"""PodDisruptionBudgets: how many pods may be evicted now.

`decide` is pure: the budget, its pods and the size their controllers want → the status. The API server's eviction handler lowers `disruptionsAllowed` and
notes the pod in `disruptedPods` in the same object, so the status is written with its resourceVersion.
"""

from __future__ import annotations

from collections.abc import Sequence

from lakh.client.errors import ApiError, is_not_found
from lakh.client.resources import (
    DEPLOYMENTS,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    STATEFULSETS,
    object_reference,
)

from . import clock, informers
from .context import Context, Controller
from .intorpercent import scaled
from .pods import controller_of, is_finished, is_ready
from .selecting import compile_selector
from .statuses import difference, set_condition, status_patch
from .views import Bare, Budget, BudgetStatus, Condition, Deployment, Pod, ReplicaSet, StatefulSet

DISRUPTED_SECONDS = 120.0
"""An eviction that has not led to a deletion after this time does not count any more."""
DELAY_SECONDS = 0.05
"""Pod events are gathered this long."""
_KEEP_ZERO = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods", "observedGeneration")


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
        and now - (clock.parse(at) or 0.0) < DISRUPTED_SECONDS
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
        self._budgets.add_handler(on_add=self._changed, on_update=lambda old, new: self._changed(new))
        self._pods.add_handler(
            on_add=self._pod_changed, on_update=self._pod_updated, on_delete=self._pod_changed
        )

    def resync(self) -> None:
        """Queue every budget."""
        for key in self._budgets.items:
            self.queue.add(key)

    def _changed(self, budget: Budget) -> None:
        self.queue.add(f"{budget.metadata.namespace}/{budget.metadata.name}")

    def _pod_updated(self, old: Pod, new: Pod) -> None:
        self._pod_changed(new)
        if old.metadata.labels != new.metadata.labels:
            self._pod_changed(old)

    def _pod_changed(self, pod: Pod) -> None:
        namespace = pod.metadata.namespace or ""
        for budget in self._budgets.by_index(informers.NAMESPACE, namespace):
            if compile_selector(budget.spec.selector)(pod.metadata.labels):
                self.queue.add_after(f"{namespace}/{budget.metadata.name}", DELAY_SECONDS)

    def _wanted(self, pods: Sequence[Pod]) -> int:
        """The sum of the replicas of the pods' controllers; a pod without a scalable controller counts itself."""
        scales: dict[str, int] = {}
        for pod in pods:
            reference = controller_of(pod.metadata)
            namespace = pod.metadata.namespace
            key = f"{namespace}/{reference.name}" if reference is not None else ""
            if reference is not None and reference.kind == "ReplicaSet" and key in self._sets.items:
                rs = self._sets.items[key]
                owner = controller_of(rs.metadata)
                deployment = (
                    self._deployments.items.get(f"{namespace}/{owner.name}") if owner is not None else None
                )
                if deployment is not None:
                    scales[deployment.metadata.uid] = _or_one(deployment.spec.replicas)
                else:
                    scales[rs.metadata.uid] = _or_one(rs.spec.replicas)
            elif reference is not None and reference.kind == "StatefulSet" and key in self._stateful.items:
                scales[reference.uid] = _or_one(self._stateful.items[key].spec.replicas)
            else:
                scales[pod.metadata.uid] = 1
        return sum(scales.values())

    async def reconcile(self, key: str) -> None:
        """Bring one budget's status up to date."""
        budget = self._budgets.items.get(key)
        if budget is None:
            return
        matches = compile_selector(budget.spec.selector)
        namespace = budget.metadata.namespace or ""
        pods = [
            pod
            for pod in self._pods.by_index(informers.NAMESPACE, namespace)
            if matches(pod.metadata.labels) and not is_finished(pod)
        ]
        if not pods:
            self._recorder.event(
                object_reference(PODDISRUPTIONBUDGETS, budget), "Normal", "NoPods", "No matching pods found"
            )
        status = decide(budget, pods, self._wanted(pods), self.now())
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
                    namespace,
                    subresource="status",
                    type=Bare,
                )
            except ApiError as error:
                if not is_not_found(error):
                    raise
        if status.disruptedPods:
            self.queue.add_after(key, DISRUPTED_SECONDS)


def _or_one(replicas: int | None) -> int:
    return 1 if replicas is None else replicas
