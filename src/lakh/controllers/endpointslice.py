"""EndpointSlices: the pods behind a Service.

`endpoints_of` (which pods, with which ports) and `pack` (into which slices) are pure. `pack` leaves endpoints in the slice they are in, so that
one pod's change writes one slice. Endpoints whose named ports resolve differently live in different slices. A Service without endpoints has one
empty slice, as a placeholder, and slices that would go are used again for those that are to come (`reuse`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lakh.client.errors import ApiError, is_not_found
from lakh.client.resources import ENDPOINTSLICES, NODES, PODS, SERVICES

from . import informers
from .bursts import all_of
from .context import Context, Controller
from .hashing import template_hash
from .pods import controller_reference, is_finished, is_ready
from .selecting import compile_map
from .triggertimes import ANNOTATION as TRIGGER_TIME
from .triggertimes import TriggerTimes
from .views import Bare, BareMeta, Container, EndpointSlice, Node, Pod, Service

MAX_ENDPOINTS = 100
"""Endpoints of one slice, as upstream's --max-endpoints-per-slice."""
DELAY_SECONDS = 0.05
STALE_SECONDS = 10.0
"""How long a sync waits for the watch to show the last one's writes."""
SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
MANAGED_BY = "endpointslice-controller.k8s.io"
HEADLESS_LABEL = "service.kubernetes.io/headless"
RESERVED_LABELS = frozenset((SERVICE_LABEL, MANAGED_BY_LABEL, HEADLESS_LABEL))
"""Labels of a Service that its slices do not get."""
ZONE_LABEL = "topology.kubernetes.io/zone"
CLOSE = frozenset(("PreferClose", "PreferSameZone", "PreferSameNode"))
"""Values of `trafficDistribution` that are told to proxies as hints."""

Ports = tuple[tuple[str, int, str, str | None], ...]
"""(name, port, protocol, appProtocol) of each port: what all endpoints of a slice have in common."""


def ports_of(service: Service, pod: Pod) -> Ports:
    """The Service's ports as this pod serves them; named ports that it has not got are left out."""
    found: list[tuple[str, int, str, str | None]] = []
    for port in service.spec.ports or ():
        target = port.port if port.targetPort in (None, 0, "") else port.targetPort
        protocol = port.protocol or "TCP"
        number = target if isinstance(target, int) else _named(pod, str(target), protocol)
        if number is not None:
            found.append((port.name or "", number, protocol, port.appProtocol))
    return tuple(found)


def _named(pod: Pod, name: str, protocol: str) -> int | None:
    containers: list[Container] = list(pod.spec.containers or ())
    containers += [one for one in pod.spec.initContainers or () if one.restartPolicy == "Always"]
    for container in containers:
        for port in container.ports or ():
            if port.name == name and (port.protocol or "TCP") == protocol:
                return port.containerPort
    return None


def endpoint(service: Service, pod: Pod, node: Node | None, address: str) -> dict[str, Any]:
    """One endpoint of a slice."""
    terminating = pod.metadata.deletionTimestamp is not None
    serving = is_ready(pod)
    ready = bool(service.spec.publishNotReadyAddresses) or (serving and not terminating)
    result: dict[str, Any] = {
        "addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": {
            "kind": "Pod",
            "namespace": pod.metadata.namespace,
            "name": pod.metadata.name,
            "uid": pod.metadata.uid,
        },
    }
    if pod.spec.nodeName:
        result["nodeName"] = pod.spec.nodeName
    zone = (node.metadata.labels or {}).get(ZONE_LABEL) if node is not None else None
    if zone:
        result["zone"] = zone
    if pod.spec.hostname and pod.spec.subdomain == service.metadata.name:
        result["hostname"] = pod.spec.hostname
    if ready and service.spec.trafficDistribution in CLOSE:
        hints = {}
        if zone:
            hints["forZones"] = [{"name": zone}]
        if pod.spec.nodeName and service.spec.trafficDistribution == "PreferSameNode":
            hints["forNodes"] = [{"name": pod.spec.nodeName}]
        if hints:
            result["hints"] = hints
    return result


def address_of(pod: Pod, address_type: str) -> str | None:
    """The pod's address of that family."""
    addresses = [ip.ip for ip in pod.status.podIPs or ()] or ([pod.status.podIP] if pod.status.podIP else [])
    wants_v6 = address_type == "IPv6"
    return next((address for address in addresses if (":" in address) == wants_v6), None)


