"""What objects count for in a ResourceQuota: pods, services and claims by what they ask for, everything else by number.

Pure functions of narrow views, with upstream's rules (pkg/quota/v1/evaluator/core, apiserver/pkg/quota/v1/generic). Amounts are canonical
quantities by the names that quotas have for them. A pod costs 10 µs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from lakh.machinery import quantity, times
from lakh.machinery.podamounts import add, raise_to, together

Amounts = Mapping[str, str]
Item = TypeVar("Item")

POD_NAMES = frozenset(
    (
        "count/pods",
        "pods",
        "cpu",
        "memory",
        "ephemeral-storage",
        *(f"{side}.{of}" for side in ("requests", "limits") for of in ("cpu", "memory", "ephemeral-storage")),
    )
)
SERVICE_NAMES = frozenset(("count/services", "services", "services.nodeports", "services.loadbalancers"))
CLAIM_NAMES = frozenset(("persistentvolumeclaims", "requests.storage"))
CLASS_SUFFIX = ".storageclass.storage.k8s.io/"
# Names from before there was `count/`.
ALIASES = ("configmaps", "replicationcontrollers", "resourcequotas", "secrets")
_HUGE_PAGES = "hugepages-"


class View(msgspec.Struct, gc=False, kw_only=True):
    """What is read of an object; the rest is skipped."""


class Scope(View):
    """`core/v1.ScopedResourceSelectorRequirement`."""

    scopeName: str
    operator: str = "Exists"
    values: list[str] | None = None

    def holds(self, names: Collection[str]) -> bool:
        """Whether it chooses what has one of these names, or none."""
        match self.operator:
            case "Exists":
                return bool(names)
            case "DoesNotExist":
                return not names
            case "In":
                return any(name in (self.values or ()) for name in names)
            case _:
                return not names or any(name not in (self.values or ()) for name in names)


class Resources(View):
    """`core/v1.ResourceRequirements`."""

    requests: dict[str, str] | None = None
    limits: dict[str, str] | None = None


class Container(View):
    """A container: what it asks for."""

    name: str
    resources: Resources | None = None
    restartPolicy: str | None = None


class ContainerStatus(View):
    """What a container has while it is resized."""

    name: str
    allocatedResources: dict[str, str] | None = None
    resources: Resources | None = None


class Condition(View):
    """A pod's condition."""

    type: str
    status: str = ""
    reason: str | None = None


class PodMeta(View):
    """A pod's metadata."""

    deletionTimestamp: str | None = None
    deletionGracePeriodSeconds: int | None = None


class PodSpec(View):
    """A pod's spec."""

    containers: list[Container] | None = None
    initContainers: list[Container] | None = None
    resources: Resources | None = None
    overhead: dict[str, str] | None = None
    priorityClassName: str | None = None
    activeDeadlineSeconds: int | None = None
    affinity: dict[str, Any] | None = None


class PodStatus(View):
    """A pod's status."""

    phase: str | None = None
    qosClass: str | None = None
    conditions: list[Condition] | None = None
    containerStatuses: list[ContainerStatus] | None = None
    initContainerStatuses: list[ContainerStatus] | None = None


class Pod(View):
    """A pod."""

    metadata: PodMeta
    spec: PodSpec
    status: PodStatus = msgspec.field(default_factory=PodStatus)


class ServicePort(View):
    """A port of a service."""

    nodePort: int | None = None


class ServiceSpec(View):
    """A service's spec."""

    type: str | None = None
    ports: list[ServicePort] | None = None
    allocateLoadBalancerNodePorts: bool | None = None


class Service(View):
    """A service."""

    spec: ServiceSpec


class ClaimMeta(View):
    """A claim's metadata."""

    annotations: dict[str, str] | None = None


class ClaimSpec(View):
    """A claim's spec."""

    storageClassName: str | None = None
    volumeAttributesClassName: str | None = None
    resources: Resources | None = None


class ModifyStatus(View):
    """A claim's change of its class of attributes."""

    targetVolumeAttributesClassName: str | None = None


