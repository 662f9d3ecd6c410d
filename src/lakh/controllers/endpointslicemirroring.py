"""Mirrors Endpoints that somebody writes for a Service without a selector into EndpointSlices, which is where proxies look.

One slice for each set of ports and family of addresses, at most `MAX_ADDRESSES` of each subset. Endpoints with the label
`endpointslice.kubernetes.io/skip-mirror: "true"`, those that are used as a lock for leader election, and those of Services with a selector are not
mirrored. `mirror` is the pure part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from lakh.client.errors import ApiError, is_namespace_terminating, is_not_found
from lakh.client.resources import ENDPOINTS, ENDPOINTSLICES, SERVICES, object_reference

from . import informers
from .bursts import all_of
from .context import Context, Controller
from .endpointslice import (
    DELAY_SECONDS,
    MANAGED_BY_LABEL,
    SERVICE_LABEL,
    Ports,
    encoded_ports,
    free_name,
    ports_of_slice,
)
from .pods import controller_reference
from .triggertimes import ANNOTATION as TRIGGER_TIME
from .views import Bare, Endpoints, EndpointSlice, Meta, Service

MAX_ADDRESSES = 1000
"""Addresses mirrored of one subset, as upstream's --mirroring-max-endpoints-per-subset."""
MANAGED_BY = "endpointslicemirroring-controller.k8s.io"
SKIP_LABEL = "endpointslice.kubernetes.io/skip-mirror"
LOCK_ANNOTATION = "control-plane.alpha.kubernetes.io/leader"
NOT_COPIED = frozenset((TRIGGER_TIME, "kubectl.kubernetes.io/last-applied-configuration"))
"""Annotations that slices do not get."""


@dataclass
class Mirrored:
    """The wanted slices, by family and ports, and what was left out."""

    slices: dict[tuple[str, Ports], list[dict[str, Any]]] = field(default_factory=dict)
    invalid: int = 0
    too_many: int = 0


def should_mirror(endpoints: Endpoints) -> bool:
    """Whether these Endpoints are mirrored, if their Service has no selector."""
    metadata = endpoints.metadata
    return (metadata.labels or {}).get(SKIP_LABEL) != "true" and LOCK_ANNOTATION not in (
        metadata.annotations or {}
    )


def mirror(endpoints: Endpoints) -> Mirrored:
    """Pure: the slices that say what the Endpoints say. An address that several subsets of the same ports name is told once."""
    result = Mirrored()
    seen: set[tuple[str, Ports, str]] = set()
    for subset in endpoints.subsets or ():
        ports: Ports = tuple(
            (
                port.get("name") or "",
                port.get("port") or 0,
                port.get("protocol") or "TCP",
                port.get("appProtocol"),
            )
            for port in subset.get("ports") or ()
        )
        count = 0
        for name, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(name) or ():
                if count >= MAX_ADDRESSES:
                    result.too_many += 1
                    continue
                try:
                    ip = ip_address(address.get("ip") or "")
                except ValueError:
                    result.invalid += 1
                    continue
                count += 1
                key = (f"IPv{ip.version}", ports)
                if (*key, str(ip)) not in seen:
                    seen.add((*key, str(ip)))
                    result.slices.setdefault(key, []).append(_endpoint(address, str(ip), ready=ready))
    return result


def _endpoint(address: Mapping[str, Any], ip: str, *, ready: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"addresses": [ip], "conditions": {"ready": ready}}
    for name in ("targetRef", "nodeName", "hostname"):
        if address.get(name):
            found[name] = address[name]
    return found


def wanted_metadata(endpoints: Endpoints) -> tuple[dict[str, str], dict[str, str]]:
    """Labels and annotations of the slices."""
    labels = dict(endpoints.metadata.labels or {})
    labels[SERVICE_LABEL] = endpoints.metadata.name
    labels[MANAGED_BY_LABEL] = MANAGED_BY
    annotations = {
        name: value
        for name, value in (endpoints.metadata.annotations or {}).items()
        if name not in NOT_COPIED
    }
    return labels, annotations


