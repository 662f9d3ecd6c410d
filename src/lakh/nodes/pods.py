"""Pure: what a simulated kubelet does with a pod.

What it does next (`steps.step`) follows from the pod as the API has it and from the clock: what to write, and when to look again. Nothing is
kept in memory that the API does not have, so a fleet that is started again goes on where it was.

What a simulated container does is said by annotations of its pod:

* `lakh.dev/start-seconds`: how long it takes to start (default 0.2 to 1.0, drawn from the pod's uid);
* `lakh.dev/run-seconds`: how long it runs. Without it a pod that restarts always runs for ever, others run 5 s;
* `lakh.dev/exit-code`: how it ends (default 0);
* `lakh.dev/stop-seconds`: how long it takes to stop (default 0.1), at most the grace period;
* `lakh.dev/log`: lines that it logs.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from functools import lru_cache
from sys import intern
from typing import Any

import msgspec

from lakh.client.sharing import Pool
from lakh.machinery import times

START_SECONDS = "lakh.dev/start-seconds"
RUN_SECONDS = "lakh.dev/run-seconds"
EXIT_CODE = "lakh.dev/exit-code"
STOP_SECONDS = "lakh.dev/stop-seconds"
LOG = "lakh.dev/log"

DEFAULT_RUN_SECONDS = 5.0
DEFAULT_STOP_SECONDS = 0.1
START_FROM_SECONDS, START_TO_SECONDS = 0.2, 1.0
# kubelet's back-off of containers that fail again and again.
BACKOFF_FIRST_SECONDS = 10.0
BACKOFF_MAX_SECONDS = 300.0
# A container that ran twice the longest back-off starts anew.
BACKOFF_RESET_SECONDS = 2 * BACKOFF_MAX_SECONDS
# A container that ends at once is not looked at in a busy loop.
RESTART_MIN_SECONDS = 0.5
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


Amounts = dict[str, str | int | float]


class Resources(msgspec.Struct, gc=False, omit_defaults=True):
    """ResourceRequirements."""

    limits: Amounts | None = None
    requests: Amounts | None = None


class ResizePolicy(msgspec.Struct, gc=False):
    """ContainerResizePolicy."""

    resourceName: str = ""
    restartPolicy: str = ""


class ContainerStatus(msgspec.Struct, gc=False, omit_defaults=True):
    """What a step reads of a container's status."""

    name: str
    restartCount: int = 0
    state: State | None = None
    lastState: State | None = None
    allocatedResources: Amounts | None = None
    resources: Resources | None = None


class PodStatus(msgspec.Struct, gc=False, omit_defaults=True):
    """What a step reads of a pod's status, and `podIP`, by which the fleet knows taken addresses."""

    phase: str | None = None
    podIP: str | None = None
    startTime: str | None = None
    observedGeneration: int | None = None
    initContainerStatuses: list[ContainerStatus] | None = None
    containerStatuses: list[ContainerStatus] | None = None
    ephemeralContainerStatuses: list[ContainerStatus] | None = None


class Container(msgspec.Struct, gc=False):
    """What a step reads of a container."""

    name: str
    image: str | None = None
    restartPolicy: str | None = None
    resources: Resources | None = None
    resizePolicy: list[ResizePolicy] | None = None


class PodSpec(msgspec.Struct, gc=False):
    """What a step reads of a pod's spec."""

    containers: list[Container]
    initContainers: list[Container] | None = None
    ephemeralContainers: list[Container] | None = None
    nodeName: str | None = None
    restartPolicy: str | None = None
    hostNetwork: bool | None = None
    terminationGracePeriodSeconds: int | None = None
    activeDeadlineSeconds: int | None = None


class Annotations(msgspec.Struct, gc=False, omit_defaults=True, frozen=True):
    """The annotations that say what a simulated container does."""

    start_seconds: str | None = msgspec.field(name=START_SECONDS, default=None)
    run_seconds: str | None = msgspec.field(name=RUN_SECONDS, default=None)
    exit_code: str | None = msgspec.field(name=EXIT_CODE, default=None)
    stop_seconds: str | None = msgspec.field(name=STOP_SECONDS, default=None)
    log: str | None = msgspec.field(name=LOG, default=None)


