"""What a pod asks for: kube-scheduler's arithmetic of requests.

A pod's request is, per resource, the larger of what its containers (with sidecars) need together and of what any init container
needs while the sidecars before it run; then pod-level requests replace cpu, memory and huge pages, and overhead is added. cpu counts in
milli-units, everything else in whole units, both rounded up.

For scoring, containers that name no cpu or memory are taken to ask for 100m and 200Mi, so that pods without requests are
spread too.
"""

from __future__ import annotations

from collections.abc import Mapping

from lakh.machinery.quantity import parse, parse_milli

from .views import Container, PodSpec, Quantity

__all__ = [
    "CPU",
    "DEFAULT_MEMORY_BYTES",
    "DEFAULT_MILLI_CPU",
    "EPHEMERAL_STORAGE",
    "MEMORY",
    "PODS",
    "amounts",
    "pod_requests",
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
