"""DaemonSets: one pod on every node that the template fits.

`decide` is pure: nodes and pods in, nodes that need a pod and pods to delete out, rolling update included. It costs O(nodes + pods) and runs once for
however many events came in since the last sync; the delay grows with the number of nodes.

A pod is bound to its node by the scheduler through a required node affinity on the field `metadata.name`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lakh.client.errors import ApiError, is_namespace_terminating, is_not_found
from lakh.client.resources import DAEMONSETS, NODES, PODS, object_reference

from . import informers
from .bursts import all_of, slow_start
from .claiming import carry_out, claim
from .context import Context, Controller
from .expectations import Expectations
from .intorpercent import scaled
from .placement import DAEMON_TOLERATIONS, HOST_NETWORK_TOLERATION, Placement
from .pods import (
    PodMaker,
    controller_of,
    controller_reference,
    decode_template,
    is_active,
    is_available,
    is_ready,
    pod_prefix,
)
from .revisions import HASH_LABEL, HashCollisionError, Histories, hash_of
from .selecting import compile_selector
from .statuses import difference, plain, status_patch
from .views import Bare, DaemonSet, DaemonSetStatus, Meta, Node, Pod

BURST = 250
"""Pods created or deleted in one sync at most, as upstream."""
DELAY_PER_NODE_SECONDS = 1e-5
MIN_DELAY_SECONDS = 0.02
MAX_DELAY_SECONDS = 2.0
FAILED_POD_SECONDS = 1.0
"""A node whose pod has failed gets the next one after this time, doubled each time, at most 15 minutes."""
MAX_FAILED_POD_SECONDS = 900.0
GENERATION_ANNOTATION = "deprecated.daemonset.template.generation"
_HOST = "\x00node"
_KEEP_ZERO = (
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
)


@dataclass
class Plan:
    """Nodes that need a pod, pods that must go, and the status."""

    create: list[str] = field(default_factory=list)
    delete: list[Pod] = field(default_factory=list)
    failed: list[Pod] = field(default_factory=list)
    """Those of `delete` that have failed."""
    status: DaemonSetStatus = field(default_factory=DaemonSetStatus)


def node_of(pod: Pod) -> str:
    """The node a pod runs on or is meant for."""
    if pod.spec.nodeName:
        return pod.spec.nodeName
    affinity = pod.spec.affinity.nodeAffinity if pod.spec.affinity is not None else None
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity is not None else None
    for term in (required.nodeSelectorTerms if required is not None else None) or ():
        for requirement in term.matchFields or ():
            if requirement.key == "metadata.name" and requirement.operator == "In" and requirement.values:
                return requirement.values[0]
    return ""


def _hash(pod: Pod) -> str:
    return (pod.metadata.labels or {}).get(HASH_LABEL, "")


def decide(
    daemons: DaemonSet, nodes: Mapping[str, Node], pods: Sequence[Pod], revision_hash: str, now: float
) -> Plan:
    """Pure: what a DaemonSet needs. `pods` are its own."""
    plan = Plan()
    placement = Placement(decode_template(daemons.spec.template).spec)
    by_node: dict[str, list[Pod]] = {}
    for pod in pods:
        by_node.setdefault(node_of(pod), []).append(pod)
    should: dict[str, bool] = {}
    for name, node in nodes.items():
        run, stay = placement.on(node)
        if run:
            should[name] = True
        on_node = by_node.get(name, [])
        if run:
            _manage_node(plan, name, on_node, revision_hash)
        elif not stay:
            plan.delete.extend(pod for pod in on_node if pod.metadata.deletionTimestamp is None)
    # Pods meant for nodes that do not exist, and not started, are in nobody's way but ours.
    for name, stray in by_node.items():
        if name not in nodes:
            plan.delete.extend(
                pod for pod in stray if not pod.spec.nodeName and pod.metadata.deletionTimestamp is None
            )
    strategy = daemons.spec.updateStrategy
    if strategy is None or strategy.type != "OnDelete":
        _roll(plan, daemons, should, by_node, revision_hash, now)
    plan.status = count(daemons, should, by_node, nodes, revision_hash, now)
    return plan


def _manage_node(plan: Plan, name: str, on_node: list[Pod], revision_hash: str) -> None:
    """A node that should have one pod."""
    alive: list[Pod] = []
    for pod in on_node:
        if pod.metadata.deletionTimestamp is not None:
            continue
        if pod.status.phase in ("Failed", "Succeeded"):
            plan.delete.append(pod)
            if pod.status.phase == "Failed":
                plan.failed.append(pod)
        else:
            alive.append(pod)
    if not on_node:
        plan.create.append(name)
    # One per revision: during a surge the old and the new one run side by side.
    for group in (
        [pod for pod in alive if _hash(pod) == revision_hash],
        [pod for pod in alive if _hash(pod) != revision_hash],
    ):
        group.sort(
            key=lambda pod: (
                pod.spec.nodeName is None,
                pod.metadata.creationTimestamp or "",
                pod.metadata.name,
            )
        )
        plan.delete.extend(group[1:])


def _roll(
    plan: Plan,
    daemons: DaemonSet,
    should: Mapping[str, bool],
    by_node: Mapping[str, list[Pod]],
    revision_hash: str,
    now: float,
) -> None:
    """Replace old pods as far as maxUnavailable and maxSurge allow."""
    rolling = daemons.spec.updateStrategy.rollingUpdate if daemons.spec.updateStrategy is not None else None
    desired = len(should)
    surge = scaled(rolling.maxSurge if rolling is not None else 0, desired, round_up=True)
    unavailable = scaled(
        rolling.maxUnavailable if rolling is not None else 1, desired, round_up=True, default=1
    )
    if surge == 0 and unavailable == 0:
        unavailable = 1
    min_ready = daemons.spec.minReadySeconds or 0
    going = {pod.metadata.uid for pod in plan.delete}
    missing = surging = 0
    free: list[tuple[str, Pod]] = []
    candidates: list[tuple[str, Pod]] = []
    for name in should:
        alive = [pod for pod in by_node.get(name, ()) if is_active(pod) and pod.metadata.uid not in going]
        old = next((pod for pod in alive if _hash(pod) != revision_hash), None)
        new = next((pod for pod in alive if _hash(pod) == revision_hash), None)
        old_works = old is not None and is_available(old, min_ready, now)
        new_works = new is not None and is_available(new, min_ready, now)
        if old is not None and new is not None:
            surging += 1
            if new_works or not old_works:
                plan.delete.append(old)
        elif old is None:
            missing += not new_works
        elif old_works:
            candidates.append((name, old))
        else:
            missing += 1
            free.append((name, old))
    if surge:
        # A broken old pod is replaced without counting; a working one gets its successor first.
        room = surge - surging
        plan.create.extend(name for name, _ in [*free, *candidates[: max(room, 0)]])
        return
    room = unavailable - missing
    plan.delete.extend(pod for _, pod in [*free, *candidates[: max(room, 0)]])


def count(
    daemons: DaemonSet,
    should: Mapping[str, bool],
    by_node: Mapping[str, list[Pod]],
    nodes: Mapping[str, Node],
    revision_hash: str,
    now: float,
) -> DaemonSetStatus:
    """The status that follows from nodes and pods."""
    min_ready = daemons.spec.minReadySeconds or 0
    current = misscheduled = ready = available = updated = 0
    for name in nodes:
        on_node = by_node.get(name)
        if not on_node:
            continue
        if name not in should:
            misscheduled += 1
            continue
        current += 1
        oldest = min(on_node, key=lambda pod: (pod.metadata.creationTimestamp or "", pod.metadata.name))
        ready += is_ready(oldest)
        available += is_available(oldest, min_ready, now)
        updated += _hash(oldest) == revision_hash
    return DaemonSetStatus(
        desiredNumberScheduled=len(should),
        currentNumberScheduled=current,
        numberMisscheduled=misscheduled,
        numberReady=ready,
        updatedNumberScheduled=updated,
        numberAvailable=available,
        numberUnavailable=len(should) - available,
        observedGeneration=daemons.metadata.generation,
        collisionCount=daemons.status.collisionCount,
    )


class DaemonPods:
    """Makes the pods of one DaemonSet; the template is parsed once, a pod costs a concatenation."""

    def __init__(self, daemons: DaemonSet, revision_hash: str) -> None:
        spec: dict[str, Any] = msgspec.json.decode(decode_template(daemons.spec.template).spec)
        extra = [*DAEMON_TOLERATIONS, *((HOST_NETWORK_TOLERATION,) if spec.get("hostNetwork") else ())]
        tolerations = spec.setdefault("tolerations", [])
        tolerations.extend(wanted for one in extra if (wanted := plain(one)) not in tolerations)
        affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
        field_ = [{"key": "metadata.name", "operator": "In", "values": [_HOST]}]
        required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
        # Upstream replaces the fields of each term and keeps its expressions.
        terms = [{**term, "matchFields": field_} for term in required.get("nodeSelectorTerms") or [{}]]
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
        self._spec = msgspec.json.encode(spec)
        labels = {HASH_LABEL: revision_hash}
        generation = (daemons.metadata.annotations or {}).get(GENERATION_ANNOTATION)
        if generation is not None:
            labels["pod-template-generation"] = generation
        self._maker = PodMaker(
            daemons.spec.template,
            owner=controller_reference("apps/v1", "DaemonSet", daemons.metadata),
            prefix=pod_prefix(daemons.metadata.name),
            labels=labels,
        )

    def make(self, node: str) -> bytes:
        """The pod of one node, encoded."""
        return self._maker.make(
            spec=self._spec.replace(msgspec.json.encode(_HOST), msgspec.json.encode(node))
        )


class DaemonSetController(Controller):
    """See the module."""

    name = "daemonset-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._expectations = Expectations(context.monotonic)
        self._recorder = context.recorder(self.name)
        self._histories = Histories(context, DAEMONSETS)
        self._failures: dict[tuple[str, str], tuple[int, float]] = {}
        """(key, node) → how often its pod has failed in a row, and when it may get another."""
        self._sets = context.informers.of(DAEMONSETS, DaemonSet, indexes=(informers.NAMESPACE,))
        self._nodes = context.informers.of(NODES, Node)
        self._pods = context.informers.of(PODS, Pod, indexes=(informers.CONTROLLER, informers.ORPHANS))
        self._sets.add_handler(
            on_add=self._changed, on_update=lambda old, new: self._changed(new), on_delete=self._gone
        )
        self._nodes.add_handler(
            on_add=lambda node: self._all(), on_update=self._node_updated, on_delete=lambda node: self._all()
        )
        context.informers.owned_pods.add_handler(
            "DaemonSet", on_add=self._pod_added, on_update=self._pod_updated, on_delete=self._pod_deleted
        )

    def resync(self) -> None:
        """Queue every DaemonSet."""
        for key in self._sets.items:
            self.queue.add(key)

    def _changed(self, daemons: DaemonSet) -> None:
        self.queue.add(_key(daemons.metadata))

    def _gone(self, daemons: DaemonSet) -> None:
        key = _key(daemons.metadata)
        self._expectations.forget(key)
        self._failures = {pair: value for pair, value in self._failures.items() if pair[0] != key}

    def _gently(self, key: str) -> None:
        delay = MIN_DELAY_SECONDS + len(self._nodes.items) * DELAY_PER_NODE_SECONDS
        self.queue.add_after(key, min(delay, MAX_DELAY_SECONDS))

    def _all(self) -> None:
        for key in self._sets.items:
            self._gently(key)

    def _node_updated(self, old: Node, new: Node) -> None:
        """Heartbeats change conditions only, which do not matter here."""
        if old.metadata.labels != new.metadata.labels or old.spec != new.spec:
            self._all()

    def _owner_key(self, pod: Pod) -> str | None:
        reference = controller_of(pod.metadata)
        if reference is None or reference.kind != "DaemonSet":
            return None
        return f"{pod.metadata.namespace}/{reference.name}"

    def _pod_added(self, pod: Pod) -> None:
        key = self._owner_key(pod)
        if key is not None:
            self._expectations.added(key)
            self._gently(key)
        elif controller_of(pod.metadata) is None and pod.metadata.labels:
            for daemons in self._sets.by_index(informers.NAMESPACE, pod.metadata.namespace or ""):
                if compile_selector(daemons.spec.selector)(pod.metadata.labels):
                    self._changed(daemons)

    def _pod_updated(self, old: Pod, new: Pod) -> None:
        key = self._owner_key(new)
        old_key = self._owner_key(old)
        if old_key is not None and old_key != key:
            self._gently(old_key)
        if key is None:
            return
        if new.metadata.deletionTimestamp is not None:
            self._expectations.deleted(key, new.metadata.uid)
        self._gently(key)
        daemons = self._sets.items.get(key)
        if daemons is not None and daemons.spec.minReadySeconds and is_ready(new) and not is_ready(old):
            self.queue.add_after(key, daemons.spec.minReadySeconds + 1)

    def _pod_deleted(self, pod: Pod) -> None:
        key = self._owner_key(pod)
        if key is not None:
            self._expectations.deleted(key, pod.metadata.uid)
            self._gently(key)

    async def reconcile(self, key: str) -> None:
        """Bring one DaemonSet on."""
        daemons = self._sets.items.get(key)
        if daemons is None:
            return
        selector = daemons.spec.selector
        if selector is not None and not selector.matchLabels and not selector.matchExpressions:
            message = "This daemon set is selecting all pods. A non-empty selector is required."
            self._recorder.event(object_reference(DAEMONSETS, daemons), "Warning", "SelectingAll", message)
            return
        if daemons.metadata.deletionTimestamp is not None:
            return
        try:
            revision = await self._histories.current(
                daemons.metadata, daemons.spec.template, daemons.status.collisionCount
            )
        except HashCollisionError:
            collisions = (daemons.status.collisionCount or 0) + 1
            await self._patch_status(daemons, {"collisionCount": collisions})
            raise
        current = hash_of(revision)
        pods = await self._claim(daemons)
        plan = decide(daemons, self._nodes.items, pods, current, self.now())
        error: BaseException | None = None
        if self._expectations.satisfied(key):
            error = await self._carry_out(key, daemons, plan, current)
        patch = difference(daemons.status, plan.status, keep_zero=_KEEP_ZERO)
        if patch:
            await self._patch_status(daemons, patch)
        await self._histories.prune(
            daemons.metadata, {current, *map(_hash, pods)}, daemons.spec.revisionHistoryLimit
        )
        if error is not None:
            raise error

    async def _claim(self, daemons: DaemonSet) -> list[Pod]:
        plan = claim(
            owner_deleting=False,
            matches=compile_selector(daemons.spec.selector),
            mine=self._pods.by_index(informers.CONTROLLER, daemons.metadata.uid),
            orphans=self._pods.by_index(informers.ORPHANS, daemons.metadata.namespace or ""),
            skip=lambda pod: not is_active(pod),
        )
        if not plan.adopt and not plan.release:
            return plan.owned
        return await carry_out(
            self.client,
            plan,
            owner=DAEMONSETS,
            owner_metadata=daemons.metadata,
            reference=controller_reference("apps/v1", "DaemonSet", daemons.metadata),
            resource=PODS,
        )

    def _may_create(self, key: str, node: str) -> bool:
        """Whether the backoff of failed pods on this node is over; looks again when it will be."""
        entry = self._failures.get((key, node))
        if entry is None or entry[1] <= self.now():
            return True
        self.queue.add_after(key, entry[1] - self.now())
        return False

    def _note_failures(self, key: str, daemons: DaemonSet, failed: Sequence[Pod]) -> None:
        for pod in failed:
            node = node_of(pod)
            times, until = self._failures.get((key, node), (0, 0.0))
            if self.now() - until > 2 * MAX_FAILED_POD_SECONDS:
                times = 0
            wait = min(FAILED_POD_SECONDS * 2.0 ** min(times, 12), MAX_FAILED_POD_SECONDS)
            self._failures[key, node] = (times + 1, self.now() + wait)
            self._recorder.event(
                object_reference(DAEMONSETS, daemons),
                "Warning",
                "FailedDaemonPod",
                f"Found failed daemon pod {_key(pod.metadata)} on node {node}, will try to kill it",
            )

    async def _carry_out(
        self, key: str, daemons: DaemonSet, plan: Plan, revision_hash: str
    ) -> BaseException | None:
        reference = object_reference(DAEMONSETS, daemons)
        namespace = daemons.metadata.namespace
        self._note_failures(key, daemons, plan.failed)
        for pod in plan.delete:
            if pod.status.phase == "Succeeded":
                message = f"Found succeeded daemon pod {_key(pod.metadata)} on node {node_of(pod)}, will try to delete it"
                self._recorder.event(reference, "Normal", "SucceededDaemonPod", message)
        targets = [node for node in plan.create if self._may_create(key, node)][:BURST]
        victims = plan.delete[:BURST]
        self._expectations.expect_deletions(key, [pod.metadata.uid for pod in victims])
        self._expectations.expect_additions(key, len(targets))
        maker = DaemonPods(daemons, revision_hash)

        async def create(node: str) -> None:
            try:
                pod = await self.client.create(PODS, maker.make(node), namespace, type=Bare)
            except ApiError as error:
                if not is_namespace_terminating(error):
                    self._recorder.event(reference, "Warning", "FailedCreate", f"Error creating: {error}")
                raise
            self._recorder.event(reference, "Normal", "SuccessfulCreate", f"Created pod: {pod.metadata.name}")

        async def delete(pod: Pod) -> None:
            try:
                await self.client.delete(PODS, pod.metadata.name, namespace, uid=pod.metadata.uid)
            except BaseException as error:
                self._expectations.deleted(key, pod.metadata.uid)
                if isinstance(error, ApiError) and is_not_found(error):
                    return
                raise
            self._recorder.event(reference, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")

        succeeded, error = await slow_start(targets, create)
        self._expectations.added(key, len(targets) - succeeded)
        return error or await all_of(victims, delete)

    async def _patch_status(self, daemons: DaemonSet, patch: dict[str, Any]) -> None:
        try:
            await self.client.patch(
                DAEMONSETS,
                daemons.metadata.name,
                status_patch(patch),
                daemons.metadata.namespace,
                subresource="status",
                type=Bare,
            )
        except ApiError as error:
            if not is_not_found(error):
                raise


def _key(metadata: Meta) -> str:
    return f"{metadata.namespace}/{metadata.name}"
