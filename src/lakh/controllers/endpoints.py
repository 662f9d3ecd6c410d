"""Endpoints: the old form of a Service's endpoints, one object a Service, at most `MAX_ADDRESSES` addresses."""

from __future__ import annotations

from typing import Any

from lakh.client.errors import ApiError, is_already_exists, is_not_found
from lakh.client.resources import ENDPOINTS, SERVICES, object_reference

from .context import Context
from .endpointslice import HEADLESS_LABEL, PerService, Ports, address_of, endpoint, ports_of
from .pods import is_finished
from .views import Bare, Endpoints, Pod, Service

MAX_ADDRESSES = 1000
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MANAGED_BY_LABEL = "endpoints.kubernetes.io/managed-by"
MANAGED_BY = "endpoint-controller"


def subsets_of(service: Service, pods: list[Pod]) -> tuple[list[dict[str, Any]], bool]:
    """Pure: the subsets, and whether addresses had to be left out."""
    family = (service.spec.ipFamilies or ["IPv4"])[0]
    groups: dict[Ports, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}
    count = 0
    for pod in pods:
        ip = address_of(pod, family)
        if ip is None or is_finished(pod) or pod.metadata.deletionTimestamp is not None:
            continue
        count += 1
        if count > MAX_ADDRESSES:
            continue
        found = endpoint(service, pod, None, ip)
        address = {"ip": ip, "targetRef": found["targetRef"]}
        for name in ("nodeName", "hostname"):
            if name in found:
                address[name] = found[name]
        ready, waiting = groups.setdefault(ports_of(service, pod), ([], []))
        (ready if found["conditions"]["ready"] else waiting).append(address)
    subsets = []
    for ports, (ready, waiting) in sorted(groups.items(), key=lambda group: repr(group[0])):
        subset: dict[str, Any] = {}
        if ready:
            subset["addresses"] = ready
        if waiting:
            subset["notReadyAddresses"] = waiting
        if ports:
            subset["ports"] = [
                ({"name": name} if name else {})
                | {"port": number, "protocol": protocol}
                | ({"appProtocol": app} if app else {})
                for name, number, protocol, app in ports
            ]
        subsets.append(subset)
    return subsets, count > MAX_ADDRESSES


class EndpointsController(PerService):
    """See the module."""

    name = "endpoints-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._recorder = context.recorder("endpoint-controller")
        self._endpoints = context.informers.of(ENDPOINTS, Endpoints)
        self._endpoints.add_handler(
            on_delete=lambda gone: self.queue.add(f"{gone.metadata.namespace}/{gone.metadata.name}")
        )

    async def reconcile(self, key: str) -> None:
        """Bring one Service's Endpoints up to date; they go when the Service goes."""
        service = self._services.items.get(key)
        current = self._endpoints.items.get(key)
        try:
            if service is None:
                if (
                    current is not None
                    and (current.metadata.labels or {}).get(MANAGED_BY_LABEL) == MANAGED_BY
                ):
                    await self.client.delete(
                        ENDPOINTS, current.metadata.name, current.metadata.namespace, uid=current.metadata.uid
                    )
                return
            if service.spec.selector is None or service.spec.type == "ExternalName":
                return
            await self._write(service, current)
        except ApiError as error:
            if not is_not_found(error) and not is_already_exists(error):
                raise

    async def _write(self, service: Service, current: Endpoints | None) -> None:
        name, namespace = service.metadata.name, service.metadata.namespace
        subsets, truncated = subsets_of(service, self._selected(service))
        labels: dict[str, str] = {**(service.metadata.labels or {}), MANAGED_BY_LABEL: MANAGED_BY}
        if service.spec.clusterIP == "None":
            labels[HEADLESS_LABEL] = ""
        mark = "truncated" if truncated else None
        if current is None:
            metadata: dict[str, Any] = {"name": name, "labels": labels}
            if mark is not None:
                metadata["annotations"] = {OVER_CAPACITY: mark}
            body = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}
            try:
                await self.client.create(ENDPOINTS, body, namespace, type=Bare)
            except ApiError as error:
                self._recorder.event(
                    object_reference(SERVICES, service),
                    "Warning",
                    "FailedToCreateEndpoint",
                    f"Failed to create endpoint for service {namespace}/{name}: {error}",
                )
                raise
            return
        marked = (current.metadata.annotations or {}).get(OVER_CAPACITY)
        if (
            (current.subsets or []) == subsets
            and (current.metadata.labels or {}) == labels
            and marked == mark
        ):
            return
        stale = {label: None for label in current.metadata.labels or {} if label not in labels}
        patch = {
            "metadata": {
                "resourceVersion": current.metadata.resourceVersion,
                "labels": {**stale, **labels},
                "annotations": {OVER_CAPACITY: mark},
            },
            "subsets": subsets,
        }
        await self.client.patch(ENDPOINTS, name, patch, namespace, type=Bare)
