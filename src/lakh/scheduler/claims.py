"""The effects of volumes and devices: what the API says of them goes to the core, what the core has set aside is written before a pod is bound.

    wait       a pod names claims: it is woken when one of them changes
    bind       VolumeBinding's and DynamicResources' PreBind: the volumes' `claimRef`, the claims' selected node, the allocations and
               reservations are written; then the volume controller and the provisioner are waited for
    undo       the pod is not bound after all: it no longer reserves its claims; what was allocated or bound stays so, and ties the next attempt

An allocation that the API server may have been told is in use until the API says otherwise, whatever becomes of its pod: the same
device is never given twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from lakh.client.client import MERGE, STRATEGIC, Client
from lakh.client.errors import ClientClosed, ClientError, is_not_found
from lakh.client.informer import Informer
from lakh.client.resources import (
    CSIDRIVERS,
    CSINODES,
    DEVICECLASSES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    RESOURCECLAIMS,
    RESOURCESLICES,
    STORAGECLASSES,
    Resource,
)
from lakh.client.tasks import TaskGuard
from lakh.machinery import times
from lakh.machinery import volumes as rules
from lakh.machinery.volumes import SELECTED_NODE, StorageClassView, VolumeView, claim_patch

from .claimwrites import FINALIZER, allocation_patch, finalizer_patch, is_unknown
from .constraints import Needs
from .core import Core
from .deviceconditions import DeviceFailedError, awaits_devices, is_failed, is_ready
from .devicedemand import ELSEWHERE
from .deviceviews import ClaimView, DeviceClassView, SliceView
from .dynamicresources import Pending
from .extendedresources import STALE, requests_of, special_claim, status_patch
from .queue import PendingPod
from .views import Pod
from .volumes import VolumePlan
from .volumeviews import CapacityView, CSIDriverView, CSINodeView

__all__ = ["Claims", "ClaimsError"]

log = logging.getLogger(__name__)

CSISTORAGECAPACITIES = Resource("storage.k8s.io", "v1", "csistoragecapacities", "CSIStorageCapacity", True)
RETRY_SECONDS = 1.0
MAX_BINDS_IN_FLIGHT = 4_096
"""Pods whose claims are bound at once, a task each. Most wait for volumes to be made, so there are more than requests."""
MAX_WRITES_IN_FLIGHT = 128
"""Requests about claims at once, while the binds of other pods go on."""
VOLUMES = 'running PreBind plugin "VolumeBinding": '
DEVICES = 'running PreBind plugin "DynamicResources": '


class ClaimsError(Exception):
    """A pod's claims could not be bound. The text is what its event says."""


Done = Callable[[ClaimsError | None], None]


