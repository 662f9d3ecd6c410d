"""Evicts pods from nodes with NoExecute taints that they do not tolerate, or no longer.

Only pods of tainted nodes are looked at: a node's taints change → its pods are queued; a pod is bound to a tainted node → that pod is. A pod that
tolerates the taints for a while is looked at again when that time is over.
"""

from __future__ import annotations

from collections.abc import Iterable

from lakh.client.client import STRATEGIC
from lakh.client.errors import ApiError, is_not_found
from lakh.client.resources import NODES, PODS, object_reference

from . import clock, informers
from .context import Context, Controller
from .pods import find_condition
from .views import Bare, Node, Pod, Taint, Toleration


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """`Toleration.ToleratesTaint`."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and (toleration.value or "") == (taint.value or "")


def stay_seconds(taints: Iterable[Taint], tolerations: Iterable[Toleration]) -> float | None:
    """How long a pod may stay: 0 not at all, `None` for ever. Of several limits the shortest counts."""
    tolerations = list(tolerations)
    shortest: float | None = None
    for taint in taints:
        matching = [toleration for toleration in tolerations if tolerates(toleration, taint)]
        if not matching:
            return 0.0
        for toleration in matching:
            if toleration.tolerationSeconds is not None:
                seconds = max(float(toleration.tolerationSeconds), 0.0)
                shortest = seconds if shortest is None else min(shortest, seconds)
    return shortest


def driving(node: Node) -> list[Taint]:
    """The node's taints that drive pods away."""
    return [taint for taint in node.spec.taints or () if taint.effect == "NoExecute"]


def bound_since(pod: Pod) -> float:
    """When the pod came to its node, in seconds since the epoch."""
    scheduled = find_condition(pod.status.conditions, "PodScheduled")
    at = clock.parse(scheduled.lastTransitionTime) if scheduled is not None else None
    return at or clock.parse(pod.metadata.creationTimestamp) or 0.0


def deadline(pod: Pod, taints: list[Taint], since: float) -> float | None:
    """When the pod has to go, if the node was tainted at `since`; `None` for never.

    A pod that came to a node with these taints stays as long as its tolerations say, too.
    """
    seconds = stay_seconds(taints, pod.spec.tolerations or ())
    return None if seconds is None else max(since, bound_since(pod)) + seconds


class TaintEvictionController(Controller):
    """See the module."""

    name = "taint-eviction-controller"
    workers = 32

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._recorder = context.recorder(self.name)
        self._nodes = context.informers.of(NODES, Node)
        self._pods = context.informers.of(PODS, Pod, indexes=(informers.NODE,))
        self._tainted: dict[str, float] = {}
        """Tainted nodes, with the time since when."""
        self._scheduled: dict[str, float] = {}
        """Pods that are to go, with their deadline."""
        self._nodes.add_handler(
            on_add=self._node_changed, on_update=self._node_updated, on_delete=self._node_gone
        )
        self._pods.add_handler(
            on_add=self._pod_changed, on_update=self._pod_updated, on_delete=self._pod_gone
        )

    def resync(self) -> None:
        """Look at every tainted node."""
        for node in self._nodes.items.values():
            self._node_changed(node)

    def _node_updated(self, old: Node, new: Node) -> None:
        if old.spec.taints != new.spec.taints:
            self._node_changed(new)

    def _node_changed(self, node: Node) -> None:
        name = node.metadata.name
        taints = driving(node)
        if taints:
            times = [clock.parse(taint.timeAdded) for taint in taints]
            known = [time for time in times if time is not None]
            self._tainted[name] = min(known) if known else self._tainted.get(name, self.now())
        elif self._tainted.pop(name, None) is None:
            return
        for pod in self._pods.by_index(informers.NODE, name):
            self.queue.add(_key(pod))

    def _node_gone(self, node: Node) -> None:
        self._tainted.pop(node.metadata.name, None)

    def _pod_updated(self, old: Pod, new: Pod) -> None:
        if old.spec.nodeName != new.spec.nodeName or old.spec.tolerations != new.spec.tolerations:
            self._pod_changed(new)

    def _pod_changed(self, pod: Pod) -> None:
        if pod.spec.nodeName in self._tainted:
            self.queue.add(_key(pod))

    def _pod_gone(self, pod: Pod) -> None:
        self._scheduled.pop(_key(pod), None)

    async def reconcile(self, key: str) -> None:
        """Evict the pod, or come back when its time is over."""
        pod = self._pods.items.get(key)
        if pod is None or pod.metadata.deletionTimestamp is not None:
            self._scheduled.pop(key, None)
            return
        node = self._nodes.items.get(pod.spec.nodeName or "")
        since = self._tainted.get(pod.spec.nodeName or "")
        when = None
        if node is not None and since is not None:
            when = deadline(pod, driving(node), since)
        if when is None:
            if self._scheduled.pop(key, None) is not None:
                self._event(pod, f"Cancelling deletion of Pod {key}")
            return
        left = when - self.now()
        if left > 0:
            self._scheduled[key] = when
            self.queue.add_after(key, left)
            return
        self._scheduled.pop(key, None)
        self._event(pod, f"Marking for deletion Pod {key}")
        await self._evict(pod)

    def _event(self, pod: Pod, message: str) -> None:
        self._recorder.event(object_reference(PODS, pod), "Normal", "TaintManagerEviction", message)

    async def _evict(self, pod: Pod) -> None:
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": clock.stamp(self.now()),
            "observedGeneration": pod.metadata.generation,
        }
        metadata = pod.metadata
        try:
            await self.client.patch(
                PODS,
                metadata.name,
                {"metadata": {"uid": metadata.uid}, "status": {"conditions": [condition]}},
                metadata.namespace,
                patch_type=STRATEGIC,
                subresource="status",
                type=Bare,
            )
            await self.client.delete(PODS, metadata.name, metadata.namespace, uid=metadata.uid)
        except ApiError as error:
            if not is_not_found(error):
                raise


def _key(pod: Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"
