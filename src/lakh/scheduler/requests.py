"""What a pod asks for: kube-scheduler's arithmetic of requests.

A pod's request is, per resource, the larger of what its containers (with sidecars) need together and of what any init container
needs while the sidecars before it run; then pod-level requests replace cpu, memory and huge pages, and overhead is added. cpu counts in
milli-units, everything else in whole units, both rounded up.

For scoring, containers that name no cpu or memory are taken to ask for 100m and 200Mi, so that pods without requests are
spread too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from lakh.machinery.quantity import parse, parse_milli

from .views import Container, ContainerStatus, Pod, PodSpec, Quantity, Resources

__all__ = [
    "CPU",
    "DEFAULT_MEMORY_BYTES",
    "DEFAULT_MILLI_CPU",
    "EPHEMERAL_STORAGE",
    "MEMORY",
    "PODS",
    "amounts",
    "images_of",
    "is_scalar",
    "pod_requests",
    "resized",
]

CPU = "cpu"
MEMORY = "memory"
EPHEMERAL_STORAGE = "ephemeral-storage"
PODS = "pods"

DEFAULT_MILLI_CPU = 100
DEFAULT_MEMORY_BYTES = 200 << 20


def amounts(quantities: Mapping[str, Quantity] | None) -> dict[str, int]:
    """Quantities as integers in the scheduler's units. Raises ValueError for what is no quantity."""
    if not quantities:
        return {}
    return {
        name: parse_milli(str(quantity)) if name == CPU else parse(str(quantity))
        for name, quantity in quantities.items()
    }


def is_scalar(name: str) -> bool:
    """Whether a resource is an extended one, huge pages or an attachable volume: upstream's IsScalarResourceName."""
    return "/" in name or name.startswith(("hugepages-", "attachable-volumes-"))


def images_of(spec: PodSpec) -> tuple[str, ...]:
    """The images of all containers as nodes name them. Takes images and names out of the spec: pods of a class may differ in these."""
    found = []
    for container in (*(spec.initContainers or ()), *(spec.containers or ())):
        image = container.image or ""
        if image.rfind(":") <= image.rfind("/"):
            image += ":latest"
        found.append(image)
        container.image = container.name = None
    return _shared(tuple(found))


@lru_cache(maxsize=4096)
def _shared(images: tuple[str, ...]) -> tuple[str, ...]:
    """One tuple for all pods with these images."""
    return images


def resized(pod: Pod) -> PodSpec:
    """The spec with what a placed pod holds while it is resized in place.

    A container's requests are the largest of what it asks for, was allocated and has; what it asks for does not count when that is
    infeasible. Upstream's component-helpers/resource, determineContainerReqs.
    """
    status, spec = pod.status, pod.spec
    infeasible = False
    for condition in status.conditions or ():
        if condition.type == "PodResizePending" and condition.reason == "Infeasible":
            infeasible = True
    containers = _resized(spec.containers, status.containerStatuses, infeasible)
    sidecars = _resized(spec.initContainers, status.initContainerStatuses, infeasible, sidecars=True)
    if containers is spec.containers and sidecars is spec.initContainers:
        return spec
    return msgspec.structs.replace(spec, containers=containers, initContainers=sidecars)


def _resized(
    containers: list[Container] | None,
    statuses: list[ContainerStatus] | None,
    infeasible: bool,
    *,
    sidecars: bool = False,
) -> list[Container] | None:
    if not containers or not statuses:
        return containers
    by_name = {status.name: status for status in statuses if status.resources is not None}
    if not by_name:
        return containers
    found, changed = [], False
    for container in containers:
        status = by_name.get(container.name or "")
        asked = (container.resources.requests if container.resources else None) or {}
        if status is not None and status.resources and not (sidecars and container.restartPolicy != "Always"):
            held = [status.resources.requests or {}, status.allocatedResources or {}]
            if any(more and more != asked for more in held) or infeasible:
                largest: dict[str, Quantity] = {}
                for more in held if infeasible else (asked, *held):
                    for name, quantity in more.items():
                        if name not in largest or _exceeds(name, quantity, largest[name]):
                            largest[name] = quantity
                if largest != asked:
                    changed = True
                    container = msgspec.structs.replace(container, resources=Resources(requests=largest))
        found.append(container)
    return found if changed else containers


def _exceeds(name: str, one: Quantity, other: Quantity) -> bool:
    try:
        return amounts({name: one})[name] > amounts({name: other})[name]
    except ValueError:
        return False  # the class says what is wrong with the quantity


def pod_requests(spec: PodSpec) -> tuple[dict[str, int], int, int]:
    """The pod's requests; and its cpu and memory as scoring counts them. Raises ValueError."""
    requests = _requests(spec, {})
    pod_level = amounts(spec.resources.requests) if spec.resources else {}
    missing = {CPU: DEFAULT_MILLI_CPU, MEMORY: DEFAULT_MEMORY_BYTES}
    if pod_level:
        missing = {name: value for name, value in missing.items() if not requests.get(name)}
    for_scores = _requests(spec, missing) if missing else requests
    return requests, for_scores.get(CPU, 0), for_scores.get(MEMORY, 0)


def _requests(spec: PodSpec, missing: Mapping[str, int]) -> dict[str, int]:
    total: dict[str, int] = {}
    for container in spec.containers or ():
        _add(total, _container(container, missing))
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.initContainers or ():
        needs = _container(container, missing)
        if container.restartPolicy == "Always":
            _add(total, needs)
            _add(sidecars, needs)
            needs = sidecars
        else:
            _add(needs, sidecars)
        _raise_to(peak, needs)
    _raise_to(total, peak)
    if spec.resources:
        total.update(
            (name, value)
            for name, value in amounts(spec.resources.requests).items()
            if name in (CPU, MEMORY) or name.startswith("hugepages-")
        )
    _add(total, amounts(spec.overhead))
    return total


def _container(container: Container, missing: Mapping[str, int]) -> dict[str, int]:
    needs = amounts(container.resources.requests) if container.resources else {}
    for name, value in missing.items():
        needs.setdefault(name, value)
    return needs


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _raise_to(total: dict[str, int], floor: Mapping[str, int]) -> None:
    for name, value in floor.items():
        if value > total.get(name, 0):
            total[name] = value
