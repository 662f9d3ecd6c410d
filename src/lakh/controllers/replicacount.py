"""How many replicas a metric asks for: the arithmetic of HorizontalPodAutoscalers (upstream's podautoscaler/replica_calculator.go, metrics/utilization.go).

Pure functions of pods and samples. Amounts are milli-units. A pod without a sample counts for its target when replicas would be taken away, and for
nothing when some would be added; so does one that is not ready.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from lakh.machinery.quantity import parse_milli

from . import clock
from .pods import find_condition
from .views import Condition, Meta, View

TOLERANCE = 0.1
CPU_INITIALIZATION_SECONDS = 300.0
INITIAL_READINESS_SECONDS = 30.0


class MetricsError(Exception):
    """No number of replicas follows from a metric."""


@dataclass(frozen=True)
class Sample:
    """What a pod used, over the seconds before a time."""

    value: int
    at: float = 0.0
    window_seconds: float = 60.0


@dataclass(frozen=True)
class Tolerance:
    """How far usage may be from its target before the number of replicas changes."""

    down: float = TOLERANCE
    up: float = TOLERANCE

    def holds(self, ratio: float) -> bool:
        """Whether a ratio of usage to target changes nothing."""
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True)
class Proposal:
    """Replicas that a metric asks for; what is used, a pod, and in percent of what is requested."""

    replicas: int
    usage: int
    utilization: int | None = None


class Resources(View):
    """What a container asks for."""

    requests: dict[str, str] | None = None


class Container(View):
    """A container."""

    name: str = ""
    resources: Resources | None = None
    restartPolicy: str | None = None


class PodSpec(View):
    """A pod's spec."""

    containers: list[Container] | None = None
    initContainers: list[Container] | None = None
    resources: Resources | None = None


class PodStatus(View):
    """A pod's status."""

    phase: str | None = None
    startTime: str | None = None
    conditions: list[Condition] | None = None


class Pod(View):
    """A pod, as autoscaling sees it."""

    metadata: Meta
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)


@dataclass
class _Groups:
    ready: int
    unready: set[str]
    missing: set[str]


def ready_count(pods: Iterable[Pod]) -> int:
    """Running pods that are ready."""
    found = 0
    for pod in pods:
        ready = find_condition(pod.status.conditions, "Ready")
        found += pod.status.phase == "Running" and ready is not None and ready.status == "True"
    return found


def _is_unready(pod: Pod, sample: Sample, now: float) -> bool:
    """Whether the CPU that a pod uses says nothing: it has only just started, or has never been ready."""
    ready, started = find_condition(pod.status.conditions, "Ready"), clock.parse(pod.status.startTime)
    if ready is None or started is None:
        return True
    changed = clock.parse(ready.lastTransitionTime) or 0.0
    if started + CPU_INITIALIZATION_SECONDS > now:
        return ready.status == "False" or sample.at < changed + sample.window_seconds
    return ready.status == "False" and started + INITIAL_READINESS_SECONDS > changed


def _group(pods: Collection[Pod], samples: dict[str, Sample], resource: str, now: float) -> _Groups:
    """Sorts pods, and takes the samples out of those that do not count."""
    groups = _Groups(0, set(), set())
    for pod in pods:
        name, sample = pod.metadata.name, samples.get(pod.metadata.name)
        if pod.metadata.deletionTimestamp is not None or pod.status.phase == "Failed":
            samples.pop(name, None)
        elif pod.status.phase == "Pending":
            groups.unready.add(name)
        elif sample is None:
            groups.missing.add(name)
        elif resource == "cpu" and _is_unready(pod, sample, now):
            groups.unready.add(name)
        else:
            groups.ready += 1
    for name in groups.unready:
        samples.pop(name, None)
    return groups


def requests_of(pods: Iterable[Pod], resource: str, container: str = "") -> dict[str, int]:
    """What pods, or one container of each, request; raises MetricsError when one requests nothing."""
    found: dict[str, int] = {}
    for pod in pods:
        spec, name = pod.spec, pod.metadata.name
        whole = (spec.resources.requests if spec.resources is not None else None) or {}
        if not container and resource in whole:
            found[name] = parse_milli(whole[resource])
            continue
        all_of = [
            *(spec.containers or ()),
            *(c for c in spec.initContainers or () if c.restartPolicy == "Always"),
        ]
        wanted = [c for c in all_of if not container or c.name == container]
        if container and not wanted:
            raise MetricsError(f"container {container} not found in Pod {name}")
        total = 0
        for one in wanted:
            requests = (one.resources.requests if one.resources is not None else None) or {}
            if resource not in requests:
                raise MetricsError(f"missing request for {resource} in container {one.name} of Pod {name}")
            total += parse_milli(requests[resource])
        found[name] = total
    return found


