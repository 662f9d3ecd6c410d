"""The row of a pod in kubectl's table: readiness, restarts and the one word that says how it is.

The word is upstream's: the phase, unless a container, an init container, a gate or the deletion says more.
"""

from __future__ import annotations

from typing import Any

from lakh.apis.core.base import condition
from lakh.apis.groups.printing import NONE, age
from lakh.machinery import times

NODE_LOST = "NodeLost"


class _Restarts:
    """Counts restarts and remembers the time of the last one. RFC 3339 times in UTC compare as strings."""

    __slots__ = ("count", "last")

    def __init__(self) -> None:
        self.count = 0
        self.last = ""

    def add(self, status: Any) -> None:
        self.count += status.restartCount or 0
        state = status.lastState
        if state is not None and state.terminated is not None:
            self.last = max(self.last, state.terminated.finishedAt or "")

    def text(self, now: float) -> str:
        if self.count and self.last:
            return f"{self.count} ({times.age(self.last, now)} ago)"
        return str(self.count)


def _ended(terminated: Any) -> str:
    if terminated.reason:
        return str(terminated.reason)
    return f"Signal:{terminated.signal}" if terminated.signal else f"ExitCode:{terminated.exitCode or 0}"


def _initialisation(spec: Any, status: Any, sidecars: set[str]) -> tuple[str, int, _Restarts, _Restarts]:
    """The word for an unfinished initialisation ("" when it is over), ready sidecars, restarts of all and of sidecars."""
    restarts, sidecar_restarts = _Restarts(), _Restarts()
    ready = 0
    for index, container in enumerate(status.initContainerStatuses or ()):
        restarts.add(container)
        is_sidecar = container.name in sidecars
        if is_sidecar:
            sidecar_restarts.add(container)
        state = container.state
        terminated = state.terminated if state is not None else None
        waiting = state.waiting if state is not None else None
        if terminated is not None and not terminated.exitCode:
            continue
        if is_sidecar and container.started:
            ready += bool(container.ready)
            continue
        if terminated is not None:
            word = "Init:" + _ended(terminated)
        elif waiting is not None and waiting.reason and waiting.reason != "PodInitializing":
            word = f"Init:{waiting.reason}"
        else:
            word = f"Init:{index}/{len(spec.initContainers or ())}"
        return word, ready, restarts, sidecar_restarts
    return "", ready, restarts, sidecar_restarts


def pod_cells(pod: Any, now: float) -> list[Any]:
    """The cells of a pod, wide ones included."""
    spec, status = pod.spec, pod.status
    if status is None:
        return [
            pod.metadata.name,
            f"0/{len(spec.containers or ())}",
            "",
            "0",
            age(pod, now),
            NONE,
            spec.nodeName or NONE,
            NONE,
            NONE,
        ]
    sidecars = {c.name for c in spec.initContainers or () if c.restartPolicy == "Always"}
    total = len(spec.containers or ()) + len(sidecars)
    word = status.reason or status.phase or ""
    scheduled = condition(status.conditions, "PodScheduled")
    if scheduled is not None and scheduled.reason == "SchedulingGated":
        word = "SchedulingGated"
    initialising, ready, restarts, sidecar_restarts = _initialisation(spec, status, sidecars)
    initialised = condition(status.conditions, "Initialized")
    if initialising:
        word = initialising
    if not initialising or (initialised is not None and initialised.status == "True"):
        restarts = sidecar_restarts
        running = False
        for container in reversed(status.containerStatuses or ()):
            restarts.add(container)
            state = container.state
            if state is not None and state.waiting is not None and state.waiting.reason:
                word = state.waiting.reason
            elif state is not None and state.terminated is not None:
                word = _ended(state.terminated)
            elif container.ready and state is not None and state.running is not None:
                running = True
                ready += 1
        if word == "Completed" and running:
            is_ready = condition(status.conditions, "Ready")
            word = "Running" if is_ready is not None and is_ready.status == "True" else "NotReady"
    if pod.metadata.deletionTimestamp:
        if status.reason == NODE_LOST:
            word = "Unknown"
        elif status.phase not in ("Failed", "Succeeded"):
            word = "Terminating"
    return [
        pod.metadata.name,
        f"{ready}/{total}",
        word,
        restarts.text(now),
        age(pod, now),
        (status.podIPs[0].ip if status.podIPs else status.podIP) or NONE,
        spec.nodeName or NONE,
        status.nominatedNodeName or NONE,
        _gates(spec.readinessGates, status.conditions),
    ]


def _gates(gates: list[Any] | None, conditions: list[Any] | None) -> str:
    if not gates:
        return NONE
    passed = 0
    for gate in gates:
        found = condition(conditions, gate.conditionType)
        passed += found is not None and found.status == "True"
    return f"{passed}/{len(gates)}"
