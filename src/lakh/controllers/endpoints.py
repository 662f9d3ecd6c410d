"""Endpoints: the old form of a Service's endpoints, one object a Service, at most `MAX_ADDRESSES` addresses."""

from __future__ import annotations

from typing import Any

from lakh.client.errors import (
    ApiError,
    is_already_exists,
    is_conflict,
    is_namespace_terminating,
    is_not_found,
)
from lakh.client.resources import ENDPOINTS, SERVICES, object_reference

from .context import Context
from .endpointslice import HEADLESS_LABEL, PerService, Ports, address_of, endpoint, ports_of
from .pods import is_finished
from .triggertimes import ANNOTATION as TRIGGER_TIME
from .triggertimes import TriggerTimes
from .views import Bare, Endpoints, Pod, Service

MAX_ADDRESSES = 1000
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MANAGED_BY_LABEL = "endpoints.kubernetes.io/managed-by"
MANAGED_BY = "endpoint-controller"


def subsets_of(service: Service, pods: list[Pod]) -> tuple[list[dict[str, Any]], bool]:
    """Pure: the subsets, and whether addresses had to be left out; ready ones are the last to go."""
    family = (service.spec.ipFamilies or ["IPv4"])[0]
    headless = service.spec.clusterIP == "None"
    found: list[tuple[bool, Ports, dict[str, Any]]] = []
    for pod in pods:
        ip = address_of(pod, family)
        if ip is None or is_finished(pod):
            continue
        if pod.metadata.deletionTimestamp is not None and not service.spec.publishNotReadyAddresses:
            continue
        ports = ports_of(service, pod)
        if not ports and (service.spec.ports or not headless):
            continue  # It serves none of the Service's ports.
        told = endpoint(service, pod, None, ip)
        address = {"ip": ip, "targetRef": told["targetRef"]}
        for name in ("nodeName", "hostname"):
            if name in told:
                address[name] = told[name]
        found.append((told["conditions"]["ready"], ports, address))
    truncated = len(found) > MAX_ADDRESSES
    if truncated:
        found.sort(key=lambda entry: not entry[0])
    groups: dict[Ports, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}
    for is_ready, ports, address in found[:MAX_ADDRESSES]:
        ready, waiting = groups.setdefault(ports, ([], []))
        (ready if is_ready else waiting).append(address)
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
    return subsets, truncated


class EndpointsController(PerService):
    """See the module."""

    name = "endpoints-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._recorder = context.recorder("endpoint-controller")
        self._times = TriggerTimes()
        self._endpoints = context.informers.of(ENDPOINTS, Endpoints)
        self._endpoints.add_handler(
            on_delete=lambda gone: self.queue.add(f"{gone.metadata.namespace}/{gone.metadata.name}")
        )

    def resync(self) -> None:
        """Queue every Service, and the Endpoints that a Service has left behind."""
        super().resync()
        for key in self._endpoints.items:
            if key not in self._services.items:
                self.queue.add(key)

    async def reconcile(self, key: str) -> None:
        """Bring one Service's Endpoints up to date; they go when the Service goes."""
        service = self._services.items.get(key)
        current = self._endpoints.items.get(key)
        try:
            if service is None:
                self._times.forget(key)
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
        pods = self._selected(service)
        since = self._times.take(f"{namespace}/{name}", service, pods)
        subsets, truncated = subsets_of(service, pods)
        labels: dict[str, str] = {**(service.metadata.labels or {}), MANAGED_BY_LABEL: MANAGED_BY}
        if service.spec.clusterIP == "None":
            labels[HEADLESS_LABEL] = ""
        mark = "truncated" if truncated else None
        if current is None:
            metadata: dict[str, Any] = {"name": name, "labels": labels}
            annotations = {TRIGGER_TIME: since, OVER_CAPACITY: mark}
            metadata["annotations"] = {key: value for key, value in annotations.items() if value is not None}
            body = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}
            try:
                await self.client.create(ENDPOINTS, body, namespace, type=Bare)
            except ApiError as error:
                if is_namespace_terminating(error):
                    return
                self._tell(
                    service,
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
                "annotations": {TRIGGER_TIME: since, OVER_CAPACITY: mark},
            },
            "subsets": subsets,
        }
        try:
            await self.client.patch(ENDPOINTS, name, patch, namespace, type=Bare)
        except ApiError as error:
            if not is_not_found(error) and not is_conflict(error):
                message = f"Failed to update endpoint {namespace}/{name}: {error}"
                self._tell(service, "FailedToUpdateEndpoint", message)
            raise

    def _tell(self, service: Service, reason: str, message: str) -> None:
        self._recorder.event(object_reference(SERVICES, service), "Warning", reason, message)
