"""Pure: what a simulated kubelet does about a change of a running pod's spec: resizes (KEP-1287) and ephemeral containers.

A resize that the node can never hold is pending as infeasible. Any other is allocated first (`allocatedResources`, PodResizeInProgress) and
actuated with the next look (`resources`); containers whose resizePolicy says so are restarted. What other pods of the node have is not
counted, so no resize is deferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lakh.machinery import quantity, times
from lakh.nodes import pods
from lakh.nodes.pods import Container, ContainerStatus, Plan, PodView, State

PENDING, IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
RESIZABLE = ("cpu", "memory")


def changed(pod: PodView, at: float, allocatable: Mapping[str, str]) -> Plan | None:
    """What is to be done about the pod's spec, or about a resize under way; None when there is nothing."""
    status = pod.status
    assert status is not None
    generation = pod.metadata.generation or 0
    if status.observedGeneration is not None and generation > status.observedGeneration:
        return _observe(pod, generation, at, allocatable)
    if any(_differs(c, was) and _requests(c) == (was.allocatedResources or {}) for c, was in _pairs(pod)):
        return _actuate(pod, at)
    return None


def _pairs(pod: PodView) -> list[tuple[Container, ContainerStatus]]:
    """The containers that run on, with their statuses: sidecars and the regular ones that have been started."""
    status = pod.status
    assert status is not None
    return [
        (container, was)
        for containers, statuses in (
            (
                [c for c in pod.spec.initContainers or () if c.restartPolicy == "Always"],
                status.initContainerStatuses,
            ),
            (pod.spec.containers, status.containerStatuses),
        )
        for container in containers
        if (was := pods.seen_status(statuses, container.name)).state is not None
    ]


def _observe(pod: PodView, generation: int, at: float, allocatable: Mapping[str, str]) -> Plan:
    now = times.of_seconds(at)
    plan = Plan(status={"observedGeneration": generation})
    assert plan.status is not None
    _start_ephemeral(pod, plan, now)
    if not any(_differs(c, was) for c, was in _pairs(pod)):
        return plan
    lacking = _lacking(pod, allocatable)
    if lacking:
        plan.status["conditions"] = [
            {**pods.condition(pod, PENDING, True, now, "Infeasible", lacking), "lastProbeTime": None}
        ]
        return plan
    plan.status.update(_statuses(pod, lambda c, was: {"allocatedResources": _requests(c) or None}))
    plan.status["conditions"] = [
        pods.condition(pod, IN_PROGRESS, True, now),
        {"type": PENDING, "$patch": "delete"},
    ]
    return plan


def _actuate(pod: PodView, at: float) -> Plan:
    now = times.of_seconds(at)
    plan = Plan()

    def resized(container: Container, was: ContainerStatus) -> dict[str, Any]:
        resources = pods.plain(container.resources) if container.resources is not None else {}
        found: dict[str, Any] = {"resources": resources}
        if _restarts(container, was):
            found["restartCount"] = was.restartCount + 1
            found["state"] = {"running": {"startedAt": now}}
            plan.events.extend(pods.started_events(container))
        return found

    plan.status = _statuses(pod, resized)
    plan.status["conditions"] = [{"type": IN_PROGRESS, "$patch": "delete"}]
    return plan


def _differs(container: Container, was: ContainerStatus) -> bool:
    """Whether a container runs with other resources than it should."""
    if was.resources is None or was.resources == container.resources:
        return False
    wanted = pods.plain(container.resources) if container.resources is not None else {}
    return wanted != pods.plain(was.resources)


def _requests(container: Container) -> dict[str, Any]:
    return (container.resources.requests if container.resources is not None else None) or {}


def _restarts(container: Container, was: ContainerStatus) -> bool:
    """Whether what changes of a container's resources can only be changed by a restart."""
    policies = {p.resourceName: p.restartPolicy for p in container.resizePolicy or ()}
    for name in RESIZABLE:
        if policies.get(name) != "RestartContainer":
            continue
        for side in ("requests", "limits"):
            after = getattr(container.resources, side, None) or {}
            before = getattr(was.resources, side, None) or {}
            if after.get(name) != before.get(name):
                return True
    return False


def _lacking(pod: PodView, allocatable: Mapping[str, str]) -> str:
    """What the node has not enough of, in kubelet's words."""
    for name in RESIZABLE:
        requested = sum(quantity.parse_milli(_requests(c).get(name, 0)) for c, _ in _pairs(pod))
        capacity = quantity.parse_milli(allocatable.get(name, "0"))
        if requested > capacity:
            unit = 1 if name == "cpu" else 1000
            return (
                f"Node didn't have enough capacity: {name}, requested: {requested // unit}, "
                f"capacity: {capacity // unit}"
            )
    return ""


def _statuses(pod: PodView, change: Any) -> dict[str, Any]:
    """The lists of container statuses, whole, with what `change` says about each container that runs on."""
    running = {container.name: (container, was) for container, was in _pairs(pod)}
    found = {}
    assert pod.status is not None
    for field, containers, statuses in (
        ("initContainerStatuses", pod.spec.initContainers, pod.status.initContainerStatuses),
        ("containerStatuses", pod.spec.containers, pod.status.containerStatuses),
    ):
        if not containers:
            continue
        entries = []
        for container in containers:
            was = pods.seen_status(statuses, container.name)
            entry = pods.container_status(
                pod, container, was.restartCount, was.state or State(), was.lastState
            )
            if container.name in running:
                entry.update(change(container, was))
            entries.append({k: v for k, v in entry.items() if v is not None})
        found[field] = entries
    return found


def _start_ephemeral(pod: PodView, plan: Plan, now: str) -> None:
    status = pod.status
    assert status is not None and plan.status is not None
    known = {s.name: s for s in status.ephemeralContainerStatuses or ()}
    wanted = pod.spec.ephemeralContainers or ()
    if all(c.name in known for c in wanted):
        return
    entries = []
    for container in wanted:
        was = known.get(container.name)
        if was is None:
            entry = pods.container_status(pod, container, 0, State(running=pods.Running(now)))
            plan.events.extend(pods.started_events(container))
        else:
            entry = pods.container_status(
                pod, container, was.restartCount, was.state or State(), was.lastState
            )
        # They have no probes and no resources.
        entries.append(
            {k: v for k, v in {**entry, "ready": False}.items() if k not in ("started", "resources")}
        )
    plan.status["ephemeralContainerStatuses"] = entries