def endpoints_of(
    service: Service, pods: Iterable[Pod], nodes: Mapping[str, Node], address_type: str
) -> dict[Ports, dict[str, dict[str, Any]]]:
    """The wanted endpoints, by their ports and the pods' uids."""
    groups: dict[Ports, dict[str, dict[str, Any]]] = {}
    for pod in pods:
        address = address_of(pod, address_type)
        if address is None or is_finished(pod):
            continue
        node = nodes.get(pod.spec.nodeName or "")
        if node is None and pod.spec.nodeName and not service.spec.publishNotReadyAddresses:
            continue  # Not known yet, or gone: the pods of a lost node lead nowhere.
        group = groups.setdefault(ports_of(service, pod), {})
        group[pod.metadata.uid] = endpoint(service, pod, node, address)
    return groups


@dataclass
class Slices:
    """Changes that bring the slices up to date."""

    create: list[tuple[Ports, list[dict[str, Any]]]] = field(default_factory=list)
    update: list[tuple[EndpointSlice, list[dict[str, Any]]]] = field(default_factory=list)
    reuse: list[tuple[EndpointSlice, Ports, list[dict[str, Any]]]] = field(default_factory=list)
    """Slices that get other ports and endpoints."""
    delete: list[EndpointSlice] = field(default_factory=list)


def ports_of_slice(found: EndpointSlice) -> Ports:
    """The ports of an existing slice."""
    return tuple(
        (
            port.get("name") or "",
            port.get("port") or 0,
            port.get("protocol") or "TCP",
            port.get("appProtocol"),
        )
        for port in found.ports or ()
    )


def pack(wanted: Mapping[Ports, Mapping[str, dict[str, Any]]], existing: Sequence[EndpointSlice]) -> Slices:
    """Pure: fit the wanted endpoints into the existing slices, with few writes."""
    plan = Slices()
    left = {ports: dict(group) for ports, group in wanted.items()}
    kept: list[tuple[EndpointSlice, Ports, list[dict[str, Any]]]] = []
    for found in existing:
        ports = ports_of_slice(found)
        group = left.get(ports, {})
        stay = []
        for present in found.endpoints or ():
            uid = (present.get("targetRef") or {}).get("uid", "")
            if uid in group:
                stay.append(group.pop(uid))
        kept.append((found, ports, stay))
    for found, ports, stay in kept:
        group = left.get(ports, {})
        while group and len(stay) < MAX_ENDPOINTS:
            stay.append(group.pop(next(iter(group))))
        if not stay:
            plan.delete.append(found)
        elif stay != found.endpoints:
            plan.update.append((found, stay))
    for ports, group in left.items():
        rest = list(group.values())
        for start in range(0, len(rest), MAX_ENDPOINTS):
            plan.create.append((ports, rest[start : start + MAX_ENDPOINTS]))
    return plan


def reuse(plan: Slices, existing: Sequence[EndpointSlice]) -> None:
    """Pure: leave a placeholder when no slice would be left, and make new slices of those that would go."""
    if len(plan.delete) == len(existing) and not plan.create:
        placeholder = next((one for one in existing if not one.endpoints and not one.ports), None)
        if placeholder is not None:
            plan.delete.remove(placeholder)
        else:
            plan.create.append(((), []))
    while plan.create and plan.delete:
        plan.reuse.append((plan.delete.pop(0), *plan.create.pop()))


def labels_of(service: Service) -> dict[str, str]:
    """The labels of a Service's slices."""
    labels = {
        name: value for name, value in (service.metadata.labels or {}).items() if name not in RESERVED_LABELS
    }
    labels[SERVICE_LABEL] = service.metadata.name
    labels[MANAGED_BY_LABEL] = MANAGED_BY
    if service.spec.clusterIP in (None, "", "None"):
        labels[HEADLESS_LABEL] = ""
    return labels