class ClaimStatus(View):
    """A claim's status."""

    allocatedResources: dict[str, str] | None = None
    currentVolumeAttributesClassName: str | None = None
    modifyVolumeStatus: ModifyStatus | None = None


class Claim(View):
    """A claim of a volume."""

    metadata: ClaimMeta
    spec: ClaimSpec
    status: ClaimStatus = msgspec.field(default_factory=ClaimStatus)


# -- whose names they are --------------------------------------------------------------------------------------------------------------------


def is_of_pods(name: str) -> bool:
    """Whether pods count for this name of a quota."""
    extended = name.startswith("requests.") and "/" in name and "kubernetes.io/" not in name
    return name in POD_NAMES or extended or name.startswith((_HUGE_PAGES, f"requests.{_HUGE_PAGES}"))


def is_of_claims(name: str) -> bool:
    """Whether claims of volumes count for it."""
    by_class = name.endswith(tuple(CLASS_SUFFIX + of for of in CLAIM_NAMES))
    return name in CLAIM_NAMES or name == "count/persistentvolumeclaims" or by_class


def counted(name: str) -> tuple[str, str] | None:
    """The plural and the group whose objects it counts; None when it counts none."""
    if name in ALIASES:
        return name, ""
    plural, _, group = name.removeprefix("count/").partition(".")
    return (plural, group) if name.startswith("count/") and plural else None


# -- pods ------------------------------------------------------------------------------------------------------------------------------------


def is_charged(pod: Pod, now: float) -> bool:
    """Whether a pod's resources count: it has not ended, and is not long overdue to be gone."""
    if pod.status.phase in ("Failed", "Succeeded"):
        return False
    deleted, grace = pod.metadata.deletionTimestamp, pod.metadata.deletionGracePeriodSeconds
    return deleted is None or grace is None or now <= times.parse(deleted) + grace


def pod_usage(pod: Pod, now: float) -> dict[str, str]:
    """What a pod counts for. `now`: Unix time."""
    if not is_charged(pod, now):
        return {"count/pods": "1"}
    found = {"count/pods": "1", "pods": "1"}
    for name, amount in _of_pod(pod, "requests").items():
        if name in ("cpu", "memory", "ephemeral-storage") or name.startswith(_HUGE_PAGES):
            found[name] = amount
        elif "/" not in name or "kubernetes.io/" in name or name.startswith("requests."):
            continue  # neither native nor extended
        found[f"requests.{name}"] = amount
    limits = _of_pod(pod, "limits")
    for name in ("cpu", "memory", "ephemeral-storage"):
        if name in limits:
            found[f"limits.{name}"] = limits[name]
    return found


def _of_pod(pod: Pod, side: str) -> dict[str, str]:
    """What a pod's containers ask for together: those that run at once, or one that starts, whichever is more (component-helpers)."""
    spec = pod.spec
    statuses = {
        status.name: status
        for status in (*(pod.status.containerStatuses or ()), *(pod.status.initContainerStatuses or ()))
    }
    infeasible = any(
        c.type == "PodResizePending" and c.reason == "Infeasible" for c in pod.status.conditions or ()
    )
    running = together(
        (_of_container(c, side, statuses, infeasible) for c in spec.containers or ()),
        (
            (c.restartPolicy == "Always", _of_container(c, side, statuses, infeasible))
            for c in spec.initContainers or ()
        ),
    )
    for name, amount in (_side(spec.resources, side) or {}).items():
        if name in ("cpu", "memory") or name.startswith(_HUGE_PAGES):
            running[name] = amount
    for name, amount in (spec.overhead or {}).items():
        # What has no limit has none with the overhead.
        if side == "requests" or name in running:
            add(running, {name: amount})
    return running


def _side(resources: Resources | None, side: str) -> dict[str, str] | None:
    if resources is None:
        return None
    return resources.requests if side == "requests" else resources.limits


def _of_container(
    container: Container, side: str, statuses: Mapping[str, ContainerStatus], infeasible: bool
) -> Amounts:
    """What a container asks for; while it is resized, the most of what it asks for, has and was promised."""
    asked = _side(container.resources, side) or {}
    status = statuses.get(container.name)
    if status is None or status.resources is None:
        return asked
    most = {} if infeasible else dict(asked)
    raise_to(most, _side(status.resources, side) or {})
    if side == "requests":
        raise_to(most, status.allocatedResources or {})
    return most