NO_ANNOTATIONS = Annotations()


class PodMeta(msgspec.Struct, gc=False, omit_defaults=True):
    """What the fleet reads of a pod's metadata."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resourceVersion: str | None = None
    generation: int | None = None
    deletionTimestamp: str | None = None
    deletionGracePeriodSeconds: int | None = None
    annotations: Annotations | None = None


class PodView(msgspec.Struct, gc=False):
    """The pod."""

    metadata: PodMeta
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


def _annotations(pod: PodView) -> Annotations:
    return pod.metadata.annotations or NO_ANNOTATIONS


def _number(text: str | None, default: float) -> float:
    """An annotation's number; the default when it is none, or no number that makes sense."""
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        return default
    return max(0.0, number) if math.isfinite(number) else default


def _jitter(uid: str) -> float:
    """A number from 0 to 1 that is the pod's own."""
    return int(hashlib.blake2b(uid.encode(), digest_size=4).hexdigest(), 16) / 0xFFFFFFFF


def run_seconds(pod: PodView) -> float | None:
    """How long its containers run; None for ever."""
    text = _annotations(pod).run_seconds
    if text is None and (pod.spec.restartPolicy or "Always") == "Always":
        return None
    return _number(text, DEFAULT_RUN_SECONDS)


def start_seconds(pod: PodView) -> float:
    """How long its containers take to start."""
    text = _annotations(pod).start_seconds
    default = START_FROM_SECONDS + _jitter(pod.metadata.uid) * (START_TO_SECONDS - START_FROM_SECONDS)
    return _number(text, default)


def exit_code(pod: PodView) -> int:
    """How its containers end."""
    return int(_number(_annotations(pod).exit_code, 0)) & 0xFF


_parse = lru_cache(maxsize=1024)(times.parse)
"""Thousands of pods start in the same second."""
_containers = Pool().one
_annotation_sets = Pool().one
_statuses = Pool().one


def share(old: PodView | None, new: PodView) -> None:
    """Makes pods of one template hold one copy of their containers. Called by the informer with each version of a pod."""
    metadata, spec = new.metadata, new.spec
    if old is not None and old.metadata.annotations == metadata.annotations:
        metadata.annotations = old.metadata.annotations
    elif metadata.annotations is not None:
        metadata.annotations = _annotation_sets(metadata.annotations)
    if old is not None and old.spec == spec:
        new.spec = old.spec
        return
    spec.containers = _containers(spec.containers)
    if spec.initContainers:
        spec.initContainers = _containers(spec.initContainers)
    if spec.nodeName is not None:
        spec.nodeName = intern(spec.nodeName)
    if spec.restartPolicy is not None:
        spec.restartPolicy = intern(spec.restartPolicy)


def share_status(pod: PodView) -> None:
    """Makes pods that started in the same second hold one status: the fleet has noted the address, which is the pod's own."""
    if pod.status is not None:
        pod.status.podIP = None
        pod.status = _statuses(pod.status)


# -- conditions ----------------------------------------------------------------------------------------------------------------


def condition(
    pod: PodView, kind: str, good: bool, now: str, reason: str | None = None, message: str | None = None
) -> dict[str, Any]:
    """A condition that changes now. `None` takes an earlier reason away."""
    found: dict[str, Any] = {
        "type": kind,
        "status": "True" if good else "False",
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }
    if pod.metadata.generation:
        found["observedGeneration"] = pod.metadata.generation
    return found


def _ready_conditions(
    pod: PodView, now: str, reason: str | None, message: str | None = None
) -> list[dict[str, Any]]:
    """Ready and ContainersReady: true without a reason."""
    return [
        condition(pod, kind, reason is None, now, reason, message) for kind in ("Ready", "ContainersReady")
    ]