class EndpointSliceMirroringController(Controller):
    """See the module."""

    name = "endpointslice-mirroring-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._recorder = context.recorder(self.name)
        self._mirrored: dict[str, dict[str, EndpointSlice]] = {}
        """Our slices, by the key of their Endpoints."""
        self._services = context.informers.of(SERVICES, Service)
        self._endpoints = context.informers.of(ENDPOINTS, Endpoints)
        self._slices = context.informers.of(ENDPOINTSLICES, EndpointSlice, indexes=(informers.CONTROLLER,))
        self._services.add_handler(
            on_add=self._service_changed, on_update=self._service_updated, on_delete=self._service_changed
        )
        self._endpoints.add_handler(on_add=self._changed, on_update=self._updated, on_delete=self._changed)
        self._slices.add_handler(
            on_add=self._slice_changed, on_update=self._slice_updated, on_delete=self._slice_gone
        )

    def resync(self) -> None:
        """Queue all Endpoints, and those of all slices."""
        for key in (*self._endpoints.items, *self._mirrored):
            self.queue.add(key)

    def _service_changed(self, service: Service) -> None:
        if service.spec.selector is None:
            self.queue.add(_key(service.metadata))

    def _service_updated(self, old: Service, new: Service) -> None:
        if (old.spec.selector is None) != (new.spec.selector is None):
            self.queue.add(_key(new.metadata))

    def _changed(self, endpoints: Endpoints) -> None:
        if should_mirror(endpoints):
            self.queue.add(_key(endpoints.metadata))

    def _updated(self, old: Endpoints, new: Endpoints) -> None:
        if should_mirror(old) or should_mirror(new):
            self.queue.add(_key(new.metadata))

    @staticmethod
    def _key_of(found: EndpointSlice) -> str | None:
        labels = found.metadata.labels or {}
        name = labels.get(SERVICE_LABEL)
        if not name or labels.get(MANAGED_BY_LABEL) != MANAGED_BY:
            return None
        return f"{found.metadata.namespace}/{name}"

    def _slice_changed(self, found: EndpointSlice) -> None:
        key = self._key_of(found)
        if key is not None:
            self._mirrored.setdefault(key, {})[found.metadata.name] = found
            self.queue.add_after(key, DELAY_SECONDS)

    def _slice_updated(self, old: EndpointSlice, new: EndpointSlice) -> None:
        if self._key_of(old) != self._key_of(new):
            self._slice_gone(old)
        self._slice_changed(new)

    def _slice_gone(self, found: EndpointSlice) -> None:
        key = self._key_of(found)
        if key is None:
            return
        ours = self._mirrored.get(key, {})
        ours.pop(found.metadata.name, None)
        if not ours:
            self._mirrored.pop(key, None)
        self.queue.add_after(key, DELAY_SECONDS)

    async def reconcile(self, key: str) -> None:
        """Make the slices say what the Endpoints say; none when these are not to be mirrored."""
        endpoints, service = self._endpoints.items.get(key), self._services.items.get(key)
        existing = sorted(self._mirrored.get(key, {}).values(), key=lambda one: one.metadata.name)
        if (
            endpoints is None
            or not should_mirror(endpoints)
            or service is None
            or service.spec.selector is not None
        ):
            error = await all_of(existing, self._delete)
            if error is not None:
                raise error
            return
        wanted = mirror(endpoints)
        self._tell(endpoints, wanted)
        await self._carry_out(endpoints, wanted, existing)

    def _tell(self, endpoints: Endpoints, wanted: Mirrored) -> None:
        reference = object_reference(ENDPOINTS, endpoints)
        if wanted.invalid:
            message = f"Skipped {wanted.invalid} invalid IP addresses when mirroring to EndpointSlices"
            self._recorder.event(reference, "Warning", "InvalidIPAddress", message)
        if wanted.too_many:
            message = (
                f"A max of {MAX_ADDRESSES} addresses can be mirrored to EndpointSlices per Endpoints subset. "
                f"{wanted.too_many + wanted.invalid} addresses were skipped"
            )
            self._recorder.event(reference, "Warning", "TooManyAddressesToMirror", message)

    async def _carry_out(self, endpoints: Endpoints, wanted: Mirrored, existing: list[EndpointSlice]) -> None:
        left = dict(wanted.slices)
        spare: list[EndpointSlice] = []
        for found in existing:
            slot = (found.addressType, ports_of_slice(found))
            if slot in left:
                await self._update(endpoints, found, slot[1], left.pop(slot))
            else:
                spare.append(found)
        for (family, ports), addresses in left.items():
            again = next((found for found in spare if found.addressType == family), None)
            if again is not None:
                spare.remove(again)
                await self._update(endpoints, again, ports, addresses)
            elif endpoints.metadata.deletionTimestamp is None:
                taken = {found.metadata.name for found in existing}
                name = free_name(
                    endpoints.metadata.name, (MANAGED_BY, endpoints.metadata.uid, family, ports), taken
                )
                await self._create(endpoints, name, family, ports, addresses)
        error = await all_of(spare, self._delete)
        if error is not None:
            raise error

    async def _create(
        self,
        endpoints: Endpoints,
        name: str,
        family: str,
        ports: Ports,
        addresses: list[dict[str, Any]],
    ) -> None:
        labels, annotations = wanted_metadata(endpoints)
        body = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": name,
                "labels": labels,
                "annotations": annotations,
                "ownerReferences": [controller_reference("v1", "Endpoints", endpoints.metadata)],
            },
            "addressType": family,
            "endpoints": addresses,
            "ports": encoded_ports(ports),
        }
        try:
            await self.client.create(ENDPOINTSLICES, body, endpoints.metadata.namespace, type=Bare)
        except ApiError as error:
            if not is_namespace_terminating(error):
                raise

    async def _update(
        self,
        endpoints: Endpoints,
        found: EndpointSlice,
        ports: Ports,
        addresses: list[dict[str, Any]],
    ) -> None:
        labels, annotations = wanted_metadata(endpoints)
        metadata: dict[str, Any] = {}
        for name, wanted in (("labels", labels), ("annotations", annotations)):
            present: dict[str, str] = getattr(found.metadata, name) or {}
            if present != wanted:
                metadata[name] = {**dict.fromkeys(present), **wanted}
        patch: dict[str, Any] = {}
        if _sorted(found.endpoints or []) != _sorted(addresses):
            patch["endpoints"] = addresses
        if ports_of_slice(found) != ports:
            patch["ports"] = encoded_ports(ports)
        if metadata or patch:
            metadata["resourceVersion"] = found.metadata.resourceVersion
            await self.client.patch(
                ENDPOINTSLICES,
                found.metadata.name,
                {"metadata": metadata, **patch},
                found.metadata.namespace,
                type=Bare,
            )

    async def _delete(self, found: EndpointSlice) -> None:
        metadata = found.metadata
        try:
            await self.client.delete(ENDPOINTSLICES, metadata.name, metadata.namespace, uid=metadata.uid)
        except ApiError as error:
            if not is_not_found(error):
                raise


def _sorted(endpoints: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(endpoints, key=lambda one: str(one.get("addresses")))


def _key(metadata: Meta) -> str:
    return f"{metadata.namespace}/{metadata.name}"
