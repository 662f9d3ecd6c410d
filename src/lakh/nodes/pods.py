"""Pure: what a simulated kubelet does with a pod.

`step` looks at a pod as the API has it and at the clock, and says what to write and when to look again. It keeps nothing in
memory that the API does not have, so a fleet that is started again goes on where it was.

What a simulated container does is said by annotations of its pod:

* `lakh.dev/start-seconds`: how long it takes to start (default 0.2 to 1.0, drawn from the pod's uid);
* `lakh.dev/run-seconds`: how long it runs. Without it a pod that restarts always runs for ever, others run 5 s;
* `lakh.dev/exit-code`: how it ends (default 0);
* `lakh.dev/stop-seconds`: how long it takes to stop (default 0.1), at most the grace period.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lakh.client.types import ObjectMeta
from lakh.machinery import times

START_SECONDS = "lakh.dev/start-seconds"
RUN_SECONDS = "lakh.dev/run-seconds"
EXIT_CODE = "lakh.dev/exit-code"
STOP_SECONDS = "lakh.dev/stop-seconds"

DEFAULT_RUN_SECONDS = 5.0
DEFAULT_STOP_SECONDS = 0.1
START_FROM_SECONDS, START_TO_SECONDS = 0.2, 1.0
# kubelet's back-off of containers that fail again and again.
BACKOFF_FIRST_SECONDS = 10.0
BACKOFF_MAX_SECONDS = 300.0
TERMINATED_BY_SIGNAL = 143


class Waiting(msgspec.Struct, gc=False, omit_defaults=True):
    """ContainerStateWaiting."""

    reason: str | None = None
    message: str | None = None


class Running(msgspec.Struct, gc=False, omit_defaults=True):
    """ContainerStateRunning."""

    startedAt: str | None = None


class Terminated(msgspec.Struct, gc=False, omit_defaults=True):
    """ContainerStateTerminated."""

    exitCode: int = 0
    reason: str | None = None
    startedAt: str | None = None
    finishedAt: str | None = None
    containerID: str | None = None


class State(msgspec.Struct, gc=False, omit_defaults=True):
    """ContainerState."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(msgspec.Struct, gc=False, omit_defaults=True):
    """What `step` reads of a container's status."""

    name: str
    restartCount: int = 0
    state: State | None = None
    lastState: State | None = None


class PodStatus(msgspec.Struct, gc=False, omit_defaults=True):
    """What `step` reads of a pod's status."""

    phase: str | None = None
    startTime: str | None = None
    containerStatuses: list[ContainerStatus] | None = None


class Container(msgspec.Struct, gc=False):
    """What `step` reads of a container."""

    name: str
    image: str | None = None
    restartPolicy: str | None = None


class PodSpec(msgspec.Struct, gc=False):
    """What `step` reads of a pod's spec."""

    containers: list[Container]
    initContainers: list[Container] | None = None
    nodeName: str | None = None
    restartPolicy: str | None = None
    hostNetwork: bool | None = None
    terminationGracePeriodSeconds: int | None = None
    activeDeadlineSeconds: int | None = None


class PodView(msgspec.Struct, gc=False):
    """The pod."""

    metadata: ObjectMeta
    spec: PodSpec
    status: PodStatus | None = None


@dataclass(slots=True)
class Plan:
    """What to do: a strategic merge patch of the status, events to record, and when to look again.

    `again_seconds` is from now; None: when the pod changes. `remove`: the pod is stopped, delete it.
    """

    status: dict[str, Any] | None = None
    remove: bool = False
    again_seconds: float | None = None
    events: list[tuple[str, str, str]] = field(default_factory=list)


NOTHING = Plan()


def _number(pod: PodView, name: str, default: float) -> float:
    text = (pod.metadata.annotations or {}).get(name)
    if text is None:
        return default
    try:
        return max(0.0, float(text))
    except ValueError:
        return default


def _jitter(uid: str) -> float:
    """A number from 0 to 1 that is the pod's own."""
    return int(hashlib.blake2b(uid.encode(), digest_size=4).hexdigest(), 16) / 0xFFFFFFFF


def run_seconds(pod: PodView) -> float | None:
    """How long its containers run; None for ever."""
    text = (pod.metadata.annotations or {}).get(RUN_SECONDS)
    if text is None and (pod.spec.restartPolicy or "Always") == "Always":
        return None
    return _number(pod, RUN_SECONDS, DEFAULT_RUN_SECONDS)