# -- container statuses --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _image_id(image: str) -> str:
    return "sha256:" + hashlib.sha256(image.encode()).hexdigest()


def _container_id(pod: PodView, name: str, count: int) -> str:
    digest = hashlib.sha256(f"{pod.metadata.uid}/{name}/{count}".encode()).hexdigest()
    return f"simulated://{digest}"


def container_status(
    pod: PodView, container: Container, restarts: int, state: State, last: State | None = None
) -> dict[str, Any]:
    """A container's status, whole: a patch replaces the list of them."""
    image = container.image or ""
    running = state.running is not None
    was = seen_status(
        [*(pod.status.containerStatuses or ()), *(pod.status.initContainerStatuses or ())]
        if pod.status is not None
        else None,
        container.name,
    )
    resources = was.resources or container.resources or _NO_RESOURCES
    allocated = was.allocatedResources or (container.resources or _NO_RESOURCES).requests
    found = {
        "name": container.name,
        "image": image,
        "imageID": _image_id(image),
        "containerID": _container_id(pod, container.name, restarts),
        "restartCount": restarts,
        "ready": running,
        "started": running,
        "state": _plain(state),
    }
    if last is not None:
        found["lastState"] = _plain(last)
    if allocated:
        found["allocatedResources"] = allocated
    if running:
        found["resources"] = plain(resources)
    return found


_NO_RESOURCES = Resources()


def plain(resources: Resources) -> dict[str, Any]:
    """As JSON."""
    return {
        side: amounts
        for side, amounts in (("limits", resources.limits), ("requests", resources.requests))
        if amounts
    }


def _plain(state: State) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(state)
    if state.terminated is not None:
        found["terminated"]["exitCode"] = state.terminated.exitCode
    return found


def _running_status(
    pod: PodView, container: Container, now: str, restarts: int, last: State | None = None
) -> dict[str, Any]:
    return container_status(pod, container, restarts, State(running=Running(now)), last)


def _terminated(
    pod: PodView, container: Container, began: str | None, now: str, code: int, restarts: int
) -> State:
    return State(
        terminated=Terminated(
            exitCode=code,
            reason="Completed" if code == 0 else "Error",
            startedAt=began or now,
            finishedAt=now,
            containerID=_container_id(pod, container.name, restarts),
        )
    )


# -- starting ------------------------------------------------------------------------------------------------------------------


def started_events(container: Container) -> list[tuple[str, str, str]]:
    """What a kubelet records when a container starts."""
    return [
        (container.name, "Pulled", f'Container image "{container.image or ""}" already present on machine'),
        (container.name, "Created", "Container created"),
        (container.name, "Started", "Container started"),
    ]


def start(pod: PodView, node_address: str, pod_address: str, at: float) -> Plan:
    """A pod that is due to start: its containers run."""
    now = times.of_seconds(at)
    address = node_address if pod.spec.hostNetwork else pod_address
    status: dict[str, Any] = {
        "phase": "Running",
        "startTime": (pod.status.startTime if pod.status is not None else None) or now,
        "hostIP": node_address,
        "hostIPs": [{"ip": node_address}],
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [
            condition(pod, "PodReadyToStartContainers", True, now),
            condition(pod, "Initialized", True, now),
            *_ready_conditions(pod, now, None),
        ],
        "containerStatuses": [_running_status(pod, c, now, 0) for c in pod.spec.containers],
    }
    if pod.metadata.generation:
        status["observedGeneration"] = pod.metadata.generation
    if pod.spec.initContainers:
        # Sidecars (restartPolicy Always) run on; the others are done before the containers start.
        status["initContainerStatuses"] = [
            _running_status(pod, c, now, 0)
            if c.restartPolicy == "Always"
            else {**container_status(pod, c, 0, _terminated(pod, c, now, now, 0, 0)), "ready": True}
            for c in pod.spec.initContainers
        ]
    events: list[tuple[str, str, str]] = []
    for container in (*(pod.spec.initContainers or ()), *pod.spec.containers):
        events += started_events(container)
    return Plan(
        status=status,
        events=events,
        again_seconds=_earliest(run_seconds(pod), pod.spec.activeDeadlineSeconds),
    )