class Claims:
    """See the module. `wake` tries a pod again; `changed` tells of nodes that gained something, or (None) that anything may have; `event` says
    something of a pod: kind, reason, message."""

    def __init__(
        self,
        client: Client,
        core: Core,
        guard: TaskGuard,
        wake: Callable[[PendingPod], None],
        changed: Callable[[Iterable[str] | None], None],
        event: Callable[[PendingPod, str, str, str], None],
    ) -> None:
        self._client = client
        self._core = core
        self._guard = guard
        self._wake = wake
        self._changed = changed
        self._event = event
        self._waiting: dict[str, dict[str, PendingPod]] = {}
        """Kind and key of a claim → pods in the queue that name it."""
        self._names: dict[str, tuple[str, ...]] = {}
        """Pod's uid → what it is registered under in `_waiting`."""
        self._scans: dict[tuple[str, str], tuple[list[PendingPod], int]] = {}
        """Gang → its members, and how many of them have their claims."""
        self._watching: dict[str, set[asyncio.Event]] = {}
        """The same names → pods whose claims are being bound: set when one of them, or its volume, has changed."""
        self._to_bind: deque[tuple[PendingPod, str, Callable[[], bool], Done]] = deque()
        """In the order of placement: who allocates a claim comes before those who share it and wait for that."""
        self._binds_in_flight = 0
        self._writes = asyncio.Semaphore(MAX_WRITES_IN_FLIGHT)
        self._devices: list[Informer[Any]] = []

    def __repr__(self) -> str:
        return f"Claims(waiting={len(self._names)}, watching={len(self._watching)})"

    # Informers

    def informers(self) -> list[Informer[Any]]:
        """Those of volumes, which every API server has."""
        index = self._core.volumes

        def claim(found: rules.ClaimView, there: bool) -> None:
            if there:
                index.set_claim(found)
            else:
                index.remove_claim(found.key)
            self._wake_for(f"volume {found.key}")
            self._move(f"volume {found.key}")

        def volume(found: VolumeView, there: bool) -> None:
            new = found.metadata.name not in index.volumes
            if there:
                index.set_volume(found)
            else:
                index.remove_volume(found.metadata.name)
            if there and (new or found.status.phase == "Available"):
                self._changed(None)
            if (bound := found.spec.claimRef) is not None:
                self._move(f"volume {bound.namespace}/{bound.name}")

        def csinode(found: CSINodeView, there: bool) -> None:
            name = index.set_csinode(found, there=there)
            if name is not None:
                self._changed((name,))

        def general(tell: Callable[..., bool]) -> Callable[[Any, bool], None]:
            def told(found: Any, there: bool) -> None:
                if tell(found, there=there):
                    self._changed(None)

            return told

        return [
            self._informer(PERSISTENTVOLUMECLAIMS, rules.ClaimView, claim),
            self._informer(PERSISTENTVOLUMES, VolumeView, volume),
            self._informer(STORAGECLASSES, StorageClassView, general(index.set_class)),
            self._informer(CSINODES, CSINodeView, csinode),
            self._informer(CSIDRIVERS, CSIDriverView, general(index.set_driver)),
            self._informer(CSISTORAGECAPACITIES, CapacityView, general(index.set_capacity)),
        ]

    def device_informers(self) -> list[Informer[Any]]:
        """Those of devices. Older servers do not have them: nobody waits for these but pods with resource claims."""
        index = self._core.devices

        def found_slice(found: SliceView, there: bool) -> None:
            nodes = index.set_slice(found) if there else index.remove_slice(found.metadata.name)
            self._changed(nodes)

        def device_class(found: DeviceClassView, there: bool) -> None:
            index.set_class(found, there=there)
            self._changed(None)

        def claim(found: ClaimView, there: bool) -> None:
            freed = index.set_claim(found) if there else index.remove_claim(found)
            if freed:
                self._changed(freed)
            self._wake_for(f"claim {found.key}")
            self._move(f"claim {found.key}")

        self._devices = [
            self._informer(RESOURCESLICES, SliceView, found_slice),
            self._informer(DEVICECLASSES, DeviceClassView, device_class),
            self._informer(RESOURCECLAIMS, ClaimView, claim),
        ]
        return self._devices

    def _informer(
        self, resource: Resource, view: type[Any], tell: Callable[[Any, bool], None]
    ) -> Informer[Any]:
        informer: Informer[Any] = Informer(self._client, resource, view)
        informer.add_handler(
            on_add=lambda obj: tell(obj, True),
            on_update=lambda old, new: tell(new, True),
            on_delete=lambda obj: tell(obj, False),
        )
        return informer

    async def synced(self) -> None:
        """Once the picture of devices is complete, let the pods that waited for it be tried."""
        for informer in self._devices:
            await informer.wait_synced()
        for pods in tuple(self._waiting.values()):
            for pod in tuple(pods.values()):
                self._wake(pod)

    def _move(self, name: str) -> None:
        for event in self._watching.get(name, ()):
            event.set()

    # Waiting

    def wait(self, pod: PendingPod, needs: Needs | None) -> None:
        """A pod in the queue has these needs now."""
        self.forget(pod.uid)
        if needs is None:
            return
        names = [f"volume {needs.namespace}/{name}" for name in needs.volumes]
        names += [f"claim {needs.namespace}/{name}" for _, name, _ in needs.claims if name]
        self._names[pod.uid] = tuple(names)
        for name in names:
            self._waiting.setdefault(name, {})[pod.uid] = pod

    def forget(self, uid: str) -> None:
        """A pod is no longer in the queue."""
        for name in self._names.pop(uid, ()):
            self._move(name)  # whoever binds its claims looks up
            pods = self._waiting[name]
            pods.pop(uid, None)
            if not pods:
                del self._waiting[name]

    def _wake_for(self, name: str) -> None:
        for pod in tuple(self._waiting.get(name, {}).values()):
            self._wake(pod)

    def awaited(self, pod: PendingPod) -> bool:
        """Whether a pod's resource claims are not there yet: upstream does not even queue it."""
        needs = self._core.needs(pod.uid)
        if needs is None or not needs.claims or not pod.cls.profile.awaits_claims:
            return False
        return not all(i.has_synced for i in self._devices) or self._core.devices.awaited(needs) is not None

    def any_awaited(
        self, pod: PendingPod, key: tuple[str, str], members: Callable[[], list[PendingPod]]
    ) -> bool:
        """Whether claims of a gang's waiting members are not there yet. Claims come one by one: each is looked for once, in order."""
        if pod.uid not in self._names:
            return False
        pods, index = self._scans.pop(key, ([], 0))
        if index < len(pods) and pods[index].uid in self._names and self.awaited(pods[index]):
            self._scans[key] = pods, index
            return True
        fresh = members()
        start = index if fresh[:index] == pods[:index] else 0
        for number in range(start, len(fresh)):
            if self.awaited(fresh[number]):
                self._scans[key] = fresh, number
                return True
        return False

    # Binding

    def start(self, pod: PendingPod, node: str, wanted: Callable[[], bool], done: Done) -> None:
        """Bind a placed pod's claims when it is its turn. `done` is told of the end, unless the pod is not `wanted` any longer."""
        self._to_bind.append((pod, node, wanted, done))
        self._start_more()

    def _start_more(self) -> None:
        while self._to_bind and self._binds_in_flight < MAX_BINDS_IN_FLIGHT:
            pod, node, wanted, done = self._to_bind.popleft()
            if wanted():
                self._binds_in_flight += 1
                self._guard.spawn(self._bind_one(pod, node, wanted, done), name="bind claims")

    async def _bind_one(self, pod: PendingPod, node: str, wanted: Callable[[], bool], done: Done) -> None:
        error: ClaimsError | None = None
        try:
            await self.bind(pod, node, wanted)
        except ClientClosed:
            return
        except ClaimsError as found:
            error = found
        finally:
            self._binds_in_flight -= 1
        self._start_more()
        if error is not None or wanted():
            done(error)

    async def bind(self, pod: PendingPod, node: str, wanted: Callable[[], bool]) -> None:
        """Bind a placed pod's claims, by the plugins that do so in its profile. `wanted` turns false when the pod is gone meanwhile.
        Raises ClaimsError."""
        needs = self._core.needs(pod.uid)
        profile = pod.cls.profile
        plan = self._core.volumes.plans.get(pod.uid)
        if needs is not None and plan is not None and "VolumeBinding" in profile.binds:
            await self._bind_volumes(needs, plan, wanted, profile.bind_timeout_seconds)
        if "DynamicResources" not in profile.binds:
            return
        for claim in () if needs is None else self._core.devices.claims_of(needs):
            if not wanted():
                return
            await self._bind_claim(pod, node, claim, wanted)
        special = self._core.devices.special_of(pod.uid)
        if special is not None and wanted():
            await self._bind_special(pod, node, special, wanted)
        claims = self._all_claims(pod)
        if awaits_devices(claims) and wanted():
            await self._ready(pod, node, claims, wanted, profile.device_timeout_seconds)

    def undo(self, pod: PendingPod) -> None:
        """The pod is not bound: its allocated claims are not reserved for it any longer."""
        devices, needs = self._core.devices, self._core.needs(pod.uid)
        for _, name, _ in () if needs is None else needs.claims:
            self._move(f"claim {pod.namespace}/{name}")  # whoever waits for its allocation waits in vain
        for claim in () if needs is None else devices.claims_of(needs):
            if any(consumer.uid == pod.uid for consumer in claim.status.reservedFor or ()):
                self._guard.spawn(self._unreserve(pod, claim), name="unreserve")
        if (key := devices.specials.get(pod.uid)) is not None:
            self._guard.spawn(self._delete_special(devices.claims[key]), name="special claim")

    # Volumes

    async def _bind_volumes(
        self, needs: Needs, plan: VolumePlan, wanted: Callable[[], bool], timeout_seconds: float
    ) -> None:
        index = self._core.volumes
        try:
            for key, name in plan.bindings:
                claim, volume = index.claims.get(key), index.volumes.get(name)
                if claim is None or volume is None:
                    raise ClaimsError(
                        f'{VOLUMES}binding volumes: "{key if claim is None else name}" not found'
                    )
                async with self._writes:
                    await self._client.patch(
                        PERSISTENTVOLUMES, name, claim_patch(claim, volume), patch_type=MERGE, type=bytes
                    )
            for key in plan.provisions:
                claim = index.claims.get(key)
                if claim is None:
                    raise ClaimsError(f'{VOLUMES}binding volumes: persistentvolumeclaim "{key}" not found')
                patch = {"metadata": {"uid": claim.metadata.uid, "annotations": {SELECTED_NODE: plan.node}}}
                async with self._writes:
                    answer = await self._client.patch(
                        PERSISTENTVOLUMECLAIMS,
                        claim.metadata.name,
                        patch,
                        claim.metadata.namespace,
                        patch_type=MERGE,
                        type=rules.ClaimView,
                    )
                index.set_claim(answer)
        except ClientClosed:
            raise
        except ClientError as error:
            raise ClaimsError(f"{VOLUMES}{error}") from error
        names = [f"volume {needs.namespace}/{name}" for name in needs.volumes]
        try:
            await self._until(names, lambda: self._volumes_bound(needs, plan), wanted, timeout_seconds)
        except TimeoutError:
            raise ClaimsError(f"{VOLUMES}binding volumes: context deadline exceeded") from None

    async def _until(
        self,
        names: Iterable[str],
        done: Callable[[], bool],
        wanted: Callable[[], bool],
        timeout_seconds: float | None = None,
    ) -> None:
        """Look again whenever one of the named claims has moved, until it is `done` or the pod is not `wanted`. Raises TimeoutError."""
        moved = asyncio.Event()
        for name in names:
            self._watching.setdefault(name, set()).add(moved)
        try:
            async with asyncio.timeout(timeout_seconds):
                while wanted() and not done():
                    await moved.wait()
                    moved.clear()
        finally:
            for name in names:
                watching = self._watching[name]
                watching.discard(moved)
                if not watching:
                    del self._watching[name]

    def _volumes_bound(self, needs: Needs, plan: VolumePlan) -> bool:
        """Whether all is bound; raises ClaimsError when it will not be."""
        index = self._core.volumes
        done = True
        bindings = dict(plan.bindings)
        for name in needs.volumes:
            key = f"{needs.namespace}/{name}"
            claim = index.claims.get(key)
            if claim is None:
                raise ClaimsError(f'{VOLUMES}binding volumes: persistentvolumeclaim "{name}" not found')
            volume = index.volumes.get(claim.spec.volumeName or bindings.get(key, ""))
            selected = (claim.metadata.annotations or {}).get(
                SELECTED_NODE
            )  # a provisioner that fails takes it off
            if key in plan.provisions and selected != plan.node and not rules.is_bound(claim):
                raise ClaimsError(f'{VOLUMES}binding volumes: provisioning failed for PVC "{name}"')
            if not rules.is_bound(claim) or volume is None:
                done = False
            elif not index.reaches(volume, plan.node):
                raise ClaimsError(
                    f'{VOLUMES}binding volumes: pv "{volume.metadata.name}" node affinity doesn\'t match node "{plan.node}"'
                )
        return done

    # Devices

    async def _bind_claim(
        self, pod: PendingPod, node: str, claim: ClaimView, wanted: Callable[[], bool]
    ) -> None:
        """Write the allocation where it is ours to write, and reserve the claim for the pod."""
        devices = self._core.devices
        pending = devices.pending.get(claim.metadata.uid)
        consumer = {"resource": "pods", "name": pod.name, "uid": pod.uid}
        if pending is not None and pending.uid == pod.uid:
            await self._allocate(claim, pending, consumer)
            return
        if pending is not None:  # another pod is writing the allocation of the claim that they share
            uid = claim.metadata.uid
            names = (f"claim {claim.key}",)
            await self._until(names, lambda: devices.pending.get(uid) is not pending, wanted)
            if not wanted():
                return
        claim = devices.claims.get(claim.key, claim)
        allocation = claim.status.allocation
        if allocation is None or not devices.reaches(allocation, node):
            raise ClaimsError(f"{DEVICES}resourceclaim {claim.key} is not available on node {node}")
        if any(reserved.uid == pod.uid for reserved in claim.status.reservedFor or ()):
            return
        patch = {"metadata": {"uid": claim.metadata.uid}, "status": {"reservedFor": [consumer]}}
        try:
            devices.set_claim(await self._patch(claim, patch, subresource="status", patch_type=STRATEGIC))
        except ClientClosed:
            raise
        except ClientError as error:
            raise ClaimsError(f"{DEVICES}add reservation to claim {claim.key}: {error}") from error

    async def _allocate(self, claim: ClaimView, pending: Pending, consumer: dict[str, str]) -> None:
        """Write a claim's allocation and its first reservation."""
        devices = self._core.devices
        reads = claim
        doing = "add finalizer to"
        try:
            if FINALIZER not in (claim.metadata.finalizers or ()):
                reads = await self._patch(claim, finalizer_patch(claim))
            doing = "add allocation and reservation to"
            classes = devices.configurations(claim, pending.allocation)
            pending.told = True
            reads = await self._patch(
                claim, allocation_patch(reads, pending.allocation, classes, consumer), subresource="status"
            )
        except ClientClosed:
            raise
        except ClientError as error:
            if pending.told and is_unknown(error):
                await self._settle(claim)
            else:
                self._untold(pending)
            raise ClaimsError(f"{DEVICES}{doing} claim {claim.key}: {error}") from error
        else:
            devices.set_claim(reads)
        finally:
            self._move(f"claim {claim.key}")

    def _all_claims(self, pod: PendingPod) -> list[ClaimView]:
        devices, needs = self._core.devices, self._core.needs(pod.uid)
        claims = [] if needs is None else devices.claims_of(needs)
        key = devices.specials.get(pod.uid)
        return claims if key is None else [*claims, devices.claims[key]]

    async def _ready(
        self,
        pod: PendingPod,
        node: str,
        claims: list[ClaimView],
        wanted: Callable[[], bool],
        timeout_seconds: float,
    ) -> None:
        """Wait until the pod's devices are ready on the node. An allocation has the time only once, however often it is tried."""
        index = self._core.devices
        allocated = [
            c.status.allocation.allocationTimestamp for c in claims if c.status.allocation is not None
        ]
        ages = [time.time() - times.parse(at) for at in allocated if at]

        def done() -> bool:
            return all(is_ready(index.claims.get(claim.key, claim)) for claim in claims)

        self._event(
            pod,
            "Normal",
            "BindingConditionsPending",
            f"waiting for binding conditions for device on node {node}",
        )
        try:
            names = [f"claim {claim.key}" for claim in claims]
            await self._until(names, done, wanted, max(0.0, timeout_seconds - max(ages, default=0.0)))
        except TimeoutError:
            index.given_up.update(claim.metadata.uid for claim in claims if awaits_devices((claim,)))
            raise ClaimsError(f"{DEVICES}device binding timeout") from None
        except DeviceFailedError as error:
            raise ClaimsError(f"{DEVICES}{error}") from None

    async def _bind_special(
        self, pod: PendingPod, node: str, special: Pending, wanted: Callable[[], bool]
    ) -> None:
        """Make the claim of a pod that gets devices for extended resources, allocate it, and tell the pod of it."""
        devices = self._core.devices
        requests, mappings = requests_of(pod.cls.spec, special.special or {})
        body = special_claim(pod.namespace, pod.name, pod.uid, FINALIZER, requests)
        try:
            async with self._writes:
                found = await self._client.get(PODS, pod.name, pod.namespace, type=Pod)
            if found.metadata.uid != pod.uid:
                raise ClaimsError(f'{DEVICES}pod "{pod.name}" has been replaced')
            names = [
                c.name or "" for c in (*(found.spec.initContainers or ()), *(found.spec.containers or ()))
            ]
            async with self._writes:
                claim = await self._client.create(RESOURCECLAIMS, body, pod.namespace, type=ClaimView)
            if devices.special_of(pod.uid) is not special:  # the pod went meanwhile
                await self._delete_special(claim)
                return
            devices.adopt(pod.uid, claim)
            await self._bind_claim(pod, node, claim, wanted)
            async with self._writes:
                await self._client.patch(
                    PODS,
                    pod.name,
                    status_patch(pod.uid, claim.metadata.name, mappings, names),
                    pod.namespace,
                    patch_type=MERGE,
                    type=bytes,
                    subresource="status",
                )
        except ClientClosed:
            raise
        except ClientError as error:
            raise ClaimsError(f"{DEVICES}{error}") from error

    async def _delete_special(self, claim: ClaimView) -> None:
        """A special claim is the scheduler's own: nothing else has to end before it goes."""
        metadata = claim.metadata
        finalizers = [name for name in metadata.finalizers or () if name != FINALIZER]
        try:
            if finalizers != (metadata.finalizers or []):
                await self._patch(
                    claim, {"metadata": {"uid": metadata.uid, "finalizers": finalizers or None}}
                )
            async with self._writes:
                await self._client.delete(RESOURCECLAIMS, metadata.name, metadata.namespace, uid=metadata.uid)
        except ClientError as error:
            if not is_not_found(error):
                log.warning("deleting resourceclaim %s: %s", claim.key, error)

    async def _settle(self, claim: ClaimView) -> None:
        """Nobody knows whether the allocation was written: ask until that is known."""
        while claim.metadata.uid in self._core.devices.pending:
            try:
                found = await self._client.get(
                    RESOURCECLAIMS, claim.metadata.name, claim.metadata.namespace, type=ClaimView
                )
            except ClientClosed:
                raise
            except ClientError as error:
                if is_not_found(error):
                    self._core.devices.remove_claim(claim)
                    return
                log.warning("looking for resourceclaim %s: %s", claim.key, error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            pending = self._core.devices.pending.get(claim.metadata.uid)
            if found.metadata.uid != claim.metadata.uid:
                self._core.devices.remove_claim(claim)
            elif found.status.allocation is not None:
                self._core.devices.set_claim(found)
            elif pending is not None:
                self._untold(pending)
            return

    def _untold(self, pending: Pending) -> None:
        """The API server does not know of an allocation after all: it is given up where its pod is gone already, else with the pod's placement."""
        pending.told = False
        if self._core.node_of(pending.uid) is None:
            self._core.devices.release(pending.uid)
            self._changed(None)

    async def _patch(
        self, claim: ClaimView, patch: Any, *, subresource: str | None = None, patch_type: str = MERGE
    ) -> ClaimView:
        async with self._writes:
            return await self._client.patch(
                RESOURCECLAIMS,
                claim.metadata.name,
                patch,
                claim.metadata.namespace,
                patch_type=patch_type,
                type=ClaimView,
                subresource=subresource,
            )

    async def _unreserve(self, pod: PendingPod, claim: ClaimView) -> None:
        patch = {
            "metadata": {"uid": claim.metadata.uid},
            "status": {"reservedFor": [{"$patch": "delete", "uid": pod.uid}]},
        }
        try:
            await self._patch(claim, patch, subresource="status", patch_type=STRATEGIC)
        except ClientError as error:
            log.warning("unreserving resourceclaim %s: %s", claim.key, error)

    def deallocate(self, pod: PendingPod, why: str) -> str | None:
        """DynamicResources' PostFilter: give back one allocated claim that nobody uses and that keeps the pod off nodes, which is `why`; delete
        a special claim of an earlier attempt. Returns what has been done."""
        devices, needs = self._core.devices, self._core.needs(pod.uid)
        found = [] if needs is None or ELSEWHERE not in why else devices.claims_of(needs)
        lost = {c.metadata.uid for c in found if c.metadata.uid in devices.given_up or is_failed(c)}
        for claim in sorted(found, key=lambda c: c.metadata.uid not in lost):
            allocation = claim.status.allocation
            if (
                allocation is not None
                and (allocation.nodeSelector is not None or claim.metadata.uid in lost)
                and claim.metadata.uid not in devices.pending
                and all(consumer.uid == pod.uid for consumer in claim.status.reservedFor or ())
            ):
                self._guard.spawn(self._deallocate(claim), name="deallocate")
                return "deallocation of ResourceClaim completed"
        if STALE in why and (key := devices.specials.get(pod.uid)) is not None:
            self._waiting.setdefault(f"claim {key}", {})[pod.uid] = pod
            self._names[pod.uid] = (*self._names.get(pod.uid, ()), f"claim {key}")
            self._guard.spawn(self._delete_special(devices.claims[key]), name="special claim")
            return "deletion of ResourceClaim completed"
        return None

    async def _deallocate(self, claim: ClaimView) -> None:
        metadata = claim.metadata
        patch = {
            "metadata": {"uid": metadata.uid, "resourceVersion": metadata.resourceVersion},
            "status": {"allocation": None, "reservedFor": None, "devices": None},
        }
        try:
            await self._patch(claim, patch, subresource="status")
        except ClientError as error:
            log.info("deallocating resourceclaim %s: %s", claim.key, error)