def step(pod: PodView, node_address: str, pod_address: str, now: float, seen: float) -> Plan:
    """What a kubelet does next with a pod of its node. `seen`: when it first saw the pod in its present state."""
    status = pod.status
    phase = (status.phase if status is not None else None) or "Pending"
    if pod.metadata.deletionTimestamp is not None:
        return _stop(pod, phase, now, seen)
    if phase in ("Succeeded", "Failed"):
        return NOTHING
    if phase == "Pending":
        default = START_FROM_SECONDS + _jitter(pod.metadata.uid or "") * (
            START_TO_SECONDS - START_FROM_SECONDS
        )
        wait = seen + _number(pod, START_SECONDS, default) - now
        if wait > 0:
            return Plan(again_seconds=wait)
        return _start(pod, node_address, pod_address, now)
    return _run(pod, now)


def _conditions(pod: PodView, now: str, ready: bool, reason: str = "") -> list[dict[str, Any]]:
    """The kubelet's conditions; a strategic merge keeps those of others."""

    def condition(kind: str, good: bool) -> dict[str, Any]:
        found: dict[str, Any] = {
            "type": kind,
            "status": "True" if good else "False",
            "lastTransitionTime": now,
        }
        if pod.metadata.generation:
            found["observedGeneration"] = pod.metadata.generation
        if (reason and not good) or (reason and kind == "Initialized"):
            found["reason"] = reason
        return found

    return [
        condition("PodReadyToStartContainers", not reason),
        condition("Initialized", True),
        condition("Ready", ready),
        condition("ContainersReady", ready),
    ]


def _container_id(pod: PodView, name: str, count: int) -> str:
    digest = hashlib.sha256(f"{pod.metadata.uid}/{name}/{count}".encode()).hexdigest()
    return f"simulated://{digest}"


def _running_status(pod: PodView, container: Container, now: str, restarts: int) -> dict[str, Any]:
    image = container.image or ""
    return {
        "name": container.name,
        "image": image,
        "imageID": "sha256:" + hashlib.sha256(image.encode()).hexdigest(),
        "containerID": _container_id(pod, container.name, restarts),
        "restartCount": restarts,
        "ready": True,
        "started": True,
        "state": {"running": {"startedAt": now}, "terminated": None, "waiting": None},
    }


def _terminated_status(
    pod: PodView, container: Container, began: str | None, now: str, code: int, restarts: int
) -> dict[str, Any]:
    image = container.image or ""
    name = container.name
    return {
        "name": name,
        "image": image,
        "imageID": "sha256:" + hashlib.sha256(image.encode()).hexdigest(),
        "containerID": _container_id(pod, name, restarts),
        "restartCount": restarts,
        "ready": False,
        "started": False,
        "state": {
            "running": None,
            "waiting": None,
            "terminated": {
                "exitCode": code,
                "reason": "Completed" if code == 0 else "Error",
                "startedAt": began or now,
                "finishedAt": now,
                "containerID": _container_id(pod, name, restarts),
            },
        },
    }


def _start(pod: PodView, node_address: str, pod_address: str, at: float) -> Plan:
    now = times.of_seconds(at)
    address = node_address if pod.spec.hostNetwork else pod_address
    began = (pod.status.startTime if pod.status is not None else None) or now
    status: dict[str, Any] = {
        "phase": "Running",
        "startTime": began,
        "hostIP": node_address,
        "hostIPs": [{"ip": node_address}],
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": _conditions(pod, now, True),
        "containerStatuses": [_running_status(pod, c, now, 0) for c in pod.spec.containers],
    }
    if pod.metadata.generation:
        status["observedGeneration"] = pod.metadata.generation
    events = []
    if pod.spec.initContainers:
        # Sidecars (restartPolicy Always) run on; the others are done before the containers start.
        status["initContainerStatuses"] = [
            _running_status(pod, c, now, 0)
            if c.restartPolicy == "Always"
            else {**_terminated_status(pod, c, now, now, 0, 0), "ready": True}
            for c in pod.spec.initContainers
        ]
    for container in (*(pod.spec.initContainers or ()), *pod.spec.containers):
        image = container.image or ""
        events += [
            (container.name, "Pulled", f'Container image "{image}" already present on machine'),
            (container.name, "Created", "Container created"),
            (container.name, "Started", "Container started"),
        ]
    seconds = run_seconds(pod)
    deadline = pod.spec.activeDeadlineSeconds
    return Plan(status=status, events=events, again_seconds=_earliest(seconds, deadline))


def _earliest(*seconds: float | None) -> float | None:
    known = [s for s in seconds if s is not None]
    return min(known) if known else None


def _backoff_seconds(restarts: int) -> float:
    return min(BACKOFF_FIRST_SECONDS * 2.0 ** min(restarts, 10), BACKOFF_MAX_SECONDS)