class PerService(Controller):
    """A controller whose keys are Services with a selector."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._services = context.informers.of(SERVICES, Service, indexes=(informers.NAMESPACE,))
        self._pods = context.informers.of(PODS, Pod, indexes=(informers.NAMESPACE,))
        self._services.add_handler(
            on_add=self._changed, on_update=lambda old, new: self._changed(new), on_delete=self._changed
        )
        self._pods.add_handler(
            on_add=self._pod_changed, on_update=self._pod_updated, on_delete=self._pod_changed
        )

    def resync(self) -> None:
        """Queue every Service."""
        for key in self._services.items:
            self.queue.add(key)

    def _changed(self, service: Service) -> None:
        self.queue.add(f"{service.metadata.namespace}/{service.metadata.name}")

    def _pod_updated(self, old: Pod, new: Pod) -> None:
        if not self._services.by_index(informers.NAMESPACE, new.metadata.namespace or ""):
            return
        if (
            old.status.podIP == new.status.podIP
            and old.status.podIPs == new.status.podIPs
            and old.metadata.labels == new.metadata.labels
            and old.metadata.deletionTimestamp == new.metadata.deletionTimestamp
            and old.status.phase == new.status.phase
            and is_ready(old) == is_ready(new)
        ):
            return
        self._pod_changed(new)
        if old.metadata.labels != new.metadata.labels:
            self._pod_changed(old)

    def _pod_changed(self, pod: Pod) -> None:
        namespace, labels = pod.metadata.namespace or "", pod.metadata.labels or {}
        for service in self._services.by_index(informers.NAMESPACE, namespace):
            selector = service.spec.selector
            if selector and all(labels.get(key) == value for key, value in selector.items()):
                self.queue.add_after(f"{namespace}/{service.metadata.name}", DELAY_SECONDS)

    def _selected(self, service: Service) -> list[Pod]:
        matches = compile_map(service.spec.selector)
        found = self._pods.by_index(informers.NAMESPACE, service.metadata.namespace or "")
        return sorted(
            (pod for pod in found if matches(pod.metadata.labels)), key=lambda pod: pod.metadata.name
        )


class EndpointSliceController(PerService):
    """See the module."""

    name = "endpointslice-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._nodes = context.informers.of(NODES, Node)
        self._nodes.add_handler(on_add=self._node_added)
        self._waiting: dict[str, set[str]] = {}
        """Nodes that are not known, with the Services that have pods there."""
        self._times = TriggerTimes()
        self._written: dict[str, dict[str, tuple[int, float]]] = {}
        """By Service: the slices whose last write by us memory does not show yet, its resourceVersion and when it was."""
        self._slices = context.informers.of(ENDPOINTSLICES, EndpointSlice, indexes=(informers.CONTROLLER,))
        self._slices.add_handler(on_add=self._seen, on_update=self._slice_updated, on_delete=self._slice_gone)

    def _node_added(self, node: Node) -> None:
        for key in self._waiting.pop(node.metadata.name, ()):
            self.queue.add_after(key, DELAY_SECONDS)

    def _note(self, key: str, metadata: BareMeta) -> None:
        """We have written this slice."""
        version = int(metadata.resourceVersion)
        shown = self._slices.items.get(f"{metadata.namespace}/{metadata.name}")
        if shown is None or int(shown.metadata.resourceVersion) < version:
            self._written.setdefault(key, {})[metadata.name] = (version, self.context.monotonic())

    def _is_stale(self, key: str) -> bool:
        """Whether memory lacks a write of ours. A watch that was broken may never show it: that is waited for a while only."""
        written = self._written.get(key)
        if not written:
            return False
        now = self.context.monotonic()
        if any(now - at < STALE_SECONDS for _, at in written.values()):
            return True
        del self._written[key]
        return False

    def _seen(self, found: EndpointSlice) -> bool:
        """Whether it is as we have written it, as far as can be told."""
        name = (found.metadata.labels or {}).get(SERVICE_LABEL)
        written = self._written.get(f"{found.metadata.namespace}/{name}", {})
        version, _ = written.get(found.metadata.name, (0, 0.0))
        if version and int(found.metadata.resourceVersion) >= version:
            del written[found.metadata.name]
        return int(found.metadata.resourceVersion) == version

    def _slice_updated(self, old: EndpointSlice, new: EndpointSlice) -> None:
        """What others have changed is put right."""
        if not self._seen(new):
            self._queue_of(old)
            self._queue_of(new)

    def _slice_gone(self, found: EndpointSlice) -> None:
        name = (found.metadata.labels or {}).get(SERVICE_LABEL)
        self._written.get(f"{found.metadata.namespace}/{name}", {}).pop(found.metadata.name, None)
        self._queue_of(found)

    def _queue_of(self, found: EndpointSlice) -> None:
        labels = found.metadata.labels or {}
        name = labels.get(SERVICE_LABEL)
        if name and labels.get(MANAGED_BY_LABEL) == MANAGED_BY:
            self.queue.add_after(f"{found.metadata.namespace}/{name}", DELAY_SECONDS)

    async def reconcile(self, key: str) -> None:
        """Bring one Service's slices up to date. Those of a deleted Service go with it (owner references)."""
        service = self._services.items.get(key)
        if service is None:
            self._times.forget(key)
            self._written.pop(key, None)
            return
        if service.spec.selector is None or service.spec.type == "ExternalName":
            return
        if service.metadata.deletionTimestamp is not None:
            return
        if self._is_stale(key):
            self.queue.add_after(key, DELAY_SECONDS)
            return
        pods = self._selected(service)
        for pod in pods:
            if pod.spec.nodeName and pod.spec.nodeName not in self._nodes.items:
                self._waiting.setdefault(pod.spec.nodeName, set()).add(key)
        owned = [
            found
            for found in self._slices.by_index(informers.CONTROLLER, service.metadata.uid)
            if (found.metadata.labels or {}).get(MANAGED_BY_LABEL) == MANAGED_BY
        ]
        owned.sort(key=lambda one: one.metadata.name)
        since = self._times.take(key, service, pods)
        families = service.spec.ipFamilies or ("IPv4",)
        for address_type in families:
            wanted = endpoints_of(service, pods, self._nodes.items, address_type)
            existing = [found for found in owned if found.addressType == address_type]
            plan = pack(wanted, existing)
            reuse(plan, existing)
            _relabel(plan, existing, labels_of(service))
            await self._carry_out(service, address_type, plan, since)
        foreign = [found for found in owned if found.addressType not in families]
        if foreign:
            await self._carry_out(service, "", Slices(delete=foreign), None)

    async def _carry_out(self, service: Service, address_type: str, plan: Slices, since: str | None) -> None:
        namespace = service.metadata.namespace
        labels = labels_of(service)
        owned = self._slices.by_index(informers.CONTROLLER, service.metadata.uid)
        taken = {found.metadata.name for found in owned}

        async def create(entry: tuple[Ports, list[dict[str, Any]]]) -> None:
            written = await self.client.create(
                ENDPOINTSLICES, new_slice(service, address_type, *entry, since, taken), namespace, type=Bare
            )
            self._note(f"{namespace}/{service.metadata.name}", written.metadata)

        async def change(found: EndpointSlice, patch: dict[str, Any]) -> None:
            metadata: dict[str, Any] = {
                "resourceVersion": found.metadata.resourceVersion,
                "annotations": {TRIGGER_TIME: since},
            }
            if (found.metadata.labels or {}) != labels:
                stale = {name: None for name in found.metadata.labels or {} if name not in labels}
                metadata["labels"] = {**stale, **labels}
            written = await self.client.patch(
                ENDPOINTSLICES,
                found.metadata.name,
                {"metadata": metadata, **patch},
                namespace,
                type=Bare,
            )
            self._note(f"{namespace}/{service.metadata.name}", written.metadata)

        async def update(entry: tuple[EndpointSlice, list[dict[str, Any]]]) -> None:
            await change(entry[0], {"endpoints": entry[1]})

        async def refill(entry: tuple[EndpointSlice, Ports, list[dict[str, Any]]]) -> None:
            await change(entry[0], {"ports": encoded_ports(entry[1]), "endpoints": entry[2]})

        async def delete(found: EndpointSlice) -> None:
            try:
                await self.client.delete(
                    ENDPOINTSLICES, found.metadata.name, namespace, uid=found.metadata.uid
                )
            except ApiError as error:
                if not is_not_found(error):
                    raise

        error = await all_of(plan.create, create)
        error = await all_of(plan.update, update) or error
        error = await all_of(plan.reuse, refill) or error
        error = await all_of(plan.delete, delete) or error
        if error is not None:
            raise error


