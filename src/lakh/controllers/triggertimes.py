"""When what is written about a Service's endpoints began to be true: the annotation by which proxies measure how late they are.

It is the earliest of what has changed since the last look: the Service's creation, and the moments at which its pods became ready or stopped being
ready (upstream's `TriggerTimeTracker`).
"""

from __future__ import annotations

from collections.abc import Iterable

from .pods import find_condition
from .views import Pod, Service

ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"


def _pod_time(pod: Pod) -> str:
    ready = find_condition(pod.status.conditions, "Ready")
    return (ready.lastTransitionTime if ready is not None else None) or ""


class TriggerTimes:
    """What was seen of each Service at the last look. Times stay the texts that they are: in UTC they sort as they are."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, dict[str, str]]] = {}

    def take(self, key: str, service: Service, pods: Iterable[Pod]) -> str | None:
        """The time of the earliest change since the last look; `None` when nothing that has a time has changed."""
        created, before = self._seen.get(key, ("", {}))
        now = {pod.metadata.name: _pod_time(pod) for pod in pods}
        changed = [time for name, time in now.items() if time > before.get(name, "")]
        born = service.metadata.creationTimestamp or ""
        if born > created:
            changed.append(born)
        self._seen[key] = (born, now)
        return min(changed, default=None)

    def forget(self, key: str) -> None:
        """The Service is gone."""
        self._seen.pop(key, None)