def _earliest(*seconds: float | None) -> float | None:
    known = [s for s in seconds if s is not None]
    return min(known) if known else None


# -- running -------------------------------------------------------------------------------------------------------------------


def backoff_seconds(restarts: int, ran_seconds: float) -> float:
    """How long a kubelet waits before it starts a container again that was restarted so often and ran so long this time.

    Never the first time, nor after a long run; then 10 s, and twice as long each time, up to five minutes.
    """
    if restarts == 0 or ran_seconds >= BACKOFF_RESET_SECONDS:
        return 0.0
    return float(min(BACKOFF_FIRST_SECONDS * 2 ** min(restarts - 1, 10), BACKOFF_MAX_SECONDS))


def _ran_seconds(ended: Terminated) -> float:
    if not ended.startedAt or not ended.finishedAt:
        return 0.0
    return times.parse(ended.finishedAt) - times.parse(ended.startedAt)


def seen_status(statuses: list[ContainerStatus] | None, name: str) -> ContainerStatus:
    """A container's status as the API has it; one that is not there is of a container that has not run."""
    for status in statuses or ():
        if status.name == name:
            return status
    return ContainerStatus(name)


def run(pod: PodView, at: float) -> Plan:
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
    plan = Plan()
    waits: list[float | None] = [left]
    unready_before: list[str] = []
    unready: list[str] = []
    codes: list[int] = []
    fates: list[tuple[Container, ContainerStatus, _Fate]] = []
    changed = False
    for container in pod.spec.containers:
        was = seen_status(status.containerStatuses, container.name)
        fate = _container(pod, container, was, at, seconds)
        fates.append((container, was, fate))
        if was.state is None or was.state.running is None:
            unready_before.append(container.name)
        if fate.status is not None:
            changed = True
        plan.events += fate.events
        if fate.code is not None:
            codes.append(fate.code)
        else:
            waits.append(fate.again_seconds)
        if not fate.running:
            unready.append(container.name)
    if len(codes) == len(pod.spec.containers):
        plan.status = _ended(pod, now, "Failed" if any(codes) else "Succeeded", exit_code(pod))
        return plan
    plan.again_seconds = _earliest(*waits)
    if changed:
        plan.status = {
            "containerStatuses": [
                fate.status
                if fate.status is not None
                else container_status(pod, container, was.restartCount, was.state or State(), was.lastState)
                for container, was, fate in fates
            ]
        }
        if unready != unready_before:
            reason = "ContainersNotReady" if unready else None
            message = f"containers with unready status: [{' '.join(unready)}]" if unready else None
            conditions = _ready_conditions(pod, now, reason, message)
            if bool(unready) == bool(unready_before):
                # Another text, the same state: since when stays as it is.
                for each in conditions:
                    del each["lastTransitionTime"]
            plan.status["conditions"] = conditions
    return plan


@dataclass(slots=True)
class _Fate:
    """What becomes of one container: its new status if that changes, `code` if it is done for good."""

    running: bool
    status: dict[str, Any] | None = None
    code: int | None = None
    again_seconds: float | None = None
    events: list[tuple[str, str, str]] = field(default_factory=list)


