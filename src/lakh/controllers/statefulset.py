"""StatefulSets: pods with a name, a place in order and claims of their own.

`decide` is pure. With `OrderedReady` it makes one step at a time: the lowest missing ordinal is created only when all below it are available, the
highest surplus one is deleted only when all that are wanted are, and not while it and a surplus one below it are broken. With `Parallel` there is
no waiting. A rolling update replaces pods from the highest ordinal down to the partition, one at a time, and waits for each; with
`maxUnavailable` that many are replaced at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lakh.client.errors import ApiError, is_already_exists, is_not_found
from lakh.client.resources import PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS, object_reference
from lakh.machinery import gonumbers
from lakh.machinery.volumes import ClaimView

from . import claimretention, informers
from .bursts import all_of
from .claiming import carry_out, claim
from .context import Context, Controller
from .expectations import Expectations
from .intorpercent import scaled
from .pods import (
    PodMaker,
    controller_of,
    controller_reference,
    is_active,
    is_available,
    is_finished,
    is_ready,
)
from .revisions import HASH_LABEL, HashCollisionError, Histories, hash_of
from .selecting import compile_selector
from .statuses import difference, status_patch
from .views import Bare, ControllerRevision, Meta, Pod, StatefulSet, StatefulSetStatus

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"
MIN_READY_CHECK_SECONDS = 1.0
STALE_CLAIM_SECONDS = 1.0
"""A pod whose claims are still going with an earlier one is tried again after this time."""
_KEEP_ZERO = ("replicas", "availableReplicas", "observedGeneration", "collisionCount")


@dataclass
class Plan:
    """Ordinals to create (with the revision's name), pods to delete, and the status."""

    create: list[tuple[int, str]] = field(default_factory=list)
    delete: list[Pod] = field(default_factory=list)
    status: StatefulSetStatus = field(default_factory=StatefulSetStatus)


def ordinal_of(parent: str, pod: Pod) -> int | None:
    """The ordinal in the pod's name; `None` when it is no name of this set's."""
    start, dash, number = pod.metadata.name.rpartition("-")
    return int(number) if dash and start == parent and gonumbers.is_uint(number) else None


def _revision(pod: Pod) -> str:
    return (pod.metadata.labels or {}).get(HASH_LABEL, "")


def wanted_ordinals(stateful: StatefulSet) -> range:
    """The ordinals that should have a pod."""
    spec = stateful.spec
    first = (spec.ordinals.start or 0) if spec.ordinals is not None else 0
    return range(first, first + (1 if spec.replicas is None else spec.replicas))


def decide(stateful: StatefulSet, pods: Sequence[Pod], current: str, update: str, now: float) -> Plan:
    """Pure: the next step. `current` and `update` are the names of the two revisions."""
    spec = stateful.spec
    wanted = wanted_ordinals(stateful)
    replicas, first = len(wanted), wanted.start
    min_ready = spec.minReadySeconds or 0
    by_ordinal = {
        ordinal: pod for pod in pods if (ordinal := ordinal_of(stateful.metadata.name, pod)) is not None
    }
    plan = Plan(status=_count(stateful, by_ordinal, current, update, replicas, now))
    if stateful.metadata.deletionTimestamp is not None:
        return plan
    parallel = spec.podManagementPolicy == "Parallel"
    rolling = spec.updateStrategy.rollingUpdate if spec.updateStrategy is not None else None
    partition = (rolling.partition or 0) if rolling is not None else 0
    on_delete = spec.updateStrategy is not None and spec.updateStrategy.type == "OnDelete"

    def revision_for(ordinal: int) -> str:
        if on_delete:
            return update
        if partition and ordinal < first + partition:
            return current
        # Without a partition, what the update has not reached yet comes back as it was.
        if not partition and ordinal < first + (plan.status.currentReplicas or 0):
            return current
        return update

    healthy = True
    for ordinal in wanted:
        pod = by_ordinal.get(ordinal)
        if pod is None:
            plan.create.append((ordinal, revision_for(ordinal)))
        elif is_finished(pod) and pod.metadata.deletionTimestamp is None:
            plan.delete.append(pod)
        elif pod.metadata.deletionTimestamp is None and is_available(pod, min_ready, now):
            continue
        healthy = False
        if not parallel:
            return plan

    def works(pod: Pod) -> bool:
        return pod.metadata.deletionTimestamp is None and is_available(pod, min_ready, now)

    surplus = sorted((ordinal for ordinal in by_ordinal if ordinal not in wanted), reverse=True)
    broken = [ordinal for ordinal in surplus if not works(by_ordinal[ordinal])]
    for ordinal in surplus:
        pod = by_ordinal[ordinal]
        if not parallel and ordinal in broken and ordinal != broken[-1]:
            # Scaling down halts at a broken pod while one below it is broken, too.
            return plan
        if pod.metadata.deletionTimestamp is None:
            plan.delete.append(pod)
        if not parallel:
            return plan
    if plan.create or plan.delete or on_delete or not (healthy or parallel):
        return plan
    pods_down = [by_ordinal[ordinal] for ordinal in reversed(wanted) if ordinal >= first + partition]
    if rolling is not None and rolling.maxUnavailable is not None:
        limit = max(scaled(rolling.maxUnavailable, replicas, round_up=False), 1)
        room = limit - sum(not works(by_ordinal[ordinal]) for ordinal in wanted)
        old = [
            pod for pod in pods_down if _revision(pod) != update and pod.metadata.deletionTimestamp is None
        ]
        plan.delete.extend(old[: max(room, 0)])
        return plan
    for pod in pods_down:
        if _revision(pod) != update and pod.metadata.deletionTimestamp is None:
            plan.delete.append(pod)
            break
        if not works(pod):
            break
    return plan


def _count(
    stateful: StatefulSet, by_ordinal: dict[int, Pod], current: str, update: str, replicas: int, now: float
) -> StatefulSetStatus:
    min_ready = stateful.spec.minReadySeconds or 0
    alive = [pod for pod in by_ordinal.values() if not is_finished(pod)]
    ready = [pod for pod in alive if is_ready(pod)]
    active = [pod for pod in alive if is_active(pod)]
    status = StatefulSetStatus(
        observedGeneration=stateful.metadata.generation,
        replicas=len(alive),
        readyReplicas=len(ready),
        availableReplicas=sum(is_available(pod, min_ready, now) for pod in ready),
        currentReplicas=sum(_revision(pod) == current for pod in active),
        updatedReplicas=sum(_revision(pod) == update for pod in active),
        currentRevision=current,
        updateRevision=update,
        collisionCount=stateful.status.collisionCount or 0,
    )
    if status.updatedReplicas == replicas == len(ready) == len(alive):
        status.currentRevision = update
        status.currentReplicas = status.updatedReplicas
    return status


def claim_name(template_name: str, pod_name: str) -> str:
    """The name of a pod's claim."""
    return f"{template_name}-{pod_name}"


def stateful_pod(stateful: StatefulSet, revision: ControllerRevision, ordinal: int) -> bytes:
    """One pod, encoded, of the template that the revision stores."""
    template = msgspec.json.decode(revision.data)["spec"]["template"]
    template.pop("$patch", None)
    name = f"{stateful.metadata.name}-{ordinal}"
    spec = template["spec"]
    spec["hostname"] = name
    spec["subdomain"] = stateful.spec.serviceName or ""
    claims = [claim["metadata"]["name"] for claim in stateful.spec.volumeClaimTemplates or ()]
    volumes = [volume for volume in spec.get("volumes") or () if volume["name"] not in claims]
    volumes += [
        {"name": claim, "persistentVolumeClaim": {"claimName": claim_name(claim, name), "readOnly": False}}
        for claim in claims
    ]
    if volumes:
        spec["volumes"] = volumes
    maker = PodMaker(
        msgspec.json.encode(template),
        owner=controller_reference("apps/v1", "StatefulSet", stateful.metadata),
        labels={HASH_LABEL: revision.metadata.name, POD_NAME_LABEL: name, POD_INDEX_LABEL: str(ordinal)},
    )
    return maker.make(name=name)


class StatefulSetController(Controller):
    """See the module."""

    name = "statefulset-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._expectations = Expectations(context.monotonic)
        self._recorder = context.recorder(self.name)
        self._histories = Histories(context, STATEFULSETS)
        self._sets = context.informers.of(STATEFULSETS, StatefulSet)
        self._claims = context.informers.of(PERSISTENTVOLUMECLAIMS, ClaimView)
        self._pods = context.informers.of(PODS, Pod, indexes=(informers.CONTROLLER, informers.ORPHANS))
        self._sets.add_handler(
            on_add=self._changed, on_update=lambda old, new: self._changed(new), on_delete=self._gone
        )
        context.informers.owned_pods.add_handler(
            "StatefulSet",
            on_add=self._pod_added,
            on_update=lambda old, new: self._pod_changed(new),
            on_delete=self._pod_deleted,
        )

    def resync(self) -> None:
        """Queue every StatefulSet."""
        for key in self._sets.items:
            self.queue.add(key)

    def _changed(self, stateful: StatefulSet) -> None:
        self.queue.add(_key(stateful.metadata))

    def _gone(self, stateful: StatefulSet) -> None:
        self._expectations.forget(_key(stateful.metadata))

    def _owner_key(self, pod: Pod) -> str | None:
        reference = controller_of(pod.metadata)
        if reference is None or reference.kind != "StatefulSet":
            return None
        return f"{pod.metadata.namespace}/{reference.name}"

    def _pod_added(self, pod: Pod) -> None:
        key = self._owner_key(pod)
        if key is not None:
            self._expectations.added(key)
        self._pod_changed(pod)

    def _pod_changed(self, pod: Pod) -> None:
        key = self._owner_key(pod)
        if key is None:
            return
        if pod.metadata.deletionTimestamp is not None:
            self._expectations.deleted(key, pod.metadata.uid)
        self.queue.add(key)

    def _pod_deleted(self, pod: Pod) -> None:
        key = self._owner_key(pod)
        if key is not None:
            self._expectations.deleted(key, pod.metadata.uid)
            self.queue.add(key)

    async def reconcile(self, key: str) -> None:
        """Take the next step of one StatefulSet."""
        stateful = self._sets.items.get(key)
        if stateful is None:
            return
        metadata = stateful.metadata
        try:
            update = await self._histories.current(
                metadata, stateful.spec.template, stateful.status.collisionCount
            )
        except HashCollisionError:
            await self._patch_status(stateful, {"collisionCount": (stateful.status.collisionCount or 0) + 1})
            raise
        revisions = {revision.metadata.name: revision for revision in self._histories.of(metadata)}
        revisions[update.metadata.name] = update
        current = revisions.get(stateful.status.currentRevision or "", update)
        pods = await self._claim(stateful)
        plan = decide(stateful, pods, current.metadata.name, update.metadata.name, self.now())
        error: BaseException | None = None
        if metadata.deletionTimestamp is None:
            await self._own_claims(stateful, pods)
        if self._expectations.satisfied(key):
            error = await self._carry_out(key, stateful, plan, revisions)
        patch = difference(stateful.status, plan.status, keep_zero=_KEEP_ZERO)
        if patch:
            await self._patch_status(stateful, patch)
        used = {current.metadata.name, update.metadata.name, *map(_revision, pods)}
        live = {hash_of(revision) for name, revision in revisions.items() if name in used}
        await self._histories.prune(metadata, live, stateful.spec.revisionHistoryLimit)
        if error is not None:
            raise error
        if stateful.spec.minReadySeconds and plan.status.availableReplicas != plan.status.readyReplicas:
            self.queue.add_after(key, MIN_READY_CHECK_SECONDS)

    async def _claim(self, stateful: StatefulSet) -> list[Pod]:
        metadata = stateful.metadata
        plan = claim(
            owner_deleting=metadata.deletionTimestamp is not None,
            matches=compile_selector(stateful.spec.selector),
            mine=self._pods.by_index(informers.CONTROLLER, metadata.uid),
            orphans=self._pods.by_index(informers.ORPHANS, metadata.namespace or ""),
            skip=lambda pod: ordinal_of(metadata.name, pod) is None,
        )
        if not plan.adopt and not plan.release:
            return plan.owned
        return await carry_out(
            self.client,
            plan,
            owner=STATEFULSETS,
            owner_metadata=metadata,
            reference=controller_reference("apps/v1", "StatefulSet", metadata),
            resource=PODS,
        )

    async def _carry_out(
        self, key: str, stateful: StatefulSet, plan: Plan, revisions: dict[str, ControllerRevision]
    ) -> BaseException | None:
        reference = object_reference(STATEFULSETS, stateful)
        set_name, namespace = stateful.metadata.name, stateful.metadata.namespace

        def tell(verb: str, what: str, name: str, error: ApiError | None) -> None:
            reason = f"{'Failed' if error else 'Successful'}{verb.capitalize()}"
            outcome = f"failed error: {error}" if error else "successful"
            message = f"{verb} {what} {name} in StatefulSet {set_name} {outcome}"
            self._recorder.event(reference, "Warning" if error else "Normal", reason, message)

        async def create(entry: tuple[int, str]) -> None:
            ordinal, revision = entry
            name = f"{set_name}-{ordinal}"
            if any(claimretention.is_stale(claim, name) for claim in self._claims_of(stateful, name)):
                # They go with the pod that had this name; the new one gets new claims.
                self._expectations.added(key)
                self.queue.add_after(key, STALE_CLAIM_SECONDS)
                return
            try:
                await self._create_claims(stateful, name)
                await self.client.create(
                    PODS, stateful_pod(stateful, revisions[revision], ordinal), namespace, type=Bare
                )
            except ApiError as error:
                self._expectations.added(key)
                if is_already_exists(error):
                    return
                tell("create", "Pod", name, error)
                raise
            except BaseException:
                self._expectations.added(key)
                raise
            tell("create", "Pod", name, None)

        async def delete(pod: Pod) -> None:
            try:
                await self.client.delete(PODS, pod.metadata.name, namespace, uid=pod.metadata.uid)
            except BaseException as error:
                self._expectations.deleted(key, pod.metadata.uid)
                if not isinstance(error, ApiError):
                    raise
                if is_not_found(error):
                    return
                tell("delete", "Pod", pod.metadata.name, error)
                raise
            tell("delete", "Pod", pod.metadata.name, None)

        self._expectations.expect_additions(key, len(plan.create))
        self._expectations.expect_deletions(key, [pod.metadata.uid for pod in plan.delete])
        error = await all_of(plan.create, create)
        return await all_of(plan.delete, delete) or error

    def _claims_of(self, stateful: StatefulSet, pod_name: str) -> list[ClaimView]:
        """The claims of one pod that exist."""
        found = []
        for template in stateful.spec.volumeClaimTemplates or ():
            name = claim_name((template.get("metadata") or {}).get("name", ""), pod_name)
            claim = self._claims.items.get(f"{stateful.metadata.namespace}/{name}")
            if claim is not None:
                found.append(claim)
        return found

    async def _own_claims(self, stateful: StatefulSet, pods: Sequence[Pod]) -> None:
        """Make the claims' owners what the retention policy asks for."""
        if not stateful.spec.volumeClaimTemplates:
            return
        wanted = wanted_ordinals(stateful)
        for pod in pods:
            surplus = ordinal_of(stateful.metadata.name, pod) not in wanted
            claims = self._claims_of(stateful, pod.metadata.name)
            if (
                pod.status.phase in (None, "Pending")
                and len(claims) < len(stateful.spec.volumeClaimTemplates)
                and not surplus
            ):
                # Somebody deleted what the pod is waiting for.
                await self._create_claims(stateful, pod.metadata.name)
            for found in claims:
                owners = claimretention.owners(found, stateful, pod.metadata, surplus=surplus)
                if owners is None:
                    continue
                patch = {
                    "metadata": {
                        "resourceVersion": found.metadata.resourceVersion,
                        "ownerReferences": owners or None,
                    }
                }
                try:
                    await self.client.patch(
                        PERSISTENTVOLUMECLAIMS,
                        found.metadata.name,
                        patch,
                        stateful.metadata.namespace,
                        type=Bare,
                    )
                except ApiError as error:
                    if not is_not_found(error):
                        raise

    async def _create_claims(self, stateful: StatefulSet, pod_name: str) -> None:
        labels = (stateful.spec.selector.matchLabels if stateful.spec.selector is not None else None) or {}
        for template in stateful.spec.volumeClaimTemplates or ():
            metadata = dict(template.get("metadata") or {})
            metadata["name"] = claim_name(metadata["name"], pod_name)
            metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
            owner = claimretention.wanted_owner(stateful, None, surplus=False)
            if owner is not None:
                metadata["ownerReferences"] = [owner]
            body = {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": metadata,
                "spec": template.get("spec") or {},
            }
            try:
                await self.client.create(PERSISTENTVOLUMECLAIMS, body, stateful.metadata.namespace, type=Bare)
            except ApiError as error:
                if not is_already_exists(error):
                    raise

    async def _patch_status(self, stateful: StatefulSet, patch: dict[str, Any]) -> None:
        try:
            await self.client.patch(
                STATEFULSETS,
                stateful.metadata.name,
                status_patch(patch),
                stateful.metadata.namespace,
                subresource="status",
                type=Bare,
            )
        except ApiError as error:
            if not is_not_found(error):
                raise


def _key(metadata: Meta) -> str:
    return f"{metadata.namespace}/{metadata.name}"
