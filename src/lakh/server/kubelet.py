"""What the server asks of a pod's node: its logs."""

from __future__ import annotations

from typing import Any

from lakh.machinery import errors
from lakh.server.cluster import Cluster
from lakh.server.routing import RequestInfo
from lakh.server.storage import ResourceStore
from lakh.server.transport import Response

# The fleet's kubelets leave a container's log here, for want of an endpoint of their own.
LOG_ANNOTATION = "lakh.dev/log"


def log(cluster: Cluster, store: ResourceStore, info: RequestInfo, query: dict[str, str]) -> Response:
    """The log of a container; raises 400 when there is none to be had."""
    pod = store.decode(store.get(info.namespace, info.name))
    names = [c.name for c in pod.spec.containers]
    others = [c.name for c in pod.spec.initContainers or ()]
    container = query.get("container", "")
    if not container:
        if len(names) > 1:
            raise errors.bad_request(
                f"a container name must be specified for pod {info.name}, choose one of: [{' '.join(names)}]"
                + (f" or one of the init containers: [{' '.join(others)}]" if others else "")
            )
        container = names[0]
    elif container not in names + others:
        raise errors.bad_request(f"container {container} is not valid for pod {info.name}")
    if not pod.spec.nodeName:
        raise errors.bad_request(f"pod {info.name} does not have a host assigned")
    return Response(200, _text(pod, container, query), b"text/plain")


def _text(pod: Any, container: str, query: dict[str, str]) -> bytes:
    statuses = (
        [*(pod.status.containerStatuses or ()), *(pod.status.initContainerStatuses or ())]
        if pod.status
        else []
    )
    status = next((s for s in statuses if s.name == container), None)
    state = status.state if status is not None else None
    if state is None or (state.running is None and state.terminated is None):
        reason = (
            state.waiting.reason if state is not None and state.waiting is not None else "ContainerCreating"
        )
        raise errors.bad_request(
            f'container "{container}" in pod "{pod.metadata.name}" is waiting to start: {reason}'
        )
    lines = ((pod.metadata.annotations or {}).get(LOG_ANNOTATION) or "").splitlines()
    if not lines:
        began = state.running.startedAt if state.running is not None else state.terminated.startedAt
        lines = [f"{began} {container}: started on {pod.spec.nodeName} (a simulated node runs no image)"]
        if state.terminated is not None:
            lines.append(
                f"{state.terminated.finishedAt} {container}: exited with code {state.terminated.exitCode or 0}"
            )
    tail = query.get("tailLines", "")
    if tail.isdigit():
        lines = lines[-int(tail) :] if int(tail) else []
    return "".join(line + "\n" for line in lines).encode()