def _utilization(
    samples: Mapping[str, Sample], requests: Mapping[str, int], target: int
) -> tuple[float, int, int]:
    """Ratio to the target, percent of the requests, and what a pod uses."""
    used = [(sample.value, requests[name]) for name, sample in samples.items() if name in requests]
    requested = sum(request for _, request in used)
    if not requested:
        raise MetricsError("no metrics returned matched known pods")
    total = sum(value for value, _ in used)
    percent = total * 100 // requested
    return percent / target, percent, total // len(used)


def _average(samples: Mapping[str, Sample], target: int) -> tuple[float, int]:
    usage = sum(sample.value for sample in samples.values()) // len(samples)
    return usage / target, usage


def of_utilization(
    pods: Collection[Pod],
    samples: Mapping[str, Sample],
    resource: str,
    target: int,
    current: int,
    tolerance: Tolerance,
    now: float,
    container: str = "",
) -> Proposal:
    """Replicas so that pods use `target` percent of what they request. Raises MetricsError."""
    given, groups = _sorted(pods, samples, resource, now)
    requests = requests_of(pods, resource, container)
    ratio, percent, usage = _utilization(given, requests, target)

    def again(filled: Mapping[str, Sample]) -> float:
        return _utilization(filled, requests, target)[0]

    fallback = {name: requests[name] * max(100, target) // 100 for name in groups.missing}
    replicas = _replicas(given, groups, ratio, fallback, again, current, tolerance)
    return Proposal(replicas, usage, percent)


def of_average(
    pods: Collection[Pod],
    samples: Mapping[str, Sample],
    resource: str,
    target: int,
    current: int,
    tolerance: Tolerance,
    now: float,
) -> Proposal:
    """Replicas so that pods have `target` on average. Raises MetricsError."""
    given, groups = _sorted(pods, samples, resource, now)
    ratio, usage = _average(given, target)
    fallback = dict.fromkeys(groups.missing, target)
    replicas = _replicas(
        given, groups, ratio, fallback, lambda filled: _average(filled, target)[0], current, tolerance
    )
    return Proposal(replicas, usage)


def _sorted(
    pods: Collection[Pod], samples: Mapping[str, Sample], resource: str, now: float
) -> tuple[dict[str, Sample], _Groups]:
    if not pods:
        raise MetricsError("no pods returned by selector while calculating replica count")
    given = dict(samples)
    groups = _group(pods, given, resource, now)
    if not given:
        raise MetricsError("did not receive metrics for targeted pods (pods might be unready)")
    return given, groups


def _replicas(
    samples: dict[str, Sample],
    groups: _Groups,
    ratio: float,
    fallback: Mapping[str, int],
    again: Callable[[Mapping[str, Sample]], float],
    current: int,
    tolerance: Tolerance,
) -> int:
    rebalanced = bool(groups.unready) and ratio > 1.0
    if not rebalanced and not groups.missing:
        return current if tolerance.holds(ratio) else math.ceil(ratio * groups.ready)
    if ratio != 1.0:
        for name in groups.missing:
            # To take away, it uses its target; to add, nothing.
            samples[name] = Sample(fallback[name] if ratio < 1.0 else 0)
    if rebalanced:
        samples.update(dict.fromkeys(groups.unready, Sample(0)))
    new = again(samples)
    if tolerance.holds(new) or (ratio < 1.0 < new) or (ratio > 1.0 > new):
        return current
    replicas = math.ceil(new * len(samples))
    turns = (new < 1.0 and replicas > current) or (new > 1.0 and replicas < current)
    return current if turns else replicas


def of_value(value: int, target: int, current: int, ready: int | None, tolerance: Tolerance) -> Proposal:
    """Replicas for a value that shall be `target`; `ready` pods share it, none when there are no replicas."""
    ratio = value / target
    if ready is None:
        return Proposal(math.ceil(ratio), value)
    return Proposal(current if tolerance.holds(ratio) else math.ceil(ratio * ready), value)


def of_value_per_pod(value: int, target: int, current: int, tolerance: Tolerance) -> Proposal:
    """Replicas so that each has `target` of a value."""
    replicas = current
    if not current or not tolerance.holds(value / (target * current)):
        replicas = math.ceil(value / target)
    return Proposal(replicas, math.ceil(value / current) if current else 0)