def pod_matches(scope: Scope, pod: Pod) -> bool:
    """Whether a pod is in a quota's scope."""
    match scope.scopeName:
        case "Terminating":
            return pod.spec.activeDeadlineSeconds is not None
        case "NotTerminating":
            return pod.spec.activeDeadlineSeconds is None
        case "BestEffort":
            return pod.status.qosClass == "BestEffort"
        case "NotBestEffort":
            return pod.status.qosClass != "BestEffort"
        case "PriorityClass":
            return scope.holds([pod.spec.priorityClassName] if pod.spec.priorityClassName else ())
        case "CrossNamespacePodAffinity":
            return _crosses_namespaces(pod.spec.affinity or {})
    return False


def _crosses_namespaces(affinity: Mapping[str, Any]) -> bool:
    for kind in ("podAffinity", "podAntiAffinity"):
        of_kind = affinity.get(kind) or {}
        terms = [
            *(of_kind.get("requiredDuringSchedulingIgnoredDuringExecution") or ()),
            *(
                weighted.get("podAffinityTerm") or {}
                for weighted in of_kind.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
            ),
        ]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False


# -- services, claims ------------------------------------------------------------------------------------------------------------------------


def service_usage(service: Service) -> dict[str, str]:
    """What a service counts for."""
    ports, node_ports, balancers = service.spec.ports or (), 0, 0
    if service.spec.type == "NodePort":
        node_ports = len(ports)
    elif service.spec.type == "LoadBalancer":
        balancers = 1
        if service.spec.allocateLoadBalancerNodePorts is False:
            node_ports = sum(1 for port in ports if port.nodePort)
        else:
            node_ports = len(ports)
    return {
        "count/services": "1",
        "services": "1",
        "services.nodeports": str(node_ports),
        "services.loadbalancers": str(balancers),
    }


def claim_usage(claim: Claim) -> dict[str, str]:
    """What a claim counts for: itself and its storage, of its class too."""
    found = {"count/persistentvolumeclaims": "1", "persistentvolumeclaims": "1"}
    asked = (_side(claim.spec.resources, "requests") or {}).get("storage")
    if asked is not None:
        allocated = (claim.status.allocatedResources or {}).get("storage")
        if allocated is not None and quantity.compare(allocated, asked) > 0:
            asked = allocated
        # Quotas hold whole bytes.
        found["requests.storage"] = asked if quantity.is_integer(asked) else str(quantity.parse(asked))
    annotated = (claim.metadata.annotations or {}).get("volume.beta.kubernetes.io/storage-class")
    if of := annotated if annotated is not None else claim.spec.storageClassName:
        by_class = {f"{of}{CLASS_SUFFIX}{name}": found[name] for name in CLAIM_NAMES if name in found}
        found |= by_class
    return found


def claim_matches(scope: Scope, claim: Claim) -> bool:
    """Whether a claim is in a quota's scope."""
    if scope.scopeName != "VolumeAttributesClass":
        return False
    change = claim.status.modifyVolumeStatus
    names = {
        claim.spec.volumeAttributesClassName,
        claim.status.currentVolumeAttributesClassName,
        change.targetVolumeAttributesClassName if change is not None else None,
    }
    return scope.holds([name for name in names if name])


def collect(
    items: Iterable[Item],
    usage: Callable[[Item], Mapping[str, str]],
    matches: Callable[[Scope, Item], bool],
    scopes: Collection[Scope],
    sums: dict[str, Counter[str]],
) -> None:
    """Adds to `sums` how often each amount of each name is there, of items that are in all scopes."""
    for item in items:
        if all(matches(scope, item) for scope in scopes):
            for name, amount in usage(item).items():
                sums.setdefault(name, Counter())[amount] += 1


def amounts(names: Iterable[str], sums: Mapping[str, Counter[str]]) -> dict[str, str]:
    """The sums of these names, zero for what nothing counts for."""
    return {name: quantity.total(sums.get(name, Counter()).items()) for name in names}