def _relabel(plan: Slices, existing: Sequence[EndpointSlice], labels: dict[str, str]) -> None:
    """Slices that stay as they are but for their labels are written, too."""
    handled = {found.metadata.name for found in plan.delete}
    handled.update(found.metadata.name for found, _ in plan.update)
    handled.update(found.metadata.name for found, _, _ in plan.reuse)
    plan.update.extend(
        (found, found.endpoints or [])
        for found in existing
        if found.metadata.name not in handled and (found.metadata.labels or {}) != labels
    )


def new_slice(
    service: Service,
    address_type: str,
    ports: Ports,
    endpoints: list[dict[str, Any]],
    since: str | None = None,
    taken: Collection[str] = (),
) -> bytes:
    """A slice to create, encoded. Its name is fixed by its first endpoint."""
    first = (endpoints[0].get("targetRef") or {}).get("uid", "") if endpoints else ""
    metadata: dict[str, Any] = {
        "name": free_name(service.metadata.name, (address_type, ports, first), taken),
        "labels": labels_of(service),
        "ownerReferences": [controller_reference("v1", "Service", service.metadata)],
    }
    if since is not None:
        metadata["annotations"] = {TRIGGER_TIME: since}
    return msgspec.json.encode(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata,
            "addressType": address_type,
            "endpoints": endpoints,
            "ports": encoded_ports(ports),
        }
    )


def encoded_ports(ports: Ports) -> list[dict[str, Any]]:
    """The ports as a slice has them."""
    return [
        {"name": name, "port": number, "protocol": protocol}
        | ({"appProtocol": app} if app is not None else {})
        for name, number, protocol, app in ports
    ]


def free_name(base: str, about: Sequence[Any], taken: Collection[str]) -> str:
    """A name for a new slice that follows from what it is `about`, so that creating it twice is refused. `taken` are names of others."""
    tries = 0
    while True:
        name = f"{base}-{template_hash([*about, tries] if tries else list(about))[:5]}"
        if name not in taken:
            return name
        tries += 1
