"""Pure: the next step of a simulated kubelet with a pod, from what `pods` and `resize` know."""

from __future__ import annotations

from collections.abc import Mapping

from lakh.nodes import pods, resize


def step(
    pod: pods.PodView,
    node_address: str,
    pod_address: str,
    now: float,
    seen: float,
    allocatable: Mapping[str, str] | None = None,
) -> pods.Plan:
    """What a kubelet does next with a pod of its node, which has `allocatable` for pods. `seen`: when it first saw the pod in its present state."""
    status = pod.status
    phase = (status.phase if status is not None else None) or "Pending"
    if pod.metadata.deletionTimestamp is not None:
        return pods.stop(pod, phase, now, seen)
    if phase in ("Succeeded", "Failed"):
        return pods.NOTHING
    if phase == "Pending":
        wait = seen + pods.start_seconds(pod) - now
        if wait > 0:
            return pods.Plan(again_seconds=wait)
        return pods.start(pod, node_address, pod_address, now)
    return resize.changed(pod, now, allocatable or {}) or pods.run(pod, now)
