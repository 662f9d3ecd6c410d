"""Deployments: the shell around `rollout.decide`.

It claims ReplicaSets, carries one step out, and patches the status. Pods are looked at only by the Recreate strategy, which must know that the
old ones are gone.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lakh.client.errors import ApiError, is_already_exists, is_namespace_terminating, is_not_found
from lakh.client.resources import DEPLOYMENTS, PODS, REPLICASETS, object_reference

from . import clock, informers, rollout
from .claiming import carry_out, claim
from .context import Context, Controller
from .pods import controller_of, controller_reference, is_finished
from .rollout import Creation, Plan
from .selecting import compile_selector
from .statuses import difference, plain, set_condition, status_patch
from .views import Bare, Condition, Deployment, Meta, Object, Pod, ReplicaSet

FAILED_CREATE = "ReplicaSetCreateError"
KEEP_ZERO = ("observedGeneration", "terminatingReplicas")


class DeploymentController(Controller):
    """See the module."""

    name = "deployment-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._recorder = context.recorder(self.name)
        self._deployments = context.informers.of(DEPLOYMENTS, Deployment, indexes=(informers.NAMESPACE,))
        self._sets = context.informers.of(
            REPLICASETS, ReplicaSet, indexes=(informers.CONTROLLER, informers.ORPHANS)
        )
        self._pods = context.informers.of(PODS, Pod, indexes=(informers.CONTROLLER,))
        self._deployments.add_handler(
            on_add=self._changed, on_update=lambda old, new: self._changed(new), on_delete=self._changed
        )
        self._sets.add_handler(
            on_add=self._set_changed, on_update=self._set_updated, on_delete=self._set_changed
        )
        context.informers.owned_pods.add_handler("ReplicaSet", on_delete=self._pod_deleted)

    def resync(self) -> None:
        """Queue every Deployment."""
        for key in self._deployments.items:
            self.queue.add(key)

    def _changed(self, deployment: Deployment) -> None:
        self.queue.add(_key(deployment.metadata))

    def _set_updated(self, old: ReplicaSet, new: ReplicaSet) -> None:
        if controller_of(old.metadata) != controller_of(new.metadata):
            self._set_changed(old)
        self._set_changed(new)

    def _set_changed(self, rs: ReplicaSet) -> None:
        reference = controller_of(rs.metadata)
        if reference is not None:
            if reference.kind == "Deployment":
                self.queue.add(f"{rs.metadata.namespace}/{reference.name}")
            return
        for deployment in self._deployments.by_index(informers.NAMESPACE, rs.metadata.namespace or ""):
            if compile_selector(deployment.spec.selector)(rs.metadata.labels):
                self._changed(deployment)

    def _pod_deleted(self, pod: Pod) -> None:
        """The last old pod going lets Recreate move on."""
        reference = controller_of(pod.metadata)
        if reference is None or reference.kind != "ReplicaSet":
            return
        rs = self._sets.items.get(f"{pod.metadata.namespace}/{reference.name}")
        owner = controller_of(rs.metadata) if rs is not None else None
        if owner is None:
            return
        key = f"{pod.metadata.namespace}/{owner.name}"
        deployment = self._deployments.items.get(key)
        if deployment is not None and _recreates(deployment):
            self.queue.add(key)

    async def reconcile(self, key: str) -> None:
        """Take the next step of one Deployment."""
        deployment = self._deployments.items.get(key)
        if deployment is None:
            return
        selector = deployment.spec.selector
        if selector is not None and not selector.matchLabels and not selector.matchExpressions:
            self._recorder.event(
                object_reference(DEPLOYMENTS, deployment),
                "Warning",
                "SelectingAll",
                "This deployment is selecting all pods. A non-empty selector is required.",
            )
            return
        sets = await self._claim(deployment)
        running = _recreates(deployment) and self._old_pods_running(deployment, sets)
        plan = rollout.decide(deployment, sets, old_pods_running=running, now=self.now())
        await self._carry_out(deployment, plan)
        patch = difference(deployment.status, plan.status, keep_zero=KEEP_ZERO)
        if patch:
            await self._patch_status(deployment, patch)
        if plan.requeue_seconds is not None:
            self.queue.add_after(key, plan.requeue_seconds)

    async def _claim(self, deployment: Deployment) -> list[ReplicaSet]:
        metadata = deployment.metadata
        plan = claim(
            owner_deleting=metadata.deletionTimestamp is not None,
            matches=compile_selector(deployment.spec.selector),
            mine=self._sets.by_index(informers.CONTROLLER, metadata.uid),
            orphans=self._sets.by_index(informers.ORPHANS, metadata.namespace or ""),
            skip=lambda rs: False,
        )
        if not plan.adopt and not plan.release:
            return plan.owned
        return await carry_out(
            self.client,
            plan,
            owner=DEPLOYMENTS,
            owner_metadata=metadata,
            reference=controller_reference("apps/v1", "Deployment", metadata),
            resource=REPLICASETS,
        )

    def _old_pods_running(self, deployment: Deployment, sets: list[ReplicaSet]) -> bool:
        new = rollout.find_new(deployment, sets)
        return any(
            not is_finished(pod)
            for rs in sets
            if rs is not new
            for pod in self._pods.by_index(informers.CONTROLLER, rs.metadata.uid)
        )

    async def _carry_out(self, deployment: Deployment, plan: Plan) -> None:
        if plan.create is not None:
            await self._create(deployment, plan.create)
        if plan.min_ready is not None:
            # Alone: what it changes is seen before anything else is done.
            rs, seconds = plan.min_ready
            await self._patch(rs, {"spec": {"minReadySeconds": seconds}})
            return
        annotations = dict(rollout.size_annotations(deployment))
        scaled = {rs.metadata.uid for rs, _ in plan.scale}
        changes = {rs.metadata.uid: change for rs, change in plan.annotate}
        for rs, change in plan.annotate:
            if rs.metadata.uid not in scaled:
                await self._patch_set(rs, change, None)
        for rs, replicas in plan.scale:
            before = rollout.size(rs)
            await self._patch_set(rs, {**changes.get(rs.metadata.uid, {}), **annotations}, replicas)
            direction = "up" if replicas > before else "down"
            self._event(
                deployment,
                f"Scaled {direction} replica set {rs.metadata.name} from {before} to {replicas}",
            )
        for rs in plan.delete:
            try:
                await self.client.delete(
                    REPLICASETS, rs.metadata.name, rs.metadata.namespace, uid=rs.metadata.uid
                )
            except ApiError as error:
                if not is_not_found(error):
                    raise
        present = (deployment.metadata.annotations or {}).get(rollout.REVISION)
        if plan.revision is not None and present != plan.revision:
            # Through the status, where a change of annotations does not count as a new generation.
            await self.client.patch(
                DEPLOYMENTS,
                deployment.metadata.name,
                {"metadata": {"annotations": {rollout.REVISION: plan.revision}}},
                deployment.metadata.namespace,
                subresource="status",
                type=Bare,
            )

    def _event(self, deployment: Deployment, message: str) -> None:
        reference = object_reference(DEPLOYMENTS, deployment)
        self._recorder.event(reference, "Normal", "ScalingReplicaSet", message)

    async def _patch_set(self, rs: ReplicaSet, annotations: dict[str, str], replicas: int | None) -> None:
        patch: dict[str, Any] = {"metadata": {"annotations": annotations}}
        if replicas is not None:
            patch["spec"] = {"replicas": replicas}
        await self._patch(rs, patch)

    async def _patch(self, rs: ReplicaSet, patch: dict[str, Any]) -> None:
        metadata = {"resourceVersion": rs.metadata.resourceVersion, **patch.get("metadata", {})}
        patch = {**patch, "metadata": metadata}
        await self.client.patch(REPLICASETS, rs.metadata.name, patch, rs.metadata.namespace, type=Bare)

    async def _create(self, deployment: Deployment, creation: Creation) -> None:
        metadata = deployment.metadata
        body = replica_set(deployment, creation)
        try:
            await self.client.create(REPLICASETS, body, metadata.namespace, type=Bare)
        except ApiError as error:
            if is_already_exists(error):
                await self._collided(deployment, creation)
                return
            await self._create_failed(deployment, creation, error)
            raise
        if creation.replicas > 0:
            self._event(deployment, f"Scaled up replica set {creation.name} from 0 to {creation.replicas}")

    async def _create_failed(self, deployment: Deployment, creation: Creation, error: ApiError) -> None:
        """Tell why there is no new ReplicaSet; in a namespace that is going nobody asks."""
        if is_namespace_terminating(error):
            return
        message = f'Failed to create new replica set "{creation.name}": {error}'
        self._recorder.event(object_reference(DEPLOYMENTS, deployment), "Warning", FAILED_CREATE, message)
        if not rollout.has_deadline(deployment):
            return
        condition = Condition(type="Progressing", status="False", reason=FAILED_CREATE, message=message)
        before = deployment.status
        conditions = set_condition(
            before.conditions, condition, now=clock.stamp(self.now()), update_time=True
        )
        patch = difference(
            before, msgspec.structs.replace(before, conditions=conditions), keep_zero=KEEP_ZERO
        )
        if patch:
            await self._patch_status(deployment, patch)

    async def _collided(self, deployment: Deployment, creation: Creation) -> None:
        """The name is taken: by our own ReplicaSet that memory does not show yet, or by another template with the same hash."""
        metadata = deployment.metadata
        live = await self.client.get(REPLICASETS, creation.name, metadata.namespace, type=ReplicaSet)
        owner = controller_of(live.metadata)
        if owner is not None and owner.uid == metadata.uid:
            wanted = rollout.template_of(deployment.spec.template)
            if rollout.template_of(live.spec.template) == wanted:
                return
        current = await self.client.get(DEPLOYMENTS, metadata.name, metadata.namespace, type=Object)
        if current.metadata.uid != metadata.uid:
            return
        count = (deployment.status.collisionCount or 0) + 1
        await self._patch_status(deployment, {"collisionCount": count})
        raise RuntimeError(f"hash collision of {creation.name}: trying another one")

    async def _patch_status(self, deployment: Deployment, patch: dict[str, Any]) -> None:
        try:
            await self.client.patch(
                DEPLOYMENTS,
                deployment.metadata.name,
                status_patch(patch),
                deployment.metadata.namespace,
                subresource="status",
                type=Bare,
            )
        except ApiError as error:
            if not is_not_found(error):
                raise


def replica_set(deployment: Deployment, creation: Creation) -> bytes:
    """The new ReplicaSet of a Deployment, encoded."""
    template = msgspec.json.decode(deployment.spec.template)
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    labels[rollout.HASH_LABEL] = creation.hash
    selector = plain(deployment.spec.selector) or {}
    selector.setdefault("matchLabels", {})[rollout.HASH_LABEL] = creation.hash
    return msgspec.json.encode(
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": creation.name,
                "labels": labels,
                "annotations": creation.annotations,
                "ownerReferences": [controller_reference("apps/v1", "Deployment", deployment.metadata)],
            },
            "spec": {
                "replicas": creation.replicas,
                "minReadySeconds": deployment.spec.minReadySeconds or 0,
                "selector": selector,
                "template": template,
            },
        }
    )


def _recreates(deployment: Deployment) -> bool:
    return deployment.spec.strategy is not None and deployment.spec.strategy.type == "Recreate"


def _key(metadata: Meta) -> str:
    return f"{metadata.namespace}/{metadata.name}"