def _container(pod: PodView, container: Container, was: ContainerStatus, at: float, seconds: float) -> _Fate:
    """One container of a running pod."""
    now = times.of_seconds(at)
    state = was.state or State()
    restarts = was.restartCount
    if state.terminated is not None:
        return _Fate(False, code=state.terminated.exitCode)
    if state.waiting is not None:
        last = was.lastState.terminated if was.lastState is not None else None
        if last is not None and last.finishedAt:
            wait = times.parse(last.finishedAt) + backoff_seconds(restarts, _ran_seconds(last)) - at
            if wait > 0:
                return _Fate(False, again_seconds=wait)
        return _Fate(
            True,
            _running_status(pod, container, now, restarts + 1),
            None,
            seconds,
            started_events(container),
        )
    began = state.running.startedAt if state.running is not None else None
    wait = (_parse(began) if began else at) + seconds - at
    if wait > 0:
        return _Fate(True, again_seconds=wait)
    code = exit_code(pod)
    ended = _terminated(pod, container, began, now, code, restarts)
    policy = container.restartPolicy or pod.spec.restartPolicy or "Always"
    if policy == "Never" or (policy == "OnFailure" and code == 0):
        return _Fate(False, container_status(pod, container, restarts, ended, was.lastState), code)
    assert ended.terminated is not None
    backoff = backoff_seconds(restarts, _ran_seconds(ended.terminated))
    if not backoff:
        again = _running_status(pod, container, now, restarts + 1, ended)
        return _Fate(True, again, None, max(seconds, RESTART_MIN_SECONDS), started_events(container))
    metadata = pod.metadata
    whose = f"{metadata.name}_{metadata.namespace}({metadata.uid})"
    message = f"back-off {_go_duration(backoff)} restarting failed container={container.name} pod={whose}"
    return _Fate(
        False,
        container_status(
            pod, container, restarts, State(waiting=Waiting("CrashLoopBackOff", message)), ended
        ),
        None,
        backoff,
        [
            (
                container.name,
                "BackOff",
                f"Back-off restarting failed container {container.name} in pod {whose}",
            )
        ],
    )


def _go_duration(seconds: float) -> str:
    """As Go prints it: `10s`, `1m20s`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


# -- ending --------------------------------------------------------------------------------------------------------------------


def _ended(pod: PodView, now: str, phase: str, code: int) -> dict[str, Any]:
    """The status of a pod whose containers are all done; those that still run end now with `code`."""
    seen = pod.status or PodStatus()
    containers = []
    for container in pod.spec.containers:
        was = seen_status(seen.containerStatuses, container.name)
        state, last = was.state or State(), was.lastState
        if state.waiting is not None and last is not None:
            state, last = last, None
        elif state.terminated is None:
            began = state.running.startedAt if state.running is not None else None
            state = _terminated(pod, container, began, now, code, was.restartCount)
        containers.append(container_status(pod, container, was.restartCount, state, last))
    succeeded = phase == "Succeeded"
    reason = "PodCompleted" if succeeded else "PodFailed"
    conditions = [
        condition(pod, "PodReadyToStartContainers", False, now),
        *_ready_conditions(pod, now, reason),
    ]
    if succeeded:
        conditions.append({"type": "Initialized", "status": "True", "reason": reason})
    status: dict[str, Any] = {"phase": phase, "conditions": conditions, "containerStatuses": containers}
    if pod.spec.initContainers:
        status["initContainerStatuses"] = [_init_ended(pod, c, now) for c in pod.spec.initContainers]
    return status


def _init_ended(pod: PodView, container: Container, now: str) -> dict[str, Any]:
    """An init container of a pod that ends: a sidecar ends with it, and well; the others ended before."""
    was = seen_status(pod.status.initContainerStatuses if pod.status is not None else None, container.name)
    state = was.state or State()
    if state.terminated is None:
        began = state.running.startedAt if state.running is not None else None
        state = _terminated(pod, container, began, now, 0, was.restartCount)
    status = container_status(pod, container, was.restartCount, state)
    return {**status, "ready": container.restartPolicy != "Always"}


def stop(pod: PodView, phase: str, at: float, seen: float) -> Plan:
    """A pod that is being deleted: its containers stop within the grace period, then it is removed."""
    if phase in ("Succeeded", "Failed", "Pending"):
        return Plan(remove=True)
    grace = pod.metadata.deletionGracePeriodSeconds or 0
    wait = seen + min(float(grace), _number(_annotations(pod).stop_seconds, DEFAULT_STOP_SECONDS)) - at
    if wait > 0:
        return Plan(again_seconds=wait)
    return Plan(status=_ended(pod, times.of_seconds(at), "Failed", TERMINATED_BY_SIGNAL), remove=True)