def _run(pod: PodView, at: float) -> Plan:
    """A running pod: its containers end, restart, back off; the deadline passes."""
    now = times.of_seconds(at)
    status = pod.status
    assert status is not None
    deadline = pod.spec.activeDeadlineSeconds
    left: float | None = None
    if deadline is not None and status.startTime:
        left = times.parse(status.startTime) + deadline - at
        if left <= 0:
            return Plan(
                status={
                    **_ended(pod, now, "Failed", TERMINATED_BY_SIGNAL),
                    "reason": "DeadlineExceeded",
                    "message": "Pod was active on the node longer than the specified deadline",
                }
            )
    seconds = run_seconds(pod)
    if seconds is None:
        return Plan(again_seconds=left)
    code = int(_number(pod, EXIT_CODE, 0)) & 0xFF
    policy = pod.spec.restartPolicy or "Always"
    known = {c.name: c for c in status.containerStatuses or ()}
    changed: list[dict[str, Any]] = []
    events: list[tuple[str, str, str]] = []
    waits: list[float | None] = [left]
    done = True
    for container in pod.spec.containers:
        was = known.get(container.name)
        state = was.state if was is not None else None
        restarts = was.restartCount if was is not None else 0
        if state is not None and state.terminated is not None:
            continue
        if state is not None and state.waiting is not None:
            last = was.lastState.terminated if was is not None and was.lastState is not None else None
            if last is not None and last.finishedAt:
                wait = times.parse(last.finishedAt) + _backoff_seconds(restarts) - at
                if wait > 0:
                    waits.append(wait)
                    done = False
                    continue
            changed.append(_running_status(pod, container, now, restarts + 1))
            events.append((container.name, "Started", "Container started"))
            waits.append(seconds)
            done = False
            continue
        began = state.running.startedAt if state is not None and state.running is not None else None
        wait = (times.parse(began) if began else at) + seconds - at
        if wait > 0:
            waits.append(wait)
            done = False
            continue
        ended = _terminated_status(pod, container, began, now, code, restarts)
        if policy == "Always" or (policy == "OnFailure" and code != 0):
            backoff = _backoff_seconds(restarts)
            ended["lastState"] = {"terminated": ended["state"]["terminated"]}
            ended["state"] = {
                "running": None,
                "terminated": None,
                "waiting": {
                    "reason": "CrashLoopBackOff",
                    "message": f"back-off {int(backoff)}s restarting failed container={container.name} "
                    f"pod={pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})",
                },
            }
            events.append(
                (container.name, "BackOff", f"Back-off restarting failed container {container.name}")
            )
            waits.append(backoff)
            done = False
        changed.append(ended)
    again = _earliest(*waits)
    if done:
        failed = code != 0
        return Plan(status=_ended(pod, now, "Failed" if failed else "Succeeded", code))
    if not changed:
        return Plan(again_seconds=again)
    ready = all("running" in c["state"] and c["state"]["running"] for c in changed)
    return Plan(
        status={"containerStatuses": changed, "conditions": _conditions(pod, now, ready)},
        events=events,
        again_seconds=again,
    )


def _ended(pod: PodView, now: str, phase: str, code: int) -> dict[str, Any]:
    """The status of a pod whose containers are all done."""
    known = {c.name: c for c in (pod.status.containerStatuses if pod.status is not None else None) or ()}
    containers = []
    for container in pod.spec.containers:
        was = known.get(container.name)
        state = was.state if was is not None else None
        if state is not None and state.terminated is not None:
            continue
        began = state.running.startedAt if state is not None and state.running is not None else None
        restarts = was.restartCount if was is not None else 0
        containers.append(_terminated_status(pod, container, began, now, code, restarts))
    status: dict[str, Any] = {
        "phase": phase,
        "conditions": _conditions(pod, now, False, "PodCompleted" if phase == "Succeeded" else "PodFailed"),
    }
    if containers:
        status["containerStatuses"] = containers
    return status


def _stop(pod: PodView, phase: str, at: float, seen: float) -> Plan:
    """A pod that is being deleted: its containers stop within the grace period, then it is removed."""
    if phase in ("Succeeded", "Failed", "Pending"):
        return Plan(remove=True)
    grace = pod.metadata.deletionGracePeriodSeconds or 0
    wait = seen + min(float(grace), _number(pod, STOP_SECONDS, DEFAULT_STOP_SECONDS)) - at
    if wait > 0:
        return Plan(again_seconds=wait)
    return Plan(status=_ended(pod, times.of_seconds(at), "Failed", TERMINATED_BY_SIGNAL), remove=True)


def pod_address(network: ipaddress.IPv4Network, taken: set[int]) -> tuple[str, int]:
    """A free address of a node's network, and its number there. The first is the bridge's."""
    for number in range(2, network.num_addresses - 1):
        if number not in taken:
            return str(network[number]), number
    # More pods than addresses: the node's limit of pods should have come first.
    return str(network[network.num_addresses - 1]), network.num_addresses - 1
